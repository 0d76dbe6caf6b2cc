/*
 * x87 instructions to host instructions: the same encodings, on the host's registers, which are the guest's
 * while c->fpu_live.x87_masked says so. Blocks that have them look at it when they are entered. A guest that
 * unmasks an exception has its x87 code interpreted.
 *
 * The host's instruction pointer is its own. The guest's is that of the last instruction before something
 * else could look at it: the end of the block, or a callout.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/native_priv.h"

bool sx_native_is_x87(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_FNCLEX:
	case SX_FNINIT:
	case SX_FLDENV:
	case SX_FNSTENV:
	case SX_FRSTOR:
	case SX_FNSAVE:
		return false;
	}
	return sx_insn_op(i) >= SX_FADD && sx_insn_op(i) <= SX_FNSAVE;
}

unsigned sx_native_fpu_needs(const struct sx_insn *i)
{
	if (sx_native_is_vex(i))
		return sx_native_vex_needs(i);
	return sx_native_is_x87(i) ? SX_NEEDS_X87 : sx_simd_traits(i).needs;
}

u8 sx_native_x87_flags(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_FCMOVCC:
		return FLAGS_READ;
	case SX_FCOMI:
	case SX_FCOMIP:
	case SX_FUCOMI:
	case SX_FUCOMIP:
		return FLAGS_MERGE;
	}
	return 0;
}

/* Those that leave the instruction pointer alone. */
static bool is_control(const struct sx_insn *i)
{
	return sx_insn_op(i) >= SX_FWAIT ||
	       (sx_insn_op(i) == SX_FNOP && sx_insn_form(i)->opcode == 0xdb);
}

void sx_native_store_fip(struct translation *t, u32 off)
{
	unsigned size = sx_native_rip_size(t->b->mode);
	struct emit *e = &t->e;

	if (off == X87_NONE)
		return;
	if (t->is_bound) {
		e_op(e, 4, 0xc7, 0, opd_reg(H_R14), 4);
		e_i32(e, sx_native_ip(t, off));
	} else {
		e_op(e, size, 0x8b, H_R14, opd_near(&t->c->gpr[SX_RIP]), 0);
		if (off)
			e_lea(e, size, H_R14, H_R14, H_RSP, 0, (i32)off);
	}
	e_store(e, H_R14, opd_near(&t->c->fpu.fip));
}

bool sx_native_x87_is_store(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_FST:
	case SX_FSTP:
	case SX_FIST:
	case SX_FISTP:
	case SX_FISTTP:
	case SX_FBSTP:
	case SX_FNSTCW:
	case SX_FNSTSW:
		return true;
	}
	return false;
}

/* From a copy, since guest memory may change; a control word that unmasks is the interpreter's. */
static void load_control_word(struct translation *t, unsigned index, struct opd from)
{
	struct emit *e = &t->e;
	struct opd copy = opd_near(&t->c->native_target);

	e_op(e, 4, E_0F | 0xb7, H_R11, from, 0);
	e_op(e, 4, 0x8b, H_R14, opd_reg(H_R11), 0);
	e_op(e, 4, 0xf7, 2, opd_reg(H_R14), 0); /* not */
	e_op(e, 1, 0xf6, 0, opd_reg(H_R14), 1); /* test */
	e_u8(e, SX_MXCSR_FLAGS);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(e, 5), index);
	e_op(e, 4, 0x89, H_R11, copy, 0);
	e_op(e, 4, 0xd9, 5, copy, 0);
}

void sx_native_x87(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	const struct sx_form *f = sx_insn_form(i);
	bool is_mem = i->flags & SX_IF_MEM;
	struct opd memory = {0};

	if (is_mem) {
		struct access a = sx_native_access(t, it, i->size, sx_native_x87_is_store(i));

		memory = sx_native_memory(t, index, &a, true);
	}
	if ((it->flags & FLAGS_READ || (it->flags & FLAGS_MERGE && it->is_live_after)) &&
	    t->flags != FLAGS_HOST)
		sx_native_load_flags(t);
	if (sx_insn_op(i) == SX_FLDCW) {
		load_control_word(t, index, memory);
	} else if (is_mem) {
		e_op(&t->e, 4, f->opcode, f->ext, memory, 0);
	} else {
		e_u8(&t->e, f->opcode);
		if (f->modrm == SX_MODRM_EXACT)
			e_u8(&t->e, f->ext);
		else if (f->modrm != SX_MODRM_ABSENT)
			e_u8(&t->e, 0xc0u | (unsigned)f->ext << 3 | (i->rm & 7u));
	}
	if (!is_control(i))
		t->x87_off = it->off;
}
