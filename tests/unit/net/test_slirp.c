/*
 * The user-mode network's own parts: the guard of the host's loopback, the words of a forward.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/err.h"
#include "net/slirp/forward.h"
#include "net/slirp/guard.h"
#include "test.h"

/* --- the guard --- */

static struct guard test_guard(void)
{
	struct guard g;

	inet_pton(AF_INET, "10.0.2.3", &g.dns);
	inet_pton(AF_INET6, "fec0::3", &g.dns6);
	return g;
}

/* A frame to an address and port; proto 6, 17, 1. Returns its size. */
static size_t frame4(u8 *f, const char *to, u8 proto, u16 port, u16 fragment)
{
	memset(f, 0, 64);
	be16_store(f + 12, 0x0800);
	f[14] = 0x45;
	be16_store(f + 20, fragment);
	f[23] = proto;
	CHECK_EQ(inet_pton(AF_INET, to, f + 30), 1);
	be16_store(f + 36, port);
	return 64;
}

static size_t frame6(u8 *f, const char *to, u8 proto, u16 port)
{
	memset(f, 0, 80);
	be16_store(f + 12, 0x86dd);
	f[14] = 0x60;
	f[20] = proto;
	CHECK_EQ(inet_pton(AF_INET6, to, f + 38), 1);
	be16_store(f + 56, port);
	return 80;
}

TEST(nothing_reaches_the_hosts_loopback)
{
	static const char *const bad4[] = {"127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3"};
	static const char *const bad6[] = {"::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0",
					   "::127.0.0.1"};
	static const char *const good4[] = {"128.0.0.1", "126.255.255.255", "10.0.2.2",
					    "255.255.255.255", "1.1.1.1"};
	static const char *const good6[] = {"fec0::2", "2001:db8::1", "ff02::2", "::ffff:10.0.0.1"};
	struct guard g = test_guard();
	u8 f[128];

	for (size_t i = 0; i < ARRAY_SIZE(bad4); i++) {
		CHECK(!guard_allows(&g, f, frame4(f, bad4[i], 6, 80, 0)));
		CHECK(!guard_allows(&g, f, frame4(f, bad4[i], 17, 53, 0x2000)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad6); i++)
		CHECK(!guard_allows(&g, f, frame6(f, bad6[i], 6, 80)));
	for (size_t i = 0; i < ARRAY_SIZE(good4); i++)
		CHECK(guard_allows(&g, f, frame4(f, good4[i], 6, 80, 0)));
	for (size_t i = 0; i < ARRAY_SIZE(good6); i++)
		CHECK(guard_allows(&g, f, frame6(f, good6[i], 6, 80)));
}

TEST(the_name_server_serves_names_and_nothing_else)
{
	struct guard g = test_guard();
	u8 f[128];

	CHECK(guard_allows(&g, f, frame4(f, "10.0.2.3", 17, 53, 0)));
	CHECK(guard_allows(&g, f, frame4(f, "10.0.2.3", 6, 53, 0)));
	CHECK(guard_allows(&g, f, frame4(f, "10.0.2.3", 1, 0, 0)));
	CHECK(guard_allows(&g, f, frame4(f, "10.0.2.3", 17, 53, 0x4000))); /* don't fragment */
	CHECK(!guard_allows(&g, f, frame4(f, "10.0.2.3", 6, 22, 0)));
	CHECK(!guard_allows(&g, f, frame4(f, "10.0.2.3", 17, 123, 0)));
	CHECK(!guard_allows(&g, f, frame4(f, "10.0.2.3", 17, 53, 0x2000))); /* more to come */
	CHECK(!guard_allows(&g, f, frame4(f, "10.0.2.3", 17, 53, 1)));
	CHECK(!guard_allows(&g, f, frame4(f, "10.0.2.3", 132, 53, 0)));
	CHECK(guard_allows(&g, f, frame6(f, "fec0::3", 17, 53)));
	CHECK(guard_allows(&g, f, frame6(f, "fec0::3", 58, 0)));
	CHECK(!guard_allows(&g, f, frame6(f, "fec0::3", 6, 22)));
	CHECK(!guard_allows(&g, f, frame6(f, "fec0::3", 0, 53))); /* extension headers */

	/* The port is where the header's length says. */
	frame4(f, "10.0.2.3", 6, 53, 0);
	f[14] = 0x46;
	CHECK(!guard_allows(&g, f, 64));
	be16_store(f + 40, 53);
	CHECK(guard_allows(&g, f, 64));
}

/* On the heap and of exactly this size, so that the sanitizer sees where it ends. */
static bool allows_cut(const struct guard *g, const u8 *frame, size_t size)
{
	u8 *copy = malloc(size);
	bool is_allowed;

	memcpy(copy, frame, size);
	is_allowed = guard_allows(g, copy, size);
	free(copy);
	return is_allowed;
}

TEST(short_frames_are_dropped_and_not_read_beyond_their_end)
{
	struct guard g = test_guard();
	u8 f[128];

	frame4(f, "10.0.2.3", 6, 53, 0);
	for (size_t size = 1; size < 38; size++)
		CHECK(!allows_cut(&g, f, size));
	CHECK(allows_cut(&g, f, 38));
	f[14] = 0x4f; /* a header longer than the frame */
	CHECK(!allows_cut(&g, f, 64));
	frame6(f, "fec0::3", 6, 53);
	for (size_t size = 1; size < 58; size++)
		CHECK(!allows_cut(&g, f, size));
	CHECK(allows_cut(&g, f, 58));

	memset(f, 0, sizeof(f));
	be16_store(f + 12, 0x0806);
	CHECK(allows_cut(&g, f, 42)); /* ARP */
}

/* --- forwards --- */

TEST(a_forward_says_protocol_address_and_ports)
{
	struct err err = ERR_INIT;
	struct forward f;

	CHECK_EQ(forward_parse("tcp:2222:22", &f, &err), 0);
	CHECK(!f.is_udp);
	CHECK_EQ(f.host.s_addr, htonl(0x7f000001));
	CHECK_EQ(f.host_port, 2222);
	CHECK_EQ(f.guest_port, 22);
	CHECK_EQ(forward_parse("udp:0.0.0.0:53:5353", &f, &err), 0);
	CHECK(f.is_udp);
	CHECK_EQ(f.host.s_addr, 0);
	CHECK_EQ(f.host_port, 53);
	CHECK_EQ(f.guest_port, 5353);
}

TEST(a_wrong_forward_is_explained)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "should be tcp:"},
		{"tcp", "should be tcp:"},
		{"sctp:1:2", "should be tcp:"},
		{"tcp:22", "guest's port"},
		{"tcp:2222:", "guest's port"},
		{"tcp:2222:0", "guest's port"},
		{"tcp:2222:65536", "guest's port"},
		{"tcp:2222:22x", "guest's port"},
		{"tcp:-1:22", "host's port"},
		{"tcp::22", "host's port"},
		{"tcp:localhost:2222:22", "'localhost' is no IPv4 address"},
		{"tcp:1.2.3:2222:22", "no IPv4 address"},
		{"tcp:::1:2222:22", "no IPv4 address"},
		{"tcp:1111111111111111111111111111111111111111111111111111111111111:1", "too long"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;
		struct forward f;

		CHECK_EQ(forward_parse(bad[i].text, &f, &err), -EINVAL);
		CHECK_ERR(err, bad[i].words);
	}
}
