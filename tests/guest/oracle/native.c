/*
 * Runs a case on the host CPU, in this process.
 *
 * Signal frames are the way in and out: an INT3 of ours brings us into the handler, which saves our
 * registers from the frame, writes the case's into it, and returns. The instruction's exception
 * brings us back with its whole state in the frame; the handler takes it down, puts our registers
 * back, and returns to behind the INT3. While the case runs nothing of ours is in a register: the
 * handler mends the segment registers and bases first, and calls no function of the C library, nor
 * is it built with sanitizers or stack protection.
 */
#include <asm/ldt.h>
#include <cpuid.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "arch/x86/cpuid.h"
#include "arch/x86/regs.h"
#include "tests/guest/oracle/oracle.h"

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif

#define NATIVE_STACK_SIZE (64 * 1024)
/* The signal frame's XSAVE header: XSTATE_BV's bits 0 and 1 make x87 and SSE count. */
#define NATIVE_XSTATE_BV 512
/* Where the frame says which components it has (struct _fpx_sw_bytes). */
#define NATIVE_FEATURES_AT 472

enum native_phase {
	NATIVE_IDLE,
	NATIVE_ENTER, /* our INT3 follows */
	NATIVE_CASE,
};

static struct {
	const u8 *image;
	volatile enum native_phase phase;
	const struct oracle_case *c;
	struct oracle_result *result;
	u64 fs_base, gs_base;
	gregset_t gregs;
	u8 fx[X86_XSAVE_SIZE];
	bool has_ymm;
	unsigned alarms; /* of the timer, since the case began */
} native;

static const int native_order[X86_GPRS] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void native_copy(void *to, const void *from, u64 n)
{
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void native_zero(void *to, u64 n)
{
	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
}

static u64 native_frame_bytes(void)
{
	return native.has_ymm ? X86_XSAVE_SIZE : X86_XSAVE_HEADER + 64;
}

/* Takes down the segment registers and bases, and puts ours back. */
static void native_leave_segments(struct oracle_result *out)
{
	asm volatile("mov %%ds, %0" : "=r"(out->ds));
	asm volatile("mov %%es, %0" : "=r"(out->es));
	asm volatile("mov %%fs, %0" : "=r"(out->fs));
	asm volatile("mov %%gs, %0" : "=r"(out->gs));
	asm volatile("rdfsbase %0" : "=r"(out->fs_base));
	asm volatile("rdgsbase %0" : "=r"(out->gs_base));
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(0));
	asm volatile("wrfsbase %0; wrgsbase %1" : : "r"(native.fs_base), "r"(native.gs_base));
}

/* NT and ID, which a signal frame does not put back. */
static void native_clear_flags(void)
{
	u64 flags;

	asm volatile("pushfq; pop %0" : "=r"(flags));
	flags &= ~(X86_FLAG_NT | X86_FLAG_ID | X86_FLAG_AC);
	asm volatile("push %0; popfq" : : "r"(flags) : "cc");
}

static void native_enter_segments(const struct oracle_case *c)
{
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"((u32)c->ds));
	if (c->gs)
		asm volatile("mov %0, %%gs" : : "r"((u32)c->gs));
	else
		asm volatile("wrgsbase %0" : : "r"(c->gs_base));
}

static void native_load_case(ucontext_t *uc)
{
	const struct oracle_case *c = native.c;
	greg_t *g = uc->uc_mcontext.gregs;
	u8 *fx = (u8 *)uc->uc_mcontext.fpregs;

	native_copy(native.gregs, g, sizeof(native.gregs));
	native.has_ymm = fx[NATIVE_FEATURES_AT] & X86_XCR0_AVX;
	native_copy(native.fx, fx, native_frame_bytes());
	for (unsigned i = 0; i < X86_GPRS; i++)
		g[native_order[i]] = (greg_t)c->gpr[i];
	g[REG_RIP] = (greg_t)c->rip;
	g[REG_EFL] = (greg_t)c->rflags;
	g[REG_CSGSFS] = (greg_t)(c->cs | (u64)c->ss << 48);
	/* Up to the bytes that the kernel keeps its own words in. */
	native_copy(fx, c->fx, 464);
	fx[NATIVE_XSTATE_BV] |= 3;
	if (native.has_ymm) {
		native_copy(fx + X86_XSAVE_YMM, c->ymm_high, sizeof(c->ymm_high));
		fx[NATIVE_XSTATE_BV] |= X86_XCR0_AVX;
	}
	native_enter_segments(c);
	native.alarms = 0;
	native.phase = NATIVE_CASE;
}

static void native_store_result(ucontext_t *uc)
{
	struct oracle_result *out = native.result;
	greg_t *g = uc->uc_mcontext.gregs;
	u8 *fx = (u8 *)uc->uc_mcontext.fpregs;

	for (unsigned i = 0; i < X86_GPRS; i++)
		out->gpr[i] = (u64)g[native_order[i]];
	out->rip = (u64)g[REG_RIP];
	out->rflags = (u64)g[REG_EFL];
	out->cs = (u16)g[REG_CSGSFS];
	out->ss = (u16)((u64)g[REG_CSGSFS] >> 48);
	out->vector = (u8)g[REG_TRAPNO];
	out->error = (u32)g[REG_ERR];
	out->cr2 = (u64)g[REG_CR2];
	native_copy(out->fx, fx, 464);
	native_zero(out->ymm_high, sizeof(out->ymm_high));
	/* In their initial state they aren't written. */
	if (native.has_ymm && fx[NATIVE_XSTATE_BV] & X86_XCR0_AVX)
		native_copy(out->ymm_high, fx + X86_XSAVE_YMM, sizeof(out->ymm_high));
	if (!(fx[NATIVE_XSTATE_BV] & X86_XCR0_SSE))
		native_zero(out->fx + X86_FXSAVE_XMM0, 16 * 16);

	native_copy(g, native.gregs, sizeof(native.gregs));
	native_copy(fx, native.fx, native_frame_bytes());
	native.phase = NATIVE_IDLE;
}

static void native_signal(int number, unused siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (number == SIGPROF) {
		/* The third one in a case says that it does not end. */
		if (native.phase != NATIVE_CASE || native.alarms++ < 2)
			return;
		native.result->is_hung = true;
	}
	if (native.phase == NATIVE_CASE) {
		native_leave_segments(native.result);
		native_clear_flags();
		native_store_result(uc);
	} else if (native.phase == NATIVE_ENTER) {
		native_load_case(uc);
	} else {
		/* Ours: let it kill us. */
		signal(number, SIG_DFL);
	}
}

static int native_map(u64 address, u64 size, int prot)
{
	void *p = mmap((void *)address, size, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == (void *)address)
		return 0;
	fprintf(stderr, "oracle: cannot map %#lx: %s\n", address, strerror(errno));
	return -errno;
}

static int native_make_ldt(void)
{
	static const struct user_desc entries[ORACLE_LDT_ENTRIES] = {
		{.base_addr = ORACLE_CODE, .limit = ORACLE_CODE_SIZE - 1, .contents = 2},
		{.base_addr = ORACLE_CODE,
		 .limit = ORACLE_CODE_SIZE - 1,
		 .contents = 2,
		 .seg_32bit = 1},
		{.base_addr = ORACLE_DATA, .limit = ORACLE_DATA_SIZE - 1, .seg_32bit = 1},
		{.base_addr = ORACLE_DATA, .limit = ORACLE_DATA_SIZE - 1},
		{.base_addr = ORACLE_DATA + ORACLE_GS_OFFSET,
		 .limit = ORACLE_GS_SIZE - 1,
		 .seg_32bit = 1},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		struct user_desc d = entries[i];

		d.entry_number = i;
		if (syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)) < 0) {
			fprintf(stderr, "oracle: cannot make an LDT: %s\n", strerror(errno));
			return -errno;
		}
	}
	return 0;
}

void oracle_native_ldt(u64 out[ORACLE_LDT_ENTRIES])
{
	long n = syscall(SYS_modify_ldt, 0, out, ORACLE_LDT_ENTRIES * 8);

	assert(n == ORACLE_LDT_ENTRIES * 8);
}

/* Linux's descriptor with the CPU's number as its limit: the same for all cases if we stay on this one. */
static void native_stay(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

u64 oracle_native_cpu_segment(void)
{
	u32 limit, rights;
	bool is_there;

	asm volatile("lsl %3, %0; setz %2; lar %3, %1"
		     : "=&r"(limit), "=&r"(rights), "=&q"(is_there)
		     : "r"(ORACLE_CPU_SEGMENT)
		     : "cc");
	if (!is_there || rights & X86_ATTR_G << 8)
		return 0;
	return (limit & 0xffff) | (u64)(limit & 0xf0000) << 32 | (u64)(rights & 0xf0ff00) << 32;
}

static int native_catch_signals(void)
{
	static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGPROF};
	static u8 stack[NATIVE_STACK_SIZE];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_sigaction = native_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	struct itimerval timer = {{0, 200000}, {0, 200000}}; /* CPU time: the host may be busy */

	sigfillset(&sa.sa_mask);
	if (sigaltstack(&ss, NULL) < 0)
		return -errno;
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (sigaction(numbers[i], &sa, NULL) < 0)
			return -errno;
	}
	return setitimer(ITIMER_PROF, &timer, NULL) < 0 ? -errno : 0;
}

int oracle_native_init(const u8 *image)
{
	int r;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)) {
		fprintf(stderr, "oracle: this host does not let user code write its GS base\n");
		return -ENOTSUP;
	}
	native.image = image;
	native_stay();
	asm volatile("rdfsbase %0" : "=r"(native.fs_base));
	asm volatile("rdgsbase %0" : "=r"(native.gs_base));
	r = native_map(ORACLE_CODE, ORACLE_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	if (!r)
		r = native_map(ORACLE_DATA, ORACLE_DATA_SIZE, PROT_READ | PROT_WRITE);
	if (!r && mprotect((void *)(ORACLE_DATA + ORACLE_DATA_RW), PAGE_SIZE, PROT_READ) < 0)
		r = -errno;
	if (!r)
		r = native_make_ldt();
	memset((void *)ORACLE_CODE, 0xcc, ORACLE_CODE_SIZE);
	return r ? r : native_catch_signals();
}

u64 oracle_native_fs_base(void)
{
	return native.fs_base;
}

u64 oracle_native_features(void)
{
	static const u32 leaves[] = {1, 7, 0xd, 0x80000001, 0x80000008};
	struct x86_cpuid cpuid = {.n = ARRAY_SIZE(leaves)};

	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct x86_cpuid_entry *e = &cpuid.e[i];

		e->leaf = leaves[i];
		e->subleaf = leaves[i] == 0xd;
		e->has_subleaf = leaves[i] == 0xd || leaves[i] == 7;
		__cpuid_count(e->leaf, e->subleaf, e->eax, e->ebx, e->ecx, e->edx);
	}
	return sx_features_from_cpuid(&cpuid);
}

/* The read-only page is the same in all cases: written once, by a mapping made writable. */
static void native_fill(const struct oracle_case *c)
{
	static bool is_rest_filled;
	u8 *data = (u8 *)ORACLE_DATA;

	if (!is_rest_filled) {
		mprotect(data + ORACLE_DATA_RW, PAGE_SIZE, PROT_READ | PROT_WRITE);
		native_copy(data + ORACLE_DATA_RW, native.image + ORACLE_DATA_RW, PAGE_SIZE);
		mprotect(data + ORACLE_DATA_RW, PAGE_SIZE, PROT_READ);
		is_rest_filled = true;
	}
	native_copy(data, native.image, ORACLE_DATA_RW);
	for (unsigned i = 0; i < c->n_patches; i++)
		native_copy(data + c->patches[i].off, c->patches[i].bytes, c->patches[i].size);
}

void oracle_native_run(const struct oracle_case *c, struct oracle_result *out)
{
	u8 *code = (u8 *)(c->code_base + c->rip);

	native_fill(c);
	native_copy(code, c->code, c->len);
	out->is_hung = false;
	out->is_broken = false;
	out->data = (const u8 *)ORACLE_DATA;
	native.c = c;
	native.result = out;
	native.phase = NATIVE_ENTER;
	asm volatile("int3" : : : "memory");
	for (unsigned i = 0; i < c->len; i++)
		code[i] = 0xcc;
}
