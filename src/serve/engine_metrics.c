#include "serve/engine_metrics.h"
#include "base/text.h"

void metrics_gauge(struct metrics_text *w, const char *name, const char *help, uint64_t value)
{
	metrics_family(w, name, METRICS_GAUGE, help);
	metrics_u64(w, NULL, 0, value);
}

void process_metrics_write(struct metrics_text *w, uint64_t wall_now)
{
	const struct metrics_label version = {"version", KUBE_REKEY_VERSION};
	metrics_family(w, "kube_rekey_build_info", METRICS_GAUGE, "The version of kube-rekey.");
	metrics_u64(w, &version, 1, 1);
	metrics_family(w, "kube_rekey_snapshot_timestamp_seconds", METRICS_GAUGE,
		       "When all that stands here was written; it is written each second.");
	metrics_seconds(w, NULL, 0, wall_now);
}

static void write_requests(struct metrics_text *w, const struct request_source *source)
{
	static const char *const codes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
	struct metrics_label labels[] = {{"use", source->use}, {"server", source->server}, {"code", "none"}};
	metrics_u64(w, labels, ELEMENTS(labels), source->counts->failed);
	for (size_t i = 0; i < ELEMENTS(codes); i++) {
		labels[2].value = codes[i];
		if (source->counts->status[i] > 0)
			metrics_u64(w, labels, ELEMENTS(labels), source->counts->status[i]);
	}
}

void request_metrics_write(struct metrics_text *w, const struct request_source *sources, size_t count)
{
	metrics_family(w, "kube_rekey_requests_total", METRICS_COUNTER,
		       "Requests to API servers, by what was answered; none: no whole answer.");
	for (size_t i = 0; i < count; i++)
		write_requests(w, &sources[i]);
	metrics_family(w, "kube_rekey_request_duration_seconds", METRICS_HISTOGRAM,
		       "How long requests to API servers took, from when they had a connection.");
	for (size_t i = 0; i < count; i++) {
		const struct metrics_label labels[] = {{"use", sources[i].use}, {"server", sources[i].server}};
		metrics_histogram(w, labels, ELEMENTS(labels), http_latency_bounds, sources[i].counts->buckets,
				  HTTP_LATENCY_BOUNDS, sources[i].counts->sum);
	}
}
