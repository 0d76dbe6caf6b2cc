/*
 * The guest process's end of the socket to posada-vsock. See vsock.h.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "vsock/vsock.h"
#include "vsock/vsock_wire.h"

struct vsock_host {
	struct loop *loop;
	struct loop_fd watch; /* its fd is owned */
	struct vsock_host_user user;
	bool is_gone;
};

/* Connections that are there go on; new ones are refused. */
static void vsock_host_lose(struct vsock_host *h, const char *why)
{
	log_warn("vsock: %s: no more connections", why);
	loop_fd_remove(h->loop, &h->watch);
	__atomic_store_n(&h->is_gone, true, __ATOMIC_RELAXED);
}

static void vsock_host_take(struct vsock_host *h, const struct vsock_message *m, int fd)
{
	bool has_fd = fd >= 0;

	if (m->kind == VSOCK_CONNECTED && has_fd == (m->error == 0)) {
		h->user.connected(h->user.opaque, m->id, fd, m->error);
	} else if (m->kind == VSOCK_INCOMING && has_fd) {
		h->user.incoming(h->user.opaque, m->port, fd);
	} else {
		fd_close(fd);
		vsock_host_lose(h, "posada-vsock says what we don't understand");
	}
}

static void vsock_host_on_message(struct loop_fd *w, unused u32 events)
{
	struct vsock_host *h = container_of(w, struct vsock_host, watch);
	struct vsock_message m = {0};
	size_t n_fds = 1;
	int fd = -1;
	ssize_t n = fd_recv(w->fd, &m, sizeof(m), &fd, &n_fds);

	if (n == -EAGAIN)
		return;
	if (n == -EMSGSIZE && m.kind == VSOCK_CONNECTED) /* there was no room for the descriptor */
		h->user.connected(h->user.opaque, m.id, -1, -EMFILE);
	else if (n == -EMSGSIZE && m.kind == VSOCK_INCOMING)
		return;
	else if (n != sizeof(m))
		vsock_host_lose(h, "posada-vsock has ended");
	else
		vsock_host_take(h, &m, n_fds ? fd : -1);
}

int vsock_host_connect(struct vsock_host *h, u32 id, u32 port)
{
	const struct vsock_message m = {.kind = VSOCK_CONNECT, .id = id, .port = port};

	if (__atomic_load_n(&h->is_gone, __ATOMIC_RELAXED))
		return -EPIPE;
	return fd_send(h->watch.fd, &m, sizeof(m), NULL, 0);
}

int vsock_host_attach(struct vsock_host *h, const struct vsock_host_user *user, struct err *err)
{
	int r;

	h->user = *user;
	r = loop_fd_add(h->loop, &h->watch);
	return r < 0 ? err_errno(err, r, "cannot watch posada-vsock's socket") : 0;
}

void vsock_host_free(struct vsock_host *h)
{
	if (!h)
		return;
	loop_fd_remove(h->loop, &h->watch);
	fd_close(h->watch.fd);
	free(h);
}

int vsock_host_new(struct loop *loop, int fd, struct vsock_host **out, struct err *err)
{
	struct vsock_host *h;
	int type, r;
	socklen_t size = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
		return err_set(err, -EINVAL, "vsock: no socket to posada-vsock");
	r = fd_set_nonblock(fd, true);
	if (r < 0)
		return err_errno(err, r, "cannot use posada-vsock's socket");
	h = NEW(struct vsock_host);
	h->loop = loop;
	h->watch = (struct loop_fd){.fd = fd, .events = EPOLLIN, .fn = vsock_host_on_message};
	*out = h;
	return 0;
}
