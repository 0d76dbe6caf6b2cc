/*
 * The short ways through gates of 64-bit code. Each reads what the long one reads (gate, descriptors, stack), where the
 * TLB has it, and compares it with what needs no more than stores; the mode word changes by its user bit alone.
 */
#include "accel/soft/gate64.h"

#include "accel/soft/debug.h"
#include "accel/soft/event.h"
#include "accel/soft/exec.h"
#include "accel/soft/far.h"
#include "accel/soft/segment.h"

#define MODE_KERNEL (SX_MODE_64 | SX_MODE_PE)

/* Bits of a descriptor's second doubleword. */
#define HIGH_TYPE(t) ((u32)(t) << 8)
#define HIGH_S       BIT32(12)
#define HIGH_DPL(d)  ((u32)(d) << 13)
#define HIGH_P       BIT32(15)
#define HIGH_L       BIT32(21)
#define HIGH_D       BIT32(22)

/* size bytes of a privileged structure, to be written, if the TLB has them in one page. */
static u8 *system_room(struct sx_cpu *c, u64 lin, unsigned size)
{
	bool has_smap = c->cr4 & X86_CR4_SMAP;
	const struct sx_tlb_entry *e =
		sx_tlb_find(c, has_smap ? SX_TLB_SUPERVISOR : SX_TLB_SUPERVISOR_AC, lin);

	return e->write == ((lin + size - 1) & PAGE_MASK) ? (u8 *)(lin + e->addend) : NULL;
}

/* Of the GDT, its second doubleword being so in the bits of mask. */
static bool read_descriptor(struct sx_cpu *c, u16 selector, u32 mask, u32 value,
			    struct sx_desc *out)
{
	return sx_desc_peek(c, selector, out) && (out->high & mask) == value;
}

/* 64-bit code, not conforming, known as accessed. */
static bool read_code(struct sx_cpu *c, u16 selector, unsigned dpl, struct sx_desc *out)
{
	const u32 type = HIGH_TYPE(SX_TYPE_CODE | SX_TYPE_ACCESSED);
	const u32 value = type | HIGH_S | HIGH_P | HIGH_L;

	return read_descriptor(c, selector,
			       value | HIGH_TYPE(SX_TYPE_CONFORMING) | HIGH_DPL(3) | HIGH_D,
			       value | HIGH_DPL(dpl), out);
}

static bool read_stack(struct sx_cpu *c, u16 selector, unsigned dpl, struct sx_desc *out)
{
	const u32 value = HIGH_TYPE(SX_TYPE_WRITABLE | SX_TYPE_ACCESSED) | HIGH_S | HIGH_P;

	return (selector & 3u) == dpl &&
	       read_descriptor(c, selector, value | HIGH_TYPE(SX_TYPE_CODE) | HIGH_DPL(3),
			       value | HIGH_DPL(dpl), out);
}

/* The user bit of the mode changes. */
static void change_privilege(struct sx_cpu *c, unsigned cpl)
{
	c->cpl = cpl;
	c->mode ^= SX_MODE_USER;
	sx_native_key_update(c);
	sx_tlb_choose(c);
}

static void set_flags(struct sx_cpu *c, u64 flags)
{
	c->cc = sx_cc_of_flags(flags);
	c->sysflags = (flags & ~(u64)X86_FLAGS_ARITH) | X86_FLAG_ONE;
}

struct frame64 {
	u64 rip, cs, rflags, rsp, ss;
};

/* --- IRET --- */

/* What it may change at CPL 0. */
#define IRET_FLAGS                                                                                 \
	(X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_IOPL | X86_FLAG_NT | \
	 X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_VIF | X86_FLAG_VIP | X86_FLAG_ID)

/* Sets the flags; false: they mean more than stores. */
static bool iret_flags(const struct sx_cpu *c, u64 popped, u64 *out)
{
	u64 old = sx_rflags(c);
	u64 new = (old & ~(u64)IRET_FLAGS) | (popped & IRET_FLAGS);

	if (sx_debug_keeps_rf(c) || (old & X86_FLAG_NT) ||
	    ((old | new) & (X86_FLAG_TF | X86_FLAG_AC)))
		return false;
	*out = new & ~(u64)X86_FLAG_RF; /* as sx_set_rflags */
	return true;
}

bool sx_iret_fast(struct sx_cpu *c)
{
	const u8 *p = sx_tlb_read(c, c->gpr[X86_RSP], sizeof(struct frame64));
	bool has_ss = true, sets_if;
	struct sx_desc cs, ss;
	struct frame64 f;
	unsigned cpl;
	u64 flags;

	if (c->mode != MODE_KERNEL || !p)
		return false;
	memcpy(&f, p, sizeof(f));
	cpl = f.cs & 3;
	if ((cpl != 0 && cpl != 3) || !iret_flags(c, f.rflags, &flags) || !sx_is_canonical(f.rip) ||
	    !read_code(c, (u16)f.cs, cpl, &cs))
		return false;
	if (!(u16)f.ss && cpl == 0)
		has_ss = false;
	else if (!read_stack(c, (u16)f.ss, cpl, &ss))
		return false;

	if (has_ss)
		sx_seg_set(c, X86_SS, (u16)f.ss, &ss);
	else
		sx_seg_set_null(c, X86_SS, 0);
	sx_seg_set(c, X86_CS, (u16)f.cs, &cs);
	c->gpr[X86_RSP] = f.rsp;
	c->gpr[SX_RIP] = f.rip;
	sets_if = flags & ~c->sysflags & X86_FLAG_IF;
	set_flags(c, flags);
	if (cpl) {
		change_privilege(c, cpl);
		sx_drop_data_segments(c);
	}
	if (sets_if && c->intr_waits)
		__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_RELAXED);
	sx_unblock_nmi(c);
	return true;
}

/* --- exceptions and interrupts --- */

/* An interrupt or trap gate that is present. */
#define GATE_MASK  0x9eu
#define GATE_VALUE (0x80u | SX_TYPE_INT32)
#define GATE_TRAP  1u

#define TSS64_RSP0 4u
#define TSS64_IST1 36u

/*
 * Debug exceptions change DR6 and DR7, NMIs what comes after them; software interrupts look at the gate's privilege. With a
 * data breakpoint that was met on the way, the request word changes, too.
 */
static bool is_simple(const struct sx_cpu *c)
{
	const struct sx_event *e = &c->event;

	if (c->pending_dr6)
		return false;
	return e->kind == X86_EVENT_INTERRUPT ||
	       (e->kind == X86_EVENT_EXCEPTION && e->vector != X86_DB);
}

static bool is_trap(const struct sx_event *e)
{
	return e->kind == X86_EVENT_EXCEPTION && (e->vector == X86_BP || e->vector == X86_OF);
}

/* Where the frame ends: ist 0 is the stack at hand, or the TSS's for the inner privilege. */
static bool find_stack(struct sx_cpu *c, unsigned ist, u64 *out)
{
	unsigned off = ist ? TSS64_IST1 + 8 * (ist - 1) : TSS64_RSP0;
	const u8 *p;

	*out = c->gpr[X86_RSP];
	if (ist || c->cpl) {
		p = off + 7 <= c->tr.limit ? sx_system_bytes(c, c->tr.base + off, 8) : NULL;
		if (!p)
			return false;
		*out = sx_host_load(p, 8);
	}
	return sx_is_canonical(*out);
}

static void count(struct sx_cpu *c, const struct sx_event *e)
{
	if (e->kind == X86_EVENT_EXCEPTION)
		c->counts.exceptions[e->vector % SX_N_VECTORS]++;
	else
		sx_count(c, SX_N_EVENT_INTERRUPT);
}

static struct frame64 frame_of(const struct sx_cpu *c, const struct sx_event *e)
{
	struct frame64 f = {
		.rip = c->gpr[SX_RIP],
		.cs = c->seg[X86_CS].selector,
		.rflags = sx_rflags(c),
		.rsp = c->gpr[X86_RSP],
		.ss = c->seg[X86_SS].selector,
	};

	if (e->kind == X86_EVENT_EXCEPTION && !is_trap(e))
		f.rflags |= X86_FLAG_RF;
	return f;
}

/* Everything was looked at: to the handler, whose frame is at sp. */
static void enter(struct sx_cpu *c, u16 selector, const struct sx_desc *cs, u64 sp, u64 rip,
		  u64 flags_cleared)
{
	if (c->cpl)
		sx_seg_set_null(c, X86_SS, 0);
	sx_seg_set(c, X86_CS, selector & ~3u, cs);
	c->gpr[X86_RSP] = sp;
	c->gpr[SX_RIP] = rip;
	c->sysflags &= ~flags_cleared;
	if (c->cpl)
		change_privilege(c, 0);
	c->event.is_set = false;
	c->run_state = X86_RUNNABLE;
}

bool sx_deliver_fast(struct sx_cpu *c)
{
	const struct sx_event *e = &c->event;
	u64 cleared = X86_FLAG_NT | X86_FLAG_IF, low, rip, sp;
	u32 at = e->vector * 16u, size = e->has_code ? 8 : 0;
	struct sx_desc cs;
	struct frame64 f;
	const u8 *gate;
	u8 *room;

	if ((c->mode & ~(u32)SX_MODE_USER) != MODE_KERNEL || !is_simple(c) ||
	    at + 15 > c->idt.limit)
		return false;
	gate = sx_system_bytes(c, c->idt.base + at, 16);
	if (!gate)
		return false;
	low = sx_host_load(gate, 8);
	rip = (low & 0xffff) | (low >> 32 & 0xffff0000) | sx_host_load(gate + 8, 8) << 32;
	if ((low >> 40 & GATE_MASK) != GATE_VALUE || !sx_is_canonical(rip) ||
	    !read_code(c, (u16)(low >> 16), 0, &cs) || !find_stack(c, low >> 32 & 7, &sp))
		return false;
	size += sizeof(f);
	sp = (sp & ~(u64)15) - size;
	room = system_room(c, sp, size);
	if (!room)
		return false;

	f = frame_of(c, e);
	if (e->has_code)
		sx_host_store(room, e->code, 8);
	memcpy(room + size - sizeof(f), &f, sizeof(f));
	if (low >> 40 & GATE_TRAP)
		cleared &= ~X86_FLAG_IF;
	count(c, e);
	enter(c, (u16)(low >> 16), &cs, sp, rip, cleared);
	return true;
}
