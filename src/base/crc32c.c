/*
 * CRC-32C. See crc32c.h.
 *
 * The instruction takes eight bytes in three cycles, and that is enough here: memory is read slower
 * from disk. Without it a nibble at a time, as crc32.c.
 */
#include "base/crc32c.h"

#include <nmmintrin.h>

#include "base/bytes.h"

u32 crc32c_update_by_table(u32 crc, const void *data, size_t size)
{
	static const u32 table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	const u8 *p = data;

	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

__attribute__((target("sse4.2"))) static u32 crc32c_by_instruction(u32 crc, const u8 *p,
								   size_t size)
{
	u64 c = (u32)~crc;

	for (; size >= 8; p += 8, size -= 8)
		c = _mm_crc32_u64(c, bytes_load(p, 8));
	for (; size; p++, size--)
		c = _mm_crc32_u8((u32)c, *p);
	return ~(u32)c;
}

u32 crc32c_update(u32 crc, const void *data, size_t size)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_by_instruction(crc, data, size);
	return crc32c_update_by_table(crc, data, size);
}
