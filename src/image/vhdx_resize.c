/*
 * VHDX: another size. Entries and the size go through the log. A block table that has no room is moved before.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/vhdx_priv.h"

/* --- a larger block table --- */

/* The old table's entries, as they are in the file: all was flushed. */
static int move_copy(struct vhdx *v, u64 to)
{
	u64 bytes = vhdx_n_entries(v, v->n_blocks) * 8;
	AUTO(free_ptr) u8 *buf = alloc_try(1, MIB);
	int r = buf ? 0 : -ENOMEM;

	for (u64 done = 0; done < bytes && r == 0; done += MIB) {
		u64 n = MIN(bytes - done, MIB);

		r = blk_read(v->blocks.file, v->table_region.offset + done, buf, n);
		if (r == 0)
			r = blk_write(v->blocks.file, to + done, buf, n);
	}
	return r == 0 ? blk_flush(v->blocks.file) : r;
}

static int move_write(struct vhdx *v, unsigned copy, const u8 *table)
{
	int r = blk_write(v->blocks.file, VHDX_REGIONS_AT(copy), table, VHDX_TABLE_BYTES);

	return r == 0 ? blk_flush(v->blocks.file) : r;
}

/*
 * The region tables aren't in the log's reach. The second is written first: it counts only where the first is
 * torn, and then says the new place, too. If writing the first fails, nobody knows what it says, and it is made
 * what it was; or no entry may change any more.
 */
static int move_commit(struct vhdx *v, const u8 *table, const u8 *old)
{
	int r = move_write(v, 1, table);

	if (r < 0)
		return r;
	r = move_write(v, 0, table);
	if (r < 0 && move_write(v, 0, old) < 0)
		v->is_table_lost = true;
	return r;
}

static int move_regions(struct vhdx *v, const struct vhdx_region *to)
{
	AUTO(free_ptr) u8 *table = alloc_try(2, VHDX_TABLE_BYTES);
	u8 *old = table + VHDX_TABLE_BYTES;
	struct vhdx_table_head_wire *head = (void *)table;
	struct vhdx_region_wire *w;
	int r = table ? vhdx_read_regions(v, table) : -ENOMEM;

	if (r < 0)
		return r;
	memcpy(old, table, VHDX_TABLE_BYTES);
	w = (void *)(table + sizeof(*head));
	for (u32 i = 0; i < le32_get(head->n_entries); i++, w++) {
		if (memcmp(w->id, vhdx_id_table, 16) != 0)
			continue;
		w->offset = le64_of(to->offset);
		w->bytes = le32_of((u32)to->bytes);
	}
	head->checksum = le32_of(vhdx_checksum(table, VHDX_TABLE_BYTES));
	return move_commit(v, table, old);
}

/*
 * To the file's end, where there are zeros: it is there, whole, before anything says so. The old one's space
 * stays unused.
 */
static int move_table(struct vhdx *v, u64 n_blocks, struct err *err)
{
	struct vhdx_region to = {
		.offset = align_up(MAX(v->data_end, v->blocks.file->size), VHDX_ALIGN),
		.bytes = align_up(vhdx_n_entries(v, n_blocks) * 8, VHDX_ALIGN)};
	int r = blk_resize(v->blocks.file, to.offset + to.bytes, err);

	if (r < 0)
		return r;
	r = move_copy(v, to.offset);
	if (r == 0)
		r = move_regions(v, &to);
	if (r < 0)
		return err_errno(err, r, "cannot move its block table");
	v->table_region = to;
	v->data_end = to.offset + to.bytes;
	img_table_fini(&v->map);
	v->map.offset = to.offset;
	v->map.bytes = to.bytes;
	r = img_table_init(&v->map);
	return r < 0 ? err_errno(err, r, "no memory for its block table") : 0;
}

/* --- another size --- */

/* New entries say that nothing is there, whatever the table's room held; through the log, as the size. */
static int resize_clear(struct vhdx *v, u64 n_blocks)
{
	u64 from = vhdx_n_entries(v, v->n_blocks), to = vhdx_n_entries(v, n_blocks);
	int r = 0;

	for (u64 i = from; i < to && r == 0; i++) {
		u8 *at;

		r = img_table_get(&v->map, i * 8, &at);
		if (r < 0 || !le64_load(at))
			continue;
		le64_store(at, 0);
		img_table_touch(&v->map, i * 8);
	}
	return r == 0 ? img_blocks_flush(&v->blocks) : r;
}

static int resize_write_size(struct vhdx *v, u64 size)
{
	u64 sector = align_down(v->size_at, VHDX_LOG_SECTOR), inside = v->size_at - sector;
	u8 data[VHDX_LOG_SECTOR];
	struct img_batch batch = {0};
	int r;

	if (inside + 8 > sizeof(data))
		return -ENOTSUP;
	r = blk_read(v->blocks.file, sector, data, sizeof(data));
	le64_store(data + inside, size);
	if (r == 0)
		r = img_batch_add(&batch, v->blocks.file, sector, data, sizeof(data));
	if (r == 0)
		r = vhdx_log_commit(&v->blocks, &batch);
	img_batch_fini(&batch);
	return r;
}

/* Of a fixed image: places for the new blocks, in what was no part of the file before, and so is zeros. */
static int resize_place(struct vhdx *v, u64 n_blocks, struct err *err)
{
	u64 at = align_up(MAX(v->data_end, v->blocks.file->size), VHDX_ALIGN);
	u64 end = at + (n_blocks - v->n_blocks) * v->block_bytes;
	int r = blk_resize(v->blocks.file, end, err);

	if (r < 0)
		return r;
	for (u64 block = v->n_blocks; block < n_blocks && r == 0; block++, at += v->block_bytes)
		r = vhdx_set_entry(v, vhdx_entry_of_block(v, block), at | VHDX_PRESENT);
	if (r == 0)
		r = img_blocks_flush(&v->blocks);
	v->data_end = end;
	return r < 0 ? err_errno(err, r, "cannot write its block table") : 0;
}

int vhdx_resize(struct img_blocks *b, u64 size, struct err *err)
{
	struct vhdx *v = vhdx_of(b);
	u64 n_blocks = (size + v->block_bytes - 1) / v->block_bytes;
	int r;

	if (size < b->node.blk.size)
		return err_set(err, -ENOTSUP,
			       "a VHDX image can't be made smaller: convert it to a raw or a qcow2 "
			       "image, which can");
	if (v->has_parent)
		return err_set(
			err, -ENOTSUP,
			"the size of a differencing VHDX image is its parent's: convert it to "
			"a new image (posada image convert)");
	if (size > VHDX_SIZE_MAX || size % v->sector_bytes)
		return err_set(err, -EFBIG, "a VHDX image can't have this size");
	if (vhdx_n_entries(v, n_blocks) * 8 > v->table_region.bytes) {
		r = move_table(v, n_blocks, err);
		if (r < 0)
			return r;
	}
	r = resize_clear(v, n_blocks);
	if (r < 0)
		return err_errno(err, r, "cannot write it");
	if (v->is_fixed)
		r = resize_place(v, n_blocks, err);
	if (r < 0)
		return r;
	r = resize_write_size(v, size);
	if (r < 0)
		return err_errno(err, r, "cannot write it");
	v->size = size;
	v->n_blocks = n_blocks;
	return 0;
}
