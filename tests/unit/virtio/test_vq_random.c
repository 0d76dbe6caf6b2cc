/*
 * virtio/vq: the same random driver and device on both layouts of a ring, against a plain list of
 * what is where. Chains come in order and whole, come back once, in the order in which they were
 * pushed, with their length; nobody who asked to be told isn't.
 */
#include "test.h"

#include <stdlib.h>

#include "fake_guest.h"
#include "virtio/vq.h"

#define RING       0x10000
#define TABLES     0x20000
#define TABLE_SIZE 0x100
#define DATA       0x40000
#define CHAINS_MAX 64 /* chains between driver and device, at most */
#define BUFS_MAX   6
#define STEPS      20000

struct chain { /* that the driver added */
	u16 id;
	u16 n_slots;
	u32 place; /* of its buffers and indirect table */
	u32 readable, writable;
	u32 tag; /* its first readable bytes */
};

struct model {
	struct fake_guest guest;
	struct fake_ring ring;
	struct vq q;
	u64 features;
	u32 seed;
	bool is_broken;

	struct chain added[CHAINS_MAX]; /* not popped yet, oldest first */
	struct chain held[CHAINS_MAX];  /* popped */
	struct vq_chain *chains[CHAINS_MAX];
	struct chain
		pushed[CHAINS_MAX]; /* not seen by the driver; the first n_published are shown */
	u32 lens[CHAINS_MAX];
	u32 n_added, n_held, n_pushed, n_published;
	u32 free_slots, n_tag;
	u64 places;               /* a bit for each that is taken */
	bool is_busy[CHAINS_MAX]; /* split: descriptors of the table */
	u16 n_used;

	bool wants_interrupt; /* after left more slots (packed) or entries (split) */
	u32 left;
	unsigned interrupts;
	bool is_asleep; /* the device asked for notifications and found nothing */
};

static u32 model_random(struct model *m, u32 below)
{
	m->seed = m->seed * 1664525 + 1013904223;
	return (m->seed >> 8) % below;
}

static bool model_is_packed(const struct model *m)
{
	return m->features & VIRTIO_F_RING_PACKED;
}

static bool model_has_events(const struct model *m)
{
	return m->features & VIRTIO_F_EVENT_IDX;
}

static void model_interrupt(struct vq *q)
{
	((struct model *)q->owner)->interrupts++;
}

static void model_broken(struct vq *q, unused const char *why)
{
	((struct model *)q->owner)->is_broken = true;
}

static void model_idle(unused struct vq *q)
{
}

/* --- the driver --- */

/* Buffers of random sizes, the first readable with a tag; one in four chains has writable ones only. */
static u16 model_make_bufs(struct model *m, struct fake_buf *bufs, struct chain *c, gpa_t data)
{
	u16 n = (u16)(1 + model_random(m, BUFS_MAX));
	u16 n_readable = (u16)(model_random(m, 4) ? 1 + model_random(m, n) : 0);

	for (u16 i = 0; i < n; i++) {
		u32 len = i == 0 ? 4 + model_random(m, 40) : model_random(m, 44);

		bufs[i] = (struct fake_buf){data + i * 64u, len, i >= n_readable};
		*(i < n_readable ? &c->readable : &c->writable) += len;
	}
	return n;
}

/* Split: looks for n descriptors in a row that no chain has. */
static bool model_find_descs(struct model *m, u32 n)
{
	for (u32 tries = 0, run = 0; tries < 2u * m->ring.size; tries++) {
		u32 at = (m->ring.next_desc + run) % m->ring.size;

		if (m->is_busy[at]) {
			m->ring.next_desc = (u16)((at + 1) % m->ring.size);
			run = 0;
		} else if (++run == n) {
			return true;
		}
	}
	return false;
}

static void model_set_busy(struct model *m, const struct chain *c, bool is_busy)
{
	for (u32 i = 0; i < c->n_slots && !model_is_packed(m); i++)
		m->is_busy[(c->id + i) % m->ring.size] = is_busy;
}

static void model_add(struct model *m)
{
	struct fake_buf bufs[BUFS_MAX];
	struct fake_ring before;
	u32 place = !~m->places ? 0 : (u32)__builtin_ctzll(~m->places);
	struct chain c = {.tag = m->n_tag, .place = place};
	bool is_indirect = m->features & VIRTIO_F_INDIRECT_DESC && model_random(m, 2);
	u16 n = model_make_bufs(m, bufs, &c, DATA + place * 0x400);

	c.n_slots = is_indirect ? 1 : n;
	if (c.n_slots > m->free_slots || m->n_added + m->n_held + m->n_pushed == CHAINS_MAX)
		return;
	if (!model_is_packed(m) && !model_find_descs(m, c.n_slots))
		return;
	before = m->ring;
	m->n_tag++;
	m->places |= BIT(place);
	fake_guest_put(&m->guest, DATA + place * 0x400, &c.tag, sizeof(c.tag));
	c.id = is_indirect ? fake_ring_add_indirect(&m->ring, TABLES + place * TABLE_SIZE, bufs, n)
			   : fake_ring_add(&m->ring, bufs, n);
	m->free_slots -= c.n_slots;
	model_set_busy(m, &c, true);
	m->added[m->n_added++] = c;
	if (m->is_asleep)
		CHECK(fake_ring_wants_notify(&m->ring, model_has_events(m), &before));
	m->is_asleep = false;
}

static void model_reap(struct model *m)
{
	u16 used = fake_ring_used_idx(&m->ring);
	u32 n = (u16)(used - m->n_used);

	CHECK_EQ(n, m->n_published);
	for (u32 i = 0; i < n; i++) {
		u32 id, len;

		fake_ring_used(&m->ring, m->n_used++, &id, &len);
		CHECK_EQ(id, m->pushed[i].id);
		CHECK_EQ(len, m->lens[i]);
		m->free_slots += m->pushed[i].n_slots;
		m->places &= ~BIT(m->pushed[i].place);
		model_set_busy(m, &m->pushed[i], false);
	}
	memmove(m->pushed, m->pushed + n, (m->n_pushed - n) * sizeof(m->pushed[0]));
	memmove(m->lens, m->lens + n, (m->n_pushed - n) * sizeof(m->lens[0]));
	m->n_pushed -= n;
	m->n_published = 0;
	m->left = 1 + model_random(m, 4);
	m->wants_interrupt = model_random(m, 4);
	fake_ring_want_interrupt(&m->ring, model_has_events(m),
				 (u16)(m->wants_interrupt ? m->left : 0));
}

/* --- the device --- */

static void model_pop(struct model *m)
{
	struct vq_chain *c = vq_pop(&m->q);
	u32 tag;

	CHECK_EQ(!!c, m->n_added > 0);
	if (!c)
		return;

	struct chain want = m->added[0];

	CHECK_EQ(vq_readable(c), want.readable);
	CHECK_EQ(vq_writable(c), want.writable);
	if (want.readable) {
		CHECK(vq_take(c, &tag, sizeof(tag)));
		CHECK_EQ(tag, want.tag);
	}
	if (!model_random(m, 4)) {
		vq_unpop(c);
		return;
	}
	m->n_added--;
	memmove(m->added, m->added + 1, m->n_added * sizeof(m->added[0]));
	m->held[m->n_held] = want;
	m->chains[m->n_held++] = c;
}

static void model_push(struct model *m)
{
	u32 i;

	if (!m->n_held)
		return;
	i = model_random(m, m->n_held);
	m->pushed[m->n_pushed] = m->held[i];
	m->lens[m->n_pushed] = m->held[i].writable ? model_random(m, m->held[i].writable + 1) : 0;
	vq_push(m->chains[i], m->lens[m->n_pushed]);
	m->n_pushed++;
	m->n_held--;
	m->held[i] = m->held[m->n_held];
	m->chains[i] = m->chains[m->n_held];
}

static void model_publish(struct model *m)
{
	unsigned before = m->interrupts;
	u32 slots = 0;

	for (u32 i = m->n_published; i < m->n_pushed; i++)
		slots += model_is_packed(m) ? m->pushed[i].n_slots : 1;
	m->n_published = m->n_pushed;
	vq_publish(&m->q);
	if (!slots)
		return;
	if (m->wants_interrupt && (!model_has_events(m) || slots >= m->left))
		CHECK(m->interrupts > before);
	if (!model_has_events(m) && !m->wants_interrupt)
		CHECK_EQ(m->interrupts, before);
	m->left -= MIN(m->left, slots);
	if (!m->left && model_has_events(m))
		m->wants_interrupt = false;
}

static void model_sleep(struct model *m)
{
	vq_disable_notify(&m->q);
	m->is_asleep = !vq_enable_notify(&m->q);
	CHECK_EQ(m->is_asleep, m->n_added == 0);
}

/* Saved and restored: a queue of the same configuration that begins at the same positions. */
static void model_move(struct model *m)
{
	const char *why = NULL;
	struct vq old;

	while (m->n_held)
		model_push(m);
	model_publish(m);
	old = m->q;
	vq_fini(&m->q);
	m->q = (struct vq){.max_size = old.max_size, .max_segs = old.max_segs};
	vq_init(&m->q, old.ops, m, m->guest.gmem, 0);
	m->q.config = old.config;
	m->q.next_avail = old.next_avail;
	m->q.next_used = old.next_used;
	CHECK_EQ(vq_start(&m->q, m->features, &why), 0);
	m->is_asleep = false;
}

static void model_step(struct model *m)
{
	switch (model_random(m, 16)) {
	case 0:
		model_reap(m);
		break;
	case 1:
	case 2:
		model_publish(m);
		break;
	case 3:
		model_sleep(m);
		break;
	case 4:
		if (!model_random(m, 20))
			model_move(m);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		model_push(m);
		break;
	case 9:
	case 10:
	case 11:
		model_pop(m);
		break;
	default:
		model_add(m);
		break;
	}
	CHECK(!m->is_broken);
}

static void model_run(u64 features, u16 size, u32 seed)
{
	static const struct vq_ops ops = {model_interrupt, model_broken, model_idle};
	struct model *m = calloc(1, sizeof(*m));
	const char *why = NULL;

	CHECK(m);
	m->features = features;
	m->seed = seed;
	m->free_slots = size;
	m->wants_interrupt = true;
	m->left = 1;
	fake_guest_init(&m->guest);
	fake_ring_init(&m->ring, &m->guest, RING, size);
	if (model_is_packed(m))
		fake_ring_make_packed(&m->ring);
	m->q.max_size = 64;
	m->q.max_segs = BUFS_MAX;
	vq_init(&m->q, &ops, m, m->guest.gmem, 0);
	m->q.config = (struct vq_config){size, true, m->ring.desc, m->ring.driver, m->ring.device};
	CHECK_EQ(vq_start(&m->q, features, &why), 0);
	for (unsigned i = 0; i < STEPS; i++)
		model_step(m);
	CHECK(m->n_tag > STEPS / 100);
	while (m->n_held)
		model_push(m);
	vq_fini(&m->q);
	CHECK_EQ(m->guest.ram->pins, 0);
	fake_guest_fini(&m->guest);
	free(m);
}

static void model_run_all(u64 layout, const u16 *sizes, unsigned n)
{
	static const u64 features[] = {0, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC,
				       VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC};

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
		for (unsigned k = 0; k < n; k++)
			model_run(features[i] | layout, sizes[k], 1 + i * 100 + k);
}

TEST(a_random_driver_finds_nothing_odd_in_split_rings)
{
	const u16 sizes[] = {2, 8, 64};

	model_run_all(0, sizes, ARRAY_SIZE(sizes));
}

TEST(a_random_driver_finds_nothing_odd_in_packed_rings)
{
	const u16 sizes[] = {2, 7, 8, 61, 64};

	model_run_all(VIRTIO_F_RING_PACKED, sizes, ARRAY_SIZE(sizes));
}
