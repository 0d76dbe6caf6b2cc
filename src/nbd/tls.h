/*
 * TLS for the server: what it proves itself with, and whom it lets in. By GnuTLS.
 *
 * Everything comes as text that somebody else read, so that a process which opens nothing can serve. A server
 * that has this serves nobody without TLS.
 */
#ifndef NBD_TLS_H
#define NBD_TLS_H

#include "base/base.h"

struct err;
struct nbd_tls;

#define NBD_TLS_TEXT_MAX (256 * KIB) /* of each */

struct nbd_tls_text {
	const void *bytes;
	size_t n;
};

/* PEM: authorities, the server's certificate with those that lead to an authority, its key. */
struct nbd_tls_x509 {
	struct nbd_tls_text authorities, certificate, key;
	bool lets_anybody_in; /* else clients need a certificate of one of the authorities */
};

int nbd_tls_new_x509(const struct nbd_tls_x509 *x, struct nbd_tls **out, struct err *err);
/* Lines of NAME:KEY, the key in hexadecimal, as psktool(1) makes them. */
int nbd_tls_new_psk(const struct nbd_tls_text *users, struct nbd_tls **out, struct err *err);
void nbd_tls_free(struct nbd_tls *t); /* after the server; NULL is fine */

#endif
