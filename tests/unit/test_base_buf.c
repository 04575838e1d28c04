#include "test_support.h"
#include "base/buf.h"

static void test_empty(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(10);
	assert_null(buf.data);
	assert_string_equal(buf_text(&buf), "");
	assert_int_equal(buf_append(&buf, NULL, 0), 0);
	assert_null(buf.data);
	buf_consume(&buf, 0);
	buf_reset(&buf);
}

static void test_appends_and_ends_in_nul(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(100);
	assert_int_equal(buf_append(&buf, "ab\0c", 4), 0);
	assert_int_equal(buf_append_text(&buf, "de"), 0);
	assert_int_equal(buf_append_format(&buf, "%03d", 7), 0);
	assert_int_equal(buf.len, 9);
	assert_memory_equal(buf.data, "ab\0cde007", 10);
}

static void test_cap_leaves_it_unchanged(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(4);
	assert_int_equal(buf_append_text(&buf, "abc"), 0);
	assert_int_equal(buf_append_text(&buf, "de"), -ERROR_LIMIT);
	assert_int_equal(buf_append_format(&buf, "%d", 10), -ERROR_LIMIT);
	assert_string_equal(buf_text(&buf), "abc");
	assert_int_equal(buf_append_text(&buf, "d"), 0);
	assert_int_equal(buf_append_text(&buf, "e"), -ERROR_LIMIT);
	assert_string_equal(buf_text(&buf), "abcd");
	assert_true(buf.size <= 5);
}

static void test_without_a_cap_nothing_fits(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(0);
	assert_int_equal(buf_append_text(&buf, "a"), -ERROR_LIMIT);
	assert_int_equal(buf_append_text(&buf, ""), 0);
}

static void test_sizes_that_would_overflow(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(SIZE_MAX);
	assert_int_equal(buf_append_text(&buf, "a"), 0);
	/* Volatile, or the compiler sees (and warns of) a copy of this size. */
	volatile size_t absurd = SIZE_MAX;
	assert_int_equal(buf_append(&buf, "b", absurd), -ERROR_LIMIT);
	assert_int_equal(buf_append(&buf, "b", absurd - 1), -ERROR_LIMIT);
	assert_string_equal(buf_text(&buf), "a");
}

static void test_many_small_appends(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_append(&buf, "x", 1), 0);
	assert_int_equal(buf_append(&buf, "x", 1), -ERROR_LIMIT);
	assert_int_equal(strlen(buf_text(&buf)), 1000);
}

static void test_consume(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(10);
	assert_int_equal(buf_append_text(&buf, "abcdef"), 0);
	buf_consume(&buf, 0);
	assert_string_equal(buf_text(&buf), "abcdef");
	buf_consume(&buf, 4);
	assert_string_equal(buf_text(&buf), "ef");
	assert_int_equal(buf.len, 2);
	buf_consume(&buf, 2);
	assert_string_equal(buf_text(&buf), "");
	assert_int_equal(buf.len, 0);
}

static void test_reset_keeps_the_memory(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(10);
	assert_int_equal(buf_append_text(&buf, "abc"), 0);
	const uint8_t *data = buf.data;
	buf_reset(&buf);
	assert_int_equal(buf.len, 0);
	assert_ptr_equal(buf.data, data);
	assert_string_equal(buf_text(&buf), "");
}

static void test_steal_leaves_it_empty_and_usable(void **state)
{
	(void)state;
	_cleanup_buf_ buf = BUF_INIT(10);
	_cleanup_free_ char *nothing = buf_steal_text(&buf);
	assert_string_equal(nothing, "");
	assert_int_equal(buf_append_text(&buf, "abc"), 0);
	_cleanup_free_ char *text = buf_steal_text(&buf);
	assert_string_equal(text, "abc");
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf_append_text(&buf, "0123456789"), 0);
	assert_int_equal(buf_append_text(&buf, "0"), -ERROR_LIMIT);
}

static void test_free_leaves_the_cap(void **state)
{
	(void)state;
	struct buf buf = BUF_INIT(3);
	assert_int_equal(buf_append_text(&buf, "abc"), 0);
	buf_free(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.size, 0);
	assert_int_equal(buf.cap, 3);
	buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_appends_and_ends_in_nul),
		cmocka_unit_test(test_cap_leaves_it_unchanged),
		cmocka_unit_test(test_without_a_cap_nothing_fits),
		cmocka_unit_test(test_sizes_that_would_overflow),
		cmocka_unit_test(test_many_small_appends),
		cmocka_unit_test(test_consume),
		cmocka_unit_test(test_reset_keeps_the_memory),
		cmocka_unit_test(test_steal_leaves_it_empty_and_usable),
		cmocka_unit_test(test_free_leaves_the_cap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
