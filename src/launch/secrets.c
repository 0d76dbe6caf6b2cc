/*
 * Passphrases by name. See secrets.h.
 */
#include "launch/secrets.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "crypt/secret.h"

const struct secret *launch_secrets_find(const struct launch_secrets *s, const char *id)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (strcmp(s->list[i].id, id) == 0)
			return s->list[i].bytes;
	}
	return NULL;
}

static bool secrets_id_is_valid(const char *id)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strlen(id);

	return n && n <= LAUNCH_SECRET_ID && strspn(id, letters) == n;
}

int launch_secrets_add(struct launch_secrets *s, const char *id, struct secret *bytes,
		       struct err *err)
{
	if (!secrets_id_is_valid(id))
		return err_set(err, -EINVAL,
			       "id=%.64s: a name is letters, digits, '.', '_' and '-'", id);
	if (launch_secrets_find(s, id))
		return err_set(err, -EEXIST, "id=%s is there twice", id);
	if (s->n == LAUNCH_SECRETS)
		return err_set(err, -E2BIG, "at most %d secrets", LAUNCH_SECRETS);
	s->list[s->n++] = (struct launch_secret){str_dup(id), bytes};
	return 0;
}

void launch_secrets_fini(struct launch_secrets *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		free(s->list[i].id);
		secret_free(s->list[i].bytes);
	}
	s->n = 0;
}

static int secrets_take_fd(struct launch_secrets *s, const char *id, int fd, struct err *err)
{
	AUTO(secret_free) struct secret *bytes = NULL;
	int r = secret_read(fd, &bytes, err);

	if (r == 0)
		r = launch_secrets_add(s, id, bytes, err);
	if (r == 0)
		take(bytes);
	return r;
}

int launch_secrets_read(struct launch_secrets *s, const char *id, const char *path, struct err *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	return secrets_take_fd(s, id, fd, err) < 0 ? err_wrap(err, "%s", path) : 0;
}

int launch_secrets_read_fd(struct launch_secrets *s, const char *id, int fd, struct err *err)
{
	AUTO_FD int own = fd > STDERR_FILENO ? fd : -1;

	return secrets_take_fd(s, id, fd, err) < 0 ? err_wrap(err, "fd=%d", fd) : 0;
}

static int secrets_read_fd(struct launch_secrets *s, const char *id, const char *text,
			   struct err *err)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > INT32_MAX)
		return err_set(err, -EINVAL, "fd=%.16s: it is a descriptor's number", text);
	return launch_secrets_read_fd(s, id, (int)n, err);
}

int launch_secrets_parse(struct launch_secrets *s, char *text, struct err *err)
{
	const char *id = NULL, *file = NULL, *fd = NULL;

	for (char *rest = text, *part; (part = strsep(&rest, ",")) != NULL;) {
		if (strncmp(part, "id=", 3) == 0)
			id = part + 3;
		else if (strncmp(part, "file=", 5) == 0)
			file = part + 5;
		else if (strncmp(part, "fd=", 3) == 0)
			fd = part + 3;
		else if (strncmp(part, "data=", 5) == 0)
			return err_set(
				err, -EINVAL,
				"data=: everybody on this host sees what is on a command line; "
				"use file= or fd=");
		else
			return err_set(err, -EINVAL, "it is id=NAME,file=PATH or id=NAME,fd=N");
	}
	if (!id || !file == !fd)
		return err_set(err, -EINVAL, "it is id=NAME,file=PATH or id=NAME,fd=N");
	return file ? launch_secrets_read(s, id, file, err) : secrets_read_fd(s, id, fd, err);
}
