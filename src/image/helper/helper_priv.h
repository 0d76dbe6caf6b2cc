/*
 * Shared by the commands of posada-image. For this folder only.
 */
#ifndef IMAGE_HELPER_HELPER_PRIV_H
#define IMAGE_HELPER_HELPER_PRIV_H

#include "image/copy.h"
#include "image/helper/helper.h"

/* What the launcher gave. */
#define HELPER_NAME_MAX 256

struct helper_file {
	int fd;
	const struct img_format *format; /* NULL: nobody said it */
	bool is_writable;
	bool is_remote;             /* fd is a connector's socket (nbd/connector.h) */
	char name[HELPER_NAME_MAX]; /* without its folder; empty: nobody said it */
};

struct helper {
	int sock;
	struct loop *loop;
	struct blk_engines *engines;
	struct work_pool *workers;
	struct img_secret secrets[HELPER_MAX_SECRETS]; /* owned */
	struct secret *secret_bytes[HELPER_MAX_SECRETS];
	unsigned n_secrets;
	int keys_fd; /* where keys are told; -1: nowhere */
	struct helper_file files[HELPER_MAX_FILES];
	unsigned n_files;
	unsigned n_given; /* of them in the request; the others were named by images */
	u64 told_ns;      /* when progress was told last */
};

/* *out is a new object, also when there is nothing to tell; it may wait for the launcher. */
typedef int helper_fn(struct helper *h, const json_t *args, json_t **out, struct err *err);

/* --- talk.c --- */

void helper_tell(struct helper *h, json_t *message); /* takes it over */
void helper_tell_item(struct helper *h, json_t *item);
/* For img_copy and its like; opaque is the helper. */
void helper_tell_progress(void *opaque, u64 done, u64 total);
/* A file that an image names: its number. */
int helper_ask(struct helper *h, const char *what, unsigned parent, const struct img_child *child,
	       unsigned *out, struct err *err);
int helper_receive(struct helper *h, json_t **out,
		   struct err *err); /* a message's files are added */

/* The request: as helper_receive, with secrets. Reads them. */
int helper_receive_request(struct helper *h, json_t **out, struct err *err);
void helper_forget_secrets(struct helper *h);

/* The members of arguments; a launcher's mistake is an error, too. */
bool arg_bool(const json_t *args, const char *name);
const char *arg_text(const json_t *args, const char *name); /* NULL: there is none */
int arg_u64(const json_t *args, const char *name, u64 *out, struct err *err); /* -ENOENT: none */
bool arg_has(const json_t *args, const char *name);

/* --- files.c --- */

struct helper_open {
	bool is_writable, is_alone;
	bool is_unsafe; /* nothing waits for the disk */
	bool is_filled; /* most of it is going to be written */
	const char *snapshot;
};
/* The file as a container. */
int helper_open_file(struct helper *h, unsigned file, const struct helper_open *o, struct blk **out,
		     struct err *err);
/* The image in it, of its format, and what that names. */
int helper_open_image(struct helper *h, unsigned file, const struct helper_open *o,
		      struct blk **out, struct err *err);
/* A new image in file, which is empty: args has format's options, size, backing. backing: or NULL. */
int helper_create_image(struct helper *h, unsigned file, const json_t *args, u64 size,
			struct blk *backing, struct err *err);

/* NAME=VALUE of a message: free() the list; it lives as long as that. */
struct img_option *helper_options(const json_t *options, unsigned *out_n);

/* --- snapshot.c, bitmap.c: as qemu-img has them in JSON --- */

json_t *helper_snapshot_json(const struct img_snapshot *s);
json_t *helper_bitmap_json(const struct img_bitmap *b);

/* --- the commands --- */

helper_fn helper_info, helper_check, helper_create, helper_convert, helper_compare, helper_map,
	helper_measure, helper_resize, helper_snapshot, helper_commit, helper_rebase, helper_bitmap,
	helper_resolve, helper_serve_nbd;

#endif
