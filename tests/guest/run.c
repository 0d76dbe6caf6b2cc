/*
 * Runs a guest program on every accelerator that works here, and compares bit for bit.
 *
 * run PROGRAM.bin: 0 when all agree, 1 when two differ or one got stuck, 77 (skipped) when
 * fewer than two accelerators run it. Compared are all events in their order (port writes and reads,
 * accesses to unmapped memory), the registers at the end, and all of RAM. The vCPUs have the features
 * that every accelerator has, so that CPUID agrees.
 *
 * What differs between processors by the architecture's own leave is not compared: where x87 left
 * its last instruction, and what a processor adds to RFLAGS or segments that are unusable.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "mem/gmem.h"
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define MAX_ACCELS  4
#define MAX_PROGRAM (64 * KIB)
#define TIME_LIMIT  60 /* seconds a program may take on one accelerator */
#define SKIPPED     77

struct outcome {
	const char *accel;
	enum vcpu_stop stop;
	bool has_exited;
	char broken[160];
	struct rig_event log[RIG_LOG_MAX];
	unsigned n_log;
	struct x86_cpu_state state;
	u8 *ram;
};

static const char *current_accel;

static void on_alarm(unused int number)
{
	static const char words[] = "run: the program does not end\n";

	(void)!write(STDERR_FILENO, words, sizeof(words) - 1);
	_exit(1);
}

static size_t read_program(const char *path, u8 *out)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : fd_pread_some(fd, out, MAX_PROGRAM, 0);

	if (n <= 0 || n == (ssize_t)MAX_PROGRAM) {
		fprintf(stderr, "run: cannot read '%s'\n", path);
		exit(1);
	}
	return (size_t)n;
}

static void and_words(struct x86_features *all, const struct x86_features *more)
{
	all->leaf1_ecx &= more->leaf1_ecx;
	all->leaf1_edx &= more->leaf1_edx;
	all->leaf7_ebx &= more->leaf7_ebx;
	all->leaf7_ecx &= more->leaf7_ecx;
	all->leaf7_edx &= more->leaf7_edx;
	all->leafd1_eax &= more->leafd1_eax;
	all->ext1_ecx &= more->ext1_ecx;
	all->ext1_edx &= more->ext1_edx;
	all->ext8_ebx &= more->ext8_ebx;
	all->arch_capabilities &= more->arch_capabilities;
	if (more->phys_bits < all->phys_bits)
		all->phys_bits = more->phys_bits;
}

/* The accelerators that work here, and what all of them have: their number. */
static unsigned find_accels(const char *names[MAX_ACCELS], struct x86_features *common)
{
	unsigned n = 0;

	memset(common, 0xff, sizeof(*common));
	for (const char *const *name = rig_accel_names; *name; name++) {
		struct err err = ERR_INIT;
		struct x86_features f;

		if (rig_features(*name, &f, &err) < 0) {
			fprintf(stderr, "run: without %s: %s\n", *name, err.text);
			continue;
		}
		and_words(common, &f);
		names[n++] = *name;
	}
	return n;
}

static int run_on(const char *accel, const struct x86_features *features, const u8 *program,
		  size_t size, struct outcome *out)
{
	static struct rig rig;
	struct err err = ERR_INIT;
	struct vcpu *v;

	current_accel = out->accel = accel;
	if (rig_open(&rig, accel, 1, features, &err) < 0) {
		fprintf(stderr, "run: %s: %s\n", accel, err.text);
		return -1;
	}
	v = rig.vcpus[0];
	rig_load(&rig, program, size);
	alarm(TIME_LIMIT);
	out->stop = rig_run(&rig, 0);
	alarm(0);
	memcpy(out->broken, v->broken, sizeof(out->broken));
	out->has_exited = rig.has_exited;
	memcpy(out->log, rig.log, sizeof(out->log));
	out->n_log = rig.n_log;
	out->ram = mem_alloc(1, RIG_RAM_SIZE);
	if (v->ops->get_state(v, &out->state, &err) < 0 ||
	    gmem_read(rig.gmem, 0, out->ram, RIG_RAM_SIZE) < 0) {
		fprintf(stderr, "run: %s: %s\n", accel, err.text);
		return -1;
	}
	rig_close(&rig);
	return 0;
}

/* --- comparing --- */

static unsigned differences;

static void differ(const char *what, u64 a, u64 b)
{
	if (a == b)
		return;
	if (differences++ < 20)
		fprintf(stderr, "  %s: %#lx or %#lx\n", what, a, b);
}

static void compare_logs(const struct outcome *a, const struct outcome *b)
{
	unsigned fewer = MIN(a->n_log, b->n_log), n = MIN(fewer, (unsigned)RIG_LOG_MAX);

	for (unsigned i = 0; i < n && differences < 20; i++) {
		const struct rig_event *x = &a->log[i], *y = &b->log[i];
		char what[64];

		if (!memcmp(x, y, sizeof(*x)))
			continue;
		snprintf(what, sizeof(what), "event %u, %s of %s %#lx (%u bytes)", i,
			 x->is_write ? "write" : "read", x->is_port ? "port" : "address", x->addr,
			 x->size);
		differ(what, x->value, y->value);
		if (x->value == y->value)
			differ(what, x->addr << 8 | x->size, y->addr << 8 | y->size);
	}
	differ("number of events", a->n_log, b->n_log);
}

static void compare_segments(const struct x86_cpu_state *a, const struct x86_cpu_state *b)
{
	for (unsigned i = 0; i < X86_SEGS; i++) {
		const struct x86_segment *x = &a->seg[i], *y = &b->seg[i];
		char what[32];

		snprintf(what, sizeof(what), "segment %u", i);
		differ(what, x->selector, y->selector);
		if ((x->attr & X86_ATTR_UNUSABLE) && (y->attr & X86_ATTR_UNUSABLE))
			continue;
		differ(what, x->base, y->base);
		differ(what, x->limit, y->limit);
		differ(what, x->attr, y->attr);
	}
	differ("GDT", a->gdt.base << 16 | a->gdt.limit, b->gdt.base << 16 | b->gdt.limit);
	differ("IDT", a->idt.base << 16 | a->idt.limit, b->idt.base << 16 | b->idt.limit);
	differ("TR", a->tr.selector, b->tr.selector);
}

static void compare_states(const struct x86_cpu_state *a, const struct x86_cpu_state *b)
{
	char what[32];

	for (unsigned i = 0; i < X86_GPRS; i++) {
		snprintf(what, sizeof(what), "register %u", i);
		differ(what, a->gpr[i], b->gpr[i]);
	}
	differ("RIP", a->rip, b->rip);
	differ("RFLAGS", a->rflags, b->rflags);
	differ("CR0", a->cr0, b->cr0);
	differ("CR2", a->cr2, b->cr2);
	differ("CR3", a->cr3, b->cr3);
	differ("CR4", a->cr4, b->cr4);
	differ("EFER", a->efer, b->efer);
	differ("DR6", a->dr6, b->dr6);
	differ("DR7", a->dr7, b->dr7);
	differ("XCR0", a->xcr0, b->xcr0);
	compare_segments(a, b);
	differ("x87 control", a->xsave[0] | a->xsave[1] << 8, b->xsave[0] | b->xsave[1] << 8);
	for (unsigned i = X86_FXSAVE_MXCSR; i < 416; i++) {
		snprintf(what, sizeof(what), "FXSAVE byte %u", i);
		differ(what, a->xsave[i], b->xsave[i]);
	}
}

static void compare_ram(const struct outcome *a, const struct outcome *b)
{
	for (u64 i = 0; i < RIG_RAM_SIZE && differences < 20; i++) {
		char what[32];

		snprintf(what, sizeof(what), "memory at %#lx", i);
		differ(what, a->ram[i], b->ram[i]);
	}
}

static bool is_sound(const struct outcome *o)
{
	const struct x86_cpu_state *s = &o->state;

	if (o->has_exited)
		return true;
	fprintf(stderr,
		"run: on %s the program stopped (%d) after %u events at %#lx:%#lx, CR0 %#lx, "
		"CR2 %#lx. %s\n",
		o->accel, (int)o->stop, o->n_log, s->seg[X86_CS].base, s->rip, s->cr0, s->cr2,
		o->broken);
	return false;
}

static int compare(const struct outcome *a, const struct outcome *b)
{
	differences = 0;
	compare_logs(a, b);
	compare_states(&a->state, &b->state);
	compare_ram(a, b);
	if (differences)
		fprintf(stderr, "run: %s and %s differ in %u places\n", a->accel, b->accel,
			differences);
	return differences ? 1 : 0;
}

int main(int argc, char **argv)
{
	static u8 program[MAX_PROGRAM];
	static struct outcome outcomes[MAX_ACCELS];
	const char *accels[MAX_ACCELS];
	struct x86_features common;
	unsigned n = find_accels(accels, &common);
	int result = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: run PROGRAM.bin\n");
		return 1;
	}
	size_t size = read_program(argv[1], program);

	signal(SIGALRM, on_alarm);
	for (unsigned i = 0; i < n; i++) {
		if (run_on(accels[i], &common, program, size, &outcomes[i]) < 0)
			return 1;
		result |= !is_sound(&outcomes[i]);
	}
	for (unsigned i = 1; i < n && !result; i++)
		result |= compare(&outcomes[0], &outcomes[i]);
	for (unsigned i = 0; i < n; i++) {
		printf("%s: %u events\n", accels[i], outcomes[i].n_log);
		free(outcomes[i].ram);
	}
	if (!result && n < 2) {
		printf("SKIP: only %u accelerator works here: nothing to compare\n", n);
		return SKIPPED;
	}
	return result;
}
