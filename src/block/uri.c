/*
 * Names of disks that are no files. See uri.h; the NBD ones are those of the NBD project's
 * doc/uri.md, with libnbd's additions.
 */
#include "block/uri.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"

static const struct {
	const char *prefix;
	bool is_tls, is_unix, is_rbd;
} uri_schemes[] = {
	{.prefix = "nbd://"},
	{.prefix = "nbds://", .is_tls = true},
	{.prefix = "nbd+unix://", .is_unix = true},
	{.prefix = "nbds+unix://", .is_unix = true, .is_tls = true},
	{.prefix = "rbd:", .is_rbd = true},
};

static int uri_scheme(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(uri_schemes); i++) {
		if (!strncmp(name, uri_schemes[i].prefix, strlen(uri_schemes[i].prefix)))
			return (int)i;
	}
	return -1;
}

bool blk_is_uri(const char *name)
{
	return uri_scheme(name) >= 0;
}

/* --- pieces --- */

static int uri_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* n bytes with %XX made bytes; NULL: it can't be. */
static char *uri_decode(const char *text, size_t n)
{
	char *out = mem_alloc(1, n + 1), *to = out;

	for (size_t i = 0; i < n; i++) {
		int high = 0, low = 0;

		*to = text[i];
		if (text[i] == '%') {
			high = n - i > 2 ? uri_digit(text[i + 1]) : -1;
			low = n - i > 2 ? uri_digit(text[i + 2]) : -1;
			*to = (char)((unsigned)high << 4 | (unsigned)low);
			i += 2;
		}
		if (high < 0 || low < 0 || !*to) {
			free(out);
			return NULL;
		}
		to++;
	}
	*to = '\0';
	return out;
}

static int uri_set(char **to, const char *text, size_t n, struct err *err)
{
	free(*to);
	*to = uri_decode(text, n);
	return *to ? 0 : err_set(err, -EINVAL, "'%.*s': %% stands before two digits", (int)n, text);
}

static int uri_set_flag(struct blk_uri *u, const char *value, size_t n, struct err *err)
{
	if (n == 4 && !strncmp(value, "true", n))
		u->trusts_anybody = false;
	else if (n == 5 && !strncmp(value, "false", n))
		u->trusts_anybody = true;
	else
		return err_set(err, -EINVAL, "tls-verify-peer is true or false");
	return 0;
}

/* --- NBD --- */

/* One of the words behind '?'. */
static int uri_query_word(struct blk_uri *u, const char *word, size_t n, struct err *err)
{
	static const struct {
		const char *name;
		size_t offset;
	} words[] = {
		{"socket", offsetof(struct blk_uri, socket)},
		{"tls-certificates", offsetof(struct blk_uri, certificates)},
		{"tls-psk-file", offsetof(struct blk_uri, psk_file)},
	};
	const char *value = memchr(word, '=', n);
	size_t name_bytes = value ? (size_t)(value - word) : n;
	size_t value_bytes = value ? n - name_bytes - 1 : 0;

	for (size_t i = 0; value && i < ARRAY_SIZE(words); i++) {
		if (strlen(words[i].name) == name_bytes &&
		    !strncmp(word, words[i].name, name_bytes))
			return uri_set((char **)((u8 *)u + words[i].offset), value + 1, value_bytes,
				       err);
	}
	if (value && name_bytes == 15 && !strncmp(word, "tls-verify-peer", 15))
		return uri_set_flag(u, value + 1, value_bytes, err);
	return err_set(err, -EINVAL,
		       "'%.*s' isn't known; there is: socket=PATH, tls-certificates=DIR, "
		       "tls-psk-file=FILE, tls-verify-peer=false",
		       (int)name_bytes, word);
}

static int uri_query(struct blk_uri *u, const char *at, struct err *err)
{
	int r = 0;

	while (r == 0 && *at) {
		size_t n = strcspn(at, "&");

		r = n ? uri_query_word(u, at, n, err) : 0;
		at += n + (at[n] == '&');
	}
	return r;
}

/* [USER@]HOST[:PORT], of n bytes. */
static int uri_authority(struct blk_uri *u, const char *at, size_t n, struct err *err)
{
	const char *end = at + n, *user = memchr(at, '@', n), *host_end, *port;
	int r = user ? uri_set(&u->user, at, (size_t)(user - at), err) : 0;
	bool is_bracketed;

	if (user)
		at = user + 1;
	is_bracketed = at < end && *at == '[';
	host_end = memchr(at, is_bracketed ? ']' : ':', (size_t)(end - at));
	if (is_bracketed && !host_end)
		return err_set(err, -EINVAL, "a ']' is missing");
	port = is_bracketed ? host_end + 1 : host_end ? host_end : end;
	if (!host_end)
		host_end = end;
	if (r == 0 && host_end > at + is_bracketed)
		r = uri_set(&u->host, at + is_bracketed, (size_t)(host_end - at) - is_bracketed,
			    err);
	if (r == 0 && port < end && *port != ':')
		return err_set(err, -EINVAL, "what is '%.*s'?", (int)(end - port), port);
	if (r == 0 && port + 1 < end)
		r = uri_set(&u->port, port + 1, (size_t)(end - port - 1), err);
	return r;
}

static int uri_parse_nbd(struct blk_uri *u, const char *at, bool is_unix, struct err *err)
{
	size_t authority = strcspn(at, "/?");
	const char *path = at + authority + (at[authority] == '/');
	size_t export = strcspn(path, "?");
	int r = uri_authority(u, at, authority, err);

	if (r == 0)
		r = uri_set(&u->export, path, export, err);
	if (r == 0 && path[export])
		r = uri_query(u, path + export + 1, err);
	if (r < 0)
		return r;
	if (is_unix && (u->host || !u->socket))
		return err_set(err, -EINVAL, "it is nbd+unix:///EXPORT?socket=PATH");
	if (!is_unix && (!u->host || u->socket))
		return err_set(err, -EINVAL, "it is nbd://HOST:PORT/EXPORT");
	if (!u->is_tls && (u->certificates || u->psk_file || u->user))
		return err_set(err, -EINVAL, "TLS is nbds:// and nbds+unix://");
	if (!is_unix && !u->port)
		u->port = str_dup(BLK_URI_NBD_PORT);
	return 0;
}

/* --- RBD --- */

static int uri_rbd_word(struct blk_uri *u, const char *word, size_t n, struct err *err)
{
	if (n > 3 && !strncmp(word, "id=", 3))
		return uri_set(&u->id, word + 3, n - 3, err);
	if (n > 5 && !strncmp(word, "conf=", 5))
		return uri_set(&u->conf, word + 5, n - 5, err);
	return err_set(err, -EINVAL, "'%.*s' isn't known; there is: id=USER, conf=FILE", (int)n,
		       word);
}

static int uri_parse_rbd(struct blk_uri *u, const char *at, struct err *err)
{
	size_t n = strcspn(at, ":"), pool = strcspn(at, "/"), image;
	const char *name = at + pool + 1;
	int r;

	if (pool + 1 >= n || !pool)
		return err_set(err, -EINVAL, "it is rbd:POOL/IMAGE");
	image = strcspn(name, "@:");
	r = uri_set(&u->pool, at, pool, err);
	if (r == 0)
		r = uri_set(&u->image, name, image, err);
	if (r == 0 && name[image] == '@')
		r = uri_set(&u->snapshot, name + image + 1, strcspn(name + image + 1, ":"), err);
	for (at += n; r == 0 && *at == ':'; at += n) {
		at++;
		n = strcspn(at, ":");
		r = uri_rbd_word(u, at, n, err);
	}
	if (r == 0 && (!u->image[0] || (u->snapshot && !u->snapshot[0])))
		r = err_set(err, -EINVAL, "it is rbd:POOL/IMAGE@SNAPSHOT");
	return r;
}

/* --- whole --- */

int blk_uri_parse(const char *name, struct blk_uri *out, struct err *err)
{
	int i = uri_scheme(name), r;
	const char *rest;

	*out = (struct blk_uri){0};
	if (i < 0)
		return err_set(err, -EINVAL, "'%s' is no nbd:// or rbd: name", name);
	rest = name + strlen(uri_schemes[i].prefix);
	out->is_tls = uri_schemes[i].is_tls;
	out->is_rbd = uri_schemes[i].is_rbd;
	r = out->is_rbd ? uri_parse_rbd(out, rest, err)
			: uri_parse_nbd(out, rest, uri_schemes[i].is_unix, err);
	if (r < 0) {
		blk_uri_fini(out);
		return err_wrap(err, "%s", name);
	}
	return 0;
}

void blk_uri_fini(struct blk_uri *u)
{
	char *const owned[] = {u->host,  u->port,         u->socket,   u->export,
			       u->user,  u->certificates, u->psk_file, u->pool,
			       u->image, u->snapshot,     u->id,       u->conf};

	for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
		free(owned[i]);
	*u = (struct blk_uri){0};
}
