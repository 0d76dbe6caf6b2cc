/*
 * Random identifiers. See guid.h.
 */
#include "image/guid.h"

#include <stdio.h>
#include <sys/random.h>

int img_guid_new(u8 out[16])
{
	if (getrandom(out, 16, 0) != 16)
		return -EIO;
	out[7] = (u8)((out[7] & 0x0f) | 0x40);
	out[8] = (u8)((out[8] & 0x3f) | 0x80);
	return 0;
}

void img_guid_print(const u8 g[16], char out[IMG_GUID_TEXT])
{
	snprintf(out, IMG_GUID_TEXT,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", g[3], g[2],
		 g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14],
		 g[15]);
}
