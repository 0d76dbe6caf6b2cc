/*
 * Memory for passphrases and keys. See secret.h.
 */
#include "crypt/secret.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"

struct secret *secret_new(size_t n)
{
	size_t room = align_up(sizeof(struct secret) + n, PAGE_SIZE);
	struct secret *s =
		mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		alloc_die();
	/* Both are a service to whoever may: an ordinary user can lock but little memory. */
	(void)mlock(s, room);
	(void)madvise(s, room, MADV_DONTDUMP);
	s->n = n;
	s->room = room;
	return s;
}

struct secret *secret_of(const void *bytes, size_t n)
{
	struct secret *s = secret_new(n);

	memcpy(s->bytes, bytes, n);
	return s;
}

void secret_wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}

void secret_free(struct secret *s)
{
	size_t room;

	if (!s)
		return;
	room = s->room;
	secret_wipe(s, room);
	munmap(s, room);
}

int secret_read(int fd, struct secret **out, struct err *err)
{
	AUTO(secret_free) struct secret *s = secret_new(SECRET_MAX + 1);
	size_t n = 0;

	while (n < s->n) {
		ssize_t got = read(fd, s->bytes + n, s->n - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, -errno, "cannot read it");
		if (got == 0)
			break;
		n += (size_t)got;
	}
	if (n == 0)
		return err_set(err, -EINVAL, "it is empty");
	if (n > SECRET_MAX)
		return err_set(err, -E2BIG, "it is longer than %d bytes", SECRET_MAX);
	s->n = n;
	*out = take(s);
	return 0;
}

int secret_pipe(const struct secret *s, struct err *err)
{
	AUTO_FD int from = -1;
	AUTO_FD int to = -1;
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "cannot make a pipe");
	from = pair[0];
	to = pair[1];
	/* A pipe takes a page at least; nobody reads yet, so waiting for more room would be for ever. */
	r = fd_set_nonblock(to, true);
	if (r == 0)
		r = fd_write_full(to, s->bytes, s->n);
	if (r < 0)
		return err_errno(err, r, "cannot pass it on");
	return fd_take(from);
}
