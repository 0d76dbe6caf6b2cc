/*
 * LUKS2's header ("LUKS2 On-Disk Format Specification", 1.1.1): two copies of a binary header with JSON behind
 * it, each with a checksum; the newer one that is whole counts.
 *
 * The JSON's objects (keyslots, digests, segments) are taken as far as a disk can be made of them: one segment,
 * encrypted, that begins in this file. What else there may be (a re-encryption under way, integrity tags) is
 * refused with its name; a key slot that can't be used is one only when no other fits.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/luks_priv.h"
#include "image/luks_wire.h"

#define LUKS2_MIN_BYTES (16 * KIB) /* of a copy: this, or twice, ..., or */
#define LUKS2_MAX_BYTES (4 * MIB)
#define LUKS2_MAX_JSON  (512 * KIB) /* some ten times what 32 slots and tokens need */
#define LUKS2_MAX_DEPTH 16

/* --- the copies --- */

struct luks2_copy {
	struct luks2_wire w;
	u8 *area; /* all of it, the text behind the wire with a NUL; owned */
	u64 sequence;
};

/* Of a copy whose checksum is zeros; returns its length, or 0 for an unknown hash. */
static u32 luks2_sum(const u8 *area, u64 bytes, u8 out[CRYPT_HASH_MAX])
{
	const struct luks2_wire *w = (const struct luks2_wire *)area;
	char name[sizeof(w->checksum_hash) + 1] = {0};
	const struct crypt_piece all = {area, bytes};
	int hash;

	memcpy(name, w->checksum_hash, sizeof(w->checksum_hash));
	hash = crypt_hash_find(name);
	if (!hash)
		return 0;
	crypt_hash(hash, &all, 1, out);
	return crypt_hash_bytes(hash);
}

static bool luks2_checksum_is_right(struct luks2_copy *c, u64 bytes)
{
	struct luks2_wire *w = (struct luks2_wire *)c->area;
	u8 sum[CRYPT_HASH_MAX];
	u32 n;

	memset(w->checksum, 0, sizeof(w->checksum));
	n = luks2_sum(c->area, bytes, sum);
	return n && memcmp(sum, c->w.checksum, n) == 0;
}

/* 0; -EINVAL: there is no such copy, or it is damaged. */
static int luks2_read_copy(struct blk *file, u64 offset, const char *magic, struct luks2_copy *c)
{
	u64 bytes;
	int r = blk_read(file, offset, &c->w, sizeof(c->w));

	if (r < 0)
		return r;
	bytes = be64_get(c->w.bytes);
	if (memcmp(c->w.magic, magic, LUKS_MAGIC_BYTES) != 0 || be16_get(c->w.version) != 2 ||
	    be64_get(c->w.offset) != offset || !is_power_of_two(bytes) || bytes < LUKS2_MIN_BYTES ||
	    bytes > LUKS2_MAX_BYTES || (offset && offset != bytes) ||
	    !range_fits(offset, bytes, file->size))
		return -EINVAL;
	c->area = alloc_try(1, bytes + 1);
	if (!c->area)
		return -ENOMEM;
	r = blk_read(file, offset, c->area, bytes);
	if (r == 0 && !luks2_checksum_is_right(c, bytes))
		r = -EINVAL;
	c->sequence = be64_get(c->w.sequence);
	return r;
}

static int luks2_find_second(struct blk *file, struct luks2_copy *c)
{
	for (u64 at = LUKS2_MIN_BYTES; at <= LUKS2_MAX_BYTES; at *= 2) {
		int r = luks2_read_copy(file, at, LUKS2_SECOND, c);

		if (r != -EINVAL)
			return r;
		free(take(c->area));
	}
	return -EINVAL;
}

/* --- JSON --- */

/* Deep nesting would be a deep recursion of the parser. */
static bool luks2_is_shallow(const char *text)
{
	unsigned depth = 0;
	bool is_string = false;

	for (; *text; text++) {
		if (is_string && *text == '\\' && text[1])
			text++;
		else if (*text == '"')
			is_string = !is_string;
		else if (!is_string && (*text == '{' || *text == '['))
			depth++;
		else if (!is_string && (*text == '}' || *text == ']'))
			depth -= depth > 0;
		if (depth > LUKS2_MAX_DEPTH)
			return false;
	}
	return true;
}

static const char *luks2_text(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text ? text : "";
}

/* A number in a string, as 64-bit ones are there. */
static bool luks2_u64(const json_t *o, const char *name, u64 *out)
{
	const char *text = luks2_text(o, name);
	char *end;

	errno = 0;
	*out = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

static bool luks2_u32(const json_t *o, const char *name, u32 max, u32 *out)
{
	const json_t *v = json_object_get(o, name);
	json_int_t n = json_integer_value(v);

	*out = (u32)n;
	return json_is_integer(v) && n > 0 && n <= (json_int_t)max;
}

static int luks2_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Base64 (RFC 4648) of at most max bytes; 0: it is none. */
static size_t luks2_base64(const json_t *o, const char *name, u8 *out, size_t max)
{
	const char *text = luks2_text(o, name);
	size_t n = 0, chars = strlen(text);
	u32 bits = 0, n_bits = 0;

	if (chars % 4)
		return 0;
	while (chars && text[chars - 1] == '=')
		chars--;
	for (size_t i = 0; i < chars; i++) {
		int digit = luks2_digit(text[i]);

		if (digit < 0)
			return 0;
		bits = bits << 6 | (u32)digit;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			if (n == max)
				return 0;
			out[n++] = (u8)(bits >> n_bits);
		}
	}
	return n;
}

/* "7" of {"7": ...}: below max. */
static bool luks2_index(const char *text, u32 max, u32 *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*out = (u32)n;
	return *text >= '0' && *text <= '9' && !*end && n < max;
}

/* --- key derivation, ciphers --- */

/* "aes-xts-plain64" */
static int luks2_spec(const char *encryption, u32 key_bytes, char *cipher, char *mode,
		      struct crypt_spec *out, struct err *err)
{
	const char *dash = strchr(encryption, '-');

	if (!dash || dash - encryption > 32 || strlen(dash + 1) > 32 || !key_bytes ||
	    key_bytes > CRYPT_KEY_MAX)
		return err_set(err, -ENOTSUP, "the encryption '%.64s' isn't supported", encryption);
	snprintf(cipher, 33, "%.*s", (int)(dash - encryption), encryption);
	snprintf(mode, 33, "%s", dash + 1);
	return crypt_spec_find(cipher, mode, key_bytes, out, err);
}

static int luks2_hash(const json_t *o, const char *name, int *out, struct err *err)
{
	const char *hash = luks2_text(o, name);

	*out = crypt_hash_find(hash);
	return *out ? 0 : err_set(err, -ENOTSUP, "the hash '%.32s' isn't supported", hash);
}

static int luks2_pbkdf2(const json_t *o, struct luks_kdf *k, struct err *err)
{
	k->kdf.kind = CRYPT_PBKDF2;
	if (!luks2_u32(o, "iterations", UINT32_MAX, &k->kdf.cost))
		return err_set(err, -EINVAL, "a number of iterations is none");
	return luks2_hash(o, "hash", &k->kdf.hash, err);
}

static int luks2_argon2(const json_t *o, struct luks_kdf *k, struct err *err)
{
	if (!luks2_u32(o, "time", UINT32_MAX, &k->kdf.cost) ||
	    !luks2_u32(o, "memory", UINT32_MAX, &k->kdf.memory) ||
	    !luks2_u32(o, "cpus", UINT32_MAX, &k->kdf.n_lanes))
		return err_set(err, -EINVAL, "the costs of Argon2 are no numbers");
	return 0;
}

static int luks2_kdf(const json_t *o, struct luks_kdf *k, struct err *err)
{
	const char *type = luks2_text(o, "type");
	int r;

	if (strcmp(type, "pbkdf2") == 0) {
		r = luks2_pbkdf2(o, k, err);
	} else if (strcmp(type, "argon2i") == 0 || strcmp(type, "argon2id") == 0) {
		k->kdf.kind = type[7] ? CRYPT_ARGON2ID : CRYPT_ARGON2I;
		r = luks2_argon2(o, k, err);
	} else {
		r = err_set(err, -ENOTSUP, "the key derivation '%.32s' isn't supported", type);
	}
	k->kdf.salt_bytes = luks2_base64(o, "salt", k->salt, sizeof(k->salt));
	return r == 0 && !k->kdf.salt_bytes ? err_set(err, -EINVAL, "a salt is none") : r;
}

/* --- slots --- */

static int luks2_take_area(const json_t *o, struct luks_slot *s, u64 start, u64 end,
			   struct err *err)
{
	const json_t *area = json_object_get(o, "area");
	char cipher[33], mode[33];
	u64 bytes;
	u32 key_bytes;

	if (strcmp(luks2_text(area, "type"), "raw") != 0)
		return err_set(err, -ENOTSUP, "its area of the type '%.32s' isn't supported",
			       luks2_text(area, "type"));
	if (!luks2_u64(area, "offset", &s->offset) || !luks2_u64(area, "size", &bytes) ||
	    !luks2_u32(area, "key_size", CRYPT_KEY_MAX, &key_bytes))
		return err_set(err, -EINVAL, "its area has no place");
	if (s->offset < start || !range_fits(s->offset, bytes, end) ||
	    luks_material_bytes(s) > bytes)
		return err_set(err, -EINVAL, "its area is at 0x%lx, outside of the key slots'",
			       s->offset);
	return luks2_spec(luks2_text(area, "encryption"), key_bytes, cipher, mode, &s->spec, err);
}

static int luks2_take_slot(const json_t *o, struct luks_slot *s, u64 start, u64 end,
			   struct err *err)
{
	const json_t *af = json_object_get(o, "af");

	if (strcmp(luks2_text(o, "type"), "luks2") != 0)
		return err_set(err, -ENOTSUP, "its type '%.32s' isn't supported",
			       luks2_text(o, "type"));
	if (strcmp(luks2_text(af, "type"), "luks1") != 0)
		return err_set(err, -ENOTSUP, "its splitter '%.32s' isn't supported",
			       luks2_text(af, "type"));
	if (!luks2_u32(o, "key_size", CRYPT_KEY_MAX, &s->key_bytes) ||
	    !luks2_u32(af, "stripes", LUKS_MAX_STRIPES, &s->stripes))
		return err_set(err, -EINVAL, "its key has no size");
	if (luks2_hash(af, "hash", &s->af_hash, err) < 0 ||
	    luks2_kdf(json_object_get(o, "kdf"), &s->kdf, err) < 0)
		return err->code;
	return luks2_take_area(o, s, start, end, err);
}

/* One that can't be used is remembered with the reason. */
static int luks2_take_slots(const json_t *json, struct luks_header *h, u64 start, u64 end,
			    struct err *err)
{
	json_t *slots = json_object_get(json, "keyslots"), *o;
	const char *name;

	json_object_foreach(slots, name, o)
	{
		struct err why = ERR_INIT;
		struct luks_slot *s;
		u32 i;

		if (!luks2_index(name, LUKS_SLOTS, &i))
			return err_set(err, -EINVAL, "it has a key slot '%.16s'", name);
		s = &h->slots[i];
		s->is_used = true;
		s->priority = json_is_integer(json_object_get(o, "priority"))
				      ? (unsigned)json_integer_value(json_object_get(o, "priority"))
				      : 1;
		if (luks2_take_slot(o, s, start, end, &why) < 0)
			snprintf(s->refusal, sizeof(s->refusal), "key slot %u: %.80s", i, why.text);
		else
			luks_check_kdf(s);
	}
	return 0;
}

static int luks2_check_overlaps(const struct luks_header *h, struct err *err)
{
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		for (unsigned j = 0; j < i; j++) {
			const struct luks_slot *a = &h->slots[i], *b = &h->slots[j];

			if (a->is_used && b->is_used && !*a->refusal && !*b->refusal &&
			    range_overlaps(a->offset, luks_material_bytes(a), b->offset,
					   luks_material_bytes(b)))
				return err_set(err, -EINVAL, "key slots %u and %u overlap", j, i);
		}
	}
	return 0;
}

/* --- digests --- */

static bool luks2_has_text(const json_t *list, const char *text)
{
	size_t i;
	json_t *v;

	json_array_foreach(list, i, v)
	{
		if (json_is_string(v) && strcmp(json_string_value(v), text) == 0)
			return true;
	}
	return false;
}

static int luks2_take_digest(const json_t *o, const char *segment, struct luks_digest *d,
			     struct err *err)
{
	if (strcmp(luks2_text(o, "type"), "pbkdf2") != 0)
		return err_set(err, -ENOTSUP, "the digest '%.32s' isn't supported",
			       luks2_text(o, "type"));
	if (luks2_kdf(o, &d->kdf, err) < 0)
		return err->code;
	if (d->kdf.kdf.cost > LUKS_MAX_ITERATIONS)
		return err_set(err, -EINVAL,
			       "the key's digest takes %u iterations; at most %u are done",
			       d->kdf.kdf.cost, LUKS_MAX_ITERATIONS);
	d->digest_bytes = (u32)luks2_base64(o, "digest", d->digest, sizeof(d->digest));
	/* Short ones would be met by chance. */
	if (d->digest_bytes < 16)
		return err_set(err, -EINVAL, "a digest is none");
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		if (luks2_has_text(json_object_get(o, "keyslots"), name))
			d->slots |= BIT32(i);
	}
	d->is_of_data = luks2_has_text(json_object_get(o, "segments"), segment);
	return 0;
}

static int luks2_take_digests(const json_t *json, const char *segment, struct luks_header *h,
			      struct err *err)
{
	json_t *digests = json_object_get(json, "digests"), *o;
	const char *name;

	json_object_foreach(digests, name, o)
	{
		if (h->n_digests == LUKS_DIGESTS)
			return err_set(err, -EINVAL, "it has more than %d digests", LUKS_DIGESTS);
		if (luks2_take_digest(o, segment, &h->digests[h->n_digests++], err) < 0)
			return err->code;
	}
	return 0;
}

/* --- segments --- */

static int luks2_take_segment(const json_t *o, struct luks_header *h, struct err *err)
{
	const json_t *integrity = json_object_get(o, "integrity");
	const char *size = luks2_text(o, "size");

	if (strcmp(luks2_text(o, "type"), "crypt") != 0)
		return err_set(err, -ENOTSUP, "its segment of the type '%.32s' isn't supported",
			       luks2_text(o, "type"));
	if (integrity)
		return err_set(err, -ENOTSUP, "its integrity tags (%.32s) aren't supported",
			       luks2_text(integrity, "type"));
	if (!luks2_u64(o, "offset", &h->payload_offset) ||
	    !luks2_u64(o, "iv_tweak", &h->iv_tweak) ||
	    !luks2_u32(o, "sector_size", 4096, &h->sector_bytes) ||
	    !is_power_of_two(h->sector_bytes) || h->sector_bytes < BLK_SECTOR ||
	    !is_aligned(h->payload_offset, BLK_SECTOR) || h->iv_tweak > BLK_SIZE_MAX)
		return err_set(err, -EINVAL, "its segment has no place");
	if (strcmp(size, "dynamic") != 0 &&
	    (!luks2_u64(o, "size", &h->payload_bytes) || !h->payload_bytes ||
	     !is_aligned(h->payload_bytes, h->sector_bytes)))
		return err_set(err, -EINVAL, "its segment has no size");
	return 0;
}

static int luks2_refuse_requirements(const json_t *json, struct err *err)
{
	const json_t *config = json_object_get(json, "config");
	const json_t *mandatory =
		json_object_get(json_object_get(config, "requirements"), "mandatory");
	const char *first = json_string_value(json_array_get(mandatory, 0));

	if (json_array_size(mandatory))
		return err_set(err, -ENOTSUP, "it requires '%.64s', which isn't supported",
			       first ? first : "?");
	return 0;
}

/* The key's size is that of the slots whose digest is the segment's. */
static int luks2_take_key_size(const json_t *segment, struct luks_header *h, struct err *err)
{
	u32 key_bytes = 0;

	for (unsigned d = 0; d < h->n_digests; d++) {
		for (unsigned i = 0; i < LUKS_SLOTS; i++) {
			const struct luks_slot *s = &h->slots[i];

			if (h->digests[d].is_of_data && h->digests[d].slots & BIT32(i) &&
			    s->is_used && s->key_bytes)
				key_bytes = s->key_bytes;
		}
	}
	if (!key_bytes)
		return err_set(err, -EINVAL, "no key slot has its key");
	return luks2_spec(luks2_text(segment, "encryption"), key_bytes, h->cipher, h->mode,
			  &h->spec, err);
}

static int luks2_take(const json_t *json, struct luks_header *h, u64 header_bytes, struct err *err)
{
	json_t *segments = json_object_get(json, "segments"), *segment;
	void *first = json_object_iter(segments);

	if (luks2_refuse_requirements(json, err) < 0)
		return err->code;
	if (json_object_size(segments) != 1)
		return err_set(err, -ENOTSUP, "it has %zu segments; one is supported",
			       json_object_size(segments));
	segment = json_object_iter_value(first);
	if (luks2_take_segment(segment, h, err) < 0)
		return err->code;
	if (h->payload_offset < 2 * header_bytes)
		return err_set(err, -EINVAL, "its data begins at 0x%lx, in its header",
			       h->payload_offset);
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		h->slots[i].number = i;
	h->n_slots = LUKS_SLOTS;
	if (luks2_take_slots(json, h, 2 * header_bytes, h->payload_offset, err) < 0 ||
	    luks2_check_overlaps(h, err) < 0 ||
	    luks2_take_digests(json, json_object_iter_key(first), h, err) < 0)
		return err->code;
	return luks2_take_key_size(segment, h, err);
}

static int luks2_parse(const struct luks2_copy *c, struct luks_header *h, struct err *err)
{
	const u64 bytes = be64_get(c->w.bytes);
	const char *text = (const char *)c->area + sizeof(c->w);
	json_error_t why;
	json_t *json;
	int r;

	if (strlen(text) > LUKS2_MAX_JSON || !luks2_is_shallow(text))
		return err_set(err, -EINVAL,
			       "its metadata are larger, or nested deeper, than is sensible");
	json = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return err_set(err, -EINVAL, "its metadata are no JSON: %.80s", why.text);
	r = luks2_take(json, h, bytes, err);
	json_decref(json);
	return r;
}

/* --- */

int luks2_read(struct blk *file, struct luks_header *h, struct err *err)
{
	struct luks2_copy first = {0}, second = {0}, *best = &first;
	int r1 = luks2_read_copy(file, 0, LUKS_MAGIC, &first), r2;

	r2 = r1 == 0 ? luks2_read_copy(file, be64_get(first.w.bytes), LUKS2_SECOND, &second)
		     : luks2_find_second(file, &second);
	if (r2 == 0 && (r1 < 0 || second.sequence > first.sequence))
		best = &second;
	h->version = 2;
	if (r1 < 0 && r2 < 0) {
		err_set(err, r1 == -EINVAL ? r2 : r1, "both copies of its header are damaged");
	} else {
		h->is_first_bad = r1 < 0 || (r2 == 0 && first.sequence < second.sequence);
		h->is_second_bad = r2 < 0 || (r1 == 0 && second.sequence < first.sequence);
		h->sequence = best->sequence;
		memcpy(h->uuid, best->w.uuid, sizeof(best->w.uuid));
		memcpy(h->label, best->w.label, sizeof(best->w.label));
		luks2_parse(best, h, err);
	}
	free(first.area);
	free(second.area);
	return err->code;
}

/* --- mending --- */

int luks2_mend(struct blk *file, struct luks_header *h, struct err *err)
{
	struct luks2_copy good = {0};
	struct luks2_wire *w;
	u8 sum[CRYPT_HASH_MAX] = {0};
	u64 bytes, to;
	int r = h->is_first_bad ? luks2_find_second(file, &good)
				: luks2_read_copy(file, 0, LUKS_MAGIC, &good);

	if (r < 0)
		return err_errno(err, r, "cannot read the good copy");
	bytes = be64_get(good.w.bytes);
	to = h->is_first_bad ? 0 : bytes;
	w = (struct luks2_wire *)good.area;
	memcpy(w->magic, h->is_first_bad ? LUKS_MAGIC : LUKS2_SECOND, LUKS_MAGIC_BYTES);
	w->offset = be64_of(to);
	luks2_sum(good.area, bytes, sum);
	memcpy(w->checksum, sum, sizeof(sum));
	r = blk_write(file, to, good.area, bytes);
	if (r == 0)
		r = blk_flush(file);
	free(good.area);
	if (r < 0)
		return err_errno(err, r, "cannot write the header");
	h->is_first_bad = h->is_second_bad = false;
	return 0;
}
