/*
 * The guard of the host's loopback. See guard.h.
 *
 * Only the destination in the IP header counts: libslirp has no source routing, and follows no
 * IPv6 routing header. To the name server's address go whole UDP and TCP packets to port 53, and
 * ICMP, which libslirp answers itself; fragments and extension headers could hide the port.
 */
#include "net/slirp/guard.h"

#include <string.h>

#include "base/bytes.h"

#define ETHER_SIZE      14
#define ETHER_TYPE_IPV4 0x0800
#define ETHER_TYPE_IPV6 0x86dd
#define IPV4_SIZE       20
#define IPV6_SIZE       40
#define PORT_DNS        53

static bool guard_is_dns_port(const u8 *l4, size_t size)
{
	return size >= 4 && be16_load(l4 + 2) == PORT_DNS;
}

static bool guard_allows_dns4(const u8 *ip, size_t size)
{
	size_t header = (size_t)(ip[0] & 0xf) * 4;
	u16 fragment = be16_load(ip + 6) & 0x3fff; /* more to come, or an offset */

	if (header < IPV4_SIZE || header > size || fragment)
		return false;
	if (ip[9] == IPPROTO_ICMP)
		return true;
	return (ip[9] == IPPROTO_UDP || ip[9] == IPPROTO_TCP) &&
	       guard_is_dns_port(ip + header, size - header);
}

/* 0.0.0.0/8 counts as the host itself in Linux's connect(2), 127.0.0.0/8 is its loopback. */
static bool guard_is_loopback4(u32 address)
{
	u32 net = address >> 24;

	return net == 0 || net == 127;
}

static bool guard_allows_ipv4(const struct guard *g, const u8 *ip, size_t size)
{
	u32 to;

	if (size < IPV4_SIZE)
		return false;
	to = be32_load(ip + 16);
	if (guard_is_loopback4(to))
		return false;
	return to != ntohl(g->dns.s_addr) || guard_allows_dns4(ip, size);
}

static bool guard_is_loopback6(const struct in6_addr *a)
{
	if (IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_LOOPBACK(a))
		return true;
	return (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a)) &&
	       guard_is_loopback4(be32_load(a->s6_addr + 12));
}

static bool guard_allows_ipv6(const struct guard *g, const u8 *ip, size_t size)
{
	struct in6_addr to;

	if (size < IPV6_SIZE)
		return false;
	memcpy(&to, ip + 24, sizeof(to));
	if (guard_is_loopback6(&to))
		return false;
	if (memcmp(&to, &g->dns6, sizeof(to)) != 0 || ip[6] == IPPROTO_ICMPV6)
		return true;
	return (ip[6] == IPPROTO_UDP || ip[6] == IPPROTO_TCP) &&
	       guard_is_dns_port(ip + IPV6_SIZE, size - IPV6_SIZE);
}

bool guard_allows(const struct guard *g, const u8 *frame, size_t size)
{
	const u8 *ip = frame + ETHER_SIZE;

	if (size < ETHER_SIZE)
		return false;
	switch (be16_load(frame + 12)) {
	case ETHER_TYPE_IPV4:
		return guard_allows_ipv4(g, ip, size - ETHER_SIZE);
	case ETHER_TYPE_IPV6:
		return guard_allows_ipv6(g, ip, size - ETHER_SIZE);
	}
	return true; /* ARP; libslirp ignores the rest */
}
