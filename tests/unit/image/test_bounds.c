/*
 * A small file may not cost much: each number in an image's headers gets extreme values, of 32 and of 64
 * bits, with checksums made right, in the image as it is and in its first KiB alone. What then
 * opens is read, checked, written, made larger. Memory and processor time are limited.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/co.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "block/io.h"
#include "format_check.h"
#include "test.h"

#define MEMORY_MOST (192 * MIB) /* of one image */
/* Checking the tables of 2 TiB takes 3 s on a busy host, with sanitizers. */
#define TIME_MOST (20 * NSEC_PER_SEC)

static struct loop *loop;

/* --- what it costs --- */

/* The sanitizer's; without it a limit of the address space has the same end. */
extern __attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
					  void (*on_free)(const volatile void *));
extern __attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *p);

static i64 memory_now, memory_peak;

static void on_malloc(const volatile void *p, size_t n)
{
	(void)p;
	memory_now += (i64)n;
	memory_peak = MAX(memory_peak, memory_now);
}

static void on_free(const volatile void *p)
{
	if (p)
		memory_now -= (i64)__sanitizer_get_allocated_size(p);
}

static void limit_memory(void)
{
	const struct rlimit most = {.rlim_cur = GIB, .rlim_max = GIB};

	if (__sanitizer_install_malloc_and_free_hooks)
		__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
	else
		CHECK_EQ(setrlimit(RLIMIT_AS, &most), 0);
}

static u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

/* --- headers --- */

enum sum { SUM_NONE, SUM_CRC32C, SUM_VHD_FOOTER, SUM_VHD_HEADER };

struct area {
	const char *format, *options;
	u64 at, bytes;
	bool is_big; /* most significant bytes first */
	enum sum sum;
	u64 summed; /* bytes, from at on */
};

static const struct area areas[] = {
	{"qcow2", NULL, 0, 112, true, SUM_NONE, 0},
	{"qcow2", "cluster_size=512", 0, 112, true, SUM_NONE, 0},
	{"vdi", NULL, 64, 24, false, SUM_NONE, 0},
	{"vdi", NULL, 336, 64, false, SUM_NONE, 0},
	{"vpc", NULL, 0, 80, true, SUM_VHD_FOOTER, 512},
	{"vpc", NULL, 512, 64, true, SUM_VHD_HEADER, 1024},
	{"vhdx", NULL, 64 * KIB, 80, false, SUM_CRC32C, 4 * KIB},
	{"vhdx", NULL, 192 * KIB, 80, false, SUM_CRC32C, 64 * KIB},
	{"vhdx", NULL, 2 * MIB, 32 + 5 * 32, false, SUM_NONE, 0},
	{"vhdx", NULL, 2 * MIB + 64 * KIB, 64, false, SUM_NONE, 0},
	{"vmdk", NULL, 0, 80, false, SUM_NONE, 0},
	{"vmdk", "subformat=streamOptimized", 0, 80, false, SUM_NONE, 0},
	{"luks", NULL, 0, 256, true, SUM_NONE, 0},
};

static void sum_vhd(u8 *p, u64 n, unsigned at)
{
	u32 sum = 0;

	memset(p + at, 0, 4);
	for (u64 i = 0; i < n; i++)
		sum += p[i];
	be32_store(p + at, ~sum);
}

static void area_sum(const struct area *a, u8 *image)
{
	u8 *p = image + a->at;

	switch (a->sum) {
	case SUM_NONE:
		break;
	case SUM_CRC32C:
		le32_store(p + 4, 0);
		le32_store(p + 4, crc32c_update(0, p, a->summed));
		break;
	case SUM_VHD_FOOTER:
		sum_vhd(p, a->summed, 64);
		break;
	case SUM_VHD_HEADER:
		sum_vhd(p, a->summed, 36);
		break;
	}
}

/* --- what is done with it --- */

static void use_image(struct blk *b)
{
	static u8 buf[64 * KIB];
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct blk_status status;
	struct img_info info;
	u64 n = MIN(b->size, sizeof(buf));

	CHECK(b->size % b->block_size == 0);
	if (b->image->info(b, &info, &err) == 0)
		img_info_fini(&info);
	if (b->image->check)
		(void)b->image->check(b, 0, &c, &err);
	if (!n)
		return;
	(void)blk_status(b, 0, b->size, &status);
	(void)blk_read(b, 0, buf, n);
	(void)blk_read(b, b->size - n, buf, n);
	if (b->is_readonly)
		return;
	(void)blk_write(b, b->size - n, buf, MIN(n, (u64)4096));
	(void)blk_discard(b, 0, MIN(b->size, 64 * MIB));
	(void)blk_flush(b);
	if (b->size < BLK_SIZE_MAX / 2)
		(void)blk_resize(b, b->size + MIB, &err);
}

/* What is all zeros stays a hole. */
static void put_image(int fd, const u8 *bytes, u64 n)
{
	CHECK_EQ(ftruncate(fd, (off_t)n), 0);
	for (u64 at = 0; at < n; at += 4 * KIB) {
		u64 part = MIN(n - at, 4 * KIB);

		if (bytes[at] || memcmp(bytes + at, bytes + at + 1, part - 1))
			CHECK_EQ(fd_pwrite_full(fd, bytes + at, part, at), 0);
	}
}

struct opening {
	const struct img_format *f;
	struct blk *file, *b;
	struct err err;
	bool is_over;
};

static void open_image(void *arg)
{
	const struct img_open_options o = {.loop = loop};
	struct opening *p = arg;

	if (img_open(p->f, p->file, &o, &p->b, &p->err) < 0) {
		CHECK(p->err.code < 0 && p->err.text[0]);
		blk_free(p->file);
		p->b = NULL;
	}
	p->is_over = true;
}

/* Half of them in a coroutine, as a guest's disk is that comes later. */
static struct blk *open_in(const struct img_format *f, struct blk *file)
{
	struct opening p = {.f = f, .file = file, .err = ERR_INIT};
	static struct co_pool *pool;
	static unsigned n;

	if (!pool)
		CHECK_EQ(co_pool_new(1, &pool, &p.err), 0);
	if (n++ % 2) {
		co_start(pool, open_image, &p);
		while (!p.is_over)
			loop_step(loop, true);
	} else {
		open_image(&p);
	}
	return p.b;
}

static void try_image(const struct area *a, const u8 *bytes, u64 n, u64 field, u64 value)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	u64 began = cpu_ns();
	struct blk *b;

	put_image(fd, bytes, n);
	memory_now = memory_peak = 0;
	b = open_in(img_find_format(a->format), model_file_of(loop, fd, false));
	if (b)
		use_image(b);
	blk_free(b);
	close(fd);
	if (memory_peak > (i64)MEMORY_MOST)
		fail_msg("%s, %#lx at %lu, %lu bytes: it took %ld bytes", a->format, value, field,
			 n, memory_peak);
	if (cpu_ns() - began > TIME_MOST)
		fail_msg("%s, %#lx at %lu, %lu bytes: it took %lu ms", a->format, value, field, n,
			 (cpu_ns() - began) / NSEC_PER_MSEC);
}

static void put(u8 *to, u64 value, unsigned bytes, bool is_big)
{
	for (unsigned i = 0; i < bytes; i++)
		to[is_big ? bytes - 1 - i : i] = (u8)(value >> (8 * i));
}

static void try_values(const struct area *a, u8 *image, u64 n, u64 field, unsigned bytes)
{
	static const u64 values[] = {
		0,          1,          0x100000,     0x7fffffff,           0x80000000,
		0xfffffe00, 0xffffffff, (u64)1 << 40, ((u64)1 << 63) - 512, UINT64_MAX};
	u8 was[8];

	memcpy(was, image + field, bytes);
	for (unsigned i = bytes == 8 ? 5 : 0; i < ARRAY_SIZE(values); i++) {
		if (bytes == 4 && values[i] > UINT32_MAX)
			break;
		put(image + field, values[i], bytes, a->is_big);
		area_sum(a, image);
		try_image(a, image, n, field, values[i]);
		if (n > KIB && a->at < KIB)
			try_image(a, image, KIB, field, values[i]);
	}
	memcpy(image + field, was, bytes);
	area_sum(a, image);
}

static void try_area(const struct area *a)
{
	int fd = format_new(loop, img_find_format(a->format), MIB, a->options);
	u64 n;
	u8 *image;

	CHECK_EQ(fd_size(fd, &n), 0);
	image = mem_alloc(1, n);
	CHECK_EQ(fd_pread_full(fd, image, n, 0), 0);
	for (u64 at = a->at; at < a->at + a->bytes && at + 8 <= n; at += 4) {
		try_values(a, image, n, at, 4);
		try_values(a, image, n, at, 8);
	}
	free(image);
	close(fd);
}

TEST(no_number_in_a_header_costs_much)
{
	struct err err = ERR_INIT;

	limit_memory();
	CHECK_EQ(loop_new(&loop, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(areas); i++)
		try_area(&areas[i]);
	loop_free(loop);
}
