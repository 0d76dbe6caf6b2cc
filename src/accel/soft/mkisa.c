/*
 * Makes the index of the instruction table, from opcode to rows, when the project is built.
 *
 * A row whose opcode holds a register is entered for 8 opcodes, one with a condition for 16. Prints
 * C on standard output; fails when the rows of one opcode disagree on whether a ModRM byte follows,
 * since the decoder must know that before it chooses among them.
 */
#include <stdio.h>

#include "accel/soft/isa.h"

static unsigned mkisa_span(const struct sx_form *f)
{
	if (f->attr & SX_A_CC)
		return 16;
	for (unsigned i = 0; i < ARRAY_SIZE(f->opd); i++) {
		if (f->opd[i].kind == SX_OPD_Z)
			return 8;
	}
	return 1;
}

static bool mkisa_matches(const struct sx_form *f, unsigned map, unsigned opcode)
{
	return f->map == map && opcode >= f->opcode && opcode < f->opcode + mkisa_span(f);
}

int main(void)
{
	unsigned start[SX_MAPS * 256 + 1], n = 0;

	printf("#include \"accel/soft/isa.h\"\n\nconst u16 sx_isa_rows[] = {\n");
	for (unsigned i = 0; i < SX_MAPS * 256; i++) {
		int has_modrm = -1;

		start[i] = n;
		for (unsigned row = 1; row < sx_form_count; row++) {
			const struct sx_form *f = &sx_forms[row];

			if (!mkisa_matches(f, i / 256, i % 256))
				continue;
			if (has_modrm >= 0 && has_modrm != (f->modrm != SX_MODRM_ABSENT)) {
				fprintf(stderr, "map %u, opcode %#x: ModRM or not?\n", i / 256,
					i % 256);
				return 1;
			}
			has_modrm = f->modrm != SX_MODRM_ABSENT;
			printf("%u,\n", row);
			n++;
		}
	}
	start[SX_MAPS * 256] = n;
	printf("};\n\nconst u16 sx_isa_start[SX_MAPS * 256 + 1] = {\n");
	for (unsigned i = 0; i <= SX_MAPS * 256; i++)
		printf("%u,\n", start[i]);
	printf("};\n");
	return 0;
}
