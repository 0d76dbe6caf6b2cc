/*
 * What makers of network back ends share. For this folder only.
 */
#ifndef NET_NET_PRIV_H
#define NET_NET_PRIV_H

#include "net/net.h"

struct net_ops {
	void (*attached)(struct net *n); /* n->user has changed */
	int (*send)(struct net *n, const struct iovec *iov, unsigned n_iov, size_t size);
	void (*accept)(struct net *n);
	void (*free)(struct net *n);
};

struct net {
	const struct net_ops *ops;
	const struct net_user *user;
	bool is_up; /* atomic */
};

/* Changes is_up and tells the user, once. */
void net_set_up(struct net *n, bool is_up);

#endif
