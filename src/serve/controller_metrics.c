#include "base/text.h"
#include "kube-rekey/next_action.h"
#include "serve/engine_metrics.h"

/* --- the process --- */

static void write_results(struct metrics_text *w, const char *name, const char *help, uint64_t good, uint64_t bad)
{
	metrics_family(w, name, METRICS_COUNTER, help);
	metrics_u64(w, &(struct metrics_label){"result", "ok"}, 1, good);
	metrics_u64(w, &(struct metrics_label){"result", "failed"}, 1, bad);
}

static void write_turns(struct metrics_text *w, const struct controller_view *view)
{
	metrics_gauge(w, "kube_rekey_leader", "Whether this controller leads.", view->leads);
	write_results(w, "kube_rekey_turns_total", "Turns: look, decide, do one step; of a stand-by, read the Lease.",
		      view->turns - view->failed_turns, view->failed_turns);
	metrics_family(w, "kube_rekey_last_successful_turn_age_seconds", METRICS_GAUGE,
		       "How long ago a turn succeeded last; a whole sweep is one turn.");
	if (view->turned_at)
		metrics_seconds(w, NULL, 0, view->now - view->turned_at);
	write_results(w, "kube_rekey_events_total", "Events about rotations that were sent.", view->events,
		      view->failed_events);
	metrics_family(w, "kube_rekey_rotations_done_total", METRICS_COUNTER,
		       "Rotations that this process brought to their end.");
	metrics_u64(w, NULL, 0, view->rotations_done);
}

/* --- the rotation --- */

static void write_phase(struct metrics_text *w, const char *phase)
{
	bool named = false;
	metrics_family(w, "kube_rekey_rotation_phase", METRICS_GAUGE,
		       "1 for the phase of the rotation that goes on, 0 for every other.");
	for (int i = 0; i <= PHASE_DONE; i++) {
		const char *name = phase_name((enum phase)i);
		bool now = text_equal(name, phase);
		metrics_u64(w, &(struct metrics_label){"phase", name}, 1, now);
		named = named || now;
	}
	if (!named && !text_empty(phase))
		metrics_u64(w, &(struct metrics_label){"phase", phase}, 1, 1);
}

/* A sample of one gauge where there is a rotation, and a value. */
static void write_of(struct metrics_text *w, const char *name, const char *help, bool known, uint64_t value)
{
	metrics_family(w, name, METRICS_GAUGE, help);
	if (known)
		metrics_u64(w, NULL, 0, value);
}

static void write_rotation(struct metrics_text *w, const struct key_rotation *rotation)
{
	const struct key_rotation_status *status = rotation ? &rotation->status : NULL;
	metrics_family(w, "kube_rekey_rotation_info", METRICS_GAUGE, "The KeyRotation that goes on.");
	if (rotation)
		metrics_u64(w, &(struct metrics_label){"rotation", rotation->meta.name}, 1, 1);
	write_phase(w, status ? status->phase : NULL);
	write_of(w, "kube_rekey_rotation_step", "The configuration of the path that every server has, or is past.",
		 status && status->step != STEP_NONE, status ? (uint64_t)status->step : 0);
	write_of(w, "kube_rekey_rotation_epoch", "The epoch of the orders.", status, status ? status->epoch : 0);
	write_of(w, "kube_rekey_rotation_paused", "Whether a person paused it.", status,
		 rotation && rotation->spec.paused);
	write_of(w, "kube_rekey_rotation_degraded", "Whether something stands in its way: condition Degraded.", status,
		 rotation && key_rotation_holds(rotation, "Degraded"));
	write_of(w, "kube_rekey_converged", "Whether every API server was seen to run one configuration.", status,
		 rotation && key_rotation_holds(rotation, "Converged"));
}

/* --- servers --- */

static void write_answering(struct metrics_text *w, const struct metrics_label *label,
			    const struct controller_view_server *server)
{
	metrics_u64(w, label, 1, server->answering);
}

static void write_step(struct metrics_text *w, const struct metrics_label *label, int step)
{
	if (step != STEP_NONE)
		metrics_u64(w, label, 1, (uint64_t)step);
}

static void write_file_step(struct metrics_text *w, const struct metrics_label *label,
			    const struct controller_view_server *server)
{
	write_step(w, label, server->file_step);
}

static void write_loaded_step(struct metrics_text *w, const struct metrics_label *label,
			      const struct controller_view_server *server)
{
	write_step(w, label, server->loaded_step);
}

static void write_report_age(struct metrics_text *w, const struct metrics_label *label,
			     const struct controller_view_server *server)
{
	if (server->reported)
		metrics_seconds(w, label, 1, server->report_age);
}

static void write_epoch(struct metrics_text *w, const struct metrics_label *label,
			const struct controller_view_server *server)
{
	metrics_u64(w, label, 1, server->epoch);
}

static void write_servers(struct metrics_text *w, const struct controller_view *view)
{
	static const struct {
		const char *name, *help;
		void (*write)(struct metrics_text *w, const struct metrics_label *label,
			      const struct controller_view_server *server);
	} families[] = {
		{"kube_rekey_server_answering", "Whether the API server answered at its own address and to its agent.",
		 write_answering},
		{"kube_rekey_server_file_step", "The step of the path that its file has.", write_file_step},
		{"kube_rekey_server_loaded_step", "The step of the path that it has loaded.", write_loaded_step},
		{"kube_rekey_server_report_age_seconds", "How old its agent's last report is.", write_report_age},
		{"kube_rekey_server_epoch", "The epoch that its agent has acknowledged.", write_epoch},
	};
	for (size_t f = 0; f < ELEMENTS(families); f++) {
		metrics_family(w, families[f].name, METRICS_GAUGE, families[f].help);
		for (size_t i = 0; i < view->server_count; i++)
			families[f].write(w, &(struct metrics_label){"server", view->servers[i].name},
					  &view->servers[i]);
	}
}

/* --- sweep and census --- */

static void write_sweep(struct metrics_text *w, const struct key_rotation_status *status)
{
	bool known = status && status->progress.total > 0;
	write_of(w, "kube_rekey_sweep_objects", "Objects that the last sweep has to rewrite.", known,
		 known ? status->progress.total : 0);
	write_of(w, "kube_rekey_sweep_objects_done", "Of these, those that it is done with.", known,
		 known ? status->progress.done : 0);
	write_of(w, "kube_rekey_sweep_objects_per_second", "How fast it is.", known,
		 known ? status->progress.per_second : 0);
	write_of(w, "kube_rekey_sweep_remaining_seconds", "How long it will take; 0: not known.", known,
		 known ? status->progress.eta_seconds : 0);
	write_of(w, "kube_rekey_quarantined_objects", "Objects that could not be rewritten by the last sweep.", status,
		 status ? status->quarantined.count : 0);
}

static const char *class_of(const struct census_group *group)
{
	return group->unknown ? "unknown" : group->foreign ? "foreign" : group->expected ? "expected" : "known";
}

static bool same_labels(const struct census_group *a, const struct census_group *b)
{
	return text_equal(a->resource, b->resource) && text_equal(a->name, b->name) && a->type == b->type &&
	       a->kms_version == b->kms_version && text_equal(class_of(a), class_of(b));
}

/* Prometheus refuses a text that has the same labels twice: equal groups are one. */
static void write_group(struct metrics_text *w, const struct census_observation *census, size_t at)
{
	const struct census_group *group = &census->groups[at];
	_cleanup_free_ char *kms = xasprintf("kms-v%u", group->kms_version);
	uint64_t values = 0;
	for (size_t i = 0; i < census->group_count; i++) {
		bool same = same_labels(group, &census->groups[i]);
		if (same && i < at)
			return;
		values += same ? census->groups[i].values : 0;
	}
	const struct metrics_label labels[] = {{"resource", group->resource ? group->resource : ""},
					       {"provider", group->kms_version > 0 ? kms : provider_name(group->type)},
					       {"key", group->name ? group->name : ""},
					       {"class", class_of(group)}};
	metrics_u64(w, labels, ELEMENTS(labels), values);
}

static void write_census(struct metrics_text *w, const struct controller_view *view)
{
	const struct census_observation *census =
		view->census && view->census->finished && view->rotation ? view->census : NULL;
	write_of(w, "kube_rekey_census_complete", "Whether the last census saw every value of every etcd.", census,
		 census && census->complete);
	metrics_family(w, "kube_rekey_census_age_seconds", METRICS_GAUGE, "How long ago it was finished.");
	if (census)
		metrics_seconds(w, NULL, 0, view->now > census->finished ? view->now - census->finished : 0);
	write_of(w, "kube_rekey_census_unopened_values", "Values that the key of their name does not open.", census,
		 census ? census->does_not_open : 0);
	metrics_family(w, "kube_rekey_census_values", METRICS_GAUGE, "Values in etcd, by the key that they are under.");
	for (size_t i = 0; census && i < census->group_count; i++)
		write_group(w, census, i);
}

void controller_metrics_write(struct metrics_text *w, const struct controller_view *view)
{
	process_metrics_write(w, view->wall);
	write_turns(w, view);
	write_rotation(w, view->rotation);
	write_servers(w, view);
	write_sweep(w, view->rotation ? &view->rotation->status : NULL);
	write_census(w, view);
}
