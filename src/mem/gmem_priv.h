/*
 * gmem's inside, shared by its files.
 */
#ifndef MEM_GMEM_PRIV_H
#define MEM_GMEM_PRIV_H

#include <pthread.h>

#include "mem/gmem.h"

struct gmem {
	struct epoch *epoch;
	bool track_code;
	struct gmem_map *map; /* atomic; readers are inside the epoch */
	bool is_logging;      /* atomic */
	/* Atomic: whose code_written is called. It stops listening after the last writer. */
	struct gmem_listener *code_listener;

	pthread_mutex_t lock; /* guards the lists; held while listeners are told */
	struct list blocks;
	struct list listeners;
};

void gmem_block_free(struct gmem_block *b);
u64 gmem_block_log_words(const struct gmem_block *b);

#endif
