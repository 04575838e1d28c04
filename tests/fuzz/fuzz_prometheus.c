/* Prometheus text: no cut matters; what was read, written again, reads the same; and what the API server's metrics say. */
#include "format/apiserver_metrics.h"
#include "format_events.h"

static void check_collect(const uint8_t *data, size_t size)
{
	struct prometheus_reader *reader = prometheus_reader_new(apiserver_metric_names);
	struct apiserver_metrics metrics;
	bool has;
	if (prometheus_feed(reader, (const char *)data, size, NULL) == 0)
		(void)!prometheus_finish(reader, NULL);
	apiserver_metrics_collect(reader, &metrics);
	must(metrics.loaded_hash_count < 2 || metrics.contradictory);
	must(metrics.has_reload_counters || metrics.reload_successes + metrics.reload_failures == 0);
	apiserver_metrics_free(&metrics);
	apiserver_metrics_to_storage(reader, "key1:", &has);
	prometheus_reader_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	must_not_depend_on_some_cuts(prometheus_events, data, size);
	check_collect(data, size);
	char *text = events_of(prometheus_events, data, size, size);
	char *last = strrchr(text, '\n');
	/* all lines but the last are samples in the format itself */
	size_t len = last ? (size_t)(last - text) + 1 : 0;
	char *again = events_of(prometheus_events, (const uint8_t *)text, len, len);
	must(strncmp(text, again, len) == 0 && strcmp(again + len, "0 ") == 0);
	free(text);
	free(again);
	return 0;
}
