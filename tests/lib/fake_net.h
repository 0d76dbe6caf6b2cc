/*
 * A network back end for tests of cards: it takes every offload, remembers the last frame, and can be
 * full.
 */
#ifndef TESTS_LIB_FAKE_NET_H
#define TESTS_LIB_FAKE_NET_H

#include "net/net_priv.h"

#define VNET_HEADER 12u /* bytes of virtio's header in front of a frame */

struct fake_net {
	struct net net;
	bool is_full;
	unsigned n_sent, n_flushed, n_accepted, last_lane;
	struct net_header last_header;
	size_t last_size;
	u8 last[NET_FRAME_MAX];
};

struct fake_net *fake_net_new(unsigned n_lanes); /* freed by net_free(&f->net) */

/* A frame from the host, and the end of its burst. False: the card has no buffer. */
bool fake_net_give(struct fake_net *f, unsigned lane, struct net_header header, const u8 *frame,
		   size_t size);

#endif
