/*
 * LUKS1's header: read, checked, written ("LUKS1 On-Disk Format Specification", 1.2.3).
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "block/io.h"
#include "image/luks_priv.h"
#include "image/luks_wire.h"

/* A text of a fixed field, which need not end in it. */
static void luks1_text(char *out, const char *field, size_t bytes)
{
	memcpy(out, field, bytes);
	out[bytes] = '\0';
}

/* The slot's key material lies behind the header, before the data, and not in another's. */
static int luks1_check_area(const struct luks_header *h, const struct luks_slot *s, u64 end,
			    struct err *err)
{
	const u64 bytes = luks_material_bytes(s);

	if (s->offset < sizeof(struct luks1_wire) || !range_fits(s->offset, bytes, end))
		return err_set(err, -EINVAL,
			       "key slot %u is at 0x%lx, which is not between header and data",
			       s->number, s->offset);
	for (const struct luks_slot *o = h->slots; o < s; o++) {
		if (o->is_used &&
		    range_overlaps(o->offset, luks_material_bytes(o), s->offset, bytes))
			return err_set(err, -EINVAL, "key slots %u and %u overlap", o->number,
				       s->number);
	}
	return 0;
}

static int luks1_take_slot(struct luks_header *h, const struct luks1_slot_wire *w, unsigned i,
			   u64 end, struct err *err)
{
	struct luks_slot *s = &h->slots[i];
	const u32 state = be32_get(w->state);

	*s = (struct luks_slot){
		.is_used = state == LUKS1_SLOT_USED,
		.number = i,
		.priority = 1,
		.kdf.kdf = {.kind = CRYPT_PBKDF2,
			    .hash = h->digests[0].kdf.kdf.hash,
			    .cost = be32_get(w->iterations),
			    .salt_bytes = sizeof(w->salt)},
		.key_bytes = h->spec.key_bytes,
		.stripes = be32_get(w->stripes),
		.af_hash = h->digests[0].kdf.kdf.hash,
		.offset = (u64)be32_get(w->offset) * BLK_SECTOR,
		.spec = h->spec,
	};
	memcpy(s->kdf.salt, w->salt, sizeof(w->salt));
	if (state != LUKS1_SLOT_USED && state != LUKS1_SLOT_FREE)
		return err_set(err, -EINVAL, "key slot %u is neither used nor free", i);
	if (!s->is_used)
		return 0;
	if (!s->stripes || s->stripes > LUKS_MAX_STRIPES)
		return err_set(err, -EINVAL, "key slot %u has %u stripes", i, s->stripes);
	luks_check_kdf(s);
	return luks1_check_area(h, s, end, err);
}

static int luks1_take_digest(struct luks_header *h, const struct luks1_wire *w, struct err *err)
{
	struct luks_digest *d = &h->digests[0];

	luks1_text(h->hash, w->hash, sizeof(w->hash));
	*d = (struct luks_digest){
		.kdf.kdf = {.kind = CRYPT_PBKDF2,
			    .hash = crypt_hash_find(h->hash),
			    .cost = be32_get(w->digest_iterations),
			    .salt_bytes = sizeof(w->digest_salt)},
		.slots = UINT32_MAX,
		.digest_bytes = LUKS1_DIGEST,
		.is_of_data = true,
	};
	h->n_digests = 1;
	memcpy(d->kdf.salt, w->digest_salt, sizeof(w->digest_salt));
	memcpy(d->digest, w->digest, LUKS1_DIGEST);
	if (!d->kdf.kdf.hash)
		return err_set(err, -ENOTSUP, "the hash %s isn't supported", h->hash);
	if (!d->kdf.kdf.cost || d->kdf.kdf.cost > LUKS_MAX_ITERATIONS)
		return err_set(err, -EINVAL,
			       "the key's digest takes %u iterations; at most %u are done",
			       d->kdf.kdf.cost, LUKS_MAX_ITERATIONS);
	return 0;
}

int luks1_read(struct blk *file, u64 base, u64 bytes, struct luks_header *h, struct err *err)
{
	struct luks1_wire w;
	int r = blk_read(file, base, &w, sizeof(w));
	u32 key_bytes;
	u64 end;

	if (r < 0)
		return err_errno(err, r, "cannot read the header");
	h->version = 1;
	h->base = base;
	h->sector_bytes = BLK_SECTOR;
	h->payload_offset = (u64)be32_get(w.payload_offset) * BLK_SECTOR;
	luks1_text(h->cipher, w.cipher, sizeof(w.cipher));
	luks1_text(h->mode, w.mode, sizeof(w.mode));
	luks1_text(h->uuid, w.uuid, sizeof(w.uuid));
	key_bytes = be32_get(w.key_bytes);
	if (!key_bytes || key_bytes > CRYPT_KEY_MAX)
		return err_set(err, -EINVAL, "it has a key of %u bytes", key_bytes);
	if (crypt_spec_find(h->cipher, h->mode, key_bytes, &h->spec, err) < 0 ||
	    luks1_take_digest(h, &w, err) < 0)
		return err->code;
	if (!h->payload_offset)
		return err_set(err, -ENOTSUP,
			       "its data is elsewhere (a detached header), which isn't supported");
	end = MIN(bytes, h->payload_offset);
	for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
		if (luks1_take_slot(h, &w.slots[i], i, end, err) < 0)
			return err->code;
	}
	h->n_slots = LUKS1_SLOTS;
	return 0;
}

/* --- writing --- */

static void luks1_put_text(char *field, const char *text, size_t bytes)
{
	memcpy(field, text, strnlen(text, bytes));
}

static void luks1_put_slot(struct luks1_slot_wire *w, const struct luks_slot *s)
{
	w->state = be32_of(s->is_used ? LUKS1_SLOT_USED : LUKS1_SLOT_FREE);
	w->iterations = be32_of(s->is_used ? s->kdf.kdf.cost : 0);
	if (s->is_used)
		memcpy(w->salt, s->kdf.salt, sizeof(w->salt));
	w->offset = be32_of((u32)(s->offset / BLK_SECTOR));
	w->stripes = be32_of(s->stripes);
}

int luks1_write(struct blk *file, const struct luks_header *h, struct err *err)
{
	const struct luks_digest *d = &h->digests[0];
	struct luks1_wire w = {
		.magic = LUKS_MAGIC,
		.version = be16_of(1),
		.payload_offset = be32_of((u32)(h->payload_offset / BLK_SECTOR)),
		.key_bytes = be32_of(h->spec.key_bytes),
		.digest_iterations = be32_of(d->kdf.kdf.cost),
	};
	int r;

	luks1_put_text(w.cipher, h->cipher, sizeof(w.cipher));
	luks1_put_text(w.mode, h->mode, sizeof(w.mode));
	luks1_put_text(w.hash, h->hash, sizeof(w.hash));
	luks1_put_text(w.uuid, h->uuid, sizeof(w.uuid));
	memcpy(w.digest, d->digest, LUKS1_DIGEST);
	memcpy(w.digest_salt, d->kdf.salt, sizeof(w.digest_salt));
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		luks1_put_slot(&w.slots[i], &h->slots[i]);
	r = blk_write(file, h->base, &w, sizeof(w));
	return r < 0 ? err_errno(err, r, "cannot write the header") : 0;
}
