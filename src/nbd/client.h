/*
 * A disk that an NBD server has, through libnbd. Connections come from a connector (connector.h), as
 * this runs where none can be made; or are made here, with TLS.
 *
 * Several requests are in flight, over several connections where the server says that they may be. When
 * it goes away, requests wait until it is there again, for as long as was said; then they fail with
 * -ENOTCONN, as those do that come before it is back. What was written and not flushed when a server
 * goes away is that server's to keep: whether it did can't be seen from here.
 *
 * The server is hostile: what it says of sizes and extents is checked, here or by libnbd.
 *
 * Threads: the loop's.
 */
#ifndef NBD_CLIENT_H
#define NBD_CLIENT_H

#include "base/base.h"
#include "base/list.h"

struct blk;
struct err;
struct loop;

#define NBDC_PATIENCE_NS (30 * 1000000000ul)
#define NBDC_ANSWER_NS   (5 * 1000000000ul) /* for who may not be held up by a server */

/*
 * Where a process that may make connections finds the server by itself: with TLS, always, for which it
 * has to know the server's name. Making a connection stops the loop. Strings: see libnbd(3).
 */
struct nbdc_server {
	const char *host, *port; /* or NULL: */
	const char *socket;      /* a UNIX socket's path */
	const char *export;
	const char *certificates; /* a directory; NULL: the system's authorities */
	const char *psk_file, *user;
	bool trusts_anybody; /* whatever certificate the server has */
};

/*
 * Disks that are being opened by somebody whose loop goes on meanwhile (in a coroutine): of these a server that is
 * silent for answer_ns is given up, and all of them when it isn't waited for any more.
 */
struct nbdc_opening {
	struct list disks;
	bool is_given_up;
};
void nbdc_opening_init(struct nbdc_opening *o);
/* All that is out fails, and what comes: whoever opens them comes to his end. Outside of coroutines. */
void nbdc_opening_give_up(struct nbdc_opening *o);
/* They are disks like any other now. */
void nbdc_opening_end(struct nbdc_opening *o);

struct nbdc_options {
	bool is_readonly;
	bool is_container; /* as blk_raw_options */
	bool is_unsafe;
	int connector;   /* a SOCK_SEQPACKET socket; taken over on success */
	u64 patience_ns; /* that requests have for a server that is gone */
	/*
	 * How long a server may be silent where the loop doesn't run meanwhile, which is in a drain and in a call
	 * outside of coroutines; then what is out fails with -ENOTCONN. 0: for as long as it likes.
	 */
	u64 answer_ns;
	const struct nbdc_server *server; /* borrowed, instead of a connector; or NULL */
	struct nbdc_opening *opening;     /* or NULL */
};

/* Waits until the server has said what it has; in a coroutine others run meanwhile. */
int nbdc_new(struct loop *loop, const struct nbdc_options *o, struct blk **out, struct err *err);

#endif
