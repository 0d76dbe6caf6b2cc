/*
 * The io_uring engine of raw disks.
 *
 * A ring could do what the process's seccomp filter forbids, so this one can do nothing but what
 * it is for: it starts disabled, gets its one file and its restrictions (the operations below, on
 * registered files only), and is then enabled (io_uring_register(2), IORING_REGISTER_RESTRICTIONS).
 * From there on no other registration is possible either, but that a ring made ahead may be given
 * another file: one that whoever does it has open anyway.
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

struct raw_uring {
	struct raw_engine engine;
	struct io_uring ring;
	struct loop_fd event; /* eventfd that the ring signals */
	struct loop_timer retry;
	struct loop_task reap;
	struct list waiting; /* for the kick */
	u32 n_in_ring, capacity;
	bool has_ring;
};

static const u8 uring_operations[] = {
	IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_READ,
	IORING_OP_WRITE, IORING_OP_FSYNC,  IORING_OP_FALLOCATE,
};

static struct raw_uring *uring_of(struct raw_engine *e)
{
	return container_of(e, struct raw_uring, engine);
}

static void uring_prepare_transfer(struct io_uring_sqe *sqe, const struct raw_op *op)
{
	bool is_read = op->call == RAW_READV;

	if (op->iov && op->n_iov > 1)
		io_uring_prep_rw(is_read ? IORING_OP_READV : IORING_OP_WRITEV, sqe, 0, op->iov,
				 op->n_iov, op->offset);
	else
		io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE, sqe, 0,
				 op->iov ? op->iov->iov_base : op->buf, (unsigned)op->bytes,
				 op->offset);
	sqe->rw_flags = op->mode;
}

static void uring_prepare(struct raw_uring *u, struct io_uring_sqe *sqe, struct blk_request *r)
{
	struct raw_op op;

	raw_describe(&u->engine, r, &op);
	switch (op.call) {
	case RAW_READV:
	case RAW_WRITEV:
		uring_prepare_transfer(sqe, &op);
		break;
	case RAW_FDATASYNC:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	case RAW_FALLOCATE:
		io_uring_prep_fallocate(sqe, 0, op.mode, (off_t)op.offset, (off_t)op.bytes);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, r);
}

static void uring_submit(struct raw_engine *e, struct blk_request *r)
{
	list_append(&uring_of(e)->waiting, &r->node);
}

static void uring_fill(struct raw_uring *u)
{
	while (!list_is_empty(&u->waiting) && u->n_in_ring < u->capacity) {
		struct blk_request *r = list_entry(u->waiting.next, struct blk_request, node);
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

		if (!sqe)
			return;
		list_remove(&r->node);
		uring_prepare(u, sqe, r);
		u->n_in_ring++;
	}
}

static int uring_enter(struct raw_uring *u)
{
	int r;

	io_uring_cq_eventfd_toggle(&u->ring, false);
	r = io_uring_submit(&u->ring);
	io_uring_cq_eventfd_toggle(&u->ring, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (io_uring_cq_ready(&u->ring))
		loop_task_post(u->engine.loop, &u->reap);
	return r;
}

static void uring_kick(struct raw_engine *e)
{
	struct raw_uring *u = uring_of(e);

	for (;;) {
		int r;

		uring_fill(u);
		if (!io_uring_sq_ready(&u->ring))
			return;
		r = uring_enter(u);
		if (r == -EINTR)
			continue;
		/* The kernel is short of memory: the entries stay, and are offered again. */
		if (r < 0) {
			loop_timer_arm(e->loop, &u->retry, time_mono_ns() + URING_RETRY_NS);
			return;
		}
	}
}

static void uring_on_retry(struct loop_timer *t)
{
	uring_kick(&container_of(t, struct raw_uring, retry)->engine);
}

static void uring_reap(struct raw_uring *u)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct blk_request *r = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->n_in_ring--;
		raw_step_done(&u->engine, r, result);
	}
	raw_round_done(&u->engine);
	uring_kick(&u->engine);
}

static void uring_on_event(struct loop_fd *w, unused u32 events)
{
	uring_reap(container_of(w, struct raw_uring, event));
}

static void uring_on_reap(struct loop_task *t)
{
	uring_reap(container_of(t, struct raw_uring, reap));
}

static void uring_wait(struct raw_engine *e)
{
	struct raw_uring *u = uring_of(e);

	uring_fill(u);
	/* Interrupted, or out of memory for a moment: the caller asks again. */
	if (io_uring_submit_and_wait(&u->ring, 1) >= 0)
		uring_reap(u);
}

static int uring_engine_set_file(struct raw_engine *e, int fd)
{
	e->fd = fd;
	return uring_set_file(&uring_of(e)->ring, fd);
}

static void uring_free(struct raw_engine *e)
{
	struct raw_uring *u = uring_of(e);

	loop_timer_disarm(e->loop, &u->retry);
	loop_task_cancel(e->loop, &u->reap);
	loop_fd_remove(e->loop, &u->event);
	if (u->has_ring)
		io_uring_queue_exit(&u->ring);
	fd_close(u->event.fd);
	free(u);
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

int uring_set_file(struct io_uring *ring, int fd)
{
	int r = io_uring_register_files_update(ring, 0, &fd, 1);

	return r < 0 ? r : 0;
}

int uring_open(struct io_uring *ring, int fd, int event_fd, bool can_change, u32 *out_capacity,
	       struct err *err)
{
	struct io_uring_params p = {.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP};
	int r = io_uring_queue_init_params(URING_ENTRIES, ring, &p);

	if (r < 0)
		return err_errno(err, r, "no io_uring");
	/* Without this, a request's iovec array would have to outlive the call that submits it. */
	r = p.features & IORING_FEAT_SUBMIT_STABLE ? 0 : -ENOSYS;
	if (r == 0)
		r = io_uring_register_files(ring, &fd, 1);
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

int raw_uring_new(const struct raw_engine *e, struct raw_engine **out, struct err *err)
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
	struct raw_uring *u = NEW(struct raw_uring);
	int r;

	u->engine = *e;
	u->engine.ops = &ops;
	list_init(&u->waiting);
	u->retry.fn = uring_on_retry;
	list_init(&u->reap.node);
	u->reap.fn = uring_on_reap;
	u->event = (struct loop_fd){.events = EPOLLIN | EPOLLET, .fn = uring_on_event};
	u->event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = u->event.fd < 0 ? -errno : loop_fd_add(e->loop, &u->event);
	if (r < 0)
		err_errno(err, r, "cannot make an eventfd");
	else
		r = uring_open(&u->ring, e->fd, u->event.fd, e->can_change, &u->capacity, err);
	u->has_ring = r == 0;
	if (r < 0) {
		uring_free(&u->engine);
		return r;
	}
	*out = &u->engine;
	return 0;
}
