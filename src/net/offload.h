/*
 * What a frame's header asks for: is it possible, and doing it in software.
 *
 * Frames come from strangers and may change while they are looked at: headers are copied once, and
 * the copy is checked and used. A sink gets frames that are good for the time of the call, and says
 * 0 or -EAGAIN, which is handed back.
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "net/net.h"

/* Pieces of a frame that was taken apart here: those that it had, and ours. */
#define OFFLOAD_IOV_MAX (NET_IOV_MAX + 3)

typedef int offload_sink(void *opaque, const struct net_frame *f);

/*
 * Do the header's fields go with the frame? Cleans them as well: what has no meaning becomes 0,
 * hdr_len what it should be, and a segment that is small enough is none.
 */
bool offload_check(struct net_frame *f);

/* Of a checked frame: completes the checksum, a large segment's as that of one packet. */
int offload_finish_csum(const struct net_frame *f, offload_sink *sink, void *opaque);

/*
 * Of a checked frame with a large segment: gives sink the packets that it is to become, from number
 * *n_given on, and counts them there.
 */
int offload_split(const struct net_frame *f, u32 *n_given, offload_sink *sink, void *opaque);

#endif
