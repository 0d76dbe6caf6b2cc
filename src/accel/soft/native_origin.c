/*
 * Where the target of an indirect jump was loaded from: its origin.
 *
 * A jump through a table is looked up by the address of what was loaded from the table, not by that itself: the host
 * knows that address some twenty cycles earlier (the TLB's look-up, the load, an addition), and when it has predicted
 * another target, that is how much earlier it learns so. What the slot holds is compared with the target all the
 * same, beside the jump and not before it. So an address is no more than a hint, and may be stale.
 *
 * The load is found going back from the jump, over additions to the register. Where its address's registers are
 * the same at the jump, it is computed there; else it is noted before the load.
 */
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"

static bool is_load(const struct sx_insn *i)
{
	if (!(i->flags & SX_IF_MEM) || i->flags & (SX_IF_VEX | SX_IF_LOCK))
		return false;
	switch ((int)sx_insn_op(i)) {
	case SX_MOV:
		return sx_insn_form(i)->shape == SX_SHAPE_REG_RM;
	case SX_MOVSXD:
	case SX_MOVZX8:
	case SX_MOVZX16:
	case SX_MOVSX8:
	case SX_MOVSX16:
		return true;
	}
	return false;
}

static bool is_addition(const struct sx_insn *i)
{
	return sx_insn_op(i) == SX_LEA || (sx_insn_op(i) == SX_ADD && !(i->flags & SX_IF_MEM));
}

/* An element of a table: other accesses come from where each jump has its own, or each object. */
static bool has_index(const struct sx_insn *i)
{
	return i->index != SX_REG_ZERO && !(i->flags & SX_IF_VSIB);
}

static u16 bit_of(unsigned reg)
{
	return reg < X86_GPRS ? (u16)BIT32(reg) : 0;
}

/* The instruction that loaded the register, before index; t->n_items: it isn't known. */
static unsigned find_load(const struct translation *t, unsigned index, unsigned reg)
{
	for (unsigned k = index; k-- > 0;) {
		const struct item *it = &t->items[k];

		if (!(sx_native_changes(it, t->b->mode) & bit_of(reg)))
			continue;
		if (it->is_native && is_load(&it->i))
			return k;
		if (!it->is_native || !is_addition(&it->i))
			break;
	}
	return t->n_items;
}

static bool is_in_host(unsigned reg)
{
	return reg == SX_REG_ZERO || host_of(reg) != IN_MEMORY;
}

/* Are the registers of its address what they were, and in the host's? */
static bool is_there(const struct translation *t, unsigned load, unsigned index)
{
	const struct sx_insn *i = &t->items[load].i;
	u16 needed = bit_of(i->base) | bit_of(i->index), changed = 0;

	for (unsigned k = load; k < index; k++)
		changed |= sx_native_changes(&t->items[k], t->b->mode);
	return !(changed & needed) && is_in_host(i->base) && is_in_host(i->index);
}

void sx_native_find_origin(struct translation *t)
{
	unsigned last = t->n_items - 1;
	const struct item *it = &t->items[last];
	bool is_indirect = sx_insn_op(&it->i) == SX_JMP_RM || sx_insn_op(&it->i) == SX_CALL_RM;

	t->origin = t->n_items;
	t->is_origin_noted = false;
	if (!it->is_native || !is_indirect || !(t->b->mode & SX_MODE_64))
		return;
	t->origin = it->i.flags & SX_IF_MEM ? last : find_load(t, last, it->i.rm);
	if (t->origin < t->n_items && !has_index(&t->items[t->origin].i))
		t->origin = t->n_items;
	if (t->origin == t->n_items || is_there(t, t->origin, last))
		return;
	if (sx_insn_op(&it->i) == SX_CALL_RM)
		t->origin = t->n_items;
	else
		t->is_origin_noted = true;
}

void sx_native_note_origin(struct translation *t, unsigned index)
{
	if (index != t->origin || !t->is_origin_noted)
		return;
	sx_native_offset(t, &t->items[index], H_R10, 8);
	e_store(&t->e, H_R10, opd_near(&t->c->native_origin));
}

bool sx_native_origin(struct translation *t)
{
	if (t->origin == t->n_items)
		return false;
	if (t->is_origin_noted)
		e_load(&t->e, H_R10, opd_near(&t->c->native_origin));
	else
		sx_native_offset(t, &t->items[t->origin], H_R10, 8);
	return true;
}
