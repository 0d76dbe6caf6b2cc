/*
 * A librbd and librados of the tests' own: images are files, FAKE_CEPH/POOL/IMAGE, snapshots IMAGE@SNAPSHOT. The
 * same functions as Ceph's for what src/remote/rbd.c calls; requests are done by threads, out of order, as there.
 * It shows that calls, completions and errors are handled; what a cluster does it can't show.
 *
 * FAKE_CEPH_LOG: a file that gets a line for each request. An image with a file IMAGE.broken beside it fails.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct pool {
	char path[512];
};

struct image {
	int fd;
	char path[1024];
};

struct completion {
	rbd_callback_t callback;
	void *opaque;
	ssize_t result;
	pthread_mutex_t lock;
	int n_users;
};

struct job {
	struct image *image;
	struct completion *completion;
	char what;
	struct iovec *iov;
	int n_iov;
	uint64_t offset;
	size_t bytes;
};

static void fake_log(const char *text)
{
	const char *path = getenv("FAKE_CEPH_LOG");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	(void)!write(fd, text, strlen(text));
	close(fd);
}

/* --- librados --- */

EXPORT int rados_create(rados_t *out, const char *id)
{
	if (id && !strcmp(id, "nobody"))
		return -EACCES;
	*out = (rados_t)strdup(getenv("FAKE_CEPH") ? getenv("FAKE_CEPH") : "");
	return 0;
}

EXPORT int rados_conf_read_file(rados_t cluster, const char *path)
{
	(void)cluster;
	return !path || !access(path, R_OK) ? 0 : -errno;
}

EXPORT int rados_conf_set(rados_t cluster, const char *option, const char *value)
{
	(void)cluster;
	return option && value ? 0 : -EINVAL;
}

EXPORT int rados_connect(rados_t cluster)
{
	return *(char *)cluster ? 0 : -ETIMEDOUT;
}

EXPORT int rados_ioctx_create(rados_t cluster, const char *name, rados_ioctx_t *out)
{
	struct pool *p = calloc(1, sizeof(*p));
	struct stat st;

	snprintf(p->path, sizeof(p->path), "%s/%s", (char *)cluster, name);
	if (stat(p->path, &st) < 0) {
		free(p);
		return -ENOENT;
	}
	*out = p;
	return 0;
}

EXPORT void rados_ioctx_destroy(rados_ioctx_t pool)
{
	free(pool);
}

EXPORT void rados_shutdown(rados_t cluster)
{
	free(cluster);
}

/* --- librbd --- */

static int fake_open(struct pool *p, const char *name, rbd_image_t *out, const char *snapshot,
		     int flags)
{
	struct image *i = calloc(1, sizeof(*i));

	snprintf(i->path, sizeof(i->path), "%s/%s%s%s", p->path, name, snapshot ? "@" : "",
		 snapshot ? snapshot : "");
	i->fd = open(i->path, flags | O_CLOEXEC);
	if (i->fd < 0) {
		free(i);
		return -errno;
	}
	*out = i;
	return 0;
}

EXPORT int rbd_open(rados_ioctx_t pool, const char *name, rbd_image_t *out, const char *snapshot)
{
	return fake_open(pool, name, out, snapshot, O_RDWR);
}

EXPORT int rbd_open_read_only(rados_ioctx_t pool, const char *name, rbd_image_t *out,
			      const char *snapshot)
{
	return fake_open(pool, name, out, snapshot, O_RDONLY);
}

EXPORT int rbd_close(rbd_image_t image)
{
	struct image *i = image;

	close(i->fd);
	free(i);
	return 0;
}

EXPORT int rbd_get_size(rbd_image_t image, uint64_t *size)
{
	struct stat st;

	if (fstat(((struct image *)image)->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

EXPORT int rbd_resize(rbd_image_t image, uint64_t size)
{
	return ftruncate(((struct image *)image)->fd, (off_t)size) < 0 ? -errno : 0;
}

EXPORT int rbd_diff_iterate2(rbd_image_t image, const char *from, uint64_t offset, uint64_t bytes,
			     uint8_t with_parent, uint8_t whole_object,
			     int (*cb)(uint64_t, size_t, int, void *), void *arg)
{
	int fd = ((struct image *)image)->fd, r = 0;
	off_t end = (off_t)(offset + bytes), at = (off_t)offset;

	(void)from;
	(void)with_parent;
	(void)whole_object;
	while (r == 0 && at < end) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0 || data >= end)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole > end)
			hole = end;
		r = cb((uint64_t)data, (size_t)(hole - data), 1, arg);
		at = hole;
	}
	return r < 0 ? r : 0;
}

EXPORT int rbd_aio_create_completion(void *opaque, rbd_callback_t callback, rbd_completion_t *out)
{
	struct completion *c = calloc(1, sizeof(*c));

	*c = (struct completion){.callback = callback, .opaque = opaque, .n_users = 1};
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

static void completion_put(struct completion *c)
{
	int left;

	pthread_mutex_lock(&c->lock);
	left = --c->n_users;
	pthread_mutex_unlock(&c->lock);
	if (!left)
		free(c);
}

EXPORT void rbd_aio_release(rbd_completion_t completion)
{
	completion_put(completion);
}

EXPORT ssize_t rbd_aio_get_return_value(rbd_completion_t completion)
{
	struct completion *c = completion;

	return c->result;
}

static ssize_t fake_do(struct job *j)
{
	char broken[1040], line[128];
	ssize_t n = 0;

	snprintf(line, sizeof(line), "%c %lu %zu\n", j->what, j->offset, j->bytes);
	fake_log(line);
	snprintf(broken, sizeof(broken), "%s.broken", j->image->path);
	if (access(broken, F_OK) == 0)
		return -EIO;
	switch (j->what) {
	case 'r':
		n = preadv(j->image->fd, j->iov, j->n_iov, (off_t)j->offset);
		return n < 0 ? -errno : n;
	case 'w':
		n = pwritev(j->image->fd, j->iov, j->n_iov, (off_t)j->offset);
		return n < 0 ? -errno : 0;
	case 'f':
		return fdatasync(j->image->fd) < 0 ? -errno : 0;
	}
	n = fallocate(j->image->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)j->offset,
		      (off_t)j->bytes);
	return n < 0 ? -errno : 0;
}

static void *fake_run(void *arg)
{
	struct job *j = arg;
	struct completion *c = j->completion;

	usleep((unsigned)(j->offset / 4096 * 7919 % 800)); /* so that they overtake each other */
	c->result = fake_do(j);
	c->callback(c, c->opaque);
	completion_put(c);
	free(j);
	return NULL;
}

static int fake_start(rbd_image_t image, char what, const struct iovec *iov, int n_iov,
		      uint64_t offset, size_t bytes, rbd_completion_t completion)
{
	struct completion *c = completion;
	struct job *j = calloc(1, sizeof(*j));
	pthread_attr_t detached;
	pthread_t thread;
	int r;

	*j = (struct job){image, c, what, (struct iovec *)iov, n_iov, offset, bytes};
	pthread_mutex_lock(&c->lock);
	c->n_users++;
	pthread_mutex_unlock(&c->lock);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &detached, fake_run, j);
	pthread_attr_destroy(&detached);
	return -r;
}

EXPORT int rbd_aio_readv(rbd_image_t image, const struct iovec *iov, int n, uint64_t offset,
			 rbd_completion_t c)
{
	return fake_start(image, 'r', iov, n, offset, 0, c);
}

EXPORT int rbd_aio_writev(rbd_image_t image, const struct iovec *iov, int n, uint64_t offset,
			  rbd_completion_t c)
{
	return fake_start(image, 'w', iov, n, offset, 0, c);
}

EXPORT int rbd_aio_flush(rbd_image_t image, rbd_completion_t c)
{
	return fake_start(image, 'f', NULL, 0, 0, 0, c);
}

EXPORT int rbd_aio_discard(rbd_image_t image, uint64_t offset, uint64_t bytes, rbd_completion_t c)
{
	return fake_start(image, 'd', NULL, 0, offset, bytes, c);
}

EXPORT int rbd_aio_write_zeroes(rbd_image_t image, uint64_t offset, size_t bytes,
				rbd_completion_t c, int zero_flags, int op_flags)
{
	(void)op_flags;
	return fake_start(image, zero_flags ? 'Z' : 'z', NULL, 0, offset, bytes, c);
}
