/* irqchip/lapic: posted from several threads, taken on one. To be run under ThreadSanitizer too. */
#include <pthread.h>

#include "lapic_fixture.h"

#define POSTERS 3
#define ROUNDS  20000

struct poster {
	struct apics *f;
	u8 vector;
	u32 sent, taken; /* atomic */
};

/* Each posts its own vector, and again only when that was taken: none may be lost or doubled. */
static void *poster_main(void *arg)
{
	struct poster *p = (struct poster *)arg;

	for (u32 i = 0; i < ROUNDS; i++) {
		__atomic_store_n(&p->sent, i + 1, __ATOMIC_RELAXED);
		apics_msi(p->f, 0xfee00000, p->vector | (i & 1 ? 0xc000u : 0));
		while (__atomic_load_n(&p->taken, __ATOMIC_ACQUIRE) != i + 1)
			sched_yield();
	}
	return NULL;
}

static struct poster *poster_of(struct poster *posters, int vector)
{
	for (int i = 0; i < POSTERS; i++)
		if (posters[i].vector == vector)
			return &posters[i];
	return NULL;
}

TEST(no_interrupt_is_lost_between_threads)
{
	struct poster posters[POSTERS];
	pthread_t threads[POSTERS];
	struct apics f;
	u32 total = 0;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){.f = &f, .vector = (u8)(0x41 + 0x20 * i)};
		CHECK_EQ(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
	}
	while (total < POSTERS * ROUNDS) {
		int vector = apic_pending(&f, 0) ? apic_ack(&f, 0) : -1;
		struct poster *p = poster_of(posters, vector);

		if (vector < 0) {
			sched_yield();
			continue;
		}
		CHECK(p);
		apic_write(&f, 0, LAPIC_REG_EOI, 0);
		CHECK_EQ(p->taken + 1, __atomic_load_n(&p->sent, __ATOMIC_RELAXED));
		__atomic_store_n(&p->taken, p->taken + 1, __ATOMIC_RELEASE);
		total++;
	}
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(f.eois, POSTERS * ROUNDS / 2);
	CHECK(f.kicks[0] >= POSTERS * ROUNDS);
	CHECK_EQ(apic_pending(&f, 0), 0);
	apics_fini(&f);
}

/* The clock moves on one thread (the loop's part) while the vCPU's thread programs its timer. */
static void *ticker_main(void *arg)
{
	struct apics *f = (struct apics *)arg;

	for (int i = 0; i < ROUNDS; i++)
		fake_clock_advance(f->clock, 100000);
	return NULL;
}

TEST(the_timer_is_programmed_while_it_fires)
{
	struct apics f;
	pthread_t ticker;
	u32 fired = 0;

	apics_init(&f, 1);
	apic_enable(&f, 0);
	apic_write(&f, 0, LAPIC_REG_TIMER_DIVIDE, 0xb);
	CHECK_EQ(pthread_create(&ticker, NULL, ticker_main, &f), 0);
	for (u32 i = 0; i < ROUNDS; i++) {
		apic_write(&f, 0, LAPIC_REG_LVT_TIMER, (i & 1 ? 0x20000 : 0) | 0xec);
		apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, i % 7 ? 50000 : 0);
		(void)apic_read(&f, 0, LAPIC_REG_TIMER_CURRENT);
		if (apic_ack(&f, 0) == 0xec) {
			fired++;
			apic_write(&f, 0, LAPIC_REG_EOI, 0);
		}
	}
	pthread_join(ticker, NULL);
	apic_write(&f, 0, LAPIC_REG_LVT_TIMER, 0xec);
	apic_write(&f, 0, LAPIC_REG_TIMER_INITIAL, 1000);
	fake_clock_advance(f.clock, 1000);
	CHECK_EQ(apic_ack(&f, 0), 0xec);
	apics_fini(&f);
}
