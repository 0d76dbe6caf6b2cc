/*
 * Which frames of the guest the user-mode network may see.
 *
 * libslirp turns the guest's packets into the host's own sockets, so a packet to 127.0.0.1 (no
 * honest guest sends one) would reach the host's services that trust their loopback. Its name
 * server's address stands for the host's, which may be on the loopback too, and not for port 53
 * alone. The guard drops such frames before libslirp parses them.
 */
#ifndef NET_SLIRP_GUARD_H
#define NET_SLIRP_GUARD_H

#include <netinet/in.h>

#include "base/base.h"

struct guard {
	struct in_addr dns; /* addresses that libslirp translates to the host's name server */
	struct in6_addr dns6;
};

/* May this frame pass, when the guest has no business on the host's loopback? */
bool guard_allows(const struct guard *g, const u8 *frame, size_t size);

#endif
