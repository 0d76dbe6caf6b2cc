/*
 * From names to descriptors: kernel, initrd, disks, /dev/kvm, memory. Everything that a person can
 * get wrong gets its sentence here, before any process is started.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "accel/kvm/kvm.h"
#include "base/alloc.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "block/block.h"
#include "block/uri.h"
#include "image/image.h"
#include "launch/launch_priv.h"

#define LAUNCH_SECTOR        512
#define LAUNCH_LOCK_TRIES    50
#define LAUNCH_LOCK_PAUSE_NS (10 * NSEC_PER_MSEC)

/* A regular file that is not empty. */
int launch_open_file(const char *path, int *out, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot look at %s", path);
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "%s is a directory", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s is not a regular file", path);
	if (!st.st_size)
		return err_set(err, -EINVAL, "%s is empty", path);
	*out = fd_take(fd);
	return 0;
}

/* A name that says that it isn't raw is no proof of anything; so the person is asked. */
static int launch_check_format(const struct launch_disk *d, struct err *err)
{
	static const char *const usual[][2] = {{".qcow2", "qcow2"}, {".vmdk", "vmdk"},
					       {".vdi", "vdi"},     {".vhdx", "vhdx"},
					       {".vhd", "vpc"},     {".luks", "luks"}};
	size_t n = strlen(d->path);

	if (d->format && !img_find_format(d->format))
		return err_set(err, -EINVAL, "there is no image format '%s'", d->format);
	for (size_t i = 0; !d->format && i < ARRAY_SIZE(usual); i++) {
		size_t k = strlen(usual[i][0]);

		if (n > k && !strcasecmp(d->path + n - k, usual[i][0]))
			return err_set(err, -EINVAL,
				       "%s: is it a %s image? say format=%s; or format=raw, if "
				       "its bytes are the disk's",
				       d->path, usual[i][1], usual[i][1]);
	}
	return 0;
}

static bool launch_is_raw(const struct launch_disk *d)
{
	return !d->format || !strcmp(d->format, "raw");
}

static int launch_check_disk(int fd, const struct launch_disk *d, struct err *err)
{
	u64 size = 0;
	int r = fd_size(fd, &size);

	if (r == -EISDIR)
		return err_set(err, r, "%s is a directory; a disk is a file or a block device",
			       d->path);
	if (r < 0)
		return err_set(err, r, "%s is neither a regular file nor a block device", d->path);
	if (!size)
		return err_set(err, -EINVAL, "%s is empty", d->path);
	if (size % LAUNCH_SECTOR && launch_is_raw(d))
		return err_set(err, -EINVAL,
			       "%s has %lu bytes, which is not a multiple of %d; "
			       "is it a raw disk image?",
			       d->path, size, LAUNCH_SECTOR);
	return 0;
}

/* A guest that was killed with its launcher holds its locks until the kernel has ended its rings. */
static int launch_try_lock(int (*lock)(int fd, bool is_readonly, struct err *err), int fd,
			   bool is_readonly, struct err *err)
{
	const struct timespec pause = {.tv_nsec = LAUNCH_LOCK_PAUSE_NS};
	int r = -EBUSY;

	for (int i = 0; i < LAUNCH_LOCK_TRIES && r == -EBUSY; i++) {
		if (i)
			nanosleep(&pause, NULL);
		r = lock(fd, is_readonly, err);
	}
	return r;
}

int launch_lock_disk(int fd, bool is_readonly, struct err *err)
{
	return launch_try_lock(blk_lock_fd, fd, is_readonly, err);
}

static int launch_lock(const struct launch_disk *d, int fd, bool is_readonly, struct err *err)
{
	if (d->is_unlocked)
		return 0;
	if (!d->is_shared)
		return launch_lock_disk(fd, is_readonly, err);
	if (launch_try_lock(blk_lock_fd_together, fd, is_readonly, err) == -EBUSY)
		return err_set(err, -EBUSY, "in use by who doesn't share it");
	return err->code;
}

static int launch_open_disk_file(const struct launch_disk *d, bool is_readonly, int *out,
				 struct err *err)
{
	int flags = (is_readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	AUTO_FD int fd = -1;
	int r;

	if (guest_cache_is_direct(d->cache))
		flags |= O_DIRECT;
	fd = open(d->path, flags);
	if (fd < 0 && errno == EISDIR)
		return err_set(err, -EISDIR,
			       "%s is a directory; a disk is a file or a block device", d->path);
	if (fd < 0 && errno == EINVAL && guest_cache_is_direct(d->cache))
		return err_set(
			err, -EINVAL, "the file system of %s can't do cache=%s; use cache=%s",
			d->path, guest_cache_words.words[d->cache],
			guest_cache_is_writethrough(d->cache) ? "writethrough" : "writeback");
	if (fd < 0 && errno == EACCES && !is_readonly && !access(d->path, R_OK))
		return err_set(err, -EACCES, "%s may not be written; use readonly=on or --snapshot",
			       d->path);
	if (fd < 0)
		return err_errno(err, -errno, "cannot open %s", d->path);
	r = launch_check_disk(fd, d, err);
	if (r < 0)
		return r;
	r = fd_set_nonblock(fd, false);
	if (r < 0)
		return err_errno(err, r, "cannot use %s", d->path);
	if (launch_lock(d, fd, is_readonly, err) < 0)
		return err_wrap(err, "%s", d->path);
	*out = fd_take(fd);
	return 0;
}

/* Two who write its tables at once would spoil an image; and a layer over what others change is worth nothing. */
static int launch_check_sharing(const struct launch_disk *d, bool is_snapshot, struct err *err)
{
	if (d->is_shared && !launch_is_raw(d) && !d->is_readonly)
		return err_set(err, -EINVAL,
			       "%s: share=on is for raw disks: two guests that write one %s image "
			       "destroy it",
			       d->path, d->format);
	if (d->is_shared && !launch_is_raw(d))
		return err_set(
			err, -EINVAL,
			"%s: share=on is for raw disks; without it, too, many guests read one "
			"image",
			d->path);
	if (d->is_shared && is_snapshot)
		return err_set(err, -EINVAL,
			       "%s: what others write would change beneath a snapshot: share=on "
			       "and --snapshot exclude each other",
			       d->path);
	return 0;
}

int launch_open_disk(const struct launch_disk *d, bool is_snapshot, struct guest_disk *out,
		     struct err *err)
{
	bool is_readonly = d->is_readonly || is_snapshot;
	AUTO_FD int fd = -1;
	int r = launch_check_format(d, err);

	if (r == 0)
		r = launch_check_sharing(d, is_snapshot, err);
	if (r < 0)
		return r;
	out->is_remote = blk_is_uri(d->path);
	r = out->is_remote ? launch_open_remote(d->path, is_readonly, &fd, err)
			   : launch_open_disk_file(d, is_readonly, &fd, err);
	if (r < 0)
		return r;
	/* A disk that the guest may not write needs no place for what it writes. */
	if (is_snapshot && !d->is_readonly) {
		out->overlay_fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (out->overlay_fd < 0)
			return err_errno(err, -errno,
					 "cannot make a file in /var/tmp for --snapshot");
	}
	if (d->name && !out->name)
		out->name = str_dup(d->name);
	if (d->slot)
		out->slot = d->slot;
	out->path = str_dup(d->path);
	if (launch_is_raw(d) && d->n_keys)
		return err_set(err, -EINVAL, "%s: a raw disk has no passphrase; is it format=luks?",
			       d->path);
	if (!launch_is_raw(d))
		out->format = str_dup(d->format);
	/* A server that isn't as it should be is found here, and not by a guest that waits for it. */
	if ((!launch_is_raw(d) || out->is_remote) &&
	    launch_open_disk_files(d, fd, is_readonly, out, err) < 0)
		return err->code;
	out->is_readonly = d->is_readonly;
	out->is_shared = d->is_shared;
	out->cache = d->cache;
	out->on_error = d->on_error;
	out->n_queues = d->n_queues;
	out->is_packed = d->is_packed;
	out->limits = d->limits;
	out->fd = fd_take(fd);
	return 0;
}

int launch_check_memory(u64 memory, struct err *err)
{
	struct sysinfo host;
	u64 total;

	if (sysinfo(&host) < 0)
		return 0;
	total = (u64)host.totalram * host.mem_unit;
	if (memory > total)
		return err_set(err, -ENOMEM,
			       "--memory: the guest should have %lu MiB, but the host "
			       "has %lu MiB in all",
			       memory / MIB, total / MIB);
	return 0;
}

/* A stable, locally administered address from the guest's name and the nic's number. */
static void launch_make_mac(const char *name, unsigned index, u8 mac[6])
{
	u32 crc = crc32_update(crc32_update(0, name, strlen(name)), &index, sizeof(index));

	mac[0] = 0x52;
	mac[1] = 0x50;
	memcpy(mac + 2, &crc, 4);
}

int launch_open_kvm(struct guest_config *c, struct err *err)
{
	struct err why = ERR_INIT;

	if (c->accel == GUEST_ACCEL_SOFT)
		return 0;
	if (kv_open(&c->kvm_fd, &why) == 0)
		return 0;
	if (c->accel == GUEST_ACCEL_KVM) {
		*err = why;
		return err_wrap(err, "--accel kvm");
	}
	c->kvm_why = str_dup(why.text);
	return 0;
}

static void launch_take_words(const struct launch_request *q, struct guest_config *c)
{
	const struct {
		const char *from;
		char **to;
	} words[] = {
		{q->name, &c->name},     {q->machine, &c->machine},    {q->cpu, &c->cpu},
		{q->append, &c->append}, {q->kernel, &c->kernel_path}, {q->initrd, &c->initrd_path},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!words[i].from)
			continue;
		free(*words[i].to);
		*words[i].to = str_dup(words[i].from);
	}
	c->directory = get_current_dir_name(); /* NULL: it has no name any more */
	c->accel = q->accel;
	c->engine = q->engine;
	c->clock = q->clock;
	c->seed = q->clock == GUEST_CLOCK_INSN && !q->has_seed ? 1 : q->seed;
	c->is_lockstep = q->is_lockstep;
	c->n_cpus = q->n_cpus;
	c->memory = q->memory;
	c->on_reboot = q->on_reboot;
	c->on_crash = q->on_crash;
	c->has_debug_exit = q->has_debug_exit;
	c->has_balloon = !q->balloon.is_off;
	c->has_reporting = !q->balloon.is_reporting_off;
	c->balloon_size = q->balloon.size;
	c->balloon_stats = q->balloon.stats;
	c->vsock_cid = q->vsock.cid;
}

static int launch_resolve_devices(struct launch *l, struct err *err)
{
	const struct launch_request *q = l->request;
	struct guest_config *c = &l->config;

	for (unsigned i = 0; i < q->n_disks; i++) {
		c->n_disks = i + 1;
		if (launch_open_disk(&q->disks[i], q->is_snapshot, &c->disks[i], err) < 0)
			return err_wrap(err, "--disk");
	}
	for (unsigned i = 0; i < q->n_nets; i++) {
		c->n_nics = i + 1;
		launch_make_mac(c->name, i, c->nics[i].mac);
		if (launch_open_nth_net(l, i, &c->nics[i], err) < 0)
			return err_wrap(err, "--net");
		c->nics[i].spec = launch_net_text(&q->nets[i]);
	}
	guest_config_name_devices(c);
	if (launch_open_channels(l, err) < 0)
		return err_wrap(err, "--channel");
	c->vsock_path = str_dup(q->vsock.path);
	if (c->vsock_cid && launch_open_vsock(l, c->vsock_path, err) < 0)
		return err_wrap(err, "--vsock");
	if (launch_open_console(l, err) < 0)
		return err_wrap(err, "--console");
	return 0;
}

int launch_resolve(struct launch *l, struct err *err)
{
	const struct launch_request *q = l->request;
	struct guest_config *c = &l->config;
	int r;

	launch_take_words(q, c);
	if (!q->kernel)
		return err_set(err, -EINVAL, "no kernel was given: use --kernel FILE");
	if (launch_open_file(q->kernel, &c->kernel_fd, err) < 0)
		return err_wrap(err, "--kernel");
	if (q->initrd && launch_open_file(q->initrd, &c->initrd_fd, err) < 0)
		return err_wrap(err, "--initrd");
	r = guest_config_check(c, err);
	if (!r)
		r = launch_check_memory(c->memory, err);
	if (!r)
		r = launch_register(l, err);
	if (!r)
		r = launch_make_cgroup(l, err);
	if (!r)
		r = launch_open_kvm(c, err);
	return r ? r : launch_resolve_devices(l, err);
}
