/*
 * Names of native code, for perf(1): into its map of addresses, or with the code itself into a file of jitdump.
 */
#ifndef ACCEL_SOFT_NATIVE_PERF_H
#define ACCEL_SOFT_NATIVE_PERF_H

#include "base/base.h"

struct err;
struct sx_native;

/* Of all vCPUs. */
struct sx_perf {
	int fd;    /* atomic; -1: nowhere, not any more */
	u32 pid;   /* of this process, as perf knows it; 0: it is a map */
	u64 index; /* atomic: of the next record */
	void *marker;
};

/*
 * fd is the caller's, open for appending; what it is to be, what it begins with tells: a file of jitdump has its header
 * already. Before the process is confined. -1: nothing has names.
 */
int sx_perf_init(struct sx_perf *p, int fd, struct err *err);
void sx_perf_fini(struct sx_perf *p);
bool sx_perf_wants(const struct sx_perf *p);

/* Tells perf whose code it is. exec: where it is executed. */
void sx_native_name_common(struct sx_native *n);
void sx_native_name_block(struct sx_native *n, u64 lin, u32 mode, const u8 *exec, u64 size);

#endif
