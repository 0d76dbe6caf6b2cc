/*
 * virtio-vsock: queues, packets, the life of the device. See vsock.h and vsock_priv.h.
 *
 * From the guest: a packet's header is copied and checked, then its connection takes the data: to the
 * host's socket at once, or into its buffer, which is as large as the credit that the guest was given.
 * So a chain never waits here, and a slow program on the host holds up nobody but its own peer. A
 * packet that fits nowhere is answered by RST; those answers are few, and while there is no room for
 * another, the driver's queue waits.
 */
#include "virtio/vsock.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "state/state.h"
#include "virtio/vsock_priv.h"
#include "vsock/vsock.h"

#define VSOCK_QUEUE_SIZE 256
#define VSOCK_EVENT_SIZE 64
#define VSOCK_SEGS       64
#define VSOCK_ROUND      64 /* packets, before other devices get their turn */
#define VSOCK_ROOM_MIN   (sizeof(struct vsock_header_wire) + 1)

static struct vsock *vsock_of(struct virtio_device *v)
{
	return container_of(v, struct vsock, vdev);
}

/* --- to the guest --- */

/* Asks to be notified when there is none. */
struct vq_chain *vsock_pop_rx(struct vsock *d)
{
	struct vq *q = virtio_vq(&d->vdev, VSOCK_QUEUE_RX);
	struct vq_chain *c = vq_pop(q);

	if (!c && vq_enable_notify(q))
		c = vq_pop(q);
	if (c && vq_writable(c) < VSOCK_ROOM_MIN) {
		vq_unpop(c);
		virtio_needs_reset(&d->vdev, "a receive buffer without room for a packet");
		return NULL;
	}
	return c;
}

static void vsock_put_header(struct vq_chain *chain, const struct vsock_header_wire *h,
			     const u8 *data, u32 len)
{
	bool fits = vq_put(chain, h, sizeof(*h)) && vq_put(chain, data, len);

	assert(fits);
	vq_push(chain, (u32)sizeof(*h) + len);
}

void vsock_push_packet(struct vsock_conn *c, struct vq_chain *chain, enum vsock_op op, u32 flags,
		       const u8 *data, u32 len)
{
	const struct vsock_header_wire h = {
		.src_cid = le64_of(VSOCK_CID_HOST),
		.dst_cid = le64_of(c->d->guest_cid),
		.src_port = le32_of(c->host_port),
		.dst_port = le32_of(c->guest_port),
		.len = le32_of(len),
		.type = le16_of(VSOCK_TYPE_STREAM),
		.op = le16_of((u16)op),
		.flags = le32_of(flags),
		.buf_alloc = le32_of((u32)VSOCK_BUFFER),
		.fwd_cnt = le32_of(c->forwarded),
	};

	/* Every packet tells the credit. */
	c->told_forwarded = c->forwarded;
	c->owes &= ~VSOCK_OWES_CREDIT;
	vsock_put_header(chain, &h, data, len);
}

static void vsock_push_stray(struct vq_chain *chain, const struct vsock_stray *s)
{
	const struct vsock_header_wire h = {
		.src_cid = le64_of(VSOCK_CID_HOST),
		.dst_cid = le64_of(s->dst_cid),
		.src_port = le32_of(s->src_port),
		.dst_port = le32_of(s->dst_port),
		.type = le16_of(s->type),
		.op = le16_of(VSOCK_OP_RST),
	};

	vsock_put_header(chain, &h, NULL, 0);
}

void vsock_add_stray(struct vsock *d, const struct vsock_stray *s)
{
	/* A connection that the guest knows took a packet of it, which waits while there are many. */
	assert(d->n_strays < ARRAY_SIZE(d->strays));
	d->strays[(d->first_stray + d->n_strays++) % ARRAY_SIZE(d->strays)] = *s;
}

static void vsock_send_strays(struct vsock *d)
{
	bool was_full = d->n_strays >= VSOCK_MAX_STRAYS;
	struct vq_chain *chain;

	while (d->n_strays && (chain = vsock_pop_rx(d))) {
		vsock_push_stray(chain, &d->strays[d->first_stray]);
		d->first_stray = (d->first_stray + 1) % ARRAY_SIZE(d->strays);
		d->n_strays--;
	}
	if (was_full && d->n_strays < VSOCK_MAX_STRAYS)
		virtio_kick(&d->vdev, virtio_vq(&d->vdev, VSOCK_QUEUE_TX)); /* it waited for this */
}

/* Each in its turn, until there are no buffers or nobody has anything. */
static void vsock_send_ready(struct vsock *d)
{
	for (unsigned i = 0; i < VSOCK_ROUND && !list_is_empty(&d->ready); i++) {
		struct vsock_conn *c = list_entry(d->ready.next, struct vsock_conn, ready);
		bool is_sent = vsock_conn_send(c);

		if (c->is_dead)
			continue;
		if (vsock_conn_has_something(c)) {
			if (!is_sent)
				return; /* no buffer */
			list_remove(&c->ready);
			list_append(&d->ready, &c->ready);
		} else {
			list_remove(&c->ready);
			vsock_conn_watch(c);
		}
	}
	if (!list_is_empty(&d->ready))
		virtio_kick(&d->vdev, virtio_vq(&d->vdev, VSOCK_QUEUE_RX));
}

void vsock_pump(struct vsock *d)
{
	struct vq *q = virtio_vq(&d->vdev, VSOCK_QUEUE_RX);

	if (!vq_is_running(q) || d->vdev.is_quiesced)
		return;
	vsock_send_strays(d);
	vsock_send_ready(d);
	vq_publish(q);
}

static void vsock_rx_notify(struct virtio_device *v, struct vq *q)
{
	vq_disable_notify(q); /* until there are too few again */
	vsock_pump(vsock_of(v));
}

/* --- from the guest --- */

/* Bytes behind the header; false: the packet is dropped. */
static bool vsock_check_header(struct vsock *d, const struct vsock_header_wire *h,
			       const struct vq_chain *chain)
{
	u16 op = le16_get(h->op);

	if (le64_get(h->src_cid) != d->guest_cid) {
		guest_error(&d->vdev.dev, "a packet from CID %lu", le64_get(h->src_cid));
		return false;
	}
	if (le32_get(h->len) > vq_readable(chain)) {
		guest_error(&d->vdev.dev, "a packet shorter than it says");
		return false;
	}
	if (op == VSOCK_OP_INVALID || op > VSOCK_OP_CREDIT_REQUEST) {
		guest_error(&d->vdev.dev, "a packet with operation %u", op);
		return false;
	}
	return true;
}

static void vsock_take_packet(struct vsock *d, struct vq_chain *chain)
{
	struct vsock_header_wire h;
	struct vsock_packet p;
	struct vsock_conn *c = NULL;
	bool is_ours;

	if (!vq_take(chain, &h, sizeof(h))) {
		guest_error(&d->vdev.dev, "a packet without header");
		return;
	}
	if (!vsock_check_header(d, &h, chain))
		return;
	p = (struct vsock_packet){
		.op = (enum vsock_op)le16_get(h.op),
		.guest_port = le32_get(h.src_port),
		.host_port = le32_get(h.dst_port),
		.len = le32_get(h.len),
		.flags = le32_get(h.flags),
		.buf_alloc = le32_get(h.buf_alloc),
		.fwd_cnt = le32_get(h.fwd_cnt),
	};
	is_ours = le64_get(h.dst_cid) == VSOCK_CID_HOST && le16_get(h.type) == VSOCK_TYPE_STREAM;
	if (is_ours)
		c = vsock_conn_find(d, p.guest_port, p.host_port);
	if (is_ours && vsock_conn_packet(d, c, &p, chain))
		return;
	/* No RST is answered by another (5.10.6.4). */
	if (p.op != VSOCK_OP_RST)
		vsock_add_stray(d, &(struct vsock_stray){.dst_cid = d->guest_cid,
							 .src_port = p.host_port,
							 .dst_port = p.guest_port,
							 .type = le16_get(h.type)});
}

static void vsock_tx_notify(struct virtio_device *v, struct vq *q)
{
	struct vsock *d = vsock_of(v);
	unsigned left = VSOCK_ROUND;
	struct vq_chain *chain;

	do {
		vq_disable_notify(q);
		while (left && d->n_strays < VSOCK_MAX_STRAYS && (chain = vq_pop(q))) {
			vsock_take_packet(d, chain);
			vq_push(chain, 0);
			left--;
		}
		vq_publish(q);
		vsock_pump(d);
	} while (left && d->n_strays < VSOCK_MAX_STRAYS && vq_enable_notify(q));
	if (!left)
		virtio_kick(v, q);
}

/* --- events --- */

static void vsock_event_notify(struct virtio_device *v, struct vq *q)
{
	const struct vsock_event_wire e = {.id = le32_of(VSOCK_EVENT_TRANSPORT_RESET)};
	struct vsock *d = vsock_of(v);
	struct vq_chain *c;

	while (d->owes_reset_event && (c = vq_pop(q))) {
		bool fits = vq_put(c, &e, sizeof(e));

		if (!fits)
			guest_error(&v->dev, "an event buffer that is too small");
		d->owes_reset_event = !fits;
		vq_push(c, fits ? sizeof(e) : 0);
	}
	vq_publish(q);
}

/* --- the device --- */

static void vsock_bury(struct loop_task *t)
{
	struct vsock *d = container_of(t, struct vsock, bury);

	device_lock(&d->vdev.dev);
	list_for_each_safe (node, &d->dead)
		vsock_conn_free(list_entry(node, struct vsock_conn, all));
	device_unlock(&d->vdev.dev);
}

static void vsock_start(struct virtio_device *v)
{
	(void)v; /* connections come with packets */
}

static void vsock_stop(struct virtio_device *v)
{
	struct vsock *d = vsock_of(v);

	list_for_each_safe (node, &d->conns)
		vsock_conn_drop(list_entry(node, struct vsock_conn, all));
	d->n_strays = 0;
	d->owes_reset_event = false;
}

static void vsock_watch_all(struct vsock *d)
{
	list_for_each (node, &d->conns)
		vsock_conn_watch(list_entry(node, struct vsock_conn, all));
}

static void vsock_quiesce(struct virtio_device *v)
{
	vsock_watch_all(vsock_of(v)); /* nothing is watched in a pause */
}

static void vsock_resume(struct virtio_device *v)
{
	vsock_watch_all(vsock_of(v));
}

static void vsock_free(struct device *dev)
{
	struct vsock *d = container_of(dev, struct vsock, vdev.dev);

	vsock_host_free(d->host);
	vsock_stop(&d->vdev);
	loop_task_cancel(d->vdev.loop, &d->bury);
	list_for_each_safe (node, &d->dead)
		vsock_conn_free(list_entry(node, struct vsock_conn, all));
	virtio_device_fini(&d->vdev);
	free(d);
}

static unsigned vsock_count(struct device *dev, struct device_counter *out)
{
	const struct vsock *d = container_of(dev, struct vsock, vdev.dev);

	out[0] = (struct device_counter){"connections", d->n_conns};
	out[1] = (struct device_counter){"opened", d->opened};
	out[2] = (struct device_counter){"sent-bytes", d->sent_bytes};
	out[3] = (struct device_counter){"received-bytes", d->received_bytes};
	return 4;
}

unsigned vsock_count_connections(struct virtio_device *v)
{
	unsigned n;

	device_lock(&v->dev);
	n = vsock_of(v)->n_conns;
	device_unlock(&v->dev);
	return n;
}

/* The sockets behind the guest's connections stayed where it was saved. */
static int vsock_after_load(void *object, unused u16 version, unused struct err *err)
{
	struct vsock *d = object;

	d->owes_reset_event = d->vdev.status & VIRTIO_STATUS_DRIVER_OK;
	return 0;
}

static const struct state_field vsock_fields[] = {
	STATE_SUB(struct vsock, vdev, &virtio_device_state),
	STATE_END,
};

static const struct state_table vsock_state = {
	.name = "virtio-vsock",
	.version = 1,
	.fields = vsock_fields,
	.after_load = vsock_after_load,
};

static const struct device_ops vsock_device_ops = {
	.type = "virtio-vsock",
	.offset = offsetof(struct vsock, vdev.dev),
	.state = &vsock_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.count = vsock_count,
	.free = vsock_free,
};

static const struct virtio_ops vsock_ops = {
	.id = VIRTIO_ID_VSOCK,
	.start = vsock_start,
	.stop = vsock_stop,
	.quiesce = vsock_quiesce,
	.resume = vsock_resume,
};

static int vsock_add_queues(struct vsock *d, struct err *err)
{
	static const struct virtio_queue_spec specs[] = {
		{VSOCK_QUEUE_SIZE, VSOCK_SEGS, 0, vsock_rx_notify},
		{VSOCK_QUEUE_SIZE, VSOCK_SEGS, 0, vsock_tx_notify},
		{VSOCK_EVENT_SIZE, 1, 0, vsock_event_notify},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(specs) && !r; i++)
		r = virtio_add_queue(&d->vdev, &specs[i], err);
	return r;
}

int vsock_new(const struct vsock_options *o, struct loop *loop, struct gmem *gmem,
	      struct virtio_device **out, struct err *err)
{
	struct vsock *d = NEW(struct vsock);
	const struct vsock_host_user user = {
		.connected = vsock_on_connected, .incoming = vsock_on_incoming, .opaque = d};
	int r;

	assert(o->guest_cid >= VSOCK_CID_MIN && o->guest_cid <= VSOCK_CID_MAX);
	virtio_device_init(&d->vdev, &vsock_ops, &vsock_device_ops, o->name, loop, gmem);
	d->guest_cid = o->guest_cid;
	d->config.guest_cid = le64_of(o->guest_cid);
	d->vdev.offered |= VSOCK_F_STREAM;
	d->vdev.config = &d->config;
	d->vdev.config_size = sizeof(d->config);
	d->next_port = VSOCK_FIRST_HOST_PORT;
	for (unsigned i = 0; i < VSOCK_BUCKETS; i++)
		list_init(&d->buckets[i]);
	list_init(&d->conns);
	list_init(&d->ready);
	list_init(&d->dead);
	list_init(&d->bury.node);
	d->bury.fn = vsock_bury;
	r = vsock_add_queues(d, err);
	if (!r)
		r = vsock_host_attach(o->host, &user, err);
	if (r < 0) {
		vsock_free(&d->vdev.dev);
		return r;
	}
	d->host = o->host;
	*out = &d->vdev;
	return 0;
}
