/*
 * The report: two lists of words, in which what doesn't fit is cut off.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "confine/confine_priv.h"

static void report_append(char *list, size_t size, const char *fmt, va_list ap)
{
	size_t used = strlen(list);

	used += (size_t)snprintf(list + used, size - used, "%s", used ? ", " : "");
	if (used < size)
		vsnprintf(list + used, size - used, fmt, ap);
}

void confine_note(struct confine_report *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report_append(r->in_force, sizeof(r->in_force), fmt, ap);
	va_end(ap);
}

void confine_note_missing(struct confine_report *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report_append(r->missing, sizeof(r->missing), fmt, ap);
	va_end(ap);
}
