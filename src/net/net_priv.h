/*
 * What makers of network back ends share. For this folder only.
 */
#ifndef NET_NET_PRIV_H
#define NET_NET_PRIV_H

#include "net/net.h"

struct net_ops {
	u32 takes;                       /* offloads that send hands on */
	void (*attached)(struct net *n); /* n->user has changed */
	int (*send)(struct net *n, unsigned lane, const struct net_frame *f);
	void (*flush)(struct net *n, unsigned lane); /* optional */
	void (*accept)(struct net *n, unsigned lane);
	void (*free)(struct net *n);
};

struct net {
	const struct net_ops *ops;
	const struct net_user *user;
	u32 takes;  /* ops->takes, or less */
	u32 taken;  /* what the user takes; atomic */
	bool is_up; /* atomic */
	unsigned n_lanes;
	u32 n_given[NET_LANES_MAX]; /* pieces of the frame that is being received, given already */
};

/* On zeroed memory: up, with one lane. */
void net_init(struct net *n, const struct net_ops *ops);

/* Changes is_up and tells the user, once. */
void net_set_up(struct net *n, bool is_up);

/* Gives the user a frame. False: it is to be kept, and given again after accept. */
bool net_give(struct net *n, unsigned lane, const struct net_frame *f);
void net_end_burst(struct net *n, unsigned lane);

#endif
