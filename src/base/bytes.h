/*
 * Integers whose byte order is fixed by a wire, a disk or a guest.
 *
 * le32 and its siblings are structures, so that no such value can be read or written without a
 * conversion. All are unaligned-safe when taken from packed structures or by the load/store
 * functions. Pure functions, any thread.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <string.h>

#include "base/base.h"

typedef struct {
	u8 b[2];
} le16;
typedef struct {
	u8 b[4];
} le32;
typedef struct {
	u8 b[8];
} le64;
typedef struct {
	u8 b[2];
} be16;
typedef struct {
	u8 b[4];
} be32;
typedef struct {
	u8 b[8];
} be64;

#define BYTES_DEFINE(name, type, bits, convert)                                                    \
	static inline type name##_get(name v)                                                      \
	{                                                                                          \
		type t;                                                                            \
		memcpy(&t, v.b, sizeof(t));                                                        \
		return convert(t);                                                                 \
	}                                                                                          \
	static inline name name##_of(type t)                                                       \
	{                                                                                          \
		name v;                                                                            \
		t = convert(t);                                                                    \
		memcpy(v.b, &t, sizeof(t));                                                        \
		return v;                                                                          \
	}                                                                                          \
	static inline type name##_load(const void *p)                                              \
	{                                                                                          \
		name v;                                                                            \
		memcpy(&v, p, sizeof(v));                                                          \
		return name##_get(v);                                                              \
	}                                                                                          \
	static inline void name##_store(void *p, type t)                                           \
	{                                                                                          \
		name v = name##_of(t);                                                             \
		memcpy(p, &v, sizeof(v));                                                          \
	}

#define BYTES_SAME(v)   (v)
#define BYTES_SWAP16(v) __builtin_bswap16(v)
#define BYTES_SWAP32(v) __builtin_bswap32(v)
#define BYTES_SWAP64(v) __builtin_bswap64(v)

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "posada's hosts are little-endian");

BYTES_DEFINE(le16, u16, 16, BYTES_SAME)
BYTES_DEFINE(le32, u32, 32, BYTES_SAME)
BYTES_DEFINE(le64, u64, 64, BYTES_SAME)
BYTES_DEFINE(be16, u16, 16, BYTES_SWAP16)
BYTES_DEFINE(be32, u32, 32, BYTES_SWAP32)
BYTES_DEFINE(be64, u64, 64, BYTES_SWAP64)

/* The low size bytes of a host-order value, as register callbacks see them: size is 1, 2, 4, 8. */
static inline u64 bytes_mask(unsigned size)
{
	return size >= 8 ? ~(u64)0 : ((u64)1 << (size * 8)) - 1;
}

/* Little-endian load and store of 1 to 8 bytes. */
static inline u64 bytes_load(const void *p, unsigned size)
{
	u64 v = 0;

	assert(size <= 8);
	memcpy(&v, p, size);
	return v;
}

static inline void bytes_store(void *p, u64 v, unsigned size)
{
	assert(size <= 8);
	memcpy(p, &v, size);
}

#endif
