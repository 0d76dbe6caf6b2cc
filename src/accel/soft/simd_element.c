/*
 * Inserting, extracting and storing single elements of XMM registers: PINSRx, PEXTRx, EXTRACTPS,
 * MASKMOVDQU. Immediates select modulo the number of elements.
 */
#include "accel/soft/simd_priv.h"

static unsigned element_bytes(enum sx_op op, const struct sx_insn *i)
{
	switch ((int)op) {
	case SX_PINSRB:
	case SX_PEXTRB:
		return 1;
	case SX_PINSRW:
	case SX_PEXTRW:
		return 2;
	case SX_EXTRACTPS:
		return 4;
	default:
		return i->flags & SX_IF_REXW ? 8 : 4; /* PINSRQ, PEXTRQ */
	}
}

/* disp is free in the register forms only; the immediate stays in imm: no stub is needed. */
static always_inline u8 *element_at(struct sx_cpu *c, unsigned xmm, const struct sx_insn *i,
				    unsigned size)
{
	return c->fpu.xmm[xmm] + size * (i->imm & (16 / size - 1));
}

static always_inline void element_insert(struct sx_cpu *c, const struct sx_insn *i, unsigned size)
{
	u64 v;

	simd_begin(c, i);
	v = sx_insn_is_mem(i) ? simd_load_u64(c, i, size) : c->gpr[i->rm];
	sx_host_store(element_at(c, i->reg, i, size), v, size);
}

/* To rm, but for the older PEXTRW, whose rm is the XMM register. */
static always_inline void element_extract(struct sx_cpu *c, const struct sx_insn *i, unsigned size)
{
	simd_begin(c, i);
	if (sx_insn_form(i)->shape == SX_SHAPE_REG_RM_IMM)
		c->gpr[i->reg] = sx_host_load(element_at(c, i->rm, i, size), size);
	else if (!sx_insn_is_mem(i))
		c->gpr[i->rm] = sx_host_load(element_at(c, i->reg, i, size), size);
	else
		simd_store_u64(c, i, sx_host_load(element_at(c, i->reg, i, size), size), size);
}

#define ELEMENT_HANDLERS(size)                                                                     \
	static void simd_insert_##size(struct sx_cpu *c, const struct sx_insn *i)                  \
	{                                                                                          \
		element_insert(c, i, size);                                                        \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void simd_extract_##size(struct sx_cpu *c, const struct sx_insn *i)                 \
	{                                                                                          \
		element_extract(c, i, size);                                                       \
		SX_NEXT(c, i);                                                                     \
	}
ELEMENT_HANDLERS(1)
ELEMENT_HANDLERS(2)
ELEMENT_HANDLERS(4)
ELEMENT_HANDLERS(8)

void sx_simd_store_masked(struct sx_cpu *c, const struct sx_insn *i, const u8 *data, const u8 *mask,
			  unsigned size)
{
	u64 off = c->gpr[X86_RDI];
	unsigned first = 0, last = size;
	u64 lin;

	if (sx_insn_addrsize(i) < 8)
		off &= sx_insn_addrsize(i) == 4 ? 0xffffffff : 0xffff;
	lin = sx_seg_lin(c, i, i->seg, off, size, true);
	while (first < size && !(mask[first] & 0x80))
		first++;
	if (first == size)
		return;
	while (!(mask[last - 1] & 0x80))
		last--;
	sx_probe_write(c, i, lin + first, last - first);
	for (unsigned n = first; n < last; n++)
		if (mask[n] & 0x80)
			sx_store(c, i, lin + n, data[n], 1);
}

static void simd_maskmovdqu(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	sx_simd_store_masked(c, i, c->fpu.xmm[i->reg], c->fpu.xmm[i->rm], 16);
	SX_NEXT(c, i);
}

static sx_insn_fn *element_handler(bool is_insert, unsigned size)
{
	switch (size) {
	case 1:
		return is_insert ? simd_insert_1 : simd_extract_1;
	case 2:
		return is_insert ? simd_insert_2 : simd_extract_2;
	case 4:
		return is_insert ? simd_insert_4 : simd_extract_4;
	default:
		return is_insert ? simd_insert_8 : simd_extract_8;
	}
}

sx_insn_fn *sx_simd_bind_element(const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);

	switch ((int)op) {
	case SX_PINSRB:
	case SX_PINSRW:
	case SX_PINSRD:
		return element_handler(true, element_bytes(op, i));
	case SX_PEXTRB:
	case SX_PEXTRW:
	case SX_PEXTRD:
	case SX_EXTRACTPS:
		return element_handler(false, element_bytes(op, i));
	case SX_MASKMOVDQU:
		return simd_maskmovdqu;
	default:
		return NULL;
	}
}
