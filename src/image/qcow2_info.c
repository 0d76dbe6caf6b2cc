/*
 * What qcow2 tells a person of itself: as qemu-img's "format-specific" data, with its names.
 */
#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "image/qcow2_priv.h"

/* Names are the image's: what isn't UTF-8 is told as such. */
static json_t *info_string(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("(not UTF-8)");
}

static void info_bitmaps(struct blk *b, json_t *to)
{
	struct img_bitmap *bitmaps;
	struct err err = ERR_INIT;
	unsigned n;
	json_t *list;

	if (!b->image->bitmaps || b->image->bitmaps(b, &bitmaps, &n, &err) < 0)
		return;
	list = json_array();
	for (unsigned i = 0; i < n; i++) {
		json_t *flags = json_array();

		if (bitmaps[i].is_inconsistent)
			json_array_append_new(flags, json_string("in-use"));
		if (bitmaps[i].is_enabled)
			json_array_append_new(flags, json_string("auto"));
		json_array_append_new(list, json_pack("{s:o, s:o, s:I}", "flags", flags, "name",
						      info_string(bitmaps[i].name), "granularity",
						      (json_int_t)bitmaps[i].granularity));
	}
	if (n)
		json_object_set_new(to, "bitmaps", list);
	else
		json_decref(list);
	img_bitmaps_free(bitmaps, n);
}

static json_t *info_specific(struct blk *b)
{
	struct qcow2 *q = qcow2_of(b);
	json_t *j = json_object();
	AUTO(free) char *data = qcow2_ext_string(q, QCOW2_EXT_DATA_FILE);

	json_object_set_new(j, "compat", json_string(q->version == 2 ? "0.10" : "1.1"));
	json_object_set_new(j, "compression-type",
			    json_string(q->compression == QCOW2_ZSTD ? "zstd" : "zlib"));
	if (q->version >= 3)
		json_object_set_new(j, "lazy-refcounts",
				    json_boolean(q->compatible & QCOW2_COMPAT_LAZY));
	json_object_set_new(j, "refcount-bits", json_integer(1 << q->refcount_order));
	if (q->luks)
		json_object_set_new(j, "encrypt", qcow2_crypt_describe(q));
	if (q->version < 3)
		return j;
	json_object_set_new(j, "corrupt", json_boolean(q->incompatible & QCOW2_INCOMPAT_CORRUPT));
	json_object_set_new(j, "extended-l2", json_boolean(q->has_subclusters));
	if (q->has_data_file) {
		if (data)
			json_object_set_new(j, "data-file", info_string(data));
		json_object_set_new(j, "data-file-raw", json_boolean(q->is_data_raw));
	}
	info_bitmaps(b, j);
	return j;
}

int qcow2_info(struct blk *b, struct img_info *out, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);

	(void)err;
	*out = (struct img_info){
		.cluster_bytes = q->cluster_size,
		.backing_name = str_dup(q->backing_name),
		.backing_format = qcow2_ext_string(q, QCOW2_EXT_BACKING_FORMAT),
		.is_encrypted = q->luks,
		.is_dirty = q->was_dirty || (q->incompatible & QCOW2_INCOMPAT_DIRTY),
		.is_corrupt = q->incompatible & QCOW2_INCOMPAT_CORRUPT,
		.specific = info_specific(b),
	};
	return 0;
}
