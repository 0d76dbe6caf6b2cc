/* Encrypted qcow2: the model, snapshots, who has no passphrase, damage; QEMU's tools both ways. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "block/io.h"
#include "format_check.h"
#include "qemu.h"
#include "test.h"

#define IMAGE_BYTES (5 * MIB + 2560)
#define ENCRYPTED   "encrypt.format=luks,encrypt.iter-time=1"
#define SECRET      "--object secret,id=s,file=key"
#define QEMU_IMAGE(name)                                                                           \
	"driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.driver=file,file."             \
	"filename=" name

static struct loop *loop;

static void setup(void)
{
	struct err err = ERR_INIT;

	CHECK_EQ(loop_new(&loop, &err), 0);
}

static int try_open(int fd, const struct img_open_options *how, struct blk **out, struct err *err)
{
	struct img_open_options o = *how;
	struct blk *file = model_file_of(loop, fd, how->is_readonly);
	int r;

	o.loop = loop;
	r = img_open(&img_qcow2, file, &o, out, err);
	if (r < 0)
		blk_free(file);
	return r;
}

TEST(encrypted_images_hold_what_is_written)
{
	static const char *const kinds[] = {
		ENCRYPTED,
		ENCRYPTED ",cluster_size=512,encrypt.cipher-alg=aes-128",
		ENCRYPTED ",cluster_size=1024,compat=0.10",
		ENCRYPTED ",cluster_size=16384,extended_l2=on",
		ENCRYPTED ",cluster_size=2M,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv",
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = format_new(loop, &img_qcow2, 6 * MIB + 1536, kinds[i]);

		format_is_sound(loop, &img_qcow2, fd, NULL, 0);
		format_model(loop, &img_qcow2, fd, NULL, 2, i);
		close(fd);
	}
	loop_free(loop);
}

TEST(nothing_of_the_data_is_in_the_file)
{
	static const char text[] = "a text that nobody else shall read, in some cluster";
	static u8 whole[16 * MIB], line[128 * KIB];
	int fd;
	struct blk *b;
	ssize_t n;

	setup();
	fd = format_new(loop, &img_qcow2, 3 * MIB, ENCRYPTED);
	b = format_open(loop, &img_qcow2, fd, NULL);
	for (size_t i = 0; i + sizeof(text) <= sizeof(line); i += sizeof(text))
		memcpy(line + i, text, sizeof(text));
	CHECK_EQ(blk_write(b, 512, line, 4096), 0);
	CHECK_EQ(blk_write(b, MIB - 512, line, sizeof(line)), 0);
	CHECK_EQ(blk_write_zeroes(b, MIB, 512, false), 0);
	CHECK_EQ(b->image->write_compressed(b, 2 * MIB, line, 64 * KIB), -ENOTSUP);
	CHECK_EQ(b->image->snapshot_create(b, "then", 1, &(struct err)ERR_INIT), 0);
	CHECK_EQ(blk_write(b, 1024, line, 512), 0);
	blk_free(b);
	n = pread(fd, whole, sizeof(whole), 0);
	CHECK(n > 0 && n < (ssize_t)sizeof(whole));
	CHECK(!memmem(whole, (size_t)n, "nobody else", 11));
	close(fd);
	loop_free(loop);
}

TEST(without_the_passphrase_an_image_tells_all_but_its_contents)
{
	const struct img_secret wrong = {.bytes = "gate", .n_bytes = 4};
	const struct img_open_options none = {.is_readonly = true},
				      other = {.is_readonly = true,
					       .secrets = &wrong,
					       .n_secrets = 1},
				      look = {.is_readonly = true, .is_alone = true};
	u8 buf[512] = {1};
	struct img_check c = {0};
	struct err err = ERR_INIT;
	struct img_info info;
	struct blk *b;
	int fd;

	setup();
	fd = format_new(loop, &img_qcow2, 3 * MIB, ENCRYPTED);
	b = format_open(loop, &img_qcow2, fd, NULL);
	CHECK_EQ(blk_write(b, 0, buf, sizeof(buf)), 0);
	blk_free(b);
	CHECK_EQ(try_open(fd, &none, &b, &err), -ENOKEY);
	CHECK_ERR(err, "no passphrase");
	CHECK_EQ(try_open(fd, &other, &b, &err), -EKEYREJECTED);
	CHECK_EQ(try_open(fd, &look, &b, &err), 0);
	CHECK_EQ(blk_read(b, 0, buf, sizeof(buf)), -ENOKEY);
	CHECK_EQ(b->image->info(b, &info, &err), 0);
	CHECK(info.is_encrypted);
	img_info_fini(&info);
	CHECK_EQ(b->image->check(b, 0, &c, &err), 0);
	CHECK_EQ(c.corruptions + c.leaks, 0);
	CHECK(!b->image->key(b));
	blk_free(b);
	close(fd);
	loop_free(loop);
}

TEST(what_does_not_go_with_encryption_is_refused)
{
	static const struct {
		const char *options, *words;
	} cases[] = {
		{ENCRYPTED ",preallocation=full", "no preallocation"},
		{"encrypt.key-secret=s", "needs encrypt.format=luks"},
		{"encrypt.format=aes", "there is luks"},
		{ENCRYPTED ",encrypt.key-secret=other", "no such secret"},
	};

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = ERR_INIT;
		int fd;
		struct blk *file = model_file(loop, &fd);

		CHECK(format_create(loop, &img_qcow2, file, MIB, cases[i].options, NULL, &err) < 0);
		CHECK_ERR(err, cases[i].words);
		blk_free(file);
		close(fd);
	}
	loop_free(loop);
}

/* The extension's place in the header, and the LUKS header behind it, with other values. */
TEST(a_damaged_header_of_the_encryption_harms_nobody)
{
	int fd;
	u8 head[512];
	u64 at = 0;

	setup();
	fd = format_new(loop, &img_qcow2, MIB, ENCRYPTED ",cluster_size=4096");
	CHECK_EQ(pread(fd, head, sizeof(head), 0), sizeof(head));
	for (u64 i = 104; i + 24 <= sizeof(head) && !at; i += 8) {
		if (be32_load(head + i) == 0x0537be77)
			at = i;
	}
	CHECK(at);
	format_damage(loop, &img_qcow2, fd, NULL, at, at + 24, 1);
	format_damage(loop, &img_qcow2, fd, NULL, be64_load(head + at + 8),
		      be64_load(head + at + 8) + 592, 29);
	close(fd);
	loop_free(loop);
}

/* --- QEMU --- */

static void rewrite(const char *name, const char *source)
{
	struct blk *from = qemu_file(loop, source, true);
	struct blk *b = qemu_open(loop, "qcow2", name, false);
	AUTO(free_ptr) u8 *buf = mem_alloc(1, IMAGE_BYTES);

	CHECK_EQ(blk_read(from, 0, buf, IMAGE_BYTES), 0);
	CHECK_EQ(blk_write(b, 0, buf, IMAGE_BYTES), 0);
	blk_free(b);
	blk_free(from);
}

static void holds(const char *name, const char *raw)
{
	struct blk *b = qemu_open(loop, "qcow2", name, true);

	CHECK_EQ(b->size, IMAGE_BYTES);
	qemu_compare(b, raw);
	blk_free(b);
}

static void enter(void)
{
	qemu_enter();
	setup();
	qemu_must("printf fence >key; head -c %lu /dev/urandom >a.raw; head -c %lu /dev/urandom "
		  ">b.raw; dd if=/dev/zero of=a.raw bs=1M seek=2 count=1 conv=notrunc",
		  IMAGE_BYTES, IMAGE_BYTES);
}

/* QEMU measures in ticks of the clock, gives up when there was none. */
static void theirs(const char *options)
{
	qemu_must("for i in $(seq 50); do rm -f theirs; qemu-img convert " SECRET
		  " -f raw -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time="
		  "100,%s a.raw theirs && exit 0; done",
		  options);
	holds("theirs", "a.raw");
	rewrite("theirs", "b.raw");
	qemu_must("qemu-img check " SECRET " --image-opts " QEMU_IMAGE("theirs"));
	qemu_must("qemu-img compare " SECRET
		  " --image-opts driver=raw,file.filename=b.raw " QEMU_IMAGE("theirs"));
}

static void ours(const char *options)
{
	char all[192];
	struct err err = ERR_INIT;
	struct blk *file;

	snprintf(all, sizeof(all), ENCRYPTED ",%s", options);
	qemu_must("rm -f ours");
	file = qemu_file(loop, "ours", false);
	if (format_create(loop, &img_qcow2, file, IMAGE_BYTES, all, NULL, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(file);
	/* Single sectors first: what is around them is copied, and is zeros. */
	qemu_must("qemu-io " SECRET
		  " -c 'write -P 5 512 512' -c 'write -P 6 200k 1k' --image-opts " QEMU_IMAGE(
			  "ours"));
	qemu_must("qemu-img check " SECRET " --image-opts " QEMU_IMAGE("ours"));
	rewrite("ours", "a.raw");
	qemu_must("qemu-img check " SECRET " --image-opts " QEMU_IMAGE("ours"));
	qemu_must("qemu-img compare " SECRET
		  " --image-opts driver=raw,file.filename=a.raw " QEMU_IMAGE("ours"));
	qemu_must("qemu-img convert -n " SECRET " --image-opts --target-image-opts "
		  "driver=raw,file.filename=b.raw " QEMU_IMAGE("ours"));
	holds("ours", "b.raw");
}

TEST(images_of_qemu_and_of_posada_are_read_and_rewritten_by_the_other)
{
	enter();
	theirs("cluster_size=65536");
	theirs("extended_l2=on,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-"
	       "alg=sha256");
	ours("cluster_size=65536");
	ours("extended_l2=on");
	ours("compat=0.10,cluster_size=4096,encrypt.cipher-alg=serpent-256");
	loop_free(loop);
	qemu_leave();
}

/* Small writes into new clusters by us, read by QEMU: the frame around them is encrypted as well. */
TEST(what_surrounds_a_small_write_is_zeros_to_qemu)
{
	static const u8 seven[1536] = {[0 ... 1535] = 7};
	struct err err = ERR_INIT;
	struct blk *b;

	enter();
	b = qemu_file(loop, "ours", false);
	if (format_create(loop, &img_qcow2, b, IMAGE_BYTES, ENCRYPTED, NULL, &err) < 0)
		fail_msg("%s", err.text);
	blk_free(b);
	b = qemu_open(loop, "qcow2", "ours", false);
	CHECK_EQ(blk_write(b, 70 * KIB, seven, sizeof(seven)), 0);
	CHECK_EQ(blk_write(b, 3 * MIB - 512, seven, sizeof(seven)), 0);
	CHECK_EQ(blk_write_zeroes(b, 70 * KIB + 512, 512, true), 0);
	blk_free(b);
	qemu_must("truncate -s %lu want; qemu-io -f raw -c 'write -P 7 70k 512' -c 'write -P 7 "
		  "72704 512' -c 'write -P 7 3145216 1536' want",
		  IMAGE_BYTES);
	qemu_must("qemu-img compare " SECRET
		  " --image-opts driver=raw,file.filename=want " QEMU_IMAGE("ours"));
	loop_free(loop);
	qemu_leave();
}
