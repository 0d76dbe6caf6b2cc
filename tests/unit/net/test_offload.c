/*
 * Checksums and segments in software, against packets that are taken apart the slow way: what a
 * receiver sees, byte by byte.
 */
#include "net/offload.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "net/csum.h"
#include "test.h"

enum { FIN = 1, PSH = 8, ACK = 16, CWR = 128 };

/* --- packets, made and read by the book --- */

struct packet {
	bool is_v6, is_udp;
	unsigned n_tags, n_options; /* VLAN tags; TCP options, words */
	unsigned n_extensions;      /* IPv6 headers of 16 bytes */
	u8 flags;
	size_t payload_size;

	u8 bytes[70000];
	u32 l3, l4, payload;
	size_t size;
};

static u8 payload_byte(size_t i)
{
	return (u8)(i * 7 + i / 251);
}

/* RFC 1071 in the wire's order, one word after the other. */
static u32 slow_sum(const u8 *p, size_t size, u32 sum)
{
	for (size_t i = 0; i < size; i++) {
		sum += i % 2 ? p[i] : (u32)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static u32 slow_pseudo(const u8 *ip, bool is_v6, u8 protocol, size_t l4_size)
{
	u8 tail[8] = {0};
	u32 sum;

	be32_store(tail, (u32)l4_size);
	tail[7] = protocol;
	sum = is_v6 ? slow_sum(ip + 8, 32, 0) : slow_sum(ip + 12, 8, 0);
	return slow_sum(tail, 8, sum);
}

static void make_ip(struct packet *p)
{
	u8 protocol = p->is_udp ? IPPROTO_UDP : IPPROTO_TCP;
	u8 *ip = p->bytes + p->l3, *next = ip + 6;

	for (int i = 0; i < 32; i++)
		ip[8 + i] = (u8)(0x20 + i);
	if (!p->is_v6) {
		ip[0] = 0x45;
		be16_store(ip + 2, (u16)(p->size - p->l3));
		be16_store(ip + 4, 0xfffe); /* wraps */
		be16_store(ip + 6, 0x4000);
		ip[9] = protocol;
		be16_store(ip + 10, 0);
		be16_store(ip + 10, (u16)~slow_sum(ip, 20, 0));
		return;
	}
	ip[0] = 0x60;
	be16_store(ip + 4, (u16)(p->size - p->l3 - 40));
	for (unsigned i = 0; i < p->n_extensions; i++) {
		*next = IPPROTO_DSTOPTS;
		next = ip + 40 + 16 * i;
		next[1] = 1;
	}
	*next = protocol;
}

static void make_packet(struct packet *p)
{
	memset(p->bytes, 0, sizeof(p->bytes));
	for (unsigned i = 0; i < p->n_tags; i++)
		be16_store(p->bytes + 12 + 4 * i, i ? 0x8100 : 0x88a8);
	p->l3 = 14 + 4 * p->n_tags;
	be16_store(p->bytes + p->l3 - 2, p->is_v6 ? 0x86dd : 0x0800);
	p->l4 = p->l3 + (p->is_v6 ? 40 + 16 * p->n_extensions : 20);
	p->payload = p->l4 + (p->is_udp ? 8 : 20 + 4 * p->n_options);
	p->size = p->payload + p->payload_size;
	make_ip(p);
	if (p->is_udp) {
		be16_store(p->bytes + p->l4 + 4, (u16)(p->size - p->l4));
	} else {
		be32_store(p->bytes + p->l4 + 4, 0xffffff00); /* wraps */
		p->bytes[p->l4 + 12] = (u8)((5 + p->n_options) << 4);
		p->bytes[p->l4 + 13] = p->flags;
	}
	for (size_t i = 0; i < p->payload_size; i++)
		p->bytes[p->payload + i] = payload_byte(i);
	/* As a sender leaves it: the pseudo-header's sum. */
	be16_store(p->bytes + p->l4 + (p->is_udp ? 6 : 16),
		   (u16)slow_pseudo(p->bytes + p->l3, p->is_v6,
				    p->is_udp ? IPPROTO_UDP : IPPROTO_TCP, p->size - p->l4));
}

static struct net_header header_of(const struct packet *p, u16 gso_size)
{
	u8 tcp = p->is_v6 ? NET_GSO_TCP6 : NET_GSO_TCP4;

	return (struct net_header){
		.flags = NET_NEEDS_CSUM,
		.gso = !gso_size   ? NET_GSO_NONE
		       : p->is_udp ? NET_GSO_UDP
				   : tcp,
		.gso_size = gso_size,
		.csum_start = (u16)p->l4,
		.csum_offset = p->is_udp ? 6 : 16,
	};
}

/* The packet in pieces of odd sizes. */
static struct net_frame frame_of(const struct packet *p, struct iovec *iov, u16 gso_size)
{
	static const size_t sizes[] = {1, 12, 7, 33, 1001, SIZE_MAX};
	struct net_frame f = {.header = header_of(p, gso_size), .iov = iov, .size = p->size};
	size_t at = 0;

	for (; at < p->size; f.n_iov++) {
		size_t n = MIN(sizes[f.n_iov], p->size - at);

		iov[f.n_iov] = (struct iovec){(u8 *)(uintptr_t)p->bytes + at, n};
		at += n;
	}
	return f;
}

/* --- a receiver --- */

struct receiver {
	const struct packet *from;
	u16 gso_size;
	unsigned limit; /* packets until it has no room; 0 at first: as many as come */
	unsigned n;
	size_t n_bytes;
};

static void check_sums(const struct packet *from, const u8 *b, size_t size)
{
	u8 protocol = from->is_udp ? IPPROTO_UDP : IPPROTO_TCP;
	u32 sum = slow_pseudo(b + from->l3, from->is_v6, protocol, size - from->l4);

	CHECK_EQ(slow_sum(b + from->l4, size - from->l4, sum), 0xffff);
	if (!from->is_v6)
		CHECK_EQ(slow_sum(b + from->l3, 20, 0), 0xffff);
}

static void check_lengths(const struct packet *from, const u8 *b, size_t size)
{
	const u8 *ip = b + from->l3;

	CHECK_EQ(be16_load(ip + (from->is_v6 ? 4 : 2)), size - from->l3 - (from->is_v6 ? 40 : 0));
	if (from->is_udp)
		CHECK_EQ(be16_load(b + from->l4 + 4), size - from->l4);
}

static void check_tcp(const struct receiver *r, const u8 *b, bool is_last)
{
	u8 wanted = r->from->flags;

	wanted &= (u8) ~(r->n ? CWR : 0);
	wanted &= (u8) ~(is_last ? 0 : FIN | PSH);
	CHECK_EQ(be32_load(b + r->from->l4 + 4), (u32)(0xffffff00 + r->n_bytes));
	CHECK_EQ(b[r->from->l4 + 13], wanted);
}

static int receive(void *opaque, const struct net_frame *f)
{
	struct receiver *r = opaque;
	const struct packet *from = r->from;
	u8 *b = NEW_ARRAY(u8, f->size);
	size_t at = 0, n = f->size - from->payload;

	if (r->limit && r->n == r->limit) {
		free(b);
		return -EAGAIN;
	}
	for (unsigned i = 0; i < f->n_iov; at += f->iov[i++].iov_len)
		memcpy(b + at, f->iov[i].iov_base, f->iov[i].iov_len);
	CHECK_EQ(at, f->size);
	CHECK_EQ(f->header.flags, NET_DATA_VALID);
	CHECK_EQ(f->header.gso, NET_GSO_NONE);
	CHECK(r->gso_size == 0 || (n > 0 && n <= r->gso_size));
	check_sums(from, b, f->size);
	check_lengths(from, b, f->size);
	if (!from->is_udp)
		check_tcp(r, b, r->n_bytes + n == from->payload_size);
	if (!from->is_v6)
		CHECK_EQ(be16_load(b + from->l3 + 4), (u16)(0xfffe + r->n));
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(b[from->payload + i], payload_byte(r->n_bytes + i));
	r->n_bytes += n;
	r->n++;
	free(b);
	return 0;
}

/* Each once, so that a difference tells what made it. */
static const struct packet kinds[] = {
	{.flags = ACK | PSH | FIN | CWR, .payload_size = 5000},
	{.flags = ACK, .n_options = 3, .payload_size = 65535 - 52},
	{.flags = ACK, .n_tags = 1, .payload_size = 2897},
	{.flags = ACK, .n_tags = 2, .n_options = 10, .payload_size = 1449},
	{.is_v6 = true, .flags = ACK | FIN, .payload_size = 64000},
	{.is_v6 = true, .n_extensions = 2, .n_tags = 1, .flags = ACK, .payload_size = 4344},
	{.is_udp = true, .payload_size = 60001},
	{.is_udp = true, .is_v6 = true, .payload_size = 2001},
};

TEST(a_large_segment_becomes_packets_that_a_receiver_takes)
{
	static const u16 sizes[] = {1448, 1000, 537};
	struct packet *p = NEW(struct packet);
	struct iovec iov[8];

	for (size_t i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(sizes); i++) {
		u16 gso_size = sizes[i % ARRAY_SIZE(sizes)];
		struct receiver r = {.from = p, .gso_size = gso_size};
		u32 n = 0;

		*p = kinds[i / ARRAY_SIZE(sizes)];
		make_packet(p);
		struct net_frame f = frame_of(p, iov, gso_size);

		CHECK(offload_check(&f));
		CHECK_EQ(f.header.hdr_len, p->payload);
		CHECK_EQ(offload_split(&f, &n, receive, &r), 0);
		CHECK_EQ(n, r.n);
		CHECK_EQ(n, (p->payload_size + gso_size - 1) / gso_size);
		CHECK_EQ(r.n_bytes, p->payload_size);
	}
	free(p);
}

TEST(a_receiver_without_room_gets_the_rest_later)
{
	struct packet *p = NEW(struct packet);
	struct receiver r = {.from = p, .gso_size = 1000};
	struct iovec iov[8];
	u32 n = 0;

	*p = kinds[0];
	make_packet(p);
	struct net_frame f = frame_of(p, iov, 1000);

	CHECK(offload_check(&f));
	for (r.limit = 1; r.limit < 5; r.limit++) {
		CHECK_EQ(offload_split(&f, &n, receive, &r), -EAGAIN);
		CHECK_EQ(n, r.limit);
	}
	CHECK_EQ(offload_split(&f, &n, receive, &r), 0);
	CHECK_EQ(r.n_bytes, 5000);
	free(p);
}

/* A sender may leave the length out of a large segment's pseudo-header: it isn't asked. */
TEST(a_checksum_is_completed_of_packets_and_of_segments_whole)
{
	struct packet *p = NEW(struct packet);
	struct iovec iov[8];

	for (size_t i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		struct receiver r = {.from = p};

		*p = kinds[i / 2];
		make_packet(p);
		struct net_frame f = frame_of(p, iov, i % 2 ? 500 : 0);

		if (i % 2)
			be16_store(p->bytes + p->l4 + f.header.csum_offset, 0x1234);
		CHECK(offload_check(&f));
		r.n = 0;
		if (!p->is_v6) /* the identification is the first one's */
			CHECK_EQ(be16_load(p->bytes + p->l3 + 4), 0xfffe);
		CHECK_EQ(offload_finish_csum(&f, receive, &r), 0);
		CHECK_EQ(r.n, 1);
		CHECK_EQ(r.n_bytes, p->payload_size);
	}
	free(p);
}

TEST(a_sum_of_nothing_is_never_written_as_none)
{
	struct csum c = {0};
	const u8 ones[2] = {0xff, 0xff};

	csum_add(&c, ones, 2);
	CHECK_EQ(csum_end(&c), 0xffff);
}

TEST(sums_do_not_depend_on_how_the_bytes_are_cut)
{
	u8 bytes[300];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 31 + 5);
	for (size_t size = 0; size < 70; size++) {
		u16 wanted = (u16)~slow_sum(bytes, size, 0), got;

		for (size_t cut = 0; cut <= size; cut++) {
			struct iovec iov[2] = {{bytes, cut}, {bytes + cut, size - cut}};
			struct csum c = {0};

			csum_add_iov(&c, iov, 0, size);
			got = csum_end(&c);
			CHECK_EQ(be16_load(&got), wanted ? wanted : 0xffff);
		}
	}
	for (size_t skip = 0; skip < 200; skip++) {
		struct iovec iov[2] = {{bytes, 101}, {bytes + 101, 199}};
		u16 wanted = (u16)~slow_sum(bytes + skip, 99, 0), got;
		struct csum c = {0};

		csum_add_iov(&c, iov, skip, 99);
		got = csum_end(&c);
		CHECK_EQ(be16_load(&got), wanted);
	}
}

/* --- what doesn't go together --- */

static bool is_possible(const struct packet *p, struct net_header h)
{
	struct iovec iov[8];
	struct net_frame f = frame_of(p, iov, 0);

	f.header = h;
	return offload_check(&f);
}

TEST(a_header_that_does_not_go_with_its_frame_is_refused)
{
	struct packet *p = NEW(struct packet);
	struct net_header good, h;

	*p = kinds[0];
	make_packet(p);
	good = header_of(p, 1000);
	CHECK(is_possible(p, good));

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		h = good;                                                                          \
		change;                                                                            \
		CHECK(!is_possible(p, h));                                                         \
	} while (0)
	REFUSED(h.gso = NET_GSO_TCP6);
	REFUSED(h.gso = NET_GSO_UDP);
	REFUSED(h.gso = 3); /* UFO is gone */
	REFUSED(h.gso = NET_GSO_ECN);
	REFUSED(h.gso = NET_GSO_UDP | NET_GSO_ECN);
	REFUSED(h.gso_size = 0);
	REFUSED(h.flags = 0);
	REFUSED(h.csum_start++);
	REFUSED(h.csum_offset = 6);
	REFUSED(h.gso = 0; h.csum_start = (u16)p->size; h.csum_offset = 0);
	REFUSED(h.gso = 0; h.csum_start = UINT16_MAX; h.csum_offset = UINT16_MAX);
	REFUSED(p->bytes[p->l3] = 0x44); /* IPv4 header too short */
	p->bytes[p->l3] = 0x45;
	REFUSED(be16_store(p->bytes + p->l3 + 6, 0x2000)); /* a fragment */
	be16_store(p->bytes + p->l3 + 6, 0x4000);
	REFUSED(p->bytes[p->l3 + 9] = IPPROTO_ICMP);
	p->bytes[p->l3 + 9] = IPPROTO_TCP;
	REFUSED(p->bytes[p->l4 + 12] = 0x40); /* TCP header too short */
	REFUSED(p->size = p->l4 + 30; p->bytes[p->l4 + 12] = 0xf0);
#undef REFUSED
	free(p);
}

TEST(a_header_is_cleaned_of_what_has_no_meaning)
{
	struct packet *p = NEW(struct packet);
	struct iovec iov[8];

	*p = kinds[0];
	make_packet(p);
	struct net_frame f = frame_of(p, iov, 5000); /* small enough already */

	f.header.flags = 0xff;
	CHECK(offload_check(&f));
	CHECK_EQ(f.header.gso, NET_GSO_NONE);
	CHECK_EQ(f.header.gso_size, 0);
	CHECK_EQ(f.header.flags, NET_NEEDS_CSUM | NET_DATA_VALID);
	f.header = (struct net_header){.hdr_len = 99, .csum_start = 60000, .csum_offset = 7};
	CHECK(offload_check(&f));
	CHECK_EQ(f.header.hdr_len | f.header.csum_start | f.header.csum_offset, 0);
	free(p);
}

/* The guest may change its memory between our looks at it. */
TEST(a_segment_that_changes_after_the_check_is_dropped)
{
	struct packet *p = NEW(struct packet);
	struct receiver r = {.from = p, .gso_size = 1000};
	struct iovec iov[8];
	u32 n = 0;

	*p = kinds[0];
	make_packet(p);
	struct net_frame f = frame_of(p, iov, 1000);

	CHECK(offload_check(&f));
	p->bytes[p->l3 + 9] = IPPROTO_UDP;
	CHECK_EQ(offload_split(&f, &n, receive, &r), 0);
	CHECK_EQ(offload_finish_csum(&f, receive, &r), 0);
	CHECK_EQ(r.n, 0);
	free(p);
}
