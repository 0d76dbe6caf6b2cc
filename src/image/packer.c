/*
 * Compressing pieces of a disk, and back. See packer.h.
 *
 * What a stranger wrote is read by libdeflate, which asks for a whole stream. Images were seen whose
 * streams lack their end's mark, as somebody cut them to sectors: those that libdeflate refuses get zlib's
 * opinion, which says how far it came.
 */
#include "image/packer.h"

#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/alloc.h"

#define PACKER_ISAL_LEVEL  3 /* its best */
#define PACKER_ISAL_MEMORY ISAL_DEF_LVL3_DEFAULT
#define PACKER_ZSTD_LEVEL  3 /* zstd's default */
#define PACKER_4K_BITS     12

struct img_packer {
	struct img_packer *next;
	/* Made when they are needed. */
	struct isal_zstream *isal;
	u8 *isal_memory;
	struct libdeflate_decompressor *inflate;
	ZSTD_CCtx *zstd;
	ZSTD_DCtx *unzstd;
};

struct img_packer *img_packer_take(struct img_packer **idle)
{
	struct img_packer *p = *idle;

	if (!p)
		return alloc_try(1, sizeof(*p));
	*idle = p->next;
	p->next = NULL;
	return p;
}

void img_packer_give(struct img_packer **idle, struct img_packer *p)
{
	if (!p)
		return;
	p->next = *idle;
	*idle = p;
}

void img_packers_free(struct img_packer **idle)
{
	struct img_packer *p;

	while ((p = *idle)) {
		*idle = p->next;
		free(p->isal);
		free(p->isal_memory);
		if (p->inflate)
			libdeflate_free_decompressor(p->inflate);
		ZSTD_freeCCtx(p->zstd);
		ZSTD_freeDCtx(p->unzstd);
		free(p);
	}
}

/* --- deflate --- */

static int packer_deflate(struct img_packer *p, bool has_frame, const u8 *from, u64 bytes, u8 *to,
			  u64 room, u64 *out_bytes)
{
	struct isal_zstream *z;

	if (!p->isal)
		p->isal = alloc_try(1, sizeof(*p->isal));
	if (!p->isal_memory)
		p->isal_memory = alloc_try(1, PACKER_ISAL_MEMORY);
	if (!p->isal || !p->isal_memory)
		return -ENOMEM;
	z = p->isal;
	isal_deflate_stateless_init(z);
	z->level = PACKER_ISAL_LEVEL;
	z->level_buf = p->isal_memory;
	z->level_buf_size = PACKER_ISAL_MEMORY;
	z->gzip_flag = has_frame ? IGZIP_ZLIB : IGZIP_DEFLATE;
	z->hist_bits = has_frame ? 0 : PACKER_4K_BITS;
	z->end_of_stream = 1;
	z->next_in = (u8 *)from;
	z->avail_in = (u32)bytes;
	z->next_out = to;
	z->avail_out = (u32)room;
	if (isal_deflate_stateless(z) != COMP_OK || z->avail_in)
		return -ENOSPC;
	*out_bytes = room - z->avail_out;
	return 0;
}

static int packer_inflate_cut(bool has_frame, const u8 *from, u64 from_bytes, u8 *to, u64 room,
			      u64 *out_bytes)
{
	z_stream z = {.next_in = (u8 *)from,
		      .avail_in = (unsigned)from_bytes,
		      .next_out = to,
		      .avail_out = (unsigned)room};
	int r = inflateInit2(&z, has_frame ? MAX_WBITS : -PACKER_4K_BITS);

	if (r != Z_OK)
		return -ENOMEM;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	*out_bytes = room - z.avail_out;
	return r == Z_STREAM_END || (r == Z_BUF_ERROR && !z.avail_out) ? 0 : -EIO;
}

static int packer_inflate(struct img_packer *p, bool has_frame, const u8 *from, u64 from_bytes,
			  u8 *to, u64 room, u64 *out_bytes)
{
	enum libdeflate_result r;
	size_t n = 0, used;

	if (!p->inflate)
		p->inflate = libdeflate_alloc_decompressor();
	if (!p->inflate)
		return -ENOMEM;
	r = has_frame ? libdeflate_zlib_decompress_ex(p->inflate, from, from_bytes, to, room, &used,
						      &n)
		      : libdeflate_deflate_decompress_ex(p->inflate, from, from_bytes, to, room,
							 &used, &n);
	if (r != LIBDEFLATE_SUCCESS)
		return packer_inflate_cut(has_frame, from, from_bytes, to, room, out_bytes);
	*out_bytes = n;
	return 0;
}

/* --- zstd --- */

static int packer_zstd(struct img_packer *p, const u8 *from, u64 bytes, u8 *to, u64 room,
		       u64 *out_bytes)
{
	size_t n;

	if (!p->zstd)
		p->zstd = ZSTD_createCCtx();
	if (!p->zstd)
		return -ENOMEM;
	n = ZSTD_compressCCtx(p->zstd, to, room, from, bytes, PACKER_ZSTD_LEVEL);
	if (ZSTD_isError(n))
		return -ENOSPC;
	*out_bytes = n;
	return 0;
}

/* By the streaming function, as only that stands what is behind the end; and it may be several frames. */
static int packer_unzstd(struct img_packer *p, const u8 *from, u64 from_bytes, u8 *to, u64 room,
			 u64 *out_bytes)
{
	ZSTD_inBuffer in = {from, from_bytes, 0};
	ZSTD_outBuffer out = {to, room, 0};
	size_t r = 1;

	if (!p->unzstd)
		p->unzstd = ZSTD_createDCtx();
	if (!p->unzstd)
		return -ENOMEM;
	ZSTD_DCtx_reset(p->unzstd, ZSTD_reset_session_only);
	while (out.pos < out.size && r && in.pos < in.size) {
		r = ZSTD_decompressStream(p->unzstd, &out, &in);
		if (ZSTD_isError(r))
			return -EIO;
	}
	*out_bytes = out.pos;
	return 0;
}

/* --- the face --- */

int img_pack(struct img_packer *p, enum img_packing how, const u8 *from, u64 bytes, u8 *to,
	     u64 room, u64 *out_bytes)
{
	if (how == IMG_ZSTD)
		return packer_zstd(p, from, bytes, to, room, out_bytes);
	return packer_deflate(p, how == IMG_ZLIB, from, bytes, to, room, out_bytes);
}

int img_unpack(struct img_packer *p, enum img_packing how, const u8 *from, u64 from_bytes, u8 *to,
	       u64 room, u64 *out_bytes)
{
	if (how == IMG_ZSTD)
		return packer_unzstd(p, from, from_bytes, to, room, out_bytes);
	return packer_inflate(p, how == IMG_ZLIB, from, from_bytes, to, room, out_bytes);
}
