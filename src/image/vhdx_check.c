/*
 * VHDX: is the image sound? Whether each block has a place of its own, and is in the file.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/check.h"
#include "image/vhdx_priv.h"

/* MiBs of the file that are somebody's. */
struct used {
	u8 *bits;
	u64 n;
};

/* false: some of it was used already. */
static bool check_use(struct used *u, u64 offset, u64 bytes)
{
	bool is_free = true;

	for (u64 i = offset / MIB; i < (offset + bytes + MIB - 1) / MIB && i < u->n; i++) {
		is_free &= !(u->bits[i / 8] & 1 << i % 8);
		u->bits[i / 8] |= (u8)(1 << i % 8);
	}
	return is_free;
}

static void check_place(const struct vhdx *v, u64 index, u64 entry, u64 bytes, struct used *u,
			struct img_check *c)
{
	u64 at = VHDX_PLACE(entry);

	c->allocated++;
	if (!range_fits(at, bytes, align_up(v->blocks.file->size, MIB)))
		img_check_corruption(c, "entry %lu's block is at %#lx, behind the file's end",
				     index, at);
	else if (!check_use(u, at, bytes))
		img_check_corruption(c, "entry %lu's block shares what is at %#lx", index, at);
	c->end_offset = MAX(c->end_offset, at + bytes);
}

static void check_entry(const struct vhdx *v, u64 index, u64 entry, struct used *u,
			struct img_check *c)
{
	bool is_bitmap = (index + 1) % (v->chunk_blocks + 1) == 0;
	u64 state = VHDX_STATE(entry);

	if (state == VHDX_PRESENT)
		check_place(v, index, entry, is_bitmap ? MIB : v->block_bytes, u, c);
	else if (state == VHDX_PARTLY && !is_bitmap && v->has_parent)
		check_place(v, index, entry, v->block_bytes, u, c);
	else if (state > VHDX_UNMAPPED || (is_bitmap && state != VHDX_NOT_PRESENT))
		img_check_corruption(c, "entry %lu has the state %lu, which can't be", index,
				     state);
}

int vhdx_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err)
{
	struct vhdx *v = vhdx_of(img_blocks_of(b));
	struct used u = {.n = v->blocks.file->size / MIB + 1};
	AUTO(free_ptr) u8 *bits = alloc_try(1, u.n / 8 + 1);
	u64 n = vhdx_n_entries(v, v->n_blocks);
	int r = bits ? 0 : -ENOMEM;

	(void)repair; /* opening it to write has replayed its log; blocks can't be guessed */
	u.bits = bits;
	c->clusters = v->n_blocks;
	if (r == 0) {
		check_use(&u, 0, MIB);
		check_use(&u, v->log.offset, v->log.bytes);
		check_use(&u, v->metadata.offset, v->metadata.bytes);
		check_use(&u, v->table_region.offset, v->table_region.bytes);
	}
	for (u64 i = 0; i < n && r == 0; i++) {
		u64 entry;

		r = vhdx_entry(v, i, &entry);
		if (r == 0)
			check_entry(v, i, entry, &u, c);
	}
	return r < 0 ? err_errno(err, r, "block table") : 0;
}
