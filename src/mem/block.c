/*
 * Blocks: host memory of a chosen backing, 2 MiB-aligned, between guard regions, so that an index
 * gone wrong in the VMM faults instead of reading its heap.
 */
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "mem/gmem_priv.h"

#define GMEM_GUARD (2 * MIB)

u64 gmem_block_log_words(const struct gmem_block *b)
{
	return (b->size / PAGE_SIZE + 63) / 64;
}

/* Reserves address space for the block and its guards; nothing can be accessed yet. */
static int gmem_reserve(struct gmem_block *b)
{
	u8 *at;

	b->mapping_size = b->size + 2 * GMEM_GUARD + GMEM_ALIGN;
	at = mmap(NULL, b->mapping_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		  0);
	if (at == MAP_FAILED)
		return -errno;
	b->mapping = at;
	b->hva = (u8 *)align_up((u64)(at + GMEM_GUARD), GMEM_ALIGN);
	return 0;
}

static int gmem_make_fd(const struct gmem_block *b)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (b->backing == GMEM_HUGETLB)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create(b->name, flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)b->size) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int gmem_map_backing(struct gmem_block *b)
{
	int flags = MAP_FIXED;

	if (b->backing == GMEM_ANON)
		flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	else if (b->backing == GMEM_FILE)
		flags |= MAP_PRIVATE | MAP_NORESERVE;
	else
		flags |= MAP_SHARED;
	if (mmap(b->hva, b->size, PROT_READ | PROT_WRITE, flags, b->fd, 0) == MAP_FAILED)
		return -errno;
	if (b->backing == GMEM_ANON)
		madvise(b->hva, b->size, MADV_HUGEPAGE);
	/* Guest memory has no place in a core dump. */
	madvise(b->hva, b->size, MADV_DONTDUMP);
	return 0;
}

void gmem_block_free(struct gmem_block *b)
{
	if (!b)
		return;
	assert(!b->pins);
	if (b->mapping)
		munmap(b->mapping, b->mapping_size);
	fd_close(b->fd);
	free(b->dirty);
	free(b->code);
	free(b);
}
AUTO_FN(gmem_block_free, struct gmem_block *)

static int gmem_block_fill_in(struct gmem *g, struct gmem_block *b, struct err *err)
{
	int r = gmem_reserve(b);

	if (r < 0)
		return err_errno(err, r, "no address space for %lu MiB", b->size / MIB);
	if (b->backing == GMEM_MEMFD || b->backing == GMEM_HUGETLB) {
		b->fd = gmem_make_fd(b);
		if (b->fd < 0)
			return err_errno(err, b->fd, "cannot make a memory file of %lu MiB",
					 b->size / MIB);
	}
	r = gmem_map_backing(b);
	if (r < 0 && b->backing == GMEM_HUGETLB)
		return err_errno(err, r,
				 "the host has no %lu MiB of free 2 MiB huge pages "
				 "(see vm.nr_hugepages)",
				 b->size / MIB);
	if (r < 0)
		return err_errno(err, r, "cannot map %lu MiB", b->size / MIB);
	if (g->track_code) {
		b->code = alloc_try(b->size / PAGE_SIZE, sizeof(*b->code));
		if (!b->code)
			return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

int gmem_block_new(struct gmem *g, const char *name, enum gmem_backing backing, u64 size, int fd,
		   struct gmem_block **out, struct err *err)
{
	AUTO(gmem_block_free) struct gmem_block *b = NEW(struct gmem_block);
	int r;

	assert(is_aligned(size, PAGE_SIZE) && size && (fd >= 0) == (backing == GMEM_FILE));
	b->name = name;
	b->size = size;
	b->backing = backing;
	b->fd = -1;
	if (backing == GMEM_HUGETLB && !is_aligned(size, 2 * MIB))
		return err_set(err, -EINVAL, "memory in huge pages must be a multiple of 2 MiB");
	if (backing == GMEM_FILE)
		b->fd = fd;
	r = gmem_block_fill_in(g, b, err);
	if (r < 0) {
		if (backing == GMEM_FILE)
			b->fd = -1; /* still the caller's */
		return r;
	}
	pthread_mutex_lock(&g->lock);
	b->gmem = g;
	list_append(&g->blocks, &b->node);
	pthread_mutex_unlock(&g->lock);
	*out = take(b);
	return 0;
}

/* What is given back of this backing comes in pieces of this size. */
static u64 gmem_discard_unit(const struct gmem_block *b)
{
	switch (b->backing) {
	case GMEM_ANON:
	case GMEM_MEMFD:
		return PAGE_SIZE;
	case GMEM_HUGETLB: /* a hole in a huge page zeroes bytes and frees nothing */
	case GMEM_FILE:    /* each piece becomes a mapping of its own, of which there are few */
		return 2 * MIB;
	}
	unreachable_code();
}

static int gmem_discard_pages(const struct gmem_block *b, u64 offset, u64 size)
{
	const int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	u8 *at = b->hva + offset;
	bool is_done = false;

	switch (b->backing) {
	case GMEM_ANON:
		is_done = madvise(at, size, MADV_DONTNEED) == 0;
		break;
	case GMEM_MEMFD: /* a shared mapping's pages live in its file: only a hole gives them back */
	case GMEM_HUGETLB:
		is_done = madvise(at, size, MADV_REMOVE) == 0;
		break;
	case GMEM_FILE: /* dropping the private copy would show the file again */
		is_done = mmap(at, size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED;
		break;
	}
	return is_done ? 0 : -errno;
}

int gmem_discard(struct gmem *g, struct gmem_block *b, u64 offset, u64 size)
{
	int r;

	assert(range_fits(offset, size, b->size) && is_aligned(offset | size, PAGE_SIZE));
	(void)g;
	gmem_block_touch(b, offset, size); /* or what was there would come back */
	r = gmem_discard_pages(b, offset, size);
	/* Zeroes are another content, even where only a part of them came about. */
	gmem_block_written(b, offset, size);
	return r;
}

static struct gmem_block *gmem_block_of(struct gmem *g, const void *ptr, u64 size)
{
	const struct gmem_map *m = gmem_current_map(g);

	for (u32 i = 0; i < m->n_ranges; i++) {
		struct gmem_block *b = m->ranges[i].block;

		if (range_fits((u64)ptr - (u64)b->hva, size, b->size))
			return b;
	}
	return NULL;
}

static i64 gmem_discard_within(struct gmem *g, struct gmem_block *b, u64 offset, u64 size)
{
	u64 unit = gmem_discard_unit(b);
	u64 from = align_up(offset, unit), to = align_down(offset + size, unit);
	int r;

	if (from >= to)
		return 0;
	r = gmem_discard(g, b, from, to - from);
	return r < 0 ? r : (i64)(to - from);
}

i64 gmem_give_back(struct gmem *g, const void *ptr, u64 size)
{
	struct gmem_block *b;
	i64 given = 0;

	gmem_enter(g);
	b = gmem_block_of(g, ptr, size);
	if (b)
		given = gmem_discard_within(g, b, (u64)ptr - (u64)b->hva, size);
	gmem_leave(g);
	return given;
}

void gmem_block_set_lazy(struct gmem_block *b, bool is_lazy)
{
	__atomic_store_n(&b->is_lazy, is_lazy, __ATOMIC_RELEASE);
}

void gmem_block_touch(const struct gmem_block *b, u64 offset, u64 size)
{
	if (!size || !__atomic_load_n(&b->is_lazy, __ATOMIC_ACQUIRE))
		return;
	for (u64 at = align_down(offset, PAGE_SIZE); at < offset + size; at += PAGE_SIZE)
		(void)*(volatile const u8 *)(b->hva + at);
}

bool gmem_block_next_data(const struct gmem_block *b, u64 at, u64 *out_from, u64 *out_to)
{
	off_t from = (off_t)at, to = (off_t)b->size;

	if (at >= b->size)
		return false;
	if (b->backing == GMEM_MEMFD) {
		from = lseek(b->fd, (off_t)at, SEEK_DATA);
		if (from < 0 && errno == ENXIO)
			return false;
		to = from < 0 ? -1 : lseek(b->fd, from, SEEK_HOLE);
		if (to < 0) { /* not told: all of it */
			from = (off_t)at;
			to = (off_t)b->size;
		}
	}
	*out_from = (u64)from;
	*out_to = MIN((u64)to, b->size);
	return true;
}

/* Sums the huge-page lines of the mappings within the block (proc(5), smaps). */
