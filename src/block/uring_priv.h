/*
 * The ring of the io_uring engine: for the engine, and for the test that its restrictions hold.
 */
#ifndef BLOCK_URING_PRIV_H
#define BLOCK_URING_PRIV_H

#include "base/base.h"

struct err;
struct io_uring;

/* A ring that can do nothing but disk I/O on fd, its registered file 0. Both fds are borrowed. */
int uring_open(struct io_uring *ring, int fd, int event_fd, u32 *out_capacity, struct err *err);

#endif
