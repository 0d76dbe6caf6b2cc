/*
 * Chunks of memory in a file. See chunk.h.
 */
#include "migrate/chunk.h"

#include <string.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fd.h"

#define CHUNK_ZSTD_LEVEL 1 /* as fast as a disk */

struct chunk_writer {
	int fd;
	u64 memory_size, n_chunks;
	u64 end; /* of what is in the file: where the next part goes */
	struct save_chunk_wire *index;
	bool *is_used;   /* plain: something lies at the chunk's place already */
	u8 *copy;        /* of the chunk being written */
	ZSTD_CCtx *zstd; /* NULL: plain */
	u8 *frame;
	size_t frame_room;
};

struct chunk_reader {
	int fd;
	u64 memory_size, n_chunks;
	struct save_chunk_wire *index;
	ZSTD_DCtx *zstd;
	u8 *frame; /* SAVE_CHUNK */
};

static bool chunk_bytes_are_zero(const u8 *p, size_t size)
{
	return !size || (!p[0] && !memcmp(p, p + 1, size - 1));
}

/* --- writing --- */

int chunk_writer_new(int fd, u64 memory_size, bool is_compressed, struct chunk_writer **out,
		     struct err *err)
{
	AUTO(chunk_writer_free) struct chunk_writer *w = NEW(struct chunk_writer);

	w->fd = fd;
	w->memory_size = memory_size;
	w->n_chunks = save_chunks(memory_size);
	w->end = SAVE_MEMORY_AT;
	w->index = alloc_try(w->n_chunks, sizeof(w->index[0]));
	w->is_used = alloc_try(w->n_chunks, sizeof(w->is_used[0]));
	w->copy = alloc_try(1, SAVE_CHUNK);
	if (is_compressed) {
		w->zstd = ZSTD_createCCtx();
		w->frame_room = ZSTD_compressBound(SAVE_CHUNK);
		w->frame = alloc_try(1, w->frame_room);
	}
	if (!w->index || !w->is_used || !w->copy || (is_compressed && (!w->zstd || !w->frame)))
		return err_set(err, -ENOMEM, "out of memory for the index of %lu MiB",
			       memory_size / MIB);
	*out = take(w);
	return 0;
}

void chunk_writer_free(struct chunk_writer *w)
{
	if (!w)
		return;
	ZSTD_freeCCtx(w->zstd);
	free(w->frame);
	free(w->copy);
	free(w->is_used);
	free(w->index);
	free(w);
}

void chunk_write_zero(struct chunk_writer *w, u64 n)
{
	assert(n < w->n_chunks);
	w->index[n] = (struct save_chunk_wire){0};
}

/* Where chunk n is to go: to its place, over an older version that was as large, or behind all. */
static u64 chunk_place(struct chunk_writer *w, u64 n, u32 stored)
{
	const struct save_chunk_wire *old = &w->index[n];
	u64 offset = w->end;

	if (!w->zstd)
		offset = SAVE_MEMORY_AT + n * SAVE_CHUNK;
	else if (le32_get(old->stored) >= stored)
		offset = le64_get(old->offset);
	w->end = MAX(w->end, offset + stored);
	return offset;
}

/* Runs of pages that are not zero; all pages where an older version may lie beneath. */
static int chunk_write_pages(struct chunk_writer *w, u64 offset, u32 size, bool is_first)
{
	for (u32 from = 0, to; from < size; from = to) {
		bool is_zero = is_first && chunk_bytes_are_zero(w->copy + from, PAGE_SIZE);
		int r;

		for (to = from + (u32)PAGE_SIZE; to < size; to += (u32)PAGE_SIZE)
			if ((is_first && chunk_bytes_are_zero(w->copy + to, PAGE_SIZE)) != is_zero)
				break;
		r = is_zero ? 0 : fd_pwrite_full(w->fd, w->copy + from, to - from, offset + from);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is stored of the copy: a frame, or, where that would not be shorter, the copy itself. */
static const u8 *chunk_compress(struct chunk_writer *w, u32 size, u32 *out_stored)
{
	size_t n = ZSTD_compressCCtx(w->zstd, w->frame, w->frame_room, w->copy, size,
				     CHUNK_ZSTD_LEVEL);

	*out_stored = size;
	if (ZSTD_isError(n) || n >= size)
		return w->copy;
	*out_stored = (u32)n;
	return w->frame;
}

int chunk_write(struct chunk_writer *w, u64 n, const void *data)
{
	u32 size = save_chunk_bytes(w->memory_size, n), stored = size;
	const u8 *from = w->copy;
	u64 offset;
	int r;

	assert(n < w->n_chunks);
	memcpy(w->copy, data, size);
	if (chunk_bytes_are_zero(w->copy, size)) {
		chunk_write_zero(w, n);
		return 0;
	}
	if (w->zstd)
		from = chunk_compress(w, size, &stored);
	offset = chunk_place(w, n, stored);
	if (w->zstd)
		r = fd_pwrite_full(w->fd, from, stored, offset);
	else
		r = chunk_write_pages(w, offset, size, !w->is_used[n]);
	w->is_used[n] = true;
	w->index[n] = (struct save_chunk_wire){
		.offset = le64_of(offset),
		.stored = le32_of(stored),
		.crc = le32_of(crc32c_update(0, w->copy, size)),
	};
	return r;
}

int chunk_writer_append(struct chunk_writer *w, const void *data, size_t size,
			struct save_part *out)
{
	u64 offset = align_up(w->end, PAGE_SIZE);
	int r = fd_pwrite_full(w->fd, data, size, offset);

	w->end = offset + size;
	*out = (struct save_part){
		.offset = offset, .size = size, .crc = crc32c_update(0, data, size)};
	return r;
}

int chunk_writer_append_index(struct chunk_writer *w, struct save_part *out)
{
	return chunk_writer_append(w, w->index, w->n_chunks * sizeof(w->index[0]), out);
}

/* --- reading --- */

static int chunk_check_entry(const struct chunk_reader *r, u64 n, u64 file_size, struct err *err)
{
	const struct save_chunk_wire *e = &r->index[n];
	u64 offset = le64_get(e->offset);
	u32 stored = le32_get(e->stored);

	if (!stored && (offset || le32_get(e->crc)))
		return err_set(err, -EINVAL, "it is damaged: the index's entry of chunk %lu", n);
	if (stored > save_chunk_bytes(r->memory_size, n) || (stored && offset < SAVE_HEADER_SIZE) ||
	    !range_fits(offset, stored, file_size))
		return err_set(
			err, -EINVAL,
			"it is cut short or damaged: chunk %lu of the memory would be %u bytes "
			"at byte %lu, and the file has %lu bytes",
			n, stored, offset, file_size);
	return 0;
}

int chunk_reader_new(int fd, u64 file_size, u64 memory_size, struct save_chunk_wire *index,
		     struct chunk_reader **out, struct err *err)
{
	AUTO(chunk_reader_free) struct chunk_reader *r = NEW(struct chunk_reader);

	r->fd = fd;
	r->memory_size = memory_size;
	r->n_chunks = save_chunks(memory_size);
	r->index = index;
	r->zstd = ZSTD_createDCtx();
	r->frame = mem_alloc(1, SAVE_CHUNK);
	if (!r->zstd)
		return err_set(err, -ENOMEM, "out of memory");
	for (u64 n = 0; n < r->n_chunks; n++) {
		int ret = chunk_check_entry(r, n, file_size, err);

		if (ret < 0)
			return ret;
	}
	*out = take(r);
	return 0;
}

void chunk_reader_free(struct chunk_reader *r)
{
	if (!r)
		return;
	ZSTD_freeDCtx(r->zstd);
	free(r->frame);
	free(r->index);
	free(r);
}

bool chunk_is_zero(const struct chunk_reader *r, u64 n)
{
	return !le32_get(r->index[n].stored);
}

static int chunk_damaged(const struct chunk_reader *r, u64 n, const char *why, struct err *err)
{
	return err_set(err, -EINVAL,
		       "it is damaged: chunk %lu of the memory, at byte %lu of the file, %s", n,
		       le64_get(r->index[n].offset), why);
}

static int chunk_decompress(struct chunk_reader *r, u64 n, void *buf, u32 stored, u32 size,
			    struct err *err)
{
	int ret = fd_pread_full(r->fd, r->frame, stored, le64_get(r->index[n].offset));
	size_t got;

	if (ret < 0)
		return err_errno(err, ret, "cannot read chunk %lu of the memory", n);
	got = ZSTD_decompressDCtx(r->zstd, buf, size, r->frame, stored);
	if (ZSTD_isError(got) || got != size)
		return chunk_damaged(r, n, "can't be decompressed", err);
	return 0;
}

int chunk_read(struct chunk_reader *r, u64 n, void *buf, struct err *err)
{
	u32 size = save_chunk_bytes(r->memory_size, n), stored = le32_get(r->index[n].stored);
	int ret;

	assert(n < r->n_chunks);
	if (!stored) {
		memset(buf, 0, size);
		return 0;
	}
	if (stored < size) {
		ret = chunk_decompress(r, n, buf, stored, size, err);
	} else {
		ret = fd_pread_full(r->fd, buf, size, le64_get(r->index[n].offset));
		if (ret < 0)
			err_errno(err, ret, "cannot read chunk %lu of the memory", n);
	}
	if (ret < 0)
		return ret;
	if (crc32c_update(0, buf, size) != le32_get(r->index[n].crc))
		return chunk_damaged(r, n, "has a wrong checksum", err);
	return 0;
}
