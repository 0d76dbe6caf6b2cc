/*
 * People's words in a message: JSON takes UTF-8 only, while a path or an option may be any bytes.
 */
#ifndef PROTO_TEXT_H
#define PROTO_TEXT_H

#include "base/base.h"

struct json_t;

bool proto_text_is_utf8(const char *text);

/* Control characters, which a terminal would obey, become question marks: in place; returns text. */
char *proto_text_clean(char *text);

/*
 * A JSON string for people to read. Of a text that isn't UTF-8 (or was cut within a character)
 * each byte that isn't ASCII becomes a question mark. NULL gives NULL.
 */
struct json_t *proto_text(const char *text);

#endif
