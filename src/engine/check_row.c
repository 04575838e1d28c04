#include "engine/check_row.h"

#include <stdlib.h>
#include <string.h>

#include "engine/check_internal.h"

#define STORED "k8s:enc:"

void check_row_free(struct check_row *row)
{
	free(row->context);
	free(row->server);
	free(row->version);
	free(row->why);
	free(row->write_provider);
	strings_free(&row->key_ids);
}

/* --- the write provider --- */

/* "k8s:enc:kms:v2:vault:" is kms/vault; of a local key the name is in another sample: "k8s:enc:aescbc:v1:". */
static char *provider_of(const char *prefix)
{
	_cleanup_strings_ parts = {0};
	strings_split(&parts, prefix + strlen(STORED), ':');
	return parts.count > 3 ? xasprintf("%s/%s", parts.items[0], parts.items[2]) : xstrdup(parts.items[0]);
}

static char *by_metrics(const struct check_facts *f)
{
	_cleanup_strings_ seen = {0};
	for (size_t i = 0; i < f->scrape_count; i++)
		for (size_t k = 0; k < f->scrapes[i].writes_with.count; k++) {
			if (!text_starts(f->scrapes[i].writes_with.items[k], STORED))
				continue;
			_cleanup_free_ char *provider = provider_of(f->scrapes[i].writes_with.items[k]);
			strings_add(&seen, provider);
		}
	strings_sort_unique(&seen);
	return seen.count ? strings_join(&seen, " and ") : NULL;
}

static void fill_provider(struct check_row *row, const struct check_facts *f)
{
	row->evidence = "none";
	if (f->shape) {
		const struct config_key *key = check_write_key(f, "secrets");
		row->write_provider = key ? config_key_label(key) : xstrdup("plaintext");
		row->evidence = "agents";
		return;
	}
	row->write_provider = by_metrics(f);
	if (row->write_provider)
		row->evidence = "metrics";
}

/* --- shares --- */

static const struct key_server_status *newest_census(const struct fleet *fleet)
{
	const struct key_server_status *newest = NULL;
	for (size_t i = 0; i < fleet->count; i++) {
		const struct key_server_status *status = &fleet->servers[i].last->status;
		if (status->census.complete && (!newest || status->census.revision > newest->census.revision))
			newest = status;
	}
	return newest;
}

/* Of Secrets, and of what else a rule names. */
static void fill_shares(struct check_row *row, const struct check_facts *f)
{
	const struct key_server_status *status = newest_census(&f->fleet);
	if (!status || !f->shape)
		return;
	row->counted = true;
	row->evidence = "census";
	row->revision = status->census.revision;
	for (size_t i = 0; i < status->census.group_count; i++) {
		const struct key_server_group *group = &status->census.groups[i];
		if (!group->resource ||
		    (!text_equal(group->resource, "secrets") && !config_shape_rule(f->shape, group->resource)))
			continue;
		row->values += group->values;
		row->encrypted += !group->unknown && !text_equal(group->provider, "identity") ? group->values : 0;
		row->under_kms += !group->unknown && text_equal(group->provider, "kms") ? group->values : 0;
	}
}

/* How old a key is, at least and at most; false where nothing tells. */
static bool age_of(const struct check_facts *f, const struct config_key *key, uint64_t *ret_least, uint64_t *ret_most)
{
	uint64_t made = 0, first = 0, before = 0;
	if (key_name_time(key->name, &made)) {
		*ret_least = *ret_most = f->wall_now > made ? f->wall_now - made : 0;
		return made <= f->wall_now;
	}
	_cleanup_free_ char *label = config_key_label(key);
	/* A KMS provider's name says nothing of the key behind it. */
	if (key->type == PROVIDER_KMS || !key_seen_since(&f->keys_seen, label, &first, &before) || first > f->wall_now)
		return false;
	*ret_least = f->wall_now - first;
	*ret_most = before ? f->wall_now - before : UINT64_MAX;
	return true;
}

/* The oldest is no younger than any whose age is known, and of any age where that of one is not. */
static void fill_age(struct check_row *row, const struct check_facts *f)
{
	row->oldest_key_at_most = f->shape ? 0 : UINT64_MAX;
	for (size_t r = 0; f->shape && r < f->shape->rule_count; r++) {
		const struct config_key *key = &f->shape->rules[r].keys[0];
		uint64_t least = 0, most = UINT64_MAX;
		if (key->type == PROVIDER_IDENTITY)
			continue;
		if (age_of(f, key, &least, &most))
			row->age_known = true;
		else
			most = UINT64_MAX;
		row->oldest_key = least > row->oldest_key ? least : row->oldest_key;
		row->oldest_key_at_most = most > row->oldest_key_at_most ? most : row->oldest_key_at_most;
	}
}

void check_row_fill(struct check_row *row, const struct check_facts *f, const struct check_report *report)
{
	fill_provider(row, f);
	fill_shares(row, f);
	fill_age(row, f);
	for (size_t i = 0; i < f->kms_count; i++)
		if (f->kms[i].key_id_hash && !strings_has(&row->key_ids, f->kms[i].key_id_hash))
			strings_add(&row->key_ids, f->kms[i].key_id_hash);
	row->failed = report->counts[CHECK_FAILED];
	row->warnings = report->counts[CHECK_WARNING];
}

void check_rows_share(const struct check_row *rows, size_t count, struct strings *ret)
{
	_cleanup_strings_ ids = {0};
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < rows[i].key_ids.count; k++)
			strings_add(&ids, rows[i].key_ids.items[k]);
	strings_sort_unique(&ids);
	for (size_t id = 0; id < ids.count; id++) {
		_cleanup_strings_ users = {0};
		for (size_t i = 0; i < count; i++)
			if (strings_has(&rows[i].key_ids, ids.items[id]))
				strings_add(&users, rows[i].context);
		_cleanup_free_ char *names = strings_join(&users, ", ");
		if (users.count > 1)
			check_add(ret, "one KMS key (%s) is used by %s", ids.items[id], names);
	}
}
