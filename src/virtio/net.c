/*
 * virtio-net: frames, link, life. See net.h; the wire is net_wire.h's, commands are net_ctrl.c's.
 *
 * Sending: a frame goes from guest memory to the back end in place; when that is full the chain
 * goes back to the ring, and room() has it looked at again.
 *
 * Receiving: a frame needs one chain, or, with MRG_RXBUF, as many as it takes (5.1.6.4). When there
 * are too few they go back to the ring, the back end keeps the frame, and the driver's next notice
 * of buffers lets it go on. Nothing is held between two callbacks. The driver sees a burst's frames
 * when the burst is over, at once.
 *
 * Pairs of queues and the back end's lanes needn't be as many: pair P sends on lane P % lanes, and
 * what comes on lane L goes to pair L % pairs in use.
 */
#include "virtio/net.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "state/state.h"
#include "virtio/net_priv.h"

#define VNET_QUEUE_SIZE 256
#define VNET_SEGS       64
#define VNET_MERGE_MAX  64  /* chains for one received frame */
#define VNET_TX_BATCH   256 /* frames sent before others on the loop get their turn */
#define VNET_SPEED      10000

/* --- features --- */

#define VNET_OFFERED                                                                               \
	(VNET_F_CSUM | VNET_F_GUEST_CSUM | VNET_F_CTRL_GUEST_OFFLOADS | VNET_F_MAC |               \
	 VNET_F_GUEST_TSO4 | VNET_F_GUEST_TSO6 | VNET_F_GUEST_ECN | VNET_F_HOST_TSO4 |             \
	 VNET_F_HOST_TSO6 | VNET_F_HOST_ECN | VNET_F_MRG_RXBUF | VNET_F_STATUS | VNET_F_CTRL_VQ |  \
	 VNET_F_CTRL_RX | VNET_F_CTRL_VLAN | VNET_F_CTRL_RX_EXTRA | VNET_F_GUEST_ANNOUNCE |        \
	 VNET_F_CTRL_MAC_ADDR | VNET_F_GUEST_USO4 | VNET_F_GUEST_USO6 | VNET_F_HOST_USO |          \
	 VNET_F_SPEED_DUPLEX)

/* 5.1.3.1: a feature needs one of some others. */
static const struct {
	u64 feature, needs;
} vnet_rules[] = {
	{VNET_F_GUEST_TSO4, VNET_F_GUEST_CSUM},
	{VNET_F_GUEST_TSO6, VNET_F_GUEST_CSUM},
	{VNET_F_GUEST_ECN, VNET_F_GUEST_TSO4 | VNET_F_GUEST_TSO6},
	{VNET_F_GUEST_USO4, VNET_F_GUEST_CSUM},
	{VNET_F_GUEST_USO6, VNET_F_GUEST_CSUM},
	{VNET_F_HOST_TSO4, VNET_F_CSUM},
	{VNET_F_HOST_TSO6, VNET_F_CSUM},
	{VNET_F_HOST_ECN, VNET_F_HOST_TSO4 | VNET_F_HOST_TSO6},
	{VNET_F_HOST_USO, VNET_F_CSUM},
	{VNET_F_CTRL_RX, VNET_F_CTRL_VQ},
	{VNET_F_CTRL_VLAN, VNET_F_CTRL_VQ},
	{VNET_F_CTRL_RX_EXTRA, VNET_F_CTRL_VQ},
	{VNET_F_GUEST_ANNOUNCE, VNET_F_CTRL_VQ},
	{VNET_F_MQ, VNET_F_CTRL_VQ},
	{VNET_F_CTRL_MAC_ADDR, VNET_F_CTRL_VQ},
};

bool vnet_features_are_ok(unused struct virtio_device *v, u64 features)
{
	for (size_t i = 0; i < ARRAY_SIZE(vnet_rules); i++)
		if (features & vnet_rules[i].feature && !(features & vnet_rules[i].needs))
			return false;
	return true;
}

struct vnet_offload {
	u64 feature;
	u32 offload;
};

static const struct vnet_offload vnet_host_offloads[] = {
	{VNET_F_CSUM, NET_TAKES_CSUM},      {VNET_F_HOST_TSO4, NET_TAKES_TSO4},
	{VNET_F_HOST_TSO6, NET_TAKES_TSO6}, {VNET_F_HOST_ECN, NET_TAKES_ECN},
	{VNET_F_HOST_USO, NET_TAKES_USO},   {0},
};

static const struct vnet_offload vnet_guest_offloads[] = {
	{VNET_F_GUEST_CSUM, NET_TAKES_CSUM},
	{VNET_F_GUEST_TSO4, NET_TAKES_TSO4},
	{VNET_F_GUEST_TSO6, NET_TAKES_TSO6},
	{VNET_F_GUEST_ECN, NET_TAKES_ECN},
	/* One offload to the back end: only who takes both kinds takes it. */
	{VNET_F_GUEST_USO4 | VNET_F_GUEST_USO6, NET_TAKES_USO},
	{0},
};

static u32 vnet_offloads(const struct vnet_offload *table, u64 features)
{
	u32 offloads = 0;

	for (; table->feature; table++)
		if ((features & table->feature) == table->feature)
			offloads |= table->offload;
	return offloads;
}

/* --- queues --- */

static bool vnet_is_ctrl(const struct vnet *d, u32 queue)
{
	return queue == 2u * (virtio_has(&d->vdev, VNET_F_MQ) ? d->n_pairs : 1);
}

static struct vq *vnet_rx(struct vnet *d, unsigned lane)
{
	return virtio_vq(&d->vdev, VNET_QUEUE_RX(lane % d->n_active));
}

/* --- from the guest --- */

static bool vnet_take_header(struct vnet *d, struct vq_chain *c, struct net_header *out)
{
	struct vnet_header_wire w;

	if (!vq_take(c, &w, sizeof(w)) || vq_readable(c) > NET_FRAME_MAX) {
		guest_error(&d->vdev.dev, "a frame without header, or too long");
		return false;
	}
	*out = (struct net_header){
		.flags = w.flags & NET_NEEDS_CSUM, /* 5.1.6.2.2: no other */
		.gso = w.gso_type,
		.hdr_len = le16_get(w.hdr_len),
		.gso_size = le16_get(w.gso_size),
		.csum_start = le16_get(w.csum_start),
		.csum_offset = le16_get(w.csum_offset),
	};
	if (net_header_needs(out) & ~d->sends) {
		guest_error(&d->vdev.dev, "a frame asks for offloads that were not agreed on");
		return false;
	}
	return true;
}

/* 0, or -EAGAIN: nothing of the chain is lost then. */
static int vnet_send_chain(struct vnet *d, unsigned lane, struct vq_chain *c)
{
	struct net_frame f;
	struct iovec one;
	int r;

	if (!vnet_take_header(d, c, &f.header) || !vnet_has_link(d)) {
		d->counts.dropped++;
		return 0;
	}
	f.size = vq_readable(c);
	f.iov = vq_readable_iov(c, &f.n_iov);
	if (f.n_iov > NET_IOV_MAX) {
		one = (struct iovec){.iov_base = d->linear, .iov_len = f.size};
		if (!vq_take(c, d->linear, f.size))
			unreachable_code();
		f.iov = &one;
		f.n_iov = 1;
	}
	if (!limit_allows(&d->tx_limit))
		return -EAGAIN;
	r = net_send(d->net, lane, &f);
	if (!r) {
		limit_charge(&d->tx_limit, f.size);
		d->counts.sent++;
		d->counts.sent_bytes += f.size;
	}
	return r;
}

/* Sends until the ring is empty (0), the back end full (-EAGAIN) or a batch done (1). */
static int vnet_send_batch(struct vnet *d, unsigned lane, struct vq *q)
{
	for (u32 i = 0; i < VNET_TX_BATCH; i++) {
		struct vq_chain *c = vq_pop(q);

		if (!c)
			return 0;
		if (vnet_send_chain(d, lane, c) < 0) {
			vq_unpop(c);
			return -EAGAIN;
		}
		vq_push(c, 0);
	}
	return 1;
}

static void vnet_tx_notify(struct vnet *d, struct vq *q)
{
	unsigned lane = vq_index(q) / 2 % net_n_lanes(d->net);
	int r;

	do {
		vq_disable_notify(q);
		r = vnet_send_batch(d, lane, q);
		net_flush(d->net, lane);
		vq_publish(q);
	} while (r == 0 && vq_enable_notify(q));
	if (r > 0)
		virtio_kick(&d->vdev, q);
}

static void vnet_room(void *opaque, unsigned lane)
{
	struct vnet *d = opaque;

	for (unsigned pair = lane; pair < d->n_pairs; pair += net_n_lanes(d->net))
		virtio_kick(&d->vdev, virtio_vq(&d->vdev, VNET_QUEUE_TX(pair)));
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

/* Bytes of a frame, as they go to the guest. */
struct vnet_source {
	const struct iovec *iov;
	size_t at; /* of the first vector */
};

/* Fills what room the chain has: a count of bytes. */
static u32 vnet_fill_chain(struct vq_chain *c, struct vnet_source *s, size_t size)
{
	u32 filled = 0;

	size = MIN(size, vq_writable(c));
	while (filled < size) {
		size_t n = MIN(s->iov->iov_len - s->at, size - filled);

		if (!vq_put(c, (const u8 *)s->iov->iov_base + s->at, n))
			unreachable_code();
		filled += (u32)n;
		s->at += n;
		if (s->at == s->iov->iov_len) {
			s->iov++;
			s->at = 0;
		}
	}
	return filled;
}

/* Spreads header and frame over n chains, which have room for them. */
static void vnet_fill_chains(struct vq_chain **chains, u32 n, const struct net_frame *f)
{
	const struct vnet_header_wire w = {
		.flags = f->header.flags,
		.gso_type = f->header.gso,
		.hdr_len = le16_of(f->header.hdr_len),
		.gso_size = le16_of(f->header.gso_size),
		.csum_start = le16_of(f->header.csum_start),
		.csum_offset = le16_of(f->header.csum_offset),
		.num_buffers = le16_of((u16)n),
	};
	struct vnet_source source = {.iov = f->iov};
	size_t left = f->size;

	for (u32 i = 0; i < n; i++) {
		u32 head = i == 0 ? sizeof(w) : 0, part;

		if (!vq_put(chains[i], &w, head))
			unreachable_code();
		part = vnet_fill_chain(chains[i], &source, left);
		vq_push(chains[i], head + part);
		left -= part;
	}
	assert(left == 0);
}

/* The device's lock is held. False: no buffers now. */
static bool vnet_receive_frame(struct vnet *d, struct vq *q, const struct net_frame *f)
{
	struct vq_chain *chains[VNET_MERGE_MAX];
	u32 n;
	int r;

	if (!vq_is_running(q) || !vnet_has_link(d) || !vnet_filter_accepts(d, f))
		return true; /* lost, or not wanted */
	if (!limit_allows(&d->rx_limit))
		return false;
	r = vnet_take_chains(d, q, sizeof(struct vnet_header_wire) + f->size, chains, &n);
	/* A queue that broke just now has no chains any more, and never will. */
	if (r == 0)
		return !vq_is_running(q);
	if (r > 0) {
		vnet_fill_chains(chains, n, f);
		limit_charge(&d->rx_limit, f->size);
		d->counts.received++;
		d->counts.received_bytes += f->size;
		return true;
	}
	d->counts.dropped++;
	guest_error(&d->vdev.dev, "buffers too small for a frame of %zu bytes", f->size);
	for (u32 i = 0; i < n; i++)
		vq_push(chains[i], 0);
	return true;
}

static bool vnet_receive(void *opaque, unsigned lane, const struct net_frame *f)
{
	struct vnet *d = opaque;
	bool is_taken;

	device_lock(&d->vdev.dev);
	is_taken = vnet_receive_frame(d, vnet_rx(d, lane), f);
	device_unlock(&d->vdev.dev);
	return is_taken;
}

static void vnet_received(void *opaque, unsigned lane)
{
	struct vnet *d = opaque;

	device_lock(&d->vdev.dev);
	vq_publish(vnet_rx(d, lane));
	device_unlock(&d->vdev.dev);
}

static void vnet_rx_notify(struct vnet *d, struct vq *q)
{
	vq_disable_notify(q); /* until there are too few again */
	for (unsigned lane = vq_index(q) / 2; lane < net_n_lanes(d->net); lane += d->n_active)
		net_accept(d->net, lane);
}

static void vnet_notify(struct virtio_device *v, struct vq *q)
{
	struct vnet *d = vnet_of(v);

	if (vnet_is_ctrl(d, vq_index(q)))
		vnet_ctrl_notify(v, q);
	else if (vq_index(q) % 2)
		vnet_tx_notify(d, q);
	else
		vnet_rx_notify(d, q);
}

void vnet_update_taken(struct vnet *d)
{
	net_set_taken(d->net, vnet_offloads(vnet_guest_offloads, d->guest_offloads));
	for (unsigned lane = 0; lane < net_n_lanes(d->net); lane++)
		net_accept(d->net, lane);
}

/* --- limits: both directions have the same, each for itself; on the loop's thread --- */

static void vnet_on_tx_ready(void *opaque)
{
	struct vnet *d = opaque;

	for (unsigned pair = 0; pair < d->n_pairs; pair++)
		virtio_kick(&d->vdev, virtio_vq(&d->vdev, VNET_QUEUE_TX(pair)));
}

static void vnet_on_rx_ready(void *opaque)
{
	struct vnet *d = opaque;

	device_lock(&d->vdev.dev);
	for (unsigned lane = 0; lane < net_n_lanes(d->net); lane++)
		net_accept(d->net, lane);
	device_unlock(&d->vdev.dev);
}

void vnet_set_limits(struct virtio_device *v, const struct limit_rates *rates)
{
	struct vnet *d = vnet_of(v);

	device_lock(&v->dev);
	limit_set(&d->tx_limit, rates);
	limit_set(&d->rx_limit, rates);
	device_unlock(&v->dev);
}

void vnet_get_limits(struct virtio_device *v, struct limit_rates *out)
{
	device_lock(&v->dev);
	limit_get(&vnet_of(v)->tx_limit, out);
	device_unlock(&v->dev);
}

/* --- the link --- */

bool vnet_has_link(const struct vnet *d)
{
	return !d->is_unplugged && net_is_up(d->net);
}

void vnet_update_link(struct vnet *d)
{
	u16 status = vnet_has_link(d) ? VNET_S_LINK_UP : 0;
	u16 known = le16_get(d->config.status);

	if (status && d->is_announcing)
		status |= VNET_S_ANNOUNCE;
	d->config.status = le16_of(status);
	/* What the driver itself acknowledged it needn't be told. */
	if (status != known && status != (known & ~VNET_S_ANNOUNCE))
		virtio_config_changed(&d->vdev);
}

static void vnet_link(void *opaque, bool is_up)
{
	struct vnet *d = opaque;

	device_lock(&d->vdev.dev);
	vnet_update_link(d);
	device_unlock(&d->vdev.dev);
	if (!is_up && d->lost)
		d->lost(d->lost_opaque);
}

void vnet_set_link(struct virtio_device *v, bool is_up)
{
	struct vnet *d = vnet_of(v);

	device_lock(&v->dev);
	d->is_unplugged = !is_up;
	vnet_update_link(d);
	device_unlock(&v->dev);
}

static void vnet_announce(struct vnet *d)
{
	d->is_announcing = virtio_has(&d->vdev, VNET_F_GUEST_ANNOUNCE);
	vnet_update_link(d);
}

void vnet_connect(struct virtio_device *v, struct net *n)
{
	struct vnet *d = vnet_of(v);
	struct net *old = d->net;

	device_lock(&v->dev);
	d->net = n;
	vnet_update_taken(d);
	vnet_announce(d);
	device_unlock(&v->dev);
	net_attach(n, &d->user);
	net_free(old);
	/* What the old one had no room for. */
	for (unsigned pair = 0; pair < d->n_pairs; pair++)
		virtio_kick(v, virtio_vq(v, VNET_QUEUE_TX(pair)));
}

/* --- the device --- */

/* A restored guest may be elsewhere now, on a link that it doesn't know. */
static void vnet_start(struct virtio_device *v)
{
	struct vnet *d = vnet_of(v);

	d->sends = vnet_offloads(vnet_host_offloads, v->features);
	if (!d->is_restored)
		d->guest_offloads = v->features & VNET_GUEST_OFFLOADS;
	vnet_update_taken(d);
	if (d->is_restored)
		vnet_announce(d);
	else
		vnet_update_link(d);
	d->is_restored = false;
}

static void vnet_stop(struct virtio_device *v)
{
	(void)v; /* nothing is held */
}

static void vnet_reset(struct virtio_device *v)
{
	vnet_ctrl_reset(vnet_of(v));
	vnet_update_link(vnet_of(v));
}

static unsigned vnet_count(struct device *dev, struct device_counter *out)
{
	const struct vnet_counts *n = &container_of(dev, struct vnet, vdev.dev)->counts;
	const struct device_counter all[] = {
		{"sent-frames", n->sent},         {"sent-bytes", n->sent_bytes},
		{"received-frames", n->received}, {"received-bytes", n->received_bytes},
		{"dropped-frames", n->dropped},
	};

	static_assert(ARRAY_SIZE(all) <= DEVICE_MAX_COUNTERS, "room for all");
	memcpy(out, all, sizeof(all));
	return ARRAY_SIZE(all);
}

static void vnet_free(struct device *dev)
{
	struct vnet *d = container_of(dev, struct vnet, vdev.dev);

	limit_fini(&d->tx_limit);
	limit_fini(&d->rx_limit);
	net_free(d->net);
	virtio_device_fini(&d->vdev);
	free(d);
}

static int vnet_after_load(void *object, unused u16 version, struct err *err)
{
	struct vnet *d = object;

	if (d->n_active < 1 || d->n_active > d->n_pairs)
		return err_set(err, -EINVAL, "%u pairs of queues are not possible", d->n_active);
	if (d->guest_offloads & ~(d->vdev.features & VNET_GUEST_OFFLOADS))
		return err_set(err, -EINVAL, "offloads %#lx were not agreed on", d->guest_offloads);
	d->is_restored = true;
	return 0;
}

static const struct state_field vnet_fields[] = {
	STATE_SUB(struct vnet, vdev, &virtio_device_state),
	STATE_RAW(struct vnet, config.mac),
	STATE_RAW(struct vnet, config.status),
	STATE_B(struct vnet, is_unplugged),
	STATE_B(struct vnet, is_announcing),
	STATE_U(struct vnet, n_active),
	STATE_U(struct vnet, guest_offloads),
	STATE_SUB(struct vnet, filter, &vnet_filter_state),
	STATE_SUB(struct vnet, tx_limit, &limit_state),
	STATE_SUB(struct vnet, rx_limit, &limit_state),
	STATE_END,
};

static const struct state_table vnet_state = {
	.name = "virtio-net",
	.version = 1,
	.fields = vnet_fields,
	.after_load = vnet_after_load,
};

static const struct device_ops vnet_device_ops = {
	.type = "virtio-net",
	.offset = offsetof(struct vnet, vdev.dev),
	.state = &vnet_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.count = vnet_count,
	.free = vnet_free,
};

static const struct virtio_ops vnet_ops = {
	.id = VIRTIO_ID_NET,
	.features_are_ok = vnet_features_are_ok,
	.start = vnet_start,
	.stop = vnet_stop,
	.reset = vnet_reset,
};

/* All alike: what a queue is depends on what the driver agrees to. */
static int vnet_add_queues(struct vnet *d, struct err *err)
{
	const struct virtio_queue_spec spec = {
		.size = VNET_QUEUE_SIZE, .max_segs = VNET_SEGS, .notify = vnet_notify};
	int r = 0;

	for (u32 i = 0; i < 2u * d->n_pairs + 1 && !r; i++)
		r = virtio_add_queue(&d->vdev, &spec, err);
	return r;
}

static void vnet_init_config(struct vnet *d, const struct vnet_options *o)
{
	memcpy(d->permanent_mac, o->mac, sizeof(d->permanent_mac));
	d->config.max_virtqueue_pairs = le16_of(d->n_pairs);
	d->config.mtu = le16_of(o->mtu);
	d->config.speed = le32_of(VNET_SPEED);
	d->config.duplex = VNET_DUPLEX_FULL;
	d->vdev.offered |= VNET_OFFERED;
	d->vdev.offered |= o->mtu ? VNET_F_MTU : 0;
	d->vdev.offered |= d->n_pairs > 1 ? VNET_F_MQ : 0;
	d->vdev.config = &d->config;
	d->vdev.config_size = sizeof(d->config);
	vnet_ctrl_reset(d);
}

int vnet_new(const struct vnet_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err)
{
	struct vnet *d = NEW(struct vnet);
	int r;

	d->n_pairs = MAX(o->n_pairs, (u16)1);
	assert(d->n_pairs <= VNET_PAIRS_MAX);
	virtio_device_init(&d->vdev, &vnet_ops, &vnet_device_ops, o->name, loop, gmem);
	limit_init(&d->tx_limit, o->clock, vnet_on_tx_ready, d);
	limit_init(&d->rx_limit, o->clock, vnet_on_rx_ready, d);
	vnet_init_config(d, o);
	r = vnet_add_queues(d, err);
	if (r < 0) {
		vnet_free(&d->vdev.dev);
		return r;
	}
	d->user = (struct net_user){.receive = vnet_receive,
				    .received = vnet_received,
				    .room = vnet_room,
				    .link = vnet_link,
				    .opaque = d};
	d->lost = o->lost;
	d->lost_opaque = o->opaque;
	d->net = o->net;
	vnet_update_link(d);
	net_attach(d->net, &d->user);
	*out = &d->vdev;
	return 0;
}
