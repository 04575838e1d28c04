#include "cmd/dashboard_record.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/rotation.h"

#define RECORD_UID "record"

static struct object_key *keys_of_step(const struct config_shape *shape, size_t *ret_count)
{
	struct object_key *keys = xcalloc(shape->rule_count + 1, sizeof(*keys));
	*ret_count = 0;
	for (size_t r = 0; r < shape->rule_count; r++) {
		const struct config_key *key = &shape->rules[r].keys[0];
		bool known = false;
		for (size_t i = 0; i < *ret_count; i++)
			known = known || (text_equal(keys[i].provider, provider_name(key->type)) &&
					  text_equal(keys[i].name, key->name));
		if (!known)
			keys[(*ret_count)++] = (struct object_key){.provider = xstrdup(provider_name(key->type)),
								   .name = xstrdup(key->name)};
	}
	return keys;
}

static struct key_rotation_condition condition(const char *type, bool holds, const char *reason, const char *message)
{
	return (struct key_rotation_condition){.type = xstrdup(type),
					       .status = xstrdup(holds ? "True" : "False"),
					       .reason = xstrdup(reason),
					       .message = xstrdup(message)};
}

/* What this version decides from what was seen: an index of the record's own decision may lead anywhere. */
static char *words_of(const struct record *record, const struct decision *again)
{
	uint64_t wall = 0;
	if (record->at && clock_parse(record->at, &wall) < 0)
		wall = 0;
	const struct decision_clock clock = {.now = record->now, .wall = wall};
	const char *differs = decision_difference(again, &record->decision);
	_cleanup_free_ char *words = decision_text(again, record->path, &record->observation, &clock);
	return xasprintf("%s%s%s%s", words, differs ? " (the record has another " : "", differs ? differs : "",
			 differs ? ")" : "");
}

static struct key_rotation *rotation_of(const struct record *record)
{
	struct key_rotation *rotation = key_rotation_new("(flight record)");
	struct key_rotation_status *status = &rotation->status;
	const struct observation *seen = &record->observation;
	const struct decision again = record_replay(record);
	_cleanup_free_ char *words = words_of(record, &again);
	bool blocked = again.action == ACTION_BLOCKED;
	rotation->meta.uid = xstrdup(RECORD_UID);
	status->phase = xstrdup(phase_name(again.phase));
	status->step = again.step;
	status->steps = xcalloc(record->path->count, sizeof(struct config_shape *));
	for (size_t i = 0; i < record->path->count; i++)
		status->steps[status->step_count++] = config_shape_copy(record->path->steps[i]);
	status->old_keys = keys_of_step(record->path->steps[0], &status->old_key_count);
	status->new_keys = keys_of_step(record->path->steps[record->path->count - 1], &status->new_key_count);
	status->conditions = xcalloc(2, sizeof(*status->conditions));
	status->conditions[0] = condition("Progressing", !blocked, decision_reason(&again), words);
	status->conditions[1] =
		condition("Degraded", blocked, blocked ? reason_name(again.reason) : "None", blocked ? words : "");
	status->condition_count = 2;
	status->outcome = again.action == ACTION_DONE ? xstrdup(phase_name(PHASE_DONE)) : NULL;
	status->quarantined.count = seen->sweep.quarantined;
	return rotation;
}

static void take_census(const struct census_observation *census, struct key_server_status *ret)
{
	ret->census.complete = census->finished && census->complete;
	ret->census.revision = census->revision;
	ret->census.groups = xcalloc(census->group_count + 1, sizeof(*ret->census.groups));
	for (size_t i = 0; i < census->group_count; i++)
		ret->census.groups[ret->census.group_count++] = key_server_group_of(&census->groups[i]);
}

static struct key_server *server_of(const struct server_observation *seen)
{
	struct key_server *server = key_server_new(seen->name ? seen->name : "(no name)");
	struct key_server_status *status = &server->status;
	status->beat = 1;
	status->path_of = xstrdup(RECORD_UID);
	status->answering = seen->answering;
	status->why = xstrdup_or_null(seen->why);
	status->version = xstrdup_or_null(seen->version);
	status->file_step = seen->file == FACT_KNOWN ? seen->file_step : STEP_NONE;
	status->file_hash = xstrdup_or_null(seen->file_hash);
	status->loaded_step = seen->loaded == FACT_KNOWN ? seen->loaded_step : STEP_NONE;
	status->loaded_hash = xstrdup_or_null(seen->loaded_hash);
	status->loaded_is_file = seen->loaded_is_file;
	status->refuses_file = seen->refuses_file;
	status->apply = xstrdup(seen->restarts ? "static-pod" : "reload");
	if (seen->canary_at) {
		status->canaries = xcalloc(1, sizeof(*status->canaries));
		status->canaries[status->canary_count++] =
			(struct key_server_canary){.server = xstrdup(server->meta.name), .step = seen->canary_step};
	}
	return server;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct fleet_server *)a)->last->meta.name,
		      ((const struct fleet_server *)b)->last->meta.name);
}

void dashboard_record_show(struct dashboard_store *store, const struct record *record, uint64_t now)
{
	const struct observation *seen = &record->observation;
	struct fleet fleet = {.servers = xcalloc(seen->server_count + 1, sizeof(struct fleet_server))};
	uint64_t wall = 0;
	for (size_t i = 0; i < seen->server_count; i++)
		fleet.servers[fleet.count++] = (struct fleet_server){
			.last = server_of(&seen->servers[i]), .looked_at = now, .beat_read_at = now};
	if (fleet.count > 0)
		take_census(&seen->census, &fleet.servers[0].last->status);
	qsort(fleet.servers, fleet.count, sizeof(*fleet.servers), by_name);
	if (record->at && clock_parse(record->at, &wall) < 0)
		wall = 0;
	dashboard_store_show(store, rotation_of(record), &fleet, now, wall);
}
