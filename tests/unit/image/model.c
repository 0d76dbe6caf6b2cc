/*
 * See model.h. Operations run in coroutines: up to MODEL_AT_ONCE of them, whose ranges are in different
 * stripes of the disk, which are drawn anew for each batch.
 */
#include "model.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "block/io.h"
#include "test.h"

#define MODEL_AT_ONCE   8
#define MODEL_BYTES_MAX (192 * KIB) /* of one operation */

struct model {
	struct blk *b;
	struct co_pool *pool;
	u8 *bytes;
	u64 size, random;
	unsigned n_running;
};

struct job {
	struct model *m;
	enum blk_op op;
	u64 offset, bytes;
	u8 *buf;
	bool is_fua, may_unmap;
};

struct blk *model_file_of(struct loop *loop, int fd, bool is_readonly)
{
	const struct blk_raw_options o = {.is_container = true, .is_readonly = is_readonly};
	struct err err = ERR_INIT;
	struct blk *file;

	if (blk_raw_new(loop, fcntl(fd, F_DUPFD_CLOEXEC, 0), &o, &file, &err) < 0)
		fail_msg("%s", err.text);
	return file;
}

struct blk *model_file(struct loop *loop, int *fd_out)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct blk *file = model_file_of(loop, fd, false);

	if (fd_out)
		*fd_out = fd;
	else
		close(fd);
	return file;
}

static u64 model_random(struct model *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

struct model *model_new(struct blk *b, u64 seed)
{
	struct model *m = NEW(struct model);
	struct err err = ERR_INIT;

	m->b = b;
	m->size = b->size;
	m->random = seed * 0x9e3779b97f4a7c15 + 1;
	m->bytes = mem_alloc(1, m->size);
	CHECK_EQ(co_pool_new(MODEL_AT_ONCE, &m->pool, &err), 0);
	CHECK_EQ(blk_read(b, 0, m->bytes, m->size), 0);
	return m;
}

void model_free(struct model *m)
{
	co_pool_free(m->pool);
	free(m->bytes);
	free(m);
}

/* Each of its sectors is what it was, or zeros; the model learns which. */
static void model_look_at_discarded(struct model *m, const struct job *j, const u8 *now)
{
	static const u8 zeros[BLK_SECTOR];

	for (u64 at = 0; at < j->bytes; at += BLK_SECTOR) {
		u8 *was = m->bytes + j->offset + at;

		if (memcmp(now + at, was, BLK_SECTOR) == 0)
			continue;
		if (memcmp(now + at, zeros, BLK_SECTOR) != 0)
			fail_msg("after a discard, sector %lu is neither",
				 (j->offset + at) / BLK_SECTOR);
		memset(was, 0, BLK_SECTOR);
	}
}

static void model_check_read(const struct model *m, const struct job *j)
{
	const u8 *want = m->bytes + j->offset;

	for (u64 at = 0; at < j->bytes; at++) {
		if (j->buf[at] != want[at])
			fail_msg("byte %lu is %02x, not %02x (read of %lu at %lu)", j->offset + at,
				 j->buf[at], want[at], j->bytes, j->offset);
	}
}

static void model_job(void *arg)
{
	struct job *j = arg;
	struct model *m = j->m;
	/* Two pieces, at an odd place, as guests have them. */
	struct iovec iov[2] = {{j->buf, MIN(j->bytes, (u64)700)},
			       {j->buf + 700, j->bytes > 700 ? j->bytes - 700 : 0}};
	struct blk_request r = {.op = j->op,
				.offset = j->offset,
				.bytes = j->bytes,
				.iov = iov,
				.n_iov = j->bytes > 700 ? 2 : 1,
				.is_fua = j->is_fua,
				.may_unmap = j->may_unmap};

	if (j->op == BLK_FLUSH)
		r.offset = r.bytes = 0;
	CHECK_EQ(blk_wait(m->b, &r), 0);
	if (j->op == BLK_READ)
		model_check_read(m, j);
	else if (j->op == BLK_WRITE)
		memcpy(m->bytes + j->offset, j->buf, j->bytes);
	else if (j->op == BLK_WRITE_ZEROES)
		memset(m->bytes + j->offset, 0, j->bytes);
	if (j->op == BLK_DISCARD) {
		CHECK_EQ(blk_read(m->b, j->offset, j->buf, j->bytes), 0);
		model_look_at_discarded(m, j, j->buf);
	}
	free(j->buf);
	free(j);
	m->n_running--;
}

static struct job *model_draw(struct model *m, u64 start, u64 bytes)
{
	static const enum blk_op ops[] = {
		BLK_READ,  BLK_READ,         BLK_READ,         BLK_WRITE,   BLK_WRITE, BLK_WRITE,
		BLK_WRITE, BLK_WRITE_ZEROES, BLK_WRITE_ZEROES, BLK_DISCARD, BLK_FLUSH};
	struct job *j = NEW(struct job);
	u64 sectors = bytes / BLK_SECTOR, first = model_random(m) % sectors, n;
	u64 most = model_random(m) % 4 ? 16 : MODEL_BYTES_MAX / BLK_SECTOR;

	n = 1 + model_random(m) % MIN(most, sectors - first);
	if (model_random(m) % 8 == 0) /* from and to round places */
		first = align_down(first, 128), n = MIN((u64)128, sectors - first);
	*j = (struct job){.m = m,
			  .op = ops[model_random(m) % ARRAY_SIZE(ops)],
			  .offset = start + first * BLK_SECTOR,
			  .bytes = n * BLK_SECTOR,
			  .is_fua = model_random(m) % 16 == 0,
			  .may_unmap = model_random(m) % 2};
	j->buf = mem_alloc(1, j->bytes);
	for (u64 i = 0; i < j->bytes; i += 8)
		*(u64 *)(j->buf + i) = model_random(m) | 1;
	return j;
}

void model_run(struct model *m, unsigned n)
{
	while (n) {
		u64 stripe = m->size / BLK_SECTOR / MODEL_AT_ONCE;
		/* Not at the same places each time. */
		unsigned n_stripes =
			stripe > 1 ? 1 + (unsigned)(model_random(m) % MODEL_AT_ONCE) : 1;

		stripe = m->size / BLK_SECTOR / n_stripes * BLK_SECTOR;
		for (unsigned i = 0; i < n_stripes && n; i++, n--) {
			u64 start = i * stripe;
			u64 bytes = i + 1 == n_stripes ? m->size - start : stripe;

			m->n_running++;
			co_start(m->pool, model_job, model_draw(m, start, bytes));
		}
		while (m->n_running)
			blk_drain(m->b);
	}
}

void model_compare(struct model *m)
{
	struct job whole = {.bytes = m->size, .buf = mem_alloc(1, m->size + 1)};

	CHECK_EQ(m->b->size, m->size);
	CHECK_EQ(blk_read(m->b, 0, whole.buf, m->size), 0);
	model_check_read(m, &whole);
	free(whole.buf);
}

void model_resize(struct model *m, u64 bytes)
{
	struct err err = ERR_INIT;

	if (blk_resize(m->b, bytes, &err) < 0)
		fail_msg("%s", err.text);
	CHECK_EQ(m->b->size, bytes);
	m->bytes = realloc(m->bytes, bytes);
	CHECK(m->bytes);
	if (bytes > m->size)
		memset(m->bytes + m->size, 0, bytes - m->size);
	m->size = bytes;
}

void model_reopened(struct model *m, struct blk *b)
{
	m->b = b;
}

const u8 *model_bytes(const struct model *m)
{
	return m->bytes;
}
