/*
 * What vCPUs ask of each other: flushes that must have happened everywhere before someone goes on.
 *
 * A vCPU is inside while its thread may use its TLBs, and outside while it is halted, in a device's
 * callback, waiting for another, or not in run at all. Coming inside it serves the flushes it was
 * asked for before it does anything else; so someone who waits for a flush need not wait for a
 * vCPU that is outside. Whoever waits is outside himself: two that wait for each other both pass.
 *
 * The argument: the asker sets the request bit, then looks at is_inside; the vCPU sets is_inside,
 * then looks at the request. All four are sequentially consistent, so one of the two sees the
 * other. The asker sets the bit, then counts in flush_wanted; who serves reads the count, then takes the bits: what
 * it says is done was asked for by a bit that it, or an earlier one, took. A bit that is taken before it is counted is
 * served, but nobody says so: an asker who has waited for some time asks again.
 *
 * A page of code that is new wants the write permission of one page back. There is room for one such page for each
 * vCPU; while another waits there, all write permissions go.
 */
#ifndef ACCEL_SOFT_SYNC_H
#define ACCEL_SOFT_SYNC_H

#include "accel/soft/cpu.h"

struct gmem_block;
struct sx_accel;

#define SX_REQ_FLUSHES (SX_REQ_FLUSH_TLB | SX_REQ_FLUSH_WRITES | SX_REQ_FLUSH_PAGE)

void sx_outside_begin(struct sx_cpu *c);
/* Of a counted clock: outside, until the devices have done what the guest asked of them, and timers that
 * are due have fired. Harmless for others. */
void sx_settle_devices(struct sx_cpu *c);
void sx_outside_end(struct sx_cpu *c); /* serves flushes: host pointers taken before are stale */

/* Sets request bits and wakes a halted vCPU. Any thread; async-signal-safe. */
void sx_request(struct sx_cpu *c, u32 bits);
/* Waits until some request other than SX_REQ_STEP is there. The vCPU is outside meanwhile. */
void sx_wait_request(struct sx_cpu *c);
/* The requested flushes. */
void sx_serve_flushes(struct sx_cpu *c);

/* Asks all vCPUs but self (NULL: none) for flushes, and returns when they are done. Any thread. */
void sx_flush_everywhere(struct sx_accel *a, struct sx_cpu *self, u32 flushes);

/*
 * Code words changed. Loops of native code look at the request word alone, so it has to be set for whoever may be in one:
 * all but self, whose callout looks at the word; NULL: all. One that sleeps need not be woken. Any thread.
 */
void sx_ask_to_look_at_code(struct sx_accel *a, struct sx_cpu *self);
/* c is about to write a page that holds code. */
void sx_code_written(struct sx_cpu *c, struct gmem_block *b, u64 page);

/* As gmem_code_mark; and no vCPU can write the page by its TLB when it returns. */
u32 sx_code_mark(struct sx_cpu *c, struct gmem_block *b, u64 page);

#endif
