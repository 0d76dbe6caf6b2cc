/*
 * virtio-blk. See blk.h; the wire is blk_wire.h's.
 *
 *     notify -> vblk_request: check the header -> blk_submit ... blk_kick
 *     disk   -> vblk_done (vq_push), for each -> vblk_round (vq_publish), once a batch
 *
 * With limits, what comes too early waits in the device, not in the ring: a flush passes it.
 *
 * A device without a volatile write cache in the driver's eyes (it didn't take FLUSH, or turned
 * the cache off, or left it off) finishes a write only when it is on stable storage (5.2.5.2,
 * 5.2.6.2). A disk that was given to the guest without a cache has one only for a driver that turned it on.
 */
#include "virtio/blk.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/block.h"
#include "state/state.h"
#include "virtio/blk_wire.h"
#include "virtio/limit.h"
#include "virtio/virtio.h"

#define VBLK_QUEUE_SIZE   256
#define VBLK_SEGS         254                           /* of data, in a request */
#define VBLK_RANGE_MAX    ((u32)(2 * GIB / BLK_SECTOR)) /* of one discard or write-zeroes */
#define VBLK_PHYSICAL_EXP 3                             /* physical blocks of 8 sectors */

struct vblk {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct vblk_config_wire config;
	struct blk *disk;
	struct limit limit;
	struct list waiting;  /* requests that are over the limit, oldest first */
	bool is_writethrough; /* what a reset goes back to */
	bool is_ordered;
	struct list order; /* then: all that aren't done, oldest first */
	struct list held;  /* those that failed and wait for a resume */
	enum vblk_on_error on_error;
	void (*on_held)(void *opaque, int result);
	void *opaque;
	u64 sectors;
	char serial[VBLK_ID_SIZE];
	struct vblk_counts {
		u64 reads, writes, flushes, discards, errors; /* requests */
		u64 read_bytes, written_bytes;
	} counts;
};

struct vblk_request {
	struct blk_request blk; /* first */
	u32 written;            /* bytes that a read writes, status included */
	bool must_flush;        /* once the operation is done */
	struct list order;
	bool is_done; /* by the disk; older ones are not */
	int result;
};

static struct vblk *vblk_of(struct virtio_device *v)
{
	return container_of(v, struct vblk, vdev);
}

static void vblk_finish(struct vq_chain *c, enum vblk_status status, u32 written)
{
	vq_put_status(c, (u8)status);
	vq_push(c, written);
}

/* The used length counts up to the status, the last byte, whatever lies before it (2.7.8.2). */
static void vblk_refuse(struct vq_chain *c, enum vblk_status status)
{
	vblk_finish(c, status, (u32)vq_writable(c) + 1);
}

static bool vblk_has_write_cache(const struct vblk *d)
{
	if (virtio_has(&d->vdev, VBLK_F_CONFIG_WCE))
		return d->config.writeback;
	return virtio_has(&d->vdev, VBLK_F_FLUSH) && !d->is_writethrough;
}

/* --- the disk's side: the loop's thread, without the lock --- */

static void vblk_count_done(struct vblk_counts *n, const struct blk_request *b, int result)
{
	n->errors += result < 0;
	switch (b->op) {
	case BLK_READ:
		n->reads++;
		n->read_bytes += result < 0 ? 0 : b->bytes;
		break;
	case BLK_WRITE:
		n->writes++;
		n->written_bytes += result < 0 ? 0 : b->bytes;
		break;
	case BLK_FLUSH:
		n->flushes++;
		break;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		n->discards++;
		break;
	}
}

static void vblk_finish_request(struct vblk *d, struct vblk_request *r)
{
	vblk_count_done(&d->counts, &r->blk, r->result);
	vblk_finish(vq_chain_of(r), r->result < 0 ? VBLK_S_IOERR : VBLK_S_OK, r->written);
}

static void vblk_finish_in_order(struct vblk *d)
{
	while (!list_is_empty(&d->order)) {
		struct vblk_request *r = list_entry(d->order.next, struct vblk_request, order);

		if (!r->is_done)
			return;
		list_remove(&r->order);
		vblk_finish_request(d, r);
	}
}

/* A pause doesn't wait for a server that is away. Nobody need be told: the resume waits for it. */
static bool vblk_is_cut_short(const struct vblk *d, int result)
{
	return d->vdev.is_quiesced && result == -ENOTCONN;
}

static bool vblk_must_hold(const struct vblk *d, const struct blk_request *b, int result)
{
	bool is_full = b->op != BLK_READ && (result == -ENOSPC || result == -EDQUOT);

	return result < 0 && !d->is_ordered &&
	       (d->on_error == VBLK_PAUSE || (d->on_error == VBLK_PAUSE_IF_FULL && is_full) ||
		vblk_is_cut_short(d, result));
}

/* Unless the driver has given it up meanwhile. */
static bool vblk_hold(struct vblk *d, struct blk_request *b)
{
	bool is_held;

	device_lock(&d->vdev.dev);
	is_held = d->vdev.is_started && !d->vdev.is_resetting;
	if (is_held) {
		d->counts.errors++;
		list_append(&d->held, &b->node);
		d->vdev.n_held++;
	}
	device_unlock(&d->vdev.dev);
	return is_held;
}

static struct vq_chain *vblk_next_held(struct vblk *d)
{
	struct blk_request *b = list_entry(d->held.next, struct blk_request, node);

	list_remove(&b->node);
	d->vdev.n_held--;
	return vq_chain_of(container_of(b, struct vblk_request, blk));
}

static void vblk_done(struct blk_request *b, int result)
{
	struct vblk_request *r = container_of(b, struct vblk_request, blk);
	struct vq_chain *c = vq_chain_of(r);
	struct vblk *d = vblk_of(container_of(vq_of(c), struct virtio_queue, vq)->vdev);

	if (result == 0 && r->must_flush) {
		r->must_flush = false;
		b->op = BLK_FLUSH;
		blk_submit(d->disk, b);
		return;
	}
	if (vblk_must_hold(d, b, result) && vblk_hold(d, b)) {
		if (!vblk_is_cut_short(d, result))
			d->on_held(d->opaque, result);
		return;
	}
	device_lock(&d->vdev.dev);
	r->result = result;
	r->is_done = true;
	if (d->is_ordered)
		vblk_finish_in_order(d);
	else
		vblk_finish_request(d, r);
	device_unlock(&d->vdev.dev);
}

static void vblk_round(void *opaque)
{
	struct vblk *d = opaque;

	device_lock(&d->vdev.dev);
	for (u32 i = 0; i < d->vdev.n_queues; i++)
		vq_publish(virtio_vq(&d->vdev, i));
	device_unlock(&d->vdev.dev);
}

/* --- limits --- */

/* Bytes that count: those that are moved. */
static u64 vblk_cost(const struct blk_request *b)
{
	return b->op == BLK_DISCARD || b->may_unmap ? 0 : b->bytes;
}

static void vblk_start(struct vblk *d, struct vblk_request *r)
{
	if (list_is_empty(&d->waiting) && limit_take(&d->limit, vblk_cost(&r->blk)))
		blk_submit(d->disk, &r->blk);
	else
		list_append(&d->waiting, &r->blk.node);
}

static struct vblk_request *vblk_next_waiting(struct vblk *d)
{
	struct blk_request *b = list_entry(d->waiting.next, struct blk_request, node);

	return container_of(b, struct vblk_request, blk);
}

static void vblk_submit_waiting(struct vblk *d)
{
	struct vblk_request *r = vblk_next_waiting(d);

	list_remove(&r->blk.node);
	blk_submit(d->disk, &r->blk);
}

/* The limit's timer: the loop's thread, without the lock. */
static void vblk_on_ready(void *opaque)
{
	struct vblk *d = opaque;

	device_lock(&d->vdev.dev);
	while (!list_is_empty(&d->waiting) &&
	       limit_take(&d->limit, vblk_cost(&vblk_next_waiting(d)->blk)))
		vblk_submit_waiting(d);
	blk_kick(d->disk);
	device_unlock(&d->vdev.dev);
}

/* A pause, or a save: the chains have to come back. */
static void vblk_quiesce(struct virtio_device *v)
{
	struct vblk *d = vblk_of(v);

	while (!list_is_empty(&d->waiting)) {
		limit_charge(&d->limit, vblk_cost(&vblk_next_waiting(d)->blk));
		vblk_submit_waiting(d);
	}
}

/* What waits is dropped; what the disk has comes back from there. */
static void vblk_stop(struct virtio_device *v)
{
	struct vblk *d = vblk_of(v);

	while (!list_is_empty(&d->waiting)) {
		struct vblk_request *r = vblk_next_waiting(d);

		list_remove(&r->blk.node);
		if (d->is_ordered)
			list_remove(&r->order);
		vq_push(vq_chain_of(r), 0);
	}
	while (!list_is_empty(&d->held))
		vq_push(vblk_next_held(d), 0);
}

bool vblk_is_held(struct virtio_device *v)
{
	bool is_held;

	device_lock(&v->dev);
	is_held = v->n_held;
	device_unlock(&v->dev);
	return is_held;
}

void vblk_set_limits(struct virtio_device *v, const struct limit_rates *rates)
{
	device_lock(&v->dev);
	limit_set(&vblk_of(v)->limit, rates);
	device_unlock(&v->dev);
}

void vblk_get_limits(struct virtio_device *v, struct limit_rates *out)
{
	device_lock(&v->dev);
	limit_get(&vblk_of(v)->limit, out);
	device_unlock(&v->dev);
}

/* --- requests --- */

static bool vblk_range_is_good(const struct vblk *d, u64 sector, u64 bytes)
{
	return is_aligned(bytes, BLK_SECTOR) &&
	       range_fits(sector, bytes / BLK_SECTOR, d->sectors) &&
	       is_aligned(sector * BLK_SECTOR | bytes, d->disk->block_size);
}

static struct vblk_request *vblk_prepare(struct vblk *d, struct vq_chain *c, enum blk_op op,
					 u64 sector, u64 bytes)
{
	struct vblk_request *r = vq_private(c);

	*r = (struct vblk_request){
		.blk = {.op = op, .offset = sector * BLK_SECTOR, .bytes = bytes, .done = vblk_done},
		.written = (u32)vq_writable(c) + 1,
	};
	if (d->is_ordered)
		list_append(&d->order, &r->order);
	return r;
}

static void vblk_transfer(struct vblk *d, struct vq_chain *c, bool is_write, u64 sector)
{
	u64 bytes = is_write ? vq_readable(c) : vq_writable(c);
	struct vblk_request *r;
	const struct iovec *iov;

	if (!vblk_range_is_good(d, sector, bytes) || bytes > BLK_BYTES_MAX ||
	    (is_write && d->disk->is_readonly)) {
		vblk_refuse(c, VBLK_S_IOERR);
		return;
	}
	if (!bytes) {
		vblk_refuse(c, VBLK_S_OK);
		return;
	}
	r = vblk_prepare(d, c, is_write ? BLK_WRITE : BLK_READ, sector, bytes);
	iov = is_write ? vq_readable_iov(c, &r->blk.n_iov) : vq_writable_iov(c, &r->blk.n_iov);
	/* The chain isn't stepped any more, so that the disk may use up its vectors. */
	r->blk.iov = (struct iovec *)iov;
	r->blk.is_fua = is_write && !vblk_has_write_cache(d);
	vblk_start(d, r);
}

static void vblk_flush(struct vblk *d, struct vq_chain *c)
{
	blk_submit(d->disk, &vblk_prepare(d, c, BLK_FLUSH, 0, 0)->blk);
}

/* Discard and write zeroes: one range a request, as the configuration says. */
static void vblk_range(struct vblk *d, struct vq_chain *c, enum blk_op op)
{
	struct vblk_request *r;
	struct vblk_range_wire w;
	u32 sectors, flags;

	if (d->disk->is_readonly || vq_readable(c) != sizeof(w) || !vq_take(c, &w, sizeof(w))) {
		vblk_refuse(c, VBLK_S_IOERR);
		return;
	}
	sectors = le32_get(w.num_sectors);
	flags = le32_get(w.flags);
	/* Unmap makes sense for zeroes only; other flags are unknown (5.2.6.2). */
	if (flags & ~(op == BLK_WRITE_ZEROES ? VBLK_RANGE_UNMAP : 0)) {
		vblk_refuse(c, VBLK_S_UNSUPP);
		return;
	}
	if (!sectors || sectors > VBLK_RANGE_MAX ||
	    !vblk_range_is_good(d, le64_get(w.sector), (u64)sectors * BLK_SECTOR)) {
		vblk_refuse(c, VBLK_S_IOERR);
		return;
	}
	r = vblk_prepare(d, c, op, le64_get(w.sector), (u64)sectors * BLK_SECTOR);
	r->blk.may_unmap = flags & VBLK_RANGE_UNMAP;
	r->must_flush = op == BLK_WRITE_ZEROES && !vblk_has_write_cache(d);
	vblk_start(d, r);
}

static void vblk_get_id(struct vblk *d, struct vq_chain *c)
{
	u32 written = (u32)vq_writable(c) + 1;
	bool fits = vq_put(c, d->serial, sizeof(d->serial));

	vblk_finish(c, fits ? VBLK_S_OK : VBLK_S_IOERR, written);
}

static void vblk_request(struct vblk *d, struct vq_chain *c)
{
	struct vblk_header_wire h;

	/* The status byte is set aside first, so that data never reaches into it. */
	if (!vq_take(c, &h, sizeof(h)) || !vq_reserve_status(c)) {
		virtio_needs_reset(&d->vdev, "request without header or status");
		vq_push(c, 0);
		return;
	}
	switch (le32_get(h.type)) {
	case VBLK_T_IN:
	case VBLK_T_OUT:
		vblk_transfer(d, c, le32_get(h.type) == VBLK_T_OUT, le64_get(h.sector));
		break;
	case VBLK_T_FLUSH:
		vblk_flush(d, c);
		break;
	case VBLK_T_GET_ID:
		vblk_get_id(d, c);
		break;
	case VBLK_T_DISCARD:
		vblk_range(d, c, BLK_DISCARD);
		break;
	case VBLK_T_WRITE_ZEROES:
		vblk_range(d, c, BLK_WRITE_ZEROES);
		break;
	default:
		vblk_refuse(c, VBLK_S_UNSUPP);
		break;
	}
}

static void vblk_notify(struct virtio_device *v, struct vq *q)
{
	struct vblk *d = vblk_of(v);
	struct vq_chain *c;

	do {
		vq_disable_notify(q);
		while ((c = vq_pop(q)))
			vblk_request(d, c);
		vq_publish(q);
	} while (vq_enable_notify(q));
	blk_kick(d->disk);
}

/* What failed is done again, from the start. */
static void vblk_resume(struct virtio_device *v)
{
	struct vblk *d = vblk_of(v);

	while (!list_is_empty(&d->held)) {
		struct vq_chain *c = vblk_next_held(d);

		vq_rewind(c);
		vblk_request(d, c);
	}
	blk_kick(d->disk);
}

struct blk *vblk_disk(struct virtio_device *v)
{
	return vblk_of(v)->disk;
}

int vblk_resize(struct virtio_device *v, u64 bytes, struct err *err)
{
	struct vblk *d = vblk_of(v);
	int r;

	/* What waits for the limit was measured by the old size. */
	device_lock(&v->dev);
	vblk_quiesce(v);
	device_unlock(&v->dev);
	blk_drain(d->disk);
	r = blk_resize(d->disk, bytes, err);
	if (r < 0)
		return r;
	device_lock(&v->dev);
	d->sectors = d->disk->size / BLK_SECTOR;
	d->config.capacity = le64_of(d->sectors);
	virtio_config_changed(v);
	device_unlock(&v->dev);
	return 0;
}

/* --- the device --- */

static void vblk_reset(struct virtio_device *v)
{
	vblk_of(v)->config.writeback = !vblk_of(v)->is_writethrough;
}

static void vblk_drain(struct virtio_device *v)
{
	blk_drain(vblk_of(v)->disk);
}

/* Only the cache mode can be written (5.2.4, 5.2.6.2), and only when that was agreed. */
static void vblk_write_config(struct virtio_device *v, u32 off, const void *buf, u32 size)
{
	struct vblk *d = vblk_of(v);

	if (off != offsetof(struct vblk_config_wire, writeback) || size != 1 ||
	    !virtio_has(v, VBLK_F_CONFIG_WCE)) {
		guest_error(&v->dev, "%u-byte write of configuration at %#x", size, off);
		return;
	}
	d->config.writeback = *(const u8 *)buf & 1;
}

static unsigned vblk_count(struct device *dev, struct device_counter *out)
{
	const struct vblk_counts *n = &container_of(dev, struct vblk, vdev.dev)->counts;
	const struct device_counter all[] = {
		{"reads", n->reads},     {"read-bytes", n->read_bytes},
		{"writes", n->writes},   {"written-bytes", n->written_bytes},
		{"flushes", n->flushes}, {"discards", n->discards},
		{"errors", n->errors},
	};

	static_assert(ARRAY_SIZE(all) <= DEVICE_MAX_COUNTERS, "room for all");
	memcpy(out, all, sizeof(all));
	return ARRAY_SIZE(all);
}

static void vblk_free(struct device *dev)
{
	struct vblk *d = container_of(dev, struct vblk, vdev.dev);

	limit_fini(&d->limit);
	vblk_stop(&d->vdev);
	blk_free(d->disk); /* drains: no request refers to the queues afterwards */
	virtio_device_fini(&d->vdev);
	free(d);
}

static int vblk_after_load(void *object, u16 version, struct err *err)
{
	struct vblk *d = object;

	(void)version;
	if (d->sectors != d->disk->size / BLK_SECTOR)
		return err_set(err, -EINVAL, "%s: the saved disk has %lu sectors, this one %lu",
			       d->vdev.dev.name, d->sectors, d->disk->size / BLK_SECTOR);
	if (d->config.writeback > 1)
		return err_set(err, -EINVAL, "%s: bad cache mode", d->vdev.dev.name);
	return 0;
}

static const struct state_field vblk_fields[] = {
	STATE_SUB(struct vblk, vdev, &virtio_device_state),
	STATE_U(struct vblk, sectors),
	STATE_U(struct vblk, config.writeback),
	STATE_SUB(struct vblk, limit, &limit_state),
	STATE_END,
};

static const struct state_table vblk_state = {
	.name = "virtio-blk",
	.version = 1,
	.fields = vblk_fields,
	.after_load = vblk_after_load,
};

static const struct device_ops vblk_device_ops = {
	.type = "virtio-blk",
	.offset = offsetof(struct vblk, vdev.dev),
	.state = &vblk_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.settle = virtio_dev_settle,
	.count = vblk_count,
	.free = vblk_free,
};

static const struct virtio_ops vblk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.stop = vblk_stop,
	.quiesce = vblk_quiesce,
	.resume = vblk_resume,
	.reset = vblk_reset,
	.write_config = vblk_write_config,
	.drain = vblk_drain,
};

static u64 vblk_features(const struct vblk *d, u16 n_queues)
{
	u64 f = VBLK_F_SEG_MAX | VBLK_F_BLK_SIZE | VBLK_F_FLUSH | VBLK_F_TOPOLOGY |
		VBLK_F_CONFIG_WCE;

	f |= d->disk->is_readonly ? VBLK_F_RO : VBLK_F_DISCARD | VBLK_F_WRITE_ZEROES;
	return n_queues > 1 ? f | VBLK_F_MQ : f;
}

static void vblk_set_config(struct vblk *d, u16 n_queues)
{
	u32 block_sectors = d->disk->block_size / BLK_SECTOR;

	d->config = (struct vblk_config_wire){
		.capacity = le64_of(d->sectors),
		.seg_max = le32_of(VBLK_SEGS),
		.blk_size = le32_of(d->disk->block_size),
		.topology = {.physical_block_exp = block_sectors == 1 ? VBLK_PHYSICAL_EXP : 0},
		.writeback = !d->is_writethrough,
		.num_queues = le16_of(n_queues),
		.max_discard_sectors = le32_of(VBLK_RANGE_MAX),
		.max_discard_seg = le32_of(1),
		.discard_sector_alignment = le32_of(MAX(block_sectors, 8u)),
		.max_write_zeroes_sectors = le32_of(VBLK_RANGE_MAX),
		.max_write_zeroes_seg = le32_of(1),
		.write_zeroes_may_unmap = 1,
	};
}

static int vblk_add_queues(struct vblk *d, u16 n, struct err *err)
{
	const struct virtio_queue_spec spec = {
		.size = VBLK_QUEUE_SIZE,
		.max_segs = VBLK_SEGS + 2, /* header and status */
		.request_size = sizeof(struct vblk_request),
		.notify = vblk_notify,
	};
	int r = 0;

	for (u16 i = 0; i < n && r == 0; i++)
		r = virtio_add_queue(&d->vdev, &spec, err);
	return r;
}

int vblk_new(const struct vblk_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err)
{
	u16 n_queues = o->n_queues ? o->n_queues : 1;
	struct vblk *d = NEW(struct vblk);
	int r;

	assert(n_queues <= VBLK_MAX_QUEUES);
	virtio_device_init(&d->vdev, &vblk_ops, &vblk_device_ops, o->name, loop, gmem);
	list_init(&d->waiting);
	list_init(&d->order);
	d->is_writethrough = o->is_writethrough;
	d->is_ordered = o->is_ordered;
	list_init(&d->held);
	d->on_error = o->on_error;
	d->on_held = o->held;
	d->opaque = o->opaque;
	assert(o->held || o->on_error == VBLK_REPORT);
	limit_init(&d->limit, o->clock, vblk_on_ready, d);
	d->disk = o->disk;
	d->sectors = o->disk->size / BLK_SECTOR;
	if (o->serial)
		memcpy(d->serial, o->serial, strnlen(o->serial, sizeof(d->serial)));
	vblk_set_config(d, n_queues);
	d->vdev.offered |= vblk_features(d, n_queues);
	d->vdev.config = &d->config;
	d->vdev.config_size = sizeof(d->config);
	r = vblk_add_queues(d, n_queues, err);
	if (r < 0) {
		d->disk = NULL; /* stays the caller's */
		vblk_free(&d->vdev.dev);
		return r;
	}
	blk_set_round(d->disk, vblk_round, d);
	*out = &d->vdev;
	return 0;
}
