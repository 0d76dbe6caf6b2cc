/*
 * Names in UTF-16, as VHD and VHDX have them. Pure functions, any thread.
 */
#ifndef IMAGE_UTF16_H
#define IMAGE_UTF16_H

#include "base/base.h"

/* n units, up to a NUL; owned. NULL: that is no UTF-16, or it is empty. */
char *utf16_decode(const u8 *from, size_t n, bool is_big_endian);
/* At most max units, without a NUL; how many. -EINVAL: that is no UTF-8; -ENAMETOOLONG. */
int utf16_encode(const char *from, u8 *to, size_t max, bool is_big_endian);

/*
 * A Windows path as a path of here, relative to the image (owned): of one with a drive or a server, only its last part
 * means anything.
 */
char *utf16_path_from_windows(const char *path);
char *utf16_path_to_windows(const char *path); /* owned */

#endif
