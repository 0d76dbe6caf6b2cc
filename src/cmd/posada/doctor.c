/*
 * posada doctor: what this host offers, found out by trying, and what posada will use of it.
 */
#include <fcntl.h>
#include <jansson.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accel/kvm/kvm.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/block.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"
#include "confine/cgroup.h"
#include "confine/confine.h"
#include "confine/selinux.h"
#include "confine/uid.h"
#include "mem/gmem.h"

#define DOCTOR_TRY_BYTES (8 * MIB) /* of memory, when huge pages are tried */

struct doctor_row {
	const char *name;
	void (*look)(char *found, char *use, size_t size);
};

static void doctor_kvm(char *found, char *use, size_t size)
{
	struct err err = ERR_INIT;
	AUTO_FD int fd = -1;
	struct kv_measured kvm;

	if (kv_open(&fd, &err) < 0) {
		snprintf(found, size, "%s", err.text);
		snprintf(use, size, "the software CPU");
	} else if (kv_measure(fd, &kvm, &err) < 0) {
		snprintf(found, size, "opens, but: %s", err.text);
		snprintf(use, size, "the software CPU");
	} else if (kvm.insns_per_s < KV_HARDWARE_INSNS_PER_S) {
		snprintf(found, size, "only emulates: %.2f million instructions/s",
			 (double)kvm.insns_per_s / 1e6);
		snprintf(use, size, "the software CPU");
	} else {
		snprintf(found, size, "hardware: over %.0f million instructions/s",
			 (double)kvm.insns_per_s / 1e6);
		snprintf(use, size, "KVM");
	}
}

/* Bytes in huge pages that a touched block of this backing really got; -1: it can't be made. */
static i64 doctor_try_huge(enum gmem_backing backing)
{
	struct epoch *epoch = epoch_new();
	struct gmem *g = gmem_new(epoch, false);
	struct gmem_block *b;
	struct err err = ERR_INIT;
	i64 got = -1;

	if (gmem_block_new(g, "try", backing, DOCTOR_TRY_BYTES, -1, &b, &err) == 0) {
		memset(b->hva, 1, b->size);
		got = (i64)gmem_block_huge_bytes(b);
	}
	gmem_free(g);
	epoch_free(epoch);
	return got;
}

static void doctor_huge_pages(char *found, char *use, size_t size)
{
	i64 anon = doctor_try_huge(GMEM_ANON);
	i64 memfd = doctor_try_huge(GMEM_MEMFD);

	snprintf(found, size, "%s for anonymous memory, %s for memory files",
		 anon > 0 ? "yes" : "no", memfd > 0 ? "yes" : "no");
	snprintf(use, size, "%s", anon > 0 ? "them, under KVM" : "4 KiB pages");
}

static void doctor_io_uring(char *found, char *use, size_t size)
{
	const struct blk_raw_options o = {.engine = BLK_ENGINE_URING};
	struct err err = ERR_INIT;
	struct loop *loop = NULL;
	struct blk *b = NULL;
	int fd = memfd_create("try", MFD_CLOEXEC);
	int r = fd < 0 || ftruncate(fd, BLK_SECTOR) < 0 ? -errno : loop_new(&loop, &err);

	if (!r)
		r = blk_raw_new(loop, fd, &o, &b, &err);
	if (r < 0)
		fd_close(fd);
	snprintf(found, size, "%s", r < 0 ? err.text : "yes, with restrictions");
	snprintf(use, size, "%s for disks", r < 0 ? "threads" : "io_uring");
	blk_free(b);
	loop_free(loop);
}

static void doctor_landlock(char *found, char *use, size_t size)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 0)
		snprintf(found, size, "no (%s)", strerror(errno));
	else
		snprintf(found, size, "ABI %ld", abi);
	snprintf(use, size, "%s", abi < 0 ? "the other layers" : "it, for the guest's processes");
}

/* In a child, as a guest's process would: what came of it is sent through a pipe. */
static void doctor_confine(int fd)
{
	const struct confine_options options = {0};
	struct confine_report report;
	struct err err = ERR_INIT;
	int r = confine_process(&options, &report, &err);

	if (r < 0)
		snprintf(report.missing, sizeof(report.missing), "%s", err.text);
	(void)!write(fd, &report, sizeof(report));
	_exit(0);
}

static void doctor_confinement(char *found, char *use, size_t size)
{
	struct confine_report report = {.missing = "it can't be tried"};
	int pair[2], status;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return;
	pid = confine_fork();
	if (pid == 0)
		doctor_confine(pair[1]);
	close(pair[1]);
	if (pid > 0)
		(void)fd_read_full(pair[0], &report, sizeof(report));
	close(pair[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	snprintf(found, size, "seccomp, %s", report.in_force);
	snprintf(use, size, "%s%s", report.missing[0] ? "them; this host doesn't give: " : "them",
		 report.missing);
}

static void doctor_tun(char *found, char *use, size_t size)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(found, size, "%s", fd < 0 ? strerror(errno) : "may be opened");
	snprintf(use, size, "%s", fd < 0 ? "the user network" : "taps, or the user network");
}

static void doctor_cgroups(char *found, char *use, size_t size)
{
	const struct confine_cgroup_limits limits = {.memory = GIB, .n_processes = 64};
	struct confine_cgroup g;
	struct err err = ERR_INIT;

	if (confine_cgroup_make("doctor", &limits, &g, &err) < 0) {
		snprintf(found, size, "%s", err.text);
		snprintf(use, size, "resource limits");
		return;
	}
	snprintf(found, size, "v%d: memory, processes", g.is_v2 ? 2 : 1);
	snprintf(use, size, "a group for each guest");
	confine_cgroup_remove(&g);
}

static void doctor_uids(char *found, char *use, size_t size)
{
	const struct confine_uids range = CONFINE_UIDS_DEFAULT;
	struct err err = ERR_INIT;
	AUTO_FD int lock = -1;
	uid_t uid;

	if (geteuid() != 0 || confine_uid_take(&range, &uid, &lock, &err) < 0) {
		snprintf(found, size, "%s", err.code ? err.text : "only root has some to give");
		snprintf(use, size, "the launcher's");
		return;
	}
	snprintf(found, size, "%u to %u", range.first, range.first + range.n - 1);
	snprintf(use, size, "one for each of a guest's processes");
}

static void doctor_selinux(char *found, char *use, size_t size)
{
	char label[CONFINE_LABEL_MAX];
	struct err err = ERR_INIT;
	int r = confine_label_make(0, label, &err);

	snprintf(found, size, "%s", r < 0 ? err.text : label);
	snprintf(use, size, "%s", r < 0 ? "the other layers" : "a label for each guest process");
}

static const struct doctor_row doctor_rows[] = {
	{"KVM", doctor_kvm},
	{"huge pages", doctor_huge_pages},
	{"io_uring", doctor_io_uring},
	{"Landlock", doctor_landlock},
	{"confinement", doctor_confinement},
	{"/dev/net/tun", doctor_tun},
	{"cgroups", doctor_cgroups},
	{"uids", doctor_uids},
	{"SELinux", doctor_selinux},
};

/* The row's name as a member's: "huge pages" is huge-pages, "/dev/net/tun" tun. */
static const char *doctor_member(const char *name, char *text, size_t size)
{
	const char *slash = strrchr(name, '/');

	snprintf(text, size, "%s", slash ? slash + 1 : name);
	for (char *p = text; *p; p++) {
		if (*p == ' ')
			*p = '-';
		else if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	}
	return text;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "doctor",
		.usage = "[OPTIONS]",
		.summary = "Shows what this host offers, found out by trying, and what posada will "
			   "use.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	struct json_option o = {0};
	json_t *all;
	int status = options_parse(&table, argc, argv, &o, NULL);

	if (status != OPTIONS_RUN)
		return status;
	all = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(doctor_rows); i++) {
		const struct doctor_row *row = &doctor_rows[i];
		char found[512] = "", use[512] = "", member[64];

		row->look(found, use, sizeof(found));
		json_object_set_new(all, doctor_member(row->name, member, sizeof(member)),
				    json_pack("{s:s, s:s}", "found", found, "use", use));
		if (!o.is_json)
			printf("%-16s %s\n%-16s -> %s\n", row->name, found, "", use);
	}
	if (o.is_json)
		print_json(all);
	else
		json_decref(all);
	return 0;
}
