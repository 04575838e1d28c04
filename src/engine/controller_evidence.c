/* What the rotation is known by, kept in its status as it is found: another leader may write its end. */
#include "engine/controller_internal.h"

#define SILENCE "without silence of a server or an etcd member"
#define OPENED "values opened with their keys by the agent of each API server"

/* Whether a new key may write somewhere already. A file that is not known may be any. */
static bool promoted(const struct controller *c)
{
	for (size_t i = 0; i < c->seen.server_count; i++) {
		const struct server_observation *server = &c->seen.servers[i];
		if (server->file != FACT_KNOWN || server->file_step == STEP_NONE)
			return true;
		for (int step = 0; step < server->file_step; step++)
			if (path_changes_write_key(c->path, (size_t)step))
				return true;
	}
	return key_rotation_goes_back(c->rotation);
}

/* In place of another sentence with the same words. */
static bool put(struct strings *evidence, const char *words, const char *line)
{
	if (strings_has(evidence, line))
		return false;
	for (size_t i = 0; i < evidence->count; i++)
		if (strstr(evidence->items[i], words)) {
			replace_text(&evidence->items[i], line);
			return true;
		}
	if (evidence->count < KEY_ROTATION_EVIDENCE_MAX)
		strings_add(evidence, line);
	return true;
}

/* Of the agent that opened least. */
static void tell_opened(struct key_rotation_status *status, const struct census_observation *seen)
{
	if (seen->opened + seen->not_opened == 0)
		return; /* nothing is encrypted, or agents of before do not tell */
	_cleanup_free_ char *opened = text_human_count(seen->opened), *closed = text_human_count(seen->not_opened);
	_cleanup_free_ char *line =
		xasprintf("%s " OPENED ", last at revision %llu; %s %s not%s%s", opened,
			  (unsigned long long)seen->revision, closed, seen->not_opened == 1 ? "was" : "were",
			  seen->why_not_opened ? ": " : "", seen->why_not_opened ? seen->why_not_opened : "");
	put(&status->evidence, OPENED, line);
}

static bool take_census(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	const struct census_observation *seen = &c->census.seen;
	if (!c->path || !seen->complete || seen->finished == 0 || status->after.revision == seen->revision)
		return false;
	if (!status->before.at && !promoted(c))
		key_rotation_take_values(&status->before, seen, clock_wall());
	key_rotation_take_values(&status->after, seen, clock_wall());
	tell_opened(status, seen);
	return true;
}

/* New string. */
static char *shorter_than_the_rule(const struct controller *c)
{
	uint64_t rule = controller_settle_rule(c);
	if (c->seen.settle_time >= rule)
		return xstrdup("");
	_cleanup_free_ char *asked = text_human_duration(c->seen.settle_time), *wanted = text_human_duration(rule);
	return xasprintf(
		" (weaker: settled for %s only, as %s says; the rule is the servers' request timeout and at least "
		"15 s: %s)",
		asked, c->rotation->spec.settle_seconds > 0 ? "spec.settleSeconds" : "--settle", wanted);
}

static bool take_settling(struct controller *c)
{
	if (!c->path || c->settled_ended == 0 || c->settled_ended < c->settled_began)
		return false;
	_cleanup_free_ char *time = text_human_duration(c->settled_ended - c->settled_began);
	_cleanup_free_ char *less = shorter_than_the_rule(c);
	_cleanup_free_ char *line = xasprintf(
		"%s " SILENCE "%s%s%s", time, canary_possible(c->path) ? ", a canary of each server at the end" : "",
		c->seen.members_behind_balancer ? " (weaker: etcd was watched through a balancer)" : "", less);
	return put(&c->rotation->status.evidence, SILENCE, line);
}

bool controller_take_evidence(struct controller *c)
{
	bool changed = take_census(c);
	return take_settling(c) || changed;
}

/* --- at the end --- */

static uint64_t values_under(const struct key_rotation_values *values, const struct object_key *keys, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < values->count; i++)
		for (size_t k = 0; k < count; k++)
			if (text_equal(values->items[i].class, "known") &&
			    text_equal(values->items[i].provider, keys[k].provider) &&
			    text_equal(values->items[i].name, keys[k].name))
				sum += values->items[i].values;
	return sum;
}

static void tell_census(struct key_rotation_status *status)
{
	bool back = status->back_from != STEP_NONE; /* then the new keys left */
	uint64_t all = 0, left = back ? values_under(&status->after, status->new_keys, status->new_key_count)
				      : values_under(&status->after, status->old_keys, status->old_key_count);
	if (!status->after.at)
		return;
	for (size_t i = 0; i < status->after.count; i++)
		all += status->after.items[i].values;
	_cleanup_free_ char *values = text_human_count(all);
	_cleanup_free_ char *line =
		xasprintf("every value in etcd read by the agent of each API server, last at revision %llu: %s values, "
			  "%llu under "
			  "keys that left",
			  (unsigned long long)status->after.revision, values, (unsigned long long)left);
	put(&status->evidence, "every value in etcd read by", line);
}

static void tell_servers(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	size_t loaded = 0, by_hash = 0;
	for (size_t i = 0; i < c->seen.server_count; i++) {
		const struct server_observation *seen = &c->seen.servers[i];
		if (seen->loaded != FACT_KNOWN || !seen->loaded_is_file)
			continue;
		loaded++;
		by_hash += seen->evidence == LOADED_BY_HASH;
		for (size_t s = 0; s < status->server_count; s++)
			if (text_equal(status->servers[s].name, seen->name) && seen->loaded_hash)
				replace_text(&status->servers[s].loaded, seen->loaded_hash);
	}
	_cleanup_free_ char *line = xasprintf(
		"%zu of %zu API servers were seen to have loaded their file at the end, %zu by their own loaded hash%s",
		loaded, c->seen.server_count, by_hash,
		by_hash < loaded ? " (the others by reload counters and canaries: weaker)" : "");
	put(&status->evidence, "API servers were seen to have loaded", line);
}

static void tell_rescues(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	_cleanup_strings_ names = {0};
	if (status->rescues == 0)
		return;
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_status *told = controller_status(c, i);
		if (told && told->rescues > 0 && text_equal(told->path_of, c->rotation->meta.uid))
			strings_add(&names, c->servers[i].name);
	}
	_cleanup_free_ char *all = strings_join(&names, ", ");
	_cleanup_free_ char *line =
		xasprintf("a key had to be put back%s%s (Rescue)", names.count ? " into the file of " : "", all);
	put(&status->evidence, "(Rescue)", line);
}

void controller_end_evidence(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	if (!c->path)
		return;
	controller_kms_tell_left(c);
	tell_census(status);
	tell_servers(c);
	_cleanup_free_ char *gap = canary_gap_text(c->path);
	if (gap)
		put(&status->evidence, "no canary for", gap);
	tell_rescues(c);
}
