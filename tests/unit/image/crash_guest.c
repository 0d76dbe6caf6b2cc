/*
 * See crash_guest.h.
 */
#include "crash_guest.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "block/io.h"
#include "image/image.h"
#include "test.h"

/* --- the record --- */

void guest_init(struct guest_past *g, u64 size, u64 size_max, size_t operations_max)
{
	*g = (struct guest_past){.n_sectors = size_max / BLK_SECTOR};
	g->writes = NEW_ARRAY(struct guest_write, operations_max);
	g->flushes = NEW_ARRAY(struct guest_flush, operations_max);
	g->sizes = NEW_ARRAY(struct guest_size, operations_max);
	guest_add_size(g, size)->done = 0;
}

void guest_fini(struct guest_past *g)
{
	for (size_t i = 0; i < g->n_states; i++)
		free(g->states[i].sectors);
	free(g->writes);
	free(g->flushes);
	free(g->sizes);
}

struct guest_write *guest_add_write(struct guest_past *g, u64 first, u64 n)
{
	struct guest_write *w = &g->writes[g->n_writes++];

	*w = (struct guest_write){.first = first, .n = n, .done = UINT64_MAX};
	return w;
}

struct guest_flush *guest_add_flush(struct guest_past *g)
{
	struct guest_flush *f = &g->flushes[g->n_flushes++];

	*f = (struct guest_flush){.begun = UINT64_MAX, .done = SIZE_MAX};
	return f;
}

struct guest_size *guest_add_size(struct guest_past *g, u64 bytes)
{
	struct guest_size *s = &g->sizes[g->n_sizes++];

	*s = (struct guest_size){.bytes = bytes, .done = UINT64_MAX};
	return s;
}

void guest_fill(u8 *sector, u64 number)
{
	for (unsigned i = 0; i < BLK_SECTOR / 8; i++)
		le64_store(sector + i * 8, number);
}

/* The numbers of the disk's sectors; NULL: one isn't any write's, or can't be read. */
static u64 *guest_read(struct blk *disk, u64 n_sectors)
{
	AUTO(free_ptr) u8 *bytes = mem_alloc(1, disk->size);
	u64 *numbers = NEW_ARRAY(u64, n_sectors);
	u8 want[BLK_SECTOR];

	if (blk_read(disk, 0, bytes, disk->size) < 0) {
		free(numbers);
		return NULL;
	}
	for (u64 s = 0; s < disk->size / BLK_SECTOR; s++) {
		numbers[s] = le64_load(bytes + s * BLK_SECTOR);
		guest_fill(want, numbers[s]);
		if (memcmp(bytes + s * BLK_SECTOR, want, BLK_SECTOR)) {
			free(numbers);
			return NULL;
		}
	}
	return numbers;
}

struct guest_state *guest_add_state(struct guest_past *g, struct blk *disk, size_t now)
{
	struct guest_state *s = &g->states[g->n_states];

	if (g->n_states == GUEST_STATES)
		return NULL;
	*s = (struct guest_state){.size = disk->size,
				  .sectors = guest_read(disk, g->n_sectors),
				  .begun = now,
				  .done = SIZE_MAX,
				  .gone = SIZE_MAX};
	CHECK(s->sectors);
	g->n_states++;
	return s;
}

/* --- promises --- */

/* When the last flush began that was done when the cut came: what was done before that is there. */
static u64 promised_until(const struct guest_past *g, size_t cut)
{
	u64 until = 0;

	for (size_t i = 0; i < g->n_flushes; i++)
		if (g->flushes[i].done <= cut)
			until = MAX(until, g->flushes[i].begun);
	return until;
}

static bool size_may_be(const struct guest_past *g, u64 bytes, size_t cut)
{
	u64 until = promised_until(g, cut);
	bool may = false;

	for (size_t i = 0; i < g->n_sizes; i++) {
		const struct guest_size *s = &g->sizes[i];

		if (s->begun > cut)
			continue;
		if (s->done < until || s->done == 0)
			may = false; /* only this, and what came later */
		may = may || s->bytes == bytes;
	}
	return may;
}

static u64 write_number(const struct guest_past *g, const struct guest_write *w, u64 sector)
{
	if (w->kind == GUEST_STATE)
		return w->state[sector];
	return w->kind == GUEST_DATA ? (u64)(w - g->writes) + 1 : 0;
}

static const char *numbers_wrong(const struct guest_past *g, const u64 *now, u64 n, size_t cut)
{
	AUTO(free_ptr) bool *may = mem_alloc(n, sizeof(*may));
	u64 until = promised_until(g, cut);

	for (u64 s = 0; s < n; s++)
		may[s] = now[s] == 0; /* as new */
	for (size_t i = 0; i < g->n_writes; i++) {
		const struct guest_write *w = &g->writes[i];
		bool is_promised = w->done < until && w->kind != GUEST_DISCARD;

		for (u64 s = w->first; s < MIN(w->first + w->n, n) && w->begun <= cut; s++) {
			if (is_promised)
				may[s] = false; /* only this, and what came later */
			may[s] = may[s] || now[s] == write_number(g, w, s);
		}
	}
	for (u64 s = 0; s < n; s++) {
		if (!may[s])
			return now[s] ? "a flushed write was lost, an older one is there"
				      : "a flushed write was lost";
	}
	return NULL;
}

const char *guest_state_wrong(const struct guest_state *s, struct blk *disk)
{
	AUTO(free_ptr) u64 *now = guest_read(disk, MAX(disk->size, s->size) / BLK_SECTOR);

	if (!now)
		return "what the disk was can't be read";
	if (memcmp(now, s->sectors, s->size / BLK_SECTOR * sizeof(*now)))
		return "it isn't what the disk was";
	return NULL;
}

/* The last state of this name that was begun before the cut. */
static const struct guest_state *state_of(const struct guest_past *g, const char *name, size_t cut)
{
	const struct guest_state *found = NULL;

	for (size_t i = 0; i < g->n_states; i++) {
		if (g->states[i].is_bitmap && g->states[i].begun <= cut &&
		    strcmp(g->states[i].name, name) == 0)
			found = &g->states[i];
	}
	return found;
}

static const char *bitmap_wrong(const struct guest_state *s, struct blk *disk, const u64 *now)
{
	for (u64 i = 0; i < disk->size / BLK_SECTOR; i++) {
		u64 n;
		bool is_dirty;

		if (i < s->size / BLK_SECTOR && now[i] == s->sectors[i])
			continue;
		if (i >= s->size / BLK_SECTOR && !now[i])
			continue;
		if (disk->image->bitmap_status(disk, s->name, i * BLK_SECTOR, BLK_SECTOR, &is_dirty,
					       &n) < 0)
			return "a bitmap can't be read";
		if (!is_dirty)
			return "a consistent bitmap doesn't know of a change";
	}
	return NULL;
}

static const char *bitmaps_wrong(const struct guest_past *g, struct blk *disk, const u64 *now,
				 size_t cut)
{
	struct err err = ERR_INIT;
	const char *why = NULL;
	struct img_bitmap *list;
	unsigned n;

	if (!disk->image || !disk->image->bitmaps)
		return NULL;
	if (disk->image->bitmaps(disk, &list, &n, &err) < 0)
		return "its bitmaps can't be read";
	for (unsigned i = 0; i < n && !why; i++) {
		const struct guest_state *s = state_of(g, list[i].name, cut);

		if (!s)
			why = "there is a bitmap that nobody made";
		else if (!list[i].is_inconsistent)
			why = bitmap_wrong(s, disk, now);
	}
	img_bitmaps_free(list, n);
	return why;
}

const char *guest_disk_wrong(const struct guest_past *g, struct blk *disk, size_t cut)
{
	AUTO(free_ptr) u64 *now = NULL;
	const char *why;

	if (!size_may_be(g, disk->size, cut))
		return "the disk has another size";
	now = guest_read(disk, MAX(g->n_sectors, disk->size / BLK_SECTOR));
	if (!now)
		return "it can't be read, or a sector is no write's";
	why = numbers_wrong(g, now, disk->size / BLK_SECTOR, cut);
	return why ? why : bitmaps_wrong(g, disk, now, cut);
}
