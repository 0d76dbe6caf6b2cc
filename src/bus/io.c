/*
 * I/O spaces: regions flattened into an immutable table of disjoint spans, replaced whole.
 *
 * Flattening takes the regions by priority (then age) and lets each fill what is still free between
 * the spans laid before it. Mapping is rare (a PCI BAR moves), lookup is not: a binary search.
 *
 * Locks: the space's mutex guards its list of regions and their doorbells; it is taken inside device
 * locks (a config write moves a BAR) and held across nothing but the accelerator's doorbell calls.
 */
#include "bus/io.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/epoch.h"
#include "bus/device.h"

struct io_span {
	u64 first, last; /* inclusive: the last span may end at 2^64 - 1 */
	struct io_region *region;
	u64 base; /* the region's, at the time */
};

struct io_table {
	size_t n;
	struct io_span spans[];
};

struct io_space {
	const char *name;
	struct epoch *epoch;
	u64 last;               /* highest address */
	struct io_table *table; /* atomic */

	pthread_mutex_t lock; /* guards all below */
	struct list regions;
	size_t n_regions;
	u64 ages;
	const struct io_doorbell_ops *doorbell_ops;
	void *doorbell_opaque;
};

struct io_space *io_space_new(const char *name, struct epoch *epoch, u64 size)
{
	struct io_space *s = NEW(struct io_space);

	s->name = name;
	s->epoch = epoch;
	s->last = size - 1; /* 0 wraps to all of it */
	s->table = mem_alloc(1, sizeof(struct io_table));
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->regions);
	return s;
}

void io_space_free(struct io_space *s)
{
	if (!s)
		return;
	list_for_each_safe (node, &s->regions)
		io_unmap(list_entry(node, struct io_region, node));
	free(s->table);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void io_region_init(struct io_region *r, const char *name, struct device *dev,
		    const struct io_ops *ops, u64 size)
{
	assert(size && dev);
	*r = (struct io_region){.name = name, .dev = dev, .ops = ops, .size = size};
	list_init(&r->node);
	list_init(&r->doorbells);
}

void io_region_fini(struct io_region *r)
{
	io_unmap(r);
	assert(list_is_empty(&r->doorbells));
}

/* --- flattening --- */

/* Lays region r over [first, last] where nothing lies yet; spans stay sorted. */
static void io_table_lay(struct io_table *t, struct io_region *r)
{
	u64 at = r->base, last = r->base + (r->size - 1);
	size_t i = 0;

	while (i < t->n && t->spans[i].last < at)
		i++;
	for (;;) {
		u64 gap_last = i < t->n && t->spans[i].first <= last ? t->spans[i].first - 1 : last;
		bool is_blocked = i < t->n && t->spans[i].first <= at;

		if (!is_blocked) {
			memmove(&t->spans[i + 1], &t->spans[i], (t->n - i) * sizeof(t->spans[0]));
			t->spans[i] = (struct io_span){at, gap_last, r, r->base};
			t->n++;
			i++;
		}
		if (i == t->n || t->spans[i].last >= last || t->spans[i].first > last)
			return;
		at = t->spans[i].last + 1;
		i++;
	}
}

/* The region that is laid next: highest priority, then oldest, behind the one given. */
static struct io_region *io_space_next(struct io_space *s, const struct io_region *after)
{
	struct io_region *best = NULL;

	list_for_each (node, &s->regions) {
		struct io_region *r = list_entry(node, struct io_region, node);
		bool is_later = !after || r->priority < after->priority ||
				(r->priority == after->priority && r->age > after->age);

		if (is_later && (!best || r->priority > best->priority ||
				 (r->priority == best->priority && r->age < best->age)))
			best = r;
	}
	return best;
}

static void io_space_publish(struct io_space *s)
{
	/* Each region adds at most one span more than it meets gaps: 2 n + 1 in all. */
	struct io_table *new =
		mem_alloc(1, sizeof(*new) + (2 * s->n_regions + 1) * sizeof(new->spans[0]));
	struct io_table *old = s->table;

	for (struct io_region *r = io_space_next(s, NULL); r; r = io_space_next(s, r))
		io_table_lay(new, r);
	__atomic_store_n(&s->table, new, __ATOMIC_RELEASE);
	epoch_retire(s->epoch, old, free);
}

/* --- doorbells --- */

static void io_doorbell_tell(struct io_space *s, struct io_region *r, struct io_doorbell *b,
			     bool is_add)
{
	if (!s->doorbell_ops)
		return;
	/* A failure costs speed only: the write then exits and rings in io_ring. */
	if (is_add)
		s->doorbell_ops->add(s->doorbell_opaque, r->base + b->off, b);
	else
		s->doorbell_ops->remove(s->doorbell_opaque, r->base + b->off, b);
}

static void io_doorbells_tell(struct io_space *s, struct io_region *r, bool is_add)
{
	list_for_each (node, &r->doorbells)
		io_doorbell_tell(s, r, list_entry(node, struct io_doorbell, node), is_add);
}

void io_doorbell_add(struct io_region *r, struct io_doorbell *b)
{
	struct io_space *s = r->space;

	assert(range_fits(b->off, MAX(b->size, 1u), r->size));
	if (s)
		pthread_mutex_lock(&s->lock);
	list_append(&r->doorbells, &b->node);
	if (s) {
		io_doorbell_tell(s, r, b, true);
		pthread_mutex_unlock(&s->lock);
	}
}

void io_doorbell_remove(struct io_region *r, struct io_doorbell *b)
{
	struct io_space *s = r->space;

	if (s) {
		pthread_mutex_lock(&s->lock);
		io_doorbell_tell(s, r, b, false);
	}
	list_remove(&b->node);
	if (s)
		pthread_mutex_unlock(&s->lock);
}

void io_space_set_doorbell_ops(struct io_space *s, const struct io_doorbell_ops *ops, void *opaque)
{
	pthread_mutex_lock(&s->lock);
	list_for_each (node, &s->regions)
		io_doorbells_tell(s, list_entry(node, struct io_region, node), false);
	s->doorbell_ops = ops;
	s->doorbell_opaque = opaque;
	list_for_each (node, &s->regions)
		io_doorbells_tell(s, list_entry(node, struct io_region, node), true);
	pthread_mutex_unlock(&s->lock);
}

/* The descriptor of the doorbell at off, or -1. Under the device's lock. */
static int io_find_doorbell(struct io_region *r, u64 off, u64 value, unsigned size)
{
	list_for_each (node, &r->doorbells) {
		struct io_doorbell *b = list_entry(node, struct io_doorbell, node);

		if (b->off == off && (!b->size || b->size == size) &&
		    (b->is_any_value || b->value == value))
			return b->fd;
	}
	return -1;
}

/*
 * Without the device's lock, which is the first thing that whoever hears it takes. The device isn't
 * freed under a vCPU that is in its region, nor then is the descriptor closed.
 */
static void io_ring(int fd)
{
	u64 one = 1;

	/* EAGAIN: it has been rung 2^64 - 2 times and not been heard; it is ringing. */
	if (write(fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

/* --- mapping --- */

int io_map(struct io_space *s, u64 base, struct io_region *r, int priority)
{
	if (r->space)
		return -EBUSY;
	if (base > s->last || r->size - 1 > s->last - base)
		return -ERANGE;
	pthread_mutex_lock(&s->lock);
	r->space = s;
	r->base = base;
	r->priority = priority;
	r->age = s->ages++;
	list_append(&s->regions, &r->node);
	s->n_regions++;
	io_space_publish(s);
	io_doorbells_tell(s, r, true);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void io_unmap(struct io_region *r)
{
	struct io_space *s = r->space;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	io_doorbells_tell(s, r, false);
	list_remove(&r->node);
	s->n_regions--;
	r->space = NULL;
	io_space_publish(s);
	pthread_mutex_unlock(&s->lock);
}

/* --- access --- */

/* One aligned access of a size that the callback takes. */
static u64 io_call_read(struct io_region *r, u64 off, unsigned size)
{
	u64 value;

	if (!r->ops->read)
		return IO_ONES;
	if (!r->ops->is_unlocked)
		device_lock(r->dev);
	value = r->ops->read(r->dev, off, size);
	if (!r->ops->is_unlocked)
		device_unlock(r->dev);
	return value;
}

static void io_call_write(struct io_region *r, u64 off, u64 value, unsigned size)
{
	int bell;

	if (!r->ops->is_unlocked)
		device_lock(r->dev);
	bell = io_find_doorbell(r, off, value, size);
	if (bell < 0 && r->ops->write)
		r->ops->write(r->dev, off, value, size);
	if (!r->ops->is_unlocked)
		device_unlock(r->dev);
	if (bell >= 0)
		io_ring(bell);
}

/* The largest piece at off that is aligned, within size, and that the callback takes or exceeds. */
static unsigned io_piece(const struct io_region *r, u64 off, unsigned size)
{
	unsigned max = r->ops->max_size ? r->ops->max_size : 8;
	unsigned piece = 1;

	while (piece * 2 <= MIN(size, max) && is_aligned(off, piece * 2))
		piece *= 2;
	return piece;
}

u64 io_read(struct io_region *r, u64 off, unsigned size)
{
	unsigned min = MAX(r->ops->min_size, (u8)1);
	u64 value = 0;

	for (unsigned done = 0; done < size;) {
		unsigned piece = io_piece(r, off + done, size - done);
		u64 part;

		if (piece < min) { /* widen: read the whole register, take the part asked for */
			u64 start = align_down(off + done, min);
			unsigned shift = (unsigned)(off + done - start) * 8;

			part = io_call_read(r, start, min) >> shift;
		} else {
			part = io_call_read(r, off + done, piece);
		}
		value |= (part & bytes_mask(piece)) << done * 8;
		done += piece;
	}
	return value;
}

void io_write(struct io_region *r, u64 off, u64 value, unsigned size)
{
	unsigned min = MAX(r->ops->min_size, (u8)1);

	for (unsigned done = 0; done < size;) {
		unsigned piece = io_piece(r, off + done, size - done);
		u64 part = value >> done * 8 & bytes_mask(piece);

		if (piece < min) { /* widen: the rest of the register keeps what it reads as */
			u64 start = align_down(off + done, min);
			unsigned shift = (unsigned)(off + done - start) * 8;
			u64 whole = io_call_read(r, start, min) & bytes_mask(min);

			whole = (whole & ~(bytes_mask(piece) << shift)) | part << shift;
			io_call_write(r, start, whole, min);
		} else {
			io_call_write(r, off + done, part, piece);
		}
		done += piece;
	}
}

static const struct io_span *io_table_find(const struct io_table *t, u64 addr)
{
	size_t from = 0, to = t->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (addr < t->spans[mid].first)
			to = mid;
		else if (addr > t->spans[mid].last)
			from = mid + 1;
		else
			return &t->spans[mid];
	}
	return NULL;
}

/* The span at addr and how much of size lies in it (or in the hole, up to size). */
static const struct io_span *io_space_find(struct io_space *s, u64 addr, unsigned size,
					   unsigned *out_size)
{
	const struct io_table *t = __atomic_load_n(&s->table, __ATOMIC_ACQUIRE);
	const struct io_span *span = io_table_find(t, addr);

	if (!span)
		*out_size = 1; /* byte by byte through a hole: rare and at most eight */
	else
		*out_size = (unsigned)MIN((u64)size - 1, span->last - addr) + 1;
	return span;
}

u64 io_space_read(struct io_space *s, u64 addr, unsigned size)
{
	u64 value = 0;

	epoch_enter(s->epoch);
	for (unsigned done = 0, n; done < size; done += n) {
		const struct io_span *span = io_space_find(s, addr + done, size - done, &n);
		u64 part = IO_ONES;

		if (span)
			part = io_read(span->region, addr + done - span->base, n);
		value |= (part & bytes_mask(n)) << done * 8;
	}
	epoch_leave(s->epoch);
	return value;
}

void io_space_write(struct io_space *s, u64 addr, u64 value, unsigned size)
{
	epoch_enter(s->epoch);
	for (unsigned done = 0, n; done < size; done += n) {
		const struct io_span *span = io_space_find(s, addr + done, size - done, &n);

		if (span)
			io_write(span->region, addr + done - span->base,
				 value >> done * 8 & bytes_mask(n), n);
	}
	epoch_leave(s->epoch);
}

bool io_space_has(struct io_space *s, u64 addr)
{
	const struct io_table *t;
	bool has;

	epoch_enter(s->epoch);
	t = __atomic_load_n(&s->table, __ATOMIC_ACQUIRE);
	has = io_table_find(t, addr) != NULL;
	epoch_leave(s->epoch);
	return has;
}
