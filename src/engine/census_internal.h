/* Between the census' own files. */
#pragma once
#include "engine/census.h"
#include "engine/etcd_probe.h"
#include "engine/kms_opener.h"

/* Values counted by the key they are under. */
struct tally {
	struct census_key *keys;
	size_t count;
	uint64_t *hashes;              /* of keys[i]'s names */
	const struct secret **openers; /* the bytes that should open what is under keys[i]; NULL: not at hand */
	size_t last;                   /* most values are under the same key as the one before */
	const bool *closed;            /* where it is set, no key is added any more; may be NULL */
};
/* The key that `info` (known) names, found or added (objects 0 then); NULL when there are too many to tell apart. */
struct census_key *tally_key(struct tally *tally, const struct etcd_value_info *info);
void tally_clear(struct tally *tally);
void census_key_clear(struct census_key *key);
/* The keys of a tally, the write key first, then those with most objects; the tally has none then. */
void census_keys_take(struct tally *tally, struct census_key **ret, size_t *ret_count);
void census_keys_free(struct census_key **keys, size_t *count); /* leaves NULL, 0 */
/* The keys of an array that differ from `like` in nothing but their DEK source. */
struct census_key_sum {
	const struct census_key *first; /* NULL: none */
	uint64_t objects, bytes, opened, does_not_open, refused;
	uint64_t not_opened; /* encrypted ones, refused among them */
	const char *why;     /* of one that was refused, else of one that nobody knows about; NULL */
	size_t dek_sources;
	bool lumped;
};
struct census_key_sum census_key_sum(const struct census_key *keys, size_t count, const struct census_key *like);
/* Adds one value. */
void census_key_add(struct census_key *key, const struct etcd_kv *kv);
/* Whether a configuration's key is the one that a value names. */
bool census_key_matches(const struct config_key *key, enum provider_type provider, unsigned kms_version,
			const char *name);
/* Whether such a key is the one that a rule writes with. */
bool census_key_writes(const struct config_rule *rule, enum provider_type provider, unsigned kms_version,
		       const char *name, const char *key_id);
/* Fills in write_key and in_config, from the rule that holds for a resource (NULL: stored in plaintext). */
void census_key_judge(struct census_key *key, const struct config_rule *rule);

/* Whether a whole value (kv->value; NULL: no) opens with the bytes of the key that it names. */
bool census_value_opens(const struct secret *opener, const struct census_key *key, const struct etcd_kv *kv);
/* The plugin of `rule` that a value under KMS v2 names; NULL: it is under something else, or the rule (NULL: none) lacks it. */
const struct config_key *census_value_plugin(const struct config_rule *rule, const struct etcd_value_info *info);
/* What came of opening a value. `why`: as kms_opener_try has it, NULL where no plugin is to be asked. */
void census_key_add_opening(struct census_key *key, enum kms_opening opening, const char *why);
/* An array of keys, as a member of the object in hand. */
void census_keys_write_json(struct json_writer *w, const char *member, const struct census_key *keys, size_t count);

/* What the API server is asked while an etcd is read. */
struct census_counts {
	struct api_ask *asks; /* per resource of the census; without `resource` where it is not asked */
	struct api_firsts *running;
};

/* One run over the keyspaces. */
struct census_scan {
	const struct census_options *options;
	struct census *census;
	char *prefix;          /* clean */
	size_t *counted;       /* per map entry: index of its resource, or SIZE_MAX */
	bool *nests;           /* per map entry: another one's prefix lies within its own */
	struct tally *tallies; /* per resource */
	struct tally outside, foreign;
	const struct config_rule **rules;   /* per resource: what its values are opened by; NULL */
	const struct config_rule **writers; /* per resource: what its values should be under; NULL */
	struct kms_opener *opener;          /* NULL: plugins are not asked */
	struct census_counts *counts;       /* per etcd */
	bool too_many_keys;
	uint64_t total; /* values expected, as far as known */
};
/* Reads what is asked for from every etcd, at one revision each. -ERROR_EXPIRED when compacted in the middle and
 * going on was
 * not allowed; then and on other errors the counts are worthless. */
_must_check_ int census_scan_all(struct census_scan *scan, struct error **err);
/* Keys at which the reading of one etcd (of one entry's prefix, where `only` is not NULL) is cut into ranges: in order,
 * each once; none is fine. Waits. */
void census_bounds(const struct census_scan *scan, size_t etcd, const struct map_entry *only, struct strings *ret);
/* One value of etcd number `etcd`. `only`: the entry whose prefix is being read, NULL for the whole keyspace. -ERROR_BUSY,
 * with nothing counted, where its key is to be asked for first (kms_opener_ask). */
_must_check_ int census_scan_value(struct census_scan *scan, size_t etcd, const struct map_entry *only,
				   const struct map_entry **cache, const struct etcd_kv *kv);
/* Whether it is `prefix`, which may end with slashes, or lies below it: "/other" has "/other/a", not "/other-prod/a". */
bool census_lies_under(const char *path, const char *prefix);
/* -ERROR_INPUT for a foreign prefix (NULL: none) that holds, or lies in, what the map has, or that is empty. */
_must_check_ int census_check_foreign(const struct resource_map *map, const struct strings *foreign,
				      struct error **err);
/* Asks the API server how many objects there are of each chosen resource in this etcd, at the revision that is read:
 * beside the pages, for etcd walks through all keys of a resource to tell. */
void census_counts_start(struct census_scan *scan, size_t etcd);
/* Waits for the answers; a difference makes the census doubtful. -ERROR_INTERRUPTED. */
_must_check_ int census_counts_compare(struct census_scan *scan, struct error **err);
void census_counts_clear(struct census_scan *scan);
/* Names one more object that no API server could read. */
void census_lose(struct census *census, const struct map_entry *entry, const struct census_key *key, const char *path,
		 enum lost_reason reason);
void census_lost_clear(struct census *census);          /* keeps the array */
char *census_lost_text(const struct census_lost *lost); /* one line; new string */
/* What happens with them, and what a person can do: a sentence each; none where nothing is lost. */
void census_lost_ways(const struct census *census, struct strings *ret);
void census_lost_write_json(struct json_writer *w, const struct census *census); /* members of the object in hand */
/* Makes the census doubtful; the first reason stays. */
void census_doubt(struct census *census, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void census_note(struct census *census, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
