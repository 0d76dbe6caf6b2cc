/*
 * Native code: its memory, entering and leaving it, links between blocks, callouts. See native.h.
 */
#include "accel/soft/native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/soft/block.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/native_priv.h"
#include "accel/soft/segment.h"
#include "accel/soft/translate.h"
#include "base/alloc.h"
#include "base/err.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define NATIVE_SIZE  (24 * MIB) /* address space; what is touched is what is used */
#define NATIVE_GUARD (64 * KIB)
/* How often a block is entered before it is translated: a translation costs about a thousand of an
 * instruction's executions. */
#define NATIVE_HEAT 24

/* --- memory --- */

static u64 cpu_bytes(void)
{
	return align_up(sizeof(struct sx_cpu), PAGE_SIZE);
}

static u64 reserved_bytes(void)
{
	return cpu_bytes() + NATIVE_GUARD + NATIVE_SIZE;
}

/* Both mappings of one file that nobody else has. */
static int map_code(struct sx_native *n, u8 *at, struct err *err)
{
	int fd = memfd_create("posada-code", MFD_CLOEXEC | MFD_EXEC);
	int r = 0;

	if (fd < 0 && errno == EINVAL) /* kernels before 6.3 don't know the flag and need none */
		fd = memfd_create("posada-code", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, NATIVE_SIZE) < 0) {
		r = err_errno(err, -errno, "memory for translated code");
	} else {
		n->exec =
			mmap(at, NATIVE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
		if (n->exec == MAP_FAILED)
			r = err_errno(err, -errno, "translated code may not be executed here");
	}
	if (!r) {
		n->write = mmap(NULL, NATIVE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (n->write == MAP_FAILED)
			r = err_errno(err, -errno, "memory for translated code");
	}
	if (fd >= 0)
		close(fd);
	n->size = NATIVE_SIZE;
	return r;
}

static int make_native(struct sx_cpu *c, enum accel_engine engine, struct err *err)
{
	struct sx_native *n = NEW(struct sx_native);
	int r = map_code(n, (u8 *)c + cpu_bytes() + NATIVE_GUARD, err);

	if (r < 0) {
		free(n);
		return r;
	}
	n->heat = engine == ACCEL_ENGINE_TRANSLATOR ? 1 : NATIVE_HEAT;
	c->native = n;
	sx_native_emit_common(c);
	return 0;
}

int sx_native_new(enum accel_engine engine, struct sx_cpu **out, char *note, size_t note_size,
		  struct err *err)
{
	struct sx_cpu *c = mmap(NULL, reserved_bytes(), PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r = 0;

	if ((void *)c == MAP_FAILED || mprotect(c, cpu_bytes(), PROT_READ | PROT_WRITE) < 0)
		return err_errno(err, -errno, "memory for a vCPU");
	if (engine != ACCEL_ENGINE_INTERPRETER)
		r = make_native(c, engine, err);
	if (r < 0 && engine == ACCEL_ENGINE_AUTO) {
		snprintf(note, note_size, "interpreting only: %.120s", err->text);
		r = 0;
	}
	if (r < 0)
		munmap(c, reserved_bytes());
	else
		*out = c;
	return r;
}

void sx_native_free(struct sx_cpu *c)
{
	if (c->native)
		munmap(c->native->write, NATIVE_SIZE);
	free(c->native);
	munmap(c, reserved_bytes());
}

void sx_native_drop(struct sx_cpu *c)
{
	if (c->native)
		c->native->used = c->native->common;
}

/* --- one instruction by the interpreter --- */

static enum sx_op op_of(const struct sx_block *one)
{
	/* Entries without length are no instructions. */
	return sx_insn_op(&one->insn[!one->insn[0].len]);
}

/* At RIP. False: nothing was done, for making room would take away the code that called us. */
static bool step(struct sx_cpu *c, unsigned *out_len)
{
	struct sx_block *one;

	c->block = NULL;
	if (!sx_cache_has_room(c))
		return false;
	c->mode |= SX_MODE_STEP;
	__atomic_fetch_or(&c->request, SX_REQ_STEP, __ATOMIC_RELAXED);
	one = sx_block_find(c);
	c->mode &= ~(u32)SX_MODE_STEP;
	*out_len = one->n_bytes;
	c->counts.callouts[op_of(one)]++;
	sx_block_enter(c, one);
	c->block = NULL;
	/* A mode that steps by itself keeps the bit. */
	if (!(c->mode & (SX_MODE_STEP | SX_MODE_LIMITED)))
		__atomic_fetch_and(&c->request, ~(u32)SX_REQ_STEP, __ATOMIC_RELAXED);
	return true;
}

bool sx_native_callout(struct sx_cpu *c, u32 index, u32 off, struct sx_native_block *n)
{
	u64 start = c->gpr[SX_RIP];
	unsigned len;

	sx_count(c, n->unknown & BIT(index) ? SX_N_CALLOUT_UNKNOWN : SX_N_CALLOUT_MEMORY);
	c->gpr[SX_RIP] = start + off;
	c->retired -= n->n_insns - index;
	if (!step(c, &len) || __atomic_load_n(&c->request, __ATOMIC_RELAXED) ||
	    c->mode != n->mode || __atomic_load_n(n->code, __ATOMIC_ACQUIRE) != n->word ||
	    c->gpr[SX_RIP] != start + off + len) {
		sx_count(c, SX_N_CALLOUT_LEAVES);
		return true;
	}
	c->gpr[SX_RIP] = start;
	c->retired += n->n_insns - index - 1;
	return false;
}

u64 sx_native_fill(struct sx_cpu *c, u64 lin, u32 what)
{
	enum sx_access access = what & SX_NATIVE_WRITE ? SX_WRITE : SX_READ;

	return (u64)(uintptr_t)sx_translate_fill(c, lin, what & ~SX_NATIVE_WRITE, access);
}

/* --- in and out --- */

/* What native code hands back is looked at before it is followed: it may have a bug, or been overwritten. */
static bool is_own_code(const struct sx_native *n, const void *at)
{
	return (const u8 *)at >= n->write + n->common && (const u8 *)at < n->write + n->used;
}

/* Leads an end of native code, or the entry of a stale block, to what is there now. */
static void link_to(struct sx_cpu *c, u8 *at, bool is_entry, const struct sx_block *to)
{
	const struct sx_native *n = c->native;
	u8 *target = to->native - n->exec + n->write;

	assert(is_own_code(n, at));
	if (!is_entry) {
		e_patch(at, target);
	} else if (at != target) {
		at[0] = 0xe9; /* jmp */
		e_patch(at + 1, target);
	}
}

/* Runs native code until it wants something else than SIMD made ready; what it left is told. */
static uintptr_t run_native(struct sx_cpu *c, const u8 *code, struct sx_native_block **out)
{
	sx_native_enter_fn *enter = (sx_native_enter_fn *)(uintptr_t)c->native->enter;

	for (;;) {
		uintptr_t left = enter(code);

		sx_count(c, left == NATIVE_STEP ? SX_N_LEFT_STEP : SX_N_LEFT_GO_ON + (left & 3));
		*out = (struct sx_native_block *)(left >> 2);
		if ((left & 3) != NATIVE_INTERPRET)
			return left;
		assert(is_own_code(c->native, *out));
		if (!sx_fpu_is_ready(c, (*out)->fpu_needs))
			return left;
		code = (*out)->block->native;
	}
}

/* b is what comes next, by the handler returned. */
static sx_insn_fn *go_on_with(struct sx_cpu *c, struct sx_block *b, sx_insn_fn *first)
{
	c->block = b;
	c->retired += b->n_insns;
	return first;
}

/* From the block at hand to the next that the interpreter enters; NULL: to the run loop. */
static noinline sx_insn_fn *run_on(struct sx_cpu *c)
{
	struct sx_native_block *n;
	struct sx_block *b;
	uintptr_t left;
	unsigned len;

	c->retired -= c->block->n_insns; /* native code counts for itself */
	left = run_native(c, c->block->native, &n);
	/* It wants SIMD and can't have it: the interpreter knows what that leads to. */
	if ((left & 3) == NATIVE_INTERPRET)
		return go_on_with(c, n->block, n->block->first_fn);
	if (left == NATIVE_STEP && !step(c, &len))
		return NULL;
	if (!SX_CHAINS_BLOCKS || unlikely(sx_is_wanted(c)))
		return NULL;
	b = sx_jump_find(c);
	if (!b)
		return NULL;
	if ((left & 3) && b->native)
		link_to(c, (u8 *)(left >> 2), (left & 3) == NATIVE_REPLACE, b);
	return go_on_with(c, b, b->insn[0].fn);
}

static void sx_native_enter(struct sx_cpu *c, unused const struct sx_insn *i)
{
	sx_insn_fn *next = run_on(c);

	if (next)
		next(c, c->block->insn);
}

static void sx_native_warm(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_block *b = c->block;

	if (++b->heat < c->native->heat) {
		b->first_fn(c, i);
		return;
	}
	b->insn[0].fn = sx_native_translate(c, b) ? sx_native_enter : b->first_fn;
	b->insn[0].fn(c, i);
}

void sx_native_watch(struct sx_cpu *c, struct sx_block *b)
{
	if (!c->native || (b->mode & (SX_MODE_64 | SX_MODE_STEP | SX_MODE_LIMITED)) != SX_MODE_64)
		return;
	b->first_fn = b->insn[0].fn;
	b->insn[0].fn = sx_native_warm;
}

void sx_native_revalidated(struct sx_cpu *c, struct sx_block *b)
{
	struct sx_native_block *n;

	if (!b->native)
		return;
	n = (struct sx_native_block *)(void *)(b->native - sizeof(*n) - c->native->exec +
					       c->native->write);
	n->word = b->word;
}
