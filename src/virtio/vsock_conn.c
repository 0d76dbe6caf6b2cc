/*
 * virtio-vsock's connections. See vsock_priv.h.
 *
 * Credit (5.10.6.3), both ways: a sender may have no more bytes on the way than the receiver's buffer
 * takes: buf_alloc bytes beyond what the receiver says it has forwarded. The guest's buffer here is
 * VSOCK_BUFFER; what goes beyond that is a broken rule and the connection's end. All counts are
 * modulo 2^32, and those of the guest are not believed: one that makes no sense gives no credit.
 *
 * Ends. The host's program: end of its stream becomes SHUTDOWN(SEND), leaving altogether both flags.
 * The guest's: SHUTDOWN(SEND) becomes the end of the stream once all is written; both flags are
 * answered by RST then, as a clean end wants it (5.10.6.5). A guest that doesn't wait for that (Linux:
 * 8 seconds) and sends RST itself doesn't take back what it sent before.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "virtio/vsock_priv.h"
#include "vsock/vsock.h"

/* --- finding, making, ending --- */

static struct list *vsock_bucket(struct vsock *d, u32 guest_port, u32 host_port)
{
	return &d->buckets[(guest_port * 31 + host_port) % VSOCK_BUCKETS];
}

struct vsock_conn *vsock_conn_find(struct vsock *d, u32 guest_port, u32 host_port)
{
	list_for_each (node, vsock_bucket(d, guest_port, host_port)) {
		struct vsock_conn *c = list_entry(node, struct vsock_conn, bucket);

		if (c->guest_port == guest_port && c->host_port == host_port)
			return c;
	}
	return NULL;
}

static void vsock_conn_on_event(struct loop_fd *w, u32 events);

/* NULL: there are too many. */
static struct vsock_conn *vsock_conn_new(struct vsock *d, u32 guest_port, u32 host_port, int fd)
{
	struct vsock_conn *c;

	if (d->n_conns == VSOCK_MAX_CONNS)
		return NULL;
	c = NEW(struct vsock_conn);
	c->d = d;
	c->guest_port = guest_port;
	c->host_port = host_port;
	c->id = d->next_id++;
	c->watch = (struct loop_fd){.fd = fd, .fn = vsock_conn_on_event};
	list_append(vsock_bucket(d, guest_port, host_port), &c->bucket);
	list_append(&d->conns, &c->all);
	list_init(&c->ready);
	d->n_conns++;
	return c;
}

void vsock_conn_drop(struct vsock_conn *c)
{
	struct vsock *d = c->d;

	if (c->is_dead)
		return;
	c->is_dead = true;
	list_remove(&c->bucket);
	list_remove(&c->ready);
	list_remove(&c->all);
	list_append(&d->dead, &c->all);
	loop_task_post(d->vdev.loop, &d->bury);
}

void vsock_conn_free(struct vsock_conn *c)
{
	struct vsock *d = c->d;

	loop_fd_remove(d->vdev.loop, &c->watch);
	fd_close(c->watch.fd);
	list_remove(&c->all);
	d->n_conns--;
	free(c->buffer);
	free(c);
}

/* Ends it here, and tells the guest if it knows of it. */
static void vsock_conn_reset(struct vsock_conn *c)
{
	if (c->owes & VSOCK_OWES_REQUEST || c->state == VSOCK_STATE_FLUSHING) {
		vsock_conn_drop(c);
		return;
	}
	vsock_add_stray(c->d, &(struct vsock_stray){.dst_cid = c->d->guest_cid,
						    .src_port = c->host_port,
						    .dst_port = c->guest_port,
						    .type = VSOCK_TYPE_STREAM});
	vsock_conn_drop(c);
}

/* --- readiness --- */

static u32 vsock_conn_credit(const struct vsock_conn *c)
{
	u32 on_the_way = c->sent - c->peer_forwarded;

	return on_the_way < c->peer_alloc ? c->peer_alloc - on_the_way : 0;
}

bool vsock_conn_has_something(const struct vsock_conn *c)
{
	return c->owes || (c->has_input && vsock_conn_credit(c));
}

static void vsock_conn_owe(struct vsock_conn *c, u32 what)
{
	if (c->is_dead || c->state == VSOCK_STATE_FLUSHING)
		return;
	c->owes |= what;
	if (list_is_empty(&c->ready) && vsock_conn_has_something(c))
		list_append(&c->d->ready, &c->ready);
}

/* Input that waits for credit or buffers isn't watched for, and then a hang-up can't be either: it
 * would be told without end. */
static u32 vsock_conn_events(const struct vsock_conn *c)
{
	u32 events = c->buffered ? EPOLLOUT : 0;

	if (c->d->vdev.is_quiesced || c->watch.fd < 0 || c->is_dead)
		return 0;
	if (c->state == VSOCK_STATE_REQUESTED)
		return EPOLLHUP;
	if (c->state == VSOCK_STATE_OPEN && !c->has_input && !c->host_ended && !c->guest_left)
		events |= EPOLLIN;
	return events;
}

void vsock_conn_watch(struct vsock_conn *c)
{
	struct loop *loop = c->d->vdev.loop;
	u32 events = vsock_conn_events(c);

	if (!events) {
		loop_fd_remove(loop, &c->watch);
	} else if (c->watch.is_added) {
		loop_fd_change(loop, &c->watch, events);
	} else {
		c->watch.events = events;
		if (loop_fd_add(loop, &c->watch) < 0)
			vsock_conn_reset(c);
	}
}

/* --- from the guest to the host --- */

/* The host's program takes nothing any more: what is there is lost, as over TCP. */
static void vsock_conn_host_left(struct vsock_conn *c)
{
	c->forwarded += c->buffered;
	c->buffered = 0;
	c->host_left = true;
	vsock_conn_owe(c, VSOCK_OWES_SHUTDOWN);
}

/* Bytes that the host's socket takes now. */
static u32 vsock_conn_write(struct vsock_conn *c, const u8 *data, u32 len)
{
	ssize_t n = len ? send(c->watch.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		vsock_conn_host_left(c);
	return n < 0 ? 0 : (u32)n;
}

/* What the guest was told last may be too little for it to go on with. */
static void vsock_conn_forwarded(struct vsock_conn *c, u32 n)
{
	c->forwarded += n;
	if (c->forwarded - c->told_forwarded >= VSOCK_BUFFER / 4)
		vsock_conn_owe(c, VSOCK_OWES_CREDIT);
}

/* All that the guest sent is written: what it said of the end comes true. */
static void vsock_conn_settle(struct vsock_conn *c)
{
	if (c->buffered || c->is_dead)
		return;
	if (c->state == VSOCK_STATE_FLUSHING)
		vsock_conn_drop(c);
	else if (c->guest_ended && c->guest_left)
		vsock_conn_reset(c);
	else if (c->guest_ended && !c->host_left)
		shutdown(c->watch.fd, SHUT_WR);
}

static void vsock_conn_flush(struct vsock_conn *c)
{
	while (c->buffered) {
		u32 part = MIN(c->buffered, (u32)VSOCK_BUFFER - c->buffer_at);
		u32 n = vsock_conn_write(c, c->buffer + c->buffer_at, part);

		if (c->host_left)
			break;
		c->buffer_at = (c->buffer_at + n) % (u32)VSOCK_BUFFER;
		c->buffered -= n;
		vsock_conn_forwarded(c, n);
		if (n < part)
			break;
	}
	vsock_conn_settle(c);
}

/* Credit was checked: there is room. */
static bool vsock_conn_keep(struct vsock_conn *c, const u8 *data, u32 len)
{
	if (len && !c->buffer)
		c->buffer = alloc_try(VSOCK_BUFFER, 1);
	if (len && !c->buffer)
		return false;
	for (u32 done = 0, part; done < len; done += part) {
		u32 end = (c->buffer_at + c->buffered) % (u32)VSOCK_BUFFER;

		part = MIN(len - done, (u32)VSOCK_BUFFER - end);
		memcpy(c->buffer + end, data + done, part);
		c->buffered += part;
	}
	return true;
}

/* False: the guest sends more than it may, or there is no memory for what it sends. */
static bool vsock_conn_take_data(struct vsock_conn *c, u32 len, struct vq_chain *chain)
{
	u8 *bounce = c->d->bounce;

	if (len > VSOCK_BUFFER - (c->received - c->forwarded) || c->guest_ended) {
		guest_error(&c->d->vdev.dev, "%u bytes more than there is credit for", len);
		return false;
	}
	c->received += len;
	c->d->sent_bytes += len;
	for (u32 part, n; len; len -= part) {
		part = MIN(len, VSOCK_BOUNCE);
		if (!vq_take(chain, bounce, part))
			unreachable_code();
		n = c->buffered || c->host_left ? 0 : vsock_conn_write(c, bounce, part);
		if (c->host_left)
			n = part; /* to nobody */
		vsock_conn_forwarded(c, n);
		if (!vsock_conn_keep(c, bounce + n, part - n))
			return false;
	}
	return true;
}

static void vsock_conn_guest_shutdown(struct vsock_conn *c, u32 flags)
{
	if (flags & VSOCK_SHUTDOWN_RCV && !c->guest_left) {
		c->guest_left = true;
		c->has_input = false;
		shutdown(c->watch.fd, SHUT_RD);
	}
	c->guest_ended |= (flags & VSOCK_SHUTDOWN_SEND) != 0;
	vsock_conn_settle(c);
}

static void vsock_conn_guest_reset(struct vsock_conn *c)
{
	if (c->state != VSOCK_STATE_OPEN || !c->guest_ended || !c->buffered) {
		vsock_conn_drop(c);
		return;
	}
	c->state = VSOCK_STATE_FLUSHING;
	c->owes = 0;
	c->has_input = false;
	list_remove(&c->bucket);
	list_remove(&c->ready);
}

/* --- packets of the guest --- */

static bool vsock_on_request(struct vsock *d, const struct vsock_packet *p)
{
	struct vsock_conn *c = vsock_conn_new(d, p->guest_port, p->host_port, -1);

	if (!c)
		return false;
	c->state = VSOCK_STATE_CONNECTING;
	c->peer_alloc = p->buf_alloc;
	c->peer_forwarded = p->fwd_cnt;
	if (vsock_host_connect(d->host, c->id, p->host_port) == 0)
		return true;
	vsock_conn_drop(c);
	return false;
}

/* The guest takes the host's call: the program that made it is told, and may speak. */
static bool vsock_conn_accepted(struct vsock_conn *c)
{
	char line[24];
	int n = snprintf(line, sizeof(line), "OK %u\n", c->host_port);

	c->state = VSOCK_STATE_OPEN;
	c->d->opened++;
	return send(c->watch.fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n;
}

static bool vsock_conn_packet_open(struct vsock_conn *c, const struct vsock_packet *p,
				   struct vq_chain *chain)
{
	switch (p->op) {
	case VSOCK_OP_RW:
		return vsock_conn_take_data(c, p->len, chain);
	case VSOCK_OP_SHUTDOWN:
		vsock_conn_guest_shutdown(c, p->flags);
		return true;
	case VSOCK_OP_CREDIT_REQUEST:
		vsock_conn_owe(c, VSOCK_OWES_CREDIT);
		return true;
	case VSOCK_OP_CREDIT_UPDATE:
		return true; /* it was in the header */
	case VSOCK_OP_INVALID:
	case VSOCK_OP_REQUEST:
	case VSOCK_OP_RESPONSE:
	case VSOCK_OP_RST:
		return false;
	}
	unreachable_code();
}

bool vsock_conn_packet(struct vsock *d, struct vsock_conn *c, const struct vsock_packet *p,
		       struct vq_chain *chain)
{
	bool is_fine = false;

	if (!c)
		return p->op == VSOCK_OP_REQUEST && vsock_on_request(d, p);
	if (p->op == VSOCK_OP_RST) {
		vsock_conn_guest_reset(c);
		return true;
	}
	c->peer_alloc = p->buf_alloc;
	c->peer_forwarded = p->fwd_cnt;
	if (c->state == VSOCK_STATE_REQUESTED)
		is_fine = p->op == VSOCK_OP_RESPONSE && vsock_conn_accepted(c);
	else if (c->state == VSOCK_STATE_OPEN)
		is_fine = vsock_conn_packet_open(c, p, chain);
	if (!is_fine) {
		vsock_conn_drop(c);
		return false;
	}
	if (!c->is_dead) {
		vsock_conn_owe(c, 0); /* there may be credit again */
		vsock_conn_watch(c);
	}
	return true;
}

/* --- to the guest --- */

/* The host's program sends no more; it may still take. */
static void vsock_conn_host_ended(struct vsock_conn *c)
{
	c->has_input = false;
	c->host_ended = true;
	vsock_conn_owe(c, VSOCK_OWES_SHUTDOWN);
}

/* Reads once, into what the chains have room for. 0: nothing was there. */
static u32 vsock_conn_read(struct vsock_conn *c, u32 room)
{
	ssize_t n = recv(c->watch.fd, c->d->bounce, room, MSG_DONTWAIT);

	if (n > 0)
		return (u32)n;
	if (n == 0)
		vsock_conn_host_ended(c);
	else if (errno == EAGAIN || errno == EINTR)
		c->has_input = false;
	else
		vsock_conn_reset(c);
	return 0;
}

static u32 vsock_data_room(const struct vq_chain *chain)
{
	return (u32)MIN(vq_writable(chain) - sizeof(struct vsock_header_wire), (u64)VSOCK_BOUNCE);
}

/* Fills as many of the chains as there are data for, and gives the others back, the latest first. */
static void vsock_conn_spread(struct vsock_conn *c, struct vq_chain **chains, u32 n, u32 len)
{
	u32 at = 0, used = 0;

	for (; at < len; used++) {
		u32 part = MIN(len - at, vsock_data_room(chains[used]));

		vsock_push_packet(c, chains[used], VSOCK_OP_RW, 0, c->d->bounce + at, part);
		at += part;
	}
	while (n > used)
		vq_unpop(chains[--n]);
	c->sent += len;
	c->d->received_bytes += len;
}

static bool vsock_conn_send_data(struct vsock_conn *c)
{
	u32 wanted = MIN(vsock_conn_credit(c), VSOCK_BOUNCE), room = 0, n = 0, len;
	struct vq_chain *chains[VSOCK_BURST];

	while (n < (c->is_burst ? VSOCK_BURST : 1) && room < wanted &&
	       (chains[n] = vsock_pop_rx(c->d)))
		room += vsock_data_room(chains[n++]);
	if (!n)
		return false;
	len = vsock_conn_read(c, MIN(room, wanted));
	c->is_burst = len == MIN(room, wanted);
	vsock_conn_spread(c, chains, n, len);
	return true;
}

/* The flags that the guest should know. */
static u32 vsock_conn_shutdown_flags(const struct vsock_conn *c)
{
	return (c->host_ended ? VSOCK_SHUTDOWN_SEND : 0) | (c->host_left ? VSOCK_SHUTDOWN_RCV : 0);
}

static void vsock_conn_send_owed(struct vsock_conn *c, struct vq_chain *chain)
{
	if (c->owes & VSOCK_OWES_REQUEST) {
		c->owes &= ~VSOCK_OWES_REQUEST;
		vsock_push_packet(c, chain, VSOCK_OP_REQUEST, 0, NULL, 0);
	} else if (c->owes & VSOCK_OWES_RESPONSE) {
		c->owes &= ~VSOCK_OWES_RESPONSE;
		vsock_push_packet(c, chain, VSOCK_OP_RESPONSE, 0, NULL, 0);
	} else if (c->owes & VSOCK_OWES_SHUTDOWN) {
		c->owes &= ~VSOCK_OWES_SHUTDOWN;
		vsock_push_packet(c, chain, VSOCK_OP_SHUTDOWN, vsock_conn_shutdown_flags(c), NULL,
				  0);
	} else {
		vsock_push_packet(c, chain, VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
	}
}

bool vsock_conn_send(struct vsock_conn *c)
{
	struct vq_chain *chain;

	if (!c->owes)
		return vsock_conn_send_data(c);
	chain = vsock_pop_rx(c->d);
	if (!chain)
		return false;
	vsock_conn_send_owed(c, chain);
	return true;
}

/* --- from the host --- */

static void vsock_conn_host_event(struct vsock_conn *c, u32 events)
{
	bool has_hung_up = events & (EPOLLHUP | EPOLLERR);

	if (c->state == VSOCK_STATE_REQUESTED) {
		vsock_conn_reset(c); /* who called is gone */
		return;
	}
	if (has_hung_up && !c->host_left)
		vsock_conn_host_left(c);
	if (events & EPOLLOUT || has_hung_up)
		vsock_conn_flush(c);
	if (c->is_dead || c->state != VSOCK_STATE_OPEN || !(events & ~(u32)EPOLLOUT))
		return;
	/* The rest that it sent is read, unless nobody wants it. */
	c->has_input = !c->host_ended && !c->guest_left;
	if (has_hung_up && c->guest_left)
		vsock_conn_host_ended(c);
	vsock_conn_owe(c, 0);
}

static void vsock_conn_on_event(struct loop_fd *w, u32 events)
{
	struct vsock_conn *c = container_of(w, struct vsock_conn, watch);
	struct vsock *d = c->d;

	device_lock(&d->vdev.dev);
	if (!c->is_dead && !d->vdev.is_quiesced) {
		vsock_conn_host_event(c, events);
		vsock_pump(d);
		if (!c->is_dead)
			vsock_conn_watch(c);
	}
	device_unlock(&d->vdev.dev);
}

static struct vsock_conn *vsock_find_id(struct vsock *d, u32 id)
{
	list_for_each (node, &d->conns) {
		struct vsock_conn *c = list_entry(node, struct vsock_conn, all);

		if (c->id == id && c->state == VSOCK_STATE_CONNECTING)
			return c;
	}
	return NULL;
}

void vsock_on_connected(void *opaque, u32 id, int fd, int error)
{
	struct vsock *d = opaque;
	struct vsock_conn *c;

	device_lock(&d->vdev.dev);
	c = vsock_find_id(d, id);
	if (c && error) {
		vsock_conn_reset(c);
	} else if (c) {
		c->watch.fd = fd_take(fd);
		c->state = VSOCK_STATE_OPEN;
		d->opened++;
		vsock_conn_owe(c, VSOCK_OWES_RESPONSE);
		vsock_conn_watch(c);
	}
	vsock_pump(d);
	device_unlock(&d->vdev.dev);
	fd_close(fd); /* the guest has thought better of it */
}

static u32 vsock_free_port(struct vsock *d, u32 guest_port)
{
	u32 port;

	do {
		port = d->next_port;
		d->next_port = MAX(port + 1, VSOCK_FIRST_HOST_PORT);
	} while (vsock_conn_find(d, guest_port, port));
	return port;
}

void vsock_on_incoming(void *opaque, u32 port, int fd)
{
	struct vsock *d = opaque;
	struct vsock_conn *c = NULL;

	device_lock(&d->vdev.dev);
	if (vq_is_running(virtio_vq(&d->vdev, VSOCK_QUEUE_RX)))
		c = vsock_conn_new(d, port, vsock_free_port(d, port), fd);
	if (c) {
		c->state = VSOCK_STATE_REQUESTED;
		vsock_conn_owe(c, VSOCK_OWES_REQUEST);
		vsock_conn_watch(c);
		vsock_pump(d);
	}
	device_unlock(&d->vdev.dev);
	if (!c)
		fd_close(fd); /* no driver, or too many */
}
