/*
 * Names of native code for perf(1), which finds those of code that is in no file in /tmp/perf-PID.map: a line for each
 * piece, in the order in which they were made. The file was opened by who started us.
 */
#include <stdio.h>
#include <unistd.h>

#include "accel/soft/native_priv.h"

static void name(struct sx_native *n, const u8 *exec, u64 size, const char *what)
{
	char line[128];
	int length = snprintf(line, sizeof(line), "%lx %lx %s\n", (u64)(uintptr_t)exec, size, what);

	/* In one piece, since other vCPUs write there, too. A full disk ends it. */
	if (write(n->perf_fd, line, (size_t)length) != length)
		n->perf_fd = -1;
}

static const char *mode_name(u32 mode)
{
	if (mode & SX_MODE_64)
		return "64-bit";
	if (mode & SX_MODE_V86)
		return "v86";
	if (!(mode & SX_MODE_PE))
		return "real";
	return mode & SX_MODE_32 ? "32-bit" : "16-bit";
}

void sx_native_name_common(struct sx_native *n)
{
	if (n->perf_fd >= 0)
		name(n, n->exec, n->common, "posada: between guest code");
}

void sx_native_name_block(struct sx_native *n, u64 lin, u32 mode, const u8 *exec, u64 size)
{
	char what[64];

	if (n->perf_fd < 0)
		return;
	snprintf(what, sizeof(what), "guest %#lx %s cpl%u", lin, mode_name(mode),
		 mode & SX_MODE_USER ? 3u : 0u);
	name(n, exec, size, what);
}
