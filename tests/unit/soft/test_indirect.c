/*
 * Indirect jumps and calls of translated code, by tables above all, whose elements' addresses they are looked up
 * by: registers in every place, elements and mappings that change, targets that can't be.
 */
#include <string.h>

#include "core_fixture.h"
#include "test.h"

#define FAR_CODE                                                                                   \
	0x400000u /* a page of its own, which is mapped anew: then what is at OTHER is there */
#define OTHER 0x600000u

static u64 left_native_code(struct core *k)
{
	static const enum sx_count ways[] = {SX_N_LEFT_GO_ON, SX_N_LEFT_LINK, SX_N_LEFT_STEP};
	u64 sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		sum += core_count(k, ways[i]);
	return sum;
}

/* Where what is in front of the loop is: RBP counts it, RBX is what the targets add up. */
static u64 run(const u8 *code, size_t size, u64 *out_left)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	u64 rsp = s.gpr[X86_RSP];
	core_load(&k, CORE_CODE, code, size);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RSP], rsp);
	*out_left = left_native_code(&k);
	core_fini(&k);
	return s.gpr[X86_RBX];
}

#define ROUNDS   4000
#define EXPECTED (ROUNDS / 4 * 1111)
#define BEGIN                                                                                      \
	"mov $4000, %ebp\n xor %ebx, %ebx\n lea 9f(%rip), %rcx\n 1: mov %ebp, %eax\n and $3, "     \
	"%eax\n"
#define END       "8: dec %ebp\n jnz 1b\n" STOP "jmp .\n"
#define DISTANCES "9: .long 2f - 9b, 3f - 9b, 4f - 9b, 5f - 9b\n"
#define TARGETS                                                                                    \
	"2: add $1, %rbx\n jmp 8b\n 3: add $10, %rbx\n jmp 8b\n 4: add $100, %rbx\n jmp 8b\n"      \
	"5: add $1000, %rbx\n jmp 8b\n"
#define FUNCTIONS                                                                                  \
	"2: add $1, %rbx\n ret\n 3: add $10, %rbx\n ret\n 4: add $100, %rbx\n ret\n"               \
	"5: add $1000, %rbx\n ret\n"
/* A table of addresses at RCX. */
#define ADDRESSES                                                                                  \
	"mov $0x200000, %ecx\n lea 2f(%rip), %rax\n mov %rax, (%rcx)\n lea 3f(%rip), %rax\n"       \
	"mov %rax, 8(%rcx)\n lea 4f(%rip), %rax\n mov %rax, 16(%rcx)\n lea 5f(%rip), %rax\n"       \
	"mov %rax, 24(%rcx)\n mov $4000, %ebp\n xor %ebx, %ebx\n 1: mov %ebp, %eax\n and $3, "     \
	"%eax\n"

/* clang-format off */
CODE(by_distance, BEGIN "movslq (%rcx, %rax, 4), %rdx\n add %rcx, %rdx\n jmp *%rdx\n" END DISTANCES TARGETS);
CODE(index_goes, BEGIN "movslq (%rcx, %rax, 4), %rax\n add %rcx, %rax\n jmp *%rax\n" END DISTANCES TARGETS);
CODE(by_lea, BEGIN "movslq (%rcx, %rax, 4), %rax\n lea (%rcx, %rax), %r11\n jmp *%r11\n" END DISTANCES TARGETS);
CODE(in_memory, BEGIN "mov %rcx, %r14\n mov %rax, %r10\n movslq (%r14, %r10, 4), %r15\n add %r14, %r15\n"
	"jmp *%r15\n" END DISTANCES TARGETS);
CODE(by_address, ADDRESSES "jmp *(%rcx, %rax, 8)\n" END TARGETS);
CODE(by_address_in_memory, ADDRESSES "mov %rax, %r15\n mov %rcx, %r11\n jmp *(%r11, %r15, 8)\n" END TARGETS);
CODE(loaded, ADDRESSES "mov (%rcx, %rax, 8), %rax\n jmp *%rax\n" END TARGETS);
CODE(called, ADDRESSES "call *(%rcx, %rax, 8)\n" END FUNCTIONS);
CODE(called_loaded, ADDRESSES "mov (%rcx, %rax, 8), %rax\n call *%rax\n" END FUNCTIONS);
CODE(called_on_stack, ADDRESSES "mov (%rcx, %rax, 8), %rax\n push %rax\n call *(%rsp)\n pop %rax\n" END FUNCTIONS);
/* The push has to look for the stack's page in the midst of the call: by the block's shared checks, which fail each
 * time; in code without them. */
CODE(called_over_pages, ADDRESSES "mov %rsp, %rsi\n mov %ebp, %edi\n and $7, %edi\n shl $12, %edi\n"
	"lea 0x208000(%rdi), %rsp\n call *(%rcx, %rax, 8)\n mov %rsi, %rsp\n" END FUNCTIONS);
CODE(called_plain, ADDRESSES "mov %rsp, %rsi\n mov $0x208000, %esp\n mov $0x205ffc, %edi\n mov %cr3, %rdx\n mov %rdx, %cr3\n"
	"mov (%rdi), %r8d\n mov 4(%rdi), %r8d\n call *(%rcx, %rax, 8)\n mov %rsi, %rsp\n" END FUNCTIONS);
/* clang-format on */

TEST(every_kind_of_table_leads_where_it_says)
{
	const struct {
		const u8 *code;
		size_t size;
	} codes[] = {
		{by_distance, CODE_SIZE(by_distance)},
		{index_goes, CODE_SIZE(index_goes)},
		{by_lea, CODE_SIZE(by_lea)},
		{in_memory, CODE_SIZE(in_memory)},
		{by_address, CODE_SIZE(by_address)},
		{by_address_in_memory, CODE_SIZE(by_address_in_memory)},
		{loaded, CODE_SIZE(loaded)},
		{called, CODE_SIZE(called)},
		{called_loaded, CODE_SIZE(called_loaded)},
		{called_on_stack, CODE_SIZE(called_on_stack)},
		{called_over_pages, CODE_SIZE(called_over_pages)},
		{called_plain, CODE_SIZE(called_plain)},
	};
	u64 left;

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		CHECK_EQ(run(codes[i].code, codes[i].size, &left), EXPECTED);
		CHECK(left < 100);
	}
}

/* The element is the same, and leads elsewhere each time, by turns; then an element that leads to nothing. */
/* clang-format off */
CODE(exchanges, ADDRESSES "xor %eax, %eax\n mov (%rcx), %rdx\n xchg %rdx, 8(%rcx)\n mov %rdx, (%rcx)\n"
	"jmp *(%rcx, %rax, 8)\n" END TARGETS);
CODE(exchanges_far, ADDRESSES "mov $0x400000, %edx\n mov %rdx, (%rcx)\n xor %eax, %eax\n"
	"test $15, %ebp\n jnz 7f\n xorl $0x200000, 0x102010\n mov %cr3, %rdx\n mov %rdx, %cr3\n"
	"7: call *(%rcx, %rax, 8)\n" END FUNCTIONS);
CODE(adds_7, "add $7, %rbx\n ret\n");
CODE(adds_70, "add $70, %rbx\n ret\n");
CODE(leads_nowhere, ADDRESSES "mov $1, %edx\n shl $52, %rdx\n mov %rdx, 24(%rcx)\n jmp *(%rcx, %rax, 8)\n" END TARGETS
	".org leads_nowhere + 0x100\n" /* #GP: once for each such jump, RIP at it */
	"add $8, %rsp\n mov (%rsp), %rdx\n cmpw $0x24ff, (%rdx)\n jne 7f\n add $1000, %rbx\n"
	"7: add $3, %rdx\n mov %rdx, (%rsp)\n iretq\n");
/* clang-format on */

TEST(an_element_that_changes)
{
	u64 left;

	CHECK_EQ(run(exchanges, CODE_SIZE(exchanges), &left), ROUNDS / 2 * 11);
	CHECK(left < 100);
}

TEST(a_target_whose_page_is_mapped_anew)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, exchanges_far, CODE_SIZE(exchanges_far));
	core_load(&k, FAR_CODE, adds_7, CODE_SIZE(adds_7));
	core_load(&k, OTHER, adds_70, CODE_SIZE(adds_70));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], ROUNDS / 2 * 77);
	CHECK(left_native_code(&k) < ROUNDS / 4);
	core_fini(&k);
}

TEST(an_element_that_is_not_canonical)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, leads_nowhere, CODE_SIZE(leads_nowhere));
	core_set_gate(&k, X86_GP, CORE_CODE + 0x100, CORE_CS64, 0, 0x8e);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], EXPECTED);
	core_fini(&k);
}
