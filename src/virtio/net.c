/*
 * virtio-net. See net.h; the wire is net_wire.h's.
 *
 * Sending: a frame goes from guest memory to the back end in place; when that is full the chain
 * goes back to the ring, and room() has it looked at again.
 *
 * Receiving: a frame needs one chain, or, with MRG_RXBUF, as many as it takes (5.1.6.4). When there
 * are too few they go back to the ring, the back end keeps the frame, and the driver's next notice
 * of buffers lets it go on. Nothing is held between two callbacks.
 */
#include "virtio/net.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "net/net.h"
#include "state/state.h"
#include "virtio/net_wire.h"
#include "virtio/virtio.h"

#define VNET_QUEUE_SIZE 256
#define VNET_SEGS       64
#define VNET_MERGE_MAX  64 /* chains for one received frame */

struct vnet {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct vnet_config_wire config;
	struct net *net;
	struct net_user user;
	bool told_up;             /* the link state that the driver knows */
	u8 linear[NET_FRAME_MAX]; /* for a frame in more pieces than the back end takes */
};

static struct vnet *vnet_of(struct virtio_device *v)
{
	return container_of(v, struct vnet, vdev);
}

/* --- from the guest --- */

/* 0, or -EAGAIN: nothing of the chain is lost then. */
static int vnet_send_chain(struct vnet *d, struct vq_chain *c)
{
	struct vnet_header_wire h;
	const struct iovec *iov;
	struct iovec one;
	u32 n;

	if (!vq_take(c, &h, sizeof(h)) || vq_readable(c) > NET_FRAME_MAX) {
		guest_error(&d->vdev.dev, "a frame without header, or too long");
		return 0;
	}
	/* No offload was offered (5.1.6.2.1). */
	if (h.flags || h.gso_type) {
		guest_error(&d->vdev.dev, "a frame asks for offloads");
		return 0;
	}
	iov = vq_readable_iov(c, &n);
	if (n > NET_IOV_MAX) {
		one = (struct iovec){.iov_base = d->linear, .iov_len = vq_readable(c)};
		if (!vq_take(c, d->linear, one.iov_len))
			unreachable_code();
		iov = &one;
		n = 1;
	}
	return net_send(d->net, iov, n);
}

static void vnet_tx_notify(struct virtio_device *v, struct vq *q)
{
	struct vnet *d = vnet_of(v);
	struct vq_chain *c;
	int r = 0;

	do {
		vq_disable_notify(q);
		while (r == 0 && (c = vq_pop(q))) {
			r = vnet_send_chain(d, c);
			if (r < 0)
				vq_unpop(c);
			else
				vq_push(c, 0);
		}
		vq_publish(q);
	} while (r == 0 && vq_enable_notify(q));
}

static void vnet_room(void *opaque)
{
	struct vnet *d = opaque;

	virtio_kick(&d->vdev, virtio_vq(&d->vdev, VNET_QUEUE_TX));
}

/* --- to the guest --- */

/* The next chain; asks to be notified of one when there is none. */
static struct vq_chain *vnet_pop_rx(struct vq *q)
{
	struct vq_chain *c = vq_pop(q);

	return c || !vq_enable_notify(q) ? c : vq_pop(q);
}

/*
 * Takes chains for size bytes: their count, 0 when there are too few yet (none is taken then), or
 * -EMSGSIZE when no number of them would do: those taken are in out, *out_n of them.
 */
static int vnet_take_chains(struct vnet *d, struct vq *q, u64 size, struct vq_chain **out,
			    u32 *out_n)
{
	u32 max = virtio_has(&d->vdev, VNET_F_MRG_RXBUF) ? VNET_MERGE_MAX : 1;
	u64 room = 0;

	for (*out_n = 0; room < size && *out_n < max; ++*out_n) {
		struct vq_chain *c = vnet_pop_rx(q);

		if (!c) {
			while (*out_n)
				vq_unpop(out[--*out_n]);
			return 0;
		}
		out[*out_n] = c;
		room += vq_writable(c);
	}
	return room < size || vq_writable(out[0]) < sizeof(struct vnet_header_wire) ? -EMSGSIZE
										    : (int)*out_n;
}

/* Spreads header and frame over n chains, which have room for them. */
static void vnet_fill_chains(struct vq_chain **chains, u32 n, const u8 *frame, size_t size)
{
	struct vnet_header_wire h = {.num_buffers = le16_of((u16)n)};

	for (u32 i = 0; i < n; i++) {
		u32 head = i == 0 ? sizeof(h) : 0;
		bool fits = vq_put(chains[i], &h, head);
		u32 part = (u32)MIN((u64)size, vq_writable(chains[i]));

		fits &= vq_put(chains[i], frame, part);
		assert(fits);
		vq_push(chains[i], head + part);
		frame += part;
		size -= part;
	}
	assert(size == 0);
}

/* The device's lock is held. False: no buffers now. */
static bool vnet_receive_frame(struct vnet *d, struct vq *q, const u8 *frame, size_t size)
{
	struct vq_chain *chains[VNET_MERGE_MAX];
	u32 n;
	int r;

	if (!vq_is_running(q))
		return true; /* no driver: lost */
	r = vnet_take_chains(d, q, sizeof(struct vnet_header_wire) + size, chains, &n);
	/* A queue that broke just now has no chains any more, and never will. */
	if (r == 0)
		return !vq_is_running(q);
	if (r > 0) {
		vnet_fill_chains(chains, n, frame, size);
	} else {
		guest_error(&d->vdev.dev, "buffers too small for a frame of %zu bytes", size);
		for (u32 i = 0; i < n; i++)
			vq_push(chains[i], 0);
	}
	vq_publish(q);
	return true;
}

static bool vnet_receive(void *opaque, const u8 *frame, size_t size)
{
	struct vnet *d = opaque;
	bool is_taken;

	device_lock(&d->vdev.dev);
	is_taken = vnet_receive_frame(d, virtio_vq(&d->vdev, VNET_QUEUE_RX), frame, size);
	device_unlock(&d->vdev.dev);
	return is_taken;
}

static void vnet_rx_notify(struct virtio_device *v, struct vq *q)
{
	vq_disable_notify(q); /* until there are too few again */
	net_accept(vnet_of(v)->net);
}

/* --- the device --- */

static void vnet_update_link(struct vnet *d)
{
	bool is_up = net_is_up(d->net);

	d->config.status = le16_of(is_up ? VNET_S_LINK_UP : 0);
	if (d->told_up == is_up)
		return;
	d->told_up = is_up;
	virtio_config_changed(&d->vdev);
}

static void vnet_link(void *opaque, bool is_up)
{
	struct vnet *d = opaque;

	(void)is_up; /* it is asked for under the lock */
	device_lock(&d->vdev.dev);
	vnet_update_link(d);
	device_unlock(&d->vdev.dev);
}

static void vnet_start(struct virtio_device *v)
{
	vnet_update_link(vnet_of(v)); /* a restored guest may know another */
}

static void vnet_stop(struct virtio_device *v)
{
	(void)v; /* nothing is held */
}

static void vnet_free(struct device *dev)
{
	struct vnet *d = container_of(dev, struct vnet, vdev.dev);

	net_free(d->net);
	virtio_device_fini(&d->vdev);
	free(d);
}

static const struct state_field vnet_fields[] = {
	STATE_SUB(struct vnet, vdev, &virtio_device_state),
	STATE_B(struct vnet, told_up),
	STATE_END,
};

static const struct state_table vnet_state = {
	.name = "virtio-net",
	.version = 1,
	.fields = vnet_fields,
};

static const struct device_ops vnet_device_ops = {
	.type = "virtio-net",
	.offset = offsetof(struct vnet, vdev.dev),
	.state = &vnet_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.free = vnet_free,
};

static const struct virtio_ops vnet_ops = {
	.id = VIRTIO_ID_NET,
	.start = vnet_start,
	.stop = vnet_stop,
};

static int vnet_add_queues(struct vnet *d, struct err *err)
{
	struct virtio_queue_spec spec = {
		.size = VNET_QUEUE_SIZE, .max_segs = VNET_SEGS, .notify = vnet_rx_notify};
	int r = virtio_add_queue(&d->vdev, &spec, err);

	spec.notify = vnet_tx_notify;
	return r < 0 ? r : virtio_add_queue(&d->vdev, &spec, err);
}

int vnet_new(const struct vnet_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err)
{
	struct vnet *d = NEW(struct vnet);
	int r;

	virtio_device_init(&d->vdev, &vnet_ops, &vnet_device_ops, o->name, loop, gmem);
	memcpy(d->config.mac, o->mac, sizeof(d->config.mac));
	d->config.max_virtqueue_pairs = le16_of(1);
	d->config.mtu = le16_of(o->mtu);
	d->vdev.offered |= VNET_F_MAC | VNET_F_STATUS | VNET_F_MRG_RXBUF;
	d->vdev.offered |= o->mtu ? VNET_F_MTU : 0;
	d->vdev.config = &d->config;
	d->vdev.config_size = sizeof(d->config);
	r = vnet_add_queues(d, err);
	if (r < 0) {
		vnet_free(&d->vdev.dev);
		return r;
	}
	d->user = (struct net_user){
		.receive = vnet_receive, .room = vnet_room, .link = vnet_link, .opaque = d};
	d->net = o->net;
	d->told_up = net_is_up(d->net);
	d->config.status = le16_of(d->told_up ? VNET_S_LINK_UP : 0);
	net_attach(d->net, &d->user);
	*out = &d->vdev;
	return 0;
}
