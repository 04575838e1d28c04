#include "engine/check_row.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/check_internal.h"

#define STORED "k8s:enc:"
#define WORDS_MAX 4096 /* bytes of a field */
#define KEY_IDS_MAX 1024

#define ROW struct check_row
static const struct object_field fields[] = {
	OBJECT_WORDS(ROW, context, "context", WORDS_MAX),
	OBJECT_WORDS(ROW, server, "server", WORDS_MAX),
	OBJECT_WORDS(ROW, version, "version", WORDS_MAX),
	OBJECT_WORDS(ROW, cluster_uid, "clusterUID", WORDS_MAX),
	OBJECT_WORDS(ROW, why, "why", WORDS_MAX),
	OBJECT_WORDS(ROW, write_provider, "writeProvider", WORDS_MAX),
	OBJECT_WORDS(ROW, evidence, "evidence", WORDS_MAX),
	OBJECT_BOOL(ROW, counted, "counted"),
	OBJECT_NUMBER(ROW, revision, "revision", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(ROW, values, "values", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(ROW, encrypted, "encrypted", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(ROW, under_kms, "underKMS", OBJECT_NUMBER_MAX, 0),
	OBJECT_BOOL(ROW, age_known, "ageKnown"),
	OBJECT_BOOL(ROW, age_bounded, "ageBounded"),
	OBJECT_NUMBER(ROW, oldest_key, "oldestKey", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(ROW, oldest_key_at_most, "oldestKeyAtMost", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXTS(ROW, key_ids, "keyIDs", KEY_IDS_MAX, WORDS_MAX),
	OBJECT_NUMBER(ROW, failed, "failed", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(ROW, warnings, "warnings", OBJECT_NUMBER_MAX, 0),
};
#undef ROW
const struct object_record check_row_record = {fields, ELEMENTS(fields), sizeof(struct check_row)};

void check_row_free(struct check_row *row)
{
	object_release(&check_row_record, row);
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
	const struct config_key *key = f->shape ? check_write_key(f, "secrets") : NULL;
	row->write_provider = !f->shape ? by_metrics(f) : key ? config_key_label(key) : xstrdup("plaintext");
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
	uint64_t oldest = 0, oldest_at_most = f->shape ? 0 : UINT64_MAX;
	for (size_t r = 0; f->shape && r < f->shape->rule_count; r++) {
		const struct config_key *key = &f->shape->rules[r].keys[0];
		uint64_t least = 0, most = UINT64_MAX;
		if (key->type == PROVIDER_IDENTITY)
			continue;
		if (age_of(f, key, &least, &most))
			row->age_known = true;
		else
			most = UINT64_MAX;
		oldest = least > oldest ? least : oldest;
		oldest_at_most = most > oldest_at_most ? most : oldest_at_most;
	}
	row->age_bounded = oldest_at_most != UINT64_MAX;
	row->oldest_key = oldest / NS_PER_S;
	row->oldest_key_at_most = row->age_bounded ? oldest_at_most / NS_PER_S : 0;
}

void check_row_fill(struct check_row *row, const struct check_facts *f, const struct check_report *report)
{
	fill_provider(row, f);
	fill_shares(row, f);
	fill_age(row, f);
	row->evidence = xstrdup(row->counted          ? "census"
				: f->shape            ? "agents"
				: row->write_provider ? "metrics"
						      : "none");
	for (size_t i = 0; i < f->kms_count; i++)
		if (f->kms[i].key_id_hash && !strings_has(&row->key_ids, f->kms[i].key_id_hash))
			strings_add(&row->key_ids, f->kms[i].key_id_hash);
	row->cluster_uid = xstrdup_or_null(f->cluster_uid);
	row->failed = report->counts[CHECK_FAILED];
	row->warnings = report->counts[CHECK_WARNING];
}

/* --- several rows --- */

static bool is_same(const struct check_row *one, const struct check_row *other)
{
	return one->cluster_uid && text_equal(one->cluster_uid, other->cluster_uid);
}

/* Whether an earlier row is of the same cluster. */
static bool is_again(const struct check_row *rows, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (is_same(&rows[at], &rows[i]))
			return true;
	return false;
}

/* One whose cluster is not known may be that of another row, and may not: that is said. */
static void add_users(const struct check_row *rows, size_t count, const char *key_id, struct strings *ret)
{
	for (size_t i = 0; i < count; i++) {
		bool known = false;
		if (!strings_has(&rows[i].key_ids, key_id))
			continue;
		for (size_t k = 0; k < i && !known; k++)
			known = is_same(&rows[i], &rows[k]) && strings_has(&rows[k].key_ids, key_id);
		if (!known)
			check_add(ret, "%s%s", rows[i].context,
				  rows[i].cluster_uid ? "" : " (whether that is a cluster of its own is not known)");
	}
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
		add_users(rows, count, ids.items[id], &users);
		_cleanup_free_ char *names = strings_join(&users, ", ");
		if (users.count > 1)
			check_add(ret, "one KMS key (%s) is used by %s", ids.items[id], names);
	}
}

void check_rows_same(const struct check_row *rows, size_t count, struct strings *ret)
{
	_cleanup_strings_ unknown = {0};
	for (size_t i = 0; i < count; i++) {
		_cleanup_strings_ contexts = {0};
		for (size_t k = i; k < count && !is_again(rows, i); k++)
			if (is_same(&rows[i], &rows[k]))
				strings_add(&contexts, rows[k].context);
		_cleanup_free_ char *names = strings_join(&contexts, ", ");
		if (contexts.count > 1)
			check_add(
				ret,
				"%s are one cluster by the uid of Namespace kube-system, or restored from one backup: "
				"counted once, and one user of a KMS key",
				names);
		if (!rows[i].cluster_uid)
			strings_add(&unknown, rows[i].context);
	}
	_cleanup_free_ char *names = strings_join(&unknown, ", ");
	if (unknown.count > 0 && count > 1)
		check_add(ret, "%s: counted as %s: the uid of Namespace kube-system there is not known", names,
			  unknown.count == 1 ? "a cluster of its own" : "one cluster each");
}

struct check_totals check_rows_total(const struct check_row *rows, size_t count)
{
	struct check_totals totals = {0};
	for (size_t i = 0; i < count; i++) {
		if (is_again(rows, i))
			continue;
		/* What one context may see another may not: its newest census, and a finding of any of them. */
		const struct check_row *counted = &rows[i];
		bool failing = rows[i].why || rows[i].failed > 0;
		for (size_t k = i + 1; k < count; k++) {
			if (!is_same(&rows[i], &rows[k]))
				continue;
			failing = failing || rows[k].failed > 0;
			if (rows[k].counted && (!counted->counted || rows[k].revision > counted->revision))
				counted = &rows[k];
		}
		totals.clusters++;
		totals.reached += rows[i].why == NULL;
		totals.counted += counted->counted;
		totals.failing += failing;
		totals.values += counted->values;
		totals.encrypted += counted->encrypted;
		totals.under_kms += counted->under_kms;
	}
	return totals;
}
