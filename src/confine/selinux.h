/*
 * An SELinux label of its own for each guest process: the launcher's part.
 */
#ifndef CONFINE_SELINUX_H
#define CONFINE_SELINUX_H

#include "base/base.h"

struct err;

#define CONFINE_LABEL_MAX   256
#define CONFINE_LABEL_PAIRS (1024 * 1023 / 2) /* of two different categories */

/*
 * Our own label, but of type posada_vmm_t and with two categories of their own for each pair below
 * CONFINE_LABEL_PAIRS. -ENOSYS: this host has no SELinux; -EINVAL: its policy doesn't know the type.
 */
int confine_label_make(unsigned pair, char out[CONFINE_LABEL_MAX], struct err *err);

/* Of the next program that this thread executes. A negative errno. */
int confine_label_next_exec(const char *label);

#endif
