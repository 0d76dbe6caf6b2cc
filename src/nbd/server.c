/*
 * The NBD server's clients: accepting, receiving and sending, ends. See nbd.h.
 *
 * Each client has a coroutine, which receives; each request one of its own, which sends its reply
 * under the client's lock. A client is freed by its coroutine, when no request of it is left.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "nbd/nbd_priv.h"

/* --- the socket --- */

/* Reading stays wanted while nobody waits for it, until something comes: the reader is mostly back by then. */
static void client_want(struct nbd_client *c)
{
	u32 events = c->reader ? (u32)EPOLLIN : c->socket.events & EPOLLIN;

	if (c->writer)
		events |= EPOLLOUT;
	if (c->socket.is_added && events != c->socket.events)
		loop_fd_change(c->s->loop, &c->socket, events);
}

static void client_wake(struct co **waiting)
{
	struct co *co = *waiting;

	*waiting = NULL;
	if (co)
		co_wake(co);
}

/* In one of its coroutines, or when none waits. */
static void client_break(struct nbd_client *c)
{
	c->is_broken = true;
	loop_fd_remove(c->s->loop, &c->socket);
	client_wake(&c->reader);
	client_wake(&c->writer);
}

/* Waking may free the client: the last thing that is done. */
static void client_on_socket(struct loop_fd *w, u32 events)
{
	struct nbd_client *c = container_of(w, struct nbd_client, socket);
	bool is_end = events & (EPOLLERR | EPOLLHUP);

	if (is_end && !c->reader && !c->writer) {
		client_break(c); /* nobody asks now; who asks later is told */
		return;
	}
	if (c->writer && (is_end || events & EPOLLOUT))
		client_wake(&c->writer);
	else if (c->reader && (is_end || events & EPOLLIN))
		client_wake(&c->reader);
	else if (events & EPOLLIN)
		loop_fd_change(c->s->loop, w, w->events & ~(u32)EPOLLIN);
}

static void client_wait(struct nbd_client *c, struct co **place)
{
	*place = co_self();
	client_want(c);
	while (*place)
		co_wait();
	client_want(c);
}

void nbd_wait(struct nbd_client *c, bool is_for_writing)
{
	client_wait(c, is_for_writing ? &c->writer : &c->reader);
}

static ssize_t client_receive_now(struct nbd_client *c, void *buf, size_t size)
{
	ssize_t n;

	if (c->tls)
		return nbd_tls_receive(c, buf, size);
	if (c->is_drained) {
		c->is_drained = false;
		return -EAGAIN;
	}
	n = recv(c->socket.fd, buf, size, MSG_DONTWAIT);
	c->is_drained = n > 0 && (size_t)n < size;
	return n < 0 ? -errno : n;
}

static ssize_t client_send_now(struct nbd_client *c, struct iovec *iov, unsigned n)
{
	const struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	ssize_t sent;

	if (c->tls)
		return nbd_tls_send(c, iov->iov_base, iov->iov_len);
	sent = sendmsg(c->socket.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent;
}

/* At least one byte. */
static ssize_t client_receive_some(struct nbd_client *c, void *buf, size_t size)
{
	while (!c->is_broken) {
		ssize_t n = client_receive_now(c, buf, size);

		if (n > 0)
			return n;
		if (n == -EINTR)
			continue;
		if (n != -EAGAIN) {
			client_break(c);
			break;
		}
		client_wait(c, &c->reader);
	}
	return -EPIPE;
}

int nbd_receive(struct nbd_client *c, void *buf, u64 bytes)
{
	u8 *to = buf;

	while (bytes) {
		u64 n = MIN(bytes, c->filled - c->at);
		ssize_t got;

		memcpy(to, c->buffer + c->at, n);
		c->at += (u32)n;
		to += n;
		bytes -= n;
		if (!bytes)
			break;
		if (bytes >= NBD_BUFFER) {
			got = client_receive_some(c, to, bytes);
			to += MAX(got, 0);
			bytes -= (u64)MAX(got, 0);
		} else {
			got = client_receive_some(c, c->buffer, NBD_BUFFER);
			c->at = 0;
			c->filled = (u32)MAX(got, 0);
		}
		if (got < 0)
			return (int)got;
	}
	return 0;
}

int nbd_skip(struct nbd_client *c, u64 bytes)
{
	u8 away[1024];
	int r = 0;

	while (r == 0 && bytes) {
		u64 n = MIN(bytes, sizeof(away));

		r = nbd_receive(c, away, n);
		bytes -= n;
	}
	return r;
}

static void iov_skip(struct iovec **iov, unsigned *n, size_t bytes)
{
	while (*n && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (u8 *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
}

int nbd_send(struct nbd_client *c, struct iovec *iov, unsigned n)
{
	co_lock(&c->sending);
	iov_skip(&iov, &n, 0); /* a message may begin with nothing */
	while (!c->is_broken && n) {
		ssize_t sent = client_send_now(c, iov, n);

		if (sent >= 0)
			iov_skip(&iov, &n, (size_t)sent);
		else if (sent == -EAGAIN)
			client_wait(c, &c->writer);
		else if (sent != -EINTR)
			client_break(c);
	}
	co_unlock(&c->sending);
	return c->is_broken ? -EPIPE : 0;
}

/* --- clients --- */

static void server_tell(struct nbd_server *s)
{
	if (s->o.on_clients)
		s->o.on_clients(s->o.opaque, s->n_clients);
}

static void server_watch(struct nbd_server *s)
{
	bool wants = !s->is_stopping && s->n_clients < NBD_MAX_CLIENTS;

	if (s->listener.fd >= 0 && s->listener.events != (wants ? (u32)EPOLLIN : 0))
		loop_fd_change(s->loop, &s->listener, wants ? (u32)EPOLLIN : 0);
}

static void client_main(void *arg)
{
	struct nbd_client *c = arg;
	struct nbd_server *s = c->s;

	if (nbd_handshake(c) == 0)
		nbd_transmit(c);
	while (c->n_requests)
		co_queue_wait(&s->changed);
	nbd_tls_end(c);
	loop_fd_remove(s->loop, &c->socket);
	close(c->socket.fd);
	list_remove(&c->node);
	free(c);
	s->n_clients--;
	server_watch(s);
	server_tell(s);
}

void nbd_server_add(struct nbd_server *s, int fd)
{
	struct nbd_client *c;
	int one = 1;

	if (s->is_stopping || s->n_clients == NBD_MAX_CLIENTS) {
		close(fd);
		return;
	}
	c = NEW(struct nbd_client);
	c->s = s;
	c->socket = (struct loop_fd){.fd = fd, .fn = client_on_socket};
	co_mutex_init(&c->sending);
	/* A UNIX socket hasn't this. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (loop_fd_add(s->loop, &c->socket) < 0) {
		close(fd);
		free(c);
		return;
	}
	list_append(&s->clients, &c->node);
	s->n_clients++;
	server_watch(s);
	server_tell(s);
	co_start(s->client_pool, client_main, c);
}

static void server_on_listener(struct loop_fd *w, unused u32 events)
{
	struct nbd_server *s = container_of(w, struct nbd_server, listener);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		nbd_server_add(s, fd);
}

/* --- the server --- */

int nbd_server_new(struct loop *loop, int listener, const struct nbd_options *o,
		   struct nbd_server **out, struct err *err)
{
	struct nbd_server *s = NEW(struct nbd_server);
	int r;

	s->loop = loop;
	s->o = *o;
	s->listener = (struct loop_fd){.fd = listener, .events = EPOLLIN, .fn = server_on_listener};
	list_init(&s->clients);
	co_queue_init(&s->changed);
	co_mutex_init(&s->order);
	r = co_pool_new(NBD_MAX_CLIENTS, &s->client_pool, err);
	if (r == 0)
		r = co_pool_new(NBD_REQUESTS, &s->request_pool, err);
	if (r == 0 && listener >= 0) {
		r = fd_set_nonblock(listener, true);
		if (r == 0)
			r = loop_fd_add(loop, &s->listener);
		if (r < 0)
			err_errno(err, r, "cannot wait for clients");
	}
	if (r < 0) {
		nbd_server_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void nbd_server_stop(struct nbd_server *s)
{
	s->is_stopping = true;
	server_watch(s);
	/* They read an end; what they asked for is still answered. */
	list_for_each (node, &s->clients)
		shutdown(list_entry(node, struct nbd_client, node)->socket.fd, SHUT_RD);
}

unsigned nbd_server_clients(const struct nbd_server *s)
{
	return s->n_clients;
}

void nbd_server_free(struct nbd_server *s)
{
	if (!s)
		return;
	assert(!s->n_clients);
	loop_fd_remove(s->loop, &s->listener);
	fd_close(s->listener.fd);
	co_pool_free(s->request_pool);
	co_pool_free(s->client_pool);
	nbd_buffers_free(s);
	free(s);
}
