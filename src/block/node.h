/*
 * A disk whose requests are served by coroutines: what image formats, filters and network disks are
 * made of. Its code reads top to bottom and waits where it has to; requests overtake each other
 * where it waits, and so it locks (co.h) what may not change meanwhile.
 *
 *     struct qcow2 { struct blk_node node; ... };      first
 *
 *     static int qcow2_read(struct blk_node *n, struct blk_request *r)
 *     {
 *             while (r->progress < r->bytes) {
 *                     run = ...;                       where r->offset + r->progress is
 *                     result = blk_node_pass(n->file, r, host_offset, run);
 *             }
 *     }
 *
 * For image/ and this folder. Threads: the loop's.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include "block/block.h"

struct blk_node;
struct co_pool;

#define BLK_NODE_REQUESTS 64 /* served at a time; more wait */

/*
 * In a coroutine. A request is inside the disk; r->progress is 0 at first, and r->iov always
 * describes what is still to be transferred (blk_node_pass and the functions of iov.h see to
 * both). 0 or a negative errno. FUA is the node's matter: it flushes, unless does_fua is set.
 */
struct blk_node_ops {
	bool does_fua; /* write sees to r->is_fua itself */
	int (*read)(struct blk_node *n, struct blk_request *r);
	int (*write)(struct blk_node *n, struct blk_request *r);
	int (*write_zeroes)(struct blk_node *n, struct blk_request *r);
	int (*discard)(struct blk_node *n, struct blk_request *r); /* NULL: it has no effect */
	int (*flush)(struct blk_node *n);
	/* As blk_ops say; may wait. NULL: as there. */
	int (*status)(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out);
	int (*resize)(struct blk_node *n, u64 size, struct err *err);
	/* Outside of coroutines, in a drain that waits for more than children: NULL: there is no such thing. */
	void (*poll)(struct blk_node *n);
	/*
	 * By blk_free, outside of coroutines, nothing is out: writes back what isn't on disk yet (by io.h), and
	 * frees what the format added to the node, which may be half made. Node and children go afterwards.
	 */
	void (*close)(struct blk_node *n);
};

struct blk_node {
	struct blk blk; /* first */
	const struct blk_node_ops *ops;
	struct co_pool *pool;
	struct list waiting;  /* requests without a coroutine */
	struct list finished; /* those that ended in blk_submit */
	struct loop_task finish;
	bool is_submitting;
	u32 n_out;
	struct blk **children;
	unsigned n_children;
};

/*
 * n is zeroed, the first member of a struct from mem_alloc, which is the caller's to free if this
 * fails; afterwards blk_free does it. engine: the format's name, static. The caller sets size,
 * block_size if it isn't 512, is_readonly.
 */
int blk_node_init(struct blk_node *n, const struct blk_node_ops *ops, struct loop *loop,
		  const char *engine, struct err *err);
/* child is taken over: freed with the node, after close. It may be replaced while nothing is out. */
void blk_node_add_child(struct blk_node *n, struct blk *child);
void blk_node_remove_child(struct blk_node *n, struct blk *child); /* the caller's again */
/* Coroutines were woken by something else than a child: outside of all, after that. */
void blk_node_end_round(struct blk_node *n);

/*
 * The next bytes of a read or write r from or to child at offset, without a copy; offset and bytes are
 * multiples of child's block_size, else they are copied. Steps r on. 0 or a negative errno.
 */
int blk_node_pass(struct blk *child, struct blk_request *r, u64 offset, u64 bytes);
/*
 * A write of head, the next bytes of r, and tail, together where that can be: what is copied around a
 * request that doesn't fill a cluster. offset is head's; all are multiples of child's block_size. Steps r on.
 */
int blk_node_pass_framed(struct blk *child, struct blk_request *r, u64 offset, u64 bytes, u8 *head,
			 u64 head_bytes, u8 *tail, u64 tail_bytes);
/* The next bytes of a read are zeros, or what is in from. Steps r on. */
void blk_node_fill_zeros(struct blk_request *r, u64 bytes);
void blk_node_fill(struct blk_request *r, const u8 *from, u64 bytes);
/* The next bytes of a write, into to. Steps r on. For write-zeroes: zeros. */
void blk_node_fetch(struct blk_request *r, u8 *to, u64 bytes);

#endif
