/*
 * posada-vsock's work: connections between a guest's ports and UNIX sockets of the host, made here
 * and handed over to the guest process.
 *
 * One thread, one loop. Whoever connects and doesn't say "CONNECT PORT\n" within a few seconds is
 * dropped, as is the longest waiting when there are too many.
 */
#ifndef VSOCK_HELPER_SWITCHBOARD_H
#define VSOCK_HELPER_SWITCHBOARD_H

#include "base/base.h"

struct err;
struct loop;
struct switchboard;

#define SWITCHBOARD_MAX_LISTENERS 2
#define SWITCHBOARD_MAX_CALLERS   64 /* that have not yet said which port they want */
#define SWITCHBOARD_PATIENCE_NS   (5 * NSEC_PER_SEC)

struct switchboard_options {
	int fd; /* to the guest process, SOCK_SEQPACKET; taken over */
	int listeners[SWITCHBOARD_MAX_LISTENERS]; /* listening sockets, taken over */
	unsigned n_listeners;
	const char *path; /* guests' connections to port P go to path_P; borrowed */
	u64 patience_ns;  /* SWITCHBOARD_PATIENCE_NS */
};

/* Descriptors are taken over in any case. The loop is quit when the guest process is gone. */
int switchboard_new(struct loop *loop, const struct switchboard_options *o,
		    struct switchboard **out, struct err *err);
void switchboard_free(struct switchboard *s);

#endif
