#include "test_support.h"
#include "base/clock.h"

static void test_monotonic_does_not_go_back(void **state)
{
	(void)state;
	uint64_t first = clock_monotonic();
	assert_true(first > 0);
	assert_true(clock_monotonic() >= first);
}

static void test_wall_is_after_this_was_written(void **state)
{
	(void)state;
	assert_true(clock_wall() > 1700000000 * NS_PER_S);
}

static void test_format(void **state)
{
	(void)state;
	uint64_t at = 1795345400 * NS_PER_S + 123456789;
	char text[28], compact[16];
	clock_format(at, 0, text);
	assert_string_equal(text, "2026-11-22T11:03:20Z");
	clock_format(at, 1, text);
	assert_string_equal(text, "2026-11-22T11:03:20.123456Z");
	clock_format_compact(at, compact);
	assert_string_equal(compact, "20261122T1103Z");
	clock_format(0, 1, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
	clock_format(UINT64_MAX, 1, text);
	assert_string_equal(text, "2554-07-21T23:34:33.709551Z");
}

struct parse_row {
	const char *name; /* the text */
	int rc;
	uint64_t seconds;
	uint64_t ns;
};

static const struct parse_row parses[] = {
	{"2026-11-22T11:03:20Z", 0, 1795345400, 0},
	{"2026-11-22T11:03:20.123456Z", 0, 1795345400, 123456000},
	{"2026-11-22T11:03:20.1Z", 0, 1795345400, 100000000},
	{"2026-11-22T11:03:20.123456789Z", 0, 1795345400, 123456789},
	{"2026-11-22T13:03:20+02:00", 0, 1795345400, 0},
	{"2026-11-22T08:33:20.5-02:30", 0, 1795345400, 500000000},
	{"1970-01-01T00:00:00Z", 0, 0, 0},
	{"2024-02-29T00:00:00Z", 0, 1709164800, 0},
	{"2554-07-21T23:34:32Z", 0, 18446744072, 0},
	{"2554-07-21T23:34:33Z", -ERROR_INPUT, 0, 0},
	{"9999-12-31T23:59:59Z", -ERROR_INPUT, 0, 0},
	{"1969-12-31T23:59:59Z", -ERROR_INPUT, 0, 0},
	{"1970-01-01T00:00:00+00:01", -ERROR_INPUT, 0, 0},
	{"0001-01-01T00:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-02-29T00:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-04-31T00:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-13-01T00:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-00-01T00:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-01-00T00:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22T24:00:00Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:60:00Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:60Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20.Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20.1234567890Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20Zx", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20+0200", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20+24:00", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20+02:60", -ERROR_INPUT, 0, 0},
	{"2026-11-22T11:03:20+02:00Z", -ERROR_INPUT, 0, 0},
	{"2026-11-22 11:03:20Z", -ERROR_INPUT, 0, 0},
	{" 2026-11-22T11:03:20Z", -ERROR_INPUT, 0, 0},
	{"2026-1-22T11:03:20Z", -ERROR_INPUT, 0, 0},
	{"2026", -ERROR_INPUT, 0, 0},
	{"", -ERROR_INPUT, 0, 0},
};

static void test_parse(void **state)
{
	const struct parse_row *row = *state;
	uint64_t ns = 42;
	assert_int_equal(clock_parse(row->name, &ns), row->rc);
	assert_int_equal(ns, row->rc ? 42 : row->seconds * NS_PER_S + row->ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_monotonic_does_not_go_back),
		cmocka_unit_test(test_wall_is_after_this_was_written),
		cmocka_unit_test(test_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_parse, parses);
}
