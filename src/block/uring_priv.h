/*
 * The ring of the io_uring engine: for the engine, and for the test that its restrictions hold.
 */
#ifndef BLOCK_URING_PRIV_H
#define BLOCK_URING_PRIV_H

#include "base/base.h"

struct err;
struct io_uring;

/* A ring that can do nothing but disk I/O on fd, its registered file 0, which may be -1 for none. Both
 * fds are borrowed. */
int uring_open(struct io_uring *ring, int fd, int event_fd, bool can_change, u32 *out_capacity,
	       struct err *err);
/* Of one that can change: another file 0, or none. */
int uring_set_file(struct io_uring *ring, int fd);

#endif
