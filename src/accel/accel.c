/*
 * The few lines that every accelerator shares. See accel.h.
 */
#include "accel/accel.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum vcpu_stop vcpu_broken(struct vcpu *v, int code, const char *fmt, ...)
{
	char words[64];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(v->broken, sizeof(v->broken), fmt, ap);
	va_end(ap);
	if (code < 0 && n >= 0 && n < (int)sizeof(v->broken))
		snprintf(v->broken + n, sizeof(v->broken) - (size_t)n, ": %s",
			 strerror_r(-code, words, sizeof(words)));
	return VCPU_STOP_BROKEN;
}

void vcpu_count(struct vcpu *v, void (*visit)(void *opaque, const struct vcpu_counter *n),
		void *opaque)
{
	if (v->ops->count)
		v->ops->count(v, visit, opaque);
}

void vcpu_free(struct vcpu *v)
{
	if (v)
		v->ops->free(v);
}

void accel_free(struct accel *a)
{
	if (a)
		a->ops->free(a);
}
