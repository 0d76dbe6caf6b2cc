/*
 * Every form of every x87, MMX and SSE instruction against the host CPU: registers, memory, flags,
 * MXCSR, x87 words and pointers, faults, on random operands with a taste for special values.
 *
 * The forms come from the decode table, so that none is forgotten. What the host has no feature
 * for is skipped.
 */
#include <stdio.h>
#include <stdlib.h>

#include "accel/soft/decode.h"
#include "fake_core.h"
#include "host_insn.h"
#include "test.h"

#define ROUNDS    24
#define OPERAND   1024 /* bytes of memory that a form may touch */
#define MEM_START 256  /* of the operand, in the page */

static struct fake_core core;
static u64 seed = 88172645463325252ul;

/* --- random states --- */

static u64 random_u64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static u32 random_float(void)
{
	static const u32 special[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
				      0xff800000, 0x7fc00000, 0x7fa00001, 0x00000001, 0x80000001,
				      0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
				      0x3effffff, 0x5f000000};
	u64 r = random_u64();

	if (r & 1)
		return special[(r >> 8) % ARRAY_SIZE(special)];
	return r & 2 ? (u32)(r >> 32) : 0x3f000000 + ((u32)(r >> 32) & 0x81ffffff);
}

static u64 random_double(void)
{
	static const u64 special[] = {0,
				      1ul << 63,
				      0x3ff0000000000000,
				      0xbff0000000000000,
				      0x7ff0000000000000,
				      0xfff0000000000000,
				      0x7ff8000000000000,
				      0x7ff4000000000001,
				      1,
				      0x000fffffffffffff,
				      0x0010000000000000,
				      0x7fefffffffffffff,
				      0x41e0000000000000,
				      0xc1e0000000000000,
				      0x43e0000000000000,
				      0x3810000000000000,
				      0x47f0000000000000};
	u64 r = random_u64();

	if (r & 1)
		return special[(r >> 8) % ARRAY_SIZE(special)];
	return r & 2 ? random_u64() : 0x3fe0000000000000 + (random_u64() & 0x803fffffffffffff);
}

static void random_vector(u8 *out)
{
	for (unsigned n = 0; n < 2; n++) {
		u64 kind = random_u64() % 4;
		u64 v = kind == 0   ? random_u64()
			: kind == 1 ? random_double()
			: kind == 2 ? (u64)random_float() << 32 | random_float()
				    : random_u64() & 0x001f001f00ff00ff;

		memcpy(out + 8 * n, &v, 8);
	}
}

static void random_st(u8 *out)
{
	static const u16 exponents[] = {0x3fff, 0xbfff, 0, 0x8000, 0x7fff, 0xffff, 0x4000,
					0x401d, 0x403e, 1, 0x7ffe, 0x3f80, 0x3c00};
	u64 r = random_u64();
	u64 fraction = r & 4 ? 1ul << 63 : random_u64() | 1ul << 63;
	u16 exponent = r & 8 ? exponents[(r >> 8) % ARRAY_SIZE(exponents)] : (r >> 16) & 0xffff;

	if ((exponent & 0x7fff) == 0)
		fraction = r & 16 ? 0 : fraction >> 1;
	memset(out, 0, 16);
	memcpy(out, &fraction, 8);
	memcpy(out + 8, &exponent, 2);
}

/* unmasked: let exceptions be raised, of x87 and of SSE. */
static void random_fpu(struct host_fpu *f, bool unmasked)
{
	u64 r = random_u64();

	memset(f, 0, sizeof(*f));
	f->fcw = (u16)(0x40 | (r & 0xf00) | (unmasked ? (r >> 16) & 0x3f : 0x3f));
	f->fsw = (u16)(((r >> 24) & 7) << 11 | ((r >> 32) & 0x4700));
	f->ftw = r >> 40 & 1 ? 0xff : (u8)(r >> 48);
	f->mxcsr = (u32)((r & 0xe000) | 0x1f80);
	if (unmasked)
		f->mxcsr &= ~(u32)((r >> 50 & 0x3f) << 7);
	else
		f->mxcsr |= r >> 41 & 0x40;
	f->fop = random_u64() & 0x7ff;
	f->fip = random_u64() >> 17;
	f->fdp = random_u64() >> 17;
	for (unsigned n = 0; n < 8; n++)
		random_st(f->st[n]);
	for (unsigned n = 0; n < 16; n++)
		random_vector(f->xmm[n]);
}

/* --- encoding --- */

struct encoding {
	u8 bytes[SX_INSN_MAX];
	unsigned n;
	bool is_mem;
};

static void put(struct encoding *e, unsigned byte)
{
	e->bytes[e->n++] = (u8)byte;
}

static bool is_vector(const struct sx_operand *o)
{
	return o->kind == SX_OPD_V || o->kind == SX_OPD_W || o->kind == SX_OPD_U;
}

static bool has_imm(const struct sx_form *f)
{
	return f->shape == SX_SHAPE_RM_IMM || f->shape == SX_SHAPE_REG_RM_IMM ||
	       f->shape == SX_SHAPE_RM_REG_IMM;
}

static bool is_x87(const struct sx_form *f)
{
	return f->op >= SX_FADD && f->op <= SX_FNSAVE;
}

static bool is_dot_product(const struct sx_form *f)
{
	return f->op == SX_DPPS || f->op == SX_DPPD;
}

/* Registers for reg and rm: XMM registers from all 16, general ones from rAX, rCX, rDX, rBX. */
static unsigned pick_reg(const struct sx_form *f, unsigned operand)
{
	unsigned r = (unsigned)random_u64();

	if (is_x87(f))
		return r & 7;
	if (is_vector(&f->opd[operand]))
		return r & 15;
	return f->opd[operand].kind == SX_OPD_P || f->opd[operand].kind == SX_OPD_Q ||
			       f->opd[operand].kind == SX_OPD_N
		       ? r & 7
		       : r & 3;
}

static struct encoding encode(const struct sx_form *f, bool is_mem, bool has_w)
{
	bool rm_first = f->shape == SX_SHAPE_RM_REG || f->shape == SX_SHAPE_RM_REG_IMM ||
			f->shape == SX_SHAPE_RM_IMM || f->shape == SX_SHAPE_RM;
	unsigned rm = is_mem ? 7 : pick_reg(f, rm_first ? 0 : 1);
	unsigned reg = f->ext != SX_EXT_ANY ? f->ext & 7u : pick_reg(f, rm_first ? 1 : 0);
	unsigned rex = (has_w ? 8 : 0) | (reg & 8 ? 4 : 0) | (rm & 8 ? 1 : 0);
	struct encoding e = {.is_mem = is_mem};

	if (f->prefix == SX_P_66)
		put(&e, 0x66);
	else if (f->prefix == SX_P_F3)
		put(&e, 0xf3);
	else if (f->prefix == SX_P_F2)
		put(&e, 0xf2);
	if (rex)
		put(&e, 0x40 | rex);
	if (f->map != SX_MAP_ONE)
		put(&e, 0x0f);
	if (f->map == SX_MAP_0F38)
		put(&e, 0x38);
	if (f->map == SX_MAP_0F3A)
		put(&e, 0x3a);
	put(&e, f->opcode);
	if (f->modrm == SX_MODRM_EXACT)
		put(&e, f->ext);
	else if (f->modrm != SX_MODRM_ABSENT)
		put(&e, (is_mem ? 0 : 0xc0u) | (reg & 7) << 3 | (rm & 7));
	if (has_imm(f))
		put(&e,
		    (unsigned)random_u64() & (f->op == SX_CMPPS || f->op == SX_CMPPD ||
							      f->op == SX_CMPSS || f->op == SX_CMPSD
						      ? 7
						      : 0xff));
	return e;
}

/* --- both sides --- */

struct outcome {
	struct host_state state;
	u8 mem[OPERAND];
	int fault;
};

static void run_on_host(struct outcome *o)
{
	memcpy(core.page + MEM_START, o->mem, OPERAND);
	o->fault = host_insn_run(&o->state);
	memcpy(o->mem, core.page + MEM_START, OPERAND);
}

static void run_on_soft(struct outcome *o, const struct encoding *e, u64 rip)
{
	struct sx_cpu *c = core.cpu;

	fake_core_reset(&core);
	memcpy(&c->fpu, &o->state.fpu, sizeof(o->state.fpu));
	memset(c->fpu.header, 0, sizeof(c->fpu.header));
	c->gpr[X86_RAX] = o->state.rax;
	c->gpr[X86_RCX] = o->state.rcx;
	c->gpr[X86_RDX] = o->state.rdx;
	c->gpr[X86_RBX] = o->state.rbx;
	c->gpr[X86_RDI] = o->state.rdi;
	c->gpr[SX_RIP] = rip;
	c->cc = (u16)((o->state.rflags & 0xd5) << 8 | (o->state.rflags >> 11 & 1));
	memcpy(core.page + MEM_START, o->mem, OPERAND);
	o->fault = fake_core_run(&core, e->bytes, e->n, false);
	memcpy(o->mem, core.page + MEM_START, OPERAND);
	memcpy(&o->state.fpu, &c->fpu, sizeof(o->state.fpu));
	o->state.rax = c->gpr[X86_RAX];
	o->state.rcx = c->gpr[X86_RCX];
	o->state.rdx = c->gpr[X86_RDX];
	o->state.rbx = c->gpr[X86_RBX];
	o->state.rdi = c->gpr[X86_RDI];
	o->state.rflags = (c->cc >> 8 & 0xd5) | (c->cc & 1u) << 11;
}

/* Makes fields that are not compared equal: the reserved ones and FXSAVE's mask; and where #XM was
 * raised, what simd_fp.c says that it can't know. */
static void forget(const struct sx_form *f, struct host_state *s, int fault)
{
	if (fault == X86_XM && (s->fpu.mxcsr & ~(s->fpu.mxcsr >> 7) & 0x18))
		s->fpu.mxcsr &= ~0x20u;
	if (fault == X86_XM && is_dot_product(f))
		s->fpu.mxcsr &= ~0x3fu;
	s->rflags &= 0x8d5;
	s->fpu.mxcsr_mask = 0;
	s->fpu.reserved1 = 0;
	memset(s->fpu.reserved2, 0, sizeof(s->fpu.reserved2));
}

static void show(const char *who, const struct outcome *o)
{
	const struct host_fpu *f = &o->state.fpu;

	printf("%s: fault %d fcw %x fsw %x ftw %x fop %x fip %lx fdp %lx mxcsr %x flags %lx\n", who,
	       o->fault, f->fcw, f->fsw, f->ftw, f->fop, f->fip, f->fdp, f->mxcsr, o->state.rflags);
	printf("  rax %lx rcx %lx rdx %lx rbx %lx\n", o->state.rax, o->state.rcx, o->state.rdx,
	       o->state.rbx);
	for (unsigned n = 0; n < 8; n++) {
		for (unsigned k = 10; k-- > 0;)
			printf("%02x", f->st[n][k]);
		printf(n % 4 == 3 ? "\n" : " ");
	}
	for (unsigned n = 0; n < 16; n++) {
		for (unsigned k = 16; k-- > 0;)
			printf("%02x", f->xmm[n][k]);
		printf(n % 4 == 3 ? "\n" : " ");
	}
}

static bool is_same(const struct outcome *host, const struct outcome *soft)
{
	return host->fault == soft->fault &&
	       memcmp(&host->state, &soft->state, sizeof(host->state)) == 0 &&
	       memcmp(host->mem, soft->mem, OPERAND) == 0;
}

static void explain(const struct sx_form *f, const struct encoding *e, const struct outcome *before,
		    const struct outcome *host, const struct outcome *soft)
{
	printf("%s:", sx_op_name(f->op));
	for (unsigned n = 0; n < e->n; n++)
		printf(" %02x", e->bytes[n]);
	printf("\n");
	show("before", before);
	show("host", host);
	show("soft", soft);
	for (unsigned n = 0; n < OPERAND; n++)
		if (host->mem[n] != soft->mem[n])
			printf("mem[%u]: host %02x soft %02x\n", n, host->mem[n], soft->mem[n]);
}

/* misaligned: the operand is off by some bytes. */
static void random_state(const struct sx_form *f, struct outcome *o, bool unmasked,
			 unsigned misaligned)
{
	random_fpu(&o->state.fpu, unmasked);
	if (is_dot_product(f))
		o->state.fpu.mxcsr |= 0x800; /* underflow masked: simd_fp.c */
	o->state.rax = random_u64() % 40 - 20;
	o->state.rdx = random_u64() % 40 - 20;
	o->state.rcx = random_u64();
	o->state.rbx = random_u64();
	o->state.rdi = (u64)core.page + MEM_START + misaligned;
	o->state.rflags = random_u64() & 0x8d5;
	for (unsigned n = 0; n < OPERAND; n += 16)
		random_vector(o->mem + n);
	if (random_u64() & 1)
		random_st(o->mem);
	if (f->op == SX_FXRSTOR) {
		memset(o->mem + 14, 0, 2); /* a canonical instruction pointer */
		if (random_u64() & 1)
			memset(o->mem + X86_FXSAVE_MXCSR + 2, 0, 2); /* nothing reserved */
	}
}

enum how { PLAIN, UNMASKED, MISALIGNED };

/* After a fault the host has not run the code that stores the registers: they are as before. */
static bool compare_once(const struct sx_form *f, const struct encoding *e, u64 rip, enum how how)
{
	struct outcome before, host, soft;

	memset(&before, 0, sizeof(before));
	random_state(f, &before, how == UNMASKED, how == MISALIGNED ? 4 : 0);
	host = soft = before;
	run_on_host(&host);
	if (host.fault == X86_UD)
		return false; /* the host has no such instruction */
	core.has_tlb = random_u64() & 1;
	run_on_soft(&soft, e, rip);
	forget(f, &host.state, host.fault);
	forget(f, &soft.state, soft.fault);
	if (!is_same(&host, &soft)) {
		explain(f, e, &before, &host, &soft);
		CHECK(!"the host and the software CPU agree");
	}
	return true;
}

static bool is_wanted(const struct sx_form *f)
{
	if (f->op >= SX_EMMS)
		return true;
	return is_x87(f) || f->op == SX_LDMXCSR || f->op == SX_STMXCSR || f->op == SX_FXSAVE ||
	       f->op == SX_FXRSTOR;
}

static unsigned compare_form(const struct sx_form *f, bool is_mem, enum how how)
{
	unsigned n = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct encoding e = encode(f, is_mem, round % 4 == 1 && !is_x87(f));
		u64 rip = host_insn_prepare(e.bytes, e.n);

		for (unsigned k = 0; k < 4; k++)
			n += compare_once(f, &e, rip, how);
	}
	return n;
}

/* The number of comparisons made. */
static unsigned compare_all(enum how how)
{
	unsigned n = 0;

	fake_core_init(&core);
	for (unsigned k = 1; k < sx_form_count; k++) {
		const struct sx_form *f = &sx_forms[k];
		bool can_mem = f->modrm == SX_MODRM_ANY || f->modrm == SX_MODRM_MEM;
		bool can_reg = f->modrm != SX_MODRM_MEM;

		if (!is_wanted(f))
			continue;
		if (can_reg && how != MISALIGNED)
			n += compare_form(f, false, how);
		if (can_mem)
			n += compare_form(f, true, how);
	}
	fake_core_fini(&core);
	return n;
}

TEST(every_form_gives_what_the_host_gives)
{
	CHECK(compare_all(PLAIN) > 10000);
}

TEST(unmasked_exceptions_are_raised_as_the_host_raises_them)
{
	CHECK(compare_all(UNMASKED) > 10000);
}

TEST(misaligned_operands_fault_where_the_hosts_do)
{
	CHECK(compare_all(MISALIGNED) > 10000);
}
