/*
 * A disk that an NBD server has: its requests. See client.h; the connections are client_conn.c's.
 */
#include "nbd/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "block/io.h"
#include "block/iov.h"
#include "nbd/client_priv.h"

static struct nbdc *nbdc_of(struct blk_node *n)
{
	return container_of(n, struct nbdc, node);
}

/* --- commands --- */

struct nbdc_command {
	enum blk_op op; /* BLK_FLUSH, too */
	void *data;
	u64 offset, bytes;
	u32 flags;
	struct blk_status *status; /* then it is a block status */
};

/* Under libnbd's lock. Only what comes first counts; the server may say anything. */
static int client_on_extents(void *opaque, const char *context, unused u64 offset, u32 *entries,
			     size_t n_entries, unused int *error)
{
	struct nbdc_call *call = opaque;
	struct blk_status *out = call->status;

	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) || n_entries < 2 || !entries[0])
		return 0;
	out->bytes = MIN(out->bytes, entries[0]);
	out->is_zero = entries[1] & LIBNBD_STATE_ZERO;
	out->is_data = !out->is_zero;
	return 0;
}

/* The same. A server may say that it is done when it isn't, and libnbd takes its word. */
static int client_on_chunk(void *opaque, unused const void *data, size_t bytes, unused u64 offset,
			   unused unsigned kind, unused int *error)
{
	struct nbdc_call *call = opaque;

	call->missing -= MIN(bytes, call->missing);
	return 0;
}

static i64 client_send(struct nbd_handle *h, const struct nbdc_command *m, struct nbdc_call *call)
{
	const nbd_completion_callback done = nbdc_completion(call);
	const nbd_chunk_callback chunks = {.callback = client_on_chunk, .user_data = call};
	const nbd_extent_callback extents = {.callback = client_on_extents, .user_data = call};

	if (m->status)
		return nbd_aio_block_status(h, m->bytes, m->offset, extents, done, 0);
	switch (m->op) {
	case BLK_READ:
		call->missing = m->bytes;
		return nbd_aio_pread_structured(h, m->data, m->bytes, m->offset, chunks, done, 0);
	case BLK_WRITE:
		return nbd_aio_pwrite(h, m->data, m->bytes, m->offset, done, m->flags);
	case BLK_FLUSH:
		return nbd_aio_flush(h, done, 0);
	case BLK_DISCARD:
		return nbd_aio_trim(h, m->bytes, m->offset, done, 0);
	case BLK_WRITE_ZEROES:
		return nbd_aio_zero(h, m->bytes, m->offset, done, m->flags);
	}
	return -1;
}

/* Once more when the connection was lost: what was asked for may have been done, or not. */
static int client_do(struct nbdc *d, const struct nbdc_command *m)
{
	struct nbdc_conn *c;
	int r = -ENOTCONN;

	if (!d->n_owed++)
		d->owed_ns = time_mono_ns();
	while (r == -ENOTCONN && (c = nbdc_choose(d))) {
		struct nbdc_call call = {.conn = c, .co = co_self(), .status = m->status};

		list_append(&c->calls, &call.node);
		c->n_calls++;
		r = nbdc_wait(c, &call, client_send(c->h, m, &call));
	}
	d->n_owed--;
	if (r != -ENOTCONN)
		d->owed_ns = time_mono_ns();
	return r;
}

static int client_do_ranges(struct nbdc *d, enum blk_op op, struct blk_request *r, u32 flags)
{
	int result = 0;

	while (result == 0 && r->progress < r->bytes) {
		const struct nbdc_command m = {.op = op,
					       .offset = r->offset + r->progress,
					       .bytes = MIN(r->bytes - r->progress, NBDC_RANGE_MAX),
					       .flags = flags};

		result = client_do(d, &m);
		r->progress += m.bytes;
	}
	return result;
}

/* --- requests --- */

/* How much of the next bytes lies in one piece, and may go as it is. */
static u64 client_in_place(const struct nbdc *d, const struct blk_request *r, u64 most)
{
	u64 bytes = MIN(most, (u64)r->iov[0].iov_len);

	return bytes == most || bytes >= 64 * KIB ? align_down(bytes, d->range_align) : 0;
}

static int client_transfer_copied(struct nbdc *d, struct blk_request *r, struct nbdc_command *m)
{
	AUTO(free_ptr) u8 *data = alloc_try(1, m->bytes);
	int result;

	if (!data)
		return -ENOMEM;
	m->data = data;
	if (r->op == BLK_WRITE)
		blk_node_fetch(r, data, m->bytes);
	result = client_do(d, m);
	if (result == 0 && r->op == BLK_READ)
		blk_node_fill(r, data, m->bytes);
	return result;
}

static int client_transfer(struct nbdc *d, struct blk_request *r, u64 end)
{
	const u32 flags = r->is_fua && d->can_fua && !d->o.is_unsafe ? LIBNBD_CMD_FLAG_FUA : 0;
	int result = 0;

	while (result == 0 && r->offset + r->progress < end) {
		u64 at = r->offset + r->progress;
		struct nbdc_command m = {.op = r->op,
					 .offset = at,
					 .bytes = MIN(end - at, (u64)d->transfer_max),
					 .flags = flags};
		u64 in_place = client_in_place(d, r, m.bytes);

		if (!in_place) {
			result = client_transfer_copied(d, r, &m);
			continue;
		}
		m.bytes = in_place;
		m.data = r->iov[0].iov_base;
		result = client_do(d, &m);
		blk_iov_advance(r, m.bytes);
		r->progress += m.bytes;
	}
	return result;
}

/* Behind a container's end there are zeros. */
static int client_read(struct blk_node *n, struct blk_request *r)
{
	struct nbdc *d = nbdc_of(n);
	u64 end = r->offset + r->bytes, inside = MAX(MIN(end, d->bytes), r->offset);
	int result = client_transfer(d, r, inside);

	if (result == 0 && r->progress < r->bytes)
		blk_node_fill_zeros(r, r->bytes - r->progress);
	return result;
}

static int client_flush(struct blk_node *n)
{
	const struct nbdc_command m = {.op = BLK_FLUSH};
	struct nbdc *d = nbdc_of(n);

	return d->can_flush && !d->o.is_unsafe ? client_do(d, &m) : 0;
}

static int client_write(struct blk_node *n, struct blk_request *r)
{
	struct nbdc *d = nbdc_of(n);
	int result = client_transfer(d, r, r->offset + r->bytes);

	return result == 0 && r->is_fua && !d->can_fua ? client_flush(n) : result;
}

static int client_write_zeros(struct nbdc *d, struct blk_request *r)
{
	static const u8 zeros[64 * KIB];
	int result = 0;

	while (result == 0 && r->progress < r->bytes) {
		const struct nbdc_command m = {.op = BLK_WRITE,
					       .data = (void *)zeros,
					       .offset = r->offset + r->progress,
					       .bytes = MIN(r->bytes - r->progress, sizeof(zeros))};

		result = client_do(d, &m);
		r->progress += m.bytes;
	}
	return result;
}

static int client_write_zeroes(struct blk_node *n, struct blk_request *r)
{
	struct nbdc *d = nbdc_of(n);

	if (!d->can_zero)
		return client_write_zeros(d, r);
	return client_do_ranges(d, BLK_WRITE_ZEROES, r, r->may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
}

static int client_discard(struct blk_node *n, struct blk_request *r)
{
	struct nbdc *d = nbdc_of(n);

	return d->can_trim ? client_do_ranges(d, BLK_DISCARD, r, 0) : 0;
}

/* Those who ask think in blocks. */
static void client_round_status(const struct nbdc *d, u64 bytes, struct blk_status *out)
{
	if (out->bytes == bytes || is_aligned(out->bytes, d->range_align))
		return;
	if (out->bytes > d->range_align) {
		out->bytes = align_down(out->bytes, d->range_align);
		return;
	}
	out->is_data = true;
	out->is_zero = false;
	out->bytes = MIN(bytes, (u64)d->range_align);
}

static int client_status(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out)
{
	struct nbdc *d = nbdc_of(n);
	struct nbdc_command m = {.offset = offset, .status = out};
	int r;

	if (offset >= d->bytes) {
		out->is_data = false;
		out->is_zero = true;
		return 0;
	}
	out->has_offset = true;
	out->offset = offset;
	m.bytes = MIN(bytes, d->bytes - offset);
	out->bytes = m.bytes = MIN(m.bytes, NBDC_RANGE_MAX);
	r = d->has_status ? client_do(d, &m) : 0;
	if (r < 0)
		return r;
	client_round_status(d, bytes, out);
	return 0;
}

static int client_resize(struct blk_node *n, u64 size, struct err *err)
{
	struct nbdc *d = nbdc_of(n);
	char text[24];
	int r;

	snprintf(text, sizeof(text), "%lu", size);
	r = nbdc_ask(d, CONNECTOR_RESIZE, text, err);
	if (r == 0)
		d->bytes = n->blk.size = size;
	return r;
}

static void client_poll(struct blk_node *n)
{
	nbdc_poll(nbdc_of(n));
}

static void client_close(struct blk_node *n)
{
	struct nbdc *d = nbdc_of(n);

	nbdc_stop(d);
	list_remove(&d->opening);
	fd_close(d->o.connector);
}

/* --- the disk --- */

static int client_take_size(struct nbdc *d, struct err *err)
{
	struct blk *b = &d->node.blk;
	bool is_whole = is_aligned(d->bytes, d->range_align);

	b->block_size = d->range_align;
	b->is_readonly = d->o.is_readonly;
	if (d->is_server_readonly && !b->is_readonly)
		return err_set(err, -EROFS, "the server lets nobody write");
	if (!d->o.is_container && !d->bytes)
		return err_set(err, -EINVAL, "it is empty");
	if (!is_whole && (!d->o.is_container || !b->is_readonly))
		return err_set(err, -EINVAL, "its size, %lu bytes, is not a multiple of %u",
			       d->bytes, d->range_align);
	b->size = align_up(d->bytes, d->range_align);
	b->is_container = d->o.is_container;
	return 0;
}

int nbdc_new(struct loop *loop, const struct nbdc_options *o, struct blk **out, struct err *err)
{
	static const struct blk_node_ops ops = {
		.does_fua = true,
		.read = client_read,
		.write = client_write,
		.write_zeroes = client_write_zeroes,
		.discard = client_discard,
		.flush = client_flush,
		.status = client_status,
		.resize = client_resize,
		.poll = client_poll,
		.close = client_close,
	};
	struct nbdc *d = NEW(struct nbdc);
	int r = blk_node_init(&d->node, &ops, loop, "nbd", err);

	if (r < 0) {
		free(d);
		return r;
	}
	d->o = *o;
	if (!d->o.patience_ns)
		d->o.patience_ns = NBDC_PATIENCE_NS;
	r = nbdc_start(d, err);
	if (r == 0)
		r = client_take_size(d, err);
	if (r < 0) {
		d->o.connector = -1; /* it stays the caller's */
		blk_free(&d->node.blk);
		return r;
	}
	*out = &d->node.blk;
	return 0;
}
