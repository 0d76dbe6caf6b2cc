/*
 * What posada-nbd and posada-rbd have in common.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "block/uri.h"
#include "remote/remote.h"

enum { OPT_READONLY = 256, OPT_HELP };

static const struct option main_options[] = {
	{"readonly", no_argument, NULL, OPT_READONLY},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static void main_help(const char *program)
{
	printf("usage: %s [--readonly] NAME\n\n"
	       "Started by posada, with a socket to a process that uses the disk NAME, which is\n"
	       "elsewhere, and can't reach it itself. Ends when that closes the socket.\n",
	       program);
}

/* Nothing that is started from here gets more rights; nobody looks into it. */
static int main_lock_in(struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot give up rights");
	return 0;
}

/* Only what is allowed in a signal's handler. */
static void main_on_starter_gone(unused int signal)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), error = errno;

	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	errno = error;
}

/* A disk that was attached stays with its guest; who waits for the end of `posada attach`'s words doesn't. */
static void main_let_go_of_starter(void)
{
	const struct sigaction a = {.sa_handler = main_on_starter_gone, .sa_flags = SA_RESTART};

	sigaction(SIGUSR1, &a, NULL);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
}

int remote_main(int argc, char **argv, const char *program,
		int (*run)(const struct remote_options *o, struct err *err))
{
	struct remote_options o = {.sock = 3};
	struct err err = ERR_INIT;
	struct blk_uri uri = {0};
	int opt, r = 0;

	log_setup_env(program);
	signal(SIGPIPE, SIG_IGN);
	main_let_go_of_starter();
	while ((opt = getopt_long(argc, argv, "", main_options, NULL)) != -1) {
		if (opt == OPT_HELP) {
			main_help(program);
			return EXIT_SUCCESS;
		}
		if (opt != OPT_READONLY)
			return EXIT_FAILURE;
		o.is_readonly = true;
	}
	if (optind + 1 != argc)
		r = err_set(&err, -EINVAL, "see %s --help", program);
	if (r == 0)
		r = main_lock_in(&err);
	if (r == 0)
		r = blk_uri_parse(argv[optind], &uri, &err);
	o.uri = &uri;
	if (r == 0)
		r = run(&o, &err);
	if (r < 0)
		log_error("%s", err.text);
	blk_uri_fini(&uri);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
