/*
 * Saving and restoring whole machines, in one process on the software CPU: a guest that knows when
 * something of it was lost (busy.S) goes on from the file; a file that is damaged is refused.
 */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"
#include "bus/device.h"
#include "clock/vclock.h"
#include "machine/machine.h"
#include "machine/machine_state.h"
#include "mem/gmem.h"
#include "migrate/load.h"
#include "migrate/save.h"
#include "proto/guest_config.h"
#include "proto/save_file.h"
#include "state/state.h"

#define BUSY_REPORT ((gpa_t)0x200000)
#define BUSY_MAGIC  0x79737562u
#define BUSY_CPUS   4
#define TIMEOUT_NS  (120 * NSEC_PER_SEC)

/* As busy.S writes it. */
struct busy_report {
	le32 magic, failures, n_cpus;
	u8 unused1[52];
	struct {
		le64 steps;
		le32 interrupts, unused2;
		le64 tsc;
		u8 unused3[40];
	} cpu[BUSY_CPUS];
};

struct bench {
	struct guest_config config;
	struct loop *loop;
	struct machine *machine;
	struct load *load;
	bool is_over; /* the save job */
	struct err error;
	struct save_result result;
};

static int bench_enter_role(unused void *opaque, unused enum vm_role role, unused struct err *err)
{
	return 0;
}

static void bench_event(unused void *opaque, enum vm_event event)
{
	fail_msg("the guest told event %d", event);
}

static void bench_debug_exit(unused void *opaque, unused u8 value)
{
}

static void bench_init(struct bench *b)
{
	const struct machine_ops ops = {.enter_role = bench_enter_role,
					.event = bench_event,
					.debug_exit = bench_debug_exit,
					.opaque = b};
	struct err err = ERR_INIT;

	*b = (struct bench){.loop = NULL};
	guest_config_init(&b->config);
	b->config.accel = GUEST_ACCEL_SOFT;
	b->config.n_cpus = BUSY_CPUS;
	b->config.memory = 32 * MIB;
	b->config.kernel_fd = open(BUSY_KERNEL, O_RDONLY | O_CLOEXEC);
	CHECK(b->config.kernel_fd >= 0);
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	if (machine_new(&b->config, b->loop, &ops, &b->machine, &err) < 0)
		fail_msg("%s", err.text);
}

static void bench_fini(struct bench *b)
{
	vm_pause(machine_vm(b->machine));
	load_free(b->load);
	machine_free(b->machine);
	loop_free(b->loop);
	guest_config_fini(&b->config);
}

static void bench_report(struct bench *b, struct busy_report *out)
{
	CHECK_EQ(gmem_read(vm_gmem(machine_vm(b->machine)), BUSY_REPORT, out, sizeof(*out)), 0);
}

/* Until each CPU has done so many interrupts more than in from. */
static void bench_run(struct bench *b, const struct busy_report *from, u32 interrupts)
{
	u64 until = time_mono_ns() + TIMEOUT_NS;
	struct busy_report now;
	unsigned n;

	do {
		loop_step(b->loop, false);
		bench_report(b, &now);
		CHECK_EQ(le32_get(now.failures), 0);
		CHECK(time_mono_ns() < until);
		for (n = 0; n < BUSY_CPUS; n++)
			if (le32_get(now.cpu[n].interrupts) <
			    (from ? le32_get(from->cpu[n].interrupts) : 0) + interrupts)
				break;
	} while (n < BUSY_CPUS);
}

static void bench_start(struct bench *b)
{
	struct err err = ERR_INIT;

	bench_init(b);
	if (machine_start(b->machine, &err) < 0)
		fail_msg("%s", err.text);
	vm_resume(machine_vm(b->machine));
	bench_run(b, NULL, 100);
}

/* --- saving --- */

static int bench_capture(void *opaque, char **out_config, struct state_writer *w, struct err *err)
{
	struct bench *b = opaque;

	b->config.tsc_hz = vclock_tsc_hz(vm_clock(machine_vm(b->machine)));
	*out_config = guest_config_encode_plain(&b->config);
	return machine_save_state(b->machine, w, err);
}

static void bench_progress(unused void *opaque, u64 done, u64 total)
{
	CHECK(done <= total);
}

static void bench_finished(void *opaque, const struct save_result *result, const struct err *err)
{
	struct bench *b = opaque;

	b->is_over = true;
	b->error = *err;
	b->result = *result;
}

static struct save_job *bench_begin_save(struct bench *b, int fd, const struct save_options *o)
{
	const struct save_ops ops = {.capture = bench_capture,
				     .progress = bench_progress,
				     .finished = bench_finished,
				     .opaque = b};
	struct err err = ERR_INIT;
	struct save_job *job;

	b->is_over = false;
	if (save_start(machine_vm(b->machine), machine_ram(b->machine), dup(fd), o, &ops, &job,
		       &err) < 0)
		fail_msg("%s", err.text);
	return job;
}

static void bench_end_save(struct bench *b, struct save_job *job)
{
	while (!b->is_over)
		loop_step(b->loop, true);
	save_free(job);
}

/* The guest's file. */
static int bench_save(struct bench *b, const struct save_options *o)
{
	int fd = memfd_create("saved", MFD_CLOEXEC);

	CHECK(fd >= 0);
	bench_end_save(b, bench_begin_save(b, fd, o));
	if (b->error.code)
		fail_msg("%s", b->error.text);
	return fd;
}

/* --- restoring --- */

static void bench_failed(unused void *opaque, const char *why)
{
	fail_msg("%s", why);
}

static int bench_enter_thread(unused void *opaque, unused struct err *err)
{
	return 0;
}

/* Any thread. */
static unsigned bench_n_complete;

static void bench_complete(unused void *opaque)
{
	__atomic_add_fetch(&bench_n_complete, 1, __ATOMIC_RELEASE);
}

/* Into a machine that was just made. */
static int bench_load(struct bench *b, int fd, bool is_eager, struct err *err)
{
	const struct load_ops ops = {.enter_thread = bench_enter_thread,
				     .failed = bench_failed,
				     .complete = bench_complete};
	const struct load_options options = {.is_eager = is_eager, .faults_fd = -1};
	const char *why;
	size_t size;
	const void *state;
	int r = load_open(dup(fd), &b->load, err);

	if (!r)
		r = load_memory_prepare(b->load, machine_ram(b->machine), &options, &why, err);
	if (!r)
		r = load_memory_start(b->load, &ops, err);
	if (r < 0)
		return r;
	state = load_state(b->load, &size);
	r = machine_load_state(b->machine, state, size, err);
	return r ? r : machine_start_loaded(b->machine, err);
}

static void bench_restore(struct bench *b, int fd, bool is_eager)
{
	struct err err = ERR_INIT;

	bench_init(b);
	if (bench_load(b, fd, is_eager, &err) < 0)
		fail_msg("%s", err.text);
}

static void check_goes_on(struct bench *b, const struct busy_report *saved)
{
	struct busy_report now;

	vm_resume(machine_vm(b->machine));
	bench_run(b, saved, 100);
	bench_report(b, &now);
	CHECK_EQ(le32_get(now.n_cpus), BUSY_CPUS);
	for (unsigned i = 0; i < BUSY_CPUS; i++) {
		CHECK(le64_get(now.cpu[i].steps) > le64_get(saved->cpu[i].steps));
		CHECK(le64_get(now.cpu[i].tsc) > le64_get(saved->cpu[i].tsc));
	}
}

static void check_round_trip(const struct save_options *o, bool is_eager)
{
	struct busy_report saved;
	struct bench b, other;
	u64 clock;
	int fd;

	bench_start(&b);
	fd = bench_save(&b, o);
	bench_report(&b, &saved);
	clock = vclock_now_ns(vm_clock(machine_vm(b.machine)));
	bench_fini(&b);

	bench_restore(&other, fd, is_eager);
	CHECK_EQ(vclock_now_ns(vm_clock(machine_vm(other.machine))), clock);
	check_goes_on(&other, &saved);
	bench_fini(&other);
	close(fd);
}

TEST(a_guest_goes_on_from_its_file)
{
	check_round_trip(&(struct save_options){0}, true);
}

TEST(memory_is_loaded_as_it_is_touched)
{
	__atomic_store_n(&bench_n_complete, 0, __ATOMIC_RELEASE);
	check_round_trip(&(struct save_options){0}, false);
	CHECK_EQ(__atomic_load_n(&bench_n_complete, __ATOMIC_ACQUIRE), 1);
}

TEST(compressed_files_are_read_either_way)
{
	check_round_trip(&(struct save_options){.is_compressed = true}, true);
	check_round_trip(&(struct save_options){.is_compressed = true}, false);
}

/* A disk's read that ends as the guest is stopped, into memory that nobody has touched. */
#define LATE_GPA  ((gpa_t)24 * MIB)
#define LATE_WORD 0x6574616cu

struct late {
	struct device dev;
	struct gmem *gmem;
};

static void late_quiesce(struct device *d)
{
	const u32 word = LATE_WORD;

	CHECK_EQ(gmem_write(container_of(d, struct late, dev)->gmem, LATE_GPA, &word, sizeof(word)),
		 0);
}

static void late_free(struct device *d)
{
	device_fini(d);
	free(container_of(d, struct late, dev));
}

static void bench_add_late(struct bench *b)
{
	static const struct device_ops ops = {
		.type = "late", .quiesce = late_quiesce, .free = late_free};
	struct late *late = NEW(struct late);

	late->gmem = vm_gmem(machine_vm(b->machine));
	device_init(&late->dev, &ops, "late");
	device_adopt(vm_devices(machine_vm(b->machine)), &late->dev);
}

TEST(what_is_first_touched_as_the_guest_stops_is_saved)
{
	for (int i = 0; i < 2; i++) {
		struct bench b, other;
		u32 word = 0;
		int fd;

		bench_start(&b);
		bench_add_late(&b);
		fd = bench_save(&b, &(struct save_options){.keeps_running = i});
		bench_fini(&b);

		bench_restore(&other, fd, true);
		CHECK_EQ(gmem_read(vm_gmem(machine_vm(other.machine)), LATE_GPA, &word,
				   sizeof(word)),
			 0);
		CHECK_EQ(word, LATE_WORD);
		bench_fini(&other);
		close(fd);
	}
}

/* Both go on from the same moment: the file's guest knows nothing of what the other did then. */
TEST(a_guest_that_keeps_running_is_saved_all_the_same)
{
	struct busy_report now, saved = {0};
	struct bench b, other;
	int fd;

	bench_start(&b);
	for (int i = 0; i < 2; i++) {
		fd = bench_save(&b,
				&(struct save_options){.keeps_running = true, .is_compressed = i});
		CHECK(vm_is_running(machine_vm(b.machine)));
		CHECK(b.result.live_chunks > 0);
		bench_report(&b, &now);
		bench_run(&b, &now, 50);

		bench_restore(&other, fd, i);
		check_goes_on(&other, &saved);
		bench_fini(&other);
		close(fd);
	}
	bench_fini(&b);
}

TEST(a_canceled_save_leaves_the_guest_as_it_was)
{
	int fd = memfd_create("canceled", MFD_CLOEXEC);
	struct busy_report now;
	struct save_job *job;
	struct bench b;

	bench_start(&b);
	bench_report(&b, &now);
	job = bench_begin_save(&b, fd, &(struct save_options){0});
	save_cancel(job);
	bench_end_save(&b, job);
	CHECK_EQ(b.error.code, -ECANCELED);
	CHECK(vm_is_running(machine_vm(b.machine)));
	bench_run(&b, &now, 50);
	bench_fini(&b);
	close(fd);
}

/* The file can't grow: in the header, in memory, near the end. */
TEST(a_save_that_fails_leaves_the_guest_as_it_was)
{
	static const u64 limits[] = {100, SAVE_MEMORY_AT + 256 * KIB,
				     SAVE_MEMORY_AT + 32 * MIB + PAGE_SIZE};
	struct rlimit old, limit;
	struct bench b;

	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_IGN);
	bench_start(&b);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		int fd = memfd_create("full", MFD_CLOEXEC);
		struct save_ops ops = {.capture = bench_capture,
				       .progress = bench_progress,
				       .finished = bench_finished,
				       .opaque = &b};
		struct save_options o = {.keeps_running = i == 2};
		struct busy_report now;
		struct save_job *job = NULL;
		struct err err = ERR_INIT;

		limit = old;
		limit.rlim_cur = limits[i];
		CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
		b.is_over = false;
		if (save_start(machine_vm(b.machine), machine_ram(b.machine), fd, &o, &ops, &job,
			       &err) == 0)
			bench_end_save(&b, job);
		else
			b.error = err;
		CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
		CHECK_EQ(b.error.code, -EFBIG);
		CHECK(vm_is_running(machine_vm(b.machine)));
		bench_report(&b, &now);
		bench_run(&b, &now, 20);
	}
	bench_fini(&b);
}

/* --- files that are not as they should be --- */

/* Reads all of a file's guest into b's memory, as restoring does before it touches the machine. */
static int read_file(struct bench *b, int fd, struct err *err)
{
	const struct load_options o = {.is_eager = true, .faults_fd = -1};
	const struct load_ops ops = {.enter_thread = bench_enter_thread, .failed = bench_failed};
	AUTO(load_free) struct load *l = NULL;
	const char *why;
	int r = load_open(dup(fd), &l, err);

	if (!r)
		r = load_memory_prepare(l, machine_ram(b->machine), &o, &why, err);
	return r ? r : load_memory_start(l, &ops, err);
}

static bool is_unused(const struct save_header *h, const struct save_chunk_wire *index, u64 at)
{
	const struct save_part parts[] = {{0, SAVE_HEADER_SIZE, 0}, h->state, h->index};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (range_fits(at - parts[i].offset, 1, parts[i].size))
			return false;
	for (u64 n = 0; n < save_chunks(h->memory_size); n++) {
		/* A zstd frame has bits that mean nothing (RFC 8878): the descriptor's unused one, what is
		 * behind a stream's last code. What comes out must have the checksum that it had. */
		if (range_fits(at - le64_get(index[n].offset), 1, le32_get(index[n].stored)))
			return le32_get(index[n].stored) < SAVE_CHUNK;
	}
	return true; /* the launcher's part, or between the parts */
}

static void flip_bit(int fd, u64 at)
{
	u8 byte;

	CHECK_EQ(fd_pread_full(fd, &byte, 1, at), 0);
	byte ^= 1u << at % 8;
	CHECK_EQ(fd_pwrite_full(fd, &byte, 1, at), 0);
}

static void check_damage_is_found(const struct save_options *o)
{
	AUTO(free_ptr) void *index = NULL;
	struct save_header h;
	struct err err = ERR_INIT;
	struct bench b, other;
	u64 size, refused = 0, taken = 0;
	int fd;

	bench_start(&b);
	fd = bench_save(&b, o);
	bench_fini(&b);
	bench_init(&other);
	CHECK_EQ(fd_size(fd, &size), 0);
	CHECK_EQ(save_header_read(fd, &h, &err), 0);
	CHECK_EQ(save_part_read(fd, &h.index, "index", &index, &err), 0);
	for (u64 at = 0; at < size; at += at < SAVE_HEADER_SIZE ? 13 : size / 300 + 1) {
		int r;

		flip_bit(fd, at);
		r = read_file(&other, fd, &err);
		CHECK(r < 0 || is_unused(&h, index, at));
		CHECK(r == 0 || strlen(err.text) > 10);
		*(r < 0 ? &refused : &taken) += 1;
		flip_bit(fd, at);
	}
	CHECK(refused > taken);
	CHECK_EQ(read_file(&other, fd, &err), 0);
	for (u64 cut = size; cut; cut -= MIN(cut, size / 100 + 1)) {
		CHECK_EQ(ftruncate(fd, (off_t)(cut - 1)), 0);
		CHECK(read_file(&other, fd, &err) < 0);
	}
	bench_fini(&other);
	close(fd);
}

TEST(a_damaged_or_truncated_file_is_refused)
{
	check_damage_is_found(&(struct save_options){0});
	check_damage_is_found(&(struct save_options){.is_compressed = true});
}

TEST(an_unfinished_file_is_refused)
{
	struct save_header h = {.memory_size = 32 * MIB,
				.config = {SAVE_HEADER_SIZE, 1, 0},
				.state = {SAVE_HEADER_SIZE, 1, 0},
				.index = {SAVE_HEADER_SIZE, 8192, 0}};
	struct save_header_wire w;
	struct save_header got;
	struct err err = ERR_INIT;

	save_header_encode(&h, SAVE_UNFINISHED, &w);
	CHECK_EQ(save_header_decode(&w, MIB, &got, &err), -EINVAL);
	CHECK_ERR(err, "unfinished");
	save_header_encode(&h, SAVE_COMPLETE, &w);
	CHECK_EQ(save_header_decode(&w, MIB, &got, &err), 0);
	CHECK_EQ(save_header_decode(&w, SAVE_HEADER_SIZE, &got, &err), -EINVAL);
	CHECK_ERR(err, "cut short");
	memcpy(w.magic, "somethin", 8);
	CHECK_EQ(save_header_decode(&w, MIB, &got, &err), -EINVAL);
	CHECK_ERR(err, "not a guest");
}

/* The state of one machine, in another: what is missing, twice there, or of another kind. */
TEST(a_state_that_does_not_fit_the_machine_is_refused)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	AUTO(free_ptr) u8 *copy = NULL;
	struct err err = ERR_INIT;
	struct bench b, other;
	const void *state;
	size_t size;

	bench_start(&b);
	vm_pause(machine_vm(b.machine));
	CHECK_EQ(machine_save_state(b.machine, w, &err), 0);
	CHECK_EQ(machine_save_state(b.machine, w, &err), 0);
	state = state_writer_finish(w, &size);
	bench_fini(&b);

	bench_init(&other);
	CHECK(machine_load_state(other.machine, state, size, &err) < 0);
	CHECK_ERR(err, "twice");
	copy = mem_alloc(1, size);
	memcpy(copy, state, size);
	memcpy(copy + 40, "PEND", 4);
	CHECK(machine_load_state(other.machine, copy + 40, 4, &err) < 0);
	CHECK_ERR(err, "lacks");
	bench_fini(&other);
}
