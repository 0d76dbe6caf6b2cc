/* VMDK: the model on each layout, streams, overlays, damage, hostile descriptors. */
#include "format_check.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/work.h"
#include "block/io.h"
#include "image/vmdk_wire.h"
#include "test.h"

static struct loop *loop;

/* Files by name. */
static struct {
	char name[64];
	int fd;
} files[16];
static unsigned n_files;

static int files_fd(const char *name, bool may_make)
{
	for (unsigned i = 0; i < n_files; i++) {
		if (strcmp(files[i].name, name) == 0)
			return files[i].fd;
	}
	if (!may_make || n_files == ARRAY_SIZE(files))
		return -1;
	snprintf(files[n_files].name, sizeof(files[0].name), "%s", name);
	files[n_files].fd = memfd_create(name, MFD_CLOEXEC);
	return files[n_files++].fd;
}

static int files_open(void *opaque, const struct img_child *child, struct blk **out,
		      struct err *err)
{
	struct img_open_options o = {.loop = loop, .is_readonly = true};
	int fd = files_fd(child->name, false);

	(void)opaque;
	if (fd < 0)
		return err_set(err, -EACCES, "not allowed");
	*out = model_file_of(loop, fd, !child->is_writable);
	return child->role == IMG_BACKING ? img_open(&img_vmdk, *out, &o, out, err) : 0;
}

static int files_create(void *opaque, const struct img_child *child, struct blk **out,
			struct err *err)
{
	(void)opaque, (void)err;
	CHECK_EQ(ftruncate(files_fd(child->name, true), 0), 0);
	*out = model_file_of(loop, files_fd(child->name, true), false);
	return 0;
}

static const struct img_opener opener = {.open = files_open, .create = files_create};

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static void cleanup(void)
{
	while (n_files)
		close(files[--n_files].fd);
	loop_free(loop);
}

static int new_image(const char *name, u64 size, const char *options)
{
	struct err err = ERR_INIT;
	struct blk *file;

	CHECK_EQ(ftruncate(files_fd(name, true), 0), 0);
	file = model_file_of(loop, files_fd(name, true), false);
	if (format_create(loop, &img_vmdk, file, size, options, &opener, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
	return files_fd(name, false);
}

TEST(each_layout_holds_what_is_written)
{
	static const char *const layouts[] = {"subformat=monolithicSparse",
					      "subformat=monolithicFlat",
					      "subformat=twoGbMaxExtentSparse",
					      "subformat=twoGbMaxExtentFlat", "zeroed_grain=on"};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++)
		format_model(loop, &img_vmdk, new_image("a", 5 * MIB + 1536, layouts[i]), &opener,
			     4, i + 1);
	cleanup();
}

TEST(a_split_image_is_one_disk)
{
	u64 size = 5000 * MIB;
	struct blk *b;
	u8 buf[1024];
	int fd;

	setup();
	fd = new_image("a", size, "subformat=twoGbMaxExtentSparse");
	CHECK_EQ(n_files, 4);
	b = format_open(loop, &img_vmdk, fd, &opener);
	CHECK_EQ(b->size, size);
	CHECK_EQ(blk_write(b, 2047 * MIB - 512, "12345678", 8), 0);
	memset(buf, 7, sizeof(buf));
	CHECK_EQ(blk_write(b, 2 * 2047 * MIB - 512, buf, 1024), 0); /* over the border */
	blk_free(b);
	format_is_sound(loop, &img_vmdk, fd, &opener, 0);
	b = format_open(loop, &img_vmdk, fd, &opener);
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(blk_read(b, 2 * 2047 * MIB - 512, buf, 1024), 0);
	CHECK(buf[0] == 7 && buf[1023] == 7);
	CHECK_EQ(blk_read(b, 2047 * MIB - 512, buf, 512), 0);
	CHECK(memcmp(buf, "12345678", 8) == 0);
	blk_free(b);
	cleanup();
}

TEST(a_stream_is_written_once)
{
	const struct img_open_options o = {.loop = NULL};
	struct img_open_options options = o;
	struct err err = ERR_INIT;
	struct blk *b, *file;
	struct model *m;
	int fd;

	setup();
	options.loop = loop;
	fd = new_image("a", 9 * MIB + 1536, "subformat=streamOptimized");
	b = format_open(loop, &img_vmdk, fd, NULL);
	m = model_new(b, 3);
	model_run(m, 1500); /* in any order, each grain many times, with flushes */
	model_compare(m);
	blk_free(b);
	file = model_file_of(loop, fd, false);
	CHECK_EQ(img_open(&img_vmdk, file, &options, &b, &err), -EROFS);
	CHECK(strstr(err.text, "posada image overlay"));
	options.is_readonly = true;
	CHECK_EQ(img_open(&img_vmdk, file, &options, &b, &err), 0);
	model_reopened(m, b);
	model_compare(m);
	model_free(m);
	blk_free(b);
	cleanup();
}

TEST(a_stream_is_packed_by_other_threads_also_while_no_loop_runs)
{
	struct img_open_options o = {0};
	struct err err = ERR_INIT;
	struct blk *b;
	struct model *m;
	u8 *data;
	int fd;

	setup();
	o.loop = loop;
	CHECK_EQ(work_pool_new(loop, 2, NULL, NULL, &o.workers, &err), 0);
	fd = new_image("a", 9 * MIB, "subformat=streamOptimized");
	CHECK_EQ(img_open(&img_vmdk, model_file_of(loop, fd, false), &o, &b, &err), 0);
	data = mem_alloc(1, 9 * MIB);
	memset(data, 0x5a, 9 * MIB);
	CHECK_EQ(blk_write(b, 0, data, 9 * MIB), 0);
	CHECK_EQ(blk_flush(b), 0);
	free(data);
	m = model_new(b, 1);
	model_run(m, 500);
	model_compare(m);
	model_free(m);
	blk_free(b);
	work_pool_free(o.workers);
	cleanup();
}

TEST(a_stream_without_an_end_is_refused)
{
	struct img_open_options o = {.is_readonly = true};
	struct err err = ERR_INIT;
	struct blk *b, *file;
	int fd;

	setup();
	o.loop = loop;
	fd = new_image("a", 9 * MIB, "subformat=streamOptimized");
	file = model_file_of(loop, fd, true);
	CHECK_EQ(img_open(&img_vmdk, file, &o, &b, &err), -EINVAL);
	CHECK(strstr(err.text, "no end"));
	blk_free(file);
	cleanup();
}

TEST(an_overlay_shows_what_is_beneath)
{
	struct img_create_options o = {.size = 6 * MIB, .backing_name = "base"};
	struct img_open_options alone = {.is_alone = true}, options = {.opener = &opener};
	struct err err = ERR_INIT;
	struct blk *file, *b;
	int base;

	setup();
	o.loop = alone.loop = options.loop = loop;
	base = new_image("base", 6 * MIB, NULL);
	format_model(loop, &img_vmdk, base, NULL, 1, 1);
	o.backing = format_open(loop, &img_vmdk, base, NULL);
	file = model_file_of(loop, files_fd("over", true), false);
	CHECK_EQ(img_create(&img_vmdk, file, &o, &err), 0);
	blk_free(file);
	blk_free(o.backing);
	format_model(loop, &img_vmdk, files_fd("over", false), &opener, 3, 2);
	file = model_file_of(loop, files_fd("over", false), false);
	CHECK_EQ(img_open(&img_vmdk, file, &alone, &b, &err), 0);
	CHECK(!b->image->backing(b));
	blk_free(b);
	/* When what is beneath was written, the overlay is of something else. */
	b = format_open(loop, &img_vmdk, base, NULL);
	CHECK_EQ(blk_write(b, 0, "changed", 7), 0);
	blk_free(b);
	file = model_file_of(loop, files_fd("over", false), false);
	CHECK_EQ(img_open(&img_vmdk, file, &options, &b, &err), -EINVAL);
	CHECK(strstr(err.text, "was changed"));
	blk_free(file);
	cleanup();
}

TEST(a_lost_directory_is_replaced_by_its_copy)
{
	struct vmdk_header_wire h;
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct blk *b;
	u8 zeros[4] = {0}, buf[512];
	int fd;

	setup();
	fd = new_image("a", 3 * MIB, NULL);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_write(b, MIB, "kept", 4), 0);
	blk_free(b);
	CHECK_EQ(fd_pread_full(fd, &h, sizeof(h), 0), 0);
	CHECK_EQ(fd_pwrite_full(fd, zeros, 4, le64_get(h.gd_offset) * 512), 0);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_read(b, MIB, buf, 512), 0);
	CHECK(memcmp(buf, "kept", 4) == 0);
	blk_free(b);
	/* A copy that differs is found and mended. */
	fd = new_image("b", 3 * MIB, NULL);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_write(b, MIB, "kept", 4), 0);
	blk_free(b);
	CHECK_EQ(fd_pread_full(fd, &h, sizeof(h), 0), 0);
	CHECK_EQ(fd_pwrite_full(fd, "x", 1, (le64_get(h.rgd_offset) + 1) * 512 + 77), 0);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(b->image->check(b, IMG_REPAIR_ALL, &c, &err), 0);
	CHECK_EQ(c.corruptions_fixed, 1);
	CHECK_EQ(c.corruptions, 0);
	blk_free(b);
	format_is_sound(loop, &img_vmdk, fd, NULL, 0);
	cleanup();
}

TEST(each_layout_grows)
{
	static const char *const layouts[] = {"subformat=monolithicSparse",
					      "subformat=monolithicFlat",
					      "subformat=twoGbMaxExtentSparse",
					      "subformat=twoGbMaxExtentFlat", "zeroed_grain=on"};

	for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
		struct model *m;
		struct blk *b;
		int fd;

		setup();
		fd = new_image("a", 5 * MIB + 1536, layouts[i]);
		b = format_open(loop, &img_vmdk, fd, &opener);
		m = model_new(b, i + 3);
		model_run(m, 300);
		model_resize(m, 20 * MIB + 512); /* the table has room; the number a digit more */
		model_run(m, 300);
		model_resize(m, 40 * MIB); /* one more table */
		model_run(m, 200);
		model_compare(m);
		blk_free(b); /* what wasn't flushed is written, too */
		format_is_sound(loop, &img_vmdk, fd, &opener, 0);
		b = format_open(loop, &img_vmdk, fd, &opener);
		model_reopened(m, b);
		model_compare(m);
		model_resize(m, 70 * MIB); /* moves the directory that was moved */
		model_run(m, 100);
		model_compare(m);
		model_free(m);
		blk_free(b);
		format_is_sound(loop, &img_vmdk, fd, &opener, 0);
		cleanup();
	}
}

static void resize_is_refused(struct blk *b, u64 size, int code, const char *words)
{
	struct err err = ERR_INIT;
	u64 old = b->size;

	CHECK_EQ(blk_resize(b, size, &err), code);
	if (!strstr(err.text, words))
		fail_msg("'%s' doesn't say '%s'", err.text, words);
	CHECK_EQ(b->size, old);
}

TEST(what_cannot_grow_says_what_to_do)
{
	struct img_create_options o = {.size = 2 * MIB, .backing_name = "base"};
	struct err err = ERR_INIT;
	struct blk *b, *file;
	int fd;

	setup();
	fd = new_image("a", 2 * MIB, NULL);
	b = format_open(loop, &img_vmdk, fd, NULL);
	resize_is_refused(b, MIB, -ENOTSUP, "raw or a qcow2");
	resize_is_refused(b, 2048 * GIB, -EFBIG, "convert");
	blk_free(b);
	fd = new_image("s", 2 * MIB, "subformat=twoGbMaxExtentFlat");
	b = format_open(loop, &img_vmdk, fd, &opener);
	resize_is_refused(b, 3000 * MIB, -ENOTSUP, "posada image convert");
	blk_free(b);
	/* An overlay that is smaller than its parent. */
	fd = new_image("base", 3 * MIB, NULL);
	o.loop = loop;
	o.backing = format_open(loop, &img_vmdk, fd, NULL);
	file = model_file_of(loop, files_fd("over", true), false);
	CHECK_EQ(img_create(&img_vmdk, file, &o, &err), 0);
	blk_free(file);
	blk_free(o.backing);
	b = format_open(loop, &img_vmdk, files_fd("over", false), &opener);
	resize_is_refused(b, 3 * MIB, -ENOTSUP, "parent");
	blk_free(b);
	cleanup();
}

/* What another program left in the last grain, behind the disk's end. */
TEST(what_becomes_visible_is_zeros)
{
	struct vmdk_header_wire h;
	struct err err = ERR_INIT;
	struct blk *b;
	u8 buf[512];
	int fd;

	setup();
	fd = new_image("a", MIB + 1024, NULL);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_write(b, MIB + 512, "end", 3), 0);
	blk_free(b);
	CHECK_EQ(fd_pread_full(fd, &h, sizeof(h), 0), 0);
	CHECK_EQ(fd_pwrite_full(fd, "stale", 5, le64_get(h.overhead) * 512 + 1024), 0);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_resize(b, 2 * MIB, &err), 0);
	CHECK_EQ(blk_read(b, MIB + 512, buf, 512), 0);
	CHECK(memcmp(buf, "end", 3) == 0);
	CHECK_EQ(blk_read(b, MIB + 1024, buf, 512), 0);
	CHECK_EQ(buf[0], 0);
	blk_free(b);
	cleanup();
}

/* Tables that nobody made: the directories' entries are 0. */
TEST(tables_are_made_where_there_are_none)
{
	struct vmdk_header_wire h;
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct blk *b;
	u8 zeros[16] = {0};
	int fd;

	setup();
	fd = new_image("a", 100 * MIB, NULL);
	CHECK_EQ(fd_pread_full(fd, &h, sizeof(h), 0), 0);
	CHECK_EQ(fd_pwrite_full(fd, zeros, 16, le64_get(h.gd_offset) * 512), 0);
	CHECK_EQ(fd_pwrite_full(fd, zeros, 16, le64_get(h.rgd_offset) * 512), 0);
	format_is_sound(loop, &img_vmdk, fd, NULL, 0);
	format_model(loop, &img_vmdk, fd, NULL, 3, 9);
	/* One whose copy alone is missing: said, and nothing is written where it isn't. */
	CHECK_EQ(fd_pread_full(fd, &h, sizeof(h), 0), 0);
	CHECK_EQ(fd_pwrite_full(fd, zeros, 4, le64_get(h.rgd_offset) * 512), 0);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(b->image->check(b, IMG_REPAIR_ALL, &c, &err), 0);
	CHECK_EQ(c.corruptions, 1);
	CHECK_EQ(c.corruptions_fixed, 0);
	blk_free(b);
	blk_free(format_open(loop, &img_vmdk, fd, NULL));
	cleanup();
}

static void descriptor_is_refused(const char *lines, const char *words)
{
	AUTO(free) char *text = str_format("# Disk DescriptorFile\nCID=1\n%s", lines);
	struct img_open_options o = {.loop = loop, .opener = &opener};
	struct blk *file = model_file(loop, NULL), *b;
	struct err err = ERR_INIT;

	CHECK_EQ(blk_write(file, 0, text, strlen(text)), 0);
	CHECK(img_open(&img_vmdk, file, &o, &b, &err) < 0);
	if (!strstr(err.text, words))
		fail_msg("'%s' doesn't say '%s'", err.text, words);
	blk_free(file);
}

TEST(hostile_descriptors_are_refused)
{
	setup();
	CHECK_EQ(ftruncate(files_fd("flat", true), 4096), 0);
	descriptor_is_refused("", "no extents");
	descriptor_is_refused("RW 8 FLAT \"/etc/shadow\" 0\n", "extent '/etc/shadow': not allowed");
	descriptor_is_refused("RW 8 FLAT \"\" 0\n", "no name");
	descriptor_is_refused("RW 8 FLAT \"flat\n", "no name");
	descriptor_is_refused("RW 9 FLAT \"flat\" 0\n", "too short");
	descriptor_is_refused("RW 8 FLAT \"flat\" 18446744073709551615\n", "sectors");
	descriptor_is_refused("RW 0 FLAT \"flat\" 0\n", "0 sectors");
	descriptor_is_refused("RW 18446744073709551615 ZERO\n", "sectors");
	descriptor_is_refused("RW 9007199254740991 ZERO\nRW 9007199254740991 ZERO\n", "larger");
	descriptor_is_refused("NOACCESS 8 FLAT \"flat\" 0\n", "not accessible");
	descriptor_is_refused("RW 8 VMFSRDM \"flat\"\n", "VMFSRDM");
	descriptor_is_refused("RW 8 SPARSE \"flat\"\n", "not a sparse");
	descriptor_is_refused("parentCID=2\nRW 8 ZERO\n", "doesn't say");
	cleanup();
}

TEST(what_may_not_be_written_is_not)
{
	const char *text = "# Disk DescriptorFile\nCID=1\nRW 8 ZERO\nRDONLY 8 FLAT \"flat\" 0\n";
	struct blk *b;
	u8 buf[512] = {0};

	setup();
	CHECK_EQ(ftruncate(files_fd("flat", true), 4096), 0);
	CHECK_EQ(fd_pwrite_full(files_fd("a", true), text, strlen(text), 0), 0);
	b = format_open(loop, &img_vmdk, files_fd("a", false), &opener);
	CHECK_EQ(blk_write(b, 0, buf, sizeof(buf)), -EROFS);
	CHECK_EQ(blk_write(b, 4096, buf, sizeof(buf)), -EROFS);
	CHECK_EQ(blk_discard(b, 0, 8192), 0);
	CHECK_EQ(blk_read(b, 0, buf, sizeof(buf)), 0);
	blk_free(b);
	cleanup();
}

/* QEMU writes ids without zeros in front: one in sixteen is shorter. */
TEST(a_short_content_id_stays_as_short)
{
	char text[1024] = "";
	u64 at = 0;
	struct blk *b;
	char *cid;
	int fd;

	setup();
	fd = new_image("a", 3 * MIB, NULL);
	while (!(cid = memmem(text, sizeof(text), "\nCID=", 5))) {
		CHECK(at < MIB);
		CHECK_EQ(fd_pread_full(fd, text, sizeof(text), at += BLK_SECTOR), 0);
	}
	at += (u64)(cid + 5 - text);
	CHECK_EQ(fd_pwrite_full(fd, "123\n#123", 8, at), 0);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_write(b, 0, "data", 4), 0);
	blk_free(b);
	CHECK_EQ(fd_pread_full(fd, text, 8, at), 0);
	CHECK_MEM(text + 3, "\n#123", 5);
	CHECK(memcmp(text, "123", 3));
	cleanup();
}

TEST(damage_harms_nobody)
{
	struct blk *b;
	u8 *data;
	int fd;

	setup();
	fd = new_image("a", 3 * MIB, NULL);
	b = format_open(loop, &img_vmdk, fd, NULL);
	CHECK_EQ(blk_write(b, MIB + 5000, "data", 4), 0);
	blk_free(b);
	format_damage(loop, &img_vmdk, fd, &opener, 0, 80, 1);
	format_damage(loop, &img_vmdk, fd, &opener, 512, 900, 7);
	format_damage(loop, &img_vmdk, fd, &opener, 21 * 512, 22 * 512 + 100, 3);
	fd = new_image("b", 200 * KIB, "subformat=streamOptimized");
	b = format_open(loop, &img_vmdk, fd, NULL);
	data = mem_alloc(1, 100 * KIB);
	CHECK_EQ(blk_write(b, 0, data, 100 * KIB), 0);
	free(data);
	blk_free(b);
	format_damage(loop, &img_vmdk, fd, &opener, 64 * KIB, 64 * KIB + 3000, 11);
	cleanup();
}
