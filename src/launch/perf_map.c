/*
 * The file in which perf(1) looks for translated code, or for its names: perf's name for it has the process's id, and the
 * guest process can't open it itself. It stays, for `perf report` and `perf inject` afterwards.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/jitdump_wire.h"
#include "launch/launch_priv.h"

/* Of a process that had the id before, it goes. Another user's stays, and is nothing that perf would read. */
static int open_anew(const char *path, int how, int *out, struct err *err)
{
	int fd;

	(void)unlink(path);
	fd = open(path, how | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, -errno, "--accel perf: cannot make '%s'", path);
	*out = fd;
	return 0;
}

/* perf inject puts a file for each piece of code beside it: it has a directory of its own, whose name perf doesn't take
 * for that of a map. */
static int make_directory(const char *path, struct err *err)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return 0;
	if (errno != EEXIST || lstat(path, &st) < 0)
		return err_errno(err, -errno, "--accel perf=jitdump: cannot make '%s'", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 022)
		return err_set(err, -EEXIST, "--accel perf=jitdump: '%s' isn't ours alone", path);
	return 0;
}

static int open_jitdump(pid_t vmm, int *out, struct err *err)
{
	struct jitdump_header_wire h = {
		.magic = JITDUMP_MAGIC,
		.version = JITDUMP_VERSION,
		.total_size = sizeof(h),
		.elf_machine = JITDUMP_X86_64,
		.pid = (u32)vmm,
	};
	struct timespec t;
	char directory[48], path[96];
	int fd, r;

	snprintf(directory, sizeof(directory), "/tmp/posada-%d.jit", (int)vmm);
	snprintf(path, sizeof(path), "%s/jit-%d.dump", directory, (int)vmm);
	clock_gettime(CLOCK_MONOTONIC, &t);
	h.timestamp = (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
	r = make_directory(directory, err);
	if (!r)
		r = open_anew(path, O_RDWR, &fd, err);
	if (r < 0)
		return r;
	if (write(fd, &h, sizeof(h)) != sizeof(h)) {
		close(fd);
		return err_set(err, -EIO, "--accel perf=jitdump: cannot write '%s'", path);
	}
	*out = fd;
	return 0;
}

int launch_open_perf(struct launch *l, struct err *err)
{
	char path[64];

	if (l->config.accel == GUEST_ACCEL_KVM || l->config.engine == GUEST_ENGINE_INTERPRETER)
		return err_set(err, -EINVAL, "--accel perf=%s is for code that is translated",
			       l->request->perf == LAUNCH_PERF_MAP ? "map" : "jitdump");
	if (l->request->perf == LAUNCH_PERF_JITDUMP)
		return open_jitdump(l->vmm, &l->config.perf_fd, err);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)l->vmm);
	return open_anew(path, O_RDWR, &l->config.perf_fd, err);
}
