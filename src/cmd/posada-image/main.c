/*
 * posada-image: works on disk images for `posada image` and `posada run`, in a process that can open
 * nothing.
 *
 * The launcher starts it with a socket, over which it sends what is to be done, and descriptors of the
 * images (image/helper/helper.h). It serves one request and ends.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/work.h"
#include "confine/confine.h"
#include "crypt/crypt.h"
#include "image/helper/helper.h"
#include "image/helper/sandbox.h"

#define OWN_MEMORY (2 * GIB) /* metadata of long chains, stacks, what is in flight */
#define MAX_TASKS  512       /* the threads that io_uring makes are counted as well */
#define MAX_WORK   16        /* threads for compression */
#define RINGS_NOW  2

static const char help[] =
	"usage: posada-image [--fd N] [--uid N]\n"
	"\n"
	"Serves one request about disk images for posada, confined.\n"
	"\n"
	"  --fd N   the SOCK_SEQPACKET socket to the launcher (default 3)\n"
	"  --uid N  for root: the uid and gid to go on with, that no other process "
	"has\n";

struct options {
	int fd;
	uid_t uid;
};

enum { OPT_FD = 256, OPT_UID, OPT_HELP };

static const struct option option_table[] = {
	{"fd", required_argument, NULL, OPT_FD},
	{"uid", required_argument, NULL, OPT_UID},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static int parse_number(const char *text, unsigned long max, unsigned long *out, struct err *err)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end || v > max)
		return err_set(err, -EINVAL, "'%s' is not expected", text);
	*out = v;
	return 0;
}

/* 1: there is nothing more to do. */
static int parse_options(int argc, char **argv, struct options *o, struct err *err)
{
	unsigned long n = 0;
	int opt, r = 0;

	while (r == 0 && (opt = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
		switch (opt) {
		case OPT_FD:
			r = parse_number(optarg, 65535, &n, err);
			o->fd = (int)n;
			break;
		case OPT_UID:
			r = parse_number(optarg, UINT32_MAX - 1, &n, err);
			o->uid = (uid_t)n;
			break;
		case OPT_HELP:
			fputs(help, stdout);
			return 1;
		default:
			return err_set(err, -EINVAL, "see posada-image --help");
		}
	}
	if (r == 0 && optind < argc)
		return err_set(err, -EINVAL, "'%s' is not expected", argv[optind]);
	return r;
}

static unsigned count_workers(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return (unsigned)MIN(MAX(n, 1), MAX_WORK);
}

/* Threads are made after the namespaces, which a process with several can't enter, and before the filter. */
static int run(const struct options *o, struct err *err)
{
	const struct confine_options confinement = {.uid = o->uid, .is_bound_to_parent = true};
	const struct confine_limits limits = {.memory = OWN_MEMORY, .n_threads = MAX_TASKS};
	const struct blk_raw_options io = {.has_shared_ring = true};
	AUTO(loop_free) struct loop *loop = NULL;
	AUTO(blk_engines_free) struct blk_engines *engines = NULL;
	AUTO(work_pool_free) struct work_pool *workers = NULL;
	struct confine_report report;
	int r = crypt_init(err);

	if (r == 0)
		r = confine_process(&confinement, &report, err);

	if (r == 0)
		r = loop_new(&loop, err);
	if (r == 0)
		r = blk_engines_new(loop, RINGS_NOW, HELPER_MAX_FILES, &io, &engines, err);
	if (r == 0)
		r = work_pool_new(loop, count_workers(), NULL, NULL, &workers, err);
	if (r == 0)
		r = confine_limit(&limits, &report, err);
	if (r == 0)
		r = image_sandbox_enter(err);
	if (r == 0)
		log_info("confined by: seccomp, %s; not by: %s", report.in_force, report.missing);
	return r < 0 ? r : helper_serve(o->fd, loop, engines, workers, err);
}

/* The first process of a pid namespace is deaf to signals that it doesn't handle. */
static void on_signal(int signal_number)
{
	_exit(128 + signal_number);
}

int main(int argc, char **argv)
{
	struct options o = {.fd = 3};
	struct err err = ERR_INIT;
	int r;

	log_setup_env("image");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	r = parse_options(argc, argv, &o, &err);
	if (r == 0)
		r = run(&o, &err);
	if (r < 0)
		log_error("%s", err.text);
	/* At once: what a sanitizer would do at an exit, it can't do in here. */
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
