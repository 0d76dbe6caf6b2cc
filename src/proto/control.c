/*
 * The control socket's messages. See control.h.
 */
#include "proto/control.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "proto/text.h"

static const char *const control_commands[] = {
	[CONTROL_POWER_BUTTON] = "power-button",
	[CONTROL_RESET] = "reset",
	[CONTROL_PAUSE] = "pause",
	[CONTROL_RESUME] = "resume",
	[CONTROL_QUIT] = "quit",
};
static_assert(ARRAY_SIZE(control_commands) == CONTROL_COMMANDS, "a word for each command");

static const char *const control_reasons[] = {
	[CONTROL_POWEROFF] = "poweroff", [CONTROL_PANIC] = "panic",
	[CONTROL_GUEST_RESET] = "reset", [CONTROL_ASKED] = "quit",
	[CONTROL_FAILED] = "failed",     [CONTROL_DEBUG_EXIT] = "debug-exit",
	[CONTROL_SAVED] = "saved",
};
static_assert(ARRAY_SIZE(control_reasons) == CONTROL_REASONS, "a word for each reason");

static const char *const control_kinds[] = {
	[CONTROL_STARTED] = "started",   [CONTROL_PAUSED] = "paused",
	[CONTROL_STOPPED] = "stopped",   [CONTROL_ERROR] = "error",
	[CONTROL_RESUMED] = "resumed",   [CONTROL_RESET_DONE] = "reset",
	[CONTROL_PANICKED] = "panicked",
};
static_assert(ARRAY_SIZE(control_kinds) == CONTROL_EVENT_KINDS, "a word for each event");

static const struct {
	const char *word;
	int error;
} control_codes[] = {
	[CONTROL_UNKNOWN_COMMAND] = {"unknown-command", -EBADRQC},
	[CONTROL_BAD_ARGUMENTS] = {"bad-arguments", -EINVAL},
	[CONTROL_NOT_FOUND] = {"not-found", -ENOENT},
	[CONTROL_BUSY] = {"busy", -EBUSY},
	[CONTROL_INVALID_STATE] = {"invalid-state", -EBADFD},
	[CONTROL_NOT_SUPPORTED] = {"not-supported", -ENOTSUP},
	[CONTROL_ERROR_FAILED] = {"failed", -EIO},
};
static_assert(ARRAY_SIZE(control_codes) == CONTROL_CODES, "a word for each code");

const char *control_code_word(enum control_code code)
{
	return control_codes[code].word;
}

int control_code_errno(enum control_code code)
{
	return control_codes[code].error;
}

enum control_code control_code_from_errno(int error)
{
	for (int i = 0; i < CONTROL_CODES; i++) {
		if (control_codes[i].error == error)
			return (enum control_code)i;
	}
	return CONTROL_ERROR_FAILED;
}

static int control_word(const char *const *words, int n, const char *word)
{
	for (int i = 0; i < n; i++) {
		if (!strcmp(words[i], word))
			return i;
	}
	return -1;
}

static char *control_text(json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	assert(text); /* its strings were made by json_string from UTF-8, or by proto_text */
	json_decref(message);
	return text;
}

static int control_send(int sock, json_t *message)
{
	char *text = control_text(message);
	int r = fd_send(sock, text, strlen(text), NULL, 0);

	free(text);
	return r;
}

int control_send_command(int sock, enum control_command command)
{
	return control_send(sock, json_pack("{s:s}", "command", control_commands[command]));
}

json_t *control_event_json(const struct control_event *e)
{
	json_t *m = json_pack("{s:s, s:o}", "event", control_kinds[e->kind], "text",
			      proto_text(e->text));

	if (e->kind == CONTROL_STOPPED) {
		json_object_set_new(m, "reason", json_string(control_reasons[e->reason]));
		json_object_set_new(m, "code", json_integer(e->code));
	}
	return m;
}

int control_send_event(int sock, const struct control_event *e)
{
	return control_send(sock, control_event_json(e));
}

/* An object, or NULL. */
static json_t *control_load(const char *text, size_t size, struct err *err)
{
	json_error_t why;
	json_t *m = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);

	if (!m) {
		err_set(err, -EINVAL, "control message: %s", why.text);
	} else if (!json_is_object(m)) {
		err_set(err, -EINVAL, "control message: it is no object");
		json_decref(m);
		m = NULL;
	}
	return m;
}

/* --- protocol 2 --- */

static int control_call_fill(json_t *root, struct control_call *c, struct err *err)
{
	const json_t *id = json_object_get(root, "id");
	const json_t *arguments = json_object_get(root, "arguments");

	if (id && !json_is_integer(id))
		return err_set(err, -EINVAL, "control message: the id is no integer");
	if (arguments && !json_is_object(arguments))
		return err_set(err, -EINVAL, "control message: the arguments are no object");
	*c = (struct control_call){
		.has_id = id != NULL,
		.id = json_integer_value(id),
		.command = json_string_value(json_object_get(root, "command")),
		.arguments = arguments,
		.root = root,
	};
	return 0;
}

int control_call_parse(const char *text, size_t size, struct control_call *out, struct err *err)
{
	json_t *root = control_load(text, size, err);
	int r = root ? control_call_fill(root, out, err) : err->code;

	if (r < 0)
		json_decref(root);
	return r;
}

void control_call_fini(struct control_call *c)
{
	json_decref(c->root);
	*c = (struct control_call){0};
}

char *control_call_text(i64 id, const char *command, json_t *arguments)
{
	json_t *m = json_pack("{s:I, s:s}", "id", (json_int_t)id, "command", command);

	if (arguments)
		json_object_set_new(m, "arguments", arguments);
	return control_text(m);
}

char *control_result_text(i64 id, json_t *result)
{
	return control_text(json_pack("{s:I, s:o}", "id", (json_int_t)id, "result",
				      result ? result : json_object()));
}

char *control_error_text(i64 id, enum control_code code, const char *text)
{
	return control_text(json_pack("{s:I, s:{s:s, s:o}}", "id", (json_int_t)id, "error", "code",
				      control_codes[code].word, "text", proto_text(text)));
}

static int control_reply_fill(json_t *root, struct control_message *m, struct err *err)
{
	const json_t *id = json_object_get(root, "id"), *error = json_object_get(root, "error");
	const char *word = json_string_value(json_object_get(error, "code"));

	m->result = json_object_get(root, "result");
	if (!json_is_integer(id) || (!json_is_object(m->result) && !word))
		return err_set(err, -EINVAL, "control message: neither an event nor a reply");
	m->id = json_integer_value(id);
	m->text = json_string_value(json_object_get(error, "text"));
	if (!m->text || !*m->text)
		m->text = "it failed";
	/* A newer peer's code that we don't know is a failure all the same. */
	m->code = CONTROL_ERROR_FAILED;
	for (int i = 0; word && i < CONTROL_CODES; i++) {
		if (!strcmp(control_codes[i].word, word))
			m->code = (enum control_code)i;
	}
	return 0;
}

int control_message_parse(const char *text, size_t size, struct control_message *out,
			  struct err *err)
{
	json_t *root = control_load(text, size, err);
	struct control_message m = {.root = root};
	int r = 0;

	if (!root)
		return err->code;
	m.event = json_string_value(json_object_get(root, "event"));
	if (!m.event)
		r = control_reply_fill(root, &m, err);
	if (r < 0)
		json_decref(root);
	else
		*out = m;
	return r;
}

void control_message_fini(struct control_message *m)
{
	json_decref(m->root);
	*m = (struct control_message){0};
}

/* --- protocol 1 --- */

int control_parse_command(const char *text, size_t size, enum control_command *out, struct err *err)
{
	json_t *m = control_load(text, size, err);
	const char *word;
	int value;

	if (!m)
		return err->code;
	if (json_unpack(m, "{s:s}", "command", &word) < 0) {
		json_decref(m);
		return err_set(err, -EINVAL, "control message without a command");
	}
	value = control_word(control_commands, CONTROL_COMMANDS, word);
	if (value < 0)
		err_set(err, -ENOTSUP, "no command '%s'", word);
	json_decref(m);
	if (value < 0)
		return err->code;
	*out = (enum control_command)value;
	return 0;
}

int control_parse_event(const char *text, size_t size, struct control_event *out, struct err *err)
{
	json_t *m = control_load(text, size, err);
	const char *kind, *words = "", *reason = control_reasons[CONTROL_FAILED];
	struct control_event e = {0};
	int kind_value, reason_value;

	if (!m)
		return err->code;
	if (json_unpack(m, "{s:s, s?:s, s?:s, s?:i}", "event", &kind, "text", &words, "reason",
			&reason, "code", &e.code) < 0) {
		json_decref(m);
		return err_set(err, -EINVAL, "control message without an event");
	}
	kind_value = control_word(control_kinds, CONTROL_EVENT_KINDS, kind);
	reason_value = control_word(control_reasons, CONTROL_REASONS, reason);
	snprintf(e.text, sizeof(e.text), "%s", words);
	json_decref(m);
	if (kind_value < 0 || reason_value < 0)
		return err_set(err, -ENOTSUP, "an event that this program doesn't know");
	e.kind = (enum control_event_kind)kind_value;
	e.reason = (enum control_reason)reason_value;
	*out = e;
	return 0;
}
