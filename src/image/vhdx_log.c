/*
 * VHDX's log: what changes in tables is written there first ([MS-VHDX] 2.3).
 *
 * Reading: of the whole entries with the header's log id, the one with the highest number is the head; it
 * names the tail, and from there to the head numbers follow each other. What a stopped host left half
 * written isn't whole, so the head before it counts. Work and memory are bounded, whatever the log says.
 *
 * Writing: an image that is changed gets a new log id, so that all older entries are void. A flush
 *
 *     flushes the data, and with it what the last flush has put in place      (blocks.c)
 *     writes entries whose tail is the first of them, and flushes them
 *     puts their sectors in place
 *
 * An entry may be overwritten as soon as what it holds is flushed in its place, which it is when the next flush
 * comes here. If the entries of one flush are more than the log has room for, they are flushed in place
 * by parts: each part leaves a sound image.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "block/io.h"
#include "image/guid.h"
#include "image/vhdx_priv.h"

#define LOG_WORK_MAX     16u /* checksums of so many times the log's size are tried */
#define LOG_TRIES        64u /* heads */
#define LOG_ENTRY_PIECES 62u /* of an entry of ours: descriptors in one sector */
#define LOG_ZEROS_MAX    (64 * MIB)

struct log {
	struct vhdx *v;
	u8 *bytes; /* the log itself */
	u64 size;
	u8 *is_entry; /* a byte for each sector */
	u64 work;
};

/* --- reading --- */

/* At sector-aligned `at`; entries may go around the log's end. */
static u8 *log_sector(struct log *l, u64 at)
{
	return l->bytes + at % l->size;
}

static u32 log_checksum(struct log *l, u64 at, u64 bytes)
{
	static const u8 zeros[4];
	u32 crc = crc32c_update(0, log_sector(l, at), 4);

	crc = crc32c_update(crc, zeros, 4);
	crc = crc32c_update(crc, log_sector(l, at) + 8, VHDX_LOG_SECTOR - 8);
	for (u64 i = VHDX_LOG_SECTOR; i < bytes; i += VHDX_LOG_SECTOR)
		crc = crc32c_update(crc, log_sector(l, at + i), VHDX_LOG_SECTOR);
	return crc;
}

static u64 log_descriptor_bytes(u32 n)
{
	return align_up(sizeof(struct vhdx_log_entry_wire) +
				n * sizeof(struct vhdx_descriptor_wire),
			VHDX_LOG_SECTOR);
}

static bool log_is_entry(struct log *l, u64 at)
{
	const struct vhdx_log_entry_wire *e = (const void *)log_sector(l, at);
	u64 bytes = le32_get(e->bytes);

	if (memcmp(e->signature, "loge", 4) != 0 || !bytes || bytes > l->size ||
	    !is_aligned(bytes, VHDX_LOG_SECTOR) ||
	    !is_aligned(le32_get(e->tail), VHDX_LOG_SECTOR) || le32_get(e->tail) >= l->size ||
	    !le64_get(e->sequence) || memcmp(e->log_id, l->v->header.log_id, 16) != 0 ||
	    le32_get(e->n_descriptors) > bytes / sizeof(struct vhdx_descriptor_wire) ||
	    log_descriptor_bytes(le32_get(e->n_descriptors)) > bytes)
		return false;
	l->work += bytes;
	return l->work <= LOG_WORK_MAX * l->size &&
	       log_checksum(l, at, bytes) == le32_get(e->checksum);
}

/* From the head's tail on, entry follows entry, number follows number, up to the head. */
static bool log_is_sequence(struct log *l, u64 head)
{
	const struct vhdx_log_entry_wire *h = (const void *)log_sector(l, head), *e;
	u64 at = le32_get(h->tail), n = l->size / VHDX_LOG_SECTOR, sequence = 0;

	for (; n; n--) {
		e = (const void *)log_sector(l, at);
		if (!l->is_entry[at / VHDX_LOG_SECTOR] ||
		    (sequence && le64_get(e->sequence) != sequence + 1))
			return false;
		if (at == head)
			return true;
		sequence = le64_get(e->sequence);
		at = (at + le32_get(e->bytes)) % l->size;
	}
	return false;
}

/* The highest number below `below`; false: there is none. */
static bool log_next_head(struct log *l, u64 below, u64 *out)
{
	u64 best = 0;

	for (u64 at = 0; at < l->size; at += VHDX_LOG_SECTOR) {
		const struct vhdx_log_entry_wire *e = (const void *)log_sector(l, at);

		if (l->is_entry[at / VHDX_LOG_SECTOR] && le64_get(e->sequence) > best &&
		    le64_get(e->sequence) < below) {
			best = le64_get(e->sequence);
			*out = at;
		}
	}
	return best;
}

static bool log_find_head(struct log *l, u64 *out)
{
	u64 below = ~(u64)0;

	for (u64 at = 0; at < l->size; at += VHDX_LOG_SECTOR)
		l->is_entry[at / VHDX_LOG_SECTOR] = log_is_entry(l, at);
	for (unsigned i = 0; i < LOG_TRIES && log_next_head(l, below, out); i++) {
		if (log_is_sequence(l, *out))
			return true;
		below = le64_get(((struct vhdx_log_entry_wire *)log_sector(l, *out))->sequence);
	}
	return false;
}

/* Where the file's own head and what nobody logs are, nothing may go. */
static bool log_is_target(const struct vhdx *v, u64 offset, u64 bytes)
{
	return is_aligned(offset | bytes, VHDX_LOG_SECTOR) &&
	       range_fits(offset, bytes, BLK_SIZE_MAX) && offset >= VHDX_ALIGN &&
	       !range_overlaps(offset, bytes, v->log.offset, v->log.bytes);
}

static int log_take_zeros(struct log *l, const struct vhdx_descriptor_wire *d, u64 *zeros_left)
{
	static const u8 zeros[64 * KIB];
	u64 offset = le64_get(d->offset), bytes = le64_get(d->leading);

	if (bytes > *zeros_left || !log_is_target(l->v, offset, bytes))
		return -EINVAL;
	*zeros_left -= bytes;
	while (bytes) {
		u64 n = MIN(bytes, sizeof(zeros));

		if (img_batch_add(&l->v->replayed, l->v->blocks.file, offset, zeros, n) < 0)
			return -ENOMEM;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static int log_take_data(struct log *l, const struct vhdx_descriptor_wire *d,
			 const struct vhdx_log_data_wire *from)
{
	u64 offset = le64_get(d->offset), sequence = le64_get(d->sequence);
	u8 sector[VHDX_LOG_SECTOR];

	if (memcmp(from->signature, "data", 4) != 0 ||
	    ((u64)le32_get(from->sequence_high) << 32 | le32_get(from->sequence_low)) != sequence ||
	    !log_is_target(l->v, offset, sizeof(sector)))
		return -EINVAL;
	memcpy(sector, &d->leading, 8);
	memcpy(sector + 8, from->data, sizeof(from->data));
	memcpy(sector + sizeof(sector) - 4, &d->trailing, 4);
	return img_batch_add(&l->v->replayed, l->v->blocks.file, offset, sector, sizeof(sector));
}

static int log_take_entry(struct log *l, u64 at, u64 *zeros_left)
{
	const struct vhdx_log_entry_wire *e = (const void *)log_sector(l, at);
	u64 data = at + log_descriptor_bytes(le32_get(e->n_descriptors));
	u64 end = at + le32_get(e->bytes);
	int r = 0;

	if (l->v->blocks.file->size < le64_get(e->flushed_file_bytes))
		return -EINVAL;
	for (u32 i = 0; i < le32_get(e->n_descriptors) && r == 0; i++) {
		u64 d_at = sizeof(*e) + i * sizeof(struct vhdx_descriptor_wire);
		const struct vhdx_descriptor_wire *d =
			(const void *)(log_sector(l, at + align_down(d_at, VHDX_LOG_SECTOR)) +
				       d_at % VHDX_LOG_SECTOR);

		if (le64_get(d->sequence) != le64_get(e->sequence))
			return -EINVAL;
		if (memcmp(d->signature, "zero", 4) == 0) {
			r = log_take_zeros(l, d, zeros_left);
		} else if (memcmp(d->signature, "desc", 4) == 0 && data < end) {
			r = log_take_data(l, d, (const void *)log_sector(l, data));
			data += VHDX_LOG_SECTOR;
		} else {
			r = -EINVAL;
		}
	}
	return r;
}

static int log_take(struct log *l, u64 head)
{
	u64 at = le32_get(((struct vhdx_log_entry_wire *)log_sector(l, head))->tail);
	u64 zeros_left = LOG_ZEROS_MAX;
	int r = 0;

	for (;;) {
		r = log_take_entry(l, at, &zeros_left);
		if (r < 0 || at == head)
			return r;
		at = (at + le32_get(((struct vhdx_log_entry_wire *)log_sector(l, at))->bytes)) %
		     l->size;
	}
}

int vhdx_log_read(struct vhdx *v, struct err *err)
{
	static const u8 none[16];
	struct log l = {.v = v, .size = v->log.bytes};
	AUTO(free_ptr) u8 *bytes = NULL, *is_entry = NULL;
	u64 head;
	int r;

	if (memcmp(v->header.log_id, none, sizeof(none)) == 0)
		return 0;
	l.bytes = bytes = alloc_try(1, l.size);
	l.is_entry = is_entry = alloc_try(1, l.size / VHDX_LOG_SECTOR);
	if (!bytes || !is_entry)
		return err_set(err, -ENOMEM, "no memory for the log");
	r = blk_read(v->blocks.file, v->log.offset, bytes, l.size);
	if (r < 0)
		return err_errno(err, r, "cannot read the log");
	v->had_log = log_find_head(&l, &head);
	r = v->had_log ? log_take(&l, head) : 0;
	return r < 0 ? err_errno(err, r, "the log is damaged") : 0;
}

int vhdx_log_replay(struct vhdx *v, struct err *err)
{
	static const u8 none[16];
	int r = 0;

	if (memcmp(v->header.log_id, none, sizeof(none)) == 0)
		return 0;
	r = img_batch_write(&v->replayed);
	if (r == 0)
		r = blk_flush(v->blocks.file);
	if (r == 0)
		r = vhdx_log_end(v);
	img_batch_fini(&v->replayed);
	return r < 0 ? err_errno(err, r, "cannot replay the log") : 0;
}

/* --- writing --- */

int vhdx_log_begin(struct img_blocks *b)
{
	struct vhdx *v = vhdx_of(b);
	int r = img_guid_new(v->header.log_id);

	if (r == 0)
		r = img_guid_new(v->header.file_write_id);
	if (r == 0)
		r = img_guid_new(v->header.data_write_id);
	if (r == 0)
		r = vhdx_write_header(v);
	v->is_log_used = true;
	v->log_at = 0;
	v->log_sequence = 1;
	return r;
}

int vhdx_log_end(struct vhdx *v)
{
	memset(v->header.log_id, 0, sizeof(v->header.log_id));
	v->is_log_used = false;
	return vhdx_write_header(v);
}

static void log_put_sector(u8 *entry, u32 i, u64 sequence, const u8 *sector, u64 offset)
{
	struct vhdx_descriptor_wire *d =
		(void *)(entry + sizeof(struct vhdx_log_entry_wire) + i * sizeof(*d));
	struct vhdx_log_data_wire *to = (void *)(entry + (i + 1) * VHDX_LOG_SECTOR);

	*d = (struct vhdx_descriptor_wire){
		.signature = "desc", .offset = le64_of(offset), .sequence = le64_of(sequence)};
	memcpy(&d->leading, sector, 8);
	memcpy(&d->trailing, sector + VHDX_LOG_SECTOR - 4, 4);
	memcpy(to->signature, "data", 4);
	to->sequence_high = le32_of((u32)(sequence >> 32));
	memcpy(to->data, sector + 8, sizeof(to->data));
	to->sequence_low = le32_of((u32)sequence);
}

/* Around the log's end, if need be. */
static int log_write_ring(struct vhdx *v, const u8 *entry, u64 bytes)
{
	u64 first = MIN(bytes, v->log.bytes - v->log_at);
	int r = blk_write(v->blocks.file, v->log.offset + v->log_at, entry, first);

	if (r == 0 && first < bytes)
		r = blk_write(v->blocks.file, v->log.offset, entry + first, bytes - first);
	if (r == 0)
		v->log_at = (v->log_at + bytes) % v->log.bytes;
	return r;
}

static int log_write_entry(struct vhdx *v, const struct img_batch_piece *pieces, u32 n, u64 tail)
{
	u64 bytes = (n + 1) * (u64)VHDX_LOG_SECTOR, file_bytes = v->blocks.file->size;
	AUTO(free_ptr) u8 *entry = alloc_try(1, bytes);
	struct vhdx_log_entry_wire *e = (void *)entry;

	if (!entry)
		return -ENOMEM;
	*e = (struct vhdx_log_entry_wire){
		.signature = "loge",
		.bytes = le32_of((u32)bytes),
		.tail = le32_of((u32)tail),
		.sequence = le64_of(v->log_sequence),
		.n_descriptors = le32_of(n),
		.flushed_file_bytes = le64_of(align_down(file_bytes, VHDX_ALIGN)),
		.last_file_bytes = le64_of(align_down(file_bytes, VHDX_ALIGN)),
	};
	memcpy(e->log_id, v->header.log_id, sizeof(e->log_id));
	for (u32 i = 0; i < n; i++)
		log_put_sector(entry, i, v->log_sequence, pieces[i].data, pieces[i].offset);
	e->checksum = le32_of(vhdx_checksum(entry, bytes));
	v->log_sequence++;
	return log_write_ring(v, entry, bytes);
}

/* As many pieces as the log has room for: logged, flushed, put in place. */
static int log_commit_part(struct vhdx *v, const struct img_batch_piece *pieces, unsigned n)
{
	const struct img_batch part = {.pieces = (struct img_batch_piece *)pieces, .n = n};
	u64 tail = v->log_at;
	int r = 0;

	for (unsigned i = 0; i < n && r == 0;) {
		u32 count = MIN(n - i, LOG_ENTRY_PIECES);

		r = log_write_entry(v, pieces + i, count, tail);
		i += count;
	}
	if (r == 0)
		r = blk_flush(v->blocks.file);
	return r == 0 ? img_batch_write(&part) : r;
}

int vhdx_log_commit(struct img_blocks *b, const struct img_batch *batch)
{
	struct vhdx *v = vhdx_of(b);
	unsigned most = (unsigned)(v->log.bytes / VHDX_LOG_SECTOR / 2);
	int r = v->is_table_lost ? -EIO : 0;

	assert(v->is_log_used);
	for (unsigned i = 0; i < batch->n && r == 0;) {
		unsigned n = MIN(batch->n - i, most);

		r = log_commit_part(v, batch->pieces + i, n);
		i += n;
		if (r == 0 && i < batch->n) /* the log is used again */
			r = blk_flush(b->file);
	}
	return r;
}
