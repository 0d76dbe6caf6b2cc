/*
 * Q35's host bridge (8086:29c0 at 00:00.0), as far as firmware and guests see it: PCIEXBAR, which
 * maps all configuration space into memory, and the registers that say what the guest sees below
 * 1 MiB and of system management memory. What those mean for the memory map is the board's
 * business: it is called when they change, and asks.
 *
 * The bridge is a struct pci_device; its device frees it.
 */
#ifndef PCI_Q35_H
#define PCI_Q35_H

#include "pci/pci.h"

struct q35_ops {
	/*
	 * PAM, SMRAM or TSEG registers may differ from what they were. No lock is held, and calls
	 * never overlap: a change made meanwhile is followed by another call, on the thread that is
	 * in the first. Also on reset and after loading.
	 */
	void (*memory_changed)(void *opaque);
};

struct pci_device *q35_host_new(struct pci_root *root, const struct q35_ops *ops, void *opaque);

/* The segments that PAM registers rule, by address: 0xc0000 in steps of 16 KiB, then 0xf0000. */
#define Q35_PAM_SEGMENTS 13

struct q35_pam {
	gpa_t gpa;
	u64 size;
	bool is_readable; /* from RAM; else from ROM */
	bool is_writable; /* to RAM; else dropped */
};
struct q35_pam q35_pam_segment(struct pci_device *host, unsigned segment);

struct q35_smram {
	bool is_legacy_on;   /* SMM code sees RAM at 0xa0000 */
	bool is_legacy_open; /* and so does everyone */
	bool has_tseg;       /* [tseg, tseg + tseg_size) is for SMM code alone */
	gpa_t tseg;
	u64 tseg_size;
};
struct q35_smram q35_smram(struct pci_device *host);

/* What firmware does before a kernel: turns PCIEXBAR on at base (256 MiB, aligned), opens PAM. */
void q35_enable_ecam(struct pci_device *host, gpa_t base);
void q35_open_pam(struct pci_device *host);

/* Tells the registers that only inform where RAM ends: bytes below 4 GiB, and above. */
void q35_set_memory_size(struct pci_device *host, u64 low, u64 high);

#endif
