/*
 * Heap allocation.
 *
 * Small fixed allocations abort when memory is out (NEW, mem_alloc, str_dup): nothing sensible can
 * follow. Any size that comes from outside goes through alloc_try, which returns NULL and is
 * checked. All memory is zeroed. Free with free(). Any thread.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stdlib.h>

#include "base/base.h"

void *mem_alloc(size_t count, size_t size);                           /* zeroed, never NULL */
void *alloc_try(size_t count, size_t size) must_check;                /* zeroed, NULL when out */
void *mem_grow(void *p, size_t old_count, size_t count, size_t size); /* tail zeroed, never NULL */
noreturn void alloc_die(void); /* what these do then, for others that can't go on */
char *str_dup(const char *s);  /* NULL gives NULL */
char *str_format(const char *fmt, ...) printf_like(1, 2); /* never NULL */

#define NEW(type)          ((type *)mem_alloc(1, sizeof(type)))
#define NEW_ARRAY(type, n) ((type *)mem_alloc((n), sizeof(type)))

AUTO_FN(free, char *)
/* For anything that is not a char *: AUTO(free_ptr) u8 *p. */
static inline void auto_free_ptr(void *p)
{
	free(*(void **)p);
}

#endif
