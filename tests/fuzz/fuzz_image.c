/*
 * Fuzz target: a stranger's disk image, in the format that the first byte names. It is opened, for
 * reading or to be written, read, written, checked, resized.
 *
 * Names inside it are asked for and refused. Whatever it says, nothing crashes, hangs or takes much memory.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/io.h"
#include "image/image.h"

#define FILE_MAX (256 * KIB)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static int image_fd;
static const struct img_format *const formats[] = {&img_vdi, &img_vhd, &img_vhdx, &img_vmdk};

int LLVMFuzzerInitialize(unused int *argc, unused char ***argv)
{
	struct err err = ERR_INIT;

	image_fd = memfd_create("image", MFD_CLOEXEC);
	return image_fd < 0 || loop_new(&loop, &err) < 0;
}

/*
 * A VHDX image is some MiB large, and little of it says anything: the input is those parts, and what else is
 * there is zeros. Checksums are made right: nothing would get past them otherwise.
 */
static const struct {
	u64 at, bytes, summed;
} parts[] = {
	{0, 16, 0},
	{64 * KIB, 128, 4 * KIB},
	{128 * KIB, 128, 4 * KIB},
	{192 * KIB, 128, 64 * KIB},
	{MIB, 8 * KIB, 8 * KIB},
	{MIB + 8 * KIB, 8 * KIB, 8 * KIB},
	{2 * MIB, 256, 0},
	{2 * MIB + 64 * KIB, 256, 0},
	{3 * MIB, 256, 0},
};

static int spread(const u8 *data, size_t size)
{
	static u8 part[64 * KIB];

	if (ftruncate(image_fd, 5 * MIB) < 0)
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		u64 n = MIN(parts[i].bytes, size), all = MAX(parts[i].bytes, parts[i].summed);

		memset(part, 0, sizeof(part));
		memcpy(part, data, n);
		if (parts[i].summed) {
			le32_store(part + 4, 0);
			le32_store(part + 4, crc32c_update(0, part, parts[i].summed));
		}
		if (fd_pwrite_full(image_fd, part, all, parts[i].at) < 0)
			return -1;
		data += n;
		size -= n;
	}
	return 0;
}

static int put_image(const struct img_format *f, const u8 *data, size_t size)
{
	if (ftruncate(image_fd, 0) < 0)
		return -1;
	return f == &img_vhdx ? spread(data, size) : fd_pwrite_full(image_fd, data, size, 0);
}

static int refuse_child(unused void *opaque, const struct img_child *child, unused struct blk **out,
			struct err *err)
{
	assert(child->name && child->name[0]);
	return err_set(err, -EACCES, "not allowed");
}

static void use_image(struct blk *b)
{
	static u8 buf[64 * KIB];
	struct img_check check = {0};
	struct err err = ERR_INIT;
	struct img_info info;
	u64 n = MIN(b->size, sizeof(buf));

	assert(b->size && is_aligned(b->size, b->block_size));
	(void)blk_read(b, 0, buf, n);
	(void)blk_read(b, b->size - n, buf, n);
	if (b->image->info(b, &info, &err) == 0)
		img_info_fini(&info);
	if (b->size <= GIB)
		(void)b->image->check(b, 0, &check, &err);
	if (b->is_readonly)
		return;
	(void)blk_write(b, align_down(b->size / 2, b->block_size), buf, b->block_size);
	(void)blk_discard(b, b->size - n, n);
	(void)blk_write_zeroes(b, 0, MIN(n, (u64)4096), true);
	(void)blk_flush(b);
	if (b->size <= GIB)
		(void)blk_resize(b, b->size + MIB, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct img_opener opener = {.open = refuse_child};
	struct img_open_options o = {.loop = loop, .opener = &opener};
	struct blk_raw_options raw = {.is_container = true};
	struct err err = ERR_INIT;
	struct blk *file, *b;

	const struct img_format *f;

	if (size < 2 || size > FILE_MAX)
		return -1;
	f = formats[data[0] % ARRAY_SIZE(formats)];
	if (put_image(f, data + 1, size - 1) < 0)
		return -1;
	o.is_readonly = data[0] & 0x10;
	o.is_alone = data[0] & 0x20;
	raw.is_readonly = o.is_readonly;
	if (blk_raw_new(loop, dup(image_fd), &raw, &file, &err) < 0)
		abort();
	if (img_open(f, file, &o, &b, &err) < 0) {
		assert(err.code < 0 && err.text[0]);
		blk_free(file);
		return 0;
	}
	use_image(b);
	blk_free(b);
	return 0;
}
