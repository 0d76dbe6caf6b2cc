/*
 * The code that all blocks of a vCPU share: into native code, out of it, to the next block by the jump
 * cache, and to the interpreter for one instruction.
 */
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"

static void each_register(struct emit *e, const struct sx_cpu *c, bool is_store)
{
	for (unsigned g = 0; g < X86_GPRS; g++) {
		unsigned h = host_of(g);

		if (h == IN_MEMORY)
			continue;
		if (is_store)
			e_store(e, h, opd_gpr(c, g));
		else
			e_load(e, h, opd_gpr(c, g));
	}
}

static const unsigned saved[] = {H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15};

static void push(struct emit *e, unsigned reg)
{
	if (reg >= 8)
		e_u8(e, 0x41);
	e_u8(e, 0x50 | (reg & 7));
}

static void pop(struct emit *e, unsigned reg)
{
	if (reg >= 8)
		e_u8(e, 0x41);
	e_u8(e, 0x58 | (reg & 7));
}

static void jump_to(struct emit *e, const u8 *exec)
{
	u8 *field = e_jump(e);

	e_patch(field, exec - e->to_exec);
}

/* enter(code): the C calling convention on the outside. The stack is a multiple of 16 inside. */
static void emit_enter(struct emit *e, struct sx_cpu *c)
{
	c->native->enter = e_exec(e, e->at);
	for (size_t i = 0; i < ARRAY_SIZE(saved); i++)
		push(e, saved[i]);
	e_op(e, 8, 0x83, 5, opd_reg(H_RSP), 1); /* sub rsp, 8 */
	e_u8(e, 8);
	e_op(e, 8, 0x8b, H_R10, opd_reg(H_RDI), 0);
	each_register(e, c, false);
	e_op(e, 4, 0xff, 4, opd_reg(H_R10), 0); /* jmp r10 */
}

/* Jumped to, r10: what enter returns. */
static void emit_leave(struct emit *e, struct sx_cpu *c)
{
	c->native->leave = e_exec(e, e->at);
	each_register(e, c, true);
	e_op(e, 8, 0x8b, H_RAX, opd_reg(H_R10), 0);
	e_op(e, 8, 0x83, 0, opd_reg(H_RSP), 1); /* add rsp, 8 */
	e_u8(e, 8);
	for (size_t i = ARRAY_SIZE(saved); i-- > 0;)
		pop(e, saved[i]);
	e_u8(e, 0xc3);
}

/* Jumped to with RIP set: to the native code of the block there, or out. */
static void emit_look_up(struct emit *e, struct sx_cpu *c)
{
	u8 *miss[4];

	static_assert(sizeof(struct sx_jump) == 24, "the index is times 3, then times 8");
	static_assert(offsetof(struct sx_cache, jump) == 0, "the cache begins with them");
	c->native->look_up = e_exec(e, e->at);
	e_load(e, H_R10, opd_near(&c->gpr[SX_RIP]));
	e_op(e, 8, 0x8b, H_R11, opd_reg(H_R10), 0);
	e_op(e, 8, 0xc1, 5, opd_reg(H_R11), 1); /* shr */
	e_u8(e, SX_JUMP_BITS);
	e_op(e, 8, 0x33, H_R11, opd_reg(H_R10), 0); /* xor */
	e_op(e, 4, 0x81, 4, opd_reg(H_R11), 4);     /* and */
	e_i32(e, (1 << SX_JUMP_BITS) - 1);
	e_lea(e, 8, H_R11, H_R11, H_R11, 1, 0);
	e_op(e, 8, 0xc1, 4, opd_reg(H_R11), 1); /* shl */
	e_u8(e, 3);
	e_op(e, 8, 0x03, H_R11, opd_near(&c->cache), 0);
	e_op(e, 8, 0x3b, H_R10, opd_base(H_R11, offsetof(struct sx_jump, lin)), 0);
	miss[0] = e_jcc(e, 5);
	e_op(e, 4, 0x8b, H_R14, opd_near(&c->mode), 0);
	e_op(e, 4, 0x3b, H_R14, opd_base(H_R11, offsetof(struct sx_jump, mode)), 0);
	miss[1] = e_jcc(e, 5);
	e_op(e, 8, 0xc1, 5, opd_reg(H_R10), 1);
	e_u8(e, 63);
	e_op(e, 8, 0x8d, H_R14, opd_near(c->jump_generation), 0);
	e_lea(e, 8, H_R14, H_R14, H_R10, 2, 0);
	e_op(e, 4, 0x8b, H_R14, opd_base(H_R14, 0), 0);
	e_op(e, 4, 0x3b, H_R14, opd_base(H_R11, offsetof(struct sx_jump, generation)), 0);
	miss[2] = e_jcc(e, 5);
	e_load(e, H_R11, opd_base(H_R11, offsetof(struct sx_jump, block)));
	e_load(e, H_R11, opd_base(H_R11, offsetof(struct sx_block, native)));
	e_op(e, 8, 0x85, H_R11, opd_reg(H_R11), 0);
	miss[3] = e_jcc(e, 4);
	e_op(e, 4, 0xff, 4, opd_reg(H_R11), 0);
	for (size_t i = 0; i < ARRAY_SIZE(miss); i++)
		e_patch(miss[i], e->at);
	e_op(e, 4, 0x33, H_R10, opd_reg(H_R10), 0);
	jump_to(e, c->native->leave);
}

/* Called: r10d the instruction's index, r14d its offset, r11 the block's head. Comes back, or leaves. */
static void emit_call_out(struct emit *e, struct sx_cpu *c)
{
	u8 *goes_on;

	c->native->call_out = e_exec(e, e->at);
	each_register(e, c, true);
	e_op(e, 8, 0x8d, H_RDI, opd_near(c), 0);
	e_op(e, 4, 0x8b, H_RSI, opd_reg(H_R10), 0);
	e_op(e, 4, 0x8b, H_RDX, opd_reg(H_R14), 0);
	e_op(e, 8, 0x8b, H_RCX, opd_reg(H_R11), 0);
	e_op(e, 8, 0x83, 5, opd_reg(H_RSP), 1); /* our return address and this: a multiple of 16 */
	e_u8(e, 8);
	e_op(e, 4, 0xff, 2, opd_near(&c->native_callout), 0);
	e_op(e, 8, 0x83, 0, opd_reg(H_RSP), 1);
	e_u8(e, 8);
	e_op(e, 1, 0x84, H_RAX, opd_reg(H_RAX), 0);
	goes_on = e_jcc(e, 4);
	each_register(e, c, false); /* leave stores them again */
	e_op(e, 8, 0x83, 0, opd_reg(H_RSP), 1);
	e_u8(e, 8);
	e_op(e, 4, 0x33, H_R10, opd_reg(H_R10), 0);
	jump_to(e, c->native->leave);
	e_patch(goes_on, e->at);
	each_register(e, c, false);
	e_u8(e, 0xc3);
}

/* The guest's registers that a function may change go to memory, and come back. */
static void each_volatile(struct emit *e, const struct sx_cpu *c, bool is_store)
{
	static const unsigned volatiles[] = {X86_RAX, X86_RCX, X86_RDX, X86_RSI,
					     X86_RDI, X86_R8,  X86_R9};

	for (size_t k = 0; k < ARRAY_SIZE(volatiles); k++) {
		if (is_store)
			e_store(e, host_of(volatiles[k]), opd_gpr(c, volatiles[k]));
		else
			e_load(e, host_of(volatiles[k]), opd_gpr(c, volatiles[k]));
	}
}

/* Called: r10 a linear address, r14d as sx_native_fill has it. r10: the host address, or 0 and ZF. */
static void emit_fill(struct emit *e, struct sx_cpu *c)
{
	c->native->fill = e_exec(e, e->at);
	each_volatile(e, c, true);
	e_op(e, 8, 0x8d, H_RDI, opd_near(c), 0);
	e_op(e, 8, 0x8b, H_RSI, opd_reg(H_R10), 0);
	e_op(e, 4, 0x8b, H_RDX, opd_reg(H_R14), 0);
	e_op(e, 8, 0x83, 5, opd_reg(H_RSP), 1);
	e_u8(e, 8);
	e_op(e, 4, 0xff, 2, opd_near(&c->native_fill), 0);
	e_op(e, 8, 0x83, 0, opd_reg(H_RSP), 1);
	e_u8(e, 8);
	e_op(e, 8, 0x8b, H_R10, opd_reg(H_RAX), 0);
	each_volatile(e, c, false);
	e_op(e, 8, 0x85, H_R10, opd_reg(H_R10), 0); /* test */
	e_u8(e, 0xc3);
}

void sx_native_emit_common(struct sx_cpu *c)
{
	struct sx_native *n = c->native;
	struct emit e = {.at = n->write, .end = n->write + n->size, .to_exec = n->exec - n->write};

	c->native_callout = sx_native_callout;
	c->native_fill = sx_native_fill;
	emit_enter(&e, c);
	emit_leave(&e, c);
	emit_look_up(&e, c);
	emit_call_out(&e, c);
	emit_fill(&e, c);
	assert(!e.is_full);
	n->common = n->used = align_up((u64)(e.at - n->write), 64);
}
