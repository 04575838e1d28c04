#include "test_support.h"
#include <errno.h>

static void test_set_returns_minus_code(void **state)
{
	(void)state;
	struct error *err = NULL;
	int rc = error_set(&err, ERROR_CONFLICT, "replacing %s: it is gone", "/a");
	assert_error(rc, err, ERROR_CONFLICT, "replacing /a: it is gone");
	assert_null(err);
}

static void test_without_err_keeps_the_code(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, ERROR_AUTH, "x"), -ERROR_AUTH);
	assert_int_equal(error_set_errno(NULL, ERROR_IO, ENOENT, "x"), -ERROR_IO);
	assert_int_equal(error_wrap(NULL, -ERROR_BUSY, "x"), -ERROR_BUSY);
	error_set_hint(NULL, "x");
	error_set_server(NULL, "x");
	error_set_object(NULL, "x");
}

static void test_errno_text_is_appended(void **state)
{
	(void)state;
	struct error *err = NULL;
	int rc = error_set_errno(&err, ERROR_IO, EACCES, "reading %s", "/a");
	assert_error(rc, err, ERROR_IO, "reading /a: Permission denied");
}

static void test_wrap_keeps_code_and_fields(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	int rc = error_set(&err, ERROR_LIMIT, "too long");
	error_set_hint(&err, "first");
	error_set_hint(&err, "use %d", 2);
	error_set_server(&err, "10.0.0.1");
	error_set_object(&err, "secret/a");
	rc = error_wrap(&err, rc, "page %d", 3);
	rc = error_wrap(&err, rc, "reading secrets");
	assert_int_equal(rc, -ERROR_LIMIT);
	assert_string_equal(error_message(err), "reading secrets: page 3: too long");
	assert_string_equal(error_hint(err), "use 2");
	assert_string_equal(error_server(err), "10.0.0.1");
	assert_string_equal(error_object(err), "secret/a");
}

static void test_with_hint(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	_cleanup_free_ char *none = error_with_hint(err);
	assert_string_equal(none, "");
	(void)!error_set(&err, ERROR_NOT_FOUND, "no such thing");
	_cleanup_free_ char *message = error_with_hint(err);
	assert_string_equal(message, "no such thing");
	error_set_hint(&err, "make one");
	_cleanup_free_ char *both = error_with_hint(err);
	assert_string_equal(both, "no such thing; make one");
}

static void test_wrap_gives_words_to_a_callee_without(void **state)
{
	(void)state;
	struct error *err = NULL;
	int rc = error_wrap(&err, -ERROR_LIMIT, "reading secrets");
	assert_error(rc, err, ERROR_LIMIT, "reading secrets");
}

static void test_fields_need_an_error(void **state)
{
	(void)state;
	struct error *err = NULL;
	error_set_hint(&err, "x");
	error_set_server(&err, "x");
	error_set_object(&err, "x");
	assert_null(err);
}

static void test_forgive(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	int rc = error_set(&err, ERROR_NOT_FOUND, "x");
	assert_int_equal(error_forgive(&err, rc, ERROR_IO), -ERROR_NOT_FOUND);
	assert_non_null(err);
	assert_int_equal(error_forgive(&err, rc, ERROR_NOT_FOUND), 0);
	assert_null(err);
	assert_int_equal(error_forgive(NULL, -ERROR_IO, ERROR_IO), 0);
	assert_int_equal(error_forgive(NULL, 0, ERROR_IO), 0);
}

static void test_one_line_that_cannot_steer(void **state)
{
	(void)state;
	struct error *err = NULL;
	int rc = error_set(&err, ERROR_PROTOCOL, "it said %s", "a\nb\x1b[2J\xff");
	assert_error(rc, err, ERROR_PROTOCOL, "it said a?b?[2J?");
}

static void test_text_is_capped(void **state)
{
	(void)state;
	char words[ERROR_TEXT_MAX + 2];
	memset(words, 'a', sizeof(words));
	words[ERROR_TEXT_MAX] = '\0';
	_cleanup_error_ fits = NULL;
	_cleanup_error_ longer = NULL;
	error_set(&fits, ERROR_INPUT, "%s", words);
	assert_string_equal(error_message(fits), words);
	words[ERROR_TEXT_MAX] = 'a';
	words[ERROR_TEXT_MAX + 1] = '\0';
	error_set(&longer, ERROR_INPUT, "%s", words);
	assert_int_equal(strlen(error_message(longer)), ERROR_TEXT_MAX + 3);
	assert_string_equal(error_message(longer) + ERROR_TEXT_MAX, "...");
}

static void test_null_is_no_error(void **state)
{
	(void)state;
	assert_int_equal(error_code(NULL), ERROR_NONE);
	assert_string_equal(error_message(NULL), "");
	assert_null(error_hint(NULL));
	assert_null(error_server(NULL));
	assert_null(error_object(NULL));
	error_free(NULL);
}

struct code_row {
	const char *name;
	enum error_code code;
	int exit_status;
};

/* Scripts depend on both columns. */
static const struct code_row codes[] = {
	{"none", ERROR_NONE, 0},
	{"input", ERROR_INPUT, 2},
	{"io", ERROR_IO, 2},
	{"network", ERROR_NETWORK, 2},
	{"protocol", ERROR_PROTOCOL, 2},
	{"limit", ERROR_LIMIT, 2},
	{"auth", ERROR_AUTH, 2},
	{"not-found", ERROR_NOT_FOUND, 2},
	{"conflict", ERROR_CONFLICT, 2},
	{"expired", ERROR_EXPIRED, 2},
	{"busy", ERROR_BUSY, 2},
	{"finding", ERROR_FINDING, 1},
	{"refused", ERROR_REFUSED, 3},
	{"deadline", ERROR_DEADLINE, 4},
	{"usage", ERROR_USAGE, 64},
	{"interrupted", ERROR_INTERRUPTED, 143},
};

static void test_code(void **state)
{
	const struct code_row *row = *state;
	assert_string_equal(error_code_name(row->code), row->name);
	assert_int_equal(error_exit_status(row->code), row->exit_status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_returns_minus_code),
		cmocka_unit_test(test_without_err_keeps_the_code),
		cmocka_unit_test(test_errno_text_is_appended),
		cmocka_unit_test(test_wrap_keeps_code_and_fields),
		cmocka_unit_test(test_with_hint),
		cmocka_unit_test(test_wrap_gives_words_to_a_callee_without),
		cmocka_unit_test(test_fields_need_an_error),
		cmocka_unit_test(test_forgive),
		cmocka_unit_test(test_one_line_that_cannot_steer),
		cmocka_unit_test(test_text_is_capped),
		cmocka_unit_test(test_null_is_no_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_code, codes);
}
