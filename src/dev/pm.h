/*
 * The ICH9's ACPI block: PM1 events and control, the PM timer, general-purpose events, the APM
 * port. Threads: any; everything locks the device.
 */
#ifndef DEV_PM_H
#define DEV_PM_H

#include "base/base.h"
#include "dev/pm_regs.h"
#include "dev/power.h"
#include "irq/irq.h"

struct device;
struct io_region;
struct pm;
struct vclock;

/* sci: a level. events.reset is not used here. */
struct pm *pm_new(struct vclock *clock, struct irq_line sci, const struct power_events *events);
struct device *pm_device(struct pm *pm);
struct io_region *pm_io(struct pm *pm);     /* PM_SIZE ports at PMBASE */
struct io_region *pm_apm_io(struct pm *pm); /* two ports at PM_APM_PORT */

void pm_press_power_button(struct pm *pm);
/* A device raises general-purpose event 0 to PM_GPES - 1; the guest clears it. */
void pm_raise_gpe(struct pm *pm, unsigned gpe);
/* Does the guest listen to it? */
bool pm_gpe_is_enabled(struct pm *pm, unsigned gpe);

#endif
