/*
 * Where native code goes on that native_targets hasn't got: looked up by the page's physical address, in C, and back. So
 * an address space that is new, or was flushed, costs each of its jumps a call, and not a way through the run loop.
 */
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"

void sx_native_remember(struct sx_cpu *c, u64 lin, u8 *code)
{
	if (unlikely(sx_is_odd_code(c, lin) && !c->has_odd_code)) {
		c->has_odd_code = true;
		sx_native_key_update(c);
	}
	c->native_targets_at[sx_native_target_slot(lin)] =
		(struct sx_native_target){.lin = lin, .key = c->native_key, .code = code};
}

bool sx_native_is_for(const struct sx_cpu *c, const struct sx_block *b, u64 lin)
{
	return !sx_native_is_bound(b->mode) ||
	       sx_native_head(c, c->native->exec + b->native)->page == (lin & PAGE_MASK);
}

/* NULL: the run loop's to make, or to raise what is there instead. */
static struct sx_block *find(struct sx_cpu *c, u64 lin)
{
	struct sx_block *b = sx_block_find_good(c, lin);

	if (!b || !b->native || !sx_native_is_for(c, b, lin))
		return NULL;
	sx_count(c, SX_N_NATIVE_FOUND);
	sx_native_remember(c, lin, c->native->exec + b->native);
	return b;
}

bool sx_native_find(struct sx_cpu *c, u64 lin)
{
	return find(c, lin);
}

bool sx_native_find_far(struct sx_cpu *c, u64 lin)
{
	u8 *end = (u8 *)(uintptr_t)c->native_target - c->native->exec + c->native->write;
	const struct sx_block *b = find(c, lin);

	if (!b)
		return false;
	assert(sx_native_owns(c->native, end));
	sx_native_link_far(c, end, lin, c->native->write + b->native);
	return true;
}
