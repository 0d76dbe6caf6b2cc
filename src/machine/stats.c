/*
 * What a machine did and used since it was started. Nothing is kept for it: devices, vCPUs and the
 * kernel count anyway.
 */
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
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

/* Pages of zeroes don't count: which of them the host has given is its own matter. */
static u32 digest_memory(const struct gmem_block *b)
{
	static const u8 zeroes[PAGE_SIZE];
	u64 from, to, at = 0;
	u32 crc = 0;

	for (; gmem_block_next_data(b, at, &from, &to); at = to) {
		for (at = align_down(from, PAGE_SIZE); at < to; at += PAGE_SIZE) {
			if (!memcmp(b->hva + at, zeroes, PAGE_SIZE))
				continue;
			crc = crc32c_update(crc, &at, sizeof(at));
			crc = crc32c_update(crc, b->hva + at, PAGE_SIZE);
		}
	}
	return crc;
}

u32 machine_digest(struct machine *m)
{
	u32 crc = digest_memory(m->ram);

	for (unsigned i = 0; i < vm_vcpu_count(m->vm); i++) {
		struct vcpu *v = vm_vcpu(m->vm, i);
		struct x86_cpu_state s = {0};
		struct err err;

		if (!v->ops->get_state(v, &s, &err))
			crc = crc32c_update(crc, &s, sizeof(s));
	}
	return crc;
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
