/*
 * VHDX's headers, regions and metadata: reading an image from its file's start.
 *
 * Of the two headers the sound one with the higher number counts; a region table is either of two sound ones.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "block/io.h"
#include "image/utf16.h"
#include "image/vhdx_priv.h"

/* clang-format off */
const u8 vhdx_id_table[16]      = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const u8 vhdx_id_metadata[16]   = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
const u8 vhdx_id_parameters[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
const u8 vhdx_id_size[16]       = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
const u8 vhdx_id_disk[16]       = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
const u8 vhdx_id_sector[16]     = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
const u8 vhdx_id_physical[16]   = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
const u8 vhdx_id_parent[16]     = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};
const u8 vhdx_id_locator[16]    = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};
/* clang-format on */

#define HEADER_LOCATOR_MAX (64 * KIB)

u32 vhdx_checksum(const void *structure, u64 bytes)
{
	static const u8 zeros[4];
	u32 crc = crc32c_update(0, structure, 4);

	crc = crc32c_update(crc, zeros, 4);
	return crc32c_update(crc, (const u8 *)structure + 8, bytes - 8);
}

int vhdx_read(struct vhdx *v, u64 offset, void *buf, u64 bytes)
{
	int r = blk_read(v->blocks.file, offset, buf, bytes);

	if (r == 0)
		img_batch_apply(&v->replayed, v->blocks.file, offset, buf, bytes);
	return r;
}

/* --- headers --- */

static int header_read(struct vhdx *v, unsigned slot, struct vhdx_header_wire *out)
{
	int r = blk_read(v->blocks.file, VHDX_HEADER_AT(slot), out, sizeof(*out));

	if (r < 0)
		return r;
	return memcmp(out->signature, "head", 4) == 0 &&
			       vhdx_checksum(out, sizeof(*out)) == le32_get(out->checksum)
		       ? 0
		       : -EINVAL;
}

static int header_select(struct vhdx *v, struct err *err)
{
	struct vhdx_header_wire second;
	char signature[8];
	int first = blk_read(v->blocks.file, 0, signature, sizeof(signature)), other;

	if (first == 0 && memcmp(signature, "vhdxfile", 8) != 0)
		return err_set(err, -EINVAL, "not a VHDX image");
	if (first == 0)
		first = header_read(v, 0, &v->header);
	other = header_read(v, 1, &second);
	if (first < 0 && other < 0)
		return err_errno(err, first, "both headers are damaged");
	if (first < 0 || (other == 0 && le64_get(second.sequence) > le64_get(v->header.sequence))) {
		v->header = second;
		v->header_slot = 1;
	}
	if (le16_get(v->header.version) != 1 || le16_get(v->header.log_version) != 0)
		return err_set(err, -ENOTSUP,
			       "VHDX version %u with logs of version %u is not supported",
			       le16_get(v->header.version), le16_get(v->header.log_version));
	v->log =
		(struct vhdx_region){le64_get(v->header.log_offset), le32_get(v->header.log_bytes)};
	if (!is_aligned(v->log.offset | v->log.bytes, VHDX_ALIGN) || v->log.offset < VHDX_ALIGN ||
	    !v->log.bytes || v->log.bytes > VHDX_LOG_MAX ||
	    !range_fits(v->log.offset, v->log.bytes, v->blocks.file->size))
		return err_set(err, -EINVAL, "the log is not where it can be");
	return 0;
}

int vhdx_write_header(struct vhdx *v)
{
	int r = 0;

	for (unsigned i = 0; i < 2 && r == 0; i++) {
		v->header.sequence = le64_of(le64_get(v->header.sequence) + 1);
		v->header.checksum = le32_of(vhdx_checksum(&v->header, sizeof(v->header)));
		v->header_slot ^= 1; /* the current one stays until this is whole */
		r = blk_write(v->blocks.file, VHDX_HEADER_AT(v->header_slot), &v->header,
			      sizeof(v->header));
		if (r == 0)
			r = blk_flush(v->blocks.file);
	}
	return r;
}

/* --- regions --- */

static int regions_take(struct vhdx *v, const struct vhdx_region_wire *w, struct err *err)
{
	struct vhdx_region region = {le64_get(w->offset), le32_get(w->bytes)}, *to = NULL;

	if (memcmp(w->id, vhdx_id_table, 16) == 0)
		to = &v->table_region;
	else if (memcmp(w->id, vhdx_id_metadata, 16) == 0)
		to = &v->metadata;
	else if (le32_get(w->is_required) & 1)
		return err_set(err, -ENOTSUP, "it has a region that is not known, and required");
	if (!to)
		return 0;
	if (to->bytes || !is_aligned(region.offset | region.bytes, VHDX_ALIGN) ||
	    region.offset < VHDX_ALIGN || !region.bytes ||
	    !range_fits(region.offset, region.bytes, v->blocks.file->size) ||
	    range_overlaps(region.offset, region.bytes, v->log.offset, v->log.bytes))
		return err_set(err, -EINVAL, "a region is not where it can be");
	*to = region;
	return 0;
}

int vhdx_read_regions(struct vhdx *v, u8 *table)
{
	const struct vhdx_table_head_wire *head = (const void *)table;

	for (unsigned i = 0; i < 2; i++) {
		int r = vhdx_read(v, VHDX_REGIONS_AT(i), table, VHDX_TABLE_BYTES);

		if (r < 0)
			return r;
		if (memcmp(head->signature, "regi", 4) == 0 &&
		    vhdx_checksum(table, VHDX_TABLE_BYTES) == le32_get(head->checksum) &&
		    le32_get(head->n_entries) <= VHDX_ENTRIES_MAX)
			return 0;
	}
	return -EINVAL;
}

static int regions_read(struct vhdx *v, struct err *err)
{
	AUTO(free_ptr) u8 *table = mem_alloc(1, VHDX_TABLE_BYTES);
	const struct vhdx_table_head_wire *head = (const void *)table;
	const struct vhdx_region_wire *w = (const void *)(table + sizeof(*head));
	int r = vhdx_read_regions(v, table);

	if (r == -EINVAL)
		return err_set(err, r, "both region tables are damaged");
	if (r < 0)
		return err_errno(err, r, "cannot read the region table");
	for (u32 i = 0; i < le32_get(head->n_entries) && r == 0; i++)
		r = regions_take(v, &w[i], err);
	if (r == 0 && (!v->table_region.bytes || !v->metadata.bytes))
		r = err_set(err, -EINVAL, "a region is missing");
	if (r == 0 && range_overlaps(v->table_region.offset, v->table_region.bytes,
				     v->metadata.offset, v->metadata.bytes))
		r = err_set(err, -EINVAL, "regions overlap");
	return r;
}

/* --- the parent --- */

static bool parent_id_parse(const char *text, u8 out[16])
{
	static const u8 order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	unsigned n = 0, value;

	for (text += *text == '{'; n < 16; n++, text += 2) {
		text += *text == '-';
		if (sscanf(text, "%2x", &value) != 1 || !text[1])
			return false;
		out[order[n]] = (u8)value;
	}
	return true;
}

struct parent_names {
	char *relative, *volume, *absolute;
};

static void parent_take(struct vhdx *v, struct parent_names *names, const char *key, char *value)
{
	char **to = strcmp(key, "relative_path") == 0         ? &names->relative
		    : strcmp(key, "volume_path") == 0         ? &names->volume
		    : strcmp(key, "absolute_win32_path") == 0 ? &names->absolute
							      : NULL;

	if (to && !*to) {
		*to = value;
		return;
	}
	if (strncmp(key, "parent_linkage", 14) == 0 && v->n_parent_ids < 2 &&
	    parent_id_parse(value, v->parent_ids[v->n_parent_ids]))
		v->n_parent_ids++;
	free(value);
}

static char *parent_string(const u8 *item, u64 bytes, u32 offset, u16 length)
{
	return range_fits(offset, length, bytes) ? utf16_decode(item + offset, length / 2, false)
						 : NULL;
}

static int parent_parse(struct vhdx *v, const u8 *item, u64 bytes, struct err *err)
{
	const struct vhdx_locator_wire *l = (const void *)item;
	const struct vhdx_locator_entry_wire *e = (const void *)(item + sizeof(*l));
	struct parent_names names = {0};
	char *best;

	if (bytes < sizeof(*l) || memcmp(l->type, vhdx_id_locator, 16) != 0 ||
	    sizeof(*l) + le16_get(l->n_entries) * sizeof(*e) > bytes)
		return err_set(err, -EINVAL, "what it says of its parent is damaged");
	for (unsigned i = 0; i < le16_get(l->n_entries); i++, e++) {
		char *key =
			parent_string(item, bytes, le32_get(e->key_offset), le16_get(e->key_bytes));
		char *value = parent_string(item, bytes, le32_get(e->value_offset),
					    le16_get(e->value_bytes));

		if (key && value)
			parent_take(v, &names, key, value);
		else
			free(value);
		free(key);
	}
	best = names.relative ? names.relative : names.volume ? names.volume : names.absolute;
	v->parent_name = best ? utf16_path_from_windows(best) : NULL;
	free(names.relative);
	free(names.volume);
	free(names.absolute);
	return 0;
}

/* --- metadata --- */

static int metadata_item(struct vhdx *v, const struct vhdx_metadata_wire *w, void *out, u64 bytes)
{
	if (le32_get(w->bytes) < bytes)
		return -EINVAL;
	return vhdx_read(v, v->metadata.offset + le32_get(w->offset), out, bytes);
}

static int metadata_parent(struct vhdx *v, const struct vhdx_metadata_wire *w, struct err *err)
{
	u64 bytes = le32_get(w->bytes);
	AUTO(free_ptr) u8 *item = NULL;
	int r;

	if (bytes > HEADER_LOCATOR_MAX)
		return err_set(err, -EINVAL, "what it says of its parent is too long");
	item = mem_alloc(1, bytes + 1);
	r = metadata_item(v, w, item, bytes);
	return r < 0 ? err_errno(err, r, "metadata") : parent_parse(v, item, bytes, err);
}

/* A user's item is another, though it has the same id. */
static bool metadata_is(const struct vhdx_metadata_wire *w, const u8 id[16])
{
	return !(le32_get(w->flags) & VHDX_META_USER) && memcmp(w->id, id, 16) == 0;
}

static int metadata_take(struct vhdx *v, const struct vhdx_metadata_wire *w, struct err *err)
{
	struct vhdx_parameters_wire p;
	le32 sector;
	le64 size;
	int r = 0;

	if (le32_get(w->bytes) &&
	    (le32_get(w->offset) < VHDX_TABLE_BYTES ||
	     !range_fits(le32_get(w->offset), le32_get(w->bytes), v->metadata.bytes)))
		return err_set(err, -EINVAL, "metadata are not where they can be");
	if (metadata_is(w, vhdx_id_parameters)) {
		r = metadata_item(v, w, &p, sizeof(p));
		v->block_bytes = r == 0 ? le32_get(p.block_bytes) : 0;
		v->is_fixed = r == 0 && le32_get(p.flags) & VHDX_PARAM_FIXED;
		v->has_parent = r == 0 && le32_get(p.flags) & VHDX_PARAM_HAS_PARENT;
	} else if (metadata_is(w, vhdx_id_size)) {
		r = metadata_item(v, w, &size, sizeof(size));
		v->size = r == 0 ? le64_get(size) : 0;
		v->size_at = v->metadata.offset + le32_get(w->offset);
	} else if (metadata_is(w, vhdx_id_sector)) {
		r = metadata_item(v, w, &sector, sizeof(sector));
		v->sector_bytes = r == 0 ? le32_get(sector) : 0;
	} else if (metadata_is(w, vhdx_id_parent)) {
		return metadata_parent(v, w, err);
	} else if (le32_get(w->flags) & VHDX_META_REQUIRED && !metadata_is(w, vhdx_id_disk) &&
		   !metadata_is(w, vhdx_id_physical)) {
		return err_set(err, -ENOTSUP, "it has metadata that are not known, and required");
	}
	return r < 0 ? err_errno(err, r, "metadata") : 0;
}

static int metadata_read(struct vhdx *v, struct err *err)
{
	AUTO(free_ptr) u8 *table = mem_alloc(1, VHDX_TABLE_BYTES);
	const struct vhdx_metadata_head_wire *head = (const void *)table;
	const struct vhdx_metadata_wire *w = (const void *)(table + sizeof(*head));
	int r = vhdx_read(v, v->metadata.offset, table, VHDX_TABLE_BYTES);

	if (r < 0)
		return err_errno(err, r, "cannot read the metadata");
	if (memcmp(head->signature, "metadata", 8) != 0 ||
	    le16_get(head->n_entries) > VHDX_ENTRIES_MAX)
		return err_set(err, -EINVAL, "the metadata are damaged");
	for (unsigned i = 0; i < le16_get(head->n_entries) && r == 0; i++)
		r = metadata_take(v, &w[i], err);
	return r;
}

u64 vhdx_n_entries(const struct vhdx *v, u64 n_blocks)
{
	u64 chunks = (n_blocks + v->chunk_blocks - 1) / v->chunk_blocks;

	return v->has_parent ? chunks * (v->chunk_blocks + 1) : n_blocks + chunks - 1;
}

static int metadata_check(struct vhdx *v, struct err *err)
{
	if (v->block_bytes < VHDX_BLOCK_MIN || v->block_bytes > VHDX_BLOCK_MAX ||
	    !is_power_of_two(v->block_bytes))
		return err_set(err, -EINVAL, "blocks of %lu bytes can't be", v->block_bytes);
	if (v->sector_bytes != 512 && v->sector_bytes != 4096)
		return err_set(err, -EINVAL, "sectors of %u bytes can't be", v->sector_bytes);
	if (!v->size || v->size > VHDX_SIZE_MAX || v->size % v->sector_bytes)
		return err_set(err, -EINVAL, "a disk of %lu bytes can't be", v->size);
	v->n_blocks = (v->size + v->block_bytes - 1) / v->block_bytes;
	v->chunk_blocks = (u32)(((u64)v->sector_bytes << 23) / v->block_bytes);
	if (vhdx_n_entries(v, v->n_blocks) * 8 > v->table_region.bytes)
		return err_set(err, -EINVAL, "the disk's size and the block table disagree");
	return 0;
}

int vhdx_read_all(struct vhdx *v, bool is_readonly, struct err *err)
{
	int r = header_select(v, err);

	if (r == 0)
		r = vhdx_log_read(v, err);
	if (r == 0)
		r = regions_read(v, err);
	if (r == 0 && !is_readonly)
		r = vhdx_log_replay(v, err);
	if (r == 0)
		r = metadata_read(v, err);
	return r == 0 ? metadata_check(v, err) : r;
}
