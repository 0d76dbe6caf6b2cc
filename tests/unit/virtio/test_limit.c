/* virtio/limit: rates, bursts, debts, by a clock that is moved by hand. */
#include "virtio/limit.h"

#include "base/err.h"
#include "base/time.h"
#include "device_check.h"
#include "fake_clock.h"
#include "state/state.h"
#include "test.h"

struct user {
	struct vclock *clock;
	struct limit limit;
	u64 size;          /* of each operation */
	u64 n_ops, n_left; /* done; still wanted */
	unsigned n_ready;
};

static void user_try(struct user *u)
{
	while (u->n_left && limit_take(&u->limit, u->size)) {
		u->n_left--;
		u->n_ops++;
	}
}

static void user_ready(void *opaque)
{
	struct user *u = opaque;

	u->n_ready++;
	user_try(u);
}

static void user_init(struct user *u, const struct limit_rates *rates, u64 size)
{
	*u = (struct user){.clock = fake_clock_new(), .size = size};
	limit_init(&u->limit, u->clock, user_ready, u);
	limit_set(&u->limit, rates);
	fake_clock_advance(u->clock, 1);
	u->n_ready = 0;
}

static void user_fini(struct user *u)
{
	limit_fini(&u->limit);
	CHECK(fake_clock_is_idle(u->clock));
	vclock_free(u->clock);
}

/* Operations that are wanted all the time: how many begin in so many seconds. */
static u64 user_run(struct user *u, u64 seconds)
{
	u64 before = u->n_ops;

	u->n_left = UINT64_MAX;
	user_try(u);
	fake_clock_advance(u->clock, seconds * NSEC_PER_SEC);
	u->n_left = 0;
	return u->n_ops - before;
}

static void check_near(u64 got, u64 wanted, unsigned percent)
{
	CHECK(got * 100 >= wanted * (100 - percent) && got * 100 <= wanted * (100 + percent));
}

TEST(without_limits_nothing_waits)
{
	struct user u;

	user_init(&u, &(struct limit_rates){0}, 4096);
	for (unsigned i = 0; i < 100000; i++)
		CHECK(limit_take(&u.limit, 1 * GIB));
	CHECK(fake_clock_is_idle(u.clock));
	user_fini(&u);
}

TEST(rates_are_kept_whatever_the_size)
{
	static const struct {
		struct limit_rates rates;
		u64 size, ops_a_second;
	} cases[] = {
		{{.ops = 10}, 4096, 10},
		{{.ops = 1000}, 4096, 1000},
		{{.ops = 100000}, 4096, 100000},
		{{.ops = 997, .burst_ops = 1}, 4096, 997},
		{{.bytes = 10 * MIB}, 4096, 2560},
		{{.bytes = 10 * MIB}, 1 * MIB, 10},
		{{.bytes = 10 * MIB, .burst_bytes = 512}, 4096, 2560},
		{{.bytes = 100 * MIB}, 512, 204800},
		{{.bytes = 10 * MIB, .ops = 500}, 4096, 500},
		{{.bytes = 1 * MIB, .ops = 500}, 4096, 256},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct user u;

		user_init(&u, &cases[i].rates, cases[i].size);
		user_run(&u, 1); /* what was saved up */
		check_near(user_run(&u, 5), 5 * cases[i].ops_a_second, 2);
		user_fini(&u);
	}
}

TEST(a_burst_goes_at_once_and_is_saved_up_again)
{
	struct user u;

	user_init(&u, &(struct limit_rates){.ops = 100, .burst_ops = 1000}, 4096);
	u.n_left = UINT64_MAX;
	user_try(&u);
	check_near(u.n_ops, 1000, 1);
	u.n_left = 0;
	fake_clock_advance(u.clock, 5 * NSEC_PER_SEC); /* half of it */
	u.n_ops = 0;
	u.n_left = UINT64_MAX;
	user_try(&u);
	check_near(u.n_ops, 500, 1);
	u.n_left = 0;
	fake_clock_advance(u.clock, 1000 * NSEC_PER_SEC); /* no more than all of it */
	u.n_ops = 0;
	u.n_left = UINT64_MAX;
	user_try(&u);
	check_near(u.n_ops, 1000, 1);
	user_fini(&u);
}

TEST(a_large_operation_leaves_a_debt)
{
	struct user u;

	user_init(&u, &(struct limit_rates){.bytes = 1 * MIB, .burst_bytes = 1 * MIB}, 10 * MIB);
	CHECK(limit_take(&u.limit, 10 * MIB));
	u.n_left = 1;
	user_try(&u);
	CHECK_EQ(u.n_ops, 0);
	fake_clock_advance(u.clock, 89 * NSEC_PER_SEC / 10);
	CHECK_EQ(u.n_ops, 0);
	fake_clock_advance(u.clock, NSEC_PER_SEC / 5);
	CHECK_EQ(u.n_ops, 1);
	CHECK_EQ(u.n_ready, 1);
	user_fini(&u);
}

TEST(what_can_not_wait_is_counted)
{
	struct user u;

	user_init(&u, &(struct limit_rates){.ops = 10, .burst_ops = 10}, 1);
	for (unsigned i = 0; i < 30; i++)
		limit_charge(&u.limit, 1);
	u.n_left = 1;
	user_try(&u);
	fake_clock_advance(u.clock, 19 * NSEC_PER_SEC / 10);
	CHECK_EQ(u.n_ops, 0);
	fake_clock_advance(u.clock, NSEC_PER_SEC / 5);
	CHECK_EQ(u.n_ops, 1);
	user_fini(&u);
}

TEST(timers_are_few)
{
	struct user u;

	/* 200000 operations a second: a timer for a slice of them, not for each. */
	user_init(&u, &(struct limit_rates){.ops = 200000}, 512);
	check_near(user_run(&u, 2), 400000, 10); /* with its burst */
	CHECK(u.n_ready <= 2200);
	/* Nobody wants anything: no timer after the last. */
	fake_clock_advance(u.clock, NSEC_PER_SEC);
	CHECK(fake_clock_is_idle(u.clock));
	user_fini(&u);
}

TEST(a_new_limit_counts_at_once)
{
	struct user u;

	user_init(&u, &(struct limit_rates){.bytes = 1}, 1 * MIB);
	CHECK(limit_take(&u.limit, 1 * MIB)); /* twelve days of debt */
	u.n_left = 3;
	user_try(&u);
	CHECK_EQ(u.n_ops, 0);
	limit_set(&u.limit, &(struct limit_rates){0});
	fake_clock_advance(u.clock, 1);
	CHECK_EQ(u.n_ops, 3);
	limit_set(&u.limit, &(struct limit_rates){.ops = 5, .burst_ops = 7});
	struct limit_rates now;

	limit_get(&u.limit, &now);
	CHECK_EQ(now.bytes, 0);
	CHECK_EQ(now.burst_bytes, 0);
	CHECK_EQ(now.ops, 5);
	CHECK_EQ(now.burst_ops, 7);
	user_fini(&u);
}

static int move_state(struct limit *from, struct limit *to, struct err *err)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	AUTO(state_reader_free) struct state_reader *r = NULL;
	const char *name;
	const void *data;
	size_t size;
	u32 instance;

	state_save(w, &limit_state, 0, from);
	data = state_writer_finish(w, &size);
	r = state_reader_new(data, size);
	CHECK_EQ(state_reader_next(r, &name, &instance, err), 1);
	return state_load(r, &limit_state, to, err);
}

TEST(debts_are_saved)
{
	struct err err = ERR_INIT;
	struct limit other;
	struct user u;

	user_init(&u, &(struct limit_rates){.ops = 10, .burst_ops = 10}, 1);
	for (unsigned i = 0; i < 30; i++)
		limit_charge(&u.limit, 1);
	limit_init(&other, u.clock, user_ready, &u);
	CHECK_EQ(move_state(&u.limit, &other, &err), 0);
	CHECK(!limit_take(&other, 1));
	fake_clock_advance(u.clock, 21 * NSEC_PER_SEC / 10);
	CHECK(limit_take(&other, 1));
	limit_fini(&other);

	u.limit.ops.rate = LIMIT_RATE_MAX + 1;
	CHECK_EQ(move_state(&u.limit, &other, &err), -EINVAL);
	u.limit.ops.rate = 1;
	u.limit.ops.full_at_ns = UINT64_MAX;
	CHECK_EQ(move_state(&u.limit, &other, &err), -EINVAL);
	user_fini(&u);
}
