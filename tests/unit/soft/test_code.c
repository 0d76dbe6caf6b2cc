/*
 * Decoded code against changing memory: self-modifying code, other writers, TLB flushes.
 */
#include "base/err.h"
#include "core_fixture.h"
#include "mem/gmem.h"
#include "test.h"

/* The instruction behind the store is the one stored to, in the same block. */
CODE(patch_next, "movb $0x22, smc_target+1-patch_next+0x10000\n"
		 "smc_target: mov $0x11, %bl\n" STOP);

TEST(a_store_into_the_next_instruction_is_seen)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, patch_next, CODE_SIZE(patch_next));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX] & 0xff, 0x22);
	core_fini(&k);
}

/* A loop that increments the immediate it adds: 1 + 2 + ... + 100. */
CODE(patch_loop, "xor %eax, %eax\n mov $100, %ecx\n"
		 "pl_again: pl_add: add $1, %eax\n"
		 "incb pl_add+2-patch_loop+0x10000\n"
		 "dec %ecx\n jnz pl_again\n mov %eax, %ebx\n" STOP);

TEST(a_loop_may_rewrite_itself)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, patch_loop, CODE_SIZE(patch_loop));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 5050);
	core_fini(&k);
}

/* A function in another page writes now and then the immediate that its caller loads as soon as it has returned. */
CODE(calls_writer, "mov $1000, %ecx\n xor %ebx, %ebx\n xor %esi, %esi\n mov $0x11000, %edx\n"
		   "cw_again: call *%rdx\n cw_load: mov $0, %eax\n"
		   "cmp %esi, %eax\n je 1f\n inc %ebx\n 1: dec %ecx\n jnz cw_again\n" STOP
		   "cw_writer: test $15, %cl\n jnz 1f\n mov %ecx, %esi\n"
		   "mov %ecx, cw_load+1-calls_writer+0x10000\n 1: ret\n");

TEST(what_a_function_elsewhere_writes_into_its_caller_is_seen)
{
	extern const u8 cw_writer[];
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, calls_writer, CODE_SIZE(calls_writer));
	core_load(&k, CORE_CODE + 0x1000, cw_writer,
		  CODE_SIZE(calls_writer) - (size_t)(cw_writer - calls_writer));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RSI], 16);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	core_fini(&k);
}

/* REP STOSB over the code that comes next. */
CODE(patch_rep, "mov $pr_from-patch_rep+0x10000, %edi\n mov $3, %ecx\n mov $0x90, %al\n rep stosb\n"
		"pr_from: inc %ebx\n nop\n" STOP);

TEST(a_string_store_may_overwrite_what_follows)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, patch_rep, CODE_SIZE(patch_rep));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	core_fini(&k);
}

/* Data beside code, written in a loop: the code stays what it is. */
CODE(mixed, "mov $1000, %ecx\n 1: incl mx_data-mixed+0x10000\n dec %ecx\n jnz 1b\n"
	    "mov mx_data-mixed+0x10000, %ebx\n" STOP "mx_data: .long 0\n");

TEST(data_may_share_a_page_with_code)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, mixed, CODE_SIZE(mixed));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 1000);
	core_fini(&k);
}

CODE(return_1, "mov $1, %ebx\n" STOP);
CODE(return_2, "mov $2, %ebx\n" STOP);

TEST(writes_of_devices_reach_decoded_code)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	for (unsigned n = 0; n < 4; n++) {
		core_long_mode(&k, &s);
		core_load(&k, CORE_CODE, n & 1 ? return_2 : return_1, CODE_SIZE(return_1));
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(s.gpr[X86_RBX], n & 1 ? 2 : 1);
	}
	core_fini(&k);
}

/* An instruction that begins at a page's end and one that is changed in its second page. */
CODE(crossing, "cr_again: mov $0x11223344, %ebx\n" STOP);

TEST(instructions_cross_pages_and_may_change_there)
{
	struct core k;
	struct x86_cpu_state s;
	u8 other = 0x55;

	core_init(&k);
	core_long_mode(&k, &s);
	s.rip = CORE_CODE + 0xffd;
	core_load(&k, s.rip, crossing, CODE_SIZE(crossing));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x11223344);
	core_load(&k, CORE_CODE + 0x1001, &other, 1);
	core_long_mode(&k, &s);
	s.rip = CORE_CODE + 0xffd;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x55223344);
	core_fini(&k);
}

/* RIP-relative: the same physical page at two addresses must give each its own RIP. */
CODE(where_am_i, "lea 0(%rip), %rax\n jmp *%r8\n");
CODE(two_mappings, "mov $tm_1-two_mappings+0x10000, %r8d\n mov $0x220000, %ecx\n jmp *%rcx\n"
		   "tm_1: mov %rax, %rbx\n"
		   "mov $tm_2-two_mappings+0x10000, %r8d\n mov $0x420000, %ecx\n jmp *%rcx\n"
		   "tm_2: mov %rax, %rdx\n" STOP);

TEST(a_page_mapped_twice_runs_at_both_addresses)
{
	struct core k;
	struct x86_cpu_state s;
	u64 entry = 0x200000 | 0x83;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_TABLES + 0x2000 + 2 * 8, &entry, 8); /* 4 MiB leads to 2 MiB, too */
	core_load(&k, CORE_CODE, two_mappings, CODE_SIZE(two_mappings));
	core_load(&k, 0x220000, where_am_i, CODE_SIZE(where_am_i));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x220007);
	CHECK_EQ(s.gpr[X86_RDX], 0x420007);
	core_fini(&k);
}

/* A displacement of nearly 2 GiB behind a long block. */
CODE(far_rip, ".rept 40\n nop\n .endr\n lea 0x7ffffff0(%rip), %rbx\n fr_end:\n" STOP);

TEST(a_huge_rip_relative_displacement_is_exact)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, far_rip, CODE_SIZE(far_rip));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], CORE_CODE + 47 + 0x7ffffff0);
	core_fini(&k);
}

/* INVLPG of one piece of a large page makes the new mapping of another seen. */
CODE(remap_large, "mov 0x400000, %eax\n mov 0x500000, %ebx\n" /* both pieces are in the TLB */
		  "movq $0x6000e3, 0x102010\n"                /* 4 MiB now leads to 6 MiB */
		  "invlpg 0x400000\n mov 0x500000, %ebx\n" STOP);

TEST(invlpg_drops_all_pieces_of_a_large_page)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, remap_large, CODE_SIZE(remap_large));
	core_load(&k, 0x500000, "\x11\x11\x11\x11", 4);
	core_load(&k, 0x700000, "\x77\x77\x77\x77", 4);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x77777777);
	core_fini(&k);
}

CODE(remap_global, "mov 0x400000, %eax\n"
		   "movq $0x6000e3, 0x102010\n"
		   "mov %cr3, %rax\n mov %rax, %cr3\n mov 0x400000, %ebx\n"
		   "mov %cr4, %rax\n xor $0x80, %rax\n mov %rax, %cr4\n mov 0x400000, %ecx\n" STOP);

TEST(a_cr3_write_keeps_global_pages_and_cr4_drops_them)
{
	struct core k;
	struct x86_cpu_state s;
	u64 global = 0x400000 | 0x1e3;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_TABLES + 0x2000 + 2 * 8, &global, 8);
	core_load(&k, CORE_CODE, remap_global, CODE_SIZE(remap_global));
	core_load(&k, 0x400000, "\x11\x11\x11\x11", 4);
	core_load(&k, 0x600000, "\x77\x77\x77\x77", 4);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x11111111);
	CHECK_EQ(s.gpr[X86_RCX], 0x77777777);
	core_fini(&k);
}

/* The dirty log sees each page's first write after it was taken, by way of the TLB. */
CODE(two_stores, "movl $1, 0x400000\n movl $1, 0x600000\n movl $2, 0x400000\n" STOP);

TEST(the_dirty_log_sees_writes_again_after_it_was_taken)
{
	struct core k;
	struct x86_cpu_state s;
	struct err err;
	u64 bits[CORE_RAM / PAGE_SIZE / 64];

	core_init(&k);
	for (unsigned n = 0; n < 2; n++) {
		core_long_mode(&k, &s);
		core_load(&k, CORE_CODE, two_stores, CODE_SIZE(two_stores));
		CHECK_EQ(gmem_log_start(k.gmem, &err), 0);
		gmem_log_take(k.gmem, k.ram, bits);
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		gmem_log_take(k.gmem, k.ram, bits);
		CHECK(bits[0x400 / 64] & 1);
		CHECK(bits[0x600 / 64] & 1);
		CHECK(!(bits[0x500 / 64] & 1));
	}
	gmem_log_stop(k.gmem);
	core_fini(&k);
}
