/* Prometheus text: no cut matters; what was read, written again, reads the same; and what the API server's metrics say. */
#include "format/apiserver_metrics.h"
#include "format/storage_metrics.h"
#include "format_events.h"

/* Nothing grew from a scrape to itself; a key that is shown has a provider. */
static void check_storage(const struct prometheus_reader *reader)
{
	struct storage_metrics metrics = {0}, growth = {0};
	storage_metrics_collect(reader, &metrics);
	int rc = storage_metrics_growth(&metrics, &metrics, &growth);
	for (size_t i = 0; rc == 0 && i < growth.use_count; i++)
		must(growth.uses[i].read + growth.uses[i].written == 0);
	for (size_t i = 0; i < metrics.use_count; i++)
		for (int direction = STORAGE_READ; direction <= STORAGE_WRITTEN; direction++) {
			struct storage_keys keys = {0};
			storage_keys_of(&metrics, metrics.uses[i].resource, direction, &keys);
			for (size_t k = 0; k < keys.count; k++)
				free(storage_key_label(&keys.items[k]));
			storage_keys_free(&keys);
		}
	storage_metrics_free(&growth);
	storage_metrics_free(&metrics);
}

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
	check_storage(reader);
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
