/*
 * Encrypted sectors of a file, for image formats: read and written by requests of a node (block/node.h).
 *
 * A piece of a request goes through a buffer from a pool, in which it is encrypted or decrypted: in place of
 * the caller's memory a guest could watch, and change, what is half done. Large pieces are worked on by
 * the workers, small ones here: handing them over would take longer.
 *
 * Threads: the loop's.
 */
#ifndef IMAGE_ENCRYPT_H
#define IMAGE_ENCRYPT_H

#include "block/block.h"
#include "crypt/crypt.h"

struct img_crypt;
struct secret;
struct work_pool;

/* key: as spec says. workers: or NULL; borrowed. */
int img_crypt_new(const struct crypt_spec *spec, const struct secret *key, u32 sector_bytes,
		  struct work_pool *workers, struct img_crypt **out, struct err *err);
void img_crypt_free(struct img_crypt *c); /* NULL is fine */

/*
 * In a coroutine: the next bytes of a read, write or write-zeroes r, at offset of child; sector is the number of the
 * first, in units of 512 bytes. bytes and sector are multiples of the sector size. Steps r on. 0 or a negative errno.
 */
int img_crypt_read(struct img_crypt *c, struct blk *child, struct blk_request *r, u64 offset,
		   u64 sector, u64 bytes);
int img_crypt_write(struct img_crypt *c, struct blk *child, struct blk_request *r, u64 offset,
		    u64 sector, u64 bytes);
/* The caller's own memory, whole sectors. May wait. */
void img_crypt_run(struct img_crypt *c, bool is_encrypting, u64 sector, u8 *buf, u64 bytes);

#endif
