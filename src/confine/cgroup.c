/*
 * Control groups. See cgroup.h.
 *
 * A guest's group is a directory posada-NAME below a place that takes new groups: in version 1 the
 * launcher's own group; in version 2, where a group that has processes can't have limited children,
 * the launcher's own when it was delegated (the launcher then moves to a leaf beside the guest), or
 * for root a group `posada` at the top. The directory is locked by flock(2) while its launcher lives:
 * one that can be locked by another is left over from a launcher that was killed.
 */
#include "confine/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"

#define CGROUP_PREFIX "posada-"
#define CGROUP_TRIES  16

static const char *const cgroup_controllers[] = {"memory", "pids"};

/* --- files --- */

static int cgroup_write(const char *dir, const char *file, const char *text)
{
	AUTO(free) char *path = str_format("%s/%s", dir, file);
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));
}

static int cgroup_write_number(const char *dir, const char *file, u64 n)
{
	char text[24];

	snprintf(text, sizeof(text), "%lu", n);
	return cgroup_write(dir, file, text);
}

/* Is word one of the list's, which sep divides? */
static bool cgroup_has_word(const char *list, char sep, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p; p = strchr(p, sep) ? strchr(p, sep) + 1 : NULL) {
		if (!strncmp(p, word, n) && (!p[n] || p[n] == sep || p[n] == '\n'))
			return true;
	}
	return false;
}

/* --- where groups are (cgroups(7), proc(5)) --- */

/* Our own group in the hierarchy of a controller; NULL controller: version 2's. free() it. */
static char *cgroup_own(const char *controller)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX + 256], *found = NULL;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		names++;
		if (controller ? cgroup_has_word(names, ',', controller) : !*names)
			found = str_dup(path);
	}
	if (f)
		fclose(f);
	return found;
}

/* Where that hierarchy is mounted, whole. free() it. */
static char *cgroup_mount(const char *controller)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[PATH_MAX + 512], root[PATH_MAX], at[PATH_MAX], type[32], options[256];
	char *found = NULL, *rest;

	while (f && !found && fgets(line, sizeof(line), f)) {
		rest = strstr(line, " - ");
		if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", root, at) != 2 ||
		    sscanf(rest, " - %31s %*s %255s", type, options) != 2 || strcmp(root, "/"))
			continue;
		if (controller
			    ? !strcmp(type, "cgroup") && cgroup_has_word(options, ',', controller)
			    : !strcmp(type, "cgroup2"))
			found = str_dup(at);
	}
	if (f)
		fclose(f);
	return found;
}

/* The directory of our own group. free() it; NULL: there is no such hierarchy. */
static char *cgroup_own_dir(const char *controller)
{
	AUTO(free) char *own = cgroup_own(controller);
	AUTO(free) char *mount = own ? cgroup_mount(controller) : NULL;

	return mount ? str_format("%s%s", mount, strcmp(own, "/") ? own : "") : NULL;
}

/* --- version 2 --- */

static int cgroup_enable(const char *dir)
{
	return cgroup_write(dir, "cgroup.subtree_control", "+memory +pids");
}

/* systemd marks what it delegated. */
static bool cgroup_is_delegated(const char *dir)
{
	char one;

	return (getxattr(dir, "user.delegate", &one, 1) == 1 ||
		getxattr(dir, "trusted.delegate", &one, 1) == 1) &&
	       one == '1';
}

/* A group with processes has no limited children: we move to a leaf, alone we must be. */
static int cgroup_make_room(const char *own)
{
	AUTO(free) char *leaf = str_format("%s/" CGROUP_PREFIX "launcher", own);
	int r;

	if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
		return -errno;
	r = cgroup_write_number(leaf, "cgroup.procs", (u64)getpid());
	if (!r)
		r = cgroup_enable(own);
	if (r < 0) {
		cgroup_write_number(own, "cgroup.procs", (u64)getpid());
		rmdir(leaf);
	}
	return r;
}

/* For root, where nothing was delegated: a group of ours at the top. */
static int cgroup_make_top(const char *mount, char **out)
{
	AUTO(free) char *top = str_format("%s/posada", mount);
	int r = cgroup_enable(mount);

	if (!r && mkdir(top, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (!r)
		r = cgroup_enable(top);
	if (!r)
		*out = take(top);
	return r;
}

static int cgroup_find_v2(char **out)
{
	AUTO(free) char *mount = cgroup_mount(NULL);
	AUTO(free) char *own = cgroup_own_dir(NULL);
	int r;

	if (!mount || !own)
		return -ENODEV;
	if (!cgroup_is_delegated(own))
		return cgroup_make_top(mount, out);
	r = cgroup_make_room(own);
	if (!r)
		*out = take(own);
	return r;
}

/* --- a guest's directory --- */

/* The lock, held; -EWOULDBLOCK: its launcher lives; -ENOENT: it is gone. */
static int cgroup_lock(const char *path)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat ours, there;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	/* It may have been removed and made again meanwhile. */
	if (fstat(fd, &ours) < 0 || stat(path, &there) < 0 || ours.st_ino != there.st_ino)
		return -ENOENT;
	return fd_take(fd);
}

/* What killed launchers left. One that still has processes stays. */
static void cgroup_clear_left_over(const char *place)
{
	DIR *dir = opendir(place);
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		AUTO(free) char *path = str_format("%s/%s", place, e->d_name);
		AUTO_FD int lock = -1;

		if (strncmp(e->d_name, CGROUP_PREFIX, strlen(CGROUP_PREFIX)))
			continue;
		lock = cgroup_lock(path);
		if (lock >= 0)
			rmdir(path);
	}
	if (dir)
		closedir(dir);
}

/* Two guests may have the same name, in different registries: then the second gets a number. */
static int cgroup_make_dir(const char *place, const char *name, char **out, int *out_lock)
{
	int r = -EEXIST;

	cgroup_clear_left_over(place);
	for (unsigned i = 0; i < CGROUP_TRIES; i++) {
		AUTO(free)
		char *path = i ? str_format("%s/" CGROUP_PREFIX "%s.%u", place, name, i)
			       : str_format("%s/" CGROUP_PREFIX "%s", place, name);

		if (mkdir(path, 0755) < 0) {
			r = -errno;
			if (r == -EEXIST)
				continue;
			return r;
		}
		r = cgroup_lock(path);
		if (r >= 0) {
			*out_lock = r;
			*out = take(path);
			return 0;
		}
		rmdir(path);
	}
	return r;
}

static int cgroup_make_v1(const char *name, struct confine_cgroup *g)
{
	for (unsigned i = 0; i < CONFINE_CGROUP_CONTROLLERS; i++) {
		AUTO(free) char *own = cgroup_own_dir(cgroup_controllers[i]);
		int r = own ? cgroup_make_dir(own, name, &g->paths[i], &g->locks[i]) : -ENODEV;

		if (r < 0)
			return r;
	}
	return 0;
}

static int cgroup_make_v2(const char *name, struct confine_cgroup *g)
{
	AUTO(free) char *place = NULL;
	int r = cgroup_find_v2(&place);

	g->is_v2 = true;
	if (!r)
		r = cgroup_make_dir(place, name, &g->paths[0], &g->locks[0]);
	return r;
}

static int cgroup_set_limits(const struct confine_cgroup *g,
			     const struct confine_cgroup_limits *limits)
{
	const char *pids = g->is_v2 ? g->paths[0] : g->paths[CONFINE_CGROUP_PIDS];
	int r = cgroup_write_number(g->paths[CONFINE_CGROUP_MEMORY],
				    g->is_v2 ? "memory.max" : "memory.limit_in_bytes",
				    limits->memory);

	return r ? r : cgroup_write_number(pids, "pids.max", limits->n_processes);
}

int confine_cgroup_make(const char *name, const struct confine_cgroup_limits *limits,
			struct confine_cgroup *out, struct err *err)
{
	AUTO(free) char *v1 = cgroup_own_dir("memory");
	int r;

	*out = (struct confine_cgroup)CONFINE_CGROUP_INIT;
	r = v1 ? cgroup_make_v1(name, out) : cgroup_make_v2(name, out);
	if (!r)
		r = cgroup_set_limits(out, limits);
	if (!r)
		return 0;
	confine_cgroup_remove(out);
	return err_errno(err, r, "no control group for the guest");
}

int confine_cgroup_add(const struct confine_cgroup *g, pid_t pid, struct err *err)
{
	for (unsigned i = 0; i < CONFINE_CGROUP_CONTROLLERS; i++) {
		int r = g->paths[i] ? cgroup_write_number(g->paths[i], "cgroup.procs", (u64)pid)
				    : 0;

		if (r < 0)
			return err_errno(err, r, "cannot use the control group %s", g->paths[i]);
	}
	return 0;
}

/* "oom_kill N" in a file of both versions. */
unsigned confine_cgroup_oom_kills(const struct confine_cgroup *g)
{
	const char *dir = g->paths[CONFINE_CGROUP_MEMORY];
	AUTO(free)
	char *path = str_format("%s/%s", dir ? dir : "",
				g->is_v2 ? "memory.events" : "memory.oom_control");
	FILE *f = dir ? fopen(path, "re") : NULL;
	char line[64];
	unsigned n = 0;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "oom_kill %u", &n);
	if (f)
		fclose(f);
	return n;
}

void confine_cgroup_remove(struct confine_cgroup *g)
{
	for (unsigned i = 0; i < CONFINE_CGROUP_CONTROLLERS; i++) {
		if (g->paths[i])
			rmdir(g->paths[i]);
		free(g->paths[i]);
		fd_close(g->locks[i]);
	}
	*g = (struct confine_cgroup)CONFINE_CGROUP_INIT;
}
