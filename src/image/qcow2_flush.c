/*
 * Metadata to the file, in an order in which a crash between any two writes loses nothing.
 *
 * A change of the mapping becomes visible to the disk in this order:
 *
 *     1. data of newly allocated clusters, with what was copied around it    (at once, by its request)
 *        new refcount blocks and new L2 tables, as they are at first         (at once)
 *     2. sync, if there are new refcount blocks; entries of the refcount table
 *     3. counts that rose                                                    (any time before 4)
 *     4. sync; then entries of L2 and L1 that refer to what 1 to 3 wrote
 *     5. sync: this is what a flush waits for
 *     6. counts of what 4 no longer refers to fall; holes are punched        (any time after 5)
 *
 * So what the disk refers to is counted and written, at every moment. A crash after 3 leaves clusters
 * that are counted and not referred to; one before 6 leaves such, too: leaks, never more. A cluster
 * is used anew only after 6, so what a crash brings back (the old entry) finds the old contents.
 *
 * With lazy refcounts 3 and 6 reach the file when the image is closed, and it is marked as dirty before:
 * whoever opens it after a crash counts anew.
 *
 * Clusters that fall free in 6 may still be read or written by requests that looked them up before: these
 * are of an earlier generation, and 6 waits until the last of them has left.
 *
 * All of it runs under the lock, as do all changes of entries: none can slip in behind the sync of 4.
 */
#include <string.h>

#include "block/io.h"
#include "image/qcow2_priv.h"

#define FLUSH_DROPPED_MAX 16384u

int qcow2_sync(struct qcow2 *q)
{
	int r = q->data != q->file ? blk_flush(q->data) : 0;

	return r < 0 ? r : blk_flush(q->file);
}

void qcow2_l1_set(struct qcow2 *q, u64 index, u64 entry)
{
	q->l1[index] = entry;
	q->l1_dirty[index / 64] = 1;
	q->is_l1_dirty = true;
	q->is_unsynced = true;
}

/* The sectors of a table that are marked. */
static int flush_sectors(struct qcow2 *q, u64 offset, const u64 *table, u32 entries, u8 *dirty)
{
	for (u32 i = 0; i < entries; i += 64) {
		int r;

		if (!dirty[i / 64])
			continue;
		dirty[i / 64] = 0;
		r = qcow2_write_table(q, offset + i * (u64)8, table + i, MIN(64u, entries - i));
		if (r < 0) {
			dirty[i / 64] = 1;
			return r;
		}
	}
	return 0;
}

static int flush_reftable(struct qcow2 *q)
{
	int r;

	if (!q->is_reftable_dirty)
		return 0;
	r = blk_flush(q->file);
	if (r == 0)
		r = flush_sectors(q, q->reftable_offset, q->reftable, q->reftable_entries,
				  q->reftable_dirty);
	if (r == 0)
		q->is_reftable_dirty = false;
	return r;
}

static int flush_mapping(struct qcow2 *q)
{
	int r = 0;

	if (!q->l2.n_dirty && !q->is_l1_dirty)
		return 0;
	if (q->is_unsynced)
		r = qcow2_sync(q);
	if (r < 0)
		return r;
	q->is_unsynced = false;
	r = qcow2_cache_write(&q->l2);
	if (r == 0 && q->is_l1_dirty)
		r = flush_sectors(q, q->l1_offset, q->l1, q->l1_entries, q->l1_dirty);
	if (r == 0)
		q->is_l1_dirty = false;
	else
		q->is_unsynced = true;
	return r;
}

int qcow2_write_back(struct qcow2 *q)
{
	int r = flush_reftable(q);

	if (r == 0 && !q->is_lazy)
		r = qcow2_cache_write(&q->rc);
	return r < 0 ? r : flush_mapping(q);
}

/* --- frees --- */

static int flush_free(struct qcow2 *q, struct qcow2_ranges *ranges)
{
	int r = 0;

	for (u32 i = 0; i < ranges->n; i++) {
		int result = qcow2_free_now(q, ranges->v[i].offset, ranges->v[i].bytes);

		r = r < 0 ? r : result;
	}
	ranges->n = 0;
	return r;
}

/* Everything that was written back is synced. */
static int flush_reap(struct qcow2 *q)
{
	struct qcow2_ranges free_ones = q->stable;
	u32 old = 1 - q->generation;
	int r;

	if (!q->dropped.n && !q->stable.n)
		return 0;
	if (q->n_users[old])
		return 0; /* some are still there: the next time */
	r = flush_free(q, &free_ones);
	q->stable = q->dropped;
	q->dropped = free_ones;
	if (!q->n_users[q->generation])
		return flush_free(q, &q->stable) < 0 ? -EIO : r;
	q->generation = old;
	return r;
}

/* --- flushing --- */

static bool flush_is_idle(const struct qcow2 *q)
{
	return !q->l2.n_dirty && !q->is_l1_dirty && !q->is_reftable_dirty &&
	       (q->is_lazy || !q->rc.n_dirty) && !q->dropped.n && !q->stable.n;
}

int qcow2_flush(struct blk_node *n)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	u32 generation = qcow2_enter(q);
	int r;

	if (flush_is_idle(q) && !q->lock.is_locked) {
		r = qcow2_sync(q);
		qcow2_leave(q, generation);
		return r;
	}
	co_lock(&q->lock);
	/* It reads no clusters, and doesn't keep those that are dropped. */
	qcow2_leave(q, generation);
	r = qcow2_write_back(q);
	if (r == 0)
		r = qcow2_sync(q);
	/* What is leaked, or found wrong, meanwhile is not the flush's failure. */
	if (r == 0)
		flush_reap(q);
	co_unlock(&q->lock);
	return r;
}

int qcow2_settle(struct qcow2 *q)
{
	int r = qcow2_write_back(q);

	if (r == 0)
		r = qcow2_sync(q);
	if (r == 0)
		r = flush_free(q, &q->stable);
	if (r == 0)
		r = flush_free(q, &q->dropped);
	if (r == 0)
		r = flush_reftable(q);
	if (r == 0)
		r = qcow2_cache_write(&q->rc);
	return r < 0 ? r : qcow2_sync(q);
}

int qcow2_settle_counts(struct qcow2 *q)
{
	int r = flush_reftable(q);

	if (r == 0)
		r = qcow2_cache_write(&q->rc);
	return r < 0 ? r : qcow2_sync(q);
}

int qcow2_make_room(struct qcow2 *q)
{
	u32 spare = QCOW2_CACHE_MIN / 2;
	bool is_full = q->dropped.n > FLUSH_DROPPED_MAX;
	int r = 0;

	if (likely(q->l2.n_dirty + spare < q->l2.n && !is_full))
		return 0;
	co_lock(&q->lock);
	if (q->l2.n_dirty + spare >= q->l2.n || is_full)
		r = qcow2_write_back(q);
	if (r == 0 && is_full) {
		r = qcow2_sync(q);
		if (r == 0)
			flush_reap(q);
	}
	co_unlock(&q->lock);
	return r;
}

int qcow2_begin_dirty(struct qcow2 *q)
{
	if (!q->is_lazy || (q->incompatible & QCOW2_INCOMPAT_DIRTY))
		return 0;
	return qcow2_set_incompatible(q, q->incompatible | QCOW2_INCOMPAT_DIRTY);
}
