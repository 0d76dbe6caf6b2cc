/*
 * VHD: is the image sound? Footers, and whether each block has a place of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/check.h"
#include "image/vhd_priv.h"

static int check_by_place(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

/* The places, sorted: each begins where the one before has ended, at the earliest. */
static void check_places(const struct vhd *v, u32 *places, u64 n, struct img_check *c)
{
	u64 bytes = v->bitmap_bytes + v->block_bytes;
	u64 table = be64_get(v->header.table_offset), end = 0;

	qsort(places, n, sizeof(*places), check_by_place);
	for (u64 i = 0; i < n; i++) {
		u64 at = (u64)places[i] * BLK_SECTOR;

		if (at < sizeof(v->footer) + sizeof(v->header) ||
		    range_overlaps(at, bytes, table, v->map.bytes))
			img_check_corruption(
				c, "a block is at %#lx, over the header or the block table", at);
		else if (at < end)
			img_check_corruption(c, "two blocks share what is at %#lx", at);
		else if (at + bytes > v->data_end)
			img_check_corruption(c, "a block is at %#lx, behind the file's end", at);
		end = MAX(end, at + bytes);
	}
	c->end_offset = MAX(c->end_offset, end);
}

static int check_table(struct vhd *v, struct img_check *c)
{
	u64 n_entries = be32_get(v->header.n_entries), n = 0;
	AUTO(free_ptr) u32 *places = alloc_try(n_entries + 1, sizeof(u32));
	int r = places ? 0 : -ENOMEM;

	for (u64 i = 0; i < n_entries && r == 0; i++) {
		r = vhd_entry(v, i, &places[n]);
		n += r == 0 && places[n] != VHD_UNUSED;
	}
	if (r < 0)
		return r;
	c->clusters = n_entries;
	c->allocated = n;
	check_places(v, places, n, c);
	return 0;
}

static int check_footers(struct vhd *v, unsigned repair, struct img_check *c)
{
	unsigned n_bad = v->is_head_bad + (v->footer_written != v->data_end);
	int r;

	if (v->is_head_bad)
		img_check_corruption(c, "the footer's copy at the start is damaged");
	if (v->footer_written != v->data_end)
		img_check_corruption(c, "the footer at the end is missing");
	if (!n_bad || !(repair & IMG_REPAIR_ALL))
		return 0;
	r = v->is_head_bad ? blk_write(v->blocks.file, 0, &v->footer, sizeof(v->footer)) : 0;
	v->blocks.is_changed = true;
	if (r == 0)
		r = img_blocks_flush(&v->blocks);
	if (r < 0)
		return r;
	v->is_head_bad = false;
	c->corruptions -= n_bad;
	c->corruptions_fixed += n_bad;
	return 0;
}

int vhd_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err)
{
	struct vhd *v = vhd_of(img_blocks_of(b));
	int r = check_footers(v, repair, c);

	c->end_offset = v->data_end + sizeof(v->footer);
	if (r == 0 && vhd_type(v) != VHD_FIXED)
		r = check_table(v, c);
	return r < 0 ? err_errno(err, r, "cannot check it") : 0;
}
