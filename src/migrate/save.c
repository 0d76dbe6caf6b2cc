/*
 * The job that writes a guest to a file. See save.h.
 *
 *     LIVE    chunks of the first round, then of what the dirty log has: the guest runs
 *     STOPPED the guest stands: what changed since the last round
 *     state, configuration, index, all in one slice
 *     SYNC    the guest runs again, if it is to; everything to the disk, then the header
 *
 * What is written is copied first, so that checksum and bytes agree whatever the guest does
 * meanwhile; a page that it changes after the copy is in the dirty log, which was taken before.
 */
#include "migrate/save.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"
#include "mem/gmem.h"
#include "migrate/chunk.h"
#include "state/state.h"
#include "vm/vm.h"

#define SAVE_SLICE_NS      (4 * NSEC_PER_MSEC)
#define SAVE_PROGRESS_NS   (100 * NSEC_PER_MSEC)
#define SAVE_MAX_ROUNDS    6
#define SAVE_FEW_CHUNKS    ((u64)16 * MIB / SAVE_CHUNK) /* written in some milliseconds */
#define SAVE_SYNC_CHUNKS   ((u64)16 * MIB / SAVE_CHUNK) /* between hints to write back */
#define CHUNK_PAGES        (SAVE_CHUNK / PAGE_SIZE)
#define CHUNKS_PER_LOGWORD (64 / CHUNK_PAGES)
static_assert(64 % CHUNK_PAGES == 0, "a word of the log is whole chunks");

enum save_phase { SAVE_LIVE, SAVE_STOPPED, SAVE_SYNC, SAVE_OVER };

struct save_job {
	struct vm *vm;
	struct gmem_block *ram;
	int fd;
	struct save_options options;
	struct save_ops ops;
	struct loop_task task;
	struct chunk_writer *writer;
	enum save_phase phase;
	bool was_running;
	bool is_logging;
	bool is_canceled;

	bool *todo; /* chunks to write */
	u64 n_chunks, n_todo;
	u64 at; /* next chunk to look at */
	u64 *log;
	unsigned round;
	u64 n_last; /* chunks of the round before */

	u64 n_done, n_since_sync;
	u64 last_progress_ns;
	u64 stopped_at_ns;
	struct save_header header;
	struct save_result result;
};

static u64 save_log_words(const struct save_job *j)
{
	return (j->ram->size / PAGE_SIZE + 63) / 64;
}

/* --- ends --- */

static void save_resume_guest(struct save_job *j)
{
	if (j->phase == SAVE_STOPPED && j->was_running)
		vm_resume(j->vm);
}

static void save_stop_log(struct save_job *j)
{
	if (j->is_logging)
		gmem_log_stop(vm_gmem(j->vm));
	j->is_logging = false;
}

static void save_finish(struct save_job *j, const struct err *err)
{
	save_stop_log(j);
	if (err->code)
		save_resume_guest(j);
	j->phase = SAVE_OVER;
	fd_close(fd_take(j->fd));
	j->ops.finished(j->ops.opaque, &j->result, err);
}

static void save_fail(struct save_job *j, int code, const char *what)
{
	struct err err = ERR_INIT;

	err_errno(&err, code, "cannot write %s", what);
	save_finish(j, &err);
}

/* --- the last part --- */

/* The guest stands. All but the header. */
static int save_write_parts(struct save_job *j, struct err *err)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	AUTO(free) char *config = NULL;
	const void *state;
	size_t size;
	int r = j->ops.capture(j->ops.opaque, &config, w, err);

	if (r < 0)
		return r;
	state = state_writer_finish(w, &size);
	if (size > SAVE_STATE_MAX || strlen(config) > SAVE_CONFIG_MAX)
		return err_set(err, -E2BIG, "the guest's state or configuration is too large");
	r = chunk_writer_append(j->writer, config, strlen(config), &j->header.config);
	if (!r)
		r = chunk_writer_append(j->writer, state, size, &j->header.state);
	if (!r)
		r = chunk_writer_append_index(j->writer, &j->header.index);
	return r < 0 ? err_errno(err, r, "cannot write the file") : 0;
}

static int save_write_header(struct save_job *j, enum save_progress progress)
{
	struct save_header_wire w;

	save_header_encode(&j->header, progress, &w);
	return fd_pwrite_full(j->fd, &w, sizeof(w), 0);
}

/* The header's word that the file is whole must not reach the disk before the rest. */
static void save_seal(struct save_job *j)
{
	struct err err = ERR_INIT;
	int r = fdatasync(j->fd) < 0 ? -errno : 0;

	if (!r)
		r = save_write_header(j, SAVE_COMPLETE);
	if (!r)
		r = fsync(j->fd) < 0 ? -errno : 0;
	if (r < 0) {
		save_fail(j, r, "the file");
		return;
	}
	j->result.file_bytes = j->header.index.offset + j->header.index.size;
	save_finish(j, &err);
}

static void save_complete(struct save_job *j)
{
	struct err err = ERR_INIT;

	j->header.saved_at_ns = time_real_ns();
	if (save_write_parts(j, &err) < 0) {
		save_finish(j, &err);
		return;
	}
	save_stop_log(j);
	if (j->options.keeps_running) {
		save_resume_guest(j);
		j->phase = SAVE_SYNC;
	}
	j->result.paused_ns = time_mono_ns() - j->stopped_at_ns;
	loop_task_post(vm_main_loop(j->vm), &j->task);
}

/* --- memory --- */

static bool save_mark(struct save_job *j, u64 chunk)
{
	if (chunk >= j->n_chunks || j->todo[chunk])
		return false;
	j->todo[chunk] = true;
	j->n_todo++;
	return true;
}

/* All chunks that have anything in them; the others are zero. */
static void save_mark_all(struct save_job *j)
{
	u64 from, to;

	for (u64 at = 0; gmem_block_next_data(j->ram, at, &from, &to); at = to)
		for (u64 chunk = from / SAVE_CHUNK; chunk * SAVE_CHUNK < to; chunk++)
			save_mark(j, chunk);
}

/* What was written to since the log was taken last. */
static void save_mark_dirty(struct save_job *j)
{
	u64 chunk_mask = CHUNK_PAGES == 64 ? ~(u64)0 : BIT(CHUNK_PAGES) - 1;

	gmem_log_take(vm_gmem(j->vm), j->ram, j->log);
	for (u64 i = 0; i < save_log_words(j); i++)
		for (u64 k = 0; j->log[i] && k < CHUNKS_PER_LOGWORD; k++)
			if (j->log[i] >> k * CHUNK_PAGES & chunk_mask)
				save_mark(j, i * CHUNKS_PER_LOGWORD + k);
}

/* Keeps the host from collecting all of it in memory until the end. */
static void save_hint_writeback(struct save_job *j)
{
	if (++j->n_since_sync < SAVE_SYNC_CHUNKS)
		return;
	j->n_since_sync = 0;
	(void)sync_file_range(j->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static void save_tell_progress(struct save_job *j)
{
	u64 now = time_mono_ns();

	if (now - j->last_progress_ns < SAVE_PROGRESS_NS)
		return;
	j->last_progress_ns = now;
	j->ops.progress(j->ops.opaque, j->n_done, j->n_done + j->n_todo);
}

/* Writes for a slice of time: 1 when nothing is left to do in this round. */
static int save_write_slice(struct save_job *j)
{
	u64 until = time_mono_ns() + SAVE_SLICE_NS;

	for (; j->at < j->n_chunks && j->n_todo; j->at++) {
		int r;

		if (!j->todo[j->at])
			continue;
		j->todo[j->at] = false;
		j->n_todo--;
		r = chunk_write(j->writer, j->at, j->ram->hva + j->at * SAVE_CHUNK);
		if (r < 0)
			return r;
		j->n_done++;
		save_hint_writeback(j);
		if (time_mono_ns() > until) {
			j->at++;
			return 0;
		}
	}
	return 1;
}

static void save_next_round(struct save_job *j)
{
	j->at = 0;
	j->n_last = j->n_todo;
	j->round++;
}

static void save_stop_guest(struct save_job *j)
{
	j->stopped_at_ns = time_mono_ns();
	j->was_running = vm_is_running(j->vm);
	vm_pause(j->vm);
	j->phase = SAVE_STOPPED;
	if (j->is_logging)
		save_mark_dirty(j);
	save_next_round(j);
}

/* A round is over: once more, as long as that leaves less for the next. */
static void save_end_live_round(struct save_job *j)
{
	u64 written = j->n_last;

	j->result.live_chunks = j->n_done;
	save_mark_dirty(j);
	if (j->n_todo <= SAVE_FEW_CHUNKS || j->round >= SAVE_MAX_ROUNDS ||
	    j->n_todo > written - written / 4)
		save_stop_guest(j);
	else
		save_next_round(j);
}

static void save_step(struct loop_task *task)
{
	struct save_job *j = container_of(task, struct save_job, task);
	struct err err = ERR_INIT;
	int r;

	if (j->is_canceled) {
		err_set(&err, -ECANCELED, "saving was canceled");
		save_finish(j, &err);
		return;
	}
	if (j->phase == SAVE_SYNC || (j->phase == SAVE_STOPPED && j->header.index.size)) {
		save_seal(j);
		return;
	}
	r = save_write_slice(j);
	if (r < 0) {
		save_fail(j, r, "the guest's memory");
		return;
	}
	save_tell_progress(j);
	if (r > 0 && j->phase == SAVE_STOPPED) {
		save_complete(j);
		return;
	}
	if (r > 0)
		save_end_live_round(j);
	loop_task_post(vm_main_loop(j->vm), task);
}

/* --- life --- */

/* Not by its type: looking at files is no business of a confined process. */
static int save_check_file(int fd, struct err *err)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < 0)
		return err_errno(err, -errno, "a guest is saved to a regular file");
	if (size)
		return err_set(err, -EINVAL, "a guest is saved to an empty file");
	return 0;
}

static int save_prepare(struct save_job *j, struct err *err)
{
	int r = save_check_file(j->fd, err);

	if (r < 0)
		return r;
	r = chunk_writer_new(j->fd, j->ram->size, j->options.is_compressed, &j->writer, err);
	if (r < 0)
		return r;
	j->n_chunks = save_chunks(j->ram->size);
	j->todo = alloc_try(j->n_chunks, sizeof(j->todo[0]));
	j->log = alloc_try(save_log_words(j), sizeof(j->log[0]));
	if (!j->todo || !j->log)
		return err_set(err, -ENOMEM, "out of memory");
	j->header.memory_size = j->ram->size;
	r = save_write_header(j, SAVE_UNFINISHED);
	return r < 0 ? err_errno(err, r, "cannot write the file") : 0;
}

static int save_begin(struct save_job *j, struct err *err)
{
	j->last_progress_ns = time_mono_ns();
	if (!j->options.keeps_running || !vm_is_running(j->vm)) {
		save_stop_guest(j); /* first: nothing else says what it touches meanwhile */
		save_mark_all(j);
		return 0;
	}
	if (gmem_log_start(vm_gmem(j->vm), err) < 0)
		return err->code;
	j->is_logging = true;
	save_mark_all(j);
	save_next_round(j);
	return 0;
}

int save_start(struct vm *vm, struct gmem_block *ram, int fd, const struct save_options *options,
	       const struct save_ops *ops, struct save_job **out, struct err *err)
{
	AUTO(save_free) struct save_job *j = NEW(struct save_job);
	int r;

	*j = (struct save_job){.vm = vm, .ram = ram, .fd = fd, .options = *options, .ops = *ops};
	list_init(&j->task.node);
	j->task.fn = save_step;
	r = save_prepare(j, err);
	if (!r)
		r = save_begin(j, err);
	if (r < 0)
		return r;
	loop_task_post(vm_main_loop(vm), &j->task);
	*out = take(j);
	return 0;
}

void save_cancel(struct save_job *j)
{
	j->is_canceled = true;
}

bool save_holds_guest(const struct save_job *j)
{
	return j->phase == SAVE_STOPPED;
}

void save_free(struct save_job *j)
{
	if (!j)
		return;
	loop_task_cancel(vm_main_loop(j->vm), &j->task);
	save_stop_log(j);
	fd_close(j->fd);
	chunk_writer_free(j->writer);
	free(j->todo);
	free(j->log);
	free(j);
}
