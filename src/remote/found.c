/*
 * What is found by name. See found.h.
 */
#include "remote/found.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "block/uri.h"

#define FOUND_FILE_MAX MIB
#define FOUND_TLS_DIR  "/tls"
#define FOUND_PSK      "/tls/keys.psk"
#define FOUND_HOSTS    "/etc/hosts"

/* --- addresses --- */

/* A line for each, so that the library that does TLS, and checks the name, finds them by it. */
static void found_add_hosts(struct remote_found *f, const char *host)
{
	struct confine_file *hosts = &f->files[f->n_files++];
	char *text = str_dup("");

	for (const struct addrinfo *a = f->addresses; a; a = a->ai_next) {
		char address[INET6_ADDRSTRLEN + 20];
		char *more;

		if (getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof(address), NULL, 0,
				NI_NUMERICHOST))
			continue;
		more = str_format("%s%s %s\n", text, address, host);
		free(text);
		text = more;
	}
	*hosts = (struct confine_file){.path = FOUND_HOSTS, .bytes = text, .n_bytes = strlen(text)};
}

static void found_look_up(struct remote_found *f, const struct blk_uri *u)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	int r = getaddrinfo(u->host, u->port, &hints, &f->addresses);

	if (r) {
		f->addresses = NULL;
		err_set(&f->err, -EADDRNOTAVAIL, "%s: %s", u->host, gai_strerror(r));
		return;
	}
	f->tcp_port = ntohs(f->addresses->ai_family == AF_INET6
				    ? ((struct sockaddr_in6 *)f->addresses->ai_addr)->sin6_port
				    : ((struct sockaddr_in *)f->addresses->ai_addr)->sin_port);
}

/* --- files --- */

/* -ENOENT: there is none. */
static int found_read(struct remote_found *f, const char *from, const char *to, struct err *err)
{
	struct confine_file *file = &f->files[f->n_files];
	AUTO_FD int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot open %s", from);
	if (!S_ISREG(st.st_mode) || (u64)st.st_size > FOUND_FILE_MAX)
		return err_set(err, -EINVAL, "%s is no file of less than 1 MiB", from);
	assert(f->n_files < FOUND_MAX_FILES);
	*file = (struct confine_file){.bytes = mem_alloc(1, (size_t)st.st_size + 1),
				      .n_bytes = (size_t)st.st_size};
	snprintf(file->path, sizeof(file->path), "%s", to);
	r = fd_read_full(fd, file->bytes, file->n_bytes);
	if (r < 0) {
		free(file->bytes);
		return err_errno(err, r, "cannot read %s", from);
	}
	f->n_files++;
	return 0;
}

/* Those that libnbd looks for; the first must be there. */
static int found_read_certificates(struct remote_found *f, const char *dir, struct err *err)
{
	static const char *const names[] = {"ca-cert.pem", "client-cert.pem", "client-key.pem",
					    "ca-crl.pem"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO(free) char *from = str_format("%s/%s", dir, names[i]);
		AUTO(free) char *to = str_format(FOUND_TLS_DIR "/%s", names[i]);
		struct err why = ERR_INIT;
		int r = found_read(f, from, to, &why);

		if (r < 0 && (r != -ENOENT || i == 0)) {
			*err = why;
			return r;
		}
	}
	f->certificates = FOUND_TLS_DIR;
	return 0;
}

/* Where libnbd looks, then the host's authorities; where there is nothing, the library is left to itself. */
static void found_read_usual(struct remote_found *f)
{
	static const char *const bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
					      "/etc/pki/tls/certs/ca-bundle.crt"};
	const char *home = getenv("HOME") ?: "";
	AUTO(free) char *pki = str_format("%s/.pki/libnbd", home);
	AUTO(free) char *config = str_format("%s/.config/pki/libnbd", home);
	const char *const dirs[] = {geteuid() ? pki : NULL, geteuid() ? config : NULL,
				    "/etc/pki/libnbd"};
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && !f->certificates; i++) {
		if (dirs[i])
			(void)found_read_certificates(f, dirs[i], &err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bundles) && !f->certificates; i++) {
		if (found_read(f, bundles[i], FOUND_TLS_DIR "/ca-cert.pem", &err) == 0)
			f->certificates = FOUND_TLS_DIR;
	}
}

static void found_read_tls(struct remote_found *f, const struct blk_uri *u)
{
	int r = 0;

	if (u->psk_file)
		r = found_read(f, u->psk_file, FOUND_PSK, &f->err);
	if (r == 0 && u->psk_file)
		f->psk_file = FOUND_PSK;
	if (r == 0 && u->certificates)
		r = found_read_certificates(f, u->certificates, &f->err);
	else if (r == 0 && !u->psk_file)
		found_read_usual(f);
}

void remote_find(const struct blk_uri *u, struct remote_found *out)
{
	*out = (struct remote_found){.err = ERR_INIT};
	if (u->socket) {
		out->socket = realpath(u->socket, NULL);
		if (!out->socket)
			err_errno(&out->err, -errno, "cannot connect to %s", u->socket);
	}
	if (u->host)
		found_look_up(out, u);
	if (!u->is_tls || out->err.code)
		return;
	found_read_tls(out, u);
	if (u->host && !out->err.code)
		found_add_hosts(out, u->host);
}

void remote_found_fini(struct remote_found *f)
{
	free(f->socket);
	if (f->addresses)
		freeaddrinfo(f->addresses);
	for (unsigned i = 0; i < f->n_files; i++) {
		explicit_bzero(f->files[i].bytes, f->files[i].n_bytes);
		free(f->files[i].bytes);
	}
	*f = (struct remote_found){.err = ERR_INIT};
}
