/*
 * posada image info: what an image says of itself, and those beneath it.
 *
 * Each is opened alone, so that one whose backing is missing can still be looked at.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "image/helper/helper_priv.h"
#include "proto/text.h"

static json_t *info_number(u64 n)
{
	return json_integer((json_int_t)n);
}

static void info_add_snapshots(struct blk *b, json_t *out)
{
	struct err err = ERR_INIT;
	struct img_snapshot *s;
	json_t *list;
	unsigned n;

	if (!b->image->snapshots || b->image->snapshots(b, &s, &n, &err) < 0)
		return;
	list = json_array();
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, helper_snapshot_json(&s[i]));
	if (n)
		json_object_set(out, "snapshots", list);
	json_decref(list);
	img_snapshots_free(s, n);
}

static void info_add_bitmaps(struct blk *b, json_t *out)
{
	struct err err = ERR_INIT;
	struct img_bitmap *m;
	json_t *list;
	unsigned n;

	if (!b->image->bitmaps || b->image->bitmaps(b, &m, &n, &err) < 0)
		return;
	list = json_array();
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, helper_bitmap_json(&m[i]));
	if (n)
		json_object_set(out, "bitmaps", list);
	json_decref(list);
	img_bitmaps_free(m, n);
}

static void info_add_specific(const struct img_info *i, const char *format, json_t *out)
{
	if (i->specific)
		json_object_set_new(out, "format-specific",
				    json_pack("{s:s, s:O}", "type", format, "data", i->specific));
	if (i->cluster_bytes)
		json_object_set_new(out, "cluster-size", info_number(i->cluster_bytes));
	if (i->is_encrypted)
		json_object_set_new(out, "encrypted", json_true());
	if (i->is_compressed)
		json_object_set_new(out, "compressed", json_true());
	if (i->is_corrupt)
		json_object_set_new(out, "corrupt", json_true());
	json_object_set_new(out, "dirty-flag", json_boolean(i->is_dirty));
	if (i->backing_name)
		json_object_set_new(out, "backing-filename", proto_text(i->backing_name));
	if (i->backing_format)
		json_object_set_new(out, "backing-filename-format", proto_text(i->backing_format));
}

/* The likeliest format, told as a guess. */
static int info_guess(struct helper *h, unsigned file, json_t *out, struct err *err)
{
	const struct helper_open o = {0};
	const struct img_format *f;
	struct blk *b;
	int certainty, r = helper_open_file(h, file, &o, &b, err);

	if (r < 0)
		return r;
	r = img_probe_file(b, NULL, &f, &certainty);
	blk_free(b);
	if (r < 0)
		return err_errno(err, r, "cannot read it");
	if (!f)
		return err_set(err, -EINVAL, "it is empty");
	h->files[file].format = f;
	json_object_set_new(out, "certainty", json_integer(certainty));
	return 0;
}

/* What a chain goes on with: the number of the next file, or 0. */
static int info_next(struct helper *h, unsigned file, const struct img_info *i, unsigned *out,
		     struct err *err)
{
	const struct img_child child = {
		.role = IMG_BACKING, .name = i->backing_name, .format = i->backing_format};

	*out = 0;
	return i->backing_name ? helper_ask(h, "open", file, &child, out, err) : 0;
}

static int info_describe(struct helper *h, unsigned file, bool is_chain, json_t *out,
			 unsigned *out_next, struct err *err)
{
	const struct helper_open o = {.is_alone = true};
	struct img_info info = {0};
	struct stat st;
	struct blk *b;
	int r = h->files[file].format ? 0 : info_guess(h, file, out, err);

	if (r == 0)
		r = helper_open_image(h, file, &o, &b, err);
	if (r < 0)
		return r;
	json_object_set_new(out, "format", json_string(b->image->format->name));
	json_object_set_new(out, "virtual-size", info_number(b->size));
	if (fstat(h->files[file].fd, &st) == 0)
		json_object_set_new(out, "actual-size", info_number((u64)st.st_blocks * 512));
	r = b->image->info ? b->image->info(b, &info, err) : 0;
	if (r == 0) {
		info_add_specific(&info, b->image->format->name, out);
		info_add_snapshots(b, out);
		info_add_bitmaps(b, out);
	}
	blk_free(b);
	if (r == 0 && is_chain)
		r = info_next(h, file, &info, out_next, err);
	img_info_fini(&info);
	return r;
}

int helper_info(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	json_t *images = json_array();
	unsigned file = 0;
	int r;

	do {
		json_t *image = json_pack("{s:i}", "file", (int)file);
		unsigned next = 0;

		json_array_append_new(images, image);
		r = info_describe(h, file, arg_bool(args, "chain"), image, &next, err);
		file = next;
	} while (r == 0 && file);
	*out = json_pack("{s:o}", "images", images);
	if (r < 0)
		json_decref(*out);
	return r;
}
