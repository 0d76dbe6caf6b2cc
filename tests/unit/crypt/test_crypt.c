/* Ciphers, hashes, key derivation: vectors of the standards; names; memory for keys. */
#include "crypt/crypt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "crypt/secret.h"
#include "test.h"

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(crypt_init(&err), 0);
	CHECK_EQ(crypt_init(&err), 0);
}

static void is_hex(const u8 *got, size_t n, const char *hex)
{
	char text[256] = "";

	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", got[i]);
	CHECK_STR(text, hex);
}

TEST(hashes_are_those_of_the_standards)
{
	const struct crypt_piece abc[] = {{"a", 1}, {"bc", 2}};
	u8 out[CRYPT_HASH_MAX];

	setup();
	CHECK_EQ(crypt_hash_bytes(crypt_hash_find("sha256")), 32);
	crypt_hash(crypt_hash_find("sha256"), abc, 2, out);
	is_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	crypt_hash(crypt_hash_find("ripemd160"), abc, 2, out);
	is_hex(out, 20, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc");
	CHECK_EQ(crypt_hash_find("md5"), 0);
}

TEST(pbkdf2_is_rfc_6070s)
{
	struct crypt_kdf k = {
		.kind = CRYPT_PBKDF2, .cost = 4096, .salt = (const u8 *)"salt", .salt_bytes = 4};
	u8 out[20];

	setup();
	k.hash = crypt_hash_find("sha1");
	CHECK_EQ(crypt_derive(&k, "password", 8, out, sizeof(out)), 0);
	is_hex(out, 20, "4b007901b765489abead49d926f721d065a429c1");
	CHECK(crypt_pbkdf2_cost(k.hash, 64, 100) > 1000);
}

/* Those of the reference implementation (phc-winner-argon2, test.c): no secret, no associated data. */
TEST(argon2_is_the_reference_implementations)
{
	struct crypt_kdf k = {.kind = CRYPT_ARGON2ID,
			      .cost = 2,
			      .memory = 256,
			      .n_lanes = 2,
			      .salt = (const u8 *)"somesalt",
			      .salt_bytes = 8};
	u8 out[32];

	setup();
	CHECK_EQ(crypt_derive(&k, "password", 8, out, sizeof(out)), 0);
	is_hex(out, 32, "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037");
	k.kind = CRYPT_ARGON2I;
	CHECK_EQ(crypt_derive(&k, "password", 8, out, sizeof(out)), 0);
	is_hex(out, 32, "4ff5ce2769a1d7f4c8a491df09d41a9fbe90e5eb02155a13e4c01e20cd4eab61");
}

/* IEEE 1619-2007, vector 4: XTS-AES-128, a unit of 512 bytes, number 0. */
TEST(aes_xts_is_ieee_1619s)
{
	static const u8 key[32] = {0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60,
				   0x28, 0x74, 0x71, 0x35, 0x26, 0x31, 0x41, 0x59, 0x26, 0x53, 0x58,
				   0x97, 0x93, 0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95};
	struct crypt_cipher *c;
	struct crypt_spec s;
	struct err err = ERR_INIT;
	u8 buf[512];

	setup();
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (u8)i;
	CHECK_EQ(crypt_spec_find("aes", "xts-plain64", 32, &s, &err), 0);
	CHECK_EQ(crypt_cipher_new(&s, key, &c, &err), 0);
	crypt_encrypt(c, 0, 512, buf, sizeof(buf));
	is_hex(buf, 16, "27a7479befa1d476489f308cd4cfa6e2");
	crypt_decrypt(c, 0, 512, buf, sizeof(buf));
	for (unsigned i = 0; i < sizeof(buf); i++)
		CHECK_EQ(buf[i], (u8)i);
	crypt_cipher_free(c);
}

/* Each sector is as if it were alone, whatever its size and whoever goes before it. */
static void sectors_stand_alone(const char *name, const char *mode, u32 key_bytes)
{
	u8 key[CRYPT_KEY_MAX], a[4 * 4096], b[sizeof(a)];
	struct crypt_cipher *c;
	struct crypt_spec s;
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (u8)(i * 37 + 5);
	if (crypt_spec_find(name, mode, key_bytes, &s, &err) < 0)
		fail_msg("%s", err.text);
	CHECK_EQ(crypt_cipher_new(&s, key, &c, &err), 0);
	for (u32 size = 512; size <= 4096; size *= 2) {
		for (unsigned i = 0; i < sizeof(a); i++)
			a[i] = b[i] = (u8)(i * 11);
		crypt_encrypt(c, 7, size, a, sizeof(a));
		for (u32 at = 0; at < sizeof(b); at += size)
			crypt_encrypt(c, 7 + at / 512, size, b + at, size);
		CHECK_MEM(a, b, sizeof(a));
		CHECK(memcmp(a, a + size, size) != 0);
		crypt_decrypt(c, 7, size, a, sizeof(a));
		for (unsigned i = 0; i < sizeof(a); i++)
			CHECK_EQ(a[i], (u8)(i * 11));
	}
	crypt_cipher_free(c);
}

TEST(sectors_are_encrypted_each_for_itself)
{
	setup();
	sectors_stand_alone("aes", "xts-plain64", 64);
	sectors_stand_alone("aes", "xts-plain", 32);
	sectors_stand_alone("aes", "cbc-essiv:sha256", 16);
	sectors_stand_alone("aes", "cbc-plain64", 32);
	sectors_stand_alone("serpent", "xts-plain64", 64);
	sectors_stand_alone("twofish", "xts-plain64", 64);
	sectors_stand_alone("camellia", "cbc-essiv:sha256", 32);
}

static void is_refused(const char *name, const char *mode, u32 key_bytes, const char *words)
{
	struct crypt_spec s;
	struct err err = ERR_INIT;

	CHECK_EQ(crypt_spec_find(name, mode, key_bytes, &s, &err), -ENOTSUP);
	CHECK_ERR(err, words);
}

TEST(what_isnt_known_is_refused_by_its_name)
{
	setup();
	is_refused("cast5", "cbc-plain64", 16, "cast5-cbc-plain64");
	is_refused("aes", "ctr-plain64", 32, "aes-ctr-plain64");
	is_refused("aes", "xts-plain64", 33, "264 bits");
	is_refused("aes", "xts-plain64", 30, "240 bits");
	is_refused("aes", "xts", 64, "aes-xts");
	is_refused("aes", "xts-benbi", 64, "benbi");
	is_refused("aes", "cbc-essiv:md5", 32, "essiv:md5");
	is_refused("twofish", "cbc-essiv:sha1", 32, "essiv:sha1");
	is_refused("capi:xts(aes)", "plain64", 64, "capi");
}

TEST(a_secret_is_read_as_it_is_and_passed_by_a_pipe)
{
	struct err err = ERR_INIT;
	struct secret *s = secret_of("with\na newline\n", 15), *t;
	int fd = secret_pipe(s, &err);

	CHECK(fd >= 0);
	CHECK_EQ(secret_read(fd, &t, &err), 0);
	close(fd);
	CHECK_EQ(t->n, 15);
	CHECK_MEM(t->bytes, "with\na newline\n", 15);
	secret_free(s);
	secret_free(t);
	secret_free(NULL);
}

TEST(secrets_that_are_empty_or_endless_are_refused)
{
	struct err err = ERR_INIT;
	struct secret *s;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK_EQ(secret_read(fd, &s, &err), -EINVAL);
	CHECK_ERR(err, "empty");
	close(fd);
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(secret_read(fd, &s, &err), -E2BIG);
	CHECK_ERR(err, "longer than");
	close(fd);
	fd = open("/", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(secret_read(fd, &s, &err), -EISDIR);
	close(fd);
}
