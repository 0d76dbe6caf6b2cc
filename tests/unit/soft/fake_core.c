/*
 * See fake_core.h. Defines what exec.h declares, in place of the interpreter's own.
 */
#include "fake_core.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/bind.h"
#include "accel/soft/decode.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"

static struct fake_core *core;
static jmp_buf fault_out;

void sx_throw(struct sx_cpu *c, const struct sx_insn *i, enum x86_vector vector, u32 code)
{
	(void)c;
	(void)i;
	(void)code;
	core->fault = (int)vector;
	longjmp(fault_out, 1);
}

/* As a device's callback would, every slow access takes the FPU's registers out of the host. */
static u8 *fake_memory(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	if (!range_fits(lin - (u64)core->page, size, PAGE_SIZE))
		sx_throw(c, i, X86_PF, 0);
	sx_fpu_sync(c);
	return (u8 *)lin;
}

u64 sx_load_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	return bytes_load(fake_memory(c, i, lin, size), size);
}

void sx_store_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 value, unsigned size)
{
	bytes_store(fake_memory(c, i, lin, size), value, size);
}

void sx_load_bytes_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, void *buf,
			unsigned size)
{
	memcpy(buf, fake_memory(c, i, lin, size), size);
}

void sx_store_bytes_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, const void *buf,
			 unsigned size)
{
	memcpy(fake_memory(c, i, lin, size), buf, size);
}

void sx_probe_write(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	fake_memory(c, i, lin, size);
}

u64 sx_ea_slow(struct sx_cpu *c, const struct sx_insn *i, unsigned size, bool is_write)
{
	(void)size;
	(void)is_write;
	return sx_offset(c, i) + c->seg_base[i->seg];
}

u64 sx_seg_lin(struct sx_cpu *c, const struct sx_insn *i, unsigned seg, u64 off, unsigned size,
	       bool is_write)
{
	(void)i;
	(void)size;
	(void)is_write;
	return off + c->seg_base[seg];
}

static void fake_tlb(struct fake_core *f)
{
	struct sx_tlb_entry *e = sx_tlb_slot(f->cpu->tlb, f->cpu->tlb_mask, (u64)f->page);

	e->read = e->write = f->has_tlb ? (u64)f->page : SX_TLB_NONE;
	e->addend = 0;
}

void fake_core_init(struct fake_core *f)
{
	*f = (struct fake_core){.fault = FAKE_NO_FAULT};
	f->cpu = aligned_alloc(64, align_up(sizeof(*f->cpu), 64));
	f->page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	assert(f->cpu && f->page);
	fake_core_reset(f);
}

void fake_core_fini(struct fake_core *f)
{
	free(f->cpu);
	free(f->page);
}

void fake_core_reset(struct fake_core *f)
{
	struct sx_cpu *c = f->cpu;

	memset(c, 0, sizeof(*c));
	c->mode = SX_MODE_64 | SX_MODE_PE;
	c->code_mask = ~(u64)0;
	c->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_NE | X86_CR0_MP;
	c->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	c->efer = X86_EFER_LMA | X86_EFER_LME;
	c->xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	c->tlb = f->tlb;
	c->tlb_mask = sizeof(f->tlb) - sizeof(f->tlb[0]);
	for (unsigned n = 0; n < ARRAY_SIZE(f->tlb); n++)
		f->tlb[n].read = f->tlb[n].write = SX_TLB_NONE;
	sx_fpu_init_x87(&c->fpu);
	c->fpu.mxcsr = X86_MXCSR_RESET;
}

static void fake_stop(struct sx_cpu *c, const struct sx_insn *i)
{
	(void)c;
	(void)i;
}

int fake_core_run(struct fake_core *f, const u8 *bytes, unsigned n, bool stay_live)
{
	struct sx_decode_mode mode = {.bits = f->cpu->mode & SX_MODE_64   ? 64
					      : f->cpu->mode & SX_MODE_32 ? 32
									  : 16,
				      .is_protected = f->cpu->mode & SX_MODE_PE,
				      .features = ~(u64)0};
	struct {
		struct sx_block block;
		struct sx_insn insn[2];
	} *b = calloc(1, sizeof(*b));
	u8 code[SX_INSN_MAX] = {0};

	core = f;
	f->fault = FAKE_NO_FAULT;
	fake_tlb(f);
	memcpy(code, bytes, n);
	assert(sx_decode(&mode, bytes, n, &b->insn[0]) == (int)n);
	b->insn[0].fn = sx_bind_fpu(&b->insn[0], 0);
	assert(b->insn[0].fn);
	b->insn[1].fn = fake_stop;
	b->block.n_entries = 1;
	memcpy(sx_block_bytes(&b->block), code, sizeof(code));
	f->cpu->block = &b->block;
	if (setjmp(fault_out) == 0)
		b->insn[0].fn(f->cpu, &b->insn[0]);
	if (!stay_live)
		sx_fpu_sync(f->cpu);
	free(b);
	return f->fault;
}
