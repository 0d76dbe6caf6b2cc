/*
 * virtio-rng: buffers are filled, and not without limit.
 */
#include "virtio/rng.h"

#include "base/err.h"
#include "base/time.h"
#include "test.h"
#include "virtio_driver.h"

static struct virtio_device *new_rng(struct vdrv *d)
{
	struct err err = ERR_INIT;
	struct virtio_device *v;

	CHECK_EQ(vrng_new("rng0", d->loop, d->gmem, 0, &v, &err), 0);
	return v;
}

static void start(struct vdrv *d)
{
	vdrv_init(d);
	vdrv_start(d, new_rng(d), VIRTIO_F_VERSION_1);
}

TEST(every_byte_of_a_buffer_is_random)
{
	struct vdrv d;
	u8 buf[4096], same[4096];
	unsigned n_same = 0;

	start(&d);
	struct fake_buf segs[] = {{vdrv_put(&d, NULL, 1), 1, true},
				  {vdrv_put(&d, NULL, 4096), 4096, true}};

	vdrv_add(&d, 0, segs, 2);
	vdrv_kick(&d, 0);
	vdrv_wait(&d, 0, 1);
	CHECK_EQ(vdrv_used_len(&d, 0, 0), 4097);
	vdrv_get(&d, segs[1].gpa, buf, sizeof(buf));
	memset(same, 0xa5, sizeof(same));
	for (size_t i = 0; i < sizeof(buf); i++)
		n_same += buf[i] == same[i];
	CHECK(n_same < 100); /* 16 are expected; 100 come once in 10^40 */
	vdrv_fini(&d);
}

TEST(a_greedy_guest_waits_for_the_next_period)
{
	struct vdrv d;
	u64 begin = time_mono_ns(), total = 0;

	start(&d);
	for (u16 i = 0; i < 10; i++) {
		struct fake_buf seg = {vdrv_put(&d, NULL, 64 * 1024), 64 * 1024, true};

		vdrv_add(&d, 0, &seg, 1);
	}
	vdrv_kick(&d, 0);
	vdrv_wait(&d, 0, 10);
	for (u16 i = 0; i < 10; i++) {
		CHECK(vdrv_used_len(&d, 0, i) > 0);
		total += vdrv_used_len(&d, 0, i);
	}
	/* At most a budget at once, and one more each 10 ms. */
	CHECK(total <= 64 * KIB * (1 + (time_mono_ns() - begin) / (10 * NSEC_PER_MSEC)));
	vdrv_fini(&d);
}

TEST(readable_buffers_are_given_back_empty)
{
	struct vdrv d;

	start(&d);
	struct fake_buf seg = {vdrv_put(&d, NULL, 16), 16, false};

	vdrv_add(&d, 0, &seg, 1);
	vdrv_kick(&d, 0);
	vdrv_wait(&d, 0, 1);
	CHECK_EQ(vdrv_used_len(&d, 0, 0), 0);
	vdrv_fini(&d);
}

TEST(a_moved_device_goes_on)
{
	struct vdrv d;

	start(&d);
	struct fake_buf seg = {vdrv_put(&d, NULL, 16), 16, true};

	vdrv_add(&d, 0, &seg, 1);
	vdrv_kick(&d, 0);
	vdrv_wait(&d, 0, 1);
	vdrv_move(&d, new_rng(&d));
	vdrv_add(&d, 0, &seg, 1);
	vdrv_kick(&d, 0);
	vdrv_wait(&d, 0, 2);
	CHECK_EQ(vdrv_used_len(&d, 0, 1), 16);
	vdrv_fini(&d);
}
