/*
 * The face of a network back end: drops what is no frame, hands on the rest. See net.h.
 */
#include "net/net.h"

#include "net/net_priv.h"

void net_attach(struct net *n, const struct net_user *u)
{
	n->user = u;
	n->ops->attached(n);
}

bool net_is_up(const struct net *n)
{
	return __atomic_load_n(&n->is_up, __ATOMIC_RELAXED);
}

void net_set_up(struct net *n, bool is_up)
{
	if (n->is_up == is_up)
		return;
	__atomic_store_n(&n->is_up, is_up, __ATOMIC_RELAXED);
	if (n->user)
		n->user->link(n->user->opaque, is_up);
}

int net_send(struct net *n, const struct iovec *iov, unsigned n_iov)
{
	size_t size = 0;

	assert(n_iov <= NET_IOV_MAX);
	for (unsigned i = 0; i < n_iov; i++)
		size += iov[i].iov_len;
	if (!n->is_up || size < NET_FRAME_MIN || size > NET_FRAME_MAX)
		return 0;
	return n->ops->send(n, iov, n_iov, size);
}

void net_accept(struct net *n)
{
	n->ops->accept(n);
}

void net_free(struct net *n)
{
	if (n)
		n->ops->free(n);
}
