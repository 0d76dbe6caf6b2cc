/*
 * VMDK, VMware's format. This file opens, maps and writes; vmdk_sparse.c knows an extent's tables,
 * vmdk_stream.c packed grains, vmdk_create.c makes new ones, vmdk_resize.c larger ones, vmdk_check.c checks.
 *
 *     descriptor (a text) --- extents, one behind the other: flat (bytes as they are), zero, or sparse
 *
 *     sparse: header | descriptor, where it is the only extent | directory, tables (twice) | grains
 *
 * The descriptor is a file of its own, or lies in the only extent. Names in it go to the opener.
 *
 * A new grain goes behind the last; the tables are written, both copies, after it is flushed. A crash
 * between any two writes leaves an image that has what was flushed, and at worst space that nobody uses;
 * the copies may differ in what wasn't flushed: the first one counts.
 *
 * Stream-optimized images are read. They are written only until they have an end: by who made them.
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/vmdk_priv.h"

/* --- mapping --- */

struct vmdk_extent *vmdk_find_extent(struct vmdk *v, u64 offset)
{
	unsigned low = 0, high = v->n_extents;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (v->extents[middle].start <= offset)
			low = middle;
		else
			high = middle;
	}
	return &v->extents[low];
}

static int vmdk_map_sparse(struct vmdk_extent *e, u64 inside, u64 bytes, struct img_run *out)
{
	u64 in_grain = inside % e->grain_bytes;
	u32 gte;
	int r = vmdk_gte(e, inside, &gte);

	if (r < 0)
		return r;
	*out = (struct img_run){.kind = IMG_RUN_BENEATH,
				.bytes = MIN(bytes, e->grain_bytes - in_grain)};
	if (gte == 0)
		return 0;
	if (gte == 1 && e->has_zeroed) {
		out->kind = IMG_RUN_ZERO;
		return 0;
	}
	if (e->is_packed) {
		out->kind = IMG_RUN_PACKED;
		return 0;
	}
	out->kind = IMG_RUN_DATA;
	out->has_place = e->is_writable;
	out->file = e->file;
	out->host = (u64)gte * BLK_SECTOR + in_grain;
	return 0;
}

static int vmdk_map(struct img_blocks *b, u64 offset, u64 bytes, struct img_run *out)
{
	struct vmdk_extent *e = vmdk_find_extent(vmdk_of(b), offset);
	u64 inside = offset - e->start, n = MIN(bytes, e->bytes - inside);

	if (e->kind == VMDK_SPARSE)
		return vmdk_map_sparse(e, inside, n, out);
	*out = (struct img_run){.kind = IMG_RUN_ZERO, .bytes = n};
	if (e->kind == VMDK_ZERO)
		return 0;
	out->kind = IMG_RUN_DATA;
	out->has_place = e->is_writable;
	out->file = e->file;
	out->host = e->flat_offset + inside;
	return 0;
}

/* --- writing --- */

/*
 * Another content id, so that those who have this image beneath them see that it was changed. It has as many
 * digits as the old one: QEMU writes no zeros in front.
 */
static int vmdk_begin(struct img_blocks *b)
{
	struct vmdk *v = vmdk_of(b);
	struct vmdk_descriptor *d = &v->descriptor;
	u32 n = MIN(d->cid_digits, 8u), cid;
	u8 random[16];
	char digits[9];
	int r = n ? img_guid_new(random) : 0;

	if (r < 0 || !n)
		return r;
	cid = 1 + le32_load(random) % (u32)(BIT(4 * n) - 2); /* all ones is none */
	d->cid = cid != d->cid ? cid : cid == 1 ? 2 : cid - 1;
	snprintf(digits, sizeof(digits), "%0*x", (int)n, d->cid);
	return blk_write(b->file, v->descriptor_offset + d->cid_at, digits, n);
}

static int vmdk_place(struct img_blocks *b, u64 offset, struct img_place *out)
{
	struct vmdk_extent *e = vmdk_find_extent(vmdk_of(b), offset);
	u64 start, bytes, old_end;
	struct err err;
	int r = 0;

	if (e->kind != VMDK_SPARSE || !e->is_writable)
		return -EROFS;
	r = vmdk_make_table(e, offset - e->start);
	if (r < 0)
		return r;
	start = (offset - e->start) / e->grain_bytes * e->grain_bytes;
	bytes = MIN(e->grain_bytes, e->bytes - start);
	old_end = e->file->size;
	if ((e->data_end + e->grain_bytes) / BLK_SECTOR > UINT32_MAX)
		return -ENOSPC;
	if (old_end < e->data_end + e->grain_bytes)
		r = blk_resize(e->file, e->data_end + e->grain_bytes, &err);
	if (r < 0)
		return r;
	*out = (struct img_place){.start = e->start + start,
				  .bytes = bytes,
				  .file = e->file,
				  .host = e->data_end,
				  .is_zeroed = e->data_end >= old_end};
	e->data_end += e->grain_bytes;
	return 0;
}

static void vmdk_unplace(struct img_blocks *b, const struct img_place *p)
{
	struct vmdk_extent *e = vmdk_find_extent(vmdk_of(b), p->start);

	if (p->host + e->grain_bytes == e->data_end)
		e->data_end -= e->grain_bytes;
}

static int vmdk_link(struct img_blocks *b, const struct img_place *p)
{
	struct vmdk_extent *e = vmdk_find_extent(vmdk_of(b), p->start);

	return vmdk_set_gte(e, p->start - e->start, (u32)(p->host / BLK_SECTOR));
}

/* A table comes before what leads to it. */
static int vmdk_collect_extent(struct vmdk_extent *e, struct img_batch *batch)
{
	int r = img_table_collect(&e->gts, batch);

	if (r == 0)
		r = img_table_collect(&e->gd, batch);
	return r == 0 ? img_table_collect(&e->rgd, batch) : r;
}

static int vmdk_collect(struct img_blocks *b, struct img_batch *batch)
{
	struct vmdk *v = vmdk_of(b);
	int r = 0;

	for (unsigned i = 0; i < v->n_extents && r == 0; i++)
		r = vmdk_collect_extent(&v->extents[i], batch);
	return r;
}

static void vmdk_close(struct img_blocks *b)
{
	struct vmdk *v = vmdk_of(b);

	for (unsigned i = 0; i < v->n_extents; i++)
		vmdk_extent_fini(&v->extents[i]);
	free(v->extents);
	free(v->unpacked);
	vmdk_descriptor_fini(&v->descriptor);
}

/* --- what it says of itself --- */

static json_t *vmdk_info_extent(const struct vmdk_extent *e, const char *name)
{
	static const char *const kinds[] = {
		[VMDK_FLAT] = "FLAT", [VMDK_SPARSE] = "SPARSE", [VMDK_ZERO] = "ZERO"};
	json_t *j = json_object(), *text = name ? json_string(name) : NULL;

	json_object_set_new(j, "virtual-size", json_integer((json_int_t)e->bytes));
	json_object_set_new(j, "format", json_string(kinds[e->kind]));
	if (name)
		json_object_set_new(j, "filename", text ? text : json_string("(not UTF-8)"));
	if (e->kind != VMDK_SPARSE)
		return j;
	json_object_set_new(j, "cluster-size", json_integer((json_int_t)e->grain_bytes));
	json_object_set_new(j, "compressed", json_boolean(e->is_packed));
	return j;
}

static int vmdk_info(struct blk *b, struct img_info *out, struct err *err)
{
	const struct vmdk *v = vmdk_of(img_blocks_of(b));
	const struct vmdk_descriptor *d = &v->descriptor;
	json_t *extents = json_array(), *type;
	bool has_lines = d->n_extents == v->n_extents;

	(void)err;
	type = json_string(d->create_type ? d->create_type : "unknown");
	for (unsigned i = 0; i < v->n_extents; i++)
		json_array_append_new(
			extents,
			vmdk_info_extent(&v->extents[i], has_lines ? d->extents[i].name : NULL));
	*out = (struct img_info){
		.cluster_bytes = v->extents[0].grain_bytes,
		.backing_name = d->parent_cid == VMDK_NO_PARENT ? NULL : str_dup(d->parent_hint),
		.is_compressed = v->extents[0].is_packed,
		.specific = json_pack("{s:o, s:I, s:I, s:o}", "create-type",
				      type ? type : json_string("(not UTF-8)"), "cid",
				      (json_int_t)d->cid, "parent-cid", (json_int_t)d->parent_cid,
				      "extents", extents),
	};
	if (out->backing_name)
		out->backing_format = str_dup("vmdk");
	return 0;
}

static bool vmdk_parent(const struct vmdk *v, struct img_child *out)
{
	*out = (struct img_child){
		.role = IMG_BACKING, .name = v->descriptor.parent_hint, .format = "vmdk"};
	return v->descriptor.parent_cid != VMDK_NO_PARENT;
}

static void vmdk_extent_child(const struct vmdk_extent_line *line, unsigned i, bool is_readonly,
			      struct img_child *out)
{
	*out = (struct img_child){.role = IMG_EXTENT,
				  .index = i,
				  .name = line->name,
				  .is_writable = line->is_writable && !is_readonly};
}

static int vmdk_children(struct blk *b, int (*each)(void *opaque, const struct img_child *child),
			 void *opaque)
{
	const struct vmdk *v = vmdk_of(img_blocks_of(b));
	struct img_child child;
	int r = 0;

	/* A file that has its descriptor inside is its own extent. */
	for (unsigned i = 0; i < v->descriptor.n_extents && r == 0; i++) {
		if (!v->descriptor.extents[i].name || v->extents[0].file == v->blocks.file)
			continue;
		vmdk_extent_child(&v->descriptor.extents[i], i, b->is_readonly, &child);
		r = each(opaque, &child);
	}
	if (r == 0 && vmdk_parent(v, &child) && child.name)
		r = each(opaque, &child);
	return r;
}

static struct blk *vmdk_backing(struct blk *b)
{
	return img_blocks_of(b)->backing;
}

static const struct image_ops vmdk_image_ops = {
	.format = &img_vmdk,
	.info = vmdk_info,
	.check = vmdk_check,
	.children = vmdk_children,
	.backing = vmdk_backing,
};

u32 vmdk_cid(struct blk *b)
{
	return b->image == &vmdk_image_ops ? vmdk_of(img_blocks_of(b))->descriptor.cid : 0;
}

/* --- opening --- */

static int vmdk_probe(const struct img_probe *p)
{
	if (p->head_bytes >= 512 && le32_load(p->head) == VMDK_MAGIC)
		return 100;
	return vmdk_is_descriptor(p->head, MIN(p->head_bytes, (size_t)512)) ? 95 : 0;
}

static int vmdk_read_text(struct blk *file, char **out, struct err *err)
{
	AUTO(free) char *text = NULL;
	int r;

	if (file->size > VMDK_DESCRIPTOR_MAX)
		return err_set(err, -EINVAL, "not a VMDK image");
	text = mem_alloc(1, file->size + 1);
	r = blk_read(file, 0, text, file->size);
	if (r < 0)
		return err_errno(err, r, "cannot read the descriptor");
	if (!vmdk_is_descriptor((u8 *)text, file->size))
		return err_set(err, -EINVAL, "not a VMDK image");
	*out = take(text);
	return 0;
}

/* The file is the only extent; its descriptor's line says nothing that is needed. */
static int vmdk_open_single(struct vmdk *v, struct blk *file, bool is_readonly, struct err *err)
{
	AUTO(free) char *text = NULL;
	struct vmdk_extent *e = v->extents = NEW(struct vmdk_extent);
	int r;

	v->n_extents = 1;
	*e = (struct vmdk_extent){.kind = VMDK_SPARSE, .file = file, .is_writable = !is_readonly};
	r = vmdk_open_sparse(e, &text, &v->descriptor_offset, err);
	if (r < 0)
		return r;
	e->bytes = le64_get(e->header.capacity) * BLK_SECTOR;
	v->descriptor.parent_cid = VMDK_NO_PARENT;
	return text ? vmdk_descriptor_parse(text, &v->descriptor, err) : 0;
}

static int vmdk_open_extent(struct vmdk *v, unsigned i, const struct img_open_options *o,
			    struct err *err)
{
	const struct vmdk_extent_line *line = &v->descriptor.extents[i];
	struct vmdk_extent *e = &v->extents[i];
	struct img_child child;
	int r;

	e->kind = line->kind;
	e->bytes = line->sectors * BLK_SECTOR;
	e->start = i ? v->extents[i - 1].start + v->extents[i - 1].bytes : 0;
	if (e->start + e->bytes > BLK_SIZE_MAX)
		return err_set(err, -EINVAL, "larger than a disk can be");
	if (e->kind == VMDK_ZERO)
		return 0;
	vmdk_extent_child(line, i, o->is_readonly, &child);
	r = img_open_child(o, &child, &e->file, err);
	if (r < 0)
		return r;
	blk_node_add_child(&v->blocks.node, e->file);
	e->is_writable = child.is_writable;
	e->flat_offset = line->offset * BLK_SECTOR;
	if (e->kind == VMDK_SPARSE)
		r = vmdk_open_sparse(e, NULL, NULL, err);
	else if (!range_fits(e->flat_offset, e->bytes, e->file->size))
		r = err_set(err, -EINVAL, "the file is too short");
	if (r == 0 && e->kind == VMDK_SPARSE && !e->n_tables)
		r = err_set(err, -EINVAL, "it has no end: whoever wrote it broke off");
	if (r == 0 && e->kind == VMDK_SPARSE &&
	    le64_get(e->header.capacity) * BLK_SECTOR < e->bytes)
		r = err_set(err, -EINVAL, "the extent is smaller than the descriptor says");
	return r;
}

static int vmdk_open_extents(struct vmdk *v, const struct img_open_options *o, struct err *err)
{
	int r = 0;

	v->n_extents = v->descriptor.n_extents;
	v->extents = NEW_ARRAY(struct vmdk_extent, v->n_extents);
	for (unsigned i = 0; i < v->n_extents && r == 0; i++) {
		r = vmdk_open_extent(v, i, o, err);
		if (r < 0 && v->descriptor.extents[i].name)
			err_wrap(err, "extent '%s'", v->descriptor.extents[i].name);
	}
	return r;
}

static int vmdk_open_parent(struct vmdk *v, const struct img_open_options *o, struct err *err)
{
	struct img_child child;
	struct blk *parent;
	u32 cid;
	int r;

	if (!vmdk_parent(v, &child) || o->is_alone)
		return 0;
	if (!child.name)
		return err_set(err, -EINVAL, "it doesn't say what its parent is");
	r = img_open_child(o, &child, &parent, err);
	if (r < 0)
		return err_wrap(err, "parent '%s'", child.name);
	cid = vmdk_cid(parent);
	if (cid && cid != v->descriptor.parent_cid) {
		blk_free(parent);
		return err_set(err, -EINVAL, "'%s' was changed since this image was laid over it",
			       child.name);
	}
	img_blocks_set_backing(&v->blocks, parent);
	return 0;
}

/* One that has no end yet is being made; others aren't written in place. */
static int vmdk_open_stream(struct vmdk *v, const struct img_open_options *o, struct err *err)
{
	struct vmdk_extent *e = &v->extents[0];
	bool has_end = le64_get(e->header.gd_offset) != VMDK_GD_AT_END;

	if (!has_end && (o->is_readonly || v->n_extents > 1 || !e->is_packed))
		return err_set(err, -EINVAL, "it has no end: whoever wrote it broke off");
	if (o->is_readonly)
		return 0;
	if (!has_end)
		return vmdk_stream_new(e, o->workers, err);
	for (unsigned i = 0; i < v->n_extents; i++) {
		if (v->extents[i].is_packed)
			return err_set(err, -EROFS,
				       "stream-optimized VMDK images aren't written in place: "
				       "open it read only, or lay a qcow2 over it "
				       "(posada image overlay)");
	}
	return 0;
}

static const struct img_blocks_ops vmdk_blocks_ops = {
	.map = vmdk_map,
	.place = vmdk_place,
	.unplace = vmdk_unplace,
	.link = vmdk_link,
	.read_packed = vmdk_read_packed,
	.begin = vmdk_begin,
	.collect = vmdk_collect,
	.resize = vmdk_resize,
	.close = vmdk_close,
};

static const struct img_blocks_ops vmdk_stream_ops = {
	.map = vmdk_map,
	.read_packed = vmdk_read_packed,
	.absorb = vmdk_stream_absorb,
	.prepare = vmdk_stream_finish,
	.close = vmdk_close,
};

static int vmdk_open_all(struct vmdk *v, struct blk *file, const struct img_open_options *o,
			 struct err *err)
{
	AUTO(free) char *text = NULL;
	struct vmdk_extent *last;
	u8 magic[4];
	int r = blk_read(file, 0, magic, sizeof(magic));

	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	if (le32_load(magic) == VMDK_MAGIC) {
		r = vmdk_open_single(v, file, o->is_readonly, err);
	} else {
		r = vmdk_read_text(file, &text, err);
		if (r == 0)
			r = vmdk_descriptor_parse(text, &v->descriptor, err);
		if (r == 0 && !v->descriptor.n_extents)
			r = err_set(err, -EINVAL, "it has no extents");
		if (r == 0)
			r = vmdk_open_extents(v, o, err);
	}
	if (r == 0)
		r = vmdk_open_stream(v, o, err);
	if (r == 0)
		r = vmdk_open_parent(v, o, err);
	if (r < 0)
		return r;
	last = &v->extents[v->n_extents - 1];
	v->blocks.node.blk.size = last->start + last->bytes;
	if (v->extents[0].stream)
		v->blocks.ops = &vmdk_stream_ops;
	return 0;
}

static int vmdk_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		     struct err *err)
{
	struct vmdk *v = NEW(struct vmdk);
	int r = img_blocks_init(&v->blocks, &vmdk_blocks_ops, &vmdk_image_ops, file, o->loop,
				"vmdk", err);

	if (r < 0) {
		free(v);
		return r;
	}
	v->workers = o->workers;
	v->blocks.node.blk.is_readonly = o->is_readonly;
	r = vmdk_open_all(v, file, o, err);
	if (r < 0) {
		blk_node_remove_child(&v->blocks.node, file);
		blk_free(&v->blocks.node.blk);
		return r;
	}
	*out = &v->blocks.node.blk;
	return 0;
}

const struct img_format img_vmdk = {
	.name = "vmdk",
	.description = "VMware: sparse, flat, split, stream-optimized",
	.probe = vmdk_probe,
	.open = vmdk_open,
	.create = vmdk_create,
	.create_options = vmdk_create_options,
	.can_back = true,
};
