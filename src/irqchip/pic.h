/*
 * The interrupt controller pair of a PC: two 8259A, the second on the first one's input 2, and the
 * edge/level control registers of the ICH9 (82801IB datasheet, 13.4).
 *
 * Threads: any; everything locks the device. The INTR line is set with the chip locked.
 */
#ifndef IRQCHIP_PIC_H
#define IRQCHIP_PIC_H

#include "base/base.h"
#include "irq/irq.h"

struct device;
struct io_region;
struct ioapic;
struct pic;

#define PIC_LINES      16
#define PIC_MASTER     0x20 /* ports, two each */
#define PIC_SLAVE      0xa0
#define PIC_EDGE_LEVEL 0x4d0

struct pic *pic_new(struct irq_line intr);
struct device *pic_device(struct pic *pic);
struct io_region *pic_master_io(struct pic *pic);
struct io_region *pic_slave_io(struct pic *pic);
struct io_region *pic_edge_level_io(struct pic *pic);

struct irq_line pic_line(struct pic *pic, unsigned irq);

/* For accel_host: is INTR up; the INTA cycle, giving the vector. */
bool pic_is_pending(struct pic *pic);
u8 pic_acknowledge(struct pic *pic);

/*
 * ISA interrupts go to both the PIC and the IOAPIC; IRQ 0 comes in on the IOAPIC's pin 2, as the
 * ACPI tables say (interrupt source override).
 */
struct isa_irqs {
	struct irq_line pic[PIC_LINES];
	struct irq_line ioapic[PIC_LINES];
};
void isa_irqs_init(struct isa_irqs *irqs, struct pic *pic, struct ioapic *ioapic);
/* irqs must stay where it is as long as the line is used. */
struct irq_line isa_irq_line(struct isa_irqs *irqs, unsigned irq);

#endif
