#include "test_support.h"
#include "base/text.h"

static void test_compare(void **state)
{
	(void)state;
	assert_true(text_equal("a", "a"));
	assert_false(text_equal("a", "b"));
	assert_false(text_equal(NULL, ""));
	assert_false(text_equal("", NULL));
	assert_true(text_equal(NULL, NULL));
	assert_true(text_starts("abc", "ab"));
	assert_true(text_starts("abc", ""));
	assert_false(text_starts("ab", "abc"));
	assert_false(text_starts(NULL, "a"));
	assert_true(text_ends("abc", "bc"));
	assert_true(text_ends("abc", ""));
	assert_false(text_ends("bc", "abc"));
	assert_false(text_ends(NULL, "a"));
	assert_true(text_empty(NULL));
	assert_true(text_empty(""));
	assert_false(text_empty(" "));
}

struct number_row {
	const char *name; /* the text */
	int rc;
	uint64_t number;
};

static const struct number_row numbers[] = {
	{"0", 0, 0},
	{"007", 0, 7},
	{"10412", 0, 10412},
	{"18446744073709551615", 0, UINT64_MAX},
	{"18446744073709551616", -ERROR_INPUT, 0},
	{"18446744073709551620", -ERROR_INPUT, 0},
	{"99999999999999999999999", -ERROR_INPUT, 0},
	{"", -ERROR_INPUT, 0},
	{"+1", -ERROR_INPUT, 0},
	{"-1", -ERROR_INPUT, 0},
	{" 1", -ERROR_INPUT, 0},
	{"1 ", -ERROR_INPUT, 0},
	{"1.0", -ERROR_INPUT, 0},
	{"0x1", -ERROR_INPUT, 0},
	{"1e3", -ERROR_INPUT, 0},
};

static void test_number(void **state)
{
	const struct number_row *row = *state;
	uint64_t number = 42;
	assert_int_equal(text_to_u64(row->name, &number), row->rc);
	assert_int_equal(number, row->rc ? 42 : row->number);
}

static void test_number_of_bytes(void **state)
{
	(void)state;
	uint64_t number = 42;
	assert_int_equal(text_bytes_to_u64("123x", 3, &number), 0);
	assert_int_equal(number, 123);
	assert_int_equal(text_bytes_to_u64("1\0", 2, &number), -ERROR_INPUT);
	assert_int_equal(text_bytes_to_u64("1", 0, &number), -ERROR_INPUT);
	assert_int_equal(text_to_u64(NULL, &number), -ERROR_INPUT);
	assert_int_equal(number, 123);
}

/* What Go's time.ParseDuration says. */
static const struct number_row durations[] = {
	{"0", 0, 0},
	{"0s", 0, 0},
	{"90s", 0, 90000000000},
	{"5m0s", 0, 300000000000},
	{"1h30m", 0, 5400000000000},
	{"1.5s", 0, 1500000000},
	{".5s", 0, 500000000},
	{"1.s", 0, 1000000000},
	{"250ms", 0, 250000000},
	{"7us", 0, 7000},
	{"7\xc2\xb5s", 0, 7000},
	{"7\xce\xbcs", 0, 7000},
	{"9ns", 0, 9},
	{"1s1s", 0, 2000000000},
	{"1m1h", 0, 3660000000000},
	{"0.3333333333333333333h", 0, 1200000000000 - 1},
	{"0.100000000000000000000h", 0, 360000000000},
	{"1.9ns", 0, 1},
	{"9223372036854775807ns", 0, INT64_MAX},
	{"9223372036854775808ns", -ERROR_INPUT, 0},
	{"9223372036854775807ns1ns", -ERROR_INPUT, 0},
	{"2562047h47m16.854775807s", 0, INT64_MAX},
	{"2562048h", -ERROR_INPUT, 0},
	{"18446744073709551615ns1ns", -ERROR_INPUT, 0},
	{"5124095.999999h", -ERROR_INPUT, 0},
	{"99999999999999999999s", -ERROR_INPUT, 0},
	{"", -ERROR_INPUT, 0},
	{"1", -ERROR_INPUT, 0},
	{"00", -ERROR_INPUT, 0},
	{"s", -ERROR_INPUT, 0},
	{".s", -ERROR_INPUT, 0},
	{"1d", -ERROR_INPUT, 0},
	{"-1s", -ERROR_INPUT, 0},
	{"+1s", -ERROR_INPUT, 0},
	{"1 s", -ERROR_INPUT, 0},
	{"1s ", -ERROR_INPUT, 0},
	{"1S", -ERROR_INPUT, 0},
	{"1.2.3s", -ERROR_INPUT, 0},
	{"1s2", -ERROR_INPUT, 0},
};

static void test_duration(void **state)
{
	const struct number_row *row = *state;
	uint64_t ns = 42;
	assert_int_equal(text_to_duration(row->name, &ns), row->rc);
	assert_int_equal(ns, row->rc ? 42 : row->number);
}

static void test_hex_and_hashes(void **state)
{
	(void)state;
	_cleanup_free_ char *hex = text_hex("\x00\x7f\xff", 3);
	_cleanup_free_ char *none = text_hex("", 0);
	_cleanup_free_ char *hash = text_sha256("abc", 3);
	_cleanup_free_ char *tagged = text_sha256_tagged("", 0);
	assert_string_equal(hex, "007fff");
	assert_string_equal(none, "");
	assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(tagged, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

struct text_row {
	const char *name;
	const char *text;
	const char *expected;
};

static const struct text_row escapes[] = {
	{"nothing", "", ""},
	{"unreserved stay", "azAZ09-._~", "azAZ09-._~"},
	{"everything else goes", "a/b c?d=e&f%g+", "a%2Fb%20c%3Fd%3De%26f%25g%2B"},
	{"bytes of UTF-8 one by one", "\xc3\xa4", "%C3%A4"},
};

static void test_url_escape(void **state)
{
	const struct text_row *row = *state;
	_cleanup_free_ char *escaped = text_url_escape(row->text);
	assert_string_equal(escaped, row->expected);
}

static const struct text_row printables[] = {
	{"plain text stays", "abc \xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\x91",
	 "abc \xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\x91"},
	{"controls", "a\x1b[2Jb\r\n\t\x7f", "a?[2Jb????"},
	{"C1 in UTF-8",
	 "a\xc2\x9b"
	 "2J",
	 "a?2J"},
	{"direction overrides",
	 "a\xe2\x80\xae"
	 "b\xe2\x81\xa6",
	 "a?b?"},
	{"line separator", "a\xe2\x80\xa8", "a?"},
	{"a stray continuation", "a\x80z", "a?z"},
	{"cut off at the end", "a\xe2\x82", "a??"},
	{"overlong", "\xc0\xaf", "??"},
	{"overlong of three", "\xe0\x80\xaf", "???"},
	{"surrogate", "\xed\xa0\x80", "???"},
	{"beyond Unicode", "\xf4\x90\x80\x80", "????"},
	{"no such first byte", "\xff\xfe\xf8", "???"},
	{"the last code point", "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
};

static void test_printable(void **state)
{
	const struct text_row *row = *state;
	_cleanup_free_ char *shown = text_printable(row->text, strlen(row->text), 100);
	assert_string_equal(shown, row->expected);
}

static void test_printable_or(void **state)
{
	(void)state;
	_cleanup_free_ char *text = text_printable_or("ab\x1b"
						      "c",
						      3, "-"),
			    *none = text_printable_or(NULL, 0, "unknown");
	assert_string_equal(text, "ab?...");
	assert_string_equal(none, "unknown");
}

static void test_printable_is_capped_between_characters(void **state)
{
	(void)state;
	_cleanup_free_ char *fits = text_printable("abc", 3, 3);
	_cleanup_free_ char *cut = text_printable("abcd", 4, 3);
	_cleanup_free_ char *whole = text_printable("ab\xe2\x82\xac", 5, 4);
	_cleanup_free_ char *nul = text_printable("a\0b", 3, 10);
	_cleanup_free_ char *nothing = text_printable("abc", 3, 0);
	assert_string_equal(fits, "abc");
	assert_string_equal(cut, "abc...");
	assert_string_equal(whole, "ab...");
	assert_string_equal(nul, "a?b");
	assert_string_equal(nothing, "...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_number_of_bytes),
		cmocka_unit_test(test_hex_and_hashes),
		cmocka_unit_test(test_printable_or),
		cmocka_unit_test(test_printable_is_capped_between_characters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_number, numbers) +
	       RUN_ROWS(test_duration, durations) + RUN_ROWS(test_url_escape, escapes) +
	       RUN_ROWS(test_printable, printables);
}
