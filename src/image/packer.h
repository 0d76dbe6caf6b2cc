/*
 * Compressing pieces of a disk, and back: raw deflate as qcow2 has it, zlib's frames as VMDK has them,
 * zstd. Each piece is a stream of its own, whole in memory.
 *
 * A packer is what one piece needs while it is worked on, kept for the next one; a format has a list of
 * idle ones, for its loop's thread, and works with a packer on any thread. For image/ only.
 *
 * Deflate is made by ISA-L, ten times as fast as zlib at its default level and some hundredths larger,
 * and read by libdeflate, twice as fast as zlib.
 */
#ifndef IMAGE_PACKER_H
#define IMAGE_PACKER_H

#include "base/base.h"

struct img_packer;

enum img_packing {
	IMG_DEFLATE_4K, /* raw, never further back than 4 KiB: what every reader of qcow2 takes */
	IMG_ZLIB,       /* in zlib's frame, 32 KiB */
	IMG_ZSTD,
};

/* One of the idle ones, or a new one; NULL: no memory. */
struct img_packer *img_packer_take(struct img_packer **idle);
void img_packer_give(struct img_packer **idle, struct img_packer *p); /* NULL is fine */
void img_packers_free(struct img_packer **idle);

/* -ENOSPC: it doesn't become smaller than room; -ENOMEM. */
int img_pack(struct img_packer *p, enum img_packing how, const u8 *from, u64 bytes, u8 *to,
	     u64 room, u64 *out_bytes);
/*
 * -EIO: it isn't that, or longer than room; -ENOMEM. What is behind its end is ignored. *out_bytes may be
 * less than room.
 */
int img_unpack(struct img_packer *p, enum img_packing how, const u8 *from, u64 from_bytes, u8 *to,
	       u64 room, u64 *out_bytes);

#endif
