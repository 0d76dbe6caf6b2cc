/*
 * The vectors of a request. See iov.h.
 */
#include "block/iov.h"

#include <string.h>

void blk_iov_advance(struct blk_request *r, u64 bytes)
{
	while (bytes) {
		u64 n = MIN(bytes, (u64)r->iov->iov_len);

		r->iov->iov_base = (u8 *)r->iov->iov_base + n;
		r->iov->iov_len -= n;
		bytes -= n;
		if (!r->iov->iov_len) {
			r->iov++;
			r->n_iov--;
		}
	}
}

void blk_iov_gather(const struct blk_request *r, u8 *to, u64 bytes)
{
	for (const struct iovec *v = r->iov; bytes; v++) {
		u64 n = MIN(bytes, (u64)v->iov_len);

		memcpy(to, v->iov_base, n);
		to += n;
		bytes -= n;
	}
}

void blk_iov_scatter(const struct blk_request *r, const u8 *from, u64 bytes)
{
	for (const struct iovec *v = r->iov; bytes; v++) {
		u64 n = MIN(bytes, (u64)v->iov_len);

		memcpy(v->iov_base, from, n);
		from += n;
		bytes -= n;
	}
}

void blk_iov_lend(struct blk_request *r, u64 bytes, struct blk_request *part, struct iovec *out_cut)
{
	struct iovec *last = r->iov;

	assert(bytes);
	for (; bytes > last->iov_len; last++)
		bytes -= last->iov_len;
	*out_cut = (struct iovec){.iov_base = (u8 *)last->iov_base + bytes,
				  .iov_len = last->iov_len - bytes};
	last->iov_len = bytes;
	part->iov = r->iov;
	part->n_iov = (u32)(last - r->iov) + 1;
}

void blk_iov_return(struct blk_request *r, u32 n_lent, const struct iovec *cut)
{
	r->iov += n_lent - 1;
	r->n_iov -= n_lent - 1;
	*r->iov = *cut;
	if (!cut->iov_len) {
		r->iov++;
		r->n_iov--;
	}
}
