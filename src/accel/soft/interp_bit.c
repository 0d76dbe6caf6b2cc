/*
 * Bit tests, bit scans, POPCNT, CRC32, ADCX, ADOX.
 *
 * With a register as bit number, BT and its siblings address memory beyond the operand: the bit
 * string reaches 2^63 bits in both directions (SDM 2A, BT).
 */
#include <nmmintrin.h>

#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

enum bit_op { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static u64 bit_apply(enum bit_op op, u64 v, u64 mask)
{
	switch (op) {
	case BIT_SET:
		return v | mask;
	case BIT_RESET:
		return v & ~mask;
	case BIT_COMPLEMENT:
		return v ^ mask;
	case BIT_TEST:
		break;
	}
	return v;
}

/* The same on host memory, atomically; returns the old value. Naturally aligned or not. */
#define BIT_ATOMIC(type)                                                                           \
	static type bit_atomic_##type(u8 *p, enum bit_op op, u64 mask)                             \
	{                                                                                          \
		type old = (type)sx_host_load(p, sizeof(type)), seen;                              \
                                                                                                   \
		for (;; old = seen) {                                                              \
			type wanted = (type)bit_apply(op, old, mask);                              \
                                                                                                   \
			seen = old;                                                                \
			asm volatile("lock cmpxchg %2, %1"                                         \
				     : "+a"(seen), "+m"(*(type __attribute__((may_alias)) *)p)     \
				     : "r"(wanted)                                                 \
				     : "cc");                                                      \
			if (seen == old)                                                           \
				return old;                                                        \
		}                                                                                  \
	}
BIT_ATOMIC(u16)
BIT_ATOMIC(u32)
BIT_ATOMIC(u64)

static u64 bit_locked(u8 *p, enum bit_op op, u64 mask, unsigned size)
{
	if (size == 2)
		return bit_atomic_u16(p, op, mask);
	if (size == 4)
		return bit_atomic_u32(p, op, mask);
	return bit_atomic_u64(p, op, mask);
}

static u64 bit_memory(struct sx_cpu *c, const struct sx_insn *i, enum bit_op op, u64 lin, u64 mask)
{
	unsigned size = i->size;
	u64 old;
	u8 *p;

	if (op == BIT_TEST)
		return sx_load(c, i, lin, size);
	p = sx_host_rw(c, i, lin, size);
	if (likely(p)) {
		if (i->flags & SX_IF_LOCK)
			return bit_locked(p, op, mask, size);
		old = sx_host_load(p, size);
		sx_host_store(p, bit_apply(op, old, mask), size);
		return old;
	}
	sx_split_lock(c);
	old = sx_load_slow(c, i, lin, size);
	sx_store_slow(c, i, lin, bit_apply(op, old, mask), size);
	sx_split_unlock(c);
	return old;
}

/* Address of the operand-sized piece of the bit string that holds the bit. */
static u64 bit_lin(struct sx_cpu *c, const struct sx_insn *i, u64 bit, bool is_write)
{
	unsigned shift = i->size == 2 ? 4 : i->size == 4 ? 5 : 6;
	i64 piece = (i64)sx_sign_extend(bit, i->size) >> shift;
	u64 off = sx_offset(c, i) + (u64)piece * i->size;

	off &= bytes_mask(sx_insn_addrsize(i));
	return sx_seg_lin(c, i, i->seg, off, i->size, is_write);
}

static always_inline void bit(struct sx_cpu *c, const struct sx_insn *i, enum bit_op op, u64 number,
			      bool is_string)
{
	unsigned size = i->size;
	u64 mask = BIT(number & (size * 8 - 1)), old;

	if (i->flags & SX_IF_MEM) {
		u64 lin = is_string ? bit_lin(c, i, number, op != BIT_TEST)
				    : sx_ea(c, i, size, op != BIT_TEST);

		old = bit_memory(c, i, op, lin, mask);
	} else {
		old = sx_reg_get(c, i->rm, size);
		if (op != BIT_TEST)
			sx_reg_set(c, i->rm, bit_apply(op, old, mask), size);
	}
	/* CF alone: ZF is unchanged, the others are undefined (and unchanged on processors). */
	c->cc = (u16)((c->cc & ~SX_CC_CF) | (old & mask ? SX_CC_CF : 0));
}

#define BIT_OP(name, op)                                                                           \
	static void name##_reg(struct sx_cpu *c, const struct sx_insn *i)                          \
	{                                                                                          \
		bit(c, i, op, sx_reg_get(c, i->reg, i->size), true);                               \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_imm(struct sx_cpu *c, const struct sx_insn *i)                          \
	{                                                                                          \
		bit(c, i, op, i->imm, false);                                                      \
		SX_NEXT(c, i);                                                                     \
	}

BIT_OP(bt, BIT_TEST)
BIT_OP(bts, BIT_SET)
BIT_OP(btr, BIT_RESET)
BIT_OP(btc, BIT_COMPLEMENT)

/*
 * Scans. With a source of 0, BSF and BSR leave the destination as it is, all 64 bits of it, as
 * processors do (the SDM leaves it undefined; Linux relies on it).
 */
#define SCAN_ASM(op, sfx, d, s, f)                                                                 \
	asm(SX_ASM_LOAD_FLAGS "\n\t" op #sfx " %[src], %[dest]\n\t" SX_ASM_SAVE_FLAGS              \
	    : [dest] "+r"(d), "+&a"(f)                                                             \
	    : [src] "r"(s)                                                                         \
	    : "cc")

#define SCAN(sfx, type, size, name, op, keeps)                                                     \
	static void name##_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		type s = (type)sx_rm_load(c, i, size), d = (type)c->gpr[i->reg];                   \
		u32 f = c->cc;                                                                     \
                                                                                                   \
		SCAN_ASM(op, sfx, d, s, f);                                                        \
		if (!keeps || s)                                                                   \
			sx_reg_set(c, i->reg, d, size);                                            \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}
#define SCANS(name, op, keeps)                                                                     \
	SCAN(w, u16, 2, name, op, keeps)                                                           \
	SCAN(l, u32, 4, name, op, keeps)                                                           \
	SCAN(q, u64, 8, name, op, keeps)

SCANS(bsf, "bsf", true)
SCANS(bsr, "bsr", true)
SCANS(tzcnt, "tzcnt", false)
SCANS(lzcnt, "lzcnt", false)
SCANS(popcnt, "popcnt", false)

/* The size is the source's; the result has 32 bits, with REX.W zero-extended to 64. */
__attribute__((target("sse4.2"))) static void crc32(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 s = sx_rm_load(c, i, i->size);
	u32 crc = (u32)c->gpr[i->reg];

	switch (i->size) {
	case 1:
		crc = _mm_crc32_u8(crc, (u8)s);
		break;
	case 2:
		crc = _mm_crc32_u16(crc, (u16)s);
		break;
	case 4:
		crc = _mm_crc32_u32(crc, (u32)s);
		break;
	default:
		crc = (u32)_mm_crc32_u64(crc, s);
		break;
	}
	c->gpr[i->reg] = crc;
	SX_NEXT(c, i);
}

/* Addition whose carry goes in and out by one flag, which alone changes. */
static void add_by_flag(struct sx_cpu *c, const struct sx_insn *i, u32 flag)
{
	u64 s = sx_rm_load(c, i, i->size), mask = bytes_mask(i->size);
	u128 sum = (u128)(c->gpr[i->reg] & mask) + s + !!(c->cc & flag);

	sx_reg_set(c, i->reg, (u64)sum & mask, i->size);
	c->cc = (u16)((c->cc & ~flag) | ((sum >> (i->size * 8)) & 1 ? flag : 0));
}

static void adcx(struct sx_cpu *c, const struct sx_insn *i)
{
	add_by_flag(c, i, SX_CC_CF);
	SX_NEXT(c, i);
}

static void adox(struct sx_cpu *c, const struct sx_insn *i)
{
	add_by_flag(c, i, SX_CC_OF);
	SX_NEXT(c, i);
}

#define PAIR(name)                                                                                 \
	{                                                                                          \
		name##_reg, name##_imm                                                             \
	}
sx_insn_fn *sx_bind_bit(struct sx_insn *i)
{
	static sx_insn_fn *const bits[4][2] = {PAIR(bt), PAIR(bts), PAIR(btr), PAIR(btc)};
	static sx_insn_fn *const scans[5][4] = {SX_THREE(bsf), SX_THREE(bsr), SX_THREE(tzcnt),
						SX_THREE(lzcnt), SX_THREE(popcnt)};
	enum sx_op op = sx_insn_op(i);

	if (op >= SX_BT && op <= SX_BTC)
		return bits[op - SX_BT][sx_insn_form(i)->shape == SX_SHAPE_RM_IMM];
	if (op >= SX_BSF && op <= SX_POPCNT)
		return scans[op - SX_BSF][sx_size_log2(i->size)];
	switch ((int)op) {
	case SX_CRC32:
		return crc32;
	case SX_ADCX:
		return adcx;
	case SX_ADOX:
		return adox;
	}
	return NULL;
}
