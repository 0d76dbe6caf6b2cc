/*
 * The NBD server: a client that sends what it likes, with a greeting that is right or not. Byte 0 says
 * so; the rest goes over the socket, and the client then is gone.
 *
 * However it ends, no client is left, and the disk has its size.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/block.h"
#include "image/image.h"
#include "nbd/nbd.h"
#include "nbd/nbd_wire.h"

#define SIZE (256 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct blk *disk;

static void make_disk(void)
{
	const struct blk_raw_options raw = {.is_container = true, .engine = BLK_ENGINE_URING};
	struct img_open_options o = {0};
	struct err err = ERR_INIT;
	struct blk *file;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	if (ftruncate(fd, SIZE) < 0 || loop_new(&loop, &err) < 0)
		abort();
	o.loop = loop;
	if (blk_raw_new(loop, fd, &raw, &file, &err) < 0 ||
	    img_open(&img_raw, file, &o, &disk, &err) < 0)
		abort();
}

static void throw_away(int fd)
{
	u8 away[4096];

	while (recv(fd, away, sizeof(away), MSG_DONTWAIT) > 0)
		;
}

static void play(struct nbd_server *s, const uint8_t *data, size_t size)
{
	static const u8 greeting[] = {0, 0, 0, 3};
	static const u8 go[] = "IHAVEOPT\0\0\0\x08\0\0\0\0" /* structured replies */
			       "IHAVEOPT\0\0\0\x0a\0\0\0\x1b\0\0\0\0\0\0\0\1\0\0\0\x0f"
			       "base:allocation"
			       "IHAVEOPT\0\0\0\7\0\0\0\6\0\0\0\0\0";
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	if (data[0] > 1 && write(pair[0], greeting, sizeof(greeting)) < 0)
		abort();
	if (data[0] > 2 && write(pair[0], go, sizeof(go)) < 0)
		abort();
	if (size > 1 && write(pair[0], data + 1, size - 1) < 0)
		abort();
	shutdown(pair[0], SHUT_WR);
	nbd_server_add(s, pair[1]);
	while (nbd_server_clients(s)) {
		throw_away(pair[0]);
		loop_step(loop, true);
	}
	close(pair[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbd_options o = {.name = "", .description = ""};
	struct err err = ERR_INIT;
	struct nbd_server *s;

	if (!size || size > 64 * KIB)
		return -1;
	if (!disk)
		make_disk();
	o.disk = disk;
	o.is_readonly = data[0] & 1;
	if (nbd_server_new(loop, -1, &o, &s, &err) < 0)
		abort();
	play(s, data, size);
	nbd_server_free(s);
	if (disk->size != SIZE)
		abort();
	return 0;
}
