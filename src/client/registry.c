/*
 * The registry of running guests. See registry.h.
 *
 * All is done relative to directories that are open, so that nobody can put another directory in
 * their place meanwhile. Sockets are bound and connected by way of /proc/self/fd, since a socket's
 * path has 107 bytes at most.
 */
#include "client/registry.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"

#define REGISTRY_LOCK         "lock"
#define REGISTRY_INFO         "info.json"
#define REGISTRY_NEW_INFO     "info.new"
#define REGISTRY_MAX_INFO     (64 * KIB)
#define REGISTRY_MAX_GUESTS   4096
#define REGISTRY_CLAIM_TRIES  20
#define REGISTRY_CLAIM_PAUSE  (5 * NSEC_PER_MSEC)
#define REGISTRY_CONNECT_WAIT 5 /* seconds: for a guest whose backlog is full */

/* --- the runtime directory --- */

/* `su` leaves the variable of whoever one was before. */
static bool registry_is_ours(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_uid == geteuid();
}

static char *registry_choose_path(void)
{
	const char *own = getenv("POSADA_RUNTIME_DIR"), *user = getenv("XDG_RUNTIME_DIR");

	if (own && own[0])
		return str_dup(own);
	if (geteuid() == 0)
		return str_dup("/run/posada");
	if (user && user[0] == '/' && registry_is_ours(user))
		return str_format("%s/posada", user);
	return str_format("/tmp/posada-%u", (unsigned)geteuid());
}

/* In /tmp anybody may have made it before us. */
static int registry_check_owner(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot look at %s", path);
	if (st.st_uid != geteuid())
		return err_set(err, -EPERM, "%s belongs to another user; set POSADA_RUNTIME_DIR",
			       path);
	if (st.st_mode & 077)
		return err_set(err, -EPERM, "%s is open to other users; `chmod 700` it", path);
	return 0;
}

static int registry_open_base(int *out, struct err *err)
{
	AUTO(free) char *path = registry_choose_path();
	AUTO_FD int fd = -1;
	int r;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_errno(err, -errno, "cannot make the runtime directory %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, -errno, "cannot use the runtime directory %s", path);
	r = registry_check_owner(fd, path, err);
	if (!r)
		*out = fd_take(fd);
	return r;
}

int registry_path(char **out, struct err *err)
{
	AUTO_FD int fd = -1;
	int r = registry_open_base(&fd, err);

	if (!r)
		*out = registry_choose_path();
	return r;
}

/* --- names --- */

static int registry_set_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EAGAIN || errno == EACCES ? -EEXIST : -errno;
	return 0;
}

static bool registry_is_locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Is fd still what stands under that name? Someone may have cleared it away before it was locked. */
static bool registry_is_same(int dir_fd, const char *name, int fd)
{
	struct stat there, ours;

	return fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &ours) == 0 &&
	       there.st_ino == ours.st_ino && there.st_dev == ours.st_dev;
}

static void registry_clear(const struct registry_entry *e)
{
	static const char *const files[] = {REGISTRY_CONTROL, REGISTRY_CONSOLE, REGISTRY_VSOCK,
					    REGISTRY_NEW_INFO, REGISTRY_INFO};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlinkat(e->dir_fd, files[i], 0);
}

void registry_forget(struct registry_entry *e)
{
	fd_close(fd_take(e->lock_fd));
	fd_close(fd_take(e->dir_fd));
	fd_close(fd_take(e->base_fd));
}

void registry_release(struct registry_entry *e)
{
	if (e->lock_fd >= 0) {
		registry_clear(e);
		unlinkat(e->dir_fd, REGISTRY_LOCK, 0);
		unlinkat(e->base_fd, e->name, AT_REMOVEDIR); /* a log keeps it */
	}
	registry_forget(e);
}

/* -EEXIST: it is taken; -EAGAIN: it was cleared away meanwhile. */
static int registry_lock_entry(struct registry_entry *e)
{
	int r;

	e->dir_fd = openat(e->base_fd, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (e->dir_fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	e->lock_fd =
		openat(e->dir_fd, REGISTRY_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (e->lock_fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	r = registry_set_lock(e->lock_fd);
	if (!r && (!registry_is_same(e->base_fd, e->name, e->dir_fd) ||
		   !registry_is_same(e->dir_fd, REGISTRY_LOCK, e->lock_fd)))
		r = -EAGAIN;
	if (!r) {
		registry_clear(e);
		unlinkat(e->dir_fd, REGISTRY_LOG, 0);
	}
	return r;
}

/* e->base_fd is open; the rest is on success. */
static int registry_try(struct registry_entry *e)
{
	int r;

	if (mkdirat(e->base_fd, e->name, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = registry_lock_entry(e);
	if (r < 0) {
		fd_close(fd_take(e->lock_fd));
		fd_close(fd_take(e->dir_fd));
	}
	return r;
}

/* Patient with who looks at a dead one, or clears it away, just now. */
static int registry_try_patiently(struct registry_entry *e)
{
	const struct timespec pause = {.tv_nsec = REGISTRY_CLAIM_PAUSE};
	int r = -EAGAIN;

	for (int i = 0; i < REGISTRY_CLAIM_TRIES && (r == -EAGAIN || r == -EEXIST); i++) {
		if (i)
			nanosleep(&pause, NULL);
		r = registry_try(e);
	}
	return r;
}

static int registry_claim_name(struct registry_entry *e, const char *name, struct err *err)
{
	int r;

	if (!guest_name_is_valid(name))
		return err_set(err, -EINVAL, "'%s' can't be a guest's name", name);
	snprintf(e->name, sizeof(e->name), "%s", name);
	r = registry_try_patiently(e);
	if (r == -EEXIST)
		return err_set(err, r, "a guest '%s' runs already; choose another --name", name);
	return r < 0 ? err_errno(err, r, "cannot register the guest '%s'", name) : 0;
}

static int registry_claim_any(struct registry_entry *e, struct err *err)
{
	int r = -EEXIST;

	for (unsigned i = 1; i < REGISTRY_MAX_GUESTS && (r == -EEXIST || r == -EAGAIN);
	     i += r != -EAGAIN) {
		if (i == 1)
			snprintf(e->name, sizeof(e->name), "guest");
		else
			snprintf(e->name, sizeof(e->name), "guest-%u", i);
		r = registry_try(e);
	}
	return r < 0 ? err_errno(err, r, "cannot find a name for the guest") : 0;
}

int registry_claim(const char *name, struct registry_entry *out, struct err *err)
{
	struct registry_entry e = REGISTRY_ENTRY_INIT;
	int r = registry_open_base(&e.base_fd, err);

	if (!r)
		r = name ? registry_claim_name(&e, name, err) : registry_claim_any(&e, err);
	if (r < 0)
		registry_forget(&e);
	else
		*out = e;
	return r;
}

/* --- an entry's files --- */

static void registry_socket_path(struct sockaddr_un *addr, int dir_fd, const char *file)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", dir_fd, file);
}

int registry_listen(const struct registry_entry *e, const char *file, int type, int *out,
		    struct err *err)
{
	AUTO_FD int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;

	registry_socket_path(&addr, e->dir_fd, file);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 16) < 0)
		return err_errno(err, -errno, "cannot make the socket '%s' of guest '%s'", file,
				 e->name);
	*out = fd_take(fd);
	return 0;
}

int registry_create(const struct registry_entry *e, const char *file, int *out, struct err *err)
{
	int fd = openat(e->dir_fd, file,
			O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(err, -errno, "cannot write '%s' of guest '%s'", file, e->name);
	*out = fd;
	return 0;
}

int registry_write_info(const struct registry_entry *e, json_t *info, struct err *err)
{
	char *text = json_dumps(info, JSON_COMPACT);
	AUTO_FD int fd = -1;
	int r = registry_create(e, REGISTRY_NEW_INFO, &fd, err);

	json_decref(info);
	if (!r) {
		r = fd_write_full(fd, text, strlen(text));
		if (!r && renameat(e->dir_fd, REGISTRY_NEW_INFO, e->dir_fd, REGISTRY_INFO) < 0)
			r = -errno;
		if (r < 0)
			err_errno(err, r, "cannot write '%s' of guest '%s'", REGISTRY_INFO,
				  e->name);
	}
	free(text);
	return r;
}

/* --- who runs --- */

/* Its directory if it lives, else -ENOENT; what a dead one left behind is removed. */
static int registry_open_live(int base_fd, const char *name)
{
	struct registry_entry e = {.base_fd = base_fd, .lock_fd = -1};
	int r = -ENOENT;

	if (!guest_name_is_valid(name))
		return -ENOENT;
	snprintf(e.name, sizeof(e.name), "%s", name);
	e.dir_fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (e.dir_fd >= 0)
		e.lock_fd = openat(e.dir_fd, REGISTRY_LOCK, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (e.lock_fd >= 0 && registry_is_locked(e.lock_fd))
		r = fd_take(e.dir_fd);
	e.base_fd = dup(base_fd);
	if (e.dir_fd >= 0 && e.lock_fd >= 0 && registry_set_lock(e.lock_fd) == 0 &&
	    registry_is_same(e.dir_fd, REGISTRY_LOCK, e.lock_fd))
		registry_release(&e);
	else
		registry_forget(&e);
	return r;
}

static int registry_compare(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

/* names has room for REGISTRY_MAX_GUESTS. */
static size_t registry_read_names(int base_fd, char **names)
{
	int fd = openat(base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	size_t n = 0;

	if (!dir) {
		fd_close(fd);
		return 0;
	}
	while (n < REGISTRY_MAX_GUESTS && (d = readdir(dir))) {
		int live = registry_open_live(base_fd, d->d_name);

		if (live >= 0)
			names[n++] = str_dup(d->d_name);
		fd_close(live);
	}
	closedir(dir);
	qsort(names, n, sizeof(*names), registry_compare);
	return n;
}

int registry_list(char ***out, size_t *out_n, struct err *err)
{
	AUTO_FD int base = -1;
	char **names;
	int r = registry_open_base(&base, err);

	if (r < 0)
		return r;
	names = NEW_ARRAY(char *, REGISTRY_MAX_GUESTS);
	*out_n = registry_read_names(base, names);
	*out = names;
	return 0;
}

void registry_free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int registry_explain_missing(const char *name, struct err *err)
{
	char all[300] = "";
	char **names;
	size_t n, used = 0;
	struct err why = ERR_INIT;

	if (registry_list(&names, &n, &why) < 0)
		n = 0, names = NULL;
	for (size_t i = 0; i < n && used < sizeof(all); i++)
		used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "",
					 names[i]);
	registry_free_names(names, n);
	if (!n)
		return err_set(err, -ENOENT, "there is no guest '%s'; none is running", name);
	return err_set(err, -ENOENT, "there is no guest '%s'; running: %s%s", name, all,
		       used >= sizeof(all) ? "..." : "");
}

static int registry_find(const char *name, int *out, struct err *err)
{
	AUTO_FD int base = -1;
	int r = registry_open_base(&base, err);

	if (r < 0)
		return r;
	r = registry_open_live(base, name);
	if (r < 0)
		return registry_explain_missing(name, err);
	*out = r;
	return 0;
}

int registry_connect(const char *name, const char *file, int type, int *out, struct err *err)
{
	const struct timeval wait = {.tv_sec = REGISTRY_CONNECT_WAIT};
	AUTO_FD int dir = -1, fd = -1;
	struct sockaddr_un addr;
	int r = registry_find(name, &dir, err);

	if (r < 0)
		return r;
	registry_socket_path(&addr, dir, file);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, -errno, "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		r = -errno;
		if (r == -ENOENT || r == -ECONNREFUSED)
			return err_set(err, r, "guest '%s' has no %s to connect to", name, file);
		return err_errno(err, r, "cannot connect to guest '%s'", name);
	}
	*out = fd_take(fd);
	return 0;
}

int registry_wait_gone(const char *name, int timeout_ms, struct err *err)
{
	const struct timespec pause = {.tv_nsec = REGISTRY_CLAIM_PAUSE};
	const u64 deadline = time_mono_ns() + (u64)timeout_ms * NSEC_PER_MSEC;
	AUTO_FD int base = -1;
	int r = registry_open_base(&base, err);

	/* Nothing tells of a lock that is given back but asking for it, which would take the name. */
	while (r >= 0) {
		r = registry_open_live(base, name);
		if (r == -ENOENT)
			return 0;
		fd_close(r);
		if (time_mono_ns() > deadline)
			return err_set(err, -ETIMEDOUT,
				       "guest '%s' has ended, but its launcher has not", name);
		nanosleep(&pause, NULL);
	}
	return r;
}

int registry_read_info(const char *name, json_t **out, struct err *err)
{
	AUTO_FD int dir = -1, fd = -1;
	AUTO(free) char *text = NULL;
	ssize_t n;
	int r = registry_find(name, &dir, err);

	if (r < 0)
		return r;
	fd = openat(dir, REGISTRY_INFO, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	text = mem_alloc(1, REGISTRY_MAX_INFO);
	n = fd < 0 ? -errno : fd_pread_some(fd, text, REGISTRY_MAX_INFO, 0);
	*out = n < 0 ? NULL : json_loadb(text, (size_t)n, 0, NULL);
	if (!*out)
		return err_set(err, -EIO, "guest '%s' is just starting, or ending", name);
	return 0;
}
