/*
 * posada-image's inside: one request about disk images, served over a socket by a process that has
 * descriptors and no names.
 *
 * The launcher's first message is {"command": ..., "arguments": {...}, "files": [{"name": ...,
 * "format": ..., "writable": ...}, ...], "secrets": ["NAME", ...], "keys": BOOL} with a descriptor for each file; a name is
 * without its folder. Behind those comes a pipe for each secret, from which it is read, and if there shall be
 * keys, one into which a struct helper_key goes for each image that was unlocked. The process answers with any number of
 *
 *     {"open": {"file": N, "role": "backing", "index": 0, "name": ..., "format": ..., "writable": ...}}
 *     {"create": {...}}                         the image in file N names a file that it needs
 *     {"progress": [done, total]}
 *     {"item": {...}}                           of a list, as it comes to light
 *
 * and then {"result": {...}} or {"error": {"code": ..., "text": ...}}, and ends. The launcher answers the
 * first two with {"file": {"format": ...}} and a descriptor, or with an error; each file that it gives
 * gets the next number. Nothing is done at the same time but copying: opening may wait for the launcher.
 */
#ifndef IMAGE_HELPER_HELPER_H
#define IMAGE_HELPER_HELPER_H

#include <jansson.h>

#include "base/base.h"
#include "image/image.h"

struct err;
struct loop;
struct work_pool;

#define HELPER_MAX_FILES   128 /* of a chain, extents included */
#define HELPER_MAX_SECRETS 8
#define HELPER_KEY_MAX     128

/* The key of an image's data, for who opens the same files without its passphrase. */
struct helper_key {
	u32 file;  /* its number */
	u32 bytes; /* of key; 0 < bytes */
	u8 key[HELPER_KEY_MAX];
};

/* Reads the request from sock and serves it. What fails is told to the launcher, if it is there. */
int helper_serve(int sock, struct loop *loop, struct blk_engines *engines,
		 struct work_pool *workers, struct err *err);

#endif
