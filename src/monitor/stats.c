/*
 * The command "stats": what the guest did and used since it was started.
 */
#include <jansson.h>

#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"

/* JSON's numbers are signed. */
static json_t *stats_number(u64 value)
{
	return json_integer((json_int_t)MIN(value, (u64)INT64_MAX));
}

static json_t *stats_vcpus(struct vm *vm)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < vm_vcpu_count(vm); i++) {
		const struct vcpu *v = vm_vcpu(vm, i);

		json_array_append_new(all, json_pack("{s:i, s:o, s:o, s:o}", "id", (int)i, "exits",
						     stats_number(v->exits), "instructions",
						     stats_number(v->insns), "cpu-ns",
						     stats_number(vm_vcpu_cpu_ns(vm, i))));
	}
	return all;
}

static void stats_on_counter(void *opaque, const struct vcpu_counter *n)
{
	json_t *groups = opaque, *group = json_object_get(groups, n->group);
	u64 sum = n->value;

	if (!group) {
		group = json_object();
		json_object_set_new(groups, n->group, group);
	}
	sum += (u64)json_integer_value(json_object_get(group, n->name));
	json_object_set_new(group, n->name, stats_number(sum));
}

/* The accelerator's own figures, of all vCPUs together: 32 of them would not fit into a message. NULL:
 * it has none. */
static json_t *stats_accelerator(struct vm *vm)
{
	json_t *groups = json_object();

	for (unsigned i = 0; i < vm_vcpu_count(vm); i++)
		vcpu_count(vm_vcpu(vm, i), stats_on_counter, groups);
	if (json_object_size(groups))
		return groups;
	json_decref(groups);
	return NULL;
}

/* Those that count, and those whose driver made mistakes. */
static void stats_on_device(void *opaque, const struct machine_device_stats *d)
{
	json_t *one, *counters;

	if (!d->n_counters && !d->guest_errors)
		return;
	one = json_pack("{s:s, s:s, s:o}", "device", d->name, "type", d->type, "guest-errors",
			stats_number(d->guest_errors));
	counters = json_object();
	for (unsigned i = 0; i < d->n_counters; i++)
		json_object_set_new(counters, d->counters[i].name,
				    stats_number(d->counters[i].value));
	json_object_set_new(one, "counters", counters);
	json_array_append_new(opaque, one);
}

static json_t *stats_devices(struct machine *machine)
{
	json_t *all = json_array();

	machine_visit_devices(machine, stats_on_device, all);
	return all;
}

/* Without /proc there is the size alone. */
static json_t *stats_memory(struct monitor *m)
{
	struct machine_memory u;

	if (m->smaps_fd < 0 || machine_get_memory(m->machine, m->smaps_fd, &u) < 0)
		return json_pack("{s:o}", "size", stats_number(m->config->memory));
	return json_pack("{s:o, s:o, s:o, s:o}", "size", stats_number(u.size), "resident",
			 stats_number(u.resident), "huge", stats_number(u.huge), "dirty",
			 stats_number(u.dirty));
}

void monitor_stats(struct monitor *m, struct control_request *r)
{
	/* Without a balloon there is none to tell of. */
	control_reply(r, json_pack("{s:o, s:o, s:o, s:o, s:o*, s:o*}", "clock-ns",
				   stats_number(machine_clock_ns(m->machine)), "vcpus",
				   stats_vcpus(machine_vm(m->machine)), "memory", stats_memory(m),
				   "devices", stats_devices(m->machine), "accelerator",
				   stats_accelerator(machine_vm(m->machine)), "balloon",
				   monitor_balloon_json(m)));
}
