/*
 * What the guest may ask of the machine as a whole, by one register or another.
 *
 * Called on a vCPU's thread with the asking device locked: note it, wake someone, return.
 */
#ifndef DEV_POWER_H
#define DEV_POWER_H

struct power_events {
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	void *opaque;
};

#endif
