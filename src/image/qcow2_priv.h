/*
 * qcow2's parts among themselves. See qcow2.c for what an image is made of, qcow2_flush.c for the order
 * in which it is written. For qcow2*.c only.
 *
 * Threads: the loop's. Requests run in coroutines; "may wait" says where others run meanwhile.
 */
#ifndef IMAGE_QCOW2_PRIV_H
#define IMAGE_QCOW2_PRIV_H

#include "base/co.h"
#include "block/node.h"
#include "image/image.h"
#include "image/packer.h"
#include "image/qcow2_wire.h"

/* Limits; QEMU has the same. */
#define QCOW2_MIN_BITS       9
#define QCOW2_MAX_BITS       21
#define QCOW2_L1_MAX         (32 * MIB) /* bytes */
#define QCOW2_REFTABLE_MAX   (8 * MIB)  /* bytes */
#define QCOW2_SNAPSHOTS_MAX  65536u
#define QCOW2_NAME_MAX       1023u
#define QCOW2_EXTENSIONS_MAX 64u
#define QCOW2_HOST_END       ((u64)1 << 56) /* what an entry can point at ends here */

#define QCOW2_SLICE_MAX 4096u /* of a table, in a cache */
#define QCOW2_CACHE_L2  (32 * MIB)
#define QCOW2_CACHE_MIN                                                                            \
	256u /* slices: more than there are requests, with what each of them dirties */

/* --- caches of slices of L2 tables and refcount blocks: qcow2_cache.c --- */

struct qcow2_slice {
	struct list lru;
	struct qcow2_slice *next; /* of the same hash */
	u64 offset;               /* in the file; 0: free */
	u32 pins;
	bool is_dirty, is_loading;
	u8 *data;
};

struct qcow2_cache {
	struct blk *file;
	u32 n, bytes, n_dirty;
	bool is_unordered; /* dirty ones may be written at any time */
	u32 hash_bits;
	struct qcow2_slice **hash;
	struct qcow2_slice *slices;
	u8 *memory;
	struct list lru; /* the clean ones, the least recently used first */
	struct list dirty;
	struct co_queue loaded;
};

int qcow2_cache_init(struct qcow2_cache *c, struct blk *file, u32 slice_bytes, u64 cache_bytes);
void qcow2_cache_fini(struct qcow2_cache *c); /* what is dirty is lost */
/* What is at offset, a multiple of the slice's bytes, if it is there: until somebody waits. */
struct qcow2_slice *qcow2_cache_peek(struct qcow2_cache *c, u64 offset);
/* The same, read if need be, pinned; may wait. The refcounts' dirty ones are written to make room. */
int qcow2_cache_get(struct qcow2_cache *c, u64 offset, struct qcow2_slice **out);
void qcow2_cache_put(struct qcow2_cache *c, struct qcow2_slice *s); /* unpins */
void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_slice *s);
int qcow2_cache_write(struct qcow2_cache *c); /* all that is dirty; may wait */
/* Slices within the range are forgotten; none is pinned but by who reads it, for whom this waits. */
void qcow2_cache_forget(struct qcow2_cache *c, u64 offset, u64 bytes);

/* --- the image --- */

struct qcow2_range {
	u64 offset, bytes;
};

struct qcow2_ranges { /* in a file, by clusters */
	struct qcow2_range *v;
	u32 n, capacity;
};

struct qcow2_ext {
	u32 type, bytes;
	u8 *data; /* owned */
};

struct qcow2_snapshot {
	u64 l1_offset;
	u32 l1_entries;
	u32 date_s, date_ns;
	u64 vm_clock_ns, vm_state_bytes, size;
	char *id, *name;
	u8 *extra; /* as it is in the table, with the two fields above at its head */
	u32 extra_bytes;
};

/* A change of guest clusters that is being made: others of the same clusters wait. */
struct qcow2_change {
	struct list node;
	u64 start, end; /* guest offsets, multiples of a cluster */
};

struct img_crypt;
struct luks_header;
struct qcow2_bitmap;
struct secret;

#define QCOW2_UNPACKED 4 /* clusters kept that were decompressed */

struct qcow2_unpacked {
	u64 entry; /* the L2 entry that it came from; 0: none */
	u64 used;  /* when */
	bool is_loading;
	u32 pins;
	u8 *data;
};

struct qcow2 {
	struct blk_node node;              /* first */
	struct blk *file, *data, *backing; /* data: where clusters are: file, or another */
	struct work_pool *workers;         /* borrowed; or NULL */
	bool is_alone;                     /* its backing wasn't opened */
	bool is_loaded;                    /* opening went well */
	bool was_dirty;                    /* when it was opened */
	bool has_data_file, is_data_raw;
	bool must_count; /* counts and flags may contradict each other: qcow2_tree_mend */
	bool is_broken;  /* marked corrupt, by us or before: nothing is written */

	struct qcow2_header_wire header; /* as it is in the file; version 2: the rest is zeros */
	u32 version, header_bytes;
	u8 *header_rest; /* what a longer header has behind header; or NULL */
	struct qcow2_ext *ext;
	u32 n_ext;
	char *backing_name; /* NULL: none */
	u64 header_end; /* what the file's header uses, with extensions and name; 0: none is there */
	u64 incompatible, compatible, autoclear;
	u8 compression;

	struct luks_header *luks; /* qcow2_crypt.c; NULL: it isn't encrypted */
	struct qcow2_range luks_at;
	struct secret *key;
	struct img_crypt *crypt; /* NULL: nobody gave the passphrase */

	u32 cluster_bits, slice_bytes, refcount_order;
	u64 cluster_size;
	u32 entry_bytes;   /* of an L2 entry: 8, or 16 with subclusters */
	u32 l2_bits;       /* entries of an L2 table */
	u32 slice_entries; /* L2 entries of a slice */
	u32 sub_bits;      /* a subcluster's size; a cluster's where there are none */
	bool has_subclusters;

	u64 *l1; /* host order */
	u32 l1_entries;
	u64 l1_offset;
	u8 *l1_dirty; /* a byte per sector; NULL: nothing is written */
	bool is_l1_dirty;
	struct qcow2_cache l2;

	u64 *reftable; /* host order */
	u32 reftable_entries;
	u64 reftable_offset;
	u8 *reftable_dirty; /* a byte per sector */
	bool is_reftable_dirty;
	struct qcow2_cache rc;
	u64 free_hint;               /* no cluster before this one (an index) is free */
	u64 virgin_from;             /* nothing was written behind this offset: there are zeros */
	struct qcow2_ranges dropped; /* no longer referred to, but maybe still by what is on disk */
	struct qcow2_ranges stable;  /* nor there: free when nobody uses them any more */

	struct co_mutex lock; /* allocation, L1, links into L2, writing metadata back */
	struct list changes;  /* of struct qcow2_change */
	struct co_queue changed;
	bool is_unsynced; /* something was allocated since the file was synced */
	bool is_lazy;     /* refcounts are written when it is closed */
	u32 n_users[2];   /* requests that run, by generation */
	u32 generation;
	bool is_exclusive;
	struct co_queue entrance;

	struct qcow2_snapshot *snapshots;
	u32 n_snapshots;
	u64 snapshots_bytes; /* of the table */

	struct qcow2_bitmap *bitmaps; /* qcow2_bitmap.c */
	u32 n_bitmaps, n_recording;
	u64 bitmaps_offset, bitmaps_bytes; /* of the directory on disk */

	struct qcow2_unpacked unpacked[QCOW2_UNPACKED];
	u64 unpack_clock;
	struct co_queue unpack_done;
	struct img_packer *packers; /* idle ones */
	struct co_mutex pack_lock;  /* all below */
	u64 packed_end;  /* where the next compressed cluster goes in the one begun; 0: none */
	u8 *packed_tail; /* what of packed_end's block is written */
};

static inline struct qcow2 *qcow2_of(struct blk *b)
{
	return container_of(b, struct qcow2, node.blk);
}

static inline u64 qcow2_cluster_of(const struct qcow2 *q, u64 offset)
{
	return align_down(offset, q->cluster_size);
}

static inline u64 qcow2_table_span(const struct qcow2 *q) /* guest bytes of an L2 table */
{
	return (u64)1 << (q->l2_bits + q->cluster_bits);
}

/* L1 entries that a disk of this size needs. */
static inline u64 qcow2_l1_needed(const struct qcow2 *q, u64 size)
{
	u64 span = qcow2_table_span(q);

	return size / span + (size % span != 0);
}

/* --- requests come and go: qcow2.c --- */

u32 qcow2_enter(struct qcow2 *q); /* may wait; returns what qcow2_leave wants */
void qcow2_leave(struct qcow2 *q, u32 generation);
/* Alone: no request runs, and none will until qcow2_end_alone. Outside of coroutines nothing is out anyway. */
void qcow2_begin_alone(struct qcow2 *q);
void qcow2_end_alone(struct qcow2 *q);
/* The image is wrong: marks it so if it may be written. Returns -EIO. May wait. */
int qcow2_corrupt(struct qcow2 *q);

/* --- the header: qcow2_header.c --- */

int qcow2_header_read(struct qcow2 *q,
		      struct err *err); /* from file; checks all that it says by itself */
void qcow2_header_fini(struct qcow2 *q);
const struct qcow2_ext *qcow2_find_ext(const struct qcow2 *q, u32 type);
char *qcow2_ext_string(const struct qcow2 *q, u32 type); /* owned; NULL: there is none */
void qcow2_set_ext(struct qcow2 *q, u32 type, const void *data, u32 bytes); /* NULL: none of it */
/* The fixed fields, one sector. Not synced. */
int qcow2_header_write_fields(struct qcow2 *q);
/*
 * All of it, with extensions and the backing's name; refuses what doesn't fit into a cluster. A crash leaves the
 * old one or the new one; synced, if there was one.
 */
int qcow2_header_write(struct qcow2 *q, struct err *err);
/* Features in header and file; synced before and after. */
int qcow2_set_incompatible(struct qcow2 *q, u64 bits);
int qcow2_set_autoclear(struct qcow2 *q, u64 bits);
/* Reads a table of 64-bit entries to host order; what lies behind the file's end is zeros. */
int qcow2_read_table(struct qcow2 *q, u64 offset, u64 *to, u64 entries);
int qcow2_write_table(struct qcow2 *q, u64 offset, const u64 *from, u64 entries);
/* Can a table of so many bytes be there? */
bool qcow2_is_table(const struct qcow2 *q, u64 offset, u64 bytes);

/* --- where guest offsets are: qcow2_map.c --- */

enum qcow2_kind {
	QCOW2_NONE,      /* what is beneath shows */
	QCOW2_IS_ZERO,   /* zeros */
	QCOW2_DATA,      /* at host */
	QCOW2_IS_PACKED, /* compressed: host is the L2 entry */
};

struct qcow2_map {
	enum qcow2_kind kind;
	bool is_copied; /* its host cluster is only ours */
	bool has_host;  /* there is a host cluster, whatever the kind */
	u64 bytes;      /* from the offset on */
	u64 host;       /* of the offset, in data */
};

/* The run from offset on, not more than bytes, and of one slice of L2. May wait. */
int qcow2_map(struct qcow2 *q, u64 offset, u64 bytes, struct qcow2_map *out);
/* Where the L2 entry of offset is in its slice, and the slice's place; false: there is no table. */
bool qcow2_slice_of(const struct qcow2 *q, u64 offset, u64 *out_slice, u32 *out_index);
/* How many host bytes a compressed cluster has from *out_host on. */
u64 qcow2_packed_extent(const struct qcow2 *q, u64 entry, u64 *out_host);
int qcow2_status(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out);

/* --- encryption: qcow2_crypt.c --- */

int qcow2_crypt_open(struct qcow2 *q, const struct img_open_options *o, struct err *err);
void qcow2_crypt_fini(struct qcow2 *q);
const struct secret *qcow2_key(struct blk *b);
struct json_t *qcow2_crypt_describe(const struct qcow2 *q);
/*
 * Guest data at host in the (data) file, encrypted or not: as blk_node_pass and blk_node_pass_framed, but that
 * the frame's memory is spoilt. -ENOKEY without a passphrase.
 */
int qcow2_data_read(struct qcow2 *q, struct blk_request *r, u64 host, u64 bytes);
int qcow2_data_write(struct qcow2 *q, struct blk_request *r, u64 host, u64 bytes);
int qcow2_data_write_framed(struct qcow2 *q, struct blk_request *r, u64 host, u64 bytes, u8 *head,
			    u64 head_bytes, u8 *tail, u64 tail_bytes);

/* --- reading: qcow2_read.c --- */

int qcow2_read(struct blk_node *n, struct blk_request *r);
/* Into a buffer, without entering. May wait. */
int qcow2_read_buffer(struct qcow2 *q, u64 offset, u8 *to, u64 bytes);
bool qcow2_is_backed(const struct qcow2 *q, u64 offset); /* something may show from beneath */

/* --- compressed clusters: qcow2_pack.c --- */

/* The next bytes of r, a read, from inside the cluster. May wait. */
int qcow2_read_packed(struct qcow2 *q, struct blk_request *r, u64 entry, u64 inside, u64 bytes);
void qcow2_forget_unpacked(struct qcow2 *q);
enum img_packing qcow2_packing(const struct qcow2 *q);
void qcow2_pack_fini(struct qcow2 *q);
int qcow2_write_packed(struct blk *b, u64 offset, const void *buf, u64 bytes);

/* --- host clusters: qcow2_refcount.c; the lock is held, or we are alone; all may wait --- */

int qcow2_refcounts_load(struct qcow2 *q, struct err *err);
void qcow2_refcounts_fini(struct qcow2 *q);
u64 qcow2_refcount_max(const struct qcow2 *q);
u64 qcow2_refcounts_per_block(const struct qcow2 *q);
/* In the bytes of a refcount block or a slice. */
u64 qcow2_refcount_load(const struct qcow2 *q, const u8 *block, u64 index);
void qcow2_refcount_store(const struct qcow2 *q, u8 *block, u64 index, u64 count);
int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *out);
int qcow2_refcount_set(struct qcow2 *q, u64 cluster, u64 count);
/* Adds to the counts of all clusters that the range touches. */
int qcow2_refcount_add(struct qcow2 *q, u64 offset, u64 bytes, int delta);

/* n clusters in a row at most, one at least. is_virgin: they read as zeros in the file. */
int qcow2_alloc(struct qcow2 *q, u64 n, u64 *out_offset, u64 *out_n, bool *out_virgin);
int qcow2_alloc_row(struct qcow2 *q, u64 n, u64 *out_offset); /* all n in a row */
/* One user less; those without any are free at once: nothing on disk may refer to them. */
int qcow2_free_now(struct qcow2 *q, u64 offset, u64 bytes);
/* One user less, when that is known to the disk. Doesn't wait. */
void qcow2_drop(struct qcow2 *q, u64 offset, u64 bytes);
/* Would writing there damage the header or a table? */
bool qcow2_is_metadata(const struct qcow2 *q, u64 offset, u64 bytes);
/* May something that an image refers to be written there? Else it would harm a table, or blow up the file. */
bool qcow2_is_data(const struct qcow2 *q, u64 offset, u64 bytes);

/* --- writing metadata back: qcow2_flush.c --- */

int qcow2_flush(struct blk_node *n);
int qcow2_sync(struct qcow2 *q);       /* the files, nothing else */
int qcow2_write_back(struct qcow2 *q); /* lock held: metadata, in order; not synced at the end */
int qcow2_settle(struct qcow2 *q);     /* lock held and alone: all of it, synced, frees done */
int qcow2_settle_counts(
	struct qcow2 *q);             /* alone: counts that rose, and what was written, synced */
int qcow2_make_room(struct qcow2 *q); /* before a change, unlocked: caches have clean slices */
void qcow2_l1_set(struct qcow2 *q, u64 index, u64 entry);
int qcow2_begin_dirty(struct qcow2 *q); /* lock held: with lazy refcounts, before allocations */

/* --- changes: qcow2_write.c --- */

int qcow2_write(struct blk_node *n, struct blk_request *r);
/* The same, entered; r's op is BLK_WRITE. */
int qcow2_write_all(struct qcow2 *q, struct blk_request *r);
bool qcow2_is_changing(const struct qcow2 *q, u64 start, u64 end);
void qcow2_begin_change(struct qcow2 *q, struct qcow2_change *c, u64 start, u64 end); /* waits */
void qcow2_end_change(struct qcow2 *q, struct qcow2_change *c);
/* The lock is held: offset's L2 table is there, and only ours. */
int qcow2_own_table(struct qcow2 *q, u64 offset);
/* What an entry held is dropped. */
void qcow2_drop_entry(struct qcow2 *q, u64 entry);
/* Reads of what isn't allocated may show a backing file, even if it isn't open. */
bool qcow2_may_show_through(const struct qcow2 *q, u64 offset);

/* --- qcow2_zero.c --- */

int qcow2_write_zeroes(struct blk_node *n, struct blk_request *r);
int qcow2_discard(struct blk_node *n, struct blk_request *r);
int qcow2_zero_alone(struct qcow2 *q, u64 offset, u64 bytes); /* may be behind the disk's end */
/* Whole clusters behind the disk's end go, marks and all. */
int qcow2_zero_behind(struct qcow2 *q, u64 offset, u64 bytes);

/* --- snapshots: qcow2_snapshot.c --- */

int qcow2_snapshots_read(struct qcow2 *q, struct err *err);
void qcow2_snapshots_fini(struct qcow2 *q);
struct qcow2_snapshot *qcow2_find_snapshot(struct qcow2 *q, const char *id_or_name);
int qcow2_snapshots(struct blk *b, struct img_snapshot **out, unsigned *out_n, struct err *err);

int qcow2_snapshot_create(struct blk *b, const char *name, u64 date_ns, struct err *err);
int qcow2_snapshot_apply(struct blk *b, const char *id_or_name, struct err *err);
int qcow2_snapshot_delete(struct blk *b, const char *id_or_name, struct err *err);
void qcow2_snapshot_fini(struct qcow2_snapshot *s);

/* --- bitmaps: qcow2_bitmap.c --- */

/* A write, or whatever else changes the disk: known to all bitmaps that record. */
void qcow2_bitmaps_mark(struct qcow2 *q, u64 offset, u64 bytes);
static inline void qcow2_bitmaps_record(struct qcow2 *q, u64 offset, u64 bytes)
{
	if (unlikely(q->n_recording))
		qcow2_bitmaps_mark(q, offset, bytes);
}
int qcow2_bitmaps_resize(struct qcow2 *q, u64 size);

/* --- the rest --- */

/* Checks, and mends: the lock is held, we are alone, what was outstanding is written. */
int qcow2_check_alone(struct qcow2 *q, unsigned repair, struct img_check *out, struct err *err);
int qcow2_check(struct blk *b, unsigned repair, struct img_check *out, struct err *err);

int qcow2_resize(struct blk_node *n, u64 size, struct err *err);
int qcow2_set_backing(struct blk *b, const char *name, const char *format, struct err *err);
int qcow2_make_empty(struct blk *b, struct err *err);

int qcow2_measure(const struct img_create_options *o, struct blk *source, struct img_measure *out,
		  struct err *err);
int qcow2_create(struct blk *file, const struct img_create_options *o, struct err *err);
extern const struct img_option_info qcow2_create_options[];
/* The same; q's file stays the caller's when it is closed by qcow2_close_borrowed. */
int qcow2_open_borrowed(struct blk *file, const struct img_open_options *o, struct qcow2 **out,
			struct err *err);
int qcow2_close_borrowed(struct qcow2 *q);

int qcow2_info(struct blk *b, struct img_info *out, struct err *err);

#endif
