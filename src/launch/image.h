/*
 * Disk images: asking posada-image, the confined process that reads them.
 *
 * It gets descriptors. When an image names another file (its backing file, a part of it), the process
 * asks, and what it may have is decided here: regular files beneath the directory of the image that a
 * person named, for reading; and what the person named. The declared format is used, never a guess.
 *
 * For a process with one thread; signals that end a program are waited for meanwhile, and end the
 * request.
 */
#ifndef LAUNCH_IMAGE_H
#define LAUNCH_IMAGE_H

#include <sys/types.h>

#include "base/base.h"
#include "image/image.h"
#include "launch/secrets.h"

struct err;
struct json_t;

#define LAUNCH_IMAGE_FILES  130 /* of a request, those that its images name included */
#define LAUNCH_IMAGE_ALLOWS 32

/* What a person said of names inside images. Strings are borrowed. */
struct launch_image_names {
	const char *allowed[LAUNCH_IMAGE_ALLOWS]; /* files, and directories with what is in them */
	unsigned n_allowed;
	const char *backing_format; /* of backing files whose image doesn't say it; or NULL */
	bool is_of_disk;            /* they are a disk's options: allow=, backing-format= */
	bool is_shared;             /* nothing is locked, for a look at what is in use */
};

/* A file of a request: opened for a person, or because an image named it. */
struct launch_image_file {
	int fd;
	char *path;         /* absolute, without links */
	const char *format; /* static; NULL: nobody said it */
	bool is_writable;
	bool is_remote; /* path is a URI (block/uri.h), fd its connector's socket */
	/* Of one that an image named: what it is for, and whose image that is; the person's: parent -1. */
	int parent;
	enum img_role role;
	unsigned index;
	int root;        /* the file that the person named, in whose directory names are followed */
	bool is_created; /* for a new image of several files */
};

struct launch_image {
	struct launch_image_names names;
	struct launch_secrets secrets; /* for what is encrypted; owned */
	bool wants_keys;
	int keys_fd; /* a pipe for the keys of what is unlocked (image/helper/helper.h), borrowed */
	struct launch_image_file files[LAUNCH_IMAGE_FILES]; /* owned */
	unsigned n_files;
	/* What comes while it works; or NULL. */
	void (*on_item)(void *opaque, const struct json_t *item);
	void (*on_progress)(void *opaque, u64 done, u64 total);
	void *opaque;
	bool makes_parts;  /* an image is made, and files that are parts of it may be */
	bool is_stoppable; /* a signal asks the process to come to an end, instead of ending it */
	int signal;        /* by which it was interrupted (-EINTR); 0: none */
};

void launch_image_init(struct launch_image *i);
/* The path, absolute and without links, of what is open as fd; -ESTALE: another stands there now. free() it. */
int launch_image_place(int fd, const char *path, char **out, struct err *err);
/* Closes what was opened; removes the files that were created for an image, unless they are kept. */
void launch_image_fini(struct launch_image *i, bool keeps_created);

/* A file that the person named, locked; or a disk that is no file. Returns its number. format: NULL is fine for some commands. */
int launch_image_add(struct launch_image *i, const char *path, const char *format, bool is_writable,
		     struct err *err);
/* The same with a descriptor, which is taken over; path is where it will stand. */
int launch_image_add_fd(struct launch_image *i, int fd, const char *path, const char *format,
			bool is_writable, struct err *err);

/* The file goes around the host's page cache (O_DIRECT); one at a server is left as it is. */
int launch_image_bypass_cache(struct launch_image *i, unsigned file, struct err *err);

/*
 * Has the command carried out; arguments are taken over (NULL: none). *out: json_decref it. Failures are
 * in words, also when the process was killed; -EINTR: by a signal to us.
 */
int launch_image_call(struct launch_image *i, const char *command, struct json_t *arguments,
		      struct json_t **out, struct err *err);

/* What an image consists of: file 0, the person's, opened; afterwards all files are there, with
 * descriptors. *out_size: the disk's. */
int launch_image_resolve(struct launch_image *i, u64 *out_size, struct err *err);

/* --- names.c --- */

/* What an image asks for; strings are borrowed, and as untrusted as the image. */
struct launch_image_wish {
	unsigned file; /* whose image it is */
	enum img_role role;
	unsigned index;
	const char *name, *format;
	bool is_writable;
};
/* Opens, or creates, what is allowed. Returns the file's number. */
int launch_image_follow(struct launch_image *i, const struct launch_image_wish *w, struct err *err);
int launch_image_make(struct launch_image *i, const struct launch_image_wish *w, struct err *err);

#endif
