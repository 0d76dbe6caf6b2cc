/* docs/control-socket.md: every command, event, reason and error code has its place in it. */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "monitor/monitor_priv.h"
#include "proto/control.h"

static char *read_docs(void)
{
	FILE *f = fopen(CONTROL_DOCS, "re");
	char *text = mem_alloc(1, 256 * KIB);

	CHECK(f);
	CHECK(fread(text, 1, 256 * KIB - 1, f) > 0);
	fclose(f);
	return text;
}

static bool has(const char *docs, const char *before, const char *word)
{
	char *wanted = str_format("%s`%s`", before, word);
	bool is = strstr(docs, wanted) != NULL;

	if (!is)
		print_error("docs/control-socket.md lacks %s\n", wanted);
	free(wanted);
	return is;
}

TEST(every_command_has_a_section)
{
	char *docs = read_docs();
	const char *word;
	size_t n = 0;

	for (; (word = monitor_command_name(n)); n++)
		CHECK(has(docs, "### ", word));
	CHECK(n > 5);
	free(docs);
}

TEST(every_event_and_reason_is_explained)
{
	char *docs = read_docs();

	for (int i = 0; i < CONTROL_EVENT_KINDS + CONTROL_REASONS; i++) {
		bool is_kind = i < CONTROL_EVENT_KINDS;
		struct control_event e = {.kind = CONTROL_STOPPED};
		json_t *event;

		if (is_kind)
			e.kind = (enum control_event_kind)i;
		else
			e.reason = (enum control_reason)(i - CONTROL_EVENT_KINDS);
		event = control_event_json(&e);
		CHECK(has(docs, is_kind ? "| " : "",
			  json_string_value(json_object_get(event, is_kind ? "event" : "reason"))));
		json_decref(event);
	}
	free(docs);
}

TEST(every_error_code_is_explained)
{
	char *docs = read_docs();

	for (int i = 0; i < CONTROL_CODES; i++)
		CHECK(has(docs, "| ", control_code_word((enum control_code)i)));
	free(docs);
}
