/*
 * Memory for passphrases and keys: not swapped and not dumped where the host allows that, and wiped when
 * it is freed. Any thread.
 */
#ifndef CRYPT_SECRET_H
#define CRYPT_SECRET_H

#include "base/base.h"

struct err;

#define SECRET_MAX 4096 /* bytes of a passphrase: so many a pipe takes at once, whatever its size */

struct secret {
	size_t n; /* bytes in use; the owner may make it smaller */
	size_t room;
	u8 bytes[];
};

struct secret *secret_new(size_t n); /* zeroed; never NULL: n is small */
struct secret *secret_of(const void *bytes, size_t n);
void secret_free(struct secret *s); /* NULL is fine */
AUTO_FN(secret_free, struct secret *)
void secret_wipe(void *p, size_t n);

/* All there is to read of a file or pipe, at most SECRET_MAX bytes, at least one: as it is, a newline included. */
int secret_read(int fd, struct secret **out, struct err *err);
/*
 * A pipe from which that can be read once, by someone else; -1 and an explanation where there is none. Its
 * pages are the kernel's, and are never swapped.
 */
int secret_pipe(const struct secret *s, struct err *err);

#endif
