/*
 * Block jobs on the guest's disks (image/job.h): from commands on the main thread to the I/O thread,
 * where disks and jobs live, and what becomes of them back to the main thread.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "block/block.h"
#include "block/hub.h"
#include "image/job.h"
#include "machine/machine_priv.h"
#include "virtio/blk.h"
#include "virtio/virtio.h"
#include "vm/vm.h"

struct pc_job {
	struct pc_slot *slot;     /* NULL: it has gone */
	bool is_starting;         /* its target is being opened */
	struct img_job *job;      /* the I/O thread's */
	struct guest_disk target; /* what the guest goes on with, if it does */
	bool has_replaced;        /* atomic: it has */
	int layer_fd;             /* COMMIT: the layer as the disk's image has it open; -1: none */
	int disk_fd;              /* what it goes on from, which its image closes */
	enum machine_job_kind kind;
};

static const enum img_job_kind pc_job_kinds[] = {
	[MACHINE_JOB_COPY] = IMG_JOB_COPY,
	[MACHINE_JOB_MIRROR] = IMG_JOB_MIRROR,
	[MACHINE_JOB_COMMIT] = IMG_JOB_COMMIT,
	[MACHINE_JOB_PULL] = IMG_JOB_PULL,
};

/* --- on the I/O thread --- */

static void pc_on_job_changed(void *opaque, unused struct img_job *j)
{
	struct pc_job *p = opaque;
	struct machine *m = p->slot->machine;

	__atomic_fetch_or(&m->jobs_changed, BIT32(p->slot - m->slots), __ATOMIC_RELEASE);
	loop_task_post(vm_main_loop(m->vm), &m->jobs_task);
}

static void pc_on_replaced(void *opaque, struct blk *old)
{
	struct pc_job *p = opaque;

	__atomic_store_n(&p->has_replaced, true, __ATOMIC_RELEASE);
	blk_unlock_fd(p->disk_fd);
	blk_free(old);
}

void pc_end_job(struct pc_slot *s)
{
	if (!s->job || !s->job->job)
		return;
	img_job_end(s->job->job);
	img_job_free(s->job->job);
	s->job->job = NULL;
}

/* --- what the image says of the target of a commit --- */

static bool pc_is_same_file(int a, int b)
{
	struct stat x, y;

	return a >= 0 && syscall(SYS_fstat, a, &x) == 0 && syscall(SYS_fstat, b, &y) == 0 &&
	       x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* How many layers lie above the target; 0: it isn't beneath the disk. */
static unsigned pc_layers_above(const struct guest_disk *d, int target_fd)
{
	unsigned parent = 0, layers = 1;

	for (unsigned i = 0; i < d->n_files; i++) {
		const struct guest_disk_file *f = &d->files[i];

		if (f->role != GUEST_FILE_BACKING || f->parent != parent)
			continue;
		if (pc_is_same_file(f->used_fd, target_fd))
			return layers;
		parent = i + 1;
		layers++;
	}
	return 0;
}

static struct guest_disk *pc_find_disk(struct machine *m, const char *name)
{
	for (unsigned i = 0; i < m->config->n_disks; i++)
		if (strcmp(m->config->disks[i].name, name) == 0)
			return &m->config->disks[i];
	return NULL;
}

static int pc_find_layers(struct guest_disk *d, const struct guest_disk *target,
			  struct img_job_options *o, struct err *err)
{
	o->layers = pc_layers_above(d, target->fd);
	if (!o->layers)
		return err_set(err, -EINVAL, "%s is not beneath the disk's image", target->path);
	return 0;
}

/* A layer that is only read is locked for readers; who commits into it is its one writer meanwhile. */
static int pc_lock_layer(const struct guest_disk *d, struct pc_job *p, struct err *err)
{
	for (unsigned i = 0; i < d->n_files; i++)
		if (pc_is_same_file(d->files[i].used_fd, p->target.fd))
			p->layer_fd = d->files[i].used_fd;
	blk_unlock_fd(p->layer_fd);
	if (blk_lock_fd(p->target.fd, false, err) == 0)
		return 0;
	blk_lock_fd(p->layer_fd, true, &(struct err)ERR_INIT);
	p->layer_fd = -1;
	return err_wrap(err, "%s", p->target.path);
}

/* The guest stays with its disk. The target's lock goes at once, its file some time later. */
static void pc_unlock_layer(struct pc_job *p)
{
	struct err err = ERR_INIT;

	if (p->layer_fd < 0 || !p->slot)
		return;
	if (p->target.fd >= 0 || p->target.used_fd >= 0)
		blk_unlock_fd(p->target.fd >= 0 ? p->target.fd : p->target.used_fd);
	if (blk_lock_fd(p->layer_fd, true, &err) < 0)
		log_warn("the lock of %s is lost: %s", p->target.path, err.text);
}

/* --- starting --- */

struct pc_job_start {
	struct machine *m;
	struct pc_job *p;
	struct img_job_options o;
	struct machine_waiter waiter;
	struct err *err;
	int result;
};

static void pc_start_job(void *arg)
{
	struct pc_job_start *z = arg;
	struct blk *hub = vblk_disk(z->p->slot->vdev), *target = z->o.target;

	/* A layer beneath may be smaller than the disk has become. */
	if (z->p->kind == MACHINE_JOB_COMMIT && target->size < hub->size)
		z->result = blk_resize(target, hub->size, z->err);
	if (!z->result)
		z->result = img_job_start(hub, &z->o, &z->p->job, z->err);
}

/* The main thread: with its target open, if it has one, which is taken over on success. */
static int pc_begin_job(struct pc_job_start *z, struct blk *target, struct err *err)
{
	int r = z->waiter.check(z->waiter.opaque, err);

	if (r == 0 && !z->p->slot)
		r = err_set(err, -ENOENT, "the disk is gone");
	if (r < 0)
		return r;
	z->o.target = target;
	z->err = err;
	vm_call_on_io(z->m->vm, pc_start_job, z);
	return z->result;
}

static int pc_find_job_slot(struct machine *m, const char *name, struct pc_slot **out,
			    struct err *err)
{
	unsigned slot = pc_find_slot(m, name);

	if (!slot)
		return err_set(err, -ENOENT, "there is no device '%s'", name);
	*out = &m->slots[slot - 1];
	if ((*out)->kind != MACHINE_DISK)
		return err_set(err, -EOPNOTSUPP, "'%s' is no disk", name);
	return 0;
}

/* It has ended, or never was. */
static void pc_free_job(struct pc_job *p)
{
	assert(!p->job);
	if (p->slot)
		p->slot->job = NULL;
	guest_disk_fini(&p->target);
	free(p);
}

static int pc_prepare_job(struct machine *m, const char *name, const struct machine_job_options *o,
			  struct pc_job_start *z, struct err *err)
{
	struct guest_disk *d = pc_find_disk(m, name);
	struct pc_slot *s;
	int r = pc_find_job_slot(m, name, &s, err);

	if (r < 0)
		return r;
	if (s->job)
		return err_set(err, -EBUSY, "a job is at work on '%s' already", name);
	if (d->is_overlaid)
		return err_set(err, -ENOTSUP,
			       "what the guest writes to '%s' is forgotten (--snapshot)", name);
	if (d->is_shared)
		return err_set(err, -ENOTSUP,
			       "'%s' is shared: what other guests write, a job wouldn't see", name);
	z->p->slot = s;
	s->job = z->p;
	z->p->disk_fd = d->used_fd;
	z->o = (struct img_job_options){
		.kind = pc_job_kinds[o->kind],
		.must_ask = o->must_ask,
		.keeps_disk = o->keeps_disk,
		.layers = o->is_top_only,
		.bytes_per_second = o->bytes_per_second,
		.changed = pc_on_job_changed,
		.replaced = pc_on_replaced,
		.opaque = z->p,
	};
	if (o->kind != MACHINE_JOB_COMMIT)
		return 0;
	r = pc_find_layers(d, &z->p->target, &z->o, err);
	return r < 0 ? r : pc_lock_layer(d, z->p, err);
}

static void pc_end_start(struct pc_job_start *z, const struct err *err)
{
	if (err) {
		pc_unlock_layer(z->p);
		pc_free_job(z->p);
	}
	free(z);
}

static void pc_on_target_opened(void *opaque, struct blk *target, struct err *err)
{
	struct pc_job_start *z = opaque;
	const struct machine_waiter w = z->waiter;
	struct pc_job *p = z->p;
	int r;

	p->is_starting = false;
	r = target ? pc_begin_job(z, target, err) : err->code;

	if (r < 0 && target) {
		blk_unlock_fd(p->target.used_fd);
		p->target.used_fd = -1;
		pc_close_disk(z->m, target);
	}
	pc_end_start(z, r < 0 ? err : NULL);
	w.done(w.opaque, r < 0 ? NULL : p->slot->vdev->dev.name, err);
}

int machine_start_job(struct machine *m, const char *name, const struct machine_job_options *o,
		      struct guest_disk *target, const struct machine_waiter *w, struct err *err)
{
	struct pc_job_start *z = NEW(struct pc_job_start);
	int r;

	*z = (struct pc_job_start){.m = m, .p = NEW(struct pc_job), .waiter = *w};
	z->p->kind = o->kind;
	z->p->layer_fd = -1;
	guest_disk_init(&z->p->target);
	if (target) {
		z->p->target = *target;
		guest_disk_init(target);
	}
	r = pc_prepare_job(m, name, o, z, err);
	z->p->is_starting = !r && target;
	if (!r && target)
		r = pc_open_later(m, &z->p->target, true, pc_on_target_opened, z, err);
	else if (!r)
		r = pc_begin_job(z, NULL, err);
	if (r < 0 || !target)
		pc_end_start(z, r < 0 ? err : NULL);
	if (r == 0 && !target)
		w->done(w->opaque, name, err);
	return r;
}

/* --- asking --- */

struct pc_job_call {
	struct img_job *job;
	struct img_job_status status;
	struct err *err;
	int result;
};

static void pc_job_status(void *arg)
{
	struct pc_job_call *z = arg;

	img_job_get_status(z->job, &z->status);
}

static void pc_job_complete(void *arg)
{
	struct pc_job_call *z = arg;

	z->result = img_job_complete(z->job, z->err);
}

static void pc_job_cancel(void *arg)
{
	img_job_cancel(((struct pc_job_call *)arg)->job);
}

static int pc_call_job(struct machine *m, const char *name, void (*fn)(void *arg),
		       struct pc_job_call *z)
{
	struct pc_slot *s;
	int r = pc_find_job_slot(m, name, &s, z->err);

	if (r < 0)
		return r;
	if (!s->job || !s->job->job)
		return err_set(z->err, -ENOENT, "no job is at work on '%s'", name);
	z->job = s->job->job;
	vm_call_on_io(m->vm, fn, z);
	return z->result;
}

int machine_complete_job(struct machine *m, const char *name, struct err *err)
{
	return pc_call_job(m, name, pc_job_complete, &(struct pc_job_call){.err = err});
}

int machine_cancel_job(struct machine *m, const char *name, struct err *err)
{
	return pc_call_job(m, name, pc_job_cancel, &(struct pc_job_call){.err = err});
}

static void pc_describe_job(const struct pc_slot *s, const struct img_job_status *status,
			    struct machine_job *out)
{
	static const enum machine_job_state states[] = {
		[IMG_JOB_RUNNING] = MACHINE_JOB_RUNNING,     [IMG_JOB_READY] = MACHINE_JOB_READY,
		[IMG_JOB_DONE] = MACHINE_JOB_DONE,           [IMG_JOB_FAILED] = MACHINE_JOB_FAILED,
		[IMG_JOB_CANCELLED] = MACHINE_JOB_CANCELLED,
	};

	*out = (struct machine_job){
		.device = s->vdev->dev.name,
		.kind = s->job->kind,
		.state = states[status->state],
		.done_bytes = status->done_bytes,
		.total_bytes = status->total_bytes,
		.error = status->error,
		.where = status->where,
	};
}

unsigned machine_list_jobs(struct machine *m, struct machine_job *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_root_ports; i++) {
		struct pc_slot *s = &m->slots[i];
		struct pc_job_call z = {0};

		if (!s->function || !s->job || !s->job->job)
			continue;
		z.job = s->job->job;
		vm_call_on_io(m->vm, pc_job_status, &z);
		pc_describe_job(s, &z.status, &out[n++]);
	}
	return n;
}

int pc_check_no_job(const struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->n_root_ports; i++) {
		const struct pc_slot *s = &m->slots[i];

		if (s->function && s->job)
			return err_set(err, -EBUSY, "a job is at work on '%s'", s->vdev->dev.name);
	}
	return 0;
}

/* --- what became of it: the main thread --- */

/* The disk of the configuration is the target now, in the same place. */
static void pc_take_target(struct machine *m, struct pc_job *p)
{
	struct guest_disk *d = pc_find_disk(m, p->slot->vdev->dev.name), was = *d;

	*d = p->target;
	d->name = was.name;
	d->slot = was.slot;
	d->is_readonly = was.is_readonly;
	d->on_error = was.on_error;
	d->n_queues = was.n_queues;
	d->is_packed = was.is_packed;
	d->limits = was.limits;
	was.name = NULL;
	was.fd = was.overlay_fd = -1;
	guest_disk_fini(&was);
	guest_disk_init(&p->target);
	log_info("disk '%s' is %s now", d->name, d->path);
}

/* After a pull: what lay beneath was closed, and is no part of the disk when the guest is saved. */
static void pc_let_go_beneath(struct machine *m, const struct pc_slot *s)
{
	struct guest_disk *d = pc_find_disk(m, s->vdev->dev.name);

	guest_disk_forget_backing(d);
	log_info("disk '%s' needs nothing beneath now", d->name);
}

/* On the I/O thread: so is the target, which is closed with it. */
static void pc_close_job(void *arg)
{
	struct pc_job *p = arg;

	img_job_free(p->job);
	p->job = NULL;
}

static void pc_tell_job(struct machine *m, struct pc_slot *s)
{
	struct pc_job_call z = {.job = s->job->job};
	struct machine_job told;

	vm_call_on_io(m->vm, pc_job_status, &z);
	pc_describe_job(s, &z.status, &told);
	if (__atomic_load_n(&s->job->has_replaced, __ATOMIC_ACQUIRE))
		pc_take_target(m, s->job);
	if (told.kind == MACHINE_JOB_PULL && told.state == MACHINE_JOB_DONE)
		pc_let_go_beneath(m, s);
	if (told.state > MACHINE_JOB_READY) {
		if (!__atomic_load_n(&s->job->has_replaced, __ATOMIC_ACQUIRE))
			pc_unlock_layer(s->job);
		vm_call_on_io(m->vm, pc_close_job, s->job);
		pc_free_job(s->job);
	}
	if (m->ops.job_changed)
		m->ops.job_changed(m->ops.opaque, &told);
}

static void pc_on_jobs_task(struct loop_task *t)
{
	struct machine *m = container_of(t, struct machine, jobs_task);
	u32 slots = __atomic_exchange_n(&m->jobs_changed, 0, __ATOMIC_ACQ_REL);

	for (unsigned i = 0; i < m->n_root_ports; i++) {
		struct pc_slot *s = &m->slots[i];

		if (slots & BIT32(i) && s->function && s->job && s->job->job)
			pc_tell_job(m, s);
	}
}

/* The device has gone, and its hub: the job ended before. One whose target is being opened is freed after that. */
void pc_forget_job(struct pc_slot *s)
{
	struct pc_job *p = s->job;

	s->job = NULL;
	if (!p)
		return;
	p->slot = NULL;
	if (!p->is_starting)
		pc_free_job(p);
}

static void pc_end_job_of(void *slot)
{
	pc_end_job(slot);
}

void pc_init_jobs(struct machine *m)
{
	list_init(&m->jobs_task.node);
	m->jobs_task.fn = pc_on_jobs_task;
}

void pc_fini_jobs(struct machine *m)
{
	loop_task_cancel(vm_main_loop(m->vm), &m->jobs_task);
	for (unsigned i = 0; i < m->n_root_ports; i++) {
		if (m->slots[i].job)
			vm_call_on_io(m->vm, pc_end_job_of, &m->slots[i]);
		pc_forget_job(&m->slots[i]);
	}
}
