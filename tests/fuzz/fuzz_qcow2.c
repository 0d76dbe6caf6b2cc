/*
 * Fuzz target: a qcow2 image of a stranger's making: opened, told about, read, checked, mended, written,
 * snapshotted, resized, closed, opened again.
 *
 * Whatever the file says, nothing crashes, loops or takes much memory. The file's first bytes are the
 * image; names in it lead to an empty disk.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "block/io.h"
#include "image/image.h"

#define FILE_MAX (512 * KIB)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;

int LLVMFuzzerInitialize(unused int *argc, unused char ***argv)
{
	struct err err = ERR_INIT;

	return loop_new(&loop, &err) < 0;
}

static struct blk *file_of(int fd, bool is_readonly)
{
	const struct blk_raw_options o = {.is_container = true, .is_readonly = is_readonly};
	struct err err = ERR_INIT;
	struct blk *file;

	if (blk_raw_new(loop, fcntl(fd, F_DUPFD_CLOEXEC, 0), &o, &file, &err) < 0)
		abort();
	return file;
}

static int open_other(void *opaque, const struct img_child *child, struct blk **out,
		      struct err *err)
{
	int fd = memfd_create("other", MFD_CLOEXEC);

	(void)opaque;
	(void)err;
	if (fd < 0 || ftruncate(fd, MIB) < 0)
		abort();
	*out = file_of(fd, !child->is_writable);
	close(fd);
	return 0;
}

static struct blk *open_image(int fd, bool is_readonly, const char *snapshot)
{
	static const struct img_opener opener = {.open = open_other};
	/* Of what is encrypted, by their length: no passphrase, whose trying takes as long as the file says. */
	static const u8 key[64] = {1};
	static const struct img_secret keys[] = {
		{.bytes = key, .n_bytes = 16, .is_volume_key = true},
		{.bytes = key, .n_bytes = 32, .is_volume_key = true},
		{.bytes = key, .n_bytes = 64, .is_volume_key = true},
	};
	const struct img_open_options o = {.loop = loop,
					   .is_readonly = is_readonly,
					   .opener = &opener,
					   .snapshot = snapshot,
					   .secrets = keys,
					   .n_secrets = ARRAY_SIZE(keys),
					   .cache_bytes = MIB};
	struct blk *file = file_of(fd, is_readonly);
	struct err err = ERR_INIT;
	struct blk *b;

	if (img_open(&img_qcow2, file, &o, &b, &err) == 0)
		return b;
	blk_free(file);
	return NULL;
}

/* At the start, the end, and two places between. */
static u64 place(const struct blk *b, unsigned i)
{
	const u64 places[] = {0, b->size / 3, b->size / 2 + 70000, b->size};
	u64 at = align_down(places[i % 4], b->block_size);

	return b->size < 8192 ? 0 : MIN(at, b->size - 8192);
}

static void look(struct blk *b)
{
	static u8 buf[128 * KIB];
	struct img_snapshot *snapshots;
	struct img_bitmap *bitmaps;
	struct img_info info;
	struct err err = ERR_INIT;
	unsigned n;

	if (b->image->info(b, &info, &err) == 0)
		img_info_fini(&info);
	if (b->image->snapshots(b, &snapshots, &n, &err) == 0)
		img_snapshots_free(snapshots, n);
	if (b->image->bitmaps(b, &bitmaps, &n, &err) == 0)
		img_bitmaps_free(bitmaps, n);
	for (unsigned i = 0; i < 4; i++) {
		struct blk_status status;
		u64 at = place(b, i), bytes = MIN(b->size - at, sizeof(buf));

		if (!bytes)
			continue;
		blk_read(b, at, buf, bytes);
		blk_status(b, at, bytes, &status);
	}
}

static void change(struct blk *b, unsigned what)
{
	static const u8 data[4096] = {1, 2, 3};
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < 4 && b->size >= 8192; i++) {
		blk_write(b, place(b, i), data, sizeof(data));
		blk_write_zeroes(b, place(b, i + 1), 4096, i % 2);
		blk_discard(b, place(b, i + 2), 4096);
		blk_flush(b);
	}
	if (what & 1)
		b->image->snapshot_create(b, "fuzz", 1, &err);
	if (what & 2)
		b->image->snapshot_apply(b, "1", &err);
	if (what & 4)
		b->image->snapshot_delete(b, "1", &err);
	if (what & 8)
		b->image->bitmap_add(b, "fuzz", 0, &err);
	if ((what & 16) && b->size < GIB)
		blk_resize(b, align_up(b->size + MIB, 4096), &err);
	if (what & 32)
		b->image->make_empty(b, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct img_check check = {0};
	struct err err = ERR_INIT;
	unsigned what = size ? data[size - 1] : 0;
	struct blk *b;
	int fd;

	if (size > FILE_MAX)
		return 0;
	fd = memfd_create("image", MFD_CLOEXEC);
	if (fd < 0 || fd_pwrite_full(fd, data, size, 0) < 0)
		abort();
	b = open_image(fd, true, NULL);
	if (b) {
		look(b);
		b->image->check(b, 0, &check, &err);
		blk_free(b);
	}
	b = open_image(fd, false, NULL);
	if (b) {
		if (what & 64)
			b->image->check(b, IMG_REPAIR_ALL, &check, &err);
		change(b, what);
		look(b);
		blk_free(b);
	}
	b = open_image(fd, true, what & 1 ? "fuzz" : NULL);
	if (b)
		look(b);
	blk_free(b);
	close(fd);
	return 0;
}
