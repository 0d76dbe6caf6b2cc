/*
 * The guest's configuration: limits, words, JSON. See guest_config.h.
 */
#include "proto/guest_config.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "proto/text.h"

const struct guest_words guest_accel_words = {(const char *const[]){"auto", "kvm", "soft", NULL}};
const struct guest_words guest_cache_words = {(const char *const[]){"writeback", "none", NULL}};
const struct guest_words guest_net_words = {(const char *const[]){"stream", "tap", NULL}};
const struct guest_words guest_console_words = {
	(const char *const[]){"none", "stream", "listen", NULL}};
const struct guest_words guest_on_reboot_words = {(const char *const[]){"restart", "stop", NULL}};
const struct guest_words guest_on_crash_words = {
	(const char *const[]){"stop", "restart", "pause", NULL}};

int guest_word_value(const struct guest_words *w, const char *word)
{
	for (int i = 0; w->words[i]; i++) {
		if (!strcmp(w->words[i], word))
			return i;
	}
	return -1;
}

const char *guest_word(const struct guest_words *w, int value)
{
	return w->words[value];
}

void guest_config_init(struct guest_config *c)
{
	*c = (struct guest_config){
		.name = str_dup("guest"),
		.machine = str_dup("pc-1"),
		.cpu = str_dup("posada-v2"),
		.n_cpus = 1,
		.memory = 512 * MIB,
		.kvm_fd = -1,
		.kernel_fd = -1,
		.initrd_fd = -1,
		.append = str_dup(""),
		.console_fd = -1,
	};
	for (unsigned i = 0; i < GUEST_MAX_DISKS; i++)
		c->disks[i].fd = c->disks[i].overlay_fd = -1;
	for (unsigned i = 0; i < GUEST_MAX_NICS; i++)
		c->nics[i].fd = -1;
	for (unsigned i = 0; i < GUEST_MAX_CHANNELS; i++)
		c->channels[i].fd = -1;
}

void guest_config_fini(struct guest_config *c)
{
	for (unsigned i = 0; i < GUEST_MAX_DISKS; i++) {
		free(c->disks[i].path);
		fd_close(c->disks[i].fd);
		fd_close(c->disks[i].overlay_fd);
	}
	for (unsigned i = 0; i < GUEST_MAX_NICS; i++)
		fd_close(c->nics[i].fd);
	for (unsigned i = 0; i < GUEST_MAX_CHANNELS; i++) {
		free(c->channels[i].name);
		fd_close(c->channels[i].fd);
	}
	fd_close(c->kvm_fd);
	fd_close(c->kernel_fd);
	fd_close(c->initrd_fd);
	fd_close(c->console_fd);
	free(c->name);
	free(c->machine);
	free(c->cpu);
	free(c->kvm_why);
	free(c->kernel_path);
	free(c->initrd_path);
	free(c->append);
	memset(c, 0, sizeof(*c));
}

int guest_config_check(const struct guest_config *c, struct err *err)
{
	if (!c->name[0] || strlen(c->name) > GUEST_MAX_NAME)
		return err_set(err, -EINVAL, "the name must have 1 to %d bytes", GUEST_MAX_NAME);
	for (const char *p = c->name; *p; p++) {
		if (*p <= ' ' || *p >= 0x7f || *p == '/')
			return err_set(err, -EINVAL,
				       "the name may hold printable ASCII without "
				       "spaces and slashes only");
	}
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
	if (c->kernel_fd < 0)
		return err_set(err, -EINVAL, "no kernel was given: use --kernel FILE");
	return 0;
}

/* --- encoding --- */

struct guest_encoder {
	int *fds;
	size_t n_fds;
};

/* The descriptor's index in the message; -1 for none. */
static int guest_put_fd(struct guest_encoder *e, int fd)
{
	if (fd < 0)
		return -1;
	e->fds[e->n_fds] = fd;
	return (int)e->n_fds++;
}

static json_t *guest_encode_disk(struct guest_encoder *e, const struct guest_disk *d)
{
	int fd = guest_put_fd(e, d->fd);
	int overlay = guest_put_fd(e, d->overlay_fd);

	return json_pack("{s:o, s:i, s:i, s:b, s:s}", "path", proto_text(d->path), "fd", fd,
			 "overlay", overlay, "readonly", d->is_readonly, "cache",
			 guest_word(&guest_cache_words, (int)d->cache));
}

static json_t *guest_encode_nic(struct guest_encoder *e, const struct guest_nic *n)
{
	json_t *mac = json_array();

	for (size_t i = 0; i < sizeof(n->mac); i++)
		json_array_append_new(mac, json_integer(n->mac[i]));
	return json_pack("{s:s, s:i, s:o}", "kind", guest_word(&guest_net_words, (int)n->kind),
			 "fd", guest_put_fd(e, n->fd), "mac", mac);
}

static json_t *guest_encode_channel(struct guest_encoder *e, const struct guest_channel *c)
{
	return json_pack("{s:s, s:i}", "name", c->name, "fd", guest_put_fd(e, c->fd));
}

char *guest_config_encode(const struct guest_config *c, int *out_fds, size_t *out_n_fds)
{
	struct guest_encoder e = {.fds = out_fds};
	json_t *disks = json_array(), *nics = json_array(), *channels = json_array(), *root;
	int kvm = guest_put_fd(&e, c->kvm_fd);
	int kernel = guest_put_fd(&e, c->kernel_fd);
	int initrd = guest_put_fd(&e, c->initrd_fd);
	int console = guest_put_fd(&e, c->console_fd);
	char *text;

	for (unsigned i = 0; i < c->n_disks; i++)
		json_array_append_new(disks, guest_encode_disk(&e, &c->disks[i]));
	for (unsigned i = 0; i < c->n_nics; i++)
		json_array_append_new(nics, guest_encode_nic(&e, &c->nics[i]));
	for (unsigned i = 0; i < c->n_channels; i++)
		json_array_append_new(channels, guest_encode_channel(&e, &c->channels[i]));
	root = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:I, s:i, s:o*, s:i, s:i, s:o*, s:o*, "
			 "s:s, s:o, s:o, s:o, s:s, s:i, s:s, s:s, s:b}",
			 "version", GUEST_CONFIG_VERSION, "name", c->name, "machine", c->machine,
			 "cpu", c->cpu, "accel", guest_word(&guest_accel_words, (int)c->accel),
			 "cpus", (int)c->n_cpus, "memory", (json_int_t)c->memory, "kvm", kvm,
			 "kvm-why", proto_text(c->kvm_why), "kernel", kernel, "initrd", initrd,
			 "kernel-path", proto_text(c->kernel_path), "initrd-path",
			 proto_text(c->initrd_path), "append", c->append, "disks", disks, "nics",
			 nics, "channels", channels, "console",
			 guest_word(&guest_console_words, (int)c->console), "console-fd", console,
			 "on-reboot", guest_word(&guest_on_reboot_words, (int)c->on_reboot),
			 "on-crash", guest_word(&guest_on_crash_words, (int)c->on_crash),
			 "debug-exit", c->has_debug_exit);
	assert(root); /* guest_config_check refuses what is no text */
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	*out_n_fds = e.n_fds;
	return text;
}

/* --- decoding --- */

struct guest_decoder {
	int fds[GUEST_CONFIG_MAX_FDS]; /* -1 once taken */
	size_t n_fds;
	struct err *err;
};

/* Takes the descriptor with this index; -1 gives -1. Each may be taken once. */
static int guest_take_fd(struct guest_decoder *d, int index, int *out)
{
	*out = -1;
	if (index == -1)
		return 0;
	if (index < 0 || (size_t)index >= d->n_fds || d->fds[index] < 0)
		return err_set(d->err, -EINVAL, "configuration: no descriptor %d", index);
	*out = fd_take(d->fds[index]);
	return 0;
}

static int guest_take_word(struct guest_decoder *d, const struct guest_words *w, const char *word,
			   int *out)
{
	*out = guest_word_value(w, word);
	if (*out < 0)
		return err_set(d->err, -EINVAL, "configuration: unknown word '%s'", word);
	return 0;
}

static int guest_decode_disk(struct guest_decoder *d, json_t *from, struct guest_disk *out)
{
	int fd, overlay, readonly, cache, r;
	const char *path, *word;
	json_error_t why;

	if (json_unpack_ex(from, &why, JSON_STRICT, "{s:s, s:i, s:i, s:b, s:s}", "path", &path,
			   "fd", &fd, "overlay", &overlay, "readonly", &readonly, "cache",
			   &word) < 0)
		return err_set(d->err, -EINVAL, "configuration: disk: %s", why.text);
	out->path = str_dup(path);
	out->is_readonly = readonly;
	r = guest_take_fd(d, fd, &out->fd);
	if (!r)
		r = guest_take_fd(d, overlay, &out->overlay_fd);
	if (!r)
		r = guest_take_word(d, &guest_cache_words, word, &cache);
	if (!r)
		out->cache = (enum guest_cache)cache;
	return r;
}

static int guest_decode_nic(struct guest_decoder *d, json_t *from, struct guest_nic *out)
{
	int fd, kind, mac[6], r;
	json_error_t why;
	const char *word;

	if (json_unpack_ex(from, &why, JSON_STRICT, "{s:s, s:i, s:[iiiiii!]}", "kind", &word, "fd",
			   &fd, "mac", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) < 0)
		return err_set(d->err, -EINVAL, "configuration: nic: %s", why.text);
	for (int i = 0; i < 6; i++)
		out->mac[i] = (u8)mac[i];
	r = guest_take_fd(d, fd, &out->fd);
	if (!r)
		r = guest_take_word(d, &guest_net_words, word, &kind);
	if (!r)
		out->kind = (enum guest_net)kind;
	return r;
}

static int guest_decode_channel(struct guest_decoder *d, json_t *from, struct guest_channel *out)
{
	json_error_t why;
	const char *name;
	int fd;

	if (json_unpack_ex(from, &why, JSON_STRICT, "{s:s, s:i}", "name", &name, "fd", &fd) < 0)
		return err_set(d->err, -EINVAL, "configuration: channel: %s", why.text);
	if (!name[0] || strlen(name) > GUEST_MAX_CHANNEL_NAME)
		return err_set(d->err, -EINVAL, "a channel's name has 1 to %d bytes",
			       GUEST_MAX_CHANNEL_NAME);
	out->name = str_dup(name);
	return guest_take_fd(d, fd, &out->fd);
}

static int guest_decode_lists(struct guest_decoder *d, json_t *disks, json_t *nics,
			      json_t *channels, struct guest_config *c)
{
	if (json_array_size(disks) > GUEST_MAX_DISKS || json_array_size(nics) > GUEST_MAX_NICS ||
	    json_array_size(channels) > GUEST_MAX_CHANNELS)
		return err_set(d->err, -EINVAL,
			       "configuration: more than %d disks, %d nics or %d channels",
			       GUEST_MAX_DISKS, GUEST_MAX_NICS, GUEST_MAX_CHANNELS);
	for (; c->n_channels < json_array_size(channels); c->n_channels++) {
		int r = guest_decode_channel(d, json_array_get(channels, c->n_channels),
					     &c->channels[c->n_channels]);
		if (r < 0)
			return r;
	}
	for (; c->n_disks < json_array_size(disks); c->n_disks++) {
		int r = guest_decode_disk(d, json_array_get(disks, c->n_disks),
					  &c->disks[c->n_disks]);
		if (r < 0)
			return r;
	}
	for (; c->n_nics < json_array_size(nics); c->n_nics++) {
		int r = guest_decode_nic(d, json_array_get(nics, c->n_nics), &c->nics[c->n_nics]);
		if (r < 0)
			return r;
	}
	return 0;
}

static void guest_replace(char **at, const char *value)
{
	free(*at);
	*at = str_dup(value);
}

static int guest_decode_root(struct guest_decoder *d, json_t *root, struct guest_config *c)
{
	const char *name, *machine, *cpu, *accel, *append, *console, *on_reboot, *on_crash;
	const char *kvm_why = NULL, *kernel_path = NULL, *initrd_path = NULL;
	int version, n_cpus, kvm, kernel, initrd, console_fd, debug_exit, word, r;
	json_t *disks, *nics, *channels;
	json_int_t memory;
	json_error_t why;

	if (json_unpack_ex(root, &why, JSON_STRICT,
			   "{s:i, s:s, s:s, s:s, s:s, s:i, s:I, s:i, s?:s, s:i, s:i, s?:s, s?:s, "
			   "s:s, s:o, s:o, s:o, s:s, s:i, s:s, s:s, s:b}",
			   "version", &version, "name", &name, "machine", &machine, "cpu", &cpu,
			   "accel", &accel, "cpus", &n_cpus, "memory", &memory, "kvm", &kvm,
			   "kvm-why", &kvm_why, "kernel", &kernel, "initrd", &initrd, "kernel-path",
			   &kernel_path, "initrd-path", &initrd_path, "append", &append, "disks",
			   &disks, "nics", &nics, "channels", &channels, "console", &console,
			   "console-fd", &console_fd, "on-reboot", &on_reboot, "on-crash",
			   &on_crash, "debug-exit", &debug_exit) < 0)
		return err_set(d->err, -EINVAL, "configuration: %s", why.text);
	if (version != GUEST_CONFIG_VERSION)
		return err_set(d->err, -EINVAL,
			       "configuration of version %d; this program knows %d", version,
			       GUEST_CONFIG_VERSION);
	guest_replace(&c->name, name);
	guest_replace(&c->machine, machine);
	guest_replace(&c->cpu, cpu);
	guest_replace(&c->append, append);
	guest_replace(&c->kvm_why, kvm_why);
	guest_replace(&c->kernel_path, kernel_path);
	guest_replace(&c->initrd_path, initrd_path);
	c->n_cpus = (unsigned)n_cpus;
	c->memory = (u64)memory;
	c->has_debug_exit = debug_exit;
	if ((r = guest_take_word(d, &guest_accel_words, accel, &word)) < 0)
		return r;
	c->accel = (enum guest_accel)word;
	if ((r = guest_take_word(d, &guest_console_words, console, &word)) < 0)
		return r;
	c->console = (enum guest_console)word;
	if ((r = guest_take_word(d, &guest_on_reboot_words, on_reboot, &word)) < 0)
		return r;
	c->on_reboot = (enum guest_on_reboot)word;
	if ((r = guest_take_word(d, &guest_on_crash_words, on_crash, &word)) < 0)
		return r;
	c->on_crash = (enum guest_on_crash)word;
	if ((r = guest_take_fd(d, kvm, &c->kvm_fd)) < 0 ||
	    (r = guest_take_fd(d, kernel, &c->kernel_fd)) < 0 ||
	    (r = guest_take_fd(d, initrd, &c->initrd_fd)) < 0 ||
	    (r = guest_take_fd(d, console_fd, &c->console_fd)) < 0)
		return r;
	return guest_decode_lists(d, disks, nics, channels, c);
}

int guest_config_decode(const char *text, size_t size, const int *fds, size_t n_fds,
			struct guest_config *out, struct err *err)
{
	struct guest_decoder d = {.n_fds = n_fds, .err = err};
	struct guest_config c;
	json_error_t why;
	json_t *root;
	int r;

	assert(n_fds <= GUEST_CONFIG_MAX_FDS);
	memcpy(d.fds, fds, n_fds * sizeof(fds[0]));
	guest_config_init(&c);
	root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
	if (root)
		r = guest_decode_root(&d, root, &c);
	else
		r = err_set(err, -EINVAL, "configuration: %s", why.text);
	json_decref(root);
	for (size_t i = 0; i < n_fds; i++)
		fd_close(d.fds[i]);
	if (!r)
		r = guest_config_check(&c, err);
	if (r < 0)
		guest_config_fini(&c);
	else
		*out = c;
	return r;
}
