/*
 * Ceph's RBD images. See rbd.h.
 *
 *     request (a coroutine) ---> rbd_aio_...        librbd's threads: the call into the list, the eventfd
 *             ^------------- the loop, or a drain: the list, co_wake
 *
 * Requests go to librbd as they are, vectors included. It tries again for as long as the cluster doesn't answer;
 * so a request may take any time, and doesn't fail for that.
 */
#include "remote/rbd.h"

#include <poll.h>
#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/node.h"
#include "block/uri.h"
#include "remote/remote.h"

#define RBD_CONNECT_SECONDS "30"
#define RBD_STATUS_MAX      ((u64)1 << 30) /* looked at, at a time */

struct rbd_disk {
	struct blk_node node; /* first */
	rados_t cluster;
	rados_ioctx_t pool;
	rbd_image_t image;
	struct loop_fd event; /* calls have ended */
	pthread_mutex_t lock;
	struct list done; /* those; guarded by lock */
};

struct rbd_call {
	struct rbd_disk *d;
	struct list node;
	struct co *co;
	rbd_completion_t completion;
	bool is_done;
};

static struct rbd_disk *ceph_of(struct blk_node *n)
{
	return container_of(n, struct rbd_disk, node);
}

/* --- calls --- */

/* One of librbd's threads. */
static void ceph_on_done(unused rbd_completion_t c, void *opaque)
{
	struct rbd_call *call = opaque;
	struct rbd_disk *d = call->d;

	pthread_mutex_lock(&d->lock);
	list_append(&d->done, &call->node);
	pthread_mutex_unlock(&d->lock);
	(void)eventfd_write(d->event.fd, 1);
}

static struct rbd_call *ceph_next_done(struct rbd_disk *d)
{
	struct rbd_call *call = NULL;

	pthread_mutex_lock(&d->lock);
	if (!list_is_empty(&d->done)) {
		call = list_entry(d->done.next, struct rbd_call, node);
		list_remove(&call->node);
	}
	pthread_mutex_unlock(&d->lock);
	return call;
}

static void ceph_reap(struct rbd_disk *d)
{
	struct rbd_call *call;
	eventfd_t n;

	(void)eventfd_read(d->event.fd, &n);
	while ((call = ceph_next_done(d))) {
		call->is_done = true;
		co_wake(call->co);
	}
	blk_node_end_round(&d->node);
}

static void ceph_on_event(struct loop_fd *w, unused u32 events)
{
	ceph_reap(container_of(w, struct rbd_disk, event));
}

static void ceph_poll(struct blk_node *n)
{
	struct pollfd p = {.fd = ceph_of(n)->event.fd, .events = POLLIN};

	(void)poll(&p, 1, -1);
	ceph_reap(ceph_of(n));
}

/* In a coroutine: what the operation returned, or a negative errno. */
static ssize_t ceph_do(struct rbd_disk *d, enum blk_op op, const struct blk_request *r)
{
	struct rbd_call call = {.d = d, .co = co_self()};
	int zero_flags = r && r->may_unmap ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION;
	ssize_t result = rbd_aio_create_completion(&call, ceph_on_done, &call.completion);

	if (result < 0)
		return result;
	switch (op) {
	case BLK_READ:
		result = rbd_aio_readv(d->image, r->iov, (int)r->n_iov, r->offset, call.completion);
		break;
	case BLK_WRITE:
		result =
			rbd_aio_writev(d->image, r->iov, (int)r->n_iov, r->offset, call.completion);
		break;
	case BLK_FLUSH:
		result = rbd_aio_flush(d->image, call.completion);
		break;
	case BLK_DISCARD:
		result = rbd_aio_discard(d->image, r->offset, r->bytes, call.completion);
		break;
	case BLK_WRITE_ZEROES:
		result = rbd_aio_write_zeroes(d->image, r->offset, r->bytes, call.completion,
					      zero_flags, 0);
		break;
	}
	while (result >= 0 && !call.is_done)
		co_wait();
	if (result >= 0)
		result = rbd_aio_get_return_value(call.completion);
	rbd_aio_release(call.completion);
	return result;
}

static int ceph_result(ssize_t n)
{
	return n < 0 ? (int)n : 0;
}

/* --- the node --- */

static int ceph_read(struct blk_node *n, struct blk_request *r)
{
	ssize_t got = ceph_do(ceph_of(n), BLK_READ, r);

	if (got >= 0 && (u64)got != r->bytes)
		return -EIO; /* it has become smaller */
	return ceph_result(got);
}

static int ceph_write(struct blk_node *n, struct blk_request *r)
{
	return ceph_result(ceph_do(ceph_of(n), BLK_WRITE, r));
}

static int ceph_write_zeroes(struct blk_node *n, struct blk_request *r)
{
	return ceph_result(ceph_do(ceph_of(n), BLK_WRITE_ZEROES, r));
}

static int ceph_discard(struct blk_node *n, struct blk_request *r)
{
	return ceph_result(ceph_do(ceph_of(n), BLK_DISCARD, r));
}

static int ceph_flush(struct blk_node *n)
{
	return ceph_result(ceph_do(ceph_of(n), BLK_FLUSH, NULL));
}

struct rbd_extent {
	u64 offset, end; /* asked for */
	u64 next;        /* where it is something else */
	bool is_data;
};

/* What exists, in order; all else reads as zeros. Non-zero: enough. */
static int ceph_on_extent(uint64_t offset, size_t bytes, int exists, void *opaque)
{
	struct rbd_extent *e = opaque;

	if (!exists)
		return 0;
	if (offset > e->next) {
		if (!e->is_data)
			e->next = offset;
		return -ECANCELED;
	}
	e->is_data = true;
	e->next = MIN(offset + bytes, e->end);
	return 0;
}

/* Objects as a whole: a finer look would read them all. */
static int ceph_status(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out)
{
	struct rbd_extent e = {
		.offset = offset, .end = offset + MIN(bytes, RBD_STATUS_MAX), .next = offset};
	int r = rbd_diff_iterate2(ceph_of(n)->image, NULL, offset, e.end - offset, 1, 1,
				  ceph_on_extent, &e);

	if (r < 0 && r != -ECANCELED)
		return 0; /* then all is data */
	if (!e.is_data && e.next == offset)
		e.next = e.end;
	out->is_data = e.is_data;
	out->is_zero = !e.is_data;
	out->bytes = e.next - offset;
	return 0;
}

static int ceph_resize(struct blk_node *n, u64 size, struct err *err)
{
	int r = rbd_resize(ceph_of(n)->image, size);

	if (r < 0)
		return err_errno(err, r, "cannot change its size");
	n->blk.size = size;
	return 0;
}

static void ceph_end(struct blk_node *n)
{
	struct rbd_disk *d = ceph_of(n);

	if (d->image)
		rbd_close(d->image);
	if (d->pool)
		rados_ioctx_destroy(d->pool);
	if (d->cluster)
		rados_shutdown(d->cluster);
	loop_fd_remove(n->blk.loop, &d->event);
	fd_close(d->event.fd);
	pthread_mutex_destroy(&d->lock);
}

/* --- opening --- */

static int ceph_connect(struct rbd_disk *d, const struct blk_uri *u, struct err *err)
{
	int r = rados_create(&d->cluster, u->id);

	if (r < 0) {
		d->cluster = NULL;
		return err_errno(err, r, "librados can't be used");
	}
	r = rados_conf_read_file(d->cluster, u->conf);
	if (r < 0 && (u->conf || r != -ENOENT))
		return err_errno(err, r, "cannot read %s", u->conf ? u->conf : "ceph.conf");
	(void)rados_conf_set(d->cluster, "client_mount_timeout", RBD_CONNECT_SECONDS);
	r = rados_connect(d->cluster);
	return r < 0 ? err_errno(err, r, "cannot connect to the Ceph cluster") : 0;
}

static int ceph_open_image(struct rbd_disk *d, const struct remote_options *o, struct err *err)
{
	const struct blk_uri *u = o->uri;
	u64 size = 0;
	int r = rados_ioctx_create(d->cluster, u->pool, &d->pool);

	if (r < 0) {
		d->pool = NULL;
		return err_errno(err, r, "cannot use the pool '%s'", u->pool);
	}
	r = o->is_readonly ? rbd_open_read_only(d->pool, u->image, &d->image, u->snapshot)
			   : rbd_open(d->pool, u->image, &d->image, u->snapshot);
	if (r < 0) {
		d->image = NULL;
		return err_errno(err, r, "cannot open the image '%s'%s%s%s", u->image,
				 u->snapshot ? ", snapshot '" : "", u->snapshot ? u->snapshot : "",
				 u->snapshot ? "'" : "");
	}
	r = rbd_get_size(d->image, &size);
	if (r < 0)
		return err_errno(err, r, "cannot find out its size");
	d->node.blk.size = align_down(MIN(size, BLK_SIZE_MAX), BLK_SECTOR);
	return d->node.blk.size ? 0 : err_set(err, -EINVAL, "it is empty");
}

int rbd_disk_new(struct loop *loop, const struct remote_options *o, struct blk **out,
		 struct err *err)
{
	static const struct blk_node_ops ops = {
		.read = ceph_read,
		.write = ceph_write,
		.write_zeroes = ceph_write_zeroes,
		.discard = ceph_discard,
		.flush = ceph_flush,
		.status = ceph_status,
		.resize = ceph_resize,
		.poll = ceph_poll,
		.close = ceph_end,
	};
	struct rbd_disk *d = NEW(struct rbd_disk);
	int r = blk_node_init(&d->node, &ops, loop, "rbd", err);

	if (r < 0) {
		free(d);
		return r;
	}
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->done);
	d->node.blk.is_readonly = o->is_readonly;
	d->event = (struct loop_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				    .events = EPOLLIN,
				    .fn = ceph_on_event};
	r = d->event.fd < 0 ? -errno : loop_fd_add(loop, &d->event);
	if (r < 0)
		err_errno(err, r, "cannot wait for librbd");
	if (r == 0)
		r = ceph_connect(d, o->uri, err);
	if (r == 0)
		r = ceph_open_image(d, o, err);
	if (r < 0) {
		blk_free(&d->node.blk);
		return r;
	}
	*out = &d->node.blk;
	return 0;
}
