/* How large images get: against qemu-img measure, and against what is made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "format_check.h"
#include "qemu.h"
#include "test.h"

static struct loop *loop;

static struct img_measure measure(const struct img_format *f, struct blk *source, u64 size,
				  const char *options)
{
	struct img_option list[8];
	struct img_create_options o = {.loop = loop, .size = size, .options = list};
	AUTO(free) char *copy = str_dup(options);
	struct img_measure m;
	struct err err = ERR_INIT;

	for (char *rest = copy, *one; (one = strsep(&rest, ",")) != NULL && *one;) {
		char *value = strchr(one, '=');

		*value = 0;
		list[o.n_options++] = (struct img_option){one, value + 1};
	}
	if (img_measure(f, &o, source, &m, &err) < 0)
		fail_msg("%s: %s", options, err.text);
	return m;
}

/* The number behind "required", or another word, in what qemu-img prints as JSON. */
static u64 theirs(const char *what)
{
	char text[4096], word[64], *at;
	FILE *f = fopen("theirs", "r");
	size_t n;

	CHECK(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	snprintf(word, sizeof(word), "\"%s\":", what);
	at = strstr(text, word);
	CHECK(at);
	return strtoul(at + strlen(word), NULL, 10);
}

static void is_theirs(const struct img_measure *m)
{
	CHECK_EQ(m->required_bytes, theirs("required"));
	CHECK_EQ(m->full_bytes, theirs("fully-allocated"));
}

static const char *const kinds[] = {
	"cluster_size=65536", "cluster_size=512",
	"cluster_size=2M",    "cluster_size=4096,refcount_bits=1",
	"refcount_bits=64",   "extended_l2=on",
	"compat=0.10",        "preallocation=metadata",
	"preallocation=full", "preallocation=falloc",
};

static void enter(void)
{
	struct err err = ERR_INIT;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
}

static void leave(void)
{
	loop_free(loop);
	qemu_leave();
}

TEST(sizes_of_empty_disks_are_qemus)
{
	static const u64 sizes[] = {512, MIB, 5 * MIB + 512, GIB, 100 * GIB + 512, 3 * GIB + 65536};

	enter();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(sizes); k++) {
			struct img_measure m;

			if (sizes[k] > 64 * GIB && strstr(kinds[i], "=512"))
				continue; /* needs larger clusters */
			m = measure(&img_qcow2, NULL, sizes[k], kinds[i]);
			qemu_must("qemu-img measure --output json -O qcow2 -o %s --size %lu "
				  ">theirs",
				  kinds[i], sizes[k]);
			is_theirs(&m);
		}
	}
	leave();
}

TEST(sizes_of_conversions_are_qemus)
{
	enter();
	qemu_must(
		"truncate -s 20M a.raw; dd if=/dev/urandom of=a.raw bs=4k count=3 seek=100 "
		"conv=notrunc; dd if=/dev/urandom of=a.raw bs=1M count=2 seek=7 conv=notrunc; "
		"dd if=/dev/urandom of=a.raw bs=4k count=1 seek=5119 conv=notrunc; "
		"qemu-img convert -O qcow2 a.raw a.qcow2; "
		"qemu-io -c 'write -z 7M 1M' a.qcow2; qemu-img create -f qcow2 -b a.qcow2 -F qcow2 "
		"b.qcow2; qemu-io -c 'write 15M 100k' b.qcow2");
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		static const char *const sources[][2] = {
			{"raw", "a.raw"}, {"qcow2", "a.qcow2"}, {"qcow2", "b.qcow2"}};

		for (unsigned k = 0; k < ARRAY_SIZE(sources); k++) {
			struct blk *b = qemu_open(loop, sources[k][0], sources[k][1], true);
			struct img_measure m = measure(&img_qcow2, b, 0, kinds[i]);

			qemu_must("qemu-img measure --output json -O qcow2 -o %s -f %s %s >theirs",
				  kinds[i], sources[k][0], sources[k][1]);
			is_theirs(&m);
			m = measure(&img_raw, b, 0, "");
			qemu_must("qemu-img measure --output json -O raw -f %s %s >theirs",
				  sources[k][0], sources[k][1]);
			is_theirs(&m);
			blk_free(b);
		}
	}
	leave();
}

/* Filled from end to end, an image takes no more than was said. */
static void fills(const struct img_format *f, const char *options)
{
	const u64 size = 9 * MIB + 1024;
	const struct img_measure m = measure(f, NULL, size, options);
	AUTO(free_ptr) u8 *buf = mem_alloc(1, size);
	int fd = format_new(loop, f, size, options);
	struct blk *b = format_open(loop, f, fd, NULL), *file;

	memset(buf, 'x', size);
	CHECK_EQ(blk_write(b, 0, buf, size), 0);
	CHECK_EQ(blk_flush(b), 0);
	blk_free(b);
	file = model_file_of(loop, fd, true);
	CHECK(file->size <= m.full_bytes);
	CHECK(file->size >= size);
	CHECK(m.required_bytes <= m.full_bytes);
	blk_free(file);
	close(fd);
}

TEST(images_get_no_larger_than_was_said)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
	fills(&img_raw, "");
	fills(&img_luks, "iter-time=1");
	fills(&img_qcow2, "cluster_size=65536");
	fills(&img_qcow2, "cluster_size=65536,encrypt.format=luks,encrypt.iter-time=1");
	fills(&img_qcow2, "cluster_size=2M");
	fills(&img_qcow2, "extended_l2=on");
	loop_free(loop);
}

TEST(what_cannot_be_measured_is_told)
{
	struct img_create_options o = {.size = MIB};
	const struct img_option bad = {"cluster_size", "7"}, unknown = {"colour", "red"};
	struct img_measure m;
	struct err err = ERR_INIT;

	CHECK_EQ(img_measure(&img_vdi, &o, NULL, &m, &err), -ENOTSUP);
	o.options = &bad;
	o.n_options = 1;
	CHECK_EQ(img_measure(&img_qcow2, &o, NULL, &m, &err), -EINVAL);
	o.options = &unknown;
	CHECK_EQ(img_measure(&img_qcow2, &o, NULL, &m, &err), -EINVAL);
	CHECK_ERR(err, "no option 'colour'");
}
