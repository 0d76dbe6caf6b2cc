/*
 * The last step of the user-mode network's set-up: from here on, sockets and little else.
 */
#ifndef NET_SLIRP_SANDBOX_H
#define NET_SLIRP_SANDBOX_H

struct err;

/*
 * For a process that has its privileges dropped (no new privileges included) and one thread. Only
 * the directory that holds the host's resolv.conf stays readable, because libslirp follows its
 * changes; nothing can be written, run or traced.
 */
int sandbox_enter(struct err *err);

#endif
