/*
 * Interrupts, NMIs, nested exceptions, single steps, breakpoints, and the state that stands for them.
 */
#include "base/err.h"
#include "core_fixture.h"
#include "test.h"

#define HANDLER (CORE_CODE + 0x1000)

static void set_handler(struct core *k, unsigned vector, const void *code, size_t size)
{
	core_load(k, HANDLER + vector * 0x40, code, size);
	core_set_gate(k, vector, HANDLER + vector * 0x40, CORE_CS64, 0, 0x8e);
}
#define SET_HANDLER(k, vector, name) set_handler(k, vector, name, CODE_SIZE(name))

CODE(halt_loop, "sti\n 1: hlt\n cmp $1, %ebx\n jne 1b\n" STOP);
CODE(count_irq, "inc %ebx\n iretq\n");

TEST(an_interrupt_wakes_a_halted_cpu)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, halt_loop, CODE_SIZE(halt_loop));
	SET_HANDLER(&k, 0x40, count_irq);
	k.apic[0].vector = 0x40;
	k.apic[0].pending = APIC_PENDING_INTR;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 1);
	core_fini(&k);
}

/* The interrupt is pending from the start: STI lets one more instruction through. */
CODE(sti_shadow, "sti\n inc %ecx\n inc %ecx\n cli\n" STOP);
CODE(note_ecx, "mov %ecx, %ebx\n iretq\n");

TEST(sti_holds_interrupts_off_for_one_instruction)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, sti_shadow, CODE_SIZE(sti_shadow));
	SET_HANDLER(&k, 0x40, note_ecx);
	k.apic[0].vector = 0x40;
	k.apic[0].pending = APIC_PENDING_INTR;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 1);
	CHECK_EQ(s.gpr[X86_RCX], 2);
	core_fini(&k);
}

/* Interrupts are on for one instruction at a time, and must come in there. */
CODE(sti_window, "1: sti\n nop\n cli\n test %ebx, %ebx\n jz 1b\n" STOP);

TEST(an_interrupt_comes_in_between_sti_and_cli)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, sti_window, CODE_SIZE(sti_window));
	SET_HANDLER(&k, 0x40, count_irq);
	k.apic[0].vector = 0x40;
	k.apic[0].pending = APIC_PENDING_INTR;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 1);
	core_fini(&k);
}

CODE(spin, "1: test %ebx, %ebx\n jz 1b\n" STOP);
CODE(nmi, "inc %ebx\n iretq\n");

TEST(an_nmi_needs_no_interrupt_flag)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, spin, CODE_SIZE(spin));
	SET_HANDLER(&k, X86_NMI, nmi);
	k.apic[0].pending = APIC_PENDING_NMI;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 1);
	CHECK(!s.nmi_blocked);
	core_fini(&k);
}

CODE(divide, "xor %ecx, %ecx\n div %ecx\n");
CODE(on_double_fault, "pop %rbx\n mov $0xdf, %ecx\n" STOP);

/* #DE whose handler is not present: #NP while delivering it, which makes #DF (SDM 3A, 6-5). */
TEST(two_contributory_exceptions_make_a_double_fault)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, divide, CODE_SIZE(divide));
	core_set_gate(&k, X86_DE, HANDLER, CORE_CS64, 0, 0x0e);
	SET_HANDLER(&k, X86_DF, on_double_fault);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	CHECK_EQ(s.gpr[X86_RCX], 0xdf);
	core_fini(&k);
}

CODE(int_80, "int $0x80\n");
CODE(on_gp, "pop %rbx\n pop %rcx\n" STOP);

TEST(a_missing_gate_raises_gp_with_its_vector)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, int_80, CODE_SIZE(int_80));
	SET_HANDLER(&k, X86_GP, on_gp);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x80 * 8 + 2);
	CHECK_EQ(s.gpr[X86_RCX], CORE_CODE);
	core_fini(&k);
}

/* To CPL 3 by IRETQ, back by a fault: RSP0 and IST are taken, SS becomes null. */
CODE(to_user, "push $0x2b\n push $0x208000\n push $2\n push $0x33\n push $0x210000\n iretq\n");
CODE(user, "mov $0x100000, %eax\n mov (%rax), %eax\n");
CODE(on_user_pf, "pop %rbx\n mov %ss, %ecx\n mov %rsp, %rdx\n" STOP);

TEST(a_fault_in_user_mode_switches_stacks)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, to_user, CODE_SIZE(to_user));
	core_load(&k, 0x210000, user, CODE_SIZE(user));
	SET_HANDLER(&k, X86_PF, on_user_pf);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], X86_PF_P | X86_PF_U);
	CHECK_EQ(s.gpr[X86_RCX], 0);
	CHECK_EQ(s.gpr[X86_RDX], CORE_STACK - 0x8000 - 5 * 8);
	CHECK_EQ(s.cr2, 0x100000);
	core_fini(&k);
}

CODE(stepped, "pushf\n orl $0x100, (%rsp)\n popf\n nop\n st_1: nop\n st_2: nop\n" STOP);
CODE(on_step, "mov (%rsp), %rcx\n mov %dr6, %rbx\n andl $~0x100, 16(%rsp)\n iretq\n");

TEST(the_trap_flag_traps_after_the_next_instruction)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, stepped, CODE_SIZE(stepped));
	SET_HANDLER(&k, X86_DB, on_step);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RCX], CORE_CODE + 10);
	CHECK(s.gpr[X86_RBX] & X86_DR6_BS);
	core_fini(&k);
}

CODE(watched, "mov $0x200010, %eax\n mov %rax, %dr0\n mov $0xd0402, %eax\n mov %rax, %dr7\n"
	      "movl $1, 0x200000\n movl $2, 0x200012\n wt_after: nop\n" STOP);
CODE(on_watch, "mov (%rsp), %rcx\n mov %dr6, %rbx\n xor %eax, %eax\n mov %rax, %dr7\n iretq\n");

TEST(a_data_breakpoint_traps_after_the_write)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, watched, CODE_SIZE(watched));
	SET_HANDLER(&k, X86_DB, on_watch);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX] & 15, 1);
	CHECK_EQ(s.gpr[X86_RCX], CORE_CODE + CODE_SIZE(watched) - 1 - 7);
	CHECK_EQ(*core_ram(&k, 0x200012), 2);
	core_fini(&k);
}

TEST(a_pending_event_survives_in_the_state)
{
	struct core k;
	struct x86_cpu_state s, t;
	struct err err;

	core_init(&k);
	core_long_mode(&k, &s);
	s.event_pending = true;
	s.event_vector = 0x40;
	s.event_kind = X86_EVENT_INTERRUPT;
	CHECK_EQ(k.vcpu[0]->ops->set_state(k.vcpu[0], &s, &err), 0);
	CHECK_EQ(k.vcpu[0]->ops->get_state(k.vcpu[0], &t, &err), 0);
	CHECK(t.event_pending);
	CHECK_EQ(t.event_vector, 0x40);
	/* And is delivered when the CPU runs again, whatever IF says. */
	core_load(&k, CORE_CODE, spin, CODE_SIZE(spin));
	SET_HANDLER(&k, 0x40, count_irq);
	CHECK_EQ(core_run(&k, &t), VCPU_STOP_REQUEST);
	CHECK_EQ(t.gpr[X86_RBX], 1);
	core_fini(&k);
}

TEST(all_of_the_state_comes_back)
{
	struct core k;
	struct x86_cpu_state s, t;
	struct err err;

	core_init(&k);
	core_long_mode(&k, &s);
	for (unsigned n = 0; n < X86_GPRS; n++)
		s.gpr[n] = (u64)0x1111111111111111 * (n + 1);
	for (unsigned n = X86_FXSAVE_XMM0; n < X86_FXSAVE_XMM0 + 256; n++)
		s.xsave[n] = (u8)n;
	s.rflags |= X86_FLAGS_ARITH | X86_FLAG_DF | X86_FLAG_IF | X86_FLAG_AC;
	s.dr[1] = 0x1234;
	s.cr2 = 0xabcdef;
	s.lstar = 0xffffffff81000000;
	s.kernel_gs_base = 0xffff888000000000;
	s.tsc_aux = 5;
	s.tsc_offset = 77;
	s.mtrr_mask[3] = 0x800;
	s.run_state = X86_HALTED;
	s.nmi_blocked = true;
	CHECK_EQ(k.vcpu[0]->ops->set_state(k.vcpu[0], &s, &err), 0);
	CHECK_EQ(k.vcpu[0]->ops->get_state(k.vcpu[0], &t, &err), 0);
	CHECK_MEM(t.gpr, s.gpr, sizeof(s.gpr));
	CHECK_MEM(t.xsave, s.xsave, sizeof(s.xsave));
	for (unsigned n = 0; n < X86_SEGS; n++) {
		CHECK_EQ(t.seg[n].base, s.seg[n].base);
		CHECK_EQ(t.seg[n].limit, s.seg[n].limit);
		CHECK_EQ(t.seg[n].attr, s.seg[n].attr);
		CHECK_EQ(t.seg[n].selector, s.seg[n].selector);
	}
	CHECK_MEM(t.dr, s.dr, sizeof(s.dr));
	CHECK_MEM(t.mtrr_mask, s.mtrr_mask, sizeof(s.mtrr_mask));
	CHECK_EQ(t.rflags, s.rflags);
	CHECK_EQ(t.cr2, s.cr2);
	CHECK_EQ(t.lstar, s.lstar);
	CHECK_EQ(t.kernel_gs_base, s.kernel_gs_base);
	CHECK_EQ(t.tsc_aux, 5);
	CHECK_EQ(t.tsc_offset, 77);
	CHECK_EQ(t.run_state, X86_HALTED);
	CHECK(t.nmi_blocked);
	core_fini(&k);
}

TEST(impossible_states_are_refused)
{
	struct core k;
	struct x86_cpu_state s;
	struct err err;

	core_init(&k);
	core_long_mode(&k, &s);
	s.cr0 &= ~X86_CR0_PG;
	CHECK_EQ(k.vcpu[0]->ops->set_state(k.vcpu[0], &s, &err), -EINVAL);
	CHECK_ERR(err, "paging");
	core_long_mode(&k, &s);
	s.xcr0 = 0;
	CHECK_EQ(k.vcpu[0]->ops->set_state(k.vcpu[0], &s, &err), -EINVAL);
	core_long_mode(&k, &s);
	s.run_state = 9;
	CHECK_EQ(k.vcpu[0]->ops->set_state(k.vcpu[0], &s, &err), -EINVAL);
	core_fini(&k);
}

CODE(read_mmio, "mov $0xe0000010, %rdi\n mov (%rdi), %ebx\n movw $0x1234, 2(%rdi)\n"
		"mov $0xfee00020, %edi\n mov (%rdi), %ecx\n movl $7, 0x60(%rdi)\n" STOP);

TEST(registers_are_reached_where_no_memory_is)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, read_mmio, CODE_SIZE(read_mmio));
	k.mmio_value = 0xcafe0001;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0xcafe0001);
	CHECK_EQ(k.mmio_value, 0x1234);
	CHECK_EQ(k.last_mmio, CORE_MMIO + 0x12);
	CHECK_EQ(s.gpr[X86_RCX], 0xa0000020);
	CHECK_EQ(k.apic[0].last_mmio_off, 0x80);
	CHECK_EQ(k.apic[0].last_mmio_value, 7);
	core_fini(&k);
}
