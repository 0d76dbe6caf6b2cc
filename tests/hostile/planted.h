/*
 * What a hostile guest (planted.S) and the bugs planted for it (planted.c) know of each other: addresses of the
 * guest's, and a page of its memory, of which the process fills in what an attacker would have found out.
 */
#ifndef HOSTILE_PLANTED_H
#define HOSTILE_PLANTED_H

#define PLANTED_PAGE   0x400000
#define PLANTED_WINDOW 0x600000 /* the linear page whose TLB entry has a wrong addend */

/* struct planted_page */
#define PLANTED_AIM        0  /* the guest's: the host page of the window, or a jump's target */
#define PLANTED_RESUME     8  /* the guest's: RIP behind its host code */
#define PLANTED_RAM        16 /* host addresses: of the guest's address 0 ... */
#define PLANTED_RAM_END    24
#define PLANTED_CELL       32 /* ... of a byte of the process's */
#define PLANTED_CODE       40 /* ... of a page of code memory, to be executed ... */
#define PLANTED_CODE_WRITE 48 /* ... and to be written */
#define PLANTED_BACK       56 /* ... of the way out of native code, RIP in R11, ... */
#define PLANTED_BACK_WITH  64 /* ... and of the one with R10 for who called it */
#define PLANTED_N_CALLS    72
#define PLANTED_CALLS      80
#define PLANTED_CALL_SIZE  64 /* number, six arguments, result */
#define PLANTED_CALLS_MAX  16

#define PLANTED_BYTE 0x5a /* what the guest writes into the cell */

#endif
