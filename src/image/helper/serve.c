/*
 * posada image serve: an image for NBD clients, until the launcher says stop or the last client is
 * gone.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/io.h"
#include "image/helper/helper_priv.h"
#include "nbd/nbd.h"
#include "nbd/tls.h"

enum { SERVE_IMAGE, SERVE_LISTENER, SERVE_TLS };

struct serve {
	struct helper *h;
	struct nbd_server *server;
	struct nbd_tls *tls;
	struct loop_fd launcher;
	bool is_once, is_stopping;
};

static void serve_stop(struct serve *s)
{
	if (!s->is_stopping)
		nbd_server_stop(s->server);
	s->is_stopping = true;
}

/* "stop", or the launcher is gone: whatever it says, it is the end. */
static void serve_on_launcher(struct loop_fd *w, unused u32 events)
{
	struct serve *s = container_of(w, struct serve, launcher);

	loop_fd_remove(s->h->loop, w);
	serve_stop(s);
}

static void serve_on_clients(void *opaque, unsigned n)
{
	struct serve *s = opaque;

	helper_tell_item(s->h, json_pack("{s:i}", "clients", (int)n));
	if (s->is_once && !n)
		s->is_stopping = true;
}

static int serve_options(struct serve *s, struct blk *disk, const json_t *args,
			 struct nbd_options *out, struct err *err)
{
	const json_t *bitmaps = json_object_get(args, "bitmaps");
	const char *name = arg_text(args, "name"), *description = arg_text(args, "description");

	*out = (struct nbd_options){
		.disk = disk,
		.name = name ? name : "",
		.description = description ? description : "",
		.is_readonly = disk->is_readonly,
		.is_writethrough = arg_bool(args, "writethrough"),
		.tls = s->tls,
		.on_clients = serve_on_clients,
		.opaque = s,
	};
	if (json_array_size(bitmaps) > NBD_MAX_BITMAPS)
		return err_set(err, -E2BIG, "at most %d bitmaps", NBD_MAX_BITMAPS);
	if (json_array_size(bitmaps) && (!disk->image || !disk->image->bitmap_status))
		return err_set(err, -ENOTSUP, "the image has no bitmaps");
	for (size_t i = 0; i < json_array_size(bitmaps); i++) {
		const char *bitmap = json_string_value(json_array_get(bitmaps, i));
		bool is_dirty;
		u64 bytes;

		if (!bitmap ||
		    disk->image->bitmap_status(disk, bitmap, 0, BLK_SECTOR, &is_dirty, &bytes) < 0)
			return err_set(err, -ENOENT, "there is no bitmap '%s'", bitmap);
		out->bitmaps[out->n_bitmaps++] = bitmap;
	}
	return 0;
}

/* --- TLS: files that come behind the socket --- */

/* bytes are memory, to be wiped and freed. */
static int serve_read_text(struct helper *h, unsigned file, struct nbd_tls_text *out,
			   struct err *err)
{
	u8 *buf;
	size_t n = 0;
	ssize_t got = 1;

	if (file >= h->n_files)
		return err_set(err, -EPROTO, "a file for TLS is missing");
	buf = mem_alloc(1, NBD_TLS_TEXT_MAX + 1);
	*out = (struct nbd_tls_text){buf, 0};
	while (got > 0 && n <= NBD_TLS_TEXT_MAX) {
		got = read(h->files[file].fd, buf + n, NBD_TLS_TEXT_MAX + 1 - n);
		n += got > 0 ? (size_t)got : 0;
	}
	out->n = n;
	if (got < 0)
		return err_errno(err, -errno, "cannot read %s", h->files[file].name);
	if (n > NBD_TLS_TEXT_MAX)
		return err_set(err, -EFBIG, "%s is too large", h->files[file].name);
	return 0;
}

static void serve_wipe_text(const struct nbd_tls_text *t)
{
	if (t->bytes)
		explicit_bzero((void *)t->bytes, t->n);
	free((void *)t->bytes);
}

static int serve_read_x509(struct serve *s, const json_t *args, struct err *err)
{
	struct nbd_tls_x509 x = {.lets_anybody_in = arg_bool(args, "tls-any-client")};
	int r = serve_read_text(s->h, SERVE_TLS, &x.authorities, err);

	if (r == 0)
		r = serve_read_text(s->h, SERVE_TLS + 1, &x.certificate, err);
	if (r == 0)
		r = serve_read_text(s->h, SERVE_TLS + 2, &x.key, err);
	if (r == 0)
		r = nbd_tls_new_x509(&x, &s->tls, err);
	serve_wipe_text(&x.authorities);
	serve_wipe_text(&x.certificate);
	serve_wipe_text(&x.key);
	return r;
}

static int serve_read_psk(struct serve *s, struct err *err)
{
	struct nbd_tls_text users = {0};
	int r = serve_read_text(s->h, SERVE_TLS, &users, err);

	if (r == 0)
		r = nbd_tls_new_psk(&users, &s->tls, err);
	serve_wipe_text(&users);
	return r;
}

static int serve_make_tls(struct serve *s, const json_t *args, struct err *err)
{
	const char *kind = arg_text(args, "tls");
	int r;

	if (!kind)
		return 0;
	r = strcmp(kind, "psk") == 0 ? serve_read_psk(s, err) : serve_read_x509(s, args, err);
	return r < 0 ? err_wrap(err, "TLS") : 0;
}

static int serve_run(struct serve *s, struct err *err)
{
	int r = loop_fd_add(s->h->loop, &s->launcher);

	if (r < 0)
		return err_errno(err, r, "cannot wait for the launcher");
	helper_tell_item(s->h, json_pack("{s:b}", "ready", true));
	while (!s->is_stopping || nbd_server_clients(s->server))
		loop_step(s->h->loop, true);
	loop_fd_remove(s->h->loop, &s->launcher);
	return 0;
}

static int serve_disk(struct serve *s, struct blk *disk, const json_t *args, struct err *err)
{
	struct nbd_options o;
	int listener, r = serve_options(s, disk, args, &o, err);

	if (r < 0)
		return r;
	listener = fcntl(s->h->files[SERVE_LISTENER].fd, F_DUPFD_CLOEXEC, 3);
	if (listener < 0)
		return err_errno(err, -errno, "cannot use the socket");
	r = nbd_server_new(s->h->loop, listener, &o, &s->server, err);
	if (r == 0)
		r = serve_run(s, err);
	nbd_server_free(s->server);
	if (r == 0 && !disk->is_readonly && (r = blk_flush(disk)) < 0)
		err_errno(err, r, "cannot write to the image");
	return r;
}

int helper_serve_nbd(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open o = {.is_writable = h->files[SERVE_IMAGE].is_writable,
				      .is_unsafe = arg_bool(args, "unsafe"),
				      .snapshot = arg_text(args, "snapshot")};
	struct serve s = {
		.h = h,
		.launcher = {.fd = h->sock, .events = EPOLLIN, .fn = serve_on_launcher},
		.is_once = arg_bool(args, "once"),
	};
	struct blk *disk;
	int r;

	if (h->n_files <= SERVE_LISTENER)
		return err_set(err, -EPROTO, "no socket");
	r = serve_make_tls(&s, args, err);
	if (r < 0)
		return r;
	r = helper_open_image(h, SERVE_IMAGE, &o, &disk, err);
	if (r == 0) {
		r = serve_disk(&s, disk, args, err);
		blk_free(disk);
	}
	nbd_tls_free(s.tls);
	if (r == 0)
		*out = json_object();
	return r;
}
