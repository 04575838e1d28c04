#include "test_support.h"
#include "base/clock.h"
#include "format/prometheus.h"
#include "serve/metrics_text.h"

static void test_the_text(void **state)
{
	static const struct metrics_label labels[] = {{"server", "cp-1"}, {"key", "a\\b\"c\nd\xff"}};
	static const uint64_t bounds[] = {5 * NS_PER_MS, NS_PER_S};
	static const uint64_t buckets[] = {3, 2, 1};
	struct metrics_text w = METRICS_TEXT_INIT;

	(void)state;
	metrics_family(&w, "kube_rekey_objects", METRICS_GAUGE, "Objects \"per\" key,\nby \\ server.");
	metrics_u64(&w, labels, 2, UINT64_MAX);
	metrics_u64(&w, NULL, 0, 0);
	metrics_family(&w, "kube_rekey_age_seconds", METRICS_COUNTER, "Age.");
	metrics_seconds(&w, labels, 1, 1500 * NS_PER_MS);
	metrics_family(&w, "kube_rekey_request_seconds", METRICS_HISTOGRAM, "Requests.");
	metrics_histogram(&w, labels, 1, bounds, buckets, 2, 7 * NS_PER_S + 1);
	metrics_histogram(&w, NULL, 0, bounds, buckets, 0, 0);
	assert_string_equal(
		metrics_text(&w),
		"# HELP kube_rekey_objects Objects \"per\" key,\\nby \\\\ server.\n"
		"# TYPE kube_rekey_objects gauge\n"
		"kube_rekey_objects{server=\"cp-1\",key=\"a\\\\b\\\"c\\nd\xef\xbf\xbd\"} 18446744073709551615\n"
		"kube_rekey_objects 0\n"
		"# HELP kube_rekey_age_seconds Age.\n"
		"# TYPE kube_rekey_age_seconds counter\n"
		"kube_rekey_age_seconds{server=\"cp-1\"} 1.500000000\n"
		"# HELP kube_rekey_request_seconds Requests.\n"
		"# TYPE kube_rekey_request_seconds histogram\n"
		"kube_rekey_request_seconds_bucket{server=\"cp-1\",le=\"0.005000000\"} 3\n"
		"kube_rekey_request_seconds_bucket{server=\"cp-1\",le=\"1.000000000\"} 5\n"
		"kube_rekey_request_seconds_bucket{server=\"cp-1\",le=\"+Inf\"} 6\n"
		"kube_rekey_request_seconds_sum{server=\"cp-1\"} 7.000000001\n"
		"kube_rekey_request_seconds_count{server=\"cp-1\"} 6\n"
		"kube_rekey_request_seconds_bucket{le=\"+Inf\"} 3\n"
		"kube_rekey_request_seconds_sum 0.000000000\n"
		"kube_rekey_request_seconds_count 3\n");
	metrics_text_free(&w);
}

/* Our own reader takes it, with the value as it was. */
static void test_it_reads_back(void **state)
{
	static const char *const names[] = {"kube_rekey_objects", NULL};
	static const struct metrics_label label = {"key", "a\\b\"c\nd"};
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader = prometheus_reader_new(names);
	struct metrics_text w = METRICS_TEXT_INIT;
	struct error *err = NULL;

	(void)state;
	metrics_family(&w, "kube_rekey_objects", METRICS_GAUGE, "x");
	metrics_u64(&w, &label, 1, 42);
	assert_ok(prometheus_feed(reader, metrics_text(&w), w.out.len, &err), err);
	assert_ok(prometheus_finish(reader, &err), err);
	assert_int_equal(prometheus_count(reader), 1);
	assert_string_equal(prometheus_label(prometheus_at(reader, 0), "key"), label.value);
	metrics_text_free(&w);
}

static void test_the_cap(void **state)
{
	struct metrics_text w = METRICS_TEXT_INIT;

	(void)state;
	metrics_family(&w, "a", METRICS_GAUGE, "x");
	while (w.out.len + 100 < METRICS_TEXT_MAX)
		metrics_u64(&w, NULL, 0, UINT64_MAX);
	assert_non_null(metrics_text(&w));
	for (int i = 0; i < 10; i++)
		metrics_u64(&w, NULL, 0, UINT64_MAX);
	assert_null(metrics_text(&w));
	metrics_text_free(&w);
	assert_string_equal(metrics_text(&w), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_text),
		cmocka_unit_test(test_it_reads_back),
		cmocka_unit_test(test_the_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
