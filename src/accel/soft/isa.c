/*
 * What may be asked about the instruction table: names, kinds of operands.
 */
#include "accel/soft/isa.h"

static const char *const isa_op_names[] = {[SX_OP_NONE] = "NONE",
#define X(name, text) [SX_##name] = #name,
					   SX_OPS(X)
#undef X
};

static_assert(ARRAY_SIZE(isa_op_names) == SX_OP_COUNT, "every operation has a name");

const char *sx_op_name(enum sx_op op)
{
	assert(op < SX_OP_COUNT);
	return isa_op_names[op];
}

const struct sx_operand *sx_form_rm(const struct sx_form *f)
{
	const u64 kinds = BIT(SX_OPD_E) | BIT(SX_OPD_EX) | BIT(SX_OPD_M) | BIT(SX_OPD_R) |
			  BIT(SX_OPD_Z) | BIT(SX_OPD_O) | BIT(SX_OPD_Q) | BIT(SX_OPD_N) |
			  BIT(SX_OPD_W) | BIT(SX_OPD_U) | BIT(SX_OPD_STI) | BIT(SX_OPD_VM);

	for (unsigned i = 0; i < ARRAY_SIZE(f->opd); i++) {
		if (BIT(f->opd[i].kind) & kinds)
			return &f->opd[i];
	}
	return NULL;
}

static bool isa_form_has(const struct sx_form *f, u64 kinds)
{
	for (unsigned i = 0; i < ARRAY_SIZE(f->opd); i++) {
		if (BIT(f->opd[i].kind) & kinds)
			return true;
	}
	return false;
}

bool sx_form_is_mmx(const struct sx_form *f)
{
	return isa_form_has(f, BIT(SX_OPD_P) | BIT(SX_OPD_Q) | BIT(SX_OPD_N));
}

bool sx_form_is_xmm(const struct sx_form *f)
{
	return isa_form_has(f, BIT(SX_OPD_V) | BIT(SX_OPD_W) | BIT(SX_OPD_U) | BIT(SX_OPD_H));
}

bool sx_form_has_vvvv(const struct sx_form *f)
{
	return isa_form_has(f, BIT(SX_OPD_H) | BIT(SX_OPD_B));
}
