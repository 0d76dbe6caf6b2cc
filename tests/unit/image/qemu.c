/* See qemu.h. */
#include "qemu.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "format_check.h"
#include "test.h"

static char qemu_dir[64];

void qemu_enter(void)
{
	if (system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1") != 0)
		SKIP("qemu-img and qemu-io are not installed");
	/* Where nothing waits for a disk. */
	snprintf(qemu_dir, sizeof(qemu_dir), "%s/posada-test-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	CHECK(mkdtemp(qemu_dir));
	CHECK_EQ(chdir(qemu_dir), 0);
}

void qemu_leave(void)
{
	char command[128];

	CHECK_EQ(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", qemu_dir);
	CHECK_EQ(system(command), 0);
}

static int qemu_system(const char *fmt, va_list args)
{
	char command[2048], whole[2200];
	int status;

	vsnprintf(command, sizeof(command), fmt, args);
	/* The sanitizers' library is not for others. */
	snprintf(whole, sizeof(whole), "{ %s ; } >log 2>&1", command);
	status = system(whole);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int qemu_run(const char *fmt, ...)
{
	va_list args;
	int status;

	va_start(args, fmt);
	status = qemu_system(fmt, args);
	va_end(args);
	return status;
}

void qemu_must(const char *fmt, ...)
{
	char log[1024] = "";
	va_list args;
	int status;

	va_start(args, fmt);
	status = qemu_system(fmt, args);
	va_end(args);
	if (status != 0) {
		FILE *f = fopen("log", "r");

		if (f && !fread(log, 1, sizeof(log) - 1, f))
			log[0] = 0;
		fail_msg("%s: exit status %d: %s", fmt, status, log);
	}
}

void qemu_scribble(const char *name, u64 size, u64 cluster, bool has_packed, unsigned n, u64 seed)
{
	FILE *f = fopen("script", "w");

	CHECK(f);
	srandom((unsigned)seed);
	for (unsigned i = 0; i < n; i++) {
		u64 at = (u64)random() % (size / 512) * 512;
		u64 most = MIN(size - at, random() % 4 ? 8 * KIB : 256 * KIB);
		u64 bytes = (1 + (u64)random() % (most / 512)) * 512;
		unsigned what = (unsigned)random() % (has_packed ? 12 : 10);

		if (what < 6)
			fprintf(f, "write -P %u %lu %lu\n", (unsigned)random() % 255 + 1, at,
				bytes);
		else if (what < 8)
			fprintf(f, "write -z%s %lu %lu\n", what == 6 ? " -u" : "", at, bytes);
		else if (what < 10)
			fprintf(f, "discard %lu %lu\n", at, bytes);
		else
			fprintf(f, "write -c -P %u %lu %lu\n", (unsigned)random() % 255 + 1,
				align_down(at, cluster),
				MIN(cluster, size - align_down(at, cluster)));
	}
	fclose(f);
	/* Compressed writes over what is allocated fail, and that is fine. */
	qemu_run("qemu-io -d unmap -f qcow2 %s <script", name);
}

struct blk *qemu_file(struct loop *loop, const char *name, bool is_readonly)
{
	const struct blk_raw_options o = {.is_container = true, .is_readonly = is_readonly};
	struct err err = ERR_INIT;
	struct blk *file;
	int fd = open(name, (is_readonly ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);

	if (fd < 0 || blk_raw_new(loop, fd, &o, &file, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	return file;
}

static int opener_create(void *opaque, const struct img_child *child, struct blk **out,
			 struct err *err)
{
	(void)err;
	*out = qemu_file(opaque, child->name, false);
	return 0;
}

static int opener_open(void *opaque, const struct img_child *child, struct blk **out,
		       struct err *err)
{
	const struct img_format *f = img_find_format(child->format ? child->format : "raw");
	const struct img_open_options o = {.loop = opaque,
					   .is_readonly = true,
					   .opener = qemu_opener(opaque),
					   .secrets = &format_secret,
					   .n_secrets = 1};

	if (child->role != IMG_BACKING) {
		*out = qemu_file(opaque, child->name, !child->is_writable);
		return 0;
	}
	CHECK(f);
	return img_open(f, qemu_file(opaque, child->name, true), &o, out, err);
}

const struct img_opener *qemu_opener(struct loop *loop)
{
	static struct img_opener opener = {.open = opener_open, .create = opener_create};

	opener.opaque = loop;
	return &opener;
}

static struct blk *open_with(const char *format, struct blk *file, const struct img_open_options *o)
{
	struct err err = ERR_INIT;
	struct blk *b;

	if (img_open(img_find_format(format), file, o, &b, &err) < 0)
		fail_msg("%s", err.text);
	return b;
}

struct blk *qemu_open(struct loop *loop, const char *format, const char *name, bool is_readonly)
{
	const struct img_open_options o = {.loop = loop,
					   .is_readonly = is_readonly,
					   .opener = qemu_opener(loop),
					   .secrets = &format_secret,
					   .n_secrets = 1};

	return open_with(format, qemu_file(loop, name, is_readonly), &o);
}

struct blk *qemu_open_snapshot(struct loop *loop, const char *name, const char *snapshot)
{
	const struct img_open_options o = {.loop = loop,
					   .is_readonly = true,
					   .opener = qemu_opener(loop),
					   .snapshot = snapshot};

	return open_with("qcow2", qemu_file(loop, name, true), &o);
}

void qemu_compare(struct blk *b, const char *raw)
{
	struct blk *file = qemu_file(b->loop, raw, true);
	u8 *x = mem_alloc(1, b->size + 1), *y = mem_alloc(1, b->size + 1);

	CHECK(file->size == align_up(b->size, file->block_size));
	CHECK_EQ(blk_read(b, 0, x, b->size), 0);
	CHECK_EQ(blk_read(file, 0, y, b->size), 0);
	for (u64 i = 0; i < b->size; i++) {
		if (x[i] != y[i])
			fail_msg("byte 0x%lx is %02x, not %02x", i, x[i], y[i]);
	}
	free(x);
	free(y);
	blk_free(file);
}
