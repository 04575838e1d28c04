#include "test_support.h"
#include "base/clock.h"
#include "base/text.h"

struct row {
	const char *name; /* what is expected */
	uint64_t value;
};

static const struct row bytes[] = {
	{"0 B", 0},        {"512 B", 512},       {"1023 B", 1023},      {"1.0 KiB", 1024},      {"1.5 KiB", 1536},
	{"10 KiB", 10239}, {"1.0 MiB", 1048575}, {"31 MiB", 31u << 20}, {"16 EiB", UINT64_MAX},
};

static void test_bytes(void **state)
{
	const struct row *row = *state;
	_cleanup_free_ char *text = text_human_bytes(row->value);
	assert_string_equal(text, row->name);
}

static const struct row counts[] = {
	{"0", 0},          {"999", 999},        {"1,000", 1000},
	{"10,412", 10412}, {"100,000", 100000}, {"18,446,744,073,709,551,615", UINT64_MAX},
};

static void test_count(void **state)
{
	const struct row *row = *state;
	_cleanup_free_ char *text = text_human_count(row->value);
	assert_string_equal(text, row->name);
}

static const struct row durations[] = {
	{"0 s", 0},
	{"0 s", 499999},
	{"1 ms", 500000},
	{"250 ms", 250 * NS_PER_MS},
	{"1 s", 999 * NS_PER_MS + 500000},
	{"28 s", 28 * NS_PER_S},
	{"1 min", 59 * NS_PER_S + 500 * NS_PER_MS},
	{"3 min 28 s", 208 * NS_PER_S},
	{"59 min 59 s", 3599 * NS_PER_S},
	{"1 h", 3599 * NS_PER_S + 999 * NS_PER_MS},
	{"1 h 5 min", 3900 * NS_PER_S},
	{"1 d", 86399 * NS_PER_S},
	{"2 d 3 h", 51 * 3600 * NS_PER_S},
	{"213504 d", UINT64_MAX},
};

static void test_duration(void **state)
{
	const struct row *row = *state;
	_cleanup_free_ char *text = text_human_duration(row->value);
	assert_string_equal(text, row->name);
}

int main(void)
{
	return RUN_ROWS(test_bytes, bytes) + RUN_ROWS(test_count, counts) + RUN_ROWS(test_duration, durations);
}
