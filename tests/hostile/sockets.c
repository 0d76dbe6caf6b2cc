/*
 * Attempts on sockets: the test listens at HOSTILE_PORT on the host's loopback, at the abstract name
 * HOSTILE_ABSTRACT, and runs another guest, whose control socket is HOSTILE_CONTROL; ours is
 * HOSTILE_OWN.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile.h"

static long sockets_make(int family, int type, int protocol)
{
	return attempt_descriptor(syscall(SYS_socket, family, type, protocol));
}

static long sockets_unix(void)
{
	return sockets_make(AF_UNIX, SOCK_STREAM, 0);
}

static long sockets_inet(void)
{
	return sockets_make(AF_INET, SOCK_STREAM, 0);
}

static long sockets_inet6(void)
{
	return sockets_make(AF_INET6, SOCK_DGRAM, 0);
}

static long sockets_netlink(void)
{
	return sockets_make(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

static long sockets_packet(void)
{
	return sockets_make(AF_PACKET, SOCK_RAW, 0);
}

static long sockets_raw(void)
{
	return sockets_make(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static long sockets_vsock(void)
{
	return sockets_make(AF_VSOCK, SOCK_STREAM, 0);
}

static long sockets_pair(void)
{
	int pair[2];
	long r = attempt_result(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair));

	if (r == 0) {
		close(pair[0]);
		close(pair[1]);
	}
	return r;
}

/* Makes the socket, and does with it what is asked for. */
static long sockets_use(long call, int type, const void *address, size_t size)
{
	const struct sockaddr *a = address;
	int fd = (int)syscall(SYS_socket, a->sa_family, type, 0);
	long r;

	if (fd < 0)
		return -errno;
	r = attempt_result(syscall(call, fd, address, size));
	close(fd);
	return r;
}

static struct sockaddr_in sockets_loopback(unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((u16)port)};

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static long sockets_connect_tcp(void)
{
	struct sockaddr_in a = sockets_loopback((unsigned)atoi(attempt_victim("PORT")));

	return sockets_use(SYS_connect, SOCK_STREAM, &a, sizeof(a));
}

static long sockets_connect_udp(void)
{
	struct sockaddr_in a = sockets_loopback((unsigned)atoi(attempt_victim("PORT")));

	return sockets_use(SYS_connect, SOCK_DGRAM, &a, sizeof(a));
}

static long sockets_bind_tcp(void)
{
	struct sockaddr_in a = sockets_loopback(0);

	return sockets_use(SYS_bind, SOCK_STREAM, &a, sizeof(a));
}

static long sockets_connect_unix(const char *path, int type)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return sockets_use(SYS_connect, type, &a, sizeof(a));
}

static long sockets_control(void)
{
	return sockets_connect_unix(attempt_victim("CONTROL"), SOCK_SEQPACKET);
}

static long sockets_own_control(void)
{
	return sockets_connect_unix(attempt_victim("OWN"), SOCK_SEQPACKET);
}

static long sockets_abstract(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *name = attempt_victim("ABSTRACT");

	memcpy(a.sun_path + 1, name, strlen(name));
	return sockets_use(SYS_connect, SOCK_STREAM, &a,
			   offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static long sockets_bind_abstract(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0hostile"};

	return sockets_use(SYS_bind, SOCK_STREAM, &a, sizeof(a));
}

/* clang-format off */
const struct attempt attempts_on_sockets[] = {
	{"a UNIX socket", sockets_unix, 0},
	{"a pair of sockets", sockets_pair, 0},
	{"a TCP socket", sockets_inet, 0},
	{"a UDP socket", sockets_inet6, 0},
	{"a netlink socket", sockets_netlink, 0},
	{"a packet socket", sockets_packet, 0},
	{"a raw socket", sockets_raw, 0},
	{"a vsock socket", sockets_vsock, 0},
	{"connect to a TCP port of the host", sockets_connect_tcp, 0},
	{"connect to a UDP port of the host", sockets_connect_udp, 0},
	{"bind a TCP port", sockets_bind_tcp, 0},
	{"connect to another guest's control socket", sockets_control, 0},
	{"connect to its own control socket", sockets_own_control, 0},
	{"connect to an abstract socket", sockets_abstract, 0},
	{"bind an abstract socket", sockets_bind_abstract, 0},
	{0},
};
/* clang-format on */
