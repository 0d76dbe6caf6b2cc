/*
 * The Internet checksum. See csum.h.
 *
 * 32-bit words are added up in 64 bits: 2^32 of them fit, more than any frame has. The compiler
 * makes vectors of the loop.
 */
#include "net/csum.h"

#include <string.h>

static u32 csum_fold(u64 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u32)sum;
}

static u64 csum_words(const u8 *p, size_t n)
{
	u64 sum = 0;

	for (size_t i = 0; i < n; i++) {
		u32 word;

		memcpy(&word, p + i * sizeof(word), sizeof(word));
		sum += word;
	}
	return sum;
}

static u64 csum_tail(const u8 *p, size_t size)
{
	u32 word = 0;

	memcpy(&word, p, size);
	return word;
}

void csum_add(struct csum *c, const void *data, size_t size)
{
	size_t words = size / sizeof(u32);
	u64 sum = csum_words(data, words);

	sum += csum_tail((const u8 *)data + words * sizeof(u32), size % sizeof(u32));
	/* At an odd place all bytes change their half of the word: so does their sum. */
	if (c->is_odd)
		sum = __builtin_bswap16((u16)csum_fold(sum));
	c->sum += sum;
	c->is_odd ^= size & 1;
}

void csum_add_iov(struct csum *c, const struct iovec *iov, size_t skip, size_t size)
{
	for (; size; iov++) {
		size_t cut = MIN(skip, iov->iov_len), n = MIN(iov->iov_len - cut, size);

		csum_add(c, (const u8 *)iov->iov_base + cut, n);
		skip -= cut;
		size -= n;
	}
}

u16 csum_end(const struct csum *c)
{
	u16 sum = (u16)~csum_fold(c->sum);

	return sum ? sum : UINT16_MAX;
}
