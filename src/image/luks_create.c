/*
 * New LUKS1 containers, as qemu-img makes them: a random key of the data, and one slot that holds it for the
 * passphrase.
 *
 * How long a guess of the passphrase takes is up to iter-time: the iterations that this processor does in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/luks_priv.h"
#include "image/luks_wire.h"

#define CREATE_TIME_MS     2000
#define CREATE_MAX_MS      60000
#define CREATE_MIN_ITERS   1000u /* as LUKS1 wants it */
#define CREATE_DIGEST_PART 8u /* of the iterations are enough for the key, which nobody guesses */

/* --- options --- */

static const char *create_option(const struct img_create_options *o, const char *prefix,
				 const char *name, const char *otherwise)
{
	char full[48];
	const char *value;

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	value = img_option(o, full);
	return value ? value : otherwise;
}

const struct img_secret *luks_find_secret(const struct img_create_options *o, const char *prefix,
					  struct err *err)
{
	const char *id = create_option(o, prefix, "key-secret", NULL);

	for (unsigned i = 0; i < o->n_secrets; i++) {
		const struct img_secret *s = &o->secrets[i];

		if (id ? s->id && strcmp(s->id, id) == 0 : o->n_secrets == 1)
			return s;
	}
	if (id)
		err_set(err, -ENOKEY, "%skey-secret=%s: there is no such secret", prefix, id);
	else if (o->n_secrets)
		err_set(err, -ENOKEY, "which secret is its passphrase? Say it: -o %skey-secret=ID",
			prefix);
	else
		err_set(err, -ENOKEY, "its passphrase is missing: --secret id=ID,file=PATH");
	return NULL;
}

/* "aes-256": the cipher, and the bits of a key of it. */
static int create_find_cipher(const char *text, char cipher[33], u32 *out_bits, struct err *err)
{
	const char *dash = strchr(text, '-');
	char *end;

	*out_bits = dash ? (u32)strtoul(dash + 1, &end, 10) : 0;
	if (!dash || dash - text > 32 || *end || !*out_bits || *out_bits % 8 || *out_bits > 512)
		return err_set(err, -EINVAL,
			       "cipher-alg=%s: it is a cipher and its key's bits, as aes-256",
			       text);
	snprintf(cipher, 33, "%.*s", (int)(dash - text), text);
	return 0;
}

static int create_find_spec(const struct img_create_options *o, const char *prefix,
			    struct luks_header *h, struct err *err)
{
	const char *mode = create_option(o, prefix, "cipher-mode", "xts");
	const char *ivgen = create_option(o, prefix, "ivgen-alg", "plain64");
	const char *hash = create_option(o, prefix, "ivgen-hash-alg", "sha256");
	u32 bits;

	if (create_find_cipher(create_option(o, prefix, "cipher-alg", "aes-256"), h->cipher, &bits,
			       err) < 0)
		return err->code;
	if (strcmp(ivgen, "essiv") == 0)
		snprintf(h->mode, sizeof(h->mode), "%s-essiv:%s", mode, hash);
	else
		snprintf(h->mode, sizeof(h->mode), "%s-%s", mode, ivgen);
	return crypt_spec_find(h->cipher, h->mode, bits / 8 * (strcmp(mode, "xts") == 0 ? 2 : 1),
			       &h->spec, err);
}

static int create_find_hash(const struct img_create_options *o, const char *prefix,
			    struct luks_header *h, int *out, struct err *err)
{
	const char *name = create_option(o, prefix, "hash-alg", "sha256");

	*out = crypt_hash_find(name);
	if (!*out || strlen(name) > 32)
		return err_set(err, -ENOTSUP, "hash-alg=%s: it isn't supported", name);
	snprintf(h->hash, sizeof(h->hash), "%s", name);
	return 0;
}

static int create_find_cost(const struct img_create_options *o, const char *prefix, int hash,
			    u32 key_bytes, u32 *out, struct err *err)
{
	const char *text = create_option(o, prefix, "iter-time", NULL);
	u32 cost;
	unsigned long ms = CREATE_TIME_MS;
	char *end;

	if (text) {
		ms = strtoul(text, &end, 10);
		if (*text < '0' || *text > '9' || *end || !ms || ms > CREATE_MAX_MS)
			return err_set(err, -EINVAL, "iter-time=%s: it is milliseconds, 1 to %d",
				       text, CREATE_MAX_MS);
	}
	cost = crypt_pbkdf2_cost(hash, key_bytes, (unsigned)ms);
	*out = MIN(MAX(cost, CREATE_MIN_ITERS), LUKS_MAX_ITERATIONS);
	return 0;
}

/* --- the header --- */

static int create_fill(struct luks_plan *p, int hash, u32 cost)
{
	struct luks_header *h = &p->header;
	struct luks_digest *d = &h->digests[0];
	int r;

	h->n_digests = 1;
	*d = (struct luks_digest){
		.kdf.kdf = {.kind = CRYPT_PBKDF2,
			    .hash = hash,
			    .cost = MAX(cost / CREATE_DIGEST_PART, CREATE_MIN_ITERS),
			    .salt_bytes = sizeof(((struct luks1_wire *)0)->digest_salt)},
		.digest_bytes = LUKS1_DIGEST,
		.is_of_data = true,
	};
	r = luks_random(d->kdf.salt, d->kdf.kdf.salt_bytes);
	if (r == 0)
		r = luks_random(p->key->bytes, p->key->n);
	if (r == 0)
		r = luks_derive(&d->kdf, p->key->bytes, p->key->n, d->digest, LUKS1_DIGEST);
	return r;
}

/* The slots stand one behind the other, each from a multiple of 4 KiB. Returns where they end. */
static u64 create_place_slots(struct luks_header *h, int hash)
{
	u64 at = LUKS1_SLOTS_START;

	h->n_slots = LUKS1_SLOTS;
	for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
		struct luks_slot *s = &h->slots[i];

		s->number = i;
		s->key_bytes = h->spec.key_bytes;
		s->stripes = LUKS_STRIPES;
		s->af_hash = hash;
		s->spec = h->spec;
		s->offset = at;
		at += align_up(luks_material_bytes(s), LUKS1_SLOTS_START);
	}
	return at;
}

int luks_fill_slot(struct luks_slot *s, int hash, u32 cost)
{
	s->is_used = true;
	s->kdf.kdf = (struct crypt_kdf){
		.kind = CRYPT_PBKDF2,
		.hash = hash,
		.cost = cost,
		.salt_bytes = sizeof(((struct luks1_slot_wire *)0)->salt),
	};
	return luks_random(s->kdf.salt, s->kdf.kdf.salt_bytes);
}

int luks_plan(const struct img_create_options *o, const char *prefix, u64 align,
	      struct luks_plan *out, struct err *err)
{
	struct luks_header *h = &out->header;
	u8 guid[16];
	u32 cost;
	int hash, r;

	*h = (struct luks_header){.version = 1, .sector_bytes = BLK_SECTOR};
	if (crypt_init(err) < 0 || !luks_find_secret(o, prefix, err) ||
	    create_find_spec(o, prefix, h, err) < 0 ||
	    create_find_hash(o, prefix, h, &hash, err) < 0 ||
	    create_find_cost(o, prefix, hash, h->spec.key_bytes, &cost, err) < 0)
		return err->code;
	out->key = secret_new(h->spec.key_bytes);
	out->bytes = h->payload_offset = align_up(create_place_slots(h, hash), align);
	r = img_guid_new(guid);
	if (r == 0)
		r = create_fill(out, hash, cost);
	if (r == 0)
		r = luks_fill_slot(&h->slots[0], hash, cost);
	img_guid_print(guid, h->uuid);
	return r < 0 ? err_errno(err, r, "cannot make a key") : 0;
}

int luks_measure_header(const struct img_create_options *o, const char *prefix, u64 align, u64 *out,
			struct err *err)
{
	struct luks_header h = {.version = 1};

	if (crypt_init(err) < 0 || create_find_spec(o, prefix, &h, err) < 0)
		return err->code;
	*out = align_up(create_place_slots(&h, 0), align);
	return 0;
}

void luks_plan_fini(struct luks_plan *p)
{
	secret_free(p->key);
}

int luks_write_new(struct blk *file, struct luks_plan *p, const struct img_create_options *o,
		   const char *prefix, struct err *err)
{
	const struct img_secret *s = luks_find_secret(o, prefix, err);

	if (!s ||
	    luks_seal(file, &p->header, &p->header.slots[0], p->key, s->bytes, s->n_bytes, err) < 0)
		return err->code;
	return luks1_write(file, &p->header, err);
}
