/*
 * The ring of the io_uring engine: for the engine, and for the test that its restrictions hold.
 */
#ifndef BLOCK_URING_PRIV_H
#define BLOCK_URING_PRIV_H

#include "base/base.h"

struct err;
struct io_uring;

/* A ring that can do nothing but disk I/O on fds, its registered files, which may be -1 for none. All
 * descriptors are borrowed. */
int uring_open(struct io_uring *ring, const int *fds, u32 n_fds, int event_fd, bool can_change,
	       u32 *out_capacity, struct err *err);
/* Of one that can change: another file, or -1 for none, in the place of the registered one. */
int uring_set_file(struct io_uring *ring, u32 file, int fd);

#endif
