/*
 * posada-vmm: the guest process. One VM, an ordinary Linux process.
 *
 * Started by the launcher or the manager, never by hand: descriptor 3 is its control socket, whose
 * first message is the configuration with all descriptors. It opens nothing by name that belongs to
 * the guest, and is confined before the first guest instruction.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "confine/confine.h"
#include "crypt/crypt.h"
#include "monitor/monitor.h"
#include "proto/control.h"
#include "proto/guest_config.h"

#define CONTROL_FD 3

/* Address space for data beyond guest memory: heaps, stacks, decoded code, migration's buffers. */
#define OWN_MEMORY         GIB
#define OWN_MEMORY_PER_CPU (256 * MIB)
/* main, I/O, load; a disk's workers without io_uring; a ring's, as many as it has entries, for two threads */
#define OWN_THREADS (3 + 4 * GUEST_MAX_DISKS + 2 * 128)

/*
 * The first process of a pid namespace is deaf to signals that it doesn't handle. An end is an end:
 * the launcher tells of it.
 */
static void on_signal(int signal_number)
{
	_exit(128 + signal_number);
}

static void handle_signals(void)
{
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGHUP, on_signal);
	signal(SIGPIPE, SIG_IGN);
}

/* posada-vmm NAME [--uid N] [--holds LAYER] [--lacks LAYER] */
struct options {
	uid_t uid;                 /* its own; 0: the launcher's */
	const char *holds, *lacks; /* what the launcher did, or couldn't do, to confine us */
};

static void parse_options(int argc, char **argv, struct options *o)
{
	*o = (struct options){0};
	for (int i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--uid"))
			o->uid = (uid_t)strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--holds"))
			o->holds = argv[i + 1];
		else if (!strcmp(argv[i], "--lacks"))
			o->lacks = argv[i + 1];
	}
}

static int receive_config(int control, struct guest_config *config, struct err *err)
{
	int fds[GUEST_CONFIG_MAX_FDS];
	size_t n_fds = GUEST_CONFIG_MAX_FDS;
	static char text[CONTROL_MAX_MESSAGE];
	ssize_t n = fd_recv(control, text, sizeof(text), fds, &n_fds);

	if (n <= 0)
		return err_errno(err, n < 0 ? (int)n : -EPIPE, "no configuration came");
	return guest_config_decode(text, (size_t)n, fds, n_fds, config, err);
}

/* What goes wrong before there is a monitor to tell of it. */
static int tell_failure(int control, const struct err *err)
{
	struct control_event e = {.kind = CONTROL_STOPPED, .reason = CONTROL_FAILED};

	snprintf(e.text, sizeof(e.text), "%s", err->text);
	control_send_event(control, &e);
	return err->code;
}

/* What the whole process may use: guest memory, and what the devices and the accelerator need. */
static int limit(const struct guest_config *c, struct confine_report *report, struct err *err)
{
	const struct confine_limits limits = {
		.memory = c->memory + OWN_MEMORY + c->n_cpus * OWN_MEMORY_PER_CPU,
		.n_threads = c->n_cpus + OWN_THREADS,
	};

	return confine_limit(&limits, report, err);
}

static void tell_confinement(struct confine_report *report, const struct options *o)
{
	if (o->holds)
		confine_note(report, "%s", o->holds);
	if (o->lacks)
		confine_note_missing(report, "%s", o->lacks);
	confine_note(report, "seccomp");
	log_info("confined by: %s", report->in_force);
	if (report->missing[0])
		log_info("not confined by: %s", report->missing);
}

static int run(int control, struct guest_config *config, const struct options *o, struct err *err)
{
	AUTO(loop_free) struct loop *loop = NULL;
	/* What memory the host has given can't be asked for by name later. */
	AUTO_FD int smaps = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	const struct confine_options options = {.is_bound_to_parent = true, .uid = o->uid};
	struct confine_report report;
	struct monitor *monitor;
	int r = confine_process(&options, &report, err);

	if (!r)
		r = limit(config, &report, err);
	if (!r)
		r = loop_new(&loop, err);
	if (r < 0)
		return tell_failure(control, err);
	tell_confinement(&report, o);
	monitor = monitor_new(loop, control, config, &report, smaps);
	r = monitor_run(monitor, err);
	monitor_free(monitor);
	return r;
}

int main(int argc, char **argv)
{
	struct guest_config config;
	struct options options;
	struct err err = ERR_INIT;
	int type, r;
	socklen_t size = sizeof(type);

	if (getsockopt(CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    type != SOCK_SEQPACKET) {
		fprintf(stderr, "posada-vmm is started by `posada run`, not by hand\n");
		return 1;
	}
	fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
	handle_signals();
	if (!log_setup_env(argc > 1 ? argv[1] : "vmm"))
		log_warn("there is no level '%s' for POSADA_LOG; there is: error, warning, info, "
			 "debug",
			 getenv("POSADA_LOG"));
	parse_options(argc, argv, &options);
	/* For disks that are encrypted, later ones, too. While there are descriptors: it aborts for want of one. */
	r = crypt_init(&err);
	if (!r)
		r = receive_config(CONTROL_FD, &config, &err);
	if (!r) {
		r = run(CONTROL_FD, &config, &options, &err);
		guest_config_fini(&config);
	} else {
		tell_failure(CONTROL_FD, &err);
	}
	return r < 0;
}
