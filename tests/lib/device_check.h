/*
 * What every device has to stand: saving and loading.
 */
#ifndef TESTS_LIB_DEVICE_CHECK_H
#define TESTS_LIB_DEVICE_CHECK_H

#include "bus/device.h"
#include "test.h"

/* Why d doesn't survive being saved, reset, loaded and saved again; NULL when it does. */
const char *device_check_save_and_load(struct device *d);
/* Loads what was saved from one device into another of its kind: NULL, or why not. */
const char *device_check_copy(struct device *from, struct device *to);

#define CHECK_SURVIVES_SAVE_AND_LOAD(dev_)                                                         \
	do {                                                                                       \
		const char *why_ = device_check_save_and_load(dev_);                               \
		if (why_)                                                                          \
			fail_msg("%s: %s", (dev_)->name, why_);                                    \
	} while (0)

#endif
