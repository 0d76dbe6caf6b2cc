/*
 * What the tests of all formats do with each: the random model with reopening in between, and damage.
 */
#ifndef TESTS_UNIT_IMAGE_FORMAT_CHECK_H
#define TESTS_UNIT_IMAGE_FORMAT_CHECK_H

#include "image/image.h"
#include "model.h"

/* What opens, and makes, encrypted images in all of these tests: "fence". */
extern const struct img_secret format_secret;

/* "a=b,c=d": at most 8 options. Parts of it are named by "ours.vmdk"; opener may be NULL. */
int format_create(struct loop *loop, const struct img_format *f, struct blk *file, u64 size,
		  const char *options, const struct img_opener *opener, struct err *err);
/* A new image in a memfd, whose descriptor is the caller's. Fails the test if it can't be made. */
int format_new(struct loop *loop, const struct img_format *f, u64 size, const char *options);
struct blk *format_open(struct loop *loop, const struct img_format *f, int fd,
			const struct img_opener *opener);
/* Opened, and no corruption and no error is found in it; at most leaks_max leaks. */
void format_is_sound(struct loop *loop, const struct img_format *f, int fd,
		     const struct img_opener *opener, u64 leaks_max);
/* Rounds of the model, each followed by closing, a check and opening. b may have contents. */
void format_model(struct loop *loop, const struct img_format *f, int fd,
		  const struct img_opener *opener, unsigned rounds, u64 seed);
/*
 * Each byte of [start, end) of the image gets other values, one at a time: it is opened, read here and there,
 * written, checked, resized; nothing may crash, hang, or take much memory. step: not each byte.
 */
void format_damage(struct loop *loop, const struct img_format *f, int fd,
		   const struct img_opener *opener, u64 start, u64 end, u64 step);

#endif
