/*
 * The FPU's state around instructions: who may execute when, pending exceptions, what faults leave
 * behind, where the registers are between instructions, FXSAVE, XSAVE and environment images. What
 * single instructions compute is test_simd.c's.
 */
#include "accel/soft/fpu.h"
#include "fake_core.h"
#include "test.h"

static struct fake_core core;

#define RUN(...)                                                                                   \
	fake_core_run(&core, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), true)

/* Instructions; the memory operand is at RDI. */
#define FLD1       0xd9, 0xe8
#define FLDZ       0xd9, 0xee
#define FCHS       0xd9, 0xe0
#define FDIVP      0xde, 0xf9
#define FDECSTP    0xd9, 0xf6
#define FWAIT      0x9b
#define FNOP       0xd9, 0xd0
#define FNINIT     0xdb, 0xe3
#define FNCLEX     0xdb, 0xe2
#define FLDCW_M    0xd9, 0x2f
#define FNSTCW_M   0xd9, 0x3f
#define FNSTSW_AX  0xdf, 0xe0
#define FSTP_M64   0xdd, 0x1f
#define FSTP_M32   0xd9, 0x1f
#define FSTP_M80   0xdb, 0x3f
#define FBSTP_M    0xdf, 0x37
#define FILD_M64   0xdf, 0x2f
#define FISTP_M32  0xdb, 0x1f
#define FNSTENV_M  0xd9, 0x37
#define FNSAVE_M   0xdd, 0x37
#define FRSTOR_M   0xdd, 0x27
#define EMMS       0x0f, 0x77
#define PADDB_MM   0x0f, 0xfc, 0xc1
#define MOVQ_MM_M  0x0f, 0x6f, 0x0f
#define ADDPS      0x0f, 0x58, 0xc1
#define ADDPS_M    0x0f, 0x58, 0x07
#define DIVSS      0xf3, 0x0f, 0x5e, 0xc1
#define PXOR       0x66, 0x0f, 0xef, 0xc0
#define MOVUPS_M   0x0f, 0x11, 0x07
#define LDMXCSR_M  0x0f, 0xae, 0x17
#define STMXCSR_M  0x0f, 0xae, 0x1f
#define FXSAVE_M   0x0f, 0xae, 0x07
#define FXRSTOR_M  0x0f, 0xae, 0x0f
#define FXSAVE64_M 0x48, 0x0f, 0xae, 0x07
#define XSAVE_M    0x0f, 0xae, 0x27
#define XSAVEOPT_M 0x0f, 0xae, 0x37
#define XRSTOR_M   0x0f, 0xae, 0x2f

static void setup(void)
{
	fake_core_init(&core);
	core.has_tlb = true;
	memset(core.page, 0, PAGE_SIZE);
	core.cpu->gpr[X86_RDI] = (u64)core.page;
}

static void point_at(unsigned off)
{
	core.cpu->gpr[X86_RDI] = (u64)core.page + off;
}

static struct sx_fpu *fpu(void)
{
	sx_fpu_sync(core.cpu);
	return &core.cpu->fpu;
}

static u64 mem(unsigned off, unsigned size)
{
	u64 v = 0;

	memcpy(&v, core.page + off, size);
	return v;
}

static void set_mem(unsigned off, u64 v, unsigned size)
{
	memcpy(core.page + off, &v, size);
}

/* --- who may execute when --- */

static void with_control(u64 cr0, u64 cr4_off)
{
	core.cpu->cr0 |= cr0;
	core.cpu->cr4 &= ~cr4_off;
}

TEST(cr0_and_cr4_decide_what_may_run)
{
	static const struct {
		u64 cr0, cr4_off;
		int x87, wait, mmx, sse, fxsave, xsave;
	} rows[] = {
		{0, 0, FAKE_NO_FAULT, FAKE_NO_FAULT, FAKE_NO_FAULT, FAKE_NO_FAULT, FAKE_NO_FAULT,
		 FAKE_NO_FAULT},
		{X86_CR0_TS, 0, X86_NM, X86_NM, X86_NM, X86_NM, X86_NM, X86_NM},
		{X86_CR0_EM, 0, X86_NM, FAKE_NO_FAULT, X86_UD, X86_UD, X86_UD, FAKE_NO_FAULT},
		{X86_CR0_EM | X86_CR0_TS, 0, X86_NM, X86_NM, X86_UD, X86_UD, X86_UD, X86_NM},
		{0, X86_CR4_OSFXSR, FAKE_NO_FAULT, FAKE_NO_FAULT, FAKE_NO_FAULT, X86_UD,
		 FAKE_NO_FAULT, FAKE_NO_FAULT},
		{0, X86_CR4_OSXSAVE, FAKE_NO_FAULT, FAKE_NO_FAULT, FAKE_NO_FAULT, FAKE_NO_FAULT,
		 FAKE_NO_FAULT, X86_UD},
	};

	setup();
	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		fake_core_reset(&core);
		core.cpu->gpr[X86_RDI] = (u64)core.page;
		with_control(rows[n].cr0, rows[n].cr4_off);
		CHECK_EQ(RUN(FLD1), rows[n].x87);
		CHECK_EQ(RUN(FNINIT), rows[n].x87);
		CHECK_EQ(RUN(FWAIT), rows[n].wait);
		CHECK_EQ(RUN(PADDB_MM), rows[n].mmx);
		CHECK_EQ(RUN(PXOR), rows[n].sse);
		CHECK_EQ(RUN(ADDPS), rows[n].sse);
		CHECK_EQ(RUN(STMXCSR_M), rows[n].sse);
		CHECK_EQ(RUN(FXSAVE_M), rows[n].fxsave);
		CHECK_EQ(RUN(XSAVE_M), rows[n].xsave);
	}
	fake_core_fini(&core);
}

TEST(a_changed_cr0_is_seen_after_a_sync)
{
	setup();
	CHECK_EQ(RUN(FLD1), FAKE_NO_FAULT);
	CHECK_EQ(RUN(ADDPS), FAKE_NO_FAULT);
	sx_fpu_sync(core.cpu);
	core.cpu->cr0 |= X86_CR0_TS;
	CHECK_EQ(RUN(FLD1), X86_NM);
	CHECK_EQ(RUN(ADDPS), X86_NM);
	fake_core_fini(&core);
}

TEST(wait_looks_at_ts_only_with_mp)
{
	setup();
	core.cpu->cr0 = (core.cpu->cr0 | X86_CR0_TS) & ~X86_CR0_MP;
	CHECK_EQ(RUN(FWAIT), FAKE_NO_FAULT);
	fake_core_fini(&core);
}

/* --- where the registers are --- */

TEST(registers_stay_in_the_host_between_instructions)
{
	setup();
	RUN(FLD1);
	RUN(FCHS);
	CHECK(core.cpu->fpu_live.x87);
	RUN(FSTP_M64);
	CHECK(core.cpu->fpu_live.x87);
	CHECK_EQ(mem(0, 8), 0xbff0000000000000);
	CHECK_EQ(fpu()->ftw, 0);
	CHECK(!core.cpu->fpu_live.x87);
	fake_core_fini(&core);
}

TEST(the_host_gets_its_own_control_words_back)
{
	u16 fcw, fsw;
	u32 mxcsr;

	setup();
	set_mem(0, 0x0f7f, 2);
	RUN(FLDCW_M);
	set_mem(0, 0xff80, 4);
	RUN(LDMXCSR_M);
	RUN(FLD1);
	RUN(ADDPS);
	CHECK(core.cpu->fpu_live.fp);
	sx_fpu_sync(core.cpu);
	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	__asm__ volatile("fnstsw %0" : "=m"(fsw));
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	CHECK_EQ(fcw, 0x37f);
	CHECK_EQ(fsw, 0);
	CHECK_EQ(mxcsr, X86_MXCSR_RESET);
	CHECK_EQ(fpu()->fcw, 0xf7f);
	CHECK_EQ(fpu()->mxcsr, 0xff80);
	fake_core_fini(&core);
}

TEST(mxcsr_is_the_same_whether_it_is_in_the_host_or_not)
{
	static const float one = 1, three = 3;

	setup();
	memcpy(core.cpu->fpu.xmm[0], &one, 4);
	memcpy(core.cpu->fpu.xmm[1], &three, 4);
	RUN(DIVSS);
	CHECK(core.cpu->fpu_live.fp);
	RUN(STMXCSR_M);
	CHECK_EQ(mem(0, 4), X86_MXCSR_RESET | SX_FP_PRECISION);
	sx_fpu_sync(core.cpu);
	set_mem(0, 0, 4);
	RUN(STMXCSR_M);
	CHECK_EQ(mem(0, 4), X86_MXCSR_RESET | SX_FP_PRECISION);
	fake_core_fini(&core);
}

TEST(mmx_takes_the_registers_and_emms_empties_them)
{
	setup();
	RUN(FLD1);
	RUN(FLDZ);
	set_mem(0, 0x1122334455667788, 8);
	RUN(MOVQ_MM_M);
	CHECK_EQ(fpu()->ftw, 0xff);
	CHECK_EQ(fpu()->fsw & SX_FSW_TOP, 0);
	CHECK_EQ(fpu()->st[1][0], 0x88);
	CHECK_EQ(fpu()->st[1][9], 0xff);
	/* FLD1 was register 7, FLDZ register 6. */
	CHECK_EQ(fpu()->st[7][9], 0x3f);
	CHECK_EQ(fpu()->st[6][9], 0);
	RUN(EMMS);
	CHECK_EQ(fpu()->ftw, 0);
	fake_core_fini(&core);
}

/* --- exceptions --- */

static void unmask_zero_divide(void)
{
	set_mem(0, 0x37b, 2);
	CHECK_EQ(RUN(FLDCW_M), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FLD1), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FLDZ), FAKE_NO_FAULT);
}

TEST(an_x87_exception_waits_for_the_next_waiting_instruction)
{
	setup();
	unmask_zero_divide();
	CHECK_EQ(RUN(FDIVP), FAKE_NO_FAULT);
	CHECK(!core.cpu->fpu_live.x87);
	CHECK_EQ(RUN(FNSTSW_AX), FAKE_NO_FAULT);
	CHECK_EQ(core.cpu->gpr[X86_RAX] & 0xffff, 0xb084); /* TOP 6 still: nothing was popped */
	CHECK_EQ(RUN(FNSTCW_M), FAKE_NO_FAULT);
	CHECK_EQ(mem(0, 2), 0x37b);
	CHECK_EQ(RUN(FLD1), X86_MF);
	CHECK_EQ(RUN(FWAIT), X86_MF);
	CHECK_EQ(RUN(FNOP), X86_MF);
	CHECK_EQ(RUN(FSTP_M64), X86_MF);
	CHECK_EQ(RUN(FLDCW_M), X86_MF);
	CHECK_EQ(RUN(PADDB_MM), X86_MF);
	CHECK_EQ(RUN(EMMS), X86_MF);
	CHECK_EQ(RUN(PXOR), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FXSAVE_M), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FNCLEX), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FWAIT), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FLD1), FAKE_NO_FAULT);
	fake_core_fini(&core);
}

TEST(an_exception_notes_opcode_and_address)
{
	static const u8 fdiv_m64[] = {0xdc, 0x77, 0x08}; /* FDIV qword [rdi + 8] */

	setup();
	unmask_zero_divide();
	CHECK_EQ(RUN(FLD1), FAKE_NO_FAULT);
	set_mem(8, 0, 8);
	core.cpu->gpr[SX_RIP] = 0x1234;
	CHECK_EQ(fake_core_run(&core, fdiv_m64, sizeof(fdiv_m64), true), FAKE_NO_FAULT);
	CHECK_EQ(fpu()->fop, 0x477);
	CHECK_EQ(fpu()->fip, 0x1234);
	CHECK_EQ(fpu()->fdp, (u64)core.page + 8);
	fake_core_fini(&core);
}

TEST(unmasking_a_noted_exception_raises_it)
{
	setup();
	RUN(FLD1);
	RUN(FLDZ);
	RUN(FDIVP); /* masked */
	set_mem(0, 0x37b, 2);
	CHECK_EQ(RUN(FLDCW_M), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FWAIT), X86_MF);
	fake_core_fini(&core);
}

TEST(a_pending_exception_is_seen_though_its_summary_bit_is_not_set)
{
	setup();
	core.cpu->fpu.fcw = 0x37b;
	core.cpu->fpu.fsw = SX_FP_ZERO;
	CHECK_EQ(RUN(FWAIT), X86_MF);
	core.cpu->fpu.fsw = SX_FP_ZERO;
	CHECK_EQ(RUN(FLD1), X86_MF);
	core.cpu->fpu.fsw = SX_FP_ZERO;
	CHECK_EQ(RUN(PADDB_MM), X86_MF);
	fake_core_fini(&core);
}

TEST(without_ne_an_x87_exception_is_not_reported)
{
	setup();
	core.cpu->cr0 &= ~X86_CR0_NE;
	unmask_zero_divide();
	CHECK_EQ(RUN(FDIVP), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FWAIT), FAKE_NO_FAULT);
	CHECK_EQ(RUN(FLD1), FAKE_NO_FAULT);
	fake_core_fini(&core);
}

TEST(an_sse_exception_is_xm_or_ud_and_changes_no_register)
{
	static const float one = 1;

	setup();
	set_mem(0, 0x1d80, 4); /* ZM clear */
	RUN(LDMXCSR_M);
	memcpy(core.cpu->fpu.xmm[0], &one, 4);
	CHECK_EQ(RUN(DIVSS), X86_XM);
	CHECK_EQ(fpu()->mxcsr, 0x1d84);
	CHECK_MEM(fpu()->xmm[0], &one, 4);
	core.cpu->cr4 &= ~X86_CR4_OSXMMEXCPT;
	CHECK_EQ(RUN(DIVSS), X86_UD);
	fake_core_fini(&core);
}

TEST(reserved_bits_of_mxcsr_are_refused)
{
	setup();
	set_mem(0, 0x11f80, 4);
	CHECK_EQ(RUN(LDMXCSR_M), X86_GP);
	CHECK_EQ(fpu()->mxcsr, X86_MXCSR_RESET);
	fake_core_fini(&core);
}

/* --- faults of the operand --- */

TEST(a_page_fault_leaves_the_stack_as_it_was)
{
	static const u8 stores[][2] = {{FSTP_M32},  {FSTP_M64}, {FSTP_M80}, {FBSTP_M},
				       {FISTP_M32}, {FNSAVE_M}, {FNSTENV_M}};

	setup();
	for (unsigned n = 0; n < ARRAY_SIZE(stores); n++) {
		RUN(FNINIT);
		RUN(FLD1);
		point_at(PAGE_SIZE - 1);
		CHECK_EQ(fake_core_run(&core, stores[n], 2, true), X86_PF);
		CHECK_EQ(fpu()->ftw, 0x80);
		CHECK_EQ(fpu()->fsw & SX_FSW_TOP, 7 << SX_FSW_TOP_SHIFT);
		CHECK_EQ(fpu()->fcw, SX_FCW_INIT);
	}
	CHECK_EQ(RUN(MOVQ_MM_M), X86_PF);
	CHECK_EQ(fpu()->ftw, 0x80);
	CHECK_EQ(RUN(ADDPS_M), X86_GP); /* alignment comes first */
	CHECK_EQ(RUN(MOVUPS_M), X86_PF);
	fake_core_fini(&core);
}

TEST(availability_comes_before_the_operands_faults)
{
	setup();
	core.cpu->cr0 |= X86_CR0_TS;
	point_at(PAGE_SIZE - 1);
	CHECK_EQ(RUN(FSTP_M64), X86_NM);
	CHECK_EQ(RUN(MOVUPS_M), X86_NM);
	CHECK_EQ(RUN(ADDPS_M), X86_NM);
	fake_core_fini(&core);
}

/* --- images --- */

TEST(the_environment_has_four_layouts)
{
	static const struct {
		u32 mode;
		u8 insn[3];
		u8 len;
		u8 env[28];
	} rows[] = {
		{SX_MODE_PE | SX_MODE_32, {FNSTENV_M}, 2, {0x7f, 3,    0xff, 0xff, 0,    0x38,
							   0xff, 0xff, 0xff, 0x3f, 0xff, 0xff,
							   0x78, 0x56, 0x34, 0x12, 0,    0,
							   0xcd, 3,    0x21, 0x43, 0x65, 7,
							   0,    0,    0xff, 0xff}},
		{SX_MODE_PE | SX_MODE_32,
		 {0x66, FNSTENV_M},
		 3,
		 {0x7f, 3, 0, 0x38, 0xff, 0x3f, 0x78, 0x56, 0, 0, 0x21, 0x43, 0, 0}},
		{0, {0x66, 0xd9, 0x35}, 3, {0x7f, 3,    0xff, 0xff, 0, 0x38, 0xff, 0xff, 0xff, 0x3f,
					    0xff, 0xff, 0x78, 0x56, 0, 0,    0xcd, 0x43, 0x23, 1,
					    0x21, 0x43, 0,    0,    0, 0x50, 0x76, 0}},
		{0,
		 {0xd9, 0x35},
		 2,
		 {0x7f, 3, 0, 0x38, 0xff, 0x3f, 0x78, 0x56, 0xcd, 0x43, 0x21, 0x43, 0, 0x50}},
	};

	setup();
	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		u64 base = (u64)core.page;

		RUN(FNINIT);
		RUN(FLD1);
		fpu()->fip = 0x12345678;
		fpu()->fdp = 0x07654321;
		fpu()->fop = 0x3cd;
		memset(core.page, 0, 64);
		core.cpu->mode = rows[n].mode;
		/* The address size cuts RDI: let the segment's base make up for it. */
		core.cpu->gpr[X86_RDI] = 0;
		core.cpu->seg_base[X86_DS] = base;
		CHECK_EQ(fake_core_run(&core, rows[n].insn, rows[n].len, true), FAKE_NO_FAULT);
		CHECK_MEM(core.page, rows[n].env, 28);
		core.cpu->mode = SX_MODE_64 | SX_MODE_PE;
		core.cpu->seg_base[X86_DS] = 0;
		core.cpu->gpr[X86_RDI] = base;
	}
	fake_core_fini(&core);
}

TEST(fnsave_empties_and_frstor_brings_back)
{
	setup();
	RUN(FLD1);
	RUN(FLDZ);
	RUN(FDECSTP);
	RUN(FNSAVE_M);
	CHECK_EQ(fpu()->fcw, SX_FCW_INIT);
	CHECK_EQ(fpu()->fsw, 0);
	CHECK_EQ(fpu()->ftw, 0);
	RUN(FRSTOR_M);
	CHECK_EQ(fpu()->fsw & SX_FSW_TOP, 5 << SX_FSW_TOP_SHIFT);
	CHECK_EQ(fpu()->ftw, 0xc0);
	CHECK_EQ(fpu()->st[2][9], 0x3f);
	fake_core_fini(&core);
}

TEST(outside_64_bit_code_fxsave_shows_eight_registers)
{
	setup();
	memset(core.page, 0x55, PAGE_SIZE);
	memset(core.cpu->fpu.xmm, 0x11, sizeof(core.cpu->fpu.xmm));
	core.cpu->mode = SX_MODE_32 | SX_MODE_PE;
	core.cpu->gpr[X86_RDI] = 0;
	core.cpu->seg_base[X86_DS] = (u64)core.page;
	CHECK_EQ(RUN(FXSAVE_M), FAKE_NO_FAULT);
	CHECK_EQ(core.page[X86_FXSAVE_XMM0 + 127], 0x11);
	CHECK_EQ(core.page[X86_FXSAVE_XMM0 + 128], 0x55);
	memset(core.page + X86_FXSAVE_XMM0, 0x22, 256);
	CHECK_EQ(RUN(FXRSTOR_M), FAKE_NO_FAULT);
	CHECK_EQ(fpu()->xmm[7][0], 0x22);
	CHECK_EQ(fpu()->xmm[8][0], 0x11);
	fake_core_fini(&core);
}

TEST(fxsave_wants_alignment_and_cuts_pointers_without_rex_w)
{
	setup();
	point_at(8);
	CHECK_EQ(RUN(FXSAVE_M), X86_GP);
	point_at(0);
	core.cpu->fpu.fip = 0x123456789abc;
	CHECK_EQ(RUN(FXSAVE_M), FAKE_NO_FAULT);
	CHECK_EQ(mem(8, 8), 0x56789abc);
	CHECK_EQ(RUN(FXSAVE64_M), FAKE_NO_FAULT);
	CHECK_EQ(mem(8, 8), 0x123456789abc);
	fake_core_fini(&core);
}

static void set_rfbm(u64 rfbm)
{
	core.cpu->gpr[X86_RAX] = rfbm;
	core.cpu->gpr[X86_RDX] = 0;
}

TEST(xsave_writes_what_was_asked_for_and_says_what_is_in_use)
{
	setup();
	memset(core.page, 0x55, PAGE_SIZE);
	set_mem(X86_XSAVE_HEADER, 7, 8);
	memset(core.cpu->fpu.xmm[15], 0x11, 16);
	set_rfbm(X86_XCR0_X87 | X86_XCR0_SSE);
	CHECK_EQ(RUN(XSAVE_M), FAKE_NO_FAULT);
	/* x87 is as FNINIT left it; AVX was not asked for. */
	CHECK_EQ(mem(X86_XSAVE_HEADER, 8), X86_XCR0_SSE | X86_XCR0_AVX);
	CHECK_EQ(mem(0, 2), SX_FCW_INIT);
	CHECK_EQ(mem(X86_FXSAVE_MXCSR, 8), 0xffff00001f80);
	CHECK_EQ(core.page[X86_FXSAVE_XMM0 + 255], 0x11);
	CHECK_EQ(core.page[X86_FXSAVE_XMM0 + 256], 0x55);
	CHECK_EQ(core.page[X86_XSAVE_HEADER + 8], 0x55);
	CHECK_EQ(core.page[X86_XSAVE_YMM], 0x55);

	set_rfbm(X86_XCR0_AVX);
	set_mem(0, 0x5555, 2);
	CHECK_EQ(RUN(XSAVE_M), FAKE_NO_FAULT);
	CHECK_EQ(mem(X86_XSAVE_HEADER, 8), X86_XCR0_SSE);
	CHECK_EQ(mem(0, 2), 0x5555);
	CHECK_EQ(core.page[X86_XSAVE_YMM], 0);
	CHECK_EQ(core.page[X86_XSAVE_YMM + 256], 0x55);
	fake_core_fini(&core);
}

TEST(xsaveopt_leaves_out_what_is_not_in_use)
{
	setup();
	memset(core.page, 0x55, PAGE_SIZE);
	set_mem(X86_XSAVE_HEADER, 0, 8);
	RUN(FLD1);
	set_rfbm(7);
	CHECK_EQ(RUN(XSAVEOPT_M), FAKE_NO_FAULT);
	CHECK_EQ(mem(X86_XSAVE_HEADER, 8), X86_XCR0_X87);
	CHECK_EQ(mem(0, 2), SX_FCW_INIT);
	CHECK_EQ(mem(X86_FXSAVE_MXCSR, 4), X86_MXCSR_RESET);
	CHECK_EQ(core.page[X86_FXSAVE_XMM0], 0x55);
	CHECK_EQ(core.page[X86_XSAVE_YMM], 0x55);
	fake_core_fini(&core);
}

TEST(xrstor_brings_back_or_initializes)
{
	struct sx_fpu before;

	setup();
	RUN(FLD1);
	memset(core.cpu->fpu.xmm, 0x11, sizeof(core.cpu->fpu.xmm));
	memset(core.cpu->fpu.ymm_high, 0x22, sizeof(core.cpu->fpu.ymm_high));
	set_rfbm(7);
	CHECK_EQ(RUN(XSAVE_M), FAKE_NO_FAULT);
	before = *fpu();
	RUN(FLDZ);
	RUN(PXOR);
	CHECK_EQ(RUN(XRSTOR_M), FAKE_NO_FAULT);
	CHECK_MEM(fpu(), &before, X86_FXSAVE_SIZE);
	CHECK_MEM(fpu()->ymm_high, before.ymm_high, sizeof(before.ymm_high));

	set_mem(X86_XSAVE_HEADER, 0, 8);
	CHECK_EQ(RUN(XRSTOR_M), FAKE_NO_FAULT);
	CHECK_EQ(fpu()->fcw, SX_FCW_INIT);
	CHECK_EQ(fpu()->ftw, 0);
	CHECK_EQ(fpu()->st[0][9], 0);
	CHECK_EQ(fpu()->xmm[3][0], 0);
	CHECK_EQ(fpu()->ymm_high[3][0], 0);
	fake_core_fini(&core);
}

TEST(xrstor_refuses_bad_images)
{
	setup();
	set_rfbm(7);
	CHECK_EQ(RUN(XSAVE_M), FAKE_NO_FAULT);
	set_mem(X86_XSAVE_HEADER, 0x10, 8); /* not in XCR0 */
	CHECK_EQ(RUN(XRSTOR_M), X86_GP);
	set_mem(X86_XSAVE_HEADER, 7, 8);
	set_mem(X86_XSAVE_HEADER + 8, 1ul << 63, 8); /* compacted */
	CHECK_EQ(RUN(XRSTOR_M), X86_GP);
	set_mem(X86_XSAVE_HEADER + 8, 0, 8);
	set_mem(X86_XSAVE_HEADER + 16, 1, 8);
	CHECK_EQ(RUN(XRSTOR_M), X86_GP);
	set_mem(X86_XSAVE_HEADER + 16, 0, 8);
	set_mem(X86_FXSAVE_MXCSR, 0x10000, 4);
	CHECK_EQ(RUN(XRSTOR_M), X86_GP);
	set_mem(X86_FXSAVE_MXCSR, X86_MXCSR_RESET, 4);
	CHECK_EQ(RUN(XRSTOR_M), FAKE_NO_FAULT);
	point_at(32);
	CHECK_EQ(RUN(XRSTOR_M), X86_GP);
	CHECK_EQ(RUN(XSAVE_M), X86_GP);
	fake_core_fini(&core);
}
