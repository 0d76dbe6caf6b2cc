/*
 * The fallback engine of raw disks, for hosts without io_uring: a few threads that make the
 * blocking system calls.
 *
 * The loop's thread puts steps into a queue under the lock; workers take them, and put them into
 * the list of finished ones, which an eventfd announces to the loop. All threads are made with the
 * disk: none can be made once the process is confined.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/raw_priv.h"

#define THREADS_COUNT      4
#define THREADS_STACK_SIZE (256 * KIB)

struct raw_threads {
	struct raw_engine engine;
	struct loop_fd event;
	pthread_t threads[THREADS_COUNT];
	u32 n_threads;
	struct list waiting; /* for the kick; the loop's thread */

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t has_work, has_finished;
	struct list queue, finished;
	bool is_quitting;
	const struct blk_raw_options *options; /* while the threads start */
	u32 n_ready;                           /* threads that have begun */
	struct err failure;                    /* of one that could not */
};

static struct raw_threads *threads_of(struct raw_engine *e)
{
	return container_of(e, struct raw_threads, engine);
}

static int threads_transfer(int fd, struct raw_op *op)
{
	struct iovec one = {.iov_base = op->buf, .iov_len = op->bytes};
	const struct iovec *iov = op->iov ? op->iov : &one;
	int n_iov = op->iov ? (int)op->n_iov : 1;
	ssize_t n;

	if (op->call == RAW_READV)
		n = preadv(fd, iov, n_iov, (off_t)op->offset);
	else
		n = pwritev2(fd, iov, n_iov, (off_t)op->offset, op->mode);
	return n < 0 ? -errno : (int)n;
}

static int threads_perform(struct raw_engine *e, struct blk_request *r)
{
	struct raw_op op;

	raw_describe(e, r, &op);
	switch (op.call) {
	case RAW_READV:
	case RAW_WRITEV:
		return threads_transfer(e->fd, &op);
	case RAW_FDATASYNC:
		return fdatasync(e->fd) < 0 ? -errno : 0;
	case RAW_FALLOCATE:
		return fallocate(e->fd, op.mode, (off_t)op.offset, (off_t)op.bytes) < 0 ? -errno
											: 0;
	}
	unreachable_code();
}

static void threads_announce(struct raw_threads *t)
{
	u64 one = 1;

	/* EAGAIN: the counter is full, so the loop is awake. */
	if (write(t->event.fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

/* The thread confines itself, and says so to its maker. */
static void threads_enter(struct raw_threads *t)
{
	const struct blk_raw_options *o = t->options;
	struct err err = ERR_INIT;
	int r = o->enter_thread ? o->enter_thread(o->enter_opaque, &err) : 0;

	pthread_mutex_lock(&t->lock);
	if (r < 0)
		t->failure = err;
	t->n_ready++;
	pthread_cond_signal(&t->has_finished);
	pthread_mutex_unlock(&t->lock);
}

static void *threads_run(void *arg)
{
	struct raw_threads *t = arg;

	threads_enter(t);
	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct blk_request *r;

		while (list_is_empty(&t->queue) && !t->is_quitting)
			pthread_cond_wait(&t->has_work, &t->lock);
		if (t->is_quitting)
			break;
		r = list_entry(t->queue.next, struct blk_request, node);
		list_remove(&r->node);
		pthread_mutex_unlock(&t->lock);

		r->result = threads_perform(&t->engine, r);

		pthread_mutex_lock(&t->lock);
		list_append(&t->finished, &r->node);
		pthread_cond_signal(&t->has_finished);
		threads_announce(t);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_submit(struct raw_engine *e, struct blk_request *r)
{
	list_append(&threads_of(e)->waiting, &r->node);
}

static void threads_move(struct list *from, struct list *to)
{
	while (!list_is_empty(from)) {
		struct list *node = from->next;

		list_remove(node);
		list_append(to, node);
	}
}

static void threads_kick(struct raw_engine *e)
{
	struct raw_threads *t = threads_of(e);

	if (list_is_empty(&t->waiting))
		return;
	pthread_mutex_lock(&t->lock);
	threads_move(&t->waiting, &t->queue);
	pthread_cond_broadcast(&t->has_work);
	pthread_mutex_unlock(&t->lock);
}

/* Reports what has finished; must_wait: at least one step. */
static void threads_reap(struct raw_threads *t, bool must_wait)
{
	struct list finished = LIST_INIT(finished);

	pthread_mutex_lock(&t->lock);
	while (must_wait && list_is_empty(&t->finished))
		pthread_cond_wait(&t->has_finished, &t->lock);
	threads_move(&t->finished, &finished);
	pthread_mutex_unlock(&t->lock);

	while (!list_is_empty(&finished)) {
		struct blk_request *r = list_entry(finished.next, struct blk_request, node);

		list_remove(&r->node);
		raw_step_done(&t->engine, r, r->result);
	}
	raw_round_done(&t->engine);
	threads_kick(&t->engine);
}

static void threads_on_event(struct loop_fd *w, u32 events)
{
	u64 count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) < 0)
		return;
	threads_reap(container_of(w, struct raw_threads, event), false);
}

static void threads_wait(struct raw_engine *e)
{
	threads_kick(e);
	threads_reap(threads_of(e), true);
}

/* The workers see it with the next step, by way of the lock. */
static int threads_set_file(struct raw_engine *e, int fd)
{
	e->fd = fd;
	return 0;
}

static void threads_free(struct raw_engine *e)
{
	struct raw_threads *t = threads_of(e);

	pthread_mutex_lock(&t->lock);
	t->is_quitting = true;
	pthread_cond_broadcast(&t->has_work);
	pthread_mutex_unlock(&t->lock);
	for (u32 i = 0; i < t->n_threads; i++)
		pthread_join(t->threads[i], NULL);

	loop_fd_remove(e->loop, &t->event);
	fd_close(t->event.fd);
	pthread_cond_destroy(&t->has_work);
	pthread_cond_destroy(&t->has_finished);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static int threads_start(struct raw_threads *t, struct err *err)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREADS_STACK_SIZE);
	while (r == 0 && t->n_threads < THREADS_COUNT) {
		r = -pthread_create(&t->threads[t->n_threads], &attr, threads_run, t);
		if (r == 0)
			t->n_threads++;
	}
	pthread_attr_destroy(&attr);

	pthread_mutex_lock(&t->lock);
	while (t->n_ready < t->n_threads)
		pthread_cond_wait(&t->has_finished, &t->lock);
	pthread_mutex_unlock(&t->lock);
	if (r < 0)
		return err_errno(err, r, "cannot start threads for disk I/O");
	*err = t->failure;
	return err->code;
}

int raw_threads_new(const struct raw_engine *e, const struct blk_raw_options *o,
		    struct raw_engine **out, struct err *err)
{
	static const struct raw_engine_ops ops = {
		.name = "threads",
		.set_file = threads_set_file,
		.submit = threads_submit,
		.kick = threads_kick,
		.wait = threads_wait,
		.free = threads_free,
	};
	struct raw_threads *t = NEW(struct raw_threads);
	int r;

	t->engine = *e;
	t->engine.ops = &ops;
	t->options = o;
	list_init(&t->waiting);
	list_init(&t->queue);
	list_init(&t->finished);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->has_work, NULL);
	pthread_cond_init(&t->has_finished, NULL);
	t->event = (struct loop_fd){.events = EPOLLIN, .fn = threads_on_event};
	t->event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = t->event.fd < 0 ? -errno : loop_fd_add(e->loop, &t->event);
	if (r < 0)
		err_errno(err, r, "cannot make an eventfd");
	else
		r = threads_start(t, err);
	if (r < 0) {
		threads_free(&t->engine);
		return r;
	}
	*out = &t->engine;
	return 0;
}
