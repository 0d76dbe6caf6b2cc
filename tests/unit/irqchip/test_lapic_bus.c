/* irqchip/lapic_bus: destinations and delivery modes. */
#include "lapic_fixture.h"

/* The CPUs at which the vector waits, as bits; takes and ends it there. */
static u32 take_everywhere(struct apics *f, unsigned n_cpus, int vector)
{
	u32 set = 0;

	for (unsigned i = 0; i < n_cpus; i++) {
		struct vcpu_apic *a = apic(f, i);

		if (apic_ack(f, i) != vector)
			continue;
		set |= BIT32(i);
		if (!a->ops->msr_write(a, 0x80b, 0))
			a->ops->mmio_write(a, LAPIC_REG_EOI, 0);
	}
	return set;
}

static void enable_all(struct apics *f, unsigned n_cpus, bool is_x2apic)
{
	for (unsigned i = 0; i < n_cpus; i++) {
		if (is_x2apic)
			apic_enable_x2apic(f, i);
		else
			apic_enable(f, i);
	}
}

TEST(physical_messages_reach_one_and_0xff_reaches_all_of_32)
{
	struct apics f;

	apics_init(&f, 32);
	enable_all(&f, 32, false);
	apics_msi(&f, 0xfee1f000, 0x40);
	CHECK_EQ(take_everywhere(&f, 32, 0x40), BIT32(31));
	apics_msi(&f, 0xfeeff000, 0x40);
	CHECK_EQ(take_everywhere(&f, 32, 0x40), 0xffffffff);
	apics_msi(&f, 0xfee20000, 0x40);          /* nobody */
	apics_msi(&f, 0xfee1f000 | 1 << 5, 0x40); /* id 0x11f: nobody */
	apics_msi(&f, 0xfed1f000, 0x40);          /* not the APICs' range */
	apics_msi(&f, 0x1fee1f000, 0x40);
	CHECK_EQ(take_everywhere(&f, 32, 0x40), 0);
	apics_fini(&f);
}

TEST(flat_logical_destinations_are_bits)
{
	struct apics f;

	apics_init(&f, 4);
	enable_all(&f, 4, false);
	for (unsigned i = 0; i < 4; i++)
		apic_write(&f, i, LAPIC_REG_LDR, 1u << (24 + i));
	apics_msi(&f, 0xfee00000 | 0x0a << 12 | 4, 0x40);
	CHECK_EQ(take_everywhere(&f, 4, 0x40), 0xa);
	apics_msi(&f, 0xfee00000 | 0xf0 << 12 | 4, 0x40);
	CHECK_EQ(take_everywhere(&f, 4, 0x40), 0);
	apics_fini(&f);
}

TEST(clusters_hold_four)
{
	struct apics f;

	apics_init(&f, 8);
	enable_all(&f, 8, false);
	for (unsigned i = 0; i < 8; i++) {
		apic_write(&f, i, LAPIC_REG_DFR, 0x0fffffff);
		apic_write(&f, i, LAPIC_REG_LDR, (i / 4) << 28 | 1u << (24 + i % 4));
	}
	apics_msi(&f, 0xfee00000 | 0x16 << 12 | 4, 0x40);
	CHECK_EQ(take_everywhere(&f, 8, 0x40), 0x60);
	apics_msi(&f, 0xfee00000 | 0xff << 12 | 4, 0x40);
	CHECK_EQ(take_everywhere(&f, 8, 0x40), 0xff);
	apics_fini(&f);
}

TEST(x2apic_clusters_hold_sixteen)
{
	struct apics f;

	apics_init(&f, 32);
	enable_all(&f, 32, true);
	/* Logical, cluster 1, CPUs 16 and 31; then physical, broadcast, and to oneself. */
	CHECK(apic_wrmsr(&f, 0, 0x830, (u64)(1 << 16 | 0x8001) << 32 | 0x800 | 0x40));
	CHECK_EQ(take_everywhere(&f, 32, 0x40), BIT32(16) | BIT32(31));
	CHECK(apic_wrmsr(&f, 0, 0x830, (u64)21 << 32 | 0x40));
	CHECK_EQ(take_everywhere(&f, 32, 0x40), BIT32(21));
	CHECK(apic_wrmsr(&f, 0, 0x830, (u64)0xffffffff << 32 | 0x40));
	CHECK_EQ(take_everywhere(&f, 32, 0x40), 0xffffffff);
	CHECK(apic_wrmsr(&f, 0, 0x830, (u64)0xff << 32 | 0x40)); /* an id, here: nobody's */
	CHECK_EQ(take_everywhere(&f, 32, 0x40), 0);
	apics_fini(&f);
}

TEST(shorthands_need_no_destination)
{
	struct apics f;

	apics_init(&f, 3);
	enable_all(&f, 3, false);
	apic_write(&f, 1, LAPIC_REG_ICR, 0x40000 | 0x40);
	CHECK_EQ(take_everywhere(&f, 3, 0x40), 2);
	apic_write(&f, 1, LAPIC_REG_ICR, 0x80000 | 0x40);
	CHECK_EQ(take_everywhere(&f, 3, 0x40), 7);
	apic_write(&f, 1, LAPIC_REG_ICR, 0xc0000 | 0x40);
	CHECK_EQ(take_everywhere(&f, 3, 0x40), 5);
	CHECK_EQ(apic_read(&f, 1, LAPIC_REG_ICR), 0xc0040); /* idle: bit 12 is clear */
	apic_write(&f, 1, LAPIC_REG_ICR, 0x40400);          /* an NMI to oneself isn't valid */
	CHECK_EQ(apic_pending(&f, 1), 0);
	apics_fini(&f);
}

TEST(a_cpu_is_started_by_init_and_sipi)
{
	struct apics f;
	struct vcpu_apic *a;

	apics_init(&f, 2);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_ICR_HIGH, 1 << 24);
	apic_write(&f, 0, LAPIC_REG_ICR, 0xc500);
	apic_write(&f, 0, LAPIC_REG_ICR, 0x8500); /* de-assert: nothing */
	a = apic(&f, 1);
	CHECK_EQ(apic_pending(&f, 1), APIC_PENDING_INIT);
	a->ops->take_init(a);
	apic_write(&f, 0, LAPIC_REG_ICR, 0x4600 | 0x9f);
	apic_write(&f, 0, LAPIC_REG_ICR, 0x4600 | 0x11); /* the first one counts */
	CHECK_EQ(apic_pending(&f, 1), APIC_PENDING_SIPI);
	CHECK_EQ(f.kicks[1], 3 - 1);
	CHECK_EQ(a->ops->take_sipi(a), 0x9f);
	CHECK_EQ(apic_pending(&f, 1), 0);
	CHECK_EQ(apic_pending(&f, 0), 0);
	apic_write(&f, 0, LAPIC_REG_ICR, 0x400); /* NMI */
	CHECK_EQ(apic_pending(&f, 1), APIC_PENDING_NMI);
	apics_fini(&f);
}

TEST(lowest_priority_goes_to_one_that_is_least_busy)
{
	struct apics f;
	unsigned hits[4] = {0};

	apics_init(&f, 4);
	enable_all(&f, 4, false);
	for (unsigned i = 0; i < 4; i++)
		apic_write(&f, i, LAPIC_REG_LDR, 1u << (24 + i));
	apic_write(&f, 0, LAPIC_REG_TPR, 0x10);
	apic_write(&f, 2, LAPIC_REG_SVR, 0xff); /* disabled */
	for (int vector = 0x40; vector < 0x60; vector++) {
		u32 set;

		apics_msi(&f, 0xfee0f004, 0x100 | (u32)vector);
		set = take_everywhere(&f, 4, vector);
		CHECK_EQ(__builtin_popcount(set), 1);
		hits[__builtin_ctz(set)]++;
	}
	CHECK_EQ(hits[0], 0);
	CHECK_EQ(hits[2], 0);
	CHECK_EQ(hits[1], 16);
	CHECK_EQ(hits[3], 16);
	apics_msi(&f, 0xfee0f000 | 0xc, 0x41); /* the redirection hint is as good */
	CHECK_EQ(__builtin_popcount(take_everywhere(&f, 4, 0x41)), 1);
	apics_fini(&f);
}

TEST(an_apic_that_is_off_takes_nothing)
{
	struct apics f;

	apics_init(&f, 2);
	enable_all(&f, 2, false);
	CHECK(apic_wrmsr(&f, 1, X86_MSR_APIC_BASE, 0xfee00000));
	CHECK_EQ(lapic_vcpu(f.bus, 1)->ops->base(lapic_vcpu(f.bus, 1)), 0xfee00000);
	apics_msi(&f, 0xfeeff000, 0x40);
	apics_msi(&f, 0xfee01000, 0x400);
	CHECK_EQ(take_everywhere(&f, 2, 0x40), 1);
	CHECK_EQ(apic_pending(&f, 1), 0);
	apic_write(&f, 0, LAPIC_REG_SVR, 0xff); /* lowest priority: there is nobody */
	apics_msi(&f, 0xfeeff000, 0x140);
	CHECK_EQ(apic_pending(&f, 0), 0);
	apics_fini(&f);
}

TEST(start_up_and_smi_messages_from_devices_do_nothing)
{
	struct apics f;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apics_msi(&f, 0xfee00000, 0x600);
	apics_msi(&f, 0xfee00000, 0x200);
	apics_msi(&f, 0xfee00000, 0x300);
	CHECK_EQ(apic_pending(&f, 0), 0);
	apics_fini(&f);
}
