/*
 * What driver and console device say to each other (virtio 1.2, 5.3).
 */
#ifndef VIRTIO_CONSOLE_WIRE_H
#define VIRTIO_CONSOLE_WIRE_H

#include "base/bytes.h"

/* Features (5.3.3). */
#define VCON_F_SIZE        BIT(0)
#define VCON_F_MULTIPORT   BIT(1)
#define VCON_F_EMERG_WRITE BIT(2)

/* struct virtio_console_config (5.3.4). */
struct vcon_config_wire {
	le16 cols;
	le16 rows;
	le32 max_nr_ports;
	le32 emerg_wr;
};
static_assert(sizeof(struct vcon_config_wire) == 12, "5.3.4");

/* Queues (5.3.2): port 0 has 0 and 1, the control queues stand between it and the others. */
enum {
	VCON_QUEUE_RX0 = 0,
	VCON_QUEUE_TX0 = 1,
	VCON_QUEUE_CONTROL_RX = 2, /* device to driver */
	VCON_QUEUE_CONTROL_TX = 3,
	VCON_QUEUE_PORTS = 4, /* port 1's, then 2's ... */
};

/* struct virtio_console_control (5.3.6.2); a name follows PORT_NAME, a size RESIZE. */
struct vcon_control_wire {
	le32 id;
	le16 event;
	le16 value;
};
static_assert(sizeof(struct vcon_control_wire) == 8, "5.3.6.2");

enum vcon_event {
	VCON_DEVICE_READY = 0,
	VCON_DEVICE_ADD = 1,
	VCON_DEVICE_REMOVE = 2,
	VCON_PORT_READY = 3,
	VCON_CONSOLE_PORT = 4,
	VCON_RESIZE = 5,
	VCON_PORT_OPEN = 6,
	VCON_PORT_NAME = 7,
};

/* struct virtio_console_resize. Linux had rows first before its commit 5326ab737a47. */
struct vcon_resize_wire {
	le16 cols;
	le16 rows;
};
static_assert(sizeof(struct vcon_resize_wire) == 4, "5.3.6.2");

#endif
