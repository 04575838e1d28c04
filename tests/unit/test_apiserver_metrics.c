#include "format_support.h"
#include "format/apiserver_metrics.h"

#define ID "sha256:60de5ba935c252b4c855a1efe142c451641fbaa2718671add5024f78f2140706"
#define OTHER_ID "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define HASH "sha256:8055e74405531a2f7434fdf5f48d0244eb425e2c6e51b006f4787346ea2cdce4"
#define CONTROLLER "apiserver_encryption_config_controller_"
#define LOADED(id, hash) CONTROLLER "last_config_info{apiserver_id_hash=\"" id "\",hash=\"" hash "\"} 1\n"
#define RELOADS(id, status, n) \
	CONTROLLER "automatic_reloads_total{apiserver_id_hash=\"" id "\",status=\"" status "\"} " n "\n"
#define TIME(status, t) \
	CONTROLLER "automatic_reload_last_timestamp_seconds{apiserver_id_hash=\"" ID "\",status=\"" status "\"} " t "\n"
#define NAMED(provider, hash, t)                                                                          \
	"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{apiserver_id_hash=\"" ID \
	"\",key_id_hash=\"" hash "\",provider_name=\"" provider "\"} " t "\n"
#define KMS(part, method, n)                                                 \
	"apiserver_envelope_encryption_kms_operations_latency_seconds_" part \
	"{grpc_status_code=\"OK\",method_name=\"" method "\",provider_name=\"vault\"} " n "\n"
#define START "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.79537354906e+09\n"
#define MOVED(type, prefix, status, n)                                                            \
	"apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"" status \
	"\",transformation_type=\"" type "\",transformer_prefix=\"" prefix "\"} " n "\n"

static const struct {
	const char *name, *text;
	const char *said; /* start; reloads with their times; loaded hashes; ids */
} rows[] = {
	{"a server that shows nothing", "up 1\n", "start - reloads - loaded ids"},
	{"a start that is no time", "process_start_time_seconds +Inf\n", "start - reloads - loaded ids"},
	{"a start beyond all times", "process_start_time_seconds 1e300\n", "start - reloads - loaded ids"},
	{"a start before all times", "process_start_time_seconds -1\n", "start - reloads - loaded ids"},
	{"no number for a start", "process_start_time_seconds NaN\n", "start - reloads - loaded ids"},
	/* as 1.36.3 shows them */
	{"1.36 at start", START LOADED(ID, HASH), "start 1795373549.06 reloads - loaded " HASH " ids " ID},
	{"1.36 after reloads, good and bad",
	 START LOADED(ID, HASH) RELOADS(ID, "failure", "11") RELOADS(ID, "success", "8")
		 TIME("failure", "1.7953735642337086e+09") TIME("success", "1.7953735612397006e+09"),
	 "start 1795373549.06 reloads 8+11 at 1795373561.24 1795373564.23 loaded " HASH " ids " ID},
	/* as 1.33.13 shows them */
	{"1.33 after a reload", START RELOADS(ID, "success", "1") TIME("success", "1.7953735716292922e+09"),
	 "start 1795373549.06 reloads 1+0 at 1795373571.63 0.00 loaded ids " ID},
	{"1.30 to 1.33, old and new names: counted once",
	 CONTROLLER "automatic_reload_success_total{apiserver_id_hash=\"" ID "\"} 3\n" RELOADS(ID, "success", "3")
		 CONTROLLER "automatic_reload_failures_total{apiserver_id_hash=\"" ID "\"} 0\n",
	 "start - reloads 3+0 at 0.00 0.00 loaded ids " ID},
	{"1.29, old names only",
	 CONTROLLER "automatic_reload_success_total{apiserver_id_hash=\"" ID "\"} 2\n" CONTROLLER
		    "automatic_reload_failures_total{apiserver_id_hash=\"" ID "\"} 5\n",
	 "start - reloads 2+5 at 0.00 0.00 loaded ids " ID},
	{"two ids are both seen", LOADED(ID, HASH) RELOADS(OTHER_ID, "success", "1"),
	 "start - reloads 1+0 at 0.00 0.00 loaded " HASH " ids " ID " " OTHER_ID},
	{"two loaded hashes contradict", LOADED(ID, HASH) LOADED(ID, OTHER_ID),
	 "contradictory start - reloads - loaded " HASH " " OTHER_ID " ids " ID},
	{"one hash under two ids", LOADED(ID, HASH) LOADED(OTHER_ID, HASH),
	 "start - reloads - loaded " HASH " ids " ID " " OTHER_ID},
	{"a series with two values contradicts", RELOADS(ID, "success", "1") RELOADS(ID, "success", "2"),
	 "contradictory start - reloads 1+0 at 0.00 0.00 loaded ids " ID},
	{"a hash that is not in force",
	 CONTROLLER "last_config_info{apiserver_id_hash=\"" ID "\",hash=\"" HASH "\"} 0\n",
	 "start - reloads - loaded ids " ID},
	{"empty labels say nothing", LOADED("", ""), "start - reloads - loaded ids"},
	{"a counter that counts nothing", RELOADS(ID, "success", "NaN") RELOADS(ID, "failure", "-1"),
	 "start - reloads - loaded ids " ID},
	{"what KMS v2 plugins named", NAMED("v", "sha256:aa", "1.7953735642337086e+09") NAMED("w", "sha256:bb", "5"),
	 "start - reloads - loaded ids " ID " named v sha256:aa at 1795373564.233709 w sha256:bb at 5.000000"},
	{"of no provider, or no key", NAMED("", "sha256:aa", "1") NAMED("v", "", "1"),
	 "start - reloads - loaded ids " ID},
	{"a status to come", RELOADS(ID, "skipped", "4"), "start - reloads - loaded ids " ID},
};

static struct prometheus_reader *read_text(const char *text)
{
	struct prometheus_reader *reader = prometheus_reader_new(apiserver_metric_names);
	struct error *err = NULL;
	assert_ok(prometheus_feed(reader, text, strlen(text), &err), err);
	assert_ok(prometheus_finish(reader, &err), err);
	return reader;
}

static void say_list(struct buf *to, char **items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		say(to, " %s", items[i]);
}

static void collects(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct prometheus_reader *reader = read_text(row->text);
	struct apiserver_metrics metrics;
	struct buf said = BUF_INIT(4096);
	apiserver_metrics_collect(reader, &metrics);
	say(&said, "%s", metrics.contradictory ? "contradictory " : "");
	if (metrics.has_process_start)
		say(&said, "start %.2f", metrics.process_start);
	else
		say(&said, "start -");
	if (metrics.has_reload_counters)
		say(&said, " reloads %llu+%llu at %.2f %.2f", (unsigned long long)metrics.reload_successes,
		    (unsigned long long)metrics.reload_failures, metrics.reload_success_time,
		    metrics.reload_failure_time);
	else
		say(&said, " reloads -");
	say(&said, " loaded");
	say_list(&said, metrics.loaded_hashes, metrics.loaded_hash_count);
	say(&said, " ids");
	say_list(&said, metrics.id_hashes, metrics.id_hash_count);
	for (size_t i = 0; i < metrics.named_count; i++)
		say(&said, "%s %s %s at %.6f", i == 0 ? " named" : "", metrics.named[i].provider,
		    metrics.named[i].key_id_hash, metrics.named[i].at);
	assert_string_equal(buf_text(&said), row->said);
	apiserver_metrics_free(&metrics);
	assert_null(metrics.loaded_hashes);
	buf_free(&said);
	prometheus_reader_free(reader);
}

static const struct {
	const char *name, *text, *prefix;
	bool has;
	uint64_t total;
} writes[] = {
	{"none yet", START, "key1:", false, 0},
	{"some", MOVED("to_storage", "key1:", "OK", "2") MOVED("to_storage", "k8s:enc:aescbc:v1:", "OK", "9"),
	 "key1:", true, 2},
	{"none, but seen", MOVED("to_storage", "key1:", "OK", "0"), "key1:", true, 0},
	{"reads are not writes", MOVED("from_storage", "key1:", "OK", "2"), "key1:", false, 0},
	{"failures are not writes", MOVED("to_storage", "key1:", "Unknown", "2"), "key1:", false, 0},
	{"a name that begins alike", MOVED("to_storage", "key11:", "OK", "2"), "key1:", false, 0},
	{"two resources",
	 MOVED("to_storage", "key1:", "OK",
	       "2") "apiserver_storage_transformation_operations_total{resource=\"configmaps\","
		    "status=\"OK\",transformation_type=\"to_storage\",transformer_prefix=\"key1:\"} 40\n",
	 "key1:", true, 42},
	{"1.31 and older: no resource",
	 "apiserver_storage_transformation_operations_total{status=\"OK\",transformation_type=\"to_storage\","
	 "transformer_prefix=\"key1:\"} 7\n",
	 "key1:", true, 7},
	{"plaintext is written under an empty prefix, as 1.36 shows it", MOVED("to_storage", "", "OK", "2"), "", true,
	 2},
};

static void counts_writes(void **state)
{
	const __typeof__(writes[0]) *row = *state;
	struct prometheus_reader *reader = read_text(row->text);
	bool has = !row->has;
	assert_int_equal(apiserver_metrics_to_storage(reader, row->prefix, &has), row->total);
	assert_int_equal(has, row->has);
	prometheus_reader_free(reader);
	apiserver_metrics_free(NULL);
}

static void test_calls_of_a_kms(void **state)
{
	static const char text[] = KMS("sum", "/v2.KeyManagementService/Status", "1.5")
		KMS("count", "/v2.KeyManagementService/Status", "3") KMS("sum", "Encrypt", "0.25")
			KMS("count", "Encrypt", "1") KMS("sum", "Decrypt", "+Inf") KMS("count", "Decrypt", "NaN");
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader =
		prometheus_reader_new(apiserver_metric_names);
	struct apiserver_metrics metrics = {0};
	(void)state;
	assert_int_equal(prometheus_feed(reader, text, strlen(text), NULL), 0);
	assert_int_equal(prometheus_finish(reader, NULL), 0);
	apiserver_metrics_collect(reader, &metrics);
	/* Each method for itself; what is no number counts nothing. */
	assert_int_equal(metrics.kms_call_count, 2);
	assert_string_equal(metrics.kms_calls[0].what, "Status of kms/vault");
	assert_true(metrics.kms_calls[0].seconds > 1.49 && metrics.kms_calls[0].seconds < 1.51);
	assert_int_equal(metrics.kms_calls[0].calls, 3);
	assert_string_equal(metrics.kms_calls[1].what, "Encrypt of kms/vault");
	assert_int_equal(metrics.kms_calls[1].calls, 1);
	apiserver_metrics_free(&metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_calls_of_a_kms)};
	int failed = RUN_ROWS(collects, rows) + RUN_ROWS(counts_writes, writes);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
