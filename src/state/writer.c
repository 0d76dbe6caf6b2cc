/*
 * Writing saved state: sections grow in one buffer in memory; a header's size and checksum are
 * filled in when its body is complete. See state.h for the format.
 */
#include "state/state.h"

#include <string.h>

#include "base/alloc.h"
#include "base/crc32.h"
#include "state/state_wire.h"

struct state_writer {
	u8 *data;
	size_t size, room;
};

struct state_writer *state_writer_new(void)
{
	return NEW(struct state_writer);
}

void state_writer_free(struct state_writer *w)
{
	if (!w)
		return;
	free(w->data);
	free(w);
}

/* Room for size more bytes, zeroed; their place. */
static u8 *state_writer_extend(struct state_writer *w, size_t size)
{
	u8 *at;

	if (w->size + size > w->room) {
		size_t room = MAX(w->size + size, w->room * 2);

		w->data = mem_grow(w->data, w->room, room, 1);
		w->room = room;
	}
	at = w->data + w->size;
	w->size += size;
	return at;
}

static void state_put(struct state_writer *w, const void *data, size_t size)
{
	memcpy(state_writer_extend(w, size), data, size);
}

static void state_put_body(struct state_writer *w, const struct state_table *t, void *object);

static void state_put_field(struct state_writer *w, const struct state_field *f, const void *object)
{
	const u8 *at = (const u8 *)object + f->offset;

	switch (f->kind) {
	case STATE_UINT: /* the host is little-endian: asserted in bytes.h */
	case STATE_BYTES:
		state_put(w, at, (size_t)f->size * f->count);
		break;
	case STATE_BOOL:
		state_put(w, at, 1);
		break;
	case STATE_STRUCT:
		for (u32 i = 0; i < f->count; i++)
			state_put_body(w, f->sub, (u8 *)at + (size_t)i * f->size);
		break;
	}
}

static void state_put_subsection(struct state_writer *w, const struct state_table *t, void *object)
{
	size_t header_at = w->size, body_at;
	struct state_subsection_wire h = {
		.magic = le32_of(STATE_MAGIC_SUBSECTION),
		.version = le16_of(t->version),
		.name_size = le16_of((u16)strlen(t->name)),
	};

	state_writer_extend(w, sizeof(h));
	state_put(w, t->name, strlen(t->name));
	body_at = w->size;
	state_put_body(w, t, object);
	h.body_size = le64_of(w->size - body_at);
	memcpy(w->data + header_at, &h, sizeof(h));
}

static void state_put_body(struct state_writer *w, const struct state_table *t, void *object)
{
	if (t->before_save)
		t->before_save(object);
	for (const struct state_field *f = t->fields; f->name; f++)
		state_put_field(w, f, object);
	for (size_t i = 0; t->subsections && t->subsections[i]; i++) {
		if (t->subsections[i]->is_needed(object))
			state_put_subsection(w, t->subsections[i], object);
	}
}

void state_save(struct state_writer *w, const struct state_table *t, u32 instance, void *object)
{
	size_t name_size = strlen(t->name);
	size_t header_at = w->size, body_at;
	struct state_section_wire h = {
		.magic = le32_of(STATE_MAGIC_SECTION),
		.version = le16_of(t->version),
		.name_size = le16_of((u16)name_size),
		.instance = le32_of(instance),
	};
	u32 crc;

	assert(name_size && name_size <= STATE_NAME_MAX && t->version);
	state_writer_extend(w, sizeof(h));
	state_put(w, t->name, name_size);
	body_at = w->size;
	state_put_body(w, t, object);
	h.body_size = le64_of(w->size - body_at);
	crc = crc32_update(0, w->data + body_at - name_size, w->size - body_at + name_size);
	h.crc = le32_of(crc32_update(crc, &h, offsetof(struct state_section_wire, crc)));
	memcpy(w->data + header_at, &h, sizeof(h));
}

const void *state_writer_finish(struct state_writer *w, size_t *out_size)
{
	le32 end = le32_of(STATE_MAGIC_END);

	state_put(w, &end, sizeof(end));
	*out_size = w->size;
	return w->data;
}
