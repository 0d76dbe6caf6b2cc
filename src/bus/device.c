/*
 * Devices and the walks over all of them. See device.h.
 */
#include "bus/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32.h"
#include "base/err.h"
#include "state/state.h"

#define DEVICE_ERRORS_PER_SECOND 5 /* of one device, in the log */

void device_init(struct device *d, const struct device_ops *ops, const char *name)
{
	d->ops = ops;
	snprintf(d->name, sizeof(d->name), "%s", name);
	pthread_mutex_init(&d->lock, NULL);
	d->limit = (struct log_limit){0};
	d->guest_errors = 0;
	d->is_loaded = false;
	list_init(&d->node);
}

void device_fini(struct device *d)
{
	list_remove(&d->node);
	pthread_mutex_destroy(&d->lock);
}

void device_reset(struct device *d)
{
	device_lock(d);
	d->ops->reset(d);
	device_unlock(d);
}

void device_free(struct device *d)
{
	if (!d)
		return;
	list_remove(&d->node);
	d->ops->free(d);
}

void guest_error(struct device *d, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	__atomic_add_fetch(&d->guest_errors, 1, __ATOMIC_RELAXED);
	if (!log_is_on(LOG_DEBUG) || !log_limit_allows(&d->limit, DEVICE_ERRORS_PER_SECOND))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_debug("device '%s': %s", d->name, text);
}

/* --- all devices --- */

void device_set_init(struct device_set *s)
{
	list_init(&s->devices);
}

void device_set_fini(struct device_set *s)
{
	while (!list_is_empty(&s->devices))
		device_free(list_entry(s->devices.prev, struct device, node));
}

void device_adopt(struct device_set *s, struct device *d)
{
	list_append(&s->devices, &d->node);
}

void device_remove(struct device_set *s, struct device *d)
{
	(void)s;
	list_remove(&d->node);
}

void device_set_reset(struct device_set *s)
{
	list_for_each (node, &s->devices)
		device_reset(list_entry(node, struct device, node));
}

void device_set_quiesce(struct device_set *s)
{
	list_for_each (node, &s->devices) {
		struct device *d = list_entry(node, struct device, node);

		if (d->ops->quiesce)
			d->ops->quiesce(d);
	}
}

bool device_set_settle(struct device_set *s)
{
	bool had_any = false;

	list_for_each (node, &s->devices) {
		struct device *d = list_entry(node, struct device, node);

		if (d->ops->settle)
			had_any |= d->ops->settle(d);
	}
	return had_any;
}

void device_set_resume(struct device_set *s)
{
	list_for_each (node, &s->devices) {
		struct device *d = list_entry(node, struct device, node);

		if (d->ops->resume)
			d->ops->resume(d);
	}
}

static void *device_state_object(struct device *d)
{
	return (char *)d - d->ops->offset;
}

static u32 device_instance(const struct device *d)
{
	return crc32_update(0, d->name, strlen(d->name));
}

void device_set_save(struct device_set *s, struct state_writer *w)
{
	list_for_each (node, &s->devices) {
		struct device *d = list_entry(node, struct device, node);

		if (!d->ops->state)
			continue;
		device_lock(d);
		state_save(w, d->ops->state, device_instance(d), device_state_object(d));
		device_unlock(d);
	}
}

void device_set_load_begin(struct device_set *s)
{
	list_for_each (node, &s->devices)
		list_entry(node, struct device, node)->is_loaded = false;
}

int device_set_load_end(struct device_set *s, struct err *err)
{
	list_for_each (node, &s->devices) {
		struct device *d = list_entry(node, struct device, node);

		if (d->ops->state && !d->is_loaded)
			return err_set(err, -EINVAL, "the state lacks device '%s'", d->name);
	}
	return 0;
}

int device_set_load(struct device_set *s, struct state_reader *r, const char *section, u32 instance,
		    struct err *err)
{
	list_for_each (node, &s->devices) {
		struct device *d = list_entry(node, struct device, node);
		int ret;

		if (!d->ops->state || strcmp(d->ops->state->name, section) ||
		    device_instance(d) != instance)
			continue;
		if (d->is_loaded)
			return err_set(err, -EINVAL, "the state of device '%s' is there twice",
				       d->name);
		d->is_loaded = true;
		device_lock(d);
		ret = state_load(r, d->ops->state, device_state_object(d), err);
		device_unlock(d);
		return ret < 0 ? err_wrap(err, "device '%s'", d->name) : 0;
	}
	return err_set(err, -ENOENT, "it has a device of type \"%s\" that this machine lacks",
		       section);
}
