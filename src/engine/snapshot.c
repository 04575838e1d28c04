/* All revisions of the file, from the newest to the oldest, each value counted. */
#include "engine/snapshot.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/secret.h"
#include "engine/census_internal.h"
#include "engine/same_etcd.h"
#include "engine/snapshot_file.h"
#include "engine/snapshot_seen.h"
#include "format/bbolt.h"
#include "format/etcd_range.h"
#include "format/pbwire.h"

#define REVISION_LEN 17u /* main, '_', sub: etcd server/storage/mvcc/revision.go */
#define KVS_TAG (2 << 3 | 2)
#define KEY_COST 256u /* of a key or group in memory, beside its texts */
#define PROGRESS_EACH 4096u

/* A group while it is counted. */
struct counting {
	uint64_t hash; /* of its name */
	char *start;   /* what its paths begin with behind the prefix: "secrets/"; "" where that does not tell */
	size_t start_len;
	struct tally newest, history;
};

struct scan {
	const struct snapshot_options *options;
	struct snapshot_census *census;
	struct bbolt *bolt;
	struct snapshot_seen *seen;
	/* Of a RangeResponse, which the KeyValues of the file are handed to as if they were one. */
	struct etcd_range_reader *reader;
	struct counting *countings; /* per group */
	size_t last;                /* the group of the value before: most often this one's too */
	struct tally newest, history;
	struct kms_opener *opener; /* NULL: plugins are not asked */
	struct error *stopped;     /* why on_kv gave up, if not for what the file holds */
	size_t key_bytes;
	bool closed; /* no further key is told apart */
	uint64_t values;
	/* the item in hand */
	uint64_t revision;
	bool tombstone, counted;
};

void snapshot_census_free(struct snapshot_census *census)
{
	if (!census)
		return;
	for (size_t i = 0; i < census->group_count; i++) {
		struct snapshot_group *group = &census->groups[i];
		census_keys_free(&group->newest, &group->newest_count);
		census_keys_free(&group->history, &group->history_count);
		free(group->name);
		free(group->unknown_example);
	}
	free(census->groups);
	census_keys_free(&census->newest, &census->newest_count);
	census_keys_free(&census->history, &census->history_count);
	strings_free(&census->needs);
	strings_free(&census->history_needs);
	free(census->file);
	free(census->prefix);
	free(census->does_not_open_example);
	free(census->outside_example);
	free(census);
}

void snapshot_census_freep(struct snapshot_census **census)
{
	snapshot_census_free(*census);
}

static void scan_clear(struct scan *scan)
{
	for (size_t i = 0; scan->countings && i < scan->census->group_count; i++) {
		tally_clear(&scan->countings[i].newest);
		tally_clear(&scan->countings[i].history);
		free(scan->countings[i].start);
	}
	free(scan->countings);
	tally_clear(&scan->newest);
	tally_clear(&scan->history);
	etcd_range_reader_free(scan->reader);
	snapshot_seen_free(scan->seen);
	kms_opener_free(scan->opener);
	error_free(scan->stopped);
	bbolt_free(scan->bolt);
}

/* ---- groups of paths ---- */

/* FNV-1a; names are compared as well. */
static uint64_t hash_name(const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return hash;
}

/* "secrets" of "secrets/default/a", "widgets.example.com" of "example.com/widgets/default/a". New string. `ret_len`: of the
 * path's beginning that says so, with its slash. */
static char *group_name(const char *path, bool *ret_exact, size_t *ret_len)
{
	size_t first = strcspn(path, "/");
	const char *second = path[first] == '/' ? path + first + 1 : NULL;
	*ret_exact = second && memchr(path, '.', first);
	*ret_len = second ? first + 1 : 0;
	if (*ret_exact) {
		size_t len = strcspn(second, "/");
		*ret_len = second[len] == '/' ? first + 1 + len + 1 : 0;
		return xasprintf("%.*s.%.*s", (int)len, second, (int)first, path);
	}
	char *name = xstrndup(path, first);
	/* Others may be of any API group: its name is not in the path. */
	*ret_exact = text_equal(name, "secrets") || text_equal(name, "configmaps");
	return name;
}

/* Its index. Those that are too many to tell apart are one without a name. */
static size_t find_group(struct scan *scan, const char *path)
{
	struct snapshot_census *census = scan->census;
	bool exact;
	size_t start_len;
	const struct counting *last = scan->countings ? &scan->countings[scan->last] : NULL;
	if (last && last->start_len > 0 && strncmp(path, last->start, last->start_len) == 0)
		return scan->last;
	_cleanup_free_ char *name = group_name(path, &exact, &start_len);
	if (scan->closed || census->group_count >= SNAPSHOT_GROUPS_MAX - 1) {
		bool known = false;
		for (size_t i = 0; i < census->group_count && !known; i++)
			known = text_equal(census->groups[i].name, name);
		if (!known) {
			name[0] = '\0';
			exact = false;
			start_len = 0;
		}
	}
	uint64_t hash = hash_name(name);
	for (size_t i = 0; i < census->group_count; i++) {
		if (scan->countings[i].hash == hash && text_equal(census->groups[i].name, name))
			return scan->last = i;
	}
	size_t count = census->group_count++;
	census->groups = xreallocarray(census->groups, count + 1, sizeof(*census->groups));
	scan->countings = xreallocarray(scan->countings, count + 1, sizeof(*scan->countings));
	scan->key_bytes += 2 * strlen(name) + KEY_COST;
	census->groups[count] = (struct snapshot_group){.name = steal(name), .exact = exact};
	scan->countings[count] = (struct counting){
		.hash = hash,
		.start = xstrndup(path, start_len),
		.start_len = start_len,
		.newest.closed = &scan->closed,
		.history.closed = &scan->closed,
	};
	return scan->last = count;
}

/* ---- values ---- */

/* Of a path that does not name its resource, and of all together: what any rule has. */
static void judge_by_any(struct census_key *key, const struct config_shape *shape)
{
	bool writes = false, readable = key->provider == PROVIDER_IDENTITY;
	for (size_t i = 0; i < shape->rule_count; i++) {
		census_key_judge(key, &shape->rules[i]);
		writes = writes || key->write_key;
		readable = readable || key->in_config;
	}
	key->write_key = writes;
	key->in_config = readable;
}

/* `group`: NULL for the tally of all. */
static struct census_key *find_key(struct scan *scan, struct tally *tally, const struct snapshot_group *group,
				   const struct etcd_kv *kv)
{
	const struct encryption_config *config = scan->options->config;
	struct census_key *key = tally_key(tally, kv->info);
	if (!key || key->objects > 0)
		return key;
	scan->key_bytes += KEY_COST + strlen(key->name) + strlen(key->key_id) + kv->key_len;
	if (!config)
		return key;
	const struct config_shape *shape = encryption_config_shape(config);
	if (group && group->exact)
		census_key_judge(key, config_shape_rule(shape, group->name));
	else
		judge_by_any(key, shape);
	if (group && key->in_config)
		tally->openers[key - tally->keys] = encryption_config_key(config, key->provider, key->name);
	return key;
}

static void count_unknown(struct scan *scan, struct snapshot_group *group, const struct etcd_kv *kv, bool newest)
{
	struct snapshot_census *census = scan->census;
	census->too_many_keys |= kv->info->state == ETCD_VALUE_KNOWN;
	if (!newest) {
		census->history_unknown++;
		group->history_unknown++;
		return;
	}
	census->unknown++;
	group->unknown++;
	if (!group->unknown_example)
		group->unknown_example = xstrdup(kv->key);
}

/* The configuration's plugin for a value, where a path says its resource by that rule, else of any. */
static const struct config_key *plugin_of(const struct scan *scan, const struct snapshot_group *group,
					  const struct etcd_kv *kv)
{
	const struct config_shape *shape = encryption_config_shape(scan->options->config);
	if (group->exact)
		return census_value_plugin(config_shape_rule(shape, group->name), kv->info);
	for (size_t i = 0; i < shape->rule_count; i++) {
		const struct config_key *plugin = census_value_plugin(&shape->rules[i], kv->info);
		if (plugin)
			return plugin;
	}
	return NULL;
}

static int try_plugin(struct scan *scan, const struct snapshot_group *group, const struct etcd_kv *kv,
		      enum kms_opening *ret, const char **ret_why)
{
	const struct config_key *plugin = scan->opener ? plugin_of(scan, group, kv) : NULL;
	*ret = KMS_CLOSED;
	while (plugin && (*ret = kms_opener_try(scan->opener, plugin, false, kv, ret_why)) == KMS_ASK) {
		int rc = kms_opener_ask(scan->opener, &scan->stopped);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What a restored API server with this configuration could do with it. */
static int try_value(struct scan *scan, struct snapshot_group *group, const struct tally *tally, struct census_key *key,
		     struct census_key *of_all, const struct etcd_kv *kv)
{
	struct snapshot_census *census = scan->census;
	const struct secret *opener = tally->openers[key - tally->keys];
	enum kms_opening opening;
	const char *why = NULL;
	if (!key->in_config) {
		census->unreadable++;
		group->unreadable++;
	}
	int rc = try_plugin(scan, group, kv, &opening, &why);
	if (rc < 0)
		return rc;
	if (opener)
		opening = census_value_opens(opener, key, kv) ? KMS_OPENED : KMS_BROKEN;
	census_key_add_opening(key, opening, why);
	census_key_add_opening(of_all, opening, why);
	census->opened += opening == KMS_OPENED;
	census->refused += opening == KMS_REFUSED;
	census->not_opened += key->provider != PROVIDER_IDENTITY && (opening == KMS_REFUSED || opening == KMS_CLOSED);
	if (opening != KMS_BROKEN)
		return 0;
	census->does_not_open++;
	group->does_not_open++;
	if (!census->does_not_open_example)
		census->does_not_open_example = xstrdup(kv->key);
	return 0;
}

static int count_value(struct scan *scan, const struct etcd_kv *kv, bool newest)
{
	struct snapshot_census *census = scan->census;
	size_t index = find_group(scan, kv->key + strlen(census->prefix) + 1);
	struct snapshot_group *group = &census->groups[index];
	struct counting *counting = &scan->countings[index];
	struct tally *own = newest ? &counting->newest : &counting->history;
	bool known = kv->info->state == ETCD_VALUE_KNOWN;
	struct census_key *key = known ? find_key(scan, own, group, kv) : NULL;
	struct census_key *of_all = key ? find_key(scan, newest ? &scan->newest : &scan->history, NULL, kv) : NULL;
	*(newest ? &census->objects : &census->history_values) += 1;
	*(newest ? &census->bytes : &census->history_bytes) += kv->value_size;
	group->objects += newest;
	if (!of_all) {
		count_unknown(scan, group, kv, newest);
		return 0;
	}
	census_key_add(of_all, kv);
	census_key_add(key, kv);
	return newest && scan->options->config ? try_value(scan, group, own, key, of_all, kv) : 0;
}

static void count_outside(struct snapshot_census *census, const struct etcd_kv *kv)
{
	bool encrypted = kv->info->provider != PROVIDER_IDENTITY;
	census->outside++;
	census->outside_encrypted += encrypted;
	if (census->outside_example && (!encrypted || census->outside_encrypted > 1))
		return;
	free(census->outside_example);
	census->outside_example = xstrdup(kv->key);
}

static int on_kv(void *arg, const struct etcd_kv *kv)
{
	struct scan *scan = arg;
	struct snapshot_census *census = scan->census;
	size_t len = strlen(census->prefix);
	if (scan->counted || kv->key_len == 0 || (!scan->tombstone && kv->mod_revision != scan->revision))
		return -ERROR_PROTOCOL;
	scan->counted = true;
	/* Here, so that a key is either in both of its tallies or in none. */
	scan->closed = scan->key_bytes > SNAPSHOT_KEYS_BYTES;
	if (strncmp(kv->key, census->prefix, len) != 0 || kv->key[len] != '/') {
		if (!scan->tombstone)
			count_outside(census, kv);
		return 0;
	}
	bool newest = snapshot_seen_add(scan->seen, kv->key, kv->key_len);
	if (!scan->tombstone)
		return count_value(scan, kv, newest);
	census->deleted += newest;
	return 0;
}

/* ---- the file ---- */

static uint64_t big_endian(const uint8_t *bytes)
{
	uint64_t value = 0;
	for (size_t i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* False for what is no revision. */
static bool read_revision(const uint8_t *bytes, size_t len, uint64_t *ret_main, bool *ret_tombstone)
{
	bool marked = len == REVISION_LEN + 1 && bytes[REVISION_LEN] == 't';
	if ((len != REVISION_LEN && !marked) || bytes[8] != '_' || ((bytes[0] | bytes[9]) & 0x80) != 0)
		return false;
	*ret_main = big_endian(bytes);
	*ret_tombstone = marked;
	return true;
}

static int read_item(struct scan *scan, const struct bbolt_item *item, struct error **err)
{
	if (item->bucket || !read_revision(item->key, item->key_len, &scan->revision, &scan->tombstone))
		return bbolt_broken(err, item->page, "a key that is no revision of etcd");
	uint8_t head[1 + 10] = {KVS_TAG};
	size_t head_len = 1 + pb_put_varint(head + 1, item->value_len);
	const uint8_t *piece;
	size_t len;
	scan->counted = false;
	int more = 0, rc = etcd_range_feed(scan->reader, head, head_len);
	while (rc == 0 && (more = bbolt_value(scan->bolt, &piece, &len, err)) > 0)
		rc = etcd_range_feed(scan->reader, piece, len);
	if (more < 0)
		return more;
	if (scan->stopped) {
		*err = steal(scan->stopped);
		return rc;
	}
	if (rc < 0 || !scan->counted)
		return bbolt_broken(err, item->page, "revision %" PRIu64 " holds no KeyValue of it", scan->revision);
	return 0;
}

static int read_keys(struct scan *scan, struct error **err)
{
	struct snapshot_census *census = scan->census;
	struct bbolt_item item;
	int rc = bbolt_enter(scan->bolt, "key", err);
	if (rc < 0)
		return rc;
	while ((rc = bbolt_prev(scan->bolt, &item, err)) > 0) {
		rc = read_item(scan, &item, err);
		if (rc < 0)
			return rc;
		if (scan->values == 0 && scan->revision > census->revision)
			census->revision = scan->revision;
		if (++scan->values % PROGRESS_EACH == 0 && scan->options->on_progress)
			scan->options->on_progress(scan->options->arg, scan->values);
	}
	return rc;
}

/* The revision in the value at hand, 0 where it is none. */
static int read_compaction(struct scan *scan, const struct bbolt_item *item, uint64_t *ret, struct error **err)
{
	uint8_t bytes[REVISION_LEN];
	const uint8_t *piece;
	size_t have = 0, len;
	bool tombstone;
	int rc = 0;
	*ret = 0;
	while (item->value_len == sizeof(bytes) && (rc = bbolt_value(scan->bolt, &piece, &len, err)) > 0) {
		memcpy(bytes + have, piece, len);
		have += len;
	}
	if (rc == 0 && have == sizeof(bytes) && !read_revision(bytes, have, ret, &tombstone))
		*ret = 0;
	return rc;
}

/* A restored etcd is at no older revision than its last compaction, be it finished or only begun (etcd's kvstore.go, restore);
 * and what a begun one has not taken away yet goes then. */
static int read_compactions(struct scan *scan, struct error **err)
{
	static const char *const names[] = {"finishedCompactRev", "scheduledCompactRev"};
	struct snapshot_census *census = scan->census;
	struct bbolt_item item;
	int rc = bbolt_enter(scan->bolt, "meta", err);
	while (rc >= 0 && (rc = bbolt_prev(scan->bolt, &item, err)) > 0) {
		for (size_t i = 0; rc >= 0 && i < ELEMENTS(names); i++) {
			uint64_t revision;
			if (item.key_len != strlen(names[i]) || memcmp(item.key, names[i], item.key_len) != 0)
				continue;
			rc = read_compaction(scan, &item, &revision, err);
			if (rc >= 0 && revision > census->compacted_revision)
				census->compacted_revision = revision;
		}
	}
	census->revision = census->compacted_revision;
	return rc;
}

/* ---- putting it together ---- */

static int by_objects(const void *a_, const void *b_)
{
	const struct snapshot_group *a = a_, *b = b_;
	if (a->objects != b->objects)
		return a->objects < b->objects ? 1 : -1;
	return strcmp(a->name, b->name);
}

static void add_needs(const struct census_key *keys, size_t count, const struct strings *but, struct strings *ret)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *label = census_key_label(&keys[i]);
		if (keys[i].provider != PROVIDER_IDENTITY && !(but && strings_has(but, label)))
			strings_add(ret, label);
	}
	strings_sort_unique(ret);
}

static void take_tallies(struct scan *scan)
{
	struct snapshot_census *census = scan->census;
	for (size_t i = 0; i < census->group_count; i++) {
		struct snapshot_group *group = &census->groups[i];
		census_keys_take(&scan->countings[i].newest, &group->newest, &group->newest_count);
		census_keys_take(&scan->countings[i].history, &group->history, &group->history_count);
	}
	census_keys_take(&scan->newest, &census->newest, &census->newest_count);
	census_keys_take(&scan->history, &census->history, &census->history_count);
	add_needs(census->newest, census->newest_count, NULL, &census->needs);
	add_needs(census->history, census->history_count, &census->needs, &census->history_needs);
}

static int scan_database(struct scan *scan, struct error **err)
{
	int rc = read_compactions(scan, err);
	/* None where nothing was ever written to it. */
	rc = error_forgive(err, rc, ERROR_NOT_FOUND);
	return rc < 0 ? rc : read_keys(scan, err);
}

/* A wrong hash says more than the page where the damage was met. */
static int scan_file(struct scan *scan, struct snapshot_file *file, struct error **err)
{
	const struct bbolt_source source = {snapshot_file_size(file), snapshot_file_read, file};
	_cleanup_error_ damage = NULL;
	_cleanup_error_ wrong_hash = NULL;
	int rc = bbolt_open(&source, &scan->bolt, &damage);
	if (rc == 0) {
		snapshot_file_start(file);
		rc = scan_database(scan, &damage);
		int check = snapshot_file_check(file, &wrong_hash);
		rc = check < 0 ? check : rc;
	}
	if (rc < 0 && err)
		*err = wrong_hash ? steal(wrong_hash) : steal(damage);
	return rc < 0 ? error_wrap(err, rc, "%s", scan->options->path) : 0;
}

int snapshot_census_take(const struct snapshot_options *options, struct snapshot_census **ret, struct error **err)
{
	_cleanup_(snapshot_file_freep) struct snapshot_file *file = NULL;
	_cleanup_(snapshot_census_freep) struct snapshot_census *census = xcalloc(1, sizeof(*census));
	int rc = snapshot_file_open(options->path, &file, err);
	if (rc < 0)
		return rc;
	census->file = xstrdup(options->path);
	census->prefix = etcd_prefix_clean(options->etcd_prefix);
	census->has_hash = snapshot_file_has_hash(file);
	census->file_bytes = snapshot_file_size(file) + (census->has_hash ? SNAPSHOT_HASH_SIZE : 0);
	census->config_known = options->config != NULL;
	census->plugins_asked = options->config && options->loop;
	census->begun = clock_monotonic();
	_cleanup_(scan_clear) struct scan scan = {
		.options = options,
		.census = census,
		.seen = snapshot_seen_new(),
	};
	scan.opener = census->plugins_asked ? kms_opener_new(options->loop) : NULL;
	scan.newest.closed = scan.history.closed = &scan.closed;
	scan.reader = etcd_range_reader_new(on_kv, &scan, options->config != NULL);
	rc = scan_file(&scan, file, err);
	if (rc < 0)
		return rc;
	census->decrypt_calls = scan.opener ? kms_opener_calls(scan.opener) : 0;
	take_tallies(&scan);
	if (census->group_count > 1)
		qsort(census->groups, census->group_count, sizeof(*census->groups), by_objects);
	census->finished = clock_monotonic();
	*ret = steal(census);
	return 0;
}

int snapshot_census_verdict(const struct snapshot_census *census, struct error **err)
{
	if (census->objects == 0) {
		int rc = error_set(err, ERROR_FINDING, "nothing in %s lies under %s%s%s", census->file,
				   census->prefix[0] ? census->prefix : "/", census->outside_example ? ", but " : "",
				   census->outside_example ? census->outside_example : "");
		error_set_hint(err, "say the API server's --etcd-prefix");
		return rc;
	}
	if (census->unreadable > 0) {
		int rc = error_set(err, ERROR_FINDING,
				   "%" PRIu64 " values are under keys that the configuration does not have",
				   census->unreadable);
		error_set_hint(err, "put those keys behind the others of their rule before this backup is restored");
		return rc;
	}
	if (census->too_many_keys)
		return error_set(err, ERROR_FINDING, "too many keys to tell them all apart");
	if (census->unknown > 0)
		return error_set(err, ERROR_FINDING, "%" PRIu64 " values are of no known form", census->unknown);
	if (census->does_not_open > 0)
		return error_set(err, ERROR_FINDING,
				 "%" PRIu64 " values do not open with the key that they name, for example %s",
				 census->does_not_open, census->does_not_open_example);
	if (census->refused > 0) {
		int rc = error_set(err, ERROR_FINDING,
				   "%" PRIu64 " values are under keys that their KMS plugin does not decrypt",
				   census->refused);
		error_set_hint(err, "an API server on a restored etcd would never become ready");
		return rc;
	}
	if (census->outside_encrypted > 0) {
		int rc = error_set(
			err, ERROR_FINDING, "%" PRIu64 " encrypted values do not lie under %s, for example %s",
			census->outside_encrypted, census->prefix[0] ? census->prefix : "/", census->outside_example);
		error_set_hint(err, "another API server's: its own --etcd-prefix counts them");
		return rc;
	}
	return 0;
}

int snapshot_census_opened(const struct snapshot_census *census, struct error **err)
{
	for (size_t i = 0; i < census->newest_count; i++) {
		_cleanup_free_ char *closed = census_closed_text(census->newest, census->newest_count, i);
		if (closed)
			return error_set(err, ERROR_FINDING, "%s", closed);
	}
	return 0;
}
