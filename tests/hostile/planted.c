/*
 * Bugs in the translator, planted by the linker, which the guest planted.S makes use of.
 *
 * A wrong TLB addend: one page of the guest's linear addresses leads to any host page of the guest's choice. A
 * wrong jump target: JMP RAX is copied as it is, so that the guest jumps to any host address. With these it
 * writes where it wants and runs its own bytes as host code, on the vCPU's thread. They sleep until the guest
 * writes P to the port.
 *
 * What an attacker would have to find out first (addresses) and to bring along (the arguments of his system calls)
 * is put into the guest's memory: no secret is part of the boundary.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "accel/soft/block.h"
#include "accel/soft/native.h"
#include "hostile.h"
#include "mem/gmem.h"
#include "planted.h"
#include "vm/vm.h"

#define PATH_MAX_HERE 512

struct planted_call {
	i64 number;
	u64 arg[6];
	i64 result;
};

/* At PLANTED_PAGE in the guest's memory. */
struct planted_page {
	u64 aim, resume, ram, ram_end, cell, code, code_write, back, back_with, n_calls;
	struct planted_call call[PLANTED_CALLS_MAX];
	char disk[PATH_MAX_HERE], garbage[PATH_MAX_HERE];
	u8 byte;
	struct iovec local, remote;
};
static_assert(sizeof(struct planted_page) <= PAGE_SIZE, "one page");
static_assert(offsetof(struct planted_page, resume) == PLANTED_RESUME, "planted.h");
static_assert(offsetof(struct planted_page, ram) == PLANTED_RAM, "planted.h");
static_assert(offsetof(struct planted_page, ram_end) == PLANTED_RAM_END, "planted.h");
static_assert(offsetof(struct planted_page, cell) == PLANTED_CELL, "planted.h");
static_assert(offsetof(struct planted_page, code) == PLANTED_CODE, "planted.h");
static_assert(offsetof(struct planted_page, code_write) == PLANTED_CODE_WRITE, "planted.h");
static_assert(offsetof(struct planted_page, back) == PLANTED_BACK, "planted.h");
static_assert(offsetof(struct planted_page, back_with) == PLANTED_BACK_WITH, "planted.h");
static_assert(offsetof(struct planted_page, n_calls) == PLANTED_N_CALLS, "planted.h");
static_assert(offsetof(struct planted_page, call) == PLANTED_CALLS, "planted.h");
static_assert(sizeof(struct planted_call) == PLANTED_CALL_SIZE, "planted.h");

static volatile struct planted_page *planted; /* NULL: the bugs sleep */
static struct sx_cpu *planted_cpu;
static volatile u8 planted_cell;

/* --- the bugs --- */

void __real_sx_tlb_set_tags(struct sx_cpu *c, enum sx_tlb_set set, struct sx_tlb_entry *e, u64 page,
			    bool is_writable);
void __wrap_sx_tlb_set_tags(struct sx_cpu *c, enum sx_tlb_set set, struct sx_tlb_entry *e, u64 page,
			    bool is_writable);
bool __real_sx_native_translate(struct sx_cpu *c, struct sx_block *b);
bool __wrap_sx_native_translate(struct sx_cpu *c, struct sx_block *b);

void __wrap_sx_tlb_set_tags(struct sx_cpu *c, enum sx_tlb_set set, struct sx_tlb_entry *e, u64 page,
			    bool is_writable)
{
	__real_sx_tlb_set_tags(c, set, e, page, is_writable);
	if (planted && page == PLANTED_WINDOW)
		e->addend = planted->aim - page;
}

static bool is_jump_by_rax(const struct sx_block *b)
{
	const struct sx_insn *i = &b->insn[!b->insn[0].len];

	return sx_insn_op(i) == SX_JMP_RM && !sx_insn_is_mem(i) && i->rm == X86_RAX;
}

bool __wrap_sx_native_translate(struct sx_cpu *c, struct sx_block *b)
{
	static const u8 jump[] = {0xff, 0xe0};
	bool is_made = __real_sx_native_translate(c, b);
	u8 *code = c->native->write;
	const struct sx_native_block *head;

	planted_cpu = c;
	if (!is_made || !planted || !is_jump_by_rax(b))
		return is_made;
	head = sx_native_head(c, c->native->exec + b->native);
	memcpy(code + head->entry, jump, sizeof(jump));
	memcpy(code + head->inner, jump, sizeof(jump));
	return true;
}

/* --- what the guest is told --- */

/* As in struct attempt, by the guest's own bytes. */
/* clang-format off */
static const struct {
	const char *name;
	int began;
} calls[] = {
	{"read another guest's disk", 0},
	{"execve", ENOEXEC},
	{"a socket", 0},
	{"ptrace", 0},
	{"write to a process", EFAULT},
	{"signal a process", 0},
	{"new executable memory", 0},
	{"its own memory made executable", 0},
	{"code made writable", 0},
	{"memfd_create", 0},
};
/* clang-format on */

#define CALL(...) ((struct planted_call){__VA_ARGS__})
#define AT(field) (p->ram + PLANTED_PAGE + offsetof(struct planted_page, field))

static void fill_calls(struct planted_page *p)
{
	u64 pid = (u64)attempt_victim_pid();
	const struct planted_call list[] = {
		CALL(SYS_openat, {(u64)AT_FDCWD, AT(disk), O_RDONLY}),
		CALL(SYS_execve, {AT(garbage)}),
		CALL(SYS_socket, {AF_UNIX, SOCK_STREAM}),
		CALL(SYS_ptrace, {PTRACE_SEIZE, pid}),
		CALL(SYS_process_vm_writev, {pid, AT(local), 1, AT(remote), 1}),
		CALL(SYS_kill, {pid}),
		CALL(SYS_mmap,
		     {0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, ~(u64)0}),
		CALL(SYS_mprotect, {p->ram, PAGE_SIZE, PROT_READ | PROT_EXEC}),
		CALL(SYS_mprotect, {p->code, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC}),
		CALL(SYS_memfd_create, {AT(disk)}),
	};

	static_assert(ARRAY_SIZE(list) == ARRAY_SIZE(calls), "a name for each");
	static_assert(ARRAY_SIZE(list) <= PLANTED_CALLS_MAX, "room for all");
	p->n_calls = ARRAY_SIZE(list);
	memcpy(p->call, list, sizeof(list));
	snprintf(p->disk, sizeof(p->disk), "%s/disk", attempt_victim("DIR"));
	snprintf(p->garbage, sizeof(p->garbage), "%s/garbage", attempt_victim("DIR"));
	p->local = (struct iovec){(void *)AT(byte), 1};
	p->remote = (struct iovec){NULL, 1}; /* nothing: EFAULT comes after the permission */
}

static void fill_addresses(struct planted_page *p, const struct gmem_range *r)
{
	const struct sx_native *n = planted_cpu->native;
	u64 page = n->size - PAGE_SIZE; /* the last one is used last */

	p->ram = (u64)(uintptr_t)r->block->hva + r->offset - r->gpa;
	p->ram_end = (u64)(uintptr_t)r->block->hva + r->block->size;
	p->cell = (u64)(uintptr_t)&planted_cell;
	p->code = (u64)(uintptr_t)n->exec + page;
	p->code_write = (u64)(uintptr_t)n->write + page;
	p->back = (u64)(uintptr_t)n->leave_to;
	p->back_with = (u64)(uintptr_t)n->leave;
}

void planted_begin(struct vm *vm)
{
	struct gmem *g = vm_gmem(vm);
	const struct gmem_range *r;
	struct planted_page *p;

	gmem_enter(g);
	r = gmem_map_find(gmem_current_map(g), PLANTED_PAGE);
	assert(r && planted_cpu);
	p = (void *)(r->block->hva + r->offset + (PLANTED_PAGE - r->gpa));
	fill_addresses(p, r);
	fill_calls(p);
	planted_cpu->native->heat = 1; /* what comes now is translated at once */
	planted = p;
	gmem_leave(g);
}

/* --- what came of it --- */

void planted_report_write(void)
{
	attempt_report("planted", "write outside guest memory",
		       planted_cell == PLANTED_BYTE ? 0 : -EFAULT, 0);
}

void planted_report_calls(void)
{
	for (size_t k = 0; k < ARRAY_SIZE(calls); k++)
		attempt_report("planted", calls[k].name, planted->call[k].result, calls[k].began);
}

/* With what the vCPU's thread may do, and only once: then it comes again, and ends the process. */
static void planted_on_fault(unused int signal, siginfo_t *info, unused void *context)
{
	static const char there[] = "hostile: planted: stopped where it aimed\n";
	static const char elsewhere[] = "hostile: planted: stopped somewhere else\n";
	bool is_there = planted && ((u64)(uintptr_t)info->si_addr & PAGE_MASK) == planted->aim;
	ssize_t n = is_there ? write(STDERR_FILENO, there, sizeof(there) - 1)
			     : write(STDERR_FILENO, elsewhere, sizeof(elsewhere) - 1);

	(void)n;
}

void planted_init(void)
{
	struct sigaction sa = {.sa_sigaction = planted_on_fault,
			       .sa_flags = SA_SIGINFO | SA_RESETHAND};

	sigaction(SIGSEGV, &sa, NULL);
}
