/* VHD, for vhd*.c only. */
#ifndef IMAGE_VHD_PRIV_H
#define IMAGE_VHD_PRIV_H

#include "image/blocks.h"
#include "image/image.h"
#include "image/table.h"
#include "image/vhd_wire.h"

struct vhd {
	struct img_blocks blocks; /* first */
	struct vhd_footer_wire footer;
	struct vhd_header_wire header; /* not in a fixed one */
	struct img_table map, bitmaps;
	u64 block_bytes, bitmap_bytes;
	u64 data_end;       /* where the footer is, or should be */
	u64 footer_written; /* where the file's is; 0: nowhere */
	char *parent_name;  /* owned; or NULL */
	bool is_head_bad;   /* the footer's copy at the start */
};

static inline struct vhd *vhd_of(struct img_blocks *b)
{
	return container_of(b, struct vhd, blocks);
}

static inline u32 vhd_type(const struct vhd *v)
{
	return be32_get(v->footer.type);
}

/* Of a footer or header with its checksum field at `at`. */
u32 vhd_checksum(const void *structure, size_t bytes, size_t at);
void vhd_seal_footer(struct vhd_footer_wire *f);
void vhd_seal_header(struct vhd_header_wire *h);
bool vhd_is_footer(const struct vhd_footer_wire *f);
int vhd_entry(struct vhd *v, u64 block, u32 *out);
int vhd_use_tables(struct vhd *v);

/* The image's own id; NULL: it is no VHD. */
const u8 *vhd_id(struct blk *b);

int vhd_create(struct blk *file, const struct img_create_options *o, struct err *err);
extern const struct img_option_info vhd_create_options[];
int vhd_resize(struct img_blocks *b, u64 size, struct err *err);
int vhd_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err);
/* The parent's name out of the header and the locators, into v; NULL: there is none that can be read. */
int vhd_read_parent_name(struct vhd *v, struct err *err);

#endif
