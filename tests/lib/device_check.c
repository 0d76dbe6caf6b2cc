/*
 * Saving, loading and comparing devices by their state tables. See device_check.h.
 */
#include "device_check.h"

#include <stdio.h>

#include "base/err.h"
#include "state/state.h"

static const void *device_check_save(struct device *d, struct state_writer *w, size_t *size)
{
	device_lock(d);
	state_save(w, d->ops->state, 0, (char *)d - d->ops->offset);
	device_unlock(d);
	return state_writer_finish(w, size);
}

static const char *device_check_load(struct device *d, const void *data, size_t size)
{
	static char text[600];
	AUTO(state_reader_free) struct state_reader *r = state_reader_new(data, size);
	struct err err = ERR_INIT;
	const char *name;
	u32 instance;
	int ret = state_reader_next(r, &name, &instance, &err);

	if (ret == 1 && strcmp(name, d->ops->state->name))
		return "its section has another name";
	device_lock(d);
	if (ret == 1)
		ret = state_load(r, d->ops->state, (char *)d - d->ops->offset, &err);
	device_unlock(d);
	if (ret < 0) {
		snprintf(text, sizeof(text), "loading: %s", err.text);
		return text;
	}
	return NULL;
}

const char *device_check_copy(struct device *from, struct device *to)
{
	AUTO(state_writer_free) struct state_writer *first = state_writer_new();
	AUTO(state_writer_free) struct state_writer *second = state_writer_new();
	size_t size, again_size;
	const void *data = device_check_save(from, first, &size);
	const char *why = device_check_load(to, data, size);
	const void *again = why ? NULL : device_check_save(to, second, &again_size);

	if (why)
		return why;
	return again_size == size && !memcmp(data, again, size) ? NULL : "it changed on the way";
}

const char *device_check_save_and_load(struct device *d)
{
	AUTO(state_writer_free) struct state_writer *first = state_writer_new();
	AUTO(state_writer_free) struct state_writer *second = state_writer_new();
	size_t size, again_size;
	const void *data, *again;
	const char *why;

	if (!d->ops->state)
		return "it has no state table";
	data = device_check_save(d, first, &size);
	device_reset(d);
	why = device_check_load(d, data, size);
	if (why)
		return why;
	again = device_check_save(d, second, &again_size);
	return again_size == size && !memcmp(data, again, size) ? NULL : "it changed on the way";
}
