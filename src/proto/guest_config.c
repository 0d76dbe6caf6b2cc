/*
 * The guest's configuration: limits, words, JSON. See guest_config.h.
 */
#include "proto/guest_config.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "proto/fields.h"
#include "proto/text.h"

const struct guest_words guest_accel_words = {(const char *const[]){"auto", "kvm", "soft", NULL}};
const struct guest_words guest_clock_words = {(const char *const[]){"host", "insn", NULL}};
const struct guest_words guest_engine_words = {
	(const char *const[]){"auto", "interpreter", "translator", NULL}};
const struct guest_words guest_cache_words = {
	(const char *const[]){"writeback", "none", "writethrough", "directsync", "unsafe", NULL}};
const struct guest_words guest_on_error_words = {
	(const char *const[]){"pause-if-full", "report", "pause", NULL}};
static const struct guest_words guest_file_role_words = {
	(const char *const[]){"backing", "data", "extent", NULL}};
const struct guest_words guest_net_words = {(const char *const[]){"stream", "tap", NULL}};
const struct guest_words guest_console_words = {
	(const char *const[]){"none", "stream", "listen", NULL}};
const struct guest_words guest_on_reboot_words = {(const char *const[]){"restart", "stop", NULL}};
const struct guest_words guest_on_crash_words = {
	(const char *const[]){"stop", "restart", "pause", NULL}};

static void guest_disk_file_init(void *element)
{
	*(struct guest_disk_file *)element = (struct guest_disk_file){.fd = -1, .used_fd = -1};
}

void guest_disk_init(void *element)
{
	struct guest_disk *d = element;

	*d = (struct guest_disk){.fd = -1, .keys_fd = -1, .overlay_fd = -1, .used_fd = -1};
	for (unsigned i = 0; i < GUEST_MAX_DISK_FILES; i++)
		guest_disk_file_init(&d->files[i]);
}

void guest_disk_forget_backing(struct guest_disk *d)
{
	unsigned number[GUEST_MAX_DISK_FILES + 1] = {0}; /* new ones; 0: the disk's own, or gone */
	unsigned kept = 0;

	for (unsigned i = 0; i < d->n_files; i++) {
		struct guest_disk_file f = d->files[i];

		guest_disk_file_init(&d->files[i]);
		if (f.role == GUEST_FILE_BACKING || (f.parent && !number[f.parent])) {
			free(f.format);
			free(f.path);
			fd_close(f.fd);
			continue;
		}
		f.parent = number[f.parent];
		d->files[kept++] = f;
		number[i + 1] = kept;
	}
	d->n_files = kept;
}

void guest_nic_init(void *element)
{
	*(struct guest_nic *)element = (struct guest_nic){.fd = -1, .n_queues = 1};
}

static void guest_nic_fd_init(void *element)
{
	((struct guest_nic_fd *)element)->fd = -1;
}

static void guest_channel_init(void *element)
{
	*(struct guest_channel *)element = (struct guest_channel){.fd = -1};
}

void guest_disk_fini(struct guest_disk *d)
{
	free(d->name);
	free(d->path);
	free(d->format);
	fd_close(d->fd);
	fd_close(d->keys_fd);
	fd_close(d->overlay_fd);
	for (unsigned i = 0; i < d->n_files; i++) {
		free(d->files[i].format);
		free(d->files[i].path);
		fd_close(d->files[i].fd);
	}
	guest_disk_init(d);
}

void guest_nic_fini(struct guest_nic *n)
{
	free(n->name);
	free(n->spec);
	fd_close(n->fd);
	for (unsigned i = 0; i < n->n_more_fds; i++)
		fd_close(n->more_fds[i].fd);
	guest_nic_init(n);
}

static void guest_channel_fini(struct guest_channel *c)
{
	free(c->name);
	free(c->path);
	fd_close(c->fd);
	guest_channel_init(c);
}

void guest_config_init(struct guest_config *c)
{
	*c = (struct guest_config){
		.name = str_dup("guest"),
		.machine = str_dup("pc-1"),
		.cpu = str_dup("posada-v2"),
		.n_cpus = 1,
		.memory = 512 * MIB,
		.perf_fd = -1,
		.kvm_fd = -1,
		.kernel_fd = -1,
		.initrd_fd = -1,
		.append = str_dup(""),
		.control_fd = -1,
		.lock_fd = -1,
		.has_balloon = true,
		.has_reporting = true,
		.balloon_stats = GUEST_BALLOON_STATS,
		.vsock_fd = -1,
		.console_fd = -1,
		.restore_fd = -1,
		.faults_fd = -1,
	};
	for (unsigned i = 0; i < GUEST_MAX_DISKS; i++)
		guest_disk_init(&c->disks[i]);
	for (unsigned i = 0; i < GUEST_MAX_NICS; i++)
		guest_nic_init(&c->nics[i]);
	for (unsigned i = 0; i < GUEST_MAX_CHANNELS; i++)
		guest_channel_init(&c->channels[i]);
}

void guest_config_fini(struct guest_config *c)
{
	for (unsigned i = 0; i < GUEST_MAX_DISKS; i++)
		guest_disk_fini(&c->disks[i]);
	for (unsigned i = 0; i < GUEST_MAX_NICS; i++)
		guest_nic_fini(&c->nics[i]);
	for (unsigned i = 0; i < GUEST_MAX_CHANNELS; i++)
		guest_channel_fini(&c->channels[i]);
	fd_close(c->perf_fd);
	fd_close(c->kvm_fd);
	fd_close(c->kernel_fd);
	fd_close(c->initrd_fd);
	fd_close(c->control_fd);
	fd_close(c->lock_fd);
	fd_close(c->vsock_fd);
	fd_close(c->console_fd);
	fd_close(c->restore_fd);
	fd_close(c->faults_fd);
	free(c->name);
	free(c->machine);
	free(c->cpu);
	free(c->kvm_why);
	free(c->kernel_path);
	free(c->initrd_path);
	free(c->vsock_path);
	free(c->append);
	free(c->directory);
	memset(c, 0, sizeof(*c));
}

static bool guest_is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool guest_is_name(const char *name, size_t max)
{
	if (!guest_is_alnum(name[0]) || strlen(name) > max)
		return false;
	for (const char *p = name; *p; p++) {
		if (!guest_is_alnum(*p) && !strchr("._-", *p))
			return false;
	}
	return true;
}

bool guest_name_is_valid(const char *name)
{
	return guest_is_name(name, GUEST_MAX_NAME);
}

bool guest_device_name_is_valid(const char *name)
{
	return guest_is_name(name, GUEST_MAX_DEVICE_NAME);
}

static bool guest_has_device(const struct guest_config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_disks; i++)
		if (c->disks[i].name && !strcmp(c->disks[i].name, name))
			return true;
	for (unsigned i = 0; i < c->n_nics; i++)
		if (c->nics[i].name && !strcmp(c->nics[i].name, name))
			return true;
	return false;
}

static void guest_choose_name(const struct guest_config *c, const char *kind, char **name)
{
	for (unsigned i = 0; !*name; i++) {
		char *next = str_format("%s%u", kind, i);

		if (guest_has_device(c, next))
			free(next);
		else
			*name = next;
	}
}

void guest_config_name_devices(struct guest_config *c)
{
	for (unsigned i = 0; i < c->n_disks; i++)
		guest_choose_name(c, "disk", &c->disks[i].name);
	for (unsigned i = 0; i < c->n_nics; i++)
		guest_choose_name(c, "net", &c->nics[i].name);
}

/* What a disk or nic says of its name and slot, and no other says too. */
struct guest_places {
	const char *names[GUEST_MAX_DISKS + GUEST_MAX_NICS];
	unsigned n_names;
	u64 slots;
};

static int guest_check_place(struct guest_places *p, const char *name, unsigned slot,
			     struct err *err)
{
	if (name && !guest_device_name_is_valid(name))
		return err_set(err, -EINVAL,
			       "a device's name has 1 to %d letters, digits, '.', '_' and '-', a "
			       "letter or digit first",
			       GUEST_MAX_DEVICE_NAME);
	for (unsigned i = 0; name && i < p->n_names; i++)
		if (!strcmp(p->names[i], name))
			return err_set(err, -EEXIST, "there is a device '%s' already", name);
	if (name)
		p->names[p->n_names++] = name;
	if (slot > GUEST_MAX_SLOTS)
		return err_set(err, -EINVAL, "slot %u: a guest has at most %d slots", slot,
			       GUEST_MAX_SLOTS);
	if (slot && p->slots & BIT(slot))
		return err_set(err, -EEXIST, "two devices in slot %u", slot);
	p->slots |= BIT(slot);
	return 0;
}

static int guest_check_places(const struct guest_config *c, struct err *err)
{
	struct guest_places p = {0};
	int r = 0;

	if (c->n_slots > GUEST_MAX_SLOTS)
		return err_set(err, -EINVAL, "%u slots: a guest has at most %d", c->n_slots,
			       GUEST_MAX_SLOTS);
	for (unsigned i = 0; i < c->n_disks && !r; i++)
		r = guest_check_place(&p, c->disks[i].name, c->disks[i].slot, err);
	for (unsigned i = 0; i < c->n_nics && !r; i++)
		r = guest_check_place(&p, c->nics[i].name, c->nics[i].slot, err);
	return r;
}

static int guest_check_balloon(const struct guest_config *c, struct err *err)
{
	if (c->balloon_size && (c->balloon_size < GUEST_MIN_MEMORY || c->balloon_size > c->memory))
		return err_set(err, -EINVAL,
			       "a balloon that leaves %lu KiB: it leaves %lu MiB at least, and not "
			       "more than the guest's %lu MiB",
			       c->balloon_size / KIB, GUEST_MIN_MEMORY / MIB, c->memory / MIB);
	if (c->balloon_stats > GUEST_MAX_STATS)
		return err_set(err, -EINVAL, "the balloon's statistics are asked for once in %d s",
			       GUEST_MAX_STATS);
	return 0;
}

int guest_limits_check(const struct guest_limits *l, struct err *err)
{
	if (l->bytes > GUEST_LIMIT_MAX || l->ops > GUEST_LIMIT_MAX ||
	    l->burst_bytes > GUEST_LIMIT_MAX || l->burst_ops > GUEST_LIMIT_MAX)
		return err_set(err, -EINVAL, "a limit is at most %lu", GUEST_LIMIT_MAX);
	if ((l->burst_bytes && !l->bytes) || (l->burst_ops && !l->ops))
		return err_set(err, -EINVAL,
			       "a burst needs the limit that it is an exception from");
	return 0;
}

int guest_disk_check(const struct guest_disk *d, struct err *err)
{
	if (d->n_queues > GUEST_MAX_DISK_QUEUES)
		return err_set(err, -EINVAL, "%u queues: it has 1 to %u", d->n_queues,
			       GUEST_MAX_DISK_QUEUES);
	if (d->is_shared && (d->format || d->overlay_fd >= 0))
		return err_set(err, -EINVAL, "only a raw disk can be shared");
	for (unsigned i = 0; i < d->n_files; i++) {
		if (d->files[i].parent > i)
			return err_set(err, -EINVAL, "file %u belongs to a later one", i);
	}
	return guest_limits_check(&d->limits, err);
}

int guest_nic_check(const struct guest_nic *n, struct err *err)
{
	if (n->n_queues < 1 || n->n_queues > GUEST_MAX_NET_QUEUES)
		return err_set(err, -EINVAL, "%u queues: it has 1 to %d", n->n_queues,
			       GUEST_MAX_NET_QUEUES);
	if (n->mtu && (n->mtu < GUEST_MIN_MTU || n->mtu > GUEST_MAX_MTU))
		return err_set(err, -EINVAL, "an MTU of %u: it is %d to %d", n->mtu, GUEST_MIN_MTU,
			       GUEST_MAX_MTU);
	return guest_limits_check(&n->limits, err);
}

/* What would come from outside, at times of its own, can't be had again. */
static int guest_check_clock(const struct guest_config *c, struct err *err)
{
	if (c->clock == GUEST_CLOCK_HOST) {
		if (c->is_lockstep || c->seed)
			return err_set(err, -EINVAL, "%s needs clock=insn",
				       c->seed ? "seed" : "lockstep=on");
		return 0;
	}
	if (c->accel != GUEST_ACCEL_SOFT)
		return err_set(err, -EINVAL, "clock=insn is the software CPU's: use accel soft");
	if (!c->seed)
		return err_set(err, -EINVAL, "seed 0: a seed is at least 1");
	if (c->n_cpus > 1)
		return err_set(err, -EINVAL,
			       "%u CPUs: a guest whose clock counts instructions has one CPU",
			       c->n_cpus);
	if (c->n_nics || c->vsock_cid)
		return err_set(err, -EINVAL,
			       "a guest whose clock counts instructions has no %s: what comes from "
			       "there can't be had again",
			       c->n_nics ? "network cards" : "sockets");
	if (c->is_lockstep && c->engine == GUEST_ENGINE_INTERPRETER)
		return err_set(err, -EINVAL, "lockstep=on holds the translator to the interpreter");
	return 0;
}

int guest_config_check(const struct guest_config *c, struct err *err)
{
	if (!guest_name_is_valid(c->name))
		return err_set(err, -EINVAL,
			       "a name has 1 to %d letters, digits, '.', '_' and '-', "
			       "a letter or digit first",
			       GUEST_MAX_NAME);
	if (strcmp(c->machine, "pc-1"))
		return err_set(err, -EINVAL, "there is no machine '%s'; there is: pc-1",
			       c->machine);
	if (c->n_cpus < 1 || c->n_cpus > GUEST_MAX_CPUS)
		return err_set(err, -EINVAL, "%u CPUs: a guest has 1 to %d", c->n_cpus,
			       GUEST_MAX_CPUS);
	if (c->memory < GUEST_MIN_MEMORY || c->memory > GUEST_MAX_MEMORY)
		return err_set(err, -EINVAL, "%lu KiB of memory: a guest has %lu MiB to %lu GiB",
			       c->memory / KIB, GUEST_MIN_MEMORY / MIB, GUEST_MAX_MEMORY / GIB);
	if (!is_aligned(c->memory, MIB))
		return err_set(err, -EINVAL, "memory must be a whole number of MiB");
	if (!proto_text_is_utf8(c->append))
		return err_set(err, -EINVAL, "the kernel's command line is not UTF-8 text");
	if (!proto_text_is_utf8(c->cpu))
		return err_set(err, -EINVAL, "the CPU model's name is not UTF-8 text");
	for (unsigned i = 0; i < c->n_disks; i++) {
		if (guest_disk_check(&c->disks[i], err) < 0)
			return err_wrap(err, "disk %u", i);
	}
	for (unsigned i = 0; i < c->n_nics; i++) {
		if (guest_nic_check(&c->nics[i], err) < 0)
			return err_wrap(err, "network card %u", i);
	}
	for (unsigned i = 0; i < c->n_channels; i++) {
		const char *name = c->channels[i].name;

		if (!name || !name[0] || strlen(name) > GUEST_MAX_CHANNEL_NAME)
			return err_set(err, -EINVAL, "a channel's name has 1 to %d bytes",
				       GUEST_MAX_CHANNEL_NAME);
	}
	if (guest_check_places(c, err) < 0 || guest_check_clock(c, err) < 0)
		return err->code;
	if (c->vsock_cid && (c->vsock_cid < GUEST_MIN_CID || c->vsock_cid > GUEST_MAX_CID))
		return err_set(err, -EINVAL, "CID %u: a guest has %u to %u", c->vsock_cid,
			       GUEST_MIN_CID, GUEST_MAX_CID);
	return guest_check_balloon(c, err);
}

/* --- the message --- */

/* clang-format off */
#define FIELDS_OF_LIMITS(type_)                                                                    \
	FIELD_OPTIONAL(FIELD_UINT, "limit-bps", type_, limits.bytes),                              \
	FIELD_OPTIONAL(FIELD_UINT, "limit-iops", type_, limits.ops),                               \
	FIELD_OPTIONAL(FIELD_UINT, "burst-bytes", type_, limits.burst_bytes),                      \
	FIELD_OPTIONAL(FIELD_UINT, "burst-ops", type_, limits.burst_ops)

static const struct field guest_disk_file_fields[] = {
	FIELD_OPTIONAL(FIELD_UINT, "parent", struct guest_disk_file, parent),
	FIELD_WORDS("role", struct guest_disk_file, role, &guest_file_role_words),
	FIELD_OPTIONAL(FIELD_UINT, "index", struct guest_disk_file, index),
	FIELD_OPTIONAL(FIELD_TEXT, "format", struct guest_disk_file, format),
	FIELD(FIELD_PEOPLE, "path", struct guest_disk_file, path),
	FIELD_OPTIONAL(FIELD_FD, "fd", struct guest_disk_file, fd),
	FIELD_OPTIONAL(FIELD_BOOL, "writable", struct guest_disk_file, is_writable),
	FIELD_OPTIONAL(FIELD_BOOL, "remote", struct guest_disk_file, is_remote),
	FIELD_END,
};

static const struct field_list guest_disk_file_list = {
	.what = "file", .count_offset = offsetof(struct guest_disk, n_files),
	.element_size = sizeof(struct guest_disk_file), .max = GUEST_MAX_DISK_FILES,
	.fields = guest_disk_file_fields, .init = guest_disk_file_init,
};

static const struct field guest_disk_fields[] = {
	FIELD_OPTIONAL(FIELD_TEXT, "name", struct guest_disk, name),
	FIELD_OPTIONAL(FIELD_UINT, "slot", struct guest_disk, slot),
	FIELD(FIELD_PEOPLE, "path", struct guest_disk, path),
	FIELD_OPTIONAL(FIELD_FD, "fd", struct guest_disk, fd),
	FIELD_OPTIONAL(FIELD_BOOL, "remote", struct guest_disk, is_remote),
	FIELD_OPTIONAL(FIELD_TEXT, "format", struct guest_disk, format),
	FIELD_LISTED("files", struct guest_disk, files, &guest_disk_file_list),
	FIELD_OPTIONAL(FIELD_FD, "keys", struct guest_disk, keys_fd),
	FIELD_OPTIONAL(FIELD_FD, "overlay", struct guest_disk, overlay_fd),
	FIELD_OPTIONAL(FIELD_BOOL, "readonly", struct guest_disk, is_readonly),
	FIELD_OPTIONAL(FIELD_BOOL, "shared", struct guest_disk, is_shared),
	FIELD_WORDS_OPTIONAL("cache", struct guest_disk, cache, &guest_cache_words),
	FIELD_WORDS_OPTIONAL("on-error", struct guest_disk, on_error, &guest_on_error_words),
	FIELD_OPTIONAL(FIELD_UINT, "saved-bytes", struct guest_disk, saved_bytes),
	FIELD_OPTIONAL(FIELD_UINT, "saved-changed-ns", struct guest_disk, saved_changed_ns),
	FIELD_OPTIONAL(FIELD_UINT, "queues", struct guest_disk, n_queues),
	FIELD_OPTIONAL(FIELD_BOOL, "packed", struct guest_disk, is_packed),
	FIELDS_OF_LIMITS(struct guest_disk),
	FIELD_END,
};

static const struct field guest_nic_fd_fields[] = {
	FIELD_OPTIONAL(FIELD_FD, "fd", struct guest_nic_fd, fd),
	FIELD_END,
};

static const struct field_list guest_nic_fd_list = {
	.what = "queue", .count_offset = offsetof(struct guest_nic, n_more_fds),
	.element_size = sizeof(struct guest_nic_fd), .max = GUEST_MAX_NET_QUEUES - 1,
	.fields = guest_nic_fd_fields, .init = guest_nic_fd_init,
};

static const struct field guest_nic_fields[] = {
	FIELD_OPTIONAL(FIELD_TEXT, "name", struct guest_nic, name),
	FIELD_OPTIONAL(FIELD_UINT, "slot", struct guest_nic, slot),
	FIELD_WORDS("kind", struct guest_nic, kind, &guest_net_words),
	FIELD_OPTIONAL(FIELD_FD, "fd", struct guest_nic, fd),
	FIELD_LISTED("more-queues", struct guest_nic, more_fds, &guest_nic_fd_list),
	FIELD_OPTIONAL(FIELD_UINT, "queues", struct guest_nic, n_queues),
	FIELD_OPTIONAL(FIELD_UINT, "mtu", struct guest_nic, mtu),
	FIELD(FIELD_OCTETS, "mac", struct guest_nic, mac),
	FIELD_OPTIONAL(FIELD_PEOPLE, "spec", struct guest_nic, spec),
	FIELD_OPTIONAL(FIELD_BOOL, "packed", struct guest_nic, is_packed),
	FIELDS_OF_LIMITS(struct guest_nic),
	FIELD_END,
};

static const struct field guest_channel_fields[] = {
	FIELD(FIELD_TEXT, "name", struct guest_channel, name),
	FIELD_OPTIONAL(FIELD_FD, "fd", struct guest_channel, fd),
	FIELD_OPTIONAL(FIELD_PEOPLE, "path", struct guest_channel, path),
	FIELD_END,
};

static const struct field_list guest_disk_list = {
	.what = "disk", .count_offset = offsetof(struct guest_config, n_disks),
	.element_size = sizeof(struct guest_disk), .max = GUEST_MAX_DISKS,
	.fields = guest_disk_fields, .init = guest_disk_init,
};

static const struct field_list guest_nic_list = {
	.what = "nic", .count_offset = offsetof(struct guest_config, n_nics),
	.element_size = sizeof(struct guest_nic), .max = GUEST_MAX_NICS,
	.fields = guest_nic_fields, .init = guest_nic_init,
};

static const struct field_list guest_channel_list = {
	.what = "channel", .count_offset = offsetof(struct guest_config, n_channels),
	.element_size = sizeof(struct guest_channel), .max = GUEST_MAX_CHANNELS,
	.fields = guest_channel_fields, .init = guest_channel_init,
};

static const struct field guest_config_fields[] = {
	FIELD(FIELD_TEXT, "name", struct guest_config, name),
	FIELD(FIELD_TEXT, "machine", struct guest_config, machine),
	FIELD(FIELD_TEXT, "cpu", struct guest_config, cpu),
	FIELD_WORDS("accel", struct guest_config, accel, &guest_accel_words),
	FIELD_WORDS_OPTIONAL("engine", struct guest_config, engine, &guest_engine_words),
	FIELD_WORDS_OPTIONAL("clock", struct guest_config, clock, &guest_clock_words),
	FIELD_OPTIONAL(FIELD_UINT, "seed", struct guest_config, seed),
	FIELD_OPTIONAL(FIELD_BOOL, "lockstep", struct guest_config, is_lockstep),
	FIELD_OPTIONAL(FIELD_FD, "perf", struct guest_config, perf_fd),
	FIELD_OPTIONAL(FIELD_BOOL, "tsc-is-clock", struct guest_config, is_tsc_host_clock),
	FIELD(FIELD_UINT, "cpus", struct guest_config, n_cpus),
	FIELD(FIELD_UINT, "memory", struct guest_config, memory),
	FIELD_OPTIONAL(FIELD_FD, "kvm", struct guest_config, kvm_fd),
	FIELD_OPTIONAL(FIELD_PEOPLE, "kvm-why", struct guest_config, kvm_why),
	FIELD_OPTIONAL(FIELD_FD, "kernel", struct guest_config, kernel_fd),
	FIELD_OPTIONAL(FIELD_FD, "initrd", struct guest_config, initrd_fd),
	FIELD_OPTIONAL(FIELD_PEOPLE, "kernel-path", struct guest_config, kernel_path),
	FIELD_OPTIONAL(FIELD_PEOPLE, "initrd-path", struct guest_config, initrd_path),
	FIELD_OPTIONAL(FIELD_TEXT, "append", struct guest_config, append),
	FIELD_LISTED("disks", struct guest_config, disks, &guest_disk_list),
	FIELD_LISTED("nics", struct guest_config, nics, &guest_nic_list),
	FIELD_OPTIONAL(FIELD_UINT, "slots", struct guest_config, n_slots),
	FIELD_LISTED("channels", struct guest_config, channels, &guest_channel_list),
	FIELD_OPTIONAL(FIELD_BOOL, "balloon", struct guest_config, has_balloon),
	FIELD_OPTIONAL(FIELD_BOOL, "balloon-reporting", struct guest_config, has_reporting),
	FIELD_OPTIONAL(FIELD_UINT, "balloon-size", struct guest_config, balloon_size),
	FIELD_OPTIONAL(FIELD_UINT, "balloon-stats", struct guest_config, balloon_stats),
	FIELD_OPTIONAL(FIELD_UINT, "vsock-cid", struct guest_config, vsock_cid),
	FIELD_OPTIONAL(FIELD_FD, "vsock-fd", struct guest_config, vsock_fd),
	FIELD_OPTIONAL(FIELD_PEOPLE, "vsock-path", struct guest_config, vsock_path),
	FIELD_WORDS_OPTIONAL("console", struct guest_config, console, &guest_console_words),
	FIELD_OPTIONAL(FIELD_FD, "console-fd", struct guest_config, console_fd),
	FIELD_OPTIONAL(FIELD_FD, "control", struct guest_config, control_fd),
	FIELD_OPTIONAL(FIELD_FD, "lock", struct guest_config, lock_fd),
	FIELD_WORDS_OPTIONAL("on-reboot", struct guest_config, on_reboot, &guest_on_reboot_words),
	FIELD_WORDS_OPTIONAL("on-crash", struct guest_config, on_crash, &guest_on_crash_words),
	FIELD_OPTIONAL(FIELD_BOOL, "debug-exit", struct guest_config, has_debug_exit),
	FIELD_OPTIONAL(FIELD_PEOPLE, "directory", struct guest_config, directory),
	FIELD_OPTIONAL(FIELD_UINT, "tsc-hz", struct guest_config, tsc_hz),
	FIELD_OPTIONAL(FIELD_FD, "restore", struct guest_config, restore_fd),
	FIELD_OPTIONAL(FIELD_FD, "faults", struct guest_config, faults_fd),
	FIELD_OPTIONAL(FIELD_BOOL, "eager", struct guest_config, is_eager),
	FIELD_OPTIONAL(FIELD_BOOL, "catch-up", struct guest_config, catches_up),
	FIELD_END,
};
/* clang-format on */

static char *guest_config_to_text(const struct guest_config *c, struct field_fds *fds)
{
	struct guest_config initial;
	json_t *root;
	char *text;

	guest_config_init(&initial);
	root = fields_encode(guest_config_fields, c, &initial, fds);
	json_object_set_new(root, "version", json_integer(GUEST_CONFIG_VERSION));
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	guest_config_fini(&initial);
	return text;
}

char *guest_config_encode(const struct guest_config *c, int *out_fds, size_t *out_n_fds)
{
	struct field_fds fds = {.fds = out_fds, .max = GUEST_CONFIG_MAX_FDS};
	char *text = guest_config_to_text(c, &fds);

	*out_n_fds = fds.n;
	return text;
}

char *guest_config_encode_plain(const struct guest_config *c)
{
	return guest_config_to_text(c, NULL);
}

/* The version comes first, so that a newer configuration isn't refused for what else is new in it. */
static int guest_decode_root(json_t *root, struct field_fds *fds, struct guest_config *c,
			     struct err *err)
{
	json_int_t version = json_integer_value(json_object_get(root, "version"));

	if (!json_is_integer(json_object_get(root, "version")))
		return err_set(err, -EINVAL, "it has no version");
	if (version != GUEST_CONFIG_VERSION)
		return err_set(err, -EINVAL, "it has version %lld; this program knows %d",
			       (long long)version, GUEST_CONFIG_VERSION);
	json_object_del(root, "version");
	return fields_decode(guest_config_fields, root, c, fds, err);
}

static int guest_config_from_text(const char *text, size_t size, struct field_fds *fds,
				  struct guest_config *out, struct err *err)
{
	struct guest_config c;
	json_error_t why;
	json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
	int r;

	guest_config_init(&c);
	if (root)
		r = guest_decode_root(root, fds, &c, err);
	else
		r = err_set(err, -EINVAL, "%s", why.text);
	json_decref(root);
	if (r < 0)
		err_wrap(err, "configuration");
	else
		r = guest_config_check(&c, err);
	if (r < 0)
		guest_config_fini(&c);
	else
		*out = c;
	return r;
}

int guest_config_decode(const char *text, size_t size, const int *fds, size_t n_fds,
			struct guest_config *out, struct err *err)
{
	int left[GUEST_CONFIG_MAX_FDS], r;
	struct field_fds taken = {.fds = left, .n = n_fds, .max = GUEST_CONFIG_MAX_FDS};

	assert(n_fds <= GUEST_CONFIG_MAX_FDS);
	for (size_t i = 0; i < n_fds; i++)
		left[i] = fds[i];
	r = guest_config_from_text(text, size, &taken, out, err);
	for (size_t i = 0; i < n_fds; i++)
		fd_close(left[i]);
	return r;
}

int guest_config_decode_plain(const char *text, size_t size, struct guest_config *out,
			      struct err *err)
{
	return guest_config_from_text(text, size, NULL, out, err);
}

/* --- one device --- */

json_t *guest_disk_encode(const struct guest_disk *d, struct field_fds *fds)
{
	struct guest_disk initial;

	guest_disk_init(&initial);
	return fields_encode(guest_disk_fields, d, &initial, fds);
}

int guest_disk_decode(const json_t *from, struct field_fds *fds, struct guest_disk *out,
		      struct err *err)
{
	struct guest_disk d;
	int r;

	guest_disk_init(&d);
	r = fields_decode(guest_disk_fields, from, &d, fds, err);
	if (r < 0)
		guest_disk_fini(&d);
	else
		*out = d;
	return r;
}

json_t *guest_nic_encode(const struct guest_nic *n, struct field_fds *fds)
{
	struct guest_nic initial;

	guest_nic_init(&initial);
	return fields_encode(guest_nic_fields, n, &initial, fds);
}

int guest_nic_decode(const json_t *from, struct field_fds *fds, struct guest_nic *out,
		     struct err *err)
{
	struct guest_nic n;
	int r;

	guest_nic_init(&n);
	r = fields_decode(guest_nic_fields, from, &n, fds, err);
	if (r < 0)
		guest_nic_fini(&n);
	else
		*out = n;
	return r;
}
