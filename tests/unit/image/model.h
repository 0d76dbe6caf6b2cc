/*
 * A disk against a plain array: the same random operations on both, contents compared. And files for
 * images, and names for their openers.
 */
#ifndef TESTS_UNIT_IMAGE_MODEL_H
#define TESTS_UNIT_IMAGE_MODEL_H

#include "block/block.h"
#include "image/image.h"

/* A container over a new memfd (fd_out, if not NULL, is another descriptor of it, the caller's). */
struct blk *model_file(struct loop *loop, int *fd_out);
/* The same over a descriptor, duplicated. */
struct blk *model_file_of(struct loop *loop, int fd, bool is_readonly);

struct model;
/* contents: what b has now is read. b stays the caller's. */
struct model *model_new(struct blk *b, u64 seed);
void model_free(struct model *m);
/*
 * n random reads, writes, zeroes, discards, flushes at sector granularity, several at a time where they
 * don't overlap; fails the test at the first difference. A discard's range is read afterwards, and
 * must be the old contents or zeros, by sectors.
 */
void model_run(struct model *m, unsigned n);
void model_compare(struct model *m); /* all of it */
/* blk_resize, and the same here; bytes: a multiple of 512. */
void model_resize(struct model *m, u64 bytes);
/* b was closed and opened again. */
void model_reopened(struct model *m, struct blk *b);
const u8 *model_bytes(const struct model *m);

#endif
