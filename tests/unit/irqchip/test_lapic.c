/* irqchip/lapic: registers, priorities, timer, x2APIC, state. */
#include "base/err.h"
#include "lapic_fixture.h"
#include "state/state.h"

#define TIMER_VECTOR 0xec

TEST(an_interrupt_is_pending_until_acknowledged_and_in_service_until_ended)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apics_post(&f, 0, 0x41);
	CHECK_EQ(f.kicks[0], 1);
	CHECK_EQ(apic_pending(&f, 0), APIC_PENDING_INTR);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_IRR + 0x20), BIT32(1));
	CHECK_EQ(apic_ack(&f, 0), 0x41);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_IRR + 0x20), 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_ISR + 0x20), BIT32(1));
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_PPR), 0x40);
	CHECK_EQ(apic_pending(&f, 0), 0);
	CHECK_EQ(apic_ack(&f, 0), -1);
	apic_write(&f, 0, LAPIC_REG_EOI, 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_ISR + 0x20), 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_PPR), 0);
	CHECK_EQ(f.eois, 0); /* it was an edge */
	apics_fini(&f);
}

TEST(priorities_nest_by_class)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apics_post(&f, 0, 0x41);
	apics_post(&f, 0, 0x52);
	CHECK_EQ(apic_ack(&f, 0), 0x52);
	CHECK_EQ(apic_pending(&f, 0), 0);
	apics_post(&f, 0, 0x5f); /* same class: waits */
	CHECK_EQ(apic_pending(&f, 0), 0);
	apics_post(&f, 0, 0x60);
	CHECK_EQ(apic_ack(&f, 0), 0x60);
	unsigned kicks = f.kicks[0];
	apic_write(&f, 0, LAPIC_REG_EOI, 0);
	CHECK_EQ(f.kicks[0], kicks); /* 0x5f still waits for 0x52 */
	apic_write(&f, 0, LAPIC_REG_EOI, 0);
	CHECK_EQ(f.kicks[0], kicks + 1);
	CHECK_EQ(apic_ack(&f, 0), 0x5f);
	apics_fini(&f);
}

TEST(the_task_priority_holds_back_and_lets_go_with_a_kick)
{
	struct apics f;
	struct vcpu_apic *a;

	apics_init(&f, 1);
	a = apic(&f, 0);
	apic_enable(&f, 0);
	a->ops->set_cr8(a, 5);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TPR), 0x50);
	apics_post(&f, 0, 0x5a);
	CHECK_EQ(apic_pending(&f, 0), 0);
	CHECK_EQ(apic_ack(&f, 0), -1);
	unsigned kicks = f.kicks[0];
	a->ops->set_cr8(a, 4);
	CHECK_EQ(f.kicks[0], kicks + 1);
	CHECK_EQ(a->ops->get_cr8(a), 4);
	CHECK_EQ(apic_ack(&f, 0), 0x5a);
	apics_fini(&f);
}

TEST(level_interrupts_are_broadcast_when_they_end)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apics_msi(&f, 0xfee00000, 0xc000 | 0x31);
	CHECK_EQ(apic_ack(&f, 0), 0x31);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TMR + 0x10), BIT32(0x11));
	apic_write(&f, 0, LAPIC_REG_EOI, 0);
	CHECK_EQ(f.eois, 1);
	CHECK_EQ(f.last_eoi, 0x31);
	apic_write(&f, 0, LAPIC_REG_SVR, 0x11ff); /* no broadcasts */
	apics_msi(&f, 0xfee00000, 0xc000 | 0x31);
	CHECK_EQ(apic_ack(&f, 0), 0x31);
	apic_write(&f, 0, LAPIC_REG_EOI, 0);
	CHECK_EQ(f.eois, 1);
	apics_fini(&f);
}

TEST(a_disabled_apic_takes_no_vectors_and_masks_its_lvts)
{
	struct apics f;

	apics_init(&f, 1);
	apics_post(&f, 0, 0x41); /* disabled after reset */
	CHECK_EQ(apic_pending(&f, 0), 0);
	apic_write(&f, 0, LAPIC_REG_LVT_ERROR, 0xfe);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_LVT_ERROR), 0x100fe);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_LVT_ERROR, 0xfe);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_LVT_ERROR), 0xfe);
	apic_write(&f, 0, LAPIC_REG_SVR, 0xff);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_LVT_ERROR), 0x100fe);
	apics_msi(&f, 0xfee00000, 0x400); /* NMIs come through */
	CHECK_EQ(apic_pending(&f, 0), APIC_PENDING_NMI);
	apics_fini(&f);
}

TEST(illegal_vectors_are_errors_and_an_illegal_error_vector_ends_there)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_LVT_ERROR, 0xfe);
	apics_post(&f, 0, 3);
	CHECK_EQ(apic_ack(&f, 0), 0xfe);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_ESR), 0);
	apic_write(&f, 0, LAPIC_REG_ESR, 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_ESR), LAPIC_ESR_RECV_VECTOR);
	apic_write(&f, 0, LAPIC_REG_LVT_ERROR, 2);
	apic_write(&f, 0, LAPIC_REG_ICR, 5);
	apic_write(&f, 0, LAPIC_REG_ESR, 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_ESR), LAPIC_ESR_SEND_VECTOR | LAPIC_ESR_RECV_VECTOR);
	apic_write(&f, 0, 0x234, 0); /* no such register */
	CHECK_EQ(apic_read(&f, 0, 0x3d0), 0);
	apic_write(&f, 0, LAPIC_REG_ESR, 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_ESR) & LAPIC_ESR_REGISTER, LAPIC_ESR_REGISTER);
	apics_fini(&f);
}

TEST(the_pic_gets_through_lint0)
{
	struct apics f;
	struct irq_line lint0;

	apics_init(&f, 2);
	lint0 = lapic_bus_lint0(f.bus);
	irq_set(&lint0, true);
	CHECK_EQ(f.kicks[0], 1);
	CHECK_EQ(apic_pending(&f, 0), APIC_PENDING_INTR);
	CHECK_EQ(apic_pending(&f, 1), 0);
	CHECK_EQ(apic_ack(&f, 0), PIC_VECTOR);
	CHECK_EQ(f.acknowledged, 1);
	CHECK_EQ(apic_pending(&f, 0), 0); /* the PIC dropped INTR; nothing is in service here */

	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_LVT_LINT0, 0x10700);
	irq_set(&lint0, true);
	CHECK_EQ(apic_pending(&f, 0), 0);
	unsigned kicks = f.kicks[0];
	apic_write(&f, 0, LAPIC_REG_LVT_LINT0, 0x700);
	CHECK_EQ(f.kicks[0], kicks + 1);
	CHECK_EQ(apic_pending(&f, 0), APIC_PENDING_INTR);
	irq_set(&lint0, false);
	CHECK_EQ(apic_pending(&f, 0), 0);

	apic_write(&f, 0, LAPIC_REG_LVT_LINT0, 0x33); /* fixed mode: an edge, no PIC */
	irq_set(&lint0, true);
	CHECK_EQ(apic_ack(&f, 0), 0x33);
	CHECK_EQ(f.acknowledged, 1);
	apics_fini(&f);
}

TEST(an_extint_message_takes_the_pics_vector)
{
	struct apics f;
	struct irq_line lint0;

	apics_init(&f, 2);
	lint0 = lapic_bus_lint0(f.bus);
	apic_enable(&f, 1);
	irq_set(&lint0, true);
	apics_msi(&f, 0xfee01000, 0x700);
	CHECK_EQ(apic_pending(&f, 1), APIC_PENDING_INTR);
	CHECK_EQ(apic_ack(&f, 1), PIC_VECTOR);
	CHECK_EQ(apic_pending(&f, 1), 0);
	apics_fini(&f);
}

TEST(the_nmi_wire_reaches_cpus_that_listen)
{
	struct apics f;
	struct vcpu_apic *a;
	struct irq_line lint1;

	apics_init(&f, 2);
	lint1 = lapic_bus_lint1(f.bus);
	apic_enable(&f, 1);
	apic_write(&f, 1, LAPIC_REG_LVT_LINT1, 0x400);
	irq_pulse(&lint1);
	CHECK_EQ(apic_pending(&f, 0), 0);
	CHECK_EQ(apic_pending(&f, 1), APIC_PENDING_NMI);
	a = apic(&f, 1);
	a->ops->take_nmi(a);
	CHECK_EQ(apic_pending(&f, 1), 0);
	apics_fini(&f);
}

TEST(registers_read_as_written_where_they_can_be)
{
	struct apics f;

	apics_init(&f, 3);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_ID), 2 << 24);
	apic_write(&f, 2, LAPIC_REG_ID, 5 << 24); /* the board's, not the guest's */
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_ID), 2 << 24);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_VERSION), LAPIC_VERSION);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_EOI), 0);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_APR), 0);
	apic_write(&f, 2, LAPIC_REG_DFR, 0);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_DFR), 0x0fffffff);
	apic_write(&f, 2, LAPIC_REG_LDR, 0xffffffff);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_LDR), 0xff000000);
	apic_write(&f, 2, LAPIC_REG_ICR_HIGH, 0xffffffff);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_ICR_HIGH), 0xff000000);
	apic_write(&f, 2, LAPIC_REG_TIMER_DIVIDE, 0xff);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_TIMER_DIVIDE), 0xb);
	apic_write(&f, 2, LAPIC_REG_LVT_PERF, 0xffffffff);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_LVT_PERF), 0x107ff);
	lapic_bus_reset(f.bus);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_DFR), 0xffffffff);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_LVT_PERF), 0x10000);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_LVT_LINT0), 0x700);
	CHECK_EQ(apic_read(&f, 2, LAPIC_REG_LVT_LINT0), 0x10000);
	apics_fini(&f);
}

/* --- timer --- */

TEST(a_one_shot_timer_fires_once)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_TIMER_DIVIDE, 0x3); /* by 16 */
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 1000);
	fake_clock_advance(f.clock, 8000);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TIMER_CURRENT), 500);
	CHECK_EQ(apic_pending(&f, 0), 0);
	fake_clock_advance(f.clock, 8000);
	CHECK_EQ(apic_ack(&f, 0), TIMER_VECTOR);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TIMER_CURRENT), 0);
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TIMER_INITIAL), 1000);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(fake_clock_fired(f.clock), 1);
	CHECK(fake_clock_is_idle(f.clock));
	apics_fini(&f);
}

TEST(a_periodic_timer_goes_on_and_a_zero_stops_it)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_TIMER_DIVIDE, 0xb); /* by 1 */
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, 0x20000 | TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 1000000);
	for (int i = 0; i < 10; i++) {
		fake_clock_advance(f.clock, 1000000);
		CHECK_EQ(apic_ack(&f, 0), TIMER_VECTOR);
		apic_write(&f, 0, LAPIC_REG_EOI, 0);
	}
	CHECK_EQ(fake_clock_fired(f.clock), 10);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 0);
	CHECK(fake_clock_is_idle(f.clock));
	/* The shortest of periods doesn't occupy the host. */
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 1);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK(fake_clock_fired(f.clock) <= 10 + 5000);
	apics_fini(&f);
}

TEST(a_changed_divider_keeps_the_count)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_TIMER_DIVIDE, 0xb);
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 1000);
	fake_clock_advance(f.clock, 400);
	apic_write(&f, 0, LAPIC_REG_TIMER_DIVIDE, 0x0); /* by 2 */
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TIMER_CURRENT), 600);
	fake_clock_advance(f.clock, 1199);
	CHECK_EQ(apic_pending(&f, 0), 0);
	fake_clock_advance(f.clock, 1);
	CHECK_EQ(apic_pending(&f, 0), APIC_PENDING_INTR);
	apics_fini(&f);
}

TEST(the_deadline_is_in_the_cpus_own_tsc)
{
	struct apics f;
	struct vcpu_apic *a;

	apics_init(&f, 1);
	a = apic(&f, 0);
	apic_enable(&f, 0);
	CHECK(apic_wrmsr(&f, 0, X86_MSR_TSC_DEADLINE, 500)); /* ignored: not that mode */
	CHECK_EQ(apic_rdmsr(&f, 0, X86_MSR_TSC_DEADLINE), 0);
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, 0x40000 | TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 77); /* likewise */
	CHECK_EQ(apic_read(&f, 0, LAPIC_REG_TIMER_INITIAL), 0);

	fake_clock_advance(f.clock, 1000); /* the VM's TSC: 2000 */
	CHECK(apic_wrmsr(&f, 0, X86_MSR_TSC_DEADLINE, 2200));
	CHECK_EQ(apic_rdmsr(&f, 0, X86_MSR_TSC_DEADLINE), 2200);
	fake_clock_advance(f.clock, 99);
	CHECK_EQ(apic_pending(&f, 0), 0);
	fake_clock_advance(f.clock, 1);
	CHECK_EQ(apic_ack(&f, 0), TIMER_VECTOR);
	CHECK_EQ(apic_rdmsr(&f, 0, X86_MSR_TSC_DEADLINE), 0);
	apic_write(&f, 0, LAPIC_REG_EOI, 0);

	a->ops->set_tsc_offset(a, -(u64)2000); /* the guest made its TSC 200 */
	CHECK(apic_wrmsr(&f, 0, X86_MSR_TSC_DEADLINE, 300));
	fake_clock_advance(f.clock, 49);
	CHECK_EQ(apic_pending(&f, 0), 0);
	fake_clock_advance(f.clock, 1);
	CHECK_EQ(apic_ack(&f, 0), TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_EOI, 0);

	a->ops->set_tsc_offset(a, 1000000); /* ahead: the past fires at once */
	CHECK(apic_wrmsr(&f, 0, X86_MSR_TSC_DEADLINE, 10));
	fake_clock_advance(f.clock, 0);
	CHECK_EQ(apic_ack(&f, 0), TIMER_VECTOR);
	CHECK(apic_wrmsr(&f, 0, X86_MSR_TSC_DEADLINE, ~(u64)0));
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, TIMER_VECTOR); /* leaving the mode disarms */
	CHECK(fake_clock_is_idle(f.clock));
	apics_fini(&f);
}

TEST(a_masked_timer_expires_silently)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, 0x50000 | TIMER_VECTOR);
	CHECK(apic_wrmsr(&f, 0, X86_MSR_TSC_DEADLINE, 100));
	fake_clock_advance(f.clock, 1000);
	CHECK_EQ(apic_rdmsr(&f, 0, X86_MSR_TSC_DEADLINE), 0);
	CHECK_EQ(apic_pending(&f, 0), 0);
	apics_fini(&f);
}

/* --- modes --- */

TEST(apic_base_follows_the_transition_table)
{
	const u64 en = X86_APIC_BASE_ENABLE, extd = X86_APIC_BASE_X2APIC, at = 0xfee00000;
	struct apics f;

	apics_init(&f, 2);
	CHECK_EQ(apic_rdmsr(&f, 0, X86_MSR_APIC_BASE), at | en | X86_APIC_BASE_BSP);
	CHECK_EQ(apic_rdmsr(&f, 1, X86_MSR_APIC_BASE), at | en);
	CHECK(!apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at | extd));
	CHECK(!apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at | en | 1));
	CHECK(!apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, BIT(40) | en));
	CHECK(apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, 0x12345000 | en));
	CHECK(apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at | en | extd));
	CHECK(!apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at | en)); /* x2APIC to xAPIC */
	CHECK(apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at));       /* off */
	CHECK(!apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at | en | extd));
	CHECK(apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, at | en));
	CHECK_EQ(apic_read(&f, 1, LAPIC_REG_SVR), 0xff); /* as after power-on */
	apics_fini(&f);
}

TEST(x2apic_registers_are_msrs_with_their_own_rules)
{
	struct apics f;

	apics_init(&f, 20);
	CHECK_EQ(apic_rdmsr(&f, 19, 0x802), APIC_GP); /* not in xAPIC mode */
	CHECK(!apic_wrmsr(&f, 19, 0x808, 0));
	apic_enable_x2apic(&f, 19);
	CHECK_EQ(apic_rdmsr(&f, 19, 0x802), 19);
	CHECK_EQ(apic_rdmsr(&f, 19, 0x803), LAPIC_VERSION);
	CHECK_EQ(apic_rdmsr(&f, 19, 0x80d), 1 << 16 | 1 << 3);
	CHECK(!apic_wrmsr(&f, 19, 0x80d, 1)); /* read-only */
	CHECK(!apic_wrmsr(&f, 19, 0x802, 1));
	CHECK_EQ(apic_rdmsr(&f, 19, 0x80b), APIC_GP); /* write-only */
	CHECK_EQ(apic_rdmsr(&f, 19, 0x83f), APIC_GP);
	CHECK(!apic_wrmsr(&f, 19, 0x80b, 1));
	CHECK(apic_wrmsr(&f, 19, 0x80b, 0));
	CHECK(!apic_wrmsr(&f, 19, 0x828, 1));
	CHECK(!apic_wrmsr(&f, 19, 0x808, 0x100));
	CHECK(!apic_wrmsr(&f, 19, 0x832, BIT(32) | 0xec));
	CHECK(!apic_wrmsr(&f, 19, 0x830, BIT(20)));
	CHECK_EQ(apic_rdmsr(&f, 19, 0x80e), APIC_GP); /* DFR, ICR's high half, CMCI: none */
	CHECK_EQ(apic_rdmsr(&f, 19, 0x831), APIC_GP);
	CHECK_EQ(apic_rdmsr(&f, 19, 0x82f), APIC_GP);
	CHECK_EQ(apic_rdmsr(&f, 19, 0x8ff), APIC_GP);
	CHECK(apic_wrmsr(&f, 19, 0x83f, 0x77)); /* to itself */
	CHECK_EQ(apic_ack(&f, 19), 0x77);
	apics_fini(&f);
}

TEST(init_resets_all_but_base_and_id)
{
	struct apics f;
	struct vcpu_apic *a;

	apics_init(&f, 2);
	apic_enable_x2apic(&f, 1);
	apics_post(&f, 1, 0x50);
	apics_msi(&f, 0xfee01000, 0x500);
	CHECK_EQ(apic_pending(&f, 1) & APIC_PENDING_INIT, APIC_PENDING_INIT);
	a = apic(&f, 1);
	a->ops->take_init(a);
	CHECK_EQ(apic_pending(&f, 1), 0);
	CHECK(apic_rdmsr(&f, 1, X86_MSR_APIC_BASE) & X86_APIC_BASE_X2APIC);
	CHECK_EQ(apic_rdmsr(&f, 1, 0x80f), 0xff);
	CHECK_EQ(apic_rdmsr(&f, 1, 0x80d), 2);
	apics_fini(&f);
}

/* --- state --- */

TEST(the_state_travels)
{
	struct x86_lapic_state state, again;
	struct err err = ERR_INIT;
	struct apics from, to;
	struct vcpu_apic *a;

	apics_init(&from, 2);
	apics_init(&to, 2);
	apic_enable(&from, 1);
	apic_write(&from, 1, LAPIC_REG_LDR, 0x02000000);
	apic_write(&from, 1, LAPIC_REG_TPR, 0x20);
	apic_write(&from, 1, LAPIC_REG_TIMER_DIVIDE, 0xb);
	apic_write(&from, 1, LAPIC_REG_LVT_TIMER, TIMER_VECTOR);
	apic_write(&from, 1, LAPIC_REG_TIMER_INITIAL, 5000);
	apics_msi(&from, 0xfee01000, 0xc000 | 0x91);
	CHECK_EQ(apic_ack(&from, 1), 0x91);
	apics_post(&from, 1, 0xa0);
	apic_write(&from, 0, LAPIC_REG_ICR_HIGH, 1 << 24);
	apic_write(&from, 0, LAPIC_REG_ICR, 0x4600 | 0x9a);
	apics_msi(&from, 0xfee01000, 0x400);
	fake_clock_advance(from.clock, 1000);
	fake_clock_advance(to.clock, 1000);

	lapic_get_state(apic(&from, 1), &state);
	CHECK(state.sipi_pending && state.sipi_vector == 0x9a && state.nmi_pending);
	CHECK_EQ(lapic_set_state(apic(&to, 1), &state, &err), 0);
	lapic_get_state(apic(&to, 1), &again);
	CHECK_MEM(&again, &state, sizeof(state));

	a = apic(&to, 1);
	CHECK_EQ(apic_pending(&to, 1), APIC_PENDING_INTR | APIC_PENDING_NMI | APIC_PENDING_SIPI);
	CHECK_EQ(a->ops->take_sipi(a), 0x9a);
	CHECK_EQ(apic_read(&to, 1, LAPIC_REG_PPR), 0x90);
	CHECK_EQ(apic_read(&to, 1, LAPIC_REG_TIMER_CURRENT), 4000);
	fake_clock_advance(to.clock, 4000);
	CHECK_EQ(apic_ack(&to, 1), TIMER_VECTOR);
	apics_fini(&from);
	apics_fini(&to);
}

TEST(a_timer_that_is_due_is_saved_as_fired)
{
	struct x86_lapic_state state;
	struct err err = ERR_INIT;
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_TIMER_DIVIDE, 0xb);
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 5000);
	fake_clock_advance(f.clock, 5000);
	CHECK_EQ(apic_ack(&f, 0), TIMER_VECTOR);
	apic_write(&f, 0, LAPIC_REG_EOI, 0);
	lapic_get_state(apic(&f, 0), &state);
	CHECK_EQ(lapic_set_state(apic(&f, 0), &state, &err), 0);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(apic_pending(&f, 0), 0); /* not a second time */
	apics_fini(&f);
}

TEST(the_state_goes_through_its_table)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct x86_lapic_state state, again = {0};
	struct state_reader *r;
	struct err err = ERR_INIT;
	const char *name;
	struct apics f;
	const void *data;
	u32 instance;
	size_t size;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apics_msi(&f, 0xfee00000, 0x700); /* ExtINT */
	apics_post(&f, 0, 0xa0);
	lapic_get_state(apic(&f, 0), &state);
	CHECK(state.extint_pending);
	state_save(w, &x86_lapic_state_table, 0, &state);
	data = state_writer_finish(w, &size);
	r = state_reader_new(data, size);
	CHECK_EQ(state_reader_next(r, &name, &instance, &err), 1);
	CHECK_EQ(state_load(r, &x86_lapic_state_table, &again, &err), 0);
	CHECK_MEM(&again, &state, sizeof(state));
	CHECK_EQ(lapic_set_state(apic(&f, 0), &again, &err), 0);
	state_reader_free(r);
	apics_fini(&f);
}

TEST(a_deadline_is_loaded_running)
{
	struct x86_lapic_state state;
	struct err err = ERR_INIT;
	struct apics f;

	apics_init(&f, 2);
	apic_enable_x2apic(&f, 1);
	CHECK(apic_wrmsr(&f, 1, 0x832, 0x40000 | TIMER_VECTOR));
	CHECK(apic_wrmsr(&f, 1, X86_MSR_TSC_DEADLINE, 4000));
	apics_msi(&f, 0xfee01000, 0x500);
	lapic_get_state(apic(&f, 1), &state);
	lapic_bus_reset(f.bus);
	CHECK(fake_clock_is_idle(f.clock));
	CHECK_EQ(lapic_set_state(apic(&f, 1), &state, &err), 0);
	CHECK_EQ(apic_pending(&f, 1), APIC_PENDING_INIT);
	CHECK_EQ(apic_rdmsr(&f, 1, 0x83e), 0);
	CHECK_EQ(apic_rdmsr(&f, 1, 0x830), 0);
	fake_clock_advance(f.clock, 2000);
	CHECK_EQ(apic_ack(&f, 1), TIMER_VECTOR);
	apics_fini(&f);
}

TEST(nonsense_is_not_loaded)
{
	struct x86_lapic_state good, bad;
	struct err err = ERR_INIT;
	struct apics f;

	apics_init(&f, 1);
	lapic_get_state(apic(&f, 0), &good);
	bad = good;
	bad.id = 7;
	CHECK_EQ(lapic_set_state(apic(&f, 0), &bad, &err), -EINVAL);
	CHECK_ERR(err, "id 7");
	bad = good;
	bad.base = X86_APIC_BASE_X2APIC;
	CHECK_EQ(lapic_set_state(apic(&f, 0), &bad, &err), -EINVAL);
	bad = good;
	bad.irr[0] = 1;
	CHECK_EQ(lapic_set_state(apic(&f, 0), &bad, &err), -EINVAL);
	bad = good;
	bad.timer_divide = ~0u;
	CHECK_EQ(lapic_set_state(apic(&f, 0), &bad, &err), -EINVAL);
	apics_fini(&f);
}
