/*
 * NBD's handshake: what a client wants to know, and which export it takes (proto.md, "Fixed newstyle
 * negotiation").
 */
#include <string.h>

#include "base/alloc.h"
#include "block/block.h"
#include "nbd/nbd_priv.h"

#define HANDSHAKE_OPTION_MAX (64 * KIB)
#define HANDSHAKE_SKIP_MAX   (4 * MIB) /* who sends more is hung up on */
#define HANDSHAKE_QUERIES    64
#define HANDSHAKE_OPTIONS    1024 /* that a client may send, before it takes the export */

#define CONTEXT_ALLOCATION "base:allocation"
#define CONTEXT_BITMAP     "qemu:dirty-bitmap:"

/* What an option carries; read from its start. */
struct option_data {
	const u8 *at;
	u64 left;
};

enum { HANDSHAKE_GO_ON = 0, HANDSHAKE_TRANSMIT = 1 };

static bool data_take(struct option_data *d, const void **out, u64 bytes)
{
	if (bytes > d->left)
		return false;
	*out = d->at;
	d->at += bytes;
	d->left -= bytes;
	return true;
}

static bool data_u32(struct option_data *d, u32 *out)
{
	const void *p;

	if (!data_take(d, &p, sizeof(be32)))
		return false;
	*out = be32_load(p);
	return true;
}

/* A string behind its length. */
static bool data_string(struct option_data *d, char out[NBD_STRING_MAX + 1])
{
	const void *p;
	u32 n;

	if (!data_u32(d, &n) || n > NBD_STRING_MAX || !data_take(d, &p, n))
		return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return strlen(out) == n;
}

/* --- replies --- */

static int reply_send(struct nbd_client *c, u32 option, u32 type, const void *head, u32 head_bytes,
		      const char *text)
{
	u32 text_bytes = text ? (u32)strlen(text) : 0;
	struct nbd_option_reply_wire h = {
		.magic = be64_of(NBD_REPLY_MAGIC),
		.option = be32_of(option),
		.type = be32_of(type),
		.length = be32_of(head_bytes + text_bytes),
	};
	struct iovec iov[] = {
		{&h, sizeof(h)}, {(void *)head, head_bytes}, {(void *)text, text_bytes}};

	return nbd_send(c, iov, ARRAY_SIZE(iov));
}

static int reply_ack(struct nbd_client *c, u32 option)
{
	return reply_send(c, option, NBD_REP_ACK, NULL, 0, NULL);
}

static int reply_error(struct nbd_client *c, u32 option, u32 type, const char *text)
{
	return reply_send(c, option, type, NULL, 0, text);
}

/* --- options --- */

static bool export_is(const struct nbd_client *c, const char *name)
{
	return !name[0] || strcmp(name, c->s->o.name) == 0;
}

u32 nbd_export_flags(const struct nbd_server *s)
{
	u32 flags = NBD_EXPORT_HAS_FLAGS | NBD_EXPORT_SEND_FLUSH | NBD_EXPORT_SEND_FUA |
		    NBD_EXPORT_CAN_MULTI_CONN | NBD_EXPORT_SEND_CACHE | NBD_EXPORT_SEND_DF;

	if (s->o.is_readonly)
		return flags | NBD_EXPORT_READ_ONLY;
	return flags | NBD_EXPORT_SEND_TRIM | NBD_EXPORT_SEND_WRITE_ZEROES;
}

static int option_export_name(struct nbd_client *c, struct option_data *d)
{
	static const u8 zeroes[NBD_EXPORT_ZEROES];
	char name[NBD_STRING_MAX + 1];
	struct nbd_export_wire e = {
		.size = be64_of(c->s->o.disk->size),
		.flags = be16_of((u16)nbd_export_flags(c->s)),
	};
	struct iovec iov[] = {{&e, sizeof(e)},
			      {(void *)zeroes, c->has_no_zeroes ? 0 : sizeof(zeroes)}};

	if (d->left > NBD_STRING_MAX)
		return -EPROTO;
	memcpy(name, d->at, d->left);
	name[d->left] = '\0';
	if (!export_is(c, name))
		return -EPROTO; /* there is no other way to say no */
	return nbd_send(c, iov, ARRAY_SIZE(iov)) < 0 ? -EPIPE : HANDSHAKE_TRANSMIT;
}

static int option_list(struct nbd_client *c, struct option_data *d)
{
	be32 length = be32_of((u32)strlen(c->s->o.name));
	AUTO(free) char *text = NULL;

	if (d->left)
		return reply_error(c, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "it has no data");
	text = str_format("%s%s", c->s->o.name, c->s->o.description);
	if (reply_send(c, NBD_OPT_LIST, NBD_REP_SERVER, &length, sizeof(length), text) < 0)
		return -EPIPE;
	return reply_ack(c, NBD_OPT_LIST);
}

static int info_send(struct nbd_client *c, u32 option, u16 type)
{
	const struct blk *disk = c->s->o.disk;
	const struct nbd_info_export_wire export = {
		.type = be16_of(NBD_INFO_EXPORT),
		.size = be64_of(disk->size),
		.flags = be16_of((u16)nbd_export_flags(c->s)),
	};
	const struct nbd_info_block_size_wire size = {
		.type = be16_of(NBD_INFO_BLOCK_SIZE),
		.minimum = be32_of(1),
		.preferred = be32_of(MAX(disk->block_size, (u32)PAGE_SIZE)),
		.maximum = be32_of(NBD_PAYLOAD_MAX),
	};
	const be16 word = be16_of(type);

	switch (type) {
	case NBD_INFO_EXPORT:
		return reply_send(c, option, NBD_REP_INFO, &export, sizeof(export), NULL);
	case NBD_INFO_BLOCK_SIZE:
		return reply_send(c, option, NBD_REP_INFO, &size, sizeof(size), NULL);
	case NBD_INFO_NAME:
		return reply_send(c, option, NBD_REP_INFO, &word, sizeof(word), c->s->o.name);
	case NBD_INFO_DESCRIPTION:
		return reply_send(c, option, NBD_REP_INFO, &word, sizeof(word),
				  c->s->o.description);
	}
	return 0; /* one that is unknown is not answered */
}

/* Both tell; one takes the export. */
static int option_go(struct nbd_client *c, u32 option, struct option_data *d)
{
	char name[NBD_STRING_MAX + 1];
	const u8 *wishes;
	const void *p;
	int r = 0;
	u16 n;

	if (!data_string(d, name) || !data_take(d, &p, sizeof(be16)))
		return reply_error(c, option, NBD_REP_ERR_INVALID, "it is too short");
	n = be16_load(p);
	if (d->left != n * sizeof(be16))
		return reply_error(c, option, NBD_REP_ERR_INVALID, "its length is wrong");
	wishes = d->at;
	if (!export_is(c, name))
		return reply_error(c, option, NBD_REP_ERR_UNKNOWN, "there is no such export");
	r = info_send(c, option, NBD_INFO_EXPORT);
	for (u16 i = 0; r == 0 && i < n; i++) {
		u16 type = be16_load(wishes + i * sizeof(be16));

		if (type != NBD_INFO_EXPORT)
			r = info_send(c, option, type);
	}
	if (r == 0)
		r = reply_ack(c, option);
	return r < 0 ? r : option == NBD_OPT_GO ? HANDSHAKE_TRANSMIT : HANDSHAKE_GO_ON;
}

/* --- metadata contexts --- */

static void context_clear(struct nbd_client *c)
{
	c->has_allocation = false;
	memset(c->has_bitmap, 0, sizeof(c->has_bitmap));
}

static int context_reply(struct nbd_client *c, u32 option, u32 id, const char *name)
{
	const be32 number = be32_of(option == NBD_OPT_SET_META_CONTEXT ? id : 0);

	return reply_send(c, option, NBD_REP_META_CONTEXT, &number, sizeof(number), name);
}

/* A list also takes the part up to a colon for all that begin so. */
static bool context_matches(u32 option, const char *query, const char *name, const char *space)
{
	if (!query || strcmp(query, name) == 0)
		return true;
	return option == NBD_OPT_LIST_META_CONTEXT && strcmp(query, space) == 0;
}

/* query: NULL for all. */
static int context_answer(struct nbd_client *c, u32 option, const char *query)
{
	const struct nbd_options *o = &c->s->o;
	const bool is_set = option == NBD_OPT_SET_META_CONTEXT;
	int r = 0;

	if (context_matches(option, query, CONTEXT_ALLOCATION, "base:")) {
		c->has_allocation |= is_set;
		r = context_reply(c, option, NBD_CONTEXT_ALLOCATION, CONTEXT_ALLOCATION);
	}
	for (unsigned i = 0; r == 0 && i < o->n_bitmaps; i++) {
		AUTO(free) char *name = str_format(CONTEXT_BITMAP "%s", o->bitmaps[i]);

		if (context_matches(option, query, name, CONTEXT_BITMAP) ||
		    context_matches(option, query, name, "qemu:")) {
			c->has_bitmap[i] |= is_set;
			r = context_reply(c, option, NBD_CONTEXT_BITMAP + i, name);
		}
	}
	return r;
}

static int option_contexts(struct nbd_client *c, u32 option, struct option_data *d)
{
	char text[NBD_STRING_MAX + 1];
	u32 n;
	int r = 0;

	if (option == NBD_OPT_SET_META_CONTEXT)
		context_clear(c);
	if (!c->has_structured)
		return reply_error(c, option, NBD_REP_ERR_INVALID, "structured replies come first");
	if (!data_string(d, text) || !data_u32(d, &n))
		return reply_error(c, option, NBD_REP_ERR_INVALID, "it is too short");
	if (!export_is(c, text))
		return reply_error(c, option, NBD_REP_ERR_UNKNOWN, "there is no such export");
	if (n > HANDSHAKE_QUERIES)
		return reply_error(c, option, NBD_REP_ERR_TOO_BIG, "too many queries");
	if (!n && option == NBD_OPT_LIST_META_CONTEXT)
		r = context_answer(c, option, NULL);
	for (u32 i = 0; r == 0 && i < n; i++) {
		if (!data_string(d, text)) {
			context_clear(c);
			return reply_error(c, option, NBD_REP_ERR_INVALID, "a query is cut");
		}
		r = context_answer(c, option, text);
	}
	return r < 0 ? r : reply_ack(c, option);
}

static int option_structured(struct nbd_client *c, struct option_data *d)
{
	if (d->left)
		return reply_error(c, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID,
				   "it has no data");
	c->has_structured = true;
	return reply_ack(c, NBD_OPT_STRUCTURED_REPLY);
}

/* What was agreed before is forgotten (proto.md, "NBD_OPT_STARTTLS"). */
static int option_starttls(struct nbd_client *c, struct option_data *d)
{
	if (!c->s->o.tls)
		return reply_error(c, NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP, "not supported");
	if (c->tls || d->left)
		return reply_error(c, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID,
				   d->left ? "it has no data" : "there is TLS already");
	/* What is here already was sent by who knows whom. */
	if (c->at != c->filled)
		return -EPROTO;
	if (reply_ack(c, NBD_OPT_STARTTLS) < 0 || nbd_tls_begin(c) < 0)
		return -EPIPE;
	c->has_structured = false;
	context_clear(c);
	return HANDSHAKE_GO_ON;
}

static int option_refuse_plain(struct nbd_client *c, u32 option)
{
	if (option == NBD_OPT_EXPORT_NAME)
		return -EPROTO; /* there is no other way to say no */
	return reply_error(c, option, NBD_REP_ERR_TLS_REQD, "TLS comes first");
}

/* Negative: the client goes. */
static int option_serve(struct nbd_client *c, u32 option, struct option_data *d)
{
	if (c->s->o.tls && !c->tls && option != NBD_OPT_STARTTLS && option != NBD_OPT_ABORT)
		return option_refuse_plain(c, option);
	switch (option) {
	case NBD_OPT_STARTTLS:
		return option_starttls(c, d);
	case NBD_OPT_EXPORT_NAME:
		return option_export_name(c, d);
	case NBD_OPT_ABORT:
		reply_ack(c, option);
		return -EPIPE;
	case NBD_OPT_LIST:
		return option_list(c, d);
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		return option_go(c, option, d);
	case NBD_OPT_STRUCTURED_REPLY:
		return option_structured(c, d);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		return option_contexts(c, option, d);
	}
	return reply_error(c, option, NBD_REP_ERR_UNSUP, "not supported");
}

static int option_receive(struct nbd_client *c, u8 *data)
{
	struct nbd_option_wire h;
	u32 bytes, option;
	int r = nbd_receive(c, &h, sizeof(h));

	if (r < 0)
		return r;
	bytes = be32_get(h.length);
	option = be32_get(h.option);
	if (be64_get(h.magic) != NBD_OPTION_MAGIC || bytes > HANDSHAKE_SKIP_MAX)
		return -EPROTO;
	if (bytes > HANDSHAKE_OPTION_MAX) {
		r = nbd_skip(c, bytes);
		return r < 0 ? r : reply_error(c, option, NBD_REP_ERR_TOO_BIG, "too long");
	}
	r = nbd_receive(c, data, bytes);
	return r < 0 ? r : option_serve(c, option, &(struct option_data){data, bytes});
}

int nbd_handshake(struct nbd_client *c)
{
	struct nbd_hello_wire hello = {
		.magic = be64_of(NBD_MAGIC),
		.option_magic = be64_of(NBD_OPTION_MAGIC),
		.flags = be16_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
	};
	struct iovec iov = {&hello, sizeof(hello)};
	AUTO(free_ptr) u8 *data = mem_alloc(1, HANDSHAKE_OPTION_MAX);
	be32 flags;
	int r = nbd_send(c, &iov, 1);

	if (r == 0)
		r = nbd_receive(c, &flags, sizeof(flags));
	if (r < 0 || be32_get(flags) & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))
		return -EPROTO;
	c->has_no_zeroes = be32_get(flags) & NBD_FLAG_NO_ZEROES;
	for (unsigned i = 0; r == HANDSHAKE_GO_ON && i < HANDSHAKE_OPTIONS; i++)
		r = option_receive(c, data);
	return r == HANDSHAKE_TRANSMIT ? 0 : -EPIPE;
}
