/* Copying and comparing: what is where afterwards, zeros, errors. */
#include "model.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "block/io.h"
#include "image/copy.h"
#include "test.h"

#define SIZE (8 * MIB + 512)

static struct loop *loop;
static struct blk *disks[2];
static int fds[2];
static struct err err;
static u64 told_done, told_total;

static void tell(void *opaque, u64 done, u64 total)
{
	(void)opaque;
	CHECK(done >= told_done && done <= total);
	told_done = done;
	told_total = total;
}

static void setup(void)
{
	err = (struct err)ERR_INIT;
	told_done = told_total = 0;
	CHECK_EQ(loop_new(&loop, &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct img_open_options options = {.loop = loop};
		struct blk *file = model_file(loop, &fds[i]);

		CHECK_EQ(blk_resize(file, SIZE, &err), 0);
		CHECK_EQ(img_open(&img_raw, file, &options, &disks[i], &err), 0);
	}
	for (unsigned i = 0; i < 5; i++) {
		u8 block[4096];

		memset(block, 'a' + (int)i, sizeof(block));
		CHECK_EQ(blk_write(disks[0], i * 1700000, block, sizeof(block)), 0);
	}
	CHECK_EQ(blk_write(disks[0], SIZE - 5, "tail", 4), 0);
	CHECK_EQ(blk_write(disks[0], 3 * MIB, "\0\0\0\0", 4), 0); /* zeros that are data */
}

static void teardown(void)
{
	for (unsigned i = 0; i < 2; i++) {
		blk_free(disks[i]);
		close(fds[i]);
	}
	loop_free(loop);
}

static struct img_difference difference(void)
{
	const struct img_progress progress = {0};
	struct img_difference d;

	CHECK_EQ(img_compare(disks[0], disks[1], loop, &progress, &d, &err), 0);
	return d;
}

TEST(a_copy_is_the_same_and_has_its_holes)
{
	struct img_copy_options o = {.loop = loop, .is_target_zero = true, .sparse_bytes = 4096};
	struct stat st;

	setup();
	o.loop = loop;
	o.progress = (struct img_progress){tell, NULL};
	CHECK(difference().is_different);
	CHECK_EQ(difference().offset, 0);
	CHECK_EQ(img_copy(disks[0], disks[1], SIZE, &o, &err), 0);
	CHECK(!difference().is_different);
	CHECK_EQ(told_done, SIZE);
	CHECK_EQ(told_total, SIZE);
	CHECK_EQ(fstat(fds[1], &st), 0);
	CHECK(st.st_blocks * 512 <= 11 * 4096);
	teardown();
}

TEST(what_was_there_is_overwritten)
{
	struct img_copy_options o = {.sparse_bytes = 4096};

	setup();
	o.loop = loop;
	CHECK_EQ(blk_write(disks[1], 5 * MIB, "old", 3), 0);
	CHECK_EQ(blk_write(disks[1], 3 * MIB, "old", 3), 0);
	CHECK_EQ(img_copy(disks[0], disks[1], SIZE, &o, &err), 0);
	CHECK(!difference().is_different);
	o.sparse_bytes = 0; /* all of it is written */
	CHECK_EQ(blk_write(disks[1], 5 * MIB, "old", 3), 0);
	CHECK_EQ(img_copy(disks[0], disks[1], SIZE, &o, &err), 0);
	CHECK(!difference().is_different);
	teardown();
}

TEST(pieces_end_where_clusters_do)
{
	struct img_copy_options o = {.is_target_zero = true,
				     .sparse_bytes = 4096,
				     .cluster_bytes = 256 * KIB,
				     .n_coroutines = 16};

	setup();
	o.loop = loop;
	CHECK_EQ(img_copy(disks[0], disks[1], SIZE, &o, &err), 0);
	CHECK(!difference().is_different);
	teardown();
}

TEST(the_first_difference_is_found)
{
	setup();
	CHECK_EQ(img_copy(disks[0], disks[1], SIZE,
			  &(struct img_copy_options){.loop = loop, .sparse_bytes = 4096}, &err),
		 0);
	CHECK_EQ(blk_write(disks[1], 7 * MIB + 700, "x", 1), 0);
	CHECK_EQ(blk_write(disks[0], 6 * MIB + 1300, "y", 1), 0);
	CHECK(difference().is_different);
	CHECK_EQ(difference().offset, 6 * MIB + 1024);
	teardown();
}

TEST(a_failure_says_where)
{
	struct img_copy_options o = {.sparse_bytes = 4096};

	setup();
	o.loop = loop;
	disks[1]->size = 4 * MIB;
	CHECK_EQ(img_copy(disks[0], disks[1], SIZE, &o, &err), -ENOSPC);
	CHECK_ERR(err, "at ");
	disks[1]->size = SIZE;
	teardown();
}

TEST(zeros_are_recognized)
{
	u8 buf[64] = {0};

	CHECK(img_is_zero(buf, 64));
	CHECK(img_is_zero(buf, 0));
	buf[63] = 1;
	CHECK(!img_is_zero(buf, 64));
	CHECK(img_is_zero(buf, 63));
}
