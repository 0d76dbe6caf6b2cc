/*
 * What kinds of streams share. For this folder only.
 */
#ifndef CHR_CHR_PRIV_H
#define CHR_CHR_PRIV_H

#include "chr/chr.h"

struct chr_ops {
	void (*attached)(struct chr *c); /* c->user has changed */
	size_t (*write)(struct chr *c, const u8 *data, size_t size);
	void (*accept)(struct chr *c);
	void (*free)(struct chr *c);
};

struct chr {
	const struct chr_ops *ops;
	const struct chr_user *user; /* the loop's thread */
	bool is_open;                /* atomic */
	bool is_patient;             /* chr_be_patient */
};

/* Changes is_open and tells the user, once. */
void chr_set_open(struct chr *c, bool is_open);

#endif
