/*
 * Ciphers for sectors, hashes and key derivation, for encrypted disk images.
 *
 * Threads: any, but that a struct crypt_cipher is one thread's at a time.
 */
#ifndef CRYPT_CRYPT_H
#define CRYPT_CRYPT_H

#include "base/base.h"

struct err;
struct secret;

#define CRYPT_KEY_MAX  128 /* bytes */
#define CRYPT_HASH_MAX 64

/*
 * Starts the library, which reads files of the host and locks memory: before the process is confined. Again
 * is fine. What follows needs it.
 */
int crypt_init(struct err *err);

/* --- hashes, by the names that LUKS has for them --- */

/* 0: it isn't known, or the library hasn't it. */
int crypt_hash_find(const char *name);
unsigned crypt_hash_bytes(int hash);
/* Of the pieces, one behind the other. */
struct crypt_piece {
	const void *from;
	size_t bytes;
};
void crypt_hash(int hash, const struct crypt_piece *pieces, unsigned n, u8 *out);

/* --- keys from passphrases --- */

enum crypt_kdf_kind { CRYPT_PBKDF2, CRYPT_ARGON2I, CRYPT_ARGON2ID };

struct crypt_kdf {
	enum crypt_kdf_kind kind;
	int hash;    /* PBKDF2 */
	u32 cost;    /* iterations; passes */
	u32 memory;  /* Argon2: KiB */
	u32 n_lanes; /* Argon2 */
	const u8 *salt;
	size_t salt_bytes;
};
/* Takes as long as its costs say. -ENOMEM; -EINVAL for what the library refuses. */
int crypt_derive(const struct crypt_kdf *k, const void *secret, size_t bytes, u8 *out,
		 size_t out_bytes);
/* How many iterations of PBKDF2 for a key of so many bytes take ms milliseconds of this thread. */
u32 crypt_pbkdf2_cost(int hash, size_t key_bytes, unsigned ms);

/* --- sectors --- */

enum crypt_iv {
	CRYPT_IV_NONE,
	CRYPT_IV_PLAIN,   /* the sector's number, 32 bits of it */
	CRYPT_IV_PLAIN64, /* all of it */
	CRYPT_IV_ESSIV,   /* that, encrypted with a hash of the key */
};

struct crypt_spec {
	const char *cipher; /* static: "aes" */
	int algorithm, mode;
	enum crypt_iv iv;
	int essiv_hash, essiv_algorithm;
	u32 key_bytes; /* XTS: of both keys */
};

/* cipher "aes", mode "xts-plain64" or "cbc-essiv:sha256". What isn't known is refused with its name. */
int crypt_spec_find(const char *cipher, const char *mode, u32 key_bytes, struct crypt_spec *out,
		    struct err *err);

struct crypt_cipher;
/* key: spec's key_bytes long. */
int crypt_cipher_new(const struct crypt_spec *s, const u8 *key, struct crypt_cipher **out,
		     struct err *err);
void crypt_cipher_free(struct crypt_cipher *c); /* NULL is fine */
AUTO_FN(crypt_cipher_free, struct crypt_cipher *)
/*
 * Whole sectors of sector_bytes (a multiple of 512), of which the first is number sector, in units of 512
 * bytes; in place.
 */
void crypt_encrypt(struct crypt_cipher *c, u64 sector, u32 sector_bytes, u8 *buf, u64 bytes);
void crypt_decrypt(struct crypt_cipher *c, u64 sector, u32 sector_bytes, u8 *buf, u64 bytes);

#endif
