/*
 * Other hypervisors' formats against QEMU's tools, both ways: images that qemu-img made are read and rewritten
 * here, and those that were made here are read, rewritten and checked by it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "format_check.h"
#include "qemu.h"
#include "test.h"

#define IMAGE_BYTES (9 * MIB + 2560)

static struct loop *loop;

struct way {
	const char *format, *theirs, *ours; /* options */
	bool can_check, is_write_once;
};

/* clang-format off */
static const struct way ways[] = {
	{"vdi", NULL, NULL, .can_check = true},
	{"vdi", "static=on", "static=on", .can_check = true},
	{"vpc", "force_size=on", NULL, .can_check = false},
	{"vpc", "force_size=on,subformat=fixed", "subformat=fixed", .can_check = false},
	{"vhdx", NULL, NULL, .can_check = true},
	{"vhdx", "block_size=1M", "block_size=1M,log_size=2M", .can_check = true},
	{"vhdx", "subformat=fixed", "subformat=fixed", .can_check = true},
	{"vmdk", NULL, NULL, .can_check = true},
	{"vmdk", "subformat=monolithicFlat", "subformat=monolithicFlat", .can_check = true},
	{"vmdk", "subformat=twoGbMaxExtentSparse", "subformat=twoGbMaxExtentSparse", .can_check = true},
	{"vmdk", "subformat=twoGbMaxExtentFlat", "subformat=twoGbMaxExtentFlat", .can_check = true},
	{"vmdk", "subformat=streamOptimized", "subformat=streamOptimized", .can_check = true, .is_write_once = true},
	{"vmdk", "zeroed_grain=on,adapter_type=lsilogic", "zeroed_grain=on,adapter_type=lsilogic", .can_check = true},
};
/* clang-format on */

/* Data, text and holes. */
static void make_source(const char *name, u64 seed)
{
	qemu_must("python3 -c \"\n"
		  "import random\n"
		  "random.seed(%lu)\n"
		  "b = bytearray(%lu)\n"
		  "for i in range(20):\n"
		  "    for data in (random.randbytes(random.choice([512, 4096, 300032])), b'text ' "
		  "* 8192):\n"
		  "        at = random.randrange((len(b) - len(data)) // 512) * 512\n"
		  "        b[at:at + len(data)] = data\n"
		  "open('%s', 'wb').write(b)\n"
		  "\"",
		  seed, IMAGE_BYTES, name);
}

/* The source's bytes into the image, its zeros as zeroes, its first part as data in any case. */
static void write_source(struct blk *b, const char *source)
{
	static const u8 zeros[64 * KIB];
	struct blk *from = qemu_file(loop, source, true);
	u8 *buf = mem_alloc(1, sizeof(zeros));

	for (u64 at = 0; at < IMAGE_BYTES; at += sizeof(zeros)) {
		u64 n = MIN(IMAGE_BYTES - at, sizeof(zeros));

		CHECK_EQ(blk_read(from, at, buf, n), 0);
		if (at < MIB || memcmp(buf, zeros, n) != 0)
			CHECK_EQ(blk_write(b, at, buf, n), 0);
		else
			CHECK_EQ(blk_write_zeroes(b, at, n, at & 64 * KIB), 0);
	}
	CHECK_EQ(blk_flush(b), 0);
	free(buf);
	blk_free(from);
}

static void is_sound(const struct way *w, const char *name)
{
	struct blk *b = qemu_open(loop, w->format, name, true);
	struct img_check c = {0};
	struct err err = ERR_INIT;

	if (w->can_check)
		qemu_must("qemu-img check -f %s %s", w->format, name);
	if (b->image->check) {
		CHECK_EQ(b->image->check(b, 0, &c, &err), 0);
		CHECK_EQ(c.corruptions + c.leaks + c.errors, 0);
	}
	blk_free(b);
}

static void has_contents(const struct way *w, const char *name, const char *raw)
{
	struct blk *b = qemu_open(loop, w->format, name, true);

	CHECK_EQ(b->size, IMAGE_BYTES);
	qemu_compare(b, raw);
	blk_free(b);
	qemu_must("qemu-img compare -f raw -F %s %s %s", w->format, raw, name);
	is_sound(w, name);
}

static void rewrite(const struct way *w, const char *name, const char *raw)
{
	struct blk *b = qemu_open(loop, w->format, name, false);

	write_source(b, raw);
	blk_free(b);
}

static void theirs(const struct way *w)
{
	qemu_must("rm -f theirs*; qemu-img convert -f raw -O %s %s%s a.raw theirs.%s", w->format,
		  w->theirs ? "-o " : "", w->theirs ? w->theirs : "", w->format);
}

static void ours(const struct way *w, const char *name)
{
	struct err err = ERR_INIT;
	struct blk *file;

	qemu_must("rm -f ours*");
	file = qemu_file(loop, name, false);
	if (format_create(loop, img_find_format(w->format), file, IMAGE_BYTES, w->ours,
			  qemu_opener(loop), &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
}

static void both_ways(const struct way *w)
{
	char name[32];

	snprintf(name, sizeof(name), "theirs.%s", w->format);
	theirs(w);
	has_contents(w, name, "a.raw");
	if (!w->is_write_once) {
		rewrite(w, name, "b.raw");
		has_contents(w, name, "b.raw");
	}
	snprintf(name, sizeof(name), "ours.%s", w->format);
	ours(w, name);
	rewrite(w, name, "a.raw");
	has_contents(w, name, "a.raw");
	if (!w->is_write_once) {
		qemu_must("qemu-img convert -n -f raw -O %s b.raw %s", w->format, name);
		has_contents(w, name, "b.raw");
	}
}

/* An overlay of a VMDK, made by either. */
static void overlays(bool is_theirs)
{
	const struct way w = {.format = "vmdk", .can_check = true};
	struct img_create_options o = {
		.loop = loop, .size = IMAGE_BYTES, .backing_name = "base.vmdk"};
	struct err err = ERR_INIT;
	struct blk *file;

	qemu_must("rm -f over.vmdk base.vmdk; qemu-img convert -f raw -O vmdk a.raw base.vmdk");
	if (is_theirs) {
		qemu_must("qemu-img create -f vmdk -b base.vmdk -F vmdk over.vmdk");
	} else {
		o.backing = qemu_open(loop, "vmdk", "base.vmdk", true);
		file = qemu_file(loop, "over.vmdk", false);
		if (img_create(&img_vmdk, file, &o, &err) < 0)
			fail_msg("%s", err.text);
		blk_free(file);
		blk_free(o.backing);
	}
	has_contents(&w, "over.vmdk", "a.raw");
	qemu_must("cp a.raw c.raw");
	for (unsigned i = 0; i < 4; i++)
		qemu_must("qemu-io -f vmdk -c 'write -P %u %lu 5k' over.vmdk; "
			  "qemu-io -f raw -c 'write -P %u %lu 5k' c.raw",
			  i + 1, i * 1700 * KIB, i + 1, i * 1700 * KIB);
	has_contents(&w, "over.vmdk", "c.raw");
	rewrite(&w, "over.vmdk", "b.raw");
	has_contents(&w, "over.vmdk", "b.raw");
}

/* QEMU finds what our log says, when what it says isn't in its place yet. */
TEST(a_log_of_ours_is_replayed_by_qemu)
{
	const struct way w = {.format = "vhdx", .ours = "block_size=1M"};
	struct err err = ERR_INIT;
	struct blk *b;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
	make_source("a.raw", 1);
	ours(&w, "ours.vhdx");
	b = qemu_open(loop, "vhdx", "ours.vhdx", false);
	write_source(b, "a.raw");
	qemu_must("cp ours.vhdx stopped.vhdx");
	blk_free(b);
	qemu_must("dd if=/dev/zero of=stopped.vhdx bs=1M count=1 seek=3 conv=notrunc");
	qemu_must("cp stopped.vhdx again.vhdx");
	b = qemu_open(loop, "vhdx", "stopped.vhdx", true);
	qemu_compare(b, "a.raw");
	blk_free(b);
	qemu_must("qemu-img check -r all -f vhdx again.vhdx");
	qemu_must("qemu-img compare -f raw -F vhdx a.raw again.vhdx");
	loop_free(loop);
	qemu_leave();
}

TEST(overlays_of_vmdk_work_both_ways)
{
	struct err err = ERR_INIT;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
	make_source("a.raw", 1);
	make_source("b.raw", 2);
	overlays(true);
	overlays(false);
	loop_free(loop);
	qemu_leave();
}

TEST(images_of_qemu_and_of_posada_are_read_and_rewritten_by_the_other)
{
	struct err err = ERR_INIT;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
	make_source("a.raw", 1);
	make_source("b.raw", 2);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		both_ways(&ways[i]);
	loop_free(loop);
	qemu_leave();
}
