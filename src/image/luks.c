/*
 * LUKS: an encrypted disk in a file, versions 1 and 2.
 *
 * A header with key slots, then the disk's sectors, each encrypted for itself: what is written is written in its
 * place, and is as durable as the file's own sectors. What was never written reads as noise; zeros are written
 * like anything else, and a discard has no effect, since it would show on the outside what is unused.
 *
 * Opened without a passphrase for a look (is_alone, read only), it tells all but its contents.
 *
 * luks1.c, luks2.c: the headers; luks_key.c: from a passphrase to the key; luks_create.c: new ones; encrypt.c: the
 * sectors.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "block/node.h"
#include "image/check.h"
#include "image/encrypt.h"
#include "image/luks_priv.h"
#include "image/luks_wire.h"

struct luks {
	struct blk_node node; /* first */
	struct blk *file;
	struct img_crypt *crypt; /* NULL: nobody gave the passphrase */
	struct secret *key;
	struct luks_header header;
};

static struct luks *luks_of(struct blk_node *n)
{
	return container_of(n, struct luks, node);
}

/* --- the header --- */

void luks_check_kdf(struct luks_slot *s)
{
	const struct crypt_kdf *k = &s->kdf.kdf;

	if (k->kind == CRYPT_PBKDF2 && (!k->cost || k->cost > LUKS_MAX_ITERATIONS))
		snprintf(s->refusal, sizeof(s->refusal),
			 "key slot %u takes %u iterations; at most %u are done", s->number, k->cost,
			 LUKS_MAX_ITERATIONS);
	else if (k->kind != CRYPT_PBKDF2 && k->memory > LUKS_MAX_MEMORY)
		snprintf(s->refusal, sizeof(s->refusal),
			 "key slot %u takes %u KiB of memory; at most %u are taken", s->number,
			 k->memory, LUKS_MAX_MEMORY);
	else if (k->kind != CRYPT_PBKDF2 &&
		 (k->cost > LUKS_MAX_PASSES || k->n_lanes > LUKS_MAX_LANES ||
		  (u64)k->cost * k->memory > (u64)LUKS_MAX_WORK))
		snprintf(s->refusal, sizeof(s->refusal),
			 "key slot %u takes %u passes over %u KiB in %u lanes, which is too much",
			 s->number, k->cost, k->memory, k->n_lanes);
}

/* They come from the header, and are shown to people. */
static void luks_clean(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

int luks_read_header(struct blk *file, u64 base, u64 bytes, struct luks_header *out,
		     struct err *err)
{
	u8 head[8];
	int r = blk_read(file, base, head, sizeof(head));
	unsigned version = be16_load(head + LUKS_MAGIC_BYTES);

	*out = (struct luks_header){.base = base};
	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	if (memcmp(head, LUKS_MAGIC, LUKS_MAGIC_BYTES) == 0 && version == 1)
		r = luks1_read(file, base, bytes, out, err);
	else if (base)
		return err_set(err, -EINVAL, "its encryption's header isn't LUKS1's");
	else if (memcmp(head, LUKS_MAGIC, LUKS_MAGIC_BYTES) == 0 && version != 2)
		return err_set(err, -ENOTSUP, "LUKS of version %u isn't supported", version);
	else /* the first copy may be damaged */
		r = luks2_read(file, out, err);
	luks_clean(out->uuid);
	luks_clean(out->label);
	for (unsigned i = 0; i < out->n_slots; i++) /* it quotes the header, cut anywhere */
		luks_clean(out->slots[i].refusal);
	return r;
}

/* --- requests --- */

static int luks_read(struct blk_node *n, struct blk_request *r)
{
	struct luks *l = luks_of(n);

	if (!l->crypt)
		return -ENOKEY;
	return img_crypt_read(l->crypt, l->file, r, l->header.payload_offset + r->offset,
			      l->header.iv_tweak + r->offset / BLK_SECTOR, r->bytes);
}

static int luks_write(struct blk_node *n, struct blk_request *r)
{
	struct luks *l = luks_of(n);

	if (!l->crypt)
		return -ENOKEY;
	return img_crypt_write(l->crypt, l->file, r, l->header.payload_offset + r->offset,
			       l->header.iv_tweak + r->offset / BLK_SECTOR, r->bytes);
}

static int luks_flush(struct blk_node *n)
{
	return blk_flush(luks_of(n)->file);
}

/* What is new must read as zeros, and only written ones do. They make the file longer, at its end: so it never
 * has noise in a disk's new part, whenever this stops. */
static int luks_grow(struct luks *l, u64 old, u64 size)
{
	struct blk_request r = {.op = BLK_WRITE_ZEROES};

	return img_crypt_write(l->crypt, l->file, &r, l->header.payload_offset + old,
			       l->header.iv_tweak + old / BLK_SECTOR, size - old);
}

static int luks_resize(struct blk_node *n, u64 size, struct err *err)
{
	struct luks *l = luks_of(n);
	const u64 start = l->header.payload_offset, old = n->blk.size;
	struct err ignored = ERR_INIT;
	int r = 0;

	if (!l->crypt)
		return err_set(err, -ENOKEY, "it is encrypted, and no passphrase for it was given");
	if (l->header.payload_bytes)
		return err_set(err, -ENOTSUP, "its header says how large it is");
	if (size > BLK_SIZE_MAX - start)
		return err_set(err, -EFBIG, "no file is that large");
	if (size > old)
		r = luks_grow(l, old, size);
	if (r < 0) {
		blk_resize(l->file, start + old, &ignored);
		return err_errno(err, r, "cannot write zeros into what is new");
	}
	r = blk_resize(l->file, start + size, err);
	if (r == 0)
		n->blk.size = size;
	return r;
}

static void luks_close(struct blk_node *n)
{
	img_crypt_free(luks_of(n)->crypt);
	secret_free(luks_of(n)->key);
}

/* --- what else it can --- */

static int luks_info(struct blk *b, struct img_info *out, struct err *err)
{
	const struct luks *l = container_of(b, struct luks, node.blk);

	(void)err;
	*out = (struct img_info){
		.file_bytes = l->header.payload_offset + b->size,
		.is_encrypted = true,
		.specific = luks_describe(&l->header),
	};
	return 0;
}

/* What makes it unusable was found when it was opened; a container goes on with one good copy of the header. */
static int luks_check(struct blk *b, unsigned repair, struct img_check *c, struct err *err)
{
	struct luks *l = container_of(b, struct luks, node.blk);
	int r = 0;

	if (l->header.is_first_bad)
		img_check_corruption(c, "the first copy of the header is damaged or old");
	if (l->header.is_second_bad)
		img_check_corruption(c, "the second copy of the header is damaged or old");
	if (c->corruptions && repair & IMG_REPAIR_ALL)
		r = luks2_mend(l->file, &l->header, err);
	if (r == 0 && c->corruptions && repair & IMG_REPAIR_ALL) {
		c->corruptions_fixed += c->corruptions;
		c->corruptions = 0;
	}
	c->end_offset = l->header.payload_offset + b->size;
	return r;
}

static const struct secret *luks_key(struct blk *b)
{
	return container_of(b, struct luks, node.blk)->key;
}

static int luks_probe(const struct img_probe *p)
{
	if (p->head_bytes < 8 || memcmp(p->head, LUKS_MAGIC, LUKS_MAGIC_BYTES) != 0)
		return 0;
	return be16_load(p->head + LUKS_MAGIC_BYTES) <= 2 ? 100 : 0;
}

/* --- opening --- */

static int luks_find_size(struct luks *l, struct err *err)
{
	const struct luks_header *h = &l->header;
	struct blk *b = &l->node.blk;
	u64 room;

	if (h->payload_offset >= l->file->size)
		return err_set(err, -EINVAL, "its data begins at 0x%lx, behind the file's end",
			       h->payload_offset);
	room = l->file->size - h->payload_offset;
	if (h->payload_bytes > room)
		return err_set(err, -EINVAL, "the file ends before its data does");
	b->block_size = MAX(h->sector_bytes, l->file->block_size);
	b->size = align_down(h->payload_bytes ? h->payload_bytes : room, b->block_size);
	if (!is_aligned(h->payload_offset, l->file->block_size))
		return err_set(err, -EINVAL,
			       "its data begins inside of a block of the disk that it is on");
	return b->size ? 0 : err_set(err, -EINVAL, "it has no room for data");
}

static int luks_open_key(struct luks *l, const struct img_open_options *o, struct err *err)
{
	if (!o->n_secrets && o->is_alone && o->is_readonly)
		return 0;
	if (luks_unlock(l->file, &l->header, o, &l->key, NULL, err) < 0)
		return err->code;
	return img_crypt_new(&l->header.spec, l->key, l->header.sector_bytes, o->workers, &l->crypt,
			     err);
}

static int luks_open(struct blk *file, const struct img_open_options *o, struct blk **out,
		     struct err *err)
{
	static const struct blk_node_ops ops = {
		.read = luks_read,
		.write = luks_write,
		.write_zeroes = luks_write,
		.flush = luks_flush,
		.resize = luks_resize,
		.close = luks_close,
	};
	static const struct image_ops image = {
		.format = &img_luks, .info = luks_info, .check = luks_check, .key = luks_key};
	struct luks *l = NEW(struct luks);

	if (blk_node_init(&l->node, &ops, o->loop, "luks", err) < 0) {
		free(l);
		return err->code;
	}
	l->node.blk.image = &image;
	l->node.blk.is_readonly = o->is_readonly;
	l->file = file;
	if (crypt_init(err) < 0 || luks_read_header(file, 0, BLK_SIZE_MAX, &l->header, err) < 0 ||
	    luks_find_size(l, err) < 0 || luks_open_key(l, o, err) < 0) {
		blk_free(&l->node.blk);
		return err->code;
	}
	blk_node_add_child(&l->node, file);
	*out = &l->node.blk;
	return 0;
}

static int luks_create(struct blk *file, const struct img_create_options *o, struct err *err)
{
	struct luks_plan p = {.key = NULL};
	int r = o->size ? luks_plan(o, "", MIB, &p, err)
			: err_set(err, -EINVAL, "a LUKS image has room for data");

	if (r == 0 && o->size > BLK_SIZE_MAX - p.bytes)
		r = err_set(err, -EFBIG, "no file is that large");
	if (r == 0)
		r = blk_resize(file, p.bytes + o->size, err);
	if (r == 0)
		r = luks_write_new(file, &p, o, "", err);
	luks_plan_fini(&p);
	return r;
}

static int luks_measure(const struct img_create_options *o, unused struct blk *source,
			struct img_measure *out, struct err *err)
{
	u64 bytes;

	if (luks_measure_header(o, "", MIB, &bytes, err) < 0)
		return err->code;
	*out = (struct img_measure){bytes + o->size, bytes + o->size};
	return 0;
}

static const struct img_option_info luks_options[] = {LUKS_OPTIONS(""), {0}};

const struct img_format img_luks = {
	.name = "luks",
	.description = "encrypted (LUKS, versions 1 and 2)",
	.probe = luks_probe,
	.open = luks_open,
	.create = luks_create,
	.measure = luks_measure,
	.create_options = luks_options,
	.is_noise = true,
};
