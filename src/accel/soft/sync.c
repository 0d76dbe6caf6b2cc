/*
 * Requests between vCPUs, and the flush rounds (see sync.h for the argument).
 *
 * flush_wanted counts the flushes asked for, flush_done says up to which they are served. A waiter
 * sleeps on sync_seq, which changes whenever a flush was served or the vCPU went outside.
 */
#include "accel/soft/sync.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/soft/accel_priv.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/tlb.h"

#define SYNC_SPINS 200 /* before the waiter sleeps */

static void futex_wait(const u32 *word, u32 value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(const u32 *word)
{
	int saved = errno; /* for signal handlers */

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}

static void sync_progressed(struct sx_cpu *c)
{
	__atomic_fetch_add(&c->sync_seq, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->sync_waiters, __ATOMIC_SEQ_CST))
		futex_wake(&c->sync_seq);
}

void sx_outside_begin(struct sx_cpu *c)
{
	sx_fpu_sync(c); /* the host's own registers for whatever runs now */
	__atomic_store_n(&c->is_inside, 0, __ATOMIC_SEQ_CST);
	sync_progressed(c);
}

void sx_outside_end(struct sx_cpu *c)
{
	__atomic_store_n(&c->is_inside, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->request, __ATOMIC_SEQ_CST) & SX_REQ_FLUSHES)
		sx_serve_flushes(c);
}

void sx_request(struct sx_cpu *c, u32 bits)
{
	__atomic_fetch_or(&c->request, bits, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->is_sleeping, __ATOMIC_SEQ_CST))
		futex_wake(&c->request);
}

void sx_settle_devices(struct sx_cpu *c)
{
	const struct accel_host *h = &c->accel->accel.host;

	if (!c->is_counted)
		return;
	sx_outside_begin(c);
	h->settle(h->opaque);
	sx_outside_end(c);
}

static bool is_requested(const struct sx_cpu *c)
{
	return __atomic_load_n(&c->request, __ATOMIC_SEQ_CST) & ~(u32)SX_REQ_STEP;
}

/* Nothing is counted while the guest sleeps: its clock goes from timer to timer. */
static void skip_until_request(struct sx_cpu *c)
{
	const struct accel_host *h = &c->accel->accel.host;

	h->settle(h->opaque);
	while (!is_requested(c) && h->skip(h->opaque))
		;
}

void sx_wait_request(struct sx_cpu *c)
{
	u32 r;

	sx_count(c, SX_N_EXIT_HALT);
	sx_outside_begin(c);
	gmem_leave(c->accel->accel.gmem);
	if (c->is_counted)
		skip_until_request(c);
	__atomic_store_n(&c->is_sleeping, 1, __ATOMIC_SEQ_CST);
	while (!((r = __atomic_load_n(&c->request, __ATOMIC_SEQ_CST)) & ~(u32)SX_REQ_STEP))
		futex_wait(&c->request, r);
	__atomic_store_n(&c->is_sleeping, 0, __ATOMIC_RELAXED);
	gmem_enter(c->accel->accel.gmem);
	c->map = gmem_current_map(c->accel->accel.gmem);
	c->last_range = NULL;
	sx_outside_end(c);
}

void sx_serve_flushes(struct sx_cpu *c)
{
	/* The asker sets a bit, then counts: what is counted by now is in r, or was served. */
	u32 wanted = __atomic_load_n(&c->flush_wanted, __ATOMIC_SEQ_CST);
	u32 r = __atomic_fetch_and(&c->request, ~(u32)SX_REQ_FLUSHES, __ATOMIC_SEQ_CST);
	const u8 *page = NULL;

	if (r & SX_REQ_FLUSH_TLB) {
		sx_count(c, SX_N_REQUEST_FLUSH_TLB);
		/* A new memory map: let go of the old one. */
		gmem_leave(c->accel->accel.gmem);
		gmem_enter(c->accel->accel.gmem);
		c->map = gmem_current_map(c->accel->accel.gmem);
		c->last_range = NULL;
		sx_tlb_flush(c);
	}
	if (r & SX_REQ_FLUSH_WRITES) {
		sx_count(c, SX_N_REQUEST_FLUSH_WRITES);
		sx_tlb_flush_writes(c);
	}
	if (r & SX_REQ_FLUSH_PAGE)
		page = __atomic_exchange_n(&c->flush_page, NULL, __ATOMIC_SEQ_CST);
	if (page) {
		sx_count(c, SX_N_REQUEST_FLUSH_PAGE);
		sx_tlb_flush_writes_to(c, page);
	}
	__atomic_store_n(&c->flush_done, wanted, __ATOMIC_SEQ_CST);
	sync_progressed(c);
}

/* Has c done what was asked, or will it before it uses its TLB again? */
static bool flush_is_safe(struct sx_cpu *c, u32 wanted)
{
	if (!__atomic_load_n(&c->is_inside, __ATOMIC_SEQ_CST))
		return true;
	return (i32)(__atomic_load_n(&c->flush_done, __ATOMIC_SEQ_CST) - wanted) >= 0;
}

static void flush_wait(struct sx_cpu *c, u32 wanted)
{
	for (unsigned k = 0; k < SYNC_SPINS; k++) {
		if (flush_is_safe(c, wanted))
			return;
		__builtin_ia32_pause();
	}
	__atomic_fetch_add(&c->sync_waiters, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		u32 seq = __atomic_load_n(&c->sync_seq, __ATOMIC_SEQ_CST);

		if (flush_is_safe(c, wanted))
			break;
		/* It may have been served before it was counted; then nothing asks c to say so but this. */
		__atomic_fetch_or(&c->request, SX_REQ_FLUSH_PAGE, __ATOMIC_SEQ_CST);
		futex_wait(&c->sync_seq, seq);
	}
	__atomic_fetch_sub(&c->sync_waiters, 1, __ATOMIC_SEQ_CST);
}

/* There is room for one page; where another waits, all that c may write goes. */
static u32 flush_of_page(struct sx_cpu *c, const u8 *page)
{
	const u8 *none = NULL;

	return __atomic_compare_exchange_n(&c->flush_page, &none, page, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST)
		       ? SX_REQ_FLUSH_PAGE
		       : SX_REQ_FLUSH_WRITES;
}

/* page: of which alone, or NULL. */
static void flush_everywhere(struct sx_accel *a, struct sx_cpu *self, u32 flushes, const u8 *page)
{
	struct sx_cpu *asked[ACCEL_MAX_VCPUS];
	u32 wanted[ACCEL_MAX_VCPUS], n = 0;

	for (u32 k = 0; k < ACCEL_MAX_VCPUS; k++) {
		struct sx_cpu *c = __atomic_load_n(&a->vcpu[k], __ATOMIC_ACQUIRE);

		if (!c || c == self)
			continue;
		asked[n] = c;
		__atomic_fetch_or(&c->request, page ? flush_of_page(c, page) : flushes,
				  __ATOMIC_SEQ_CST);
		wanted[n++] = __atomic_add_fetch(&c->flush_wanted, 1, __ATOMIC_SEQ_CST);
	}
	if (!n)
		return;
	if (self)
		sx_outside_begin(self);
	for (u32 k = 0; k < n; k++)
		flush_wait(asked[k], wanted[k]);
	if (self)
		sx_outside_end(self);
}

void sx_flush_everywhere(struct sx_accel *a, struct sx_cpu *self, u32 flushes)
{
	flush_everywhere(a, self, flushes, NULL);
}

void sx_ask_to_look_at_code(struct sx_accel *a, struct sx_cpu *self)
{
	for (u32 k = 0; k < ACCEL_MAX_VCPUS; k++) {
		struct sx_cpu *c = __atomic_load_n(&a->vcpu[k], __ATOMIC_ACQUIRE);

		if (c && c != self)
			__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_SEQ_CST);
	}
}

void sx_code_written(struct sx_cpu *c, struct gmem_block *b, u64 page)
{
	if (gmem_code_written(b, page))
		sx_ask_to_look_at_code(c->accel, c);
}

/* Taking a lock that others hold while they wait for flushes: be outside meanwhile. */
static void lock_outside(struct sx_cpu *c, pthread_mutex_t *m)
{
	if (!pthread_mutex_trylock(m))
		return;
	sx_outside_begin(c);
	pthread_mutex_lock(m);
	sx_outside_end(c);
}

u32 sx_code_mark(struct sx_cpu *c, struct gmem_block *b, u64 page)
{
	bool is_new;
	u32 word;

	lock_outside(c, &c->accel->code_lock);
	word = gmem_code_mark(b, page, &is_new);
	if (is_new) {
		const u8 *host = b->hva + (page << PAGE_SHIFT);

		sx_count(c, SX_N_CODE_PAGE);
		sx_tlb_flush_writes_to(c, host);
		flush_everywhere(c->accel, c, SX_REQ_FLUSH_PAGE, host);
	}
	pthread_mutex_unlock(&c->accel->code_lock);
	return word;
}

void sx_split_lock(struct sx_cpu *c)
{
	lock_outside(c, &c->accel->split_lock);
	c->holds_split_lock = true;
}

void sx_split_unlock(struct sx_cpu *c)
{
	c->holds_split_lock = false;
	pthread_mutex_unlock(&c->accel->split_lock);
}
