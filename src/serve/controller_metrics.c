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

static bool same_labels(const struct census_group *a, const struct census_group *b)
{
	return text_equal(a->resource, b->resource) && text_equal(a->name, b->name) && a->type == b->type &&
	       a->kms_version == b->kms_version && text_equal(census_group_class(a), census_group_class(b));
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
					       {"class", census_group_class(group)}};
	metrics_u64(w, labels, ELEMENTS(labels), values);
}

static void write_census(struct metrics_text *w, const struct controller_view *view)
{
	const struct census_observation *census = view->census && view->census->finished ? view->census : NULL;
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

/* --- while nothing is rotated --- */

static void write_drift(struct metrics_text *w, const struct controller_view *view)
{
	const struct drift *drift = view->drift;
	metrics_family(w, "kube_rekey_census_interval_seconds", METRICS_GAUGE,
		       "How often every value is read while nothing is rotated; 0: never.");
	metrics_seconds(w, NULL, 0, view->options ? view->options->census_interval : 0);
	metrics_family(w, "kube_rekey_stale_objects", METRICS_GAUGE,
		       "Values that are not under the write key of their rule, by the last census; none while a "
		       "rotation goes on.");
	for (size_t i = 0; drift && i < drift->resource_count; i++)
		metrics_u64(w, &(struct metrics_label){"resource", drift->resources[i].resource}, 1,
			    drift->resources[i].stale);
	write_of(w, "kube_rekey_unreadable_objects",
		 "Values of no known form, or under a key that their rule does not have, by the last census.", drift,
		 drift ? drift->unreadable : 0);
	metrics_family(w, "kube_rekey_stale_seconds", METRICS_GAUGE,
		       "Since a census first found what is stale now; 0: nothing is.");
	if (drift)
		metrics_seconds(w, NULL, 0, view->drift_since ? view->now - view->drift_since : 0);
	metrics_family(w, "kube_rekey_drifts_ended_total", METRICS_COUNTER,
		       "How often a census found nothing stale any more.");
	metrics_u64(w, NULL, 0, view->drifts_ended);
	metrics_family(w, "kube_rekey_drift_seconds_total", METRICS_COUNTER,
		       "From the census that found it to the one that found it mended, of all that ended.");
	metrics_seconds(w, NULL, 0, view->drifts_ended_ns);
}

/* --- keys and their plugins, as agents report them --- */

/* Several servers write with one key, and rules share it: told once. */
static void write_key_age(struct metrics_text *w, const struct config_key *key, uint64_t wall, struct strings *told)
{
	_cleanup_free_ char *label = config_key_label(key);
	uint64_t made;
	if (!key_name_time(key->name, &made) || strings_has(told, label))
		return;
	strings_add(told, label);
	metrics_seconds(w, &(struct metrics_label){"key", label}, 1, wall > made ? wall - made : 0);
}

static void write_key_ages(struct metrics_text *w, const struct controller_view *view)
{
	_cleanup_strings_ told = {0};
	metrics_family(w, "kube_rekey_write_key_age_seconds", METRICS_GAUGE,
		       "How old each write key is, where its name tells: that of one that kube-rekey made.");
	for (size_t i = 0; view->fleet && i < view->fleet->count; i++) {
		const struct config_shape *shape = view->fleet->servers[i].last->status.configuration;
		for (size_t r = 0; shape && r < shape->rule_count; r++)
			write_key_age(w, &shape->rules[r].keys[0], view->wall, &told);
	}
}

static bool told_before(const struct key_server_status *status, size_t at)
{
	for (size_t k = 0; k < at; k++)
		if (text_equal(status->kms[k].name, status->kms[at].name))
			return true;
	return false;
}

static void write_plugin(struct metrics_text *w, const struct key_server *server, bool healthy)
{
	const struct key_server_status *status = &server->status;
	for (size_t k = 0; k < status->kms_count; k++) {
		const struct key_server_kms *kms = &status->kms[k];
		if (told_before(status, k))
			continue;
		const struct metrics_label labels[] = {{"server", server->meta.name},
						       {"provider", kms->name ? kms->name : ""},
						       {"key_id", kms->key_id ? kms->key_id : ""}};
		if (healthy)
			metrics_u64(w, labels, ELEMENTS(labels) - 1, text_equal(kms->healthz, "ok"));
		else if (!text_empty(kms->key_id))
			metrics_u64(w, labels, ELEMENTS(labels), 1);
	}
}

static void write_plugins(struct metrics_text *w, const struct controller_view *view)
{
	size_t count = view->fleet ? view->fleet->count : 0;
	metrics_family(w, "kube_rekey_kms_healthy", METRICS_GAUGE,
		       "Whether the KMS v2 plugin beside the server says ok, as its agent reports.");
	for (size_t i = 0; i < count; i++)
		write_plugin(w, view->fleet->servers[i].last, true);
	metrics_family(w, "kube_rekey_kms_key_info", METRICS_GAUGE,
		       "Which key ID the plugin beside the server encrypts with, as its agent reports.");
	for (size_t i = 0; i < count; i++)
		write_plugin(w, view->fleet->servers[i].last, false);
}

static void write_agents(struct metrics_text *w, const struct controller_view *view)
{
	metrics_family(w, "kube_rekey_agent_silent_seconds", METRICS_GAUGE,
		       "Since when no new report of the server's agent was read.");
	for (size_t i = 0; view->fleet && i < view->fleet->count; i++) {
		const struct fleet_server *server = &view->fleet->servers[i];
		if (server->last->status.beat > 0)
			metrics_seconds(w, &(struct metrics_label){"server", server->last->meta.name}, 1,
					view->now > server->beat_read_at ? view->now - server->beat_read_at : 0);
	}
}

void controller_metrics_write(struct metrics_text *w, const struct controller_view *view)
{
	process_metrics_write(w, view->wall);
	write_turns(w, view);
	write_rotation(w, view->rotation);
	write_servers(w, view);
	write_sweep(w, view->rotation ? &view->rotation->status : NULL);
	write_census(w, view);
	write_drift(w, view);
	write_key_ages(w, view);
	write_plugins(w, view);
	write_agents(w, view);
}
