/*
 * Code whose CS has a base or a limit, of 16 and 32 bits, on both engines and in lockstep: what it computes, that it
 * is translated, where RIP and offsets wrap, what limits forbid and with what state, one piece of code under several
 * bases and at several linear addresses.
 */
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "modes_fixture.h"
#include "test.h"

static u64 callouts(struct core *k)
{
	return core_count(k, SX_N_CALLOUT_MEMORY) + core_count(k, SX_N_CALLOUT_UNKNOWN);
}

/* Nearly all of it ran as host code: n instructions at least, and hardly a callout or an exit. */
static void check_native(struct core *k, u64 n)
{
	u64 left = core_count(k, SX_N_LEFT_GO_ON) + core_count(k, SX_N_LEFT_LINK) +
		   core_count(k, SX_N_LEFT_STEP);

	if (!core_is_translated(k))
		return;
	CHECK(core_count(k, SX_N_TRANSLATED) > 2);
	CHECK(callouts(k) + left < n / 20);
}

/* --- modes: CS at CORE_CODE, data segments from 0x20000 --- */

#define DATA     0x20000u
#define SEL_CODE 0x48 /* of CORE_GDT: what the modes below have */
#define SEL_DATA 0x50

static struct x86_segment segment(u32 base, u32 limit, u32 attr, u16 selector)
{
	return (struct x86_segment){
		.base = base, .limit = limit, .attr = attr, .selector = selector};
}

static void set_data(struct x86_cpu_state *s, struct x86_segment data)
{
	s->seg[X86_DS] = s->seg[X86_ES] = s->seg[X86_SS] = data;
}

static void real_mode(struct core *k, struct x86_cpu_state *s)
{
	core_real_mode(k, s);
	set_data(s, segment(DATA, 0xffff, 0x93, DATA >> 4));
}

/* Descriptors for what a gate's handler comes back to. */
static void store_descriptor(struct core *k, u16 selector, const struct x86_segment *seg)
{
	u64 d = (seg->limit & 0xffff) | (u64)(seg->base & 0xffffff) << 16 |
		(u64)(seg->attr & 0xf0ff) << 40 | (u64)(seg->limit >> 16 & 15) << 48 |
		(u64)(seg->base >> 24) << 56;

	memcpy(core_ram(k, CORE_GDT + (selector & ~7u)), &d, sizeof(d));
}

static void protected_mode(struct core *k, struct x86_cpu_state *s, u32 code_limit, u32 big)
{
	core_protected_mode(k, s);
	s->seg[X86_CS] = segment(CORE_CODE, code_limit, 0x9b | big, SEL_CODE);
	set_data(s, segment(DATA, 0xffff, 0x93 | big, SEL_DATA));
	store_descriptor(k, SEL_CODE, &s->seg[X86_CS]);
	store_descriptor(k, SEL_DATA, &s->seg[X86_DS]);
	s->gdt.limit = 0x5f;
	s->rip = 0;
	s->gpr[X86_RSP] = 0x8000;
}

static void protected_16(struct core *k, struct x86_cpu_state *s)
{
	protected_mode(k, s, 0xffff, 0);
}

static void protected_32(struct core *k, struct x86_cpu_state *s)
{
	protected_mode(k, s, 0xffff, 0x4000);
}

/* 0x40 bytes of code. */
static void short_16(struct core *k, struct x86_cpu_state *s)
{
	protected_mode(k, s, 0x3f, 0);
}

/* Non-PAE paging: all at its own address, but for 2 pages: 0x40000 and 0x50000 are where CORE_CODE is, too. */
static void page_at_own_address(struct core *k, struct x86_cpu_state *s)
{
	for (u32 n = 0; n < 1024; n++)
		memcpy(core_ram(k, CORE_TABLES + 0x1000 + n * 4), &(u32){n << 12 | 7}, 4);
	memcpy(core_ram(k, CORE_TABLES + 0x1000 + 0x40 * 4), &(u32){CORE_CODE | 7}, 4);
	memcpy(core_ram(k, CORE_TABLES + 0x1000 + 0x50 * 4), &(u32){CORE_CODE | 7}, 4);
	memcpy(core_ram(k, CORE_TABLES), &(u32){(CORE_TABLES + 0x1000) | 7}, 4);
	s->cr3 = CORE_TABLES;
	s->cr0 |= X86_CR0_PG;
}

/* The same with PAE's tables. */
static void page_pae(struct core *k, struct x86_cpu_state *s)
{
	const u64 directory = CORE_TABLES + 0x1000, table = CORE_TABLES + 0x2000;

	for (u64 n = 0; n < 512; n++)
		memcpy(core_ram(k, table + n * 8), &(u64){n << 12 | 7}, 8);
	memcpy(core_ram(k, table + 0x40 * 8), &(u64){CORE_CODE | 7}, 8);
	memcpy(core_ram(k, table + 0x50 * 8), &(u64){CORE_CODE | 7}, 8);
	memcpy(core_ram(k, directory), &(u64){table | 7}, 8);
	s->pae_pdpte[0] = directory | 1;
	memcpy(core_ram(k, CORE_TABLES), &s->pae_pdpte[0], 8);
	s->cr3 = CORE_TABLES;
	s->cr4 |= X86_CR4_PAE;
	s->cr0 |= X86_CR0_PG;
}

static void virtual_8086(struct core *k, struct x86_cpu_state *s)
{
	core_protected_mode(k, s);
	page_pae(k, s);
	for (unsigned n = 0; n < X86_SEGS; n++)
		s->seg[n] = segment(DATA, 0xffff, 0xf3, DATA >> 4);
	s->seg[X86_CS] = segment(CORE_CODE, 0xffff, 0xf3, CORE_CODE >> 4);
	s->rflags |= X86_FLAG_VM | X86_FLAG_IOPL;
	memcpy(core_ram(k, CORE_TSS + 8), &(u16){CORE_DS}, 2); /* SS0 */
	/* Its ports may be used. */
	memset(core_ram(k, CORE_TSS + 0x68), 0, 0x20);
	memcpy(core_ram(k, CORE_TSS + 0x66), &(u16){0x68}, 2);
	s->tr.limit = 0x100;
	s->rip = 0;
	s->gpr[X86_RSP] = 0x8000;
}

/* --- all registers, and flags, on the stack --- */

/*
 * SI has how often flags came back with CF and DF, DI how often registers did. Once, SP is 8 where they
 * may wrap around the segment's end.
 */
/* clang-format off */
#define ON_STACK(count_, low_, once_)                                                              \
	"mov $200, %bp\n xor %si, %si\n xor %di, %di\n"                                            \
	"1: stc\n std\n pushf" #count_ "\n cld\n clc\n popf" #count_ "\n adc $0, %si\n pushf" #count_ "\n" \
	"pop" #low_ "\n cld\n and $0x400, %ax\n jz 9f\n inc %si\n 9: mov $0x1234, %bx\n mov %bp, %cx\n"   \
	"pusha" #count_ "\n xor %bx, %bx\n xor %cx, %cx\n inc %si\n popa" #count_ "\n"              \
	"cmp $0x1234, %bx\n jne 2f\n cmp %bp, %cx\n jne 2f\n inc %di\n"                            \
	"2: cmp $100, %bp\n jne 3f\n mov $" once_ ", %sp\n pusha" #count_ "\n popa" #count_ "\n mov $0x8000, %sp\n"         \
	"3: dec %bp\n jnz 1b\n" STOP
CODE(on_stack_w, ".code16\n" ON_STACK(w, w %ax, "8"));
CODE(on_stack_l, ".code16\n" ON_STACK(l, l %eax, "8"));
CODE(on_stack_32, ".code32\n" ON_STACK(l, l %eax, "0x100"));
/* clang-format on */

static void check_on_stack(const struct program *p, bool is_lockstep, u64 at)
{
	struct core k;
	struct x86_cpu_state s;
	u16 cx;

	program_begin(&k, &s, p, is_lockstep);
	program_run(&k, &s);
	CHECK_EQ((u16)s.gpr[X86_RSI], 400);
	CHECK_EQ((u16)s.gpr[X86_RDI], 200);
	CHECK_EQ((u16)s.gpr[X86_RSP], 0x8000);
	memcpy(&cx, core_ram(&k, DATA + at), sizeof(cx));
	CHECK_EQ(cx, 100);
	if (!is_lockstep)
		check_native(&k, 200 * 25);
	core_fini(&k);
}

TEST(all_registers_and_flags_on_the_stack)
{
	EACH_WAY(is_lockstep)
	{
		check_on_stack(PROGRAM(real_mode, on_stack_w), is_lockstep, 4);
		check_on_stack(PROGRAM(real_mode, on_stack_l), is_lockstep, 0);
		check_on_stack(PROGRAM(protected_16, on_stack_w), is_lockstep, 4);
		check_on_stack(PROGRAM(protected_16, on_stack_l), is_lockstep, 0);
		check_on_stack(PROGRAM(protected_32, on_stack_32), is_lockstep, 0xf8);
	}
}

/* --- what it computes --- */

/* Addresses of all forms, overrides, both operand sizes, calls and returns of both, far ones, counted loops; 500
 * times. Code and data segment differ by 0x10000. */
/* clang-format off */
CODE(all16, ".code16\n mov $500, %bp\n xor %ebx, %ebx\n xor %di, %di\n movw $7, 0x100\n movl $0x10001, 0x104\n"
	"1: mov $0x100, %si\n add (%si), %bx\n add 4(%si), %ebx\n mov %bx, 0x10(%si)\n movb %bl, 0x20(%si)\n"
	"mov %cs:9f - all16, %ax\n add %ax, %bx\n mov $2, %di\n add %cs:9f - all16(%di), %bx\n"
	"push %bx\n push $3\n pushl $5\n call 2f\n pop %ax\n add %ax, %bx\n add $6, %sp\n"
	"calll 3f\n mov $4f - all16, %ax\n call *%ax\n movw $4f - all16, 0x200\n call *0x200\n"
	"mov %sp, %cx\n push %sp\n pop %ax\n sub %cx, %ax\n add %ax, %bx\n"
	"enter $8, $0\n movw $9, -4(%bp)\n add -4(%bp), %bx\n leave\n"
	"movl $0x100, %ecx\n addr32 add (%ecx), %bx\n addr32 lea 3(%ecx,%ecx,2), %cx\n add %cx, %bx\n"
	"lea 0x8000(%bx), %ax\n lea 0x8000(%bx), %ecx\n xor %ecx, %ebx\n"
	"mov $3, %cx\n 5: add %cx, %bx\n loop 5b\n jcxz 6f\n ud2\n"
	"6: test %bx, %bx\n js 7f\n inc %bx\n 7: mov $100, %ax\n mov $7, %cl\n div %cl\n add %ah, %bl\n"
	"dec %bp\n jnz 8f\n" STOP "0: jmp 0b\n 8: jmp 1b\n"
	"2: push %bp\n mov %sp, %bp\n add 4(%bp), %bx\n pop %bp\n ret $0\n"
	"3: inc %ebx\n retl\n 4: shl $1, %bx\n ret\n 9: .word 21, 5\n");
/* clang-format on */

static u64 all16_in(set_mode *mode, bool is_lockstep)
{
	struct core k;
	struct x86_cpu_state s;

	program_begin(&k, &s, PROGRAM(mode, all16), is_lockstep);
	program_run(&k, &s);
	CHECK_EQ((u16)s.gpr[X86_RSP], 0x8000);
	if (!is_lockstep)
		check_native(&k, 500 * 70 * 4); /* ENTER, LOOP, JCXZ and far ones are callouts */
	core_fini(&k);
	return (u32)s.gpr[X86_RBX];
}

TEST(sixteen_bit_code_computes_the_same_and_stays_native)
{
	EACH_WAY(is_lockstep)
	{
		CHECK_EQ(all16_in(real_mode, is_lockstep), 0x1f48008);
		CHECK_EQ(all16_in(protected_16, is_lockstep), 0x1f48008);
		CHECK_EQ(all16_in(virtual_8086, is_lockstep), 0x1f48008);
	}
}

/* 32-bit code and data segments with bases and a limit of 64 KiB. */
/* clang-format off */
CODE(all32, ".code32\n mov $500, %ebp\n xor %ebx, %ebx\n movl $7, 0x100\n"
	"1: mov $0x100, %esi\n add (%esi), %ebx\n mov %ebx, 0x10(%esi)\n add %cs:9f - all32, %ebx\n"
	"push %ebx\n pushw $3\n call 2f\n popw %ax\n add %ax, %bx\n pop %eax\n mov $3f - all32, %eax\n call *%eax\n"
	"callw 4f\n movl $3f - all32, 0x200\n call *0x200\n addr16 mov 0x100, %cx\n add %ecx, %ebx\n"
	"dec %ebp\n jnz 1b\n" STOP "0: jmp 0b\n"
	"2: add 4(%esp), %bx\n ret\n 3: inc %ebx\n ret\n 4: inc %ebx\n retw\n 9: .long 21\n");
/* clang-format on */

TEST(segmented_32_bit_code_computes_the_same_and_stays_native)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(protected_32, all32), is_lockstep);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 0x55f0);
		if (!is_lockstep)
			check_native(&k, 500 * 30);
		core_fini(&k);
	}
}

/* What 16-bit programs do all the time: segments by selectors, strings of one element both ways, counted loops, long
 * strings, one of them beyond 64 KiB, where it wraps. */
/* clang-format off */
CODE(everyday, ".code16\n mov $300, %bp\n"
	"1: mov $0x2000, %ax\n mov %ax, %ds\n push %ds\n pop %es\n pushl %es\n popl %fs\n"
	"mov $0x100, %si\n mov $0x200, %di\n mov $8, %cx\n 2: lodsw\n add %ax, %bx\n stosb\n loop 2b\n"
	"std\n mov $0x11e, %si\n mov $0x21e, %di\n mov $8, %cx\n 3: movsw\n lodsb\n add %al, %bl\n loop 3b\n cld\n"
	"mov $5, %cx\n 4: cmp $3, %cx\n loopne 4b\n add %cx, %bx\n"
	"mov $4, %cx\n 5: inc %bx\n cmp %ax, %ax\n loope 5b\n jcxz 6f\n ud2\n"
	"6: mov $0xfffc, %di\n mov $8, %cx\n mov $0xaa, %al\n rep stosb\n add 2, %bx\n add 0xfffe, %bx\n"
	"mov $0x100, %si\n mov $0x300, %di\n mov $0x40, %cx\n rep movsb\n mov 0x33f, %al\n mov $0, %ah\n add %ax, %bx\n"
	"add %fs:0x110, %bx\n mov %fs, %dx\n add %dx, %bx\n mov %ss:0x7ffe, %gs\n"
	"dec %bp\n jnz 7f\n" STOP "0: jmp 0b\n 7: jmp 1b\n");
/* clang-format on */

TEST(everyday_16_bit_code_stays_native)
{
	set_mode *const modes[] = {real_mode, virtual_8086};

	for (unsigned n = 0; n < 4; n++) {
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(modes[n / 2], everyday), n % 2);
		for (unsigned b = 0; b < 64; b++)
			core_ram(&k, DATA + 0x100)[b] = (u8)(b * 7 + 1);
		memcpy(core_ram(&k, DATA + 0x7ffe), &(u16){0x1234}, 2);
		s.gpr[X86_RSP] = 0x7ff0;
		program_run(&k, &s);
		CHECK_EQ((u16)s.gpr[X86_RBX], 0xb86c);
		CHECK_EQ(s.seg[X86_GS].base, 0x12340);
		CHECK_EQ(s.seg[X86_ES].selector, 0x2000);
		CHECK_EQ(s.seg[X86_FS].base, DATA);
		CHECK_EQ(s.gpr[X86_RSP], 0x7ff0);
		if (!(n % 2))
			check_native(&k, 300 * 120); /* the long strings are callouts */
		core_fini(&k);
	}
}

/* --- wrapping --- */

/* From IP 0 back to 0xfff0, and forward again beyond 64 KiB to 8: jumps of 16 bits wrap. */
/* clang-format off */
CODE(wraps_ip, ".code16\n mov $100, %bp\n jmp 1f\n .org wraps_ip + 8\n 1: inc %bx\n dec %bp\n jz 2f\n"
	".byte 0xe9\n .word 0xfff0 - (3f - wraps_ip)\n 3:\n 2: " STOP "0: jmp 0b\n");
CODE(wraps_back, ".code16\n add $2, %bx\n push %bx\n pop %cx\n .byte 0xe9\n .word 0x10\n");
/* clang-format on */

TEST(jumps_of_16_bits_wrap_at_64_kib)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(real_mode, wraps_ip), is_lockstep);
		core_load(&k, CORE_CODE + 0xfff0, wraps_back, CODE_SIZE(wraps_back));
		set_data(&s, segment(0x40000, 0xffff, 0x93, 0x4000));
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 100 + 99 * 2);
		CHECK_EQ(s.gpr[X86_RCX], 99 + 99 * 2);
		core_fini(&k);
	}
}

/* SP from 0 to 0xfffe and back; offsets from BX + SI beyond 64 KiB. */
/* clang-format off */
CODE(wraps_sp, ".code16\n mov $100, %bp\n movw $5, 0x10\n"
	"1: mov $0, %sp\n push %bp\n mov %sp, %cx\n pop %ax\n sub %bp, %ax\n add %ax, %bx\n"
	"mov $0xfff0, %di\n mov $0x20, %si\n push %bx\n mov %di, %bx\n mov (%bx,%si), %dx\n pop %bx\n add %dx, %bx\n"
	"dec %bp\n jnz 1b\n" STOP "0: jmp 0b\n");
/* clang-format on */

TEST(stack_pointers_and_offsets_of_16_bits_wrap)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(real_mode, wraps_sp), is_lockstep);
		s.gpr[X86_RSP] = 0xabcd8000;
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 500);
		CHECK_EQ(s.gpr[X86_RCX], 0xfffe);
		CHECK_EQ(s.gpr[X86_RSP], 0xabcd0000);
		core_fini(&k);
	}
}

/* --- limits --- */

static void set_gate16(struct core *k, unsigned vector, u16 offset)
{
	u32 gate[2] = {SEL_CODE << 16 | offset, 0x8600};

	memcpy(core_ram(k, CORE_IDT + vector * 8), gate, sizeof(gate));
}

/* Each runs 100 times through hot code, then does what CS's limit (0x3f) forbids; the handler at 0x30 takes error
 * code, IP and SP. */
#define FORBIDDEN(name, insns)                                                                     \
	CODE(name, ".code16\n mov $100, %bp\n mov $1f - " #name ", %ax\n"                          \
		   "2: call *%ax\n dec %bp\n jnz 2b\n mov $0x40, %ax\n xor %cx, %cx\n" insns       \
		   "\n hlt\n 1: ret\n .org " #name                                                 \
		   " + 0x30\n mov %sp, %dx\n pop %si\n pop %di\n" STOP "0: jmp 0b\n")
FORBIDDEN(by_register, "9: jmp *%ax");
FORBIDDEN(by_return, "push %ax\n 9: ret");
FORBIDDEN(by_call, "9: call *%ax");
FORBIDDEN(by_condition, "test %cx, %cx\n 9: .byte 0x74, 0x40");
FORBIDDEN(by_jump, "9: .byte 0xe9\n .word 0x1000");
FORBIDDEN(by_wide_jump, "9: .byte 0x66, 0xe9\n .long 0x10000 - 0x20");

TEST(jumps_beyond_the_code_segment_fault_with_the_state_before)
{
	static const struct {
		const u8 *code;
		u8 pushed; /* by then */
		u8 ip;
	} cases[] = {{by_register, 0, 0x10},  {by_return, 2, 0x11}, {by_call, 0, 0x10},
		     {by_condition, 0, 0x12}, {by_jump, 0, 0x10},   {by_wide_jump, 0, 0x10}};

	for (size_t n = 0; n < ARRAY_SIZE(cases) * 2; n++) {
		const u8 *code = cases[n / 2].code;
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, &(const struct program){short_16, code, 0x40}, n % 2);
		set_gate16(&k, X86_GP, 0x30);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RSI], 0);
		CHECK_EQ(s.gpr[X86_RDI], cases[n / 2].ip);
		CHECK_EQ(s.gpr[X86_RDX], 0x8000 - cases[n / 2].pushed - 8);
		core_fini(&k);
	}
}

/* Hot code that goes on to the limit's last byte and beyond. */
/* clang-format off */
CODE(to_the_end, ".code16\n mov $100, %bp\n 1: inc %bx\n dec %bp\n jnz 1b\n jmp 2f\n"
	".org to_the_end + 0x20\n pop %si\n pop %di\n" STOP "0: jmp 0b\n"
	".org to_the_end + 0x38\n 2: inc %cx\n inc %cx\n inc %cx\n inc %cx\n inc %cx\n inc %cx\n mov $0x1234, %dx\n");
/* clang-format on */

TEST(code_that_runs_into_its_limit_faults_at_the_instruction_that_crosses_it)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(short_16, to_the_end), is_lockstep);
		set_gate16(&k, X86_GP, 0x20);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 100);
		CHECK_EQ(s.gpr[X86_RCX], 6);
		CHECK_EQ(s.gpr[X86_RDX], 0x600); /* as reset leaves it */
		CHECK_EQ(s.gpr[X86_RDI], 0x3e);
		core_fini(&k);
	}
}

/* A word at 0xffff: the first access that isn't whole, by DS (#GP) and by BP (#SS). */
/* clang-format off */
CODE(last_word, ".code16\n mov $0xff00, %si\n 1: mov (%si), %ax\n inc %si\n jmp 1b\n"
	".org last_word + 0x20\n pop %dx\n pop %cx\n pop %cx\n mov $0xff00, %bp\n mov $0x8000, %sp\n"
	"2: incw (%bp)\n inc %bp\n jmp 2b\n"
	".org last_word + 0x40\n pop %bx\n pop %bx\n" STOP "0: jmp 0b\n");
/* clang-format on */

TEST(accesses_beyond_a_data_segment_fault_by_its_kind)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(protected_16, last_word), is_lockstep);
		set_gate16(&k, X86_GP, 0x20);
		set_gate16(&k, X86_SSEG, 0x40);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RSI], 0xffff);
		CHECK_EQ(s.gpr[X86_RBP], 0xffff);
		CHECK_EQ(s.gpr[X86_RBX], 0x29);
		core_fini(&k);
	}
}

/* --- one piece of code at several places --- */

/* Far calls to one piece of code by two segments, whose IPs differ by 0x100; it says where it is. */
/* clang-format off */
CODE(two_bases, ".code16\n mov $200, %bp\n 1: lcall $0x1000, $0x100\n lcall $0xff0, $0x200\n dec %bp\n jnz 1b\n"
	STOP "0: jmp 0b\n .org two_bases + 0x100\n call 2f\n 2: pop %ax\n add %ax, %bx\n adc $0, %dx\n"
	"mov $3f - 2b, %cx\n add %cx, %ax\n call *%ax\n jmp 4f\n 3: add $3, %si\n ret\n 4: lret\n");
/* clang-format on */

TEST(code_knows_its_ip_under_each_segment)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(real_mode, two_bases), is_lockstep);
		s.gpr[X86_RBX] = s.gpr[X86_RDX] = s.gpr[X86_RSI] = 0;
		program_run(&k, &s);
		CHECK_EQ((s.gpr[X86_RDX] << 16 | s.gpr[X86_RBX]), 200 * (0x103 + 0x203));
		CHECK_EQ(s.gpr[X86_RSI], 1200);
		if (core_is_translated(&k) && !is_lockstep)
			CHECK(callouts(&k) < 200 * 6);
		core_fini(&k);
	}
}

/* 16-bit code (CS base 0x40000) whose page is mapped at 0x50000 as well: calls push IPs of their own. */
/* clang-format off */
CODE(two_places, ".code16\n .org two_places + 0x100\n 1: call 2f\n add %ax, %bx\n adc $0, %dx\n"
	"mov $0x100 + 4f - 1b, %ax\n jmp *%ax\n 4: xor $0x1000, %di\n add $-1, %bp\n jnc 3f\n jmp *%di\n"
	"3: " STOP "0: jmp 0b\n 2: mov %sp, %si\n mov %ss:(%si), %ax\n ret\n");
/* clang-format on */

static void two_places_paged(struct core *k, struct x86_cpu_state *s, bool is_pae)
{
	protected_16(k, s);
	if (is_pae)
		page_pae(k, s);
	else
		page_at_own_address(k, s);
	/* 0x40000 and 0x41000 are the same page. */
	if (is_pae)
		memcpy(core_ram(k, CORE_TABLES + 0x2000 + 0x41 * 8), &(u64){CORE_CODE | 7}, 8);
	else
		memcpy(core_ram(k, CORE_TABLES + 0x1000 + 0x41 * 4), &(u32){CORE_CODE | 7}, 4);
	s->seg[X86_CS].base = 0x40000;
	s->rip = 0x100;
	s->gpr[X86_RDI] = 0x100;
	s->gpr[X86_RBP] = 400;
	s->gpr[X86_RDX] = 0;
}

static void two_places_pae(struct core *k, struct x86_cpu_state *s)
{
	two_places_paged(k, s, true);
}

static void two_places_32(struct core *k, struct x86_cpu_state *s)
{
	two_places_paged(k, s, false);
}

TEST(code_knows_its_ip_at_each_linear_address)
{
	set_mode *const modes[] = {two_places_pae, two_places_32};

	for (unsigned n = 0; n < 4; n++) {
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(modes[n / 2], two_places), n % 2);
		program_run(&k, &s);
		CHECK_EQ((s.gpr[X86_RDX] << 16 | (u16)s.gpr[X86_RBX]), 201 * 0x103 + 200 * 0x1103);
		core_fini(&k);
	}
}

/* 3840 segments have the same code, one after the other: more than have numbers. */
/* clang-format off */
CODE(many_bases, ".code16\n mov $0x1000, %ax\n mov $2f - many_bases, %dx\n mov $3840, %bp\n"
	"2: inc %bx\n dec %ax\n add $16, %dx\n push %ax\n push %dx\n dec %bp\n jz 3f\n lret\n"
	"3: " STOP "0: jmp 0b\n");
/* clang-format on */

TEST(more_segments_than_have_numbers)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(real_mode, many_bases), is_lockstep);
		s.seg[X86_SS] = segment(0x40000, 0xffff, 0x93, 0x4000);
		s.gpr[X86_RBX] = 0;
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 3840);
		CHECK(core_count(&k, SX_N_BLOCK_DROP) >= 1);
		CHECK(sx_cpu_of(k.vcpu[0])->cache->n_segments < SX_SEGMENTS_MAX);
		core_fini(&k);
	}
}
