/*
 * net ADDRESS PORT: a download and an upload over TCP.
 *
 * The peer (tests/bench/net.py) is sent a direction, 'd' or 'u', and sends or takes NET_BYTES. An
 * upload ends with a byte from the peer, which has then got it all. Each stands between two lines for the
 * host, which takes the times.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NET_BYTES (16u * 1024 * 1024)

static char buffer[64 * 1024];

static int open_peer(const char *address, const char *port, char direction)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((unsigned short)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, address, &to.sin_addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    write(fd, &direction, 1) != 1) {
		printf("bench: failed net: cannot reach %s port %s: %m\n", address, port);
		return -1;
	}
	return fd;
}

static int download(int fd)
{
	unsigned got = 0;

	while (got < NET_BYTES) {
		ssize_t n = read(fd, buffer, sizeof(buffer));

		if (n <= 0)
			return -1;
		got += (unsigned)n;
	}
	return 0;
}

static int upload(int fd)
{
	unsigned left = NET_BYTES;

	while (left) {
		ssize_t n = write(fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer));

		if (n <= 0)
			return -1;
		left -= (unsigned)n;
	}
	return read(fd, buffer, 1) == 1 ? 0 : -1;
}

static int run_phase(const char *name, char direction, char **argv)
{
	int fd = open_peer(argv[1], argv[2], direction), r;

	if (fd < 0)
		return -1;
	printf("bench: begin %s\n", name);
	r = direction == 'd' ? download(fd) : upload(fd);
	if (r < 0)
		printf("bench: failed %s: %m\n", name);
	else
		printf("bench: end %s %u\n", name, NET_BYTES);
	close(fd);
	return r;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 3)
		return 1;
	return run_phase("net-download", 'd', argv) < 0 || run_phase("net-upload", 'u', argv) < 0;
}
