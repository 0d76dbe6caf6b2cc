/*
 * NBD's transmission phase: requests and their replies (proto.md, "Transmission").
 *
 * The client's coroutine receives a request with its data, waits until there is room, and has it
 * served by another. Replies go out in the order in which requests end.
 */
#include <string.h>

#include "base/alloc.h"
#include "block/io.h"
#include "image/image.h"
#include "nbd/nbd_priv.h"

#define TRANSMIT_EXTENTS 4096 /* of one context, in a reply */

struct nbd_request {
	struct nbd_client *c;
	u16 flags, type;
	u64 cookie, offset;
	u32 length;
	u64 memory; /* accounted */
	u8 *data;
};

/* --- replies --- */

static u32 transmit_error(int r)
{
	switch (-r) {
	case EPERM:
	case EACCES:
	case EROFS:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case EOVERFLOW:
		return NBD_EOVERFLOW;
	case ENOTSUP:
		return NBD_ENOTSUP;
	}
	return r < 0 ? NBD_EIO : 0;
}

static struct nbd_chunk_wire transmit_chunk(const struct nbd_request *q, u32 flags, u32 type,
					    u64 length)
{
	return (struct nbd_chunk_wire){
		.magic = be32_of(NBD_STRUCTURED_MAGIC),
		.flags = be16_of((u16)flags),
		.type = be16_of((u16)type),
		.cookie = be64_of(q->cookie),
		.length = be32_of((u32)length),
	};
}

static void transmit_simple(struct nbd_request *q, int r, u32 data_bytes)
{
	struct nbd_simple_reply_wire h = {
		.magic = be32_of(NBD_SIMPLE_MAGIC),
		.error = be32_of(transmit_error(r)),
		.cookie = be64_of(q->cookie),
	};
	struct iovec iov[] = {{&h, sizeof(h)}, {q->data, data_bytes}};

	nbd_send(q->c, iov, ARRAY_SIZE(iov));
}

/* Success without data, or a failure. */
static void transmit_result(struct nbd_request *q, int r)
{
	struct nbd_chunk_error_wire e = {.error = be32_of(transmit_error(r))};
	struct nbd_chunk_wire h = transmit_chunk(q, NBD_CHUNK_DONE, NBD_CHUNK_ERROR, sizeof(e));
	struct iovec iov[] = {{&h, sizeof(h)}, {&e, sizeof(e)}};

	if (r == 0 || !q->c->has_structured)
		transmit_simple(q, r, 0);
	else
		nbd_send(q->c, iov, ARRAY_SIZE(iov));
}

static void transmit_data(struct nbd_request *q)
{
	be64 offset = be64_of(q->offset);
	struct nbd_chunk_wire h = transmit_chunk(q, NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_DATA,
						 sizeof(offset) + q->length);
	struct iovec iov[] = {{&h, sizeof(h)}, {&offset, sizeof(offset)}, {q->data, q->length}};

	if (q->c->has_structured)
		nbd_send(q->c, iov, ARRAY_SIZE(iov));
	else
		transmit_simple(q, 0, q->length);
}

/* --- block status --- */

struct extents {
	struct nbd_extent_wire list[TRANSMIT_EXTENTS];
	u32 n;
};

/* False: there is no more room. */
static bool extents_add(struct extents *e, u32 max, u64 bytes, u32 flags)
{
	struct nbd_extent_wire *last = e->n ? &e->list[e->n - 1] : NULL;

	if (last && be32_get(last->flags) == flags) {
		last->length = be32_of(be32_get(last->length) + (u32)bytes);
		return true;
	}
	if (e->n == max)
		return false;
	e->list[e->n++] = (struct nbd_extent_wire){be32_of((u32)bytes), be32_of(flags)};
	return true;
}

/* What the stretch is, in one of the contexts. */
static int status_ask(struct nbd_server *s, u32 context, u64 offset, u64 bytes, u64 *out_bytes,
		      u32 *out_flags)
{
	struct blk *disk = s->o.disk;
	struct blk_status st;
	bool is_dirty;
	int r;

	if (context != NBD_CONTEXT_ALLOCATION) {
		r = disk->image->bitmap_status(disk, s->o.bitmaps[context - NBD_CONTEXT_BITMAP],
					       offset, bytes, &is_dirty, out_bytes);
		*out_flags = is_dirty ? NBD_STATE_DIRTY : 0;
		return r;
	}
	r = blk_status(disk, offset, bytes, &st);
	*out_bytes = st.bytes;
	*out_flags = (st.is_data ? 0 : NBD_STATE_HOLE) |
		     (st.is_zero || !st.is_data ? NBD_STATE_ZERO : 0);
	return r;
}

static int status_collect(const struct nbd_request *q, u32 context, struct extents *e)
{
	const u32 max = q->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : TRANSMIT_EXTENTS;

	e->n = 0;
	for (u64 done = 0, bytes; done < q->length; done += bytes) {
		u32 flags;
		int r = status_ask(q->c->s, context, q->offset + done, q->length - done, &bytes,
				   &flags);

		if (r < 0)
			return r;
		if (!extents_add(e, max, bytes, flags))
			break;
	}
	return 0;
}

static int status_send(struct nbd_request *q, u32 context, struct extents *e, bool is_last)
{
	be32 id = be32_of(context);
	u64 bytes = e->n * sizeof(e->list[0]);
	struct nbd_chunk_wire h = transmit_chunk(q, is_last ? NBD_CHUNK_DONE : 0,
						 NBD_CHUNK_BLOCK_STATUS, sizeof(id) + bytes);
	struct iovec iov[] = {{&h, sizeof(h)}, {&id, sizeof(id)}, {e->list, bytes}};

	return nbd_send(q->c, iov, ARRAY_SIZE(iov));
}

static void request_status(struct nbd_request *q)
{
	AUTO(free_ptr) struct extents *e = NEW(struct extents);
	u32 contexts[1 + NBD_MAX_BITMAPS];
	unsigned n = 0;
	int r = 0;

	if (q->c->has_allocation)
		contexts[n++] = NBD_CONTEXT_ALLOCATION;
	for (unsigned i = 0; i < q->c->s->o.n_bitmaps; i++) {
		if (q->c->has_bitmap[i])
			contexts[n++] = NBD_CONTEXT_BITMAP + i;
	}
	if (!n)
		r = -EINVAL;
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = status_collect(q, contexts[i], e);
		if (r == 0 && status_send(q, contexts[i], e, i + 1 == n) < 0)
			return;
	}
	if (r < 0)
		transmit_result(q, r);
}

/* --- buffers --- */

/* Not zeroed: it is read into, or received into, whole, before anybody sees it. Aligned for direct I/O. */
static u8 *buffer_take(struct nbd_server *s, u64 bytes)
{
	if (bytes > NBD_KEPT_BYTES)
		return aligned_alloc(PAGE_SIZE, align_up(bytes, PAGE_SIZE));
	return s->n_kept ? s->kept[--s->n_kept] : aligned_alloc(PAGE_SIZE, NBD_KEPT_BYTES);
}

static void buffer_give(struct nbd_server *s, u8 *buf, u64 bytes)
{
	if (buf && bytes <= NBD_KEPT_BYTES && s->n_kept < NBD_KEPT)
		s->kept[s->n_kept++] = buf;
	else
		free(buf);
}

void nbd_buffers_free(struct nbd_server *s)
{
	while (s->n_kept)
		free(s->kept[--s->n_kept]);
}

/* --- requests --- */

/* Blocks that are written in part are read first: nobody else writes meanwhile. */
static int request_write(struct nbd_request *q, int (*fn)(struct nbd_request *q))
{
	struct nbd_server *s = q->c->s;
	bool is_whole = is_aligned(q->offset | q->length, s->o.disk->block_size);
	int r;

	co_lock(&s->order);
	while (!is_whole && s->n_writes)
		co_queue_wait(&s->changed);
	if (is_whole) {
		s->n_writes++;
		co_unlock(&s->order);
	}
	r = fn(q);
	if (is_whole)
		s->n_writes--;
	else
		co_unlock(&s->order);
	if (r == 0 && (q->flags & NBD_CMD_FLAG_FUA || q->c->s->o.is_writethrough))
		r = blk_flush(s->o.disk);
	return r;
}

static int write_data(struct nbd_request *q)
{
	return blk_write(q->c->s->o.disk, q->offset, q->data, q->length);
}

static int write_zeroes(struct nbd_request *q)
{
	return blk_write_zeroes(q->c->s->o.disk, q->offset, q->length,
				!(q->flags & NBD_CMD_FLAG_NO_HOLE));
}

static int write_discard(struct nbd_request *q)
{
	return blk_discard(q->c->s->o.disk, q->offset, q->length);
}

static void request_serve(struct nbd_request *q)
{
	struct blk *disk = q->c->s->o.disk;
	int r;

	switch (q->type) {
	case NBD_CMD_READ:
		r = blk_read(disk, q->offset, q->data, q->length);
		if (r == 0)
			transmit_data(q);
		else
			transmit_result(q, r);
		return;
	case NBD_CMD_WRITE:
		transmit_result(q, request_write(q, write_data));
		return;
	case NBD_CMD_FLUSH:
		transmit_result(q, q->c->s->o.is_readonly ? 0 : blk_flush(disk));
		return;
	case NBD_CMD_TRIM:
		transmit_result(q, request_write(q, write_discard));
		return;
	case NBD_CMD_WRITE_ZEROES:
		transmit_result(q, request_write(q, write_zeroes));
		return;
	case NBD_CMD_BLOCK_STATUS:
		request_status(q);
		return;
	}
	transmit_result(q, 0); /* NBD_CMD_CACHE: a hint */
}

static void request_end(struct nbd_request *q)
{
	struct nbd_server *s = q->c->s;

	s->memory -= q->memory;
	q->c->n_requests--;
	buffer_give(s, q->data, q->memory);
	free(q);
	co_queue_wake_all(&s->changed);
}

static void request_main(void *arg)
{
	request_serve(arg);
	request_end(arg);
}

/* --- receiving --- */

static u32 request_flags(u16 type)
{
	switch (type) {
	case NBD_CMD_READ:
		return NBD_CMD_FLAG_DF | NBD_CMD_FLAG_FUA;
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_FUA;
	}
	return NBD_CMD_FLAG_FUA;
}

static bool request_is_write(const struct nbd_request *q)
{
	return q->type == NBD_CMD_WRITE || q->type == NBD_CMD_TRIM ||
	       q->type == NBD_CMD_WRITE_ZEROES;
}

/* May it be served? 0 or a negative errno. */
static int request_check(const struct nbd_request *q)
{
	const struct nbd_server *s = q->c->s;
	bool has_data = q->type == NBD_CMD_READ || q->type == NBD_CMD_WRITE;

	if (q->type > NBD_CMD_BLOCK_STATUS || q->flags & ~request_flags(q->type))
		return -EINVAL;
	if (request_is_write(q) && s->o.is_readonly)
		return -EPERM;
	if (q->type == NBD_CMD_FLUSH)
		return 0;
	if (!q->length || !range_fits(q->offset, q->length, s->o.disk->size))
		return q->type == NBD_CMD_WRITE ? -ENOSPC : -EINVAL;
	if (has_data && q->length > NBD_PAYLOAD_MAX)
		return -EOVERFLOW;
	return 0;
}

/* Until there is room for one request more, with its data. */
static void request_wait_room(struct nbd_request *q)
{
	struct nbd_server *s = q->c->s;
	bool has_data = q->type == NBD_CMD_READ || q->type == NBD_CMD_WRITE;

	q->memory = has_data ? q->length : 0;
	while (q->c->n_requests == NBD_REQUESTS_ONE || co_pool_is_empty(s->request_pool) ||
	       s->memory + q->memory > NBD_MEMORY)
		co_queue_wait(&s->changed);
	s->memory += q->memory;
	q->c->n_requests++;
}

/* Its data, if it has any. 0; a negative errno for an answer; -EPIPE: the client is gone. */
static int request_receive_data(struct nbd_request *q, int r)
{
	bool is_write = q->type == NBD_CMD_WRITE;

	/* Too much to be skipped: it would never end. */
	if (is_write && r < 0)
		return q->length > NBD_PAYLOAD_MAX || nbd_skip(q->c, q->length) < 0 ? -EPIPE : r;
	if (r < 0)
		return r;
	if (q->memory)
		q->data = buffer_take(q->c->s, q->memory);
	if (q->memory && !q->data)
		return is_write && nbd_skip(q->c, q->length) < 0 ? -EPIPE : -ENOMEM;
	return is_write ? nbd_receive(q->c, q->data, q->length) : 0;
}

/* Negative: the client is gone, or wants to be. */
static int transmit_one(struct nbd_client *c)
{
	struct nbd_request_wire h;
	struct nbd_request *q;
	int r = nbd_receive(c, &h, sizeof(h));

	if (r < 0 || be32_get(h.magic) != NBD_REQUEST_MAGIC || be16_get(h.type) == NBD_CMD_DISC)
		return -EPIPE;
	q = NEW(struct nbd_request);
	*q = (struct nbd_request){
		.c = c,
		.flags = be16_get(h.flags),
		.type = be16_get(h.type),
		.cookie = be64_get(h.cookie),
		.offset = be64_get(h.offset),
		.length = be32_get(h.length),
	};
	r = request_check(q);
	if (r == 0)
		request_wait_room(q);
	else
		c->n_requests++;
	r = request_receive_data(q, r);
	if (r == 0 && !co_pool_is_empty(c->s->request_pool)) {
		co_start(c->s->request_pool, request_main, q);
		return 0;
	}
	if (r == 0)
		request_serve(q); /* others were faster than the data */
	else if (r != -EPIPE)
		transmit_result(q, r);
	request_end(q);
	return r == -EPIPE ? r : 0;
}

void nbd_transmit(struct nbd_client *c)
{
	while (transmit_one(c) == 0)
		;
}
