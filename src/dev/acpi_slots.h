/*
 * Hot-plug of PCI slots by ACPI: what was put in, what should come out, what the guest let go.
 *
 * Three words, a bit for each slot (the first slot is bit 0). The board raises a general-purpose event
 * when the first two change; the event's AML method (boot/dsdt.c) reads and clears them and notifies the
 * slots' devices, whose _EJ0 writes the third.
 *
 *     port  word      access
 *     0     inserted  read; write 1 to clear
 *     4     wanted    read; write 1 to clear: a removal is asked for
 *     8     ejected   write 1: the guest has let go of what is in the slot
 *
 * Only what was asked for is taken out: a guest that ejects by itself is not obeyed. Threads: any;
 * everything locks the device.
 */
#ifndef DEV_ACPI_SLOTS_H
#define DEV_ACPI_SLOTS_H

#include "base/base.h"

struct acpi_slots;
struct device;
struct io_region;

#define ACPI_SLOTS_PORTS    12 /* of the region */
#define ACPI_SLOTS_INSERTED 0
#define ACPI_SLOTS_WANTED   4
#define ACPI_SLOTS_EJECTED  8

/* let_go: on a vCPU's thread with the device locked; slots that the guest was asked for. */
struct acpi_slots *acpi_slots_new(void (*let_go)(void *opaque, u32 slots), void *opaque);
struct device *acpi_slots_device(struct acpi_slots *s);
struct io_region *acpi_slots_io(struct acpi_slots *s);

/* slot: from 0. The caller raises the event. */
void acpi_slots_insert(struct acpi_slots *s, unsigned slot);
void acpi_slots_ask(struct acpi_slots *s, unsigned slot);
bool acpi_slots_is_asked(struct acpi_slots *s, unsigned slot); /* and hasn't let go yet */
void acpi_slots_forget(struct acpi_slots *s, unsigned slot);   /* it is empty now */

#endif
