/*
 * VMDK: is the image sound? Whether grains are in the file and have places of their own, and the two copies
 * of the tables agree.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/check.h"
#include "image/vmdk_priv.h"

static void check_grain(const struct vmdk_extent *e, u64 grain, u32 gte, u8 *used,
			struct img_check *c)
{
	u64 at = (u64)gte * BLK_SECTOR, unit = at / e->grain_bytes;

	if (gte == 0 || (gte == 1 && e->has_zeroed))
		return;
	c->allocated++;
	c->compressed += e->is_packed;
	if (at >= e->file->size || (!e->is_packed && !range_fits(at, BLK_SECTOR, e->file->size)))
		img_check_corruption(c, "grain %lu is at %#lx, behind the file's end", grain, at);
	else if (!e->is_packed && used[unit / 8] & 1 << unit % 8)
		img_check_corruption(c, "grain %lu shares what is at %#lx", grain, at);
	else
		used[unit / 8] |= (u8)(1 << unit % 8);
}

static int check_grains(struct vmdk_extent *e, struct img_check *c)
{
	AUTO(free_ptr) u8 *used = alloc_try(1, e->file->size / e->grain_bytes / 8 + 1);
	u64 n = (e->bytes + e->grain_bytes - 1) / e->grain_bytes;
	int r = used ? 0 : -ENOMEM;

	c->clusters += n;
	c->end_offset = MAX(c->end_offset, e->file->size);
	for (u64 i = 0; i < n && r == 0; i++) {
		u32 gte;

		r = vmdk_gte(e, i * e->grain_bytes, &gte);
		if (r == 0)
			check_grain(e, i, gte, used, c);
	}
	return r;
}

/* Where both directories say nothing, there is no table yet. */
static int check_no_copy(struct vmdk_extent *e, u64 table, struct img_check *c)
{
	u8 *at;
	int r = img_table_get(&e->gd, table * 4, &at);

	if (r == 0 && le32_load(at))
		img_check_corruption(c, "table %lu has no copy", table);
	return r;
}

/* The second copy of a table is as the first; repair makes it so. */
static int check_copy(struct vmdk_extent *e, u64 table, unsigned repair, struct img_check *c)
{
	u8 copy[VMDK_GTES * 4], *first, *at;
	u64 place;
	int r = img_table_get(&e->rgd, table * 4, &at);

	if (r == 0)
		r = img_table_get(&e->gts, table * e->table_bytes, &first);
	if (r < 0)
		return r;
	place = (u64)le32_load(at) * BLK_SECTOR;
	if (!place)
		return check_no_copy(e, table, c);
	if (!range_fits(place, e->table_bytes, e->file->size)) {
		img_check_corruption(c, "table %lu's copy is not in the file", table);
		return 0;
	}
	r = blk_read(e->file, place, copy, e->table_bytes);
	if (r < 0 || memcmp(copy, first, e->table_bytes) == 0)
		return r;
	img_check_corruption(c, "table %lu and its copy differ", table);
	if (!(repair & IMG_REPAIR_ALL))
		return 0;
	c->corruptions--;
	c->corruptions_fixed++;
	return blk_write(e->file, place, first, e->table_bytes);
}

static int check_extent(struct vmdk_extent *e, unsigned repair, struct img_check *c)
{
	int r = check_grains(e, c);

	for (u64 i = 0; i < e->n_tables && e->rgd.pages && r == 0; i++)
		r = check_copy(e, i, repair, c);
	return r;
}

int vmdk_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err)
{
	struct vmdk *v = vmdk_of(img_blocks_of(b));
	int r = 0;

	for (unsigned i = 0; i < v->n_extents && r == 0; i++) {
		if (v->extents[i].kind == VMDK_SPARSE)
			r = check_extent(&v->extents[i], repair, c);
	}
	if (r == 0 && c->corruptions_fixed)
		r = img_blocks_flush(&v->blocks);
	return r < 0 ? err_errno(err, r, "tables") : 0;
}
