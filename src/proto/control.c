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
};
static_assert(ARRAY_SIZE(control_reasons) == CONTROL_REASONS, "a word for each reason");

static const char *const control_kinds[] = {
	[CONTROL_STARTED] = "started",
	[CONTROL_PAUSED] = "paused",
	[CONTROL_STOPPED] = "stopped",
	[CONTROL_ERROR] = "error",
};
static_assert(ARRAY_SIZE(control_kinds) == CONTROL_EVENT_KINDS, "a word for each event");

static int control_word(const char *const *words, int n, const char *word)
{
	for (int i = 0; i < n; i++) {
		if (!strcmp(words[i], word))
			return i;
	}
	return -1;
}

static int control_send(int sock, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);
	int r = text ? fd_send(sock, text, strlen(text), NULL, 0) : -EINVAL;

	json_decref(message);
	free(text);
	return r;
}

int control_send_command(int sock, enum control_command command)
{
	return control_send(sock, json_pack("{s:s}", "command", control_commands[command]));
}

int control_send_event(int sock, const struct control_event *e)
{
	json_t *m = json_pack("{s:s, s:o}", "event", control_kinds[e->kind], "text",
			      proto_text(e->text));

	if (e->kind == CONTROL_STOPPED) {
		json_object_set_new(m, "reason", json_string(control_reasons[e->reason]));
		json_object_set_new(m, "code", json_integer(e->code));
	}
	return control_send(sock, m);
}

static json_t *control_load(const char *text, size_t size, struct err *err)
{
	json_error_t why;
	json_t *m = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);

	if (!m)
		err_set(err, -EINVAL, "control message: %s", why.text);
	return m;
}

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
