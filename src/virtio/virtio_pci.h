/*
 * The PCI transport: makes a virtio device a PCI Express function (virtio 1.2, section 4.1).
 *
 * The modern interface only. BAR 4 holds the register structures, BAR 1 the MSI-X table: a vector
 * for configuration changes and one for each queue, with INTx where the driver prefers it. A
 * queue's notify register is a doorbell: an eventfd that wakes the device's loop.
 */
#ifndef VIRTIO_VIRTIO_PCI_H
#define VIRTIO_VIRTIO_PCI_H

#include "pci/pci.h"
#include "virtio/virtio.h"

/*
 * Borrows v, whose queues are all added and which isn't freed before: adopt v first. The function
 * is then put behind a root port (pci_root_port_plug) or on bus 0; its device frees the transport.
 */
struct pci_device *virtio_pci_new(struct virtio_device *v, const struct msi_sink *sink);

#endif
