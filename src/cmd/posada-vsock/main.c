/*
 * posada-vsock: makes the connections between a guest's sockets and the host's, in a process of its
 * own.
 *
 * The launcher starts it with one end of a socket pair, whose other end is the guest process's, and
 * with the sockets to accept at. It lives as long as the guest process does.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "confine/confine.h"
#include "vsock/helper/sandbox.h"
#include "vsock/helper/switchboard.h"

static const char help[] =
	"usage: posada-vsock --path PATH [--fd N] [--ready-fd N] [--listen N]...\n"
	"                    [--name NAME]\n"
	"\n"
	"Connections of one guest's AF_VSOCK sockets. Connections of the guest to port P of the "
	"host\n"
	"go to the UNIX socket PATH_P. Who connects to a socket that is listened to and says\n"
	"\"CONNECT P\\n\" is led to the guest's port P.\n"
	"\n"
	"  --fd N        the SOCK_SEQPACKET socket to the guest process (default 3)\n"
	"  --ready-fd N  write an empty line to this descriptor once everything stands, or else a\n"
	"                sentence that says why not; and close it\n"
	"  --listen N    a listening UNIX stream socket\n"
	"  --name NAME   the guest's name, for messages\n"
	"\n"
	"Ends with status 0 when the guest process closes its socket.\n";

struct options {
	struct switchboard_options board;
	int ready_fd;
};

enum { OPT_FD = 256, OPT_READY_FD, OPT_LISTEN, OPT_NAME, OPT_PATH, OPT_HELP };

static const struct option option_table[] = {
	{"fd", required_argument, NULL, OPT_FD},
	{"ready-fd", required_argument, NULL, OPT_READY_FD},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"name", required_argument, NULL, OPT_NAME},
	{"path", required_argument, NULL, OPT_PATH},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static int parse_fd(const char *text, int *out, struct err *err)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (end == text || *end || v < 0 || v > 65535)
		return err_set(err, -EINVAL, "'%s' is no descriptor", text);
	*out = (int)v;
	return 0;
}

static int parse_listen(const char *text, struct switchboard_options *b, struct err *err)
{
	if (b->n_listeners == SWITCHBOARD_MAX_LISTENERS)
		return err_set(err, -EINVAL, "more than %d sockets to listen to",
			       SWITCHBOARD_MAX_LISTENERS);
	return parse_fd(text, &b->listeners[b->n_listeners++], err);
}

/* 1: there is nothing more to do. */
static int parse_options(int argc, char **argv, struct options *o, struct err *err)
{
	int opt, r = 0;

	while (r == 0 && (opt = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
		switch (opt) {
		case OPT_FD:
			r = parse_fd(optarg, &o->board.fd, err);
			break;
		case OPT_READY_FD:
			r = parse_fd(optarg, &o->ready_fd, err);
			break;
		case OPT_LISTEN:
			r = parse_listen(optarg, &o->board, err);
			break;
		case OPT_NAME:
			log_setup_env(optarg);
			break;
		case OPT_PATH:
			o->board.path = optarg;
			break;
		case OPT_HELP:
			fputs(help, stdout);
			return 1;
		default:
			return err_set(err, -EINVAL, "see posada-vsock --help");
		}
	}
	if (r == 0 && (optind < argc || !o->board.path))
		return err_set(err, -EINVAL, "see posada-vsock --help");
	return r;
}

/* One line: empty, or what went wrong; to whoever waits for us, or else to stderr. */
static void report(struct options *o, const char *text)
{
	int fd = fd_take(o->ready_fd);

	if ((fd < 0 || fd_write_full(fd, text, strlen(text)) < 0 ||
	     fd_write_full(fd, "\n", 1) < 0) &&
	    text[0])
		log_error("%s", text);
	fd_close(fd);
}

/* The first process of a pid namespace is deaf to signals that it doesn't handle. */
static void on_signal(int signal_number)
{
	_exit(128 + signal_number);
}

/* Only the socket's directory keeps a name: there the programs listen that the guest may reach. */
static int run(struct options *o, struct err *err)
{
	const struct confine_options confinement = {.readable_file = o->board.path};
	AUTO(loop_free) struct loop *loop = NULL;
	struct confine_report confined;
	struct switchboard *s = NULL;
	int r = loop_new(&loop, err);

	o->board.patience_ns = SWITCHBOARD_PATIENCE_NS;
	if (r == 0)
		r = switchboard_new(loop, &o->board, &s, err);
	if (r == 0)
		r = confine_process(&confinement, &confined, err);
	if (r == 0)
		r = vsock_sandbox_enter(err);
	if (r == 0) {
		log_info("confined by: seccomp, %s; not by: %s", confined.in_force,
			 confined.missing);
		report(o, "");
		loop_run(loop);
	}
	switchboard_free(s);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = {.board.fd = 3, .ready_fd = -1};
	struct err err = ERR_INIT;
	int r;

	log_setup_env("vsock");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	r = parse_options(argc, argv, &o, &err);
	if (r == 0)
		r = run(&o, &err);
	if (r < 0)
		report(&o, err.text);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
