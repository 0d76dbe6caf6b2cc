/*
 * Frames on a byte stream: each behind its length, 32 bits, big-endian. This is what QEMU's
 * "-netdev stream", passt and posada-slirp speak.
 *
 * Both halves have a buffer of fixed size and work on a non-blocking stream socket that the caller
 * passes in. Nothing here blocks or raises SIGPIPE.
 */
#ifndef NET_FRAME_H
#define NET_FRAME_H

#include <sys/uio.h>

#include "base/base.h"

#define FRAME_HEADER  4  /* bytes of the length */
#define FRAME_IOV_MAX 67 /* pieces of a frame */

/* --- from the stream --- */

struct frame_reader {
	u8 *buf;
	size_t size, start, end; /* bytes received and not yet used: [start, end) */
};

void frame_reader_init(struct frame_reader *r);
void frame_reader_fini(struct frame_reader *r);

/* Reads what is there and fits: a count, -EAGAIN, 0 when the peer has closed, or its errno. All
 * frames that are whole are taken before. */
ssize_t frame_reader_fill(struct frame_reader *r, int fd);

/*
 * The next whole frame, which stays until frame_reader_pop: 1, or 0 when there is none yet, or
 * -EPROTO when the peer announced one of more than NET_FRAME_MAX bytes.
 */
int frame_reader_peek(struct frame_reader *r, const u8 **out_frame, size_t *out_size);
void frame_reader_pop(struct frame_reader *r);

/* --- to the stream --- */

struct frame_writer {
	u8 *buf;
	size_t size, start, end; /* bytes that wait: [start, end) */
	bool is_full;            /* the socket took less than it was given */
};

/* backlog: bytes that can wait; at least one whole frame. */
void frame_writer_init(struct frame_writer *w, size_t backlog);
void frame_writer_fini(struct frame_writer *w);

static inline bool frame_writer_is_empty(const struct frame_writer *w)
{
	return w->start == w->end;
}

/*
 * Takes a frame of size bytes, of at most FRAME_IOV_MAX pieces: 0; -EAGAIN when there is no room
 * for it; or the socket's errno. Short frames wait for more of them, or for frame_writer_flush,
 * which ends every round; long ones go to the socket at once, with what waits before them.
 */
int frame_writer_send(struct frame_writer *w, int fd, const struct iovec *iov, unsigned n_iov,
		      size_t size);

/* Sends of what waits as much as the socket takes: 0, also when some is left, or its errno. */
int frame_writer_flush(struct frame_writer *w, int fd);

#endif
