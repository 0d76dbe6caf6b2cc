/*
 * System instructions that a kernel executes all the time, in native code: flags, SMAP's AC, SWAPGS, the TSC,
 * control registers read. Where they are more than a few stores (an interrupt that waits for IF, a flag that
 * changes the mode), and where privilege isn't known when they are translated, they are callouts.
 */
#include "accel/soft/exec.h"
#include "accel/soft/lockstep.h"
#include "accel/soft/native_priv.h"

#define CC_E  4u
#define CC_NE 5u

bool sx_native_is_system(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_CLI:
	case SX_STI:
	case SX_SWAPGS:
	case SX_STAC:
	case SX_CLAC:
	case SX_MOV_R_CR:
	case SX_PUSHF:
	case SX_POPF:
	case SX_CLD:
	case SX_STD:
	case SX_RDTSC:
	case SX_RDTSCP:
	case SX_INVLPG:
	case SX_SERIALIZE:
	case SX_RDFSBASE:
	case SX_RDGSBASE:
	case SX_WRFSBASE:
	case SX_WRGSBASE:
	case SX_PUSHA:
	case SX_POPA:
		return true;
	}
	return false;
}

/* The time is what a counted clock counts, and lockstep asks for it once. */
static bool is_time_translated(const struct translation *t)
{
	return !t->c->is_counted && !t->c->lockstep;
}

static bool is_stack_size(const struct sx_insn *i, u32 mode)
{
	return mode & SX_MODE_64 ? i->size == 8 : !(mode & SX_MODE_V86);
}

bool sx_native_system_classify(struct translation *t, struct item *it)
{
	bool is_kernel = !(t->b->mode & SX_MODE_USER), is_good = false;
	u8 flags = 0;

	switch ((int)sx_insn_op(&it->i)) {
	case SX_CLI:
	case SX_STI:
	case SX_SWAPGS:
	case SX_STAC:
	case SX_CLAC:
		is_good = is_kernel;
		break;
	case SX_MOV_R_CR: /* CR8 is the APIC's */
		is_good = is_kernel && !t->c->lockstep &&
			  (it->i.reg == 0 || (it->i.reg >= 2 && it->i.reg <= 4));
		break;
	case SX_PUSHF: /* virtual-8086 mode asks IOPL */
		is_good = is_stack_size(&it->i, t->b->mode);
		flags = FLAGS_READ;
		break;
	case SX_POPF:
		is_good = is_stack_size(&it->i, t->b->mode);
		flags = FLAGS_WRITE;
		break;
	case SX_PUSHA:
	case SX_POPA:
	case SX_CLD:
	case SX_STD:
	case SX_SERIALIZE:
	case SX_RDFSBASE:
	case SX_RDGSBASE:
	case SX_WRFSBASE:
	case SX_WRGSBASE:
		is_good = true;
		break;
	case SX_RDTSC:
	case SX_RDTSCP:
		is_good = is_time_translated(t);
		break;
	case SX_INVLPG: /* lockstep wants to see it */
		is_good = t->b->mode == (SX_MODE_64 | SX_MODE_PE) && !t->c->lockstep;
		break;
	}
	if (is_good)
		it->flags = flags;
	return is_good;
}

/* --- flags --- */

static void and_sysflags(struct translation *t, u32 mask)
{
	e_op(&t->e, 4, 0x81, 4, opd_near(&t->c->sysflags), 4);
	e_i32(&t->e, (i32)mask);
}

static void or_sysflags(struct translation *t, u32 bits)
{
	e_op(&t->e, 4, 0x81, 1, opd_near(&t->c->sysflags), 4);
	e_i32(&t->e, (i32)bits);
}

/* op reg, imm by its number among the eight of opcode 81, on 32 bits. */
static void alu_imm(struct emit *e, unsigned number, unsigned reg, u32 imm)
{
	e_op(e, 4, 0x81, number, opd_reg(reg), 4);
	e_i32(e, (i32)imm);
}

static void and_imm(struct emit *e, unsigned reg, u32 imm)
{
	alu_imm(e, 4, reg, imm);
}

static void shift(struct emit *e, unsigned ext, unsigned reg, u8 by)
{
	e_op(e, 4, 0xc1, ext, opd_reg(reg), 1);
	e_u8(e, by);
}

static void test_imm(struct emit *e, unsigned reg, u32 imm)
{
	e_op(e, 4, 0xf7, 0, opd_reg(reg), 4);
	e_i32(e, (i32)imm);
}

static void to_interpreter(struct translation *t, unsigned index, unsigned cc)
{
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(&t->e, cc), index);
}

void sx_native_flags_of_cc(struct translation *t)
{
	struct emit *e = &t->e;

	e_op(e, 4, E_0F | 0xb7, H_R11, opd_near(&t->c->cc), 0); /* movzx */
	e_op(e, 4, 0x8b, H_R14, opd_reg(H_R11), 0);
	shift(e, 5, H_R11, 8);
	and_imm(e, H_R11, 0xd5);
	and_imm(e, H_R14, SX_CC_OF);
	shift(e, 4, H_R14, 11);
	e_op(e, 4, 0x0b, H_R11, opd_reg(H_R14), 0);
}

void sx_native_cc_of_flags(struct translation *t)
{
	struct emit *e = &t->e;

	e_op(e, 4, 0x8b, H_R14, opd_reg(H_R11), 0);
	and_imm(e, H_R14, 0xd5);
	shift(e, 4, H_R14, 8);
	shift(e, 5, H_R11, 11);
	and_imm(e, H_R11, 1);
	e_op(e, 4, 0x0b, H_R14, opd_reg(H_R11), 0);
	e_op(e, 2, 0x89, H_R14, opd_near(&t->c->cc), 0);
}

/* r10 = the host address of size bytes at rSP + disp. */
static void find_on_stack(struct translation *t, unsigned index, i32 disp, unsigned size,
			  bool is_write)
{
	struct access a = sx_native_stack_access(t, X86_RSP, disp, size, is_write);
	struct opd at = sx_native_memory(t, index, &a, true);

	e_op(&t->e, 8, 0x8d, H_R10, at, 0); /* lea */
}

/* RF and VM are never set where native code runs. */
static void pushf(struct translation *t, unsigned index)
{
	unsigned size = t->items[index].i.size;
	struct emit *e = &t->e;

	find_on_stack(t, index, -(i32)size, size, true);
	sx_native_flags_of_cc(t);
	e_op(e, 8, 0x0b, H_R11, opd_near(&t->c->sysflags), 0);
	e_op(e, size, 0x89, H_R11, opd_base(H_R10, 0), 0);
	sx_native_stack_move(t, GUEST_RSP, -(i32)size);
}

/*
 * What may change here: the arithmetic flags, DF, and IF in supervisor code where no interrupt waits for it. Code
 * that means to change IOPL, or IF without the right to, is the interpreter's too.
 */
static void popf(struct translation *t, unsigned index)
{
	const u32 others = X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_IOPL;
	bool is_user = t->b->mode & SX_MODE_USER;
	unsigned size = t->items[index].i.size;
	struct emit *e = &t->e;
	u8 *none_waits;

	find_on_stack(t, index, 0, size, false);
	e_op(e, 4, size == 2 ? E_0F | 0xb7 : 0x8b, H_R11, opd_base(H_R10, 0), 0);
	e_op(e, 4, 0x8b, H_R14, opd_near(&t->c->sysflags), 0);
	e_op(e, 4, 0x33, H_R14, opd_reg(H_R11), 0);
	test_imm(e, H_R14,
		 (others | (is_user ? X86_FLAG_IF : 0)) & (size == 2 ? 0xffff : 0xffffffff));
	to_interpreter(t, index, CC_NE);
	if (!is_user) {
		e_op(e, 1, 0x80, 7, opd_near(&t->c->intr_waits), 1); /* cmp */
		e_u8(e, 0);
		none_waits = e_jcc(e, CC_E);
		test_imm(e, H_R14, X86_FLAG_IF);
		to_interpreter(t, index, CC_NE);
		if (!e->is_full)
			e_patch(none_waits, e->at);
	}
	and_imm(e, H_R14, X86_FLAG_IF | X86_FLAG_DF);
	e_op(e, 4, 0x31, H_R14, opd_near(&t->c->sysflags), 0); /* xor */
	sx_native_cc_of_flags(t);
	sx_native_stack_move(t, GUEST_RSP, (i32)size);
	t->flags = FLAGS_MEMORY;
}

/*
 * The next instruction is executed before an interrupt comes: nothing between the two looks at the request word,
 * and callouts look at it behind theirs. When one waits already, the interpreter lets it in behind that.
 */
static void sti(struct translation *t, unsigned index)
{
	struct emit *e = &t->e;
	u8 *was_set;

	static_assert(X86_FLAG_IF == 0x200, "in the second byte");
	e_op(e, 1, 0xf6, 0, opd_near((u8 *)&t->c->sysflags + 1), 1); /* test */
	e_u8(e, 2);
	was_set = e_jcc(e, CC_NE);
	e_op(e, 1, 0x80, 7, opd_near(&t->c->intr_waits), 1); /* cmp */
	e_u8(e, 0);
	to_interpreter(t, index, CC_NE);
	e_op(e, 1, 0x80, 1, opd_near((u8 *)&t->c->sysflags + 1), 1); /* or */
	e_u8(e, 2);
	if (!e->is_full)
		e_patch(was_set, e->at);
}

/* --- the others --- */

/* STAC, CLAC: as sx_tlb_select has it. */
static void set_ac(struct translation *t, bool is_set)
{
	struct sx_cpu *c = t->c;
	const struct sx_tlb_way *way = &c->native_ways[is_set];
	struct emit *e = &t->e;

	if (is_set)
		or_sysflags(t, X86_FLAG_AC);
	else
		and_sysflags(t, ~(u32)X86_FLAG_AC);
	e_load(e, H_R10, opd_near(&way->entry));
	e_store(e, H_R10, opd_near(&c->tlb));
	e_op(e, 4, 0x8b, H_R10, opd_near(&way->mask), 0);
	e_op(e, 4, 0x89, H_R10, opd_near(&c->tlb_mask), 0);
	static_assert(sizeof(c->tlb_set) == sizeof(way->set), "copied");
	e_op(e, 4, 0x8b, H_R10, opd_near(&way->set), 0);
	e_op(e, 4, 0x89, H_R10, opd_near(&c->tlb_set), 0);
}

static void swapgs(struct translation *t)
{
	struct sx_cpu *c = t->c;
	struct emit *e = &t->e;

	e_load(e, H_R10, opd_near(&c->seg[X86_GS].base));
	e_load(e, H_R11, opd_near(&c->kernel_gs_base));
	e_store(e, H_R11, opd_near(&c->seg[X86_GS].base));
	e_store(e, H_R11, opd_near(&c->seg_base[X86_GS]));
	e_store(e, H_R10, opd_near(&c->kernel_gs_base));
}

static void read_control(struct translation *t, const struct sx_insn *i)
{
	const struct sx_cpu *c = t->c;
	const u64 *from = i->reg == 0   ? &c->cr0
			  : i->reg == 2 ? &c->cr2
			  : i->reg == 3 ? &c->cr3
					: &c->cr4;

	if (host_of(i->rm) != IN_MEMORY) {
		e_op(&t->e, i->size, 0x8b, host_of(i->rm), opd_near(from), 0);
		return;
	}
	e_load(&t->e, H_R10, opd_near(from));
	e_store(&t->e, H_R10, opd_gpr(c, i->rm));
}

static void read_tsc(struct translation *t, unsigned index)
{
	struct emit *e = &t->e;
	u8 *field;

	sx_native_flush_fpu(t);
	if (t->b->mode & SX_MODE_USER) {
		e_op(e, 1, 0xf6, 0, opd_near(&t->c->cr4), 1); /* test */
		e_u8(e, X86_CR4_TSD);
		to_interpreter(t, index, CC_NE);
	}
	field = e_call(e);
	if (!e->is_full)
		e_patch(field, t->c->native->tsc - e->to_exec);
	if (sx_insn_op(&t->items[index].i) == SX_RDTSCP)
		e_op(e, 4, 0x8b, H_RCX, opd_near(&t->c->tsc_aux), 0);
}

/* Where code may be mapped elsewhere now, native code is left behind it. */
static void invlpg(struct translation *t, unsigned index)
{
	struct access a = sx_native_access(t, &t->items[index], 1, false);
	u8 *field;

	sx_native_flush_fpu(t);
	sx_native_address(t, index, &a);
	field = e_call(&t->e);
	if (!t->e.is_full)
		e_patch(field, t->c->native->invlpg - t->e.to_exec);
	sx_native_add_slow(t, SLOW_NEXT, e_jcc(&t->e, CC_NE), index);
}

/* Code may be others' since: who wrote it has asked for this vCPU, and is served before the next instruction. */
static void serialize(struct translation *t, unsigned index)
{
	struct emit *e = &t->e;

	sx_native_flush_fpu(t);
	e_u8(e, 0x0f); /* mfence */
	e_u8(e, 0xae);
	e_u8(e, 0xf0);
	e_op(e, 4, 0x83, 7, opd_near(&t->c->request), 1); /* cmp */
	e_u8(e, 0);
	sx_native_add_slow(t, SLOW_NEXT, e_jcc(e, CC_NE), index);
}

/* FS's and GS's bases, by the instructions for that. */
static void base_of_segment(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	bool is_fs = sx_insn_op(i) == SX_RDFSBASE || sx_insn_op(i) == SX_WRFSBASE;
	bool is_read = sx_insn_op(i) == SX_RDFSBASE || sx_insn_op(i) == SX_RDGSBASE;
	struct sx_cpu *c = t->c;
	unsigned seg = is_fs ? X86_FS : X86_GS;
	struct emit *e = &t->e;

	static_assert(X86_CR4_FSGSBASE == BIT(16), "in the third byte");
	e_op(e, 1, 0xf6, 0, opd_near((u8 *)&c->cr4 + 2), 1); /* test */
	e_u8(e, 1);
	to_interpreter(t, index, CC_E);
	if (is_read) {
		e_op(e, i->size, 0x8b, H_R10, opd_near(&c->seg[seg].base), 0);
		if (host_of(i->rm) != IN_MEMORY)
			e_op(e, 8, 0x8b, host_of(i->rm), opd_reg(H_R10), 0);
		else
			e_store(e, H_R10, opd_gpr(c, i->rm));
		return;
	}
	e_op(e, i->size, 0x8b, H_R10, opd_reg(guest_in(t, i->rm, H_R11)), 0);
	if (i->size == 8) { /* canonical? */
		sx_native_canonical(e, H_R14, H_R10);
		e_op(e, 8, 0x3b, H_R14, opd_reg(H_R10), 0);
		to_interpreter(t, index, CC_NE);
	}
	e_store(e, H_R10, opd_near(&c->seg[seg].base));
	e_store(e, H_R10, opd_near(&c->seg_base[seg]));
}

bool sx_native_system(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;

	switch ((int)sx_insn_op(i)) {
	case SX_CLI:
		and_sysflags(t, ~(u32)X86_FLAG_IF);
		return true;
	case SX_STI:
		sti(t, index);
		return true;
	case SX_CLD:
		and_sysflags(t, ~(u32)X86_FLAG_DF);
		return true;
	case SX_STD:
		or_sysflags(t, X86_FLAG_DF);
		return true;
	case SX_PUSHF:
		pushf(t, index);
		return true;
	case SX_POPF:
		popf(t, index);
		return true;
	case SX_STAC:
	case SX_CLAC:
		set_ac(t, sx_insn_op(i) == SX_STAC);
		return true;
	case SX_SWAPGS:
		swapgs(t);
		return true;
	case SX_MOV_R_CR:
		read_control(t, i);
		return true;
	case SX_RDTSC:
	case SX_RDTSCP:
		read_tsc(t, index);
		return true;
	case SX_INVLPG:
		invlpg(t, index);
		return true;
	case SX_SERIALIZE:
		serialize(t, index);
		return true;
	case SX_RDFSBASE:
	case SX_RDGSBASE:
	case SX_WRFSBASE:
	case SX_WRGSBASE:
		base_of_segment(t, index);
		return true;
	case SX_PUSHA:
	case SX_POPA:
		sx_native_stack_all(t, index);
		return true;
	}
	return false;
}
