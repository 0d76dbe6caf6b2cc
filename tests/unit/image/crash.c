/*
 * See crash.h.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/co.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block_priv.h"
#include "block/io.h"
#include "block/iov.h"
#include "model.h"
#include "test.h"

#define CRASH_AT_ONCE  4
#define CRASH_FILE_MAX (256 * MIB)

/* --- the log --- */

enum entry_kind { ENTRY_WRITE, ENTRY_ZEROES, ENTRY_RESIZE, ENTRY_FLUSH };

struct entry {
	enum entry_kind kind;
	u64 offset, bytes; /* RESIZE: bytes */
	u8 *data;          /* WRITE */
};

struct log_disk {
	struct blk blk; /* first */
	u8 *bytes;      /* the file as it is when nothing is lost */
	struct entry *log;
	size_t n_log;
	struct list pending;
	struct loop_task finish;
	u64 random;
	enum crash_bug bug;
};

static u64 next_random(u64 *r)
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

static struct entry *log_add(struct log_disk *d, enum entry_kind kind, u64 offset, u64 bytes)
{
	if (d->n_log % 1024 == 0)
		d->log = mem_grow(d->log, d->n_log, d->n_log + 1024, sizeof(*d->log));
	d->log[d->n_log] = (struct entry){.kind = kind, .offset = offset, .bytes = bytes};
	return &d->log[d->n_log++];
}

static void log_do(struct log_disk *d, struct blk_request *r)
{
	bool is_dropped = d->bug == CRASH_NO_FLUSH || d->bug == CRASH_NO_ORDER;
	u64 end = r->offset + r->bytes;

	CHECK(end <= CRASH_FILE_MAX);
	if (r->op != BLK_READ && r->op != BLK_FLUSH)
		d->blk.size = MAX(d->blk.size, align_up(end, BLK_SECTOR));
	switch (r->op) {
	case BLK_READ:
		blk_iov_scatter(r, d->bytes + r->offset, r->bytes);
		break;
	case BLK_WRITE:
		blk_iov_gather(r, d->bytes + r->offset, r->bytes);
		log_add(d, ENTRY_WRITE, r->offset, r->bytes)->data =
			memcpy(mem_alloc(1, r->bytes), d->bytes + r->offset, r->bytes);
		break;
	case BLK_DISCARD: /* a file system makes holes */
	case BLK_WRITE_ZEROES:
		memset(d->bytes + r->offset, 0, r->bytes);
		log_add(d, ENTRY_ZEROES, r->offset, r->bytes);
		break;
	case BLK_FLUSH:
		if (!is_dropped)
			log_add(d, ENTRY_FLUSH, 0, 0);
		break;
	}
}

static void log_submit(struct blk *b, struct blk_request *r)
{
	struct log_disk *d = log_of(b);

	list_append(&d->pending, &r->node);
	loop_task_post(b->loop, &d->finish);
}

/* In any order, and done only now: that is when it is in the file. A flush covers what is done. */
static void log_finish_one(struct log_disk *d)
{
	struct list *node = d->pending.next;
	struct blk_request *r;

	for (u64 n = next_random(&d->random) % 3; n && node->next != &d->pending; n--)
		node = node->next;
	r = list_entry(node, struct blk_request, node);
	list_remove(node);
	log_do(d, r);
	r->done(r, 0);
}

static void log_on_finish(struct loop_task *t)
{
	struct log_disk *d = container_of(t, struct log_disk, finish);

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
	if (size < b->size)
		memset(d->bytes + size, 0, b->size - size);
	b->size = size;
	log_add(d, ENTRY_RESIZE, 0, size);
	(void)err;
	return 0;
}

/* What is left of it is the test's. */
static void log_free(struct blk *b)
{
	struct log_disk *d = log_of(b);

	if (d->finish.is_posted)
		loop_task_cancel(b->loop, &d->finish);
}

static struct log_disk *log_new(struct loop *loop, u64 seed)
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
	d->bytes = mmap(NULL, CRASH_FILE_MAX, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(d->bytes != MAP_FAILED);
	d->random = seed * 7919 + 1;
	list_init(&d->pending);
	list_init(&d->finish.node);
	d->finish.fn = log_on_finish;
	return d;
}

static void log_delete(struct log_disk *d)
{
	for (size_t i = 0; i < d->n_log; i++)
		free(d->log[i].data);
	free(d->log);
	munmap(d->bytes, CRASH_FILE_MAX);
	free(d);
}

/* --- the guest --- */

/* Each sector that a write covers holds the write's number, from its first byte to its last. */
struct guest_write {
	u64 first, n; /* sectors */
	bool is_zero; /* zeroes; or a discard, which may have no effect */
	bool is_discard;
	size_t begun; /* the log's length then */
	u64 done;     /* the guest's time; UINT64_MAX: it isn't */
};

struct guest_flush {
	u64 begun;   /* the guest's time */
	size_t done; /* the log's length then; SIZE_MAX: it isn't */
};

struct guest {
	const struct crash_plan *plan;
	struct loop *loop;
	struct co_pool *pool;
	struct log_disk *disk;
	struct blk *image;
	struct guest_write *writes;
	struct guest_flush *flushes;
	size_t n_writes, n_flushes;
	unsigned n_running;
	u64 random, time; /* time: counts what the guest begins and hears of */
};

struct guest_job {
	struct guest *g;
	size_t index;
	u64 first, n;
	enum { JOB_WRITE, JOB_ZEROES, JOB_DISCARD, JOB_FLUSH } kind;
};

static void sector_fill(u8 *sector, u64 number)
{
	for (unsigned i = 0; i < BLK_SECTOR / 8; i++)
		le64_store(sector + i * 8, number);
}

static void guest_flush(struct guest *g, struct guest_flush *f)
{
	f->begun = ++g->time;
	f->done = g->plan->bug == CRASH_EARLY ? g->disk->n_log : SIZE_MAX;
	CHECK_EQ(blk_flush(g->image), 0);
	if (g->plan->bug == CRASH_NO_ORDER)
		log_add(g->disk, ENTRY_FLUSH, 0, 0);
	f->done = MIN(f->done, g->disk->n_log);
}

static void guest_change(struct guest *g, struct guest_job *j)
{
	struct guest_write *w = &g->writes[j->index];
	u64 offset = j->first * BLK_SECTOR, bytes = j->n * BLK_SECTOR;
	AUTO(free_ptr) u8 *data = mem_alloc(1, bytes);

	w->begun = g->disk->n_log;
	for (u64 i = 0; i < j->n; i++)
		sector_fill(data + i * BLK_SECTOR, j->index + 1);
	if (j->kind == JOB_WRITE)
		CHECK_EQ(blk_write(g->image, offset, data, bytes), 0);
	else if (j->kind == JOB_ZEROES)
		CHECK_EQ(blk_write_zeroes(g->image, offset, bytes, j->index % 2), 0);
	else
		CHECK_EQ(blk_discard(g->image, offset, bytes), 0);
	w->done = ++g->time;
}

static void guest_job(void *arg)
{
	struct guest_job *j = arg;
	struct guest *g = j->g;

	if (j->kind == JOB_FLUSH)
		guest_flush(g, &g->flushes[j->index]);
	else
		guest_change(g, j);
	g->n_running--;
	free(j);
}

static void guest_start(struct guest *g, unsigned stripe)
{
	u64 sectors = g->plan->size / BLK_SECTOR / CRASH_AT_ONCE;
	u64 draw = next_random(&g->random) % 16;
	struct guest_job *j = NEW(struct guest_job);

	*j = (struct guest_job){.g = g,
				.kind = draw < 10   ? JOB_WRITE
					: draw < 12 ? JOB_ZEROES
					: draw < 13 ? JOB_DISCARD
						    : JOB_FLUSH};
	g->n_running++;
	if (j->kind == JOB_FLUSH) {
		j->index = g->n_flushes++;
	} else {
		u64 first = next_random(&g->random) % sectors;
		u64 most = next_random(&g->random) % 4 ? 8 : 300;

		j->first = stripe * sectors + first;
		j->n = 1 + next_random(&g->random) % MIN(most, sectors - first);
		j->index = g->n_writes++;
		g->writes[j->index] = (struct guest_write){.first = j->first,
							   .n = j->n,
							   .is_zero = j->kind != JOB_WRITE,
							   .is_discard = j->kind == JOB_DISCARD,
							   .done = UINT64_MAX};
	}
	co_start(g->pool, guest_job, j);
}

static void guest_run(struct guest *g)
{
	for (unsigned done = 0; done < g->plan->n_operations; done += CRASH_AT_ONCE) {
		for (unsigned i = 0; i < CRASH_AT_ONCE; i++)
			guest_start(g, i);
		while (g->n_running)
			loop_step(g->loop, true);
	}
}

/* --- what a cut leaves --- */

struct cut {
	int fd; /* a file with the state */
	u8 *bytes;
	u64 size;
};

static void cut_resize(struct cut *c, u64 size)
{
	if (size < c->size)
		memset(c->bytes + size, 0, c->size - size);
	c->size = size;
}

static void cut_apply(struct cut *c, const struct entry *e, bool is_safe, u64 *random)
{
	if (e->kind == ENTRY_FLUSH || e->kind == ENTRY_RESIZE)
		return;
	if (!is_safe && next_random(random) % 2)
		return;
	for (u64 at = 0; at < e->bytes; at += BLK_SECTOR) {
		u64 n = MIN(e->bytes - at, BLK_SECTOR);

		if (!is_safe && next_random(random) % 4 == 0)
			continue; /* torn */
		if (e->kind == ENTRY_WRITE)
			memcpy(c->bytes + e->offset + at, e->data + at, n);
		else
			memset(c->bytes + e->offset + at, 0, n);
		c->size = MAX(c->size, align_up(e->offset + at + n, BLK_SECTOR));
	}
}

static size_t last_flush_before(const struct log_disk *d, size_t cut)
{
	while (cut && d->log[cut - 1].kind != ENTRY_FLUSH)
		cut--;
	return cut;
}

static void cut_make(struct cut *c, const struct log_disk *d, size_t at, u64 *random)
{
	size_t safe = last_flush_before(d, at);
	/* A file's sizes reach the disk in their order, but when is open. */
	size_t sized = safe + next_random(random) % (at - safe + 1);

	c->fd = memfd_create("cut", MFD_CLOEXEC);
	CHECK_EQ(ftruncate(c->fd, (off_t)CRASH_FILE_MAX), 0);
	c->bytes = mmap(NULL, CRASH_FILE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	CHECK(c->bytes != MAP_FAILED);
	c->size = 0;
	for (size_t i = 0; i < at; i++) {
		if (d->log[i].kind == ENTRY_RESIZE && i < sized)
			cut_resize(c, d->log[i].bytes);
		else
			cut_apply(c, &d->log[i], i < safe, random);
	}
	CHECK_EQ(ftruncate(c->fd, (off_t)c->size), 0);
}

static void cut_end(struct cut *c)
{
	munmap(c->bytes, CRASH_FILE_MAX);
	close(c->fd);
}

/* --- what the guest was promised --- */

/* When the last flush began that was done when the cut came: what was done before that is there. */
static u64 promised_until(const struct guest *g, size_t cut)
{
	u64 until = 0;

	for (size_t i = 0; i < g->n_flushes; i++)
		if (g->flushes[i].done <= cut)
			until = MAX(until, g->flushes[i].begun);
	return until;
}

static bool sector_may_be(const struct guest *g, u64 sector, u64 number, size_t cut)
{
	u64 until = promised_until(g, cut);
	bool may = number == 0; /* as new, unless something is promised */

	for (size_t i = 0; i < g->n_writes; i++) {
		const struct guest_write *w = &g->writes[i];

		if (sector < w->first || sector >= w->first + w->n || w->begun > cut)
			continue;
		if (w->done < until && !w->is_discard)
			may = false; /* only this, and what came later */
		may = may || number == (w->is_zero ? 0 : i + 1);
	}
	return may;
}

static const char *sectors_wrong(const struct guest *g, const u8 *bytes, size_t cut)
{
	u8 want[BLK_SECTOR];

	for (u64 s = 0; s < g->plan->size / BLK_SECTOR; s++) {
		u64 number = le64_load(bytes + s * BLK_SECTOR);

		sector_fill(want, number);
		if (memcmp(bytes + s * BLK_SECTOR, want, BLK_SECTOR))
			return "a sector is no write's";
		if (!sector_may_be(g, s, number, cut))
			return number ? "a flushed write was lost, an older one is there"
				      : "a flushed write was lost";
	}
	return NULL;
}

/* CRASH_SHOW in the environment: what the check says. */
static void show_finding(void *opaque, bool is_corruption, const char *text)
{
	(void)opaque;
	if (getenv("CRASH_SHOW"))
		print_message("%s: %s\n", is_corruption ? "corruption" : "leak", text);
}

static const char *image_wrong(const struct guest *g, struct blk *image, size_t cut)
{
	AUTO(free_ptr) u8 *bytes = mem_alloc(1, g->plan->size);
	struct img_check check = {.report = show_finding};
	struct err err = ERR_INIT;

	if (image->size != g->plan->size)
		return "the disk has another size";
	if (image->image->check && image->image->check(image, 0, &check, &err) < 0)
		return "it can't be checked";
	if (check.corruptions && g->plan->is_repaired) {
		image->image->check(image, IMG_REPAIR_ALL, &check, &err);
		check = (struct img_check){0};
		image->image->check(image, 0, &check, &err);
	}
	if (check.corruptions || check.errors)
		return "its check finds corruptions";
	if (blk_read(image, 0, bytes, g->plan->size) < 0)
		return "it can't be read";
	return sectors_wrong(g, bytes, cut);
}

/* Sound but for leaks. What qemu-img calls a mismatch in VDI are blocks that are counted and nobody's. */
static const char *qemu_wrong(const struct guest *g, const struct cut *c)
{
	char command[400];

	snprintf(command, sizeof(command),
		 "out=$(qemu-img check -q -f %s /proc/%d/fd/%d 2>&1)\n"
		 "case $? in 0 | 3 | 63) exit 0 ;; 2) ;; *) exit 1 ;; esac\n"
		 "! echo \"$out\" | grep ERROR | grep -qv 'allocated blocks mismatch'",
		 g->plan->format->name, (int)getpid(), c->fd);
	return system(command) ? "qemu-img check finds corruptions" : NULL;
}

static const char *cut_wrong(const struct guest *g, size_t at, u64 *random, bool asks_qemu)
{
	const struct img_open_options o = {.loop = g->loop};
	struct err err = ERR_INIT;
	const char *why = NULL;
	struct blk *file, *image;
	struct cut c;

	cut_make(&c, g->disk, at, random);
	file = model_file_of(g->loop, c.fd, false);
	if (img_open(g->plan->format, file, &o, &image, &err) < 0) {
		blk_free(file);
		why = "it doesn't open";
	} else {
		why = image_wrong(g, image, at);
		blk_free(image);
	}
	if (!why && asks_qemu)
		why = qemu_wrong(g, &c);
	cut_end(&c);
	return why;
}

/* --- all of it --- */

static void guest_open(struct guest *g, size_t *out_first)
{
	struct img_create_options create = {
		.loop = g->loop, .size = g->plan->size, .options = g->plan->options};
	const struct img_open_options o = {.loop = g->loop};
	struct err err = ERR_INIT;

	while (create.options && create.options[create.n_options].name)
		create.n_options++;
	if (img_create(g->plan->format, &g->disk->blk, &create, &err) < 0 ||
	    img_open(g->plan->format, &g->disk->blk, &o, &g->image, &err) < 0)
		fail_msg("%s", err.text);
	/* Whoever made it was told that it is there. */
	log_add(g->disk, ENTRY_FLUSH, 0, 0);
	*out_first = g->disk->n_log;
	g->disk->bug = g->plan->bug;
}

const char *crash_run(const struct crash_plan *p)
{
	struct guest g = {.plan = p, .random = p->seed * 0x9e3779b97f4a7c15 + 1};
	const char *why = NULL;
	struct err err = ERR_INIT;
	size_t first;

	CHECK_EQ(loop_new(&g.loop, &err), 0);
	CHECK_EQ(co_pool_new(CRASH_AT_ONCE, &g.pool, &err), 0);
	g.writes = NEW_ARRAY(struct guest_write, p->n_operations + CRASH_AT_ONCE);
	g.flushes = NEW_ARRAY(struct guest_flush, p->n_operations + CRASH_AT_ONCE);
	g.disk = log_new(g.loop, p->seed);
	guest_open(&g, &first);
	guest_run(&g);
	for (unsigned i = 0; i < p->n_cuts && !why; i++) {
		size_t at = first + next_random(&g.random) % (g.disk->n_log - first + 1);

		why = cut_wrong(&g, at, &g.random, p->asks_qemu && i % 8 == 0);
	}
	blk_free(g.image);
	log_delete(g.disk);
	free(g.writes);
	free(g.flushes);
	co_pool_free(g.pool);
	loop_free(g.loop);
	return why;
}
