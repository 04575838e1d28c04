/* A census for people: the answer first, what is wrong under it, and what to do about it. */
#include "engine/census_internal.h"

#include <inttypes.h>

#include "engine/key_table.h"

#define PATHS_SHOWN 10u /* of those outside the map; -o json has 100 */

/* ---- rows ---- */

static char *note_of(const struct census *census, const struct census_key *key, const struct census_key_sum *sum,
		     enum tone *ret_tone)
{
	_cleanup_free_ char *dek = key_table_dek_note(sum);
	const char *judgement = "";
	*ret_tone = TONE_PLAIN;
	if (census->shape_known && !key->in_config) {
		judgement = "UNREADABLE";
		*ret_tone = TONE_BAD;
	} else if (census->shape_known && key->write_key) {
		judgement = key->provider == PROVIDER_IDENTITY ? "as configured" : "write key";
		*ret_tone = key->provider == PROVIDER_IDENTITY ? TONE_PLAIN : TONE_GOOD;
	} else if (census->shape_known) {
		judgement = "stale";
		*ret_tone = TONE_WARN;
	}
	return xasprintf("%s%s%s", judgement, dek[0] && judgement[0] ? ", " : "", dek);
}

/* DEK sources of one key ID are one row: their number is what counts. */
static void add_key_rows(struct key_table *table, const struct census *census, const struct census_resource *resource,
			 const char *name)
{
	size_t shown = 0, more = 0;
	uint64_t more_objects = 0, more_bytes = 0;
	for (size_t i = 0; i < resource->key_count; i++) {
		const struct census_key *key = &resource->keys[i];
		struct census_key_sum sum = census_key_sum(resource->keys, resource->key_count, key);
		bool first = sum.first == key;
		if (first && shown < KEY_TABLE_ROWS_MAX) {
			enum tone tone;
			char *note = note_of(census, key, &sum, &tone);
			key_table_row(table, shown == 0 ? name : "", census_key_label(key), sum.objects, sum.bytes,
				      note, tone);
			shown++;
		} else if (first) {
			more++;
			more_objects += sum.objects;
			more_bytes += sum.bytes;
		}
	}
	if (more > 0)
		key_table_row(table, "", xasprintf("%zu more keys", more), more_objects, more_bytes, xstrdup(""),
			      TONE_WARN);
}

static void add_resource_rows(struct key_table *table, const struct census *census,
			      const struct census_resource *resource)
{
	const char *name = resource->entry->resource->resource;
	size_t before = table->row_count;
	add_key_rows(table, census, resource, name);
	if (resource->unknown > 0)
		key_table_row(table, table->row_count == before ? name : "", xstrdup("unknown"), resource->unknown, 0,
			      xstrdup("UNKNOWN"), TONE_BAD);
	if (table->row_count == before)
		key_table_row(table, name, xstrdup("-"), 0, 0,
			      xstrdup(resource->entry->proof == MAP_UNPROVED ? "not found" : "no objects"), TONE_PLAIN);
}

static bool only_plaintext(const struct census_resource *resource)
{
	return resource->unknown == 0 && resource->stale == 0 && resource->unreadable == 0 &&
	       (resource->key_count == 0 ||
		(resource->key_count == 1 && resource->keys[0].provider == PROVIDER_IDENTITY));
}

#define RANKS 3u
static unsigned rank_of(const struct census_resource *resource)
{
	const char *name = resource->entry->resource->resource;
	return text_equal(name, "secrets") ? 0 : text_equal(name, "configmaps") ? 1 : 2;
}

static void add_rows(struct key_table *table, const struct census *census)
{
	uint64_t others = 0, objects = 0, bytes = 0;
	/* In the order of rewriting. */
	for (unsigned rank = 0; rank < RANKS; rank++)
		for (size_t i = 0; i < census->resource_count; i++) {
			if (census->resources[i].chosen && rank_of(&census->resources[i]) == rank)
				add_resource_rows(table, census, &census->resources[i]);
		}
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct census_resource *resource = &census->resources[i];
		if (resource->chosen)
			continue;
		if (!only_plaintext(resource)) {
			add_resource_rows(table, census, resource);
			continue;
		}
		others += resource->objects > 0;
		objects += resource->objects;
		bytes += resource->bytes;
	}
	if (others > 0)
		key_table_row(table, "all others", xstrdup("plaintext"), objects, bytes,
			      xasprintf("%" PRIu64 " resources", others), TONE_PLAIN);
}

/* ---- findings ---- */

static void resource_findings(struct key_table *table, const struct census_resource *resource, bool asked)
{
	const char *name = resource->entry->resource->resource;
	for (size_t i = 0; i < resource->key_count; i++) {
		const struct census_key *key = &resource->keys[i];
		if (key->in_config)
			continue;
		_cleanup_free_ char *label = census_key_label(key), *count = text_human_count(key->objects);
		key_table_finding(
			table, TONE_BAD,
			"%s: %s %s under %s, which the configuration does not have: no API server with it can read %s, "
			"for example %s",
			name, count, key_table_plural(key->objects, "value", "values"), label,
			key_table_plural(key->objects, "it", "them"), key->example ? key->example : "");
	}
	_cleanup_free_ char *unknown = text_human_count(resource->unknown),
			    *broken = text_human_count(resource->does_not_open);
	if (resource->unknown > 0)
		key_table_finding(table, TONE_BAD, "%s: %s %s truncated or of unknown form, for example %s", name,
				  unknown, key_table_plural(resource->unknown, "value is", "values are"),
				  resource->unknown_example);
	if (resource->does_not_open > 0)
		key_table_finding(table, TONE_BAD, "%s: %s %s not open with the key of that name", name, broken,
				  key_table_plural(resource->does_not_open, "value does", "values do"));
	for (size_t i = 0; asked && i < resource->key_count; i++) {
		_cleanup_free_ char *closed = census_closed_text(resource->keys, resource->key_count, i);
		if (closed && resource->keys[i].in_config)
			key_table_finding(table, TONE_BAD, "%s: %s", name, closed);
	}
}

static void unknown_findings(struct key_table *table, const struct census *census)
{
	if (census->unknown_paths.count < 2)
		return; /* that one is named */
	key_table_finding(table, TONE_PLAIN, "all of unknown form:");
	for (size_t i = 0; i < census->unknown_paths.count && i < PATHS_SHOWN; i++)
		key_table_finding(table, TONE_PLAIN, "%s", census->unknown_paths.items[i]);
	if (census->unknown > PATHS_SHOWN)
		key_table_finding(table, TONE_PLAIN, "and more (-o json names %d)", CENSUS_UNKNOWN_MAX);
}

static void outside_findings(struct key_table *table, const struct census *census)
{
	_cleanup_free_ char *count = text_human_count(census->outside_count),
			    *plain = text_human_count(census->outside_plain);
	_cleanup_free_ char *expected = text_human_count(census->expected_plain);
	if (census->outside_count > 0)
		key_table_finding(
			table, TONE_WARN, "%s %s under no resource that the API server serves:", count,
			key_table_plural(census->outside_count, "encrypted value lies", "encrypted values lie"));
	for (size_t i = 0; i < census->outside_named && i < PATHS_SHOWN; i++) {
		const struct census_outside *value = &census->outside[i];
		key_table_finding(table, TONE_PLAIN, "%s  %s%s%s", value->path,
				  value->unknown ? "unknown form" : provider_name(value->provider),
				  value->name[0] ? "/" : "", value->name);
	}
	if (census->outside_count > PATHS_SHOWN)
		key_table_finding(table, TONE_PLAIN, "and more (-o json names %d)", CENSUS_OUTSIDE_MAX);
	if (census->outside_plain > 0)
		key_table_finding(table, TONE_PLAIN, "%s more %s in plaintext, for example %s", plain,
				  key_table_plural(census->outside_plain, "value lies outside", "values lie outside"),
				  census->outside_plain_example);
	if (census->expected_plain > 0)
		key_table_finding(table, TONE_PLAIN,
				  "%s %s the API servers keep for themselves, in plaintext as it must be", expected,
				  key_table_plural(census->expected_plain, "value that", "values that"));
	for (size_t i = 0; i < census->foreign_key_count; i++) {
		_cleanup_free_ char *label = census_key_label(&census->foreign_keys[i]);
		_cleanup_free_ char *objects = text_human_count(census->foreign_keys[i].objects);
		key_table_finding(table, TONE_PLAIN, "under foreign prefixes: %s %s under %s", objects,
				  key_table_plural(census->foreign_keys[i].objects, "value", "values"), label);
	}
}

static void lost_findings(struct key_table *table, const struct census *census)
{
	_cleanup_strings_ ways = {0};
	_cleanup_free_ char *count = text_human_count(census->lost_count);
	if (census->lost_count > 0)
		key_table_finding(table, TONE_BAD, "%s %s that an API server which starts now cannot read:", count,
				  key_table_plural(census->lost_count, "object", "objects"));
	for (size_t i = 0; i < census->lost_named && i < PATHS_SHOWN; i++) {
		_cleanup_free_ char *text = census_lost_text(&census->lost[i]);
		key_table_finding(table, TONE_PLAIN, "%s", text);
	}
	if (census->lost_count > PATHS_SHOWN)
		key_table_finding(table, TONE_PLAIN, "and more (-o json names %d)", CENSUS_LOST_MAX);
	census_lost_ways(census, &ways);
	for (size_t i = 0; i < ways.count; i++)
		key_table_finding(table, TONE_PLAIN, "%s.", ways.items[i]);
}

static void write_findings(struct key_table *table, const struct census *census)
{
	_cleanup_free_ char *stale = text_human_count(census->stale);
	if (census->stale > census->unreadable)
		key_table_finding(table, TONE_WARN, "%s %s not under the write key of %s resource", stale,
				  key_table_plural(census->stale, "value is", "values are"),
				  key_table_plural(census->stale, "its", "their"));
	for (size_t i = 0; i < census->resource_count; i++)
		resource_findings(table, &census->resources[i], census->plugins_asked);
	unknown_findings(table, census);
	lost_findings(table, census);
	outside_findings(table, census);
	for (size_t i = 0; i < census->notes.count; i++)
		key_table_finding(table, TONE_WARN, "%s", census->notes.items[i]);
}

/* What the answer rests on. */
static void write_proof(struct key_table *table, const struct census *census)
{
	_cleanup_strings_ revisions = {0};
	_cleanup_free_ char *values = text_human_count(census->values), *bytes = text_human_bytes(census->bytes),
			    *took = text_human_duration(census->finished - census->begun);
	for (size_t i = 0; i < census->etcd_count; i++) {
		_cleanup_free_ char *number = text_human_count(census->etcds[i].revision);
		strings_add(&revisions, number);
	}
	_cleanup_free_ char *at = strings_join(&revisions, " and ");
	_cleanup_free_ char *text = xasprintf("%s%s values, %s, read at etcd revision %s in %s%s",
					      census->whole_keyspace ? "The whole keyspace: " : "", values, bytes, at,
					      took, census->complete ? "; proved to be this API server's etcd" : "");
	key_table_wrapped(table, TONE_PLAIN, "", text);
	_cleanup_free_ char *opened = text_human_count(census->opened), *closed = text_human_count(census->not_opened);
	_cleanup_free_ char *opening =
		xasprintf("%s of them opened with the configuration's keys%s%s%s", opened,
			  census->not_opened > 0 ? ", and " : "", census->not_opened > 0 ? closed : "",
			  census->not_opened == 0 ? ""
			  : census->plugins_asked ? " encrypted ones not"
						  : " encrypted ones not (--open asks KMS plugins, too)");
	if (census->opened + census->not_opened > 0)
		key_table_wrapped(table, TONE_PLAIN, "", opening);
	if (census->complete)
		return;
	key_table_wrapped(table, TONE_BAD, "INCOMPLETE: ", census->why ? census->why : "");
}

char *census_table(const struct census *census, unsigned width, bool color)
{
	_cleanup_(key_table_clear) struct key_table table = key_table_begin(width, color);
	add_rows(&table, census);
	key_table_write_rows(&table, "RESOURCE");
	write_findings(&table, census);
	write_proof(&table, census);
	return buf_steal_text(&table.out);
}
