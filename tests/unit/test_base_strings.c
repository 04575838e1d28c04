#include "test_support.h"
#include "base/text.h"

static void test_adds_copies(void **state)
{
	(void)state;
	_cleanup_strings_ list = {0};
	char text[] = "abc";
	strings_add(&list, text);
	strings_add_n(&list, text, 2);
	text[0] = 'x';
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0], "abc");
	assert_string_equal(list.items[1], "ab");
	assert_true(strings_has(&list, "ab"));
	assert_false(strings_has(&list, "a"));
}

static void test_sorts_and_goes_on_growing(void **state)
{
	(void)state;
	_cleanup_strings_ list = {0};
	strings_sort_unique(&list);
	static const char *const words[] = {"c", "a", "b", "a", "c", "a", "d"};
	for (size_t i = 0; i < ELEMENTS(words); i++)
		strings_add(&list, words[i]);
	strings_sort_unique(&list);
	_cleanup_free_ char *joined = strings_join(&list, ",");
	assert_string_equal(joined, "a,b,c,d");
	for (int i = 0; i < 100; i++)
		strings_add(&list, "e");
	assert_int_equal(list.count, 104);
	strings_sort_unique(&list);
	assert_int_equal(list.count, 5);
}

struct split_row {
	const char *name; /* the text */
	size_t count;
};

static const struct split_row splits[] = {{"", 1}, {"a", 1}, {"a,b", 2}, {",", 2}, {"a,,b", 3}, {"a,b,", 3}};

static void test_split_is_the_reverse_of_join(void **state)
{
	const struct split_row *row = *state;
	_cleanup_strings_ list = {0};
	strings_split(&list, row->name, ',');
	assert_int_equal(list.count, row->count);
	_cleanup_free_ char *joined = strings_join(&list, ",");
	assert_string_equal(joined, row->name);
}

static void test_join(void **state)
{
	(void)state;
	_cleanup_strings_ list = {0};
	_cleanup_free_ char *nothing = strings_join(&list, ", ");
	assert_string_equal(nothing, "");
	strings_split(&list, "a b c", ' ');
	_cleanup_free_ char *joined = strings_join(&list, ", ");
	_cleanup_free_ char *bare = strings_join(&list, "");
	assert_string_equal(joined, "a, b, c");
	assert_string_equal(bare, "abc");
}

static void test_free_leaves_an_empty_list(void **state)
{
	(void)state;
	struct strings list = {0};
	strings_add(&list, "a");
	strings_free(&list);
	assert_int_equal(list.count, 0);
	assert_null(list.items);
	assert_false(strings_has(&list, "a"));
	strings_free(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adds_copies),
		cmocka_unit_test(test_sorts_and_goes_on_growing),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_free_leaves_an_empty_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_split_is_the_reverse_of_join, splits);
}
