/*
 * The face of a network back end: drops what is no frame, does what the other side doesn't take,
 * hands on the rest. See net.h.
 */
#include "net/net.h"

#include "net/net_priv.h"
#include "net/offload.h"

void net_init(struct net *n, const struct net_ops *ops)
{
	n->ops = ops;
	n->takes = ops->takes;
	n->n_lanes = 1;
	n->is_up = true;
}

void net_attach(struct net *n, const struct net_user *u)
{
	n->user = u;
	n->ops->attached(n);
}

bool net_is_up(const struct net *n)
{
	return __atomic_load_n(&n->is_up, __ATOMIC_RELAXED);
}

unsigned net_n_lanes(const struct net *n)
{
	return n->n_lanes;
}

void net_set_taken(struct net *n, u32 offloads)
{
	__atomic_store_n(&n->taken, offloads, __ATOMIC_RELAXED);
}

void net_set_up(struct net *n, bool is_up)
{
	if (n->is_up == is_up)
		return;
	__atomic_store_n(&n->is_up, is_up, __ATOMIC_RELAXED);
	if (n->user)
		n->user->link(n->user->opaque, is_up);
}

static bool net_is_frame(const struct net_frame *f)
{
	return f->size >= NET_FRAME_MIN && f->size <= NET_FRAME_MAX;
}

/* On a lane, with what the user takes of it. */
struct net_way {
	struct net *n;
	unsigned lane;
	u32 taken;
};

/* --- to the host --- */

static int net_send_piece(void *opaque, const struct net_frame *f)
{
	const struct net_way *w = opaque;

	return w->n->ops->send(w->n, w->lane, f);
}

/* A host that fills up in the middle of a segment loses the rest of it, as a wire would. */
static int net_send_split(struct net *n, unsigned lane, const struct net_frame *f)
{
	struct net_way way = {.n = n, .lane = lane};
	u32 n_sent = 0;
	int r = offload_split(f, &n_sent, net_send_piece, &way);

	return n_sent ? 0 : r;
}

int net_send(struct net *n, unsigned lane, const struct net_frame *f)
{
	struct net_frame checked = *f;
	struct net_way way = {.n = n, .lane = lane};
	u32 missing;

	assert(f->n_iov <= NET_IOV_MAX && lane < n->n_lanes);
	if (!n->is_up || !net_is_frame(f) || !offload_check(&checked))
		return 0;
	missing = net_header_needs(&checked.header) & ~n->takes;
	if (!missing)
		return n->ops->send(n, lane, &checked);
	if (missing & ~(u32)NET_TAKES_CSUM)
		return net_send_split(n, lane, &checked);
	return offload_finish_csum(&checked, net_send_piece, &way);
}

void net_flush(struct net *n, unsigned lane)
{
	if (n->ops->flush && n->is_up)
		n->ops->flush(n, lane);
}

/* --- to the user --- */

/* To vouch for a checksum is an offload as well. */
static int net_give_piece(void *opaque, const struct net_frame *f)
{
	const struct net_way *w = opaque;
	const struct net_user *u = w->n->user;
	struct net_frame plain = *f;

	if (!(w->taken & NET_TAKES_CSUM))
		plain.header.flags &= (u8)~NET_DATA_VALID;
	return u->receive(u->opaque, w->lane, &plain) ? 0 : -EAGAIN;
}

/* Of a frame that needs something which the user doesn't take: is checked first, and may not then. */
static int net_give_unfinished(struct net_way *w, const struct net_frame *f)
{
	struct net_frame checked = *f;
	u32 missing;

	if (!offload_check(&checked))
		return 0;
	missing = net_header_needs(&checked.header) & ~w->taken;
	if (!missing)
		return net_give_piece(w, &checked);
	if (missing & ~(u32)NET_TAKES_CSUM)
		return offload_split(&checked, &w->n->n_given[w->lane], net_give_piece, w);
	return offload_finish_csum(&checked, net_give_piece, w);
}

bool net_give(struct net *n, unsigned lane, const struct net_frame *f)
{
	struct net_way way = {n, lane, __atomic_load_n(&n->taken, __ATOMIC_RELAXED)};
	int r;

	if (!n->user)
		return false;
	if (!net_is_frame(f))
		return true;
	if (net_header_needs(&f->header) & ~way.taken)
		r = net_give_unfinished(&way, f);
	else
		r = net_give_piece(&way, f);
	if (r < 0)
		return false;
	n->n_given[lane] = 0;
	return true;
}

void net_end_burst(struct net *n, unsigned lane)
{
	if (n->user)
		n->user->received(n->user->opaque, lane);
}

void net_accept(struct net *n, unsigned lane)
{
	n->ops->accept(n, lane);
}

void net_free(struct net *n)
{
	if (n)
		n->ops->free(n);
}
