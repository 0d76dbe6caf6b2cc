/*
 * The library, hashes, key derivation. See crypt.h.
 */
#include "crypt/crypt.h"

#include <gcrypt.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/time.h"

#define CRYPT_LOCKED   (256 * 1024) /* bytes for the keys of ciphers, and where hashes work */
#define CRYPT_PROBE_MS 40           /* a measurement's least length */

static gcry_error_t crypt_start(void)
{
	gcry_error_t e;

	/* Where locking isn't allowed, it goes on without; privileges are nothing it should care about. */
	e = gcry_control(GCRYCTL_DISABLE_PRIV_DROP);
	if (!e)
		e = gcry_control(GCRYCTL_SUSPEND_SECMEM_WARN);
	if (!e)
		e = gcry_control(GCRYCTL_INIT_SECMEM, CRYPT_LOCKED, 0);
	if (!e)
		e = gcry_control(GCRYCTL_AUTO_EXPAND_SECMEM, CRYPT_LOCKED);
	return e ? e : gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

int crypt_init(struct err *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	gcry_error_t e = 0;

	pthread_mutex_lock(&lock);
	if (!gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
		if (!gcry_check_version(GCRYPT_VERSION))
			e = gpg_error(GPG_ERR_UNKNOWN_VERSION);
		/* INIT_SECMEM says so when memory can't be locked, and works. */
		else
			e = crypt_start();
	}
	pthread_mutex_unlock(&lock);
	return e ? err_set(err, -ENOSYS, "libgcrypt doesn't start: %s", gcry_strerror(e)) : 0;
}

/* --- hashes --- */

/* clang-format off */
static const struct {
	const char *name;
	int hash;
} crypt_hashes[] = {
	{"sha1", GCRY_MD_SHA1},
	{"sha224", GCRY_MD_SHA224},
	{"sha256", GCRY_MD_SHA256},
	{"sha384", GCRY_MD_SHA384},
	{"sha512", GCRY_MD_SHA512},
	{"ripemd160", GCRY_MD_RMD160},
	{"whirlpool", GCRY_MD_WHIRLPOOL},
	{"sha3-256", GCRY_MD_SHA3_256},
	{"sha3-512", GCRY_MD_SHA3_512},
	{"blake2b-512", GCRY_MD_BLAKE2B_512},
	{"blake2s-256", GCRY_MD_BLAKE2S_256},
};
/* clang-format on */

int crypt_hash_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(crypt_hashes); i++) {
		if (strcmp(crypt_hashes[i].name, name) == 0)
			return gcry_md_test_algo(crypt_hashes[i].hash) ? 0 : crypt_hashes[i].hash;
	}
	return 0;
}

unsigned crypt_hash_bytes(int hash)
{
	return gcry_md_get_algo_dlen(hash);
}

void crypt_hash(int hash, const struct crypt_piece *pieces, unsigned n, u8 *out)
{
	gcry_buffer_t iov[4] = {{0}};
	gcry_error_t e;

	assert(n <= ARRAY_SIZE(iov));
	for (unsigned i = 0; i < n; i++) {
		iov[i].data = (void *)pieces[i].from;
		iov[i].len = pieces[i].bytes;
	}
	e = gcry_md_hash_buffers(hash, 0, out, iov, (int)n);
	assert(!e);
}

/* --- keys --- */

static int crypt_result(gcry_error_t e)
{
	if (!e)
		return 0;
	return gcry_err_code(e) == GPG_ERR_ENOMEM ? -ENOMEM : -EINVAL;
}

static int crypt_argon2(const struct crypt_kdf *k, const void *secret, size_t bytes, u8 *out,
			size_t out_bytes)
{
	const unsigned long costs[] = {out_bytes, k->cost, k->memory, k->n_lanes};
	gcry_kdf_hd_t h;
	gcry_error_t e = gcry_kdf_open(
		&h, GCRY_KDF_ARGON2,
		k->kind == CRYPT_ARGON2I ? GCRY_KDF_ARGON2I : GCRY_KDF_ARGON2ID, costs,
		ARRAY_SIZE(costs), secret, bytes, k->salt, k->salt_bytes, NULL, 0, NULL, 0);

	if (e)
		return crypt_result(e);
	e = gcry_kdf_compute(h, NULL);
	if (!e)
		e = gcry_kdf_final(h, out_bytes, out);
	gcry_kdf_close(h);
	return crypt_result(e);
}

int crypt_derive(const struct crypt_kdf *k, const void *secret, size_t bytes, u8 *out,
		 size_t out_bytes)
{
	if (k->kind != CRYPT_PBKDF2)
		return crypt_argon2(k, secret, bytes, out, out_bytes);
	return crypt_result(gcry_kdf_derive(secret, bytes, GCRY_KDF_PBKDF2, k->hash, k->salt,
					    k->salt_bytes, k->cost, out_bytes, out));
}

static u64 crypt_thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

u32 crypt_pbkdf2_cost(int hash, size_t key_bytes, unsigned ms)
{
	static const u8 salt[32] = {1};
	u8 key[CRYPT_KEY_MAX];
	struct crypt_kdf k = {.hash = hash, .cost = 4096, .salt = salt, .salt_bytes = sizeof(salt)};

	assert(key_bytes <= sizeof(key));
	for (;;) {
		u64 start = crypt_thread_ns(), ns;

		if (crypt_derive(&k, "measure", 7, key, key_bytes) < 0)
			return k.cost;
		ns = crypt_thread_ns() - start;
		if (ns >= CRYPT_PROBE_MS * NSEC_PER_MSEC || k.cost >= BIT32(28))
			return (u32)MIN((u64)k.cost * ms / (ns / NSEC_PER_MSEC + 1),
					(u64)UINT32_MAX);
		k.cost *= 2;
	}
}
