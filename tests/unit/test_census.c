/* What of a census needs no server: counting by key, judging, the map's look-ups, the observation, table and JSON. */
#include "test_support.h"

#include <stdio.h>

#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/utf8.h"
#include "engine/census_internal.h"

/* ---- the map ---- */

static struct kube_resource secrets = {.plural = (char[]){"secrets"},
				       .group = (char[]){""},
				       .resource = (char[]){"secrets"},
				       .singular = (char[]){"secret"},
				       .namespaced = true};
static struct kube_resource nodes = {.plural = (char[]){"nodes"},
				     .group = (char[]){""},
				     .resource = (char[]){"nodes"},
				     .singular = (char[]){"node"}};

static struct map_entry map_entries[] = {
	{.resource = &secrets, .prefix = (char[]){"/registry/secrets/"}, .storage = "secrets"},
	{.resource = &nodes, .prefix = (char[]){"/registry/minions/"}, .storage = "nodes"},
	{.resource = &nodes, .prefix = (char[]){"/registry/secrets/inner/"}, .storage = "inner"},
	{.resource = &nodes, .prefix = (char[]){"/registry/events/"}, .etcd = 1, .storage = "events"},
};
static const struct resource_map map = {.entries = map_entries, .count = ELEMENTS(map_entries)};

static void test_find(void **state)
{
	static const struct {
		const char *key;
		size_t etcd;
		const char *storage;
	} rows[] = {
		{"/registry/secrets/default/a", 0, "secrets"},
		{"/registry/secrets/inner/a", 0, "inner"},
		{"/registry/secrets-store.csi.x-k8s.io/things/a", 0, NULL},
		{"/registry/secrets", 0, NULL},
		{"/registry/secretsx", 0, NULL},
		{"/registry/minions/cp-1", 0, "nodes"},
		{"/registry/events/default/e", 0, NULL},
		{"/registry/events/default/e", 1, "events"},
		{"/registry/secrets/default/a", 1, NULL},
		{"compact_rev_key", 0, NULL},
		{"", 0, NULL},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const struct map_entry *entry = resource_map_find(&map, rows[i].etcd, rows[i].key, strlen(rows[i].key));
		assert_int_equal(entry != NULL, rows[i].storage != NULL);
		if (entry)
			assert_string_equal(entry->storage, rows[i].storage);
	}
}

static void test_split(void **state)
{
	static const struct {
		const char *key;
		size_t entry;
		const char *namespace_, *name; /* NULL: no object's key */
	} rows[] = {
		{"/registry/secrets/default/a", 0, "default", "a"},
		{"/registry/secrets/default/", 0, NULL, NULL},
		{"/registry/secrets//a", 0, NULL, NULL},
		{"/registry/secrets/a", 0, NULL, NULL},
		{"/registry/secrets/a/b/c", 0, NULL, NULL},
		{"/registry/secrets/", 0, NULL, NULL},
		{"/registry/minions/cp-1", 1, "", "cp-1"},
		{"/registry/minions/default/cp-1", 1, NULL, NULL},
		{"/registry/secrets/default/a", 1, NULL, NULL},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_free_ char *namespace_ = NULL, *name = NULL;
		bool is = resource_map_split(&map_entries[rows[i].entry], rows[i].key, &namespace_, &name);
		assert_int_equal(is, rows[i].name != NULL);
		if (!is)
			continue;
		assert_string_equal(namespace_, rows[i].namespace_);
		assert_string_equal(name, rows[i].name);
	}
}

/* ---- counting ---- */

static struct etcd_value_info info(enum provider_type provider, unsigned kms_version, const char *name,
				   const char *key_id, unsigned dek)
{
	struct etcd_value_info value = {.state = ETCD_VALUE_KNOWN, .provider = provider, .kms_version = kms_version};
	snprintf(value.name, sizeof(value.name), "%s", name);
	snprintf(value.key_id, sizeof(value.key_id), "%s", key_id);
	if (dek > 0)
		snprintf(value.dek_source, sizeof(value.dek_source), "%016x", dek);
	return value;
}

static struct census_key *count(struct tally *tally, const struct etcd_value_info *value, const char *path,
				uint64_t revision)
{
	struct etcd_kv kv = {
		.key = path, .key_len = strlen(path), .mod_revision = revision, .value_size = 10, .info = value};
	struct census_key *key = tally_key(tally, value);
	if (key)
		census_key_add(key, &kv);
	return key;
}

static void test_keys_are_told_apart(void **state)
{
	const struct etcd_value_info values[] = {
		info(PROVIDER_AESCBC, 0, "key1", "", 0), info(PROVIDER_AESGCM, 0, "key1", "", 0),
		info(PROVIDER_AESCBC, 0, "key2", "", 0), info(PROVIDER_IDENTITY, 0, "", "", 0),
		info(PROVIDER_KMS, 1, "vault", "", 1),   info(PROVIDER_KMS, 2, "vault", "id", 1),
		info(PROVIDER_KMS, 2, "vault", "id", 2), info(PROVIDER_KMS, 2, "vault", "id2", 2),
	};
	struct tally tally = {0};
	(void)state;
	for (unsigned turn = 1; turn <= 3; turn++)
		for (size_t i = 0; i < ELEMENTS(values); i++)
			assert_non_null(count(&tally, &values[i], "/a", 10 - turn));
	assert_int_equal(tally.count, ELEMENTS(values));
	for (size_t i = 0; i < tally.count; i++) {
		assert_int_equal(tally.keys[i].objects, 3);
		assert_int_equal(tally.keys[i].bytes, 30);
		assert_int_equal(tally.keys[i].oldest_revision, 7);
		assert_int_equal(tally.keys[i].newest_revision, 9);
		assert_string_equal(tally.keys[i].example, "/a");
	}
	tally_clear(&tally);
}

static void test_kms_v1_deks_say_nothing(void **state)
{
	struct tally tally = {0};
	(void)state;
	for (unsigned dek = 1; dek <= 500; dek++) {
		struct etcd_value_info value = info(PROVIDER_KMS, 1, "old", "", dek);
		count(&tally, &value, "/a", 1);
	}
	assert_int_equal(tally.count, 1);
	assert_string_equal(tally.keys[0].dek_source, "");
	assert_false(tally.keys[0].lumped);
	tally_clear(&tally);
}

static void test_dek_sources_are_lumped(void **state)
{
	struct tally tally = {0};
	uint64_t objects = 0;
	(void)state;
	for (unsigned turn = 0; turn < 2; turn++)
		for (unsigned dek = 1; dek <= CENSUS_DEK_SOURCES_MAX + 30; dek++) {
			struct etcd_value_info value = info(PROVIDER_KMS, 2, "vault", "id", dek);
			assert_non_null(count(&tally, &value, "/a", 1));
		}
	struct etcd_value_info other = info(PROVIDER_KMS, 2, "vault", "id2", 1);
	assert_false(count(&tally, &other, "/a", 1)->lumped);
	assert_int_equal(tally.count, CENSUS_DEK_SOURCES_MAX + 2);
	for (size_t i = 0; i < tally.count; i++) {
		objects += tally.keys[i].objects;
		assert_int_equal(tally.keys[i].objects, tally.keys[i].lumped ? 60 : i + 1 == tally.count ? 1 : 2);
	}
	assert_int_equal(objects, 2 * (CENSUS_DEK_SOURCES_MAX + 30) + 1);
	tally_clear(&tally);
}

static void test_too_many_keys(void **state)
{
	struct tally tally = {0};
	(void)state;
	for (unsigned i = 0; i < CENSUS_KEYS_MAX; i++) {
		_cleanup_free_ char *name = xasprintf("key%u", i);
		struct etcd_value_info value = info(PROVIDER_AESCBC, 0, name, "", 0);
		assert_non_null(count(&tally, &value, "/a", 1));
	}
	struct etcd_value_info one_more = info(PROVIDER_AESCBC, 0, "one-more", "", 0),
			       first = info(PROVIDER_AESCBC, 0, "key0", "", 0);
	assert_null(count(&tally, &one_more, "/a", 1));
	assert_int_equal(count(&tally, &first, "/a", 1)->objects, 2);
	tally_clear(&tally);
}

/* ---- judging ---- */

static void test_judge(void **state)
{
	struct config_key keys[] = {
		{.type = PROVIDER_KMS, .name = (char[]){"vault"}, .kms_version = 2},
		{.type = PROVIDER_AESCBC, .name = (char[]){"key1"}},
		{.type = PROVIDER_IDENTITY, .name = (char[]){""}},
	};
	const struct config_rule rule = {.keys = keys, .key_count = ELEMENTS(keys)};
	static const struct {
		enum provider_type provider;
		unsigned kms_version;
		const char *name;
		bool has_rule, write_key, in_config;
	} rows[] = {
		{PROVIDER_KMS, 2, "vault", true, true, true},     {PROVIDER_KMS, 1, "vault", true, false, false},
		{PROVIDER_AESCBC, 0, "key1", true, false, true},  {PROVIDER_AESGCM, 0, "key1", true, false, false},
		{PROVIDER_AESCBC, 0, "key2", true, false, false}, {PROVIDER_IDENTITY, 0, "", true, false, true},
		{PROVIDER_IDENTITY, 0, "", false, true, true},    {PROVIDER_AESCBC, 0, "key1", false, false, false},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_free_ char *name = xstrdup(rows[i].name);
		struct census_key key = {
			.provider = rows[i].provider, .kms_version = rows[i].kms_version, .name = name};
		census_key_judge(&key, rows[i].has_rule ? &rule : NULL);
		assert_int_equal(key.write_key, rows[i].write_key);
		assert_int_equal(key.in_config, rows[i].in_config);
	}
}

/* ---- what a person called somebody else's ---- */

/* Whether a value under the key that lies there counts as somebody else's; else it is outside. */
static bool counts_as_foreign(struct strings *prefixes, const char *path)
{
	const struct census_options options = {.foreign_prefixes = prefixes};
	struct census *census = xcalloc(1, sizeof(*census));
	struct census_scan scan = {.options = &options, .census = census, .prefix = (char[]){"/registry"}};
	struct etcd_value_info value = info(PROVIDER_AESCBC, 0, "key1", "", 0);
	struct etcd_kv kv = {.key = path, .key_len = strlen(path), .value_size = 10, .info = &value};
	const struct map_entry *cache = NULL;
	census->map = map;
	assert_int_equal(census_scan_value(&scan, 0, NULL, &cache, &kv), 0);
	bool foreign = scan.foreign.count == 1;
	assert_int_equal(scan.foreign.count + scan.outside.count, 1);
	assert_int_equal(census->outside_count, foreign ? 0 : 1);
	tally_clear(&scan.foreign);
	tally_clear(&scan.outside);
	census->map = (struct resource_map){0};
	census_free(census);
	return foreign;
}

/* By whole parts between slashes: a neighbour whose name only begins alike is not meant. */
static void test_foreign_prefixes(void **state)
{
	static const struct {
		const char *path;
		bool foreign;
	} rows[] = {
		{"/other", true},
		{"/other/", true},
		{"/other/a", true},
		{"/other-prod/a", false},
		{"/otherx", false},
		{"/othe", false},
		{"/tool/state/a", true},
		{"/tool/state", true},
		{"/tool/states/a", false},
		{"/tool/a", false},
		{"/registry/wardle/a", true},
		{"/registry/wardle.example.com/flunders/a", false},
	};
	_cleanup_strings_ prefixes = {0};
	(void)state;
	strings_add(&prefixes, "/other");
	strings_add(&prefixes, "/tool/state//");
	strings_add(&prefixes, "/registry/wardle");
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		if (counts_as_foreign(&prefixes, rows[i].path) != rows[i].foreign)
			fail_msg("%s", rows[i].path);
	}
}

static void test_foreign_prefixes_of_our_own(void **state)
{
	static const struct {
		const char *prefix, *message; /* NULL: it is nobody's of ours */
	} rows[] = {
		{"", "an empty --foreign-prefix"},
		{"/", "--foreign-prefix /: secrets of this API server are stored under /registry/secrets/"},
		{"//", "--foreign-prefix //: secrets of this API server are stored under /registry/secrets/"},
		{"/registry", "--foreign-prefix /registry: secrets of this API server are stored under "
			      "/registry/secrets/"},
		{"/registry/minions", "--foreign-prefix /registry/minions: nodes of this API server are stored under "
				      "/registry/minions/"},
		{"/registry/minions//", "--foreign-prefix /registry/minions//: nodes of this API server are stored "
					"under /registry/minions/"},
		{"/registry/minions/cp-1", "--foreign-prefix /registry/minions/cp-1: nodes of this API server are "
					   "stored under /registry/minions/"},
		{"/registry/min", NULL},
		{"/registry/minions-of-others", NULL},
		{"/registry-of-others/", NULL},
		{"/reg", NULL},
	};
	(void)state;
	assert_int_equal(census_check_foreign(&map, NULL, NULL), 0);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_strings_ prefixes = {0};
		struct error *err = NULL;
		strings_add(&prefixes, "/other");
		strings_add(&prefixes, rows[i].prefix);
		int rc = census_check_foreign(&map, &prefixes, &err);
		if (rows[i].message)
			assert_error(rc, err, ERROR_INPUT, rows[i].message);
		else
			assert_ok(rc, err);
	}
}

/* ---- what is shown ---- */

static struct census_key key_with(enum provider_type provider, const char *name, uint64_t objects, bool write_key,
				  bool in_config)
{
	return (struct census_key){.provider = provider,
				   .name = xstrdup(name),
				   .key_id = xstrdup(""),
				   .dek_source = xstrdup(""),
				   .objects = objects,
				   .bytes = objects * 100,
				   .oldest_revision = 5,
				   .newest_revision = 9,
				   .write_key = write_key,
				   .in_config = in_config,
				   .example = xstrdup("/registry/secrets/default/app")};
}

static void add_outside(struct census *census)
{
	census->outside = xcalloc(1, sizeof(*census->outside));
	census->outside[0] =
		(struct census_outside){xstrdup("/registry/gone/\033[31mx"), PROVIDER_AESCBC, 0, xstrdup("old"), false};
	census->outside_named = census->outside_count = 1;
	census->outside_keys = xcalloc(1, sizeof(*census->outside_keys));
	census->outside_keys[0] = key_with(PROVIDER_AESCBC, "old", 1, false, true);
	census->outside_key_count = 1;
}

/* Everything at once: a write key, stale, unreadable and unknown values, and some outside. */
static struct census *example(void)
{
	struct census *census = xcalloc(1, sizeof(*census));
	census->complete = census->whole_keyspace = census->shape_known = true;
	census->revision = 4711;
	census->etcd_count = 1;
	census->etcds = xcalloc(1, sizeof(*census->etcds));
	census->etcds[0].cluster_id = UINT64_C(0xfedcba9876543210);
	census->etcds[0].revision = census->etcds[0].first_revision = 4711;
	census->etcds[0].endpoints = xstrdup("https://a:2379,https://b:2379");
	census->resource_count = 2;
	census->resources = xcalloc(2, sizeof(*census->resources));
	struct census_resource *resource = &census->resources[0];
	*resource = (struct census_resource){.entry = &map_entries[0],
					     .chosen = true,
					     .objects = 10416,
					     .unknown = 2,
					     .stale = 16,
					     .unreadable = 2,
					     .bytes = 5400000,
					     .largest = 900000,
					     .api_objects = 10416,
					     .api_count_known = true};
	resource->unknown_example = xstrdup("/registry/secrets/default/odd");
	resource->key_count = 3;
	resource->keys = xcalloc(3, sizeof(*resource->keys));
	resource->keys[0] = key_with(PROVIDER_AESCBC, "key-2026-03", 10398, true, true);
	resource->keys[1] = key_with(PROVIDER_IDENTITY, "", 14, false, true);
	resource->keys[2] = key_with(PROVIDER_SECRETBOX, "gone", 2, false, false);
	census->resources[1] = (struct census_resource){.entry = &map_entries[1], .objects = 0};
	add_outside(census);
	census->stale = 16;
	census->unknown = census->unreadable = 2;
	census->expected_plain = 3;
	census->values = 10420;
	census->bytes = 5400900;
	census->begun = 1000000000;
	census->finished = 1600000000;
	strings_add(&census->notes, "1 of 3 etcd members do not answer: etcd-2");
	return census;
}

/* The longest line in characters, without escapes. A word that is longer than the line stays whole. */
static size_t longest_line(const char *text)
{
	size_t longest = 0, here = 0;
	while (*text) {
		uint32_t point;
		size_t len = utf8_next(text, strlen(text), &point);
		assert_true(len > 0);
		here = *text == '\n' ? 0 : here + 1;
		longest = here > longest ? here : longest;
		text += len;
	}
	return longest;
}

static void test_table(void **state)
{
	static const unsigned widths[] = {40, 60, 80, 120, 1};
	_cleanup_(census_freep) struct census *census = example();
	(void)state;
	for (size_t i = 0; i < ELEMENTS(widths); i++) {
		_cleanup_free_ char *table = census_table(census, widths[i], false);
		static const char *const words[] = {"key-2026-03", "10,398",     "write key",
						    "stale",       "UNREADABLE", "UNKNOWN",
						    "etcd-2",      "4,711",      "/registry/secrets/default/odd",
						    "aescbc/old"};
		for (size_t w = 0; w < ELEMENTS(words); w++)
			assert_non_null(strstr(table, words[w]));
		assert_null(strchr(table, '\033'));
		assert_int_equal(table[strlen(table) - 1], '\n');
		if (widths[i] >= 40)
			assert_in_range(longest_line(table), 1, widths[i]);
	}
	_cleanup_free_ char *colored = census_table(census, 80, true);
	assert_non_null(strstr(colored, "\033[32mwrite key\033[0m"));
	assert_null(strstr(colored, "\033[31mx"));
}

static void test_incomplete_table(void **state)
{
	_cleanup_(census_freep) struct census *census = example();
	(void)state;
	census_doubt(census, "secrets: etcd holds %d and the API server lists %d", 12, 11);
	census_doubt(census, "a second reason");
	_cleanup_free_ char *table = census_table(census, 80, false);
	assert_non_null(strstr(table, "INCOMPLETE: secrets: etcd holds 12 and the API server lists 11\n"));
	assert_null(strstr(table, "proved to be"));
}

static void test_json(void **state)
{
	_cleanup_(census_freep) struct census *census = example();
	struct json_writer w = JSON_WRITER_INIT(1 << 20);
	_cleanup_json_ doc = NULL;
	uint64_t number;
	(void)state;
	census_write_json(census, &w);
	const char *text = json_text(&w);
	assert_int_equal(json_parse(text, strlen(text), "census", &doc, NULL), 0);
	assert_string_equal(json_text_at(doc, "kind"), "Census");
	assert_true(json_bool_at(doc, "complete", false));
	const cJSON *etcd = cJSON_GetArrayItem(json_at(doc, "etcds", NULL), 0);
	assert_string_equal(json_text_at(etcd, "clusterID"), "fedcba9876543210");
	assert_int_equal(cJSON_GetArraySize(json_at(etcd, "endpoints", NULL)), 2);
	/* Those not chosen are shown when they hold something. */
	assert_int_equal(cJSON_GetArraySize(json_at(doc, "resources", NULL)), 1);
	const cJSON *resource = cJSON_GetArrayItem(json_at(doc, "resources", NULL), 0);
	const cJSON *key = cJSON_GetArrayItem(json_at(resource, "keys", NULL), 1);
	assert_string_equal(json_text_at(key, "provider"), "identity");
	assert_false(json_bool_at(key, "writeKey", true));
	assert_true(json_u64_at(resource, "unknown", &number) && number == 2);
	assert_true(json_u64_at(doc, "outsideCount", &number) && number == 1);
	assert_true(json_u64_at(doc, "stale", &number) && number == 16);
	json_writer_free(&w);
}

static const struct census_group *group(const struct census_observation *seen, const char *resource,
					enum provider_type type, const char *name, bool unknown)
{
	for (size_t i = 0; i < seen->group_count; i++) {
		const struct census_group *at = &seen->groups[i];
		if (text_equal(at->resource, resource) && at->type == type && text_equal(at->name, name) &&
		    at->unknown == unknown && !at->expected)
			return at;
	}
	return NULL;
}

static void test_observe(void **state)
{
	_cleanup_(census_freep) struct census *census = example();
	struct observation seen = {0};
	(void)state;
	census->foreign_keys = xcalloc(1, sizeof(*census->foreign_keys));
	census->foreign_keys[0] = key_with(PROVIDER_AESCBC, "old", 5, false, true);
	census->foreign_key_count = 1;
	census_observe(census, &seen.census);
	assert_true(seen.census.complete);
	assert_null(seen.census.why);
	assert_int_equal(seen.census.revision, 4711);
	assert_int_equal(group(&seen.census, "secrets", PROVIDER_AESCBC, "key-2026-03", false)->values, 10398);
	assert_int_equal(group(&seen.census, "secrets", PROVIDER_IDENTITY, "", false)->values, 14);
	assert_int_equal(group(&seen.census, "secrets", PROVIDER_IDENTITY, "", true)->values, 2);
	/* What is foreign does not hide what is not. */
	assert_int_equal(group(&seen.census, NULL, PROVIDER_AESCBC, "old", false)->values, 1);
	assert_false(group(&seen.census, NULL, PROVIDER_AESCBC, "old", false)->foreign);
	uint64_t foreign = 0, expected = 0;
	for (size_t i = 0; i < seen.census.group_count; i++) {
		foreign += seen.census.groups[i].foreign ? seen.census.groups[i].values : 0;
		expected += seen.census.groups[i].expected ? seen.census.groups[i].values : 0;
	}
	assert_int_equal(foreign, 5);
	assert_int_equal(expected, 3);
	observation_free_contents(&seen);

	/* A key leaves only after the whole keyspace was read. */
	census->whole_keyspace = false;
	census_observe(census, &seen.census);
	assert_false(seen.census.complete);
	assert_non_null(seen.census.why);
	observation_free_contents(&seen);
}

int main(void)
{
	json_install_hooks();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_keys_are_told_apart),
		cmocka_unit_test(test_kms_v1_deks_say_nothing),
		cmocka_unit_test(test_dek_sources_are_lumped),
		cmocka_unit_test(test_too_many_keys),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_foreign_prefixes),
		cmocka_unit_test(test_foreign_prefixes_of_our_own),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_incomplete_table),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_observe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
