/*
 * An NBD server: a disk for any NBD client, over stream sockets. Newstyle fixed handshake, structured
 * replies, block status with base:allocation and QEMU's dirty bitmaps, TLS.
 *
 *     nbd_server_new(...)      clients are accepted while the loop runs
 *     nbd_server_stop          no more; those that are there are hung up once their requests are done
 *     on_clients(..., 0)       the last one is gone
 *
 * A client is not trusted: what it may hold of memory and requests is bounded. All clients see one
 * disk, and a flush by one covers the others' writes.
 *
 * Threads: the loop's, which is the disk's.
 */
#ifndef NBD_NBD_H
#define NBD_NBD_H

#include "base/base.h"

struct blk;
struct err;
struct loop;
struct nbd_server;
struct nbd_tls;

#define NBD_MAX_CLIENTS 32
#define NBD_MAX_BITMAPS 16

struct nbd_options {
	struct blk *disk;               /* borrowed */
	const char *name, *description; /* of the export; the empty name is it as well. Borrowed */
	const char *bitmaps[NBD_MAX_BITMAPS]; /* that clients may ask for, of the disk's image */
	unsigned n_bitmaps;
	bool is_readonly;
	bool is_writethrough; /* what is written is on stable storage when it is answered */
	struct nbd_tls *tls;  /* tls.h: nobody is served without; NULL: nobody with. Borrowed */
	void (*on_clients)(void *opaque, unsigned n); /* one came or went; or NULL */
	void *opaque;
};

/* listener: a listening stream socket, taken over in any case; -1: nbd_server_add brings clients. */
int nbd_server_new(struct loop *loop, int listener, const struct nbd_options *o,
		   struct nbd_server **out, struct err *err);
/* A client's socket, taken over. */
void nbd_server_add(struct nbd_server *s, int fd);
void nbd_server_stop(struct nbd_server *s);
unsigned nbd_server_clients(const struct nbd_server *s);
void nbd_server_free(struct nbd_server *s); /* it has no client; NULL is fine */

#endif
