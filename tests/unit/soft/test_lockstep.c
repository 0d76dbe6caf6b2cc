/*
 * Lockstep: translated code that is right goes through, and each of three bugs planted in it is found.
 *
 * The bugs are planted by the tests, in the code that was emitted: the guest's program goes round
 * until everything is translated, then writes to a port, and the code is changed behind it.
 */
#include <stdlib.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/lockstep.h"
#include "accel/soft/native.h"
#include "base/err.h"
#include "core_fixture.h"
#include "test.h"

#define PORT_PLANT 0x99

struct plant {
	const u8 *find, *put;
	unsigned size;
	unsigned n; /* how often it was found */
};

/* Everywhere in the blocks' code. */
static void plant(struct sx_cpu *c, struct plant *p)
{
	struct sx_native *n = c->native;

	for (u64 at = n->common; at + p->size <= n->used; at++) {
		if (memcmp(n->write + at, p->find, p->size))
			continue;
		memcpy(n->write + at, p->put, p->size);
		p->n++;
	}
}

static void on_port(void *opaque, struct core *k, u16 port)
{
	if (port == PORT_PLANT)
		plant(sx_cpu_of(k->vcpu[0]), opaque);
}

/* Sums, stores, flags that are needed after a store, a condition, a call, a page of stores by REP. */
/* clang-format off */
CODE(program,
     "mov $0x200000, %edi\n xor %ebx, %ebx\n mov $3, %ebp\n"
     "0: mov $40, %ecx\n mov $0x1ffffffff, %rdx\n"
     "1: add %rdx, %rbx\n mov %rbx, (%rdi,%rcx,8)\n"
     "cmp $20, %ecx\n mov %ecx, 0x400(%rdi)\n jb 2f\n"
     "inc %rbx\n xor %rcx, %rbx\n"
     "2: call 4f\n dec %ecx\n jnz 1b\n"
     "mov $0, %eax\n mov $600, %ecx\n push %rdi\n add $0x1000, %rdi\n rep stosq\n pop %rdi\n"
     "out %al, $0x99\n dec %ebp\n jnz 0b\n" STOP
     "4: adc $0, %rbx\n push %rbx\n pop %rax\n rol $3, %rax\n ret\n");
/* clang-format on */

/* More pages than a stretch may write, by one instruction; STI, with and without something behind it that can be
 * done again; a string into its own page of code; flags that products leave undefined, to memory. */
/* clang-format off */
CODE(odd_program,
     "mov $0x200000, %esi\n mov $0x400000, %edi\n mov $(200 * 512), %ecx\n rep movsq\n"
     "mov $50, %ebp\n mov $3, %ebx\n"
     "0: xor %eax, %eax\n cli\n sti\n inc %ecx\n dec %ecx\n"
     "1: sti\n out %al, $0x98\n"
     "lea 3f(%rip), %rdi\n lea 3f(%rip), %rsi\n mov $5, %ecx\n rep movsb\n"
     "cmp %rbp, %rbp\n imul %rbx, %rbx\n pushf\n pop %rdx\n"
     "add $0x7f, %al\n mov %ebx, %eax\n mul %eax\n pushf\n pop %rdx\n"
     "dec %ebp\n jnz 0b\n" STOP
     "3: .fill 8, 1, 0x90\n");
/* clang-format on */

/* The same, where each engine is at another element when the stretch is full: overlapping bytes, in flat 32-bit code. */
/* clang-format off */
CODE(full_program,
     ".code32\n mov $0x3000bb, %esi\n mov $0x205153, %edi\n mov $0x60000, %ecx\n xor %eax, %eax\n"
     "1: inc %eax\n jz 1b\n nop\n jmp 2f\n"
     "2: into\n rep movsb\n" STOP);
/* clang-format on */

/* An access to a device behind a jump at which translated code leaves off, and the interpreter doesn't: its walk sets an
 * accessed bit that the other's doesn't, yet. */
/* clang-format off */
CODE(device_program,
     "mov $9, %ecx\n mov $0xc0000000, %esi\n jmp 2f\n"
     "1: mov (%rsi), %ebx\n dec %ecx\n jz 3f\n"
     "2: andq $-0x61, 0x101018\n mov %cr3, %rax\n mov %rax, %cr3\n inc %edx\n jmp 1b\n"
     "3: " STOP);
/* clang-format on */

/* ENTER that writes, something else each time, and then reads a device, behind a jump at which translated code leaves off: the
 * interpreter doesn't, and has written when it comes to the device. */
/* clang-format off */
CODE(enter_program,
     "mov $9, %ecx\n lea 1f(%rip), %rdx\n jmp 2f\n"
     "1: enter $16, $2\n dec %ecx\n jz 3f\n"
     "2: mov $0x208000, %esp\n lea 0xc0000108(,%ecx,8), %ebp\n jmp *%rdx\n"
     "3: " STOP);
/* clang-format on */

/* Many blocks, over and over. */
/* clang-format off */
CODE(walk_program,
     "mov $0x1ffffffff, %rbx\n mov $5, %edx\n"
     "1: mov $250, %ecx\n lea 4f(%rip), %rax\n"
     "2: call *%rax\n add $6, %rax\n dec %ecx\n jnz 2b\n"
     "out %al, $0x99\n dec %edx\n jnz 1b\n" STOP
     "4: .rept 250\n add %rcx, %rbx\n jnc 5f\n 5: ret\n .endr\n");
/* clang-format on */

/* A store whose page is clean, and behind it one to the stack, whose page isn't in the TLB: where both are looked up in front of the
 * first, at the end of a stretch. */
/* clang-format off */
CODE(clean_program,
     "mov $9, %ecx\n mov $0x400000, %esi\n"
     "1: andq $-0x61, 0x102010\n mov %cr3, %rax\n mov %rax, %cr3\n"
     ".rept 199\n inc %edx\n .endr\n sti\n nop\n"
     "sub %ecx, (%rsi)\n push %rcx\n adc $0, %ebx\n pop %rdi\n dec %ecx\n jnz 1b\n" STOP);
/* clang-format on */

static enum vcpu_stop run_in_room(struct core *k, const u8 *code, size_t size, struct plant *p,
				  u64 room)
{
	struct x86_cpu_state s;

	core_init_lockstep(k);
	if (room)
		sx_cpu_of(k->vcpu[0])->cache->room = room;
	if (p) {
		k->on_port = on_port;
		k->on_port_opaque = p;
	}
	core_long_mode(k, &s);
	core_load(k, CORE_CODE, code, size);
	return core_run(k, &s);
}

static enum vcpu_stop run_code(struct core *k, const u8 *code, size_t size, struct plant *p)
{
	return run_in_room(k, code, size, p, 0);
}

static enum vcpu_stop run(struct core *k, struct plant *p)
{
	return run_code(k, program, CODE_SIZE(program), p);
}

TEST(right_code_goes_through)
{
	struct core k;

	CHECK_EQ(run(&k, NULL), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK(core_count(&k, SX_N_LOCKSTEP_STRETCH) > 3);
	CHECK(core_count(&k, SX_N_LOCKSTEP_INSN) > 3 * 40 * 8);
	CHECK(core_count(&k, SX_N_LOCKSTEP_SKIPPED) * 10 < core_count(&k, SX_N_LOCKSTEP_INSN));
	CHECK(core_count(&k, SX_N_TRANSLATED) > 3);
	core_fini(&k);
}

/* Of blocks that are swept only what was translated stays: the interpreter gets its side from the guest's bytes. */
TEST(blocks_are_swept_meanwhile)
{
	struct plant p = {
		.find = (const u8 *)"\x48\x01\xcb", .put = (const u8 *)"\x40\x01\xcb", .size = 3};
	struct core k;

	CHECK_EQ(run_in_room(&k, walk_program, CODE_SIZE(walk_program), NULL, SX_ROOM_MIN),
		 VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK(core_count(&k, SX_N_BLOCK_SWEEP) > 1);
	CHECK_EQ(core_count(&k, SX_N_BLOCK_DROP), 0);
	CHECK(core_count(&k, SX_N_LOCKSTEP_INSN) > 5 * 250 * 6);
	core_fini(&k);
	CHECK_EQ(run_in_room(&k, walk_program, CODE_SIZE(walk_program), &p, SX_ROOM_MIN),
		 VCPU_STOP_BROKEN);
	CHECK(p.n > 100);
	CHECK(core_count(&k, SX_N_BLOCK_SWEEP) > 0);
	CHECK_EQ(core_count(&k, SX_N_BLOCK_DROP), 0);
	core_fini(&k);
}

TEST(what_engines_do_each_in_its_own_way_goes_through)
{
	struct core k;

	CHECK_EQ(run_code(&k, odd_program, CODE_SIZE(odd_program), NULL), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK(core_count(&k, SX_N_LOCKSTEP_INSN) > 50 * 20);
	core_fini(&k);
}

TEST(an_instruction_that_writes_before_it_reads_a_device_goes_through)
{
	struct core k;

	CHECK_EQ(run_code(&k, enter_program, CODE_SIZE(enter_program), NULL), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK_EQ(k.mmio_reads, 9);
	core_fini(&k);
}

TEST(a_string_that_fills_a_stretch_goes_through)
{
	struct x86_cpu_state s;
	struct core k;

	core_init_lockstep(&k);
	core_protected_mode(&k, &s);
	core_load(&k, CORE_CODE, full_program, CODE_SIZE(full_program));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK_EQ(s.gpr[X86_RDI], 0x265153);
	core_fini(&k);
}

TEST(a_page_is_dirty_only_once_it_is_written)
{
	struct core k;

	static_assert(CORE_TABLES == 0x100000, "the entry of the third 2 MiB is cleared above");
	CHECK_EQ(run_code(&k, clean_program, CODE_SIZE(clean_program), NULL), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	core_fini(&k);
}

TEST(a_walk_for_what_is_done_once_is_no_difference)
{
	struct core k;

	static_assert(CORE_TABLES == 0x100000, "the entry of the fourth GiB is cleared above");
	CHECK_EQ(run_code(&k, device_program, CODE_SIZE(device_program), NULL), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK_EQ(k.mmio_reads, 9);
	core_fini(&k);
}

static void check_found(struct plant *p)
{
	struct core k;

	CHECK_EQ(run(&k, p), VCPU_STOP_BROKEN);
	CHECK(p->n > 0);
	CHECK(sx_lockstep_difference(sx_cpu_of(k.vcpu[0])));
	CHECK(strstr(k.vcpu[0]->broken, "lockstep: the translated code at 0x10"));
	core_fini(&k);
}

/* ADD RBX, RDX on 32 bits. */
TEST(a_wrong_operand_size_is_found)
{
	struct plant p = {
		.find = (const u8 *)"\x48\x01\xd3", .put = (const u8 *)"\x40\x01\xd3", .size = 3};

	check_found(&p);
}

/* LAHF, SETO AL: the flags that CMP left are not kept over the store. */
TEST(flags_that_are_not_kept_are_found)
{
	struct plant p = {.find = (const u8 *)"\x9f\x0f\x90\xc0",
			  .put = (const u8 *)"\x90\x0f\x1f\xc0",
			  .size = 4};

	check_found(&p);
}

/* JB as JNB, behind the store to 0x400(%rdi): the two bytes alone may be part of an address. */
TEST(a_wrong_condition_is_found)
{
	struct plant p = {.find = (const u8 *)"\x00\x04\x00\x00\x0f\x82",
			  .put = (const u8 *)"\x00\x04\x00\x00\x0f\x83",
			  .size = 6};

	check_found(&p);
}
