/*
 * IN, OUT, and the permission to do so.
 */
#include "accel/soft/io.h"

#include "accel/soft/accel_priv.h"
#include "accel/soft/bind.h"
#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/segment.h"
#include "accel/soft/sync.h"

#define TSS32_MAP_BASE 102 /* offset of the map's offset, in 32- and 64-bit TSSs alike */

/* The bits of ports port to port + size - 1 in the TSS's map are all clear. */
static bool map_allows(struct sx_cpu *c, const struct sx_insn *i, u16 port, unsigned size)
{
	unsigned type = c->tr.attr & X86_ATTR_TYPE;
	u32 off, bits;

	if ((type != SX_TYPE_TSS32 && type != SX_TYPE_TSS32_BUSY) ||
	    c->tr.limit < TSS32_MAP_BASE + 1)
		return false;
	off = (u32)sx_load_system(c, i, c->tr.base + TSS32_MAP_BASE, 2) + port / 8;
	if (off + 1 > c->tr.limit) /* two bytes are read, always */
		return false;
	bits = (u32)sx_load_system(c, i, c->tr.base + off, 2) >> (port & 7);
	return !(bits & (BIT32(size) - 1));
}

void sx_io_check(struct sx_cpu *c, const struct sx_insn *i, u16 port, unsigned size)
{
	if (!(c->cr0 & X86_CR0_PE))
		return;
	if (!sx_is_v86(c) && c->cpl <= sx_iopl(c))
		return;
	if (!map_allows(c, i, port, size))
		sx_throw_gp(c, i, 0);
}

u64 sx_io_read(struct sx_cpu *c, u16 port, unsigned size)
{
	const struct accel_host *h = &c->accel->accel.host;
	u64 v;

	sx_debug_io(c, port, size);
	sx_count_exit(c, SX_N_EXIT_PORT_READ);
	sx_outside_begin(c);
	v = h->port_read(h->opaque, port, size);
	sx_outside_end(c);
	return v;
}

void sx_io_write(struct sx_cpu *c, u16 port, u64 value, unsigned size)
{
	const struct accel_host *h = &c->accel->accel.host;

	sx_debug_io(c, port, size);
	sx_count_exit(c, SX_N_EXIT_PORT_WRITE);
	sx_outside_begin(c);
	h->port_write(h->opaque, port, value & bytes_mask(size), size);
	sx_outside_end(c);
	sx_settle_devices(c);
}

static void in(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 port = (u16)(sx_insn_op(i) == SX_IN ? i->imm : c->gpr[X86_RDX]);
	unsigned size = i->size == 8 ? 4 : i->size;

	sx_io_check(c, i, port, size);
	sx_reg_set(c, X86_RAX, sx_io_read(c, port, size), size);
	SX_NEXT(c, i);
}

static void out(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 port = (u16)(sx_insn_op(i) == SX_OUT ? i->imm : c->gpr[X86_RDX]);
	unsigned size = i->size == 8 ? 4 : i->size;

	sx_io_check(c, i, port, size);
	sx_io_write(c, port, c->gpr[X86_RAX], size);
	SX_NEXT(c, i);
}

sx_insn_fn *sx_bind_io(struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_IN:
	case SX_IN_DX:
		return in;
	case SX_OUT:
	case SX_OUT_DX:
		return out;
	}
	return NULL;
}
