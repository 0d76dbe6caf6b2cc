/*
 * The board's virtio devices: each alone behind a root port (slots.c). The board's own come first,
 * then disks and network cards in the configuration's order.
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "chr/chr.h"
#include "machine/machine_priv.h"
#include "net/net.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/virtio.h"
#include "virtio/vsock.h"
#include "vsock/vsock.h"

int pc_make_disk(struct machine *m, struct guest_disk *d, struct blk *b, struct err *err)
{
	static const enum vblk_on_error vblk_on_error[] = {
		[GUEST_ERROR_PAUSE_IF_FULL] = VBLK_PAUSE_IF_FULL,
		[GUEST_ERROR_REPORT] = VBLK_REPORT,
		[GUEST_ERROR_PAUSE] = VBLK_PAUSE,
	};
	char serial[sizeof("posada-") + GUEST_MAX_DEVICE_NAME];
	struct vblk_options o = {
		.disk = b,
		.name = d->name,
		.serial = serial,
		.n_queues = (u16)(d->n_queues ? d->n_queues
					      : MIN(m->config->n_cpus, GUEST_USUAL_DISK_QUEUES)),
		.clock = vm_clock(m->vm),
		.is_writethrough = guest_cache_is_writethrough(d->cache),
		.is_ordered = m->config->clock == GUEST_CLOCK_INSN,
		.on_error = vblk_on_error[d->on_error],
		.held = pc_on_held,
		.opaque = &m->slots[d->slot - 1],
	};
	struct virtio_device *v;
	int r;

	snprintf(serial, sizeof(serial), "posada-%s", d->name);
	r = vblk_new(&o, vm_io_loop(m->vm), vm_gmem(m->vm), &v, err);
	if (r < 0)
		return r;
	if (d->is_packed)
		virtio_offer_packed(v);
	pc_limit(v, MACHINE_DISK, &d->limits);
	pc_plug_at(m, v, d->slot, MACHINE_DISK);
	return 0;
}

int pc_add_disk(struct machine *m, struct guest_disk *d, struct err *err)
{
	AUTO(blk_free) struct blk *b = NULL;
	int r = pc_open_disk(m, d, NULL, &b, err);

	if (r == 0)
		r = pc_make_disk(m, d, b, err);
	if (r == 0)
		take(b);
	return r;
}

int pc_add_nic(struct machine *m, struct guest_nic *nic, struct err *err)
{
	struct vnet_options o = {.name = nic->name,
				 .mtu = (u16)nic->mtu,
				 .n_pairs = (u16)nic->n_queues,
				 .clock = vm_clock(m->vm),
				 .lost = pc_on_lost,
				 .opaque = &m->slots[nic->slot - 1]};
	struct virtio_device *v;
	int r;

	memcpy(o.mac, nic->mac, sizeof(o.mac));
	r = pc_open_network(m, nic, &o.net, err);
	if (r < 0)
		return err_wrap(err, "network card '%s'", nic->name);
	r = vnet_new(&o, vm_io_loop(m->vm), vm_gmem(m->vm), &v, err);
	if (r < 0) {
		net_free(o.net);
		return r;
	}
	if (nic->is_packed)
		virtio_offer_packed(v);
	pc_limit(v, MACHINE_NIC, &nic->limits);
	pc_plug_at(m, v, nic->slot, MACHINE_NIC);
	return 0;
}

/* One device carries all channels. */
static int pc_add_channels(struct machine *m, struct err *err)
{
	struct guest_config *c = m->config;
	struct vcon_port_options ports[GUEST_MAX_CHANNELS] = {0};
	const struct vcon_options o = {
		.name = "console0", .ports = ports, .n_ports = c->n_channels};
	struct virtio_device *v;
	int r = 0;

	for (unsigned i = 0; i < c->n_channels && !r; i++) {
		ports[i].name = c->channels[i].name;
		r = chr_listen_new(vm_io_loop(m->vm), c->channels[i].fd, &ports[i].chr, err);
		if (!r)
			c->channels[i].fd = -1;
	}
	if (!r)
		r = vcon_new(&o, vm_io_loop(m->vm), vm_gmem(m->vm), &v, err);
	if (r < 0) {
		for (unsigned i = 0; i < c->n_channels; i++)
			chr_free(ports[i].chr);
		return err_wrap(err, "channels");
	}
	pc_plug(m, v);
	return 0;
}

static int pc_add_rng(struct machine *m, struct err *err)
{
	struct virtio_device *v;
	int r = vrng_new("rng0", vm_io_loop(m->vm), vm_gmem(m->vm), m->config->seed, &v, err);

	if (!r)
		pc_plug(m, v);
	return r;
}

static int pc_add_vsock(struct machine *m, struct err *err)
{
	struct vsock_options o = {.name = "vsock0", .guest_cid = m->config->vsock_cid};
	struct virtio_device *v;
	int r = vsock_host_new(vm_io_loop(m->vm), m->config->vsock_fd, &o.host, err);

	if (r < 0)
		return r;
	m->config->vsock_fd = -1;
	r = vsock_new(&o, vm_io_loop(m->vm), vm_gmem(m->vm), &v, err);
	if (r < 0) {
		vsock_host_free(o.host);
		return r;
	}
	pc_plug(m, v);
	return 0;
}

/* --- the balloon --- */

static void pc_on_balloon(void *opaque)
{
	struct machine *m = opaque;

	if (m->ops.balloon_changed)
		m->ops.balloon_changed(m->ops.opaque);
}

static int pc_add_balloon(struct machine *m, struct err *err)
{
	const struct guest_config *c = m->config;
	const struct vballoon_options o = {
		.name = "balloon0",
		.memory = c->memory,
		.target = c->balloon_size ? c->balloon_size : c->memory,
		.has_reporting = c->has_reporting,
		.stats_seconds = c->balloon_stats,
		.changed = pc_on_balloon,
		.opaque = m,
	};
	int r = vballoon_new(&o, vm_io_loop(m->vm), vm_gmem(m->vm), &m->balloon, err);

	if (!r)
		pc_plug(m, m->balloon);
	return r;
}

int machine_set_balloon(struct machine *m, u64 size, struct err *err)
{
	if (!m->balloon)
		return err_set(err, -ENOTSUP, "the guest has no balloon (--balloon off)");
	if (size < GUEST_MIN_MEMORY || size > m->config->memory)
		return err_set(err, -EINVAL,
			       "a balloon leaves the guest %lu MiB at least, and not more than its "
			       "%lu MiB",
			       GUEST_MIN_MEMORY / MIB, m->config->memory / MIB);
	vballoon_set_target(m->balloon, size);
	return 0;
}

bool machine_get_balloon(struct machine *m, struct machine_balloon *out)
{
	struct vballoon_info info;

	if (!m->balloon)
		return false;
	vballoon_get_info(m->balloon, &info);
	*out = (struct machine_balloon){
		.memory = info.memory,
		.target = info.target,
		.actual = info.actual,
		.given_back = info.given_back,
		.age_ns = info.stats_age_ns,
	};
	for (unsigned i = 0; i < VBALLOON_STATS; i++) {
		if (info.stats_known & BIT32(i))
			out->figures[out->n_figures++] =
				(struct machine_figure){vballoon_stat_name(i), info.stats[i]};
	}
	return true;
}

static int pc_build_own_virtio(struct machine *m, struct err *err)
{
	int r = m->config->n_channels ? pc_add_channels(m, err) : 0;

	if (!r)
		r = pc_add_rng(m, err);
	if (!r && m->config->has_balloon)
		r = pc_add_balloon(m, err);
	if (!r && m->config->vsock_cid)
		r = pc_add_vsock(m, err);
	return r;
}

int pc_build_virtio(struct machine *m, struct err *err)
{
	struct guest_config *c = m->config;
	int r = pc_make_engines(m, err);

	if (!r)
		r = pc_build_own_virtio(m, err);
	for (unsigned i = 0; i < c->n_disks && !r; i++) {
		r = pc_place_disk(m, &c->disks[i], err);
		if (!r)
			r = pc_add_disk(m, &c->disks[i], err);
	}
	for (unsigned i = 0; i < c->n_nics && !r; i++) {
		r = pc_place_nic(m, &c->nics[i], err);
		if (!r)
			r = pc_add_nic(m, &c->nics[i], err);
	}
	return r;
}
