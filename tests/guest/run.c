/*
 * Runs guest programs on every accelerator that works here, and compares bit for bit.
 *
 * guest_run [--hardware] [--alone] [--hot] PROGRAM.bin...: 0 when all agree, 1 when two differ, one got stuck or a
 * program that checks itself exits with another code than 0, 77
 * (skipped) when fewer than two accelerators run them. Compared are all events in their order (port
 * writes and reads, accesses to unmapped memory), the registers at the end, and all of RAM. The
 * vCPUs have the features that every accelerator has, so that CPUID agrees.
 *
 * --hardware: a KVM that only emulates doesn't count. Such kernels know but a part of the
 * instructions, and take short cuts: CPUID is the host's, writes across pages are not one.
 * --alone: the programs check themselves; one accelerator is enough.
 * --hot: nearly all of what they execute is to be translated code, where there is a translator.
 *
 * What differs between processors by the architecture's own leave is not compared: where x87 left
 * its last instruction, and what is in segments that are unusable.
 */
#include <stdio.h>
#include <string.h>

#include "accel/kvm/kvm.h"
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
	u32 exit_code;
	char broken[160];
	struct rig_event log[RIG_LOG_MAX];
	unsigned n_log;
	u64 insns;                 /* 0: not counted */
	u64 translated, by_others; /* blocks; callouts and exits of their code */
	struct x86_cpu_state state;
	u8 *ram;
};

static void on_alarm(unused int number)
{
	static const char words[] = "guest_run: the program does not end\n";

	(void)!write(STDERR_FILENO, words, sizeof(words) - 1);
	_exit(1);
}

static size_t read_program(const char *path, u8 *out)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : fd_pread_some(fd, out, MAX_PROGRAM, 0);

	if (n <= 0 || n == (ssize_t)MAX_PROGRAM) {
		fprintf(stderr, "guest_run: cannot read '%s'\n", path);
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

static bool is_hardware_kvm(void)
{
	struct err err = ERR_INIT;
	AUTO_FD int fd = -1;
	struct kv_measured kvm;

	return kv_open(&fd, &err) == 0 && kv_measure(fd, &kvm, &err) == 0 &&
	       kvm.insns_per_s >= KV_HARDWARE_INSNS_PER_S;
}

/* The accelerators that work here, and what all of them have: their number. */
static unsigned find_accels(bool needs_hardware, const char *names[MAX_ACCELS],
			    struct x86_features *common)
{
	unsigned n = 0;

	memset(common, 0xff, sizeof(*common));
	common->brand = "what all of them have"; /* and nobody is the host's processor */
	for (const char *const *name = rig_accel_names; *name; name++) {
		struct err err = ERR_INIT;
		struct x86_features f;

		if (needs_hardware && !strcmp(*name, "kvm") && !is_hardware_kvm()) {
			printf("without kvm: it is not there, or only emulates\n");
			continue;
		}
		if (rig_features(*name, &f, &err) < 0) {
			printf("without %s: %s\n", *name, err.text);
			continue;
		}
		and_words(common, &f);
		names[n++] = *name;
	}
	return n;
}

/* Adds up what the software CPU counted. */
static void visit_counter(void *opaque, const struct vcpu_counter *n)
{
	struct outcome *out = opaque;

	if (!strcmp(n->group, "translations") && !strcmp(n->name, "blocks"))
		out->translated += n->value;
	if ((!strcmp(n->group, "callouts") && strcmp(n->name, "left") != 0) ||
	    !strcmp(n->group, "native-exits"))
		out->by_others += n->value;
}

static int run_on(const char *accel, const struct x86_features *features, const u8 *program,
		  size_t size, struct outcome *out)
{
	static struct rig rig;
	struct err err = ERR_INIT;
	struct vcpu *v;

	*out = (struct outcome){.accel = accel};
	if (rig_open(&rig, accel, 1, features, &err) < 0) {
		fprintf(stderr, "guest_run: %s: %s\n", accel, err.text);
		return -1;
	}
	v = rig.vcpus[0];
	rig_load(&rig, program, size);
	alarm(TIME_LIMIT);
	out->stop = rig_run(&rig, 0);
	alarm(0);
	out->insns = v->insns;
	if (v->ops->count)
		v->ops->count(v, visit_counter, out);
	memcpy(out->broken, v->broken, sizeof(out->broken));
	out->has_exited = rig.has_exited;
	out->exit_code = rig.exit_code;
	memcpy(out->log, rig.log, sizeof(out->log));
	out->n_log = rig.n_log;
	out->ram = mem_alloc(1, RIG_RAM_SIZE);
	if (v->ops->get_state(v, &out->state, &err) < 0 ||
	    gmem_read(rig.gmem, 0, out->ram, RIG_RAM_SIZE) < 0) {
		fprintf(stderr, "guest_run: %s: %s\n", accel, err.text);
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

	if (o->has_exited && o->exit_code) {
		fprintf(stderr, "guest_run: on %s the program is not content:", o->accel);
		for (unsigned i = 0; i < o->n_log && i < 8; i++)
			fprintf(stderr, " %#lx", o->log[i].value);
		fprintf(stderr, "\n");
		return false;
	}
	if (o->has_exited)
		return true;
	fprintf(stderr,
		"guest_run: on %s the program stopped (%d) after %u events at %#lx:%#lx, CR0 %#lx, "
		"CR2 %#lx. %s\n",
		o->accel, (int)o->stop, o->n_log, s->seg[X86_CS].base, s->rip, s->cr0, s->cr2,
		o->broken);
	return false;
}

/* By the interpreter's count of instructions. */
static bool is_hot(const struct outcome *o, u64 insns)
{
	if (strcmp(o->accel, "translator") != 0)
		return true;
	printf("  %lu instructions, %lu blocks translated, %lu times by the interpreter\n", insns,
	       o->translated, o->by_others);
	if (o->translated && o->by_others < insns / 20)
		return true;
	fprintf(stderr, "guest_run: on %s too much of the program isn't translated code\n",
		o->accel);
	return false;
}

static int compare(const struct outcome *a, const struct outcome *b)
{
	differences = 0;
	compare_logs(a, b);
	compare_states(&a->state, &b->state);
	compare_ram(a, b);
	if (differences)
		fprintf(stderr, "guest_run: %s and %s differ in %u places\n", a->accel, b->accel,
			differences);
	return differences ? 1 : 0;
}

/* One program on all accelerators: 0, or 1 when they differ. */
static int run_program(const char *path, const char *const *accels, unsigned n,
		       const struct x86_features *common, bool is_hot_one)
{
	static struct outcome outcomes[MAX_ACCELS];
	static u8 program[MAX_PROGRAM];
	size_t size = read_program(path, program);
	int result = 0;

	printf("%s:\n", path);
	for (unsigned i = 0; i < n; i++) {
		if (run_on(accels[i], common, program, size, &outcomes[i]) < 0)
			return 1;
		printf("  %s: %u events\n", accels[i], outcomes[i].n_log);
		result |= !is_sound(&outcomes[i]) ||
			  (is_hot_one && !is_hot(&outcomes[i], outcomes[0].insns));
	}
	for (unsigned i = 1; i < n && !result; i++)
		result |= compare(&outcomes[0], &outcomes[i]);
	for (unsigned i = 0; i < n; i++)
		free(outcomes[i].ram);
	return result;
}

struct options {
	bool needs_hardware, is_alone, is_hot;
	int first; /* program in argv */
};

static struct options parse_options(int argc, char **argv)
{
	struct options o = {.first = 1};

	for (; o.first < argc && argv[o.first][0] == '-'; o.first++) {
		if (!strcmp(argv[o.first], "--hardware"))
			o.needs_hardware = true;
		else if (!strcmp(argv[o.first], "--alone"))
			o.is_alone = true;
		else if (!strcmp(argv[o.first], "--hot"))
			o.is_hot = true;
		else
			o.first = argc;
	}
	if (o.first >= argc) {
		fprintf(stderr, "usage: guest_run [--hardware] [--alone] [--hot] PROGRAM.bin...\n");
		exit(1);
	}
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse_options(argc, argv);
	const char *accels[MAX_ACCELS];
	struct x86_features common;
	int result = 0;

	signal(SIGALRM, on_alarm);
	setvbuf(stdout, NULL, _IOLBF, 0);
	unsigned n = find_accels(o.needs_hardware, accels, &common);
	for (int i = o.first; i < argc; i++)
		result |= run_program(argv[i], accels, n, &common, o.is_hot);
	if (!result && n < (o.is_alone ? 1 : 2)) {
		printf("SKIP: %u accelerators work here: nothing to compare\n", n);
		return SKIPPED;
	}
	return result;
}
