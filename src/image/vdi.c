/*
 * VDI, VirtualBox's format: dynamic and fixed.
 *
 *     header | block map, an u32 for each block of the disk | blocks (1 MiB), in the order they were first
 *                                                             written in
 *
 * The header says how many blocks there are in the data area. It is written when the file has them, and
 * before the map is, so a crash between any two writes leaves at worst a count that is too high: blocks
 * that nobody uses.
 * Growing moves the map where it has no room, in steps each of which leaves a whole image; the last is
 * the header, which is one sector.
 *
 * Differencing images (of snapshots) name their parent by an id alone, which only VirtualBox's
 * registry resolves: they are refused.
 */
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/blocks.h"
#include "image/check.h"
#include "image/guid.h"
#include "image/image.h"
#include "image/table.h"
#include "image/vdi_wire.h"

#define VDI_BLOCK_DEFAULT (1 * (u32)MIB)
#define VDI_BLOCK_MIN     (4 * KIB)
#define VDI_BLOCK_MAX     (256 * MIB)
#define VDI_BLOCKS_MAX    0x1fffffffu /* QEMU's limit; the map is 2 GiB then */

struct vdi {
	struct img_blocks blocks; /* first */
	struct vdi_header_wire header;
	struct img_table map;
	u64 map_offset, data_offset, block_bytes;
	u32 n_blocks, n_allocated;
	u32 n_allocated_written; /* what the file's header says */
};

static struct vdi *vdi_of(struct img_blocks *b)
{
	return container_of(b, struct vdi, blocks);
}

/* --- mapping --- */

static u64 vdi_host(const struct vdi *v, u32 index)
{
	return v->data_offset + index * v->block_bytes;
}

static int vdi_entry(struct vdi *v, u64 block, u32 *out)
{
	u8 *at;
	int r = img_table_get(&v->map, block * 4, &at);

	if (r < 0)
		return r;
	*out = le32_load(at);
	return *out < VDI_BLOCK_ZERO && *out >= v->n_allocated ? -EIO : 0;
}

static int vdi_map(struct img_blocks *b, u64 offset, u64 bytes, struct img_run *out)
{
	struct vdi *v = vdi_of(b);
	u64 inside = offset % v->block_bytes;
	u32 index;
	int r = vdi_entry(v, offset / v->block_bytes, &index);

	if (r < 0)
		return r;
	*out = (struct img_run){.bytes = MIN(bytes, v->block_bytes - inside)};
	if (index == VDI_BLOCK_ZERO)
		out->kind = IMG_RUN_ZERO;
	if (index >= VDI_BLOCK_ZERO)
		return 0;
	out->kind = IMG_RUN_DATA;
	out->has_place = true;
	out->file = b->file;
	out->host = vdi_host(v, index) + inside;
	return 0;
}

static int vdi_set_entry(struct vdi *v, u64 block, u32 index)
{
	u8 *at;
	int r = img_table_get(&v->map, block * 4, &at);

	if (r < 0)
		return r;
	le32_store(at, index);
	img_table_touch(&v->map, block * 4);
	return 0;
}

static int vdi_place(struct img_blocks *b, u64 offset, struct img_place *out)
{
	struct vdi *v = vdi_of(b);
	u64 host = vdi_host(v, v->n_allocated);
	struct err err;
	int r = 0;

	if (v->n_allocated >= VDI_BLOCKS_MAX) /* some are nobody's */
		return -ENOSPC;
	*out = (struct img_place){.start = offset / v->block_bytes * v->block_bytes,
				  .bytes = v->block_bytes,
				  .file = b->file,
				  .host = host,
				  .is_zeroed = host >= b->file->size};
	if (b->file->is_growable && b->file->size < host + v->block_bytes)
		r = blk_resize(b->file, host + v->block_bytes, &err);
	if (r == 0)
		v->n_allocated++;
	return r;
}

static void vdi_unplace(struct img_blocks *b, const struct img_place *p)
{
	struct vdi *v = vdi_of(b);

	if (p->host == vdi_host(v, v->n_allocated - 1))
		v->n_allocated--;
}

static int vdi_link(struct img_blocks *b, const struct img_place *p)
{
	struct vdi *v = vdi_of(b);

	return vdi_set_entry(v, p->start / v->block_bytes,
			     (u32)((p->host - v->data_offset) / v->block_bytes));
}

static int vdi_write_header(struct vdi *v, u32 n)
{
	int r;

	v->header.n_allocated = le32_of(n);
	r = blk_write(v->blocks.file, 0, &v->header, sizeof(v->header));
	if (r == 0)
		v->n_allocated_written = n;
	return r;
}

static int vdi_prepare(struct img_blocks *b)
{
	struct vdi *v = vdi_of(b);
	u32 n = v->n_allocated;
	int r;

	if (n == v->n_allocated_written)
		return 0;
	/* The file's new size first: others take a count beyond it for damage. */
	r = blk_flush(b->file);
	return r < 0 ? r : vdi_write_header(v, n);
}

static int vdi_collect(struct img_blocks *b, struct img_batch *batch)
{
	return img_table_collect(&vdi_of(b)->map, batch);
}

static void vdi_close(struct img_blocks *b)
{
	img_table_fini(&vdi_of(b)->map);
}

/* --- resize --- */

/* The data area's first n blocks go behind its last; the map is written and flushed. */
static int vdi_vacate(struct vdi *v, u32 n)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, v->block_bytes);
	int r = buf ? 0 : -ENOMEM;
	u32 to = MAX(v->n_allocated, n);

	for (u64 block = 0; block < v->n_blocks && r == 0; block++) {
		u32 index;

		r = vdi_entry(v, block, &index);
		if (r < 0 || index >= n)
			continue;
		r = blk_read(v->blocks.file, vdi_host(v, index), buf, v->block_bytes);
		if (r == 0)
			r = blk_write(v->blocks.file, vdi_host(v, to), buf, v->block_bytes);
		if (r == 0)
			r = vdi_set_entry(v, block, to++);
		v->n_allocated = to;
	}
	v->n_allocated = to;
	return r == 0 ? img_blocks_flush(&v->blocks) : r;
}

/* The map as it will be, at `to`: entries are less by the blocks that were in front. */
static int vdi_write_map(struct vdi *v, u64 to, u64 n_blocks, u32 n_less)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, IMG_TABLE_PAGE);
	int r = buf ? 0 : -ENOMEM;

	for (u64 at = 0; at < n_blocks && r == 0;) {
		u64 n = 0;

		for (; n < IMG_TABLE_PAGE / 4 && at < align_up(n_blocks, 128) && r == 0;
		     n++, at++) {
			u32 index = VDI_BLOCK_FREE;

			if (at < v->n_blocks)
				r = vdi_entry(v, at, &index);
			le32_store(buf + n * 4, index < VDI_BLOCK_ZERO ? index - n_less : index);
		}
		if (r == 0)
			r = blk_write(v->blocks.file, to + (at - n) * 4, buf, n * 4);
	}
	return r == 0 ? blk_flush(v->blocks.file) : r;
}

static int vdi_use_map(struct vdi *v)
{
	img_table_fini(&v->map);
	v->map = (struct img_table){.file = v->blocks.file,
				    .offset = v->map_offset,
				    .bytes = align_up((u64)v->n_blocks * 4, BLK_SECTOR),
				    .page_bytes = IMG_TABLE_PAGE,
				    .unit = BLK_SECTOR,
				    .n_copies = 1};
	return img_table_init(&v->map);
}

/* The new map takes the place of the data area's first blocks, which move to its end. */
static int vdi_grow(struct vdi *v, u64 size, u32 n_blocks)
{
	u64 map_bytes = align_up((u64)n_blocks * 4, BLK_SECTOR);
	u64 map_offset = v->map_offset;
	u32 n_moved = 0;
	int r;

	if (map_offset + map_bytes > v->data_offset) {
		map_offset = v->data_offset;
		n_moved = (u32)((map_bytes + v->block_bytes - 1) / v->block_bytes);
		if (v->data_offset + n_moved * v->block_bytes > UINT32_MAX)
			return -EFBIG;
		r = vdi_vacate(v, n_moved);
		if (r < 0)
			return r;
	}
	r = vdi_write_map(v, map_offset, n_blocks, n_moved);
	if (r < 0)
		return r;
	v->map_offset = map_offset;
	v->data_offset += n_moved * v->block_bytes;
	v->n_allocated -= n_moved;
	v->n_blocks = n_blocks;
	v->header.offset_map = le32_of((u32)v->map_offset);
	v->header.offset_data = le32_of((u32)v->data_offset);
	v->header.n_blocks = le32_of(n_blocks);
	v->header.disk_size = le64_of(size);
	r = vdi_write_header(v, v->n_allocated);
	if (r == 0)
		r = blk_flush(v->blocks.file);
	return r == 0 ? vdi_use_map(v) : r;
}

/* Of a fixed image: the new blocks have their places at once. */
static int vdi_place_all(struct vdi *v, u32 from)
{
	struct err err;
	u64 end = vdi_host(v, v->n_allocated + (v->n_blocks - from));
	int r = v->blocks.file->size < end ? blk_resize(v->blocks.file, end, &err) : 0;

	for (u64 block = from; block < v->n_blocks && r == 0; block++)
		r = vdi_set_entry(v, block, v->n_allocated++);
	return r == 0 ? img_blocks_flush(&v->blocks) : r;
}

static int vdi_resize(struct img_blocks *b, u64 size, struct err *err)
{
	struct vdi *v = vdi_of(b);
	u64 n_blocks = (size + v->block_bytes - 1) / v->block_bytes;
	u32 old = v->n_blocks;
	int r;

	if (size < b->node.blk.size)
		return err_set(err, -ENOTSUP,
			       "a VDI image can't be made smaller: convert it to a raw or a qcow2 "
			       "image, which can");
	if (n_blocks > VDI_BLOCKS_MAX)
		return err_set(err, -EFBIG, "too large for a VDI image");
	r = vdi_grow(v, size, (u32)n_blocks);
	if (r < 0)
		return err_errno(err, r, "cannot move the block map");
	if (le32_get(v->header.image_type) == VDI_FIXED)
		r = vdi_place_all(v, old);
	return r < 0 ? err_errno(err, r, "no space for its new blocks") : 0;
}

/* --- check, info --- */

static void vdi_check_entry(const struct vdi *v, u64 block, u32 index, u8 *used,
			    struct img_check *c)
{
	if (index >= VDI_BLOCK_ZERO)
		return;
	c->allocated++;
	if (index >= v->n_allocated)
		img_check_corruption(c, "block %lu is at %u, behind the last, %u", block, index,
				     v->n_allocated);
	else if (used[index / 8] & 1 << index % 8)
		img_check_corruption(c, "block %lu shares its place, %u", block, index);
	else
		used[index / 8] |= (u8)(1 << index % 8);
}

/* Places that no block has; those at the end go, if that is wanted. */
static int vdi_check_unused(struct vdi *v, const u8 *used, unsigned repair, struct img_check *c)
{
	u32 n_unused = 0, last = v->n_allocated;

	for (u32 i = 0; i < v->n_allocated; i++)
		n_unused += !(used[i / 8] & 1 << i % 8);
	if (!n_unused)
		return 0;
	img_check_leaks(c, n_unused, "%u blocks of the file are nobody's", n_unused);
	while (last && !(used[(last - 1) / 8] & 1 << (last - 1) % 8))
		last--;
	if (!repair || c->corruptions || last == v->n_allocated)
		return 0;
	c->leaks -= v->n_allocated - last;
	c->leaks_fixed += v->n_allocated - last;
	v->n_allocated = last;
	v->blocks.is_changed = true;
	return img_blocks_flush(&v->blocks);
}

static int vdi_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err)
{
	struct vdi *v = vdi_of(img_blocks_of(b));
	AUTO(free_ptr) u8 *used = alloc_try(1, v->n_allocated / 8 + 1);
	int r = used ? 0 : -ENOMEM;

	c->clusters = v->n_blocks;
	c->end_offset = vdi_host(v, v->n_allocated);
	for (u64 block = 0; block < v->n_blocks && r == 0; block++) {
		u8 *at;

		r = img_table_get(&v->map, block * 4, &at);
		if (r == 0)
			vdi_check_entry(v, block, le32_load(at), used, c);
	}
	if (r == 0)
		r = vdi_check_unused(v, used, repair, c);
	return r < 0 ? err_errno(err, r, "block map") : 0;
}

static int vdi_info(struct blk *b, struct img_info *out, struct err *err)
{
	const struct vdi *v = vdi_of(img_blocks_of(b));
	bool is_fixed = le32_get(v->header.image_type) == VDI_FIXED;

	(void)err;
	*out = (struct img_info){
		.cluster_bytes = v->block_bytes,
		.file_bytes = vdi_host(v, v->n_allocated),
		.specific = json_pack("{s:s}", "create-type", is_fixed ? "fixed" : "dynamic"),
	};
	return 0;
}

/* --- opening --- */

static int vdi_probe(const struct img_probe *p)
{
	const struct vdi_header_wire *h = (const void *)p->head;

	return p->head_bytes >= sizeof(*h) && le32_get(h->signature) == VDI_SIGNATURE ? 100 : 0;
}

static int vdi_check_header(const struct vdi_header_wire *h, struct err *err)
{
	static const u8 none[16];
	u32 type = le32_get(h->image_type);

	if (le32_get(h->signature) != VDI_SIGNATURE)
		return err_set(err, -EINVAL, "not a VDI image");
	if (le32_get(h->version) != VDI_VERSION)
		return err_set(err, -ENOTSUP, "VDI version %u.%u is not supported",
			       le32_get(h->version) >> 16, le32_get(h->version) & 0xffff);
	if (type == VDI_UNDO || type == VDI_DIFFERENCING ||
	    memcmp(h->id_link, none, sizeof(none)) != 0)
		return err_set(err, -ENOTSUP,
			       "a differencing VDI image: merge it with VirtualBox first");
	if (type != VDI_DYNAMIC && type != VDI_FIXED)
		return err_set(err, -EINVAL, "VDI images of type %u are not known", type);
	return 0;
}

static int vdi_check_layout(const struct vdi *v, const struct vdi_header_wire *h, struct err *err)
{
	if (v->block_bytes < VDI_BLOCK_MIN || v->block_bytes > VDI_BLOCK_MAX ||
	    !is_power_of_two(v->block_bytes) || le32_get(h->block_extra))
		return err_set(err, -EINVAL, "blocks of %lu bytes are not supported",
			       v->block_bytes);
	if (!is_aligned(v->map_offset | v->data_offset, BLK_SECTOR) || v->map_offset < sizeof(*h) ||
	    v->data_offset < v->map_offset || (u64)v->n_blocks * 4 > v->data_offset - v->map_offset)
		return err_set(err, -EINVAL, "the block map is not where it can be");
	if (v->n_blocks > VDI_BLOCKS_MAX || v->n_allocated > VDI_BLOCKS_MAX ||
	    !le64_get(h->disk_size) || le64_get(h->disk_size) > v->n_blocks * v->block_bytes)
		return err_set(err, -EINVAL, "the disk's size and the block map disagree");
	/* What is there may end within its last block, and a map of zeros is no map. */
	if (v->map_offset + (u64)v->n_blocks * 4 > v->blocks.file->size ||
	    (v->n_allocated && vdi_host(v, v->n_allocated - 1) > v->blocks.file->size))
		return err_set(err, -EINVAL, "the file is too short");
	return 0;
}

static int vdi_read_header(struct vdi *v, struct blk *file, struct err *err)
{
	struct vdi_header_wire *h = &v->header;
	int r = blk_read(file, 0, h, sizeof(*h));

	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	r = vdi_check_header(h, err);
	if (r < 0)
		return r;
	v->map_offset = le32_get(h->offset_map);
	v->data_offset = le32_get(h->offset_data);
	v->block_bytes = le32_get(h->block_size);
	v->n_blocks = le32_get(h->n_blocks);
	v->n_allocated = v->n_allocated_written = le32_get(h->n_allocated);
	v->blocks.file = file;
	return vdi_check_layout(v, h, err);
}

static const struct img_blocks_ops vdi_blocks_ops = {
	.map = vdi_map,
	.place = vdi_place,
	.unplace = vdi_unplace,
	.link = vdi_link,
	.prepare = vdi_prepare,
	.collect = vdi_collect,
	.resize = vdi_resize,
	.close = vdi_close,
};

static const struct image_ops vdi_image_ops = {
	.format = &img_vdi,
	.info = vdi_info,
	.check = vdi_check,
};

static int vdi_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		    struct err *err)
{
	AUTO(free_ptr) struct vdi *v = NEW(struct vdi);
	struct blk *b = &v->blocks.node.blk;
	int r = vdi_read_header(v, file, err);

	if (r < 0)
		return r;
	if (vdi_use_map(v) < 0)
		return err_set(err, -ENOMEM, "no memory for the block map");
	r = img_blocks_init(&v->blocks, &vdi_blocks_ops, &vdi_image_ops, file, o->loop, "vdi", err);
	if (r < 0) {
		img_table_fini(&v->map);
		return r;
	}
	b->size = align_up(le64_get(v->header.disk_size), BLK_SECTOR);
	b->is_readonly = o->is_readonly;
	*out = &take(v)->blocks.node.blk;
	return 0;
}

/* --- creating --- */

/* Entries `from` on: free, or where they are. */
static int vdi_create_map(struct blk *file, u64 offset, u32 n_blocks, bool is_fixed)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, IMG_TABLE_PAGE);
	u32 n = (u32)align_up(n_blocks, BLK_SECTOR / 4), at = 0;
	int r = buf ? 0 : -ENOMEM;

	while (at < n && r == 0) {
		u32 part = MIN(n - at, (u32)(IMG_TABLE_PAGE / 4));

		for (u32 i = 0; i < part; i++)
			le32_store(buf + i * 4,
				   is_fixed && at + i < n_blocks ? at + i : VDI_BLOCK_FREE);
		r = blk_write(file, offset + (u64)at * 4, buf, (u64)part * 4);
		at += part;
	}
	return r;
}

static int vdi_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	u64 n_blocks = (o->size + VDI_BLOCK_DEFAULT - 1) / VDI_BLOCK_DEFAULT, data;
	bool is_fixed = false;
	int r = img_option_bool(o, "static", &is_fixed, err);
	struct vdi_header_wire h = {
		.text = "<<< posada disk image >>>\n",
		.signature = le32_of(VDI_SIGNATURE),
		.version = le32_of(VDI_VERSION),
		.header_size = le32_of(VDI_HEADER_BYTES),
		.offset_map = le32_of(sizeof(h)),
		.sector_size = le32_of(BLK_SECTOR),
		.disk_size = le64_of(o->size),
		.block_size = le32_of(VDI_BLOCK_DEFAULT),
	};

	if (r < 0 && r != -ENOENT)
		return r;
	if (!o->size || n_blocks > VDI_BLOCKS_MAX)
		return err_set(err, -EFBIG, "a VDI image can't have this size");
	data = align_up(sizeof(h) + n_blocks * 4, VDI_BLOCK_DEFAULT);
	h.offset_data = le32_of((u32)data);
	h.image_type = le32_of(is_fixed ? VDI_FIXED : VDI_DYNAMIC);
	h.n_blocks = le32_of((u32)n_blocks);
	h.n_allocated = le32_of(is_fixed ? (u32)n_blocks : 0);
	r = img_guid_new(h.id);
	if (r == 0)
		r = img_guid_new(h.id_last_snapshot);
	if (r == 0)
		r = vdi_create_map(file, sizeof(h), (u32)n_blocks, is_fixed);
	if (r == 0)
		r = blk_write(file, 0, &h, sizeof(h));
	if (r < 0)
		return err_errno(err, r, "cannot write it");
	return blk_resize(file, data + (is_fixed ? n_blocks * VDI_BLOCK_DEFAULT : 0), err);
}

static const struct img_option_info vdi_create_options[] = {
	{"static", "on|off", "a fixed image: every block has its place from the start"},
	{0},
};

const struct img_format img_vdi = {
	.name = "vdi",
	.description = "VirtualBox, dynamic and fixed",
	.probe = vdi_probe,
	.open = vdi_open,
	.create = vdi_create,
	.create_options = vdi_create_options,
};
