/*
 * Refcount structures from the ground up: what everything refers to is counted, and table and blocks are
 * written behind the file's end, where nothing is that may be lost. The header changes last.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_check.h"

struct rebuild {
	u64 first;             /* cluster: blocks, then the table */
	u64 n_blocks, n_table; /* clusters */
};

static void rebuild_plan(const struct qcow2_check *c, struct rebuild *b)
{
	u64 per_block = qcow2_refcounts_per_block(c->q);

	b->first = c->n;
	b->n_blocks = b->n_table = 1;
	for (;;) {
		u64 total = b->first + b->n_blocks + b->n_table;

		if (total > b->n_blocks * per_block)
			b->n_blocks = (total + per_block - 1) / per_block;
		else if (b->n_blocks * 8 > b->n_table << c->q->cluster_bits)
			b->n_table++;
		else
			return;
	}
}

static int rebuild_write_block(struct qcow2_check *c, const struct rebuild *b, u64 i)
{
	struct qcow2 *q = c->q;
	u64 per_block = qcow2_refcounts_per_block(q);

	memset(c->buf, 0, q->cluster_size);
	for (u64 k = 0; k < per_block; k++) {
		u64 cluster = i * per_block + k, count = 0;

		if (cluster < c->n)
			count = c->counts[cluster];
		else if (cluster < b->first + b->n_blocks + b->n_table)
			count = 1;
		if (count > qcow2_refcount_max(q))
			return -EOVERFLOW;
		qcow2_refcount_store(q, c->buf, k, count);
	}
	return blk_write(q->file, (b->first + i) << q->cluster_bits, c->buf, q->cluster_size);
}

static int rebuild_write(struct qcow2_check *c, const struct rebuild *b)
{
	struct qcow2 *q = c->q;
	u64 entries = b->n_table * q->cluster_size / 8;
	AUTO(free_ptr) u64 *table = alloc_try(entries, 8);
	int r = table ? 0 : -ENOMEM;

	for (u64 i = 0; r == 0 && i < b->n_blocks; i++) {
		table[i] = (b->first + i) << q->cluster_bits;
		r = rebuild_write_block(c, b, i);
	}
	if (r == 0)
		r = qcow2_write_table(q, (b->first + b->n_blocks) << q->cluster_bits, table,
				      entries);
	return r < 0 ? r : blk_flush(q->file);
}

static int rebuild_switch(struct qcow2 *q, const struct rebuild *b)
{
	struct err err = ERR_INIT;
	int r;

	q->header.refcount_table_offset = be64_of((b->first + b->n_blocks) << q->cluster_bits);
	q->header.refcount_table_clusters = be32_of((u32)b->n_table);
	r = qcow2_header_write_fields(q);
	if (r == 0)
		r = blk_flush(q->file);
	if (r < 0)
		return r;
	qcow2_refcounts_fini(q);
	q->dropped = q->stable = (struct qcow2_ranges){0};
	q->free_hint = 0;
	return qcow2_refcounts_load(q, &err);
}

/* The new structures are part of the file now. */
static int rebuild_extend(struct qcow2_check *c, const struct rebuild *b)
{
	u64 n = b->first + b->n_blocks + b->n_table;
	u32 *counts = alloc_try(n + 1, sizeof(*counts)), *tags = alloc_try(n + 1, sizeof(*tags));

	if (!counts || !tags) {
		free(counts);
		free(tags);
		return -ENOMEM;
	}
	memcpy(counts, c->counts, c->n * sizeof(*counts));
	for (u64 i = c->n; i < n; i++)
		counts[i] = 1;
	free(c->counts);
	free(c->tags);
	c->counts = counts;
	c->tags = tags;
	c->n = n;
	c->c->end_offset = n << c->q->cluster_bits;
	return 0;
}

int qcow2_check_rebuild(struct qcow2_check *c)
{
	struct img_check findings = *c->c;
	struct qcow2 *q = c->q;
	struct rebuild b;
	int r;

	/* Its findings were reported the first time. */
	c->c->report = NULL;
	r = qcow2_check_walk(c, false);
	findings.allocated = c->c->allocated;
	*c->c = findings;
	if (r < 0)
		return r;
	rebuild_plan(c, &b);
	if (b.n_table << q->cluster_bits > MAX(QCOW2_REFTABLE_MAX, q->cluster_size))
		return -EFBIG;
	if (!range_fits(b.first << q->cluster_bits, (b.n_blocks + b.n_table) << q->cluster_bits,
			blk_limit(q->file, false)))
		return -ENOSPC;
	r = rebuild_write(c, &b);
	if (r == 0)
		r = rebuild_switch(q, &b);
	return r < 0 ? r : rebuild_extend(c, &b);
}
