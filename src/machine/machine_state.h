/*
 * A machine's state, but for its memory: the clock, the vCPUs with their local APICs, the devices.
 *
 * Nothing of the accelerator shows in it: a guest saved on one goes on on the other. Main thread,
 * while the machine is paused.
 */
#ifndef MACHINE_MACHINE_STATE_H
#define MACHINE_MACHINE_STATE_H

#include "base/base.h"

struct err;
struct machine;
struct state_writer;

/* -ENOTSUP, with the reason, for what can't be told in a file. */
int machine_can_save(const struct machine *m, struct err *err);
/* Its configuration as it is now, for the file: JSON text, to be freed. */
char *machine_save_config(struct machine *m);
int machine_save_state(struct machine *m, struct state_writer *w, struct err *err);

/*
 * Into a machine that was built from the same configuration and has not been started. All of the state
 * has to be there, once, and nothing else. On failure the machine is good for machine_free alone.
 */
int machine_load_state(struct machine *m, const void *state, size_t size, struct err *err);

/* The clock of date and time that the guest finds in its chips, not its own time: for a guest that was
 * away for so long. */
void machine_advance_wall_clock(struct machine *m, u64 ns);

#endif
