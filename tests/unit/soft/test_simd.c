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
#define MAX_SHOWN 20   /* differences that are printed */
#define MAX_TRIES 4    /* of the host, where it differs */

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

/* --- the instruction and data pointers --- */

/*
 * Which pointers an instruction leaves, on processors that note the opcode and the data pointer at
 * unmasked exceptions only (CPUID.7.EBX, bit 6): the software CPU, and Intel's. AMD's save zeros
 * by FXSAVE while no exception is pending (APM 2, 11.4.4.3), so that there the rule takes their
 * place.
 */
struct pointers {
	u16 fop;
	u64 fip, fdp;
};

static bool is_x87_control(const struct sx_form *f)
{
	switch ((int)f->op) {
	case SX_FNCLEX:
	case SX_FNSTSW:
	case SX_FNSTCW:
	case SX_FLDCW:
	case SX_FNSTENV:
	case SX_FWAIT:
		return true;
	}
	return f->op == SX_FNOP && f->opcode == 0xdb; /* FENI and its kin */
}

static struct pointers pointers_of(const struct host_fpu *f)
{
	return (struct pointers){f->fop, f->fip, f->fdp};
}

static struct pointers pointers_of_env(const u8 *mem)
{
	u32 w[7];

	memcpy(w, mem, sizeof(w));
	return (struct pointers){(u16)(w[4] >> 16 & 0x7ff), w[3], w[5]};
}

static struct pointers pointers_of_image(const struct encoding *e, const u8 *mem)
{
	struct pointers p;
	bool has_w = e->bytes[0] >= 0x48;
	struct host_fpu f;

	memcpy(&f, mem, sizeof(f));
	p = pointers_of(&f);
	p.fop &= 0x7ff;
	if (!has_w) {
		p.fip = (u32)p.fip;
		p.fdp = (u32)p.fdp;
	}
	return p;
}

/* No exception is pending afterwards. */
static struct pointers rule_of_pointers(const struct sx_form *f, const struct encoding *e, u64 rip,
					const struct outcome *before, int fault)
{
	struct pointers p = pointers_of(&before->state.fpu);
	const u8 *mem = before->mem + (before->state.rdi - (u64)core.page - MEM_START);

	if (fault != HOST_NO_FAULT)
		return p;
	if (f->op == SX_FNINIT || f->op == SX_FNSAVE)
		return (struct pointers){0};
	if (f->op == SX_FLDENV || f->op == SX_FRSTOR)
		return pointers_of_env(mem);
	if (f->op == SX_FXRSTOR)
		return pointers_of_image(e, mem);
	if (is_x87(f) && !is_x87_control(f))
		p.fip = rip;
	return p;
}

static void put_pointers(struct host_fpu *f, struct pointers p)
{
	f->fop = p.fop;
	f->fip = p.fip;
	f->fdp = p.fdp;
}

/* FXSAVE's image in memory holds what it began with. */
static void put_saved_pointers(const struct encoding *e, const struct outcome *before, u8 *mem)
{
	struct host_fpu f;

	memcpy(&f, mem, sizeof(f));
	if ((f.fsw & 0x80) || f.fop || f.fip || f.fdp)
		return;
	put_pointers(&f, pointers_of(&before->state.fpu));
	if (e->bytes[0] < 0x48) {
		f.fip = (u32)f.fip;
		f.fdp = (u32)f.fdp;
	}
	memcpy(mem, &f, sizeof(f));
}

/* On a host whose FXSAVE leaves the pointers out; anything but zeros stays, and is a difference. */
static void complete_pointers(const struct sx_form *f, const struct encoding *e, u64 rip,
			      const struct outcome *before, struct outcome *host)
{
	struct host_fpu *h = &host->state.fpu;

	if (host_saves_pointers())
		return;
	if (!(h->fsw & 0x80) && !h->fop && !h->fip && !h->fdp)
		put_pointers(h, rule_of_pointers(f, e, rip, before, host->fault));
	if (f->op == SX_FXSAVE && host->fault == HOST_NO_FAULT)
		put_saved_pointers(e, before, host->mem);
}

/* MXCSR's mask in an image is the host's own; the software CPU's has 16 bits. */
static void settle_mxcsr_mask(const struct sx_form *f, struct outcome *host)
{
	u32 mask, ours = 0xffff;

	memcpy(&mask, host->mem + X86_FXSAVE_MXCSR + 4, 4);
	if (f->op == SX_FXSAVE && host->fault == HOST_NO_FAULT && mask == host_mxcsr_mask())
		memcpy(host->mem + X86_FXSAVE_MXCSR + 4, &ours, 4);
}

static bool is_sha(const struct sx_form *f)
{
	return f->op >= SX_SHA1RNDS4 && f->op <= SX_SHA256MSG2;
}

/* SHA's operands must be aligned (SDM 2, SHA1MSG1: exceptions of type 4), which AMD's processors
 * don't ask for. */
static void settle_misaligned_sha(const struct outcome *before, struct outcome *host)
{
	if (host->fault != HOST_NO_FAULT)
		return;
	*host = *before;
	host->fault = X86_GP;
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

/* Bit 17, which only AMD's processors have, never comes alone: so neither takes it. */
static void spoil_mxcsr_mm(u8 *mxcsr)
{
	if (mxcsr[2] & 2)
		mxcsr[2] |= 1;
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
	if (f->op == SX_LDMXCSR)
		spoil_mxcsr_mm(o->mem + misaligned);
	if (f->op == SX_FXRSTOR) {
		spoil_mxcsr_mm(o->mem + X86_FXSAVE_MXCSR + misaligned);
		memset(o->mem + 14, 0,
		       2); /* canonical pointers: others are the processor's choice */
		memset(o->mem + 22, 0, 2);
		if (random_u64() & 1)
			memset(o->mem + X86_FXSAVE_MXCSR + 2, 0, 2); /* nothing reserved */
	}
}

enum how { PLAIN, UNMASKED, MISALIGNED };

struct tally {
	unsigned n, n_different;
};

/* After a fault the host has not run the code that stores the registers: they are as before. */
static struct outcome host_outcome(const struct sx_form *f, const struct encoding *e, u64 rip,
				   enum how how, const struct outcome *before)
{
	struct outcome host = *before;

	run_on_host(&host);
	complete_pointers(f, e, rip, before, &host);
	settle_mxcsr_mask(f, &host);
	if (how == MISALIGNED && is_sha(f) && host_is_amd())
		settle_misaligned_sha(before, &host);
	forget(f, &host.state, host.fault);
	return host;
}

/*
 * Where the host's kernel takes the processor away between the load of the state and the instruction, an AMD
 * processor's pointers are lost, as FXSAVE leaves them out, and an exception that is then pending shows it. What
 * differs is had from the host again, therefore: it must differ each time.
 */
static void compare_once(const struct sx_form *f, const struct encoding *e, u64 rip, enum how how,
			 struct tally *t)
{
	struct outcome before, host, soft;

	memset(&before, 0, sizeof(before));
	random_state(f, &before, how == UNMASKED, how == MISALIGNED ? 4 : 0);
	soft = before;
	host = host_outcome(f, e, rip, how, &before);
	if (host.fault == X86_UD)
		return; /* the host has no such instruction */
	core.has_tlb = random_u64() & 1;
	run_on_soft(&soft, e, rip);
	forget(f, &soft.state, soft.fault);
	t->n++;
	for (unsigned k = 0; k < MAX_TRIES && !is_same(&host, &soft); k++)
		host = host_outcome(f, e, rip, how, &before);
	if (!is_same(&host, &soft) && t->n_different++ < MAX_SHOWN)
		explain(f, e, &before, &host, &soft);
}

/* YMM registers are the oracle's (tests/guest/oracle). */
static bool is_wanted(const struct sx_form *f)
{
	if (sx_form_is_vex(f))
		return false;
	if (f->op >= SX_EMMS)
		return true;
	return is_x87(f) || f->op == SX_LDMXCSR || f->op == SX_STMXCSR || f->op == SX_FXSAVE ||
	       f->op == SX_FXRSTOR;
}

static void compare_form(const struct sx_form *f, bool is_mem, enum how how, struct tally *t)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct encoding e = encode(f, is_mem, round % 4 == 1 && !is_x87(f));
		u64 rip = host_insn_prepare(e.bytes, e.n);

		for (unsigned k = 0; k < 4; k++)
			compare_once(f, &e, rip, how, t);
	}
}

static struct tally compare_all(enum how how)
{
	struct tally t = {0};

	fake_core_init(&core);
	for (unsigned k = 1; k < sx_form_count; k++) {
		const struct sx_form *f = &sx_forms[k];
		bool can_mem = f->modrm == SX_MODRM_ANY || f->modrm == SX_MODRM_MEM;
		bool can_reg = f->modrm != SX_MODRM_MEM;

		if (!is_wanted(f))
			continue;
		if (can_reg && how != MISALIGNED)
			compare_form(f, false, how, &t);
		if (can_mem)
			compare_form(f, true, how, &t);
	}
	fake_core_fini(&core);
	return t;
}

static void check(struct tally t)
{
	CHECK(t.n > 10000);
	CHECK_EQ(t.n_different, 0);
}

TEST(every_form_gives_what_the_host_gives)
{
	check(compare_all(PLAIN));
}

TEST(unmasked_exceptions_are_raised_as_the_host_raises_them)
{
	check(compare_all(UNMASKED));
}

TEST(misaligned_operands_fault_where_the_hosts_do)
{
	check(compare_all(MISALIGNED));
}
