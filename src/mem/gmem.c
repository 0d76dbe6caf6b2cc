/*
 * Guest-physical memory: the map, copies and views. See gmem.h.
 *
 * The map is an immutable table behind one pointer; readers hold it by an epoch section (base/epoch.h)
 * and find a range by binary search. A view pins its block instead, since it outlives the section.
 */
#include "mem/gmem.h"

#include <string.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/err.h"
#include "mem/gmem_priv.h"

struct gmem *gmem_new(struct epoch *epoch, bool track_code)
{
	struct gmem *g = NEW(struct gmem);

	g->epoch = epoch;
	g->track_code = track_code;
	g->map = mem_alloc(1, sizeof(struct gmem_map));
	pthread_mutex_init(&g->lock, NULL);
	list_init(&g->blocks);
	list_init(&g->listeners);
	return g;
}

void gmem_free(struct gmem *g)
{
	if (!g)
		return;
	assert(list_is_empty(&g->listeners));
	list_for_each_safe (node, &g->blocks)
		gmem_block_free(list_entry(node, struct gmem_block, node));
	free(g->map);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

void gmem_attach_thread(struct gmem *g)
{
	epoch_attach(g->epoch);
}

void gmem_detach_thread(struct gmem *g)
{
	epoch_detach(g->epoch);
}

/* --- the map --- */

void gmem_enter(struct gmem *g)
{
	epoch_enter(g->epoch);
}

void gmem_leave(struct gmem *g)
{
	epoch_leave(g->epoch);
}

const struct gmem_map *gmem_current_map(const struct gmem *g)
{
	return __atomic_load_n(&g->map, __ATOMIC_ACQUIRE);
}

const struct gmem_range *gmem_map_find(const struct gmem_map *m, gpa_t gpa)
{
	u32 from = 0, to = m->n_ranges;

	while (from < to) {
		u32 mid = from + (to - from) / 2;
		const struct gmem_range *r = &m->ranges[mid];

		if (gpa < r->gpa)
			to = mid;
		else if (gpa - r->gpa >= r->size)
			from = mid + 1;
		else
			return r;
	}
	return NULL;
}

static int gmem_range_compare(const void *a, const void *b)
{
	const struct gmem_range *ra = a, *rb = b;

	return ra->gpa < rb->gpa ? -1 : ra->gpa > rb->gpa;
}

static void gmem_check_ranges(const struct gmem_map *m)
{
	for (u32 i = 0; i < m->n_ranges; i++) {
		const struct gmem_range *r = &m->ranges[i];

		assert(r->size && is_aligned(r->gpa | r->size | r->offset, PAGE_SIZE));
		assert(range_fits(r->offset, r->size, r->block->size));
		assert(!i || r->gpa - m->ranges[i - 1].gpa >= m->ranges[i - 1].size);
	}
}

void gmem_set_map(struct gmem *g, const struct gmem_range *ranges, u32 n)
{
	struct gmem_map *new = mem_alloc(1, sizeof(*new) + n * sizeof(ranges[0]));
	struct gmem_map *old;

	new->n_ranges = n;
	memcpy(new->ranges, ranges, n * sizeof(ranges[0]));
	qsort(new->ranges, n, sizeof(ranges[0]), gmem_range_compare);
	gmem_check_ranges(new);

	pthread_mutex_lock(&g->lock);
	old = g->map;
	__atomic_store_n(&g->map, new, __ATOMIC_RELEASE);
	list_for_each (node, &g->listeners) {
		struct gmem_listener *l = list_entry(node, struct gmem_listener, node);

		l->map_changed(l, old, new);
	}
	pthread_mutex_unlock(&g->lock);
	epoch_retire(g->epoch, old, free);
}

void gmem_listen(struct gmem *g, struct gmem_listener *l)
{
	static const struct gmem_map nothing;

	pthread_mutex_lock(&g->lock);
	list_append(&g->listeners, &l->node);
	if (l->code_written) {
		assert(!g->code_listener);
		__atomic_store_n(&g->code_listener, l, __ATOMIC_RELEASE);
	}
	l->map_changed(l, &nothing, g->map);
	pthread_mutex_unlock(&g->lock);
}

void gmem_unlisten(struct gmem *g, struct gmem_listener *l)
{
	pthread_mutex_lock(&g->lock);
	list_remove(&l->node);
	if (g->code_listener == l)
		__atomic_store_n(&g->code_listener, NULL, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&g->lock);
}

/* --- copies --- */

enum gmem_access { GMEM_READ, GMEM_WRITE, GMEM_WRITE_ROM };

/* One run of the guest's memory within one range; NULL where access is not possible. */
struct gmem_run {
	u8 *ptr;
	u64 size;
	struct gmem_block *block;
	u64 offset;
};

static bool gmem_run_at(const struct gmem *g, gpa_t gpa, u64 size, enum gmem_access access,
			struct gmem_run *out)
{
	const struct gmem_range *r = gmem_map_find(gmem_current_map(g), gpa);
	u64 in_range;

	if (!r || (access == GMEM_WRITE && r->is_readonly))
		return false;
	in_range = gpa - r->gpa;
	*out = (struct gmem_run){
		.ptr = r->block->hva + r->offset + in_range,
		.size = MIN(size, r->size - in_range),
		.block = r->block,
		.offset = r->offset + in_range,
	};
	return true;
}

int gmem_read(struct gmem *g, gpa_t gpa, void *buf, u64 size)
{
	struct gmem_run run;
	int r = 0;

	gmem_enter(g);
	for (u64 done = 0; done < size && !r; done += run.size) {
		if (gmem_run_at(g, gpa + done, size - done, GMEM_READ, &run)) {
			memcpy((u8 *)buf + done, run.ptr, run.size);
		} else {
			r = -EFAULT;
			run.size = 0;
		}
	}
	gmem_leave(g);
	return r;
}

/* Copies from buf, or fills with byte where buf is NULL. */
static int gmem_put(struct gmem *g, gpa_t gpa, const u8 *buf, u8 byte, u64 size,
		    enum gmem_access access)
{
	struct gmem_run run;
	int r = 0;

	gmem_enter(g);
	for (u64 done = 0; done < size && !r; done += run.size) {
		if (!gmem_run_at(g, gpa + done, size - done, access, &run)) {
			r = -EFAULT;
			break;
		}
		if (buf)
			memcpy(run.ptr, buf + done, run.size);
		else
			memset(run.ptr, byte, run.size);
		gmem_block_written(run.block, run.offset, run.size);
	}
	gmem_leave(g);
	return r;
}

int gmem_write(struct gmem *g, gpa_t gpa, const void *buf, u64 size)
{
	return gmem_put(g, gpa, buf, 0, size, GMEM_WRITE);
}

int gmem_write_rom(struct gmem *g, gpa_t gpa, const void *buf, u64 size)
{
	return gmem_put(g, gpa, buf, 0, size, GMEM_WRITE_ROM);
}

int gmem_fill(struct gmem *g, gpa_t gpa, u8 byte, u64 size)
{
	return gmem_put(g, gpa, NULL, byte, size, GMEM_WRITE);
}

/* --- views --- */

int gmem_view_open(struct gmem *g, gpa_t gpa, u64 size, bool is_writable, struct gmem_view *out)
{
	struct gmem_run run;
	int r = -EFAULT;

	assert(size);
	gmem_enter(g);
	if (gmem_run_at(g, gpa, size, is_writable ? GMEM_WRITE : GMEM_READ, &run)) {
		__atomic_add_fetch(&run.block->pins, 1, __ATOMIC_RELAXED);
		*out = (struct gmem_view){
			.ptr = run.ptr,
			.size = run.size,
			.block = run.block,
			.offset = run.offset,
			.is_writable = is_writable,
		};
		r = 0;
	}
	gmem_leave(g);
	if (!r)
		gmem_block_touch(out->block, out->offset, out->size);
	return r;
}

void gmem_view_release(struct gmem_view *v)
{
	u32 pins;

	if (v->is_writable)
		gmem_block_written(v->block, v->offset, v->size);
	pins = __atomic_fetch_sub(&v->block->pins, 1, __ATOMIC_RELEASE);
	assert(pins);
	*v = (struct gmem_view){0};
}
