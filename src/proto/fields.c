/*
 * Field tables to JSON and back. See fields.h.
 */
#include "proto/fields.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "proto/text.h"

int guest_word_value(const struct guest_words *w, const char *word)
{
	for (int i = 0; w->words[i]; i++) {
		if (!strcmp(w->words[i], word))
			return i;
	}
	return -1;
}

const char *guest_word(const struct guest_words *w, int value)
{
	return w->words[value];
}

static const void *field_at(const struct field *f, const void *object)
{
	return (const u8 *)object + f->offset;
}

/* --- encoding --- */

static const char *field_text(const struct field *f, const void *object)
{
	return *(char *const *)field_at(f, object);
}

static u64 field_uint(const struct field *f, const void *object)
{
	const void *at = field_at(f, object);

	return f->size == sizeof(u64) ? *(const u64 *)at : *(const u32 *)at;
}

static unsigned *field_count(const struct field *f, const void *object)
{
	return (unsigned *)((u8 *)(uintptr_t)object + f->list->count_offset);
}

/* Is it as the struct's init left it? */
static bool field_is_initial(const struct field *f, const void *object, const void *init_object)
{
	const char *text, *initial;

	switch (f->kind) {
	case FIELD_TEXT:
	case FIELD_PEOPLE:
		text = field_text(f, object);
		initial = field_text(f, init_object);
		return text == initial || (text && initial && !strcmp(text, initial));
	case FIELD_LIST:
		return *field_count(f, object) == 0;
	case FIELD_WORD:
	case FIELD_BOOL:
	case FIELD_UINT:
	case FIELD_OCTETS:
	case FIELD_FD:
		return !memcmp(field_at(f, object), field_at(f, init_object), f->size);
	}
	unreachable_code();
}

static json_t *field_encode_octets(const struct field *f, const void *object)
{
	const u8 *octets = field_at(f, object);
	json_t *array = json_array();

	for (u32 i = 0; i < f->size; i++)
		json_array_append_new(array, json_integer(octets[i]));
	return array;
}

/* NULL where there is nothing to write. */
static json_t *field_encode_fd(const struct field *f, const void *object, struct field_fds *fds)
{
	int fd = *(const int *)field_at(f, object);

	if (fd < 0 || !fds)
		return NULL;
	assert(fds->n < fds->max);
	fds->fds[fds->n] = fd;
	return json_integer((json_int_t)fds->n++);
}

static json_t *field_encode_list(const struct field *f, const void *object, struct field_fds *fds)
{
	const struct field_list *list = f->list;
	AUTO(free_ptr) void *initial = mem_alloc(1, list->element_size);
	const u8 *element = field_at(f, object);
	json_t *array = json_array();

	list->init(initial);
	for (unsigned i = 0; i < *field_count(f, object); i++, element += list->element_size)
		json_array_append_new(array, fields_encode(list->fields, element, initial, fds));
	return array;
}

static json_t *field_encode(const struct field *f, const void *object, struct field_fds *fds)
{
	switch (f->kind) {
	case FIELD_TEXT:
		return json_string(field_text(f, object));
	case FIELD_PEOPLE:
		return proto_text(field_text(f, object));
	case FIELD_WORD:
		return json_string(guest_word(f->words, *(const int *)field_at(f, object)));
	case FIELD_BOOL:
		return json_boolean(*(const bool *)field_at(f, object));
	case FIELD_UINT:
		return json_integer((json_int_t)field_uint(f, object));
	case FIELD_OCTETS:
		return field_encode_octets(f, object);
	case FIELD_FD:
		return field_encode_fd(f, object, fds);
	case FIELD_LIST:
		return field_encode_list(f, object, fds);
	}
	unreachable_code();
}

json_t *fields_encode(const struct field *fields, const void *object, const void *init_object,
		      struct field_fds *fds)
{
	json_t *to = json_object();

	for (const struct field *f = fields; f->name; f++) {
		json_t *value;

		if (!f->is_required && field_is_initial(f, object, init_object))
			continue;
		value = field_encode(f, object, fds);
		/* Whoever filled the struct in has checked that its texts are text. */
		assert(value || f->kind == FIELD_FD);
		if (value)
			json_object_set_new(to, f->name, value);
	}
	return to;
}

/* --- decoding --- */

static int field_refuse(const struct field *f, const char *why, struct err *err)
{
	return err_set(err, -EINVAL, "'%s' %s", f->name, why);
}

static int field_decode_text(const struct field *f, const json_t *from, void *at, struct err *err)
{
	if (!json_is_string(from))
		return field_refuse(f, "is not a text", err);
	free(*(char **)at);
	*(char **)at = str_dup(json_string_value(from));
	return 0;
}

static int field_decode_word(const struct field *f, const json_t *from, void *at, struct err *err)
{
	int value;

	if (!json_is_string(from))
		return field_refuse(f, "is not a word", err);
	value = guest_word_value(f->words, json_string_value(from));
	if (value < 0)
		return err_set(err, -EINVAL, "'%s': unknown word '%s'", f->name,
			       json_string_value(from));
	*(int *)at = value;
	return 0;
}

static int field_decode_uint(const struct field *f, const json_t *from, void *at, struct err *err)
{
	json_int_t value = json_integer_value(from);

	if (!json_is_integer(from) || value < 0 || (f->size == sizeof(u32) && value > UINT32_MAX))
		return field_refuse(f, "is not a number in range", err);
	if (f->size == sizeof(u64))
		*(u64 *)at = (u64)value;
	else
		*(u32 *)at = (u32)value;
	return 0;
}

static int field_decode_octets(const struct field *f, const json_t *from, u8 *at, struct err *err)
{
	if (json_array_size(from) != f->size)
		return field_refuse(f, "has not the right number of octets", err);
	for (u32 i = 0; i < f->size; i++) {
		const json_t *octet = json_array_get(from, i);

		if (!json_is_integer(octet) || json_integer_value(octet) < 0 ||
		    json_integer_value(octet) > UINT8_MAX)
			return field_refuse(f, "has what is no octet", err);
		at[i] = (u8)json_integer_value(octet);
	}
	return 0;
}

/* Each may be taken once. -1 is none: older peers say so, where newer ones leave the member out. */
static int field_decode_fd(const struct field *f, const json_t *from, void *at,
			   struct field_fds *fds, struct err *err)
{
	json_int_t index = json_integer_value(from);

	if (json_is_integer(from) && index == -1) {
		*(int *)at = -1;
		return 0;
	}
	if (!json_is_integer(from) || !fds || index < 0 || (u64)index >= fds->n ||
	    fds->fds[index] < 0)
		return err_set(err, -EINVAL, "'%s': there is no descriptor %lld", f->name,
			       (long long)index);
	fd_close(*(int *)at);
	*(int *)at = fd_take(fds->fds[index]);
	return 0;
}

static int field_decode_list(const struct field *f, const json_t *from, void *object,
			     struct field_fds *fds, struct err *err)
{
	const struct field_list *list = f->list;
	u8 *element = (u8 *)object + f->offset;
	unsigned *n = field_count(f, object);

	assert(!*n);
	if (!json_is_array(from))
		return field_refuse(f, "is not a list", err);
	if (json_array_size(from) > list->max)
		return err_set(err, -EINVAL, "%zu of '%s': a guest has at most %u",
			       json_array_size(from), f->name, list->max);
	for (; *n < json_array_size(from); element += list->element_size) {
		unsigned i = (*n)++; /* counted first: whoever frees the struct frees this one */

		list->init(element);
		if (fields_decode(list->fields, json_array_get(from, i), element, fds, err) < 0)
			return err_wrap(err, "%s %u", list->what, i);
	}
	return 0;
}

static int field_decode(const struct field *f, const json_t *from, void *object,
			struct field_fds *fds, struct err *err)
{
	void *at = (u8 *)object + f->offset;

	switch (f->kind) {
	case FIELD_TEXT:
	case FIELD_PEOPLE:
		return field_decode_text(f, from, at, err);
	case FIELD_WORD:
		return field_decode_word(f, from, at, err);
	case FIELD_BOOL:
		if (!json_is_boolean(from))
			return field_refuse(f, "is neither true nor false", err);
		*(bool *)at = json_is_true(from);
		return 0;
	case FIELD_UINT:
		return field_decode_uint(f, from, at, err);
	case FIELD_OCTETS:
		return field_decode_octets(f, from, at, err);
	case FIELD_FD:
		return field_decode_fd(f, from, at, fds, err);
	case FIELD_LIST:
		return field_decode_list(f, from, object, fds, err);
	}
	unreachable_code();
}

static const struct field *field_find(const struct field *fields, const char *name)
{
	for (; fields->name; fields++) {
		if (!strcmp(fields->name, name))
			return fields;
	}
	return NULL;
}

static int fields_check_names(const struct field *fields, json_t *from, struct err *err)
{
	for (void *it = json_object_iter(from); it; it = json_object_iter_next(from, it)) {
		if (!field_find(fields, json_object_iter_key(it)))
			return err_set(err, -EINVAL, "unknown member '%s'",
				       json_object_iter_key(it));
	}
	return 0;
}

int fields_decode(const struct field *fields, const json_t *from, void *object,
		  struct field_fds *fds, struct err *err)
{
	if (!json_is_object(from))
		return err_set(err, -EINVAL, "not an object");
	/* jansson's iterators take what they don't change as if they did. */
	if (fields_check_names(fields, (json_t *)(uintptr_t)from, err) < 0)
		return err->code;
	for (const struct field *f = fields; f->name; f++) {
		const json_t *value = json_object_get(from, f->name);

		if (!value && f->is_required)
			return field_refuse(f, "is missing", err);
		if (value && field_decode(f, value, object, fds, err) < 0)
			return err->code;
	}
	return 0;
}
