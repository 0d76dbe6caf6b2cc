/*
 * Files of jitdump, in which perf(1) finds translated code: a header, then records, each as the host has its numbers.
 * By tools/perf/Documentation/jitdump-specification.txt of Linux, version 1.
 */
#ifndef BASE_JITDUMP_WIRE_H
#define BASE_JITDUMP_WIRE_H

#include "base/base.h"

#define JITDUMP_MAGIC   0x4a695444u /* "JiTD" */
#define JITDUMP_VERSION 1u
#define JITDUMP_X86_64  62u /* as in ELF */

struct jitdump_header_wire {
	u32 magic, version, total_size, elf_machine, reserved, pid;
	u64 timestamp, flags; /* nanoseconds of CLOCK_MONOTONIC, as all here */
};
static_assert(sizeof(struct jitdump_header_wire) == 40, "as the specification has it");

#define JITDUMP_LOAD 0u

/* Behind it: the name, ended by a zero, and the code. */
struct jitdump_load_wire {
	u32 kind, total_size;
	u64 timestamp;
	u32 pid, tid;
	u64 vma, address, code_size;
	u64 index; /* no other record's */
};
static_assert(sizeof(struct jitdump_load_wire) == 56, "as the specification has it");

#endif
