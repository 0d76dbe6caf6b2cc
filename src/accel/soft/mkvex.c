/*
 * Makes the host stubs of the guest's VEX-encoded instructions when the project is built: the same encodings on
 * fixed registers, from the rows of the instruction table. Prints assembly on standard output.
 *
 *   reg     xmm0, eax        rm      xmm6, esi; in rows that are memory only, 96(%rdi)
 *   vvvv    xmm1, ecx        imm     bits 4 to 7 name xmm3; else 256 stubs, by immediate, of
 *                                    SX_VEX_SLOT bytes
 *
 * sx_vex_stubs: for each row four addresses, by VEX.L and, where the operand size is W's, VEX.W; or 0.
 */
#include <stdio.h>

#include "accel/soft/isa.h"
#include "accel/soft/simd_vex.h"

static bool has_kind(const struct sx_form *f, u64 kinds)
{
	for (unsigned i = 0; i < ARRAY_SIZE(f->opd); i++) {
		if (BIT(f->opd[i].kind) & kinds)
			return true;
	}
	return false;
}

static bool is_sized_by_w(const struct sx_form *f)
{
	for (unsigned i = 0; i < ARRAY_SIZE(f->opd); i++) {
		if (f->opd[i].kind && f->opd[i].size == SX_SZ_Y)
			return true;
	}
	return false;
}

static bool has_stub(const struct sx_form *f, unsigned l, unsigned w)
{
	if (!sx_form_is_vex(f) || sx_vex_has_own_handler(f->op))
		return false;
	if (f->attr & (l ? SX_A_L0 : SX_A_L1))
		return false;
	return !w || is_sized_by_w(f);
}

static void print_bytes(const struct sx_form *f, unsigned l, unsigned w)
{
	static const unsigned pp[] = {[SX_P_NONE] = 0, [SX_P_66] = 1, [SX_P_F3] = 2, [SX_P_F2] = 3};
	unsigned vvvv = sx_form_has_vvvv(f);
	unsigned reg = f->ext == SX_EXT_ANY ? 0 : f->ext;

	w |= !!(f->attr & SX_A_W1);
	printf(".byte 0xc4, %#x, %#x, %#x, ", 0xe1u + f->map - SX_MAP_V0F,
	       w << 7 | (~vvvv & 15) << 3 | l << 2 | pp[f->prefix], f->opcode);
	if (f->modrm == SX_MODRM_MEM)
		printf("%#x, 96", 0x47 | reg << 3);
	else
		printf("%#x", 0xc6 | reg << 3);
	if (has_kind(f, BIT(SX_OPD_L)))
		printf(", 0x30");
	else if (has_kind(f, BIT(SX_OPD_I)))
		printf(", imm");
	printf("; ret\n");
}

static void print_stub(unsigned form, unsigned l, unsigned w)
{
	const struct sx_form *f = &sx_forms[form];
	bool has_imm = has_kind(f, BIT(SX_OPD_I));

	if (!has_stub(f, l, w))
		return;
	printf(".balign 8\nvex_%u_%u%u: ", form, l, w);
	if (!has_imm) {
		print_bytes(f, l, w);
		return;
	}
	printf("imm = 0\n.rept 256\n");
	print_bytes(f, l, w);
	printf("imm = imm + 1\n.org vex_%u_%u%u + %u * imm, 0xcc\n.endr\n", form, l, w,
	       SX_VEX_SLOT);
}

int main(void)
{
	printf("\t.text\n");
	for (unsigned i = 1; i < sx_form_count; i++) {
		for (unsigned k = 0; k < 4; k++)
			print_stub(i, k & 1, k >> 1);
	}
	printf("\t.section .data.rel.ro, \"aw\"\n\t.balign 8\n\t.globl sx_vex_stubs\n"
	       "\t.hidden sx_vex_stubs\nsx_vex_stubs:\n");
	for (unsigned i = 0; i < sx_form_count; i++) {
		for (unsigned k = 0; k < 4; k++) {
			if (has_stub(&sx_forms[i], k & 1, k >> 1))
				printf(".quad vex_%u_%u%u\n", i, k & 1, k >> 1);
			else
				printf(".quad 0\n");
		}
	}
	printf("\t.section .note.GNU-stack, \"\", @progbits\n");
	return 0;
}
