/*
 * The control socket's messages: JSON objects, one per SOCK_SEQPACKET message, descriptors beside
 * them. docs/control-socket.md is the reference.
 *
 * Protocol 2: a client sends requests, {"id": 7, "command": "pause", "arguments": {...}}, and each
 * gets one reply, {"id": 7, "result": {...}} or {"id": 7, "error": {"code": ..., "text": ...}}, in
 * any order. Events, {"event": "paused", ...}, come to those that subscribed. Protocol 1: a command
 * without an id, which gets no reply: events say what became of it. Unknown members are ignored, so
 * that an older peer and a newer one understand each other.
 *
 * The first message from a launcher to its VMM is the configuration (proto/guest_config.h).
 */
#ifndef PROTO_CONTROL_H
#define PROTO_CONTROL_H

#include "base/base.h"

struct err;
struct json_t;

#define CONTROL_PROTOCOL    2
#define CONTROL_OLDEST      1 /* the oldest that is still understood */
#define CONTROL_MAX_MESSAGE ((size_t)64 * 1024)
#define CONTROL_MAX_FDS     16 /* that come with a request */

/* What a request can fail of: the word is for programs, its text for people. */
enum control_code {
	CONTROL_UNKNOWN_COMMAND,
	CONTROL_BAD_ARGUMENTS,
	CONTROL_NOT_FOUND,     /* no such device, for example */
	CONTROL_BUSY,          /* later, perhaps */
	CONTROL_INVALID_STATE, /* not while the guest is as it is */
	CONTROL_NOT_SUPPORTED, /* not by this guest or host */
	CONTROL_ERROR_FAILED,
	CONTROL_CODES,
};
const char *control_code_word(enum control_code code);
/* As a negative errno and back; what has no code of its own is CONTROL_ERROR_FAILED, -EIO. */
int control_code_errno(enum control_code code);
enum control_code control_code_from_errno(int error);

/* --- requests --- */

/* As it came. Pointers lead into root. */
struct control_call {
	bool has_id; /* else it is of protocol 1 */
	i64 id;
	const char *command;            /* NULL: it has none */
	const struct json_t *arguments; /* an object; NULL: there are none */
	struct json_t *root;
};

/* Fails on what is no JSON object, has an id that is no integer, or arguments that are no object. */
int control_call_parse(const char *text, size_t size, struct control_call *out, struct err *err);
void control_call_fini(struct control_call *c);

/* Texts to send; free() them. arguments and result are taken over; NULL stands for an empty one. */
char *control_call_text(i64 id, const char *command, struct json_t *arguments);
char *control_result_text(i64 id, struct json_t *result);
char *control_error_text(i64 id, enum control_code code, const char *text);

/* --- what a client receives --- */

struct control_message {
	const char *event;           /* NULL: it is a reply */
	i64 id;                      /* of a reply */
	const struct json_t *result; /* of a reply; NULL: it failed, of code and text */
	enum control_code code;
	const char *text;
	struct json_t *root;
};

int control_message_parse(const char *text, size_t size, struct control_message *out,
			  struct err *err);
void control_message_fini(struct control_message *m);

/* --- protocol 1, and the events that the launcher acts on --- */

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
	CONTROL_SAVED,       /* to a file, from which it can go on */
	CONTROL_REASONS,
};

enum control_event_kind {
	CONTROL_STARTED, /* text: the accelerator and why it was taken */
	CONTROL_PAUSED,
	CONTROL_STOPPED, /* reason, text, code: nothing comes after it */
	CONTROL_ERROR,   /* a command was refused: text */
	CONTROL_RESUMED,
	CONTROL_RESET_DONE, /* the board was reset, and runs */
	CONTROL_PANICKED,   /* the guest reported a crash; what follows it comes next */
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

/* A new object; further events are made by json_pack, with their word in "event". */
struct json_t *control_event_json(const struct control_event *e);

/* Parses a message received. */
int control_parse_command(const char *text, size_t size, enum control_command *out,
			  struct err *err);
int control_parse_event(const char *text, size_t size, struct control_event *out, struct err *err);

#endif
