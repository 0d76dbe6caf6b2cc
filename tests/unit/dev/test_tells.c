/* dev/pvpanic, dev/debug_exit, dev/debugcon: ports by which a guest tells something. */
#include "bus/device.h"
#include "bus/io.h"
#include "chr/chr.h"
#include "dev/debug_exit.h"
#include "dev/debugcon.h"
#include "dev/pvpanic.h"
#include "test.h"

static void count(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void note_code(void *opaque, u8 code)
{
	*(int *)opaque = code;
}

TEST(a_panic_is_told_and_a_handled_crash_is_not)
{
	unsigned panics = 0;
	struct pvpanic *p = pvpanic_new(count, &panics);

	CHECK_EQ(io_read(pvpanic_io(p), 0, 1), 3);
	io_write(pvpanic_io(p), 0, 2, 1);
	CHECK_EQ(panics, 0);
	io_write(pvpanic_io(p), 0, 1, 1);
	CHECK_EQ(panics, 1);
	io_write(pvpanic_io(p), 0, 0xfc, 1);
	CHECK_EQ(panics, 1);
	CHECK_EQ(pvpanic_device(p)->guest_errors, 1);
	device_reset(pvpanic_device(p));
	device_free(pvpanic_device(p));
}

TEST(a_test_kernel_ends_with_a_code)
{
	int code = -1;
	struct debug_exit *d = debug_exit_new(note_code, &code);

	io_write(debug_exit_io(d), 0, 0x131, 4);
	CHECK_EQ(code, 0x31);
	io_write(debug_exit_io(d), 0, 7, 1);
	CHECK_EQ(code, 7);
	io_write(debug_exit_io(d), 2, 9, 1);
	CHECK_EQ(code, 7);
	CHECK_EQ(io_read(debug_exit_io(d), 0, 4), 0);
	device_free(debug_exit_device(d));
}

TEST(debug_bytes_reach_the_stream_until_it_is_full)
{
	struct chr *chr = chr_ring_new(3);
	struct debugcon *d = debugcon_new("debugcon", chr);
	char out[8];

	CHECK_EQ(io_read(debugcon_io(d), 0, 1), 0xe9);
	for (const char *p = "four"; *p; p++)
		io_write(debugcon_io(d), 0, (u8)*p, 1);
	CHECK_EQ(chr_ring_output(chr, out, sizeof(out)), 3);
	CHECK_MEM(out, "fou", 3);
	CHECK_EQ(debugcon_device(d)->guest_errors, 1);
	device_free(debugcon_device(d));
	chr_free(chr);
}
