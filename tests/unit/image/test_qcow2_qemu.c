/* qcow2 with QEMU's tools on the other side: what one made, the other reads. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "block/io.h"
#include "model.h"
#include "qemu.h"
#include "test.h"

struct variant {
	const char *options;
	u64 cluster;
	bool has_packed, is_backed;
};

/* clang-format off */
static const struct variant variants[] = {
	{"compat=1.1", 65536, true, false},
	{"compat=1.1", 65536, true, true},
	{"compat=0.10", 65536, true, true},
	{"compat=0.10,cluster_size=512", 512, true, false},
	{"compat=1.1,cluster_size=512,refcount_bits=1", 512, false, false},
	{"compat=1.1,cluster_size=4096,refcount_bits=64", 4096, true, true},
	{"compat=1.1,cluster_size=2M,compression_type=zstd", 2097152, true, true},
	{"compat=1.1,compression_type=zstd,lazy_refcounts=on", 65536, true, false},
	{"compat=1.1,extended_l2=on", 65536, true, false},
	{"compat=1.1,extended_l2=on,cluster_size=16384", 16384, true, true},
	{"compat=1.1,data_file=image.data", 65536, false, false},
	{"compat=1.1,data_file=image.data,data_file_raw=on", 65536, false, false},
};
/* clang-format on */

#define SIZE (9 * MIB + 5 * 512)

static struct loop *loop;

static void setup(void)
{
	struct err err = ERR_INIT;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
}

static void teardown(void)
{
	loop_free(loop);
	qemu_leave();
}

static void make_variant(const struct variant *v, u64 seed)
{
	qemu_run("rm -f image image.data base base.raw");
	if (v->is_backed) { /* shorter than the image */
		qemu_must("qemu-img create -f qcow2 base 5M");
		qemu_scribble("base", 5 * MIB, 65536, true, 100, seed + 1000);
		qemu_must("qemu-img create -f qcow2 -b base -F qcow2 -o %s image %lu", v->options,
			  SIZE);
	} else {
		qemu_must("qemu-img create -f qcow2 -o %s image %lu", v->options, SIZE);
	}
}

TEST(what_qemu_wrote_is_read)
{
	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
		struct blk *b;

		print_message("%s%s\n", variants[i].options,
			      variants[i].is_backed ? ", backed" : "");
		make_variant(&variants[i], i);
		qemu_scribble("image", SIZE, variants[i].cluster, variants[i].has_packed, 300, i);
		qemu_must("qemu-img convert -f qcow2 -O raw image raw");
		b = qemu_open(loop, "qcow2", "image", true);
		qemu_compare(b, "raw");
		blk_free(b);
	}
	teardown();
}

TEST(snapshots_of_qemu_are_read)
{
	struct img_snapshot *list;
	struct err err = ERR_INIT;
	struct blk *b;
	unsigned n;

	setup();
	make_variant(&variants[1], 7);
	qemu_scribble("image", SIZE, 65536, true, 100, 1);
	qemu_must("qemu-img snapshot -c first image");
	qemu_must("qemu-img convert -f qcow2 -O raw image first.raw");
	qemu_scribble("image", SIZE, 65536, true, 100, 2);
	qemu_must("qemu-img snapshot -c second image");
	qemu_must("qemu-img convert -f qcow2 -O raw image second.raw");
	qemu_scribble("image", SIZE, 65536, true, 100, 3);
	b = qemu_open(loop, "qcow2", "image", true);
	CHECK_EQ(b->image->snapshots(b, &list, &n, &err), 0);
	CHECK_EQ(n, 2);
	CHECK_STR(list[0].name, "first");
	CHECK_STR(list[1].id, "2");
	CHECK_EQ(list[1].size, SIZE);
	img_snapshots_free(list, n);
	blk_free(b);
	b = qemu_open_snapshot(loop, "image", "first");
	qemu_compare(b, "first.raw");
	blk_free(b);
	b = qemu_open_snapshot(loop, "image", "2");
	qemu_compare(b, "second.raw");
	blk_free(b);
	teardown();
}
