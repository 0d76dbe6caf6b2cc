/*
 * CMPXCHG8B and CMPXCHG16B: always atomic, locked or not, since that is no slower.
 *
 * Both write their operand whatever the comparison says (SDM 2A), so that both permissions are
 * needed. ZF is the only flag they change.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

typedef u64 __attribute__((aligned(1), may_alias)) wide_u64;

static void set_zf(struct sx_cpu *c, bool is_equal)
{
	c->cc = (u16)((c->cc & ~SX_CC_ZF) | (is_equal ? SX_CC_ZF : 0));
}

static void cmpxchg8b(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = sx_ea(c, i, 8, true);
	u8 *p = sx_host_rw(c, i, lin, 8);
	u64 wanted = (u32)c->gpr[X86_RAX] | c->gpr[X86_RDX] << 32;
	u64 next = (u32)c->gpr[X86_RBX] | c->gpr[X86_RCX] << 32;
	u64 found = wanted;

	if (likely(p)) {
		asm volatile("lock cmpxchgq %2, %1"
			     : "+a"(found), "+m"(*(wide_u64 *)p)
			     : "r"(next)
			     : "cc");
	} else {
		sx_split_lock(c);
		found = sx_load_slow(c, i, lin, 8);
		sx_store_slow(c, i, lin, found == wanted ? next : found, 8);
		sx_split_unlock(c);
	}
	set_zf(c, found == wanted);
	if (found != wanted) {
		c->gpr[X86_RAX] = (u32)found;
		c->gpr[X86_RDX] = found >> 32;
	}
	SX_NEXT(c, i);
}

/* On what is no plain memory: in two halves. Returns whether they were equal. */
static bool cmpxchg16b_apart(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 *low,
			     u64 *high)
{
	u64 found_low, found_high;
	bool is_equal;

	sx_split_lock(c);
	found_low = sx_load_slow(c, i, lin, 8);
	found_high = sx_load_slow(c, i, lin + 8, 8);
	is_equal = found_low == *low && found_high == *high;
	sx_store_slow(c, i, lin, is_equal ? c->gpr[X86_RBX] : found_low, 8);
	sx_store_slow(c, i, lin + 8, is_equal ? c->gpr[X86_RCX] : found_high, 8);
	sx_split_unlock(c);
	*low = found_low;
	*high = found_high;
	return is_equal;
}

static void cmpxchg16b(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = sx_ea(c, i, 16, true);
	u64 low = c->gpr[X86_RAX], high = c->gpr[X86_RDX];
	bool is_equal;
	u8 *p;

	if (lin & 15)
		sx_throw_gp(c, i, 0);
	p = sx_host_rw(c, i, lin, 16);
	if (likely(p))
		asm volatile("lock cmpxchg16b %1"
			     : "=@ccz"(is_equal), "+m"(*(u128 *)p), "+a"(low), "+d"(high)
			     : "b"(c->gpr[X86_RBX]), "c"(c->gpr[X86_RCX]));
	else
		is_equal = cmpxchg16b_apart(c, i, lin, &low, &high);
	set_zf(c, is_equal);
	if (!is_equal) {
		c->gpr[X86_RAX] = low;
		c->gpr[X86_RDX] = high;
	}
	SX_NEXT(c, i);
}

sx_insn_fn *sx_bind_wide(struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_CMPXCHG8B:
		return cmpxchg8b;
	case SX_CMPXCHG16B:
		return cmpxchg16b;
	}
	return NULL;
}
