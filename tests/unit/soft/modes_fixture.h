/*
 * Programs of 16- and 32-bit code: in a mode of the test's, on the engine of the environment or in lockstep.
 */
#ifndef TESTS_UNIT_SOFT_MODES_FIXTURE_H
#define TESTS_UNIT_SOFT_MODES_FIXTURE_H

#include "core_fixture.h"

typedef void set_mode(struct core *k, struct x86_cpu_state *s);
struct program {
	set_mode *mode;
	const u8 *code;
	size_t size;
};

#define EACH_WAY(is_lockstep) for (int is_lockstep = 0; is_lockstep < 2; is_lockstep++)
#define PROGRAM(mode_, code_)                                                                      \
	&(const struct program)                                                                    \
	{                                                                                          \
		mode_, code_, CODE_SIZE(code_)                                                     \
	}

/* A core, and in s what program_run is to begin with, which the test may change. */
void program_begin(struct core *k, struct x86_cpu_state *s, const struct program *p,
		   bool is_lockstep);
/* Until the program stops; lockstep found no difference. The core is the caller's still. */
void program_run(struct core *k, struct x86_cpu_state *s);

#endif
