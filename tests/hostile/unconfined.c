/*
 * Takes the confinement out of the hostile guest process, to prove that its test can fail: nothing is
 * given up, no filter is loaded, and the disk's ring isn't restricted.
 */
#include <errno.h>
#include <liburing.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "base/base.h"
#include "confine/confine.h"

int __wrap_confine_process(const struct confine_options *o, struct confine_report *out,
			   struct err *err);
int __wrap_confine_setup(struct err *err);
int __wrap_confine_thread(enum confine_role role, struct err *err);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

int __wrap_confine_process(unused const struct confine_options *o, struct confine_report *out,
			   unused struct err *err)
{
	*out = (struct confine_report){0};
	return 0;
}

int __wrap_confine_setup(unused struct err *err)
{
	return 0;
}

int __wrap_confine_thread(unused enum confine_role role, unused struct err *err)
{
	return 0;
}

/* Every call of the C library's syscall(), which the disk's engine uses for its ring's restrictions. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_io_uring_register && a[1] == IORING_REGISTER_RESTRICTIONS)
		return 0;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
