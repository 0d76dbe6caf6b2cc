/*
 * See crash.h.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "block/hub.h"
#include "block/io.h"
#include "crash_guest.h"
#include "model.h"
#include "test.h"

#define CRASH_AT_ONCE 4
#define CRASH_GROWTH  (3 * MIB) /* at most, in all */
#define CRASH_MANAGES 5         /* batches between what is done with the disk */

struct guest {
	const struct crash_plan *plan;
	struct loop *loop;
	struct co_pool *pool;
	struct crash_log *log;
	struct blk *image; /* the disk that the guest has; a hub where there is a job */
	struct guest_past past;
	unsigned n_running;
	u64 random, limit; /* limit: what the guest writes lies before */

	struct img_job *job;
	struct blk *old;                 /* what the job replaced */
	struct guest_state *at_start;    /* of a copy */
	size_t replaced, done;           /* the log's length when the job did, or ended; SIZE_MAX */
	const struct guest_state *saved; /* a snapshot that is there */
};

/* --- images --- */

struct chain { /* what an image's file and the one beneath are opened from */
	const struct crash_plan *plan;
	struct loop *loop;
	struct crash_log *log; /* or */
	int fds[CRASH_FILES];
	bool is_cut_off; /* nothing beneath may be needed */
};

static struct blk *chain_file(const struct chain *c, unsigned i)
{
	return c->log ? crash_log_disk(c->log, c->loop, i)
		      : model_file_of(c->loop, c->fds[i], false);
}

static struct blk *chain_open(const struct chain *c, unsigned i, bool is_readonly,
			      const char *snapshot);

static int chain_open_beneath(void *opaque, const struct img_child *child, struct blk **out,
			      struct err *err)
{
	const struct chain *c = opaque;

	(void)child;
	*out = c->is_cut_off ? NULL : chain_open(c, 1, true, NULL);
	return *out ? 0 : err_set(err, -EACCES, "nothing may be beneath");
}

/* NULL: it doesn't open. */
static struct blk *chain_open(const struct chain *c, unsigned i, bool is_readonly,
			      const char *snapshot)
{
	const struct img_opener opener = {.opaque = (void *)c, .open = chain_open_beneath};
	const struct img_open_options o = {.loop = c->loop,
					   .is_readonly = is_readonly,
					   .opener = &opener,
					   .snapshot = snapshot};
	struct blk *file = chain_file(c, i), *b;
	struct err err = ERR_INIT;

	if (img_open(i ? c->plan->other : c->plan->format, file, &o, &b, &err) == 0)
		return b;
	if (getenv("CRASH_SHOW"))
		print_message("doesn't open: %s\n", err.text);
	blk_free(file);
	return NULL;
}

/* --- the guest --- */

struct guest_job {
	struct guest *g;
	size_t index;
	bool is_flush;
};

static void guest_flush(struct guest *g, struct guest_flush *f)
{
	bool is_early = g->plan->bug == CRASH_EARLY;

	f->begun = ++g->past.time;
	f->done = is_early ? crash_log_length(g->log) : SIZE_MAX;
	CHECK_EQ(blk_flush(g->image), 0);
	if (g->plan->bug == CRASH_NO_ORDER)
		crash_log_flushed(g->log);
	f->done = MIN(f->done, crash_log_length(g->log));
}

static void guest_change(struct guest *g, struct guest_write *w)
{
	u64 offset = w->first * BLK_SECTOR, bytes = w->n * BLK_SECTOR;
	u64 number = (u64)(w - g->past.writes) + 1;
	AUTO(free_ptr) u8 *data = mem_alloc(1, bytes);

	w->begun = crash_log_length(g->log);
	for (u64 i = 0; i < w->n; i++)
		guest_fill(data + i * BLK_SECTOR, number);
	if (w->kind == GUEST_DATA)
		CHECK_EQ(blk_write(g->image, offset, data, bytes), 0);
	else if (w->kind == GUEST_ZEROES)
		CHECK_EQ(blk_write_zeroes(g->image, offset, bytes, number % 2), 0);
	else
		CHECK_EQ(blk_discard(g->image, offset, bytes), 0);
	w->done = ++g->past.time;
}

static void guest_job(void *arg)
{
	struct guest_job *j = arg;
	struct guest *g = j->g;

	if (j->is_flush)
		guest_flush(g, &g->past.flushes[j->index]);
	else
		guest_change(g, &g->past.writes[j->index]);
	g->n_running--;
	free(j);
}

static size_t guest_draw_write(struct guest *g, unsigned stripe, u64 draw)
{
	u64 sectors = g->limit / BLK_SECTOR / CRASH_AT_ONCE;
	u64 first = crash_random(&g->random) % sectors;
	u64 most = crash_random(&g->random) % 4 ? 8 : 300;
	struct guest_write *w =
		guest_add_write(&g->past, stripe * sectors + first,
				1 + crash_random(&g->random) % MIN(most, sectors - first));

	w->kind = draw < 10 ? GUEST_DATA : draw < 12 ? GUEST_ZEROES : GUEST_DISCARD;
	return (size_t)(w - g->past.writes);
}

static void guest_start(struct guest *g, unsigned stripe)
{
	u64 draw = crash_random(&g->random) % 16;
	struct guest_job *j = NEW(struct guest_job);

	*j = (struct guest_job){.g = g, .is_flush = draw >= 13};
	if (j->is_flush)
		j->index = (size_t)(guest_add_flush(&g->past) - g->past.flushes);
	else
		j->index = guest_draw_write(g, stripe, draw);
	g->n_running++;
	co_start(g->pool, guest_job, j);
}

/* --- who looks after the disk --- */

static void manage_resize(struct guest *g)
{
	u64 old = g->image->size, size = old, base = g->plan->size;
	struct guest_write *cut_off = NULL;
	struct guest_size *s;
	struct err err = ERR_INIT;

	if ((g->plan->does & CRASH_SHRINKS) && old > base && crash_random(&g->random) % 2)
		size = base + crash_random(&g->random) % (old - base) / BLK_SECTOR * BLK_SECTOR;
	else if (old < base + CRASH_GROWTH)
		size = old + (1 + crash_random(&g->random) % 2000) * BLK_SECTOR;
	size = MIN(size, base + CRASH_GROWTH);
	if (size < old) {
		cut_off = guest_add_write(&g->past, size / BLK_SECTOR, (old - size) / BLK_SECTOR);
		cut_off->kind = GUEST_ZEROES;
		cut_off->begun = crash_log_length(g->log);
	}
	s = guest_add_size(&g->past, size);
	s->begun = crash_log_length(g->log);
	if (blk_resize(g->image, size, &err) < 0)
		fail_msg("%s", err.text);
	s->done = ++g->past.time;
	if (cut_off)
		cut_off->done = s->done;
}

static void manage_resize_job(void *arg)
{
	struct guest *g = arg;

	manage_resize(g);
	g->n_running--;
}

static struct guest_state *manage_remember(struct guest *g, const char *letter)
{
	struct guest_state *s = guest_add_state(&g->past, g->image, crash_log_length(g->log));

	if (s)
		snprintf(s->name, sizeof(s->name), "%s%zu", letter, g->past.n_states);
	return s;
}

static void manage_apply(struct guest *g, const struct guest_state *s)
{
	struct guest_write *w = guest_add_write(&g->past, 0, g->past.n_sectors);
	struct guest_size *size = guest_add_size(&g->past, s->size);
	struct err err = ERR_INIT;

	w->kind = GUEST_STATE;
	w->state = s->sectors;
	w->begun = size->begun = crash_log_length(g->log);
	CHECK_EQ(g->image->image->snapshot_apply(g->image, s->name, &err), 0);
	w->done = size->done = ++g->past.time;
}

static void manage_snapshot(struct guest *g)
{
	const struct image_ops *ops = g->image->image;
	struct err err = ERR_INIT;
	struct guest_state *s;

	if (g->saved && crash_random(&g->random) % 2) {
		manage_apply(g, g->saved);
	} else if (g->saved && crash_random(&g->random) % 3 == 0) {
		s = &g->past.states[g->saved - g->past.states];
		s->gone = crash_log_length(g->log);
		g->saved = NULL;
		CHECK_EQ(ops->snapshot_delete(g->image, s->name, &err), 0);
	} else if ((s = manage_remember(g, "s"))) {
		CHECK_EQ(ops->snapshot_create(g->image, s->name, 1, &err), 0);
		s->done = crash_log_length(g->log);
		g->saved = s;
	}
}

static void manage_bitmap(struct guest *g)
{
	const struct image_ops *ops = g->image->image;
	struct guest_state *s = manage_remember(g, "b"), *first = NULL;
	struct err err = ERR_INIT;

	if (!s)
		return;
	s->is_bitmap = true;
	for (size_t i = 0; i < g->past.n_states; i++) {
		if (g->past.states[i].is_bitmap && g->past.states[i].gone == SIZE_MAX && !first)
			first = &g->past.states[i];
	}
	switch (first != s ? crash_random(&g->random) % 4 : 3) {
	case 0:
		snprintf(s->name, sizeof(s->name), "%s", first->name);
		CHECK_EQ(ops->bitmap_clear(g->image, s->name, &err), 0);
		break;
	case 1:
		for (size_t i = 0; i < g->past.n_states; i++) {
			if (strcmp(g->past.states[i].name, first->name) == 0)
				g->past.states[i].gone = 0;
		}
		s->gone = 0;
		CHECK_EQ(ops->bitmap_remove(g->image, first->name, &err), 0);
		break;
	default:
		CHECK_EQ(ops->bitmap_add(g->image, s->name, 4 * KIB, &err), 0);
	}
}

static void manage_reopen(struct guest *g)
{
	const struct chain c = {.plan = g->plan, .loop = g->loop, .log = g->log};

	blk_free(g->image);
	g->image = chain_open(&c, 0, false, NULL);
	CHECK(g->image);
}

/* --- jobs --- */

static void job_replaced(void *opaque, struct blk *old)
{
	struct guest *g = opaque;

	g->old = old;
	g->replaced = crash_log_length(g->log);
}

static void job_changed(void *opaque, struct img_job *j)
{
	struct guest *g = opaque;
	struct img_job_status s;

	img_job_get_status(j, &s);
	CHECK(s.state != IMG_JOB_FAILED);
	if (s.state == IMG_JOB_DONE)
		g->done = crash_log_length(g->log);
}

static void job_begin(struct guest *g)
{
	const struct chain c = {.plan = g->plan, .loop = g->loop, .log = g->log};
	struct img_job_options o = {.kind = g->plan->job,
				    .layers = g->plan->job == IMG_JOB_COMMIT,
				    .changed = job_changed,
				    .replaced = job_replaced,
				    .opaque = g};
	struct err err = ERR_INIT;

	if (o.kind == IMG_JOB_COPY)
		g->at_start = manage_remember(g, "c");
	if (o.kind != IMG_JOB_PULL)
		o.target = chain_open(&c, 1, false, NULL);
	if (img_job_start(g->image, &o, &g->job, &err) < 0)
		fail_msg("%s", err.text);
}

static void job_finish(struct guest *g)
{
	while (g->job && g->done == SIZE_MAX)
		loop_step(g->loop, true);
	blk_free(g->old);
	if (g->job)
		img_job_free(g->job);
}

/* --- all that happens --- */

static void guest_manage(struct guest *g, unsigned batch)
{
	unsigned does = g->plan->does, draw;

	if (does & CRASH_JOB) {
		if (batch == g->plan->n_operations / CRASH_AT_ONCE / 3)
			job_begin(g);
		return;
	}
	if (!does || batch % CRASH_MANAGES)
		return;
	do
		draw = 1u << crash_random(&g->random) % 5;
	while (!(does & draw));
	if (draw == CRASH_SNAPSHOTS)
		manage_snapshot(g);
	else if (draw == CRASH_BITMAPS)
		manage_bitmap(g);
	else if (draw == CRASH_REOPENS)
		manage_reopen(g);
	else if (batch % 2)
		manage_resize(g);
	else {
		g->n_running++;
		co_start(g->pool, manage_resize_job, g); /* while the guest writes */
	}
}

static void guest_run(struct guest *g)
{
	for (unsigned batch = 0; batch < g->plan->n_operations / CRASH_AT_ONCE; batch++) {
		/* A disk that shrinks is not written where it is cut off. */
		g->limit = g->plan->does & CRASH_SHRINKS ? g->plan->size : g->image->size;
		if ((g->plan->does & CRASH_SHRINKS) && batch % CRASH_MANAGES)
			g->limit = g->image->size;
		guest_manage(g, batch);
		g->limit = MIN(g->limit, g->image->size);
		for (unsigned i = 0; i < CRASH_AT_ONCE; i++)
			guest_start(g, i);
		while (g->n_running)
			loop_step(g->loop, true);
	}
	job_finish(g);
}

static void guest_create(struct guest *g, unsigned file, const struct img_format *f, bool is_backed)
{
	struct img_create_options o = {.loop = g->loop, .size = g->plan->size};
	struct blk *disk = crash_log_disk(g->log, g->loop, file), *beneath = NULL;
	const struct chain c = {.plan = g->plan, .loop = g->loop, .log = g->log};
	struct err err = ERR_INIT;
	int r = 0;

	if (file == 0)
		o.options = g->plan->options;
	while (o.options && o.options[o.n_options].name)
		o.n_options++;
	if (is_backed) {
		o.backing = beneath = chain_open(&c, 1, true, NULL);
		o.backing_name = "base";
		o.backing_format = g->plan->other->name;
	}
	if (f == &img_raw)
		r = blk_resize(disk, g->plan->size, &err);
	else
		r = img_create(f, disk, &o, &err);
	if (r < 0)
		fail_msg("%s", err.text);
	blk_free(disk);
	blk_free(beneath);
}

/* The layer beneath has contents; all that is there when it begins is promised. */
static void guest_prepare(struct guest *g)
{
	const struct crash_plan *p = g->plan;
	const struct chain c = {.plan = p, .loop = g->loop, .log = g->log};
	struct err err = ERR_INIT;
	struct guest_flush *f;

	if (p->other)
		guest_create(g, 1, p->other, false);
	if (p->is_backed) {
		g->image = chain_open(&c, 1, false, NULL);
		CHECK(g->image);
		g->limit = g->image->size;
		for (unsigned i = 0; i < CRASH_AT_ONCE * 4; i++)
			guest_start(g, i % CRASH_AT_ONCE);
		while (g->n_running)
			loop_step(g->loop, true);
		blk_free(g->image);
	}
	guest_create(g, 0, p->format, p->is_backed);
	g->image = chain_open(&c, 0, false, NULL);
	CHECK(g->image);
	if (p->does & CRASH_JOB)
		CHECK_EQ(blk_hub_new(g->loop, g->image, &g->image, &err), 0);
	crash_log_flushed(g->log);
	f = guest_add_flush(&g->past);
	f->begun = ++g->past.time;
	f->done = crash_log_length(g->log);
	crash_log_set_bug(g->log, p->bug);
}

/* --- what a cut left --- */

/* CRASH_SHOW in the environment: what the check says. */
static void show_finding(void *opaque, bool is_corruption, const char *text)
{
	(void)opaque;
	if (getenv("CRASH_SHOW"))
		print_message("%s: %s\n", is_corruption ? "corruption" : "leak", text);
}

static const char *check_wrong(const struct crash_plan *p, struct blk *image)
{
	struct img_check check = {.report = show_finding};
	struct err err = ERR_INIT;

	if (!image->image || !image->image->check)
		return NULL;
	if (image->image->check(image, 0, &check, &err) < 0)
		return "it can't be checked";
	if (check.corruptions && p->is_repaired) {
		image->image->check(image, IMG_REPAIR_ALL, &check, &err);
		check = (struct img_check){0};
		image->image->check(image, 0, &check, &err);
	}
	return check.corruptions || check.errors ? "its check finds corruptions" : NULL;
}

/* Sound but for leaks. What qemu-img calls a mismatch in VDI are blocks that are counted and nobody's. */
static const char *qemu_wrong(const struct img_format *f, int fd)
{
	char command[400];

	snprintf(command, sizeof(command),
		 "out=$(qemu-img check -q -f %s /proc/%d/fd/%d 2>&1)\n"
		 "case $? in 0 | 3 | 63) exit 0 ;; 2) ;; *) exit 1 ;; esac\n"
		 "! echo \"$out\" | grep ERROR | grep -qv 'allocated blocks mismatch'",
		 f->name, (int)getpid(), fd);
	return system(command) ? "qemu-img check finds corruptions" : NULL;
}

static const char *snapshots_wrong(const struct guest *g, const struct chain *c, size_t cut)
{
	const char *why = NULL;

	for (size_t i = 0; i < g->past.n_states && !why; i++) {
		const struct guest_state *s = &g->past.states[i];
		struct blk *b;

		if (s->is_bitmap || s == g->at_start || s->done > cut || s->gone <= cut)
			continue;
		b = chain_open(c, 0, true, s->name);
		why = b ? guest_state_wrong(s, b) : "a snapshot doesn't open";
		blk_free(b);
	}
	return why;
}

static const char *copy_wrong(const struct guest *g, const struct chain *c, size_t cut)
{
	struct blk *b;
	const char *why;

	if (!g->at_start || cut < g->done)
		return NULL;
	b = chain_open(c, 1, true, NULL);
	why = b ? guest_state_wrong(g->at_start, b) : "the copy doesn't open";
	blk_free(b);
	return why;
}

static const char *chain_wrong(const struct guest *g, struct chain *c, size_t cut)
{
	unsigned top = cut >= g->replaced;
	struct blk *b;
	const char *why;

	c->is_cut_off = top || (g->plan->does & CRASH_JOB && cut >= g->done &&
				g->plan->job == IMG_JOB_PULL);
	b = chain_open(c, top, false, NULL);
	if (!b)
		return "it doesn't open";
	why = check_wrong(g->plan, b);
	if (!why)
		why = guest_disk_wrong(&g->past, b, cut);
	blk_free(b);
	if (!why)
		why = snapshots_wrong(g, c, cut);
	return why ? why : copy_wrong(g, c, cut);
}

/* It is opened and mended, and in that comes another cut. */
static void cut_again(const struct guest *g, struct chain *c, size_t at, u64 *random)
{
	struct crash_log *log = crash_log_new(*random);
	struct chain again = {.plan = g->plan, .loop = g->loop, .log = log};
	struct img_check check = {0};
	struct err err = ERR_INIT;
	struct blk *b;
	size_t n;

	for (unsigned i = 0; i < CRASH_FILES; i++)
		crash_log_load(log, i, c->fds[i]);
	b = chain_open(&again, at >= g->replaced, false, NULL);
	if (b && b->image && b->image->check)
		b->image->check(b, IMG_REPAIR_ALL, &check, &err);
	blk_free(b);
	n = crash_log_length(log);
	n = crash_random(random) % (n + 1);
	for (unsigned i = 0; i < CRASH_FILES; i++) {
		close(c->fds[i]);
		c->fds[i] = crash_log_cut(log, n, i, random);
	}
	crash_log_free(log);
}

static const char *cut_wrong(const struct guest *g, size_t at, u64 *random, unsigned number)
{
	struct chain c = {.plan = g->plan, .loop = g->loop};
	const char *why;

	for (unsigned i = 0; i < CRASH_FILES; i++)
		c.fds[i] = crash_log_cut(g->log, at, i, random);
	if (number % 4 == 1)
		cut_again(g, &c, at, random);
	why = chain_wrong(g, &c, at);
	if (why && getenv("CRASH_SHOW"))
		print_message("cut %u at %zu (of %zu, done %zu), %s\n", number, at,
			      crash_log_length(g->log), g->done,
			      number % 4 == 1 ? "and again" : "once");
	if (!why && g->plan->asks_qemu && number % 8 == 0)
		why = qemu_wrong(g->plan->format, c.fds[0]);
	for (unsigned i = 0; i < CRASH_FILES; i++)
		close(c.fds[i]);
	return why;
}

/* --- all of it --- */

const char *crash_run(const struct crash_plan *p)
{
	struct guest g = {.plan = p,
			  .random = p->seed * 0x9e3779b97f4a7c15 + 1,
			  .replaced = SIZE_MAX,
			  .done = SIZE_MAX};
	const char *why = NULL;
	struct err err = ERR_INIT;
	size_t first;

	CHECK_EQ(loop_new(&g.loop, &err), 0);
	CHECK_EQ(co_pool_new(CRASH_AT_ONCE * 4, &g.pool, &err), 0);
	guest_init(&g.past, p->size, p->size + CRASH_GROWTH, p->n_operations * 2 + 64);
	g.log = crash_log_new(p->seed);
	guest_prepare(&g);
	first = crash_log_length(g.log);
	guest_run(&g);
	for (unsigned i = 0; i < p->n_cuts && !why; i++) {
		size_t at = first + crash_random(&g.random) % (crash_log_length(g.log) - first + 1);

		why = cut_wrong(&g, at, &g.random, i);
	}
	blk_free(g.image);
	crash_log_free(g.log);
	guest_fini(&g.past);
	co_pool_free(g.pool);
	loop_free(g.loop);
	return why;
}
