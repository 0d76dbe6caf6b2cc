/*
 * VHDX, Hyper-V's format: dynamic, fixed, differencing ([MS-VHDX]). This file opens, maps and writes;
 * vhdx_header.c reads what is at the file's start, vhdx_log.c is the log, vhdx_create.c makes and grows,
 * vhdx_check.c checks.
 *
 *     64 KiB each: signature, two headers, two region tables | 1 MiB and on: log, metadata, block table, blocks
 *
 * Every chunk of the block table ends in the entry of a bitmap block, which says of a differencing image's
 * blocks that are partly there which sectors are.
 *
 * A flush flushes data, then writes the tables' changes to the log, flushes that, and puts them in place: a
 * crash between any two writes leaves an image whose log has all that was flushed, and at worst space that
 * nobody uses. Closing empties the log. An image that is opened read only isn't changed: what its log says
 * is seen over what the file says.
 */
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/vhdx_priv.h"

/* --- mapping --- */

u64 vhdx_entry_of_block(const struct vhdx *v, u64 block)
{
	return block + block / v->chunk_blocks;
}

u64 vhdx_entry_of_bitmap(const struct vhdx *v, u64 chunk)
{
	return chunk * (v->chunk_blocks + 1) + v->chunk_blocks;
}

int vhdx_entry(struct vhdx *v, u64 index, u64 *out)
{
	u8 *at;
	int r = img_table_get(&v->map, index * 8, &at);

	if (r == 0)
		*out = le64_load(at);
	return r;
}

int vhdx_set_entry(struct vhdx *v, u64 index, u64 value)
{
	u8 *at;
	int r = img_table_get(&v->map, index * 8, &at);

	if (r < 0)
		return r;
	le64_store(at, value);
	img_table_touch(&v->map, index * 8);
	return 0;
}

/* A bitmap block has 2^23 bits, as many as its chunk has sectors. */
static int vhdx_locate_bitmap(const struct img_table *t, u64 page, unsigned copy, u64 *out)
{
	struct vhdx *v = t->opaque;
	u64 pages_each = MIB / t->page_bytes, entry;
	int r = vhdx_entry(v, vhdx_entry_of_bitmap(v, page / pages_each), &entry);

	(void)copy;
	if (r < 0)
		return r;
	if (VHDX_STATE(entry) != VHDX_PRESENT || VHDX_PLACE(entry) < VHDX_ALIGN ||
	    VHDX_PLACE(entry) > BLK_SIZE_MAX)
		return -EIO; /* a block is partly there, and nothing says which part */
	*out = VHDX_PLACE(entry) + page % pages_each * t->page_bytes;
	return 0;
}

static int vhdx_map_partly(struct vhdx *v, u64 offset, struct img_run *run)
{
	u64 first = offset / v->sector_bytes, n;
	u64 last = (offset + run->bytes - 1) / v->sector_bytes;
	bool is_set;
	int r = img_table_bits(&v->bitmaps, first, last - first + 1, false, &is_set, &n);

	if (r < 0)
		return r;
	run->kind = is_set ? IMG_RUN_DATA : IMG_RUN_BENEATH;
	run->bytes = MIN(run->bytes, (first + n) * v->sector_bytes - offset);
	return 0;
}

static int vhdx_map(struct img_blocks *b, u64 offset, u64 bytes, struct img_run *out)
{
	struct vhdx *v = vhdx_of(b);
	u64 inside = offset % v->block_bytes, entry, place;
	int r = vhdx_entry(v, vhdx_entry_of_block(v, offset / v->block_bytes), &entry);

	if (r < 0)
		return r;
	*out = (struct img_run){.kind = IMG_RUN_ZERO, .bytes = MIN(bytes, v->block_bytes - inside)};
	place = VHDX_PLACE(entry);
	switch (VHDX_STATE(entry)) {
	case VHDX_NOT_PRESENT:
		out->kind = IMG_RUN_BENEATH;
		return 0;
	case VHDX_UNDEFINED:
	case VHDX_ZERO:
	case VHDX_UNMAPPED:
		return 0;
	case VHDX_PRESENT:
	case VHDX_PARTLY:
		break;
	default:
		return -EIO;
	}
	if (place < VHDX_ALIGN || place > BLK_SIZE_MAX)
		return -EIO;
	out->kind = IMG_RUN_DATA;
	out->has_place = true;
	out->file = b->file;
	out->host = place + inside;
	if (VHDX_STATE(entry) == VHDX_PRESENT)
		return 0;
	r = v->has_parent ? vhdx_map_partly(v, offset, out) : -EIO;
	if (r == 0)
		out->host = place + inside;
	return r;
}

/* --- writing --- */

static int vhdx_take_space(struct vhdx *v, u64 bytes, u64 *out, bool *out_is_zeroed)
{
	struct blk *file = v->blocks.file;
	u64 at = align_up(v->data_end, VHDX_ALIGN), old_end = file->size;
	struct err err;
	int r = 0;

	if (old_end < at + bytes)
		r = blk_resize(file, at + bytes, &err);
	if (r < 0)
		return r;
	*out = at;
	*out_is_zeroed = at >= old_end;
	v->data_end = at + bytes;
	return 0;
}

/* A differencing image's chunk gets its bitmap with its first block. */
static int vhdx_place_bitmap(struct vhdx *v, u64 chunk)
{
	u64 index = vhdx_entry_of_bitmap(v, chunk), entry, at;
	bool is_zeroed;
	int r = vhdx_entry(v, index, &entry);

	if (r < 0 || VHDX_STATE(entry) == VHDX_PRESENT)
		return r;
	r = vhdx_take_space(v, MIB, &at, &is_zeroed);
	if (r == 0 && !is_zeroed)
		r = blk_write_zeroes(v->blocks.file, at, MIB, false);
	return r == 0 ? vhdx_set_entry(v, index, at | VHDX_PRESENT) : r;
}

static int vhdx_place(struct img_blocks *b, u64 offset, struct img_place *out)
{
	struct vhdx *v = vhdx_of(b);
	u64 block = offset / v->block_bytes, host;
	bool is_zeroed;
	int r = v->has_parent ? vhdx_place_bitmap(v, block / v->chunk_blocks) : 0;

	if (r == 0)
		r = vhdx_take_space(v, v->block_bytes, &host, &is_zeroed);
	if (r < 0)
		return r;
	*out = (struct img_place){.start = block * v->block_bytes,
				  .bytes = v->block_bytes,
				  .file = b->file,
				  .host = host,
				  .is_zeroed = is_zeroed};
	return 0;
}

static void vhdx_unplace(struct img_blocks *b, const struct img_place *p)
{
	struct vhdx *v = vhdx_of(b);

	if (p->host + p->bytes == v->data_end)
		v->data_end = p->host;
}

/* What wasn't there at all may be beneath; what was zeros is zeros in the parts that weren't written. */
static int vhdx_link(struct img_blocks *b, const struct img_place *p)
{
	struct vhdx *v = vhdx_of(b);
	u64 index = vhdx_entry_of_block(v, p->start / v->block_bytes), entry;
	int r = vhdx_entry(v, index, &entry);
	bool is_partly = v->has_parent && VHDX_STATE(entry) == VHDX_NOT_PRESENT;

	return r < 0 ? r
		     : vhdx_set_entry(v, index, p->host | (is_partly ? VHDX_PARTLY : VHDX_PRESENT));
}

static int vhdx_written_in_block(struct vhdx *v, u64 offset, u64 bytes)
{
	u64 first = offset / v->sector_bytes, last = (offset + bytes - 1) / v->sector_bytes, entry;
	int r = vhdx_entry(v, vhdx_entry_of_block(v, offset / v->block_bytes), &entry);

	if (r < 0 || VHDX_STATE(entry) != VHDX_PARTLY)
		return r;
	return img_table_set_bits(&v->bitmaps, first, last - first + 1, false);
}

static int vhdx_written(struct img_blocks *b, u64 offset, u64 bytes, bool is_zero)
{
	struct vhdx *v = vhdx_of(b);
	int r = 0;

	(void)is_zero;
	while (v->has_parent && bytes && r == 0) {
		u64 n = MIN(bytes, v->block_bytes - offset % v->block_bytes);

		r = vhdx_written_in_block(v, offset, n);
		offset += n;
		bytes -= n;
	}
	return r;
}

static int vhdx_collect(struct img_blocks *b, struct img_batch *batch)
{
	struct vhdx *v = vhdx_of(b);
	int r = img_table_collect(&v->map, batch);

	return r == 0 && v->has_parent ? img_table_collect(&v->bitmaps, batch) : r;
}

static void vhdx_free(struct vhdx *v)
{
	img_table_fini(&v->map);
	img_table_fini(&v->bitmaps);
	img_batch_fini(&v->replayed);
	free(v->parent_name);
}

static void vhdx_close(struct img_blocks *b)
{
	struct vhdx *v = vhdx_of(b);

	/* What couldn't be written stays in the log; who opens it next sees to that. */
	if (v->is_log_used && !b->unwritten.n && blk_flush(b->file) == 0)
		(void)vhdx_log_end(v);
	vhdx_free(v);
}

/* --- what it says of itself --- */

static int vhdx_info(struct blk *b, struct img_info *out, struct err *err)
{
	const struct vhdx *v = vhdx_of(img_blocks_of(b));
	const char *type = v->has_parent ? "differencing" : v->is_fixed ? "fixed" : "dynamic";
	char id[IMG_GUID_TEXT];

	(void)err;
	img_guid_print(v->header.data_write_id, id);
	*out = (struct img_info){
		.cluster_bytes = v->block_bytes,
		.backing_name = str_dup(v->parent_name),
		.backing_format = v->parent_name ? str_dup("vhdx") : NULL,
		.is_dirty = v->replayed.n,
		.specific = json_pack("{s:s, s:I, s:i, s:I, s:s}", "create-type", type,
				      "block-size", (json_int_t)v->block_bytes,
				      "logical-sector-size", (int)v->sector_bytes, "log-size",
				      (json_int_t)v->log.bytes, "data-write-guid", id),
	};
	return 0;
}

static void vhdx_child(const struct vhdx *v, struct img_child *out)
{
	*out = (struct img_child){.role = IMG_BACKING,
				  .name = v->parent_name,
				  .format = "vhdx",
				  .id = v->n_parent_ids ? v->parent_ids[0] : NULL};
}

static int vhdx_children(struct blk *b, int (*each)(void *opaque, const struct img_child *child),
			 void *opaque)
{
	const struct vhdx *v = vhdx_of(img_blocks_of(b));
	struct img_child child;

	vhdx_child(v, &child);
	return v->has_parent && v->parent_name ? each(opaque, &child) : 0;
}

static struct blk *vhdx_backing(struct blk *b)
{
	return img_blocks_of(b)->backing;
}

static const struct image_ops vhdx_image_ops = {
	.format = &img_vhdx,
	.info = vhdx_info,
	.check = vhdx_check,
	.children = vhdx_children,
	.backing = vhdx_backing,
};

const u8 *vhdx_data_id(struct blk *b)
{
	return b->image == &vhdx_image_ops ? vhdx_of(img_blocks_of(b))->header.data_write_id : NULL;
}

/* --- opening --- */

static int vhdx_probe(const struct img_probe *p)
{
	return p->head_bytes >= 8 && memcmp(p->head, "vhdxfile", 8) == 0 ? 100 : 0;
}

static int vhdx_use_tables(struct vhdx *v)
{
	u64 chunks = (v->n_blocks + v->chunk_blocks - 1) / v->chunk_blocks;
	int r;

	v->map = (struct img_table){.file = v->blocks.file,
				    .patches = &v->replayed,
				    .offset = v->table_region.offset,
				    .bytes = v->table_region.bytes,
				    .page_bytes = IMG_TABLE_PAGE,
				    .unit = VHDX_LOG_SECTOR,
				    .n_copies = 1};
	v->bitmaps = (struct img_table){.file = v->blocks.file,
					.patches = &v->replayed,
					.bytes = chunks * MIB,
					.page_bytes = IMG_TABLE_PAGE,
					.unit = VHDX_LOG_SECTOR,
					.n_copies = 1,
					.locate = vhdx_locate_bitmap,
					.opaque = v};
	r = img_table_init(&v->map);
	return r == 0 && v->has_parent ? img_table_init(&v->bitmaps) : r;
}

static bool vhdx_is_parent(const struct vhdx *v, const u8 *id)
{
	for (unsigned i = 0; i < v->n_parent_ids; i++) {
		if (memcmp(v->parent_ids[i], id, 16) == 0)
			return true;
	}
	return false;
}

static int vhdx_open_parent(struct vhdx *v, const struct img_open_options *o, struct err *err)
{
	struct img_child child;
	struct blk *parent;
	const u8 *id;
	int r;

	if (!v->has_parent || o->is_alone)
		return 0;
	if (!v->parent_name || !v->n_parent_ids)
		return err_set(err, -EINVAL, "it doesn't say what its parent is");
	vhdx_child(v, &child);
	r = img_open_child(o, &child, &parent, err);
	if (r < 0)
		return err_wrap(err, "parent '%s'", v->parent_name);
	id = vhdx_data_id(parent);
	if (id && !vhdx_is_parent(v, id)) {
		blk_free(parent);
		return err_set(err, -EINVAL,
			       "'%s' is another image than its parent, or was changed since",
			       v->parent_name);
	}
	if (id && parent->block_size != v->sector_bytes) {
		err_set(err, -EINVAL, "its sectors have %u bytes, and those of its parent '%s' %u",
			v->sector_bytes, v->parent_name, parent->block_size);
		blk_free(parent);
		return err->code;
	}
	img_blocks_set_backing(&v->blocks, parent);
	return 0;
}

static const struct img_blocks_ops vhdx_blocks_ops = {
	.map = vhdx_map,
	.place = vhdx_place,
	.unplace = vhdx_unplace,
	.link = vhdx_link,
	.written = vhdx_written,
	.begin = vhdx_log_begin,
	.collect = vhdx_collect,
	.commit = vhdx_log_commit,
	.resize = vhdx_resize,
	.close = vhdx_close,
};

static int vhdx_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		     struct err *err)
{
	AUTO(free_ptr) struct vhdx *v = NEW(struct vhdx);
	struct blk *b = &v->blocks.node.blk;
	int r;

	v->blocks.file = file;
	r = vhdx_read_all(v, o->is_readonly, err);
	if (r == 0 && vhdx_use_tables(v) < 0)
		r = err_set(err, -ENOMEM, "no memory for the block table");
	if (r == 0)
		r = img_blocks_init(&v->blocks, &vhdx_blocks_ops, &vhdx_image_ops, file, o->loop,
				    "vhdx", err);
	if (r < 0) {
		vhdx_free(v);
		return r;
	}
	b->size = v->size;
	b->block_size = v->sector_bytes;
	b->is_readonly = o->is_readonly;
	v->blocks.has_bitmaps = true;
	v->data_end = align_up(file->size, VHDX_ALIGN);
	r = vhdx_open_parent(v, o, err);
	if (r < 0) {
		blk_node_remove_child(&v->blocks.node, file);
		blk_free(&take(v)->blocks.node.blk);
		return r;
	}
	*out = &take(v)->blocks.node.blk;
	return 0;
}

const struct img_format img_vhdx = {
	.name = "vhdx",
	.description = "VHDX of Hyper-V: dynamic, fixed, differencing",
	.probe = vhdx_probe,
	.open = vhdx_open,
	.create = vhdx_create,
	.create_options = vhdx_create_options,
	.can_back = true,
};
