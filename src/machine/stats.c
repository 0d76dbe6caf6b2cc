/*
 * What a machine did and used since it was started. Nothing is kept for it: devices, vCPUs and the
 * kernel count anyway.
 */
#include "clock/vclock.h"
#include "machine/machine_priv.h"
#include "mem/gmem.h"

int machine_get_memory(struct machine *m, int smaps_fd, struct machine_memory *out)
{
	struct gmem_usage u;
	int r = gmem_block_usage(m->ram, smaps_fd, &u);

	if (!r)
		*out = (struct machine_memory){u.size, u.resident, u.huge, u.dirty};
	return r;
}

u64 machine_clock_ns(struct machine *m)
{
	return vclock_now_ns(vm_clock(m->vm));
}

void machine_visit_devices(struct machine *m,
			   void (*visit)(void *opaque, const struct machine_device_stats *d),
			   void *opaque)
{
	list_for_each (node, &vm_devices(m->vm)->devices) {
		struct device *d = list_entry(node, struct device, node);
		struct machine_device_stats s = {
			.name = d->name,
			.type = d->ops->type,
			.guest_errors = __atomic_load_n(&d->guest_errors, __ATOMIC_RELAXED),
		};

		if (d->ops->count) {
			device_lock(d);
			s.n_counters = d->ops->count(d, s.counters);
			device_unlock(d);
		}
		visit(opaque, &s);
	}
}
