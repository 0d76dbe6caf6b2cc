/* VMDK, for vmdk*.c only. */
#ifndef IMAGE_VMDK_PRIV_H
#define IMAGE_VMDK_PRIV_H

#include "image/blocks.h"
#include "image/image.h"
#include "image/table.h"
#include "image/vmdk_wire.h"

#define VMDK_DESCRIPTOR_MAX (1 * MIB)
#define VMDK_EXTENTS_MAX    4096u
#define VMDK_SPLIT          (2047 * MIB) /* an extent of a split image, at most */
#define VMDK_SMALLER        "convert it to a raw or a qcow2 image, which can"

/* --- the descriptor: a text --- */

enum vmdk_extent_kind {
	VMDK_FLAT,
	VMDK_SPARSE,
	VMDK_ZERO,
};

/* A number in the text. */
struct vmdk_mark {
	u64 at;
	unsigned n; /* characters */
};

struct vmdk_extent_line {
	enum vmdk_extent_kind kind;
	bool is_writable;
	u64 sectors, offset;   /* offset: of a flat extent, in its file */
	struct vmdk_mark mark; /* of sectors */
	char *name;            /* owned; NULL: VMDK_ZERO */
};

struct vmdk_descriptor {
	char *create_type, *parent_hint; /* owned; NULL: not said */
	u32 cid, parent_cid;             /* parent_cid: 0xffffffff: there is none */
	u64 cid_at;                      /* where its digits are in the text */
	u32 cid_digits;                  /* 0: there is none */
	u32 heads, sectors;              /* of its geometry; 0: not said */
	struct vmdk_mark cylinders;
	struct vmdk_extent_line *extents;
	unsigned n_extents;
};
#define VMDK_NO_PARENT 0xffffffffu

/* text: bytes long, and a NUL behind. */
int vmdk_descriptor_parse(const char *text, struct vmdk_descriptor *out, struct err *err);
void vmdk_descriptor_fini(struct vmdk_descriptor *d);
bool vmdk_is_descriptor(const u8 *head, size_t bytes);

/* --- the disk --- */

struct vmdk_extent {
	enum vmdk_extent_kind kind;
	bool is_writable;
	struct blk *file;
	u64 start, bytes; /* of the disk */
	u64 flat_offset;

	/* VMDK_SPARSE */
	struct vmdk_header_wire header;
	struct img_table gd, rgd, gts;
	u64 grain_bytes, table_bytes, n_tables;
	u64 data_end; /* where the next grain goes */
	bool is_packed, has_markers, has_zeroed;
	struct vmdk_stream *stream; /* a stream-optimized one that is being written; or NULL */
	struct img_packer *packers; /* idle ones */
};

struct vmdk {
	struct img_blocks blocks; /* first */
	struct vmdk_descriptor descriptor;
	u64 descriptor_offset; /* in the first file */
	struct vmdk_extent *extents;
	unsigned n_extents;
	struct work_pool *workers;
	/* The grain that was unpacked last. */
	u8 *unpacked;
	const struct vmdk_extent *unpacked_of;
	u64 unpacked_at; /* its place in the file; 0: none */
};

static inline struct vmdk *vmdk_of(struct img_blocks *b)
{
	return container_of(b, struct vmdk, blocks);
}

struct vmdk_extent *vmdk_find_extent(struct vmdk *v, u64 offset);
/* A sparse extent's table entry for the grain around offset (in the extent). */
int vmdk_gte(struct vmdk_extent *e, u64 offset, u32 *out);
int vmdk_set_gte(struct vmdk_extent *e, u64 offset, u32 value);
/* Header, directory and tables of e->file; out_descriptor: its text, if there is one. */
int vmdk_open_sparse(struct vmdk_extent *e, char **out_descriptor, u64 *out_offset,
		     struct err *err);
/* After its header was changed: nothing is new in the tables. */
int vmdk_sparse_reload(struct vmdk_extent *e, struct err *err);
/* A table for the grain around offset, if there is none. */
int vmdk_make_table(struct vmdk_extent *e, u64 offset);
void vmdk_extent_fini(struct vmdk_extent *e);

/* --- packed grains --- */

int vmdk_read_packed(struct img_blocks *b, u64 offset, void *buf, u64 bytes);
/* A stream-optimized extent that has no end yet: it can be written. */
int vmdk_stream_new(struct vmdk_extent *e, struct work_pool *workers, struct err *err);
void vmdk_stream_free(struct vmdk_stream *s);
int vmdk_stream_absorb(struct img_blocks *b, struct blk_request *r, u64 bytes);
int vmdk_stream_finish(struct img_blocks *b); /* whatever is there now, whole */

int vmdk_create(struct blk *file, const struct img_create_options *o, struct err *err);
extern const struct img_option_info vmdk_create_options[];
int vmdk_resize(struct img_blocks *b, u64 size, struct err *err);
u32 vmdk_cid(struct blk *b); /* 0: it is no VMDK */
int vmdk_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err);

#endif
