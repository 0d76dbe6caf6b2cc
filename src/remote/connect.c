/*
 * Connections to a plain NBD server, made and handed out. What is said over them isn't looked at.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/fd.h"
#include "block/uri.h"
#include "nbd/connector.h"
#include "remote/remote.h"

#define CONNECT_PATIENCE_MS 8000  /* less than those who ask have */
#define CONNECT_IDLE_S      10    /* of a peer, before it is asked whether it is there ... */
#define CONNECT_DEAD_MS     30000 /* ... and given up */

static int connect_wait(int fd, const struct sockaddr *a, socklen_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t error_size = sizeof(error);
	int r;

	if (connect(fd, a, size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	while ((r = poll(&p, 1, CONNECT_PATIENCE_MS)) < 0 && errno == EINTR)
		;
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	return -error;
}

/* A server that is gone without a word has to be noticed. */
static void connect_tune(int fd)
{
	const int one = 1, idle = CONNECT_IDLE_S, dead = CONNECT_DEAD_MS;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
}

static int connect_address(const struct addrinfo *a)
{
	AUTO_FD int fd =
		socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	int r = fd < 0 ? -errno : connect_wait(fd, a->ai_addr, a->ai_addrlen);

	if (r < 0)
		return r;
	connect_tune(fd);
	return fd_take(fd);
}

static int connect_tcp(const struct remote_options *o, struct err *err)
{
	const struct blk_uri *u = o->uri;
	int fd = -EADDRNOTAVAIL;

	for (const struct addrinfo *a = o->found.addresses; a && fd < 0; a = a->ai_next)
		fd = connect_address(a);
	return fd < 0 ? err_errno(err, fd, "cannot connect to %s, port %s", u->host, u->port) : fd;
}

static int connect_unix(const char *path, struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes",
			       path, sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_errno(err, -errno, "cannot connect to %s", path);
	return fd_take(fd);
}

static int connect_answer(const struct remote_options *o, const struct connector_head *h)
{
	struct err err = ERR_INIT;
	AUTO_FD int fd = -1;

	if (h->letter != CONNECTOR_CONNECT)
		err_set(&err, -ENOTSUP, "an NBD server can't do that");
	else if (o->found.err.code < 0)
		err = o->found.err;
	else
		fd = o->found.socket ? connect_unix(o->found.socket, &err) : connect_tcp(o, &err);
	return remote_answer(o->sock, h, fd >= 0, fd >= 0 ? o->uri->export : err.text, fd);
}

int remote_connect(const struct remote_options *o, struct err *err)
{
	struct connector_head h;
	int r = 0;

	if (strlen(o->uri->export) > CONNECTOR_MAX_EXPORT)
		return err_set(err, -ENAMETOOLONG, "the export's name is too long");
	while (r == 0 || r == -EAGAIN) {
		char question[CONNECTOR_MAX_QUESTION];

		if (remote_next_question(o->sock, question, &h) < 0)
			break;
		r = connect_answer(o, &h);
	}
	return 0;
}
