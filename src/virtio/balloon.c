/*
 * virtio-balloon. See balloon.h; the wire is balloon_wire.h's.
 *
 * Inflating: chains of page numbers. Neighbours are joined, upwards and downwards, so that a run of
 * them costs one system call and a huge page that goes whole is not taken apart first. The numbers
 * are the guest's: what isn't RAM that it may write is counted and left alone; a page that is given
 * twice is given back twice. Deflating needs nothing: the guest's next access gets a page of zeroes.
 *
 * Reports: chains whose buffers are the free memory itself. With a poison value other than zero the
 * guest expects to find that again (5.5.6.7.1), so that nothing may go back.
 *
 * Statistics: the driver's buffer waits here until the next question, which is handing it back.
 */
#include "virtio/balloon.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/time.h"
#include "state/state.h"
#include "virtio/balloon_wire.h"
#include "virtio/virtio.h"

#define VBALLOON_QUEUE_SIZE  128
#define VBALLOON_SEGS        64
#define VBALLOON_BATCH       256  /* page numbers looked at together: Linux's chains have as many */
#define VBALLOON_CHAIN_PAGES 4096 /* page numbers of a chain that count */
#define VBALLOON_ROUND       32   /* chains, before other devices get their turn */
#define VBALLOON_TELL_NS     (250 * NSEC_PER_MSEC)

struct vballoon {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct vballoon_config_wire config;
	u64 memory; /* bytes */
	u64 poll_ns;
	u32 target, actual; /* pages in the balloon */
	u32 poison;
	struct vq_chain *stats_chain; /* waits for the next question; or NULL */
	struct loop_timer poll, tell;
	bool is_telling;
	void (*changed)(void *opaque);
	void *opaque;

	u64 given_back, refused;
	u64 stats[VBALLOON_STATS];
	u32 stats_known;
	u64 stats_at_ns; /* when they came */
};

static struct vballoon *vballoon_of(struct virtio_device *v)
{
	return container_of(v, struct vballoon, vdev);
}

static void vballoon_fill_config(struct vballoon *d)
{
	d->config = (struct vballoon_config_wire){
		.num_pages = le32_of(d->target),
		.actual = le32_of(d->actual),
		.poison_val = le32_of(d->poison),
	};
}

/* Handles a round of chains; what is left over has its turn after the other devices. */
static void vballoon_serve(struct vballoon *d, struct vq *q,
			   void (*handle)(struct vballoon *d, struct vq_chain *c))
{
	unsigned left = VBALLOON_ROUND;
	struct vq_chain *c;

	do {
		vq_disable_notify(q);
		while (left && (c = vq_pop(q))) {
			handle(d, c);
			vq_push(c, 0);
			left--;
		}
		vq_publish(q);
	} while (left && vq_enable_notify(q));
	if (!left)
		virtio_kick(&d->vdev, q);
}

/* --- inflating and deflating --- */

/* Pages [from, to) of guest-physical memory. */
struct vballoon_run {
	u64 from, to;
};

static void vballoon_count(struct vballoon *d, i64 given)
{
	if (given > 0)
		d->given_back += (u64)given;
}

static void vballoon_give_run(struct vballoon *d, const struct vballoon_run *r)
{
	u64 size = (r->to - r->from) << VBALLOON_PAGE_SHIFT;
	gpa_t gpa = r->from << VBALLOON_PAGE_SHIFT;
	struct gmem_view view;

	for (u64 done = 0, step; done < size; done += step) {
		if (gmem_view_open(d->vdev.gmem, gpa + done, size - done, true, &view) < 0) {
			guest_error(&d->vdev.dev, "page %#lx is none of RAM",
				    (gpa + done) >> VBALLOON_PAGE_SHIFT);
			d->refused++;
			step = PAGE_SIZE;
			continue;
		}
		step = view.size;
		vballoon_count(d, gmem_give_back(d->vdev.gmem, view.ptr, view.size));
		gmem_view_release(&view);
	}
}

static void vballoon_give_pages(struct vballoon *d, const le32 *pages, u32 n)
{
	struct vballoon_run r = {0};

	for (u32 i = 0; i < n; i++) {
		u64 page = le32_get(pages[i]);

		if (r.to > r.from && page == r.to) {
			r.to++;
		} else if (r.to > r.from && page + 1 == r.from) {
			r.from--;
		} else {
			vballoon_give_run(d, &r);
			r = (struct vballoon_run){page, page + 1};
		}
	}
	vballoon_give_run(d, &r);
}

static void vballoon_inflate_chain(struct vballoon *d, struct vq_chain *c)
{
	le32 pages[VBALLOON_BATCH];
	u64 n = vq_readable(c) / sizeof(pages[0]);

	if (n > VBALLOON_CHAIN_PAGES)
		guest_error(&d->vdev.dev, "%lu pages in one chain: some are left alone", n);
	for (u64 left = MIN(n, (u64)VBALLOON_CHAIN_PAGES), part; left; left -= part) {
		part = MIN(left, (u64)VBALLOON_BATCH);
		if (!vq_take(c, pages, part * sizeof(pages[0])))
			unreachable_code();
		vballoon_give_pages(d, pages, (u32)part);
	}
}

static void vballoon_inflate_notify(struct virtio_device *v, struct vq *q)
{
	vballoon_serve(vballoon_of(v), q, vballoon_inflate_chain);
}

static void vballoon_deflate_chain(struct vballoon *d, struct vq_chain *c)
{
	(void)d, (void)c; /* a page comes back by being used */
}

static void vballoon_deflate_notify(struct virtio_device *v, struct vq *q)
{
	vballoon_serve(vballoon_of(v), q, vballoon_deflate_chain);
}

/* --- reports of free pages --- */

static void vballoon_report_chain(struct vballoon *d, struct vq_chain *c)
{
	const struct iovec *iov;
	u32 n;

	if (d->poison)
		return;
	iov = vq_writable_iov(c, &n);
	for (u32 i = 0; i < n; i++)
		vballoon_count(d, gmem_give_back(d->vdev.gmem, iov[i].iov_base, iov[i].iov_len));
}

/* --- statistics --- */

const char *vballoon_stat_name(enum vballoon_stat s)
{
	static const char *const names[VBALLOON_STATS] = {
		"swap-in", "swap-out",         "major-faults", "minor-faults",     "free-memory",
		"memory",  "available-memory", "disk-caches",  "huge-allocations", "huge-failures",
	};

	return names[s];
}

static void vballoon_take_stats(struct vballoon *d, struct vq_chain *c)
{
	struct vballoon_stat_wire w;

	d->stats_known = 0;
	for (u32 i = 0; i < 2 * VBALLOON_STATS && vq_take(c, &w, sizeof(w)); i++) {
		u16 tag = le16_get(w.tag);

		if (tag >= VBALLOON_STATS)
			continue; /* a newer driver's */
		d->stats[tag] = le64_get(w.val);
		d->stats_known |= BIT32(tag);
	}
	d->stats_at_ns = time_mono_ns();
}

/* Keeps the newest buffer; a driver has one, but who knows. */
static void vballoon_stats_notify(struct vballoon *d, struct vq *q)
{
	struct vq_chain *c;

	for (u32 i = 0; i < VBALLOON_QUEUE_SIZE && (c = vq_pop(q)); i++) {
		if (d->stats_chain)
			vq_push(d->stats_chain, 0);
		d->stats_chain = c;
		vballoon_take_stats(d, c);
	}
	vq_publish(q);
}

static void vballoon_start_poll(struct vballoon *d)
{
	if (d->poll_ns && virtio_has(&d->vdev, VBALLOON_F_STATS_VQ))
		loop_timer_arm(d->vdev.loop, &d->poll, time_mono_ns() + d->poll_ns);
}

static void vballoon_on_poll(struct loop_timer *t)
{
	struct vballoon *d = container_of(t, struct vballoon, poll);

	device_lock(&d->vdev.dev);
	if (d->vdev.is_started && !d->vdev.is_quiesced) {
		if (d->stats_chain) {
			vq_push(d->stats_chain, 0);
			d->stats_chain = NULL;
			vq_publish(virtio_vq(&d->vdev, VBALLOON_QUEUE_STATS));
		}
		vballoon_start_poll(d);
	}
	device_unlock(&d->vdev.dev);
}

/* Which of the two comes on this queue: see balloon_wire.h. */
static void vballoon_other_notify(struct virtio_device *v, struct vq *q)
{
	struct vballoon *d = vballoon_of(v);

	if (vq_index(q) == VBALLOON_QUEUE_STATS && virtio_has(v, VBALLOON_F_STATS_VQ))
		vballoon_stats_notify(d, q);
	else if (virtio_has(v, VBALLOON_F_PAGE_REPORTING))
		vballoon_serve(d, q, vballoon_report_chain);
	else
		vballoon_serve(d, q, vballoon_deflate_chain);
}

/* --- the device --- */

/* A driver that changes its mind all the time doesn't become a flood of events. */
static void vballoon_tell_later(struct vballoon *d)
{
	if (d->is_telling || !d->changed)
		return;
	d->is_telling = true;
	loop_timer_arm(d->vdev.loop, &d->tell, time_mono_ns() + VBALLOON_TELL_NS);
}

static void vballoon_on_tell(struct loop_timer *t)
{
	struct vballoon *d = container_of(t, struct vballoon, tell);

	device_lock(&d->vdev.dev);
	d->is_telling = false;
	device_unlock(&d->vdev.dev);
	d->changed(d->opaque);
}

/* The driver's fields are whole words. */
static void vballoon_write_config(struct virtio_device *v, u32 off, const void *buf, u32 size)
{
	struct vballoon *d = vballoon_of(v);
	le32 w;

	if (size != sizeof(w)) {
		guest_error(&v->dev, "%u-byte write to the configuration", size);
		return;
	}
	memcpy(&w, buf, sizeof(w));
	if (off == offsetof(struct vballoon_config_wire, actual)) {
		d->actual = le32_get(w);
		vballoon_tell_later(d);
	} else if (off == offsetof(struct vballoon_config_wire, poison_val) &&
		   virtio_has(v, VBALLOON_F_PAGE_POISON)) {
		d->poison = le32_get(w);
	} else {
		guest_error(&v->dev, "write at %#x of the configuration", off);
	}
	vballoon_fill_config(d);
}

static void vballoon_start(struct virtio_device *v)
{
	vballoon_start_poll(vballoon_of(v));
}

static void vballoon_stop(struct virtio_device *v)
{
	struct vballoon *d = vballoon_of(v);

	if (d->stats_chain)
		vq_push(take(d->stats_chain), 0);
}

static void vballoon_reset(struct virtio_device *v)
{
	struct vballoon *d = vballoon_of(v);

	d->actual = d->poison = 0;
	d->stats_known = 0;
	vballoon_fill_config(d);
	vballoon_tell_later(d);
}

static void vballoon_quiesce(struct virtio_device *v)
{
	struct vballoon *d = vballoon_of(v);

	if (d->stats_chain)
		vq_unpop(take(d->stats_chain));
}

static void vballoon_resume(struct virtio_device *v)
{
	vballoon_start_poll(vballoon_of(v));
}

static void vballoon_free(struct device *dev)
{
	struct vballoon *d = container_of(dev, struct vballoon, vdev.dev);

	loop_timer_disarm(d->vdev.loop, &d->poll);
	loop_timer_disarm(d->vdev.loop, &d->tell);
	if (d->stats_chain)
		vq_push(d->stats_chain, 0);
	virtio_device_fini(&d->vdev);
	free(d);
}

static u32 vballoon_pages_for(const struct vballoon *d, u64 target)
{
	return (u32)((d->memory - MIN(target, d->memory)) >> VBALLOON_PAGE_SHIFT);
}

void vballoon_set_target(struct virtio_device *v, u64 bytes)
{
	struct vballoon *d = vballoon_of(v);
	u32 pages = vballoon_pages_for(d, bytes);

	device_lock(&v->dev);
	if (d->target != pages) {
		d->target = pages;
		vballoon_fill_config(d);
		virtio_config_changed(v);
	}
	device_unlock(&v->dev);
}

/* A driver may say that its balloon is larger than all memory. */
static u64 vballoon_bytes_left(const struct vballoon *d, u32 pages)
{
	return d->memory - MIN((u64)pages << VBALLOON_PAGE_SHIFT, d->memory);
}

void vballoon_get_info(struct virtio_device *v, struct vballoon_info *out)
{
	struct vballoon *d = vballoon_of(v);

	device_lock(&v->dev);
	*out = (struct vballoon_info){
		.memory = d->memory,
		.target = vballoon_bytes_left(d, d->target),
		.actual = vballoon_bytes_left(d, d->actual),
		.given_back = d->given_back,
		.refused = d->refused,
		.stats_known = d->stats_known,
		.stats_age_ns = time_mono_ns() - d->stats_at_ns,
	};
	memcpy(out->stats, d->stats, sizeof(out->stats));
	device_unlock(&v->dev);
}

static int vballoon_after_load(void *object, unused u16 version, struct err *err)
{
	struct vballoon *d = object;

	if ((u64)d->target << VBALLOON_PAGE_SHIFT > d->memory)
		return err_set(err, -EINVAL, "a balloon of %u pages is more than all memory",
			       d->target);
	d->stats_known = 0;
	vballoon_fill_config(d);
	return 0;
}

static const struct state_field vballoon_fields[] = {
	STATE_SUB(struct vballoon, vdev, &virtio_device_state),
	STATE_U(struct vballoon, target),
	STATE_U(struct vballoon, actual),
	STATE_U(struct vballoon, poison),
	STATE_END,
};

static const struct state_table vballoon_state = {
	.name = "virtio-balloon",
	.version = 1,
	.fields = vballoon_fields,
	.after_load = vballoon_after_load,
};

static const struct device_ops vballoon_device_ops = {
	.type = "virtio-balloon",
	.offset = offsetof(struct vballoon, vdev.dev),
	.state = &vballoon_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.free = vballoon_free,
};

static const struct virtio_ops vballoon_ops = {
	.id = VIRTIO_ID_BALLOON,
	.start = vballoon_start,
	.stop = vballoon_stop,
	.reset = vballoon_reset,
	.write_config = vballoon_write_config,
	.quiesce = vballoon_quiesce,
	.resume = vballoon_resume,
};

static int vballoon_add_queues(struct vballoon *d, struct err *err)
{
	struct virtio_queue_spec spec = {.size = VBALLOON_QUEUE_SIZE, .max_segs = VBALLOON_SEGS};
	int r = 0;

	for (u32 i = 0; i < VBALLOON_QUEUES && !r; i++) {
		spec.notify = i == VBALLOON_QUEUE_INFLATE   ? vballoon_inflate_notify
			      : i == VBALLOON_QUEUE_DEFLATE ? vballoon_deflate_notify
							    : vballoon_other_notify;
		r = virtio_add_queue(&d->vdev, &spec, err);
	}
	return r;
}

int vballoon_new(const struct vballoon_options *o, struct loop *loop, struct gmem *gmem,
		 struct virtio_device **out, struct err *err)
{
	struct vballoon *d = NEW(struct vballoon);
	int r;

	virtio_device_init(&d->vdev, &vballoon_ops, &vballoon_device_ops, o->name, loop, gmem);
	d->vdev.offered |= VBALLOON_F_STATS_VQ | VBALLOON_F_DEFLATE_ON_OOM;
	if (o->has_reporting)
		d->vdev.offered |= VBALLOON_F_PAGE_POISON | VBALLOON_F_PAGE_REPORTING;
	d->vdev.config = &d->config;
	d->vdev.config_size = sizeof(d->config);
	d->memory = o->memory;
	d->target = vballoon_pages_for(d, o->target);
	d->poll_ns = o->stats_seconds * NSEC_PER_SEC;
	d->poll.fn = vballoon_on_poll;
	d->tell.fn = vballoon_on_tell;
	d->changed = o->changed;
	d->opaque = o->opaque;
	vballoon_fill_config(d);
	r = vballoon_add_queues(d, err);
	if (r < 0) {
		vballoon_free(&d->vdev.dev);
		return r;
	}
	*out = &d->vdev;
	return 0;
}
