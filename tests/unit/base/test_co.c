/* base/co: order, waking, locks, and what is left when all have ended. */
#include "test.h"

#include "base/co.h"
#include "base/err.h"

static struct co_pool *pool;
static char trace[64];
static size_t n_trace;

static void note(char c)
{
	CHECK(n_trace + 1 < sizeof(trace));
	trace[n_trace++] = c;
	trace[n_trace] = 0;
}

static void setup(unsigned n)
{
	struct err err = ERR_INIT;

	n_trace = 0;
	trace[0] = 0;
	CHECK_EQ(co_pool_new(n, &pool, &err), 0);
}

static void two_halves(void *arg)
{
	struct co **self = arg;

	note('a');
	*self = co_self();
	co_wait();
	note('b');
}

static void add_one(void *arg)
{
	++*(unsigned *)arg;
}

/* Sanitizers remember something of each run. */
TEST(a_coroutine_runs_as_often_as_one_likes)
{
	unsigned n = 0;

	setup(1);
	for (unsigned i = 0; i < 100000; i++)
		co_start(pool, add_one, &n);
	CHECK_EQ(n, 100000);
	co_pool_free(pool);
}

TEST(a_coroutine_goes_on_where_it_waited)
{
	struct co *c = NULL;

	setup(1);
	co_start(pool, two_halves, &c);
	CHECK(co_pool_is_empty(pool));
	CHECK_STR(trace, "a");
	CHECK(!co_self());
	co_wake(c);
	CHECK_STR(trace, "ab");
	CHECK(!co_pool_is_empty(pool));
	co_start(pool, two_halves, &c); /* the same stack again */
	co_wake(c);
	CHECK_STR(trace, "abab");
	co_pool_free(pool);
}

static void child(void *arg)
{
	(void)arg;
	note('c');
}

static void parent(void *arg)
{
	(void)arg;
	note('p');
	co_start(pool, child, NULL);
	note('q');
}

TEST(what_a_coroutine_starts_runs_after_it_waits)
{
	setup(2);
	co_start(pool, parent, NULL);
	CHECK_STR(trace, "pqc");
	co_pool_free(pool);
}

static struct co_mutex mutex;
static struct co *holder;

static void locked(void *arg)
{
	char c = *(char *)arg;

	co_lock(&mutex);
	note(c);
	if (c == '1') {
		holder = co_self();
		co_wait();
	}
	co_unlock(&mutex);
	note(c);
}

TEST(a_lock_is_given_away_in_order)
{
	char names[] = "123";

	setup(3);
	co_mutex_init(&mutex);
	for (unsigned i = 0; i < 3; i++)
		co_start(pool, locked, &names[i]);
	CHECK_STR(trace, "1");
	co_wake(holder);
	CHECK_STR(trace, "112233");
	CHECK(!mutex.is_locked);
	co_lock(&mutex); /* free: outside of coroutines, too */
	co_unlock(&mutex);
	co_pool_free(pool);
}

static struct co_queue queue;
static unsigned count;

static void until_two(void *arg)
{
	(void)arg;
	while (count < 2)
		co_queue_wait(&queue);
	note('x');
}

TEST(a_queue_wakes_all_and_some_wait_again)
{
	setup(4);
	co_queue_init(&queue);
	count = 0;
	for (unsigned i = 0; i < 4; i++)
		co_start(pool, until_two, NULL);
	count = 1;
	co_queue_wake_all(&queue);
	CHECK_STR(trace, "");
	count = 2;
	co_queue_wake_all(&queue);
	CHECK_STR(trace, "xxxx");
	co_queue_wake_all(&queue); /* nobody */
	co_pool_free(pool);
}

/* The compiler may keep nothing in registers that the switch doesn't keep. */
static void deep(void *arg)
{
	volatile u8 block[64 * KIB];
	double half = *(int *)arg / 2.0;

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (u8)(i * 7);
	holder = co_self();
	co_wait();
	for (size_t i = 0; i < sizeof(block); i++)
		CHECK_EQ(block[i], (u8)(i * 7));
	CHECK(half == 21.0);
	note('d');
}

TEST(a_stack_and_its_values_survive)
{
	int value = 42;

	setup(1);
	co_start(pool, deep, &value);
	value = 0;
	co_wake(holder);
	CHECK_STR(trace, "d");
	co_pool_free(pool);
}
