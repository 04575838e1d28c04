#include "base/text.h"
#include "kube-rekey/observation.h"
#include "serve/engine_metrics.h"

static void write_step(struct metrics_text *w, const char *name, const char *help, int step)
{
	metrics_family(w, name, METRICS_GAUGE, help);
	if (step != STEP_NONE)
		metrics_u64(w, NULL, 0, (uint64_t)step);
}

static void write_orders(struct metrics_text *w, const struct agent_view *view)
{
	const struct {
		const char *result;
		uint64_t count;
	} rows[] = {{"ok", view->orders.ok}, {"failed", view->orders.failed}, {"refused", view->orders.refused}};
	metrics_family(w, "kube_rekey_agent_orders_total", METRICS_COUNTER,
		       "Orders that were carried out, that failed, and that were refused as against the rules.");
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		metrics_u64(w, &(struct metrics_label){"result", rows[i].result}, 1, rows[i].count);
}

static void write_kms(struct metrics_text *w, const struct agent_view *view)
{
	metrics_family(w, "kube_rekey_agent_kms_healthy", METRICS_GAUGE,
		       "Whether kube-apiserver would adopt the key that the KMS v2 plugin here names.");
	for (size_t i = 0; i < view->kms_count; i++)
		metrics_u64(w, &(struct metrics_label){"provider", view->kms[i].name}, 1, !view->kms[i].flaw);
	metrics_family(w, "kube_rekey_agent_kms_status_seconds", METRICS_GAUGE,
		       "How long the plugin took for the last Status, which it is asked for every ten seconds.");
	for (size_t i = 0; i < view->kms_count; i++)
		metrics_seconds(w, &(struct metrics_label){"provider", view->kms[i].name}, 1, view->kms[i].took);
}

void agent_metrics_write(struct metrics_text *w, const struct agent_view *view)
{
	process_metrics_write(w, view->wall);
	metrics_family(w, "kube_rekey_agent_report_age_seconds", METRICS_GAUGE,
		       "How long ago the API server took this agent's report; none: never.");
	if (view->reported_at)
		metrics_seconds(w, NULL, 0, view->now - view->reported_at);
	metrics_gauge(w, "kube_rekey_agent_server_answering", "Whether the API server beside it answers.",
		      view->answering);
	write_step(w, "kube_rekey_agent_file_step", "The step of the path that the file here has.", view->file_step);
	write_step(w, "kube_rekey_agent_loaded_step", "The step of the path that the server here has loaded.",
		   view->loaded_step);
	metrics_gauge(w, "kube_rekey_agent_epoch", "The highest epoch that was acknowledged.", view->epoch);
	write_orders(w, view);
	write_kms(w, view);
}
