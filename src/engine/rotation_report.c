/* What a rotation did and how it is known: counted along the way, told at the end. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_writer.h"
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
	report->target = r->options.manual ? "manual" : "file";
	report->rotation = xstrdup(r->journal->rotation);
	report->started = xstrdup(r->journal->started);
	copy_strings(&report->old_keys, &r->journal->old_keys);
	copy_strings(&report->new_keys, &r->journal->new_keys);
	rotation_kms_report_begin(r->journal, report);
	r->report = report;
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

static struct sweep_count *count_of(struct rotation_report *report, const struct kube_resource *resource)
{
	for (size_t i = 0; i < report->resource_count; i++)
		if (report->resources[i].resource == resource)
			return &report->resources[i];
	report->resources = xreallocarray(report->resources, report->resource_count + 1, sizeof(*report->resources));
	report->resources[report->resource_count] = (struct sweep_count){.resource = resource};
	return &report->resources[report->resource_count++];
}

static void forget_quarantine(struct rotation_report *report)
{
	for (size_t i = 0; i < report->quarantine_count; i++) {
		free(report->quarantine[i].namespace_);
		free(report->quarantine[i].name);
		free(report->quarantine[i].why);
	}
	free(report->quarantine);
	report->quarantine = NULL;
	report->quarantine_count = 0;
}

/* Rewrites add up over the sweeps; objects and quarantine are those of the last one that looked. */
void rotation_report_sweep(struct rotation *r, const struct sweep_result *result)
{
	struct rotation_report *report = r->report;
	for (size_t i = 0; i < result->count; i++) {
		const struct sweep_count *more = &result->counts[i];
		struct sweep_count *sum = count_of(report, more->resource);
		sum->objects = more->objects > sum->objects ? more->objects : sum->objects;
		sum->rewritten += more->rewritten;
		sum->current += more->current;
		sum->skipped += more->skipped;
		sum->conflicts += more->conflicts;
		sum->gone += more->gone;
		sum->quarantined = more->quarantined;
		sum->bytes += more->bytes;
	}
	forget_quarantine(report);
	report->quarantined = result->quarantined;
	report->quarantine = xcalloc(result->quarantine_named + 1, sizeof(*report->quarantine));
	for (size_t i = 0; i < result->quarantine_named; i++) {
		const struct sweep_quarantined *q = &result->quarantine[i];
		report->quarantine[report->quarantine_count++] = (struct sweep_quarantined){
			q->resource, q->namespace_ ? xstrdup(q->namespace_) : NULL, xstrdup(q->name), xstrdup(q->why)};
	}
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
	_cleanup_free_ char *line =
		server->evidence == LOADED_BY_HASH
			? xasprintf("%s loaded %s (its own loaded hash)", server->name,
				    server->loaded_hash ? server->loaded_hash : "its file")
			: xasprintf("%s reloaded its file (weaker evidence: reload counters of %s and the canary; this "
				    "version shows no loaded hash)",
				    server->name, server->version ? server->version : "an old version");
	strings_add(&report->evidence, line);
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
	uint64_t least = r->cluster->request_timeout > 15 * NS_PER_S ? r->cluster->request_timeout : 15 * NS_PER_S;
	if (r->settle_time < least) {
		_cleanup_free_ char *short_time = text_human_duration(r->settle_time),
				    *least_time = text_human_duration(least);
		_cleanup_free_ char *warning =
			xasprintf("settled for %s only, as --settle says; the rule is the server's request timeout "
				  "and at least 15 s: %s",
				  short_time, least_time);
		strings_add(&report->evidence, warning);
	}
	if (r->cluster->request_timeout_assumed && !r->options.has_settle)
		strings_add(&report->evidence,
			    "weaker: the server's request timeout was taken to be its default, 1 min");
	if (r->seen.members_behind_balancer)
		strings_add(&report->evidence, "weaker: etcd was watched through a balancer, not member by member");
}

static void tell_gaps(struct rotation *r)
{
	_cleanup_strings_ unproved = {0};
	canary_unproved(r->journal->path, &unproved);
	if (unproved.count > 0) {
		_cleanup_free_ char *names = strings_join(&unproved, ", ");
		_cleanup_free_ char *line = xasprintf(
			"no canary for %s: there the loaded configuration alone is the proof (weaker)", names);
		strings_add(&r->report->evidence, line);
	}
	for (size_t i = 0; i < r->foreign_prefixes.count; i++) {
		_cleanup_free_ char *line = xasprintf("values under %s were left out: named as somebody else's",
						      r->foreign_prefixes.items[i]);
		strings_add(&r->report->evidence, line);
	}
	for (size_t i = 0; i < r->journal->forgotten.count; i++) {
		_cleanup_free_ char *line = xasprintf("%s does not count: a person said that it is gone for good",
						      r->journal->forgotten.items[i]);
		strings_add(&r->report->evidence, line);
		rotation_report_add_server(r->report, r->journal->forgotten.items[i], NULL, true);
	}
	if (r->journal->rescues > 0)
		strings_add(&r->report->evidence, "a key had to be put back once (Rescue)");
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

bool rotation_new_key_is_alone(const struct rotation *r)
{
	bool local = false;
	for (size_t i = 0; i < r->keys.count; i++) {
		const struct keyring_entry *key = &r->keys.entries[i];
		_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(key->type), key->name);
		local = local || strings_has(&r->journal->new_keys, label);
	}
	return local && !r->new_key_seal && !r->target->manual;
}

/* Whether a file in which a new key writes was put in place, or was about to be: values may be under it. */
static bool promoted(const struct journal *journal)
{
	for (size_t i = 0; i < journal->hash_count; i++)
		for (int step = 0; step < journal->hashes[i].step; step++)
			if (path_changes_write_key(journal->path, (size_t)step))
				return true;
	return false;
}

/* However it ended: from promotion on the key is needed. */
static void tell_only_copy(struct rotation *r)
{
	if (!rotation_new_key_is_alone(r) || !promoted(r->journal))
		return;
	_cleanup_free_ char *line =
		xasprintf("the only copy of the new key is in %s: " ONLY_COPY_RISK, r->target->path);
	strings_add(&r->report->remains, line);
}

void rotation_report_end(struct rotation *r, const char *outcome)
{
	struct rotation_report *report = r->report;
	uint64_t now = loop_now(r->cluster->loop);
	if (r->in_phase)
		rotation_report_phase(r, r->phase, now);
	report->outcome = outcome;
	report->finished = now_text();
	report->ns = now - r->began;
	tell_census(r);
	tell_server(r);
	tell_settling(r);
	tell_gaps(r);
	if (text_equal(outcome, "Done"))
		tell_remains(r);
	tell_only_copy(r);
}

/* --- JSON --- */

static void write_new_key(struct json_writer *w, const struct rotation_report *report)
{
	const char *label = report->new_keys.count > 0 ? report->new_keys.items[0] : "";
	const char *slash = strchr(label, '/');
	_cleanup_free_ char *provider = xstrndup(label, slash ? (size_t)(slash - label) : strlen(label));
	json_key(w, "newKey");
	json_object_begin(w);
	json_member_string(w, "provider", provider);
	json_member_string(w, "name", slash ? slash + 1 : "");
	json_member_string(w, "keyID", text_equal(provider, "kms") ? rotation_kms_id_of(report, slash + 1) : "");
	json_object_end(w);
}

static void write_counts(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; i < report->resource_count; i++) {
		const struct sweep_count *count = &report->resources[i];
		json_object_begin(w);
		json_member_string(w, "resource", count->resource->resource);
		json_member_u64(w, "objects", count->objects);
		json_member_u64(w, "rewritten", count->rewritten);
		json_member_u64(w, "skipped", count->skipped + count->current);
		json_member_u64(w, "conflicts", count->conflicts);
		json_member_u64(w, "quarantined", count->quarantined);
		json_object_end(w);
	}
	json_array_end(w);
	json_key(w, "quarantined");
	json_array_begin(w);
	for (size_t i = 0; i < report->quarantine_count; i++) {
		const struct sweep_quarantined *q = &report->quarantine[i];
		json_object_begin(w);
		json_member_string(w, "resource", q->resource->resource);
		json_member_string(w, "namespace", q->namespace_ ? q->namespace_ : "");
		json_member_string(w, "name", q->name);
		json_member_string(w, "why", q->why);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_servers(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "servers");
	json_array_begin(w);
	for (size_t i = 0; i < report->server_count; i++) {
		json_object_begin(w);
		json_member_string(w, "name", report->servers[i].name);
		json_member_string(w, "loaded", report->servers[i].loaded_hash);
		json_member_bool(w, "forgotten", report->servers[i].forgotten);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_outside(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "outside");
	json_array_begin(w);
	for (size_t i = 0; i < report->outside.count; i++) {
		_cleanup_free_ char *command = decision_etcdctl_del(report->outside.items[i]);
		json_object_begin(w);
		json_member_string(w, "path", report->outside.items[i]);
		json_member_string(w, "delete", command);
		json_object_end(w);
	}
	json_array_end(w);
	json_member_u64(w, "outsideCount", report->outside_count);
}

void rotation_report_write_json(const struct rotation_report *report, struct json_writer *w)
{
	json_object_begin(w);
	json_member_string(w, "kind", "RotationReport");
	json_member_u64(w, "version", 1);
	json_member_string(w, "target", report->target);
	json_member_string(w, "outcome", report->outcome);
	json_member_string(w, "rotation", report->rotation);
	json_member_string(w, "started", report->started);
	json_member_string(w, "finished", report->finished);
	json_key(w, "seconds");
	json_fixed(w, (double)report->ns / 1e9, 3);
	json_member_strings(w, "oldKeys", &report->old_keys);
	write_new_key(w, report);
	json_member_strings(w, "newKeys", &report->new_keys);
	rotation_kms_write_json(report, w);
	json_member_u64(w, "revision", report->revision);
	json_member_u64(w, "objects", report->objects);
	json_member_string(w, "server", report->server);
	json_member_string(w, "loaded", report->loaded_hash);
	write_servers(w, report);
	write_counts(w, report);
	write_outside(w, report);
	json_member_strings(w, "evidence", &report->evidence);
	json_member_strings(w, "remains", &report->remains);
	json_key(w, "phases");
	json_array_begin(w);
	for (size_t i = 0; i < report->phase_count; i++) {
		json_object_begin(w);
		json_member_string(w, "phase", phase_name(report->phases[i].phase));
		json_key(w, "seconds");
		json_fixed(w, (double)report->phases[i].ns / 1e9, 3);
		json_object_end(w);
	}
	json_array_end(w);
	json_object_end(w);
}

/* --- text --- */

static void append_lines(struct buf *out, const char *head, const struct strings *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		if (buf_append_format(out, "%s%s\n", i == 0 ? head : "         ", lines->items[i]) < 0)
			return;
}

static int append_outside(struct buf *out, const struct rotation_report *report)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < report->outside.count; i++) {
		_cleanup_free_ char *command = decision_etcdctl_del(report->outside.items[i]);
		rc = buf_append_format(out, "%s%s\n", i == 0 ? "In the way, if they are remains:\n  " : "  ", command);
	}
	uint64_t more = report->outside_count - report->outside.count;
	if (rc == 0 && report->outside.count > 0 && report->outside_count > report->outside.count)
		rc = buf_append_format(out, "  and %llu more\n", (unsigned long long)more);
	return rc;
}

#define REPORT_TEXT_MAX (1u << 20)

char *rotation_report_text(const struct rotation_report *report)
{
	struct buf out = BUF_INIT(REPORT_TEXT_MAX);
	_cleanup_free_ char *time = text_human_duration(report->ns), *objects = text_human_count(report->objects);
	_cleanup_free_ char *old_keys = strings_join(&report->old_keys, ", "),
			    *new_keys = strings_join(&report->new_keys, ", ");
	bool done = text_equal(report->outcome, "Done");
	int rc = buf_append_format(&out, "%s in %s.", report->outcome, time);
	if (rc == 0 && done)
		rc = buf_append_format(&out, " %s objects%s%s%s%s%s.", objects, *new_keys ? "; new key " : "", new_keys,
				       *old_keys ? "; " : "", old_keys, *old_keys ? " left the configuration" : "");
	if (rc == 0)
		rc = buf_append_text(&out, "\n");
	append_lines(&out, "Proof:   ", &report->evidence);
	append_lines(&out, "Remains: ", &report->remains);
	if (rc == 0)
		rc = append_outside(&out, report);
	for (size_t i = 0; rc == 0 && i < report->quarantine_count; i++) {
		const struct sweep_quarantined *q = &report->quarantine[i];
		rc = buf_append_format(&out, "Quarantine: %s %s/%s: %s\n", q->resource->resource,
				       q->namespace_ ? q->namespace_ : "", q->name, q->why);
	}
	return buf_steal_text(&out);
}

void rotation_report_free(struct rotation_report *report)
{
	if (!report)
		return;
	free(report->rotation);
	free(report->started);
	free(report->finished);
	rotation_kms_free(report);
	strings_free(&report->old_keys);
	strings_free(&report->new_keys);
	strings_free(&report->evidence);
	strings_free(&report->remains);
	strings_free(&report->outside);
	free(report->resources);
	forget_quarantine(report);
	free(report->phases);
	for (size_t i = 0; i < report->server_count; i++) {
		free(report->servers[i].name);
		free(report->servers[i].loaded_hash);
	}
	free(report->servers);
	free(report->server);
	free(report->loaded_hash);
	free(report);
}

void rotation_report_freep(struct rotation_report **report)
{
	rotation_report_free(*report);
}
