/*
 * What a person may know of a LUKS container: everything but keys, in qemu-img's words where it has them.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "image/luks_priv.h"

static json_t *luks_describe_kdf(const struct crypt_kdf *k)
{
	static const char *const kinds[] = {
		[CRYPT_PBKDF2] = "pbkdf2",
		[CRYPT_ARGON2I] = "argon2i",
		[CRYPT_ARGON2ID] = "argon2id",
	};

	if (k->kind == CRYPT_PBKDF2)
		return json_pack("{s:s, s:I}", "kdf", kinds[k->kind], "iters", (json_int_t)k->cost);
	return json_pack("{s:s, s:I, s:I, s:I}", "kdf", kinds[k->kind], "iters",
			 (json_int_t)k->cost, "memory-kib", (json_int_t)k->memory, "lanes",
			 (json_int_t)k->n_lanes);
}

static json_t *luks_describe_slot(const struct luks_header *h, const struct luks_slot *s)
{
	json_t *o = json_pack("{s:b}", "active", s->is_used), *kdf;

	if (h->version == 2)
		json_object_set_new(o, "number", json_integer(s->number));
	if (*s->refusal) {
		json_object_set_new(o, "unusable", json_string(s->refusal));
		return o;
	}
	if (s->is_used) {
		kdf = luks_describe_kdf(&s->kdf.kdf);
		if (h->version == 1)
			json_object_del(kdf, "kdf");
		json_object_update(o, kdf);
		json_decref(kdf);
	}
	json_object_set_new(o, "key-offset", json_integer((json_int_t)s->offset));
	if (s->is_used)
		json_object_set_new(o, "stripes", json_integer(s->stripes));
	return o;
}

static void luks_describe_cipher(const struct luks_header *h, json_t *o)
{
	const char *dash = strchr(h->mode, '-'), *colon = strchr(h->mode, ':');
	const int mode = dash ? (int)(dash - h->mode) : 0;
	char text[64];

	snprintf(text, sizeof(text), "%s-%u", h->cipher,
		 h->spec.key_bytes * (strncmp(h->mode, "xts", 3) == 0 ? 4 : 8));
	json_object_set_new(o, "cipher-alg", json_string(text));
	json_object_set_new(o, "cipher-mode", json_sprintf("%.*s", mode, h->mode));
	if (!dash)
		return;
	json_object_set_new(o, "ivgen-alg",
			    colon ? json_sprintf("%.*s", (int)(colon - dash) - 1, dash + 1)
				  : json_string(dash + 1));
	if (colon)
		json_object_set_new(o, "ivgen-hash-alg", json_string(colon + 1));
}

json_t *luks_describe(const struct luks_header *h)
{
	json_t *o = json_object(), *slots = json_array();

	if (h->version == 2)
		json_object_set_new(o, "version", json_integer(2));
	luks_describe_cipher(h, o);
	if (h->version == 1)
		json_object_set_new(o, "hash-alg", json_string(h->hash));
	json_object_set_new(o, "uuid", json_string(h->uuid));
	if (*h->label)
		json_object_set_new(o, "label", json_string(h->label));
	for (unsigned i = 0; i < h->n_slots; i++) {
		if (h->version == 1 || h->slots[i].is_used)
			json_array_append_new(slots, luks_describe_slot(h, &h->slots[i]));
	}
	json_object_set_new(o, "slots", slots);
	json_object_set_new(o, "payload-offset", json_integer((json_int_t)h->payload_offset));
	if (h->version == 1)
		json_object_set_new(o, "master-key-iters",
				    json_integer(h->digests[0].kdf.kdf.cost));
	else
		json_object_set_new(o, "sector-size", json_integer(h->sector_bytes));
	return o;
}
