/*
 * Ciphers for sectors. See crypt.h.
 *
 * The names are those of dm-crypt and LUKS: cipher "aes", mode "xts-plain64", where what follows the dash says
 * how a sector's number becomes its initialization vector (cryptsetup-luksFormat(8); Clemens Fruhwirth, "New
 * methods in hard disk encryption", for ESSIV).
 */
#include <gcrypt.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "crypt/crypt.h"
#include "crypt/secret.h"

#define CIPHER_BLOCK 16 /* bytes, of all that are here */

struct crypt_cipher {
	gcry_cipher_hd_t data, essiv; /* essiv: or NULL */
	enum crypt_iv iv;
};

/* --- names --- */

/* clang-format off */
static const struct {
	const char *name;
	u32 key_bytes;
	int algorithm;
} cipher_names[] = {
	{"aes", 16, GCRY_CIPHER_AES128},
	{"aes", 24, GCRY_CIPHER_AES192},
	{"aes", 32, GCRY_CIPHER_AES256},
	{"serpent", 16, GCRY_CIPHER_SERPENT128},
	{"serpent", 24, GCRY_CIPHER_SERPENT192},
	{"serpent", 32, GCRY_CIPHER_SERPENT256},
	{"twofish", 16, GCRY_CIPHER_TWOFISH128},
	{"twofish", 32, GCRY_CIPHER_TWOFISH},
	{"camellia", 16, GCRY_CIPHER_CAMELLIA128},
	{"camellia", 24, GCRY_CIPHER_CAMELLIA192},
	{"camellia", 32, GCRY_CIPHER_CAMELLIA256},
};
/* clang-format on */

/* 0: there is none. */
static int cipher_find(const char *name, u32 key_bytes, const char **out_name)
{
	for (size_t i = 0; i < ARRAY_SIZE(cipher_names); i++) {
		if (strcmp(cipher_names[i].name, name) == 0 &&
		    cipher_names[i].key_bytes == key_bytes) {
			*out_name = cipher_names[i].name;
			return gcry_cipher_test_algo(cipher_names[i].algorithm)
				       ? 0
				       : cipher_names[i].algorithm;
		}
	}
	return 0;
}

static int cipher_find_essiv(struct crypt_spec *s, const char *hash)
{
	const char *name;

	s->iv = CRYPT_IV_ESSIV;
	s->essiv_hash = crypt_hash_find(hash);
	if (!s->essiv_hash)
		return -ENOENT;
	s->essiv_algorithm = cipher_find(s->cipher, crypt_hash_bytes(s->essiv_hash), &name);
	return s->essiv_algorithm ? 0 : -ENOENT;
}

static int cipher_find_iv(struct crypt_spec *s, const char *name)
{
	s->iv = CRYPT_IV_NONE;
	if (strcmp(name, "plain64") == 0)
		s->iv = CRYPT_IV_PLAIN64;
	else if (strcmp(name, "plain") == 0)
		s->iv = CRYPT_IV_PLAIN;
	else if (strncmp(name, "essiv:", 6) == 0)
		return cipher_find_essiv(s, name + 6);
	return s->iv == CRYPT_IV_NONE ? -ENOENT : 0;
}

/* "xts-plain64": the mode, *out_iv: what follows the dash. */
static int cipher_find_mode(const char *mode, const char **out_iv)
{
	static const struct {
		const char *name;
		int mode;
	} modes[] = {{"xts-", GCRY_CIPHER_MODE_XTS}, {"cbc-", GCRY_CIPHER_MODE_CBC}};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strncmp(mode, modes[i].name, 4) == 0) {
			*out_iv = mode + 4;
			return modes[i].mode;
		}
	}
	return 0;
}

int crypt_spec_find(const char *cipher, const char *mode, u32 key_bytes, struct crypt_spec *out,
		    struct err *err)
{
	const char *iv = NULL;
	u32 one;

	*out = (struct crypt_spec){.mode = cipher_find_mode(mode, &iv), .key_bytes = key_bytes};
	one = out->mode == GCRY_CIPHER_MODE_XTS ? key_bytes / 2 : key_bytes;
	if (out->mode && !(out->mode == GCRY_CIPHER_MODE_XTS && key_bytes % 2))
		out->algorithm = cipher_find(cipher, one, &out->cipher);
	if (!out->algorithm || cipher_find_iv(out, iv) < 0)
		return err_set(err, -ENOTSUP,
			       "the encryption %.32s-%.48s with a key of %u bits isn't supported",
			       cipher, mode, key_bytes * 8);
	return 0;
}

/* --- keys --- */

void crypt_cipher_free(struct crypt_cipher *c)
{
	if (!c)
		return;
	gcry_cipher_close(c->data);
	gcry_cipher_close(c->essiv);
	free(c);
}

static gcry_error_t cipher_open_essiv(struct crypt_cipher *c, const struct crypt_spec *s,
				      const u8 *key)
{
	const struct crypt_piece piece = {key, s->key_bytes};
	u8 salt[CRYPT_HASH_MAX];
	gcry_error_t e;

	crypt_hash(s->essiv_hash, &piece, 1, salt);
	e = gcry_cipher_open(&c->essiv, s->essiv_algorithm, GCRY_CIPHER_MODE_ECB,
			     GCRY_CIPHER_SECURE);
	if (!e)
		e = gcry_cipher_setkey(c->essiv, salt, crypt_hash_bytes(s->essiv_hash));
	secret_wipe(salt, sizeof(salt));
	return e;
}

int crypt_cipher_new(const struct crypt_spec *s, const u8 *key, struct crypt_cipher **out,
		     struct err *err)
{
	AUTO(crypt_cipher_free) struct crypt_cipher *c = NEW(struct crypt_cipher);
	gcry_error_t e = gcry_cipher_open(&c->data, s->algorithm, s->mode, GCRY_CIPHER_SECURE);

	c->iv = s->iv;
	if (!e)
		e = gcry_cipher_setkey(c->data, key, s->key_bytes);
	if (!e && s->iv == CRYPT_IV_ESSIV)
		e = cipher_open_essiv(c, s, key);
	if (e)
		return err_set(err, -EINVAL, "the cipher %s can't be used: %s", s->cipher,
			       gcry_strerror(e));
	*out = take(c);
	return 0;
}

/* --- sectors --- */

static void cipher_set_sector(struct crypt_cipher *c, u64 sector)
{
	u8 iv[CIPHER_BLOCK] = {0};
	gcry_error_t e = 0;

	if (c->iv == CRYPT_IV_PLAIN)
		le32_store(iv, (u32)sector);
	else
		le64_store(iv, sector);
	if (c->essiv)
		e = gcry_cipher_encrypt(c->essiv, iv, sizeof(iv), NULL, 0);
	if (!e)
		e = gcry_cipher_setiv(c->data, iv, sizeof(iv));
	assert(!e);
}

void crypt_encrypt(struct crypt_cipher *c, u64 sector, u32 sector_bytes, u8 *buf, u64 bytes)
{
	for (u64 at = 0; at < bytes; at += sector_bytes) {
		gcry_error_t e;

		cipher_set_sector(c, sector + at / 512);
		e = gcry_cipher_encrypt(c->data, buf + at, sector_bytes, NULL, 0);
		assert(!e);
	}
}

void crypt_decrypt(struct crypt_cipher *c, u64 sector, u32 sector_bytes, u8 *buf, u64 bytes)
{
	for (u64 at = 0; at < bytes; at += sector_bytes) {
		gcry_error_t e;

		cipher_set_sector(c, sector + at / 512);
		e = gcry_cipher_decrypt(c->data, buf + at, sector_bytes, NULL, 0);
		assert(!e);
	}
}
