/*
 * virtio-balloon: what is inflated and reported goes back to the host, and nothing else; statistics
 * are asked for; page numbers of a driver that lies do no harm.
 */
#include "virtio/balloon.h"

#include <stdlib.h>

#include "base/err.h"
#include "device_check.h"
#include "test.h"
#include "virtio/balloon_wire.h"
#include "virtio_driver.h"

#define ALL_FEATURES                                                                               \
	(VIRTIO_F_VERSION_1 | VBALLOON_F_STATS_VQ | VBALLOON_F_DEFLATE_ON_OOM |                    \
	 VBALLOON_F_PAGE_POISON | VBALLOON_F_PAGE_REPORTING)

/* Where Linux puts its reports: there are no free page hints. */
#define QUEUE_REPORTS 3

struct bench {
	struct vdrv d;
	unsigned n_changes;
};

static void count_change(void *opaque)
{
	((struct bench *)opaque)->n_changes++;
}

static struct virtio_device *new_balloon(struct bench *b, u32 stats_seconds)
{
	const struct vballoon_options o = {.name = "balloon0",
					   .memory = FAKE_RAM_SIZE,
					   .target = FAKE_RAM_SIZE,
					   .has_reporting = true,
					   .stats_seconds = stats_seconds,
					   .changed = count_change,
					   .opaque = b};
	struct err err = ERR_INIT;
	struct virtio_device *v;

	CHECK_EQ(vballoon_new(&o, b->d.loop, b->d.gmem, &v, &err), 0);
	return v;
}

static void start(struct bench *b, u64 features, u32 stats_seconds)
{
	*b = (struct bench){0};
	vdrv_init(&b->d);
	vdrv_start(&b->d, new_balloon(b, stats_seconds), features);
	CHECK_EQ(gmem_fill(b->d.gmem, 0x80000, 0xa5, 0x80000), 0);
}

static struct vballoon_info info_of(struct bench *b)
{
	struct vballoon_info info;

	vballoon_get_info(b->d.v, &info);
	return info;
}

/* The first byte of a page: 0 once it was given back. */
static u8 byte_of(struct bench *b, u64 page)
{
	u8 byte;

	vdrv_get(&b->d, page * PAGE_SIZE, &byte, 1);
	return byte;
}

static void send_pages(struct bench *b, u32 queue, const u32 *pages, u32 n)
{
	u16 used = vdrv_used(&b->d, queue);
	struct fake_buf seg;
	le32 wire[300];

	for (u32 i = 0; i < n; i++)
		wire[i] = le32_of(pages[i]);
	seg = (struct fake_buf){vdrv_put(&b->d, wire, n * (u32)sizeof(le32)), n * (u32)sizeof(le32),
				false};
	vdrv_add(&b->d, queue, &seg, 1);
	vdrv_kick(&b->d, queue);
	vdrv_wait(&b->d, queue, (u16)(used + 1));
}

static void write_config(struct bench *b, u32 off, u32 value, u32 size)
{
	le32 w = le32_of(value);

	device_lock(&b->d.v->dev);
	virtio_write_config(b->d.v, off, &w, size);
	device_unlock(&b->d.v->dev);
}

static u32 read_config(struct bench *b, u32 off)
{
	le32 w;

	virtio_read_config(b->d.v, off, &w, sizeof(w));
	return le32_get(w);
}

TEST(inflated_pages_are_given_back_in_any_order)
{
	static const u32 up[] = {0x90, 0x91, 0x92}, down[] = {0xa2, 0xa1, 0xa0, 0xb0, 0x9f};
	struct bench b;

	start(&b, ALL_FEATURES, 0);
	send_pages(&b, VBALLOON_QUEUE_INFLATE, up, ARRAY_SIZE(up));
	send_pages(&b, VBALLOON_QUEUE_INFLATE, down, ARRAY_SIZE(down));
	for (u64 page = 0x80; page < 0x100; page++) {
		bool is_given = (page >= 0x90 && page <= 0x92) || (page >= 0x9f && page <= 0xa2) ||
				page == 0xb0;

		CHECK_EQ(byte_of(&b, page), is_given ? 0 : 0xa5);
	}
	CHECK_EQ(info_of(&b).given_back, 8 * PAGE_SIZE);
	CHECK_EQ(info_of(&b).refused, 0);
	send_pages(&b, VBALLOON_QUEUE_DEFLATE, up, ARRAY_SIZE(up));
	vdrv_fini(&b.d);
}

TEST(page_numbers_that_are_none_do_no_harm)
{
	static const u32 wild[] = {0xffffffff, FAKE_ROM_GPA / PAGE_SIZE, 0x200, 0xfffff, 0x100000,
				   /* a run that begins in RAM and ends in ROM; one page twice */
				   0xfe, 0xff, 0x100, 0x101, 0xfe, 0xfe};
	struct bench b;
	u8 rom = 1;

	start(&b, ALL_FEATURES, 0);
	CHECK_EQ(gmem_write_rom(b.d.gmem, FAKE_ROM_GPA, &rom, 1), 0);
	send_pages(&b, VBALLOON_QUEUE_INFLATE, wild, ARRAY_SIZE(wild));
	CHECK_EQ(byte_of(&b, FAKE_ROM_GPA / PAGE_SIZE), 1);
	CHECK_EQ(byte_of(&b, 0xfe), 0);
	CHECK_EQ(byte_of(&b, 0xfd), 0xa5);
	CHECK_EQ(info_of(&b).refused, 7);
	CHECK_EQ(info_of(&b).given_back, 4 * PAGE_SIZE);
	vdrv_fini(&b.d);
}

TEST(a_chain_counts_up_to_a_limit_and_odd_bytes_do_not)
{
	struct bench b;
	u32 size = 5000 * sizeof(le32) + 3;
	u8 *zeroes = calloc(1, size);

	start(&b, ALL_FEATURES, 0);
	/* Page 0 five thousand times: the rings begin at page 1. */
	struct fake_buf segs[] = {{vdrv_put(&b.d, zeroes, size), size, false},
				  {vdrv_put(&b.d, NULL, 4), 4, true}};

	vdrv_add(&b.d, VBALLOON_QUEUE_INFLATE, segs, 2);
	vdrv_kick(&b.d, VBALLOON_QUEUE_INFLATE);
	vdrv_wait(&b.d, VBALLOON_QUEUE_INFLATE, 1);
	CHECK_EQ(info_of(&b).given_back, 4096 * PAGE_SIZE);
	CHECK_EQ(b.d.v->status & VIRTIO_STATUS_NEEDS_RESET, 0);
	free(zeroes);
	vdrv_fini(&b.d);
}

/* Reports pages [from, to) on a queue. */
static void report(struct bench *b, u32 queue, u64 from, u64 to)
{
	struct fake_buf seg = {from * PAGE_SIZE, (u32)((to - from) * PAGE_SIZE), true};
	u16 used = vdrv_used(&b->d, queue);

	vdrv_add(&b->d, queue, &seg, 1);
	vdrv_kick(&b->d, queue);
	vdrv_wait(&b->d, queue, (u16)(used + 1));
}

TEST(reported_pages_are_given_back)
{
	struct bench b;

	start(&b, ALL_FEATURES, 0);
	report(&b, QUEUE_REPORTS, 0x80, 0xa0);
	CHECK_EQ(byte_of(&b, 0x80), 0);
	CHECK_EQ(byte_of(&b, 0x9f), 0);
	CHECK_EQ(byte_of(&b, 0xa0), 0xa5);
	report(&b, 4, 0xc0, 0xc1); /* where the specification has them */
	CHECK_EQ(byte_of(&b, 0xc0), 0);
	CHECK_EQ(info_of(&b).given_back, 0x21 * PAGE_SIZE);
	vdrv_fini(&b.d);
}

TEST(reports_come_on_the_third_queue_without_statistics)
{
	struct bench b;

	start(&b, ALL_FEATURES & ~VBALLOON_F_STATS_VQ, 1);
	report(&b, VBALLOON_QUEUE_STATS, 0x80, 0x81);
	CHECK_EQ(byte_of(&b, 0x80), 0);
	vdrv_fini(&b.d);
}

TEST(parts_of_pages_stay)
{
	struct fake_buf seg = {0x80800, 0x1900, true};
	struct bench b;

	start(&b, ALL_FEATURES, 0);
	vdrv_add(&b.d, QUEUE_REPORTS, &seg, 1);
	vdrv_kick(&b.d, QUEUE_REPORTS);
	vdrv_wait(&b.d, QUEUE_REPORTS, 1);
	CHECK_EQ(byte_of(&b, 0x80), 0xa5);
	CHECK_EQ(byte_of(&b, 0x81), 0);
	CHECK_EQ(byte_of(&b, 0x82), 0xa5);
	vdrv_fini(&b.d);
}

TEST(with_a_poison_value_reports_take_nothing)
{
	u32 off = offsetof(struct vballoon_config_wire, poison_val);
	struct bench b;

	start(&b, ALL_FEATURES, 0);
	write_config(&b, off, 0xaaaaaaaa, 4);
	CHECK_EQ(read_config(&b, off), 0xaaaaaaaa);
	report(&b, QUEUE_REPORTS, 0x80, 0x81);
	CHECK_EQ(byte_of(&b, 0x80), 0xa5);
	vdrv_reset(&b.d);
	CHECK_EQ(read_config(&b, off), 0);
	vdrv_start(&b.d, b.d.v, ALL_FEATURES);
	report(&b, QUEUE_REPORTS, 0x80, 0x81);
	CHECK_EQ(byte_of(&b, 0x80), 0);
	vdrv_fini(&b.d);
}

TEST(without_the_feature_a_report_is_only_handed_back)
{
	struct bench b;

	start(&b, ALL_FEATURES & ~(VBALLOON_F_PAGE_REPORTING | VBALLOON_F_PAGE_POISON), 0);
	report(&b, QUEUE_REPORTS, 0x80, 0x81);
	CHECK_EQ(byte_of(&b, 0x80), 0xa5);
	write_config(&b, offsetof(struct vballoon_config_wire, poison_val), 1, 4);
	CHECK_EQ(read_config(&b, offsetof(struct vballoon_config_wire, poison_val)), 0);
	vdrv_fini(&b.d);
}

TEST(a_new_target_is_shown_and_told)
{
	struct bench b;

	start(&b, ALL_FEATURES, 0);
	vballoon_set_target(b.d.v, FAKE_RAM_SIZE - 3 * PAGE_SIZE);
	CHECK_EQ(read_config(&b, 0), 3);
	CHECK_EQ(b.d.n_config_interrupts, 1);
	vballoon_set_target(b.d.v, FAKE_RAM_SIZE - 3 * PAGE_SIZE);
	CHECK_EQ(b.d.n_config_interrupts, 1);
	CHECK_EQ(info_of(&b).target, FAKE_RAM_SIZE - 3 * PAGE_SIZE);
	write_config(&b, offsetof(struct vballoon_config_wire, actual), 2, 4);
	write_config(&b, offsetof(struct vballoon_config_wire, actual), 3, 4);
	CHECK_EQ(info_of(&b).actual, FAKE_RAM_SIZE - 3 * PAGE_SIZE);
	while (!b.n_changes)
		loop_step(b.d.loop, true);
	CHECK_EQ(b.n_changes, 1);
	vballoon_set_target(b.d.v, UINT64_MAX);
	CHECK_EQ(read_config(&b, 0), 0);
	vdrv_fini(&b.d);
}

TEST(a_driver_that_claims_too_much_is_shown_with_nothing)
{
	struct bench b;

	start(&b, ALL_FEATURES, 0);
	write_config(&b, offsetof(struct vballoon_config_wire, actual), UINT32_MAX, 4);
	CHECK_EQ(info_of(&b).actual, 0);
	write_config(&b, offsetof(struct vballoon_config_wire, actual), 1, 1);
	write_config(&b, 0, 77, 4);
	CHECK_EQ(read_config(&b, 0), 0);
	CHECK_EQ(read_config(&b, offsetof(struct vballoon_config_wire, actual)), UINT32_MAX);
	vdrv_fini(&b.d);
}

static void send_stats(struct bench *b, u64 free, u64 total)
{
	struct vballoon_stat_wire w[] = {{le16_of(VBALLOON_FREE), le64_of(free)},
					 {le16_of(999), le64_of(1)},
					 {le16_of(VBALLOON_TOTAL), le64_of(total)}};
	struct fake_buf seg = {vdrv_put(&b->d, w, sizeof(w)), sizeof(w), false};

	vdrv_add(&b->d, VBALLOON_QUEUE_STATS, &seg, 1);
	vdrv_kick(&b->d, VBALLOON_QUEUE_STATS);
	vdrv_settle(&b->d);
}

TEST(statistics_are_kept_and_asked_for_again)
{
	struct vballoon_info info;
	struct bench b;

	start(&b, ALL_FEATURES, 1);
	CHECK_EQ(info_of(&b).stats_known, 0);
	send_stats(&b, 111, 222);
	info = info_of(&b);
	CHECK_EQ(info.stats_known, BIT32(VBALLOON_FREE) | BIT32(VBALLOON_TOTAL));
	CHECK_EQ(info.stats[VBALLOON_FREE], 111);
	CHECK_EQ(info.stats[VBALLOON_TOTAL], 222);
	CHECK_EQ(vdrv_used(&b.d, VBALLOON_QUEUE_STATS), 0); /* the buffer waits ... */
	vdrv_wait(&b.d, VBALLOON_QUEUE_STATS, 1);           /* ... for the next question */
	send_stats(&b, 333, 444);
	CHECK_EQ(info_of(&b).stats[VBALLOON_FREE], 333);
	send_stats(&b, 555, 666); /* a second buffer: the first goes back */
	CHECK_EQ(vdrv_used(&b.d, VBALLOON_QUEUE_STATS), 2);
	CHECK_EQ(info_of(&b).stats[VBALLOON_FREE], 555);
	vdrv_reset(&b.d);
	CHECK_EQ(info_of(&b).stats_known, 0);
	vdrv_fini(&b.d);
}

TEST(a_moved_balloon_keeps_its_size)
{
	struct bench b;
	struct vballoon_info info;

	start(&b, ALL_FEATURES, 1);
	vballoon_set_target(b.d.v, FAKE_RAM_SIZE / 2);
	write_config(&b, offsetof(struct vballoon_config_wire, actual), 5, 4);
	write_config(&b, offsetof(struct vballoon_config_wire, poison_val), 7, 4);
	send_stats(&b, 1, 2);
	vdrv_move(&b.d, new_balloon(&b, 1));
	info = info_of(&b);
	CHECK_EQ(info.target, FAKE_RAM_SIZE / 2);
	CHECK_EQ(info.actual, FAKE_RAM_SIZE - 5 * PAGE_SIZE);
	CHECK_EQ(read_config(&b, offsetof(struct vballoon_config_wire, poison_val)), 7);
	/* The buffer that waited went back to the ring, and was found there again. */
	CHECK_EQ(info.stats[VBALLOON_TOTAL], 2);
	vdrv_wait(&b.d, VBALLOON_QUEUE_STATS, 1);
	vdrv_fini(&b.d);
}

TEST(a_strangers_state_is_refused_or_harmless)
{
	struct bench b = {0};
	struct virtio_device *v;

	vdrv_init(&b.d);
	v = new_balloon(&b, 0);
	vballoon_set_target(v, FAKE_RAM_SIZE / 2);
	CHECK_SURVIVES_SAVE_AND_LOAD(&v->dev);
	CHECK_STANDS_DAMAGED_STATE(&v->dev);
	device_free(&v->dev);
	vdrv_fini(&b.d);
}
