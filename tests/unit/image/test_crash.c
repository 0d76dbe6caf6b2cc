/*
 * Power cuts (crash.h). CRASH_CUTS=N in the environment looks at so many states of each plan, CRASH_SEED=N at
 * others.
 */
#include "crash.h"

#include <stdlib.h>

#include "test.h"

#define CUTS 40

static u64 from_environment(const char *name, u64 otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static void holds(const char *format, const struct img_option *options, u64 size)
{
	struct crash_plan p = {
		.format = img_find_format(format),
		.options = options,
		.size = size,
		.n_operations = 240,
		.n_cuts = (unsigned)from_environment("CRASH_CUTS", CUTS),
		.seed = from_environment("CRASH_SEED", 1),
		.asks_qemu = true,
	};
	const char *why;

	CHECK(p.format);
	why = crash_run(&p);
	if (why)
		fail_msg("%s: %s", format, why);
}

/* A harness that finds nothing finds no bug either: some state of some seed must be wrong. */
static void finds(const char *format, const struct img_option *options, enum crash_bug bug)
{
	const char *why = NULL;

	for (u64 seed = 1; seed < 20 && !why; seed++) {
		const struct crash_plan p = {
			.format = img_find_format(format),
			.options = options,
			.size = 4 * MIB,
			.n_operations = 240,
			.n_cuts = CUTS,
			.seed = seed,
			.bug = bug,
		};

		why = crash_run(&p);
	}
	if (!why)
		fail_msg("%s: the planted bug %d isn't found", format, bug);
}

TEST(raw_holds)
{
	holds("raw", NULL, 4 * MIB);
}

TEST(missing_flushes_are_found)
{
	finds("raw", NULL, CRASH_NO_FLUSH);
}

TEST(early_completions_are_found)
{
	finds("raw", NULL, CRASH_EARLY);
}
