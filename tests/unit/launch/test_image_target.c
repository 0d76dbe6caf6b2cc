/* Where a new image is written: what it replaces is neither lost to a writer nor shown to others. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "block/block.h"
#include "launch/image_target.h"

static char top[64], path[96];
static struct launch_target target;
static struct err err;
static int fd;
static unsigned n_syncs;

/* Ours instead of the C library's, to count. */
int fsync(int what)
{
	n_syncs++;
	return (int)syscall(SYS_fsync, what);
}

static void setup(mode_t mode)
{
	strcpy(top, "/tmp/posada-target-XXXXXX");
	CHECK(mkdtemp(top));
	snprintf(path, sizeof(path), "%s/image", top);
	fd = open(path, O_WRONLY | O_CREAT, mode);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 512), 0);
	close(fd);
	fd = -1;
	target = (struct launch_target){0};
	err = (struct err)ERR_INIT;
}

static void teardown(void)
{
	launch_target_fini(&target);
	close(fd);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(rmdir(top), 0); /* nothing else is left */
}

static mode_t mode_of(const char *what)
{
	struct stat st;

	CHECK_EQ(stat(what, &st), 0);
	return st.st_mode & 0777;
}

TEST(what_is_replaced_keeps_its_mode)
{
	setup(0600);
	CHECK_EQ(launch_target_open(path, LAUNCH_TARGET_OVERWRITE, &target, &fd, &err), 0);
	CHECK_EQ(mode_of(target.partial), 0600);
	CHECK_EQ(launch_target_commit(&target, &err), 0);
	CHECK_EQ(mode_of(path), 0600);
	teardown();
}

TEST(nobody_begins_to_write_what_is_replaced)
{
	int writer;

	setup(0644);
	CHECK_EQ(launch_target_open(path, LAUNCH_TARGET_OVERWRITE, &target, &fd, &err), 0);
	writer = open(path, O_RDWR | O_CLOEXEC);
	CHECK_EQ(blk_lock_fd(writer, false, &err), -EBUSY);
	CHECK_EQ(blk_lock_fd(writer, true, &err), 0);
	launch_target_fini(&target);
	CHECK_EQ(blk_lock_fd(writer, false, &err), 0);
	close(writer);
	CHECK_EQ(launch_target_open(path, LAUNCH_TARGET_NEW, &target, &fd, &err), -EEXIST);
	teardown();
}

static unsigned syncs_of_commit(bool is_unsafe)
{
	setup(0644);
	target.is_unsafe = is_unsafe;
	n_syncs = 0;
	CHECK_EQ(launch_target_open(path, LAUNCH_TARGET_OVERWRITE, &target, &fd, &err), 0);
	CHECK_EQ(launch_target_commit(&target, &err), 0);
	teardown();
	return n_syncs;
}

TEST(its_new_name_is_on_the_disk_unless_it_is_unsafe)
{
	CHECK_EQ(syncs_of_commit(false), 1);
	CHECK_EQ(syncs_of_commit(true), 0);
}
