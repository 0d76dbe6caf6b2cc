/*
 * virtio-rng: entropy from the host's kernel (virtio 1.2, 5.4), or numbers that follow from a seed.
 */
#ifndef VIRTIO_RNG_H
#define VIRTIO_RNG_H

#include "base/base.h"

struct err;
struct gmem;
struct loop;
struct virtio_device;

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vrng_new(const char *name, struct loop *loop, struct gmem *gmem, u64 seed,
	     struct virtio_device **out, struct err *err); /* seed 0: entropy */

#endif
