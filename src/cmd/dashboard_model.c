#include "cmd/dashboard_model.h"

#include <string.h>

#include "base/clock.h"
#include "cmd/dashboard_objects.h"
#include "cmd/dashboard_words.h"
#include "cmd/fleet_todo.h"

#define WORDS_MAX 1024
#define GRID_MAX 16 /* servers; a larger grid is told in words */
#define OTHERS_MAX 10
#define EVENTS_SHOWN 100
#define FIRST_REPORT (2 * FLEET_INTERVAL + NS_PER_S) /* whoever reports was seen to by then */

/* --- small things --- */

static void member_words(struct json_writer *w, const char *key, const char *text)
{
	_cleanup_free_ char *words = text_printable_or(text, WORDS_MAX, "");
	json_member_string(w, key, text ? words : NULL);
}

/* Takes `words`. */
static void member_made(struct json_writer *w, const char *key, char *words)
{
	json_member_string(w, key, words);
	free(words);
}

static void member_number(struct json_writer *w, const char *key, int step)
{
	json_key(w, key);
	if (step == STEP_NONE)
		json_null(w);
	else
		json_i64(w, step);
}

static void member_list(struct json_writer *w, const char *key, const struct strings *list)
{
	json_key(w, key);
	json_array_begin(w);
	for (size_t i = 0; i < list->count; i++) {
		_cleanup_free_ char *words = text_printable_or(list->items[i], WORDS_MAX, "");
		json_string(w, words);
	}
	json_array_end(w);
}

/* --- where it comes from --- */

/* How long ago what is shown was whole: of objects that only a list or a watch brings, no more is known. */
static uint64_t data_age(const struct dashboard_scene *scene)
{
	uint64_t age = 0;
	for (int kind = 0; kind <= DASHBOARD_SERVER; kind++) {
		const struct dashboard_source *source = &scene->store->sources[kind];
		uint64_t mine = source->synced ? 0 : scene->now - source->synced_at;
		age = mine > age ? mine : age;
	}
	return age / NS_PER_S;
}

static bool never_seen(const struct dashboard_store *store)
{
	return store->sources[DASHBOARD_ROTATION].synced_at == 0 || store->sources[DASHBOARD_SERVER].synced_at == 0;
}

static const char *problem_of(const struct dashboard_store *store)
{
	for (int kind = 0; kind <= DASHBOARD_SERVER; kind++)
		if (store->sources[kind].problem)
			return store->sources[kind].problem;
	for (int kind = 0; kind <= DASHBOARD_SERVER; kind++)
		if (store->sources[kind].broken)
			return store->sources[kind].broken;
	return NULL;
}

static void write_data(struct json_writer *w, const struct dashboard_scene *scene)
{
	const struct dashboard_store *store = scene->store;
	bool known = !never_seen(store);
	json_key(w, "data");
	json_object_begin(w);
	member_words(w, "from", scene->server);
	json_member_bool(w, "known", known);
	json_member_bool(w, "live",
			 store->sources[DASHBOARD_ROTATION].synced && store->sources[DASHBOARD_SERVER].synced);
	json_member_u64(w, "ageSeconds", known ? data_age(scene) : 0);
	member_words(w, "problem", problem_of(store));
	json_key(w, "replay");
	if (scene->replay) {
		json_object_begin(w);
		json_member_u64(w, "decision", scene->decision);
		json_member_u64(w, "decisions", scene->decisions);
		member_words(w, "at", scene->decided_at);
		json_object_end(w);
	} else {
		json_null(w);
	}
	json_object_end(w);
}

static bool nobody_leads(const struct dashboard_scene *scene)
{
	const struct dashboard_store *store = scene->store;
	return store->sources[DASHBOARD_LEASE].synced && leader_missing(&store->leader, scene->now);
}

static char *controller_words(const struct dashboard_scene *scene)
{
	const struct dashboard_store *store = scene->store;
	const struct dashboard_source *lease = &store->sources[DASHBOARD_LEASE];
	if (scene->replay)
		return NULL;
	if (!lease->synced)
		return xasprintf("whether one leads is not known%s%s", lease->problem ? ": " : "",
				 lease->problem ? lease->problem : "");
	return leader_words(&store->leader, scene->now);
}

/* --- the rotation --- */

static void write_rule(struct json_writer *w, const struct key_rotation *rotation, const struct config_rule *rule)
{
	const struct strings resources = {rule->resources, rule->resource_count};
	json_object_begin(w);
	member_list(w, "resources", &resources);
	json_key(w, "keys");
	json_array_begin(w);
	for (size_t k = 0; k < rule->key_count; k++) {
		_cleanup_free_ char *label = config_key_label(&rule->keys[k]);
		json_object_begin(w);
		member_words(w, "key", label);
		json_member_string(w, "role",
				   dashboard_role(rotation, provider_name(rule->keys[k].type), rule->keys[k].name));
		json_object_end(w);
	}
	json_array_end(w);
	json_object_end(w);
}

/* Between two configurations servers are on either side: the position is the one that all have reached. */
static const char *station_state(const struct key_rotation *rotation, int step)
{
	int here = rotation->status.step;
	bool back = key_rotation_goes_back(rotation);
	if (here == STEP_NONE)
		return "ahead";
	if (step == here)
		return "here";
	if (back && step > rotation->status.back_from)
		return "not reached";
	return (step < here) != back ? "done" : "ahead";
}

static void write_stations(struct json_writer *w, const struct key_rotation *rotation)
{
	json_key(w, "stations");
	json_array_begin(w);
	for (size_t i = 0; i < rotation->status.step_count; i++) {
		const struct config_shape *shape = rotation->status.steps[i];
		json_object_begin(w);
		json_member_u64(w, "number", i);
		json_member_string(w, "state", station_state(rotation, (int)i));
		json_key(w, "rules");
		json_array_begin(w);
		for (size_t r = 0; r < shape->rule_count; r++)
			write_rule(w, rotation, &shape->rules[r]);
		json_array_end(w);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_conditions(struct json_writer *w, const struct key_rotation *rotation)
{
	json_key(w, "conditions");
	json_array_begin(w);
	for (size_t i = 0; i < rotation->status.condition_count; i++) {
		const struct key_rotation_condition *condition = &rotation->status.conditions[i];
		json_object_begin(w);
		member_words(w, "type", condition->type);
		member_words(w, "status", condition->status);
		member_words(w, "reason", condition->reason);
		member_words(w, "message", condition->message);
		member_words(w, "since", condition->last_transition_time);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_quarantine(struct json_writer *w, const struct key_rotation *rotation)
{
	json_key(w, "quarantine");
	json_object_begin(w);
	json_member_u64(w, "count", rotation->status.quarantined.count);
	json_key(w, "items");
	json_array_begin(w);
	for (size_t i = 0; i < rotation->status.quarantined.item_count; i++) {
		const struct key_rotation_quarantined *item = &rotation->status.quarantined.items[i];
		json_object_begin(w);
		member_words(w, "resource", item->resource);
		member_words(w, "namespace", item->namespace_);
		member_words(w, "name", item->name);
		member_words(w, "why", item->why);
		json_object_end(w);
	}
	json_array_end(w);
	json_object_end(w);
}

static void write_progress(struct json_writer *w, const struct key_rotation *rotation, bool told)
{
	json_key(w, "progress");
	if (rotation->status.progress.total == 0) {
		json_null(w);
		return;
	}
	json_object_begin(w);
	json_member_u64(w, "total", rotation->status.progress.total);
	json_member_u64(w, "done", rotation->status.progress.done);
	/* Those of a controller that is gone are of then, not of now. */
	json_member_u64(w, "perSecond", told ? rotation->status.progress.per_second : 0);
	json_member_u64(w, "etaSeconds", told ? rotation->status.progress.eta_seconds : 0);
	member_words(w, "namespace", rotation->status.progress.namespace_);
	member_made(w, "words", rotation_progress_words(rotation, told));
	json_object_end(w);
}

static void write_rotation(struct json_writer *w, const struct fleet_view *view)
{
	const struct key_rotation *rotation = view->rotation;
	json_key(w, "rotation");
	if (!rotation) {
		json_null(w);
		return;
	}
	const struct key_rotation_status *status = &rotation->status;
	const struct key_rotation_condition *progressing = key_rotation_condition(status, "Progressing");
	_cleanup_free_ char *from = rotation_keys(status->old_keys, status->old_key_count);
	_cleanup_free_ char *to = rotation_keys(status->new_keys, status->new_key_count);
	_cleanup_free_ char *phase = rotation_words(rotation);
	bool over = rotation_is_over(rotation);
	json_object_begin(w);
	member_words(w, "name", rotation->meta.name);
	member_words(w, "from", status->old_key_count ? from : status->new_key_count ? "plaintext" : NULL);
	member_words(w, "to", status->new_key_count ? to : NULL);
	member_words(w, "phase", phase);
	json_member_bool(w, "over", over);
	json_member_bool(w, "blocked", !over && text_equal(status->phase, phase_name(PHASE_BLOCKED)));
	json_member_bool(w, "goesBack", key_rotation_goes_back(rotation));
	json_member_string(w, "doing", dashboard_doing(status->outcome ? status->outcome : status->phase));
	member_words(w, "why", progressing ? progressing->message : NULL);
	member_words(w, "since", progressing ? progressing->last_transition_time : NULL);
	member_words(w, "started", status->started_at);
	member_words(w, "completed", status->completed_at);
	member_number(w, "step", status->step);
	write_stations(w, rotation);
	write_progress(w, rotation, view->told);
	write_conditions(w, rotation);
	write_quarantine(w, rotation);
	member_list(w, "proof", &status->evidence);
	member_list(w, "remains", &status->remains);
	json_object_end(w);
}

/* --- the servers --- */

static bool is_well(const struct viewed_server *server)
{
	return server->status && server->reporting && server->status->answering && !server->status->refuses_file;
}

/* Whose agent has not had the time to be seen reporting. */
static bool may_yet_report(const struct dashboard_scene *scene, const char *name)
{
	const struct fleet_server *told = fleet_find(&scene->store->fleet, name);
	return told && told->looked_at == 0 && scene->now <= told->beat_read_at + FIRST_REPORT;
}

static void write_server(struct json_writer *w, const struct dashboard_scene *scene, const struct viewed_server *server)
{
	_cleanup_free_ char *words = viewed_server_words(server);
	bool yet = server->status && may_yet_report(scene, server->name);
	json_object_begin(w);
	member_words(w, "name", server->name);
	member_words(w, "version", server->status ? server->status->version : NULL);
	member_made(w, "words", xasprintf("%s%s", words, yet ? "; whether its agent reports is being looked at" : ""));
	json_member_bool(w, "well", is_well(server) && !yet);
	json_member_bool(w, "forgotten", server->set && server->set->forgotten);
	member_number(w, "file", server->file_step);
	member_number(w, "loaded",
		      server->status && server->status->loaded_is_file ? server->file_step : server->loaded_step);
	json_object_end(w);
}

static void write_grid(struct json_writer *w, const struct fleet_view *view)
{
	json_key(w, "canaries");
	if (!fleet_view_any_canary(view) || view->server_count > GRID_MAX) {
		json_null(w);
		return;
	}
	json_array_begin(w);
	for (size_t by = 0; by < view->server_count; by++) {
		json_object_begin(w);
		member_words(w, "by", view->servers[by].name);
		json_key(w, "found");
		json_array_begin(w);
		for (size_t through = 0; through < view->server_count; through++) {
			_cleanup_free_ char *words =
				viewed_server_canary(&view->servers[by], view->servers[through].name);
			json_string(w, words);
		}
		json_array_end(w);
		json_object_end(w);
	}
	json_array_end(w);
}

/* --- what happened --- */

static void write_namespaces(struct json_writer *w, const struct dashboard_store *store)
{
	json_key(w, "namespaces");
	json_array_begin(w);
	for (size_t i = store->namespace_count; i-- > 0;) {
		json_object_begin(w);
		member_words(w, "name", store->namespaces[i].name);
		json_member_u64(w, "rewritten", store->namespaces[i].rewritten);
		json_member_bool(w, "running", i == store->namespace_now);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_events(struct json_writer *w, const struct dashboard_store *store,
			 const struct key_rotation *rotation)
{
	bool told = store->sources[DASHBOARD_EVENT].synced_at != 0;
	const struct dashboard_events *events = told ? &store->events : &store->notes;
	size_t shown = 0;
	json_member_bool(w, "eventsSeen", !told);
	member_words(w, "eventsProblem", store->sources[DASHBOARD_EVENT].problem);
	json_key(w, "events");
	json_array_begin(w);
	for (size_t i = events->count; i-- > 0 && rotation && shown < EVENTS_SHOWN;) {
		const struct dashboard_event *event = &events->items[i];
		if (!text_equal(event->rotation, rotation->meta.uid))
			continue;
		shown++;
		json_object_begin(w);
		member_words(w, "id", event->uid ? event->uid : event->at);
		member_words(w, "at", event->at);
		member_words(w, "reason", event->reason);
		member_words(w, "note", event->note);
		json_member_bool(w, "warning", event->warning);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_others(struct json_writer *w, const struct fleet_view *view)
{
	size_t others = 0;
	json_key(w, "others");
	json_array_begin(w);
	for (size_t i = view->all->count; i-- > 0;) {
		const struct key_rotation *other = view->all->items[i];
		if (other == view->rotation || others++ >= OTHERS_MAX)
			continue;
		_cleanup_free_ char *words = rotation_words(other);
		json_object_begin(w);
		member_words(w, "name", other->meta.name);
		member_words(w, "phase", words);
		json_object_end(w);
	}
	json_array_end(w);
	json_member_u64(w, "othersInAll", others);
}

/* --- all of it --- */

static bool *reports_of(const struct dashboard_scene *scene)
{
	const struct fleet *fleet = &scene->store->fleet;
	bool *reports = xcalloc(fleet->count + 1, sizeof(*reports));
	for (size_t i = 0; i < fleet->count; i++) {
		const struct fleet_server *server = &fleet->servers[i];
		/* Where we hear nothing ourselves, nobody is called silent for it. */
		bool live = scene->store->sources[DASHBOARD_SERVER].synced && !scene->replay;
		bool seen = server->looked_at && scene->now <= server->looked_at + FLEET_SILENCE;
		reports[i] = !live || seen || may_yet_report(scene, server->last->meta.name);
	}
	return reports;
}

void dashboard_model_write(const struct dashboard_scene *scene, struct json_writer *w)
{
	const struct dashboard_store *store = scene->store;
	const struct key_rotation *rotation = rotations_to_show(&store->rotations, store->name);
	struct fleet_view view = {.rotation = rotation,
				  .all = &store->rotations,
				  .invoked_as = scene->invoked_as,
				  .leader = store->sources[DASHBOARD_LEASE].synced && !scene->replay ? &store->leader
												     : NULL,
				  .told = scene->replay || !nobody_leads(scene),
				  .now = scene->now};
	_cleanup_free_ bool *reports = reports_of(scene);
	_cleanup_free_ struct viewed_server *servers =
		fleet_view_servers(rotation, &store->fleet, reports, &view.server_count);
	_cleanup_strings_ todo = {0};
	char at[28];
	view.servers = servers;
	clock_format(scene->wall, 0, at);
	if (!scene->replay)
		fleet_todo(&view, &todo);
	json_object_begin(w);
	json_member_string(w, "kind", "Dashboard");
	json_member_u64(w, "version", 1);
	json_member_string(w, "at", at);
	write_data(w, scene);
	member_made(w, "controller", controller_words(scene));
	write_rotation(w, &view);
	member_list(w, "todo", &todo);
	json_key(w, "servers");
	json_array_begin(w);
	for (size_t i = 0; i < view.server_count; i++)
		write_server(w, scene, &view.servers[i]);
	json_array_end(w);
	write_grid(w, &view);
	dashboard_objects_write(w, store, rotation);
	write_namespaces(w, store);
	write_events(w, store, rotation);
	write_others(w, &view);
	json_object_end(w);
}
