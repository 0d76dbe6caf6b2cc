/*
 * Ports 0xcf8 to 0xcff. See config_ports.h.
 *
 * Any 4-byte write to 0xcf8 sets the address; two vCPUs that use the pair at once disturb each
 * other as on hardware. The callbacks take no lock of this device: configuration accesses lock the
 * PCI root, and what they settle may wait for other vCPUs.
 */
#include "pci/config_ports.h"

#include "base/alloc.h"
#include "bus/io.h"
#include "pci/pci.h"
#include "state/state.h"

#define CONFIG_PORTS_SIZE 8
#define CONFIG_CF9        1
#define CONFIG_DATA       4
#define CONFIG_ENABLE     BIT32(31)

struct pci_config_ports {
	struct device dev;
	struct io_region io;
	struct pci_root *root;
	struct io_region *cf9;
	u32 address; /* atomic */
};

static struct pci_config_ports *pci_config_ports_of(struct device *d)
{
	return container_of(d, struct pci_config_ports, dev);
}

static bool pci_config_is_address(u64 off, unsigned size)
{
	return off == 0 && size == 4;
}

static bool pci_config_is_cf9(const struct pci_config_ports *c, u64 off, unsigned size)
{
	return c->cf9 && off == CONFIG_CF9 && size == 1;
}

static u32 pci_config_offset(u32 address, u64 off)
{
	return (address & 0xfc) | (u32)(off - CONFIG_DATA);
}

static u64 pci_config_ports_read(struct device *d, u64 off, unsigned size)
{
	struct pci_config_ports *c = pci_config_ports_of(d);
	u32 address = __atomic_load_n(&c->address, __ATOMIC_RELAXED);

	if (pci_config_is_address(off, size))
		return address;
	if (pci_config_is_cf9(c, off, size))
		return io_read(c->cf9, 0, 1);
	if (off < CONFIG_DATA || !(address & CONFIG_ENABLE))
		return IO_ONES;
	return pci_config_read(c->root, (u8)(address >> 16), (u8)(address >> 8),
			       pci_config_offset(address, off), size);
}

static void pci_config_ports_write(struct device *d, u64 off, u64 value, unsigned size)
{
	struct pci_config_ports *c = pci_config_ports_of(d);
	u32 address = __atomic_load_n(&c->address, __ATOMIC_RELAXED);

	if (pci_config_is_address(off, size))
		__atomic_store_n(&c->address, (u32)value, __ATOMIC_RELAXED);
	else if (pci_config_is_cf9(c, off, size))
		io_write(c->cf9, 0, value, 1);
	else if (off >= CONFIG_DATA && address & CONFIG_ENABLE)
		pci_config_write(c->root, (u8)(address >> 16), (u8)(address >> 8),
				 pci_config_offset(address, off), (u32)value, size);
}

static const struct io_ops pci_config_ports_io_ops = {
	.read = pci_config_ports_read,
	.write = pci_config_ports_write,
	.min_size = 1,
	.max_size = 4,
	.is_unlocked = true,
};

static void pci_config_ports_reset(struct device *d)
{
	pci_config_ports_of(d)->address = 0;
}

static void pci_config_ports_free(struct device *d)
{
	struct pci_config_ports *c = pci_config_ports_of(d);

	io_region_fini(&c->io);
	device_fini(d);
	free(c);
}

static const struct state_field pci_config_ports_fields[] = {
	STATE_U(struct pci_config_ports, address),
	STATE_END,
};

static const struct state_table pci_config_ports_state = {
	.name = "pci-config-ports",
	.version = 1,
	.fields = pci_config_ports_fields,
};

static const struct device_ops pci_config_ports_device_ops = {
	.type = "pci-config-ports",
	.offset = offsetof(struct pci_config_ports, dev),
	.state = &pci_config_ports_state,
	.reset = pci_config_ports_reset,
	.free = pci_config_ports_free,
};

struct pci_config_ports *pci_config_ports_new(struct pci_root *root, struct io_region *cf9)
{
	struct pci_config_ports *c = NEW(struct pci_config_ports);

	device_init(&c->dev, &pci_config_ports_device_ops, "pci-config-ports");
	io_region_init(&c->io, "pci-config-ports", &c->dev, &pci_config_ports_io_ops,
		       CONFIG_PORTS_SIZE);
	c->root = root;
	c->cf9 = cf9;
	return c;
}

struct device *pci_config_ports_device(struct pci_config_ports *c)
{
	return &c->dev;
}

struct io_region *pci_config_ports_io(struct pci_config_ports *c)
{
	return &c->io;
}
