/*
 * Raw images: the file's bytes are the disk's. A node over its file only where one is wanted as an
 * image (tools); a guest's raw disk is the struct blk of its file itself.
 */
#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "block/node.h"
#include "image/image.h"

struct raw {
	struct blk_node node; /* first */
	struct blk *file;
};

static struct raw *raw_of(struct blk_node *n)
{
	return container_of(n, struct raw, node);
}

static int raw_transfer(struct blk_node *n, struct blk_request *r)
{
	return blk_node_pass(raw_of(n)->file, r, r->offset, r->bytes);
}

static int raw_write_zeroes(struct blk_node *n, struct blk_request *r)
{
	return blk_write_zeroes(raw_of(n)->file, r->offset, r->bytes, r->may_unmap);
}

static int raw_discard(struct blk_node *n, struct blk_request *r)
{
	return blk_discard(raw_of(n)->file, r->offset, r->bytes);
}

static int raw_flush(struct blk_node *n)
{
	return blk_flush(raw_of(n)->file);
}

static int raw_status(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out)
{
	return blk_status(raw_of(n)->file, offset, bytes, out);
}

static int raw_resize(struct blk_node *n, u64 size, struct err *err)
{
	int r = blk_resize(raw_of(n)->file, size, err);

	if (r == 0)
		n->blk.size = size;
	return r;
}

static void raw_close(struct blk_node *n)
{
	(void)n;
}

static int raw_info(struct blk *b, struct img_info *out, struct err *err)
{
	(void)err;
	*out = (struct img_info){.file_bytes = b->size};
	return 0;
}

static int raw_probe(const struct img_probe *p)
{
	return p->size ? 1 : 0;
}

static int raw_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		    struct err *err)
{
	static const struct blk_node_ops ops = {
		.read = raw_transfer,
		.write = raw_transfer,
		.write_zeroes = raw_write_zeroes,
		.discard = raw_discard,
		.flush = raw_flush,
		.status = raw_status,
		.resize = raw_resize,
		.close = raw_close,
	};
	static const struct image_ops image = {.format = &img_raw, .info = raw_info};
	struct raw *raw;

	if (!file->size)
		return err_set(err, -EINVAL, "it is empty");
	raw = NEW(struct raw);
	if (blk_node_init(&raw->node, &ops, o->loop, "raw", err) < 0) {
		free(raw);
		return err->code;
	}
	raw->node.blk.image = &image;
	raw->node.blk.size = file->size;
	raw->node.blk.block_size = file->block_size;
	raw->node.blk.is_readonly = o->is_readonly;
	raw->file = file;
	blk_node_add_child(&raw->node, file);
	*out = &raw->node.blk;
	return 0;
}

static const struct img_option_info raw_create_options[] = {
	{"preallocation", "off|falloc|full", "what is allocated at once; off by default"},
	{0},
};

static int raw_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	static const char *const words[] = {"off", "falloc", "full", NULL};
	unsigned allocation = 0;
	int r = img_option_word(o, "preallocation", words, &allocation, err);

	if (r == 0)
		r = blk_resize(file, o->size, err);
	if (r < 0 || !allocation)
		return r;
	r = img_allocate(file, 0, o->size, allocation == 2);
	return r < 0 ? err_errno(err, r, "cannot allocate its space") : 0;
}

/* Holes save what they save; nobody can know that of another file system. */
static int raw_measure(const struct img_create_options *o, unused struct blk *source,
		       struct img_measure *out, unused struct err *err)
{
	*out = (struct img_measure){o->size, o->size};
	return 0;
}

const struct img_format img_raw = {
	.name = "raw",
	.description = "the disk's bytes as they are",
	.probe = raw_probe,
	.open = raw_open,
	.create = raw_create,
	.measure = raw_measure,
	.create_options = raw_create_options,
};
