/*
 * The guest's place in the registry: its name, its control socket, who runs it.
 */
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "launch/launch_priv.h"
#include "proto/text.h"

int launch_register(struct launch *l, struct err *err)
{
	struct guest_config *c = &l->config;

	const char *name = l->request->name;

	if (!name && l->request->saved)
		name = c->name;
	if (registry_claim(name, &l->entry, err) < 0)
		return err->code;
	free(c->name);
	c->name = str_dup(l->entry.name);
	/* The guest process holds the name as well: it may be the last to go. */
	c->lock_fd = fcntl(l->entry.lock_fd, F_DUPFD_CLOEXEC, 0);
	if (c->lock_fd < 0)
		return err_errno(err, -errno, "cannot keep the name of guest '%s'", c->name);
	if (registry_listen(&l->entry, REGISTRY_CONTROL, SOCK_SEQPACKET, &c->control_fd, err) < 0)
		return err->code;
	return launch_detach_log(l, err);
}

int launch_publish(struct launch *l, struct err *err)
{
	json_t *info =
		json_pack("{s:s, s:i, s:i, s:I, s:o}", "name", l->config.name, "launcher",
			  (int)getpid(), "vmm", (int)l->vmm, "started", (json_int_t)time(NULL),
			  "kernel", proto_text(l->config.kernel_path));

	return registry_write_info(&l->entry, info, err);
}
