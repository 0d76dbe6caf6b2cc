/*
 * A struct's members as a table, to a JSON object and back: what configuration messages are made of.
 *
 * Each struct that travels has one table of fields, each element of a list one of its own. A field is
 * required, or optional: then it is written only where it differs from what the struct's init gave, and
 * means just that where it is absent. So an older configuration stays readable when members are added.
 * Unknown members are refused by name: what is half understood is something else.
 *
 * A descriptor is written as an index into those that travel with the message, and left out when it is
 * -1 or when none travel.
 */
#ifndef PROTO_FIELDS_H
#define PROTO_FIELDS_H

#include "base/base.h"

struct err;
struct json_t;

/* An enum's word and back; -1 when there is no such word. */
struct guest_words {
	const char *const *words; /* ends with NULL; the index is the value */
};
int guest_word_value(const struct guest_words *w, const char *word);
const char *guest_word(const struct guest_words *w, int value);

enum field_kind {
	FIELD_TEXT,   /* char *, the struct's own; NULL is written as nothing */
	FIELD_PEOPLE, /* the same, any bytes: what isn't UTF-8 is shown, not kept */
	FIELD_WORD,   /* an enum with words */
	FIELD_BOOL,
	FIELD_UINT,   /* 4 or 8 bytes, at most INT64_MAX */
	FIELD_OCTETS, /* an array of u8, as numbers */
	FIELD_FD,
	FIELD_LIST,
};

struct field_list;

struct field {
	const char *name; /* NULL ends the table */
	enum field_kind kind;
	u32 offset, size; /* of the member, bytes */
	bool is_required;
	const struct guest_words *words; /* FIELD_WORD */
	const struct field_list *list;   /* FIELD_LIST */
};

/* An array of structs, and the unsigned that counts those in use. */
struct field_list {
	const char *what; /* one element, for messages: "disk" */
	u32 count_offset; /* of the counter, in the same struct as the array */
	u32 element_size, max;
	const struct field *fields;
	void (*init)(void *element);
};

/* clang-format off */
#define FIELD_(kind_, name_, type_, member_, required_)                                            \
	.name = (name_), .kind = (kind_), .offset = offsetof(type_, member_),                      \
	.size = MEMBER_SIZE(type_, member_), .is_required = (required_)
#define FIELD(kind_, name_, type_, member_) { FIELD_(kind_, name_, type_, member_, true) }
#define FIELD_OPTIONAL(kind_, name_, type_, member_) { FIELD_(kind_, name_, type_, member_, false) }
#define FIELD_WORDS(name_, type_, member_, words_)                                                 \
	{ FIELD_(FIELD_WORD, name_, type_, member_, true), .words = (words_) }
#define FIELD_WORDS_OPTIONAL(name_, type_, member_, words_)                                        \
	{ FIELD_(FIELD_WORD, name_, type_, member_, false), .words = (words_) }
/* An empty list is written as nothing. */
#define FIELD_LISTED(name_, type_, member_, list_)                                                 \
	{ FIELD_(FIELD_LIST, name_, type_, member_, false), .list = (list_) }
#define FIELD_END { .name = NULL }
/* clang-format on */

/*
 * The descriptors of a message. Encoding: n counts those that the fields refer to, borrowed; max is
 * the room that the caller knows to be enough. Decoding: each is taken at most once and is -1 then.
 */
struct field_fds {
	int *fds;
	size_t n, max;
};

/* A new object. init_object is what the struct's init gives. fds: NULL leaves descriptors out. */
struct json_t *fields_encode(const struct field *fields, const void *object,
			     const void *init_object, struct field_fds *fds);

/*
 * Into an object that was initialized; its texts and lists are replaced. fds: NULL refuses every
 * descriptor. Names the member on failure; the object is then partly filled: free it.
 */
int fields_decode(const struct field *fields, const struct json_t *from, void *object,
		  struct field_fds *fds, struct err *err);

#endif
