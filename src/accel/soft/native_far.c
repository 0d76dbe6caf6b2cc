/*
 * Jumps and calls into other pages, linked.
 *
 * Where such a jump leads depends on where its page is mapped, and on what is mapped at the target. So it is
 * taken as linked only under the generation of code mappings that it was linked under, and from the same linear
 * address:
 *
 *     cmp [native_link], link; jne miss
 *     cmp [RIP], page;         jne miss
 *     mov [RIP], page of the target
 *     jmp its block's entry
 *     miss: lea r10, end; jmp far_miss
 *     end: the target's distance from the page
 *
 * The block's entry looks whether its page was written, as for all jumps from elsewhere. A miss looks up the target
 * like an indirect jump; it is linked when that doesn't know it, and now and then when it does: so that the address
 * space that runs most has the links of pages that several share. Native code is left only where there is none to be linked to.
 *
 * A kernel's addresses are immediate operands; other code's, which may be of any 64 bits, go by way of R11.
 */
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"

#define CC_NE 5u
#define CC_S  8u

/* As many that miss for each that is linked again. */
#define RELINK_AFTER 32

/* Where things are, counted back from the end. */
struct form {
	u8 link, from, to, jump;
	u8 imm; /* bytes of an address */
};
static const struct form form_short = {55, 38, 21, 16, 4}, form_wide = {67, 55, 32, 16, 8};
#define MISS_BYTES 12

static const struct form *form_of(u32 mode)
{
	return mode & SX_MODE_64 && !(mode & SX_MODE_USER) ? &form_short : &form_wide;
}

/* --- emitting --- */

static void mov_r11(struct emit *e)
{
	const u64 later = 0;

	e_u8(e, 0x49);
	e_u8(e, 0xbb);
	e_bytes(e, &later, sizeof(later));
}

static void emit_link(struct emit *e, const struct sx_cpu *c, u8 *miss[2])
{
	e_op(e, 4, 0x81, 7, opd_near(&c->native_link), 4); /* cmp */
	e_i32(e, (i32)SX_LINK_NEVER);
	miss[0] = e_jcc(e, CC_NE);
}

static void emit_short(struct emit *e, const struct sx_cpu *c, u8 *miss[2])
{
	e_op(e, 8, 0x81, 7, opd_near(&c->gpr[SX_RIP]), 4); /* cmp */
	e_i32(e, 0);
	miss[1] = e_jcc(e, CC_NE);
	e_op(e, 8, 0xc7, 0, opd_near(&c->gpr[SX_RIP]), 4);
	e_i32(e, 0);
}

static void emit_wide(struct emit *e, const struct sx_cpu *c, u8 *miss[2])
{
	mov_r11(e);
	e_op(e, 8, 0x3b, H_R11, opd_near(&c->gpr[SX_RIP]), 0);
	miss[1] = e_jcc(e, CC_NE);
	mov_r11(e);
	e_store(e, H_R11, opd_near(&c->gpr[SX_RIP]));
}

void sx_native_far(struct translation *t, i64 target)
{
	const struct form *form = form_of(t->b->mode);
	struct emit *e = &t->e;
	u8 *start = e->at, *miss[2];

	emit_link(e, t->c, miss);
	if (form == &form_short)
		emit_short(e, t->c, miss);
	else
		emit_wide(e, t->c, miss);
	e_jump(e);
	if (!e->is_full) {
		e_patch(miss[0], e->at);
		e_patch(miss[1], e->at);
	}
	e_op(e, 8, 0x8d, H_R10, opd_near(e_exec(e, e->at + MISS_BYTES)), 0);
	sx_native_jump_to_exec(t, t->c->native->far_miss[!(t->b->mode & SX_MODE_64)]);
	assert(e->is_full ||
	       e->at == start + form->link + 6); /* the operand's place in the first compare */
	e_i32(e, target);
}

/* Jumped to, r10: the end of the jump. */
void sx_native_emit_far_miss(struct emit *e, struct sx_cpu *c)
{
	for (unsigned k = 0; k < ARRAY_SIZE(c->native->far_miss); k++) {
		u8 *miss[3], *look_up;

		c->native->far_miss[k] = e_exec(e, e->at);
		e_store(e, H_R10, opd_near(&c->native_target));
		e_op(e, 8, 0x63, H_R11, opd_base(H_R10, 0), 0); /* movsxd */
		e_op(e, k ? 4 : 8, 0x03, H_R11, opd_near(&c->gpr[SX_RIP]), 0);
		e_op(e, 4, 0x83, 5, opd_near(&c->native_relink), 1); /* sub */
		e_u8(e, 1);
		miss[2] = e_jcc(e, CC_S);
		look_up = e->at;
		sx_native_emit_look_up(e, c, miss);
		for (unsigned m = 0; m < ARRAY_SIZE(miss); m++)
			e_patch(miss[m], e->at);
		sx_native_emit_call_find(e, c, 1, look_up);
		e_store(e, H_R11, opd_near(&c->gpr[SX_RIP]));
		e_load(e, H_R10, opd_near(&c->native_target));
		e_op(e, 8, 0x8d, H_R14, opd_near(c->native->exec), 0); /* lea */
		e_op(e, 8, 0x2b, H_R10, opd_reg(H_R14), 0);            /* sub */
		e_op(e, 8, 0xc1, 4, opd_reg(H_R10), 1);                /* shl */
		e_u8(e, NATIVE_TAG_BITS);
		e_op(e, 8, 0x83, 1, opd_reg(H_R10), 1); /* or */
		e_u8(e, NATIVE_LINK_FAR);
		e_patch(e_jump(e), c->native->leave - e->to_exec);
	}
}

/* --- linking --- */

static bool fits(const struct form *form, u64 lin)
{
	return form->imm == 8 || lin == (u64)(i64)(i32)lin;
}

/* To link a jump costs more than to look up where it leads: most processes end before they would gain by it. */
static bool is_due(struct sx_cpu *c, u32 link)
{
	if (c->native_relink < 0) {
		c->native_relink = RELINK_AFTER;
		return true;
	}
	return link == SX_LINK_NEVER || !(c->mode & SX_MODE_USER);
}

void sx_native_link_far(struct sx_cpu *c, u8 *end, u64 lin, const u8 *entry)
{
	const struct form *form = form_of(c->mode);
	u64 from, to = lin & PAGE_MASK;
	u32 link;
	i32 distance;

	memcpy(&link, end - form->link, sizeof(link));
	if (!is_due(c, link))
		return;
	memcpy(&distance, end, sizeof(distance));
	from = (lin - (u64)(i64)distance) & c->code_mask;
	/* Code where such code seldom is depends on more than one generation. */
	if (c->native_link == SX_LINK_NONE || sx_is_odd_code(c, lin) || !fits(form, from) ||
	    !fits(form, to))
		return;
	memcpy(end - form->link, &c->native_link, sizeof(c->native_link));
	memcpy(end - form->from, &from, form->imm);
	memcpy(end - form->to, &to, form->imm);
	e_patch(end - form->jump, entry);
}
