/* The contract of formats by its smallest one: nodes, I/O that waits, containers, options, guessing. */
#include "model.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "block/io.h"
#include "test.h"

static struct loop *loop;

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static struct blk *open_raw(struct blk *file)
{
	const struct img_open_options o = {.loop = loop};
	struct err err = ERR_INIT;
	struct blk *b;

	if (img_open(&img_raw, file, &o, &b, &err) < 0)
		fail_msg("%s", err.text);
	return b;
}

TEST(a_container_grows_and_reads_zeros_behind_its_end)
{
	struct blk *file;
	u8 buf[1024];
	int fd;
	u64 size;

	setup();
	file = model_file(loop, &fd);
	CHECK_EQ(file->size, 0);
	CHECK_EQ(blk_write(file, 700, "hello", 5), 0);
	CHECK_EQ(file->size, 1024);
	memset(buf, 1, sizeof(buf));
	CHECK_EQ(blk_read(file, 0, buf, sizeof(buf)), 0);
	CHECK_EQ(buf[0], 0);
	CHECK(memcmp(buf + 700, "hello", 5) == 0);
	CHECK_EQ(fd_size(fd, &size), 0);
	CHECK_EQ(size, 1024);
	CHECK_EQ(blk_read(file, 5000, buf, 1), 0);
	CHECK_EQ(buf[0], 0);
	blk_free(file);

	CHECK_EQ(ftruncate(fd, 703), 0); /* an odd size is rounded up, and reads as zeros there */
	file = model_file_of(loop, fd, true);
	CHECK_EQ(file->size, 1024);
	CHECK_EQ(blk_read(file, 700, buf, 5), 0);
	CHECK(memcmp(buf, "hel\0\0", 5) == 0);
	CHECK_EQ(blk_read(file, BLK_SIZE_MAX, buf, 1), -EIO);
	blk_free(file);
	close(fd);
	loop_free(loop);
}

TEST(a_device_without_room_says_so)
{
	struct blk *file;

	setup();
	file = model_file(loop, NULL);
	CHECK_EQ(blk_write(file, BLK_SIZE_MAX, "x", 1), -ENOSPC);
	file->is_growable = false;
	CHECK_EQ(blk_write(file, 0, "x", 1), -ENOSPC);
	blk_free(file);
	loop_free(loop);
}

TEST(a_raw_image_is_its_file)
{
	struct err err = ERR_INIT;
	struct blk *file;
	struct blk *b;
	struct model *m;
	struct blk_status status;

	setup();
	file = model_file(loop, NULL);
	CHECK_EQ(img_create(&img_raw, file,
			    &(struct img_create_options){.loop = loop, .size = 3 * MIB}, &err),
		 0);
	b = open_raw(file);
	CHECK_EQ(blk_status(b, 0, b->size, &status), 0);
	CHECK(status.is_zero && status.bytes == b->size);
	m = model_new(b, 1);
	model_run(m, 3000);
	model_compare(m);
	model_resize(m, 3 * MIB + 512);
	model_run(m, 300);
	model_compare(m);
	model_free(m);
	blk_free(b);
	loop_free(loop);
}

TEST(unknown_options_and_backings_are_refused)
{
	const struct img_option option = {"fast", "on"};
	struct img_create_options o = {.size = MIB, .options = &option, .n_options = 1};
	struct err err = ERR_INIT;
	struct blk *file;

	setup();
	file = model_file(loop, NULL);
	o.loop = loop;
	CHECK_EQ(img_create(&img_raw, file, &o, &err), -EINVAL);
	CHECK_STR(err.text, "raw images have no option 'fast'");
	o.n_options = 0;
	o.backing_name = "base";
	CHECK_EQ(img_create(&img_raw, file, &o, &err), -ENOTSUP);
	blk_free(file);
	loop_free(loop);
}

static u64 allocated_bytes(const char *preallocation)
{
	const struct img_option option = {"preallocation", preallocation};
	const struct img_create_options o = {
		.loop = loop, .size = 3 * MIB, .options = &option, .n_options = 1};
	struct err err = ERR_INIT;
	struct stat st;
	int fd;
	struct blk *file = model_file(loop, &fd);

	if (img_create(&img_raw, file, &o, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, 3 * MIB);
	close(fd);
	return (u64)st.st_blocks * 512;
}

TEST(a_raw_image_has_its_space_at_once_if_asked_for)
{
	const struct img_option option = {"preallocation", "metadata"};
	struct img_create_options o = {.size = MIB, .options = &option, .n_options = 1};
	struct err err = ERR_INIT;
	struct blk *file;

	setup();
	CHECK_EQ(allocated_bytes("off"), 0);
	CHECK_EQ(allocated_bytes("falloc"), 3 * MIB);
	CHECK_EQ(allocated_bytes("full"), 3 * MIB);
	file = model_file(loop, NULL);
	o.loop = loop;
	CHECK_EQ(img_create(&img_raw, file, &o, &err), -EINVAL);
	CHECK_ERR(err, "preallocation=metadata");
	blk_free(file);
	loop_free(loop);
}

TEST(options_are_parsed)
{
	const struct img_option options[] = {{"a", "64K"}, {"b", "12x"}, {"c", "on"}, {"a", "2M"}};
	const struct img_create_options o = {.options = options, .n_options = ARRAY_SIZE(options)};
	struct err err = ERR_INIT;
	bool on = false;
	u64 v;

	CHECK_EQ(img_option_size(&o, "a", &v, &err), 0); /* the last one counts */
	CHECK_EQ(v, 2 * MIB);
	CHECK_EQ(img_option_size(&o, "b", &v, &err), -EINVAL);
	CHECK_EQ(img_option_size(&o, "d", &v, &err), -ENOENT);
	CHECK_EQ(img_option_bool(&o, "c", &on, &err), 0);
	CHECK(on);
	CHECK_EQ(img_option_bool(&o, "a", &on, &err), -EINVAL);
}

TEST(what_nothing_else_claims_is_raw)
{
	const struct img_format *f;
	struct blk *file;
	int certainty;

	setup();
	file = model_file(loop, NULL);
	CHECK_EQ(blk_write(file, 0, "MBR?", 4), 0);
	CHECK_EQ(img_probe_file(file, NULL, &f, &certainty), 0);
	CHECK(f == &img_raw);
	CHECK_EQ(certainty, 1);
	blk_free(file);
	loop_free(loop);
}
