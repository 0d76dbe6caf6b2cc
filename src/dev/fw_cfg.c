/*
 * fw_cfg (QEMU, docs/specs/fw_cfg).
 *
 * One item is selected and read on from an offset; beyond its end come zeros. The DMA command is
 * fetched once, checked, carried out, and its control word written back: zero, or the error bit.
 */
#include "dev/fw_cfg.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "mem/gmem.h"
#include "state/state.h"

#define FW_CFG_ITEMS (FW_CFG_FILE_FIRST + FW_CFG_MAX_FILES)
#define FW_CFG_NONE  0xffff /* selected: no item */

struct fw_cfg_item {
	u8 *data; /* owned; of writable ones, in the pool */
	u32 size;
	const u8 *first; /* writable: contents at reset, owned; else NULL */
	void (*on_write)(void *opaque, const u8 *data, u32 size);
	void *opaque;
};

struct fw_cfg {
	struct device dev; /* holds the lock for all below */
	struct io_region io, dma_io;
	struct gmem *gmem;
	u16 selected;
	u32 offset;
	u32 dma_high; /* of the command's address, until the low half comes */
	u8 pool[FW_CFG_WRITABLE_BYTES];

	/* Fixed once the guest runs. */
	struct fw_cfg_item items[FW_CFG_ITEMS];
	u32 n_files, pool_used;
};

/* --- building --- */

static void fw_cfg_put(struct fw_cfg *f, u16 key, const void *data, u32 size)
{
	struct fw_cfg_item *item = &f->items[key];

	free(item->data);
	item->data = mem_alloc(size ? size : 1, 1);
	item->size = size;
	if (size)
		memcpy(item->data, data, size);
}

/* A new entry at the directory's end. Returns the file's key. */
static u16 fw_cfg_name_file(struct fw_cfg *f, const char *name, u32 size)
{
	struct fw_cfg_item *dir = &f->items[FW_CFG_FILE_DIR];
	u16 key = (u16)(FW_CFG_FILE_FIRST + f->n_files);
	struct fw_cfg_file_wire entry = {.size = be32_of(size), .key = be16_of(key)};

	assert(f->n_files < FW_CFG_MAX_FILES && strlen(name) < sizeof(entry.name));
	memcpy(entry.name, name, strlen(name));
	dir->data = mem_grow(dir->data, dir->size, dir->size + sizeof(entry), 1);
	memcpy(dir->data + dir->size, &entry, sizeof(entry));
	dir->size += (u32)sizeof(entry);
	be32_store(dir->data, ++f->n_files);
	return key;
}

void fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 size)
{
	assert(key < FW_CFG_FILE_DIR && !f->items[key].data);
	fw_cfg_put(f, key, data, size);
}

void fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 size)
{
	fw_cfg_put(f, fw_cfg_name_file(f, name, size), data, size);
}

void fw_cfg_add_writable(struct fw_cfg *f, const char *name, const void *data, u32 size,
			 void (*on_write)(void *opaque, const u8 *data, u32 size), void *opaque)
{
	struct fw_cfg_item *item = &f->items[fw_cfg_name_file(f, name, size)];
	u8 *first = mem_alloc(size ? size : 1, 1);

	assert(range_fits(f->pool_used, size, sizeof(f->pool)));
	memcpy(first, data, size);
	item->data = f->pool + f->pool_used;
	item->size = size;
	item->first = first;
	item->on_write = on_write;
	item->opaque = opaque;
	memcpy(item->data, first, size);
	f->pool_used += size;
}

/* --- reading --- */

static struct fw_cfg_item *fw_cfg_selected(struct fw_cfg *f)
{
	return f->selected < FW_CFG_ITEMS ? &f->items[f->selected] : NULL;
}

static void fw_cfg_select(struct fw_cfg *f, u16 key)
{
	f->selected = key < FW_CFG_ITEMS && f->items[key].data ? key : FW_CFG_NONE;
	f->offset = 0;
}

/* Of the next length bytes, how many are the item's own. Moves on. */
static u32 fw_cfg_advance(struct fw_cfg *f, u32 length, const u8 **out)
{
	const struct fw_cfg_item *item = fw_cfg_selected(f);
	u32 left = item && f->offset < item->size ? item->size - f->offset : 0;
	u32 n = MIN(length, left);

	*out = n ? item->data + f->offset : NULL;
	f->offset += n;
	return n;
}

static u64 fw_cfg_read(struct device *dev, u64 off, unsigned size)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);
	const u8 *byte;

	if (off != 1 || size != 1)
		return 0;
	return fw_cfg_advance(f, 1, &byte) ? *byte : 0;
}

static void fw_cfg_write(struct device *dev, u64 off, u64 value, unsigned size)
{
	if (off == 0 && size == 2)
		fw_cfg_select(container_of(dev, struct fw_cfg, dev), (u16)value);
	else
		guest_error(dev, "%u-byte write at %#lx", size, off);
}

/* --- DMA --- */

static int fw_cfg_dma_read(struct fw_cfg *f, gpa_t gpa, u32 length)
{
	const u8 *data;
	u32 n = fw_cfg_advance(f, length, &data);
	int r = n ? gmem_write(f->gmem, gpa, data, n) : 0;

	if (r < 0 || n == length)
		return r;
	if (gpa + n < gpa)
		return -EFAULT;
	return gmem_fill(f->gmem, gpa + n, 0, length - n);
}

static int fw_cfg_dma_write(struct fw_cfg *f, gpa_t gpa, u32 length)
{
	struct fw_cfg_item *item = fw_cfg_selected(f);
	int r;

	if (!item || !item->first || !range_fits(f->offset, length, item->size))
		return -EPERM;
	r = length ? gmem_read(f->gmem, gpa, item->data + f->offset, length) : 0;
	if (r < 0)
		return r;
	f->offset += length;
	if (item->on_write)
		item->on_write(item->opaque, item->data, item->size);
	return 0;
}

static int fw_cfg_dma_command(struct fw_cfg *f, const struct fw_cfg_dma_wire *c)
{
	u32 control = be32_get(c->control), length = be32_get(c->length);
	const u8 *skipped;

	if (control & FW_CFG_DMA_SELECT)
		fw_cfg_select(f, (u16)(control >> 16));
	if (control & FW_CFG_DMA_READ)
		return fw_cfg_dma_read(f, be64_get(c->address), length);
	if (control & FW_CFG_DMA_WRITE)
		return fw_cfg_dma_write(f, be64_get(c->address), length);
	if (control & FW_CFG_DMA_SKIP)
		fw_cfg_advance(f, length, &skipped);
	return 0;
}

static void fw_cfg_dma_run(struct fw_cfg *f, gpa_t gpa)
{
	struct fw_cfg_dma_wire c;
	be32 result = be32_of(0);

	if (gmem_read(f->gmem, gpa, &c, sizeof(c)) < 0) {
		guest_error(&f->dev, "no memory at the DMA command's address %#lx", gpa);
		return;
	}
	if (fw_cfg_dma_command(f, &c) < 0) {
		guest_error(&f->dev, "DMA command %#x failed", be32_get(c.control));
		result = be32_of(FW_CFG_DMA_ERROR);
	}
	if (gmem_write(f->gmem, gpa, &result, sizeof(result)) < 0)
		guest_error(&f->dev, "the DMA command at %#lx can't be answered", gpa);
}

/* The register shows a signature, big-endian as everything here. */
static u64 fw_cfg_dma_port_read(unused struct device *dev, u64 off, unsigned size)
{
	static const char signature[9] = "QEMU CFG";

	return bytes_load(signature + off, size);
}

static void fw_cfg_dma_port_write(struct device *dev, u64 off, u64 value, unsigned size)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);
	u32 half = __builtin_bswap32((u32)value);

	if (size == 8) {
		fw_cfg_dma_run(f, __builtin_bswap64(value));
	} else if (off == 0 && size == 4) {
		f->dma_high = half;
	} else if (off == 4 && size == 4) {
		gpa_t gpa = (u64)f->dma_high << 32 | half;

		f->dma_high = 0;
		fw_cfg_dma_run(f, gpa);
	} else {
		guest_error(dev, "%u-byte write at DMA port %#lx", size, off);
	}
}

/* --- the device --- */

static void fw_cfg_reset(struct device *dev)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	f->dma_high = 0;
	fw_cfg_select(f, FW_CFG_SIGNATURE);
	for (unsigned i = 0; i < FW_CFG_ITEMS; i++)
		if (f->items[i].first)
			memcpy(f->items[i].data, f->items[i].first, f->items[i].size);
}

static void fw_cfg_free(struct device *dev)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	for (unsigned i = 0; i < FW_CFG_ITEMS; i++) {
		struct fw_cfg_item *item = &f->items[i];

		if (item->first)
			free((void *)item->first);
		else
			free(item->data);
	}
	io_region_fini(&f->io);
	io_region_fini(&f->dma_io);
	device_fini(dev);
	free(f);
}

static int fw_cfg_after_load(void *object, unused u16 version, struct err *err)
{
	struct fw_cfg *f = object;
	const struct fw_cfg_item *item = fw_cfg_selected(f);

	if (f->selected != FW_CFG_NONE && (!item || !item->data))
		return err_set(err, -EINVAL, "item 0x%x is selected and isn't there", f->selected);
	if (item && f->offset > item->size)
		return err_set(err, -EINVAL, "offset %u is beyond its item's end", f->offset);
	return 0;
}

static const struct state_field fw_cfg_fields[] = {
	STATE_U(struct fw_cfg, selected),
	STATE_U(struct fw_cfg, offset),
	STATE_U(struct fw_cfg, dma_high),
	STATE_RAW(struct fw_cfg, pool),
	STATE_END,
};

static const struct state_table fw_cfg_state = {
	.name = "fw-cfg",
	.version = 1,
	.fields = fw_cfg_fields,
	.after_load = fw_cfg_after_load,
};

static const struct device_ops fw_cfg_device_ops = {
	.type = "fw-cfg",
	.offset = offsetof(struct fw_cfg, dev),
	.state = &fw_cfg_state,
	.reset = fw_cfg_reset,
	.free = fw_cfg_free,
};

static const struct io_ops fw_cfg_io_ops = {
	.read = fw_cfg_read, .write = fw_cfg_write, .max_size = 2};
static const struct io_ops fw_cfg_dma_ops = {
	.read = fw_cfg_dma_port_read, .write = fw_cfg_dma_port_write, .max_size = 8};

struct fw_cfg *fw_cfg_new(struct gmem *gmem)
{
	struct fw_cfg *f = NEW(struct fw_cfg);
	le32 id = le32_of(FW_CFG_ID_PORTS | FW_CFG_ID_DMA);
	be32 no_files = be32_of(0);

	f->gmem = gmem;
	device_init(&f->dev, &fw_cfg_device_ops, "fw-cfg");
	io_region_init(&f->io, "fw-cfg", &f->dev, &fw_cfg_io_ops, 2);
	io_region_init(&f->dma_io, "fw-cfg-dma", &f->dev, &fw_cfg_dma_ops, 8);
	fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4);
	fw_cfg_add(f, FW_CFG_ID, &id, sizeof(id));
	fw_cfg_put(f, FW_CFG_FILE_DIR, &no_files, sizeof(no_files));
	device_reset(&f->dev);
	return f;
}

struct device *fw_cfg_device(struct fw_cfg *f)
{
	return &f->dev;
}

struct io_region *fw_cfg_io(struct fw_cfg *f)
{
	return &f->io;
}

struct io_region *fw_cfg_dma_io(struct fw_cfg *f)
{
	return &f->dma_io;
}
