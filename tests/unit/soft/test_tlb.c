/*
 * The software TLB seen from the guest: address spaces, what each flush takes and leaves, growth.
 *
 * Where a processor may keep a translation or drop it, we keep it, and the tests want that: it is what
 * the tags are for.
 */
#include <string.h>

#include "accel/soft/cpu.h"
#include "accel/soft/state.h"
#include "accel/soft/system.h"
#include "base/err.h"
#include "core_fixture.h"
#include "mem/gmem.h"
#include "test.h"

/* A second set of tables: its 4 MiB lead to 6 MiB. */
#define OTHER_TOP 0x110000u
#define OTHER_DIR 0x112000u
#define AT        0x400000u
#define ELSEWHERE 0x600000u
#define LEAF      0xe3u
#define GLOBAL    0x100u

static void put(struct core *k, u64 gpa, u64 v)
{
	core_load(k, gpa, &v, sizeof(v));
}

static void begin(struct core *k, struct x86_cpu_state *s, const void *code, size_t size)
{
	core_init(k);
	core_long_mode(k, s);
	memcpy(core_ram(k, OTHER_DIR), core_ram(k, CORE_TABLES + 0x2000), PAGE_SIZE);
	put(k, OTHER_TOP, 0x111007);
	put(k, 0x111000, OTHER_DIR | 7);
	put(k, OTHER_DIR + 16, ELSEWHERE | LEAF);
	put(k, AT, 0x1111);
	put(k, ELSEWHERE, 0x7777);
	core_load(k, CORE_CODE, code, size);
}

static u64 counted(struct core *k, enum sx_count which)
{
	return sx_cpu_of(k->vcpu[0])->counts.n[which];
}

/* clang-format off */
#define PCIDE     "mov %cr4, %rax\n bts $17, %rax\n mov %rax, %cr4\n"
#define TO(top)   "mov $" top ", %eax\n mov %rax, %cr3\n"
#define KEEP(top) "mov $" top ", %eax\n bts $63, %rax\n mov %rax, %cr3\n"

CODE(spaces, PCIDE "mov 0x400000, %r8d\n"
	     TO("0x110001") "mov 0x400000, %r9d\n"
	     "movq $0x4000e3, 0x112010\n"
	     KEEP("0x100000") "mov 0x400000, %r10d\n"
	     KEEP("0x110001") "mov 0x400000, %r11d\n"
	     TO("0x110001") "mov 0x400000, %r12d\n" STOP);
/* clang-format on */

TEST(address_spaces_keep_their_translations_until_they_are_written_without_bit_63)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, spaces, CODE_SIZE(spaces));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_R8], 0x1111);
	CHECK_EQ(s.gpr[X86_R9], 0x7777);
	CHECK_EQ(s.gpr[X86_R10], 0x1111);
	CHECK_EQ(s.gpr[X86_R11], 0x7777);
	CHECK_EQ(s.gpr[X86_R12], 0x1111);
	CHECK_EQ(counted(&k, SX_N_SWITCH), 2);
	core_fini(&k);
}

/* So many pages, by RSI, before the address space is another: R8 from the first after that, R9 from the last. */
/* clang-format off */
CODE(touches, "mov $0x400000, %edx\n mov %esi, %ecx\n"
	      "1: mov (%rdx), %eax\n add $4096, %edx\n dec %ecx\n jnz 1b\n"
	      TO("0x110000") "mov 0x400000, %r8d\n mov -4096(%rdx), %r9d\n" STOP);
/* clang-format on */

TEST(a_switch_takes_few_pages_and_many)
{
	static const u64 pages[] = {1, 3, SX_TLB_LOCALS - 3, SX_TLB_LOCALS, SX_TLB_LOCALS + 1, 500};

	for (size_t n = 0; n < ARRAY_SIZE(pages); n++) {
		struct core k;
		struct x86_cpu_state s;

		begin(&k, &s, touches, CODE_SIZE(touches));
		put(&k, ELSEWHERE + (pages[n] - 1) * PAGE_SIZE, 0x8888);
		put(&k, ELSEWHERE, 0x7777);
		s.gpr[X86_RSI] = pages[n];
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(s.gpr[X86_R8], 0x7777);
		CHECK_EQ(s.gpr[X86_R9], pages[n] == 1 ? 0x7777 : 0x8888);
		core_fini(&k);
	}
}

/* A page of code that was written by more addresses than are noted for it; then by each again. RBX: how often the code was what it is. */
/* clang-format off */
CODE(aliases, "mov $0x400000, %edx\n mov $8, %ecx\n"
	      "1: movb $1, 0x800(%rdx)\n add $4096, %edx\n dec %ecx\n jnz 1b\n"
	      "mov $0x601000, %esi\n call *%rsi\n xor %ebx, %ebx\n mov $0x400000, %edx\n mov $8, %ecx\n"
	      "2: mov %ecx, 1(%rdx)\n call *%rsi\n cmp %ecx, %eax\n jne 3f\n inc %ebx\n"
	      "3: add $4096, %edx\n dec %ecx\n jnz 2b\n" STOP);
/* clang-format on */

TEST(a_page_of_code_is_written_by_many_addresses)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, aliases, CODE_SIZE(aliases));
	put(&k, CORE_TABLES + 0x2000 + 2 * 8, 0x113007);
	for (unsigned n = 0; n < 8; n++)
		put(&k, 0x113000 + n * 8, 0x601063);
	core_load(&k, 0x601000, "\xb8\0\0\0\0\xc3", 6);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 8);
	core_fini(&k);
}

/* RDI: INVPCID's type, its descriptor is at 0x200000; RSI: CR4 bits. R8 before, R9 after. */
/* clang-format off */
CODE(invalidate, "mov %cr4, %rax\n or %rsi, %rax\n mov %rax, %cr4\n"
		 TO("0x110001") "mov 0x400000, %r8d\n"
		 "movq $0x4000e3, 0x112010\n"
		 KEEP("0x100000")
		 "invpcid 0x200000, %rdi\n"
		 KEEP("0x110001") "mov 0x400000, %r9d\n" STOP);
/* clang-format on */

TEST(invpcid_takes_what_its_type_says)
{
	static const struct {
		u64 type, pcid, page;
		bool is_global, is_seen;
	} rows[] = {
		{0, 1, AT, false, true},
		{0, 1, AT + 0x5000, false, true}, /* its large page */
		{0, 1, ELSEWHERE, false, false},
		{0, 2, AT, false, false},
		{0, 0, AT, false, false},
		{1, 1, 0, false, true},
		{1, 0, 0, false, false},
		{1, 2, 0, false, false},
		{1, 1, 0, true, false},
		{2, 0, 0, false, true},
		{2, 0, 0, true, true},
		{3, 0, 0, false, true},
		{3, 0, 0, true, false},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		struct core k;
		struct x86_cpu_state s;

		begin(&k, &s, invalidate, CODE_SIZE(invalidate));
		put(&k, OTHER_DIR + 16, ELSEWHERE | LEAF | (rows[n].is_global ? GLOBAL : 0));
		put(&k, CORE_DATA, rows[n].pcid);
		put(&k, CORE_DATA + 8, rows[n].page);
		s.gpr[X86_RDI] = rows[n].type;
		s.gpr[X86_RSI] = X86_CR4_PCIDE | X86_CR4_PGE;
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(s.gpr[X86_R8], 0x7777);
		CHECK_EQ(s.gpr[X86_R9], rows[n].is_seen ? 0x1111 : 0x7777);
		core_fini(&k);
	}
}

/* A global page belongs to all address spaces: INVLPG in one takes it from the others. */
/* clang-format off */
CODE(global, "mov %cr4, %rax\n or $0x20080, %eax\n mov %rax, %cr4\n"
	     TO("0x110001") "stac\n mov 0x400000, %r8d\n"
	     "movq $0x4000e3, 0x112010\n"
	     KEEP("0x100000") "invlpg 0x400000\n"
	     KEEP("0x110001") "mov 0x400000, %r9d\n" STOP);
/* clang-format on */

TEST(invlpg_takes_global_pages_of_other_address_spaces)
{
	for (unsigned n = 0; n < 2; n++) {
		struct core k;
		struct x86_cpu_state s;

		begin(&k, &s, global, CODE_SIZE(global));
		put(&k, OTHER_DIR + 16, ELSEWHERE | LEAF | (n ? GLOBAL : 0));
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(s.gpr[X86_R8], 0x7777);
		CHECK_EQ(s.gpr[X86_R9], n ? 0x1111 : 0x7777);
		core_fini(&k);
	}
}

/* Twelve address spaces in turn, three times over; RBX adds up what each sees. */
/* clang-format off */
CODE(many, PCIDE "xor %ebx, %ebx\n mov $3, %ecx\n"
	   "1: mov $12, %esi\n"
	   "2: mov $0x100000, %eax\n test $1, %esi\n jz 3f\n mov $0x110000, %eax\n"
	   "3: or %rsi, %rax\n bts $63, %rax\n mov %rax, %cr3\n"
	   "add 0x400000, %ebx\n dec %esi\n jnz 2b\n dec %ecx\n jnz 1b\n" STOP);
/* clang-format on */

TEST(there_may_be_more_address_spaces_than_tables)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, many, CODE_SIZE(many));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 3 * 6 * (0x1111 + 0x7777));
	core_fini(&k);
}

TEST(bit_63_and_pcide_have_their_rules)
{
	/* clang-format off */
	static const struct {
		u64 cr4, cr3, write;
		bool writes_cr4, is_refused;
	} rows[] = {
		{0, CORE_TABLES, CORE_TABLES | X86_CR3_NOFLUSH, false, true},
		{X86_CR4_PCIDE, CORE_TABLES, CORE_TABLES | X86_CR3_NOFLUSH, false, false},
		{X86_CR4_PCIDE, CORE_TABLES, CORE_TABLES | BIT(62), false, true},
		{0, CORE_TABLES, X86_CR4_PAE | X86_CR4_PCIDE, true, false},
		{0, CORE_TABLES | 0x18, X86_CR4_PAE | X86_CR4_PCIDE, true, true},
	};
	/* clang-format on */

	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		struct core k;
		struct x86_cpu_state s;
		struct sx_cpu *c;

		core_init(&k);
		core_long_mode(&k, &s);
		c = sx_cpu_of(k.vcpu[0]);
		s.cr4 |= rows[n].cr4;
		s.cr3 = rows[n].cr3;
		sx_state_load(c, &s);
		CHECK_EQ(rows[n].writes_cr4 ? sx_cr4_write(c, rows[n].write)
					    : sx_cr3_write(c, rows[n].write),
			 !rows[n].is_refused);
		CHECK(!(c->cr3 & X86_CR3_NOFLUSH));
		core_fini(&k);
	}
}

CODE(bad_invpcid, "invpcid 0x200000, %rdi\n" STOP);
CODE(bad_invpcid_handler, "mov $0x77, %ebx\n" STOP);

TEST(invpcid_refuses_what_is_reserved)
{
	static const struct {
		u64 type, pcid, page;
	} rows[] = {
		{4, 0, 0},       {0, 0x1000, 0}, {1, 0x1000, 0},
		{0, 0, BIT(55)}, {1, 1, 0}, /* CR4.PCIDE is clear */
	};

	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		struct core k;
		struct x86_cpu_state s;

		begin(&k, &s, bad_invpcid, CODE_SIZE(bad_invpcid));
		core_load(&k, 0x20000, bad_invpcid_handler, CODE_SIZE(bad_invpcid_handler));
		core_set_gate(&k, X86_GP, 0x20000, CORE_CS64, 0, 0x8e);
		put(&k, CORE_DATA, rows[n].pcid);
		put(&k, CORE_DATA + 8, rows[n].page);
		s.gpr[X86_RDI] = rows[n].type;
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(s.gpr[X86_RBX], 0x77);
		core_fini(&k);
	}
}

/* Every page from 2 to 8 MiB, eight times: more than a table holds at first. */
CODE(sweep,
     "xor %ebx, %ebx\n mov $8, %ecx\n"
     "1: mov $0x200000, %esi\n"
     "2: add (%rsi), %ebx\n addl $1, 8(%rsi)\n add $0x1000, %esi\n cmp $0x800000, %esi\n jb 2b\n"
     "dec %ecx\n jnz 1b\n" STOP);

TEST(a_table_grows_and_loses_nothing)
{
	struct core k;
	struct x86_cpu_state s;
	u32 value;

	begin(&k, &s, sweep, CODE_SIZE(sweep));
	put(&k, AT, 0);
	put(&k, ELSEWHERE, 0);
	for (u32 page = 0x200; page < 0x800; page++)
		put(&k, page * PAGE_SIZE, page);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 8 * (0x200 + 0x7ff) * 0x600 / 2);
	CHECK(counted(&k, SX_N_TLB_GROWS) >= 1);
	for (u32 page = 0x200; page < 0x800; page++) {
		memcpy(&value, core_ram(&k, page * PAGE_SIZE + 8), 4);
		CHECK_EQ(value, 8);
	}
	core_fini(&k);
}

/* What was not there, or not writable, needs no flush (SDM 3A, 4.10.4.3); the walk starts anew. R8: seen. */
CODE(without_flush, "mov 0x400000, %eax\n"
		    "mov 0x800000, %eax\n" STOP);
CODE(map_it, "movq $0x113007, 0x102020\n iretq\n");

TEST(an_entry_that_becomes_present_is_seen_without_a_flush)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, without_flush, CODE_SIZE(without_flush));
	put(&k, 0x102020, 0);
	put(&k, 0x113000, ELSEWHERE | 3);
	/* The handler maps it, and drops the error code. */
	core_load(&k, 0x20000, "\x48\x83\xc4\x08", 4);
	core_load(&k, 0x20004, map_it, CODE_SIZE(map_it));
	core_set_gate(&k, X86_PF, 0x20000, CORE_CS64, 0, 0x8e);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.cr2, 0x800000);
	core_fini(&k);
}

/* INVLPG takes what walks remember of upper levels, whatever address they serve (SDM 3A, 4.10.4.1). */
CODE(upper_level, "mov 0x400000, %r8d\n mov 0x401000, %r9d\n"
		  "movq $0x114007, 0x102010\n invlpg 0x200000\n"
		  "mov 0x402000, %r10d\n" STOP);

TEST(invlpg_takes_what_walks_remember)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, upper_level, CODE_SIZE(upper_level));
	put(&k, 0x102010, 0x113007);
	for (unsigned n = 0; n < 3; n++) {
		put(&k, 0x113000 + n * 8, AT | 3);
		put(&k, 0x114000 + n * 8, ELSEWHERE | 3);
	}
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_R8], 0x1111);
	CHECK_EQ(s.gpr[X86_R9], 0x1111);
	CHECK_EQ(s.gpr[X86_R10], 0x7777);
	core_fini(&k);
}

/* Reads enter a page without write permission; D is set by the first write alone. */
CODE(dirty,
     "mov 0x401000, %eax\n mov 0x113008, %r8\n mov %eax, 0x401000\n mov 0x113008, %r9\n" STOP);

TEST(the_dirty_bit_is_set_by_the_first_write)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, dirty, CODE_SIZE(dirty));
	put(&k, 0x102010, 0x113007);
	put(&k, 0x113008, AT | 3);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_R8], AT | 3 | X86_PTE_A);
	CHECK_EQ(s.gpr[X86_R9], AT | 3 | X86_PTE_A | X86_PTE_D);
	core_fini(&k);
}

TEST(generations_come_round)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, spaces, CODE_SIZE(spaces));
	sx_cpu_of(k.vcpu[0])->tlbs.generation = 0x7fffffff - 4; /* 31 bits */
	sx_cpu_of(k.vcpu[0])->tlbs.walk_generation = ~(u32)0 - 2;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_R11], 0x7777);
	CHECK_EQ(s.gpr[X86_R12], 0x1111);
	CHECK(sx_cpu_of(k.vcpu[0])->tlbs.generation < 1000);
	CHECK(sx_cpu_of(k.vcpu[0])->tlbs.walk_generation < 1000);
	core_fini(&k);
}

/* The kernel goes to the other of two address spaces with each system call, and keeps what is known of both. */
CODE(across, "xor %ebx, %ebx\n mov $40, %r12d\n"
	     "1: mov 0x400000, %rsi\n add %rsi, %rbx\n incq 0x400008\n syscall\n add 0x400000, "
	     "%r14\n dec %r12d\n jnz 1b\n" STOP "2: jmp 2b\n");
CODE(across_kernel,
     "mov %cr3, %rax\n xor $0x10003, %rax\n bts $63, %rax\n mov %rax, %cr3\n sysretq\n");

TEST(a_system_call_comes_back_to_another_address_space)
{
	const struct x86_segment data = {
		.limit = 0xffffffff, .attr = 0xc0f3, .selector = CORE_USER_DS};
	struct x86_segment code = {.limit = 0xffffffff, .attr = 0xa0fb, .selector = CORE_USER_CS64};
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, across_kernel, CODE_SIZE(across_kernel));
	core_load(&k, CORE_DATA, across, CODE_SIZE(across));
	put(&k, OTHER_DIR + 16, ELSEWHERE | LEAF | 4);
	put(&k, AT, 1);
	put(&k, ELSEWHERE, 100);
	for (unsigned n = 0; n < X86_SEGS; n++)
		s.seg[n] = n == X86_CS ? code : data;
	s.cr4 |= X86_CR4_PCIDE;
	s.cr3 = CORE_TABLES | 1;
	s.rip = CORE_DATA;
	s.rflags |= X86_FLAG_IOPL;
	s.lstar = CORE_CODE;
	s.star = 0x23ul << 48 | (u64)CORE_CS64 << 32;
	s.gpr[X86_R14] = 0;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 20 * 101);
	CHECK_EQ(s.gpr[X86_R14], 20 * 101);
	for (unsigned n = 0; n < 2; n++) {
		u64 count;

		memcpy(&count, core_ram(&k, (n ? ELSEWHERE : AT) + 8), sizeof(count));
		CHECK_EQ(count, 20);
	}
	core_fini(&k);
}

static void enter_writer(struct sx_cpu *c, u64 lin, u64 host)
{
	struct sx_tlb_entry *e = sx_tlb_replace(c, SX_TLB_SUPERVISOR, lin, false);

	e->addend = host - lin;
	sx_tlb_set_tags(c, SX_TLB_SUPERVISOR, e, lin, true);
}

/* A page that is written and executed in turn. */
TEST(writers_of_a_page_are_looked_for_in_all_tables_once_where_there_are_many)
{
	u64 host[2 * SX_WRITERS], at = (u64)1 << 40;
	struct core k;
	struct sx_cpu *c;

	core_init(&k);
	c = sx_cpu_of(k.vcpu[0]);
	for (unsigned n = 0; n < ARRAY_SIZE(host); at += PAGE_SIZE) {
		if (sx_tlb_writers_slot(at) == 1)
			host[n++] = at;
	}
	for (unsigned n = 0; n < ARRAY_SIZE(host); n++)
		enter_writer(c, AT + n * PAGE_SIZE, host[n]);
	for (unsigned n = 0; n < 10; n++) {
		enter_writer(c, AT, host[0]);
		sx_tlb_flush_writes_to(c, (const u8 *)(uintptr_t)host[0]);
		CHECK_EQ(sx_tlb_find(c, SX_TLB_SUPERVISOR, AT)->write, SX_TLB_NONE);
		CHECK_EQ(sx_tlb_find(c, SX_TLB_SUPERVISOR, AT)->read, AT);
	}
	CHECK_EQ(counted(&k, SX_N_FLUSH_SEARCH), 1);
	core_fini(&k);
}
