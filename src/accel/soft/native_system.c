/*
 * System instructions that a kernel executes all the time, in native code of supervisor mode. Elsewhere, and
 * where they are more than a few stores, they are callouts.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

bool sx_native_system_classify(struct translation *t, struct item *it)
{
	if (t->b->mode & SX_MODE_USER)
		return false;
	switch ((int)sx_insn_op(&it->i)) {
	case SX_CLI:
	case SX_STI:
	case SX_SWAPGS:
		it->flags = 0;
		return true;
	}
	return false;
}

static void and_sysflags(struct translation *t, u32 mask)
{
	e_op(&t->e, 4, 0x81, 4, opd_near(&t->c->sysflags), 4);
	e_i32(&t->e, (i32)mask);
}

/*
 * The next instruction is executed before an interrupt comes: nothing between the two looks at the request word,
 * and callouts look at it behind theirs. When one waits already, the interpreter lets it in behind that.
 */
static void sti(struct translation *t, unsigned index)
{
	struct emit *e = &t->e;
	u8 *was_set;

	static_assert(X86_FLAG_IF == 0x200, "in the second byte");
	e_op(e, 1, 0xf6, 0, opd_near((u8 *)&t->c->sysflags + 1), 1); /* test */
	e_u8(e, 2);
	was_set = e_jcc(e, 5);
	e_op(e, 1, 0x80, 7, opd_near(&t->c->intr_waits), 1); /* cmp */
	e_u8(e, 0);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(e, 5), index);
	e_op(e, 1, 0x80, 1, opd_near((u8 *)&t->c->sysflags + 1), 1); /* or */
	e_u8(e, 2);
	if (!e->is_full)
		e_patch(was_set, e->at);
}

static void swapgs(struct translation *t)
{
	struct sx_cpu *c = t->c;
	struct emit *e = &t->e;

	e_load(e, H_R10, opd_near(&c->seg[X86_GS].base));
	e_load(e, H_R11, opd_near(&c->kernel_gs_base));
	e_store(e, H_R11, opd_near(&c->seg[X86_GS].base));
	e_store(e, H_R11, opd_near(&c->seg_base[X86_GS]));
	e_store(e, H_R10, opd_near(&c->kernel_gs_base));
}

bool sx_native_system(struct translation *t, unsigned index)
{
	switch ((int)sx_insn_op(&t->items[index].i)) {
	case SX_CLI:
		and_sysflags(t, ~(u32)X86_FLAG_IF);
		return true;
	case SX_STI:
		sti(t, index);
		return true;
	case SX_SWAPGS:
		swapgs(t);
		return true;
	}
	return false;
}
