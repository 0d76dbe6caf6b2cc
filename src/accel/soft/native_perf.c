/*
 * Names of native code for perf(1), in one of two ways. The map, /tmp/perf-PID.map, has a line for each piece, in the order
 * in which they were made; perf looks there for code that is in no file. A file of jitdump has the code, too, and when it
 * was made, so that perf can show its instructions and tell what stood at an address at different times; perf learns
 * of the file by a mapping of it that may be executed (the marker).
 *
 * The file was opened by who started us. The marker is a page far behind its end: nothing can be read or executed
 * there, whatever is written to the file.
 */
#include "accel/soft/native_perf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "accel/soft/native_priv.h"
#include "base/alloc.h"
#include "base/err.h"
#include "base/jitdump_wire.h"

#define MARKER_OFFSET  (1ll << 40)
#define NAME_MAX_BYTES 64

int sx_perf_init(struct sx_perf *p, int fd, struct err *err)
{
	struct jitdump_header_wire h;

	*p = (struct sx_perf){.fd = fd};
	if (fd < 0 || pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.magic != JITDUMP_MAGIC)
		return 0;
	p->pid = h.pid;
	p->marker = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, MARKER_OFFSET);
	if (p->marker == MAP_FAILED) {
		p->marker = NULL;
		return err_errno(
			err, -errno,
			"perf's file can't be mapped to be executed, which tells perf of it");
	}
	return 0;
}

void sx_perf_fini(struct sx_perf *p)
{
	if (p->marker)
		munmap(p->marker, PAGE_SIZE);
}

bool sx_perf_wants(const struct sx_perf *p)
{
	return __atomic_load_n(&p->fd, __ATOMIC_RELAXED) >= 0;
}

/* In one piece, since other vCPUs write there, too. A full disk ends it. */
static void put(struct sx_perf *p, const void *bytes, size_t size)
{
	if (write(__atomic_load_n(&p->fd, __ATOMIC_RELAXED), bytes, size) != (ssize_t)size)
		__atomic_store_n(&p->fd, -1, __ATOMIC_RELAXED);
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void put_line(struct sx_perf *p, const u8 *exec, u64 size, const char *what)
{
	char line[2 * 20 + NAME_MAX_BYTES];

	put(p, line,
	    (size_t)snprintf(line, sizeof(line), "%lx %lx %s\n", (u64)(uintptr_t)exec, size, what));
}

static void put_record(struct sx_perf *p, const u8 *exec, u64 size, const char *what)
{
	size_t name_size = strlen(what) + 1,
	       total = sizeof(struct jitdump_load_wire) + name_size + size;
	u8 *record = mem_alloc(1, total);
	struct jitdump_load_wire load = {
		.kind = JITDUMP_LOAD,
		.total_size = (u32)total,
		.timestamp = now_ns(),
		.pid = p->pid,
		.tid = p->pid,
		.vma = (u64)(uintptr_t)exec,
		.address = (u64)(uintptr_t)exec,
		.code_size = size,
		.index = __atomic_fetch_add(&p->index, 1, __ATOMIC_RELAXED),
	};

	memcpy(record, &load, sizeof(load));
	memcpy(record + sizeof(load), what, name_size);
	memcpy(record + sizeof(load) + name_size, exec, size);
	put(p, record, total);
	free(record);
}

static void name(struct sx_native *n, const u8 *exec, u64 size, const char *what)
{
	if (n->perf->pid)
		put_record(n->perf, exec, size, what);
	else
		put_line(n->perf, exec, size, what);
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
	if (sx_perf_wants(n->perf))
		name(n, n->exec, n->common, "posada: between guest code");
}

void sx_native_name_block(struct sx_native *n, u64 lin, u32 mode, const u8 *exec, u64 size)
{
	char what[NAME_MAX_BYTES];

	if (!sx_perf_wants(n->perf))
		return;
	snprintf(what, sizeof(what), "guest %#lx %s cpl%u", lin, mode_name(mode),
		 mode & SX_MODE_USER ? 3u : 0u);
	name(n, exec, size, what);
}
