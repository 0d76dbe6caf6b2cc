/*
 * New qcow2 images: header, refcount table and blocks, L1 table, and the header of its encryption, one behind
 * the other, counted once each; then, for preallocation, by what an open image does.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/luks_priv.h"
#include "image/qcow2_priv.h"

/* clang-format off */
const struct img_option_info qcow2_create_options[] = {
	{"compat", "0.10|1.1", "version 2 (0.10) or 3 (1.1, the default)"},
	{"cluster_size", "SIZE", "512 to 2M, a power of two; 64K by default"},
	{"preallocation", "off|metadata|falloc|full", "what is allocated at once; off by default"},
	{"lazy_refcounts", "on|off", "reference counts are written when the image is closed"},
	{"refcount_bits", "1|2|4|8|16|32|64", "width of a reference count; 16 by default"},
	{"compression_type", "zlib|zstd", "of compressed clusters; zlib by default"},
	{"extended_l2", "on|off", "clusters have 32 subclusters that are allocated by themselves"},
	{"data_file", "NAME", "the data goes to this file, which is named in the image"},
	{"data_file_raw", "on|off", "the data file is a raw image of the disk, too"},
	{"encrypt.format", "luks", "its data is encrypted"},
	LUKS_OPTIONS("encrypt."),
	{NULL, NULL, NULL},
};
/* clang-format on */

enum create_prealloc { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL };

struct create {
	const struct img_create_options *o;
	struct qcow2 q; /* only what describes it */
	u64 size;
	u64 n_reftable, n_blocks, n_l1, n_luks; /* clusters */
	bool is_lazy, is_data_raw, is_encrypted;
	struct luks_plan luks;
	const char *data_file;
	enum create_prealloc prealloc;
};

/* --- options --- */

static int create_flag(const struct create *c, const char *name, bool *out, struct err *err)
{
	int r = img_option_bool(c->o, name, out, err);

	return r == -ENOENT ? 0 : r;
}

static int create_read_encryption(struct create *c, struct err *err)
{
	const char *format = img_option(c->o, "encrypt.format");

	for (unsigned i = 0; !format && i < c->o->n_options; i++) {
		if (strncmp(c->o->options[i].name, "encrypt.", 8) == 0)
			return err_set(err, -EINVAL, "%s needs encrypt.format=luks",
				       c->o->options[i].name);
	}
	if (format && strcmp(format, "luks"))
		return err_set(err, -EINVAL, "encrypt.format=%s: there is luks", format);
	c->is_encrypted = format;
	return 0;
}

static int create_read_options(struct create *c, struct err *err)
{
	static const char *const compat[] = {"0.10", "1.1", "v2", "v3", NULL};
	static const char *const prealloc[] = {"off", "metadata", "falloc", "full", NULL};
	static const char *const widths[] = {"1", "2", "4", "8", "16", "32", "64", NULL};
	static const char *const compression[] = {"zlib", "zstd", NULL};
	unsigned version = 1, allocation = 0, order = 4, compress = 0;
	u64 cluster = 65536;
	int r = img_option_word(c->o, "compat", compat, &version, err);

	if (r == 0)
		r = img_option_word(c->o, "preallocation", prealloc, &allocation, err);
	if (r == 0)
		r = img_option_word(c->o, "refcount_bits", widths, &order, err);
	if (r == 0)
		r = img_option_word(c->o, "compression_type", compression, &compress, err);
	if (r == 0)
		r = create_flag(c, "lazy_refcounts", &c->is_lazy, err);
	if (r == 0)
		r = create_flag(c, "extended_l2", &c->q.has_subclusters, err);
	if (r == 0)
		r = create_flag(c, "data_file_raw", &c->is_data_raw, err);
	if (r == 0)
		r = create_read_encryption(c, err);
	if (r == 0 && img_option(c->o, "cluster_size"))
		r = img_option_size(c->o, "cluster_size", &cluster, err);
	if (r < 0)
		return r;
	c->data_file = img_option(c->o, "data_file");
	c->q.version = version % 2 ? 3 : 2;
	c->q.refcount_order = order;
	c->q.compression = (u8)compress;
	c->prealloc = allocation;
	if (!is_power_of_two(cluster) || cluster < 1u << QCOW2_MIN_BITS ||
	    cluster > 1u << QCOW2_MAX_BITS)
		return err_set(err, -EINVAL, "cluster_size is a power of two from 512 to 2M");
	c->q.cluster_bits = (u32)__builtin_ctzl(cluster);
	c->q.cluster_size = cluster;
	return 0;
}

static int create_check_options(struct create *c, struct err *err)
{
	const struct qcow2 *q = &c->q;

	if (q->version == 2 && (c->is_lazy || q->has_subclusters || c->data_file ||
				q->compression || q->refcount_order != 4))
		return err_set(err, -EINVAL,
			       "version 2 (compat=0.10) has none of lazy_refcounts, "
			       "extended_l2, data_file, compression_type, refcount_bits");
	if (q->has_subclusters && q->cluster_bits < 14)
		return err_set(err, -EINVAL, "extended_l2 needs a cluster_size of 16K at least");
	if (c->is_data_raw && !c->data_file)
		return err_set(err, -EINVAL, "data_file_raw needs a data_file");
	if (c->is_data_raw && c->o->backing_name)
		return err_set(err, -EINVAL, "data_file_raw goes with no backing file");
	if (c->data_file && (!*c->data_file || strlen(c->data_file) > QCOW2_NAME_MAX))
		return err_set(err, -EINVAL, "the data_file's name is empty or too long");
	if (c->prealloc && c->o->backing_name && !q->has_subclusters)
		return err_set(err, -EINVAL, "preallocation over a backing file needs extended_l2");
	if (c->is_encrypted && (c->prealloc || c->is_data_raw))
		return err_set(err, -EINVAL, "an encrypted image has no %s",
			       c->prealloc ? "preallocation: its zeros are noise"
					   : "raw data file");
	if (c->o->backing_name && strlen(c->o->backing_name) > QCOW2_NAME_MAX)
		return err_set(err, -EINVAL, "the backing file's name is too long");
	/* A raw data file's clusters all have to be there from the start. */
	if (c->is_data_raw && c->prealloc == PREALLOC_OFF)
		c->prealloc = PREALLOC_METADATA;
	return 0;
}

/* --- layout --- */

static u64 create_clusters(const struct create *c)
{
	return 1 + c->n_reftable + c->n_blocks + c->n_l1 + c->n_luks;
}

static int create_lay_out_l1(struct create *c, struct err *err)
{
	struct qcow2 *q = &c->q;
	u64 l1_bytes;

	q->l2_bits = q->cluster_bits - (q->has_subclusters ? 4 : 3);
	if (c->size > BLK_SIZE_MAX)
		return err_set(err, -EFBIG, "a disk of %lu bytes is too large", c->size);
	q->l1_entries = (u32)MIN(qcow2_l1_needed(q, c->size), (u64)UINT32_MAX);
	l1_bytes = q->l1_entries * (u64)8;
	if (l1_bytes > QCOW2_L1_MAX)
		return err_set(err, -EFBIG, "such a disk needs larger clusters");
	c->n_l1 = MAX((l1_bytes + q->cluster_size - 1) >> q->cluster_bits, (u64)1);
	return 0;
}

static int create_lay_out(struct create *c, struct err *err)
{
	struct qcow2 *q = &c->q;
	u64 per_block = qcow2_refcounts_per_block(q), n;

	if (create_lay_out_l1(c, err) < 0)
		return err->code;
	if (c->is_encrypted) {
		if (luks_plan(c->o, "encrypt.", q->cluster_size, &c->luks, err) < 0)
			return err->code;
		c->n_luks = c->luks.bytes >> q->cluster_bits;
	}
	for (c->n_reftable = c->n_blocks = 1;;) {
		n = create_clusters(c);
		if (n > c->n_blocks * per_block)
			c->n_blocks++;
		else if (c->n_blocks * 8 > c->n_reftable * q->cluster_size)
			c->n_reftable++;
		else
			return 0;
	}
}

static void create_fill_header(struct create *c)
{
	struct qcow2 *q = &c->q;
	struct qcow2_header_wire *h = &q->header;

	q->header_bytes = q->version == 2 ? QCOW2_V2_HEADER_BYTES : (u32)sizeof(*h);
	*h = (struct qcow2_header_wire){
		.magic = be32_of(QCOW2_MAGIC),
		.version = be32_of(q->version),
		.cluster_bits = be32_of(q->cluster_bits),
		.size = be64_of(c->size),
		.l1_entries = be32_of(q->l1_entries),
		.l1_offset = be64_of((1 + c->n_reftable + c->n_blocks) << q->cluster_bits),
		.refcount_table_offset = be64_of(q->cluster_size),
		.refcount_table_clusters = be32_of((u32)c->n_reftable),
		.crypt_method = be32_of(c->is_encrypted ? QCOW2_CRYPT_LUKS : QCOW2_CRYPT_NONE),
	};
	if (q->version == 2)
		return;
	h->incompatible = be64_of((q->compression ? QCOW2_INCOMPAT_COMPRESSION : 0) |
				  (q->has_subclusters ? QCOW2_INCOMPAT_EXTENDED_L2 : 0) |
				  (c->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0));
	h->compatible = be64_of(c->is_lazy ? QCOW2_COMPAT_LAZY : 0);
	h->autoclear = be64_of(c->is_data_raw ? QCOW2_AUTOCLEAR_DATA_RAW : 0);
	h->refcount_order = be32_of(q->refcount_order);
	h->header_bytes = be32_of(q->header_bytes);
	h->compression_type = q->compression;
}

/* What older programs call the features that they don't know. */
static void create_add_feature_names(struct qcow2 *q)
{
	static const struct qcow2_feature_wire names[] = {
		{0, 0, "dirty bit"},
		{0, 1, "corrupt bit"},
		{0, 2, "external data file"},
		{0, 3, "compression type"},
		{0, 4, "extended L2 entries"},
		{1, 0, "lazy refcounts"},
		{2, 0, "bitmaps"},
		{2, 1, "raw external data"},
	};

	qcow2_set_ext(q, QCOW2_EXT_FEATURES, names, sizeof(names));
}

/* Its clusters are the last ones. */
static void create_place_luks(struct create *c)
{
	struct qcow2_luks_wire w = {.bytes = be64_of(c->luks.bytes)};

	if (!c->is_encrypted)
		return;
	c->luks.header.base = (create_clusters(c) - c->n_luks) << c->q.cluster_bits;
	w.offset = be64_of(c->luks.header.base);
	qcow2_set_ext(&c->q, QCOW2_EXT_LUKS, &w, sizeof(w));
}

static int create_write_header(struct create *c, struct err *err)
{
	struct qcow2 *q = &c->q;
	const char *format = c->o->backing_format;

	if (c->data_file)
		qcow2_set_ext(q, QCOW2_EXT_DATA_FILE, c->data_file, (u32)strlen(c->data_file));
	if (c->o->backing_name && format)
		qcow2_set_ext(q, QCOW2_EXT_BACKING_FORMAT, format, (u32)strlen(format));
	q->backing_name = str_dup(c->o->backing_name);
	create_place_luks(c);
	if (q->version >= 3)
		create_add_feature_names(q);
	create_fill_header(c);
	return qcow2_header_write(q, err);
}

static int create_write_tables(struct create *c, struct err *err)
{
	struct qcow2 *q = &c->q;
	u64 n = create_clusters(c), blocks = 1 + c->n_reftable;
	AUTO(free_ptr) u64 *table = alloc_try(c->n_blocks, sizeof(*table));
	AUTO(free_ptr) u8 *counts = alloc_try(c->n_blocks, q->cluster_size);
	static const u8 last[BLK_SECTOR];
	int r;

	if (!table || !counts)
		return err_set(err, -ENOMEM, "no memory for the refcounts");
	for (u64 i = 0; i < c->n_blocks; i++)
		table[i] = (blocks + i) << q->cluster_bits;
	for (u64 i = 0; i < n; i++)
		qcow2_refcount_store(q, counts, i, 1);
	/* Zeros first: the file may be a device with something on it. */
	r = blk_write_zeroes(q->file, q->cluster_size, (n - 1) << q->cluster_bits, true);
	if (r == 0) /* the file ends behind them */
		r = blk_write(q->file, (n << q->cluster_bits) - sizeof(last), last, sizeof(last));
	if (r == 0)
		r = qcow2_write_table(q, q->cluster_size, table, c->n_blocks);
	if (r == 0)
		r = blk_write(q->file, blocks << q->cluster_bits, counts,
			      c->n_blocks << q->cluster_bits);
	return r < 0 ? err_errno(err, r, "cannot write its tables") : 0;
}

/* --- preallocation --- */

static int create_link(struct qcow2 *q, u64 at, u64 host, u64 n)
{
	struct qcow2_slice *s;
	u64 place;
	u32 index;
	int r;

	if (!qcow2_slice_of(q, at, &place, &index))
		return -EIO;
	r = qcow2_cache_get(&q->l2, place, &s);
	if (r < 0)
		return r;
	for (u64 i = 0; i < n; i++)
		be64_store(s->data + (index + i) * q->entry_bytes,
			   (host + (i << q->cluster_bits)) | QCOW2_COPIED);
	qcow2_cache_dirty(&q->l2, s);
	qcow2_cache_put(&q->l2, s);
	q->is_unsynced = true;
	return 0;
}

/* All clusters get their place; what is in it is what the file has there: zeros. */
static int create_allocate(struct qcow2 *q, enum create_prealloc how)
{
	u64 slice_span = q->slice_entries * q->cluster_size,
	    end = align_up(q->node.blk.size, q->cluster_size);

	for (u64 at = 0, n; at < end; at += n << q->cluster_bits) {
		u64 host = at;
		int r = qcow2_make_room(q);

		n = MIN(end - at, slice_span - at % slice_span) >> q->cluster_bits;
		if (r == 0)
			r = qcow2_own_table(q, at);
		if (r == 0 && !q->has_data_file)
			r = qcow2_alloc(q, n, &host, &n, NULL);
		if (r == 0 && how >= PREALLOC_FALLOC)
			r = img_allocate(q->data, host,
					 MIN(n << q->cluster_bits, q->node.blk.size - at),
					 how == PREALLOC_FULL);
		if (r == 0)
			r = create_link(q, at, host, n);
		if (r < 0)
			return r;
	}
	return 0;
}

static int create_preallocate(struct create *c, struct err *err)
{
	const struct img_open_options o = {
		.loop = c->o->loop, .is_alone = true, .opener = c->o->opener};
	struct qcow2 *q;
	int r, closed;

	if (c->prealloc == PREALLOC_OFF)
		return 0;
	if (qcow2_open_borrowed(c->q.file, &o, &q, err) < 0)
		return err_wrap(err, "preallocation");
	r = create_allocate(q, c->prealloc);
	if (r < 0)
		err_errno(err, r, "cannot preallocate");
	else if (!q->has_data_file && q->file->is_growable && q->file->size < q->virgin_from)
		r = blk_resize(q->file, q->virgin_from, err);
	closed = qcow2_close_borrowed(q);
	return r == 0 && closed < 0 ? err_errno(err, closed, "cannot write the preallocated tables")
				    : r;
}

/* --- making one --- */

static int create_data_file(struct create *c, struct err *err)
{
	const struct img_opener *opener = c->o->opener;
	const struct img_child child = {
		.role = IMG_DATA, .name = c->data_file, .format = "raw", .is_writable = true};
	struct blk *data;
	int r;

	if (!c->data_file)
		return 0;
	if (!opener || !opener->create)
		return err_set(err, -EACCES, "no data file may be made");
	r = opener->create(opener->opaque, &child, &data, err);
	if (r < 0)
		return err_wrap(err, "data file");
	if (data->is_growable)
		r = blk_resize(data, align_up(c->size, data->block_size), err);
	blk_free(data);
	return r;
}

int qcow2_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	struct create *c = NEW(struct create);
	int r;

	c->o = o;
	c->size = o->size;
	c->q.file = file;
	r = create_read_options(c, err);
	if (r == 0)
		r = create_check_options(c, err);
	if (r == 0)
		r = create_lay_out(c, err);
	if (r == 0)
		r = create_data_file(c, err);
	if (r == 0)
		r = create_write_tables(c, err);
	if (r == 0)
		r = create_write_header(c, err);
	if (r == 0 && c->is_encrypted)
		r = luks_write_new(file, &c->luks, o, "encrypt.", err);
	if (r == 0)
		r = create_preallocate(c, err);
	luks_plan_fini(&c->luks);
	qcow2_header_fini(&c->q);
	free(c);
	return r;
}

/* --- how large it would be --- */

static u64 measure_round(u64 n, u64 to)
{
	return (n + to - 1) / to * to;
}

/* Refcount blocks and table for so many other clusters, and for themselves. */
static u64 measure_refcounts(const struct qcow2 *q, u64 clusters)
{
	u64 per_block = qcow2_refcounts_per_block(q), per_table = q->cluster_size / 8;
	u64 blocks = 0, table = 0, before;

	do {
		before = blocks + table;
		blocks = (clusters + before + per_block - 1) / per_block;
		table = (blocks + per_table - 1) / per_table;
	} while (blocks + table != before);
	return (blocks + table) * q->cluster_size;
}

static u64 measure_full(const struct qcow2 *q, u64 disk)
{
	u64 entry = q->has_subclusters ? 16 : 8;
	u64 l2 = measure_round(disk / q->cluster_size, q->cluster_size / entry) * entry;
	u64 l1 = measure_round(l2 / q->cluster_size, q->cluster_size / 8) * 8;
	u64 meta = q->cluster_size + l2 + l1;

	return disk + meta + measure_refcounts(q, (meta + disk) / q->cluster_size);
}

/* The clusters that source's data touches. */
static int measure_data(const struct qcow2 *q, struct blk *source, u64 *out)
{
	u64 at = 0;

	*out = 0;
	while (source && at < source->size) {
		struct blk_status s;
		int r = blk_status(source, at, source->size - at, &s);
		u64 end = at + s.bytes;

		if (r < 0)
			return r;
		if (s.is_data) {
			end = align_up(end, q->cluster_size);
			*out += end - align_down(at, q->cluster_size);
		}
		at = end;
	}
	return 0;
}

static int measure_create(struct create *c, struct blk *source, struct img_measure *out,
			  struct err *err)
{
	struct qcow2 *q = &c->q;
	u64 disk = align_up(c->size, q->cluster_size), data, luks = 0;
	int r = 0;

	if (c->is_encrypted)
		r = luks_measure_header(c->o, "encrypt.", q->cluster_size, &luks, err);
	if (r < 0)
		return r;
	r = measure_data(q, source, &data);
	if (r < 0)
		return err_errno(err, r, "cannot find out what it has");
	if (c->prealloc >= PREALLOC_FALLOC)
		data = disk;
	out->full_bytes = measure_full(q, disk) + luks;
	out->required_bytes = out->full_bytes - disk + data;
	return 0;
}

int qcow2_measure(const struct img_create_options *o, struct blk *source, struct img_measure *out,
		  struct err *err)
{
	struct create *c = NEW(struct create);
	int r;

	c->o = o;
	c->size = o->size;
	r = create_read_options(c, err);
	if (r == 0)
		r = create_check_options(c, err);
	if (r == 0)
		r = create_lay_out_l1(c, err);
	if (r == 0)
		r = measure_create(c, source, out, err);
	free(c);
	return r;
}
