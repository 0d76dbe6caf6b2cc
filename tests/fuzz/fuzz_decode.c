/*
 * Fuzzes the decoder and the disassembler. The first byte chooses the mode, the next eight the
 * features; the rest is code, of which at most a page's tail is there.
 */
#include <string.h>

#include "accel/soft/decode.h"
#include "accel/soft/disasm.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* What a decoded instruction promises its executor. */
static void check_insn(const struct sx_insn *insn, int len)
{
	assert(len >= 1 && len <= SX_INSN_MAX && insn->len == len);
	assert(insn->form > 0 && insn->form < sx_form_count);
	assert(insn->scale <= 3 && insn->cc <= 15 && insn->seg <= 5);
	assert(insn->reg < SX_REG_HIGH + 4);
	if (insn->flags & SX_IF_MEM) {
		assert(insn->base <= SX_REG_RIP && insn->index <= SX_REG_ZERO);
		assert((insn->base == SX_REG_RIP) == !!(insn->flags & SX_IF_RIP));
	} else {
		assert(insn->rm < SX_REG_HIGH + 4 && insn->rm != SX_REG_ZERO);
		assert(!(insn->flags & SX_IF_LOCK));
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u8 bits[4] = {16, 32, 64, 64};
	struct sx_decode_mode mode;
	struct sx_insn insn, again;
	char text[SX_DISASM_MAX];
	int len;

	if (size < 9)
		return 0;
	mode.bits = bits[data[0] & 3];
	mode.is_protected = !(data[0] & 4);
	memcpy(&mode.features, data + 1, 8);
	mode.features |= BIT(SX_F_BASE);
	data += 9;
	size -= 9;

	len = sx_decode(&mode, data, (unsigned)size, &insn);
	if (len <= 0) {
		assert(len < 0 && (len != SX_DECODE_NEED_MORE || size < SX_INSN_MAX));
		return 0;
	}
	assert((size_t)len <= size);
	check_insn(&insn, len);
	sx_disasm(&insn, 0x1000, text, sizeof(text));
	assert(text[0] && strlen(text) < sizeof(text) - 1);

	/* No byte beyond its length matters, and none of these is dispensable. */
	assert(sx_decode(&mode, data, (unsigned)len, &again) == len);
	assert(!memcmp(&insn, &again, sizeof(insn)));
	assert(sx_decode(&mode, data, (unsigned)len - 1, &again) == SX_DECODE_NEED_MORE);
	return 0;
}
