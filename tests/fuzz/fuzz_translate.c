/*
 * Fuzzes decoder, interpreter and translator: bytes as a guest's code, which runs in lockstep; the first
 * difference aborts.
 *
 * Input: a mode (enum fuzz_mode, and in the upper bits flags: below); eight bytes that registers, flags, SIMD state
 * and memory follow from; code. It is placed at the beginning of a page, or so that it goes on in the next one. An
 * exception's handler goes on a byte behind the instruction. After some hundred instructions it is enough, or where
 * the code comes to memory that is neither its own nor data: it is full of OUTs to the port that stops the vCPU.
 */
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "base/err.h"
#include "clock/vclock.h"
#include "core_fixture.h"
#include "mem/gmem.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define HEADER       9
#define MAX_CODE     512
#define MAX_INSNS    300
#define MAX_DEVICE   100 /* accesses: string instructions go on and on there */
#define CHECK_MEMORY 256 /* inputs, after which all of the memory is compared */

#define INPUT_CODE 0x300000u /* pages that user code may have are those from CORE_DATA on */
#define HANDLERS   0xa000u
#define HANDLERS2  0xa040u /* for exceptions with an error code */
#define IDT32      0xb000u
#define HANDLER16  0x600u
#define CODE16     0x8000u /* and data everywhere around it */

enum fuzz_mode {
	KERNEL_64,
	USER_64,
	USER_32, /* of a 64-bit kernel */
	FLAT_32, /* without paging */
	REAL_16,
	PROTECTED_16, /* CS of 16 bits, under a 64-bit kernel */
	MODES,
};
#define MODE_MASK      7u
#define MODE_CROSSES   8u  /* the code goes on in another page */
#define MODE_TRAPS     16u /* TF */
#define MODE_ALIGNMENT 32u /* EFLAGS.AC and CR0.AM */
#define MODE_SMALL     64u /* room for few decoded blocks, which are swept the sooner */

/* Behind the instruction's first byte, whatever it was: so the rest is tried, too. */
CODE(handler, "incq (%rsp)\n iretq\n");
CODE(handler_with_code, "add $8, %rsp\n incq (%rsp)\n iretq\n");
CODE(handler32, ".code32\n incl (%esp)\n iret\n");
CODE(handler32_with_code, ".code32\n add $4, %esp\n incl (%esp)\n iret\n");
CODE(handler16, ".code16\n push %bp\n mov %sp, %bp\n incw 2(%bp)\n pop %bp\n iretw\n");

static struct {
	bool is_made;
	struct core k;
	struct vtimer enough;
	struct x86_cpu_state state[MODES];
	u8 *pristine; /* CORE_RAM bytes */
	u64 dirty[CORE_RAM / PAGE_SIZE / 64];
	u64 n_inputs;
	u64 room; /* for decoded blocks */
	unsigned n_device;
} fuzz;

/* --- the machine, once --- */

static void want_vcpu(void)
{
	__atomic_store_n(&fuzz.k.vcpu[0]->is_wanted, true, __ATOMIC_RELEASE);
	vcpu_kick(fuzz.k.vcpu[0]);
}

static void on_enough(unused void *opaque)
{
	want_vcpu();
}

static void on_mmio(unused void *opaque, unused struct core *k, unused gpa_t gpa)
{
	if (++fuzz.n_device < MAX_DEVICE)
		return;
	sx_cpu_of(fuzz.k.vcpu[0])->run_state = X86_HALTED; /* lockstep goes on with a string else */
	want_vcpu();
}

static bool has_code(unsigned vector)
{
	return vector < 32 && (BIT(X86_DF) | BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SSEG) |
			       BIT(X86_GP) | BIT(X86_PF) | BIT(X86_AC)) >>
					      vector &
				      1;
}

static void put_idt32(struct core *k, unsigned vector, u32 offset)
{
	u64 gate = (offset & 0xffff) | (u64)CORE_CS32 << 16 | (u64)0x8e00 << 32 |
		   (u64)(offset >> 16) << 48;

	bytes_store(core_ram(k, IDT32 + vector * 8), gate, 8);
}

static void put_handlers(struct core *k)
{
	core_load(k, HANDLERS, handler, CODE_SIZE(handler));
	core_load(k, HANDLERS2, handler_with_code, CODE_SIZE(handler_with_code));
	core_load(k, HANDLERS + 0x80, handler32, CODE_SIZE(handler32));
	core_load(k, HANDLERS2 + 0x80, handler32_with_code, CODE_SIZE(handler32_with_code));
	core_load(k, HANDLER16, handler16, CODE_SIZE(handler16));
	for (unsigned v = 0; v < 256; v++) {
		u32 at = has_code(v) ? HANDLERS2 : HANDLERS;

		core_set_gate(k, v, at, CORE_CS64, 1, 0x8e);
		put_idt32(k, v, at + 0x80);
		bytes_store(core_ram(k, v * 4), HANDLER16, 4);
	}
}

static struct x86_segment segment(u16 selector, u32 attr)
{
	return (struct x86_segment){.limit = 0xffffffff, .attr = attr, .selector = selector};
}

static void set_segments(struct x86_cpu_state *s, struct x86_segment cs, struct x86_segment ds)
{
	for (unsigned n = 0; n < X86_SEGS; n++)
		s->seg[n] = n == X86_CS ? cs : ds;
}

static void make_states(struct core *k)
{
	const struct x86_segment user_data = segment(CORE_USER_DS, 0xc0f3);
	struct x86_cpu_state *s = fuzz.state;
	u64 xcr0 = x86_cpuid_reg(&sx_cpu_of(k->vcpu[0])->cpuid, 0xd, 0, 0);

	core_protected_mode(k, &s[FLAT_32]);
	s[FLAT_32].cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	s[FLAT_32].idt = (struct x86_table){IDT32, 0x7ff};
	core_real_mode(k, &s[REAL_16]);
	s[REAL_16].cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	core_long_mode(k, &s[KERNEL_64]);
	s[KERNEL_64].cr4 |= X86_CR4_FSGSBASE | X86_CR4_OSXSAVE;
	s[KERNEL_64].xcr0 = xcr0;
	for (enum fuzz_mode m = USER_64; m < MODES; m++) {
		if (m == FLAT_32 || m == REAL_16)
			continue;
		s[m] = s[KERNEL_64];
		set_segments(&s[m],
			     m == USER_64   ? segment(CORE_USER_CS64, 0xa0fb)
			     : m == USER_32 ? segment(CORE_USER_CS32, 0xc0fb)
					    : segment(CORE_USER_CS32, 0x80fb),
			     user_data);
	}
}

static void make(void)
{
	static const u8 stop[] = {0xe6, CORE_PORT_STOP};
	struct core *k = &fuzz.k;
	struct err err;
	int r;

	setenv("SOFT_MODEL", "host", 1);
	core_init_lockstep(k);
	/* Which is mapped, and has pointers to what was allocated. */
	__lsan_register_root_region(sx_cpu_of(k->vcpu[0]), sizeof(struct sx_cpu));
	k->on_mmio = on_mmio;
	fuzz.room = sx_cpu_of(k->vcpu[0])->cache->room;
	make_states(k);
	put_handlers(k);
	for (u64 at = CORE_DATA; at < CORE_RAM; at += sizeof(stop))
		memcpy(core_ram(k, at), stop, sizeof(stop));
	fuzz.pristine = malloc(CORE_RAM);
	memcpy(fuzz.pristine, core_ram(k, 0), CORE_RAM);
	vtimer_init(&fuzz.enough, k->clock, on_enough, NULL);
	r = gmem_log_start(k->gmem, &err);
	assert(r == 0);
	fuzz.is_made = true;
}

/* --- an input --- */

/* splitmix64 */
static u64 next_random(u64 *state)
{
	u64 z = *state += 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

/* Mostly something that may be an address, near a page's end now and then. */
static u64 random_register(u64 *state, bool is_16)
{
	u64 r = next_random(state), base = is_16 ? 0 : CORE_DATA;

	switch (r & 7) {
	case 0:
		return r >> 32 & 0xff;
	case 1:
		return r >> 3;
	case 2:
		return -(r >> 40);
	case 3:
		return base + (r >> 32 & 0xf) * PAGE_SIZE - (r >> 36 & 0x1f);
	case 4:
		return is_16 ? CODE16 + (r >> 32 & 0x1ff) : INPUT_CODE + (r >> 32 & 0x1ff);
	default:
		return base + (r >> 32 & 0xffff);
	}
}

static void fill_registers(struct x86_cpu_state *s, u64 seed, u8 mode)
{
	bool is_16 = (mode & MODE_MASK) == REAL_16 || (mode & MODE_MASK) == PROTECTED_16;
	u64 state = seed;

	/* Outside 64-bit code upper halves are undefined, and engines differ in them. */
	for (unsigned k = 0; k < X86_GPRS; k++) {
		u64 v = random_register(&state, is_16);

		s->gpr[k] = s->seg[X86_CS].attr & X86_ATTR_L ? v : (u32)v;
	}
	s->gpr[X86_RSP] = is_16 ? 0x7000 : CORE_DATA + 0x8000 + (next_random(&state) & 0xff8);
	s->rflags |= X86_FLAG_IOPL | (next_random(&state) & (X86_FLAGS_ARITH | X86_FLAG_DF));
	if (mode & MODE_TRAPS)
		s->rflags |= X86_FLAG_TF;
	if (mode & MODE_ALIGNMENT) {
		s->rflags |= X86_FLAG_AC;
		s->cr0 |= X86_CR0_AM;
	}
	for (unsigned k = 0; k < 16 * 16; k += 8)
		bytes_store(s->xsave + X86_FXSAVE_XMM0 + k, next_random(&state), 8);
	bytes_store(s->xsave + X86_XSAVE_HEADER, X86_XCR0_X87 | X86_XCR0_SSE, 8);
}

static void fill_memory(struct core *k, u64 seed)
{
	u64 state = ~seed;

	for (unsigned off = 0; off < 0x400; off += 8) {
		u64 v = random_register(&state, false);

		core_load(k, CORE_DATA + off, &v, 8);
		core_load(k, CORE_DATA + 0x8000 + off, &v, 8);
	}
}

/* Code and data of 16 bits lie in the first 64 KiB, which segments with that base show. */
static u64 place_code(struct core *k, struct x86_cpu_state *s, u8 mode, const u8 *code, size_t size)
{
	unsigned m = mode & MODE_MASK;
	u64 at = m == REAL_16 ? CODE16 : m == PROTECTED_16 ? INPUT_CODE + CODE16 : INPUT_CODE;

	if (mode & MODE_CROSSES)
		at += PAGE_SIZE - size / 2;
	core_load(k, at, code, size);
	s->rip = at;
	if (m == REAL_16)
		s->seg[X86_CS] = s->seg[X86_DS];
	if (m != PROTECTED_16)
		return at;
	s->rip -= INPUT_CODE;
	for (unsigned n = 0; n < X86_SEGS; n++) {
		s->seg[n].base = INPUT_CODE;
		s->seg[n].limit = 0xffff;
	}
	return at;
}

/* Everything is as it was before the first input. */
static void restore_memory(struct core *k)
{
	gmem_log_take(k->gmem, k->ram, fuzz.dirty);
	for (u64 page = 0; page < CORE_RAM / PAGE_SIZE; page++) {
		if (fuzz.dirty[page / 64] >> (page % 64) & 1)
			core_load(k, page * PAGE_SIZE, fuzz.pristine + page * PAGE_SIZE, PAGE_SIZE);
	}
	gmem_log_take(k->gmem, k->ram, fuzz.dirty);
	if (!(fuzz.n_inputs++ % CHECK_MEMORY))
		assert(!memcmp(core_ram(k, 0), fuzz.pristine, CORE_RAM));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct x86_cpu_state s;
	struct core *k = &fuzz.k;
	struct sx_cache *cache;
	u64 seed;

	if (size <= HEADER || size > HEADER + MAX_CODE || (data[0] & MODE_MASK) >= MODES)
		return -1;
	if (!fuzz.is_made)
		make();
	cache = sx_cpu_of(k->vcpu[0])->cache;
	seed = bytes_load(data + 1, 8);
	s = fuzz.state[data[0] & MODE_MASK];
	fill_registers(&s, seed, data[0]);
	fill_memory(k, seed);
	place_code(k, &s, data[0], data + HEADER, size - HEADER);
	fuzz.n_device = 0;
	cache->is_dropped = true; /* no input depends on one before it */
	cache->room = data[0] & MODE_SMALL ? SX_ROOM_MIN : fuzz.room;
	vtimer_arm(&fuzz.enough, vclock_now_ns(k->clock) + MAX_INSNS);
	if (core_run(k, &s) == VCPU_STOP_BROKEN) {
		fprintf(stderr, "%s\n", k->vcpu[0]->broken);
		abort();
	}
	vtimer_disarm(&fuzz.enough);
	restore_memory(k);
	return 0;
}
