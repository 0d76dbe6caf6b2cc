/*
 * A disk that is opened here, and served to those who ask for connections, over socket pairs.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/time.h"
#include "block/block.h"
#include "block/io.h"
#include "nbd/connector.h"
#include "nbd/nbd.h"
#include "remote/remote.h"

#define SERVE_END_NS (10 * NSEC_PER_SEC) /* what is under way has so long when the guest is gone */

struct remote {
	const struct remote_options *o;
	const struct remote_kind *kind;
	struct loop *loop;
	struct loop_fd sock;
	struct blk *disk; /* NULL: not opened yet */
	struct nbd_server *server;
	bool is_end;
};

static int serve_open(struct remote *s, struct err *err)
{
	struct nbd_options nbd = {.name = "", .description = "", .is_readonly = s->o->is_readonly};
	int r = s->disk ? 0 : s->kind->open(s->loop, s->o, &s->disk, err);

	if (r < 0 || s->server)
		return r;
	nbd.disk = s->disk;
	return nbd_server_new(s->loop, -1, &nbd, &s->server, err);
}

static int serve_connect(struct remote *s, int *out_fd, struct err *err)
{
	int pair[2], r = serve_open(s, err);

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket");
	*out_fd = pair[0];
	nbd_server_add(s->server, pair[1]);
	return 0;
}

/* The client has nothing out, and keeps to its size. */
static int serve_resize(struct remote *s, const char *text, struct err *err)
{
	u64 size = strtoul(text, NULL, 10);
	int r = serve_open(s, err);

	if (r == 0 && (!size || size > BLK_SIZE_MAX || !is_aligned(size, s->disk->block_size)))
		r = err_set(err, -EINVAL, "no disk has this size");
	return r < 0 ? r : blk_resize(s->disk, size, err);
}

static void serve_answer(struct remote *s, const struct connector_head *h)
{
	struct err err = ERR_INIT;
	AUTO_FD int fd = -1;
	int r = -ENOTSUP;

	switch (h->letter) {
	case CONNECTOR_CONNECT:
		r = serve_connect(s, &fd, &err);
		break;
	case CONNECTOR_RESIZE:
		r = serve_resize(s, h->rest, &err);
		break;
	default:
		err_set(&err, r, "nobody knows that question");
	}
	if (remote_answer(s->o->sock, h, r >= 0, err.text, fd) < 0)
		s->is_end = true;
}

static void serve_on_question(struct loop_fd *w, unused u32 events)
{
	struct remote *s = container_of(w, struct remote, sock);
	char text[CONNECTOR_MAX_QUESTION];
	struct connector_head h;
	int r = remote_next_question(w->fd, text, &h);

	if (r == 0)
		serve_answer(s, &h);
	else if (r != -EAGAIN)
		s->is_end = true;
}

/* Nobody waits for the answers any more, and the library's requests can't be called off. */
static void serve_on_late(unused struct loop_timer *t)
{
	log_warn("its server doesn't answer: what was written last may be lost");
	_exit(EXIT_FAILURE);
}

static void serve_end(struct remote *s)
{
	struct loop_timer late = {.fn = serve_on_late};

	if (s->server) {
		loop_timer_arm(s->loop, &late, time_mono_ns() + SERVE_END_NS);
		nbd_server_stop(s->server);
		while (nbd_server_clients(s->server))
			loop_step(s->loop, true);
		loop_timer_disarm(s->loop, &late);
		nbd_server_free(s->server);
	}
	if (s->disk && !s->disk->is_readonly && blk_flush(s->disk) < 0)
		log_warn("what was written last may be lost");
	blk_free(s->disk);
}

int remote_serve(const struct remote_options *o, const struct remote_kind *kind, struct err *err)
{
	AUTO(loop_free) struct loop *loop = NULL;
	struct remote s = {
		.o = o,
		.kind = kind,
		.sock = {.fd = o->sock, .events = EPOLLIN, .fn = serve_on_question},
	};
	int r = loop_new(&loop, err);

	if (r < 0)
		return r;
	s.loop = loop;
	r = loop_fd_add(loop, &s.sock);
	if (r < 0)
		return err_errno(err, r, "cannot wait for questions");
	while (!s.is_end)
		loop_step(loop, true);
	loop_fd_remove(loop, &s.sock);
	serve_end(&s);
	return 0;
}
