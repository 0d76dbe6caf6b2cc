/*
 * A guest process that has been taken over: it tries, at the guest's word, what an attacker would.
 */
#ifndef HOSTILE_HOSTILE_H
#define HOSTILE_HOSTILE_H

struct io_uring;

#define HOSTILE_PORT 0x5a0

/*
 * Tries everything, on the calling thread, and notes each attempt: "hostile: ROLE: NAME: refused by
 * WHAT" or "... not refused (why)". ring is the disk's, or NULL when this thread may not use it. One at a time.
 */
void attempts_run(const char *role, struct io_uring *ring);

/* System calls by the entries for 32-bit and x32 programs: these should not come back. */
void attempts_run_int80(void);
void attempts_run_x32(void);

/* What was noted, to stderr; on the main thread, in one piece. */
void attempts_print(void);

#endif
