/*
 * See crash_log.h.
 */
#include "crash_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block_priv.h"
#include "block/iov.h"
#include "test.h"

enum entry_kind { ENTRY_WRITE, ENTRY_ZEROES, ENTRY_RESIZE, ENTRY_FLUSH };

struct entry {
	enum entry_kind kind;
	unsigned file;
	u64 offset, bytes; /* RESIZE: bytes */
	u8 *data;          /* WRITE */
};

struct log_file {
	u8 *bytes; /* as it is when nothing is lost */
	u64 size;
	u8 *base; /* as it was at the start; NULL: empty */
	u64 base_size;
};

struct crash_log {
	struct entry *v;
	size_t n;
	u64 random;
	enum crash_bug bug;
	struct log_file files[CRASH_FILES];
	u64 until_failure; /* requests; 0: none fails */
	int error;
	bool goes_on, has_failed;
};

struct log_disk {
	struct blk blk; /* first */
	struct crash_log *log;
	struct log_file *file;
	unsigned index;
	struct list pending;
	struct loop_task finish;
};

u64 crash_random(u64 *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static struct log_disk *log_of(struct blk *b)
{
	return container_of(b, struct log_disk, blk);
}

static struct entry *log_add(struct crash_log *l, enum entry_kind kind, unsigned file, u64 offset,
			     u64 bytes)
{
	if (l->n % 1024 == 0)
		l->v = mem_grow(l->v, l->n, l->n + 1024, sizeof(*l->v));
	l->v[l->n] = (struct entry){.kind = kind, .file = file, .offset = offset, .bytes = bytes};
	return &l->v[l->n++];
}

/* --- a disk --- */

static void log_do(struct log_disk *d, struct blk_request *r)
{
	struct crash_log *l = d->log;
	u8 *at = d->file->bytes + r->offset;
	u64 end = r->offset + r->bytes;

	CHECK(end <= CRASH_FILE_MAX);
	if (r->op != BLK_READ && r->op != BLK_FLUSH) {
		d->file->size = MAX(d->file->size, end);
		d->blk.size = d->file->size;
	}
	switch (r->op) {
	case BLK_READ:
		blk_iov_scatter(r, at, r->bytes);
		break;
	case BLK_WRITE:
		blk_iov_gather(r, at, r->bytes);
		log_add(l, ENTRY_WRITE, d->index, r->offset, r->bytes)->data =
			memcpy(mem_alloc(1, r->bytes), at, r->bytes);
		break;
	case BLK_DISCARD: /* a file system makes holes */
	case BLK_WRITE_ZEROES:
		memset(at, 0, r->bytes);
		log_add(l, ENTRY_ZEROES, d->index, r->offset, r->bytes);
		break;
	case BLK_FLUSH:
		if (l->bug != CRASH_NO_FLUSH && l->bug != CRASH_NO_ORDER)
			log_add(l, ENTRY_FLUSH, d->index, 0, 0);
		break;
	}
}

static void log_submit(struct blk *b, struct blk_request *r)
{
	struct log_disk *d = log_of(b);

	list_append(&d->pending, &r->node);
	loop_task_post(b->loop, &d->finish);
}

static bool log_fails(struct crash_log *l, const struct blk_request *r)
{
	if (!l->until_failure || (l->error == ENOSPC && (r->op == BLK_READ || r->op == BLK_FLUSH)))
		return false;
	if (--l->until_failure)
		return false;
	l->until_failure = l->goes_on;
	l->has_failed = true;
	return true;
}

/* Some of a write that fails may be there, as of a full disk. */
static int log_serve(struct log_disk *d, struct blk_request *r)
{
	if (!log_fails(d->log, r)) {
		log_do(d, r);
		return 0;
	}
	if (r->op == BLK_WRITE && r->bytes > BLK_SECTOR && crash_random(&d->log->random) % 2) {
		u64 all = r->bytes;

		r->bytes = align_down(all / 2, BLK_SECTOR);
		log_do(d, r);
		r->bytes = all;
	}
	return -d->log->error;
}

/* In any order, and done only now: that is when it is in the file. A flush covers what is done. */
static void log_finish_one(struct log_disk *d)
{
	struct list *node = d->pending.next;
	struct blk_request *r;

	for (u64 n = crash_random(&d->log->random) % 3; n && node->next != &d->pending; n--)
		node = node->next;
	r = list_entry(node, struct blk_request, node);
	list_remove(node);
	r->done(r, log_serve(d, r));
}

static void log_on_finish(struct loop_task *t)
{
	struct log_disk *d = container_of(t, struct log_disk, finish);

	if (!list_is_empty(&d->pending)) /* a drain may have been quicker */
		log_finish_one(d);
	if (!list_is_empty(&d->pending))
		loop_task_post(d->blk.loop, t);
	blk_end_round(&d->blk);
}

static void log_kick(struct blk *b)
{
	(void)b;
}

static void log_drain(struct blk *b)
{
	struct log_disk *d = log_of(b);

	while (!list_is_empty(&d->pending))
		log_finish_one(d);
	blk_end_round(b);
}

static int log_resize(struct blk *b, u64 size, struct err *err)
{
	struct log_disk *d = log_of(b);

	CHECK(size <= CRASH_FILE_MAX);
	if (log_fails(d->log, &(struct blk_request){.op = BLK_WRITE}))
		return err_errno(err, -d->log->error, "cannot change its size");
	if (size < d->file->size)
		memset(d->file->bytes + size, 0, d->file->size - size);
	b->size = d->file->size = size;
	log_add(d->log, ENTRY_RESIZE, d->index, 0, size);
	return 0;
}

static void log_free(struct blk *b)
{
	struct log_disk *d = log_of(b);

	if (d->finish.is_posted)
		loop_task_cancel(b->loop, &d->finish);
	free(d);
}

struct blk *crash_log_disk(struct crash_log *l, struct loop *loop, unsigned file)
{
	static const struct blk_ops ops = {
		.submit = log_submit,
		.kick = log_kick,
		.drain = log_drain,
		.free = log_free,
		.resize = log_resize,
	};
	struct log_disk *d = NEW(struct log_disk);

	blk_init(&d->blk, &ops, loop, "log");
	d->blk.block_size = BLK_SECTOR;
	d->blk.is_container = d->blk.is_growable = true;
	d->log = l;
	d->file = &l->files[file];
	d->index = file;
	d->blk.size = d->file->size;
	list_init(&d->pending);
	list_init(&d->finish.node);
	d->finish.fn = log_on_finish;
	return &d->blk;
}

/* --- the log --- */

struct crash_log *crash_log_new(u64 seed)
{
	struct crash_log *l = NEW(struct crash_log);

	l->random = seed * 7919 + 1;
	for (unsigned i = 0; i < CRASH_FILES; i++) {
		l->files[i].bytes = mmap(NULL, CRASH_FILE_MAX, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(l->files[i].bytes != MAP_FAILED);
	}
	return l;
}

void crash_log_free(struct crash_log *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i].data);
	for (unsigned i = 0; i < CRASH_FILES; i++) {
		munmap(l->files[i].bytes, CRASH_FILE_MAX);
		free(l->files[i].base);
	}
	free(l->v);
	free(l);
}

void crash_log_load(struct crash_log *l, unsigned file, int fd)
{
	struct log_file *f = &l->files[file];

	CHECK_EQ(fd_size(fd, &f->size), 0);
	CHECK(f->size <= CRASH_FILE_MAX);
	CHECK_EQ(fd_pread_full(fd, f->bytes, f->size, 0), 0);
	f->base = mem_alloc(1, f->size + 1);
	memcpy(f->base, f->bytes, f->size);
	f->base_size = f->size;
}

void crash_log_set_bug(struct crash_log *l, enum crash_bug bug)
{
	l->bug = bug;
}

void crash_log_fail(struct crash_log *l, u64 nth, int error, bool goes_on)
{
	l->until_failure = nth;
	l->error = error;
	l->goes_on = goes_on;
	l->has_failed = false;
}

bool crash_log_has_failed(const struct crash_log *l)
{
	return l->has_failed;
}

size_t crash_log_length(const struct crash_log *l)
{
	return l->n;
}

void crash_log_flushed(struct crash_log *l)
{
	for (unsigned i = 0; i < CRASH_FILES; i++)
		log_add(l, ENTRY_FLUSH, i, 0, 0);
}

/* --- what a cut leaves --- */

struct cut {
	u8 *bytes;
	u64 size;
	u64 *random;
};

static void cut_resize(struct cut *c, u64 size)
{
	if (size < c->size)
		memset(c->bytes + size, 0, c->size - size);
	c->size = size;
}

static void cut_apply(struct cut *c, const struct entry *e, bool is_safe)
{
	if (e->kind == ENTRY_FLUSH || e->kind == ENTRY_RESIZE)
		return;
	if (!is_safe && crash_random(c->random) % 2)
		return;
	for (u64 at = 0; at < e->bytes; at += BLK_SECTOR) {
		u64 n = MIN(e->bytes - at, BLK_SECTOR);

		if (!is_safe && crash_random(c->random) % 4 == 0)
			continue; /* torn */
		if (e->kind == ENTRY_WRITE)
			memcpy(c->bytes + e->offset + at, e->data + at, n);
		else
			memset(c->bytes + e->offset + at, 0, n);
		c->size = MAX(c->size, e->offset + at + n);
	}
}

static size_t last_flush_before(const struct crash_log *l, size_t cut, unsigned file)
{
	while (cut && (l->v[cut - 1].kind != ENTRY_FLUSH || l->v[cut - 1].file != file))
		cut--;
	return cut;
}

static void cut_replay(struct cut *c, const struct crash_log *l, size_t at, unsigned file)
{
	size_t safe = last_flush_before(l, at, file);
	size_t sized = safe + crash_random(c->random) % (at - safe + 1);

	for (size_t i = 0; i < at; i++) {
		const struct entry *e = &l->v[i];

		if (e->file != file)
			continue;
		if (e->kind == ENTRY_RESIZE && i < sized)
			cut_resize(c, e->bytes);
		else
			cut_apply(c, e, i < safe);
	}
}

int crash_log_cut(const struct crash_log *l, size_t at, unsigned file, u64 *random)
{
	const struct log_file *f = &l->files[file];
	int fd = memfd_create("cut", MFD_CLOEXEC);
	struct cut c = {.size = f->base_size, .random = random};

	CHECK_EQ(ftruncate(fd, (off_t)CRASH_FILE_MAX), 0);
	c.bytes = mmap(NULL, CRASH_FILE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(c.bytes != MAP_FAILED);
	if (f->base)
		memcpy(c.bytes, f->base, f->base_size);
	cut_replay(&c, l, at, file);
	munmap(c.bytes, CRASH_FILE_MAX);
	CHECK_EQ(ftruncate(fd, (off_t)c.size), 0);
	return fd;
}
