/*
 * Interrupts that are not made by a local APIC itself: messages, routes, irqfds, the PIC.
 *
 * Routes 0 to 23 tell KVM what the IOAPIC's pins send, for one purpose: a local APIC that ends a
 * level-triggered interrupt of a pin leaves the guest (KVM_EXIT_IOAPIC_EOI). The IOAPIC itself is
 * ours and sends its messages with kv_send_msi. Routes from 24 on belong to irqfds.
 */
#include <string.h>

#include "accel/kvm/kv_priv.h"
#include "base/alloc.h"
#include "base/err.h"

static bool kv_msg_equal(const struct msi_msg *a, const struct msi_msg *b)
{
	return a->address == b->address && a->data == b->data;
}

int kv_irq_init(struct kv_accel *kv, struct err *err)
{
	size_t entries = ARRAY_SIZE(kv->routes);

	pthread_mutex_init(&kv->irq_lock, NULL);
	kv->routing =
		alloc_try(1, sizeof(*kv->routing) + entries * sizeof(kv->routing->entries[0]));
	return kv->routing ? 0 : err_set(err, -ENOMEM, "out of memory");
}

void kv_irq_fini(struct kv_accel *kv)
{
	free(kv->routing);
	pthread_mutex_destroy(&kv->irq_lock);
}

static struct kvm_msi kv_msi_of(const struct msi_msg *msg)
{
	return (struct kvm_msi){
		.address_lo = (u32)msg->address,
		.address_hi = (u32)(msg->address >> 32),
		.data = msg->data,
	};
}

void kv_send_msi(struct accel *a, const struct msi_msg *msg)
{
	struct kvm_msi msi = kv_msi_of(msg);

	/* 0: nobody took it (masked, no such APIC), as on hardware; an error: a bad message. */
	(void)kv_ioctl(kv_accel_of(a)->fd, KVM_SIGNAL_MSI, &msi);
}

/* Hands the whole table to the kernel; irq_lock held. */
static int kv_routes_commit(struct kv_accel *kv)
{
	struct kvm_irq_routing *t = kv->routing;

	t->nr = 0;
	for (u32 i = 0; i < kv->n_routes; i++) {
		const struct kv_route *route = &kv->routes[i];

		if (!route->is_used)
			continue;
		t->entries[t->nr++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi =
				{
					.address_lo = (u32)route->msg.address,
					.address_hi = (u32)(route->msg.address >> 32),
					.data = route->msg.data,
				},
		};
	}
	return kv_ioctl(kv->fd, KVM_SET_GSI_ROUTING, t);
}

static int kv_route_set(struct kv_accel *kv, u32 index, const struct msi_msg *msg)
{
	struct kv_route *route = &kv->routes[index];

	if (route->is_used && kv_msg_equal(&route->msg, msg))
		return 0;
	*route = (struct kv_route){.is_used = true, .msg = *msg};
	kv->n_routes = MAX(kv->n_routes, index + 1);
	return kv_routes_commit(kv);
}

/* A masked pin keeps its route: an interrupt that it sent before may still be ended. */
void kv_set_ioapic_route(struct accel *a, unsigned pin, const struct msi_msg *msg,
			 unused bool is_level, bool is_masked)
{
	struct kv_accel *kv = kv_accel_of(a);

	assert(pin < KV_IOAPIC_PINS);
	if (is_masked)
		return;
	pthread_mutex_lock(&kv->irq_lock);
	kv_route_set(kv, pin, msg);
	pthread_mutex_unlock(&kv->irq_lock);
}

void kv_pic_changed(struct accel *a)
{
	struct kv_vcpu *k = kv_accel_of(a)->vcpus[0];

	if (k)
		kv_nudge(k);
}

/* --- irqfds --- */

static int kv_irqfd_assign(struct kv_accel *kv, u32 gsi, int fd, bool is_add)
{
	struct kvm_irqfd irqfd = {
		.fd = (u32)fd,
		.gsi = gsi,
		.flags = is_add ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return kv_ioctl(kv->fd, KVM_IRQFD, &irqfd);
}

static int kv_irqfd_add_locked(struct kv_accel *kv, int fd, const struct msi_msg *msg, u32 *out)
{
	u32 i = KV_IOAPIC_PINS;
	int r;

	while (i < ARRAY_SIZE(kv->routes) && kv->routes[i].is_used)
		i++;
	if (i == ARRAY_SIZE(kv->routes))
		return -ENOSPC;
	r = kv_route_set(kv, i, msg);
	if (r >= 0)
		r = kv_irqfd_assign(kv, i, fd, true);
	if (r < 0) {
		kv->routes[i].is_used = false;
		return r;
	}
	*out = i - KV_IOAPIC_PINS;
	return 0;
}

int kv_irqfd_add(struct accel *a, int fd, const struct msi_msg *msg, u32 *out_handle)
{
	struct kv_accel *kv = kv_accel_of(a);

	pthread_mutex_lock(&kv->irq_lock);
	int r = kv_irqfd_add_locked(kv, fd, msg, out_handle);
	pthread_mutex_unlock(&kv->irq_lock);
	return r;
}

int kv_irqfd_change(struct accel *a, u32 handle, const struct msi_msg *msg)
{
	struct kv_accel *kv = kv_accel_of(a);

	assert(handle < KV_MAX_IRQFDS);
	pthread_mutex_lock(&kv->irq_lock);
	int r = kv_route_set(kv, KV_IOAPIC_PINS + handle, msg);
	pthread_mutex_unlock(&kv->irq_lock);
	return MIN(r, 0);
}

void kv_irqfd_remove(struct accel *a, u32 handle, int fd)
{
	struct kv_accel *kv = kv_accel_of(a);

	assert(handle < KV_MAX_IRQFDS);
	pthread_mutex_lock(&kv->irq_lock);
	kv_irqfd_assign(kv, KV_IOAPIC_PINS + handle, fd, false);
	/* The kernel keeps a route that nothing uses until the next change: no harm. */
	kv->routes[KV_IOAPIC_PINS + handle].is_used = false;
	pthread_mutex_unlock(&kv->irq_lock);
}
