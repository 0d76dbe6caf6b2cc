/*
 * Instructions by chance, whose operands are mostly good: two pointers are loaded at a block's beginning. What is left
 * to chance is flags, sizes, how addresses are formed, and which code, mappings and address spaces are changed.
 */
#include "random_insn.h"

/* --- bytes --- */

static void put_modrm(struct gen *g, unsigned reg, const struct operand *o)
{
	unsigned r = (reg & 7) << 3;

	if (!o->is_mem) {
		put(g, 0xc0 | r | (o->reg & 7), 1);
	} else if (o->reg == NO_BASE) {
		put(g, 0x04 | r, 1);
		put(g, 0x25, 1);
		put(g, (u32)o->disp, 4);
	} else {
		bool is_short = o->disp == (i8)o->disp;
		bool has_sib = o->has_index || (o->reg & 7) == X86_RSP;

		put(g, (is_short ? 0x40 : 0x80) | r | (has_sib ? 4 : o->reg & 7), 1);
		if (has_sib)
			put(g,
			    (u32)o->scale << 6 | ((o->has_index ? o->index & 7 : 4u) << 3) |
				    (o->reg & 7),
			    1);
		put(g, (u32)o->disp, is_short ? 1 : 4);
	}
}

void random_insn(struct gen *g, unsigned size, u8 prefix, u32 opcode, unsigned reg,
		 struct operand o)
{
	u32 rex = (size == 8 ? 8u : 0) | (reg >= 8 ? 4u : 0) |
		  (o.has_index && o.index >= 8 ? 2u : 0) |
		  (o.reg != NO_BASE && o.reg >= 8 ? 1u : 0);

	if (o.is_gs)
		put(g, 0x65, 1);
	if (size == 2)
		put(g, 0x66, 1);
	if (prefix)
		put(g, prefix, 1);
	if (rex || size == 1)
		put(g, 0x40 | rex, 1);
	for (int k = 24; k >= 0; k -= 8) {
		if (opcode >> k || !k)
			put(g, opcode >> k & 0xff, 1);
	}
	put_modrm(g, reg, &o);
}

/* --- operands --- */

static unsigned any_source(struct gen *g)
{
	return one_in(g, 6) ? (one_in(g, 3) ? X86_RSP : g->pointer[below(g, 2)]) : any_value(g);
}

static unsigned any_size(struct gen *g)
{
	static const u8 sizes[] = {1, 2, 4, 4, 8, 8};

	return PICK(g, sizes);
}

static struct operand any_memory(struct gen *g)
{
	struct operand o = {.is_mem = true, .reg = g->pointer[below(g, 2)]};

	switch (below(g, 16)) {
	case 0:
		return of_address(CORE_DATA + below(g, 0x2000));
	case 1:
		o = of_address(below(g, 0x800));
		o.is_gs = true;
		return o;
	case 2:
		o.reg = X86_RSP;
		o.disp = -8 - (i32)below(g, 64);
		return o;
	}
	o.disp = one_in(g, 4) ? (i32)below(g, 0x900) - 0x480 : (i32)below(g, 32) * 4 - 64;
	return o;
}

/* A value's register is cut for an index, which changes flags. */
static struct operand any_indexed(struct gen *g)
{
	struct operand o = any_memory(g);

	if (o.reg == NO_BASE)
		return o;
	o.index = (u8)any_value(g);
	random_insn(g, 4, 0, 0x83, 4, of_reg(o.index)); /* and */
	put(g, one_in(g, 2) ? 0x7f : 0x0f, 1);
	o.has_index = true;
	o.scale = (u8)below(g, 4);
	return o;
}

static struct operand any_operand(struct gen *g)
{
	return one_in(g, 2) ? any_memory(g) : of_reg(any_value(g));
}

u64 random_pointer(struct gen *g)
{
	u64 at = one_in(g, 3) ? PAGE_SIZE - below(g, 24) : below(g, PAGE_SIZE);

	if (one_in(g, 2))
		return USER_DATA + below(g, DATA_PAGES) * PAGE_SIZE + at;
	if (!g->is_user && one_in(g, 4))
		return HIGH + CORE_DATA + below(g, 8) * PAGE_SIZE + at;
	if (!g->is_user && one_in(g, 2))
		return 0x61000 + below(g, 4) * PAGE_SIZE + at;
	return CORE_DATA + below(g, 8) * PAGE_SIZE + at;
}

void random_put_mov_imm(struct gen *g, unsigned reg, u64 v)
{
	random_insn(g, 8, 0, 0xc7, 0, of_reg(reg));
	put(g, v, 4);
}

static u64 any_imm(struct gen *g)
{
	static const u64 odd[] = {0, 1, 0x7f, 0x80, 0x7fffffff, 0x80000000, 0xffffffff, 0xff};

	return one_in(g, 2) ? PICK(g, odd) : draw(g);
}

/* --- instructions --- */

static void note_site(struct gen *g, bool is_opcode)
{
	if (g->n_sites < SITES_MAX)
		g->sites[g->n_sites++] = (struct site){here(g), g->phys + g->at, is_opcode};
}

static void gen_alu(struct gen *g)
{
	unsigned size = any_size(g), op = below(g, 8);
	bool loads = one_in(g, 2);
	struct operand o = any_operand(g);

	random_insn(g, size, 0, op << 3 | (loads ? 2 : 0) | (size > 1),
		    loads ? any_value(g) : any_source(g), o);
}

static void gen_alu_imm(struct gen *g)
{
	unsigned size = any_size(g);
	bool is_short = size == 1 || one_in(g, 2);

	random_insn(g, size, 0,
		    size == 1  ? 0x80
		    : is_short ? 0x83
			       : 0x81,
		    below(g, 8), any_operand(g));
	put(g, any_imm(g), is_short ? 1 : size == 2 ? 2 : 4);
}

static void gen_mov(struct gen *g)
{
	unsigned size = any_size(g);
	struct operand o = one_in(g, 4) ? any_indexed(g) : any_memory(g);

	switch (below(g, 4)) {
	case 0:
		random_insn(g, size, 0, 0x88 | (size > 1), any_source(g), o);
		break;
	case 1:
		random_insn(g, size, 0, 0x8a | (size > 1), any_value(g), o);
		break;
	case 2:
		random_insn(g, one_in(g, 2) ? 8 : 4, 0, 0x0fb6 | below(g, 2) | below(g, 2) << 3,
			    any_value(g), o);
		break;
	case 3:
		random_insn(g, size, 0, 0xc6 | (size > 1), 0, o);
		put(g, any_imm(g), size == 8 ? 4 : size);
		break;
	}
}

static void gen_unary(struct gen *g)
{
	unsigned size = any_size(g);

	if (one_in(g, 2))
		random_insn(g, size, 0, 0xfe | (size > 1), below(g, 2), any_operand(g));
	else
		random_insn(g, size, 0, 0xf6 | (size > 1), 2 + below(g, 4),
			    any_operand(g)); /* to IMUL */
}

static void gen_divide(struct gen *g)
{
	unsigned size = one_in(g, 2) ? 4 : 8;

	random_insn(g, 4, 0, 0x33, X86_RDX, of_reg(X86_RDX));
	random_insn(g, size, 0, 0xf7, 6 + below(g, 2), any_operand(g));
}

static void gen_shift(struct gen *g)
{
	static const u8 ext[] = {0, 1, 2, 3, 4, 5, 7};
	unsigned size = any_size(g);

	if (one_in(g, 3)) {
		random_insn(g, size, 0, 0xd2 | (size > 1), PICK(g, ext), any_operand(g));
		return;
	}
	random_insn(g, size, 0, 0xc0 | (size > 1), PICK(g, ext), any_operand(g));
	put(g, below(g, 34), 1);
}

static void gen_condition(struct gen *g)
{
	if (one_in(g, 2))
		random_insn(g, 1, 0, 0x0f90 | below(g, 16), 0, any_operand(g));
	else
		random_insn(g, 2u << below(g, 3), 0, 0x0f40 | below(g, 16), any_value(g),
			    any_operand(g));
}

static void gen_bits(struct gen *g)
{
	static const u16 ops[] = {0x0fa3, 0x0fab, 0x0fb3, 0x0fbb, 0x0fbc,
				  0x0fbd, 0x0faf, 0x0fc1, 0x0fb1, 0x87};
	u32 op = PICK(g, ops);
	unsigned size = 2u << below(g, 3);
	bool is_bt = op == 0x0fa3 || op == 0x0fab || op == 0x0fb3 || op == 0x0fbb;
	struct operand o = is_bt ? of_reg(any_value(g)) : any_operand(g);

	if ((op == 0x0fc1 || op == 0x0fb1) && o.is_mem && one_in(g, 2))
		put(g, 0xf0, 1); /* LOCK */
	random_insn(g, size, 0, op, any_value(g), o);
}

static void gen_flags(struct gen *g)
{
	static const u8 ops[] = {0xf5, 0xf8, 0xf9, 0xfc, 0x98, 0x99, 0x90};

	if (one_in(g, 6)) {
		put(g, 0x9c, 1); /* pushf */
		put(g, 0x8f, 1); /* pop [pointer] */
		put_modrm(g, 0, &(struct operand){.is_mem = true, .reg = X86_RSP, .disp = -64});
		return;
	}
	if (one_in(g, 8)) {
		put(g, 0x9d9c, 2); /* pushf, popf */
		return;
	}
	put(g, PICK(g, ops), 1);
}

void random_put_push(struct gen *g, bool is_pop, unsigned reg)
{
	if (reg >= 8)
		put(g, 0x41, 1);
	put(g, (is_pop ? 0x58 : 0x50) | (reg & 7), 1);
}

static void gen_stack(struct gen *g)
{
	if (g->depth && one_in(g, 2)) {
		g->depth--;
		if (one_in(g, 3))
			random_insn(g, 4, 0, 0x8f, 0, any_memory(g));
		else
			random_put_push(g, true, any_value(g));
		return;
	}
	g->depth++;
	switch (below(g, 4)) {
	case 0:
		put(g, 0x68, 1);
		put(g, any_imm(g), 4);
		break;
	case 1:
		random_insn(g, 4, 0, 0xff, 6, any_memory(g));
		break;
	default:
		random_put_push(g, false, any_source(g));
		break;
	}
}

static void gen_step_pointer(struct gen *g)
{
	unsigned p = g->pointer[below(g, 2)];
	i32 by = (i32)below(g, 64) - 32;

	if (one_in(g, 2)) {
		random_insn(g, 8, 0, 0x83, one_in(g, 2) ? 0 : 5, of_reg(p)); /* add, sub */
		put(g, (u8)by, 1);
	} else {
		random_insn(g, 8, 0, 0x8d, p,
			    (struct operand){.is_mem = true, .reg = (u8)p, .disp = by});
	}
}

static void gen_string(struct gen *g)
{
	static const u8 ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xae, 0xac};
	u8 op = PICK(g, ops);

	random_put_mov_imm(g, X86_RSI, random_pointer(g));
	random_put_mov_imm(g, X86_RDI, random_pointer(g));
	random_put_mov_imm(g, X86_RCX, below(g, 40));
	if (one_in(g, 4))
		put(g, 0xfd, 1); /* std */
	if (!one_in(g, 3))
		put(g, op == 0xa6 || op == 0xae ? 0xf2 | below(g, 2) : 0xf3, 1);
	if (one_in(g, 3))
		put(g, 0x48, 1);
	put(g, op, 1);
	put(g, 0xfc, 1); /* cld */
}

static void gen_simd(struct gen *g)
{
	/* clang-format off */
	static const struct { u8 prefix; u16 op; } ops[] = /* the first are stores */
	    {{0, 0x0f29}, {0, 0x0f11}, {0x66, 0x0f7f}, {0xf3, 0x0f7f}, {0x66, 0x0fd6}, {0, 0x0f28},
		   {0, 0x0f10}, {0xf3, 0x0f6f}, {0x66, 0x0ffe}, {0x66, 0x0fef}, {0xf2, 0x0f58}, {0xf3, 0x0f59},
		   {0x66, 0x0f6e}, {0x66, 0x0f2e}, {0xf2, 0x0f10}, {0x66, 0x0fd7}};
	/* clang-format on */
	unsigned k = below(g, ARRAY_SIZE(ops));
	struct operand o = any_memory(g);

	if (ops[k].op == 0x0fd7) /* pmovmskb */
		random_insn(g, 4, 0x66, 0x0fd7, any_value(g), of_reg(below(g, 16)));
	else if (ops[k].op != 0x0f6e && one_in(g, 2))
		random_insn(g, 4, ops[k].prefix, ops[k].op, below(g, 16), of_reg(below(g, 16)));
	else
		random_insn(g, 4, ops[k].prefix, ops[k].op, below(g, 16), o);
}

/* map: 1 to 3; pp: 66 is 1, F3 2, F2 3; with L and W as bits 2 and 7 of it. */
static void insn_vex(struct gen *g, unsigned map, unsigned pp, u8 opcode, unsigned reg,
		     unsigned vvvv, struct operand o)
{
	unsigned r = reg >= 8 ? 0 : 0x80, x = o.has_index && o.index >= 8 ? 0 : 0x40;
	unsigned b = o.reg != NO_BASE && o.reg >= 8 ? 0 : 0x20;

	if (o.is_gs)
		put(g, 0x65, 1);
	put(g, 0xc4, 1);
	put(g, r | x | b | map, 1);
	put(g, pp | (~vvvv & 15) << 3, 1);
	put(g, opcode, 1);
	put_modrm(g, reg, &o);
}

static void gen_bmi(struct gen *g)
{
	/* clang-format off */
	static const struct { u8 map, pp, opcode; } ops[] = {
		{2, 0, 0xf2}, {2, 3, 0xf6}, {2, 1, 0xf7}, {2, 2, 0xf7}, {2, 3, 0xf7}, {2, 0, 0xf7},
		{2, 0, 0xf5}, {3, 3, 0xf0}, /* ANDN, MULX, SHLX, SARX, SHRX, BEXTR, BZHI, RORX */
	};
	/* clang-format on */
	unsigned k = below(g, ARRAY_SIZE(ops)), wide = one_in(g, 2) ? 0x80 : 0;
	bool is_rorx = ops[k].map == 3;

	insn_vex(g, ops[k].map, ops[k].pp | wide, ops[k].opcode, any_value(g),
		 is_rorx ? 0 : any_value(g), any_operand(g));
	if (is_rorx)
		put(g, below(g, 64), 1);
}

static void gen_avx(struct gen *g)
{
	/* clang-format off */
	static const struct { u8 pp, opcode; bool has_two; } ops[] = { /* operands */
		{0, 0x58}, {1, 0xfe}, {1, 0xef}, {3, 0x58}, {0, 0x28, true}, {0, 0x29, true},
		{0, 0x10, true}, {0, 0x11, true}, {2, 0x6f, true}, {2, 0x7f, true}, {1, 0xd6, true},
	};
	/* clang-format on */
	unsigned k = below(g, ARRAY_SIZE(ops));
	bool is_whole = one_in(g, 2) && ops[k].pp != 3 && ops[k].opcode != 0xd6;

	if (one_in(g, 8)) {
		put(g, 0x77f8c5, 3); /* vzeroupper */
		return;
	}
	insn_vex(g, 1, ops[k].pp | (is_whole ? 4u : 0), ops[k].opcode, below(g, 16),
		 ops[k].has_two ? 0 : below(g, 16),
		 one_in(g, 2) ? of_reg(below(g, 16)) : any_memory(g));
}

/* Instructions that others change. */
static void gen_site(struct gen *g)
{
	unsigned reg = any_value(g);

	if (one_in(g, 2)) {
		if (reg >= 8)
			put(g, 0x41, 1);
		put(g, 0xb8 | (reg & 7), 1);
		note_site(g, false);
		put(g, g->variant ? 0x55555555 : 0x1234, 4);
	} else {
		put(g, 0x48 | (reg >= 8 ? 5u : 0), 1);
		note_site(g, true);
		put(g, g->variant ? 0x29 : 0x01, 1);
		put(g, 0xc0 | (reg & 7) * 9, 1);
	}
}

static void gen_change_code(struct gen *g)
{
	static const u8 ops[] = {0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39};
	const struct site *s;
	u64 at;

	if (!g->n_sites)
		return;
	s = &g->sites[below(g, g->n_sites)];
	at = !g->is_user && one_in(g, 2) ? s->phys + (one_in(g, 2) ? HIGH : 0) : s->lin;
	if (s->is_opcode) {
		random_insn(g, 1, 0, 0xc6, 0, of_address(at));
		put(g, PICK(g, ops), 1);
	} else {
		random_insn(g, 4, 0, one_in(g, 2) ? 0xc7 : 0x81, 0, of_address(at));
		put(g, any_imm(g), 4);
	}
}

static void put_invlpg(struct gen *g, u64 lin)
{
	random_insn(g, 4, 0, 0x0f01, 7, of_address(lin));
}

static void put_move_cr(struct gen *g, unsigned cr, bool is_write, unsigned reg)
{
	if (reg >= 8)
		put(g, 0x41, 1);
	put(g, 0x0f, 1);
	put(g, is_write ? 0x22 : 0x20, 1);
	put(g, 0xc0 | cr << 3 | (reg & 7), 1);
}

/* A page of the first space, which is flushed whenever it is entered; of text: the same of either set. */
static void gen_map(struct gen *g)
{
	bool is_text = one_in(g, 2);
	u32 page = below(g, is_text ? GUEST_TEXT_PAGES : DATA_PAGES);
	u32 slot = is_text ? page : 16 + page;
	u64 pte = is_text ? GUEST_USER_TEXT + (u64)page * PAGE_SIZE +
				    below(g, 2) * GUEST_TEXT_PAGES * PAGE_SIZE
			  : DATA_PHYS + (u64)below(g, 12) * PAGE_SIZE;

	pte |= is_text || !one_in(g, 6) ? 7 : below(g, 8);
	random_insn(g, 4, 0, 0xc7, 0, of_address(PT_A + slot * 8 + (one_in(g, 2) ? HIGH : 0)));
	put(g, pte, 4);
	put_invlpg(g, USER_BASE + (u64)slot * PAGE_SIZE);
}

static void gen_space(struct gen *g)
{
	bool is_second = one_in(g, 2), has_pcid = one_in(g, 2);

	/* CR3 with a number, while there may be one; else no number. */
	put_move_cr(g, 4, false, X86_RAX);
	random_insn(g, 4, 0, 0x0fba, 4, of_reg(X86_RAX)); /* bt: PCIDE */
	put(g, 17, 1);
	random_put_mov_imm(g, X86_RAX, is_second ? SPACE_B : CORE_TABLES);
	random_put_mov_imm(g, X86_RCX,
			   (is_second ? SPACE_B : CORE_TABLES) |
				   (has_pcid ? (is_second ? 2 : 1) : 0));
	random_insn(g, 8, 0, 0x0f42, X86_RAX, of_reg(X86_RCX)); /* cmovc */
	if (is_second && has_pcid && one_in(g, 2)) { /* what is known of the second stays */
		random_insn(g, 4, 0, 0x0f92, 0, of_reg(X86_RCX)); /* setc */
		random_insn(g, 8, 0, 0xc1, 4, of_reg(X86_RCX));   /* shl */
		put(g, 63, 1);
		random_insn(g, 8, 0, 0x0b, X86_RAX, of_reg(X86_RCX));
	}
	put_move_cr(g, 3, true, X86_RAX);
}

static void gen_flush(struct gen *g)
{
	put_move_cr(g, 4, false, X86_RAX);
	random_insn(g, 4, 0, 0x0fba, 7, of_reg(X86_RAX)); /* btc: PGE */
	put(g, 7, 1);
	put_move_cr(g, 4, true, X86_RAX);
}

static void gen_system(struct gen *g)
{
	switch (below(g, 10)) {
	case 0:
		put(g, 0xfb, 1); /* sti */
		break;
	case 1:
		put(g, 0xfa, 1); /* cli */
		break;
	case 2:
		put(g, 0xcb010f, 3); /* stac */
		break;
	case 3:
		put(g, 0xca010f, 3); /* clac */
		break;
	case 4:
	case 5:
	case 6:
		gen_map(g);
		break;
	case 7:
		gen_space(g);
		break;
	case 8:
		gen_flush(g);
		break;
	case 9:
		put_move_cr(g, one_in(g, 2) ? 0 : 3, false, any_value(g));
		break;
	}
}

void random_put_one(struct gen *g)
{
	static void (*const all[])(struct gen *) = {
		gen_alu,   gen_alu,       gen_alu,       gen_alu_imm,      gen_alu_imm,
		gen_mov,   gen_mov,       gen_mov,       gen_mov,          gen_unary,
		gen_shift, gen_condition, gen_condition, gen_bits,         gen_flags,
		gen_stack, gen_stack,     gen_stack,     gen_step_pointer, gen_step_pointer,
		gen_simd,  gen_simd,      gen_site,      gen_site,         gen_change_code,
	};
	static void (*const vex[])(struct gen *) = {gen_bmi, gen_avx, gen_avx};

	if (one_in(g, 40))
		gen_divide(g);
	else if (one_in(g, 40))
		gen_string(g);
	else if (!g->is_user && one_in(g, 16))
		gen_system(g);
	else if (g->has_vex && one_in(g, 10))
		PICK(g, vex)(g);
	else if (g->is_user && one_in(g, 40))
		put(g, 0x050f, 2); /* syscall */
	else
		PICK(g, all)(g);
}
