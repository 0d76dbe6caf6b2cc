/* accel/kvm, on the local /dev/kvm: exits, interrupts, kicks, state, dirty log, eventfds. */
#include "test.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "accel/kvm/kvm.h"
#include "base/bytes.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "clock/vclock.h"
#include "mem/gmem.h"
#include "rig.h"

static struct rig rig;

#define OPEN_RIG(n_)                                                                               \
	struct err err = ERR_INIT;                                                                 \
	int open_result = rig_open(&rig, "kvm", (n_), NULL, &err);                                 \
                                                                                                   \
	if (open_result == -ENOENT || open_result == -EACCES || open_result == -ENODEV)            \
		SKIP("%s", err.text);                                                              \
	if (open_result < 0)                                                                       \
	fail_msg("%s", err.text)

/* Loads and runs to RIG_PORT_EXIT. */
static void run_code(const u8 *code, size_t size)
{
	rig_load(&rig, code, size);
	CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_REQUEST);
	CHECK(rig.has_exited);
}
#define RUN(...)                                                                                   \
	do {                                                                                       \
		static const u8 run_bytes[] = {__VA_ARGS__};                                       \
		run_code(run_bytes, sizeof(run_bytes));                                            \
	} while (0)

#define EXIT_CODE 0xe6, 0xf4 /* out %al, $0xf4 */
#define SAY_AL    0xe6, 0xe8 /* out %al, $0xe8 */

static void get_state(struct x86_cpu_state *out)
{
	struct err err = ERR_INIT;

	if (rig.vcpus[0]->ops->get_state(rig.vcpus[0], out, &err) < 0)
		fail_msg("%s", err.text);
}

static void set_state(const struct x86_cpu_state *in)
{
	struct err err = ERR_INIT;

	if (rig.vcpus[0]->ops->set_state(rig.vcpus[0], in, &err) < 0)
		fail_msg("%s", err.text);
}

static void get_lapic(struct x86_lapic_state *out)
{
	struct err err = ERR_INIT;

	if (rig.vcpus[0]->ops->get_lapic(rig.vcpus[0], out, &err) < 0)
		fail_msg("%s", err.text);
}

static void set_lapic(const struct x86_lapic_state *in)
{
	struct err err = ERR_INIT;

	if (rig.vcpus[0]->ops->set_lapic(rig.vcpus[0], in, &err) < 0)
		fail_msg("%s", err.text);
}

TEST(this_kvm_is_measured)
{
	struct err err = ERR_INIT;
	struct kv_measured kvm = {0};
	int fd;
	int r = kv_open(&fd, &err);

	if (r < 0)
		SKIP("%s", err.text);
	CHECK_EQ(kv_measure(fd, &kvm, &err), 0);
	print_message("this KVM runs %lu instructions a second: %s\n", kvm.insns_per_s,
		      kvm.insns_per_s < KV_HARDWARE_INSNS_PER_S ? "emulated" : "hardware");
	CHECK(kvm.insns_per_s > 10000);
	CHECK(kvm.tsc_hz > 100000000);
	fd_close(fd);
}

TEST(a_port_exit_carries_size_and_direction_and_strings_come_whole)
{
	OPEN_RIG(1);
	rig_load(&rig, "", 1);
	CHECK_EQ(gmem_write(rig.gmem, 0x9000, "abc", 3), 0);
	RUN(0xb0, 0x5a, SAY_AL,                 /* mov $0x5a, %al; say */
	    0xb8, 0x34, 0x12, 0xe7, 0xe8,       /* mov $0x1234, %ax; out %ax */
	    0xe4, 0x70, 0x88, 0xc3,             /* in $0x70, %al; mov %al, %bl */
	    0xba, 0xe8, 0x00, 0xbe, 0x00, 0x90, /* mov $0xe8, %dx; mov $0x9000, %si */
	    0xb9, 0x03, 0x00, 0xf3, 0x6e,       /* mov $3, %cx; rep outsb */
	    0x88, 0xd8, EXIT_CODE);             /* mov %bl, %al */
	CHECK_EQ(rig_said(&rig, 0), 0x5a);
	CHECK_EQ(rig_said(&rig, 1), 0x1234);
	CHECK_EQ(rig.log[1].size, 2);
	CHECK(!rig.log[2].is_write);
	CHECK_EQ(rig.log[2].addr, 0x70);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(rig_said(&rig, 2 + i), "abc"[i]);
	CHECK_EQ(rig.exit_code, rig.log[2].value);
	rig_close(&rig);
}

TEST(an_mmio_exit_reads_and_writes_and_rom_cannot_be_written)
{
	struct x86_cpu_state s;
	struct rig_event *e = rig.log;
	u8 byte = 0x77;

	OPEN_RIG(1);
	CHECK_EQ(gmem_write_rom(rig.gmem, RIG_ROM, &byte, 1), 0);
	/* Segments whose base makes high addresses reachable from real mode. */
	static const u8 code[] = {
		0x66,   0xa1, 0x10, 0x00,                  /* mov 0x10, %eax  (DS: MMIO) */
		0x66,   0xa3, 0x20, 0x00,                  /* mov %eax, 0x20 */
		0x26,   0xa0, 0x00, 0x00,                  /* mov %es:0, %al  (ES: ROM) */
		0x26,   0xc6, 0x06, 0x00,      0x00, 0x01, /* movb $1, %es:0 */
		0x26,   0x8a, 0x26, 0x00,      0x00,       /* mov %es:0, %ah */
		SAY_AL, 0x88, 0xe0, EXIT_CODE,             /* mov %ah, %al */
	};
	rig_load(&rig, code, sizeof(code));
	get_state(&s);
	s.seg[X86_DS].base = RIG_MMIO;
	s.seg[X86_ES].base = RIG_ROM;
	set_state(&s);
	CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_REQUEST);
	CHECK(!e[0].is_port && !e[0].is_write && e[0].addr == RIG_MMIO + 0x10 && e[0].size == 4);
	CHECK(!e[1].is_port && e[1].is_write && e[1].addr == RIG_MMIO + 0x20);
	CHECK_EQ(e[1].value, e[0].value);
	CHECK(!e[2].is_port && e[2].is_write && e[2].addr == RIG_ROM && e[2].value == 1);
	CHECK_EQ(rig_said(&rig, 0), 0x77);
	CHECK_EQ(rig.exit_code, 0x77);
	rig_close(&rig);
}

/* A real-mode interrupt handler at 0x600 that says its number and ends the interrupt if asked. */
static void install_handler(u8 vector)
{
	static const u8 handler[] = {0xb0, 0x99, EXIT_CODE, 0xcf};
	u16 entry[2] = {0x600, 0};

	CHECK_EQ(gmem_write(rig.gmem, vector * 4u, entry, sizeof(entry)), 0);
	CHECK_EQ(gmem_write(rig.gmem, 0x600, handler, sizeof(handler)), 0);
}

static const u8 code_wait[] = {0xfb, 0xf4, 0xeb, 0xfd}; /* sti; 1: hlt; jmp 1b */

static void *run_thread(void *arg)
{
	epoch_attach(rig.epoch);
	*(enum vcpu_stop *)arg = rig_run(&rig, 0);
	epoch_detach(rig.epoch);
	return NULL;
}

/* Enables the APIC by its spurious-interrupt register. */
static void enable_apic(void)
{
	struct x86_lapic_state l;

	get_lapic(&l);
	CHECK_EQ(l.id, 0);
	CHECK(l.base & X86_APIC_BASE_ENABLE);
	l.svr = 0x1ff;
	set_lapic(&l);
}

TEST(an_msi_wakes_a_halted_vcpu)
{
	const struct msi_msg msg = {.address = 0xfee00000, .data = 0x41};
	enum vcpu_stop stop;
	pthread_t thread;

	OPEN_RIG(1);
	install_handler(0x41);
	enable_apic();
	rig_load(&rig, code_wait, sizeof(code_wait));
	CHECK_EQ(pthread_create(&thread, NULL, run_thread, &stop), 0);
	rig.accel->ops->send_msi(rig.accel, &msg);
	pthread_join(thread, NULL);
	CHECK_EQ(stop, VCPU_STOP_REQUEST);
	CHECK_EQ(rig.exit_code, 0x99);
	rig_close(&rig);
}

TEST(an_irqfd_sends_its_message_and_follows_a_change)
{
	struct msi_msg msg = {.address = 0xfee00000, .data = 0x40};
	enum vcpu_stop stop;
	pthread_t thread;
	u32 handle;
	int fd = eventfd(0, EFD_CLOEXEC);

	OPEN_RIG(1);
	install_handler(0x42);
	enable_apic();
	rig_load(&rig, code_wait, sizeof(code_wait));
	CHECK_EQ(rig.accel->ops->irqfd_add(rig.accel, fd, &msg, &handle), 0);
	msg.data = 0x42;
	CHECK_EQ(rig.accel->ops->irqfd_change(rig.accel, handle, &msg), 0);
	CHECK_EQ(pthread_create(&thread, NULL, run_thread, &stop), 0);
	CHECK_EQ(eventfd_write(fd, 1), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(rig.exit_code, 0x99);
	rig.accel->ops->irqfd_remove(rig.accel, handle, fd);
	fd_close(fd);
	rig_close(&rig);
}

static void *run_ap(void *arg)
{
	epoch_attach(rig.epoch);
	*(enum vcpu_stop *)arg = rig_run(&rig, 1);
	epoch_detach(rig.epoch);
	return NULL;
}

TEST(an_ap_waits_for_sipi_and_starts_at_its_page)
{
	/* The BSP's DS is the APIC's page: INIT is not needed by an AP that waits already. */
	static const u8 bsp[] = {
		0x66, 0xc7, 0x06, 0x10, 0x03, 0x00, 0x00, 0x00, 0x01, /* movl $1 << 24, 0x310 */
		0x66, 0xc7, 0x06, 0x00, 0x03, 0x09, 0x46, 0x00, 0x00, /* movl $0x4609, 0x300 */
		0xeb, 0xfe,
	};
	static const u8 ap[] = {0x8c, 0xc8, 0xe7,     0xe8,
				0xb0, 0x77, EXIT_CODE}; /* mov %cs, %ax; say */
	struct x86_lapic_state l;
	struct x86_cpu_state s;
	enum vcpu_stop stop;
	pthread_t thread;

	OPEN_RIG(2);
	CHECK_EQ(gmem_write(rig.gmem, 0x9000, ap, sizeof(ap)), 0);
	rig_load(&rig, bsp, sizeof(bsp));
	get_state(&s);
	s.seg[X86_DS].base = X86_APIC_BASE_ADDR;
	set_state(&s);
	x86_cpu_reset(&s, false);
	CHECK_EQ(rig.vcpus[1]->ops->set_state(rig.vcpus[1], &s, &err), 0);
	/* KVM takes an APIC into its table of destinations when its state is set. */
	CHECK_EQ(rig.vcpus[1]->ops->get_lapic(rig.vcpus[1], &l, &err), 0);
	CHECK_EQ(rig.vcpus[1]->ops->set_lapic(rig.vcpus[1], &l, &err), 0);
	CHECK_EQ(pthread_create(&thread, NULL, run_ap, &stop), 0);
	CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_REQUEST);
	pthread_join(thread, NULL);
	CHECK_EQ(stop, VCPU_STOP_REQUEST);
	CHECK_EQ(rig_said(&rig, 0), 0x900);
	CHECK_EQ(rig.exit_code, 0x77);
	rig_close(&rig);
}

static void raise_pic(u8 vector)
{
	rig.pic_vector = vector;
	__atomic_store_n(&rig.pic_is_pending, true, __ATOMIC_RELEASE);
	rig.accel->ops->pic_changed(rig.accel);
}

TEST(the_pic_interrupts_a_halted_vcpu)
{
	enum vcpu_stop stop;
	pthread_t thread;

	OPEN_RIG(1);
	install_handler(0x33);
	rig_load(&rig, code_wait, sizeof(code_wait));
	CHECK_EQ(pthread_create(&thread, NULL, run_thread, &stop), 0);
	raise_pic(0x33);
	pthread_join(thread, NULL);
	CHECK_EQ(rig.exit_code, 0x99);
	CHECK(!rig.pic_is_pending);
	rig_close(&rig);
}

TEST(the_pic_waits_for_sti)
{
	OPEN_RIG(1);
	install_handler(0x33);
	raise_pic(0x33);
	RUN(0xb0, 0x11, SAY_AL, 0xfb, 0x90, 0xf4, 0xeb, 0xfd); /* say; sti; nop; 1: hlt; jmp 1b */
	CHECK_EQ(rig_said(&rig, 0), 0x11);
	CHECK_EQ(rig.exit_code, 0x99);
	rig_close(&rig);
}

TEST(a_level_interrupt_ended_by_the_apic_is_told_to_the_ioapic)
{
	/* The handler writes the APIC's EOI register (DS base is the APIC's page), then exits; the
	 * reads between give an emulator, which runs several instructions at once, time to notice. */
	static const u8 handler[] = {0x66,      0x31, 0xc0,       /* xor %eax, %eax */
				     0x66,      0xa3, 0xb0, 0x00, /* mov %eax, 0xb0 */
				     0xe4,      0x70, 0xe4, 0x70, /* in $0x70, %al, twice */
				     EXIT_CODE, 0xcf};
	const struct msi_msg msg = {.address = 0xfee00000, .data = 0xc043};
	struct x86_cpu_state s;

	OPEN_RIG(1);
	install_handler(0x43);
	CHECK_EQ(gmem_write(rig.gmem, 0x600, handler, sizeof(handler)), 0);
	enable_apic();
	rig_load(&rig, code_wait, sizeof(code_wait));
	get_state(&s);
	s.seg[X86_DS].base = X86_APIC_BASE_ADDR;
	set_state(&s);
	rig.accel->ops->set_ioapic_route(rig.accel, 5, &msg, true, false);
	rig.accel->ops->send_msi(rig.accel, &msg);
	CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_REQUEST);
	CHECK_EQ(rig.eois, 1);
	CHECK_EQ(rig.last_eoi, 0x43);
	rig_close(&rig);
}

static void *kick_often(void *arg)
{
	for (unsigned i = 0; i < 2000; i++)
		vcpu_kick(rig.vcpus[0]);
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
	__atomic_store_n(&rig.vcpus[0]->is_wanted, true, __ATOMIC_RELEASE);
	vcpu_kick(rig.vcpus[0]);
	return NULL;
}

TEST(no_kick_is_lost)
{
	static const u8 spin[] = {0xeb, 0xfe};
	bool is_last = false;
	pthread_t thread;

	OPEN_RIG(1);
	rig_load(&rig, spin, sizeof(spin));
	/* A kick before the run makes it return at once. */
	vcpu_kick(rig.vcpus[0]);
	CHECK_EQ(vcpu_run(rig.vcpus[0]), VCPU_STOP_REQUEST);
	/* Kicks at any moment: the last one, which is meant, must end the run. */
	for (unsigned round = 0; round < 10; round++) {
		is_last = false;
		CHECK_EQ(pthread_create(&thread, NULL, kick_often, &is_last), 0);
		CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_REQUEST);
		pthread_join(thread, NULL);
		CHECK(is_last);
		rig_clear(&rig);
	}
	rig_close(&rig);
}

TEST(a_stopped_vcpu_has_completed_its_instruction)
{
	struct x86_cpu_state s;

	OPEN_RIG(1);
	RUN(0xb0, 0x01, EXIT_CODE, 0x90);
	get_state(&s);
	CHECK_EQ(s.rip, RIG_LOAD + 4);
	rig_close(&rig);
}

TEST(a_triple_fault_asks_for_a_reset)
{
	static const u8 code[] = {0x0f, 0x0b}; /* ud2, in protected mode, without an IDT */
	struct x86_cpu_state s;

	OPEN_RIG(1);
	rig_load(&rig, code, sizeof(code));
	get_state(&s);
	s.cr0 |= X86_CR0_PE;
	s.idt.limit = 0;
	set_state(&s);
	CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_RESET);
	rig_close(&rig);
}

/* A state with something in every field that KVM keeps on any host. */
static void fill_state(struct x86_cpu_state *s)
{
	for (unsigned i = 0; i < X86_GPRS; i++)
		s->gpr[i] = 0x1111111111111111u * i + 5;
	s->rip = 0x4321;
	s->rflags = X86_FLAG_ONE | X86_FLAG_ZF | X86_FLAG_IF;
	s->seg[X86_FS] = (struct x86_segment){
		.base = 0x12340, .limit = 0xffff, .attr = 0x93, .selector = 0x1234};
	s->gdt = (struct x86_table){.base = 0x2000, .limit = 0x37};
	s->idt = (struct x86_table){.base = 0x3000, .limit = 0x3ff};
	s->cr2 = 0xdeadb000;
	s->cr3 = 0x5000;
	s->dr[0] = 0x1000;
	s->dr[3] = 0x4000;
	s->star = 0x0023001000000000;
	s->lstar = 0xffffffff81000000;
	s->sfmask = 0x47700;
	s->kernel_gs_base = 0xffff888000000000;
	s->sysenter_cs = 0x10;
	s->sysenter_esp = 0x8000;
	s->sysenter_eip = 0x9000;
	s->pat = 0x0007010600070106;
	s->mtrr_def_type = 0xc06;
	s->interrupt_shadow = X86_SHADOW_STI;
	s->nmi_blocked = true;
	for (unsigned i = 0; i < 16 * 16; i++)
		s->xsave[X86_FXSAVE_XMM0 + i] = (u8)(i * 7);
	s->xsave[X86_FXSAVE_ST0] = 0x42;
}

TEST(state_that_is_set_and_got_and_set_again_is_the_same)
{
	struct x86_cpu_state a, b, c;

	OPEN_RIG(1);
	rig_load(&rig, "", 1);
	get_state(&a);
	fill_state(&a);
	set_state(&a);
	get_state(&b);
	CHECK_MEM(b.gpr, a.gpr, sizeof(a.gpr));
	CHECK_MEM(b.seg, a.seg, sizeof(a.seg));
	CHECK_MEM(b.xsave, a.xsave, X86_XSAVE_HEADER);
	CHECK_EQ(b.rip, a.rip);
	CHECK_EQ(b.rflags, a.rflags);
	CHECK_EQ(b.gdt.base, a.gdt.base);
	CHECK_EQ(b.cr2, a.cr2);
	CHECK_EQ(b.cr3, a.cr3);
	CHECK_MEM(b.dr, a.dr, sizeof(a.dr));
	CHECK_EQ(b.lstar, a.lstar);
	CHECK_EQ(b.kernel_gs_base, a.kernel_gs_base);
	CHECK_EQ(b.pat, a.pat);
	CHECK_EQ(b.mtrr_def_type, a.mtrr_def_type);
	CHECK(b.interrupt_shadow & X86_SHADOW_STI); /* AMD's processors tell no kinds apart */
	CHECK_EQ(b.nmi_blocked, a.nmi_blocked);
	set_state(&b);
	get_state(&c);
	b.tsc_offset = c.tsc_offset; /* the TSC runs on; its own test is below */
	CHECK_MEM(&c, &b, sizeof(b));
	rig_close(&rig);
}

TEST(an_event_in_delivery_and_a_halt_are_state)
{
	struct x86_cpu_state a, b;

	OPEN_RIG(1);
	rig_load(&rig, "", 1);
	get_state(&a);
	a.event_pending = true;
	a.event_kind = X86_EVENT_INTERRUPT;
	a.event_vector = 0x55;
	a.run_state = X86_HALTED;
	set_state(&a);
	get_state(&b);
	CHECK(b.event_pending);
	CHECK_EQ(b.event_kind, X86_EVENT_INTERRUPT);
	CHECK_EQ(b.event_vector, 0x55);
	CHECK_EQ(b.run_state, X86_HALTED);
	a.event_kind = X86_EVENT_EXCEPTION;
	a.event_vector = X86_PF;
	a.event_has_code = true;
	a.event_code = X86_PF_W;
	a.run_state = X86_WAIT_FOR_SIPI;
	set_state(&a);
	get_state(&b);
	CHECK_EQ(b.event_kind, X86_EVENT_EXCEPTION);
	CHECK_EQ(b.event_vector, X86_PF);
	CHECK(b.event_has_code);
	CHECK_EQ(b.event_code, X86_PF_W);
	CHECK_EQ(b.run_state, X86_WAIT_FOR_SIPI);
	rig_close(&rig);
}

static u64 guest_tsc(void)
{
	RUN(0x0f, 0x31, 0x66, 0xe7, 0xe8,                   /* rdtsc; out %eax */
	    0x66, 0x89, 0xd0, 0x66, 0xe7, 0xe8, EXIT_CODE); /* mov %edx, %eax; out %eax */
	u64 tsc = rig_said(&rig, 1) << 32 | rig_said(&rig, 0);

	rig_clear(&rig);
	return tsc;
}

/* Some kernels that only emulate ignore TSC offsets, and guests see the host's TSC. */
static bool has_tsc_offset(void)
{
	u64 now = vclock_tsc(rig.clock);

	return guest_tsc() - now < vclock_tsc_hz(rig.clock);
}

TEST(the_tsc_follows_the_vm_clock_and_stands_while_it_is_stopped)
{
	u64 slack, stopped, resumed, before, from;

	OPEN_RIG(1);
	if (!has_tsc_offset()) {
		rig_close(&rig);
		SKIP("this KVM shows guests the host's TSC");
	}
	slack = vclock_tsc_hz(rig.clock) / 20; /* 50 ms of a busy host */
	before = guest_tsc();
	CHECK(before < vclock_tsc(rig.clock) + slack);
	vclock_stop(rig.clock);
	rig.accel->ops->clock_changed(rig.accel, false);
	stopped = vclock_tsc(rig.clock);
	from = time_mono_ns();
	while (time_mono_ns() - from < 200 * NSEC_PER_MSEC)
		usleep(1000);
	vclock_start(rig.clock);
	rig.accel->ops->clock_changed(rig.accel, true);
	resumed = guest_tsc();
	CHECK(resumed + slack > stopped);
	CHECK(resumed < vclock_tsc(rig.clock) + slack);
	CHECK(resumed > before);
	rig_close(&rig);
}

TEST(the_lapic_state_survives_a_round_trip)
{
	struct x86_lapic_state a, b;

	OPEN_RIG(1);
	vclock_stop(rig.clock);
	rig.accel->ops->clock_changed(rig.accel, false);
	get_lapic(&a);
	a.svr = 0x1ff;
	a.tpr = 0x20;
	a.irr[2] = 0x10;
	a.isr[1] = 0x8;
	a.tmr[2] = 0x10;
	a.lvt[LAPIC_LVT_TIMER] = 0x10041; /* one-shot, masked */
	a.lvt[LAPIC_LVT_ERROR] = 0xfe;
	a.timer_divide = 0xb; /* by 1 */
	a.timer_initial = 4000000000u;
	a.timer_start_ns = vclock_now_ns(rig.clock) - 1000;
	set_lapic(&a);
	get_lapic(&b);
	CHECK_EQ(b.svr, a.svr);
	CHECK_EQ(b.tpr, a.tpr);
	CHECK_MEM(b.irr, a.irr, sizeof(a.irr));
	CHECK_MEM(b.isr, a.isr, sizeof(a.isr));
	CHECK_MEM(b.tmr, a.tmr, sizeof(a.tmr));
	CHECK_MEM(b.lvt, a.lvt, sizeof(a.lvt));
	CHECK_EQ(b.timer_initial, a.timer_initial);
	CHECK_EQ(b.timer_divide, a.timer_divide);
	/* Kernel time passes between set and get; the VM's clock stands. */
	CHECK(a.timer_start_ns - b.timer_start_ns < 2 * NSEC_PER_SEC);
	a.id = 1;
	CHECK_EQ(rig.vcpus[0]->ops->set_lapic(rig.vcpus[0], &a, &err), -EINVAL);
	rig_close(&rig);
}

TEST(the_dirty_log_tells_the_pages_that_the_guest_wrote)
{
	u64 bits[RIG_RAM_SIZE / PAGE_SIZE / 64];
	static const u8 code[] = {0xc6, 0x06, 0x00, 0x50, 0x01, EXIT_CODE}; /* movb $1, 0x5000 */

	OPEN_RIG(1);
	rig_load(&rig, code, sizeof(code));
	CHECK_EQ(gmem_log_start(rig.gmem, &err), 0);
	gmem_log_take(rig.gmem, rig.ram, bits);
	for (unsigned i = 0; i < 2; i++) { /* the second time shows that the log was armed again */
		rig_load(&rig, code, sizeof(code));
		gmem_log_take(rig.gmem, rig.ram, bits);
		CHECK_EQ(rig_run(&rig, 0), VCPU_STOP_REQUEST);
		rig_clear(&rig);
		gmem_log_take(rig.gmem, rig.ram, bits);
		/* KVM may take the program's own page for written: it could have been. */
		CHECK_EQ(bits[0] & ~BIT(RIG_LOAD / PAGE_SIZE), BIT(5));
		CHECK_EQ(bits[1], 0);
	}
	gmem_log_stop(rig.gmem);
	rig_close(&rig);
}

TEST(a_changed_map_is_what_the_guest_sees)
{
	struct gmem_range ranges[3];
	u8 low = 0x11, high = 0x22;

	OPEN_RIG(1);
	CHECK_EQ(gmem_write(rig.gmem, 0x10000, &low, 1), 0);
	CHECK_EQ(gmem_write(rig.gmem, 0x100000, &high, 1), 0);
	/* 0x10000 now shows what is at 0x100000 of the block. */
	ranges[0] = (struct gmem_range){.gpa = 0, .size = 0x10000, .block = rig.ram};
	ranges[1] = (struct gmem_range){
		.gpa = 0x10000, .size = 0x1000, .block = rig.ram, .offset = 0x100000};
	ranges[2] = (struct gmem_range){
		.gpa = 0x11000, .size = 0x1000, .block = rig.ram, .offset = 0x11000};
	gmem_set_map(rig.gmem, ranges, 3);
	RUN(0xb8, 0x00, 0x10, 0x8e, 0xd8, 0xa0, 0x00, 0x00, /* mov $0x1000, %ax; %ds; mov 0, %al */
	    SAY_AL, EXIT_CODE);
	CHECK_EQ(rig_said(&rig, 0), 0x22);
	rig_close(&rig);
}

static void *remap_often(unused void *arg)
{
	struct gmem_range ranges[2];

	epoch_attach(rig.epoch);
	for (unsigned i = 0; i < 200; i++) {
		u64 cut = (i & 1) ? 0x20000 : 0x30000;

		ranges[0] = (struct gmem_range){.gpa = 0, .size = cut, .block = rig.ram};
		ranges[1] = (struct gmem_range){.gpa = cut + 0x1000,
						.size = RIG_RAM_SIZE - cut - 0x1000,
						.block = rig.ram,
						.offset = cut + 0x1000};
		gmem_set_map(rig.gmem, ranges, 2);
	}
	rig.ram->hva[0x7000] = 1; /* the program's signal to end */
	epoch_detach(rig.epoch);
	return NULL;
}

TEST(a_running_vcpu_never_sees_memory_missing_while_slots_change)
{
	pthread_t thread;

	OPEN_RIG(1);
	CHECK_EQ(pthread_create(&thread, NULL, remap_often, NULL), 0);
	RUN(0x80, 0x3e, 0x00, 0x70, 0x01, /* 1: cmpb $1, 0x7000 */
	    0x75, 0xf9, EXIT_CODE);       /* jne 1b */
	pthread_join(thread, NULL);
	CHECK_EQ(rig.n_log, 1); /* the exit, and no access to what is not there */
	rig_close(&rig);
}

TEST(a_doorbell_rings_without_an_exit)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	eventfd_t count;

	OPEN_RIG(1);
	CHECK_EQ(rig.accel->ops->doorbell(rig.accel, 0x500, 1, true, true, 0, fd, true), 0);
	CHECK_EQ(rig.accel->ops->doorbell(rig.accel, 0x501, 1, true, false, 7, fd, true), 0);
	RUN(0xba, 0x00, 0x05, 0xee, /* mov $0x500, %dx; out %al, %dx */
	    0x42, 0xb0, 0x07, 0xee, /* inc %dx; mov $7, %al; out: rings */
	    0xb0, 0x08, 0xee,       /* mov $8, %al; out: an exit */
	    EXIT_CODE);
	CHECK_EQ(eventfd_read(fd, &count), 0);
	CHECK_EQ(count, 2);
	CHECK_EQ(rig.n_log, 2);
	CHECK_EQ(rig.log[0].value, 8);
	CHECK_EQ(rig.accel->ops->doorbell(rig.accel, 0x500, 1, true, true, 0, fd, false), 0);
	rig_clear(&rig);
	RUN(0xba, 0x00, 0x05, 0xee, EXIT_CODE);
	CHECK_EQ(rig.n_log, 2);
	fd_close(fd);
	rig_close(&rig);
}

TEST(a_model_that_this_kvm_lacks_features_for_is_refused_by_name)
{
	struct x86_cpuid_config config = {
		.model = "posada-v2", .n_cpus = 1, .id = 0, .tsc_hz = 2000000000};
	struct x86_features f;
	struct x86_cpuid c;

	OPEN_RIG(1);
	f = rig.accel->features;
	f.leaf1_ecx &= ~BIT32(19);
	f.leaf1_ecx |= BIT32(0) | BIT32(1) | BIT32(9) | BIT32(13) | BIT32(17);
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), -ENOTSUP);
	CHECK_ERR(err, "sse4.1");
	rig_close(&rig);
}
