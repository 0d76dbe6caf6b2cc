/*
 * The control socket's messages, of either side: a client's requests, a guest process's replies and
 * events, the configuration. Each reads the same bytes: what one refuses another may take.
 *
 * Texts that are made from what was read are read again, and say the same.
 */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/err.h"
#include "proto/control.h"
#include "proto/guest_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_request(const char *text, size_t size)
{
	struct control_call call, again;
	struct err err = ERR_INIT;
	char *made;

	if (control_call_parse(text, size, &call, &err) < 0)
		return;
	if (call.command && call.has_id) {
		made = control_call_text(call.id, call.command,
					 call.arguments ? json_deep_copy(call.arguments) : NULL);
		if (control_call_parse(made, strlen(made), &again, &err) < 0 ||
		    again.id != call.id || strcmp(again.command, call.command))
			abort();
		control_call_fini(&again);
		free(made);
	}
	control_call_fini(&call);
}

static void try_message(const char *text, size_t size)
{
	struct control_message m;
	struct control_event e;
	enum control_command command;
	struct err err = ERR_INIT;

	if (control_message_parse(text, size, &m, &err) == 0) {
		if (!m.event && !m.result && !m.text)
			abort();
		control_message_fini(&m);
	}
	control_parse_event(text, size, &e, &err);
	control_parse_command(text, size, &command, &err);
}

static void try_config(const char *text, size_t size)
{
	struct guest_config c;
	struct err err = ERR_INIT;

	if (guest_config_decode_plain(text, size, &c, &err) < 0)
		return;
	if (guest_config_check(&c, &err) < 0)
		abort();
	guest_config_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > CONTROL_MAX_MESSAGE)
		return -1;
	try_request((const char *)data, size);
	try_message((const char *)data, size);
	try_config((const char *)data, size);
	return 0;
}
