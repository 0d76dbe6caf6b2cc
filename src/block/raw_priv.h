/*
 * Between the raw disk and the two engines that do its system calls. For this folder only.
 *
 * raw.c cuts a request into steps, each of which is one operation of the host; an engine carries a
 * step out and reports what the system call said. What that means (go on, fall back, finish) is
 * raw.c's matter.
 */
#ifndef BLOCK_RAW_PRIV_H
#define BLOCK_RAW_PRIV_H

#include "block/block.h"

struct blk_raw;
struct raw_engine;

enum raw_syscall {
	RAW_READV,
	RAW_WRITEV,
	RAW_FDATASYNC,
	RAW_FALLOCATE,
};

/* One operation of the host, as a step wants it now. */
struct raw_op {
	enum raw_syscall call;
	struct iovec *iov; /* NULL: buf */
	u32 n_iov;
	void *buf;
	u64 offset, bytes;
	int mode; /* of fallocate(2); of pwritev2(2): RWF_DSYNC or 0 */
};

void raw_describe(struct raw_engine *e, struct blk_request *r, struct raw_op *out);
/* result is the system call's: a count or a negative errno. On the loop's thread. */
void raw_step_done(struct raw_engine *e, struct blk_request *r, int result);
void raw_round_done(struct raw_engine *e); /* a batch of steps was reported */

struct raw_engine_ops {
	const char *name;
	bool is_cheap;                                               /* to have and not to use */
	int (*set_file)(struct raw_engine *e, int fd);               /* no step is out; -1: none */
	void (*submit)(struct raw_engine *e, struct blk_request *r); /* the next step of r */
	void (*kick)(struct raw_engine *e);
	void (*wait)(struct raw_engine *e); /* until one step at least was reported; some are out */
	void (*free)(struct raw_engine *e); /* no step is out */
};

struct raw_engine {
	const struct raw_engine_ops *ops;
	struct blk_raw *raw;
	struct loop *loop;
	int fd;           /* borrowed */
	bool can_change;  /* its file may be another later */
	struct list node; /* engines.c: while it has no disk */
};

/* raw.c: the engine that the options say, for e's raw, loop and fd. */
int raw_engine_new(const struct raw_engine *e, const struct blk_raw_options *o,
		   struct raw_engine **out, struct err *err);

/* engines.c */
int raw_engines_take(struct blk_engines *p, struct blk_raw *raw, int fd, struct raw_engine **out,
		     struct err *err);
void raw_engines_give(struct blk_engines *p, struct raw_engine *e);

/* Makers: raw, loop, fd and can_change are taken from e. n of one ring: out has room for them. */
int raw_uring_new(const struct raw_engine *e, u32 n, struct raw_engine **out, struct err *err);
int raw_threads_new(const struct raw_engine *e, const struct blk_raw_options *o,
		    struct raw_engine **out, struct err *err);

#endif
