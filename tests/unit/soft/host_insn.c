/*
 * See host_insn.h.
 */
#include "host_insn.h"

#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "arch/x86/regs.h"

#define CODE_SIZE 4096

static u8 *code;
static unsigned code_used;
static sigjmp_buf fault_out;
static volatile int fault_vector;
static struct host_state *running;

static void emit(const void *bytes, unsigned n)
{
	memcpy(code + code_used, bytes, n);
	code_used += n;
}

#define EMIT(...) emit((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* Registers of struct host_state, relative to R15, by opcode 8B (load) or 89 (store). */
static void emit_registers(u8 opcode)
{
	static const struct {
		u8 reg;
		u32 off;
	} regs[] = {
		{X86_RAX, offsetof(struct host_state, rax)},
		{X86_RCX, offsetof(struct host_state, rcx)},
		{X86_RDX, offsetof(struct host_state, rdx)},
		{X86_RBX, offsetof(struct host_state, rbx)},
		{X86_RDI, offsetof(struct host_state, rdi)},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(regs); n++) {
		EMIT(0x49, opcode, (u8)(0x87 | regs[n].reg << 3));
		emit(&regs[n].off, 4);
	}
}

u64 host_insn_prepare(const u8 *bytes, unsigned n)
{
	u32 rflags = offsetof(struct host_state, rflags);
	u64 address;

	if (!code) {
		code = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
		assert(code != MAP_FAILED);
	}
	assert(mprotect(code, CODE_SIZE, PROT_READ | PROT_WRITE) == 0);
	code_used = 0;
	EMIT(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx ... r15 */
	EMIT(0x49, 0x89, 0xff);                                           /* mov r15, rdi */
	EMIT(0x49, 0x0f, 0xae, 0x0f);                                     /* fxrstor64 [r15] */
	emit_registers(0x8b);
	EMIT(0x41, 0xff, 0xb7); /* push [r15 + rflags] */
	emit(&rflags, 4);
	EMIT(0x9d); /* popfq */
	address = (u64)(code + code_used);
	emit(bytes, n);
	EMIT(0x9c);             /* pushfq */
	EMIT(0x41, 0x8f, 0x87); /* pop [r15 + rflags] */
	emit(&rflags, 4);
	emit_registers(0x89);
	EMIT(0x49, 0x0f, 0xae, 0x07); /* fxsave64 [r15] */
	EMIT(0xdb, 0xe3);             /* fninit */
	EMIT(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
	assert(mprotect(code, CODE_SIZE, PROT_READ | PROT_EXEC) == 0);
	return address;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;

	memcpy(&running->fpu, u->uc_mcontext.fpregs, sizeof(running->fpu));
	switch (signal) {
	case SIGILL:
		fault_vector = X86_UD;
		break;
	case SIGFPE:
		fault_vector = (int)u->uc_mcontext.gregs[REG_TRAPNO];
		break;
	default:
		fault_vector = X86_GP;
		break;
	}
	(void)info;
	siglongjmp(fault_out, 1);
}

static void catch_faults(bool on)
{
	static const int signals[] = {SIGILL, SIGFPE, SIGSEGV, SIGBUS};
	static struct sigaction old[ARRAY_SIZE(signals)];
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	for (unsigned n = 0; n < ARRAY_SIZE(signals); n++) {
		if (on)
			assert(sigaction(signals[n], &a, &old[n]) == 0);
		else
			assert(sigaction(signals[n], &old[n], NULL) == 0);
	}
}

int host_insn_run(struct host_state *s)
{
	u32 mxcsr = 0x1f80;

	running = s;
	fault_vector = HOST_NO_FAULT;
	catch_faults(true);
	if (sigsetjmp(fault_out, 1) == 0)
		((void (*)(struct host_state *))(void *)code)(s);
	__asm__ volatile("fninit\n\tldmxcsr %0\n\tcld" : : "m"(mxcsr));
	catch_faults(false);
	return fault_vector;
}

static void host_image(struct host_fpu *out)
{
	struct host_fpu given = {.fcw = 0x37f, .mxcsr = 0x1f80, .fip = 0x1000};

	__asm__ volatile("fxrstor64 %1\n\tfxsave64 %0\n\tfninit" : "=m"(*out) : "m"(given));
}

bool host_saves_pointers(void)
{
	struct host_fpu image;

	host_image(&image);
	return image.fip != 0;
}

u32 host_mxcsr_mask(void)
{
	struct host_fpu image;

	host_image(&image);
	return image.mxcsr_mask;
}

bool host_is_amd(void)
{
	u32 eax, ebx, ecx, edx;

	__cpuid(0, eax, ebx, ecx, edx);
	return ebx == 0x68747541u || ebx == 0x6f677948u; /* "Auth", Hygon's "Hygo" */
}
