/*
 * The part that descriptor streams share: non-blocking reads and writes of one peer, flow control
 * and the end of either. For this folder only.
 *
 * Reads happen on the loop. Writes happen on whoever writes, under the lock, straight to the
 * descriptor; what only the loop may do (watch for room, report an end) is left to a posted task.
 */
#ifndef CHR_STREAM_H
#define CHR_STREAM_H

#include <pthread.h>

#include "base/loop.h"
#include "chr/chr_priv.h"

struct chr_stream {
	struct chr chr;
	struct loop *loop;
	/* The peer hung up; afterwards chr is closed and writes are dropped. The loop's thread. */
	void (*gone)(struct chr_stream *s);

	/* The loop's thread. */
	struct loop_fd in, out; /* fd -1: there is none */
	bool is_plain;          /* in can't be watched: a file, or /dev/null; always ready */
	bool has_one_end;       /* in and out are one socket: its input's end is the peer's end */

	struct loop_task pump;
	pthread_mutex_t lock; /* guards all below */
	int out_fd;
	bool is_pty;      /* in is a pty's master; changes on the loop's thread only */
	bool is_broken;   /* writing failed */
	bool is_back;     /* a pty's slave was opened again */
	bool wants_room;  /* a write was short */
	bool wants_input; /* the user may be able to take some */

	u8 buf[4096]; /* the loop's thread */
};

void chr_stream_init(struct chr_stream *s, struct loop *loop, const struct chr_ops *ops,
		     void (*gone)(struct chr_stream *s));
void chr_stream_fini(struct chr_stream *s); /* after chr_stream_close */

/* Both descriptors are non-blocking, and stay the caller's; out_fd is not in_fd. */
int chr_stream_open(struct chr_stream *s, int in_fd, int out_fd);
void chr_stream_close(struct chr_stream *s); /* leaves no watch; harmless when not open */

void chr_stream_attached(struct chr *c);
size_t chr_stream_write(struct chr *c, const u8 *data, size_t size);
void chr_stream_accept(struct chr *c);

#endif
