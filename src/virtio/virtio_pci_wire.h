/*
 * virtio over PCI: capabilities and register structures (virtio 1.2, section 4.1.4).
 */
#ifndef VIRTIO_VIRTIO_PCI_WIRE_H
#define VIRTIO_VIRTIO_PCI_WIRE_H

#include "base/bytes.h"

#define VIRTIO_PCI_VENDOR      0x1af4
#define VIRTIO_PCI_DEVICE_BASE 0x1040 /* plus the device id */
#define VIRTIO_PCI_REVISION    1

#define VIRTIO_PCI_CAP_COMMON 1
#define VIRTIO_PCI_CAP_NOTIFY 2
#define VIRTIO_PCI_CAP_ISR    3
#define VIRTIO_PCI_CAP_DEVICE 4
#define VIRTIO_PCI_CAP_PCI    5 /* a window into the BARs */

struct virtio_pci_cap_wire {
	u8 id;
	u8 next;
	u8 size;
	u8 type;
	u8 bar;
	u8 instance;
	u8 padding[2];
	le32 offset;
	le32 length;
	le32 extra; /* notify: the multiplier; window: the data; others don't have it */
};
static_assert(sizeof(struct virtio_pci_cap_wire) == 20, "struct virtio_pci_notify_cap");
#define VIRTIO_PCI_CAP_SIZE offsetof(struct virtio_pci_cap_wire, extra)

struct virtio_pci_common_wire {
	le32 device_feature_select;
	le32 device_feature;
	le32 driver_feature_select;
	le32 driver_feature;
	le16 config_msix_vector;
	le16 num_queues;
	u8 device_status;
	u8 config_generation;
	le16 queue_select;
	le16 queue_size;
	le16 queue_msix_vector;
	le16 queue_enable;
	le16 queue_notify_off;
	le64 queue_desc;
	le64 queue_driver;
	le64 queue_device;
};
static_assert(sizeof(struct virtio_pci_common_wire) == 56, "struct virtio_pci_common_cfg");

#define VIRTIO_PCI_NO_VECTOR 0xffff

#define VIRTIO_PCI_ISR_QUEUE  BIT32(0)
#define VIRTIO_PCI_ISR_CONFIG BIT32(1)

#endif
