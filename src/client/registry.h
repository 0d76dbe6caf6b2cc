/*
 * The registry of running guests: a directory per guest, in the runtime directory of their user.
 *
 * The runtime directory is $POSADA_RUNTIME_DIR, else /run/posada for root, else
 * $XDG_RUNTIME_DIR/posada (where that is the user's own), else /tmp/posada-UID; it is its user's own, with mode 0700. In it
 * NAME/ holds
 *
 *     lock       locked (an open file description's lock) while the guest lives: the name is taken
 *     control    the control socket
 *     console    the console's socket, of a guest that was started with --detach
 *     vsock      where connections to the guest's sockets begin, if it has --vsock
 *     info.json  who runs it, since when, by which command
 *     log        of a guest that was started with --detach; it stays when the guest has ended
 *
 * A directory whose lock is free belongs to a guest that is gone: it is cleared by whoever meets it.
 */
#ifndef CLIENT_REGISTRY_H
#define CLIENT_REGISTRY_H

#include "base/base.h"
#include "proto/guest_config.h"

struct err;
struct json_t;

#define REGISTRY_CONTROL "control"
#define REGISTRY_CONSOLE "console"
#define REGISTRY_VSOCK   "vsock"
#define REGISTRY_LOG     "log"

/* A guest of our own: its name is taken for as long as this (or a copy of lock_fd) is open. */
struct registry_entry {
	char name[GUEST_MAX_NAME + 1];
	int base_fd, dir_fd, lock_fd; /* -1: none */
};

#define REGISTRY_ENTRY_INIT                                                                        \
	{                                                                                          \
		.base_fd = -1, .dir_fd = -1, .lock_fd = -1                                         \
	}

/* Makes the runtime directory when there is none. free() the path. */
int registry_path(char **out, struct err *err);

/* name: NULL takes the first that is free of guest, guest-2, guest-3, ... -EEXIST: it is taken. */
int registry_claim(const char *name, struct registry_entry *out, struct err *err);
/* Removes what stands for the guest, but its log. One that was never claimed is fine. */
void registry_release(struct registry_entry *e);
/* Only closes: in a process that shares it with the one that will release it. */
void registry_forget(struct registry_entry *e);

/* A listening socket in the entry's directory; type is SOCK_STREAM or SOCK_SEQPACKET. */
int registry_listen(const struct registry_entry *e, const char *file, int type, int *out,
		    struct err *err);
/* Replaces the entry's info.json; info is taken over. */
int registry_write_info(const struct registry_entry *e, struct json_t *info, struct err *err);
/* Creates a file of the entry's, empty, to be written. */
int registry_create(const struct registry_entry *e, const char *file, int *out, struct err *err);

/* The names of the guests that run, sorted; free it by registry_free_names. */
int registry_list(char ***out, size_t *out_n, struct err *err);
void registry_free_names(char **names, size_t n);

/* Of a guest that runs. -ENOENT with a sentence that names those that do. */
int registry_connect(const char *name, const char *file, int type, int *out, struct err *err);
/* Until nobody holds the name any more; -ETIMEDOUT. */
int registry_wait_gone(const char *name, int timeout_ms, struct err *err);
int registry_read_info(const char *name, struct json_t **out, struct err *err);

#endif
