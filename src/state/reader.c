/*
 * Reading saved state. The bytes come from a stranger: every length is checked against what is
 * there, every section against its checksum before a field of it is believed. See state.h.
 */
#include "state/state.h"

#include <string.h>

#include "base/alloc.h"
#include "base/crc32.h"
#include "base/err.h"
#include "state/state_wire.h"

/* A run of bytes being consumed. */
struct state_span {
	const u8 *at;
	size_t left;
};

struct state_reader {
	struct state_span all;
	struct state_span body; /* of the section stepped to */
	u16 version;
	char name[STATE_NAME_MAX + 1];
};

static const void *state_span_take(struct state_span *s, size_t size)
{
	const u8 *at = s->at;

	if (size > s->left)
		return NULL;
	s->at += size;
	s->left -= size;
	return at;
}

struct state_reader *state_reader_new(const void *data, size_t size)
{
	struct state_reader *r = NEW(struct state_reader);

	r->all = (struct state_span){data, size};
	return r;
}

void state_reader_free(struct state_reader *r)
{
	free(r);
}

static int state_cut(struct err *err)
{
	return err_set(err, -EINVAL, "the saved state is cut short");
}

/* The name of a section or subsection into a buffer of STATE_NAME_MAX + 1. */
static int state_take_name(struct state_span *s, size_t size, char *out, struct err *err)
{
	const char *name;

	if (!size || size > STATE_NAME_MAX)
		return err_set(err, -EINVAL, "a section's name has %zu bytes", size);
	name = state_span_take(s, size);
	if (!name)
		return state_cut(err);
	memcpy(out, name, size);
	out[size] = '\0';
	return 0;
}

int state_reader_next(struct state_reader *r, const char **out_name, u32 *out_instance,
		      struct err *err)
{
	const struct state_section_wire *h;
	const u8 *checked;
	u64 body_size;
	u32 crc;
	int ret;

	if (r->all.left >= sizeof(le32) && le32_load(r->all.at) == STATE_MAGIC_END)
		return 0;
	h = state_span_take(&r->all, sizeof(*h));
	if (!h)
		return state_cut(err);
	if (le32_get(h->magic) != STATE_MAGIC_SECTION)
		return err_set(err, -EINVAL,
			       "the saved state is damaged: no section where one "
			       "should begin");
	checked = r->all.at;
	ret = state_take_name(&r->all, le16_get(h->name_size), r->name, err);
	if (ret < 0)
		return ret;
	body_size = le64_get(h->body_size);
	r->body = (struct state_span){r->all.at, body_size};
	if (!state_span_take(&r->all, body_size))
		return state_cut(err);
	crc = crc32_update(0, checked, (size_t)(r->all.at - checked));
	crc = crc32_update(crc, h, offsetof(struct state_section_wire, crc));
	if (crc != le32_get(h->crc))
		return err_set(err, -EINVAL,
			       "the saved state is damaged: section \"%s\" has a "
			       "wrong checksum",
			       r->name);
	r->version = le16_get(h->version);
	*out_name = r->name;
	*out_instance = le32_get(h->instance);
	return 1;
}

static int state_take_body(struct state_span *s, const struct state_table *t, u16 version,
			   void *object, struct err *err);

static int state_take_field(struct state_span *s, const struct state_field *f, u16 version,
			    void *object, struct err *err)
{
	size_t size = (size_t)f->size * f->count;
	u8 *at = (u8 *)object + f->offset;
	const u8 *from;

	if (f->kind == STATE_STRUCT) {
		for (u32 i = 0; i < f->count; i++) {
			int r = state_take_body(s, f->sub, version, at + (size_t)i * f->size, err);
			if (r < 0)
				return r;
		}
		return 0;
	}
	if (f->kind == STATE_BOOL)
		size = 1;
	from = state_span_take(s, size);
	if (!from)
		return err_set(err, -EINVAL, "it ends before field \"%s\"", f->name);
	if (f->kind == STATE_BOOL && *from > 1)
		return err_set(err, -EINVAL, "field \"%s\" is neither 0 nor 1", f->name);
	memcpy(at, from, size);
	return 0;
}

static const struct state_table *state_find_subsection(const struct state_table *t,
						       const char *name)
{
	for (size_t i = 0; t->subsections && t->subsections[i]; i++) {
		if (!strcmp(t->subsections[i]->name, name))
			return t->subsections[i];
	}
	return NULL;
}

static int state_check_version(const struct state_table *t, u16 version, struct err *err)
{
	u16 oldest = t->oldest_version ? t->oldest_version : t->version;

	if (version < oldest || version > t->version)
		return err_set(err, -EINVAL, "version %u; this program reads %u to %u", version,
			       oldest, t->version);
	return 0;
}

static int state_take_subsection(struct state_span *s, const struct state_table *parent,
				 void *object, struct err *err)
{
	const struct state_subsection_wire *h = state_span_take(s, sizeof(*h));
	const struct state_table *t;
	char name[STATE_NAME_MAX + 1];
	struct state_span body;
	int r;

	if (!h || le32_get(h->magic) != STATE_MAGIC_SUBSECTION)
		return err_set(err, -EINVAL, "bytes are left after its last field");
	r = state_take_name(s, le16_get(h->name_size), name, err);
	if (r < 0)
		return r;
	body = (struct state_span){s->at, le64_get(h->body_size)};
	if (!state_span_take(s, body.left))
		return state_cut(err);
	t = state_find_subsection(parent, name);
	if (!t)
		return err_set(err, -EINVAL, "subsection \"%s\" is unknown to this program", name);
	r = state_check_version(t, le16_get(h->version), err);
	if (!r)
		r = state_take_body(&body, t, le16_get(h->version), object, err);
	if (!r && body.left)
		r = err_set(err, -EINVAL, "bytes are left after its last field");
	return r < 0 ? err_wrap(err, "subsection \"%s\"", name) : 0;
}

static int state_take_body(struct state_span *s, const struct state_table *t, u16 version,
			   void *object, struct err *err)
{
	for (const struct state_field *f = t->fields; f->name; f++) {
		int r = version >= f->since ? state_take_field(s, f, version, object, err) : 0;

		if (r < 0)
			return r;
	}
	while (t->subsections && s->left >= sizeof(le32) &&
	       le32_load(s->at) == STATE_MAGIC_SUBSECTION) {
		int r = state_take_subsection(s, t, object, err);

		if (r < 0)
			return r;
	}
	return t->after_load ? t->after_load(object, version, err) : 0;
}

int state_load(struct state_reader *r, const struct state_table *t, void *object, struct err *err)
{
	struct state_span body = r->body;
	int ret = state_check_version(t, r->version, err);

	if (!ret)
		ret = state_take_body(&body, t, r->version, object, err);
	if (!ret && body.left)
		ret = err_set(err, -EINVAL, "bytes are left after its last field");
	return ret < 0 ? err_wrap(err, "section \"%s\"", t->name) : 0;
}
