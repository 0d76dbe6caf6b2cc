/*
 * TLS for the server. See tls.h.
 *
 * A session lies between a client's socket and server.c: GnuTLS reads and writes the socket, which doesn't
 * block, and says -EAGAIN as that does. What has come before the handshake in the same piece as the wish for
 * it would be taken for what was sent protected, and ends the connection (handshake.c).
 */
#include "nbd/tls.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "nbd/nbd_priv.h"

#define TLS_X509     "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define TLS_PSK      TLS_X509 ":-KX-ALL:+ECDHE-PSK:+DHE-PSK"
#define TLS_NAME_MAX 128 /* of a user with a key */
#define TLS_FAKE_KEY 32

struct nbd_tls {
	gnutls_priority_t priority;
	gnutls_certificate_credentials_t x509; /* NULL: by shared keys */
	gnutls_psk_server_credentials_t psk;
	char *users; /* its text */
	size_t users_bytes;
	bool lets_anybody_in;
};

static int tls_fail(struct err *err, int code, const char *what)
{
	return err_set(err, -EINVAL, "%s: %s", what, gnutls_strerror(code));
}

static int tls_new(const char *priority, struct nbd_tls **out, struct err *err)
{
	struct nbd_tls *t = NEW(struct nbd_tls);
	int r = gnutls_priority_init(&t->priority, priority, NULL);

	if (r < 0) {
		free(t);
		return tls_fail(err, r, "TLS can't be had");
	}
	*out = t;
	return 0;
}

void nbd_tls_free(struct nbd_tls *t)
{
	if (!t)
		return;
	if (t->x509)
		gnutls_certificate_free_credentials(t->x509);
	if (t->psk)
		gnutls_psk_free_server_credentials(t->psk);
	gnutls_priority_deinit(t->priority);
	if (t->users)
		explicit_bzero(t->users, t->users_bytes);
	free(t->users);
	free(t);
}
AUTO_FN(nbd_tls_free, struct nbd_tls *)

/* --- certificates --- */

static gnutls_datum_t tls_datum(const struct nbd_tls_text *text)
{
	return (gnutls_datum_t){(unsigned char *)text->bytes, (unsigned)text->n};
}

int nbd_tls_new_x509(const struct nbd_tls_x509 *x, struct nbd_tls **out, struct err *err)
{
	const gnutls_datum_t authorities = tls_datum(&x->authorities),
			     certificate = tls_datum(&x->certificate), key = tls_datum(&x->key);
	AUTO(nbd_tls_free) struct nbd_tls *t = NULL;
	int r;

	if (tls_new(TLS_X509, &t, err) < 0)
		return err->code;
	t->lets_anybody_in = x->lets_anybody_in;
	r = gnutls_certificate_allocate_credentials(&t->x509);
	if (r < 0)
		return tls_fail(err, r, "TLS can't be had");
	if (authorities.size) {
		r = gnutls_certificate_set_x509_trust_mem(t->x509, &authorities,
							  GNUTLS_X509_FMT_PEM);
		if (r <= 0)
			return tls_fail(err, r ? r : GNUTLS_E_NO_CERTIFICATE_FOUND,
					"the authorities' certificates");
	} else if (!t->lets_anybody_in) {
		return err_set(err, -EINVAL, "there is no authority to know clients by");
	}
	r = gnutls_certificate_set_x509_key_mem2(t->x509, &certificate, &key, GNUTLS_X509_FMT_PEM,
						 NULL, 0);
	if (r < 0)
		return tls_fail(err, r, "the server's certificate and key");
	gnutls_certificate_set_known_dh_params(t->x509, GNUTLS_SEC_PARAM_MEDIUM);
	*out = take(t);
	return 0;
}

/* --- shared keys --- */

/* The line of that name; *out_key is behind its colon. */
static bool tls_find_user(const struct nbd_tls *t, const char *name, const char **out_key,
			  size_t *out_bytes)
{
	const char *end = t->users + t->users_bytes, *line = t->users;
	size_t n = strlen(name);

	while (line < end) {
		const char *next = memchr(line, '\n', (size_t)(end - line));
		const char *stop = next ? next : end;

		if ((size_t)(stop - line) > n && memcmp(line, name, n) == 0 && line[n] == ':') {
			*out_key = line + n + 1;
			*out_bytes = (size_t)(stop - *out_key);
			if (*out_bytes && (*out_key)[*out_bytes - 1] == '\r')
				--*out_bytes;
			return true;
		}
		line = stop + 1;
	}
	return false;
}

/* Who isn't known gets a key that nobody has, so that names can't be found out. */
static int tls_fake_key(gnutls_datum_t *key)
{
	key->data = gnutls_malloc(TLS_FAKE_KEY);
	key->size = TLS_FAKE_KEY;
	if (!key->data || gnutls_rnd(GNUTLS_RND_KEY, key->data, TLS_FAKE_KEY) < 0)
		return -1;
	return 0;
}

static int tls_on_user(gnutls_session_t session, const char *name, gnutls_datum_t *key)
{
	const struct nbd_client *c = gnutls_session_get_ptr(session);
	const char *hex;
	size_t bytes;

	if (strlen(name) > TLS_NAME_MAX || !*name ||
	    !tls_find_user(c->s->o.tls, name, &hex, &bytes))
		return tls_fake_key(key);
	return gnutls_hex_decode2(&(gnutls_datum_t){(unsigned char *)hex, (unsigned)bytes}, key) < 0
		       ? -1
		       : 0;
}

/* Each line is a name and a key. */
static int tls_check_users(const struct nbd_tls *t, struct err *err)
{
	const char *end = t->users + t->users_bytes;
	unsigned n = 0;

	for (const char *line = t->users; line < end; n++) {
		const char *next = memchr(line, '\n', (size_t)(end - line));
		const char *stop = next ? next : end;
		const char *colon = memchr(line, ':', (size_t)(stop - line));
		const char *key = colon ? colon + 1 : stop;
		size_t digits = strspn(key, "0123456789abcdefABCDEF");

		if (stop > key && stop[-1] == '\r')
			stop--;
		if (!colon || colon == line || colon - line > TLS_NAME_MAX || !digits ||
		    digits % 2 || key + digits != stop)
			return err_set(err, -EINVAL, "line %u is no NAME:KEY", n + 1);
		line = next ? next + 1 : end;
	}
	return n ? 0 : err_set(err, -EINVAL, "there is no key");
}

int nbd_tls_new_psk(const struct nbd_tls_text *users, struct nbd_tls **out, struct err *err)
{
	AUTO(nbd_tls_free) struct nbd_tls *t = NULL;
	int r;

	if (tls_new(TLS_PSK, &t, err) < 0)
		return err->code;
	t->users = mem_alloc(1, users->n + 1);
	t->users_bytes = users->n;
	memcpy(t->users, users->bytes, users->n);
	if (tls_check_users(t, err) < 0)
		return err->code;
	r = gnutls_psk_allocate_server_credentials(&t->psk);
	if (r < 0)
		return tls_fail(err, r, "TLS can't be had");
	gnutls_psk_set_server_credentials_function(t->psk, tls_on_user);
	gnutls_psk_set_server_known_dh_params(t->psk, GNUTLS_SEC_PARAM_MEDIUM);
	*out = take(t);
	return 0;
}

/* --- a client's session --- */

static int tls_start(struct nbd_client *c, gnutls_session_t *out)
{
	const struct nbd_tls *t = c->s->o.tls;
	int r = gnutls_init(out, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);

	if (r < 0)
		return r;
	gnutls_session_set_ptr(*out, c);
	r = gnutls_priority_set(*out, t->priority);
	if (r == 0 && t->x509)
		r = gnutls_credentials_set(*out, GNUTLS_CRD_CERTIFICATE, t->x509);
	if (r == 0 && t->psk)
		r = gnutls_credentials_set(*out, GNUTLS_CRD_PSK, t->psk);
	if (t->x509 && !t->lets_anybody_in) {
		gnutls_certificate_server_set_request(*out, GNUTLS_CERT_REQUIRE);
		gnutls_session_set_verify_cert(*out, NULL, 0);
	}
	gnutls_transport_set_int(*out, c->socket.fd);
	return r;
}

int nbd_tls_begin(struct nbd_client *c)
{
	gnutls_session_t session = NULL;
	int r = tls_start(c, &session);

	while (r == 0 && !c->is_broken) {
		r = gnutls_handshake(session);
		if (r == 0)
			break;
		if (r == GNUTLS_E_AGAIN)
			nbd_wait(c, gnutls_record_get_direction(session));
		if (!gnutls_error_is_fatal(r))
			r = 0;
	}
	if (r == 0 && !c->is_broken) {
		c->tls = session;
		return 0;
	}
	log_info("a client's TLS: %s", r < 0 ? gnutls_strerror(r) : "it went away");
	gnutls_deinit(session);
	return -EPIPE;
}

ssize_t nbd_tls_receive(struct nbd_client *c, void *buf, size_t size)
{
	ssize_t n;

	do
		n = gnutls_record_recv(c->tls, buf, size);
	while (n == GNUTLS_E_INTERRUPTED || n == GNUTLS_E_REHANDSHAKE ||
	       n == GNUTLS_E_WARNING_ALERT_RECEIVED);
	return n >= 0 ? n : n == GNUTLS_E_AGAIN ? -EAGAIN : -EPIPE;
}

ssize_t nbd_tls_send(struct nbd_client *c, const void *buf, size_t size)
{
	ssize_t n;

	do
		n = gnutls_record_send(c->tls, buf, size);
	while (n == GNUTLS_E_INTERRUPTED);
	return n >= 0 ? n : n == GNUTLS_E_AGAIN ? -EAGAIN : -EPIPE;
}

void nbd_tls_end(struct nbd_client *c)
{
	if (!c->tls)
		return;
	/* Whether the client hears of it doesn't matter: each reply says how long it is. */
	if (!c->is_broken)
		(void)gnutls_bye(c->tls, GNUTLS_SHUT_WR);
	gnutls_deinit(c->tls);
	c->tls = NULL;
}
