/*
 * Heap allocation that aborts, or says so. See alloc.h.
 */
#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

noreturn void alloc_die(void)
{
	static const char text[] = "posada: out of memory\n";

	fputs(text, stderr);
	abort();
}

void *alloc_try(size_t count, size_t size)
{
	return calloc(count ? count : 1, size);
}

void *mem_alloc(size_t count, size_t size)
{
	void *p = alloc_try(count, size);

	if (!p)
		alloc_die();
	return p;
}

void *mem_grow(void *p, size_t old_count, size_t count, size_t size)
{
	assert(count >= old_count);
	p = reallocarray(p, count ? count : 1, size);
	if (!p)
		alloc_die();
	memset((char *)p + old_count * size, 0, (count - old_count) * size);
	return p;
}

char *str_dup(const char *s)
{
	char *copy;

	if (!s)
		return NULL;
	copy = strdup(s);
	if (!copy)
		alloc_die();
	return copy;
}

char *str_format(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		alloc_die();
	va_end(ap);
	return s;
}
