/*
 * The layers, each in a file of its own: the attack suite takes them apart (tests/hostile).
 *
 * Each notes in the report whether it holds, and returns a negative errno only when the process must
 * not go on without it.
 */
#ifndef CONFINE_CONFINE_PRIV_H
#define CONFINE_CONFINE_PRIV_H

#include "confine/confine.h"

/* namespaces.c: those but the user namespace; needs CAP_SYS_ADMIN in its user namespace. */
void confine_enter_namespaces(bool has_network, struct confine_report *r);

/* root.c: what stays in the new root. */
struct confine_kept {
	const char *file;  /* as it is named; NULL: nothing stays */
	char target[4096]; /* without symbolic links */
	char dir[4096];    /* target's directory */
	int fd;            /* that directory; -1: there is none */
	/* New ones, and whose they are. */
	const struct confine_file *files;
	unsigned n_files;
	uid_t uid;
};
void confine_find_kept(const struct confine_options *o, struct confine_kept *out);
/* Needs a mount namespace of its own. */
void confine_enter_root(const struct confine_kept *kept, struct confine_report *r);

/* identity.c */
int confine_enter_uid(uid_t uid, struct confine_report *r, struct err *err);
/* Unless it was made with the process. */
void confine_enter_user_namespace(struct confine_report *r);
/* All capabilities of all sets, and the way to new ones; nobody of our uid may trace us. */
int confine_drop_privileges(struct err *err);

/* landlock.c: files beneath readable_dir can be read; -1: none. */
void confine_enter_landlock(int readable_dir, const struct confine_options *o,
			    struct confine_report *r);

/* selinux.c: that which the launcher gave us; while there is /proc. */
void confine_note_label(struct confine_report *r);

/* limits.c: while there is /proc. */
void confine_count_addresses(struct confine_report *r);
/* Those that don't depend on the guest. */
int confine_enter_limits(struct err *err);

#endif
