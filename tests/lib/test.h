/*
 * Unit tests: a thin face over cmocka.
 *
 * TEST(a_sentence_that_is_true) { CHECK(...); CHECK_EQ(got, wanted); } is a whole test; the main
 * function comes from the library and runs every TEST of the program in the order of the source.
 */
#ifndef TESTS_LIB_TEST_H
#define TESTS_LIB_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include "base/base.h"

#include <cmocka.h>

struct test_case {
	const char *name;
	void (*fn)(void **state);
};

void test_register(const struct test_case *t);

#define TEST(name_)                                                                                \
	static void test_##name_(void **test_state_);                                              \
	__attribute__((constructor)) static void test_register_##name_(void)                       \
	{                                                                                          \
		static const struct test_case t = {#name_, test_##name_};                          \
		test_register(&t);                                                                 \
	}                                                                                          \
	static void test_##name_(unused void **test_state_)

#define CHECK(cond) _assert_true(!!(cond), #cond, __FILE__, __LINE__)

/* Integers or pointers, compared as 64 bits and shown in hex by cmocka. */
#define CHECK_EQ(got, wanted)                                                                      \
	_assert_int_equal((uintmax_t)(got), (uintmax_t)(wanted), __FILE__, __LINE__)
#define CHECK_STR(got, wanted)       assert_string_equal((got), (wanted))
#define CHECK_MEM(got, wanted, size) assert_memory_equal((got), (wanted), (size))
/* The error's text holds this. */
#define CHECK_ERR(err, part) CHECK(strstr((err).text, (part)))

/* Leaves the test as skipped; says why. */
#define SKIP(...)                                                                                  \
	do {                                                                                       \
		print_message("SKIP: " __VA_ARGS__);                                               \
		print_message("\n");                                                               \
		skip();                                                                            \
	} while (0)

#endif
