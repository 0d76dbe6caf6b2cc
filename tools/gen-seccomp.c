/*
 * Compiles the folders' `syscalls` files into seccomp programs, at build time, one per thread role.
 *
 * usage: gen-seccomp OUTPUT.h FILE...
 *
 * A line is: NAME ROLE[,ROLE...] [ARG==VALUE | ARG&MASK==VALUE] # WHY. Lines of one system call and
 * role are alternatives. Everything not listed fails with EPERM; foreign architectures (32-bit
 * entry, x32) kill the process. VALUE may be "self": the process id, put in when the program is
 * loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "confine/seccomp_self.h"

/* The process's program holds the rules of all roles, and those of the set-up. */
enum { ROLE_MAIN, ROLE_IO, ROLE_VCPU, ROLE_SETUP, ROLES };
static const char *const role_names[ROLES] = {"main", "io", "vcpu", "setup"};
#define ROLE_PROCESS ROLE_SETUP

__attribute__((noreturn)) static void die(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	exit(1);
}

/* Parses "1==0xae80", "2&4==0" or "0==self". */
static struct scmp_arg_cmp parse_condition(const char *text, const char *file, int line)
{
	struct scmp_arg_cmp c = {0};
	char *end;

	c.arg = (unsigned)strtoul(text, &end, 10);
	if (c.arg > 5 || end == text)
		die(file, line, "bad argument number");
	c.op = SCMP_CMP_EQ;
	if (*end == '&') {
		c.op = SCMP_CMP_MASKED_EQ;
		c.datum_a = strtoull(end + 1, &end, 0);
	}
	if (strncmp(end, "==", 2))
		die(file, line, "expected ==");
	uint64_t value = strcmp(end + 2, "self") ? strtoull(end + 2, &end, 0) : SECCOMP_SELF;
	if (c.op == SCMP_CMP_EQ)
		c.datum_a = value;
	else
		c.datum_b = value;
	return c;
}

static void add_rule(scmp_filter_ctx ctx, const char *name, const char *condition, const char *file,
		     int line)
{
	int nr = seccomp_syscall_resolve_name(name);
	int r;

	if (nr == __NR_SCMP_ERROR)
		die(file, line, "no such system call");
	if (*condition) {
		struct scmp_arg_cmp c = parse_condition(condition, file, line);

		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 1, &c);
	} else {
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 0, NULL);
	}
	if (r < 0 && r != -EEXIST)
		die(file, line, strerror(-r));
}

static void parse_line(scmp_filter_ctx *ctx, char *text, const char *file, int line)
{
	char name[64], roles[64], condition[64] = "";
	char *comment = strchr(text, '#');

	if (comment)
		*comment = '\0';
	if (sscanf(text, "%63s %63s %63s", name, roles, condition) < 2) {
		if (strspn(text, " \t\n") != strlen(text))
			die(file, line, "expected: NAME ROLES [CONDITION] # WHY");
		return;
	}
	if (!comment || strspn(comment + 1, " \t\n") == strlen(comment + 1))
		die(file, line, "a system call needs a reason");
	for (char *save, *role = strtok_r(roles, ",", &save); role;
	     role = strtok_r(NULL, ",", &save)) {
		bool is_known = false;

		for (int i = 0; i < ROLES; i++) {
			if (strcmp(role, role_names[i]))
				continue;
			is_known = true;
			add_rule(ctx[i], name, condition, file, line);
			add_rule(ctx[ROLE_PROCESS], name, condition, file, line);
		}
		if (!is_known)
			die(file, line, "roles are main, io, vcpu, setup");
	}
}

static void parse_file(scmp_filter_ctx *ctx, const char *file)
{
	FILE *f = fopen(file, "r");
	char text[512];

	if (!f)
		die(file, 0, strerror(errno));
	for (int line = 1; fgets(text, sizeof(text), f); line++)
		parse_line(ctx, text, file, line);
	fclose(f);
}

/* Writes one role's program as an array of struct sock_filter. */
static void print_program(FILE *out, scmp_filter_ctx ctx, const char *role)
{
	struct {
		uint16_t code;
		uint8_t jt, jf;
		uint32_t k;
	} insn;
	FILE *tmp = tmpfile();

	if (!tmp || seccomp_export_bpf(ctx, fileno(tmp)) < 0)
		die(role, 0, "cannot export the program");
	if (lseek(fileno(tmp), 0, SEEK_SET) < 0)
		die(role, 0, strerror(errno));
	fprintf(out, "static const struct sock_filter seccomp_%s[] = {\n", role);
	while (read(fileno(tmp), &insn, sizeof(insn)) == sizeof(insn))
		fprintf(out, "\t{0x%04x, %u, %u, 0x%08x},\n", insn.code, insn.jt, insn.jf, insn.k);
	fprintf(out, "};\n\n");
	fclose(tmp);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx[ROLES];
	FILE *out;

	if (argc < 3)
		die("usage", 0, "gen-seccomp OUTPUT.h FILE...");
	for (int i = 0; i < ROLES; i++) {
		ctx[i] = seccomp_init(SCMP_ACT_ERRNO(EPERM));
		if (!ctx[i] ||
		    seccomp_attr_set(ctx[i], SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0)
			die("libseccomp", 0, "cannot begin a filter");
		/* A tree: fewer steps for each system call made. */
		seccomp_attr_set(ctx[i], SCMP_FLTATR_CTL_OPTIMIZE, 2);
	}
	/* Its flags lie in memory, where a filter can't look: the C library then uses clone. */
	if (seccomp_rule_add_array(ctx[ROLE_PROCESS], SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0,
				   NULL) < 0)
		die("libseccomp", 0, "cannot refuse clone3");
	for (int i = 2; i < argc; i++)
		parse_file(ctx, argv[i]);
	out = fopen(argv[1], "w");
	if (!out)
		die(argv[1], 0, strerror(errno));
	fprintf(out, "/* Generated by tools/gen-seccomp from the folders' syscalls files. */\n");
	for (int i = 0; i < ROLES; i++)
		print_program(out, ctx[i], role_names[i]);
	if (fclose(out))
		die(argv[1], 0, strerror(errno));
	return 0;
}
