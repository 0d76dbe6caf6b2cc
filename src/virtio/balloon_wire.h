/*
 * What driver and memory balloon say to each other (virtio 1.2, 5.5).
 */
#ifndef VIRTIO_BALLOON_WIRE_H
#define VIRTIO_BALLOON_WIRE_H

#include "base/bytes.h"

/* Features (5.5.3). */
#define VBALLOON_F_STATS_VQ       BIT(1)
#define VBALLOON_F_DEFLATE_ON_OOM BIT(2)
#define VBALLOON_F_PAGE_POISON    BIT(4)
#define VBALLOON_F_PAGE_REPORTING BIT(5)

/*
 * Queues (5.5.2). 2 takes statistics and 4 reports of free pages; but Linux gives the queues that
 * are left after feature negotiation numbers without gaps: its reports come on 3, as there is no
 * queue of free page hints, or on 2 when there are no statistics either.
 */
enum {
	VBALLOON_QUEUE_INFLATE = 0,
	VBALLOON_QUEUE_DEFLATE = 1,
	VBALLOON_QUEUE_STATS = 2,
	VBALLOON_QUEUES = 5,
};

/* struct virtio_balloon_config (5.5.4). */
struct vballoon_config_wire {
	le32 num_pages; /* how large the device wants the balloon */
	le32 actual;    /* how large it is: the driver writes it */
	le32 free_page_hint_cmd_id;
	le32 poison_val; /* the driver's */
};
static_assert(offsetof(struct vballoon_config_wire, poison_val) == 12, "5.5.4");
static_assert(sizeof(struct vballoon_config_wire) == 16, "5.5.4");

#define VBALLOON_PAGE_SHIFT 12 /* of page numbers, whatever the guest's page size is */

/* One value of a statistics buffer (5.5.6.3): 10 bytes, packed. */
struct vballoon_stat_wire {
	le16 tag;
	le64 val;
} packed;
static_assert(sizeof(struct vballoon_stat_wire) == 10, "5.5.6.3");

#endif
