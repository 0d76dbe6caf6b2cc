/*
 * Jumps of translated code into other pages: that they are linked, and no longer taken so when what is mapped
 * at either end of them has changed.
 *
 * Kernel code is at high addresses here, as kernels have it: code at others isn't linked.
 */
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/native.h"
#include "core_fixture.h"
#include "test.h"

#define HIGH 0xffffffff80000000u /* the first GiB, once more */
/* The page directory of both; an entry is 2 MiB. */
#define DIRECTORY  (CORE_TABLES + 0x2000)
#define USER_CODE  0x210000u
#define USER_STACK 0x208000u
#define CALLED     0x400000u /* the function that is called ... */
#define OTHER      0x600000u /* ... and the one that takes its place */

static void start(struct core *k, struct x86_cpu_state *s)
{
	core_init(k);
	core_long_mode(k, s);
	memcpy(core_ram(k, CORE_TABLES + 511 * 8), core_ram(k, CORE_TABLES), 8);
	memcpy(core_ram(k, CORE_TABLES + 0x1000 + 510 * 8), core_ram(k, CORE_TABLES + 0x1000), 8);
	s->rip = HIGH + CORE_CODE;
}

/* Ways out of native code, and those that a look-up spared. */
struct exits {
	u64 left, spared;
};

static void add_exits(void *opaque, const struct vcpu_counter *n)
{
	struct exits *e = opaque;

	if (!strcmp(n->group, "native-exits") && !strcmp(n->name, "spared"))
		e->spared += n->value;
	else if (!strcmp(n->group, "native-exits"))
		e->left += n->value;
}

static struct exits native_exits(struct core *k)
{
	struct exits e = {0};

	vcpu_count(k->vcpu[0], add_exits, &e);
	return e;
}

/* clang-format off */
CODE(adds_1, "add $1, %ebx\n ret\n");
CODE(adds_5, "add $5, %ebx\n ret\n");
CODE(calls, "mov $20000, %ebp\n xor %ebx, %ebx\n 1: call calls + 0x3f0000\n dec %ebp\n jnz 1b\n" STOP);
CODE(flushes, "mov $200, %ebp\n xor %ebx, %ebx\n 1: call flushes + 0x3f0000\n"
	"mov %cr3, %rax\n mov %rax, %cr3\n lea 2f(%rip), %rax\n jmp *%rax\n"
	"2: dec %ebp\n jnz 1b\n" STOP);
CODE(invalidates, "mov $200, %ebp\n xor %ebx, %ebx\n 1: call invalidates + 0x3f0000\n"
	"cmp $100, %ebp\n jne 2f\n xorl $0x200000, 0x102010\n invlpg 0xffffffff80400000\n 2: dec %ebp\n jnz 1b\n" STOP);
CODE(alternates, "mov $200, %ebp\n xor %ebx, %ebx\n 1: call alternates + 0x3f0000\n"
	"xorl $0x200000, 0x102010\n mov %cr3, %rax\n mov %rax, %cr3\n dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

static u64 run_kernel(const u8 *caller, size_t size, struct exits *out_exits)
{
	struct core k;
	struct x86_cpu_state s;

	start(&k, &s);
	core_load(&k, CORE_CODE, caller, size);
	core_load(&k, CALLED, adds_1, CODE_SIZE(adds_1));
	core_load(&k, OTHER, adds_5, CODE_SIZE(adds_5));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	*out_exits = native_exits(&k);
	core_fini(&k);
	return s.gpr[X86_RBX];
}

TEST(a_call_into_another_page_is_linked)
{
	struct exits exits;

	CHECK_EQ(run_kernel(calls, CODE_SIZE(calls), &exits), 20000);
	CHECK(exits.left < 100);
}

TEST(calls_and_returns_after_a_flush_are_found_without_leaving)
{
	struct exits exits;

	CHECK_EQ(run_kernel(flushes, CODE_SIZE(flushes), &exits), 200);
	CHECK(exits.left < 50);
	CHECK(exits.spared > 300);
}

TEST(a_linked_call_whose_target_is_mapped_anew)
{
	struct exits exits;

	CHECK_EQ(run_kernel(invalidates, CODE_SIZE(invalidates), &exits),
		 100 * 1 + 100 * 5 + 1 - 5);
	CHECK_EQ(run_kernel(alternates, CODE_SIZE(alternates), &exits), 100 * 1 + 100 * 5);
}

/* The same code, in user mode; its kernel maps the function anew at each interrupt, or at one. */
/* clang-format off */
CODE(to_user, "push $0x2b\n push $0x208000\n push $2\n push $0x33\n push $0x210000\n iretq\n");
CODE(user_calls, "mov $200, %ebp\n xor %ebx, %ebx\n 1: call user_calls + 0x1f0000\n int $0x80\n"
	"dec %ebp\n jnz 1b\n" STOP);
CODE(maps_anew, "xorl $0x200000, 0x102010\n mov %cr3, %rax\n mov %rax, %cr3\n iretq\n");
CODE(maps_page_anew, "xorl $0x200000, 0x102010\n invlpg 0x400000\n iretq\n");
CODE(maps_anew_once, "cmp $100, %ebp\n jne 1f\n xorl $0x200000, 0x102010\n invlpg 0x400000\n 1: iretq\n");
CODE(maps_nothing, "iretq\n");
/* clang-format on */

static u64 run_user(const u8 *handler, size_t size, struct exits *out_exits)
{
	struct core k;
	struct x86_cpu_state s;

	start(&k, &s);
	core_load(&k, CORE_CODE, to_user, CODE_SIZE(to_user));
	core_load(&k, CORE_CODE + 0x1000, handler, size);
	core_load(&k, USER_CODE, user_calls, CODE_SIZE(user_calls));
	core_load(&k, CALLED, adds_1, CODE_SIZE(adds_1));
	core_load(&k, OTHER, adds_5, CODE_SIZE(adds_5));
	core_set_gate(&k, 0x80, HIGH + CORE_CODE + 0x1000, CORE_CS64, 0, 0xee);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	*out_exits = native_exits(&k);
	core_fini(&k);
	return s.gpr[X86_RBX];
}

TEST(a_linked_call_in_an_address_space_that_changes)
{
	struct exits exits;

	CHECK_EQ(run_user(maps_nothing, CODE_SIZE(maps_nothing), &exits), 200);
	CHECK_EQ(run_user(maps_anew, CODE_SIZE(maps_anew), &exits), 100 * 1 + 100 * 5);
	CHECK_EQ(run_user(maps_page_anew, CODE_SIZE(maps_page_anew), &exits), 100 * 1 + 100 * 5);
	CHECK_EQ(run_user(maps_anew_once, CODE_SIZE(maps_anew_once), &exits), 101 * 1 + 99 * 5);
}

/* One page of code at two addresses, in turn: it jumps 2 MiB further from each. */
/* clang-format off */
CODE(two_places, "mov $200, %ebp\n xor %ebx, %ebx\n"
	"1: mov $0xffffffff80200000, %rax\n call *%rax\n mov $0xffffffff81000000, %rax\n call *%rax\n"
	"dec %ebp\n jnz 1b\n" STOP);
CODE(jumps_on, "jmp jumps_on + 0x200000\n");
/* clang-format on */

TEST(a_linked_jump_in_a_page_that_is_mapped_twice)
{
	const u64 first = 0x200083, second = OTHER | 0x83;
	struct core k;
	struct x86_cpu_state s;

	start(&k, &s);
	memcpy(core_ram(&k, DIRECTORY + 8 * 8), &first, 8); /* at 16 MiB: what is at 2 ... */
	memcpy(core_ram(&k, DIRECTORY + 9 * 8), &second, 8);
	core_load(&k, CORE_CODE, two_places, CODE_SIZE(two_places));
	core_load(&k, CORE_DATA, jumps_on, CODE_SIZE(jumps_on));
	core_load(&k, CALLED, adds_1, CODE_SIZE(adds_1));
	core_load(&k, OTHER, adds_5, CODE_SIZE(adds_5));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 200 * 1 + 200 * 5);
	core_fini(&k);
}

/* What was linked under the same number the last time would be good again. */
TEST(links_are_forgotten_when_generations_come_round)
{
	struct core k;
	struct x86_cpu_state s;
	struct sx_cpu *c;

	start(&k, &s);
	c = sx_cpu_of(k.vcpu[0]);
	core_load(&k, CORE_CODE, calls, CODE_SIZE(calls));
	core_load(&k, CALLED, adds_1, CODE_SIZE(adds_1));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK(c->native_link != SX_LINK_NONE);
	CHECK(c->native->used > c->native->common);
	c->tlbs.generation = 0x7fffffff;
	sx_tlb_flush(c);
	CHECK_EQ(c->native_link, SX_LINK_NONE);
	s.rip = HIGH + CORE_CODE;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 20000);
	CHECK(c->native_link != SX_LINK_NONE);
	core_fini(&k);
}
