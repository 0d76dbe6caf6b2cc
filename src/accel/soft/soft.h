/*
 * The software CPU: an x86-64 PC processor without hardware virtualization (docs/design/soft.md).
 */
#ifndef ACCEL_SOFT_SOFT_H
#define ACCEL_SOFT_SOFT_H

#include "accel/accel.h"

/* config->gmem must track code; it should be backed by memfd. */
int soft_accel_new(const struct accel_config *config, struct accel **out, struct err *err);

#endif
