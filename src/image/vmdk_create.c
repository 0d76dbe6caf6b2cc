/*
 * VMDK: new images. Layouts are VMware's; names of extents are the image's with an ending.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/vmdk_priv.h"

#define CREATE_TEXT_SECTORS 20u /* of an embedded descriptor */
#define CREATE_SPARSE_MAX                                                                          \
	((u64)UINT32_MAX / 2 * BLK_SECTOR) /* an extent; half of what entries can reach */

struct create {
	const struct img_create_options *o;
	const char *type; /* VMware's createType */
	bool is_sparse, is_split, is_stream, has_zeroed;
	const char *adapter, *hardware;
	char *base;  /* the file's name without .vmdk; owned */
	char *lines; /* of the extents; owned */
};

/* --- the descriptor --- */

static bool create_is_name(const char *s)
{
	return !strpbrk(s, "\"\r\n");
}

static int create_descriptor(const struct create *c, char **out, struct err *err)
{
	u64 sectors = c->o->size / BLK_SECTOR;
	unsigned heads = strcmp(c->adapter, "ide") == 0 ? 16 : 255;
	AUTO(free) char *parent = NULL;
	u32 parent_cid = VMDK_NO_PARENT;
	u8 id[16];

	if (img_guid_new(id) < 0)
		return err_set(err, -EIO, "no random numbers");
	if (c->o->backing_name) {
		parent_cid = vmdk_cid(c->o->backing);
		parent = str_format("parentFileNameHint=\"%s\"\n", c->o->backing_name);
		if (!parent_cid || !create_is_name(c->o->backing_name))
			return err_set(err, -EINVAL, "the parent of a VMDK image must be one");
	}
	*out = str_format(
		"# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n%s"
		"\n# Extent description\n%s"
		"\n# The Disk Data Base\n#DDB\n\n"
		"ddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%lu\"\n"
		"ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\n"
		"ddb.adapterType = \"%s\"\n",
		le32_load(id) & 0xfffffffe, parent_cid, c->type, parent ? parent : "", c->lines,
		c->hardware, (sectors + 63 * heads - 1) / (63 * heads), heads, c->adapter);
	return 0;
}

/* --- sparse extents --- */

static void create_header(const struct create *c, u64 size, bool has_text,
			  struct vmdk_header_wire *out)
{
	u64 grain = VMDK_GRAIN_SECTORS, sectors = size / BLK_SECTOR;
	u64 n_tables = (sectors + grain * VMDK_GTES - 1) / (grain * VMDK_GTES);
	u64 directory = align_up(n_tables * 4, BLK_SECTOR) / BLK_SECTOR;
	u64 tables = n_tables * (VMDK_GTES * 4 / BLK_SECTOR);
	u64 start = 1 + (has_text ? CREATE_TEXT_SECTORS : 0);
	u32 flags = VMDK_FLAG_NEWLINE |
		    (c->is_stream ? VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS : VMDK_FLAG_REDUNDANT);

	*out = (struct vmdk_header_wire){
		.magic = le32_of(VMDK_MAGIC),
		.version = le32_of(c->is_stream    ? 3
				   : c->has_zeroed ? 2
						   : 1),
		.flags = le32_of(flags | (c->has_zeroed ? VMDK_FLAG_ZEROED : 0)),
		.capacity = le64_of(sectors),
		.grain_size = le64_of(grain),
		.descriptor_offset = le64_of(has_text ? 1 : 0),
		.descriptor_size = le64_of(has_text ? CREATE_TEXT_SECTORS : 0),
		.n_gtes = le32_of(VMDK_GTES),
		.newlines = {'\n', ' ', '\r', '\n'},
	};
	if (c->is_stream) {
		out->compression = le16_of(VMDK_DEFLATE);
		out->gd_offset = le64_of(VMDK_GD_AT_END);
		out->overhead = le64_of(align_up(start, grain));
		return;
	}
	out->rgd_offset = le64_of(start);
	out->gd_offset = le64_of(start + directory + tables);
	out->overhead = le64_of(align_up(start + 2 * (directory + tables), grain));
}

/* A directory of tables that follow it. */
static int create_directory(struct blk *file, u64 sector, u64 n_tables)
{
	u64 bytes = align_up(n_tables * 4, BLK_SECTOR);
	u64 first = sector + bytes / BLK_SECTOR;
	AUTO(free_ptr) u8 *directory = alloc_try(1, bytes);

	if (!directory)
		return -ENOMEM;
	for (u64 i = 0; i < n_tables; i++)
		le32_store(directory + i * 4, (u32)(first + i * (VMDK_GTES * 4 / BLK_SECTOR)));
	return blk_write(file, sector * BLK_SECTOR, directory, bytes);
}

static int create_sparse(const struct create *c, struct blk *file, u64 size, const char *text,
			 struct err *err)
{
	u64 table_covers = (u64)VMDK_GRAIN_SECTORS * VMDK_GTES * BLK_SECTOR;
	u64 n_tables = (size + table_covers - 1) / table_covers;
	struct vmdk_header_wire h;
	int r;

	if (size > CREATE_SPARSE_MAX)
		return err_set(err, -EFBIG,
			       "too large for one file: subformat=twoGbMaxExtentSparse");
	create_header(c, size, text != NULL, &h);
	r = blk_resize(file, le64_get(h.overhead) * BLK_SECTOR, err);
	if (r < 0)
		return r;
	if (text && strlen(text) > CREATE_TEXT_SECTORS * BLK_SECTOR)
		return err_set(err, -ENAMETOOLONG, "the descriptor is too long");
	r = blk_write(file, 0, &h, sizeof(h));
	if (r == 0 && text)
		r = blk_write(file, BLK_SECTOR, text, strlen(text));
	if (r == 0 && !c->is_stream)
		r = create_directory(file, le64_get(h.rgd_offset), n_tables);
	if (r == 0 && !c->is_stream)
		r = create_directory(file, le64_get(h.gd_offset), n_tables);
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

/* --- images of several files --- */

static char *create_extent_name(const struct create *c, unsigned i)
{
	if (!c->is_split)
		return str_format("%s-flat.vmdk", c->base);
	return str_format("%s-%c%03u.vmdk", c->base, c->is_sparse ? 's' : 'f', i + 1);
}

static int create_extent(const struct create *c, unsigned i, const char *name, u64 size,
			 struct err *err)
{
	const struct img_child child = {
		.role = IMG_EXTENT, .index = i, .name = name, .is_writable = true};
	struct blk *file;
	int r;

	if (!c->o->opener || !c->o->opener->create)
		return err_set(err, -EACCES, "it needs other files, and may make none");
	r = c->o->opener->create(c->o->opener->opaque, &child, &file, err);
	if (r < 0)
		return r;
	r = c->is_sparse ? create_sparse(c, file, size, NULL, err) : blk_resize(file, size, err);
	if (r == 0 && blk_flush(file) < 0)
		r = err_set(err, -EIO, "cannot write it to the disk");
	blk_free(file);
	return r;
}

static int create_extents(struct create *c, struct err *err)
{
	u64 part = c->is_split ? VMDK_SPLIT : c->o->size;
	int r = 0;

	if ((c->o->size + part - 1) / part > VMDK_EXTENTS_MAX)
		return err_set(err, -EFBIG, "more than %u extents", VMDK_EXTENTS_MAX);
	for (u64 at = 0, i = 0; at < c->o->size && r == 0; at += part, i++) {
		u64 size = MIN(part, c->o->size - at);
		AUTO(free) char *name = create_extent_name(c, (unsigned)i);
		char *lines = str_format("%sRW %lu %s \"%s\"%s\n", c->lines, size / BLK_SECTOR,
					 c->is_sparse ? "SPARSE" : "FLAT", name,
					 c->is_sparse ? "" : " 0");

		free(c->lines);
		c->lines = lines;
		r = create_extent(c, (unsigned)i, name, size, err);
		if (r < 0)
			err_wrap(err, "extent '%s'", name);
	}
	return r;
}

static int create_files(struct create *c, struct blk *file, struct err *err)
{
	bool is_single = c->is_sparse && !c->is_split;
	AUTO(free) char *text = NULL;
	int r = 0;

	c->lines = is_single ? str_format("RW %lu SPARSE \"%s.vmdk\"\n", c->o->size / BLK_SECTOR,
					  c->base)
			     : str_dup("");
	if (!is_single)
		r = create_extents(c, err);
	if (r == 0)
		r = create_descriptor(c, &text, err);
	if (r < 0)
		return r;
	if (is_single)
		return create_sparse(c, file, c->o->size, text, err);
	r = blk_write(file, 0, text, strlen(text));
	return r < 0 ? err_errno(err, r, "cannot write it") : 0;
}

/* --- options --- */

static int create_subformat(struct create *c, struct err *err)
{
	static const struct create types[] = {
		{.type = "monolithicSparse", .is_sparse = true},
		{.type = "monolithicFlat"},
		{.type = "twoGbMaxExtentSparse", .is_sparse = true, .is_split = true},
		{.type = "twoGbMaxExtentFlat", .is_split = true},
		{.type = "streamOptimized", .is_sparse = true, .is_stream = true},
	};
	const char *subformat = img_option(c->o, "subformat");

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		if (strcmp(types[i].type, subformat ? subformat : "monolithicSparse") == 0) {
			c->type = types[i].type;
			c->is_sparse = types[i].is_sparse;
			c->is_split = types[i].is_split;
			c->is_stream = types[i].is_stream;
			if (c->o->backing_name && (!c->is_sparse || c->is_stream))
				return err_set(err, -EINVAL, "%s images have no parent", c->type);
			return 0;
		}
	}
	return err_set(err, -EINVAL, "subformat=%s is not known", subformat);
}

static int create_hardware(struct create *c, struct err *err)
{
	static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX"};
	const char *adapter = img_option(c->o, "adapter_type");
	bool is_6 = false;
	int r = img_option_bool(c->o, "compat6", &is_6, err);

	if (r < 0 && r != -ENOENT)
		return r;
	c->hardware = img_option(c->o, "hwversion");
	if (!c->hardware)
		c->hardware = is_6 ? "6" : "4";
	if (!create_is_name(c->hardware))
		return err_set(err, -EINVAL, "hwversion: it is a number");
	r = img_option_bool(c->o, "zeroed_grain", &c->has_zeroed, err);
	if (r < 0 && r != -ENOENT)
		return r;
	for (unsigned i = 0; i < ARRAY_SIZE(adapters); i++) {
		if (strcmp(adapters[i], adapter ? adapter : "ide") == 0)
			c->adapter = adapters[i];
	}
	return c->adapter ? 0 : err_set(err, -EINVAL, "adapter_type=%s is not known", adapter);
}

/* Without one, an image of one file has a name all the same; others can't. */
static int create_base(struct create *c, struct err *err)
{
	const char *name = c->o->file_name;
	size_t n = name ? strlen(name) : 0;

	if (!name && !(c->is_sparse && !c->is_split))
		return err_set(err, -EINVAL, "the image's file has no name to name its parts by");
	if (name && !create_is_name(name))
		return err_set(err, -EINVAL, "the file's name can't be written into a VMDK image");
	if (n > 5 && strcmp(name + n - 5, ".vmdk") == 0)
		n -= 5;
	c->base = name ? str_format("%.*s", (int)n, name) : str_dup("disk");
	return 0;
}

int vmdk_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	struct create c = {.o = o};
	int r = create_subformat(&c, err);

	if (r == 0)
		r = create_hardware(&c, err);
	if (r == 0)
		r = create_base(&c, err);
	if (r == 0 && !o->size)
		r = err_set(err, -EINVAL, "a disk of no size");
	if (r == 0)
		r = create_files(&c, file, err);
	free(c.base);
	free(c.lines);
	return r;
}

const struct img_option_info vmdk_create_options[] = {
	{"subformat",
	 "monolithicSparse|monolithicFlat|twoGbMaxExtentSparse|twoGbMaxExtentFlat|streamOptimized",
	 "how the disk lies in files; streamOptimized is compressed and written once"},
	{"adapter_type", "ide|lsilogic|buslogic|legacyESX", "what VMware connects the disk to"},
	{"hwversion", "NUMBER", "VMware's virtual hardware (default: 4)"},
	{"compat6", "on|off", "virtual hardware 6"},
	{"zeroed_grain", "on|off", "zeros can be noted in the tables"},
	{0},
};
