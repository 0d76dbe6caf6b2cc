/*
 * A request to posada-image. See image.h; the messages are in image/helper/helper.h.
 */
#include "launch/image.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "block/uri.h"
#include "confine/uid.h"
#include "crypt/secret.h"
#include "launch/launch_priv.h"
#include "proto/control.h"
#include "proto/text.h"

#define IMAGE_STOP_MS 10000 /* to come to an end, when asked for it */

struct image_process {
	struct launch_image *image;
	pid_t pid;
	int sock;
	int uid_lock;
	int signals; /* a signalfd */
	sigset_t old_mask;
	bool is_stopping;
};

void launch_image_init(struct launch_image *i)
{
	*i = (struct launch_image){0};
}

void launch_image_fini(struct launch_image *i, bool keeps_created)
{
	for (unsigned n = 0; n < i->n_files; n++) {
		struct launch_image_file *f = &i->files[n];

		if (f->is_created && !keeps_created)
			unlink(f->path);
		fd_close(f->fd);
		free(f->path);
	}
	i->n_files = 0;
	launch_secrets_fini(&i->secrets);
}

/* --- a person's files --- */

int launch_image_add_fd(struct launch_image *i, int fd, const char *path, const char *format,
			bool is_writable, struct err *err)
{
	const struct img_format *f = format ? img_find_format(format) : NULL;

	if (format && !f)
		return err_set(err, -EINVAL, "there is no format '%s'", format);
	assert(i->n_files < LAUNCH_IMAGE_FILES);
	i->files[i->n_files] = (struct launch_image_file){
		.fd = fd,
		.path = str_dup(path),
		.format = f ? f->name : NULL,
		.is_writable = is_writable,
		.parent = -1,
		.root = (int)i->n_files,
	};
	return (int)i->n_files++;
}

static int image_open(const char *path, bool is_writable, struct err *err)
{
	int flags = (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	AUTO_FD int fd = open(path, flags);
	struct stat st;

	if (fd < 0 && errno == EISDIR)
		return err_set(err, -EISDIR,
			       "%s is a directory; an image is a file or a block device", path);
	if (fd < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot look at %s", path);
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR,
			       "%s is a directory; an image is a file or a block device", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, -EINVAL, "%s is neither a regular file nor a block device",
			       path);
	return fd_take(fd);
}

/* Where names in it are followed from is where it really is, whatever links are changed to meanwhile. */
int launch_image_place(int fd, const char *path, char **out, struct err *err)
{
	AUTO(free) char *real = realpath(path, NULL);
	struct stat opened, there;

	if (!real || lstat(real, &there) < 0 || fstat(fd, &opened) < 0)
		return err_errno(err, -errno, "cannot find %s", path);
	if (there.st_dev != opened.st_dev || there.st_ino != opened.st_ino)
		return err_set(err, -ESTALE, "%s was replaced while it was opened; try again",
			       path);
	*out = take(real);
	return 0;
}

static int image_add_remote(struct launch_image *i, const char *name, const char *format,
			    bool is_writable, struct err *err)
{
	AUTO_FD int fd = -1;
	int r = launch_open_remote(name, !is_writable, &fd, err);

	if (r == 0)
		r = launch_image_add_fd(i, fd, name, format, is_writable, err);
	if (r < 0)
		return r;
	fd_take(fd);
	i->files[r].is_remote = true;
	return r;
}

int launch_image_add(struct launch_image *i, const char *path, const char *format, bool is_writable,
		     struct err *err)
{
	AUTO_FD int fd = -1;
	AUTO(free) char *real = NULL;
	int r;

	if (blk_is_uri(path))
		return image_add_remote(i, path, format, is_writable, err);
	fd = image_open(path, is_writable, err);
	if (fd < 0)
		return fd;
	if (!i->names.is_shared && launch_lock_disk(fd, !is_writable, err) < 0)
		return err_wrap(err, "%s", path);
	r = launch_image_place(fd, path, &real, err);
	if (r < 0)
		return r;
	r = launch_image_add_fd(i, fd, real, format, is_writable, err);
	if (r < 0)
		return err_wrap(err, "%s", path);
	fd_take(fd);
	return r;
}

int launch_image_bypass_cache(struct launch_image *i, unsigned file, struct err *err)
{
	const struct launch_image_file *f = &i->files[file];
	int flags;

	assert(file < i->n_files);
	if (f->is_remote)
		return 0;
	flags = fcntl(f->fd, F_GETFL);
	if (flags < 0 || fcntl(f->fd, F_SETFL, flags | O_DIRECT) < 0)
		return err_errno(err, -errno, "%s can't be used without the page cache", f->path);
	return 0;
}

/* --- the process --- */

static int image_block_signals(struct image_process *p, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &p->old_mask);
	p->signals = signalfd(-1, &set, SFD_CLOEXEC);
	return p->signals < 0 ? err_errno(err, -errno, "cannot wait for signals") : 0;
}

static int image_take_uid(struct image_process *p, uid_t *out, struct err *err)
{
	const struct confine_uids range = CONFINE_UIDS_DEFAULT;
	int r = geteuid() == 0 ? confine_uid_take(&range, out, &p->uid_lock, err) : 0;

	/* The root of a container has no others: it goes on with its own. */
	return r == -ERANGE ? 0 : r;
}

static int image_start(struct image_process *p, struct err *err)
{
	AUTO(free) char *path = launch_find_program("posada-image");
	AUTO_FD int theirs = -1;
	char number[16];
	const char *argv[] = {"posada-image", NULL, NULL, NULL};
	/* Who asks and doesn't take the answers may not hold us up: signals are blocked. */
	const struct timeval answer_wait = {.tv_sec = 10};
	struct launch_program program = {
		.path = path, .argv = argv, .n_fds = 1, .is_confined = true};
	uid_t uid = 0;
	int pair[2], r = image_take_uid(p, &uid, err);

	if (r < 0)
		return r;
	if (uid) {
		snprintf(number, sizeof(number), "%u", uid);
		argv[1] = "--uid";
		argv[2] = number;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket");
	p->sock = pair[0];
	theirs = pair[1];
	setsockopt(p->sock, SOL_SOCKET, SO_SNDTIMEO, &answer_wait, sizeof(answer_wait));
	program.fds = &theirs;
	return launch_spawn(&program, &p->pid, err);
}

static void image_end(struct image_process *p)
{
	int status;

	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, &status, 0);
	}
	fd_close(p->sock);
	fd_close(p->uid_lock);
	fd_close(p->signals);
	sigprocmask(SIG_SETMASK, &p->old_mask, NULL);
}

/* It is gone, without having said why. */
static int image_explain_end(struct image_process *p, struct err *err)
{
	int status;

	waitpid(p->pid, &status, 0);
	p->pid = 0;
	if (WIFSIGNALED(status))
		return err_set(err, -EPIPE,
			       "the process that worked on it (posada-image) was killed by "
			       "signal %d (%s)",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
	return err_set(err, -EPIPE,
		       "the process that worked on it (posada-image) ended with status %d",
		       WEXITSTATUS(status));
}

/* --- messages --- */

static int image_send(struct image_process *p, json_t *message, const int *fds, size_t n_fds)
{
	char *text = json_dumps(message, JSON_COMPACT);
	int r = text ? fd_send(p->sock, text, strlen(text), fds, n_fds) : -ENOMEM;

	free(text);
	json_decref(message);
	return r;
}

static json_t *image_file_json(const struct launch_image_file *f)
{
	json_t *o = json_pack("{s:b}", "writable", f->is_writable);
	const char *slash = f->path && !f->is_remote ? strrchr(f->path, '/') : NULL;
	json_t *name = slash ? json_string(slash + 1) : NULL;

	if (name) /* it is UTF-8 */
		json_object_set_new(o, "name", name);
	if (f->is_remote)
		json_object_set_new(o, "remote", json_true());
	if (f->format)
		json_object_set_new(o, "format", json_string(f->format));
	return o;
}

/* What goes with a request, in this order: files, secrets' pipes, the pipe for keys. */
struct image_parcel {
	int fds[CONTROL_MAX_FDS];
	unsigned n_fds, n_files; /* behind the files they are ours */
	json_t *files, *secrets;
};

static int image_pack_secrets(const struct launch_image *i, struct image_parcel *p, struct err *err)
{
	for (unsigned n = 0; n < i->secrets.n; n++) {
		int fd = secret_pipe(i->secrets.list[n].bytes, err);

		if (fd < 0)
			return err_wrap(err, "a secret");
		p->fds[p->n_fds++] = fd;
		json_array_append_new(p->secrets, json_string(i->secrets.list[n].id));
	}
	return 0;
}

static int image_pack(const struct launch_image *i, struct image_parcel *p, struct err *err)
{
	assert(i->n_files + i->secrets.n < CONTROL_MAX_FDS);
	for (unsigned n = 0; n < i->n_files; n++) {
		p->fds[p->n_fds++] = i->files[n].fd;
		json_array_append_new(p->files, image_file_json(&i->files[n]));
	}
	p->n_files = p->n_fds;
	return image_pack_secrets(i, p, err);
}

static int image_request(struct image_process *p, const char *command, json_t *arguments,
			 struct err *err)
{
	const struct launch_image *i = p->image;
	struct image_parcel with = {.files = json_array(), .secrets = json_array()};
	int r = image_pack(i, &with, err);

	if (r == 0) {
		json_t *m = json_pack("{s:s, s:O, s:O, s:O, s:b}", "command", command, "arguments",
				      arguments, "files", with.files, "secrets", with.secrets,
				      "keys", i->wants_keys);

		with.fds[with.n_fds] = i->keys_fd;
		r = image_send(p, m, with.fds, with.n_fds + i->wants_keys);
		if (r < 0)
			err_errno(err, r, "cannot ask posada-image");
	}
	for (unsigned n = with.n_files; n < with.n_fds; n++)
		close(with.fds[n]);
	json_decref(with.files);
	json_decref(with.secrets);
	return r;
}

/* What an image names. The process may be in anybody's hands: nothing it says is believed. */
static int image_parse_wish(const struct launch_image *i, const json_t *m,
			    struct launch_image_wish *out, struct err *err)
{
	json_int_t file = json_integer_value(json_object_get(m, "file"));
	json_int_t index = json_integer_value(json_object_get(m, "index"));

	*out = (struct launch_image_wish){
		.file = (unsigned)file,
		.index = (unsigned)index,
		.name = json_string_value(json_object_get(m, "name")),
		.format = json_string_value(json_object_get(m, "format")),
		.is_writable = json_is_true(json_object_get(m, "writable")),
	};
	if (file < 0 || file >= i->n_files || index < 0 || index > UINT32_MAX || !out->name ||
	    img_role_find(json_string_value(json_object_get(m, "role")), &out->role) < 0)
		return err_set(err, -EPROTO, "a question that can't be understood");
	return 0;
}

static int image_answer(struct image_process *p, const json_t *m, bool is_new, struct err *err)
{
	struct launch_image_wish wish;
	struct err why = ERR_INIT;
	int n = image_parse_wish(p->image, m, &wish, &why), r;

	if (n == 0)
		n = is_new ? launch_image_make(p->image, &wish, &why)
			   : launch_image_follow(p->image, &wish, &why);
	if (n < 0) {
		r = image_send(p,
			       json_pack("{s:{s:i, s:o}}", "error", "code", n, "text",
					 proto_text(why.text)),
			       NULL, 0);
	} else {
		const struct launch_image_file *f = &p->image->files[n];

		r = image_send(p, json_pack("{s:[o]}", "files", image_file_json(f)), &f->fd, 1);
	}
	return r < 0 && r != -EPIPE ? err_errno(err, r, "cannot answer posada-image") : 0;
}

static void image_progress(const struct launch_image *i, const json_t *m)
{
	json_int_t done = json_integer_value(json_array_get(m, 0));
	json_int_t total = json_integer_value(json_array_get(m, 1));

	if (i->on_progress && done >= 0 && total >= done)
		i->on_progress(i->opaque, (u64)done, (u64)total);
}

static int image_failure(const json_t *error, struct err *err)
{
	json_int_t code = json_integer_value(json_object_get(error, "code"));
	const char *text = json_string_value(json_object_get(error, "text"));
	AUTO(free) char *clean = proto_text_clean(str_dup(text && *text ? text : "it failed"));

	return err_set(err, code < 0 && code > -4096 ? (int)code : -EIO, "%s", clean);
}

/* 1: it was the last one. */
static int image_take(struct image_process *p, const json_t *m, json_t **out, struct err *err)
{
	struct launch_image *i = p->image;
	json_t *part;

	if ((part = json_object_get(m, "open")))
		return image_answer(p, part, false, err);
	if ((part = json_object_get(m, "create")))
		return image_answer(p, part, true, err);
	if ((part = json_object_get(m, "progress"))) {
		image_progress(i, part);
		return 0;
	}
	if ((part = json_object_get(m, "item"))) {
		if (i->on_item)
			i->on_item(i->opaque, part);
		return 0;
	}
	if ((part = json_object_get(m, "error")))
		return image_failure(part, err);
	part = json_object_get(m, "result");
	if (!json_is_object(part))
		return err_set(err, -EPROTO,
			       "posada-image said something that can't be understood");
	*out = json_incref(part);
	return 1;
}

static int image_receive(struct image_process *p, json_t **out, struct err *err)
{
	static char text[CONTROL_MAX_MESSAGE];
	size_t n_fds = 0;
	ssize_t n = fd_recv(p->sock, text, sizeof(text), NULL, &n_fds);
	json_t *m;
	int r;

	if (n == 0 || n == -ECONNRESET)
		return image_explain_end(p, err);
	if (n < 0)
		return err_errno(err, (int)n, "cannot hear posada-image");
	m = json_loadb(text, (size_t)n, 0, NULL);
	r = image_take(p, m, out, err);
	json_decref(m);
	return r;
}

/* A signal: the process is killed by who called us, or asked to end. */
static int image_interrupt(struct image_process *p, struct err *err)
{
	struct signalfd_siginfo s;

	if (read(p->signals, &s, sizeof(s)) != sizeof(s))
		return 0;
	if (p->image->is_stoppable && !p->is_stopping) {
		p->is_stopping = true;
		image_send(p, json_pack("{s:b}", "stop", true), NULL, 0);
		return 0;
	}
	p->image->signal = (int)s.ssi_signo;
	return err_set(err, -EINTR, "interrupted (%s)", strsignal((int)s.ssi_signo));
}

static int image_wait(struct image_process *p, json_t **out, struct err *err)
{
	struct pollfd fds[] = {{.fd = p->sock, .events = POLLIN},
			       {.fd = p->signals, .events = POLLIN}};
	int r = 0;

	while (r == 0) {
		int n = poll(fds, ARRAY_SIZE(fds), p->is_stopping ? IMAGE_STOP_MS : -1);

		if (n < 0 && errno != EINTR)
			return err_errno(err, -errno, "cannot wait for posada-image");
		if (n == 0)
			return err_set(err, -ETIMEDOUT, "posada-image doesn't come to an end");
		if (n > 0 && fds[1].revents)
			r = image_interrupt(p, err);
		else if (n > 0 && fds[0].revents)
			r = image_receive(p, out, err);
	}
	return r < 0 ? r : 0;
}

int launch_image_call(struct launch_image *i, const char *command, json_t *arguments, json_t **out,
		      struct err *err)
{
	struct image_process p = {.image = i, .sock = -1, .uid_lock = -1, .signals = -1};
	int r = image_block_signals(&p, err);

	if (!arguments)
		arguments = json_object();
	if (r == 0)
		r = image_start(&p, err);
	if (r == 0)
		r = image_request(&p, command, arguments, err);
	if (r == 0)
		r = image_wait(&p, out, err);
	json_decref(arguments);
	image_end(&p);
	return r;
}

int launch_image_resolve(struct launch_image *i, u64 *out_size, struct err *err)
{
	json_t *result;
	int r = launch_image_call(i, "resolve", NULL, &result, err);

	if (r < 0)
		return r;
	*out_size = (u64)json_integer_value(json_object_get(result, "virtual-size"));
	json_decref(result);
	return 0;
}
