/* A backup's census for people: what is under which key, what is wrong, and at the end which keys the backup needs. */
#include "engine/census_internal.h"
#include "engine/key_table.h"
#include "engine/snapshot.h"

#include <inttypes.h>

/* ---- rows ---- */

struct group_rows {
	struct key_table *table;
	const struct snapshot_census *census;
	const struct snapshot_group *group;
	unsigned shown;
	uint64_t more, more_objects, more_bytes;
};

static void join(char **text, char *part)
{
	char *joined = xasprintf("%s%s%s", *text, (*text)[0] && part[0] ? ", " : "", part);
	free(*text);
	free(part);
	*text = joined;
}

static char *note_of(const struct snapshot_census *census, const struct census_key *key,
		     const struct census_key_sum *newest, const struct census_key_sum *history, enum tone *ret_tone)
{
	char *note = xstrdup("");
	*ret_tone = TONE_PLAIN;
	if (history->objects > 0) {
		_cleanup_free_ char *count = text_human_count(history->objects);
		join(&note, xasprintf("%s%s in history", newest->objects > 0 ? "+" : "", count));
	}
	join(&note, key_table_dek_note(newest));
	if (!census->config_known)
		return note;
	if (!key->in_config && newest->objects > 0) {
		join(&note, xstrdup("UNREADABLE"));
		*ret_tone = TONE_BAD;
	} else if (!key->in_config) {
		join(&note, xstrdup("no key"));
		*ret_tone = TONE_WARN;
	} else if (key->provider != PROVIDER_IDENTITY) {
		join(&note, xstrdup("key at hand"));
		*ret_tone = TONE_GOOD;
	}
	return note;
}

static void add_key(struct group_rows *rows, const struct census_key *key, const struct census_key_sum *newest,
		    const struct census_key_sum *history)
{
	if (rows->shown == KEY_TABLE_ROWS_MAX) {
		rows->more++;
		rows->more_objects += newest->objects;
		rows->more_bytes += newest->bytes;
		return;
	}
	enum tone tone;
	char *note = note_of(rows->census, key, newest, history, &tone);
	const char *name = rows->group->name[0] ? rows->group->name : "(too many to name)";
	key_table_row(rows->table, rows->shown++ == 0 ? name : "", census_key_label(key), newest->objects,
		      newest->bytes, note, tone);
}

static void add_group(struct key_table *table, const struct snapshot_census *census, const struct snapshot_group *group)
{
	struct group_rows rows = {.table = table, .census = census, .group = group};
	for (size_t i = 0; i < group->newest_count; i++) {
		const struct census_key *key = &group->newest[i];
		struct census_key_sum newest = census_key_sum(group->newest, group->newest_count, key);
		struct census_key_sum history = census_key_sum(group->history, group->history_count, key);
		if (newest.first == key)
			add_key(&rows, key, &newest, &history);
	}
	for (size_t i = 0; i < group->history_count; i++) {
		const struct census_key *key = &group->history[i];
		struct census_key_sum newest = census_key_sum(group->newest, group->newest_count, key);
		struct census_key_sum history = census_key_sum(group->history, group->history_count, key);
		if (!newest.first && history.first == key)
			add_key(&rows, key, &newest, &history);
	}
	if (rows.more > 0)
		key_table_row(table, "", xasprintf("%" PRIu64 " more keys", rows.more), rows.more_objects,
			      rows.more_bytes, xstrdup(""), TONE_WARN);
	if (group->unknown + group->history_unknown == 0)
		return;
	_cleanup_free_ char *history = text_human_count(group->history_unknown);
	key_table_row(table, rows.shown == 0 ? group->name : "", xstrdup("unknown"), group->unknown, 0,
		      group->history_unknown > 0 ? xasprintf("+%s in history, UNKNOWN", history) : xstrdup("UNKNOWN"),
		      TONE_BAD);
}

static bool only_plaintext(const struct snapshot_group *group)
{
	for (size_t i = 0; i < group->newest_count; i++) {
		if (group->newest[i].provider != PROVIDER_IDENTITY || !group->newest[i].in_config)
			return false;
	}
	for (size_t i = 0; i < group->history_count; i++) {
		if (group->history[i].provider != PROVIDER_IDENTITY)
			return false;
	}
	return group->unknown + group->history_unknown == 0;
}

/* Secrets first, as everywhere. */
#define RANKS 3u
static unsigned rank_of(const struct snapshot_group *group)
{
	return text_equal(group->name, "secrets") ? 0 : text_equal(group->name, "configmaps") ? 1 : 2;
}

static void add_rows(struct key_table *table, const struct snapshot_census *census)
{
	uint64_t others = 0, objects = 0, bytes = 0, history = 0;
	for (unsigned rank = 0; rank < RANKS; rank++)
		for (size_t i = 0; i < census->group_count; i++) {
			const struct snapshot_group *group = &census->groups[i];
			if (rank_of(group) == rank && (rank < 2 || !only_plaintext(group)))
				add_group(table, census, group);
		}
	for (size_t i = 0; i < census->group_count; i++) {
		const struct snapshot_group *group = &census->groups[i];
		if (rank_of(group) < 2 || !only_plaintext(group))
			continue;
		others++;
		objects += group->objects;
		for (size_t k = 0; k < group->newest_count; k++)
			bytes += group->newest[k].bytes;
		for (size_t k = 0; k < group->history_count; k++)
			history += group->history[k].objects;
	}
	if (others == 0)
		return;
	_cleanup_free_ char *in_history = text_human_count(history);
	char *note = history > 0 ? xasprintf("+%s in history", in_history) : xstrdup("");
	join(&note, xasprintf("%" PRIu64 " paths", others));
	key_table_row(table, "all others", xstrdup("plaintext"), objects, bytes, note, TONE_PLAIN);
}

/* ---- findings ---- */

static void group_findings(struct key_table *table, const struct snapshot_group *group)
{
	for (size_t i = 0; i < group->newest_count; i++) {
		const struct census_key *key = &group->newest[i];
		if (key->in_config)
			continue;
		_cleanup_free_ char *label = census_key_label(key), *count = text_human_count(key->objects);
		key_table_finding(
			table, TONE_BAD,
			"%s: %s %s under %s, which the configuration does not have: restored with it, %s could "
			"not be read, for example %s",
			group->name, count, key_table_plural(key->objects, "value", "values"), label,
			key_table_plural(key->objects, "it", "they"), key->example ? key->example : "");
	}
	_cleanup_free_ char *unknown = text_human_count(group->unknown),
			    *broken = text_human_count(group->does_not_open);
	if (group->unknown > 0)
		key_table_finding(table, TONE_BAD, "%s: %s %s truncated or of unknown form, for example %s",
				  group->name, unknown, key_table_plural(group->unknown, "value is", "values are"),
				  group->unknown_example);
	if (group->does_not_open > 0)
		key_table_finding(table, TONE_BAD, "%s: %s %s not open with the key of that name", group->name, broken,
				  key_table_plural(group->does_not_open, "value does", "values do"));
}

static void write_findings(struct key_table *table, const struct snapshot_census *census)
{
	_cleanup_free_ char *outside = text_human_count(census->outside),
			    *encrypted = text_human_count(census->outside_encrypted),
			    *opened = text_human_count(census->opened);
	for (size_t i = 0; i < census->group_count; i++)
		group_findings(table, &census->groups[i]);
	if (census->too_many_keys)
		key_table_finding(table, TONE_BAD, "too many keys to tell them all apart: the rest is counted unknown");
	if (census->outside_encrypted > 0)
		key_table_finding(table, TONE_WARN, "%s encrypted %s not lie under %s, for example %s", encrypted,
				  key_table_plural(census->outside_encrypted, "value does", "values do"),
				  census->prefix[0] ? census->prefix : "/", census->outside_example);
	else if (census->outside > 0)
		key_table_finding(
			table, TONE_PLAIN, "%s %s not lie under %s, for example %s", outside,
			key_table_plural(census->outside, "value, not encrypted, does", "values, not encrypted, do"),
			census->prefix[0] ? census->prefix : "/", census->outside_example);
	if (!census->has_hash)
		key_table_finding(
			table, TONE_WARN,
			"the file has no hash of its own: copied from a running member? etcdctl snapshot save "
			"writes one behind it");
	if (census->opened > 0)
		key_table_finding(table, TONE_PLAIN, "%s newest %s with the configuration's keys", opened,
				  key_table_plural(census->opened, "value opens", "values open"));
	for (size_t i = 0; census->config_known && i < census->newest_count; i++) {
		_cleanup_free_ char *closed = census_closed_text(census->newest, census->newest_count, i);
		if (closed && census->newest[i].in_config)
			key_table_finding(table, census->plugins_asked ? TONE_BAD : TONE_PLAIN, "%s%s", closed,
					  census->plugins_asked ? "" : " (--open)");
	}
}

/* ---- the answer ---- */

static void write_size(struct key_table *table, const struct snapshot_census *census)
{
	_cleanup_free_ char *objects = text_human_count(census->objects), *bytes = text_human_bytes(census->bytes),
			    *revision = text_human_count(census->revision),
			    *history = text_human_count(census->history_values),
			    *history_bytes = text_human_bytes(census->history_bytes),
			    *deleted = text_human_count(census->deleted),
			    *compacted = text_human_count(census->compacted_revision),
			    *took = text_human_duration(census->finished - census->begun),
			    *size = text_human_bytes(census->file_bytes);
	_cleanup_free_ char *since = census->compacted_revision > 0 ? xasprintf("since revision %s", compacted)
								    : xstrdup("since the beginning");
	_cleanup_free_ char *text = xasprintf(
		"%s %s, %s, at etcd revision %s. In history %s: %s older %s, %s; %s %s deleted. %s read in %s%s.",
		objects, key_table_plural(census->objects, "object", "objects"), bytes, revision, since, history,
		key_table_plural(census->history_values, "value", "values"), history_bytes, deleted,
		key_table_plural(census->deleted, "path was", "paths were"), size, took,
		census->has_hash ? "; its hash is right" : "");
	key_table_wrapped(table, TONE_PLAIN, "", text);
}

/* "a, b and c" */
static char *list_of(const struct strings *names)
{
	char *list = xstrdup("");
	for (size_t i = 0; i < names->count; i++) {
		const char *between = i == 0 ? "" : i + 1 == names->count ? " and " : ", ";
		char *longer = xasprintf("%s%s%s", list, between, names->items[i]);
		free(list);
		list = longer;
	}
	return list;
}

static void write_needs(struct key_table *table, const struct snapshot_census *census)
{
	_cleanup_free_ char *needs = list_of(&census->needs), *history = list_of(&census->history_needs);
	const char *least = census->unknown > 0 || census->outside_encrypted > 0 ? " at least" : "";
	_cleanup_free_ char *newest =
		census->needs.count == 0
			? xstrdup("This backup needs no key: nothing in its newest state is encrypted.")
			: xasprintf("This backup needs%s %s %s.", least,
				    key_table_plural(census->needs.count, "key", "keys"), needs);
	_cleanup_free_ char *text =
		census->history_needs.count == 0
			? xstrdup(newest)
			: xasprintf("%s Its history, which a restored cluster does not serve, is also under %s.",
				    newest, history);
	key_table_wrapped(table, TONE_BOLD, "", text);
}

char *snapshot_census_table(const struct snapshot_census *census, unsigned width, bool color)
{
	_cleanup_(key_table_clear) struct key_table table = key_table_begin(width, color);
	add_rows(&table, census);
	key_table_write_rows(&table, "BY PATH");
	write_findings(&table, census);
	write_size(&table, census);
	write_needs(&table, census);
	return buf_steal_text(&table.out);
}
