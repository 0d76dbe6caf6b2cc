/*
 * Runs a case on the software CPU: in a bare guest, through the accelerator contract alone, so that
 * any engine behind it is tested in the same way.
 *
 * The guest is in long mode at CPL 3, with page tables that show the code and the data where the
 * host has them, and Linux's user segments. Its kernel is an IDT whose every gate leads to
 * OUT vector, AL: the write arrives here and stops the vCPU, with the user's registers as they
 * were and the rest on the kernel's stack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/soft.h"
#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/loop.h"
#include "clock/vclock.h"
#include "mem/gmem.h"
#include "tests/guest/oracle/oracle.h"

/* Guest-physical layout; the kernel sees all of it at SOFT_KERNEL. */
#define SOFT_KERNEL      0xffff800000000000ul
#define SOFT_RAM         (2 * MIB)
#define SOFT_PML4        0x1000
#define SOFT_PDPT_USER   0x2000
#define SOFT_PD_USER     0x3000
#define SOFT_PT_CODE     0x4000
#define SOFT_PT_DATA     0x5000
#define SOFT_PDPT_KERNEL 0x6000
#define SOFT_PD_KERNEL   0x7000
#define SOFT_GDT         0x8000
#define SOFT_IDT         0x9000
#define SOFT_TSS         0xa000
#define SOFT_STUBS       0xb000
#define SOFT_STUB_SIZE   16
#define SOFT_STACK_TOP   0x10000
#define SOFT_LDT         0xc000
#define SOFT_CODE        0x10000
#define SOFT_DATA        0x20000

#define SOFT_GDT_LIMIT 0x7f
#define SOFT_TSS_LIMIT 0x67
#define SOFT_TSS_SEL   0x40

struct oracle_soft {
	struct epoch *epoch;
	struct loop *loop;
	struct gmem *gmem;
	struct gmem_block *ram;
	struct vclock *clock;
	struct accel *accel;
	struct vcpu *vcpu;
	struct vcpu_apic apic;
	struct x86_cpuid cpuid;
	const u8 *image;
	u64 fs_base;
	int vector; /* that a stub told; -1: none */
	struct x86_cpu_state state;
};

/* --- the machine around the vCPU: nothing but the stubs' port --- */

static u64 soft_port_read(unused void *opaque, unused u16 port, unused unsigned size)
{
	return ~(u64)0;
}

static void soft_port_write(void *opaque, u16 port, unused u64 value, unused unsigned size)
{
	struct oracle_soft *s = opaque;

	s->vector = port;
	__atomic_store_n(&s->vcpu->is_wanted, true, __ATOMIC_RELEASE);
	vcpu_kick(s->vcpu);
}

static u64 soft_mmio_read(unused void *opaque, unused gpa_t gpa, unused unsigned size)
{
	return ~(u64)0;
}

static void soft_mmio_write(unused void *opaque, unused gpa_t gpa, unused u64 value,
			    unused unsigned size)
{
}

static bool soft_pic_is_pending(unused void *opaque)
{
	return false;
}

static u8 soft_pic_acknowledge(unused void *opaque)
{
	return 0xff;
}

static unsigned soft_apic_pending(unused struct vcpu_apic *a)
{
	return 0;
}

static int soft_apic_acknowledge(unused struct vcpu_apic *a)
{
	return -1;
}

static void soft_apic_take(unused struct vcpu_apic *a)
{
}

static u8 soft_apic_take_sipi(unused struct vcpu_apic *a)
{
	return 0;
}

static u64 soft_apic_base(unused struct vcpu_apic *a)
{
	return X86_APIC_BASE_ADDR | X86_APIC_BASE_BSP;
}

static bool soft_apic_msr_read(unused struct vcpu_apic *a, unused u32 msr, unused u64 *out)
{
	return false;
}

static bool soft_apic_msr_write(unused struct vcpu_apic *a, unused u32 msr, unused u64 value)
{
	return false;
}

static u32 soft_apic_mmio_read(unused struct vcpu_apic *a, unused u32 off)
{
	return 0;
}

static void soft_apic_mmio_write(unused struct vcpu_apic *a, unused u32 off, unused u32 value)
{
}

static u8 soft_apic_get_cr8(unused struct vcpu_apic *a)
{
	return 0;
}

static void soft_apic_set_cr8(unused struct vcpu_apic *a, unused u8 value)
{
}

static const struct vcpu_apic_ops soft_apic_ops = {
	.pending = soft_apic_pending,
	.acknowledge = soft_apic_acknowledge,
	.take_nmi = soft_apic_take,
	.take_init = soft_apic_take,
	.take_sipi = soft_apic_take_sipi,
	.base = soft_apic_base,
	.msr_read = soft_apic_msr_read,
	.msr_write = soft_apic_msr_write,
	.mmio_read = soft_apic_mmio_read,
	.mmio_write = soft_apic_mmio_write,
	.get_cr8 = soft_apic_get_cr8,
	.set_cr8 = soft_apic_set_cr8,
};

/* --- what is in memory --- */

static void soft_put64(struct oracle_soft *s, gpa_t gpa, u64 value)
{
	bytes_store(s->ram->hva + gpa, value, 8);
}

static void soft_build_page_tables(struct oracle_soft *s)
{
	const u64 table = X86_PTE_P | X86_PTE_W | X86_PTE_U;
	const u64 user = table | X86_PTE_A | X86_PTE_D;

	soft_put64(s, SOFT_PML4, SOFT_PDPT_USER | table);
	soft_put64(s, SOFT_PML4 + 256 * 8, SOFT_PDPT_KERNEL | X86_PTE_P | X86_PTE_W);
	soft_put64(s, SOFT_PDPT_KERNEL, SOFT_PD_KERNEL | X86_PTE_P | X86_PTE_W);
	soft_put64(s, SOFT_PD_KERNEL, X86_PTE_P | X86_PTE_W | X86_PTE_PS);
	soft_put64(s, SOFT_PDPT_USER + (ORACLE_CODE >> 30) * 8, SOFT_PD_USER | table);
	soft_put64(s, SOFT_PD_USER + (ORACLE_CODE >> 21 & 511) * 8, SOFT_PT_CODE | table);
	soft_put64(s, SOFT_PD_USER + (ORACLE_DATA >> 21 & 511) * 8, SOFT_PT_DATA | table);
	for (u64 off = 0; off < ORACLE_CODE_SIZE; off += PAGE_SIZE)
		soft_put64(s, SOFT_PT_CODE + off / PAGE_SIZE * 8, (SOFT_CODE + off) | user);
	for (u64 off = 0; off < ORACLE_DATA_SIZE; off += PAGE_SIZE) {
		u64 write = off < ORACLE_DATA_RW ? 0 : X86_PTE_W;

		soft_put64(s, SOFT_PT_DATA + off / PAGE_SIZE * 8,
			   ((SOFT_DATA + off) | user | X86_PTE_NX) & ~write);
	}
}

/* As Linux has it (arch/x86/include/asm/segment.h): kernel code 32, 64, kernel data, user code 32,
 * user data, user code 64, all accessed; the TSS; the CPU's number. */
static void soft_build_gdt(struct oracle_soft *s)
{
	const u64 tss = SOFT_KERNEL + SOFT_TSS;

	soft_put64(s, SOFT_GDT + 0x08, 0x00cf9b000000ffff);
	soft_put64(s, SOFT_GDT + 0x10, 0x00af9b000000ffff);
	soft_put64(s, SOFT_GDT + 0x18, 0x00cf93000000ffff);
	soft_put64(s, SOFT_GDT + 0x20, 0x00cffb000000ffff);
	soft_put64(s, SOFT_GDT + 0x28, 0x00cff3000000ffff);
	soft_put64(s, SOFT_GDT + 0x30, 0x00affb000000ffff);
	soft_put64(s, SOFT_GDT + SOFT_TSS_SEL,
		   SOFT_TSS_LIMIT | (tss & 0xffffff) << 16 | 0x8bul << 40 |
			   (tss >> 24 & 0xff) << 56);
	soft_put64(s, SOFT_GDT + SOFT_TSS_SEL + 8, tss >> 32);
	soft_put64(s, SOFT_GDT + (ORACLE_CPU_SEGMENT & ~7), oracle_native_cpu_segment());
}

static void soft_build_idt(struct oracle_soft *s)
{
	for (unsigned v = 0; v < 256; v++) {
		u64 stub = SOFT_KERNEL + SOFT_STUBS + v * SOFT_STUB_SIZE;
		/* Linux lets user code raise these two. */
		u64 type = v == X86_BP || v == X86_OF ? 0xee : 0x8e;
		u8 *code = s->ram->hva + SOFT_STUBS + v * SOFT_STUB_SIZE;

		soft_put64(s, SOFT_IDT + v * 16,
			   (stub & 0xffff) | 0x10ul << 16 | type << 40 |
				   (stub >> 16 & 0xffff) << 48);
		soft_put64(s, SOFT_IDT + v * 16 + 8, stub >> 32);
		code[0] = 0xe6; /* OUT v, AL */
		code[1] = (u8)v;
		code[2] = 0xf4; /* HLT */
	}
}

static void soft_build_memory(struct oracle_soft *s)
{
	soft_build_page_tables(s);
	soft_build_gdt(s);
	soft_build_idt(s);
	oracle_native_ldt((u64 *)(s->ram->hva + SOFT_LDT));
	soft_put64(s, SOFT_TSS + 4, SOFT_KERNEL + SOFT_STACK_TOP);        /* RSP0 */
	bytes_store(s->ram->hva + SOFT_TSS + 102, SOFT_TSS_LIMIT + 1, 2); /* no I/O map */
	memset(s->ram->hva + SOFT_CODE, 0xcc, ORACLE_CODE_SIZE);
	memcpy(s->ram->hva + SOFT_DATA, s->image, ORACLE_DATA_SIZE);
}

/* --- what is in registers --- */

/* A segment register as loading the selector would make it, from our own tables. */
static struct x86_segment soft_segment(const struct oracle_soft *s, u16 selector)
{
	u64 table = selector & 4 ? SOFT_LDT : SOFT_GDT;
	u64 d = bytes_load(s->ram->hva + table + (selector & 0xfff8), 8);
	struct x86_segment seg = {.selector = selector, .attr = X86_ATTR_UNUSABLE};

	if (!(selector & ~3))
		return seg;
	seg.base = (d >> 16 & 0xffffff) | d >> 56 << 24;
	seg.limit = (u32)((d & 0xffff) | (d >> 32 & 0xf0000));
	seg.attr = (u32)(d >> 40) & 0xf0ff;
	if (seg.attr & X86_ATTR_G)
		seg.limit = seg.limit << 12 | 0xfff;
	return seg;
}

static void soft_set_system(struct oracle_soft *s, struct x86_cpu_state *st)
{
	x86_cpu_reset(st, true);
	st->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |
		  X86_CR0_PG;
	st->cr3 = SOFT_PML4;
	st->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
		  X86_CR4_FSGSBASE | X86_CR4_OSXSAVE;
	st->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	st->xcr0 = x86_cpuid_reg(&s->cpuid, 0xd, 0, 0);
	st->gdt = (struct x86_table){.base = SOFT_KERNEL + SOFT_GDT, .limit = SOFT_GDT_LIMIT};
	st->idt = (struct x86_table){.base = SOFT_KERNEL + SOFT_IDT, .limit = 0xfff};
	st->tr = (struct x86_segment){.base = SOFT_KERNEL + SOFT_TSS,
				      .limit = SOFT_TSS_LIMIT,
				      .attr = 0xb | X86_ATTR_P,
				      .selector = SOFT_TSS_SEL};
	st->ldt = (struct x86_segment){.base = SOFT_KERNEL + SOFT_LDT,
				       .limit = ORACLE_LDT_ENTRIES * 8 - 1,
				       .attr = 2 | X86_ATTR_P,
				       .selector = 0x50};
	for (unsigned i = 0; i < X86_SEGS; i++)
		st->seg[i] = soft_segment(s, 0);
	st->seg[X86_FS].base = s->fs_base;
}

static void soft_set_user(const struct oracle_soft *s, struct x86_cpu_state *st,
			  const struct oracle_case *c)
{
	memcpy(st->gpr, c->gpr, sizeof(st->gpr));
	st->rip = c->rip;
	st->rflags = c->rflags;
	st->seg[X86_CS] = soft_segment(s, c->cs);
	st->seg[X86_SS] = soft_segment(s, c->ss);
	st->seg[X86_DS] = soft_segment(s, c->ds);
	st->seg[X86_ES] = soft_segment(s, c->ds);
	st->seg[X86_GS] = soft_segment(s, c->gs);
	if (!c->gs)
		st->seg[X86_GS].base = c->gs_base;
	memcpy(st->xsave, c->fx, X86_FXSAVE_SIZE);
	memcpy(st->xsave + X86_XSAVE_YMM, c->ymm_high, sizeof(c->ymm_high));
	bytes_store(st->xsave + X86_XSAVE_HEADER, X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX, 8);
}

/* The exception's frame: error code for those that have one, RIP, CS, RFLAGS, RSP, SS. */
static void soft_read_frame(struct oracle_soft *s, struct oracle_result *out)
{
	static const u64 with_code = BIT(X86_DF) | BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SSEG) |
				     BIT(X86_GP) | BIT(X86_PF) | BIT(X86_AC);
	bool has_code = s->vector < 32 && with_code >> s->vector & 1;
	const u8 *frame = s->ram->hva + SOFT_STACK_TOP - 40;

	out->vector = (u8)s->vector;
	out->error = has_code ? (u32)bytes_load(frame - 8, 4) : 0;
	out->rip = bytes_load(frame, 8);
	out->cs = (u16)bytes_load(frame + 8, 2);
	out->rflags = bytes_load(frame + 16, 8);
	out->gpr[X86_RSP] = bytes_load(frame + 24, 8);
	out->ss = (u16)bytes_load(frame + 32, 2);
}

static void soft_read_result(struct oracle_soft *s, struct oracle_result *out)
{
	const struct x86_cpu_state *st = &s->state;

	memcpy(out->gpr, st->gpr, sizeof(out->gpr));
	soft_read_frame(s, out);
	out->ds = st->seg[X86_DS].selector;
	out->es = st->seg[X86_ES].selector;
	out->fs = st->seg[X86_FS].selector;
	out->gs = st->seg[X86_GS].selector;
	out->fs_base = st->seg[X86_FS].base;
	out->gs_base = st->seg[X86_GS].base;
	out->cr2 = st->cr2;
	memcpy(out->fx, st->xsave, X86_FXSAVE_SIZE);
	memcpy(out->ymm_high, st->xsave + X86_XSAVE_YMM, sizeof(out->ymm_high));
	out->data = s->ram->hva + SOFT_DATA;
}

/* --- the engine --- */

static int soft_run_vcpu(struct oracle_soft *s, struct err *err)
{
	enum vcpu_stop stop;

	s->vector = -1;
	__atomic_store_n(&s->vcpu->is_wanted, false, __ATOMIC_RELEASE);
	stop = vcpu_run(s->vcpu);
	if (stop == VCPU_STOP_BROKEN)
		return err_set(err, -EIO, "%s", s->vcpu->broken);
	if (stop == VCPU_STOP_RESET || s->vector < 0)
		return err_set(err, -EIO, "the guest's exception was not delivered");
	return s->vcpu->ops->get_state(s->vcpu, &s->state, err);
}

static void soft_fill(struct oracle_soft *s, const struct oracle_case *c, bool is_before)
{
	static const u8 int3[sizeof(c->code)] = {[0 ... sizeof(c->code) - 1] = 0xcc};
	gpa_t code = SOFT_CODE + (c->code_base + c->rip - ORACLE_CODE);
	int r = gmem_write(s->gmem, code, is_before ? c->code : int3, c->len);

	assert(r == 0);
	if (!is_before)
		return;
	/* Not through gmem: no code is there. */
	memcpy(s->ram->hva + SOFT_DATA, s->image, ORACLE_DATA_RW);
	for (unsigned i = 0; i < c->n_patches; i++)
		memcpy(s->ram->hva + SOFT_DATA + c->patches[i].off, c->patches[i].bytes,
		       c->patches[i].size);
}

void oracle_soft_run(struct oracle_soft *s, const struct oracle_case *c, struct oracle_result *out)
{
	struct err err;
	int r;

	out->is_hung = false;
	out->is_broken = false;
	soft_fill(s, c, true);
	soft_set_system(s, &s->state);
	soft_set_user(s, &s->state, c);
	r = s->vcpu->ops->set_state(s->vcpu, &s->state, &err);
	if (!r)
		r = soft_run_vcpu(s, &err);
	soft_fill(s, c, false);
	if (r < 0) {
		printf("  soft: %s\n", err.text);
		out->is_broken = true;
		return;
	}
	soft_read_result(s, out);
}

u64 oracle_soft_features(const struct oracle_soft *s)
{
	return sx_features_from_cpuid(&s->cpuid);
}

static int soft_make_clock(struct oracle_soft *s, struct err *err)
{
	int r = loop_new(&s->loop, err);

	if (r < 0)
		return r;
	s->clock = vclock_new(s->loop, 0);
	vclock_start(s->clock);
	return 0;
}

static int soft_make_memory(struct oracle_soft *s, struct err *err)
{
	struct gmem_range range = {.size = SOFT_RAM};
	int r;

	s->gmem = gmem_new(s->epoch, true);
	gmem_attach_thread(s->gmem);
	r = gmem_block_new(s->gmem, "ram", GMEM_MEMFD, SOFT_RAM, -1, &s->ram, err);
	if (r < 0)
		return r;
	range.block = s->ram;
	gmem_set_map(s->gmem, &range, 1);
	soft_build_memory(s);
	return 0;
}

static int soft_make_vcpu(struct oracle_soft *s, bool is_translated, struct err *err)
{
	struct accel_config config = {
		.gmem = s->gmem,
		.clock = s->clock,
		.host = {.opaque = s,
			 .port_read = soft_port_read,
			 .port_write = soft_port_write,
			 .mmio_read = soft_mmio_read,
			 .mmio_write = soft_mmio_write,
			 .pic_is_pending = soft_pic_is_pending,
			 .pic_acknowledge = soft_pic_acknowledge},
		.kvm_fd = -1,
		.engine = is_translated ? ACCEL_ENGINE_TRANSLATOR : ACCEL_ENGINE_INTERPRETER,
	};
	struct x86_cpuid_config cpu = {.model = "host", .n_cpus = 1};
	int r = soft_accel_new(&config, &s->accel, err);

	if (r < 0)
		return r;
	cpu.tsc_hz = vclock_tsc_hz(s->clock);
	r = x86_cpuid_build(&cpu, &s->accel->features, &s->cpuid, err);
	if (r < 0)
		return r;
	s->apic.ops = &soft_apic_ops;
	return s->accel->ops->vcpu_new(s->accel, 0, &s->cpuid, &s->apic, &s->vcpu, err);
}

int oracle_soft_new(const u8 *image, u64 fs_base, bool is_translated, struct oracle_soft **out)
{
	struct oracle_soft *s = calloc(1, sizeof(*s));
	struct err err;
	int r;

	s->image = image;
	s->fs_base = fs_base;
	s->epoch = epoch_new();
	r = soft_make_clock(s, &err);
	if (!r)
		r = soft_make_memory(s, &err);
	if (!r)
		r = soft_make_vcpu(s, is_translated, &err);
	if (r < 0) {
		fprintf(stderr, "oracle: %s\n", err.text);
		oracle_soft_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void oracle_soft_free(struct oracle_soft *s)
{
	if (!s)
		return;
	vcpu_free(s->vcpu);
	accel_free(s->accel);
	if (s->gmem)
		gmem_detach_thread(s->gmem);
	gmem_free(s->gmem);
	vclock_free(s->clock);
	loop_free(s->loop);
	epoch_free(s->epoch);
	free(s);
}
