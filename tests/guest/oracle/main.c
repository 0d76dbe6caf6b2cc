/*
 * The instruction oracle's program: runs cases of every form, and reports what was covered.
 *
 * oracle [--seed N] [--count N] [--op NAME] [--show N] [--translated | --both]
 *
 * count: cases of each form in each kind of code. The software CPU's interpreter is judged, or its
 * translator, or both by one run of the host's CPU. Exit status 0 when no case differs and every form
 * that can run here did, to its end; 1 otherwise; 77 (skipped) on a host that can't.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/regs.h"
#include "tests/guest/oracle/oracle.h"

#define MAIN_SKIPPED 77
#define MAIN_TRIES   64 /* of one case, before its form counts as impossible to make */

struct main_form {
	u64 n_cases, n_completed, n_different;
};

enum main_engine {
	MAIN_INTERPRETER,
	MAIN_TRANSLATOR,
	MAIN_ENGINES,
};

struct main_run {
	bool wants[MAIN_ENGINES];
	u64 seed, count, show;
	const char *op;
	u64 features;
	struct oracle_soft *soft[MAIN_ENGINES]; /* NULL: not wanted */
	struct main_form *forms;
	u64 n_cases, n_different;
	struct oracle_case c, disguised;
	struct oracle_result native, result;
};

static u8 main_image[ORACLE_DATA_SIZE];

/* Forms that user code can't complete: what is judged is the exception. */
static bool main_only_faults(const struct sx_form *f)
{
	if (f->attr & (SX_A_CPL0 | SX_A_IO))
		return true;
	switch ((int)f->op) {
	case SX_CLI:
	case SX_STI:
	case SX_INT:
	case SX_UD:
	case SX_INT1:
	case SX_RDPMC:
		return true;
	}
	return false;
}

static const char *main_excuse(const struct main_run *m, const struct sx_form *f)
{
	if (!(m->features & BIT(f->feature)))
		return "not a feature of both this host and the software CPU";
	return oracle_excuse(f);
}

/* Each case has its own stream of random numbers, so that it can be run again alone. */
static bool main_make_case(struct main_run *m, u16 form, enum oracle_mode mode, u64 number)
{
	struct oracle_rng rng = {.state = m->seed};

	rng.state = oracle_random(&rng) ^ number * 0x9e3779b97f4a7c15ul ^ (u64)form << 48 ^ mode;
	for (unsigned i = 0; i < MAIN_TRIES; i++) {
		if (oracle_generate(&rng, form, mode, m->features, &m->c)) {
			m->c.number = number;
			return true;
		}
	}
	return false;
}

/* Does this engine come to what the host came to? */
static bool main_is_same(struct main_run *m, enum main_engine engine, bool is_shown)
{
	static const char *const names[] = {"interpreter", "translator"};

	oracle_soft_run(m->soft[engine], &m->c, &m->result);
	if (!oracle_differs(&m->c, &m->native, &m->result, true))
		return true;
	if (is_shown) {
		oracle_print_case(&m->c);
		printf("  by the %s:\n", names[engine]);
		oracle_differs(&m->c, &m->native, &m->result, false);
		fflush(stdout);
	}
	return false;
}

static void main_run_case(struct main_run *m, u16 form)
{
	struct main_form *f = &m->forms[form];
	bool differs = false;

	oracle_vendor_disguise(&m->c, &m->disguised);
	oracle_native_run(&m->disguised, &m->native);
	oracle_vendor_settle(&m->c, &m->native);
	f->n_cases++;
	m->n_cases++;
	f->n_completed += m->native.vector == X86_BP;
	for (enum main_engine e = 0; e < MAIN_ENGINES; e++) {
		if (m->soft[e])
			differs |= !main_is_same(m, e, f->n_different < m->show);
	}
	f->n_different += differs;
	m->n_different += differs;
}

static void main_run_form(struct main_run *m, u16 form)
{
	const struct sx_form *f = &sx_forms[form];

	if (main_excuse(m, f) || (m->op && strcasecmp(m->op, sx_op_name(f->op))))
		return;
	for (u64 i = 0; i < m->count; i++) {
		for (enum oracle_mode mode = 0; mode < ORACLE_MODES; mode++) {
			if (main_make_case(m, form, mode, i))
				main_run_case(m, form);
		}
	}
}

static void main_print_form(u16 form)
{
	static const char *const maps[SX_MAPS] = {"",        "0f ",        "0f 38 ",    "0f 3a ",
						  "vex 0f ", "vex 0f 38 ", "vex 0f 3a "};
	static const char *const prefixes[] = {"", "", "", "66 ", "f3 ", "f2 "};
	const struct sx_form *f = &sx_forms[form];

	printf("%s (%s%s%02x", sx_op_name(f->op), prefixes[f->prefix], maps[f->map], f->opcode);
	if (f->modrm == SX_MODRM_EXACT)
		printf(" %02x", f->ext);
	else if (f->ext != SX_EXT_ANY)
		printf(" /%u", f->ext);
	printf("%s%s)", f->modrm == SX_MODRM_MEM ? " mem" : "",
	       f->modrm == SX_MODRM_REG ? " reg" : "");
}

/* Every form is run, or says why not. Returns the number that fail. */
static unsigned main_report_forms(const struct main_run *m)
{
	unsigned n_covered = 0, n_excused = 0, n_bad = 0;

	for (u16 i = 1; i < sx_form_count; i++) {
		const struct sx_form *f = &sx_forms[i];
		const struct main_form *r = &m->forms[i];
		const char *excuse = main_excuse(m, f), *bad = NULL;

		if (m->op && strcasecmp(m->op, sx_op_name(f->op)))
			continue;
		if (excuse) {
			printf("judged elsewhere: ");
			main_print_form(i);
			printf(": %s\n", excuse);
			n_excused++;
			continue;
		}
		n_covered++;
		if (!r->n_cases)
			bad = "uncovered: no case could be made";
		else if (r->n_different)
			bad = "differs";
		else if (!r->n_completed && !main_only_faults(f))
			bad = "uncovered: no case came to its end";
		if (!bad)
			continue;
		n_bad++;
		main_print_form(i);
		printf(": %s (%lu of %lu cases, %lu complete)\n", bad, r->n_different, r->n_cases,
		       r->n_completed);
	}
	printf("oracle: seed %lu, %lu cases of each form; %u forms run, %u judged elsewhere, %u "
	       "fail; "
	       "%lu cases, %lu differ\n",
	       m->seed, m->count, n_covered, n_excused, n_bad, m->n_cases, m->n_different);
	return n_bad;
}

static bool main_options(struct main_run *m, int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"count", required_argument, NULL, 'c'},
		{"op", required_argument, NULL, 'o'},
		{"show", required_argument, NULL, 'n'},
		{"translated", no_argument, NULL, 't'},
		{"both", no_argument, NULL, 'b'},
		{0},
	};
	int o;

	m->wants[MAIN_INTERPRETER] = true;

	while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (o == 's')
			m->seed = strtoul(optarg, NULL, 0);
		else if (o == 'c')
			m->count = strtoul(optarg, NULL, 0);
		else if (o == 'n')
			m->show = strtoul(optarg, NULL, 0);
		else if (o == 't' || o == 'b')
			m->wants[MAIN_TRANSLATOR] = true, m->wants[MAIN_INTERPRETER] = o == 'b';
		else if (o == 'o')
			m->op = optarg;
		else
			return false;
	}
	return optind == argc;
}

int main(int argc, char **argv)
{
	static struct main_run m = {.seed = 1, .count = 60, .show = 2};
	struct oracle_rng rng;
	unsigned n_bad;

	if (!main_options(&m, argc, argv)) {
		fprintf(stderr, "oracle [--seed N] [--count N] [--op NAME] [--show N] "
				"[--translated | --both]\n");
		return 1;
	}
	rng.state = m.seed;
	oracle_fill_memory(&rng, main_image, sizeof(main_image));
	oracle_vendor_init(main_image);
	if (oracle_native_init(main_image) < 0)
		return MAIN_SKIPPED;
	m.features = oracle_native_features();
	for (enum main_engine e = 0; e < MAIN_ENGINES; e++) {
		if (!m.wants[e])
			continue;
		if (oracle_soft_new(main_image, oracle_native_fs_base(), e == MAIN_TRANSLATOR,
				    &m.soft[e]) < 0)
			return 1;
		m.features &= oracle_soft_features(m.soft[e]);
	}
	m.forms = calloc(sx_form_count, sizeof(*m.forms));
	for (u16 i = 1; i < sx_form_count; i++)
		main_run_form(&m, i);
	n_bad = main_report_forms(&m);
	for (enum main_engine e = 0; e < MAIN_ENGINES; e++)
		oracle_soft_free(m.soft[e]);
	free(m.forms);
	return n_bad ? 1 : 0;
}
