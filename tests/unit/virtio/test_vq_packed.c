/* virtio/vq with packed rings: what differs from split ones, and the rules that only they have. */
#include "test.h"

#include "base/err.h"
#include "fake_guest.h"
#include "virtio/vq.h"
#include "virtio/vq_regs.h"

#define RING  0x10000
#define TABLE 0x20000
#define DATA  0x30000
#define SIZE  5 /* no power of two: packed rings need none (2.8.10.1) */
#define SEGS  16
#define LAP   0x8000 /* of a position */

struct bench {
	struct fake_guest guest;
	struct fake_ring ring;
	struct vq q;
	unsigned interrupts;
	const char *broken;
};

static void bench_interrupt(struct vq *q)
{
	((struct bench *)q->owner)->interrupts++;
}

static void bench_broken(struct vq *q, const char *why)
{
	((struct bench *)q->owner)->broken = why;
}

static void bench_idle(unused struct vq *q)
{
}

static int bench_start(struct bench *b, bool has_event_idx, const char **out_why)
{
	b->q.config = (struct vq_config){
		.size = b->ring.size,
		.is_enabled = true,
		.desc = b->ring.desc,
		.driver = b->ring.driver,
		.device = b->ring.device,
	};
	return vq_start(&b->q,
			VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC |
				(has_event_idx ? VIRTIO_F_EVENT_IDX : 0),
			out_why);
}

static void bench_init_stopped(struct bench *b)
{
	static const struct vq_ops ops = {bench_interrupt, bench_broken, bench_idle};

	*b = (struct bench){0};
	fake_guest_init(&b->guest);
	fake_ring_init(&b->ring, &b->guest, RING, SIZE);
	fake_ring_make_packed(&b->ring);
	b->q.max_size = 256;
	b->q.max_segs = SEGS;
	vq_init(&b->q, &ops, b, b->guest.gmem, 0);
}

static void bench_init(struct bench *b, bool has_event_idx)
{
	const char *why = NULL;

	bench_init_stopped(b);
	CHECK_EQ(bench_start(b, has_event_idx, &why), 0);
}

static void bench_fini(struct bench *b)
{
	vq_fini(&b->q);
	CHECK_EQ(b->guest.ram->pins + b->guest.rom->pins + b->guest.high->pins, 0);
	fake_guest_fini(&b->guest);
}

static void bench_expect_broken(struct bench *b, const char *words)
{
	CHECK(!vq_pop(&b->q));
	CHECK(b->broken && strstr(b->broken, words));
	CHECK_EQ(vq_in_flight(&b->q), 0);
	CHECK(!vq_pop(&b->q));
	bench_fini(b);
}

static void bench_add(struct bench *b, u16 n)
{
	struct fake_buf bufs[SIZE];

	for (u16 i = 0; i < n; i++)
		bufs[i] = (struct fake_buf){DATA + i * 64u, 4, i + 1 == n};
	fake_ring_add(&b->ring, bufs, n);
}

TEST(chains_go_round_with_their_slots)
{
	struct bench b;

	bench_init(&b, false);
	/* 1 + 2 + 3 slots of five: every chain begins everywhere in time. */
	for (unsigned i = 0; i < 1000; i++) {
		u32 id, len;

		bench_add(&b, (u16)(1 + i % 3));

		struct vq_chain *c = vq_pop(&b.q);

		CHECK(c);
		CHECK_EQ(vq_readable(c), 4 * (i % 3));
		CHECK(vq_put(c, "abcd", 4));
		vq_push(c, 4);
		CHECK_EQ(fake_ring_used_idx(&b.ring), i);
		vq_publish(&b.q);
		CHECK_EQ(fake_ring_used_idx(&b.ring), i + 1);
		fake_ring_used(&b.ring, (u16)i, &id, &len);
		CHECK_EQ(len, 4);
	}
	CHECK_EQ(b.interrupts, 1000);
	bench_fini(&b);
}

TEST(a_batch_is_shown_at_once_by_its_first_entry)
{
	struct vq_chain *c[4];
	u32 id, len;
	struct bench b;

	bench_init(&b, false);
	for (unsigned i = 0; i < 4; i++) {
		bench_add(&b, 1);
		c[i] = vq_pop(&b.q);
		CHECK(c[i]);
	}
	for (int i = 3; i >= 0; i--)
		vq_push(c[i], (u32)i);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 0);
	vq_publish(&b.q);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 4);
	CHECK_EQ(b.interrupts, 1);
	for (u16 i = 0; i < 4; i++) { /* in the order in which they were pushed */
		fake_ring_used(&b.ring, i, &id, &len);
		CHECK_EQ(id, 3 - i);
		CHECK_EQ(len, 3 - i);
	}
	bench_fini(&b);
}

TEST(an_indirect_table_takes_one_slot)
{
	const struct fake_buf bufs[] = {{DATA, 4, false}, {DATA + 64, 8, false}, {DATA, 16, true}};
	struct bench b;

	bench_init(&b, false);
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		fake_ring_add_indirect(&b.ring, TABLE, bufs, 3);

		struct vq_chain *c = vq_pop(&b.q);

		CHECK(c);
		CHECK_EQ(vq_readable(c), 12);
		CHECK_EQ(vq_writable(c), 16);
		vq_push(c, 0);
		vq_publish(&b.q);
		CHECK_EQ(fake_ring_used_idx(&b.ring), i + 1);
	}
	bench_fini(&b);
}

TEST(of_an_indirect_entry_only_the_write_flag_counts)
{
	struct vq_chain *c;
	struct bench b;

	bench_init(&b, false);
	fake_packed_table_desc(&b.guest, TABLE, 0, DATA, 4, 0xabcd,
			       VQ_DESC_INDIRECT | VQ_DESC_NEXT);
	fake_packed_table_desc(&b.guest, TABLE, 1, DATA, 4, 7, VQ_DESC_WRITE);
	fake_packed_desc(&b.ring, 0, TABLE, 32, 3,
			 VQ_DESC_INDIRECT | VQ_DESC_WRITE | VQ_PACKED_AVAIL);
	c = vq_pop(&b.q);
	CHECK(c);
	CHECK_EQ(vq_readable(c), 4);
	CHECK_EQ(vq_writable(c), 4);
	vq_push(c, 0);
	bench_fini(&b);
}

TEST(a_chain_that_is_put_back_comes_again_over_the_wrap)
{
	struct vq_chain *c, *d;
	struct bench b;

	bench_init(&b, false);
	bench_add(&b, 3);
	vq_push(vq_pop(&b.q), 0);
	vq_publish(&b.q);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 1);
	bench_add(&b, 3);
	bench_add(&b, 2);
	c = vq_pop(&b.q);
	d = vq_pop(&b.q);
	CHECK(c && d);
	CHECK(!vq_pop(&b.q));
	vq_unpop(d);
	vq_unpop(c);
	c = vq_pop(&b.q);
	CHECK_EQ(vq_readable(c), 8);
	vq_push(c, 0);
	vq_push(vq_pop(&b.q), 0);
	vq_publish(&b.q);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 3);
	CHECK(!b.broken);
	bench_fini(&b);
}

TEST(positions_begin_where_they_are_said_to)
{
	const char *why = NULL;
	struct bench b;

	bench_init(&b, true);
	for (unsigned i = 0; i < 7; i++) { /* into the odd round */
		bench_add(&b, 1);
		vq_push(vq_pop(&b.q), 0);
		vq_publish(&b.q);
		CHECK_EQ(fake_ring_used_idx(&b.ring), i + 1);
	}
	CHECK_EQ(b.q.next_avail, 2 | LAP);
	CHECK_EQ(b.q.next_used, 2 | LAP);
	vq_stop(&b.q);
	CHECK_EQ(bench_start(&b, true, &why), 0);
	bench_add(&b, 2);
	CHECK(vq_has_chains(&b.q));
	vq_push(vq_pop(&b.q), 0);
	vq_publish(&b.q);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 8);
	bench_fini(&b);
}

TEST(impossible_positions_do_not_start)
{
	static const struct {
		u16 next_avail, next_used;
	} cases[] = {/* beyond the ring, or further apart than it is long */
		     {SIZE, 0}, {0, SIZE}, {SIZE | LAP, LAP}, {0, 1}, {1, LAP}, {2, 1 | LAP}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = NULL;
		struct bench b;

		bench_init_stopped(&b);
		b.q.next_avail = cases[i].next_avail;
		b.q.next_used = cases[i].next_used;
		CHECK_EQ(bench_start(&b, false, &why), -EINVAL);
		CHECK(strstr(why, "positions"));
		bench_fini(&b);
	}
}

/* --- suppression --- */

TEST(without_event_positions_flags_suppress)
{
	struct bench b;

	bench_init(&b, false);
	struct fake_ring before = b.ring;

	bench_add(&b, 1);
	CHECK(fake_ring_wants_notify(&b.ring, false, &before));
	vq_disable_notify(&b.q);
	CHECK(!fake_ring_wants_notify(&b.ring, false, &before));
	CHECK(vq_enable_notify(&b.q));
	CHECK(fake_ring_wants_notify(&b.ring, false, &before));
	fake_ring_want_interrupt(&b.ring, false, 0);
	vq_push(vq_pop(&b.q), 0);
	vq_publish(&b.q);
	CHECK_EQ(b.interrupts, 0);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 1);
	/* The flag that only event positions have counts as "always". */
	fake_ring_want_interrupt(&b.ring, true, 3);
	bench_add(&b, 1);
	vq_push(vq_pop(&b.q), 0);
	vq_publish(&b.q);
	CHECK_EQ(b.interrupts, 1);
	bench_fini(&b);
}

TEST(with_event_positions_they_decide_in_each_round)
{
	struct bench b;

	bench_init(&b, true);
	for (unsigned i = 0; i < 20; i++) {
		unsigned before = b.interrupts;

		/* After the third slot from here; chains have two. */
		fake_ring_want_interrupt(&b.ring, true, 3);
		bench_add(&b, 2);
		vq_push(vq_pop(&b.q), 0);
		vq_publish(&b.q);
		CHECK_EQ(b.interrupts, before);
		CHECK_EQ(fake_ring_used_idx(&b.ring), 2 * i + 1);
		bench_add(&b, 2);
		vq_push(vq_pop(&b.q), 0);
		vq_publish(&b.q);
		CHECK_EQ(b.interrupts, before + 1);
		CHECK_EQ(fake_ring_used_idx(&b.ring), 2 * i + 2);
	}
	bench_fini(&b);
}

TEST(the_driver_is_asked_for_the_next_chain_in_each_round)
{
	struct bench b;

	bench_init(&b, true);
	for (unsigned i = 0; i < 20; i++) {
		CHECK(!vq_enable_notify(&b.q));

		struct fake_ring before = b.ring;

		bench_add(&b, 2);
		CHECK(fake_ring_wants_notify(&b.ring, true, &before));
		before = b.ring;
		bench_add(&b, 1);
		CHECK(!fake_ring_wants_notify(&b.ring, true, &before));
		vq_push(vq_pop(&b.q), 0);
		vq_push(vq_pop(&b.q), 0);
		vq_publish(&b.q);
		fake_ring_used_idx(&b.ring);
	}
	bench_fini(&b);
}

TEST(writes_are_marked)
{
	u64 bits[FAKE_RAM_SIZE / PAGE_SIZE / 64];
	u64 page = RING / PAGE_SIZE;
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b, false);
	CHECK_EQ(gmem_log_start(b.guest.gmem, &err), 0);
	bench_add(&b, 1);
	gmem_log_take(b.guest.gmem, b.guest.ram, bits);
	vq_push(vq_pop(&b.q), 0);
	gmem_log_take(b.guest.gmem, b.guest.ram, bits);
	CHECK(bits[page / 64] & BIT(page % 64));
	vq_publish(&b.q);
	gmem_log_take(b.guest.gmem, b.guest.ram, bits);
	CHECK(bits[page / 64] & BIT(page % 64));
	bench_fini(&b);
}

/* --- drivers that break the rules --- */

TEST(a_list_without_an_end_breaks)
{
	struct bench b;

	bench_init(&b, false);
	for (u16 i = 0; i < SIZE; i++)
		fake_packed_desc(&b.ring, i, DATA, 1, i, VQ_DESC_NEXT | VQ_PACKED_AVAIL);
	bench_expect_broken(&b, "not the driver's");
}

TEST(a_list_into_chains_that_are_out_breaks)
{
	struct vq_chain *held;
	struct bench b;

	bench_init(&b, false);
	bench_add(&b, 3);
	held = vq_pop(&b.q);
	CHECK(held);
	for (u16 i = 0; i < 3; i++)
		fake_packed_desc(&b.ring, (u16)((3 + i) % SIZE), DATA, 1, i,
				 VQ_DESC_NEXT | VQ_PACKED_AVAIL);
	CHECK(!vq_pop(&b.q));
	CHECK(b.broken && strstr(b.broken, "not the driver's"));
	vq_push(held, 0);
	bench_fini(&b);
}

TEST(descriptors_that_are_out_offered_again_break)
{
	struct vq_chain *held[SIZE];
	struct bench b;

	bench_init(&b, false);
	for (unsigned i = 0; i < SIZE; i++) {
		bench_add(&b, 1);
		held[i] = vq_pop(&b.q);
	}
	bench_add(&b, 1);
	CHECK(!vq_pop(&b.q));
	CHECK(b.broken);
	for (unsigned i = 0; i < SIZE; i++)
		vq_push(held[i], 0);
	vq_publish(&b.q);
	bench_fini(&b);
}

TEST(an_indirect_descriptor_in_a_list_breaks)
{
	struct bench b;

	bench_init(&b, false);
	fake_packed_desc(&b.ring, 0, TABLE, 16, 0,
			 VQ_DESC_INDIRECT | VQ_DESC_NEXT | VQ_PACKED_AVAIL);
	bench_expect_broken(&b, "in a list");

	bench_init(&b, false);
	fake_packed_desc(&b.ring, 0, DATA, 16, 0, VQ_DESC_NEXT | VQ_PACKED_AVAIL);
	fake_packed_desc(&b.ring, 1, TABLE, 16, 0, VQ_DESC_INDIRECT | VQ_PACKED_AVAIL);
	bench_expect_broken(&b, "in a list");
}

TEST(bad_indirect_tables_break)
{
	static const struct {
		gpa_t table;
		u32 size;
		const char *words;
	} cases[] = {
		{TABLE, 0, "odd size"},
		{TABLE, 17, "odd size"},
		{2 * MIB, 16, "table is not in"},
		{FAKE_HIGH_GPA + FAKE_HIGH_SIZE - 16, 32, "table is not in"},
		{TABLE, (SEGS + 1) * 16, "too many"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench b;

		bench_init(&b, false);
		fake_packed_desc(&b.ring, 0, cases[i].table, cases[i].size, 0,
				 VQ_DESC_INDIRECT | VQ_PACKED_AVAIL);
		bench_expect_broken(&b, cases[i].words);
	}
}

TEST(an_indirect_table_without_the_feature_breaks)
{
	struct bench b;

	bench_init(&b, false);
	b.q.has_indirect = false;
	fake_ring_add_indirect(&b.ring, TABLE, &(struct fake_buf){DATA, 1, false}, 1);
	bench_expect_broken(&b, "without the feature");
}

TEST(bad_buffers_break)
{
	static const struct {
		gpa_t gpa;
		u32 len;
		u16 flags;
		const char *words;
	} cases[] = {
		{2 * MIB, 4, 0, "memory"},
		{UINT64_MAX - 4, 64, 0, "memory"},
		{FAKE_HIGH_GPA, FAKE_HIGH_SIZE + 1, VQ_DESC_WRITE, "memory"},
		{FAKE_ROM_GPA, 4, VQ_DESC_WRITE, "memory"},
	};
	struct bench b;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_init(&b, false);
		fake_packed_desc(&b.ring, 0, cases[i].gpa, cases[i].len, 0,
				 (u16)(cases[i].flags | VQ_PACKED_AVAIL));
		bench_expect_broken(&b, cases[i].words);
	}
	bench_init(&b, false);
	fake_ring_add(&b.ring, (const struct fake_buf[]){{DATA, 4, true}, {DATA + 64, 4, false}},
		      2);
	bench_expect_broken(&b, "behind");
}

TEST(rings_in_impossible_places_do_not_start)
{
	static const struct {
		struct vq_config config;
		const char *words;
	} cases[] = {
		{{0, true, 0x1000, 0x2000, 0x3000}, "size"},
		{{257, true, 0x1000, 0x2000, 0x4000}, "size"},
		{{5, true, 0x1008, 0x2000, 0x3000}, "aligned"},
		{{5, true, 0x1000, 0x2002, 0x3000}, "aligned"},
		{{5, true, 0x1000, 0x2000, 0x3002}, "aligned"},
		{{5, true, FAKE_ROM_GPA, 0x2000, 0x3000}, "descriptor ring"},
		{{5, true, FAKE_ROM_GPA - 64, 0x2000, 0x3000}, "descriptor ring"},
		{{5, true, 0x1000, UINT64_MAX - 3, 0x3000}, "driver's"},
		{{5, true, 0x1000, 0x2000, FAKE_ROM_GPA}, "device's"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = NULL;
		struct bench b;

		bench_init_stopped(&b);
		b.q.config = cases[i].config;
		CHECK_EQ(vq_start(&b.q, VIRTIO_F_RING_PACKED, &why), -EINVAL);
		CHECK(why && strstr(why, cases[i].words));
		CHECK(!vq_is_running(&b.q));
		bench_fini(&b);
	}
}
