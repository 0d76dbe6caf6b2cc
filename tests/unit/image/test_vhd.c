/* VHD: the model, growing, differencing images, lost footers, damage, what is refused. */
#include "format_check.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/io.h"
#include "image/vhd_wire.h"
#include "test.h"

static struct loop *loop;
static int parent_fd = -1; /* what the opener opens */
static char asked[256];    /* the name it was asked for */

static int open_parent(void *opaque, const struct img_child *child, struct blk **out,
		       struct err *err)
{
	const struct img_open_options o = {.loop = loop, .is_readonly = true, .opener = opaque};

	snprintf(asked, sizeof(asked), "%s", child->name);
	CHECK_EQ(child->role, IMG_BACKING);
	CHECK_STR(child->format, "vpc");
	return img_open(&img_vhd, model_file_of(loop, parent_fd, true), &o, out, err);
}

static const struct img_opener opener = {.open = open_parent};

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static int new_child(const char *parent_name, u64 size)
{
	struct img_create_options o = {.loop = loop, .size = size, .backing_name = parent_name};
	struct err err = ERR_INIT;
	int fd;
	struct blk *file = model_file(loop, &fd);

	o.backing = format_open(loop, &img_vhd, parent_fd, NULL);
	if (img_create(&img_vhd, file, &o, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(o.backing);
	blk_free(file);
	return fd;
}

TEST(a_dynamic_image_holds_what_is_written)
{
	setup();
	for (u64 seed = 1; seed <= 3; seed++) {
		int fd = format_new(loop, &img_vhd, 13 * MIB + 1536, NULL);

		format_model(loop, &img_vhd, fd, NULL, 4, seed);
		close(fd);
	}
	loop_free(loop);
}

TEST(a_fixed_image_holds_what_is_written_and_grows)
{
	struct model *m;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vhd, 5 * MIB, "subformat=fixed");
	format_model(loop, &img_vhd, fd, NULL, 3, 7);
	b = format_open(loop, &img_vhd, fd, NULL);
	m = model_new(b, 3);
	model_resize(m, 5 * MIB + 512); /* exactly the old footer's place */
	model_compare(m);
	model_resize(m, 6 * MIB);
	model_run(m, 300);
	model_compare(m);
	blk_free(b);
	b = format_open(loop, &img_vhd, fd, NULL);
	model_reopened(m, b);
	model_compare(m);
	model_free(m);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(growing_moves_the_table_when_it_has_no_room)
{
	struct err err = ERR_INIT;
	struct model *m;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vhd, 6 * MIB, NULL);
	b = format_open(loop, &img_vhd, fd, NULL);
	m = model_new(b, 5);
	model_run(m, 300);
	model_resize(m, 12 * MIB + 512);
	model_run(m, 300);
	model_compare(m);
	CHECK_EQ(blk_resize(b, 9000 * MIB, &err), 0); /* 4500 entries; there was room for 128 */
	CHECK_EQ(blk_write(b, 9000 * MIB - 512, "end", 3), 0);
	blk_free(b);
	format_is_sound(loop, &img_vhd, fd, NULL, 0);
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(b->size, 9000 * MIB);
	for (u64 at = 0; at < 12 * MIB; at += 512) {
		u8 buf[512];

		CHECK_EQ(blk_read(b, at, buf, sizeof(buf)), 0);
		CHECK(memcmp(buf, model_bytes(m) + at, sizeof(buf)) == 0);
	}
	model_free(m);
	CHECK_EQ(blk_resize(b, MIB, &err), -ENOTSUP);
	CHECK_EQ(blk_resize(b, 2041 * GIB, &err), -EFBIG);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(sizes_are_exact_or_those_of_a_geometry)
{
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vhd, 10 * MIB, "force_size=off");
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK(b->size >= 10 * MIB && b->size < 10 * MIB + 64 * KIB);
	CHECK_EQ(b->size / 512 % (17 * 4), 0); /* whole cylinders */
	blk_free(b);
	close(fd);
	fd = format_new(loop, &img_vhd, 10 * MIB, NULL);
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(b->size, 10 * MIB);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(a_differencing_image_shows_its_parent_where_nothing_was_written)
{
	struct blk_status s;
	struct img_info info;
	struct err err = ERR_INIT;
	struct blk *b;
	u8 *data;
	int fd;

	setup();
	parent_fd = format_new(loop, &img_vhd, 9 * MIB, NULL);
	format_model(loop, &img_vhd, parent_fd, NULL, 1, 11);
	fd = new_child("dir/base.vhd", 9 * MIB);
	b = format_open(loop, &img_vhd, fd, &opener);
	CHECK_STR(asked, "dir/base.vhd");
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	CHECK_STR(info.backing_name, "dir/base.vhd");
	CHECK_STR(info.backing_format, "vpc");
	img_info_fini(&info);
	CHECK(b->image->backing(b));
	CHECK_EQ(blk_status(b, 0, b->size, &s), 0);
	CHECK_EQ(s.depth, 1);
	data = mem_alloc(1, 512);
	CHECK_EQ(blk_write(b, 2 * MIB + 512, data, 512), 0);
	CHECK_EQ(blk_status(b, 2 * MIB + 512, 4096, &s), 0);
	CHECK_EQ(s.bytes, 512); /* a sector of a block is in the child, the rest isn't */
	CHECK(s.is_allocated && s.depth == 0);
	free(data);
	blk_free(b);
	for (u64 seed = 1; seed < 4; seed++)
		format_model(loop, &img_vhd, fd, &opener, 2, seed);
	close(fd);
	close(parent_fd);
	loop_free(loop);
}

TEST(a_parent_must_be_the_one_that_is_meant)
{
	const struct img_open_options o = {.loop = loop, .opener = &opener},
				      alone = {.is_alone = true};
	struct img_open_options options = o;
	struct err err = ERR_INIT;
	struct blk *file, *b;
	int fd, right;

	setup();
	options.loop = loop;
	parent_fd = right = format_new(loop, &img_vhd, 4 * MIB, NULL);
	fd = new_child("/images/base.vhd", 4 * MIB);
	parent_fd = format_new(loop, &img_vhd, 4 * MIB, NULL);
	file = model_file_of(loop, fd, false);
	CHECK_EQ(img_open(&img_vhd, file, &options, &b, &err), -EINVAL);
	CHECK_STR(err.text, "'/images/base.vhd' is another image than its parent");
	options.opener = NULL;
	CHECK_EQ(img_open(&img_vhd, file, &options, &b, &err), -EACCES);
	options.is_alone = alone.is_alone;
	CHECK_EQ(img_open(&img_vhd, file, &options, &b, &err), 0);
	CHECK(!b->image->backing(b));
	blk_free(b);
	close(fd);
	close(parent_fd);
	close(right);
	loop_free(loop);
}

/* A name as Windows writes it, in the locator that posada made. */
static void windows_name_is(int fd, const char *utf16_text, const char *want)
{
	struct vhd_header_wire h;
	struct blk *b;
	u8 data[256] = {0};
	u64 n = strlen(utf16_text), sum = 0;

	for (u64 i = 0; i < n; i++)
		data[2 * i] = (u8)utf16_text[i];
	CHECK_EQ(fd_pread_full(fd, &h, sizeof(h), 512), 0);
	h.locators[0].length = be32_of((u32)(2 * n));
	h.checksum = be32_of(0);
	for (u64 i = 0; i < sizeof(h); i++)
		sum += ((u8 *)&h)[i];
	h.checksum = be32_of(~(u32)sum);
	CHECK_EQ(fd_pwrite_full(fd, &h, sizeof(h), 512), 0);
	CHECK_EQ(fd_pwrite_full(fd, data, sizeof(data), be64_get(h.locators[0].offset)), 0);
	b = format_open(loop, &img_vhd, fd, &opener);
	CHECK_STR(asked, want);
	blk_free(b);
}

TEST(windows_names_are_understood)
{
	int fd;

	setup();
	parent_fd = format_new(loop, &img_vhd, 4 * MIB, NULL);
	fd = new_child("base.vhd", 4 * MIB);
	windows_name_is(fd, ".\\base.vhd", "base.vhd");
	windows_name_is(fd, "..\\b\\base.vhd", "../b/base.vhd");
	windows_name_is(fd, "C:\\VMs\\base.vhd", "base.vhd");
	windows_name_is(fd, "\\\\server\\share\\base.vhd", "base.vhd");
	close(fd);
	close(parent_fd);
	loop_free(loop);
}

TEST(a_lost_footer_is_replaced_by_its_copy)
{
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct blk *b;
	u8 buf[512];
	u64 size;
	int fd;

	setup();
	fd = format_new(loop, &img_vhd, 8 * MIB, NULL);
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(blk_write(b, 3 * MIB, "kept", 4), 0);
	blk_free(b);
	CHECK_EQ(fd_size(fd, &size), 0);
	CHECK_EQ(ftruncate(fd, (off_t)size - 512), 0);
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(b->image->check(b, 0, &c, &err), 0);
	CHECK_EQ(c.corruptions, 1);
	CHECK_EQ(blk_write(b, 7 * MIB, "new", 3), 0);
	blk_free(b);
	format_is_sound(loop, &img_vhd, fd, NULL, 0);
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(blk_read(b, 3 * MIB, buf, sizeof(buf)), 0);
	CHECK(memcmp(buf, "kept", 4) == 0);
	blk_free(b);
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(fd_pwrite_full(fd, buf, sizeof(buf), 0), 0);
	b = format_open(loop, &img_vhd, fd, NULL);
	c = (struct img_check){0};
	CHECK_EQ(b->image->check(b, IMG_REPAIR_ALL, &c, &err), 0);
	CHECK_EQ(c.corruptions_fixed, 1);
	blk_free(b);
	format_is_sound(loop, &img_vhd, fd, NULL, 0);
	close(fd);
	loop_free(loop);
}

TEST(what_a_guest_writes_to_a_fixed_disk_makes_it_no_other_format)
{
	struct blk *b;
	u8 *head = mem_alloc(1, 4096);
	int fd, dynamic;

	setup();
	dynamic = format_new(loop, &img_vhd, 4 * MIB, NULL);
	CHECK_EQ(fd_pread_full(dynamic, head, 4096, 0), 0);
	fd = format_new(loop, &img_vhd, 4 * MIB, "subformat=fixed");
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(blk_write(b, 0, head, 4096), 0);
	blk_free(b);
	b = format_open(loop, &img_vhd, fd, NULL);
	memset(head, 0, 4096);
	CHECK_EQ(blk_read(b, 0, head, 4096), 0);
	CHECK(memcmp(head, VHD_COOKIE, 8) == 0);
	blk_free(b);
	free(head);
	close(fd);
	close(dynamic);
	loop_free(loop);
}

TEST(damage_harms_nobody)
{
	struct blk *b;
	u64 size;
	int fd;

	setup();
	fd = format_new(loop, &img_vhd, 5 * MIB, NULL);
	b = format_open(loop, &img_vhd, fd, NULL);
	CHECK_EQ(blk_write(b, 2 * MIB + 5000, "data", 4), 0);
	blk_free(b);
	CHECK_EQ(fd_size(fd, &size), 0);
	format_damage(loop, &img_vhd, fd, NULL, 0x600, 0x610, 1); /* locators' place */
	format_damage(loop, &img_vhd, fd, NULL, 4096, 4096 + 20, 1);
	format_damage(loop, &img_vhd, fd, NULL, size - 512, size, 7);
	CHECK_EQ(ftruncate(fd, (off_t)size - 512), 0);
	format_damage(loop, &img_vhd, fd, NULL, 0, 90, 3);
	close(fd);
	loop_free(loop);
}
