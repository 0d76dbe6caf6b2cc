/*
 * A device: its lock, its reset, its state, its mistakes' count.
 *
 * A device belongs to one I/O loop. Its registers are reached through io regions (bus/io.h), whose
 * callbacks run with the device's lock held; callbacks of timers and descriptors take the lock
 * themselves. Lock order: vm, bus, device, backend or interrupt chip. Nothing blocks under it.
 */
#ifndef BUS_DEVICE_H
#define BUS_DEVICE_H

#include <pthread.h>

#include "base/base.h"
#include "base/list.h"
#include "base/log.h"

struct err;
struct state_reader;
struct state_table;
struct state_writer;

struct device;

/* One figure of what a device did since it was made, for statistics. */
struct device_counter {
	const char *name; /* static: "read-bytes" */
	u64 value;
};
#define DEVICE_MAX_COUNTERS 16

struct device_ops {
	const char *type; /* "rtc" */
	/* offsetof the struct device in the device's struct: the state table's object. */
	size_t offset;
	const struct state_table *state; /* NULL: nothing to save */
	void (*reset)(struct device *d); /* to power-on; lock held; no vCPU runs */
	/* Stop starting new work and finish or record what is in flight; resume undoes it. Optional. */
	void (*quiesce)(struct device *d);
	void (*resume)(struct device *d);
	/* Waits for what the host does for the guest at the moment; whether there was anything. Optional. */
	bool (*settle)(struct device *d);
	/* Fills out (room for DEVICE_MAX_COUNTERS), says how many; lock held. Optional. */
	unsigned (*count)(struct device *d, struct device_counter *out);
	void (*free)(struct device *d); /* also what it owns; detached already */
};

struct device {
	const struct device_ops *ops;
	char name[48]; /* "serial0": names its state section's instance and its messages */
	pthread_mutex_t lock;
	struct log_limit limit;
	u64 guest_errors; /* atomic */
	bool is_loaded;   /* since device_set_load_begin */
	struct list node; /* device_set's */
};

void device_init(struct device *d, const struct device_ops *ops, const char *name);
void device_fini(struct device *d);

static inline void device_lock(struct device *d)
{
	pthread_mutex_lock(&d->lock);
}

static inline void device_unlock(struct device *d)
{
	pthread_mutex_unlock(&d->lock);
}

/* Resets under the lock, and frees: NULL is fine. */
void device_reset(struct device *d);
void device_free(struct device *d);

/* The guest did what the specification forbids: counted, and logged (debug) at a limited rate. */
void guest_error(struct device *d, const char *fmt, ...) printf_like(2, 3);

/* All devices of a machine, in the order in which they were adopted: the reset and save walks. */
struct device_set {
	struct list devices;
};
void device_set_init(struct device_set *s);
void device_set_fini(struct device_set *s);                 /* frees the devices, last one first */
void device_adopt(struct device_set *s, struct device *d);  /* s owns d from here on */
void device_remove(struct device_set *s, struct device *d); /* hands d back */
void device_set_reset(struct device_set *s);
void device_set_quiesce(struct device_set *s);
void device_set_resume(struct device_set *s);
bool device_set_settle(struct device_set *s);

/* A section for each device that has state: named by its type, the instance a hash of its name. */
void device_set_save(struct device_set *s, struct state_writer *w);
/* A state is loaded between these two: end says which device's section was missing. */
void device_set_load_begin(struct device_set *s);
int device_set_load_end(struct device_set *s, struct err *err);
/* Loads the section (name, instance) just stepped to: -ENOENT when no device has that name, -EINVAL
 * when it was there before. */
int device_set_load(struct device_set *s, struct state_reader *r, const char *section, u32 instance,
		    struct err *err);

#endif
