/*
 * Instructions with a VEX prefix to host instructions: themselves, with general registers renamed and memory
 * operands replaced.
 *
 * The low halves of vector registers are kept as SSE's are (native_simd.c); the upper halves are in the host's
 * registers where ymm_valid says so, which it does only where the low half is there as well. What an instruction
 * writes it writes whole. A block that may have left something in the host's upper halves clears them when it
 * gives the registers back, since SSE code runs slowly otherwise.
 */
#include "accel/soft/bind.h"
#include "accel/soft/decode.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/native_priv.h"
#include "accel/soft/simd_vex.h"

enum { PP_NONE, PP_66, PP_F3, PP_F2 };
enum { MAP_0F = 1, MAP_0F38, MAP_0F3A };

struct vex {
	unsigned map, pp, opcode;
	bool w, l;
	unsigned imm_bytes; /* that follow, written by the caller */
};

static void e_vex(struct emit *e, const struct vex *v, unsigned reg, unsigned vvvv, struct opd m)
{
	unsigned rex = opd_rex(m);
	unsigned last = (~vvvv & 15) << 3 | (unsigned)v->l << 2 | v->pp;

	if (!rex && !v->w && v->map == MAP_0F) {
		e_u8(e, 0xc5);
		e_u8(e, (reg < 8 ? 0x80u : 0) | last);
	} else {
		e_u8(e, 0xc4);
		e_u8(e, (reg < 8 ? 0x80u : 0) | (~rex & 3) << 5 | v->map);
		e_u8(e, (unsigned)v->w << 7 | last);
	}
	e_u8(e, v->opcode);
	e_operand(e, reg, m, v->imm_bytes);
}

/* --- registers --- */

static const struct vex load_low = {.map = MAP_0F, .opcode = 0x28};
static const struct vex store_low = {.map = MAP_0F, .opcode = 0x29};
static const struct vex insert_high = {
	.map = MAP_0F3A, .pp = PP_66, .opcode = 0x18, .l = true, .imm_bytes = 1};
static const struct vex extract_high = {
	.map = MAP_0F3A, .pp = PP_66, .opcode = 0x19, .l = true, .imm_bytes = 1};

static struct opd opd_low(const struct translation *t, unsigned n)
{
	return opd_near(t->c->fpu.xmm[n]);
}

static struct opd opd_high(const struct translation *t, unsigned n)
{
	return opd_near(t->c->fpu.ymm_high[n]);
}

static void clear_upper_halves(struct translation *t)
{
	e_u8(&t->e, 0xc5);
	e_u8(&t->e, 0xf8);
	e_u8(&t->e, 0x77);
}

void sx_native_vex_store(struct translation *t, u16 low, u16 high)
{
	for (unsigned n = 0; n < 16; n++) {
		if (low & BIT32(n))
			e_vex(&t->e, &store_low, n, 0, opd_low(t, n));
		if (high & BIT32(n)) {
			e_vex(&t->e, &extract_high, n, 0, opd_high(t, n));
			e_u8(&t->e, 1);
		}
	}
	if (t->has_upper)
		clear_upper_halves(t);
}

void sx_native_vex_load(struct translation *t, u16 low, u16 high)
{
	for (unsigned n = 0; n < 16; n++) {
		if (low & BIT32(n))
			e_vex(&t->e, &load_low, n, 0, opd_low(t, n));
		if (high & BIT32(n)) {
			e_vex(&t->e, &insert_high, n, n, opd_high(t, n));
			e_u8(&t->e, 1);
		}
	}
}

static void want(struct translation *t, unsigned n, bool is_whole)
{
	u16 bit = (u16)BIT32(n);
	u16 low = bit & (u16)~t->xmm_valid;
	u16 high = is_whole ? bit & (u16)~t->ymm_valid : 0;

	sx_native_vex_load(t, low, high);
	t->xmm_valid |= low;
	t->ymm_valid |= high;
	t->has_upper |= high != 0;
}

static void wrote(struct translation *t, unsigned n)
{
	u16 bit = (u16)BIT32(n);

	t->xmm_valid |= bit;
	t->xmm_dirty |= bit;
	t->ymm_valid |= bit;
	t->ymm_dirty |= bit;
}

/* --- VZEROUPPER --- */

/* A register whose contents need not be kept. */
static unsigned spare_register(struct translation *t)
{
	u16 kept = t->xmm_dirty | t->ymm_dirty;

	if (kept == 0xffff)
		sx_native_flush_fpu(t);
	return (unsigned)__builtin_ctz(~(unsigned)(t->xmm_dirty | t->ymm_dirty));
}

/* All of c->fpu.ymm_high that this code can name by zeros; what has its low half in the host's registers has both then. */
static void zero_upper(struct translation *t)
{
	static const struct vex zero = {.map = MAP_0F, .opcode = 0x57}; /* vxorps */
	static const struct vex store = {.map = MAP_0F, .opcode = 0x29, .l = true};
	unsigned n_registers = t->b->mode & SX_MODE_64 ? 16 : 8, s;

	t->ymm_dirty = 0;
	s = spare_register(t);
	e_vex(&t->e, &zero, s, s, opd_reg(s));
	for (unsigned n = 0; n < n_registers; n += 2)
		e_vex(&t->e, &store, s, 0, opd_high(t, n));
	clear_upper_halves(t);
	t->xmm_valid &= (u16)~BIT32(s);
	t->ymm_valid = t->xmm_valid;
	t->has_upper = false;
}

/* --- operands --- */

struct operands {
	unsigned reg, vvvv;
	struct opd rm;
	bool stores_reg, stores_vvvv, stores_rm; /* general registers that are in memory */
};

static bool is_rm(const struct sx_operand *o)
{
	switch ((int)o->kind) {
	case SX_OPD_W:
	case SX_OPD_U:
	case SX_OPD_E:
	case SX_OPD_EX:
	case SX_OPD_M:
		return true;
	}
	return false;
}

static bool is_written(const struct sx_form *f, unsigned k)
{
	return (k == 0 && !sx_vex_writes_nothing(f->op)) || (k == 1 && f->op == SX_MULX);
}

/* FMA reads its destination. */
static bool is_read(const struct sx_form *f, unsigned k)
{
	return !is_written(f, k) || (f->op >= SX_FMADDSUB132PS && f->op <= SX_FNMSUB231SD);
}

/* The number of a vector register that an operand names, or -1. */
static int vector_of(const struct sx_insn *i, const struct sx_operand *o)
{
	switch ((int)o->kind) {
	case SX_OPD_V:
		return i->reg;
	case SX_OPD_H:
		return i->cc;
	case SX_OPD_L:
		return (int)i->imm;
	case SX_OPD_W:
	case SX_OPD_U:
		return i->flags & SX_IF_MEM ? -1 : i->rm;
	}
	return -1;
}

/* A general register, or the scratch one that stands for it. */
static unsigned general(struct translation *t, unsigned guest, unsigned scratch, bool is_dest,
			bool *out_stores)
{
	if (!is_dest)
		return guest_in(t, guest, scratch);
	*out_stores = host_of(guest) == IN_MEMORY;
	return *out_stores ? scratch : host_of(guest);
}

static void take_operand(struct translation *t, const struct sx_insn *i, unsigned k,
			 struct operands *o)
{
	const struct sx_form *f = sx_insn_form(i);
	const struct sx_operand *p = &f->opd[k];
	bool is_dest = is_written(f, k);
	int n = vector_of(i, p);

	if (n >= 0 && is_read(f, k))
		want(t, (unsigned)n, sx_insn_operand_bytes(i, p->size) == 32);
	switch ((int)p->kind) {
	case SX_OPD_V:
		o->reg = i->reg;
		break;
	case SX_OPD_H:
		o->vvvv = i->cc;
		break;
	case SX_OPD_G:
		o->reg = general(t, i->reg, H_R11, is_dest, &o->stores_reg);
		break;
	case SX_OPD_B:
		o->vvvv = general(t, i->cc, H_R14, is_dest, &o->stores_vvvv);
		break;
	case SX_OPD_E:
	case SX_OPD_EX:
		if (!(i->flags & SX_IF_MEM))
			o->rm = opd_reg(general(t, i->rm, H_R10, is_dest, &o->stores_rm));
		break;
	case SX_OPD_W:
	case SX_OPD_U:
		if (n >= 0)
			o->rm = opd_reg((unsigned)n);
		break;
	}
}

static void give_operands(struct translation *t, const struct sx_insn *i, const struct operands *o)
{
	const struct sx_form *f = sx_insn_form(i);

	for (unsigned k = 0; k < 2; k++) {
		int n = vector_of(i, &f->opd[k]);

		if (n >= 0 && is_written(f, k))
			wrote(t, (unsigned)n);
	}
	if (f->op == SX_PCMPESTRM || f->op == SX_PCMPISTRM)
		wrote(t, 0);
	if (o->stores_vvvv)
		e_store(&t->e, o->vvvv, opd_gpr(t->c, i->cc));
	if (o->stores_reg)
		e_store(&t->e, o->reg, opd_gpr(t->c, i->reg));
	if (o->stores_rm)
		e_store(&t->e, o->rm.reg, opd_gpr(t->c, i->rm));
	t->has_upper |= sx_form_is_xmm(f) && i->flags & SX_IF_L;
}

/* --- instructions --- */

bool sx_native_is_vex(const struct sx_insn *i)
{
	if (!(i->flags & SX_IF_VEX))
		return false;
	return !sx_vex_has_own_handler(sx_insn_op(i)) || sx_insn_op(i) == SX_ZEROUPPER;
}

unsigned sx_native_vex_needs(const struct sx_insn *i)
{
	if (sx_insn_op(i) == SX_ZEROUPPER)
		return SX_NEEDS_AVX;
	if (!sx_form_is_xmm(sx_insn_form(i)))
		return 0;
	return sx_vex_is_float(sx_insn_op(i)) ? SX_NEEDS_AVX | SX_NEEDS_FP : SX_NEEDS_AVX;
}

/* Of BMI's some flags are undefined, and may be what they were. */
u8 sx_native_vex_flags(const struct sx_insn *i)
{
	if (!sx_vex_writes_flags(sx_insn_op(i)))
		return 0;
	return sx_form_is_xmm(sx_insn_form(i)) ? FLAGS_WRITE : FLAGS_MERGE;
}

static bool is_wide(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);

	if (f->attr & SX_A_W1)
		return true;
	for (unsigned k = 0; k < ARRAY_SIZE(f->opd); k++) {
		if (f->opd[k].kind && f->opd[k].size == SX_SZ_Y)
			return i->flags & SX_IF_REXW;
	}
	return i->flags & SX_IF_REXW && (f->op == SX_PCMPESTRI || f->op == SX_PCMPESTRM);
}

static struct vex encoding_of(const struct sx_insn *i, bool *out_is_register, u8 *out_imm)
{
	static const u8 pp[] = {[SX_P_66] = PP_66, [SX_P_F3] = PP_F3, [SX_P_F2] = PP_F2};
	const struct sx_form *f = sx_insn_form(i);
	struct vex v = {.map = 1u + f->map - SX_MAP_V0F,
			.pp = pp[f->prefix],
			.opcode = f->opcode,
			.w = is_wide(i),
			.l = i->flags & SX_IF_L};

	for (unsigned k = 0; k < ARRAY_SIZE(f->opd); k++) {
		*out_is_register |= f->opd[k].kind == SX_OPD_L;
		v.imm_bytes |= f->opd[k].kind == SX_OPD_I || f->opd[k].kind == SX_OPD_L;
	}
	*out_imm = (u8)(*out_is_register ? i->imm << 4 : i->imm);
	return v;
}

bool sx_native_vex_writes_rm(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);

	return is_rm(&f->opd[0]) && is_written(f, 0);
}

/* R14 is wanted for an operand in vvvv that isn't in a host register. */
static struct opd memory(struct translation *t, unsigned index)
{
	const struct sx_form *f = sx_insn_form(&t->items[index].i);
	struct opd m =
		sx_native_vector_memory(t, index, sx_native_vex_writes_rm(&t->items[index].i));

	if (sx_form_is_xmm(f))
		return m;
	e_op(&t->e, 8, 0x8d, H_R10, m, 0); /* lea */
	return opd_base(H_R10, 0);
}

void sx_native_vex(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	const struct sx_form *f = sx_insn_form(i);
	struct operands o = {0};
	bool is_register = false;
	u8 imm;
	struct vex v = encoding_of(i, &is_register, &imm);

	if (f->op == SX_ZEROUPPER) {
		zero_upper(t);
		return;
	}
	if (i->flags & SX_IF_MEM)
		o.rm = memory(t, index);
	if (it->flags & FLAGS_MERGE && it->is_live_after && t->flags != FLAGS_HOST)
		sx_native_load_flags(t);
	if (f->ext != SX_EXT_ANY)
		o.reg = f->ext;
	for (unsigned k = 0; k < ARRAY_SIZE(f->opd); k++)
		take_operand(t, i, k, &o);
	if (!sx_form_is_xmm(f))
		t->e.changed = 0xffff;
	e_vex(&t->e, &v, o.reg, o.vvvv, o.rm);
	if (v.imm_bytes)
		e_u8(&t->e, imm);
	give_operands(t, i, &o);
}
