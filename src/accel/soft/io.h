/*
 * Ports.
 */
#ifndef ACCEL_SOFT_IO_H
#define ACCEL_SOFT_IO_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"

/* Raises #GP(0) unless IOPL or the TSS's permission map allows it (SDM 1, 19.5). */
void sx_io_check(struct sx_cpu *c, const struct sx_insn *i, u16 port, unsigned size);
u64 sx_io_read(struct sx_cpu *c, u16 port, unsigned size);
void sx_io_write(struct sx_cpu *c, u16 port, u64 value, unsigned size);

#endif
