/*
 * VMDK's packed grains, and stream-optimized images while they are made.
 *
 *     header | descriptor | grains, each behind its number and length | tables | directory | footer | end
 *
 * What is written gathers in a few grains in memory; the lowest of them is packed and appended when room is
 * needed. A flush appends them all, and the end. More grains may come over that end, and get another
 * one: only a whole image is worth something, so a crash before the flush loses it all.
 */
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/work.h"
#include "block/io.h"
#include "image/packer.h"
#include "image/vmdk_priv.h"

#define STREAM_SLOTS       64u
#define STREAM_BYTES       (8 * MIB) /* of all slots, where grains are large */
#define STREAM_PENDING     1u        /* a grain's entry until it is appended; no grain lies there */
#define STREAM_FIRST_BYTES (16 * KIB) /* of a packed grain, read at once */

struct stream_slot {
	u64 start; /* in the extent */
	u8 *data;  /* NULL: free */
};

struct vmdk_stream {
	struct vmdk_extent *e;
	struct work_pool *workers;
	struct co_mutex lock;
	struct stream_slot slots[STREAM_SLOTS];
	unsigned n_slots;
	u64 end; /* where the next grain goes */
	bool has_news;
};

/* --- packing and unpacking, on any thread --- */

struct packing {
	struct img_packer *packer;
	const u8 *from;
	u64 from_bytes;
	u8 *to;
	u64 to_bytes; /* the room; then what it took */
	int result;
};

static void stream_unpack(void *arg)
{
	struct packing *p = arg;

	p->result = img_unpack(p->packer, IMG_ZLIB, p->from, p->from_bytes, p->to, p->to_bytes,
			       &p->to_bytes);
}

static void stream_pack(void *arg)
{
	struct packing *p = arg;

	p->result = img_pack(p->packer, IMG_ZLIB, p->from, p->from_bytes, p->to, p->to_bytes,
			     &p->to_bytes);
}

static int stream_work(struct img_packer **packers, struct work_pool *workers,
		       void (*fn)(void *arg), struct packing *p)
{
	p->packer = img_packer_take(packers);
	if (!p->packer)
		return -ENOMEM;
	work_run(workers, fn, p);
	img_packer_give(packers, p->packer);
	return p->result;
}

/* --- reading --- */

/* A grain's packed bytes, after its header, in *out (owned). */
static int stream_read_raw(const struct vmdk_extent *e, u64 host, u8 **out, u64 *out_bytes)
{
	u64 most = 2 * e->grain_bytes, header = e->has_markers ? VMDK_GRAIN_HEADER : 0, bytes;
	u64 first = MIN(most, STREAM_FIRST_BYTES);
	AUTO(free_ptr) u8 *buf = alloc_try(1, most + VMDK_GRAIN_HEADER);
	int r = buf ? blk_read(e->file, host, buf, first) : -ENOMEM;

	if (r < 0)
		return r;
	bytes = e->has_markers ? le32_load(buf + 8) : most;
	if (!bytes || bytes > most)
		return -EIO;
	if (header + bytes > first)
		r = blk_read(e->file, host + first, buf + first, header + bytes - first);
	if (r < 0)
		return r;
	memmove(buf, buf + header, bytes);
	*out = take(buf);
	*out_bytes = bytes;
	return 0;
}

/* The grain at host, in *out (owned). */
static int stream_read_grain(struct vmdk_extent *e, struct work_pool *workers, u64 host, u8 **out)
{
	AUTO(free_ptr) u8 *raw = NULL, *to = NULL;
	struct packing p = {.to_bytes = e->grain_bytes};
	int r = stream_read_raw(e, host, &raw, &p.from_bytes);

	if (r < 0)
		return r;
	to = alloc_try(1, e->grain_bytes);
	if (!to)
		return -ENOMEM;
	p.from = raw;
	p.to = to;
	r = stream_work(&e->packers, workers, stream_unpack, &p);
	if (r == 0)
		*out = take(to); /* a short one ends in zeros */
	return r;
}

static struct stream_slot *stream_find(struct vmdk_stream *s, u64 start)
{
	for (unsigned i = 0; i < s->n_slots; i++) {
		if (s->slots[i].data && s->slots[i].start == start)
			return &s->slots[i];
	}
	return NULL;
}

/* Into v's memory of one grain. */
static int stream_unpack_at(struct vmdk *v, struct vmdk_extent *e, u64 host)
{
	u8 *grain;
	int r;

	if (v->unpacked && v->unpacked_of == e && v->unpacked_at == host)
		return 0;
	r = stream_read_grain(e, v->workers, host, &grain);
	if (r < 0)
		return r;
	free(v->unpacked);
	v->unpacked = grain;
	v->unpacked_of = e;
	v->unpacked_at = host;
	return 0;
}

int vmdk_read_packed(struct img_blocks *b, u64 offset, void *buf, u64 bytes)
{
	struct vmdk *v = vmdk_of(b);
	struct vmdk_extent *e = vmdk_find_extent(v, offset);
	u64 start = (offset - e->start) / e->grain_bytes * e->grain_bytes;
	u64 inside = offset - e->start - start;
	struct stream_slot *slot = e->stream ? stream_find(e->stream, start) : NULL;
	u32 gte;
	int r = 0;

	if (slot) {
		memcpy(buf, slot->data + inside, bytes);
		return 0;
	}
	r = vmdk_gte(e, offset - e->start, &gte);
	if (r == 0)
		r = stream_unpack_at(v, e, (u64)gte * BLK_SECTOR);
	if (r == 0)
		memcpy(buf, v->unpacked + inside, bytes);
	return r;
}

/* --- writing --- */

int vmdk_stream_new(struct vmdk_extent *e, struct work_pool *workers, struct err *err)
{
	struct vmdk_stream *s = NEW(struct vmdk_stream);

	(void)err;
	s->e = e;
	s->workers = workers;
	s->n_slots = (u32)MAX(MIN(STREAM_BYTES / e->grain_bytes, (u64)STREAM_SLOTS), (u64)2);
	s->end = MAX(le64_get(e->header.overhead), (u64)1) * BLK_SECTOR;
	s->has_news = true; /* an empty disk has an end, too */
	co_mutex_init(&s->lock);
	e->stream = s;
	return 0;
}

void vmdk_stream_free(struct vmdk_stream *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n_slots; i++)
		free(s->slots[i].data);
	free(s);
}

static int stream_write_packed(struct vmdk_stream *s, const struct stream_slot *slot, u8 *to,
			       u64 room)
{
	struct packing p = {.from = slot->data,
			    .from_bytes = MIN(s->e->grain_bytes, s->e->bytes - slot->start),
			    .to = to + VMDK_GRAIN_HEADER,
			    .to_bytes = room};
	u64 bytes, at = s->end;
	int r;

	r = stream_work(&s->e->packers, s->workers, stream_pack, &p);
	if (r < 0)
		return r;
	le64_store(to, slot->start / BLK_SECTOR);
	le32_store(to + 8, (u32)p.to_bytes);
	bytes = align_up(VMDK_GRAIN_HEADER + p.to_bytes, BLK_SECTOR);
	if ((at + bytes) / BLK_SECTOR > UINT32_MAX)
		return -EFBIG;
	r = blk_write(s->e->file, at, to, bytes);
	if (r == 0)
		r = vmdk_set_gte(s->e, slot->start, (u32)(at / BLK_SECTOR));
	if (r == 0)
		s->end = at + bytes;
	return r;
}

static int stream_append(struct vmdk_stream *s, struct stream_slot *slot)
{
	u64 room = compressBound(s->e->grain_bytes);
	AUTO(free_ptr) u8 *to = alloc_try(1, align_up(VMDK_GRAIN_HEADER + room, BLK_SECTOR));
	int r = to ? stream_write_packed(s, slot, to, room) : -ENOMEM;

	if (r < 0)
		return r;
	free(slot->data);
	slot->data = NULL;
	return 0;
}

static struct stream_slot *stream_lowest(struct vmdk_stream *s)
{
	struct stream_slot *lowest = NULL;

	for (unsigned i = 0; i < s->n_slots; i++) {
		if (s->slots[i].data && (!lowest || s->slots[i].start < lowest->start))
			lowest = &s->slots[i];
	}
	return lowest;
}

static struct stream_slot *stream_free_slot(struct vmdk_stream *s)
{
	for (unsigned i = 0; i < s->n_slots; i++) {
		if (!s->slots[i].data)
			return &s->slots[i];
	}
	return NULL;
}

/* Room for a grain, with what it holds already. */
static int stream_take_slot(struct vmdk_stream *s, u64 start, struct stream_slot **out)
{
	struct stream_slot *slot = stream_free_slot(s);
	u8 *data = NULL;
	u32 gte;
	int r = 0;

	if (!slot) {
		slot = stream_lowest(s);
		r = stream_append(s, slot);
	}
	if (r == 0)
		r = vmdk_gte(s->e, start, &gte);
	if (r == 0 && gte)
		r = stream_read_grain(s->e, s->workers, (u64)gte * BLK_SECTOR, &data);
	if (r == 0 && !data)
		data = alloc_try(1, s->e->grain_bytes);
	if (r < 0 || !data)
		return r < 0 ? r : -ENOMEM;
	slot->start = start;
	slot->data = data;
	*out = slot;
	return gte ? 0 : vmdk_set_gte(s->e, start, STREAM_PENDING);
}

int vmdk_stream_absorb(struct img_blocks *b, struct blk_request *r, u64 bytes)
{
	struct vmdk_extent *e = &vmdk_of(b)->extents[0];
	struct vmdk_stream *s = e->stream;
	u64 offset = r->offset + r->progress, start = offset / e->grain_bytes * e->grain_bytes;
	struct stream_slot *slot;
	int result = 0;

	co_lock(&s->lock);
	slot = stream_find(s, start);
	if (!slot)
		result = stream_take_slot(s, start, &slot);
	if (result == 0)
		blk_node_fetch(r, slot->data + (offset - start), bytes);
	s->has_news = true;
	co_unlock(&s->lock);
	return result;
}

/* --- the end --- */

static int stream_put_marker(struct vmdk_stream *s, u64 *at, u32 type, u64 bytes)
{
	u8 sector[BLK_SECTOR] = {0};
	struct vmdk_marker_wire m = {.value = le64_of(bytes / BLK_SECTOR), .type = le32_of(type)};
	int r;

	memcpy(sector, &m, sizeof(m));
	r = blk_write(s->e->file, *at, sector, sizeof(sector));
	*at += sizeof(sector);
	return r;
}

/* Tables that have entries, and a directory of them. */
static int stream_put_tables(struct vmdk_stream *s, u64 *at, u8 *directory)
{
	struct vmdk_extent *e = s->e;
	int r = 0;

	for (u64 i = 0; i < e->gts.n_pages && r == 0; i++) {
		u8 *table;

		if (!img_table_has(&e->gts, i * e->table_bytes))
			continue;
		r = img_table_get(&e->gts, i * e->table_bytes, &table);
		if (r == 0)
			r = stream_put_marker(s, at, VMDK_MARKER_GT, e->table_bytes);
		le32_store(directory + i * 4, (u32)(*at / BLK_SECTOR));
		if (r == 0)
			r = blk_write(e->file, *at, table, e->table_bytes);
		*at += e->table_bytes;
	}
	return r;
}

static int stream_put_footer(struct vmdk_stream *s, u64 *at, u64 directory_at)
{
	struct vmdk_header_wire footer = s->e->header;
	int r = stream_put_marker(s, at, VMDK_MARKER_FOOTER, sizeof(footer));

	footer.gd_offset = le64_of(directory_at / BLK_SECTOR);
	if (r == 0)
		r = blk_write(s->e->file, *at, &footer, sizeof(footer));
	*at += sizeof(footer);
	return r == 0 ? stream_put_marker(s, at, VMDK_MARKER_EOS, 0) : r;
}

static int stream_put_end(struct vmdk_stream *s)
{
	u64 bytes = align_up(s->e->gts.n_pages * 4, BLK_SECTOR), at = s->end, directory_at;
	AUTO(free_ptr) u8 *directory = alloc_try(1, bytes);
	struct err err;
	int r = directory ? stream_put_tables(s, &at, directory) : -ENOMEM;

	if (r == 0)
		r = stream_put_marker(s, &at, VMDK_MARKER_GD, bytes);
	directory_at = at;
	if (r == 0)
		r = blk_write(s->e->file, at, directory, bytes);
	at += bytes;
	if (r == 0)
		r = stream_put_footer(s, &at, directory_at);
	return r == 0 ? blk_resize(s->e->file, at, &err) : r;
}

int vmdk_stream_finish(struct img_blocks *b)
{
	struct vmdk_stream *s = vmdk_of(b)->extents[0].stream;
	struct stream_slot *slot;
	int r = 0;

	co_lock(&s->lock);
	while (r == 0 && (slot = stream_lowest(s)) != NULL)
		r = stream_append(s, slot);
	if (r == 0 && s->has_news)
		r = stream_put_end(s);
	if (r == 0)
		s->has_news = false;
	co_unlock(&s->lock);
	return r;
}
