/*
 * What a PS/2 keyboard and a PS/2 mouse answer to commands. They send nothing of their own accord
 * yet: nobody types here.
 *
 * Part of the keyboard controller (i8042.c), which owns them and holds its lock around all calls.
 */
#ifndef DEV_PS2_H
#define DEV_PS2_H

#include "base/base.h"

struct state_table;

#define PS2_QUEUE 16

/* Bytes on their way from a device (or from the controller itself) to the guest. */
struct ps2_queue {
	u8 data[PS2_QUEUE];
	u8 start, n;
};
void ps2_queue_put(struct ps2_queue *q, u8 byte); /* dropped when full */
u8 ps2_queue_take(struct ps2_queue *q);           /* there is one */
bool ps2_queue_is_valid(const struct ps2_queue *q);

struct ps2_keyboard {
	struct ps2_queue out;
	u8 command; /* waits for its argument; 0: none */
	u8 last;    /* sent, for the resend command */
	u8 scan_set, leds, typematic;
	bool is_scanning;
};
void ps2_keyboard_reset(struct ps2_keyboard *k);
void ps2_keyboard_write(struct ps2_keyboard *k, u8 byte);

struct ps2_mouse {
	struct ps2_queue out;
	u8 command;
	u8 last;
	u8 rate, resolution;
	bool is_scaled, is_remote, is_wrapping, is_reporting;
};
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, u8 byte);

extern const struct state_table ps2_queue_state;
extern const struct state_table ps2_keyboard_state;
extern const struct state_table ps2_mouse_state;

#endif
