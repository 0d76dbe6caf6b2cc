/*
 * The random model: requests, several at a time and over each other, resizes, snapshots, emptying, commits,
 * closing and opening, on an image and on an array of what each of its sectors must hold; the image is checked.
 *
 * Each sector that a write covers holds the write's number. Requests that are out together have no order: a
 * sector holds what any of them wrote to it, whole. MODEL_OPS=N in the environment makes N requests of each kind
 * of image, MODEL_SEED=N others.
 */
#include "crash_guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/co.h"
#include "base/err.h"
#include "block/hub.h"
#include "block/io.h"
#include "crash_log.h"
#include "format_check.h"
#include "image/job.h"
#include "test.h"

#define AT_ONCE    8
#define DISK       (2 * MIB + 3 * BLK_SECTOR)
#define DISK_MOST  (4 * MIB)
#define SECTORS    (DISK_MOST / BLK_SECTOR)
#define REQUEST    300 /* sectors */
#define SNAPSHOTS  4
#define MANAGES    40 /* batches between what isn't a request */
#define OPERATIONS 4000

struct kind {
	const char *format, *options;
	bool is_chain; /* over another such image */
};

static const struct kind kinds[] = {
	{"raw", NULL, false},
	{"qcow2", "cluster_size=4K", false},
	{"qcow2", "cluster_size=16K,extended_l2=on", false},
	{"qcow2", "lazy_refcounts=on", false},
	{"qcow2", "cluster_size=4K", true},
	{"vdi", NULL, false},
	{"vpc", NULL, false},
	{"vhdx", NULL, false},
	{"vmdk", NULL, false},
};

struct request {
	struct play *m;
	enum blk_op op;
	u64 first, n, number; /* number: of each sector afterwards */
	u8 bytes[REQUEST * BLK_SECTOR];
};

struct saved {
	char name[16];
	u64 size, sectors[SECTORS];
};

struct play {
	const struct kind *kind;
	struct loop *loop;
	struct co_pool *pool;
	struct blk *b;
	int fds[2];
	u64 random, number, n_done;
	u64 sectors[SECTORS];
	struct request requests[AT_ONCE];
	unsigned n_requests, n_running;
	struct saved saved[SNAPSHOTS];
	unsigned n_saved;
};

/* --- requests --- */

static u64 draw(struct play *m, u64 n)
{
	return crash_random(&m->random) % n;
}

static bool request_covers(const struct request *r, u64 sector)
{
	return sector >= r->first && sector < r->first + r->n;
}

/* What may the sector hold now that these requests have ended? */
static bool play_may_be(const struct play *m, u64 sector, u64 number)
{
	bool may_be_old = true, is_one = false;

	for (unsigned i = 0; i < m->n_requests; i++) {
		const struct request *r = &m->requests[i];

		if (r->op == BLK_READ || r->op == BLK_FLUSH || !request_covers(r, sector))
			continue;
		may_be_old = may_be_old && r->op == BLK_DISCARD;
		is_one = is_one || number == r->number;
	}
	return is_one || (may_be_old && number == m->sectors[sector]);
}

/* Is it being changed? Then a read may find any part of that. */
static bool play_is_changing(const struct play *m, u64 sector)
{
	for (unsigned i = 0; i < m->n_requests; i++) {
		const struct request *r = &m->requests[i];

		if (r->op != BLK_READ && r->op != BLK_FLUSH && request_covers(r, sector))
			return true;
	}
	return false;
}

static void play_learn(struct play *m, u64 sector, const u8 *bytes)
{
	u64 number = le64_load(bytes);
	u8 want[BLK_SECTOR];

	guest_fill(want, number);
	if (memcmp(want, bytes, BLK_SECTOR) || !play_may_be(m, sector, number))
		fail_msg("%s, after %lu requests: sector %lu holds %#lx, not %#lx", m->kind->format,
			 m->n_done, sector, number, m->sectors[sector]);
	m->sectors[sector] = number;
}

static void play_serve(void *arg)
{
	struct request *r = arg;
	struct play *m = r->m;
	u64 offset = r->first * BLK_SECTOR, bytes = r->n * BLK_SECTOR;

	switch (r->op) {
	case BLK_READ:
		CHECK_EQ(blk_read(m->b, offset, r->bytes, bytes), 0);
		for (u64 i = 0; i < r->n; i++) {
			if (!play_is_changing(m, r->first + i))
				play_learn(m, r->first + i, r->bytes + i * BLK_SECTOR);
		}
		break;
	case BLK_WRITE:
		CHECK_EQ(blk_write(m->b, offset, r->bytes, bytes), 0);
		break;
	case BLK_WRITE_ZEROES:
		CHECK_EQ(blk_write_zeroes(m->b, offset, bytes, r->first % 2), 0);
		break;
	case BLK_DISCARD:
		CHECK_EQ(blk_discard(m->b, offset, bytes), 0);
		break;
	case BLK_FLUSH:
		CHECK_EQ(blk_flush(m->b), 0);
		break;
	}
	m->n_running--;
}

static void play_draw_request(struct play *m, struct request *r)
{
	static const enum blk_op ops[] = {
		BLK_READ,  BLK_READ,         BLK_READ,         BLK_WRITE,   BLK_WRITE, BLK_WRITE,
		BLK_WRITE, BLK_WRITE_ZEROES, BLK_WRITE_ZEROES, BLK_DISCARD, BLK_FLUSH};
	u64 all = m->b->size / BLK_SECTOR, most = draw(m, 8) ? 24 : REQUEST;

	r->m = m;
	r->op = ops[draw(m, ARRAY_SIZE(ops))];
	/* Often in the same place, so that they meet. */
	r->first = draw(m, 2) ? draw(m, all) : (m->n_done / 64 * 97 + draw(m, 64)) % all;
	r->n = 1 + draw(m, MIN(most, all - r->first));
	r->number = r->op == BLK_WRITE ? ++m->number : 0;
	for (u64 s = 0; s < r->n && r->op == BLK_WRITE; s++)
		guest_fill(r->bytes + s * BLK_SECTOR, r->number);
}

static void play_batch(struct play *m)
{
	static u8 now[REQUEST * BLK_SECTOR];

	m->n_requests = 1 + (unsigned)draw(m, AT_ONCE);
	for (unsigned i = 0; i < m->n_requests; i++)
		play_draw_request(m, &m->requests[i]);
	m->n_running = m->n_requests;
	for (unsigned i = 0; i < m->n_requests; i++)
		co_start(m->pool, play_serve, &m->requests[i]);
	while (m->n_running)
		blk_drain(m->b);
	for (unsigned i = 0; i < m->n_requests; i++) {
		const struct request *r = &m->requests[i];

		if (r->op == BLK_READ || r->op == BLK_FLUSH)
			continue;
		CHECK_EQ(blk_read(m->b, r->first * BLK_SECTOR, now, r->n * BLK_SECTOR), 0);
		for (u64 s = 0; s < r->n; s++)
			play_learn(m, r->first + s, now + s * BLK_SECTOR);
	}
	m->n_done += m->n_requests;
	m->n_requests = 0;
}

static void play_compare(struct play *m)
{
	static u8 now[DISK_MOST];

	CHECK_EQ(blk_read(m->b, 0, now, m->b->size), 0);
	for (u64 s = 0; s < m->b->size / BLK_SECTOR; s++)
		play_learn(m, s, now + s * BLK_SECTOR);
}

/* --- opening --- */

static int open_beneath(void *opaque, const struct img_child *child, struct blk **out,
			struct err *err)
{
	struct play *m = opaque;
	const struct img_open_options o = {.loop = m->loop, .is_readonly = true};

	(void)child;
	return img_open(&img_qcow2, model_file_of(m->loop, m->fds[1], true), &o, out, err);
}

static void play_open(struct play *m)
{
	const struct img_opener opener = {.opaque = m, .open = open_beneath};

	m->b = format_open(m->loop, img_find_format(m->kind->format), m->fds[0], &opener);
}

static void play_reopen(struct play *m)
{
	const struct img_opener opener = {.opaque = m, .open = open_beneath};

	blk_free(m->b);
	format_is_sound(m->loop, img_find_format(m->kind->format), m->fds[0], &opener, 0);
	play_open(m);
	play_compare(m);
}

/* --- what isn't a request --- */

static void play_resize(struct play *m)
{
	const struct img_format *f = img_find_format(m->kind->format);
	u64 old = m->b->size, size = DISK + draw(m, (DISK_MOST - DISK) / BLK_SECTOR) * BLK_SECTOR;
	struct err err = ERR_INIT;

	if (f != &img_qcow2 && f != &img_raw)
		size = MAX(size, old);
	if (f == &img_vmdk)
		return;
	if (blk_resize(m->b, size, &err) < 0)
		fail_msg("%s", err.text);
	for (u64 s = MIN(old, size) / BLK_SECTOR; s < SECTORS; s++)
		m->sectors[s] = 0;
}

static void play_snapshot(struct play *m)
{
	const struct image_ops *ops = m->b->image;
	struct saved *s = &m->saved[draw(m, SNAPSHOTS)];
	struct err err = ERR_INIT;
	int r = 0;

	if (!ops->snapshot_create)
		return;
	if (!s->size) {
		snprintf(s->name, sizeof(s->name), "s%lu", (u64)(s - m->saved));
		s->size = m->b->size;
		memcpy(s->sectors, m->sectors, sizeof(s->sectors));
		r = ops->snapshot_create(m->b, s->name, 1, &err);
	} else if (draw(m, 2)) {
		memcpy(m->sectors, s->sectors, sizeof(s->sectors));
		r = ops->snapshot_apply(m->b, s->name, &err);
	} else {
		s->size = 0;
		r = ops->snapshot_delete(m->b, s->name, &err);
	}
	if (r < 0)
		fail_msg("%s", err.text);
}

static void on_replaced(void *opaque, struct blk *old)
{
	*(struct blk **)opaque = old;
}

/* Into what is beneath; then it begins again, empty. */
static void play_commit(struct play *m)
{
	const struct img_open_options alone = {.loop = m->loop};
	struct blk *old = NULL, *hub;
	struct img_job_options o = {
		.kind = IMG_JOB_COMMIT, .layers = 1, .replaced = on_replaced, .opaque = &old};
	struct img_job_status s = {.state = IMG_JOB_RUNNING};
	struct err err = ERR_INIT;
	struct img_job *job;

	CHECK_EQ(blk_hub_new(m->loop, m->b, &hub, &err), 0);
	CHECK_EQ(img_open(&img_qcow2, model_file_of(m->loop, m->fds[1], false), &alone, &o.target,
			  &err),
		 0);
	CHECK_EQ(img_job_start(hub, &o, &job, &err), 0);
	while (s.state == IMG_JOB_RUNNING || s.state == IMG_JOB_READY) {
		loop_step(m->loop, true);
		img_job_get_status(job, &s);
	}
	CHECK_EQ(s.state, IMG_JOB_DONE);
	blk_free(old);
	img_job_free(job);
	blk_free(hub);
	play_open(m);
	CHECK_EQ(m->b->image->make_empty(m->b, &err), 0);
	play_compare(m);
}

/* A snapshot of what lies over something doesn't know what a commit changes beneath. */
static void play_manage(struct play *m)
{
	u64 what = draw(m, 4);

	if (!what)
		play_reopen(m);
	else if (m->kind->is_chain)
		play_commit(m);
	else if (what == 1)
		play_resize(m);
	else
		play_snapshot(m);
	play_compare(m);
}

/* --- all of it --- */

static u64 from_environment(const char *name, u64 otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static void play_make(struct play *m)
{
	struct img_create_options o = {.loop = m->loop,
				       .size = DISK,
				       .backing_name = "base",
				       .backing_format = "qcow2",
				       .options = &(struct img_option){"cluster_size", "4K"},
				       .n_options = 1};
	const struct img_format *f = img_find_format(m->kind->format);
	struct err err = ERR_INIT;
	struct blk *file;

	m->fds[1] = -1;
	if (!m->kind->is_chain) {
		m->fds[0] = format_new(m->loop, f, DISK, m->kind->options);
		return;
	}
	m->fds[1] = format_new(m->loop, f, DISK, NULL);
	file = model_file(m->loop, &m->fds[0]);
	CHECK_EQ(img_create(f, file, &o, &err), 0);
	blk_free(file);
}

static void holds(const struct kind *k)
{
	struct play *m = NEW(struct play);
	u64 n = from_environment("MODEL_OPS", OPERATIONS);
	u64 seed = from_environment("MODEL_SEED", 1);
	struct err err = ERR_INIT;

	m->kind = k;
	m->random = (seed + (u64)(k - kinds) * 1000) * 0x9e3779b97f4a7c15 + 1;
	CHECK_EQ(loop_new(&m->loop, &err), 0);
	CHECK_EQ(co_pool_new(AT_ONCE, &m->pool, &err), 0);
	play_make(m);
	play_open(m);
	for (u64 batch = 1; m->n_done < n; batch++) {
		play_batch(m);
		if (batch % MANAGES == 0)
			play_manage(m);
	}
	play_reopen(m);
	print_message("%s %s: %lu requests, seed %lu\n", k->format, k->options ? k->options : "",
		      m->n_done, seed);
	blk_free(m->b);
	close(m->fds[0]);
	if (m->fds[1] >= 0)
		close(m->fds[1]);
	co_pool_free(m->pool);
	loop_free(m->loop);
	free(m);
}

TEST(every_kind_of_image_is_what_the_model_says)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		holds(&kinds[i]);
}
