/*
 * QEMU's tools as judges of images: run by name, in a directory of the test's own.
 */
#ifndef TESTS_UNIT_IMAGE_QEMU_H
#define TESTS_UNIT_IMAGE_QEMU_H

#include "block/block.h"
#include "image/image.h"

/* Skips the test where there is no qemu-img. Afterwards the current directory is a new, empty one. */
void qemu_enter(void);
void qemu_leave(void); /* removes it */
/* A shell command; returns its exit status. What it prints goes to "log", which fail_msg can show. */
int qemu_run(const char *fmt, ...) printf_like(1, 2);
void qemu_must(const char *fmt, ...) printf_like(1, 2);
/* n random writes, zeroes, discards, compressed writes by qemu-io on a qcow2 image of so many bytes. */
void qemu_scribble(const char *name, u64 size, u64 cluster, bool has_packed, unsigned n, u64 seed);

/* Files here by name; fails the test where it can't. */
struct blk *qemu_file(struct loop *loop, const char *name, bool is_readonly);
/* An image with all that it names, opened by a format that is never guessed. */
struct blk *qemu_open(struct loop *loop, const char *format, const char *name, bool is_readonly);
struct blk *qemu_open_snapshot(struct loop *loop, const char *name, const char *snapshot);
/* b's contents are those of the raw file. */
void qemu_compare(struct blk *b, const char *raw);
/* An opener that opens whatever is asked for in the current directory, and creates it. */
extern const struct img_opener *qemu_opener(struct loop *loop);

#endif
