/*
 * Compressing clusters and back. Pure functions, any thread. For qcow2*.c only.
 */
#ifndef IMAGE_QCOW2_PACK_H
#define IMAGE_QCOW2_PACK_H

#include "base/base.h"

/* A third faster than zlib's default, and a hundredth larger. */
#define QCOW2_ZLIB_LEVEL 4
#define QCOW2_ZSTD_LEVEL 3

/* -ENOSPC: it doesn't become smaller than room. */
int qcow2_pack(unsigned type, const u8 *from, u64 bytes, u8 *to, u64 room, u64 *out_bytes);
/* type: QCOW2_ZLIB or QCOW2_ZSTD. -EIO: it isn't that, or too short. What is behind the end is ignored. */
int qcow2_unpack(unsigned type, const u8 *from, u64 from_bytes, u8 *to, u64 to_bytes);

#endif
