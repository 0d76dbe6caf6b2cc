/*
 * VHDX: new images.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/utf16.h"
#include "image/vhdx_priv.h"

#define CREATE_METADATA_BYTES VHDX_ALIGN
#define CREATE_ITEMS_AT       VHDX_TABLE_BYTES
#define CREATE_LOCATOR_MAX    (8 * KIB)

struct create {
	struct vhdx v; /* its sizes and places */
	const struct img_create_options *o;
	u8 *metadata; /* a region's bytes */
	u32 items_end;
	unsigned n_items;
};

/* --- sizes --- */

static u64 create_block_bytes(u64 size)
{
	if (size > 32 * 1024 * GIB)
		return 64 * MIB;
	if (size > 100 * GIB)
		return 32 * MIB;
	return size > GIB ? 16 * MIB : 8 * MIB;
}

static int create_option_size(struct create *c, const char *name, u64 *to, u64 max, struct err *err)
{
	u64 value = *to;
	int r = img_option_size(c->o, name, &value, err);

	if (r == -ENOENT || (r == 0 && !value))
		return 0;
	if (r < 0)
		return r;
	if (!is_aligned(value, MIB) || value > max)
		return err_set(err, -EINVAL, "%s: it is a multiple of 1 MiB, %lu MiB at most", name,
			       max / MIB);
	*to = value;
	return 0;
}

static int create_layout(struct create *c, struct err *err)
{
	struct vhdx *v = &c->v;
	const char *subformat = img_option(c->o, "subformat");
	int r;

	v->size = c->o->size;
	/* A child's sectors are its parent's. */
	v->sector_bytes = c->o->backing && vhdx_data_id(c->o->backing) ? c->o->backing->block_size
								       : BLK_SECTOR;
	v->has_parent = c->o->backing_name;
	v->block_bytes = v->has_parent ? 2 * MIB : create_block_bytes(v->size);
	v->log = (struct vhdx_region){VHDX_ALIGN, VHDX_ALIGN};
	r = create_option_size(c, "block_size", &v->block_bytes, VHDX_BLOCK_MAX, err);
	if (r == 0)
		r = create_option_size(c, "log_size", &v->log.bytes, VHDX_LOG_MAX, err);
	if (r < 0)
		return r;
	if (!is_power_of_two(v->block_bytes))
		return err_set(err, -EINVAL, "block_size: it is a power of two");
	if (!v->size || v->size > VHDX_SIZE_MAX)
		return err_set(err, -EFBIG, "a VHDX image is 64 TiB large at most");
	if (subformat && strcmp(subformat, "fixed") != 0 && strcmp(subformat, "dynamic") != 0)
		return err_set(err, -EINVAL, "subformat=%s: it is dynamic or fixed", subformat);
	v->is_fixed = subformat && *subformat == 'f';
	if (v->is_fixed && v->has_parent)
		return err_set(err, -EINVAL, "a fixed image has no parent");
	v->n_blocks = (v->size + v->block_bytes - 1) / v->block_bytes;
	v->chunk_blocks = (u32)(((u64)v->sector_bytes << 23) / v->block_bytes);
	v->metadata = (struct vhdx_region){v->log.offset + v->log.bytes, CREATE_METADATA_BYTES};
	v->table_region =
		(struct vhdx_region){v->metadata.offset + v->metadata.bytes,
				     align_up(vhdx_n_entries(v, v->n_blocks) * 8, VHDX_ALIGN)};
	v->data_end = v->table_region.offset + v->table_region.bytes;
	return 0;
}

/* --- metadata --- */

static void create_item(struct create *c, const u8 id[16], const void *data, u32 bytes, u32 flags)
{
	struct vhdx_metadata_wire *w =
		(void *)(c->metadata + sizeof(struct vhdx_metadata_head_wire));

	w += c->n_items++;
	memcpy(w->id, id, 16);
	w->offset = le32_of(c->items_end);
	w->bytes = le32_of(bytes);
	w->flags = le32_of(flags | VHDX_META_REQUIRED);
	memcpy(c->metadata + c->items_end, data, bytes);
	c->items_end += bytes;
}

static int create_locator_string(u8 *item, u32 *end, const char *s, le32 *offset, le16 *bytes)
{
	int n = utf16_encode(s, item + *end, (CREATE_LOCATOR_MAX - *end) / 2, false);

	if (n < 0)
		return n;
	*offset = le32_of(*end);
	*bytes = le16_of((u16)(2 * n));
	*end += 2 * (u32)n;
	return 0;
}

static int create_locator(struct create *c, struct err *err)
{
	const u8 *id = vhdx_data_id(c->o->backing);
	AUTO(free) char *path = utf16_path_to_windows(c->o->backing_name);
	AUTO(free_ptr) u8 *item = mem_alloc(1, CREATE_LOCATOR_MAX);
	struct vhdx_locator_wire *l = (void *)item;
	struct vhdx_locator_entry_wire *e = (void *)(item + sizeof(*l));
	u32 end = sizeof(*l) + 2 * sizeof(*e);
	char guid[IMG_GUID_TEXT], linkage[IMG_GUID_TEXT + 2];
	const char *pairs[2][2] = {
		{"parent_linkage", linkage},
		{*c->o->backing_name == '/' ? "absolute_win32_path" : "relative_path", path}};
	int r = 0;

	if (!id)
		return err_set(err, -EINVAL, "the parent of a VHDX image must be one");
	img_guid_print(id, guid);
	snprintf(linkage, sizeof(linkage), "{%s}", guid);
	memcpy(l->type, vhdx_id_locator, 16);
	l->n_entries = le16_of(2);
	for (unsigned i = 0; i < 2 && r == 0; i++) {
		r = create_locator_string(item, &end, pairs[i][0], &e[i].key_offset,
					  &e[i].key_bytes);
		if (r == 0)
			r = create_locator_string(item, &end, pairs[i][1], &e[i].value_offset,
						  &e[i].value_bytes);
	}
	if (r < 0)
		return err_errno(err, r, "the parent's name");
	create_item(c, vhdx_id_parent, item, end, 0);
	return 0;
}

static int create_metadata(struct create *c, struct err *err)
{
	const struct vhdx *v = &c->v;
	struct vhdx_metadata_head_wire *head = (void *)c->metadata;
	struct vhdx_parameters_wire p = {
		.block_bytes = le32_of((u32)v->block_bytes),
		.flags = le32_of((v->is_fixed ? VHDX_PARAM_FIXED : 0) |
				 (v->has_parent ? VHDX_PARAM_HAS_PARENT : 0)),
	};
	le64 size = le64_of(v->size);
	le32 sector = le32_of(v->sector_bytes), physical = le32_of(4096);
	u8 id[16];
	int r = img_guid_new(id);

	if (r < 0)
		return err_errno(err, r, "no random numbers");
	memcpy(head->signature, "metadata", 8);
	c->items_end = CREATE_ITEMS_AT;
	create_item(c, vhdx_id_parameters, &p, sizeof(p), 0);
	create_item(c, vhdx_id_size, &size, sizeof(size), VHDX_META_DISK);
	create_item(c, vhdx_id_disk, id, sizeof(id), VHDX_META_DISK);
	create_item(c, vhdx_id_sector, &sector, sizeof(sector), VHDX_META_DISK);
	create_item(c, vhdx_id_physical, &physical, sizeof(physical), VHDX_META_DISK);
	if (v->has_parent)
		r = create_locator(c, err);
	head->n_entries = le16_of((u16)c->n_items);
	return r;
}

/* --- the rest --- */

static int create_regions(const struct vhdx *v)
{
	AUTO(free_ptr) u8 *table = mem_alloc(1, VHDX_TABLE_BYTES);
	struct vhdx_table_head_wire *head = (void *)table;
	struct vhdx_region_wire *w = (void *)(table + sizeof(*head));
	int r = 0;

	memcpy(head->signature, "regi", 4);
	head->n_entries = le32_of(2);
	memcpy(w[0].id, vhdx_id_table, 16);
	w[0].offset = le64_of(v->table_region.offset);
	w[0].bytes = le32_of((u32)v->table_region.bytes);
	memcpy(w[1].id, vhdx_id_metadata, 16);
	w[1].offset = le64_of(v->metadata.offset);
	w[1].bytes = le32_of((u32)v->metadata.bytes);
	w[0].is_required = w[1].is_required = le32_of(1);
	head->checksum = le32_of(vhdx_checksum(table, VHDX_TABLE_BYTES));
	for (unsigned i = 0; i < 2 && r == 0; i++)
		r = blk_write(v->blocks.file, VHDX_REGIONS_AT(i), table, VHDX_TABLE_BYTES);
	return r;
}

static int create_headers(struct vhdx *v)
{
	struct vhdx_file_id_wire id = {.signature = "vhdxfile"};
	int r = utf16_encode("posada", (u8 *)id.creator, ARRAY_SIZE(id.creator), false);

	v->header = (struct vhdx_header_wire){
		.signature = "head",
		.version = le16_of(1),
		.log_bytes = le32_of((u32)v->log.bytes),
		.log_offset = le64_of(v->log.offset),
	};
	r = img_guid_new(v->header.file_write_id);
	if (r == 0)
		r = img_guid_new(v->header.data_write_id);
	if (r == 0)
		r = blk_write(v->blocks.file, 0, &id, sizeof(id));
	return r == 0 ? vhdx_write_header(v) : r;
}

/* Entries of a fixed image: one block behind the other. */
static int create_fixed(struct vhdx *v, struct err *err)
{
	AUTO(free_ptr) u8 *page = mem_alloc(1, IMG_TABLE_PAGE);
	u64 n = vhdx_n_entries(v, v->n_blocks), at = align_up(v->data_end, VHDX_ALIGN);
	int r = blk_resize(v->blocks.file, at + v->n_blocks * v->block_bytes, err);

	if (r < 0)
		return r;
	for (u64 i = 0; i < n && r == 0; i += IMG_TABLE_PAGE / 8) {
		for (u64 j = 0; j < IMG_TABLE_PAGE / 8; j++) {
			bool is_block = i + j < n && (i + j + 1) % (v->chunk_blocks + 1) != 0;

			le64_store(page + j * 8, is_block ? at | VHDX_PRESENT : 0);
			at += is_block ? v->block_bytes : 0;
		}
		r = blk_write(v->blocks.file, v->table_region.offset + i * 8, page, IMG_TABLE_PAGE);
	}
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

static int create_all(struct create *c, struct err *err)
{
	struct vhdx *v = &c->v;
	int r = create_layout(c, err);

	if (r == 0)
		r = create_metadata(c, err);
	if (r == 0)
		r = blk_resize(v->blocks.file, v->data_end, err);
	if (r == 0 && v->is_fixed)
		r = create_fixed(v, err);
	if (r < 0)
		return r;
	r = blk_write(v->blocks.file, v->metadata.offset, c->metadata, v->metadata.bytes);
	if (r == 0)
		r = create_regions(v);
	if (r == 0)
		r = create_headers(v);
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

int vhdx_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	struct create c = {.o = o, .metadata = mem_alloc(1, CREATE_METADATA_BYTES)};
	int r;

	c.v.blocks.file = file;
	r = create_all(&c, err);
	free(c.metadata);
	return r;
}

const struct img_option_info vhdx_create_options[] = {
	{"subformat", "dynamic|fixed", "space as it is written, or all from the start"},
	{"block_size", "SIZE", "1M to 256M, a power of two; 0: by the disk's size"},
	{"log_size", "SIZE", "a multiple of 1M, 64M at most (default: 1M)"},
	{0},
};
