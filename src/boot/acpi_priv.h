/*
 * Between acpi.c, which makes the tables, and dsdt.c, which makes the DSDT's content.
 */
#ifndef BOOT_ACPI_PRIV_H
#define BOOT_ACPI_PRIV_H

struct acpi_config;
struct aml;

void acpi_dsdt_emit(const struct acpi_config *c, struct aml *a);

#endif
