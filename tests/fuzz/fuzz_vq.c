/*
 * Virtqueues, split and packed, against a driver that writes anything anywhere at any time.
 *
 * The input is a small program: where the ring lies, what is in memory, then steps of the device
 * and of the driver in turn. Whatever comes, the device only ever touches guest memory (the
 * sanitizers watch), and a chain that it gets keeps the promises of vq.h.
 */
#include <string.h>

#include "base/bytes.h"
#include "fake_guest.h"
#include "virtio/vq.h"

#define AREA     0x4000 /* all that the driver writes to; rings and tables are in there */
#define HELD_MAX 16
#define RING_MAX 64

struct input {
	const u8 *at;
	size_t left;
};

static u32 input_take(struct input *in, unsigned size)
{
	u32 value = 0;

	if (in->left < size)
		size = (unsigned)in->left;
	memcpy(&value, in->at, size);
	in->at += size;
	in->left -= size;
	return value;
}

struct run {
	struct vq q;
	struct vq_chain *held[HELD_MAX];
	unsigned n_held;
	unsigned n_broken;
};

static void run_interrupt(unused struct vq *q)
{
}

static void run_broken(struct vq *q, const char *why)
{
	assert(why);
	assert(++((struct run *)q->owner)->n_broken == 1);
}

static void run_idle(struct vq *q)
{
	assert(vq_in_flight(q) == 0);
}

static const struct vq_ops run_ops = {run_interrupt, run_broken, run_idle};

/* What vq_pop promises. */
static void run_check(struct vq_chain *c)
{
	const struct iovec *iov;
	u64 sum = 0;
	u32 n;

	assert(vq_readable(c) + vq_writable(c) <= UINT32_MAX);
	iov = vq_readable_iov(c, &n);
	for (u32 i = 0; i < n; i++)
		sum += iov[i].iov_len;
	assert(sum == vq_readable(c));
	iov = vq_writable_iov(c, &n);
	sum = 0;
	for (u32 i = 0; i < n; i++)
		sum += iov[i].iov_len;
	assert(sum == vq_writable(c));
}

static void run_pop(struct run *r)
{
	struct vq_chain *c;

	if (r->n_held == HELD_MAX)
		return;
	c = vq_pop(&r->q);
	if (!c)
		return;
	run_check(c);
	r->held[r->n_held++] = c;
}

static void run_unpop(struct run *r)
{
	struct vq_chain *c = vq_pop(&r->q);

	if (!c)
		return;
	run_check(c);
	vq_unpop(c);
}

static void run_use(struct run *r, struct input *in)
{
	u8 buf[64];
	u32 size = input_take(in, 1) % sizeof(buf);
	struct vq_chain *c;

	if (!r->n_held)
		return;
	c = r->held[r->n_held - 1];
	memset(buf, 0x5a, sizeof(buf));
	if (vq_take(c, buf, size))
		run_check(c);
	if (vq_put(c, buf, size))
		run_check(c);
	vq_skip_readable(c, MIN(vq_readable(c), size));
	vq_skip_writable(c, MIN(vq_writable(c), size));
	run_check(c);
}

static void run_push(struct run *r, struct input *in)
{
	struct vq_chain *c;
	u32 written;

	if (!r->n_held)
		return;
	c = r->held[--r->n_held];
	written = (u32)MIN(vq_writable(c), input_take(in, 1));
	if (vq_reserve_status(c))
		vq_put_status(c, 1);
	vq_push(c, written);
}

static void run_poke(struct fake_guest *g, struct input *in)
{
	u32 off = input_take(in, 2) % (AREA - 4);
	u32 value = input_take(in, 2);

	fake_guest_put(g, off, &value, 2);
}

static void run_step(struct run *r, struct fake_guest *g, struct input *in)
{
	switch (input_take(in, 1) % 8) {
	case 0:
	case 1:
		run_pop(r);
		break;
	case 2:
		run_use(r, in);
		break;
	case 3:
		run_push(r, in);
		break;
	case 4:
		vq_publish(&r->q);
		break;
	case 5:
		vq_disable_notify(&r->q);
		vq_enable_notify(&r->q);
		break;
	case 6:
		run_unpop(r);
		break;
	default:
		run_poke(g, in);
		break;
	}
}

#define RUN_PACKED 0x40 /* of the flags */

static u64 run_features(u32 flags)
{
	return (flags & 1 ? VIRTIO_F_EVENT_IDX : 0) | (flags & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
	       (flags & RUN_PACKED ? VIRTIO_F_RING_PACKED : 0);
}

static bool run_start(struct run *r, struct fake_guest *g, struct input *in)
{
	u32 flags = input_take(in, 1);
	u32 size = input_take(in, 1);
	const char *why = NULL;

	r->q.max_size = RING_MAX;
	r->q.max_segs = 1 + (flags >> 2) % 16;
	r->q.request_size = 16;
	vq_init(&r->q, &run_ops, r, g->gmem, 0);
	r->q.config = (struct vq_config){
		.size = (u16)(flags & RUN_PACKED ? size : BIT32(size % 8)),
		.desc = input_take(in, 2),
		.driver = input_take(in, 2),
		.device = input_take(in, 2),
	};
	/* As a stranger's saved state says. */
	if (flags & RUN_PACKED) {
		r->q.next_avail = (u16)input_take(in, 2);
		r->q.next_used = (u16)input_take(in, 2);
	}
	/* Mostly somewhere possible. */
	if (flags & 0x80) {
		r->q.config.desc %= AREA / 2;
		r->q.config.desc &= ~(gpa_t)15;
		r->q.config.driver = r->q.config.driver % AREA & ~(gpa_t)3;
		r->q.config.device = r->q.config.device % AREA & ~(gpa_t)3;
	}
	return vq_start(&r->q, run_features(flags), &why) == 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct fake_guest g;
	struct input in = {data, size};
	struct run r = {0};

	if (!g.gmem)
		fake_guest_init(&g);
	int ret = gmem_fill(g.gmem, 0, 0, AREA);

	assert(!ret);
	if (run_start(&r, &g, &in)) {
		u32 image = input_take(&in, 2) % AREA;

		image = (u32)MIN(image, in.left);
		fake_guest_put(&g, 0, in.at, image);
		in.at += image;
		in.left -= image;
		while (in.left)
			run_step(&r, &g, &in);
		while (r.n_held)
			run_push(&r, &in);
		vq_publish(&r.q);
	}
	vq_fini(&r.q);
	assert(g.ram->pins + g.rom->pins + g.high->pins == 0);
	return 0;
}
