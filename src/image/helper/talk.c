/*
 * The messages between posada-image and its launcher. See helper.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "crypt/secret.h"
#include "image/helper/helper_priv.h"
#include "proto/control.h"
#include "proto/text.h"

#define TALK_PROGRESS_NS (100 * NSEC_PER_MSEC)

void helper_tell(struct helper *h, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	/* A launcher that is gone is noticed with the next question, or ends us. */
	if (text)
		(void)fd_send(h->sock, text, strlen(text), NULL, 0);
	free(text);
	json_decref(message);
}

void helper_tell_item(struct helper *h, json_t *item)
{
	helper_tell(h, json_pack("{s:o}", "item", item));
}

void helper_tell_progress(void *opaque, u64 done, u64 total)
{
	struct helper *h = opaque;
	u64 now = time_mono_ns();

	if (done < total && now - h->told_ns < TALK_PROGRESS_NS)
		return;
	h->told_ns = now;
	helper_tell(h, json_pack("{s:[I,I]}", "progress", (json_int_t)done, (json_int_t)total));
}

static int talk_add_file(struct helper *h, int fd, const json_t *file, struct err *err)
{
	const char *format = arg_text(file, "format"), *name = arg_text(file, "name");
	struct helper_file *to = &h->files[h->n_files];
	const struct img_format *f = format ? img_find_format(format) : NULL;

	if (format && !f)
		return err_set(err, -EINVAL, "there is no format '%s'", format);
	*to = (struct helper_file){.fd = fd,
				   .format = f,
				   .is_writable = arg_bool(file, "writable"),
				   .is_remote = arg_bool(file, "remote")};
	if (name)
		snprintf(to->name, sizeof(to->name), "%s", name);
	h->n_files++;
	return 0;
}

/* "files": one for each descriptor, in their order. */
static int talk_add_files(struct helper *h, const json_t *message, int *fds, size_t n_fds,
			  struct err *err)
{
	const json_t *files = json_object_get(message, "files");
	int r = 0;

	if (json_array_size(files) != n_fds || h->n_files + n_fds > HELPER_MAX_FILES)
		r = err_set(err, -EMFILE, "more than %d files", HELPER_MAX_FILES);
	for (size_t i = 0; i < n_fds; i++) {
		if (r == 0)
			r = talk_add_file(h, fds[i], json_array_get(files, i), err);
		if (r < 0)
			close(fds[i]);
	}
	return r;
}

/* --- secrets --- */

static int talk_read_secret(struct helper *h, const json_t *id, int fd, struct err *err)
{
	struct secret *s;
	int r = json_is_string(id) ? secret_read(fd, &s, err) : err_set(err, -EPROTO, "no name");

	if (r < 0)
		return err_wrap(err, "a secret");
	h->secret_bytes[h->n_secrets] = s;
	h->secrets[h->n_secrets++] = (struct img_secret){
		.id = str_dup(json_string_value(id)), .bytes = s->bytes, .n_bytes = s->n};
	return 0;
}

void helper_forget_secrets(struct helper *h)
{
	for (unsigned i = 0; i < h->n_secrets; i++) {
		secret_free(h->secret_bytes[i]);
		free((char *)h->secrets[i].id);
	}
	h->n_secrets = 0;
}

/* Those of fds, from the n-th on, that are no files; *n_fds becomes the files' number. */
static int talk_take_secrets(struct helper *h, const json_t *message, const int *fds, size_t *n_fds,
			     struct err *err)
{
	const json_t *secrets = json_object_get(message, "secrets");
	const size_t n = json_array_size(secrets);
	const bool has_keys = json_is_true(json_object_get(message, "keys"));
	int r = 0;

	if (n > HELPER_MAX_SECRETS || n + has_keys > *n_fds)
		return err_set(err, -EPROTO, "descriptors are missing");
	if (has_keys)
		h->keys_fd = fds[--*n_fds];
	*n_fds -= n;
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = talk_read_secret(h, json_array_get(secrets, i), fds[*n_fds + i], err);
		close(fds[*n_fds + i]);
	}
	return r;
}

static void talk_close(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static int talk_receive(struct helper *h, bool is_request, json_t **out, struct err *err)
{
	static char text[CONTROL_MAX_MESSAGE];
	int fds[CONTROL_MAX_FDS], r = 0;
	size_t n_fds = CONTROL_MAX_FDS;
	ssize_t size = fd_recv(h->sock, text, sizeof(text), fds, &n_fds);
	json_error_t why;
	json_t *message;

	if (size <= 0)
		return err_errno(err, size ? (int)size : -EPIPE, "the launcher is gone");
	message = json_loadb(text, (size_t)size, 0, &why);
	if (!json_is_object(message)) {
		talk_close(fds, n_fds);
		json_decref(message);
		return err_set(err, -EPROTO, "a message is no JSON: %s", why.text);
	}
	if (is_request && (r = talk_take_secrets(h, message, fds, &n_fds, err)) < 0)
		talk_close(fds, n_fds);
	if (r == 0)
		r = talk_add_files(h, message, fds, n_fds, err);
	if (r < 0) {
		json_decref(message);
		return r;
	}
	*out = message;
	return 0;
}

int helper_receive(struct helper *h, json_t **out, struct err *err)
{
	return talk_receive(h, false, out, err);
}

int helper_receive_request(struct helper *h, json_t **out, struct err *err)
{
	return talk_receive(h, true, out, err);
}

static json_t *talk_child(unsigned parent, const struct img_child *child)
{
	json_t *o = json_pack("{s:i, s:s, s:i, s:s, s:b}", "file", (int)parent, "role",
			      img_role_word(child->role), "index", (int)child->index, "name",
			      child->name, "writable", child->is_writable);

	if (child->format)
		json_object_set_new(o, "format", proto_text(child->format));
	return o;
}

int helper_ask(struct helper *h, const char *what, unsigned parent, const struct img_child *child,
	       unsigned *out, struct err *err)
{
	const json_t *error;
	unsigned n = h->n_files;
	json_t *answer;
	int r;

	if (!proto_text_is_utf8(child->name))
		return err_set(err, -EINVAL, "it names a %s whose name is no UTF-8",
			       img_role_text(child->role));
	helper_tell(h, json_pack("{s:o}", what, talk_child(parent, child)));
	r = helper_receive(h, &answer, err);
	if (r < 0)
		return r;
	error = json_object_get(answer, "error");
	if (error || h->n_files != n + 1) {
		const char *text = arg_text(error, "text");
		i64 code = json_integer_value(json_object_get(error, "code"));

		r = err_set(err, code < 0 ? (int)code : -EPROTO, "%s",
			    text ? text : "the launcher gave no file");
	}
	json_decref(answer);
	*out = n;
	return r;
}

/* --- arguments --- */

bool arg_bool(const json_t *args, const char *name)
{
	return json_is_true(json_object_get(args, name));
}

const char *arg_text(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

bool arg_has(const json_t *args, const char *name)
{
	return json_object_get(args, name);
}

int arg_u64(const json_t *args, const char *name, u64 *out, struct err *err)
{
	const json_t *v = json_object_get(args, name);

	if (!v)
		return -ENOENT;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return err_set(err, -EINVAL, "%s is no number", name);
	*out = (u64)json_integer_value(v);
	return 0;
}
