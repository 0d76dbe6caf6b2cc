/*
 * Port forwards of the user-mode network: "tcp:[ADDRESS:]HOSTPORT:GUESTPORT".
 */
#ifndef NET_SLIRP_FORWARD_H
#define NET_SLIRP_FORWARD_H

#include <netinet/in.h>

#include "base/base.h"

struct err;

struct forward {
	bool is_udp;
	struct in_addr host; /* 127.0.0.1 unless given */
	u16 host_port, guest_port;
};

int forward_parse(const char *text, struct forward *out, struct err *err);

#endif
