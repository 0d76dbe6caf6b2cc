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
#define REQUESTS 100000
#define HANG_MS  20000

struct pair {
	struct fake_guest guest;
	struct fake_ring ring;
	struct vq q;
	bool has_event_idx, is_packed;
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

/* A buffer of four bytes for each slot of the ring. */
static u32 drv_data(u16 index)
{
	return DATA + index % SIZE * 64u;
}

static void drv_add_split(struct pair *p, u16 index)
{
	u16 slot = index % SIZE;
	u8 *ram = p->guest.ram->hva;
	struct vq_desc_wire *d = (struct vq_desc_wire *)(ram + p->ring.desc) + slot;

	*d = (struct vq_desc_wire){.addr = le64_of(drv_data(index)),
				   .len = le32_of(4),
				   .flags = le16_of(VQ_DESC_WRITE)};
	le16_store(ram + p->ring.driver + VQ_RING_ARRAY + slot * 2u, slot);
	drv_store(p, p->ring.driver + VQ_RING_IDX, index + 1);
}

/* The wrap counter of a position that counts on and on. */
static bool drv_wrap(u16 index)
{
	return !(index / SIZE & 1);
}

static u16 drv_marks(u16 index, bool is_used)
{
	bool avail = drv_wrap(index), used = is_used ? avail : !avail;

	return (u16)((avail ? VQ_PACKED_AVAIL : 0) | (used ? VQ_PACKED_USED : 0));
}

static gpa_t drv_packed_flags(struct pair *p, u16 index)
{
	return p->ring.desc + index % SIZE * sizeof(struct vq_packed_desc_wire) +
	       offsetof(struct vq_packed_desc_wire, flags);
}

static void drv_add_packed(struct pair *p, u16 index)
{
	u8 *ram = p->guest.ram->hva;
	struct vq_packed_desc_wire *d =
		(struct vq_packed_desc_wire *)(ram + p->ring.desc) + index % SIZE;

	d->addr = le64_of(drv_data(index));
	d->len = le32_of(4);
	d->id = le16_of(index % SIZE);
	drv_store(p, drv_packed_flags(p, index), drv_marks(index, false) | VQ_DESC_WRITE);
}

static void drv_add(struct pair *p, u16 index)
{
	le32_store(p->guest.ram->hva + drv_data(index), 0);
	if (p->is_packed)
		drv_add_packed(p, index);
	else
		drv_add_split(p, index);
}

static bool drv_wants_packed(struct pair *p, u16 old, u16 new)
{
	/* Both halves at once, as a driver must. */
	u32 word = __atomic_load_n((u32 *)pair_field(p, p->ring.device), __ATOMIC_SEQ_CST);
	u32 flags = word >> 16, round = 2 * SIZE;
	u32 event = (word & ~VQ_EVENT_WRAP & 0xffff) + (word & VQ_EVENT_WRAP ? 0 : SIZE);

	if (flags != VQ_EVENT_DESC)
		return flags == VQ_EVENT_ENABLE;
	return (new - event - 1) % round < (u16)(new - old);
}

static bool drv_wants_split(struct pair *p, u16 old, u16 new)
{
	u16 event = drv_load(p, p->ring.device + vq_avail_event_off(SIZE));

	return p->has_event_idx
		       ? (u16)(new - event - 1) < (u16)(new - old)
		       : !(drv_load(p, p->ring.device + VQ_RING_FLAGS) & VQ_USED_NO_NOTIFY);
}

static void drv_notify(struct pair *p, u16 old, u16 new)
{
	if (p->is_packed ? drv_wants_packed(p, old, new) : drv_wants_split(p, old, new))
		pair_ring(p->notify_fd);
}

static void drv_want_interrupt_packed(struct pair *p, u16 seen, bool is_wanted)
{
	u32 flags = !is_wanted         ? VQ_EVENT_DISABLE
		    : p->has_event_idx ? VQ_EVENT_DESC
				       : VQ_EVENT_ENABLE;
	u32 off_wrap = seen % SIZE | (drv_wrap(seen) ? VQ_EVENT_WRAP : 0);

	__atomic_store_n((u32 *)pair_field(p, p->ring.driver), off_wrap | flags << 16,
			 __ATOMIC_SEQ_CST);
}

static void drv_want_interrupt(struct pair *p, u16 seen, bool is_wanted)
{
	if (p->is_packed)
		drv_want_interrupt_packed(p, seen, is_wanted);
	else if (!p->has_event_idx)
		drv_store(p, p->ring.driver + VQ_RING_FLAGS, is_wanted ? 0 : VQ_AVAIL_NO_INTERRUPT);
	else if (is_wanted)
		drv_store(p, p->ring.driver + vq_used_event_off(SIZE), seen);
}

static bool drv_is_used(struct pair *p, u16 seen)
{
	const u16 marks = VQ_PACKED_AVAIL | VQ_PACKED_USED;

	if (!p->is_packed)
		return seen != drv_load(p, p->ring.device + VQ_RING_IDX);
	return (drv_load(p, drv_packed_flags(p, seen)) & marks) == drv_marks(seen, true);
}

static void drv_used(struct pair *p, u16 seen, u32 *out_id, u32 *out_len)
{
	u8 *ram = p->guest.ram->hva;

	if (p->is_packed) {
		struct vq_packed_desc_wire *d =
			(struct vq_packed_desc_wire *)(ram + p->ring.desc) + seen % SIZE;
		*out_id = le16_get(d->id);
		*out_len = le32_get(d->len);
	} else {
		struct vq_used_wire *e =
			(struct vq_used_wire *)(ram + p->ring.device + VQ_RING_ARRAY) + seen % SIZE;
		*out_id = le32_get(e->id);
		*out_len = le32_get(e->len);
	}
}

/* Checks what came back since seen, up to added; returns how far it is. */
static u16 drv_reap(struct pair *p, u16 seen, u16 added)
{
	for (; seen != added && drv_is_used(p, seen); seen++) {
		u32 id, len;

		drv_used(p, seen, &id, &len);
		CHECK_EQ(id, seen % SIZE);
		CHECK_EQ(len, 4);
		CHECK_EQ(le32_load(p->guest.ram->hva + drv_data(seen)), 0xab);
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
		seen = drv_reap(p, seen, added);
		if (seen == before) {
			pair_wait(p->interrupt_fd);
			seen = drv_reap(p, seen, added);
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

static void pair_run(bool has_event_idx, bool is_packed)
{
	static const struct vq_ops ops = {dev_interrupt, dev_broken, dev_idle};
	struct pair p = {.has_event_idx = has_event_idx, .is_packed = is_packed};
	u64 features =
		(has_event_idx ? VIRTIO_F_EVENT_IDX : 0) | (is_packed ? VIRTIO_F_RING_PACKED : 0);
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
	CHECK_EQ(vq_start(&p.q, features, &why), 0);

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
	pair_run(false, false);
}

TEST(nothing_is_lost_between_threads_with_event_index)
{
	pair_run(true, false);
}

TEST(nothing_is_lost_in_a_packed_ring_with_flags)
{
	pair_run(false, true);
}

TEST(nothing_is_lost_in_a_packed_ring_with_event_positions)
{
	pair_run(true, true);
}
