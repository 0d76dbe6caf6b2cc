/*
 * Which formats there are, guessing one, and what they share. See image.h.
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/image.h"

#define PROBE_BYTES (128 * KIB) /* an ISO's and VHDX's signatures lie within */

/* clang-format off */
const struct img_format *const img_formats[] = {
	&img_raw,
	&img_qcow2,
	&img_vdi,
	&img_vhd,
	&img_vhdx,
	&img_vmdk,
	&img_luks,
	NULL,
};
/* clang-format on */

const struct img_format *img_find_format(const char *name)
{
	for (const struct img_format *const *f = img_formats; *f; f++) {
		if (strcmp((*f)->name, name) == 0)
			return *f;
	}
	return NULL;
}

const struct img_format *img_probe(const struct img_probe *p, int *out_certainty)
{
	const struct img_format *best = NULL;
	int certainty = 0;

	for (const struct img_format *const *f = img_formats; *f; f++) {
		int c = (*f)->probe(p);

		if (c > certainty) {
			best = *f;
			certainty = c;
		}
	}
	*out_certainty = certainty;
	return best;
}

int img_probe_file(struct blk *file, const char *name, const struct img_format **out,
		   int *out_certainty)
{
	struct img_probe p = {.size = file->size, .name = name};
	AUTO(free_ptr) u8 *head = NULL;
	u8 tail[512];
	int r;

	p.head_bytes = MIN(file->size, PROBE_BYTES);
	p.tail_bytes = MIN(file->size, sizeof(tail));
	head = alloc_try(1, p.head_bytes + 1);
	if (!head)
		return -ENOMEM;
	r = blk_read(file, 0, head, p.head_bytes);
	if (r == 0)
		r = blk_read(file, file->size - p.tail_bytes, tail, p.tail_bytes);
	if (r < 0)
		return r;
	p.head = head;
	p.tail = tail;
	*out = img_probe(&p, out_certainty);
	return 0;
}

int img_open(const struct img_format *f, struct blk *file, const struct img_open_options *o,
	     struct blk **out, struct err *err)
{
	if (file->is_readonly && !o->is_readonly)
		return err_set(err, -EROFS, "the file is open for reading only");
	return f->open(file, o, out, err);
}

static bool format_has_option(const struct img_format *f, const char *name)
{
	for (const struct img_option_info *i = f->create_options; i && i->name; i++) {
		if (strcmp(i->name, name) == 0)
			return true;
	}
	return false;
}

static int format_check_options(const struct img_format *f, const struct img_create_options *o,
				struct err *err)
{
	for (unsigned i = 0; i < o->n_options; i++) {
		if (!format_has_option(f, o->options[i].name))
			return err_set(err, -EINVAL, "%s images have no option '%s'", f->name,
				       o->options[i].name);
	}
	return 0;
}

int img_measure(const struct img_format *f, const struct img_create_options *o, struct blk *source,
		struct img_measure *out, struct err *err)
{
	struct img_create_options with = *o;

	if (source)
		with.size = source->size;
	if (!f->measure)
		return err_set(err, -ENOTSUP, "how large %s images get can't be said", f->name);
	if (format_check_options(f, &with, err) < 0)
		return err->code;
	return f->measure(&with, source, out, err);
}

int img_create(const struct img_format *f, struct blk *file, const struct img_create_options *o,
	       struct err *err)
{
	int r;

	if (!f->create)
		return err_set(err, -ENOTSUP, "new images of the format %s can't be made", f->name);
	if (o->backing_name && !f->can_back)
		return err_set(err, -ENOTSUP, "%s images have no backing file", f->name);
	if (format_check_options(f, o, err) < 0)
		return err->code;
	r = f->create(file, o, err);
	if (r < 0)
		return r;
	r = blk_flush(file);
	return r < 0 ? err_errno(err, r, "cannot write it to the disk") : 0;
}

/* --- options --- */

const char *img_option(const struct img_create_options *o, const char *name)
{
	for (unsigned i = o->n_options; i-- > 0;) {
		if (strcmp(o->options[i].name, name) == 0)
			return o->options[i].value;
	}
	return NULL;
}

int img_option_word(const struct img_create_options *o, const char *name, const char *const *words,
		    unsigned *out, struct err *err)
{
	const char *value = img_option(o, name);

	if (!value)
		return 0;
	for (unsigned i = 0; words[i]; i++) {
		if (strcmp(value, words[i]) == 0) {
			*out = i;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "%s=%s is not possible", name, value);
}

int img_option_bool(const struct img_create_options *o, const char *name, bool *out,
		    struct err *err)
{
	const char *value = img_option(o, name);

	if (!value)
		return -ENOENT;
	if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0) {
		*out = value[1] == 'n';
		return 0;
	}
	return err_set(err, -EINVAL, "%s=%s: it is on or off", name, value);
}

int img_option_size(const struct img_create_options *o, const char *name, u64 *out, struct err *err)
{
	static const char units[] = "KMGTP";
	const char *value = img_option(o, name), *unit = NULL;
	unsigned long long v;
	unsigned shift = 0;
	char *end;

	if (!value)
		return -ENOENT;
	errno = 0;
	v = strtoull(value, &end, 10);
	if (*end)
		unit = strchr(units, *end & ~0x20);
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (errno || end == value || *value == '-' || *end || (v << shift) >> shift != v)
		return err_set(err, -EINVAL, "%s=%s: it is a size, as 64K", name, value);
	*out = (u64)v << shift;
	return 0;
}

/* --- children --- */

static const struct {
	const char *word, *text;
} formats_roles[] = {
	[IMG_BACKING] = {"backing", "its backing file"},
	[IMG_DATA] = {"data", "its data file"},
	[IMG_EXTENT] = {"extent", "a part of it"},
};

const char *img_role_word(enum img_role role)
{
	return formats_roles[role].word;
}

const char *img_role_text(enum img_role role)
{
	return formats_roles[role].text;
}

int img_role_find(const char *word, enum img_role *out)
{
	for (size_t i = 0; word && i < ARRAY_SIZE(formats_roles); i++) {
		if (strcmp(formats_roles[i].word, word) == 0) {
			*out = (enum img_role)i;
			return 0;
		}
	}
	return -ENOENT;
}

int img_open_child(const struct img_open_options *o, const struct img_child *child,
		   struct blk **out, struct err *err)
{
	if (!o->opener)
		return err_set(err, -EACCES, "it needs another file, and may open none");
	return o->opener->open(o->opener->opaque, child, out, err);
}

/* --- space --- */

int img_allocate(struct blk *file, u64 offset, u64 bytes, bool is_written)
{
	static const u8 zeros[256 * KIB] __attribute__((aligned(PAGE_SIZE)));
	int r = 0;

	if (!is_written)
		return blk_write_zeroes(file, offset, bytes, false);
	while (r == 0 && bytes) {
		u64 n = MIN(bytes, sizeof(zeros));

		r = blk_write(file, offset, zeros, n);
		offset += n;
		bytes -= n;
	}
	return r;
}

/* --- what is handed out --- */

void img_info_fini(struct img_info *i)
{
	free(i->backing_name);
	free(i->backing_format);
	json_decref(i->specific);
}

void img_snapshots_free(struct img_snapshot *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(s[i].id);
		free(s[i].name);
	}
	free(s);
}

void img_bitmaps_free(struct img_bitmap *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(b[i].name);
	free(b);
}
