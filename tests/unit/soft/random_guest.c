/*
 * A program is two sets of blocks, the kernel's and the user's, at places of their own in a few pages. A block begins by
 * noting where its end is, for exceptions, and loading pointers; then come instructions by chance, then a jump, a call
 * or a return. Jumps lead to later blocks only, but for loops inside a block, which are counted. Around both goes
 * a fixed loop, which has fuel; exceptions use it up as well. So every program ends.
 *
 * Linear addresses: the kernel's text below 2 MiB or in the last 2 GiB, which have the same physical pages; the user's
 * text and a few pages of data by small pages at 1 GiB, which the kernel maps anew; and in a second address space.
 */
#include "random_guest.h"

#include <string.h>

#include "random_insn.h"

/* clang-format off */
CODE(fixed,
     /* Exceptions, without a code and with one: back to the end of the block, with its stack. */
     "push $0\n"
     ".org fixed + 0x10\n push %rax\n stac\n"
     "push %rcx\n mov 0x60000, %ecx\n and $63, %ecx\n shl $5, %ecx\n mov %cr2, %rax\n mov %rax, 0x60400(%rcx)\n"
     "mov 16(%rsp), %rax\n mov %rax, 0x60408(%rcx)\n mov 24(%rsp), %rax\n mov %rax, 0x60410(%rcx)\n"
     "mov 48(%rsp), %rax\n mov %rax, 0x60418(%rcx)\n pop %rcx\n"
     "andl $~0x8d5, 32(%rsp)\n decl 0x60000\n js 9f\n testb $3, 24(%rsp)\n jnz 1f\n"
     "mov 0x60008, %rax\n mov %rax, 16(%rsp)\n mov 0x60010, %rax\n mov %rax, 40(%rsp)\n jmp 2f\n"
     "1: mov 0x3f0008, %rax\n mov %rax, 16(%rsp)\n mov 0x3f0010, %rax\n mov %rax, 40(%rsp)\n"
     "2: pop %rax\n add $8, %rsp\n iretq\n"
     /* An interrupt that nobody notices. */
     ".org fixed + 0x200\n push %rax\n xor %eax, %eax\n pop %rax\n iretq\n"
     /* SYSCALL */
     ".org fixed + 0x220\n mov %rsp, 0x60018\n mov $0x8c000, %esp\n swapgs\n push %rcx\n push %r11\n"
     "call *0x60038\n pop %r11\n pop %rcx\n swapgs\n mov 0x60018, %rsp\n sysretq\n"
     /* The loop; INT 0x80 comes back to it. */
     ".org fixed + 0x280\n mov %rsp, 0x60028\n"
     "3: movq $0x8300, 0x60008\n mov %rsp, 0x60010\n sti\n call *0x60030\n movq $0x8300, 0x60008\n mov 0x60028, %rsp\n testl $1, 0x60000\n jz 4f\n"
     "push $0x2b\n push $0x3e8000\n push $0x202\n push $0x33\n push $0x40000000\n iretq\n"
     "4: mov $0x40000000, %ecx\n mov $0x202, %r11d\n mov $0x3e8000, %esp\n sysretq\n"
     ".org fixed + 0x300\n clac\n mov 0x60028, %rsp\n decl 0x60000\n jns 3b\n"
     "9: cli\n out %al, $0xf4\n 5: jmp 5b\n");
/* clang-format on */
#define ON_FAULT      (HANDLERS)
#define ON_FAULT_CODE (HANDLERS + 0x10)
#define ON_IRQ        (HANDLERS + 0x200)
#define ON_SYSCALL    (HANDLERS + 0x220)
#define MAIN          (HANDLERS + 0x280)
#define ON_BACK       (HANDLERS + 0x300)

/* --- blocks --- */

static u64 lin_of(const struct gen *g, unsigned block)
{
	return g->base + g->start[block];
}

static void put_rel(struct gen *g, u64 target, unsigned n)
{
	put(g, target - (here(g) + n), n);
}

static bool is_near(const struct gen *g, u64 target)
{
	i64 by = (i64)(target - (here(g) + 2));

	return by == (i8)by;
}

static void put_jcc(struct gen *g, u64 target)
{
	unsigned cc = below(g, 16);

	if (is_near(g, target)) {
		put(g, 0x70 | cc, 1);
		put_rel(g, target, 1);
	} else {
		put(g, 0x800f | cc << 8, 2);
		put_rel(g, target, 4);
	}
}

static void put_jump(struct gen *g, u64 target)
{
	put(g, 0xe9, 1);
	put_rel(g, target, 4);
}

static unsigned later(struct gen *g)
{
	return g->block + 1 + below(g, BLOCKS - 1 - g->block);
}

static void put_begin(struct gen *g, u64 *recover)
{
	random_insn(g, 8, 0, 0xc7, 0, of_address(notes(g) + NOTE_RECOVER));
	*recover = g->at;
	put(g, 0, 4);
	random_insn(g, 8, 0, 0x89, X86_RSP, of_address(notes(g) + NOTE_RSP));
	for (unsigned k = 0; k < 2; k++) {
		g->pointer[k] = PICK(g, pointers);
		random_put_mov_imm(g, g->pointer[k], random_pointer(g));
	}
}

static void put_pops(struct gen *g)
{
	for (; g->depth; g->depth--)
		random_put_push(g, true, any_value(g));
}

static void put_body(struct gen *g, unsigned n)
{
	while (n-- && g->at + ROOM + 48 < g->end)
		random_put_one(g);
	put_pops(g);
}

/* What is counted stands in memory. */
static void put_loop(struct gen *g)
{
	struct operand count = of_address(notes(g) + NOTE_LOOPS + g->block * 4);
	u64 top;

	random_insn(g, 4, 0, 0xc7, 0, count);
	put(g, 2 + below(g, 4), 4);
	top = here(g);
	put_body(g, 4);
	random_insn(g, 4, 0, 0xff, 1, count); /* dec */
	put(g, 0x850f, 2);
	put_rel(g, top, 4);
}

static void put_call(struct gen *g)
{
	unsigned reg = any_value(g);
	u64 target = lin_of(g, later(g));

	switch (below(g, 3)) {
	case 0:
		put(g, 0xe8, 1);
		put_rel(g, target, 4);
		break;
	case 1:
		random_put_mov_imm(g, reg, target);
		random_insn(g, 4, 0, 0xff, 2, of_reg(reg));
		break;
	case 2:
		random_insn(g, 4, 0, 0xff, 2,
			    of_address(notes(g) + NOTE_TABLE)); /* the last block */
		break;
	}
}

/* The table's blocks are the last ones. */
static void put_table_jump(struct gen *g)
{
	struct operand o = of_address(notes(g) + NOTE_TABLE);
	unsigned reg = any_value(g);

	random_insn(g, 4, 0, 0x83, 4, of_reg(reg)); /* and */
	put(g, TABLE_SIZE - 1, 1);
	/* mov table(, reg, 8), rax: without a base */
	put(g, 0x48 | (reg >= 8 ? 2u : 0), 1);
	put(g, 0x8b, 1);
	put(g, 0x04, 1);
	put(g, 0xc5 | (reg & 7) << 3, 1);
	put(g, (u32)o.disp, 4);
	random_insn(g, 4, 0, 0xff, 4, of_reg(X86_RAX));
}

static void put_end(struct gen *g)
{
	unsigned reg = any_value(g);

	if (g->block + 1 + TABLE_SIZE >= BLOCKS || one_in(g, 6)) {
		put(g, 0xc3, 1);
		return;
	}
	switch (below(g, 8)) {
	case 0:
	case 1:
	case 2:
		put_jcc(g, lin_of(g, later(g)));
		break;
	case 3:
		random_put_mov_imm(g, reg, lin_of(g, later(g)));
		random_insn(g, 4, 0, 0xff, 4, of_reg(reg));
		return;
	case 4:
		put_table_jump(g);
		return;
	case 5:
		put(g, 0xe2 | below(g, 2), 1); /* loop, jrcxz: over the jump */
		put(g, 5, 1);
		put_jump(g, lin_of(g, later(g)));
		break;
	}
	put_jump(g, lin_of(g, later(g)));
}

static void put_block(struct gen *g)
{
	u64 recover;

	g->at = g->start[g->block];
	g->end = (g->at + 448) & ~(SLOT - 1);
	g->end = g->at + 440 < g->end + SLOT ? g->at + 440 : g->end + SLOT;
	g->depth = 0;
	put_begin(g, &recover);
	put_body(g, below(g, BODY_MAX));
	if (one_in(g, 3))
		put_loop(g);
	if (g->block + 1 < BLOCKS && one_in(g, 3)) {
		put_call(g);
		put_body(g, below(g, 4));
	}
	bytes_store(g->text + recover, here(g), 4);
	put_end(g);
}

/* Blocks in slots by chance; of one at a page's end the next page's first slot is left free. */
static void place_blocks(struct gen *g)
{
	bool is_taken[SLOTS + 1] = {true}; /* the first: put_entry */

	for (unsigned b = 0; b < BLOCKS; b++) {
		u32 slot = below(g, SLOTS);

		while (is_taken[slot])
			slot = (slot + 1) % SLOTS;
		is_taken[slot] = true;
		g->start[b] = slot * SLOT + below(g, 64);
		if (slot % 8 == 7 && slot + 1 < SLOTS && !is_taken[slot + 1] && one_in(g, 2)) {
			is_taken[slot + 1] = true;
			g->start[b] = (slot + 1) * SLOT - 20 - below(g, 60);
		}
	}
}

/* Where the user's program begins and ends. */
static void put_entry(struct gen *g)
{
	g->at = 0;
	put(g, 0xe8, 1);
	put_rel(g, lin_of(g, 0), 4);
	put(g, 0x80cd, 2);
}

static void put_text(struct core *k, struct gen *g)
{
	memset(g->text, 0xcc, sizeof(g->text));
	put_entry(g);
	for (g->block = 0; g->block < BLOCKS; g->block++)
		put_block(g);
	core_load(k, g->phys, g->text, sizeof(g->text));
}

static void store(struct core *k, u64 gpa, u64 v)
{
	core_load(k, gpa, &v, sizeof(v));
}

static void store_notes(struct core *k, const struct gen *g)
{
	store(k, notes(g) + NOTE_FIRST, g->is_user ? g->base : lin_of(g, 0));
	store(k, notes(g) + NOTE_SYSCALL, lin_of(g, BLOCKS / 2));
	for (unsigned n = 0; n < TABLE_SIZE; n++)
		store(k, notes(g) + NOTE_TABLE + n * 8, lin_of(g, BLOCKS - 1 - n % TABLE_SIZE));
}

/* --- the machine --- */

/* What programs before may have left, astray: decoded code stays, but that nothing depends on. */
static void reset_board(struct core *k)
{
	static const u8 zero[PAGE_SIZE];

	for (u64 gpa = 0; gpa < CORE_RAM; gpa += PAGE_SIZE) {
		if (memcmp(core_ram(k, gpa), zero, PAGE_SIZE))
			core_load(k, gpa, zero, PAGE_SIZE);
	}
	k->mmio_value = 0;
	k->apic[0].base = X86_APIC_BASE_ADDR | X86_APIC_BASE_ENABLE | X86_APIC_BASE_BSP;
	k->apic[0].cr8 = 0;
	k->apic[0].pending = 0;
}

static void make_tables(struct core *k)
{
	store(k, CORE_TABLES + 0x1000 + 8, TABLES | 7);
	store(k, TABLES, PT_A | 7);
	store(k, CORE_TABLES + 511 * 8, PDPT_HIGH | 7);
	store(k, PDPT_HIGH + 510 * 8, (CORE_TABLES + 0x2000) | 7);
	store(k, SPACE_B, (SPACE_B + 0x1000) | 7);
	store(k, SPACE_B + 511 * 8, PDPT_HIGH | 7);
	store(k, SPACE_B + 0x1000, (CORE_TABLES + 0x2000) | 7);
	store(k, SPACE_B + 0x1000 + 8, (SPACE_B + 0x2000) | 7);
	store(k, SPACE_B + 0x2000, PT_B | 7);
	for (unsigned n = 0; n < GUEST_TEXT_PAGES; n++) {
		store(k, PT_A + n * 8, (GUEST_USER_TEXT + n * PAGE_SIZE) | 7);
		store(k, PT_B + n * 8, (GUEST_USER_TEXT + (GUEST_TEXT_PAGES + n) * PAGE_SIZE) | 7);
	}
	for (unsigned n = 0; n < DATA_PAGES; n++) {
		store(k, PT_A + (16 + n) * 8, (DATA_PHYS + n * PAGE_SIZE) | 7);
		store(k, PT_B + (16 + n) * 8, (DATA_PHYS + (n ^ 1) * PAGE_SIZE) | 7);
	}
}

static bool has_code(unsigned vector)
{
	return vector == X86_DF || (vector >= X86_TS && vector <= X86_PF) || vector == X86_AC;
}

static void make_handlers(struct core *k)
{
	core_load(k, HANDLERS, fixed, CODE_SIZE(fixed));
	for (unsigned v = 0; v < 32; v++)
		core_set_gate(k, v, has_code(v) ? ON_FAULT_CODE : ON_FAULT, CORE_CS64, 1, 0x8e);
	core_set_gate(k, 0x80, ON_BACK, CORE_CS64, 0, 0xee);
	core_set_gate(k, GUEST_IRQ_VECTOR, ON_IRQ, CORE_CS64, 2, 0x8e);
	store(k, CORE_TSS + 36, 0x5a000);
	store(k, CORE_TSS + 44, GUEST_IRQ_PAGE + PAGE_SIZE);
}

static void make_data(struct core *k, struct gen *g)
{
	u64 words[PAGE_SIZE / 8];

	for (unsigned page = 0; page < 12; page++) {
		for (unsigned n = 0; n < ARRAY_SIZE(words); n++)
			words[n] = n % 4 ? draw(g) : n;
		core_load(k, CORE_DATA + page * PAGE_SIZE, words, sizeof(words));
		core_load(k, DATA_PHYS + page * PAGE_SIZE, words, sizeof(words));
	}
	store(k, NOTES, FUEL);
}

static void make_state(struct gen *g, struct x86_cpu_state *s)
{
	s->rip = MAIN;
	s->cr4 |= one_in(g, 2) ? X86_CR4_PCIDE : 0;
	s->cr4 |= one_in(g, 3) ? X86_CR4_SMAP : 0;
	if (g->has_vex) {
		s->cr4 |= X86_CR4_OSXSAVE;
		s->xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	}
	s->star = 0x23ul << 48 | (u64)CORE_CS64 << 32;
	s->lstar = ON_SYSCALL;
	s->sfmask = X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_TF;
	s->kernel_gs_base = CORE_DATA + 0x4000;
	s->seg[X86_GS].base = USER_DATA + 0x1000;
	for (unsigned n = 0; n < X86_GPRS; n++) {
		if (n != X86_RSP)
			s->gpr[n] = draw(g);
	}
}

bool random_guest_is_upper_table(u64 gpa)
{
	return (gpa >= CORE_TABLES && gpa < CORE_TABLES + 0x3000) ||
	       (gpa >= TABLES && gpa < TABLES + 0x7000 && gpa != PT_A && gpa != PT_B);
}

static u64 sum_up(struct core *k, u64 gpa, u64 end, u64 sum)
{
	for (; gpa < end; gpa += 8) {
		u64 v = bytes_load(core_ram(k, gpa), 8) & ~(u64)(X86_PTE_A | X86_PTE_D);

		sum = (sum ^ v) * 0x9e3779b97f4a7c15ul;
	}
	return sum;
}

u64 random_guest_constants(struct core *k)
{
	u64 sum = sum_up(k, HANDLERS, HANDLERS + PAGE_SIZE, 0);

	sum = sum_up(k, CORE_TABLES, PT_A, sum);
	return sum_up(k, PT_A + PAGE_SIZE, TABLES + 0x7000, sum);
}

void random_guest_load(struct core *k, struct x86_cpu_state *s, u64 seed, bool has_vex)
{
	static struct gen g;
	u64 text, global;

	g = (struct gen){.random = seed, .has_vex = has_vex && !(seed % 3)};
	reset_board(k);
	core_long_mode(k, s);
	make_tables(k);
	make_handlers(k);
	make_data(k, &g);
	/* The kernel's pages, all of them global or none. */
	global = one_in(&g, 2) ? X86_PTE_G : 0;
	for (u64 n = 0; n < CORE_RAM >> 21; n++)
		store(k, CORE_TABLES + 0x2000 + n * 8, n << 21 | 0x83 | (n ? 4 : 0) | global);
	make_state(&g, s);

	g.is_user = true;
	g.base = USER_BASE;
	place_blocks(&g);
	text = g.random;
	for (g.variant = 0; g.variant < 2; g.variant++) {
		g.random = text;
		g.n_sites = 0;
		g.phys = GUEST_USER_TEXT + g.variant * GUEST_TEXT_PAGES * PAGE_SIZE;
		put_text(k, &g);
	}
	store_notes(k, &g);

	g.is_user = false;
	g.phys = GUEST_KERNEL_TEXT;
	g.base = GUEST_KERNEL_TEXT + (one_in(&g, 2) ? HIGH : 0);
	place_blocks(&g);
	put_text(k, &g);
	store_notes(k, &g);
}
