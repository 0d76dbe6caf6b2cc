/*
 * Reads a port forward. See forward.h.
 */
#include "net/slirp/forward.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define FORWARD_TEXT_MAX 64

/* A decimal number from 1 to 65535 and nothing else. */
static bool forward_parse_port(const char *text, u16 *out)
{
	u32 v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (u32)(*text - '0');
		if (v > UINT16_MAX)
			return false;
	}
	*out = (u16)v;
	return v > 0;
}

/* Cuts off what follows the last colon of text and returns it; NULL: there is none. */
static char *forward_cut_last(char *text)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		return NULL;
	*colon = '\0';
	return colon + 1;
}

int forward_parse(const char *text, struct forward *out, struct err *err)
{
	struct forward f = {.host.s_addr = htonl(INADDR_LOOPBACK)};
	char copy[FORWARD_TEXT_MAX];
	char *rest, *port;

	if (strlen(text) >= sizeof(copy))
		return err_set(err, -EINVAL, "forward '%.20s...' is too long", text);
	memcpy(copy, text, strlen(text) + 1);
	rest = strchr(copy, ':');
	if (rest)
		*rest++ = '\0';
	f.is_udp = strcmp(copy, "udp") == 0;
	if (!rest || (!f.is_udp && strcmp(copy, "tcp") != 0))
		return err_set(
			err, -EINVAL,
			"forward '%s': should be tcp:[ADDRESS:]HOSTPORT:GUESTPORT, or udp:...",
			text);

	port = forward_cut_last(rest);
	if (!port || !forward_parse_port(port, &f.guest_port))
		return err_set(err, -EINVAL, "forward '%s': the guest's port is wrong", text);
	port = forward_cut_last(rest);
	if (port && inet_pton(AF_INET, rest, &f.host) != 1)
		return err_set(err, -EINVAL, "forward '%s': '%s' is no IPv4 address", text, rest);
	if (!forward_parse_port(port ? port : rest, &f.host_port))
		return err_set(err, -EINVAL, "forward '%s': the host's port is wrong", text);
	*out = f;
	return 0;
}
