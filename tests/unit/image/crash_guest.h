/*
 * What a guest was promised about its disk, and whether an image keeps it.
 *
 * Each sector that a write covers holds the write's number, from its first byte to its last. A sector of the disk
 * that a cut leaves holds what was written last before a flush that was done, or anything that was written
 * since. A snapshot that was made holds what the disk held then; a bitmap that says that it is consistent
 * knows every sector that changed.
 */
#ifndef TESTS_UNIT_IMAGE_CRASH_GUEST_H
#define TESTS_UNIT_IMAGE_CRASH_GUEST_H

#include "block/block.h"

#define GUEST_STATES 64

struct guest_write {
	u64 first, n; /* sectors */
	enum {
		GUEST_DATA,
		GUEST_ZEROES,
		GUEST_DISCARD,
		GUEST_STATE
	} kind;           /* a discard may do nothing */
	const u64 *state; /* GUEST_STATE: what the sectors are */
	size_t begun;     /* the log's length then */
	u64 done;         /* the guest's time; UINT64_MAX: it isn't */
};

struct guest_flush {
	u64 begun;   /* the guest's time */
	size_t done; /* the log's length then; SIZE_MAX: it isn't */
};

struct guest_size {
	u64 bytes;
	size_t begun;
	u64 done;
};

/* What the disk held at some time: of a snapshot, or since when a bitmap records. */
struct guest_state {
	bool is_bitmap;
	char name[16];
	u64 size;
	u64 *sectors; /* owned; as many as the disk has at most */
	size_t begun, done,
		gone; /* the log's length when it was begun, done, begun to be deleted; or SIZE_MAX */
};

struct guest_past {
	struct guest_write *writes;
	struct guest_flush *flushes;
	struct guest_size *sizes;
	struct guest_state states[GUEST_STATES];
	size_t n_writes, n_flushes, n_sizes, n_states;
	u64 n_sectors; /* of the disk at its largest */
	u64 time;      /* counts what the guest begins and hears of */
};

void guest_init(struct guest_past *g, u64 size, u64 size_max, size_t operations_max);
void guest_fini(struct guest_past *g);
struct guest_write *guest_add_write(struct guest_past *g, u64 first, u64 n);
struct guest_flush *guest_add_flush(struct guest_past *g);
struct guest_size *guest_add_size(struct guest_past *g, u64 bytes);
/* What the disk holds now is read. NULL: there are enough. */
struct guest_state *guest_add_state(struct guest_past *g, struct blk *disk, size_t now);
void guest_fill(u8 *sector, u64 number);

/* What is wrong with a disk that a cut at this place of the log left; NULL: nothing. */
const char *guest_disk_wrong(const struct guest_past *g, struct blk *disk, size_t cut);
/* The disk holds the state, to its last sector. */
const char *guest_state_wrong(const struct guest_state *s, struct blk *disk);

#endif
