/* VHDX, for vhdx*.c only. */
#ifndef IMAGE_VHDX_PRIV_H
#define IMAGE_VHDX_PRIV_H

#include "image/blocks.h"
#include "image/image.h"
#include "image/table.h"
#include "image/vhdx_wire.h"

#define VHDX_BLOCK_MIN (1 * MIB)
#define VHDX_BLOCK_MAX (256 * MIB)
#define VHDX_SIZE_MAX  (64 * 1024 * GIB)
#define VHDX_LOG_MAX   (64 * MIB) /* what we are willing to look through */

struct vhdx_region {
	u64 offset, bytes;
};

struct vhdx {
	struct img_blocks blocks; /* first */
	struct vhdx_header_wire header;
	unsigned header_slot; /* the current one of the two */
	struct vhdx_region log, table_region, metadata;
	u64 size, size_at; /* of the disk; where the file says it */
	u64 block_bytes, n_blocks;
	u32 sector_bytes, chunk_blocks; /* chunk_blocks: that share a bitmap block */
	bool is_fixed, has_parent;
	struct img_table map, bitmaps;
	u64 data_end; /* where the next block goes */

	char *parent_name;    /* owned; or NULL */
	u8 parent_ids[2][16]; /* any of them */
	unsigned n_parent_ids;

	/* What the log says and the file doesn't yet: opened read only. */
	struct img_batch replayed;
	bool had_log;

	u64 log_sequence, log_at; /* of the next entry; its place in the log */
	bool is_log_used;         /* the header says so */
	bool is_table_lost; /* which of two block tables counts isn't known: none may change */
};

static inline struct vhdx *vhdx_of(struct img_blocks *b)
{
	return container_of(b, struct vhdx, blocks);
}

extern const u8 vhdx_id_table[16], vhdx_id_metadata[16];
extern const u8 vhdx_id_parameters[16], vhdx_id_size[16], vhdx_id_disk[16], vhdx_id_sector[16],
	vhdx_id_physical[16], vhdx_id_parent[16], vhdx_id_locator[16];

/* Over all bytes, the checksum's own (at 4) taken as zero. */
u32 vhdx_checksum(const void *structure, u64 bytes);
/* The file's bytes as the log will have them. */
int vhdx_read(struct vhdx *v, u64 offset, void *buf, u64 bytes);
/* Headers, log, regions, metadata. */
int vhdx_read_all(struct vhdx *v, bool is_readonly, struct err *err);
/* v->header, with the next sequence number, in both slots. */
int vhdx_write_header(struct vhdx *v);
/* The region table that is sound, VHDX_TABLE_BYTES; -EINVAL: neither is. */
int vhdx_read_regions(struct vhdx *v, u8 *table);
u64 vhdx_n_entries(const struct vhdx *v, u64 n_blocks);

/* --- the log --- */

/* What the log says goes to v->replayed. */
int vhdx_log_read(struct vhdx *v, struct err *err);
/* v->replayed to its places; the log is empty afterwards. */
int vhdx_log_replay(struct vhdx *v, struct err *err);
int vhdx_log_begin(struct img_blocks *b);
int vhdx_log_commit(struct img_blocks *b, const struct img_batch *batch);
int vhdx_log_end(struct vhdx *v); /* all is in its place and flushed: the log is empty */

/* --- blocks --- */

int vhdx_entry(struct vhdx *v, u64 index, u64 *out);
u64 vhdx_entry_of_block(const struct vhdx *v, u64 block);
int vhdx_set_entry(struct vhdx *v, u64 index, u64 value);
u64 vhdx_entry_of_bitmap(const struct vhdx *v, u64 chunk);

int vhdx_create(struct blk *file, const struct img_create_options *o, struct err *err);
extern const struct img_option_info vhdx_create_options[];
const u8 *vhdx_data_id(struct blk *b); /* NULL: it is no VHDX */
int vhdx_resize(struct img_blocks *b, u64 size, struct err *err);
int vhdx_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err);

#endif
