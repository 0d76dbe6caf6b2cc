/* qcow2 with QEMU's tools on the other side: what one made, the other reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "model.h"
#include "qemu.h"
#include "test.h"

static struct loop *loop;

struct variant {
	const char *options;
	u64 cluster;
	bool has_packed, is_backed;
};

/* clang-format off */
static const struct variant variants[] = {
	{"compat=1.1", 65536, true, true},
	{"compat=0.10,cluster_size=512", 512, true, false},
	{"compat=1.1,cluster_size=4096,refcount_bits=64", 4096, true, true},
	{"compat=1.1,compression_type=zstd,lazy_refcounts=on", 65536, true, false},
	{"compat=1.1,extended_l2=on,cluster_size=16384", 16384, true, true},
	{"compat=1.1,data_file=image.data,data_file_raw=on", 65536, false, false},
};
/* clang-format on */

/* As img_create has them; at most 8. */
static void make_ours(const char *list, const char *backing, u64 size)
{
	struct img_option options[8];
	struct img_create_options o = {.loop = loop,
				       .size = size,
				       .backing_name = backing,
				       .backing_format = backing ? "qcow2" : NULL,
				       .options = options,
				       .opener = qemu_opener(loop)};
	AUTO(free) char *copy = str_dup(list);
	struct blk *file = qemu_file(loop, "image", false);
	struct err err = ERR_INIT;
	char *save;

	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *value = strchr(p, '=');

		*value = 0;
		options[o.n_options++] = (struct img_option){p, value + 1};
	}
	if (img_create(&img_qcow2, file, &o, &err) < 0)
		fail_msg("%s: %s", list, err.text);
	blk_free(file);
}

#define SIZE (9 * MIB + 5 * 512)

static void setup(void)
{
	struct err err = ERR_INIT;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
}

static void teardown(void)
{
	loop_free(loop);
	qemu_leave();
}

static void make_variant(const struct variant *v, u64 seed)
{
	qemu_run("rm -f image image.data base base.raw");
	if (v->is_backed) { /* shorter than the image */
		qemu_must("qemu-img create -f qcow2 base 5M");
		qemu_scribble("base", 5 * MIB, 65536, true, 40, seed + 1000);
		qemu_must("qemu-img create -f qcow2 -b base -F qcow2 -o %s image %lu", v->options,
			  SIZE);
	} else {
		qemu_must("qemu-img create -f qcow2 -o %s image %lu", v->options, SIZE);
	}
}

TEST(what_qemu_wrote_is_read)
{
	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
		struct blk *b;

		print_message("%s%s\n", variants[i].options,
			      variants[i].is_backed ? ", backed" : "");
		make_variant(&variants[i], i);
		qemu_scribble("image", SIZE, variants[i].cluster, variants[i].has_packed, 60, i);
		qemu_must("qemu-img convert -f qcow2 -O raw image raw");
		b = qemu_open(loop, "qcow2", "image", true);
		qemu_compare(b, "raw");
		blk_free(b);
	}
	teardown();
}

TEST(snapshots_of_qemu_are_read)
{
	struct img_snapshot *list;
	struct err err = ERR_INIT;
	struct blk *b;
	unsigned n;

	setup();
	make_variant(&variants[0], 7);
	qemu_scribble("image", SIZE, 65536, true, 40, 1);
	qemu_must("qemu-img snapshot -c first image");
	qemu_must("qemu-img convert -f qcow2 -O raw image first.raw");
	qemu_scribble("image", SIZE, 65536, true, 40, 2);
	qemu_must("qemu-img snapshot -c second image");
	qemu_must("qemu-img convert -f qcow2 -O raw image second.raw");
	qemu_scribble("image", SIZE, 65536, true, 40, 3);
	b = qemu_open(loop, "qcow2", "image", true);
	CHECK_EQ(b->image->snapshots(b, &list, &n, &err), 0);
	CHECK_EQ(n, 2);
	CHECK_STR(list[0].name, "first");
	CHECK_STR(list[1].id, "2");
	CHECK_EQ(list[1].size, SIZE);
	img_snapshots_free(list, n);
	blk_free(b);
	b = qemu_open_snapshot(loop, "image", "first");
	qemu_compare(b, "first.raw");
	blk_free(b);
	b = qemu_open_snapshot(loop, "image", "2");
	qemu_compare(b, "second.raw");
	blk_free(b);
	teardown();
}

static void write_file(const char *name, const void *bytes, u64 size)
{
	FILE *f = fopen(name, "w");

	CHECK(f && fwrite(bytes, 1, size, f) == size);
	fclose(f);
}

static void report(void *opaque, bool is_corruption, const char *text)
{
	(void)opaque;
	print_message("%s: %s\n", is_corruption ? "wrong" : "leak", text);
}

static void judge(void)
{
	qemu_must("qemu-img check -f qcow2 image");
}

static struct img_check check(struct blk *b, unsigned repair)
{
	struct img_check c = {.report = report};
	struct err err = ERR_INIT;

	if (b->image->check(b, repair, &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

static void must_be_sound(struct blk *b)
{
	struct img_check c = check(b, 0);

	CHECK_EQ(c.corruptions + c.leaks, 0);
}

TEST(what_is_written_here_qemu_finds_sound_and_the_same)
{
	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
		const struct variant *v = &variants[i];
		struct model *m;
		struct blk *b;

		print_message("%s%s\n", v->options, v->is_backed ? ", backed" : "");
		qemu_run("rm -f image image.data base");
		if (v->is_backed) {
			qemu_must("qemu-img create -f qcow2 base 5M");
			qemu_scribble("base", 5 * MIB, 65536, true, 40, i + 1000);
		}
		make_ours(v->options, v->is_backed ? "base" : NULL, SIZE);
		judge();
		b = qemu_open(loop, "qcow2", "image", false);
		m = model_new(b, i);
		for (unsigned round = 0; round < 2; round++) {
			model_run(m, 150);
			model_compare(m);
			blk_free(b);
			judge();
			qemu_must("qemu-img convert -f qcow2 -O raw image raw");
			b = qemu_open(loop, "qcow2", "image", false);
			qemu_compare(b, "raw");
			must_be_sound(b);
			model_reopened(m, b);
			model_compare(m);
			if (round == 0) { /* now over what QEMU wrote */
				model_free(m);
				blk_free(b);
				/* QEMU 7.2 itself miscounts compressed clusters among subclusters. */
				qemu_scribble("image", SIZE, v->cluster,
					      v->has_packed && !strstr(v->options, "extended"), 40,
					      i);
				judge();
				b = qemu_open(loop, "qcow2", "image", false);
				m = model_new(b, i + 77);
			}
		}
		model_free(m);
		blk_free(b);
	}
	teardown();
}

static void fill_cluster(u8 *buf, u64 cluster)
{
	unsigned kind = (unsigned)random() % 5;

	for (u64 i = 0; i < cluster; i++)
		buf[i] = kind == 4 ? (u8)random() : (u8)(i / 7 * kind + (u64)random() % 4);
}

/* One, or several at once; some are left out. */
static void write_compressed(struct blk *b, u64 cluster, u64 seed)
{
	const u64 most = MAX(24 * cluster, MIB);
	u8 *buf = mem_alloc(1, most), *back = mem_alloc(1, most);

	srandom((unsigned)seed);
	for (u64 at = 0, n; at < b->size; at += n) {
		n = (1 + (u64)random() % (random() % 2 ? 3 : most / cluster)) * cluster;
		n = MIN(n, b->size - at);
		if (random() % 8 == 0)
			continue;
		for (u64 i = 0; i < n; i += cluster)
			fill_cluster(buf + i, MIN(cluster, n - i));
		CHECK_EQ(b->image->write_compressed(b, at, buf, n), 0);
		CHECK_EQ(blk_read(b, at, back, n), 0);
		CHECK(memcmp(buf, back, n) == 0);
	}
	free(buf);
	free(back);
}

TEST(compressed_clusters_are_written)
{
	static const struct {
		const char *options;
		u64 cluster;
	} kinds[] = {{"compat=0.10", 65536},           {"cluster_size=512", 512},
		     {"compression_type=zstd", 65536}, {"refcount_bits=1", 65536},
		     {"extended_l2=on", 65536},        {"cluster_size=2M", 2 * MIB}};
	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct model *m;
		struct blk *b;

		print_message("%s\n", kinds[i].options);
		qemu_run("rm -f image");
		make_ours(kinds[i].options, NULL, SIZE);
		b = qemu_open(loop, "qcow2", "image", false);
		write_compressed(b, kinds[i].cluster, i);
		m = model_new(b, i);
		blk_free(b);
		judge();
		qemu_must("qemu-img convert -f qcow2 -O raw image raw");
		b = qemu_open(loop, "qcow2", "image", false);
		must_be_sound(b);
		qemu_compare(b, "raw");
		model_reopened(m, b);
		model_compare(m);
		model_run(m, 500);
		model_compare(m);
		must_be_sound(b);
		blk_free(b);
		judge();
		model_free(m);
	}
	teardown();
}

/* Damage at random places of the metadata; what is mended is sound for us and for QEMU. */
TEST(what_is_damaged_is_mended)
{
	setup();
	for (unsigned i = 0; i < 8; i++) {
		static const char *const kinds[] = {
			"cluster_size=4096", "compat=0.10,cluster_size=512",
			"cluster_size=16384,extended_l2=on", "refcount_bits=64,cluster_size=4096"};
		struct blk *file, *b;
		struct model *m;
		struct img_check c;
		u64 at;

		qemu_run("rm -f image");
		make_ours(kinds[i % 4], NULL, 2 * MIB);
		b = qemu_open(loop, "qcow2", "image", false);
		m = model_new(b, i);
		model_run(m, 300);
		model_free(m);
		blk_free(b);
		file = qemu_file(loop, "image", false);
		srandom(i);
		for (unsigned k = 0; k < 30; k++) {
			u64 garbage = (u64)random() << 31 ^ (u64)random();

			/* The header stays; all else is fair. */
			at = 4096 + (u64)random() % (file->size - 8192);
			if (i % 4 == 1)
				at = 512 + (u64)random() % (file->size / 4);
			CHECK_EQ(blk_write(file, at, &garbage, 1 + (u64)random() % 8), 0);
		}
		blk_free(file);
		b = qemu_open(loop, "qcow2", "image", false);
		c = check(b, IMG_REPAIR_ALL | IMG_REPAIR_LEAKS);
		CHECK_EQ(c.corruptions, 0);
		must_be_sound(b);
		blk_free(b);
		judge();
	}
	teardown();
}

static void reopen(struct blk **b, struct model *m)
{
	blk_free(*b);
	judge();
	*b = qemu_open(loop, "qcow2", "image", false);
	model_reopened(m, *b);
}

static void must(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%s", err->text);
}

TEST(snapshots_are_made_applied_and_deleted)
{
	static const char *const kinds[] = {"compat=0.10", "lazy_refcounts=on",
					    "extended_l2=on,cluster_size=16384"};
	struct err err = ERR_INIT;

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct image_ops *ops;
		struct model *m;
		struct blk *b, *s;

		print_message("%s\n", kinds[i]);
		qemu_run("rm -f image");
		make_ours(kinds[i], NULL, SIZE);
		b = qemu_open(loop, "qcow2", "image", false);
		ops = b->image;
		m = model_new(b, i);
		model_run(m, 200);
		must(ops->snapshot_create(b, "one", 1234567890123456789, &err), &err);
		must_be_sound(b);
		write_file("one.raw", model_bytes(m), SIZE);
		model_run(m, 200);
		must(ops->snapshot_create(b, "two", 0, &err), &err);
		write_file("two.raw", model_bytes(m), SIZE);
		reopen(&b, m);
		must_be_sound(b);
		model_run(m, 300);
		model_compare(m);
		must_be_sound(b);
		reopen(&b, m);
		/* QEMU reads ours, and changes them. */
		qemu_must("qemu-img convert -f qcow2 -l snapshot.name=one -O raw image x.raw && "
			  "cmp x.raw one.raw");
		s = qemu_open_snapshot(loop, "image", "two");
		qemu_compare(s, "two.raw");
		blk_free(s);
		must(ops->snapshot_apply(b, "one", &err), &err);
		qemu_compare(b, "one.raw");
		must_be_sound(b);
		model_free(m);
		m = model_new(b, i + 9);
		model_run(m, 200);
		model_compare(m);
		must_be_sound(b);
		must(ops->snapshot_delete(b, "1", &err), &err);
		must_be_sound(b);
		model_compare(m);
		blk_free(b);
		judge();
		qemu_must("qemu-img snapshot -a two image && qemu-img snapshot -c three image && "
			  "qemu-img snapshot -d two image");
		b = qemu_open(loop, "qcow2", "image", false);
		qemu_compare(b, "two.raw");
		must(ops->snapshot_delete(b, "three", &err), &err);
		must_be_sound(b);
		qemu_compare(b, "two.raw");
		CHECK_EQ(ops->snapshot_delete(b, "three", &err), -ENOENT);
		model_free(m);
		blk_free(b);
		judge();
	}
	teardown();
}

TEST(images_grow_and_shrink)
{
	static const char *const kinds[] = {"cluster_size=4096", "compat=0.10,cluster_size=512",
					    "extended_l2=on,cluster_size=16384",
					    "cluster_size=65536", "data_file=image.data"};
	struct err err = ERR_INIT;

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds) * 2; i++) {
		bool is_backed = i % 2 && !strstr(kinds[i / 2], "data_file");
		struct model *m;
		struct blk *b;

		print_message("%s%s\n", kinds[i / 2], is_backed ? ", backed" : "");
		qemu_run("rm -f image image.data base");
		if (is_backed) {
			qemu_must("qemu-img create -f qcow2 base 5M");
			qemu_scribble("base", 5 * MIB, 65536, true, 40, i + 1000);
		}
		make_ours(kinds[i / 2], is_backed ? "base" : NULL, 3 * MIB);
		b = qemu_open(loop, "qcow2", "image", false);
		m = model_new(b, i);
		for (unsigned round = 0; round < 3; round++) {
			model_run(m, 100);
			model_resize(m, (1 + (u64)random() % (6 * MIB)) / 512 * 512 + 512);
			model_compare(m);
			must_be_sound(b);
			if (round % 2)
				reopen(&b, m);
		}
		model_compare(m);
		if (!strstr(kinds[i / 2], "data_file"))
			must(b->image->make_empty(b, &err), &err);
		must_be_sound(b);
		model_free(m);
		blk_free(b);
		judge();
		if (is_backed) {
			qemu_must("qemu-img convert -f qcow2 -O raw image raw");
			b = qemu_open(loop, "qcow2", "image", false);
			qemu_compare(b, "raw");
			qemu_must("truncate -s 1M other");
			must(b->image->set_backing(b, "other", "raw", &err), &err);
			must_be_sound(b);
			blk_free(b);
			qemu_must("qemu-img info -U --output=json image | grep "
				  "'\"backing-filename\": \"other\"'");
			judge();
		}
	}
	teardown();
}

static struct img_bitmap find_bitmap(struct blk *b, const char *name)
{
	struct img_bitmap *list, found = {0};
	struct err err = ERR_INIT;
	unsigned n;

	must(b->image->bitmaps(b, &list, &n, &err), &err);
	for (unsigned i = 0; i < n; i++) {
		if (strcmp(list[i].name, name) == 0)
			found = list[i];
	}
	img_bitmaps_free(list, n);
	found.name = NULL;
	return found;
}

static bool is_dirty(struct blk *b, const char *name, u64 offset, u64 *out_bytes)
{
	bool dirty;

	CHECK_EQ(b->image->bitmap_status(b, name, offset, b->size - offset, &dirty, out_bytes), 0);
	return dirty;
}

TEST(bitmaps_are_kept_and_record)
{
	struct err err = ERR_INIT;
	const struct image_ops *ops;
	struct blk *b;
	u64 n;

	setup();
	qemu_must("qemu-img create -f qcow2 image 100M && qemu-img bitmap --add -g 4096 image "
		  "theirs");
	qemu_must("qemu-img bitmap --add --disable image still");
	qemu_must("qemu-io -f qcow2 -c 'write 1M 8k' image");
	b = qemu_open(loop, "qcow2", "image", false);
	ops = b->image;
	CHECK_EQ(find_bitmap(b, "theirs").dirty_bytes, 8192);
	CHECK(find_bitmap(b, "theirs").is_enabled && !find_bitmap(b, "still").is_enabled);
	must(ops->bitmap_add(b, "ours", 65536, &err), &err);
	CHECK_EQ(blk_write(b, 50 * MIB + 512, "x", 1), 0);
	CHECK_EQ(blk_write_zeroes(b, 60 * MIB, 65536, true), 0);
	CHECK_EQ(blk_discard(b, 70 * MIB, 65536), 0);
	CHECK_EQ(find_bitmap(b, "ours").dirty_bytes, 3 * 65536);
	CHECK_EQ(find_bitmap(b, "theirs").dirty_bytes, 8192 + 4096 + 2 * 65536);
	CHECK_EQ(find_bitmap(b, "still").dirty_bytes, 0);
	must_be_sound(b);
	blk_free(b);
	judge();

	/* QEMU trusts and reads them. */
	qemu_must("qemu-img info --output=json image | grep -c '\"in-use\"' | grep -qx 0");
	qemu_must("qemu-img bitmap --merge theirs image still && qemu-img bitmap --merge ours "
		  "image still");
	b = qemu_open(loop, "qcow2", "image", false);
	must_be_sound(b);
	CHECK_EQ(find_bitmap(b, "still").dirty_bytes, 4 * 65536);
	CHECK(!is_dirty(b, "still", 0, &n) && n == MIB);
	CHECK(is_dirty(b, "still", MIB, &n) && n == 65536);
	must(ops->bitmap_clear(b, "theirs", &err), &err);
	must(ops->bitmap_merge(b, "theirs", "ours", &err), &err);
	CHECK_EQ(find_bitmap(b, "theirs").dirty_bytes, 3 * 65536);
	must(ops->bitmap_enable(b, "theirs", false, &err), &err);
	must(ops->bitmap_remove(b, "ours", &err), &err);
	CHECK_EQ(ops->bitmap_clear(b, "ours", &err), -ENOENT);
	must(blk_resize(b, 120 * MIB, &err), &err);
	must_be_sound(b);
	blk_free(b);
	judge();
	qemu_must("qemu-img info --output=json image | grep -c '\"name\": ' | grep -qx 2");
	b = qemu_open(loop, "qcow2", "image", true);
	CHECK_EQ(find_bitmap(b, "theirs").dirty_bytes, 3 * 65536);
	CHECK(!find_bitmap(b, "theirs").is_enabled);
	blk_free(b);
	b = qemu_open(loop, "qcow2", "image", false);
	must(ops->bitmap_remove(b, "theirs", &err), &err);
	must(ops->bitmap_remove(b, "still", &err), &err);
	blk_free(b);
	judge();
	teardown();
}

/* As if the process had been killed: what is on disk while the image is open for writing. */
TEST(bitmaps_in_use_are_not_trusted)
{
	struct err err = ERR_INIT;
	struct blk *b, *copy;

	setup();
	qemu_must("qemu-img create -f qcow2 image 10M && qemu-img bitmap --add image map");
	b = qemu_open(loop, "qcow2", "image", false);
	CHECK_EQ(blk_write(b, 0, "x", 1), 0);
	qemu_must("cp image copy");
	copy = qemu_open(loop, "qcow2", "copy", false);
	CHECK(find_bitmap(copy, "map").is_inconsistent);
	CHECK_EQ(copy->image->bitmap_clear(copy, "map", &err), -EINVAL);
	must(copy->image->bitmap_remove(copy, "map", &err), &err);
	blk_free(copy);
	qemu_must("qemu-img check copy && qemu-img info copy | grep -c bitmaps | grep -qx 0");
	blk_free(b);
	judge();
	teardown();
}
