/*
 * In the guest of power.sh: writes to a disk as fast as it goes, and says what was flushed.
 *
 * The n-th write goes to blocks that follow from n alone, and each 8 bytes of it are n; so who has the disk and the
 * last number that was flushed knows what has to be there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK  4096
#define BLOCKS 4 /* of a write, at most */

static uint64_t mix(uint64_t n)
{
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
	n = (n ^ n >> 27) * 0x94d049bb133111eb;
	return n ^ n >> 31;
}

int main(int argc, char **argv)
{
	static uint64_t data[BLOCKS * BLOCK / 8] __attribute__((aligned(BLOCK)));
	int fd = open(argv[1], O_RDWR | O_DIRECT);
	uint64_t blocks = argc > 2 ? strtoull(argv[2], NULL, 0) / BLOCK : 0;

	if (fd < 0 || blocks < BLOCKS)
		return 1;
	for (uint64_t n = 1;; n++) {
		uint64_t first = mix(n) % (blocks - BLOCKS), count = 1 + mix(n) / 7 % BLOCKS;

		for (uint64_t i = 0; i < count * BLOCK / 8; i++)
			data[i] = n;
		if (pwrite(fd, data, count * BLOCK, (off_t)(first * BLOCK)) !=
		    (ssize_t)(count * BLOCK))
			return 2;
		if (n % 16)
			continue;
		if (fdatasync(fd) < 0)
			return 3;
		printf("t: flushed %lu\n", n);
		fflush(stdout);
	}
}
