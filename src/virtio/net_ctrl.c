/*
 * A network card's control queue: filters, address, queues in use, offloads, announcements (virtio
 * 1.2, 5.1.6.5). A command that is not understood, not agreed on, or too short is answered with an
 * error and changes nothing.
 */
#include "virtio/net_priv.h"

#define CTRL_MAC_SIZE 6u

void vnet_ctrl_reset(struct vnet *d)
{
	vnet_filter_reset(&d->filter);
	memcpy(d->config.mac, d->permanent_mac, sizeof(d->config.mac));
	d->n_active = 1;
	d->guest_offloads = 0;
	d->is_announcing = false;
	d->is_restored = false;
}

static bool ctrl_rx(struct vnet *d, u8 command, struct vq_chain *c)
{
	u64 needs = command > VNET_RX_ALLMULTI ? VNET_F_CTRL_RX_EXTRA : VNET_F_CTRL_RX;
	u8 is_on;

	if (!virtio_has(&d->vdev, needs) || command >= VNET_RX_MODES || !vq_take(c, &is_on, 1))
		return false;
	d->filter.modes[command] = is_on != 0;
	return true;
}

/* One of the two tables, behind the addresses of f that are there. */
static bool ctrl_take_macs(struct vnet_filter *f, struct vq_chain *c, u8 *out_n, bool *out_is_full)
{
	u32 at = f->n_unicast, n;
	le32 count;

	if (!vq_take(c, &count, sizeof(count)))
		return false;
	n = le32_get(count);
	if ((u64)n * CTRL_MAC_SIZE > vq_readable(c))
		return false;
	*out_is_full = n > VNET_MACS_MAX - at;
	if (*out_is_full) {
		vq_skip_readable(c, (u64)n * CTRL_MAC_SIZE);
		return true;
	}
	*out_n = (u8)n;
	return vq_take(c, f->macs[at], (u64)n * CTRL_MAC_SIZE);
}

static bool ctrl_mac_table(struct vnet *d, struct vq_chain *c)
{
	struct vnet_filter f = d->filter;

	f.n_unicast = f.n_multicast = 0;
	if (!virtio_has(&d->vdev, VNET_F_CTRL_RX) ||
	    !ctrl_take_macs(&f, c, &f.n_unicast, &f.is_unicast_full) ||
	    !ctrl_take_macs(&f, c, &f.n_multicast, &f.is_multicast_full))
		return false;
	d->filter = f;
	return true;
}

static bool ctrl_mac(struct vnet *d, u8 command, struct vq_chain *c)
{
	if (command == VNET_MAC_TABLE_SET)
		return ctrl_mac_table(d, c);
	return command == VNET_MAC_ADDR_SET && virtio_has(&d->vdev, VNET_F_CTRL_MAC_ADDR) &&
	       vq_take(c, d->config.mac, sizeof(d->config.mac));
}

static bool ctrl_vlan(struct vnet *d, u8 command, struct vq_chain *c)
{
	u16 id;
	le16 wire;

	if (!virtio_has(&d->vdev, VNET_F_CTRL_VLAN) || !vq_take(c, &wire, sizeof(wire)))
		return false;
	id = le16_get(wire);
	if (id >= VNET_VLANS || command > VNET_VLAN_DEL)
		return false;
	if (command == VNET_VLAN_ADD)
		d->filter.vlans[id / 8] |= (u8)(1u << id % 8);
	else
		d->filter.vlans[id / 8] &= (u8) ~(1u << id % 8);
	return true;
}

static bool ctrl_announce(struct vnet *d, u8 command)
{
	if (command != VNET_ANNOUNCE_ACK || !virtio_has(&d->vdev, VNET_F_GUEST_ANNOUNCE))
		return false;
	d->is_announcing = false;
	vnet_update_link(d);
	return true;
}

static bool ctrl_mq(struct vnet *d, u8 command, struct vq_chain *c)
{
	le16 n;

	if (command != VNET_MQ_PAIRS_SET || !virtio_has(&d->vdev, VNET_F_MQ) ||
	    !vq_take(c, &n, sizeof(n)) || le16_get(n) < 1 || le16_get(n) > d->n_pairs)
		return false;
	d->n_active = le16_get(n);
	vnet_update_taken(d);
	return true;
}

static bool ctrl_offloads(struct vnet *d, u8 command, struct vq_chain *c)
{
	u64 allowed = d->vdev.features & VNET_GUEST_OFFLOADS;
	le64 wire;

	if (command != VNET_GUEST_OFFLOADS_SET ||
	    !virtio_has(&d->vdev, VNET_F_CTRL_GUEST_OFFLOADS) || !vq_take(c, &wire, sizeof(wire)))
		return false;
	if (le64_get(wire) & ~allowed || !vnet_features_are_ok(&d->vdev, le64_get(wire)))
		return false;
	d->guest_offloads = le64_get(wire);
	vnet_update_taken(d);
	return true;
}

static bool ctrl_command(struct vnet *d, struct vq_chain *c)
{
	struct vnet_ctrl_wire h;

	if (!vq_take(c, &h, sizeof(h)))
		return false;
	switch (h.class) {
	case VNET_CTRL_RX:
		return ctrl_rx(d, h.command, c);
	case VNET_CTRL_MAC:
		return ctrl_mac(d, h.command, c);
	case VNET_CTRL_VLAN:
		return ctrl_vlan(d, h.command, c);
	case VNET_CTRL_ANNOUNCE:
		return ctrl_announce(d, h.command);
	case VNET_CTRL_MQ:
		return ctrl_mq(d, h.command, c);
	case VNET_CTRL_GUEST_OFFLOADS:
		return ctrl_offloads(d, h.command, c);
	default:
		return false;
	}
}

void vnet_ctrl_notify(struct virtio_device *v, struct vq *q)
{
	struct vq_chain *c;

	do {
		vq_disable_notify(q);
		while ((c = vq_pop(q))) {
			bool has_status = vq_reserve_status(c);

			if (has_status)
				vq_put_status(c, ctrl_command(vnet_of(v), c) ? VNET_CTRL_OK
									     : VNET_CTRL_ERR);
			vq_push(c, has_status);
		}
		vq_publish(q);
	} while (vq_enable_notify(q));
}
