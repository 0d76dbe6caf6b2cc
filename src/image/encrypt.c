/*
 * Encrypted sectors. See encrypt.h.
 */
#include "image/encrypt.h"

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "base/work.h"
#include "block/io.h"
#include "block/node.h"
#include "crypt/secret.h"

#define ENCRYPT_BUFFERS 32
#define ENCRYPT_CHUNK   (128 * KIB)
#define ENCRYPT_CIPHERS 8          /* at work at a time, on other threads */
#define ENCRYPT_HAND    (64 * KIB) /* from here on a piece is handed over: it takes 10 us or more */

struct img_crypt {
	u32 sector_bytes;
	struct work_pool *workers;
	struct crypt_cipher *own; /* this thread's */
	struct crypt_cipher *ciphers[ENCRYPT_CIPHERS];
	u8 *memory; /* of the buffers: taken from the host as it is used, from the front */
	/* Those that nobody has; the last ones were used last. */
	struct crypt_cipher *idle[ENCRYPT_CIPHERS];
	u8 *buffers[ENCRYPT_BUFFERS];
	unsigned n_ciphers, n_idle, n_buffers;
	struct co_queue for_cipher, for_buffer;
};

/* --- pools --- */

static u8 *encrypt_take_buffer(struct img_crypt *c)
{
	while (!c->n_buffers)
		co_queue_wait(&c->for_buffer);
	return c->buffers[--c->n_buffers];
}

static void encrypt_put_buffer(struct img_crypt *c, u8 *buffer)
{
	c->buffers[c->n_buffers++] = buffer;
	co_queue_wake_all(&c->for_buffer);
}

static struct crypt_cipher *encrypt_take_cipher(struct img_crypt *c)
{
	while (!c->n_idle)
		co_queue_wait(&c->for_cipher);
	return c->idle[--c->n_idle];
}

static void encrypt_put_cipher(struct img_crypt *c, struct crypt_cipher *cipher)
{
	c->idle[c->n_idle++] = cipher;
	co_queue_wake_all(&c->for_cipher);
}

void img_crypt_free(struct img_crypt *c)
{
	if (!c)
		return;
	crypt_cipher_free(c->own);
	for (unsigned i = 0; i < c->n_ciphers; i++)
		crypt_cipher_free(c->ciphers[i]);
	free(c->memory);
	free(c);
}
AUTO_FN(img_crypt_free, struct img_crypt *)

static int encrypt_make_ciphers(struct img_crypt *c, const struct crypt_spec *spec,
				const struct secret *key, struct err *err)
{
	int r = crypt_cipher_new(spec, key->bytes, &c->own, err);

	for (unsigned i = 0; c->workers && r == 0 && i < ENCRYPT_CIPHERS; i++) {
		r = crypt_cipher_new(spec, key->bytes, &c->ciphers[i], err);
		if (r == 0) {
			c->idle[c->n_idle++] = c->ciphers[i];
			c->n_ciphers++;
		}
	}
	return r;
}

int img_crypt_new(const struct crypt_spec *spec, const struct secret *key, u32 sector_bytes,
		  struct work_pool *workers, struct img_crypt **out, struct err *err)
{
	AUTO(img_crypt_free) struct img_crypt *c = NEW(struct img_crypt);
	int r;

	assert(key->n == spec->key_bytes);
	c->sector_bytes = sector_bytes;
	c->workers = workers;
	co_queue_init(&c->for_cipher);
	co_queue_init(&c->for_buffer);
	r = encrypt_make_ciphers(c, spec, key, err);
	if (r < 0)
		return r;
	c->memory = aligned_alloc(PAGE_SIZE, ENCRYPT_BUFFERS * ENCRYPT_CHUNK);
	if (!c->memory)
		return err_errno(err, -ENOMEM, "cannot make buffers");
	for (unsigned i = ENCRYPT_BUFFERS; i-- > 0;)
		c->buffers[c->n_buffers++] = c->memory + i * ENCRYPT_CHUNK;
	*out = take(c);
	return 0;
}

/* --- work --- */

struct encrypt_job {
	struct crypt_cipher *cipher;
	bool is_encrypting;
	u32 sector_bytes;
	u64 sector, bytes;
	u8 *buf;
};

static void encrypt_job(void *arg)
{
	struct encrypt_job *j = arg;

	if (j->is_encrypting)
		crypt_encrypt(j->cipher, j->sector, j->sector_bytes, j->buf, j->bytes);
	else
		crypt_decrypt(j->cipher, j->sector, j->sector_bytes, j->buf, j->bytes);
}

void img_crypt_run(struct img_crypt *c, bool is_encrypting, u64 sector, u8 *buf, u64 bytes)
{
	struct encrypt_job j = {.cipher = c->own,
				.is_encrypting = is_encrypting,
				.sector_bytes = c->sector_bytes,
				.sector = sector,
				.bytes = bytes,
				.buf = buf};

	if (!c->n_ciphers || bytes < ENCRYPT_HAND || !co_self()) {
		encrypt_job(&j);
		return;
	}
	j.cipher = encrypt_take_cipher(c);
	work_run(c->workers, encrypt_job, &j);
	encrypt_put_cipher(c, j.cipher);
}

/* --- requests --- */

int img_crypt_read(struct img_crypt *c, struct blk *child, struct blk_request *r, u64 offset,
		   u64 sector, u64 bytes)
{
	u8 *buf = encrypt_take_buffer(c);
	int result = 0;

	for (u64 done = 0; result == 0 && done < bytes;) {
		u64 part = MIN(bytes - done, ENCRYPT_CHUNK);

		result = blk_read(child, offset + done, buf, part);
		if (result == 0) {
			img_crypt_run(c, false, sector + done / BLK_SECTOR, buf, part);
			blk_node_fill(r, buf, part);
		}
		done += part;
	}
	encrypt_put_buffer(c, buf);
	return result;
}

int img_crypt_write(struct img_crypt *c, struct blk *child, struct blk_request *r, u64 offset,
		    u64 sector, u64 bytes)
{
	u8 *buf = encrypt_take_buffer(c);
	int result = 0;

	for (u64 done = 0; result == 0 && done < bytes;) {
		u64 part = MIN(bytes - done, ENCRYPT_CHUNK);

		blk_node_fetch(r, buf, part);
		img_crypt_run(c, true, sector + done / BLK_SECTOR, buf, part);
		result = blk_write(child, offset + done, buf, part);
		done += part;
	}
	encrypt_put_buffer(c, buf);
	return result;
}
