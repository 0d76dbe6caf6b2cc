/*
 * CRC-32 of ISO 3309 / IEEE 802.3 (polynomial 0x04c11db7, reflected), as zlib's. Pure, any thread.
 */
#ifndef BASE_CRC32_H
#define BASE_CRC32_H

#include "base/base.h"

/* Start with crc = 0; feed the result back to go on. */
u32 crc32_update(u32 crc, const void *data, size_t size);

#endif
