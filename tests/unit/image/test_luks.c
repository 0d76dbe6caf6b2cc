/* LUKS: the model, slots, sizes, damage, what is refused. */
#include "format_check.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/time.h"
#include "base/work.h"
#include "block/io.h"
#include "crypt/crypt.h"
#include "crypt/secret.h"
#include "image/luks_wire.h"
#include "test.h"

static struct loop *loop;

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static int try_open(int fd, const char *passphrase, bool is_alone, struct blk **out,
		    struct err *err)
{
	const struct img_secret secret = {.bytes = passphrase,
					  .n_bytes = passphrase ? strlen(passphrase) : 0};
	const struct img_open_options o = {.loop = loop,
					   .secrets = &secret,
					   .n_secrets = passphrase ? 1 : 0,
					   .is_readonly = is_alone,
					   .is_alone = is_alone};
	struct blk *file = model_file_of(loop, fd, false);
	int r = img_open(&img_luks, file, &o, out, err);

	if (r < 0)
		blk_free(file);
	return r;
}

static void is_refused(int fd, int code, const char *words)
{
	struct err err = ERR_INIT;
	struct blk *b;

	CHECK_EQ(try_open(fd, "fence", false, &b, &err), code);
	CHECK_ERR(err, words);
}

static void holds(const char *options)
{
	int fd;

	setup();
	fd = format_new(loop, &img_luks, 3 * MIB + 512, options);
	format_model(loop, &img_luks, fd, NULL, 3, 7);
	format_is_sound(loop, &img_luks, fd, NULL, 0);
	close(fd);
	loop_free(loop);
}

TEST(an_encrypted_disk_holds_what_is_written)
{
	holds("iter-time=1");
	holds("iter-time=1,cipher-alg=aes-128,hash-alg=sha1");
	holds("iter-time=1,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256");
	holds("iter-time=1,cipher-alg=serpent-256,hash-alg=sha512");
	holds("iter-time=1,cipher-alg=twofish-256,hash-alg=ripemd160");
}

TEST(nothing_of_it_is_in_the_file)
{
	static const char text[] = "a text that nobody else shall read, behind a good fence";
	static u8 whole[8 * MIB];
	struct blk *b;
	ssize_t n;
	int fd;

	setup();
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	b = format_open(loop, &img_luks, fd, NULL);
	CHECK_EQ(blk_write(b, 1000, text, sizeof(text)), 0);
	blk_free(b);
	n = pread(fd, whole, sizeof(whole), 0);
	CHECK(n > (ssize_t)MIB);
	CHECK(!memmem(whole, (size_t)n, text, 16));
	CHECK(!memmem(whole, (size_t)n, "fence", 5));
	close(fd);
	loop_free(loop);
}

TEST(it_grows_with_zeros_and_shrinks)
{
	struct err err = ERR_INIT;
	struct model *m;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	b = format_open(loop, &img_luks, fd, NULL);
	m = model_new(b, 3);
	model_run(m, 200);
	model_resize(m, 3 * MIB + 512);
	model_compare(m);
	model_run(m, 200);
	model_resize(m, 2 * MIB);
	model_run(m, 200);
	blk_free(b);
	b = format_open(loop, &img_luks, fd, NULL);
	model_reopened(m, b);
	model_compare(m);
	model_free(m);
	CHECK_EQ(blk_resize(b, BLK_SIZE_MAX, &err), -EFBIG);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(a_wrong_passphrase_is_told_from_damage)
{
	struct err err = ERR_INIT;
	struct blk *b;
	u8 byte;
	int fd;

	setup();
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	CHECK_EQ(try_open(fd, "gate", false, &b, &err), -EKEYREJECTED);
	CHECK_ERR(err, "the passphrase is wrong");
	CHECK(!strstr(err.text, "newline"));
	CHECK_EQ(try_open(fd, "fence\n", false, &b, &err), -EKEYREJECTED);
	CHECK_ERR(err, "newline");
	CHECK_EQ(try_open(fd, NULL, false, &b, &err), -ENOKEY);
	CHECK_ERR(err, "no passphrase");
	/* The other kind: the header itself. */
	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	CHECK_EQ(pwrite(fd, "X", 1, 0), 1);
	is_refused(fd, -EINVAL, "damaged");
	close(fd);
	loop_free(loop);
}

TEST(without_a_passphrase_it_can_be_looked_at)
{
	struct err err = ERR_INIT;
	struct img_info info;
	struct blk *b;
	u8 buf[512];
	int fd;

	setup();
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	CHECK_EQ(try_open(fd, NULL, true, &b, &err), 0);
	CHECK_EQ(b->size, MIB);
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	CHECK(info.is_encrypted);
	img_info_fini(&info);
	CHECK_EQ(blk_read(b, 0, buf, sizeof(buf)), -ENOKEY);
	blk_free(b);
	close(fd);
	loop_free(loop);
}

static int try_open_with(int fd, const struct img_open_options *o, struct err *err)
{
	struct blk *file = model_file_of(loop, fd, false), *b;
	int r = img_open(&img_luks, file, o, &b, err);

	if (r < 0)
		blk_free(file);
	return r;
}

/* What a stranger's header says of the digest's cost is paid once, by whoever has the passphrase. */
TEST(the_key_itself_opens_it_at_once)
{
	const be32 cost = be32_of(100000000);
	struct img_secret secret = {.is_volume_key = true};
	struct img_open_options o = {.secrets = &secret, .n_secrets = 1};
	u8 key[CRYPT_KEY_MAX], back[512];
	struct err err = ERR_INIT;
	struct blk *b;
	u64 start;
	int fd;

	setup();
	o.loop = loop;
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	b = format_open(loop, &img_luks, fd, NULL);
	CHECK_EQ(blk_write(b, 1024, "cow", 4), 0);
	secret.n_bytes = b->image->key(b)->n;
	memcpy(key, b->image->key(b)->bytes, secret.n_bytes);
	secret.bytes = key;
	blk_free(b);
	CHECK_EQ(pwrite(fd, &cost, 4, offsetof(struct luks1_wire, digest_iterations)), 4);
	start = time_mono_ns();
	CHECK_EQ(img_open(&img_luks, model_file_of(loop, fd, false), &o, &b, &err), 0);
	CHECK(time_mono_ns() - start < 5 * NSEC_PER_SEC);
	CHECK_EQ(blk_read(b, 1024, back, sizeof(back)), 0);
	CHECK_MEM(back, "cow", 4);
	blk_free(b);
	secret.n_bytes--;
	CHECK_EQ(try_open_with(fd, &o, &err), -EKEYREJECTED);
	close(fd);
	loop_free(loop);
}

TEST(workers_give_what_this_thread_gives)
{
	const struct img_open_options o = {.loop = loop, .secrets = &format_secret, .n_secrets = 1};
	struct img_open_options with = o;
	struct err err = ERR_INIT;
	static u8 a[MIB], out[MIB];
	struct blk *b;
	int fd;

	setup();
	with.loop = loop;
	CHECK_EQ(work_pool_new(loop, 2, NULL, NULL, &with.workers, &err), 0);
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	for (unsigned i = 0; i < sizeof(a); i++)
		a[i] = (u8)(i * 7 + i / 512);
	CHECK_EQ(img_open(&img_luks, model_file_of(loop, fd, false), &with, &b, &err), 0);
	CHECK_EQ(blk_write(b, 0, a, sizeof(a)), 0);
	CHECK_EQ(blk_read(b, 0, out, sizeof(out)), 0);
	CHECK_MEM(out, a, sizeof(a));
	blk_free(b);
	b = format_open(loop, &img_luks, fd, NULL);
	CHECK_EQ(blk_read(b, 0, out, sizeof(out)), 0);
	CHECK_MEM(out, a, sizeof(a));
	blk_free(b);
	work_pool_free(with.workers);
	close(fd);
	loop_free(loop);
}

static void poke32(int fd, u64 offset, u32 value)
{
	be32 v = be32_of(value);

	CHECK_EQ(pwrite(fd, &v, sizeof(v), (off_t)offset), sizeof(v));
}

#define AT(field) offsetof(struct luks1_wire, field)

TEST(what_cannot_be_is_refused)
{
	int fd;

	setup();
	fd = format_new(loop, &img_luks, MIB, "iter-time=1");
	poke32(fd, AT(slots[0].iterations), 2000000000);
	is_refused(fd, -ENOTSUP, "2000000000 iterations; at most");
	poke32(fd, AT(slots[0].iterations), 1000);
	poke32(fd, AT(digest_iterations), 2000000000);
	is_refused(fd, -EINVAL, "digest takes 2000000000");
	poke32(fd, AT(digest_iterations), 1000);
	poke32(fd, AT(slots[0].stripes), 4000000);
	is_refused(fd, -EINVAL, "4000000 stripes");
	poke32(fd, AT(slots[0].stripes), 4000);
	poke32(fd, AT(slots[0].offset), 0xffffffff);
	is_refused(fd, -EINVAL, "key slot 0 is at");
	poke32(fd, AT(slots[0].offset), 0);
	is_refused(fd, -EINVAL, "key slot 0 is at");
	poke32(fd, AT(slots[0].offset), 8);
	poke32(fd, AT(slots[1].state), LUKS1_SLOT_USED);
	poke32(fd, AT(slots[1].offset), 100);
	is_refused(fd, -EINVAL, "key slots 0 and 1 overlap");
	poke32(fd, AT(slots[1].state), 77);
	is_refused(fd, -EINVAL, "neither used nor free");
	poke32(fd, AT(slots[1].state), LUKS1_SLOT_FREE);
	poke32(fd, AT(key_bytes), 0x40000000);
	is_refused(fd, -EINVAL, "key of 1073741824 bytes");
	poke32(fd, AT(key_bytes), 46);
	is_refused(fd, -ENOTSUP, "368 bits");
	poke32(fd, AT(key_bytes), 64);
	CHECK_EQ(pwrite(fd, "blowfish", 9, AT(cipher)), 9);
	is_refused(fd, -ENOTSUP, "blowfish-xts-plain64");
	CHECK_EQ(pwrite(fd, "aes", 4, AT(cipher)), 4);
	CHECK_EQ(pwrite(fd, "md5", 4, AT(hash)), 4);
	is_refused(fd, -ENOTSUP, "md5");
	CHECK_EQ(pwrite(fd, "sha256", 7, AT(hash)), 7);
	poke32(fd, AT(payload_offset), 0);
	is_refused(fd, -ENOTSUP, "detached header");
	close(fd);
	loop_free(loop);
}

/* A LUKS2 container without key material: both copies of a header of 16 KiB. */
static int luks2_new(const char *json)
{
	static u8 area[16 * KIB];
	struct luks2_wire *w = (struct luks2_wire *)area;
	const struct crypt_piece all = {area, sizeof(area)};
	int fd = memfd_create("luks2", MFD_CLOEXEC);

	CHECK_EQ(ftruncate(fd, MIB), 0);
	for (u64 at = 0; at <= sizeof(area); at += sizeof(area)) {
		memset(area, 0, sizeof(area));
		memcpy(w->magic, at ? LUKS2_SECOND : LUKS_MAGIC, LUKS_MAGIC_BYTES);
		w->version = be16_of(2);
		w->bytes = be64_of(sizeof(area));
		w->offset = be64_of(at);
		memcpy(w->checksum_hash, "sha256", 6);
		memcpy(area + sizeof(*w), json, strlen(json));
		crypt_hash(crypt_hash_find("sha256"), &all, 1, w->checksum);
		CHECK_EQ(pwrite(fd, area, sizeof(area), (off_t)at), sizeof(area));
	}
	return fd;
}

#define LETTERS "\u00e9\u00e9\u00e9\u00e9" /* of two bytes each */

/* The words are the header's, cut inside of a letter. */
TEST(why_a_slot_cannot_be_used_is_always_text)
{
	static const char json[] =
		"{\"keyslots\":{\"0\":{\"type\":\"luks2\",\"key_size\":32,"
		"\"af\":{\"type\":\"luks1\",\"stripes\":1,\"hash\":\"sha256\"},"
		"\"kdf\":{\"type\":\"\\u001b" LETTERS LETTERS LETTERS LETTERS LETTERS "\"}}},"
		"\"segments\":{\"0\":{\"type\":\"crypt\",\"offset\":\"65536\",\"size\":\"dynamic\","
		"\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\",\"sector_size\":512}},"
		"\"digests\":{\"0\":{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"],\"segments\":[\"0\"],"
		"\"hash\":\"sha256\",\"iterations\":1,\"salt\":\"AAAAAAAAAAAAAAAAAAAAAA==\","
		"\"digest\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}}}";
	struct err err = ERR_INIT;
	struct img_info info;
	struct blk *b;
	const char *why;
	int fd;

	setup();
	CHECK_EQ(crypt_init(&err), 0);
	fd = luks2_new(json);
	CHECK_EQ(try_open(fd, NULL, true, &b, &err), 0);
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	why = json_string_value(json_object_get(
		json_array_get(json_object_get(info.specific, "slots"), 0), "unusable"));
	CHECK(why && strstr(why, "key slot 0: the key derivation '????"));
	img_info_fini(&info);
	blk_free(b);
	is_refused(fd, -ENOTSUP, "no key slot can be used: key slot 0: the key derivation '????");
	close(fd);
	loop_free(loop);
}

TEST(damage_harms_nobody)
{
	int fd;

	setup();
	fd = format_new(loop, &img_luks, MIB, "iter-time=1,hash-alg=sha1,cipher-alg=aes-128");
	format_damage(loop, &img_luks, fd, NULL, 0, 112, 7);
	format_damage(loop, &img_luks, fd, NULL, AT(digest), AT(uuid), 9);
	format_damage(loop, &img_luks, fd, NULL, AT(slots), AT(slots[1]) + 16, 7);
	close(fd);
	loop_free(loop);
}

/* Nobody could open it. */
static void empty_is_refused(struct blk *file)
{
	struct err err = ERR_INIT;

	CHECK_EQ(format_create(loop, &img_luks, file, 0, "iter-time=1", NULL, &err), -EINVAL);
	CHECK_ERR(err, "has room");
}

TEST(options_that_make_no_sense_are_refused)
{
	static const char *const options[] = {
		"cipher-alg=aes",
		"cipher-alg=aes-7",
		"cipher-alg=rot-13",
		"cipher-mode=ecb",
		"hash-alg=md5",
		"iter-time=0",
		"iter-time=99999999",
		"ivgen-alg=none",
		"key-secret=another",
		"cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1",
	};
	struct blk *file;
	int fd;

	setup();
	file = model_file(loop, &fd);
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		struct err err = ERR_INIT;

		CHECK(format_create(loop, &img_luks, file, MIB, options[i], NULL, &err) < 0);
		CHECK(err.text[0]);
	}
	empty_is_refused(file);
	blk_free(file);
	close(fd);
	loop_free(loop);
}
