/*
 * virtio-vsock: a guest, a posada-vsock and programs of the host that all do what they like, in any
 * order. Each step is a few bytes; ports, operations and sizes come from small sets, so that packets
 * meet connections that there are.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "virtio/vsock.h"
#include "virtio/vsock_wire.h"
#include "virtio_driver.h"
#include "vsock/vsock.h"
#include "vsock/vsock_wire.h"

#define INPUT_MAX    2048
#define STEPS_MAX    300
#define CID          3
#define MAX_PROGRAMS 16
#define TX_SIZE      4096u
#define RX_SIZE      2048u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	const u8 *at, *end;
	struct vdrv d;
	int helper;
	u32 last_id;
	int programs[MAX_PROGRAMS];
	unsigned n_programs;
	gpa_t rx, tx;
	u16 n_rx, n_tx;
};

static u8 input_byte(struct fuzz *f)
{
	return f->at < f->end ? *f->at++ : 0;
}

static void must(int r)
{
	if (r < 0)
		abort();
}

static void settle(struct fuzz *f)
{
	for (int i = 0; i < 8; i++)
		loop_step(f->d.loop, false);
}

/* --- the guest --- */

static bool has_room(struct fuzz *f, u32 queue, u16 given)
{
	return (u16)(given - vdrv_used(&f->d, queue)) < VDRV_QUEUE_SIZE / 2;
}

static void step_rx(struct fuzz *f)
{
	u8 shape = input_byte(f);
	u32 size = shape & 0xe0 ? RX_SIZE : 40 + (shape & 0x1f);
	struct fake_buf seg = {f->rx, size, true};

	for (int i = 0; i <= (shape & 7) && has_room(f, VSOCK_QUEUE_RX, f->n_rx); i++) {
		vdrv_add(&f->d, VSOCK_QUEUE_RX, &seg, 1);
		f->n_rx++;
	}
	vdrv_kick(&f->d, VSOCK_QUEUE_RX);
}

static u32 guest_count(struct fuzz *f)
{
	static const u32 counts[] = {0, 1, 16, 4096, 65536, 0x7fffffff, 0xfffffff0, UINT32_MAX};

	return counts[input_byte(f) % ARRAY_SIZE(counts)];
}

static void step_packet(struct fuzz *f)
{
	u8 what = input_byte(f), ports = input_byte(f), shape = input_byte(f);
	u32 len = shape & 1 ? TX_SIZE : shape >> 4;
	struct vsock_header_wire h = {
		.src_cid = le64_of(shape & 8 ? CID + 1 : CID),
		.dst_cid = le64_of(VSOCK_CID_HOST + (what == 0xff)),
		.src_port = le32_of(ports & 7),
		.dst_port = le32_of(ports & 0x80 ? (1u << 30) + ((ports >> 3) & 7) : ports >> 3),
		.len = le32_of(what >> 4 == 15 ? len + 1 : len),
		.type = le16_of(VSOCK_TYPE_STREAM + (what >> 4 == 14)),
		.op = le16_of(what & 15),
		.flags = le32_of(shape >> 1 & 3),
		.buf_alloc = le32_of(guest_count(f)),
		.fwd_cnt = le32_of(guest_count(f)),
	};
	struct fake_buf segs[] = {{f->tx, sizeof(h), false}, {f->tx + 64, len, false}};

	if (!has_room(f, VSOCK_QUEUE_TX, f->n_tx))
		return;
	fake_guest_put(&f->d.guest, f->tx, &h, sizeof(h));
	vdrv_add(&f->d, VSOCK_QUEUE_TX, segs, len ? 2 : 1);
	f->n_tx++;
	vdrv_kick(&f->d, VSOCK_QUEUE_TX);
}

/* --- posada-vsock --- */

static void step_helper(struct fuzz *f)
{
	u8 what = input_byte(f);
	struct vsock_message m, call;
	size_t n_fds = 0;
	int sv[2];

	while (fd_recv(f->helper, &call, sizeof(call), NULL, &n_fds) == sizeof(call))
		f->last_id = call.id;
	m = (struct vsock_message){.kind = what & 3,
				   .id = f->last_id - (what >> 2 & 3),
				   .port = what >> 4 & 7,
				   .error = what & 0x80 ? -ECONNREFUSED : 0};
	if (f->n_programs == MAX_PROGRAMS || what == 0xff)
		return;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv));
	fd_send(f->helper, &m, sizeof(m), &sv[0], !(what & 0x80));
	close(sv[0]);
	f->programs[f->n_programs++] = sv[1];
}

/* --- a program of the host --- */

static void step_program(struct fuzz *f)
{
	static u8 block[70000];
	u8 what = input_byte(f);
	unsigned i;

	if (!f->n_programs)
		return;
	i = (what >> 3) % f->n_programs;
	switch (what & 7) {
	case 0:
	case 1:
		send(f->programs[i], block, what & 1 ? sizeof(block) : what, MSG_NOSIGNAL);
		break;
	case 2:
	case 3:
		while (read(f->programs[i], block, sizeof(block)) > 0)
			settle(f);
		break;
	case 4:
		shutdown(f->programs[i], SHUT_WR);
		break;
	case 5:
		shutdown(f->programs[i], SHUT_RD);
		break;
	default:
		close(f->programs[i]);
		f->programs[i] = f->programs[--f->n_programs];
		break;
	}
}

/* --- all of it --- */

static void step_device(struct fuzz *f)
{
	u8 what = input_byte(f);

	if (what & 1) {
		f->d.v->dev.ops->quiesce(&f->d.v->dev);
		settle(f);
		f->d.v->dev.ops->resume(&f->d.v->dev);
	} else {
		vdrv_reset(&f->d);
		vdrv_start(&f->d, f->d.v, VIRTIO_F_VERSION_1);
		f->n_rx = f->n_tx = 0;
	}
}

static void step(struct fuzz *f)
{
	u8 what = input_byte(f);

	if (what < 100)
		step_packet(f);
	else if (what < 150)
		step_rx(f);
	else if (what < 200)
		step_helper(f);
	else if (what < 248)
		step_program(f);
	else
		step_device(f);
	settle(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vsock_options o = {.name = "vsock0", .guest_cid = CID};
	struct fuzz f = {.at = data, .end = data + size};
	struct virtio_device *v;
	struct err err;
	int sv[2];

	if (size < 4 || size > INPUT_MAX)
		return -1;
	vdrv_init(&f.d);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv));
	f.helper = sv[1];
	must(vsock_host_new(f.d.loop, sv[0], &o.host, &err));
	must(vsock_new(&o, f.d.loop, f.d.gmem, &v, &err));
	vdrv_start(&f.d, v, VIRTIO_F_VERSION_1);
	f.rx = vdrv_put(&f.d, NULL, RX_SIZE);
	f.tx = vdrv_put(&f.d, NULL, 64 + TX_SIZE);
	for (int i = 0; i < STEPS_MAX && f.at < f.end; i++)
		step(&f);
	vdrv_fini(&f.d);
	close(f.helper);
	while (f.n_programs)
		close(f.programs[--f.n_programs]);
	return 0;
}
