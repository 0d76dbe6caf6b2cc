/*
 * posada run: options to a launch request. What they mean on the host is launch/'s matter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/err.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/conf.h"
#include "cmd/posada/options.h"
#include "cmd/posada/run.h"
#include "launch/launch.h"

struct run_option {
	const char *name;
	const char *value; /* how it is called in the help; NULL: the option has none */
	int (*parse)(struct launch_request *q, char *value, struct err *err);
	const char *help;
};

/* --- values --- */

/* strtoul would take a space and a sign, too. */
static bool run_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int run_parse_word(const struct guest_words *words, const char *text, int *out,
			  struct err *err)
{
	char all[128] = "";

	*out = guest_word_value(words, text);
	if (*out >= 0)
		return 0;
	for (int i = 0; words->words[i]; i++) {
		strcat(all, i ? ", " : "");
		strcat(all, words->words[i]);
	}
	return err_set(err, -EINVAL, "there is no '%s'; there is: %s", text, all);
}

static int run_parse_on_off(const char *text, bool *out, struct err *err)
{
	if (strcmp(text, "on") && strcmp(text, "off"))
		return err_set(err, -EINVAL, "'%s' is neither on nor off", text);
	*out = text[1] == 'n';
	return 0;
}

/* Splits "key=value"; the value, or NULL where there is no '='. */
static char *run_split_key(char *word)
{
	char *eq = strchr(word, '=');

	if (!eq)
		return NULL;
	*eq = '\0';
	return eq + 1;
}

/* --- options --- */

#define RUN_TEXT_OPTION(name, member)                                                              \
	static int run_##name(struct launch_request *q, char *value, struct err *err)              \
	{                                                                                          \
		(void)err;                                                                         \
		q->member = value;                                                                 \
		return 0;                                                                          \
	}
RUN_TEXT_OPTION(name, name)
RUN_TEXT_OPTION(machine, machine)
RUN_TEXT_OPTION(cpu, cpu)
RUN_TEXT_OPTION(kernel, kernel)
RUN_TEXT_OPTION(initrd, initrd)
RUN_TEXT_OPTION(append, append)

#define RUN_WORD_OPTION(name, words, type)                                                         \
	static int run_##name(struct launch_request *q, char *value, struct err *err)              \
	{                                                                                          \
		int got;                                                                           \
		int r = run_parse_word(&(words), value, &got, err);                                \
		if (!r)                                                                            \
			q->name = (type)got;                                                       \
		return r;                                                                          \
	}
RUN_WORD_OPTION(engine, guest_engine_words, enum guest_engine)
RUN_WORD_OPTION(on_reboot, guest_on_reboot_words, enum guest_on_reboot)
RUN_WORD_OPTION(on_crash, guest_on_crash_words, enum guest_on_crash)

static int run_seed(struct launch_request *q, const char *value, struct err *err)
{
	char *end;

	errno = 0;
	q->seed = strtoul(value, &end, 0);
	q->has_seed = true;
	if (*end || errno || !run_is_digit(value[0]) || !q->seed)
		return err_set(err, -EINVAL, "seed '%s' is no number from 1 to 2^64 - 1", value);
	return 0;
}

static int run_accel_word(struct launch_request *q, char *word, struct err *err)
{
	char *value = run_split_key(word);
	int clock, r;

	if (value && !strcmp(word, "clock")) {
		r = run_parse_word(&guest_clock_words, value, &clock, err);
		if (!r)
			q->clock = (enum guest_clock)clock;
		return r;
	}
	if (value && !strcmp(word, "seed"))
		return run_seed(q, value, err);
	if (value && !strcmp(word, "lockstep"))
		return run_parse_on_off(value, &q->is_lockstep, err);
	if (value && !strcmp(word, "perf") && !strcmp(value, "map")) {
		q->perf = LAUNCH_PERF_MAP;
		return 0;
	}
	if (value && !strcmp(word, "perf") && !strcmp(value, "jitdump")) {
		q->perf = LAUNCH_PERF_JITDUMP;
		return 0;
	}
	return err_set(err, -EINVAL,
		       "an accelerator has no option '%s'; soft has: clock=insn, seed=N, "
		       "lockstep=on, perf=map, perf=jitdump",
		       word);
}

static int run_accel(struct launch_request *q, char *value, struct err *err)
{
	char *save, *word = strtok_r(value, ",", &save);
	int accel, r = run_parse_word(&guest_accel_words, word ? word : "", &accel, err);

	if (!r)
		q->accel = (enum guest_accel)accel;
	while (!r && (word = strtok_r(NULL, ",", &save)))
		r = run_accel_word(q, word, err);
	return r;
}

static int run_cpus(struct launch_request *q, char *value, struct err *err)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (end == value || *end || !run_is_digit(value[0]))
		return err_set(err, -EINVAL, "'%s' is not a number of CPUs", value);
	if (n < 1 || n > GUEST_MAX_CPUS)
		return err_set(err, -EINVAL, "%s CPUs: a guest has 1 to %d", value, GUEST_MAX_CPUS);
	q->n_cpus = (unsigned)n;
	return 0;
}

static int run_memory(struct launch_request *q, char *value, struct err *err)
{
	int r = option_size(value, &q->memory, err);

	if (!r && (q->memory < GUEST_MIN_MEMORY || q->memory > GUEST_MAX_MEMORY))
		return err_set(err, -EINVAL, "%s of memory: a guest has %lu MiB to %lu GiB", value,
			       GUEST_MIN_MEMORY / MIB, GUEST_MAX_MEMORY / GIB);
	return r;
}

/* "4096", "10M": a number of bytes, or of anything. */
static int run_parse_amount(const char *text, u64 *out, struct err *err)
{
	static const char units[] = "KMG";
	const char *unit;
	u64 scale = 1;
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (run_is_digit(text[0]) && *end && (unit = strchr(units, *end)) && !end[1]) {
		scale = KIB << 10 * (unit - units);
		end++;
	}
	if (!run_is_digit(text[0]) || *end || n > GUEST_LIMIT_MAX / scale)
		return err_set(err, -EINVAL, "'%s' is no amount; write 5000, 512K, 10M or 1G",
			       text);
	*out = n * scale;
	return 0;
}

/* What disks and network cards have in common: 1 when the word was one of these. */
static int run_limit_word(struct guest_limits *l, bool *is_packed, const char *word,
			  const char *value, struct err *err)
{
	const struct {
		const char *name;
		u64 *amount;
	} rows[] = {{"limit-bps", &l->bytes},
		    {"limit-iops", &l->ops},
		    {"burst-bytes", &l->burst_bytes},
		    {"burst-ops", &l->burst_ops}};
	int r;

	if (value && !strcmp(word, "packed")) {
		r = run_parse_on_off(value, is_packed, err);
		return r < 0 ? r : 1;
	}
	for (size_t i = 0; value && i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].name, word))
			continue;
		r = run_parse_amount(value, rows[i].amount, err);
		return r < 0 ? r : 1;
	}
	return 0;
}

/* What every device may say of itself: 1 when it was that. */
static int run_place_word(const char **name, unsigned *slot, const char *word, char *value,
			  struct err *err)
{
	unsigned long n;
	char *end;

	if (value && !strcmp(word, "name")) {
		if (!guest_device_name_is_valid(value))
			return err_set(
				err, -EINVAL,
				"name=%s: a device's name has letters, digits, '.', '_' and '-'",
				value);
		*name = value;
		return 1;
	}
	if (!value || strcmp(word, "slot"))
		return 0;
	n = strtoul(value, &end, 10);
	if (*end || n < 1 || n > GUEST_MAX_SLOTS)
		return err_set(err, -EINVAL, "slot=%s: slots have numbers from 1 to %d", value,
			       GUEST_MAX_SLOTS);
	*slot = (unsigned)n;
	return 1;
}

static int run_disk_key(struct launch_disk *d, const char *word, const char *value, struct err *err)
{
	struct launch_disk_key *k = &d->keys[d->n_keys];
	char *end;
	unsigned long fd = 0;

	if (d->n_keys == LAUNCH_DISK_KEYS)
		return err_set(err, -E2BIG, "at most %d passphrases", LAUNCH_DISK_KEYS);
	if (!strcmp(word, "key-fd")) {
		fd = strtoul(value, &end, 10);
		if (*end || !run_is_digit(value[0]) || fd > INT32_MAX)
			return err_set(err, -EINVAL, "key-fd=%s: it is a descriptor's number",
				       value);
		value = NULL;
	}
	*k = (struct launch_disk_key){value, (int)fd};
	d->n_keys++;
	return 0;
}

static int run_disk_word(struct launch_disk *d, char *word, struct err *err)
{
	char *value = run_split_key(word);
	int cache, on_error, r;
	u64 n;

	r = run_limit_word(&d->limits, &d->is_packed, word, value, err);
	if (r)
		return MIN(r, 0);
	if (value && !strcmp(word, "queues")) {
		r = run_parse_amount(value, &n, err);
		if (r < 0)
			return r;
		if (n < 1 || n > GUEST_MAX_DISK_QUEUES)
			return err_set(err, -EINVAL, "%s queues: a disk has 1 to %u", value,
				       GUEST_MAX_DISK_QUEUES);
		d->n_queues = (unsigned)n;
		return 0;
	}
	if (value && !strcmp(word, "readonly"))
		return run_parse_on_off(value, &d->is_readonly, err);
	if (value && !strcmp(word, "share"))
		return run_parse_on_off(value, &d->is_shared, err);
	if (value && !strcmp(word, "on-error")) {
		r = run_parse_word(&guest_on_error_words, value, &on_error, err);
		if (!r)
			d->on_error = (enum guest_on_error)on_error;
		return r;
	}
	if (value && !strcmp(word, "backing-format")) {
		d->backing_format = value;
		return 0;
	}
	if (value && !strcmp(word, "allow")) {
		if (d->n_allowed == LAUNCH_DISK_ALLOWS)
			return err_set(err, -E2BIG, "at most %d of allow=", LAUNCH_DISK_ALLOWS);
		d->allowed[d->n_allowed++] = value;
		return 0;
	}
	if (value && (!strcmp(word, "key-file") || !strcmp(word, "key-fd")))
		return run_disk_key(d, word, value, err);
	if (value && !strcmp(word, "format")) {
		d->format = value;
		return 0;
	}
	if (value && !strcmp(word, "cache")) {
		r = run_parse_word(&guest_cache_words, value, &cache, err);
		if (!r)
			d->cache = (enum guest_cache)cache;
		return r;
	}
	r = run_place_word(&d->name, &d->slot, word, value, err);
	if (r)
		return MIN(r, 0);
	return err_set(
		err, -EINVAL,
		"a disk has no option '%s'; there is: format=qcow2, key-file=PATH, key-fd=N, "
		"allow=PATH, "
		"backing-format=raw, readonly=on, cache=none, share=on, "
		"on-error=pause, queues=2, "
		"packed=on, limit-bps=10M, limit-iops=1000, burst-bytes=64M, burst-ops=5000, "
		"name=data, slot=4",
		word);
}

static int run_disk(struct launch_request *q, char *value, struct err *err)
{
	struct launch_disk *d = &q->disks[q->n_disks];
	char *save, *word = strtok_r(value, ",", &save);
	int r = 0;

	if (q->n_disks == GUEST_MAX_DISKS)
		return err_set(err, -EINVAL, "a guest has at most %d disks", GUEST_MAX_DISKS);
	if (!word)
		return err_set(err, -EINVAL, "it needs a path");
	d->path = word;
	while (!r && (word = strtok_r(NULL, ",", &save)))
		r = run_disk_word(d, word, err);
	q->n_disks++;
	return r ? r : guest_limits_check(&d->limits, err);
}

/* The words that every network has: 1 when it was one. */
static int run_net_number(struct launch_net *n, const char *word, const char *value,
			  struct err *err)
{
	bool is_queues = !strcmp(word, "queues");
	unsigned long number;
	char *end;

	if (!value || (strcmp(word, "mtu") && !is_queues))
		return 0;
	number = strtoul(value, &end, 10);
	if (end == value || *end || !number || number > UINT16_MAX)
		return err_set(err, -EINVAL, "%s=%s is no number that it can have", word, value);
	*(is_queues ? &n->n_queues : &n->mtu) = (unsigned)number;
	return 1;
}

static int run_tap_word(struct launch_net *n, char *word, struct err *err)
{
	char *value = run_split_key(word);
	int r = run_net_number(n, word, value, err);

	if (!r)
		r = run_limit_word(&n->limits, &n->is_packed, word, value, err);
	if (!r)
		r = run_place_word(&n->name, &n->slot, word, value, err);
	if (r)
		return MIN(r, 0);
	return err_set(err, -EINVAL,
		       "a tap has no option '%s'; there is: queues=2, mtu=1400, packed=on, "
		       "limit-bps=10M, limit-iops=1000, burst-bytes=64M, burst-ops=5000, "
		       "name=lan, slot=4",
		       word);
}

static int run_net_word(struct launch_net *n, char *word, struct err *err)
{
	char *value = run_split_key(word);
	int r;

	if (value && !strcmp(word, "host"))
		return run_parse_on_off(value, &n->is_host_open, err);
	if (value && !strcmp(word, "backend") && !strcmp(value, "passt")) {
		n->is_passt = true;
		return 0;
	}
	if (value && !strcmp(word, "backend") && !strcmp(value, "slirp"))
		return 0;
	if (value && !strcmp(word, "forward")) {
		if (n->n_forwards == LAUNCH_MAX_FORWARDS)
			return err_set(err, -EINVAL, "at most %d forwards", LAUNCH_MAX_FORWARDS);
		n->forwards[n->n_forwards++] = value;
		return 0;
	}
	if (strcmp(word, "queues") && (r = run_net_number(n, word, value, err)))
		return MIN(r, 0);
	r = run_limit_word(&n->limits, &n->is_packed, word, value, err);
	if (!r)
		r = run_place_word(&n->name, &n->slot, word, value, err);
	if (r)
		return MIN(r, 0);
	return err_set(err, -EINVAL,
		       "the user network has no option '%s'; there is: "
		       "forward=tcp:2222:22, host=on, backend=passt, mtu=1400, packed=on, "
		       "limit-bps=10M, limit-iops=1000, burst-bytes=64M, burst-ops=5000, "
		       "name=lan, slot=4",
		       word);
}

static int run_net(struct launch_request *q, char *value, struct err *err)
{
	struct launch_net *n = &q->nets[q->n_nets];
	char *save, *word = strtok_r(value, ",", &save);
	int r = 0;

	if (word && !strcmp(word, "none"))
		return 0;
	if (q->n_nets == GUEST_MAX_NICS)
		return err_set(err, -EINVAL, "a guest has at most %d network cards",
			       GUEST_MAX_NICS);
	if (word && !strncmp(word, "tap=", 4)) {
		n->kind = LAUNCH_NET_TAP;
		n->tap = word + 4;
		while (!r && (word = strtok_r(NULL, ",", &save)))
			r = run_tap_word(n, word, err);
	} else if (word && !strcmp(word, "user")) {
		while (!r && (word = strtok_r(NULL, ",", &save)))
			r = run_net_word(n, word, err);
	} else {
		return err_set(err, -EINVAL, "'%s' is no network; there is: user, tap=IFNAME, none",
			       word ? word : "");
	}
	q->n_nets++;
	return r ? r : guest_limits_check(&n->limits, err);
}

/* It becomes a file's name in the guest. */
static bool run_is_channel_name(const char *name)
{
	for (const char *p = name; *p; p++) {
		if (*p <= ' ' || *p >= 0x7f || *p == '/')
			return false;
	}
	return name[0] && strlen(name) <= GUEST_MAX_CHANNEL_NAME;
}

static int run_channel(struct launch_request *q, char *value, struct err *err)
{
	struct launch_channel *c = &q->channels[q->n_channels];
	char *path = run_split_key(value);

	if (q->n_channels == GUEST_MAX_CHANNELS)
		return err_set(err, -EINVAL, "a guest has at most %d channels", GUEST_MAX_CHANNELS);
	if (!path || !path[0] || !run_is_channel_name(value))
		return err_set(err, -EINVAL,
			       "write NAME=PATH; a name has at most %d printable ASCII "
			       "characters without spaces and slashes",
			       GUEST_MAX_CHANNEL_NAME);
	c->name = value;
	c->path = path;
	q->n_channels++;
	return 0;
}

static int run_balloon_seconds(const char *text, unsigned *out, struct err *err)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !run_is_digit(text[0]) || n > GUEST_MAX_STATS)
		return err_set(err, -EINVAL, "'%s' is not a number of seconds, 0 to %d", text,
			       GUEST_MAX_STATS);
	*out = (unsigned)n;
	return 0;
}

static int run_balloon_word(struct launch_balloon *b, char *word, struct err *err)
{
	char *value = run_split_key(word);
	bool is_on;
	int r;

	if (value && !strcmp(word, "size"))
		return option_size(value, &b->size, err);
	if (value && !strcmp(word, "stats"))
		return run_balloon_seconds(value, &b->stats, err);
	if (value && !strcmp(word, "reporting")) {
		r = run_parse_on_off(value, &is_on, err);
		b->is_reporting_off = !r && !is_on;
		return r;
	}
	return err_set(err, -EINVAL,
		       "the balloon has no option '%s'; there is: off, or size=SIZE, "
		       "reporting=off, stats=SECONDS",
		       word);
}

static int run_balloon(struct launch_request *q, char *value, struct err *err)
{
	char *save, *word = strtok_r(value, ",", &save);
	int r = 0;

	q->balloon.is_off = word && !strcmp(word, "off");
	if (q->balloon.is_off && strtok_r(NULL, ",", &save))
		return err_set(err, -EINVAL, "a balloon that is off has no options");
	for (; !q->balloon.is_off && word && !r; word = strtok_r(NULL, ",", &save))
		r = run_balloon_word(&q->balloon, word, err);
	return r;
}

static int run_vsock_word(struct launch_vsock *v, char *word, struct err *err)
{
	char *value = run_split_key(word), *end;
	unsigned long cid;

	if (value && value[0] && !strcmp(word, "socket")) {
		v->path = value;
		return 0;
	}
	if (!value || strcmp(word, "cid"))
		return err_set(err, -EINVAL,
			       "guest sockets have no option '%s'; there is: cid=N, socket=PATH",
			       word);
	errno = 0;
	cid = strtoul(value, &end, 10);
	if (*end || errno || !run_is_digit(value[0]) || cid < GUEST_MIN_CID || cid > GUEST_MAX_CID)
		return err_set(err, -EINVAL, "CID '%s': a guest has %u to %u", value, GUEST_MIN_CID,
			       GUEST_MAX_CID);
	v->cid = (u32)cid;
	return 0;
}

static int run_vsock(struct launch_request *q, char *value, struct err *err)
{
	char *save;
	int r = 0;

	q->vsock.cid = GUEST_MIN_CID;
	for (char *word = strtok_r(value, ",", &save); word && !r;
	     word = strtok_r(NULL, ",", &save))
		r = run_vsock_word(&q->vsock, word, err);
	return r;
}

static int run_console(struct launch_request *q, char *value, struct err *err)
{
	if (!strcmp(value, "stdio")) {
		q->console = LAUNCH_CONSOLE_STDIO;
	} else if (!strcmp(value, "pty")) {
		q->console = LAUNCH_CONSOLE_PTY;
	} else if (!strcmp(value, "none")) {
		q->console = LAUNCH_CONSOLE_NONE;
	} else if (!strncmp(value, "socket=", 7) && value[7]) {
		q->console = LAUNCH_CONSOLE_SOCKET;
		q->console_path = value + 7;
	} else {
		return err_set(err, -EINVAL,
			       "'%s' is no console; there is: stdio, pty, socket=PATH, "
			       "none",
			       value);
	}
	return 0;
}

static int run_escape(struct launch_request *q, char *value, struct err *err)
{
	if (!strcmp(value, "none")) {
		q->escape = 0;
		return 0;
	}
	/* ^@ would be byte 0, which stands for none. */
	if (value[0] != '^' || value[1] <= '@' || value[1] > '_' || value[2])
		return err_set(err, -EINVAL, "'%s' is no key; write ^] for Ctrl-], or none", value);
	q->escape = value[1] & 0x1f;
	return 0;
}

static int run_snapshot(struct launch_request *q, char *value, struct err *err)
{
	(void)value;
	(void)err;
	q->is_snapshot = true;
	return 0;
}

/* Has been read by now (conf_load). */
static int run_config(struct launch_request *q, char *value, struct err *err)
{
	(void)q;
	(void)value;
	(void)err;
	return 0;
}

static int run_quiet(struct launch_request *q, char *value, struct err *err)
{
	(void)value;
	(void)err;
	q->is_quiet = true;
	return 0;
}

static int run_uids(struct launch_request *q, char *value, struct err *err)
{
	if (!strcmp(value, "none")) {
		q->uids.n = 0;
		return 0;
	}
	return confine_uids_parse(value, &q->uids, err);
}

static int run_limit_memory_overhead(struct launch_request *q, char *value, struct err *err)
{
	q->is_unlimited = !strcmp(value, "off");
	if (q->is_unlimited)
		return 0;
	if (option_size(value, &q->limit_overhead, err) < 0)
		return err->code;
	if (q->limit_overhead < LAUNCH_MIN_OVERHEAD)
		return err_set(err, -EINVAL, "%s: a guest's processes need at least %lu MiB", value,
			       LAUNCH_MIN_OVERHEAD / MIB);
	return 0;
}

static int run_detach(struct launch_request *q, char *value, struct err *err)
{
	(void)value;
	(void)err;
	q->is_detached = true;
	return 0;
}

static int run_debug_exit(struct launch_request *q, char *value, struct err *err)
{
	(void)value;
	(void)err;
	q->has_debug_exit = true;
	return 0;
}

static const struct run_option run_options[] = {
	{"name", "NAME", run_name, "the guest's name, for messages (default: guest)"},
	{"accel", "auto|kvm|soft[,OPTION]...", run_accel,
	 "who runs its instructions; auto takes KVM where the hardware helps\n"
	 "(default: auto); soft takes clock=insn, seed=N, lockstep=on, perf=map, perf=jitdump"},
	{"engine", "auto|interpreter|translator", run_engine,
	 "how the software CPU executes; auto translates hot code (default: auto)"},
	{"machine", "pc-1", run_machine, "the board and its version (default: pc-1)"},
	{"cpu", "posada-v2|posada-v3|posada-base|host", run_cpu,
	 "what the guest takes its processor for (default: posada-v2)"},
	{"cpus", "N", run_cpus, "number of CPUs, 1 to 32 (default: 1)"},
	{"memory", "SIZE", run_memory, "guest memory: 512M, 2G (default: 512M)"},
	{"kernel", "FILE", run_kernel, "kernel to start: bzImage, ELF or multiboot"},
	{"initrd", "FILE", run_initrd, "its initial RAM disk, or multiboot module"},
	{"append", "STRING", run_append, "its command line"},
	{"disk", "PATH[,OPTION]...", run_disk,
	 "an image or block device; format=raw|qcow2|vmdk|vdi|vpc|vhdx|luks, readonly=on,\n"
	 "allow=PATH and backing-format=NAME for what the image names,\n"
	 "key-file=PATH or key-fd=N with its passphrase, share=on,\n"
	 "cache=writeback|none|writethrough|directsync|unsafe,\n"
	 "on-error=pause-if-full|report|pause, queues=N, packed=on,\n"
	 " limit-bps=N, limit-iops=N, burst-bytes=N, burst-ops=N; repeatable"},
	{"net", "user|tap=IFNAME|none", run_net,
	 "a network card; user takes forward=tcp:HOSTPORT:GUESTPORT, host=on,\n"
	 "backend=passt, a tap queues=N, both mtu=N and a disk's packed, limits and\n"
	 "bursts; repeatable"},
	{"channel", "NAME=PATH", run_channel,
	 "a named port, /dev/virtio-ports/NAME in the guest, as UNIX socket PATH on\n"
	 "the host; repeatable"},
	{"balloon", "off|OPTION[,OPTION]...", run_balloon,
	 "size=SIZE: leave the guest so much at first; reporting=off: keep the memory\n"
	 "that it doesn't use; stats=SECONDS between questions for its figures"},
	{"vsock", "cid=N[,socket=PATH]", run_vsock,
	 "guest sockets (AF_VSOCK): the guest's number, 3 and up; and where its\n"
	 "connections begin (PATH) and end (PATH_PORT) on the host"},
	{"console", "stdio|pty|socket=PATH|none", run_console,
	 "where the serial console goes (default: stdio)"},
	{"escape", "^KEY|none", run_escape, "the key that opens the menu (default: ^])"},
	{"snapshot", NULL, run_snapshot,
	 "keep the disks as they are: what the guest writes is\n"
	 "forgotten at the end"},
	{"on-reboot", "restart|stop", run_on_reboot, "when the guest resets (default: restart)"},
	{"on-crash", "stop|restart|pause", run_on_crash,
	 "when the guest reports a panic (default: stop)"},
	{"uids", "FIRST-LAST|none", run_uids,
	 "when root runs it: uids of which each of its processes gets one to itself\n"
	 "(default: 2000000000-2000065535)"},
	{"limit-memory-overhead", "SIZE|off", run_limit_memory_overhead,
	 "the control group's limit beyond the guest's memory (default: by its size);\n"
	 "off: no control group"},
	{"config", "FILE|none", run_config,
	 "read this file of defaults, or none, instead of /etc/posada/posada.conf\n"
	 "and ~/.config/posada/posada.conf"},
	{"detach", NULL, run_detach,
	 "go to the background once the guest runs; see posada console, stop"},
	{"quiet", NULL, run_quiet, "don't say which accelerator was taken"},
	{"debug-exit", NULL, run_debug_exit,
	 "give the guest the exit port that test kernels use (0xf4)"},
};

static const char run_more[] =
	"\nExit status: 0 the guest powered off, 1 it could not be started or its host failed\n"
	"it, 2 the guest panicked, or reset with --on-reboot stop.\n\n"
	"Example:\n"
	"  posada run --kernel vmlinuz --append 'console=ttyS0 root=/dev/vda' \\\n"
	"      --disk root.img --net user,forward=tcp:2222:22 --memory 1G --cpus 2\n";

int run_parse_option(const char *name, struct launch_request *q, char *value, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(run_options); i++) {
		if (!strcmp(run_options[i].name, name))
			return run_options[i].parse(q, value, err);
	}
	return err_set(err, -EINVAL, "there is no such option");
}

static int run_take(void *to, const struct option_row *row, char *value, struct err *err)
{
	return run_parse_option(row->name, to, value, err);
}

void run_fill_table(struct run_table *out)
{
	static_assert(ARRAY_SIZE(run_options) <= CONF_MAX_OPTIONS, "all options fit");
	out->table = (struct option_table){
		.command = "run",
		.usage = "--kernel FILE [OPTIONS]",
		.summary = "Runs a virtual machine in the foreground: no daemon, no root. Ctrl-] "
			   "opens a "
			   "menu.",
		.rows = out->rows,
		.n_rows = ARRAY_SIZE(run_options),
		.more = run_more,
		.parse = conf_note,
	};
	for (size_t i = 0; i < ARRAY_SIZE(run_options); i++)
		out->rows[i] = (struct option_row){.name = run_options[i].name,
						   .value = run_options[i].value,
						   .help = run_options[i].help};
}

static const struct launch_request run_defaults = {.n_cpus = 1,
						   .memory = 512 * MIB,
						   .balloon.stats = GUEST_BALLOON_STATS,
						   .uids = CONFINE_UIDS_DEFAULT,
						   .escape = RUN_ESCAPE_DEFAULT};

int run_check(const struct conf *c, struct err *err)
{
	struct launch_request q = run_defaults;

	return conf_apply(c, run_take, &q, err);
}

int cmd_run(int argc, char **argv)
{
	struct launch_request q = run_defaults;
	struct err err = ERR_INIT;
	struct conf conf = {0};
	struct run_table t;
	int status;

	run_fill_table(&t);
	status = options_parse(&t.table, argc, argv, &conf, NULL);
	if (status == OPTIONS_RUN &&
	    (conf_load(&conf, &t.table, &err) < 0 || conf_apply(&conf, run_take, &q, &err) < 0)) {
		fprintf(stderr, "posada: %s\n", err.text);
		status = LAUNCH_FAILED;
	}
	if (status == OPTIONS_RUN)
		status = launch_run(&q);
	conf_fini(&conf);
	return status;
}
