/*
 * VHD, the format of Virtual PC and of Hyper-V's first generation, which qemu-img calls vpc: fixed,
 * dynamic, differencing. This file opens, maps and writes; vhd_create.c makes and grows;
 * vhd_check.c checks.
 *
 *     fixed:    the disk | footer
 *     others:   copy of the footer | header | block table | blocks, each after its bitmap of sectors | footer
 *
 * The footer at the end decides. (In a fixed image the start is the guest's: it could say anything there.)
 * Where it isn't whole, the copy is used: a new block may take the footer's place before a
 * new one is written behind it.
 *
 * A sector whose bit isn't set is beneath: the parent's, or zeros. A new block's bitmap is written and
 * flushed before the table leads to it: all ones in a dynamic image, zeros in a differencing one, where
 * bits are set by the flush that follows the data's. So a crash between any two writes leaves an image
 * that opens and has what was flushed, and at worst space that nobody uses.
 */
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/vhd_priv.h"

#define VHD_BLOCK_MIN    (4 * KIB)
#define VHD_BLOCK_MAX    (128 * MIB)
#define VHD_ENTRIES_MAX  (1u << 24)
#define VHD_DATA_ALIGN   (4 * KIB) /* of a new block's data */
#define VHD_GEOMETRY_MAX (65535u * 16 * 255)

/* --- structures --- */

u32 vhd_checksum(const void *structure, size_t bytes, size_t at)
{
	const u8 *p = structure;
	u32 sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum += i >= at && i < at + 4 ? 0 : p[i];
	return ~sum;
}

void vhd_seal_footer(struct vhd_footer_wire *f)
{
	f->checksum =
		be32_of(vhd_checksum(f, sizeof(*f), offsetof(struct vhd_footer_wire, checksum)));
}

void vhd_seal_header(struct vhd_header_wire *h)
{
	h->checksum =
		be32_of(vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header_wire, checksum)));
}

bool vhd_is_footer(const struct vhd_footer_wire *f)
{
	return memcmp(f->cookie, VHD_COOKIE, sizeof(f->cookie)) == 0 &&
	       be32_get(f->checksum) ==
		       vhd_checksum(f, sizeof(*f), offsetof(struct vhd_footer_wire, checksum));
}

/* --- mapping --- */

int vhd_entry(struct vhd *v, u64 block, u32 *out)
{
	u8 *at;
	int r = img_table_get(&v->map, block * 4, &at);

	if (r == 0)
		*out = be32_load(at);
	return r;
}

static u64 vhd_bit(const struct vhd *v, u64 offset)
{
	return offset / v->block_bytes * v->bitmap_bytes * 8 + offset % v->block_bytes / BLK_SECTOR;
}

static int vhd_map_fixed(struct img_blocks *b, u64 offset, u64 bytes, struct img_run *out)
{
	*out = (struct img_run){.kind = IMG_RUN_DATA,
				.has_place = true,
				.file = b->file,
				.host = offset,
				.bytes = bytes};
	return 0;
}

static int vhd_map(struct img_blocks *b, u64 offset, u64 bytes, struct img_run *out)
{
	struct vhd *v = vhd_of(b);
	u64 inside = offset % v->block_bytes, n = MIN(bytes, v->block_bytes - inside), sectors;
	bool is_set;
	u32 entry;
	int r = vhd_entry(v, offset / v->block_bytes, &entry);

	if (r < 0)
		return r;
	*out = (struct img_run){.kind = IMG_RUN_BENEATH, .bytes = n};
	if (entry == VHD_UNUSED)
		return 0;
	r = img_table_bits(&v->bitmaps, vhd_bit(v, offset), (n + BLK_SECTOR - 1) / BLK_SECTOR, true,
			   &is_set, &sectors);
	if (r < 0)
		return r;
	if (is_set)
		out->kind = IMG_RUN_DATA;
	out->has_place = true;
	out->file = b->file;
	out->host = (u64)entry * BLK_SECTOR + v->bitmap_bytes + inside;
	out->bytes = MIN(n, sectors * BLK_SECTOR);
	return 0;
}

static int vhd_locate_bitmap(const struct img_table *t, u64 page, unsigned copy, u64 *out)
{
	u32 entry;
	int r = vhd_entry(t->opaque, page, &entry);

	(void)copy;
	if (r == 0)
		*out = entry == VHD_UNUSED ? 0 : (u64)entry * BLK_SECTOR;
	return r;
}

/* --- writing --- */

static int vhd_place(struct img_blocks *b, u64 offset, struct img_place *out)
{
	struct vhd *v = vhd_of(b);
	u64 host = align_up(v->data_end + v->bitmap_bytes, VHD_DATA_ALIGN);
	u64 end = host + v->block_bytes, old_end = b->file->size;
	AUTO(free_ptr) u8 *bitmap = alloc_try(1, v->bitmap_bytes);
	struct err err;
	int r = 0;

	if (!bitmap)
		return -ENOMEM;
	if ((host - v->bitmap_bytes) / BLK_SECTOR >= VHD_UNUSED)
		return -ENOSPC;
	if (vhd_type(v) == VHD_DYNAMIC)
		memset(bitmap, 0xff, v->bitmap_bytes);
	if (old_end < end + BLK_SECTOR)
		r = blk_resize(b->file, end + BLK_SECTOR, &err);
	if (r == 0)
		r = blk_write(b->file, host - v->bitmap_bytes, bitmap, v->bitmap_bytes);
	if (r < 0)
		return r;
	*out = (struct img_place){.start = offset / v->block_bytes * v->block_bytes,
				  .bytes = v->block_bytes,
				  .file = b->file,
				  .host = host,
				  .is_zeroed = host >= old_end};
	v->data_end = end;
	return 0;
}

static void vhd_unplace(struct img_blocks *b, const struct img_place *p)
{
	struct vhd *v = vhd_of(b);

	if (p->host + p->bytes == v->data_end)
		v->data_end = p->host - v->bitmap_bytes;
}

static int vhd_link(struct img_blocks *b, const struct img_place *p)
{
	struct vhd *v = vhd_of(b);
	u64 at = p->start / v->block_bytes * 4;
	u8 *entry;
	int r = img_table_get(&v->map, at, &entry);

	if (r < 0)
		return r;
	be32_store(entry, (u32)((p->host - v->bitmap_bytes) / BLK_SECTOR));
	img_table_touch(&v->map, at);
	return 0;
}

static int vhd_written(struct img_blocks *b, u64 offset, u64 bytes, bool is_zero)
{
	struct vhd *v = vhd_of(b);
	u64 end = offset + bytes;
	int r = 0;

	(void)is_zero;
	while (r == 0 && offset < end) {
		u64 n = MIN(end - offset, v->block_bytes - offset % v->block_bytes);

		r = img_table_set_bits(&v->bitmaps, vhd_bit(v, offset),
				       (n + BLK_SECTOR - 1) / BLK_SECTOR, true);
		offset += n;
	}
	return r;
}

static int vhd_prepare(struct img_blocks *b)
{
	struct vhd *v = vhd_of(b);
	u64 end = v->data_end;
	int r;

	if (v->footer_written == end)
		return 0;
	r = blk_write(b->file, end, &v->footer, sizeof(v->footer));
	if (r == 0)
		v->footer_written = end;
	return r;
}

static int vhd_collect(struct img_blocks *b, struct img_batch *batch)
{
	struct vhd *v = vhd_of(b);
	int r = img_table_collect(&v->map, batch);

	return r == 0 ? img_table_collect(&v->bitmaps, batch) : r;
}

static void vhd_close(struct img_blocks *b)
{
	struct vhd *v = vhd_of(b);

	img_table_fini(&v->map);
	img_table_fini(&v->bitmaps);
	free(v->parent_name);
}

/* --- what it says of itself --- */

static const char *vhd_type_name(const struct vhd *v)
{
	static const char *const names[] = {[VHD_FIXED] = "fixed",
					    [VHD_DYNAMIC] = "dynamic",
					    [VHD_DIFFERENCING] = "differencing"};

	return names[vhd_type(v)];
}

static int vhd_info(struct blk *b, struct img_info *out, struct err *err)
{
	const struct vhd *v = vhd_of(img_blocks_of(b));
	char id[IMG_GUID_TEXT], creator[5] = {0};

	(void)err;
	img_guid_print(v->footer.id, id);
	for (unsigned i = 0; i < 4; i++)
		creator[i] = (u8)(v->footer.creator[i] - ' ') < 95 ? v->footer.creator[i] : '?';
	*out = (struct img_info){
		.cluster_bytes = v->block_bytes,
		.file_bytes = v->data_end + sizeof(v->footer),
		.backing_name = str_dup(v->parent_name),
		.backing_format = v->parent_name ? str_dup("vpc") : NULL,
		.is_dirty = v->footer_written != v->data_end,
		.specific = json_pack("{s:s, s:s, s:s}", "create-type", vhd_type_name(v), "creator",
				      creator, "unique-id", id),
	};
	return 0;
}

static void vhd_child(const struct vhd *v, struct img_child *out)
{
	*out = (struct img_child){.role = IMG_BACKING,
				  .name = v->parent_name,
				  .format = "vpc",
				  .id = v->header.parent_id};
}

static int vhd_children(struct blk *b, int (*each)(void *opaque, const struct img_child *child),
			void *opaque)
{
	const struct vhd *v = vhd_of(img_blocks_of(b));
	struct img_child child;

	vhd_child(v, &child);
	return v->parent_name ? each(opaque, &child) : 0;
}

static struct blk *vhd_backing(struct blk *b)
{
	return img_blocks_of(b)->backing;
}

static const struct image_ops vhd_image_ops = {
	.format = &img_vhd,
	.info = vhd_info,
	.check = vhd_check,
	.children = vhd_children,
	.backing = vhd_backing,
};

const u8 *vhd_id(struct blk *b)
{
	return b->image == &vhd_image_ops ? vhd_of(img_blocks_of(b))->footer.id : NULL;
}

/* --- opening --- */

static int vhd_probe(const struct img_probe *p)
{
	const struct vhd_footer_wire *tail = (const void *)p->tail;

	if (p->head_bytes >= 512 && memcmp(p->head, VHD_COOKIE, 8) == 0)
		return 90;
	/* The last sector of a raw disk is its guest's. */
	return p->tail_bytes == 512 && vhd_is_footer(tail) ? 60 : 0;
}

static int vhd_read_footer(struct vhd *v, struct blk *file, struct err *err)
{
	struct vhd_footer_wire head, *f = &v->footer;
	u64 end = file->size < sizeof(*f) ? 0 : file->size - sizeof(*f);
	int r = blk_read(file, end, f, sizeof(*f));

	if (r == 0)
		r = blk_read(file, 0, &head, sizeof(head));
	if (r < 0)
		return err_errno(err, r, "cannot read the footer");
	v->data_end = v->footer_written = end;
	if (!vhd_is_footer(f)) {
		if (!vhd_is_footer(&head) || be32_get(head.type) == VHD_FIXED)
			return err_set(err, -EINVAL, "not a VHD image: it has no footer");
		*f = head;
		v->data_end = align_up(file->size, BLK_SECTOR);
		v->footer_written = 0;
	}
	v->is_head_bad = be32_get(f->type) != VHD_FIXED && !vhd_is_footer(&head);
	if (be32_get(f->version) >> 16 != VHD_VERSION >> 16)
		return err_set(err, -ENOTSUP, "VHD version %#x is not supported",
			       be32_get(f->version));
	if (vhd_type(v) < VHD_FIXED || vhd_type(v) > VHD_DIFFERENCING)
		return err_set(err, -EINVAL, "VHD images of type %u are not known", vhd_type(v));
	return 0;
}

/* Those of Virtual PC's time are as large as their geometry says; QEMU's block/vpc.c has the list. */
static u64 vhd_size(const struct vhd_footer_wire *f)
{
	static const char by_size[][4] = {"win ", "qem2", "d2v ", "tap", "CTXS", "wa"};
	u64 chs = (u64)be16_get(f->cylinders) * f->heads * f->sectors;
	u64 size = be64_get(f->size);

	for (unsigned i = 0; i < ARRAY_SIZE(by_size); i++) {
		if (memcmp(f->creator, by_size[i], 4) == 0)
			return size;
	}
	return chs == VHD_GEOMETRY_MAX || !chs ? size : chs * BLK_SECTOR;
}

static int vhd_read_header(struct vhd *v, struct blk *file, struct err *err)
{
	struct vhd_header_wire *h = &v->header;
	u64 at = be64_get(v->footer.data_offset), table;
	int r = range_fits(at, sizeof(*h), file->size) ? blk_read(file, at, h, sizeof(*h))
						       : -EINVAL;

	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	if (memcmp(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie)) != 0 ||
	    be32_get(h->checksum) !=
		    vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header_wire, checksum)))
		return err_set(err, -EINVAL, "the header is damaged");
	v->block_bytes = be32_get(h->block_size);
	if (v->block_bytes < VHD_BLOCK_MIN || v->block_bytes > VHD_BLOCK_MAX ||
	    !is_power_of_two(v->block_bytes))
		return err_set(err, -EINVAL, "blocks of %lu bytes are not supported",
			       v->block_bytes);
	v->bitmap_bytes = align_up(v->block_bytes / BLK_SECTOR / 8, BLK_SECTOR);
	table = be64_get(h->table_offset);
	if (!is_aligned(table, BLK_SECTOR) || be32_get(h->n_entries) > VHD_ENTRIES_MAX ||
	    !range_fits(table, (u64)be32_get(h->n_entries) * 4, file->size))
		return err_set(err, -EINVAL, "the block table is not in the file");
	if (v->blocks.node.blk.size > be32_get(h->n_entries) * v->block_bytes)
		return err_set(err, -EINVAL, "the disk's size and the block table disagree");
	return vhd_type(v) == VHD_DIFFERENCING ? vhd_read_parent_name(v, err) : 0;
}

int vhd_use_tables(struct vhd *v)
{
	u64 n = be32_get(v->header.n_entries);
	int r;

	img_table_fini(&v->map);
	img_table_fini(&v->bitmaps);
	v->map = (struct img_table){.file = v->blocks.file,
				    .offset = be64_get(v->header.table_offset),
				    .bytes = align_up(n * 4, BLK_SECTOR),
				    .page_bytes = IMG_TABLE_PAGE,
				    .unit = BLK_SECTOR,
				    .n_copies = 1};
	v->bitmaps = (struct img_table){.file = v->blocks.file,
					.bytes = n * v->bitmap_bytes,
					.page_bytes = (u32)v->bitmap_bytes,
					.unit = BLK_SECTOR,
					.n_copies = 1,
					.locate = vhd_locate_bitmap,
					.opaque = v};
	r = img_table_init(&v->map);
	return r == 0 ? img_table_init(&v->bitmaps) : r;
}

static int vhd_open_parent(struct vhd *v, const struct img_open_options *o, struct err *err)
{
	struct img_child child;
	struct blk *parent;
	const u8 *id;
	int r;

	if (vhd_type(v) != VHD_DIFFERENCING || o->is_alone)
		return 0;
	if (!v->parent_name)
		return err_set(err, -EINVAL, "it doesn't say what its parent is");
	vhd_child(v, &child);
	r = img_open_child(o, &child, &parent, err);
	if (r < 0)
		return err_wrap(err, "parent '%s'", v->parent_name);
	id = vhd_id(parent);
	if (id && memcmp(id, v->header.parent_id, 16) != 0) {
		blk_free(parent);
		return err_set(err, -EINVAL, "'%s' is another image than its parent",
			       v->parent_name);
	}
	img_blocks_set_backing(&v->blocks, parent);
	return 0;
}

static const struct img_blocks_ops vhd_fixed_ops = {
	.map = vhd_map_fixed,
	.resize = vhd_resize,
	.close = vhd_close,
};

static const struct img_blocks_ops vhd_blocks_ops = {
	.map = vhd_map,
	.place = vhd_place,
	.unplace = vhd_unplace,
	.link = vhd_link,
	.written = vhd_written,
	.prepare = vhd_prepare,
	.collect = vhd_collect,
	.resize = vhd_resize,
	.close = vhd_close,
};

static int vhd_read(struct vhd *v, struct blk *file, struct err *err)
{
	u64 size;
	int r = vhd_read_footer(v, file, err);

	if (r < 0)
		return r;
	size = align_down(vhd_size(&v->footer), BLK_SECTOR);
	if (!size || size > BLK_SIZE_MAX)
		return err_set(err, -EINVAL, "a disk of %lu bytes", size);
	v->blocks.node.blk.size = size;
	v->blocks.file = file;
	if (vhd_type(v) != VHD_FIXED) {
		r = vhd_read_header(v, file, err);
		if (r == 0 && vhd_use_tables(v) < 0)
			r = err_set(err, -ENOMEM, "no memory for the block table");
		return r;
	}
	return v->data_end < size ? err_set(err, -EINVAL, "the file is too short") : 0;
}

static int vhd_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		    struct err *err)
{
	AUTO(free_ptr) struct vhd *v = NEW(struct vhd);
	struct blk *b = &v->blocks.node.blk;
	int r = vhd_read(v, file, err);
	u64 size = b->size;

	if (r == 0)
		r = img_blocks_init(&v->blocks,
				    vhd_type(v) == VHD_FIXED ? &vhd_fixed_ops : &vhd_blocks_ops,
				    &vhd_image_ops, file, o->loop, "vpc", err);
	if (r < 0) {
		vhd_close(&v->blocks);
		return r;
	}
	b->size = size;
	b->is_readonly = o->is_readonly;
	v->blocks.has_bitmaps = true;
	r = vhd_open_parent(v, o, err);
	if (r < 0) {
		blk_node_remove_child(&v->blocks.node, file);
		blk_free(&take(v)->blocks.node.blk);
		return r;
	}
	*out = &take(v)->blocks.node.blk;
	return 0;
}

const struct img_format img_vhd = {
	.name = "vpc",
	.description = "VHD of Virtual PC and Hyper-V: dynamic, fixed, differencing",
	.probe = vhd_probe,
	.open = vhd_open,
	.create = vhd_create,
	.create_options = vhd_create_options,
	.can_back = true,
};
