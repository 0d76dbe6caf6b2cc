/*
 * Between the parts of the server. For this folder only.
 */
#ifndef NBD_NBD_PRIV_H
#define NBD_NBD_PRIV_H

#include <sys/uio.h>

#include "base/co.h"
#include "base/list.h"
#include "base/loop.h"
#include "nbd/nbd.h"
#include "nbd/nbd_wire.h"
#include "nbd/tls.h"

struct gnutls_session_int;

#define NBD_BUFFER       (16 * KIB)   /* what was received and not yet asked for */
#define NBD_REQUESTS     64           /* served at a time, of all clients */
#define NBD_REQUESTS_ONE 16           /* of one client */
#define NBD_MEMORY       (256 * MIB)  /* for data of requests, of all clients */
#define NBD_KEPT_BYTES   (256 * KIB)  /* buffers of this size are kept for the next request ... */
#define NBD_KEPT         NBD_REQUESTS /* ... so many at most */

struct nbd_server {
	struct loop *loop;
	struct nbd_options o;
	struct loop_fd listener;
	struct co_pool *client_pool, *request_pool;
	struct list clients;
	unsigned n_clients;
	bool is_stopping;
	struct co_queue changed; /* a request ended: there is room for another, and memory */
	u64 memory;
	void *kept[NBD_KEPT];
	unsigned n_kept;
	/* Writes of parts of blocks are alone: each reads and puts back what is around it. */
	struct co_mutex order;
	unsigned n_writes;
};

struct nbd_client {
	struct nbd_server *s;
	struct list node;
	struct loop_fd socket;
	struct gnutls_session_int *tls; /* NULL: there is none, or not yet */
	struct co *reader, *writer;     /* that wait for the socket */
	struct co_mutex sending;
	unsigned n_requests;
	bool is_broken;  /* nothing more can be sent or received */
	bool is_drained; /* what there was to receive was less than asked for */
	bool has_no_zeroes, has_structured;
	bool has_allocation;
	bool has_bitmap[NBD_MAX_BITMAPS];
	u8 buffer[NBD_BUFFER];
	u32 at, filled;
};

/* In a coroutine: all bytes, or -EPIPE. */
int nbd_receive(struct nbd_client *c, void *buf, u64 bytes);
int nbd_skip(struct nbd_client *c, u64 bytes);
/* All at once: replies don't mix. The array is changed. */
int nbd_send(struct nbd_client *c, struct iovec *iov, unsigned n);

/* The client's coroutine waits until the socket can be read, or written. */
void nbd_wait(struct nbd_client *c, bool is_for_writing);

/* tls.c: the handshake, in the client's coroutine: 0, or the client is gone. */
int nbd_tls_begin(struct nbd_client *c);
/* What can be had at once: bytes, 0 at the end, -EAGAIN, -EPIPE. A send that was told to come again does so as it was. */
ssize_t nbd_tls_receive(struct nbd_client *c, void *buf, size_t size);
ssize_t nbd_tls_send(struct nbd_client *c, const void *buf, size_t size);
void nbd_tls_end(struct nbd_client *c);

/* handshake.c: 0: transmission begins; else the client is gone. */
int nbd_handshake(struct nbd_client *c);
/* transmit.c: until the client is gone. */
void nbd_transmit(struct nbd_client *c);
void nbd_buffers_free(struct nbd_server *s);
u32 nbd_export_flags(const struct nbd_server *s);

/* Contexts' numbers: base:allocation is 1, the n-th bitmap NBD_CONTEXT_BITMAP + n. */
#define NBD_CONTEXT_ALLOCATION 1u
#define NBD_CONTEXT_BITMAP     2u

#endif
