/*
 * The Internet checksum (RFC 1071), over bytes that come in pieces. Pure.
 */
#ifndef NET_CSUM_H
#define NET_CSUM_H

#include <sys/uio.h>

#include "base/base.h"

struct csum {
	u64 sum; /* of 16-bit words in the host's order: the sum doesn't care, if stored the same */
	bool is_odd; /* the next byte is the second of its word */
};

void csum_add(struct csum *c, const void *data, size_t size);
/* size bytes of the vectors, from byte skip on; they have so many. */
void csum_add_iov(struct csum *c, const struct iovec *iov, size_t skip, size_t size);

/* To be stored as it is, by memcpy; never 0, which UDP has for "none" and means the same as ~0. */
u16 csum_end(const struct csum *c);

#endif
