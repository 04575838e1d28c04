/* The rows of test_check.c: one fact of a healthy cluster changed, and what one check says then. */
#pragma once
/* clang-format off */ /* it would put each field on a line of its own */

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

static void nothing(struct given *g) { (void)g; }
static void lease_old(struct given *g) { g->facts.identities.items[1].renewed_wall = NOW - 300 * NS_PER_S; }
static void no_leases_read(struct given *g) { g->facts.identities_why = copy("forbidden"); }
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
static void unreachable(struct given *g) { g->facts.scrapes[1].why = copy("no route"); }
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
static void no_leases(struct given *g)
{
	for (size_t i = 0; i < g->facts.identities.count; i++) {
		struct kube_identity *lease = &g->facts.identities.items[i];
		free(lease->lease_name);
		free(lease->hostname);
		free(lease->id_hash);
		free(lease->uid);
		free(lease->peer_address);
		free(lease->holder);
	}
	g->facts.identities.count = 0;
}
static void only_one_known(struct given *g) /* the EndpointSlice was not had: one URL of two servers */
{
	struct check_scrape *last = &g->facts.scrapes[1];
	free(last->url);
	free(last->name);
	free(last->version);
	apiserver_metrics_free(&last->metrics);
	g->facts.scrape_count = 1;
}
static void from_afar(struct given *g)
{
	only_one_known(g);
	g->facts.from_afar = copy("https://lb was asked, which may be any of the servers");
}
static void from_afar_down(struct given *g)
{
	from_afar(g);
	g->facts.scrapes[0].why = copy("connection refused");
}
static void one_names_itself(struct given *g)
{
	free(g->facts.scrapes[1].metrics.id_hashes[0]);
	g->facts.scrapes[1].metrics.id_hash_count = 0;
}
static void ready_refused(struct given *g) { g->facts.scrapes[1].ready_why = copy("/readyz: 403 Forbidden"); }
static void one_version(struct given *g)
{
	free(g->facts.scrapes[1].version);
	g->facts.scrapes[1].version = NULL;
	unreachable(g);
}
static void not_ready(struct given *g) { g->facts.scrapes[0].not_ready = copy("[-]etcd failed"); }
static void version_of(struct given *g, size_t i, const char *version)
{
	free(g->facts.scrapes[i].version);
	g->facts.scrapes[i].version = copy(version);
}
static void two_versions(struct given *g) { version_of(g, 1, "v1.35.0"); }
static void old_version(struct given *g)
{
	version_of(g, 0, "v1.28.9");
	version_of(g, 1, "v1.28.9");
}
static void no_reload(struct given *g) { g->node.automatic_reload = false; }
static void reload_not_shown(struct given *g) { g->facts.scrapes[1].metrics.has_reload_counters = false; }
static void refuses(struct given *g) { g->facts.scrapes[1].metrics.reload_failure_time = 1798000000; }
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
static void agent_silent(struct given *g) { strings_add(&g->facts.silent_agents, "the agent on cp-2 is silent"); }
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
static void file_unreadable(struct given *g) /* a typing error in the path, or no right to it */
{
	char *path = copy(g->facts.config_path);
	no_file(g);
	g->facts.config_path = path;
	g->facts.config_why = copy("reading /e.yaml: no");
}
static void file_unreadable_agents(struct given *g)
{
	file_unreadable(g);
	g->facts.shape = encryption_config_shape(g->config);
}
static void journal_corrupt(struct given *g) { g->facts.journal_why = copy(".e.yaml.journal: damaged"); }
static void journal_of(struct given *g, const char *cluster, const char *here)
{
	g->facts.journal = xcalloc(1, sizeof(struct journal));
	*g->facts.journal = (struct journal){.rotation = copy("rekey-1"), .started = copy("noon"), .cluster = xstrdup_or_null(cluster)};
	g->facts.cluster_uid = xstrdup_or_null(here);
	g->facts.cluster_uid_why = here ? NULL : copy("forbidden");
}
static void journal_ours(struct given *g) { journal_of(g, "u-1", "u-1"); }
static void journal_theirs(struct given *g) { journal_of(g, "u-2", "u-1"); }
static void journal_unsure(struct given *g) { journal_of(g, "u-1", NULL); }
static void journal_earlier(struct given *g) { journal_of(g, NULL, NULL); }
static void short_key(struct given *g) { give_key(&g->facts, "aescbc/k", "f2", 16, 15, false); }
static void typed_key(struct given *g) { give_key(&g->facts, "aescbc/k", "f2", 32, 20, true); }
static void dull_key(struct given *g) { give_key(&g->facts, "aescbc/k", "f2", 32, 11, false); }
static void same_bytes(struct given *g) { give_key(&g->facts, "secretbox/spare", "f1", 32, 30, false); }
static void newer_second(struct given *g) { give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY) LOCAL("aescbc", "rekey-20261202T0900Z-aaaaaa"))); }
static void newer_second_in_use(struct given *g)
{
	newer_second(g);
	add_values(&g->facts, &secrets, PROVIDER_AESCBC, "rekey-20261202T0900Z-aaaaaa", "", 3);
}
static void older_second(struct given *g) { give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY) LOCAL("aescbc", "key1"))); }
static void fallback(struct given *g) { give_config(g, CONFIG("secrets", LOCAL("secretbox", NEW_KEY) PLAIN)); }
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
static void file_mount(struct given *g) { g->facts.single_file_mount = 1; }
static void mount_unknown(struct given *g) { g->facts.single_file_mount = -1; }
static void group_reads(struct given *g) { g->facts.file_mode = 0100640; }
static void others_own(struct given *g) { g->facts.file_owner = 1000; }
static void folder_open(struct given *g) { g->facts.folder_mode = 040777; }
static void folder_sticky(struct given *g) { g->facts.folder_mode = 041777; }
static void unreadable(struct given *g) { g->facts.census->unreadable = 2; }
static void unknown_form(struct given *g) { g->facts.census->outside_unknown = 2; }
static void spoilt(struct given *g)
{
	g->facts.census->does_not_open = 1;
	g->facts.census->does_not_open_example = copy("/registry/secrets/a/b");
}
static void destroyed(struct given *g)
{
	struct census *census = g->facts.census;
	census->refused = 2;
	census->resources[0].keys[0].opened = 98;
	census->lost = xcalloc(2, sizeof(*census->lost));
	census->lost_named = 2;
	census->lost[0] = (struct census_lost){.path = copy("/registry/secrets/a/gone"), .reason = LOST_NO_KEY};
	census->lost[1] = (struct census_lost){.path = copy("/registry/secrets/a/b"), .reason = LOST_REFUSED};
}
static void not_opened(struct given *g)
{
	g->facts.census->resources[0].keys[0].opened = 98;
	g->facts.census->resources[0].keys[0].why_closed = copy("no answer in time");
}
static void incomplete(struct given *g)
{
	g->facts.census->complete = false;
	g->facts.census->why = copy("cut off");
}
static void stale(struct given *g) { g->facts.census->resources[0].stale = 7; }
static void unserved(struct given *g) { g->facts.census->outside_count = 2; }
static void credential(struct given *g) { check_add_credential(&g->facts, "configmaps", "a", "b", "password"); }
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
static void no_trust_key(struct given *g) { g->facts.trust_key_why = copy("not here"); }
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
/* One server went from id-1 to this one so many seconds ago; another one, and the plugin here, say what kms_moved has. */
static void kms_goes(struct given *g, const char *to, double ago)
{
	_cleanup_free_ char *hash = text_sha256_tagged(to, strlen(to));
	struct check_facts *f = &g->facts;
	kms_moved(g);
	check_add_kms(f, "vault", copy("cp-2"), NULL, hash, 0);
	f->kms[2].before_hash = copy(f->kms[0].key_id_hash);
	f->kms[2].before_at = (double)(NOW / NS_PER_S) - ago;
	f->kms[2].named_at = f->kms[2].before_at + 60;
}
static void kms_goes_now(struct given *g) { kms_goes(g, "id-2", 119); }
static void kms_went(struct given *g) { kms_goes(g, "id-2", 121); }
static void kms_goes_elsewhere(struct given *g) { kms_goes(g, "id-3", 20); }
static void kms_went_by_its_clock(struct given *g)
{
	kms_goes(g, "id-2", 119);
	g->facts.kms[2].named_at = g->facts.kms[2].before_at + 180;
}
static void kms_goes_back(struct given *g)
{
	kms_goes(g, "id-2", 20);
	char *before = g->facts.kms[2].before_hash;
	g->facts.kms[2].before_hash = g->facts.kms[2].key_id_hash;
	g->facts.kms[2].key_id_hash = before;
}
static void kms_goes_for_another(struct given *g)
{
	kms_goes(g, "id-2", 20);
	free(g->facts.kms[2].provider);
	g->facts.kms[2].provider = copy("cloud");
}
static void kms_stale(struct given *g)
{
	kms(g);
	add_values(&g->facts, &secrets, PROVIDER_KMS, "vault", "id-0", 2);
}
static void kms_materials(struct given *g)
{
	kms(g);
	add_values(&g->facts, &secrets, PROVIDER_KMS, "vault", "id-1", 2);
	struct census_key *last = &g->facts.census->resources[0].keys[g->facts.census->resources[0].key_count - 1];
	free(last->annotations);
	last->annotations = copy("f080d361735076ae");
}
static void kms_material_told(struct given *g)
{
	kms(g);
	struct census_key *key = &g->facts.census->resources[0].keys[g->facts.census->resources[0].key_count - 1];
	free(key->annotations);
	key->annotations = copy("f080d361735076ae");
}
static void kms_lumped(struct given *g)
{
	kms_materials(g);
	g->facts.census->resources[0].keys[g->facts.census->resources[0].key_count - 1].lumped = true;
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
static void kms_one(struct given *g) { give_config(g, CONFIG("secrets", KMS("v1"))); }
static void member_down(struct given *g) { g->facts.members[0].why = copy("refused"); }
static void other_etcd(struct given *g)
{
	g->facts.another_etcd = true;
	g->facts.census_why = copy("not the etcd");
}
static void no_room(struct given *g) { g->facts.members[0].in_use = UINT64_C(1700) << 20; }
static void file_full(struct given *g) { g->facts.members[0].size = UINT64_C(2040) << 20; }
static void rewrite_large(struct given *g) { g->facts.census->resources[0].bytes = UINT64_C(900) << 20; }
static void fragmented(struct given *g)
{
	g->facts.members[0].size = UINT64_C(900) << 20;
	g->facts.members[0].in_use = UINT64_C(100) << 20;
}
static void small_and_fragmented(struct given *g) { g->facts.members[0].in_use = UINT64_C(10) << 20; }
static void no_compaction(struct given *g) { g->facts.compaction_interval = 0; }
static void forbidden(struct given *g) { strings_add(&g->facts.forbidden, "update secrets"); }
static void webhook(struct given *g)
{
	g->facts.webhooks = xcalloc(1, sizeof(struct check_webhook));
	g->facts.webhook_count = 1;
	g->facts.webhooks[0].name = copy("hook");
	strings_add(&g->facts.webhooks[0].resources, "secrets");
}
static void backup_old(struct given *g) { g->facts.backup_made = NOW - DAY - 60 * NS_PER_S; }
static void backup_edge(struct given *g) { g->facts.backup_made = NOW - DAY; }
static void backup_ahead(struct given *g) { g->facts.backup_made = NOW + DAY; }
static void backup_just_made(struct given *g) { g->facts.backup_made = NOW + NS_PER_S; }
static void backup_of_another(struct given *g) { g->facts.backup_census->revision = 71; }
static void backup_behind(struct given *g) { g->facts.census->revision = 10071; }
static void backup_young(struct given *g) { g->facts.census->revision = 10070; }
static void backup_busy(struct given *g)
{
	g->facts.backup_census->revision = 50000;
	g->facts.census->revision = 100000;
}
static void backup_unknown_form(struct given *g) { g->facts.backup_census->unknown = 3; }
static void backup_refused(struct given *g) { g->facts.backup_census->refused = 2; }
static void backup_many_keys(struct given *g) { g->facts.backup_census->too_many_keys = true; }
static void backup_outside(struct given *g)
{
	g->facts.backup_census->outside_encrypted = 5;
	g->facts.backup_census->prefix = copy("/registry");
	g->facts.backup_census->outside_example = copy("/k8s/secrets/a/b");
}
static void backup_plain(struct given *g)
{
	no_file(g);
	g->facts.backup_census->config_known = false;
}
static void backup_unjudged(struct given *g)
{
	backup_plain(g);
	strings_add(&g->facts.backup_census->needs, "aescbc/key1");
}
static void backup_broken(struct given *g) { g->facts.backup_why = copy("b.db: damaged"); }
static void backup_lacks(struct given *g) { g->facts.backup_census->unreadable = 4; }
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
static void plain_secrets(struct given *g) { give_config(g, CONFIG("configmaps", LOCAL("secretbox", NEW_KEY))); }
static void named_otherwise(struct given *g)
{
	give_config(g, CONFIG("secrets", LOCAL("secretbox", "key1")));
	add_values(&g->facts, &secrets, PROVIDER_SECRETBOX, "key1", "", 1);
}

/* A census so long before now, with its values under that key. */
static void census_of(struct given *g, uint64_t ago, char *key, size_t count)
{
	char at[28];
	struct key_rotation rotation = {0};
	struct key_rotation_value values[KEY_ROTATION_VALUES_MAX] = {
		{.provider = (char *)(text_equal(key, "vault") ? "kms" : "secretbox"), .name = key, .class = (char *)"known", .values = 3},
		{.provider = (char *)"secretbox", .name = (char *)"key1", .class = (char *)"known", .values = 0},
		{.provider = (char *)"secretbox", .name = (char *)"key1", .class = (char *)"foreign", .values = 3},
	};
	clock_format(NOW - ago, 0, at);
	rotation.status.after = (struct key_rotation_values){.at = at, .items = values, .count = count};
	key_seen_add(&g->facts.keys_seen, &rotation);
}
static void seen_later(struct given *g) { named_otherwise(g); census_of(g, 30 * DAY, (char *)"key0", 3); census_of(g, 3 * DAY, (char *)"key1", 3); census_of(g, 10 * DAY, (char *)"key1", 3); }
static void seen_at_first(struct given *g) { named_otherwise(g); census_of(g, 10 * DAY, (char *)"key1", 3); census_of(g, 3 * DAY, (char *)"key0", 3); }
static void seen_never(struct given *g) { named_otherwise(g); census_of(g, 10 * DAY, (char *)"key0", 3); }
static void seen_after_a_part(struct given *g) { named_otherwise(g); census_of(g, 30 * DAY, (char *)"key0", KEY_ROTATION_VALUES_MAX); census_of(g, 10 * DAY, (char *)"key1", 3); }
static void seen_kms(struct given *g) { kms(g); census_of(g, 30 * DAY, (char *)"key0", 3); census_of(g, 3 * DAY, (char *)"vault", 3); }

static const struct strings want_configmaps = {(char *[]){(char *)"configmaps"}, 1},
			    want_secrets = {(char *[]){(char *)"secrets"}, 1};

static const struct row rows[] = {
	{"healthy", nothing, "values-readable", CHECK_PASSED, "100 values", 0, {0}},
	{"a Lease that is not renewed", lease_old, "servers-found", CHECK_FAILED, "cp-2 renewed its identity Lease last 4 min 55 s before", 0, {0}},
	{"Leases that cannot be read", no_leases_read, "servers-found", CHECK_UNKNOWN, "forbidden", 0, {0}},
	{"so not all servers are known", no_leases_read, "same-configuration", CHECK_UNKNOWN, "forbidden", 0, {0}},
	{"a host without a Lease", node_more, "servers-found", CHECK_FAILED, "cp-9 (", 0, {0}},
	{"two servers of one name", same_identity, "server-identity", CHECK_FAILED, "https://cp-2:6443 have one identity", 0, {0}},
	{"servers that do not name themselves", nameless, "server-identity", CHECK_UNKNOWN, "before 1.34", 0, {0}},
	{"a server that does not answer", unreachable, "servers-reachable", CHECK_FAILED, "no route", 0, {0}},
	{"metrics that are forbidden", refused, "servers-reachable", CHECK_UNKNOWN, "no route", 0, {0}},
	{"a server that was not asked", one_asked, "servers-reachable", CHECK_UNKNOWN, "cp-2: no address", 0, {0}},
	{"and so not known what it runs", one_asked, "same-configuration", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"nor whether it is ready", one_asked, "servers-ready", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"one URL of two servers: ready", only_one_known, "servers-ready", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"its version", only_one_known, "servers-version", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"its reload", only_one_known, "automatic-reload", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"what it refuses", only_one_known, "reload-refused", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"its identity", only_one_known, "server-identity", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"from outside their network", from_afar, "servers-reachable", CHECK_UNKNOWN, "may be any of the servers", 0, {0}},
	{"what they run", from_afar, "same-configuration", CHECK_UNKNOWN, "cp-2 was not asked", 0, {0}},
	{"nor does that one answer", from_afar_down, "servers-reachable", CHECK_FAILED, "connection refused", 0, {0}},
	{"without Leases nobody knows whom to ask", no_leases, "servers-ready", CHECK_UNKNOWN, "no identity Leases", 0, {0}},
	{"one that does not name itself", one_names_itself, "server-identity", CHECK_UNKNOWN, "not every server", 0, {0}},
	{"one that tells no version", one_version, "servers-version", CHECK_UNKNOWN, "no route", 1, {0}},
	{"readiness that is refused to us", ready_refused, "servers-ready", CHECK_UNKNOWN, "403 Forbidden", 0, {0}},
	{"not ready", not_ready, "servers-ready", CHECK_FAILED, "cp-1: [-]etcd failed", 0, {0}},
	{"two versions", two_versions, "servers-version", CHECK_FAILED, "cp-2 v1.35.0", 0, {0}},
	{"an old version", old_version, "servers-version", CHECK_WARNING, "cp-1 runs v1.28.9", 0, {0}},
	{"no automatic reload", no_reload, "automatic-reload", CHECK_WARNING, "off", 0, {0}},
	{"a reload that was not shown", reload_not_shown, "automatic-reload", CHECK_UNKNOWN, "cp-2 has not reloaded", 0, {0}},
	{"a file that is refused", refuses, "reload-refused", CHECK_FAILED, "cp-2 could not load its file at 2026-12-23", 0, {0}},
	{"a file that was refused once", refused_once, "reload-refused", CHECK_PASSED, NULL, 0, {0}},
	{"two configurations", loads_other, "same-configuration", CHECK_FAILED, "cp-2 sha256:bbbbbbbb", 0, {0}},
	{"a loaded hash that is not shown", shows_none, "same-configuration", CHECK_UNKNOWN, "since 1.34", 0, {0}},
	{"a file that nobody runs", other_file, "file-loaded", CHECK_FAILED, "sha256:cccccccc", 0, {0}},
	{"a silent agent", agent_silent, "agents-report", CHECK_FAILED, "cp-2 is silent", 0, {0}},
	{"no agents", nothing, "agents-report", CHECK_DOES_NOT_APPLY, NULL, 0, {0}},
	{"no configuration", no_encryption, "configuration-found", CHECK_FAILED, "everything in etcd is plaintext", 2, {0}},
	{"a configuration that is not here", no_file, "configuration-found", CHECK_UNKNOWN, "--encryption-config FILE", 0, {0}},
	{"its values cannot be judged", no_file, "values-stale", CHECK_UNKNOWN, "--encryption-config FILE", 0, {0}},
	{"nor its provider", no_file, "cis-1.2.28", CHECK_UNKNOWN, "--encryption-config FILE", 0, {0}},
	{"a broken configuration", broken, "configuration-valid", CHECK_FAILED, "f:3:1", 0, {0}},
	{"it is found all the same", broken, "configuration-found", CHECK_PASSED, "/e.yaml", 1, {0}},
	{"a file that is not read", file_unreadable, "configuration-found", CHECK_UNKNOWN, "reading /e.yaml", 0, {0}},
	{"nor is a journal beside it", file_unreadable, "rotation-half-done", CHECK_UNKNOWN, "reading /e.yaml", 0, {0}},
	{"nor its keys", file_unreadable_agents, "key-strength", CHECK_UNKNOWN, "reading /e.yaml", 0, {0}},
	{"nor their names", file_unreadable_agents, "key-names", CHECK_UNKNOWN, "reading /e.yaml", 0, {0}},
	{"no rotation half done", nothing, "rotation-half-done", CHECK_PASSED, NULL, 0, {0}},
	{"a journal that cannot be read", journal_corrupt, "rotation-half-done", CHECK_UNKNOWN, "damaged", 0, {0}},
	{"a rotation half done", journal_ours, "rotation-half-done", CHECK_WARNING, "rekey-1, begun at noon", 0, {0}},
	{"another cluster's", journal_theirs, "rotation-half-done", CHECK_WARNING, "/.e.yaml.kube-rekey.journal is of rotation rekey-1 of another cluster, begun at noon", 0, {0}},
	{"this cluster's or another's", journal_unsure, "rotation-half-done", CHECK_WARNING, "whether it is of this cluster is not known: forbidden", 0, {0}},
	{"one of an earlier version", journal_earlier, "rotation-half-done", CHECK_WARNING, "rekey-1, begun at noon", 0, {0}},
	{"a short key", short_key, "key-strength", CHECK_WARNING, "128 bits", 0, {0}},
	{"a typed key", typed_key, "key-strength", CHECK_FAILED, "printable", 0, {0}},
	{"a dull key", dull_key, "key-strength", CHECK_FAILED, "only 11 different bytes", 0, {0}},
	{"one key, two names", same_bytes, "key-names", CHECK_FAILED, "the same bytes", 0, {0}},
	{"the new key second", newer_second, "new-key-second", CHECK_FAILED, "aescbc/rekey-20261202T0900Z-aaaaaa is not the first", 1, {0}},
	{"it has written", newer_second_in_use, "new-key-second", CHECK_PASSED, NULL, 0, {0}},
	{"an old key second", older_second, "unused-key", CHECK_WARNING, "under aescbc/key1", 0, {0}},
	{"an idle fallback", fallback, "plaintext-fallback", CHECK_WARNING, "no value needs it: secrets", 0, {0}},
	{"a fallback in need", fallback_needed, "plaintext-fallback", CHECK_PASSED, "3 values of secrets are plaintext", 2, {0}},
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
	{"values whose key the KMS does not decrypt", destroyed, "values-readable", CHECK_FAILED, "2 values are under keys that their KMS plugin does not decrypt, for example /registry/secrets/a/b: an API server that restarts never becomes ready", 0, {0}},
	{"values that nobody opened", not_opened, "values-readable", CHECK_UNKNOWN, "secrets: 2 values under secretbox/" NEW_KEY " were not opened: no answer in time", 0, {0}},
	{"half a census", incomplete, "values-readable", CHECK_UNKNOWN, "cut off", 0, {0}},
	{"half a census proves nothing", incomplete, "cis-1.2.27", CHECK_UNKNOWN, "cut off", 0, {0}},
	{"stale values", stale, "values-stale", CHECK_FAILED, "7 of 100 secrets", 0, {0}},
	{"values of nobody", unserved, "values-unserved", CHECK_WARNING, "2 encrypted values", 0, {0}},
	{"a password in a configmap", credential, "plaintext-credentials", CHECK_WARNING, "password of configmaps a/b", 0, {0}},
	{"aesgcm at its limit", aesgcm, "aesgcm-writes", CHECK_PASSED, NULL, 1, {0}},
	{"aesgcm past it", aesgcm_full, "aesgcm-writes", CHECK_FAILED, "200,001 writes", 1, {0}},
	{"aesgcm past it by the metrics", aesgcm_written, "aesgcm-writes", CHECK_FAILED, "200,002 writes", 1, {0}},
	{"aesgcm and CIS", aesgcm, "cis-1.2.28", CHECK_FAILED, "aesgcm/g", 0, {0}},
	{"the trust key in a Secret", key_in_secret, "trust-key-in-secret", CHECK_FAILED, "secret a/b, c", 0, {0}},
	{"no trust key", no_trust_key, "trust-key-in-secret", CHECK_UNKNOWN, "not here", 0, {0}},
	{"no KMS", nothing, "kms-healthy", CHECK_DOES_NOT_APPLY, NULL, 0, {0}},
	{"KMS", kms, "kms-healthy", CHECK_PASSED, NULL, 0, {0}},
	{"KMS and its key ID", kms, "kms-key-id", CHECK_PASSED, NULL, 0, {0}},
	{"a plugin that is ill", kms_ill, "kms-healthy", CHECK_FAILED, "vault, plugin on this machine: healthz is sealed", 0, {0}},
	{"two key IDs", kms_moved, "kms-key-id", CHECK_FAILED, "cp-1 says", 1, {0}},
	{"a new key ID that servers are about to adopt", kms_goes_now, "kms-key-id", CHECK_WARNING, "cp-1 says", 1, {0}},
	{"the one before is named again", kms_goes_back, "kms-key-id", CHECK_WARNING, "cp-1 says", 1, {0}},
	{"one that a server does not adopt", kms_went, "kms-key-id", CHECK_FAILED, "cp-1 says", 1, {0}},
	{"nor by the other server's clock", kms_went_by_its_clock, "kms-key-id", CHECK_FAILED, "cp-1 says", 1, {0}},
	{"three key IDs", kms_goes_elsewhere, "kms-key-id", CHECK_FAILED, "cp-1 says", 1, {0}},
	{"another provider's is adopted", kms_goes_for_another, "kms-key-id", CHECK_FAILED, "cp-1 says", 1, {0}},
	{"values under the key ID before", kms_moved, "kms-values", CHECK_FAILED, "50 values of vault", 1, {0}},
	{"some values under another key ID", kms_stale, "kms-values", CHECK_FAILED, "2 values of vault", 0, {0}},
	{"two materials of one key ID", kms_materials, "kms-material", CHECK_WARNING, "values under kms v2/vault key ID id-1 have 2 sets of annotations", 0, {0}},
	{"one material of one key ID", kms_material_told, "kms-material", CHECK_PASSED, NULL, 0, {0}},
	{"a plugin that tells of no material", kms, "kms-material", CHECK_UNKNOWN, "values under kms v2/vault key ID id-1 carry no annotations", 0, {0}},
	{"nobody knows of the rest", kms_lumped, "kms-material", CHECK_UNKNOWN, "values under kms v2/vault key ID id-1 have more than 64 data encryption keys", 0, {0}},
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
	{"a backup of a day", backup_edge, "backup", CHECK_PASSED, "1 d old by the file's time, 9 values", 0, {0}},
	{"a copy of an old backup", backup_behind, "backup", CHECK_WARNING, "b.db is 1 h old by the file's time, but at revision 70, and the cluster is at 10071: more than half", 0, {0}},
	{"a backup of a young cluster", backup_young, "backup", CHECK_PASSED, NULL, 0, {0}},
	{"a backup of a busy cluster", backup_busy, "backup", CHECK_PASSED, NULL, 0, {0}},
	{"a damaged backup", backup_broken, "backup", CHECK_FAILED, "damaged", 0, {0}},
	{"a backup that lacks a key", backup_lacks, "backup", CHECK_FAILED, "4 values are under keys that the configuration does not have", 0, {0}},
	{"an empty backup", backup_empty, "backup", CHECK_FAILED, "lies under /registry", 0, {0}},
	{"a backup of tomorrow", backup_ahead, "backup", CHECK_FAILED, "in the future", 0, {0}},
	{"a backup made meanwhile", backup_just_made, "backup", CHECK_PASSED, NULL, 0, {0}},
	{"another cluster's backup", backup_of_another, "backup", CHECK_FAILED, "revision 71, and the cluster at 70", 0, {0}},
	{"a backup with values of no known form", backup_unknown_form, "backup", CHECK_FAILED, "3 values are of no known form", 0, {0}},
	{"a backup that its KMS refuses", backup_refused, "backup", CHECK_FAILED, "KMS plugin does not decrypt", 0, {0}},
	{"a backup with too many keys", backup_many_keys, "backup", CHECK_FAILED, "too many keys", 0, {0}},
	{"a backup of another prefix", backup_outside, "backup", CHECK_FAILED, "do not lie under /registry", 0, {0}},
	{"a backup and no configuration", backup_unjudged, "backup", CHECK_UNKNOWN, "whether the keys that it needs are there", 0, {0}},
	{"which needs none", backup_plain, "backup", CHECK_PASSED, "9 values", 0, {0}},
	{"no backup", no_backup, "backup", CHECK_UNKNOWN, "--backup FILE", 0, {0}},
	{"secrets without a rule", plain_secrets, "cis-1.2.28", CHECK_FAILED, "plaintext", 1, {0}},
	{"no policy", nothing, "require-provider", CHECK_DOES_NOT_APPLY, NULL, 0, {0}},
	{"the provider that is asked for", nothing, "require-provider", CHECK_PASSED, "secretbox", 0, {.has_provider = true, .provider = PROVIDER_SECRETBOX}},
	{"another provider", nothing, "require-provider", CHECK_FAILED, "secrets: secretbox/", 0, {.has_provider = true, .provider = PROVIDER_KMS}},
	{"a provider that is not known", no_file, "require-provider", CHECK_FAILED, "not known", 0, {.has_provider = true, .provider = PROVIDER_KMS}},
	{"a resource that is asked for", nothing, "require-resource", CHECK_PASSED, "secrets", 0, {.resources = &want_secrets}},
	{"a resource in plaintext", nothing, "require-resource", CHECK_FAILED, "configmaps is stored in plaintext", 0, {.resources = &want_configmaps}},
	{"the key that is asked for", kms, "expect-key-id", CHECK_PASSED, "2 places", 0, {.key_id = "id-1"}},
	{"another key", kms, "expect-key-id", CHECK_FAILED, "vault, cp-1: another key", 0, {.key_id = "id-2"}},
	{"a key that is not seen", nothing, "expect-key-id", CHECK_FAILED, "not known", 0, {.key_id = "id-2"}},
	{"a young key", nothing, "max-key-age", CHECK_PASSED, NULL, 0, {.max_key_age = 90 * DAY}},
	{"an old key", nothing, "max-key-age", CHECK_FAILED, "21 d 19 h old, and 20 d is asked for", 0, {.max_key_age = 20 * DAY}},
	{"a key that a later census saw", seen_later, "max-key-age", CHECK_PASSED, NULL, 0, {.max_key_age = 30 * DAY}},
	{"a key from between two censuses", seen_later, "max-key-age", CHECK_FAILED, "unknown, from 10 d to 30 d", 0, {.max_key_age = 29 * DAY}},
	{"an old key by a later census", seen_later, "max-key-age", CHECK_FAILED, "10 d old at least, by the first census that saw it", 0, {.max_key_age = 9 * DAY}},
	{"a key that the first census saw", seen_at_first, "max-key-age", CHECK_FAILED, "unknown, 10 d at least", 0, {.max_key_age = 11 * DAY}},
	{"an old key by the first census", seen_at_first, "max-key-age", CHECK_FAILED, "10 d old at least", 0, {.max_key_age = 9 * DAY}},
	{"a key that no census saw", seen_never, "max-key-age", CHECK_FAILED, "no census of a KeyRotation saw it", 0, {.max_key_age = 90 * DAY}},
	{"a key after a part of a census", seen_after_a_part, "max-key-age", CHECK_FAILED, "unknown, 10 d at least", 0, {.max_key_age = 90 * DAY}},
	{"a KMS key", seen_kms, "max-key-age", CHECK_FAILED, "kms/vault: its age is unknown", 0, {.max_key_age = 90 * DAY}},
	{"a key of unknown age", named_otherwise, "max-key-age", CHECK_FAILED, "its age is unknown", 0, {.max_key_age = 90 * DAY}},
};
/* clang-format on */
