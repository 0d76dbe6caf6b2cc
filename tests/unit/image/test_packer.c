/* Compressing and back: what other readers take, and what hostile streams get. zlib is the judge. */
#include "image/packer.h"

#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "test.h"

#define SIZE (256 * KIB)

static const enum img_packing kinds[] = {IMG_DEFLATE_4K, IMG_ZLIB, IMG_ZSTD};

static u8 text[SIZE], stream[2 * SIZE], back[SIZE + 1];

/* Words that repeat from near and far. */
static void make_text(u64 seed)
{
	srandom((unsigned)seed);
	for (u64 i = 0; i < SIZE;) {
		u64 n = MIN((u64)random() % 40 + 1, SIZE - i), from = i ? (u64)random() % i : 0;

		if (i > n && random() % 3)
			memmove(text + i, text + MIN(from, i - n), n);
		else
			for (u64 k = 0; k < n; k++)
				text[i + k] = (u8)('a' + random() % 26);
		i += n;
	}
}

TEST(what_is_packed_comes_out_again)
{
	struct img_packer *idle = NULL;

	for (unsigned i = 0; i < 3 * 8; i++) {
		struct img_packer *p = img_packer_take(&idle);
		u64 size = i % 2 ? SIZE : (u64)random() % SIZE + 1, n = 0, m = 0;

		make_text(i);
		CHECK_EQ(img_pack(p, kinds[i % 3], text, size, stream, sizeof(stream), &n), 0);
		memset(stream + n, 0xa5, 512); /* what is behind it doesn't matter */
		CHECK_EQ(img_unpack(p, kinds[i % 3], stream, n + 512, back, size, &m), 0);
		CHECK_EQ(m, size);
		CHECK(memcmp(text, back, size) == 0);
		img_packer_give(&idle, p);
	}
	img_packers_free(&idle);
}

/* With a window of 4 KiB and output that comes in small pieces, zlib refuses what reaches further back. */
TEST(deflate_for_qcow2_looks_back_four_kilobytes_only)
{
	struct img_packer *idle = NULL, *p = img_packer_take(&idle);
	z_stream z = {0};
	u64 n;
	int r = Z_OK;

	make_text(1);
	CHECK_EQ(img_pack(p, IMG_DEFLATE_4K, text, SIZE, stream, sizeof(stream), &n), 0);
	CHECK(n < SIZE);
	CHECK_EQ(inflateInit2(&z, -12), Z_OK);
	z.next_in = stream;
	z.avail_in = (unsigned)n;
	for (u64 at = 0; at < SIZE && r == Z_OK; at += 64) {
		u8 piece[64];

		z.next_out = piece;
		z.avail_out = sizeof(piece);
		r = inflate(&z, Z_SYNC_FLUSH);
		CHECK(r == Z_OK || r == Z_STREAM_END);
		CHECK(memcmp(piece, text + at, sizeof(piece) - z.avail_out) == 0);
	}
	inflateEnd(&z);
	img_packer_give(&idle, p);
	img_packers_free(&idle);
}

TEST(what_does_not_shrink_is_refused)
{
	struct img_packer *idle = NULL, *p = img_packer_take(&idle);
	u64 n;

	srandom(1);
	for (u64 i = 0; i < SIZE; i++)
		text[i] = (u8)random();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		CHECK_EQ(img_pack(p, kinds[i], text, SIZE, stream, SIZE - 1, &n), -ENOSPC);
	/* VMDK writes such, too: into as much as zlib asks for. */
	CHECK_EQ(img_pack(p, IMG_ZLIB, text, SIZE, stream, compressBound(SIZE), &n), 0);
	img_packer_give(&idle, p);
	img_packers_free(&idle);
}

/* Some writers cut a stream to whole sectors. */
TEST(a_stream_without_its_end_is_read_and_a_broken_one_is_not)
{
	struct img_packer *idle = NULL, *p = img_packer_take(&idle);
	u64 n, m;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		make_text(i);
		CHECK_EQ(img_pack(p, kinds[i], text, SIZE, stream, sizeof(stream), &n), 0);
		CHECK(img_unpack(p, kinds[i], stream, n / 2, back, SIZE, &m) == -EIO || m < SIZE);
		CHECK(img_unpack(p, kinds[i], stream, 1, back, SIZE, &m) == -EIO || m < SIZE);
	}
	CHECK_EQ(img_pack(p, IMG_DEFLATE_4K, text, SIZE, stream, sizeof(stream), &n), 0);
	CHECK_EQ(img_unpack(p, IMG_DEFLATE_4K, stream, n, back, 1000, &m), 0);
	CHECK_EQ(m, 1000);
	CHECK(memcmp(text, back, 1000) == 0);
	srandom(2);
	for (unsigned i = 0; i < 2000; i++) {
		u64 size = (u64)random() % 4000 + 1;

		for (u64 k = 0; k < size; k++)
			stream[k] = (u8)random();
		img_unpack(p, kinds[i % 3], stream, size, back, SIZE, &m);
	}
	img_packer_give(&idle, p);
	img_packers_free(&idle);
}
