/*
 * Deferred freeing. See epoch.h for the protocol and its ordering argument.
 */
#include "base/epoch.h"

#include <pthread.h>

#include "base/alloc.h"

struct epoch_retired {
	struct epoch_retired *next;
	u64 epoch; /* readers that entered before this may hold it */
	void *object;
	void (*free_fn)(void *);
};

struct epoch_slot {
	u64 epoch; /* atomic, written by the reader alone; 0 outside a section */
	bool is_used;
	u8 pad[64 - 9];
};

struct epoch {
	u64 now; /* atomic; starts at 1, since 0 marks a reader outside */
	struct epoch_slot slots[EPOCH_MAX_READERS];

	pthread_mutex_t lock; /* guards slots[].is_used and the list */
	struct epoch_retired *retired;
};

/* What the calling thread is attached to. */
struct epoch_reader {
	struct epoch *epoch; /* NULL: free */
	struct epoch_slot *slot;
	u32 attached;
	u32 nesting;
};
static __thread struct epoch_reader epoch_readers[EPOCH_MAX_ATTACHED];

static struct epoch_reader *epoch_reader_find(const struct epoch *e)
{
	for (size_t i = 0; i < EPOCH_MAX_ATTACHED; i++) {
		if (epoch_readers[i].epoch == e)
			return &epoch_readers[i];
	}
	return NULL;
}

struct epoch *epoch_new(void)
{
	struct epoch *e = NEW(struct epoch);

	e->now = 1;
	pthread_mutex_init(&e->lock, NULL);
	return e;
}

static struct epoch_slot *epoch_slot_claim(struct epoch *e)
{
	struct epoch_slot *found = NULL;

	pthread_mutex_lock(&e->lock);
	for (size_t i = 0; i < ARRAY_SIZE(e->slots) && !found; i++) {
		if (!e->slots[i].is_used)
			found = &e->slots[i];
	}
	assert(found); /* the limits on vCPUs and loops keep below EPOCH_MAX_READERS */
	found->is_used = true;
	pthread_mutex_unlock(&e->lock);
	return found;
}

void epoch_attach(struct epoch *e)
{
	struct epoch_reader *r = epoch_reader_find(e);

	if (!r) {
		r = epoch_reader_find(NULL);
		assert(r);
		*r = (struct epoch_reader){.epoch = e, .slot = epoch_slot_claim(e)};
	}
	r->attached++;
}

void epoch_detach(struct epoch *e)
{
	struct epoch_reader *r = epoch_reader_find(e);

	assert(r && r->attached && !r->nesting);
	if (--r->attached)
		return;
	pthread_mutex_lock(&e->lock);
	r->slot->is_used = false;
	pthread_mutex_unlock(&e->lock);
	*r = (struct epoch_reader){0};
}

void epoch_enter(struct epoch *e)
{
	struct epoch_reader *r = epoch_reader_find(e);

	assert(r);
	if (r->nesting++)
		return;
	__atomic_store_n(&r->slot->epoch, __atomic_load_n(&e->now, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void epoch_leave(struct epoch *e)
{
	struct epoch_reader *r = epoch_reader_find(e);

	assert(r && r->nesting);
	if (--r->nesting)
		return;
	__atomic_store_n(&r->slot->epoch, 0, __ATOMIC_RELEASE);
}

static u64 epoch_oldest_reader(struct epoch *e)
{
	u64 oldest = UINT64_MAX;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (size_t i = 0; i < ARRAY_SIZE(e->slots); i++) {
		u64 at = __atomic_load_n(&e->slots[i].epoch, __ATOMIC_ACQUIRE);

		if (at)
			oldest = MIN(oldest, at);
	}
	return oldest;
}

/* Unlinks everything that no reader can hold and returns it, to be freed without the lock. */
static struct epoch_retired *epoch_unlink_free(struct epoch *e)
{
	u64 oldest = epoch_oldest_reader(e);
	struct epoch_retired *free_list = NULL;

	for (struct epoch_retired **at = &e->retired; *at;) {
		struct epoch_retired *r = *at;

		if (r->epoch <= oldest) {
			*at = r->next;
			r->next = free_list;
			free_list = r;
		} else {
			at = &r->next;
		}
	}
	return free_list;
}

void epoch_collect(struct epoch *e)
{
	struct epoch_retired *list;

	pthread_mutex_lock(&e->lock);
	list = epoch_unlink_free(e);
	pthread_mutex_unlock(&e->lock);
	while (list) {
		struct epoch_retired *r = list;

		list = r->next;
		r->free_fn(r->object);
		free(r);
	}
}

void epoch_retire(struct epoch *e, void *object, void (*free_fn)(void *))
{
	struct epoch_retired *r = NEW(struct epoch_retired);

	r->object = object;
	r->free_fn = free_fn;
	pthread_mutex_lock(&e->lock);
	r->epoch = __atomic_add_fetch(&e->now, 1, __ATOMIC_SEQ_CST);
	r->next = e->retired;
	e->retired = r;
	pthread_mutex_unlock(&e->lock);
	epoch_collect(e);
}

void epoch_free(struct epoch *e)
{
	if (!e)
		return;
	epoch_collect(e);
	assert(!e->retired);
	pthread_mutex_destroy(&e->lock);
	free(e);
}
