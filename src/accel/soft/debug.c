/*
 * Breakpoints: matching addresses with DR0 to DR3 as DR7 says (SDM 3B, 17.2.4).
 */
#include "accel/soft/debug.h"

#include "accel/soft/block.h"
#include "accel/soft/segment.h"

enum kind { ON_CODE, ON_WRITE, ON_IO, ON_READ_WRITE };

static bool is_enabled(const struct sx_cpu *c, unsigned n)
{
	return (c->dr7 >> (n * 2)) & 3;
}

static enum kind kind_of(const struct sx_cpu *c, unsigned n)
{
	return (enum kind)((c->dr7 >> (16 + n * 4)) & 3);
}

static unsigned length_of(const struct sx_cpu *c, unsigned n)
{
	static const u8 length[] = {1, 2, 8, 4};

	return length[(c->dr7 >> (18 + n * 4)) & 3];
}

/* Breakpoints cover naturally aligned ranges: the address's low bits are ignored. */
static bool covers(const struct sx_cpu *c, unsigned n, u64 addr, u64 size)
{
	u64 length = length_of(c, n);
	u64 start = align_down(c->dr[n], length);

	return addr - start < length || start - addr < size;
}

static u64 match(const struct sx_cpu *c, u64 addr, u64 size, unsigned kinds)
{
	u64 hits = 0;

	for (unsigned n = 0; n < 4; n++) {
		if (is_enabled(c, n) && (kinds & BIT32(kind_of(c, n))) && covers(c, n, addr, size))
			hits |= BIT(n);
	}
	return hits;
}

bool sx_debug_page_is_watched(const struct sx_cpu *c, u64 page)
{
	return match(c, page, PAGE_SIZE, BIT32(ON_WRITE) | BIT32(ON_READ_WRITE));
}

bool sx_debug_note_access(struct sx_cpu *c, u64 lin, unsigned size, bool is_write)
{
	unsigned kinds = is_write ? BIT32(ON_WRITE) | BIT32(ON_READ_WRITE) : BIT32(ON_READ_WRITE);

	u64 hits = match(c, lin, size, kinds);

	c->pending_dr6 |= hits;
	return hits;
}

void sx_debug_io(struct sx_cpu *c, u16 port, unsigned size)
{
	if ((c->cr4 & X86_CR4_DE) && sx_debug_is_active(c))
		c->pending_dr6 |= match(c, port, size, BIT32(ON_IO));
}

u64 sx_debug_match_code(const struct sx_cpu *c, u64 lin)
{
	return match(c, lin, 1, BIT32(ON_CODE));
}

#define PLACE_BITS   16
#define PLACE_IS_SET ((u64)PAGE_SIZE) /* beside the offset in the page */

static u64 place_of(const struct sx_cpu *c, unsigned n)
{
	return ((c->dr[n] & ~PAGE_MASK) | PLACE_IS_SET) << (n * PLACE_BITS);
}

bool sx_debug_covers(const struct sx_cpu *c, u32 off, u32 n)
{
	for (u64 left = c->code_breakpoints; left; left >>= PLACE_BITS) {
		if (left & PLACE_IS_SET && (u32)(left & ~PAGE_MASK) - off < n)
			return true;
	}
	return false;
}

/* Blocks know the places that they were made for: others are the run loop's to change. RF is for one instruction. */
u32 sx_debug_mode(const struct sx_cpu *c)
{
	if (c->steps_to_break)
		return SX_MODE_STEP;
	if (!c->code_breakpoints)
		return 0;
	if (c->cache->code_breakpoints == c->code_breakpoints)
		return SX_MODE_BREAK | (c->sysflags & X86_FLAG_RF ? SX_MODE_STEP : 0);
	c->cache->is_dropped = true;
	return SX_MODE_BREAK | SX_MODE_STEP;
}

void sx_debug_update(struct sx_cpu *c)
{
	c->has_data_breakpoints = false;
	c->steps_to_break = c->lockstep && sx_debug_is_active(c);
	c->code_breakpoints = 0;
	for (unsigned n = 0; n < 4; n++) {
		enum kind kind = kind_of(c, n);

		if (!is_enabled(c, n))
			continue;
		if (kind == ON_IO)
			c->steps_to_break = true;
		else if (kind == ON_CODE)
			c->code_breakpoints |= place_of(c, n);
		else
			c->has_data_breakpoints = true;
	}
	sx_tlb_flush(c);
	sx_mode_update(c);
}
