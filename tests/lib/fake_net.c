/*
 * See fake_net.h.
 */
#include "fake_net.h"

#include <string.h>

#include "base/alloc.h"

static void fake_attached(struct net *n)
{
	(void)n;
}

static int fake_send(struct net *n, unsigned lane, const struct net_frame *frame)
{
	struct fake_net *f = container_of(n, struct fake_net, net);
	u8 *to = f->last;

	if (f->is_full)
		return -EAGAIN;
	for (unsigned i = 0; i < frame->n_iov; i++) {
		memcpy(to, frame->iov[i].iov_base, frame->iov[i].iov_len);
		to += frame->iov[i].iov_len;
	}
	f->last_size = frame->size;
	f->last_header = frame->header;
	f->last_lane = lane;
	f->n_sent++;
	return 0;
}

static void fake_flush(struct net *n, unsigned lane)
{
	(void)lane;
	container_of(n, struct fake_net, net)->n_flushed++;
}

static void fake_accept(struct net *n, unsigned lane)
{
	(void)lane;
	container_of(n, struct fake_net, net)->n_accepted++;
}

static void fake_free(struct net *n)
{
	free(container_of(n, struct fake_net, net));
}

static const struct net_ops fake_ops = {NET_TAKES_ALL, fake_attached, fake_send,
					fake_flush,    fake_accept,   fake_free};

struct fake_net *fake_net_new(unsigned n_lanes)
{
	struct fake_net *f = NEW(struct fake_net);

	net_init(&f->net, &fake_ops);
	f->net.n_lanes = n_lanes;
	return f;
}

bool fake_net_give(struct fake_net *f, unsigned lane, struct net_header header, const u8 *frame,
		   size_t size)
{
	const struct iovec iov = {(void *)(uintptr_t)frame, size};
	const struct net_frame whole = {.header = header, .iov = &iov, .n_iov = 1, .size = size};
	bool is_taken = net_give(&f->net, lane, &whole);

	net_end_burst(&f->net, lane);
	return is_taken;
}
