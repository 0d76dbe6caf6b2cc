/* base/work: other threads compute while the coroutine waits and its thread goes on. */
#include "test.h"

#include "base/co.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/work.h"

#define JOBS 50

static struct loop *loop;
static struct work_pool *pool;

static struct job {
	u64 in, out;
	bool is_ended;
} jobs[JOBS];

static int enter(void *opaque, struct err *err)
{
	(void)err;
	__atomic_add_fetch((unsigned *)opaque, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static int refuse(void *opaque, struct err *err)
{
	(void)opaque;
	return err_set(err, -EPERM, "not today");
}

static void square(void *arg)
{
	struct job *j = arg;

	j->out = j->in * j->in;
}

static void job_main(void *arg)
{
	struct job *j = arg;

	work_run(pool, square, j);
	j->is_ended = true;
}

static bool all_ended(void)
{
	for (unsigned i = 0; i < JOBS; i++) {
		if (!jobs[i].is_ended)
			return false;
	}
	return true;
}

TEST(coroutines_wait_for_other_threads)
{
	struct err err = ERR_INIT;
	struct co_pool *cos;
	unsigned n_entered = 0;

	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(work_pool_new(loop, 3, enter, &n_entered, &pool, &err), 0);
	CHECK_EQ(n_entered, 3);
	CHECK_EQ(co_pool_new(JOBS, &cos, &err), 0);
	for (unsigned i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){.in = i};
		co_start(cos, job_main, &jobs[i]);
	}
	while (!all_ended())
		loop_step(loop, true);
	for (unsigned i = 0; i < JOBS; i++)
		CHECK_EQ(jobs[i].out, i * i);
	co_pool_free(cos);
	work_pool_free(pool);
	loop_free(loop);
}

TEST(without_a_pool_it_is_computed_here)
{
	struct job j = {.in = 7};

	work_run(NULL, square, &j);
	CHECK_EQ(j.out, 49);
}

TEST(a_thread_that_cannot_be_confined_is_none)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(work_pool_new(loop, 2, refuse, NULL, &pool, &err), -EPERM);
	CHECK_ERR(err, "not today");
	loop_free(loop);
}
