/*
 * posada-nbd that has been taken over: it makes its attempts where it would begin to serve, and then serves.
 */
#include "hostile.h"
#include "layers.h"
#include "remote/remote.h"

int __real_remote_connect(const struct remote_options *o, struct err *err);
int __wrap_remote_connect(const struct remote_options *o, struct err *err);
int __real_remote_sandbox_enter(enum sandbox_kind kind, bool is_unix, struct err *err);
int __wrap_remote_sandbox_enter(enum sandbox_kind kind, bool is_unix, struct err *err);

int __wrap_remote_sandbox_enter(enum sandbox_kind kind, bool is_unix, struct err *err)
{
	return layer_is_on("seccomp") ? __real_remote_sandbox_enter(kind, is_unix, err) : 0;
}

int __wrap_remote_connect(const struct remote_options *o, struct err *err)
{
	attempts_run("nbd", NULL);
	attempts_print();
	return __real_remote_connect(o, err);
}
