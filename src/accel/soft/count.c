/*
 * Telling what was counted (count.h).
 */
#include "accel/soft/count.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"
#include "accel/soft/native.h"
#include "base/alloc.h"

#define TOP_CALLOUTS 24

static const struct {
	const char *group, *name;
} count_names[] = {
#define X(name, group, text) [SX_N_##name] = {group, text},
	SX_COUNTS(X)
#undef X
};

static const char *const vector_names[SX_N_VECTORS] = {
	[X86_DE] = "#DE", [X86_DB] = "#DB", [X86_BP] = "#BP",   [X86_OF] = "#OF",
	[X86_BR] = "#BR", [X86_UD] = "#UD", [X86_NM] = "#NM",   [X86_DF] = "#DF",
	[X86_TS] = "#TS", [X86_NP] = "#NP", [X86_SSEG] = "#SS", [X86_GP] = "#GP",
	[X86_PF] = "#PF", [X86_MF] = "#MF", [X86_AC] = "#AC",   [X86_XM] = "#XM",
};

void sx_counts_init(struct sx_cpu *c)
{
	c->counts.callouts = NEW_ARRAY(u64, SX_OP_COUNT);
}

void sx_counts_fini(struct sx_cpu *c)
{
	free(c->counts.callouts);
	c->counts.callouts = NULL;
}

static u64 read_count(const u64 *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

/* The operation that was left to the interpreter most often, but for those told before. */
static unsigned most_frequent(const u64 *n, const bool *told)
{
	unsigned best = SX_OP_NONE;

	for (unsigned op = 0; op < SX_OP_COUNT; op++) {
		if (!told[op] && n[op] > n[best])
			best = op;
	}
	return best;
}

static void visit_callouts(const struct sx_cpu *c,
			   void (*visit)(void *opaque, const struct vcpu_counter *n), void *opaque)
{
	u64 n[SX_OP_COUNT];
	bool told[SX_OP_COUNT] = {0};

	for (unsigned op = 0; op < SX_OP_COUNT; op++)
		n[op] = read_count(&c->counts.callouts[op]);
	n[SX_OP_NONE] = 0;
	for (unsigned k = 0; k < TOP_CALLOUTS; k++) {
		unsigned op = most_frequent(n, told);

		if (!n[op])
			return;
		told[op] = true;
		visit(opaque,
		      &(struct vcpu_counter){"callout-instructions", sx_op_name(op), n[op]});
	}
}

void sx_counts_visit(struct vcpu *v, void (*visit)(void *opaque, const struct vcpu_counter *n),
		     void *opaque)
{
	const struct sx_cpu *c = sx_cpu_of(v);

	for (unsigned k = 0; k < SX_N_COUNTS; k++)
		visit(opaque, &(struct vcpu_counter){count_names[k].group, count_names[k].name,
						     read_count(&c->counts.n[k])});
	for (unsigned k = 0; k < SX_N_VECTORS; k++) {
		u64 n = read_count(&c->counts.exceptions[k]);

		if (n && vector_names[k])
			visit(opaque, &(struct vcpu_counter){"exceptions", vector_names[k], n});
	}
	visit_callouts(c, visit, opaque);
}
