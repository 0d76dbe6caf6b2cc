/*
 * What differs after a stretch, and telling it.
 */
#include <stdio.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/decode.h"
#include "accel/soft/disasm.h"
#include "accel/soft/exec.h"
#include "accel/soft/lockstep_priv.h"
#include "accel/soft/native.h"
#include "base/bytes.h"
#include "base/log.h"

#define HOST_CODE_SHOWN 512 /* bytes */

static const char *const gpr_names[X86_GPRS] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						"rsi", "rdi", "r8",  "r9",  "r10", "r11",
						"r12", "r13", "r14", "r15"};

static bool states_differ(const struct sx_lockstep *l, bool ignores_flags)
{
	struct x86_cpu_state a = l->interpreted.state, b = l->translated.state;

	if (ignores_flags)
		b.rflags = (b.rflags & ~(u64)X86_FLAGS_ARITH) | (a.rflags & X86_FLAGS_ARITH);
	return memcmp(&a, &b, sizeof(a));
}

/*
 * In the first four bytes of an entry, or in all of it. A processor may set A of what it only began: translated code looks an
 * operand up, then leaves off before the instruction, whose divisor is 0, say.
 */
static bool pages_differ(const struct sx_lockstep *l, const struct lockstep_page *p)
{
	const u8 *translated = l->is_after_translated ? p->after : p->host;

	if (!memcmp(p->after, p->host, PAGE_SIZE))
		return false;
	if (!p->is_table)
		return true;
	for (unsigned k = 0; k < PAGE_SIZE; k += 4) {
		u32 differs = (u32)(bytes_load(p->after + k, 4) ^ bytes_load(p->host + k, 4));
		u32 forgiven = l->has_walked_on ? (u32)(X86_PTE_A | X86_PTE_D)
						: (u32)bytes_load(translated + k, 4) & X86_PTE_A;

		if (differs & ~forgiven)
			return true;
	}
	return false;
}

bool sx_lockstep_differs(const struct sx_lockstep *l, bool ignores_flags)
{
	for (unsigned k = 0; k < l->n_pages; k++) {
		if (pages_differ(l, &l->pages[k]))
			return true;
	}
	return states_differ(l, ignores_flags);
}

static void report_value(const char *name, u64 start, u64 interpreted, u64 translated)
{
	log_error("lockstep: %-6s %016lx -> %016lx %016lx%s", name, start, interpreted, translated,
		  interpreted == translated ? "" : "  <-- differs");
}

static void report_rest(const struct sx_lockstep *l)
{
	const u8 *a = (const u8 *)&l->interpreted.state, *b = (const u8 *)&l->translated.state;

	for (size_t k = offsetof(struct x86_cpu_state, rflags) + 8; k < sizeof(l->start.state);
	     k++) {
		if (a[k] != b[k])
			log_error("lockstep: byte %zu of the rest of the state: %02x %02x", k, a[k],
				  b[k]);
	}
}

static void report_state(const struct sx_lockstep *l)
{
	const struct x86_cpu_state *s = &l->start.state, *a = &l->interpreted.state,
				   *b = &l->translated.state;

	log_error("lockstep: at the start -> interpreted, translated");
	for (unsigned k = 0; k < X86_GPRS; k++)
		report_value(gpr_names[k], s->gpr[k], a->gpr[k], b->gpr[k]);
	report_value("rip", s->rip, a->rip, b->rip);
	report_value("rflags", s->rflags, a->rflags, b->rflags);
	report_value("count", l->start.retired, l->interpreted.retired, l->translated.retired);
	report_rest(l);
}

static void report_pages(const struct sx_lockstep *l)
{
	for (unsigned k = 0; k < l->n_pages; k++) {
		const struct lockstep_page *p = &l->pages[k];
		unsigned at = 0;

		while (at < PAGE_SIZE && p->after[at] == p->host[at])
			at++;
		if (at < PAGE_SIZE)
			log_error("lockstep: memory block page %#lx, byte %#x: %02x -> %02x %02x",
				  p->page, at, p->before[at], p->after[at], p->host[at]);
	}
}

static void report_guest_code(const struct sx_cpu *c, const struct sx_block *b, u64 rip)
{
	const struct sx_decode_mode mode = sx_block_decode_mode(c, b->mode);
	char text[SX_DISASM_MAX];
	struct sx_insn i;

	for (unsigned off = 0; off < b->n_bytes; off += i.len) {
		if (sx_decode(&mode, sx_block_bytes(b) + off, b->n_bytes - off, &i) < 0)
			return;
		sx_disasm(&i, rip + off, text, sizeof(text));
		log_error("lockstep: %016lx  %s", rip + off, text);
	}
}

static void report_host_code(const struct sx_cpu *c, const u8 *code)
{
	const u8 *end = c->native->exec + c->native->used;
	char text[32 * 3 + 1];

	for (unsigned off = 0; off < HOST_CODE_SHOWN && code + off + 32 <= end; off += 32) {
		for (unsigned k = 0; k < 32; k++)
			snprintf(text + 3 * k, 4, "%02x ", code[off + k]);
		log_error("lockstep: host %p: %s", (const void *)(code + off), text);
	}
}

/* The block that the stretch began with: the state is the start's for a moment. */
static void report_code(struct sx_cpu *c, u64 rip)
{
	u64 now = c->gpr[SX_RIP];
	const struct sx_block *b;

	c->gpr[SX_RIP] = rip;
	b = sx_jump_find(c);
	c->gpr[SX_RIP] = now;
	if (!b)
		return;
	report_guest_code(c, b, rip);
	if (b->native)
		report_host_code(c, c->native->exec + b->native);
}

void sx_lockstep_report(struct sx_cpu *c, u64 n, const char *what)
{
	struct sx_lockstep *l = c->lockstep;

	snprintf(l->difference, sizeof(l->difference),
		 "lockstep: the translated code at %#lx, %lu instructions after %lu, %s",
		 l->start.state.rip, n, l->start.retired, what);
	log_error("%s", l->difference);
	report_state(l);
	report_pages(l);
	report_code(c, l->start.state.rip);
}
