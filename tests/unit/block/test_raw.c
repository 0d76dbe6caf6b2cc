/*
 * Raw disks on both engines: data, order of events, short and failing transfers, direct I/O. The
 * test's thread is the loop's.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/block.h"
#include "block/uring_priv.h"
#include "test.h"

#define DISK_SIZE (4 * MIB)

struct io {
	struct blk_request r; /* first */
	struct iovec iov[8];
	unsigned n_done;
	int result;
};

struct disk {
	struct loop *loop;
	struct blk *blk;
	int probe; /* the same open file */
	unsigned n_done, n_rounds;
};

static struct disk *current;

static void io_done(struct blk_request *r, int result)
{
	struct io *io = container_of(r, struct io, r);

	io->n_done++;
	io->result = result;
	current->n_done++;
}

static void disk_round(void *opaque)
{
	((struct disk *)opaque)->n_rounds++;
}

static void disk_open(struct disk *d, int fd, enum blk_engine engine, bool is_readonly)
{
	const struct blk_raw_options o = {.engine = engine, .is_readonly = is_readonly};
	struct err err = ERR_INIT;

	CHECK(fd >= 0);
	*d = (struct disk){.probe = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
	current = d;
	CHECK_EQ(loop_new(&d->loop, &err), 0);
	CHECK_EQ(blk_raw_new(d->loop, fd, &o, &d->blk, &err), 0);
	blk_set_round(d->blk, disk_round, d);
}

static void disk_close(struct disk *d)
{
	blk_free(d->blk);
	loop_free(d->loop);
	close(d->probe);
}

static int disk_memfd(u64 size)
{
	int fd = memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* On a real file system: holes and O_DIRECT behave there as they do for guests. */
static int disk_file(u64 size, int flags)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		return -1;
	CHECK_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void io_submit(struct disk *d, struct io *io, enum blk_op op, u64 offset, void *buf,
		      u64 bytes)
{
	*io = (struct io){.r = {.op = op, .offset = offset, .bytes = bytes, .done = io_done}};
	io->iov[0] = (struct iovec){.iov_base = buf, .iov_len = bytes};
	io->r.iov = io->iov;
	io->r.n_iov = 1;
	blk_submit(d->blk, &io->r);
}

static int io_wait(struct disk *d, struct io *io)
{
	blk_kick(d->blk);
	while (!io->n_done)
		loop_step(d->loop, true);
	CHECK_EQ(io->n_done, 1);
	return io->result;
}

static int io_run(struct disk *d, enum blk_op op, u64 offset, void *buf, u64 bytes)
{
	struct io io;

	io_submit(d, &io, op, offset, buf, bytes);
	CHECK_EQ(io.n_done, 0); /* never from inside */
	return io_wait(d, &io);
}

static void fill(u8 *p, size_t size, u32 seed)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (u8)((i * 31 + i / 509 + seed * 17) | 1);
}

static const enum blk_engine engines[] = {BLK_ENGINE_URING, BLK_ENGINE_THREADS};

#define FOR_EACH_ENGINE(e) for (size_t e##_i = 0; e##_i < 2; e##_i++)
#define ENGINE(e)          engines[e##_i]

static u64 disk_space(const struct disk *d)
{
	struct stat st;

	CHECK_EQ(fstat(d->probe, &st), 0);
	return (u64)st.st_blocks * 512;
}

static void disk_open_reserving(struct disk *d, int fd, enum blk_engine engine)
{
	const struct blk_raw_options o = {.engine = engine, .is_container = true, .reserves = true};
	struct err err = ERR_INIT;

	*d = (struct disk){.probe = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
	current = d;
	CHECK_EQ(loop_new(&d->loop, &err), 0);
	CHECK_EQ(blk_raw_new(d->loop, fd, &o, &d->blk, &err), 0);
}

TEST(space_is_taken_ahead_and_what_is_unused_given_back)
{
	static u8 out[128 * KIB], in[128 * KIB];

	FOR_EACH_ENGINE(e)
	{
		int fd = disk_file(MIB, 0);
		struct disk d;
		u64 size;

		if (fd < 0)
			SKIP("no temporary files here");
		disk_open_reserving(&d, fd, ENGINE(e));
		fill(out, sizeof(out), 7);
		CHECK_EQ(io_run(&d, BLK_WRITE, 256 * KIB, out, 4096), 0);
		CHECK(disk_space(&d) < 64 * KIB); /* not for so little */
		CHECK_EQ(io_run(&d, BLK_WRITE, 512 * KIB, out, sizeof(out)), 0);
		CHECK(disk_space(&d) < 256 * KIB); /* a hole inside is filled by what is written */
		CHECK_EQ(io_run(&d, BLK_WRITE, MIB, out, sizeof(out)), 0);
		CHECK(disk_space(&d) >= 8 * MIB);
		CHECK_EQ(io_run(&d, BLK_WRITE, MIB + sizeof(out), out, sizeof(out)), 0);
		CHECK_EQ(fd_size(d.probe, &size), 0);
		CHECK_EQ(size, MIB + 2 * sizeof(out));
		CHECK_EQ(io_run(&d, BLK_READ, MIB + sizeof(out), in, sizeof(in)), 0);
		CHECK_MEM(in, out, sizeof(in));
		blk_free(d.blk);
		CHECK(disk_space(&d) < MIB);
		CHECK_EQ(fd_size(d.probe, &size), 0);
		CHECK_EQ(size, MIB + 2 * sizeof(out));
		loop_free(d.loop);
		close(d.probe);
	}
}

/* Holes don't make a file larger, and discards aren't meant to. */
TEST(a_files_size_is_what_was_written_to)
{
	static u8 out[8192];

	FOR_EACH_ENGINE(e)
	{
		const struct blk_raw_options o = {.engine = ENGINE(e), .is_container = true};
		int fd = disk_memfd(MIB);
		struct err err = ERR_INIT;
		struct disk d = {.probe = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
		struct io io;
		u64 size;

		current = &d;
		CHECK_EQ(loop_new(&d.loop, &err), 0);
		CHECK_EQ(blk_raw_new(d.loop, fd, &o, &d.blk, &err), 0);
		for (unsigned may_unmap = 0; may_unmap < 2; may_unmap++) {
			u64 end = (2 + may_unmap) * MIB;

			io = (struct io){.r = {.op = BLK_WRITE_ZEROES,
					       .offset = end - 300 * KIB,
					       .bytes = 300 * KIB,
					       .may_unmap = may_unmap,
					       .done = io_done}};
			blk_submit(d.blk, &io.r);
			CHECK_EQ(io_wait(&d, &io), 0);
			CHECK_EQ(d.blk->size, end);
			CHECK_EQ(fd_size(d.probe, &size), 0);
			CHECK_EQ(size, end);
		}
		CHECK_EQ(io_run(&d, BLK_DISCARD, 4 * MIB, NULL, MIB), 0);
		CHECK_EQ(d.blk->size, 3 * MIB);
		CHECK_EQ(fcntl(d.probe, F_ADD_SEALS, F_SEAL_GROW), 0);
		CHECK_EQ(io_run(&d, BLK_WRITE, 4 * MIB, out, sizeof(out)), -EPERM);
		CHECK_EQ(d.blk->size, 3 * MIB); /* a write that failed made nothing larger */
		disk_close(&d);
	}
}

/* A file that can't be allocated ahead (sealed against growing): what can be written still is. */
TEST(a_refused_reservation_is_no_failed_write)
{
	static u8 out[128 * KIB], in[128 * KIB];

	FOR_EACH_ENGINE(e)
	{
		int fd = disk_memfd(DISK_SIZE);
		struct disk d;

		CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
		disk_open_reserving(&d, fd, ENGINE(e));
		fill(out, sizeof(out), 8);
		CHECK_EQ(io_run(&d, BLK_WRITE, DISK_SIZE, out, sizeof(out)), -EPERM);
		CHECK_EQ(io_run(&d, BLK_WRITE, MIB, out, sizeof(out)), 0);
		CHECK_EQ(io_run(&d, BLK_READ, MIB, in, sizeof(in)), 0);
		CHECK_MEM(in, out, sizeof(in));
		disk_close(&d);
	}
}

TEST(what_is_written_is_read_back_in_pieces)
{
	static u8 out[256 * 1024], in[256 * 1024];

	FOR_EACH_ENGINE(e)
	{
		struct disk d;
		struct io io;

		disk_open(&d, disk_memfd(DISK_SIZE), ENGINE(e), false);
		CHECK_EQ(d.blk->size, DISK_SIZE);
		CHECK_EQ(d.blk->block_size, 512);
		fill(out, sizeof(out), 1);
		CHECK_EQ(io_run(&d, BLK_WRITE, 512 * 3, out, sizeof(out)), 0);

		io_submit(&d, &io, BLK_FLUSH, 0, NULL, 0);
		CHECK_EQ(io_wait(&d, &io), 0);
		io = (struct io){.r = {.op = BLK_READ,
				       .offset = 512 * 3,
				       .bytes = sizeof(in),
				       .done = io_done}};
		io.iov[0] = (struct iovec){in, 1};
		io.iov[1] = (struct iovec){in + 1, 70000};
		io.iov[2] = (struct iovec){in + 70001, sizeof(in) - 70001};
		io.r.iov = io.iov;
		io.r.n_iov = 3;
		blk_submit(d.blk, &io.r);
		CHECK_EQ(io_wait(&d, &io), 0);
		CHECK_MEM(in, out, sizeof(in));
		CHECK(d.n_rounds > 0);
		disk_close(&d);
	}
}

TEST(more_requests_than_the_ring_holds_all_come_back_once)
{
	enum { COUNT = 3000 };
	struct io *io = NEW_ARRAY(struct io, COUNT);
	u8 *buf = NEW_ARRAY(u8, COUNT * 512);

	FOR_EACH_ENGINE(e)
	{
		struct disk d;

		disk_open(&d, disk_memfd(DISK_SIZE), ENGINE(e), false);
		for (u32 i = 0; i < COUNT; i++) {
			fill(buf + i * 512, 512, i);
			io_submit(&d, &io[i], BLK_WRITE, i * 512, buf + i * 512, 512);
		}
		blk_kick(d.blk);
		while (d.n_done < COUNT)
			loop_step(d.loop, true);
		for (u32 i = 0; i < COUNT; i++) {
			u8 back[512];

			CHECK_EQ(io[i].n_done, 1);
			CHECK_EQ(io[i].result, 0);
			CHECK_EQ(fd_pread_full(d.probe, back, 512, i * 512), 0);
			CHECK_MEM(back, buf + i * 512, 512);
		}
		CHECK(d.n_rounds < COUNT);
		disk_close(&d);
	}
	free(io);
	free(buf);
}

TEST(draining_finishes_everything_without_the_loop)
{
	static u8 buf[64 * 512];

	FOR_EACH_ENGINE(e)
	{
		struct disk d;
		struct io io[64], flush;

		disk_open(&d, disk_memfd(DISK_SIZE), ENGINE(e), false);
		for (u32 i = 0; i < 64; i++)
			io_submit(&d, &io[i], BLK_WRITE, i * 512, buf + i * 512, 512);
		io_submit(&d, &flush, BLK_FLUSH, 0, NULL, 0);
		blk_drain(d.blk); /* not even kicked */
		CHECK_EQ(d.n_done, 65);
		blk_drain(d.blk);
		disk_close(&d);
	}
}

static void check_zero(struct disk *d, u64 offset, u64 size, bool is_zero)
{
	u8 *buf = NEW_ARRAY(u8, size);

	CHECK_EQ(fd_pread_full(d->probe, buf, size, offset), 0);
	for (u64 i = 0; i < size; i++)
		CHECK_EQ(!buf[i], is_zero);
	free(buf);
}

/* The file system may or may not do hole punching and zeroing; what the guest sees is the same. */
static void try_zeroes(int fd, enum blk_engine engine)
{
	static u8 buf[512 * 1024];
	struct disk d;
	struct io io;
	struct stat before, after;

	disk_open(&d, fd, engine, false);
	fill(buf, sizeof(buf), 3);
	CHECK_EQ(io_run(&d, BLK_WRITE, 0, buf, sizeof(buf)), 0);
	CHECK_EQ(fstat(d.probe, &before), 0);
	for (int unmap = 0; unmap < 2; unmap++) {
		u64 at = 512 + (u64)unmap * 200 * 1024;

		io_submit(&d, &io, BLK_WRITE_ZEROES, at, NULL, 150 * 1024);
		io.r.may_unmap = unmap;
		CHECK_EQ(io_wait(&d, &io), 0);
		check_zero(&d, at - 512, 512, false);
		check_zero(&d, at, 150 * 1024, true);
		check_zero(&d, at + 150 * 1024, 512, false);
	}
	CHECK_EQ(io_run(&d, BLK_DISCARD, 0, NULL, sizeof(buf)), 0);
	CHECK_EQ(fstat(d.probe, &after), 0);
	CHECK_EQ(after.st_size, before.st_size);
	CHECK(after.st_blocks < before.st_blocks);
	disk_close(&d);
}

TEST(zeroes_are_written_and_space_is_given_back)
{
	FOR_EACH_ENGINE(e)
	{
		try_zeroes(disk_memfd(DISK_SIZE), ENGINE(e)); /* no ZERO_RANGE there */
		try_zeroes(disk_file(DISK_SIZE, 0), ENGINE(e));
	}
}

TEST(a_file_that_shrank_is_an_io_error)
{
	static u8 buf[64 * 1024];

	FOR_EACH_ENGINE(e)
	{
		struct disk d;

		disk_open(&d, disk_memfd(DISK_SIZE), ENGINE(e), false);
		CHECK_EQ(ftruncate(d.probe, 4096), 0);
		CHECK_EQ(io_run(&d, BLK_READ, 0, buf, sizeof(buf)), -EIO); /* short, then nothing */
		CHECK_EQ(io_run(&d, BLK_READ, 8192, buf, 512), -EIO);
		CHECK_EQ(io_run(&d, BLK_READ, 0, buf, 4096), 0);
		/* May not grow again: what is beyond can't be written. */
		CHECK_EQ(fcntl(d.probe, F_ADD_SEALS, F_SEAL_GROW), 0);
		CHECK(io_run(&d, BLK_WRITE, 0, buf, sizeof(buf)) < 0);
		CHECK_EQ(io_run(&d, BLK_WRITE, 0, buf, 4096), 0);
		disk_close(&d);
	}
}

TEST(the_hosts_errors_reach_the_caller)
{
	static u8 buf[4096];

	FOR_EACH_ENGINE(e)
	{
		struct disk d;
		int fd = disk_memfd(DISK_SIZE);

		disk_open(&d, fd, ENGINE(e), false);
		CHECK_EQ(fcntl(d.probe, F_ADD_SEALS, F_SEAL_WRITE), 0);
		CHECK_EQ(io_run(&d, BLK_WRITE, 0, buf, 4096), -EPERM);
		CHECK_EQ(io_run(&d, BLK_WRITE_ZEROES, 0, NULL, 4096), -EPERM);
		CHECK_EQ(io_run(&d, BLK_DISCARD, 0, NULL, 4096), -EPERM);
		disk_close(&d);
	}
}

TEST(a_readonly_disk_reads_and_flushes)
{
	static u8 buf[4096];

	FOR_EACH_ENGINE(e)
	{
		struct disk d;
		struct io io;

		disk_open(&d, disk_memfd(DISK_SIZE), ENGINE(e), true);
		CHECK(d.blk->is_readonly);
		CHECK_EQ(io_run(&d, BLK_READ, 0, buf, 4096), 0);
		io_submit(&d, &io, BLK_FLUSH, 0, NULL, 0);
		CHECK_EQ(io.n_done, 0);
		CHECK_EQ(io_wait(&d, &io), 0);
		io_submit(&d, &io, BLK_FLUSH, 0, NULL, 0);
		blk_drain(d.blk);
		CHECK_EQ(io.n_done, 1);
		disk_close(&d);
	}
}

TEST(direct_io_takes_misaligned_buffers)
{
	enum { COUNT = 12, SIZE = 600 * 1024 / 512 * 512 };
	static u8 raw[COUNT][SIZE + 4096], back[SIZE];

	FOR_EACH_ENGINE(e)
	{
		int fd = disk_file(16 * MIB, O_DIRECT);
		struct io io[COUNT];
		struct disk d;

		if (fd < 0)
			SKIP("no O_DIRECT on this file system");
		disk_open(&d, fd, ENGINE(e), false);
		/* More at once than there are bounce buffers, each longer than one. */
		for (u32 i = 0; i < COUNT; i++) {
			fill(raw[i] + 1 + i, SIZE, i);
			io_submit(&d, &io[i], BLK_WRITE, (u64)i * SIZE, raw[i] + 1 + i, SIZE);
		}
		blk_kick(d.blk);
		while (d.n_done < COUNT)
			loop_step(d.loop, true);
		for (u32 i = 0; i < COUNT; i++) {
			CHECK_EQ(io[i].result, 0);
			memset(back, 0, SIZE);
			CHECK_EQ(io_run(&d, BLK_READ, (u64)i * SIZE, back, SIZE), 0);
			CHECK_MEM(back, raw[i] + 1 + i, SIZE);
			CHECK_EQ(io_run(&d, BLK_READ, (u64)i * SIZE, raw[i] + 3, SIZE), 0);
			CHECK_MEM(raw[i] + 3, back, SIZE);
		}
		/* A bounce buffer comes back after an error, too. */
		CHECK_EQ(ftruncate(d.probe, 512 * 8), 0);
		for (u32 i = 0; i < COUNT; i++)
			CHECK(io_run(&d, BLK_READ, MIB, raw[i] + 1, 1024) < 0);
		CHECK_EQ(io_run(&d, BLK_READ, 0, raw[0] + 1, 512), 0);
		disk_close(&d);
	}
}

static int try_open(int fd, enum blk_engine engine, struct err *err)
{
	const struct blk_raw_options o = {.engine = engine};
	struct loop *loop;
	struct blk *b;
	int r;

	*err = (struct err)ERR_INIT;
	CHECK_EQ(loop_new(&loop, err), 0);
	r = blk_raw_new(loop, fd, &o, &b, err);
	if (r == 0)
		blk_free(b);
	else
		CHECK_EQ(close(fd), 0); /* stayed ours */
	loop_free(loop);
	return r;
}

static int enter_thread(void *opaque, struct err *err)
{
	unsigned *n = opaque;

	if (__atomic_add_fetch(n, 1, __ATOMIC_RELAXED) > 4)
		return err_set(err, -EPERM, "no more threads");
	return 0;
}

TEST(threads_confine_themselves_or_the_disk_does_not_open)
{
	unsigned n = 0;
	const struct blk_raw_options o = {
		.engine = BLK_ENGINE_THREADS, .enter_thread = enter_thread, .enter_opaque = &n};
	int fd = disk_memfd(4096);
	struct err err = ERR_INIT;
	struct loop *loop;
	struct blk *b;

	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_raw_new(loop, dup(fd), &o, &b, &err), 0);
	CHECK_EQ(n, 4);
	blk_free(b);
	CHECK_EQ(blk_raw_new(loop, fd, &o, &b, &err), -EPERM);
	CHECK_ERR(err, "no more threads");
	close(fd);
	loop_free(loop);
}

TEST(what_is_no_disk_is_refused_with_a_sentence)
{
	struct err err;
	int p[2];

	CHECK_EQ(try_open(open(".", O_RDONLY | O_CLOEXEC), BLK_ENGINE_AUTO, &err), -EACCES);
	CHECK_EQ(try_open(disk_memfd(0), BLK_ENGINE_AUTO, &err), -EINVAL);
	CHECK_ERR(err, "empty");
	CHECK_EQ(try_open(disk_memfd(1000), BLK_ENGINE_AUTO, &err), -EINVAL);
	CHECK_ERR(err, "1000 bytes, is not a multiple of 512");
	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	CHECK_EQ(try_open(p[1], BLK_ENGINE_AUTO, &err), -EINVAL);
	CHECK_ERR(err, "neither a file nor a block device");
	close(p[0]);
	CHECK_EQ(try_open(open("/dev/null", O_RDWR | O_CLOEXEC), BLK_ENGINE_AUTO, &err), -EINVAL);
	CHECK_EQ(try_open(disk_memfd(512), BLK_ENGINE_AUTO, &err), 0);
}

TEST(a_lock_keeps_writers_out_and_readers_in)
{
	struct err err = ERR_INIT;
	char path[64];
	int a = disk_memfd(4096), b, c;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", a);
	b = open(path, O_RDWR | O_CLOEXEC);
	c = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_EQ(blk_lock_fd(a, false, &err), 0);
	CHECK_EQ(blk_lock_fd(a, false, &err), 0); /* one's own is no obstacle */
	CHECK_EQ(blk_lock_fd(b, false, &err), -EBUSY);
	CHECK_ERR(err, "in use by another VM");
	CHECK_EQ(blk_lock_fd(c, true, &err), -EBUSY);
	close(a);
	CHECK_EQ(blk_lock_fd(b, true, &err), 0);
	CHECK_EQ(blk_lock_fd(c, true, &err), 0);
	CHECK_EQ(blk_lock_fd(b, false, &err), -EBUSY);
	blk_unlock_fd(c); /* though it is still open */
	CHECK_EQ(blk_lock_fd(b, false, &err), 0);
	close(b);
	close(c);
}

TEST(those_who_share_a_disk_keep_all_others_out)
{
	struct err err = ERR_INIT;
	int all[300], a = disk_memfd(4096), other, reader;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", a);
	other = open(path, O_RDWR | O_CLOEXEC);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_EQ(blk_lock_fd_together(a, false, &err), 0);
	CHECK_EQ(blk_lock_fd(other, false, &err), -EBUSY);
	CHECK_EQ(blk_lock_fd(reader, true, &err), -EBUSY);
	CHECK_EQ(blk_lock_fd_together(reader, true, &err), 0);
	for (unsigned i = 1; i < 256; i++) {
		all[i] = open(path, O_RDWR | O_CLOEXEC);
		CHECK_EQ(blk_lock_fd_together(all[i], false, &err), 0);
	}
	CHECK_EQ(blk_lock_fd_together(other, false, &err), -EBUSY);
	close(a);
	CHECK_EQ(blk_lock_fd_together(other, false, &err), 0);
	blk_unlock_fd(other);
	for (unsigned i = 1; i < 256; i++)
		close(all[i]);

	/* Those who only read it, shared or not, are readers. */
	CHECK_EQ(blk_lock_fd(other, true, &err), 0);
	CHECK_EQ(blk_lock_fd_together(reader, true, &err), 0);
	CHECK_EQ(blk_lock_fd(other, false, &err), -EBUSY);
	blk_unlock_fd(other);
	blk_unlock_fd(reader);

	/* A writer, or a reader who doesn't share it, keeps them out, and nothing stays locked. */
	CHECK_EQ(blk_lock_fd(other, false, &err), 0);
	CHECK_EQ(blk_lock_fd_together(reader, true, &err), -EBUSY);
	blk_unlock_fd(other);
	CHECK_EQ(blk_lock_fd(reader, true, &err), 0);
	CHECK_EQ(blk_lock_fd_together(other, false, &err), -EBUSY);
	blk_unlock_fd(reader);
	CHECK_EQ(blk_lock_fd(other, false, &err), 0);
	close(other);
	close(reader);
}

/* What a ring answers to one entry. */
static int ring_try(struct io_uring *ring, void (*prepare)(struct io_uring_sqe *sqe), u8 flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int r;

	prepare(sqe);
	sqe->flags |= flags;
	CHECK_EQ(io_uring_submit(ring), 1);
	CHECK_EQ(io_uring_wait_cqe(ring, &cqe), 0);
	r = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return r;
}

static u8 ring_buf[512];

static void prepare_read(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, 0, ring_buf, sizeof(ring_buf), 0);
}

static void prepare_openat(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void prepare_openat_direct(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat_direct(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0, 0);
}

static void prepare_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_rw(IORING_OP_NOP, sqe, AF_UNIX, NULL, 0, 0);
	sqe->opcode = 45; /* IORING_OP_SOCKET, younger than these headers */
}

static void prepare_nop(struct io_uring_sqe *sqe)
{
	io_uring_prep_nop(sqe);
}

TEST(a_ring_does_nothing_but_disk_io_on_its_one_file)
{
	int fd = disk_memfd(4096), event = eventfd(0, EFD_CLOEXEC), other = disk_memfd(4096);
	struct err err = ERR_INIT;
	struct io_uring ring;
	u32 capacity;

	CHECK_EQ(uring_open(&ring, &fd, 1, event, false, &capacity, &err), 0);
	CHECK_EQ(ring_try(&ring, prepare_read, IOSQE_FIXED_FILE), 512);
	CHECK_EQ(ring_try(&ring, prepare_read, 0), -EACCES); /* descriptor 0 of the process */
	CHECK_EQ(ring_try(&ring, prepare_openat, IOSQE_FIXED_FILE), -EACCES);
	CHECK_EQ(ring_try(&ring, prepare_openat, 0), -EACCES);
	CHECK_EQ(ring_try(&ring, prepare_openat_direct, IOSQE_FIXED_FILE), -EACCES);
	CHECK_EQ(ring_try(&ring, prepare_socket, IOSQE_FIXED_FILE), -EACCES);
	CHECK_EQ(ring_try(&ring, prepare_nop, IOSQE_FIXED_FILE), -EACCES);
	CHECK_EQ(io_uring_register_files_update(&ring, 0, &other, 1), -EACCES);
	CHECK_EQ(io_uring_unregister_files(&ring), -EACCES);
	io_uring_queue_exit(&ring);
	close(fd);
	close(other);
	close(event);
}

TEST(a_ring_made_ahead_changes_its_file_and_nothing_else)
{
	int fd = disk_memfd(4096), event = eventfd(0, EFD_CLOEXEC), none = -1;
	struct err err = ERR_INIT;
	struct io_uring ring;
	u32 capacity;

	CHECK_EQ(uring_open(&ring, &none, 1, event, true, &capacity, &err), 0);
	CHECK_EQ(ring_try(&ring, prepare_read, IOSQE_FIXED_FILE), -EBADF);
	CHECK_EQ(uring_set_file(&ring, 0, fd), 0);
	CHECK_EQ(ring_try(&ring, prepare_read, IOSQE_FIXED_FILE), 512);
	CHECK_EQ(uring_set_file(&ring, 0, -1), 0);
	CHECK_EQ(ring_try(&ring, prepare_read, IOSQE_FIXED_FILE), -EBADF);
	CHECK_EQ(ring_try(&ring, prepare_openat, IOSQE_FIXED_FILE), -EACCES);
	CHECK_EQ(io_uring_unregister_files(&ring), -EACCES);
	CHECK_EQ(io_uring_register_eventfd(&ring, event), -EACCES);
	io_uring_queue_exit(&ring);
	close(fd);
	close(event);
}

TEST(disks_come_and_go_on_engines_made_ahead)
{
	static u8 out[4096], in[4096];

	FOR_EACH_ENGINE(e)
	{
		struct blk_raw_options o = {.engine = ENGINE(e)};
		struct disk d = {.probe = -1};
		struct err err = ERR_INIT;
		struct blk *more[4], *none = NULL;
		unsigned n = 0;

		current = &d;
		CHECK_EQ(loop_new(&d.loop, &err), 0);
		CHECK_EQ(blk_engines_new(d.loop, 1, 1, &o, &o.engines, &err), 0);
		for (unsigned round = 0; round < 20; round++) {
			CHECK_EQ(blk_raw_new(d.loop, disk_memfd(65536), &o, &d.blk, &err), 0);
			fill(out, sizeof(out), round);
			CHECK_EQ(io_run(&d, BLK_WRITE, 4096, out, sizeof(out)), 0);
			CHECK_EQ(io_run(&d, BLK_READ, 4096, in, sizeof(in)), 0);
			CHECK(!memcmp(in, out, sizeof(in)));
			blk_free(d.blk);
		}
		for (; n < 2; n++)
			CHECK_EQ(blk_raw_new(d.loop, disk_memfd(65536), &o, &more[n], &err), 0);
		int fd = disk_memfd(65536);

		CHECK_EQ(blk_raw_new(d.loop, fd, &o, &none, &err), -ENOSPC);
		CHECK_ERR(err, "all places are in use");
		close(fd);
		while (n)
			blk_free(more[--n]);
		blk_engines_free(o.engines);
		loop_free(d.loop);
	}
}

static unsigned n_shared_done;

static void on_shared_done(unused struct blk_request *r, int result)
{
	CHECK_EQ(result, 0);
	n_shared_done++;
}

static void on_shared_round(void *opaque)
{
	++*(unsigned *)opaque;
}

/* More steps than the ring has room for, of several disks: each gets its own data, and its round. */
TEST(disks_share_a_ring)
{
	const struct blk_raw_options made = {.has_shared_ring = true};
	static u8 out[3][4096], in[3][1000][4096];
	static struct blk_request r[3][1000];
	static struct iovec iov[3][1000];
	struct blk_raw_options o = made;
	struct err err = ERR_INIT;
	struct blk *disks[3];
	unsigned n_rounds[3] = {0};
	struct loop *loop;

	n_shared_done = 0;
	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_engines_new(loop, 2, 100, &made, &o.engines, &err), 0);
	for (unsigned d = 0; d < 3; d++) {
		int fd = disk_memfd(1 * MIB);

		fill(out[d], sizeof(out[d]), d);
		for (unsigned k = 0; k < 256; k++)
			CHECK_EQ(pwrite(fd, out[d], 4096, k * 4096), 4096);
		CHECK_EQ(blk_raw_new(loop, fd, &o, &disks[d], &err), 0);
		blk_set_round(disks[d], on_shared_round, &n_rounds[d]);
	}
	for (unsigned k = 0; k < 1000; k++) {
		for (unsigned d = 0; d < 3; d++) {
			iov[d][k] = (struct iovec){in[d][k], 4096};
			r[d][k] = (struct blk_request){.op = BLK_READ,
						       .offset = k % 256 * 4096,
						       .bytes = 4096,
						       .iov = &iov[d][k],
						       .n_iov = 1,
						       .done = on_shared_done};
			blk_submit(disks[d], &r[d][k]);
		}
	}
	blk_kick(disks[1]); /* the others' are in the ring with it, or wait for it */
	blk_kick(disks[0]);
	blk_kick(disks[2]);
	while (n_shared_done < 3000)
		loop_step(loop, true);
	for (unsigned d = 0; d < 3; d++) {
		CHECK(n_rounds[d] > 0);
		for (unsigned k = 0; k < 1000; k++)
			CHECK(!memcmp(in[d][k], out[d], 4096));
		blk_free(disks[d]);
	}
	blk_engines_free(o.engines);
	loop_free(loop);
}
