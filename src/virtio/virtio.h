/*
 * A virtio device, as its transport and its driver know it (virtio 1.2, sections 2 and 3).
 *
 * A concrete device (virtio/blk.c) embeds struct virtio_device, which embeds struct device: one
 * lock for all of it. It adds its queues, points at its configuration structure and supplies
 * struct virtio_ops. The core keeps status, features and queues, in the order that the
 * specification demands; the transport (virtio/virtio_pci.h) turns registers into the calls at the
 * end of this header, and the core's interrupts into MSI-X or INTx.
 *
 *     vCPU: write to the notify register -> eventfd (a doorbell: under KVM the kernel rings it)
 *     I/O loop: eventfd readable -> lock -> queue's notify callback -> vq_pop ... vq_publish
 *
 * Life of a device: offered -> (driver sets features, queues) -> DRIVER_OK: start -> notify ... ->
 * reset: stop, then, once no chain is in flight, reset. Status reads as 0 only then, so that a
 * driver that waits for it (2.4.2) never sees its memory written after a reset.
 *
 * virtio_ops callbacks run with the device's lock held. Lock order: PCI function, virtio device,
 * backend, MSI-X table and interrupt chip.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include "base/base.h"
#include "base/loop.h"
#include "bus/device.h"
#include "virtio/vq.h"

struct err;
struct state_table;
struct virtio_device;

enum virtio_id { /* virtio 1.2, section 5 */
		 VIRTIO_ID_NET = 1,
		 VIRTIO_ID_BLOCK = 2,
		 VIRTIO_ID_CONSOLE = 3,
		 VIRTIO_ID_RNG = 4,
		 VIRTIO_ID_BALLOON = 5,
		 VIRTIO_ID_VSOCK = 19,
};

/* Feature bits that belong to no device type (virtio 1.2, section 6). */
#define VIRTIO_F_VERSION_1 BIT(32) /* those of rings are vq.h's */

#define VIRTIO_MAX_QUEUES 64

typedef void virtio_notify_fn(struct virtio_device *v, struct vq *q);

struct virtio_ops {
	enum virtio_id id;

	/* Optional: does this set of features go together? What isn't offered never gets here. */
	bool (*features_are_ok)(struct virtio_device *v, u64 features);
	/* DRIVER_OK, or the device was restored: v->features and the queues are as they will be.
	 * Queues that are enabled are notified once right after. */
	void (*start)(struct virtio_device *v);
	/* The driver resets: no more work, vq_pop returns NULL. Chains that only wait are pushed
	 * now; those at work in a backend are pushed when it is done with them. */
	void (*stop)(struct virtio_device *v);
	/* Optional: what the driver set in the device goes back to power-on. Nothing is in flight. */
	void (*reset)(struct virtio_device *v);
	/* Optional: the driver wrote size bytes of the configuration, within its size. */
	void (*write_config)(struct virtio_device *v, u32 off, const void *buf, u32 size);
	/* Optional: a pause begins; vq_pop returns NULL. Give chains that only wait back, by
	 * vq_unpop (latest first) or vq_push. What is in flight is waited for. */
	void (*quiesce)(struct virtio_device *v);
	/* For devices whose backend finishes requests later: finish all of them before returning.
	 * Called on the loop's thread after quiesce, without the lock. */
	void (*drain)(struct virtio_device *v);
	void (*resume)(struct virtio_device *v); /* optional; queues are notified right after */
};

struct virtio_queue {
	struct vq vq; /* first */
	struct virtio_device *vdev;
	virtio_notify_fn *notify;
	struct loop_fd kick; /* the eventfd that the driver's doorbell writes */
	u16 vector;          /* the transport's, for it to keep */
};

/* For saved state: one element for each queue. */
struct virtio_queue_saved {
	struct vq_config config;
	u16 next_avail;
	u16 next_used;
};

struct virtio_transport_ops {
	void (*queue_interrupt)(struct virtio_device *v, struct virtio_queue *q);
	void (*config_interrupt)(struct virtio_device *v);
	void (*reset)(struct virtio_device *v); /* the device went back to power-on */
};

struct virtio_device {
	struct device dev; /* holds the lock for all below */
	const struct virtio_ops *ops;
	struct loop *loop; /* where notify callbacks run */
	struct gmem *gmem;

	/* Set by the device before the transport is made. */
	u64 offered;  /* features, those of the core included by virtio_device_init */
	void *config; /* the device's configuration structure, as the driver sees it (_wire.h) */
	u32 config_size;

	/* Agreed with the driver. */
	u64 features; /* valid from start on */
	u8 status;
	u32 config_generation;

	struct virtio_queue *queues[VIRTIO_MAX_QUEUES];
	u32 n_queues;

	bool is_started;
	bool is_resetting; /* status is read as it was until nothing is in flight */
	bool is_quiesced;
	u32 n_held;   /* chains that the device keeps over a pause: it can't be saved meanwhile */
	bool may_dma; /* the transport's: bus mastering; vq_pop returns NULL without */

	const struct virtio_transport_ops *transport;
	void *transport_opaque;

	struct virtio_queue_saved saved[VIRTIO_MAX_QUEUES]; /* filled for saving */
	u32 saved_queues;
};

/* --- for devices --- */

/*
 * dev_ops: type, offset, state table, free of the concrete device, and reset, quiesce and resume
 * as below. Call on the loop's thread or before it runs; so with fini.
 */
void virtio_device_init(struct virtio_device *v, const struct virtio_ops *ops,
			const struct device_ops *dev_ops, const char *name, struct loop *loop,
			struct gmem *gmem);
void virtio_device_fini(struct virtio_device *v); /* also after a failed virtio_add_queue */

struct virtio_queue_spec {
	u16 size;     /* offered; a power of two, at most VQ_SIZE_MAX */
	u16 max_segs; /* buffers in a chain, at most VQ_SEGS_MAX; a longer chain breaks the queue */
	u32 request_size; /* of vq_private */
	virtio_notify_fn *notify;
};

/* Adds the queue of the next index; makes its eventfd: -EMFILE and the like. */
int virtio_add_queue(struct virtio_device *v, const struct virtio_queue_spec *spec,
		     struct err *err);

/* Offers packed rings: the driver chooses. Before the device has a transport. */
void virtio_offer_packed(struct virtio_device *v);

static inline struct vq *virtio_vq(struct virtio_device *v, u32 index)
{
	assert(index < v->n_queues);
	return &v->queues[index]->vq;
}

static inline bool virtio_has(const struct virtio_device *v, u64 feature)
{
	return v->features & feature;
}

/* The driver broke a rule: the device asks for a reset, and every queue is broken until then. The
 * reason (static) is logged as a guest error. Lock held. */
void virtio_needs_reset(struct virtio_device *v, const char *why);

/* The configuration structure changed: the driver is told. Lock held. */
void virtio_config_changed(struct virtio_device *v);

/* Has the queue's notify callback run on the loop, soon. Any thread, with or without the lock. */
void virtio_kick(struct virtio_device *v, struct vq *q);

/* For the concrete device's struct device_ops: on the loop's thread, or before it runs. */
void virtio_dev_reset(struct device *d);   /* quiesce first: a chain in flight delays it */
void virtio_dev_quiesce(struct device *d); /* on return nothing is in flight */
bool virtio_dev_settle(struct device *d);  /* what is in flight is done on return; was anything? */
void virtio_dev_resume(struct device *d);

/* Of struct virtio_device: the concrete device's table begins with
 * STATE_SUB(struct vblk, vdev, &virtio_device_state). */
extern const struct state_table virtio_device_state;

/* --- for transports; lock held --- */

enum virtio_status { /* virtio 1.2, section 2.1 */
		     VIRTIO_STATUS_ACKNOWLEDGE = 1,
		     VIRTIO_STATUS_DRIVER = 2,
		     VIRTIO_STATUS_DRIVER_OK = 4,
		     VIRTIO_STATUS_FEATURES_OK = 8,
		     VIRTIO_STATUS_NEEDS_RESET = 0x40,
		     VIRTIO_STATUS_FAILED = 0x80,
};

void virtio_set_transport(struct virtio_device *v, const struct virtio_transport_ops *ops,
			  void *opaque);
void virtio_set_status(struct virtio_device *v, u8 status); /* 0 resets */
/* Ignored once FEATURES_OK stands. */
void virtio_set_features(struct virtio_device *v, u64 features);
void virtio_set_dma(struct virtio_device *v, bool may_dma);
/* Outside the structure: reads as zeros, writes are dropped. */
void virtio_read_config(struct virtio_device *v, u32 off, void *buf, u32 size);
void virtio_write_config(struct virtio_device *v, u32 off, const void *buf, u32 size);
/* The driver wants the queue as vq.config says. Too late once DRIVER_OK stands: ignored. */
void virtio_enable_queue(struct virtio_device *v, struct virtio_queue *q);
/* May the driver still set the queue up? */
static inline bool virtio_can_configure(const struct virtio_device *v, const struct virtio_queue *q)
{
	return !q->vq.config.is_enabled && !(v->status & VIRTIO_STATUS_DRIVER_OK);
}

#endif
