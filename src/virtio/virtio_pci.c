/*
 * virtio over PCI. See virtio_pci.h; structures in virtio_pci_wire.h.
 *
 * BAR 4, a page for each structure:
 *
 *     0x0000 common | 0x1000 ISR status | 0x2000 device configuration | 0x3000 notify, 4 bytes a queue
 *
 * Its callbacks run under the virtio device's lock, which guards the transport's registers too. The
 * configuration space is under the PCI root's lock, which is taken before it.
 */
#include "virtio/virtio_pci.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "pci/msix.h"
#include "state/state.h"
#include "virtio/virtio_pci_wire.h"

#define VP_BAR_MSIX      1
#define VP_BAR           4
#define VP_BAR_SIZE      0x4000
#define VP_PAGE          0x1000
#define VP_COMMON        0x0000
#define VP_ISR           0x1000
#define VP_DEVICE        0x2000
#define VP_NOTIFY        0x3000
#define VP_NOTIFY_STRIDE 4

struct virtio_pci {
	struct pci_device pci;
	struct pci_msix msix;
	struct io_region bar;
	struct io_doorbell doorbells[VIRTIO_MAX_QUEUES];
	struct virtio_device *vdev;
	u8 window; /* the capability through which configuration space reaches the BAR */

	/* The virtio device's lock. */
	u32 device_feature_select;
	u32 driver_feature_select;
	u16 queue_select;
	u16 config_vector;
	u8 isr;

	u16 saved_vectors[VIRTIO_MAX_QUEUES];
};

static struct virtio_pci *vp_of(struct pci_device *p)
{
	return container_of(p, struct virtio_pci, pci);
}

/* --- interrupts --- */

static void vp_interrupt(struct virtio_pci *vp, u32 isr_bit, u16 vector)
{
	if (pci_msix_is_enabled(&vp->msix)) {
		/* 4.1.4.5.1: a configuration change shows in the ISR status in any case. */
		vp->isr |= isr_bit & VIRTIO_PCI_ISR_CONFIG;
		pci_msix_notify(&vp->msix, vector);
		return;
	}
	vp->isr |= isr_bit;
	pci_set_intx(&vp->pci, true);
}

static void vp_queue_interrupt(struct virtio_device *v, struct virtio_queue *q)
{
	vp_interrupt(v->transport_opaque, VIRTIO_PCI_ISR_QUEUE, q->vector);
}

static void vp_config_interrupt(struct virtio_device *v)
{
	struct virtio_pci *vp = v->transport_opaque;

	vp_interrupt(vp, VIRTIO_PCI_ISR_CONFIG, vp->config_vector);
}

static void vp_transport_reset(struct virtio_device *v)
{
	struct virtio_pci *vp = v->transport_opaque;

	for (u32 i = 0; i < v->n_queues; i++)
		v->queues[i]->vector = VIRTIO_PCI_NO_VECTOR;
	vp->config_vector = VIRTIO_PCI_NO_VECTOR;
	vp->device_feature_select = vp->driver_feature_select = 0;
	vp->queue_select = 0;
	vp->isr = 0;
	if (vp->pci.bus)
		pci_set_intx(&vp->pci, false);
}

static const struct virtio_transport_ops vp_transport_ops = {
	.queue_interrupt = vp_queue_interrupt,
	.config_interrupt = vp_config_interrupt,
	.reset = vp_transport_reset,
};

/* --- common configuration (4.1.4.3) --- */

static struct virtio_queue *vp_selected(const struct virtio_pci *vp)
{
	return vp->queue_select < vp->vdev->n_queues ? vp->vdev->queues[vp->queue_select] : NULL;
}

static u32 vp_feature_word(u64 features, u32 select)
{
	return select < 2 ? (u32)(features >> select * 32) : 0;
}

static void vp_common_image(const struct virtio_pci *vp, struct virtio_pci_common_wire *out)
{
	const struct virtio_device *v = vp->vdev;
	const struct virtio_queue *q = vp_selected(vp);

	*out = (struct virtio_pci_common_wire){
		.device_feature_select = le32_of(vp->device_feature_select),
		.device_feature = le32_of(vp_feature_word(v->offered, vp->device_feature_select)),
		.driver_feature_select = le32_of(vp->driver_feature_select),
		.driver_feature = le32_of(vp_feature_word(v->features, vp->driver_feature_select)),
		.config_msix_vector = le16_of(vp->config_vector),
		.num_queues = le16_of((u16)v->n_queues),
		.device_status = v->status,
		.config_generation = (u8)v->config_generation,
		.queue_select = le16_of(vp->queue_select),
		.queue_msix_vector = le16_of(VIRTIO_PCI_NO_VECTOR),
	};
	if (!q)
		return;
	out->queue_size = le16_of(q->vq.config.size);
	out->queue_msix_vector = le16_of(q->vector);
	out->queue_enable = le16_of(q->vq.config.is_enabled);
	out->queue_notify_off = le16_of(q->vq.index);
	out->queue_desc = le64_of(q->vq.config.desc);
	out->queue_driver = le64_of(q->vq.config.driver);
	out->queue_device = le64_of(q->vq.config.device);
}

static u64 vp_common_read(const struct virtio_pci *vp, u64 off, unsigned size)
{
	struct virtio_pci_common_wire image;

	vp_common_image(vp, &image);
	return range_fits(off, size, sizeof(image)) ? bytes_load((u8 *)&image + off, size) : 0;
}

static void vp_write_features(struct virtio_pci *vp, u32 value)
{
	u64 features = vp->vdev->features;
	u32 shift = vp->driver_feature_select * 32;

	if (vp->driver_feature_select > 1) {
		if (value)
			guest_error(&vp->vdev->dev, "feature bits above 63");
		return;
	}
	features &= ~((u64)UINT32_MAX << shift);
	virtio_set_features(vp->vdev, features | (u64)value << shift);
}

static u16 vp_valid_vector(const struct virtio_pci *vp, u64 value)
{
	return value < vp->msix.n ? (u16)value : VIRTIO_PCI_NO_VECTOR;
}

static void vp_write_queue_size(struct virtio_pci *vp, struct virtio_queue *q, u64 value)
{
	if (vq_can_size(&q->vq, vp->vdev->features, value))
		q->vq.config.size = (u16)value;
	else
		guest_error(&vp->vdev->dev, "queue size %lu", value);
}

static void vp_set_half(gpa_t *field, u64 off, u64 value)
{
	unsigned shift = off & 4 ? 32 : 0;

	*field = (*field & ~((u64)UINT32_MAX << shift)) | value << shift;
}

#define COMMON(field) offsetof(struct virtio_pci_common_wire, field)

/* Registers of the selected queue, while it can still be set up. */
static void vp_queue_write(struct virtio_pci *vp, u64 off, u64 value)
{
	struct virtio_queue *q = vp_selected(vp);

	if (!q)
		return;
	if (off == COMMON(queue_msix_vector)) {
		q->vector = vp_valid_vector(vp, value);
		return;
	}
	if (!virtio_can_configure(vp->vdev, q)) {
		guest_error(&vp->vdev->dev, "queue %u changed while enabled", vp->queue_select);
		return;
	}
	if (off == COMMON(queue_size))
		vp_write_queue_size(vp, q, value);
	else if (off == COMMON(queue_enable) && value == 1)
		virtio_enable_queue(vp->vdev, q);
	else if (off >= COMMON(queue_device))
		vp_set_half(&q->vq.config.device, off - COMMON(queue_device), value);
	else if (off >= COMMON(queue_driver))
		vp_set_half(&q->vq.config.driver, off - COMMON(queue_driver), value);
	else if (off >= COMMON(queue_desc))
		vp_set_half(&q->vq.config.desc, off - COMMON(queue_desc), value);
}

/* 4.1.3.1: fields are written whole, 64-bit ones in halves. 0: can't be written. */
static unsigned vp_common_width(u64 off)
{
	switch (off) {
	case COMMON(device_status):
		return 1;
	case COMMON(config_msix_vector):
	case COMMON(queue_select):
	case COMMON(queue_size):
	case COMMON(queue_msix_vector):
	case COMMON(queue_enable):
		return 2;
	case COMMON(device_feature_select):
	case COMMON(driver_feature_select):
	case COMMON(driver_feature):
		return 4;
	default:
		return off >= COMMON(queue_desc) && is_aligned(off, 4) ? 4 : 0;
	}
}

static void vp_common_write(struct virtio_pci *vp, u64 off, u64 value, unsigned size)
{
	if (off >= sizeof(struct virtio_pci_common_wire) || vp_common_width(off) != size) {
		guest_error(&vp->vdev->dev, "%u-byte write at common register %#lx", size, off);
		return;
	}
	switch (off) {
	case COMMON(device_feature_select):
		vp->device_feature_select = (u32)value;
		break;
	case COMMON(driver_feature_select):
		vp->driver_feature_select = (u32)value;
		break;
	case COMMON(driver_feature):
		vp_write_features(vp, (u32)value);
		break;
	case COMMON(config_msix_vector):
		vp->config_vector = vp_valid_vector(vp, value);
		break;
	case COMMON(device_status):
		virtio_set_status(vp->vdev, (u8)value);
		break;
	case COMMON(queue_select):
		vp->queue_select = (u16)value;
		break;
	default:
		vp_queue_write(vp, off, value);
		break;
	}
}

/* --- the BAR --- */

static u64 vp_isr_read(struct virtio_pci *vp, u64 off)
{
	u8 isr = vp->isr;

	if (off)
		return 0;
	/* 4.1.4.5: reading acknowledges. */
	vp->isr = 0;
	pci_set_intx(&vp->pci, false);
	return isr;
}

static u64 vp_device_read(struct virtio_pci *vp, u64 off, unsigned size)
{
	u8 buf[8];

	virtio_read_config(vp->vdev, (u32)off, buf, size);
	return bytes_load(buf, size);
}

static void vp_device_write(struct virtio_pci *vp, u64 off, u64 value, unsigned size)
{
	u8 buf[8];

	bytes_store(buf, value, size);
	virtio_write_config(vp->vdev, (u32)off, buf, size);
}

static struct virtio_pci *vp_of_bar(struct device *d)
{
	return container_of(d, struct virtio_device, dev)->transport_opaque;
}

static u64 vp_bar_read(struct device *d, u64 off, unsigned size)
{
	struct virtio_pci *vp = vp_of_bar(d);
	u64 in_page = off % VP_PAGE;

	switch (off - in_page) {
	case VP_COMMON:
		return vp_common_read(vp, in_page, size);
	case VP_ISR:
		return vp_isr_read(vp, in_page);
	case VP_DEVICE:
		return vp_device_read(vp, in_page, size);
	default:
		return 0;
	}
}

/* Notifications are doorbells: what comes here of that page is no queue's. */
static void vp_bar_write(struct device *d, u64 off, u64 value, unsigned size)
{
	struct virtio_pci *vp = vp_of_bar(d);
	u64 in_page = off % VP_PAGE;

	switch (off - in_page) {
	case VP_COMMON:
		vp_common_write(vp, in_page, value, size);
		break;
	case VP_DEVICE:
		vp_device_write(vp, in_page, value, size);
		break;
	default:
		guest_error(d, "%u-byte write at %#lx of the BAR", size, off);
		break;
	}
}

static const struct io_ops vp_bar_ops = {
	.read = vp_bar_read,
	.write = vp_bar_write,
	.min_size = 1,
	.max_size = 4,
};

/* --- configuration space --- */

/* 4.1.4.9: the window. False unless it shows an aligned piece of the BAR. */
static bool vp_window(const struct virtio_pci *vp, u32 *out_off, u32 *out_size)
{
	struct virtio_pci_cap_wire cap;
	u32 off, size;

	memcpy(&cap, &vp->pci.config[vp->window], sizeof(cap));
	off = le32_get(cap.offset);
	size = le32_get(cap.length);
	if (cap.bar != VP_BAR || (size != 1 && size != 2 && size != 4) || !is_aligned(off, size) ||
	    !range_fits(off, size, VP_BAR_SIZE))
		return false;
	*out_off = off;
	*out_size = size;
	return true;
}

static u32 vp_window_data(const struct virtio_pci *vp)
{
	return vp->window + (u32)offsetof(struct virtio_pci_cap_wire, extra);
}

static void vp_config_reading(struct pci_device *p, u32 off, unsigned size)
{
	struct virtio_pci *vp = vp_of(p);
	u32 bar_off, bar_size;

	if (pci_touches(off, size, vp_window_data(vp), 4) && vp_window(vp, &bar_off, &bar_size))
		pci_set(p, vp_window_data(vp), (u32)io_read(&vp->bar, bar_off, bar_size), bar_size);
}

static void vp_config_written(struct pci_device *p, u32 off, unsigned size)
{
	struct virtio_pci *vp = vp_of(p);
	u32 bar_off, bar_size;

	device_lock(&vp->vdev->dev);
	virtio_set_dma(vp->vdev, pci_is_master(p));
	device_unlock(&vp->vdev->dev);
	if (pci_touches(off, size, vp_window_data(vp), 4) && vp_window(vp, &bar_off, &bar_size))
		io_write(&vp->bar, bar_off, pci_get(p, vp_window_data(vp), bar_size), bar_size);
}

static const struct pci_ops vp_pci_ops = {
	.config_reading = vp_config_reading,
	.config_written = vp_config_written,
};

static u8 vp_add_cap(struct virtio_pci *vp, u8 type, u32 offset, u32 length, u8 size)
{
	u8 at = pci_add_capability(&vp->pci, PCI_CAP_ID_VENDOR, size);
	struct virtio_pci_cap_wire cap;

	memcpy(&cap, &vp->pci.config[at], sizeof(cap));
	cap.size = size;
	cap.type = type;
	cap.bar = VP_BAR;
	cap.offset = le32_of(offset);
	cap.length = le32_of(length);
	memcpy(&vp->pci.config[at], &cap, size);
	return at;
}

static void vp_add_capabilities(struct virtio_pci *vp)
{
	struct pci_device *p = &vp->pci;
	const struct virtio_device *v = vp->vdev;
	u32 extra = offsetof(struct virtio_pci_cap_wire, extra);
	u8 whole = sizeof(struct virtio_pci_cap_wire);
	u8 at;

	vp_add_cap(vp, VIRTIO_PCI_CAP_COMMON, VP_COMMON, sizeof(struct virtio_pci_common_wire),
		   VIRTIO_PCI_CAP_SIZE);
	vp_add_cap(vp, VIRTIO_PCI_CAP_ISR, VP_ISR, 1, VIRTIO_PCI_CAP_SIZE);
	if (v->config_size)
		vp_add_cap(vp, VIRTIO_PCI_CAP_DEVICE, VP_DEVICE, v->config_size,
			   VIRTIO_PCI_CAP_SIZE);
	at = vp_add_cap(vp, VIRTIO_PCI_CAP_NOTIFY, VP_NOTIFY, v->n_queues * VP_NOTIFY_STRIDE,
			whole);
	pci_set(p, at + extra, VP_NOTIFY_STRIDE, 4);

	at = vp_add_cap(vp, VIRTIO_PCI_CAP_PCI, 0, 0, whole);
	vp->window = at;
	pci_set(p, at + (u32)offsetof(struct virtio_pci_cap_wire, bar), 0, 1);
	pci_set_writable(p, at + (u32)offsetof(struct virtio_pci_cap_wire, bar), 0xff, 1);
	for (u32 i = offsetof(struct virtio_pci_cap_wire, offset); i < whole; i += 4)
		pci_set_writable(p, at + i, UINT32_MAX, 4);
}

/* --- the device --- */

static void vp_reset(struct device *d)
{
	struct virtio_pci *vp = container_of(d, struct virtio_pci, pci.dev);

	pci_device_reset(&vp->pci);
	device_lock(&vp->vdev->dev);
	virtio_set_dma(vp->vdev, false);
	virtio_set_status(vp->vdev, 0);
	device_unlock(&vp->vdev->dev);
}

static void vp_free(struct device *d)
{
	struct virtio_pci *vp = container_of(d, struct virtio_pci, pci.dev);

	device_lock(&vp->vdev->dev);
	virtio_set_transport(vp->vdev, NULL, NULL);
	device_unlock(&vp->vdev->dev);
	for (u32 i = 0; i < vp->vdev->n_queues; i++)
		io_doorbell_remove(&vp->bar, &vp->doorbells[i]);
	pci_device_fini(&vp->pci);
	pci_msix_fini(&vp->msix);
	io_region_fini(&vp->bar);
	free(vp);
}

static void vp_before_save(void *object)
{
	struct virtio_pci *vp = object;

	for (u32 i = 0; i < vp->vdev->n_queues; i++)
		vp->saved_vectors[i] = vp->vdev->queues[i]->vector;
}

static int vp_after_load(void *object, unused u16 version, unused struct err *err)
{
	struct virtio_pci *vp = object;
	struct virtio_device *v = vp->vdev;

	device_lock(&v->dev);
	vp->config_vector = vp_valid_vector(vp, vp->config_vector);
	for (u32 i = 0; i < v->n_queues; i++)
		v->queues[i]->vector = vp_valid_vector(vp, vp->saved_vectors[i]);
	virtio_set_dma(v, pci_is_master(&vp->pci));
	device_unlock(&v->dev);
	return 0;
}

static const struct state_field vp_fields[] = {
	STATE_SUB(struct virtio_pci, pci, &pci_device_state),
	STATE_SUB(struct virtio_pci, msix, &pci_msix_state),
	STATE_U(struct virtio_pci, device_feature_select),
	STATE_U(struct virtio_pci, driver_feature_select),
	STATE_U(struct virtio_pci, queue_select),
	STATE_U(struct virtio_pci, config_vector),
	STATE_U(struct virtio_pci, isr),
	STATE_U_ARRAY(struct virtio_pci, saved_vectors),
	STATE_END,
};

static const struct state_table vp_state = {
	.name = "virtio-pci",
	.version = 1,
	.fields = vp_fields,
	.before_save = vp_before_save,
	.after_load = vp_after_load,
};

static const struct device_ops vp_device_ops = {
	.type = "virtio-pci",
	.offset = offsetof(struct virtio_pci, pci.dev),
	.state = &vp_state,
	.reset = vp_reset,
	.free = vp_free,
};

static u32 vp_class_code(enum virtio_id id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet */
	case VIRTIO_ID_BLOCK:
		return 0x010000; /* storage */
	case VIRTIO_ID_CONSOLE:
	case VIRTIO_ID_VSOCK:
		return 0x078000; /* communication, other */
	case VIRTIO_ID_RNG:
	case VIRTIO_ID_BALLOON:
		return 0x00ff00; /* unclassified */
	}
	unreachable_code();
}

static void vp_add_doorbells(struct virtio_pci *vp)
{
	for (u32 i = 0; i < vp->vdev->n_queues; i++) {
		vp->doorbells[i] = (struct io_doorbell){
			.off = VP_NOTIFY + i * VP_NOTIFY_STRIDE,
			.is_any_value = true,
			.fd = vp->vdev->queues[i]->kick.fd,
		};
		io_doorbell_add(&vp->bar, &vp->doorbells[i]);
	}
}

struct pci_device *virtio_pci_new(struct virtio_device *v, const struct msi_sink *sink)
{
	const struct pci_ids ids = {
		.vendor = VIRTIO_PCI_VENDOR,
		.device = VIRTIO_PCI_DEVICE_BASE + (u16)v->ops->id,
		.subsystem_vendor = VIRTIO_PCI_VENDOR,
		.subsystem = VIRTIO_PCI_DEVICE_BASE + (u16)v->ops->id,
		.class_code = vp_class_code(v->ops->id),
		.revision = VIRTIO_PCI_REVISION,
	};
	struct virtio_pci *vp = NEW(struct virtio_pci);

	vp->vdev = v;
	pci_device_init(&vp->pci, &vp_pci_ops, &vp_device_ops, v->dev.name, &ids);
	pci_add_express(&vp->pci, PCIE_ENDPOINT);
	pci_msix_init(&vp->msix, &vp->pci, v->n_queues + 1, VP_BAR_MSIX, sink);
	vp_add_capabilities(vp);
	io_region_init(&vp->bar, v->dev.name, &v->dev, &vp_bar_ops, VP_BAR_SIZE);
	pci_add_bar(&vp->pci, VP_BAR, PCI_BAR_MEM64_PREFETCH, &vp->bar);
	pci_set_interrupt_pin(&vp->pci, PCI_INTX_A);
	vp_add_doorbells(vp);

	virtio_set_transport(v, &vp_transport_ops, vp);
	vp_transport_reset(v);
	virtio_set_dma(v, false);
	return &vp->pci;
}
