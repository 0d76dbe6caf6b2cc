/*
 * A saved guest's memory in its file: chunks in and out, by an index that has a checksum for each.
 *
 * The format is proto/save_file.h's. Plain: a chunk lies where its number says, pages of zeroes are
 * holes. Compressed: chunks follow each other as zstd frames, one that doesn't shrink as it is. Either
 * way a chunk of zeroes is in the index alone.
 *
 * One caller at a time.
 */
#ifndef MIGRATE_CHUNK_H
#define MIGRATE_CHUNK_H

#include "proto/save_file.h"

/* --- writing --- */

struct chunk_writer;

/* fd is borrowed, an empty regular file. */
int chunk_writer_new(int fd, u64 memory_size, bool is_compressed, struct chunk_writer **out,
		     struct err *err);
void chunk_writer_free(struct chunk_writer *w); /* NULL is fine */
AUTO_FN(chunk_writer_free, struct chunk_writer *)
/* Chunk n is what data points at, which may change meanwhile: it is copied first. Written again, the
 * new replaces the old. Negative errno. */
int chunk_write(struct chunk_writer *w, u64 n, const void *data);
/* Chunk n is zeroes, as all are that were never written. */
void chunk_write_zero(struct chunk_writer *w, u64 n);
/* Appends bytes behind all chunks, which must not grow any more: where they are. */
int chunk_writer_append(struct chunk_writer *w, const void *data, size_t size,
			struct save_part *out);
/* The index, appended likewise. */
int chunk_writer_append_index(struct chunk_writer *w, struct save_part *out);

/* --- reading --- */

struct chunk_reader;

/* fd is borrowed; the index (taken over) is that of a file of file_size bytes: every entry is checked
 * here, the chunks as they are read. */
int chunk_reader_new(int fd, u64 file_size, u64 memory_size, struct save_chunk_wire *index,
		     struct chunk_reader **out, struct err *err);
void chunk_reader_free(struct chunk_reader *r); /* NULL is fine */
AUTO_FN(chunk_reader_free, struct chunk_reader *)
bool chunk_is_zero(const struct chunk_reader *r, u64 n);
/* Into save_chunk_bytes at buf. A sentence that says which chunk is damaged; buf is then not to be
 * used. */
int chunk_read(struct chunk_reader *r, u64 n, void *buf, struct err *err);

#endif
