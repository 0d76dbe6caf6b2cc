/*
 * virtio devices: requests of a driver without manners, on a real disk in memory, a stream to a
 * hostile network peer, console ports, the entropy device and the balloon.
 *
 * The first byte chooses the device, the next four the features; then come steps: a chain, a write
 * to the configuration, a reset, bytes from the host's side. The rings themselves keep the rules:
 * those that don't are fuzz_vq's.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "block/block.h"
#include "chr/chr.h"
#include "net/net.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio_driver.h"

#define INPUT_MAX  2048
#define STEPS_MAX  48
#define CHAIN_SEGS 6
#define PORTS      2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const u8 *at, *end;
};

struct fuzz {
	struct vdrv d;
	struct chr *chr[PORTS];
	int peer; /* of the network card; or -1 */
	u64 features;
};

static u8 input_byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static void input_bytes(struct input *in, u8 *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = input_byte(in);
}

static void must(int r)
{
	if (r < 0)
		abort();
}

static struct virtio_device *make_blk(struct fuzz *f)
{
	const struct blk_raw_options raw = {.engine = BLK_ENGINE_AUTO};
	struct vblk_options o = {
		.name = "disk0", .serial = "fuzz", .n_queues = 2, .on_error = VBLK_REPORT};
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct virtio_device *v;
	struct err err;

	must(ftruncate(fd, 64 * 1024));
	must(blk_raw_new(f->d.loop, fd, &raw, &o.disk, &err));
	must(vblk_new(&o, f->d.loop, f->d.gmem, &v, &err));
	return v;
}

static struct virtio_device *make_net(struct fuzz *f)
{
	struct vnet_options o = {.name = "net0", .n_pairs = 2};
	struct virtio_device *v;
	struct err err;
	int sv[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv));
	f->peer = sv[1];
	must(net_stream_new(f->d.loop, sv[0], &o.net, &err));
	must(vnet_new(&o, f->d.loop, f->d.gmem, &v, &err));
	return v;
}

static struct virtio_device *make_console(struct fuzz *f)
{
	struct vcon_port_options ports[PORTS] = {{.is_console = true}, {.name = "fuzz"}};
	const struct vcon_options o = {.name = "console0", .ports = ports, .n_ports = PORTS};
	struct virtio_device *v;
	struct err err;

	for (int i = 0; i < PORTS; i++)
		ports[i].chr = f->chr[i] = chr_ring_new(100);
	must(vcon_new(&o, f->d.loop, f->d.gmem, &v, &err));
	return v;
}

static struct virtio_device *make_rng(struct fuzz *f)
{
	struct virtio_device *v;
	struct err err;

	must(vrng_new("rng0", f->d.loop, f->d.gmem, 0, &v, &err));
	return v;
}

static struct virtio_device *make_balloon(struct fuzz *f)
{
	const struct vballoon_options o = {.name = "balloon0",
					   .memory = FAKE_RAM_SIZE,
					   .target = FAKE_RAM_SIZE / 2,
					   .has_reporting = true,
					   .stats_seconds = 1};
	struct virtio_device *v;
	struct err err;

	must(vballoon_new(&o, f->d.loop, f->d.gmem, &v, &err));
	return v;
}

static void settle(struct fuzz *f)
{
	for (int i = 0; i < 8; i++)
		loop_step(f->d.loop, false);
}

static void step_chain(struct fuzz *f, struct input *in)
{
	struct fake_buf bufs[CHAIN_SEGS];
	u32 queue = input_byte(in) % f->d.v->n_queues;
	u16 n = 1 + input_byte(in) % CHAIN_SEGS;
	bool is_writable = false;

	for (u16 i = 0; i < n; i++) {
		u8 shape = input_byte(in), content[32] = {0};
		/* Mostly short, sometimes a sector, or several, or an odd number. */
		u32 len = shape & 4 ? (u32)(shape >> 4) * 512 + 512 : 1 + (shape >> 3);

		is_writable |= shape & 1;
		input_bytes(in, content, MIN((size_t)len, is_writable ? 0 : sizeof(content)));
		bufs[i] = (struct fake_buf){vdrv_put(&f->d, NULL, len), len, is_writable};
		if (!is_writable)
			fake_guest_put(&f->d.guest, bufs[i].gpa, content,
				       MIN((size_t)len, sizeof(content)));
	}
	vdrv_add(&f->d, queue, bufs, n);
	vdrv_kick(&f->d, queue);
	settle(f);
}

static void step_config(struct fuzz *f, struct input *in)
{
	u8 value[8], off = input_byte(in) % 64, size = 1 + input_byte(in) % 8;

	input_bytes(in, value, sizeof(value));
	device_lock(&f->d.v->dev);
	virtio_write_config(f->d.v, off, value, size);
	device_unlock(&f->d.v->dev);
}

static void step_host(struct fuzz *f, struct input *in)
{
	u8 bytes[64], out[64], n = input_byte(in) % sizeof(bytes);

	input_bytes(in, bytes, n);
	/* A peer that is full, or gone, is part of the game. */
	if (f->peer >= 0 && send(f->peer, bytes, n, MSG_NOSIGNAL) >= 0)
		settle(f);
	for (int i = 0; i < PORTS && f->chr[i]; i++) {
		chr_ring_input(f->chr[i], bytes, n);
		chr_ring_output(f->chr[i], out, n);
		chr_ring_set_open(f->chr[i], n & 1);
	}
	settle(f);
}

static void step_reset(struct fuzz *f)
{
	vdrv_reset(&f->d);
	vdrv_start(&f->d, f->d.v, f->features);
}

static void step(struct fuzz *f, struct input *in)
{
	u8 what = input_byte(in);

	if (what < 192)
		step_chain(f, in);
	else if (what < 216)
		step_host(f, in);
	else if (what < 240)
		step_config(f, in);
	else
		step_reset(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtio_device *(*const makers[])(struct fuzz *) = {
		make_blk, make_net, make_console, make_rng, make_balloon};
	struct input in = {data, data + size};
	struct fuzz f = {.peer = -1};
	struct virtio_device *v;
	u32 features = 0;

	if (size < 6 || size > INPUT_MAX)
		return -1;
	vdrv_init(&f.d);
	v = makers[input_byte(&in) % ARRAY_SIZE(makers)](&f);
	input_bytes(&in, (u8 *)&features, sizeof(features));
	f.features = VIRTIO_F_VERSION_1 | (v->offered & features);
	if (v->ops->features_are_ok && !v->ops->features_are_ok(v, f.features))
		f.features = v->offered & ~VIRTIO_F_RING_PACKED;
	vdrv_start(&f.d, v, f.features);
	for (int i = 0; i < STEPS_MAX && in.at < in.end; i++)
		step(&f, &in);
	v->dev.ops->quiesce(&v->dev);
	v->dev.ops->resume(&v->dev);
	vdrv_fini(&f.d);
	if (f.peer >= 0)
		close(f.peer);
	return 0;
}
