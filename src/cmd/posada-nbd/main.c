/*
 * posada-nbd: connections to an NBD server, for a process that is confined (remote/remote.h). Where the
 * server wants TLS, that is done here, as it needs certificates and names.
 */
#include <stdio.h>

#include "block/uri.h"
#include "nbd/client.h"
#include "remote/remote.h"

#define TLS_PATIENCE_NS (600 * 1000000000ul) /* those behind us have less of it */

static int open_tls(struct loop *loop, const struct remote_options *o, struct blk **out,
		    struct err *err)
{
	const struct blk_uri *u = o->uri;
	static char port[8];
	const struct nbdc_server server = {
		.host = u->host,
		.port = port,
		.socket = o->found.socket,
		.export = u->export,
		.certificates = o->found.certificates,
		.psk_file = o->found.psk_file,
		.user = u->user,
		.trusts_anybody = u->trusts_anybody,
	};
	static struct nbdc_server kept;
	const struct nbdc_options options = {
		.is_readonly = o->is_readonly,
		.is_container = true,
		.connector = -1,
		.patience_ns = TLS_PATIENCE_NS,
		.answer_ns = NBDC_ANSWER_NS, /* of the flush at the end */
		.server = &kept,
	};

	if (o->found.err.code < 0) {
		*err = o->found.err;
		return err->code;
	}
	snprintf(port, sizeof(port), "%u", o->found.tcp_port);
	kept = server;
	return nbdc_new(loop, &options, out, err);
}

static int run(struct remote_options *o, struct err *err)
{
	static const struct remote_kind tls = {.open = open_tls};
	int r = remote_confine(o, o->uri->is_tls ? SANDBOX_SERVE : SANDBOX_CONNECT, err);

	if (r < 0)
		return r;
	return o->uri->is_tls ? remote_serve(o, &tls, err) : remote_connect(o, err);
}

int main(int argc, char **argv)
{
	return remote_main(argc, argv, "posada-nbd", run);
}
