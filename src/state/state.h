/*
 * Saved state: what an object keeps, as a table of its fields.
 *
 * Each object that a guest can change describes its state once, beside its struct. Saving,
 * restoring, migrating and the debugger read these tables. A file or stream is a row of sections,
 * one per object, then an end mark:
 *
 *     le32 magic "PSEC" | le16 version | le16 name length | le32 instance | le64 body length |
 *     le32 crc32 of name, body and the header before it | name | body
 *
 * The body is the fields in table order, integers little-endian in their own width, no padding;
 * then its optional subsections, each as le32 magic "PSUB", le16 version, le16 name length,
 * le64 body length, name, body. A subsection is written only when its is_needed says so, so that
 * a newer object that doesn't use the new feature can be read by an older program. Unknown
 * sections and subsections are refused, never skipped.
 *
 * Restoring is constructing from the same configuration, then loading. Loaded values come from a
 * stranger: the table's after_load checks them like guest data. No host address, descriptor number
 * or host time is ever a field.
 *
 * A table and its object belong to one caller at a time; devices are locked by whoever walks them.
 */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include "base/base.h"

struct err;

enum state_kind {
	STATE_UINT,  /* unsigned integer of 1, 2, 4 or 8 bytes, or an array of these */
	STATE_BOOL,  /* bool, written as a byte, 0 or 1 and nothing else */
	STATE_BYTES, /* raw bytes, fixed size */
	/* A struct that has a table of its own, or an array of these. Its fields stand inline: their
	 * `since` counts in the versions of the table of the section. */
	STATE_STRUCT,
};

struct state_field {
	const char *name; /* NULL ends the table */
	enum state_kind kind;
	u32 offset;
	u32 size;                      /* of one element */
	u32 count;                     /* of elements */
	u16 since;                     /* first version of the table that has it */
	const struct state_table *sub; /* STATE_STRUCT */
};

struct state_table {
	const char *name;   /* of the section or subsection; at most STATE_NAME_MAX bytes */
	u16 version;        /* what is written, from 1 */
	u16 oldest_version; /* the oldest that can be read; 0 means version */
	const struct state_field *fields;
	const struct state_table *const *subsections; /* NULL, or ends with NULL */

	bool (*is_needed)(const void *object); /* subsections only */
	void (*before_save)(void *object);     /* gather into the fields */
	/* Check what was loaded (version says from which table) and rebuild what derives from it. */
	int (*after_load)(void *object, u16 version, struct err *err);
};

#define STATE_NAME_MAX 63

/* clang-format off */
#define STATE_FIELD_(kind_, type_, member_, size_, count_, since_, sub_)                           \
	{ .name = #member_, .kind = (kind_), .offset = offsetof(type_, member_),                   \
	  .size = (size_), .count = (count_), .since = (since_), .sub = (sub_) }
/* An unsigned integer (or an enum's u8/u32 storage). */
#define STATE_U(type_, member_)                                                                    \
	STATE_FIELD_(STATE_UINT, type_, member_, MEMBER_SIZE(type_, member_), 1, 1, NULL)
#define STATE_U_ARRAY(type_, member_)                                                              \
	STATE_FIELD_(STATE_UINT, type_, member_, MEMBER_SIZE(type_, member_[0]),                   \
		     ARRAY_SIZE(((type_ *)0)->member_), 1, NULL)
#define STATE_B(type_, member_)                                                                    \
	STATE_FIELD_(STATE_BOOL, type_, member_, sizeof(bool), 1, 1, NULL)
#define STATE_RAW(type_, member_)                                                                  \
	STATE_FIELD_(STATE_BYTES, type_, member_, MEMBER_SIZE(type_, member_), 1, 1, NULL)
#define STATE_SUB(type_, member_, table_)                                                          \
	STATE_FIELD_(STATE_STRUCT, type_, member_, MEMBER_SIZE(type_, member_), 1, 1, (table_))
#define STATE_SUB_ARRAY(type_, member_, table_)                                                    \
	STATE_FIELD_(STATE_STRUCT, type_, member_, MEMBER_SIZE(type_, member_[0]),                 \
		     ARRAY_SIZE(((type_ *)0)->member_), 1, (table_))
/* A field that the table has had since version since_ only. */
#define STATE_U_SINCE(since_, type_, member_)                                                      \
	STATE_FIELD_(STATE_UINT, type_, member_, MEMBER_SIZE(type_, member_), 1, (since_), NULL)
#define STATE_END { .name = NULL }
/* clang-format on */

/* --- writing: into memory, which the caller saves as it likes --- */

struct state_writer;

struct state_writer *state_writer_new(void);
void state_writer_free(struct state_writer *w);
AUTO_FN(state_writer_free, struct state_writer *)
void state_save(struct state_writer *w, const struct state_table *t, u32 instance, void *object);
/* Ends the stream; what it returns is the writer's and good until it is freed. */
const void *state_writer_finish(struct state_writer *w, size_t *out_size);

/* --- reading: the caller finds the object for each section that comes --- */

struct state_reader;

/* Borrows data until freed. */
struct state_reader *state_reader_new(const void *data, size_t size);
void state_reader_free(struct state_reader *r);
AUTO_FN(state_reader_free, struct state_reader *)

/*
 * Steps to the next section: 1 and its name (the reader's, until the next step) and instance; 0 at
 * the end mark; -EINVAL, with a sentence, on anything damaged or cut.
 */
int state_reader_next(struct state_reader *r, const char **out_name, u32 *out_instance,
		      struct err *err);
/* Loads the section just stepped to. On failure the object is partly loaded: throw it away. */
int state_load(struct state_reader *r, const struct state_table *t, void *object, struct err *err);

#endif
