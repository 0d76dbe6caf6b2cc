/*
 * Frames on a byte stream. See frame.h.
 */
#include "net/frame.h"

#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "net/net.h"

#define FRAME_WHOLE      (FRAME_HEADER + NET_FRAME_MAX)
#define FRAME_READ_SIZE  (4 * FRAME_WHOLE)
#define FRAME_SHORT      2048 /* one that is copied rather than sent by itself */
#define FRAME_FLUSH_SIZE (32 * KIB)

/* --- from the stream --- */

void frame_reader_init(struct frame_reader *r)
{
	*r = (struct frame_reader){.buf = mem_alloc(1, FRAME_READ_SIZE), .size = FRAME_READ_SIZE};
}

void frame_reader_fini(struct frame_reader *r)
{
	free(r->buf);
	r->buf = NULL;
}

/* Makes room for a whole frame, and more; moving seldom. */
static void frame_reader_compact(struct frame_reader *r)
{
	if (r->start == r->end)
		r->start = r->end = 0;
	if (!r->start || r->size - r->end >= FRAME_WHOLE)
		return;
	memmove(r->buf, r->buf + r->start, r->end - r->start);
	r->end -= r->start;
	r->start = 0;
}

ssize_t frame_reader_fill(struct frame_reader *r, int fd)
{
	ssize_t n;

	frame_reader_compact(r);
	if (r->end == r->size)
		return -EAGAIN; /* whole frames wait in here: take those first */
	do {
		n = recv(fd, r->buf + r->end, r->size - r->end, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r->end += (size_t)n;
	return n;
}

int frame_reader_peek(struct frame_reader *r, const u8 **out_frame, size_t *out_size)
{
	size_t have = r->end - r->start, size;

	if (have < FRAME_HEADER)
		return 0;
	size = be32_load(r->buf + r->start);
	if (size > NET_FRAME_MAX)
		return -EPROTO;
	if (have - FRAME_HEADER < size)
		return 0;
	*out_frame = r->buf + r->start + FRAME_HEADER;
	*out_size = size;
	return 1;
}

void frame_reader_pop(struct frame_reader *r)
{
	r->start += FRAME_HEADER + be32_load(r->buf + r->start);
	assert(r->start <= r->end);
}

/* --- to the stream --- */

void frame_writer_init(struct frame_writer *w, size_t backlog)
{
	assert(backlog >= FRAME_WHOLE);
	*w = (struct frame_writer){.buf = mem_alloc(1, backlog), .size = backlog};
}

void frame_writer_fini(struct frame_writer *w)
{
	free(w->buf);
	w->buf = NULL;
}

/* Is there room for size bytes more? Moves what waits to the front if that makes it. */
static bool frame_writer_has_room(struct frame_writer *w, size_t size)
{
	if (frame_writer_is_empty(w))
		w->start = w->end = 0;
	if (size <= w->size - w->end)
		return true;
	if (size > w->size - (w->end - w->start))
		return false;
	memmove(w->buf, w->buf + w->start, w->end - w->start);
	w->end -= w->start;
	w->start = 0;
	return true;
}

/* Copies what the vectors hold from their byte skip on. */
static void frame_writer_keep(struct frame_writer *w, const struct iovec *iov, unsigned n_iov,
			      size_t skip)
{
	for (unsigned i = 0; i < n_iov; i++) {
		size_t cut = MIN(skip, iov[i].iov_len);

		skip -= cut;
		memcpy(w->buf + w->end, (u8 *)iov[i].iov_base + cut, iov[i].iov_len - cut);
		w->end += iov[i].iov_len - cut;
	}
}

/* A count, 0 when the socket is full, or its errno. */
static ssize_t frame_writer_write(struct frame_writer *w, int fd, struct iovec *iov, unsigned n_iov,
				  size_t size)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};
	ssize_t n;

	do {
		n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	w->is_full = n < (ssize_t)size;
	return MAX(n, (ssize_t)0);
}

/*
 * Vectors 0 is for what waits, 1 and on are the frame, size bytes with its length. A frame of which
 * a part has gone is kept: nothing waits before it then, so there is room.
 */
static int frame_writer_send_long(struct frame_writer *w, int fd, struct iovec *all, unsigned n,
				  size_t size)
{
	size_t waiting = w->end - w->start;
	ssize_t sent;

	all[0] = (struct iovec){.iov_base = w->buf + w->start, .iov_len = waiting};
	sent = frame_writer_write(w, fd, all, n, waiting + size);
	if (sent < 0)
		return (int)sent;
	w->start += MIN((size_t)sent, waiting);
	if (!frame_writer_has_room(w, size))
		return -EAGAIN;
	frame_writer_keep(w, all + 1, n - 1, (size_t)sent > waiting ? (size_t)sent - waiting : 0);
	return 0;
}

int frame_writer_send(struct frame_writer *w, int fd, const struct iovec *iov, unsigned n_iov,
		      size_t size)
{
	struct iovec all[2 + FRAME_IOV_MAX];
	be32 header = be32_of((u32)size);
	bool is_short = size <= FRAME_SHORT && w->end - w->start < FRAME_FLUSH_SIZE;

	assert(n_iov <= FRAME_IOV_MAX && size <= NET_FRAME_MAX);
	all[1] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
	memcpy(all + 2, iov, n_iov * sizeof(*iov));
	size += FRAME_HEADER;

	if (!is_short && !w->is_full)
		return frame_writer_send_long(w, fd, all, n_iov + 2, size);
	if (!frame_writer_has_room(w, size))
		return -EAGAIN;
	frame_writer_keep(w, all + 1, n_iov + 1, 0);
	return 0;
}

int frame_writer_flush(struct frame_writer *w, int fd)
{
	while (!frame_writer_is_empty(w)) {
		struct iovec rest = {.iov_base = w->buf + w->start, .iov_len = w->end - w->start};
		ssize_t n = frame_writer_write(w, fd, &rest, 1, rest.iov_len);

		if (n <= 0)
			return (int)n;
		w->start += (size_t)n;
	}
	return 0;
}
