/* dev/fw_cfg: ports, directory, DMA, hostile commands. */
#include "dev/fw_cfg.h"

#include "base/epoch.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "device_check.h"
#include "mem/gmem.h"

#define COMMAND 0x1000 /* guest addresses */
#define BUFFER  0x2000
#define RAM     (64 * KIB)

struct fixture {
	struct epoch *epoch;
	struct gmem *gmem;
	struct fw_cfg *f;
	unsigned writes;
	u8 last;
};

static void fixture_on_write(void *opaque, const u8 *data, u32 size)
{
	struct fixture *f = (struct fixture *)opaque;

	f->writes++;
	f->last = data[size - 1];
}

static void fixture_init(struct fixture *f)
{
	struct gmem_range range = {.size = RAM};
	struct err err = ERR_INIT;

	*f = (struct fixture){.epoch = epoch_new()};
	f->gmem = gmem_new(f->epoch, false);
	gmem_attach_thread(f->gmem);
	CHECK_EQ(gmem_block_new(f->gmem, "ram", GMEM_ANON, RAM, -1, &range.block, &err), 0);
	gmem_set_map(f->gmem, &range, 1);
	f->f = fw_cfg_new(f->gmem);
	fw_cfg_add_file(f->f, "etc/hello", "hello, guest", 12);
	fw_cfg_add_writable(f->f, "etc/told", "....", 4, fixture_on_write, f);
}

static void fixture_fini(struct fixture *f)
{
	device_free(fw_cfg_device(f->f));
	gmem_detach_thread(f->gmem);
	gmem_free(f->gmem);
	epoch_free(f->epoch);
}

static void fixture_select(struct fixture *f, u16 key)
{
	io_write(fw_cfg_io(f->f), 0, key, 2);
}

static void read_bytes(struct fixture *f, void *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		((u8 *)out)[i] = (u8)io_read(fw_cfg_io(f->f), 1, 1);
}

/* Runs a command as a guest does; returns its control word afterwards. */
static u32 dma(struct fixture *f, u32 control, u64 address, u32 length)
{
	struct fw_cfg_dma_wire c = {be32_of(control), be32_of(length), be64_of(address)};

	CHECK_EQ(gmem_write(f->gmem, COMMAND, &c, sizeof(c)), 0);
	io_write(fw_cfg_dma_io(f->f), 0, 0, 4);
	io_write(fw_cfg_dma_io(f->f), 4, __builtin_bswap32(COMMAND), 4);
	CHECK_EQ(gmem_read(f->gmem, COMMAND, &c, sizeof(c)), 0);
	return be32_get(c.control);
}

TEST(the_signature_and_abilities_are_there)
{
	struct fixture f;
	char text[6];
	le32 id;

	fixture_init(&f);
	read_bytes(&f, text, 6); /* selected after reset; zeros behind the end */
	CHECK_MEM(text, "QEMU\0\0", 6);
	fixture_select(&f, FW_CFG_ID);
	read_bytes(&f, &id, 4);
	CHECK_EQ(le32_get(id), 3);
	CHECK_EQ(__builtin_bswap64(io_read(fw_cfg_dma_io(f.f), 0, 8)), 0x51454d5520434647);
	CHECK_EQ(io_read(fw_cfg_dma_io(f.f), 0, 4), 0x554d4551);
	fixture_select(&f, 0x7777);
	read_bytes(&f, text, 2);
	CHECK_EQ(text[0], 0);
	fixture_fini(&f);
}

TEST(files_are_found_in_the_directory)
{
	struct fw_cfg_file_wire entry;
	struct fixture f;
	char text[12];
	be32 n;

	fixture_init(&f);
	fixture_select(&f, FW_CFG_FILE_DIR);
	read_bytes(&f, &n, 4);
	CHECK_EQ(be32_get(n), 2);
	read_bytes(&f, &entry, sizeof(entry));
	CHECK_STR(entry.name, "etc/hello");
	CHECK_EQ(be32_get(entry.size), 12);
	fixture_select(&f, be16_get(entry.key));
	read_bytes(&f, text, 5);
	CHECK_SURVIVES_SAVE_AND_LOAD(fw_cfg_device(f.f));
	CHECK_STANDS_DAMAGED_STATE(fw_cfg_device(f.f));
	read_bytes(&f, text + 5, 7);
	CHECK_MEM(text, "hello, guest", 12);
	fixture_fini(&f);
}

TEST(dma_reads_skips_and_pads)
{
	struct fixture f;
	char text[16];

	fixture_init(&f);
	CHECK_EQ(gmem_fill(f.gmem, BUFFER, 0xff, 16), 0);
	CHECK_EQ(dma(&f, 0x200000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_SKIP, 0, 7), 0);
	CHECK_EQ(dma(&f, FW_CFG_DMA_READ, BUFFER, 8), 0);
	CHECK_EQ(gmem_read(f.gmem, BUFFER, text, 9), 0);
	CHECK_MEM(text, "guest\0\0\0\377", 9);
	fixture_fini(&f);
}

TEST(only_writable_files_are_written_and_reset_restores_them)
{
	struct fixture f;
	char text[4];

	fixture_init(&f);
	CHECK_EQ(gmem_write(f.gmem, BUFFER, "abcd", 4), 0);
	CHECK_EQ(dma(&f, 0x200000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_WRITE, BUFFER, 4),
		 FW_CFG_DMA_ERROR);
	CHECK_EQ(dma(&f, 0x210000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_WRITE, BUFFER, 5),
		 FW_CFG_DMA_ERROR);
	CHECK_EQ(f.writes, 0);
	CHECK_EQ(dma(&f, 0x210000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_WRITE, BUFFER, 4), 0);
	CHECK_EQ(f.writes, 1);
	CHECK_EQ(f.last, 'd');
	CHECK_SURVIVES_SAVE_AND_LOAD(fw_cfg_device(f.f));
	fixture_select(&f, 0x21);
	read_bytes(&f, text, 4);
	CHECK_MEM(text, "abcd", 4);
	device_reset(fw_cfg_device(f.f));
	fixture_select(&f, 0x21);
	read_bytes(&f, text, 4);
	CHECK_MEM(text, "....", 4);
	fixture_fini(&f);
}

TEST(commands_to_nowhere_do_no_harm)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(dma(&f, 0x200000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ, RAM - 2, 12),
		 FW_CFG_DMA_ERROR);
	CHECK_EQ(dma(&f, 0xffff0000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ, BUFFER, 4), 0);
	CHECK_EQ(dma(&f, FW_CFG_DMA_READ, ~(u64)0 - 1, 0xffffffff), FW_CFG_DMA_ERROR);
	CHECK_EQ(dma(&f, FW_CFG_DMA_SKIP, 0, 0xffffffff), 0);
	CHECK_EQ(dma(&f, 0x210000 | FW_CFG_DMA_SELECT | FW_CFG_DMA_WRITE, RAM, 4),
		 FW_CFG_DMA_ERROR);
	io_write(fw_cfg_dma_io(f.f), 0, 0xffffffff, 4);
	io_write(fw_cfg_dma_io(f.f), 4, 0xffffffff, 4); /* no command there */
	io_write(fw_cfg_dma_io(f.f), 0, __builtin_bswap64(RAM - 4), 8);
	CHECK(fw_cfg_device(f.f)->guest_errors >= 5);
	fixture_fini(&f);
}
