/*
 * The control socket's messages: JSON objects, one per SOCK_SEQPACKET message, descriptors beside
 * them.
 *
 * The first message to a VMM is its configuration (proto/guest_config.h). After that the peer sends
 * commands, {"command": "reset"}, and the VMM sends events, {"event": "stopped", "reason": ...}.
 * Unknown commands are answered with an error event that names them; unknown members are ignored,
 * so that an older peer and a newer one understand each other. The version is the configuration's.
 */
#ifndef PROTO_CONTROL_H
#define PROTO_CONTROL_H

#include "base/base.h"

struct err;

#define CONTROL_MAX_MESSAGE ((size_t)64 * 1024)

enum control_command {
	CONTROL_POWER_BUTTON,
	CONTROL_RESET,
	CONTROL_PAUSE,
	CONTROL_RESUME,
	CONTROL_QUIT,
	CONTROL_COMMANDS,
};

enum control_reason {
	CONTROL_POWEROFF,
	CONTROL_PANIC,       /* the guest reported a crash */
	CONTROL_GUEST_RESET, /* with on-reboot=stop */
	CONTROL_ASKED,       /* by the quit command */
	CONTROL_FAILED,      /* it could not be started, or its host failed it: text says why */
	CONTROL_DEBUG_EXIT,  /* the test port: code */
	CONTROL_REASONS,
};

enum control_event_kind {
	CONTROL_STARTED, /* text: the accelerator and why it was taken */
	CONTROL_PAUSED,
	CONTROL_STOPPED, /* reason, text, code: nothing comes after it */
	CONTROL_ERROR,   /* a command was refused: text */
	CONTROL_EVENT_KINDS,
};

struct control_event {
	enum control_event_kind kind;
	enum control_reason reason;
	int code;
	char text[512];
};

/* Each sends one message. Negative errno when the peer is gone. */
int control_send_command(int sock, enum control_command command);
int control_send_event(int sock, const struct control_event *e);

/* Parses a message received. */
int control_parse_command(const char *text, size_t size, enum control_command *out,
			  struct err *err);
int control_parse_event(const char *text, size_t size, struct control_event *out, struct err *err);

#endif
