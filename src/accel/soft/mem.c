/*
 * Guest memory accesses that the TLB could not serve: page crossings, devices, code pages, faults.
 *
 * Every one is cut at page boundaries; both pages of a crossing write are translated, and so may
 * fault, before the first byte changes. A write into a page that holds decoded code makes that
 * code stale (sx_code_written); when it is the block being executed, the block is left after the
 * storing instruction.
 */
#include "accel/soft/accel_priv.h"
#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/sync.h"
#include "accel/soft/translate.h"
#include "mem/gmem.h"

/* --- devices --- */

static bool apic_has(const struct sx_cpu *c, gpa_t gpa)
{
	return (gpa & PAGE_MASK) == c->apic_page;
}

/* The local APIC's registers are 32 bits wide, 16 bytes apart (SDM 3A, 10.4.1). */
static u64 apic_read(struct sx_cpu *c, gpa_t gpa, unsigned size)
{
	u32 off = (u32)(gpa & 0xfff);
	u64 v = c->vcpu.apic->ops->mmio_read(c->vcpu.apic, off & ~3u);

	return (v >> ((off & 3) * 8)) & bytes_mask(size);
}

static void apic_write(struct sx_cpu *c, gpa_t gpa, u64 value, unsigned size)
{
	u32 off = (u32)(gpa & 0xfff);

	if (size >= 4 && !(off & 3))
		c->vcpu.apic->ops->mmio_write(c->vcpu.apic, off, (u32)value);
}

static u64 device_read(struct sx_cpu *c, gpa_t gpa, unsigned size)
{
	const struct accel_host *h = &c->accel->accel.host;
	u64 v;

	if (apic_has(c, gpa))
		return apic_read(c, gpa, size);
	sx_count_exit(c, SX_N_EXIT_MMIO_READ);
	sx_outside_begin(c);
	v = h->mmio_read(h->opaque, gpa, size);
	sx_outside_end(c);
	return v & bytes_mask(size);
}

static void device_write(struct sx_cpu *c, gpa_t gpa, u64 value, unsigned size)
{
	const struct accel_host *h = &c->accel->accel.host;

	if (apic_has(c, gpa)) {
		apic_write(c, gpa, value, size);
		return;
	}
	sx_count_exit(c, SX_N_EXIT_MMIO_WRITE);
	sx_outside_begin(c);
	h->mmio_write(h->opaque, gpa, value & bytes_mask(size), size);
	sx_outside_end(c);
	sx_settle_devices(c);
}

/* Devices take 1, 2, 4 and 8 bytes; anything else is cut up. */
static unsigned device_piece(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

/* --- one page --- */

static void xlat_load(struct sx_cpu *c, const struct sx_xlat *x, u8 *buf, unsigned size)
{
	if (x->host) {
		if (size <= 8 && is_power_of_two(size))
			bytes_store(buf, sx_host_load(x->host, size), size);
		else
			memcpy(buf, x->host, size);
		return;
	}
	for (unsigned done = 0, n; done < size; done += n) {
		n = device_piece(size - done);
		bytes_store(buf + done, device_read(c, x->gpa + done, n), n);
	}
}

/* Leave the block after this instruction. */
static void leave_after(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_insn *next;

	/* Whatever ends a block looks at the next one's code word, and at requests, anyway. */
	if (!i || !c->block || c->replaced || (i->flags & SX_IF_END))
		return;
	next = (struct sx_insn *)i + 1; /* the block is this vCPU's own */
	c->replaced = next;
	c->replaced_fn = next->fn;
	next->fn = sx_block_leave;
}

/* Before bytes of a page change: nothing decoded from it stays good. */
static void xlat_touch(struct sx_cpu *c, const struct sx_insn *i, const struct sx_xlat *x)
{
	if (!x->is_code)
		return;
	sx_count(c, SX_N_CODE_WRITTEN);
	sx_code_written(c, x->block, x->block_page);
	if (c->block && c->block->code == x->code) /* it may hold what is written */
		leave_after(c, i);
}

static void xlat_store(struct sx_cpu *c, const struct sx_insn *i, const struct sx_xlat *x,
		       const u8 *buf, unsigned size)
{
	if (x->host && !x->is_readonly) {
		xlat_touch(c, i, x);
		if (size <= 8 && is_power_of_two(size))
			sx_host_store(x->host, bytes_load(buf, size), size);
		else
			memcpy(x->host, buf, size);
		return;
	}
	for (unsigned done = 0, n; done < size; done += n) {
		n = device_piece(size - done);
		device_write(c, x->gpa + done, bytes_load(buf + done, n), n);
	}
}

/* An access that is about to happen: is there a breakpoint on it, which traps after the instruction? */
static void debug_access(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size,
			 bool is_write)
{
	if (likely(!c->has_data_breakpoints) || !sx_debug_note_access(c, lin, size, is_write) ||
	    c->mode & SX_MODE_STEP)
		return;
	__atomic_fetch_or(&c->request, SX_REQ_STEP, __ATOMIC_RELAXED);
	leave_after(c, i);
}

/* --- cut at page boundaries --- */

/* How much of [lin, lin + size) is in lin's page. */
static unsigned first_part(u64 lin, unsigned size)
{
	u64 room = PAGE_SIZE - (lin & ~PAGE_MASK);

	return size < room ? size : (unsigned)room;
}

/* Linear addresses are 32 bits wide outside IA-32e mode. */
static u64 wrap(const struct sx_cpu *c, u64 lin)
{
	return sx_is_long(c) ? lin : (u32)lin;
}

/* What alignment checking asks of an operand (SDM 3A, table 6-7): its size up to 8 bytes; 8 for
 * extended reals, 2 or 4 for x87's environment and state. Larger ones have rules of their own. */
static unsigned natural_alignment(unsigned size)
{
	switch (size) {
	case 10:
		return 8;
	case 14:
	case 94:
		return 2;
	case 28:
	case 108:
		return 4;
	}
	return size <= 8 && is_power_of_two(size) ? size : 1;
}

/* Masked moves and gathers (SDM 2, VMASKMOV, VGATHERDPD). */
static bool is_never_checked(const struct sx_insn *i)
{
	return i && sx_insn_op(i) >= SX_MASKMOVPS && sx_insn_op(i) <= SX_PGATHERQQ;
}

/* #AC, where the application asked for it. */
static void check_alignment(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	if (unlikely(sx_checks_alignment(c)) && !is_aligned(lin, natural_alignment(size)) &&
	    sx_is_canonical(lin) && !is_never_checked(i))
		sx_throw(c, i, X86_AC, 0);
}

/* An access of two pages, as the TLB has them. */
struct crossing {
	u8 *low, *high;
};

/* A program whose hottest object lies across two pages doesn't pay for two walks each time. False: one page is missing. */
static bool find_crossing(struct sx_cpu *c, u64 lin, unsigned size, enum sx_access access,
			  enum sx_tlb_set set, struct crossing *out)
{
	const struct sx_tlb_entry *low, *high;
	u64 next = wrap(c, (lin & PAGE_MASK) + PAGE_SIZE);

	if (first_part(lin, size) == size)
		return false;
	sx_count(c, SX_N_MISS_CROSSING);
	low = sx_tlb_find(c, set, lin);
	high = sx_tlb_find(c, set, next);
	if ((access == SX_WRITE ? low->write : low->read) != (lin & PAGE_MASK) ||
	    (access == SX_WRITE ? high->write : high->read) != next)
		return false;
	out->low = (u8 *)(uintptr_t)(lin + low->addend);
	out->high = (u8 *)(uintptr_t)(next + high->addend);
	return true;
}

static void crossing_load(const struct crossing *x, u8 *buf, unsigned first, unsigned size)
{
	memcpy(buf, x->low, first);
	memcpy(buf + first, x->high, size - first);
}

static void load_any(struct sx_cpu *c, const struct sx_insn *i, u64 lin, void *buf, unsigned size,
		     enum sx_tlb_set set)
{
	unsigned first = first_part(lin, size);
	struct crossing both;
	struct sx_xlat x, y;

	if (find_crossing(c, lin, size, SX_READ, set, &both)) {
		crossing_load(&both, buf, first, size);
		return;
	}
	sx_translate(c, i, lin, SX_READ, set, &x);
	if (first < size)
		sx_translate(c, i, wrap(c, lin + first), SX_READ, set, &y);
	debug_access(c, i, lin, size, false);
	xlat_load(c, &x, buf, first);
	if (first < size)
		xlat_load(c, &y, (u8 *)buf + first, size - first);
}

bool sx_load_crossing(struct sx_cpu *c, u64 lin, void *buf, unsigned size)
{
	unsigned first = first_part(lin, size);
	struct crossing both;

	if (sx_checks_alignment(c) || !find_crossing(c, lin, size, SX_READ, c->tlb_set, &both))
		return false;
	crossing_load(&both, buf, first, size);
	return true;
}

static void store_any(struct sx_cpu *c, const struct sx_insn *i, u64 lin, const void *buf,
		      unsigned size, enum sx_tlb_set set)
{
	unsigned first = first_part(lin, size);
	struct crossing both;
	struct sx_xlat x, y;

	if (find_crossing(c, lin, size, SX_WRITE, set, &both)) {
		memcpy(both.low, buf, first);
		memcpy(both.high, (const u8 *)buf + first, size - first);
		return;
	}
	sx_translate(c, i, lin, SX_WRITE, set, &x);
	if (first < size)
		sx_translate(c, i, wrap(c, lin + first), SX_WRITE, set, &y);
	debug_access(c, i, lin, size, true);
	xlat_store(c, i, &x, buf, first);
	if (first == size)
		return;
	if (!x.host || x.is_readonly)
		sx_translate_again(c, &y);
	xlat_store(c, i, &y, (const u8 *)buf + first, size - first);
}

u64 sx_load_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	u8 buf[8] = {0};

	lin = wrap(c, lin);
	check_alignment(c, i, lin, size);
	load_any(c, i, lin, buf, size, c->tlb_set);
	return bytes_load(buf, size);
}

void sx_store_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 value, unsigned size)
{
	u8 buf[8];

	lin = wrap(c, lin);
	check_alignment(c, i, lin, size);
	bytes_store(buf, value, size);
	store_any(c, i, lin, buf, size, c->tlb_set);
}

void sx_load_bytes_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, void *buf,
			unsigned size)
{
	lin = wrap(c, lin);
	check_alignment(c, i, lin, size);
	load_any(c, i, lin, buf, size, c->tlb_set);
}

void sx_store_bytes_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, const void *buf,
			 unsigned size)
{
	lin = wrap(c, lin);
	check_alignment(c, i, lin, size);
	store_any(c, i, lin, buf, size, c->tlb_set);
}

void sx_probe_write(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	struct sx_xlat x;
	unsigned first;

	if (sx_tlb_write(c, lin, size))
		return;
	lin = wrap(c, lin);
	first = first_part(lin, size);
	check_alignment(c, i, lin, size);
	sx_translate(c, i, lin, SX_WRITE, c->tlb_set, &x);
	if (first < size)
		sx_translate(c, i, wrap(c, lin + first), SX_WRITE, c->tlb_set, &x);
}

static u8 *host_rw_any(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size,
		       enum sx_tlb_set set)
{
	struct sx_xlat x;

	sx_translate(c, i, lin, SX_WRITE, set, &x);
	if (first_part(lin, size) < size) {
		sx_translate(c, i, wrap(c, lin + first_part(lin, size)), SX_WRITE, set, &x);
		return NULL;
	}
	if (!x.host || x.is_readonly)
		return NULL;
	debug_access(c, i, lin, size, true);
	xlat_touch(c, i, &x);
	return x.host;
}

u8 *sx_host_rw_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	lin = wrap(c, lin);
	check_alignment(c, i, lin, size);
	return host_rw_any(c, i, lin, size, c->tlb_set);
}

/* --- as supervisor --- */

/* Privileged structures are read with the rights of CPL 0, and SMAP holds for them whatever
 * EFLAGS.AC says (SDM 3A, 4.6). */
static enum sx_tlb_set system_set(const struct sx_cpu *c)
{
	return c->cr4 & X86_CR4_SMAP ? SX_TLB_SUPERVISOR : SX_TLB_SUPERVISOR_AC;
}

static struct sx_tlb_entry *system_slot(struct sx_cpu *c, u64 lin)
{
	return sx_tlb_find(c, system_set(c), lin);
}

const u8 *sx_system_bytes(struct sx_cpu *c, u64 lin, unsigned size)
{
	const struct sx_tlb_entry *e = system_slot(c, lin);

	return e->read == ((lin + size - 1) & PAGE_MASK) ? (const u8 *)(lin + e->addend) : NULL;
}

u64 sx_load_system(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	const struct sx_tlb_entry *e = system_slot(c, lin);
	u8 buf[8] = {0};

	if (e->read == ((lin + size - 1) & PAGE_MASK))
		return sx_host_load((u8 *)(lin + e->addend), size);
	load_any(c, i, wrap(c, lin), buf, size, system_set(c));
	return bytes_load(buf, size);
}

void sx_store_system(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 value, unsigned size)
{
	const struct sx_tlb_entry *e = system_slot(c, lin);
	u8 buf[8];

	if (e->write == ((lin + size - 1) & PAGE_MASK)) {
		sx_host_store((u8 *)(lin + e->addend), value, size);
		return;
	}
	bytes_store(buf, value, size);
	store_any(c, i, wrap(c, lin), buf, size, system_set(c));
}

u8 *sx_host_rw_system(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	return host_rw_any(c, i, wrap(c, lin), size, system_set(c));
}
