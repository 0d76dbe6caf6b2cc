/*
 * Block jobs. See job.h.
 *
 * A disk is looked at in chunks. Those that are to be copied are marked in `todo`; workers, which are
 * coroutines, take runs of them, and unmark them before they read, so that what is written meanwhile
 * marks them again (MIRROR, COMMIT) or waits until they are read (COPY, by `busy`). The leader, a
 * coroutine too, starts the workers, decides what comes next, and hands the end over to a task of the
 * loop, because a hub is exchanged outside of coroutines.
 */
#include "image/job.h"

#include <string.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/time.h"
#include "block/hub.h"
#include "block/io.h"
#include "image/image.h"

#define JOB_CHUNK    (64 * KIB)
#define JOB_RUN      (1 * MIB) /* copied at once by a worker */
#define JOB_WORKERS  4
#define JOB_NEARLY   16u /* chunks: with so few left to do, both are as good as the same */
#define JOB_PAUSE_NS (20 * NSEC_PER_MSEC) /* between looks at what the guest wrote, once in step */

struct img_job {
	struct img_job_options o;
	struct blk *hub, *target;
	struct co_pool *pool;
	struct blk_watch watch; /* of the hub */
	u64 *todo, *busy;       /* a bit for each chunk */
	u64 n_chunks, n_todo, cursor;
	u64 done_bytes, started_ns;
	enum img_job_state state;
	int error;
	const char *where;
	bool is_cancelled, must_complete, is_locked, is_waiting_for_finish;

	unsigned n_workers;
	struct co_queue
		changed; /* a chunk isn't busy any more, a worker ended, somebody asked for something */
	struct co *leader; /* once it waits for the end */
	struct loop_task finish;
	struct loop_timer timer; /* of the pace, and of the pause */
	struct loop_task tick;   /* the timer's, on the loop */
	u8 *buffers;             /* JOB_RUN for each worker, and one for what a write waits for */
	u32 free_buffers;        /* bit for each */
};

/* --- chunks --- */

static bool job_bit(const u64 *map, u64 chunk)
{
	return map[chunk / 64] & BIT(chunk % 64);
}

static void job_set(u64 *map, u64 chunk, bool on)
{
	if (on)
		map[chunk / 64] |= BIT(chunk % 64);
	else
		map[chunk / 64] &= ~BIT(chunk % 64);
}

static void job_mark(struct img_job *j, u64 chunk)
{
	j->n_todo += !job_bit(j->todo, chunk);
	job_set(j->todo, chunk, true);
}

static void job_unmark(struct img_job *j, u64 chunk)
{
	j->n_todo -= job_bit(j->todo, chunk);
	job_set(j->todo, chunk, false);
}

static u64 job_bytes(const struct img_job *j, u64 chunk, u64 n)
{
	return MIN((chunk + n) * JOB_CHUNK, j->hub->size) - chunk * JOB_CHUNK;
}

static void job_fail(struct img_job *j, int error, const char *where)
{
	if (j->error)
		return;
	j->error = error;
	j->where = where;
	co_queue_wake_all(&j->changed);
}

static bool job_must_end(const struct img_job *j)
{
	return j->error || j->is_cancelled;
}

/* --- copying --- */

static u8 *job_take_buffer(struct img_job *j)
{
	unsigned i;

	while (!j->free_buffers)
		co_queue_wait(&j->changed);
	i = (unsigned)__builtin_ctz(j->free_buffers);
	j->free_buffers &= ~BIT32(i);
	return j->buffers + i * JOB_RUN;
}

static void job_give_buffer(struct img_job *j, const u8 *buffer)
{
	j->free_buffers |= BIT32((u64)(buffer - j->buffers) / JOB_RUN);
	co_queue_wake_all(&j->changed);
}

static int job_copy_data(struct img_job *j, struct blk *from, struct blk *to, u64 offset, u64 bytes)
{
	u8 *buffer = job_take_buffer(j);
	int r = blk_read(from, offset, buffer, bytes);

	if (r < 0) {
		job_fail(j, r, "reading");
	} else if (!job_must_end(j)) { /* else nothing new is begun */
		r = blk_write(to, offset, buffer, bytes);
		if (r < 0)
			job_fail(j, r, "writing the target");
	}
	job_give_buffer(j, buffer);
	return r;
}

/*
 * Does this stretch, as status has it, lie in the layers that are asked for? Also where nothing of theirs
 * is allocated, if it is one of them that ends there: it reads as zeros, whatever is beneath.
 */
static bool job_is_above(const struct img_job *j, const struct blk_status *s)
{
	return !j->o.layers || s->depth < j->o.layers;
}

static int job_copy_stretch(struct img_job *j, u64 offset, u64 bytes, const struct blk_status *s)
{
	struct blk *disk = blk_hub_lower(j->hub);
	int r;

	if (j->o.kind == IMG_JOB_PULL) {
		if (s->is_allocated && !s->depth)
			return 0;
		if (!s->is_zero)
			return job_copy_data(j, disk, disk, offset, bytes);
		r = blk_write_zeroes(disk, offset, bytes, false);
	} else {
		if (!job_is_above(j, s))
			return 0;
		if (!s->is_zero)
			return job_copy_data(j, disk, j->target, offset, bytes);
		r = blk_write_zeroes(j->target, offset, bytes, true);
	}
	if (r < 0)
		job_fail(j, r, "writing zeros");
	return r;
}

/* At most JOB_RUN bytes. */
static int job_copy(struct img_job *j, u64 offset, u64 bytes)
{
	for (u64 at = 0; at < bytes && !job_must_end(j);) {
		struct blk_status s;
		int r = blk_status(blk_hub_lower(j->hub), offset + at, bytes - at, &s);

		if (r < 0) {
			job_fail(j, r, "looking at the disk");
			return r;
		}
		r = job_copy_stretch(j, offset + at, s.bytes, &s);
		if (r < 0)
			return r;
		at += s.bytes;
	}
	j->done_bytes += bytes;
	return 0;
}

/* --- what the guest writes --- */

static struct img_job *job_of_watch(struct blk_watch *w)
{
	return container_of(w, struct img_job, watch);
}

/* COPY: what is about to be overwritten, and wasn't copied, is copied now. */
static int job_before(struct blk_watch *w, u64 offset, u64 bytes)
{
	struct img_job *j = job_of_watch(w);
	u64 end = (offset + bytes + JOB_CHUNK - 1) / JOB_CHUNK;

	for (u64 chunk = offset / JOB_CHUNK; chunk < end && !job_must_end(j); chunk++) {
		if (job_bit(j->todo, chunk)) {
			job_unmark(j, chunk);
			job_set(j->busy, chunk, true);
			job_copy(j, chunk * JOB_CHUNK, job_bytes(j, chunk, 1));
			job_set(j->busy, chunk, false);
			co_queue_wake_all(&j->changed);
		}
		while (job_bit(j->busy, chunk))
			co_queue_wait(&j->changed);
	}
	return 0; /* a target that fails is no concern of the guest's */
}

static void job_after(struct blk_watch *w, u64 offset, u64 bytes)
{
	struct img_job *j = job_of_watch(w);
	u64 end = (offset + bytes + JOB_CHUNK - 1) / JOB_CHUNK;

	for (u64 chunk = offset / JOB_CHUNK; chunk < end; chunk++)
		job_mark(j, chunk);
}

/* --- time --- */

static void job_on_tick(struct loop_task *t)
{
	co_queue_wake_all(&container_of(t, struct img_job, tick)->changed);
}

static void job_on_timer(struct loop_timer *t)
{
	struct img_job *j = container_of(t, struct img_job, timer);

	loop_task_post(j->hub->loop, &j->tick);
}

/* In a coroutine: until then, or anything changes. */
static void job_sleep(struct img_job *j, u64 until_ns)
{
	loop_timer_arm(j->hub->loop, &j->timer, until_ns);
	co_queue_wait(&j->changed);
}

static void job_keep_pace(struct img_job *j)
{
	while (j->o.bytes_per_second && !job_must_end(j) && !j->is_locked) {
		u64 due = j->started_ns +
			  (u64)((u128)j->done_bytes * NSEC_PER_SEC / j->o.bytes_per_second);

		if (time_mono_ns() >= due)
			return;
		job_sleep(j, due);
	}
}

/* --- workers --- */

/* The next run of chunks to do: their number, 0 when there are none. */
static u64 job_take_run(struct img_job *j, u64 *out_first)
{
	u64 n = 0;

	for (u64 i = 0; i < j->n_chunks; i++) {
		u64 chunk = (j->cursor + i) % j->n_chunks;

		if (!j->todo[chunk / 64] && !(chunk % 64) && chunk + 64 <= j->n_chunks) {
			i += 63; /* none of these */
			continue;
		}
		if (job_bit(j->todo, chunk)) {
			*out_first = chunk;
			break;
		}
		if (i + 1 == j->n_chunks)
			return 0;
	}
	if (!j->n_todo)
		return 0;
	while (n < JOB_RUN / JOB_CHUNK && *out_first + n < j->n_chunks &&
	       job_bit(j->todo, *out_first + n)) {
		job_unmark(j, *out_first + n);
		job_set(j->busy, *out_first + n, true);
		n++;
	}
	j->cursor = (*out_first + n) % j->n_chunks;
	return n;
}

static void job_do_run(struct img_job *j, u64 first, u64 n)
{
	u64 offset = first * JOB_CHUNK, bytes = job_bytes(j, first, n);
	struct blk_range range;
	bool is_pull = j->o.kind == IMG_JOB_PULL;

	if (is_pull)
		blk_hub_lock(j->hub, &range, offset, bytes);
	job_copy(j, offset, bytes);
	if (is_pull)
		blk_hub_unlock(j->hub, &range);
	for (u64 i = 0; i < n; i++)
		job_set(j->busy, first + i, false);
	co_queue_wake_all(&j->changed);
}

static void job_worker(void *arg)
{
	struct img_job *j = arg;
	u64 first = 0, n;

	while (!job_must_end(j) && (n = job_take_run(j, &first))) {
		job_do_run(j, first, n);
		job_keep_pace(j);
	}
	j->n_workers--;
	co_queue_wake_all(&j->changed);
}

/* Until nothing is left to do, or the job must end. */
static void job_work(struct img_job *j)
{
	for (unsigned i = 0; i < JOB_WORKERS; i++) {
		j->n_workers++;
		co_start(j->pool, job_worker, j);
	}
	while (j->n_workers)
		co_queue_wait(&j->changed);
}

/* --- the leader --- */

static void job_change_state(struct img_job *j, enum img_job_state state)
{
	j->state = state;
	if (j->o.changed)
		j->o.changed(j->o.opaque, j);
}

static bool job_follows(const struct img_job *j)
{
	return j->o.kind == IMG_JOB_MIRROR || j->o.kind == IMG_JOB_COMMIT;
}

/* MIRROR, COMMIT: in step with the guest until it is to be completed. */
static void job_follow(struct img_job *j)
{
	if (!j->o.must_ask)
		j->must_complete = true;
	while (!job_must_end(j)) {
		job_work(j);
		if (j->n_todo > JOB_NEARLY || job_must_end(j))
			continue;
		if (j->state == IMG_JOB_RUNNING)
			job_change_state(j, IMG_JOB_READY);
		if (j->must_complete)
			return;
		job_sleep(j, time_mono_ns() + JOB_PAUSE_NS);
	}
}

static void job_flush(struct img_job *j)
{
	struct blk *b = j->target ? j->target : blk_hub_lower(j->hub);
	int r = job_must_end(j) ? 0 : blk_flush(b);

	if (r < 0)
		job_fail(j, r, "flushing");
}

static void job_lead(void *arg)
{
	struct img_job *j = arg;
	struct blk_range all;

	if (job_follows(j))
		job_follow(j);
	else
		job_work(j);
	if (job_follows(j) && !job_must_end(j)) {
		blk_hub_lock(j->hub, &all, 0, j->hub->size);
		j->is_locked = true;
		job_work(j); /* nobody writes any more: the rest */
	}
	job_flush(j);
	j->leader = co_self();
	j->is_waiting_for_finish = true;
	loop_task_post(j->hub->loop, &j->finish);
	co_wait();
	if (j->is_locked)
		blk_hub_unlock(j->hub, &all);
}

/* --- the end, outside of coroutines --- */

static bool job_replaces(const struct img_job *j)
{
	return j->is_locked && !j->error && !j->is_cancelled && !j->o.keeps_disk;
}

/* PULL: nothing beneath is needed now; it is closed. */
static void job_cut_off(struct img_job *j)
{
	struct blk *b = blk_hub_lower(j->hub);
	struct err err = ERR_INIT;

	if (j->o.kind == IMG_JOB_PULL && !job_must_end(j) &&
	    b->image->set_backing(b, NULL, NULL, &err) < 0)
		job_fail(j, err.code, "writing the image's header");
}

static void job_on_finish(struct loop_task *t)
{
	struct img_job *j = container_of(t, struct img_job, finish);
	struct blk *old = NULL;

	j->is_waiting_for_finish = false;
	if (j->target)
		blk_hub_remove_disk(j->hub, j->target);
	if (job_replaces(j)) {
		old = blk_hub_replace(j->hub, j->target);
		j->target = NULL;
	}
	co_wake(j->leader);
	blk_hub_watch(j->hub, NULL);
	job_cut_off(j);
	if (old)
		j->o.replaced(j->o.opaque, old);
	job_change_state(j, j->error          ? IMG_JOB_FAILED
			    : j->is_cancelled ? IMG_JOB_CANCELLED
					      : IMG_JOB_DONE);
}

/* A drain can't wait for the loop. */
static void job_poll(struct blk_watch *w)
{
	struct img_job *j = job_of_watch(w);

	if (!j->is_waiting_for_finish)
		return;
	loop_task_cancel(j->hub->loop, &j->finish);
	job_on_finish(&j->finish);
}

/* --- the face --- */

static int job_check(struct blk *hub, const struct img_job_options *o, struct err *err)
{
	const struct blk *lower = blk_hub_lower(hub);

	if (blk_hub_is_watched(hub))
		return err_set(err, -EBUSY, "a job is at work on it already");
	if (o->kind == IMG_JOB_PULL) {
		if (lower->is_readonly)
			return err_set(err, -EROFS, "the disk is read only");
		if (!lower->image || !lower->image->set_backing)
			return err_set(err, -ENOTSUP, "the disk has nothing beneath it");
		return 0;
	}
	if (o->target->is_readonly)
		return err_set(err, -EROFS, "the target is read only");
	if (o->target->size < hub->size)
		return err_set(err, -ENOSPC, "the target has %lu bytes, the disk %lu",
			       o->target->size, hub->size);
	if (o->target->block_size != hub->block_size && job_follows(&(struct img_job){.o = *o}))
		return err_set(err, -EINVAL, "the target has blocks of %u bytes, the disk of %u",
			       o->target->block_size, hub->block_size);
	return 0;
}

static int job_allocate(struct img_job *j, struct err *err)
{
	u64 words = j->n_chunks / 64 + 1;

	j->todo = alloc_try(words, sizeof(u64));
	j->busy = alloc_try(words, sizeof(u64));
	j->buffers = aligned_alloc(4096, (JOB_WORKERS + 1) * JOB_RUN);
	if (!j->todo || !j->busy || !j->buffers)
		return err_set(err, -ENOMEM, "no memory for a job on a disk of this size");
	return co_pool_new(JOB_WORKERS + 1, &j->pool, err);
}

static void job_init(struct img_job *j, struct blk *hub, const struct img_job_options *o)
{
	j->o = *o;
	j->hub = hub;
	j->n_chunks = (hub->size + JOB_CHUNK - 1) / JOB_CHUNK;
	j->started_ns = time_mono_ns();
	j->free_buffers = BIT32(JOB_WORKERS + 1) - 1;
	co_queue_init(&j->changed);
	list_init(&j->finish.node);
	list_init(&j->tick.node);
	j->finish.fn = job_on_finish;
	j->tick.fn = job_on_tick;
	j->timer.fn = job_on_timer;
	j->watch.poll = job_poll;
	if (o->kind == IMG_JOB_COPY)
		j->watch.before = job_before;
	else if (o->kind != IMG_JOB_PULL)
		j->watch.after = job_after;
}

int img_job_start(struct blk *hub, const struct img_job_options *o, struct img_job **out,
		  struct err *err)
{
	struct img_job *j;
	int r = job_check(hub, o, err);

	if (r < 0)
		return r;
	j = NEW(struct img_job);
	job_init(j, hub, o);
	r = job_allocate(j, err);
	if (r < 0) {
		img_job_free(j);
		return r;
	}
	for (u64 chunk = 0; chunk < j->n_chunks; chunk++)
		job_mark(j, chunk);
	j->target = o->target;
	blk_hub_watch(hub, &j->watch);
	if (j->target)
		blk_hub_add_disk(hub, j->target);
	*out = j;
	co_start(j->pool, job_lead, j);
	return 0;
}

void img_job_get_status(const struct img_job *j, struct img_job_status *out)
{
	*out = (struct img_job_status){
		.kind = j->o.kind,
		.state = j->state,
		.done_bytes = j->done_bytes,
		.total_bytes = j->done_bytes + j->n_todo * JOB_CHUNK,
		.error = j->error,
		.where = j->where,
	};
}

int img_job_complete(struct img_job *j, struct err *err)
{
	if (!job_follows(j) || j->state != IMG_JOB_READY)
		return err_set(err, -EBUSY, "it isn't ready to be completed");
	j->must_complete = true;
	co_queue_wake_all(&j->changed);
	return 0;
}

void img_job_cancel(struct img_job *j)
{
	j->is_cancelled = true;
	co_queue_wake_all(&j->changed);
	/* A server that doesn't answer is given up by that. */
	if (j->target)
		blk_drain(j->target);
}

void img_job_end(struct img_job *j)
{
	img_job_cancel(j);
	while (j->state == IMG_JOB_RUNNING || j->state == IMG_JOB_READY) {
		blk_drain(blk_hub_lower(j->hub));
		if (j->target)
			blk_drain(j->target);
		job_poll(&j->watch);
	}
}

void img_job_free(struct img_job *j)
{
	if (j->hub) {
		loop_timer_disarm(j->hub->loop, &j->timer);
		loop_task_cancel(j->hub->loop, &j->tick);
	}
	blk_free(j->target);
	co_pool_free(j->pool);
	free(j->todo);
	free(j->busy);
	free(j->buffers);
	free(j);
}
