/*
 * A software CPU alone: memory, a clock, a local APIC that says what the test wants, ports that
 * record. No board.
 */
#ifndef TESTS_UNIT_SOFT_CORE_FIXTURE_H
#define TESTS_UNIT_SOFT_CORE_FIXTURE_H

#include "accel/accel.h"
#include "accel/soft/count.h"

#define CORE_RAM       (8 * MIB)
#define CORE_CODE      0x10000u  /* programs */
#define CORE_DATA      0x200000u /* free for them */
#define CORE_STACK     0x90000u  /* its top */
#define CORE_TABLES    0x100000u /* page tables, GDT, IDT, TSS */
#define CORE_GDT       0x108000u
#define CORE_IDT       0x109000u
#define CORE_TSS       0x10a000u
#define CORE_MMIO      0xe0000000u
#define CORE_PORT_STOP 0xf4 /* writing here ends core_run; the value is kept */
#define CORE_CPUS      2

/* Selectors of the GDT that core_long_mode makes. */
enum {
	CORE_CS64 = 0x08,
	CORE_DS = 0x10,
	CORE_CS32 = 0x18,
	CORE_USER_CS32 = 0x23,
	CORE_USER_DS = 0x2b,
	CORE_USER_CS64 = 0x33,
	CORE_TR = 0x38,
};

struct core_apic {
	struct vcpu_apic apic;
	unsigned pending;
	int vector;
	u8 cr8;
	u64 base;
	u32 last_mmio_off, last_mmio_value;
};

struct core {
	struct epoch *epoch;
	struct gmem *gmem;
	struct gmem_block *ram;
	struct loop *loop;
	struct vclock *clock;
	struct accel *accel;
	struct core_apic apic[CORE_CPUS];
	struct vcpu *vcpu[CORE_CPUS];
	u32 stop_value[CORE_CPUS];
	u64 mmio_value;
	unsigned mmio_reads, mmio_writes;
	u64 last_mmio;
	u16 last_port;
	u32 last_port_value;
	/* Told of writes to other ports; or NULL. */
	void (*on_port)(void *opaque, struct core *k, u16 port);
	void *on_port_opaque;
	/* Told of accesses outside RAM; or NULL. The same opaque. */
	void (*on_mmio)(void *opaque, struct core *k, gpa_t gpa);
};

void core_init(struct core *k);
void core_init_lockstep(struct core *k); /* one vCPU, in lockstep, whose clock is counted */
/* One vCPU, which translates all, and writes the names of its code to fd. */
void core_init_named(struct core *k, int fd);
void core_fini(struct core *k);

/* State of a vCPU: 64-bit kernel code at CORE_CODE, all RAM mapped at its own address by 2 MiB
 * pages, for user mode as well from CORE_DATA on; interrupts off. */
void core_long_mode(struct core *k, struct x86_cpu_state *s);
void core_protected_mode(struct core *k, struct x86_cpu_state *s); /* flat 32-bit, no paging */
void core_real_mode(struct core *k, struct x86_cpu_state *s);      /* CS 0x1000, IP 0 */
/* A 64-bit interrupt gate. */
void core_set_gate(struct core *k, unsigned vector, u64 offset, u16 selector, u8 ist, u8 type_dpl);

u8 *core_ram(struct core *k, u64 gpa);
void core_load(struct core *k, u64 gpa, const void *code, size_t size);
/* Runs vCPU 0 from s until it writes CORE_PORT_STOP; the state is then in s. */
enum vcpu_stop core_run(struct core *k, struct x86_cpu_state *s);
u64 core_count(struct core *k, enum sx_count which); /* vCPU 0's */
bool core_is_translated(struct core *k);             /* its code */

/* A piece of code in the test's source, by the assembler: CODE(name, "insns"). */
#define CODE(name_, text_)                                                                         \
	extern const u8 name_[], name_##_end[];                                                    \
	asm(".pushsection .rodata\n"                                                               \
	    ".globl " #name_ "\n" #name_ ":\n" text_ "\n"                                          \
	    ".globl " #name_ "_end\n" #name_ "_end:\n"                                             \
	    ".code64\n.popsection\n")
#define CODE_SIZE(name_) ((size_t)(name_##_end - name_))
#define STOP             "mov $0, %eax\n out %al, $0xf4\n"

#endif
