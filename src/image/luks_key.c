/*
 * LUKS's key slots: from a passphrase to the key of the data, and back.
 *
 * A slot's key, which is derived from a passphrase, decrypts the slot's key material; the stripes of that give
 * the key of the data, and a digest says whether it is. What takes long is done by the workers.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/work.h"
#include "block/io.h"
#include "image/luks_priv.h"

u64 luks_material_bytes(const struct luks_slot *s)
{
	return align_up((u64)s->key_bytes * s->stripes, BLK_SECTOR);
}

int luks_derive(const struct luks_kdf *k, const void *secret, size_t bytes, u8 *out,
		size_t out_bytes)
{
	struct crypt_kdf kdf = k->kdf;

	kdf.salt = k->salt;
	return crypt_derive(&kdf, secret, bytes, out, out_bytes);
}

/* --- does a key fit? --- */

/* 1: yes; 0: no; or a negative errno. */
static int key_fits(const struct luks_header *h, const struct luks_digest *d,
		    const struct secret *key)
{
	u8 digest[CRYPT_HASH_MAX];
	int r;

	if (key->n != h->spec.key_bytes)
		return 0;
	r = luks_derive(&d->kdf, key->bytes, key->n, digest, d->digest_bytes);
	if (r == 0)
		r = memcmp(digest, d->digest, d->digest_bytes) == 0;
	secret_wipe(digest, sizeof(digest));
	return r;
}

static const struct luks_digest *key_digest_of(const struct luks_header *h, unsigned slot)
{
	for (unsigned i = 0; i < h->n_digests; i++) {
		if (h->digests[i].is_of_data && h->digests[i].slots & BIT32(slot))
			return &h->digests[i];
	}
	return NULL;
}

/* --- one slot --- */

struct key_job {
	const struct luks_header *h;
	const struct luks_slot *slot;
	const struct luks_digest *digest;
	const struct img_secret *secret;
	struct secret *material, *key;
	int result; /* as key_fits */
};

static int key_open_slot(struct key_job *j)
{
	const struct luks_slot *s = j->slot;
	AUTO(secret_free) struct secret *slot_key = secret_new(s->spec.key_bytes);
	AUTO(crypt_cipher_free) struct crypt_cipher *cipher = NULL;
	struct err err = ERR_INIT;
	int r = luks_derive(&s->kdf, j->secret->bytes, j->secret->n_bytes, slot_key->bytes,
			    slot_key->n);

	if (r == 0)
		r = crypt_cipher_new(&s->spec, slot_key->bytes, &cipher, &err);
	if (r < 0)
		return r;
	crypt_decrypt(cipher, 0, BLK_SECTOR, j->material->bytes, j->material->n);
	luks_af_merge(s->af_hash, j->material->bytes, s->key_bytes, s->stripes, j->key->bytes);
	return key_fits(j->h, j->digest, j->key);
}

static void key_job(void *arg)
{
	struct key_job *j = arg;

	j->result = key_open_slot(j);
}

/* 1: *out is the key; 0: it isn't this slot's passphrase. */
static int key_try_slot(struct blk *file, const struct luks_header *h, const struct luks_slot *s,
			const struct img_secret *secret, struct work_pool *workers,
			struct secret **out)
{
	AUTO(secret_free) struct secret *material = secret_new(luks_material_bytes(s));
	AUTO(secret_free) struct secret *key = secret_new(s->key_bytes);
	struct key_job j = {.h = h,
			    .slot = s,
			    .digest = key_digest_of(h, s->number),
			    .secret = secret,
			    .material = material,
			    .key = key};
	int r;

	if (!j.digest)
		return 0;
	r = blk_read(file, h->base + s->offset, material->bytes, material->n);
	if (r < 0)
		return r;
	work_run(workers, key_job, &j);
	if (j.result == 1)
		*out = take(key);
	return j.result;
}

/*
 * Who has it got it from luks_unlock, which knew it by the digest. That isn't computed again: it takes as long as a
 * stranger's header says, which a guest to which the disk is added would wait for.
 */
static int key_try_volume_key(const struct luks_header *h, const struct img_secret *secret,
			      struct secret **out)
{
	if (secret->n_bytes != h->spec.key_bytes)
		return 0;
	*out = secret_of(secret->bytes, secret->n_bytes);
	return 1;
}

/* --- all of them --- */

struct key_search {
	unsigned n_tried, n_refused;
	const char *refusal;
};

static int key_explain(int r, struct err *err)
{
	if (r == -ENOMEM)
		return err_set(err, r, "there isn't enough memory to derive its key");
	return err_errno(err, r, "cannot read its keys");
}

static int key_try_slots(struct blk *file, const struct luks_header *h, unsigned priority,
			 const struct img_secret *secret, struct work_pool *workers,
			 struct key_search *search, struct secret **out, unsigned *out_slot,
			 struct err *err)
{
	for (unsigned i = 0; i < h->n_slots; i++) {
		const struct luks_slot *s = &h->slots[i];
		int r;

		if (!s->is_used || s->priority != priority)
			continue;
		if (*s->refusal) {
			search->n_refused++;
			search->refusal = s->refusal;
			continue;
		}
		search->n_tried++;
		r = key_try_slot(file, h, s, secret, workers, out);
		if (r < 0)
			return key_explain(r, err);
		if (r == 1 && out_slot)
			*out_slot = s->number;
		if (r == 1)
			return 1;
	}
	return 0;
}

static bool key_ends_line(const struct img_open_options *o)
{
	for (unsigned i = 0; i < o->n_secrets; i++) {
		const struct img_secret *s = &o->secrets[i];

		if (!s->is_volume_key && s->n_bytes &&
		    ((const u8 *)s->bytes)[s->n_bytes - 1] == '\n')
			return true;
	}
	return false;
}

static int key_say_rejected(const struct key_search *s, const struct img_open_options *o,
			    struct err *err)
{
	if (!s->n_tried && s->n_refused)
		return err_set(err, -ENOTSUP, "no key slot can be used: %s", s->refusal);
	return err_set(err, -EKEYREJECTED,
		       "the passphrase is wrong: it opens none of %u key slots%s%s%s",
		       s->n_tried + s->n_refused,
		       key_ends_line(o) ? " (it ends with a newline, which counts)" : "",
		       s->n_refused ? "; not tried: " : "", s->n_refused ? s->refusal : "");
}

int luks_unlock(struct blk *file, const struct luks_header *h, const struct img_open_options *o,
		struct secret **out, unsigned *out_slot, struct err *err)
{
	struct key_search search = {0};

	if (!o->n_secrets)
		return err_set(err, -ENOKEY, "it is encrypted, and no passphrase for it was given");
	for (unsigned i = 0; i < o->n_secrets; i++) {
		const struct img_secret *s = &o->secrets[i];
		int r = 0;

		search.n_tried = search.n_refused = 0;
		if (s->is_volume_key)
			r = key_try_volume_key(h, s, out);
		for (int priority = 2; r == 0 && !s->is_volume_key && priority >= 0; priority--)
			r = key_try_slots(file, h, (unsigned)priority, s, o->workers, &search, out,
					  out_slot, err);
		if (r == 1)
			return 0;
		if (r < 0)
			return err->code ? r : key_explain(r, err);
	}
	return key_say_rejected(&search, o, err);
}

/* --- putting a key into a slot --- */

int luks_seal(struct blk *file, const struct luks_header *h, const struct luks_slot *s,
	      const struct secret *key, const void *passphrase, size_t bytes, struct err *err)
{
	AUTO(secret_free) struct secret *material = secret_new(luks_material_bytes(s));
	AUTO(secret_free) struct secret *slot_key = secret_new(s->spec.key_bytes);
	AUTO(crypt_cipher_free) struct crypt_cipher *cipher = NULL;
	int r = luks_derive(&s->kdf, passphrase, bytes, slot_key->bytes, slot_key->n);

	if (r == 0)
		r = luks_af_split(s->af_hash, key->bytes, s->key_bytes, s->stripes,
				  material->bytes);
	if (r < 0)
		return err_errno(err, r, "cannot make a key slot");
	if (crypt_cipher_new(&s->spec, slot_key->bytes, &cipher, err) < 0)
		return err->code;
	crypt_encrypt(cipher, 0, BLK_SECTOR, material->bytes, material->n);
	r = blk_write(file, h->base + s->offset, material->bytes, material->n);
	return r < 0 ? err_errno(err, r, "cannot write a key slot") : 0;
}

int luks_shred(struct blk *file, const struct luks_header *h, const struct luks_slot *s,
	       struct err *err)
{
	AUTO(secret_free) struct secret *noise = secret_new(luks_material_bytes(s));
	int r = luks_random(noise->bytes, noise->n);

	if (r == 0)
		r = blk_write(file, h->base + s->offset, noise->bytes, noise->n);
	if (r == 0)
		r = blk_flush(file);
	return r < 0 ? err_errno(err, r, "cannot overwrite a key slot") : 0;
}
