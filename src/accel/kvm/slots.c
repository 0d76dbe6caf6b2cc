/*
 * Memory slots: the guest's memory map as KVM knows it, and the dirty log.
 *
 * Ranges that follow each other in the guest and in one block become one slot. When the map changes,
 * slots that stay as they are stay untouched; the others are deleted and made anew. In between a
 * vCPU would find nothing where there is memory, so for such changes all vCPUs are held outside
 * KVM_RUN:
 *
 *     vCPU:    is_in_guest = true; look at is_remapping; set: back off and wait; KVM_RUN; false
 *     changer: is_remapping = true; kick every vCPU and wait until none is_in_guest; change; wake
 *
 * Both sides store their flag and then load the other's, sequentially consistent: one of them sees
 * the other. A vCPU that changes the map itself (a write to a chip-set register) is outside
 * KVM_RUN, and gmem's lock admits one changer at a time.
 */
#include <string.h>

#include "accel/kvm/kv_priv.h"
#include "base/alloc.h"
#include "base/err.h"

/* --- keeping vCPUs out --- */

void kv_slots_enter(struct kv_vcpu *k)
{
	struct kv_accel *kv = k->kv;

	for (;;) {
		__atomic_store_n(&k->is_in_guest, true, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&kv->is_remapping, __ATOMIC_SEQ_CST))
			return;
		kv_slots_leave(k);
		pthread_mutex_lock(&kv->slots_lock);
		while (kv->is_remapping)
			pthread_cond_wait(&kv->slots_cond, &kv->slots_lock);
		pthread_mutex_unlock(&kv->slots_lock);
	}
}

void kv_slots_leave(struct kv_vcpu *k)
{
	struct kv_accel *kv = k->kv;

	__atomic_store_n(&k->is_in_guest, false, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&kv->is_remapping, __ATOMIC_SEQ_CST)) {
		pthread_mutex_lock(&kv->slots_lock);
		pthread_cond_broadcast(&kv->slots_cond);
		pthread_mutex_unlock(&kv->slots_lock);
	}
}

static void kv_slots_hold_vcpus(struct kv_accel *kv)
{
	pthread_mutex_lock(&kv->slots_lock);
	__atomic_store_n(&kv->is_remapping, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < ACCEL_MAX_VCPUS; i++) {
		struct kv_vcpu *k = kv->vcpus[i];

		if (k)
			kv_nudge(k);
		while (k && __atomic_load_n(&k->is_in_guest, __ATOMIC_SEQ_CST))
			pthread_cond_wait(&kv->slots_cond, &kv->slots_lock);
	}
	pthread_mutex_unlock(&kv->slots_lock);
}

static void kv_slots_let_vcpus_go(struct kv_accel *kv)
{
	pthread_mutex_lock(&kv->slots_lock);
	__atomic_store_n(&kv->is_remapping, false, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&kv->slots_cond);
	pthread_mutex_unlock(&kv->slots_lock);
}

/* --- one slot --- */

static void kv_slot_commit(struct kv_accel *kv, u32 index)
{
	const struct kv_slot *s = &kv->slots[index];
	struct kvm_userspace_memory_region region = {
		.slot = index,
		.guest_phys_addr = s->gpa,
		.memory_size = s->size,
		.userspace_addr = s->size ? (u64)(s->block->hva + s->offset) : 0,
		.flags = (s->is_readonly ? KVM_MEM_READONLY : 0u) |
			 (s->is_logged ? KVM_MEM_LOG_DIRTY_PAGES : 0u),
	};
	int r = kv_ioctl(kv->fd, KVM_SET_USER_MEMORY_REGION, &region);

	if (r < 0)
		__atomic_store_n(&kv->slots_error, r, __ATOMIC_RELEASE);
}

/* Moves what the kernel logged of a slot into its block's bits, and arms the log again. */
static void kv_slot_sync_log(struct kv_accel *kv, u32 index)
{
	const struct kv_slot *s = &kv->slots[index];
	u64 pages = s->size / PAGE_SIZE, first = s->offset / PAGE_SIZE;
	u64 *bits = alloc_try((pages + 63) / 64, sizeof(*bits));
	struct kvm_dirty_log log = {.slot = index, .dirty_bitmap = bits};
	u64 *dirty = __atomic_load_n(&s->block->dirty, __ATOMIC_ACQUIRE);

	if (!dirty) {
		free(bits);
		return;
	}
	if (!bits || kv_ioctl(kv->fd, KVM_GET_DIRTY_LOG, &log) < 0) {
		/* What is not known to be clean is dirty. */
		for (u64 i = 0; i < pages; i++)
			__atomic_fetch_or(&dirty[(first + i) / 64], BIT((first + i) % 64),
					  __ATOMIC_RELEASE);
		free(bits);
		return;
	}
	for (u64 w = 0; w < (pages + 63) / 64; w++) {
		for (u64 word = bits[w]; word; word &= word - 1) {
			u64 page = first + w * 64 + (u64)__builtin_ctzl(word);

			__atomic_fetch_or(&dirty[page / 64], BIT(page % 64), __ATOMIC_RELEASE);
		}
	}
	free(bits);
}

static void kv_slot_delete(struct kv_accel *kv, u32 index)
{
	if (kv->slots[index].is_logged)
		kv_slot_sync_log(kv, index);
	kv->slots[index].size = 0;
	kv->slots[index].is_logged = false;
	kv_slot_commit(kv, index);
}

static void kv_slot_add(struct kv_accel *kv, const struct kv_slot *slot)
{
	u32 i = 0;

	while (i < kv->n_slots && kv->slots[i].size)
		i++;
	if (i == kv->max_slots) {
		__atomic_store_n(&kv->slots_error, -ENOSPC, __ATOMIC_RELEASE);
		return;
	}
	if (i == kv->n_slots) {
		kv->slots = mem_grow(kv->slots, i, i + 1, sizeof(*kv->slots));
		kv->n_slots = i + 1;
	}
	kv->slots[i] = *slot;
	kv->slots[i].is_logged = kv->is_logging && !slot->is_readonly;
	kv_slot_commit(kv, i);
}

/* --- the map --- */

static bool kv_slot_continues(const struct kv_slot *s, const struct gmem_range *r)
{
	return s->gpa + s->size == r->gpa && s->block == r->block &&
	       s->offset + s->size == r->offset && s->is_readonly == r->is_readonly;
}

/* The slots that a map wants, sorted by address: their number. */
static u32 kv_slots_of_map(const struct gmem_map *m, struct kv_slot *out)
{
	u32 n = 0;

	for (u32 i = 0; i < m->n_ranges; i++) {
		const struct gmem_range *r = &m->ranges[i];

		if (n && kv_slot_continues(&out[n - 1], r))
			out[n - 1].size += r->size;
		else
			out[n++] = (struct kv_slot){
				.gpa = r->gpa,
				.size = r->size,
				.block = r->block,
				.offset = r->offset,
				.is_readonly = r->is_readonly,
			};
	}
	return n;
}

static bool kv_slot_same(const struct kv_slot *a, const struct kv_slot *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->block == b->block &&
	       a->offset == b->offset && a->is_readonly == b->is_readonly;
}

static const struct kv_slot *kv_slot_find(const struct kv_slot *slots, u32 n,
					  const struct kv_slot *wanted)
{
	for (u32 i = 0; i < n; i++)
		if (slots[i].size && kv_slot_same(&slots[i], wanted))
			return &slots[i];
	return NULL;
}

static bool kv_slots_any_goes(const struct kv_accel *kv, const struct kv_slot *wanted, u32 n)
{
	for (u32 i = 0; i < kv->n_slots; i++)
		if (kv->slots[i].size && !kv_slot_find(wanted, n, &kv->slots[i]))
			return true;
	return false;
}

static void kv_map_changed(struct gmem_listener *l, unused const struct gmem_map *old,
			   const struct gmem_map *new)
{
	struct kv_accel *kv = container_of(l, struct kv_accel, listener);
	struct kv_slot *wanted = mem_alloc(new->n_ranges + 1, sizeof(*wanted));
	u32 n = kv_slots_of_map(new, wanted);
	bool must_hold = kv_slots_any_goes(kv, wanted, n);

	if (must_hold)
		kv_slots_hold_vcpus(kv);
	for (u32 i = 0; i < kv->n_slots; i++)
		if (kv->slots[i].size && !kv_slot_find(wanted, n, &kv->slots[i]))
			kv_slot_delete(kv, i);
	for (u32 i = 0; i < n; i++)
		if (!kv_slot_find(kv->slots, kv->n_slots, &wanted[i]))
			kv_slot_add(kv, &wanted[i]);
	if (must_hold)
		kv_slots_let_vcpus_go(kv);
	free(wanted);
}

/* --- the dirty log --- */

static void kv_log_changed(struct gmem_listener *l, struct gmem_block *b, bool is_on)
{
	struct kv_accel *kv = container_of(l, struct kv_accel, listener);

	kv->is_logging = is_on;
	for (u32 i = 0; i < kv->n_slots; i++) {
		struct kv_slot *s = &kv->slots[i];

		if (!s->size || s->block != b || s->is_readonly)
			continue;
		s->is_logged = is_on;
		kv_slot_commit(kv, i);
	}
}

static void kv_log_sync(struct gmem_listener *l, struct gmem_block *b)
{
	struct kv_accel *kv = container_of(l, struct kv_accel, listener);

	/* KVM_GET_DIRTY_LOG also protects the pages again: nothing is left for log_cleared. */
	for (u32 i = 0; i < kv->n_slots; i++)
		if (kv->slots[i].is_logged && kv->slots[i].block == b)
			kv_slot_sync_log(kv, i);
}

int kv_slots_init(struct kv_accel *kv, struct err *err)
{
	int r = kv_has(kv, KVM_CAP_NR_MEMSLOTS);

	kv->max_slots = r ? (unsigned)r : 32;
	pthread_mutex_init(&kv->slots_lock, NULL);
	pthread_cond_init(&kv->slots_cond, NULL);
	kv->listener = (struct gmem_listener){
		.map_changed = kv_map_changed,
		.log_changed = kv_log_changed,
		.log_sync = kv_log_sync,
	};
	gmem_listen(kv->accel.gmem, &kv->listener);
	if (kv->slots_error)
		return err_errno(err, kv->slots_error, "KVM refuses the guest's memory");
	return 0;
}

void kv_slots_fini(struct kv_accel *kv)
{
	if (kv->listener.map_changed) {
		gmem_unlisten(kv->accel.gmem, &kv->listener);
		pthread_cond_destroy(&kv->slots_cond);
		pthread_mutex_destroy(&kv->slots_lock);
	}
	free(kv->slots);
}
