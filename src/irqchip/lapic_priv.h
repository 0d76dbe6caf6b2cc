/*
 * Inside the local APIC model: the struct, and what its files call of each other.
 *
 *     lapic.c        registers, as the vCPU's own thread reads and writes them
 *     lapic_post.c   what other threads do to an APIC: post, signal errors
 *     lapic_timer.c  the timer
 *     lapic_bus.c    who gets a message
 *     lapic_state.c  reset, save, load
 */
#ifndef IRQCHIP_LAPIC_PRIV_H
#define IRQCHIP_LAPIC_PRIV_H

#include <pthread.h>

#include "clock/vclock.h"
#include "irqchip/lapic.h"
#include "irqchip/lapic_regs.h"

#define LAPIC_WORDS        8  /* of a register that has a bit for each vector */
#define LAPIC_FIRST_VECTOR 16 /* lower ones are illegal (SDM 3A, 10.5.2) */

/* In lapic.events, beside APIC_PENDING_NMI, INIT and SIPI: a message in ExtINT mode has come. */
#define LAPIC_EVENT_EXTINT     APIC_PENDING_INTR
#define LAPIC_EVENT_SIPI_SHIFT 8 /* the start page */

struct lapic_timer {
	struct vtimer host;
	/* The lock guards all below, and lvt[LAPIC_LVT_TIMER]'s changes. */
	pthread_mutex_t lock;
	u32 initial, divide;
	u64 start_ns; /* VM clock at which the running count began */
	u64 tsc_deadline;
	u64 tsc_offset; /* of the CPU's TSC from the VM clock's */
	u64 target_ns;  /* valid when running */
	bool is_running;
};

struct lapic {
	struct vcpu_apic apic;
	struct lapic_bus *bus;
	u32 id;
	struct vcpu *vcpu; /* NULL until attached */

	/* Any thread, atomic. */
	u32 irr[LAPIC_WORDS], tmr[LAPIC_WORDS];
	u32 events;
	u32 esr_pending;

	/* Written by the vCPU's thread, read by any: relaxed atomics. */
	u64 base;
	u32 tpr, ldr, dfr, svr;
	u32 lvt[LAPIC_LVTS];

	/* The vCPU's thread only. */
	u32 isr[LAPIC_WORDS];
	u8 ppr;
	u32 esr;
	u64 icr;

	struct lapic_timer timer;
};

struct lapic_bus {
	struct lapic_bus_config config;
	bool lint0, lint1; /* atomic: levels of the wires */
	struct lapic cpus[ACCEL_MAX_VCPUS];
};

#define lapic_load(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define lapic_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

static inline bool lapic_is_enabled(const struct lapic *l)
{
	return lapic_load(&l->base) & X86_APIC_BASE_ENABLE;
}

static inline bool lapic_is_x2apic(const struct lapic *l)
{
	return lapic_load(&l->base) & X86_APIC_BASE_X2APIC;
}

/* Cluster and bit of an x2APIC id (SDM 3A, 10.12.10.2). */
static inline u32 lapic_x2apic_ldr(u32 id)
{
	return (id >> 4) << 16 | BIT32(id & 0xf);
}

/* lapic_post.c: any thread */
void lapic_kick(struct lapic *l);
void lapic_post(struct lapic *l, u8 vector, bool is_level);
void lapic_post_event(struct lapic *l, u32 event);
void lapic_post_sipi(struct lapic *l, u8 page);
void lapic_post_lvt(struct lapic *l, enum x86_lapic_lvt which);
void lapic_error(struct lapic *l, u32 esr_bit);
int lapic_highest(const u32 bits[LAPIC_WORDS]); /* vector, or -1 */

/* lapic_timer.c: the vCPU's thread */
void lapic_timer_init(struct lapic *l);
void lapic_timer_fini(struct lapic *l);
void lapic_timer_reset(struct lapic *l);
void lapic_timer_set_lvt(struct lapic *l, u32 value);
void lapic_timer_set_initial(struct lapic *l, u32 value);
void lapic_timer_set_divide(struct lapic *l, u32 value);
void lapic_timer_set_deadline(struct lapic *l, u64 tsc);
void lapic_timer_set_tsc_offset(struct lapic *l, u64 offset);
u32 lapic_timer_initial(struct lapic *l);
u32 lapic_timer_divide(struct lapic *l);
u32 lapic_timer_current(struct lapic *l);
u64 lapic_timer_deadline(struct lapic *l);
void lapic_timer_save(struct lapic *l, struct x86_lapic_state *out);
void lapic_timer_load(struct lapic *l, const struct x86_lapic_state *in);

/* lapic_bus.c: sends what the ICR says, on the sender's thread */
void lapic_bus_send_ipi(struct lapic *from, u64 icr);
void lapic_bus_eoi(struct lapic_bus *bus, u8 vector);

/* lapic.c */
extern const struct vcpu_apic_ops lapic_ops;
void lapic_update_ppr(struct lapic *l);

/* lapic_state.c */
void lapic_reset(struct lapic *l, bool is_init);
bool lapic_base_is_valid(const struct lapic_bus *bus, u64 base);

#endif
