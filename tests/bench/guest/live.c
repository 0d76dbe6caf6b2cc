/*
 * live tick MIB | live plug | live free MIB: what a guest does while its host does something to it.
 *
 * tick: fills MIB of memory with what doesn't compress, then writes a line every few milliseconds, so
 * that the host sees when the guest stands and when it goes on. plug: a line for each disk that comes
 * or goes. free: takes MIB, fills them, gives them back.
 */
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 2000000

static void *fill(size_t size)
{
	uint64_t *words =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t x = 88172645463325252u;

	if (words == MAP_FAILED) {
		printf("bench: failed: no memory\n");
		exit(1);
	}
	for (size_t i = 0; i < size / sizeof(*words); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
	return words;
}

static int tick(size_t size)
{
	const struct timespec pause = {.tv_nsec = TICK_NS};
	volatile uint8_t *memory = fill(size);

	printf("bench: filled\n");
	for (unsigned i = 0;; i++) {
		memory[(size_t)i * 4096 % size]++;
		printf("tick %u\n", i);
		nanosleep(&pause, NULL);
	}
}

/* Uevents are texts: "add@/devices/.../block/vdb". */
static int plug(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
	char text[8192];

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		printf("bench: failed: no uevents: %m\n");
		return 1;
	}
	printf("bench: watching\n");
	for (;;) {
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		if (n <= 0)
			return 1;
		text[n] = '\0';
		if (strstr(text, "/block/"))
			printf("bench: %.*s\n", (int)(strchr(text, '@') - text), text);
	}
}

static int free_again(size_t size)
{
	void *memory = fill(size);

	printf("bench: filled\n");
	munmap(memory, size);
	printf("bench: freed\n");
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	size_t size = argc > 2 ? (size_t)atoi(argv[2]) << 20 : 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "tick"))
		return tick(size);
	if (argc == 2 && !strcmp(argv[1], "plug"))
		return plug();
	if (argc == 3 && !strcmp(argv[1], "free"))
		return free_again(size);
	return 1;
}
