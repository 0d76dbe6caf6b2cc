/*
 * Power cuts (crash.h). CRASH_CUTS=N in the environment looks at so many states of each plan, CRASH_SEED=N at
 * others.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "format_check.h"
#include "model.h"
#include "test.h"

#define CUTS 40
#define DISK (4 * MIB)

static u64 from_environment(const char *name, u64 otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static void holds_plan(const struct crash_plan *what)
{
	struct crash_plan p = *what;
	const char *why;

	CHECK(p.format);
	p.size = p.size ? p.size : DISK;
	p.n_operations = 240;
	p.n_cuts = (unsigned)from_environment("CRASH_CUTS", CUTS);
	p.seed = from_environment("CRASH_SEED", 1);
	why = crash_run(&p);
	if (why)
		fail_msg("%s: %s", p.format->name, why);
}

static void holds(const char *format, const struct img_option *options, bool is_repaired)
{
	holds_plan(&(struct crash_plan){
		.format = img_find_format(format),
		.options = options,
		.size = strcmp(format, "vdi") ? DISK : 4 * DISK, /* its blocks are large */
		.asks_qemu = true,
		.is_repaired = is_repaired,
	});
}

/* The backing's name in file 0 as a cut left it; owned. */
static char *name_in_cut(struct loop *loop, const struct crash_log *l, size_t at, u64 *random)
{
	const struct img_open_options o = {.loop = loop, .is_readonly = true, .is_alone = true};
	int fd = crash_log_cut(l, at, 0, random);
	struct img_info info;
	struct err err = ERR_INIT;
	struct blk *b;
	char *name;

	if (img_open(&img_qcow2, model_file_of(loop, fd, true), &o, &b, &err) < 0)
		fail_msg("%s", err.text);
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	CHECK_STR(info.backing_format, "raw");
	name = str_dup(info.backing_name);
	img_info_fini(&info);
	blk_free(b);
	close(fd);
	return name;
}

static const struct img_option small_clusters[] = {{"cluster_size", "4K"}, {NULL, NULL}};
static const struct img_option lazy[] = {{"lazy_refcounts", "on"}, {NULL, NULL}};
static const struct img_option extended[] = {{"extended_l2", "on"}, {NULL, NULL}};
static const struct img_option old[] = {{"compat", "0.10"}, {NULL, NULL}};

/* Its end is in another sector than its beginning. */
TEST(a_long_header_of_qcow2_changes_whole)
{
	char names[3][701];
	struct img_create_options create = {.size = MIB,
					    .backing_name = names[0],
					    .backing_format = "raw",
					    .options = small_clusters,
					    .n_options = 1};
	struct img_open_options o = {.is_alone = true};
	struct crash_log *l = crash_log_new(1);
	u64 random = from_environment("CRASH_SEED", 1);
	size_t at[3];
	struct err err = ERR_INIT;
	struct blk *file, *b;

	for (unsigned i = 0; i < 3; i++)
		memset(names[i], 'a' + (int)i, 700), names[i][i == 1 ? 20 : 700 - i] = 0;
	CHECK_EQ(loop_new(&o.loop, &err), 0);
	create.loop = o.loop;
	file = crash_log_disk(l, o.loop, 0);
	CHECK_EQ(img_create(&img_qcow2, file, &create, &err), 0);
	CHECK_EQ(img_open(&img_qcow2, file, &o, &b, &err), 0);
	for (unsigned i = 0; i < 3; i++) {
		at[i] = crash_log_length(l);
		if (i < 2)
			CHECK_EQ(b->image->set_backing(b, names[i + 1], "raw", &err), 0);
	}
	blk_free(b);
	for (unsigned i = 0; i < 400; i++) {
		unsigned step = i % 2;
		size_t cut = at[step] + crash_random(&random) % (at[step + 1] - at[step] + 1);
		AUTO(free) char *name = name_in_cut(o.loop, l, cut, &random);

		CHECK(strcmp(name, names[step]) == 0 || strcmp(name, names[step + 1]) == 0);
	}
	crash_log_free(l);
	loop_free(o.loop);
}

/* A harness that finds nothing finds no bug either: some state of some seed must be wrong. */
static void finds(const char *format, const struct img_option *options, enum crash_bug bug)
{
	const char *why = NULL;

	for (u64 seed = 1; seed < 20 && !why; seed++) {
		const struct crash_plan p = {
			.format = img_find_format(format),
			.options = options,
			.size = DISK,
			.n_operations = 240,
			.n_cuts = CUTS,
			.seed = seed,
			.bug = bug,
		};

		why = crash_run(&p);
	}
	if (!why)
		fail_msg("%s: the planted bug %d isn't found", format, bug);
}

TEST(raw_holds)
{
	holds("raw", NULL, false);
}

TEST(missing_flushes_are_found)
{
	finds("raw", NULL, CRASH_NO_FLUSH);
}

TEST(early_completions_are_found)
{
	finds("raw", NULL, CRASH_EARLY);
}

TEST(qcow2_holds)
{
	holds("qcow2", NULL, false);
}

TEST(qcow2_with_small_clusters_holds)
{
	holds("qcow2", small_clusters, false);
}

TEST(qcow2_with_lazy_refcounts_holds)
{
	holds("qcow2", lazy, false);
}

TEST(qcow2_with_extended_l2_holds)
{
	holds("qcow2", extended, false);
}

TEST(qcow2_of_version_2_holds)
{
	holds("qcow2", old, false);
}

TEST(bugs_in_qcow2_would_be_found)
{
	finds("qcow2", small_clusters, CRASH_NO_FLUSH);
	finds("qcow2", small_clusters, CRASH_NO_ORDER);
	finds("qcow2", small_clusters, CRASH_EARLY);
}

TEST(vdi_holds)
{
	holds("vdi", NULL, false);
}

/* The footer at the end may have to be written again. */
TEST(vhd_holds)
{
	holds("vpc", NULL, true);
}

/* Its log is replayed when it is opened. */
TEST(vhdx_holds)
{
	holds("vhdx", NULL, false);
}

TEST(bugs_in_vhdx_would_be_found)
{
	finds("vhdx", NULL, CRASH_NO_FLUSH);
	finds("vhdx", NULL, CRASH_EARLY);
}

/* Its tables are kept twice, and a cut may come between the two. */
TEST(vmdk_holds)
{
	holds("vmdk", NULL, true);
}

/* --- and what is done with the disk --- */

TEST(qcow2_holds_while_it_is_resized)
{
	holds_plan(&(struct crash_plan){.format = &img_qcow2,
					.options = small_clusters,
					.does = CRASH_GROWS | CRASH_SHRINKS | CRASH_REOPENS});
}

TEST(qcow2_holds_with_snapshots)
{
	holds_plan(&(struct crash_plan){
		.format = &img_qcow2, .does = CRASH_SNAPSHOTS | CRASH_REOPENS, .asks_qemu = true});
	holds_plan(&(struct crash_plan){.format = &img_qcow2,
					.options = small_clusters,
					.does = CRASH_SNAPSHOTS | CRASH_GROWS | CRASH_SHRINKS});
	/* Version 2 has no flag that says "count anew": what is only ours may seem to be shared. */
	holds_plan(&(struct crash_plan){.format = &img_qcow2,
					.options = old,
					.does = CRASH_SNAPSHOTS,
					.is_repaired = true});
}

TEST(qcow2_holds_with_bitmaps)
{
	holds_plan(&(struct crash_plan){
		.format = &img_qcow2, .does = CRASH_BITMAPS | CRASH_REOPENS, .asks_qemu = true});
	holds_plan(&(struct crash_plan){.format = &img_qcow2,
					.options = small_clusters,
					.does = CRASH_BITMAPS | CRASH_REOPENS | CRASH_SNAPSHOTS |
						CRASH_GROWS});
}

TEST(other_formats_hold_while_they_grow)
{
	holds_plan(&(struct crash_plan){
		.format = &img_vdi, .size = 4 * DISK, .does = CRASH_GROWS | CRASH_REOPENS});
	holds_plan(&(struct crash_plan){
		.format = &img_vhd, .does = CRASH_GROWS | CRASH_REOPENS, .is_repaired = true});
	holds_plan(&(struct crash_plan){.format = &img_vhdx, .does = CRASH_GROWS | CRASH_REOPENS});
	holds_plan(&(struct crash_plan){
		.format = &img_vmdk, .does = CRASH_GROWS | CRASH_REOPENS, .is_repaired = true});
}

#define TABLE_DISK   (8 * MIB)
#define TABLE_LARGER (300 * GIB) /* in blocks of 1 MiB: more than its table has room for */

static void table_in_cut(struct loop *loop, const struct crash_log *l, size_t at, u64 *random)
{
	int fd = crash_log_cut(l, at, 0, random);
	struct blk *b = format_open(loop, &img_vhdx, fd, NULL);
	u8 data[8192], want[8192];

	CHECK(b->size == TABLE_DISK || b->size == TABLE_LARGER);
	for (u64 i = 0; i < TABLE_DISK / MIB; i++) {
		memset(want, (int)i + 1, sizeof(want));
		CHECK_EQ(blk_read(b, i * MIB + 4096, data, sizeof(data)), 0);
		CHECK_MEM(data, want, sizeof(data));
	}
	/* It is still one that grows and is written. */
	if (b->size == TABLE_LARGER) {
		CHECK_EQ(blk_write(b, TABLE_LARGER - sizeof(want), want, sizeof(want)), 0);
		CHECK_EQ(blk_flush(b), 0);
	}
	blk_free(b);
	format_is_sound(loop, &img_vhdx, fd, NULL, 0);
	close(fd);
}

/* The block table moves, and two region tables say where it is. */
TEST(a_vhdx_table_that_moves_is_there_before_or_after)
{
	static const struct img_option blocks[] = {{"block_size", "1M"}, {NULL, NULL}};
	struct img_create_options create = {.size = TABLE_DISK, .options = blocks, .n_options = 1};
	struct crash_log *l = crash_log_new(1);
	u64 random = from_environment("CRASH_SEED", 1);
	struct img_open_options o = {0};
	struct err err = ERR_INIT;
	struct blk *file, *b;
	u8 data[8192];
	size_t start;

	CHECK_EQ(loop_new(&o.loop, &err), 0);
	create.loop = o.loop;
	file = crash_log_disk(l, o.loop, 0);
	CHECK_EQ(img_create(&img_vhdx, file, &create, &err), 0);
	CHECK_EQ(img_open(&img_vhdx, file, &o, &b, &err), 0);
	for (u64 i = 0; i < TABLE_DISK / MIB; i++) {
		memset(data, (int)i + 1, sizeof(data));
		CHECK_EQ(blk_write(b, i * MIB + 4096, data, sizeof(data)), 0);
	}
	CHECK_EQ(blk_flush(b), 0);
	start = crash_log_length(l);
	if (blk_resize(b, TABLE_LARGER, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(b);
	for (u64 i = 0; i < from_environment("CRASH_CUTS", 2 * CUTS); i++) {
		size_t n = crash_log_length(l) - start + 1;

		table_in_cut(o.loop, l, start + crash_random(&random) % n, &random);
	}
	crash_log_free(l);
	loop_free(o.loop);
}

static void job_holds(enum img_job_kind kind, const struct img_format *f,
		      const struct img_format *other)
{
	holds_plan(&(struct crash_plan){
		.format = f,
		.other = other,
		.is_backed = kind == IMG_JOB_COMMIT || kind == IMG_JOB_PULL,
		.does = CRASH_JOB,
		.job = kind,
		.is_repaired = f == &img_vhd,
	});
}

TEST(a_copy_and_its_disk_hold)
{
	job_holds(IMG_JOB_COPY, &img_qcow2, &img_qcow2);
	job_holds(IMG_JOB_COPY, &img_vhd, &img_vhdx);
}

TEST(a_mirror_holds)
{
	job_holds(IMG_JOB_MIRROR, &img_qcow2, &img_raw);
	job_holds(IMG_JOB_MIRROR, &img_vhdx, &img_qcow2);
}

TEST(a_commit_holds)
{
	job_holds(IMG_JOB_COMMIT, &img_qcow2, &img_qcow2);
	job_holds(IMG_JOB_COMMIT, &img_qcow2, &img_raw);
}

TEST(a_pull_holds)
{
	job_holds(IMG_JOB_PULL, &img_qcow2, &img_qcow2);
	job_holds(IMG_JOB_PULL, &img_qcow2, &img_vhdx);
}
