/*
 * Configuration through ports 0xcf8 (address) and 0xcfc (data): PCI 3.0, 3.2.2.3.2.
 *
 * Port 0xcf9, within the address register, takes byte accesses only and is another device's: they
 * are handed on. One region covers all eight ports, so that no bus splits a 4-byte access.
 */
#ifndef PCI_CONFIG_PORTS_H
#define PCI_CONFIG_PORTS_H

#include "base/base.h"

struct device;
struct io_region;
struct pci_config_ports;
struct pci_root;

#define PCI_CONFIG_PORT 0xcf8

/* cf9 (borrowed, or NULL): gets the byte accesses to 0xcf9 at its offset 0. */
struct pci_config_ports *pci_config_ports_new(struct pci_root *root, struct io_region *cf9);
struct device *pci_config_ports_device(struct pci_config_ports *c);
struct io_region *pci_config_ports_io(struct pci_config_ports *c); /* for PCI_CONFIG_PORT */

#endif
