/*
 * A saved guest's file from a stranger: header, index and every chunk, plain and compressed. Checksums
 * that a stranger can make right are made right here, so that what stands behind them is reached; and
 * what is accepted is read to the end.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/fd.h"
#include "migrate/chunk.h"
#include "proto/save_file.h"

#define MAX_MEMORY (MIB)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void mend_crc(u8 *file, size_t size, struct save_part_wire *p)
{
	u64 offset = le64_get(p->offset), part = le64_get(p->size);

	if (range_fits(offset, part, size))
		p->crc = le32_of(crc32c_update(0, file + offset, part));
}

static void mend(u8 *file, size_t size)
{
	struct save_header_wire *h = (struct save_header_wire *)file;

	if (size < sizeof(*h))
		return;
	mend_crc(file, size, &h->config);
	mend_crc(file, size, &h->state);
	mend_crc(file, size, &h->index);
	h->crc = le32_of(crc32c_update(0, h, offsetof(struct save_header_wire, crc)));
}

static void read_memory(int fd, u64 file_size, const struct save_header *h)
{
	AUTO(chunk_reader_free) struct chunk_reader *r = NULL;
	AUTO(free_ptr) u8 *buf = mem_alloc(1, SAVE_CHUNK);
	struct err err = ERR_INIT;
	void *index;

	if (save_part_read(fd, &h->index, "index", &index, &err) < 0 ||
	    chunk_reader_new(fd, file_size, h->memory_size, index, &r, &err) < 0)
		return;
	for (u64 n = 0; n < save_chunks(h->memory_size); n++)
		(void)chunk_read(r, n, buf, &err);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	AUTO(free_ptr) u8 *file = mem_alloc(1, size + 1);
	AUTO_FD int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct save_header h;

	memcpy(file, data, size);
	mend(file, size);
	if (fd < 0 || fd_pwrite_full(fd, file, size, 0) < 0)
		return 0;
	if (save_header_read(fd, &h, &err) < 0) {
		assert(err.text[0]);
		return 0;
	}
	if (h.memory_size <= MAX_MEMORY)
		read_memory(fd, size, &h);
	return 0;
}
