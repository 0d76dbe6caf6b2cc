/*
 * Confinement of a process that handles what a guest says: layers that each hold by themselves, all of
 * them before the first guest instruction.
 *
 * The launcher's part (confine_fork) gives the process a pid namespace, and to an ordinary user's a
 * user namespace; the process does the rest: namespaces, an empty root, a uid of its own, no
 * privileges, Landlock, limits, and a seccomp filter around the process and one for each thread role.
 * The filters are compiled at build time from the `syscalls` files of the folders whose code runs in
 * the process. What is not listed fails with EPERM.
 *
 * Layers that a host doesn't offer are left out and said in the report; the others hold without them.
 */
#ifndef CONFINE_CONFINE_H
#define CONFINE_CONFINE_H

#include <sys/types.h>

#include "base/base.h"

struct err;

enum confine_role {
	CONFINE_MAIN,
	CONFINE_IO,
	CONFINE_VCPU,
	CONFINE_ROLES,
};

/* A file of the new root. */
struct confine_file {
	char path[64]; /* absolute */
	void *bytes;
	size_t n_bytes;
};

struct confine_options {
	/* Can be read still, with its directory, as files are replaced by renaming; NULL: nothing. */
	const char *readable_file;
	/* What the new root has, to be read; without a root of our own there is none of it. Borrowed. */
	const struct confine_file *files;
	unsigned n_files;
	uid_t uid;               /* and gid, of its own; 0: those it has */
	bool is_bound_to_parent; /* dies with its parent */
	bool has_network;        /* keeps the host's network ... */
	u16 tcp_port;   /* ... and connects to this port alone, where Landlock can say it; 0: any */
	bool has_files; /* keeps the host's files: neither a root of its own, nor Landlock */
};

/* For people, and lists of words for programs: "Landlock ABI 7, limits", "uid (why it isn't)". */
struct confine_report {
	char in_force[320];
	char missing[384];
	u64 addresses, data;   /* in use at the beginning, in bytes */
	bool has_own_uid;      /* that no other process has */
	bool has_own_users;    /* a user namespace in which there is nobody else */
	bool has_own_root;     /* a root directory of its own */
	bool is_without_files; /* none can be opened by name, but what is to be readable */
};

/* Adds to the list of what holds, or of what doesn't. */
void printf_like(2, 3) confine_note(struct confine_report *r, const char *fmt, ...);
void printf_like(2, 3) confine_note_missing(struct confine_report *r, const char *fmt, ...);

/*
 * As fork(2), but the child is the first process of a pid namespace, and, when started by an ordinary
 * user, in a user namespace in which it has the capabilities to make the others. Where the host
 * forbids both it is a plain fork. For a process with one thread.
 */
pid_t confine_fork(void);

/*
 * The whole process, before threads are started: everything but the filters. All descriptors that
 * need a name or a right were opened before. It isn't dumpable afterwards (so not ptraceable by its
 * user). Fails when what was asked for, or what every host can give, can't be had.
 */
int confine_process(const struct confine_options *o, struct confine_report *out, struct err *err);

/* What the process may use from now on, at most; before threads are started, or after. */
struct confine_limits {
	u64 memory;         /* bytes of its own, guest memory included */
	unsigned n_threads; /* the kernel's for io_uring included */
};
int confine_limit(const struct confine_limits *l, struct confine_report *report, struct err *err);

/*
 * The calling thread and those that it starts from now on: what any role may do, starting threads,
 * and entering a role. Threads that were started before enter a role by themselves.
 */
int confine_setup(struct err *err);

/* The calling thread, for good. */
int confine_thread(enum confine_role role, struct err *err);

#endif
