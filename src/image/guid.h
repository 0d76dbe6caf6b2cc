/*
 * Random identifiers (RFC 4122, version 4), for images. Any thread.
 */
#ifndef IMAGE_GUID_H
#define IMAGE_GUID_H

#include "base/base.h"

#define IMG_GUID_TEXT 37 /* with its NUL */

/* In the order of Microsoft's GUIDs: the first three fields are little-endian. */
int img_guid_new(u8 out[16]); /* 0 or a negative errno */
void img_guid_print(const u8 guid[16], char out[IMG_GUID_TEXT]);

#endif
