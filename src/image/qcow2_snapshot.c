/*
 * Internal snapshots: L1 tables set aside, with what they lead to.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_priv.h"

#define SNAPSHOT_EXTRA_MAX 1024u

/* --- the table --- */

static int snapshot_read_one(struct qcow2 *q, u64 *at, struct qcow2_snapshot *s, struct err *err)
{
	struct qcow2_snapshot_wire w;
	struct qcow2_snapshot_extra_wire extra = {0};
	u64 end;
	int r;

	if (!range_fits(*at, sizeof(w), q->file->size))
		return err_set(err, -EINVAL, "it is cut off");
	r = blk_read(q->file, *at, &w, sizeof(w));
	if (r < 0)
		return err_errno(err, r, "cannot read it");
	s->l1_offset = be64_get(w.l1_offset);
	s->l1_entries = be32_get(w.l1_entries);
	s->date_s = be32_get(w.date_s);
	s->date_ns = be32_get(w.date_ns);
	s->vm_clock_ns = be64_get(w.vm_clock_ns);
	s->vm_state_bytes = be32_get(w.vm_state_bytes);
	s->size = be64_get(q->header.size);
	s->extra_bytes = be32_get(w.extra_bytes);
	if (s->extra_bytes > SNAPSHOT_EXTRA_MAX)
		return err_set(err, -EFBIG, "%u bytes of extra data are too many", s->extra_bytes);
	*at += sizeof(w);
	end = *at + s->extra_bytes + be16_get(w.id_bytes) + be16_get(w.name_bytes);
	if (end > q->file->size)
		return err_set(err, -EINVAL, "it is cut off");
	s->extra = mem_alloc(1, s->extra_bytes + 1);
	s->id = mem_alloc(1, be16_get(w.id_bytes) + (size_t)1);
	s->name = mem_alloc(1, be16_get(w.name_bytes) + (size_t)1);
	r = blk_read(q->file, *at, s->extra, s->extra_bytes);
	*at += s->extra_bytes;
	if (r == 0)
		r = blk_read(q->file, *at, s->id, be16_get(w.id_bytes));
	*at += be16_get(w.id_bytes);
	if (r == 0)
		r = blk_read(q->file, *at, s->name, be16_get(w.name_bytes));
	*at = align_up(end, 8);
	if (r < 0)
		return err_errno(err, r, "cannot read it");
	memcpy(&extra, s->extra, MIN(s->extra_bytes, sizeof(extra)));
	if (s->extra_bytes >= 8)
		s->vm_state_bytes = be64_get(extra.vm_state_bytes);
	if (s->extra_bytes >= 16)
		s->size = be64_get(extra.size);
	return 0;
}

static int snapshot_check(const struct qcow2 *q, const struct qcow2_snapshot *s, struct err *err)
{
	if (s->l1_entries > QCOW2_L1_MAX / 8)
		return err_set(err, -EFBIG, "its L1 table is too large");
	if (!qcow2_is_table(q, s->l1_offset, s->l1_entries * (u64)8))
		return err_set(err, -EINVAL, "its L1 table is at an impossible place");
	if (s->size > BLK_SIZE_MAX || qcow2_l1_needed(q, s->size) > s->l1_entries)
		return err_set(err, -EINVAL, "its L1 table is too small");
	return 0;
}

int qcow2_snapshots_read(struct qcow2 *q, struct err *err)
{
	u32 n = be32_get(q->header.n_snapshots);
	u64 start = be64_get(q->header.snapshots_offset), at = start;

	for (u32 i = 0; i < n; i++) {
		struct qcow2_snapshot s = {0};
		int r = snapshot_read_one(q, &at, &s, err);

		if (r == 0)
			r = snapshot_check(q, &s, err);
		/* Kept even if it is wrong: freed with the others. */
		q->snapshots = mem_grow(q->snapshots, i, i + (size_t)1, sizeof(s));
		q->snapshots[q->n_snapshots++] = s;
		if (r < 0)
			return err_wrap(err, "snapshot %u", i + 1);
	}
	q->snapshots_bytes = at - start;
	return 0;
}

void qcow2_snapshot_fini(struct qcow2_snapshot *s)
{
	free(s->id);
	free(s->name);
	free(s->extra);
}

void qcow2_snapshots_fini(struct qcow2 *q)
{
	for (u32 i = 0; i < q->n_snapshots; i++)
		qcow2_snapshot_fini(&q->snapshots[i]);
	free(q->snapshots);
}

struct qcow2_snapshot *qcow2_find_snapshot(struct qcow2 *q, const char *id_or_name)
{
	for (u32 i = 0; i < q->n_snapshots; i++) {
		if (strcmp(q->snapshots[i].id, id_or_name) == 0)
			return &q->snapshots[i];
	}
	for (u32 i = 0; i < q->n_snapshots; i++) {
		if (strcmp(q->snapshots[i].name, id_or_name) == 0)
			return &q->snapshots[i];
	}
	return NULL;
}

int qcow2_snapshots(struct blk *b, struct img_snapshot **out, unsigned *out_n, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	struct img_snapshot *list = NEW_ARRAY(struct img_snapshot, q->n_snapshots + (size_t)1);

	(void)err;
	for (u32 i = 0; i < q->n_snapshots; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];

		list[i] = (struct img_snapshot){
			.id = str_dup(s->id),
			.name = str_dup(s->name),
			.size = s->size,
			.date_ns = s->date_s * NSEC_PER_SEC + s->date_ns,
			.vm_state_bytes = s->vm_state_bytes,
			.vm_clock_ns = s->vm_clock_ns,
		};
	}
	*out = list;
	*out_n = q->n_snapshots;
	return 0;
}
