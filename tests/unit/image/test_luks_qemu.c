/*
 * LUKS against QEMU's tools and cryptsetup, both ways. cryptsetup looks at headers and passphrases in files; it
 * needs no device mapper for that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "format_check.h"
#include "qemu.h"
#include "test.h"

#define IMAGE_BYTES (5 * MIB + 2560)
#define SECRET      "--object secret,id=s,file=key"
#define OURS        "driver=luks,key-secret=s,file.driver=file,file.filename=ours.luks"
#define THEIRS      "driver=luks,key-secret=s,file.driver=file,file.filename=theirs.luks"

static struct loop *loop;

static void enter(void)
{
	struct err err = ERR_INIT;

	qemu_enter();
	CHECK_EQ(loop_new(&loop, &err), 0);
	qemu_must("printf fence >key; printf gate >other");
	qemu_must("head -c %lu /dev/urandom >a.raw; head -c %lu /dev/urandom >b.raw", IMAGE_BYTES,
		  IMAGE_BYTES);
}

static void leave(void)
{
	loop_free(loop);
	qemu_leave();
}

static void write_source(struct blk *b, const char *source)
{
	struct blk *from = qemu_file(loop, source, true);
	AUTO(free_ptr) u8 *buf = mem_alloc(1, IMAGE_BYTES);

	CHECK_EQ(blk_read(from, 0, buf, IMAGE_BYTES), 0);
	CHECK_EQ(blk_write(b, 0, buf, IMAGE_BYTES), 0);
	CHECK_EQ(blk_flush(b), 0);
	blk_free(from);
}

static void rewrite(const char *format, const char *name, const char *source)
{
	struct blk *b = qemu_open(loop, format, name, false);

	write_source(b, source);
	blk_free(b);
}

static void holds(const char *name, const char *raw)
{
	struct blk *b = qemu_open(loop, "luks", name, true);

	CHECK_EQ(b->size, IMAGE_BYTES);
	qemu_compare(b, raw);
	blk_free(b);
}

static void create(const char *options)
{
	struct blk *file;
	struct err err = ERR_INIT;

	qemu_must("rm -f ours.luks");
	file = qemu_file(loop, "ours.luks", false);
	if (format_create(loop, &img_luks, file, IMAGE_BYTES, options, NULL, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
}

/* QEMU measures in ticks of the clock, gives up when there was none, and takes seconds else. */
static void theirs(const char *options)
{
	qemu_must("for i in $(seq 50); do rm -f theirs.luks; qemu-img convert " SECRET
		  " -f raw -O luks -o key-secret=s,iter-time=100,%s a.raw theirs.luks && exit 0; "
		  "done",
		  options);
	holds("theirs.luks", "a.raw");
	rewrite("luks", "theirs.luks", "b.raw");
	qemu_must("qemu-img compare " SECRET
		  " --image-opts driver=raw,file.filename=b.raw " THEIRS);
}

static void ours(const char *options)
{
	char all[128];

	snprintf(all, sizeof(all), "iter-time=1,%s", options);
	create(all);
	rewrite("luks", "ours.luks", "a.raw");
	qemu_must("qemu-img compare " SECRET " --image-opts driver=raw,file.filename=a.raw " OURS);
	qemu_must("qemu-img convert -n " SECRET " --image-opts --target-image-opts "
		  "driver=raw,file.filename=b.raw " OURS);
	holds("ours.luks", "b.raw");
}

TEST(images_of_qemu_and_of_posada_are_read_and_rewritten_by_the_other)
{
	enter();
	theirs("cipher-alg=aes-256");
	theirs("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256");
	theirs("cipher-alg=serpent-256,hash-alg=sha512");
	ours("cipher-alg=aes-256");
	ours("cipher-alg=aes-128,hash-alg=sha1");
	ours("cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256");
	ours("cipher-alg=serpent-256,hash-alg=sha512");
	ours("cipher-alg=twofish-256,hash-alg=ripemd160");
	ours("cipher-alg=aes-256,ivgen-alg=plain");
	leave();
}

static bool has_cryptsetup(void)
{
	return system("cryptsetup --version >/dev/null 2>&1") == 0;
}

TEST(cryptsetup_takes_what_posada_makes)
{
	if (!has_cryptsetup())
		SKIP("cryptsetup is not installed (cryptsetup-bin)");
	enter();
	create("iter-time=10");
	qemu_must("cryptsetup luksDump ours.luks && cryptsetup isLuks --type luks1 ours.luks");
	qemu_must("cryptsetup open --test-passphrase --key-file key ours.luks");
	CHECK(qemu_run("cryptsetup open --test-passphrase --key-file other ours.luks") != 0);
	/* Another key slot, and the first one removed. */
	qemu_must("cryptsetup luksAddKey --key-file other --pbkdf-force-iterations 1000 ours.luks "
		  "key && false || "
		  "cryptsetup luksAddKey --key-file key --pbkdf-force-iterations 1000 ours.luks "
		  "other");
	rewrite("luks", "ours.luks", "a.raw");
	qemu_must("cryptsetup luksKillSlot -q --key-file other ours.luks 0");
	qemu_must("cryptsetup luksAddKey --key-file other --pbkdf-force-iterations 1000 ours.luks "
		  "key");
	holds("ours.luks", "a.raw");
	leave();
}

static void opens_cryptsetups(const char *options)
{
	qemu_must("rm -f theirs.luks; truncate -s 24M theirs.luks; "
		  "cryptsetup luksFormat -q --key-file key %s theirs.luks",
		  options);
	rewrite("luks", "theirs.luks", "a.raw");
	qemu_must("cryptsetup open --test-passphrase --key-file key theirs.luks");
}

TEST(what_cryptsetup_makes_is_opened)
{
	if (!has_cryptsetup())
		SKIP("cryptsetup is not installed (cryptsetup-bin)");
	enter();
	opens_cryptsetups("--type luks1 --pbkdf-force-iterations 1000");
	opens_cryptsetups("--type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000");
	opens_cryptsetups(
		"--type luks2 --pbkdf argon2id --pbkdf-memory 2048 --pbkdf-force-iterations 4");
	opens_cryptsetups(
		"--type luks2 --pbkdf argon2i --pbkdf-memory 2048 --pbkdf-force-iterations 4 "
		"--pbkdf-parallel 1 --sector-size 4096");
	opens_cryptsetups(
		"--type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --hash sha512 --cipher "
		"aes-cbc-essiv:sha256 --key-size 256 --sector-size 512");
	leave();
}

/* It encrypts a file in place, and decrypts it again: with what we wrote meanwhile. */
static void encrypts_as_cryptsetup(const char *options)
{
	const u64 bytes = 3 * MIB;
	struct blk *b;
	AUTO(free_ptr) u8 *want = mem_alloc(1, bytes), *got = mem_alloc(1, bytes);
	FILE *f;

	qemu_must("rm -f header; head -c 35M /dev/urandom >plain; cp plain theirs.luks; "
		  "cryptsetup reencrypt --encrypt -q --type luks2 --pbkdf pbkdf2 "
		  "--pbkdf-force-iterations 1000 --reduce-device-size 32M --key-file key %s "
		  "theirs.luks",
		  options);
	f = fopen("plain", "r+");
	CHECK(f && fread(want, 1, bytes, f) == bytes);
	b = qemu_open(loop, "luks", "theirs.luks", false);
	CHECK(b->size >= bytes);
	CHECK_EQ(blk_read(b, 0, got, bytes), 0);
	CHECK_MEM(got, want, bytes);
	memset(want + 8192, 0x5a, MIB);
	CHECK_EQ(blk_write(b, 8192, want + 8192, MIB), 0);
	blk_free(b);
	qemu_must("cryptsetup reencrypt --decrypt -q --force-offline-reencrypt --header header "
		  "--key-file key theirs.luks");
	rewind(f);
	CHECK_EQ(fwrite(want, 1, bytes, f), bytes);
	fclose(f);
	qemu_must("cmp -n %lu plain theirs.luks", bytes);
}

TEST(luks2_is_encrypted_as_by_cryptsetup)
{
	if (!has_cryptsetup())
		SKIP("cryptsetup is not installed (cryptsetup-bin)");
	enter();
	encrypts_as_cryptsetup("--sector-size 512");
	encrypts_as_cryptsetup("--sector-size 4096");
	encrypts_as_cryptsetup("--sector-size 2048 --cipher aes-xts-plain64 --key-size 256");
	encrypts_as_cryptsetup("--sector-size 512 --cipher aes-cbc-essiv:sha256 --key-size 256");
	leave();
}
