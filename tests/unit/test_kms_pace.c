/* A KMS whose calls get slower halves the speed, and gives it back. */
#include "test_support.h"

#include "base/clock.h"
#include "base/text.h"
#include "engine/kms_pace.h"

#define LOOKS_MAX 10

static const struct {
	const char *name;
	struct {
		double process, seconds;
		uint64_t calls;
	} looks[LOOKS_MAX]; /* up to one of no process */
	const char *speeds; /* of 100/s and 16 at once, after each look; * behind it: it changed */
} rows[] = {
	{"as fast as ever", {{1, 1, 100}, {1, 2, 200}, {1, 2.5, 250}}, "100/16 100/16 100/16"},
	{"no KMS at all", {{1, 0, 0}, {1, 0, 0}}, "100/16 100/16"},
	{"slow from the first call on", {{1, 0, 0}, {1, 9, 9}, {1, 18, 18}}, "100/16 100/16 100/16"},
	{"within the slack", {{1, 1, 100}, {1, 1.7, 110}}, "100/16 100/16"},
	{"beyond it", {{1, 1, 100}, {1, 1.72, 110}}, "100/16 50/8*"},
	{"slower, and slower still, and well again",
	 {{1, 1, 100}, {1, 2, 110}, {1, 3, 115}, {1, 3, 115}, {1, 3.1, 125}, {1, 3.2, 135}, {1, 3.3, 145}},
	 "100/16 50/8* 25/4* 25/4 50/8* 100/16* 100/16"},
	{"never to nothing",
	 {{1, 1, 100}, {1, 2, 101}, {1, 3, 102}, {1, 4, 103}, {1, 5, 104}, {1, 6, 105}, {1, 7, 106}, {1, 8, 107}},
	 "100/16 50/8* 25/4* 12/2* 6/1* 3/1* 1/1* 1/1"},
	{"another process counts from 0", {{1, 1, 100}, {2, 0.01, 1}, {2, 9, 3}}, "100/16 100/16 50/8*"},
	{"and so does one that tells no start", {{0, 1, 100}, {0, 0.01, 1}, {0, 9, 3}}, "100/16 100/16 50/8*"},
};

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct kms_pace pace = {0};
	_cleanup_strings_ speeds = {0};
	for (size_t i = 0; i < LOOKS_MAX && (i == 0 || it->looks[i].process > 0 || it->looks[i].calls > 0); i++) {
		const struct apiserver_metrics seen = {.process_start = it->looks[i].process,
						       .kms_seconds = it->looks[i].seconds,
						       .kms_calls = it->looks[i].calls};
		struct throttle_options speed = {.qps = 100, .concurrency = 16};
		bool changed = kms_pace_take(&pace, &seen);
		kms_pace_slow(&pace, &speed);
		_cleanup_free_ char *words =
			xasprintf("%llu/%u%s", (unsigned long long)speed.qps, speed.concurrency, changed ? "*" : "");
		strings_add(&speeds, words);
	}
	_cleanup_free_ char *all = strings_join(&speeds, " ");
	assert_string_equal(all, it->speeds);
}

static void at_full_speed_fewer_are_written_at_once(void **state)
{
	const struct kms_pace pace = {.halved = 2};
	struct throttle_options speed = {.qps = 0, .concurrency = 8};
	(void)state;
	kms_pace_slow(&pace, &speed);
	assert_int_equal(speed.qps, 0);
	assert_int_equal(speed.concurrency, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(at_full_speed_fewer_are_written_at_once)};
	int failed = RUN_ROWS(row, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
