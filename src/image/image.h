/*
 * Disk images: files in which a format says where the disk's contents are.
 *
 * An image is opened over a struct blk that is its file (blk_raw_new with is_container, or any other
 * disk) and is a struct blk itself. Formats never open a name: what an image says of other files
 * (backing file, data file, extents, parents) goes to the opener, which whoever opened the image
 * provides, and which decides. Without an opener such an image is refused.
 *
 *     file = blk_raw_new(fd)           img_open(&img_qcow2, file, &options, &disk)
 *         disk: qcow2 --- file
 *                 `------ backing: what options.opener answered for IMG_BACKING
 *
 * Images are hostile: every size, offset and count is checked before it is used; nothing in a small
 * file makes us allocate much or loop long. Nobody guesses a format but img_probe, for a person.
 *
 * Threads: the loop's. Everything here may wait, as block/io.h says: call it in a coroutine, or while
 * nothing is out.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include "block/block.h"

struct json_t;
struct secret;
struct work_pool;

/* --- names inside images --- */

enum img_role {
	IMG_BACKING, /* what is beneath: qcow2's backing file, VHD's and VHDX's parent */
	IMG_DATA,    /* where the data is: qcow2's external data file */
	IMG_EXTENT,  /* the index-th part of the disk: VMDK */
};
const char *img_role_word(enum img_role role);           /* for programs: "backing" */
const char *img_role_text(enum img_role role);           /* for people: "its backing file" */
int img_role_find(const char *word, enum img_role *out); /* -ENOENT; word may be NULL */

/* What an image says of a file that it needs. The strings are as untrusted as the image. */
struct img_child {
	enum img_role role;
	unsigned index;     /* IMG_EXTENT; else 0 */
	const char *name;   /* UTF-8, not empty; a path, relative to the image, or a URI */
	const char *format; /* as the image declares it; NULL: it doesn't */
	/* VHD, VHDX: what the parent must be (its unique id, 16 bytes); or NULL. */
	const u8 *id;
	bool is_writable; /* it will be written */
};

struct img_opener {
	void *opaque;
	/* The child's format is the opener's matter; IMG_DATA, IMG_EXTENT: a container, or a format's. */
	int (*open)(void *opaque, const struct img_child *child, struct blk **out, struct err *err);
	/* img_create: a new, empty file of that name, as a growable container; NULL: not possible. */
	int (*create)(void *opaque, const struct img_child *child, struct blk **out,
		      struct err *err);
};

/* --- formats --- */

struct img_secret {
	const char *id; /* what key-secret calls it; or NULL */
	const void *bytes;
	size_t n_bytes;
	bool is_volume_key; /* not a passphrase, but what one unlocks */
};

struct img_open_options {
	struct loop *loop;
	bool is_readonly;
	bool is_alone; /* without its backing: what is there reads as zeros; for info, check, map, rebase */
	/* The image isn't changed by opening it read only; a repair that writing needs is made when it isn't. */
	const struct img_opener *opener; /* borrowed while it is opened; or NULL */
	const char *snapshot;            /* id or name: its contents, read only; or NULL */
	/* For what is encrypted: each is tried. Borrowed while it is opened. */
	const struct img_secret *secrets;
	unsigned n_secrets;
	u64 cache_bytes; /* for metadata; 0: a default that serves a disk of some hundred GiB */
	/* Threads for compression (base/work.h), until the image is closed; NULL: none. */
	struct work_pool *workers;
};

struct img_option { /* of create: NAME=VALUE */
	const char *name, *value;
};

struct img_option_info { /* an entry of a format's table, which ends with a NULL name */
	const char *name, *values, *help; /* values: "on|off", "SIZE", "zlib|zstd" */
};

struct img_create_options {
	struct loop *loop;
	u64 size; /* bytes, a multiple of 512 */
	const char *backing_name,
		*backing_format; /* NULL: none; written into the image as they are */
	struct blk *backing;     /* opened, for what has to be known of it; borrowed; or NULL */
	const struct img_option *options;
	unsigned n_options;
	const struct img_opener *opener; /* for formats of several files */
	const char *
		file_name; /* the image's, without its folder: what such files are named by; or NULL */
	const struct img_secret *secrets; /* for what is encrypted: that which key-secret names */
	unsigned n_secrets;
};

/* What there is to guess from. */
struct img_probe {
	const u8 *head; /* the file's first bytes */
	size_t head_bytes;
	const u8 *tail; /* the last 512, or fewer */
	size_t tail_bytes;
	u64 size;         /* bytes */
	const char *name; /* the file's; or NULL */
};

/* Of an image's files together. */
struct img_measure {
	u64 required_bytes; /* with the contents that it is made for, as a new image */
	u64 full_bytes;     /* when all of the disk has been written */
};

struct img_format {
	const char *name;        /* as qemu-img calls it */
	const char *description; /* "QEMU copy-on-write, version 2 and 3" */
	/* 0: it isn't; 100: nothing else can be; raw: 1. */
	int (*probe)(const struct img_probe *p);
	/* file is taken over on success. */
	int (*open)(struct blk *file, const struct img_open_options *o, struct blk **out,
		    struct err *err);
	/* file is empty, growable and stays the caller's; what was written isn't flushed. NULL: can't. */
	int (*create)(struct blk *file, const struct img_create_options *o, struct err *err);
	/* source: an open disk whose contents it would have, o->size is its; or NULL. NULL: can't. */
	int (*measure)(const struct img_create_options *o, struct blk *source,
		       struct img_measure *out, struct err *err);
	const struct img_option_info *create_options; /* or NULL */
	bool can_back;                                /* create takes a backing */
	bool can_compress; /* image_ops.write_compressed works, on a new image */
	bool is_noise;     /* a new image doesn't read as zeros */
	bool is_write_once; /* a new image is written from its start to its end, each cluster once (convert) */
};

/* All of them, ended by NULL. */
extern const struct img_format *const img_formats[];
const struct img_format *img_find_format(const char *name); /* NULL: there is none */

/* A secure guess for a person: the likeliest, and how sure that is (1 to 100). */
const struct img_format *img_probe(const struct img_probe *p, int *out_certainty);
/* The same, of a file: reads its head and tail. */
int img_probe_file(struct blk *file, const char *name, const struct img_format **out,
		   int *out_certainty);

int img_open(const struct img_format *f, struct blk *file, const struct img_open_options *o,
	     struct blk **out, struct err *err);
/* Refuses options that the format hasn't; flushes file at the end. */
int img_create(const struct img_format *f, struct blk *file, const struct img_create_options *o,
	       struct err *err);

/* How large it would be: of source's size, unless that is NULL. Writes nothing; needs no secrets. */
int img_measure(const struct img_format *f, const struct img_create_options *o, struct blk *source,
		struct img_measure *out, struct err *err);

/* For formats: the value given for the option, or NULL; and parsed: 0, -ENOENT, or an explained -EINVAL. */
const char *img_option(const struct img_create_options *o, const char *name);
int img_option_bool(const struct img_create_options *o, const char *name, bool *out,
		    struct err *err);
int img_option_size(const struct img_create_options *o, const char *name, u64 *out,
		    struct err *err);
/* One of words, which end with NULL: its index into *out, which is left alone where the option isn't given. */
int img_option_word(const struct img_create_options *o, const char *name, const char *const *words,
		    unsigned *out, struct err *err);
/* For formats, of a new file: takes its space, or writes its zeros. */
int img_allocate(struct blk *file, u64 offset, u64 bytes, bool is_written);
/* For formats: asks the opener; explains when there is none. */
int img_open_child(const struct img_open_options *o, const struct img_child *child,
		   struct blk **out, struct err *err);

/* --- what an open image can do beyond reading and writing --- */

struct img_info {
	u64 cluster_bytes;  /* 0: none */
	u64 file_bytes;     /* what it says that its file must be long at least; 0: unknown */
	char *backing_name; /* NULL: none; owned, as untrusted as the image */
	char *backing_format;
	bool is_encrypted, is_compressed;
	bool is_dirty;           /* not closed properly: see check */
	bool is_corrupt;         /* marked so, by whoever saw it */
	struct json_t *specific; /* an object of what else a person may want to know; owned */
};
void img_info_fini(struct img_info *i);

struct img_snapshot {
	char *id, *name;
	u64 size;    /* the disk's then */
	u64 date_ns; /* of the Unix epoch */
	u64 vm_state_bytes, vm_clock_ns;
};

struct img_bitmap {
	char *name;
	u64 granularity;      /* bytes */
	bool is_enabled;      /* it records writes */
	bool is_inconsistent; /* it was in use when its image was left: only good for deletion */
	u64 dirty_bytes;
};

enum {
	IMG_REPAIR_LEAKS = 1, /* give back what nobody uses */
	IMG_REPAIR_ALL = 2,   /* mend what is wrong as well */
};

struct img_check {
	u64 corruptions, leaks; /* found and not mended */
	u64 corruptions_fixed, leaks_fixed;
	u64 errors; /* couldn't be checked */
	u64 clusters, allocated, compressed, fragmented;
	u64 end_offset;
	/* Each finding in words; or NULL. */
	void (*report)(void *opaque, bool is_corruption, const char *text);
	void *opaque;
};

/* A NULL member: the format can't. Those that change something need an image that is writable. */
struct image_ops {
	const struct img_format *format;
	int (*info)(struct blk *b, struct img_info *out, struct err *err);
	int (*check)(struct blk *b, unsigned repair, struct img_check *c, struct err *err);
	/* Names of files, as img_child has them: calls each for all of them. */
	int (*children)(struct blk *b, int (*each)(void *opaque, const struct img_child *child),
			void *opaque);
	/* The key of its data, for who opens the same image again (img_secret.is_volume_key); NULL: none. */
	const struct secret *(*key)(struct blk *b);
	/* The opened backing, borrowed; NULL: none. */
	struct blk *(*backing)(struct blk *b);
	/*
	 * Another name (NULL: none) in the image's header; the data isn't touched. Without one, what was open is
	 * closed: call it outside of coroutines, with nothing out.
	 */
	int (*set_backing)(struct blk *b, const char *name, const char *format, struct err *err);
	/* All of the image's data goes: what is beneath shows. After a commit. */
	int (*make_empty)(struct blk *b, struct err *err);
	/* Clusters that aren't allocated, from a start on; whole, or to the disk's end. Many at once are faster. */
	int (*write_compressed)(struct blk *b, u64 offset, const void *buf, u64 bytes);

	int (*snapshots)(struct blk *b, struct img_snapshot **out, unsigned *out_n,
			 struct err *err);
	int (*snapshot_create)(struct blk *b, const char *name, u64 date_ns, struct err *err);
	int (*snapshot_apply)(struct blk *b, const char *id_or_name, struct err *err);
	int (*snapshot_delete)(struct blk *b, const char *id_or_name, struct err *err);

	int (*bitmaps)(struct blk *b, struct img_bitmap **out, unsigned *out_n, struct err *err);
	int (*bitmap_add)(struct blk *b, const char *name, u64 granularity, struct err *err);
	int (*bitmap_remove)(struct blk *b, const char *name, struct err *err);
	int (*bitmap_clear)(struct blk *b, const char *name, struct err *err);
	int (*bitmap_enable)(struct blk *b, const char *name, bool is_enabled, struct err *err);
	/* source's dirty bits are set in name, too; of the same image. */
	int (*bitmap_merge)(struct blk *b, const char *name, const char *source, struct err *err);
	/* Is the stretch from offset dirty, and how long is it so (at most bytes)? */
	int (*bitmap_status)(struct blk *b, const char *name, u64 offset, u64 bytes,
			     bool *out_dirty, u64 *out_bytes);
};
void img_snapshots_free(struct img_snapshot *s, unsigned n);
void img_bitmaps_free(struct img_bitmap *b, unsigned n);

/* The formats, each in its file. */
extern const struct img_format img_raw;
extern const struct img_format img_qcow2;
extern const struct img_format img_vdi;
extern const struct img_format img_vhd;
extern const struct img_format img_vmdk;
extern const struct img_format img_vhdx;
extern const struct img_format img_luks;

#endif
