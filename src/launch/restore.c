/*
 * A guest that goes on from a file: its configuration comes from there, and its disks, kernel and
 * networks are opened by the names that stand in it, or by those that are given instead.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "block/uri.h"
#include "launch/launch_priv.h"
#include "proto/save_file.h"

/* --- the file --- */

/* Whoever can write it could have us open what only we may. */
static bool launch_is_trusted(const struct stat *st)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static int launch_read_saved_config(int fd, struct guest_config *out, struct err *err)
{
	AUTO(free_ptr) void *text = NULL;
	struct save_header h;
	int r = save_header_read(fd, &h, err);

	if (!r)
		r = save_part_read(fd, &h.config, "configuration", &text, err);
	if (!r)
		r = guest_config_decode_plain(text, h.config.size, out, err);
	if (!r && out->memory != h.memory_size) {
		guest_config_fini(out);
		r = err_set(err, -EINVAL,
			    "it is damaged: a guest of %lu MiB with %lu MiB of memory",
			    out->memory / MIB, h.memory_size / MIB);
	}
	return r;
}

int launch_open_saved(const char *path, struct launch_saved *out, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	if (launch_read_saved_config(fd, &out->config, err) < 0)
		return err_wrap(err, "%s", path);
	out->is_trusted = launch_is_trusted(&st);
	out->fd = fd_take(fd);
	return 0;
}

void launch_close_saved(struct launch_saved *s)
{
	if (s->fd < 0)
		return;
	fd_close(fd_take(s->fd));
	guest_config_fini(&s->config);
}

/* A name as it was meant where the guest was started: free() it. */
static char *launch_saved_path(const struct guest_config *c, const char *path)
{
	if (path[0] == '/' || !c->directory || blk_is_uri(path))
		return str_dup(path);
	return str_format("%s/%s", c->directory, path);
}

/* --- devices --- */

static int launch_check_unchanged(const struct guest_disk *was, int fd, const char *path,
				  struct err *err)
{
	struct stat st;
	u64 changed_ns;

	if (fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot look at %s", path);
	changed_ns = (u64)st.st_mtim.tv_sec * NSEC_PER_SEC + (u64)st.st_mtim.tv_nsec;
	if (S_ISREG(st.st_mode) && was->saved_changed_ns && !was->is_readonly &&
	    ((u64)st.st_size != was->saved_bytes || changed_ns != was->saved_changed_ns))
		return err_set(
			err, -ESTALE,
			"disk %s has changed since the guest was saved, which would find its "
			"file system in disorder; --changed-disks takes it all the same",
			path);
	return 0;
}

/* What was opened now is instead of what was saved. */
static void launch_take_opened(struct guest_disk *d, struct guest_disk *opened)
{
	for (unsigned i = 0; i < d->n_files; i++) {
		free(d->files[i].path);
		free(d->files[i].format);
	}
	memcpy(d->files, opened->files, sizeof(d->files));
	d->n_files = opened->n_files;
	free(d->path);
	free(d->format);
	d->path = opened->path;
	d->format = opened->format;
	d->fd = opened->fd;
	d->keys_fd = opened->keys_fd;
	d->cache = opened->cache;
	d->is_shared = opened->is_shared;
	d->is_remote = opened->is_remote;
}

/* given: by --disk; NULL: as it is named in the file. */
static int launch_restore_disk(const struct launch_request *q, struct guest_config *c,
			       const struct launch_disk *given, struct guest_disk *d,
			       struct err *err)
{
	AUTO(free) char *path = launch_saved_path(c, given ? given->path : d->path);
	struct launch_disk from = {
		.path = path,
		.format = given && given->format ? given->format : d->format,
		.is_readonly = d->is_readonly,
		.is_shared = given ? given->is_shared : d->is_shared,
		.cache = given ? given->cache : d->cache,
	};
	struct guest_disk opened;
	int r;

	guest_disk_init(&opened);
	if (given) {
		from.path = given->path;
		from.backing_format = given->backing_format;
		memcpy(from.allowed, given->allowed, sizeof(from.allowed));
		from.n_allowed = given->n_allowed;
		memcpy(from.keys, given->keys, sizeof(from.keys));
		from.n_keys = given->n_keys;
	}
	r = launch_open_disk(&from, false, &opened, err);
	if (r < 0)
		return r;
	if (!given && !q->takes_changed_disks)
		r = launch_check_unchanged(d, opened.fd, path, err);
	launch_take_opened(d, &opened);
	return r;
}

static int launch_need_names(const struct launch_request *q, const struct guest_config *c,
			     struct err *err)
{
	if (q->n_disks && q->n_disks != c->n_disks)
		return err_set(err, -EINVAL, "the guest has %u disks; --disk names %u of them",
			       c->n_disks, q->n_disks);
	if (q->n_nets != c->n_nics)
		return err_set(err, -EINVAL,
			       "the guest has %u network cards; --net names %u of them", c->n_nics,
			       q->n_nets);
	if (q->saved->is_trusted || (q->n_disks == c->n_disks && !c->n_channels && !c->vsock_path))
		return 0;
	return err_set(
		err, -EPERM,
		"others could have written %s: what it names is not opened. Copy it, if you trust "
		"it; or name its %u disks with --disk",
		q->restore_path, c->n_disks);
}

static int launch_restore_channels(struct launch *l, struct err *err)
{
	for (unsigned i = 0; i < l->config.n_channels; i++) {
		struct guest_channel *c = &l->config.channels[i];
		AUTO(free) char *path = launch_saved_path(&l->config, c->path ? c->path : c->name);

		if (launch_listen(l, path, &c->fd, err) < 0)
			return err_wrap(err, "channel '%s'", c->name);
	}
	return 0;
}

static int launch_restore_vsock(struct launch *l, struct err *err)
{
	const struct guest_config *c = &l->config;
	AUTO(free) char *path = c->vsock_path ? launch_saved_path(c, c->vsock_path) : NULL;

	return launch_open_vsock(l, path, err);
}

static int launch_restore_nic(struct launch *l, unsigned i, struct err *err)
{
	struct guest_nic *nic = &l->config.nics[i];
	unsigned n_queues = nic->n_queues, mtu = nic->mtu;
	int r = launch_open_nth_net(l, i, nic, err);

	if (r < 0)
		return r;
	if (nic->n_queues != n_queues)
		return err_set(err, -EINVAL, "the saved network card has %u queues, not %u",
			       n_queues, nic->n_queues);
	nic->mtu = mtu; /* as the guest knows it */
	return 0;
}

static int launch_restore_devices(struct launch *l, struct err *err)
{
	const struct launch_request *q = l->request;
	struct guest_config *c = &l->config;

	if (launch_need_names(q, c, err) < 0)
		return err->code;
	for (unsigned i = 0; i < c->n_disks; i++)
		if (launch_restore_disk(q, c, q->n_disks ? &q->disks[i] : NULL, &c->disks[i], err) <
		    0)
			return err_wrap(err, "disk %u", i);
	for (unsigned i = 0; i < c->n_nics; i++)
		if (launch_restore_nic(l, i, err) < 0)
			return err_wrap(err, "--net");
	if (launch_restore_channels(l, err) < 0)
		return err->code;
	if (c->vsock_cid && launch_restore_vsock(l, err) < 0)
		return err_wrap(err, "guest sockets");
	return launch_open_console(l, err) < 0 ? err_wrap(err, "--console") : 0;
}

/* --- what a reset needs --- */

/* Without it the guest runs, and can't be reset: a warning, which says so. */
static void launch_restore_file(const struct launch *l, const char *name, int *out)
{
	AUTO(free) char *path = NULL;
	struct err err = ERR_INIT;

	if (!name)
		return;
	path = launch_saved_path(&l->config, name);
	if (!l->request->saved->is_trusted)
		err_set(&err, -EPERM, "%s is not opened", path);
	else if (launch_open_file(path, out, &err) == 0)
		return;
	launch_say(l, "%s: the guest runs, but can't be reset", err.text);
}

static void launch_restore_kernel(struct launch *l)
{
	struct guest_config *c = &l->config;

	launch_restore_file(l, c->kernel_path, &c->kernel_fd);
	if (c->kernel_fd >= 0)
		launch_restore_file(l, c->initrd_path, &c->initrd_fd);
	if (c->initrd_path && c->initrd_fd < 0)
		fd_close(fd_take(c->kernel_fd));
}

/* Moves the saved configuration over; what is of this host and this run comes from the request. */
static void launch_take_saved(struct launch *l)
{
	const struct launch_request *q = l->request;
	struct guest_config *c = &l->config;

	guest_config_fini(c);
	*c = q->saved->config;
	guest_config_init(&q->saved->config);
	c->restore_fd = fd_take(q->saved->fd);
	guest_config_fini(&q->saved->config);
	c->faults_fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	c->is_eager = q->is_eager;
	c->catches_up = q->catches_up;
	if (q->has_accel)
		c->accel = q->accel;
}

int launch_resolve_saved(struct launch *l, struct err *err)
{
	int r;

	launch_take_saved(l);
	r = launch_check_memory(l->config.memory, err);
	if (!r)
		r = launch_register(l, err);
	if (!r)
		r = launch_open_kvm(&l->config, err);
	if (!r)
		r = launch_restore_devices(l, err);
	if (r < 0)
		return r;
	launch_restore_kernel(l);
	return 0;
}

/* --- the other way: what the file is told --- */

static char *launch_append(char *text, const char *words, const char *value)
{
	char *longer = str_format("%s%s%s", text, words, value);

	free(text);
	return longer;
}

char *launch_net_text(const struct launch_net *n)
{
	char number[16], *text = str_dup(n->kind == LAUNCH_NET_TAP ? "tap=" : "user");

	if (n->kind == LAUNCH_NET_TAP)
		text = launch_append(text, "", n->tap);
	for (unsigned i = 0; i < n->n_forwards; i++)
		text = launch_append(text, ",forward=", n->forwards[i]);
	if (n->is_host_open)
		text = launch_append(text, ",host=on", "");
	if (n->is_passt)
		text = launch_append(text, ",backend=passt", "");
	snprintf(number, sizeof(number), "%u", n->n_queues);
	if (n->n_queues)
		text = launch_append(text, ",queues=", number);
	snprintf(number, sizeof(number), "%u", n->mtu);
	if (n->mtu)
		text = launch_append(text, ",mtu=", number);
	return text;
}
