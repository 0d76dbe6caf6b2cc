/*
 * Frames with headers that ask for work: of a guest, on their way through a back end that takes some
 * of it, and of a host, on their way to a card that does.
 *
 * Whatever comes out must be a frame, of no more bytes than went in, and need nothing that the taker
 * doesn't take.
 */
#include <stdlib.h>
#include <string.h>

#include "net/net_priv.h"
#include "net/offload.h"

#define INPUT_MAX 4096
#define PIECES    5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct taker {
	struct net net;
	struct net_user user;
	u32 takes;
	unsigned n_left; /* frames until it has no room */
	size_t n_bytes;
};

static void taker_take(struct taker *t, const struct net_frame *f)
{
	size_t size = 0;

	for (unsigned i = 0; i < f->n_iov; i++) {
		const volatile u8 *b = f->iov[i].iov_base;

		for (size_t k = 0; k < f->iov[i].iov_len; k++)
			(void)b[k];
		size += f->iov[i].iov_len;
	}
	if (size != f->size || size < NET_FRAME_MIN || size > NET_FRAME_MAX ||
	    net_header_needs(&f->header) & ~t->takes)
		abort();
	t->n_left--;
	t->n_bytes += size;
}

static int taker_send(struct net *n, unsigned lane, const struct net_frame *f)
{
	struct taker *t = container_of(n, struct taker, net);

	(void)lane;
	if (!t->n_left)
		return -EAGAIN;
	taker_take(t, f);
	return 0;
}

static bool taker_receive(void *opaque, unsigned lane, const struct net_frame *f)
{
	struct taker *t = opaque;

	(void)lane;
	if (!t->n_left)
		return false;
	taker_take(t, f);
	return true;
}

static void taker_attached(struct net *n)
{
	(void)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct net_ops ops = {.attached = taker_attached, .send = taker_send};
	struct taker t = {0};
	struct iovec iov[PIECES];
	struct net_frame f = {.iov = iov};
	u8 *copy;

	if (size < 3 + sizeof(f.header) || size > INPUT_MAX)
		return -1;
	net_init(&t.net, &ops);
	t.user = (struct net_user){.receive = taker_receive, .opaque = &t};
	t.takes = t.net.takes = t.net.taken = data[0] & NET_TAKES_ALL;
	t.net.user = &t.user;
	t.n_left = data[1];
	memcpy(&f.header, data + 3, sizeof(f.header));
	f.size = size - 3 - sizeof(f.header);
	copy = malloc(f.size ? f.size : 1); /* so that the sanitizer sees its end */
	if (!copy)
		abort();
	memcpy(copy, data + size - f.size, f.size);
	for (size_t at = 0; at < f.size; f.n_iov++) {
		size_t n = f.n_iov == PIECES - 1 ? f.size - at : MIN(f.size - at, 1 + data[2] / 4u);

		iov[f.n_iov] = (struct iovec){copy + at, n};
		at += n;
	}
	if (net_send(&t.net, 0, &f) == 0)
		(void)net_give(&t.net, 0, &f);
	free(copy);
	return 0;
}
