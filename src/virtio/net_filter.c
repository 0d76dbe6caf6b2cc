/*
 * Which received frames the driver wants: addresses, kinds and VLANs (virtio 1.2, 5.1.6.5).
 */
#include "base/err.h"
#include "state/state.h"
#include "virtio/net_priv.h"

#define ETHER_MAC_SIZE  6
#define ETHER_TYPE      12
#define ETHER_TYPE_VLAN 0x8100
#define VLAN_ID         14
#define VLAN_ID_MASK    0xfff

static const u8 filter_broadcast[ETHER_MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void vnet_filter_reset(struct vnet_filter *f)
{
	*f = (struct vnet_filter){.modes[VNET_RX_PROMISC] = true};
}

static bool filter_finds(const struct vnet_filter *f, const u8 *mac, u32 first, u32 n)
{
	for (u32 i = first; i < first + n; i++)
		if (!memcmp(f->macs[i], mac, ETHER_MAC_SIZE))
			return true;
	return false;
}

static bool filter_accepts_multicast(const struct vnet_filter *f, const u8 *mac)
{
	if (!memcmp(mac, filter_broadcast, ETHER_MAC_SIZE))
		return !f->modes[VNET_RX_NOBCAST];
	if (f->modes[VNET_RX_NOMULTI])
		return false;
	return f->modes[VNET_RX_ALLMULTI] || f->is_multicast_full ||
	       filter_finds(f, mac, f->n_unicast, f->n_multicast);
}

static bool filter_accepts_unicast(const struct vnet_filter *f, const u8 *mac, const u8 *own)
{
	if (f->modes[VNET_RX_NOUNI])
		return false;
	return f->modes[VNET_RX_ALLUNI] || f->is_unicast_full ||
	       !memcmp(mac, own, ETHER_MAC_SIZE) || filter_finds(f, mac, 0, f->n_unicast);
}

static bool filter_accepts_vlan(const struct vnet *d, const u8 *head)
{
	u16 id = be16_load(head + VLAN_ID) & VLAN_ID_MASK;

	if (!virtio_has(&d->vdev, VNET_F_CTRL_VLAN) ||
	    be16_load(head + ETHER_TYPE) != ETHER_TYPE_VLAN)
		return true;
	return d->filter.vlans[id / 8] >> id % 8 & 1;
}

bool vnet_filter_accepts(const struct vnet *d, const struct net_frame *f)
{
	u8 head[VLAN_ID + 2] = {0};
	size_t have = 0;

	if (d->filter.modes[VNET_RX_PROMISC])
		return true;
	for (unsigned i = 0; i < f->n_iov && have < sizeof(head); i++) {
		size_t n = MIN(f->iov[i].iov_len, sizeof(head) - have);

		memcpy(head + have, f->iov[i].iov_base, n);
		have += n;
	}
	if (!filter_accepts_vlan(d, head))
		return false;
	return head[0] & 1 ? filter_accepts_multicast(&d->filter, head)
			   : filter_accepts_unicast(&d->filter, head, d->config.mac);
}

/* --- saved state --- */

static int filter_after_load(void *object, unused u16 version, struct err *err)
{
	const struct vnet_filter *f = object;

	if (f->n_unicast + f->n_multicast > VNET_MACS_MAX)
		return err_set(err, -EINVAL, "a filter of %u addresses is too long",
			       f->n_unicast + f->n_multicast);
	return 0;
}

static const struct state_field vnet_filter_fields[] = {
	STATE_B(struct vnet_filter, modes[VNET_RX_PROMISC]),
	STATE_B(struct vnet_filter, modes[VNET_RX_ALLMULTI]),
	STATE_B(struct vnet_filter, modes[VNET_RX_ALLUNI]),
	STATE_B(struct vnet_filter, modes[VNET_RX_NOMULTI]),
	STATE_B(struct vnet_filter, modes[VNET_RX_NOUNI]),
	STATE_B(struct vnet_filter, modes[VNET_RX_NOBCAST]),
	STATE_B(struct vnet_filter, is_unicast_full),
	STATE_B(struct vnet_filter, is_multicast_full),
	STATE_U(struct vnet_filter, n_unicast),
	STATE_U(struct vnet_filter, n_multicast),
	STATE_RAW(struct vnet_filter, macs),
	STATE_RAW(struct vnet_filter, vlans),
	STATE_END,
};

const struct state_table vnet_filter_state = {
	.name = "virtio-net-filter",
	.version = 1,
	.fields = vnet_filter_fields,
	.after_load = filter_after_load,
};
