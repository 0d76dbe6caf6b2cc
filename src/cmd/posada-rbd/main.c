/*
 * posada-rbd: Ceph's RBD images, for a process that is confined (remote/remote.h). Built where librbd is.
 */
#include "remote/rbd.h"
#include "remote/remote.h"

static int run(struct remote_options *o, struct err *err)
{
	static const struct remote_kind rbd = {.open = rbd_disk_new};
	int r = remote_confine(o, SANDBOX_LIBRARY, err);

	return r < 0 ? r : remote_serve(o, &rbd, err);
}

int main(int argc, char **argv)
{
	return remote_main(argc, argv, "posada-rbd", run);
}
