/*
 * Breakpoints in hot code: each is met as often as it should be, with RIP where it should be, and what has none stays
 * as it is, translated where there is a translator.
 */
#include "accel/soft/cpu.h"
#include "core_fixture.h"
#include "test.h"

#define HANDLER (CORE_CODE + 0x1000)

/* R12: how often; R8: the sum of RIPs; R9: all that DR6 had. Goes on, by RF, with the instruction that it came for. */
CODE(on_debug,
     "push %rax\n mov %dr6, %rax\n or %eax, %r9d\n mov $0xffff0ff0, %eax\n mov %rax, %dr6\n"
     "mov 8(%rsp), %rax\n add %rax, %r8\n inc %r12d\n orl $0x10000, 24(%rsp)\n pop %rax\n iretq\n");

static void begin(struct core *k, struct x86_cpu_state *s, const u8 *code, size_t size)
{
	core_init(k);
	core_long_mode(k, s);
	core_load(k, CORE_CODE, code, size);
	core_load(k, HANDLER, on_debug, CODE_SIZE(on_debug));
	core_set_gate(k, X86_DB, HANDLER, CORE_CS64, 0, 0x8e);
	s->gpr[X86_RDX] = 0;
}
#define BEGIN(k, s, code) begin(k, s, code, CODE_SIZE(code))

static void run(struct core *k, struct x86_cpu_state *s)
{
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
}

/* n times at that place, for breakpoints of these bits in DR6. */
static void check_met(const struct x86_cpu_state *s, u64 n, u64 place, u64 dr6)
{
	CHECK_EQ(s->gpr[X86_R12], n);
	CHECK_EQ(s->gpr[X86_R8], n * (CORE_CODE + place));
	CHECK_EQ(s->gpr[X86_R9] & 0xf00f, dr6);
}

/* Native code was left some times for each breakpoint that was met, not more. */
static void check_native(struct core *k, u64 n_met)
{
	if (!sx_cpu_of(k->vcpu[0])->native)
		return;
	CHECK(core_count(k, SX_N_TRANSLATED) > 2);
	CHECK(core_count(k, SX_N_CALLOUT_MEMORY) + core_count(k, SX_N_LEFT_GO_ON) +
		      core_count(k, SX_N_LEFT_STEP) <
	      n_met * 4 + 100);
}

#define PLACE(code, label)                                                                         \
	({                                                                                         \
		extern const u8 label[];                                                           \
		(u64)(label - code);                                                               \
	})
#define LABEL(name) ".globl " #name "\n" #name ": "

/* --- data --- */

CODE(hot_data,
     "mov $3000, %ebp\n 1: mov %ebp, %eax\n and $31, %eax\n jnz 2f\n incl 0x200010\n" LABEL(
	     hd_after) "2: add %eax, %ebx\n imul $3, %ebx, %ebx\n mov %ebx, 0x201000(,%rax,8)\n "
		       "dec %ebp\n jnz 1b\n" STOP);

TEST(a_data_breakpoint_leaves_hot_code_translated)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, hot_data);
	s.dr[0] = 0x200010;
	s.dr7 = 0xd0402; /* writes, 4 bytes */
	run(&k, &s);
	check_met(&s, 93, PLACE(hot_data, hd_after), 1);
	check_native(&k, 93);
	CHECK_EQ(*core_ram(&k, 0x200010), 93);
	core_fini(&k);
}

/* The trap of a string comes when the element was written, and the instruction goes on with the rest. */
CODE(data_string, "mov $20, %ebp\n 1: mov $0x200100, %edi\n mov $16, %ecx\n mov %ebp, %eax\n" LABEL(
			  ds_string) "rep stosb\n dec %ebp\n jnz 1b\n" STOP);

TEST(a_data_breakpoint_interrupts_strings)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, data_string);
	s.dr[2] = 0x200105;
	s.dr7 = 0x1000420; /* DR2: writes, 1 byte */
	run(&k, &s);
	check_met(&s, 20, PLACE(data_string, ds_string), 4);
	CHECK_EQ(*core_ram(&k, 0x20010f), 1);
	core_fini(&k);
}

/* A call that pushes there, which ends its block. */
CODE(data_call, "mov $200, %ebp\n 1: call 2f\n dec %ebp\n jnz 1b\n" STOP
		"0: jmp 0b\n" LABEL(dc_called) "2: inc %ebx\n ret\n");

TEST(a_data_breakpoint_on_the_stack_traps_behind_the_call)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, data_call);
	s.dr[1] = CORE_STACK - 8;
	s.dr7 = 0x900408; /* DR1: writes, 8 bytes */
	run(&k, &s);
	check_met(&s, 200, PLACE(data_call, dc_called), 2);
	CHECK_EQ(s.gpr[X86_RBX], 200);
	core_fini(&k);
}

/* A return that reads its frame, and changes the mode: nothing of where it leads to is executed before the trap. */
CODE(data_iret, "mov $40, %ebp\n 1: mov $0x208000, %esp\n iretq\n" LABEL(
			di_after) "inc %ebx\n dec %ebp\n jnz 1b\n" STOP);

TEST(a_data_breakpoint_on_the_frame_traps_behind_the_return)
{
	u64 frame[] = {CORE_CODE + PLACE(data_iret, di_after), CORE_CS64, X86_FLAG_ONE, CORE_STACK,
		       CORE_DS};
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, data_iret);
	core_load(&k, 0x208000, frame, sizeof(frame));
	s.dr[0] = 0x208000;
	s.dr7 = 0xb0401; /* reads and writes, 8 bytes */
	run(&k, &s);
	check_met(&s, 40, PLACE(data_iret, di_after), 1);
	CHECK_EQ(s.gpr[X86_RBX], 40);
	core_fini(&k);
}

/* What delivery touches is no instruction's, and nothing is left of it. */
CODE(data_frame, "mov $40, %ebp\n 1: int $0x50\n dec %ebp\n jnz 1b\n" STOP);
CODE(counts, "inc %ebx\n iretq\n");

TEST(a_data_breakpoint_on_what_delivery_touches_is_not_met)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, data_frame);
	core_load(&k, CORE_CODE + 0x2000, counts, CODE_SIZE(counts));
	core_set_gate(&k, 0x50, CORE_CODE + 0x2000, CORE_CS64, 0, 0x8e);
	s.dr[0] = CORE_IDT + 0x50 * 16;
	s.dr[1] = CORE_STACK - 8;
	s.dr7 = 0xdb0405; /* reads and writes of the gate, writes of the frame */
	run(&k, &s);
	check_met(&s, 0, 0, 0);
	CHECK_EQ(s.gpr[X86_RBX], 40);
	core_fini(&k);
}

/* --- code --- */

CODE(hot_code,
     "mov $1000, %ebp\n 1: lea 3(%rbp), %eax\n add %eax, %ebx\n jmp 3f\n .fill 200, 1, "
     "0x90\n" LABEL(
	     hc_place) "inc %ecx\n jmp 4f\n .fill 100, 1, 0x90\n 3: test $7, %bpl\n jz hc_place\n"
		       "4: dec %ebp\n jnz 1b\n" STOP);

TEST(a_code_breakpoint_leaves_other_code_translated)
{
	struct core k;
	struct x86_cpu_state s;
	u64 drops;

	BEGIN(&k, &s, hot_code);
	run(&k, &s); /* without */
	drops = core_count(&k, SX_N_BLOCK_DROP);
	core_long_mode(&k, &s);
	s.dr[3] = CORE_CODE + PLACE(hot_code, hc_place);
	s.dr7 = 0x480; /* G3 */
	run(&k, &s);
	check_met(&s, 125, PLACE(hot_code, hc_place), 8);
	CHECK_EQ(s.gpr[X86_RCX], 125);
	check_native(&k, 125);
	/* Without and with the same again: what was made is still there. */
	core_long_mode(&k, &s);
	run(&k, &s);
	CHECK_EQ(s.gpr[X86_R12], 0);
	core_long_mode(&k, &s);
	s.dr[3] = CORE_CODE + PLACE(hot_code, hc_place);
	s.dr7 = 0x480;
	run(&k, &s);
	check_met(&s, 125, PLACE(hot_code, hc_place), 8);
	CHECK_EQ(core_count(&k, SX_N_BLOCK_DROP), drops + 1);
	core_fini(&k);
}

/* The guest moves it from one instruction of the loop to the other, 10 times. */
CODE(moving, "mov $10, %edi\n lea mv_a(%rip), %rsi\n lea mv_b(%rip), %r13\n mov $0x402, %eax\n"
	     "0: mov %rsi, %dr0\n mov %rax, %dr7\n mov $50, %ebp\n 1: inc %ecx\n" LABEL(
		     mv_a) "inc %ebx\n add $5, %rdx\n" LABEL(mv_b) "sub $5, %rdx\n dec %ebp\n jnz "
								   "1b\n xchg %rsi, %r13\n"
								   "dec %edi\n jnz 0b\n" STOP);

TEST(code_breakpoints_that_change_are_met_where_they_are)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, moving);
	run(&k, &s);
	CHECK_EQ(s.gpr[X86_R12], 500);
	CHECK_EQ(s.gpr[X86_R8], 250 * (2 * CORE_CODE + PLACE(moving, mv_a) + PLACE(moving, mv_b)));
	CHECK_EQ(s.gpr[X86_RBX], 500);
	CHECK_EQ(s.gpr[X86_RDX], 0);
	core_fini(&k);
}

/* Behind POPF and STI the interpreter's block is over, and translated code goes on. */
CODE(behind_popf,
     "mov $100, %ebp\n 1: pushf\n popf\n" LABEL(bp_place) "inc %ebx\n dec %ebp\n jnz 1b\n" STOP);

TEST(a_code_breakpoint_behind_popf)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, behind_popf);
	s.dr[0] = CORE_CODE + PLACE(behind_popf, bp_place);
	s.dr7 = 0x402;
	run(&k, &s);
	check_met(&s, 100, PLACE(behind_popf, bp_place), 1);
	CHECK_EQ(s.gpr[X86_RBX], 100);
	core_fini(&k);
}

/* RF is for one instruction: IRET comes with it to the one before the breakpoint. */
/* clang-format off */
CODE(rf_once, "mov $50, %ebp\n 1: mov %rsp, %rcx\n pushq $0x10\n push %rcx\n pushf\n orl $0x10000, (%rsp)\n"
	"pushq $8\n lea 2f(%rip), %rax\n push %rax\n iretq\n 2: inc %ebx\n jmp rf_place\n .fill 100, 1, 0x90\n" LABEL(rf_place)
	"inc %edx\n dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(rf_holds_a_code_breakpoint_off_for_one_instruction)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, rf_once);
	s.dr[0] = CORE_CODE + PLACE(rf_once, rf_place);
	s.dr7 = 0x402;
	run(&k, &s);
	check_met(&s, 50, PLACE(rf_once, rf_place), 1);
	CHECK_EQ(s.gpr[X86_RBX], 50);
	CHECK_EQ(s.gpr[X86_RDX], 50);
	core_fini(&k);
}

/* An instruction across two pages: its first byte is the breakpoint's; one on its second page is none. */
CODE(crosses, "mov $60, %ebp\n jmp 1f\n .org crosses + 0xffd\n 1: add $0x11111111, %ebx\n dec "
	      "%ebp\n jnz 1b\n" STOP);

TEST(a_code_breakpoint_on_an_instruction_across_pages)
{
	for (unsigned n = 0; n < 2; n++) {
		struct core k;
		struct x86_cpu_state s;

		core_init(&k);
		core_long_mode(&k, &s);
		core_load(&k, CORE_CODE, crosses, CODE_SIZE(crosses));
		core_load(&k, HANDLER + 0x1000, on_debug, CODE_SIZE(on_debug));
		core_set_gate(&k, X86_DB, HANDLER + 0x1000, CORE_CS64, 0, 0x8e);
		s.dr[0] = CORE_CODE + (n ? 0x1000 : 0xffd);
		s.dr7 = 0x402;
		run(&k, &s);
		CHECK_EQ(s.gpr[X86_R12], n ? 0 : 60);
		CHECK_EQ(s.gpr[X86_RBX], (u32)(60 * 0x11111111u));
		core_fini(&k);
	}
}

CODE(looks_at_rf, "mov $40, %ebp\n 1: pushf\n pop %rbx\n dec %ebp\n jnz 1b\n" STOP);

TEST(rf_of_a_state_without_breakpoints_is_not_seen)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, looks_at_rf);
	s.rflags |= X86_FLAG_RF;
	run(&k, &s);
	CHECK(!(s.gpr[X86_RBX] & X86_FLAG_RF));
	core_fini(&k);
}
