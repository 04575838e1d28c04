/* Judging, row by row: a healthy cluster, one fact changed, and exactly what check says then. */
#include "test_support.h"

#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_read.h"
#include "base/secret.h"
#include "base/text.h"
#include "engine/check_internal.h"
#include "engine/check_row.h"
#include "engine/journal.h"
#include "engine/snapshot.h"

#define NOW (UINT64_C(1798000000) * NS_PER_S) /* 2026-12-23 */
#define DAY (24 * 3600 * NS_PER_S)
#define HASH "sha256:aaaaaaaaaaaaaaaa"
#define KEY "MTIzNDU2Nzg5MGFiY2RlZjEyMzQ1Njc4OTBhYmNkZWY="
#define NEW_KEY "rekey-20261201T0900Z-3f9a1c"

#define CONFIG(resources, providers)                                                          \
	"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" \
	"- resources: [" resources "]\n  providers:\n" providers
#define LOCAL(type, name) "  - " type ": {keys: [{name: " name ", secret: " KEY "}]}\n"
#define KMS(version) "  - kms: {apiVersion: " version ", name: vault, endpoint: 'unix:///s', timeout: 3s}\n"
#define PLAIN "  - identity: {}\n"

static const struct kube_resource secrets = {
	.group = (char *)"", .plural = (char *)"secrets", .resource = (char *)"secrets"};

struct given {
	struct check_facts facts;
	struct encryption_config *config;
	struct node_facts node;
};

static char *copy(const char *text)
{
	return xstrdup(text);
}

/* --- a healthy cluster --- */

static void add_values(struct check_facts *f, const struct kube_resource *resource, enum provider_type provider,
		       const char *name, const char *key_id, uint64_t objects)
{
	struct census *census = f->census;
	struct census_resource *found = NULL;
	for (size_t i = 0; i < census->resource_count; i++)
		if (census->resources[i].entry->resource == resource)
			found = &census->resources[i];
	if (!found) {
		/* The map's entries stay where they are: all rows have room for two. */
		if (!census->map.entries)
			census->map.entries = xcalloc(2, sizeof(*census->map.entries));
		struct map_entry *entry = &census->map.entries[census->map.count++];
		*entry = (struct map_entry){.resource = resource, .storage = resource->resource};
		census->resources =
			xreallocarray(census->resources, census->resource_count + 1, sizeof(*census->resources));
		found = &census->resources[census->resource_count++];
		*found = (struct census_resource){.entry = entry, .chosen = true};
	}
	found->keys = xreallocarray(found->keys, found->key_count + 1, sizeof(*found->keys));
	found->keys[found->key_count++] = (struct census_key){.provider = provider,
							      .kms_version = provider == PROVIDER_KMS ? 2 : 0,
							      .name = copy(name),
							      .key_id = copy(key_id),
							      .dek_source = copy(""),
							      .annotations = copy(""),
							      .in_config = true,
							      .objects = objects,
							      .opened = provider == PROVIDER_IDENTITY ? 0 : objects};
	found->objects += objects;
	found->bytes += objects * 1000;
}

static void add_server(struct check_facts *f, const char *name)
{
	size_t i = f->identities.count++;
	f->identities.items = xreallocarray(f->identities.items, i + 1, sizeof(*f->identities.items));
	f->identities.items[i] = (struct kube_identity){.lease_name = copy(name),
							.hostname = copy(name),
							.id_hash = xasprintf("id-%s", name),
							.uid = copy(""),
							.peer_address = copy(""),
							.holder = copy(""),
							.renewed_wall = NOW - 5 * NS_PER_S};
	f->scrapes = xreallocarray(f->scrapes, f->scrape_count + 1, sizeof(*f->scrapes));
	struct check_scrape *scrape = &f->scrapes[f->scrape_count++];
	*scrape = (struct check_scrape){
		.url = xasprintf("https://%s:6443", name), .name = copy(name), .version = copy("v1.36.3")};
	scrape->metrics.has_process_start = true;
	scrape->metrics.process_start = (double)i;
	scrape->metrics.has_reload_counters = true;
	scrape->metrics.reload_success_time = 10;
	scrape->metrics.id_hashes = xcalloc(1, sizeof(char *));
	scrape->metrics.id_hashes[0] = xasprintf("id-%s", name);
	scrape->metrics.id_hash_count = 1;
	scrape->metrics.loaded_hashes = xcalloc(2, sizeof(char *));
	scrape->metrics.loaded_hashes[0] = copy(HASH);
	scrape->metrics.loaded_hash_count = 1;
}

static void give_config(struct given *g, const char *text)
{
	_cleanup_secret_ bytes = secret_from(text, strlen(text));
	_cleanup_error_ err = NULL;
	encryption_config_free(g->config);
	g->config = NULL;
	assert_ok(encryption_config_parse("f", bytes, &g->config, &err), err);
	g->facts.shape = encryption_config_shape(g->config);
}

static void give_key(struct check_facts *f, const char *label, const char *fingerprint, size_t bytes, size_t different,
		     bool typed)
{
	f->keys = xreallocarray(f->keys, f->key_count + 1, sizeof(*f->keys));
	f->keys[f->key_count++] = (struct check_key){copy(label), copy(fingerprint), bytes, different, typed};
}

static void give_health(struct given *g)
{
	struct check_facts *f = &g->facts;
	g->node = (struct node_facts){.source = (char *)"kube-apiserver.yaml",
				      .from_manifest = true,
				      .encryption_config = (char *)"/e.yaml",
				      .automatic_reload = true};
	*f = (struct check_facts){.wall_now = NOW,
				  .node = &g->node,
				  .config_path = copy("/e.yaml"),
				  .shape_source = copy("/e.yaml"),
				  .file_hash = copy(HASH),
				  .file_stated = true,
				  .file_mode = 0100600,
				  .folder_mode = 040700,
				  .compaction_known = true,
				  .compaction_interval = 300 * NS_PER_S,
				  .permissions_asked = 20,
				  .backup = copy("b.db"),
				  .backup_made = NOW - 3600 * NS_PER_S,
				  .backup_census = xcalloc(1, sizeof(struct snapshot_census)),
				  .census = xcalloc(1, sizeof(struct census))};
	f->backup_census->objects = 9;
	f->backup_census->config_known = true;
	f->backup_census->revision = f->census->revision = 70;
	give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY)));
	give_key(f, "secretbox/" NEW_KEY, "f1", 32, 30, false);
	add_server(f, "cp-1");
	add_server(f, "cp-2");
	f->census->complete = f->census->shape_known = true;
	f->census->values = 100;
	add_values(f, &secrets, PROVIDER_SECRETBOX, NEW_KEY, "", 100);
	strings_add(&f->plain_resources, "configmaps");
	f->members = xcalloc(1, sizeof(*f->members));
	f->member_count = 1;
	f->members[0] =
		(struct check_member){.name = copy("etcd-1"), .size = 100 << 20, .in_use = 90 << 20, .quota = 2u << 30};
}

static void take_away(struct given *g)
{
	check_facts_free(&g->facts);
	encryption_config_free(g->config);
}

#include "check_rows.h"

static size_t find_check(const char *id)
{
	for (size_t i = 0; i < check_count; i++)
		if (text_equal(checks[i].id, id))
			return i;
	fail_msg("no check %s", id);
	return 0;
}

static void test_row(void **state)
{
	const struct row *row = *state;
	struct given g = {0};
	give_health(&g);
	row->change(&g);
	struct check_report report = check_judge(&g.facts, &row->policy);
	const struct check_result *result = &report.results[find_check(row->id)];
	if (result->status != row->status)
		fail_msg("%s is %s: %s", row->id, check_status_name(result->status), result->what ? result->what : "");
	if (row->words && !(result->what && strstr(result->what, row->words)))
		fail_msg("%s says: %s", row->id, result->what ? result->what : "nothing");
	bool own = row->status == CHECK_FAILED || row->status == CHECK_WARNING;
	assert_int_equal(report.counts[CHECK_FAILED] + report.counts[CHECK_WARNING], own + row->others);
	check_report_free(&report);
	take_away(&g);
}

/* --- what is not known --- */

/* Without a single fact nothing passes, nothing fails, and every check says why; what a policy asks is a finding. */
static void test_nothing_known(void **state)
{
	struct check_facts f = {.single_file_mount = -1};
	const struct check_policy none = {0};
	(void)state;
	struct check_report report = check_judge(&f, &none);
	for (size_t i = 0; i < check_count; i++) {
		enum check_status status = report.results[i].status;
		/* What was found is all that they have; where it could not be looked for, gathering says why. */
		bool of_lists = text_equal(checks[i].id, "trust-key-in-secret") || text_equal(checks[i].id, "webhooks");
		if (!of_lists && status != CHECK_UNKNOWN && status != CHECK_DOES_NOT_APPLY)
			fail_msg("%s is %s", checks[i].id, check_status_name(status));
		if (status == CHECK_UNKNOWN)
			assert_non_null(report.results[i].what);
	}
	check_report_free(&report);
}

/* --- the table --- */

static void test_table(void **state)
{
	_cleanup_secret_ document = NULL;
	_cleanup_error_ err = NULL;
	(void)state;
	assert_ok(file_read("docs/troubleshooting.md", 1 << 20, &document, &err), err);
	for (size_t i = 0; i < check_count; i++) {
		_cleanup_free_ char *anchor = xasprintf("<a id=\"%s\"></a>", checks[i].id);
		if (!strstr(secret_text(document), anchor))
			fail_msg("docs/troubleshooting.md has no %s", anchor);
		for (size_t k = 0; k < i; k++) {
			assert_string_not_equal(checks[i].id, checks[k].id);
			if (text_equal(checks[i].group, checks[k].group))
				assert_string_equal(checks[i].group, checks[i - 1].group);
		}
	}
}

/* --- a fleet --- */

static struct check_row row_of(struct given *g, const char *name)
{
	const struct check_policy none = {0};
	struct check_report report = check_judge(&g->facts, &none);
	struct check_row row = {.context = copy(name)};
	check_row_fill(&row, &g->facts, &report);
	check_report_free(&report);
	return row;
}

static void test_rows(void **state)
{
	struct given one = {0}, two = {0}, three = {0};
	(void)state;
	give_health(&one);
	kms(&one);
	give_health(&two);
	kms(&two);
	give_health(&three);
	one.facts.cluster_uid = copy("u-eu");
	two.facts.cluster_uid = copy("u-us");
	three.facts.shape = NULL; /* the metrics alone */
	strings_add(&three.facts.scrapes[0].writes_with, "k8s:enc:kms:v2:vault:");
	strings_add(&three.facts.scrapes[0].writes_with, "key1:");
	strings_add(&three.facts.scrapes[1].writes_with, "k8s:enc:aescbc:v1:");
	struct check_row rows_[] = {row_of(&one, "eu"), row_of(&two, "us"), row_of(&three, "asia")};
	assert_string_equal(rows_[0].cluster_uid, "u-eu");
	assert_string_equal(rows_[0].write_provider, "kms/vault");
	assert_string_equal(rows_[0].evidence, "agents");
	assert_false(rows_[0].age_known);
	assert_string_equal(rows_[2].write_provider, "aescbc and kms/vault");
	assert_string_equal(rows_[2].evidence, "metrics");
	assert_false(rows_[2].counted);
	struct strings shared = {0};
	check_rows_share(rows_, 3, &shared);
	assert_int_equal(shared.count, 1);
	assert_non_null(strstr(shared.items[0], "is used by eu, us"));
	strings_free(&shared);
	check_rows_share(rows_ + 1, 2, &shared);
	assert_int_equal(shared.count, 0);
	for (size_t i = 0; i < 3; i++)
		check_row_free(&rows_[i]);
	take_away(&one);
	take_away(&two);
	take_away(&three);
}

static struct check_row row_like(const struct check_row *like, const char *context, const char *uid)
{
	struct check_row row = {.context = copy(context),
				.cluster_uid = xstrdup_or_null(uid),
				.why = xstrdup_or_null(like->why),
				.counted = like->counted,
				.revision = like->revision,
				.values = like->values,
				.encrypted = like->encrypted,
				.under_kms = like->under_kms,
				.failed = like->failed};
	strings_add(&row.key_ids, "sha256:aa");
	return row;
}

/* Two contexts of one cluster are one cluster; what one of them sees alone counts. */
static void test_rows_of_one_cluster(void **state)
{
	const struct check_row seen = {.counted = true, .revision = 7, .values = 10, .encrypted = 9, .under_kms = 8},
			       older = {.counted = true, .revision = 6, .values = 99}, blind = {.failed = 1},
			       down = {.why = (char *)"refused"};
	struct check_row rows_[] = {
		row_like(&blind, "eu", "u-1"), row_like(&seen, "eu-admin", "u-1"), row_like(&older, "eu-old", "u-1"),
		row_like(&seen, "us", "u-2"),  row_like(&seen, "asia", NULL),      row_like(&down, "down", NULL),
	};
	struct strings shared = {0}, same = {0};
	(void)state;
	struct check_totals totals = check_rows_total(rows_, ELEMENTS(rows_));
	assert_int_equal(totals.clusters, 4);
	assert_int_equal(totals.reached, 3);
	assert_int_equal(totals.counted, 3);
	assert_int_equal(totals.failing, 2);
	assert_int_equal(totals.values, 30);
	assert_int_equal(totals.encrypted, 27);
	assert_int_equal(totals.under_kms, 24);
	check_rows_share(rows_, 3, &shared);
	assert_int_equal(shared.count, 0);
	check_rows_share(rows_, 5, &shared);
	assert_int_equal(shared.count, 1);
	assert_string_equal(shared.items[0],
			    "one KMS key (sha256:aa) is used by eu, us, asia (whether that is a cluster of its "
			    "own is not known)");
	check_rows_same(rows_, 3, &same);
	assert_int_equal(same.count, 1);
	assert_non_null(strstr(same.items[0], "eu, eu-admin, eu-old are one cluster by the uid"));
	strings_free(&same);
	check_rows_same(rows_ + 3, 3, &same);
	assert_int_equal(same.count, 1);
	assert_non_null(strstr(same.items[0], "asia, down: counted as one cluster each"));
	strings_free(&same);
	check_rows_same(rows_ + 3, 1, &same);
	check_rows_same(rows_ + 4, 1, &same);
	assert_int_equal(same.count, 0);
	strings_free(&shared);
	for (size_t i = 0; i < ELEMENTS(rows_); i++)
		check_row_free(&rows_[i]);
}

/* As the process that asked a cluster hands it over. */
static void test_row_there_and_back(void **state)
{
	struct given g = {0};
	struct json_writer w = JSON_WRITER_INIT(1u << 20), again = JSON_WRITER_INIT(1u << 20);
	struct error *err = NULL;
	_cleanup_json_ json = NULL;
	struct check_row back = {0};
	(void)state;
	give_health(&g);
	kms(&g);
	struct check_row row = row_of(&g, "eu");
	row.values = UINT64_C(1) << 52;
	assert_ok(object_write(&check_row_record, &row, &w, &err), err);
	assert_ok(json_parse(json_text(&w), strlen(json_text(&w)), "row", &json, &err), err);
	assert_ok(object_read(&check_row_record, json, &back, &err), err);
	assert_ok(object_write(&check_row_record, &back, &again, &err), err);
	assert_string_equal(json_text(&again), json_text(&w));
	assert_int_equal(back.values, row.values);
	assert_int_equal(back.key_ids.count, 1);
	json_writer_free(&w);
	json_writer_free(&again);
	check_row_free(&row);
	check_row_free(&back);
	take_away(&g);
}

static void test_row_shares(void **state)
{
	struct given g = {0};
	(void)state;
	give_health(&g);
	struct key_server *server = key_server_new("cp-1");
	struct key_server_status *status = &server->status;
	status->census.complete = true;
	status->census.revision = 7;
	status->census.groups = xcalloc(4, sizeof(*status->census.groups));
	status->census.group_count = 4;
	static const struct {
		const char *resource, *provider;
		uint64_t values;
	} groups[] = {
		{"secrets", "kms", 3}, {"secrets", "identity", 1}, {"configmaps", "identity", 50}, {NULL, "aescbc", 9}};
	for (size_t i = 0; i < 4; i++) {
		status->census.groups[i].resource = groups[i].resource ? copy(groups[i].resource) : NULL;
		status->census.groups[i].provider = copy(groups[i].provider);
		status->census.groups[i].name = copy("");
		status->census.groups[i].values = groups[i].values;
	}
	g.facts.fleet.servers = xcalloc(1, sizeof(struct fleet_server));
	g.facts.fleet.servers[0].last = server;
	g.facts.fleet.count = 1;
	struct check_row row = row_of(&g, "eu");
	assert_string_equal(row.evidence, "census");
	assert_true(row.counted && row.age_known);
	assert_int_equal(row.oldest_key / (DAY / NS_PER_S), 21);
	assert_int_equal(row.values, 4); /* what no rule names is not counted */
	assert_int_equal(row.encrypted, 3);
	assert_int_equal(row.under_kms, 3);
	check_row_free(&row);
	take_away(&g);
}

static void see(struct check_facts *f, uint64_t days_ago, const char *key)
{
	struct key_seen *seen = &f->keys_seen;
	seen->items = xreallocarray(seen->items, seen->count + 1, sizeof(*seen->items));
	seen->items[seen->count] = (struct key_census){.at = NOW - days_ago * DAY, .whole = true};
	strings_add(&seen->items[seen->count++].keys, key);
}

/* A key that somebody else named is as old as something between two censuses. */
static void test_row_age(void **state)
{
	struct given g = {0};
	(void)state;
	give_health(&g);
	struct check_row named = row_of(&g, "named");
	assert_true(named.age_known && named.age_bounded);
	assert_int_equal(named.oldest_key, named.oldest_key_at_most);
	give_config(&g, CONFIG("secrets", LOCAL("secretbox", "key1")));
	struct check_row never_seen = row_of(&g, "never seen");
	assert_false(never_seen.age_known);
	see(&g.facts, 30, "secretbox/key1");
	struct check_row first = row_of(&g, "the first census saw it");
	assert_true(first.age_known);
	assert_int_equal(first.oldest_key / (DAY / NS_PER_S), 30);
	assert_false(first.age_bounded);
	see(&g.facts, 40, "secretbox/key0");
	struct check_row between = row_of(&g, "between two");
	assert_int_equal(between.oldest_key / (DAY / NS_PER_S), 30);
	assert_int_equal(between.oldest_key_at_most / (DAY / NS_PER_S), 40);
	/* The oldest of several is no younger than any of them. */
	give_config(&g, CONFIG("secrets", LOCAL("secretbox", "key1")) "- resources: [configmaps]\n  providers:\n" LOCAL(
				"secretbox", NEW_KEY) "- resources: [pods]\n  providers:\n" PLAIN);
	struct check_row two = row_of(&g, "and a young one");
	assert_int_equal(two.oldest_key / (DAY / NS_PER_S), 30);
	assert_int_equal(two.oldest_key_at_most / (DAY / NS_PER_S), 40);
	give_config(&g, CONFIG("secrets",
			       LOCAL("secretbox", "key1")) "- resources: [configmaps]\n  providers:\n" KMS("v2"));
	struct check_row kms_too = row_of(&g, "and one of a KMS");
	assert_int_equal(kms_too.oldest_key / (DAY / NS_PER_S), 30);
	assert_false(kms_too.age_bounded);
	see(&g.facts, 20, "kms/vault"); /* a provider's name, whatever key is behind it */
	give_config(&g, CONFIG("secrets", KMS("v2")));
	struct check_row kms_alone = row_of(&g, "a KMS");
	assert_false(kms_alone.age_known);
	give_config(&g, CONFIG("secrets", LOCAL("secretbox", "rekey-20991201T0900Z-3f9a1c")));
	struct check_row to_come = row_of(&g, "made in days to come");
	assert_false(to_come.age_known);
	struct check_row *all[] = {&named, &never_seen, &first, &between, &two, &kms_too, &kms_alone, &to_come};
	for (size_t i = 0; i < ELEMENTS(all); i++)
		check_row_free(all[i]);
	take_away(&g);
}

int main(void)
{
	json_install_hooks();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_known),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_row_there_and_back),
		cmocka_unit_test(test_row_shares),
		cmocka_unit_test(test_row_age),
		cmocka_unit_test(test_rows_of_one_cluster),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + RUN_ROWS(test_row, rows);
}
