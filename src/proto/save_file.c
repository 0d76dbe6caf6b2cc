/*
 * A saved guest's file. See save_file.h.
 */
#include "proto/save_file.h"

#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fd.h"

/* --- writing --- */

static struct save_part_wire save_part_encode(const struct save_part *p)
{
	return (struct save_part_wire){
		.offset = le64_of(p->offset), .size = le64_of(p->size), .crc = le32_of(p->crc)};
}

void save_header_encode(const struct save_header *h, enum save_progress progress,
			struct save_header_wire *out)
{
	*out = (struct save_header_wire){
		.version = le32_of(SAVE_VERSION),
		.progress = le32_of(progress),
		.memory_size = le64_of(h->memory_size),
		.chunk_size = le32_of((u32)SAVE_CHUNK),
		.saved_at_ns = le64_of(h->saved_at_ns),
		.config = save_part_encode(&h->config),
		.state = save_part_encode(&h->state),
		.index = save_part_encode(&h->index),
	};
	memcpy(out->magic, SAVE_MAGIC, sizeof(out->magic));
	out->crc = le32_of(crc32c_update(0, out, offsetof(struct save_header_wire, crc)));
}

/* --- reading --- */

static bool save_is_zero(const u8 *p, size_t size)
{
	while (size && !*p) {
		p++;
		size--;
	}
	return !size;
}

static int save_part_decode(const struct save_part_wire *w, u64 max, u64 file_size,
			    const char *what, struct save_part *out, struct err *err)
{
	*out = (struct save_part){
		.offset = le64_get(w->offset), .size = le64_get(w->size), .crc = le32_get(w->crc)};
	if (le32_get(w->reserved) || out->offset < SAVE_HEADER_SIZE || !out->size ||
	    out->size > max)
		return err_set(err, -EINVAL,
			       "it is damaged: the header puts the %s where it can't be", what);
	if (!range_fits(out->offset, out->size, file_size))
		return err_set(err, -EINVAL,
			       "it is cut short: the %s would lie at byte %lu to %lu, and "
			       "the file has %lu bytes",
			       what, out->offset, out->offset + out->size, file_size);
	return 0;
}

/* Who is it, and is it whole: before the fields are looked at. */
static int save_header_check(const struct save_header_wire *w, struct err *err)
{
	if (memcmp(w->magic, SAVE_MAGIC, sizeof(w->magic)))
		return err_set(err, -EINVAL, "it is not a guest saved by posada");
	if (le32_get(w->crc) != crc32c_update(0, w, offsetof(struct save_header_wire, crc)))
		return err_set(err, -EINVAL,
			       "it is damaged: the header, at byte 0, has a wrong checksum");
	if (le32_get(w->version) != SAVE_VERSION)
		return err_set(err, -EINVAL, "it has format version %u; this program reads %d",
			       le32_get(w->version), SAVE_VERSION);
	if (le32_get(w->progress) != SAVE_COMPLETE)
		return err_set(err, -EINVAL, "it is unfinished: saving was interrupted");
	if (le32_get(w->flags) || !save_is_zero(w->reserved, sizeof(w->reserved)))
		return err_set(err, -EINVAL, "it uses what this program doesn't know (flags %#x)",
			       le32_get(w->flags));
	return 0;
}

int save_header_decode(const struct save_header_wire *w, u64 file_size, struct save_header *out,
		       struct err *err)
{
	struct save_header h = {.memory_size = le64_get(w->memory_size),
				.saved_at_ns = le64_get(w->saved_at_ns)};
	int r = save_header_check(w, err);

	if (r < 0)
		return r;
	if (!h.memory_size || !is_aligned(h.memory_size, PAGE_SIZE) || h.memory_size >> 48 ||
	    le32_get(w->chunk_size) != SAVE_CHUNK)
		return err_set(err, -EINVAL, "it is damaged: %lu bytes of memory in chunks of %u",
			       h.memory_size, le32_get(w->chunk_size));
	r = save_part_decode(&w->config, SAVE_CONFIG_MAX, file_size, "configuration", &h.config,
			     err);
	if (!r)
		r = save_part_decode(&w->state, SAVE_STATE_MAX, file_size, "state", &h.state, err);
	if (!r)
		r = save_part_decode(&w->index,
				     save_chunks(h.memory_size) * sizeof(struct save_chunk_wire),
				     file_size, "memory's index", &h.index, err);
	if (!r && h.index.size != save_chunks(h.memory_size) * sizeof(struct save_chunk_wire))
		r = err_set(err, -EINVAL, "it is damaged: the memory's index has %lu bytes",
			    h.index.size);
	if (r < 0)
		return r;
	*out = h;
	return 0;
}

int save_header_read(int fd, struct save_header *out, struct err *err)
{
	AUTO(free_ptr) struct save_header_wire *w = NEW(struct save_header_wire);
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot look at it");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "it is not a regular file");
	n = fd_pread_some(fd, w, sizeof(*w), 0);
	if (n < 0)
		return err_errno(err, (int)n, "cannot read it");
	if ((size_t)n < sizeof(w->magic))
		return err_set(err, -EINVAL, "it is not a guest saved by posada");
	if ((size_t)n < sizeof(*w) && !memcmp(w->magic, SAVE_MAGIC, sizeof(w->magic)))
		return err_set(err, -EINVAL,
			       "it is cut short: it ends within the header, at byte %zd", n);
	return save_header_decode(w, (u64)st.st_size, out, err);
}

int save_part_read(int fd, const struct save_part *p, const char *what, void **out, struct err *err)
{
	AUTO(free_ptr) u8 *data = alloc_try(p->size + 1, 1);
	int r;

	if (!data)
		return err_set(err, -ENOMEM, "out of memory for the %s", what);
	r = fd_pread_full(fd, data, p->size, p->offset);
	if (r < 0)
		return err_errno(err, r, "cannot read the %s", what);
	if (crc32c_update(0, data, p->size) != p->crc)
		return err_set(err, -EINVAL,
			       "it is damaged: the %s, at byte %lu, has a wrong checksum", what,
			       p->offset);
	*out = take(data);
	return 0;
}
