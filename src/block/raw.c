/*
 * Raw disks: a file or block device whose bytes are the disk's.
 *
 * A request becomes one or more steps for the engine:
 *
 *     read, write     TRANSFER, again while transfers are short
 *                     RESERVE or RESERVE_AHEAD before it, where that was asked for and the file is to grow
 *                     BOUNCE instead, piece by piece, when the file is open for direct I/O and the
 *                     guest's buffers aren't aligned as it wants
 *     flush           SYNC
 *     discard         PUNCH; where the file system can't, nothing
 *     write zeroes    PUNCH (if space may be given back), else ZERO_RANGE, else ZEROS are written; behind
 *                     a growable file's end GROW, as holes don't make it larger
 *
 * r->iov always describes what is still to be transferred. Punching a hole in a block device
 * zeroes it by unmapping (Linux, block/fops.c), so no ioctl is needed.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "block/block_priv.h"
#include "block/iov.h"
#include "block/raw_priv.h"

#define RAW_BOUNCE_SIZE  (256 * KIB)
#define RAW_BOUNCE_SLOTS 4
#define RAW_ALIGN_MAX    (64 * KIB)
#define RAW_ZEROS_SIZE   (64 * KIB)
#define RAW_RESERVE_MIN  (64 * KIB) /* a smaller write isn't worth a call */
#define RAW_AHEAD        (16 * MIB)

enum raw_step {
	RAW_RESERVE,
	RAW_RESERVE_AHEAD,
	RAW_TRANSFER,
	RAW_BOUNCE,
	RAW_SYNC,
	RAW_PUNCH,
	RAW_ZERO_RANGE,
	RAW_ZEROS,
	RAW_GROW, /* the last block of zeros is written */
};

struct blk_raw {
	struct blk blk;
	struct loop *loop;
	struct raw_engine *engine;
	struct blk_engines *engines; /* where it came from; or NULL */
	int fd;                      /* owned */
	bool is_regular;             /* a file, not a device */
	u32 memory_align;            /* of buffers, by the file's will; 1: any */
	bool is_unsafe;              /* a flush has nothing to do */
	bool owns_lock;
	bool can_punch, can_zero_range; /* until the file system says no */
	bool can_reserve;               /* asked for, and until something fails */
	u64 reserved_end;               /* how far there is space behind the file's end; or less */
	u32 n_out;                      /* requests submitted whose done() wasn't called */
	struct list finished;           /* those that needed no system call */
	struct loop_task finish;

	u8 *bounce;      /* RAW_BOUNCE_SLOTS buffers; NULL when memory_align is 1 */
	u32 bounce_free; /* bit per slot */
	struct list bounce_waiting;
};

static const u8 raw_zeros[RAW_ZEROS_SIZE] __attribute__((aligned(RAW_ALIGN_MAX)));

static struct blk_raw *raw_of(struct blk *b)
{
	return container_of(b, struct blk_raw, blk);
}

static void raw_kick(struct blk *b)
{
	struct blk_raw *raw = raw_of(b);

	raw->engine->ops->kick(raw->engine);
}

static bool raw_iov_is_aligned(const struct blk_raw *raw, const struct blk_request *r)
{
	u64 bits = 0;

	if (raw->memory_align == 1)
		return true;
	for (u32 i = 0; i < r->n_iov; i++)
		bits |= (u64)r->iov[i].iov_base | r->iov[i].iov_len;
	return is_aligned(bits, raw->memory_align);
}

/* --- the end of a request --- */

static void raw_bounce_give_back(struct blk_raw *raw, struct blk_request *r)
{
	struct blk_request *next;

	if (list_is_empty(&raw->bounce_waiting)) {
		raw->bounce_free |= BIT32(((u8 *)r->extra - raw->bounce) / RAW_BOUNCE_SIZE);
		return;
	}
	next = list_entry(raw->bounce_waiting.next, struct blk_request, node);
	list_remove(&next->node);
	next->extra = r->extra;
	raw->engine->ops->submit(raw->engine, next);
}

/* The file is as large as what was written makes it, also by a request that failed in its middle. */
static void raw_note_size(struct blk_raw *raw, const struct blk_request *r, int result)
{
	u64 written = result == 0 ? r->bytes : r->progress;
	bool is_writing = r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES;

	if (raw->blk.is_growable && is_writing && written)
		raw->blk.size =
			MAX(raw->blk.size, align_up(r->offset + written, raw->blk.block_size));
}

static void raw_complete(struct blk_raw *raw, struct blk_request *r, int result)
{
	if (r->step == RAW_BOUNCE)
		raw_bounce_give_back(raw, r);
	raw_note_size(raw, r, result);
	raw->n_out--;
	r->done(r, result);
}

/* For what ends inside blk_submit: done() must not be called from there. */
static void raw_complete_later(struct blk_raw *raw, struct blk_request *r)
{
	list_append(&raw->finished, &r->node);
	loop_task_post(raw->loop, &raw->finish);
}

static void raw_complete_finished(struct blk_raw *raw)
{
	while (!list_is_empty(&raw->finished)) {
		struct blk_request *r = list_entry(raw->finished.next, struct blk_request, node);

		list_remove(&r->node);
		raw_complete(raw, r, 0);
	}
}

static void raw_on_finish(struct loop_task *t)
{
	struct blk_raw *raw = container_of(t, struct blk_raw, finish);

	raw_complete_finished(raw);
	blk_end_round(&raw->blk);
	raw_kick(&raw->blk);
}

/* --- steps --- */

static void raw_start(struct blk_raw *raw, struct blk_request *r, enum raw_step step)
{
	r->step = step;
	raw->engine->ops->submit(raw->engine, r);
}

static void raw_start_transfer(struct blk_raw *raw, struct blk_request *r)
{
	u32 slot;

	if (raw_iov_is_aligned(raw, r)) {
		raw_start(raw, r, RAW_TRANSFER);
		return;
	}
	r->step = RAW_BOUNCE;
	if (!raw->bounce_free) {
		list_append(&raw->bounce_waiting, &r->node);
		return;
	}
	slot = (u32)__builtin_ctz(raw->bounce_free);
	raw->bounce_free &= ~BIT32(slot);
	r->extra = raw->bounce + slot * RAW_BOUNCE_SIZE;
	raw->engine->ops->submit(raw->engine, r);
}

static void raw_start_zeroes(struct blk_raw *raw, struct blk_request *r)
{
	if (r->may_unmap && raw->can_punch)
		raw_start(raw, r, RAW_PUNCH);
	else
		raw_start(raw, r, raw->can_zero_range ? RAW_ZERO_RANGE : RAW_ZEROS);
}

/*
 * One call for the space of many blocks is cheaper than the file system's work for each, and keeps them
 * together. Behind the end it is for what will follow, too; what stays unused goes with raw_free.
 */
static void raw_start_write(struct blk_raw *raw, struct blk_request *r, bool is_behind_end)
{
	u64 end = r->offset + r->bytes;

	if (!raw->can_reserve || r->bytes < RAW_RESERVE_MIN || end <= raw->reserved_end) {
		raw_start_transfer(raw, r);
	} else if (is_behind_end) {
		raw->reserved_end = end + RAW_AHEAD;
		raw_start(raw, r, RAW_RESERVE_AHEAD);
	} else {
		raw_start(raw, r, RAW_RESERVE);
	}
}

static void raw_submit(struct blk *b, struct blk_request *r)
{
	struct blk_raw *raw = raw_of(b);
	bool is_behind_end = r->offset >= b->size;

	r->progress = 0;
	r->step = RAW_SYNC;
	raw->n_out++;
	switch (r->op) {
	case BLK_READ:
		raw_start_transfer(raw, r);
		break;
	case BLK_WRITE:
		raw_start_write(raw, r, is_behind_end);
		break;
	case BLK_FLUSH:
		if (b->is_readonly || raw->is_unsafe)
			raw_complete_later(raw, r);
		else
			raw_start(raw, r, RAW_SYNC);
		break;
	case BLK_DISCARD:
		if (raw->can_punch)
			raw_start(raw, r, RAW_PUNCH);
		else
			raw_complete_later(raw, r);
		break;
	case BLK_WRITE_ZEROES:
		raw_start_zeroes(raw, r);
		break;
	}
}

static void raw_describe_bounce(struct blk_request *r, struct raw_op *op)
{
	op->buf = r->extra;
	op->bytes = MIN(op->bytes, RAW_BOUNCE_SIZE);
	if (r->op == BLK_WRITE)
		blk_iov_gather(r, r->extra, op->bytes);
}

void raw_describe(struct raw_engine *e, struct blk_request *r, struct raw_op *out)
{
	bool is_durable = r->op == BLK_WRITE && r->is_fua && !e->raw->is_unsafe;
	struct raw_op op = {
		.call = r->op == BLK_READ ? RAW_READV : RAW_WRITEV,
		.offset = r->offset + r->progress,
		.bytes = r->bytes - r->progress,
		.mode = is_durable ? RWF_DSYNC : 0,
	};

	switch ((enum raw_step)r->step) {
	case RAW_RESERVE:
	case RAW_RESERVE_AHEAD:
		op.call = RAW_FALLOCATE;
		op.mode = FALLOC_FL_KEEP_SIZE;
		if (r->step == RAW_RESERVE_AHEAD)
			op.bytes += RAW_AHEAD;
		break;
	case RAW_TRANSFER:
		op.iov = r->iov;
		op.n_iov = r->n_iov;
		break;
	case RAW_BOUNCE:
		raw_describe_bounce(r, &op);
		break;
	case RAW_SYNC:
		op.call = RAW_FDATASYNC;
		break;
	case RAW_PUNCH:
		op.call = RAW_FALLOCATE;
		op.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case RAW_ZERO_RANGE:
		op.call = RAW_FALLOCATE;
		op.mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		break;
	case RAW_ZEROS:
		op.buf = (void *)raw_zeros;
		op.bytes = MIN(op.bytes, RAW_ZEROS_SIZE);
		break;
	case RAW_GROW:
		op.buf = (void *)raw_zeros;
		op.bytes = e->raw->blk.block_size;
		op.offset = r->offset + r->bytes - op.bytes;
		break;
	}
	*out = op;
}

/* Behind a container's end there are zeros. */
static void raw_read_behind_end(struct blk_raw *raw, struct blk_request *r)
{
	while (r->progress < r->bytes) {
		u64 n = MIN(r->bytes - r->progress, RAW_ZEROS_SIZE);

		blk_iov_scatter(r, raw_zeros, n);
		blk_iov_advance(r, n);
		r->progress += n;
	}
	raw_complete(raw, r, 0);
}

/* Some bytes were transferred. */
static void raw_transferred(struct blk_raw *raw, struct blk_request *r, int result)
{
	u64 bytes = (u64)result;

	if (!bytes && r->op == BLK_READ && raw->blk.is_container) {
		raw_read_behind_end(raw, r);
		return;
	}
	/* The file is shorter than it was when opened, or the device is full without saying so. */
	if (!bytes) {
		raw_complete(raw, r, -EIO);
		return;
	}
	if (r->step == RAW_BOUNCE && r->op == BLK_READ)
		blk_iov_scatter(r, r->extra, bytes);
	if (r->step != RAW_ZEROS)
		blk_iov_advance(r, bytes);
	r->progress += bytes;
	if (r->progress == r->bytes)
		raw_complete(raw, r, 0);
	else
		raw->engine->ops->submit(raw->engine, r);
}

/* fallocate(2) did it, but for the file's size. */
static void raw_deallocated(struct blk_raw *raw, struct blk_request *r)
{
	bool is_zeroing = r->op == BLK_WRITE_ZEROES;

	if (is_zeroing && raw->blk.is_growable && r->offset + r->bytes > raw->blk.size)
		raw_start(raw, r, RAW_GROW);
	else
		raw_complete(raw, r, 0);
}

/* fallocate(2) failed: does another way lead there? */
static void raw_fall_back(struct blk_raw *raw, struct blk_request *r, int result)
{
	bool is_unsupported = result == -EOPNOTSUPP || result == -ENODEV || result == -ENOSYS ||
			      result == -EINVAL;

	if (!is_unsupported) {
		raw_complete(raw, r, result);
		return;
	}
	if (r->step == RAW_PUNCH)
		raw->can_punch = false;
	else
		raw->can_zero_range = false;
	if (r->op == BLK_DISCARD)
		raw_complete(raw, r, 0); /* discarding is a hint */
	else
		raw_start_zeroes(raw, r);
}

/* Where space is short, the write itself says so: that needs less. */
static void raw_reserved(struct blk_raw *raw, struct blk_request *r, int result)
{
	raw->can_reserve = raw->can_reserve && result >= 0;
	raw_start_transfer(raw, r);
}

void raw_step_done(struct raw_engine *e, struct blk_request *r, int result)
{
	struct blk_raw *raw = e->raw;

	if (result == -EINTR)
		e->ops->submit(e, r);
	else if (r->step == RAW_RESERVE || r->step == RAW_RESERVE_AHEAD)
		raw_reserved(raw, r, result);
	else if (result >= 0 && r->step == RAW_SYNC)
		raw_complete(raw, r, 0);
	else if (result >= 0 && (r->step == RAW_PUNCH || r->step == RAW_ZERO_RANGE))
		raw_deallocated(raw, r);
	else if (result >= 0 && r->step == RAW_GROW)
		raw_complete(raw, r, (u32)result == raw->blk.block_size ? 0 : -EIO);
	else if (result >= 0)
		raw_transferred(raw, r, result);
	else if (r->step == RAW_PUNCH || r->step == RAW_ZERO_RANGE)
		raw_fall_back(raw, r, result);
	else
		raw_complete(raw, r, result);
}

void raw_round_done(struct raw_engine *e)
{
	if (e->raw) /* a spare engine has no disk, whatever wakes it */
		blk_end_round(&e->raw->blk);
}

/* --- the disk --- */

static void raw_drain(struct blk *b)
{
	struct blk_raw *raw = raw_of(b);

	while (raw->n_out) {
		raw_complete_finished(raw);
		if (raw->n_out)
			raw->engine->ops->wait(raw->engine);
	}
	blk_end_round(b);
}

/* To its own size: that gives back the space behind it. */
static void raw_give_back(struct blk_raw *raw)
{
	struct stat st;

	if (raw->reserved_end && fstat(raw->fd, &st) == 0 && (u64)st.st_size < raw->reserved_end &&
	    ftruncate(raw->fd, st.st_size) < 0)
		log_info("space behind the end of a file stays reserved: %m");
}

static void raw_free(struct blk *b)
{
	struct blk_raw *raw = raw_of(b);

	raw_give_back(raw);
	if (raw->engine && raw->engines)
		raw_engines_give(raw->engines, raw->engine);
	else if (raw->engine)
		raw->engine->ops->free(raw->engine);
	loop_task_cancel(raw->loop, &raw->finish);
	if (raw->fd >= 0 && raw->owns_lock)
		blk_unlock_fd(raw->fd);
	fd_close(raw->fd);
	free(raw->bounce);
	free(raw);
}

/* By what the file system says about holes; where it says nothing, all is data. */
static int raw_status(struct blk *b, u64 offset, u64 bytes, struct blk_status *out)
{
	int fd = raw_of(b)->fd;
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA), end;

	out->has_offset = true;
	out->offset = offset;
	if (data < 0 && errno != ENXIO) /* it can't tell */
		return 0;
	if (data < 0 || (u64)data > offset) {
		out->is_data = false;
		out->is_zero = true;
		out->bytes = data < 0 ? bytes : MIN(bytes, (u64)data - offset);
		return 0;
	}
	end = lseek(fd, (off_t)offset, SEEK_HOLE);
	if (end > data)
		out->bytes = MIN(bytes, (u64)end - offset);
	return 0;
}

static int raw_resize(struct blk *b, u64 size, struct err *err)
{
	struct blk_raw *raw = raw_of(b);

	if (raw->is_regular && ftruncate(raw->fd, (off_t)size) < 0)
		return err_errno(err, -errno, "cannot change its size");
	if (!raw->is_regular && (off_t)size > lseek(raw->fd, 0, SEEK_END))
		return err_set(err, -ENOSPC, "the device isn't that large; make it larger first");
	raw->reserved_end = MIN(raw->reserved_end, size);
	b->size = size;
	return 0;
}

/* What direct I/O asks of memory and offsets. */
static void raw_direct_align(int fd, u32 *out_memory, u32 *out_offset)
{
	struct statx sx;
	int block = 0;

	*out_memory = *out_offset = BLK_SECTOR;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_mem_align) {
		*out_memory = sx.stx_dio_mem_align;
		*out_offset = sx.stx_dio_offset_align;
	} else if (ioctl(fd, BLKSSZGET, &block) == 0 && block > 0) {
		*out_memory = *out_offset = (u32)block;
	}
}

static int raw_find_limits(struct blk_raw *raw, struct err *err)
{
	u32 memory = 1, offset = BLK_SECTOR;
	int flags = fcntl(raw->fd, F_GETFL);

	if (flags < 0)
		return err_errno(err, -errno, "cannot examine the file");
	if ((flags & O_ACCMODE) == O_RDONLY && !raw->blk.is_readonly)
		return err_set(err, -EACCES, "the file is open for reading only");
	if (flags & O_DIRECT)
		raw_direct_align(raw->fd, &memory, &offset);
	if (!is_power_of_two(memory) || !is_power_of_two(offset) || memory > RAW_ALIGN_MAX ||
	    offset > RAW_ALIGN_MAX)
		return err_set(err, -EINVAL, "alignment of %u and %u bytes is not supported",
			       memory, offset);

	raw->memory_align = memory;
	raw->can_punch = raw->can_zero_range = true;
	raw->blk.block_size = MAX(offset, BLK_SECTOR);
	return 0;
}

static int raw_find_size(struct blk_raw *raw, struct err *err)
{
	u32 block = raw->blk.block_size;
	struct stat st;
	u64 size;
	int r = fd_size(raw->fd, &size);

	if (r == -EISDIR)
		return err_set(err, r, "it is a directory");
	if (r == -EINVAL)
		return err_set(err, r, "it is neither a file nor a block device");
	if (r < 0)
		return err_errno(err, r, "cannot find out its size");
	raw->is_regular = fstat(raw->fd, &st) == 0 && S_ISREG(st.st_mode);
	if (raw->blk.is_container) {
		raw->blk.size = align_up(MIN(size, BLK_SIZE_MAX), block);
		raw->blk.is_growable = raw->is_regular && !raw->blk.is_readonly;
		return 0;
	}
	if (!size)
		return err_set(err, -EINVAL, "it is empty");
	if (size % block)
		return err_set(err, -EINVAL, "its size, %lu bytes, is not a multiple of %u", size,
			       block);
	raw->blk.size = size;
	return 0;
}

int raw_engine_new(const struct raw_engine *e, const struct blk_raw_options *o,
		   struct raw_engine **out, struct err *err)
{
	struct err why = ERR_INIT;
	int r = -ENOSYS;

	if (o->engine != BLK_ENGINE_THREADS)
		r = raw_uring_new(e, 1, out, &why);
	if (r < 0 && o->engine == BLK_ENGINE_URING)
		return err_set(err, r, "%s", why.text);
	if (r < 0) {
		if (why.code)
			log_info("disk I/O by threads: %s", why.text);
		r = raw_threads_new(e, o, out, err);
	}
	return r;
}

static int raw_get_engine(struct blk_raw *raw, const struct blk_raw_options *o, struct err *err)
{
	const struct raw_engine e = {.raw = raw, .loop = raw->loop, .fd = raw->fd};
	int r;

	if (o->engines)
		r = raw_engines_take(o->engines, raw, raw->fd, &raw->engine, err);
	else
		r = raw_engine_new(&e, o, &raw->engine, err);
	if (r < 0)
		return r;
	raw->engines = o->engines;
	raw->blk.engine = raw->engine->ops->name;
	log_info("disk I/O by %s", raw->blk.engine);
	return 0;
}

int blk_raw_new(struct loop *loop, int fd, const struct blk_raw_options *o, struct blk **out,
		struct err *err)
{
	static const struct blk_ops ops = {
		.submit = raw_submit,
		.kick = raw_kick,
		.drain = raw_drain,
		.free = raw_free,
		.status = raw_status,
		.resize = raw_resize,
	};
	struct blk_raw *raw = NEW(struct blk_raw);
	int r;

	blk_init(&raw->blk, &ops, loop, NULL);
	raw->blk.is_readonly = o->is_readonly;
	raw->blk.is_container = o->is_container;
	raw->is_unsafe = o->is_unsafe;
	raw->can_reserve = o->reserves && !o->is_readonly;
	raw->owns_lock = o->owns_lock;
	raw->loop = loop;
	raw->fd = fd;
	list_init(&raw->finished);
	list_init(&raw->bounce_waiting);
	list_init(&raw->finish.node);
	raw->finish.fn = raw_on_finish;
	r = raw_find_limits(raw, err);
	if (r == 0)
		r = raw_find_size(raw, err);
	if (r == 0)
		r = raw_get_engine(raw, o, err);
	if (r < 0) {
		raw->fd = -1; /* stays the caller's */
		raw_free(&raw->blk);
		return r;
	}
	if (raw->memory_align > 1) {
		raw->bounce = aligned_alloc(RAW_ALIGN_MAX, RAW_BOUNCE_SLOTS * RAW_BOUNCE_SIZE);
		assert(raw->bounce);
		raw->bounce_free = BIT32(RAW_BOUNCE_SLOTS) - 1;
	}
	*out = &raw->blk;
	return 0;
}
