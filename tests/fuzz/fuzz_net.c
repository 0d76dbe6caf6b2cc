/*
 * What a hostile peer of the network can send: bytes on a framed stream, in pieces of any size, and
 * frames for the guard of the host's loopback.
 *
 * The stream is compared with the simplest reading of the same bytes.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "base/bytes.h"
#include "net/frame.h"
#include "net/net.h"
#include "net/slirp/guard.h"

#define INPUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The frame at *at of the input, by the book: 1, 0 or -EPROTO. */
static int simple_next(const u8 *data, size_t size, size_t *at, const u8 **frame,
		       size_t *frame_size)
{
	if (size - *at < 4)
		return 0;
	*frame_size = be32_load(data + *at);
	if (*frame_size > NET_FRAME_MAX)
		return -EPROTO;
	if (size - *at - 4 < *frame_size)
		return 0;
	*frame = data + *at + 4;
	*at += 4 + *frame_size;
	return 1;
}

/* Takes what is complete; false once the framing is broken. */
static bool check_frames(struct frame_reader *r, const u8 *data, size_t size, size_t *at)
{
	const u8 *got, *wanted;
	size_t got_size, wanted_size;
	int k;

	do {
		k = simple_next(data, size, at, &wanted, &wanted_size);
		if (frame_reader_peek(r, &got, &got_size) != k)
			abort();
		if (k > 0) {
			if (got_size != wanted_size || memcmp(got, wanted, got_size) != 0)
				abort();
			frame_reader_pop(r);
		}
	} while (k > 0);
	return k == 0;
}

static void try_stream(const u8 *data, size_t size, size_t piece)
{
	struct frame_reader r;
	size_t at = 0, sent = 0;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0)
		abort();
	frame_reader_init(&r);
	while (sent < size) {
		size_t n = MIN(piece, size - sent);

		if (send(sv[1], data + sent, n, 0) != (ssize_t)n ||
		    frame_reader_fill(&r, sv[0]) != (ssize_t)n)
			abort();
		sent += n;
		if (!check_frames(&r, data, sent, &at))
			break;
	}
	frame_reader_fini(&r);
	close(sv[0]);
	close(sv[1]);
}

static void try_guard(const u8 *data, size_t size)
{
	struct guard g;
	u8 *copy = malloc(size); /* so that the sanitizer sees its end */

	if (!copy || inet_pton(AF_INET, "10.0.2.3", &g.dns) != 1 ||
	    inet_pton(AF_INET6, "fec0::3", &g.dns6) != 1)
		abort();
	memcpy(copy, data, size);
	if (guard_allows(&g, copy, size) && size >= 34 && be16_load(copy + 12) == 0x0800 &&
	    copy[30] == 127)
		abort();
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > INPUT_MAX)
		return -1;
	try_stream(data + 1, size - 1, 1 + data[0]);
	try_guard(data + 1, size - 1);
	return 0;
}
