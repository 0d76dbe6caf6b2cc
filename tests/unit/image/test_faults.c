/*
 * The host fails: each request of an operation in turn, once or from there on, with EIO or ENOSPC. The operation
 * says so, nothing crashes or leaks, and the image is sound; once the host works again, so does the operation.
 */
#include "crash_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/hub.h"
#include "block/io.h"
#include "format_check.h"
#include "image/copy.h"
#include "image/job.h"
#include "test.h"

#define DISK      (3 * MIB)
#define DISK_MOST (DISK + MIB)

static struct loop *loop;

struct kind { /* of an image */
	const char *format, *options;
	bool is_repaired; /* a check that mends may be needed, and loses nothing */
};

static const struct kind kinds[] = {
	{"raw", NULL, false},
	{"qcow2", NULL, false},
	{"qcow2", "cluster_size=4K,lazy_refcounts=on", false},
	{"qcow2", "cluster_size=16K,extended_l2=on", false},
	{"vdi", NULL, false},
	{"vpc", NULL, true},
	{"vhdx", NULL, false},
	{"vmdk", NULL, true},
};

struct content {
	u8 *bytes;
	u64 size;
};

struct operation {
	const char *name;
	int (*run)(struct blk *b); /* -ENOTSUP: not with this format */
	void (*expect)(struct content *c);
};

/* --- operations --- */

static u8 buf[256 * KIB];

static int run_write(struct blk *b)
{
	memset(buf, 0x11, sizeof(buf));
	return blk_write(b, 700 * KIB + 512, buf, 90 * KIB);
}

static void expect_write(struct content *c)
{
	memset(c->bytes + 700 * KIB + 512, 0x11, 90 * KIB);
}

/* Over what is there, what isn't, and to the disk's end. */
static int run_write_flush(struct blk *b)
{
	int r = 0;

	memset(buf, 0x22, sizeof(buf));
	for (u64 at = 0; r == 0 && at < DISK; at += MIB - 512)
		r = blk_write(b, at, buf, MIN(100 * KIB, DISK - at));
	return r == 0 ? blk_flush(b) : r;
}

static void expect_write_flush(struct content *c)
{
	for (u64 at = 0; at < DISK; at += MIB - 512)
		memset(c->bytes + at, 0x22, MIN(100 * KIB, DISK - at));
}

static int run_zero(struct blk *b)
{
	int r = blk_write_zeroes(b, 100 * KIB + 512, 300 * KIB, true);

	if (r == 0)
		r = blk_write_zeroes(b, 2 * MIB - 4096, 700 * KIB, false);
	return r == 0 ? blk_flush(b) : r;
}

static void expect_zero(struct content *c)
{
	memset(c->bytes + 100 * KIB + 512, 0, 300 * KIB);
	memset(c->bytes + 2 * MIB - 4096, 0, 700 * KIB);
}

/* What discarded sectors hold is anybody's matter: they are zeroed afterwards. */
static int run_discard(struct blk *b)
{
	int r = blk_discard(b, 64 * KIB, 256 * KIB);

	if (r == 0)
		r = blk_flush(b);
	if (r == 0)
		r = blk_write_zeroes(b, 64 * KIB, 256 * KIB, true);
	return r;
}

static void expect_discard(struct content *c)
{
	memset(c->bytes + 64 * KIB, 0, 256 * KIB);
}

static int run_grow(struct blk *b)
{
	struct err err = ERR_INIT;
	int r = blk_resize(b, DISK_MOST, &err);

	CHECK(r == 0 || err.text[0]);
	return r;
}

static void expect_grow(struct content *c)
{
	memset(c->bytes + c->size, 0, DISK_MOST - c->size);
	c->size = DISK_MOST;
}

static int run_shrink(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (b->image->format != &img_qcow2 && b->image->format != &img_raw)
		return -ENOTSUP;
	r = blk_resize(b, 2 * MIB + 512, &err);
	CHECK(r == 0 || err.text[0]);
	return r;
}

static void expect_shrink(struct content *c)
{
	c->size = 2 * MIB + 512;
}

static int run_check(struct blk *b)
{
	struct img_check c = {0};
	struct err err = ERR_INIT;

	if (!b->image->check)
		return -ENOTSUP;
	return b->image->check(b, IMG_REPAIR_LEAKS | IMG_REPAIR_ALL, &c, &err);
}

static void expect_same(struct content *c)
{
	(void)c;
}

static int run_snapshot_create(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (!b->image->snapshot_create)
		return -ENOTSUP;
	r = b->image->snapshot_create(b, "new", 1, &err);
	CHECK(r == 0 || err.text[0]);
	return r == -EEXIST ? 0 : r; /* what failed was after it */
}

static int run_snapshot_apply(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (!b->image->snapshot_apply)
		return -ENOTSUP;
	r = b->image->snapshot_apply(b, "s", &err);
	CHECK(r == 0 || err.text[0]);
	return r;
}

/* Of the first 64 KiB the snapshot knows other contents. */
static void expect_snapshot_apply(struct content *c)
{
	memset(c->bytes, 0x55, 64 * KIB);
}

static int run_snapshot_delete(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (!b->image->snapshot_delete)
		return -ENOTSUP;
	r = b->image->snapshot_delete(b, "s", &err);
	CHECK(r == 0 || err.text[0]);
	return r == -ENOENT ? 0 : r;
}

static int run_bitmaps(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (!b->image->bitmap_add)
		return -ENOTSUP;
	r = b->image->bitmap_add(b, "b", 4096, &err);
	if (r == -EEXIST)
		r = b->image->bitmap_clear(b, "b", &err);
	memset(buf, 0x33, sizeof(buf));
	return r == 0 ? blk_write(b, MIB, buf, 4096) : r;
}

static void expect_bitmaps(struct content *c)
{
	memset(c->bytes + MIB, 0x33, 4096);
}

static int run_empty(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (!b->image->make_empty)
		return -ENOTSUP;
	r = b->image->make_empty(b, &err);
	CHECK(r == 0 || err.text[0]);
	return r;
}

static void expect_empty(struct content *c)
{
	memset(c->bytes, 0, c->size);
}

static int run_backing(struct blk *b)
{
	struct err err = ERR_INIT;
	int r;

	if (b->image->format != &img_qcow2)
		return -ENOTSUP;
	r = b->image->set_backing(b, NULL, NULL, &err);
	CHECK(r == 0 || err.text[0]);
	return r;
}

static int run_compressed(struct blk *b)
{
	int r;

	if (b->image->format != &img_qcow2)
		return -ENOTSUP;
	memset(buf, 0x44, sizeof(buf));
	r = b->image->write_compressed(b, 2560 * KIB, buf, 128 * KIB);
	return r == 0 ? blk_flush(b) : r;
}

/* A second time the clusters are allocated, which is refused. */
static void expect_compressed(struct content *c)
{
	memset(c->bytes + 2560 * KIB, 0x44, 128 * KIB);
}

static const struct operation operations[] = {
	{"write", run_write, expect_write},
	{"write and flush", run_write_flush, expect_write_flush},
	{"zeroes", run_zero, expect_zero},
	{"discard", run_discard, expect_discard},
	{"grow", run_grow, expect_grow},
	{"shrink", run_shrink, expect_shrink},
	{"check", run_check, expect_same},
	{"snapshot create", run_snapshot_create, expect_same},
	{"snapshot apply", run_snapshot_apply, expect_snapshot_apply},
	{"snapshot delete", run_snapshot_delete, expect_same},
	{"bitmaps", run_bitmaps, expect_bitmaps},
	{"empty", run_empty, expect_empty},
	{"backing", run_backing, expect_same},
	{"compressed", run_compressed, expect_compressed},
};

/* --- an image to begin with --- */

static int template_make(const struct kind *k, struct content *c)
{
	const struct img_format *f = img_find_format(k->format);
	int fd = format_new(loop, f, DISK, k->options);
	struct blk *b = format_open(loop, f, fd, NULL);
	struct err err = ERR_INIT;

	memset(buf, 0x55, sizeof(buf));
	for (u64 at = 0; at < 512 * KIB; at += sizeof(buf))
		CHECK_EQ(blk_write(b, at, buf, sizeof(buf)), 0);
	CHECK_EQ(blk_write(b, 2 * MIB - 30 * KIB, buf, 100 * KIB), 0);
	if (b->image->snapshot_create)
		CHECK_EQ(b->image->snapshot_create(b, "s", 1, &err), 0);
	memset(buf, 0x66, sizeof(buf));
	CHECK_EQ(blk_write(b, 0, buf, 64 * KIB), 0);
	CHECK_EQ(blk_flush(b), 0);
	c->size = b->size;
	CHECK_EQ(blk_read(b, 0, c->bytes, b->size), 0);
	blk_free(b);
	return fd;
}

/* --- one failure --- */

struct failure {
	const struct kind *kind;
	const struct operation *op;
	u64 nth;
	int error;
	bool goes_on;
	bool until_closed; /* the host fails until the image is closed; there is no second try */
};

static void failure_says(const struct failure *f, const char *what, int r)
{
	fail_msg("%s (%s), %s: request %lu with %d%s%s: %s, %d", f->kind->format,
		 f->kind->options ? f->kind->options : "", f->op->name, f->nth, f->error,
		 f->goes_on ? " and on" : "", f->until_closed ? " to the end" : "", what, r);
}

static struct blk *failure_open(const struct failure *f, struct crash_log *l)
{
	const struct img_open_options o = {.loop = loop};
	struct blk *file = crash_log_disk(l, loop, 0), *b;
	struct err err = ERR_INIT;
	int r = img_open(img_find_format(f->kind->format), file, &o, &b, &err);

	if (r < 0)
		failure_says(f, err.text, r);
	return b;
}

/* Each sector is as before or as after; or, is_done, as after. */
static void failure_compare(const struct failure *f, struct blk *b, const struct content *was,
			    const struct content *want, bool is_done)
{
	static u8 now[DISK_MOST];

	if (b->size != want->size && (is_done || b->size != was->size))
		failure_says(f, "the disk has another size", (int)(b->size / 512));
	CHECK_EQ(blk_read(b, 0, now, b->size), 0);
	for (u64 at = 0; at < b->size; at += BLK_SECTOR) {
		bool is_old = at < was->size && !memcmp(now + at, was->bytes + at, BLK_SECTOR);
		bool is_new = at < want->size && !memcmp(now + at, want->bytes + at, BLK_SECTOR);

		if (!is_new && (is_done || !is_old))
			failure_says(f, "a sector is wrong", (int)(at / BLK_SECTOR));
	}
}

static void show_finding(void *opaque, bool is_corruption, const char *text)
{
	(void)opaque;
	if (getenv("FAULTS_SHOW"))
		print_message("%s: %s\n", is_corruption ? "corruption" : "leak", text);
}

static void failure_check(const struct failure *f, struct blk *b)
{
	struct img_check c = {.report = show_finding};
	struct err err = ERR_INIT;
	int r;

	if (!b->image->check)
		return;
	r = b->image->check(b, 0, &c, &err);
	if (r == 0 && c.corruptions && f->kind->is_repaired) {
		r = b->image->check(b, IMG_REPAIR_ALL, &c, &err);
		c = (struct img_check){0};
		r = r == 0 ? b->image->check(b, 0, &c, &err) : r;
	}
	if (r < 0 || c.corruptions || c.errors)
		failure_says(f, r < 0 ? err.text : "its check finds corruptions",
			     r < 0 ? r : (int)c.corruptions);
}

/* The host works again. */
static struct blk *failure_ends(const struct failure *f, struct crash_log *l, struct blk *b, int r)
{
	if (f->until_closed)
		blk_free(b);
	crash_log_fail(l, 0, 0, false);
	if (f->until_closed)
		return failure_open(f, l);
	if (r < 0)
		r = f->op->run(b);
	if (r < 0 && (r != -EINVAL || f->op->run != run_compressed))
		failure_says(f, "it doesn't go on", r);
	r = blk_flush(b);
	if (r < 0)
		failure_says(f, "a flush fails", r);
	return b;
}

/* False: the operation has fewer requests. */
static bool failure_try(const struct failure *f, int fd, const struct content *was,
			const struct content *want)
{
	struct crash_log *l = crash_log_new(f->nth);
	bool has_failed, is_done = !f->until_closed;
	struct blk *b;
	int r;

	crash_log_load(l, 0, fd);
	b = failure_open(f, l);
	crash_log_fail(l, f->nth, f->error, f->goes_on);
	r = f->op->run(b);
	has_failed = crash_log_has_failed(l);
	if (r < 0 && !has_failed && r != -ENOTSUP)
		failure_says(f, "it fails by itself", r);
	if (r != -ENOTSUP) {
		b = failure_ends(f, l, b, r);
		failure_compare(f, b, was, want, is_done);
		blk_free(b);
		b = failure_open(f, l);
		failure_check(f, b);
		failure_compare(f, b, was, want, is_done);
	}
	blk_free(b);
	crash_log_free(l);
	return has_failed && r != -ENOTSUP;
}

static void fail_each(const struct kind *k, int error, bool goes_on, bool until_closed)
{
	static u8 was_bytes[DISK_MOST], want_bytes[DISK_MOST];
	struct content was = {.bytes = was_bytes}, want = {.bytes = want_bytes};
	struct err err = ERR_INIT;
	int fd;

	CHECK_EQ(loop_new(&loop, &err), 0);
	fd = template_make(k, &was);
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		struct failure f = {.kind = k,
				    .op = &operations[i],
				    .error = error,
				    .goes_on = goes_on,
				    .until_closed = until_closed};

		want.size = was.size;
		memcpy(want.bytes, was.bytes, was.size);
		f.op->expect(&want);
		for (f.nth = 1; failure_try(&f, fd, &was, &want); f.nth++)
			;
		if (getenv("FAULTS_SHOW")) /* and what checks find */
			print_message("%s %s: %lu\n", k->format, f.op->name, f.nth - 1);
	}
	close(fd);
	loop_free(loop);
}

static void fail_everything(int error, bool goes_on, bool until_closed)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		fail_each(&kinds[i], error, goes_on, until_closed);
}

TEST(a_bad_request_harms_only_its_operation)
{
	fail_everything(EIO, false, false);
}

TEST(a_host_that_fails_may_work_again)
{
	fail_everything(EIO, true, false);
}

TEST(a_full_disk_may_get_space)
{
	fail_everything(ENOSPC, true, false);
}

TEST(a_host_that_fails_for_good_leaves_an_image)
{
	fail_everything(EIO, true, true);
	fail_everything(ENOSPC, true, true);
}
