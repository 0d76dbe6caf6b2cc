/* Memory: copies, scans, string instructions, random access, code that writes itself. */
#include "work.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *map(size_t size, int protection)
{
	void *memory = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		work_fail("memory");
	return memory;
}

#define BLOCK (64u * 1024)

static uint64_t copy(unsigned count)
{
	uint8_t *from = map(2 * BLOCK, PROT_READ | PROT_WRITE), *to = from + BLOCK;

	for (unsigned i = 0; i < BLOCK; i++)
		from[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < count * 1000; i++) {
		from[i % BLOCK]++;
		memcpy(to, from, BLOCK);
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	return to[1] + 256u * to[BLOCK - 1];
}

static uint64_t length(unsigned count)
{
	static char text[4096];
	uint64_t sum = 0;

	memset(text, 'x', sizeof(text) - 1);
	for (unsigned i = 0; i < count * 10000; i++) {
		__asm__ volatile("" : : "r"(text) : "memory");
		sum += strlen(text + (i & 1023));
	}
	return sum;
}

static uint64_t movsb(unsigned count)
{
	uint8_t *from = map(2 * BLOCK, PROT_READ | PROT_WRITE), *to = from + BLOCK;

	for (unsigned i = 0; i < BLOCK; i++)
		from[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < count * 1000; i++) {
		void *s = from, *d = to;
		size_t n = BLOCK;

		from[i % BLOCK]++;
		__asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory");
	}
	return to[1] + 256u * to[BLOCK - 1];
}

/* Each address depends on what was read before. */
static uint64_t random_access(unsigned count)
{
	enum { WORDS = (64u << 20) / sizeof(uint64_t) };
	uint64_t *words = map(WORDS * sizeof(*words), PROT_READ | PROT_WRITE);
	uint64_t state = WORK_SEED;

	for (size_t i = 0; i < WORDS; i += 512)
		words[i] = i;
	for (uint64_t i = 0; i < count * 100000ull; i++)
		state = work_random(&state) + words[(state >> 20) % WORDS];
	return state;
}

/* MOV EAX, imm32; RET: another number each time, at one of several places. */
static uint64_t rewrite(unsigned count)
{
	uint8_t *code = map(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count * 10000; i++) {
		uint8_t *at = code + (i & 7) * 64;

		at[0] = 0xb8;
		memcpy(at + 1, &i, sizeof(i));
		at[5] = 0xc3;
		sum = sum * 3 + ((uint32_t(*)(void))(uintptr_t)at)();
	}
	return sum;
}

const struct work work_memory[] = {
	{"memcpy", copy},          {"strlen", length},   {"movsb", movsb},
	{"random", random_access}, {"rewrite", rewrite}, {NULL, NULL},
};
