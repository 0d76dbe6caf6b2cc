/*
 * posada-slirp as its users meet it: the real program, with a guest that is made of raw frames and
 * a host that is the loopback. Needs no network.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "net/frame.h"
#include "test.h"

#define GUEST "10.0.2.15"

static const u8 guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

struct net {
	pid_t pid;
	int fd, err_fd;
	struct frame_reader in;
	char report[512]; /* its line on the ready descriptor */
};

/* Starts the program; ready: 1 when its line said so by being empty, else 0. */
static void net_start(struct net *n, const char *const *args, ssize_t *out_ready)
{
	const char *argv[16] = {"posada-slirp", "--fd", "3", "--ready-fd", "4"};
	const char *env[] = {"ASAN_OPTIONS=detect_leaks=0",
			     NULL}; /* the sandbox allows no ptrace */
	posix_spawn_file_actions_t fa;
	int sv[2], ready[2], error[2];
	ssize_t got;

	for (int i = 0; args[i]; i++)
		argv[5 + i] = args[i];
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	CHECK_EQ(pipe2(ready, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(error, O_CLOEXEC), 0);
	/* Out of the way of 3 and 4, which dup2 fills. */
	int stream = fcntl(sv[1], F_DUPFD_CLOEXEC, 20),
	    report = fcntl(ready[1], F_DUPFD_CLOEXEC, 20);

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, stream, 3);
	posix_spawn_file_actions_adddup2(&fa, report, 4);
	posix_spawn_file_actions_adddup2(&fa, error[1], 2);
	CHECK_EQ(posix_spawn(&n->pid, POSADA_SLIRP, &fa, NULL, (char **)argv, (char **)env), 0);
	posix_spawn_file_actions_destroy(&fa);
	close(stream);
	close(report);
	close(sv[1]);
	close(ready[1]);
	close(error[1]);
	n->fd = sv[0];
	n->err_fd = error[0];
	frame_reader_init(&n->in);
	memset(n->report, 0, sizeof(n->report));
	got = read(ready[0], n->report, sizeof(n->report) - 1);
	CHECK(got > 0); /* one write, so one read */
	*out_ready = n->report[0] == '\n';
	close(ready[0]);
}

/* Closes the stream, which ends it; returns its exit status. */
static int net_stop(struct net *n)
{
	int status;

	close(n->fd);
	CHECK_EQ(waitpid(n->pid, &status, 0), n->pid);
	close(n->err_fd);
	frame_reader_fini(&n->in);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void net_send(struct net *n, const u8 *frame, u32 size)
{
	const be32 header = be32_of(size);

	CHECK_EQ(fd_write_full(n->fd, &header, sizeof(header)), 0);
	CHECK_EQ(fd_write_full(n->fd, frame, size), 0);
}

/* Answers "who has 10.0.2.15": libslirp asks before it sends there. */
static bool net_answer_arp(struct net *n, const u8 *f, size_t size)
{
	u8 a[42];

	if (size < 42 || be16_load(f + 12) != ETHERTYPE_ARP || be16_load(f + 20) != 1)
		return false;
	memcpy(a, f, sizeof(a));
	memcpy(a, f + 6, 6);
	memcpy(a + 6, guest_mac, 6);
	be16_store(a + 20, 2);
	memcpy(a + 22, guest_mac, 6);
	memcpy(a + 28, f + 38, 4);
	memcpy(a + 32, f + 22, 10);
	net_send(n, a, sizeof(a));
	return true;
}

/* The next IPv4 packet of this protocol to the guest, in buf; size 0 when the program has ended. */
static size_t net_receive(struct net *n, u8 proto, u8 *buf, size_t max)
{
	const u8 *f;
	size_t size;

	for (;;) {
		while (frame_reader_peek(&n->in, &f, &size) == 1) {
			bool is_wanted = !net_answer_arp(n, f, size) && size > 34 &&
					 be16_load(f + 12) == ETHERTYPE_IP && f[23] == proto;

			size = MIN(size, max);
			memcpy(buf, f, size);
			frame_reader_pop(&n->in);
			if (is_wanted)
				return size;
		}
		struct pollfd p = {.fd = n->fd, .events = POLLIN};

		CHECK_EQ(poll(&p, 1, 30000), 1); /* a limit, not a measure */
		if (frame_reader_fill(&n->in, n->fd) == 0)
			return 0;
	}
}

static u16 checksum(const u8 *p, size_t size, u32 sum)
{
	for (size_t i = 0; i + 1 < size; i += 2)
		sum += be16_load(p + i);
	if (size % 2)
		sum += (u32)p[size - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}

/* An IPv4 frame whose payload of size bytes is at f + 34 already. */
static u32 make_ip(u8 *f, const char *to, const char *from, u8 proto, u32 size)
{
	u8 *ip = f + 14;

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	be16_store(f + 12, ETHERTYPE_IP);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	be16_store(ip + 2, (u16)(20 + size));
	ip[8] = 64;
	ip[9] = proto;
	CHECK_EQ(inet_pton(AF_INET, from, ip + 12), 1);
	CHECK_EQ(inet_pton(AF_INET, to, ip + 16), 1);
	be16_store(ip + 10, checksum(ip, 20, 0));
	return 34 + size;
}

static void send_udp(struct net *n, const char *from, const char *to, u16 sport, u16 dport,
		     const void *data, u16 size)
{
	u8 f[1500];

	be16_store(f + 34, sport);
	be16_store(f + 36, dport);
	be16_store(f + 38, (u16)(8 + size));
	be16_store(f + 40, 0);
	memcpy(f + 42, data, size);
	net_send(n, f, make_ip(f, to, from, IPPROTO_UDP, 8u + size));
}

static void send_syn(struct net *n, const char *to, u16 port)
{
	u8 f[64] = {0}, *t = f + 34;

	be16_store(t, 40000);
	be16_store(t + 2, port);
	be32_store(t + 4, 1000);
	t[12] = 5 << 4;
	t[13] = TH_SYN;
	be16_store(t + 14, 65000);

	u32 size = make_ip(f, to, GUEST, IPPROTO_TCP, 20);

	be16_store(t + 16, checksum(f + 26, 28, IPPROTO_TCP + 20)); /* addresses, then TCP */
	net_send(n, f, size);
}

static int listen_on_loopback(u16 *out_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK_EQ(listen(fd, 5), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	*out_port = ntohs(a.sin_port);
	return fd;
}

/* A port that nobody listens on, at the moment. */
static u16 free_port(void)
{
	u16 port;

	close(listen_on_loopback(&port));
	return port;
}

static const char *const no_args[] = {NULL};

TEST(dhcp_offers_the_guest_its_address)
{
	u8 m[244] = {1, 1, 6, 0, 0, 0, 0x12, 0x34}, got[1500];
	struct net n;
	ssize_t ready;

	net_start(&n, no_args, &ready);
	CHECK_EQ(ready, 1);
	memcpy(m + 28, guest_mac, 6);
	memcpy(m + 236, "\x63\x82\x53\x63\x35\x01\x01\xff", 8);
	send_udp(&n, "0.0.0.0", "255.255.255.255", 68, 67, m, sizeof(m));
	CHECK(net_receive(&n, IPPROTO_UDP, got, sizeof(got)) > 42 + 240);
	CHECK_EQ(be16_load(got + 36), 68);
	CHECK_MEM(got + 42 + 16, "\x0a\x00\x02\x0f", 4);
	CHECK_EQ(net_stop(&n), 0);
}

/* A packet that must be lost, then one that is answered: had the first got through, it would have
 * been seen before. */
TEST(the_hosts_loopback_is_closed_unless_asked_for)
{
	static const char *const ways[] = {"127.0.0.1", "0.0.0.0", "10.0.2.3"};
	static const char *const open_args[] = {"--host", "on", NULL};
	struct net n;
	ssize_t ready;
	u16 port;
	u8 got[1500];
	int listener = listen_on_loopback(&port);
	struct pollfd p = {.fd = listener, .events = POLLIN};

	net_start(&n, no_args, &ready);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		send_syn(&n, ways[i], port);
	send_syn(&n, "10.0.2.2", port);
	CHECK(net_receive(&n, IPPROTO_ICMP, got, sizeof(got)) > 0);
	CHECK_EQ(got[34], 3); /* unreachable */
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(net_stop(&n), 0);

	net_start(&n, open_args, &ready);
	send_syn(&n, "10.0.2.2", port);
	CHECK(net_receive(&n, IPPROTO_TCP, got, sizeof(got)) >= 54);
	CHECK_EQ(got[34 + 13], TH_SYN | TH_ACK);
	CHECK_EQ(poll(&p, 1, 30000), 1);
	CHECK_EQ(net_stop(&n), 0);
	close(listener);
}

TEST(a_forwarded_port_leads_into_the_guest)
{
	char forward[32];
	const char *args[] = {"--forward", forward, NULL};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct net n;
	ssize_t ready;
	u8 got[1500];

	a.sin_port = htons(free_port());
	snprintf(forward, sizeof(forward), "tcp:%u:22", ntohs(a.sin_port));
	net_start(&n, args, &ready);
	CHECK_EQ(ready, 1);
	CHECK_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK(net_receive(&n, IPPROTO_TCP, got, sizeof(got)) >= 54);
	CHECK_EQ(be16_load(got + 36), 22);
	CHECK_EQ(got[34 + 13], TH_SYN);
	CHECK_EQ(net_stop(&n), 0);
	close(fd);
}

/* Ends by itself, without getting ready, and says why. */
static void check_refusal(const char *const *args, const char *words)
{
	struct net n;
	ssize_t ready;

	net_start(&n, args, &ready);
	CHECK_EQ(ready, 0);
	CHECK(strstr(n.report, words));
	CHECK_EQ(net_stop(&n), 1);
}

TEST(a_port_in_use_and_other_mistakes_are_explained)
{
	static const char *const bad_host[] = {"--host", "maybe", NULL};
	static const char *const bad_forward[] = {"--forward", "22", NULL};
	static const char *const bad_fd[] = {"--fd", "x", NULL};
	static const char *const stray[] = {"stray", NULL};
	char forward[32];
	const char *in_use[] = {"--forward", forward, NULL};
	u16 port;
	int listener = listen_on_loopback(&port);

	snprintf(forward, sizeof(forward), "tcp:%u:22", port);
	check_refusal(in_use, "cannot listen on TCP port");
	check_refusal(in_use, "Address already in use");
	check_refusal(bad_host, "--host is on or off, not 'maybe'");
	check_refusal(bad_forward, "forward '22'");
	check_refusal(bad_fd, "'x' is no descriptor");
	check_refusal(stray, "'stray' is not expected");
	close(listener);
}

TEST(a_peer_that_breaks_the_framing_ends_it)
{
	struct net n;
	ssize_t ready;
	char text[512] = {0};

	net_start(&n, no_args, &ready);
	CHECK_EQ(write(n.fd, "\xff\xff\xff\xff", 4), 4);
	CHECK(read(n.err_fd, text, sizeof(text) - 1) > 0);
	CHECK(strstr(text, "frame that is too long"));
	CHECK_EQ(net_stop(&n), 1);
}

static unsigned long status_field(pid_t pid, const char *name, int base)
{
	char path[64], line[256];
	unsigned long value = ~0ul;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoul(line + strlen(name), NULL, base);
	}
	fclose(f);
	return value;
}

TEST(it_runs_without_privileges_under_a_filter)
{
	struct net n;
	ssize_t ready;

	net_start(&n, no_args, &ready);
	CHECK_EQ(status_field(n.pid, "Seccomp:", 10), 2);
	CHECK_EQ(status_field(n.pid, "NoNewPrivs:", 10), 1);
	CHECK_EQ(status_field(n.pid, "CapEff:", 16), 0);
	CHECK_EQ(status_field(n.pid, "CapPrm:", 16), 0);
	CHECK_EQ(net_stop(&n), 0);
}
