/* Integer code as a compiler makes it: loops in registers, branches, calls, bytes and words in memory. */
#include "work.h"

#include <stdlib.h>
#include <string.h>

static uint64_t intloop(unsigned count)
{
	uint64_t a = WORK_SEED, b = 1, c = 0;

	for (uint64_t i = 0; i < count * 1000000ull; i++) {
		a += b ^ i;
		b = (b << 7 | b >> 57) + a;
		c ^= a - (b >> 3);
	}
	return a ^ b ^ c;
}

/* Half of them no processor can predict. */
static uint64_t branches(unsigned count)
{
	uint64_t state = WORK_SEED, sum = 0;

	for (uint64_t i = 0; i < count * 1000000ull; i++) {
		uint64_t random = work_random(&state);

		if (random & 1)
			sum += 3;
		else
			__asm__ volatile("" : "+r"(sum));
		if ((i & 3) == 3)
			sum ^= random;
		if (random & 0x300)
			sum -= i;
		else
			__asm__ volatile("" : "+r"(sum));
		if (sum & 0x10)
			sum += random >> 5;
	}
	return sum;
}

struct node {
	struct node *next;
	uint64_t value[7];
};

static uint64_t list(unsigned count)
{
	enum { N = 4096 };
	static struct node nodes[N];
	static uint32_t order[N];
	uint64_t state = WORK_SEED, sum = 0;
	struct node *node = &nodes[0];

	for (uint32_t i = 0; i < N; i++)
		order[i] = i;
	for (uint32_t i = N - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(work_random(&state) % (i + 1)), swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	for (uint32_t i = 0; i < N; i++) {
		nodes[order[i]].next = &nodes[order[(i + 1) % N]];
		nodes[order[i]].value[0] = i;
	}
	for (uint64_t i = 0; i < count * 1000000ull; i++) {
		sum += node->value[0];
		node = node->next;
	}
	return sum;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t sort(unsigned count)
{
	enum { N = 50000 };
	uint64_t *values = malloc(N * sizeof(*values));
	uint64_t state = WORK_SEED, sum = 0;

	if (!values)
		work_fail("memory");
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < N; j++)
			values[j] = work_random(&state);
		qsort(values, N, sizeof(*values), compare);
		sum = sum * 31 + values[i % N];
	}
	free(values);
	return sum;
}

static uint64_t sieve(unsigned count)
{
	enum { N = 1 << 20 };
	uint8_t *is_composite = malloc(N);
	uint64_t sum = 0;

	if (!is_composite)
		work_fail("memory");
	for (unsigned i = 0; i < count; i++) {
		memset(is_composite, 0, N);
		for (unsigned p = 2; p < N; p++) {
			if (is_composite[p])
				continue;
			sum += p;
			for (unsigned long q = (unsigned long)p * p; q < N; q += p)
				is_composite[q] = 1;
		}
	}
	free(is_composite);
	return sum;
}

/* Strings into a table of open addressing, and found again. */
static uint64_t hash(unsigned count)
{
	enum { SLOTS = 1 << 15, KEYS = SLOTS / 2 };
	static struct {
		char key[16];
		uint32_t value;
	} table[SLOTS];
	uint64_t state = WORK_SEED, sum = 0;

	for (unsigned i = 0; i < count * KEYS; i++) {
		char key[16] = "key-";
		uint32_t h = 2166136261u;

		for (uint64_t n = work_random(&state) % KEYS, j = 4; j < 15; j++, n /= 7)
			key[j] = (char)('a' + n % 7);
		for (unsigned j = 0; j < 15; j++)
			h = (h ^ (uint8_t)key[j]) * 16777619u;
		for (h %= SLOTS; table[h].key[0] && memcmp(table[h].key, key, 16) != 0;)
			h = (h + 1) % SLOTS;
		if (!table[h].key[0])
			memcpy(table[h].key, key, 16);
		sum = sum * 3 + table[h].value++;
	}
	return sum;
}

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

/* FIPS 180-4, section 6.2.2; its constants don't matter here, how they are used does. */
static void sha256_block(uint32_t h[8], const uint32_t k[64], const uint8_t *block)
{
	uint32_t w[64], s[8];

	for (unsigned t = 0; t < 16; t++)
		w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
		       (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
	for (unsigned t = 16; t < 64; t++)
		w[t] = w[t - 16] + w[t - 7] +
		       (rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3) +
		       (rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10);
	memcpy(s, h, sizeof(s));
	for (unsigned t = 0; t < 64; t++) {
		uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
			      ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[t] + w[t];
		uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
			      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, 7 * sizeof(s[0]));
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += s[i];
}

static uint64_t sha256(unsigned count)
{
	static uint8_t data[1 << 16];
	uint32_t h[8] = {1, 2, 3, 4, 5, 6, 7, 8}, k[64];
	uint64_t state = WORK_SEED;

	for (unsigned i = 0; i < 64; i++)
		k[i] = (uint32_t)work_random(&state);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i >> 3);
	for (unsigned i = 0; i < count; i++) {
		for (unsigned at = 0; at < sizeof(data); at += 64)
			sha256_block(h, k, data + at);
	}
	return (uint64_t)h[0] << 32 | h[7];
}

static __attribute__((noinline)) uint64_t fib_of(unsigned n)
{
	return n < 2 ? n : fib_of(n - 1) + fib_of(n - 2);
}

static uint64_t fib(unsigned count)
{
	volatile unsigned n = 27;
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += fib_of(n);
	return sum;
}

/* An interpreter of a tiny stack machine: a switch in a loop. */
static uint64_t bytecode(unsigned count)
{
	enum { PUSH, ADD, SUB, XOR, DUP, SWAP, SHIFT, LOAD, STORE, DROP, KINDS };
	static uint8_t code[4096];
	uint64_t state = WORK_SEED, stack[16] = {0}, memory[16] = {0}, top = 0, value;

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = (uint8_t)(work_random(&state) >> 20);
	for (unsigned i = 0; i < count * sizeof(code) * 16; i++) {
		uint8_t op = code[i % sizeof(code)];

		switch (op % KINDS) {
		case PUSH:
			stack[++top & 15] = op + i;
			break;
		case ADD:
			stack[top & 15] += stack[(top - 1) & 15];
			break;
		case SUB:
			stack[top & 15] -= stack[(top - 2) & 15];
			break;
		case XOR:
			stack[top & 15] ^= stack[(top - 3) & 15] + 1;
			break;
		case DUP:
			stack[(top + 1) & 15] = stack[top & 15];
			top++;
			break;
		case SWAP:
			value = stack[top & 15];
			stack[top & 15] = stack[(top - 1) & 15];
			stack[(top - 1) & 15] = value;
			break;
		case SHIFT:
			stack[top & 15] >>= op & 7;
			break;
		case LOAD:
			stack[++top & 15] = memory[op & 15];
			break;
		case STORE:
			memory[op & 15] += stack[top-- & 15];
			break;
		case DROP:
			top--;
			break;
		}
	}
	return memory[0] ^ memory[7] ^ stack[top & 15];
}

#define TARGET(name, expression)                                                                   \
	static __attribute__((noinline)) uint64_t target_##name(uint64_t x)                        \
	{                                                                                          \
		return expression;                                                                 \
	}
TARGET(a, x + 3)
TARGET(b, x ^ x >> 5)
TARGET(c, x * 5)
TARGET(d, x - 77)
TARGET(e, ~x)
TARGET(f, x << 1 | x >> 63)
TARGET(g, x + (x >> 9))
TARGET(h, x ^ 0x5555)

static uint64_t indirect(unsigned count)
{
	static uint64_t (*volatile targets[8])(uint64_t) = {target_a, target_b, target_c, target_d,
							    target_e, target_f, target_g, target_h};
	uint64_t x = WORK_SEED;

	for (uint64_t i = 0; i < count * 1000000ull; i++)
		x = targets[(x ^ i) & 7](x);
	return x;
}

const struct work work_int[] = {
	{"intloop", intloop}, {"branches", branches}, {"list", list},     {"qsort", sort},
	{"sieve", sieve},     {"hash", hash},         {"sha256", sha256}, {"fib", fib},
	{"switch", bytecode}, {"indirect", indirect}, {NULL, NULL},
};
