/*
 * The small programs of ./bench soft, one a file of related ones: each does a fixed amount of work by
 * its count and gives a number that depends on all of it, which must be the same wherever it runs.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef uint64_t work_fn(unsigned count);

struct work {
	const char *name;
	work_fn *run;
};

/* Each ends with an entry without a name. */
extern const struct work work_int[], work_float[], work_memory[], work_kernel[];

/* Marsaglia's xorshift64. */
static inline uint64_t work_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#define WORK_SEED 88172645463325252u

/* Says why and ends the program: the row then has no result. */
_Noreturn void work_fail(const char *why);
