#include "format/apiserver_metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define CONTROLLER "apiserver_encryption_config_controller_"
#define ENVELOPE "apiserver_envelope_encryption_"

#define PROCESS_START "process_start_time_seconds"
#define LAST_CONFIG_INFO CONTROLLER "last_config_info"                   /* since 1.34 */
#define RELOADS CONTROLLER "automatic_reloads_total"                     /* since 1.30 */
#define OLD_SUCCESSES CONTROLLER "automatic_reload_success_total"        /* 1.28 to 1.33 */
#define OLD_FAILURES CONTROLLER "automatic_reload_failures_total"        /* likewise */
#define RELOAD_TIME CONTROLLER "automatic_reload_last_timestamp_seconds" /* since 1.28 */
#define NAMED ENVELOPE "key_id_hash_status_last_timestamp_seconds"
#define KMS_SECONDS ENVELOPE "kms_operations_latency_seconds_sum"
#define KMS_CALLS ENVELOPE "kms_operations_latency_seconds_count"
#define TRANSFORMATIONS "apiserver_storage_transformation_operations_total"

const char *const apiserver_metric_names[] = {
	PROCESS_START,
	LAST_CONFIG_INFO,
	RELOADS,
	OLD_SUCCESSES,
	OLD_FAILURES,
	RELOAD_TIME,
	TRANSFORMATIONS,
	NAMED,
	KMS_SECONDS,
	KMS_CALLS,
	/* for whoever reads the samples themselves */
	ENVELOPE "key_id_hash_total",
	ENVELOPE "key_id_hash_last_timestamp_seconds",
	"apiserver_storage_objects",
	"apiserver_resource_objects",
	NULL,
};

#define KMS_SECONDS_MAX 1e9

/* A sample as a count; false for what counts nothing (negative, NaN, beyond what a double counts exactly). */
static bool count_of(double value, uint64_t *ret)
{
	if (!(value >= 0 && value <= 9007199254740992.0))
		return false;
	*ret = (uint64_t)value;
	return true;
}

static void add_once(struct strings *list, const char *text)
{
	if (!text_empty(text) && !strings_has(list, text))
		strings_add(list, text);
}

static void add_count(struct apiserver_metrics *metrics, uint64_t *total, double value)
{
	uint64_t count;
	if (!count_of(value, &count))
		return;
	*total += count;
	metrics->has_reload_counters = true;
}

static void later(double *time, double value)
{
	if (value > *time)
		*time = value;
}

static void collect_by_status(struct apiserver_metrics *metrics, const struct prometheus_sample *sample)
{
	const char *status = prometheus_label(sample, "status");
	bool success = text_equal(status, "success");
	if (!success && !text_equal(status, "failure"))
		return;
	if (text_equal(sample->name, RELOADS))
		add_count(metrics, success ? &metrics->reload_successes : &metrics->reload_failures, sample->value);
	else
		later(success ? &metrics->reload_success_time : &metrics->reload_failure_time, sample->value);
}

static void add_named(struct apiserver_metrics *metrics, const struct prometheus_sample *sample)
{
	const char *provider = prometheus_label(sample, "provider_name");
	const char *key_id_hash = prometheus_label(sample, "key_id_hash");
	if (text_empty(provider) || text_empty(key_id_hash))
		return;
	metrics->named = xreallocarray(metrics->named, metrics->named_count + 1, sizeof(*metrics->named));
	metrics->named[metrics->named_count++] =
		(struct apiserver_named){xstrdup(provider), xstrdup(key_id_hash), sample->value};
}

/* "/v2.KeyManagementService/Decrypt" is a Decrypt. */
static struct apiserver_kms_calls *kms_calls_of(struct apiserver_metrics *metrics,
						const struct prometheus_sample *sample)
{
	const char *method = prometheus_label(sample, "method_name"), *name = prometheus_label(sample, "provider_name");
	const char *slash = method ? strrchr(method, '/') : NULL;
	_cleanup_free_ char *what = xasprintf("%s of kms/%s",
					      slash    ? slash + 1
					      : method ? method
						       : "a call",
					      name ? name : "");
	for (size_t i = 0; i < metrics->kms_call_count; i++)
		if (text_equal(metrics->kms_calls[i].what, what))
			return &metrics->kms_calls[i];
	metrics->kms_calls =
		xreallocarray(metrics->kms_calls, metrics->kms_call_count + 1, sizeof(*metrics->kms_calls));
	metrics->kms_calls[metrics->kms_call_count] = (struct apiserver_kms_calls){.what = steal(what)};
	return &metrics->kms_calls[metrics->kms_call_count++];
}

static void collect_sample(struct apiserver_metrics *metrics, const struct prometheus_sample *sample,
			   struct strings *loaded)
{
	uint64_t milliseconds, calls;
	if (text_equal(sample->name, PROCESS_START)) {
		metrics->has_process_start = count_of(sample->value * 1000.0, &milliseconds);
		metrics->process_start = metrics->has_process_start ? sample->value : 0;
	} else if (text_equal(sample->name, LAST_CONFIG_INFO)) {
		if (sample->value != 0)
			add_once(loaded, prometheus_label(sample, "hash"));
	} else if (text_equal(sample->name, RELOADS) || text_equal(sample->name, RELOAD_TIME)) {
		collect_by_status(metrics, sample);
	} else if (text_equal(sample->name, NAMED)) {
		add_named(metrics, sample);
	} else if (text_equal(sample->name, KMS_SECONDS) && sample->value > 0 && sample->value < KMS_SECONDS_MAX) {
		kms_calls_of(metrics, sample)->seconds += sample->value;
	} else if (text_equal(sample->name, KMS_CALLS) && count_of(sample->value, &calls)) {
		kms_calls_of(metrics, sample)->calls += calls;
	}
}

/* 1.30 to 1.33 show each reload under the new name and the old ones: the old ones count only where the new one is not. */
static void collect_old_counters(struct apiserver_metrics *metrics, const struct prometheus_reader *reader)
{
	if (metrics->has_reload_counters)
		return;
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		if (text_equal(sample->name, OLD_SUCCESSES))
			add_count(metrics, &metrics->reload_successes, sample->value);
		else if (text_equal(sample->name, OLD_FAILURES))
			add_count(metrics, &metrics->reload_failures, sample->value);
	}
}

void apiserver_metrics_collect(const struct prometheus_reader *reader, struct apiserver_metrics *ret)
{
	struct apiserver_metrics metrics = {.contradictory = prometheus_contradictory(reader)};
	struct strings loaded = {0}, ids = {0};
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		add_once(&ids, prometheus_label(sample, "apiserver_id_hash"));
		collect_sample(&metrics, sample, &loaded);
	}
	collect_old_counters(&metrics, reader);
	metrics.contradictory |= loaded.count > 1;
	metrics.loaded_hashes = loaded.items;
	metrics.loaded_hash_count = loaded.count;
	metrics.id_hashes = ids.items;
	metrics.id_hash_count = ids.count;
	*ret = metrics;
}

void apiserver_metrics_free(struct apiserver_metrics *metrics)
{
	if (!metrics)
		return;
	struct strings loaded = {metrics->loaded_hashes, metrics->loaded_hash_count};
	struct strings ids = {metrics->id_hashes, metrics->id_hash_count};
	strings_free(&loaded);
	strings_free(&ids);
	for (size_t i = 0; i < metrics->named_count; i++) {
		free(metrics->named[i].provider);
		free(metrics->named[i].key_id_hash);
	}
	free(metrics->named);
	for (size_t i = 0; i < metrics->kms_call_count; i++)
		free(metrics->kms_calls[i].what);
	free(metrics->kms_calls);
	*metrics = (struct apiserver_metrics){0};
}

uint64_t apiserver_metrics_to_storage(const struct prometheus_reader *reader, const char *prefix, bool *ret_has)
{
	uint64_t total = 0, count;
	bool has = false;
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		if (!text_equal(sample->name, TRANSFORMATIONS) ||
		    !text_equal(prometheus_label(sample, "transformation_type"), "to_storage") ||
		    !text_equal(prometheus_label(sample, "transformer_prefix"), prefix) ||
		    !text_equal(prometheus_label(sample, "status"), "OK") || !count_of(sample->value, &count))
			continue;
		total += count;
		has = true;
	}
	*ret_has = has;
	return total;
}
