/* What a rotation did and how it is known: counted along the way, told at the end. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/report_store.h"
#include "engine/rotation_internal.h"

static char *now_text(void)
{
	char text[28];
	clock_format(clock_wall(), 0, text);
	return xstrdup(text);
}

static void copy_strings(struct strings *to, const struct strings *from)
{
	for (size_t i = 0; i < from->count; i++)
		strings_add(to, from->items[i]);
}

void rotation_report_begin(struct rotation *r)
{
	struct rotation_report *report = xcalloc(1, sizeof(*report));
	report->target = xstrdup(r->options.manual ? "manual" : "file");
	report->outcome = xstrdup("Running");
	report->rotation = xstrdup(r->journal->rotation);
	report->started = xstrdup(r->journal->started);
	copy_strings(&report->old_keys, &r->journal->old_keys);
	copy_strings(&report->new_keys, &r->journal->new_keys);
	rotation_kms_report_begin(r->journal, report);
	rotation_report_free(r->report);
	r->report = report;
	r->told = r->in_phase = false;
}

void rotation_report_phase(struct rotation *r, enum phase phase, uint64_t now)
{
	struct rotation_report *report = r->report;
	if (r->in_phase && report->phase_count > 0)
		report->phases[report->phase_count - 1].ns += now - r->phase_since;
	if (!r->in_phase || r->phase != phase) {
		report->phases = xreallocarray(report->phases, report->phase_count + 1, sizeof(*report->phases));
		report->phases[report->phase_count++] = (struct rotation_phase){.phase = phase};
	}
	r->in_phase = true;
	r->phase = phase;
	r->phase_since = now;
}

static struct rotation_resource *count_of(struct rotation_report *report, const char *resource)
{
	for (size_t i = 0; i < report->resource_count; i++)
		if (text_equal(report->resources[i].resource, resource))
			return &report->resources[i];
	report->resources = xreallocarray(report->resources, report->resource_count + 1, sizeof(*report->resources));
	report->resources[report->resource_count] = (struct rotation_resource){.resource = xstrdup(resource)};
	return &report->resources[report->resource_count++];
}

/* Rewrites add up over the sweeps; objects and quarantine are those of the last one that looked. */
void rotation_report_sweep(struct rotation *r, const struct sweep_result *result)
{
	struct rotation_report *report = r->report;
	for (size_t i = 0; i < result->count; i++) {
		const struct sweep_count *more = &result->counts[i];
		struct rotation_resource *sum = count_of(report, more->resource->resource);
		sum->objects = more->objects > sum->objects ? more->objects : sum->objects;
		sum->rewritten += more->rewritten;
		sum->skipped += more->skipped + more->current;
		sum->conflicts += more->conflicts;
		sum->quarantined = more->quarantined;
	}
	object_release_list(&key_rotation_quarantined_record, report->quarantine, report->quarantine_count);
	report->quarantine_count = 0;
	report->quarantine = xcalloc(result->quarantine_named + 1, sizeof(*report->quarantine));
	for (size_t i = 0; i < result->quarantine_named; i++) {
		const struct sweep_quarantined *q = &result->quarantine[i];
		report->quarantine[report->quarantine_count++] = (struct key_rotation_quarantined){
			xstrdup(q->resource->resource), q->namespace_ ? xstrdup(q->namespace_) : NULL, xstrdup(q->name),
			xstrdup(q->why)};
	}
}

/* Before anything writes with a new key, and whenever every value was read. */
void rotation_report_census(struct rotation *r)
{
	struct rotation_report *report = r->report;
	if (!r->census_seen.complete)
		return;
	if (!report->before.at && !journal_promoted(r->journal))
		key_rotation_take_values(&report->before, &r->census_seen, clock_wall());
	key_rotation_take_values(&report->after, &r->census_seen, clock_wall());
	free(report->finished);
	report->finished = now_text();
	rotation_report_keep(r);
}

/* --- what is in the way --- */

static bool loses_outside(const struct rotation *r, int step, struct key_name key)
{
	return (size_t)step + 1 < r->journal->path->count && path_loses(r->journal->path, (size_t)step, NULL, key);
}

/* Another group than the one that was named, or the same. Where a KMS is followed no step loses a key: the key ID of before
 * tells. */
static bool is_in_the_way_too(const struct rotation *r, int step, const struct census_group *named,
			      const struct census_group *group)
{
	if (group->resource || group->foreign || group->unknown)
		return false;
	if (group->key_id)
		return text_equal(group->name, named->name) && text_equal(group->key_id, named->key_id);
	return loses_outside(
		r, step,
		(struct key_name){.type = group->type, .kms_version = group->kms_version, .name = group->name});
}

void rotation_report_outside(struct rotation *r, const struct decision *d)
{
	struct rotation_report *report = r->report;
	const struct census_group *groups = r->census_seen.groups, *group = &groups[d->group];
	/* A resource's own value that no list shows: one of them is known by its path. */
	report->outside_count = group->resource ? group->values : 0;
	for (size_t g = 0; !group->resource && g < r->census_seen.group_count; g++)
		if (is_in_the_way_too(r, d->step, group, &groups[g]))
			report->outside_count += groups[g].values;
	for (size_t i = 0; !group->resource && i < r->census->outside_named; i++) {
		const struct census_outside *value = &r->census->outside[i];
		struct key_name key = {.type = value->provider, .kms_version = value->kms_version, .name = value->name};
		if (!value->unknown && loses_outside(r, d->step, key))
			strings_add(&report->outside, value->path);
	}
	/* A census names a hundred, whatever keys they are under. */
	if (report->outside.count == 0 && group->example)
		strings_add(&report->outside, group->example);
}

/* --- evidence: sentences out of what was seen last --- */

static void tell_census(struct rotation *r)
{
	const struct census *census = r->census;
	struct rotation_report *report = r->report;
	if (!census || !census->complete)
		return;
	report->objects = rotation_objects(r);
	report->revision = census->revision;
	_cleanup_free_ char *objects = text_human_count(report->objects), *opened = text_human_count(census->opened);
	_cleanup_free_ char *line =
		xasprintf("every value in etcd read at revision %llu: %s objects, %llu stale, %llu unreadable; %s%s",
			  (unsigned long long)census->revision, objects, (unsigned long long)census->stale,
			  (unsigned long long)census->unreadable, census->opened > 0 ? opened : "none was opened",
			  census->opened > 0 ? " opened with the present configuration's own keys" : "");
	strings_add(&report->evidence, line);
	for (size_t i = 0; i < census->resource_count; i++)
		for (size_t k = 0; k < census->resources[i].key_count; k++) {
			const struct census_resource *resource = &census->resources[i];
			_cleanup_free_ char *closed = census_closed_text(resource->keys, resource->key_count, k);
			_cleanup_free_ char *words =
				closed ? xasprintf("%s: %s", resource->entry->resource->resource, closed) : NULL;
			if (words)
				strings_add(&report->evidence, words);
		}
}

void rotation_report_add_server(struct rotation_report *report, const char *name, const char *loaded_hash,
				bool forgotten)
{
	report->servers = xreallocarray(report->servers, report->server_count + 1, sizeof(*report->servers));
	report->servers[report->server_count++] =
		(struct rotation_server){.name = xstrdup(name),
					 .loaded_hash = loaded_hash ? xstrdup(loaded_hash) : NULL,
					 .forgotten = forgotten};
}

/* Of a KMS that is followed no key is named that `remains` does not: another plugin may name it still, or not have been asked. */
static bool is_told_free(const struct rotation_report *report, const struct rotation_key_id *key)
{
	_cleanup_free_ char *id = kms_key_id_shown(key->key_id);
	_cleanup_free_ char *label = xasprintf("kms/%s", key->name);
	_cleanup_free_ char *words = xasprintf(KMS_NEEDED_FOR_NOTHING, label, id);
	for (size_t i = 0; i < report->remains.count; i++)
		if (strstr(report->remains.items[i], words))
			return true;
	return false;
}

void rotation_report_name_old_keys(struct rotation_report *report, bool follows)
{
	struct strings named = {0};
	_cleanup_strings_ told = {0};
	for (size_t i = 0; i < report->key_id_count; i++) {
		const struct rotation_key_id *key = &report->key_ids[i];
		_cleanup_free_ char *label = xasprintf("kms/%s", key->name);
		if (follows ? !is_told_free(report, key) : !strings_has(&report->old_keys, label))
			continue;
		_cleanup_free_ char *whole = xasprintf("%s %s", label, key->key_id);
		strings_add(&named, whole);
		strings_add(&told, label);
	}
	for (size_t i = 0; i < report->old_keys.count; i++)
		if (!strings_has(&told, report->old_keys.items[i]))
			strings_add(&named, report->old_keys.items[i]);
	strings_free(&report->old_keys);
	report->old_keys = named;
}

static char *reloaded_text(const struct rotation *r, const struct server_observation *server)
{
	return xasprintf("%s runs its file (weaker evidence: a start or reloads since it was put there%s; %s shows no "
			 "loaded hash)",
			 server->name, canary_possible(r->journal->path) ? ", and the canary" : "",
			 server->version ? server->version : "an old version");
}

static void tell_server(struct rotation *r)
{
	struct rotation_report *report = r->report;
	if (r->seen.server_count == 0)
		return;
	const struct server_observation *server = &r->seen.servers[0];
	report->server = xstrdup(server->name);
	report->loaded_hash = server->loaded_hash ? xstrdup(server->loaded_hash) : NULL;
	rotation_report_add_server(report, server->name, server->loaded_hash, false);
	if (server->loaded != FACT_KNOWN)
		return;
	_cleanup_free_ char *line = server->evidence == LOADED_BY_HASH
					    ? xasprintf("%s loaded %s (its own loaded hash)", server->name,
							server->loaded_hash ? server->loaded_hash : "its file")
					    : reloaded_text(r, server);
	strings_add(&report->evidence, line);
}

static void tell_settle_gaps(const struct rotation *r, struct strings *ret)
{
	uint64_t rule = quiet_settle_time(r->cluster->request_timeout, r->seen.members_behind_balancer);
	if (r->settle_time < rule) {
		_cleanup_free_ char *short_time = text_human_duration(r->settle_time),
				    *rule_time = text_human_duration(rule);
		_cleanup_free_ char *warning = xasprintf(
			"settled for %s only, as --settle says; the rule is the server's request timeout "
			"and at least %s: %s",
			short_time, r->seen.members_behind_balancer ? "15 min behind a balancer" : "15 s", rule_time);
		strings_add(ret, warning);
	}
	if (r->cluster->request_timeout_assumed && !r->options.has_settle)
		strings_add(ret, "weaker: the server's request timeout was taken to be its default, 1 min");
	if (r->seen.members_behind_balancer)
		strings_add(ret, "weaker: etcd was watched through a balancer, not member by member");
}

static void tell_settling(struct rotation *r)
{
	struct rotation_report *report = r->report;
	if (!r->settled_ended)
		return;
	_cleanup_free_ char *time = text_human_duration(r->settled_ended - r->settled_began);
	_cleanup_free_ char *line =
		xasprintf("%s without silence of a server or an etcd member%s", time,
			  canary_possible(r->journal->path) ? ", a canary of each server at the end" : "");
	strings_add(&report->evidence, line);
	tell_settle_gaps(r, &report->evidence);
}

static void tell_canary_gaps(const struct rotation *r, struct strings *ret)
{
	_cleanup_free_ char *line = canary_gap_text(r->journal->path);
	if (line)
		strings_add(ret, line);
}

/* By a person's word. */
static void tell_said(const struct rotation *r, struct strings *ret)
{
	if (!r->set_named && r->options.servers > 0)
		strings_add(ret, "weaker: that this is the only API server is a person's word (--servers)");
	for (size_t i = 0; i < r->foreign_prefixes.count; i++) {
		_cleanup_free_ char *line = xasprintf("values under %s were left out: named as somebody else's",
						      r->foreign_prefixes.items[i]);
		strings_add(ret, line);
	}
	for (size_t i = 0; i < r->journal->forgotten.count; i++) {
		_cleanup_free_ char *line = xasprintf("%s does not count: a person said that it is gone for good",
						      r->journal->forgotten.items[i]);
		strings_add(ret, line);
	}
}

void rotation_gaps(const struct rotation *r, struct strings *ret)
{
	const struct server_observation *server = r->seen.server_count > 0 ? &r->seen.servers[0] : NULL;
	_cleanup_free_ char *line = server && server->evidence != LOADED_BY_HASH && server->loaded == FACT_KNOWN
					    ? reloaded_text(r, server)
					    : NULL;
	if (line)
		strings_add(ret, line);
	if (r->settled_ended)
		tell_settle_gaps(r, ret);
	if (r->settled_ended || line)
		tell_canary_gaps(r, ret);
	tell_said(r, ret);
}

static void tell_gaps(struct rotation *r)
{
	tell_canary_gaps(r, &r->report->evidence);
	tell_said(r, &r->report->evidence);
	for (size_t i = 0; i < r->journal->forgotten.count; i++)
		rotation_report_add_server(r->report, r->journal->forgotten.items[i], NULL, true);
	_cleanup_free_ char *times =
		r->journal->rescues == 1 ? xstrdup("once") : xasprintf("%u times", r->journal->rescues);
	_cleanup_free_ char *rescued = xasprintf("a key had to be put back %s (Rescue)", times);
	if (r->journal->rescues > 0)
		strings_add(&r->report->evidence, rescued);
}

/* What a drop does not reach. */
static void tell_remains(struct rotation *r)
{
	struct rotation_report *report = r->report;
	bool dropped = false;
	for (size_t i = 0; i + 1 < r->journal->path->count; i++)
		dropped = dropped || path_drops(r->journal->path, i);
	if (dropped) {
		_cleanup_free_ char *line =
			xasprintf("backups of etcd made before %s need the old key, and so do free pages of etcd's "
				  "database until it is defragmented",
				  report->finished);
		strings_add(&report->remains, line);
	}
	rotation_kms_tell_left(r);
}

static bool lacks_a_copy(const struct rotation *r)
{
	bool local = false;
	for (size_t i = 0; i < r->keys.count; i++) {
		const struct keyring_entry *key = &r->keys.entries[i];
		_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(key->type), key->name);
		local = local || strings_has(&r->journal->new_keys, label);
	}
	return local && !r->journal->copied && !r->target->manual;
}

bool rotation_new_key_is_alone(const struct rotation *r)
{
	return lacks_a_copy(r) && !r->new_key_seal;
}

/* However it ended: from promotion on the key is needed. A copy that was asked for may have failed. */
static void tell_only_copy(struct rotation *r, bool done)
{
	if (!lacks_a_copy(r) || !journal_promoted(r->journal))
		return;
	/* Until it is done another one is held here. */
	_cleanup_free_ char *line =
		xasprintf("the only copy of the new key is in %s: " ONLY_COPY_RISK "%s", r->target->path,
			  done ? "; an older file that is put over it loses all that etcd holds" : "");
	strings_add(&r->report->remains, line);
}

void rotation_report_end(struct rotation *r, const char *outcome)
{
	struct rotation_report *report = r->report;
	uint64_t now = loop_now(r->cluster->loop);
	free(report->outcome);
	report->outcome = xstrdup(outcome);
	if (r->told)
		return;
	r->told = true;
	if (r->in_phase)
		rotation_report_phase(r, r->phase, now);
	free(report->finished);
	report->finished = now_text();
	report->ns = now - r->began;
	tell_census(r);
	tell_server(r);
	tell_settling(r);
	tell_gaps(r);
	if (text_equal(outcome, "Done")) {
		tell_remains(r);
		rotation_report_name_old_keys(report, path_follows_kms(r->journal->path));
	}
	tell_only_copy(r, text_equal(outcome, "Done"));
}

/* --- what is kept on this node --- */

/* What is kept as Done is true until it is judged. */
void rotation_report_keep(struct rotation *r)
{
	_cleanup_error_ failed = NULL;
	if (r->done)
		return;
	if (r->lock_fd >= 0 && report_store_keep(r->options.state_directory, r->report, &failed) < 0)
		rotation_note(r, "the report could not be kept: %s", error_message(failed));
}

void rotation_report_go_on(struct rotation *r)
{
	_cleanup_error_ failed = NULL;
	_cleanup_(rotation_report_freep) struct rotation_report *kept = NULL;
	int rc = report_store_read(r->options.state_directory, r->report->rotation, &kept, &failed);
	if (rc < 0 && rc != -ERROR_NOT_FOUND)
		rotation_note(r, "what was kept of this rotation's report counts no more: %s", error_message(failed));
	/* Another's that was called alike began at another time. */
	if (rc < 0 || r->report->before.at || !text_equal(kept->started, r->report->started))
		return;
	r->report->before = kept->before;
	kept->before = (struct key_rotation_values){0};
}

/* --- of one that was done before this process --- */

struct rotation_report *rotation_report_done(const struct rotation *r)
{
	const struct journal *journal = r->journal;
	_cleanup_error_ unread = NULL; /* rotation_report_go_on tells */
	_cleanup_(rotation_report_freep) struct rotation_report *kept = NULL;
	if (!journal->retired || path_follows_kms(journal->path) ||
	    report_store_read(r->options.state_directory, journal->rotation, &kept, &unread) < 0)
		return NULL;
	bool done = text_equal(kept->outcome, "Done") && text_equal(kept->started, journal->started);
	return done ? steal(kept) : NULL;
}

void rotation_report_take_done(struct rotation *r)
{
	if (!r->done) {
		strings_add(&r->report->evidence,
			    "what was proved before the old key was retired was not kept, for its process died");
		rotation_report_end(r, "Done");
		return;
	}
	rotation_report_free(r->report);
	r->report = steal(r->done);
	r->told = true;
}
