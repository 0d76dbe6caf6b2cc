/*
 * The bare machine for tiny guests. See rig.h.
 */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#include "accel/kvm/kvm.h"
#include "accel/soft/soft.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"
#include "clock/vclock.h"
#include "irqchip/lapic.h"
#include "mem/gmem.h"

const char *const rig_accel_names[] = {"soft", "translator", "lockstep", "kvm", NULL};

/* --- the board that only listens --- */

static void rig_note(struct rig *r, bool is_port, bool is_write, u64 addr, u64 value, unsigned size)
{
	if (r->n_log < RIG_LOG_MAX)
		r->log[r->n_log] = (struct rig_event){
			.addr = addr,
			.value = value,
			.size = (u8)size,
			.is_port = is_port,
			.is_write = is_write,
		};
	r->n_log++;
}

static u64 rig_read(struct rig *r, bool is_port, u64 addr, unsigned size)
{
	u64 mask = size == 8 ? ~(u64)0 : BIT(8 * size) - 1;
	u64 value;

	pthread_mutex_lock(&r->lock);
	value = ((addr + ++r->n_reads) * 0x9e3779b97f4a7c15u) & mask;
	rig_note(r, is_port, false, addr, value, size);
	pthread_mutex_unlock(&r->lock);
	return value;
}

static void rig_stop_all(struct rig *r)
{
	for (unsigned i = 0; i < r->n_vcpus; i++) {
		__atomic_store_n(&r->vcpus[i]->is_wanted, true, __ATOMIC_RELEASE);
		vcpu_kick(r->vcpus[i]);
	}
}

static void rig_write(struct rig *r, bool is_port, u64 addr, u64 value, unsigned size)
{
	bool is_exit = is_port && addr == RIG_PORT_EXIT;

	pthread_mutex_lock(&r->lock);
	rig_note(r, is_port, true, addr, value, size);
	if (is_exit) {
		r->has_exited = true;
		r->exit_code = (u32)value;
	}
	pthread_mutex_unlock(&r->lock);
	if (is_exit)
		rig_stop_all(r);
}

static u64 rig_port_read(void *opaque, u16 port, unsigned size)
{
	return rig_read(opaque, true, port, size);
}

static void rig_port_write(void *opaque, u16 port, u64 value, unsigned size)
{
	rig_write(opaque, true, port, value, size);
}

static u64 rig_mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	return rig_read(opaque, false, gpa, size);
}

static void rig_mmio_write(void *opaque, gpa_t gpa, u64 value, unsigned size)
{
	rig_write(opaque, false, gpa, value, size);
}

static bool rig_pic_is_pending(void *opaque)
{
	struct rig *r = opaque;

	return __atomic_load_n(&r->pic_is_pending, __ATOMIC_ACQUIRE);
}

static u8 rig_pic_acknowledge(void *opaque)
{
	struct rig *r = opaque;

	__atomic_store_n(&r->pic_is_pending, false, __ATOMIC_RELEASE);
	return r->pic_vector;
}

static void rig_eoi(void *opaque, u8 vector)
{
	struct rig *r = opaque;

	pthread_mutex_lock(&r->lock);
	r->eois++;
	r->last_eoi = vector;
	pthread_mutex_unlock(&r->lock);
}

/* --- accelerators --- */

static void rig_config(struct rig *r, struct accel_config *out)
{
	*out = (struct accel_config){
		.gmem = r->gmem,
		.clock = r->clock,
		.kvm_fd = r->kvm_fd,
		.is_tsc_host_clock = time_is_tsc(),
		.host =
			{
				.opaque = r,
				.port_read = rig_port_read,
				.port_write = rig_port_write,
				.mmio_read = rig_mmio_read,
				.mmio_write = rig_mmio_write,
				.pic_is_pending = rig_pic_is_pending,
				.pic_acknowledge = rig_pic_acknowledge,
				.eoi = rig_eoi,
			},
	};
}

static int rig_open_soft(struct rig *r, const struct accel_config *config, unsigned n_vcpus,
			 struct err *err)
{
	struct lapic_bus_config lapics = {
		.n_cpus = n_vcpus,
		.clock = r->clock,
		.opaque = r,
		.pic_acknowledge = rig_pic_acknowledge,
		.eoi = rig_eoi,
	};
	int ret = soft_accel_new(config, &r->accel, err);

	if (ret < 0)
		return ret;
	lapics.phys_bits = r->accel->features.phys_bits;
	r->lapics = lapic_bus_new(&lapics);
	return 0;
}

static void rig_settle(void *opaque)
{
	vclock_fire(((struct rig *)opaque)->clock);
}

static bool rig_skip(void *opaque)
{
	return vclock_skip(((struct rig *)opaque)->clock);
}

static int rig_open_accel(struct rig *r, const char *accel, unsigned n_vcpus, struct err *err)
{
	struct accel_config config;

	rig_config(r, &config);
	if (!strcmp(accel, "lockstep")) {
		config.is_counted = config.is_lockstep = true;
		config.seed = 1;
		config.host.settle = rig_settle;
		config.host.skip = rig_skip;
	}
	if (!strcmp(accel, "kvm"))
		return kv_accel_new(&config, &r->accel, err);
	config.engine =
		!strcmp(accel, "translator") ? ACCEL_ENGINE_TRANSLATOR : ACCEL_ENGINE_INTERPRETER;
	return rig_open_soft(r, &config, n_vcpus, err);
}

/* --- memory --- */

static int rig_add_memory(struct rig *r, enum gmem_backing backing, struct err *err)
{
	struct gmem_range ranges[2];
	int ret = gmem_block_new(r->gmem, "ram", backing, RIG_RAM_SIZE, -1, &r->ram, err);

	if (ret < 0)
		return ret;
	ret = gmem_block_new(r->gmem, "rom", backing, PAGE_SIZE, -1, &r->rom, err);
	if (ret < 0)
		return ret;
	ranges[0] = (struct gmem_range){.gpa = 0, .size = RIG_RAM_SIZE, .block = r->ram};
	ranges[1] = (struct gmem_range){
		.gpa = RIG_ROM, .size = PAGE_SIZE, .block = r->rom, .is_readonly = true};
	gmem_set_map(r->gmem, ranges, 2);
	return 0;
}

static int rig_add_vcpus(struct rig *r, unsigned n, const struct x86_features *features,
			 struct err *err)
{
	for (unsigned i = 0; i < n; i++) {
		struct x86_cpuid_config config = {
			.model = "host", .n_cpus = n, .id = i, .tsc_hz = vclock_tsc_hz(r->clock)};
		struct vcpu_apic *apic = r->lapics ? lapic_vcpu(r->lapics, i) : NULL;
		struct x86_cpuid cpuid;
		int ret = x86_cpuid_build(&config, features ? features : &r->accel->features,
					  &cpuid, err);

		if (!ret)
			ret = r->accel->ops->vcpu_new(r->accel, i, &cpuid, apic, &r->vcpus[i], err);
		if (ret < 0)
			return ret;
		if (apic)
			lapic_attach_vcpu(r->lapics, i, r->vcpus[i]);
		r->n_vcpus++;
	}
	return 0;
}

/* The TSC's frequency, the same on every accelerator: KVM's where there is one, for some hosts can't
 * make it another. */
static int rig_find_tsc(struct rig *r, const char *accel, u64 *out_hz, struct err *err)
{
	bool is_kvm = !strcmp(accel, "kvm");
	int ret = kv_open(&r->kvm_fd, err);

	*out_hz = 0;
	if (!ret)
		ret = kv_tsc_hz(r->kvm_fd, out_hz, err);
	return is_kvm ? ret : 0;
}

static int rig_open_parts(struct rig *r, const char *accel, unsigned n_vcpus, struct err *err)
{
	bool is_soft = strcmp(accel, "kvm") != 0;
	u64 tsc_hz;
	int ret = loop_new(&r->loop, err);

	if (!ret)
		ret = rig_find_tsc(r, accel, &tsc_hz, err);
	if (ret < 0)
		return ret;
	r->epoch = epoch_new();
	epoch_attach(r->epoch);
	r->gmem = gmem_new(r->epoch, is_soft);
	r->clock = vclock_new(r->loop, tsc_hz);
	ret = rig_add_memory(r, is_soft ? GMEM_MEMFD : GMEM_ANON, err);
	return ret < 0 ? ret : rig_open_accel(r, accel, n_vcpus, err);
}

static void rig_start_clock(struct rig *r)
{
	vclock_start(r->clock);
	if (r->accel->ops->clock_changed)
		r->accel->ops->clock_changed(r->accel, true);
}

int rig_open(struct rig *r, const char *accel, unsigned n_vcpus,
	     const struct x86_features *features, struct err *err)
{
	int ret;

	memset(r, 0, sizeof(*r));
	r->kvm_fd = -1;
	pthread_mutex_init(&r->lock, NULL);
	ret = rig_open_parts(r, accel, n_vcpus, err);
	if (!ret)
		ret = rig_add_vcpus(r, n_vcpus, features, err);
	if (ret < 0)
		rig_close(r);
	else
		rig_start_clock(r);
	return ret;
}

void rig_close(struct rig *r)
{
	for (unsigned i = 0; i < r->n_vcpus; i++)
		vcpu_free(r->vcpus[i]);
	lapic_bus_free(r->lapics);
	accel_free(r->accel);
	fd_close(r->kvm_fd);
	vclock_free(r->clock);
	gmem_free(r->gmem);
	if (r->epoch) {
		epoch_detach(r->epoch);
		epoch_free(r->epoch);
	}
	loop_free(r->loop);
	pthread_mutex_destroy(&r->lock);
}

int rig_features(const char *accel, struct x86_features *out, struct err *err)
{
	static struct rig r;
	int ret = rig_open(&r, accel, 1, NULL, err);

	if (ret < 0)
		return ret;
	*out = r.accel->features;
	rig_close(&r);
	return 0;
}

/* --- running --- */

void rig_load(struct rig *r, const void *program, size_t size)
{
	struct err err = ERR_INIT;
	struct x86_cpu_state s;

	assert(size <= RIG_RAM_SIZE - RIG_LOAD);
	if (gmem_write(r->gmem, RIG_LOAD, program, size) < 0)
		abort_at(__FILE__, __LINE__);
	x86_cpu_reset(&s, true);
	s.seg[X86_CS].selector = 0;
	s.seg[X86_CS].base = 0;
	s.rip = RIG_LOAD;
	s.gpr[X86_RSP] = RIG_STACK;
	if (r->vcpus[0]->ops->set_state(r->vcpus[0], &s, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort_at(__FILE__, __LINE__);
	}
}

enum vcpu_stop rig_run(struct rig *r, unsigned id)
{
	enum vcpu_stop stop;

	do {
		stop = vcpu_run(r->vcpus[id]);
	} while (stop == VCPU_STOP_REQUEST && !vcpu_is_wanted(r->vcpus[id]));
	return stop;
}

void rig_clear(struct rig *r)
{
	pthread_mutex_lock(&r->lock);
	r->n_log = r->n_reads = 0;
	r->has_exited = false;
	r->exit_code = 0;
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < r->n_vcpus; i++)
		__atomic_store_n(&r->vcpus[i]->is_wanted, false, __ATOMIC_RELEASE);
}

u64 rig_said(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < MIN(r->n_log, (unsigned)RIG_LOG_MAX); i++) {
		const struct rig_event *e = &r->log[i];

		if (e->is_port && e->is_write && e->addr == RIG_PORT_SAY && !n--)
			return e->value;
	}
	abort_at(__FILE__, __LINE__);
}
