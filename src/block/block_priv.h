/*
 * What makers of disks share. For this folder only.
 */
#ifndef BLOCK_BLOCK_PRIV_H
#define BLOCK_BLOCK_PRIV_H

#include "block/block.h"

/* A batch of done() was called. */
void blk_end_round(struct blk *b);

#endif
