/*
 * The temporary layer: against a plain array in memory, with many requests at a time, and with
 * disks that fail.
 */
#include "block/block.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "test.h"

#define CLUSTER (64 * KIB)
#define SIZE    (20 * CLUSTER + 7 * 512) /* the last cluster is short */

struct io {
	struct blk_request r; /* first */
	struct iovec iov[3];
	bool is_done;
	int result;
	u64 offset, bytes;
	u8 *buf;
};

struct stack {
	struct loop *loop;
	struct blk *blk;
	int base_probe, top_probe;
	u8 *model;
};

static void io_done(struct blk_request *r, int result)
{
	struct io *io = container_of(r, struct io, r);

	CHECK(!io->is_done);
	io->is_done = true;
	io->result = result;
}

static int memfd_of(u64 size)
{
	int fd = memfd_create("overlay", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void stack_open(struct stack *s)
{
	const struct blk_raw_options o = {.is_readonly = true};
	struct err err = ERR_INIT;
	int base = memfd_of(SIZE), top = memfd_of(0);
	struct blk *raw;

	s->model = NEW_ARRAY(u8, SIZE);
	for (u64 i = 0; i < SIZE; i++)
		s->model[i] = (u8)(i / 512 * 3 + i);
	CHECK_EQ(fd_pwrite_full(base, s->model, SIZE, 0), 0);
	s->base_probe = fcntl(base, F_DUPFD_CLOEXEC, 0);
	s->top_probe = fcntl(top, F_DUPFD_CLOEXEC, 0);
	CHECK_EQ(loop_new(&s->loop, &err), 0);
	CHECK_EQ(blk_raw_new(s->loop, base, &o, &raw, &err), 0);
	CHECK_EQ(blk_overlay_new(s->loop, raw, top, &o, &s->blk, &err), 0);
	CHECK_EQ(s->blk->size, SIZE);
	CHECK(!s->blk->is_readonly);
}

static void stack_close(struct stack *s)
{
	blk_free(s->blk);
	loop_free(s->loop);
	close(s->base_probe);
	close(s->top_probe);
	free(s->model);
}

static void io_submit(struct stack *s, struct io *io, enum blk_op op, u64 offset, u64 bytes)
{
	u64 a = bytes / 3, b = bytes / 2;

	*io = (struct io){.offset = offset, .bytes = bytes, .buf = NEW_ARRAY(u8, bytes + 1)};
	io->r = (struct blk_request){.op = op, .offset = offset, .bytes = bytes, .done = io_done};
	io->iov[0] = (struct iovec){io->buf, a};
	io->iov[1] = (struct iovec){io->buf + a, b - a};
	io->iov[2] = (struct iovec){io->buf + b, bytes - b};
	io->r.iov = io->iov;
	io->r.n_iov = 3;
	for (u64 i = 0; op == BLK_WRITE && i < bytes; i++)
		io->buf[i] = (u8)rand();
	blk_submit(s->blk, &io->r);
}

static int io_run(struct stack *s, enum blk_op op, u64 offset, u64 bytes)
{
	struct io io;

	io_submit(s, &io, op, offset, bytes);
	blk_kick(s->blk);
	while (!io.is_done)
		loop_step(s->loop, true);
	if (io.result == 0 && op == BLK_WRITE)
		memcpy(s->model + offset, io.buf, bytes);
	if (io.result == 0 && op == BLK_WRITE_ZEROES)
		memset(s->model + offset, 0, bytes);
	if (io.result == 0 && op == BLK_READ)
		CHECK_MEM(io.buf, s->model + offset, bytes);
	free(io.buf);
	return io.result;
}

TEST(what_was_written_shadows_the_base_and_nothing_else)
{
	struct stack s;
	u8 *base = NEW_ARRAY(u8, SIZE), *original = NEW_ARRAY(u8, SIZE);

	stack_open(&s);
	memcpy(original, s.model, SIZE);
	CHECK_EQ(io_run(&s, BLK_READ, 0, SIZE), 0);
	CHECK_EQ(io_run(&s, BLK_WRITE, 512, 512), 0);                /* a part */
	CHECK_EQ(io_run(&s, BLK_WRITE, CLUSTER * 2, CLUSTER), 0);    /* a whole */
	CHECK_EQ(io_run(&s, BLK_WRITE, CLUSTER * 4 - 512, 1024), 0); /* over an edge */
	CHECK_EQ(io_run(&s, BLK_WRITE, CLUSTER * 6 + 512, CLUSTER * 3), 0);
	CHECK_EQ(io_run(&s, BLK_WRITE, SIZE - 512, 512), 0); /* in the short one */
	CHECK_EQ(io_run(&s, BLK_WRITE_ZEROES, CLUSTER * 10 + 512, CLUSTER * 3), 0);
	CHECK_EQ(io_run(&s, BLK_FLUSH, 0, 0), 0);
	CHECK_EQ(io_run(&s, BLK_DISCARD, 0, SIZE), 0);
	CHECK_EQ(io_run(&s, BLK_READ, 0, SIZE), 0);

	CHECK_EQ(fd_pread_full(s.base_probe, base, SIZE, 0), 0);
	CHECK_MEM(base, original, SIZE);
	stack_close(&s);
	free(base);
	free(original);
}

TEST(random_requests_one_by_one_do_what_an_array_would)
{
	static const enum blk_op ops[] = {BLK_READ, BLK_WRITE, BLK_WRITE, BLK_WRITE_ZEROES};
	struct stack s;

	srand(1);
	stack_open(&s);
	for (int i = 0; i < 600; i++) {
		u64 sector = (u64)rand() % (SIZE / 512);
		u64 limit = MIN((u64)(SIZE / 512) - sector, (u64)(rand() % 2 ? 8 : 600));
		u64 sectors = 1 + (u64)rand() % limit;

		CHECK_EQ(io_run(&s, ops[rand() % 4], sector * 512, sectors * 512), 0);
	}
	CHECK_EQ(io_run(&s, BLK_READ, 0, SIZE), 0);
	stack_close(&s);
}

/* Writes that don't overlap but share clusters: merging one must not undo another. */
TEST(writes_at_the_same_time_into_the_same_clusters_keep_each_other)
{
	static struct io io[2000];
	struct stack s;
	u64 at = 0;
	u32 n = 0;

	srand(2);
	stack_open(&s);
	while (at < SIZE) {
		u64 bytes = MIN(512 * (1 + (u64)rand() % (rand() % 32 ? 12 : 300)), SIZE - at);

		io_submit(&s, &io[n++], rand() % 5 ? BLK_WRITE : BLK_WRITE_ZEROES, at, bytes);
		at += bytes;
	}
	CHECK(n > 128);
	blk_kick(s.blk);
	for (u32 i = 0; i < n; i++) {
		while (!io[i].is_done)
			loop_step(s.loop, true);
		CHECK_EQ(io[i].result, 0);
		memcpy(s.model + io[i].offset, io[i].buf, io[i].bytes); /* zeroes: buf is 0 */
		free(io[i].buf);
	}
	CHECK_EQ(io_run(&s, BLK_READ, 0, SIZE), 0);
	stack_close(&s);
}

TEST(draining_finishes_chains_of_steps)
{
	static struct io io[40];
	struct stack s;

	stack_open(&s);
	for (u32 i = 0; i < 40; i++)
		io_submit(&s, &io[i], i % 10 == 9 ? BLK_FLUSH : BLK_WRITE, i * 8192,
			  i % 10 == 9 ? 0 : 8192);
	blk_drain(s.blk);
	for (u32 i = 0; i < 40; i++) {
		CHECK(io[i].is_done);
		free(io[i].buf);
	}
	stack_close(&s);
}

TEST(errors_of_either_side_reach_the_caller_and_block_nobody)
{
	struct stack s;

	stack_open(&s);
	CHECK_EQ(ftruncate(s.base_probe, (off_t)(CLUSTER * 2)), 0);
	CHECK_EQ(io_run(&s, BLK_READ, CLUSTER * 3, 512), -EIO);
	CHECK_EQ(io_run(&s, BLK_WRITE, CLUSTER * 3 + 512, 512), -EIO); /* can't be merged */
	CHECK_EQ(io_run(&s, BLK_WRITE, CLUSTER * 3, CLUSTER), 0);      /* needn't be */
	CHECK_EQ(io_run(&s, BLK_READ, CLUSTER * 3, CLUSTER), 0);

	CHECK_EQ(fcntl(s.top_probe, F_ADD_SEALS, F_SEAL_WRITE), 0);
	CHECK_EQ(io_run(&s, BLK_WRITE, 0, CLUSTER), -EPERM);
	CHECK_EQ(io_run(&s, BLK_WRITE, 512, 512), -EPERM);
	CHECK_EQ(io_run(&s, BLK_READ, 0, CLUSTER), 0); /* still the base's */
	CHECK_EQ(io_run(&s, BLK_READ, CLUSTER * 3, CLUSTER), 0);
	stack_close(&s);
}

static int count_thread(void *opaque, struct err *err)
{
	(void)err;
	__atomic_add_fetch((int *)opaque, 1, __ATOMIC_RELAXED);
	return 0;
}

TEST(the_threads_of_both_files_confine_themselves)
{
	int base_threads = 0, top_threads = 0;
	struct blk_raw_options o = {
		.is_readonly = true,
		.engine = BLK_ENGINE_THREADS,
		.enter_thread = count_thread,
		.enter_opaque = &base_threads,
	};
	struct err err = ERR_INIT;
	struct blk *base, *overlay;
	struct loop *loop;

	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_raw_new(loop, memfd_of(SIZE), &o, &base, &err), 0);
	o.enter_opaque = &top_threads;
	CHECK_EQ(blk_overlay_new(loop, base, memfd_of(0), &o, &overlay, &err), 0);
	CHECK(base_threads > 0);
	CHECK_EQ(top_threads, base_threads);
	blk_free(overlay);
	loop_free(loop);
}
