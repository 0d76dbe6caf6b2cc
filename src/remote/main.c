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
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "block/uri.h"
#include "confine/confine.h"
#include "remote/remote.h"

#define MAIN_MEMORY (256 * MIB) /* of its own */

enum { OPT_READONLY = 256, OPT_UID, OPT_HELP };

static const struct option main_options[] = {
	{"readonly", no_argument, NULL, OPT_READONLY},
	{"uid", required_argument, NULL, OPT_UID},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static void main_help(const char *program)
{
	printf("usage: %s [--readonly] [--uid N] NAME\n\n"
	       "Started by posada, with a socket to a process that uses the disk NAME, which is\n"
	       "elsewhere, and can't reach it itself. Ends when that closes the socket.\n",
	       program);
}

static int main_null; /* /dev/null, for the signal's handler: it can't be opened later */

/* Only what is allowed in a signal's handler. */
static void main_on_starter_gone(unused int signal)
{
	int error = errno;

	dup2(main_null, STDOUT_FILENO);
	dup2(main_null, STDERR_FILENO);
	errno = error;
}

/* A disk that was attached stays with its guest; who waits for the end of `posada attach`'s words doesn't. */
static void main_let_go_of_starter(void)
{
	const struct sigaction a = {.sa_handler = main_on_starter_gone, .sa_flags = SA_RESTART};

	main_null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	sigaction(SIGUSR1, &a, NULL);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
}

/* The first process of a pid namespace is deaf to signals that it doesn't handle. */
static void main_on_signal(int signal_number)
{
	_exit(128 + signal_number);
}

/* --- confinement --- */

/* A UNIX socket's rights are its owner's, its group's and everybody's: root without capabilities is nobody special. */
static uid_t main_uid(const struct remote_options *o)
{
	struct stat st;

	if (!o->uri->socket || geteuid())
		return o->uid;
	return stat(o->uri->socket, &st) < 0 ? 0 : st.st_uid;
}

static void main_take_original_files(struct remote_options *o)
{
	o->found.certificates = o->uri->certificates;
	o->found.psk_file = o->uri->psk_file;
}

int remote_confine(struct remote_options *o, enum sandbox_kind kind, struct err *err)
{
	const struct confine_limits limits = {.memory = MAIN_MEMORY, .n_threads = 1};
	struct confine_options c = {.has_network = !o->uri->socket,
				    .has_files = kind == SANDBOX_LIBRARY};
	struct confine_report report;
	int r;

	remote_find(o->uri, &o->found);
	c.readable_file = o->found.socket;
	c.files = o->found.files;
	c.n_files = o->found.n_files;
	c.tcp_port = o->found.tcp_port;
	c.uid = c.has_files ? 0 : main_uid(o);
	r = confine_process(&c, &report, err);
	if (r < 0)
		return r;
	if (!report.has_own_root)
		main_take_original_files(o);
	prctl(PR_SET_PDEATHSIG, SIGUSR1); /* another uid took it back */
	r = kind == SANDBOX_LIBRARY ? 0 : confine_limit(&limits, &report, err);
	if (r == 0)
		r = remote_sandbox_enter(kind, o->uri->socket, err);
	if (r == 0)
		log_info("confined by: seccomp, %s; not by: %s", report.in_force, report.missing);
	return r;
}

/* --- the command line --- */

static int main_parse_uid(const char *text, uid_t *out, struct err *err)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end || v >= UINT32_MAX)
		return err_set(err, -EINVAL, "'%s' is no uid", text);
	*out = (uid_t)v;
	return 0;
}

/* 1: there is nothing more to do. */
static int main_parse_options(int argc, char **argv, const char *program, struct remote_options *o,
			      struct err *err)
{
	int opt, r = 0;

	while (r == 0 && (opt = getopt_long(argc, argv, "", main_options, NULL)) != -1) {
		switch (opt) {
		case OPT_READONLY:
			o->is_readonly = true;
			break;
		case OPT_UID:
			r = main_parse_uid(optarg, &o->uid, err);
			break;
		case OPT_HELP:
			main_help(program);
			return 1;
		default:
			return err_set(err, -EINVAL, "see %s --help", program);
		}
	}
	if (r == 0 && optind + 1 != argc)
		r = err_set(err, -EINVAL, "see %s --help", program);
	return r;
}

int remote_main(int argc, char **argv, const char *program,
		int (*run)(struct remote_options *o, struct err *err))
{
	struct remote_options o = {.sock = 3};
	struct err err = ERR_INIT;
	struct blk_uri uri = {0};
	int r;

	log_setup_env(program);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, main_on_signal);
	signal(SIGINT, main_on_signal);
	main_let_go_of_starter();
	r = main_parse_options(argc, argv, program, &o, &err);
	if (r == 0)
		r = blk_uri_parse(argv[optind], &uri, &err);
	o.uri = &uri;
	if (r == 0)
		r = run(&o, &err);
	if (r < 0)
		log_error("%s", err.text);
	remote_found_fini(&o.found);
	blk_uri_fini(&uri);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
