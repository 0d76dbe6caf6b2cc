/*
 * Names of disks that are no files:
 *
 *     nbd://[USER@]HOST[:PORT]/[EXPORT]         an NBD server; nbds:// with TLS
 *     nbd+unix:///[EXPORT]?socket=PATH          the same, at a UNIX socket; nbds+unix://
 *         ?tls-certificates=DIR, ?tls-psk-file=FILE, ?tls-verify-peer=false    as libnbd has them
 *     rbd:POOL/IMAGE[@SNAPSHOT][:id=USER][:conf=FILE]                          Ceph
 *
 * Parsed where a name is opened; a process that works for a guest never sees one but for messages.
 */
#ifndef BLOCK_URI_H
#define BLOCK_URI_H

#include "base/base.h"

struct err;

#define BLK_URI_NBD_PORT "10809"

struct blk_uri {
	bool is_rbd, is_tls, trusts_anybody;
	/* Owned; NULL where the name doesn't say it. */
	char *host, *port, *socket, *export; /* NBD; export is "" at least */
	char *user, *certificates, *psk_file;
	char *pool, *image, *snapshot, *id, *conf; /* RBD */
};

/* Does it begin as one of them does? A file of such a name is opened as ./NAME. */
bool blk_is_uri(const char *name);
int blk_uri_parse(const char *name, struct blk_uri *out, struct err *err);
void blk_uri_fini(struct blk_uri *u); /* zeroed is fine */

#endif
