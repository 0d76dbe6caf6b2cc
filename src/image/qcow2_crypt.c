/*
 * Encrypted images: a LUKS1 header in clusters of its own, and guest data encrypted with its key (QEMU,
 * docs/interop/qcow2.txt, "Full disk encryption header pointer" and "Data encryption").
 *
 * A sector's number, for the cipher, is where it is in the (data) file. Tables, bitmaps and names aren't
 * encrypted; compressed clusters neither, and none are written. Opened without a passphrase to be looked at, an image tells
 * everything but its contents.
 */
#include <jansson.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/encrypt.h"
#include "image/luks_priv.h"
#include "image/qcow2_priv.h"

/* --- opening --- */

static int crypt_find_header(const struct qcow2 *q, struct qcow2_range *out, struct err *err)
{
	const struct qcow2_ext *e = qcow2_find_ext(q, QCOW2_EXT_LUKS);
	struct qcow2_luks_wire w;

	if (!e || e->bytes < sizeof(w))
		return err_set(err, -EINVAL, "it doesn't say where its encryption's header is");
	memcpy(&w, e->data, sizeof(w));
	*out = (struct qcow2_range){be64_get(w.offset), be64_get(w.bytes)};
	if (!out->offset || !out->bytes || !qcow2_is_table(q, out->offset, out->bytes) ||
	    !range_fits(out->offset, out->bytes, align_up(q->file->size, q->cluster_size)))
		return err_set(err, -EINVAL,
			       "its encryption's header is at an impossible place: 0x%lx",
			       out->offset);
	return 0;
}

int qcow2_crypt_open(struct qcow2 *q, const struct img_open_options *o, struct err *err)
{
	struct qcow2_range at;

	if (be32_get(q->header.crypt_method) != QCOW2_CRYPT_LUKS)
		return 0;
	if (crypt_find_header(q, &at, err) < 0 || crypt_init(err) < 0)
		return err->code;
	q->luks = NEW(struct luks_header);
	q->luks_at = at;
	if (luks_read_header(q->file, at.offset, at.bytes, q->luks, err) < 0)
		return err_wrap(err, "encryption");
	if (!o->n_secrets && o->is_alone)
		return 0;
	if (luks_unlock(q->file, q->luks, o, &q->key, NULL, err) < 0)
		return err->code;
	return img_crypt_new(&q->luks->spec, q->key, BLK_SECTOR, o->workers, &q->crypt, err);
}

void qcow2_crypt_fini(struct qcow2 *q)
{
	img_crypt_free(q->crypt);
	secret_free(q->key);
	free(q->luks);
}

const struct secret *qcow2_key(struct blk *b)
{
	return qcow2_of(b)->key;
}

struct json_t *qcow2_crypt_describe(const struct qcow2 *q)
{
	json_t *o = luks_describe(q->luks);

	json_object_set_new(o, "format", json_string("luks"));
	return o;
}

/* --- data --- */

int qcow2_data_read(struct qcow2 *q, struct blk_request *r, u64 host, u64 bytes)
{
	if (!q->luks)
		return blk_node_pass(q->data, r, host, bytes);
	if (!q->crypt)
		return -ENOKEY;
	return img_crypt_read(q->crypt, q->data, r, host, host / BLK_SECTOR, bytes);
}

int qcow2_data_write(struct qcow2 *q, struct blk_request *r, u64 host, u64 bytes)
{
	if (!q->luks)
		return blk_node_pass(q->data, r, host, bytes);
	if (!q->crypt)
		return -ENOKEY;
	return img_crypt_write(q->crypt, q->data, r, host, host / BLK_SECTOR, bytes);
}

/* Our own memory: it may be encrypted where it is. */
static int crypt_write_buffer(struct qcow2 *q, u64 host, u8 *buf, u64 bytes)
{
	if (!bytes)
		return 0;
	img_crypt_run(q->crypt, true, host / BLK_SECTOR, buf, bytes);
	return blk_write(q->data, host, buf, bytes);
}

int qcow2_data_write_framed(struct qcow2 *q, struct blk_request *r, u64 host, u64 bytes, u8 *head,
			    u64 head_bytes, u8 *tail, u64 tail_bytes)
{
	int result;

	if (!q->luks)
		return blk_node_pass_framed(q->data, r, host, bytes, head, head_bytes, tail,
					    tail_bytes);
	if (!q->crypt)
		return -ENOKEY;
	result = crypt_write_buffer(q, host, head, head_bytes);
	if (result == 0)
		result = qcow2_data_write(q, r, host + head_bytes, bytes);
	if (result == 0)
		result = crypt_write_buffer(q, host + head_bytes + bytes, tail, tail_bytes);
	return result;
}
