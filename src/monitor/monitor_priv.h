/*
 * The monitor's inside, shared by its files.
 */
#ifndef MONITOR_MONITOR_PRIV_H
#define MONITOR_MONITOR_PRIV_H

#include "base/loop.h"
#include "monitor/monitor.h"
#include "monitor/server.h"
#include "proto/control.h"

struct load;
struct machine;
struct monitor_save;

struct monitor {
	struct loop *loop;
	struct guest_config *config;
	const struct confine_report *confinement;
	struct machine *machine;
	int smaps_fd; /* borrowed; -1: none */
	struct server *server;
	int control;               /* the launcher's: its connection is the server's, too */
	struct load *load;         /* of a guest that goes on from a file */
	struct monitor_save *save; /* NULL: it is not being saved */
	struct loop_task save_over_task, loaded_task;
	struct loop_task debug_exit_task, balloon_task;
	u32 debug_exit_value;     /* atomic; written before the task is posted */
	bool is_panicked;         /* paused by it */
	struct control_event end; /* how it ended */
	bool is_ended;
};

/* Tells all that subscribed. */
void monitor_tell(struct monitor *m, enum control_event_kind kind, const char *text);
/* Ends the guest; the first reason counts. */
void monitor_end(struct monitor *m, enum control_reason reason, const char *text);
/* Resets the board, and lets it run. */
void monitor_restart(struct monitor *m);

/* stats.c */
void monitor_stats(struct monitor *m, struct control_request *r);

/* save.c */
void monitor_save(struct monitor *m, struct control_request *r);
void monitor_save_cancel(struct monitor *m, struct control_request *r);
void monitor_on_save_over(struct loop_task *task);
void monitor_on_loaded(struct loop_task *task);
void monitor_save_free(struct monitor *m);
/* It stands because it is being saved: commands that change it have to wait. */
bool monitor_is_held(const struct monitor *m);

/* restore.c: before the process is confined, and after. */
int monitor_restore_open(struct monitor *m, struct err *err);
int monitor_restore_start(struct monitor *m, struct err *err);

/* commands.c: finds the request's command and runs it. */
void monitor_on_request(void *opaque, struct control_request *r);

/* balloon.c: the command, and the event. */
void monitor_balloon_init(struct monitor *m);
void monitor_balloon(struct monitor *m, struct control_request *r);
void monitor_set_limits(struct monitor *m, struct control_request *r);
void monitor_job_start(struct monitor *m, struct control_request *r);
void monitor_job_list(struct monitor *m, struct control_request *r);
void monitor_job_complete(struct monitor *m, struct control_request *r);
void monitor_job_cancel(struct monitor *m, struct control_request *r);
void monitor_resize_disk(struct monitor *m, struct control_request *r);
void monitor_on_balloon(void *opaque);                  /* any thread */
struct json_t *monitor_balloon_json(struct monitor *m); /* NULL: the guest has none */

/* network.c: the commands of a network card's cable, and the event that its network has left. */
void monitor_net_connect(struct monitor *m, struct control_request *r);
void monitor_set_link(struct monitor *m, struct control_request *r);
void monitor_on_net_lost(void *opaque, const char *name);
struct machine_job;
void monitor_on_job_changed(void *opaque, const struct machine_job *job);
void monitor_on_disk_failed(void *opaque, const char *name, int result);
/*
 * disks.c: a disk is being opened for r. done() is for its success, and replies; other ends are replied to here.
 * The caller frees .opaque if nothing waits after all.
 */
struct machine_waiter monitor_wait_for_disk(struct monitor *m, struct control_request *r,
					    void (*done)(struct monitor *m,
							 struct control_request *r,
							 const char *device));
/* devices.c */
void monitor_device_add(struct monitor *m, struct control_request *r);
void monitor_device_remove(struct monitor *m, struct control_request *r);
void monitor_device_list(struct monitor *m, struct control_request *r);
void monitor_on_device_removed(void *opaque, const char *name);

/* The table of commands, for the test that looks for each in the documentation; NULL past the end. */
const char *monitor_command_name(size_t i);

#endif
