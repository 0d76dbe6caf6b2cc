/*
 * The last step of posada-image's set-up: reads and writes of what it has open, and little else.
 */
#ifndef IMAGE_HELPER_SANDBOX_H
#define IMAGE_HELPER_SANDBOX_H

struct err;

/* All threads of the process, which are made already. */
int image_sandbox_enter(struct err *err);

#endif
