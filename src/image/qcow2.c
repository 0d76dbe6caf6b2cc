/*
 * qcow2: QEMU's format, versions 2 and 3 (QEMU, docs/interop/qcow2.txt).
 *
 *     header --- L1 table --- L2 tables --- clusters of data, plain or compressed
 *            |-- refcount table --- refcount blocks: how often each cluster of the file is used
 *            |-- snapshots, each with an L1 table of its own
 *            '-- extensions: bitmaps, names, ...
 *
 * This file opens and closes images and lets requests in. The rest:
 *
 *     qcow2_header.c    the header and its extensions       qcow2_snapshot.c  snapshots
 *     qcow2_map.c       where a guest offset is             qcow2_info.c      for a person
 *     qcow2_cache.c     slices of tables, cached
 *     qcow2_read.c      reading                             qcow2_refcount.c  which clusters are used
 *     qcow2_write.c     writing                             qcow2_flush.c     the order of writes
 *     qcow2_compress.c  writing compressed clusters         qcow2_check.c, qcow2_rebuild.c  repair
 *     qcow2_zero.c      zeroes and discards                 qcow2_create.c    new images
 *     qcow2_pack.c      compressed clusters               qcow2_crypt.c     encryption
 */
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_bitmap.h"
#include "image/qcow2_tree.h"

/* --- requests come and go --- */

u32 qcow2_enter(struct qcow2 *q)
{
	while (q->is_exclusive)
		co_queue_wait(&q->entrance);
	q->n_users[q->generation]++;
	return q->generation;
}

void qcow2_leave(struct qcow2 *q, u32 generation)
{
	q->n_users[generation]--;
	if (q->is_exclusive)
		co_queue_wake_all(&q->entrance);
}

void qcow2_begin_alone(struct qcow2 *q)
{
	while (q->is_exclusive)
		co_queue_wait(&q->entrance);
	q->is_exclusive = true;
	while (q->n_users[0] + q->n_users[1])
		co_queue_wait(&q->entrance);
	/* A flush leaves before it ends. */
	co_lock(&q->lock);
	co_unlock(&q->lock);
}

void qcow2_end_alone(struct qcow2 *q)
{
	q->is_exclusive = false;
	co_queue_wake_all(&q->entrance);
}

int qcow2_corrupt(struct qcow2 *q)
{
	if (q->is_broken)
		return -EIO;
	q->is_broken = true;
	if (q->node.blk.is_readonly || q->version < 3)
		return -EIO;
	q->incompatible |= QCOW2_INCOMPAT_CORRUPT;
	q->header.incompatible = be64_of(q->incompatible);
	qcow2_header_write_fields(q); /* nothing more can be done if that fails, too */
	return -EIO;
}

/* --- opening --- */

static bool qcow2_is_text(const char *s)
{
	json_t *j = json_string(s);
	bool is_text = j;

	json_decref(j);
	return is_text;
}

static int qcow2_open_named(struct qcow2 *q, const struct img_open_options *o,
			    const struct img_child *child, struct blk **out, struct err *err)
{
	int r;

	if (!qcow2_is_text(child->name))
		return err_set(err, -EINVAL, "the name is not UTF-8");
	r = img_open_child(o, child, out, err);
	if (r == 0)
		blk_node_add_child(&q->node, *out);
	return r;
}

static int qcow2_open_backing(struct qcow2 *q, const struct img_open_options *o, struct err *err)
{
	AUTO(free) char *format = qcow2_ext_string(q, QCOW2_EXT_BACKING_FORMAT);
	const struct img_child child = {
		.role = IMG_BACKING,
		.name = q->backing_name,
		.format = format && qcow2_is_text(format) ? format : NULL,
	};

	q->is_alone = o->is_alone;
	if (!q->backing_name || o->is_alone)
		return 0;
	if (qcow2_open_named(q, o, &child, &q->backing, err) < 0)
		return err_wrap(err, "backing file");
	return 0;
}

static int qcow2_open_data(struct qcow2 *q, const struct img_open_options *o, struct err *err)
{
	AUTO(free) char *name = qcow2_ext_string(q, QCOW2_EXT_DATA_FILE);
	const struct img_child child = {
		.role = IMG_DATA, .name = name, .format = "raw", .is_writable = !o->is_readonly};

	q->data = q->file;
	if (!q->has_data_file)
		return 0;
	if (!name)
		return err_set(err, -EINVAL, "it doesn't name its data file");
	if (qcow2_open_named(q, o, &child, &q->data, err) < 0)
		return err_wrap(err, "data file");
	return 0;
}

static int qcow2_read_l1(struct qcow2 *q, u64 offset, u32 entries, struct err *err)
{
	int r;

	q->l1 = alloc_try(entries ? entries : 1, sizeof(*q->l1));
	if (!q->l1)
		return err_set(err, -ENOMEM, "no memory for the L1 table");
	q->l1_offset = offset;
	q->l1_entries = entries;
	r = qcow2_read_table(q, offset, q->l1, entries);
	return r < 0 ? err_errno(err, r, "cannot read the L1 table") : 0;
}

/* The disk itself, or as a snapshot has it. */
static int qcow2_choose_contents(struct qcow2 *q, const char *snapshot, struct err *err)
{
	struct qcow2_snapshot *s;

	q->node.blk.size = align_down(be64_get(q->header.size), BLK_SECTOR);
	if (!snapshot)
		return qcow2_read_l1(q, be64_get(q->header.l1_offset),
				     be32_get(q->header.l1_entries), err);
	s = qcow2_find_snapshot(q, snapshot);
	if (!s)
		return err_set(err, -ENOENT, "there is no snapshot '%s'", snapshot);
	q->node.blk.size = align_down(s->size, BLK_SECTOR);
	return qcow2_read_l1(q, s->l1_offset, s->l1_entries, err);
}

static int qcow2_make_caches(struct qcow2 *q, const struct img_open_options *o, struct err *err)
{
	u64 all = q->l1_entries * q->cluster_size;
	u64 bytes = MIN(o->cache_bytes ? o->cache_bytes : QCOW2_CACHE_L2, all);

	if (qcow2_cache_init(&q->l2, q->file, q->slice_bytes, bytes) < 0)
		return err_set(err, -ENOMEM, "no memory for a metadata cache of %lu bytes", bytes);
	return 0;
}

/* With lazy refcounts, after a crash: counts anew. */
static int qcow2_mend_dirty(struct qcow2 *q, struct err *err)
{
	struct img_check c = {0};

	q->was_dirty = q->incompatible & QCOW2_INCOMPAT_DIRTY;
	if (!q->was_dirty)
		return 0;
	if (qcow2_check_alone(q, IMG_REPAIR_LEAKS | IMG_REPAIR_ALL, &c, err) < 0)
		return err_wrap(err, "it was not closed properly");
	if (c.corruptions)
		return err_set(err, -EIO, "it was not closed properly, and can't be mended");
	return 0;
}

/* What writing needs beyond reading. */
static int qcow2_prepare_writing(struct qcow2 *q, struct err *err)
{
	u64 known = q->autoclear & QCOW2_AUTOCLEAR_KNOWN;

	if (q->node.blk.is_readonly)
		return 0;
	if (q->file->block_size > q->slice_bytes)
		return err_set(err, -ENOTSUP,
			       "its clusters are smaller than the file's blocks of %u",
			       q->file->block_size);
	if ((q->l1_entries && q->l1_offset >= q->file->size) ||
	    be64_get(q->header.refcount_table_offset) >= q->file->size)
		return err_set(err, -EINVAL, "its tables lie behind the file's end");
	q->l1_dirty = alloc_try(q->l1_entries / 64 + (size_t)1, 1);
	if (!q->l1_dirty)
		return err_set(err, -ENOMEM, "no memory for the L1 table");
	q->is_broken = q->incompatible & QCOW2_INCOMPAT_CORRUPT;
	q->is_lazy = q->compatible & QCOW2_COMPAT_LAZY;
	if (qcow2_refcounts_load(q, err) < 0)
		return err->code;
	if (!q->is_broken && qcow2_mend_dirty(q, err) < 0)
		return err->code;
	if (!q->is_broken && qcow2_set_autoclear(q, known) < 0)
		return err_set(err, -EIO, "cannot write the header");
	return q->is_broken ? 0 : qcow2_bitmaps_begin(q, err);
}

static int qcow2_check_blocks(struct qcow2 *q, struct err *err)
{
	struct blk *b = &q->node.blk;

	b->block_size = MAX(b->block_size, q->data->block_size);
	if (b->size % b->block_size)
		return err_set(err, -ENOTSUP,
			       "its size is not a multiple of the file's blocks of %u",
			       b->block_size);
	return 0;
}

static int qcow2_load(struct qcow2 *q, const struct img_open_options *o, struct err *err)
{
	int r = qcow2_header_read(q, err);

	if (r == 0)
		r = qcow2_crypt_open(q, o, err);
	if (r == 0)
		r = qcow2_snapshots_read(q, err);
	if (r == 0)
		r = qcow2_bitmaps_read(q, err);
	if (r == 0)
		r = qcow2_choose_contents(q, o->snapshot, err);
	if (r == 0)
		r = qcow2_make_caches(q, o, err);
	if (r == 0)
		r = qcow2_open_data(q, o, err);
	if (r == 0)
		r = qcow2_open_backing(q, o, err);
	if (r == 0)
		r = qcow2_check_blocks(q, err);
	if (r == 0)
		r = qcow2_prepare_writing(q, err);
	return r;
}

/* --- closing --- */

/* All that isn't on the disk yet; the image is clean afterwards. */
static int qcow2_finish(struct qcow2 *q)
{
	int r = qcow2_settle(q);

	if (r == 0 && !q->is_broken)
		r = qcow2_tree_mend(q);
	if (r == 0 && !q->is_broken)
		r = qcow2_bitmaps_store(q);
	if (r == 0)
		r = qcow2_settle(q);
	if (r == 0 && !q->is_broken)
		r = qcow2_set_incompatible(q, q->incompatible & ~QCOW2_INCOMPAT_DIRTY);
	return r;
}

static void qcow2_close(struct blk_node *n)
{
	struct qcow2 *q = qcow2_of(&n->blk);

	/* Nobody is there to be told that it failed; what was flushed is safe. */
	if (q->is_loaded && !n->blk.is_readonly)
		qcow2_finish(q);
	qcow2_refcounts_fini(q);
	qcow2_cache_fini(&q->l2);
	qcow2_pack_fini(q);
	qcow2_bitmaps_fini(q);
	qcow2_snapshots_fini(q);
	qcow2_crypt_fini(q);
	qcow2_header_fini(q);
	free(q->l1);
	free(q->l1_dirty);
	free(q->packed_tail);
}

/* --- the format --- */

static struct blk *qcow2_backing(struct blk *b)
{
	return qcow2_of(b)->backing;
}

static int qcow2_children(struct blk *b, int (*each)(void *opaque, const struct img_child *child),
			  void *opaque)
{
	struct qcow2 *q = qcow2_of(b);
	AUTO(free) char *format = qcow2_ext_string(q, QCOW2_EXT_BACKING_FORMAT);
	AUTO(free) char *data = qcow2_ext_string(q, QCOW2_EXT_DATA_FILE);
	struct img_child child = {.role = IMG_BACKING, .name = q->backing_name, .format = format};
	int r = 0;

	if (q->backing_name)
		r = each(opaque, &child);
	child = (struct img_child){
		.role = IMG_DATA, .name = data, .format = "raw", .is_writable = !b->is_readonly};
	if (r == 0 && q->has_data_file && data)
		r = each(opaque, &child);
	return r;
}

static const struct blk_node_ops qcow2_node_ops = {
	.read = qcow2_read,
	.write = qcow2_write,
	.write_zeroes = qcow2_write_zeroes,
	.discard = qcow2_discard,
	.flush = qcow2_flush,
	.status = qcow2_status,
	.resize = qcow2_resize,
	.close = qcow2_close,
};

static const struct image_ops qcow2_image_ops = {
	.format = &img_qcow2,
	.info = qcow2_info,
	.children = qcow2_children,
	.key = qcow2_key,
	.backing = qcow2_backing,
	.check = qcow2_check,
	.set_backing = qcow2_set_backing,
	.make_empty = qcow2_make_empty,
	.write_compressed = qcow2_write_packed,
	.bitmaps = qcow2_bitmaps,
	.bitmap_add = qcow2_bitmap_add,
	.bitmap_remove = qcow2_bitmap_remove,
	.bitmap_clear = qcow2_bitmap_clear,
	.bitmap_enable = qcow2_bitmap_enable,
	.bitmap_merge = qcow2_bitmap_merge,
	.bitmap_status = qcow2_bitmap_status,
	.snapshots = qcow2_snapshots,
	.snapshot_create = qcow2_snapshot_create,
	.snapshot_apply = qcow2_snapshot_apply,
	.snapshot_delete = qcow2_snapshot_delete,
};

int qcow2_open_borrowed(struct blk *file, const struct img_open_options *o, struct qcow2 **out,
			struct err *err)
{
	struct qcow2 *q = NEW(struct qcow2);

	if (blk_node_init(&q->node, &qcow2_node_ops, o->loop, "qcow2", err) < 0) {
		free(q);
		return err->code;
	}
	q->node.blk.image = &qcow2_image_ops;
	q->node.blk.is_readonly = o->is_readonly || o->snapshot;
	q->file = file;
	q->workers = o->workers;
	list_init(&q->changes);
	co_mutex_init(&q->lock);
	co_mutex_init(&q->pack_lock);
	co_queue_init(&q->changed);
	co_queue_init(&q->entrance);
	co_queue_init(&q->unpack_done);
	if (qcow2_load(q, o, err) < 0) {
		blk_free(&q->node.blk);
		return err->code;
	}
	q->is_loaded = true;
	*out = q;
	return 0;
}

int qcow2_close_borrowed(struct qcow2 *q)
{
	int r = q->node.blk.is_readonly ? 0 : qcow2_finish(q);

	blk_free(&q->node.blk);
	return r;
}

static int qcow2_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		      struct err *err)
{
	struct qcow2 *q;

	if (qcow2_open_borrowed(file, o, &q, err) < 0)
		return err->code;
	blk_node_add_child(&q->node, file);
	*out = &q->node.blk;
	return 0;
}

static int qcow2_probe(const struct img_probe *p)
{
	if (p->head_bytes < QCOW2_V2_HEADER_BYTES || be32_load(p->head) != QCOW2_MAGIC)
		return 0;
	return be32_load(p->head + 4) >= 2 ? 100 : 50;
}

const struct img_format img_qcow2 = {
	.name = "qcow2",
	.description = "QEMU copy-on-write, versions 2 and 3",
	.probe = qcow2_probe,
	.open = qcow2_open,
	.create = qcow2_create,
	.measure = qcow2_measure,
	.create_options = qcow2_create_options,
	.can_back = true,
	.can_compress = true,
};
