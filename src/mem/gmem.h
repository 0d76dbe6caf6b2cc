/*
 * Guest-physical memory: what backs it, where the guest sees it, and how anyone may touch it.
 *
 * A struct gmem_block is a piece of host memory of a chosen backing. A struct gmem_map says which
 * blocks stand at which guest-physical addresses; it is immutable, and replaced whole when ROM
 * shadowing, SMRAM or hot-plug change it. Whatever isn't in the map is MMIO or nothing: the bus
 * decides.
 *
 * A guest-physical address becomes host memory only here: by checked copies (gmem_read,
 * gmem_write), or by a view, which says how long its pointer is good. Every write that does not
 * come from a vCPU goes through gmem_write or a writable view, whose release marks the pages dirty
 * and their decoded code stale before the guest can see the completion.
 *
 * Threads attach (gmem_attach_thread) before they touch guest memory; then everything here may be
 * called from any thread unless it says otherwise.
 */
#ifndef MEM_GMEM_H
#define MEM_GMEM_H

#include "base/base.h"
#include "base/list.h"

struct epoch;
struct err;
struct gmem;

enum gmem_backing {
	GMEM_ANON,    /* private anonymous: transparent huge pages and KSM work here */
	GMEM_MEMFD,   /* shareable with other processes: soft's direct engine, vhost-user */
	GMEM_HUGETLB, /* memfd of 2 MiB pages, all of them reserved when made */
	GMEM_FILE,    /* private mapping of a file: restore, clone */
};

#define GMEM_ALIGN (2 * MIB) /* of every block's host address, for huge pages */

/*
 * A piece of guest memory, mapped between guard regions. The fields are for the accelerators'
 * fast paths; nobody else touches them.
 */
struct gmem_block {
	const char *name; /* static: "ram", "bios" */
	u8 *hva;
	u64 size; /* bytes, a multiple of PAGE_SIZE */
	enum gmem_backing backing;
	int fd; /* of a memfd, hugetlb or file backing; else -1; the block's */

	u64 *dirty; /* atomic: a bit for each page written since the log was taken; or NULL */
	/*
	 * A word for each page where an accelerator keeps decoded code (NULL elsewhere), atomic:
	 * bit 0 says that code was decoded from the page; the rest counts how often such a page was
	 * written. Decoded code is good as long as the word it was decoded under stands.
	 */
	u32 *code;
	u32 pins;     /* atomic: views open on it */
	bool is_lazy; /* atomic: pages are filled in when they are touched (migrate/load.h) */

	struct gmem *gmem;
	struct list node; /* gmem's */
	void *mapping;    /* with the guards */
	u64 mapping_size;
};

#define GMEM_CODE_PRESENT 1u

struct gmem_range {
	gpa_t gpa;
	u64 size; /* bytes; both multiples of PAGE_SIZE */
	struct gmem_block *block;
	u64 offset; /* of the range's first byte in the block */
	bool is_readonly;
};

struct gmem_map {
	u32 n_ranges;
	struct gmem_range ranges[]; /* by address, none overlapping */
};

/* track_code: keep code words (soft). The epoch (borrowed) defers the freeing of old maps. */
struct gmem *gmem_new(struct epoch *epoch, bool track_code);
void gmem_free(struct gmem *g); /* with its blocks; no view may be open */
AUTO_FN(gmem_free, struct gmem *)

void gmem_attach_thread(struct gmem *g);
void gmem_detach_thread(struct gmem *g);

/* fd: for GMEM_FILE, taken over on success; else -1. Sizes come from people: a sentence in err. */
int gmem_block_new(struct gmem *g, const char *name, enum gmem_backing backing, u64 size, int fd,
		   struct gmem_block **out, struct err *err);

/*
 * While a block is lazy, what its pages hold comes from somewhere else as user space touches them. What
 * the kernel, or another process, is to reach is touched here before: views when they are opened.
 */
void gmem_block_set_lazy(struct gmem_block *b, bool is_lazy);
void gmem_block_touch(const struct gmem_block *b, u64 offset, u64 size);

/*
 * The next part of a block, from byte at on, that may hold anything but zeroes; false: none. Reading
 * only these keeps a memory file from growing by what was never written.
 */
bool gmem_block_next_data(const struct gmem_block *b, u64 at, u64 *out_from, u64 *out_to);

/* Bytes of a block that the host has given, as the kernel says; fd: of /proc/self/smaps. */
struct gmem_usage {
	u64 size, resident, huge, dirty;
};
int gmem_block_usage(const struct gmem_block *b, int smaps_fd, struct gmem_usage *out);

/* What of a block is backed by huge pages, as the kernel says (smaps), in bytes. */
u64 gmem_block_huge_bytes(const struct gmem_block *b);

/*
 * Publishes a new map of n ranges (copied; sorted here; overlaps are a bug of the caller). Returns
 * after every listener has accepted it: no vCPU uses the old one by then. One caller at a time.
 */
void gmem_set_map(struct gmem *g, const struct gmem_range *ranges, u32 n);

/* The map, for a thread inside gmem_enter ... gmem_leave; the blocks live as long as g. */
void gmem_enter(struct gmem *g);
void gmem_leave(struct gmem *g);
const struct gmem_map *gmem_current_map(const struct gmem *g);
/* The range that holds gpa, or NULL. The map must be held. */
const struct gmem_range *gmem_map_find(const struct gmem_map *m, gpa_t gpa);

/* Accelerators and vhost-user back ends: told of each change, on the changing thread. */
struct gmem_listener {
	/* Returns when nothing uses a range that old has and new hasn't. */
	void (*map_changed)(struct gmem_listener *l, const struct gmem_map *old,
			    const struct gmem_map *new);
	/* Dirty logging of b was switched. */
	void (*log_changed)(struct gmem_listener *l, struct gmem_block *b, bool is_on);
	/* Put what you know of b's dirty pages into b->dirty (NULL: it is there already). */
	void (*log_sync)(struct gmem_listener *l, struct gmem_block *b);
	/* b's log was cleared: catch the next write to each page again. */
	void (*log_cleared)(struct gmem_listener *l, struct gmem_block *b);
	/* Code words changed by a write that isn't a vCPU's. Any thread; of one listener at most. */
	void (*code_written)(struct gmem_listener *l);
	struct list node; /* gmem's */
};
void gmem_listen(struct gmem *g, struct gmem_listener *l); /* is told of the present map at once */
void gmem_unlisten(struct gmem *g, struct gmem_listener *l);

/* --- copies: all bytes or -EFAULT (nothing there, or read-only); a write may then be partial --- */

int gmem_read(struct gmem *g, gpa_t gpa, void *buf, u64 size) must_check;
int gmem_write(struct gmem *g, gpa_t gpa, const void *buf, u64 size) must_check;
int gmem_fill(struct gmem *g, gpa_t gpa, u8 byte, u64 size) must_check;
/* As gmem_write, into read-only ranges too: for loading ROMs before the guest runs. */
int gmem_write_rom(struct gmem *g, gpa_t gpa, const void *buf, u64 size) must_check;

/* --- views: contiguous host memory, good until released, whatever the guest does to the map --- */

struct gmem_view {
	u8 *ptr; /* guest memory: it may change while you look; copy before you check */
	u64 size;
	struct gmem_block *block;
	u64 offset; /* in the block */
	bool is_writable;
};

/*
 * The longest view at gpa of up to size bytes (at least one): 0, or -EFAULT when nothing is there,
 * or when it should be writable and isn't. Cut at the end of a range: ask again for the rest.
 */
int gmem_view_open(struct gmem *g, gpa_t gpa, u64 size, bool is_writable,
		   struct gmem_view *out) must_check;
void gmem_view_release(struct gmem_view *v); /* a writable one marks all its pages */

/* --- what writes leave behind --- */

/* Marks bytes of a block as written by something other than a vCPU: dirty log and code words. */
void gmem_block_written(struct gmem_block *b, u64 offset, u64 size);
/* Another process may have written anywhere: all decoded code is stale (DESIGN 9.7). */
void gmem_code_invalidate_all(struct gmem *g);

/*
 * The code word under which code may now be decoded from a page: marks the page first, so that a
 * later write is seen. is_new: the mark is new, and vCPUs may still hold write access in their
 * TLBs, which the caller must revoke before it reads the bytes.
 */
u32 gmem_code_mark(struct gmem_block *b, u64 page, bool *is_new);
/* A vCPU is about to write a page that holds code. False: it held none any more. */
bool gmem_code_written(struct gmem_block *b, u64 page);

/* Dirty log of all RAM. Starting marks nothing; take: copies a block's bits and clears them. */
int gmem_log_start(struct gmem *g, struct err *err);
void gmem_log_stop(struct gmem *g);
void gmem_log_take(struct gmem *g, struct gmem_block *b, u64 *bits); /* (pages + 63) / 64 words */

/* Gives pages back to the host; they read as zero. offset, size in whole pages. */
int gmem_discard(struct gmem *g, struct gmem_block *b, u64 offset, u64 size);

/*
 * The same for [ptr, ptr + size) of a view, which the guest says it doesn't need: whole pages of the
 * backing only, so that no huge page of a hugetlb file is cut and no file mapping falls to pieces.
 * Returns how many bytes went; what the map doesn't show any more is left alone. Open views on the
 * pages stay good, but lose the content: to the guest it is a write into its own buffer.
 */
i64 gmem_give_back(struct gmem *g, const void *ptr, u64 size);

#endif
