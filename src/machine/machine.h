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
struct guest_config;
struct loop;
struct machine;

struct machine_ops {
	/* See struct vm_ops. */
	int (*enter_role)(void *opaque, enum vm_role role, struct err *err);
	void (*event)(void *opaque, enum vm_event event);
	/* A test kernel wrote its exit code to the debug exit port. Any thread. */
	void (*debug_exit)(void *opaque, u8 value);
	void *opaque;
};

/* config is borrowed for the machine's life; the machine uses its descriptors. */
int machine_new(struct guest_config *config, struct loop *main_loop, const struct machine_ops *ops,
		struct machine **out, struct err *err);
void machine_free(struct machine *m); /* NULL is fine */
AUTO_FN(machine_free, struct machine *)

int machine_start(struct machine *m, struct err *err);
struct vm *machine_vm(struct machine *m);

/* Which accelerator was taken and why, for people. */
const char *machine_accel_text(const struct machine *m);

void machine_press_power_button(struct machine *m);

#endif
