/*
 * PS/2 keyboard and mouse: commands and answers (IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboard and Auxiliary Device Controller", and the devices' sections).
 */
#include "dev/ps2.h"

#include "state/state.h"

/* clang-format off */
#define PS2_ACK		0xfa
#define PS2_RESEND	0xfe
#define PS2_SELF_TEST	0xaa	/* passed */
#define PS2_ECHO	0xee

#define PS2_RESET	0xff
#define PS2_AGAIN	0xfe
#define PS2_DEFAULTS	0xf6
#define PS2_DISABLE	0xf5
#define PS2_ENABLE	0xf4
#define PS2_RATE	0xf3	/* keyboard: typematic */
#define PS2_IDENTIFY	0xf2

#define PS2_KBD_SCAN_SET 0xf0
#define PS2_KBD_ECHO	0xee
#define PS2_KBD_LEDS	0xed

#define PS2_MOUSE_REMOTE  0xf0
#define PS2_MOUSE_WRAP	  0xee
#define PS2_MOUSE_UNWRAP  0xec
#define PS2_MOUSE_READ	  0xeb
#define PS2_MOUSE_STREAM  0xea
#define PS2_MOUSE_STATUS  0xe9
#define PS2_MOUSE_RESOLUTION 0xe8
#define PS2_MOUSE_SCALE_2 0xe7
#define PS2_MOUSE_SCALE_1 0xe6
/* clang-format on */

/* --- queues --- */

void ps2_queue_put(struct ps2_queue *q, u8 byte)
{
	if (q->n < PS2_QUEUE)
		q->data[(q->start + q->n++) % PS2_QUEUE] = byte;
}

u8 ps2_queue_take(struct ps2_queue *q)
{
	u8 byte = q->data[q->start];

	assert(q->n);
	q->start = (q->start + 1) % PS2_QUEUE;
	q->n--;
	return byte;
}

bool ps2_queue_is_valid(const struct ps2_queue *q)
{
	return q->n <= PS2_QUEUE && q->start < PS2_QUEUE;
}

/* A command drops what the device was about to send. */
static void ps2_queue_restart(struct ps2_queue *q)
{
	*q = (struct ps2_queue){0};
}

/* --- keyboard --- */

static void ps2_keyboard_send(struct ps2_keyboard *k, u8 byte)
{
	k->last = byte;
	ps2_queue_put(&k->out, byte);
}

static void ps2_keyboard_set_defaults(struct ps2_keyboard *k)
{
	k->scan_set = 2;
	k->leds = 0;
	k->typematic = 0x2b; /* 10.9 characters a second after half a second */
}

void ps2_keyboard_reset(struct ps2_keyboard *k)
{
	*k = (struct ps2_keyboard){.is_scanning = true};
	ps2_keyboard_set_defaults(k);
}

static void ps2_keyboard_take_argument(struct ps2_keyboard *k, u8 command, u8 byte)
{
	switch (command) {
	case PS2_KBD_LEDS:
		k->leds = byte & 7;
		break;
	case PS2_RATE:
		k->typematic = byte & 0x7f;
		break;
	default: /* PS2_KBD_SCAN_SET */
		if (byte > 3) {
			ps2_keyboard_send(k, PS2_RESEND);
			return;
		}
		if (byte)
			k->scan_set = byte;
		break;
	}
	ps2_keyboard_send(k, PS2_ACK);
	if (command == PS2_KBD_SCAN_SET && byte == 0)
		ps2_keyboard_send(k, k->scan_set);
}

static void ps2_keyboard_take_command(struct ps2_keyboard *k, u8 byte)
{
	switch (byte) {
	case PS2_RESET:
		ps2_keyboard_reset(k);
		ps2_keyboard_send(k, PS2_ACK);
		ps2_keyboard_send(k, PS2_SELF_TEST);
		return;
	case PS2_IDENTIFY:
		ps2_keyboard_send(k, PS2_ACK);
		ps2_keyboard_send(k, 0xab);
		ps2_keyboard_send(k, 0x83);
		return;
	case PS2_KBD_ECHO:
		ps2_keyboard_send(k, PS2_ECHO);
		return;
	case PS2_AGAIN:
		ps2_queue_put(&k->out, k->last);
		return;
	case PS2_KBD_LEDS:
	case PS2_KBD_SCAN_SET:
	case PS2_RATE:
		k->command = byte;
		break;
	case PS2_ENABLE:
		k->is_scanning = true;
		break;
	case PS2_DISABLE:
	case PS2_DEFAULTS:
		ps2_keyboard_set_defaults(k);
		k->is_scanning = byte == PS2_DEFAULTS;
		break;
	default:
		ps2_keyboard_send(k, PS2_RESEND);
		return;
	}
	ps2_keyboard_send(k, PS2_ACK);
}

void ps2_keyboard_write(struct ps2_keyboard *k, u8 byte)
{
	u8 command = k->command;

	ps2_queue_restart(&k->out);
	k->command = 0;
	/* A command in place of an argument is a command. */
	if (command && byte < 0xe0)
		ps2_keyboard_take_argument(k, command, byte);
	else
		ps2_keyboard_take_command(k, byte);
}

/* --- mouse --- */

static void ps2_mouse_send(struct ps2_mouse *m, u8 byte)
{
	m->last = byte;
	ps2_queue_put(&m->out, byte);
}

static void ps2_mouse_set_defaults(struct ps2_mouse *m)
{
	m->rate = 100;
	m->resolution = 2;
	m->is_scaled = m->is_remote = m->is_reporting = false;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	*m = (struct ps2_mouse){0};
	ps2_mouse_set_defaults(m);
}

static void ps2_mouse_send_status(struct ps2_mouse *m)
{
	ps2_mouse_send(m, (u8)(m->is_remote << 6 | m->is_reporting << 5 | m->is_scaled << 4));
	ps2_mouse_send(m, m->resolution);
	ps2_mouse_send(m, m->rate);
}

/* No buttons, no movement. */
static void ps2_mouse_send_packet(struct ps2_mouse *m)
{
	ps2_mouse_send(m, 0x08);
	ps2_mouse_send(m, 0);
	ps2_mouse_send(m, 0);
}

/* Commands that set something and answer no more than that they were understood. */
static bool ps2_mouse_set(struct ps2_mouse *m, u8 byte)
{
	switch (byte) {
	case PS2_MOUSE_SCALE_1:
	case PS2_MOUSE_SCALE_2:
		m->is_scaled = byte == PS2_MOUSE_SCALE_2;
		return true;
	case PS2_MOUSE_REMOTE:
	case PS2_MOUSE_STREAM:
		m->is_remote = byte == PS2_MOUSE_REMOTE;
		return true;
	case PS2_MOUSE_WRAP:
		m->is_wrapping = true;
		return true;
	case PS2_ENABLE:
	case PS2_DISABLE:
		m->is_reporting = byte == PS2_ENABLE;
		return true;
	case PS2_DEFAULTS:
		ps2_mouse_set_defaults(m);
		return true;
	case PS2_RATE:
	case PS2_MOUSE_RESOLUTION:
		m->command = byte;
		return true;
	case PS2_MOUSE_UNWRAP:
		return true;
	}
	return false;
}

static void ps2_mouse_take_command(struct ps2_mouse *m, u8 byte)
{
	bool is_known = ps2_mouse_set(m, byte);

	switch (byte) {
	case PS2_RESET:
		ps2_mouse_reset(m);
		ps2_mouse_send(m, PS2_ACK);
		ps2_mouse_send(m, PS2_SELF_TEST);
		ps2_mouse_send(m, 0); /* its identity */
		break;
	case PS2_IDENTIFY:
		ps2_mouse_send(m, PS2_ACK);
		ps2_mouse_send(m, 0);
		break;
	case PS2_MOUSE_STATUS:
		ps2_mouse_send(m, PS2_ACK);
		ps2_mouse_send_status(m);
		break;
	case PS2_MOUSE_READ:
		ps2_mouse_send(m, PS2_ACK);
		ps2_mouse_send_packet(m);
		break;
	case PS2_AGAIN:
		ps2_queue_put(&m->out, m->last);
		break;
	default:
		ps2_mouse_send(m, is_known ? PS2_ACK : PS2_RESEND);
		break;
	}
}

static void ps2_mouse_take_argument(struct ps2_mouse *m, u8 command, u8 byte)
{
	if (command == PS2_RATE)
		m->rate = byte;
	else
		m->resolution = byte & 3;
	ps2_mouse_send(m, PS2_ACK);
}

void ps2_mouse_write(struct ps2_mouse *m, u8 byte)
{
	u8 command = m->command;

	ps2_queue_restart(&m->out);
	m->command = 0;
	if (m->is_wrapping && byte != PS2_RESET && byte != PS2_MOUSE_UNWRAP) {
		ps2_mouse_send(m, byte);
		return;
	}
	m->is_wrapping = false;
	if (command && byte < 0xe0)
		ps2_mouse_take_argument(m, command, byte);
	else
		ps2_mouse_take_command(m, byte);
}

/* --- state --- */

static const struct state_field ps2_queue_fields[] = {
	STATE_RAW(struct ps2_queue, data),
	STATE_U(struct ps2_queue, start),
	STATE_U(struct ps2_queue, n),
	STATE_END,
};

const struct state_table ps2_queue_state = {
	.name = "ps2-queue",
	.version = 1,
	.fields = ps2_queue_fields,
};

static const struct state_field ps2_keyboard_fields[] = {
	STATE_SUB(struct ps2_keyboard, out, &ps2_queue_state),
	STATE_U(struct ps2_keyboard, command),
	STATE_U(struct ps2_keyboard, last),
	STATE_U(struct ps2_keyboard, scan_set),
	STATE_U(struct ps2_keyboard, leds),
	STATE_U(struct ps2_keyboard, typematic),
	STATE_B(struct ps2_keyboard, is_scanning),
	STATE_END,
};

const struct state_table ps2_keyboard_state = {
	.name = "ps2-keyboard",
	.version = 1,
	.fields = ps2_keyboard_fields,
};

static const struct state_field ps2_mouse_fields[] = {
	STATE_SUB(struct ps2_mouse, out, &ps2_queue_state),
	STATE_U(struct ps2_mouse, command),
	STATE_U(struct ps2_mouse, last),
	STATE_U(struct ps2_mouse, rate),
	STATE_U(struct ps2_mouse, resolution),
	STATE_B(struct ps2_mouse, is_scaled),
	STATE_B(struct ps2_mouse, is_remote),
	STATE_B(struct ps2_mouse, is_wrapping),
	STATE_B(struct ps2_mouse, is_reporting),
	STATE_END,
};

const struct state_table ps2_mouse_state = {
	.name = "ps2-mouse",
	.version = 1,
	.fields = ps2_mouse_fields,
};
