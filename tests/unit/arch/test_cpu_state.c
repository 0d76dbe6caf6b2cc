/* arch/x86: the state after reset, saving and loading it. */
#include "test.h"

#include "arch/x86/cpu_state.h"
#include "base/bytes.h"
#include "base/err.h"
#include "state/state.h"

/* SDM 3A, table 9-1. */
TEST(reset_is_table_9_1)
{
	struct x86_cpu_state s;

	memset(&s, 0xff, sizeof(s));
	x86_cpu_reset(&s, true);
	CHECK_EQ(s.rflags, 2);
	CHECK_EQ(s.rip, 0xfff0);
	CHECK_EQ(s.cr0, 0x60000010);
	CHECK_EQ(s.cr3, 0);
	CHECK_EQ(s.cr4, 0);
	CHECK_EQ(s.seg[X86_CS].selector, 0xf000);
	CHECK_EQ(s.seg[X86_CS].base, 0xffff0000);
	CHECK_EQ(s.seg[X86_DS].limit, 0xffff);
	CHECK_EQ(s.gdt.limit, 0xffff);
	CHECK_EQ(s.dr6, 0xffff0ff0);
	CHECK_EQ(s.dr7, 0x400);
	CHECK_EQ(le16_load(s.xsave), 0x40);
	CHECK_EQ(le32_load(s.xsave + X86_FXSAVE_MXCSR), 0x1f80);
	CHECK_EQ(s.pat, 0x0007040600070406);
	CHECK_EQ(s.xcr0, 1);
	CHECK_EQ(s.run_state, X86_RUNNABLE);
	x86_cpu_reset(&s, false);
	CHECK_EQ(s.run_state, X86_WAIT_FOR_SIPI);
}

static int save_and_load(struct x86_cpu_state *from, struct x86_cpu_state *to, struct err *err)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	AUTO(state_reader_free) struct state_reader *r = NULL;
	const char *name;
	size_t size;
	u32 instance;
	const void *data;

	state_save(w, &x86_cpu_state_table, 3, from);
	data = state_writer_finish(w, &size);
	r = state_reader_new(data, size);
	CHECK_EQ(state_reader_next(r, &name, &instance, err), 1);
	CHECK_STR(name, "x86-cpu");
	CHECK_EQ(instance, 3);
	return state_load(r, &x86_cpu_state_table, to, err);
}

TEST(every_byte_of_the_cpu_state_is_saved)
{
	struct x86_cpu_state a, b;
	struct err err = ERR_INIT;

	/* Random values everywhere; then those that are checked, and the padding, made good. */
	for (size_t i = 0; i < sizeof(a); i++)
		((u8 *)&a)[i] = (u8)(i * 37 + 11);
	a.nmi_blocked = a.event_pending = true;
	a.nmi_pending = a.event_has_code = false;
	a.run_state = X86_HALTED;
	a.event_kind = X86_EVENT_SOFT;
	a.interrupt_shadow = X86_SHADOW_STI;
	a.xcr0 = 7;
	memset(a.xsave + X86_XSAVE_HEADER, 0, 64);
	a.xsave[X86_XSAVE_HEADER] = 7;
	le32_store(a.xsave + X86_FXSAVE_MXCSR, X86_MXCSR_RESET);
	b = a;
	memset(&b, 0, offsetof(struct x86_cpu_state, event_code) + 4);
	for (unsigned i = 0; i < X86_SEGS; i++) /* padding within */
		b.seg[i] = (struct x86_segment){0};
	CHECK_EQ(save_and_load(&a, &b, &err), 0);
	CHECK_MEM(b.gpr, a.gpr, sizeof(a.gpr));
	CHECK_MEM(b.xsave, a.xsave, sizeof(a.xsave));
	for (unsigned i = 0; i < X86_SEGS; i++) {
		CHECK_EQ(b.seg[i].base, a.seg[i].base);
		CHECK_EQ(b.seg[i].limit, a.seg[i].limit);
		CHECK_EQ(b.seg[i].attr, a.seg[i].attr);
		CHECK_EQ(b.seg[i].selector, a.seg[i].selector);
	}
	CHECK_EQ(b.idt.base, a.idt.base);
	CHECK_EQ(b.idt.limit, a.idt.limit);
	/* From CR0 to the XSAVE area and from STAR on there is no padding. */
	CHECK_MEM(&b.cr0, &a.cr0,
		  offsetof(struct x86_cpu_state, xcr0) + 8 - offsetof(struct x86_cpu_state, cr0));
	CHECK_MEM(&b.star, &a.star,
		  offsetof(struct x86_cpu_state, nmi_blocked) -
			  offsetof(struct x86_cpu_state, star));
	CHECK(b.nmi_blocked && !b.nmi_pending && b.event_pending && !b.event_has_code);
	CHECK_EQ(b.event_vector, a.event_vector);
	CHECK_EQ(b.event_kind, a.event_kind);
	CHECK_EQ(b.event_code, a.event_code);
}

static void refuse(struct x86_cpu_state *bad, const char *why)
{
	struct x86_cpu_state to;
	struct err err = ERR_INIT;

	CHECK_EQ(save_and_load(bad, &to, &err), -EINVAL);
	CHECK_ERR(err, why);
}

TEST(impossible_states_are_refused)
{
	struct x86_cpu_state good, bad;
	struct err err = ERR_INIT;

	x86_cpu_reset(&good, true);
	CHECK_EQ(save_and_load(&good, &bad, &err), 0);
	bad = good;
	bad.run_state = 3;
	refuse(&bad, "run state");
	bad = good;
	bad.event_kind = 4;
	refuse(&bad, "event kind");
	bad = good;
	bad.xcr0 = 5; /* AVX without SSE */
	refuse(&bad, "XCR0");
	bad.xcr0 = 0;
	refuse(&bad, "XCR0");
	bad = good;
	bad.xsave[X86_XSAVE_HEADER] = 0x80;
	refuse(&bad, "unknown components");
	bad = good;
	bad.xsave[X86_XSAVE_HEADER + 15] = 0x80; /* compacted */
	refuse(&bad, "standard form");
	bad = good;
	le32_store(bad.xsave + X86_FXSAVE_MXCSR, 0x10000);
	refuse(&bad, "MXCSR");
	bad = good;
	bad.interrupt_shadow = 4;
	refuse(&bad, "shadow");
}

TEST(the_lapic_state_is_saved_and_checked)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	AUTO(state_reader_free) struct state_reader *r = NULL;
	struct x86_lapic_state a = {0}, b;
	struct err err = ERR_INIT;
	const char *name;
	size_t size;
	u32 instance;
	const void *data;

	a.base = X86_APIC_BASE_ADDR | X86_APIC_BASE_ENABLE | X86_APIC_BASE_X2APIC;
	a.icr = 0x123456789a;
	a.irr[7] = 0x80000000;
	a.lvt[LAPIC_LVT_ERROR] = 0xfe;
	a.timer_start_ns = 77;
	a.sipi_pending = true;
	a.sipi_vector = 0x9a;
	state_save(w, &x86_lapic_state_table, 0, &a);
	b = a;
	b.base = X86_APIC_BASE_X2APIC; /* without enable */
	state_save(w, &x86_lapic_state_table, 1, &b);
	data = state_writer_finish(w, &size);
	r = state_reader_new(data, size);
	memset(&b, 0, sizeof(b));
	CHECK_EQ(state_reader_next(r, &name, &instance, &err), 1);
	CHECK_EQ(state_load(r, &x86_lapic_state_table, &b, &err), 0);
	CHECK_MEM(&b, &a, sizeof(a));
	CHECK_EQ(state_reader_next(r, &name, &instance, &err), 1);
	CHECK_EQ(state_load(r, &x86_lapic_state_table, &b, &err), -EINVAL);
	CHECK_ERR(err, "APIC base");
}
