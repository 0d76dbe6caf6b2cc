/*
 * Coroutines. See co.h; the switch of stacks itself is in co_x86_64.S.
 */
#include "base/co.h"

#include <sys/mman.h>

#include "base/alloc.h"
#include "base/err.h"

#if defined(__SANITIZE_ADDRESS__)
#define CO_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_HAS_ASAN 1
#endif
#endif
#ifndef CO_HAS_ASAN
#define CO_HAS_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define CO_HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CO_HAS_TSAN 1
#endif
#endif
#ifndef CO_HAS_TSAN
#define CO_HAS_TSAN 0
#endif

/* The sanitizers' interface to whoever switches stacks; called only where they are in. */
void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);

/* Stores this stack's pointer in *from, goes on where the other was left. */
void co_switch(void **from, void *to);
void co_entry(void); /* calls co_main on a new stack */
void co_main(void);

/* One side of a switch: where it goes on, and what the sanitizers want to know. */
struct co_side {
	void *sp;
	const void *bottom;
	size_t size;
	void *fake_stack, *fiber;
};

struct co {
	struct co_side side;
	struct co_pool *pool;
	struct list node; /* free ones, those that are ready, or a lock's */
	bool is_waiting;
	bool has_stack; /* that can be used: once it ran */
	u32 n_runs;     /* on its fiber */
	co_fn *fn;
	void *arg;
};

struct co_pool {
	u8 *stacks;
	u64 size;
	struct list free;
	unsigned n, n_free;
	struct co co[];
};

#define CO_GUARD (64 * KIB) /* no access, below each stack */

static _Thread_local struct co_thread {
	struct co *current;
	struct co_side outside; /* while one runs */
	struct list ready;
	bool has_ready; /* the list is made */
} co_of_this_thread;

/*
 * A coroutine may wait on one thread and go on on another, as its pool does: so nobody may remember
 * over a switch where the thread's own is, as a compiler would.
 */
static noinline struct co_thread *co_thread(void)
{
	struct co_thread *t = &co_of_this_thread;

	__asm__ volatile("" : "+r"(t));
	return t;
}

/* --- switching --- */

static void co_go(struct co_side *from, struct co_side *to, bool is_end)
{
	(void)is_end;
	if (CO_HAS_ASAN)
		__sanitizer_start_switch_fiber(is_end ? NULL : &from->fake_stack, to->bottom,
					       to->size);
	if (CO_HAS_TSAN)
		__tsan_switch_to_fiber(to->fiber, 0);
	co_switch(&from->sp, to->sp);
	/* Back; a coroutine learns where those who woke it stand. */
	if (CO_HAS_ASAN && from == &co_thread()->outside)
		__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
	else if (CO_HAS_ASAN)
		__sanitizer_finish_switch_fiber(from->fake_stack, &to->bottom, &to->size);
}

/* In a coroutine: what called it, or woke it, goes on. */
static void co_leave(struct co *c, bool is_end)
{
	co_thread()->current = NULL;
	co_go(&c->side, &co_thread()->outside, is_end);
}

static void co_enter(struct co *c)
{
	if (CO_HAS_TSAN)
		co_thread()->outside.fiber = __tsan_get_current_fiber();
	co_thread()->current = c;
	co_go(&co_thread()->outside, &c->side, false);
}

/* The first code on a new stack; once for each coroutine that runs to its end. */
void co_main(void)
{
	struct co *c = co_thread()->current;

	if (CO_HAS_ASAN)
		__sanitizer_finish_switch_fiber(NULL, &co_thread()->outside.bottom,
						&co_thread()->outside.size);
	c->fn(c->arg);
	list_insert_before(c->pool->free.next,
			   &c->node); /* last out, first in: its stack is warm */
	c->pool->n_free++;
	co_leave(c, true);
	unreachable_code();
}

static struct list *co_ready(void)
{
	if (!co_thread()->has_ready)
		list_init(&co_thread()->ready);
	co_thread()->has_ready = true;
	return &co_thread()->ready;
}

static void co_make_ready(struct co *c)
{
	struct list *ready = co_ready();

	list_append(ready, &c->node);
	if (co_thread()->current)
		return;
	while (!list_is_empty(ready)) {
		c = list_entry(ready->next, struct co, node);
		list_remove(&c->node);
		co_enter(c);
	}
}

/* --- coroutines --- */

static u8 *co_stack(const struct co_pool *p, unsigned i)
{
	return p->stacks + i * (CO_GUARD + CO_STACK) + CO_GUARD;
}

/* Calls that never return, at each run's end, stay on the fiber's list of calls, which takes 65536. */
#define CO_FIBER_RUNS 10000

static void co_prepare_fiber(struct co *c)
{
	if (CO_HAS_TSAN && ++c->n_runs == CO_FIBER_RUNS) {
		__tsan_destroy_fiber(c->side.fiber);
		c->side.fiber = __tsan_create_fiber(0);
		c->n_runs = 0;
	}
}

static void co_prepare(struct co *c)
{
	u8 *stack = co_stack(c->pool, (unsigned)(c - c->pool->co));
	void **sp = (void **)(stack + CO_STACK);

	if (!c->has_stack && mprotect(stack, CO_STACK, PROT_READ | PROT_WRITE) < 0)
		alloc_die();
	c->has_stack = true;
	co_prepare_fiber(c);
	/* What co_switch pops: six registers, which nobody reads, and where to return to. */
	*--sp = NULL;
	*--sp = (void *)co_entry;
	for (unsigned i = 0; i < 6; i++)
		*--sp = NULL;
	c->side = (struct co_side){
		.sp = sp, .bottom = stack, .size = CO_STACK, .fiber = c->side.fiber};
}

int co_pool_new(unsigned n, struct co_pool **out, struct err *err)
{
	AUTO(co_pool_free) struct co_pool *p = mem_alloc(1, sizeof(*p) + n * sizeof(p->co[0]));

	list_init(&p->free);
	p->size = n * (CO_GUARD + CO_STACK);
	p->stacks = mmap(NULL, p->size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (p->stacks == MAP_FAILED) {
		p->stacks = NULL;
		return err_errno(err, -errno, "cannot get address space for stacks");
	}
	for (unsigned i = 0; i < n; i++) {
		p->co[i].pool = p;
		if (CO_HAS_TSAN)
			p->co[i].side.fiber = __tsan_create_fiber(0);
		list_append(&p->free, &p->co[i].node);
		p->n = ++p->n_free;
	}
	*out = take(p);
	return 0;
}

void co_pool_free(struct co_pool *p)
{
	if (!p)
		return;
	assert(p->n_free == p->n);
	for (unsigned i = 0; CO_HAS_TSAN && i < p->n; i++)
		__tsan_destroy_fiber(p->co[i].side.fiber);
	if (p->stacks)
		munmap(p->stacks, p->size);
	free(p);
}

bool co_pool_is_empty(const struct co_pool *p)
{
	return !p->n_free;
}

void co_start(struct co_pool *p, co_fn *fn, void *arg)
{
	struct co *c;

	assert(p->n_free);
	c = list_entry(p->free.next, struct co, node);
	list_remove(&c->node);
	p->n_free--;
	c->fn = fn;
	c->arg = arg;
	co_prepare(c);
	co_make_ready(c);
}

struct co *co_self(void)
{
	return co_thread()->current;
}

void co_wait(void)
{
	struct co *c = co_self();

	assert(c);
	c->is_waiting = true;
	co_leave(c, false);
}

void co_wake(struct co *c)
{
	if (!c->is_waiting)
		return; /* it is ready already */
	c->is_waiting = false;
	co_make_ready(c);
}

/* --- waiting for each other --- */

void co_queue_init(struct co_queue *q)
{
	list_init(&q->waiting);
}

void co_queue_wait(struct co_queue *q)
{
	struct co *c = co_self();

	assert(c);
	list_append(&q->waiting, &c->node);
	co_wait();
}

void co_queue_wake_all(struct co_queue *q)
{
	struct list now;

	/* Who waits again waits for the next time. */
	list_init(&now);
	while (!list_is_empty(&q->waiting)) {
		struct list *node = q->waiting.next;

		list_remove(node);
		list_append(&now, node);
	}
	while (!list_is_empty(&now)) {
		struct co *c = list_entry(now.next, struct co, node);

		list_remove(&c->node);
		co_wake(c);
	}
}

void co_mutex_init(struct co_mutex *m)
{
	m->is_locked = false;
	list_init(&m->waiting);
}

void co_lock(struct co_mutex *m)
{
	struct co *c = co_self();

	if (!m->is_locked) {
		m->is_locked = true;
		return;
	}
	assert(c);
	list_append(&m->waiting, &c->node);
	co_wait(); /* co_unlock gives it to us, locked as it is */
}

void co_unlock(struct co_mutex *m)
{
	struct co *c;

	assert(m->is_locked);
	if (list_is_empty(&m->waiting)) {
		m->is_locked = false;
		return;
	}
	c = list_entry(m->waiting.next, struct co, node);
	list_remove(&c->node);
	co_wake(c);
}
