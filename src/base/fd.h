/*
 * File descriptors: whole reads and writes, passing over sockets, ownership.
 *
 * Every descriptor is close-on-exec and sits in one owner. Functions restart after EINTR. Any
 * thread.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <sys/types.h>
#include <unistd.h>

#include "base/base.h"

/* AUTO_FD int fd = -1; closes at the end of the scope. fd_take hands it on. */
#define AUTO_FD __attribute__((cleanup(fd_auto_close)))
#define fd_take(fd)                                                                                \
	({                                                                                         \
		int fd_taken_ = (fd);                                                              \
		(fd) = -1;                                                                         \
		fd_taken_;                                                                         \
	})

static inline void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static inline void fd_auto_close(int *fd)
{
	fd_close(*fd);
}

/* All bytes or an error: -EIO when the file ends early. */
int fd_read_full(int fd, void *buf, size_t size);
int fd_pread_full(int fd, void *buf, size_t size, u64 offset);
int fd_write_full(int fd, const void *buf, size_t size);
int fd_pwrite_full(int fd, const void *buf, size_t size, u64 offset);

/* Up to size bytes at offset: fewer at the file's end only. Returns the count. */
ssize_t fd_pread_some(int fd, void *buf, size_t size, u64 offset);

/* Size in bytes of a regular file or block device; -EISDIR, -EINVAL for what has none. */
int fd_size(int fd, u64 *out);

int fd_set_nonblock(int fd, bool on);

#define FD_PASS_MAX 250 /* descriptors in one message; SCM_MAX_FD is 253 */

/*
 * One message on a SOCK_SEQPACKET or SOCK_DGRAM socket, with descriptors. fd_send lends them.
 * fd_recv owns what it puts in fds (close-on-exec): at most *n_fds, which it sets to the number
 * received; returns the message's length, 0 when the peer closed, -EMSGSIZE when message or
 * descriptors were cut (everything received is closed then).
 */
int fd_send(int sock, const void *buf, size_t size, const int *fds, size_t n_fds);
/* The same without descriptors and without waiting: -EAGAIN when the peer's queue is full. */
int fd_send_now(int sock, const void *buf, size_t size);
ssize_t fd_recv(int sock, void *buf, size_t size, int *fds, size_t *n_fds);

#endif
