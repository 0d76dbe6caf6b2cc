/*
 * posada: the command line. This file knows the subcommands and nothing else.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/complete.h"
#include "cmd/posada/nearest.h"
#include "posada_version.h"

struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *summary;
};

static const struct command commands[] = {
	{"run", cmd_run, "run a virtual machine"},
	{"ps", cmd_ps, "list the guests that run"},
	{"status", cmd_status, "show what a guest is, and does"},
	{"pause", cmd_pause, "stop a guest's CPUs and its clock"},
	{"resume", cmd_resume, "let a paused guest run on"},
	{"balloon", cmd_balloon, "show or set how much of its memory a guest has"},
	{"vsock", cmd_vsock, "connect to a port of a guest's sockets"},
	{"attach", cmd_device_add, "give a running guest a disk or a network card"},
	{"detach", cmd_device_remove, "take one of them out again"},
	{"resize-disk", cmd_resize_disk, "make the disk of a running guest larger, or smaller"},
	{"job", cmd_job, "copy, mirror, commit or pull a disk while the guest runs"},
	{"devices", cmd_device_list, "list a guest's devices"},
	{"reset", cmd_reset, "reset a guest"},
	{"stop", cmd_stop, "power a guest off, or end it"},
	{"console", cmd_console, "connect to the console of a guest in the background"},
	{"stats", cmd_stats, "show what a guest did and used"},
	{"events", cmd_events, "show what happens to a guest"},
	{"save", cmd_save, "save a guest to a file, from which it goes on later"},
	{"restore", cmd_restore, "let a saved guest go on"},
	{"image", cmd_image, "make, examine, convert and repair disk images"},
	{"doctor", cmd_doctor, "show what this host offers, and what posada will use of it"},
	{"config", cmd_config,
	 "show the defaults that guests are run with, and where they come from"},
	{"completion", cmd_completion, "print a script for the completion of bash, zsh or fish"},
};

static void print_help(FILE *out)
{
	fprintf(out,
		"Usage: posada COMMAND [OPTIONS]\n\n"
		"Virtual machines on any Linux host, with or without hardware virtualization.\n\n"
		"Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-13s %s\n", commands[i].name, commands[i].summary);
	fprintf(out, "\nOptions:\n"
		     "  --help     show this help; `posada COMMAND --help` shows a command's\n"
		     "  --version  show the version\n");
}

/* Closed by who started us, 0 to 2 would be the next files opened: a disk would get our words. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

/* The first word is a command; what may stand behind it, its table of options knows. */
static int complete(int argc, char **argv)
{
	const struct command *c = argc > 3 ? find_command(argv[2]) : NULL;

	if (c) {
		argv[1] = argv[2];
		argv[2] = (char *)COMPLETE_WORD;
		return c->main(argc - 1, argv + 1);
	}
	if (argc != 3)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		complete_offer(argv[2], commands[i].name, commands[i].summary);
	complete_offer(argv[2], "--help", "show this help");
	complete_offer(argv[2], "--version", "show the version");
	return 0;
}

static int explain_command(const char *typed)
{
	struct nearest n = {.typed = typed};
	char text[96];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		nearest_offer(&n, commands[i].name);
	fprintf(stderr, "posada: there is no command '%s'%s; see `posada --help`\n", typed,
		nearest_words(&n, "", text, sizeof(text)));
	return 1;
}

int main(int argc, char **argv)
{
	const struct command *c;

	fill_standard_descriptors();
	if (argc < 2) {
		print_help(stderr);
		return 1;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("posada %s\n", POSADA_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], COMPLETE_WORD))
		return complete(argc, argv);
	c = find_command(argv[1]);
	return c ? c->main(argc - 1, argv + 1) : explain_command(argv[1]);
}
