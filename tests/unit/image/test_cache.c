/*
 * Cache modes, down to the file's system calls: what a write without a write cache waits for, and what
 * an unsafe disk leaves out. The C library's functions are ours here, and count.
 */
#define _GNU_SOURCE 1
#include "format_check.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "block/io.h"
#include "test.h"

static unsigned n_syncs, n_durable;
static unsigned n_open; /* writes that no sync has followed */

int fdatasync(int fd)
{
	int r = (int)syscall(SYS_fdatasync, fd);

	__atomic_store_n(&n_open, 0, __ATOMIC_RELEASE);
	__atomic_add_fetch(&n_syncs, 1, __ATOMIC_ACQ_REL);
	return r;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	bool is_durable = flags & RWF_DSYNC;

	__atomic_add_fetch(is_durable ? &n_durable : &n_open, 1, __ATOMIC_ACQ_REL);
	return syscall(SYS_pwritev2, fd, iov, n, offset, 0l, flags);
}

static struct loop *loop;
static u8 text[64 * KIB];

static int begin(const struct img_format *f)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
	memset(text, 'a', sizeof(text));
	return format_new(loop, f, 4 * MIB, f == &img_luks ? "iter-time=1" : NULL);
}

/* Its steps are calls of ours: by threads. */
static struct blk *open_as(const struct img_format *f, int fd, bool is_unsafe)
{
	const struct blk_raw_options raw = {.is_container = f != &img_raw,
					    .is_unsafe = is_unsafe,
					    .engine = BLK_ENGINE_THREADS};
	const struct img_open_options o = {.loop = loop, .secrets = &format_secret, .n_secrets = 1};
	struct err err = ERR_INIT;
	struct blk *file, *b;

	CHECK_EQ(blk_raw_new(loop, fcntl(fd, F_DUPFD_CLOEXEC, 0), &raw, &file, &err), 0);
	if (img_open(f, file, &o, &b, &err) < 0)
		fail_msg("%s", err.text);
	n_syncs = n_durable = n_open = 0;
	return b;
}

static void write_at(struct blk *b, u64 offset, bool is_fua)
{
	struct iovec iov = {text, sizeof(text)};
	struct blk_request r = {.op = BLK_WRITE,
				.is_fua = is_fua,
				.offset = offset,
				.bytes = sizeof(text),
				.iov = &iov,
				.n_iov = 1};

	CHECK_EQ(blk_wait(b, &r), 0);
}

/* What VHDX changes in place after that is in its log, which was synced. */
static bool is_all_synced(const struct img_format *f)
{
	return f == &img_vhdx || !n_open;
}

static void end(struct blk *b, int fd)
{
	blk_free(b);
	close(fd);
	loop_free(loop);
}

static const struct img_format *const formats[] = {&img_raw,  &img_qcow2, &img_vdi, &img_vhd,
						   &img_vhdx, &img_vmdk,  &img_luks};

#define FOR_EACH_FORMAT(f) for (size_t f##_i = 0; f##_i < ARRAY_SIZE(formats); f##_i++)
#define FORMAT(f)          formats[f##_i]

TEST(without_a_write_cache_each_write_is_on_stable_storage_when_it_is_done)
{
	FOR_EACH_FORMAT(f)
	{
		int fd = begin(FORMAT(f));
		struct blk *b = open_as(FORMAT(f), fd, false);

		for (unsigned i = 0; i < 8; i++) {
			unsigned before = n_syncs + n_durable;

			write_at(b, i * 384 * KIB, true);
			CHECK(n_syncs + n_durable > before);
			CHECK(is_all_synced(FORMAT(f)));
		}
		end(b, fd);
	}
}

TEST(with_one_a_write_waits_for_nothing_and_a_flush_for_all)
{
	FOR_EACH_FORMAT(f)
	{
		int fd = begin(FORMAT(f));
		struct blk *b = open_as(FORMAT(f), fd, false);

		for (unsigned i = 0; i < 8; i++)
			write_at(b, i * 64 * KIB, false);
		CHECK(n_open > 0);
		CHECK_EQ(blk_flush(b), 0);
		CHECK(n_syncs > 0);
		CHECK(is_all_synced(FORMAT(f)));
		end(b, fd);
	}
}

TEST(an_unsafe_disk_syncs_nothing_and_holds_what_was_written)
{
	static u8 got[sizeof(text)];

	FOR_EACH_FORMAT(f)
	{
		int fd = begin(FORMAT(f));
		struct blk *b = open_as(FORMAT(f), fd, true);

		write_at(b, 0, false);
		CHECK_EQ(blk_flush(b), 0);
		write_at(b, 384 * KIB, true);
		CHECK_EQ(blk_flush(b), 0);
		CHECK(n_open > 0);
		blk_free(b);
		CHECK_EQ(n_syncs + n_durable, 0);
		b = open_as(FORMAT(f), fd, true);
		CHECK_EQ(blk_read(b, 384 * KIB, got, sizeof(got)), 0);
		CHECK_MEM(got, text, sizeof(got));
		end(b, fd);
	}
}
