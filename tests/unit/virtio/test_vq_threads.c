/*
 * virtio/vq: driver and device on two threads, each asleep whenever suppression lets it sleep. A
 * lost notification or interrupt hangs the test; a missing order shows as a wrong byte, or to
 * ThreadSanitizer.
 */
#include "test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "fake_guest.h"
#include "virtio/vq.h"
#include "virtio/vq_regs.h"

#define RING     0x10000
#define DATA     0x30000
#define SIZE     8
#define REQUESTS 200000
#define HANG_MS  20000

struct pair {
	struct fake_guest guest;
	struct fake_ring ring;
	struct vq q;
	bool has_event_idx;
	int notify_fd, interrupt_fd;
};

static void pair_wait(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	u64 count;

	CHECK_EQ(poll(&p, 1, HANG_MS), 1);
	CHECK_EQ(read(fd, &count, sizeof(count)), sizeof(count));
}

static void pair_ring(int fd)
{
	u64 one = 1;

	CHECK_EQ(write(fd, &one, sizeof(one)), sizeof(one));
}

/* --- the driver: as the specification has it, on atomics of its own --- */

static u16 *pair_field(struct pair *p, gpa_t gpa)
{
	return (u16 *)(p->guest.ram->hva + gpa);
}

static u16 drv_load(struct pair *p, gpa_t gpa)
{
	return __atomic_load_n(pair_field(p, gpa), __ATOMIC_SEQ_CST);
}

static void drv_store(struct pair *p, gpa_t gpa, u16 value)
{
	__atomic_store_n(pair_field(p, gpa), value, __ATOMIC_SEQ_CST);
}

static void drv_add(struct pair *p, u16 index)
{
	u16 slot = index % SIZE;
	u8 *ram = p->guest.ram->hva;
	struct vq_desc_wire *d = (struct vq_desc_wire *)(ram + p->ring.desc) + slot;

	*d = (struct vq_desc_wire){.addr = le64_of(DATA + slot * 64u),
				   .len = le32_of(4),
				   .flags = le16_of(VQ_DESC_WRITE)};
	le32_store(ram + DATA + slot * 64u, 0);
	le16_store(ram + p->ring.driver + VQ_RING_ARRAY + slot * 2u, slot);
	drv_store(p, p->ring.driver + VQ_RING_IDX, index + 1);
}

static void drv_notify(struct pair *p, u16 old, u16 new)
{
	u16 event = drv_load(p, p->ring.device + vq_avail_event_off(SIZE));
	bool is_wanted =
		p->has_event_idx
			? (u16)(new - event - 1) < (u16)(new - old)
			: !(drv_load(p, p->ring.device + VQ_RING_FLAGS) & VQ_USED_NO_NOTIFY);

	if (is_wanted)
		pair_ring(p->notify_fd);
}

static void drv_want_interrupt(struct pair *p, u16 seen, bool is_wanted)
{
	if (!p->has_event_idx)
		drv_store(p, p->ring.driver + VQ_RING_FLAGS, is_wanted ? 0 : VQ_AVAIL_NO_INTERRUPT);
	else if (is_wanted)
		drv_store(p, p->ring.driver + vq_used_event_off(SIZE), seen);
}

/* Checks what came back since seen; returns how far it is. */
static u16 drv_reap(struct pair *p, u16 seen)
{
	u16 used = drv_load(p, p->ring.device + VQ_RING_IDX);
	u8 *ram = p->guest.ram->hva;

	for (; seen != used; seen++) {
		struct vq_used_wire *e =
			(struct vq_used_wire *)(ram + p->ring.device + VQ_RING_ARRAY) + seen % SIZE;

		CHECK_EQ(le32_get(e->id), seen % SIZE);
		CHECK_EQ(le32_get(e->len), 4);
		CHECK_EQ(le32_load(ram + DATA + seen % SIZE * 64u), 0xab);
	}
	return seen;
}

static void drv_run(struct pair *p)
{
	u16 added = 0, seen = 0;

	for (unsigned done = 0; done < REQUESTS;) {
		u16 first = added, before = seen;

		while ((u16)(added - seen) < 1 + done % SIZE)
			drv_add(p, added++);
		drv_notify(p, first, added);
		drv_want_interrupt(p, seen, true);
		seen = drv_reap(p, seen);
		if (seen == before) {
			pair_wait(p->interrupt_fd);
			seen = drv_reap(p, seen);
		}
		drv_want_interrupt(p, seen, false);
		done += (u16)(seen - before);
	}
}

/* --- the device --- */

static void dev_interrupt(struct vq *q)
{
	pair_ring(((struct pair *)q->owner)->interrupt_fd);
}

static void dev_broken(unused struct vq *q, unused const char *why)
{
	CHECK(false);
}

static void dev_idle(unused struct vq *q)
{
}

static unsigned dev_work(struct pair *p)
{
	unsigned n = 0;

	do {
		struct vq_chain *c;

		vq_disable_notify(&p->q);
		while ((c = vq_pop(&p->q))) {
			CHECK(vq_put(c, "\xab\0\0\0", 4));
			vq_push(c, 4);
			n++;
		}
		vq_publish(&p->q);
	} while (vq_enable_notify(&p->q));
	return n;
}

static void *dev_run(void *arg)
{
	struct pair *p = arg;

	gmem_attach_thread(p->guest.gmem);
	for (unsigned n = dev_work(p); n < REQUESTS; n += dev_work(p))
		pair_wait(p->notify_fd);
	gmem_detach_thread(p->guest.gmem);
	return NULL;
}

static void pair_run(bool has_event_idx)
{
	static const struct vq_ops ops = {dev_interrupt, dev_broken, dev_idle};
	struct pair p = {.has_event_idx = has_event_idx};
	const char *why = NULL;
	pthread_t device;

	fake_guest_init(&p.guest);
	fake_ring_init(&p.ring, &p.guest, RING, SIZE);
	p.notify_fd = eventfd(0, EFD_CLOEXEC);
	p.interrupt_fd = eventfd(0, EFD_CLOEXEC);
	p.q.max_size = SIZE;
	p.q.max_segs = 4;
	vq_init(&p.q, &ops, &p, p.guest.gmem, 0);
	p.q.config = (struct vq_config){SIZE, true, p.ring.desc, p.ring.driver, p.ring.device};
	CHECK_EQ(vq_start(&p.q, has_event_idx, false, &why), 0);

	CHECK_EQ(pthread_create(&device, NULL, dev_run, &p), 0);
	drv_run(&p);
	CHECK_EQ(pthread_join(device, NULL), 0);

	vq_fini(&p.q);
	close(p.notify_fd);
	close(p.interrupt_fd);
	fake_guest_fini(&p.guest);
}

TEST(nothing_is_lost_between_threads_with_flags)
{
	pair_run(false);
}

TEST(nothing_is_lost_between_threads_with_event_index)
{
	pair_run(true);
}
