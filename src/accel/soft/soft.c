/*
 * The software accelerator: its objects, and how it meets guest memory's changes.
 */
#include "accel/soft/soft.h"

#include <stdlib.h>
#include <string.h>

#include "accel/soft/accel_priv.h"
#include "accel/soft/block.h"
#include "accel/soft/isa.h"
#include "accel/soft/lockstep.h"
#include "accel/soft/mmu.h"
#include "accel/soft/native.h"
#include "accel/soft/run.h"
#include "accel/soft/state.h"
#include "accel/soft/sync.h"
#include "accel/soft/system.h"
#include "base/alloc.h"
#include "base/err.h"
#include "clock/vclock.h"

static struct sx_accel *accel_of(struct accel *a)
{
	return container_of(a, struct sx_accel, accel);
}

/* --- guest memory --- */

static void map_changed(struct gmem_listener *l, unused const struct gmem_map *old,
			unused const struct gmem_map *new)
{
	sx_flush_everywhere(container_of(l, struct sx_accel, listener), NULL, SX_REQ_FLUSH_TLB);
}

static void log_changed(struct gmem_listener *l, unused struct gmem_block *b, unused bool is_on)
{
	sx_flush_everywhere(container_of(l, struct sx_accel, listener), NULL, SX_REQ_FLUSH_WRITES);
}

static void log_cleared(struct gmem_listener *l, unused struct gmem_block *b)
{
	sx_flush_everywhere(container_of(l, struct sx_accel, listener), NULL, SX_REQ_FLUSH_WRITES);
}

static void code_written(struct gmem_listener *l)
{
	sx_ask_to_look_at_code(container_of(l, struct sx_accel, listener), NULL);
}

/* --- vCPUs --- */

static void vcpu_kick_(struct vcpu *v)
{
	sx_request(sx_cpu_of(v), SX_REQ_KICK);
}

static void vcpu_free_(struct vcpu *v)
{
	struct sx_cpu *c = sx_cpu_of(v);

	__atomic_store_n(&c->accel->vcpu[v->id], NULL, __ATOMIC_RELEASE);
	sx_cache_fini(c);
	sx_counts_fini(c);
	sx_lockstep_fini(c);
	sx_tlb_fini(c);
	sx_native_free(c);
}

static const struct vcpu_ops vcpu_ops = {
	.run = sx_run,
	.kick = vcpu_kick_,
	.get_state = sx_state_get,
	.set_state = sx_state_set,
	.count = sx_counts_visit,
	.free = vcpu_free_,
};

static int vcpu_new(struct accel *a, unsigned id, const struct x86_cpuid *cpuid,
		    struct vcpu_apic *apic, struct vcpu **out, struct err *err)
{
	struct sx_accel *s = accel_of(a);
	struct sx_cpu *c;
	struct x86_cpu_state power_on;

	assert(id < ACCEL_MAX_VCPUS && !s->vcpu[id] && apic && !(s->is_counted && id));
	if (sx_native_new(s->engine, &s->perf, &c, a->note, sizeof(a->note), err) < 0)
		return err->code;
	c->vcpu = (struct vcpu){.ops = &vcpu_ops, .accel = a, .id = id, .apic = apic};
	c->accel = s;
	c->stop_at = UINT64_MAX;
	c->is_counted = c->counts_insns = s->is_counted;
	c->random = s->seed;
	if (s->is_counted)
		vclock_count(a->clock, &c->retired, &c->stop_at);
	c->cpuid = *cpuid;
	/* Hypercalls exist whatever virtualization CPUID offers to the guest itself. */
	c->features = sx_features_from_cpuid(cpuid) | BIT(SX_F_VMX) | BIT(SX_F_SVM);
	c->apic_page = ~(u64)0;
	sx_counts_init(c);
	sx_cache_init(c);
	sx_tlb_init(c);
	if (s->is_lockstep)
		sx_lockstep_init(c);
	x86_cpu_reset(&power_on, id == 0);
	sx_state_load(c, &power_on);
	__atomic_store_n(&s->vcpu[id], c, __ATOMIC_RELEASE);
	*out = &c->vcpu;
	return 0;
}

static void clock_changed(struct accel *a, bool is_running)
{
	struct sx_accel *s = accel_of(a);

	for (unsigned k = 0; is_running && k < ACCEL_MAX_VCPUS; k++) {
		struct sx_cpu *c = __atomic_load_n(&s->vcpu[k], __ATOMIC_ACQUIRE);

		if (c)
			sx_request(c, SX_REQ_CLOCK);
	}
}

static void accel_free_(struct accel *a)
{
	struct sx_accel *s = accel_of(a);

	gmem_unlisten(a->gmem, &s->listener);
	sx_perf_fini(&s->perf);
	pthread_mutex_destroy(&s->code_lock);
	pthread_mutex_destroy(&s->split_lock);
	free(s);
}

static const struct accel_ops accel_ops = {
	.vcpu_new = vcpu_new,
	.clock_changed = clock_changed,
	.free = accel_free_,
};

/* What the guest's instructions do by the host's own: only where the host has them. */
#define HOST_1_ECX    0x02980203u /* SSE3, PCLMUL, SSSE3, SSE4.1, SSE4.2, POPCNT, AES */
#define HOST_1_RDRAND BIT32(30)
#define HOST_1_AVX    (BIT32(12) | BIT32(28) | BIT32(29)) /* FMA, AVX, F16C */
#define HOST_7_EBX    (BIT32(18) | BIT32(19) | BIT32(29)) /* RDSEED, ADX, SHA */
#define HOST_7_AVX    (BIT32(3) | BIT32(5) | BIT32(8))    /* BMI1, AVX2, BMI2 */
#define HOST_EXT1_ECX BIT32(5)                            /* LZCNT */
/* What no named model has, for `host`: CLFLUSHOPT, CLWB; RDPID; FSRM, SERIALIZE; XSAVEOPT, XSAVEC, XGETBV's
 * register 1; PREFETCHW; WBNOINVD. */
#define MORE_7_EBX    (HOST_7_EBX | BIT32(23) | BIT32(24))
#define MORE_7_ECX    BIT32(22)
#define MORE_7_EDX    (BIT32(4) | BIT32(14))
#define MORE_D1_EAX   (BIT32(0) | BIT32(1) | BIT32(2))
#define MORE_EXT1_ECX BIT32(8)
#define MORE_EXT8_EBX BIT32(9)

static void choose_features(struct x86_features *f)
{
	u32 by_host = HOST_1_ECX | HOST_1_RDRAND | HOST_1_AVX;
	struct x86_features host;

	x86_features_of_host(&host);
	x86_features_of_model("posada-v3", f);
	f->brand = "posada software CPU"; /* soft.md: whose processor it is */
	f->leaf7_ebx |= MORE_7_EBX;
	f->leaf7_ecx |= MORE_7_ECX;
	f->leaf7_edx |= MORE_7_EDX;
	f->leafd1_eax |= MORE_D1_EAX;
	f->ext1_ecx |= MORE_EXT1_ECX;
	f->ext8_ebx |= MORE_EXT8_EBX;
	f->leaf1_ecx &= host.leaf1_ecx | ~by_host;
	f->leaf7_ebx &= host.leaf7_ebx | ~(HOST_7_EBX | HOST_7_AVX);
	f->ext1_ecx &= host.ext1_ecx | ~HOST_EXT1_ECX;
	if (!(f->leaf1_ecx & BIT32(28))) /* BMI's stubs are where AVX's are */
		f->leaf7_ebx &= ~HOST_7_AVX;
}

int soft_accel_new(const struct accel_config *config, struct accel **out, struct err *err)
{
	struct sx_accel *s = NEW(struct sx_accel);

	if (sx_perf_init(&s->perf, config->perf_fd > 0 ? config->perf_fd : -1, err) < 0) {
		free(s);
		return err->code;
	}
	s->accel = (struct accel){
		.ops = &accel_ops,
		.name = "soft",
		.gmem = config->gmem,
		.clock = config->clock,
		.host = config->host,
	};
	s->engine = config->is_lockstep ? ACCEL_ENGINE_TRANSLATOR : config->engine;
	assert(config->is_counted || !config->is_lockstep);
	s->is_counted = config->is_counted;
	s->is_lockstep = config->is_lockstep;
	s->seed = config->seed;
	choose_features(&s->accel.features);
	if (!config->is_counted)
		vclock_follow_tsc(config->clock, config->is_tsc_host_clock);
	pthread_mutex_init(&s->code_lock, NULL);
	pthread_mutex_init(&s->split_lock, NULL);
	s->listener = (struct gmem_listener){
		.map_changed = map_changed,
		.log_changed = log_changed,
		.log_cleared = log_cleared,
		.code_written = code_written,
	};
	gmem_listen(config->gmem, &s->listener);
	*out = &s->accel;
	return 0;
}
