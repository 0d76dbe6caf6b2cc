/*
 * A block to native code: liveness of flags, the instructions in order, its ends, what is out of line.
 */
#include "accel/soft/bind.h"
#include "accel/soft/block.h"
#include "accel/soft/debug.h"
#include "accel/soft/decode.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/native_priv.h"

#define FLAGS_LOOK_AHEAD 12 /* instructions */
#define WORD_CHECK       23 /* bytes of a look at a code word */
#define CACHE_LINE       64
#define BLOCK_ROOM       (128 * KIB) /* more than any block's code takes; emit counts all the same */

/* --- looking at the block --- */

/* A displacement from the block's start instead of from the next instruction must still fit. */
static bool is_near(const struct item *it)
{
	i64 disp = (i64)it->i.disp + it->off + it->i.len;

	return !(it->i.flags & SX_IF_RIP) || disp == (i32)disp;
}

/* What the block depends on: it is new when that changes. */
static void look_at(struct translation *t, i64 first, i64 end)
{
	if (first < t->first)
		t->first = (u32)first;
	if (end > t->end)
		t->end = (u32)end;
}

/* STI holds off interrupts for one instruction more, which must be the same block's; else it is a callout. */
static void refuse_last_sti(struct translation *t)
{
	struct item *last = &t->items[t->n_items ? t->n_items - 1 : 0];

	if (t->n_items && sx_insn_op(&last->i) == SX_STI) {
		last->is_native = false;
		last->flags = FLAGS_READ | FLAGS_MERGE;
	}
}

/* STI, POPF, STAC, CLAC and loads of segments end a block of the interpreter, since they may change the mode; not
 * this one. */
static bool is_end(const struct item *it)
{
	return it->i.flags & SX_IF_END &&
	       !(it->is_native && (sx_native_is_system(&it->i) || sx_native_is_segment(&it->i)));
}

static bool is_jcc(const struct item *it)
{
	return sx_insn_op(&it->i) == SX_JCC;
}

/* Bytes of `wanted` up to CS's limit. */
static u32 room_in_segment(const struct translation *t, u32 wanted)
{
	u64 room = (u64)t->c->seg[X86_CS].limit + 1 - sx_native_ip(t, t->first);

	return room < wanted ? (u32)room : wanted;
}

/* Up to `limit`, or the next jump. False: it goes on nowhere, as far as this can tell. */
static bool decode_run(struct translation *t, i64 *off, u32 limit)
{
	bool is_first = !t->n_items;
	const struct sx_decode_mode mode = sx_block_decode_mode(t->c, t->b->mode);
	const u8 *bytes = t->page ? t->page : sx_block_bytes(t->b) - t->first;

	while (*off < limit && t->n_items < ARRAY_SIZE(t->items)) {
		struct item *it = &t->items[t->n_items];
		int r = sx_decode(&mode, bytes + *off, limit - (u32)*off, &it->i);

		if (r < 0 || (!is_first && sx_native_is_in_trace(t, *off)))
			return false;
		it->off = (u32)*off;
		it->seam = SEAM_NONE;
		it->window[0] = it->window[1] = 0;
		if (t->b->mode & SX_MODE_BREAK && sx_debug_covers(t->c, it->off, it->i.len))
			return false; /* behind what the interpreter's block ends with */
		sx_native_classify(it, t->b->mode);
		it->is_native = (it->is_native && is_near(it) && sx_native_jumps_well(t, it)) ||
				sx_native_system_classify(t, it);
		*off += it->i.len;
		if (it->is_native)
			t->fpu_needs |= sx_native_fpu_needs(&it->i);
		t->n_items++;
		if (is_end(it))
			return sx_native_goes_on(t, it);
	}
	return false;
}

/* From a copy of the page, which may be changed meanwhile: looked at when all is done. */
static bool decode_items(struct translation *t)
{
	const struct sx_block *b = t->b;
	u32 begin = t->first, limit = t->page ? (u32)PAGE_SIZE : begin + b->n_bytes;
	i64 from = begin, off = begin;
	bool is_whole;

	if (t->is_bound)
		limit = begin + room_in_segment(t, limit - begin);
	is_whole = decode_run(t, &off, limit);
	look_at(t, from, off);
	if (off < (i64)begin + b->n_bytes)
		return false;
	while (is_whole) {
		from = off = sx_native_seam_next(t, &t->items[t->n_items - 1]);
		is_whole = decode_run(t, &off, limit);
		look_at(t, from, off);
	}
	t->items[t->n_items ? t->n_items - 1 : 0].seam = SEAM_NONE;
	refuse_last_sti(t);
	return true;
}

/*
 * Is the code at off in the block's page, in whatever block, sure to write all flags before it reads any? Then
 * nobody can tell what they are there but by looking at the frame of an interrupt in between.
 */
static bool kills_flags(struct translation *t, i64 off)
{
	const struct sx_decode_mode mode = sx_block_decode_mode(t->c, t->b->mode);
	struct item it;

	for (unsigned k = 0; k < FLAGS_LOOK_AHEAD && off >= 0 && off < (i64)PAGE_SIZE; k++) {
		int r = sx_decode(&mode, t->page + off, (unsigned)((i64)PAGE_SIZE - off), &it.i);

		if (r < 0)
			return false;
		it.off = (u32)off;
		look_at(t, off, off + r);
		sx_native_classify(&it, t->b->mode);
		if (!it.is_native || it.flags & FLAGS_READ)
			return false;
		if (it.flags & FLAGS_WRITE)
			return true;
		off += r;
		if (sx_insn_op(&it.i) == SX_JMP || sx_insn_op(&it.i) == SX_CALL)
			off = sx_native_target(t, &it);
		else if (it.i.flags & SX_IF_END)
			return false;
	}
	return false;
}

/* Whoever comes next may be interrupted before it sets the flags, and may read them. */
static void find_live_at_end(struct translation *t)
{
	const struct item *last = &t->items[t->n_items - 1];
	i64 next = last->off + last->i.len;

	t->is_live_taken = t->is_live_at_end = true;
	if (!t->page)
		return;
	switch ((int)sx_insn_op(&last->i)) {
	case SX_JCC:
		t->is_live_taken = !kills_flags(t, sx_native_target(t, last));
		t->is_live_at_end = !kills_flags(t, next);
		return;
	case SX_JMP:
	case SX_CALL:
		t->is_live_at_end = !kills_flags(t, sx_native_target(t, last));
		return;
	}
	t->is_live_at_end = last->i.flags & SX_IF_END || !kills_flags(t, next);
}

static void find_live_flags(struct translation *t)
{
	bool is_live;

	find_live_at_end(t);
	is_live = t->is_live_at_end || (is_jcc(&t->items[t->n_items - 1]) && t->is_live_taken);
	for (unsigned k = t->n_items; k-- > 0;) {
		struct item *it = &t->items[k];

		if (it->seam == SEAM_NOT_TAKEN || it->seam == SEAM_TAKEN) {
			it->is_live_out = !kills_flags(t, sx_native_seam_out(t, it));
			is_live |= it->is_live_out;
		}
		it->is_live_after = is_live;
		if (it->flags & FLAGS_READ)
			is_live = true;
		else if (it->flags & FLAGS_WRITE)
			is_live = false;
		it->is_live = is_live;
	}
}

/* Leaving native code and coming back costs more than a few callouts. */
static bool is_worth_it(const struct translation *t)
{
	unsigned native = 0;

	for (unsigned k = 0; k < t->n_items; k++)
		native += t->items[k].is_native || is_end(&t->items[k]);
	return native && native * 4 >= t->n_items;
}

/* --- ways out --- */

void sx_native_jump_to_exec(struct translation *t, const u8 *exec)
{
	u8 *field = e_jump(&t->e);

	if (!t->e.is_full)
		e_patch(field, exec - t->e.to_exec);
}

/* RIP is at target in the page. It, and what enter returns, stand behind the call, which doesn't come back. */
void sx_native_leave_with(struct translation *t, u32 left, i64 target)
{
	bool is_wide = sx_native_rip_size(t->b->mode) == 8;
	struct emit *e = &t->e;
	u8 *field = e_call(e);

	if (!e->is_full)
		e_patch(field, t->c->native->leave_by[is_wide] - e->to_exec);
	e_i32(e, target);
	e_i32(e, left);
	e_i32(e, (const u8 *)t->head - t->c->native->write);
}

void sx_native_add_edge(struct translation *t, u8 *field, enum native_left tag, i64 target)
{
	const struct sx_native *n = t->c->native;

	if (t->n_edges == EDGE_MAX || t->e.is_full) {
		t->e.is_full = true;
		return;
	}
	t->edges[t->n_edges++] = (struct sx_native_edge){.field = (u32)(field - n->write),
							 .stub = (u32)(t->e.at - n->write)};
	sx_native_leave_with(t, native_tagged(n, field, tag), target);
}

static void spill_if_host(struct translation *t)
{
	if (t->flags == FLAGS_HOST)
		sx_native_spill_flags(t);
}

void sx_native_spill_at_end(struct translation *t)
{
	if (t->is_live_at_end)
		spill_if_host(t);
}

static u32 callout_flags(const struct item *it)
{
	if (it->is_native)
		return 0;
	if (sx_insn_op(&it->i) == SX_SYSCALL && it->i.len == NATIVE_SYSCALL_BYTES)
		return NATIVE_UNKNOWN | NATIVE_SYSCALL;
	if (sx_insn_op(&it->i) == SX_SYSRET && it->i.flags & SX_IF_REXW)
		return NATIVE_UNKNOWN | NATIVE_SYSRET;
	if (sx_insn_op(&it->i) == SX_IRET && it->i.size == 8)
		return NATIVE_UNKNOWN | NATIVE_IRET;
	return NATIVE_UNKNOWN;
}

void sx_native_call_out(struct translation *t, unsigned index, const u8 *function)
{
	const struct item *it = &t->items[index];
	u32 rest = t->c->counts_insns ? t->n_items - index : 0;
	struct emit *e = &t->e;
	u8 *field;

	static_assert(ARRAY_SIZE(t->items) <= NATIVE_REST(~0u), "a field of its own");
	e_op(e, 4, 0xc7, 0, opd_reg(H_R10), 4);
	e_i32(e, it->off | rest << 12 | callout_flags(it));
	e_op(e, 8, 0x8d, H_R11, opd_near(e_exec(e, t->head)), 0); /* lea */
	field = e_call(e);
	if (!e->is_full)
		e_patch(field, function - e->to_exec);
}

void sx_native_add_retired(struct translation *t, i64 n)
{
	if (!t->c->counts_insns)
		return;
	e_op(&t->e, 8, 0x81, 0, opd_near(&t->c->retired), 4);
	e_i32(&t->e, n);
}

/* --- the block --- */

static void emit_call_out(struct translation *t, unsigned index)
{
	sx_native_call_out(t, index, t->c->native->call_out);
}

/* May SIMD instructions run now, and are MXCSR and the x87 registers the guest's, as far as they are needed? */
static void check_fpu(struct translation *t, enum slow_kind otherwise, unsigned index)
{
	const struct sx_fpu_live *live = &t->c->fpu_live;
	const struct {
		unsigned need;
		const bool *flag;
	} checks[] = {
		{SX_NEEDS_X87, &live->x87_masked},
		{SX_NEEDS_FP, &live->fp},
		{SX_NEEDS_AVX, &live->avx},
		{SX_NEEDS_SSE, &live->sse},
	};
	unsigned needs = t->fpu_needs;

	if (needs & (SX_NEEDS_FP | SX_NEEDS_AVX)) /* they include it */
		needs &= ~(unsigned)SX_NEEDS_SSE;
	for (size_t k = 0; k < ARRAY_SIZE(checks); k++) {
		if (!(needs & checks[k].need))
			continue;
		e_op(&t->e, 1, 0x80, 7, opd_near(checks[k].flag), 1); /* cmp */
		e_u8(&t->e, 0);
		sx_native_add_slow(t, otherwise, e_jcc(&t->e, 4), index);
	}
}

/* A counted clock has come to a timer: the run loop's. */
static void check_count(struct translation *t)
{
	struct emit *e = &t->e;

	e_load(e, H_R14, opd_near(&t->c->retired));
	e_op(e, 8, 0x3b, H_R14, opd_near(&t->c->stop_at), 0);
	sx_native_add_slow(t, SLOW_ENTRY, e_jcc(e, 3), 0); /* not below */
}

/* The code word; returns where its value stands, from the entry on. */
static u8 check_word(struct translation *t, const u32 *code, u32 word)
{
	struct emit *e = &t->e;
	u8 *value;

	e_u8(e, 0x49); /* mov r14, code */
	e_u8(e, 0xbe);
	e_bytes(e, &code, sizeof(code));
	e_op(e, 4, 0x81, 7, opd_base(H_R14, 0), 4); /* cmp */
	value = e->at;
	e_i32(e, word);
	sx_native_add_slow(t, SLOW_ENTRY, e_jcc(e, 5), 0);
	return (u8)(value - t->entry);
}

static void emit_entry(struct translation *t)
{
	struct emit *e = &t->e;

	t->entry = e->at;
	t->head->word_at = check_word(t, t->b->code, t->b->word);
	if (sx_block_code2(t->b))
		t->head->word2_at =
			check_word(t, sx_block_code2(t->b), sx_block_crossing(t->b)->word2);
	t->loop = e->at;
	assert(e->is_full || sx_block_code2(t->b) || t->loop - t->entry == WORD_CHECK);
	e_op(e, 4, 0x83, 7, opd_near(&t->c->request), 1); /* cmp request, 0 */
	e_u8(e, 0);
	sx_native_add_slow(t, SLOW_ENTRY, e_jcc(e, 5), 0);
	if (t->c->is_counted)
		check_count(t);
	t->inner = t->c->is_counted ? t->entry : e->at;
	check_fpu(t, SLOW_INTERPRET, 0);
	sx_native_add_retired(t, t->n_items);
	t->flags = FLAGS_MEMORY;
}

static void emit_items(struct translation *t)
{
	const struct item *last;

	for (unsigned k = 0; k < t->n_items; k++) {
		struct item *it = &t->items[k];

		sx_native_note_origin(t, k);
		if (it->seam) {
			sx_native_emit_checks(t, k);
			sx_native_seam(t, k);
			continue;
		}
		if (is_end(it)) {
			sx_native_flush_fpu(t);
			if (!it->is_native)
				spill_if_host(t);
			else if (!is_jcc(it))
				sx_native_spill_at_end(t);
			sx_native_emit_checks(t, k);
			sx_native_end(t, k);
			return;
		}
		if (it->is_native) {
			sx_native_insn(t, k);
			continue;
		}
		spill_if_host(t);
		sx_native_flush_fpu(t);
		emit_call_out(t, k);
		t->flags = FLAGS_MEMORY;
		check_fpu(t, SLOW_NEXT, k);
	}
	sx_native_flush_fpu(t);
	sx_native_spill_at_end(t);
	last = &t->items[t->n_items - 1];
	sx_native_go(t, last->off + last->i.len, last->off);
}

static void emit_slow_callout(struct translation *t, const struct slow *s)
{
	sx_native_store_fip(t, s->x87_off);
	emit_call_out(t, s->index);
	check_fpu(t, SLOW_NEXT, s->index);
	sx_native_load_vectors(t, s->xmm_valid, s->ymm_valid);
	if (s->loads_flags)
		sx_native_load_flags(t);
	sx_native_jump_to_exec(t, e_exec(&t->e, s->rejoin));
}

/* To the plain code of the block that begins with the instruction, which isn't begun: linked when it is there. */
static void emit_slow_split(struct translation *t, const struct slow *s)
{
	u8 *field;

	sx_native_store_fip(t, s->x87_off);
	sx_native_add_retired(t, -(i64)(t->n_items - s->index));
	field = e_jump(&t->e);
	sx_native_add_edge(t, field, NATIVE_LINK_PLAIN, t->items[s->index].off);
}

/* The instructions from index on were counted, but are the interpreter's now. */
static void go_on_at(struct translation *t, unsigned index, u32 off, u32 left)
{
	sx_native_add_retired(t, -(i64)(t->n_items - index));
	sx_native_leave_with(t, left, off);
}

static void emit_slow(struct translation *t, const struct slow *s)
{
	const struct item *it = &t->items[s->index];
	u32 start = t->items[0].off;

	if (s->stride)
		sx_native_slow_stride(t, s);
	t->has_upper = s->has_upper;
	sx_native_store_vectors(t, s->xmm_dirty, s->ymm_dirty);
	t->has_upper = false;
	if (s->what)
		sx_native_slow_fill(t, s);
	switch (s->kind) {
	case SLOW_CALLOUT:
		emit_slow_callout(t, s);
		break;
	case SLOW_SPLIT:
		emit_slow_split(t, s);
		break;
	case SLOW_FIND:
		e_op(&t->e, 8, 0x03, H_R11, opd_base(H_R10, offsetof(struct sx_native_target, lin)),
		     0); /* add */
		sx_native_emit_call_find(&t->e, t->c, 2, s->rejoin);
		go_on_at(t, s->index, it->off, NATIVE_STEP);
		break;
	case SLOW_STEP: /* the last instruction, not begun */
		go_on_at(t, s->index, it->off, NATIVE_STEP);
		break;
	case SLOW_NEXT:
		go_on_at(t, s->index + 1, it->off + it->i.len, NATIVE_GO_ON);
		break;
	case SLOW_EDGE:
		sx_native_slow_edge(t, s);
		break;
	case SLOW_FAR:
		sx_native_slow_far(t, s);
		break;
	case SLOW_RETURN:
		sx_native_slow_return(t, s);
		break;
	case SLOW_FULL:
		sx_native_slow_full(t, s);
		break;
	case SLOW_ENTRY: /* across pages, the one at RIP may be another address space's; it isn't plain code */
		sx_native_leave_with(
			t,
			t->is_plain ? (u32)NATIVE_GO_ON
				    : native_tagged(t->c->native, t->entry, NATIVE_REPLACE),
			start);
		break;
	case SLOW_INTERPRET: /* a block across pages has one instruction, and its room others after it */
		sx_native_leave_with(t,
				     sx_block_code2(t->b) ? (u32)NATIVE_STEP
							  : native_tagged(t->c->native, t->head,
									  NATIVE_INTERPRET),
				     start);
		break;
	}
}

/* The one emitted already that does the same as t->slow[number], or NULL. */
static const struct slow *find_same(const struct translation *t, unsigned number)
{
	const struct slow *s = &t->slow[number];

	if (s->kind == SLOW_EDGE || s->kind == SLOW_FAR || s->kind == SLOW_FULL || s->what ||
	    s->stride)
		return NULL;
	for (unsigned k = number; k-- > 0 && number - k < 8;) {
		const struct slow *other = &t->slow[k];

		if (other->kind == s->kind && other->index == s->index && !other->what &&
		    !other->stride && other->rejoin == s->rejoin &&
		    other->xmm_dirty == s->xmm_dirty && other->ymm_dirty == s->ymm_dirty &&
		    other->x87_off == s->x87_off)
			return other;
	}
	return NULL;
}

static void emit_all_slow(struct translation *t)
{
	for (unsigned k = 0; k < t->n_slow; k++) { /* there may be more of them by then */
		const struct slow *same = find_same(t, k);
		struct slow s = t->slow[k];

		t->slow[k].stub = same ? same->stub : t->e.at;
		if (!t->e.is_full)
			e_patch(s.field, t->slow[k].stub);
		if (!same)
			emit_slow(t, &s);
	}
}

/* A loop's head, behind the look at the word, where a line of the cache begins. */
static void align_loop(struct translation *t)
{
	struct emit *e = &t->e;

	if (!sx_native_is_loop(t))
		return;
	while (((uintptr_t)e->at + sizeof(t->head) + WORD_CHECK) % CACHE_LINE)
		e_u8(e, 0xcc);
}

/* Among what is out of line, and its address in front of the code. */
static void emit_head(struct translation *t)
{
	t->head = (struct sx_native_block *)(void *)t->cold;
	*t->head = (struct sx_native_block){
		.code = t->b->code,
		.word = t->b->word,
		.mode = t->b->mode,
		.code2 = sx_block_code2(t->b),
		.fpu_needs = (u8)t->fpu_needs,
		.page = t->lin,
	};
	align_loop(t);
	e_bytes(&t->e, &t->head, sizeof(t->head));
}

static void go_out_of_line(struct translation *t)
{
	t->hot_end = t->e.at;
	t->e.at = t->cold + sizeof(*t->head);
	t->e.end = t->cold + BLOCK_ROOM;
}

/* Bytes that were looked at and aren't the block's. */
static void emit_bytes(struct translation *t)
{
	u32 begin = (u32)(t->b->gpa & ~PAGE_MASK), end = begin + t->b->n_bytes;

	e_bytes(&t->e, t->page + t->first, begin - t->first);
	e_bytes(&t->e, t->page + end, t->end - end);
}

/* Behind the code: its jumps, and bytes. False: the page was written meanwhile. */
static bool emit_tail(struct translation *t)
{
	const u8 *start = t->c->native->write;
	struct emit *e = &t->e;

	t->head->entry = (u32)(t->entry - start);
	t->head->loop = (u32)(t->loop - start);
	t->head->inner = (u32)(t->inner - start);
	e->at = (u8 *)align_up((u64)(uintptr_t)e->at, sizeof(u32));
	t->head->edges = (u32)(e->at - start);
	t->head->n_edges = (u16)t->n_edges;
	e_bytes(e, t->edges, t->n_edges * (unsigned)sizeof(t->edges[0]));
	t->head->first = (u16)t->first;
	t->head->n_bytes = (u16)(t->page ? t->end - t->first : 0);
	if (t->page)
		emit_bytes(t);
	return sx_block_is_fresh(t->b);
}

/* It is good: its room is its own. */
static void keep(struct translation *t)
{
	struct sx_cpu *c = t->c;
	struct sx_native *n = c->native;
	u64 hot = (u64)(t->hot_end - t->entry), cold = (u64)(t->e.at - t->cold);

	n->used = align_up((u64)(t->hot_end - n->write), 16);
	n->cold_used = align_up((u64)(t->e.at - n->write), 8);
	sx_count(c, SX_N_TRANSLATED);
	c->counts.n[SX_N_TRANSLATED_INSN] += t->n_items;
	c->counts.n[SX_N_TRANSLATED_BYTE] += hot + cold;
	c->counts.n[SX_N_TRANSLATED_HOT] += hot;
	sx_native_name_block(n, sx_code_lin(c), t->b->mode, e_exec(&t->e, t->entry), hot);
	sx_native_name_block(n, sx_code_lin(c), t->b->mode, e_exec(&t->e, t->cold), cold);
}

static void begin(struct translation *t, struct sx_cpu *c, struct sx_block *b, bool is_plain)
{
	struct sx_native *n = c->native;
	const struct gmem_range *range;
	const u8 *page;

	t->c = c;
	t->b = b;
	t->lin = sx_code_lin(c) & PAGE_MASK;
	t->base = (u32)c->code_base;
	t->is_bound = sx_native_is_bound(b->mode);
	t->is_plain = is_plain;
	t->closes = false;
	t->at = b;
	/* An instruction across two pages is known by its linear address, and by its bytes. */
	page = sx_block_code2(b) ? NULL : sx_phys_page(c, b->gpa & PAGE_MASK, &range);
	if (page)
		memcpy(t->bytes, page, PAGE_SIZE);
	t->page = page ? t->bytes : NULL;
	t->first = (u32)(b->gpa & ~PAGE_MASK);
	t->end = t->first + b->n_bytes;
	t->n_items = t->n_slow = t->n_edges = 0;
	t->fpu_needs = 0;
	t->x87_off = X87_NONE;
	t->xmm_valid = t->xmm_dirty = t->ymm_valid = t->ymm_dirty = 0;
	t->has_upper = false;
	t->cold = n->write + n->cold_used;
	t->e = (struct emit){.at = n->write + n->used,
			     .end = n->write + n->used + BLOCK_ROOM,
			     .to_exec = n->exec - n->write};
}

/* Where its code is, from native's start; 0: it isn't worth it, or there is no room. */
static u32 translate(struct sx_cpu *c, struct sx_block *b, bool is_plain)
{
	static __thread struct translation t;
	struct sx_native *n = c->native;

	if (b->ends_in_fault)
		return 0;
	if (n->size - n->used < BLOCK_ROOM || n->cold_size - n->cold_used < BLOCK_ROOM) {
		c->cache->is_dropped = true;
		return 0;
	}
	begin(&t, c, b, is_plain);
	if (!decode_items(&t) || !t.n_items || !is_worth_it(&t)) {
		sx_count(c, SX_N_TRANSLATION_REFUSED);
		return 0;
	}
	find_live_flags(&t);
	sx_native_plan_windows(&t);
	sx_native_find_origin(&t);
	emit_head(&t);
	emit_entry(&t);
	emit_items(&t);
	go_out_of_line(&t);
	emit_all_slow(&t);
	if (!emit_tail(&t) || t.e.is_full)
		return 0;
	keep(&t);
	return (u32)(t.entry - n->write);
}

bool sx_native_translate(struct sx_cpu *c, struct sx_block *b)
{
	b->native = translate(c, b, sx_block_code2(b));
	return b->native;
}

bool sx_native_translate_plain(struct sx_cpu *c, struct sx_block *b)
{
	b->plain = translate(c, b, true);
	if (b->plain)
		sx_count(c, SX_N_TRANSLATED_PLAIN);
	return b->plain;
}
