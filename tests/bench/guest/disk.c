/*
 * disk DEVICE [CPUS]: requests of a block device, past the page cache, of 4 KiB unless it says more.
 *
 * Without CPUS one at a time, in six phases: reads in order, reads at random, writes in order, writes
 * at random, reads and writes of 256 KiB in order. With CPUS in two, reads and writes at random, of so
 * many CPUs at once with a few threads bound to each. A phase is between two lines for the host, which
 * takes the times. The random numbers are the same in every run.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#define BLOCK    4096u
#define REQUESTS 2000u
#define LARGE    (256u << 10)
#define N_LARGE  512u
#define MAX_CPUS 8u
#define DEPTH    4u /* threads of a CPU, hence its requests under way */

/* Who makes requests: a thread, or the whole program. */
struct client {
	pthread_t thread;
	unsigned cpu;
	int fd;
	int is_write, is_random;
	unsigned bytes, count; /* of a request; requests */
	unsigned long long n_blocks;
	unsigned long long random_state;
	char *block;
};

/* Marsaglia's xorshift64. */
static unsigned long long random_next(unsigned long long *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int client_init(struct client *client, int fd, unsigned long long n_blocks, unsigned number)
{
	*client = (struct client){
		.cpu = number / DEPTH,
		.fd = fd,
		.bytes = BLOCK,
		.count = REQUESTS,
		.n_blocks = n_blocks,
		.random_state = 88172645463325252ull + number,
		.block = aligned_alloc(BLOCK, LARGE),
	};
	if (!client->block)
		return -1;
	memset(client->block, 0x5a, LARGE);
	return 0;
}

static int make_requests(struct client *client)
{
	unsigned long long n_places = client->n_blocks / (client->bytes / BLOCK);

	for (unsigned i = 0; i < client->count; i++) {
		unsigned long long at = client->is_random ? random_next(&client->random_state) : i;
		off_t offset = (off_t)(at % n_places * client->bytes);
		ssize_t n = client->is_write
				    ? pwrite(client->fd, client->block, client->bytes, offset)
				    : pread(client->fd, client->block, client->bytes, offset);

		if (n != (ssize_t)client->bytes) {
			printf("bench: failed disk: request %u: %m\n", i);
			return -1;
		}
	}
	return 0;
}

static int run_phase(const char *name, struct client *client, int is_write, int is_random)
{
	client->is_write = is_write;
	client->is_random = is_random;
	printf("bench: begin %s\n", name);
	if (make_requests(client) < 0)
		return -1;
	printf("bench: end %s %u\n", name, client->count);
	return 0;
}

static int run_alone(int fd, unsigned long long n_blocks)
{
	struct client client;

	if (client_init(&client, fd, n_blocks, 0) < 0)
		return -1;
	if (run_phase("disk-read-seq", &client, 0, 0) < 0 ||
	    run_phase("disk-read-random", &client, 0, 1) < 0 ||
	    run_phase("disk-write-seq", &client, 1, 0) < 0 ||
	    run_phase("disk-write-random", &client, 1, 1) < 0)
		return -1;
	client.bytes = LARGE;
	client.count = N_LARGE;
	if (run_phase("disk-read-large", &client, 0, 0) < 0 ||
	    run_phase("disk-write-large", &client, 1, 0) < 0)
		return -1;
	return 0;
}

/* A thread that cannot be bound or whose request fails ends the program: the phase has no end line. */
static void *client_thread(void *opaque)
{
	struct client *client = opaque;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(client->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0) {
		printf("bench: failed disk: CPU %u: %m\n", client->cpu);
		exit(1);
	}
	if (make_requests(client) < 0)
		exit(1);
	return NULL;
}

static int run_phase_at_once(const char *name, struct client *clients, unsigned n, int is_write)
{
	printf("bench: begin %s\n", name);
	for (unsigned i = 0; i < n; i++) {
		clients[i].is_write = is_write;
		clients[i].is_random = 1;
		if (pthread_create(&clients[i].thread, NULL, client_thread, &clients[i]) != 0) {
			printf("bench: failed %s: no thread\n", name);
			return -1;
		}
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(clients[i].thread, NULL);
	printf("bench: end %s %u\n", name, n * REQUESTS);
	return 0;
}

static int run_at_once(int fd, unsigned long long n_blocks, unsigned cpus)
{
	static struct client clients[MAX_CPUS * DEPTH];
	unsigned n = cpus * DEPTH;

	for (unsigned i = 0; i < n; i++) {
		if (client_init(&clients[i], fd, n_blocks, i) < 0)
			return -1;
	}
	if (run_phase_at_once("disk-read-cpus", clients, n, 0) < 0 ||
	    run_phase_at_once("disk-write-cpus", clients, n, 1) < 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	int fd = argc >= 2 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
	unsigned long cpus = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned long long size = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fd < 0 || cpus > MAX_CPUS || ioctl(fd, BLKGETSIZE64, &size) < 0 || size < LARGE) {
		printf("bench: failed disk: cannot open the device: %m\n");
		return 1;
	}
	return cpus ? run_at_once(fd, size / BLOCK, (unsigned)cpus) < 0
		    : run_alone(fd, size / BLOCK) < 0;
}
