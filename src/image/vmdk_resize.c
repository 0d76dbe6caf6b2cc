/*
 * VMDK: a larger disk. The last extent grows; a split image's only as far as its kind allows.
 *
 * A sparse extent whose directory has no room gets new ones, with tables for what is new, behind its
 * last grain; then the header, one sector, leads there. The descriptor is written last: until then it says
 * less than the extent has.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/vmdk_priv.h"

#define RESIZE_CONVERT "convert it to a new image (posada image convert)"

/* --- sparse extents --- */

/* The disk's end may be inside a grain, of which the rest becomes visible. */
static int resize_clear_tail(struct vmdk_extent *e)
{
	u64 inside = e->bytes % e->grain_bytes;
	u32 gte;
	int r;

	if (!inside)
		return 0;
	r = vmdk_gte(e, e->bytes - 1, &gte);
	if (r < 0 || gte == 0 || (gte == 1 && e->has_zeroed))
		return r;
	return blk_write_zeroes(e->file, (u64)gte * BLK_SECTOR + inside, e->grain_bytes - inside,
				false);
}

/* Entries of the old directory, and new tables that follow it; where an old one says nothing, it stays so. */
static int resize_write_directory(struct vmdk_extent *e, struct img_table *old, u64 at, u64 n)
{
	u64 bytes = align_up(n * 4, BLK_SECTOR), first = at + bytes;
	AUTO(free_ptr) u8 *directory = alloc_try(1, bytes);
	int r = directory ? 0 : -ENOMEM;

	for (u64 i = 0; i < n && r == 0; i++) {
		u32 sector = (u32)((first + (i - e->n_tables) * e->table_bytes) / BLK_SECTOR);
		u8 *entry;

		if (i < e->n_tables) {
			r = img_table_get(old, i * 4, &entry);
			sector = r == 0 ? le32_load(entry) : 0;
		}
		le32_store(directory + i * 4, sector);
	}
	return r == 0 ? blk_write(e->file, at, directory, bytes) : r;
}

/* Both directories, each with its tables, in what was no part of the file before, and so is zeros. */
static int resize_move_directories(struct vmdk_extent *e, u64 n, struct vmdk_header_wire *h,
				   struct err *err)
{
	bool has_copy = e->rgd.pages;
	u64 part = align_up(n * 4, BLK_SECTOR) + (n - e->n_tables) * e->table_bytes;
	u64 at = align_up(MAX(e->data_end, e->file->size), e->grain_bytes);
	u64 end = align_up(at + part * (has_copy ? 2 : 1), e->grain_bytes);
	int r;

	if (end / BLK_SECTOR > UINT32_MAX)
		return err_set(err, -EFBIG, "too large for one file: " RESIZE_CONVERT);
	r = blk_resize(e->file, end, err);
	if (r < 0)
		return r;
	e->data_end = end;
	if (has_copy) {
		r = resize_write_directory(e, &e->rgd, at, n);
		h->rgd_offset = le64_of(at / BLK_SECTOR);
		at += part;
	}
	if (r == 0)
		r = resize_write_directory(e, &e->gd, at, n);
	h->gd_offset = le64_of(at / BLK_SECTOR);
	if (r == 0)
		r = blk_flush(e->file);
	return r < 0 ? err_errno(err, r, "cannot write the grain directory") : 0;
}

static int resize_sparse(struct vmdk_extent *e, u64 bytes, struct err *err)
{
	u64 covers = e->grain_bytes * (e->table_bytes / 4);
	u64 n = (bytes + covers - 1) / covers;
	struct vmdk_header_wire h = e->header;
	int r = resize_clear_tail(e);

	if (r < 0)
		return err_errno(err, r, "cannot write to it");
	if (bytes > (u64)UINT32_MAX / 2 * BLK_SECTOR)
		return err_set(err, -EFBIG, "too large for one file: " RESIZE_CONVERT);
	if (n > e->n_tables)
		r = resize_move_directories(e, n, &h, err);
	if (r < 0)
		return r;
	h.capacity = le64_of(MAX(bytes / BLK_SECTOR, le64_get(h.capacity)));
	r = blk_write(e->file, 0, &h, sizeof(h));
	if (r == 0)
		r = blk_flush(e->file);
	if (r < 0)
		return err_errno(err, r, "cannot write the header");
	e->header = h;
	e->bytes = bytes;
	return vmdk_sparse_reload(e, err);
}

/* --- flat ones --- */

static int resize_flat(struct vmdk_extent *e, u64 bytes, struct err *err)
{
	u64 old_end = e->flat_offset + e->bytes, end = e->flat_offset + bytes;
	int r = 0;

	if (!e->file->is_growable)
		return err_set(err, -ENOTSUP, "its last extent is no regular file");
	/* What is behind the extent in its file is nobody's. */
	if (e->file->size > old_end)
		r = blk_resize(e->file, old_end, err);
	if (r == 0)
		r = blk_resize(e->file, end, err);
	if (r < 0)
		return r;
	r = blk_flush(e->file);
	if (r < 0)
		return err_errno(err, r, "cannot write it to the disk");
	e->bytes = bytes;
	return 0;
}

/* --- the descriptor --- */

/* Number v in the place of what was at m, whose later neighbour moves with the text. */
static char *resize_replace(const char *text, const struct vmdk_mark *m, u64 v)
{
	return str_format("%.*s%lu%s", (int)m->at, text, v, text + m->at + m->n);
}

static char *resize_edit(const struct vmdk *v, const char *text, u64 size)
{
	const struct vmdk_descriptor *d = &v->descriptor;
	const struct vmdk_extent *e = &v->extents[v->n_extents - 1];
	u64 track = (u64)d->heads * d->sectors, sectors = size / BLK_SECTOR;
	AUTO(free) char *with_geometry = str_dup(text);

	/* From the end on, so that the place before stays where it is. */
	if (d->cylinders.at > d->extents[d->n_extents - 1].mark.at && track) {
		free(with_geometry);
		with_geometry = resize_replace(text, &d->cylinders, (sectors + track - 1) / track);
	}
	return resize_replace(with_geometry, &d->extents[d->n_extents - 1].mark,
			      e->bytes / BLK_SECTOR);
}

static int resize_descriptor(struct vmdk *v, u64 size, struct err *err)
{
	const struct vmdk_header_wire *h = &v->extents[0].header;
	u64 room = v->descriptor_offset ? le64_get(h->descriptor_size) * BLK_SECTOR
					: VMDK_DESCRIPTOR_MAX;
	u64 old = v->descriptor_offset ? room : v->blocks.file->size, n;
	AUTO(free) char *text = mem_alloc(1, old + 1), *edited = NULL;
	AUTO(free_ptr) u8 *padded = NULL;
	struct vmdk_descriptor d;
	int r = blk_read(v->blocks.file, v->descriptor_offset, text, old);

	if (r < 0)
		return err_errno(err, r, "cannot read the descriptor");
	edited = resize_edit(v, text, size);
	n = align_up(MAX(strlen(edited), strlen(text)), BLK_SECTOR);
	if (n > room)
		return err_set(err, -ENOSPC, "the descriptor has no room for it");
	r = vmdk_descriptor_parse(edited, &d, err);
	if (r < 0)
		return r;
	padded = mem_alloc(1, n);
	memcpy(padded, edited, strlen(edited));
	r = blk_write(v->blocks.file, v->descriptor_offset, padded, n);
	if (r == 0)
		r = blk_flush(v->blocks.file);
	if (r < 0) {
		vmdk_descriptor_fini(&d);
		return err_errno(err, r, "cannot write the descriptor");
	}
	vmdk_descriptor_fini(&v->descriptor);
	v->descriptor = d;
	return 0;
}

/* --- what can't be --- */

static int resize_check(const struct vmdk *v, u64 size, struct err *err)
{
	const struct blk *b = &v->blocks.node.blk, *beneath = v->blocks.backing;
	const struct vmdk_descriptor *d = &v->descriptor;
	const struct vmdk_extent *e = &v->extents[v->n_extents - 1];
	bool is_split = d->create_type && strncasecmp(d->create_type, "twoGbMaxExtent", 14) == 0;

	if (size < b->size)
		return err_set(err, -ENOTSUP, "a VMDK image can't be made smaller: " VMDK_SMALLER);
	if (size > BLK_SIZE_MAX)
		return err_set(err, -EFBIG, "larger than a disk can be");
	if (beneath && beneath->size > b->size)
		return err_set(err, -ENOTSUP,
			       "its parent is larger than it, and would show: " RESIZE_CONVERT);
	if (d->n_extents && d->n_extents != v->n_extents)
		return err_set(err, -ENOTSUP,
			       "its descriptor has other extents than the file: " RESIZE_CONVERT);
	if (e->kind != VMDK_ZERO && !e->is_writable)
		return err_set(err, -EROFS, "its last extent can't be written");
	if (is_split && size - e->start > VMDK_SPLIT)
		return err_set(err, -ENOTSUP,
			       "its last extent would be larger than 2 GiB, and it would need more "
			       "of them: " RESIZE_CONVERT);
	return 0;
}

int vmdk_resize(struct img_blocks *b, u64 size, struct err *err)
{
	struct vmdk *v = vmdk_of(b);
	struct vmdk_extent *e = &v->extents[v->n_extents - 1];
	u64 bytes = size - e->start;
	int r = resize_check(v, size, err);

	if (r < 0)
		return r;
	if (e->kind == VMDK_SPARSE)
		r = resize_sparse(e, bytes, err);
	else if (e->kind == VMDK_FLAT)
		r = resize_flat(e, bytes, err);
	else
		e->bytes = bytes;
	return r < 0 || !v->descriptor.n_extents ? r : resize_descriptor(v, size, err);
}
