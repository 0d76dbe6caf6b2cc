/*
 * Decoded blocks when their room is full: those that were translated stay, without what the interpreter needs, and
 * are made anew where it is the interpreter's turn.
 */
#include <sys/mman.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "accel/soft/native.h"
#include "base/bytes.h"
#include "core_fixture.h"
#include "test.h"

#define FUNCTIONS 0x40000u

static void begin(struct core *k, struct x86_cpu_state *s, const u8 *code, size_t size)
{
	core_init(k);
	core_long_mode(k, s);
	core_load(k, CORE_CODE, code, size);
}
#define BEGIN(k, s, code) begin(k, s, code, CODE_SIZE(code))

/* From the start, the first time or after the room was found full. */
static void run_again(struct core *k, struct x86_cpu_state *s, bool is_full)
{
	u64 cr0 = s->cr0;

	core_long_mode(k, s);
	s->cr0 = cr0;
	sx_cpu_of(k->vcpu[0])->cache->is_full = is_full;
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
}

/* clang-format off */
CODE(loops, "jmp 4f\n 3: lea 1(%rbx), %ebx\n ret\n"
	"4: xor %ebx, %ebx\n mov $1000, %ecx\n"
	"1: add %ecx, %ebx\n test $1, %cl\n jz 2f\n add $3, %ebx\n 2: call 3b\n dec %ecx\n jnz 1b\n" STOP);
/* clang-format on */

TEST(what_was_translated_stays_so)
{
	struct core k;
	struct x86_cpu_state s;
	u64 decoded, translated;

	BEGIN(&k, &s, loops);
	run_again(&k, &s, false);
	CHECK_EQ(s.gpr[X86_RBX], 500500 + 1500 + 1000);
	decoded = core_count(&k, SX_N_BLOCK_DECODED);
	translated = core_count(&k, SX_N_TRANSLATED);
	for (unsigned n = 1; n <= 3; n++) {
		run_again(&k, &s, true);
		CHECK_EQ(s.gpr[X86_RBX], 500500 + 1500 + 1000);
		CHECK_EQ(core_count(&k, SX_N_BLOCK_SWEEP), n);
	}
	if (core_is_translated(&k)) { /* but for STOP */
		CHECK(core_count(&k, SX_N_BLOCK_DECODED) <= decoded + 3 * 2);
		CHECK_EQ(core_count(&k, SX_N_TRANSLATED), translated);
	} else {
		CHECK(core_count(&k, SX_N_BLOCK_DECODED) >= decoded + 3 * 5);
	}
	CHECK_EQ(core_count(&k, SX_N_BLOCK_DROP), 0);
	core_fini(&k);
}

/* All functions, three times. */
/* clang-format off */
CODE(walk, "xor %ebx, %ebx\n mov $3, %ecx\n"
	"1: mov $90000, %esi\n mov $0x40000, %eax\n"
	"2: call *%rax\n add $3, %eax\n dec %esi\n jnz 2b\n dec %ecx\n jnz 1b\n" STOP);
CODE(function, "inc %ebx\n ret\n");
/* clang-format on */

TEST(more_blocks_than_there_is_room_for_are_decoded_again)
{
	const unsigned n = 90000;
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, walk);
	CHECK_EQ(CODE_SIZE(function), 3);
	for (unsigned i = 0; i < n; i++)
		core_load(&k, FUNCTIONS + i * 3, function, 3);
	s.gpr[X86_RSP] = CORE_DATA + MIB;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 3 * n);
	CHECK(core_count(&k, SX_N_BLOCK_SWEEP) + core_count(&k, SX_N_BLOCK_DROP) >= 2);
	CHECK(core_count(&k, SX_N_BLOCK_DECODED) > n);
	core_fini(&k);
}

static unsigned resident(u8 *at, u64 size)
{
	static unsigned char pages[16384];
	unsigned n = 0;

	CHECK(size / PAGE_SIZE <= sizeof(pages));
	CHECK_EQ(mincore(at, size, pages), 0);
	for (u64 k = 0; k < size / PAGE_SIZE; k++)
		n += pages[k] & 1;
	return n;
}

TEST(memory_of_dropped_code_is_given_back)
{
	struct core k;
	struct x86_cpu_state s;
	const struct sx_native *n;

	BEGIN(&k, &s, walk);
	for (unsigned i = 0; i < 90000; i++)
		core_load(&k, FUNCTIONS + i * 3, function, 3);
	s.gpr[X86_RSP] = CORE_DATA + MIB;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	n = sx_cpu_of(k.vcpu[0])->native;
	CHECK(!n || resident(n->write, n->cold_size) > 100);
	core_load(&k, CORE_CODE, loops, CODE_SIZE(loops));
	sx_cpu_of(k.vcpu[0])->cache->is_dropped = true;
	run_again(&k, &s, false);
	CHECK_EQ(s.gpr[X86_RBX], 500500 + 1500 + 1000);
	CHECK(!n || resident(n->write, n->cold_size) < 16);
	CHECK(sx_cpu_of(k.vcpu[0])->cache->used < 64 * KIB);
	core_fini(&k);
}

TEST(a_bare_block_whose_code_was_written_is_decoded_anew)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, loops);
	run_again(&k, &s, false);
	run_again(&k, &s, true);
	CHECK_EQ(*core_ram(&k, CORE_CODE + 4), 1);
	core_load(&k, CORE_CODE + 4, &(u8){5}, 1); /* LEA's */
	run_again(&k, &s, true);
	CHECK_EQ(s.gpr[X86_RBX], 500500 + 1500 + 5000);
	core_fini(&k);
}

/* The first block's carry is for nobody, until what it leads to asks for it. */
/* clang-format off */
CODE(flags, "mov $100, %ebp\n xor %ebx, %ebx\n mov $-1, %edi\n"
	"1: mov %edi, %eax\n add $1, %eax\n jmp 2f\n .fill 16, 1, 0x90\n"
	"2: xor %eax, %eax\n nop\n add %eax, %ebx\n dec %ebp\n jnz 1b\n" STOP);
CODE(asks, "adc $0, %ebx\n");
/* clang-format on */

TEST(a_bare_block_is_decoded_anew_where_code_behind_it_changed)
{
	struct core k;
	struct x86_cpu_state s;
	u64 place = CORE_CODE + 5 + 2 + 5 + 2 + 3 + 2 + 16;

	BEGIN(&k, &s, flags);
	run_again(&k, &s, false);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	run_again(&k, &s, true);
	CHECK_EQ(CODE_SIZE(asks), 3);
	CHECK_EQ(*core_ram(&k, place), 0x31);
	core_load(&k, place, asks, CODE_SIZE(asks));
	run_again(&k, &s, false);
	CHECK_EQ(s.gpr[X86_RBX], 100 * 1); /* EAX is 0 behind the sum */
	core_fini(&k);
}

/* clang-format off */
CODE(simd, "mov $50, %ebp\n xor %r8d, %r8d\n"
	"1: lea (%rbp), %eax\n movd %eax, %xmm1\n paddd %xmm1, %xmm0\n dec %ebp\n jnz 1b\n"
	"movd %xmm0, %ebx\n" STOP);
CODE(on_nm, "clts\n inc %r8d\n pxor %xmm0, %xmm0\n iretq\n");
/* clang-format on */

TEST(a_bare_block_whose_simd_isnt_ready_raises_its_exception)
{
	struct core k;
	struct x86_cpu_state s;

	BEGIN(&k, &s, simd);
	core_load(&k, FUNCTIONS, on_nm, CODE_SIZE(on_nm));
	core_set_gate(&k, X86_NM, FUNCTIONS, CORE_CS64, 0, 0x8e);
	for (unsigned n = 0; n < 4; n++) {
		s.cr0 |= X86_CR0_TS;
		run_again(&k, &s, n % 2);
		CHECK_EQ(s.gpr[X86_R8], 1);
		CHECK_EQ(s.gpr[X86_RBX], 50 * 51 / 2);
	}
	core_fini(&k);
}

/* STR is a callout, behind an STI that is translated. */
/* clang-format off */
CODE(behind_sti, "mov $20, %ecx\n mov $0x3000, %edi\n 1: cli\n sti\n"
	"str %ebx\n dec %ecx\n jnz 1b\n" STOP);
CODE(on_interrupt, "mov (%rsp), %rsi\n mov %rsi, (%rdi)\n iretq\n");
/* clang-format on */
#define STR_AT 12u

static struct core *interrupted;
static enum native_callout (*real_callout)(struct sx_cpu *, u32, const struct sx_native_block *);

/* There is no room for it, and an interrupt comes. */
static enum native_callout callout_without_room(struct sx_cpu *c, u32 what,
						const struct sx_native_block *n)
{
	enum native_callout result;
	u64 room = c->cache->room;

	if ((what & NATIVE_OFF) != STR_AT || !interrupted)
		return real_callout(c, what, n);
	sx_native_forget_steps(c);
	c->cache->room = 0;
	interrupted->apic[0].vector = 0x50;
	interrupted->apic[0].pending = APIC_PENDING_INTR;
	vcpu_kick(interrupted->vcpu[0]);
	interrupted = NULL;
	result = real_callout(c, what, n);
	c->cache->room = room;
	return result;
}

TEST(an_interrupt_waits_behind_sti_for_what_there_was_no_room_for)
{
	struct core k;
	struct x86_cpu_state s;
	struct sx_cpu *c;

	BEGIN(&k, &s, behind_sti);
	c = sx_cpu_of(k.vcpu[0]);
	if (c->native) {
		CHECK_EQ(core_ram(&k, CORE_CODE)[STR_AT + 1], 0);
		core_load(&k, FUNCTIONS, on_interrupt, CODE_SIZE(on_interrupt));
		core_set_gate(&k, 0x50, FUNCTIONS, CORE_CS64, 0, 0x8e);
		real_callout = c->native_callout;
		c->native_callout = callout_without_room;
		interrupted = &k;
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK(!interrupted);
		CHECK(core_count(&k, SX_N_BLOCK_SWEEP) + core_count(&k, SX_N_BLOCK_DROP) > 0);
		CHECK_EQ(bytes_load(core_ram(&k, 0x3000), 8), CORE_CODE + STR_AT + 3);
	}
	core_fini(&k);
}
