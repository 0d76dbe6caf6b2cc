/*
 * VHD: new images, their parents' names, and other sizes.
 */
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/utf16.h"
#include "image/vhd_priv.h"

#define VHD_BLOCK_DEFAULT (2 * MIB)
#define VHD_SIZE_MAX      (2040 * GIB) /* Hyper-V's limit */
#define VHD_NAME_MAX      2048u        /* bytes of a locator's path that are looked at */
#define VHD_TABLE_ALIGN   (4 * KIB)

/* --- sizes --- */

struct vhd_geometry {
	u32 cylinders, heads, sectors;
};

/* The specification's appendix "CHS calculation". Not more sectors than there are. */
static struct vhd_geometry vhd_geometry_of(u64 sectors)
{
	u64 total = MIN(sectors, (u64)65535 * 16 * 255), tracks;
	struct vhd_geometry g = {.heads = 16, .sectors = 255};

	if (total >= (u64)65535 * 16 * 63) {
		g.cylinders = (u32)(total / 255 / 16);
		return g;
	}
	g.sectors = 17;
	tracks = total / 17;
	g.heads = (u32)MAX((tracks + 1023) / 1024, (u64)4);
	if (tracks >= g.heads * 1024 || g.heads > 16) {
		g.sectors = 31;
		g.heads = 16;
		tracks = total / 31;
	}
	if (tracks >= g.heads * 1024) {
		g.sectors = 63;
		g.heads = 16;
		tracks = total / 63;
	}
	g.cylinders = (u32)(tracks / g.heads);
	return g;
}

/* The least size from this on that a geometry has, for those who go by it. */
static u64 vhd_round_to_geometry(u64 size)
{
	u64 sectors = size / BLK_SECTOR, asked = sectors, has;

	do {
		struct vhd_geometry g = vhd_geometry_of(asked++);

		has = (u64)g.cylinders * g.heads * g.sectors;
	} while (has < sectors && asked < (u64)65535 * 16 * 255);
	return MAX(has, sectors) * BLK_SECTOR;
}

static void vhd_set_size(struct vhd_footer_wire *f, u64 size)
{
	struct vhd_geometry g = vhd_geometry_of(size / BLK_SECTOR);

	f->size = be64_of(size);
	f->cylinders = be16_of((u16)g.cylinders);
	f->heads = (u8)g.heads;
	f->sectors = (u8)g.sectors;
	/* Of images with this creator everybody takes the size, not the geometry. */
	memcpy(f->creator, "win ", 4);
	memcpy(f->creator_os, "Wi2k", 4);
}

/* --- the parent's name --- */

static char *vhd_read_locator(struct vhd *v, const struct vhd_locator_wire *l)
{
	u64 offset = be64_get(l->offset), bytes = MIN(be32_get(l->length), VHD_NAME_MAX);
	u8 data[VHD_NAME_MAX];

	if (!range_fits(offset, bytes, v->blocks.file->size) ||
	    blk_read(v->blocks.file, offset, data, bytes) < 0)
		return NULL;
	return utf16_decode(data, bytes / 2, false);
}

/* A relative path is better than an absolute one, and that is better than the header's name. */
int vhd_read_parent_name(struct vhd *v, struct err *err)
{
	static const u32 codes[] = {VHD_LOCATOR_W2RU, VHD_LOCATOR_W2KU};
	AUTO(free) char *name = NULL;

	(void)err;
	for (unsigned c = 0; c < ARRAY_SIZE(codes); c++) {
		for (unsigned i = 0; i < VHD_LOCATORS && !name; i++) {
			if (be32_get(v->header.locators[i].code) == codes[c])
				name = vhd_read_locator(v, &v->header.locators[i]);
		}
	}
	if (!name)
		name = utf16_decode((const u8 *)v->header.parent_name,
				    ARRAY_SIZE(v->header.parent_name), true);
	v->parent_name = name ? utf16_path_from_windows(name) : NULL;
	return 0;
}

/* Locator 0 says where the parent is, its data lie at `at`; the header's name is the last part. */
static int vhd_write_parent(struct vhd_header_wire *h, struct blk *file, u64 at,
			    const struct img_create_options *o, struct err *err)
{
	const char *base = strrchr(o->backing_name, '/');
	AUTO(free) char *path = utf16_path_to_windows(o->backing_name);
	const u8 *id = vhd_id(o->backing);
	u8 data[VHD_NAME_MAX] = {0};
	int n = utf16_encode(path, data, VHD_NAME_MAX / 2, false), r;

	if (!id)
		return err_set(err, -EINVAL, "the parent of a VHD image must be one");
	r = utf16_encode(base ? base + 1 : o->backing_name, (u8 *)h->parent_name,
			 ARRAY_SIZE(h->parent_name) - 1, true);
	if (n < 0 || r < 0)
		return err_errno(err, n < 0 ? n : r, "the parent's name");
	memcpy(h->parent_id, id, 16);
	h->locators[0] = (struct vhd_locator_wire){
		.code = be32_of(*o->backing_name == '/' ? VHD_LOCATOR_W2KU : VHD_LOCATOR_W2RU),
		.space = be32_of(VHD_NAME_MAX),
		.length = be32_of((u32)n * 2),
		.offset = be64_of(at),
	};
	r = blk_write(file, at, data, sizeof(data));
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

/* --- creating --- */

static int vhd_create_table(struct blk *file, u64 offset, u64 bytes)
{
	AUTO(free_ptr) u8 *unused_entries = alloc_try(1, IMG_TABLE_PAGE);
	int r = unused_entries ? 0 : -ENOMEM;

	if (r == 0)
		memset(unused_entries, 0xff, IMG_TABLE_PAGE);
	while (bytes && r == 0) {
		u64 n = MIN(bytes, IMG_TABLE_PAGE);

		r = blk_write(file, offset, unused_entries, n);
		offset += n;
		bytes -= n;
	}
	return r;
}

static int vhd_create_blocks(struct blk *file, const struct img_create_options *o,
			     struct vhd_footer_wire *f, struct err *err)
{
	u64 n = (be64_get(f->size) + VHD_BLOCK_DEFAULT - 1) / VHD_BLOCK_DEFAULT;
	u64 names = sizeof(*f) + sizeof(struct vhd_header_wire);
	u64 table = align_up(names + (o->backing_name ? VHD_NAME_MAX : 0), VHD_TABLE_ALIGN);
	u64 table_bytes = align_up(n * 4, VHD_TABLE_ALIGN);
	struct vhd_header_wire h = {
		.cookie = VHD_HEADER_COOKIE,
		.data_offset = be64_of(VHD_NO_OFFSET),
		.table_offset = be64_of(table),
		.version = be32_of(VHD_VERSION),
		.n_entries = be32_of((u32)n),
		.block_size = be32_of((u32)VHD_BLOCK_DEFAULT),
	};
	int r = o->backing_name ? vhd_write_parent(&h, file, names, o, err) : 0;

	if (r < 0)
		return r;
	vhd_seal_header(&h);
	r = vhd_create_table(file, table, table_bytes);
	if (r == 0)
		r = blk_write(file, sizeof(*f), &h, sizeof(h));
	if (r == 0)
		r = blk_write(file, 0, f, sizeof(*f));
	if (r == 0)
		r = blk_write(file, table + table_bytes, f, sizeof(*f));
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

static int vhd_create_fixed(struct blk *file, const struct vhd_footer_wire *f, struct err *err)
{
	u64 size = be64_get(f->size);
	int r = blk_resize(file, size + sizeof(*f), err);

	if (r < 0)
		return r;
	r = blk_write(file, size, f, sizeof(*f));
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

static int vhd_create_type(const struct img_create_options *o, u32 *out, struct err *err)
{
	const char *subformat = img_option(o, "subformat");

	*out = o->backing_name ? VHD_DIFFERENCING : VHD_DYNAMIC;
	if (!subformat || strcmp(subformat, "dynamic") == 0)
		return 0;
	if (strcmp(subformat, "fixed") != 0)
		return err_set(err, -EINVAL, "subformat=%s: it is dynamic or fixed", subformat);
	if (o->backing_name)
		return err_set(err, -EINVAL, "a fixed image has no parent");
	*out = VHD_FIXED;
	return 0;
}

int vhd_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	struct vhd_footer_wire f = {
		.cookie = VHD_COOKIE,
		.features = be32_of(VHD_FEATURE_RESERVED),
		.version = be32_of(VHD_VERSION),
		.timestamp = be32_of((u32)((u64)time(NULL) - VHD_EPOCH)),
		.creator_version = be32_of(VHD_VERSION),
	};
	bool is_exact = true;
	u32 type;
	u64 size;
	int r = img_option_bool(o, "force_size", &is_exact, err);

	if (r == 0 || r == -ENOENT)
		r = vhd_create_type(o, &type, err);
	if (r < 0)
		return r;
	size = is_exact ? o->size : vhd_round_to_geometry(o->size);
	if (!size || size > VHD_SIZE_MAX)
		return err_set(err, -EFBIG, "a VHD image is 2040 GiB large at most");
	f.type = be32_of(type);
	f.data_offset = be64_of(type == VHD_FIXED ? VHD_NO_OFFSET : sizeof(f));
	f.original_size = be64_of(size);
	vhd_set_size(&f, size);
	if (img_guid_new(f.id) < 0)
		return err_set(err, -EIO, "no random numbers");
	vhd_seal_footer(&f);
	return type == VHD_FIXED ? vhd_create_fixed(file, &f, err)
				 : vhd_create_blocks(file, o, &f, err);
}

const struct img_option_info vhd_create_options[] = {
	{"subformat", "dynamic|fixed", "space as it is written, or all from the start"},
	{"force_size", "on|off",
	 "on (the default): exactly that large; off: as a geometry has it, for Virtual PC"},
	{0},
};

/* --- another size --- */

/* The table as it will be, behind the last block; the old one stays as it is. */
static int vhd_move_table(struct vhd *v, u64 n_entries)
{
	u64 to = align_up(v->data_end, VHD_TABLE_ALIGN),
	    bytes = align_up(n_entries * 4, VHD_TABLE_ALIGN);
	u64 n_old = be32_get(v->header.n_entries);
	int r = vhd_create_table(v->blocks.file, to, bytes);

	for (u64 at = 0; at < n_old * 4 && r == 0; at += IMG_TABLE_PAGE) {
		u64 n = MIN(n_old * 4 - at, IMG_TABLE_PAGE);
		u8 *page;

		r = img_table_get(&v->map, at, &page);
		if (r == 0)
			r = blk_write(v->blocks.file, to + at, page, n);
	}
	if (r < 0)
		return r;
	v->data_end = to + bytes;
	v->header.table_offset = be64_of(to);
	return 0;
}

/* The last sector has room for the new entries. */
static int vhd_clear_entries(struct vhd *v, u64 n_entries)
{
	int r = 0;

	for (u64 i = be32_get(v->header.n_entries); i < n_entries && r == 0; i++) {
		u8 *at;

		r = img_table_get(&v->map, i * 4, &at);
		if (r < 0)
			break;
		be32_store(at, VHD_UNUSED);
		img_table_touch(&v->map, i * 4);
	}
	return r;
}

static int vhd_grow_table(struct vhd *v, u64 size)
{
	u64 n = (size + v->block_bytes - 1) / v->block_bytes;
	int r;

	if (n <= be32_get(v->header.n_entries))
		return 0;
	if (n * 4 <= v->map.bytes)
		r = vhd_clear_entries(v, n);
	else
		r = vhd_move_table(v, n);
	if (r == 0)
		r = img_blocks_flush(&v->blocks);
	if (r < 0)
		return r;
	v->header.n_entries = be32_of((u32)n);
	vhd_seal_header(&v->header);
	r = blk_write(v->blocks.file, be64_get(v->footer.data_offset), &v->header,
		      sizeof(v->header));
	return r == 0 ? vhd_use_tables(v) : r;
}

/* In a fixed image the old footer becomes the new part's first sector. */
static int vhd_write_footers(struct vhd *v, u64 size)
{
	u64 old = v->data_end;
	struct blk *file = v->blocks.file;
	int r = blk_flush(file);

	vhd_set_size(&v->footer, size);
	v->footer.original_size = v->footer.size; /* libvhdi takes it for the size */
	vhd_seal_footer(&v->footer);
	if (r == 0 && vhd_type(v) != VHD_FIXED) {
		r = blk_write(file, 0, &v->footer, sizeof(v->footer));
		v->footer_written = 0;
		v->blocks.is_changed = true;
		return r == 0 ? img_blocks_flush(&v->blocks) : r;
	}
	v->data_end = MAX(size, old); /* some have room before the footer */
	if (r == 0)
		r = blk_write(file, v->data_end, &v->footer, sizeof(v->footer));
	if (r == 0)
		r = blk_flush(file);
	if (r == 0 && v->data_end != old)
		r = blk_write_zeroes(file, old, MIN(sizeof(v->footer), size - old), false);
	v->footer_written = v->data_end;
	return r == 0 ? blk_flush(file) : r;
}

int vhd_resize(struct img_blocks *b, u64 size, struct err *err)
{
	struct vhd *v = vhd_of(b);
	int r = 0;

	if (size < b->node.blk.size)
		return err_set(err, -ENOTSUP,
			       "a VHD image can't be made smaller: convert it to a raw or a qcow2 "
			       "image, which can");
	if (size > VHD_SIZE_MAX)
		return err_set(err, -EFBIG, "a VHD image is 2040 GiB large at most");
	if (b->backing && b->backing->size > b->node.blk.size)
		return err_set(err, -ENOTSUP,
			       "its parent is larger than it, and would show: convert it to a new "
			       "image (posada image convert)");
	if (vhd_type(v) != VHD_FIXED)
		r = vhd_grow_table(v, size);
	if (r == 0)
		r = vhd_write_footers(v, size);
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}
