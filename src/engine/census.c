#include "engine/census_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine/etcd_probe.h"
#include "engine/same_etcd.h"

#define WHY_MAX 1024
#define NOTES_MAX 50
#define WITNESSES_MAX 4 /* lists asked for an etcd's revision */

void census_doubt(struct census *census, const char *fmt, ...)
{
	va_list args;
	census->complete = false;
	if (census->why)
		return;
	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	census->why = text_printable(text, strlen(text), WHY_MAX);
}

void census_note(struct census *census, const char *fmt, ...)
{
	va_list args;
	if (census->notes.count == NOTES_MAX)
		return;
	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	_cleanup_free_ char *clean = text_printable(text, strlen(text), WHY_MAX);
	strings_add(&census->notes, clean);
}

/* ---- freeing ---- */

/* Forgets what was counted; the map and the etcds stay. */
static void forget_counts(struct census *census)
{
	for (size_t i = 0; i < census->resource_count; i++) {
		struct census_resource *resource = &census->resources[i];
		census_keys_free(&resource->keys, &resource->key_count);
		free(resource->unknown_example);
		*resource = (struct census_resource){.entry = resource->entry, .chosen = resource->chosen};
	}
	strings_free(&census->unknown_paths);
	for (size_t i = 0; i < census->outside_named; i++) {
		free(census->outside[i].path);
		free(census->outside[i].name);
	}
	census_keys_free(&census->outside_keys, &census->outside_key_count);
	census_keys_free(&census->foreign_keys, &census->foreign_key_count);
	free(census->outside_plain_example);
	free(census->does_not_open_example);
	census->outside_plain_example = census->does_not_open_example = NULL;
	census->outside_named = 0;
	census->outside_count = census->outside_plain = census->expected_plain = census->outside_unknown = 0;
	census->values = census->bytes = 0;
	census->stale = census->unknown = census->unreadable = census->opened = census->does_not_open = 0;
	census->not_opened = census->refused = census->refused_writes = 0;
	census_lost_clear(census);
	for (size_t i = 0; i < census->etcd_count; i++)
		census->etcds[i].revision = census->etcds[i].first_revision = 0;
}

void census_free(struct census *census)
{
	if (!census)
		return;
	forget_counts(census);
	for (size_t i = 0; i < census->etcd_count; i++)
		free(census->etcds[i].endpoints);
	free(census->etcds);
	free(census->resources);
	free(census->outside);
	free(census->lost);
	free(census->why);
	strings_free(&census->notes);
	resource_map_free(&census->map);
	free(census);
}

void census_freep(struct census **census)
{
	census_free(*census);
}

static void scan_clear(struct census_scan *scan)
{
	census_counts_clear(scan);
	for (size_t i = 0; scan->tallies && i < scan->census->resource_count; i++)
		tally_clear(&scan->tallies[i]);
	tally_clear(&scan->outside);
	tally_clear(&scan->foreign);
}

static void scan_free(struct census_scan *scan)
{
	scan_clear(scan);
	kms_opener_free(scan->opener);
	free(scan->rules);
	free(scan->writers);
	free(scan->prefix);
	free(scan->counted);
	free(scan->nests);
	free(scan->tallies);
	free(scan->counts);
}

/* ---- what is asked for ---- */

static bool chosen_by_default(const struct census_options *options, const struct kube_resource *resource)
{
	bool encrypted = options->shape && config_shape_rule(options->shape, resource->resource);
	/* Before the first step, not when one of them is encrypted already and nothing can be proved of it. */
	for (size_t i = 0; options->path && i < options->path->count; i++)
		encrypted = encrypted || config_shape_rule(options->path->steps[i], resource->resource);
	return encrypted || text_equal(resource->resource, "secrets") || text_equal(resource->resource, "configmaps");
}

/* One flag per resource of the API server. */
static int choose(const struct census_options *options, bool *wanted, struct error **err)
{
	const struct kube_resources *all = options->resources;
	bool named = options->chosen && options->chosen->count > 0;
	for (size_t i = 0; !named && i < all->count; i++)
		wanted[i] = chosen_by_default(options, &all->items[i]);
	for (size_t i = 0; named && i < options->chosen->count; i++) {
		const char *name = options->chosen->items[i];
		const struct kube_resource *resource = kube_resources_find(all, name);
		if (!resource)
			return error_set(err, ERROR_INPUT, "%s serves no resource %s", options->kube->name, name);
		if (resource->aggregated)
			return error_set(err, ERROR_INPUT,
					 "%s is served by another API server and not stored in this etcd", name);
		wanted[resource - all->items] = true;
	}
	return 0;
}

/* What is wanted, as entries of the map. */
static int mark_chosen(const struct census_options *options, const struct resource_map *map, const bool *wanted,
		       bool *chosen, struct error **err)
{
	const struct kube_resources *all = options->resources;
	for (size_t i = 0; i < all->count; i++) {
		if (!wanted[i])
			continue;
		const struct map_entry *entry = resource_map_entry(map, &all->items[i]);
		if (entry)
			chosen[entry - map->entries] = true;
		else if (options->chosen && options->chosen->count > 0)
			return error_set(err, ERROR_INPUT, "%s are not stored in etcd", all->items[i].resource);
	}
	return 0;
}

static bool is_served(const struct kube_resources *resources, const char *pattern)
{
	for (size_t i = 0; i < resources->count; i++) {
		if (config_pattern_covers(pattern, resources->items[i].resource))
			return true;
	}
	return false;
}

/* What was stored of a resource that is not served any more lies outside the map: only the whole keyspace shows it. */
static void note_unserved(struct census *census, const struct config_shape *shape,
			  const struct kube_resources *resources)
{
	for (size_t r = 0; shape && r < shape->rule_count; r++)
		for (size_t i = 0; i < shape->rules[r].resource_count; i++) {
			const char *pattern = shape->rules[r].resources[i];
			if (!strchr(pattern, '*') && !is_served(resources, pattern))
				census_note(census, "the configuration names %s, which the API server does not serve",
					    pattern);
		}
}

static bool nests(const struct resource_map *map, size_t outer)
{
	for (size_t i = 0; i < map->count; i++) {
		if (i != outer && map->entries[i].etcd == map->entries[outer].etcd &&
		    text_starts(map->entries[i].prefix, map->entries[outer].prefix))
			return true;
	}
	return false;
}

static int prepare(struct census_scan *scan, const bool *wanted, struct error **err)
{
	struct census *census = scan->census;
	const struct resource_map *map = &census->map;
	_cleanup_free_ bool *chosen = xcalloc(map->count + 1, sizeof(*chosen));
	int rc = mark_chosen(scan->options, map, wanted, chosen, err);
	if (rc < 0)
		return rc;
	scan->counted = xcalloc(map->count + 1, sizeof(*scan->counted));
	scan->nests = xcalloc(map->count + 1, sizeof(*scan->nests));
	census->resources = xcalloc(map->count + 1, sizeof(*census->resources));
	for (size_t i = 0; i < map->count; i++) {
		scan->counted[i] = SIZE_MAX;
		scan->nests[i] = nests(map, i);
		if (!chosen[i] && !scan->options->whole_keyspace)
			continue;
		scan->counted[i] = census->resource_count;
		census->resources[census->resource_count++] =
			(struct census_resource){.entry = &map->entries[i], .chosen = chosen[i]};
	}
	scan->tallies = xcalloc(census->resource_count + 1, sizeof(*scan->tallies));
	scan->counts = xcalloc(census->etcd_count, sizeof(*scan->counts));
	scan->rules = xcalloc(census->resource_count + 1, sizeof(*scan->rules));
	scan->writers = xcalloc(census->resource_count + 1, sizeof(*scan->writers));
	for (size_t i = 0; scan->options->shape && i < census->resource_count; i++)
		scan->writers[i] = config_shape_rule(scan->options->shape, census->resources[i].entry->storage);
	for (size_t i = 0; scan->options->open_with && i < census->resource_count; i++)
		scan->rules[i] = config_shape_rule(encryption_config_shape(scan->options->open_with),
						   census->resources[i].entry->storage);
	if (scan->options->open_with && scan->options->ask_plugins)
		scan->opener = kms_opener_new(scan->options->loop);
	note_unserved(census, scan->options->shape, scan->options->resources);
	return 0;
}

/* A prefix that a person calls somebody else's must not cover what is this API server's. */
int census_check_foreign(const struct resource_map *map, const struct strings *foreign, struct error **err)
{
	for (size_t f = 0; foreign && f < foreign->count; f++) {
		if (foreign->items[f][0] == '\0')
			return error_set(err, ERROR_INPUT, "an empty --foreign-prefix");
		for (size_t i = 0; i < map->count; i++) {
			const char *prefix = map->entries[i].prefix;
			if (census_lies_under(prefix, foreign->items[f]) ||
			    census_lies_under(foreign->items[f], prefix))
				return error_set(err, ERROR_INPUT,
						 "--foreign-prefix %s: %s of this API server are stored under %s",
						 foreign->items[f], map->entries[i].resource->resource, prefix);
		}
	}
	return 0;
}

/* ---- the etcds ---- */

/* Members that do not answer: named in `ret`, and how many. */
static size_t silent_members(const struct etcd *etcd, struct strings *ret)
{
	size_t count = 0;
	for (size_t i = 0; i < etcd_member_count(etcd); i++) {
		const struct etcd_member_info *member = etcd_member(etcd, i);
		if (member->answered)
			continue;
		count++;
		_cleanup_free_ char *words =
			xasprintf("%s%s%s%s%s", member->name, member->learner ? " (a learner)" : "",
				  member->why ? " (" : "", member->why ? member->why : "", member->why ? ")" : "");
		strings_add(ret, words);
	}
	return count;
}

static int look_at_etcds(struct census *census, const struct census_options *options, struct error **err)
{
	census->etcds = xcalloc(options->etcd_count, sizeof(*census->etcds));
	census->etcd_count = options->etcd_count;
	for (size_t i = 0; i < options->etcd_count; i++) {
		struct etcd *etcd = options->etcds[i];
		_cleanup_strings_ silent = {0}, endpoints = {0};
		int rc = etcd_connect(etcd, err);
		if (rc < 0)
			return rc;
		census->etcds[i].cluster_id = etcd_cluster_id(etcd);
		census->etcds[i].endpoints = xstrdup(etcd_label(etcd));
		size_t count = silent_members(etcd, &silent);
		_cleanup_free_ char *names = strings_join(&silent, ", ");
		if (count > 0)
			census_note(census, "%zu of %zu etcd members do not answer: %s", count, etcd_member_count(etcd),
				    names);
		etcd_silent_endpoints(etcd, &endpoints);
		_cleanup_free_ char *dead = strings_join(&endpoints, ", ");
		if (endpoints.count > 0)
			census_note(census, "%zu given endpoints of etcd do not answer: %s", endpoints.count, dead);
		for (size_t other = 0; other < i; other++) {
			if (census->etcds[other].cluster_id == census->etcds[i].cluster_id)
				return error_set(err, ERROR_INPUT,
						 "%s and %s are the same etcd: join their endpoints by a comma",
						 census->etcds[other].endpoints, census->etcds[i].endpoints);
		}
	}
	return 0;
}

/* An error while members are silent names them: without a majority nothing can be read. */
static int explain(const struct census *census, int rc, struct error **err)
{
	if ((rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_DEADLINE) && census->notes.count > 0)
		return error_wrap(err, rc, "%s", census->notes.items[0]);
	return rc;
}

/* ---- is it the right etcd, all the time ---- */

/* What the API server says is the present revision of an etcd, by the list of something stored there. */
static int api_revision(const struct census_scan *scan, size_t etcd, uint64_t *ret, struct error **err)
{
	const struct resource_map *map = &scan->census->map;
	int tries = WITNESSES_MAX, rc = -ERROR_REFUSED;
	for (size_t i = 0; i < map->count && tries > 0; i++) {
		struct api_first first = {0};
		if (map->entries[i].etcd != etcd || map->entries[i].proof == MAP_UNPROVED)
			continue;
		tries--;
		error_clear(err);
		rc = api_probe_first(scan->options->kube, map->entries[i].resource, 0, &first, err);
		if (rc == 0)
			*ret = first.revision;
		if (rc != -ERROR_BUSY) /* busy: a value in it is unreadable, perhaps; another list will do */
			return rc;
	}
	if (rc == -ERROR_REFUSED)
		return error_set(err, ERROR_REFUSED, "nothing shows that %s is the API server's",
				 scan->census->etcds[etcd].endpoints);
	return rc;
}

/* 0: not known. */
static uint64_t revision_before(const struct census_scan *scan, size_t etcd)
{
	_cleanup_error_ failed = NULL;
	uint64_t revision = 0;
	return api_revision(scan, etcd, &revision, &failed) == 0 ? revision : 0;
}

static void check_revision(const struct census_scan *scan, size_t etcd, uint64_t before)
{
	struct census *census = scan->census;
	_cleanup_error_ failed = NULL;
	uint64_t after, at = census->etcds[etcd].revision;
	if (api_revision(scan, etcd, &after, &failed) < 0)
		census_doubt(census, "%s", error_message(failed));
	else if (before == 0)
		census_doubt(census, "what revision the API server was at before %s was read is not known",
			     census->etcds[etcd].endpoints);
	else if (before > at)
		census_doubt(census,
			     "%s was read at revision %" PRIu64 ", but the API server was at %" PRIu64 " before",
			     census->etcds[etcd].endpoints, at, before);
	else if (after < at)
		census_doubt(census,
			     "%s was read at revision %" PRIu64 ", but the API server is only at %" PRIu64 " now",
			     census->etcds[etcd].endpoints, at, after);
}

/* Nothing of it was asked for: it has a revision all the same. */
static void fill_revision(const struct census_scan *scan, size_t etcd)
{
	struct census *census = scan->census;
	struct etcd_probe probe = {0};
	if (etcd_probe_key(scan->options->etcds[etcd], "compact_rev_key", &probe, NULL) < 0)
		census_note(census, "%s does not answer any more", census->etcds[etcd].endpoints);
	census->etcds[etcd].revision = census->etcds[etcd].first_revision = probe.revision;
}

/* The etcd of the Leases is compared by them, before and after; the others by the lists of what they store. */
static void check_afterwards(const struct census_scan *scan, const uint64_t *before)
{
	const struct census_options *options = scan->options;
	struct census *census = scan->census;
	_cleanup_error_ failed = NULL;
	size_t proved = SIZE_MAX;
	int rc = same_etcd_check(options->kube, options->etcds, options->etcd_count, options->etcd_prefix,
				 options->resources, &proved, &failed);
	if (rc < 0)
		census_doubt(census, "after reading: %s", error_message(failed));
	for (size_t i = 0; i < census->etcd_count; i++) {
		if (census->etcds[i].revision == 0)
			fill_revision(scan, i);
		else if (i != proved)
			check_revision(scan, i, before[i]);
	}
}

/* ---- putting it together ---- */

static void take_tallies(struct census_scan *scan)
{
	struct census *census = scan->census;
	for (size_t i = 0; i < census->resource_count; i++)
		census_keys_take(&scan->tallies[i], &census->resources[i].keys, &census->resources[i].key_count);
	census_keys_take(&scan->outside, &census->outside_keys, &census->outside_key_count);
	census_keys_take(&scan->foreign, &census->foreign_keys, &census->foreign_key_count);
	if (scan->too_many_keys)
		census_doubt(census, "more than %d keys in one resource: not all of them are told apart",
			     CENSUS_KEYS_MAX);
}

/* Who may list only what the configuration names, as agents do, can prove only where that lies. Of all the rest each
 * value is counted by its key all the same: no more than its resource's name may be wrong. */
static void check_proofs(struct census *census)
{
	size_t forbidden = 0;
	const char *first = NULL;
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct map_entry *entry = census->resources[i].entry;
		if (entry->proof != MAP_UNPROVED)
			continue;
		if (entry->forbidden && !census->resources[i].chosen) {
			first = first ? first : entry->resource->resource;
			forbidden++;
		} else {
			census_doubt(census, "%s: not proved to lie under %s: %s", entry->resource->resource,
				     entry->prefix, entry->why);
		}
	}
	if (forbidden > 0)
		census_note(
			census,
			"%zu resources that the configuration does not name may not be listed (%s is one): they were "
			"not proved to lie at their usual paths",
			forbidden, first);
}

static bool is_brought(const struct path *path, const struct config_rule *rule, const struct census_key *key)
{
	const struct config_key *plugin = rule ? config_rule_find(rule, key->provider, key->name) : NULL;
	return plugin && path_brings_kms(path, path->count - 1, plugin);
}

/* What a rotation brings, or follows, is known to be a key only once its plugin has decrypted by it: API servers ask for
 * nothing that they have at hand, until they start. What a plugin refuses is counted elsewhere. */
static void check_opened(struct census_scan *scan)
{
	struct census *census = scan->census;
	const struct path *path = scan->options->path;
	for (size_t r = 0; path && scan->opener && r < census->resource_count; r++) {
		const struct census_resource *resource = &census->resources[r];
		for (size_t k = 0; k < resource->key_count; k++) {
			const struct census_key *key = &resource->keys[k];
			if (key->kms_version != 2 || !key->write_key ||
			    !(census->by_key_id || is_brought(path, scan->rules[r], key)))
				continue;
			struct census_key_sum sum = census_key_sum(resource->keys, resource->key_count, key);
			_cleanup_free_ char *closed = census_closed_text(resource->keys, resource->key_count, k);
			if (closed && sum.not_opened > sum.refused)
				census_doubt(census, "%s: %s", resource->entry->resource->resource, closed);
		}
	}
}

static int scan_with_restarts(struct census_scan *scan, struct error **err)
{
	struct census *census = scan->census;
	for (int attempt = 1;; attempt++) {
		_cleanup_error_ failed = NULL;
		int rc = census_scan_all(scan, &failed);
		if (rc == 0)
			return 0;
		if (rc == -ERROR_EXPIRED && attempt <= CENSUS_RESTARTS_MAX) {
			census_note(census, "compacted in the middle at %" PRIu64 " values: begun again",
				    census->values);
			forget_counts(census);
			if (scan->options->on_again)
				scan->options->on_again(scan->options->again_arg);
			scan_clear(scan);
			scan->total = 0;
			continue;
		}
		if (rc != -ERROR_EXPIRED && (census->values == 0 || rc == -ERROR_INTERRUPTED || rc == -ERROR_REFUSED)) {
			if (err)
				*err = steal(failed);
			return rc;
		}
		if (rc == -ERROR_EXPIRED)
			census_doubt(census,
				     "compacted in the middle, %d times over: etcd keeps its history for less time "
				     "than reading it takes",
				     CENSUS_RESTARTS_MAX + 1);
		census_doubt(census, "reading broke off: %s", error_message(failed));
		return 0;
	}
}

static int take(struct census_scan *scan, struct error **err)
{
	const struct census_options *options = scan->options;
	struct census *census = scan->census;
	_cleanup_free_ bool *wanted = xcalloc(options->resources->count + 1, sizeof(*wanted));
	int rc = choose(options, wanted, err);
	if (rc == 0)
		rc = resource_map_build_some(options->kube, options->etcds, options->etcd_count, options->etcd_prefix,
					     options->resources, options->whole_keyspace ? NULL : wanted, &census->map,
					     err);
	if (rc == 0)
		rc = census_check_foreign(&census->map, options->foreign_prefixes, err);
	if (rc == 0)
		rc = prepare(scan, wanted, err);
	_cleanup_free_ uint64_t *before = xcalloc(census->etcd_count, sizeof(*before));
	for (size_t i = 0; rc == 0 && i < census->etcd_count && census->etcd_count > 1; i++)
		before[i] = revision_before(scan, i);
	if (rc == 0)
		rc = scan_with_restarts(scan, err);
	if (rc < 0)
		return rc;
	take_tallies(scan);
	census->decrypt_calls = scan->opener ? kms_opener_calls(scan->opener) : 0;
	check_proofs(census);
	rc = census->complete ? census_counts_compare(scan, err) : 0;
	if (rc < 0)
		return rc;
	check_afterwards(scan, before);
	check_opened(scan);
	return 0;
}

int census_take(const struct census_options *options, struct census **ret, struct error **err)
{
	_cleanup_(census_freep) struct census *census = xcalloc(1, sizeof(*census));
	census->complete = true;
	census->whole_keyspace = options->whole_keyspace;
	census->shape_known = options->shape != NULL;
	census->plugins_asked = options->open_with && options->ask_plugins;
	census->by_key_id = options->path && path_follows_kms(options->path);
	census->tell_key_ids = census->by_key_id || options->tell_key_ids;
	census->begun = clock_monotonic();
	int rc = look_at_etcds(census, options, err);
	if (rc < 0)
		return rc;
	{
		_cleanup_(scan_free) struct census_scan scan = {
			.options = options, .census = census, .prefix = etcd_prefix_clean(options->etcd_prefix)};
		rc = take(&scan, err);
	}
	if (rc < 0)
		return explain(census, rc, err);
	census->revision = census->etcds[0].revision;
	census->finished = clock_monotonic();
	if (options->on_progress)
		options->on_progress(options->arg, census->values, census->values);
	*ret = steal(census);
	return 0;
}

int census_is_compacted(const struct census *census, struct etcd *const *etcds, size_t etcd_count, bool *ret,
			struct error **err)
{
	bool all = true;
	if (etcd_count != census->etcd_count)
		return error_set(err, ERROR_REFUSED, "the census read %zu etcds, and %zu are given", census->etcd_count,
				 etcd_count);
	for (size_t i = 0; all && i < etcd_count; i++) {
		if (etcd_cluster_id(etcds[i]) != census->etcds[i].cluster_id)
			return error_set(err, ERROR_REFUSED, "%s is not the etcd that the census read",
					 etcd_label(etcds[i]));
		int rc = etcd_is_compacted(etcds[i], census->etcds[i].revision, &all, err);
		if (rc < 0)
			return rc;
	}
	*ret = all;
	return 0;
}
