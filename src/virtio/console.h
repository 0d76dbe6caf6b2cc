/*
 * virtio-console: byte streams with names (virtio 1.2, 5.3).
 *
 * Each port carries one chr. Console ports become terminals in the guest (hvc0), the others
 * /dev/virtio-ports/NAME. Ports are what they were made with for the life of the device.
 */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

#include "base/base.h"

struct chr;
struct err;
struct gmem;
struct loop;
struct virtio_device;

#define VCON_MAX_PORTS 31
#define VCON_NAME_MAX  63

struct vcon_port_options {
	const char *name; /* at most VCON_NAME_MAX bytes; NULL: none */
	struct chr *chr;  /* of the same loop; taken over on success */
	bool is_console;
};

struct vcon_options {
	const char *name; /* of the device: "console0" */
	const struct vcon_port_options *ports;
	u32 n_ports; /* 1 to VCON_MAX_PORTS */
};

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vcon_new(const struct vcon_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err);

/* The terminal behind a console port has this size now. Any thread, without the lock. */
void vcon_set_size(struct virtio_device *v, u32 port, u16 cols, u16 rows);

#endif
