/* Judging, row by row: a healthy cluster, one fact changed, and exactly what check says then. */
#include "test_support.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_read.h"
#include "base/secret.h"
#include "base/text.h"
#include "engine/check_internal.h"
#include "engine/check_row.h"
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

static const struct kube_resource secrets = {.group = (char *)"",
					     .plural = (char *)"secrets",
					     .resource = (char *)"secrets"},
				  configmaps = {.group = (char *)"",
						.plural = (char *)"configmaps",
						.resource = (char *)"configmaps"};

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
							      .objects = objects};
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

/* --- rows --- */

typedef void change_fn(struct given *g);
struct row {
	const char *name;
	change_fn *change;
	const char *id;
	enum check_status status;
	const char *words;
	unsigned others; /* further findings that the same change makes */
	struct check_policy policy;
};

static void nothing(struct given *g)
{
	(void)g;
}
static void lease_old(struct given *g)
{
	g->facts.identities.items[1].renewed_wall = NOW - 300 * NS_PER_S;
}
static void no_leases_read(struct given *g)
{
	g->facts.identities_why = copy("forbidden");
}
static void node_more(struct given *g)
{
	g->facts.set.nodes.items = xcalloc(1, sizeof(struct kube_host));
	g->facts.set.nodes.count = 1;
	g->facts.set.nodes.items[0].node = copy("cp-9");
}
static void same_identity(struct given *g)
{
	char **hashes = g->facts.scrapes[1].metrics.id_hashes;
	free(hashes[0]);
	hashes[0] = copy("id-cp-1");
}
static void nameless(struct given *g)
{
	for (size_t i = 0; i < 2; i++) {
		free(g->facts.scrapes[i].metrics.id_hashes[0]);
		g->facts.scrapes[i].metrics.id_hash_count = 0;
	}
}
static void unreachable(struct given *g)
{
	g->facts.scrapes[1].why = copy("no route");
}
static void refused(struct given *g)
{
	unreachable(g);
	g->facts.scrapes[1].forbidden = true;
}
static void one_asked(struct given *g)
{
	free(g->facts.scrapes[1].name);
	g->facts.scrapes[1].name = copy("cp-1");
}
static void not_ready(struct given *g)
{
	g->facts.scrapes[0].not_ready = copy("[-]etcd failed");
}
static void version_of(struct given *g, size_t i, const char *version)
{
	free(g->facts.scrapes[i].version);
	g->facts.scrapes[i].version = copy(version);
}
static void two_versions(struct given *g)
{
	version_of(g, 1, "v1.35.0");
}
static void old_version(struct given *g)
{
	version_of(g, 0, "v1.28.9");
	version_of(g, 1, "v1.28.9");
}
static void no_reload(struct given *g)
{
	g->node.automatic_reload = false;
}
static void reload_not_shown(struct given *g)
{
	g->facts.scrapes[1].metrics.has_reload_counters = false;
}
static void refuses(struct given *g)
{
	g->facts.scrapes[1].metrics.reload_failure_time = 1798000000;
}
static void refused_once(struct given *g)
{
	g->facts.scrapes[1].metrics.reload_failure_time = 5;
	g->facts.scrapes[1].metrics.reload_failures = 3;
}
static void loads_other(struct given *g)
{
	free(g->facts.scrapes[1].metrics.loaded_hashes[0]);
	g->facts.scrapes[1].metrics.loaded_hashes[0] = copy("sha256:bbbbbbbbbbbb");
}
static void shows_none(struct given *g)
{
	free(g->facts.scrapes[1].metrics.loaded_hashes[0]);
	g->facts.scrapes[1].metrics.loaded_hash_count = 0;
}
static void other_file(struct given *g)
{
	free(g->facts.file_hash);
	g->facts.file_hash = copy("sha256:cccccccccccc");
}
static void no_file(struct given *g)
{
	struct check_facts *f = &g->facts;
	free(f->config_path);
	free(f->file_hash);
	f->config_path = f->file_hash = NULL;
	f->file_stated = false;
	f->shape = NULL;
	for (size_t i = 0; i < f->key_count; i++) {
		free(f->keys[i].label);
		free(f->keys[i].fingerprint);
	}
	f->key_count = 0;
	f->census->shape_known = false;
}
static void no_encryption(struct given *g)
{
	no_file(g);
	g->node.encryption_config = NULL;
}
static void broken(struct given *g)
{
	g->facts.config_why = copy("f:3:1: no");
	g->facts.config_broken = true;
}
static void short_key(struct given *g)
{
	give_key(&g->facts, "aescbc/k", "f2", 16, 15, false);
}
static void typed_key(struct given *g)
{
	give_key(&g->facts, "aescbc/k", "f2", 32, 20, true);
}
static void dull_key(struct given *g)
{
	give_key(&g->facts, "aescbc/k", "f2", 32, 11, false);
}
static void same_bytes(struct given *g)
{
	give_key(&g->facts, "secretbox/spare", "f1", 32, 30, false);
}
static void newer_second(struct given *g)
{
	give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY) LOCAL("aescbc", "rekey-20261202T0900Z-aaaaaa")));
}
static void newer_second_in_use(struct given *g)
{
	newer_second(g);
	add_values(&g->facts, &secrets, PROVIDER_AESCBC, "rekey-20261202T0900Z-aaaaaa", "", 3);
}
static void older_second(struct given *g)
{
	give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY) LOCAL("aescbc", "key1")));
}
static void fallback(struct given *g)
{
	give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY) PLAIN));
}
static void fallback_needed(struct given *g)
{
	fallback(g);
	add_values(&g->facts, &secrets, PROVIDER_IDENTITY, "", "", 3);
	g->facts.census->resources[0].stale = 3;
}
static void fallback_unknown(struct given *g)
{
	fallback(g);
	g->facts.census->complete = false;
	g->facts.census->why = copy("cut off");
}
static void file_mount(struct given *g)
{
	g->facts.single_file_mount = 1;
}
static void mount_unknown(struct given *g)
{
	g->facts.single_file_mount = -1;
}
static void group_reads(struct given *g)
{
	g->facts.file_mode = 0100640;
}
static void others_own(struct given *g)
{
	g->facts.file_owner = 1000;
}
static void folder_open(struct given *g)
{
	g->facts.folder_mode = 040777;
}
static void folder_sticky(struct given *g)
{
	g->facts.folder_mode = 041777;
}
static void unreadable(struct given *g)
{
	g->facts.census->unreadable = 2;
}
static void unknown_form(struct given *g)
{
	g->facts.census->outside_unknown = 2;
}
static void spoilt(struct given *g)
{
	g->facts.census->does_not_open = 1;
	g->facts.census->does_not_open_example = copy("/registry/secrets/a/b");
}
static void incomplete(struct given *g)
{
	g->facts.census->complete = false;
	g->facts.census->why = copy("cut off");
}
static void stale(struct given *g)
{
	g->facts.census->resources[0].stale = 7;
}
static void unserved(struct given *g)
{
	g->facts.census->outside_count = 2;
}
static void credential(struct given *g)
{
	check_add_credential(&g->facts, "configmaps", "a", "b", "password");
}
static void aesgcm(struct given *g)
{
	give_config(g, CONFIG("secrets", LOCAL("aesgcm", "g")));
	add_values(&g->facts, &secrets, PROVIDER_AESGCM, "g", "", 200000);
}
static void aesgcm_full(struct given *g)
{
	aesgcm(g);
	add_values(&g->facts, &secrets, PROVIDER_AESGCM, "g", "", 1);
}
static void aesgcm_written(struct given *g)
{
	aesgcm(g);
	for (size_t i = 0; i < 2; i++) {
		strings_add(&g->facts.scrapes[i].writes_with, "g:");
		g->facts.scrapes[i].writes = xcalloc(1, sizeof(uint64_t));
		g->facts.scrapes[i].writes[0] = 100001;
	}
}
static void key_in_secret(struct given *g)
{
	g->facts.in_secrets.findings = xcalloc(1, sizeof(struct trust_key_finding));
	g->facts.in_secrets.findings[0] = (struct trust_key_finding){copy("a"), copy("b"), copy("c"), false};
	g->facts.in_secrets.count = 1;
}
static void no_trust_key(struct given *g)
{
	g->facts.trust_key_why = copy("not here");
}
static void kms(struct given *g)
{
	_cleanup_free_ char *hash = text_sha256_tagged("id-1", 4);
	struct check_facts *f = &g->facts;
	give_config(g, CONFIG("secrets", KMS("v2")));
	add_values(f, &secrets, PROVIDER_KMS, "vault", "id-1", 50);
	check_add_kms(f, "vault", copy("cp-1"), NULL, hash, 0);
	check_add_kms(f, "vault", copy("plugin on this machine"), NULL, hash, 5 * NS_PER_MS);
}
static void kms_ill(struct given *g)
{
	kms(g);
	g->facts.kms[1].flaw = copy("healthz is sealed, not ok");
}
static void kms_moved(struct given *g)
{
	kms(g);
	free(g->facts.kms[1].key_id_hash);
	g->facts.kms[1].key_id_hash = text_sha256_tagged("id-2", 4);
}
static void kms_stale(struct given *g)
{
	kms(g);
	add_values(&g->facts, &secrets, PROVIDER_KMS, "vault", "id-0", 2);
}
static void kms_slow(struct given *g)
{
	kms(g);
	g->facts.kms[1].took = 300 * NS_PER_MS;
}
static void kms_slow_server(struct given *g)
{
	kms(g);
	g->facts.scrapes[0].kms_calls = 4;
	g->facts.scrapes[0].kms_seconds = 2;
}
static void kms_one(struct given *g)
{
	give_config(g, CONFIG("secrets", KMS("v1")));
}
static void member_down(struct given *g)
{
	g->facts.members[0].why = copy("refused");
}
static void other_etcd(struct given *g)
{
	g->facts.another_etcd = true;
	g->facts.census_why = copy("not the etcd");
}
static void no_room(struct given *g)
{
	g->facts.members[0].in_use = UINT64_C(1700) << 20;
}
static void file_full(struct given *g)
{
	g->facts.members[0].size = UINT64_C(2040) << 20;
}
static void rewrite_large(struct given *g)
{
	g->facts.census->resources[0].bytes = UINT64_C(900) << 20;
}
static void fragmented(struct given *g)
{
	g->facts.members[0].size = UINT64_C(900) << 20;
	g->facts.members[0].in_use = UINT64_C(100) << 20;
}
static void small_and_fragmented(struct given *g)
{
	g->facts.members[0].in_use = UINT64_C(10) << 20;
}
static void no_compaction(struct given *g)
{
	g->facts.compaction_interval = 0;
}
static void forbidden(struct given *g)
{
	strings_add(&g->facts.forbidden, "update secrets");
}
static void webhook(struct given *g)
{
	g->facts.webhooks = xcalloc(1, sizeof(struct check_webhook));
	g->facts.webhook_count = 1;
	g->facts.webhooks[0].name = copy("hook");
	strings_add(&g->facts.webhooks[0].resources, "secrets");
}
static void backup_old(struct given *g)
{
	g->facts.backup_made = NOW - DAY - 60 * NS_PER_S;
}
static void backup_edge(struct given *g)
{
	g->facts.backup_made = NOW - DAY;
}
static void backup_broken(struct given *g)
{
	g->facts.backup_why = copy("b.db: damaged");
}
static void backup_lacks(struct given *g)
{
	g->facts.backup_census->unreadable = 4;
}
static void backup_empty(struct given *g)
{
	g->facts.backup_census->objects = 0;
	g->facts.backup_census->prefix = copy("/registry");
}
static void no_backup(struct given *g)
{
	free(g->facts.backup);
	g->facts.backup = NULL;
}
static void plain_secrets(struct given *g)
{
	give_config(g, CONFIG("configmaps", LOCAL("secretbox", NEW_KEY)));
}
static void named_otherwise(struct given *g)
{
	give_config(g, CONFIG("secrets", LOCAL("secretbox", "key1")));
	add_values(&g->facts, &secrets, PROVIDER_SECRETBOX, "key1", "", 1);
}

static const struct strings want_configmaps = {(char *[]){(char *)"configmaps"}, 1},
			    want_secrets = {(char *[]){(char *)"secrets"}, 1};

static const struct row rows[] = {
	{"healthy", nothing, "values-readable", CHECK_PASSED, "100 values", 0, {0}},
	{"a Lease that is not renewed",
	 lease_old,
	 "servers-found",
	 CHECK_FAILED,
	 "cp-2 renewed its identity Lease last 4 min 55 s before",
	 0,
	 {0}},
	{"Leases that cannot be read", no_leases_read, "servers-found", CHECK_UNKNOWN, "forbidden", 0, {0}},
	{"so not all servers are known", no_leases_read, "same-configuration", CHECK_UNKNOWN, "forbidden", 0, {0}},
	{"a host without a Lease", node_more, "servers-found", CHECK_FAILED, "cp-9 (", 0, {0}},
	{"two servers of one name",
	 same_identity,
	 "server-identity",
	 CHECK_FAILED,
	 "https://cp-2:6443 have one identity",
	 0,
	 {0}},
	{"servers that do not name themselves", nameless, "server-identity", CHECK_UNKNOWN, "before 1.34", 0, {0}},
	{"a server that does not answer", unreachable, "servers-reachable", CHECK_FAILED, "no route", 0, {0}},
	{"metrics that are forbidden", refused, "servers-reachable", CHECK_UNKNOWN, "no route", 0, {0}},
	{"a server that was not asked", one_asked, "servers-reachable", CHECK_UNKNOWN, "cp-2: no address", 0, {0}},
	{"and so not known what it runs", one_asked, "same-configuration", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"not ready", not_ready, "servers-ready", CHECK_FAILED, "cp-1: [-]etcd failed", 0, {0}},
	{"two versions", two_versions, "servers-version", CHECK_FAILED, "cp-2 v1.35.0", 0, {0}},
	{"an old version", old_version, "servers-version", CHECK_WARNING, "cp-1 runs v1.28.9", 0, {0}},
	{"no automatic reload", no_reload, "automatic-reload", CHECK_WARNING, "off", 0, {0}},
	{"a reload that was not shown",
	 reload_not_shown,
	 "automatic-reload",
	 CHECK_UNKNOWN,
	 "cp-2 has not reloaded",
	 0,
	 {0}},
	{"a file that is refused",
	 refuses,
	 "reload-refused",
	 CHECK_FAILED,
	 "cp-2 could not load its file at 2026-12-23",
	 0,
	 {0}},
	{"a file that was refused once", refused_once, "reload-refused", CHECK_PASSED, NULL, 0, {0}},
	{"two configurations", loads_other, "same-configuration", CHECK_FAILED, "cp-2 sha256:bbbbbbbb", 0, {0}},
	{"a loaded hash that is not shown", shows_none, "same-configuration", CHECK_UNKNOWN, "since 1.34", 0, {0}},
	{"a file that nobody runs", other_file, "file-loaded", CHECK_FAILED, "sha256:cccccccc", 0, {0}},
	{"no configuration",
	 no_encryption,
	 "configuration-found",
	 CHECK_FAILED,
	 "everything in etcd is plaintext",
	 2,
	 {0}},
	{"a configuration that is not here",
	 no_file,
	 "configuration-found",
	 CHECK_UNKNOWN,
	 "--encryption-config FILE",
	 0,
	 {0}},
	{"its values cannot be judged", no_file, "values-stale", CHECK_UNKNOWN, "--encryption-config FILE", 0, {0}},
	{"nor its provider", no_file, "cis-1.2.28", CHECK_UNKNOWN, "--encryption-config FILE", 0, {0}},
	{"a broken configuration", broken, "configuration-valid", CHECK_FAILED, "f:3:1", 0, {0}},
	{"a short key", short_key, "key-strength", CHECK_WARNING, "128 bits", 0, {0}},
	{"a typed key", typed_key, "key-strength", CHECK_FAILED, "printable", 0, {0}},
	{"a dull key", dull_key, "key-strength", CHECK_FAILED, "only 11 different bytes", 0, {0}},
	{"one key, two names", same_bytes, "key-names", CHECK_FAILED, "the same bytes", 0, {0}},
	{"the new key second",
	 newer_second,
	 "new-key-second",
	 CHECK_FAILED,
	 "aescbc/rekey-20261202T0900Z-aaaaaa is not the first",
	 1,
	 {0}},
	{"it has written", newer_second_in_use, "new-key-second", CHECK_PASSED, NULL, 0, {0}},
	{"an old key second", older_second, "unused-key", CHECK_WARNING, "under aescbc/key1", 0, {0}},
	{"an idle fallback", fallback, "plaintext-fallback", CHECK_WARNING, "no value needs it: secrets", 0, {0}},
	{"a fallback in need",
	 fallback_needed,
	 "plaintext-fallback",
	 CHECK_PASSED,
	 "3 values of secrets are plaintext",
	 2,
	 {0}},
	{"plaintext secrets", fallback_needed, "cis-1.2.27", CHECK_FAILED, "3 of 103 Secrets", 1, {0}},
	{"a fallback, not counted", fallback_unknown, "plaintext-fallback", CHECK_UNKNOWN, "cut off", 0, {0}},
	{"a file mounted alone", file_mount, "single-file-mount", CHECK_FAILED, "/e.yaml is mounted by itself", 0, {0}},
	{"mounts unknown", mount_unknown, "single-file-mount", CHECK_UNKNOWN, "on its node", 0, {0}},
	{"a group that reads", group_reads, "file-permissions", CHECK_FAILED, "mode 0640", 0, {0}},
	{"another owner", others_own, "file-permissions", CHECK_FAILED, "user 1000", 0, {0}},
	{"an open folder", folder_open, "file-permissions", CHECK_FAILED, "mode 0777", 0, {0}},
	{"a sticky folder", folder_sticky, "file-permissions", CHECK_PASSED, NULL, 0, {0}},
	{"a key that is gone", unreadable, "values-readable", CHECK_FAILED, "2 values are under keys", 0, {0}},
	{"a form unknown", unknown_form, "values-readable", CHECK_FAILED, "of no known form", 0, {0}},
	{"a spoilt value", spoilt, "values-readable", CHECK_FAILED, "/registry/secrets/a/b", 0, {0}},
	{"half a census", incomplete, "values-readable", CHECK_UNKNOWN, "cut off", 0, {0}},
	{"half a census proves nothing", incomplete, "cis-1.2.27", CHECK_UNKNOWN, "cut off", 0, {0}},
	{"stale values", stale, "values-stale", CHECK_FAILED, "7 of 100 secrets", 0, {0}},
	{"values of nobody", unserved, "values-unserved", CHECK_WARNING, "2 encrypted values", 0, {0}},
	{"a password in a configmap",
	 credential,
	 "plaintext-credentials",
	 CHECK_WARNING,
	 "password of configmaps a/b",
	 0,
	 {0}},
	{"aesgcm at its limit", aesgcm, "aesgcm-writes", CHECK_PASSED, NULL, 1, {0}},
	{"aesgcm past it", aesgcm_full, "aesgcm-writes", CHECK_FAILED, "200,001 writes", 1, {0}},
	{"aesgcm past it by the metrics", aesgcm_written, "aesgcm-writes", CHECK_FAILED, "200,002 writes", 1, {0}},
	{"aesgcm and CIS", aesgcm, "cis-1.2.28", CHECK_FAILED, "aesgcm/g", 0, {0}},
	{"the trust key in a Secret", key_in_secret, "trust-key-in-secret", CHECK_FAILED, "secret a/b, c", 0, {0}},
	{"no trust key", no_trust_key, "trust-key-in-secret", CHECK_UNKNOWN, "not here", 0, {0}},
	{"no KMS", nothing, "kms-healthy", CHECK_DOES_NOT_APPLY, NULL, 0, {0}},
	{"KMS", kms, "kms-healthy", CHECK_PASSED, NULL, 0, {0}},
	{"KMS and its key ID", kms, "kms-key-id", CHECK_PASSED, NULL, 0, {0}},
	{"a plugin that is ill",
	 kms_ill,
	 "kms-healthy",
	 CHECK_FAILED,
	 "vault, plugin on this machine: healthz is sealed",
	 0,
	 {0}},
	{"two key IDs", kms_moved, "kms-key-id", CHECK_FAILED, "cp-1 says", 1, {0}},
	{"values under the key ID before", kms_moved, "kms-values", CHECK_FAILED, "50 values of vault", 1, {0}},
	{"some values under another key ID", kms_stale, "kms-values", CHECK_FAILED, "2 values of vault", 0, {0}},
	{"a slow plugin", kms_slow, "kms-latency", CHECK_WARNING, "vault answers Status in 300 ms", 0, {0}},
	{"a server that waits", kms_slow_server, "kms-latency", CHECK_WARNING, "cp-1 waited 500 ms", 0, {0}},
	{"KMS v1", kms_one, "kms-v1", CHECK_WARNING, "KMS v1", 0, {0}},
	{"a member down", member_down, "etcd-members", CHECK_FAILED, "etcd-1: refused", 0, {0}},
	{"another etcd", other_etcd, "etcd-is-ours", CHECK_FAILED, "not the etcd", 0, {0}},
	{"no room", no_room, "etcd-space", CHECK_FAILED, "of 2.0 GiB", 0, {0}},
	{"a file that is full", file_full, "etcd-space", CHECK_FAILED, "of 2.0 GiB", 1, {0}},
	{"much to rewrite", rewrite_large, "etcd-space", CHECK_FAILED, "about 1.8 GiB", 0, {0}},
	{"free pages", fragmented, "etcd-fragmentation", CHECK_WARNING, "100 MiB of it in use", 0, {0}},
	{"free pages of a small file", small_and_fragmented, "etcd-fragmentation", CHECK_PASSED, NULL, 0, {0}},
	{"no compaction", no_compaction, "etcd-compaction", CHECK_WARNING, "is 0", 0, {0}},
	{"forbidden", forbidden, "permissions", CHECK_FAILED, "update secrets", 0, {0}},
	{"a webhook", webhook, "webhooks", CHECK_WARNING, "hook may refuse updates of secrets", 0, {0}},
	{"an old backup", backup_old, "backup", CHECK_FAILED, "1 d", 0, {0}},
	{"a backup of a day", backup_edge, "backup", CHECK_PASSED, "1 d old, 9 values", 0, {0}},
	{"a damaged backup", backup_broken, "backup", CHECK_FAILED, "damaged", 0, {0}},
	{"a backup that lacks a key", backup_lacks, "backup", CHECK_FAILED, "4 of its values", 0, {0}},
	{"an empty backup", backup_empty, "backup", CHECK_FAILED, "no values under /registry", 0, {0}},
	{"no backup", no_backup, "backup", CHECK_UNKNOWN, "--backup FILE", 0, {0}},
	{"secrets without a rule", plain_secrets, "cis-1.2.28", CHECK_FAILED, "plaintext", 1, {0}},
	{"no policy", nothing, "require-provider", CHECK_DOES_NOT_APPLY, NULL, 0, {0}},
	{"the provider that is asked for",
	 nothing,
	 "require-provider",
	 CHECK_PASSED,
	 "secretbox",
	 0,
	 {.has_provider = true, .provider = PROVIDER_SECRETBOX}},
	{"another provider",
	 nothing,
	 "require-provider",
	 CHECK_FAILED,
	 "secrets: secretbox/",
	 0,
	 {.has_provider = true, .provider = PROVIDER_KMS}},
	{"a provider that is not known",
	 no_file,
	 "require-provider",
	 CHECK_FAILED,
	 "not known",
	 0,
	 {.has_provider = true, .provider = PROVIDER_KMS}},
	{"a resource that is asked for",
	 nothing,
	 "require-resource",
	 CHECK_PASSED,
	 "secrets",
	 0,
	 {.resources = &want_secrets}},
	{"a resource in plaintext",
	 nothing,
	 "require-resource",
	 CHECK_FAILED,
	 "configmaps is stored in plaintext",
	 0,
	 {.resources = &want_configmaps}},
	{"the key that is asked for", kms, "expect-key-id", CHECK_PASSED, "2 places", 0, {.key_id = "id-1"}},
	{"another key", kms, "expect-key-id", CHECK_FAILED, "vault, cp-1: another key", 0, {.key_id = "id-2"}},
	{"a key that is not seen", nothing, "expect-key-id", CHECK_FAILED, "not known", 0, {.key_id = "id-2"}},
	{"a young key", nothing, "max-key-age", CHECK_PASSED, NULL, 0, {.max_key_age = 90 * DAY}},
	{"an old key",
	 nothing,
	 "max-key-age",
	 CHECK_FAILED,
	 "21 d 19 h old, and 20 d is asked for",
	 0,
	 {.max_key_age = 20 * DAY}},
	{"a key of unknown age",
	 named_otherwise,
	 "max-key-age",
	 CHECK_FAILED,
	 "its age is unknown",
	 0,
	 {.max_key_age = 90 * DAY}},
};

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
		/* Nothing was found to be missing: these answer what was gathered. */
		bool of_lists =
			text_equal(checks[i].id, "trust-key-in-secret") || text_equal(checks[i].id, "permissions") ||
			text_equal(checks[i].id, "webhooks") || text_equal(checks[i].id, "plaintext-credentials") ||
			text_equal(checks[i].id, "servers-ready") || text_equal(checks[i].id, "reload-refused") ||
			text_equal(checks[i].id, "servers-reachable");
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

/* --- names --- */

static void test_newer(void **state)
{
	static const struct {
		const char *name, *than;
		bool newer;
	} names[] = {
		{"key2", "key1", true},
		{"key1", "key2", false},
		{"key10", "key9", true},
		{"key1", "key1", false},
		{"key", "key1", false},
		{"key1", "key", false},
		{"old", "new", false},
		{"a2", "b1", false},
		{"key-2026-06", "key-2026-03", true},
		{"rekey-2026-06", "key-2026-03", true},
		{"20260601", "2026-03", true},
		{"rekey-20261122T1103Z-3f9a1c", "rekey-20261122T1102Z-ffffff", true},
		{"rekey-20261122T1103Z-3f9a1c", "rekey-20261122T1103Z-ffffff", false},
		{"rekey-20261122T1103Z-3f9a1c", "key-2026-03", true},
		{"rekey-20261122T1103Z-3f9a1c", "key-2027", false},
		{"rekey-20261122T1103Z-3f9a1c", "key1", false},
		{"", "key1", false},
		{"99999999999999999999999", "1", true},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(names); i++)
		if (check_name_is_newer(names[i].name, names[i].than) != names[i].newer)
			fail_msg("%s and %s", names[i].name, names[i].than);
}

static void test_key_made(void **state)
{
	uint64_t made = 0;
	(void)state;
	assert_true(check_key_made("rekey-20261122T1103Z-3f9a1c", &made));
	char text[28];
	clock_format(made, 0, text);
	assert_string_equal(text, "2026-11-22T11:03:00Z");
	static const char *const others[] = {"rekey-",
					     "rekey-2026",
					     "rekey-20261322T1103Z-3f9a1c",
					     "key-20261122T1103Z",
					     "",
					     "rekey-2026112 T1103Z-3f9a1c"};
	for (size_t i = 0; i < ELEMENTS(others); i++)
		assert_false(check_key_made(others[i], &made));
}

static void test_credentials(void **state)
{
	static const char *const yes[] = {
		"password", "DB_PASSWORD", "dbPassword", "client-secret",     "apiKey",
		"token",    "tls.key",     "id_rsa",     ".dockerconfigjson", "AWS_SECRET_ACCESS_KEY"};
	static const char *const no[] = {"ca.crt",   "color", "Corefile",    "tokenTTL",        "secretName",
					 "keyboard", "",      "config.yaml", "kubeconfig.conf", "passwordPolicy"};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(yes); i++)
		if (!check_names_credential(yes[i]))
			fail_msg("%s", yes[i]);
	for (size_t i = 0; i < ELEMENTS(no); i++)
		if (check_names_credential(no[i]))
			fail_msg("%s", no[i]);
}

static cJSON *parsed(const char *text)
{
	cJSON *json = NULL;
	_cleanup_error_ err = NULL;
	assert_ok(json_parse(text, strlen(text), "it", &json, &err), err);
	return json;
}

static void test_credential_in(void **state)
{
	static const struct {
		const char *json, *field;
	} objects[] = {
		{"{\"spec\":{\"a\":{\"password\":\"x\"}}}", "spec.a.password"},
		{"{\"spec\":{\"users\":[{\"name\":\"u\"},{\"token\":\"x\"}]}}", "spec.users.token"},
		{"{\"metadata\":{\"password\":\"x\"},\"status\":{\"token\":\"x\"}}", NULL},
		{"{\"spec\":{\"password\":\"\",\"token\":7,\"secret\":{\"name\":\"x\"}}}", NULL},
		{"{\"spec\":{\"secretKeyRef\":{\"name\":\"x\",\"key\":\"y\"}}}", NULL},
		{"{}", NULL},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(objects); i++) {
		_cleanup_json_ json = parsed(objects[i].json);
		_cleanup_free_ char *field = check_credential_in(json);
		if (!text_equal(field, objects[i].field))
			fail_msg("%s: %s", objects[i].json, field ? field : "none");
	}
}

static void test_webhooks(void **state)
{
	static const struct {
		const char *rules;
		const char *seen; /* NULL: none */
	} lists[] = {
		{"{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}", "secrets"},
		{"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}", "secrets,configmaps"},
		{"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*/*\"]}", "secrets,configmaps"},
		{"{\"operations\":[\"CREATE\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}", NULL},
		{"{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"apps\"],\"resources\":[\"*\"]}", NULL},
		{"{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets/status\"]}", NULL},
		{"7", NULL},
	};
	const struct kube_resource *const resources[] = {&secrets, &configmaps};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(lists); i++)
		for (int policy = 0; policy < 2; policy++) {
			struct check_facts f = {0};
			_cleanup_free_ char *text = xasprintf(
				policy ? "{\"items\":[{\"metadata\":{\"name\":\"n\"},\"spec\":{\"matchConstraints\":{"
					 "\"resourceRules\":[%s]}}}]}"
				       : "{\"items\":[{\"metadata\":{\"name\":\"n\"},\"webhooks\":[{\"name\":\"w\","
					 "\"rules\":[%s]}]"
					 "}]}",
				lists[i].rules);
			_cleanup_json_ list = parsed(text);
			check_add_webhooks(list, "Kind", true, resources, 2, &f);
			assert_int_equal(f.webhook_count, lists[i].seen ? 1 : 0);
			if (lists[i].seen) {
				_cleanup_free_ char *seen = strings_join(&f.webhooks[0].resources, ",");
				assert_string_equal(seen, lists[i].seen);
				assert_string_equal(f.webhooks[0].name, policy ? "Kind n" : "w of Kind n");
			}
			check_facts_free(&f);
		}
}

/* --- metrics --- */

static void test_samples(void **state)
{
	static const char text[] =
		"apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_"
		"type=\"to_"
		"storage\",transformer_prefix=\"key1:\"} 3\n"
		"apiserver_storage_transformation_operations_total{resource=\"configmaps\",status=\"OK\","
		"transformation_type="
		"\"to_storage\",transformer_prefix=\"key1:\"} 4\n"
		"apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_"
		"type=\"from_"
		"storage\",transformer_prefix=\"key0:\"} 9\n"
		"apiserver_envelope_encryption_kms_operations_latency_seconds_sum{provider_name=\"vault\"} 1.5\n"
		"apiserver_envelope_encryption_kms_operations_latency_seconds_count{provider_name=\"vault\"} 3\n"
		"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"sha256:old\","
		"provider_name="
		"\"vault\"} 100\n"
		"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"sha256:new\","
		"provider_name="
		"\"vault\"} 200\n"
		"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"sha256:x\","
		"provider_name="
		"\"other\"} 50\n";
	struct check_facts f = {.scrapes = xcalloc(1, sizeof(struct check_scrape)), .scrape_count = 1};
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader =
		prometheus_reader_new(apiserver_metric_names);
	_cleanup_error_ err = NULL;
	(void)state;
	f.scrapes[0].url = copy("u");
	assert_ok(prometheus_feed(reader, text, sizeof(text) - 1, &err), err);
	check_take_samples(&f, &f.scrapes[0], reader);
	assert_int_equal(f.scrapes[0].writes_with.count, 1);
	assert_string_equal(f.scrapes[0].writes_with.items[0], "key1:");
	assert_int_equal(f.scrapes[0].writes[0], 7);
	assert_int_equal(f.scrapes[0].kms_calls, 3);
	assert_true(fabs(f.scrapes[0].kms_seconds - 1.5) < 1e-9);
	assert_int_equal(f.kms_count, 2);
	assert_string_equal(f.kms[0].key_id_hash, "sha256:new");
	assert_string_equal(f.kms[1].provider, "other");
	check_facts_free(&f);
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
	three.facts.shape = NULL; /* the metrics alone */
	strings_add(&three.facts.scrapes[0].writes_with, "k8s:enc:kms:v2:vault:");
	strings_add(&three.facts.scrapes[0].writes_with, "key1:");
	strings_add(&three.facts.scrapes[1].writes_with, "k8s:enc:aescbc:v1:");
	struct check_row rows_[] = {row_of(&one, "eu"), row_of(&two, "us"), row_of(&three, "asia")};
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
	assert_int_equal(row.oldest_key / DAY, 21);
	assert_int_equal(row.values, 4); /* what no rule names is not counted */
	assert_int_equal(row.encrypted, 3);
	assert_int_equal(row.under_kms, 3);
	check_row_free(&row);
	take_away(&g);
}

int main(void)
{
	json_install_hooks();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_known), cmocka_unit_test(test_table),
		cmocka_unit_test(test_newer),         cmocka_unit_test(test_key_made),
		cmocka_unit_test(test_credentials),   cmocka_unit_test(test_credential_in),
		cmocka_unit_test(test_webhooks),      cmocka_unit_test(test_samples),
		cmocka_unit_test(test_rows),          cmocka_unit_test(test_row_shares),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + RUN_ROWS(test_row, rows);
}
