/*
 * The socket device's inside, shared by its files: vsock.c has queues and packets, vsock_conn.c
 * connections.
 *
 * All is guarded by the device's lock, and but for a reset by the driver happens on the loop's thread.
 * A connection that ends is unlinked at once and freed by a task on the loop, where descriptors are
 * watched: so nobody up the stack holds one that is gone.
 *
 * What waits for the guest is not queued: a connection is on the ready list, and knows which packets
 * it owes (VSOCK_OWES_*) and whether its host socket has input. Each buffer that the driver supplies
 * is one packet of the list's first, which then goes to its end.
 */
#ifndef VIRTIO_VSOCK_PRIV_H
#define VIRTIO_VSOCK_PRIV_H

#include "base/loop.h"
#include "virtio/virtio.h"
#include "virtio/vsock.h"
#include "virtio/vsock_wire.h"

#define VSOCK_BUCKETS         64
#define VSOCK_MAX_STRAYS      64 /* RST packets that wait, before packets of the guest wait for them */
#define VSOCK_FIRST_HOST_PORT (1u << 30)        /* of connections that the host begins */
#define VSOCK_BURST           16                /* receive buffers that one read may fill */
#define VSOCK_BOUNCE          ((u32)(64 * KIB)) /* bytes that one read or packet has at most */

enum vsock_state {
	VSOCK_STATE_CONNECTING, /* the guest called: the host's side is being connected */
	VSOCK_STATE_REQUESTED,  /* the host called: the guest has been asked */
	VSOCK_STATE_OPEN,
	VSOCK_STATE_FLUSHING, /* over, for the guest: what it sent still goes to the host */
};

/* Packets that a connection owes the guest. */
#define VSOCK_OWES_REQUEST  BIT32(0)
#define VSOCK_OWES_RESPONSE BIT32(1)
#define VSOCK_OWES_CREDIT   BIT32(2)
#define VSOCK_OWES_SHUTDOWN BIT32(3)

struct vsock;

struct vsock_conn {
	struct vsock *d;
	struct list bucket; /* by ports; empty once it is over for the guest */
	struct list all;    /* in conns or dead */
	struct list ready;  /* in d->ready, or empty */
	u32 guest_port, host_port;
	u32 id; /* towards posada-vsock */
	enum vsock_state state;
	bool is_dead;
	struct loop_fd watch; /* its fd is owned; -1: there is none yet */
	u32 owes;

	/* To the guest. */
	bool has_input;  /* the host's socket may be read */
	bool is_burst;   /* the last read filled its buffers */
	bool host_ended; /* it will send no more */
	bool host_left;  /* nor take any more */
	u32 sent;        /* bytes, modulo 2^32, as all counts here */
	u32 peer_alloc, peer_forwarded;

	/* From the guest. */
	bool guest_ended, guest_left;
	u32 received, forwarded, told_forwarded;
	u8 *buffer; /* a ring of VSOCK_BUFFER bytes, made when it is needed */
	u32 buffer_at, buffered;
};

struct vsock_stray {
	u64 dst_cid;
	u32 src_port, dst_port; /* ours, the guest's */
	u16 type;
};

struct vsock {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct vsock_config_wire config;
	struct vsock_host *host;
	u32 guest_cid;

	struct list buckets[VSOCK_BUCKETS];
	struct list conns; /* all that are not dead */
	struct list ready;
	struct list dead;
	unsigned n_conns; /* dead ones included: they hold a descriptor */
	struct loop_task bury;
	u32 next_id, next_port;
	u64 opened, sent_bytes,
		received_bytes; /* since the device was made; as the guest sees it */

	/* One more for each connection that the host's side ends. */
	struct vsock_stray strays[VSOCK_MAX_STRAYS + VSOCK_MAX_CONNS];
	u32 first_stray, n_strays;
	bool owes_reset_event; /* a restored guest's connections are gone */

	u8 bounce[VSOCK_BOUNCE];
};

/* A packet from the guest, as it was checked: it is for us, and its data has len bytes. */
struct vsock_packet {
	enum vsock_op op;
	u32 guest_port, host_port;
	u32 len, flags;
	u32 buf_alloc, fwd_cnt;
};

/* vsock.c: what the driver's receive buffers are used for, as long as there are some. */
void vsock_pump(struct vsock *d);
/* Answers a packet that fits nowhere; room for it was looked at before. */
void vsock_add_stray(struct vsock *d, const struct vsock_stray *s);

/* vsock_conn.c */
struct vsock_conn *vsock_conn_find(struct vsock *d, u32 guest_port, u32 host_port);
/* A packet from the guest; c: the connection that it is for, or NULL. Takes data from the chain. False:
 * the guest gets an RST. */
bool vsock_conn_packet(struct vsock *d, struct vsock_conn *c, const struct vsock_packet *p,
		       struct vq_chain *chain);
/* Sends the next of what c owes or has for the guest. False: nothing was sent, the buffers are back. */
bool vsock_conn_send(struct vsock_conn *c);
bool vsock_conn_has_something(const struct vsock_conn *c);
void vsock_conn_drop(struct vsock_conn *c);
void vsock_conn_watch(struct vsock_conn *c); /* watches what is to be watched now */
void vsock_conn_free(struct vsock_conn *c);  /* dead ones, on the loop's thread */
/* From posada-vsock. */
void vsock_on_connected(void *opaque, u32 id, int fd, int error);
void vsock_on_incoming(void *opaque, u32 port, int fd);

/* vsock.c, for vsock_conn_send: the next receive buffer, with room for a header and more. */
struct vq_chain *vsock_pop_rx(struct vsock *d);
/* Header and data; pushes the chain, which has room for them. */
void vsock_push_packet(struct vsock_conn *c, struct vq_chain *chain, enum vsock_op op, u32 flags,
		       const u8 *data, u32 len);

#endif
