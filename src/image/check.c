/*
 * Findings of a check. See check.h.
 */
#include "image/check.h"

#include <stdarg.h>
#include <stdio.h>

#define CHECK_TEXT 200

static void check_tell(struct img_check *c, bool is_corruption, const char *fmt, va_list args)
{
	char text[CHECK_TEXT];

	vsnprintf(text, sizeof(text), fmt, args);
	if (c->report)
		c->report(c->opaque, is_corruption, text);
}

void img_check_corruption(struct img_check *c, const char *fmt, ...)
{
	va_list args;

	c->corruptions++;
	va_start(args, fmt);
	check_tell(c, true, fmt, args);
	va_end(args);
}

void img_check_leaks(struct img_check *c, u64 n, const char *fmt, ...)
{
	va_list args;

	c->leaks += n;
	va_start(args, fmt);
	check_tell(c, false, fmt, args);
	va_end(args);
}
