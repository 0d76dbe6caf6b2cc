/*
 * LUKS's anti-forensic splitter (LUKS1 1.2.3, section 2.4): a key becomes many times its bytes on disk, so that
 * it is gone when any part of them is.
 */
#include <string.h>
#include <sys/random.h>

#include "image/luks_priv.h"

#define AF_RANDOM_MAX 256 /* bytes that getrandom gives whole */

static void af_xor(u8 *to, const u8 *a, const u8 *b, u32 n)
{
	for (u32 i = 0; i < n; i++)
		to[i] = a[i] ^ b[i];
}

/* H1: each piece, as long as the hash, becomes the hash of its number and itself. */
static void af_diffuse(int hash, u8 *block, u32 bytes)
{
	const u32 n = crypt_hash_bytes(hash);
	u8 out[CRYPT_HASH_MAX];
	be32 number;

	for (u32 at = 0, i = 0; at < bytes; at += n, i++) {
		const u32 part = MIN(n, bytes - at);
		const struct crypt_piece pieces[] = {{&number, sizeof(number)}, {block + at, part}};

		number = be32_of(i);
		crypt_hash(hash, pieces, ARRAY_SIZE(pieces), out);
		memcpy(block + at, out, part);
	}
	secret_wipe(out, sizeof(out));
}

int luks_random(u8 *out, size_t bytes)
{
	while (bytes) {
		size_t n = MIN(bytes, (size_t)AF_RANDOM_MAX);

		if (getrandom(out, n, 0) != (ssize_t)n)
			return -EIO;
		out += n;
		bytes -= n;
	}
	return 0;
}

int luks_af_split(int hash, const u8 *key, u32 bytes, u32 n, u8 *out)
{
	u8 sum[CRYPT_KEY_MAX] = {0};
	u8 *last = out + (size_t)(n - 1) * bytes;
	int r = luks_random(out, (size_t)(n - 1) * bytes);

	for (u8 *at = out; r == 0 && at < last; at += bytes) {
		af_xor(sum, sum, at, bytes);
		af_diffuse(hash, sum, bytes);
	}
	af_xor(last, sum, key, bytes);
	secret_wipe(sum, sizeof(sum));
	return r;
}

void luks_af_merge(int hash, const u8 *from, u32 bytes, u32 n, u8 *out)
{
	const u8 *last = from + (size_t)(n - 1) * bytes;

	memset(out, 0, bytes);
	for (; from < last; from += bytes) {
		af_xor(out, out, from, bytes);
		af_diffuse(hash, out, bytes);
	}
	af_xor(out, out, last, bytes);
}
