/*
 * Fuzz target: a stranger's LUKS container: looked at without a passphrase, opened with one where its header asks
 * for little work, opened with a key of the data that is made up; told about, read, checked, mended, written, resized.
 *
 * The input: a byte that says which version and what of it is done; then the file's start (LUKS1), or what says
 * something in LUKS2: the binary header, the JSON, ended by a NUL, the key slots' area. Of LUKS2 both copies are made,
 * with right checksums. Behind that the file is a hole, so that a seed of kilobytes has its data where others have it.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/io.h"
#include "image/image.h"
#include "image/luks_priv.h"
#include "image/luks_wire.h"

#define INPUT_MAX  (256 * KIB)
#define FILE_BYTES (20 * MIB)
#define COPY_BYTES (16 * KIB)
#define WIRE_BYTES 512 /* the rest of a binary header is padding */

#define IS_LUKS2     0x01
#define FIRST_IS_BAD 0x02
#define FIRST_IS_OLD 0x04
#define SECOND_DIFFS 0x08 /* it is older, or (with FIRST_IS_OLD) bad */
#define IS_MENDED    0x10

/* What the passphrase may cost: some milliseconds. */
#define MAX_ITERATIONS 4000u
#define MAX_ARGON2     1024u /* KiB, times passes */
#define MAX_MATERIAL   (320 * KIB)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static int image_fd;

int LLVMFuzzerInitialize(unused int *argc, unused char ***argv)
{
	struct err err = ERR_INIT;

	image_fd = memfd_create("image", MFD_CLOEXEC);
	return image_fd < 0 || loop_new(&loop, &err) < 0 || crypt_init(&err) < 0;
}

/* --- the file --- */

static void put(const void *from, size_t bytes, u64 at)
{
	if (fd_pwrite_full(image_fd, from, bytes, at) < 0)
		abort();
}

static void put_copy(u8 *area, bool is_second, u64 sequence, bool is_bad)
{
	struct luks2_wire *w = (struct luks2_wire *)area;
	const struct crypt_piece all = {area, COPY_BYTES};
	char name[sizeof(w->checksum_hash) + 1] = {0};
	u8 sum[CRYPT_HASH_MAX] = {0};
	int hash;

	memcpy(w->magic, is_second ? LUKS2_SECOND : LUKS_MAGIC, LUKS_MAGIC_BYTES);
	w->version = be16_of(2);
	w->bytes = be64_of(COPY_BYTES);
	w->offset = be64_of(is_second ? COPY_BYTES : 0);
	w->sequence = be64_of(sequence);
	memset(w->checksum, 0, sizeof(w->checksum));
	memcpy(name, w->checksum_hash, sizeof(w->checksum_hash));
	hash = crypt_hash_find(name);
	if (hash)
		crypt_hash(hash, &all, 1, sum);
	sum[0] ^= is_bad;
	memcpy(w->checksum, sum, sizeof(sum));
	put(area, COPY_BYTES, is_second ? COPY_BYTES : 0);
}

static void put_luks2(unsigned what, const u8 *data, size_t size)
{
	static u8 area[COPY_BYTES];
	size_t n = MIN(size, (size_t)WIRE_BYTES), text;
	u64 sequence;

	memset(area, 0, sizeof(area));
	memcpy(area, data, n);
	data += n;
	size -= n;
	text = strnlen((const char *)data, MIN(size, sizeof(area) - sizeof(struct luks2_wire)));
	memcpy(area + sizeof(struct luks2_wire), data, text);
	sequence = be64_get(((struct luks2_wire *)area)->sequence);
	put_copy(area, false, sequence, what & FIRST_IS_BAD);
	if (what & FIRST_IS_OLD)
		sequence++;
	else if (what & SECOND_DIFFS)
		sequence--;
	put_copy(area, true, sequence, (what & SECOND_DIFFS) && (what & FIRST_IS_OLD));
	n = MIN(text + 1, size);
	put(data + n, size - n, (u64)(2 * COPY_BYTES));
}

static void put_image(unsigned what, const u8 *data, size_t size)
{
	if (ftruncate(image_fd, 0) < 0 || ftruncate(image_fd, FILE_BYTES) < 0)
		abort();
	if (what & IS_LUKS2)
		put_luks2(what, data, size);
	else
		put(data, size, 0);
}

static struct blk *file_of(bool is_readonly)
{
	const struct blk_raw_options o = {.is_container = true, .is_readonly = is_readonly};
	struct err err = ERR_INIT;
	struct blk *file;

	if (blk_raw_new(loop, dup(image_fd), &o, &file, &err) < 0)
		abort();
	return file;
}

/* --- what it costs to try a passphrase --- */

static u64 cost_of(const struct crypt_kdf *k)
{
	if (k->kind == CRYPT_PBKDF2)
		return (u64)k->cost * MAX_ARGON2;
	return (u64)k->cost * MAX(k->memory, 8 * k->n_lanes) * MAX_ITERATIONS;
}

/* All slots are tried, and each has the key's digest computed. */
static bool is_cheap(const struct luks_header *h)
{
	u64 cost = 0, digest = 0, material = 0;

	for (unsigned i = 0; i < h->n_digests; i++)
		digest = MAX(digest, cost_of(&h->digests[i].kdf.kdf));
	for (unsigned i = 0; i < h->n_slots; i++) {
		const struct luks_slot *s = &h->slots[i];

		if (!s->is_used || *s->refusal)
			continue;
		cost += MIN(cost_of(&s->kdf.kdf), UINT32_MAX) + digest;
		material += luks_material_bytes(s);
	}
	return cost <= (u64)MAX_ITERATIONS * MAX_ARGON2 && material <= (u64)MAX_MATERIAL;
}

static bool read_header(struct luks_header *out)
{
	struct blk *file = file_of(true);
	struct err err = ERR_INIT;
	int r = luks_read_header(file, 0, BLK_SIZE_MAX, out, &err);

	assert(r == err.code && (r == 0 || err.text[0]));
	blk_free(file);
	return r == 0;
}

/* --- what is done with it --- */

static struct blk *open_image(bool is_readonly, const struct img_secret *secret)
{
	const struct img_open_options o = {.loop = loop,
					   .is_readonly = is_readonly,
					   .is_alone = !secret,
					   .secrets = secret,
					   .n_secrets = secret ? 1 : 0};
	struct blk *file = file_of(is_readonly), *b;
	struct err err = ERR_INIT;

	if (img_open(&img_luks, file, &o, &b, &err) == 0)
		return b;
	assert(err.code < 0 && err.text[0]);
	blk_free(file);
	return NULL;
}

static void check_description(struct blk *b)
{
	struct err err = ERR_INIT;
	struct img_info info;
	json_t *slot;
	size_t i;

	if (b->image->info(b, &info, &err) < 0)
		abort();
	assert(info.is_encrypted && json_object_get(info.specific, "uuid"));
	json_array_foreach(json_object_get(info.specific, "slots"), i, slot)
		assert(json_object_get(slot, "key-offset") || json_object_get(slot, "unusable"));
	img_info_fini(&info);
}

static void look(struct blk *b, bool is_open)
{
	static u8 buf[16 * KIB];
	struct img_check check = {0};
	struct err err = ERR_INIT;
	u64 n = MIN(b->size, sizeof(buf));

	assert(b->size && is_aligned(b->size, b->block_size));
	check_description(b);
	assert((blk_read(b, 0, buf, n) == 0) == is_open);
	assert((blk_read(b, b->size - n, buf, n) == 0) == is_open);
	if (b->image->check(b, 0, &check, &err) < 0)
		abort();
}

static void change(struct blk *b)
{
	static u8 buf[4096], back[4096];
	const u64 n = b->block_size, at = align_down(b->size / 2, n);
	struct err err = ERR_INIT;

	memset(buf, 0xa5, sizeof(buf));
	assert(n <= sizeof(buf));
	assert(blk_write(b, at, buf, n) == 0 && blk_read(b, at, back, n) == 0);
	assert(memcmp(buf, back, n) == 0);
	(void)blk_discard(b, 0, n);
	assert(blk_write_zeroes(b, at, n, true) == 0 && blk_read(b, at, back, n) == 0);
	memset(buf, 0, sizeof(buf));
	assert(memcmp(buf, back, n) == 0);
	(void)blk_flush(b);
	if (b->size <= FILE_BYTES)
		(void)blk_resize(b, b->size + 4 * n, &err);
}

static void use(const struct img_secret *secret)
{
	struct blk *b = open_image(false, secret);

	if (!b)
		return;
	look(b, true);
	change(b);
	blk_free(b);
}

/* What is mended is whole afterwards, and still says the same. */
static void mend(const struct img_secret *key, const struct luks_header *before)
{
	struct blk *b = open_image(false, key);
	struct img_check check = {0};
	struct err err = ERR_INIT;
	struct luks_header after;

	if (!b)
		return;
	if (b->image->check(b, IMG_REPAIR_ALL, &check, &err) < 0)
		abort();
	assert(!check.corruptions);
	blk_free(b);
	if (!read_header(&after))
		abort();
	assert(!after.is_first_bad && !after.is_second_bad);
	assert(after.payload_offset == before->payload_offset &&
	       after.sequence == before->sequence);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const u8 made_up[CRYPT_KEY_MAX] = {1};
	static const struct img_secret passphrase = {.bytes = "fuzz", .n_bytes = 4};
	struct img_secret key = {.bytes = made_up, .is_volume_key = true};
	struct luks_header h;
	struct blk *b;

	if (size < 2 || size > INPUT_MAX)
		return -1;
	put_image(data[0], data + 1, size - 1);
	if (!read_header(&h))
		return 0;
	b = open_image(true, NULL);
	if (b)
		look(b, false);
	blk_free(b);
	key.n_bytes = h.spec.key_bytes;
	if (data[0] & IS_MENDED)
		mend(&key, &h);
	if (is_cheap(&h))
		use(&passphrase);
	use(&key);
	return 0;
}
