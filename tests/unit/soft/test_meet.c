/*
 * Where two mechanisms meet: what one of them keeps while the other takes it away. On both engines.
 */
#include <string.h>

#include "core_fixture.h"
#include "test.h"

/* --- jumps that are linked, and pages that are mapped otherwise --- */

/* From 4 MiB on is memory at 4 MiB, until the page directory's entry is changed; from 6 MiB on that at 6 MiB. */
#define LOW      0x400000u
#define OTHER    0x600000u
#define JUMPER   0x10000u /* in both: jumps far into its page where ECX isn't 0 */
#define FAR_AWAY "0x800"  /* further than a trace goes */

/* clang-format off */
CODE(jumper, "test %ecx, %ecx\n jnz jumper+" FAR_AWAY "\n jmp *%r8\n");
CODE(answers_1, "mov $1, %ebx\n jmp *%r8\n");
CODE(answers_2, "mov $2, %ebx\n jmp *%r8\n");
CODE(comes_back, "jmp *%r8\n");
#define CALL_JUMPER(at_, n_) "mov $" #n_ ", %ecx\n lea 7f(%rip), %r8\n mov $" at_ ", %edx\n jmp *%rdx\n 7:\n"
/*
 * Its first half is known, the jump isn't taken yet. The entry is changed without INVLPG, and what was known of the
 * page's code is displaced by other code, and of
 * walks by a walk a GiB on: so that the jump's target is looked up in the tables. Either page is right.
 * Then all is invalidated, and the first page is executed at an address where it surely is.
 */
CODE(meanwhile,
	CALL_JUMPER("0x410000", 0)
	"xorl $0x200000, 0x102010\n"
	"lea 1f(%rip), %r8\n mov $0x610400, %edx\n jmp *%rdx\n 1:\n"
	"mov $0xc0400000, %esi\n mov (%rsi), %al\n"
	CALL_JUMPER("0x410000", 1)
	CALL_JUMPER("0x410000", 1)
	CALL_JUMPER("0x410000", 1)
	"invlpg 0x400000\n xorl $0x200000, 0x102018\n invlpg 0x600000\n"
	CALL_JUMPER("0x610000", 1)
	STOP);
/* clang-format on */

static void load_jumper(struct core *k, u64 page, const void *answer, size_t size)
{
	core_load(k, page + JUMPER, jumper, CODE_SIZE(jumper));
	core_load(k, page + JUMPER + 0x800, answer, size);
	core_load(k, page + JUMPER + 0x400, comes_back, CODE_SIZE(comes_back));
}

TEST(a_jump_inside_a_page_never_leads_into_another)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	load_jumper(&k, LOW, answers_1, CODE_SIZE(answers_1));
	load_jumper(&k, OTHER, answers_2, CODE_SIZE(answers_2));
	core_load(&k, CORE_CODE, meanwhile, CODE_SIZE(meanwhile));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 1);
	core_fini(&k);
}

/* --- returns that the host predicts, and addresses that aren't canonical --- */

#define EDGE 0x7ffffffff000 /* the last page of the lower half */
#define LAST (EDGE + PAGE_SIZE - 5)

/* The call ends where the lower half does: it leads to 2 MiB in front of there, and what returns is too far. */
CODE(last_call, "call . + 5 - 0x200000\n");
CODE(counts_and_returns, "inc %ebx\n ret\n");
CODE(to_the_edge, "mov $40, %ebp\n mov $0x300000, %esi\n"
		  "1: lea 2f(%rip), %rax\n mov %rax, 0x208000\n mov $0x208000, %esp\n jmp *%r12\n"
		  "2: dec %ebp\n jnz 1b\n" STOP);
/* The frame's RIP, which is to be the return's; then on with the loop. */
CODE(counts_faults, "pop %rax\n pop %rdi\n mov 16(%rsp), %rsi\n inc %r13d\n"
		    "add $32, %rsp\n mov $0x208000, %esp\n ret\n");

static void map_edge(struct core *k)
{
	const u64 pd = (CORE_TABLES + 0x2000) | 7;
	u64 pdpt = (CORE_TABLES + 0x1000) | 7, memory = 0x400000 | 0x87, before = 0x600000 | 0x87;

	/* Entries 510 and 511 of the lower half's last page directory, which is all of the lower half's here. */
	core_load(k, CORE_TABLES + 255 * 8, &pdpt, 8);
	core_load(k, CORE_TABLES + 0x1000 + 511 * 8, &pd, 8);
	core_load(k, CORE_TABLES + 0x2000 + 511 * 8, &memory, 8);
	core_load(k, CORE_TABLES + 0x2000 + 510 * 8, &before, 8);
}

TEST(a_return_beyond_the_lower_half_faults_at_the_return)
{
	u64 in_page = LAST & (2 * MIB - 1), target = in_page + 5; /* of the 2 MiB before */
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	map_edge(&k);
	CHECK_EQ(target, 2 * MIB);
	core_load(&k, 0x400000 + in_page, last_call, CODE_SIZE(last_call));
	core_load(&k, 0x400000, counts_and_returns, CODE_SIZE(counts_and_returns));
	core_load(&k, CORE_CODE, to_the_edge, CODE_SIZE(to_the_edge));
	core_load(&k, CORE_CODE + 0x2000, counts_faults, CODE_SIZE(counts_faults));
	core_set_gate(&k, X86_GP, CORE_CODE + 0x2000, CORE_CS64, 1, 0x8e);
	s.gpr[X86_R12] = LAST;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ((u32)s.gpr[X86_RBX], 40);
	CHECK_EQ((u32)s.gpr[X86_R13], 40);
	CHECK_EQ(s.gpr[X86_RDI], EDGE - 2 * MIB + PAGE_SIZE + 2);
	core_fini(&k);
}
