/*
 * String instructions, as operations on host memory where they can be.
 *
 * With a repeat prefix and DF clear, plain memory and (but for comparisons) ordinary segments, what lies up to the end of the
 * source's and the destination's page is done in one piece: the kernel clears and copies pages so.
 * Everything else goes element by element. Registers are updated after each piece, and a request
 * (an interrupt, a flush) is served between pieces: the instruction is then started again with
 * what is left, as on a processor.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/io.h"
#include "accel/soft/native.h"
#include "accel/soft/segment.h"
#include "accel/soft/translate.h"

/* Where a string instruction stands: fetched from the registers, written back after each piece. */
struct string {
	unsigned size;      /* of an element */
	unsigned addr_size; /* of rSI, rDI, rCX */
	u64 mask;           /* of addresses */
	i64 step;           /* size, or -size with DF */
	bool is_flat;       /* offsets are linear addresses but for a base */
	bool repeats;
	bool is_scan;     /* of CMPS and SCAS */
	bool wants_equal; /* they go on while elements are equal */
};

static struct string string_begin(const struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned addr_size = sx_insn_addrsize(i);

	return (struct string){
		.size = i->size,
		.addr_size = addr_size,
		.mask = bytes_mask(addr_size),
		.step = c->sysflags & X86_FLAG_DF ? -(i64)i->size : i->size,
		.is_flat = c->mode & SX_MODE_64 ||
			   ((c->mode & SX_MODE_FLAT) && i->seg != X86_FS && i->seg != X86_GS),
		.repeats = i->flags & (SX_IF_REP | SX_IF_REPNE),
		.wants_equal = i->flags & SX_IF_REP,
	};
}

static void advance(struct sx_cpu *c, const struct string *s, unsigned reg, u64 n)
{
	sx_reg_set(c, reg, c->gpr[reg] + n * (u64)s->step, s->addr_size);
}

static u64 count_left(const struct sx_cpu *c, const struct string *s)
{
	return c->gpr[X86_RCX] & s->mask;
}

static void count_down(struct sx_cpu *c, const struct string *s, u64 n)
{
	if (s->repeats)
		sx_reg_set(c, X86_RCX, c->gpr[X86_RCX] - n, s->addr_size);
}

static u64 source_lin(struct sx_cpu *c, const struct sx_insn *i, const struct string *s)
{
	u64 off = c->gpr[X86_RSI] & s->mask;

	return s->is_flat ? off + c->seg_base[i->seg]
			  : sx_seg_lin(c, i, i->seg, off, s->size, false);
}

static u64 dest_lin(struct sx_cpu *c, const struct sx_insn *i, const struct string *s,
		    bool is_write)
{
	u64 off = c->gpr[X86_RDI] & s->mask;

	return s->is_flat ? off : sx_seg_lin(c, i, X86_ES, off, s->size, is_write);
}

/* Elements up to the end of lin's page, at most n. 0: the first one crosses it. */
static u64 fit_page(const struct string *s, u64 lin, u64 n)
{
	u64 room = (PAGE_SIZE - (lin & ~PAGE_MASK)) / s->size;

	return n < room ? n : room;
}

/* How many of n elements from register reg on are surely in the segment, ascending, before the address wraps. */
static u64 fit_segment(const struct sx_cpu *c, const struct string *s, unsigned seg, unsigned reg,
		       bool is_write, u64 n)
{
	u64 off = c->gpr[reg] & s->mask, end = s->mask + 1;

	if (s->is_flat)
		return n;
	if (c->seg_end[is_write][seg] < end)
		end = c->seg_end[is_write][seg];
	return off < end ? MIN(n, (end - off) / s->size) : 0;
}

/* May whole pieces be done? */
static bool is_bulk(const struct sx_cpu *c, const struct string *s)
{
	return s->repeats && s->step > 0 && !(c->mode & SX_MODE_STEP) && !sx_checks_alignment(c);
}

static bool must_stop(const struct sx_cpu *c)
{
	/* SX_REQ_STEP alone only wants the block's end to come back. */
	return (c->mode & SX_MODE_STEP) || c->replaced ||
	       (__atomic_load_n(&c->request, __ATOMIC_RELAXED) & ~(u32)SX_REQ_STEP);
}

/*
 * The shape of MOVS, STOS, LODS, INS, OUTS: piece() does up to n elements and returns how many,
 * registers not updated but for the result.
 */
typedef u64 piece_fn(struct sx_cpu *c, const struct sx_insn *i, const struct string *s, u64 n);

/* False: stopped half-way; the instruction is to be started again. */
static always_inline bool string_run(struct sx_cpu *c, const struct sx_insn *i, piece_fn *piece,
				     bool has_source, bool has_dest)
{
	struct string s = string_begin(c, i);

	for (;;) {
		u64 n = s.repeats ? count_left(c, &s) : 1;
		u64 done;

		if (!n)
			return true;
		done = piece(c, i, &s, n);
		if (has_source)
			advance(c, &s, X86_RSI, done);
		if (has_dest)
			advance(c, &s, X86_RDI, done);
		count_down(c, &s, done);
		if (!s.repeats || done == n)
			return true;
		if (must_stop(c))
			return false;
	}
}

#define STRING_OP(name, piece, has_source, has_dest)                                               \
	static void name(struct sx_cpu *c, const struct sx_insn *i)                                \
	{                                                                                          \
		if (!string_run(c, i, piece, has_source, has_dest)) {                              \
			sx_block_leave(c, i);                                                      \
			return;                                                                    \
		}                                                                                  \
		SX_NEXT(c, i);                                                                     \
	}

/* --- MOVS --- */

/* Ascending, as the instruction does it: a destination just above the source repeats a pattern. */
static void copy_elements(u8 *to, const u8 *from, u64 n, unsigned size)
{
	for (u64 k = 0; k < n; k++)
		sx_host_store(to + k * size, sx_host_load(from + k * size, size), size);
}

/* Host memory of bytes that lie in one page, without raising anything; NULL: element by element. */
static u8 *bulk_memory(struct sx_cpu *c, u64 lin, u64 bytes, enum sx_access access)
{
	u8 *p = access == SX_WRITE ? sx_tlb_write(c, lin, (unsigned)bytes)
				   : sx_tlb_read(c, lin, (unsigned)bytes);

	return p ? p : sx_translate_fill(c, lin, (unsigned)bytes, access);
}

/* Up to n elements that lie in one page at both ends; returns how many. */
static u64 movs_bulk(struct sx_cpu *c, const struct string *s, u64 from, u64 to, u64 n)
{
	u64 k = fit_page(s, to, fit_page(s, from, n));
	const u8 *src = k ? bulk_memory(c, from, k * s->size, SX_READ) : NULL;
	u8 *dst = src ? bulk_memory(c, to, k * s->size, SX_WRITE) : NULL;

	if (!dst)
		return 0;
	if ((u64)(dst - src) < k * s->size)
		copy_elements(dst, src, k, s->size);
	else
		memmove(dst, src, k * s->size);
	return k;
}

static u64 movs_piece(struct sx_cpu *c, const struct sx_insn *i, const struct string *s, u64 n)
{
	u64 from = source_lin(c, i, s), to = dest_lin(c, i, s, true), done = 0;

	if (is_bulk(c, s)) {
		n = fit_segment(c, s, i->seg, X86_RSI, false, n);
		n = fit_segment(c, s, X86_ES, X86_RDI, true, n);
		done = movs_bulk(c, s, from, to, n);
	}
	if (done)
		return done;
	sx_store(c, i, to, sx_load(c, i, from, s->size), s->size);
	return 1;
}

STRING_OP(movs, movs_piece, true, true)

/* --- STOS --- */

static void fill_elements(u8 *to, u64 v, u64 n, unsigned size)
{
	if (size == 1 || (v & bytes_mask(size)) == 0) {
		memset(to, (u8)v, n * size);
		return;
	}
	for (u64 k = 0; k < n; k++)
		sx_host_store(to + k * size, v, size);
}

static u64 stos_bulk(struct sx_cpu *c, const struct string *s, u64 to, u64 n)
{
	u64 k = fit_page(s, to, n);
	u8 *dst = k ? bulk_memory(c, to, k * s->size, SX_WRITE) : NULL;

	if (!dst)
		return 0;
	fill_elements(dst, c->gpr[X86_RAX], k, s->size);
	return k;
}

static u64 stos_piece(struct sx_cpu *c, const struct sx_insn *i, const struct string *s, u64 n)
{
	u64 to = dest_lin(c, i, s, true), done = 0;

	if (is_bulk(c, s))
		done = stos_bulk(c, s, to, fit_segment(c, s, X86_ES, X86_RDI, true, n));
	if (done)
		return done;
	sx_store(c, i, to, c->gpr[X86_RAX], s->size);
	return 1;
}

STRING_OP(stos, stos_piece, false, true)

/* --- LODS --- */

static u64 lods_piece(struct sx_cpu *c, const struct sx_insn *i, const struct string *s,
		      unused u64 n)
{
	sx_reg_set(c, X86_RAX, sx_load(c, i, source_lin(c, i, s), s->size), s->size);
	return 1;
}

STRING_OP(lods, lods_piece, true, false)

/* --- CMPS, SCAS --- */

#define COMPARE_ASM(sfx, a, b, f)                                                                  \
	asm("cmp" #sfx " %[src], %[dest]\n\t" SX_ASM_SAVE_FLAGS                                    \
	    : "=&a"(f)                                                                             \
	    : [dest] "q"(a), [src] "q"(b)                                                          \
	    : "cc")

static void set_compare_flags(struct sx_cpu *c, u64 a, u64 b, unsigned size)
{
	u32 f;

	if (size == 1)
		COMPARE_ASM(b, (u8)a, (u8)b, f);
	else if (size == 2)
		COMPARE_ASM(w, (u16)a, (u16)b, f);
	else if (size == 4)
		COMPARE_ASM(l, (u32)a, (u32)b, f);
	else
		COMPARE_ASM(q, a, b, f);
	c->cc = (u16)f;
}

/* Goes on while elements are equal (REPE) or differ (REPNE); b NULL: compares with rAX. */
static u64 compare_run(const u8 *a, u64 rax, const u8 *b, u64 n, unsigned size, bool goes_on_equal,
		       u64 out[2])
{
	u64 k = 0;

	do {
		out[0] = a ? sx_host_load(a + k * size, size) : rax & bytes_mask(size);
		out[1] = sx_host_load(b + k * size, size);
		k++;
	} while (k < n && (out[0] == out[1]) == goes_on_equal);
	return k;
}

/* Up to n elements that lie in one page; returns how many were compared. v: the last pair. */
static u64 compare_bulk(struct sx_cpu *c, const struct string *s, u64 a, u64 b, u64 n, u64 v[2])
{
	u64 k = fit_page(s, b, s->is_scan ? n : fit_page(s, a, n));
	const u8 *pb = k ? bulk_memory(c, b, k * s->size, SX_READ) : NULL;
	const u8 *pa = pb && !s->is_scan ? bulk_memory(c, a, k * s->size, SX_READ) : NULL;

	if (!pb || (!s->is_scan && !pa))
		return 0;
	return compare_run(pa, c->gpr[X86_RAX], pb, k, s->size, s->wants_equal, v);
}

static u64 compare_piece(struct sx_cpu *c, const struct sx_insn *i, const struct string *s, u64 n,
			 u64 v[2])
{
	u64 b = dest_lin(c, i, s, false), done = 0;

	if (s->is_flat && is_bulk(c, s))
		done = compare_bulk(c, s, s->is_scan ? 0 : source_lin(c, i, s), b, n, v);
	if (done)
		return done;
	/* The destination first: it is the one whose fault is reported. */
	v[1] = sx_load(c, i, b, s->size);
	v[0] = s->is_scan ? c->gpr[X86_RAX] & bytes_mask(s->size)
			  : sx_load(c, i, source_lin(c, i, s), s->size);
	return 1;
}

static void compare_advance(struct sx_cpu *c, const struct string *s, u64 done)
{
	if (!s->is_scan)
		advance(c, s, X86_RSI, done);
	advance(c, s, X86_RDI, done);
	count_down(c, s, done);
}

static bool compare_is_over(const struct string *s, u64 left, const u64 v[2])
{
	return !s->repeats || !left || (v[0] == v[1]) != s->wants_equal;
}

/* Flags change only when it ends or stops: a fault leaves them as they were (SDM 2B, REP). */
static bool compare_string(struct sx_cpu *c, const struct sx_insn *i, bool is_scan)
{
	struct string s = string_begin(c, i);
	bool is_over;
	u64 v[2];

	s.is_scan = is_scan;
	do {
		u64 n = s.repeats ? count_left(c, &s) : 1;
		u64 done;

		if (!n)
			return true;
		done = compare_piece(c, i, &s, n, v);
		compare_advance(c, &s, done);
		is_over = compare_is_over(&s, n - done, v);
	} while (!is_over && !must_stop(c));
	set_compare_flags(c, v[0], v[1], s.size);
	return is_over;
}

static void cmps(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!compare_string(c, i, false)) {
		sx_block_leave(c, i);
		return;
	}
	SX_NEXT(c, i);
}

static void scas(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!compare_string(c, i, true)) {
		sx_block_leave(c, i);
		return;
	}
	SX_NEXT(c, i);
}

/* --- for native code --- */

/* One piece. 0: it is the interpreter's. */
static u64 native_piece(struct sx_cpu *c, const struct string *s, enum sx_op op, u64 n, u64 v[2])
{
	u64 from = c->gpr[X86_RSI] & s->mask, to = c->gpr[X86_RDI] & s->mask;

	if (op == SX_MOVS)
		return movs_bulk(c, s, from, to, n);
	if (op == SX_STOS)
		return stos_bulk(c, s, to, n);
	return compare_bulk(c, s, from, to, n, v);
}

static void native_advance(struct sx_cpu *c, const struct string *s, enum sx_op op, u64 done)
{
	if (op == SX_MOVS || op == SX_CMPS)
		advance(c, s, X86_RSI, done);
	advance(c, s, X86_RDI, done);
	count_down(c, s, done);
}

bool sx_native_string(struct sx_cpu *c, u32 what)
{
	unsigned addr_size = c->mode & SX_MODE_64 ? 8 : 4;
	struct string s = {
		.size = what >> SX_STRING_SIZE_SHIFT & 15,
		.addr_size = addr_size,
		.mask = bytes_mask(addr_size),
		.is_flat = true,
		.repeats = what & SX_STRING_REPEATS,
		.wants_equal = !(what & SX_STRING_REPNE),
		.is_scan = (what & SX_STRING_OP) == SX_SCAS,
	};
	enum sx_op op = what & SX_STRING_OP;
	bool compares = op == SX_CMPS || op == SX_SCAS, is_over = false;
	u64 n = s.repeats ? count_left(c, &s) : 1, done, v[2];

	s.step = s.size;
	if (c->sysflags & X86_FLAG_DF || sx_checks_alignment(c))
		return false;
	for (; n && !is_over; n -= done) {
		done = __atomic_load_n(&c->request, __ATOMIC_RELAXED)
			       ? 0
			       : native_piece(c, &s, op, n, v);
		if (!done)
			return false;
		native_advance(c, &s, op, done);
		is_over = compares && compare_is_over(&s, n - done, v);
		if (is_over || (compares && n == done))
			set_compare_flags(c, v[0], v[1], s.size);
	}
	return true;
}

/* --- INS, OUTS --- */

static u64 ins_piece(struct sx_cpu *c, const struct sx_insn *i, const struct string *s,
		     unused u64 n)
{
	u16 port = (u16)c->gpr[X86_RDX];
	u64 to;

	sx_io_check(c, i, port, s->size);
	/* A read may change the device: nothing may fault after it. */
	to = dest_lin(c, i, s, true);
	sx_probe_write(c, i, to, s->size);
	sx_store(c, i, to, sx_io_read(c, port, s->size), s->size);
	return 1;
}

static u64 outs_piece(struct sx_cpu *c, const struct sx_insn *i, const struct string *s,
		      unused u64 n)
{
	u16 port = (u16)c->gpr[X86_RDX];

	sx_io_check(c, i, port, s->size);
	sx_io_write(c, port, sx_load(c, i, source_lin(c, i, s), s->size), s->size);
	return 1;
}

STRING_OP(ins_run, ins_piece, false, true)
STRING_OP(outs_run, outs_piece, true, false)

/* The permission is checked even when there is nothing to do. */
static void ins(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_io_check(c, i, (u16)c->gpr[X86_RDX], i->size);
	ins_run(c, i);
}

static void outs(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_io_check(c, i, (u16)c->gpr[X86_RDX], i->size);
	outs_run(c, i);
}

sx_insn_fn *sx_bind_string(struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_MOVS:
		return movs;
	case SX_STOS:
		return stos;
	case SX_LODS:
		return lods;
	case SX_CMPS:
		return cmps;
	case SX_SCAS:
		return scas;
	case SX_INS:
		return ins;
	case SX_OUTS:
		return outs;
	}
	return NULL;
}
