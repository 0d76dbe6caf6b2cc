/*
 * virtio-blk against a fake disk, which finishes requests when the test says so, and a real one.
 */
#include "virtio/blk.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "fake_clock.h"
#include "test.h"
#include "virtio/blk_wire.h"
#include "virtio/limit.h"
#include "virtio_driver.h"

#define SECTORS 2048u

/* --- a disk that keeps requests until it is told --- */

struct fake_disk {
	struct blk blk;
	struct list waiting;
	unsigned n_submitted, n_kicked;
	int drained;             /* what becomes of requests in a drain */
	struct blk_request last; /* a copy of the last one */
	u8 data[SECTORS * BLK_SECTOR];
};

static struct fake_disk *fake_of(struct blk *b)
{
	return container_of(b, struct fake_disk, blk);
}

static void fake_submit(struct blk *b, struct blk_request *r)
{
	struct fake_disk *f = fake_of(b);

	f->n_submitted++;
	f->last = *r;
	list_append(&f->waiting, &r->node);
}

static void fake_kick(struct blk *b)
{
	fake_of(b)->n_kicked++;
}

static void fake_transfer(struct fake_disk *f, struct blk_request *r)
{
	u8 *at = f->data + r->offset;

	for (u32 i = 0; i < r->n_iov; i++) {
		if (r->op == BLK_READ)
			memcpy(r->iov[i].iov_base, at, r->iov[i].iov_len);
		else
			memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
}

/* Finishes the request that waits longest. */
static void fake_finish(struct fake_disk *f, int result)
{
	struct blk_request *r = list_entry(f->waiting.next, struct blk_request, node);

	CHECK(!list_is_empty(&f->waiting));
	list_remove(&r->node);
	if (result == 0 && (r->op == BLK_READ || r->op == BLK_WRITE))
		fake_transfer(f, r);
	r->done(r, result);
	if (f->blk.round)
		f->blk.round(f->blk.round_opaque);
}

static void fake_drain(struct blk *b)
{
	while (!list_is_empty(&fake_of(b)->waiting))
		fake_finish(fake_of(b), fake_of(b)->drained);
}

static void fake_free(struct blk *b)
{
	free(fake_of(b));
}

static const struct blk_ops fake_ops = {
	.submit = fake_submit, .kick = fake_kick, .drain = fake_drain, .free = fake_free};

static struct fake_disk *fake_new(bool is_readonly)
{
	struct fake_disk *f = NEW(struct fake_disk);

	f->blk = (struct blk){.ops = &fake_ops,
			      .size = sizeof(f->data),
			      .block_size = 512,
			      .is_readonly = is_readonly};
	list_init(&f->waiting);
	for (size_t i = 0; i < sizeof(f->data); i++)
		f->data[i] = (u8)(i * 13 + i / 512);
	return f;
}

/* --- a driver --- */

#define FEATURES                                                                                   \
	(VIRTIO_F_VERSION_1 | VBLK_F_FLUSH | VBLK_F_CONFIG_WCE | VBLK_F_DISCARD |                  \
	 VBLK_F_WRITE_ZEROES)

static struct vclock *the_clock; /* of the tests that have limits */
static enum vblk_on_error on_error = VBLK_REPORT;
static bool is_writethrough;
static int held; /* what the device said last */

static void note_held(unused void *opaque, int result)
{
	held = result;
}

static struct virtio_device *new_blk(struct vdrv *d, struct blk *disk, u16 n_queues)
{
	const struct vblk_options o = {.name = "disk0",
				       .serial = "abc",
				       .disk = disk,
				       .n_queues = n_queues,
				       .clock = the_clock,
				       .on_error = on_error,
				       .is_writethrough = is_writethrough,
				       .held = note_held};
	struct err err = ERR_INIT;
	struct virtio_device *v;

	CHECK_EQ(vblk_new(&o, d->loop, d->gmem, &v, &err), 0);
	return v;
}

static struct fake_disk *start_fake(struct vdrv *d, u64 features)
{
	struct fake_disk *f = fake_new(false);

	vdrv_init(d);
	vdrv_start(d, new_blk(d, &f->blk, 1), features);
	return f;
}

struct request {
	gpa_t data, status;
};

/* Adds a request with data of size bytes, read by the device or written. */
static struct request add(struct vdrv *d, u32 type, u64 sector, const void *data, u32 size,
			  bool is_in)
{
	const struct vblk_header_wire h = {.type = le32_of(type), .sector = le64_of(sector)};
	struct request q = {.data = vdrv_put(d, data, size), .status = vdrv_put(d, NULL, 1)};
	struct fake_buf segs[] = {
		{vdrv_put(d, &h, sizeof(h)), sizeof(h), false},
		{q.data, size, is_in},
		{q.status, 1, true},
	};

	if (!size)
		segs[1] = segs[2];
	vdrv_add(d, 0, segs, size ? 3 : 2);
	vdrv_kick(d, 0);
	vdrv_settle(d);
	return q;
}

static u8 status_of(struct vdrv *d, struct request q)
{
	u8 s;

	vdrv_get(d, q.status, &s, 1);
	return s;
}

TEST(data_crosses_in_place_and_in_any_order)
{
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);
	u8 out[1024], back[1024];

	memset(out, 0x77, sizeof(out));
	struct request r = add(&d, VBLK_T_IN, 5, NULL, 1024, true);
	struct request w = add(&d, VBLK_T_OUT, 7, out, 1024, false);

	CHECK_EQ(f->n_submitted, 2);
	CHECK(f->n_kicked >= 2);
	CHECK_EQ(vdrv_used(&d, 0), 0);
	/* The second one first. */
	struct list *first = f->waiting.next;

	list_remove(first);
	list_append(&f->waiting, first);
	fake_finish(f, 0);
	CHECK_EQ(vdrv_used(&d, 0), 1);
	CHECK_EQ(status_of(&d, w), VBLK_S_OK);
	CHECK_EQ(vdrv_used_len(&d, 0, 0), 1);
	CHECK_MEM(f->data + 7 * 512, out, 1024);
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, r), VBLK_S_OK);
	CHECK_EQ(vdrv_used_len(&d, 0, 1), 1025);
	vdrv_get(&d, r.data, back, 1024);
	CHECK_MEM(back, f->data + 5 * 512, 1024);
	CHECK_EQ(d.n_interrupts[0], 2);
	vdrv_fini(&d);
}

TEST(a_failing_disk_is_an_io_error_in_the_guest)
{
	static const int errors[] = {-EIO, -ENOSPC, -EPERM};
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct request q = add(&d, VBLK_T_OUT, 0, NULL, 512, false);

		fake_finish(f, errors[i]);
		CHECK_EQ(status_of(&d, q), VBLK_S_IOERR);
	}
	vdrv_fini(&d);
}

TEST(what_does_not_fit_the_disk_is_refused)
{
	static const struct {
		u32 type;
		u64 sector;
		u32 size;
		u8 status;
	} bad[] = {
		{VBLK_T_IN, SECTORS, 512, VBLK_S_IOERR},
		{VBLK_T_IN, SECTORS - 1, 1024, VBLK_S_IOERR},
		{VBLK_T_OUT, UINT64_MAX, 512, VBLK_S_IOERR},
		{VBLK_T_OUT, UINT64_MAX / 512 + 1, 512, VBLK_S_IOERR}, /* wraps when in bytes */
		{VBLK_T_IN, 0, 511, VBLK_S_IOERR},
		{VBLK_T_IN, 0, 0, VBLK_S_OK},
		{2, 0, 512, VBLK_S_UNSUPP},
		{0xffffffff, 0, 512, VBLK_S_UNSUPP},
		{VBLK_T_GET_ID, 0, 19, VBLK_S_IOERR},
	};
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);

	for (u16 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct request q = add(&d, bad[i].type, bad[i].sector, NULL, bad[i].size,
				       bad[i].type != VBLK_T_OUT);

		CHECK_EQ(vdrv_used(&d, 0), i + 1);
		CHECK_EQ(status_of(&d, q), bad[i].status);
	}
	CHECK_EQ(f->n_submitted, 0);
	CHECK(!(d.v->status & VIRTIO_STATUS_NEEDS_RESET));
	vdrv_fini(&d);
}

TEST(a_request_without_header_or_status_asks_for_a_reset)
{
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);
	const struct vblk_header_wire h = {0};
	struct fake_buf short_header[] = {{vdrv_put(&d, &h, 15), 15, false},
					  {vdrv_put(&d, NULL, 1), 1, true}};
	struct fake_buf no_status[] = {{vdrv_put(&d, &h, 16), 16, false}};

	vdrv_add(&d, 0, short_header, 2);
	vdrv_kick(&d, 0);
	vdrv_settle(&d);
	CHECK(d.v->status & VIRTIO_STATUS_NEEDS_RESET);
	CHECK_EQ(d.n_config_interrupts, 1);
	vdrv_reset(&d);
	vdrv_start(&d, d.v, FEATURES);
	vdrv_add(&d, 0, no_status, 1);
	vdrv_kick(&d, 0);
	vdrv_settle(&d);
	CHECK(d.v->status & VIRTIO_STATUS_NEEDS_RESET);

	/* And works again afterwards. */
	vdrv_reset(&d);
	vdrv_start(&d, d.v, FEATURES);
	struct request q = add(&d, VBLK_T_IN, 0, NULL, 512, true);

	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	vdrv_fini(&d);
}

TEST(ranges_are_discarded_and_zeroed)
{
	static const struct {
		u32 type, sectors, flags, size;
		u8 status;
	} bad[] = {
		{VBLK_T_DISCARD, 8, 1, 16, VBLK_S_UNSUPP},
		{VBLK_T_WRITE_ZEROES, 8, 2, 16, VBLK_S_UNSUPP},
		{VBLK_T_DISCARD, 0, 0, 16, VBLK_S_IOERR},
		{VBLK_T_DISCARD, SECTORS, 0, 16, VBLK_S_IOERR}, /* from sector 1 on */
		{VBLK_T_DISCARD, UINT32_MAX, 0, 16, VBLK_S_IOERR},
		{VBLK_T_DISCARD, 8, 0, 15, VBLK_S_IOERR},
		{VBLK_T_DISCARD, 8, 0, 32, VBLK_S_IOERR},
	};
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);
	struct vblk_range_wire w[2] = {{.sector = le64_of(1)}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		w[0].num_sectors = le32_of(bad[i].sectors);
		w[0].flags = le32_of(bad[i].flags);
		struct request q = add(&d, bad[i].type, 0, w, bad[i].size, false);

		CHECK_EQ(status_of(&d, q), bad[i].status);
	}
	CHECK_EQ(f->n_submitted, 0);

	w[0].num_sectors = le32_of(8);
	w[0].flags = le32_of(1);
	struct request q = add(&d, VBLK_T_WRITE_ZEROES, 0, w, 16, false);

	CHECK_EQ(f->last.op, BLK_WRITE_ZEROES);
	CHECK(f->last.may_unmap);
	CHECK_EQ(f->last.offset, 512);
	CHECK_EQ(f->last.bytes, 8 * 512);
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	w[0].flags = le32_of(0);
	q = add(&d, VBLK_T_DISCARD, 0, w, 16, false);
	CHECK_EQ(f->last.op, BLK_DISCARD);
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	vdrv_fini(&d);
}

static void write_cache_mode(struct vdrv *d, u8 writeback)
{
	device_lock(&d->v->dev);
	virtio_write_config(d->v, offsetof(struct vblk_config_wire, writeback), &writeback, 1);
	device_unlock(&d->v->dev);
}

TEST(without_a_write_cache_writes_are_done_when_they_are_stable)
{
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);
	struct vblk_range_wire w = {.num_sectors = le32_of(8)};

	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	CHECK(!f->last.is_fua);
	fake_finish(f, 0);
	struct request q = add(&d, VBLK_T_FLUSH, 0, NULL, 0, false);

	CHECK_EQ(f->last.op, BLK_FLUSH);
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);

	write_cache_mode(&d, 0);
	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	CHECK(f->last.is_fua);
	fake_finish(f, 0);
	q = add(&d, VBLK_T_WRITE_ZEROES, 0, &w, 16, false);
	CHECK_EQ(f->last.op, BLK_WRITE_ZEROES);
	fake_finish(f, 0);
	CHECK_EQ(f->last.op, BLK_FLUSH); /* the same request goes on */
	CHECK_EQ(status_of(&d, q), 0xa5);
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);

	/* A reset turns it on again; a driver that knows no FLUSH gets stable writes. */
	vdrv_reset(&d);
	vdrv_start(&d, d.v, VIRTIO_F_VERSION_1);
	write_cache_mode(&d, 1);
	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	CHECK(f->last.is_fua);
	vdrv_fini(&d);
}

TEST(a_disk_without_a_write_cache_has_one_for_who_turns_it_on_only)
{
	struct vblk_config_wire c;
	struct fake_disk *f;
	struct vdrv d;

	is_writethrough = true;
	f = start_fake(&d, FEATURES);
	is_writethrough = false;
	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_EQ(c.writeback, 0);
	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	CHECK(f->last.is_fua);
	fake_finish(f, 0);
	write_cache_mode(&d, 1);
	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	CHECK(!f->last.is_fua);
	fake_finish(f, 0);

	/* A reset forgets that; a driver that flushes, but can't turn it on, has none. */
	vdrv_reset(&d);
	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_EQ(c.writeback, 0);
	vdrv_start(&d, d.v, VIRTIO_F_VERSION_1 | VBLK_F_FLUSH);
	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	CHECK(f->last.is_fua);
	vdrv_fini(&d);
}

TEST(a_readonly_disk_says_so_and_is_not_written)
{
	struct vdrv d;
	struct fake_disk *f = fake_new(true);
	struct vblk_range_wire w = {.num_sectors = le32_of(8)};

	vdrv_init(&d);
	vdrv_start(&d, new_blk(&d, &f->blk, 1), VIRTIO_F_VERSION_1 | VBLK_F_RO);
	CHECK(!(d.v->offered & (VBLK_F_DISCARD | VBLK_F_WRITE_ZEROES)));
	struct request q = add(&d, VBLK_T_OUT, 0, NULL, 512, false);

	CHECK_EQ(status_of(&d, q), VBLK_S_IOERR);
	q = add(&d, VBLK_T_WRITE_ZEROES, 0, &w, 16, false);
	CHECK_EQ(status_of(&d, q), VBLK_S_IOERR);
	CHECK_EQ(f->n_submitted, 0);
	vdrv_fini(&d);
}

TEST(the_configuration_and_the_serial_are_there)
{
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);
	struct vblk_config_wire c;
	u8 id[20];

	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_EQ(le64_get(c.capacity), SECTORS);
	CHECK_EQ(le32_get(c.seg_max), 254);
	CHECK_EQ(le32_get(c.blk_size), 512);
	CHECK_EQ(c.writeback, 1);
	CHECK_EQ(le16_get(c.num_queues), 1);
	CHECK_EQ(le32_get(c.max_discard_seg), 1);

	struct request q = add(&d, VBLK_T_GET_ID, 0, NULL, 20, true);

	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	vdrv_get(&d, q.data, id, sizeof(id));
	CHECK_MEM(id, "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	CHECK_EQ(f->n_submitted, 0);
	vdrv_fini(&d);
}

TEST(a_reset_waits_for_what_the_disk_has)
{
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES);
	struct request q = add(&d, VBLK_T_IN, 3, NULL, 512, true);

	device_lock(&d.v->dev);
	virtio_set_status(d.v, 0);
	device_unlock(&d.v->dev);
	CHECK(d.v->status != 0);
	fake_finish(f, 0);
	CHECK_EQ(d.v->status, 0);
	CHECK_EQ(d.n_resets, 1);
	CHECK_EQ(vdrv_used(&d, 0), 0); /* the rings are no longer ours */
	(void)q;
	vdrv_fini(&d);
}

TEST(a_pause_drains_and_the_state_moves_to_another_device)
{
	struct vdrv d;
	struct fake_disk *f = start_fake(&d, FEATURES), *g = fake_new(false);

	write_cache_mode(&d, 0);
	struct request q = add(&d, VBLK_T_IN, 3, NULL, 512, true);

	CHECK_EQ(f->n_submitted, 1);
	vdrv_move(&d, new_blk(&d, &g->blk, 1));
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	q = add(&d, VBLK_T_OUT, 9, NULL, 512, false);
	CHECK(g->last.is_fua);
	fake_finish(g, 0);
	CHECK_EQ(vdrv_used(&d, 0), 2);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	vdrv_fini(&d);
}

/* Each request takes three slots of 64, so that the rounds end in the middle of one. */
TEST(a_device_with_packed_rings_is_saved_in_any_round)
{
	struct fake_disk *f;
	struct vdrv d;

	f = start_fake(&d, FEATURES | VIRTIO_F_RING_PACKED);
	for (u16 i = 0; i < 100; i++) {
		struct request q = add(&d, VBLK_T_IN, i, NULL, 512, true);
		u8 data[512];

		fake_finish(f, 0);
		CHECK_EQ(vdrv_used(&d, 0), i + 1);
		CHECK_EQ(status_of(&d, q), VBLK_S_OK);
		vdrv_get(&d, q.data, data, sizeof(data));
		CHECK_MEM(data, f->data + i * 512, 512);
		if (i % 7 == 0) {
			f = fake_new(false);
			vdrv_move(&d, new_blk(&d, &f->blk, 1));
		}
	}
	vdrv_fini(&d);
}

/* --- limits --- */

static struct fake_disk *start_limited(struct vdrv *d, const struct limit_rates *rates)
{
	struct fake_disk *f = fake_new(false);
	struct virtio_device *v;

	the_clock = fake_clock_new();
	vdrv_init(d);
	v = new_blk(d, &f->blk, 1);
	vblk_set_limits(v, rates);
	fake_clock_advance(the_clock, 1);
	vdrv_start(d, v, FEATURES);
	return f;
}

static void end_limited(struct vdrv *d)
{
	vdrv_fini(d);
	CHECK(fake_clock_is_idle(the_clock));
	vclock_free(the_clock);
	the_clock = NULL;
}

TEST(what_is_over_the_limit_waits_its_turn)
{
	const struct limit_rates rates = {.ops = 10, .burst_ops = 2};
	struct vdrv d;
	struct fake_disk *f = start_limited(&d, &rates);

	for (u16 i = 0; i < 6; i++)
		add(&d, VBLK_T_IN, i, NULL, 512, true);
	vdrv_settle(&d);
	CHECK_EQ(f->n_submitted, 2);
	for (unsigned n = 3; n <= 6; n++) {
		fake_clock_advance(the_clock, NSEC_PER_SEC / 10);
		CHECK_EQ(f->n_submitted, n);
		CHECK_EQ(f->last.offset, (n - 1) * 512); /* in their order */
	}
	fake_clock_advance(the_clock, NSEC_PER_SEC);
	CHECK(fake_clock_is_idle(the_clock));
	CHECK_EQ(f->n_submitted, 6);
	fake_drain(&f->blk);
	CHECK_EQ(vdrv_used(&d, 0), 6);
	end_limited(&d);
}

TEST(a_flush_passes_what_waits)
{
	const struct limit_rates rates = {.bytes = 1, .burst_bytes = 1};
	struct vdrv d;
	struct fake_disk *f = start_limited(&d, &rates);
	struct request q;

	add(&d, VBLK_T_OUT, 0, NULL, 512, false);
	add(&d, VBLK_T_OUT, 1, NULL, 512, false);
	add(&d, VBLK_T_OUT, 2, NULL, 512, false);
	CHECK_EQ(f->n_submitted, 1);
	fake_finish(f, 0);
	q = add(&d, VBLK_T_FLUSH, 0, NULL, 0, false);
	CHECK_EQ(f->n_submitted, 2);
	CHECK_EQ(f->last.op, BLK_FLUSH);
	fake_finish(f, 0);
	CHECK_EQ(vdrv_used(&d, 0), 2);
	CHECK_EQ(status_of(&d, q), VBLK_S_OK);
	/* Discarding moves no bytes, but has its turn. */
	vblk_set_limits(d.v, &(struct limit_rates){0});
	fake_clock_advance(the_clock, 1);
	CHECK_EQ(f->n_submitted, 4);
	fake_drain(&f->blk);
	CHECK_EQ(vdrv_used(&d, 0), 4);
	end_limited(&d);
}

TEST(a_pause_lets_go_of_what_waits_and_counts_it)
{
	const struct limit_rates rates = {.ops = 10, .burst_ops = 1};
	struct vdrv d;
	struct fake_disk *f = start_limited(&d, &rates), *g = fake_new(false);
	struct limit_rates now;

	for (u16 i = 0; i < 5; i++)
		add(&d, VBLK_T_IN, i, NULL, 512, true);
	CHECK_EQ(f->n_submitted, 1);
	vdrv_move(&d, new_blk(&d, &g->blk, 1));
	CHECK_EQ(vdrv_used(&d, 0), 5);
	vblk_get_limits(d.v, &now);
	CHECK_EQ(now.ops, 10);
	add(&d, VBLK_T_IN, 0, NULL, 512, true);
	vdrv_settle(&d);
	CHECK_EQ(g->n_submitted, 0);
	fake_clock_advance(the_clock, NSEC_PER_SEC * 6 / 10);
	CHECK_EQ(g->n_submitted, 1);
	fake_drain(&g->blk);
	end_limited(&d);
}

TEST(a_reset_drops_what_waits)
{
	const struct limit_rates rates = {.ops = 1, .burst_ops = 1};
	struct vdrv d;
	struct fake_disk *f = start_limited(&d, &rates);

	for (u16 i = 0; i < 5; i++)
		add(&d, VBLK_T_IN, i, NULL, 512, true);
	CHECK_EQ(f->n_submitted, 1);
	fake_drain(&f->blk);
	vdrv_reset(&d);
	fake_clock_advance(the_clock, 100 * NSEC_PER_SEC);
	CHECK_EQ(f->n_submitted, 1);
	end_limited(&d);
}

/* A write whose memory the disk used up half-way is whole again when it is repeated. */
TEST(a_full_disk_makes_writes_wait_for_a_resume)
{
	struct vdrv d;
	struct fake_disk *f;
	u8 out[1024];

	on_error = VBLK_PAUSE_IF_FULL;
	f = start_fake(&d, FEATURES);
	held = 0;
	memset(out, 0x55, sizeof(out));
	struct request w = add(&d, VBLK_T_OUT, 7, out, 1024, false);
	struct request r = add(&d, VBLK_T_IN, 9, NULL, 512, true);
	struct blk_request *b = list_entry(f->waiting.next, struct blk_request, node);

	b->iov->iov_base = (u8 *)b->iov->iov_base + 512;
	b->iov->iov_len -= 512;
	fake_finish(f, -ENOSPC);
	CHECK_EQ(held, -ENOSPC);
	fake_finish(f, -ENOSPC); /* a read isn't helped by room */
	CHECK_EQ(status_of(&d, r), VBLK_S_IOERR);
	CHECK_EQ(vdrv_used(&d, 0), 1);
	CHECK(vblk_is_held(d.v));
	virtio_dev_quiesce(&d.v->dev);
	CHECK_EQ(vdrv_used(&d, 0), 1);
	virtio_dev_resume(&d.v->dev);
	CHECK(!vblk_is_held(d.v));
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, w), VBLK_S_OK);
	CHECK_MEM(f->data + 7 * 512, out, 1024);
	vdrv_fini(&d);
	on_error = VBLK_REPORT;
}

TEST(what_a_pause_cut_short_is_done_by_the_resume)
{
	struct vdrv d;
	struct fake_disk *f;
	struct request r;

	on_error = VBLK_REPORT;
	f = start_fake(&d, FEATURES);
	held = 0;
	r = add(&d, VBLK_T_IN, 9, NULL, 512, true);
	f->drained = -ENOTCONN;
	virtio_dev_quiesce(&d.v->dev);
	f->drained = 0;
	CHECK_EQ(vdrv_used(&d, 0), 0);
	CHECK_EQ(held, 0);
	CHECK(vblk_is_held(d.v));
	virtio_dev_resume(&d.v->dev);
	CHECK(!vblk_is_held(d.v));
	fake_finish(f, 0);
	CHECK_EQ(status_of(&d, r), VBLK_S_OK);
	/* While it runs, the guest hears of it. */
	r = add(&d, VBLK_T_IN, 9, NULL, 512, true);
	fake_finish(f, -ENOTCONN);
	CHECK_EQ(status_of(&d, r), VBLK_S_IOERR);
	vdrv_fini(&d);
}

TEST(what_waits_for_a_resume_is_dropped_by_a_reset)
{
	struct vdrv d;
	struct fake_disk *f;

	on_error = VBLK_PAUSE;
	f = start_fake(&d, FEATURES);
	add(&d, VBLK_T_IN, 9, NULL, 512, true);
	fake_finish(f, -EIO);
	CHECK(vblk_is_held(d.v));
	virtio_dev_quiesce(&d.v->dev);
	virtio_dev_reset(&d.v->dev);
	CHECK(!vblk_is_held(d.v));
	vdrv_fini(&d);
	on_error = VBLK_REPORT;
}

TEST(the_driver_is_told_of_another_size)
{
	struct err err = ERR_INIT;
	struct vdrv d;
	int fd = memfd_create("disk", MFD_CLOEXEC);
	const struct blk_raw_options o = {0};
	struct blk *b;
	struct request w;

	CHECK_EQ(ftruncate(fd, MIB), 0);
	vdrv_init(&d);
	CHECK_EQ(blk_raw_new(d.loop, fd, &o, &b, &err), 0);
	vdrv_start(&d, new_blk(&d, b, 1), FEATURES);
	CHECK_EQ(vblk_resize(d.v, 2 * MIB, &err), 0);
	CHECK_EQ(d.n_config_interrupts, 1);
	CHECK_EQ(le64_get(((struct vblk_config_wire *)d.v->config)->capacity), 2 * MIB / 512);
	w = add(&d, VBLK_T_OUT, 2 * MIB / 512 - 1, NULL, 512, false);
	vdrv_wait(&d, 0, 1);
	CHECK_EQ(status_of(&d, w), VBLK_S_OK);
	vdrv_fini(&d);
}

TEST(what_waits_when_the_disk_gets_smaller_comes_first)
{
	const struct limit_rates rates = {.ops = 10, .burst_ops = 1};
	const struct blk_raw_options o = {0};
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct request q[3];
	struct vdrv d;
	struct virtio_device *v;
	struct blk *b;

	CHECK_EQ(ftruncate(fd, 2 * MIB), 0);
	the_clock = fake_clock_new();
	vdrv_init(&d);
	CHECK_EQ(blk_raw_new(d.loop, fd, &o, &b, &err), 0);
	v = new_blk(&d, b, 1);
	vblk_set_limits(v, &rates);
	fake_clock_advance(the_clock, 1);
	vdrv_start(&d, v, FEATURES);
	for (unsigned i = 0; i < 3; i++)
		q[i] = add(&d, VBLK_T_IN, 2 * MIB / 512 - 1 - i, NULL, 512, true);
	vdrv_settle(&d);
	CHECK_EQ(vblk_resize(d.v, MIB, &err), 0);
	fake_clock_advance(the_clock, NSEC_PER_SEC);
	vdrv_wait(&d, 0, 3);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(status_of(&d, q[i]), VBLK_S_OK);
	end_limited(&d);
}

TEST(several_queues_share_the_disk)
{
	struct vdrv d;
	struct fake_disk *f = fake_new(false);

	vdrv_init(&d);
	vdrv_start(&d, new_blk(&d, &f->blk, 4), FEATURES | VBLK_F_MQ);
	for (u32 i = 0; i < 4; i++) {
		const struct vblk_header_wire h = {.type = le32_of(VBLK_T_FLUSH)};
		struct fake_buf segs[] = {{vdrv_put(&d, &h, sizeof(h)), sizeof(h), false},
					  {vdrv_put(&d, NULL, 1), 1, true}};

		vdrv_add(&d, i, segs, 2);
		vdrv_kick(&d, i);
		vdrv_settle(&d);
		fake_finish(f, 0);
		CHECK_EQ(vdrv_used(&d, i), 1);
	}
	vdrv_fini(&d);
}

TEST(a_real_disk_serves_many_requests_at_once)
{
	const struct blk_raw_options o = {.engine = BLK_ENGINE_AUTO};
	int fd = memfd_create("disk", MFD_CLOEXEC), probe;
	struct err err = ERR_INIT;
	struct request q[20];
	struct vdrv d;
	struct blk *disk;

	CHECK_EQ(ftruncate(fd, MIB), 0);
	probe = dup(fd);
	vdrv_init(&d);
	CHECK_EQ(blk_raw_new(d.loop, fd, &o, &disk, &err), 0);
	vdrv_start(&d, new_blk(&d, disk, 1), FEATURES | VIRTIO_F_EVENT_IDX);
	for (u32 i = 0; i < 20; i++) {
		u8 data[4096];

		memset(data, (int)i + 1, sizeof(data));
		q[i] = add(&d, VBLK_T_OUT, i * 8, data, sizeof(data), false);
	}
	vdrv_wait(&d, 0, 20);
	for (u32 i = 0; i < 20; i++) {
		u8 data[4096];

		CHECK_EQ(status_of(&d, q[i]), VBLK_S_OK);
		CHECK_EQ(fd_pread_full(probe, data, sizeof(data), i * 4096), 0);
		CHECK_EQ(data[0], i + 1);
		CHECK_EQ(data[4095], i + 1);
	}
	close(probe);
	vdrv_fini(&d);
}
