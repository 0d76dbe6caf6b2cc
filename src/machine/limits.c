/*
 * I/O limits of disks and network cards: from the configuration's numbers to the devices'.
 */
#include "base/err.h"
#include "machine/machine_priv.h"
#include "proto/guest_config.h"
#include "virtio/blk.h"
#include "virtio/limit.h"
#include "virtio/net.h"
#include "virtio/virtio.h"

static_assert(GUEST_LIMIT_MAX == LIMIT_RATE_MAX, "one limit of limits");

static void pc_set_limits(struct virtio_device *v, enum machine_device_kind kind,
			  const struct guest_limits *l)
{
	const struct limit_rates rates = {.bytes = l->bytes,
					  .ops = l->ops,
					  .burst_bytes = l->burst_bytes,
					  .burst_ops = l->burst_ops};

	if (kind == MACHINE_DISK)
		vblk_set_limits(v, &rates);
	else
		vnet_set_limits(v, &rates);
}

void pc_limit(struct virtio_device *v, enum machine_device_kind kind, const struct guest_limits *l)
{
	if (l->bytes || l->ops)
		pc_set_limits(v, kind, l);
}

static int machine_find_limited(struct machine *m, const char *name, struct pc_slot **out,
				struct err *err)
{
	unsigned slot = pc_find_slot(m, name);

	if (!slot)
		return err_set(err, -ENOENT, "there is no device '%s'", name);
	if (m->slots[slot - 1].kind == MACHINE_OTHER)
		return err_set(err, -EOPNOTSUPP, "'%s' is no device with limits", name);
	*out = &m->slots[slot - 1];
	return 0;
}

int machine_set_limits(struct machine *m, const char *name, const struct guest_limits *limits,
		       struct err *err)
{
	struct pc_slot *s;
	int r = guest_limits_check(limits, err);

	if (!r)
		r = machine_find_limited(m, name, &s, err);
	if (!r)
		pc_set_limits(s->vdev, s->kind, limits);
	return r;
}

int machine_get_limits(struct machine *m, const char *name, struct guest_limits *out,
		       struct err *err)
{
	struct limit_rates rates;
	struct pc_slot *s;
	int r = machine_find_limited(m, name, &s, err);

	if (r < 0)
		return r;
	if (s->kind == MACHINE_DISK)
		vblk_get_limits(s->vdev, &rates);
	else
		vnet_get_limits(s->vdev, &rates);
	*out = (struct guest_limits){.bytes = rates.bytes,
				     .ops = rates.ops,
				     .burst_bytes = rates.burst_bytes,
				     .burst_ops = rates.burst_ops};
	return 0;
}
