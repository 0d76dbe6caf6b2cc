/*
 * posada-rbd: Ceph's RBD images, for a process that is confined (remote/remote.h). Built where librbd is.
 */
#include "remote/rbd.h"
#include "remote/remote.h"

static int run(const struct remote_options *o, struct err *err)
{
	static const struct remote_kind rbd = {.open = rbd_disk_new};

	return remote_serve(o, &rbd, err);
}

int main(int argc, char **argv)
{
	return remote_main(argc, argv, "posada-rbd", run);
}
