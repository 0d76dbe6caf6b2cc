/*
 * Exceptions, interrupts and IRET of 64-bit code by the short way (gate64.h), and loads of segment registers: from frames,
 * gates, descriptors and stacks by chance it comes to what the long way comes to, and does nothing where that raises an exception.
 */
#include <stdlib.h>
#include <string.h>

#include "accel/soft/exec.h"
#include "accel/soft/gate64.h"
#include "accel/soft/run.h"
#include "accel/soft/segment.h"
#include "base/err.h"
#include "core_fixture.h"
#include "mem/gmem.h"
#include "test.h"

#define CASES   20000
#define FRAME   0x80000u /* a supervisor's page, and the next */
#define HANDLER 0x210000u
#define ENTRIES 24 /* of the GDT; those behind the fixture's are by chance */
#define VECTOR  14u

static u64 seed = 1;

static u64 by_chance(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d >> 8;
}

static bool one_in(unsigned n)
{
	return by_chance() % n == 0;
}

static u64 get(struct core *k, u64 at)
{
	u64 v;

	memcpy(&v, core_ram(k, at), sizeof(v));
	return v;
}

static void put(struct core *k, u64 at, u64 v)
{
	memcpy(core_ram(k, at), &v, sizeof(v));
}

/* --- what it is made of --- */

static u16 selector_by_chance(bool is_code, bool is_user)
{
	if (one_in(4))
		return (u16)(by_chance() % ((ENTRIES + 2) * 8));
	if (is_code)
		return is_user ? CORE_USER_CS64 : CORE_CS64;
	return is_user ? CORE_USER_DS : one_in(2) ? CORE_DS : 0;
}

/* One of the fixture's with a bit or two changed. */
static void make_descriptors(struct core *k)
{
	put(k, CORE_GDT, get(k, CORE_GDT + CORE_CS64)); /* which nobody reads */
	for (unsigned n = 9; n < ENTRIES; n++) {
		static const u16 of[] = {CORE_CS64,    CORE_CS64, CORE_USER_CS64, CORE_DS,
					 CORE_USER_DS, CORE_CS32, CORE_TR};
		u64 d = get(k, CORE_GDT + (of[by_chance() % ARRAY_SIZE(of)] & ~7u));

		for (unsigned bits = (unsigned)by_chance() % 3; bits > 0; bits--)
			d ^= BIT(32 + 8 + by_chance() % 16);
		put(k, CORE_GDT + n * 8, d);
	}
}

static u64 flags_by_chance(void)
{
	u64 flags = by_chance() &
		    (X86_FLAGS_ARITH | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_RF | X86_FLAG_ID);

	if (one_in(4))
		flags |= BIT(by_chance() % 22);
	return flags | X86_FLAG_ONE;
}

static u64 address_by_chance(u64 usual)
{
	return one_in(12) ? by_chance() << 8 : usual + by_chance() % 64;
}

static void state_by_chance(struct core *k, struct x86_cpu_state *s, bool is_user)
{
	static const u8 data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

	core_long_mode(k, s);
	make_descriptors(k);
	s->gdt.limit = one_in(8) ? (u16)(by_chance() % (ENTRIES * 8)) : ENTRIES * 8 - 1;
	s->rflags = (flags_by_chance() & ~(X86_FLAG_TF | X86_FLAG_VM | X86_FLAG_RF)) | X86_FLAG_ONE;
	if (is_user) {
		s->seg[X86_CS].selector = CORE_USER_CS64;
		s->seg[X86_CS].attr = 0xa0fb;
		s->seg[X86_SS].selector = CORE_USER_DS;
		s->seg[X86_SS].attr = 0xc0f3;
	}
	for (size_t n = 0; n < ARRAY_SIZE(data); n++) {
		if (one_in(3))
			s->seg[data[n]] = (struct x86_segment){.base = by_chance() & 0xfff000,
							       .attr = X86_ATTR_UNUSABLE};
		else if (is_user || one_in(2))
			s->seg[data[n]].attr = 0xc0f3;
	}
	s->cr4 |= one_in(2) ? X86_CR4_SMAP : 0;
	s->nmi_blocked = one_in(3);
	s->gpr[X86_RSP] = FRAME + by_chance() % 0x1000;
	s->rip = CORE_DATA;
}

/* --- both ways --- */

/* What follows from the state, beside it. */
struct derived {
	u64 code_base, code_mask, key, base[SX_SEGS],
		end[2][X86_SEGS]; /* end: outside 64-bit code */
	struct sx_tlb_entry *tlb;
	u32 mode, tlb_mask, link, request;
	unsigned cpl;
	enum sx_tlb_set set;
};

static struct derived derived_of(const struct sx_cpu *c)
{
	struct derived d;

	memset(&d, 0, sizeof(d));
	d.code_base = c->code_base;
	d.code_mask = c->code_mask;
	d.key = c->native_key;
	memcpy(d.base, c->seg_base, sizeof(d.base));
	if (!(c->mode & SX_MODE_64))
		memcpy(d.end, c->seg_end, sizeof(d.end));
	d.tlb = c->tlb;
	d.mode = c->mode;
	d.tlb_mask = c->tlb_mask;
	d.link = c->native_link;
	d.request = c->request;
	d.cpl = c->cpl;
	d.set = c->tlb_set;
	return d;
}

#define SAVED offsetof(struct sx_cpu, tlbs)

struct both {
	struct core k;
	struct x86_cpu_state start, after_long, after_short;
	struct derived derived;
	struct sx_event event; /* that the long way raised */
	bool is_short, has_raised;
	unsigned n_short, n_raised; /* of the cases so far */
	u8 *saved, *now;
};

static void begin(struct both *b)
{
	core_init(&b->k);
	b->n_short = b->n_raised = 0;
	b->saved = malloc(SAVED);
	b->now = malloc(SAVED);
}

static void end(struct both *b)
{
	free(b->saved);
	free(b->now);
	core_fini(&b->k);
}

static void get_state(struct both *b, struct x86_cpu_state *out)
{
	struct err err = ERR_INIT;

	memset(out, 0, sizeof(*out));
	CHECK_EQ(b->k.vcpu[0]->ops->get_state(b->k.vcpu[0], out, &err), 0);
}

static void settle(struct sx_cpu *c)
{
	c->request = 0;
	sx_mode_update(c);
	c->request &= SX_REQ_STEP;
}

/* The TLB has all pages that either way may look at. */
static void fill_tlb(struct core *k, struct sx_cpu *c)
{
	static const u64 pages[] = {FRAME - 0x1000, FRAME,    FRAME + 0x1000,
				    CORE_GDT,       CORE_IDT, CORE_TSS};

	gmem_enter(k->gmem);
	c->map = gmem_current_map(k->gmem);
	c->last_range = NULL;
	for (size_t n = 0; n < ARRAY_SIZE(pages); n++)
		CHECK(sx_host_rw_system(c, NULL, pages[n], 8));
	gmem_leave(k->gmem);
}

/* From b->start, by the long way, then by the short one. */
static void go_both_ways(struct both *b, bool (*short_way)(struct sx_cpu *c), bool waits)
{
	struct sx_cpu *c = sx_cpu_of(b->k.vcpu[0]);
	struct err err = ERR_INIT;
	bool is_marked;
	u8 written[0x2000], before[0x2000], gdt[ENTRIES * 8];

	CHECK_EQ(b->k.vcpu[0]->ops->set_state(b->k.vcpu[0], &b->start, &err), 0);
	c->intr_waits = waits;
	settle(c);
	memcpy(b->saved, c, SAVED);
	memcpy(before, core_ram(&b->k, FRAME - 0x1000), sizeof(before));
	memcpy(gdt, core_ram(&b->k, CORE_GDT), sizeof(gdt));
	b->has_raised = !sx_step_raw(c);
	b->event = c->event;
	b->derived = derived_of(c);
	get_state(b, &b->after_long);
	memcpy(written, core_ram(&b->k, FRAME - 0x1000), sizeof(written));

	memcpy(c, b->saved, SAVED);
	settle(c);
	c->intr_waits = waits;
	c->nmi_waits = false;
	fill_tlb(&b->k, c);
	memcpy(core_ram(&b->k, FRAME - 0x1000), before, sizeof(before));
	is_marked = memcmp(core_ram(&b->k, CORE_GDT), gdt, sizeof(gdt)) != 0;
	memcpy(core_ram(&b->k, CORE_GDT), gdt, sizeof(gdt));
	memcpy(b->saved, c, SAVED);
	b->is_short = short_way(c);
	memcpy(b->now, c, SAVED);
	get_state(b, &b->after_short);
	if (b->is_short) {
		struct derived d = derived_of(c);

		CHECK(!b->has_raised && !is_marked); /* a descriptor as accessed */
		CHECK_MEM(&d, &b->derived, sizeof(d));
		CHECK_MEM(core_ram(&b->k, FRAME - 0x1000), written, sizeof(written));
	} else {
		CHECK_MEM(b->now, b->saved, SAVED);
		CHECK_MEM(core_ram(&b->k, FRAME - 0x1000), before, sizeof(before));
	}
}

static void check_states(const struct both *b)
{
	const struct x86_cpu_state *s = &b->after_short, *l = &b->after_long;

	CHECK_MEM(s->gpr, l->gpr, sizeof(s->gpr));
	CHECK_EQ(s->rip, l->rip);
	CHECK_EQ(s->rflags, l->rflags);
	for (unsigned n = 0; n < X86_SEGS; n++) {
		CHECK_EQ(s->seg[n].base, l->seg[n].base);
		CHECK_EQ(s->seg[n].limit, l->seg[n].limit);
		CHECK_EQ(s->seg[n].attr, l->seg[n].attr);
		CHECK_EQ(s->seg[n].selector, l->seg[n].selector);
	}
	CHECK_EQ(s->nmi_blocked, l->nmi_blocked);
	CHECK_EQ(s->event_pending, l->event_pending);
	CHECK_EQ(s->run_state, l->run_state);
	CHECK_EQ(s->dr6, l->dr6);
	CHECK_EQ(s->cr2, l->cr2);
}

/* --- IRET --- */

CODE(iretq, "iretq\n");

static void make_frame(struct core *k, u64 at)
{
	bool is_user = one_in(2);

	put(k, at, address_by_chance(HANDLER));
	put(k, at + 8, selector_by_chance(true, is_user) | (one_in(8) ? by_chance() << 16 : 0));
	put(k, at + 16, flags_by_chance());
	put(k, at + 24, address_by_chance(FRAME));
	put(k, at + 32, selector_by_chance(false, is_user));
}

static void compare_ways(struct both *b, bool (*short_way)(struct sx_cpu *c), bool waits)
{
	go_both_ways(b, short_way, waits);
	b->n_short += b->is_short;
	b->n_raised += b->has_raised;
	if (b->is_short)
		check_states(b);
}

/* Enough of either kind came by. */
static void end_by_chance(struct both *b)
{
	CHECK(b->n_short > CASES / 4);
	CHECK(b->n_raised > CASES / 8);
	end(b);
}

TEST(iret_by_chance)
{
	struct both b;

	begin(&b);
	core_load(&b.k, CORE_DATA, iretq, CODE_SIZE(iretq));
	for (unsigned n = 0; n < CASES; n++) {
		state_by_chance(&b.k, &b.start, false);
		make_frame(&b.k, b.start.gpr[X86_RSP]);
		compare_ways(&b, sx_iret_fast, one_in(4));
	}
	end_by_chance(&b);
}

/* --- exceptions and interrupts --- */

static void make_gate(struct core *k)
{
	u8 type = one_in(3) ? 0x8f : 0x8e;

	if (one_in(8))
		type ^= (u8)BIT32(by_chance() % 8);
	core_set_gate(k, VECTOR, address_by_chance(HANDLER), selector_by_chance(true, false),
		      one_in(4) ? (u8)(by_chance() % 8) : 0, type);
}

static void make_stacks(struct core *k)
{
	put(k, CORE_TSS + 4, address_by_chance(FRAME - 0x800));
	for (unsigned n = 0; n < 7; n++)
		put(k, CORE_TSS + 36 + n * 8, address_by_chance(FRAME + n * 0x10));
}

static void make_event(struct x86_cpu_state *s)
{
	s->event_pending = true;
	s->event_vector = VECTOR;
	s->event_kind = one_in(3)   ? X86_EVENT_INTERRUPT
			: one_in(6) ? X86_EVENT_SOFT
				    : X86_EVENT_EXCEPTION;
	s->event_has_code = s->event_kind == X86_EVENT_EXCEPTION;
	s->event_code = s->event_has_code ? (u32)by_chance() & 0x1f : 0;
}

TEST(exceptions_by_chance)
{
	struct both b;

	begin(&b);
	for (unsigned n = 0; n < CASES; n++) {
		state_by_chance(&b.k, &b.start, one_in(2));
		if (one_in(8))
			b.start.idt.limit = (u16)(by_chance() % 0x200);
		if (one_in(8))
			b.start.tr.limit = (u32)by_chance() % 0x68;
		make_gate(&b.k);
		make_stacks(&b.k);
		make_event(&b.start);
		compare_ways(&b, sx_deliver_fast, false);
	}
	end_by_chance(&b);
}

/* --- segment registers --- */

static u16 loaded;
static unsigned loaded_seg;

static bool load_quietly(struct sx_cpu *c)
{
	if (!sx_seg_load_quietly(c, loaded, loaded_seg))
		return false;
	c->gpr[SX_RIP] += 2;
	return true;
}

static void make_load(struct both *b)
{
	static const u8 data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

	loaded_seg = data[by_chance() % ARRAY_SIZE(data)];
	loaded = one_in(5) ? (u16)(by_chance() % 4) : (u16)(by_chance() % (ENTRIES * 8));
	if (one_in(3))
		loaded = one_in(2) ? CORE_DS : CORE_USER_DS;
	b->start.gpr[X86_RAX] = loaded | (by_chance() << 16 & 0xffff0000);
	core_load(&b->k, CORE_DATA, (u8[]){0x8e, (u8)(0xc0 | loaded_seg << 3)},
		  2); /* mov %eax, %ds */
}

/* As state_by_chance, in 32-bit code. */
static void flat_by_chance(struct core *k, struct x86_cpu_state *s, bool is_user)
{
	struct x86_cpu_state more;

	state_by_chance(k, &more, is_user);
	core_protected_mode(k, s);
	s->gdt.limit = more.gdt.limit;
	s->rip = CORE_DATA;
	if (!is_user)
		return;
	for (unsigned n = 0; n < X86_SEGS; n++) {
		s->seg[n].selector = n == X86_CS ? CORE_USER_CS32 : CORE_USER_DS;
		s->seg[n].attr |= X86_ATTR_DPL;
	}
	if (one_in(3))
		s->seg[X86_DS] = (struct x86_segment){.attr = X86_ATTR_UNUSABLE};
}

TEST(segments_by_chance)
{
	struct both b;

	begin(&b);
	for (unsigned n = 0; n < CASES; n++) {
		if (one_in(2))
			state_by_chance(&b.k, &b.start, one_in(2));
		else
			flat_by_chance(&b.k, &b.start, one_in(2));
		make_load(&b);
		compare_ways(&b, load_quietly, false);
	}
	end_by_chance(&b);
}

/* --- in native code --- */

/* User code calls, and faults in what it called; the handler returns behind that. RBX counts rounds, RDI faults. */
#define ROUNDS 100
/* clang-format off */
CODE(faults, "mov $100, %ebp\n xor %ebx, %ebx\n xor %edi, %edi\n"
	     "1: call 2f\n cmp $7, %eax\n jne 3f\n inc %ebx\n dec %ebp\n jnz 1b\n 3: int $0x80\n"
	     "2: mov $7, %eax\n push %rax\n std\n stc\n movq $1, 0x600000\n jnc 3b\n cld\n pop %rax\n ret\n");
CODE(handler, "inc %edi\n mov (%rsp), %r12\n mov 24(%rsp), %r13\n addq $12, 8(%rsp)\n add $8, %rsp\n iretq\n");
CODE(stop, STOP);
/* clang-format on */

static void as_user(struct x86_cpu_state *s)
{
	s->seg[X86_CS].selector = CORE_USER_CS64;
	s->seg[X86_CS].attr = 0xa0fb;
	s->seg[X86_SS].selector = CORE_USER_DS;
	s->seg[X86_SS].attr = 0xc0f3;
	s->rip = CORE_DATA;
	s->gpr[X86_RSP] = CORE_DATA + 0x8000;
}

TEST(faults_are_delivered_and_returned_from_in_native_code)
{
	struct x86_cpu_state s;
	struct core k;

	core_init(&k);
	core_long_mode(&k, &s);
	put(&k, CORE_TABLES + 0x2000 + 3 * 8, 0);
	core_load(&k, CORE_DATA, faults, CODE_SIZE(faults));
	core_load(&k, CORE_CODE, handler, CODE_SIZE(handler));
	core_load(&k, CORE_CODE + 0x1000, stop, CODE_SIZE(stop));
	core_set_gate(&k, X86_PF, CORE_CODE, CORE_CS64, 0, 0x8e);
	core_set_gate(&k, 0x80, CORE_CODE + 0x1000, CORE_CS64, 0, 0xee);
	as_user(&s);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], ROUNDS);
	CHECK_EQ(s.gpr[X86_RDI], ROUNDS);
	CHECK_EQ(s.gpr[X86_R12], X86_PF_W | X86_PF_U);
	CHECK_EQ(s.gpr[X86_R13] & (X86_FLAG_RF | X86_FLAG_DF | X86_FLAG_CF),
		 X86_FLAG_RF | X86_FLAG_DF | X86_FLAG_CF);
	CHECK_EQ(s.cr2, 0x600000);
	CHECK_EQ(core_count(&k, SX_N_LEFT_STEP), 0);
	if (core_is_translated(&k))
		CHECK(core_count(&k, SX_N_LEFT_GO_ON) + core_count(&k, SX_N_LEFT_LINK) <
		      ROUNDS / 2);
	core_fini(&k);
}

/* As handler; in the round when EBP is 20 it takes the stack away, so that the next fault can't be delivered. */
/* clang-format off */
CODE(takes_stack, "inc %edi\n addq $12, 8(%rsp)\n add $8, %rsp\n cmp $20, %ebp\n jne 1f\n movq $0x600800, 0x10a004\n 1: iretq\n");
CODE(on_double, "pop %r12\n mov (%rsp), %r13\n mov 8(%rsp), %r14\n mov 24(%rsp), %r15\n" STOP);
/* clang-format on */

TEST(a_fault_that_has_no_stack_is_a_double_fault)
{
	struct x86_cpu_state s;
	struct core k;
	const u64 at = 35; /* of MOVQ in `faults` */

	core_init(&k);
	core_long_mode(&k, &s);
	put(&k, CORE_TABLES + 0x2000 + 3 * 8, 0);
	core_load(&k, CORE_DATA, faults, CODE_SIZE(faults));
	core_load(&k, CORE_CODE, takes_stack, CODE_SIZE(takes_stack));
	core_load(&k, CORE_CODE + 0x1000, on_double, CODE_SIZE(on_double));
	core_set_gate(&k, X86_PF, CORE_CODE, CORE_CS64, 0, 0x8e);
	core_set_gate(&k, X86_DF, CORE_CODE + 0x1000, CORE_CS64, 1, 0x8e);
	as_user(&s);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RDI], ROUNDS - 20 + 1);
	CHECK_EQ(s.gpr[X86_R12], 0);
	CHECK_EQ(s.gpr[X86_R13], CORE_DATA + at);
	CHECK_EQ(s.gpr[X86_R14], CORE_USER_CS64);
	CHECK_EQ(s.gpr[X86_R15], CORE_DATA + 0x8000 - 16);
	CHECK_EQ(s.cr2, 0x600800 - 8);
	core_fini(&k);
}
