/*
 * The io_uring engine of raw disks.
 *
 * A ring could do what the process's seccomp filter forbids, so this one can do nothing but what
 * it is for: it starts disabled, gets its one file (or some) and its restrictions (the operations below, on
 * registered files only), and is then enabled (io_uring_register(2), IORING_REGISTER_RESTRICTIONS).
 * From there on no other registration is possible either, but that a ring made ahead may be given
 * another file: one that whoever does it has open anyway.
 *
 * Engines that were made ahead may share a ring, in which each has a registered file: the files are all
 * the process's own, and what is costly about an engine is its ring.
 *
 * Steps wait in a list until the kick, which fills the ring and enters the kernel once. No more
 * steps are in the ring than it has room for completions.
 *
 * What the page cache answers is complete when the kick returns: it is reaped by a task that the loop
 * runs next, and the event that the ring would signal for it is turned off meanwhile. On turns it on
 * again, fences, and looks once more; the kernel writes a completion, fences, and looks whether the
 * event is on. So either the kernel signals what came in between, or we see it.
 */
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"
#include "block/raw_priv.h"
#include "block/uring_priv.h"

#define URING_ENTRIES  128
#define URING_RETRY_NS NSEC_PER_MSEC

struct raw_uring;

struct uring_shared {
	struct loop *loop;
	struct io_uring ring;
	struct loop_fd event; /* eventfd that the ring signals */
	struct loop_timer retry;
	struct loop_task reap;
	u32 n_in_ring, capacity;
	bool has_ring;
	struct list engines;
};

struct raw_uring {
	struct raw_engine engine;
	struct uring_shared *shared;
	struct list of_ring; /* in shared->engines */
	u32 file;            /* registered, of the ring */
	struct list waiting; /* for the kick */
	bool has_news;       /* a step was reported in this round */
};

static const u8 uring_operations[] = {
	IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_READ,
	IORING_OP_WRITE, IORING_OP_FSYNC,  IORING_OP_FALLOCATE,
};

static struct raw_uring *uring_of(struct raw_engine *e)
{
	return container_of(e, struct raw_uring, engine);
}

static void uring_prepare_transfer(struct io_uring_sqe *sqe, const struct raw_op *op, int file)
{
	bool is_read = op->call == RAW_READV;

	if (op->iov && op->n_iov > 1)
		io_uring_prep_rw(is_read ? IORING_OP_READV : IORING_OP_WRITEV, sqe, file, op->iov,
				 op->n_iov, op->offset);
	else
		io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE, sqe, file,
				 op->iov ? op->iov->iov_base : op->buf, (unsigned)op->bytes,
				 op->offset);
	sqe->rw_flags = op->mode;
}

static void uring_prepare(struct raw_uring *u, struct io_uring_sqe *sqe, struct blk_request *r)
{
	int file = (int)u->file;
	struct raw_op op;

	raw_describe(&u->engine, r, &op);
	switch (op.call) {
	case RAW_READV:
	case RAW_WRITEV:
		uring_prepare_transfer(sqe, &op, file);
		break;
	case RAW_FDATASYNC:
		io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
		break;
	case RAW_FALLOCATE:
		io_uring_prep_fallocate(sqe, file, op.mode, (off_t)op.offset, (off_t)op.bytes);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, r);
}

static void uring_submit(struct raw_engine *e, struct blk_request *r)
{
	r->engine = e;
	list_append(&uring_of(e)->waiting, &r->node);
}

static void uring_fill(struct raw_uring *u)
{
	struct uring_shared *s = u->shared;

	while (!list_is_empty(&u->waiting) && s->n_in_ring < s->capacity) {
		struct blk_request *r = list_entry(u->waiting.next, struct blk_request, node);
		struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

		if (!sqe)
			return;
		list_remove(&r->node);
		uring_prepare(u, sqe, r);
		s->n_in_ring++;
	}
}

static void uring_fill_all(struct uring_shared *s)
{
	list_for_each (node, &s->engines)
		uring_fill(list_entry(node, struct raw_uring, of_ring));
}

static int uring_enter(struct uring_shared *s)
{
	int r;

	io_uring_cq_eventfd_toggle(&s->ring, false);
	r = io_uring_submit(&s->ring);
	io_uring_cq_eventfd_toggle(&s->ring, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (io_uring_cq_ready(&s->ring))
		loop_task_post(s->loop, &s->reap);
	return r;
}

/* Of all engines of the ring: what waits for room in it is another's, perhaps. */
static void uring_kick_all(struct uring_shared *s)
{
	for (;;) {
		int r;

		uring_fill_all(s);
		if (!io_uring_sq_ready(&s->ring))
			return;
		r = uring_enter(s);
		if (r == -EINTR)
			continue;
		/* The kernel is short of memory: the entries stay, and are offered again. */
		if (r < 0) {
			loop_timer_arm(s->loop, &s->retry, time_mono_ns() + URING_RETRY_NS);
			return;
		}
	}
}

static void uring_kick(struct raw_engine *e)
{
	uring_kick_all(uring_of(e)->shared);
}

static void uring_on_retry(struct loop_timer *t)
{
	uring_kick_all(container_of(t, struct uring_shared, retry));
}

static void uring_end_rounds(struct uring_shared *s)
{
	list_for_each_safe (node, &s->engines) {
		struct raw_uring *u = list_entry(node, struct raw_uring, of_ring);

		if (u->has_news) {
			u->has_news = false;
			raw_round_done(&u->engine);
		}
	}
}

static void uring_reap(struct uring_shared *s)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
		struct blk_request *r = io_uring_cqe_get_data(cqe);
		struct raw_uring *u = uring_of(r->engine);
		int result = cqe->res;

		io_uring_cqe_seen(&s->ring, cqe);
		s->n_in_ring--;
		u->has_news = true;
		raw_step_done(&u->engine, r, result);
	}
	uring_end_rounds(s);
	uring_kick_all(s);
}

static void uring_on_event(struct loop_fd *w, unused u32 events)
{
	uring_reap(container_of(w, struct uring_shared, event));
}

static void uring_on_reap(struct loop_task *t)
{
	uring_reap(container_of(t, struct uring_shared, reap));
}

static void uring_wait(struct raw_engine *e)
{
	struct uring_shared *s = uring_of(e)->shared;

	uring_fill_all(s);
	/* Interrupted, or out of memory for a moment: the caller asks again. */
	if (io_uring_submit_and_wait(&s->ring, 1) >= 0)
		uring_reap(s);
}

static int uring_engine_set_file(struct raw_engine *e, int fd)
{
	struct raw_uring *u = uring_of(e);

	e->fd = fd;
	return uring_set_file(&u->shared->ring, u->file, fd);
}

static void uring_shared_free(struct uring_shared *s)
{
	loop_timer_disarm(s->loop, &s->retry);
	loop_task_cancel(s->loop, &s->reap);
	loop_fd_remove(s->loop, &s->event);
	if (s->has_ring)
		io_uring_queue_exit(&s->ring);
	fd_close(s->event.fd);
	free(s);
}

/* The last one takes the ring along. */
static void uring_free(struct raw_engine *e)
{
	struct raw_uring *u = uring_of(e);
	struct uring_shared *s = u->shared;

	list_remove(&u->of_ring);
	free(u);
	if (list_is_empty(&s->engines))
		uring_shared_free(s);
}

/* liburing 2.3, Debian 12's, declares these two registrations but doesn't export them. */
static int uring_register(struct io_uring *ring, unsigned op, void *arg, unsigned n)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, op, arg, n) < 0 ? -errno : 0;
}

static int uring_restrict(struct io_uring *ring, bool can_change)
{
	struct io_uring_restriction res[ARRAY_SIZE(uring_operations) + 2] = {0};
	unsigned n = ARRAY_SIZE(uring_operations);

	for (size_t i = 0; i < ARRAY_SIZE(uring_operations); i++) {
		res[i].opcode = IORING_RESTRICTION_SQE_OP;
		res[i].sqe_op = uring_operations[i];
	}
	res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	res[n++].sqe_flags = IOSQE_FIXED_FILE;
	if (can_change) {
		res[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		res[n++].register_op = IORING_REGISTER_FILES_UPDATE;
	}
	return uring_register(ring, IORING_REGISTER_RESTRICTIONS, res, n);
}

int uring_set_file(struct io_uring *ring, u32 file, int fd)
{
	int r = io_uring_register_files_update(ring, file, &fd, 1);

	return r < 0 ? r : 0;
}

int uring_open(struct io_uring *ring, const int *fds, u32 n_fds, int event_fd, bool can_change,
	       u32 *out_capacity, struct err *err)
{
	struct io_uring_params p = {.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP};
	int r = io_uring_queue_init_params(URING_ENTRIES, ring, &p);

	if (r < 0)
		return err_errno(err, r, "no io_uring");
	/* Without this, a request's iovec array would have to outlive the call that submits it. */
	r = p.features & IORING_FEAT_SUBMIT_STABLE ? 0 : -ENOSYS;
	if (r == 0)
		r = io_uring_register_files(ring, fds, n_fds);
	if (r == 0)
		r = io_uring_register_eventfd(ring, event_fd);
	if (r == 0)
		r = uring_restrict(ring, can_change);
	if (r == 0)
		r = uring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (r < 0) {
		io_uring_queue_exit(ring);
		return err_errno(err, r, "io_uring cannot be restricted");
	}
	*out_capacity = p.cq_entries;
	return 0;
}

static int uring_shared_new(const struct raw_engine *e, u32 n, struct uring_shared **out,
			    struct err *err)
{
	struct uring_shared *s = NEW(struct uring_shared);
	AUTO(free_ptr) int *fds = NEW_ARRAY(int, n);
	int r;

	for (u32 i = 0; i < n; i++)
		fds[i] = e->fd;
	s->loop = e->loop;
	s->retry.fn = uring_on_retry;
	list_init(&s->reap.node);
	s->reap.fn = uring_on_reap;
	list_init(&s->engines);
	s->event = (struct loop_fd){.events = EPOLLIN | EPOLLET, .fn = uring_on_event};
	s->event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s->event.fd < 0 ? -errno : loop_fd_add(e->loop, &s->event);
	if (r < 0)
		err_errno(err, r, "cannot make an eventfd");
	else
		r = uring_open(&s->ring, fds, n, s->event.fd, e->can_change, &s->capacity, err);
	s->has_ring = r == 0;
	if (r < 0) {
		uring_shared_free(s);
		return r;
	}
	*out = s;
	return 0;
}

int raw_uring_new(const struct raw_engine *e, u32 n, struct raw_engine **out, struct err *err)
{
	static const struct raw_engine_ops ops = {
		.name = "io_uring",
		.is_cheap = true,
		.set_file = uring_engine_set_file,
		.submit = uring_submit,
		.kick = uring_kick,
		.wait = uring_wait,
		.free = uring_free,
	};
	struct uring_shared *s;
	int r = uring_shared_new(e, n, &s, err);

	if (r < 0)
		return r;
	for (u32 i = 0; i < n; i++) {
		struct raw_uring *u = NEW(struct raw_uring);

		u->engine = *e;
		u->engine.ops = &ops;
		u->shared = s;
		u->file = i;
		list_init(&u->waiting);
		list_append(&s->engines, &u->of_ring);
		out[i] = &u->engine;
	}
	return 0;
}
