/*
 * The programmable interval timer (8254) of a PC: channel 0 drives IRQ 0, channel 2 the speaker and
 * whatever software times with it.
 *
 * Threads: any; everything locks the device.
 */
#ifndef DEV_PIT_H
#define DEV_PIT_H

#include "base/base.h"
#include "irq/irq.h"

struct device;
struct io_region;
struct pit;
struct vclock;

#define PIT_PORT     0x40 /* four ports */
#define PIT_HZ       1193182
#define PIT_CHANNELS 3

struct pit *pit_new(struct vclock *clock, struct irq_line irq0);
struct device *pit_device(struct pit *pit);
struct io_region *pit_io(struct pit *pit);

/* The pins of a channel, for port 0x61. */
void pit_set_gate(struct pit *pit, unsigned channel, bool level);
bool pit_gate(struct pit *pit, unsigned channel);
bool pit_out(struct pit *pit, unsigned channel);

/* While the HPET takes IRQ 0 over, channel 0 goes on counting without its wire. */
void pit_connect_irq(struct pit *pit, bool is_connected);

#endif
