/*
 * One end of a connection, in the guest or on the host: what vsock.sh has them say to each other.
 *
 *     vsock-peer connect ADDRESS ACTION...
 *     vsock-peer listen ADDRESS COUNT ACTION...     COUNT connections, each in a process of its own
 *     vsock-peer flood ADDRESS COUNT                opens as many, says how many came about
 *
 * An address with a slash is a UNIX socket's path, else a port: of the host for connect, our own for
 * listen. Actions: call:PORT ("CONNECT PORT" and its answer), send:BYTES, check:BYTES (the same that
 * send sends), shut (no more is sent), end (nothing more comes), echo (until the end), wait (for the
 * end of standard input). Says "ok", or what went wrong.
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	printf("failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int make_socket(const char *address, int is_connect)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK,
				 .svm_cid = is_connect ? VMADDR_CID_HOST : VMADDR_CID_ANY};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int is_unix = strchr(address, '/') != NULL;
	const struct sockaddr *a = is_unix ? (void *)&un : (void *)&vm;
	socklen_t size = is_unix ? sizeof(un) : sizeof(vm);
	int fd = socket(is_unix ? AF_UNIX : AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	vm.svm_port = (unsigned)strtoul(address, NULL, 10);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", address);
	if (is_connect ? connect(fd, a, size) < 0 : bind(fd, a, size) < 0 || listen(fd, 64) < 0) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* The same bytes on both sides, no two blocks alike. */
static void fill(uint64_t *state, uint64_t *block, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*state ^= *state << 13;
		*state ^= *state >> 7;
		*state ^= *state << 17;
		block[i] = *state;
	}
}

static void put(int fd, const void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);

		if (n < 0)
			die("send");
		done += (size_t)n;
	}
}

static void get(int fd, void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = recv(fd, (char *)data + done, size - done, 0);

		if (n <= 0) {
			errno = n ? errno : EPIPE;
			die("receive");
		}
		done += (size_t)n;
	}
}

static void send_or_check(int fd, size_t size, int is_check)
{
	static uint64_t wanted[8192], got[8192];
	uint64_t state = 88172645463325252u;

	for (size_t done = 0, part; done < size; done += part) {
		part = size - done < sizeof(wanted) ? size - done : sizeof(wanted);
		fill(&state, wanted, (part + 7) / 8);
		if (!is_check) {
			put(fd, wanted, part);
			continue;
		}
		get(fd, got, part);
		if (memcmp(got, wanted, part)) {
			printf("failed: other bytes between %zu and %zu\n", done, done + part);
			exit(1);
		}
	}
}

static void call(int fd, const char *port)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "CONNECT %s\n", port);

	put(fd, line, (size_t)n);
	n = 0;
	do
		get(fd, &line[n], 1);
	while (line[n++] != '\n' && n < 60);
	line[n] = '\0';
	if (strncmp(line, "OK ", 3)) {
		printf("failed: answer %s\n", line);
		exit(1);
	}
}

static void echo(int fd)
{
	static char data[65536];
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), 0)) > 0)
		put(fd, data, (size_t)n);
}

static void act(int fd, const char *action)
{
	const char *value = strchr(action, ':');
	char c;

	if (!strncmp(action, "call:", 5))
		call(fd, value + 1);
	else if (!strncmp(action, "send:", 5) || !strncmp(action, "check:", 6))
		send_or_check(fd, strtoul(value + 1, NULL, 10), action[0] == 'c');
	else if (!strcmp(action, "shut"))
		shutdown(fd, SHUT_WR);
	else if (!strcmp(action, "end") && recv(fd, &c, 1, 0) != 0)
		die("there is more, or no end");
	else if (!strcmp(action, "echo"))
		echo(fd);
	else if (!strcmp(action, "wait"))
		while (read(0, &c, 1) > 0)
			;
}

static void act_all(int fd, char **actions)
{
	for (; *actions; actions++)
		act(fd, *actions);
	puts("ok");
	fflush(stdout);
}

static void serve(const char *address, int count, char **actions)
{
	int fd = make_socket(address, 0), status, failed = 0;

	if (fd < 0)
		die("listen");
	puts("listening");
	fflush(stdout);
	for (int i = 0; i < count; i++) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			die("accept");
		if (fork() == 0) {
			close(fd);
			act_all(c, actions);
			exit(0);
		}
		close(c);
	}
	while (wait(&status) > 0)
		failed |= status;
	exit(failed != 0);
}

static void flood(const char *address, int count)
{
	int *fds = calloc((size_t)count, sizeof(int)), n = 0;

	while (n < count && (fds[n] = make_socket(address, 1)) >= 0)
		n++;
	printf("flood: %d\n", n);
	while (n)
		close(fds[--n]);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc > 3 && !strcmp(argv[1], "listen")) {
		serve(argv[2], atoi(argv[3]), argv + 4);
	} else if (argc > 3 && !strcmp(argv[1], "flood")) {
		flood(argv[2], atoi(argv[3]));
	} else if (argc > 2 && !strcmp(argv[1], "connect")) {
		fd = make_socket(argv[2], 1);
		if (fd < 0)
			die("connect");
		act_all(fd, argv + 3);
	}
	return 0;
}
