/*
 * See format_check.h.
 */
#include "format_check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/io.h"
#include "test.h"

const struct img_secret format_secret = {.id = "s", .bytes = "fence", .n_bytes = 5};

int format_create(struct loop *loop, const struct img_format *f, struct blk *file, u64 size,
		  const char *options, const struct img_opener *opener, struct err *err)
{
	struct img_option list[8];
	struct img_create_options o = {.loop = loop,
				       .size = size,
				       .options = list,
				       .opener = opener,
				       .file_name = "ours.vmdk",
				       .secrets = &format_secret,
				       .n_secrets = 1};
	AUTO(free) char *copy = str_dup(options ? options : "");

	for (char *rest = copy, *one; (one = strsep(&rest, ",")) != NULL && *one;) {
		char *value = strchr(one, '=');

		assert(value && o.n_options < ARRAY_SIZE(list));
		*value = 0;
		list[o.n_options++] = (struct img_option){one, value + 1};
	}
	return img_create(f, file, &o, err);
}

int format_new(struct loop *loop, const struct img_format *f, u64 size, const char *options)
{
	struct err err = ERR_INIT;
	int fd;
	struct blk *file = model_file(loop, &fd);

	if (format_create(loop, f, file, size, options, NULL, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
	return fd;
}

struct blk *format_open(struct loop *loop, const struct img_format *f, int fd,
			const struct img_opener *opener)
{
	const struct img_open_options o = {
		.loop = loop, .opener = opener, .secrets = &format_secret, .n_secrets = 1};
	struct err err = ERR_INIT;
	struct blk *b;

	if (img_open(f, model_file_of(loop, fd, false), &o, &b, &err) < 0)
		fail_msg("%s", err.text);
	return b;
}

static void print_finding(void *opaque, bool is_corruption, const char *text)
{
	(void)opaque;
	printf("# %s: %s\n", is_corruption ? "corruption" : "leak", text);
}

void format_is_sound(struct loop *loop, const struct img_format *f, int fd,
		     const struct img_opener *opener, u64 leaks_max)
{
	struct img_check c = {.report = print_finding};
	struct err err = ERR_INIT;
	struct blk *b = format_open(loop, f, fd, opener);

	if (b->image->check) {
		CHECK_EQ(b->image->check(b, 0, &c, &err), 0);
		CHECK_EQ(c.corruptions, 0);
		CHECK_EQ(c.errors, 0);
		CHECK(c.leaks <= leaks_max);
	}
	blk_free(b);
}

void format_model(struct loop *loop, const struct img_format *f, int fd,
		  const struct img_opener *opener, unsigned rounds, u64 seed)
{
	struct blk *b = format_open(loop, f, fd, opener);
	struct model *m = model_new(b, seed);

	for (unsigned i = 0; i < rounds; i++) {
		model_run(m, 400);
		blk_free(b);
		format_is_sound(loop, f, fd, opener, 0);
		b = format_open(loop, f, fd, opener);
		model_reopened(m, b);
		model_compare(m);
	}
	model_free(m);
	blk_free(b);
}

static void use_damaged(struct blk *b)
{
	static u8 buf[128 * KIB];
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct img_info info;
	u64 end = b->size - MIN(b->size, sizeof(buf));

	(void)blk_read(b, 0, buf, MIN(b->size, sizeof(buf)));
	(void)blk_read(b, align_down(end, BLK_SECTOR), buf, MIN(b->size, sizeof(buf)));
	(void)blk_write(b, align_down(end / 2, BLK_SECTOR), buf, MIN(b->size, (u64)1024));
	(void)blk_flush(b);
	if (b->image->check && b->size <= GIB)
		(void)b->image->check(b, 0, &c, &err);
	if (b->image->info(b, &info, &err) == 0)
		img_info_fini(&info);
	if (b->size <= GIB)
		(void)blk_resize(b, b->size + MIB, &err);
}

static void try_damaged(struct loop *loop, const struct img_format *f, int fd,
			const struct img_opener *opener)
{
	const struct img_open_options o = {
		.loop = loop, .opener = opener, .secrets = &format_secret, .n_secrets = 1};
	struct blk *file = model_file_of(loop, fd, false), *b;
	struct err err = ERR_INIT;
	struct img_probe p = {.size = file->size};
	u8 head[1024] = {0};

	CHECK_EQ(blk_read(file, 0, head, sizeof(head)), 0);
	p.head = p.tail = head;
	p.head_bytes = MIN(file->size, sizeof(head));
	p.tail_bytes = MIN(file->size, (u64)BLK_SECTOR);
	(void)f->probe(&p);
	if (img_open(f, file, &o, &b, &err) < 0) {
		CHECK(err.text[0]);
		CHECK(err.code < 0);
		blk_free(file);
		return;
	}
	use_damaged(b);
	blk_free(b);
}

void format_damage(struct loop *loop, const struct img_format *f, int fd,
		   const struct img_opener *opener, u64 start, u64 end, u64 step)
{
	static const u8 masks[] = {0xff, 0x01, 0x80};
	u64 size;
	AUTO(free_ptr) u8 *whole = NULL;

	CHECK_EQ(fd_size(fd, &size), 0);
	whole = mem_alloc(1, size);
	CHECK_EQ(fd_pread_full(fd, whole, size, 0), 0);
	for (u64 at = start; at < MIN(end, size); at += step) {
		for (unsigned i = 0; i < ARRAY_SIZE(masks); i++) {
			int copy = memfd_create("damaged", MFD_CLOEXEC);
			u8 was = whole[at];

			whole[at] ^= masks[i];
			CHECK_EQ(fd_pwrite_full(copy, whole, size, 0), 0);
			whole[at] = was;
			try_damaged(loop, f, copy, opener);
			close(copy);
		}
	}
}
