/*
 * The file in which perf(1) looks for the names of code that a process made: perf's name for it has the process's id,
 * and the guest process can't open it itself. It stays, for `perf report` afterwards.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "launch/launch_priv.h"

int launch_open_perf_map(struct launch *l, struct err *err)
{
	char path[64];

	if (l->config.accel == GUEST_ACCEL_KVM || l->config.engine == GUEST_ENGINE_INTERPRETER)
		return err_set(err, -EINVAL, "--accel perf=map is for code that is translated");
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)l->vmm);
	/* Of a process that had the id before. Another user's stays, and is nothing that perf would read. */
	(void)unlink(path);
	l->config.perf_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (l->config.perf_fd < 0)
		return err_errno(err, -errno, "--accel perf=map: cannot make '%s'", path);
	return 0;
}
