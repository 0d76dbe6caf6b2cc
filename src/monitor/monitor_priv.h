/*
 * The monitor's inside, shared by its files.
 */
#ifndef MONITOR_MONITOR_PRIV_H
#define MONITOR_MONITOR_PRIV_H

#include "base/loop.h"
#include "monitor/monitor.h"
#include "monitor/server.h"
#include "proto/control.h"

struct machine;

struct monitor {
	struct loop *loop;
	struct guest_config *config;
	const struct confine_report *confinement;
	struct machine *machine;
	struct server *server;
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

/* commands.c: finds the request's command and runs it. */
void monitor_on_request(void *opaque, struct control_request *r);

/* balloon.c: the command, and the event. */
void monitor_balloon_init(struct monitor *m);
void monitor_balloon(struct monitor *m, struct control_request *r);
void monitor_on_balloon(void *opaque);                  /* any thread */
struct json_t *monitor_balloon_json(struct monitor *m); /* NULL: the guest has none */

/* The table of commands, for the test that looks for each in the documentation; NULL past the end. */
const char *monitor_command_name(size_t i);

#endif
