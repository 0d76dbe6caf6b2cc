/*
 * Checksums and segments in software. See offload.h.
 *
 * A large segment becomes packets of gso_size bytes of payload: each gets a copy of the headers with
 * lengths, IPv4 identification, TCP sequence number, flags and checksums of its own; the payload
 * stays in place. Fragments, and headers behind IPv6 options that are longer than
 * OFFLOAD_HEAD_MAX, have no large segments.
 */
#include "net/offload.h"

#include <netinet/in.h>
#include <string.h>

#include "base/bytes.h"
#include "net/csum.h"

#define OFFLOAD_HEAD_MAX 256u

#define ETHER_TYPE      12u /* offset; the types that follow */
#define ETHER_TYPE_IPV4 0x0800
#define ETHER_TYPE_IPV6 0x86dd
#define ETHER_TYPE_VLAN 0x8100
#define ETHER_TYPE_QINQ 0x88a8
#define VLAN_SIZE       4u
#define VLAN_TAGS_MAX   2

#define IPV4_SIZE     20u
#define IPV4_LENGTH   2u
#define IPV4_ID       4u
#define IPV4_FRAGMENT 6u
#define IPV4_PROTOCOL 9u
#define IPV4_CSUM     10u
#define IPV4_SOURCE   12u
#define IPV6_SIZE     40u
#define IPV6_LENGTH   4u
#define IPV6_NEXT     6u
#define IPV6_SOURCE   8u
#define TCP_SIZE      20u
#define TCP_SEQUENCE  4u
#define TCP_OFFSET    12u
#define TCP_FLAGS     13u
#define TCP_CSUM      16u
#define UDP_SIZE      8u
#define UDP_LENGTH    4u
#define UDP_CSUM      6u

enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

/* The headers of a packet with a large segment. */
struct offload_heads {
	u8 bytes[OFFLOAD_HEAD_MAX];
	u32 l3, l4, payload; /* where the IP and TCP or UDP headers begin, and where they end */
	u8 protocol;
	bool is_v6;
};

/* --- looking --- */

static bool offload_find_v4(struct offload_heads *h, u32 have)
{
	const u8 *ip = h->bytes + h->l3;
	u32 size;

	if (!range_fits(h->l3, IPV4_SIZE, have) || ip[0] >> 4 != 4)
		return false;
	size = (ip[0] & 0xf) * 4u;
	/* More to come, or an offset: a fragment. */
	if (size < IPV4_SIZE || be16_load(ip + IPV4_FRAGMENT) & 0x3fff)
		return false;
	h->is_v6 = false;
	h->protocol = ip[IPV4_PROTOCOL];
	h->l4 = h->l3 + size;
	return true;
}

static bool offload_find_v6(struct offload_heads *h, u32 have)
{
	if (!range_fits(h->l3, IPV6_SIZE, have) || h->bytes[h->l3] >> 4 != 6)
		return false;
	h->is_v6 = true;
	h->protocol = h->bytes[h->l3 + IPV6_NEXT];
	h->l4 = h->l3 + IPV6_SIZE;
	while (h->protocol == IPPROTO_HOPOPTS || h->protocol == IPPROTO_ROUTING ||
	       h->protocol == IPPROTO_DSTOPTS) {
		if (!range_fits(h->l4, 8, have))
			return false;
		h->protocol = h->bytes[h->l4];
		h->l4 += (h->bytes[h->l4 + 1] + 1u) * 8;
	}
	return true;
}

static bool offload_find_l3(struct offload_heads *h, u32 have)
{
	u32 at = ETHER_TYPE;

	for (int tags = 0; range_fits(at, 2, have); tags++, at += VLAN_SIZE) {
		u16 type = be16_load(h->bytes + at);

		h->l3 = at + 2;
		if (type == ETHER_TYPE_IPV4)
			return offload_find_v4(h, have);
		if (type == ETHER_TYPE_IPV6)
			return offload_find_v6(h, have);
		if ((type != ETHER_TYPE_VLAN && type != ETHER_TYPE_QINQ) || tags == VLAN_TAGS_MAX)
			return false;
	}
	return false;
}

static bool offload_find_heads(struct offload_heads *h, u32 have)
{
	u32 size = UDP_SIZE;

	if (!offload_find_l3(h, have))
		return false;
	if (h->protocol == IPPROTO_TCP) {
		if (!range_fits(h->l4, TCP_SIZE, have))
			return false;
		size = (h->bytes[h->l4 + TCP_OFFSET] >> 4) * 4u;
		if (size < TCP_SIZE)
			return false;
	} else if (h->protocol != IPPROTO_UDP) {
		return false;
	}
	h->payload = h->l4 + size;
	return h->payload <= have;
}

static u32 offload_csum_offset(const struct offload_heads *h)
{
	return h->protocol == IPPROTO_TCP ? TCP_CSUM : UDP_CSUM;
}

/* Copies the headers, and says whether they are such as a large segment's header means. */
static bool offload_read_heads(const struct net_frame *f, struct offload_heads *h)
{
	u8 gso = f->header.gso & (u8)~NET_GSO_ECN;
	u32 have = 0;

	for (unsigned i = 0; i < f->n_iov && have < OFFLOAD_HEAD_MAX; i++) {
		size_t n = MIN(f->iov[i].iov_len, (size_t)(OFFLOAD_HEAD_MAX - have));

		memcpy(h->bytes + have, f->iov[i].iov_base, n);
		have += (u32)n;
	}
	if (!offload_find_heads(h, have) || f->header.csum_start != h->l4 ||
	    f->header.csum_offset != offload_csum_offset(h))
		return false;
	if (gso == NET_GSO_UDP)
		return h->protocol == IPPROTO_UDP;
	return h->protocol == IPPROTO_TCP && h->is_v6 == (gso == NET_GSO_TCP6);
}

static bool offload_check_gso(struct net_frame *f)
{
	struct net_header *h = &f->header;
	u8 gso = h->gso & (u8)~NET_GSO_ECN;
	struct offload_heads heads;

	if (gso != NET_GSO_TCP4 && gso != NET_GSO_TCP6 && h->gso != NET_GSO_UDP)
		return false;
	if (!(h->flags & NET_NEEDS_CSUM) || !h->gso_size || !offload_read_heads(f, &heads))
		return false;
	h->hdr_len = (u16)heads.payload;
	if (f->size - heads.payload <= h->gso_size)
		h->gso = NET_GSO_NONE;
	return true;
}

bool offload_check(struct net_frame *f)
{
	struct net_header *h = &f->header;

	h->flags &= NET_NEEDS_CSUM | NET_DATA_VALID;
	if (!(h->flags & NET_NEEDS_CSUM))
		h->csum_start = h->csum_offset = 0;
	else if (!range_fits((u64)h->csum_start + h->csum_offset, sizeof(u16), f->size))
		return false;
	if (h->gso != NET_GSO_NONE && !offload_check_gso(f))
		return false;
	if (h->gso == NET_GSO_NONE)
		h->hdr_len = h->gso_size = 0;
	return true;
}

u32 net_header_needs(const struct net_header *h)
{
	u32 needs = h->flags & NET_NEEDS_CSUM ? NET_TAKES_CSUM : 0;

	switch (h->gso & ~NET_GSO_ECN) {
	case NET_GSO_NONE:
		return needs;
	case NET_GSO_TCP4:
		needs |= NET_TAKES_TSO4;
		break;
	case NET_GSO_TCP6:
		needs |= NET_TAKES_TSO6;
		break;
	default:
		needs |= NET_TAKES_USO;
		break;
	}
	return needs | (h->gso & NET_GSO_ECN ? NET_TAKES_ECN : 0);
}

/* --- vectors and sums --- */

/* Puts size bytes of iov, from byte skip on, at out: a count of vectors. */
static unsigned offload_slice(struct iovec *out, const struct iovec *iov, size_t skip, size_t size)
{
	unsigned n = 0;

	for (; size; iov++) {
		size_t cut = MIN(skip, iov->iov_len), part = MIN(iov->iov_len - cut, size);

		if (part)
			out[n++] = (struct iovec){(u8 *)iov->iov_base + cut, part};
		skip -= cut;
		size -= part;
	}
	return n;
}

/* RFC 9293, 3.1; RFC 8200, 8.1: addresses, protocol and length. */
static struct csum offload_pseudo(const struct offload_heads *h, size_t l4_size)
{
	const be32 tail[] = {be32_of((u32)l4_size), be32_of(h->protocol)};
	struct csum c = {0};

	if (h->is_v6)
		csum_add(&c, h->bytes + h->l3 + IPV6_SOURCE, 32);
	else
		csum_add(&c, h->bytes + h->l3 + IPV4_SOURCE, 8);
	csum_add(&c, tail, sizeof(tail));
	return c;
}

/* A large segment's: what the sender put in for the pseudo-header isn't asked. */
static bool offload_sum_whole(const struct net_frame *f, struct csum *out)
{
	size_t l4 = f->header.csum_start, field = l4 + f->header.csum_offset;
	struct offload_heads h;

	if (!offload_read_heads(f, &h))
		return false; /* it was changed since it was checked */
	*out = offload_pseudo(&h, f->size - l4);
	csum_add_iov(out, f->iov, l4, field - l4);
	csum_add_iov(out, f->iov, field + sizeof(u16), f->size - field - sizeof(u16));
	return true;
}

int offload_finish_csum(const struct net_frame *f, offload_sink *sink, void *opaque)
{
	size_t field = (size_t)f->header.csum_start + f->header.csum_offset;
	struct iovec iov[OFFLOAD_IOV_MAX];
	struct net_frame whole = {.iov = iov, .size = f->size};
	struct csum c = {0};
	u16 sum;

	if (f->header.gso == NET_GSO_NONE)
		csum_add_iov(&c, f->iov, f->header.csum_start, f->size - f->header.csum_start);
	else if (!offload_sum_whole(f, &c))
		return 0;
	sum = csum_end(&c);
	whole.n_iov = offload_slice(iov, f->iov, 0, field);
	iov[whole.n_iov++] = (struct iovec){&sum, sizeof(sum)};
	whole.n_iov += offload_slice(iov + whole.n_iov, f->iov, field + sizeof(sum),
				     f->size - field - sizeof(sum));
	whole.header.flags = NET_DATA_VALID;
	return sink(opaque, &whole);
}

/* --- segments --- */

static void offload_patch_ip(struct offload_heads *h, u32 index, size_t packet_size)
{
	u8 *ip = h->bytes + h->l3;
	struct csum c = {0};
	u16 sum;

	if (h->is_v6) {
		be16_store(ip + IPV6_LENGTH, (u16)(packet_size - h->l3 - IPV6_SIZE));
		return;
	}
	be16_store(ip + IPV4_LENGTH, (u16)(packet_size - h->l3));
	be16_store(ip + IPV4_ID, (u16)(be16_load(ip + IPV4_ID) + index));
	memset(ip + IPV4_CSUM, 0, sizeof(sum));
	csum_add(&c, ip, h->l4 - h->l3);
	sum = csum_end(&c);
	memcpy(ip + IPV4_CSUM, &sum, sizeof(sum));
}

static void offload_patch_l4(struct offload_heads *h, u32 index, u32 gso_size, size_t packet_size,
			     bool is_last)
{
	u8 *l4 = h->bytes + h->l4;

	if (h->protocol == IPPROTO_UDP) {
		be16_store(l4 + UDP_LENGTH, (u16)(packet_size - h->l4));
		return;
	}
	be32_store(l4 + TCP_SEQUENCE, be32_load(l4 + TCP_SEQUENCE) + index * gso_size);
	if (index)
		l4[TCP_FLAGS] &= (u8)~TCP_CWR;
	if (!is_last)
		l4[TCP_FLAGS] &= (u8) ~(TCP_FIN | TCP_PSH);
}

static void offload_patch_csum(struct offload_heads *h, const struct iovec *payload, size_t skip,
			       size_t size)
{
	u8 *field = h->bytes + h->l4 + offload_csum_offset(h);
	struct csum c = offload_pseudo(h, h->payload - h->l4 + size);
	u16 sum;

	memset(field, 0, sizeof(sum));
	csum_add(&c, h->bytes + h->l4, h->payload - h->l4);
	csum_add_iov(&c, payload, skip, size);
	sum = csum_end(&c);
	memcpy(field, &sum, sizeof(sum));
}

static int offload_give_packet(const struct net_frame *f, const struct offload_heads *heads,
			       u32 index, offload_sink *sink, void *opaque)
{
	size_t at = heads->payload + (size_t)index * f->header.gso_size;
	size_t size = MIN(f->size - at, (size_t)f->header.gso_size);
	struct offload_heads h = *heads;
	struct iovec iov[OFFLOAD_IOV_MAX];
	struct net_frame packet = {.iov = iov, .size = h.payload + size};

	offload_patch_ip(&h, index, packet.size);
	offload_patch_l4(&h, index, f->header.gso_size, packet.size, at + size == f->size);
	offload_patch_csum(&h, f->iov, at, size);
	iov[0] = (struct iovec){h.bytes, h.payload};
	packet.n_iov = 1 + offload_slice(iov + 1, f->iov, at, size);
	packet.header.flags = NET_DATA_VALID;
	return sink(opaque, &packet);
}

int offload_split(const struct net_frame *f, u32 *n_given, offload_sink *sink, void *opaque)
{
	struct offload_heads heads;
	u32 n;

	if (!offload_read_heads(f, &heads) || heads.payload >= f->size)
		return 0; /* it was changed since it was checked */
	n = (u32)((f->size - heads.payload + f->header.gso_size - 1) / f->header.gso_size);
	while (*n_given < n) {
		int r = offload_give_packet(f, &heads, *n_given, sink, opaque);

		if (r < 0)
			return r;
		++*n_given;
	}
	return 0;
}
