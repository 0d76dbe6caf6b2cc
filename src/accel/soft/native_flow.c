/*
 * Jumps, calls and returns in native code. native.h says how blocks lead to each other.
 */
#include "accel/soft/block.h"
#include "accel/soft/decode.h"
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

static bool is_in_page(i64 off)
{
	return (u64)off < PAGE_SIZE;
}

i64 sx_native_target(const struct translation *t, const struct item *it)
{
	i64 target = it->off + it->i.len + (i64)it->i.imm;

	if (!t->is_bound)
		return target;
	return (i32)((sx_native_ip(t, target) & (u32)bytes_mask(it->i.size)) - sx_native_ip(t, 0));
}

bool sx_native_jumps_well(const struct translation *t, const struct item *it)
{
	if (!t->is_bound || sx_insn_form(&it->i)->shape != SX_SHAPE_REL)
		return true;
	return sx_native_ip(t, sx_native_target(t, it)) <= t->c->seg[X86_CS].limit;
}

/* --- jumps to what is known --- */

bool sx_native_is_whole(struct translation *t, i64 off)
{
	const struct sx_decode_mode mode = sx_block_decode_mode(t->c, t->b->mode);
	struct sx_insn i;

	if (!is_in_page(off) || off + SX_INSN_MAX <= (i64)PAGE_SIZE)
		return is_in_page(off);
	return t->page && sx_decode(&mode, t->page + off, (unsigned)((i64)PAGE_SIZE - off), &i) !=
				  SX_DECODE_NEED_MORE;
}

/* How far the translation has come in the page. */
static i64 furthest(const struct translation *t, unsigned index)
{
	u32 off = 0;

	for (unsigned k = 0; k <= index; k++) {
		if (t->items[k].off > off)
			off = t->items[k].off;
	}
	return off;
}

/*
 * Where the jump whose distance stands at field leads, from the item index. Who jumps to what isn't further in the
 * page than all that it has been at comes by the look at the request word: so every loop meets that. The page's word was
 * looked at when the page was entered, and whoever changes it asks for this vCPU.
 */
static struct slow *add_target(struct translation *t, u8 *field, i64 target, i64 from,
			       unsigned index)
{
	i64 last = furthest(t, index);
	struct slow *s = sx_native_add_slow(t, sx_native_is_whole(t, target) ? SLOW_EDGE : SLOW_FAR,
					    field, index);

	s->target = target;
	s->link = target <= from || target <= last ? NATIVE_LINK_LOOP : NATIVE_LINK;
	s->has_upper = t->has_upper;
	return s;
}

/* R11 = the linear address of what is at off in the page: RIP, but for a base. */
static void load_rip(struct translation *t, i64 off)
{
	unsigned size = sx_native_rip_size(t->b->mode);

	e_op(&t->e, size, 0x8b, H_R11, opd_near(&t->c->gpr[SX_RIP]), 0);
	e_lea(&t->e, size, H_R11, H_R11, H_RSP, 0, (i32)off);
}

void sx_native_go(struct translation *t, i64 target, i64 from)
{
	if (!sx_native_is_whole(t, target))
		sx_native_far(t, target);
	else
		add_target(t, e_jump(&t->e), target, from, t->n_items - 1);
}

/* What is left to do before the jump is taken, of a seam above all. False: nothing. */
static bool settle(struct translation *t, const struct slow *s)
{
	u32 rest = t->c->counts_insns ? t->n_items - 1 - s->index : 0;

	if (s->spills_flags)
		sx_native_spill_flags(t);
	sx_native_store_fip(t, s->x87_off);
	if (rest)
		sx_native_add_retired(t, -(i64)rest);
	return s->spills_flags || rest || s->x87_off != X87_NONE || s->xmm_dirty || s->ymm_dirty ||
	       s->has_upper;
}

void sx_native_slow_far(struct translation *t, const struct slow *s)
{
	settle(t, s);
	sx_native_far(t, s->target);
}

void sx_native_slow_edge(struct translation *t, const struct slow *s)
{
	u8 *field = settle(t, s) ? e_jump(&t->e) : s->field;

	sx_native_add_edge(t, field, s->link, s->target);
}

/* Its flags are in EFLAGS, and stay there. */
static struct slow *conditional_jump(struct translation *t, unsigned index, unsigned cc, i64 target,
				     bool is_live)
{
	const struct item *it = &t->items[index];
	bool is_host = t->flags == FLAGS_HOST;
	struct slow *s;

	if (!is_host)
		sx_native_load_flags(t);
	s = add_target(t, e_jcc(&t->e, cc), target, it->off, index);
	s->spills_flags = is_host && is_live;
	return s;
}

void sx_native_seam(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];

	if (it->seam != SEAM_JUMP)
		conditional_jump(t, index, it->i.cc ^ (it->seam == SEAM_TAKEN),
				 sx_native_seam_out(t, it), it->is_live_out);
}

static void end_jcc(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	bool is_host = t->flags == FLAGS_HOST, is_both = t->is_live_at_end && t->is_live_taken;

	if (is_host && is_both)
		sx_native_spill_flags(t); /* leaves them in EFLAGS as well */
	t->flags = is_host ? FLAGS_HOST : FLAGS_MEMORY;
	conditional_jump(t, index, it->i.cc, sx_native_target(t, it), t->is_live_taken && !is_both);
	if (is_host && !is_both && t->is_live_at_end)
		sx_native_spill_flags(t);
	sx_native_go(t, it->off + it->i.len, it->off);
}

/* LOOP and JCXZ: rCX as wide as addresses are. Flags are in memory, where anybody wants them. */
static void end_loop(struct translation *t, const struct item *it)
{
	unsigned width = sx_insn_addrsize(&it->i), taken = 5; /* ne */
	enum sx_op op = sx_insn_op(&it->i);
	struct emit *e = &t->e;
	u8 *is_over = NULL;

	if ((op == SX_LOOPE || op == SX_LOOPNE) && t->flags == FLAGS_HOST)
		sx_native_spill_flags(t);
	if (op != SX_JCXZ)
		e_lea(e, width, H_RCX, H_RCX, H_RSP, 0, -1);
	e_op(e, width, 0x85, H_RCX, opd_reg(H_RCX), 0); /* test */
	if (op == SX_LOOPE || op == SX_LOOPNE) {
		is_over = e_jcc(e, 4);
		e_op(e, 1, 0xf6, 0, opd_near((u8 *)&t->c->cc + 1), 1); /* test */
		e_u8(e, SX_CC_ZF >> 8);
	}
	if (op == SX_LOOPNE || op == SX_JCXZ)
		taken = 4; /* e */
	add_target(t, e_jcc(e, taken), sx_native_target(t, it), it->off, t->n_items - 1);
	if (is_over && !e->is_full)
		e_patch(is_over, e->at);
	sx_native_go(t, it->off + it->i.len, it->off);
}

/* --- calls --- */

void sx_native_canonical(struct emit *e, unsigned reg, unsigned from)
{
	e_op(e, 8, 0x8b, reg, opd_reg(from), 0);
	e_op(e, 8, 0xc1, 4, opd_reg(reg), 1); /* shl */
	e_u8(e, 16);
	e_op(e, 8, 0xc1, 7, opd_reg(reg), 1); /* sar */
	e_u8(e, 16);
}

static struct access pushed(const struct translation *t, const struct item *it)
{
	return sx_native_stack_access(t, X86_RSP, -(i32)it->i.size, it->i.size, true);
}

/* Pushes RIP behind the call, whose linear address goes to R11; on a miss the interpreter does the call. */
static void push_return(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	i32 size = it->i.size;
	struct access a = pushed(t, it);
	struct opd to = sx_native_memory(t, index, &a, false);

	if (t->is_bound) {
		u32 ip = sx_native_ip(t, it->off + it->i.len);

		e_op(&t->e, it->i.size, 0xc7, 0, to, it->i.size);
		e_bytes(&t->e, &ip, it->i.size);
	}
	load_rip(t, it->off + it->i.len);
	if (!t->is_bound)
		e_op(&t->e, it->i.size, 0x89, H_R11, to, 0);
	sx_native_stack_move(t, GUEST_RSP, -size);
}

/*
 * R11: where it returns to, linear. The frame but for its code, which a call instruction pushes. A return to no
 * address finds another there: behind the lower half's last page.
 */
static void push_frame(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	unsigned rip = H_R11;
	struct emit *e = &t->e;

	e_op(e, 8, 0x3b, H_RSP, opd_near(&t->c->native_limit), 0);
	sx_native_add_slow(t, SLOW_FULL, e_jcc(e, 2), index);
	if (!e->is_full)
		t->slow[t->n_slow - 1].rejoin = e->at;
	if (t->b->mode & SX_MODE_64 && it->off + it->i.len == PAGE_SIZE) {
		sx_native_canonical(e, H_R14, H_R11);
		rip = H_R14;
	}
	e_op(e, 4, 0xff, 6, opd_near(&t->c->native_key), 0); /* push */
	e_u8(e, 0x41);
	e_u8(e, 0x50 | (rip & 7)); /* push */
}

/* Too many calls: all are forgotten. */
void sx_native_slow_full(struct translation *t, const struct slow *s)
{
	e_op(&t->e, 8, 0x8d, H_RSP, opd_near(&t->c->native_returns[SX_RETURNS]), 0);
	sx_native_jump_to_exec(t, e_exec(&t->e, s->rejoin));
}

/* Behind the call instruction: the guest returned, R11 is its RIP. It was in other pages meanwhile. */
static void emit_return_site(struct translation *t, const struct item *it)
{
	i64 next = it->off + it->i.len;
	struct emit *e = &t->e;

	e_lea(e, 8, H_RSP, H_RSP, H_RSP, 0, sizeof(struct sx_native_return) - 8);
	e_lea(e, 8, H_R11, H_R11, H_RSP, 0, (i32)-next);
	e_store(e, H_R11, opd_near(&t->c->gpr[SX_RIP]));
	if (sx_native_is_whole(t, next))
		add_target(t, e_jump(e), next, next, t->n_items - 1)->link = NATIVE_LINK_ENTRY;
	else
		sx_native_far(t, next);
}

/*
 * A call that only means to put something on the stack: what it leads to overwrites the return address or drops
 * it at once, as a retpoline does. Then there is no frame, and the return is a jump: what is guessed wrong costs time.
 */
static bool overwrites_return(const struct item *it)
{
	const struct sx_insn *i = &it->i;

	return sx_insn_op(i) == SX_MOV && i->flags & SX_IF_MEM && i->base == X86_RSP &&
	       i->index == SX_REG_ZERO && !i->disp && sx_insn_form(i)->shape == SX_SHAPE_RM_REG;
}

static bool is_call_without_return(struct translation *t, i64 target)
{
	const struct sx_decode_mode mode = sx_block_decode_mode(t->c, t->b->mode);
	struct item it;

	return t->page && is_in_page(target) &&
	       sx_decode(&mode, t->page + target, (unsigned)((i64)PAGE_SIZE - target), &it.i) > 0 &&
	       overwrites_return(&it);
}

static void end_call(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	i64 target = sx_native_target(t, it);

	push_return(t, index);
	if (is_call_without_return(t, target)) {
		sx_native_go(t, target, it->off);
		return;
	}
	push_frame(t, index);
	add_target(t, e_call(&t->e), target, it->off, index);
	emit_return_site(t, it);
}

/* R11 = a target of so many bytes from there. */
static void load_target(struct emit *e, unsigned size, struct opd from)
{
	e_op(e, size == 8 ? 8 : 4, size == 2 ? E_0F | 0xb7 : 0x8b, H_R11, from, 0);
}

/* R11: RIP to a linear address. */
static void add_base(struct translation *t)
{
	if (!t->base)
		return;
	e_op(&t->e, 4, 0x81, 0, opd_reg(H_R11), 4); /* add */
	e_i32(&t->e, t->base);
}

static void target_to_r11(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];

	if (it->i.flags & SX_IF_MEM) {
		struct access a = sx_native_access(t, it, it->i.size, false);
		struct opd from = sx_native_memory(t, index, &a, false);

		load_target(&t->e, it->i.size, from);
	} else if (host_of(it->i.rm) == IN_MEMORY) {
		e_load(&t->e, H_R11, opd_gpr(t->c, it->i.rm));
	} else {
		load_target(&t->e, it->i.size, opd_reg(host_of(it->i.rm)));
	}
	add_base(t);
}

/* R10 = where the entry of the target in R11 is, which goes. Targets that nobody knows are the interpreter's, which looks
 * whether they are canonical. */
static void find_target(struct translation *t, unsigned index)
{
	bool has_origin = sx_native_origin(t);
	u8 *miss = sx_native_emit_find_once(&t->e, t->c, has_origin ? H_R10 : H_R11);

	sx_native_add_slow(t, SLOW_FIND, miss, index);
	if (!t->e.is_full)
		t->slow[t->n_slow - 1].rejoin = t->e.at;
}

static void load_target_again(struct emit *e)
{
	e_load(e, H_R11, opd_base(H_R10, offsetof(struct sx_native_target, lin)));
}

/* The target may be relative to RSP or be in memory that the push changes: it comes first. */
static void end_call_rm(struct translation *t, unsigned index)
{
	struct access a = pushed(t, &t->items[index]);
	bool is_shared = sx_native_window_of(t, index, &a); /* nothing is looked up in R10 */
	struct emit *e = &t->e;

	target_to_r11(t, index);
	find_target(t, index);
	if (!is_shared)
		e_store(e, H_R10, opd_near(&t->c->native_slot));
	t->in_r10 = NULL;
	push_return(t, index);
	push_frame(t, index);
	if (!is_shared)
		e_load(e, H_R10, opd_near(&t->c->native_slot));
	load_target_again(e);
	e_op(e, 8, 0x81, 4, opd_reg(H_R11), 4); /* and */
	e_i32(e, (i32)PAGE_MASK);
	e_store(e, H_R11, opd_near(&t->c->gpr[SX_RIP]));
	e_op(e, 4, 0xff, 2, opd_base(H_R10, offsetof(struct sx_native_target, code)), 0); /* call */
	emit_return_site(t, &t->items[index]);
}

static void end_jmp_rm(struct translation *t, unsigned index)
{
	target_to_r11(t, index);
	find_target(t, index);
	load_target_again(&t->e);
	sx_native_emit_go_to_found(&t->e, t->c);
}

/* --- returns --- */

static void pop_return(struct translation *t, const struct item *it)
{
	sx_native_stack_move(t, GUEST_RSP, (i32)(it->i.size + it->i.imm));
}

/* R11: the target. */
static void return_by_jump(struct translation *t, unsigned index)
{
	find_target(t, index);
	pop_return(t, &t->items[index]);
	load_target_again(&t->e);
	sx_native_emit_go_to_found(&t->e, t->c);
}

/* R11: RIP. Beyond the segment it is the interpreter's to raise. */
static void check_code_limit(struct translation *t, unsigned index)
{
	u32 limit = t->c->seg[X86_CS].limit;

	if (!t->is_bound || bytes_mask(t->items[index].i.size) <= limit)
		return;
	e_op(&t->e, 4, 0x81, 7, opd_reg(H_R11), 4); /* cmp */
	e_i32(&t->e, limit);
	sx_native_add_slow(t, SLOW_STEP, e_jcc(&t->e, 7), index); /* above */
}

static void end_ret(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	struct access a = sx_native_stack_access(t, X86_RSP, 0, it->i.size, false);
	struct emit *e = &t->e;

	load_target(e, it->i.size, sx_native_memory(t, index, &a, false));
	check_code_limit(t, index);
	add_base(t);
	if (index && overwrites_return(&t->items[index - 1])) {
		return_by_jump(t, index);
		return;
	}
	e_op(e, 8, 0x3b, H_R11, opd_base(H_RSP, offsetof(struct sx_native_return, rip)), 0);
	sx_native_add_slow(t, SLOW_RETURN, e_jcc(e, 5), index);
	e_load(e, H_R14, opd_near(&t->c->native_key));
	e_op(e, 8, 0x3b, H_R14, opd_base(H_RSP, offsetof(struct sx_native_return, key)), 0);
	sx_native_add_slow(t, SLOW_RETURN, e_jcc(e, 5), index);
	pop_return(t, it);
	e_u8(e, 0xc3);
}

/* A target that isn't canonical is the interpreter's to raise. */
static void check_canonical(struct translation *t, unsigned index)
{
	struct emit *e = &t->e;

	sx_native_canonical(e, H_R14, H_R11);
	e_op(e, 8, 0x3b, H_R14, opd_reg(H_R11), 0);
	sx_native_add_slow(t, SLOW_STEP, e_jcc(e, 5), index);
}

void sx_native_slow_return(struct translation *t, const struct slow *s)
{
	if (t->b->mode & SX_MODE_64)
		check_canonical(t, s->index);
	pop_return(t, &t->items[s->index]);
	sx_native_jump_to_exec(t, t->c->native->return_miss);
}

/* An end that isn't translated, but goes on in native code. */
static void end_unknown(struct translation *t, unsigned index)
{
	struct emit *e = &t->e;
	u8 *miss[2];

	sx_native_call_out(t, index, t->c->native->end_out);
	e_load(e, H_R11, opd_near(&t->c->gpr[SX_RIP]));
	sx_native_emit_look_up(e, t->c, miss);
	if (e->is_full)
		return;
	e_patch(miss[0], t->c->native->find_or_leave - e->to_exec);
	e_patch(miss[1], t->c->native->find_or_leave - e->to_exec);
}

void sx_native_end(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];

	if (!it->is_native) {
		sx_native_syscall(t, index);
		end_unknown(t, index);
		return;
	}
	switch ((int)sx_insn_op(&it->i)) {
	case SX_JCC:
		end_jcc(t, index);
		break;
	case SX_LOOP:
	case SX_LOOPE:
	case SX_LOOPNE:
	case SX_JCXZ:
		end_loop(t, it);
		break;
	case SX_JMP:
		sx_native_go(t, sx_native_target(t, it), it->off);
		break;
	case SX_CALL:
		end_call(t, index);
		break;
	case SX_RET:
		end_ret(t, index);
		break;
	case SX_JMP_RM:
		end_jmp_rm(t, index);
		break;
	case SX_CALL_RM:
		end_call_rm(t, index);
		break;
	}
}
