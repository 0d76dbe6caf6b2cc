/*
 * Saving, loading, damaging and comparing devices by their state tables. See device_check.h.
 */
#include "device_check.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/crc32.h"
#include "base/err.h"
#include "state/state.h"
#include "state/state_wire.h"

struct saved {
	u8 *data; /* owned */
	size_t size;
};

static struct saved device_check_save(struct device *d)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct saved s;
	const void *data;

	device_lock(d);
	state_save(w, d->ops->state, 0, (char *)d - d->ops->offset);
	device_unlock(d);
	data = state_writer_finish(w, &s.size);
	s.data = mem_alloc(s.size, 1);
	memcpy(s.data, data, s.size);
	return s;
}

/* NULL, or why it was refused: good until the next call. */
static const char *device_check_load(struct device *d, const struct saved *s)
{
	static struct err err;
	AUTO(state_reader_free) struct state_reader *r = state_reader_new(s->data, s->size);
	const char *name;
	u32 instance;
	int ret;

	err = (struct err)ERR_INIT;
	ret = state_reader_next(r, &name, &instance, &err);
	if (ret == 1 && strcmp(name, d->ops->state->name))
		return "its section has another name";
	device_lock(d);
	if (ret == 1)
		ret = state_load(r, d->ops->state, (char *)d - d->ops->offset, &err);
	device_unlock(d);
	return ret < 0 ? err.text : NULL;
}

const char *device_check_save_and_load(struct device *d)
{
	struct saved first, again;
	const char *why;

	if (!d->ops->state)
		return "it has no state table";
	first = device_check_save(d);
	device_reset(d);
	why = device_check_load(d, &first);
	if (!why) {
		again = device_check_save(d);
		if (again.size != first.size || memcmp(again.data, first.data, first.size))
			why = "it changed on the way";
		free(again.data);
	}
	free(first.data);
	return why;
}

static size_t device_check_header_size(const struct device *d)
{
	return sizeof(struct state_section_wire) + strlen(d->ops->state->name);
}

static size_t device_check_body_size(const struct device *d, const struct saved *s)
{
	return s->size - device_check_header_size(d) - sizeof(le32); /* the end mark */
}

/* One byte of the fields, and a checksum that agrees. */
static void device_check_damage(const struct device *d, struct saved *s, size_t at, u8 flip)
{
	struct state_section_wire *h = (struct state_section_wire *)s->data;
	size_t body = device_check_body_size(d, s), name = strlen(d->ops->state->name);
	u32 crc;

	s->data[device_check_header_size(d) + at % body] ^= flip;
	crc = crc32_update(0, s->data + sizeof(*h), name + body);
	h->crc = le32_of(crc32_update(crc, h, offsetof(struct state_section_wire, crc)));
}

const char *device_check_damaged(struct device *d, size_t at, u8 flip)
{
	struct saved s = device_check_save(d);
	const char *why = NULL;

	device_check_damage(d, &s, at, flip);
	if (!device_check_load(d, &s)) {
		why = device_check_save_and_load(d);
	} else {
		device_check_damage(d, &s, at, flip);
		why = device_check_load(d, &s);
	}
	free(s.data);
	return why;
}

const char *device_check_all_damaged(struct device *d)
{
	static const u8 flips[] = {0x01, 0x80, 0xff};
	struct saved s = device_check_save(d);
	const char *why = NULL;

	for (size_t at = 0; at < device_check_body_size(d, &s) && !why; at++) {
		for (size_t i = 0; i < ARRAY_SIZE(flips) && !why; i++) {
			why = device_check_damaged(d, at, flips[i]);
			if (!why)
				why = device_check_load(d, &s);
		}
	}
	free(s.data);
	return why;
}
