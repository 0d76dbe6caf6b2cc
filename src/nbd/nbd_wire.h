/*
 * The NBD protocol's numbers and messages (NetworkBlockDevice, doc/proto.md). All are big-endian.
 */
#ifndef NBD_NBD_WIRE_H
#define NBD_NBD_WIRE_H

#include "base/bytes.h"

/* --- handshake --- */

#define NBD_MAGIC        0x4e42444d41474943ul /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC 0x49484156454f5054ul /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC  0x0003e889045565a9ul

#define NBD_FLAG_FIXED_NEWSTYLE BIT32(0) /* of server and client */
#define NBD_FLAG_NO_ZEROES      BIT32(1)

struct nbd_hello_wire {
	be64 magic, option_magic;
	be16 flags;
} packed;
static_assert(sizeof(struct nbd_hello_wire) == 18, "on the wire");

struct nbd_option_wire {
	be64 magic; /* NBD_OPTION_MAGIC */
	be32 option;
	be32 length; /* of what follows */
} packed;
static_assert(sizeof(struct nbd_option_wire) == 16, "on the wire");

struct nbd_option_reply_wire {
	be64 magic; /* NBD_REPLY_MAGIC */
	be32 option;
	be32 type;
	be32 length;
} packed;
static_assert(sizeof(struct nbd_option_reply_wire) == 20, "on the wire");

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ACK          1u
#define NBD_REP_SERVER       2u
#define NBD_REP_INFO         3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERR          BIT32(31)
#define NBD_REP_ERR_UNSUP    (NBD_REP_ERR + 1)
#define NBD_REP_ERR_INVALID  (NBD_REP_ERR + 3)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERR + 5)
#define NBD_REP_ERR_UNKNOWN  (NBD_REP_ERR + 6)
#define NBD_REP_ERR_TOO_BIG  (NBD_REP_ERR + 9)

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3
};

/* NBD_OPT_EXPORT_NAME's answer; without NBD_FLAG_NO_ZEROES 124 zeros follow. */
struct nbd_export_wire {
	be64 size;
	be16 flags;
} packed;
#define NBD_EXPORT_ZEROES 124

struct nbd_info_export_wire {
	be16 type;
	be64 size;
	be16 flags;
} packed;
static_assert(sizeof(struct nbd_info_export_wire) == 12, "on the wire");

struct nbd_info_block_size_wire {
	be16 type;
	be32 minimum, preferred, maximum;
} packed;
static_assert(sizeof(struct nbd_info_block_size_wire) == 14, "on the wire");

/* --- transmission --- */

#define NBD_EXPORT_HAS_FLAGS         BIT32(0)
#define NBD_EXPORT_READ_ONLY         BIT32(1)
#define NBD_EXPORT_SEND_FLUSH        BIT32(2)
#define NBD_EXPORT_SEND_FUA          BIT32(3)
#define NBD_EXPORT_SEND_TRIM         BIT32(5)
#define NBD_EXPORT_SEND_WRITE_ZEROES BIT32(6)
#define NBD_EXPORT_SEND_DF           BIT32(7)
#define NBD_EXPORT_CAN_MULTI_CONN    BIT32(8)
#define NBD_EXPORT_SEND_CACHE        BIT32(10)

#define NBD_REQUEST_MAGIC    0x25609513u
#define NBD_SIMPLE_MAGIC     0x67446698u
#define NBD_STRUCTURED_MAGIC 0x668e33efu

struct nbd_request_wire {
	be32 magic; /* NBD_REQUEST_MAGIC */
	be16 flags;
	be16 type;
	be64 cookie;
	be64 offset;
	be32 length;
} packed;
static_assert(sizeof(struct nbd_request_wire) == 28, "on the wire");

struct nbd_simple_reply_wire {
	be32 magic; /* NBD_SIMPLE_MAGIC */
	be32 error;
	be64 cookie;
} packed;
static_assert(sizeof(struct nbd_simple_reply_wire) == 16, "on the wire");

struct nbd_chunk_wire {
	be32 magic; /* NBD_STRUCTURED_MAGIC */
	be16 flags;
	be16 type;
	be64 cookie;
	be32 length;
} packed;
static_assert(sizeof(struct nbd_chunk_wire) == 20, "on the wire");

/* NBD_CHUNK_ERROR's; a text of that length follows. */
struct nbd_chunk_error_wire {
	be32 error;
	be16 length;
} packed;

struct nbd_extent_wire {
	be32 length, flags;
} packed;

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

#define NBD_CMD_FLAG_FUA     BIT32(0)
#define NBD_CMD_FLAG_NO_HOLE BIT32(1)
#define NBD_CMD_FLAG_DF      BIT32(2)
#define NBD_CMD_FLAG_REQ_ONE BIT32(3)

#define NBD_CHUNK_DONE         BIT32(0) /* a flag */
#define NBD_CHUNK_NONE         0u
#define NBD_CHUNK_OFFSET_DATA  1u
#define NBD_CHUNK_BLOCK_STATUS 5u
#define NBD_CHUNK_ERROR        (BIT32(15) + 1)

#define NBD_STATE_HOLE  BIT32(0) /* base:allocation */
#define NBD_STATE_ZERO  BIT32(1)
#define NBD_STATE_DIRTY BIT32(0) /* qemu:dirty-bitmap */

/* Errors on the wire have Linux's numbers, of which these are all. */
#define NBD_EPERM     1u
#define NBD_EIO       5u
#define NBD_ENOMEM    12u
#define NBD_EINVAL    22u
#define NBD_ENOSPC    28u
#define NBD_EOVERFLOW 75u
#define NBD_ENOTSUP   95u

#define NBD_STRING_MAX  4096u
#define NBD_PAYLOAD_MAX (32 * (u32)MIB)

#endif
