/*
 * posada image: what its subcommands share. Each has a table of options; all of them fill the same
 * struct.
 */
#ifndef CMD_POSADA_IMAGE_H
#define CMD_POSADA_IMAGE_H

#include "cmd/posada/options.h"
#include "launch/image.h"

struct json_t;

#define IMAGE_MAX_ARGS 4 /* of a subcommand, but for its options */

struct image_wishes {
	struct json_option json; /* first */
	struct launch_image image;
	const char *format, *target_format, *backing, *snapshot;
	const char *size, *sparse, *coroutines;
	struct json_t *options; /* of -o: [{"name": ..., "value": ...}, ...] */
	bool is_chain, is_compressed, is_overwriting, is_in_place, is_verified, is_strict, is_quiet;
	bool has_progress, may_shrink, is_unsafe, is_direct, is_source_direct, is_leaks_only, keeps;
	struct { /* snapshot, bitmap: one action at a time */
		const char *action, *name, *source, *granularity;
	} edit;
	struct {
		const char *socket, *bind, *port, *name, *description;
		const char *tls_certificates, *tls_psk;
		bool is_tls_open; /* clients need no certificate */
		bool is_writethrough;
		struct json_t *bitmaps;
		bool is_readonly, is_once;
		char *uri; /* where it is, for people */
	} serve;
};

/* A subcommand. */
struct image_command {
	struct option_table options;
	void (*prepare)(int argc, char **argv); /* before they are read; or NULL */
	/* An exit status, or a negative errno. args: as many as the table says, NULL behind the last. */
	int (*run)(struct image_wishes *w, const char *const *args, struct err *err);
	/* Exit status of a failure, and of -ENOTSUP; 0: 1. */
	int failed, not_supported;
};

/* qemu-img's. */
extern const struct option_letter image_letters[];

/* Options that several subcommands have. */
int image_option_allow(void *to, char *value, struct err *err);
int image_option_options(void *to, char *value, struct err *err);
int image_option_output(void *to, char *value, struct err *err);
int image_option_secret(void *to, char *value, struct err *err);

/* clang-format off */
#define IMAGE_TEXT(name, value, member, help) OPTION_TEXT(name, value, struct image_wishes, member, help)
#define IMAGE_FLAG(name, member, help) OPTION_FLAG(name, struct image_wishes, member, help)
#define IMAGE_OUTPUT {"output", "human|json", image_option_output, "as qemu-img's"}
#define IMAGE_FORMAT IMAGE_TEXT("format", "FORMAT", format, "the image's format: raw, qcow2, vmdk, vdi, vpc, vhdx, ...; or\nprobe: have it guessed, which what a guest wrote may deceive")
#define IMAGE_BACKING_FORMAT IMAGE_TEXT("backing-format", "FORMAT", image.names.backing_format, "the backing file's format, where the image doesn't say it")
#define IMAGE_ALLOW {"allow", "PATH", image_option_allow, "a file, or a directory with what is in it, that an image may name:\nwithout, files beneath the image's directory, for reading"}
#define IMAGE_SECRET {"secret", "id=NAME,file=PATH|id=NAME,fd=N", image_option_secret, "a passphrase, for images that are encrypted"}
#define IMAGE_SHARE IMAGE_FLAG("force-share", image.names.is_shared, "look at it even while someone else writes it")
#define IMAGE_PROGRESS IMAGE_FLAG("progress", has_progress, "show how far it is")
#define IMAGE_QUIET IMAGE_FLAG("quiet", is_quiet, "say nothing but mistakes")
#define IMAGE_OPTIONS {"options", "NAME=VALUE[,...]", image_option_options, "of the new image's format; `posada image create -f FORMAT -o help`"}
#define IMAGE_OVERWRITE IMAGE_FLAG("overwrite", is_overwriting, "replace the file that is there")
/* clang-format on */

/* A size as qemu-img takes it: bytes, or with K, M, G, T, P, E. */
int image_size(const char *text, u64 *out, struct err *err);

/*
 * A person's file. format: as -f said; "probe" has it guessed; NULL is refused with a hint. Returns the
 * file's number.
 */
int image_add(struct image_wishes *w, const char *path, const char *format, bool is_writable,
	      struct err *err);
/* The same where NULL is fine. */
int image_add_file(struct image_wishes *w, const char *path, const char *format, bool is_writable,
		   struct err *err);
/* launch_image_call, with progress. */
int image_call(struct image_wishes *w, const char *command, struct json_t *arguments,
	       struct json_t **out, struct err *err);

/* A request about one image, which is added with the format that was said: its failure names path. */
int image_call_one(struct image_wishes *w, const char *path, bool is_writable, const char *command,
		   struct json_t *arguments, struct json_t **out, struct err *err);

/* A list of internal snapshots, for people. */
void image_print_snapshots(const struct json_t *list);

/* As an image in the directory of target would call path, both absolute: free() it. */
char *image_name_from(const char *target, const char *path);

/* The subcommands. */
extern const struct image_command image_bitmap, image_check, image_commit, image_compare,
	image_convert, image_create, image_info, image_map, image_measure, image_overlay,
	image_rebase, image_repair, image_resize, image_serve, image_snapshot;

#endif
