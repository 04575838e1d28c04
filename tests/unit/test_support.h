/* What every unit test needs: cmocka in the order of includes that it wants, and rows of tables as tests of their own. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/error.h"

#ifndef __has_feature /* clang's */
#define __has_feature(feature) 0
#endif
#if __has_feature(address_sanitizer)
#define RUNNING_UNDER_ASAN true
#else
#define RUNNING_UNDER_ASAN false
#endif

/* Runs one test per row of `rows` (an array whose elements begin with `const char *name`), so that a failure names its
 * row and the others run. The test gets the row by `*state`. Gives back the number of failures. */
static inline int run_rows(const char *group, CMUnitTestFunction test, const void *rows, size_t count, size_t row_size)
{
	struct CMUnitTest *tests = xcalloc(count, sizeof(*tests));
	for (size_t i = 0; i < count; i++) {
		/* cmocka takes a plain pointer; the tests read it as const. */
		void *row = (void *)((uintptr_t)rows + i * row_size);
		tests[i] = (struct CMUnitTest){.name = *(const char **)row, .test_func = test, .initial_state = row};
	}
	int failed = _cmocka_run_group_tests(group, tests, count, NULL, NULL);
	free(tests);
	return failed;
}
#define RUN_ROWS(test, rows) run_rows(#test, test, rows, ELEMENTS(rows), sizeof((rows)[0]))

/* The call must fail with this code and exactly this message; frees the error. */
#define assert_error(rc, err, code, message)                      \
	do {                                                      \
		assert_int_equal(rc, -(int)(code));               \
		assert_int_equal(error_code(err), code);          \
		assert_string_equal(error_message(err), message); \
		error_clear(&(err));                              \
	} while (0)

/* The call must succeed; an error's words are printed where it does not. */
#define assert_ok(rc, err)                                                               \
	do {                                                                             \
		if ((rc) < 0)                                                            \
			fail_msg("%s", (err) ? error_message(err) : "failed, no words"); \
	} while (0)
