/*
 * A load's inside, shared by its files.
 */
#ifndef MIGRATE_LOAD_PRIV_H
#define MIGRATE_LOAD_PRIV_H

#include <pthread.h>

#include "migrate/chunk.h"
#include "migrate/load.h"

struct load {
	int fd;
	struct save_header header;
	void *state;
	struct chunk_reader *reader; /* the thread's, once that runs */
	struct gmem_block *ram;
	struct load_ops ops;
	bool is_complete; /* atomic */

	int faults;      /* userfaultfd; -1: memory is not loaded lazily */
	bool *is_loaded; /* chunks; the thread's */
	u8 *buffer;      /* SAVE_CHUNK; the thread's */
	pthread_t thread;
	bool has_thread;
	bool is_stopping; /* atomic */

	pthread_mutex_t lock; /* guards all below, while the thread starts */
	pthread_cond_t changed;
	bool is_entered;
	struct err *entry_error;
	int entry_result;
};

/* lazy.c: NULL when memory will be loaded lazily, else why it can't (static). */
const char *lazy_prepare(struct load *l, const struct load_options *options);
int lazy_start(struct load *l, struct err *err);
void lazy_stop(struct load *l);

#endif
