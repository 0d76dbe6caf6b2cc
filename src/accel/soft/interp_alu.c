/*
 * Two-operand arithmetic and logic, INC, DEC, NEG, NOT, and the exchanges: whatever may be LOCKed.
 *
 * Each handler executes the guest's own operation by the host's instruction of the same name and
 * width, and takes the flags as the host left them, so that undefined ones come out as on a real
 * CPU. ALU_SIZES(X, ...) makes the four widths of a handler; the names say where the operands are:
 *
 *   _rr   register, register     _ri   register, immediate     _rm   register, memory
 *   _mr   memory, register       _mi   memory, immediate       _lr, _li   those with LOCK
 *
 * and _rp, _pr, _pi those that read memory, for a plain address (exec.h).
 *
 * A read-modify-write on memory is the host's instruction on the host's memory, locked or not. Only
 * where there is no such memory (page crossings, devices) is it taken apart.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

#define ALU_SIZES(X, ...)                                                                          \
	X(b, u8, 1, __VA_ARGS__)                                                                   \
	X(w, u16, 2, __VA_ARGS__)                                                                  \
	X(l, u32, 4, __VA_ARGS__)                                                                  \
	X(q, u64, 8, __VA_ARGS__)

/* What comes before the operation: nothing; CF into the host's. BT changes no other flag. */
#define FLAGS_NONE ""
#define FLAGS_CF   "btl $8, %%eax\n\t"

/* The flags that go in; 0 where none do, so that no operation waits for the one before. */
#define FLAGS_IN(c, pre) (sizeof(pre) > 1 ? (c)->cc : 0)

/* d = d op s, flags to f. dst: the operand's constraint, "+q" or "+m". */
#define ALU_ASM(pre, lock, op, sfx, dst, d, s, f)                                                  \
	asm volatile(pre lock op #sfx " %[src], %[dest]\n\t" SX_ASM_SAVE_FLAGS                     \
		     : [dest] dst(d), "+&a"(f)                                                     \
		     : [src] "q"(s)                                                                \
		     : "cc")
#define UNARY_ASM(pre, lock, op, sfx, dst, d, f)                                                   \
	asm volatile(pre lock op #sfx " %[dest]\n\t" SX_ASM_SAVE_FLAGS                             \
		     : [dest] dst(d), "+&a"(f)                                                     \
		     :                                                                             \
		     : "cc")

/* Guest operands in host memory lie where the guest put them. */
typedef u8 __attribute__((aligned(1), may_alias)) host_u8;
typedef u16 __attribute__((aligned(1), may_alias)) host_u16;
typedef u32 __attribute__((aligned(1), may_alias)) host_u32;
typedef u64 __attribute__((aligned(1), may_alias)) host_u64;
#define HOST(type, p) (*(host_##type *)(p))

/* --- d = d op s, or only the flags of it (CMP, TEST) --- */

#define ALU_READING(sfx, type, size, name, op, pre, writes)                                        \
	static void alu_##name##_rr_##sfx(struct sx_cpu *c, const struct sx_insn *i)               \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size), s = (type)sx_reg_get(c, i->reg, size);  \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		if (writes)                                                                        \
			sx_reg_set(c, i->rm, d, size);                                             \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void alu_##name##_ri_##sfx(struct sx_cpu *c, const struct sx_insn *i)               \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size), s = (type)i->imm;                       \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		if (writes)                                                                        \
			sx_reg_set(c, i->rm, d, size);                                             \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void alu_##name##_rm_##sfx(struct sx_cpu *c, const struct sx_insn *i)               \
	{                                                                                          \
		type s = (type)sx_load(c, i, sx_ea(c, i, size, false), size);                      \
		type d = (type)sx_reg_get(c, i->reg, size);                                        \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		if (writes)                                                                        \
			sx_reg_set(c, i->reg, d, size);                                            \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void alu_##name##_rp_##sfx(struct sx_cpu *c, const struct sx_insn *i)               \
	{                                                                                          \
		type s = (type)SX_TRY_LOAD(c, i, sx_ea_plain(c, i), size, alu_##name##_rm_##sfx);  \
		type d = (type)sx_reg_get(c, i->reg, size);                                        \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		if (writes)                                                                        \
			sx_reg_set(c, i->reg, d, size);                                            \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}

/* d in memory, only compared. */
#define ALU_COMPARING(sfx, type, size, name, op, pre)                                              \
	ALU_COMPARING_FORM(sfx, type, size, name, op, pre, r, sx_reg_get(c, i->reg, size))         \
	ALU_COMPARING_FORM(sfx, type, size, name, op, pre, i, i->imm)

#define ALU_COMPARING_FORM(sfx, type, size, name, op, pre, form, source)                           \
	static void alu_##name##_m##form##_##sfx(struct sx_cpu *c, const struct sx_insn *i)        \
	{                                                                                          \
		type d = (type)sx_load(c, i, sx_ea(c, i, size, false), size);                      \
		type s = (type)source;                                                             \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void alu_##name##_p##form##_##sfx(struct sx_cpu *c, const struct sx_insn *i)        \
	{                                                                                          \
		type d = (type)SX_TRY_LOAD(c, i, sx_ea_plain(c, i), size,                          \
					   alu_##name##_m##form##_##sfx);                          \
		type s = (type)source;                                                             \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}

/* d in memory, changed: on the host's memory, or taken apart where there is none. */
#define ALU_MEMORY(sfx, type, size, name, op, pre)                                                 \
	static noinline u32 alu_##name##_apart_##sfx(struct sx_cpu *c, const struct sx_insn *i,    \
						     u64 lin, type s)                              \
	{                                                                                          \
		u32 f = FLAGS_IN(c, pre);                                                          \
		type d;                                                                            \
                                                                                                   \
		sx_split_lock(c);                                                                  \
		d = (type)sx_load_slow(c, i, lin, size);                                           \
		ALU_ASM(pre, "", op, sfx, "+q", d, s, f);                                          \
		sx_store_slow(c, i, lin, d, size);                                                 \
		sx_split_unlock(c);                                                                \
		return f;                                                                          \
	}                                                                                          \
	ALU_MEMORY_FORM(sfx, type, size, name, op, pre, mr, "", sx_reg_get(c, i->reg, size))       \
	ALU_MEMORY_FORM(sfx, type, size, name, op, pre, mi, "", i->imm)                            \
	ALU_MEMORY_FORM(sfx, type, size, name, op, pre, lr, "lock ", sx_reg_get(c, i->reg, size))  \
	ALU_MEMORY_FORM(sfx, type, size, name, op, pre, li, "lock ", i->imm)

#define ALU_MEMORY_FORM(sfx, type, size, name, op, pre, form, lock, source)                        \
	static void alu_##name##_##form##_##sfx(struct sx_cpu *c, const struct sx_insn *i)         \
	{                                                                                          \
		u64 lin = sx_ea(c, i, size, true);                                                 \
		u8 *p = sx_host_rw(c, i, lin, size);                                               \
		type s = (type)source;                                                             \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		if (likely(p))                                                                     \
			ALU_ASM(pre, lock, op, sfx, "+m", HOST(type, p), s, f);                    \
		else                                                                               \
			f = alu_##name##_apart_##sfx(c, i, lin, s);                                \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}

#define ALU_WRITING(name, op, pre)                                                                 \
	ALU_SIZES(ALU_READING, name, op, pre, true)                                                \
	ALU_SIZES(ALU_MEMORY, name, op, pre)

ALU_WRITING(add, "add", FLAGS_NONE)
ALU_WRITING(or, "or", FLAGS_NONE)
ALU_WRITING(adc, "adc", FLAGS_CF)
ALU_WRITING(sbb, "sbb", FLAGS_CF)
ALU_WRITING(and, "and", FLAGS_NONE)
ALU_WRITING(sub, "sub", FLAGS_NONE)
ALU_WRITING(xor, "xor", FLAGS_NONE)
ALU_SIZES(ALU_READING, cmp, "cmp", FLAGS_NONE, false)
ALU_SIZES(ALU_COMPARING, cmp, "cmp", FLAGS_NONE)
ALU_SIZES(ALU_READING, test, "test", FLAGS_NONE, false)
ALU_SIZES(ALU_COMPARING, test, "test", FLAGS_NONE)

/* --- one operand: INC and DEC keep CF, NEG sets all, NOT none --- */

#define UNARY(sfx, type, size, name, op, pre)                                                      \
	static void unary_##name##_r_##sfx(struct sx_cpu *c, const struct sx_insn *i)              \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size);                                         \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		UNARY_ASM(pre, "", op, sfx, "+q", d, f);                                           \
		sx_reg_set(c, i->rm, d, size);                                                     \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static noinline u32 unary_##name##_apart_##sfx(struct sx_cpu *c, const struct sx_insn *i,  \
						       u64 lin)                                    \
	{                                                                                          \
		u32 f = FLAGS_IN(c, pre);                                                          \
		type d;                                                                            \
                                                                                                   \
		sx_split_lock(c);                                                                  \
		d = (type)sx_load_slow(c, i, lin, size);                                           \
		UNARY_ASM(pre, "", op, sfx, "+q", d, f);                                           \
		sx_store_slow(c, i, lin, d, size);                                                 \
		sx_split_unlock(c);                                                                \
		return f;                                                                          \
	}                                                                                          \
	UNARY_MEMORY(sfx, type, size, name, op, pre, m, "")                                        \
	UNARY_MEMORY(sfx, type, size, name, op, pre, l, "lock ")

#define UNARY_MEMORY(sfx, type, size, name, op, pre, form, lock)                                   \
	static void unary_##name##_##form##_##sfx(struct sx_cpu *c, const struct sx_insn *i)       \
	{                                                                                          \
		u64 lin = sx_ea(c, i, size, true);                                                 \
		u8 *p = sx_host_rw(c, i, lin, size);                                               \
		u32 f = FLAGS_IN(c, pre);                                                          \
                                                                                                   \
		if (likely(p))                                                                     \
			UNARY_ASM(pre, lock, op, sfx, "+m", HOST(type, p), f);                     \
		else                                                                               \
			f = unary_##name##_apart_##sfx(c, i, lin);                                 \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}

/* NOT changes no flags: all are loaded before it. */
ALU_SIZES(UNARY, inc, "inc", FLAGS_CF)
ALU_SIZES(UNARY, dec, "dec", FLAGS_CF)
ALU_SIZES(UNARY, neg, "neg", FLAGS_NONE)
ALU_SIZES(UNARY, not, "not", SX_ASM_LOAD_FLAGS "\n\t")

/* --- XCHG (always locked), XADD, CMPXCHG --- */

#define EXCHANGE(sfx, type, size, unused_)                                                         \
	static void xchg_rr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                       \
	{                                                                                          \
		u64 d = sx_reg_get(c, i->rm, size), s = sx_reg_get(c, i->reg, size);               \
                                                                                                   \
		sx_reg_set(c, i->rm, s, size);                                                     \
		sx_reg_set(c, i->reg, d, size);                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static noinline type xchg_apart_##sfx(struct sx_cpu *c, const struct sx_insn *i, u64 lin,  \
					      type s)                                              \
	{                                                                                          \
		type d;                                                                            \
                                                                                                   \
		sx_split_lock(c);                                                                  \
		d = (type)sx_load_slow(c, i, lin, size);                                           \
		sx_store_slow(c, i, lin, s, size);                                                 \
		sx_split_unlock(c);                                                                \
		return d;                                                                          \
	}                                                                                          \
	static void xchg_mr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                       \
	{                                                                                          \
		u64 lin = sx_ea(c, i, size, true);                                                 \
		u8 *p = sx_host_rw(c, i, lin, size);                                               \
		type s = (type)sx_reg_get(c, i->reg, size);                                        \
                                                                                                   \
		if (likely(p))                                                                     \
			asm volatile("xchg" #sfx " %0, %1" : "+q"(s), "+m"(HOST(type, p)));        \
		else                                                                               \
			s = xchg_apart_##sfx(c, i, lin, s);                                        \
		sx_reg_set(c, i->reg, s, size);                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void xadd_rr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                       \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size), s = (type)sx_reg_get(c, i->reg, size);  \
		type old = d;                                                                      \
		u32 f = 0;                                                                         \
                                                                                                   \
		ALU_ASM("", "", "add", sfx, "+q", d, s, f);                                        \
		sx_reg_set(c, i->reg, old, size);                                                  \
		sx_reg_set(c, i->rm, d, size);                                                     \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static noinline type xadd_apart_##sfx(struct sx_cpu *c, const struct sx_insn *i, u64 lin,  \
					      type s)                                              \
	{                                                                                          \
		type old, d;                                                                       \
		u32 f = 0;                                                                         \
                                                                                                   \
		sx_split_lock(c);                                                                  \
		d = old = (type)sx_load_slow(c, i, lin, size);                                     \
		ALU_ASM("", "", "add", sfx, "+q", d, s, f);                                        \
		sx_store_slow(c, i, lin, d, size);                                                 \
		sx_split_unlock(c);                                                                \
		c->cc = (u16)f;                                                                    \
		return old;                                                                        \
	}                                                                                          \
	static void xadd_mr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                       \
	{                                                                                          \
		u64 lin = sx_ea(c, i, size, true);                                                 \
		u8 *p = sx_host_rw(c, i, lin, size);                                               \
		type s = (type)sx_reg_get(c, i->reg, size);                                        \
		u32 f = 0;                                                                         \
                                                                                                   \
		if (likely(p)) {                                                                   \
			asm volatile("lock xadd" #sfx " %0, %1\n\t" SX_ASM_SAVE_FLAGS              \
				     : "+q"(s), "+m"(HOST(type, p)), "+&a"(f)                      \
				     :                                                             \
				     : "cc");                                                      \
			c->cc = (u16)f;                                                            \
		} else {                                                                           \
			s = xadd_apart_##sfx(c, i, lin, s);                                        \
		}                                                                                  \
		sx_reg_set(c, i->reg, s, size);                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void cmpxchg_rr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                    \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size), s = (type)sx_reg_get(c, i->reg, size);  \
		type a = (type)c->gpr[X86_RAX];                                                    \
		u32 f = 0;                                                                         \
                                                                                                   \
		type difference = a;                                                               \
		ALU_ASM("", "", "cmp", sfx, "+q", difference, d, f);                               \
		c->cc = (u16)f;                                                                    \
		if (a == d)                                                                        \
			sx_reg_set(c, i->rm, s, size);                                             \
		else                                                                               \
			sx_reg_set(c, size == 1 ? 0 : X86_RAX, d, size);                           \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static noinline type cmpxchg_apart_##sfx(struct sx_cpu *c, const struct sx_insn *i,        \
						 u64 lin, type a, type s)                          \
	{                                                                                          \
		type d;                                                                            \
                                                                                                   \
		sx_split_lock(c);                                                                  \
		d = (type)sx_load_slow(c, i, lin, size);                                           \
		sx_store_slow(c, i, lin, a == d ? s : d, size);                                    \
		sx_split_unlock(c);                                                                \
		return d;                                                                          \
	}                                                                                          \
	static void cmpxchg_mr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                    \
	{                                                                                          \
		u64 lin = sx_ea(c, i, size, true);                                                 \
		u8 *p = sx_host_rw(c, i, lin, size);                                               \
		type s = (type)sx_reg_get(c, i->reg, size), a = (type)c->gpr[X86_RAX], d = a;      \
		u32 f = 0;                                                                         \
                                                                                                   \
		if (likely(p))                                                                     \
			asm volatile("lock cmpxchg" #sfx " %2, %1"                                 \
				     : "+a"(d), "+m"(HOST(type, p))                                \
				     : "q"(s)                                                      \
				     : "cc");                                                      \
		else                                                                               \
			d = cmpxchg_apart_##sfx(c, i, lin, a, s);                                  \
		type difference = a;                                                               \
		ALU_ASM("", "", "cmp", sfx, "+q", difference, d, f);                               \
		c->cc = (u16)f;                                                                    \
		if (a != d)                                                                        \
			sx_reg_set(c, size == 1 ? 0 : X86_RAX, d, size);                           \
		SX_NEXT(c, i);                                                                     \
	}

ALU_SIZES(EXCHANGE, )

/* --- the table --- */

/* One operation: handlers by form and log2 of the size. */
struct alu_row {
	sx_insn_fn *rr[4], *ri[4], *rm[4], *mr[4], *mi[4], *lr[4], *li[4];
	sx_insn_fn *rp[4], *pr[4], *pi[4]; /* NULL: as the general form */
};

#define ROW_READING(name)                                                                          \
	.rr = SX_FOUR(alu_##name##_rr), .ri = SX_FOUR(alu_##name##_ri),                            \
	.rm = SX_FOUR(alu_##name##_rm), .mr = SX_FOUR(alu_##name##_mr),                            \
	.mi = SX_FOUR(alu_##name##_mi), .rp = SX_FOUR(alu_##name##_rp)
#define ROW_COMPARING(name)                                                                        \
	ROW_READING(name), .pr = SX_FOUR(alu_##name##_pr), .pi = SX_FOUR(alu_##name##_pi)
#define ROW_WRITING(name)                                                                          \
	ROW_READING(name), .lr = SX_FOUR(alu_##name##_lr), .li = SX_FOUR(alu_##name##_li)
#define ROW_UNARY(name)                                                                            \
	.rr = SX_FOUR(unary_##name##_r), .mr = SX_FOUR(unary_##name##_m),                          \
	.lr = SX_FOUR(unary_##name##_l)
#define ROW_EXCHANGE(name)                                                                         \
	.rr = SX_FOUR(name##_rr), .mr = SX_FOUR(name##_mr), .lr = SX_FOUR(name##_mr)

/* clang-format off */
static const struct alu_row alu_rows[SX_OP_COUNT] = {
	[SX_ADD] = {ROW_WRITING(add)},
	[SX_OR] = {ROW_WRITING(or)},
	[SX_ADC] = {ROW_WRITING(adc)},
	[SX_SBB] = {ROW_WRITING(sbb)},
	[SX_AND] = {ROW_WRITING(and)},
	[SX_SUB] = {ROW_WRITING(sub)},
	[SX_XOR] = {ROW_WRITING(xor)},
	[SX_CMP] = {ROW_COMPARING(cmp)},
	[SX_TEST] = {ROW_COMPARING(test)},
	[SX_INC] = {ROW_UNARY(inc)},
	[SX_DEC] = {ROW_UNARY(dec)},
	[SX_NEG] = {ROW_UNARY(neg)},
	[SX_NOT] = {ROW_UNARY(not)},
	[SX_XCHG] = {ROW_EXCHANGE(xchg)},
	[SX_XADD] = {ROW_EXCHANGE(xadd)},
	[SX_CMPXCHG] = {ROW_EXCHANGE(cmpxchg)},
};
/* clang-format on */

static sx_insn_fn *alu_bind_plain(const struct alu_row *row, u8 shape, unsigned k)
{
	switch (shape) {
	case SX_SHAPE_RM_REG:
		return row->pr[k];
	case SX_SHAPE_RM_IMM:
		return row->pi[k];
	case SX_SHAPE_REG_RM:
		return row->rp[k];
	default:
		return NULL;
	}
}

sx_insn_fn *sx_bind_alu(struct sx_insn *i)
{
	const struct sx_form *form = sx_insn_form(i);
	const struct alu_row *row = &alu_rows[form->op];
	unsigned k = sx_size_log2(i->size);
	bool is_mem = i->flags & SX_IF_MEM, is_locked = i->flags & SX_IF_LOCK;
	sx_insn_fn *fn = sx_is_plain(i) ? alu_bind_plain(row, form->shape, k) : NULL;

	if (fn && !is_locked)
		return fn;
	switch (form->shape) {
	case SX_SHAPE_RM:
	case SX_SHAPE_RM_REG:
		return !is_mem ? row->rr[k] : is_locked ? row->lr[k] : row->mr[k];
	case SX_SHAPE_RM_IMM:
		return !is_mem ? row->ri[k] : is_locked ? row->li[k] : row->mi[k];
	case SX_SHAPE_REG_RM:
		if (is_mem)
			return row->rm[k];
		if (!row->rr[k])
			return NULL;
		u8 dest = i->reg;
		i->reg = i->rm;
		i->rm = dest;
		return row->rr[k];
	default:
		return NULL;
	}
}
