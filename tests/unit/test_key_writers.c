/* Who writes with a key, whatever is stored: what is said of it, row by row. Two API servers, a and b; each row says what is seen
 * of b. */
#include "test_support.h"

#include "base/clock.h"
#include "base/text.h"
#include "engine/key_writers.h"
#include "engine/kms_look.h"

#define UUID "1234abcd-12ab-34cd-56ef-1234567890ab"
#define ARN "arn:aws:kms:eu-1:111:key/" UUID
#define FILE_HASH "sha256:f"

static char file_hash[] = FILE_HASH;
static const struct key_writers_file no_file;

static char vault[] = "vault", endpoint[] = "unix:///s", ok[] = "ok", sealed[] = "sealed", secrets[] = "secrets",
	    key1[] = "key1", old[] = "old", before[] = "before";
static char *resources[] = {secrets};
static struct config_key vault_key = {.type = PROVIDER_KMS, .kms_version = 2, .name = vault, .kms_endpoint = endpoint};
static struct config_key local_key = {.type = PROVIDER_AESCBC, .name = key1};
static struct config_key v1_key = {.type = PROVIDER_KMS, .kms_version = 1, .name = old};
static struct config_rule vault_rule = {
	.resources = resources, .resource_count = 1, .keys = &vault_key, .key_count = 1};
static struct config_rule local_rule = {
	.resources = resources, .resource_count = 1, .keys = &local_key, .key_count = 1};
static struct config_rule v1_rule = {.resources = resources, .resource_count = 1, .keys = &v1_key, .key_count = 1};
static struct config_key moved_keys[] = {
	{.type = PROVIDER_AESCBC, .name = key1},
	{.type = PROVIDER_KMS, .kms_version = 2, .name = vault, .kms_endpoint = endpoint},
	{.type = PROVIDER_KMS, .kms_version = 1, .name = old},
	{.type = PROVIDER_AESCBC, .name = before},
};
static struct config_rule moved_rule = {
	.resources = resources, .resource_count = 1, .keys = moved_keys, .key_count = 2};
static struct config_rule moved_v1_rule = {
	.resources = resources, .resource_count = 1, .keys = moved_keys, .key_count = ELEMENTS(moved_keys)};
/* It writes with what the other one only reads with. */
static struct config_rule both_rules[2];
static const struct config_shape moved_shape = {.rules = &moved_rule, .rule_count = 1};
static const struct config_shape moved_v1_shape = {.rules = &moved_v1_rule, .rule_count = 1};
static const struct config_shape both_shape = {.rules = both_rules, .rule_count = 2};
static const struct config_shape vault_shape = {.rules = &vault_rule, .rule_count = 1};
static const struct config_shape local_shape = {.rules = &local_rule, .rule_count = 1};
static const struct config_shape v1_shape = {.rules = &v1_rule, .rule_count = 1};

/* What a server counts: of the ID named last, and of one before it. */
struct counts {
	const char *now, *before; /* NULL: none */
	bool wrote_now, wrote_before;
};
/* What an agent reports; `named` NULL: nothing of its plugin. */
struct report {
	bool is, runs_file;
	const struct config_shape *shape;
	char *named, *healthz;
};

/* The scenes: the key is asked for by its ID, the plugin here names key-2, and b counts so and answers; or it is asked for by its
 * name, and b answers and runs the file with this hash. */
#define BY_ID(id, ...) .key = id, .shape = &vault_shape, .named = "key-2", .scraped = true, .counts = {__VA_ARGS__}
#define BY_NAME(label, of_a, hash) .key = label, .shape = of_a, .scraped = true, .loaded = hash
/* What b counts: it wrote with that one alone; it was told of one after the other, and wrote with those. */
#define WROTE(id) id, NULL, true, false
#define TOLD(last, first, wrote_last, wrote_first) last, first, wrote_last, wrote_first
/* What b's agent reports: of its file, and of its plugin. */
#define RUNS(of_b)                           \
	{                                    \
		true, true, of_b, NULL, NULL \
	}
#define RUNS_WITH(of_b, id, health)                             \
	{                                                       \
		true, true, of_b, (char *)(uintptr_t)id, health \
	}
#define MAY_RUN(of_b)                         \
	{                                     \
		true, false, of_b, NULL, NULL \
	}

#define NOT_ASKED                                                                                                  \
	"b was not asked which key it writes with: it does not answer, or no address of it is known (--apiserver " \
	"URL)"
#define OTHER_FILE                                                                                               \
	"the configuration of b is not known: no agent reports it, and it was not seen to run the file of this " \
	"machine"
#define NOT_SEEN_SINCE "b was told of it by kms/vault, or used it, and was not seen to write with a later key since"
#define ASKED_FOR_AT_START "the configuration names it, and an API server asks for it at its start"

static const struct {
	const char *name;
	const char *key;
	const struct config_shape *shape; /* of this machine, a's */
	const char *named;                /* by the plugin here; NULL: it is not well */
	bool scraped;                     /* b answers */
	const char *loaded;               /* by b; NULL: not shown */
	struct counts counts;             /* b's */
	struct report report;             /* b's, and a's is well */
	const char *writes, *unknown;
} rows[] = {
	{"nobody", BY_ID("key-1", WROTE("key-2"))},
	{"the plugin here", BY_ID("key-2", WROTE("key-2")), .writes = "a KMS plugin encrypts with it"},
	{"the plugin here is not well", .key = "key-1", .shape = &vault_shape, .scraped = true,
	 .counts = {WROTE("key-2")}, .unknown = "kms/vault: sealed: which key it encrypts with is not known"},
	{"an idle server that was never told of another", BY_ID("key-1", TOLD("key-1", NULL, false, false)),
	 .writes = "the KMS plugin kms/vault of b named it last"},
	{"told of another, and not seen to adopt it", BY_ID("key-1", TOLD("key-2", "key-1", false, true)),
	 .unknown = NOT_SEEN_SINCE},
	{"told of both, and never seen to write", BY_ID("key-1", TOLD("key-2", "key-1", false, false)),
	 .unknown = NOT_SEEN_SINCE},
	{"adopted", BY_ID("key-1", TOLD("key-2", "key-1", true, true))},
	{"not asked", .key = "key-1", .shape = &vault_shape, .named = "key-2", .unknown = NOT_ASKED},
	{"shows nothing", .key = "key-1", .shape = &vault_shape, .named = "key-2", .scraped = true,
	 .unknown = "b shows no key ID"},
	{"shows nothing, and has that provider", .key = "key-1", .shape = &vault_shape, .named = "key-2",
	 .scraped = true, .loaded = FILE_HASH, .unknown = "b shows no key ID of kms/vault"},
	{"shows nothing, and has no such provider", BY_NAME("key-1", &local_shape, FILE_HASH)},
	{"version 1", BY_NAME("key-1", &v1_shape, FILE_HASH),
	 .unknown = "kms/old is of version 1, which names no key ID"},
	/* Hashes are all that metrics have. */
	{"by another name", .key = UUID, .shape = &vault_shape, .named = ARN, .scraped = true, .counts = {WROTE(ARN)},
	 .writes = "a KMS plugin encrypts with it"},
	{"an alias here", .key = ARN, .shape = &vault_shape, .named = "alias/app", .scraped = true,
	 .counts = {WROTE("alias/app")},
	 .unknown = "kms/vault encrypts with alias/app: whether that is the same key only its KMS knows"},
	{"nobody knows what b names", .key = ARN, .shape = &vault_shape, .named = "arn:aws:kms:eu-1:111:key/x",
	 .scraped = true, .counts = {WROTE("alias/app")},
	 .unknown = "kms/vault of b names a key ID (sha256:648bad7cf6dd) that may be another name of it"},
	/* by agents */
	{"the plugin there", BY_ID("key-1", WROTE("key-2")), .report = RUNS_WITH(&vault_shape, "key-1", ok),
	 .writes = "a KMS plugin on b encrypts with it"},
	{"the plugin there is not well", BY_ID("key-1", WROTE("key-2")),
	 .report = RUNS_WITH(&vault_shape, "key-1", sealed),
	 .unknown = "kms/vault on b: sealed: which key it encrypts with is not known"},
	{"nothing of the plugin there", BY_ID("key-1", WROTE("key-2")), .report = RUNS(&vault_shape),
	 .unknown = "kms/vault on b: its agent has not told what it says: which key it encrypts with is not known"},
	{"no configuration", BY_ID("key-1", WROTE("key-2")), .report = RUNS(NULL),
	 .unknown = "that b runs its file is not known"},
	{"nobody, by agents", BY_ID("key-1", WROTE("key-2")), .report = RUNS_WITH(&vault_shape, "key-2", ok)},
	/* by name */
	{"the configuration here", BY_NAME("aescbc/key1", &local_shape, FILE_HASH),
	 .writes = "the configuration writes with it"},
	{"a KMS that is only read with", BY_NAME("kms/vault", &moved_shape, FILE_HASH), .writes = ASKED_FOR_AT_START},
	{"a KMS that one rule only reads with, and another writes with", BY_NAME("kms/vault", &both_shape, FILE_HASH),
	 .writes = "the configuration writes with it"},
	{"version 1 that is only read with", BY_NAME("kms/old", &moved_v1_shape, FILE_HASH),
	 .writes = ASKED_FOR_AT_START},
	{"version 1 that is only read with, and names no key ID", BY_NAME("key-1", &moved_v1_shape, FILE_HASH),
	 .named = "key-2", .counts = {WROTE("key-2")}, .unknown = "kms/old is of version 1, which names no key ID"},
	{"a KMS that is only read with, there", BY_NAME("kms/vault", &local_shape, NULL), .report = RUNS(&moved_shape),
	 .writes = "the configuration of b names it, and an API server asks for it at its start"},
	{"a local key that is only read with", BY_NAME("aescbc/before", &moved_v1_shape, FILE_HASH)},
	{"all run this file", BY_NAME("aescbc/key2", &local_shape, FILE_HASH)},
	{"another file", BY_NAME("aescbc/key2", &local_shape, "sha256:e"), .unknown = OTHER_FILE},
	{"a file that is not shown", BY_NAME("aescbc/key2", &local_shape, NULL), .unknown = OTHER_FILE},
	{"from a desk", BY_NAME("aescbc/key2", NULL, "sha256:e"),
	 .unknown = "the configuration of a is not known: no agent reports it, and none is at hand here "
		    "(--encryption-config FILE names that of this machine's server)"},
	{"the configuration there", BY_NAME("aescbc/key1", &vault_shape, NULL), .report = RUNS(&local_shape),
	 .writes = "the configuration of b writes with it"},
	{"it does not run its file", BY_NAME("aescbc/key2", &vault_shape, NULL), .report = MAY_RUN(&local_shape),
	 .unknown = "that b runs its file is not known"},
	/* By an agent it has no KMS: there is nothing to be asked for. */
	{"without a KMS, by agents, and not asked", .key = "key-1", .shape = &local_shape,
	 .report = RUNS(&local_shape)},
	{"without a KMS in a file that it may not run", .key = "key-1", .shape = &local_shape,
	 .report = MAY_RUN(&local_shape), .unknown = "that b runs its file is not known"},
	{"with a KMS, by agents, and not asked", .key = "key-1", .shape = &vault_shape, .named = "key-2",
	 .report = RUNS_WITH(&vault_shape, "key-2", ok), .unknown = NOT_ASKED},
};

static void add_id(struct storage_metrics *metrics, const char *id, bool wrote, double at)
{
	metrics->key_ids = xreallocarray(metrics->key_ids, metrics->key_id_count + 1, sizeof(*metrics->key_ids));
	metrics->key_ids[metrics->key_id_count++] = (struct storage_key_id){
		.provider = xstrdup(vault),
		.hash = text_sha256_tagged(id, strlen(id)),
		.written = wrote,
		.written_last = wrote ? at : 0,
		.named_last = at,
	};
}

static void add_server(struct check_facts *f, const char *name, const struct counts *counts, const char *loaded)
{
	struct kube_identities *leases = &f->identities;
	leases->items = xreallocarray(leases->items, leases->count + 1, sizeof(*leases->items));
	leases->items[leases->count++] = (struct kube_identity){.lease_name = xstrdup(name),
								.hostname = xstrdup(name),
								.id_hash = xstrdup(name),
								.uid = xstrdup(""),
								.peer_address = xstrdup(""),
								.holder = xstrdup("")};
	if (!counts)
		return;
	f->scrapes = xreallocarray(f->scrapes, f->scrape_count + 1, sizeof(*f->scrapes));
	struct check_scrape *scrape = &f->scrapes[f->scrape_count++];
	*scrape = (struct check_scrape){.url = xstrdup("https://x"), .name = xstrdup(name)};
	if (loaded) {
		scrape->metrics.loaded_hashes = xcalloc(1, sizeof(char *));
		scrape->metrics.loaded_hashes[scrape->metrics.loaded_hash_count++] = xstrdup(loaded);
	}
	if (counts->before)
		add_id(&scrape->storage, counts->before, counts->wrote_before, 5);
	if (counts->now)
		add_id(&scrape->storage, counts->now, counts->wrote_now, 9);
}

static void add_report(struct check_facts *f, const char *name, const struct report *report)
{
	struct key_server *server = key_server_new(name);
	server->status.loaded_is_file = report->runs_file;
	server->status.configuration = report->shape ? config_shape_copy(report->shape) : NULL;
	if (report->named) {
		server->status.kms = xcalloc(1, sizeof(*server->status.kms));
		server->status.kms[server->status.kms_count++] = (struct key_server_kms){
			.name = xstrdup(vault), .healthz = xstrdup(report->healthz), .key_id = xstrdup(report->named)};
	}
	f->fleet.servers = xreallocarray(f->fleet.servers, f->fleet.count + 1, sizeof(*f->fleet.servers));
	f->fleet.servers[f->fleet.count++] = (struct fleet_server){.last = server};
}

static bool has_kms(const struct config_shape *shape)
{
	return shape == &vault_shape || shape == &moved_v1_shape;
}

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct check_facts facts = {.set.nodes_read = true};
	struct key_writers writers = {0};
	struct key_word key = key_word(it->key);
	char *stored[] = {(char *)(uintptr_t) "key-2"};
	const struct strings none = {0}, ids = {stored, 1};
	const struct key_writers_sources in = {
		.config_path = "/e.yaml", .shape = it->shape, .servers = &none, .key_ids = &ids};
	const struct key_writers_file file = {file_hash, 0};
	struct kms_look look = {
		.name = vault, .status = {.key_id = (char *)(uintptr_t)it->named}, .flaw = it->named ? NULL : sealed};
	const struct counts well = {it->named ? it->named : "key-2", NULL, true, false};
	const struct report same = {true, true, it->shape, (char *)(uintptr_t)(it->named ? it->named : "key-2"), ok};
	add_server(&facts, "a", &well, it->shape ? FILE_HASH : "sha256:d");
	add_server(&facts, "b", it->scraped ? &it->counts : NULL, it->loaded);
	if (it->report.is) {
		add_report(&facts, "a", &same);
		add_report(&facts, "b", &it->report);
	}
	key_writers_judge(&key, &in, &file, &look, has_kms(it->shape), &facts, &writers);
	if (!text_equal(writers.writes, it->writes) || (!it->writes && !text_equal(writers.unknown, it->unknown)))
		fail_msg("writes: %s; unknown: %s", writers.writes, writers.unknown);
	key_writers_free(&writers);
	check_facts_free(&facts);
}

/* Who there is must be known. */
static void test_nobody(void **state)
{
	struct key_writers writers = {0};
	struct key_word key = key_word("key-1");
	const struct strings none = {0};
	const struct key_writers_sources in = {.servers = &none, .key_ids = &none};
	struct check_facts facts = {.set.nodes_read = true};
	(void)state;
	key_writers_judge(&key, &in, &no_file, NULL, 0, &facts, &writers);
	assert_string_equal(writers.unknown, "which API servers there are is not known: no identity Lease names one");
	key_writers_free(&writers);
	add_server(&facts, "a", &(struct counts){"key-2", NULL, true, false}, NULL);
	strings_add(&facts.silent_agents, "the agent on b has not reported for 2 min");
	key_writers_judge(&key, &in, &no_file, NULL, 0, &facts, &writers);
	assert_string_equal(writers.unknown, "the agent on b has not reported for 2 min");
	key_writers_free(&writers);
	facts.set.nodes_read = false;
	key_writers_judge(&key, &in, &no_file, NULL, 0, &facts, &writers);
	assert_string_equal(writers.unknown,
			    "control-plane Nodes could not be listed, and a stopped server may show by its Node alone");
	key_writers_free(&writers);
	facts.set.nodes_read = true;
	/* One that answers, and by no Lease's name. */
	strings_free(&facts.silent_agents);
	add_server(&facts, "b", &(struct counts){"key-1", NULL, false, false}, NULL);
	free(facts.scrapes[1].name);
	facts.scrapes[1].name = NULL;
	key_writers_judge(&key, &in, &no_file, NULL, 0, &facts, &writers);
	assert_string_equal(writers.writes, "the KMS plugin kms/vault of https://x named it last");
	assert_non_null(writers.unknown);
	key_writers_free(&writers);
	check_facts_free(&facts);
}

#define NOW 1000u /* seconds */

/* An answer of a server without any series that has its id. */
static void add_nameless(struct check_facts *f, const char *url, double start)
{
	f->scrapes = xreallocarray(f->scrapes, f->scrape_count + 1, sizeof(*f->scrapes));
	f->scrapes[f->scrape_count++] = (struct check_scrape){
		.url = xstrdup(url), .metrics = {.has_process_start = start > 0, .process_start = start}};
}

static char *unknown_of(const struct check_facts *f)
{
	struct key_writers writers = {0};
	struct key_word key = key_word("key-1");
	const struct strings none = {0};
	const struct key_writers_sources in = {.servers = &none, .key_ids = &none};
	key_writers_judge(&key, &in, &no_file, NULL, 0, f, &writers);
	assert_null(writers.writes);
	return writers.unknown;
}

/* What answers and names itself nowhere. */
static void test_nameless(void **state)
{
	static const char not_told[] = "whether a was asked which key it writes with is not known: what answers at "
				       "https://1 does not tell which server it is";
	static const struct {
		const char *what;
		double start[2];           /* 0: not shown */
		const char *why;           /* of the second one: it does not answer */
		const char *id;            /* that it has, and no Lease; NULL */
		bool contradictory, named; /* of the second one */
		const char *unknown;
	} cases[] = {
		{"each for itself", {100, 200}, NULL, NULL, false, false, NULL},
		{"b names itself", {100, 200}, NULL, NULL, false, true, NULL},
		{"one server at two addresses", {100, 100}, NULL, NULL, false, false, not_told},
		{"b names itself, and was asked twice", {100, 100}, NULL, NULL, false, true, not_told},
		{"one does not answer", {100, 200}, "refused", NULL, false, false, not_told},
		{"one shows no start", {100, 0}, NULL, NULL, false, false, not_told},
		{"one has started a moment ago", {100, NOW - 59}, NULL, NULL, false, false, not_told},
		{"one started just before that", {100, NOW - 61}, NULL, NULL, false, false, NULL},
		{"one is none of those", {100, 200}, NULL, "sha256:x", false, false, not_told},
		{"one is of two servers", {100, 200}, NULL, NULL, true, false, not_told},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct check_facts facts = {.wall_now = NOW * NS_PER_S, .set.nodes_read = true};
		add_server(&facts, "a", NULL, NULL);
		add_server(&facts, "b", NULL, NULL);
		add_nameless(&facts, "https://1", cases[i].start[0]);
		add_nameless(&facts, "https://2", cases[i].start[1]);
		struct check_scrape *second = &facts.scrapes[1];
		second->why = cases[i].why ? xstrdup(cases[i].why) : NULL;
		second->name = cases[i].named ? xstrdup("b") : NULL;
		second->metrics.contradictory = cases[i].contradictory;
		if (cases[i].id || cases[i].named) {
			second->metrics.id_hashes = xcalloc(1, sizeof(char *));
			second->metrics.id_hashes[second->metrics.id_hash_count++] =
				xstrdup(cases[i].id ? cases[i].id : "b");
		}
		_cleanup_free_ char *unknown = unknown_of(&facts);
		if (!text_equal(unknown, cases[i].unknown))
			fail_msg("%s: %s", cases[i].what, unknown);
		check_facts_free(&facts);
	}
}

/* A server that calls a KMS and shows no key ID has one all the same; but none by which all agents know there is none. */
static void test_nameless_kms(void **state)
{
	struct check_facts facts = {.wall_now = NOW * NS_PER_S, .set.nodes_read = true};
	const struct report local = {true, true, &local_shape, NULL, NULL};
	(void)state;
	add_server(&facts, "a", NULL, NULL);
	add_server(&facts, "b", NULL, NULL);
	add_nameless(&facts, "https://1", 100);
	add_nameless(&facts, "https://2", 200);
	facts.scrapes[1].kms_calls = 1;
	char *unknown = unknown_of(&facts);
	assert_string_equal(unknown, "https://2 shows no key ID");
	free(unknown);
	add_report(&facts, "a", &local);
	unknown = unknown_of(&facts);
	assert_string_equal(unknown, "no agent reports from b");
	free(unknown);
	add_report(&facts, "b", &local);
	assert_null(unknown_of(&facts));
	check_facts_free(&facts);
}

/* One that is alone shows no hash before 1.34: it has this machine's file where it is this machine's, and has loaded something since
 * that was changed. */
static void test_alone(void **state)
{
	static const char not_seen[] =
		"the configuration of a is not known: no agent reports it, and it was not seen to run "
		"the file of this machine";
	static const struct {
		const char *what;
		bool here;
		double start, loaded, refused; /* seconds */
		uint64_t changed;              /* seconds; 0: not known */
		const char *unknown;
	} cases[] = {
		{"began later", true, 500, 0, 0, 497, NULL},
		{"began at about the same time", true, 500, 0, 0, 499, not_seen},
		{"began before", true, 400, 0, 0, 499, not_seen},
		{"elsewhere", false, 500, 0, 0, 300, not_seen},
		{"a file whose time is not known", true, 500, 0, 0, 0, not_seen},
		{"shows no start", true, 0, 0, 0, 300, not_seen},
		{"loaded it since, two polls ago", true, 100, 520, 0, 500, NULL},
		{"loaded something, and its next poll is not over", true, 100, 995, 0, NOW - 129, not_seen},
		{"loaded something before", true, 100, 480, 0, 500, not_seen},
		{"refused it", true, 100, 520, 580, 500, not_seen},
	};
	struct key_word key = key_word("aescbc/key2");
	const struct strings none = {0};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct key_writers writers = {0};
		struct check_facts facts = {.wall_now = NOW * NS_PER_S, .set.nodes_read = true};
		const struct key_writers_sources in = {.config_path = "/e.yaml",
						       .shape = &local_shape,
						       .node_was_asked = cases[i].here,
						       .servers = &none,
						       .key_ids = &none};
		const struct key_writers_file file = {file_hash, cases[i].changed * NS_PER_S};
		add_server(&facts, "a", &(struct counts){NULL, NULL, false, false}, NULL);
		struct apiserver_metrics *metrics = &facts.scrapes[0].metrics;
		metrics->has_process_start = cases[i].start > 0;
		metrics->process_start = cases[i].start;
		metrics->reload_success_time = cases[i].loaded;
		metrics->reload_failure_time = cases[i].refused;
		key_writers_judge(&key, &in, &file, NULL, 0, &facts, &writers);
		assert_null(writers.writes);
		if (!text_equal(writers.unknown, cases[i].unknown))
			fail_msg("%s: %s", cases[i].what, writers.unknown);
		key_writers_free(&writers);
		check_facts_free(&facts);
	}
}

/* What a server has just written, or written before a reload that was just now, may be under way to etcd yet. */
static void test_recent(void **state)
{
	static const struct {
		const char *key;
		double loaded, wrote; /* seconds; wrote: with key-1 */
		const char *unknown;
		/* seconds by which its clock is behind ours, as its Lease shows, and when it began, by that clock; 0: it does
		 * not say */
		unsigned behind, began;
	} cases[] = {
		{"key-3", 0, 0, "a does not say when it began: what it wrote before may still be under way", 0, 0},
		{"aescbc/key2", NOW - 61, 0, NULL, 0, 1},
		{"aescbc/key2", NOW - 121, 0, NULL, 70, 1},
		{"aescbc/key2", NOW - 119, 0,
		 "a has loaded another configuration within the last 60 s, and what it wrote before may still be under "
		 "way "
		 "(ask again)",
		 70, 1},
		{"key-3", 0, 0,
		 "a began within the last 60 s, and what it wrote as it ran before may still be under way (ask again)",
		 70, NOW - 119},
		{"aescbc/key2", NOW - 59, 0,
		 "a has loaded another configuration within the last 60 s, and what it wrote before may still be under "
		 "way "
		 "(ask again)",
		 0, 1},
		{"aescbc/key2", NOW - 61, NOW - 1, NULL, 0, 1},
		{"key-1", NOW - 1, NOW - 61, NULL, 0, 1},
		{"key-1", 0, NOW - 59,
		 "a wrote with it, or with what may be it, within the last 60 s, and that may still be under way (ask "
		 "again)",
		 0, 1},
		{"key-1", 0, NOW + 5,
		 "a wrote with it, or with what may be it, within the last 60 s, and that may still be under way (ask "
		 "again)",
		 0, 1},
		{"key-3", 0, NOW - 1, NULL, 0, 1},
	};
	char *ids[] = {(char *)(uintptr_t) "key-1", (char *)(uintptr_t) "key-2"};
	const struct strings none = {0}, known = {ids, 2};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct key_word key = key_word(cases[i].key);
		struct key_writers writers = {0};
		struct check_facts facts = {.wall_now = NOW * NS_PER_S, .set.nodes_read = true};
		const struct key_writers_sources in = {.config_path = "/e.yaml",
						       .shape = &local_shape,
						       .servers = &none,
						       .key_ids = &known,
						       .settle = 60 * NS_PER_S};
		const struct key_writers_file file = {file_hash, 0};
		add_server(&facts, "a", &(struct counts){NULL, NULL, false, false}, FILE_HASH);
		struct check_scrape *scrape = &facts.scrapes[0];
		if (cases[i].behind)
			facts.identities.items[0].renewed_wall = (NOW - cases[i].behind) * NS_PER_S;
		scrape->metrics.has_process_start = cases[i].began > 0;
		scrape->metrics.process_start = cases[i].began;
		scrape->metrics.reload_success_time = cases[i].loaded;
		if (cases[i].wrote > 0)
			add_id(&scrape->storage, "key-1", true, cases[i].wrote);
		add_id(&scrape->storage, "key-2", true, NOW + 6);
		key_writers_judge(&key, &in, &file, NULL, 0, &facts, &writers);
		if (!text_equal(writers.unknown, cases[i].unknown))
			fail_msg("%zu: %s", i, writers.unknown);
		key_writers_free(&writers);
		check_facts_free(&facts);
	}
}

/* Who wrote with it when the census began may have done so where that had read already. */
static void test_before_the_census(void **state)
{
	static char it[] = "a KMS plugin encrypts with it", nobody[] = "b does not answer", now[] = "a is silent";
	static const struct {
		struct key_writers before, after;
		const char *unknown;
	} cases[] = {
		{{NULL, NULL}, {NULL, NULL}, NULL},
		{{it, NULL},
		 {NULL, NULL},
		 "when the census began: a KMS plugin encrypts with it; what was written since then may be missing in "
		 "it (ask again)"},
		{{NULL, nobody},
		 {NULL, NULL},
		 "when the census began: b does not answer; what was written since then may be missing in it (ask "
		 "again)"},
		{{NULL, nobody}, {NULL, now}, "a is silent"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct key_writers ret = {.unknown = xstrdup_or_null(cases[i].after.unknown)};
		key_writers_add_before(&cases[i].before, &ret);
		assert_null(ret.writes);
		if (!text_equal(ret.unknown, cases[i].unknown))
			fail_msg("%zu: %s", i, ret.unknown);
		key_writers_free(&ret);
	}
}

#define KEY_1 "key-1"

/* What b counted by then: writes under key-1. */
struct look {
	bool is;
	double start, reloaded;
	uint64_t written;
	const char *why, *name;
};

static void see(const struct look *look, struct storage_key_id *id, struct check_scrape *ret)
{
	*ret = (struct check_scrape){.url = (char *)(uintptr_t) "https://b",
				     .name = (char *)(uintptr_t)look->name,
				     .why = (char *)(uintptr_t)look->why,
				     .metrics = {.has_process_start = true,
						 .process_start = look->start,
						 .reload_success_time = look->reloaded},
				     .storage = {.key_ids = id, .key_id_count = 1}};
	id->written = look->written;
}

/* Both looks say that nobody writes with it; what came in between shows by what servers count. */
static void test_between_two_looks(void **state)
{
	static const struct {
		const char *name, *key;
		struct look before, after;
		const char *unknown;
	} cases[] = {
		{"nothing came", KEY_1, {true, 1, 1, 5, NULL, "b"}, {true, 1, 1, 5, NULL, "b"}, NULL},
		{"it wrote with it",
		 KEY_1,
		 {true, 1, 1, 5, NULL, "b"},
		 {true, 1, 1, 6, NULL, "b"},
		 "b wrote with it, or with what may be it, while the census went on: that may be missing in it (ask "
		 "again)"},
		{"it wrote with another", "key-2", {true, 1, 1, 5, NULL, "b"}, {true, 1, 1, 6, NULL, "b"}, NULL},
		{"it started anew",
		 KEY_1,
		 {true, 1, 1, 5, NULL, "b"},
		 {true, 2, 1, 0, NULL, "b"},
		 "b started anew or loaded another configuration while the census went on: what it wrote before is not "
		 "known (ask again)"},
		{"a count went back",
		 KEY_1,
		 {true, 1, 1, 5, NULL, "b"},
		 {true, 1, 1, 4, NULL, "b"},
		 "what b counts went back while the census went on (ask again)"},
		{"a key of a KMS outlives a reload",
		 KEY_1,
		 {true, 1, 1, 5, NULL, "b"},
		 {true, 1, 2, 5, NULL, "b"},
		 NULL},
		{"a local key may have been written with before a reload",
		 "aescbc/key1",
		 {true, 1, 1, 5, NULL, "b"},
		 {true, 1, 2, 5, NULL, "b"},
		 "b started anew or loaded another configuration while the census went on: what it wrote before is not "
		 "known (ask again)"},
		{"a local key, and it showed nothing at the beginning",
		 "aescbc/key1",
		 {true, 0, 0, 0, "refused", "b"},
		 {true, 1, 2, 5, NULL, "b"},
		 "whether b loaded another configuration while the census went on is not known: its metrics were not "
		 "had at the beginning and at the end"},
		{"a local key, and it showed nothing at all",
		 "aescbc/key1",
		 {true, 0, 0, 0, "refused", "b"},
		 {true, 0, 0, 0, "refused", "b"},
		 "whether b loaded another configuration while the census went on is not known: its metrics were not "
		 "had at the beginning and at the end"},
		{"it joined, and wrote with it",
		 KEY_1,
		 {false, 0, 0, 0, NULL, NULL},
		 {true, 2, 1, 1, NULL, "b"},
		 "b wrote with it, or with what may be it, while the census went on: that may be missing in it (ask "
		 "again)"},
		{"it joined", KEY_1, {false, 0, 0, 0, NULL, NULL}, {true, 2, 1, 0, NULL, "b"}, NULL},
		{"it left",
		 KEY_1,
		 {true, 1, 1, 5, NULL, "b"},
		 {false, 0, 0, 0, NULL, NULL},
		 "b was not met any more behind the census: what it wrote meanwhile is not known (ask again)"},
		{"it does not answer any more",
		 KEY_1,
		 {true, 1, 1, 5, NULL, "b"},
		 {true, 0, 0, 0, "refused", "b"},
		 "b was not met any more behind the census: what it wrote meanwhile is not known (ask again)"},
		{"one without a name is known by its address",
		 KEY_1,
		 {true, 1, 1, 5, NULL, NULL},
		 {true, 1, 1, 6, NULL, NULL},
		 "https://b wrote with it, or with what may be it, while the census went on: that may be missing in it "
		 "(ask again)"},
	};
	static const struct strings no_ids = {0};
	_cleanup_free_ char *hash = text_sha256_tagged(KEY_1, strlen(KEY_1));
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct key_word key = key_word(cases[i].key);
		struct storage_key_id then = {.provider = vault, .hash = hash}, now = then;
		struct check_scrape one, other;
		struct key_writers ret = {0};
		see(&cases[i].before, &then, &one);
		see(&cases[i].after, &now, &other);
		struct check_facts before_facts = {.scrapes = &one, .scrape_count = cases[i].before.is};
		struct check_facts after_facts = {.scrapes = &other, .scrape_count = cases[i].after.is};
		key_writers_add_between(&key, &no_ids, &before_facts, &after_facts, &ret);
		assert_null(ret.writes);
		if (!text_equal(ret.unknown, cases[i].unknown))
			fail_msg("%s: %s", cases[i].name, ret.unknown);
		key_writers_free(&ret);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody),           cmocka_unit_test(test_nameless),
		cmocka_unit_test(test_nameless_kms),     cmocka_unit_test(test_alone),
		cmocka_unit_test(test_recent),           cmocka_unit_test(test_before_the_census),
		cmocka_unit_test(test_between_two_looks)};
	both_rules[0] = moved_rule;
	both_rules[1] = vault_rule;
	return RUN_ROWS(row, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
