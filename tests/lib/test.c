/*
 * Runs the tests that a program's TEST() definitions registered. See test.h.
 */
#include "test.h"

#include <stdlib.h>

#define TEST_MAX 256

static struct CMUnitTest tests[TEST_MAX];
static size_t n_tests;

void test_register(const struct test_case *t)
{
	if (n_tests == TEST_MAX)
		abort();
	tests[n_tests++] = (struct CMUnitTest){.name = t->name, .test_func = t->fn};
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests(argv[0], tests, n_tests, NULL, NULL);
}
