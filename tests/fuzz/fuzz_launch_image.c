/*
 * Fuzz target: what posada-image says to its launcher, which believes nothing of it. The first byte: may parts be
 * made, and is anything shared; then messages, each up to a NUL.
 *
 * Whatever they say, the launcher opens and makes nothing outside of the image's directory, and comes to an end.
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "launch/image.c" /* its messages are its own */
#include "launch/image_names.c"

#define MESSAGES_MAX 32
#define MESSAGE_MAX  4096

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- what isn't reached, or is nobody's matter here --- */

char *launch_find_program(unused const char *name)
{
	abort();
}

int launch_spawn(unused const struct launch_program *p, unused pid_t *out, unused struct err *err)
{
	abort();
}

int confine_uid_take(unused const struct confine_uids *range, unused uid_t *out,
		     unused int *out_lock, unused struct err *err)
{
	abort();
}

/* Nothing was allowed but what lies beside the image. */
int launch_open_remote(unused const char *name, unused bool is_readonly, unused int *out,
		       unused struct err *err)
{
	abort();
}

int launch_lock_disk(int fd, bool is_readonly, struct err *err)
{
	return blk_lock_fd(fd, is_readonly, err);
}

void launch_secrets_fini(unused struct launch_secrets *s)
{
}

/* --- the target --- */

static char directory[] = "/tmp/fuzz-launch-image-XXXXXX";

static char *fuzz_path(const char *name)
{
	return str_format("%s/%s", directory, name);
}

static void fuzz_make(const char *name)
{
	AUTO(free) char *path = fuzz_path(name);
	AUTO_FD int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		abort();
}

static void fuzz_clean_up(void)
{
	static const char *const names[] = {"image", "base", "sub/other", "sub", "link", ""};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO(free) char *path = fuzz_path(names[i]);

		remove(path);
	}
}

int LLVMFuzzerInitialize(unused int *argc, unused char ***argv)
{
	AUTO(free) char *sub = NULL, *link = NULL;

	if (!mkdtemp(directory))
		abort();
	sub = fuzz_path("sub");
	link = fuzz_path("link");
	if (mkdir(sub, 0700) < 0 || symlink("/etc/passwd", link) < 0)
		abort();
	fuzz_make("image");
	fuzz_make("base");
	fuzz_make("sub/other");
	return atexit(fuzz_clean_up);
}

static void fuzz_send(int sock, const uint8_t *data, size_t size)
{
	static const char end[] = "{\"error\":{\"code\":-5,\"text\":\"the end\"}}";

	for (unsigned n = 0; size && n < MESSAGES_MAX; n++) {
		size_t length = strnlen((const char *)data, size);

		if (length && length <= MESSAGE_MAX)
			(void)fd_send(sock, data, length, NULL, 0);
		data += MIN(length + 1, size);
		size -= MIN(length + 1, size);
	}
	(void)fd_send(sock, end, sizeof(end) - 1, NULL, 0);
}

static void fuzz_progress(unused void *opaque, u64 done, u64 total)
{
	assert(done <= total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct launch_image i;
	struct image_process p = {.image = &i, .uid_lock = -1, .signals = -1};
	AUTO(free) char *path = fuzz_path("image");
	struct err err = ERR_INIT;
	json_t *out = NULL;
	int pair[2], r = 0;

	if (!size || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	launch_image_init(&i);
	i.on_progress = fuzz_progress;
	i.makes_parts = data[0] & 1;
	i.names.is_shared = data[0] & 2;
	if (launch_image_add(&i, path, "qcow2", data[0] & 4, &err) < 0)
		abort();
	fuzz_send(pair[1], data + 1, size - 1);
	close(pair[1]);
	p.sock = pair[0];
	while (r == 0) /* to the last one, an error or a result */
		r = image_receive(&p, &out, &err);
	assert(r == 1 || (r < 0 && err.text[0]));
	for (unsigned n = 0; n < i.n_files; n++)
		assert(!i.files[n].is_remote &&
		       strncmp(i.files[n].path, directory, strlen(directory)) == 0);
	json_decref(out);
	launch_image_fini(&i, false);
	close(pair[0]);
	return 0;
}
