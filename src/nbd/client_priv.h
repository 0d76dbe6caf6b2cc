/*
 * Between the parts of the NBD client. For this folder only.
 */
#ifndef NBD_CLIENT_PRIV_H
#define NBD_CLIENT_PRIV_H

#include <libnbd.h>

#include "base/co.h"
#include "base/loop.h"
#include "block/node.h"
#include "nbd/client.h"
#include "nbd/connector.h"

#define NBDC_CONNECTIONS  4
#define NBDC_TRANSFER_MAX (2 * MIB)      /* of a read or write, at a time */
#define NBDC_RANGE_MAX    ((u64)1 * GIB) /* of a discard, write-zeroes or block status */

struct nbdc;

enum nbdc_state {
	NBDC_IDLE,
	NBDC_ASKED, /* for a socket */
	NBDC_GREETING,
	NBDC_READY,
};

struct nbdc_conn {
	struct nbdc *d;
	enum nbdc_state state;
	u64 since_ns;          /* of the state */
	struct nbd_handle *h;  /* greeting, ready */
	struct loop_fd socket; /* h's */
	struct list calls;
	unsigned n_calls;
};

/* A command that was sent: on the stack of who waits for it. */
struct nbdc_call {
	struct list node; /* its connection's, or done's */
	struct nbdc_conn *conn;
	struct co *co; /* NULL: outside of coroutines */
	bool is_done;
	int result;
	u64 missing;               /* bytes of a read that haven't come */
	struct blk_status *status; /* of a block status */
};

struct nbdc {
	struct blk_node node; /* first */
	struct nbdc_options o;
	struct loop_fd connector;
	struct nbdc_conn conns[NBDC_CONNECTIONS];
	struct nbdc_conn *asking;
	u64 question;             /* the last one's number */
	u64 asked_socket;         /* the number of the last question for a connection */
	struct nbdc_asked *asked; /* another question, while its answer is waited for */
	struct list done;         /* calls whose waiters are still to be woken */
	struct loop_task wake;    /* wakes them */
	struct loop_timer tick;
	struct co_queue changed; /* there is a connection, or no more patience */
	u64 warned_ns;           /* when a loss was told; 0: never */
	u64 lost_ns;             /* since when there is none; 0: there is one */
	unsigned n_owed;         /* answers that somebody waits for ... */
	u64 owed_ns;             /* ... since when there was none */
	bool has_given_up;       /* while the loop stood still, or it is opened */
	struct list opening;     /* among o.opening's disks, while there is that */
	bool has_greeted;        /* what follows is known */
	bool is_closing;
	u64 bytes; /* as the server says */
	u32 transfer_max, range_align;
	bool can_flush, can_fua, can_trim, can_zero, can_multi, has_status, is_server_readonly;
	char why[256]; /* there is no connection */
};

/* --- client_conn.c --- */

int nbdc_start(struct nbdc *d, struct err *err);
/* Ends all connections; nothing is out. */
void nbdc_stop(struct nbdc *d);
/* The connection to use next; waits until there is one. NULL: patience is at an end. */
struct nbdc_conn *nbdc_choose(struct nbdc *d);
/* The libnbd call returned cookie: until the server's answer is there. 0 or a negative errno. */
int nbdc_wait(struct nbdc_conn *c, struct nbdc_call *call, i64 cookie);
/* Outside of coroutines and the loop: until something happened. */
void nbdc_poll(struct nbdc *d);
/* libnbd's callbacks for a call. */
nbd_completion_callback nbdc_completion(struct nbdc_call *call);

/* What the connector answered: a connection is taken if one is waited for, else closed. */
void nbdc_take_socket(struct nbdc *d, int fd, const char *export);
void nbdc_take_refusal(struct nbdc *d, const char *why);
/* Outside of coroutines, after that. */
void nbdc_go_on(struct nbdc *d);

/* --- client_ask.c --- */

/* For a connection; doesn't wait. */
int nbdc_ask_socket(struct nbdc *d);
/* Another question (connector.h), with what belongs to it. The answer is waited for, outside of the loop. */
int nbdc_ask(struct nbdc *d, char letter, const char *rest, struct err *err);
/* There is something to read at the connector. */
void nbdc_on_answer(struct loop_fd *w, u32 events);

#endif
