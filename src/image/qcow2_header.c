/*
 * qcow2's header: read with everything checked, and written again with all that isn't understood.
 *
 *     header (72, 104 or more bytes) | extensions ... | end | backing file's name | zeros to the cluster's end
 *
 * The fixed fields lie in the file's first sector and change in one write, so that a crash leaves the
 * old ones or the new ones. A whole header may be longer than a sector, and such a write can be torn. So
 * what lies behind the first sector is written first, where the old header has nothing, and the first sector
 * then leads there. Where both are longer than a sector, that is done twice:
 *
 *     old                    first | old rest |
 *     new, behind the old    first | old rest | new rest         first: an extension that spans the old rest
 *     new                    first | new rest |
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_priv.h"

/* --- tables of 64-bit entries --- */

bool qcow2_is_table(const struct qcow2 *q, u64 offset, u64 bytes)
{
	return is_aligned(offset, q->cluster_size) && range_fits(offset, bytes, QCOW2_HOST_END);
}

int qcow2_read_table(struct qcow2 *q, u64 offset, u64 *to, u64 entries)
{
	u64 bytes = entries * 8;
	u64 there = offset < q->file->size ? MIN(bytes, q->file->size - offset) : 0;
	int r = blk_read(q->file, offset, to, there);

	memset((u8 *)to + there, 0, bytes - there);
	for (u64 i = 0; r == 0 && i < there / 8; i++)
		to[i] = be64_load(&to[i]);
	return r;
}

int qcow2_write_table(struct qcow2 *q, u64 offset, const u64 *from, u64 entries)
{
	AUTO(free_ptr) u8 *buf = alloc_try(entries ? entries : 1, 8);

	if (!buf)
		return -ENOMEM;
	for (u64 i = 0; i < entries; i++)
		be64_store(buf + i * 8, from[i]);
	return blk_write(q->file, offset, buf, entries * 8);
}

/* --- extensions --- */

const struct qcow2_ext *qcow2_find_ext(const struct qcow2 *q, u32 type)
{
	for (u32 i = 0; i < q->n_ext; i++) {
		if (q->ext[i].type == type)
			return &q->ext[i];
	}
	return NULL;
}

char *qcow2_ext_string(const struct qcow2 *q, u32 type)
{
	const struct qcow2_ext *e = qcow2_find_ext(q, type);

	return e && e->bytes ? str_format("%.*s", (int)e->bytes, (const char *)e->data) : NULL;
}

static void header_add_ext(struct qcow2 *q, u32 type, const void *data, u32 bytes)
{
	struct qcow2_ext *e;

	q->ext = mem_grow(q->ext, q->n_ext, q->n_ext + 1, sizeof(*e));
	e = &q->ext[q->n_ext++];
	e->type = type;
	e->bytes = bytes;
	e->data = mem_alloc(1, bytes + 1);
	memcpy(e->data, data, bytes);
}

static void header_remove_ext(struct qcow2 *q, u32 type)
{
	u32 kept = 0;

	for (u32 i = 0; i < q->n_ext; i++) {
		if (q->ext[i].type == type)
			free(q->ext[i].data);
		else
			q->ext[kept++] = q->ext[i];
	}
	q->n_ext = kept;
}

/* One that is there keeps its place. */
void qcow2_set_ext(struct qcow2 *q, u32 type, const void *data, u32 bytes)
{
	if (!data) {
		header_remove_ext(q, type);
		return;
	}
	for (u32 i = 0; i < q->n_ext; i++) {
		if (q->ext[i].type != type)
			continue;
		free(q->ext[i].data);
		q->ext[i].data = mem_alloc(1, bytes + 1);
		q->ext[i].bytes = bytes;
		memcpy(q->ext[i].data, data, bytes);
		return;
	}
	header_add_ext(q, type, data, bytes);
}

static int header_read_extensions(struct qcow2 *q, const u8 *head, u64 end, struct err *err)
{
	struct qcow2_ext_wire w;

	for (u64 at = q->header_bytes; at + sizeof(w) <= end;) {
		u32 type, bytes;

		memcpy(&w, head + at, sizeof(w));
		type = be32_get(w.type);
		bytes = be32_get(w.bytes);
		at += sizeof(w);
		q->header_end = MAX(q->header_end, at);
		if (type == QCOW2_EXT_END)
			return 0;
		if (bytes > end - at)
			return err_set(err, -EINVAL, "header extension 0x%x is too long", type);
		if (q->n_ext == QCOW2_EXTENSIONS_MAX)
			return err_set(err, -EINVAL, "there are too many header extensions");
		if (type != QCOW2_EXT_SKIP)
			header_add_ext(q, type, head + at, bytes);
		at = MIN(end, align_up(at + bytes, 8));
		q->header_end = MAX(q->header_end, at);
	}
	return 0;
}

/* --- reading --- */

static int header_read_fields(struct qcow2 *q, struct err *err)
{
	struct qcow2_header_wire *h = &q->header;
	u64 there = MIN(q->file->size, sizeof(*h));
	int r = blk_read(q->file, 0, h, there);

	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	if (there < QCOW2_V2_HEADER_BYTES || be32_get(h->magic) != QCOW2_MAGIC)
		return err_set(err, -EINVAL, "it is not a qcow2 image");
	q->version = be32_get(h->version);
	if (q->version != 2 && q->version != 3)
		return err_set(err, -ENOTSUP, "version %u of qcow2 is not known", q->version);
	q->cluster_bits = be32_get(h->cluster_bits);
	if (q->cluster_bits < QCOW2_MIN_BITS || q->cluster_bits > QCOW2_MAX_BITS)
		return err_set(err, -EINVAL, "a cluster size of 2^%u bytes is not supported",
			       q->cluster_bits);
	q->cluster_size = (u64)1 << q->cluster_bits;
	q->header_bytes = QCOW2_V2_HEADER_BYTES;
	q->refcount_order = 4;
	if (q->version == 2) {
		memset((u8 *)h + QCOW2_V2_HEADER_BYTES, 0, sizeof(*h) - QCOW2_V2_HEADER_BYTES);
		return 0;
	}
	q->header_bytes = be32_get(h->header_bytes);
	if (q->header_bytes < QCOW2_V3_HEADER_BYTES || q->header_bytes > q->cluster_size ||
	    q->header_bytes % 8)
		return err_set(err, -EINVAL, "a header of %u bytes is not possible",
			       q->header_bytes);
	if (q->header_bytes < sizeof(*h))
		memset((u8 *)h + q->header_bytes, 0, sizeof(*h) - q->header_bytes);
	q->refcount_order = be32_get(h->refcount_order);
	if (q->refcount_order > 6)
		return err_set(err, -EINVAL, "reference counts of 2^%u bits are not possible",
			       q->refcount_order);
	q->incompatible = be64_get(h->incompatible);
	q->compatible = be64_get(h->compatible);
	q->autoclear = be64_get(h->autoclear);
	q->compression = h->compression_type;
	return 0;
}

static int header_read_rest(struct qcow2 *q, struct err *err)
{
	u64 bytes = MIN(q->cluster_size, q->file->size), end = bytes, name, name_bytes;
	AUTO(free_ptr) u8 *head = alloc_try(1, bytes);
	int r;

	if (!head)
		return err_set(err, -ENOMEM, "no memory for the header");
	r = blk_read(q->file, 0, head, bytes);
	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	if (q->header_bytes > bytes)
		return err_set(err, -EINVAL, "the header is cut off");
	if (q->header_bytes > sizeof(q->header)) {
		q->header_rest = mem_alloc(1, q->header_bytes);
		memcpy(q->header_rest, head + sizeof(q->header),
		       q->header_bytes - sizeof(q->header));
	}
	q->header_end = q->header_bytes;
	name = be64_get(q->header.backing_offset);
	name_bytes = be32_get(q->header.backing_bytes);
	if (name) {
		if (name_bytes > QCOW2_NAME_MAX || name < q->header_bytes ||
		    !range_fits(name, name_bytes, bytes))
			return err_set(err, -EINVAL,
				       "the backing file's name is not in the header");
		if (name_bytes)
			q->backing_name = str_format("%.*s", (int)name_bytes, head + name);
		q->header_end = MAX(q->header_end, name + name_bytes);
		end = name;
	}
	return header_read_extensions(q, head, end, err);
}

/* The image's own word for a feature, from its table; or NULL. */
static char *header_feature_name(const struct qcow2 *q, u8 type, unsigned bit)
{
	const struct qcow2_ext *e = qcow2_find_ext(q, QCOW2_EXT_FEATURES);

	for (u32 i = 0; e && i < e->bytes / sizeof(struct qcow2_feature_wire); i++) {
		const struct qcow2_feature_wire *f = (const void *)e->data;

		if (f[i].type == type && f[i].bit == bit && f[i].name[0])
			return str_format("%.46s", f[i].name);
	}
	return NULL;
}

static int header_check_features(struct qcow2 *q, struct err *err)
{
	u64 unknown = q->incompatible & ~QCOW2_INCOMPAT_KNOWN;
	char list[256] = "";

	for (unsigned bit = 0; bit < 64; bit++) {
		AUTO(free) char *name = NULL;
		size_t at = strlen(list);

		if (!(unknown & BIT(bit)))
			continue;
		name = header_feature_name(q, 0, bit);
		if (!name)
			name = str_format("bit %u", bit);
		for (char *c = name; *c; c++) {
			if (*c < ' ' || *c > '~')
				*c = '?';
		}
		snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "", name);
	}
	if (unknown)
		return err_set(err, -ENOTSUP, "it needs features that are not known here: %s",
			       list);
	if (!!(q->incompatible & QCOW2_INCOMPAT_COMPRESSION) != (q->compression != QCOW2_ZLIB))
		return err_set(err, -EINVAL, "its compression type contradicts its features");
	if (q->compression > QCOW2_ZSTD)
		return err_set(err, -ENOTSUP, "compression type %u is not known", q->compression);
	if ((q->incompatible & QCOW2_INCOMPAT_EXTENDED_L2) && q->cluster_bits < 14)
		return err_set(err, -EINVAL, "subclusters need clusters of 16 KiB at least");
	switch (be32_get(q->header.crypt_method)) {
	case QCOW2_CRYPT_NONE:
	case QCOW2_CRYPT_LUKS:
		return 0;
	case QCOW2_CRYPT_AES:
		return err_set(err, -ENOTSUP,
			       "its encryption (AES-CBC) is broken and not supported");
	}
	return err_set(err, -ENOTSUP, "its encryption is not known");
}

static int header_check_tables(struct qcow2 *q, struct err *err)
{
	const struct qcow2_header_wire *h = &q->header;
	u64 size = be64_get(h->size), refcount_clusters = be32_get(h->refcount_table_clusters);

	if (size > BLK_SIZE_MAX)
		return err_set(err, -EFBIG, "a disk of %lu bytes is too large", size);
	if (be32_get(h->l1_entries) > QCOW2_L1_MAX / 8)
		return err_set(err, -EFBIG, "its L1 table is too large");
	if (be32_get(h->l1_entries) < qcow2_l1_needed(q, size))
		return err_set(err, -EINVAL, "its L1 table is too small");
	if (!qcow2_is_table(q, be64_get(h->l1_offset), be32_get(h->l1_entries) * (u64)8))
		return err_set(err, -EINVAL, "its L1 table is at an impossible place");
	if (refcount_clusters > QCOW2_REFTABLE_MAX / q->cluster_size + 1 ||
	    refcount_clusters * q->cluster_size > MAX(QCOW2_REFTABLE_MAX, q->cluster_size))
		return err_set(err, -EFBIG, "its refcount table is too large");
	if (!qcow2_is_table(q, be64_get(h->refcount_table_offset),
			    refcount_clusters * q->cluster_size))
		return err_set(err, -EINVAL, "its refcount table is at an impossible place");
	if (be32_get(h->n_snapshots) > QCOW2_SNAPSHOTS_MAX)
		return err_set(err, -EFBIG, "it has too many snapshots");
	if (!qcow2_is_table(q, be64_get(h->snapshots_offset), 0))
		return err_set(err, -EINVAL, "its snapshot table is at an impossible place");
	return 0;
}

int qcow2_header_read(struct qcow2 *q, struct err *err)
{
	int r = header_read_fields(q, err);

	if (r == 0)
		r = header_read_rest(q, err);
	if (r == 0)
		r = header_check_features(q, err);
	if (r < 0)
		return r;
	q->has_subclusters = q->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
	q->has_data_file = q->incompatible & QCOW2_INCOMPAT_DATA_FILE;
	q->is_data_raw = q->has_data_file && (q->autoclear & QCOW2_AUTOCLEAR_DATA_RAW);
	q->entry_bytes = q->has_subclusters ? 16 : 8;
	q->l2_bits = q->cluster_bits - (q->has_subclusters ? 4 : 3);
	q->slice_bytes = (u32)MIN(q->cluster_size, (u64)QCOW2_SLICE_MAX);
	q->slice_entries = q->slice_bytes / q->entry_bytes;
	q->sub_bits = q->cluster_bits - (q->has_subclusters ? 5 : 0);
	if (q->is_data_raw && q->backing_name)
		return err_set(err, -EINVAL,
			       "a raw data file and a backing file contradict each other");
	return header_check_tables(q, err);
}

void qcow2_header_fini(struct qcow2 *q)
{
	for (u32 i = 0; i < q->n_ext; i++)
		free(q->ext[i].data);
	free(q->ext);
	free(q->header_rest);
	free(q->backing_name);
}

/* --- writing --- */

int qcow2_header_write_fields(struct qcow2 *q)
{
	u64 bytes = MIN((u64)q->header_bytes, sizeof(q->header));

	return blk_write(q->file, 0, &q->header, bytes);
}

static int header_set(struct qcow2 *q, be64 *field, u64 *value, u64 bits)
{
	int r;

	if (*value == bits)
		return 0;
	assert(q->version >= 3);
	r = blk_flush(q->file);
	if (r < 0)
		return r;
	*field = be64_of(bits);
	r = qcow2_header_write_fields(q);
	if (r == 0)
		r = blk_flush(q->file);
	if (r == 0)
		*value = bits;
	else
		*field = be64_of(*value);
	return r;
}

int qcow2_set_incompatible(struct qcow2 *q, u64 bits)
{
	return header_set(q, &q->header.incompatible, &q->incompatible, bits);
}

int qcow2_set_autoclear(struct qcow2 *q, u64 bits)
{
	return header_set(q, &q->header.autoclear, &q->autoclear, bits);
}

/* Returns what follows, or 0 when there isn't room. data may be NULL: zeros. */
static u64 header_put_ext(u8 *buf, u64 at, u64 end, u32 type, const void *data, u32 bytes)
{
	const struct qcow2_ext_wire w = {be32_of(type), be32_of(bytes)};

	if (!at || align_up(at + sizeof(w) + bytes, 8) > end)
		return 0;
	memcpy(buf + at, &w, sizeof(w));
	if (data)
		memcpy(buf + at + sizeof(w), data, bytes);
	return align_up(at + sizeof(w) + bytes, 8);
}

static u64 header_put_extensions(const struct qcow2 *q, u8 *buf, u64 start)
{
	u64 at = q->header_bytes, skip = at + sizeof(struct qcow2_ext_wire);

	if (start > skip)
		at = header_put_ext(buf, at, q->cluster_size, QCOW2_EXT_SKIP, NULL,
				    (u32)(start - skip));
	for (u32 i = 0; i < q->n_ext; i++)
		at = header_put_ext(buf, at, q->cluster_size, q->ext[i].type, q->ext[i].data,
				    q->ext[i].bytes);
	return header_put_ext(buf, at, q->cluster_size, QCOW2_EXT_END, NULL, 0);
}

struct header_image { /* as it is to be in the file */
	struct qcow2_header_wire fields;
	u8 *buf; /* a cluster */
	u64 end; /* 0: it doesn't fit */
};

/* start: where the extensions begin; 0: where they always do. */
static void header_build(const struct qcow2 *q, u64 start, struct header_image *out)
{
	u64 name_bytes = q->backing_name ? strlen(q->backing_name) : 0;
	u64 at;

	memset(out->buf, 0, q->cluster_size);
	out->fields = q->header;
	out->end = 0;
	at = header_put_extensions(q, out->buf, start);
	if (!at || name_bytes > QCOW2_NAME_MAX || !range_fits(at, name_bytes, q->cluster_size))
		return;
	out->fields.backing_offset = be64_of(name_bytes ? at : 0);
	out->fields.backing_bytes = be32_of((u32)name_bytes);
	memcpy(out->buf, &out->fields, MIN(q->header_bytes, sizeof(out->fields)));
	if (q->header_rest)
		memcpy(out->buf + sizeof(out->fields), q->header_rest,
		       q->header_bytes - sizeof(out->fields));
	if (name_bytes)
		memcpy(out->buf + at, q->backing_name, name_bytes);
	out->end = at + name_bytes;
}

/* What lies behind `from`, which the file's header doesn't use; then the first sector. */
static int header_put(struct qcow2 *q, const struct header_image *h, u64 from)
{
	u64 end = align_up(h->end, BLK_SECTOR);
	int r = 0;

	if (end > from) {
		r = blk_write(q->file, from, h->buf + from, end - from);
		if (r == 0)
			r = blk_flush(q->file);
	}
	if (r == 0)
		r = blk_write(q->file, 0, h->buf, BLK_SECTOR);
	if (r < 0)
		return r;
	q->header = h->fields;
	q->header_end = MAX(q->header_end, h->end);
	return blk_flush(q->file);
}

/* The new header, h, is in the file, and lies behind both the old one and where it is going to be. */
static int header_put_behind(struct qcow2 *q, const struct header_image *h, struct err *err)
{
	u64 from = align_up(MAX(h->end, q->header_end), BLK_SECTOR);
	AUTO(free_ptr) u8 *buf = mem_alloc(1, q->cluster_size);
	struct header_image behind = {.buf = buf};
	int r;

	header_build(q, from, &behind);
	if (!behind.end || q->header_bytes + sizeof(struct qcow2_ext_wire) > BLK_SECTOR)
		return err_set(err, -EFBIG, "the cluster has no room to change the header safely");
	r = header_put(q, &behind, from);
	return r < 0 ? err_errno(err, r, "cannot write the header") : 0;
}

/* The new header is in its place; what is left of others is cleared. */
static int header_clear_rest(struct qcow2 *q, u64 end)
{
	u64 from = align_up(end, BLK_SECTOR), old = align_up(q->header_end, BLK_SECTOR);

	q->header_end = end;
	return old > from ? blk_write_zeroes(q->file, from, old - from, false) : 0;
}

static int header_replace(struct qcow2 *q, struct err *err)
{
	AUTO(free_ptr) u8 *buf = mem_alloc(1, q->cluster_size);
	struct header_image h = {.buf = buf};
	int r = 0;

	header_build(q, 0, &h);
	if (!h.end)
		return err_set(err, -EFBIG, "the header doesn't fit into a cluster");
	if (!q->header_end) { /* a new image, and nobody relies on it */
		r = blk_write(q->file, 0, buf, q->cluster_size);
		q->header = h.fields;
		q->header_end = h.end;
		return r < 0 ? err_errno(err, r, "cannot write the header") : 0;
	}
	if (h.end > BLK_SECTOR && q->header_end > BLK_SECTOR)
		r = header_put_behind(q, &h, err);
	if (r < 0)
		return r;
	r = header_put(q, &h, BLK_SECTOR);
	if (r == 0)
		r = header_clear_rest(q, h.end);
	return r < 0 ? err_errno(err, r, "cannot write the header") : 0;
}

int qcow2_header_write(struct qcow2 *q, struct err *err)
{
	int r = header_replace(q, err);

	/* In small clusters the names of features have to make room: they only explain. */
	if (r == -EFBIG && qcow2_find_ext(q, QCOW2_EXT_FEATURES)) {
		qcow2_set_ext(q, QCOW2_EXT_FEATURES, NULL, 0);
		r = header_replace(q, err);
	}
	return r;
}
