#include "modes_fixture.h"

#include "accel/soft/cpu.h"
#include "accel/soft/lockstep.h"
#include "test.h"

void program_begin(struct core *k, struct x86_cpu_state *s, const struct program *p,
		   bool is_lockstep)
{
	if (is_lockstep)
		core_init_lockstep(k);
	else
		core_init(k);
	p->mode(k, s);
	core_load(k, CORE_CODE, p->code, p->size);
}

void program_run(struct core *k, struct x86_cpu_state *s)
{
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
	CHECK(!sx_lockstep_difference(sx_cpu_of(k->vcpu[0])));
}
