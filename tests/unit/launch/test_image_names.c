/* What names inside images may lead to: a directory with files, links and traps. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "launch/image.h"

static char top[64];
static struct launch_image image;
static struct err err;

static char *path_of(const char *name)
{
	static char paths[4][256];
	static unsigned n;
	char *p = paths[n++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
	return p;
}

static void make(const char *name)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(fd_write_full(fd, "x", 1), 0);
	close(fd);
}

static void setup(void)
{
	strcpy(top, "/tmp/posada-names-XXXXXX");
	CHECK(mkdtemp(top));
	CHECK_EQ(mkdir(path_of("in"), 0700), 0);
	CHECK_EQ(mkdir(path_of("in/sub"), 0700), 0);
	CHECK_EQ(mkdir(path_of("inner"), 0700), 0); /* begins as the allowed one does */
	make("in/top");
	make("in/base");
	make("in/sub/base");
	make("outside");
	make("inner/base");
	CHECK_EQ(symlink("../outside", path_of("in/link-out")), 0);
	CHECK_EQ(symlink(path_of("in/base"), path_of("in/link-in")), 0);
	CHECK_EQ(symlink("/dev/zero", path_of("in/zero")), 0);
	CHECK_EQ(mkfifo(path_of("in/fifo"), 0600), 0);
	launch_image_init(&image);
	err = (struct err)ERR_INIT;
	CHECK_EQ(launch_image_add(&image, path_of("in/top"), "raw", false, &err), 0);
}

static void teardown(void)
{
	char command[128];

	launch_image_fini(&image, false);
	snprintf(command, sizeof(command), "rm -rf '%s'", top);
	CHECK_EQ(system(command), 0);
}

static int follow(unsigned file, const char *name, bool is_writable)
{
	const struct launch_image_wish w = {.file = file,
					    .role = IMG_BACKING,
					    .name = name,
					    .format = "raw",
					    .is_writable = is_writable};

	err = (struct err)ERR_INIT;
	return launch_image_follow(&image, &w, &err);
}

TEST(files_beneath_the_directory_are_opened_for_reading)
{
	setup();
	CHECK(follow(0, "base", false) > 0);
	CHECK(follow(0, "sub/base", false) > 0);
	CHECK(follow(0, "file:sub/../base", false) > 0);
	CHECK(follow(0, path_of("in/base"), false) > 0);
	CHECK(follow(0, "link-in", false) > 0);
	CHECK_STR(image.files[1].path, path_of("in/base"));
	CHECK_EQ(fcntl(image.files[1].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	teardown();
}

TEST(what_a_file_in_a_subdirectory_names_is_seen_from_there)
{
	int n;

	setup();
	n = follow(0, "sub/base", false);
	CHECK(n > 0);
	CHECK(follow((unsigned)n, "../base", false) > 0); /* still beneath the top's directory */
	CHECK_EQ(follow((unsigned)n, "../../outside", false), -EACCES);
	teardown();
}

TEST(everything_else_is_refused_and_says_what_to_add)
{
	setup();
	CHECK_EQ(follow(0, "../outside", false), -EACCES);
	CHECK_ERR(err, "--allow");
	CHECK_ERR(err, path_of("outside"));
	CHECK_EQ(follow(0, "link-out", false), -EACCES);
	CHECK_EQ(follow(0, "../inner/base", false), -EACCES);
	CHECK_EQ(follow(0, "/etc/shadow", false), -EACCES);
	CHECK_ERR(err, "--allow /etc/shadow");
	CHECK_EQ(follow(0, "zero", false), -EACCES);
	CHECK_EQ(follow(0, "fifo", false), -EINVAL);
	CHECK_EQ(follow(0, ".", false), -EACCES);
	CHECK_EQ(follow(0, "sub", false), -EINVAL);
	CHECK_EQ(follow(0, "nothing", false), -ENOENT);
	CHECK_EQ(follow(0, "", false), -EINVAL);
	CHECK_EQ(follow(0, "file:", false), -EINVAL);
	CHECK_EQ(follow(0, "nbd://example.org/x", false), -EACCES);
	CHECK_ERR(err, "is elsewhere");
	CHECK_EQ(follow(0, "nbd://example.org/x", true), -EACCES);
	CHECK_EQ(follow(0, "rbd:pool/image", false), -EACCES);
	CHECK_EQ(follow(0, "nbd:example.org:1", false), -ENOTSUP);
	CHECK_EQ(follow(0, "json:{}", false), -ENOTSUP);
	CHECK_EQ(follow(0, "base", true), -EACCES);
	CHECK_ERR(err, "would be written");
	CHECK_EQ(image.n_files, 1);
	teardown();
}

TEST(a_person_allows_files_and_directories)
{
	int n;

	setup();
	image.names.allowed[image.names.n_allowed++] = path_of("outside");
	CHECK(follow(0, "../outside", true) > 0);
	image.names.allowed[image.names.n_allowed++] = str_dup(path_of("inner"));
	n = follow(0, "../inner/base", false);
	CHECK(n > 0);
	CHECK(follow((unsigned)n, "../in/base", false) > 0);
	free((char *)image.names.allowed[1]);
	teardown();
}

TEST(the_format_is_said_by_the_image_or_by_the_person)
{
	struct launch_image_wish w = {.role = IMG_BACKING, .name = "base"};

	setup();
	CHECK_EQ(launch_image_follow(&image, &w, &err), -EINVAL);
	CHECK_ERR(err, "--backing-format");
	image.names.backing_format = "raw";
	CHECK_EQ(launch_image_follow(&image, &w, &err), 1);
	CHECK_STR(image.files[1].format, "raw");
	w.format = "floppy\n";
	CHECK_EQ(launch_image_follow(&image, &w, &err), -EINVAL);
	CHECK_ERR(err, "floppy?");
	teardown();
}

TEST(a_locked_file_is_left_alone)
{
	struct err why = ERR_INIT;
	int fd;

	setup();
	fd = open(path_of("in/base"), O_RDWR | O_CLOEXEC);
	CHECK_EQ(blk_lock_fd(fd, false, &why), 0);
	CHECK_EQ(follow(0, "base", false), -EBUSY);
	image.names.is_shared = true;
	CHECK(follow(0, "base", false) > 0);
	close(fd);
	teardown();
}

TEST(parts_of_a_new_image_are_made_beside_it_and_go_when_it_fails)
{
	struct launch_image_wish w = {.role = IMG_EXTENT, .name = "part", .is_writable = true};

	setup();
	CHECK_EQ(launch_image_make(&image, &w, &err), -EPERM); /* nobody makes an image */
	CHECK(access(path_of("in/part"), F_OK) < 0);
	image.makes_parts = true;
	CHECK_EQ(launch_image_make(&image, &w, &err), -EPERM); /* nor this one */
	image.files[0].is_writable = true;
	CHECK_EQ(launch_image_make(&image, &w, &err), 1);
	CHECK_EQ(access(path_of("in/part"), F_OK), 0);
	CHECK_EQ(launch_image_make(&image, &w, &err), -EEXIST);
	w.name = "../part";
	CHECK_EQ(launch_image_make(&image, &w, &err), -EINVAL);
	launch_image_fini(&image, false);
	CHECK(access(path_of("in/part"), F_OK) < 0);
	teardown();
}

TEST(a_directory_that_became_a_link_is_not_followed)
{
	setup();
	CHECK_EQ(rename(path_of("in"), path_of("was")), 0);
	CHECK_EQ(symlink("inner", path_of("in")), 0);
	image.makes_parts = true;
	image.files[0].is_writable = true;
	CHECK_EQ(launch_image_make(&image,
				   &(struct launch_image_wish){.role = IMG_EXTENT, .name = "part"},
				   &err),
		 -ELOOP);
	CHECK(access(path_of("inner/part"), F_OK) < 0);
	teardown();
}

TEST(a_file_that_was_replaced_is_noticed)
{
	AUTO(free) char *place = NULL;
	int fd;

	setup();
	fd = open(path_of("in/link-in"), O_RDONLY | O_CLOEXEC);
	CHECK_EQ(launch_image_place(fd, path_of("in/link-in"), &place, &err), 0);
	CHECK_STR(place, path_of("in/base"));
	CHECK_EQ(unlink(path_of("in/link-in")), 0);
	CHECK_EQ(symlink("../outside", path_of("in/link-in")), 0);
	CHECK_EQ(launch_image_place(fd, path_of("in/link-in"), &(char *){NULL}, &err), -ESTALE);
	close(fd);
	teardown();
}
