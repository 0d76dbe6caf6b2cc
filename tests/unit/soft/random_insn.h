/*
 * Instructions by chance: where programs of random_guest.c put their bytes.
 */
#ifndef TESTS_UNIT_SOFT_RANDOM_INSN_H
#define TESTS_UNIT_SOFT_RANDOM_INSN_H

#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "random_guest.h"

#define HIGH       0xffffffff80000000ul /* all memory once more */
#define USER_BASE  0x40000000u
#define USER_DATA  0x40010000u
#define DATA_PAGES 8u
#define DATA_PHYS  0x500000u
#define TABLES                                                                                     \
	0x110000u /* PD, PT of the first space; PML4, PDPT, PD, PT of the second; PDPT of HIGH */
#define PT_A      (TABLES + 0x1000)
#define SPACE_B   (TABLES + 0x2000)
#define PT_B      (TABLES + 0x5000)
#define PDPT_HIGH (TABLES + 0x6000)
#define HANDLERS  0x8000u
#define FUEL      60

/* A page of the kernel's notes, and one of the user's; both as the assembler has them below. */
#define NOTES        0x60000u
#define USER_NOTES   0x3f0000u
#define NOTE_RECOVER 8u
#define NOTE_RSP     16u
#define NOTE_FIRST   48u /* the block that is called first */
#define NOTE_SYSCALL 56u
#define NOTE_LOOPS   64u
#define NOTE_TABLE   0x200u
#define TABLE_SIZE   4u

#define BLOCKS    12u
#define SLOT      512u
#define SLOTS     (GUEST_TEXT_PAGES * PAGE_SIZE / SLOT)
#define BODY_MAX  14u
#define SITES_MAX 64u
#define ROOM      96u /* for a block's end */

/* What may be changed in code while it runs: an immediate of 4 bytes, or the opcode of ADD and its kin. */
struct site {
	u64 lin, phys;
	bool is_opcode;
};

struct gen {
	u64 random;
	bool is_user, has_vex;
	unsigned variant; /* of the user's text */
	u64 base;         /* linear, of the text */
	u64 phys;
	u8 text[GUEST_TEXT_PAGES * PAGE_SIZE];
	u32 at, end; /* in it */
	u32 start[BLOCKS];
	unsigned block;
	u8 pointer[2];
	unsigned depth; /* pushes */
	struct site sites[SITES_MAX];
	unsigned n_sites;
};

/* --- chance --- */

static inline u64 draw(struct gen *g)
{
	u64 z = g->random += 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

static inline u32 below(struct gen *g, u32 n)
{
	return (u32)(draw(g) >> 32) % n;
}

static inline bool one_in(struct gen *g, u32 n)
{
	return !below(g, n);
}

#define PICK(g, array) ((array)[below(g, ARRAY_SIZE(array))])

/* --- bytes --- */

static inline void put(struct gen *g, u64 v, unsigned n)
{
	bytes_store(g->text + g->at, v, n);
	g->at += n;
}

static inline u64 here(const struct gen *g)
{
	return g->base + g->at;
}

struct operand {
	bool is_mem, has_index, is_gs;
	u8 reg; /* or the base; NO_BASE: an address of 32 bits */
	u8 index, scale;
	i32 disp;
};
#define NO_BASE 16u

static inline struct operand of_reg(unsigned reg)
{
	return (struct operand){.reg = (u8)reg};
}

static inline struct operand of_address(u64 lin)
{
	return (struct operand){.is_mem = true, .reg = NO_BASE, .disp = (i32)lin};
}

/* opcode: with 0f00 or 0f3800 in front; prefix: 0 or of those that come before REX. */
void random_insn(struct gen *g, unsigned size, u8 prefix, u32 opcode, unsigned reg,
		 struct operand o);
void random_put_mov_imm(struct gen *g, unsigned reg, u64 v);
void random_put_push(struct gen *g, bool is_pop, unsigned reg);

/* --- operands --- */

static const u8 pointers[] = {X86_RBX, X86_RBP, X86_RSI, X86_RDI, X86_R12, X86_R14};
static const u8 values[] = {X86_RAX, X86_RCX, X86_RDX, X86_R8, X86_R9,
			    X86_R10, X86_R11, X86_R13, X86_R15};

static inline unsigned any_value(struct gen *g)
{
	return PICK(g, values);
}

static inline u64 notes(const struct gen *g)
{
	return g->is_user ? USER_NOTES : NOTES;
}

/* Where data may be. */
u64 random_pointer(struct gen *g);
/* What a block consists of; one thing may be several instructions. */
void random_put_one(struct gen *g);

#endif
