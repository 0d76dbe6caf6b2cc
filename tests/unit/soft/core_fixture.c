#include "core_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "accel/soft/cpu.h"
#include "accel/soft/soft.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/time.h"
#include "clock/vclock.h"
#include "mem/gmem.h"
#include "test.h"

/* --- a local APIC that does as it is told --- */

static struct core_apic *apic_of(struct vcpu_apic *a)
{
	return container_of(a, struct core_apic, apic);
}

static unsigned apic_pending(struct vcpu_apic *a)
{
	return __atomic_load_n(&apic_of(a)->pending, __ATOMIC_ACQUIRE);
}

static void apic_drop(struct vcpu_apic *a, unsigned bit)
{
	__atomic_fetch_and(&apic_of(a)->pending, ~bit, __ATOMIC_ACQ_REL);
}

static int apic_acknowledge(struct vcpu_apic *a)
{
	apic_drop(a, APIC_PENDING_INTR);
	return apic_of(a)->vector;
}

static void apic_take_nmi(struct vcpu_apic *a)
{
	apic_drop(a, APIC_PENDING_NMI);
}

static void apic_take_init(struct vcpu_apic *a)
{
	apic_drop(a, APIC_PENDING_INIT);
}

static u8 apic_take_sipi(struct vcpu_apic *a)
{
	apic_drop(a, APIC_PENDING_SIPI);
	return CORE_CODE >> 12;
}

static u64 apic_base(struct vcpu_apic *a)
{
	return apic_of(a)->base;
}

static bool apic_msr_read(struct vcpu_apic *a, u32 msr, u64 *out)
{
	if (msr != X86_MSR_APIC_BASE)
		return false;
	*out = apic_of(a)->base;
	return true;
}

static bool apic_msr_write(struct vcpu_apic *a, u32 msr, u64 value)
{
	if (msr != X86_MSR_APIC_BASE)
		return false;
	apic_of(a)->base = value;
	return true;
}

static u32 apic_mmio_read(unused struct vcpu_apic *a, u32 off)
{
	return 0xa0000000 | off;
}

static void apic_mmio_write(struct vcpu_apic *a, u32 off, u32 value)
{
	apic_of(a)->last_mmio_off = off;
	apic_of(a)->last_mmio_value = value;
}

static u8 apic_get_cr8(struct vcpu_apic *a)
{
	return apic_of(a)->cr8;
}

static void apic_set_cr8(struct vcpu_apic *a, u8 value)
{
	apic_of(a)->cr8 = value;
}

static const struct vcpu_apic_ops apic_ops = {
	.pending = apic_pending,
	.acknowledge = apic_acknowledge,
	.take_nmi = apic_take_nmi,
	.take_init = apic_take_init,
	.take_sipi = apic_take_sipi,
	.base = apic_base,
	.msr_read = apic_msr_read,
	.msr_write = apic_msr_write,
	.mmio_read = apic_mmio_read,
	.mmio_write = apic_mmio_write,
	.get_cr8 = apic_get_cr8,
	.set_cr8 = apic_set_cr8,
};

/* --- ports and registers --- */

static u64 port_read(unused void *opaque, u16 port, unused unsigned size)
{
	return port == 0x60 ? 0x12345678 : ~(u64)0;
}

static void port_write(void *opaque, u16 port, u64 value, unused unsigned size)
{
	struct core *k = opaque;

	/* Each vCPU has a stop port of its own. */
	if (port >= CORE_PORT_STOP && port < CORE_PORT_STOP + CORE_CPUS &&
	    k->vcpu[port - CORE_PORT_STOP]) {
		unsigned id = port - CORE_PORT_STOP;

		k->stop_value[id] = (u32)value;
		__atomic_store_n(&k->vcpu[id]->is_wanted, true, __ATOMIC_RELEASE);
		vcpu_kick(k->vcpu[id]);
		return;
	}
	__atomic_store_n(&k->last_port, port, __ATOMIC_RELAXED);
	__atomic_store_n(&k->last_port_value, (u32)value, __ATOMIC_RELAXED);
	if (k->on_port)
		k->on_port(k->on_port_opaque, k, port);
}

static u64 mmio_read(void *opaque, gpa_t gpa, unused unsigned size)
{
	struct core *k = opaque;

	__atomic_fetch_add(&k->mmio_reads, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&k->last_mmio, gpa, __ATOMIC_RELAXED);
	if (k->on_mmio)
		k->on_mmio(k->on_port_opaque, k, gpa);
	return k->mmio_value;
}

static void mmio_write(void *opaque, gpa_t gpa, u64 value, unused unsigned size)
{
	struct core *k = opaque;

	__atomic_fetch_add(&k->mmio_writes, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&k->last_mmio, gpa, __ATOMIC_RELAXED);
	if (k->on_mmio)
		k->on_mmio(k->on_port_opaque, k, gpa);
	k->mmio_value = value;
}

/* --- the whole --- */

static void add_memory(struct core *k)
{
	struct err err = ERR_INIT;
	struct gmem_range range = {.size = CORE_RAM};

	k->epoch = epoch_new();
	k->gmem = gmem_new(k->epoch, true);
	CHECK_EQ(gmem_block_new(k->gmem, "ram", GMEM_ANON, CORE_RAM, -1, &k->ram, &err), 0);
	range.block = k->ram;
	gmem_set_map(k->gmem, &range, 1);
	gmem_attach_thread(k->gmem);
}

static void add_vcpu(struct core *k, unsigned id)
{
	struct err err = ERR_INIT;
	const char *model = getenv("SOFT_MODEL");
	struct x86_cpuid_config config = {.model = model ? model : "posada-v2",
					  .n_cpus = CORE_CPUS,
					  .id = id,
					  .tsc_hz = 2000000000};
	struct x86_cpuid cpuid;

	k->apic[id] = (struct core_apic){
		.apic.ops = &apic_ops,
		.base = X86_APIC_BASE_ADDR | X86_APIC_BASE_ENABLE | (id ? 0 : X86_APIC_BASE_BSP),
	};
	CHECK_EQ(x86_cpuid_build(&config, &k->accel->features, &cpuid, &err), 0);
	CHECK_EQ(k->accel->ops->vcpu_new(k->accel, id, &cpuid, &k->apic[id].apic, &k->vcpu[id],
					 &err),
		 0);
}

static void settle_clock(void *opaque)
{
	vclock_fire(((struct core *)opaque)->clock);
}

static bool skip_time(void *opaque)
{
	struct vclock *clock = ((struct core *)opaque)->clock;

	if (!vclock_skip(clock))
		return false;
	vclock_fire(clock);
	return true;
}

static enum accel_engine engine(int perf_fd)
{
	return perf_fd > 0 || getenv("SOFT_ENGINE") ? ACCEL_ENGINE_TRANSLATOR
						    : ACCEL_ENGINE_INTERPRETER;
}

static void make(struct core *k, bool is_lockstep, int perf_fd, unsigned n_cpus)
{
	struct err err = ERR_INIT;

	memset(k, 0, sizeof(*k));
	add_memory(k);
	CHECK_EQ(loop_new(&k->loop, &err), 0);
	k->clock = vclock_new(k->loop, 2000000000);
	struct accel_config config = {
		.gmem = k->gmem,
		.clock = k->clock,
		.host =
			{
				.opaque = k,
				.port_read = port_read,
				.port_write = port_write,
				.mmio_read = mmio_read,
				.mmio_write = mmio_write,
				.settle = settle_clock,
				.skip = skip_time,
			},
		.is_counted = is_lockstep,
		.is_lockstep = is_lockstep,
		.seed = 1,
		.engine = engine(perf_fd), /* each program runs on both: meson.build */
		.perf_fd = perf_fd,
		.is_tsc_host_clock = time_is_tsc(),
	};
	CHECK_EQ(soft_accel_new(&config, &k->accel, &err), 0);
	for (unsigned id = 0; id < n_cpus; id++)
		add_vcpu(k, id);
	vclock_start(k->clock);
}

void core_init(struct core *k)
{
	make(k, false, -1, CORE_CPUS);
}

void core_init_lockstep(struct core *k)
{
	make(k, true, -1, 1);
}

void core_init_named(struct core *k, int fd)
{
	make(k, false, fd, 1);
}

void core_fini(struct core *k)
{
	for (unsigned id = 0; id < CORE_CPUS; id++)
		vcpu_free(k->vcpu[id]);
	accel_free(k->accel);
	vclock_free(k->clock);
	loop_free(k->loop);
	gmem_detach_thread(k->gmem);
	gmem_free(k->gmem);
	epoch_free(k->epoch);
}

u8 *core_ram(struct core *k, u64 gpa)
{
	return k->ram->hva + gpa;
}

void core_load(struct core *k, u64 gpa, const void *code, size_t size)
{
	CHECK_EQ(gmem_write(k->gmem, gpa, code, size), 0);
}

static void store64(struct core *k, u64 gpa, u64 v)
{
	core_load(k, gpa, &v, sizeof(v));
}

/* --- modes --- */

static struct x86_segment flat(u16 selector, u32 attr)
{
	return (struct x86_segment){.limit = 0xffffffff, .attr = attr, .selector = selector};
}

static void set_segments(struct x86_cpu_state *s, struct x86_segment cs, struct x86_segment ds)
{
	for (unsigned n = 0; n < X86_SEGS; n++)
		s->seg[n] = n == X86_CS ? cs : ds;
}

static void make_gdt(struct core *k, struct x86_cpu_state *s)
{
	static const u64 gdt[] = {
		0,
		0x00af9b000000ffff, /* 64-bit code */
		0x00cf93000000ffff, /* data */
		0x00cf9b000000ffff, /* 32-bit code */
		0x00cffb000000ffff, /* user: 32-bit code, data, 64-bit code */
		0x00cff3000000ffff,
		0x00affb000000ffff,
		0x00008b0000000067 | (u64)(CORE_TSS & 0xffffff) << 16, /* busy TSS */
		0,
	};

	core_load(k, CORE_GDT, gdt, sizeof(gdt));
	store64(k, CORE_TSS + 4, CORE_STACK - 0x8000);  /* RSP0 */
	store64(k, CORE_TSS + 36, CORE_STACK - 0x4000); /* IST1 */
	s->gdt = (struct x86_table){CORE_GDT, sizeof(gdt) - 1};
	s->idt = (struct x86_table){CORE_IDT, 0xfff};
	s->tr = (struct x86_segment){CORE_TSS, 0x67, 0x8b, CORE_TR};
}

void core_long_mode(struct core *k, struct x86_cpu_state *s)
{
	x86_cpu_reset(s, true);
	store64(k, CORE_TABLES, (CORE_TABLES + 0x1000) | 7);
	store64(k, CORE_TABLES + 0x1000, (CORE_TABLES + 0x2000) | 7);
	/* The fourth GiB leads to devices. */
	store64(k, CORE_TABLES + 0x1000 + 3 * 8, 0xc0000000 | 0x83);
	for (u64 n = 0; n < CORE_RAM >> 21; n++)
		store64(k, CORE_TABLES + 0x2000 + n * 8, n << 21 | 0x83 | (n ? 4 : 0));
	make_gdt(k, s);
	set_segments(s, flat(CORE_CS64, 0xa09b), flat(CORE_DS, 0xc093));
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_NE | X86_CR0_ET | X86_CR0_MP;
	s->cr3 = CORE_TABLES;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_PGE;
	s->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NXE;
	s->rip = CORE_CODE;
	s->gpr[X86_RSP] = CORE_STACK;
	s->rflags = X86_FLAG_ONE;
}

void core_protected_mode(struct core *k, struct x86_cpu_state *s)
{
	x86_cpu_reset(s, true);
	make_gdt(k, s);
	set_segments(s, flat(CORE_CS32, 0xc09b), flat(CORE_DS, 0xc093));
	s->cr0 = X86_CR0_PE | X86_CR0_NE | X86_CR0_ET;
	s->rip = CORE_CODE;
	s->gpr[X86_RSP] = CORE_STACK;
	s->rflags = X86_FLAG_ONE;
}

void core_real_mode(unused struct core *k, struct x86_cpu_state *s)
{
	x86_cpu_reset(s, true);
	s->seg[X86_CS].selector = CORE_CODE >> 4;
	s->seg[X86_CS].base = CORE_CODE;
	s->rip = 0;
	s->gpr[X86_RSP] = 0x8000;
}

void core_set_gate(struct core *k, unsigned vector, u64 offset, u16 selector, u8 ist, u8 type_dpl)
{
	u64 low = (offset & 0xffff) | (u64)selector << 16 | (u64)ist << 32 | (u64)type_dpl << 40 |
		  (offset >> 16 & 0xffff) << 48;

	store64(k, CORE_IDT + vector * 16, low);
	store64(k, CORE_IDT + vector * 16 + 8, offset >> 32);
}

enum vcpu_stop core_run(struct core *k, struct x86_cpu_state *s)
{
	struct err err = ERR_INIT;
	enum vcpu_stop stop;

	k->vcpu[0]->is_wanted = false;
	CHECK_EQ(k->vcpu[0]->ops->set_state(k->vcpu[0], s, &err), 0);
	stop = vcpu_run(k->vcpu[0]);
	CHECK_EQ(k->vcpu[0]->ops->get_state(k->vcpu[0], s, &err), 0);
	return stop;
}

u64 core_count(struct core *k, enum sx_count which)
{
	return sx_cpu_of(k->vcpu[0])->counts.n[which];
}

bool core_is_translated(struct core *k)
{
	return sx_cpu_of(k->vcpu[0])->native;
}
