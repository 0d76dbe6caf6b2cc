/*
 * The NBD client: a server that says what it likes. Byte 0 says how much of a right greeting comes
 * before, byte 1 what is asked of it then; the rest goes over the socket, and the server then is gone.
 *
 * However it ends, what is read is within bounds, and a status is of what was asked for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/io.h"
#include "nbd/client.h"

#define ASK (4 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void greet(int fd, u8 how)
{
	static const u8 hello[] = "NBDMAGICIHAVEOPT\0\3";
	static const u8 options[] =
		"\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x08\0\0\0\1\0\0\0\0"
		"\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x0a\0\0\0\4\0\0\0\x13\0\0\0\1"
		"base:allocation"
		"\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x0a\0\0\0\1\0\0\0\0"
		"\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\7\0\0\0\3\0\0\0\x0c\0\0\0\0\0\0\0\x10\0\0\1\xed"
		"\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\7\0\0\0\1\0\0\0\0";

	if (how > 0 && write(fd, hello, sizeof(hello) - 1) < 0)
		abort();
	if (how > 1 && write(fd, options, sizeof(options) - 1) < 0)
		abort();
}

static void use(struct blk *b, u8 what)
{
	static u8 buf[ASK];
	u64 bytes = MIN(ASK, b->size);
	struct blk_status st;

	if (!bytes)
		return;
	if (what & 1)
		(void)blk_read(b, 0, buf, bytes);
	if (what & 2 && blk_status(b, 0, bytes, &st) == 0 && (!st.bytes || st.bytes > bytes))
		abort();
	if (b->is_readonly)
		return;
	if (what & 4)
		(void)blk_write(b, 0, buf, bytes);
	if (what & 8)
		(void)blk_write_zeroes(b, 0, bytes, what & 16);
	if (what & 32)
		(void)blk_discard(b, 0, bytes);
	(void)blk_flush(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbdc_options o = {.is_container = true, .patience_ns = 1};
	struct blk *b = NULL;
	struct err err = ERR_INIT;
	struct loop *loop;
	int ask[2], talk[2];

	if (size < 2 || size > 64 * KIB)
		return -1;
	o.is_readonly = data[0] & 0x80;
	if (loop_new(&loop, &err) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ask) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, talk) < 0)
		abort();
	greet(talk[1], data[0] & 3);
	if (size > 2 && write(talk[1], data + 2, size - 2) < 0)
		abort();
	shutdown(talk[1], SHUT_WR);
	if (fd_send(ask[1], "+C0 x", 5, &talk[0], 1) < 0)
		abort();
	close(talk[0]);
	o.connector = ask[0];
	if (nbdc_new(loop, &o, &b, &err) == 0)
		use(b, data[1]);
	else
		close(ask[0]);
	blk_free(b);
	loop_free(loop);
	close(ask[1]);
	close(talk[1]);
	return 0;
}
