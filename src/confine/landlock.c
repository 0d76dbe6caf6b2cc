/*
 * Landlock: no file by name, no TCP port, no abstract socket and no signal to anybody outside, as far
 * as the kernel knows each. Descriptors that are open already stay what they are.
 *
 * The interface is declared here, as the system's header knows its first levels only
 * (Documentation/userspace-api/landlock.rst).
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "confine/confine_priv.h"

#define LANDLOCK_VERSION_FLAG   1u
#define LANDLOCK_PATH_BENEATH   1
#define LANDLOCK_NET_PORT       2
#define LANDLOCK_FS_READ_FILE   BIT(2)
#define LANDLOCK_NET_BIND       BIT(0)
#define LANDLOCK_NET_CONNECT    BIT(1)
#define LANDLOCK_SCOPE_ABSTRACT BIT(0)
#define LANDLOCK_SCOPE_SIGNAL   BIT(1)

struct landlock_rules {
	u64 fs, net, scoped;
};

struct landlock_beneath {
	u64 allowed;
	i32 fd;
} packed;

struct landlock_port {
	u64 allowed, port;
};

/* What each ABI level can deny: file rights are added at the end. */
static struct landlock_rules landlock_all(long abi, const struct confine_options *o)
{
	static const unsigned fs_bits[] = {0, 13, 14, 15, 15, 16};
	struct landlock_rules all = {0};

	all.fs = BIT(fs_bits[MIN((size_t)abi, ARRAY_SIZE(fs_bits) - 1)]) - 1;
	if (abi >= 4 && (!o->has_network || o->tcp_port))
		all.net = LANDLOCK_NET_BIND | LANDLOCK_NET_CONNECT;
	if (abi >= 6)
		all.scoped = LANDLOCK_SCOPE_ABSTRACT | LANDLOCK_SCOPE_SIGNAL;
	return all;
}

/* An older kernel refuses a structure that is longer than it knows, unless the rest is 0: it is. */
static int landlock_restrict(const struct landlock_rules *all, int readable_dir, u16 tcp_port)
{
	AUTO_FD int rules = (int)syscall(SYS_landlock_create_ruleset, all, sizeof(*all), 0);
	const struct landlock_beneath beneath = {LANDLOCK_FS_READ_FILE, readable_dir};
	const struct landlock_port port = {LANDLOCK_NET_CONNECT, tcp_port};

	if (rules < 0)
		return -1;
	if (readable_dir >= 0 &&
	    syscall(SYS_landlock_add_rule, rules, LANDLOCK_PATH_BENEATH, &beneath, 0) < 0)
		return -1;
	if (all->net && tcp_port &&
	    syscall(SYS_landlock_add_rule, rules, LANDLOCK_NET_PORT, &port, 0) < 0)
		return -1;
	return (int)syscall(SYS_landlock_restrict_self, rules, 0);
}

void confine_enter_landlock(int readable_dir, const struct confine_options *o,
			    struct confine_report *r)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
	struct landlock_rules all;

	if (abi > 0) {
		all = landlock_all(abi, o);
		if (landlock_restrict(&all, readable_dir, o->has_network ? o->tcp_port : 0) == 0) {
			confine_note(r, "Landlock ABI %ld", abi);
			r->is_without_files = true;
			return;
		}
	}
	confine_note_missing(r, "Landlock (%s)", strerror(errno));
}
