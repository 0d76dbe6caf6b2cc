/*
 * Programs by chance, for the CPU that core_fixture.h makes: a kernel and a user program of blocks that jump to, call
 * and return from each other over several pages, change code, mappings and address spaces, make system calls and fault,
 * and end. What they do follows from the seed.
 */
#ifndef TESTS_UNIT_SOFT_RANDOM_GUEST_H
#define TESTS_UNIT_SOFT_RANDOM_GUEST_H

#include "core_fixture.h"

/* What is written in no order that can be told before: where interrupts' frames go. */
#define GUEST_IRQ_PAGE   0x57000u
#define GUEST_IRQ_VECTOR 0x90

/* Pages of code, by their guest-physical addresses. */
#define GUEST_KERNEL_TEXT 0x10000u
#define GUEST_USER_TEXT   0x400000u /* twice: the second has other constants */
#define GUEST_TEXT_PAGES  4u

/* Program, state for its start, and a board on which nothing was before. has_vex: instructions with a VEX prefix, too, in some programs. */
void random_guest_load(struct core *k, struct x86_cpu_state *s, u64 seed, bool has_vex);
/* Does an interrupt's delivery walk through the table, too, so that A and D may be set earlier? */
bool random_guest_is_upper_table(u64 gpa);
/* A sum over what no program changes but one that went astray: tables, descriptors, handlers. */
u64 random_guest_constants(struct core *k);

#endif
