/*
 * nbd-client URI PHASE...: requests to an NBD server, in phases. A phase is
 *
 *     NAME,read|write,BYTES,STEP,DEPTH,COUNT
 *
 * COUNT requests of BYTES, DEPTH of them at a time. With STEP 0 one behind the other; else each is at some
 * multiple of STEP, and all multiples have their turn before one comes again. Before a phase it writes
 * "begin NAME" and waits for a line, so that its starter can look at the server's CPU time; after it,
 * "end NAME NANOSECONDS", and waits again.
 */
#include <libnbd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_BYTES (1u << 20)
#define MAX_DEPTH 64u
#define SPREAD    40503u /* a prime: multiples of it, modulo what it doesn't divide, go everywhere */

struct phase {
	char name[40], op[8];
	unsigned bytes, depth;
	uint64_t step, count;
};

struct run {
	struct nbd_handle *nbd;
	const struct phase *phase;
	uint64_t size, started, ended;
	char *free[MAX_DEPTH]; /* buffers without a request */
	unsigned n_free;
};

struct request {
	struct run *run;
	char *buf;
};

static void die(const char *what)
{
	fprintf(stderr, "nbd-client: %s: %s\n", what, nbd_get_error() ? nbd_get_error() : "");
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t offset_of(const struct run *r, uint64_t i)
{
	const struct phase *p = r->phase;

	if (!p->step)
		return i % (r->size / p->bytes) * p->bytes;
	return i * SPREAD % (r->size / p->step) * p->step;
}

static int on_done(void *user_data, int *error)
{
	struct request *q = user_data;

	if (*error)
		die("a request failed");
	q->run->free[q->run->n_free++] = q->buf;
	q->run->ended++;
	free(q);
	return 1;
}

static void start(struct run *r)
{
	const struct phase *p = r->phase;
	struct request *q = malloc(sizeof(*q));
	nbd_completion_callback done = {.callback = on_done, .user_data = q};
	uint64_t at = offset_of(r, r->started++);
	int64_t n;

	if (!q)
		die("no memory");
	*q = (struct request){r, r->free[--r->n_free]};
	n = p->op[0] == 'w' ? nbd_aio_pwrite(r->nbd, q->buf, p->bytes, at, done, 0)
			    : nbd_aio_pread(r->nbd, q->buf, p->bytes, at, done, 0);
	if (n < 0)
		die("cannot send");
}

static void wait_for_line(void)
{
	int c;

	fflush(stdout);
	do
		c = getchar();
	while (c != '\n' && c != EOF);
	if (c == EOF)
		exit(1);
}

static void run_phase(struct run *r)
{
	const struct phase *p = r->phase;
	uint64_t began;

	printf("begin %s\n", p->name);
	wait_for_line();
	r->started = r->ended = 0;
	began = now_ns();
	while (r->ended < p->count) {
		while (r->started < p->count && r->started - r->ended < p->depth)
			start(r);
		if (nbd_poll(r->nbd, -1) < 0)
			die("cannot wait");
	}
	printf("end %s %lu\n", p->name, now_ns() - began);
	wait_for_line();
}

static void parse(const char *text, uint64_t size, struct phase *out)
{
	if (sscanf(text, "%39[^,],%7[^,],%u,%lu,%u,%lu", out->name, out->op, &out->bytes,
		   &out->step, &out->depth, &out->count) != 6 ||
	    !out->bytes || out->bytes > MAX_BYTES || !out->depth || out->depth > MAX_DEPTH ||
	    out->bytes > size || out->step > size) {
		fprintf(stderr, "nbd-client: phase '%s'\n", text);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct run r = {.nbd = nbd_create()};

	if (argc < 3 || !r.nbd || nbd_connect_uri(r.nbd, argv[1]) < 0)
		die("cannot connect");
	r.size = (uint64_t)nbd_get_size(r.nbd);
	for (; r.n_free < MAX_DEPTH; r.n_free++) {
		r.free[r.n_free] = aligned_alloc(4096, MAX_BYTES);
		if (!r.free[r.n_free])
			die("no memory");
		memset(r.free[r.n_free], 0x5a, MAX_BYTES);
	}
	for (int i = 2; i < argc; i++) {
		struct phase p;

		parse(argv[i], r.size, &p);
		r.phase = &p;
		run_phase(&r);
	}
	nbd_shutdown(r.nbd, 0);
	nbd_close(r.nbd);
	return 0;
}
