/*
 * A PCI hierarchy for tests: address spaces, a root, cards with every kind of BAR, and what they and
 * the ports send.
 */
#ifndef TESTS_UNIT_PCI_BENCH_H
#define TESTS_UNIT_PCI_BENCH_H

#include "test.h"

#include "pci/bridge.h"
#include "pci/msix.h"
#include "pci/pci.h"
#include "state/state.h"

#define CARD_BAR_MEM32 0
#define CARD_BAR_MSIX  1
#define CARD_BAR_IO    2
#define CARD_BAR_MEM64 4

/* A function with every kind of BAR. */
struct card {
	struct pci_device pci;
	struct pci_msix msix;
	struct io_region mem32, io, mem64;
	unsigned resets, writes, settled;
};

struct bench {
	struct epoch *epoch;
	struct io_space *ports, *memory;
	struct pci_root *root;
	struct device_set devices;
	bool pirq[PCI_PIRQS];
	unsigned n_msgs;
	struct msi_msg msg;
	struct pci_device *let_go; /* the port whose function the guest let go */
};

extern const struct io_ops card_io_ops;

void bench_init(struct bench *b);
void bench_fini(struct bench *b);

/* Not attached yet. */
struct card *bench_card(struct bench *b, const char *name);
struct card *bench_card_on_bus0(struct bench *b, u8 devfn);
struct pci_device *bench_port(struct bench *b, u8 devfn, const char *name);

/* Configuration accesses. */
u32 rd(struct bench *b, u8 bus, u8 devfn, u32 off, unsigned size);
void wr(struct bench *b, u8 bus, u8 devfn, u32 off, u32 value, unsigned size);
u8 find_cap(struct bench *b, u8 bus, u8 devfn, u8 id);
void open_port(struct bench *b, u8 devfn, u8 secondary, u8 subordinate);

int bench_load(struct bench *b, const void *data, size_t size, struct err *err);

#endif
