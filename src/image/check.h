/*
 * What a check finds: counted and told. For image/ only.
 */
#ifndef IMAGE_CHECK_H
#define IMAGE_CHECK_H

#include "image/image.h"

void img_check_corruption(struct img_check *c, const char *fmt, ...) printf_like(2, 3);
void img_check_leaks(struct img_check *c, u64 n, const char *fmt, ...) printf_like(3, 4);

#endif
