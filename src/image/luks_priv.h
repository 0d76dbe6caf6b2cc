/*
 * LUKS: what is known of a container, from either version's header. For the luks_*.c and qcow2.
 */
#ifndef IMAGE_LUKS_PRIV_H
#define IMAGE_LUKS_PRIV_H

#include "base/bytes.h"
#include "crypt/crypt.h"
#include "crypt/secret.h"
#include "image/image.h"

#define LUKS_SLOTS    32
#define LUKS_DIGESTS  32
#define LUKS_SALT_MAX 64

/* What a stranger's header may cost us: more is refused, and said so. */
#define LUKS_MAX_STRIPES    8192u
#define LUKS_MAX_ITERATIONS 100000000u     /* of PBKDF2, some 30 seconds */
#define LUKS_MAX_MEMORY     (1024u * 1024) /* of Argon2, KiB: what cryptsetup takes at most by itself */
#define LUKS_MAX_PASSES     64u
#define LUKS_MAX_LANES      16u
#define LUKS_MAX_WORK       (32 * LUKS_MAX_MEMORY) /* of it: passes times memory */

struct luks_kdf {
	struct crypt_kdf kdf; /* but for the salt */
	u8 salt[LUKS_SALT_MAX];
};

struct luks_slot {
	bool is_used;
	unsigned number, priority; /* 0: only when it is named; 2: first */
	struct luks_kdf kdf;
	u32 key_bytes; /* of the key that is in it */
	u32 stripes;
	int af_hash;
	u64 offset;             /* of the key material, from the header's start */
	struct crypt_spec spec; /* of the key material */
	char refusal[96];       /* why it can't be used; else empty */
};

struct luks_digest {
	struct luks_kdf kdf;
	u32 slots; /* bits */
	u8 digest[CRYPT_HASH_MAX];
	u32 digest_bytes;
	bool is_of_data;
};

struct luks_header {
	unsigned version;
	u64 base; /* where it is in its file: not 0 in qcow2 */
	char uuid[41], label[49];
	char cipher[33], mode[33],
		hash[33]; /* of the data, as they are in the header; LUKS2: no hash */
	struct crypt_spec spec;
	u32 sector_bytes;
	u64 iv_tweak;                      /* the first sector's number */
	u64 payload_offset, payload_bytes; /* 0: to the file's end */
	u64 sequence;
	bool is_first_bad, is_second_bad; /* LUKS2: that copy is damaged, or older */
	struct luks_slot slots[LUKS_SLOTS];
	struct luks_digest digests[LUKS_DIGESTS];
	unsigned n_slots, n_digests;
};

/* The header at base; bytes: what is there for it (in qcow2), or BLK_SIZE_MAX. */
int luks_read_header(struct blk *file, u64 base, u64 bytes, struct luks_header *out,
		     struct err *err);
int luks1_read(struct blk *file, u64 base, u64 bytes, struct luks_header *h, struct err *err);
int luks2_read(struct blk *file, struct luks_header *h, struct err *err);
/* Makes the bad copy of a LUKS2 header from the good one. */
int luks2_mend(struct blk *file, struct luks_header *h, struct err *err);
/* What both versions check of a slot; refusal is set where it can't be used. */
void luks_check_kdf(struct luks_slot *s);

/* --- luks_key.c --- */

/*
 * The key of the data, by a passphrase or (o->is_volume_key) from itself. -ENOKEY: there is no secret;
 * -EKEYREJECTED: none of those fits. *out_slot, unless NULL: which one it opened.
 */
int luks_unlock(struct blk *file, const struct luks_header *h, const struct img_open_options *o,
		struct secret **out, unsigned *out_slot, struct err *err);
/* The key material of a slot: for a passphrase, by the slot's kdf. */
int luks_seal(struct blk *file, const struct luks_header *h, const struct luks_slot *s,
	      const struct secret *key, const void *passphrase, size_t bytes, struct err *err);
int luks_derive(const struct luks_kdf *k, const void *secret, size_t bytes, u8 *out,
		size_t out_bytes);
/* Random bytes are there instead. */
int luks_shred(struct blk *file, const struct luks_header *h, const struct luks_slot *s,
	       struct err *err);
u64 luks_material_bytes(const struct luks_slot *s);

/* --- luks_af.c: the anti-forensic splitter: n stripes of bytes, of which all are needed --- */

int luks_random(u8 *out, size_t bytes);
int luks_af_split(int hash, const u8 *key, u32 bytes, u32 n,
		  u8 *out); /* a negative errno: no chance */
void luks_af_merge(int hash, const u8 *from, u32 bytes, u32 n, u8 *out);

/* --- luks_create.c --- */

/* A LUKS1 header with one slot at base of file. prefix: of the options' names ("encrypt."). */
struct luks_plan {
	struct luks_header header;
	u64 bytes; /* before the data: header and key material */
	struct secret *key;
};
int luks_plan(const struct img_create_options *o, const char *prefix, u64 align,
	      struct luks_plan *out, struct err *err);
int luks_write_new(struct blk *file, struct luks_plan *p, const struct img_create_options *o,
		   const char *prefix, struct err *err);
void luks_plan_fini(struct luks_plan *p);
/* How many bytes that would be before the data, a multiple of align; needs no secret. */
int luks_measure_header(const struct img_create_options *o, const char *prefix, u64 align, u64 *out,
			struct err *err);
const struct img_secret *luks_find_secret(const struct img_create_options *o, const char *prefix,
					  struct err *err);  /* NULL: explained */
int luks_fill_slot(struct luks_slot *s, int hash, u32 cost); /* in use, with a new salt */
/* Writes a LUKS1 header as h has it. */
int luks1_write(struct blk *file, const struct luks_header *h, struct err *err);

/* --- luks_info.c --- */

/* For img_info.specific. */
struct json_t *luks_describe(const struct luks_header *h);

/* clang-format off */
#define LUKS_OPTIONS(prefix) \
	{prefix "cipher-alg", "NAME-BITS", "the cipher: aes-256, aes-128, serpent-256, twofish-256, ... (default: aes-256)"}, \
	{prefix "cipher-mode", "xts|cbc", "how it is used (default: xts)"}, \
	{prefix "hash-alg", "NAME", "of the key derivation: sha256, sha512, sha1, ripemd160, ... (default: sha256)"}, \
	{prefix "iter-time", "MS", "how long deriving a key from the passphrase takes here (default: 2000)"}, \
	{prefix "ivgen-alg", "plain64|plain|essiv", "what makes equal sectors differ (default: plain64)"}, \
	{prefix "ivgen-hash-alg", "NAME", "of essiv (default: sha256)"}, \
	{prefix "key-secret", "ID", "which --secret is the passphrase (default: the only one)"}
/* clang-format on */

#endif
