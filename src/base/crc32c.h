/*
 * CRC-32C of RFC 3720 (Castagnoli's polynomial 0x1edc6f41, reflected): the checksum of bulk data. By
 * the processor's own instruction where it has one, several gigabytes a second. Pure, any thread.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/base.h"

/* Start with crc = 0; feed the result back to go on. */
u32 crc32c_update(u32 crc, const void *data, size_t size);

/* Without the instruction: for the tests, which hold the two against each other. */
u32 crc32c_update_by_table(u32 crc, const void *data, size_t size);

#endif
