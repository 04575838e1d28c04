/* The order in which a sweep goes through the namespaces that were asked for: docs/reference.md states it. */
#include "test_support.h"
#include "engine/sweep_internal.h"

struct row {
	const char *name;
	const char *asked[6];
	const char *order[6];
};

static const struct row rows[] = {
	{"as given", {"a", "b"}, {"a", "b"}},
	{"the other way round", {"b", "a"}, {"a", "b"}},
	{"twice is once", {"b", "a", "b"}, {"a", "b"}},
	{"a longer name before its beginning: '-' comes before the '/' that ends a namespace in etcd",
	 {"a", "b", "a0", "a-b"},
	 {"a-b", "a", "a0", "b"}},
};

static size_t count_of(const char *const names[6])
{
	size_t count = 0;

	while (count < 6 && names[count] != NULL)
		count++;
	return count;
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct strings asked = {0};
	/* Named objects: nothing is counted, so no server is asked. */
	struct sweep_options options = {.namespaces = &asked, .named_count = 1};
	struct sweep sweep = {.options = &options};

	for (size_t i = 0; i < count_of(row->asked); i++)
		strings_add(&asked, row->asked[i]);
	assert_int_equal(sweep_places_find(&sweep, NULL), 0);
	assert_int_equal(sweep.places.count, count_of(row->order));
	for (size_t i = 0; i < sweep.places.count; i++) {
		assert_string_equal(sweep.places.items[i], row->order[i]);
		assert_int_equal(sweep_place(&sweep, row->order[i]), i);
	}
	strings_free(&asked);
	strings_free(&sweep.places);
}

/* What a repeated sweep has to do is what was named, however many objects there are. */
static void test_named(void **state)
{
	static const uint64_t expected[] = {500, 700};
	struct strings asked = {0};
	struct sweep_options options = {
		.namespaces = &asked, .resource_count = 2, .expected = expected, .named_count = 3};
	struct sweep sweep = {.options = &options};

	(void)state;
	strings_add(&asked, "a");
	for (int i = 0; i < 2; i++) {
		sweep_progress_init(&sweep);
		assert_int_equal(sweep_places_find(&sweep, NULL), 0);
		assert_int_equal(sweep_tally_total(&sweep.tally), options.named_count > 0 ? 3 : 1200);
		sweep_tally_free(&sweep.tally);
		strings_free(&sweep.places);
		options.named_count = 0;
	}
	strings_free(&asked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_named)};

	return RUN_ROWS(test_row, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
