/* VDI: the model, growing, damage, what is refused. */
#include "format_check.h"

#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "block/io.h"
#include "image/vdi_wire.h"
#include "test.h"

static struct loop *loop;

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static void poke(int fd, u64 offset, u32 value)
{
	le32 v = le32_of(value);

	CHECK_EQ(pwrite(fd, &v, sizeof(v), (off_t)offset), sizeof(v));
}

static void is_refused(int fd, const char *words)
{
	const struct img_open_options o = {.loop = loop};
	struct blk *file = model_file_of(loop, fd, false), *b;
	struct err err = ERR_INIT;

	CHECK(img_open(&img_vdi, file, &o, &b, &err) < 0);
	if (!strstr(err.text, words))
		fail_msg("'%s' doesn't say '%s'", err.text, words);
	blk_free(file);
}

TEST(a_dynamic_image_holds_what_is_written)
{
	setup();
	for (u64 seed = 1; seed <= 3; seed++) {
		int fd = format_new(loop, &img_vdi, 9 * MIB + 1536, NULL);

		format_model(loop, &img_vdi, fd, NULL, 4, seed);
		close(fd);
	}
	loop_free(loop);
}

TEST(a_fixed_image_holds_what_is_written)
{
	struct blk_status s;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, 5 * MIB, "static=on");
	b = format_open(loop, &img_vdi, fd, NULL);
	CHECK_EQ(blk_status(b, 0, b->size, &s), 0);
	CHECK(s.is_allocated && s.has_offset && s.offset == MIB);
	blk_free(b);
	format_model(loop, &img_vdi, fd, NULL, 3, 7);
	close(fd);
	loop_free(loop);
}

TEST(growing_moves_the_block_map_when_it_has_no_room)
{
	struct model *m;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, 6 * MIB, NULL);
	b = format_open(loop, &img_vdi, fd, NULL);
	m = model_new(b, 5);
	model_run(m, 300);
	model_resize(m, 12 * MIB + 512); /* the map has room */
	model_run(m, 300);
	blk_free(b);
	/* The map's room ends behind itself: growing past 128 blocks moves it. */
	b = format_open(loop, &img_vdi, fd, NULL);
	model_reopened(m, b);
	model_resize(m, 40 * MIB);
	model_run(m, 100);
	model_compare(m);
	blk_free(b);
	format_is_sound(loop, &img_vdi, fd, NULL, 0);
	b = format_open(loop, &img_vdi, fd, NULL);
	model_reopened(m, b);
	model_compare(m);
	model_free(m);
	blk_free(b);
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
	fd = format_new(loop, &img_vdi, 6 * MIB + 512, "static=on");
	b = format_open(loop, &img_vdi, fd, NULL);
	m = model_new(b, 6);
	model_run(m, 300);
	model_resize(m, 12 * MIB + 512);
	model_run(m, 300);
	CHECK_EQ(blk_status(b, 11 * MIB, MIB, &s), 0);
	CHECK(s.has_offset);
	model_resize(m, 140 * MIB); /* the map moves */
	model_run(m, 100);
	blk_free(b);
	format_is_sound(loop, &img_vdi, fd, NULL, 0);
	b = format_open(loop, &img_vdi, fd, NULL);
	model_reopened(m, b);
	model_compare(m);
	CHECK_EQ(blk_status(b, 139 * MIB, MIB, &s), 0);
	CHECK(s.has_offset);
	model_free(m);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(a_moved_block_map_finds_all_blocks)
{
	struct err err = ERR_INIT;
	struct blk *b;
	u8 buf[512];
	u64 size = 262000 * MIB; /* the map ends shortly before the first block */
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, size, NULL);
	b = format_open(loop, &img_vdi, fd, NULL);
	for (u64 i = 0; i < 5; i++) {
		memset(buf, (int)i + 1, sizeof(buf));
		CHECK_EQ(blk_write(b, size - (i * 37 + 1) * MIB, buf, sizeof(buf)), 0);
	}
	CHECK_EQ(blk_resize(b, 2 * size, &err), 0);
	for (unsigned reopened = 0; reopened < 2; reopened++) {
		for (u64 i = 0; i < 5; i++) {
			CHECK_EQ(blk_read(b, size - (i * 37 + 1) * MIB, buf, sizeof(buf)), 0);
			CHECK_EQ(buf[0], i + 1);
		}
		CHECK_EQ(blk_read(b, 2 * size - 512, buf, sizeof(buf)), 0);
		CHECK_EQ(buf[0], 0);
		blk_free(b);
		format_is_sound(loop, &img_vdi, fd, NULL, 0);
		b = format_open(loop, &img_vdi, fd, NULL);
		CHECK_EQ(b->size, 2 * size);
	}
	CHECK_EQ(blk_resize(b, MIB, &err), -ENOTSUP);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(damage_harms_nobody)
{
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, 3 * MIB, NULL);
	b = format_open(loop, &img_vdi, fd, NULL);
	CHECK_EQ(blk_write(b, MIB + 5000, "data", 4), 0);
	blk_free(b);
	format_damage(loop, &img_vdi, fd, NULL, 0x40, 0x54, 1);
	format_damage(loop, &img_vdi, fd, NULL, 0x150, 0x20c, 1);
	close(fd);
	loop_free(loop);
}

TEST(what_cannot_be_is_refused)
{
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, 3 * MIB, NULL);
	poke(fd, offsetof(struct vdi_header_wire, image_type), VDI_DIFFERENCING);
	is_refused(fd, "merge it");
	poke(fd, offsetof(struct vdi_header_wire, image_type), VDI_DYNAMIC);
	poke(fd, offsetof(struct vdi_header_wire, version), 0x10002);
	is_refused(fd, "version 1.2");
	poke(fd, offsetof(struct vdi_header_wire, version), VDI_VERSION);
	poke(fd, offsetof(struct vdi_header_wire, n_blocks), 0x1000000);
	is_refused(fd, "block map");
	poke(fd, offsetof(struct vdi_header_wire, n_blocks), 3);
	poke(fd, offsetof(struct vdi_header_wire, n_allocated), 1000);
	is_refused(fd, "too short");
	/* A sector that says it had 2 GiB of map. */
	poke(fd, offsetof(struct vdi_header_wire, n_allocated), 0);
	poke(fd, offsetof(struct vdi_header_wire, offset_data), 0x80000200);
	poke(fd, offsetof(struct vdi_header_wire, n_blocks), 0x1fffffff);
	CHECK_EQ(ftruncate(fd, 1024), 0);
	is_refused(fd, "too short");
	close(fd);
	loop_free(loop);
}

TEST(the_check_finds_shared_wild_and_unused_blocks)
{
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct blk *b;
	u8 buf[512] = {1};
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, 4 * MIB, NULL);
	b = format_open(loop, &img_vdi, fd, NULL);
	for (u64 i = 0; i < 4; i++)
		CHECK_EQ(blk_write(b, i * MIB, buf, sizeof(buf)), 0);
	blk_free(b);
	poke(fd, 512 + 4, 0);     /* shares the first one's */
	poke(fd, 512 + 8, 0x900); /* outside */
	poke(fd, 512 + 12, VDI_BLOCK_FREE);
	b = format_open(loop, &img_vdi, fd, NULL);
	CHECK_EQ(b->image->check(b, IMG_REPAIR_LEAKS, &c, &err), 0);
	CHECK_EQ(c.corruptions, 2);
	CHECK_EQ(c.leaks, 3);
	CHECK_EQ(blk_read(b, 2 * MIB, buf, sizeof(buf)), -EIO);
	blk_free(b);
	poke(fd, 512 + 4, VDI_BLOCK_FREE);
	poke(fd, 512 + 8, VDI_BLOCK_ZERO);
	b = format_open(loop, &img_vdi, fd, NULL);
	c = (struct img_check){0};
	CHECK_EQ(b->image->check(b, IMG_REPAIR_LEAKS, &c, &err), 0);
	CHECK_EQ(c.corruptions, 0);
	CHECK_EQ(c.leaks, 0);
	CHECK_EQ(c.leaks_fixed, 3);
	CHECK_EQ(blk_read(b, 2 * MIB, buf, sizeof(buf)), 0);
	CHECK_EQ(buf[0], 0);
	blk_free(b);
	format_is_sound(loop, &img_vdi, fd, NULL, 0);
	close(fd);
	loop_free(loop);
}

static void no_matter(struct blk_request *r, int result)
{
	(void)r;
	CHECK_EQ(result, 0);
}

/* Closing writes what no flush did: also what was begun before one, and ended after it had looked. */
TEST(what_overtook_a_flush_is_there_after_closing)
{
	static u8 buf[512] = {7}, back[512];
	struct iovec iov = {buf, sizeof(buf)};
	struct blk_request w = {
		.op = BLK_WRITE, .bytes = sizeof(buf), .iov = &iov, .n_iov = 1, .done = no_matter};
	struct blk_request f = {.op = BLK_FLUSH, .done = no_matter};
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_vdi, 4 * MIB, NULL);
	b = format_open(loop, &img_vdi, fd, NULL);
	blk_submit(b, &w);
	blk_submit(b, &f);
	blk_drain(b);
	blk_free(b);
	b = format_open(loop, &img_vdi, fd, NULL);
	CHECK_EQ(blk_read(b, 0, back, sizeof(back)), 0);
	CHECK_MEM(back, buf, sizeof(buf));
	blk_free(b);
	close(fd);
	loop_free(loop);
}
