/* proto/: the configuration and control messages go there and back; strangers' are refused. */
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "proto/control.h"
#include "proto/guest_config.h"

static int null_fd(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void sample_config(struct guest_config *c)
{
	guest_config_init(c);
	c->accel = GUEST_ACCEL_SOFT;
	c->n_cpus = 3;
	c->memory = 6 * GIB;
	c->kernel_fd = null_fd();
	c->kernel_path = str_dup("/boot/k");
	c->n_disks = 2;
	c->disks[0].path = str_dup("a.img");
	c->disks[0].fd = null_fd();
	c->disks[1].path = str_dup("b.img");
	c->disks[1].fd = null_fd();
	c->disks[1].overlay_fd = null_fd();
	c->disks[1].is_readonly = true;
	c->disks[1].cache = GUEST_CACHE_NONE;
	c->n_nics = 1;
	c->nics[0] = (struct guest_nic){.kind = GUEST_NET_TAP,
					.fd = null_fd(),
					.more_fds[0].fd = null_fd(),
					.n_more_fds = 1,
					.n_queues = 2,
					.mtu = 9000,
					.mac = {2, 1, 2, 3, 4, 255}};
	c->n_channels = 1;
	c->channels[0] = (struct guest_channel){.name = str_dup("agent"), .fd = null_fd()};
	c->console = GUEST_CONSOLE_LISTEN;
	c->console_fd = null_fd();
	c->on_crash = GUEST_CRASH_PAUSE;
}

TEST(a_configuration_survives_its_message)
{
	int fds[GUEST_CONFIG_MAX_FDS], passed[GUEST_CONFIG_MAX_FDS];
	struct guest_config c, got;
	struct err err = ERR_INIT;
	char *text, *again;
	size_t n, m;

	sample_config(&c);
	text = guest_config_encode(&c, fds, &n);
	CHECK_EQ(n, 8);
	for (size_t i = 0; i < n; i++)
		passed[i] = dup(fds[i]);
	CHECK_EQ(guest_config_decode(text, strlen(text), passed, n, &got, &err), 0);
	again = guest_config_encode(&got, fds, &m);
	CHECK_STR(again, text);
	CHECK_EQ(got.disks[1].overlay_fd, passed[3]);
	CHECK_EQ(got.nics[0].mac[5], 255);
	CHECK_EQ(got.nics[0].mtu, 9000);
	CHECK_EQ(got.nics[0].n_queues, 2);
	CHECK_STR(got.channels[0].name, "agent");
	free(text);
	free(again);
	guest_config_fini(&c);
	guest_config_fini(&got);
}

TEST(a_strangers_configuration_is_refused_and_its_descriptors_closed)
{
	static const char *const bad[] = {
		"", "{}", "[]", "{\"version\":1}", "{\"version\":1,\"version\":1}", "null",
	};
	struct guest_config got;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd = null_fd();

		CHECK(guest_config_decode(bad[i], strlen(bad[i]), &fd, 1, &got, &err) < 0);
		CHECK_EQ(fcntl(fd, F_GETFD), -1);
	}
}

/* The sample's message with its one occurrence of a part replaced, decoded. */
static int decode_changed(const char *part, const char *by, struct err *err)
{
	int fds[GUEST_CONFIG_MAX_FDS], r;
	char *text, *at, *changed;
	struct guest_config c, got;
	size_t n;

	sample_config(&c);
	text = guest_config_encode(&c, fds, &n);
	for (size_t i = 0; i < n; i++)
		fds[i] = dup(fds[i]);
	at = strstr(text, part);
	CHECK(at);
	changed = str_format("%.*s%s%s", (int)(at - text), text, by, at + strlen(part));
	r = guest_config_decode(changed, strlen(changed), fds, n, &got, err);
	if (!r)
		guest_config_fini(&got);
	free(changed);
	free(text);
	guest_config_fini(&c);
	return r;
}

TEST(descriptors_out_of_range_or_used_twice_are_refused)
{
	static const char *const changes[][2] = {
		{"\"kernel\":0", "\"kernel\":77"},
		{"\"kernel\":0", "\"kernel\":-2"},
		{"\"kernel\":0", "\"kernel\":0,\"initrd\":0"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct err err = ERR_INIT;

		CHECK_EQ(decode_changed(changes[i][0], changes[i][1], &err), -EINVAL);
		CHECK_ERR(err, "no descriptor");
	}
}

TEST(unknown_members_words_and_versions_are_refused_by_name)
{
	static const char *const changes[][3] = {
		{"\"cpus\":3", "\"cpus\":3,\"colour\":1", "'colour'"},
		{"\"soft\"", "\"hard\"", "'hard'"},
		{"\"version\":1", "\"version\":2", "version 2"},
		{"\"cpus\":3", "\"cpus\":33", "33 CPUs"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct err err = ERR_INIT;

		CHECK_EQ(decode_changed(changes[i][0], changes[i][1], &err), -EINVAL);
		CHECK_ERR(err, changes[i][2]);
	}
}

TEST(members_that_are_as_usual_are_left_out_and_mean_the_same)
{
	static const char least[] =
		"{\"version\":1,\"name\":\"a\",\"machine\":\"pc-1\",\"cpu\":\"host\","
		"\"accel\":\"soft\",\"cpus\":2,\"memory\":67108864}";
	struct guest_config got;
	struct err err = ERR_INIT;
	char *text;

	CHECK_EQ(guest_config_decode(least, strlen(least), NULL, 0, &got, &err), 0);
	CHECK_EQ(got.kernel_fd, -1);
	CHECK_EQ(got.n_disks, 0);
	CHECK_STR(got.append, "");
	text = guest_config_encode_plain(&got);
	CHECK(!strstr(text, "append") && !strstr(text, "disks") && !strstr(text, "kernel"));
	free(text);
	guest_config_fini(&got);
}

TEST(what_older_peers_write_in_full_means_the_same)
{
	struct err err = ERR_INIT;

	CHECK_EQ(decode_changed("\"kernel\":0", "\"kernel\":0,\"initrd\":-1,\"kvm\":-1", &err), 0);
}

TEST(at_rest_a_configuration_has_no_descriptors)
{
	struct guest_config c, got;
	struct err err = ERR_INIT;
	char *text;

	sample_config(&c);
	text = guest_config_encode_plain(&c);
	CHECK(!strstr(text, "fd") && !strstr(text, "overlay"));
	CHECK_EQ(guest_config_decode_plain(text, strlen(text), &got, &err), 0);
	CHECK_STR(got.disks[1].path, "b.img");
	CHECK_EQ(got.disks[1].fd, -1);
	CHECK_EQ(got.console, GUEST_CONSOLE_LISTEN);
	guest_config_fini(&got);
	free(text);
	text = str_dup("{\"version\":1,\"kernel\":0}");
	CHECK_EQ(guest_config_decode_plain(text, strlen(text), &got, &err), -EINVAL);
	free(text);
	guest_config_fini(&c);
}

TEST(what_has_the_wrong_type_or_range_is_refused_by_name)
{
	static const char *const changes[][3] = {
		{"\"cpus\":3", "\"cpus\":\"3\"", "'cpus' is not a number"},
		{"\"cpus\":3", "\"cpus\":-1", "'cpus' is not a number"},
		{"\"cpus\":3", "\"cpus\":4294967297", "'cpus' is not a number"},
		{"\"readonly\":true", "\"readonly\":1", "disk 1: 'readonly' is neither"},
		{"[2,1,2,3,4,255]", "[2,1,2,3,4,256]", "nic 0: 'mac'"},
		{"[2,1,2,3,4,255]", "[2,1,2,3,4]", "nic 0: 'mac'"},
		{"\"agent\"", "7", "channel 0: 'name' is not a text"},
		{"\"agent\"", "\"\"", "a channel's name"},
		{"\"name\":\"guest\",", "", "'name' is missing"},
		{"\"soft\"", "1", "'accel' is not a word"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct err err = ERR_INIT;

		CHECK_EQ(decode_changed(changes[i][0], changes[i][1], &err), -EINVAL);
		CHECK_ERR(err, changes[i][2]);
	}
}

TEST(a_balloon_leaves_the_guest_something)
{
	struct guest_config c;
	struct err err = ERR_INIT;

	guest_config_init(&c);
	CHECK(c.has_balloon && c.has_reporting);
	c.balloon_size = 31 * MIB;
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	CHECK_ERR(err, "leaves 32 MiB at least");
	c.balloon_size = c.memory + MIB;
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	c.balloon_size = c.memory;
	CHECK_EQ(guest_config_check(&c, &err), 0);
	c.balloon_stats = GUEST_MAX_STATS + 1;
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	guest_config_fini(&c);
}

TEST(more_devices_than_a_guest_has_are_refused)
{
	static char text[8000] =
		"{\"version\":1,\"name\":\"a\",\"machine\":\"pc-1\",\"cpu\":\"host\","
		"\"accel\":\"soft\",\"cpus\":2,\"memory\":67108864,\"disks\":[";
	struct guest_config got;
	struct err err = ERR_INIT;

	for (int i = 0; i <= GUEST_MAX_DISKS; i++)
		strcat(text, i ? ",{\"path\":\"x\"}" : "{\"path\":\"x\"}");
	strcat(text, "]}");
	CHECK_EQ(guest_config_decode(text, strlen(text), NULL, 0, &got, &err), -EINVAL);
	CHECK_ERR(err, "17 of 'disks'");
}

TEST(limits_are_explained)
{
	struct guest_config c;
	struct err err = ERR_INIT;

	sample_config(&c);
	CHECK_EQ(guest_config_check(&c, &err), 0);
	c.n_cpus = 0;
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	CHECK_STR(err.text, "0 CPUs: a guest has 1 to 32");
	c.n_cpus = 1;
	c.memory = KIB;
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	CHECK_STR(err.text, "1 KiB of memory: a guest has 32 MiB to 1024 GiB");
	c.memory = GIB;
	free(c.machine);
	c.machine = str_dup("pc-7");
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	CHECK_ERR(err, "pc-7");
	guest_config_fini(&c);
}

TEST(paths_of_any_bytes_lose_no_disk)
{
	int fds[GUEST_CONFIG_MAX_FDS];
	struct guest_config c, got;
	struct err err = ERR_INIT;
	char *text;
	size_t n;

	sample_config(&c);
	free(c.disks[0].path);
	c.disks[0].path = str_dup("b\xff\"d.img");
	free(c.kernel_path);
	c.kernel_path = str_dup("\xc3");
	CHECK_EQ(guest_config_check(&c, &err), 0);
	text = guest_config_encode(&c, fds, &n);
	for (size_t i = 0; i < n; i++)
		fds[i] = dup(fds[i]);
	CHECK_EQ(guest_config_decode(text, strlen(text), fds, n, &got, &err), 0);
	CHECK_EQ(got.n_disks, 2);
	CHECK_STR(got.disks[0].path, "b?\"d.img");
	CHECK_STR(got.kernel_path, "?");
	free(text);
	guest_config_fini(&c);
	guest_config_fini(&got);
}

TEST(a_command_line_that_is_no_text_is_refused)
{
	struct guest_config c;
	struct err err = ERR_INIT;

	sample_config(&c);
	free(c.append);
	c.append = str_dup("root=\xff");
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	CHECK_ERR(err, "command line is not UTF-8");
	free(c.append);
	c.append = str_dup("name=\xc3\xbc");
	CHECK_EQ(guest_config_check(&c, &err), 0);
	free(c.cpu);
	c.cpu = str_dup("\xff");
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	guest_config_fini(&c);
}

TEST(an_event_is_sent_whatever_bytes_its_text_has)
{
	struct control_event e = {CONTROL_STOPPED, CONTROL_FAILED, 0, "disk \xe9: cut in \xc3"},
			     got;
	struct err err = ERR_INIT;
	size_t n_fds = 0;
	char buf[512];
	int pair[2];
	ssize_t n;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	CHECK_EQ(control_send_event(pair[0], &e), 0);
	n = fd_recv(pair[1], buf, sizeof(buf), NULL, &n_fds);
	CHECK_EQ(control_parse_event(buf, (size_t)n, &got, &err), 0);
	CHECK_STR(got.text, "disk ?: cut in ?");
	close(pair[0]);
	close(pair[1]);
}

TEST(control_messages_go_there_and_back)
{
	struct control_event e = {CONTROL_STOPPED, CONTROL_PANIC, 7, "kernel panic"}, got;
	enum control_command command;
	struct err err = ERR_INIT;
	size_t n_fds = 0;
	char buf[512];
	int pair[2];
	ssize_t n;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	CHECK_EQ(control_send_event(pair[0], &e), 0);
	n = fd_recv(pair[1], buf, sizeof(buf), NULL, &n_fds);
	CHECK_EQ(control_parse_event(buf, (size_t)n, &got, &err), 0);
	CHECK_EQ(got.kind, CONTROL_STOPPED);
	CHECK_EQ(got.reason, CONTROL_PANIC);
	CHECK_EQ(got.code, 7);
	CHECK_STR(got.text, "kernel panic");
	CHECK_EQ(control_send_command(pair[0], CONTROL_RESET), 0);
	n = fd_recv(pair[1], buf, sizeof(buf), NULL, &n_fds);
	CHECK_EQ(control_parse_command(buf, (size_t)n, &command, &err), 0);
	CHECK_EQ(command, CONTROL_RESET);
	CHECK_EQ(control_parse_command("{\"command\":\"fly\"}", 17, &command, &err), -ENOTSUP);
	CHECK_ERR(err, "'fly'");
	CHECK_EQ(control_parse_command("{\"command\":3}", 13, &command, &err), -EINVAL);
	CHECK_EQ(control_parse_event("{\"event\":\"x\"}", 13, &got, &err), -ENOTSUP);
	close(pair[0]);
	CHECK(control_send_command(pair[1], CONTROL_QUIT) < 0);
	close(pair[1]);
}

static void add_file(struct guest_disk *d, enum guest_file_role role, unsigned parent,
		     const char *path)
{
	struct guest_disk_file *f = &d->files[d->n_files++];

	f->role = role;
	f->parent = parent;
	f->path = str_dup(path);
}

TEST(what_lies_beneath_is_forgotten_with_all_its_parts)
{
	struct guest_disk d;

	guest_disk_init(&d);
	add_file(&d, GUEST_FILE_BACKING, 0, "base");
	add_file(&d, GUEST_FILE_DATA, 0, "data");
	add_file(&d, GUEST_FILE_EXTENT, 1, "base's");
	add_file(&d, GUEST_FILE_EXTENT, 2, "data's");
	add_file(&d, GUEST_FILE_BACKING, 1, "bottom");
	add_file(&d, GUEST_FILE_EXTENT, 5, "bottom's");
	guest_disk_forget_backing(&d);
	CHECK_EQ(d.n_files, 2);
	CHECK_STR(d.files[0].path, "data");
	CHECK_EQ(d.files[0].parent, 0);
	CHECK_STR(d.files[1].path, "data's");
	CHECK_EQ(d.files[1].parent, 1);
	CHECK(!d.files[2].path && d.files[2].fd == -1);
	guest_disk_fini(&d);
}

TEST(names_and_slots_are_each_devices_own)
{
	struct err err = ERR_INIT;
	struct guest_config c;

	sample_config(&c);
	c.disks[0].name = str_dup("data");
	c.disks[0].slot = 3;
	c.nics[0].name = str_dup("data");
	CHECK_EQ(guest_config_check(&c, &err), -EEXIST);
	CHECK_ERR(err, "there is a device 'data' already");
	strcpy(c.nics[0].name, "lan");
	c.nics[0].slot = 3;
	CHECK_EQ(guest_config_check(&c, &err), -EEXIST);
	CHECK_ERR(err, "two devices in slot 3");
	c.nics[0].slot = 33;
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	c.nics[0].slot = 4;
	CHECK_EQ(guest_config_check(&c, &err), 0);
	strcpy(c.nics[0].name, "a/b");
	CHECK_EQ(guest_config_check(&c, &err), -EINVAL);
	guest_config_fini(&c);
}
