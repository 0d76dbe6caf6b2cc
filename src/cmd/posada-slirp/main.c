/*
 * posada-slirp: one guest's user-mode network, in a process of its own.
 *
 * The launcher starts it with the one end of a stream socket pair, whose other end is the guest
 * process's network card. It lives as long as the peer does.
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
#include "confine/confine.h"
#include "net/slirp/forward.h"
#include "net/slirp/sandbox.h"
#include "net/slirp/usernet.h"

#define MAX_FORWARDS 256
#define OWN_MEMORY   (256 * MIB) /* sockets' buffers, mostly */

static const char help[] =
	"usage: posada-slirp [--fd N] [--ready-fd N] [--forward tcp:[ADDR:]HOSTPORT:GUESTPORT]...\n"
	"                    [--host on|off] [--mtu N] [--uid N] [--name NAME] [--stay]\n"
	"\n"
	"User-mode network of one guest: 10.0.2.0/24 and fec0::/64, with DHCP, DNS and NAT.\n"
	"\n"
	"  --fd N        the stream socket to the guest's network card (default 3): each frame\n"
	"                behind its length, 32 bits, big-endian\n"
	"  --ready-fd N  write an empty line to this descriptor once everything stands, or else a\n"
	"                sentence that says why not; and close it\n"
	"  --forward F   forward a port of the host to the guest; udp: as well; ADDR is the "
	"host's\n"
	"                address to listen on (default 127.0.0.1)\n"
	"  --host on     let the guest reach the host's loopback services, at 10.0.2.2\n"
	"                (default off)\n"
	"  --mtu N       the longest packet, 68 to 65521 (default 1500); the guest must know it\n"
	"  --stay        don't end with the process that started this one\n"
	"  --uid N       for root: the uid and gid to go on with, that no other process has\n"
	"  --name NAME   the guest's name, for messages\n"
	"\n"
	"Ends with status 0 when the peer closes the stream, else with 1 and a sentence on "
	"stderr.\n"
	"POSADA_LOG=error|warning|info|debug says less or more.\n";

struct options {
	struct usernet_options net;
	struct forward forwards[MAX_FORWARDS];
	int ready_fd;
	bool stays;
	uid_t uid; /* its own; 0: that of who started us */
};

enum {
	OPT_FD = 256,
	OPT_READY_FD,
	OPT_FORWARD,
	OPT_HOST,
	OPT_MTU,
	OPT_NAME,
	OPT_STAY,
	OPT_UID,
	OPT_HELP,
};

static const struct option option_table[] = {
	{"fd", required_argument, NULL, OPT_FD},
	{"ready-fd", required_argument, NULL, OPT_READY_FD},
	{"forward", required_argument, NULL, OPT_FORWARD},
	{"host", required_argument, NULL, OPT_HOST},
	{"mtu", required_argument, NULL, OPT_MTU},
	{"name", required_argument, NULL, OPT_NAME},
	{"stay", no_argument, NULL, OPT_STAY},
	{"uid", required_argument, NULL, OPT_UID},
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

static int parse_uid(const char *text, uid_t *out, struct err *err)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end || v >= UINT32_MAX)
		return err_set(err, -EINVAL, "'%s' is no uid", text);
	*out = (uid_t)v;
	return 0;
}

static int parse_host(const char *text, bool *out, struct err *err)
{
	*out = strcmp(text, "on") == 0;
	if (!*out && strcmp(text, "off") != 0)
		return err_set(err, -EINVAL, "--host is on or off, not '%s'", text);
	return 0;
}

static int parse_mtu(const char *text, unsigned *out, struct err *err)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (end == text || *end || v < 68 || v > USERNET_MTU_MAX)
		return err_set(err, -EINVAL, "--mtu is 68 to %d, not '%s'", USERNET_MTU_MAX, text);
	*out = (unsigned)v;
	return 0;
}

static int parse_forward(const char *text, struct options *o, struct err *err)
{
	if (o->net.n_forwards == MAX_FORWARDS)
		return err_set(err, -EINVAL, "more than %d forwards", MAX_FORWARDS);
	return forward_parse(text, &o->forwards[o->net.n_forwards++], err);
}

/* 1: there is nothing more to do. */
static int parse_options(int argc, char **argv, struct options *o, struct err *err)
{
	int opt, r = 0;

	while (r == 0 && (opt = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
		switch (opt) {
		case OPT_FD:
			r = parse_fd(optarg, &o->net.fd, err);
			break;
		case OPT_READY_FD:
			r = parse_fd(optarg, &o->ready_fd, err);
			break;
		case OPT_FORWARD:
			r = parse_forward(optarg, o, err);
			break;
		case OPT_HOST:
			r = parse_host(optarg, &o->net.is_host, err);
			break;
		case OPT_MTU:
			r = parse_mtu(optarg, &o->net.mtu, err);
			break;
		case OPT_UID:
			r = parse_uid(optarg, &o->uid, err);
			break;
		case OPT_NAME:
			log_setup_env(optarg);
			break;
		case OPT_STAY:
			o->stays = true;
			break;
		case OPT_HELP:
			fputs(help, stdout);
			return 1;
		default:
			return err_set(err, -EINVAL, "see posada-slirp --help");
		}
	}
	if (r == 0 && optind < argc)
		return err_set(err, -EINVAL, "'%s' is not expected", argv[optind]);
	return r;
}

/* One line: empty, or what went wrong. */
static int report_ready(struct options *o, const char *text, struct err *err)
{
	int fd = fd_take(o->ready_fd);
	int r = fd < 0 ? 0 : dprintf(fd, "%s\n", text) < 0 ? -errno : 0;

	fd_close(fd);
	return r < 0 ? err_errno(err, r, "cannot report to the ready descriptor") : 0;
}

/* To whoever waits for us, or else to stderr. */
static void report_failure(struct options *o, const char *text)
{
	struct err err = ERR_INIT;

	if (o->ready_fd < 0 || report_ready(o, text, &err) < 0)
		log_error("%s", text);
}

/* The first process of a pid namespace is deaf to signals that it doesn't handle. */
static void on_signal(int signal_number)
{
	_exit(128 + signal_number);
}

static int run(struct options *o, struct err *err)
{
	const struct confine_options confinement = {
		.uid = o->uid,
		.is_bound_to_parent = !o->stays,
		.readable_file = "/etc/resolv.conf", /* libslirp follows its changes */
		.has_network = true,
	};
	const struct confine_limits limits = {.memory = OWN_MEMORY, .n_threads = 1};
	AUTO(usernet_free) struct usernet *u = NULL;
	struct confine_report report;
	int r = usernet_new(&o->net, &u, err);

	if (r == 0)
		r = confine_process(&confinement, &report, err);
	if (r == 0)
		r = confine_limit(&limits, &report, err);
	if (r == 0)
		r = sandbox_enter(report.is_without_files, err);
	if (r == 0)
		log_info("confined by: seccomp, %s; not by: %s", report.in_force, report.missing);
	if (r == 0)
		r = report_ready(o, "", err);
	return r < 0 ? r : usernet_run(u, err);
}

int main(int argc, char **argv)
{
	struct options o = {.net.fd = 3, .ready_fd = -1};
	struct err err = ERR_INIT;
	int r;

	log_setup_env("slirp");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	o.net.forwards = o.forwards;
	r = parse_options(argc, argv, &o, &err);
	if (r == 0)
		r = run(&o, &err);
	if (r < 0)
		report_failure(&o, err.text);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
