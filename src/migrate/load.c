/*
 * Loading a saved guest. See load.h; the thread that serves faults is lazy.c's.
 */
#include "migrate/load.h"

#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "mem/gmem.h"
#include "migrate/load_priv.h"

static int load_read_parts(struct load *l, struct err *err)
{
	void *index = NULL;
	struct stat st;
	int r = save_header_read(l->fd, &l->header, err);

	if (r < 0)
		return r;
	r = save_part_read(l->fd, &l->header.state, "state", &l->state, err);
	if (!r)
		r = save_part_read(l->fd, &l->header.index, "memory's index", &index, err);
	if (r < 0)
		return r;
	if (fstat(l->fd, &st) < 0) {
		free(index);
		return err_errno(err, -errno, "cannot look at it");
	}
	return chunk_reader_new(l->fd, (u64)st.st_size, l->header.memory_size, index, &l->reader,
				err);
}

int load_open(int fd, struct load **out, struct err *err)
{
	AUTO(load_free) struct load *l = NEW(struct load);
	int r;

	l->fd = fd;
	l->faults = -1;
	r = load_read_parts(l, err);
	if (r < 0)
		return r;
	*out = take(l);
	return 0;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	lazy_stop(l);
	chunk_reader_free(l->reader);
	fd_close(l->fd);
	free(l->state);
	free(l->is_loaded);
	free(l->buffer);
	free(l);
}

const void *load_state(const struct load *l, size_t *out_size)
{
	*out_size = l->header.state.size;
	return l->state;
}

u64 load_saved_at_ns(const struct load *l)
{
	return l->header.saved_at_ns;
}

int load_memory_prepare(struct load *l, struct gmem_block *ram, const struct load_options *options,
			const char **out_why, struct err *err)
{
	if (l->header.memory_size != ram->size)
		return err_set(err, -EINVAL, "it holds %lu MiB of memory, and the guest has %lu",
			       l->header.memory_size / MIB, ram->size / MIB);
	l->ram = ram;
	*out_why = "as asked for";
	if (!options->is_eager)
		*out_why = lazy_prepare(l, options);
	return 0;
}

/* Chunks of zeroes are left as they are: nothing was written there yet. */
static int load_all(struct load *l, struct err *err)
{
	for (u64 n = 0; n < save_chunks(l->ram->size); n++) {
		int r = chunk_is_zero(l->reader, n)
				? 0
				: chunk_read(l->reader, n, l->ram->hva + n * SAVE_CHUNK, err);

		if (r < 0)
			return r;
	}
	__atomic_store_n(&l->is_complete, true, __ATOMIC_RELEASE);
	return 0;
}

int load_memory_start(struct load *l, const struct load_ops *ops, struct err *err)
{
	l->ops = *ops;
	return l->faults < 0 ? load_all(l, err) : lazy_start(l, err);
}

bool load_is_complete(const struct load *l)
{
	return __atomic_load_n(&l->is_complete, __ATOMIC_ACQUIRE);
}
