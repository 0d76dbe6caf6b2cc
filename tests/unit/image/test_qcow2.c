/* qcow2 by itself: options against the model, hostile headers, crashes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/io.h"
#include "model.h"
#include "test.h"

#define SIZE (3 * MIB + 7 * 512)

static struct loop *loop;

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static int try_open(int fd, bool is_readonly, struct blk **out, struct err *err)
{
	const struct img_open_options o = {.loop = loop, .is_readonly = is_readonly};
	struct blk *file = model_file_of(loop, fd, is_readonly);
	int r = img_open(&img_qcow2, file, &o, out, err);

	if (r < 0)
		blk_free(file);
	return r;
}

static struct blk *must_open(int fd, bool is_readonly)
{
	struct err err = ERR_INIT;
	struct blk *b;

	if (try_open(fd, is_readonly, &b, &err) < 0)
		fail_msg("%s", err.text);
	return b;
}

/* "name=value,..." as img_create has them. Returns the file. */
static int make(const char *list, u64 size)
{
	struct img_option options[8];
	struct img_create_options o = {.loop = loop, .size = size, .options = options};
	AUTO(free) char *copy = str_dup(list);
	struct err err = ERR_INIT;
	struct blk *file;
	char *save;
	int fd;

	file = model_file(loop, &fd);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *value = strchr(p, '=');

		*value = 0;
		options[o.n_options++] = (struct img_option){p, value + 1};
	}
	if (img_create(&img_qcow2, file, &o, &err) < 0)
		fail_msg("%s: %s", list, err.text);
	blk_free(file);
	return fd;
}

static struct img_check check(struct blk *b, unsigned repair)
{
	struct img_check c = {0};
	struct err err = ERR_INIT;

	if (b->image->check(b, repair, &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

static void must_be_sound(struct blk *b)
{
	struct img_check c = check(b, 0);

	CHECK_EQ(c.corruptions, 0);
	CHECK_EQ(c.leaks, 0);
}

TEST(all_options_keep_what_is_written)
{
	static const char *const kinds[] = {
		"cluster_size=65536",
		"cluster_size=512,refcount_bits=1",
		"cluster_size=512,refcount_bits=64,compat=1.1",
		"cluster_size=1024,compat=0.10",
		"cluster_size=4096,refcount_bits=2,lazy_refcounts=on",
		"cluster_size=2M,compression_type=zstd",
		"cluster_size=16384,extended_l2=on",
		"cluster_size=65536,extended_l2=on,preallocation=metadata",
		"cluster_size=4096,preallocation=metadata",
		"cluster_size=4096,preallocation=falloc",
		"cluster_size=8192,preallocation=full,compat=0.10",
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = make(kinds[i], SIZE);
		struct blk *b = must_open(fd, false);
		struct model *m = model_new(b, i);

		must_be_sound(b);
		for (unsigned round = 0; round < 2; round++) {
			model_run(m, 150);
			model_compare(m);
			must_be_sound(b);
			blk_free(b);
			b = must_open(fd, false);
			model_reopened(m, b);
			model_compare(m);
		}
		model_free(m);
		blk_free(b);
		close(fd);
	}
	loop_free(loop);
}

/* What the file holds while the image is open: as a killed process leaves it. */
TEST(a_killed_writer_leaves_leaks_at_most)
{
	static const char *const kinds[] = {"cluster_size=4096", "cluster_size=512,compat=0.10",
					    "cluster_size=4096,lazy_refcounts=on",
					    "cluster_size=16384,extended_l2=on"};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = make(kinds[i], SIZE), copy = memfd_create("copy", MFD_CLOEXEC);
		struct blk *b = must_open(fd, false), *left;
		struct model *m = model_new(b, i);
		u64 size;

		for (unsigned round = 0; round < 4; round++) {
			u8 *bytes;

			model_run(m, 150);
			CHECK_EQ(blk_flush(b), 0);
			CHECK_EQ(fd_size(fd, &size), 0);
			bytes = mem_alloc(1, size);
			CHECK_EQ(fd_pread_full(fd, bytes, size, 0), 0);
			CHECK_EQ(ftruncate(copy, 0), 0);
			CHECK_EQ(fd_pwrite_full(copy, bytes, size, 0), 0);
			free(bytes);
			left = must_open(copy, false); /* with lazy refcounts this mends */
			CHECK_EQ(check(left, 0).corruptions, 0);
			model_reopened(m, left);
			model_compare(m);
			check(left, IMG_REPAIR_LEAKS);
			must_be_sound(left);
			blk_free(left);
			model_reopened(m, b);
		}
		model_free(m);
		blk_free(b);
		close(fd);
		close(copy);
	}
	loop_free(loop);
}

static void poke(int fd, u64 offset, u64 value, unsigned bytes)
{
	u8 buf[8];

	be64_store(buf, value);
	CHECK_EQ(fd_pwrite_full(fd, buf + 8 - bytes, bytes, offset), 0);
}

TEST(hostile_headers_are_refused_in_words)
{
	/* clang-format off */
	static const struct {
		u64 offset, value;
		unsigned bytes;
		const char *words;
	} fields[] = {
		{0, 0x12345678, 4, "not a qcow2 image"},
		{4, 4, 4, "version 4"},
		{20, 8, 4, "2^8 bytes"},
		{20, 40, 4, "2^40 bytes"},
		{24, (u64)1 << 63, 8, "too large"},
		{24, (u64)1 << 50, 8, "L1 table is too small"},
		{8, 70000, 8, "name is not in the header"},
		{32, 1, 4, "AES"},
		{32, 2, 4, "where its encryption's header is"},
		{32, 3, 4, "encryption is not known"},
		{36, 0xffffffff, 4, "L1 table is too large"},
		{36, 0, 4, "L1 table is too small"},
		{40, 0x30001, 8, "impossible place"},
		{40, ~(u64)0xffff, 8, "impossible place"},
		{48, 0x10200, 8, "impossible place"},
		{56, 0xffffffff, 4, "refcount table is too large"},
		{60, 100000, 4, "too many snapshots"},
		{60, 1, 4, "snapshot 1: "},
		{64, 77, 8, "impossible place"},
		{72, (u64)1 << 40, 8, "bit 40"},
		{72, 8, 8, "compression type"},
		{96, 7, 4, "2^7 bits"},
		{100, 64, 4, "64 bytes"},
		{100, 0x7ffffff8, 4, "bytes is not possible"},
		{104, 1, 1, "compression type"},
		{112, 0x7777777700001000, 8, NULL}, /* an extension that nobody knows */
		{112, 0x77777777fffffff0, 8, "too long"},
	};
	/* clang-format on */

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		int fd = make("cluster_size=65536", SIZE);
		struct err err = ERR_INIT;
		struct blk *b = NULL;

		poke(fd, fields[i].offset, fields[i].value, fields[i].bytes);
		if (try_open(fd, true, &b, &err) < 0 && fields[i].words) {
			if (!strstr(err.text, fields[i].words))
				fail_msg("field at %lu: %s", fields[i].offset, err.text);
		} else if (!b || fields[i].words) {
			fail_msg("field at %lu: %s", fields[i].offset, err.text);
		}
		blk_free(b);
		close(fd);
	}
	loop_free(loop);
}

TEST(unknown_features_are_named_by_the_image)
{
	struct err err = ERR_INIT;
	struct blk *b;
	int fd;

	setup();
	fd = make("cluster_size=65536", SIZE);
	/* The table's first entry: the dirty bit's name goes to bit 17. */
	poke(fd, 112 + 8 + 1, 17, 1);
	poke(fd, 72, BIT(17), 8);
	CHECK_EQ(try_open(fd, true, &b, &err), -ENOTSUP);
	CHECK_ERR(err, "dirty bit");
	close(fd);
	loop_free(loop);
}

TEST(names_are_opened_only_if_somebody_opens_them)
{
	struct img_create_options o = {.size = SIZE, .backing_name = "/etc/shadow"};
	struct err err = ERR_INIT;
	struct blk *file, *b;
	int fd;

	setup();
	o.loop = loop;
	file = model_file(loop, &fd);
	CHECK_EQ(img_create(&img_qcow2, file, &o, &err), 0);
	blk_free(file);
	CHECK_EQ(try_open(fd, true, &b, &err), -EACCES);
	CHECK_ERR(err, "backing file");
	close(fd);
	loop_free(loop);
}

TEST(a_wrong_entry_is_an_error_and_marks_the_image)
{
	struct err err = ERR_INIT;
	struct blk *b;
	u8 buf[512] = {0};
	int fd;

	setup();
	fd = make("cluster_size=65536", SIZE);
	b = must_open(fd, false);
	CHECK_EQ(blk_write(b, 0, buf, sizeof(buf)), 0);
	blk_free(b);
	poke(fd, 0x30000, BIT(63) | 0x12345600, 8); /* the L1 table's first entry */
	b = must_open(fd, false);
	CHECK_EQ(blk_read(b, 0, buf, sizeof(buf)), -EIO);
	CHECK_EQ(blk_write(b, MIB, buf, sizeof(buf)), -EIO);
	blk_free(b);
	b = must_open(fd, false); /* for a repair */
	CHECK_EQ(blk_write(b, MIB, buf, sizeof(buf)), -EIO);
	CHECK_EQ(b->image->snapshot_create(b, "x", 0, &err), -EIO);
	CHECK_EQ(check(b, IMG_REPAIR_ALL).corruptions, 0);
	CHECK_EQ(blk_write(b, MIB, buf, sizeof(buf)), 0);
	must_be_sound(b);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

/* Found by fuzzing: a block was made in place of the header, again and again. */
TEST(an_image_that_does_not_count_its_header_keeps_it)
{
	struct blk *b;
	u8 buf[512] = {0};
	int fd;

	setup();
	fd = make("cluster_size=512", SIZE);
	poke(fd, 512, 0, 8); /* the refcount table's first entry */
	b = must_open(fd, false);
	CHECK_EQ(blk_write(b, 0, buf, sizeof(buf)), -EIO);
	CHECK_EQ(check(b, IMG_REPAIR_ALL).corruptions, 0);
	CHECK_EQ(blk_write(b, 0, buf, sizeof(buf)), 0);
	must_be_sound(b);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

static void count_down(struct blk_request *r, int result)
{
	(void)result; /* that nothing worse comes of it is what counts */
	--*(unsigned *)r->waiter;
}

/* One L1 entry leads to the cluster that becomes another's table while the first one's is being read. */
TEST(a_table_in_a_free_cluster_harms_nobody)
{
	const u64 cluster = 512, span = cluster * cluster / 8;
	u8 buf[512] = {1}, other[512];
	struct iovec iov[2] = {{other, sizeof(other)}, {buf, sizeof(buf)}};
	unsigned n_left = 2;
	struct blk_request r[2] = {{.op = BLK_READ, .offset = 5 * span},
				   {.op = BLK_WRITE, .offset = 6 * span}};
	struct stat st;
	struct blk *b;
	u8 l1[8];
	int fd;

	setup();
	fd = make("cluster_size=512", SIZE);
	b = must_open(fd, false);
	CHECK_EQ(blk_write(b, 0, buf, sizeof(buf)), 0);
	blk_free(b);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(ftruncate(fd, st.st_size + MIB), 0);
	CHECK_EQ(fd_pread_full(fd, l1, sizeof(l1), 40), 0);
	/* The next write takes the file's former end, and the one after it what follows. */
	poke(fd, be64_load(l1) + 5 * 8, (u64)st.st_size + cluster, 8);
	b = must_open(fd, false);
	CHECK_EQ(blk_write(b, cluster, buf, sizeof(buf)), 0);
	for (unsigned i = 0; i < 2; i++) {
		r[i].bytes = cluster;
		r[i].iov = &iov[i];
		r[i].n_iov = 1;
		r[i].waiter = &n_left;
		r[i].done = count_down;
		blk_submit(b, &r[i]);
	}
	blk_kick(b);
	while (n_left)
		loop_step(loop, true);
	CHECK_EQ(blk_read(b, 6 * span, other, sizeof(other)), 0);
	CHECK_MEM(other, buf, sizeof(buf));
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(options_that_do_not_go_together_are_refused)
{
	static const struct img_option options[][2] = {
		{{"compat", "0.10"}, {"lazy_refcounts", "on"}},
		{{"compat", "0.10"}, {"refcount_bits", "8"}},
		{{"cluster_size", "4096"}, {"extended_l2", "on"}},
		{{"cluster_size", "3000"}, {"compat", "1.1"}},
		{{"cluster_size", "4M"}, {"compat", "1.1"}},
		{{"data_file_raw", "on"}, {"compat", "1.1"}},
		{{"compat", "2.0"}, {"lazy_refcounts", "on"}},
		{{"data_file", "x"}, {"compat", "1.1"}}, /* nobody may make it */
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		const struct img_create_options o = {
			.loop = loop, .size = SIZE, .options = options[i], .n_options = 2};
		struct blk *file = model_file(loop, NULL);
		struct err err = ERR_INIT;

		CHECK(img_create(&img_qcow2, file, &o, &err) < 0);
		CHECK(err.text[0]);
		blk_free(file);
	}
	loop_free(loop);
}

/* An L1 table of 32 MiB and a disk of 2 PiB in a file of a few sectors: opened, read, and little is touched. */
TEST(a_small_file_stays_small)
{
	struct blk *b;
	u8 buf[4096];
	int fd;

	setup();
	fd = make("cluster_size=65536", SIZE);
	poke(fd, 36, 4 * MIB, 4);
	poke(fd, 24, (u64)1 << 51, 8);
	b = must_open(fd, true);
	CHECK_EQ(b->size, (u64)1 << 51);
	CHECK_EQ(blk_read(b, b->size - 4096, buf, sizeof(buf)), 0);
	blk_free(b);
	close(fd);
	loop_free(loop);
}
