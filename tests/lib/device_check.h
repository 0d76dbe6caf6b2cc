/*
 * What every device has to stand: saving and loading, and loading what a stranger has changed.
 */
#ifndef TESTS_LIB_DEVICE_CHECK_H
#define TESTS_LIB_DEVICE_CHECK_H

#include "bus/device.h"
#include "test.h"

/* Why d doesn't survive being saved, reset, loaded and saved again; NULL when it does. */
const char *device_check_save_and_load(struct device *d);

/*
 * Loads what d saved with one byte of its fields changed (at is taken modulo their size). It may be
 * refused, and d then gets back what it was; what is accepted has to survive saving and loading.
 */
const char *device_check_damaged(struct device *d, size_t at, u8 flip);
/* The same with each byte in turn. */
const char *device_check_all_damaged(struct device *d);

#define CHECK_DEVICE(dev_, check_)                                                                 \
	do {                                                                                       \
		const char *why_ = check_(dev_);                                                   \
		if (why_)                                                                          \
			fail_msg("%s: %s", (dev_)->name, why_);                                    \
	} while (0)
#define CHECK_SURVIVES_SAVE_AND_LOAD(dev_) CHECK_DEVICE(dev_, device_check_save_and_load)
#define CHECK_STANDS_DAMAGED_STATE(dev_)   CHECK_DEVICE(dev_, device_check_all_damaged)

#endif
