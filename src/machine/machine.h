/*
 * A machine: a vm with a board in it, built from a configuration.
 *
 * machine_new picks the accelerator and builds the board named by the configuration; machine_start
 * loads the kernel and starts the threads, paused. Main thread only, unless stated.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/base.h"
#include "vm/vm.h"

struct err;
struct gmem_block;
struct guest_config;
struct guest_disk;
struct guest_nic;
struct loop;
struct machine;

enum machine_job_kind {
	MACHINE_JOB_COPY,
	MACHINE_JOB_MIRROR,
	MACHINE_JOB_COMMIT,
	MACHINE_JOB_PULL
};
enum machine_job_state {
	MACHINE_JOB_RUNNING,
	MACHINE_JOB_READY, /* waits to be completed */
	MACHINE_JOB_DONE,
	MACHINE_JOB_FAILED,
	MACHINE_JOB_CANCELLED,
};

struct machine_job {
	const char *device;
	enum machine_job_kind kind;
	enum machine_job_state state;
	u64 done_bytes, total_bytes;
	int error;         /* FAILED: negative errno ... */
	const char *where; /* ... and where; static */
};

struct machine_ops {
	/* See struct vm_ops. */
	int (*enter_role)(void *opaque, enum vm_role role, struct err *err);
	void (*event)(void *opaque, enum vm_event event);
	/* A test kernel wrote its exit code to the debug exit port. Any thread. */
	void (*debug_exit)(void *opaque, u8 value);
	/* The guest's driver changed its balloon's size: told a few times a second at most. On the I/O
	 * thread; optional. */
	void (*balloon_changed)(void *opaque);
	/* What was behind a network card has left: its link is down, until machine_connect_nic. On the
	 * main thread; optional. */
	void (*net_lost)(void *opaque, const char *name);
	/*
	 * A disk of the guest has requests that the host can't do: they wait for a pause and a resume. On the main
	 * thread, perhaps several times for one reason.
	 */
	void (*disk_failed)(void *opaque, const char *name, int result);
	/* A block job on one of the guest's disks is in another state. On the main thread; optional. */
	void (*job_changed)(void *opaque, const struct machine_job *job);
	/* A device is gone, by machine_remove_device: on the main thread; optional. */
	void (*device_removed)(void *opaque, const char *name);
	void *opaque;
};

/* config is borrowed for the machine's life; the machine uses its descriptors. */
int machine_new(struct guest_config *config, struct loop *main_loop, const struct machine_ops *ops,
		struct machine **out, struct err *err);
void machine_free(struct machine *m); /* NULL is fine */
AUTO_FN(machine_free, struct machine *)

int machine_start(struct machine *m, struct err *err);
/* As machine_start for a machine whose state is loaded: no kernel is loaded, nothing is set up. */
int machine_start_loaded(struct machine *m, struct err *err);
/* Can it be reset? Not when there is no kernel to start again; a sentence says so. */
int machine_can_reset(const struct machine *m, struct err *err);
/* All of the guest's memory, and whether the accelerator is the kernel's: for saving and loading. */
struct gmem_block *machine_ram(struct machine *m);
/* Of all memory and CPU state, while no vCPU runs: two that did the same have the same. */
u32 machine_digest(struct machine *m);
bool machine_is_soft(const struct machine *m);
/* Adds words, in front of the reason, to what machine_accel_text says. */
void machine_add_text(struct machine *m, const char *words);
struct vm *machine_vm(struct machine *m);

/* Which accelerator was taken and why, for people. */
const char *machine_accel_text(const struct machine *m);

void machine_press_power_button(struct machine *m);

/* --- statistics; main thread --- */

struct machine_memory {
	u64 size, resident, huge,
		dirty; /* bytes: of the guest's, of those that the host has given */
};
/* smaps_fd: of /proc/self/smaps, opened while that could be. */
int machine_get_memory(struct machine *m, int smaps_fd, struct machine_memory *out);
u64 machine_clock_ns(struct machine *m); /* of the VM's clock, since power-on */

/* What a device did since it was made, and how often its driver did what it shouldn't. */
struct machine_device_stats {
	const char *name, *type;
	u64 guest_errors;
	struct device_counter counters[DEVICE_MAX_COUNTERS];
	unsigned n_counters;
};
void machine_visit_devices(struct machine *m,
			   void (*visit)(void *opaque, const struct machine_device_stats *d),
			   void *opaque);

/* --- devices that come and go; main thread, running or paused --- */

enum machine_device_kind {
	MACHINE_OTHER, /* the board's own, which stays */
	MACHINE_DISK,
	MACHINE_NIC,
};

struct machine_device {
	char name[48];
	enum machine_device_kind kind;
	unsigned slot;
	bool is_asked; /* the guest was asked to let go of it */
};

/* Who waits for a disk that is being opened. */
struct machine_waiter {
	/* It is open: is it wanted still? Else a negative errno, and err. */
	int (*check)(void *opaque, struct err *err);
	/*
	 * It is over, before machine_free returns. name is the device's, good until it is removed; NULL: nothing
	 * came of it, err says why.
	 */
	void (*done)(void *opaque, const char *name, const struct err *err);
	void *opaque;
};

/*
 * A device more, which the guest finds by itself. What is handed in is taken over, also on failure.
 * The name and the slot that it doesn't say are chosen, and stand in the configuration like it.
 * A disk is opened meanwhile: on success w, copied, is told.
 */
int machine_add_disk(struct machine *m, struct guest_disk *disk, const struct machine_waiter *w,
		     struct err *err);
/* *out_name: as in done(). */
int machine_add_nic(struct machine *m, struct guest_nic *nic, const char **out_name,
		    struct err *err);

/*
 * Asks the guest to let go of it; once it has, or starts anew, the device is freed, its descriptors
 * are closed and device_removed is told. -EBUSY: the guest is at it. Forced: the guest finds that it is gone,
 * and has a few seconds to put up with that.
 */
int machine_remove_device(struct machine *m, const char *name, bool is_forced, struct err *err);

/* Into out, with room for MACHINE_MAX_DEVICES: their number, in the order of their slots. */
#define MACHINE_MAX_DEVICES 32
unsigned machine_list_devices(struct machine *m, struct machine_device *out);

/* --- I/O limits of a disk or network card; main thread, running or paused --- */

struct guest_limits;

/* From now on; they go with the guest when it is saved. -EOPNOTSUPP: not a device that has any. */
int machine_set_limits(struct machine *m, const char *name, const struct guest_limits *limits,
		       struct err *err);
int machine_get_limits(struct machine *m, const char *name, struct guest_limits *out,
		       struct err *err);

/* --- a disk's size; main thread, running or paused --- */

/*
 * In bytes; the guest is told. Smaller only if is_shrinking, since the rest is lost. *out_bytes is what it
 * is afterwards.
 */
int machine_resize_disk(struct machine *m, const char *name, u64 bytes, bool is_shrinking,
			u64 *out_bytes, struct err *err);

/* --- block jobs (image/job.h), one for each disk; main thread, running or paused --- */

struct machine_job_options {
	enum machine_job_kind kind;
	bool must_ask, keeps_disk, is_top_only;
	u64 bytes_per_second; /* 0: as fast as it goes */
};

/*
 * target: the disk that it is copied to, or for a commit the layer beneath, opened for writing and not locked;
 * taken over, also on failure. NULL for a pull. When the guest goes on with it, it takes the disk's place in the
 * configuration. On success w, copied, is told that it began, or why not after all; ends are told by job_changed,
 * and then there is none any more.
 */
int machine_start_job(struct machine *m, const char *name, const struct machine_job_options *o,
		      struct guest_disk *target, const struct machine_waiter *w, struct err *err);
int machine_complete_job(struct machine *m, const char *name, struct err *err);
int machine_cancel_job(struct machine *m, const char *name, struct err *err);
/* Into out, with room for MACHINE_MAX_DEVICES: their number. */
unsigned machine_list_jobs(struct machine *m, struct machine_job *out);

/* --- a network card's cable; main thread, running or paused --- */

/*
 * Another network behind the card: of nic only kind and descriptors count, which are taken over, also
 * on failure. The link comes up, and the guest is asked to announce itself.
 */
int machine_connect_nic(struct machine *m, const char *name, struct guest_nic *nic,
			struct err *err);
/* Pulls the cable, or plugs it in again. */
int machine_set_link(struct machine *m, const char *name, bool is_up, struct err *err);

/* --- the memory balloon; any thread --- */

/* The guest should have size bytes of its memory: it gives the rest back as fast as it can.
 * -ENOTSUP: it has no balloon. */
int machine_set_balloon(struct machine *m, u64 size, struct err *err);

/* One of the guest's own figures, by the name that people know it by: bytes, or a count. */
struct machine_figure {
	const char *name; /* static */
	u64 value;
};

struct machine_balloon {
	u64 memory, target, actual; /* bytes that it was given, should have, has */
	u64 given_back;             /* bytes in all, some of them more than once */
	struct machine_figure figures[16];
	unsigned n_figures; /* 0: the guest told none yet */
	u64 age_ns;         /* of the figures */
};

bool machine_get_balloon(struct machine *m, struct machine_balloon *out); /* false: it has none */

#endif
