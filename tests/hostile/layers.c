/*
 * Takes layers of the confinement away: HOSTILE_LAYERS in the environment names those that stay; all,
 * when it isn't set. The linker puts these in the place of the layers, in the guest process and in its
 * launcher, of the test's only.
 */
#include <errno.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "confine/confine_priv.h"
#include "hostile.h"
#include "layers.h"

/* A word of a list with commas. */
bool layer_is_on(const char *name)
{
	const char *list = getenv("HOSTILE_LAYERS");
	size_t n = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		if (!strncmp(p, name, n) && (!p[n] || p[n] == ','))
			return true;
	}
	return !list;
}

/* REAL(fn)(...) is the product's. */
#define WRAP(type, fn, params)                                                                     \
	type __real_##fn params;                                                                   \
	type __wrap_##fn params;                                                                   \
	type __wrap_##fn params

WRAP(pid_t, confine_fork, (void))
{
	return layer_is_on("namespaces") ? __real_confine_fork() : fork();
}

WRAP(void, confine_enter_namespaces, (bool has_network, struct confine_report *r))
{
	if (layer_is_on("namespaces"))
		__real_confine_enter_namespaces(has_network, r);
}

WRAP(void, confine_enter_root, (const struct confine_kept *kept, struct confine_report *r))
{
	if (layer_is_on("namespaces"))
		__real_confine_enter_root(kept, r);
}

WRAP(void, confine_enter_user_namespace, (struct confine_report * r))
{
	if (layer_is_on("namespaces"))
		__real_confine_enter_user_namespace(r);
}

WRAP(int, confine_enter_uid, (uid_t uid, struct confine_report *r, struct err *err))
{
	return layer_is_on("uid") ? __real_confine_enter_uid(uid, r, err) : 0;
}

WRAP(int, confine_drop_privileges, (struct err * err))
{
	return layer_is_on("privileges") ? __real_confine_drop_privileges(err) : 0;
}

WRAP(void, confine_enter_landlock,
     (int dir, const struct confine_options *o, struct confine_report *r))
{
	if (layer_is_on("landlock"))
		__real_confine_enter_landlock(dir, o, r);
}

WRAP(int, confine_enter_limits, (struct err * err))
{
	return layer_is_on("limits") ? __real_confine_enter_limits(err) : 0;
}

WRAP(int, confine_limit,
     (const struct confine_limits *l, struct confine_report *report, struct err *err))
{
	return layer_is_on("limits") ? __real_confine_limit(l, report, err) : 0;
}

WRAP(int, confine_setup, (struct err * err))
{
	return layer_is_on("seccomp") ? __real_confine_setup(err) : 0;
}

WRAP(int, confine_thread, (enum confine_role role, struct err *err))
{
	return layer_is_on("seccomp") ? __real_confine_thread(role, err) : 0;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* Every call of the C library's syscall(), which the disk's engine uses for its ring's restrictions. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_io_uring_register && a[1] == IORING_REGISTER_RESTRICTIONS &&
	    !layer_is_on("ring"))
		return 0;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
