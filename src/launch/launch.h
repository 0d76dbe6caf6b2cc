/*
 * Launching: from the names that a person gave to descriptors, processes and an exit status.
 *
 * The launcher opens everything a guest needs, starts the guest process (posada-vmm) and, for a user
 * network, a posada-slirp beside it, hands the configuration and the descriptors over the control
 * socket, and then relays the console and waits. It is the guest process's parent, and the guest
 * ends with it. Single-threaded; nothing here parses what a guest wrote.
 */
#ifndef LAUNCH_LAUNCH_H
#define LAUNCH_LAUNCH_H

#include "confine/uid.h"
#include "proto/guest_config.h"

struct err;

#define LAUNCH_MAX_FORWARDS 32
#define LAUNCH_MIN_OVERHEAD (16 * MIB)

enum launch_net_kind { LAUNCH_NET_USER, LAUNCH_NET_TAP };
enum launch_console {
	LAUNCH_CONSOLE_STDIO,
	LAUNCH_CONSOLE_PTY,
	LAUNCH_CONSOLE_SOCKET,
	LAUNCH_CONSOLE_NONE
};

struct launch_net {
	enum launch_net_kind kind;
	const char *tap;                           /* interface's name */
	const char *forwards[LAUNCH_MAX_FORWARDS]; /* "tcp:2222:22" */
	unsigned n_forwards;
	bool is_host_open; /* may the guest reach the host's loopback? */
	bool is_passt;     /* passt instead of posada-slirp */
	const char *name;  /* of the device, and its slot: as in struct guest_disk */
	unsigned slot;
	unsigned n_queues; /* of a tap; 0: one */
	unsigned mtu;      /* 0: a tap's own, or what is fastest */
	bool is_packed;
	struct guest_limits limits;
};

#define LAUNCH_DISK_ALLOWS 8
#define LAUNCH_DISK_KEYS   4

/* A passphrase: from a file, or (NULL) from an open descriptor. */
struct launch_disk_key {
	const char *file;
	int fd;
};

struct launch_disk {
	const char *path;
	const char *name; /* of the device, and its slot: as in struct guest_disk */
	unsigned slot;
	const char *format; /* of its image; NULL: raw, where the path's name says nothing else */
	/* What its image may name, beside files in its own directory: files, and directories with all in them. */
	const char *allowed[LAUNCH_DISK_ALLOWS];
	unsigned n_allowed;
	/* Passphrases: each is tried with each of its images that is encrypted. */
	struct launch_disk_key keys[LAUNCH_DISK_KEYS];
	unsigned n_keys;
	const char
		*backing_format; /* of backing files of which the image doesn't say it; or NULL */
	bool is_readonly;
	bool is_shared;   /* others write it, too, and know of each other; raw only */
	bool is_unlocked; /* somebody else sees to its lock */
	enum guest_cache cache;
	enum guest_on_error on_error;
	unsigned n_queues; /* 0: the usual number */
	bool is_packed;
	struct guest_limits limits;
};

/* A virtio port's name, and the path of the UNIX socket that stands for it on the host. */
struct launch_channel {
	const char *name, *path;
};

struct launch_balloon {
	bool is_off, is_reporting_off;
	u64 size;       /* that the guest should have at first; 0: all */
	unsigned stats; /* seconds */
};

/* A guest in a file: what it was, and whether the names in it may be followed. */
struct launch_saved {
	int fd; /* -1: none */
	struct guest_config config;
	bool is_trusted; /* nobody but us or root can have written it */
};
/* A sentence for a file that is none, or damaged. */
int launch_open_saved(const char *path, struct launch_saved *out, struct err *err);
void launch_close_saved(struct launch_saved *s); /* one with fd -1 is fine */
struct launch_vsock {
	u32 cid;          /* 0: the guest has no sockets */
	const char *path; /* NULL: the guest's own place only */
};

/* How perf(1) is to know translated code: not, by a map of names, by a file with the code in it. */
enum launch_perf { LAUNCH_PERF_NONE, LAUNCH_PERF_MAP, LAUNCH_PERF_JITDUMP };

/* What a person asked for; strings are borrowed. */
struct launch_request {
	const char *name, *machine, *cpu, *append; /* NULL: the default */
	const char *kernel, *initrd;
	enum guest_accel accel;
	enum guest_engine engine;
	enum guest_clock clock;
	u64 seed;
	bool has_seed; /* else it is 1 where one is needed */
	bool is_lockstep;
	enum launch_perf perf;
	unsigned n_cpus;
	u64 memory;
	struct launch_disk disks[GUEST_MAX_DISKS];
	unsigned n_disks;
	struct launch_net nets[GUEST_MAX_NICS];
	unsigned n_nets;
	struct launch_channel channels[GUEST_MAX_CHANNELS];
	unsigned n_channels;
	struct launch_balloon balloon;
	struct launch_vsock vsock;
	enum launch_console console;
	const char *console_path;
	int escape; /* the key that opens the menu, 1 to 31; 0: none */
	bool is_snapshot;
	enum guest_on_reboot on_reboot;
	enum guest_on_crash on_crash;
	bool has_debug_exit;
	struct confine_uids uids; /* for root: of the guest's processes, one each */
	u64 limit_overhead; /* bytes the processes may use beyond guest memory; 0: the default */
	bool is_unlimited;  /* no limit, no control group */
	bool is_detached;   /* goes to the background once the guest runs */
	bool is_quiet;      /* no words on which accelerator was taken */

	/* A guest that goes on from a file, which is taken over; NULL: it starts anew. Of the above count
	 * name, console, escape, is_quiet; nets, one for each card that it has; disks, of which there may be
	 * none: then they are opened by the names in the file. */
	struct launch_saved *saved;
	const char *restore_path;
	bool has_accel; /* accel counts, too */
	bool is_eager;
	bool catches_up; /* its wall clock */
	bool takes_changed_disks;
};

/* The exit statuses of `posada run`. */
enum launch_status {
	LAUNCH_POWERED_OFF = 0,
	LAUNCH_FAILED = 1,
	LAUNCH_CRASHED = 2, /* panic, or reset with on-reboot=stop */
};

/*
 * Runs the guest to its end; detached, until it runs. Returns an exit status: a launch_status, or with a
 * debug exit port what the test kernel wrote. Failures are explained on stderr in one sentence.
 */
int launch_run(const struct launch_request *request);

/* --- devices of a guest that runs; guest is its name --- */

/* *out_name: how the device is called there; free() it. */
int launch_add_disk(const char *guest, const struct launch_disk *d, bool is_snapshot,
		    char **out_name, struct err *err);
/*
 * Starts a block job on a running guest's disk: arguments are the command job-start's (docs/control-socket.md),
 * without target, and are taken over. target: NULL for a pull.
 */
int launch_start_job(const char *guest, struct json_t *arguments, const struct launch_disk *target,
		     struct err *err);
int launch_add_net(const char *guest, const struct launch_net *n, char **out_name, struct err *err);
/* Returns when it is gone; -ETIMEDOUT: the guest has been asked, and hasn't let go. */
int launch_remove_device(const char *guest, const char *device, bool is_forced, int timeout_ms,
			 struct err *err);

#endif
