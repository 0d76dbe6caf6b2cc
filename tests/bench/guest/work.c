/*
 * work NAME COUNT [THREADS]: one of the small programs of ./bench soft (work.h), in several threads at
 * once when they are asked for. Its result goes to standard output.
 *
 * work text MIB: as much text of words, for programs that read some.
 */
#include "work.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 16

static const struct work *const families[] = {work_int, work_float, work_memory, work_kernel};

struct job {
	pthread_t thread;
	work_fn *run;
	unsigned count;
	uint64_t result;
};

void work_fail(const char *why)
{
	perror(why);
	exit(1);
}

static work_fn *find(const char *name)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		for (const struct work *work = families[i]; work->name; work++) {
			if (!strcmp(work->name, name))
				return work->run;
		}
	}
	return NULL;
}

static void *job_thread(void *opaque)
{
	struct job *job = opaque;

	job->result = job->run(job->count);
	return NULL;
}

static uint64_t run_at_once(work_fn *run, unsigned count, unsigned threads)
{
	struct job jobs[MAX_THREADS];
	uint64_t sum = 0;

	for (unsigned i = 0; i < threads; i++) {
		jobs[i] = (struct job){.run = run, .count = count};
		if (pthread_create(&jobs[i].thread, NULL, job_thread, &jobs[i]) != 0)
			work_fail("thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(jobs[i].thread, NULL);
		sum = sum * 31 + jobs[i].result;
	}
	return sum;
}

static int write_text(unsigned mib)
{
	uint64_t state = WORK_SEED;
	size_t left = (size_t)mib << 20;

	while (left) {
		uint64_t random = work_random(&state);
		unsigned rank = (unsigned)(random % 4096 * (random >> 32 & 4095) >> 12);
		char word[32];
		size_t n = (size_t)snprintf(word, sizeof(word), "%s%x%c", rank & 1 ? "re" : "",
					    rank * 2654435761u >> 12, random >> 60 ? ' ' : '\n');

		n = n < left ? n : left;
		fwrite(word, 1, n, stdout);
		left -= n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	unsigned threads = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	work_fn *run = argc > 2 ? find(argv[1]) : NULL;

	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc == 3 && !strcmp(argv[1], "text"))
		return write_text(count);
	if (!run || threads > MAX_THREADS)
		return 1;
	printf("%016lx\n", threads ? run_at_once(run, count, threads) : run(count));
	return 0;
}
