/* Hubs and block jobs: a guest that writes while they are at work, and what is in the end where. */
#include "model.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/hub.h"
#include "block/io.h"
#include "image/image.h"
#include "image/job.h"
#include "test.h"

#define DISK (5 * MIB + 512)

static struct loop *loop;
static struct blk *hub, *old;
static struct model *guest;
static int disk_fd, target_fd;
static struct img_job *job;
static unsigned n_changes;
static u64 seed;

static struct blk *new_disk(int *fd)
{
	struct blk *b = model_file(loop, fd);
	struct err err = ERR_INIT;

	CHECK_EQ(blk_resize(b, DISK, &err), 0);
	return b;
}

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_hub_new(loop, new_disk(&disk_fd), &hub, &err), 0);
	guest = model_new(hub, ++seed);
	model_run(guest, 200);
	old = NULL;
	n_changes = 0;
}

static void teardown(void)
{
	model_compare(guest);
	img_job_free(job);
	model_free(guest);
	blk_free(hub);
	close(disk_fd);
	close(target_fd);
	loop_free(loop);
}

static void on_changed(void *opaque, struct img_job *j)
{
	(void)opaque;
	(void)j;
	n_changes++;
}

static void on_replaced(void *opaque, struct blk *was)
{
	(void)opaque;
	old = was;
}

static void start(const struct img_job_options *o)
{
	struct img_job_options all = *o;
	struct err err = ERR_INIT;

	all.changed = on_changed;
	all.replaced = on_replaced;
	if (o->kind != IMG_JOB_PULL)
		all.target = new_disk(&target_fd);
	if (img_job_start(hub, &all, &job, &err) < 0)
		fail_msg("%s", err.text);
}

static enum img_job_state state(void)
{
	struct img_job_status s;

	img_job_get_status(job, &s);
	return s.state;
}

/* The guest writes, and the loop runs, until the job is there. */
static void until(enum img_job_state wanted)
{
	for (unsigned i = 0; state() != wanted; i++) {
		if (i % 4 == 0 && i < 400)
			model_run(guest, 3);
		if (state() == wanted)
			return;
		CHECK(state() == IMG_JOB_RUNNING || state() == IMG_JOB_READY);
		loop_step(loop, true);
	}
}

static bool is_same(int fd, const u8 *bytes)
{
	u8 *there = mem_alloc(1, DISK);
	bool is_it;

	CHECK_EQ(fd_pread_full(fd, there, DISK, 0), 0);
	is_it = memcmp(there, bytes, DISK) == 0;
	free(there);
	return is_it;
}

TEST(a_hub_passes_everything)
{
	setup();
	job = NULL;
	target_fd = -1;
	model_run(guest, 500);
	model_compare(guest);
	model_free(guest);
	blk_free(hub);
	close(disk_fd);
	loop_free(loop);
}

TEST(a_copy_is_the_disk_as_it_was)
{
	u8 *was = mem_alloc(1, DISK);

	for (unsigned i = 0; i < 8; i++) {
		setup();
		memcpy(was, model_bytes(guest), DISK);
		start(&(struct img_job_options){.kind = IMG_JOB_COPY});
		model_run(guest, 60);
		until(IMG_JOB_DONE);
		CHECK_EQ(n_changes, 1);
		CHECK(is_same(target_fd, was));
		teardown();
	}
	free(was);
}

TEST(a_mirror_takes_over_what_was_written_meanwhile)
{
	for (unsigned i = 0; i < 8; i++) {
		setup();
		start(&(struct img_job_options){.kind = IMG_JOB_MIRROR, .must_ask = true});
		until(IMG_JOB_READY);
		model_run(guest, 50);
		CHECK_EQ(state(), IMG_JOB_READY);
		CHECK_EQ(img_job_complete(job, &(struct err)ERR_INIT), 0);
		until(IMG_JOB_DONE);
		CHECK(old);
		model_compare(guest);
		CHECK(is_same(target_fd, model_bytes(guest)));
		model_run(guest, 50); /* goes to the target alone */
		blk_free(old);
		CHECK(is_same(target_fd, model_bytes(guest)));
		CHECK(!is_same(disk_fd, model_bytes(guest)));
		teardown();
	}
}

TEST(a_mirror_may_leave_the_guest_where_it_is)
{
	setup();
	start(&(struct img_job_options){.kind = IMG_JOB_MIRROR, .keeps_disk = true});
	until(IMG_JOB_DONE);
	CHECK(!old);
	CHECK(is_same(disk_fd, model_bytes(guest)));
	teardown();
}

TEST(a_cancelled_job_leaves_no_trace)
{
	static const enum img_job_kind kinds[] = {IMG_JOB_COPY, IMG_JOB_MIRROR};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		setup();
		start(&(struct img_job_options){.kind = kinds[i], .bytes_per_second = 64 * KIB});
		model_run(guest, 30);
		CHECK_EQ(state(), IMG_JOB_RUNNING);
		img_job_cancel(job);
		until(IMG_JOB_CANCELLED);
		CHECK(!old && !blk_hub_is_watched(hub));
		CHECK(is_same(disk_fd, model_bytes(guest)));
		teardown();
	}
}

TEST(a_target_that_fails_fails_the_job_alone)
{
	static const enum img_job_kind kinds[] = {IMG_JOB_COPY, IMG_JOB_MIRROR};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct img_job_options o = {
			.kind = kinds[i], .changed = on_changed, .replaced = on_replaced};
		struct img_job_status s;
		struct err err = ERR_INIT;

		setup();
		target_fd = open("/dev/full", O_RDWR | O_CLOEXEC);
		o.target = model_file(loop, NULL);
		CHECK_EQ(blk_resize(o.target, DISK, &err), 0);
		o.target->is_growable = false;
		CHECK_EQ(img_job_start(hub, &o, &job, &err), 0);
		o.target->size = MIB; /* the rest isn't there */
		until(IMG_JOB_FAILED);
		img_job_get_status(job, &s);
		CHECK_EQ(s.error, -ENOSPC);
		CHECK(is_same(disk_fd, model_bytes(guest)));
		teardown();
	}
}

TEST(a_drain_in_the_middle_ends)
{
	for (unsigned i = 0; i < 12; i++) {
		setup();
		start(&(struct img_job_options){.kind = IMG_JOB_MIRROR});
		for (unsigned k = 0; k < i && state() == IMG_JOB_RUNNING; k++)
			loop_step(loop, true);
		model_run(guest, 20); /* drains */
		until(IMG_JOB_DONE);
		CHECK(is_same(target_fd, model_bytes(guest)));
		blk_free(old);
		teardown();
	}
}

/* --- layers --- */

static int layer_fds[3]; /* the bottom's first; each is named by its number */

static int open_layer(void *opaque, const struct img_child *child, struct blk **out,
		      struct err *err);

static struct blk *must_open_layer(unsigned i, bool is_readonly)
{
	const struct img_opener opener = {.open = open_layer};
	const struct img_open_options o = {
		.loop = loop, .is_readonly = is_readonly, .opener = &opener};
	struct err err = ERR_INIT;
	struct blk *b;

	if (img_open(&img_qcow2, model_file_of(loop, layer_fds[i], is_readonly), &o, &b, &err) < 0)
		fail_msg("%s", err.text);
	return b;
}

static int open_layer(void *opaque, const struct img_child *child, struct blk **out,
		      struct err *err)
{
	(void)opaque;
	(void)err;
	*out = must_open_layer((unsigned)(child->name[0] - '0'), true);
	return 0;
}

/* Each layer has a MiB of its own, and the second zeros over what is at the bottom. */
static void make_layers(void)
{
	static u8 data[MIB];
	static const char *const names[] = {"0", "1"};

	for (unsigned i = 0; i < 3; i++) {
		struct img_create_options o = {.loop = loop, .size = DISK};
		struct blk *file = model_file(loop, &layer_fds[i]), *b;
		struct err err = ERR_INIT;

		if (i) {
			o.backing_name = names[i - 1];
			o.backing_format = "qcow2";
		}
		if (img_create(&img_qcow2, file, &o, &err) < 0)
			fail_msg("%s", err.text);
		blk_free(file);
		b = must_open_layer(i, false);
		memset(data, (int)i + 1, sizeof(data));
		CHECK_EQ(blk_write(b, i * MIB, data, MIB), 0);
		if (i == 0)
			CHECK_EQ(blk_write(b, 3 * MIB, data, MIB), 0);
		if (i == 1)
			CHECK_EQ(blk_write_zeroes(b, 3 * MIB, 256 * KIB, true), 0);
		blk_free(b);
	}
}

/* The old layers are closed, so that whoever has them may write to them. */
TEST(a_pull_leaves_nothing_open_beneath)
{
	struct img_job_options o = {.kind = IMG_JOB_PULL, .changed = on_changed};
	struct err err = ERR_INIT;
	struct blk *lower;

	CHECK_EQ(loop_new(&loop, &err), 0);
	make_layers();
	lower = must_open_layer(2, false);
	CHECK(lower->image->backing(lower));
	CHECK_EQ(blk_hub_new(loop, lower, &hub, &err), 0);
	guest = model_new(hub, ++seed);
	CHECK_EQ(img_job_start(hub, &o, &job, &err), 0);
	until(IMG_JOB_DONE);
	CHECK(!lower->image->backing(lower));
	for (unsigned i = 0; i < 2; i++)
		CHECK_EQ(ftruncate(layer_fds[i], 0), 0);
	model_compare(guest);
	model_run(guest, 50);
	model_compare(guest);
	img_job_free(job);
	model_free(guest);
	blk_free(hub);
	for (unsigned i = 0; i < 3; i++)
		close(layer_fds[i]);
	loop_free(loop);
}

TEST(a_commit_takes_all_layers_above_its_target)
{
	struct img_job_options o = {.kind = IMG_JOB_COMMIT,
				    .layers = 2,
				    .changed = on_changed,
				    .replaced = on_replaced};
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
	make_layers();
	CHECK_EQ(blk_hub_new(loop, must_open_layer(2, false), &hub, &err), 0);
	guest = model_new(hub, ++seed);
	old = NULL;
	o.target = must_open_layer(0, false);
	CHECK_EQ(img_job_start(hub, &o, &job, &err), 0);
	while (state() == IMG_JOB_RUNNING || state() == IMG_JOB_READY)
		loop_step(loop, true);
	CHECK_EQ(state(), IMG_JOB_DONE);
	blk_free(old);
	model_compare(guest);
	img_job_free(job);
	model_free(guest);
	blk_free(hub);
	for (unsigned i = 0; i < 3; i++)
		close(layer_fds[i]);
	loop_free(loop);
}

TEST(what_cannot_be_is_refused)
{
	struct img_job_options o = {.kind = IMG_JOB_PULL};
	struct err err = ERR_INIT;
	struct img_job *second;

	setup();
	target_fd = -1;
	CHECK_EQ(img_job_start(hub, &o, &second, &err), -ENOTSUP);
	o.kind = IMG_JOB_COPY;
	o.target = model_file(loop, NULL);
	CHECK_EQ(img_job_start(hub, &o, &second, &err), -ENOSPC);
	start(&(struct img_job_options){.kind = IMG_JOB_MIRROR, .must_ask = true});
	CHECK_EQ(img_job_start(hub, &o, &second, &err), -EBUSY);
	blk_free(o.target);
	CHECK_EQ(blk_resize(hub, 2 * DISK / 512 * 512, &err), -EBUSY);
	img_job_cancel(job);
	until(IMG_JOB_CANCELLED);
	CHECK_EQ(img_job_complete(job, &err), -EBUSY);
	teardown();
}
