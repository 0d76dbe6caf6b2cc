/* base/: ranges, bytes, errors, descriptors, loop, epoch. */
#include "test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"

TEST(range_fits_never_wraps)
{
	CHECK(range_fits(0, 0, 0));
	CHECK(range_fits(4, 4, 8));
	CHECK(!range_fits(4, 5, 8));
	CHECK(!range_fits(UINT64_MAX, 2, 8));
	CHECK(!range_fits(2, UINT64_MAX, 8));
}

TEST(byte_order_is_fixed)
{
	u8 b[8];

	be32_store(b, 0x11223344);
	CHECK_EQ(b[0], 0x11);
	le16_store(b, 0x1122);
	CHECK_EQ(b[0], 0x22);
	CHECK_EQ(le64_get(le64_of(0x1122334455667788)), 0x1122334455667788);
}

TEST(errors_are_built_outwards)
{
	struct err err = ERR_INIT;

	CHECK_EQ(err_errno(&err, -ENOENT, "cannot open %s", "x"), -ENOENT);
	CHECK_EQ(err_wrap(&err, "disk %d", 1), -ENOENT);
	CHECK_STR(err.text, "disk 1: cannot open x: No such file or directory");
	for (int i = 0; i < 200; i++)
		err_wrap(&err, "outer %d", i);
	CHECK(strlen(err.text) < sizeof(err.text));
	CHECK(!strncmp(err.text, "outer 199: ", 11));
}

TEST(descriptors_travel_and_too_many_are_closed)
{
	int pair[2], fds[2], pipes[2];
	size_t n = 2;
	char buf[4], c;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(fd_send(pair[0], "hi", 2, pipes, 2), 0);
	CHECK_EQ(fd_recv(pair[1], buf, sizeof(buf), fds, &n), 2);
	CHECK_EQ(n, 2);
	CHECK_EQ(fd_write_full(fds[1], "x", 1), 0);
	CHECK_EQ(fd_read_full(pipes[0], &c, 1), 0);
	fd_close(fds[0]);
	fd_close(fds[1]);

	CHECK_EQ(fd_send(pair[0], "hi", 2, pipes, 2), 0);
	n = 1;
	CHECK_EQ(fd_recv(pair[1], buf, sizeof(buf), fds, &n), -EMSGSIZE);
	CHECK_EQ(fd_send(pair[0], "too long", 8, NULL, 0), 0);
	n = 1;
	CHECK_EQ(fd_recv(pair[1], buf, sizeof(buf), fds, &n), -EMSGSIZE);
	for (int i = 0; i < 2; i++) {
		fd_close(pair[i]);
		fd_close(pipes[i]);
	}
}

struct loop_test {
	struct loop *loop;
	struct loop_timer timers[3];
	struct loop_task task;
	int order[4], n;
};

static void loop_test_note(struct loop_test *t, int what)
{
	t->order[t->n++] = what;
	if (t->n == 3)
		loop_quit(t->loop);
}

static struct loop_test *loop_running;

static void loop_test_on_timer(struct loop_timer *timer)
{
	loop_test_note(loop_running, (int)(timer - loop_running->timers));
}

static void loop_test_on_task(struct loop_task *task)
{
	loop_test_note(container_of(task, struct loop_test, task), 10);
}

static void *loop_test_post(void *arg)
{
	struct loop_test *t = arg;

	loop_task_post(t->loop, &t->task);
	loop_task_post(t->loop, &t->task);
	return NULL;
}

TEST(the_loop_runs_timers_by_deadline_and_tasks_once)
{
	struct loop_test t = {0};
	struct err err = ERR_INIT;
	u64 now = time_mono_ns();
	pthread_t thread;

	CHECK_EQ(loop_new(&t.loop, &err), 0);
	loop_running = &t;
	list_init(&t.task.node);
	t.task.fn = loop_test_on_task;
	for (int i = 0; i < 3; i++)
		t.timers[i].fn = loop_test_on_timer;
	loop_timer_arm(t.loop, &t.timers[0], now + 9 * NSEC_PER_MSEC);
	loop_timer_arm(t.loop, &t.timers[1], now + 1 * NSEC_PER_MSEC);
	loop_timer_arm(t.loop, &t.timers[2], now + 5 * NSEC_PER_MSEC);
	loop_timer_arm(t.loop, &t.timers[0], now + 3 * NSEC_PER_MSEC);
	loop_timer_disarm(t.loop, &t.timers[2]);
	CHECK_EQ(pthread_create(&thread, NULL, loop_test_post, &t), 0);
	pthread_join(thread, NULL);
	loop_run(t.loop);
	CHECK_EQ(t.n, 3);
	CHECK_EQ(t.order[0] + t.order[1] + t.order[2], 11);
	CHECK(t.order[2] != 1); /* 1 came before 0 */
	loop_free(t.loop);
}

static void epoch_test_free(void *object)
{
	*(bool *)object = true;
}

TEST(retired_objects_outlive_the_readers_that_may_hold_them)
{
	struct epoch *e = epoch_new();
	bool is_freed = false, is_second_freed = false;

	epoch_attach(e);
	epoch_enter(e);
	epoch_enter(e);
	epoch_retire(e, &is_freed, epoch_test_free);
	epoch_leave(e);
	epoch_collect(e);
	CHECK(!is_freed);
	epoch_leave(e);
	epoch_enter(e); /* a new section can't hold it */
	epoch_collect(e);
	CHECK(is_freed);
	epoch_retire(e, &is_second_freed, epoch_test_free);
	CHECK(!is_second_freed);
	epoch_leave(e);
	epoch_detach(e);
	epoch_free(e);
	CHECK(is_second_freed);
}

static void *epoch_test_read(void *arg)
{
	void **args = arg;
	struct epoch *e = args[0];
	u64 **published = args[1];
	u64 bad = 0;

	epoch_attach(e);
	for (int i = 0; i < 20000; i++) {
		epoch_enter(e);
		u64 *p = __atomic_load_n(published, __ATOMIC_ACQUIRE);
		bad += *p != 42;
		epoch_leave(e);
	}
	epoch_detach(e);
	return (void *)bad;
}

static void epoch_test_poison(void *object)
{
	*(u64 *)object = 0;
	free(object);
}

TEST(readers_never_see_what_was_freed)
{
	struct epoch *e = epoch_new();
	u64 *published = NEW(u64);
	void *args[] = {e, &published};
	pthread_t threads[2];
	void *bad;

	*published = 42;
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, epoch_test_read, args), 0);
	for (int i = 0; i < 2000; i++) {
		u64 *fresh = NEW(u64), *old = published;

		*fresh = 42;
		__atomic_store_n(&published, fresh, __ATOMIC_RELEASE);
		epoch_retire(e, old, epoch_test_poison);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &bad);
		CHECK_EQ(bad, 0);
	}
	epoch_free(e);
	free(published);
}

/* RFC 3720, B.4. */
TEST(crc32c_gives_what_the_rfc_gives)
{
	u8 bytes[32] = {0};

	CHECK_EQ(crc32c_update(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	CHECK_EQ(crc32c_update(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (u8 i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	CHECK_EQ(crc32c_update(0, bytes, sizeof(bytes)), 0x46dd794e);
	for (size_t n = 0; n < sizeof(bytes); n++) {
		CHECK_EQ(crc32c_update(1, bytes, n), crc32c_update_by_table(1, bytes, n));
		CHECK_EQ(crc32c_update(crc32c_update(0, bytes, n), bytes + n, sizeof(bytes) - n),
			 0x46dd794e);
	}
}
