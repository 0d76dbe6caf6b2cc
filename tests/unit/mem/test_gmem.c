/* mem/: the map, checked copies, views, dirty log, code words; the map changes under readers. */
#include "test.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/epoch.h"
#include "base/err.h"
#include "mem/gmem.h"

struct bench {
	struct epoch *epoch;
	struct gmem *g;
	struct gmem_block *ram, *rom;
};

static void bench_init(struct bench *b, enum gmem_backing backing, bool track_code)
{
	struct err err = ERR_INIT;

	b->epoch = epoch_new();
	b->g = gmem_new(b->epoch, track_code);
	gmem_attach_thread(b->g);
	CHECK_EQ(gmem_block_new(b->g, "ram", backing, 64 * KIB, -1, &b->ram, &err), 0);
	CHECK_EQ(gmem_block_new(b->g, "rom", GMEM_ANON, 4 * KIB, -1, &b->rom, &err), 0);
	/* RAM in two pieces with a hole between, ROM behind the first. */
	gmem_set_map(b->g,
		     (struct gmem_range[]){
			     {0x100000, 32 * KIB, b->ram, 32 * KIB, false},
			     {0, 32 * KIB, b->ram, 0, false},
			     {32 * KIB, 4 * KIB, b->rom, 0, true},
		     },
		     3);
}

static void bench_fini(struct bench *b)
{
	gmem_detach_thread(b->g);
	gmem_free(b->g);
	epoch_free(b->epoch);
}

TEST(copies_cross_ranges_and_stop_at_holes)
{
	u8 out[8 * KIB], in[8 * KIB];
	struct bench b;

	bench_init(&b, GMEM_ANON, false);
	memset(in, 0x5a, sizeof(in));
	CHECK_EQ(gmem_write(b.g, 0x1000, in, sizeof(in)), 0);
	CHECK_EQ(gmem_read(b.g, 0x1000, out, sizeof(out)), 0);
	CHECK_MEM(out, in, sizeof(in));
	CHECK_EQ(gmem_read(b.g, 28 * KIB, out, sizeof(out)), 0); /* into the ROM */
	CHECK_EQ(gmem_read(b.g, 32 * KIB, out, sizeof(out)), -EFAULT);
	CHECK_EQ(gmem_read(b.g, UINT64_MAX - 2, out, 8), -EFAULT);
	CHECK_EQ(gmem_read(b.g, 0x100000 + 32 * KIB - 4, out, 8), -EFAULT);
	CHECK_EQ(gmem_read(b.g, 0x200000, out, 0), 0);
	bench_fini(&b);
}

TEST(rom_is_written_by_its_loader_only)
{
	struct bench b;
	struct gmem_view v;
	u32 got = 0;

	bench_init(&b, GMEM_ANON, false);
	CHECK_EQ(gmem_write(b.g, 32 * KIB, "abc", 4), -EFAULT);
	CHECK_EQ(gmem_write_rom(b.g, 32 * KIB, "abc", 4), 0);
	CHECK_EQ(gmem_read(b.g, 32 * KIB, &got, 4), 0);
	CHECK_EQ(got, 0x00636261);
	CHECK_EQ(gmem_view_open(b.g, 32 * KIB, 4, true, &v), -EFAULT);
	CHECK_EQ(gmem_view_open(b.g, 32 * KIB, 4, false, &v), 0);
	gmem_view_release(&v);
	bench_fini(&b);
}

TEST(views_are_cut_at_the_end_of_a_range)
{
	struct bench b;
	struct gmem_view v;

	bench_init(&b, GMEM_MEMFD, false);
	CHECK(is_aligned((u64)b.ram->hva, GMEM_ALIGN));
	CHECK_EQ(gmem_view_open(b.g, 30 * KIB, 8 * KIB, true, &v), 0);
	CHECK_EQ(v.size, 2 * KIB);
	CHECK_EQ(b.ram->pins, 1);
	gmem_view_release(&v);
	CHECK_EQ(b.ram->pins, 0);
	CHECK_EQ(gmem_view_open(b.g, 40 * KIB, 1, false, &v), -EFAULT);
	bench_fini(&b);
}

TEST(the_dirty_log_holds_every_write_once)
{
	struct err err = ERR_INIT;
	struct bench b;
	struct gmem_view v;
	u64 bits;

	bench_init(&b, GMEM_ANON, false);
	CHECK_EQ(gmem_log_start(b.g, &err), 0);
	CHECK_EQ(gmem_write(b.g, 0x1ffe, "abcd", 4), 0);
	CHECK_EQ(gmem_view_open(b.g, 0x100000, 1, true, &v), 0);
	gmem_log_take(b.g, b.ram, &bits);
	CHECK_EQ(bits, 0x6); /* pages 1 and 2 */
	gmem_view_release(&v);
	CHECK_EQ(gmem_fill(b.g, 0x5000, 1, 1), 0);
	gmem_log_take(b.g, b.ram, &bits);
	CHECK_EQ(bits, BIT(8) | BIT(5));
	gmem_log_take(b.g, b.ram, &bits);
	CHECK_EQ(bits, 0);
	gmem_log_stop(b.g);
	CHECK_EQ(gmem_write(b.g, 0, "a", 1), 0);
	CHECK_EQ(gmem_log_start(b.g, &err), 0);
	CHECK_EQ(gmem_discard(b.g, b.ram, 0x1000, 0x1000), 0);
	gmem_log_take(b.g, b.ram, &bits);
	CHECK_EQ(bits & 2, 2);
	bench_fini(&b);
}

TEST(discarded_pages_read_as_zero)
{
	for (enum gmem_backing backing = GMEM_ANON; backing <= GMEM_MEMFD; backing++) {
		struct bench b;
		u32 got;

		bench_init(&b, backing, false);
		CHECK_EQ(gmem_fill(b.g, 0x1000, 0xff, 0x2000), 0);
		CHECK_EQ(gmem_discard(b.g, b.ram, 0x1000, 0x1000), 0);
		CHECK_EQ(gmem_read(b.g, 0x1ffe, &got, 4), 0);
		CHECK_EQ(got, 0xffff0000);
		bench_fini(&b);
	}
}

TEST(a_write_makes_decoded_code_stale)
{
	struct gmem_view v;
	struct bench b;
	bool is_new;
	u32 word;

	bench_init(&b, GMEM_MEMFD, true);
	word = gmem_code_mark(b.ram, 2, &is_new);
	CHECK(is_new);
	CHECK_EQ(gmem_code_mark(b.ram, 2, &is_new), word);
	CHECK(!is_new);
	CHECK_EQ(gmem_write(b.g, 0x1000, "a", 1), 0);
	CHECK_EQ(b.ram->code[2], word);
	CHECK_EQ(gmem_view_open(b.g, 0x2fff, 1, true, &v), 0);
	CHECK_EQ(b.ram->code[2], word);
	gmem_view_release(&v);
	CHECK(b.ram->code[2] != word);
	CHECK(gmem_code_mark(b.ram, 2, &is_new) != word);
	word = b.ram->code[2];
	gmem_code_invalidate_all(b.g);
	CHECK(b.ram->code[2] != word);
	CHECK_EQ(b.ram->code[3], 0);
	bench_fini(&b);
}

TEST(whole_pages_of_a_view_are_given_back)
{
	for (enum gmem_backing backing = GMEM_ANON; backing <= GMEM_MEMFD; backing++) {
		struct gmem_view v;
		struct bench b;
		u8 outside;
		u32 got;

		bench_init(&b, backing, true);
		CHECK_EQ(gmem_fill(b.g, 0x1000, 0xff, 0x4000), 0);
		CHECK_EQ(gmem_view_open(b.g, 0x1800, 0x2000, true, &v), 0);
		CHECK_EQ(gmem_give_back(b.g, v.ptr, v.size), 0x1000);
		CHECK_EQ(gmem_give_back(b.g, v.ptr, 0x800), 0);
		CHECK_EQ(gmem_give_back(b.g, &outside, 1), 0);
		gmem_view_release(&v);
		CHECK_EQ(gmem_read(b.g, 0x1ffe, &got, 4), 0);
		CHECK_EQ(got, 0x0000ffff);
		CHECK_EQ(gmem_read(b.g, 0x2ffe, &got, 4), 0);
		CHECK_EQ(got, 0xffff0000);
		bench_fini(&b);
	}
}

TEST(giving_back_makes_code_stale_and_pages_dirty)
{
	struct err err = ERR_INIT;
	struct gmem_view v;
	struct bench b;
	bool is_new;
	u32 word;
	u64 bits;

	bench_init(&b, GMEM_MEMFD, true);
	word = gmem_code_mark(b.ram, 2, &is_new);
	CHECK_EQ(gmem_log_start(b.g, &err), 0);
	CHECK_EQ(gmem_view_open(b.g, 0x2000, 0x1000, false, &v), 0);
	CHECK_EQ(gmem_give_back(b.g, v.ptr, v.size), 0x1000);
	CHECK(b.ram->code[2] != word);
	gmem_log_take(b.g, b.ram, &bits);
	CHECK_EQ(bits, BIT(2));
	gmem_view_release(&v);
	bench_fini(&b);
}

/* A piece of a file mapping becomes a mapping of its own: only in large pieces, and zeroes then. */
TEST(of_a_file_large_pieces_are_given_back)
{
	struct err err = ERR_INIT;
	struct gmem_block *file;
	struct gmem_view v;
	struct bench b;
	int fd = memfd_create("file", MFD_CLOEXEC);
	u8 got = 1;

	CHECK_EQ(ftruncate(fd, 4 * MIB), 0);
	CHECK_EQ(pwrite(fd, "x", 1, 2 * MIB + 5), 1);
	bench_init(&b, GMEM_ANON, false);
	CHECK_EQ(gmem_block_new(b.g, "file", GMEM_FILE, 4 * MIB, fd, &file, &err), 0);
	gmem_set_map(b.g, &(struct gmem_range){0, 4 * MIB, file, 0, false}, 1);
	CHECK_EQ(gmem_view_open(b.g, 0, 4 * MIB, true, &v), 0);
	CHECK_EQ(gmem_give_back(b.g, v.ptr + 2 * MIB, PAGE_SIZE), 0);
	CHECK_EQ(gmem_read(b.g, 2 * MIB + 5, &got, 1), 0);
	CHECK_EQ(got, 'x');
	CHECK_EQ(gmem_give_back(b.g, v.ptr + PAGE_SIZE, 4 * MIB - PAGE_SIZE), 2 * MIB);
	gmem_view_release(&v);
	CHECK_EQ(gmem_read(b.g, 2 * MIB + 5, &got, 1), 0);
	CHECK_EQ(got, 0);
	bench_fini(&b);
}

struct hammer {
	struct bench *b;
	bool stop;
	u64 bad;
};

static void *hammer_read(void *arg)
{
	struct hammer *h = arg;

	gmem_attach_thread(h->b->g);
	while (!__atomic_load_n(&h->stop, __ATOMIC_RELAXED)) {
		u64 got = 0;

		/* Either map has RAM there, with the same bytes behind it. */
		if (gmem_read(h->b->g, 0x1000, &got, 8) < 0 || got != 0x7777777777777777)
			h->bad++;
	}
	gmem_detach_thread(h->b->g);
	return NULL;
}

TEST(readers_go_on_while_the_map_changes)
{
	struct bench b;
	struct hammer h = {.b = &b};
	pthread_t thread;

	bench_init(&b, GMEM_ANON, false);
	CHECK_EQ(gmem_fill(b.g, 0, 0x77, 32 * KIB), 0);
	CHECK_EQ(pthread_create(&thread, NULL, hammer_read, &h), 0);
	for (int i = 0; i < 3000; i++) {
		struct gmem_range one = {0, 32 * KIB, b.ram, 0, false};
		struct gmem_range two[] = {{0x1000, 0x1000, b.ram, 0, false},
					   {0x4000, 0x1000, b.rom, 0, true}};

		if (i % 2)
			gmem_set_map(b.g, &one, 1);
		else
			gmem_set_map(b.g, two, 2);
	}
	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK_EQ(h.bad, 0);
	bench_fini(&b);
}
