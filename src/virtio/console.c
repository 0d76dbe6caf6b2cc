/*
 * virtio-console with multiport. See console.h; the wire is console_wire.h's.
 *
 * Data. Output chains are written to the port's stream; when it takes only a part, the chain goes
 * back to the ring and tx_done says how much of it to skip the next time, so that nothing is ever
 * held between two callbacks. Input is read from the stream only while the driver has buffers and
 * has the port open.
 *
 * Control. What the driver should be told about a port is a set of bits (pending), not a queue of
 * messages: they are sent in the order of the bits, with the values of that moment, as soon as the
 * control queue has buffers. A driver that gives none makes nothing grow.
 *
 *     driver: DEVICE_READY        device: DEVICE_ADD for each port
 *     driver: PORT_READY          device: CONSOLE_PORT, PORT_NAME, RESIZE, PORT_OPEN
 *     driver: PORT_OPEN 1/0
 */
#include "virtio/console.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "chr/chr.h"
#include "state/state.h"
#include "virtio/console_wire.h"
#include "virtio/virtio.h"

#define VCON_QUEUE_SIZE   128
#define VCON_CONTROL_SIZE 64
#define VCON_SEGS         64

/* Bits of pending, in the order in which the messages go out. */
static const u16 vcon_pending_events[] = {
	VCON_DEVICE_ADD, VCON_CONSOLE_PORT, VCON_PORT_NAME, VCON_RESIZE, VCON_PORT_OPEN,
};

enum {
	VCON_PENDING_ADD = 1,
	VCON_PENDING_CONSOLE = 2,
	VCON_PENDING_NAME = 4,
	VCON_PENDING_RESIZE = 8,
	VCON_PENDING_OPEN = 16,
	VCON_PENDING_ALL = 31,
};
static_assert(VCON_PENDING_ALL == (1 << ARRAY_SIZE(vcon_pending_events)) - 1, "a bit each");

struct vcon_port {
	struct vcon *con;
	struct chr *chr;
	struct chr_user user;
	u32 id;
	bool is_console;
	char name[VCON_NAME_MAX + 1];

	bool is_ready;      /* the driver knows the port */
	bool is_guest_open; /* a program in the guest has it open */
	bool told_open;     /* the last PORT_OPEN sent */
	u32 pending;
	u64 tx_done; /* bytes already written of the next output chain */
	u16 cols, rows;
};

struct vcon {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct vcon_config_wire config;
	u32 n_ports;
	struct vcon_port ports[VCON_MAX_PORTS];
};

static struct vcon *vcon_of(struct virtio_device *v)
{
	return container_of(v, struct vcon, vdev);
}

static u32 vcon_rx_index(u32 port)
{
	return port == 0 ? VCON_QUEUE_RX0 : VCON_QUEUE_PORTS + 2 * (port - 1);
}

/* Of a data queue. */
static struct vcon_port *vcon_port_of_queue(struct vcon *d, const struct vq *q)
{
	u32 i = vq_index(q);

	return &d->ports[i < VCON_QUEUE_PORTS ? 0 : (i - VCON_QUEUE_PORTS) / 2 + 1];
}

static struct vq *vcon_rx(struct vcon_port *p)
{
	return virtio_vq(&p->con->vdev, vcon_rx_index(p->id));
}

static struct vq *vcon_tx(struct vcon_port *p)
{
	return virtio_vq(&p->con->vdev, vcon_rx_index(p->id) + 1);
}

/* --- control messages to the driver --- */

static u16 vcon_control_value(struct vcon_port *p, u16 event)
{
	if (event == VCON_PORT_OPEN)
		return p->told_open = chr_is_open(p->chr);
	return event == VCON_CONSOLE_PORT || event == VCON_PORT_NAME;
}

/* Sends one message in c; one that doesn't fit is cut: the driver offered too little. */
static void vcon_control_put(struct vcon_port *p, struct vq_chain *c, u16 event)
{
	struct {
		struct vcon_control_wire head;
		u8 tail[VCON_NAME_MAX];
	} m = {
		.head = {.id = le32_of(p->id),
			 .event = le16_of(event),
			 .value = le16_of(vcon_control_value(p, event))},
	};
	struct vcon_resize_wire size = {.cols = le16_of(p->cols), .rows = le16_of(p->rows)};
	u32 bytes = sizeof(m.head);

	if (event == VCON_PORT_NAME) {
		memcpy(m.tail, p->name, strlen(p->name));
		bytes += (u32)strlen(p->name);
	} else if (event == VCON_RESIZE) {
		memcpy(m.tail, &size, sizeof(size));
		bytes += sizeof(size);
	}
	bytes = (u32)MIN((u64)bytes, vq_writable(c));
	if (!vq_put(c, &m, bytes))
		unreachable_code();
	vq_push(c, bytes);
}

static void vcon_control_flush_port(struct vcon_port *p, struct vq *q)
{
	for (u32 i = 0; p->pending && i < ARRAY_SIZE(vcon_pending_events); i++) {
		struct vq_chain *c;

		if (!(p->pending & BIT32(i)))
			continue;
		c = vq_pop(q);
		if (!c)
			return;
		p->pending &= ~BIT32(i);
		vcon_control_put(p, c, vcon_pending_events[i]);
	}
}

static bool vcon_has_pending(const struct vcon *d)
{
	for (u32 i = 0; i < d->n_ports; i++) {
		if (d->ports[i].pending)
			return true;
	}
	return false;
}

/* Asks to be notified of buffers when there are too few. */
static void vcon_control_flush(struct vcon *d)
{
	struct vq *q = virtio_vq(&d->vdev, VCON_QUEUE_CONTROL_RX);

	do {
		for (u32 i = 0; i < d->n_ports; i++)
			vcon_control_flush_port(&d->ports[i], q);
		vq_publish(q);
	} while (vcon_has_pending(d) && vq_enable_notify(q));
}

static void vcon_control_rx_notify(struct virtio_device *v, struct vq *q)
{
	(void)q;
	vcon_control_flush(vcon_of(v));
}

/* --- control messages from the driver --- */

static void vcon_port_ready(struct vcon_port *p)
{
	p->is_ready = true;
	if (p->is_console)
		p->pending |= VCON_PENDING_CONSOLE;
	if (p->name[0])
		p->pending |= VCON_PENDING_NAME;
	if (p->is_console && p->cols)
		p->pending |= VCON_PENDING_RESIZE;
	if (chr_is_open(p->chr))
		p->pending |= VCON_PENDING_OPEN;
}

static void vcon_port_opened(struct vcon_port *p, bool is_open)
{
	p->is_guest_open = is_open;
	if (is_open)
		chr_accept(p->chr);
}

static void vcon_device_ready(struct vcon *d, bool is_ready)
{
	if (!is_ready) {
		guest_error(&d->vdev.dev, "the driver could not set the device up");
		return;
	}
	for (u32 i = 0; i < d->n_ports; i++)
		d->ports[i].pending |= VCON_PENDING_ADD;
}

static void vcon_control(struct vcon *d, const struct vcon_control_wire *m)
{
	u32 id = le32_get(m->id);
	u16 event = le16_get(m->event);

	if (event == VCON_DEVICE_READY)
		vcon_device_ready(d, le16_get(m->value));
	else if (id >= d->n_ports)
		guest_error(&d->vdev.dev, "control message %u for port %u", event, id);
	else if (event == VCON_PORT_READY && le16_get(m->value))
		vcon_port_ready(&d->ports[id]);
	else if (event == VCON_PORT_OPEN)
		vcon_port_opened(&d->ports[id], le16_get(m->value));
	else
		guest_error(&d->vdev.dev, "unexpected control message %u", event);
}

static void vcon_control_tx_notify(struct virtio_device *v, struct vq *q)
{
	struct vcon *d = vcon_of(v);
	struct vq_chain *c;

	do {
		vq_disable_notify(q);
		while ((c = vq_pop(q))) {
			struct vcon_control_wire m;

			if (vq_take(c, &m, sizeof(m)))
				vcon_control(d, &m);
			else
				guest_error(&v->dev, "control message too short");
			vq_push(c, 0);
		}
		vq_publish(q);
	} while (vq_enable_notify(q));
	vcon_control_flush(d);
}

/* --- output: from the guest to the stream --- */

/* True when all of the chain was taken. */
static bool vcon_write_chain(struct vcon_port *p, struct vq_chain *c)
{
	const struct iovec *iov;
	u32 n;

	/* A chain that became shorter since is the driver's doing, and no harm. */
	p->tx_done = MIN(p->tx_done, vq_readable(c));
	vq_skip_readable(c, p->tx_done);
	iov = vq_readable_iov(c, &n);
	for (u32 i = 0; i < n; i++) {
		size_t taken = chr_write(p->chr, iov[i].iov_base, iov[i].iov_len);

		p->tx_done += taken;
		if (taken < iov[i].iov_len)
			return false;
	}
	p->tx_done = 0;
	return true;
}

/* False: the stream is full; it will say when there is room. */
static bool vcon_write_chains(struct vcon_port *p, struct vq *q)
{
	struct vq_chain *c;

	while ((c = vq_pop(q))) {
		if (!vcon_write_chain(p, c)) {
			vq_unpop(c);
			return false;
		}
		vq_push(c, 0);
	}
	return true;
}

static void vcon_tx_notify(struct virtio_device *v, struct vq *q)
{
	struct vcon_port *p = vcon_port_of_queue(vcon_of(v), q);
	bool has_room;

	do {
		vq_disable_notify(q);
		has_room = vcon_write_chains(p, q);
		vq_publish(q);
	} while (has_room && vq_enable_notify(q));
}

/* --- input: from the stream to the guest --- */

static void vcon_rx_notify(struct virtio_device *v, struct vq *q)
{
	chr_accept(vcon_port_of_queue(vcon_of(v), q)->chr);
}

/* The bytes that the next buffer takes; asks to be notified of one when there is none. */
static size_t vcon_next_buffer(struct vq *q)
{
	struct vq_chain *c = vq_pop(q);
	size_t bytes;

	if (!c && vq_enable_notify(q))
		c = vq_pop(q);
	if (!c)
		return 0;
	bytes = vq_writable(c);
	vq_unpop(c);
	return bytes;
}

static size_t vcon_can_receive(void *opaque)
{
	struct vcon_port *p = opaque;
	struct device *dev = &p->con->vdev.dev;
	size_t bytes = 0;

	device_lock(dev);
	if (p->is_guest_open)
		bytes = vcon_next_buffer(vcon_rx(p));
	device_unlock(dev);
	return bytes;
}

/*
 * Everything fits, as can_receive found a moment ago, unless the driver reset the device or changed
 * its ring meanwhile; what doesn't fit then is lost.
 */
static void vcon_receive(void *opaque, const u8 *data, size_t size)
{
	struct vcon_port *p = opaque;
	struct vq *q = vcon_rx(p);
	struct vq_chain *c;

	device_lock(&p->con->vdev.dev);
	while (size && (c = vq_pop(q))) {
		u32 n = (u32)MIN((u64)size, vq_writable(c));

		if (!vq_put(c, data, n))
			unreachable_code();
		vq_push(c, n);
		data += n;
		size -= n;
	}
	vq_publish(q);
	device_unlock(&p->con->vdev.dev);
}

static void vcon_room(void *opaque)
{
	struct vcon_port *p = opaque;

	virtio_kick(&p->con->vdev, vcon_tx(p));
}

static void vcon_event(void *opaque, bool is_open)
{
	struct vcon_port *p = opaque;

	device_lock(&p->con->vdev.dev);
	if (p->is_ready && p->told_open != is_open) {
		p->pending |= VCON_PENDING_OPEN;
		vcon_control_flush(p->con);
	}
	device_unlock(&p->con->vdev.dev);
}

/* --- the device --- */

static void vcon_start(struct virtio_device *v)
{
	struct vcon *d = vcon_of(v);

	/* Without MULTIPORT there is one port, and it is always open (5.3.5). */
	if (!virtio_has(v, VCON_F_MULTIPORT))
		d->ports[0].is_guest_open = true;
	for (u32 i = 0; i < d->n_ports; i++) {
		struct vcon_port *p = &d->ports[i];

		/* A restored guest knows the peer of another place and time. */
		if (p->is_ready && p->told_open != chr_is_open(p->chr))
			p->pending |= VCON_PENDING_OPEN;
	}
}

static void vcon_stop(struct virtio_device *v)
{
	struct vcon *d = vcon_of(v);

	for (u32 i = 0; i < d->n_ports; i++)
		d->ports[i].is_guest_open = false;
}

static void vcon_reset(struct virtio_device *v)
{
	struct vcon *d = vcon_of(v);

	for (u32 i = 0; i < d->n_ports; i++) {
		struct vcon_port *p = &d->ports[i];

		p->is_ready = p->is_guest_open = p->told_open = false;
		p->pending = 0;
		p->tx_done = 0;
	}
}

/* Emergency write (5.3.4): a byte for port 0, also before the driver is there. */
static void vcon_write_config(struct virtio_device *v, u32 off, const void *buf, u32 size)
{
	if (off != offsetof(struct vcon_config_wire, emerg_wr) || !size) {
		guest_error(&v->dev, "%u-byte write of configuration at %#x", size, off);
		return;
	}
	/* What a full stream doesn't take is lost: there is nobody who could offer it again. */
	if (!chr_write(vcon_of(v)->ports[0].chr, buf, 1))
		guest_error(&v->dev, "emergency write of a byte is lost");
}

void vcon_set_size(struct virtio_device *v, u32 port, u16 cols, u16 rows)
{
	struct vcon *d = vcon_of(v);
	struct vcon_port *p = &d->ports[port];

	assert(port < d->n_ports);
	device_lock(&v->dev);
	p->cols = cols;
	p->rows = rows;
	if (port == 0) {
		d->config.cols = le16_of(cols);
		d->config.rows = le16_of(rows);
		virtio_config_changed(v);
	}
	if (p->is_ready && p->is_console) {
		p->pending |= VCON_PENDING_RESIZE;
		vcon_control_flush(d);
	}
	device_unlock(&v->dev);
}

static void vcon_free(struct device *dev)
{
	struct vcon *d = container_of(dev, struct vcon, vdev.dev);

	for (u32 i = 0; i < d->n_ports; i++)
		chr_free(d->ports[i].chr);
	virtio_device_fini(&d->vdev);
	free(d);
}

static int vcon_after_load(void *object, u16 version, struct err *err)
{
	struct vcon *d = object;
	u32 n = 0;

	(void)version;
	while (n < VCON_MAX_PORTS && d->ports[n].chr)
		n++;
	if (d->n_ports != n) {
		u32 saved = d->n_ports;

		d->n_ports = n;
		return err_set(err, -EINVAL, "%s: %u ports were saved, here are %u",
			       d->vdev.dev.name, saved, n);
	}
	for (u32 i = 0; i < n; i++) {
		if (d->ports[i].pending & ~(u32)VCON_PENDING_ALL)
			return err_set(err, -EINVAL, "%s: port %u: unknown message pending",
				       d->vdev.dev.name, i);
	}
	d->config.cols = le16_of(d->ports[0].cols);
	d->config.rows = le16_of(d->ports[0].rows);
	return 0;
}

static const struct state_field vcon_port_fields[] = {
	STATE_B(struct vcon_port, is_ready),  STATE_B(struct vcon_port, is_guest_open),
	STATE_B(struct vcon_port, told_open), STATE_U(struct vcon_port, pending),
	STATE_U(struct vcon_port, tx_done),   STATE_U(struct vcon_port, cols),
	STATE_U(struct vcon_port, rows),      STATE_END,
};

static const struct state_table vcon_port_state = {
	.name = "port",
	.version = 1,
	.fields = vcon_port_fields,
};

static const struct state_field vcon_fields[] = {
	STATE_SUB(struct vcon, vdev, &virtio_device_state),
	STATE_U(struct vcon, n_ports),
	STATE_SUB_ARRAY(struct vcon, ports, &vcon_port_state),
	STATE_END,
};

static const struct state_table vcon_state = {
	.name = "virtio-console",
	.version = 1,
	.fields = vcon_fields,
	.after_load = vcon_after_load,
};

static const struct device_ops vcon_device_ops = {
	.type = "virtio-console",
	.offset = offsetof(struct vcon, vdev.dev),
	.state = &vcon_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.free = vcon_free,
};

static const struct virtio_ops vcon_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.start = vcon_start,
	.stop = vcon_stop,
	.reset = vcon_reset,
	.write_config = vcon_write_config,
};

/* Two queues, a and b, of size descriptors. */
static int vcon_add_pair(struct vcon *d, u16 size, virtio_notify_fn *a, virtio_notify_fn *b,
			 struct err *err)
{
	struct virtio_queue_spec spec = {.size = size, .max_segs = VCON_SEGS, .notify = a};
	int r = virtio_add_queue(&d->vdev, &spec, err);

	spec.notify = b;
	return r < 0 ? r : virtio_add_queue(&d->vdev, &spec, err);
}

static int vcon_add_queues(struct vcon *d, u32 n_ports, struct err *err)
{
	int r = vcon_add_pair(d, VCON_QUEUE_SIZE, vcon_rx_notify, vcon_tx_notify, err);

	if (r == 0)
		r = vcon_add_pair(d, VCON_CONTROL_SIZE, vcon_control_rx_notify,
				  vcon_control_tx_notify, err);
	for (u32 i = 1; i < n_ports && r == 0; i++)
		r = vcon_add_pair(d, VCON_QUEUE_SIZE, vcon_rx_notify, vcon_tx_notify, err);
	return r;
}

static void vcon_add_port(struct vcon *d, const struct vcon_port_options *o)
{
	struct vcon_port *p = &d->ports[d->n_ports];

	p->con = d;
	p->id = d->n_ports++;
	p->chr = o->chr;
	p->is_console = o->is_console;
	if (o->name) {
		assert(strlen(o->name) <= VCON_NAME_MAX);
		memcpy(p->name, o->name, strlen(o->name));
	}
	p->user = (struct chr_user){
		.can_receive = vcon_can_receive,
		.receive = vcon_receive,
		.room = vcon_room,
		.event = vcon_event,
		.opaque = p,
	};
	chr_attach(p->chr, &p->user);
}

int vcon_new(const struct vcon_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err)
{
	struct vcon *d = NEW(struct vcon);
	int r;

	assert(o->n_ports > 0 && o->n_ports <= VCON_MAX_PORTS);
	virtio_device_init(&d->vdev, &vcon_ops, &vcon_device_ops, o->name, loop, gmem);
	d->config.max_nr_ports = le32_of(o->n_ports);
	d->vdev.offered |= VCON_F_SIZE | VCON_F_MULTIPORT | VCON_F_EMERG_WRITE;
	d->vdev.config = &d->config;
	d->vdev.config_size = sizeof(d->config);
	r = vcon_add_queues(d, o->n_ports, err);
	if (r < 0) {
		vcon_free(&d->vdev.dev);
		return r;
	}
	for (u32 i = 0; i < o->n_ports; i++)
		vcon_add_port(d, &o->ports[i]);
	*out = &d->vdev;
	return 0;
}
