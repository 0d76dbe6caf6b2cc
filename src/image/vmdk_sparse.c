/*
 * VMDK's sparse extents: header, grain directory, grain tables.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/packer.h"
#include "image/vmdk_priv.h"

#define SPARSE_GRAIN_MIN  (4 * KIB)
#define SPARSE_GRAIN_MAX  (16 * MIB)
#define SPARSE_TABLES_MAX (1u << 22) /* 128 TiB with grains of 64 KiB */
#define SPARSE_TEXT_MAX   (1 * MIB)

/* --- tables --- */

/* A table's place by one of the directories; 0 where that says nothing that can be. */
static int sparse_table_place(struct vmdk_extent *e, struct img_table *directory, u64 table,
			      u64 *out)
{
	u8 *at;
	int r;

	*out = 0;
	if (!directory->pages)
		return 0;
	r = img_table_get(directory, table * 4, &at);
	if (r == 0 && range_fits((u64)le32_load(at) * BLK_SECTOR, e->table_bytes, e->file->size))
		*out = (u64)le32_load(at) * BLK_SECTOR;
	return r;
}

/* Where the directory is damaged, its copy helps. */
static int sparse_locate(const struct img_table *t, u64 page, unsigned copy, u64 *out)
{
	struct vmdk_extent *e = t->opaque;
	int r = sparse_table_place(e, copy ? &e->rgd : &e->gd, page, out);

	if (r == 0 && !*out && !copy)
		r = sparse_table_place(e, &e->rgd, page, out);
	return r;
}

int vmdk_gte(struct vmdk_extent *e, u64 offset, u32 *out)
{
	u8 *at;
	int r = img_table_get(&e->gts, offset / e->grain_bytes * 4, &at);

	if (r == 0)
		*out = le32_load(at);
	return r;
}

int vmdk_set_gte(struct vmdk_extent *e, u64 offset, u32 value)
{
	u64 entry = offset / e->grain_bytes * 4, places[2] = {0};
	u8 *at;
	int r = img_table_get(&e->gts, entry, &at);

	if (r == 0 && !e->stream)
		r = sparse_locate(&e->gts, entry / e->table_bytes, 0, &places[0]);
	if (r < 0)
		return r;
	if (!e->stream && !places[0]) /* vmdk_make_table was called before */
		return -EIO;
	le32_store(at, value);
	img_table_touch(&e->gts, entry);
	return 0;
}

static int sparse_set_directory(struct img_table *directory, u64 table, u64 place)
{
	u8 *at;
	int r = img_table_get(directory, table * 4, &at);

	if (r < 0)
		return r;
	le32_store(at, (u32)(place / BLK_SECTOR));
	img_table_touch(directory, table * 4);
	return 0;
}

/*
 * VMware makes all tables when it makes the image; others need not. It is where the next grain would be: a
 * table of zeros, and its copy. The directories' entries are written by the flush that writes what is in
 * it, so that at worst an empty table is found.
 */
int vmdk_make_table(struct vmdk_extent *e, u64 offset)
{
	u64 entry = offset / e->grain_bytes * 4, table = entry / e->table_bytes, place;
	u64 at = e->data_end, old_end = e->file->size;
	struct err err;
	int r = sparse_locate(&e->gts, table, 0, &place);

	if (r < 0 || place)
		return r;
	if ((at + e->grain_bytes) / BLK_SECTOR > UINT32_MAX)
		return -ENOSPC;
	if (at < old_end)
		r = blk_write_zeroes(e->file, at, MIN(e->grain_bytes, old_end - at), false);
	if (r == 0 && old_end < at + e->grain_bytes)
		r = blk_resize(e->file, at + e->grain_bytes, &err);
	if (r < 0)
		return r;
	e->data_end += e->grain_bytes;
	r = sparse_set_directory(&e->gd, table, at);
	if (r == 0 && e->rgd.pages)
		r = sparse_set_directory(&e->rgd, table, at + e->table_bytes);
	return r == 0 ? img_table_relocate(&e->gts, entry) : r;
}

static int sparse_use_directory(struct vmdk_extent *e, struct img_table *t, u64 sector)
{
	u64 bytes = align_up(e->n_tables * 4, BLK_SECTOR);

	*t = (struct img_table){.file = e->file,
				.offset = sector * BLK_SECTOR,
				.bytes = bytes,
				.page_bytes = IMG_TABLE_PAGE,
				.unit = BLK_SECTOR,
				.n_copies = 1};
	if (!sector || sector > BLK_SIZE_MAX / BLK_SECTOR ||
	    !range_fits(t->offset, e->n_tables * 4, e->file->size))
		return -EINVAL;
	return img_table_init(t);
}

static int sparse_use_tables(struct vmdk_extent *e, struct err *err)
{
	bool has_copy = le32_get(e->header.flags) & VMDK_FLAG_REDUNDANT;
	u64 n_tables = e->n_tables;
	int r = 0;

	e->gts = (struct img_table){.file = e->file,
				    .bytes = n_tables * e->table_bytes,
				    .page_bytes = (u32)e->table_bytes,
				    .unit = BLK_SECTOR,
				    .n_copies = has_copy ? 2 : 1,
				    .locate = sparse_locate,
				    .opaque = e};
	if (le64_get(e->header.gd_offset) == VMDK_GD_AT_END)
		e->n_tables = 0; /* it has no end: none is on the disk yet */
	else
		r = sparse_use_directory(e, &e->gd, le64_get(e->header.gd_offset));
	if (r == -EINVAL)
		return err_set(err, r, "the grain directory is not in the file");
	if (r == 0 && e->n_tables && has_copy)
		r = sparse_use_directory(e, &e->rgd, le64_get(e->header.rgd_offset));
	if (r == -EINVAL) /* a lost copy is none */
		r = 0;
	if (r == 0)
		r = img_table_init(&e->gts);
	return r < 0 ? err_set(err, r, "no memory for the tables") : 0;
}

int vmdk_sparse_reload(struct vmdk_extent *e, struct err *err)
{
	u64 covers = e->grain_bytes * (e->table_bytes / 4);

	img_table_fini(&e->gd);
	img_table_fini(&e->rgd);
	img_table_fini(&e->gts);
	e->n_tables = (le64_get(e->header.capacity) * BLK_SECTOR + covers - 1) / covers;
	return sparse_use_tables(e, err);
}

void vmdk_extent_fini(struct vmdk_extent *e)
{
	vmdk_stream_free(e->stream);
	img_packers_free(&e->packers);
	img_table_fini(&e->gd);
	img_table_fini(&e->rgd);
	img_table_fini(&e->gts);
}

/* --- the header --- */

/* Of a stream: the footer, which is a header that knows where the directory is. */
static int sparse_read_footer(struct vmdk_extent *e, struct err *err)
{
	struct {
		struct vmdk_marker_wire marker;
		u8 pad[BLK_SECTOR - sizeof(struct vmdk_marker_wire)];
		struct vmdk_header_wire header;
		u8 eos[BLK_SECTOR];
	} end;
	int r;

	static_assert(sizeof(end) == 3 * BLK_SECTOR, "VMDK footer");
	if (e->file->size < sizeof(end) + sizeof(e->header))
		return 0;
	r = blk_read(e->file, e->file->size - sizeof(end), &end, sizeof(end));
	if (r < 0)
		return err_errno(err, r, "cannot read the footer");
	if (le32_get(end.header.magic) == VMDK_MAGIC && !le32_get(end.marker.bytes) &&
	    le32_get(end.marker.type) == VMDK_MARKER_FOOTER &&
	    le64_get(end.header.gd_offset) != VMDK_GD_AT_END)
		e->header = end.header;
	return 0;
}

static int sparse_check_header(struct vmdk_extent *e, struct err *err)
{
	const struct vmdk_header_wire *h = &e->header;
	u64 capacity = le64_get(h->capacity), grain = le64_get(h->grain_size);
	u32 n_gtes = le32_get(h->n_gtes), flags = le32_get(h->flags);

	if (le32_get(h->version) < 1 || le32_get(h->version) > 3)
		return err_set(err, -ENOTSUP, "VMDK version %u is not supported",
			       le32_get(h->version));
	if (grain < SPARSE_GRAIN_MIN / BLK_SECTOR || grain > SPARSE_GRAIN_MAX / BLK_SECTOR ||
	    !is_power_of_two(grain))
		return err_set(err, -EINVAL, "grains of %lu sectors are not supported", grain);
	if (!n_gtes || n_gtes > VMDK_GTES || n_gtes % (BLK_SECTOR / 4))
		return err_set(err, -EINVAL, "grain tables of %u entries are not supported",
			       n_gtes);
	e->grain_bytes = grain * BLK_SECTOR;
	e->table_bytes = (u64)n_gtes * 4;
	if (!capacity || capacity > SPARSE_TABLES_MAX * (n_gtes * grain))
		return err_set(err, -EINVAL, "a disk of %lu sectors", capacity);
	e->n_tables = (capacity + n_gtes * grain - 1) / (n_gtes * grain);
	e->is_packed = flags & VMDK_FLAG_COMPRESSED;
	e->has_markers = flags & VMDK_FLAG_MARKERS;
	e->has_zeroed = flags & VMDK_FLAG_ZEROED;
	if (e->is_packed && le16_get(h->compression) != VMDK_DEFLATE)
		return err_set(err, -ENOTSUP, "compression %u is not known",
			       le16_get(h->compression));
	return 0;
}

static int sparse_read_text(struct vmdk_extent *e, char **out, u64 *out_offset, struct err *err)
{
	u64 offset = le64_get(e->header.descriptor_offset) * BLK_SECTOR;
	u64 bytes = le64_get(e->header.descriptor_size) * BLK_SECTOR;
	AUTO(free) char *text = NULL;
	int r;

	if (!le64_get(e->header.descriptor_offset))
		return 0;
	if (le64_get(e->header.descriptor_size) > SPARSE_TEXT_MAX / BLK_SECTOR ||
	    le64_get(e->header.descriptor_offset) > BLK_SIZE_MAX / BLK_SECTOR ||
	    !range_fits(offset, bytes, e->file->size))
		return err_set(err, -EINVAL, "the descriptor is not in the file");
	text = mem_alloc(1, bytes + 1);
	r = blk_read(e->file, offset, text, bytes);
	if (r < 0)
		return err_errno(err, r, "cannot read the descriptor");
	*out = take(text);
	*out_offset = offset;
	return 0;
}

int vmdk_open_sparse(struct vmdk_extent *e, char **out_descriptor, u64 *out_offset, struct err *err)
{
	int r = blk_read(e->file, 0, &e->header, sizeof(e->header));

	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	if (le32_get(e->header.magic) != VMDK_MAGIC)
		return err_set(err, -EINVAL, "not a sparse VMDK extent");
	if (le64_get(e->header.gd_offset) == VMDK_GD_AT_END)
		r = sparse_read_footer(e, err);
	if (r == 0)
		r = sparse_check_header(e, err);
	if (r == 0)
		r = sparse_use_tables(e, err);
	if (r == 0 && out_descriptor)
		r = sparse_read_text(e, out_descriptor, out_offset, err);
	e->data_end = align_up(e->file->size, e->grain_bytes ? e->grain_bytes : BLK_SECTOR);
	return r;
}
