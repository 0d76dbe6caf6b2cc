/* virtio/vq: chains taken and given back, notifications, and every rule a driver can break. */
#include "test.h"

#include "base/err.h"
#include "fake_guest.h"
#include "virtio/vq.h"
#include "virtio/vq_regs.h"

#define RING  0x10000
#define TABLE 0x20000 /* indirect descriptors */
#define DATA  0x30000
#define SIZE  8
#define SEGS  16

struct bench {
	struct fake_guest guest;
	struct fake_ring ring;
	struct vq q;
	unsigned interrupts, idles;
	const char *broken;
};

static void bench_interrupt(struct vq *q)
{
	((struct bench *)q->owner)->interrupts++;
}

static void bench_broken(struct vq *q, const char *why)
{
	struct bench *b = q->owner;

	CHECK(!b->broken);
	b->broken = why;
}

static void bench_idle(struct vq *q)
{
	((struct bench *)q->owner)->idles++;
}

static const struct vq_ops bench_ops = {bench_interrupt, bench_broken, bench_idle};

static void bench_start(struct bench *b, bool has_event_idx)
{
	const char *why = NULL;

	b->q.config = (struct vq_config){
		.size = b->ring.size,
		.is_enabled = true,
		.desc = b->ring.desc,
		.driver = b->ring.driver,
		.device = b->ring.device,
	};
	CHECK_EQ(vq_start(&b->q, VIRTIO_F_INDIRECT_DESC | (has_event_idx ? VIRTIO_F_EVENT_IDX : 0),
			  &why),
		 0);
}

static void bench_init_stopped(struct bench *b)
{
	*b = (struct bench){0};
	fake_guest_init(&b->guest);
	fake_ring_init(&b->ring, &b->guest, RING, SIZE);
	b->q.max_size = 256;
	b->q.max_segs = SEGS;
	b->q.request_size = 40;
	vq_init(&b->q, &bench_ops, b, b->guest.gmem, 3);
}

static void bench_init(struct bench *b)
{
	bench_init_stopped(b);
	bench_start(b, false);
}

static void bench_fini(struct bench *b)
{
	u32 pins = 0;

	vq_fini(&b->q);
	pins += b->guest.ram->pins + b->guest.rom->pins + b->guest.high->pins;
	CHECK_EQ(pins, 0);
	fake_guest_fini(&b->guest);
}

/* The chain that was just offered is refused, in these words. */
static void bench_expect_broken(struct bench *b, const char *words)
{
	CHECK(!vq_pop(&b->q));
	CHECK(b->broken && strstr(b->broken, words));
	CHECK(!vq_is_running(&b->q));
	CHECK_EQ(vq_in_flight(&b->q), 0);
	CHECK(!vq_pop(&b->q));
	CHECK(!vq_enable_notify(&b->q));
	bench_fini(b);
}

TEST(a_chain_goes_through_and_comes_back)
{
	const struct fake_buf bufs[] = {{DATA, 4, false},
					{DATA + 0x100, 6, false},
					{DATA + 0x200, 3, true},
					{DATA + 0x300, 6, true}};
	struct vq_chain *c;
	u8 in[10], out[9];
	u32 id, len;
	struct bench b;

	bench_init(&b);
	fake_guest_put(&b.guest, DATA, "abcd", 4);
	fake_guest_put(&b.guest, DATA + 0x100, "efghij", 6);
	CHECK(!vq_pop(&b.q));
	u16 head = fake_ring_add(&b.ring, bufs, 4);

	c = vq_pop(&b.q);
	CHECK(c);
	CHECK_EQ(vq_of(c), &b.q);
	CHECK_EQ(vq_index(&b.q), 3);
	CHECK_EQ(vq_readable(c), 10);
	CHECK_EQ(vq_writable(c), 9);
	CHECK(!vq_take(c, in, 11));
	CHECK(vq_take(c, in, 10));
	CHECK_MEM(in, "abcdefghij", 10);
	CHECK(!vq_take(c, in, 1));
	CHECK(vq_reserve_status(c));
	CHECK_EQ(vq_writable(c), 8);
	CHECK(!vq_put(c, "123456789", 9));
	CHECK(vq_put(c, "12345678", 8));
	vq_put_status(c, '9');
	CHECK_EQ(vq_in_flight(&b.q), 1);
	vq_push(c, 9);
	CHECK_EQ(b.idles, 1);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 0);
	CHECK_EQ(b.interrupts, 0);
	vq_publish(&b.q);
	CHECK_EQ(b.interrupts, 1);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 1);
	fake_ring_used(&b.ring, 0, &id, &len);
	CHECK_EQ(id, head);
	CHECK_EQ(len, 9);
	fake_guest_get(&b.guest, DATA + 0x200, out, 3);
	fake_guest_get(&b.guest, DATA + 0x300, out + 3, 6);
	CHECK_MEM(out, "123456789", 9);
	vq_publish(&b.q);
	CHECK_EQ(b.interrupts, 1);
	CHECK(!b.broken);
	bench_fini(&b);
}

TEST(bytes_in_place_are_what_is_left)
{
	const struct fake_buf bufs[] = {{DATA, 4, false},
					{DATA + 0x100, 6, false},
					{DATA + 0x200, 8, true},
					{DATA + 0x300, 1, true}};
	const struct iovec *iov;
	struct vq_chain *c;
	struct bench b;
	u8 header[5];
	u32 n;

	bench_init(&b);
	fake_ring_add(&b.ring, bufs, 4);
	c = vq_pop(&b.q);
	CHECK(vq_take(c, header, 5));
	iov = vq_readable_iov(c, &n);
	CHECK_EQ(n, 1);
	CHECK_EQ(iov[0].iov_len, 5);
	CHECK_EQ(iov[0].iov_base, b.guest.ram->hva + DATA + 0x101);
	vq_skip_readable(c, 5);
	vq_readable_iov(c, &n);
	CHECK_EQ(n, 0);
	CHECK(vq_reserve_status(c)); /* a vector of its own, which goes */
	iov = vq_writable_iov(c, &n);
	CHECK_EQ(n, 1);
	CHECK_EQ(iov[0].iov_len, 8);
	vq_skip_writable(c, 8);
	vq_writable_iov(c, &n);
	CHECK_EQ(n, 0);
	CHECK_EQ(vq_writable(c), 0);
	vq_push(c, 9);
	bench_fini(&b);
}

TEST(a_chain_without_writable_bytes_has_no_status)
{
	struct vq_chain *c;
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 4, false}, 1);
	c = vq_pop(&b.q);
	CHECK(!vq_reserve_status(c));
	CHECK(!vq_put(c, "x", 1));
	vq_push(c, 0);
	bench_fini(&b);
}

TEST(request_bytes_belong_to_a_chain)
{
	struct vq_chain *c, *d;
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 4, false}, 1);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 4, false}, 1);
	c = vq_pop(&b.q);
	d = vq_pop(&b.q);
	memset(vq_private(c), 0xaa, 40);
	memset(vq_private(d), 0xbb, 40);
	CHECK_EQ(vq_chain_of(vq_private(c)), c);
	CHECK(is_aligned((u64)vq_private(d), 16));
	CHECK_EQ(vq_readable(c), 4);
	CHECK_EQ(vq_readable(d), 4);
	vq_push(d, 0);
	vq_push(c, 0);
	bench_fini(&b);
}

TEST(a_chain_that_is_put_back_comes_again)
{
	struct vq_chain *c;
	struct bench b;
	char buf[4];

	bench_init(&b);
	fake_guest_put(&b.guest, DATA, "abcd", 4);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 4, false}, 1);
	c = vq_pop(&b.q);
	CHECK(vq_take(c, buf, 2));
	vq_unpop(c);
	CHECK_EQ(b.idles, 1);
	c = vq_pop(&b.q);
	CHECK(c && vq_take(c, buf, 4));
	CHECK_MEM(buf, "abcd", 4);
	vq_push(c, 0);
	bench_fini(&b);
}

TEST(indirect_tables_follow_direct_buffers)
{
	const struct fake_buf bufs[] = {{DATA, 4, false}, {DATA + 0x100, 8, true}};
	struct vq_chain *c;
	struct bench b;

	bench_init(&b);
	fake_ring_add_indirect(&b.ring, TABLE, bufs, 2);
	c = vq_pop(&b.q);
	CHECK(c);
	CHECK_EQ(vq_readable(c), 4);
	CHECK_EQ(vq_writable(c), 8);
	vq_push(c, 0);

	/* 2.7.5.3.2: a normal descriptor, then the indirect one; its write flag says nothing. */
	fake_ring_desc(&b.ring, 4, DATA, 16, VQ_DESC_NEXT, 5);
	fake_ring_desc(&b.ring, 5, TABLE, 32, VQ_DESC_INDIRECT | VQ_DESC_WRITE, 0);
	fake_ring_offer(&b.ring, 4);
	c = vq_pop(&b.q);
	CHECK(c);
	CHECK_EQ(vq_readable(c), 20);
	CHECK_EQ(vq_writable(c), 8);
	vq_push(c, 0);
	bench_fini(&b);
}

TEST(buffers_may_cross_ranges_and_be_empty)
{
	const struct fake_buf bufs[] = {{FAKE_ROM_GPA - 16, 32, false}, {DATA, 0, true}};
	struct vq_chain *c;
	struct bench b;
	u32 n;

	bench_init(&b);
	fake_ring_add(&b.ring, bufs, 2);
	c = vq_pop(&b.q);
	CHECK(c);
	vq_readable_iov(c, &n);
	CHECK_EQ(n, 2);
	CHECK_EQ(vq_readable(c), 32);
	CHECK_EQ(vq_writable(c), 0);
	CHECK(!vq_reserve_status(c));
	vq_push(c, 0);
	bench_fini(&b);
}

TEST(indices_wrap)
{
	struct bench b;

	bench_init(&b);
	for (unsigned i = 0; i < 0x10000 + 3 * SIZE; i++) {
		struct vq_chain *c;

		fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1 + i % 7, true}, 1);
		c = vq_pop(&b.q);
		CHECK(c);
		vq_push(c, i % 7);
		vq_publish(&b.q);
		CHECK_EQ(fake_ring_used_idx(&b.ring), (u16)(i + 1));
	}
	bench_fini(&b);
}

TEST(without_event_index_flags_suppress)
{
	struct bench b;

	bench_init(&b);
	vq_disable_notify(&b.q);
	CHECK_EQ(fake_ring_used_flags(&b.ring), VQ_USED_NO_NOTIFY);
	CHECK(!vq_enable_notify(&b.q));
	CHECK_EQ(fake_ring_used_flags(&b.ring), 0);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, false}, 1);
	CHECK(vq_enable_notify(&b.q));
	fake_ring_set_avail_flags(&b.ring, VQ_AVAIL_NO_INTERRUPT);
	vq_push(vq_pop(&b.q), 0);
	vq_publish(&b.q);
	CHECK_EQ(b.interrupts, 0);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 1);
	bench_fini(&b);
}

TEST(with_event_index_events_decide)
{
	struct bench b;

	bench_init_stopped(&b);
	bench_start(&b, true);
	fake_ring_set_used_event(&b.ring, 2);                      /* after the third */
	fake_ring_set_avail_flags(&b.ring, VQ_AVAIL_NO_INTERRUPT); /* means nothing now */
	for (unsigned i = 0; i < 4; i++) {
		fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, false}, 1);
		vq_push(vq_pop(&b.q), 0);
		vq_publish(&b.q);
		CHECK_EQ(b.interrupts, i >= 2);
	}
	CHECK(!vq_enable_notify(&b.q));
	CHECK_EQ(fake_ring_avail_event(&b.ring), 4);
	vq_disable_notify(&b.q);
	CHECK_EQ(fake_ring_used_flags(&b.ring), 0);

	/* A batch that passes the event interrupts once. */
	fake_ring_set_used_event(&b.ring, 5);
	for (unsigned i = 0; i < 3; i++) {
		fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, false}, 1);
		vq_push(vq_pop(&b.q), 0);
	}
	vq_publish(&b.q);
	CHECK_EQ(b.interrupts, 2);
	bench_fini(&b);
}

TEST(a_paused_queue_has_nothing_to_pop)
{
	struct vq_chain *c;
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, false}, 1);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, false}, 1);
	c = vq_pop(&b.q);
	b.q.is_paused = true;
	CHECK(!vq_pop(&b.q));
	CHECK(!vq_has_chains(&b.q));
	CHECK(!vq_enable_notify(&b.q));
	vq_push(c, 0);
	vq_publish(&b.q);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 1);
	b.q.is_paused = false;
	vq_push(vq_pop(&b.q), 0);
	bench_fini(&b);
}

TEST(chains_that_outlive_the_queue_leave_no_trace)
{
	struct vq_chain *c;
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, true}, 1);
	c = vq_pop(&b.q);
	vq_stop(&b.q);
	CHECK(!vq_pop(&b.q));
	vq_push(c, 1);
	vq_publish(&b.q);
	CHECK_EQ(b.idles, 1);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 0);
	vq_reset(&b.q);
	CHECK_EQ(b.q.config.size, 256);
	CHECK(!b.q.config.is_enabled);
	bench_fini(&b);
}

TEST(writes_are_marked_before_the_driver_can_know)
{
	struct err err = ERR_INIT;
	struct vq_chain *c;
	struct bench b;
	u64 bits[FAKE_RAM_SIZE / PAGE_SIZE / 64];

	bench_init(&b);
	CHECK_EQ(gmem_log_start(b.guest.gmem, &err), 0);
	fake_ring_add(&b.ring, &(struct fake_buf){DATA, 4, true}, 1);
	gmem_log_take(b.guest.gmem, b.guest.ram, bits);
	c = vq_pop(&b.q);
	CHECK(vq_put(c, "abcd", 4));
	vq_push(c, 4);
	gmem_log_take(b.guest.gmem, b.guest.ram, bits);
	CHECK(bits[DATA / PAGE_SIZE / 64] & BIT(DATA / PAGE_SIZE % 64));
	CHECK_EQ(fake_ring_used_idx(&b.ring), 0);
	vq_publish(&b.q);
	gmem_log_take(b.guest.gmem, b.guest.ram, bits);
	u64 page = b.ring.device / PAGE_SIZE;

	CHECK(bits[page / 64] & BIT(page % 64));
	bench_fini(&b);
}

/* --- drivers that break the rules --- */

TEST(a_head_beyond_the_table_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_offer(&b.ring, SIZE);
	bench_expect_broken(&b, "beyond");
}

TEST(a_next_beyond_the_table_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_desc(&b.ring, 0, DATA, 1, VQ_DESC_NEXT, SIZE);
	fake_ring_offer(&b.ring, 0);
	bench_expect_broken(&b, "beyond");
}

TEST(an_index_that_ran_ahead_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_set_avail_idx(&b.ring, SIZE + 1);
	bench_expect_broken(&b, "further");
}

TEST(an_index_that_ran_back_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_set_avail_idx(&b.ring, 0xffff);
	bench_expect_broken(&b, "further");
}

TEST(a_loop_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_desc(&b.ring, 0, DATA, 1, VQ_DESC_NEXT, 1);
	fake_ring_desc(&b.ring, 1, DATA, 1, VQ_DESC_NEXT, 0);
	fake_ring_offer(&b.ring, 0);
	bench_expect_broken(&b, "loop");
}

TEST(a_loop_of_empty_buffers_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_desc(&b.ring, 0, DATA, 0, VQ_DESC_NEXT, 0);
	fake_ring_offer(&b.ring, 0);
	bench_expect_broken(&b, "loop");
}

TEST(readable_behind_writable_breaks)
{
	const struct fake_buf bufs[] = {{DATA, 4, true}, {DATA, 4, false}};
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, bufs, 2);
	bench_expect_broken(&b, "behind");
}

TEST(a_buffer_outside_memory_breaks)
{
	const struct fake_buf bufs[] = {{DATA, 4, false}, {2 * MIB, 4, false}};
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, bufs, 2);
	bench_expect_broken(&b, "memory");
}

TEST(a_buffer_that_runs_out_of_memory_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){FAKE_HIGH_GPA, FAKE_HIGH_SIZE + 1, true}, 1);
	bench_expect_broken(&b, "memory");
}

TEST(a_buffer_that_wraps_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){UINT64_MAX - 4, 64, false}, 1);
	bench_expect_broken(&b, "memory");
}

TEST(writing_rom_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_add(&b.ring, &(struct fake_buf){FAKE_ROM_GPA, 4, true}, 1);
	bench_expect_broken(&b, "memory");
}

TEST(more_than_4_gib_breaks)
{
	struct bench b;

	/* RAM of any size would do: the sum is checked before the memory. */
	bench_init(&b);
	fake_ring_desc(&b.ring, 0, DATA, 16, VQ_DESC_NEXT, 1);
	fake_ring_desc(&b.ring, 1, DATA, UINT32_MAX - 8, 0, 0);
	fake_ring_offer(&b.ring, 0);
	bench_expect_broken(&b, "2^32");
}

TEST(an_indirect_table_in_an_indirect_table_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_table_desc(&b.guest, TABLE, 0, TABLE + 0x100, 16, VQ_DESC_INDIRECT, 0);
	fake_ring_desc(&b.ring, 0, TABLE, 16, VQ_DESC_INDIRECT, 0);
	fake_ring_offer(&b.ring, 0);
	bench_expect_broken(&b, "inside");
}

TEST(an_indirect_table_with_a_successor_breaks)
{
	struct bench b;

	bench_init(&b);
	fake_ring_desc(&b.ring, 0, TABLE, 16, VQ_DESC_INDIRECT | VQ_DESC_NEXT, 1);
	fake_ring_offer(&b.ring, 0);
	bench_expect_broken(&b, "successor");
}

TEST(an_indirect_table_of_odd_size_breaks)
{
	static const u32 sizes[] = {0, 8, 17};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bench b;

		bench_init(&b);
		fake_ring_desc(&b.ring, 0, TABLE, sizes[i], VQ_DESC_INDIRECT, 0);
		fake_ring_offer(&b.ring, 0);
		bench_expect_broken(&b, "odd size");
	}
}

TEST(an_indirect_table_outside_memory_breaks)
{
	static const gpa_t tables[] = {2 * MIB, UINT64_MAX - 8,
				       FAKE_HIGH_GPA + FAKE_HIGH_SIZE - 16};

	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
		struct bench b;

		bench_init(&b);
		fake_ring_desc(&b.ring, 0, tables[i], 32, VQ_DESC_INDIRECT, 0);
		fake_ring_offer(&b.ring, 0);
		bench_expect_broken(&b, "table is not in");
	}
}

TEST(an_indirect_table_without_the_feature_breaks)
{
	struct bench b;

	bench_init(&b);
	b.q.has_indirect = false;
	fake_ring_add_indirect(&b.ring, TABLE, &(struct fake_buf){DATA, 1, false}, 1);
	bench_expect_broken(&b, "without the feature");
}

TEST(a_chain_of_too_many_buffers_breaks)
{
	struct fake_buf bufs[SEGS + 1];
	struct bench b;

	for (unsigned i = 0; i <= SEGS; i++)
		bufs[i] = (struct fake_buf){DATA, 1, true};
	bench_init(&b);
	fake_ring_add_indirect(&b.ring, TABLE, bufs, SEGS);
	vq_push(vq_pop(&b.q), 0);
	fake_ring_add_indirect(&b.ring, TABLE, bufs, SEGS + 1);
	bench_expect_broken(&b, "too many");
}

TEST(more_chains_than_descriptors_break)
{
	struct vq_chain *held[SIZE];
	struct bench b;

	bench_init(&b);
	for (unsigned i = 0; i < SIZE; i++) {
		fake_ring_add(&b.ring, &(struct fake_buf){DATA, 1, false}, 1);
		held[i] = vq_pop(&b.q);
		CHECK(held[i]);
	}
	fake_ring_offer(&b.ring, 0); /* a descriptor that the device has already */
	CHECK(!vq_pop(&b.q));
	CHECK(b.broken && strstr(b.broken, "more chains"));
	for (unsigned i = 0; i < SIZE; i++)
		vq_push(held[i], 0);
	vq_publish(&b.q);
	CHECK_EQ(fake_ring_used_idx(&b.ring), 0);
	bench_fini(&b);
}

TEST(rings_in_impossible_places_do_not_start)
{
	static const struct {
		struct vq_config config;
		const char *words;
	} cases[] = {
		{{0, true, 0x1000, 0x2000, 0x3000}, "size is not possible"},
		{{12, true, 0x1000, 0x2000, 0x3000}, "size is not possible"},
		{{512, true, 0x1000, 0x2000, 0x4000}, "size is not possible"},
		{{8, true, 0x1008, 0x2000, 0x3000}, "aligned"},
		{{8, true, 0x1000, 0x2001, 0x3000}, "aligned"},
		{{8, true, 0x1000, 0x2000, 0x3002}, "aligned"},
		{{8, true, 2 * MIB, 0x2000, 0x3000}, "descriptor table"},
		{{8, true, FAKE_ROM_GPA - 16, 0x2000, 0x3000}, "descriptor table"},
		{{8, true, 0x1000, UINT64_MAX - 1, 0x3000}, "available ring"},
		{{8, true, 0x1000, 0x2000, FAKE_ROM_GPA}, "used ring"},
		{{8, true, 0x1000, 0x2000, FAKE_HIGH_GPA + FAKE_HIGH_SIZE - 8}, "used ring"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = NULL;
		struct bench b;

		bench_init_stopped(&b);
		b.q.config = cases[i].config;
		CHECK_EQ(vq_start(&b.q, VIRTIO_F_EVENT_IDX, &why), -EINVAL);
		CHECK(why && strstr(why, cases[i].words));
		CHECK(!vq_is_running(&b.q));
		CHECK(!vq_pop(&b.q));
		bench_fini(&b);
	}
}
