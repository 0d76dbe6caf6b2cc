/*
 * VEX instructions that touch memory by element, as a mask says, and those on all upper halves, MXCSR.
 *
 * Elements whose mask is clear raise nothing. A masked move looks at all its elements before it changes
 * anything; a gather that faults keeps the elements it has, with their masks cleared, so that it goes on
 * there when it is run again (SDM 2, VGATHERDPD).
 */
#include "accel/soft/bind.h"
#include "accel/soft/fpu.h"
#include "accel/soft/simd_vex_priv.h"

static bool is_set(const u8 *mask, unsigned k, unsigned size)
{
	return mask[k * size + size - 1] & 0x80;
}

static u64 element_lin(struct sx_cpu *c, const struct sx_insn *i, u64 distance, unsigned size,
		       bool is_write)
{
	u64 off = (sx_offset(c, i) + distance) & bytes_mask(sx_insn_addrsize(i));

	return sx_seg_lin(c, i, i->seg, off, size, is_write);
}

static unsigned element_size(enum sx_op op)
{
	return op == SX_MASKMOVPS || op == SX_PMASKMOVD ? 4 : 8;
}

static noinline void masked_load_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned size = element_size(sx_insn_op(i));
	u8 mask[32], v[32] = {0};

	sx_vex_begin(c, i);
	sx_vex_get(c, i->cc, mask);
	for (unsigned k = 0; k < i->size / size; k++) {
		if (!is_set(mask, k, size))
			continue;
		sx_host_store(v + k * size,
			      sx_load(c, i, element_lin(c, i, k * size, size, false), size), size);
	}
	sx_vex_set(c, i->reg, v);
}
SX_HANDLER_OF(masked_load, masked_load_work)

static noinline void masked_store_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned size = element_size(sx_insn_op(i));
	u8 mask[32], v[32];

	sx_vex_begin(c, i);
	sx_vex_get(c, i->cc, mask);
	sx_vex_get(c, i->reg, v);
	for (unsigned k = 0; k < i->size / size; k++) {
		if (is_set(mask, k, size))
			sx_probe_write(c, i, element_lin(c, i, k * size, size, true), size);
	}
	for (unsigned k = 0; k < i->size / size; k++) {
		if (is_set(mask, k, size))
			sx_store(c, i, element_lin(c, i, k * size, size, true),
				 sx_host_load(v + k * size, size), size);
	}
}
SX_HANDLER_OF(masked_store, masked_store_work)

static noinline void masked_bytes_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u8 data[32], mask[32];

	sx_vex_begin(c, i);
	sx_vex_get(c, i->reg, data);
	sx_vex_get(c, i->rm, mask);
	sx_simd_store_masked(c, i, data, mask, 16);
}
SX_HANDLER_OF(masked_bytes, masked_bytes_work)

/* --- gathers --- */

static bool has_wide_index(enum sx_op op)
{
	return op == SX_GATHERQPS || op == SX_GATHERQPD || op == SX_PGATHERQD || op == SX_PGATHERQQ;
}

static i64 nth_index(const u8 *index, unsigned k, bool is_wide)
{
	return is_wide ? (i64)sx_host_load(index + k * 8, 8) : (i32)sx_host_load(index + k * 4, 4);
}

/* The register index is no general one: base and displacement alone. */
static u64 gather_distance(const struct sx_cpu *c, const struct sx_insn *i, i64 index)
{
	return ((u64)index << i->scale) - (c->gpr[i->index] << i->scale);
}

static noinline void gather_work(struct sx_cpu *c, const struct sx_insn *i)
{
	bool is_wide = has_wide_index(sx_insn_op(i));
	unsigned size = i->size, bytes = i->flags & SX_IF_L ? 32 : 16;
	unsigned n = bytes / (is_wide ? 8 : size);
	u8 index[32], mask[32], v[32];

	sx_vex_begin(c, i);
	sx_vex_get(c, i->index, index);
	sx_vex_get(c, i->cc, mask);
	sx_vex_get(c, i->reg, v);
	for (unsigned k = 0; k < n; k++) {
		u64 distance = gather_distance(c, i, nth_index(index, k, is_wide));

		if (is_set(mask, k, size))
			sx_host_store(v + k * size,
				      sx_load(c, i, element_lin(c, i, distance, size, false), size),
				      size);
		/* Done with it, whatever the next one raises. */
		sx_host_store(mask + k * size, 0, size);
		sx_vex_set(c, i->cc, mask);
		sx_vex_set(c, i->reg, v);
	}
	memset(mask, 0, sizeof(mask));
	memset(v + n * size, 0, sizeof(v) - n * size);
	sx_vex_set(c, i->cc, mask);
	sx_vex_set(c, i->reg, v);
}
SX_HANDLER_OF(gather, gather_work)

/* --- the rest --- */

static unsigned visible_registers(const struct sx_cpu *c)
{
	return sx_is_64(c) ? 16 : 8;
}

static void zero_upper(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_vex_begin(c, i);
	memset(c->fpu.ymm_high, 0, visible_registers(c) * sizeof(c->fpu.ymm_high[0]));
	SX_NEXT(c, i);
}

static void zero_all(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_vex_begin(c, i);
	memset(c->fpu.xmm, 0, visible_registers(c) * sizeof(c->fpu.xmm[0]));
	memset(c->fpu.ymm_high, 0, visible_registers(c) * sizeof(c->fpu.ymm_high[0]));
	SX_NEXT(c, i);
}

sx_insn_fn *sx_vex_bind_own(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_MASKMOVDQU:
		return masked_bytes;
	case SX_ZEROUPPER:
		return zero_upper;
	case SX_ZEROALL:
		return zero_all;
	case SX_LDMXCSR:
	case SX_STMXCSR:
		return sx_simd_bind_mxcsr(i);
	case SX_MASKMOVPS:
	case SX_MASKMOVPD:
	case SX_PMASKMOVD:
	case SX_PMASKMOVQ:
		return sx_insn_form(i)->opd[0].kind == SX_OPD_M ? masked_store : masked_load;
	}
	return gather;
}
