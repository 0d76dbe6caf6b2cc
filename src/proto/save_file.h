/*
 * A saved guest's file: its header and the parts that say what is in it (docs/save-format.md).
 *
 *     header (a page) | memory, in chunks | configuration | state | index of the memory's chunks
 *
 * The launcher reads header and configuration, to open what the guest needs; the guest process reads
 * all of it. The bytes come from a stranger: every offset, size and count is checked against the file
 * and named limits, and every part against its checksum, before anything in it is believed.
 */
#ifndef PROTO_SAVE_FILE_H
#define PROTO_SAVE_FILE_H

#include "base/base.h"
#include "base/bytes.h"

struct err;

#define SAVE_MAGIC       "POSADASV"
#define SAVE_VERSION     1
#define SAVE_HEADER_SIZE PAGE_SIZE
#define SAVE_MEMORY_AT   (64 * KIB) /* of a plain file: chunk n lies n chunks behind it */
#define SAVE_CHUNK       (64 * KIB)
#define SAVE_CONFIG_MAX  (64 * KIB)
#define SAVE_STATE_MAX   (16 * MIB)

enum save_progress {
	SAVE_UNFINISHED = 0, /* the file is being written, or its writer died */
	SAVE_COMPLETE = 1,
};

/* Where a part is. */
struct save_part_wire {
	le64 offset;
	le64 size;
	le32 crc; /* CRC-32C of its bytes */
	le32 reserved;
} packed;

/* The header: the first page of the file. What is reserved is 0 and refused when it isn't. */
struct save_header_wire {
	u8 magic[8];
	le32 version;
	le32 progress; /* enum save_progress */
	le64 memory_size;
	le32 chunk_size;
	le32 flags;       /* none is known */
	le64 saved_at_ns; /* host's UTC, nanoseconds since 1970, when the guest was stopped */
	struct save_part_wire config, state, index;
	u8 reserved[SAVE_HEADER_SIZE - 40 - 3 * 24 - 4];
	le32 crc; /* CRC-32C of all before it */
} packed;
static_assert(sizeof(struct save_header_wire) == SAVE_HEADER_SIZE, "a page");

/* An element of the index, one for each chunk. */
struct save_chunk_wire {
	le64 offset; /* in the file; 0 for a chunk of zeroes */
	le32 stored; /* bytes: 0 zeroes, the chunk's size: as it is, less: a zstd frame */
	le32 crc;    /* CRC-32C of the chunk as the guest sees it */
} packed;
static_assert(sizeof(struct save_chunk_wire) == 16, "an index entry");

struct save_part {
	u64 offset, size;
	u32 crc;
};

struct save_header {
	u64 memory_size; /* a multiple of PAGE_SIZE; the last chunk may be short */
	u64 saved_at_ns;
	struct save_part config, state, index;
};

static inline u64 save_chunks(u64 memory_size)
{
	return (memory_size + SAVE_CHUNK - 1) / SAVE_CHUNK;
}

/* Bytes of the guest's memory in chunk n. */
static inline u32 save_chunk_bytes(u64 memory_size, u64 n)
{
	return (u32)MIN(SAVE_CHUNK, memory_size - n * SAVE_CHUNK);
}

/* The header's bytes; complete only once everything else is on stable storage. */
void save_header_encode(const struct save_header *h, enum save_progress progress,
			struct save_header_wire *out);

/* Of a file of file_size bytes. A sentence for a file that is no saved guest, unfinished, of
 * another version, cut or damaged. */
int save_header_decode(const struct save_header_wire *w, u64 file_size, struct save_header *out,
		       struct err *err);

/* Reads and checks the header of an open file, which must be a regular one. */
int save_header_read(int fd, struct save_header *out, struct err *err);
/* Reads a part (free() it; a zero byte stands behind it) and checks its checksum. what: for messages. */
int save_part_read(int fd, const struct save_part *p, const char *what, void **out,
		   struct err *err);

#endif
