/*
 * The launcher's inside, shared by its files.
 */
#ifndef LAUNCH_LAUNCH_PRIV_H
#define LAUNCH_LAUNCH_PRIV_H

#include <sys/types.h>

#include "client/registry.h"
#include "confine/cgroup.h"
#include "confine/selinux.h"
#include "confine/uid.h"
#include "launch/launch.h"

/* A confined process, and its uid: 0, and no lock, where it is ours. */
struct launch_uid {
	pid_t pid;
	pid_t adder; /* a child that moves it to its control group; 0: none */
	uid_t uid;
	int lock;
};

/* How often something was tried, and since when. */
struct launch_tries {
	unsigned n;
	u64 since_ns;
};

/* Everything a run holds besides the configuration; closed and reaped at its end. */
struct launch {
	const struct launch_request *request;
	struct guest_config config;
	struct registry_entry entry;
	int control;     /* our end of the control socket */
	int console;     /* our end of the console, for stdio; else -1 */
	int detach_pipe; /* to be told that the guest runs; -1: it does, or we stay in the foreground */
	int terminal; /* where it was started; -1: stderr is that, or it doesn't matter any more */
	pid_t vmm;    /* 0: not started */
	pid_t helpers[GUEST_MAX_NICS + 1]; /* networks, and posada-vsock */
	unsigned n_helpers;
	pid_t net_helpers[GUEST_MAX_NICS]; /* of each network card; 0: none of ours */
	struct launch_tries net_tries[GUEST_MAX_NICS];
	int ready[GUEST_MAX_NICS + 1]; /* a pipe each, on which helpers say that they are ready */
	const char *ready_for[GUEST_MAX_NICS + 1]; /* the option that each is there for */
	unsigned n_ready;
	struct launch_uid uids[2 + GUEST_MAX_NICS]; /* of confined processes that live */
	unsigned n_uids;
	bool leaves_helpers; /* they outlive us, and hold their uid's lock themselves */
	struct confine_cgroup cgroup;
	char no_cgroup[160]; /* why there is none; empty: there is, or none was wanted */
	char *socket_paths[GUEST_MAX_CHANNELS + 2]; /* sockets that we made, to be removed */
	unsigned n_sockets;
};

/* resolve.c: opens and checks all names of the request into l->config. */
int launch_resolve(struct launch *l, struct err *err);
int launch_open_disk(const struct launch_disk *d, bool is_snapshot, struct guest_disk *out,
		     struct err *err);
/* The other files of the image in fd, which stays the caller's, into out's list. */
int launch_open_disk_files(const struct launch_disk *d, int fd, bool is_readonly,
			   struct guest_disk *out, struct err *err);

/* remote.c: a disk that is no file (block/uri.h). *out: the socket to its connector. */
int launch_open_remote(const char *name, bool is_readonly, int *out, struct err *err);

/* blk_lock_fd, with some patience. */
int launch_lock_disk(int fd, bool is_readonly, struct err *err);

int launch_open_file(const char *path, int *out, struct err *err); /* regular, not empty */
int launch_check_memory(u64 memory, struct err *err);
int launch_open_kvm(struct guest_config *c, struct err *err);

/* restore.c: the same for a guest that goes on from a file. */
int launch_resolve_saved(struct launch *l, struct err *err);
/* The network as on the command line: free() it. */
char *launch_net_text(const struct launch_net *n);

/* perf_map.c: the file where perf looks for the guest process's code. */
int launch_open_perf(struct launch *l, struct err *err);

/* register.c: takes the guest's name, makes its control socket; then tells who runs it. */
int launch_register(struct launch *l, struct err *err);
int launch_publish(struct launch *l, struct err *err);

/* net.c: the nics, and the processes behind them. */
int launch_open_net(struct launch *l, const struct launch_net *n, struct guest_nic *out,
		    struct err *err);
/* Their start takes as long as the VMM's: they are started first and waited for last. */
int launch_wait_helpers(struct launch *l, struct err *err);
/* They end by themselves, with their streams. */
void launch_leave_helpers(struct launch *l);

/* vsock.c: the process that makes the connections of the guest's sockets; path: NULL for none but the
 * guest's own place. */
int launch_open_vsock(struct launch *l, const char *path, struct err *err);

/* The request's network of that number; remembers the process behind it. */
int launch_open_nth_net(struct launch *l, unsigned i, struct guest_nic *out, struct err *err);

/* reconnect.c: a message from the guest process. When a network card has lost its network, that is seen
 * to, and what to tell the person returned: free() it. */
char *launch_on_net_event(struct launch *l, const char *text, size_t size);

/* console.c: makes the console's two ends, and the channels' sockets. */
int launch_open_console(struct launch *l, struct err *err);
int launch_open_channels(struct launch *l, struct err *err);
/* Makes and listens on a UNIX socket, which is removed at the run's end. */
int launch_listen(struct launch *l, const char *path, int *out, struct err *err);

/* detach.c */
/* Forks: true in the process that goes on. In the other, false with *out_status, or with an error. */
bool launch_detach(struct launch *l, int *out_status, struct err *err);
int launch_detach_log(struct launch *l, struct err *err); /* once there is a registry entry */
int launch_detach_done(struct launch *l);                 /* the guest runs */
/* A line on stderr, and on the terminal where a detached guest is just being started. */
#define LAUNCH_MAX_PREFIX (GUEST_MAX_NAME + 16)
/* "posada[NAME]", how each of its lines begins; "posada" while it has no name. */
const char *launch_prefix(const struct launch *l, char *text, size_t size);
void launch_say(const struct launch *l, const char *fmt, ...) printf_like(2, 3);

/* spawn.c */
/* A program that stands beside ours (or in the build tree, or in libexec): free() the path. */
char *launch_find_program(const char *name);
struct launch_program {
	const char *path;
	const char *const *argv;
	const int *fds; /* become its descriptors 3, 4, ... */
	size_t n_fds;
	int error_fd;      /* where its words go, and not to our stderr; 0: they do */
	bool is_confined;  /* it confines itself with what confine_fork gives it */
	bool is_labelled;  /* gets an SELinux label of its own, where the host has them */
	const char *label; /* launch_spawn_confined's: that label; NULL: what the policy says */
};
#define LAUNCH_MAX_SPAWN_FDS 8
#define LAUNCH_MAX_ARGS      (16 + 2 * LAUNCH_MAX_FORWARDS)
/* Starts it in a session of its own, stdin from /dev/null. */
int launch_spawn(const struct launch_program *p, pid_t *out, struct err *err);

/* contain.c: the guest's control group, where there may be one; before its processes are started. */
int launch_make_cgroup(struct launch *l, struct err *err);
/* A uid for a process that is to be confined; the lock is the caller's to keep or hand on. Neither where we aren't root. */
int launch_take_uid(const struct confine_uids *range, struct launch_uid *out, struct err *err);
/* Starts a program that confines itself: with a uid of its own where we are root, in the group. */
int launch_spawn_confined(struct launch *l, const struct launch_program *p, pid_t *out,
			  struct err *err);
/* Kills it, waits for it, gives its uid back. */
void launch_end_process(struct launch *l, pid_t pid);
void launch_end_contained(struct launch *l); /* when all processes have been ended */

/* Ends what is still there and waits for it; removes the socket. */
void launch_end(struct launch *l);

/* events.c: one of the guest process's events; false: not of a device. */
bool launch_on_event(struct launch *l, const char *text, size_t size);

/* relay.c: console, menu, control events and signals, until the guest stopped. */
int launch_relay(struct launch *l);

#endif
