/*
 * What every file of posada includes: integer types, compile-time helpers, ownership helpers.
 *
 * Nothing here allocates, logs or fails. The rest of base/ has one header per subject.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
/* unsigned long, not uint64_t's name: hosts are LP64, so that "%lx" prints a u64. */
typedef unsigned long u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef long i64;
typedef unsigned __int128 u128;

static_assert(sizeof(u64) == 8 && sizeof(void *) == 8, "posada's hosts are LP64");

/* Guest-physical and guest-virtual (linear) addresses. */
typedef u64 gpa_t;
typedef u64 gva_t;

#define KIB ((u64)1 << 10)
#define MIB ((u64)1 << 20)
#define GIB ((u64)1 << 30)

#define NSEC_PER_SEC  ((u64)1000000000)
#define NSEC_PER_MSEC ((u64)1000000)
#define NSEC_PER_USEC ((u64)1000)

#define PAGE_SHIFT 12
#define PAGE_SIZE  ((u64)1 << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define ARRAY_SIZE(a)             (sizeof(a) / sizeof((a)[0]))
#define MEMBER_SIZE(type, member) sizeof(((type *)0)->member)
#define BIT(n)                    ((u64)1 << (n))
#define BIT32(n)                  ((u32)1 << (n))

#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a_ = (a);                                                        \
		__typeof__(b) min_b_ = (b);                                                        \
		min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a_ = (a);                                                        \
		__typeof__(b) max_b_ = (b);                                                        \
		max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
	})

#define container_of(ptr, type, member)                                                            \
	({                                                                                         \
		__typeof__(((type *)0)->member) *container_member_ = (ptr);                        \
		(type *)((char *)container_member_ - offsetof(type, member));                      \
	})

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define printf_like(fmt, first) __attribute__((format(printf, fmt, first)))
#define must_check              __attribute__((warn_unused_result))
#define noinline                __attribute__((noinline))
#define always_inline           inline __attribute__((always_inline))
#define packed                  __attribute__((packed))
#define unused                  __attribute__((unused))
#define noreturn                __attribute__((noreturn))
/* For what is public within posada's own libraries, where the default is hidden anyway. */
#define unreachable_code() abort_at(__FILE__, __LINE__)

/* A state that only a bug of ours can reach; kept in release builds. */
noreturn static inline void abort_at(const char *file, int line)
{
	__assert_fail("unreachable", file, (unsigned)line, "");
}

/*
 * AUTO(fn) struct x *p: fn(p) runs when p leaves scope, p may be NULL. take(p) hands p on: it
 * yields the pointer and leaves NULL behind. Cleanup handlers are declared once per type with
 * AUTO_FN(fn, struct x *).
 */
#define AUTO(fn) __attribute__((cleanup(auto_##fn)))
#define AUTO_FN(fn, type)                                                                          \
	unused static inline void auto_##fn(type *auto_ptr_)                                       \
	{                                                                                          \
		if (*auto_ptr_)                                                                    \
			fn(*auto_ptr_);                                                            \
	}
#define take(p)                                                                                    \
	({                                                                                         \
		__typeof__(p) take_p_ = (p);                                                       \
		(p) = NULL;                                                                        \
		take_p_;                                                                           \
	})

static inline u64 align_down(u64 v, u64 power_of_two)
{
	return v & ~(power_of_two - 1);
}

/* Wraps to 0 when v is within power_of_two of 2^64: check v first where it comes from outside. */
static inline u64 align_up(u64 v, u64 power_of_two)
{
	return (v + power_of_two - 1) & ~(power_of_two - 1);
}

static inline bool is_aligned(u64 v, u64 power_of_two)
{
	return (v & (power_of_two - 1)) == 0;
}

static inline bool is_power_of_two(u64 v)
{
	return v && !(v & (v - 1));
}

/* SplitMix64: the next of the numbers that follow from a seed. Not for secrets. */
static inline u64 base_random(u64 *state)
{
	u64 v = *state += 0x9e3779b97f4a7c15;

	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9;
	v = (v ^ v >> 27) * 0x94d049bb133111eb;
	return v ^ v >> 31;
}

/* Do [start, start + len) lie within [0, size)? No sum can wrap. */
static inline bool range_fits(u64 start, u64 len, u64 size)
{
	return start <= size && len <= size - start;
}

/* Do [a, a + a_len) and [b, b + b_len) share a byte? Neither may wrap. */
static inline bool range_overlaps(u64 a, u64 a_len, u64 b, u64 b_len)
{
	return a_len && b_len && a < b + b_len && b < a + a_len;
}

#endif
