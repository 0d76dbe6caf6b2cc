/*
 * The guest's memory map. See memmap.h.
 *
 * Setting a range rebuilds the array: what it covers of each old entry is cut away, the new entry
 * goes in at its place, and neighbours of one type are joined.
 */
#include "boot/memmap.h"

static void memmap_append(struct boot_memmap *m, gpa_t gpa, u64 size, enum boot_mem_type type)
{
	struct boot_mem *last = m->n ? &m->e[m->n - 1] : NULL;

	if (!size)
		return;
	if (last && last->type == type && last->gpa + last->size == gpa) {
		last->size += size;
		return;
	}
	assert(m->n < BOOT_MEMMAP_MAX);
	m->e[m->n++] = (struct boot_mem){gpa, size, type};
}

void boot_memmap_init(struct boot_memmap *m, u64 low_size, u64 high_size)
{
	m->n = 0;
	memmap_append(m, 0, MIN(low_size, BOOT_EBDA_GPA), BOOT_MEM_RAM);
	if (low_size > BOOT_EBDA_GPA)
		memmap_append(m, BOOT_EBDA_GPA, BOOT_VGA_GPA - BOOT_EBDA_GPA, BOOT_MEM_RESERVED);
	memmap_append(m, BOOT_ROM_GPA, BOOT_HIGH_GPA - BOOT_ROM_GPA, BOOT_MEM_RESERVED);
	if (low_size > BOOT_HIGH_GPA)
		memmap_append(m, BOOT_HIGH_GPA, low_size - BOOT_HIGH_GPA, BOOT_MEM_RAM);
	memmap_append(m, BOOT_ABOVE_4G_GPA, high_size, BOOT_MEM_RAM);
}

void boot_memmap_set(struct boot_memmap *m, gpa_t gpa, u64 size, enum boot_mem_type type)
{
	const struct boot_memmap old = *m;
	gpa_t end = gpa + size;
	bool is_placed = false;

	assert(size && end > gpa);
	m->n = 0;
	for (u32 i = 0; i < old.n; i++) {
		const struct boot_mem *e = &old.e[i];
		gpa_t e_end = e->gpa + e->size;

		if (e->gpa < gpa)
			memmap_append(m, e->gpa, MIN(e_end, gpa) - e->gpa, e->type);
		if (e_end > gpa && !is_placed) {
			memmap_append(m, gpa, size, type);
			is_placed = true;
		}
		if (e_end > end)
			memmap_append(m, MAX(e->gpa, end), e_end - MAX(e->gpa, end), e->type);
	}
	if (!is_placed)
		memmap_append(m, gpa, size, type);
}

bool boot_memmap_is_ram(const struct boot_memmap *m, gpa_t gpa, u64 size)
{
	for (u32 i = 0; i < m->n; i++) {
		const struct boot_mem *e = &m->e[i];

		if (e->type == BOOT_MEM_RAM && gpa >= e->gpa &&
		    range_fits(gpa - e->gpa, size, e->size))
			return true;
	}
	return false;
}

/* What of an entry lies within [min, max): false when nothing of it is RAM there. */
static bool memmap_clip(const struct boot_mem *e, gpa_t min, gpa_t max, gpa_t *start, gpa_t *end)
{
	*start = MAX(e->gpa, min);
	*end = MIN(e->gpa + e->size, max);
	return e->type == BOOT_MEM_RAM && *start < *end;
}

bool boot_memmap_find_low(const struct boot_memmap *m, u64 size, u64 align, gpa_t min, gpa_t max,
			  gpa_t *out)
{
	assert(size && is_power_of_two(align));
	for (u32 i = 0; i < m->n; i++) {
		gpa_t start, end;

		if (!memmap_clip(&m->e[i], min, max, &start, &end))
			continue;
		start = align_up(start, align);
		if (start < end && size <= end - start && start >= m->e[i].gpa) {
			*out = start;
			return true;
		}
	}
	return false;
}

bool boot_memmap_find_high(const struct boot_memmap *m, u64 size, u64 align, gpa_t min, gpa_t max,
			   gpa_t *out)
{
	assert(size && is_power_of_two(align));
	for (u32 i = m->n; i-- > 0;) {
		gpa_t start, end;

		if (!memmap_clip(&m->e[i], min, max, &start, &end) || size > end - start)
			continue;
		if (align_down(end - size, align) >= start) {
			*out = align_down(end - size, align);
			return true;
		}
	}
	return false;
}

u64 boot_memmap_largest(const struct boot_memmap *m, gpa_t min, gpa_t max)
{
	u64 largest = 0;

	for (u32 i = 0; i < m->n; i++) {
		gpa_t start, end;

		if (memmap_clip(&m->e[i], min, max, &start, &end))
			largest = MAX(largest, end - start);
	}
	return largest;
}

u64 boot_memmap_ram_bytes(const struct boot_memmap *m)
{
	u64 bytes = 0;

	for (u32 i = 0; i < m->n; i++)
		if (m->e[i].type == BOOT_MEM_RAM)
			bytes += m->e[i].size;
	return bytes;
}
