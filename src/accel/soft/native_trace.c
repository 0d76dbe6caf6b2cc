/*
 * Traces: a translation that goes on behind jumps in its page, the way that was taken.
 *
 * A block is translated once the interpreter has entered it some times, and knows by then where its end led: at a
 * conditional jump whose other side was hardly ever taken, and at every direct jump, the translation goes on in the next
 * block, unless that has code of its own and doesn't lead back to the beginning. The jump is a seam: nothing, or a
 * conditional jump to what is out of line there. Flags, windows and XMM registers are kept over it; who leaves by the
 * other side puts away what is wanted there.
 *
 * All of a trace is in one page, so that the word which its entry compares is good for all of it, and it is made anew
 * when any byte changes that it was made of. It never comes back to an instruction that it has: a loop is its end.
 */
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"

/* How far from the block, so that few bytes have to be kept. */
#define DISTANCE_MAX 1024
/* One side was entered so many times as often as the other. */
#define BIAS 4
/* Loops that are worth having twice: blocks, instructions. */
#define LOOP_BLOCKS 6
#define LOOP_MAX    48

i64 sx_native_seam_next(const struct translation *t, const struct item *it)
{
	return it->seam == SEAM_NOT_TAKEN ? it->off + it->i.len : sx_native_target(t, it);
}

i64 sx_native_seam_out(const struct translation *t, const struct item *it)
{
	return it->seam == SEAM_NOT_TAKEN ? sx_native_target(t, it) : it->off + it->i.len;
}

static u32 offset_of(const struct sx_block *b)
{
	return (u32)(b->gpa & ~PAGE_MASK);
}

/* The interpreter's block, whose end it is. */
static const struct sx_block *block_at(const struct translation *t, const struct item *it)
{
	const struct sx_block *b = t->at;

	return b && offset_of(b) + b->n_bytes == it->off + it->i.len ? b : NULL;
}

static unsigned heat_of(const struct sx_block *b)
{
	return b ? b->heat + 1u : 0;
}

/* The side that was taken far more often; SEAM_NONE: there is none. */
static enum seam choose(const struct sx_block *b)
{
	unsigned not = heat_of(b->out[0]), taken = heat_of(b->out[1]);

	if (not > taken * BIAS)
		return SEAM_NOT_TAKEN;
	return taken > not *BIAS ? SEAM_TAKEN : SEAM_NONE;
}

/*
 * Does b lead back to where the trace began, by few blocks and ways that are taken? Then these are worth having twice: a
 * loop is one trace, in whatever order its blocks became hot.
 */
static bool leads_back(const struct translation *t, const struct sx_block *b, unsigned n_insns,
		       unsigned depth)
{
	unsigned heat;

	if (!b || !sx_block_is_fresh(b) || !depth)
		return false;
	if (offset_of(b) == t->items[0].off)
		return true;
	n_insns += b->n_insns;
	if (n_insns > LOOP_MAX)
		return false;
	heat = heat_of(b->out[0]) > heat_of(b->out[1]) ? heat_of(b->out[0]) : heat_of(b->out[1]);
	for (unsigned k = 0; k < 2; k++) {
		if (heat_of(b->out[k]) * BIAS > heat &&
		    leads_back(t, b->out[k], n_insns, depth - 1))
			return true;
	}
	return false;
}

/* The side by which it closes; SEAM_NONE: none does. */
static enum seam choose_loop(const struct translation *t, const struct sx_block *b)
{
	bool is_taken = heat_of(b->out[1]) >= heat_of(b->out[0]);

	for (unsigned k = 0; k < 2; k++, is_taken = !is_taken) {
		if (leads_back(t, b->out[is_taken], t->n_items, LOOP_BLOCKS))
			return is_taken ? SEAM_TAKEN : SEAM_NOT_TAKEN;
	}
	return SEAM_NONE;
}

/*
 * Without the interpreter's knowledge, which isn't the same in two runs: by the address. Counted clocks have this, and who
 * translates at once.
 */
static bool is_blind(const struct sx_cpu *c)
{
	return !SX_CHAINS_BLOCKS || c->is_counted || c->native->heat == 1;
}

static enum seam choose_blindly(const struct item *it)
{
	return (it->off ^ it->off >> 3) & 1 ? SEAM_TAKEN : SEAM_NOT_TAKEN;
}

bool sx_native_is_in_trace(const struct translation *t, i64 off)
{
	for (unsigned k = 0; k < t->n_items; k++) {
		if (off >= t->items[k].off && off < t->items[k].off + t->items[k].i.len)
			return true;
	}
	return false;
}

static bool may_go_to(struct translation *t, i64 off)
{
	i64 begin = offset_of(t->b);

	return off - begin <= DISTANCE_MAX && begin - off <= DISTANCE_MAX &&
	       sx_native_is_whole(t, off) && !sx_native_is_in_trace(t, off);
}

bool sx_native_goes_on(struct translation *t, struct item *it)
{
	bool is_jump = sx_insn_op(&it->i) == SX_JMP, is_known = !is_blind(t->c);
	const struct sx_block *b = block_at(t, it), *next = NULL;
	enum seam seam = SEAM_JUMP;

	if (!it->is_native || t->is_plain || t->is_bound || !t->page ||
	    t->b->mode & SX_MODE_BREAK || (!is_jump && sx_insn_op(&it->i) != SX_JCC) ||
	    (is_known && !b))
		return false;
	if (sx_native_target(t, it) == t->items[0].off) /* a loop */
		return false;
	if (!is_jump)
		seam = is_known ? choose(b) : choose_blindly(it);
	if (!is_jump && is_known && !seam) {
		seam = choose_loop(t, b);
		t->closes |= seam != SEAM_NONE;
	}
	if (seam && is_known)
		next = b->out[seam != SEAM_NOT_TAKEN];
	if (!seam || (is_known && (!next || !sx_block_is_fresh(next))))
		return false;
	if (is_known && next->native && !t->closes) {
		if (!leads_back(t, next, t->n_items, LOOP_BLOCKS))
			return false;
		t->closes = true;
	}
	it->seam = (u8)seam;
	if (!may_go_to(t, sx_native_seam_next(t, it))) {
		it->seam = SEAM_NONE;
		return false;
	}
	t->at = next;
	return true;
}

/* --- loops --- */

static u16 bit_of(unsigned reg)
{
	return reg < X86_GPRS ? (u16)BIT32(reg) : 0;
}

static bool is_one_of(u16 registers, unsigned reg)
{
	return reg == SX_REG_ZERO || registers & bit_of(reg);
}

/* Adds something that doesn't change to a register, whole: what `fixed` are don't. */
static bool is_step(const struct item *it, u16 fixed)
{
	const struct sx_insn *i = &it->i;
	bool is_mem = i->flags & SX_IF_MEM;

	if (!it->is_native || i->size < 4)
		return false;
	switch ((int)sx_insn_op(i)) {
	case SX_LEA:
		return i->base == i->reg && is_one_of(fixed, i->index) && !(i->flags & SX_IF_RIP);
	case SX_INC:
	case SX_DEC:
		return !is_mem;
	case SX_ADD:
	case SX_SUB:
		if (is_mem)
			return false;
		switch ((int)sx_insn_form(i)->shape) {
		case SX_SHAPE_RM_IMM:
			return true;
		case SX_SHAPE_RM_REG:
			return is_one_of(fixed, i->reg);
		case SX_SHAPE_REG_RM:
			return is_one_of(fixed, i->rm);
		}
	}
	return false;
}

bool sx_native_is_loop(const struct translation *t)
{
	const struct item *last = &t->items[t->n_items - 1];
	u32 head = t->items[0].off;

	if (!last->is_native || (sx_insn_op(&last->i) != SX_JCC && sx_insn_op(&last->i) != SX_JMP))
		return false;
	return sx_native_target(t, last) == head ||
	       (sx_insn_op(&last->i) == SX_JCC && last->off + last->i.len == head);
}

u16 sx_native_steady(const struct translation *t)
{
	u16 changed = 0, odd = 0;

	if (!sx_native_is_loop(t))
		return 0;
	for (unsigned k = 0; k < t->n_items; k++)
		changed |= sx_native_changes(&t->items[k], t->b->mode);
	for (unsigned k = 0; k < t->n_items; k++) {
		if (!is_step(&t->items[k], (u16)~changed))
			odd |= sx_native_changes(&t->items[k], t->b->mode);
	}
	return (u16)~odd;
}
