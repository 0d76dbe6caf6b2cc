/*
 * The machine's inside, shared by its files.
 */
#ifndef MACHINE_MACHINE_PRIV_H
#define MACHINE_MACHINE_PRIV_H

#include "base/loop.h"
#include "boot/memmap.h"
#include "clock/host_sleep.h"
#include "irqchip/pic.h"
#include "machine/layout.h"
#include "machine/machine.h"
#include "proto/guest_config.h"

struct blk;
struct blk_engines;
struct co_pool;
struct chr;
struct x86_cpuid;
struct gmem_block;
struct hpet;
struct i8042;
struct ioapic;
struct lapic_bus;
struct net;
struct pci_device;
struct pci_root;
struct pit;
struct pm;
struct reset_port;
struct rtc;
struct acpi_slots;
struct serial;
struct virtio_device;

/* What is behind a root port. */
struct pc_job;

/* blk is NULL: err says why. Else it is the callee's. */
typedef void pc_opened_fn(void *opaque, struct blk *blk, struct err *err);

struct pc_slot {
	struct machine *machine;
	enum machine_device_kind kind;
	struct virtio_device *vdev;
	struct pci_device *function; /* NULL: nothing */
	struct pc_job *job;          /* the main thread's; NULL: none */
	int failure;                 /* atomic: of a disk, why requests wait; 0: not told */
	u64 forced_ns; /* when it goes though the guest hasn't noticed; 0: isn't to go */
};

struct machine {
	struct guest_config *config;
	struct machine_ops ops;
	struct vm *vm;
	bool is_soft;
	char accel_text[400];
	u64 tsc_hz;         /* KVM: the one that it can run a guest at; soft: 0, the host's */
	unsigned phys_bits; /* of the CPU model's physical addresses */

	/* Memory: one block of RAM, shown in pieces by the map. */
	struct gmem_block *ram;
	u64 low_size, high_size;
	struct boot_memmap memmap;
	gpa_t acpi_gpa;
	bool is_map_held; /* registers are being set one by one: the map follows at the end */

	/* The chips that the board's own code talks to; the vm's device set owns them. */
	struct lapic_bus *lapics; /* soft */
	struct ioapic *ioapic;
	struct pic *pic;
	struct isa_irqs isa;
	struct pit *pit;
	struct rtc *rtc;
	struct hpet *hpet;
	struct pm *pm;
	struct pci_root *pci;
	struct pci_device *host_bridge, *lpc;
	struct pci_device *root_ports[PC_ROOT_PORTS_MAX];
	struct pc_slot slots[PC_ROOT_PORTS_MAX];
	struct acpi_slots *acpi_slots;
	unsigned n_root_ports;
	bool is_started; /* what is plugged from here on, the guest is told of */
	u32 let_go;      /* atomic: a bit for each port whose device the guest let go */
	struct loop_task let_go_task; /* takes them out */
	u32 lost;                     /* atomic: a bit for each slot whose network has left */
	struct loop_task lost_task;   /* tells */
	u32 jobs_changed;           /* atomic: a bit for each slot whose disk has news of its job */
	struct loop_task jobs_task; /* tells */
	struct loop_task failed_task; /* tells of disks whose requests wait */
	struct list opens;            /* struct pc_open: disks that are being opened */
	struct co_pool *opening;      /* the I/O thread's: who opens them */
	struct loop_task opened_task; /* tells */
	bool is_ending;               /* no disk comes any more */
	struct host_sleep host_sleep;
	struct loop_timer forced_timer; /* takes out what the guest doesn't let go */
	struct blk_engines *engines;
	struct chr *serial_chr;
	struct virtio_device *balloon; /* NULL: none */
};

/* accel.c: decides between the makers before there is a vm; makes the one decided for. */
int machine_choose_accel(struct machine *m, struct err *err);
int machine_make_accel(struct machine *m, struct err *err);
/* Asks the CPU model how much memory it can address, and whether the guest's fits. */
int machine_check_model(struct machine *m, struct err *err);
int machine_make_vcpus(struct machine *m, struct err *err);
/* The CPUID table of a vCPU. */
int machine_build_cpuid(struct machine *m, unsigned id, struct x86_cpuid *out, struct err *err);

/* pc.c: the board, in the order in which it is built. */
int pc_build(struct machine *m, struct err *err);
/* The window for 64-bit BARs begins above all RAM; its end is the highest address in use. */
gpa_t pc_mmio64_base(const struct machine *m);
gpa_t pc_memory_end(const struct machine *m);
struct msi_sink pc_msi_sink(struct machine *m); /* where functions send their messages */

/* pc_memory.c: RAM, and the map as PAM registers have it. */
int pc_build_memory(struct machine *m, struct err *err);
void pc_update_map(struct machine *m);
void pc_open_memory(struct machine *m); /* all below 1 MiB is RAM, as firmware leaves it */

/* pc_virtio.c: disks, nics, entropy behind root ports. The two are for the I/O thread, or before it
 * runs. */
int pc_build_virtio(struct machine *m, struct err *err);
int pc_add_disk(struct machine *m, struct guest_disk *d, struct err *err);
/* The device of a disk that is open; b is taken over on success. */
int pc_make_disk(struct machine *m, struct guest_disk *d, struct blk *b, struct err *err);
int pc_add_nic(struct machine *m, struct guest_nic *nic, struct err *err);

/* slots.c: how many there are; who gets which. */
int pc_count_slots(struct machine *m, unsigned needed, struct err *err);
int pc_place_disk(struct machine *m, struct guest_disk *d, struct err *err);
int pc_place_nic(struct machine *m, struct guest_nic *n, struct err *err);
/* Takes v over, and puts it into the slot; or, for what the board always has, the highest free one. */
void pc_plug_at(struct machine *m, struct virtio_device *v, unsigned slot,
		enum machine_device_kind kind);
void pc_plug(struct machine *m, struct virtio_device *v);

/* limits.c: of a disk or network card that was just made, if it has any. */
void pc_limit(struct virtio_device *v, enum machine_device_kind kind, const struct guest_limits *l);

/* hotplug.c */
void pc_init_hotplug(struct machine *m);
void pc_fini_hotplug(struct machine *m);
void pc_on_let_go(void *opaque, struct pci_device *port); /* for the ports */
void pc_tell_inserted(struct machine *m, unsigned slot);  /* by ACPI; the port tells by itself */
void pc_on_ejected(void *opaque, u32 slots);
unsigned pc_find_slot(const struct machine *m, const char *name); /* 0: there is none */
/* What the guest was asked to let go of goes now: it starts anew. */
void pc_finish_removals(struct machine *m);

/* network.c: what is behind the network cards. */
void pc_init_networks(struct machine *m);
void pc_fini_networks(struct machine *m);
/* Makes the back end of a nic's descriptors, which it takes over on success. On the I/O thread. */
int pc_open_network(struct machine *m, struct guest_nic *nic, struct net **out, struct err *err);

/* pc_disk.c: engines before the process is confined; a disk with its image's files, whose descriptors go. */
int pc_make_engines(struct machine *m, struct err *err);
struct nbdc_opening;
int pc_open_target(struct machine *m, struct guest_disk *d, struct nbdc_opening *opening,
		   struct blk **out, struct err *err);
int pc_open_disk(struct machine *m, struct guest_disk *d, struct nbdc_opening *opening,
		 struct blk **out, struct err *err);

/* opening.c. A disk that comes later, or the target of a job: d is borrowed until done(), on the main thread. */
#define PC_OPENS_MAX 4
int pc_init_opening(struct machine *m, struct err *err);
void pc_fini_opening(struct machine *m);
int pc_open_later(struct machine *m, struct guest_disk *d, bool is_target, pc_opened_fn *done,
		  void *opaque, struct err *err);
void pc_close_disk(struct machine *m, struct blk *b);

/* jobs.c. Ending is the I/O thread's, with the hub still there; the rest the main thread's. */
void pc_init_jobs(struct machine *m);
void pc_fini_jobs(struct machine *m);
void pc_end_job(struct pc_slot *s);
void pc_forget_job(struct pc_slot *s);
int pc_check_no_job(const struct machine *m, struct err *err);

/* disks.c: of the slot opaque, a request waits for a resume. */
void pc_on_held(void *opaque, int result);
void pc_init_disks(struct machine *m);
void pc_fini_disks(struct machine *m);
int pc_check_no_disk_waits(const struct machine *m, struct err *err);
void pc_on_lost(void *slot); /* a network has left; for vnet_options.lost */

/* pc_boot.c: what firmware would have done; kernel, tables and the boot CPU's state. */
int pc_boot(struct machine *m, struct err *err);

#endif
