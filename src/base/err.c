/*
 * Errors that a person reads: fixed-size text, built from the inside out. See err.h.
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

static void err_prefix(struct err *e, const char *tail, const char *fmt, va_list ap)
{
	char front[sizeof(e->text)];

	vsnprintf(front, sizeof(front), fmt, ap);
	/* The tail was the whole text, so this cuts the end of a very long message: the inside. */
	if (snprintf(e->text, sizeof(e->text), "%s: %s", front, tail) >= (int)sizeof(e->text))
		memcpy(e->text + sizeof(e->text) - 4, "...", 4);
}

int err_errno(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;
	char words[128];

	assert(code < 0);
	e->code = code;
	va_start(ap, fmt);
	err_prefix(e, strerror_r(-code, words, sizeof(words)), fmt, ap);
	va_end(ap);
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char tail[sizeof(e->text)];
	va_list ap;

	assert(e->code < 0);
	memcpy(tail, e->text, sizeof(tail));
	va_start(ap, fmt);
	err_prefix(e, tail, fmt, ap);
	va_end(ap);
	return e->code;
}
