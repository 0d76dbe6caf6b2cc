/*
 * posada image: what its subcommands share. Each has a table of options; all of them fill the same
 * struct.
 */
#ifndef CMD_POSADA_IMAGE_H
#define CMD_POSADA_IMAGE_H

#include "cmd/posada/options.h"
#include "launch/image.h"

struct json_t;

#define IMAGE_MAX_OPTIONS 32

struct image_wishes {
	struct json_option json; /* first */
	struct launch_image image;
	const char *format, *target_format, *backing, *snapshot;
	const char *size, *sparse, *coroutines;
	struct json_t *options; /* of -o: [{"name": ..., "value": ...}, ...] */
	unsigned repair;
	bool is_chain, is_compressed, is_overwriting, is_in_place, is_verified, is_strict, is_quiet;
	bool has_progress, may_shrink, is_unsafe;
};

/* qemu-img's. */
extern const struct option_letter image_letters[];

/* Options that several subcommands have. */
int image_option_format(void *to, char *value, struct err *err);
int image_option_target_format(void *to, char *value, struct err *err);
int image_option_backing(void *to, char *value, struct err *err);
int image_option_backing_format(void *to, char *value, struct err *err);
int image_option_allow(void *to, char *value, struct err *err);
int image_option_share(void *to, char *value, struct err *err);
int image_option_progress(void *to, char *value, struct err *err);
int image_option_quiet(void *to, char *value, struct err *err);
int image_option_options(void *to, char *value, struct err *err);
int image_option_overwrite(void *to, char *value, struct err *err);
int image_option_snapshot(void *to, char *value, struct err *err);

int image_option_output(void *to, char *value, struct err *err);

/* clang-format off */
#define IMAGE_OUTPUT {"output", "human|json", image_option_output, "as qemu-img's"}
#define IMAGE_FORMAT {"format", "FORMAT", image_option_format, "the image's format: raw, qcow2, vmdk, vdi, vpc, vhdx, ...; or\nprobe: have it guessed, which what a guest wrote may deceive"}
#define IMAGE_BACKING_FORMAT {"backing-format", "FORMAT", image_option_backing_format, "the backing file's format, where the image doesn't say it"}
#define IMAGE_ALLOW {"allow", "PATH", image_option_allow, "a file, or a directory with what is in it, that an image may name:\nwithout, files beneath the image's directory, for reading"}
#define IMAGE_SHARE {"force-share", NULL, image_option_share, "look at it even while someone else writes it"}
#define IMAGE_PROGRESS {"progress", NULL, image_option_progress, "show how far it is"}
#define IMAGE_QUIET {"quiet", NULL, image_option_quiet, "say nothing but mistakes"}
#define IMAGE_OPTIONS {"options", "NAME=VALUE[,...]", image_option_options, "of the new image's format; `posada image create -f FORMAT -o help`"}
#define IMAGE_OVERWRITE {"overwrite", NULL, image_option_overwrite, "replace the file that is there"}
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

/* The end of a subcommand: frees, explains; an exit status (failed: that of a failure). */
int image_end(struct image_wishes *w, int result, int failed, const struct err *err);

/* A list of internal snapshots, for people. */
void image_print_snapshots(const struct json_t *list);

/* As an image in the directory of target would call path, both absolute: free() it. */
char *image_name_from(const char *target, const char *path);

/* The subcommands. */
int image_bitmap(int argc, char **argv);
int image_check(int argc, char **argv);
int image_commit(int argc, char **argv);
int image_compare(int argc, char **argv);
int image_convert(int argc, char **argv);
int image_create(int argc, char **argv);
int image_info(int argc, char **argv);
int image_map(int argc, char **argv);
int image_overlay(int argc, char **argv);
int image_rebase(int argc, char **argv);
int image_repair(int argc, char **argv);
int image_resize(int argc, char **argv);
int image_serve(int argc, char **argv);
int image_snapshot(int argc, char **argv);

#endif
