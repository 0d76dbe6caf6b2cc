/* crypto NAME COUNT: work for Debian's libcrypto, a fixed amount of it; its result is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#define BLOCK (64 * 1024)

static unsigned char data[BLOCK], out[BLOCK + 64];

static void print(const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static int digest(unsigned count)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned n;

	if (!EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		return 0;
	for (unsigned i = 0; i < count; i++)
		EVP_DigestUpdate(ctx, data, BLOCK);
	if (!EVP_DigestFinal_ex(ctx, out, &n))
		return 0;
	print(out, n);
	return 1;
}

/* Each block with its own nonce and tag. */
static int encrypt(const EVP_CIPHER *cipher, unsigned count)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char key[32] = {1, 2, 3}, nonce[12] = {0}, tag[16];
	int n, rest;

	for (unsigned i = 0; i < count; i++) {
		memcpy(nonce, &i, sizeof(i));
		if (!EVP_EncryptInit_ex(ctx, cipher, NULL, key, nonce) ||
		    !EVP_EncryptUpdate(ctx, out, &n, data, BLOCK) ||
		    !EVP_EncryptFinal_ex(ctx, out + n, &rest) ||
		    !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag))
			return 0;
		memcpy(data, tag, sizeof(tag));
	}
	print(tag, sizeof(tag));
	return 1;
}

/* A key of its own, signatures with it, each verified: how many are good. */
static int sign(EVP_PKEY *key, unsigned count)
{
	unsigned n_good = 0;

	for (unsigned i = 0; key && i < count; i++) {
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		unsigned char signature[512];
		size_t n = sizeof(signature);

		memcpy(data, &i, sizeof(i));
		n_good += EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
			  EVP_DigestSign(ctx, signature, &n, data, 64) == 1 &&
			  EVP_MD_CTX_reset(ctx) == 1 &&
			  EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
			  EVP_DigestVerify(ctx, signature, n, data, 64) == 1;
		EVP_MD_CTX_free(ctx);
	}
	printf("%u good\n", n_good);
	return n_good == count;
}

/* Making an RSA key takes as long as chance wants: one from a file. */
static EVP_PKEY *read_key(void)
{
	FILE *f = fopen("/soft/rsa.der", "rb");
	static unsigned char der[4096];
	const unsigned char *at = der;
	size_t n = f ? fread(der, 1, sizeof(der), f) : 0;

	return d2i_AutoPrivateKey(NULL, &at, (long)n);
}

int main(int argc, char **argv)
{
	const char *name = argc == 3 ? argv[1] : "";
	unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;

	for (unsigned i = 0; i < BLOCK; i++)
		data[i] = (unsigned char)(i * 7 + (i >> 8));
	if (!strcmp(name, "sha256"))
		return !digest(count);
	if (!strcmp(name, "aes-gcm"))
		return !encrypt(EVP_aes_128_gcm(), count);
	if (!strcmp(name, "chacha20"))
		return !encrypt(EVP_chacha20_poly1305(), count);
	if (!strcmp(name, "rsa"))
		return !sign(read_key(), count);
	if (!strcmp(name, "p256"))
		return !sign(EVP_EC_gen("P-256"), count);
	return 1;
}
