/*
 * The instruction oracle: what an instruction does on this machine's CPU, against what the software
 * CPU makes of it.
 *
 * A case is one user-mode instruction, 64-bit or 32-bit code, with the state it begins in: general
 * registers, flags, x87 and SSE state, and a small piece of memory at fixed addresses. gen.c makes
 * cases from the instruction table; native.c runs them in this process (signals tell how they
 * end), soft.c in a bare guest whose kernel is a page of OUT instructions; compare.c judges. The
 * instruction is surrounded by INT3, so that whatever it does ends in an exception.
 */
#ifndef TESTS_GUEST_ORACLE_ORACLE_H
#define TESTS_GUEST_ORACLE_ORACLE_H

#include "accel/soft/decode.h"
#include "arch/x86/cpu_state.h"
#include "base/base.h"

/* Where things are, in this process and in the guest. Nothing else may be mapped in
 * ORACLE_SAFE_BEGIN to _END, so that a wild access faults in both. */
#define ORACLE_SAFE_BEGIN 0x30000000ul
#define ORACLE_CODE       0x40000000ul
#define ORACLE_CODE_SIZE  (2 * PAGE_SIZE)
#define ORACLE_DATA       0x50000000ul
#define ORACLE_DATA_RW    (4 * PAGE_SIZE)
#define ORACLE_DATA_SIZE  (5 * PAGE_SIZE) /* the last one is read-only */
#define ORACLE_SAFE_END   0x7ff00000ul

#define ORACLE_CS64 0x33 /* Linux's user segments, which the guest has too */
#define ORACLE_CS32 0x23
#define ORACLE_SS   0x2b

#define ORACLE_CPU_SEGMENT 0x7b /* Linux's, whose limit is the CPU's number */

/* Code in which a case may stand. The last two have segments of their own, with bases and limits,
 * in a local descriptor table. */
enum oracle_mode {
	ORACLE_64,
	ORACLE_32,
	ORACLE_32_SEGMENTED,
	ORACLE_16,
	ORACLE_MODES,
};
#define ORACLE_LDT_CODE16  0x07
#define ORACLE_LDT_CODE32  0x0f
#define ORACLE_LDT_DATA32  0x17
#define ORACLE_LDT_DATA16  0x1f
#define ORACLE_LDT_GS      0x27 /* from ORACLE_DATA_GS, ORACLE_GS_SIZE bytes */
#define ORACLE_LDT_ENTRIES 5
#define ORACLE_GS_OFFSET   0x800
#define ORACLE_GS_SIZE     0x2000

#define ORACLE_PATCHES 5

/* Bytes of the data that this case wants to have special values. */
struct oracle_patch {
	u32 off, size;
	u8 bytes[576];
};

struct oracle_case {
	u64 number;
	enum oracle_mode mode;
	unsigned bits; /* 64, 32, 16 */
	u8 code[16];
	unsigned len;
	u64 rip;             /* in the code segment */
	u64 code_base;       /* of CS */
	u64 data_base;       /* of DS, ES, SS */
	u16 cs, ss, ds, gs;  /* selectors; ES is DS */
	struct sx_insn insn; /* form 0: the bytes are no instruction */
	u64 gpr[X86_GPRS];
	u64 rflags;
	u64 gs_base;
	u8 fx[X86_FXSAVE_SIZE] __attribute__((aligned(64)));
	u8 ymm_high[16][16];
	unsigned n_patches;
	struct oracle_patch patches[ORACLE_PATCHES];
};

/* What everything ended in: an exception, always. */
struct oracle_result {
	u64 gpr[X86_GPRS];
	u64 rip, rflags;
	u16 cs, ss, ds, es, fs, gs;
	u64 fs_base, gs_base;
	u8 vector;
	u32 error;
	u64 cr2; /* page faults */
	u8 fx[X86_FXSAVE_SIZE] __attribute__((aligned(64)));
	u8 ymm_high[16][16]; /* zeros where the host has none */
	const u8 *data;      /* ORACLE_DATA_SIZE bytes, until the next run */
	bool is_hung;
	bool is_broken; /* the engine gave up; not a result */
};

struct oracle_rng {
	u64 state;
};

u64 oracle_random(struct oracle_rng *r);
static inline u64 oracle_below(struct oracle_rng *r, u64 n)
{
	return oracle_random(r) % n;
}
/* True once in n times. */
static inline bool oracle_chance(struct oracle_rng *r, u64 n)
{
	return oracle_below(r, n) == 0;
}

/* --- values.c: operands worth trying --- */

u64 oracle_value(struct oracle_rng *r);
void oracle_fill_floats(struct oracle_rng *r, u8 *p, unsigned size); /* float or double */
void oracle_fill_extended(struct oracle_rng *r, u8 *p);              /* 10 bytes */
void oracle_fill_bcd(struct oracle_rng *r, u8 *p);                   /* 10 bytes */
void oracle_fill_fx(struct oracle_rng *r, u8 *fx, bool is_float);    /* x87, MXCSR, XMM */
void oracle_fill_vector(struct oracle_rng *r, u8 *p, bool is_float); /* 16 bytes */
void oracle_fill_memory(struct oracle_rng *r, u8 *p, u64 size);

/* --- gen.c --- */

/* Why a form isn't run here; NULL when it is. */
const char *oracle_excuse(const struct sx_form *f);
/* A case of this form. False: this try gave none. */
bool oracle_generate(struct oracle_rng *r, u16 form, enum oracle_mode mode, u64 features,
		     struct oracle_case *out);
/* The linear address of the memory operand, as the registers are now; 0: there is none. */
u64 oracle_address(const struct oracle_case *c);

/* --- prepare.c --- */

/* Gives the operands values that suit the operation. target: where the memory operand is to be;
 * for gen.c, which places the address registers afterwards. */
void oracle_prepare(struct oracle_rng *r, struct oracle_case *c, u64 target);
/* Where control may go, in the case's code segment: an INT3, or (rarely) nothing. */
u64 oracle_code_target(struct oracle_rng *r, const struct oracle_case *c);
void oracle_patch(struct oracle_case *c, u64 address, const void *bytes, u32 size);

/* --- native.c --- */

/* 0 or a negative errno, with words on stderr. image: ORACLE_DATA_SIZE bytes of data that each
 * case begins with, before its patches; borrowed. */
int oracle_native_init(const u8 *image);
void oracle_native_run(const struct oracle_case *c, struct oracle_result *out);
/* The local descriptor table, as the host's kernel made it. */
void oracle_native_ldt(u64 out[ORACLE_LDT_ENTRIES]);
u64 oracle_native_fs_base(void);
/* The descriptor behind ORACLE_CPU_SEGMENT; 0: there is none. */
u64 oracle_native_cpu_segment(void);
u64 oracle_native_features(void); /* of this host: BIT(enum sx_feature) */

/* --- soft.c --- */

struct oracle_soft;

int oracle_soft_new(const u8 *image, u64 fs_base, bool is_translated, struct oracle_soft **out);
void oracle_soft_free(struct oracle_soft *s);
u64 oracle_soft_features(const struct oracle_soft *s); /* BIT(enum sx_feature) */
void oracle_soft_run(struct oracle_soft *s, const struct oracle_case *c, struct oracle_result *out);

/* --- vendor.c --- */

/* image: as oracle_native_init()'s. */
void oracle_vendor_init(const u8 *image);
/* Can this host be asked for what Intel's processors do? */
bool oracle_vendor_runs(const struct oracle_case *c);
/* The case that this host is given instead. */
void oracle_vendor_disguise(const struct oracle_case *c, struct oracle_case *out);
/* What its result means for the case itself; changes the native side's data as well. */
void oracle_vendor_settle(const struct oracle_case *c, struct oracle_result *native);

/* --- compare.c --- */

/* Prints what differs, when anything does that the architecture defines; returns whether. */
bool oracle_differs(const struct oracle_case *c, const struct oracle_result *native,
		    const struct oracle_result *soft, bool is_quiet);
void oracle_print_case(const struct oracle_case *c);

#endif
