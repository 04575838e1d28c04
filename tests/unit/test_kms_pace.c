/* A KMS whose calls get slower halves the speed, and gives it back. */
#include "test_support.h"

#include "base/clock.h"
#include "base/text.h"
#include "engine/kms_pace.h"

#define LOOKS_MAX 10

static const struct {
	const char *name;
	struct {
		double process, seconds; /* in Decrypts, and how many */
		uint64_t calls;
		double status_seconds;
		uint64_t status_calls;
	} looks[LOOKS_MAX]; /* up to one of no process */
	const char *speeds; /* of 100/s and 16 at once, after each look; * behind it: it changed */
	const char *text;   /* in the end; NULL: whatever it is */
} rows[] = {
	{"as fast as ever", {{1, 1, 100, 0, 0}, {1, 2, 200, 0, 0}, {1, 2.5, 250, 0, 0}}, "100/16 100/16 100/16", NULL},
	{"no KMS at all", {{1, 0, 0, 0, 0}, {1, 0, 0, 0, 0}}, "100/16 100/16", NULL},
	{"slow from the first call on",
	 {{1, 0, 0, 0, 0}, {1, 9, 9, 0, 0}, {1, 18, 18, 0, 0}},
	 "100/16 100/16 100/16",
	 NULL},
	{"within the slack", {{1, 1, 100, 0, 0}, {1, 1.7, 110, 0, 0}}, "100/16 100/16", NULL},
	{"beyond it",
	 {{1, 1, 100, 0, 0}, {1, 1.72, 110, 0, 0}},
	 "100/16 50/8*",
	 "Decrypt of kms/v takes 72 ms, and took 10 ms before: rewriting at 1/2 of the speed"},
	{"it took next to nothing",
	 {{1, 0.03, 100, 0, 0}, {1, 0.75, 110, 0, 0}},
	 "100/16 50/8*",
	 "Decrypt of kms/v takes 72 ms, and took 1 ms before: rewriting at 1/2 of the speed"},
	{"slower, and slower still, and well again",
	 {{1, 1, 100, 0, 0},
	  {1, 2, 110, 0, 0},
	  {1, 3, 115, 0, 0},
	  {1, 3, 115, 0, 0},
	  {1, 3.1, 125, 0, 0},
	  {1, 3.2, 135, 0, 0},
	  {1, 3.3, 145, 0, 0}},
	 "100/16 50/8* 25/4* 25/4 50/8* 100/16* 100/16",
	 "the KMS is not slow any more: rewriting at full speed"},
	{"never to nothing",
	 {{1, 1, 100, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 3, 102, 0, 0},
	  {1, 4, 103, 0, 0},
	  {1, 5, 104, 0, 0},
	  {1, 6, 105, 0, 0},
	  {1, 7, 106, 0, 0},
	  {1, 8, 107, 0, 0}},
	 "100/16 50/8* 25/4* 12/2* 6/1* 3/1* 1/1* 1/1",
	 NULL},
	{"another process counts from 0",
	 {{1, 1, 100, 0, 0}, {2, 0.01, 1, 0, 0}, {2, 9, 3, 0, 0}},
	 "100/16 100/16 50/8*",
	 NULL},
	{"and so does one that tells no start",
	 {{0, 1, 100, 0, 0}, {0, 0.01, 1, 0, 0}, {0, 9, 3, 0, 0}},
	 "100/16 100/16 50/8*",
	 NULL},
	/* A call over the network, and one that the plugin answers by itself. */
	{"there are more of those that take long by nature",
	 {{1, 0.6, 10, 1, 1000}, {1, 6.6, 110, 1, 1000}, {1, 12.6, 210, 1.001, 1001}},
	 "100/16 100/16 100/16",
	 NULL},
	{"those that take long by nature come later",
	 {{1, 0, 0, 1, 1000}, {1, 6, 100, 1, 1000}, {1, 12, 200, 1, 1000}},
	 "100/16 100/16 100/16",
	 NULL},
	{"Status alone, among many others",
	 {{1, 1, 100, 1, 1000}, {1, 2, 200, 4, 1001}, {1, 3, 300, 4, 1001}, {1, 4, 400, 4.001, 1002}},
	 "100/16 50/8* 50/8 100/16*",
	 NULL},
	{"what was slow is not called any more",
	 {{1, 1, 100, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0},
	  {1, 2, 101, 0, 0}},
	 "100/16 50/8* 50/8 50/8 50/8 50/8 50/8 50/8 100/16*",
	 NULL},
};

static char decrypt[] = "Decrypt of kms/v", status[] = "Status of kms/v";

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct kms_pace pace = {0};
	_cleanup_strings_ speeds = {0};
	for (size_t i = 0; i < LOOKS_MAX && (i == 0 || it->looks[i].process > 0 || it->looks[i].calls > 0); i++) {
		struct apiserver_kms_calls calls[] = {{decrypt, it->looks[i].seconds, it->looks[i].calls},
						      {status, it->looks[i].status_seconds, it->looks[i].status_calls}};
		const struct apiserver_metrics seen = {
			.process_start = it->looks[i].process, .kms_calls = calls, .kms_call_count = ELEMENTS(calls)};
		struct throttle_options speed = {.qps = 100, .concurrency = 16};
		bool changed = kms_pace_take(&pace, &seen);
		kms_pace_slow(&pace, &speed);
		_cleanup_free_ char *words =
			xasprintf("%llu/%u%s", (unsigned long long)speed.qps, speed.concurrency, changed ? "*" : "");
		strings_add(&speeds, words);
	}
	_cleanup_free_ char *all = strings_join(&speeds, " "), *text = kms_pace_text(&pace);
	assert_string_equal(all, it->speeds);
	if (it->text)
		assert_string_equal(text, it->text);
	kms_pace_free(&pace);
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
