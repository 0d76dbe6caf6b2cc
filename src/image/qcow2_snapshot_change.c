/*
 * Making, applying and deleting snapshots.
 *
 * A snapshot is a copy of the active L1 table; what it leads to is used once more, and no longer "only
 * ours". While counts and flags are changed the image is marked dirty (version 3), so that a crash is
 * followed by a recount; the order is such that even without one (version 2) only leaks and flags that
 * are too careful remain:
 *
 *     create: flags cleared, counts up | the L1 copy | the snapshot table, the header
 *     apply:  counts up | another L1, the header | counts of the old one down, flags by the counts
 *     delete: the snapshot table, the header | counts down, flags by the counts
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "block/io.h"
#include "image/qcow2_tree.h"

#define SNAPSHOT_EXTRA_BYTES 16u /* version 3 wants as many */

/* --- the table --- */

static u64 snapshot_entry_bytes(const struct qcow2_snapshot *s)
{
	return align_up(sizeof(struct qcow2_snapshot_wire) + s->extra_bytes + strlen(s->id) +
				strlen(s->name),
			8);
}

static u8 *snapshot_put(u8 *at, const struct qcow2_snapshot *s)
{
	const struct qcow2_snapshot_wire w = {
		.l1_offset = be64_of(s->l1_offset),
		.l1_entries = be32_of(s->l1_entries),
		.id_bytes = be16_of((u16)strlen(s->id)),
		.name_bytes = be16_of((u16)strlen(s->name)),
		.date_s = be32_of(s->date_s),
		.date_ns = be32_of(s->date_ns),
		.vm_clock_ns = be64_of(s->vm_clock_ns),
		.vm_state_bytes = be32_of((u32)MIN(s->vm_state_bytes, (u64)UINT32_MAX)),
		.extra_bytes = be32_of(s->extra_bytes),
	};
	u8 *p = at;

	memcpy(p, &w, sizeof(w));
	p += sizeof(w);
	memcpy(p, s->extra, s->extra_bytes);
	p += s->extra_bytes;
	memcpy(p, s->id, strlen(s->id));
	p += strlen(s->id);
	memcpy(p, s->name, strlen(s->name));
	return at + snapshot_entry_bytes(s);
}

/* All but the one at skip, if it is one; then the header says so, in one write. */
static int snapshot_write_table(struct qcow2 *q, u32 skip)
{
	const struct qcow2_header_wire old = q->header;
	u64 bytes = 0, offset = 0, old_offset = be64_get(old.snapshots_offset),
	    old_bytes = q->snapshots_bytes;
	AUTO(free_ptr) u8 *buf = NULL;
	u32 n = 0;
	u8 *at;
	int r = 0;

	for (u32 i = 0; i < q->n_snapshots; i++)
		bytes += i == skip ? 0 : snapshot_entry_bytes(&q->snapshots[i]);
	at = buf = alloc_try(1, bytes + 1);
	if (!buf)
		return -ENOMEM;
	for (u32 i = 0; i < q->n_snapshots; i++) {
		if (i != skip) {
			at = snapshot_put(at, &q->snapshots[i]);
			n++;
		}
	}
	if (bytes)
		r = qcow2_alloc_row(q, (bytes + q->cluster_size - 1) >> q->cluster_bits, &offset);
	if (r == 0 && bytes)
		r = blk_write(q->file, offset, buf, bytes);
	if (r == 0)
		r = qcow2_settle_counts(q);
	q->header.n_snapshots = be32_of(n);
	q->header.snapshots_offset = be64_of(offset);
	if (r == 0)
		r = qcow2_header_write_fields(q);
	if (r == 0)
		r = blk_flush(q->file);
	if (r < 0) {
		q->header = old;
		return r;
	}
	q->snapshots_bytes = bytes;
	return old_bytes ? qcow2_free_now(q, old_offset, old_bytes) : 0;
}

/* --- checks --- */

static int snapshot_can(struct blk *b, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);

	if (b->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	if (q->has_data_file)
		return err_set(err, -ENOTSUP, "with an external data file there are no snapshots");
	if (q->is_broken)
		return err_set(err, -EIO, "the image is damaged");
	return 0;
}

/* --- create --- */

static char *snapshot_new_id(const struct qcow2 *q)
{
	unsigned long most = 0;

	for (u32 i = 0; i < q->n_snapshots; i++)
		most = MAX(most, strtoul(q->snapshots[i].id, NULL, 10));
	return str_format("%lu", most + 1);
}

static int snapshot_copy_l1(struct qcow2 *q, u64 *out_offset)
{
	u64 bytes = MAX(q->l1_entries * (u64)8, (u64)8);
	int r = qcow2_alloc_row(q, (bytes + q->cluster_size - 1) >> q->cluster_bits, out_offset);

	return r < 0 ? r : qcow2_write_table(q, *out_offset, q->l1, q->l1_entries);
}

static int snapshot_make(struct qcow2 *q, struct qcow2_snapshot *s)
{
	int r = qcow2_tree_flags(q, true);

	if (r == 0)
		r = qcow2_write_back(q);
	if (r == 0)
		r = qcow2_sync(q);
	if (r == 0)
		r = qcow2_tree_add(q, q->l1, q->l1_entries, 1);
	if (r == 0)
		r = snapshot_copy_l1(q, &s->l1_offset);
	if (r < 0)
		return r;
	q->snapshots =
		mem_grow(q->snapshots, q->n_snapshots, q->n_snapshots + (size_t)1, sizeof(*s));
	q->snapshots[q->n_snapshots++] = *s;
	r = snapshot_write_table(q, UINT32_MAX);
	if (r < 0)
		q->n_snapshots--;
	return r;
}

static void snapshot_describe(const struct qcow2 *q, const char *name, u64 date_ns,
			      struct qcow2_snapshot *s)
{
	const struct qcow2_snapshot_extra_wire extra = {.size = be64_of(q->node.blk.size)};

	*s = (struct qcow2_snapshot){
		.l1_entries = q->l1_entries,
		.date_s = (u32)(date_ns / NSEC_PER_SEC),
		.date_ns = (u32)(date_ns % NSEC_PER_SEC),
		.size = q->node.blk.size,
		.id = snapshot_new_id(q),
		.name = str_dup(name),
		.extra = mem_alloc(1, SNAPSHOT_EXTRA_BYTES),
		.extra_bytes = SNAPSHOT_EXTRA_BYTES,
	};
	memcpy(s->extra, &extra, SNAPSHOT_EXTRA_BYTES);
}

int qcow2_snapshot_create(struct blk *b, const char *name, u64 date_ns, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	struct qcow2_snapshot s;
	int r = snapshot_can(b, err);

	if (r < 0)
		return r;
	if (!*name || strlen(name) > QCOW2_NAME_MAX)
		return err_set(err, -EINVAL, "the name is empty or too long");
	if (q->n_snapshots == QCOW2_SNAPSHOTS_MAX)
		return err_set(err, -EFBIG, "there are too many snapshots");
	qcow2_begin_alone(q);
	if (qcow2_find_snapshot(q, name)) {
		qcow2_end_alone(q);
		return err_set(err, -EEXIST, "there is a snapshot '%s' already", name);
	}
	snapshot_describe(q, name, date_ns, &s);
	r = qcow2_tree_begin(q);
	if (r == 0)
		r = qcow2_tree_end(q, snapshot_make(q, &s));
	if (r < 0 && !qcow2_find_snapshot(q, s.id))
		qcow2_snapshot_fini(&s);
	qcow2_end_alone(q);
	return r < 0 ? err_errno(err, r, "cannot make the snapshot") : 0;
}

/* --- apply --- */

static int snapshot_read_l1(struct qcow2 *q, const struct qcow2_snapshot *s, u32 entries, u64 **out)
{
	u64 *l1 = alloc_try(entries + (size_t)1, sizeof(*l1));
	int r = l1 ? qcow2_read_table(q, s->l1_offset, l1, s->l1_entries) : -ENOMEM;

	for (u32 i = 0; r == 0 && i < s->l1_entries; i++)
		l1[i] &= ~QCOW2_COPIED;
	if (r < 0)
		free(l1);
	else
		*out = l1;
	return r;
}

static int snapshot_restore(struct qcow2 *q, const struct qcow2_snapshot *s)
{
	u32 old_entries = q->l1_entries;
	AUTO(free_ptr) u64 *old = alloc_try(old_entries + (size_t)1, sizeof(*old));
	u64 *l1;
	int r = old ? snapshot_read_l1(q, s, s->l1_entries, &l1) : -ENOMEM;

	if (r < 0)
		return r;
	memcpy(old, q->l1, old_entries * sizeof(*old));
	r = qcow2_tree_add(q, l1, s->l1_entries, 1);
	if (r == 0)
		r = qcow2_tree_switch(q, l1, s->l1_entries, s->size);
	if (q->l1 != l1)
		free(l1);
	if (r == 0)
		r = qcow2_tree_add(q, old, old_entries, -1);
	return r < 0 ? r : qcow2_tree_flags(q, false);
}

int qcow2_snapshot_apply(struct blk *b, const char *id_or_name, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	struct qcow2_snapshot *s;
	int r = snapshot_can(b, err);

	if (r < 0)
		return r;
	qcow2_begin_alone(q);
	s = qcow2_find_snapshot(q, id_or_name);
	if (!s) {
		qcow2_end_alone(q);
		return err_set(err, -ENOENT, "there is no snapshot '%s'", id_or_name);
	}
	r = qcow2_bitmaps_resize(q, s->size);
	if (r == 0)
		r = qcow2_tree_begin(q);
	if (r == 0)
		r = qcow2_tree_end(q, snapshot_restore(q, s));
	qcow2_bitmaps_record(q, 0, b->size);
	qcow2_end_alone(q);
	return r < 0 ? err_errno(err, r, "cannot go back to the snapshot") : 0;
}

/* --- delete --- */

static int snapshot_remove(struct qcow2 *q, u32 i)
{
	struct qcow2_snapshot s = q->snapshots[i];
	u64 bytes = MAX(s.l1_entries * (u64)8, (u64)8), *l1;
	int r = snapshot_read_l1(q, &s, s.l1_entries, &l1);

	if (r < 0)
		return r;
	r = snapshot_write_table(q, i);
	if (r == 0) {
		memmove(&q->snapshots[i], &q->snapshots[i + 1],
			(q->n_snapshots - i - 1) * sizeof(q->snapshots[0]));
		q->n_snapshots--;
		qcow2_snapshot_fini(&s);
		r = qcow2_tree_add(q, l1, s.l1_entries, -1);
	}
	if (r == 0)
		r = qcow2_free_now(q, s.l1_offset, bytes);
	free(l1);
	return r < 0 ? r : qcow2_tree_flags(q, false);
}

int qcow2_snapshot_delete(struct blk *b, const char *id_or_name, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	struct qcow2_snapshot *s;
	int r = snapshot_can(b, err);

	if (r < 0)
		return r;
	qcow2_begin_alone(q);
	s = qcow2_find_snapshot(q, id_or_name);
	if (!s) {
		qcow2_end_alone(q);
		return err_set(err, -ENOENT, "there is no snapshot '%s'", id_or_name);
	}
	r = qcow2_tree_begin(q);
	if (r == 0)
		r = qcow2_tree_end(q, snapshot_remove(q, (u32)(s - q->snapshots)));
	qcow2_end_alone(q);
	return r < 0 ? err_errno(err, r, "cannot delete the snapshot") : 0;
}
