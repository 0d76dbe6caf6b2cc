/*
 * Disks that are no files: a process is started that makes the connections to them (src/remote), and
 * the socket to it is what the confined process gets instead of a file.
 *
 * It lives as long as somebody has that socket, whoever that is: a guest to which a disk was attached
 * has it beyond its starter's end.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/uri.h"
#include "launch/launch_priv.h"

static int remote_find_program(const struct blk_uri *u, char **out, struct err *err)
{
	*out = launch_find_program(u->is_rbd ? "posada-rbd" : "posada-nbd");
	if (access(*out, X_OK) == 0)
		return 0;
	free(take(*out));
	return err_set(err, -ENOTSUP, "this posada can't do that: it was built without %s",
		       u->is_rbd ? "Ceph's librbd" : "posada-nbd");
}

/* It keeps the lock of its uid, if it has one of its own, for as long as it lives. */
static int remote_spawn(const char *program, const char *name, bool is_readonly, int sock,
			const struct launch_uid *own, struct err *err)
{
	const int fds[] = {sock, own->lock};
	char uid[16];
	const char *argv[6] = {program};
	const struct launch_program p = {.path = program,
					 .argv = argv,
					 .fds = fds,
					 .n_fds = own->uid ? 2 : 1,
					 .is_confined = true};
	size_t n = 1;
	pid_t pid; /* nobody waits for it */

	snprintf(uid, sizeof(uid), "%u", own->uid);
	if (is_readonly)
		argv[n++] = "--readonly";
	if (own->uid) {
		argv[n++] = "--uid";
		argv[n++] = uid;
	}
	argv[n] = name;
	return launch_spawn(&p, &pid, err);
}

static int remote_spawn_contained(const char *program, const char *name, bool is_readonly, int sock,
				  struct err *err)
{
	const struct confine_uids range = CONFINE_UIDS_DEFAULT;
	struct launch_uid own;
	int r = launch_take_uid(&range, &own, err);

	if (r == 0)
		r = remote_spawn(program, name, is_readonly, sock, &own, err);
	fd_close(own.lock);
	return r;
}

int launch_open_remote(const char *name, bool is_readonly, int *out, struct err *err)
{
	AUTO(free) char *program = NULL;
	struct blk_uri uri;
	int pair[2], r = blk_uri_parse(name, &uri, err);

	if (r < 0)
		return r;
	is_readonly = is_readonly || uri.snapshot;
	r = remote_find_program(&uri, &program, err);
	blk_uri_fini(&uri);
	if (r < 0)
		return err_wrap(err, "%s", name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket");
	r = fd_set_nonblock(pair[0], true);
	if (r < 0)
		err_errno(err, r, "cannot use a socket");
	else
		r = remote_spawn_contained(program, name, is_readonly, pair[1], err);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	*out = pair[0];
	return 0;
}
