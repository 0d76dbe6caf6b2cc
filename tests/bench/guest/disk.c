/*
 * disk DEVICE: 4 KiB requests of a block device, one at a time, past the page cache.
 *
 * Four phases, each between two lines for the host, which takes the times: reads in order, reads at
 * random, writes in order, writes at random. The random numbers are the same in every run.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#define BLOCK    4096u
#define REQUESTS 2000u

static unsigned long long random_state = 88172645463325252ull;

/* Marsaglia's xorshift64. */
static unsigned long long random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int run_phase(const char *name, int fd, char *block, unsigned long long n_blocks,
		     int is_write, int is_random)
{
	printf("bench: begin %s\n", name);
	for (unsigned i = 0; i < REQUESTS; i++) {
		unsigned long long at = (is_random ? random_next() : i) % n_blocks;
		off_t offset = (off_t)(at * BLOCK);
		ssize_t n = is_write ? pwrite(fd, block, BLOCK, offset)
				     : pread(fd, block, BLOCK, offset);

		if (n != BLOCK) {
			printf("bench: failed %s: request %u: %m\n", name, i);
			return -1;
		}
	}
	printf("bench: end %s %u\n", name, REQUESTS);
	return 0;
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
	char *block = aligned_alloc(BLOCK, BLOCK);
	unsigned long long size = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fd < 0 || !block || ioctl(fd, BLKGETSIZE64, &size) < 0 || size < BLOCK) {
		printf("bench: failed disk: cannot open the device: %m\n");
		return 1;
	}
	memset(block, 0x5a, BLOCK);
	return run_phase("disk-read-seq", fd, block, size / BLOCK, 0, 0) < 0 ||
	       run_phase("disk-read-random", fd, block, size / BLOCK, 0, 1) < 0 ||
	       run_phase("disk-write-seq", fd, block, size / BLOCK, 1, 0) < 0 ||
	       run_phase("disk-write-random", fd, block, size / BLOCK, 1, 1) < 0;
}
