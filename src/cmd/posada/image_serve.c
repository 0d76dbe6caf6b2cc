/*
 * posada image serve: an image for NBD clients. The sockets are made here; posada-image accepts at
 * them.
 */
#include <fcntl.h>
#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "cmd/posada/image.h"
#include "cmd/posada/print.h"
#include "proto/guest_config.h"
#include "proto/text.h"

#define SERVE_BACKLOG  32
#define SERVE_PASSED   3 /* sd_listen_fds(3): the first socket that a service manager passes */
#define SERVE_NBD_PORT "10809"

/* --- sockets --- */

/* One that nobody listens at any more is replaced. */
static int serve_listen_unix(const char *path, int *out, struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return err_errno(err, -errno, "cannot make a socket");
	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: at most %zu bytes", path,
			       sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == ECONNREFUSED)
		unlink(path);
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, SERVE_BACKLOG) < 0)
		return err_errno(err, -errno, "cannot listen at %s", path);
	*out = fd_take(fd);
	return 0;
}

static int serve_listen_address(const struct addrinfo *a, int *out)
{
	AUTO_FD int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SERVE_BACKLOG) < 0)
		return -errno;
	*out = fd_take(fd);
	return 0;
}

static int serve_listen_tcp(const char *address, const char *port, int *out, struct err *err)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	int r = getaddrinfo(address, port, &hints, &list);

	if (r)
		return err_set(err, -EINVAL, "%s, port %s: %s", address, port, gai_strerror(r));
	r = serve_listen_address(list, out);
	freeaddrinfo(list);
	return r < 0 ? err_errno(err, r, "cannot listen at %s, port %s", address, port) : 0;
}

/* As a service manager passes it, to us. */
static int serve_take_passed(int *out)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

	if (!pid || !n || atol(pid) != getpid() || strcmp(n, "1") != 0)
		return -ENOENT;
	*out = fcntl(SERVE_PASSED, F_DUPFD_CLOEXEC, SERVE_PASSED + 1);
	return *out < 0 ? -errno : 0;
}

static bool serve_has_tls(const struct image_wishes *w)
{
	return w->serve.tls_certificates || w->serve.tls_psk;
}

static int serve_listen(struct image_wishes *w, int *out, struct err *err)
{
	const char *address = w->serve.bind ? w->serve.bind : "127.0.0.1";
	const char *scheme = serve_has_tls(w) ? "nbds" : "nbd";

	if (w->serve.socket) {
		w->serve.uri = str_format("%s+unix:///%s?socket=%s", scheme, w->serve.name,
					  w->serve.socket);
		return serve_listen_unix(w->serve.socket, out, err);
	}
	if (!w->serve.port && serve_take_passed(out) == 0) {
		w->serve.uri = str_dup("the socket that was passed");
		return 0;
	}
	if (!w->serve.port && !w->serve.bind)
		return err_set(err, -EINVAL, "where? Say --socket PATH, or --port PORT");
	w->serve.uri = str_format("%s://%s:%s/%s", scheme, address,
				  w->serve.port ? w->serve.port : SERVE_NBD_PORT, w->serve.name);
	return serve_listen_tcp(address, w->serve.port ? w->serve.port : SERVE_NBD_PORT, out, err);
}

/* --- TLS --- */

static int serve_add_file(struct image_wishes *w, const char *path, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	r = launch_image_add_fd(&w->image, fd, path, NULL, false, err);
	if (r < 0)
		return r;
	fd_take(fd);
	return 0;
}

/* The names that qemu-nbd and nbdkit want in a directory, too. */
static int serve_add_certificates(struct image_wishes *w, struct err *err)
{
	static const char *const names[] = {"ca-cert.pem", "server-cert.pem", "server-key.pem"};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && r == 0; i++) {
		AUTO(free) char *path = str_format("%s/%s", w->serve.tls_certificates, names[i]);

		/* Who lets anybody in needs no authority. */
		if (i == 0 && w->serve.is_tls_open && access(path, F_OK) < 0)
			r = serve_add_file(w, "/dev/null", err);
		else
			r = serve_add_file(w, path, err);
	}
	return r;
}

static int serve_add_tls(struct image_wishes *w, struct err *err)
{
	if (w->serve.tls_certificates && w->serve.tls_psk)
		return err_set(err, -EINVAL, "--tls-certificates and --tls-psk exclude each other");
	if (w->serve.is_tls_open && !w->serve.tls_certificates)
		return err_set(err, -EINVAL, "--tls-any-client needs --tls-certificates");
	if (w->serve.tls_psk)
		return serve_add_file(w, w->serve.tls_psk, err);
	return w->serve.tls_certificates ? serve_add_certificates(w, err) : 0;
}

/* --- the command --- */

static void serve_on_item(void *opaque, const json_t *item)
{
	const struct image_wishes *w = opaque;

	if (!json_is_true(json_object_get(item, "ready")) || w->is_quiet)
		return;
	printf("serving at %s\n", w->serve.uri);
	fflush(stdout);
}

static json_t *serve_args(const struct image_wishes *w)
{
	json_t *args = json_pack("{s:o, s:b, s:O}", "name", proto_text(w->serve.name), "once",
				 w->serve.is_once, "bitmaps",
				 w->serve.bitmaps ? w->serve.bitmaps : json_null());

	if (w->serve.description)
		json_object_set_new(args, "description", proto_text(w->serve.description));
	if (w->snapshot)
		json_object_set_new(args, "snapshot", proto_text(w->snapshot));
	if (serve_has_tls(w))
		json_object_set_new(args, "tls", json_string(w->serve.tls_psk ? "psk" : "x509"));
	json_object_set_new(args, "unsafe", json_boolean(w->is_unsafe));
	json_object_set_new(args, "writethrough", json_boolean(w->serve.is_writethrough));
	json_object_set_new(args, "tls-any-client", json_boolean(w->serve.is_tls_open));
	return args;
}

static int serve_run(struct image_wishes *w, const char *const *paths, struct err *err)
{
	const char *path = paths[0];
	bool is_readonly = w->serve.is_readonly || w->snapshot || w->image.names.is_shared;
	AUTO_FD int listener = -1;
	json_t *result;
	int r = image_add(w, path, w->format, !is_readonly, err);

	if (!w->serve.name)
		w->serve.name = "";
	if (r >= 0 && w->is_direct)
		r = launch_image_bypass_cache(&w->image, 0, err);
	if (r >= 0)
		r = serve_listen(w, &listener, err);
	if (r >= 0)
		r = launch_image_add_fd(&w->image, fd_take(listener), path, NULL, false, err);
	if (r >= 0)
		r = serve_add_tls(w, err);
	if (r < 0)
		return r;
	w->image.is_stoppable = true;
	w->image.on_item = serve_on_item;
	w->image.opaque = w;
	r = image_call(w, "serve", serve_args(w), &result, err);
	if (w->serve.socket)
		unlink(w->serve.socket);
	if (r < 0)
		return err_wrap(err, "%s", path);
	json_decref(result);
	return 0;
}

static int serve_take_text(const char **out, const char *value, struct err *err)
{
	if (strlen(value) > 255 || !proto_text_is_utf8(value))
		return err_set(err, -EINVAL, "at most 255 bytes of UTF-8");
	*out = value;
	return 0;
}

static int serve_option_name(void *to, char *value, struct err *err)
{
	return serve_take_text(&((struct image_wishes *)to)->serve.name, value, err);
}

static int serve_option_description(void *to, char *value, struct err *err)
{
	return serve_take_text(&((struct image_wishes *)to)->serve.description, value, err);
}

static int serve_option_bitmap(void *to, char *value, struct err *err)
{
	struct image_wishes *w = to;

	if (!proto_text_is_utf8(value))
		return err_set(err, -EINVAL, "it is no UTF-8");
	if (!w->serve.bitmaps)
		w->serve.bitmaps = json_array();
	json_array_append_new(w->serve.bitmaps, json_string(value));
	return 0;
}

static int serve_option_cache(void *to, char *value, struct err *err)
{
	int mode = guest_word_value(&guest_cache_words, value);
	struct image_wishes *w = to;

	if (mode < 0)
		return err_set(err, -EINVAL,
			       "there is no '%s'; there is: writeback, none, writethrough, "
			       "directsync, unsafe",
			       value);
	w->is_direct = guest_cache_is_direct((enum guest_cache)mode);
	w->serve.is_writethrough = guest_cache_is_writethrough((enum guest_cache)mode);
	w->is_unsafe = mode == GUEST_CACHE_UNSAFE;
	return 0;
}

static const struct option_row serve_rows[] = {
	IMAGE_FORMAT,
	IMAGE_TEXT("socket", "PATH", serve.socket, "listen at a UNIX socket"),
	IMAGE_TEXT("port", "PORT", serve.port,
		   "listen at a TCP port\n(default: 10809, with --bind)"),
	IMAGE_TEXT("bind", "ADDRESS", serve.bind, "of that port (default: 127.0.0.1)"),
	IMAGE_TEXT("tls-certificates", "DIR", serve.tls_certificates,
		   "TLS only, with this directory's server-cert.pem and server-key.pem; clients\n"
		   "need a certificate of its ca-cert.pem"),
	IMAGE_FLAG("tls-any-client", serve.is_tls_open, "clients need no certificate"),
	IMAGE_TEXT("tls-psk", "FILE", serve.tls_psk,
		   "TLS only, with keys that clients have as well: lines of NAME:HEX"),
	{"export-name", "NAME", serve_option_name, "what clients call it (default: empty)"},
	{"description", "TEXT", serve_option_description, "what clients are told of it"},
	IMAGE_FLAG("read-only", serve.is_readonly, "clients can't write"),
	{"bitmap", "NAME", serve_option_bitmap,
	 "clients may ask what this bitmap says is dirty; may be given again"},
	{"cache", "MODE", serve_option_cache,
	 "writeback, none, writethrough, directsync or unsafe, as a guest's disk has it\n"
	 "(default: writeback)"},
	IMAGE_TEXT("snapshot", "NAME", snapshot,
		   "the contents of this internal snapshot, read-only"),
	IMAGE_FLAG("once", serve.is_once, "end when the last client is gone"),
	IMAGE_BACKING_FORMAT,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_SHARE,
	IMAGE_QUIET,
};

static const struct option_letter serve_letters[] = {
	{'f', "format"},         {'k', "socket"},
	{'p', "port"},           {'b', "bind"},
	{'x', "export-name"},    {'D', "description"},
	{'r', "read-only"},      {'B', "bitmap"},
	{'l', "snapshot"},       {'U', "force-share"},
	{'F', "backing-format"}, {'q', "quiet"},
	{'t', "cache"},          {0},
};

const struct image_command image_serve = {
	.options =
		{
			.command = "image serve",
			.usage = "FILE [OPTIONS]",
			.summary = "Serves an image to NBD clients, until it is interrupted. Once "
				   "clients can connect, it\nsays where.",
			OPTION_ROWS(serve_rows),
			.letters = serve_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which image?",
		},
	.run = serve_run,
};
