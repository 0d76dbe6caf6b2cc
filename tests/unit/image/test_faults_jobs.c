/*
 * The host fails while an image is made, copied, or a job is at work: each request in turn, once or from there on,
 * with EIO or ENOSPC. Who asked for it is told, the guest's disk has what it had and is sound, and what was
 * said to be done is.
 */
#include "crash_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "block/hub.h"
#include "block/io.h"
#include "format_check.h"
#include "image/copy.h"
#include "image/job.h"
#include "test.h"

#define DISK (2 * MIB)

static struct loop *loop;

static const struct kind {
	const char *format, *options;
} kinds[] = {
	{"raw", NULL},
	{"raw", "preallocation=falloc"},
	{"qcow2", NULL},
	{"qcow2", "preallocation=metadata"},
	{"qcow2", "preallocation=full,cluster_size=16K,extended_l2=on"},
	{"vdi", NULL},
	{"vdi", "static=on"},
	{"vpc", NULL},
	{"vpc", "subformat=fixed"},
	{"vhdx", NULL},
	{"vhdx", "subformat=fixed"},
	{"vmdk", NULL},
	{"luks", "iter-time=10"},
};

struct failure {
	const struct kind *kind;
	const char *what;
	u64 nth;
	int error;
	bool goes_on;
};

static void failure_says(const struct failure *f, const char *what, int r)
{
	fail_msg("%s (%s), %s: request %lu with %d%s: %s, %d", f->kind->format,
		 f->kind->options ? f->kind->options : "", f->what, f->nth, f->error,
		 f->goes_on ? " and on" : "", what, r);
}

static struct blk *failure_open(const struct failure *f, struct crash_log *l, unsigned file,
				const struct img_opener *opener)
{
	const struct img_open_options o = {
		.loop = loop, .opener = opener, .secrets = &format_secret, .n_secrets = 1};
	struct err err = ERR_INIT;
	struct blk *b;
	int r = img_open(img_find_format(f->kind->format), crash_log_disk(l, loop, file), &o, &b,
			 &err);

	if (r < 0)
		failure_says(f, err.text, r);
	return b;
}

/* It has bytes, and its check finds nothing worse than a leak. */
static void failure_look(const struct failure *f, struct blk *b, const u8 *bytes)
{
	static u8 now[DISK];
	struct img_check c = {0};
	struct err err = ERR_INIT;

	if (b->image && b->image->check &&
	    (b->image->check(b, 0, &c, &err) < 0 || c.corruptions || c.errors))
		failure_says(f, "its check finds something", (int)c.corruptions);
	CHECK_EQ(blk_read(b, 0, now, DISK), 0);
	for (u64 at = 0; bytes && at < DISK; at += BLK_SECTOR) {
		if (memcmp(now + at, bytes + at, BLK_SECTOR))
			failure_says(f, "a sector is wrong", (int)(at / BLK_SECTOR));
	}
}

/* Each is tried until it has fewer requests than that. */
static void fail_each(bool (*try)(struct failure *f), const struct kind *kind, const char *what)
{
	static const struct {
		int error;
		bool goes_on;
	} ways[] = {{EIO, false}, {EIO, true}, {ENOSPC, true}};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct failure f = {.kind = kind,
				    .what = what,
				    .error = ways[i].error,
				    .goes_on = ways[i].goes_on};

		for (f.nth = 1; try(&f); f.nth++)
			;
		if (getenv("FAULTS_SHOW"))
			print_message("%s %s: %lu\n", kind->format, what, f.nth - 1);
	}
}

static void set_up(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

/* --- making --- */

static bool try_create(struct failure *f)
{
	struct crash_log *l = crash_log_new(f->nth);
	struct blk *file = crash_log_disk(l, loop, 0), *b;
	struct err err = ERR_INIT;
	bool has_failed;
	int r;

	crash_log_fail(l, f->nth, f->error, f->goes_on);
	r = format_create(loop, img_find_format(f->kind->format), file, DISK, f->kind->options,
			  NULL, &err);
	has_failed = crash_log_has_failed(l);
	crash_log_fail(l, 0, 0, false);
	blk_free(file);
	if (r < 0 && (!has_failed || !err.text[0]))
		failure_says(f, "it fails without a word, or by itself", r);
	if (r == 0) { /* the host wanted what can be done without */
		b = failure_open(f, l, 0, NULL);
		failure_look(f, b, NULL);
		blk_free(b);
	}
	crash_log_free(l);
	return has_failed;
}

TEST(an_image_is_made_or_it_is_told)
{
	set_up();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		fail_each(try_create, &kinds[i], "create");
	loop_free(loop);
}

/* --- copying --- */

static u8 contents[DISK];

static void fill_contents(void)
{
	for (u64 at = 0; at < DISK; at += 128 * KIB) {
		memset(contents + at, 0, 128 * KIB);
		if (at % (384 * KIB))
			memset(contents + at, (int)(at / (128 * KIB)), 100 * KIB);
	}
}

/* File 0 is the source's, raw, 1 the target's. */
static void put_source(struct crash_log *l)
{
	struct blk *source = crash_log_disk(l, loop, 0);

	CHECK_EQ(blk_write(source, 0, contents, DISK), 0);
	CHECK_EQ(blk_flush(source), 0);
	blk_free(source);
}

static bool try_copy(struct failure *f)
{
	const struct img_format *format = img_find_format(f->kind->format);
	const struct img_copy_options o = {
		.loop = loop, .is_target_zero = !format->is_noise, .sparse_bytes = 4096};
	struct crash_log *l = crash_log_new(f->nth);
	struct blk *file = crash_log_disk(l, loop, 1), *source, *target;
	struct err err = ERR_INIT;
	bool has_failed;
	int r;

	put_source(l);
	CHECK_EQ(format_create(loop, format, file, DISK, f->kind->options, NULL, &err), 0);
	blk_free(file);
	source = crash_log_disk(l, loop, 0);
	target = failure_open(f, l, 1, NULL);
	crash_log_fail(l, f->nth, f->error, f->goes_on);
	r = img_copy(source, target, DISK, &o, &err);
	if (r == 0)
		r = blk_flush(target);
	has_failed = crash_log_has_failed(l);
	crash_log_fail(l, 0, 0, false);
	if (r < 0 && !has_failed)
		failure_says(f, "it fails by itself", r);
	/* Done is done; and what failed can be done again over it. */
	if (r < 0) {
		CHECK_EQ(img_copy(source, target, DISK, &(struct img_copy_options){.loop = loop},
				  &err),
			 0);
		CHECK_EQ(blk_flush(target), 0);
	}
	failure_look(f, target, contents);
	blk_free(target);
	target = failure_open(f, l, 1, NULL);
	failure_look(f, target, contents);
	blk_free(target);
	blk_free(source);
	crash_log_free(l);
	return has_failed;
}

TEST(a_copy_is_whole_or_it_is_told)
{
	set_up();
	fill_contents();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		fail_each(try_copy, &kinds[i], "copy");
	loop_free(loop);
}

/* --- jobs --- */

struct job_files {
	struct crash_log *l;
	const struct failure *f;
};

static struct job_files files;
static struct blk *replaced;

static int open_backing(void *opaque, const struct img_child *child, struct blk **out,
			struct err *err)
{
	(void)opaque;
	(void)child;
	(void)err;
	*out = failure_open(files.f, files.l, 1, NULL);
	return 0;
}

static const struct img_opener job_opener = {.open = open_backing};

static void on_changed(void *opaque, struct img_job *j)
{
	(void)opaque;
	(void)j;
}

static void on_replaced(void *opaque, struct blk *old)
{
	(void)opaque;
	replaced = old;
}

/* A guest's image, file 0, over a backing file or beside a target, file 1; both have something of contents. */
static void job_make(const struct failure *f, struct crash_log *l, bool is_overlay)
{
	static const u8 noise[64 * KIB] = {1};
	struct img_create_options o = {.loop = loop, .size = DISK};
	struct err err = ERR_INIT;

	for (unsigned i = 2; i-- > 0;) {
		struct blk *file = crash_log_disk(l, loop, i), *b;

		o.backing_name = is_overlay && i == 0 ? "base" : NULL;
		o.backing_format = is_overlay && i == 0 ? "qcow2" : NULL;
		CHECK_EQ(img_create(&img_qcow2, file, &o, &err), 0);
		blk_free(file);
		b = failure_open(f, l, i, &job_opener);
		if (is_overlay && i == 1)
			CHECK_EQ(blk_write(b, 0, contents, DISK), 0);
		if (is_overlay && i == 0) {
			CHECK_EQ(blk_write(b, 0, noise, sizeof(noise)), 0);
			CHECK_EQ(blk_write(b, 0, contents, sizeof(noise)), 0);
		}
		if (!is_overlay && i == 0)
			CHECK_EQ(blk_write(b, 0, contents, DISK), 0);
		blk_free(b);
	}
}

static struct img_job_status job_run(struct blk *hub, struct img_job *job)
{
	struct img_job_status s = {.state = IMG_JOB_RUNNING};

	while (s.state == IMG_JOB_RUNNING || s.state == IMG_JOB_READY) {
		loop_step(hub->loop, true);
		img_job_get_status(job, &s);
	}
	return s;
}

static bool try_job(struct failure *f, enum img_job_kind kind)
{
	const bool has_target = kind != IMG_JOB_PULL;
	const bool is_overlay = kind == IMG_JOB_PULL || kind == IMG_JOB_COMMIT;
	struct img_job_options o = {.kind = kind,
				    .layers = kind == IMG_JOB_COMMIT,
				    .changed = on_changed,
				    .replaced = on_replaced};
	struct crash_log *l = crash_log_new(f->nth);
	struct err err = ERR_INIT;
	struct img_job_status s;
	struct img_job *job;
	struct blk *hub, *b;
	bool has_failed;

	files = (struct job_files){l, f};
	replaced = NULL;
	job_make(f, l, is_overlay);
	CHECK_EQ(blk_hub_new(loop, failure_open(f, l, 0, &job_opener), &hub, &err), 0);
	if (has_target)
		o.target = failure_open(f, l, 1, NULL);
	crash_log_fail(l, f->nth, f->error, f->goes_on);
	CHECK_EQ(img_job_start(hub, &o, &job, &err), 0);
	s = job_run(hub, job);
	has_failed = crash_log_has_failed(l);
	crash_log_fail(l, 0, 0, false);
	if (s.state != IMG_JOB_DONE && (!has_failed || !s.error || !s.where))
		failure_says(f, "it fails without a word, or by itself", s.error);
	/* Whatever became of it, the guest has its disk, and can write. */
	failure_look(f, hub, contents);
	CHECK_EQ(blk_write(hub, DISK - 4096, contents + DISK - 4096, 4096), 0);
	CHECK_EQ(blk_flush(hub), 0);
	img_job_free(job);
	blk_free(replaced);
	blk_free(hub);
	if (s.state == IMG_JOB_DONE && kind != IMG_JOB_PULL) {
		b = failure_open(f, l, 1, NULL);
		failure_look(f, b, contents);
		blk_free(b);
	}
	b = failure_open(f, l, 0, &job_opener);
	failure_look(f, b, contents);
	if (s.state == IMG_JOB_DONE && kind == IMG_JOB_PULL)
		CHECK(!b->image->backing(b));
	blk_free(b);
	crash_log_free(l);
	return has_failed;
}

static bool try_job_copy(struct failure *f)
{
	return try_job(f, IMG_JOB_COPY);
}

static bool try_job_mirror(struct failure *f)
{
	return try_job(f, IMG_JOB_MIRROR);
}

static bool try_job_commit(struct failure *f)
{
	return try_job(f, IMG_JOB_COMMIT);
}

static bool try_job_pull(struct failure *f)
{
	return try_job(f, IMG_JOB_PULL);
}

TEST(a_job_that_fails_leaves_the_guest_its_disk)
{
	static const struct kind qcow2 = {"qcow2", NULL};

	set_up();
	fill_contents();
	fail_each(try_job_copy, &qcow2, "job copy");
	fail_each(try_job_mirror, &qcow2, "job mirror");
	fail_each(try_job_commit, &qcow2, "job commit");
	fail_each(try_job_pull, &qcow2, "job pull");
	loop_free(loop);
}
