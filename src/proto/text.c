/*
 * People's words in a message. See text.h.
 */
#include "proto/text.h"

#include <jansson.h>

#include "base/alloc.h"

bool proto_text_is_utf8(const char *text)
{
	json_t *s = json_string(text);
	bool is_utf8 = s;

	json_decref(s);
	return is_utf8;
}

char *proto_text_clean(char *text)
{
	for (char *p = text; *p; p++) {
		if ((u8)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return text;
}

json_t *proto_text(const char *text)
{
	AUTO(free) char *ascii = NULL;
	json_t *s = json_string(text);

	if (s || !text)
		return s;
	ascii = str_dup(text);
	for (char *p = ascii; *p; p++) {
		if (*p & 0x80)
			*p = '?';
	}
	return json_string(ascii);
}
