/*
 * How translated code finds memory: what the host offers for it makes no difference to the guest.
 */
#include "accel/soft/native.h"
#include "core_fixture.h"
#include "test.h"

#define USER_CODE 0x210000u

/* clang-format off */
CODE(to_user, "push $0x2b\n push $0x208000\n push $2\n push $0x33\n push $0x210000\n iretq\n");
CODE(on_done, STOP);
/* Bytes, words at a page's end, registers that the host has and hasn't; pages enough for the table to grow. */
CODE(walk, "mov $200, %ebp\n xor %ebx, %ebx\n"
	"1: mov $0x300000, %esi\n mov $0x300000, %r10d\n mov $64, %ecx\n"
	"2: add %rcx, (%rsi)\n mov (%r10), %rax\n add %rax, %rbx\n movb $7, 0xfff(%rsi)\n"
	"movzbl 0xfff(%r10), %eax\n add %rax, %rbx\n mov %ecx, 0xff8(%rsi)\n"
	"cmp %ecx, 0xff8(%r10)\n jne 3f\n"
	"add $0x1000, %rsi\n add $0x1000, %r10\n dec %ecx\n jnz 2b\n dec %ebp\n jnz 1b\n"
	"3: int $0x80\n");
/* clang-format on */

static void check_walk(bool has_rorx, bool has_gs_base)
{
	struct core k;
	struct x86_cpu_state s;
	struct sx_native *n;

	core_init(&k);
	n = sx_cpu_of(k.vcpu[0])->native;
	n->has_rorx &= has_rorx;
	n->has_gs_base &= has_gs_base;
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, to_user, CODE_SIZE(to_user));
	core_load(&k, USER_CODE, walk, CODE_SIZE(walk));
	core_load(&k, CORE_CODE + 0x1000, on_done, CODE_SIZE(on_done));
	core_set_gate(&k, 0x80, CORE_CODE + 0x1000, CORE_CS64, 0, 0xee);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], 0);
	CHECK_EQ(s.gpr[X86_RBX], 200ull * 201 / 2 * (64 * 65 / 2) + 200ull * 64 * 7);
	core_fini(&k);
}

TEST(user_code_finds_memory_whatever_the_host_has)
{
	check_walk(true, true);
	check_walk(true, false);
	check_walk(false, true);
	check_walk(false, false);
}
