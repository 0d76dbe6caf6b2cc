/*
 * net ADDRESS PORT N: a download and an upload over N TCP connections at once.
 *
 * The peer (tests/bench/net.py) is sent a direction, 'd' or 'u', and a number of MiB, and sends or takes
 * as many; they are NET_MIB in all. An upload ends with a byte from the peer, which has then got it all.
 * Each stands between two lines for the host, which takes the times.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NET_MIB 16u
#define MIB     (1024u * 1024)

static char buffer[64 * 1024];

static int open_peer(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((unsigned short)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, address, &to.sin_addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		printf("bench: failed net: cannot reach %s port %s: %m\n", address, port);
		return -1;
	}
	return fd;
}

static int download(int fd, unsigned left)
{
	while (left) {
		ssize_t n = read(fd, buffer, sizeof(buffer));

		if (n <= 0)
			return -1;
		left -= (unsigned)n;
	}
	return 0;
}

static int upload(int fd, unsigned left)
{
	while (left) {
		ssize_t n = write(fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer));

		if (n <= 0)
			return -1;
		left -= (unsigned)n;
	}
	return read(fd, buffer, 1) == 1 ? 0 : -1;
}

/* One connection's part, in a process of its own. */
static void start_part(char direction, unsigned mib, int fd)
{
	const char order[2] = {direction, (char)mib};
	int r;

	if (fork() != 0)
		return;
	r = write(fd, order, sizeof(order)) == sizeof(order) ? 0 : -1;
	if (!r)
		r = direction == 'd' ? download(fd, mib * MIB) : upload(fd, mib * MIB);
	_exit(r < 0);
}

static int run_phase(const char *name, char direction, char **argv)
{
	unsigned n = (unsigned)atoi(argv[3]);
	int fds[8], status, r = 0;

	for (unsigned i = 0; i < n; i++) {
		fds[i] = open_peer(argv[1], argv[2]);
		if (fds[i] < 0)
			return -1;
	}
	printf("bench: begin %s\n", name);
	for (unsigned i = 0; i < n; i++) {
		start_part(direction, NET_MIB / n, fds[i]);
		close(fds[i]);
	}
	while (wait(&status) > 0)
		r |= status;
	if (r)
		printf("bench: failed %s\n", name);
	else
		printf("bench: end %s %u\n", name, NET_MIB * MIB);
	return r ? -1 : 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4)
		return 1;
	return run_phase("net-download", 'd', argv) < 0 || run_phase("net-upload", 'u', argv) < 0;
}
