/*
 * Checking, and mending: who refers to which cluster, counted anew, against what the image has counted.
 *
 *     1. walk over all that refers to clusters; entries that can't be are mended at once (or reported)
 *     2. the counts: too low is wrong, too high a leak; broken refcount structures are made anew
 *     3. the flags "only ours" of the active tables, which follow from the counts
 *
 * A table that is met twice in one tree is wrong and not walked again, so that a small image can't keep us
 * busy for long.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_bitmap.h"
#include "image/qcow2_check.h"

#define CHECK_CLUSTERS_MAX                                                                         \
	((u64)1 << 28) /* of a file: 16 TiB of the usual ones, and 2 GiB of memory */

/* --- findings --- */

static void check_say(struct qcow2_check *c, bool is_corruption, const char *fmt, va_list args)
{
	char text[256];

	if (!c->c->report)
		return;
	vsnprintf(text, sizeof(text), fmt, args);
	c->c->report(c->c->opaque, is_corruption, text);
}

void qcow2_check_wrong(struct qcow2_check *c, bool is_fixed, const char *fmt, ...)
{
	va_list args;

	if (is_fixed)
		c->c->corruptions_fixed++;
	else
		c->c->corruptions++;
	va_start(args, fmt);
	check_say(c, true, fmt, args);
	va_end(args);
}

static void check_leak(struct qcow2_check *c, bool is_fixed, const char *fmt, ...)
{
	va_list args;

	if (is_fixed)
		c->c->leaks_fixed++;
	else
		c->c->leaks++;
	va_start(args, fmt);
	check_say(c, false, fmt, args);
	va_end(args);
}

bool qcow2_check_mark(struct qcow2_check *c, u64 offset, u64 bytes)
{
	const struct qcow2 *q = c->q;
	u64 first = offset >> q->cluster_bits;
	u64 end = (offset + bytes + q->cluster_size - 1) >> q->cluster_bits;

	if (!bytes)
		return true;
	if (offset >= QCOW2_HOST_END || end > c->n)
		return false;
	for (u64 i = first; i < end; i++) {
		if (c->counts[i] < UINT32_MAX)
			c->counts[i]++;
	}
	c->c->end_offset = MAX(c->c->end_offset, end << q->cluster_bits);
	return true;
}

static void check_area(struct qcow2_check *c, u64 offset, u64 bytes, const char *what)
{
	if (!is_aligned(offset, c->q->cluster_size) || !qcow2_check_mark(c, offset, bytes))
		qcow2_check_wrong(c, false, "%s at 0x%lx lies outside the file", what, offset);
}

/* --- trees --- */

struct check_tree {
	const char *name;
	bool is_active;
	u32 tag;  /* of tables that were walked in this tree */
	u64 next; /* where a cluster would follow the one before */
};

static void check_count_data(struct qcow2_check *c, struct check_tree *t, u64 host, bool is_packed)
{
	if (!t->is_active)
		return;
	c->c->allocated++;
	c->c->compressed += is_packed;
	c->c->fragmented += is_packed || (t->next && host != t->next);
	t->next = is_packed ? 0 : host + c->q->cluster_size;
}

/* Is what the entry says possible? Marks what it refers to. */
static bool check_entry(struct qcow2_check *c, struct check_tree *t, const u8 *at, u64 guest)
{
	const struct qcow2 *q = c->q;
	u64 entry = be64_load(at), host, bytes;
	u64 status = q->has_subclusters ? be64_load(at + 8) : 0;

	if (entry & QCOW2_COMPRESSED) {
		bytes = qcow2_packed_extent(q, entry, &host);
		check_count_data(c, t, host, true);
		return !q->has_data_file && qcow2_check_mark(c, host, bytes);
	}
	host = entry & QCOW2_OFFSET_MASK;
	if ((status & QCOW2_SUB_ALLOCATED) & (status >> 32))
		return false;
	if (!host && !(q->has_data_file && (entry & QCOW2_COPIED)))
		return !(status & QCOW2_SUB_ALLOCATED);
	check_count_data(c, t, host, false);
	if (q->has_data_file)
		return host == guest;
	return is_aligned(host, q->cluster_size) && qcow2_check_mark(c, host, q->cluster_size);
}

static void check_mend_entry(const struct qcow2 *q, u8 *at)
{
	be64_store(at, q->version >= 3 && !q->has_subclusters ? QCOW2_ZERO : 0);
	if (q->has_subclusters)
		be64_store(at + 8, QCOW2_SUB_ZERO);
}

/* Bits that mean nothing, but may to a later version. true: they were cleared. */
static bool check_reserved(struct qcow2_check *c, u8 *at, u64 guest)
{
	u64 entry = be64_load(at), reserved = entry & QCOW2_L2_RESERVED;
	bool mends = c->repair & IMG_REPAIR_ALL;

	if (c->q->version < 3 || c->q->has_subclusters)
		reserved |= entry & QCOW2_ZERO;
	if (!reserved || (entry & QCOW2_COMPRESSED))
		return false;
	qcow2_check_wrong(c, mends, "cluster 0x%lx: its entry 0x%lx has reserved bits set", guest,
			  entry);
	if (mends)
		be64_store(at, entry & ~reserved);
	return mends;
}

static int check_l2(struct qcow2_check *c, struct check_tree *t, u64 table, u64 guest)
{
	struct qcow2 *q = c->q;
	bool mends = c->repair & IMG_REPAIR_ALL, is_changed = false;
	u64 there = MIN(q->cluster_size, q->file->size - table);
	int r;

	memset(c->buf, 0, q->cluster_size);
	r = blk_read(q->file, table, c->buf, there);
	if (r < 0)
		return r;
	for (u64 i = 0; i < BIT(q->l2_bits); i++) {
		u8 *at = c->buf + i * q->entry_bytes;
		u64 offset = guest + (i << q->cluster_bits), entry = be64_load(at);

		is_changed |= check_reserved(c, at, offset);
		if (check_entry(c, t, at, offset))
			continue;
		qcow2_check_wrong(c, mends, "%s: cluster 0x%lx: its entry 0x%lx is impossible",
				  t->name, offset, entry);
		if (mends)
			check_mend_entry(q, at);
		is_changed |= mends;
	}
	if (!is_changed)
		return 0;
	qcow2_cache_forget(&q->l2, table, q->cluster_size);
	return blk_write(q->file, table, c->buf, q->cluster_size);
}

static int check_l1(struct qcow2_check *c, struct check_tree *t, u64 *l1, u64 l1_offset,
		    u32 entries)
{
	struct qcow2 *q = c->q;
	bool mends = c->repair & IMG_REPAIR_ALL;

	for (u32 i = 0; i < entries; i++) {
		u64 table = l1[i] & QCOW2_OFFSET_MASK;
		bool is_good;
		int r = 0;

		if (!table)
			continue;
		is_good = !(l1[i] & QCOW2_L1_RESERVED) && is_aligned(table, q->cluster_size) &&
			  qcow2_check_mark(c, table, q->cluster_size) &&
			  c->tags[table >> q->cluster_bits] != t->tag;
		if (is_good) {
			c->tags[table >> q->cluster_bits] = t->tag;
			r = check_l2(c, t, table, i * qcow2_table_span(q));
		} else {
			qcow2_check_wrong(c, mends, "%s: L1 entry %u, 0x%lx, is impossible",
					  t->name, i, l1[i]);
			if (mends) {
				l1[i] = 0;
				r = qcow2_write_table(q, l1_offset + i * (u64)8, &l1[i], 1);
			}
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_snapshot(struct qcow2_check *c, u32 i)
{
	struct qcow2 *q = c->q;
	const struct qcow2_snapshot *s = &q->snapshots[i];
	struct check_tree t = {.name = "a snapshot", .tag = i + 2};
	AUTO(free_ptr) u64 *l1 = alloc_try(s->l1_entries + (size_t)1, sizeof(*l1));
	u64 first = s->l1_offset >> q->cluster_bits;
	int r;

	if (!l1)
		return -ENOMEM;
	check_area(c, s->l1_offset, s->l1_entries * (u64)8, "a snapshot's L1 table");
	if (s->l1_entries && first < c->n && c->counts[first] > 1) {
		qcow2_check_wrong(c, false, "snapshot %u: its L1 table is something else, too",
				  i + 1);
		return 0;
	}
	r = qcow2_read_table(q, s->l1_offset, l1, s->l1_entries);
	return r < 0 ? r : check_l1(c, &t, l1, s->l1_offset, s->l1_entries);
}

/* --- everything that refers to something --- */

static void check_refcount_structures(struct qcow2_check *c)
{
	struct qcow2 *q = c->q;

	if (!qcow2_check_mark(c, q->reftable_offset, q->reftable_entries * (u64)8) ||
	    !q->reftable_entries)
		c->is_broken = true;
	for (u32 i = 0; i < q->reftable_entries; i++) {
		u64 block = q->reftable[i];

		if (!block)
			continue;
		if (!is_aligned(block, q->cluster_size) ||
		    !qcow2_check_mark(c, block, q->cluster_size) ||
		    c->tags[block >> q->cluster_bits]) {
			c->is_broken = true;
			continue;
		}
		c->tags[block >> q->cluster_bits] = UINT32_MAX;
	}
}

static void check_bitmap_area(void *opaque, u64 offset, u64 bytes)
{
	check_area(opaque, offset, bytes, "something of a bitmap");
}

static void check_luks(struct qcow2_check *c)
{
	const struct qcow2_ext *e = qcow2_find_ext(c->q, QCOW2_EXT_LUKS);

	if (e && e->bytes >= 16)
		check_area(c, be64_load(e->data), be64_load(e->data + 8),
			   "the encryption's header");
}

int qcow2_check_walk(struct qcow2_check *c, bool with_refcounts)
{
	struct qcow2 *q = c->q;
	struct check_tree active = {.name = "the disk", .is_active = true, .tag = 1};
	int r;

	if (c->is_walked) { /* else they are zeros, which need no memory */
		memset(c->counts, 0, c->n * sizeof(*c->counts));
		memset(c->tags, 0, c->n * sizeof(*c->tags));
	}
	c->is_walked = true;
	c->c->allocated = c->c->compressed = c->c->fragmented = 0;
	check_area(c, 0, q->cluster_size, "the header");
	if (with_refcounts)
		check_refcount_structures(c);
	check_area(c, be64_get(q->header.l1_offset), be32_get(q->header.l1_entries) * (u64)8,
		   "the L1 table");
	r = check_l1(c, &active, q->l1, q->l1_offset, q->l1_entries);
	if (q->snapshots_bytes)
		check_area(c, be64_get(q->header.snapshots_offset), q->snapshots_bytes,
			   "the snapshot table");
	for (u32 i = 0; r == 0 && i < q->n_snapshots; i++)
		r = check_snapshot(c, i);
	check_luks(c);
	return r < 0 ? r : qcow2_bitmaps_areas(q, check_bitmap_area, c);
}

/* --- counts --- */

static int check_one_count(struct qcow2_check *c, u64 cluster, u64 count)
{
	u64 wanted = cluster < c->n ? c->counts[cluster] : 0;
	bool is_wrong = count < wanted;
	bool mends = c->repair & (is_wrong ? IMG_REPAIR_ALL : IMG_REPAIR_LEAKS | IMG_REPAIR_ALL);

	if (count == wanted)
		return 0;
	if (wanted > qcow2_refcount_max(c->q))
		mends = false;
	if (is_wrong)
		qcow2_check_wrong(c, mends, "cluster %lu is used %lu times, and counted %lu times",
				  cluster, wanted, count);
	else
		check_leak(c, mends, "leaked cluster %lu: used %lu times, counted %lu times",
			   cluster, wanted, count);
	if (!mends)
		return 0;
	c->is_changed = true;
	return qcow2_refcount_set(c->q, cluster, wanted);
}

static int check_counts(struct qcow2_check *c)
{
	struct qcow2 *q = c->q;
	u64 per_block = qcow2_refcounts_per_block(q);
	int r = 0;

	for (u64 i = 0; r == 0 && i < MAX(q->reftable_entries, (c->n + per_block - 1) / per_block);
	     i++) {
		u64 count = 0;

		if (i < q->reftable_entries && q->reftable[i]) {
			for (u64 k = i * per_block; r == 0 && k < (i + 1) * per_block; k++) {
				r = qcow2_refcount_get(q, k, &count);
				if (r == 0)
					r = check_one_count(c, k, count);
			}
			continue;
		}
		/* Nothing counts them: are they used? */
		for (u64 k = i * per_block; k < MIN((i + 1) * per_block, c->n); k++)
			c->is_broken |= c->counts[k] != 0;
	}
	return r;
}

/* --- flags --- */

static bool check_flag(struct qcow2_check *c, u64 *entry, u64 host, const char *what)
{
	bool is_ours =
		host >> c->q->cluster_bits < c->n && c->counts[host >> c->q->cluster_bits] == 1;
	bool mends = c->repair & IMG_REPAIR_ALL;

	if (!!(*entry & QCOW2_COPIED) == is_ours)
		return false;
	qcow2_check_wrong(c, mends,
			  "%s 0x%lx: it is %sused by others, and its entry says otherwise", what,
			  host, is_ours ? "not " : "");
	*entry ^= QCOW2_COPIED;
	return mends;
}

static int check_l2_flags(struct qcow2_check *c, u64 table)
{
	struct qcow2 *q = c->q;
	bool is_changed = false;
	int r = blk_read(q->file, table, c->buf, MIN(q->cluster_size, q->file->size - table));

	for (u64 i = 0; r == 0 && i < BIT(q->l2_bits); i++) {
		u8 *at = c->buf + i * q->entry_bytes;
		u64 entry = be64_load(at), host = entry & QCOW2_OFFSET_MASK;

		if ((entry & QCOW2_COMPRESSED) || !host || q->has_data_file)
			continue;
		if (check_flag(c, &entry, host, "cluster")) {
			be64_store(at, entry);
			is_changed = true;
		}
	}
	if (r < 0 || !is_changed)
		return r;
	qcow2_cache_forget(&q->l2, table, q->cluster_size);
	return blk_write(q->file, table, c->buf, q->cluster_size);
}

int qcow2_check_flags(struct qcow2_check *c)
{
	struct qcow2 *q = c->q;
	int r = 0;

	for (u32 i = 0; r == 0 && i < q->l1_entries; i++) {
		u64 table = q->l1[i] & QCOW2_OFFSET_MASK, entry = q->l1[i];

		if (!table || table >> q->cluster_bits >= c->n ||
		    !is_aligned(table, q->cluster_size))
			continue;
		if (check_flag(c, &entry, table, "L2 table")) {
			q->l1[i] = entry;
			r = qcow2_write_table(q, q->l1_offset + i * (u64)8, &q->l1[i], 1);
		}
		if (r == 0)
			r = check_l2_flags(c, table);
	}
	return r;
}

/* --- the whole --- */

static int check_run(struct qcow2_check *c)
{
	struct qcow2 *q = c->q;
	int r = qcow2_check_walk(c, true);

	if (r == 0 && !c->is_broken)
		r = check_counts(c);
	if (r == 0 && c->is_broken) {
		bool mends = c->repair & IMG_REPAIR_ALL;

		qcow2_check_wrong(c, mends, "the refcount structures are broken");
		if (mends)
			r = qcow2_check_rebuild(c);
	}
	/* What is referred to is counted before the flags say that it may be written. */
	if (r == 0 && c->repair)
		r = qcow2_cache_write(&q->rc);
	if (r == 0 && c->repair)
		r = blk_flush(q->file);
	return r < 0 ? r : qcow2_check_flags(c);
}

static void check_prepare(struct qcow2_check *c)
{
	struct qcow2 *q = c->q;

	c->n = (q->file->size + q->cluster_size - 1) >> q->cluster_bits;
	if (c->n <= CHECK_CLUSTERS_MAX) {
		c->counts = alloc_try(c->n + 1, sizeof(*c->counts));
		c->tags = alloc_try(c->n + 1, sizeof(*c->tags));
	}
	c->buf = alloc_try(1, q->cluster_size);
	c->c->clusters = (q->node.blk.size + q->cluster_size - 1) >> q->cluster_bits;
}

int qcow2_check_alone(struct qcow2 *q, unsigned repair, struct img_check *out, struct err *err)
{
	struct qcow2_check c = {.q = q, .c = out, .repair = repair};
	u64 healed = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
	int r = 0;

	if (!q->reftable && qcow2_refcounts_load(q, err) < 0)
		return err->code;
	check_prepare(&c);
	if (!c.counts || !c.tags || !c.buf)
		r = err_set(err, -ENOMEM, "no memory to check %lu clusters", c.n);
	if (r == 0) {
		r = check_run(&c);
		if (r < 0)
			err_errno(err, r, "the check could not be finished");
	}
	free(c.counts);
	free(c.tags);
	free(c.buf);
	if (r < 0 || !repair)
		return r;
	r = qcow2_settle(q);
	if (r == 0 && !out->corruptions && (repair & IMG_REPAIR_ALL) &&
	    (q->incompatible & healed)) {
		r = qcow2_set_incompatible(q, q->incompatible & ~healed);
		q->is_broken = q->is_broken && r < 0;
	}
	return r < 0 ? err_errno(err, r, "the repair could not be written") : 0;
}

int qcow2_check(struct blk *b, unsigned repair, struct img_check *out, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	int r = 0;

	if (repair && b->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	out->corruptions = out->leaks = out->corruptions_fixed = out->leaks_fixed = out->errors = 0;
	out->end_offset = 0;
	qcow2_begin_alone(q);
	if (!b->is_readonly && !q->is_broken)
		r = qcow2_settle(q);
	if (r < 0)
		err_errno(err, r, "cannot write what is outstanding");
	else
		r = qcow2_check_alone(q, repair, out, err);
	qcow2_end_alone(q);
	return r;
}
