/*
 * posada save: a guest's state and memory to a file.
 *
 * The guest process writes; we make the file, under another name until it is whole. While either of us
 * has it open it is locked, so that one that was left behind is known as such.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "client/client.h"
#include "client/registry.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"
#include "proto/save_file.h"

#define SAVE_END_TIMEOUT_MS 60000 /* a busy host takes its time to give memory back */

struct save_wishes {
	struct json_option json; /* first */
	bool keeps_running;
	const char *compression;
};

static int save_option_keep_running(void *to, unused char *value, unused struct err *err)
{
	((struct save_wishes *)to)->keeps_running = true;
	return 0;
}

static int save_option_compress(void *to, char *value, struct err *err)
{
	if (strcmp(value, "zstd") && strcmp(value, "none"))
		return err_set(err, -EINVAL, "there is no '%s'; there is: zstd, none", value);
	((struct save_wishes *)to)->compression = value;
	return 0;
}

/* A file of that name that nobody writes any more, and that nobody finished. */
static bool save_is_left_behind(const char *path)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct err err = ERR_INIT;
	struct save_header h;

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && save_header_read(fd, &h, &err) < 0;
}

static int save_create(const char *path, int *out, struct err *err)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
	AUTO_FD int fd = open(path, flags, 0600);

	if (fd < 0 && errno == EEXIST && save_is_left_behind(path) && unlink(path) == 0)
		fd = open(path, flags, 0600);
	if (fd < 0 && errno == EEXIST)
		return err_set(
			err, -EEXIST,
			"%s is there: a guest is being saved to it, or was and nobody renamed it",
			path);
	if (fd < 0)
		return err_errno(err, -errno, "cannot make %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_errno(err, -errno, "cannot lock %s", path);
	*out = fd_take(fd);
	return 0;
}

static int save_ask(const char *guest, int fd, const struct save_wishes *w, json_t **out,
		    struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = client_connect(guest, &c, err);

	if (r < 0)
		return r;
	client_set_timeout(c, CLIENT_FOREVER);
	return client_call(c, "save",
			   json_pack("{s:b, s:s}", "keep-running", w->keeps_running, "compression",
				     w->compression),
			   &fd, 1, out, err);
}

/* The name is on the disk, too. */
static void save_sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	AUTO(free)
	char *dir = slash ? str_format("%.*s/", (int)(slash - path), path) : str_dup(".");
	AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		fsync(fd);
}

static void save_tell(const char *guest, const char *path, const struct save_wishes *w,
		      json_t *result)
{
	char size[32];

	if (w->json.is_json) {
		json_object_set_new(result, "file", json_string(path));
		print_json(result);
		return;
	}
	printf("guest '%s' is saved to %s (%s)%s\n", guest, path,
	       print_size(size, (u64)json_number(result, "bytes")),
	       w->keeps_running ? "; it runs on" : "");
	json_decref(result);
}

static int save_to(const char *guest, const char *path, const struct save_wishes *w,
		   struct err *err)
{
	AUTO(free) char *partial = str_format("%s.partial", path);
	json_t *result;
	AUTO_FD int fd = -1;
	int r = save_create(partial, &fd, err);

	if (r < 0)
		return r;
	r = save_ask(guest, fd, w, &result, err);
	if (r < 0) {
		unlink(partial);
		return err_wrap(err, "guest '%s' is not saved", guest);
	}
	if (rename(partial, path) < 0) {
		err_errno(err, -errno, "guest '%s' is saved to %s, which can't be named %s", guest,
			  partial, path);
		json_decref(result);
		return err->code;
	}
	save_sync_directory(path);
	save_tell(guest, path, w, result);
	/* Who restores it next finds the name free, and the disks. */
	if (!w->keeps_running && registry_wait_gone(guest, SAVE_END_TIMEOUT_MS, err) < 0)
		return err_wrap(err, "guest '%s' is saved, but its process has not ended", guest);
	return 0;
}

int cmd_save(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"keep-running", NULL, save_option_keep_running,
		 "the guest goes on; else its process ends"},
		{"compress", "zstd|none", save_option_compress,
		 "smaller, and slower (default: none; zeroes take no space either way)"},
		OPTION_JSON,
	};
	static const struct option_table table = {
		.command = "save",
		.usage = "NAME FILE [OPTIONS]",
		.summary = "Writes what a guest is doing to FILE; `posada restore FILE` lets it go "
			   "on.\n"
			   "Its disks are not in it: leave them as they are until then.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 2,
		.max_args = 2,
		.missing = "which guest, to which file?",
	};
	struct save_wishes w = {.compression = "none"};
	struct err err = ERR_INIT;
	const char *args[2];
	int status = options_parse(&table, argc, argv, &w, args);

	if (status != OPTIONS_RUN)
		return status;
	if (save_to(args[0], args[1], &w, &err) < 0) {
		fprintf(stderr, "posada: %s\n", err.text);
		return 1;
	}
	return 0;
}
