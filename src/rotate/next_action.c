/* One question after the other, from "what is known?" to "what is the next step?"; the first that is not answered well
 * decides. Every function answers true when it has filled in the decision. */
#include "kube-rekey/next_action.h"

#include <string.h>

#include "base/text.h"

struct view {
	const struct path *path;
	const struct observation *seen;
	uint64_t now;
	unsigned rules;
	size_t base;              /* every server is at this step or one further */
	bool last;                /* base is the end of the path */
	bool drops;               /* a key leaves by base -> base + 1 */
	bool promoted;            /* a write key changed by base - 1 -> base, or in the KMS */
	bool follows;             /* the path follows a KMS */
	uint64_t converged_since; /* since when every server at the base runs its file */
	uint64_t writes_since;    /* since when every server writes under the keys that it writes under */
	struct decision *decision;
};

static bool on(const struct view *v, enum rule rule)
{
	return v->rules & rule;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* --- the words for a position --- */

static enum phase phase_of_writing(const struct view *v)
{
	if (v->last)
		return PHASE_VERIFY;
	if (v->drops)
		return PHASE_DROP_OLD_KEY;
	return path_changes_write_key(v->path, v->base) ? PHASE_PROMOTE : PHASE_ADD_READ_KEY;
}

/* Before anything is known of the values; a key that leaves does so much later. */
static enum phase phase_of_looking(const struct view *v)
{
	return v->drops ? PHASE_REENCRYPT : phase_of_writing(v);
}

static enum phase phase_of_waiting(const struct view *v)
{
	if (v->follows)
		return PHASE_AWAIT_WRITE;
	if (v->last || v->drops)
		return PHASE_AWAIT_DROP;
	return path_changes_write_key(v->path, v->base) ? PHASE_AWAIT_WRITE : PHASE_AWAIT_READ;
}

/* --- ways to answer --- */

static bool act(const struct view *v, enum action action, enum phase phase, enum reason reason)
{
	v->decision->action = action;
	v->decision->phase = phase;
	v->decision->reason = reason;
	return true;
}

static bool wait_until(const struct view *v, enum phase phase, enum reason reason, uint64_t due)
{
	v->decision->due = due < v->now + POLL_INTERVAL ? later(due, v->now) : v->now + POLL_INTERVAL;
	return act(v, ACTION_WAIT, phase, reason);
}

static bool wait_for(const struct view *v, enum phase phase, enum reason reason)
{
	return wait_until(v, phase, reason, v->now + POLL_INTERVAL);
}

static bool wait_for_server(const struct view *v, size_t server, enum phase phase, enum reason reason)
{
	v->decision->server = (int)server;
	return wait_for(v, phase, reason);
}

static bool blocked(const struct view *v, enum reason reason)
{
	v->decision->due = v->now + POLL_INTERVAL;
	return act(v, ACTION_BLOCKED, PHASE_BLOCKED, reason);
}

static bool blocked_by_server(const struct view *v, size_t server, enum reason reason)
{
	v->decision->server = (int)server;
	return blocked(v, reason);
}

/* The oldest look that a step in which a key leaves may rest upon. */
static uint64_t oldest_look(const struct view *v)
{
	uint64_t oldest = v->seen->untouched ? UINT64_MAX : v->seen->etcd_looked_at; /* that changes nothing then */
	for (size_t i = 0; i < v->seen->server_count; i++)
		if (v->seen->servers[i].looked_at < oldest)
			oldest = v->seen->servers[i].looked_at;
	return oldest;
}

static bool write_step(const struct view *v, size_t server, size_t to, enum phase phase, enum reason reason)
{
	v->decision->server = (int)server;
	v->decision->to_step = (int)to;
	v->decision->expect_hash = on(v, RULE_FENCED) ? v->seen->servers[server].file_hash : NULL;
	return act(v, ACTION_WRITE_STEP, phase, reason);
}

static bool rescue_beside(const struct view *v);

/* As many as there are servers: more mean that something outside keeps undoing the rotation. */
static bool rescues_are_spent(const struct view *v)
{
	return v->seen->rescues >= RESCUES_MAX * v->seen->server_count;
}

/* Puts a key back as a read key. */
static bool rescue(const struct view *v, size_t server, size_t to, enum reason reason)
{
	if (rescues_are_spent(v))
		return blocked_by_server(v, server, REASON_RESCUED_TWICE);
	if (!v->seen->servers[server].file_ours)
		return rescue_beside(v) || blocked_by_server(v, server, REASON_FILE_EDITED);
	v->decision->rescue = true;
	return write_step(v, server, to, PHASE_RESCUE, reason);
}

/* --- rule 1: which servers, what is in their files, what have they loaded --- */

static enum phase phase_proved(const struct view *v, bool (*left)(const struct view *v));
static bool left_to_follow(const struct view *v);

/* While the position is not clear: what has to be seen is that the furthest step that is known of is loaded. */
static enum phase phase_of_unclear(const struct view *v)
{
	struct view before = *v; /* that step */
	int furthest = STEP_NONE;
	if (v->follows)
		return phase_proved(v, left_to_follow);
	for (size_t i = 0; i < v->seen->server_count; i++) {
		const struct server_observation *server = &v->seen->servers[i];
		if (server->file == FACT_KNOWN && server->file_step > furthest)
			furthest = server->file_step;
	}
	if (furthest <= 0)
		return PHASE_AWAIT_READ;
	before.base = (size_t)furthest - 1;
	before.drops = path_drops(v->path, before.base);
	return phase_of_waiting(&before);
}

static bool servers_unclear(const struct view *v)
{
	if (v->seen->servers_known == FACT_KNOWN && v->seen->server_count > 0)
		return false;
	return rescue_beside(v) || wait_for(v, phase_of_unclear(v), REASON_SET_UNKNOWN);
}

/* A step that only adds read keys is right whatever the server runs or will run. */
static bool only_adds_read_keys(const struct view *v, size_t step)
{
	return step + 1 < v->path->count && !path_drops(v->path, step) && !path_changes_write_key(v->path, step);
}

/* An older file than was written last is there: somebody put it back. */
static bool is_behind(const struct server_observation *server)
{
	return server->file == FACT_KNOWN && server->file_step != STEP_NONE && server->file_step < server->written_step;
}

/* The furthest step up to `to` that the file can be given without a key leaving it. */
static int without_a_drop(const struct view *v, int file_step, int to)
{
	while (to > file_step && path_drops(v->path, (size_t)to - 1))
		to--;
	return to;
}

/* A file that went back behind what its server runs: what runs is put back before the server loads the older one. One
 * that we wrote last is only not loaded yet (an abort goes this way). */
static bool went_back(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (server->written_step != STEP_NONE && server->file_step >= server->written_step)
		return false;
	int to = without_a_drop(v, server->file_step, server->loaded_step);
	return to > server->file_step && rescue(v, i, (size_t)to, REASON_BEHIND);
}

static bool rescue_behind(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (!server->file_ours || !is_behind(server) || rescues_are_spent(v))
		return false;
	if (server->answering && server->loaded == FACT_KNOWN && went_back(v, i))
		return true;
	size_t step = (size_t)server->file_step;
	return only_adds_read_keys(v, step) && rescue(v, i, step + 1, REASON_BEHIND);
}

/* Whether anybody is there who can carry it out: a server's answer shows it, and a look at its file that is not long ago. Who
 * could not comes last, and keeps no other one waiting. */
static unsigned chance_of_rescue(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (server->rescue_fails)
		return 0;
	return server->answering ? 3 : server->looked_at + 10 * POLL_INTERVAL >= v->now ? 2 : 1;
}

/* That one server is down, or its file or what it runs not known or somebody's, or the set of servers not known, keeps no other
 * one from the read keys that it had: values may be under them. Those first who can be helped: beside a server that does not
 * answer the agent may be gone as well. */
static bool rescue_beside(const struct view *v)
{
	for (unsigned chance = 4; chance-- > 0;)
		for (size_t i = 0; i < v->seen->server_count; i++)
			if (chance_of_rescue(v, i) == chance && rescue_behind(v, i))
				return true;
	return false;
}

static bool file_unclear(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (server->file != FACT_KNOWN)
		return rescue_beside(v) || wait_for_server(v, i, phase_of_unclear(v), REASON_FILE_UNKNOWN);
	return server->file_step == STEP_NONE && (rescue_beside(v) || blocked_by_server(v, i, REASON_FILE_EDITED));
}

/* A file that its server will not load goes back to what runs. */
static bool refuses(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (!server->refuses_file || server->loaded_is_file)
		return false;
	if (rescue_beside(v))
		return true;
	bool other_runs = server->loaded == FACT_KNOWN && server->loaded_step != STEP_NONE &&
			  server->loaded_step != server->file_step;
	if (other_runs && server->file_ours &&
	    without_a_drop(v, server->file_step, server->loaded_step) == server->loaded_step)
		return write_step(v, i, (size_t)server->loaded_step, PHASE_RESCUE, REASON_PUT_BACK);
	return blocked_by_server(v, i, REASON_FILE_REFUSED);
}

/* Whether what a server writes with the file of `i` can be read by the other one, with its file and with what it runs. */
static bool reads(const struct view *v, size_t i, const struct server_observation *other)
{
	size_t file = (size_t)v->seen->servers[i].file_step;
	if (other->file_step == STEP_NONE || !path_readable_between(v->path, file, (size_t)other->file_step))
		return false;
	return other->loaded_step == STEP_NONE || path_readable_between(v->path, file, (size_t)other->loaded_step);
}

/* One at a time, and only while all others are ready to serve and to read what it will write. What somebody else put there
 * is his to start with, though it were an old file of ours. */
static bool restart(const struct view *v, size_t i, enum phase phase)
{
	const struct observation *seen = v->seen;
	const struct server_observation *own = &seen->servers[i];
	for (size_t j = 0; j < seen->server_count; j++) {
		if (!seen->servers[j].answering)
			return wait_for_server(v, j, phase, REASON_SERVER_DOWN);
		if (seen->servers[j].restarting || !reads(v, i, &seen->servers[j]))
			return wait_for_server(v, j, phase, REASON_NOT_LOADED);
	}
	if (!own->restarts || !own->file_ours || own->written_step != own->file_step)
		return wait_for_server(v, i, phase, REASON_RESTART_NEEDED);
	v->decision->server = (int)i;
	return act(v, ACTION_RESTART, phase, REASON_RESTART_NEEDED);
}

static bool not_loaded(const struct view *v, size_t i, enum phase phase, enum reason reason)
{
	return v->seen->servers[i].reloads_itself ? wait_for_server(v, i, phase, reason) : restart(v, i, phase);
}

/* It is behind, and rescue_beside() did not help it. */
static bool cannot_be_put_back(const struct view *v, size_t i)
{
	bool spent = v->seen->servers[i].file_ours && rescues_are_spent(v);
	return blocked_by_server(v, i, spent ? REASON_RESCUED_TWICE : REASON_FILE_EDITED);
}

static bool loaded_unclear(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (server->loaded == FACT_KNOWN && server->loaded_step != STEP_NONE)
		return false;
	if (rescue_beside(v))
		return true;
	if (server->loaded == FACT_KNOWN)
		return wait_for_server(v, i, phase_of_unclear(v), REASON_LOADED_FOREIGN);
	/* Neither read again nor restarted with that: what it runs may be further. */
	if (is_behind(server))
		return cannot_be_put_back(v, i);
	if (server->needs_second_nonce)
		return write_step(v, i, (size_t)server->file_step, phase_of_unclear(v), REASON_SECOND_NONCE);
	/* Something else is not as it should be than that it has not loaded its file: to be started now might be its end. */
	if (server->loaded_step != STEP_NONE || server->loaded == FACT_CONTRADICTORY)
		return wait_for_server(v, i, phase_of_unclear(v), REASON_LOADED_UNKNOWN);
	return not_loaded(v, i, phase_of_unclear(v), REASON_LOADED_UNKNOWN);
}

/* A server that is down with a file older than what we wrote may not be able to start: values are under a key that the
 * file lacks. Nobody but us can put it back. */
static bool down(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	if (!on(v, RULE_LOADED) || server->answering)
		return false;
	if (rescue_beside(v))
		return true;
	if (is_behind(server) && only_adds_read_keys(v, (size_t)server->file_step))
		return cannot_be_put_back(v, i);
	return wait_for_server(v, i, phase_of_unclear(v), REASON_SERVER_DOWN);
}

static bool anything_unclear(const struct view *v)
{
	if (servers_unclear(v))
		return true;
	for (size_t i = 0; i < v->seen->server_count; i++) {
		if (down(v, i) || file_unclear(v, i))
			return true;
		if (on(v, RULE_LOADED) && (refuses(v, i) || loaded_unclear(v, i) || went_back(v, i)))
			return true;
	}
	return false;
}

static void find_position(struct view *v)
{
	v->base = v->path->count - 1;
	for (size_t i = 0; i < v->seen->server_count; i++) {
		const struct server_observation *server = &v->seen->servers[i];
		if ((size_t)server->file_step < v->base)
			v->base = (size_t)server->file_step;
		if (on(v, RULE_LOADED) && (size_t)server->loaded_step < v->base)
			v->base = (size_t)server->loaded_step;
	}
	for (size_t i = 0; i < v->seen->server_count; i++) {
		const struct server_observation *server = &v->seen->servers[i];
		v->writes_since = later(v->writes_since, server->writes_since);
		if ((size_t)server->file_step == v->base)
			v->converged_since = later(v->converged_since, server->loaded_since);
	}
	if (v->follows)
		v->converged_since = later(v->converged_since, v->seen->kms_adopted_at);
	v->last = v->base + 1 == v->path->count;
	v->drops = path_drops(v->path, v->base);
	v->promoted = v->follows || (v->base > 0 && path_changes_write_key(v->path, v->base - 1));
	v->decision->step = (int)v->base;
}

static size_t base_of_files(const struct view *v)
{
	size_t base = v->path->count - 1;
	for (size_t i = 0; i < v->seen->server_count; i++)
		if ((size_t)v->seen->servers[i].file_step < base)
			base = (size_t)v->seen->servers[i].file_step;
	return base;
}

/* Where the server that is furthest behind is; what this one itself still runs does not count. */
static size_t base_of_others(const struct view *v, size_t i)
{
	size_t base = base_of_files(v);
	for (size_t j = 0; j < v->seen->server_count; j++) {
		const struct server_observation *other = &v->seen->servers[j];
		if (j != i && on(v, RULE_LOADED) && (size_t)other->loaded_step < base)
			base = (size_t)other->loaded_step;
	}
	return base;
}

/* The furthest step that a server's file may have: one beyond the others, and no key leaves that it still runs with. */
static size_t furthest(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	size_t step = (size_t)server->file_step;
	if (on(v, RULE_LOADED) && server->file_step > server->loaded_step + 1)
		step = (size_t)without_a_drop(v, server->loaded_step, server->file_step);
	return step > base_of_others(v, i) + 1 ? base_of_others(v, i) + 1 : step;
}

static bool too_far_ahead(const struct view *v, size_t i)
{
	return furthest(v, i) < (size_t)v->seen->servers[i].file_step;
}

/* How far back a server that is too far ahead can go while it only gains read keys. */
static size_t back_by_adding(const struct view *v, size_t i)
{
	size_t step = (size_t)v->seen->servers[i].file_step;
	while (step > furthest(v, i) && path_writes_alike(v->path, step - 1, step))
		step--;
	return step;
}

/* Read keys first: a server that wrote under another key while others still lack it would make things worse. */
static bool gain_read_keys(const struct view *v)
{
	const struct observation *seen = v->seen;
	for (size_t i = 0; i < seen->server_count; i++)
		if (back_by_adding(v, i) < (size_t)seen->servers[i].file_step)
			return rescue(v, i, back_by_adding(v, i), REASON_BEHIND);
	for (size_t i = 0; i < seen->server_count; i++)
		if (base_of_files(v) == (size_t)seen->servers[i].file_step && only_adds_read_keys(v, base_of_files(v)))
			return rescue(v, i, base_of_files(v) + 1, REASON_BEHIND);
	return false;
}

/* Something outside put a file there that is more than one step from what another server has: they may not read one
 * another's writes. Those ahead come back, those behind go on, neither by a step in which a key leaves. */
static bool too_far_apart(const struct view *v)
{
	const struct observation *seen = v->seen;
	for (size_t i = 0; i < seen->server_count; i++)
		if (too_far_ahead(v, i))
			return gain_read_keys(v) || rescue(v, i, furthest(v, i), REASON_BEHIND);
	for (size_t i = 0; i < seen->server_count; i++) {
		if (!on(v, RULE_LOADED) || (size_t)seen->servers[i].loaded_step <= v->base + 1)
			continue;
		for (size_t j = 0; j < seen->server_count; j++)
			if ((size_t)seen->servers[j].file_step == v->base && only_adds_read_keys(v, v->base))
				return rescue(v, j, v->base + 1, REASON_BEHIND);
		return not_loaded(v, i, PHASE_RESCUE, REASON_NOT_LOADED);
	}
	return false;
}

static bool still_loading(const struct view *v, size_t i)
{
	const struct server_observation *server = &v->seen->servers[i];
	bool runs_it = server->loaded_is_file && server->loaded_step == server->file_step && server->loaded_since > 0;
	if (!on(v, RULE_LOADED) || runs_it)
		return false;
	if (server->needs_second_nonce)
		return write_step(v, i, (size_t)server->file_step, phase_of_waiting(v), REASON_SECOND_NONCE);
	return not_loaded(v, i, phase_of_waiting(v), REASON_NOT_LOADED);
}

/* The first server whose file still has to take the step; server_count when all have. */
static size_t first_at_base(const struct view *v)
{
	for (size_t i = 0; i < v->seen->server_count; i++)
		if ((size_t)v->seen->servers[i].file_step == v->base)
			return i;
	return v->seen->server_count;
}

static bool not_converged(const struct view *v)
{
	bool some_at_base = first_at_base(v) < v->seen->server_count;
	for (size_t i = 0; i < v->seen->server_count; i++) {
		bool at_base = (size_t)v->seen->servers[i].file_step == v->base;
		/* While a step is under way the servers that have it may load it at their own pace. */
		if ((at_base || !some_at_base) && still_loading(v, i))
			return true;
	}
	return false;
}

/* --- what the census says --- */

static bool counts(const struct census_group *group)
{
	return group->values > 0 && !group->foreign && !group->expected;
}

static bool census_again(const struct view *v, enum phase phase, enum reason reason)
{
	if (v->seen->census.finished + 10 * POLL_INTERVAL > v->now)
		return wait_until(v, phase, reason, v->seen->census.finished + 10 * POLL_INTERVAL);
	return act(v, ACTION_CENSUS, phase, reason);
}

static bool old_census(const struct view *v)
{
	return v->seen->census.finished + FRESH_LOOK < v->now;
}

static struct key_name key_of(const struct census_group *group)
{
	return (struct key_name){group->type, group->kms_version, group->name, group->key_id};
}

/* Outside the map of resources nobody can say which keys a value should be under: only one that left is missed. */
static bool readable_at(const struct view *v, size_t step, const struct census_group *group)
{
	if (group->resource)
		return shape_reads(v->path->steps[step], group->resource, key_of(group));
	return step == 0 || !path_loses(v->path, step - 1, NULL, key_of(group));
}

/* A value that a server's file cannot read: some neighbour on the path can, or nobody can. */
static bool unreadable_for(const struct view *v, size_t i, const struct census_group *group)
{
	size_t step = (size_t)v->seen->servers[i].file_step;
	if (readable_at(v, step, group))
		return false;
	if (old_census(v))
		return act(v, ACTION_CENSUS, PHASE_VERIFY, REASON_UNREADABLE);
	if (only_adds_read_keys(v, step) && readable_at(v, step + 1, group))
		return rescue(v, i, step + 1, REASON_UNREADABLE);
	if (step > 0 && readable_at(v, step - 1, group) && !v->seen->retired)
		return rescue(v, i, step - 1, REASON_STALE_AFTER_DROP);
	return blocked(v, REASON_UNREADABLE);
}

/* A value that no key of its name opens, or that is of no known form: a person has to see to it. */
static bool alarm(const struct view *v, enum reason reason)
{
	return old_census(v) ? act(v, ACTION_CENSUS, PHASE_VERIFY, reason) : blocked(v, reason);
}

static bool group_alarms(const struct view *v, size_t index)
{
	const struct census_group *group = &v->seen->census.groups[index];
	if (!counts(group))
		return false;
	v->decision->group = (int)index;
	if (group->unknown)
		return alarm(v, REASON_UNKNOWN_VALUES);
	for (size_t i = 0; i < v->seen->server_count; i++)
		if (unreadable_for(v, i, group))
			return true;
	v->decision->group = -1;
	return false;
}

/* What was found is there, whatever was missed. A server that lacks a key cannot list what is under it, so that no census
 * is complete before it has the key again. */
static bool read_key_missing(const struct view *v)
{
	for (size_t g = 0; g < v->seen->census.group_count && !old_census(v); g++) {
		const struct census_group *group = &v->seen->census.groups[g];
		for (size_t i = 0; counts(group) && i < v->seen->server_count; i++) {
			size_t step = (size_t)v->seen->servers[i].file_step;
			if (readable_at(v, step, group) || !only_adds_read_keys(v, step) ||
			    !readable_at(v, step + 1, group))
				continue;
			v->decision->group = (int)g;
			return rescue(v, i, step + 1, REASON_UNREADABLE);
		}
	}
	return false;
}

static bool census_alarms(const struct view *v)
{
	const struct census_observation *census = &v->seen->census;
	if (census->begun == 0)
		return act(v, ACTION_CENSUS, phase_of_looking(v), REASON_PREFLIGHT);
	if (!census->complete)
		return read_key_missing(v) || census_again(v, phase_of_looking(v), REASON_CENSUS_INCOMPLETE);
	for (size_t g = 0; g < census->group_count; g++)
		if (group_alarms(v, g))
			return true;
	return census->does_not_open > 0 && alarm(v, REASON_DOES_NOT_OPEN);
}

static bool is_stale(const struct view *v, const struct census_group *group)
{
	return group->resource && !shape_writes(v->path->steps[v->base], group->resource, key_of(group));
}

static uint64_t stale_values(const struct view *v)
{
	uint64_t stale = 0;
	for (size_t g = 0; g < v->seen->census.group_count; g++) {
		const struct census_group *group = &v->seen->census.groups[g];
		if (counts(group) && is_stale(v, group))
			stale += group->values;
	}
	return stale;
}

/* --- the canary that shows each server's write key --- */

static bool canary_wanted(const struct view *v, const struct server_observation *server)
{
	return v->promoted || v->drops || server->evidence == LOADED_BY_RELOADS;
}

static bool canary_missing(const struct view *v)
{
	for (size_t i = 0; i < v->seen->server_count; i++) {
		const struct server_observation *server = &v->seen->servers[i];
		if (!on(v, RULE_LOADED) || server->canary_impossible || !canary_wanted(v, server))
			continue;
		/* A server that already has the next file may show either write key: rule 2 makes them one where a
		 * key leaves. */
		bool shown = server->canary_step == (int)v->base || server->canary_step == (int)v->base + 1;
		shown = shown && (!v->follows || v->seen->kms_adopted_at > 0);
		if (shown && server->canary_process == server->process && server->canary_at >= server->loaded_since)
			continue;
		v->decision->server = (int)i;
		enum phase phase = (v->base > 0 && !v->last) || v->follows ? PHASE_AWAIT_WRITE : phase_of_writing(v);
		return act(v, ACTION_CANARY, phase, REASON_CANARY_MISSING);
	}
	return false;
}

/* --- rewriting --- */

static bool versions_differ(const struct view *v)
{
	for (size_t i = 1; i < v->seen->server_count; i++)
		if (!v->seen->servers[i].version ||
		    !text_equal(v->seen->servers[0].version, v->seen->servers[i].version)) {
			v->decision->server = (int)i;
			return true;
		}
	return false;
}

static bool reencrypt(const struct view *v, bool named_only, enum reason reason)
{
	if (versions_differ(v))
		return wait_for(v, PHASE_REENCRYPT, REASON_VERSIONS_DIFFER);
	v->decision->named_only = named_only;
	return act(v, ACTION_REENCRYPT, PHASE_REENCRYPT, reason);
}

static bool swept(const struct view *v)
{
	const struct sweep_observation *sweep = &v->seen->sweep;
	return sweep->step == (int)v->base && sweep->finished > 0 && sweep->begun >= v->converged_since;
}

/* A census of the converged servers that found nothing stale says as much as a sweep. */
static bool rewriting_left(const struct view *v)
{
	bool census_counts = v->seen->census.begun >= v->converged_since;
	if (swept(v) || (census_counts && stale_values(v) == 0))
		return false;
	return reencrypt(v, false, REASON_STALE);
}

/* --- rule 3a --- */

/* From when on nothing may be silent. Behind a drop the keys that are written under are those of the step before;
 * servers that have dropped already count by their write keys, too. */
static uint64_t settle_from(const struct view *v)
{
	return v->last && !v->promoted ? v->writes_since : later(v->converged_since, v->writes_since);
}

static uint64_t settle_end(const struct view *v, uint64_t quiet_since)
{
	return later(settle_from(v), quiet_since) + v->seen->settle_time;
}

static bool settled(const struct view *v)
{
	return v->seen->settled_ended >= settle_end(v, v->seen->settled_began);
}

static bool member_silent(const struct view *v, enum phase phase)
{
	for (size_t m = 0; m < v->seen->member_count; m++)
		if (!v->seen->members[m].answering && !v->seen->members[m].learner) {
			v->decision->member = (int)m;
			return wait_for(v, phase, REASON_MEMBER_SILENT);
		}
	return false;
}

static bool not_settled(const struct view *v)
{
	const struct observation *seen = v->seen;
	if (!on(v, RULE_SETTLED) || settled(v))
		return false;
	if (seen->members_known != FACT_KNOWN || seen->member_count == 0)
		return wait_for(v, PHASE_SETTLE, REASON_MEMBERS_UNKNOWN);
	if (member_silent(v, PHASE_SETTLE))
		return true;
	uint64_t end = settle_end(v, seen->quiet_since);
	if (seen->quiet_since == 0 || v->now < end)
		return wait_until(v, PHASE_SETTLE, REASON_SETTLING,
				  seen->quiet_since == 0 ? v->now + POLL_INTERVAL : end);
	return act(v, ACTION_CANARY, PHASE_SETTLE, REASON_SETTLING);
}

/* --- rule 3b --- */

static uint64_t census_must_begin_after(const struct view *v)
{
	return later(later(v->converged_since, v->seen->etcd_back_at), v->seen->settled_ended);
}

/* What a sweep that began when nothing could land any more has left, the next would leave too: a person has to see to
 * it. It is tried again whenever the census is old. */
static bool beyond_rewriting(const struct view *v, uint64_t left)
{
	const struct sweep_observation *sweep = &v->seen->sweep;
	if (!swept(v) || sweep->begun < census_must_begin_after(v) || old_census(v))
		return false;
	return blocked(v, left <= sweep->quarantined ? REASON_QUARANTINED : REASON_NOT_LISTED);
}

/* Values in the way: of a resource they are rewritten, or a person sees to them; no API serves the others. */
static bool values_in_the_way(const struct view *v,
			      bool (*in_the_way)(const struct view *, const struct census_group *), enum phase phase)
{
	const struct census_observation *census = &v->seen->census;
	uint64_t left = 0;
	for (size_t g = 0; g < census->group_count; g++) {
		const struct census_group *group = &census->groups[g];
		if (!counts(group) || !in_the_way(v, group))
			continue;
		v->decision->group = (int)g;
		if (!group->resource)
			return old_census(v) ? act(v, ACTION_CENSUS, phase, REASON_OUTSIDE)
					     : blocked(v, REASON_OUTSIDE);
		left += group->values;
	}
	if (left == 0)
		return false;
	if (swept(v) && v->seen->sweep.begun >= census->finished)
		return act(v, ACTION_CENSUS, phase, REASON_SETTLED_CENSUS);
	return beyond_rewriting(v, left) || reencrypt(v, true, REASON_STALE);
}

static bool needs_leaving_key(const struct view *v, const struct census_group *group)
{
	return path_loses(v->path, v->base, group->resource, key_of(group));
}

static bool census_too_early(const struct view *v, enum reason reason)
{
	uint64_t after = census_must_begin_after(v);
	if (v->seen->census.begun >= after && v->seen->census.begun > v->seen->etcd_back_at &&
	    !v->seen->census.unsettled)
		return false;
	/* It begins once its agents see themselves that nothing older can land, and that they do not while one is. */
	return (on(v, RULE_SETTLED) && member_silent(v, PHASE_VERIFY)) || act(v, ACTION_CENSUS, PHASE_VERIFY, reason);
}

/* --- rule 3c --- */

static bool history_left(const struct view *v)
{
	const struct census_observation *census = &v->seen->census;
	/* The last census of a KMS comes when history is over, and has none to wait for. */
	bool over = v->follows ? v->seen->history_ended_at > census_must_begin_after(v) : census->compacted;
	if (!on(v, RULE_HISTORY) || over)
		return false;
	if (v->seen->compact)
		return act(v, ACTION_COMPACT, PHASE_AWAIT_COMPACTION, REASON_HISTORY);
	if (census->compaction_expected < v->now)
		return blocked(v, REASON_NO_COMPACTION);
	return wait_until(v, PHASE_AWAIT_COMPACTION, REASON_HISTORY, census->compaction_expected);
}

/* --- rule 3d --- */

static bool look_too_old(const struct view *v, enum phase phase)
{
	if (!on(v, RULE_FRESH))
		return false;
	uint64_t valid_until = oldest_look(v) + FRESH_LOOK;
	if (valid_until < v->now)
		return member_silent(v, phase) || wait_for(v, phase, REASON_LOOK_TOO_OLD);
	v->decision->valid_until = valid_until;
	return false;
}

/* --- steps --- */

static bool drop_gate(const struct view *v)
{
	if (rewriting_left(v) || not_settled(v))
		return true;
	if (on(v, RULE_CENSUS) &&
	    (census_too_early(v, REASON_SETTLED_CENSUS) || values_in_the_way(v, needs_leaving_key, PHASE_VERIFY)))
		return true;
	return history_left(v) || look_too_old(v, PHASE_DROP_OLD_KEY);
}

/* Rule 2, of a KMS provider that the rotation brings: that all servers read what any writes is shown by their plugins, which
 * name one key ID. */
static bool plugins_unclear(const struct view *v)
{
	if (!v->seen->kms_why || !path_brings_any_kms(v->path, v->base + 1))
		return false;
	return wait_for(v, v->drops ? phase_proved(v, drop_gate) : phase_of_writing(v), REASON_KMS_UNKNOWN);
}

static bool take_step(const struct view *v)
{
	if (v->last)
		return false;
	if (on(v, RULE_READABLE) && !path_step_readable(v->path, v->base))
		return blocked(v, REASON_UNREADABLE_STEP);
	if (on(v, RULE_FRESH) && path_step_drops_write_key(v->path, v->base))
		return blocked(v, REASON_UNREADABLE_STEP);
	size_t server = first_at_base(v);
	if (v->seen->servers[server].refused_before)
		return blocked_by_server(v, server, REASON_FILE_REFUSED);
	if (plugins_unclear(v))
		return true;
	if (v->drops && drop_gate(v))
		return true;
	return write_step(v, server, v->base + 1, phase_of_writing(v), REASON_STEP);
}

/* Of a provider that is followed, under another key ID than it names; what no API serves is not in the rule's hands. */
static bool needs_key_of_before(const struct view *v, const struct census_group *group)
{
	return group->resource ? is_stale(v, group) : shape_needs_key_of_before(v->path->steps[v->base], key_of(group));
}

/* The wait for history may take ten minutes. Of a key ID that came and went meanwhile, between two looks at the plugin, only
 * what was written under it tells: it is looked for once more, and then each server shows that it writes as it did. */
static bool last_proof_missing(const struct view *v)
{
	const struct observation *seen = v->seen;
	if (seen->census.begun < seen->history_ended_at)
		return act(v, ACTION_CENSUS, PHASE_VERIFY, REASON_FINAL_CENSUS);
	for (size_t i = 0; i < seen->server_count; i++) {
		if (seen->servers[i].canary_impossible || seen->servers[i].canary_at >= seen->census.finished)
			continue;
		v->decision->server = (int)i;
		return act(v, ACTION_CANARY, PHASE_VERIFY, REASON_LAST_CANARY);
	}
	return false;
}

static bool retire(const struct view *v)
{
	if (v->seen->retired)
		return act(v, ACTION_DONE, PHASE_DONE, REASON_NONE);
	return look_too_old(v, PHASE_VERIFY) || act(v, ACTION_RETIRE, PHASE_VERIFY, REASON_RETIRE);
}

/* At the end of the path: everything is under the write key and can be read; then the old key is retired. What a
 * process that is gone has proved is proved again. */
static bool finish(const struct view *v)
{
	if (v->follows && !v->seen->kms_moved)
		return wait_for(v, PHASE_AWAIT_WRITE, REASON_KMS_UNMOVED);
	if (v->promoted && rewriting_left(v))
		return true;
	if ((v->base > 0 || v->follows) && not_settled(v))
		return true;
	if (census_too_early(v, REASON_FINAL_CENSUS) ||
	    values_in_the_way(v, v->follows ? needs_key_of_before : is_stale, PHASE_VERIFY))
		return true;
	/* The key ID of before is needed for nothing, history included. */
	if (v->follows && history_left(v))
		return true;
	uint64_t after = later(v->converged_since, v->seen->etcd_back_at);
	if (v->seen->reads_checked_at < after)
		return act(v, ACTION_READ_BACK, PHASE_VERIFY, REASON_FINAL_READS);
	if (v->follows && last_proof_missing(v))
		return true;
	return retire(v);
}

static bool left_to_follow(const struct view *v)
{
	return canary_missing(v) || finish(v);
}

/* As far as what was proved reaches, while somebody is not heard: where `left` would go on. It is neither over meanwhile, nor a
 * person's matter. */
static enum phase phase_proved(const struct view *v, bool (*left)(const struct view *v))
{
	struct decision next = {.phase = phase_of_writing(v)};
	struct view heard = *v;
	heard.decision = &next;
	find_position(&heard);
	(void)left(&heard);
	return next.phase == PHASE_DONE || next.phase == PHASE_BLOCKED ? PHASE_VERIFY : next.phase;
}

static void decide(struct view *v)
{
	if (v->seen->blocked && blocked(v, REASON_TOLD))
		return;
	if (anything_unclear(v))
		return;
	find_position(v);
	if (too_far_apart(v) || not_converged(v))
		return;
	/* Nobody ever had a new key, and no old one leaves: what the values are under changes nothing, and may be why it was
	 * given up. */
	if (v->seen->untouched && retire(v))
		return;
	if (census_alarms(v))
		return;
	if (v->follows && v->seen->kms_why && wait_for(v, phase_proved(v, left_to_follow), REASON_KMS_UNKNOWN))
		return;
	if (canary_missing(v) || take_step(v))
		return;
	finish(v);
}

struct decision next_action_under(const struct path *path, const struct observation *observation, uint64_t now,
				  unsigned rules)
{
	struct decision decision = {.step = STEP_NONE,
				    .to_step = STEP_NONE,
				    .server = -1,
				    .member = -1,
				    .group = -1,
				    .due = now,
				    .valid_until = UINT64_MAX};
	struct view view = {.path = path,
			    .seen = observation,
			    .now = now,
			    .rules = rules,
			    .follows = path_follows_kms(path),
			    .decision = &decision};
	decide(&view);
	return decision;
}

struct decision next_action(const struct path *path, const struct observation *observation, uint64_t now)
{
	return next_action_under(path, observation, now, RULES_ALL);
}
