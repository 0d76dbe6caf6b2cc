/*
 * Q35's host bridge. See q35.h; registers in q35_regs.h.
 *
 * SMRAM's lock bit makes it and ESMRAMC read-only until reset. Here that is a narrower mask of
 * writable bits.
 */
#include "pci/q35.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "pci/pci_priv.h"
#include "pci/q35_regs.h"
#include "state/state.h"

#define ECAM_SIZE_MAX  (256 * MIB)
#define ECAM_BUS_SHIFT 20
#define ECAM_FN_SHIFT  12

struct q35_host {
	struct pci_device pci;
	struct io_region ecam;
	const struct q35_ops *ops;
	void *opaque;
	u32 changes; /* atomic: of memory registers, that the board has yet to see */
	u64 ram_low, ram_high;
};

static struct q35_host *q35_of(struct pci_device *p)
{
	return container_of(p, struct q35_host, pci);
}

/* --- configuration space in memory --- */

static u64 q35_ecam_read(struct device *d, u64 off, unsigned size)
{
	struct q35_host *q = container_of(d, struct q35_host, pci.dev);

	return pci_config_read(q->pci.bus->root, (u8)(off >> ECAM_BUS_SHIFT),
			       (u8)(off >> ECAM_FN_SHIFT), off & (PCIE_CONFIG_SIZE - 1), size);
}

static void q35_ecam_write(struct device *d, u64 off, u64 value, unsigned size)
{
	struct q35_host *q = container_of(d, struct q35_host, pci.dev);

	pci_config_write(q->pci.bus->root, (u8)(off >> ECAM_BUS_SHIFT), (u8)(off >> ECAM_FN_SHIFT),
			 off & (PCIE_CONFIG_SIZE - 1), (u32)value, size);
}

static const struct io_ops q35_ecam_ops = {
	.read = q35_ecam_read,
	.write = q35_ecam_write,
	.min_size = 1,
	.max_size = 4,
	.is_unlocked = true,
};

/* 5.1.15: the shorter the window, the more address bits count. */
static void q35_decode_pciexbar(u64 reg, u64 *out_base, u64 *out_size)
{
	u64 mask = Q35_PCIEXBAR_BASE;
	u64 size = ECAM_SIZE_MAX;

	switch ((reg & Q35_PCIEXBAR_LENGTH) >> 1) {
	case 0:
		break;
	case 1:
		mask |= Q35_PCIEXBAR_BASE_128M;
		size /= 2;
		break;
	case 2:
		mask |= Q35_PCIEXBAR_BASE_128M | Q35_PCIEXBAR_BASE_64M;
		size /= 4;
		break;
	default:
		size = 0;
		break;
	}
	*out_base = reg & mask;
	*out_size = reg & Q35_PCIEXBAR_ENABLE ? size : 0;
}

static void q35_update_ecam(struct q35_host *q)
{
	u64 base, size;

	q35_decode_pciexbar(bytes_load(&q->pci.config[Q35_PCIEXBAR], 8), &base, &size);
	if (q->ecam.space && (q->ecam.base != base || q->ecam.size != size))
		io_unmap(&q->ecam);
	if (q->ecam.space || !size)
		return;
	q->ecam.size = size;
	/* 36 bits of address always fit into the space. */
	(void)io_map(q->pci.bus->root->memory, base, &q->ecam, PCI_BAR_PRIORITY);
}

/* --- memory registers --- */

/*
 * One caller at a time without making any wait: who finds the count at 0 calls, until it has seen
 * every change; a thread that only adds to the count leaves the call to the first. Nobody can so
 * hold up a vCPU that the board, in its callback, is waiting for.
 */
static void q35_tell_board(struct q35_host *q)
{
	u32 seen;

	if (__atomic_fetch_add(&q->changes, 1, __ATOMIC_ACQ_REL))
		return;
	do {
		seen = __atomic_load_n(&q->changes, __ATOMIC_ACQUIRE);
		q->ops->memory_changed(q->opaque);
	} while (__atomic_fetch_sub(&q->changes, seen, __ATOMIC_ACQ_REL) != seen);
}

static void q35_apply_lock(struct pci_device *p)
{
	u32 smram = Q35_SMRAM_OPEN | Q35_SMRAM_CLOSE | Q35_SMRAM_LOCK | Q35_SMRAM_ON;
	u32 esmramc = Q35_ESMRAMC_TSEG_SIZE | Q35_ESMRAMC_TSEG_ON;

	if (pci_get(p, Q35_SMRAM, 1) & Q35_SMRAM_LOCK) {
		smram = Q35_SMRAM_CLOSE;
		esmramc = 0;
		pci_set(p, Q35_SMRAM, pci_get(p, Q35_SMRAM, 1) & ~Q35_SMRAM_OPEN, 1);
	}
	pci_set_writable(p, Q35_SMRAM, smram, 1);
	pci_set_writable(p, Q35_ESMRAMC, esmramc, 1);
}

static void q35_apply(struct q35_host *q)
{
	q35_apply_lock(&q->pci);
	q35_update_ecam(q);
}

static void q35_config_written(struct pci_device *p, unused u32 off, unused unsigned size)
{
	q35_apply(q35_of(p));
}

static void q35_config_settled(struct pci_device *p, u32 off, unsigned size)
{
	if (pci_touches(off, size, Q35_PAM0, Q35_ESMRAMC + 1 - Q35_PAM0) ||
	    pci_touches(off, size, Q35_TSEGMB, 4))
		q35_tell_board(q35_of(p));
}

/* Segments 0 to 11 are two to a register from PAM1 on; the last is PAM0's high nibble. */
struct q35_pam q35_pam_segment(struct pci_device *host, unsigned segment)
{
	bool is_last = segment == Q35_PAM_SEGMENTS - 1;
	struct pci_root *root = host->bus->root;
	u32 bits;

	assert(segment < Q35_PAM_SEGMENTS);
	pthread_mutex_lock(&root->lock);
	bits = pci_get(host, is_last ? Q35_PAM0 : Q35_PAM0 + 1 + segment / 2, 1);
	pthread_mutex_unlock(&root->lock);
	if (is_last || segment % 2)
		bits >>= 4;
	return (struct q35_pam){
		.gpa = 0xc0000 + segment * 16 * KIB,
		.size = is_last ? 64 * KIB : 16 * KIB,
		.is_readable = bits & Q35_PAM_READ,
		.is_writable = bits & Q35_PAM_WRITE,
	};
}

struct q35_smram q35_smram(struct pci_device *host)
{
	static const u64 tseg_sizes[] = {MIB, 2 * MIB, 8 * MIB, 0};
	struct pci_root *root = host->bus->root;

	pthread_mutex_lock(&root->lock);
	u32 smram = pci_get(host, Q35_SMRAM, 1);
	u32 esmramc = pci_get(host, Q35_ESMRAMC, 1);
	u32 tseg = pci_get(host, Q35_TSEGMB, 4);
	pthread_mutex_unlock(&root->lock);

	u64 tseg_size = tseg_sizes[(esmramc & Q35_ESMRAMC_TSEG_SIZE) >> 1];
	bool is_on = smram & Q35_SMRAM_ON;

	return (struct q35_smram){
		.is_legacy_on = is_on,
		.is_legacy_open = is_on && smram & Q35_SMRAM_OPEN && !(smram & Q35_SMRAM_CLOSE),
		.has_tseg = is_on && esmramc & Q35_ESMRAMC_TSEG_ON && tseg_size,
		.tseg = tseg,
		.tseg_size = tseg_size,
	};
}

/* --- instead of firmware --- */

static void q35_set(struct pci_device *host, u32 off, u32 value, unsigned size)
{
	pci_config_write(host->bus->root, 0, host->devfn, off, value, size);
}

void q35_enable_ecam(struct pci_device *host, gpa_t base)
{
	assert(is_aligned(base, ECAM_SIZE_MAX));
	q35_set(host, Q35_PCIEXBAR + 4, (u32)(base >> 32), 4);
	q35_set(host, Q35_PCIEXBAR, (u32)base | (u32)Q35_PCIEXBAR_ENABLE, 4);
}

void q35_open_pam(struct pci_device *host)
{
	u32 both = Q35_PAM_READ | Q35_PAM_WRITE;

	q35_set(host, Q35_PAM0, both << 4, 1);
	for (unsigned i = 1; i < Q35_PAM_REGISTERS; i++)
		q35_set(host, Q35_PAM0 + i, both << 4 | both, 1);
}

static void q35_tell_memory_size(struct q35_host *q)
{
	u64 end = q->ram_high ? 4 * GIB + q->ram_high : q->ram_low;

	pci_set(&q->pci, Q35_TOLUD, (u32)(q->ram_low / MIB) << 4, 2);
	pci_set(&q->pci, Q35_TOM, (u32)((q->ram_low + q->ram_high) / (64 * MIB)), 2);
	pci_set(&q->pci, Q35_TOUUD, (u32)(end / MIB), 2);
}

void q35_set_memory_size(struct pci_device *host, u64 low, u64 high)
{
	struct q35_host *q = q35_of(host);

	q->ram_low = low;
	q->ram_high = high;
	q35_tell_memory_size(q);
}

/* --- the device --- */

static void q35_reset(struct device *d)
{
	struct q35_host *q = container_of(d, struct q35_host, pci.dev);

	pci_device_reset(&q->pci);
	q35_tell_memory_size(q);
	q35_apply(q);
	q35_tell_board(q);
}

static void q35_free(struct device *d)
{
	struct q35_host *q = container_of(d, struct q35_host, pci.dev);

	io_region_fini(&q->ecam);
	pci_device_fini(&q->pci);
	free(q);
}

static int q35_after_load(void *object, unused u16 version, unused struct err *err)
{
	struct q35_host *q = object;

	q35_apply(q);
	q35_tell_board(q);
	return 0;
}

static const struct state_field q35_fields[] = {
	STATE_SUB(struct q35_host, pci, &pci_device_state),
	STATE_END,
};

static const struct state_table q35_state = {
	.name = "q35-host",
	.version = 1,
	.fields = q35_fields,
	.after_load = q35_after_load,
};

static const struct device_ops q35_device_ops = {
	.type = "q35-host",
	.offset = offsetof(struct q35_host, pci.dev),
	.state = &q35_state,
	.reset = q35_reset,
	.free = q35_free,
};

static const struct pci_ops q35_pci_ops = {
	.config_written = q35_config_written,
	.config_settled = q35_config_settled,
};

static void q35_init_registers(struct pci_device *p)
{
	pci_set_writable(p, Q35_PCIEXBAR,
			 (u32)(Q35_PCIEXBAR_BASE | Q35_PCIEXBAR_BASE_128M | Q35_PCIEXBAR_BASE_64M |
			       Q35_PCIEXBAR_LENGTH | Q35_PCIEXBAR_ENABLE),
			 4);
	pci_set_writable(p, Q35_PCIEXBAR + 4, (u32)(Q35_PCIEXBAR_BASE >> 32), 4);
	pci_set_writable(p, Q35_PAM0, 0x30, 1);
	for (unsigned i = 1; i < Q35_PAM_REGISTERS; i++)
		pci_set_writable(p, Q35_PAM0 + i, 0x33, 1);
	pci_set(p, Q35_SMRAM, Q35_SMRAM_BASE, 1);
	pci_set(p, Q35_ESMRAMC, Q35_ESMRAMC_FIXED, 1);
	pci_set_writable(p, Q35_TOM, 0x01ff, 2);
	pci_set_writable(p, Q35_TOUUD, 0xffff, 2);
	pci_set_writable(p, Q35_TSEGMB, 0xfff00000, 4);
	pci_set_writable(p, Q35_TOLUD, 0xfff0, 2);
	pci_set_writable(p, Q35_SKPD, UINT32_MAX, 4);
	q35_apply_lock(p);
}

struct pci_device *q35_host_new(struct pci_root *root, const struct q35_ops *ops, void *opaque)
{
	static const struct pci_ids ids = {
		.vendor = Q35_VENDOR,
		.device = Q35_DEVICE,
		.class_code = PCI_CLASS_BRIDGE_HOST << 8,
	};
	struct q35_host *q = NEW(struct q35_host);

	q->ops = ops;
	q->opaque = opaque;
	pci_device_init(&q->pci, &q35_pci_ops, &q35_device_ops, "q35-host", &ids);
	q35_init_registers(&q->pci);
	io_region_init(&q->ecam, "ecam", &q->pci.dev, &q35_ecam_ops, ECAM_SIZE_MAX);
	pci_attach(&q->pci, pci_root_bus(root), PCI_DEVFN(0, 0));
	return &q->pci;
}
