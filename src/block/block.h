/*
 * Disks: asynchronous reads and writes of whole sectors.
 *
 * A struct blk is a disk as a device sees it. Requests are structs of the caller's, usually in a
 * pool sized when the device is set up: nothing is allocated on the way. A round is any number of
 * blk_submit followed by one blk_kick, which hands them to the host together; done() is called
 * once for each, in any order, from the loop, never from inside blk_submit or blk_kick.
 *
 *     device: blk_submit(r1) blk_submit(r2) blk_kick ---> one io_uring_enter
 *     loop:   <--- eventfd: done(r2, 0), done(r1, -EIO), round()
 *
 * Requests that overlap in time have no order among them; a flush covers the writes whose done()
 * was called before it was submitted, and is done when they are on stable storage.
 *
 * Threads: a disk belongs to one loop; everything here is for its thread, or for before it runs.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/uio.h>

#include "base/base.h"
#include "base/list.h"
#include "base/loop.h"

struct blk;
struct err;

#define BLK_SECTOR    512u
#define BLK_SIZE_MAX  ((u64)1 << 62)    /* no disk and no file is larger */
#define BLK_IOV_MAX   1024u             /* pieces of one request (IOV_MAX) */
#define BLK_BYTES_MAX ((u64)0x7ffff000) /* of one request (MAX_RW_COUNT of Linux) */

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_DISCARD,      /* the contents no longer matter; a hint, which may have no effect */
	BLK_WRITE_ZEROES, /* the contents are zero afterwards */
};

struct blk_request {
	/* The caller's, before blk_submit; until done() the disk's. */
	enum blk_op op;
	bool is_fua;       /* BLK_WRITE: done when on stable storage */
	bool may_unmap;    /* BLK_WRITE_ZEROES: the space may be given back */
	u64 offset, bytes; /* multiples of block_size, within size; 0 for a flush */
	struct iovec *iov; /* read, write: bytes long together; the disk may change the array */
	u32 n_iov;
	void (*done)(struct blk_request *r, int result); /* 0 or a negative errno */

	/* The disk's. */
	struct list node;
	u64 progress; /* bytes done by earlier, short, transfers */
	void *waiter; /* io.h */
	void *extra;  /* a bounce buffer, a layer's own request */
	void *engine; /* who carries its step out */
	int result;
	u8 step;
};

/* What a stretch of a disk is: for copies, maps and jobs. */
struct blk_status {
	u64 bytes; /* that are the same, from where was asked; at least 1, at most what was asked for */
	bool is_data;      /* false: it reads as zeros, or is_allocated is false */
	bool is_zero;      /* it reads as zeros */
	bool is_allocated; /* this layer decides; else what is beneath it does */
	bool is_compressed;
	bool has_offset; /* the bytes are at offset in the layer's (data) file, as they are */
	u64 offset;
	unsigned
		depth; /* how many layers beneath the one that was asked; the bottom's by default */
};

/* For the makers of disks; users call the functions below. */
struct blk_ops {
	void (*submit)(struct blk *b, struct blk_request *r);
	void (*kick)(struct blk *b);
	void (*drain)(struct blk *b);
	void (*free)(struct blk *b);
	int (*status)(struct blk *b, u64 offset, u64 bytes,
		      struct blk_status *out);                   /* NULL: data */
	int (*resize)(struct blk *b, u64 size, struct err *err); /* NULL: it can't be */
};

struct image_ops; /* image/image.h */

struct blk {
	const struct blk_ops *ops;
	const struct image_ops *image; /* what an image format can do beyond; or NULL */
	struct loop *loop;
	const char *engine; /* static: "io_uring", "threads", "overlay", "qcow2" */
	u64 size;           /* bytes, a multiple of block_size */
	u32 block_size;     /* granularity of requests: 512, or 4096 for such disks */
	bool is_readonly;
	bool is_container;           /* an image's file: reads behind the end give zeros ... */
	bool is_growable;            /* ... and writes make it larger */
	void (*round)(void *opaque); /* blk_set_round; or NULL */
	void *round_opaque;
	struct loop_task kick_task; /* blk_kick_later */
};

/* By its maker, first; b is zeroed. */
void blk_init(struct blk *b, const struct blk_ops *ops, struct loop *loop, const char *engine);

/* How far reads, or else writes, may reach. */
static inline u64 blk_limit(const struct blk *b, bool is_read)
{
	return (is_read ? b->is_container : b->is_growable) ? BLK_SIZE_MAX : b->size;
}

void blk_submit(struct blk *b, struct blk_request *r);
void blk_kick(struct blk *b);
/* Before the loop waits again: for those who don't know whose round it is. */
void blk_kick_later(struct blk *b);
void blk_set_round(struct blk *b, void (*round)(void *opaque), void *opaque);
/* Waits for everything submitted; all done() have been called on return. */
void blk_drain(struct blk *b);
/* Drains; NULL is fine. In a coroutine it waits for the loop first. */
void blk_free(struct blk *b);
AUTO_FN(blk_free, struct blk *)

/*
 * What the stretch from offset on is; bytes > 0, inside the disk. May wait, as io.h says.
 */
int blk_status(struct blk *b, u64 offset, u64 bytes, struct blk_status *out);
/*
 * Another size, a multiple of block_size: what is new reads as zeros; what is cut off is lost, at
 * which nothing may be out there. May wait. -ENOTSUP where it can't be.
 */
int blk_resize(struct blk *b, u64 size, struct err *err);

/* --- makers: they take the descriptor over on success, and open nothing --- */

enum blk_engine {
	BLK_ENGINE_AUTO,  /* io_uring, or threads where there is none */
	BLK_ENGINE_URING, /* refused where there is none */
	BLK_ENGINE_THREADS,
};

/*
 * Engines made ahead, for a process that is going to be confined and can make neither rings nor
 * threads then. n_now are needed for the disks that there will be at once; up to n_later more are for
 * disks that come later, and fewer of them where there is no io_uring. A disk gives its engine back.
 */
struct blk_engines;
struct blk_raw_options;
int blk_engines_new(struct loop *loop, unsigned n_now, unsigned n_later,
		    const struct blk_raw_options *o, struct blk_engines **out, struct err *err);
void blk_engines_free(struct blk_engines *p); /* after the disks; NULL is fine */
AUTO_FN(blk_engines_free, struct blk_engines *)

struct blk_raw_options {
	bool is_readonly;
	/* The file of an image, not a disk's contents: of any size, 0 too; behind its end there are zeros, and
	 * (in a regular file) writes make it larger. */
	bool is_container;
	bool is_unsafe; /* flushes are done at once: what was written is the host's to keep */
	/*
	 * Its locks end with it, whoever else has the same open file: a process that was given it, or a ring, which
	 * lets go of it only some time after its end.
	 */
	bool owns_lock;
	/* A regular file that is filled: space for what is written is taken ahead, and given back if unused. */
	bool reserves;
	enum blk_engine engine;
	struct blk_engines *engines; /* take one of these (borrowed); NULL: make one */
	/*
	 * Of engines made ahead: they may have two rings together, which cost a fraction. Then a drain of one
	 * disk may call done() of another's requests as well.
	 */
	bool has_shared_ring;
	/* Run first by each thread of the threads engine, to confine itself; or NULL. */
	int (*enter_thread)(void *opaque, struct err *err);
	void *enter_opaque;
};

/*
 * A regular file or block device whose bytes are the disk's. Opened with O_DIRECT or without
 * (cache=none, cache=writeback): that is the descriptor's matter, and so are its locks.
 */
int blk_raw_new(struct loop *loop, int fd, const struct blk_raw_options *o, struct blk **out,
		struct err *err);

/*
 * A temporary layer: reads come from base (taken over on success) until written; writes go to
 * fd, an empty file or memfd as large as need be, and are forgotten with it. base is read only.
 * o is the file's: its engine, and how its threads confine themselves; it is written in any case.
 */
int blk_overlay_new(struct loop *loop, struct blk *base, int fd, const struct blk_raw_options *o,
		    struct blk **out, struct err *err);

/* --- for the launcher --- */

/*
 * Locks the open file (OFD lock, which dies with its last descriptor): shared for readers, else
 * exclusive. -EBUSY, "in use by another VM", when someone else holds it so.
 */
int blk_lock_fd(int fd, bool is_readonly, struct err *err);
/*
 * The same for one of several who use it at once and know that (share=on): up to 256 of them may write. Readers
 * and writers who don't are kept out by these.
 */
int blk_lock_fd_together(int fd, bool is_readonly, struct err *err);
/* At once, whoever else still holds the file open: a ring lets go of it only some time after its end. */
void blk_unlock_fd(int fd);

#endif
