/*
 * Breakpoints: matching addresses with DR0 to DR3 as DR7 says (SDM 3B, 17.2.4).
 */
#include "accel/soft/debug.h"

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

bool sx_debug_is_active(const struct sx_cpu *c)
{
	return c->dr7 & 0xff;
}

bool sx_debug_page_is_watched(const struct sx_cpu *c, u64 page)
{
	return match(c, page, PAGE_SIZE, BIT32(ON_WRITE) | BIT32(ON_READ_WRITE));
}

void sx_debug_note_access(struct sx_cpu *c, u64 lin, unsigned size, bool is_write)
{
	unsigned kinds = is_write ? BIT32(ON_WRITE) | BIT32(ON_READ_WRITE) : BIT32(ON_READ_WRITE);

	c->pending_dr6 |= match(c, lin, size, kinds);
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

void sx_debug_update(struct sx_cpu *c)
{
	c->has_data_breakpoints = false;
	for (unsigned n = 0; n < 4; n++) {
		if (is_enabled(c, n) &&
		    (kind_of(c, n) == ON_WRITE || kind_of(c, n) == ON_READ_WRITE))
			c->has_data_breakpoints = true;
	}
	sx_tlb_flush(c);
	sx_mode_update(c);
}
