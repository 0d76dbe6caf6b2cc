/*
 * The vectors of a request, which always describe what is still to be transferred. For this folder
 * only.
 */
#ifndef BLOCK_IOV_H
#define BLOCK_IOV_H

#include "block/block.h"

/* Steps past bytes that were transferred. */
void blk_iov_advance(struct blk_request *r, u64 bytes);
/* Copies the next bytes out of, or into, the caller's memory. */
void blk_iov_gather(const struct blk_request *r, u8 *to, u64 bytes);
void blk_iov_scatter(const struct blk_request *r, const u8 *from, u64 bytes);

/*
 * Lends the next bytes' vectors to another request, part, without copying the array: the last one
 * is cut in two, and what it keeps for later is in *out_cut. blk_iov_return steps past them.
 */
void blk_iov_lend(struct blk_request *r, u64 bytes, struct blk_request *part,
		  struct iovec *out_cut);
void blk_iov_return(struct blk_request *r, u32 n_lent, const struct iovec *cut);

#endif
