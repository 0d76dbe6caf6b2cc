/* VHDX: the model, growing, differencing images, the log as a stopped host leaves it, damage. */
#include "format_check.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/io.h"
#include "image/vhdx_priv.h"
#include "image/vhdx_wire.h"
#include "test.h"

static struct loop *loop;
static int parent_fd = -1;
static char asked[256];

static int open_parent(void *opaque, const struct img_child *child, struct blk **out,
		       struct err *err)
{
	const struct img_open_options o = {.loop = loop, .is_readonly = true, .opener = opaque};

	snprintf(asked, sizeof(asked), "%s", child->name);
	CHECK(child->id);
	return img_open(&img_vhdx, model_file_of(loop, parent_fd, true), &o, out, err);
}

static const struct img_opener opener = {.open = open_parent};

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static int copy_of(int fd)
{
	int copy = memfd_create("copy", MFD_CLOEXEC);
	u8 *buf = mem_alloc(1, MIB);
	u64 size;

	CHECK_EQ(fd_size(fd, &size), 0);
	CHECK_EQ(ftruncate(copy, (off_t)size), 0);
	for (u64 at = 0; at < size; at += MIB) {
		CHECK_EQ(fd_pread_full(fd, buf, MIN(MIB, size - at), at), 0);
		CHECK_EQ(fd_pwrite_full(copy, buf, MIN(MIB, size - at), at), 0);
	}
	free(buf);
	return copy;
}

static void has_text(struct blk *b, u64 offset, const char *text)
{
	u8 buf[512];

	CHECK_EQ(blk_read(b, offset, buf, sizeof(buf)), 0);
	if (memcmp(buf, text, strlen(text) + 1) != 0)
		fail_msg("at %#lx there is '%.20s', not '%s'", offset, (char *)buf, text);
}

TEST(a_dynamic_image_holds_what_is_written)
{
	int fd;

	setup();
	for (u64 seed = 1; seed <= 2; seed++) {
		fd = format_new(loop, &img_vhdx, 13 * MIB + 1536, "block_size=1M");
		format_model(loop, &img_vhdx, fd, NULL, 4, seed);
		close(fd);
	}
	fd = format_new(loop, &img_vhdx, 40 * MIB, NULL);
	format_model(loop, &img_vhdx, fd, NULL, 2, 3);
	close(fd);
	loop_free(loop);
}

TEST(a_fixed_image_holds_what_is_written)
{
	int fd;

	setup();
	fd = format_new(loop, &img_vhdx, 5 * MIB, "subformat=fixed,block_size=1M");
	format_model(loop, &img_vhdx, fd, NULL, 3, 7);
	close(fd);
	loop_free(loop);
}

TEST(a_fixed_image_grows_and_stays_fixed)
{
	struct blk_status s;
	struct model *m;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vhdx, 6 * MIB + 512, "subformat=fixed,block_size=1M");
	b = format_open(loop, &img_vhdx, fd, NULL);
	m = model_new(b, 6);
	model_run(m, 300);
	model_resize(m, 20 * MIB + 512);
	model_run(m, 300);
	CHECK_EQ(blk_status(b, 19 * MIB, MIB, &s), 0);
	CHECK(s.has_offset);
	blk_free(b);
	format_is_sound(loop, &img_vhdx, fd, NULL, 0);
	b = format_open(loop, &img_vhdx, fd, NULL);
	model_reopened(m, b);
	model_compare(m);
	model_free(m);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

/* And beyond the room of its block table, which moves. */
TEST(it_grows)
{
	struct err err = ERR_INIT;
	struct model *m;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vhdx, 6 * MIB, "block_size=1M");
	b = format_open(loop, &img_vhdx, fd, NULL);
	m = model_new(b, 5);
	model_run(m, 300);
	model_resize(m, 20 * MIB + 512);
	model_run(m, 300);
	blk_free(b);
	format_is_sound(loop, &img_vhdx, fd, NULL, 0);
	b = format_open(loop, &img_vhdx, fd, NULL);
	model_reopened(m, b);
	model_compare(m);
	model_free(m);
	CHECK_EQ(blk_resize(b, 100 * GIB, &err), 0); /* many chunks */
	CHECK_EQ(blk_write(b, 99 * GIB, "far", 4), 0);
	for (u64 size = 1024 * GIB; size <= 4096 * GIB; size *= 2) {
		CHECK_EQ(blk_resize(b, size, &err), 0);
		CHECK_EQ(blk_write(b, size - 512, "farther", 7), 0);
	}
	CHECK_EQ(blk_resize(b, MIB, &err), -ENOTSUP);
	blk_free(b);
	format_is_sound(loop, &img_vhdx, fd, NULL, 0);
	b = format_open(loop, &img_vhdx, fd, NULL);
	has_text(b, 99 * GIB, "far");
	for (u64 size = 1024 * GIB; size <= 4096 * GIB; size *= 2)
		has_text(b, size - 512, "farther");
	CHECK_EQ(b->size, 4096 * GIB);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

/* The parent is parent_fd. */
static int child_of_parent(void)
{
	struct img_create_options o = {.size = 9 * MIB, .backing_name = "dir/base.vhdx"};
	const struct img_option option = {"block_size", "1M"};
	struct err err = ERR_INIT;
	struct blk *file;
	int fd;

	o.loop = loop;
	o.options = &option;
	o.n_options = 1;
	o.backing = format_open(loop, &img_vhdx, parent_fd, NULL);
	file = model_file(loop, &fd);
	if (img_create(&img_vhdx, file, &o, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
	blk_free(o.backing);
	return fd;
}

static int differencing_image(void)
{
	parent_fd = format_new(loop, &img_vhdx, 9 * MIB, "block_size=2M");
	format_model(loop, &img_vhdx, parent_fd, NULL, 1, 11);
	return child_of_parent();
}

static void is_refused(int fd, const char *why)
{
	struct img_open_options o = {.loop = loop, .opener = &opener};
	struct blk *b, *file = model_file_of(loop, fd, false);
	struct err err = ERR_INIT;

	CHECK_EQ(img_open(&img_vhdx, file, &o, &b, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("'%s' doesn't say '%s'", err.text, why);
	blk_free(file);
}

TEST(a_differencing_image_shows_its_parent_where_nothing_was_written)
{
	struct blk_status s;
	struct blk *b;
	int fd;

	setup();
	fd = differencing_image();
	for (u64 seed = 1; seed < 4; seed++)
		format_model(loop, &img_vhdx, fd, &opener, 2, seed);
	CHECK_STR(asked, "dir/base.vhdx");
	b = format_open(loop, &img_vhdx, fd, &opener);
	CHECK(b->image->backing(b));
	CHECK_EQ(blk_status(b, 0, b->size, &s), 0);
	blk_free(b);
	/* The parent may not change beneath it. */
	b = format_open(loop, &img_vhdx, parent_fd, NULL);
	CHECK_EQ(blk_write(b, 0, "changed", 7), 0);
	blk_free(b);
	is_refused(fd, "changed since");
	close(fd);
	close(parent_fd);
	loop_free(loop);
}

/* The metadata table is at 2 MiB: 32 bytes, then an entry of 32 for each item. */
static void set_sector(int fd, u32 bytes)
{
	u8 table[32 + 16 * 32];
	u64 at = 2 * MIB;
	le32 value = le32_of(bytes);

	CHECK_EQ(fd_pread_full(fd, table, sizeof(table), at), 0);
	for (u8 *e = table + 32; e < table + sizeof(table); e += 32) {
		if (memcmp(e, vhdx_id_sector, 16) == 0)
			CHECK_EQ(fd_pwrite_full(fd, &value, 4, at + le32_load(e + 16)), 0);
	}
}

TEST(a_childs_sectors_are_its_parents)
{
	static u8 parents[9 * MIB], childs[9 * MIB];
	struct blk *b;
	int fd;

	setup();
	fd = differencing_image();
	set_sector(parent_fd, 4096);
	is_refused(fd, "its sectors have 512 bytes, and those of its parent");
	close(fd);
	fd = child_of_parent();
	b = format_open(loop, &img_vhdx, fd, &opener);
	CHECK_EQ(b->block_size, 4096);
	CHECK_EQ(blk_read(b, 0, parents, sizeof(parents)), 0);
	for (u64 at = 100; at < sizeof(parents); at += 700 * KIB) {
		memset(parents + at, 'c', 5000);
		CHECK_EQ(blk_write(b, at, parents + at, 5000), 0);
	}
	blk_free(b);
	b = format_open(loop, &img_vhdx, fd, &opener);
	CHECK_EQ(blk_read(b, 0, childs, sizeof(childs)), 0);
	CHECK_MEM(childs, parents, sizeof(childs));
	blk_free(b);
	format_is_sound(loop, &img_vhdx, fd, &opener, 0);
	close(fd);
	close(parent_fd);
	loop_free(loop);
}

/* Else any image of that name would be taken for it. */
TEST(a_differencing_image_names_its_parents_id)
{
	static const u8 key[] = "p\0a\0r\0e\0n\0t\0_\0l\0i\0n\0k\0a\0g";
	u64 at = 2 * MIB + 64 * KIB;
	u8 items[2048], *found;
	int fd;

	setup();
	fd = differencing_image();
	CHECK_EQ(fd_pread_full(fd, items, sizeof(items), at), 0);
	found = memmem(items, sizeof(items), key, sizeof(key));
	CHECK(found);
	CHECK_EQ(fd_pwrite_full(fd, "q", 1, at + (u64)(found - items)), 0);
	is_refused(fd, "doesn't say what its parent is");
	close(fd);
	close(parent_fd);
	loop_free(loop);
}

TEST(a_users_metadata_are_not_the_formats)
{
	struct vhdx_metadata_head_wire head;
	struct vhdx_metadata_wire item;
	u64 at = 2 * MIB;
	int fd;

	setup();
	fd = format_new(loop, &img_vhdx, 4 * MIB, NULL);
	CHECK_EQ(fd_pread_full(fd, &head, sizeof(head), at), 0);
	CHECK_EQ(fd_pread_full(fd, &item, sizeof(item), at + sizeof(head)), 0);
	CHECK_EQ(le32_get(item.bytes), sizeof(struct vhdx_parameters_wire));
	item.bytes = le32_of(1);
	item.flags = le32_of(VHDX_META_USER);
	CHECK_EQ(fd_pwrite_full(fd, &item, sizeof(item),
				at + sizeof(head) + le16_get(head.n_entries) * sizeof(item)),
		 0);
	head.n_entries = le16_of((u16)(le16_get(head.n_entries) + 1));
	CHECK_EQ(fd_pwrite_full(fd, &head, sizeof(head), at), 0);
	blk_free(format_open(loop, &img_vhdx, fd, NULL));
	close(fd);
	loop_free(loop);
}

/* Two flushes, and then the host stopped with nothing of it in place: the table is as it was at first. */
static int stopped_image(void)
{
	int fd = format_new(loop, &img_vhdx, 16 * MIB, "block_size=1M"), copy;
	struct blk *b = format_open(loop, &img_vhdx, fd, NULL);
	u8 *zeros = mem_alloc(1, MIB);

	CHECK_EQ(blk_write(b, 3 * MIB, "first", 6), 0);
	CHECK_EQ(blk_flush(b), 0);
	CHECK_EQ(blk_write(b, 7 * MIB, "second", 7), 0);
	CHECK_EQ(blk_flush(b), 0);
	copy = copy_of(fd);
	blk_free(b);
	close(fd);
	CHECK_EQ(fd_pwrite_full(copy, zeros, MIB, 3 * MIB), 0);
	free(zeros);
	return copy;
}

TEST(what_the_log_says_is_there_after_a_stop)
{
	const struct img_open_options o = {.is_readonly = true};
	struct img_open_options options = o;
	struct img_info info;
	struct err err = ERR_INIT;
	struct blk *b;
	u8 table[8];
	int fd;

	setup();
	options.loop = loop;
	fd = stopped_image();
	/* Read only: seen, and nothing is changed. */
	CHECK_EQ(img_open(&img_vhdx, model_file_of(loop, fd, true), &options, &b, &err), 0);
	has_text(b, 3 * MIB, "first");
	has_text(b, 7 * MIB, "second");
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	CHECK(info.is_dirty);
	img_info_fini(&info);
	blk_free(b);
	CHECK_EQ(fd_pread_full(fd, table, 8, 3 * MIB + 3 * 8), 0);
	CHECK_EQ(le64_load(table), 0);
	/* To write: put in place. */
	b = format_open(loop, &img_vhdx, fd, NULL);
	has_text(b, 7 * MIB, "second");
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	CHECK(!info.is_dirty);
	img_info_fini(&info);
	blk_free(b);
	CHECK_EQ(fd_pread_full(fd, table, 8, 3 * MIB + 3 * 8), 0);
	CHECK(le64_load(table));
	format_is_sound(loop, &img_vhdx, fd, NULL, 0);
	close(fd);
	loop_free(loop);
}

TEST(a_torn_log_entry_leaves_the_one_before)
{
	struct blk *b;
	u8 byte;
	int fd;

	setup();
	fd = stopped_image();
	/* The second entry's data sector. */
	CHECK_EQ(fd_pread_full(fd, &byte, 1, MIB + 3 * 4096 + 1000), 0);
	byte ^= 1;
	CHECK_EQ(fd_pwrite_full(fd, &byte, 1, MIB + 3 * 4096 + 1000), 0);
	b = format_open(loop, &img_vhdx, fd, NULL);
	has_text(b, 3 * MIB, "first");
	has_text(b, 7 * MIB, "");
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(a_lost_header_and_region_table_have_another)
{
	struct blk *b;
	u8 zeros[512] = {0};
	int fd, copy;

	setup();
	fd = format_new(loop, &img_vhdx, 16 * MIB, NULL);
	b = format_open(loop, &img_vhdx, fd, NULL);
	CHECK_EQ(blk_write(b, 3 * MIB, "kept", 5), 0);
	blk_free(b);
	for (unsigned i = 0; i < 2; i++) {
		copy = copy_of(fd);
		CHECK_EQ(fd_pwrite_full(copy, zeros, 512, VHDX_HEADER_AT(i)), 0);
		CHECK_EQ(fd_pwrite_full(copy, zeros, 512, VHDX_REGIONS_AT(i)), 0);
		b = format_open(loop, &img_vhdx, copy, NULL);
		has_text(b, 3 * MIB, "kept");
		blk_free(b);
		close(copy);
	}
	close(fd);
	loop_free(loop);
}

/* A damaged structure whose checksum is right all the same. */
static void reseal(int fd, u64 at, u64 bytes)
{
	u8 *buf = mem_alloc(1, bytes);

	CHECK_EQ(fd_pread_full(fd, buf, bytes, at), 0);
	le32_store(buf + 4, 0);
	le32_store(buf + 4, crc32c_update(0, buf, bytes));
	CHECK_EQ(fd_pwrite_full(fd, buf, bytes, at), 0);
	free(buf);
}

static void damage_resealed(int fd, u64 at, u64 bytes, u64 from, u64 to)
{
	for (u64 i = from; i < to; i++) {
		int copy = copy_of(fd);
		struct img_open_options o = {.loop = loop, .is_readonly = i & 1};
		struct err err = ERR_INIT;
		struct blk *b, *file;
		u8 v;

		CHECK_EQ(fd_pread_full(copy, &v, 1, at + i), 0);
		v ^= (u8)(i % 3 ? 0xff : 0x11);
		CHECK_EQ(fd_pwrite_full(copy, &v, 1, at + i), 0);
		reseal(copy, at, bytes);
		file = model_file_of(loop, copy, o.is_readonly);
		if (img_open(&img_vhdx, file, &o, &b, &err) == 0) {
			u8 buf[4096];

			(void)blk_read(b, 0, buf, sizeof(buf));
			blk_free(b);
		} else {
			blk_free(file);
		}
		close(copy);
	}
}

TEST(damage_harms_nobody)
{
	int fd;

	setup();
	fd = stopped_image();
	for (unsigned i = 0; i < 2; i++)
		damage_resealed(fd, VHDX_HEADER_AT(i), 4096, 8, 80);
	damage_resealed(fd, VHDX_REGIONS_AT(0), 64 * KIB, 8, 80);
	damage_resealed(fd, MIB, 2 * 4096, 8, 96);            /* a log entry */
	damage_resealed(fd, MIB + 2 * 4096, 2 * 4096, 8, 96); /* the head */
	close(fd);
	fd = format_new(loop, &img_vhdx, 4 * MIB, "block_size=1M");
	format_damage(loop, &img_vhdx, fd, NULL, 2 * MIB, 2 * MIB + 192, 5);
	format_damage(loop, &img_vhdx, fd, NULL, 2 * MIB + 64 * KIB, 2 * MIB + 64 * KIB + 40, 3);
	format_damage(loop, &img_vhdx, fd, NULL, 3 * MIB, 3 * MIB + 32, 3);
	close(fd);
	loop_free(loop);
}
