/*
 * A guest process that has been taken over: it tries, at the guest's word, what an attacker would.
 */
#ifndef HOSTILE_HOSTILE_H
#define HOSTILE_HOSTILE_H

#include <sys/types.h>

#include "base/base.h"

struct io_uring;
struct vm;

#define HOSTILE_PORT 0x5a0

/*
 * An attempt: 0 or more when it got through, else a negative errno. It undoes what it did. Those that
 * can't be let through (a program that would replace us) fail on purpose, late: began is the error
 * that says that nothing stopped them.
 */
struct attempt {
	const char *name;
	long (*run)(void);
	int began;
};

/* Each list ends with a NULL name. */
extern const struct attempt attempts_on_files[], attempts_on_processes[], attempts_on_sockets[],
	attempts_on_kernel[];

/* A result or a negative errno, whichever library call it came by; and what was got is given back. */
long attempt_result(long r);
long attempt_descriptor(long r);
long attempt_child(long r);
/* What the test has put up to be attacked, by HOSTILE_name in the environment; "" where it has not. */
const char *attempt_victim(const char *name);
pid_t attempt_victim_pid(void);

/*
 * Tries everything, on the calling thread, and notes each attempt: "hostile: ROLE: NAME: done" or
 * "... refused (errno's name)". ring is the disk's, or NULL when this thread may not use it. One at a
 * time.
 */
void attempts_run(const char *role, struct io_uring *ring);

/* System calls by the entries for 32-bit and x32 programs: these should not come back. */
void attempts_run_int80(void);
void attempts_run_x32(void);
/* Takes memory until the process is ended. */
void attempts_run_memory(void);

/* Notes one that was made elsewhere. */
void attempt_report(const char *role, const char *name, long r, int began);

/* What was noted, to stderr; on the main thread, in one piece. */
void attempts_print(void);

/* planted.c: before the process is confined; on the vCPU's thread, from the port. */
void planted_init(void);
void planted_begin(struct vm *vm);
void planted_report_write(void);
void planted_report_calls(void);

#endif
