#include <stdlib.h>
#include <string.h>

#include "engine/check_internal.h"
#include "engine/journal.h"
#include "engine/snapshot.h"

#define WHAT_MAX 4096 /* bytes */

const struct check checks[] = {
	{"servers-found", "API servers", "every API server is known and up", check_servers_found},
	{"server-identity", "API servers", "each has an identity of its own", check_server_identity},
	{"servers-reachable", "API servers", "each answers at its own address", check_servers_reachable},
	{"servers-ready", "API servers", "each is ready", check_servers_ready},
	{"servers-version", "API servers", "all are of one version that kube-rekey knows", check_servers_version},
	{"automatic-reload", "API servers", "each loads a changed configuration by itself", check_automatic_reload},
	{"reload-refused", "API servers", "none refuses its file", check_reload_refused},
	{"same-configuration", "API servers", "all run the same configuration", check_same_configuration},
	{"file-loaded", "API servers", "the file is what runs", check_file_loaded},
	{"agents-report", "API servers", "the agents beside them report", check_agents_report},

	{"configuration-found", "configuration", "there is an EncryptionConfiguration", check_configuration_found},
	{"configuration-valid", "configuration", "it is valid", check_configuration_valid},
	{"key-strength", "configuration", "keys are long and random", check_key_strength},
	{"key-names", "configuration", "each name stands for one key, and each key for one name", check_key_names},
	{"new-key-second", "configuration", "the newest key writes", check_new_key_second},
	{"unused-key", "configuration", "every key is needed", check_unused_key},
	{"plaintext-fallback", "configuration", "plaintext is readable only where it is needed",
	 check_plaintext_fallback},
	{"single-file-mount", "configuration", "the server sees the file being replaced", check_single_file_mount},
	{"file-permissions", "configuration", "only root can read the file", check_file_permissions},
	{"rotation-half-done", "configuration", "no rotation is half done", check_rotation_half_done},

	{"values-readable", "values", "every value in etcd can be read now", check_values_readable},
	{"values-stale", "values", "every value is under its write key", check_values_stale},
	{"values-unserved", "values", "no encrypted value is out of the API's reach", check_values_unserved},
	{"plaintext-credentials", "values", "no credentials in resources that are not encrypted",
	 check_plaintext_credentials},
	{"aesgcm-writes", "values", "no aesgcm key has written too often", check_aesgcm_writes},
	{"trust-key-in-secret", "values", "the agents' trust key is in no Secret", check_trust_key_in_secret},

	{"kms-healthy", "KMS", "plugins answer and are healthy", check_kms_healthy},
	{"kms-key-id", "KMS", "one key ID everywhere", check_kms_key_id},
	{"kms-values", "KMS", "values are under the key ID of now", check_kms_values},
	{"kms-material", "KMS", "one material under each key ID, as far as annotations tell", check_kms_material},
	{"kms-latency", "KMS", "plugins are quick", check_kms_latency},
	{"kms-v1", "KMS", "no KMS v1", check_kms_v1},

	{"etcd-members", "etcd", "all members answer", check_etcd_members},
	{"etcd-is-ours", "etcd", "it is the etcd of these API servers", check_etcd_is_ours},
	{"etcd-space", "etcd", "there is room to rewrite everything", check_etcd_space},
	{"etcd-fragmentation", "etcd", "its file is no larger than it has to be", check_etcd_fragmentation},
	{"etcd-compaction", "etcd", "the API server compacts it", check_etcd_compaction},

	{"permissions", "before a rotation", "you may do what rotate does", check_permissions},
	{"webhooks", "before a rotation", "no webhook is in the way of the writes", check_webhooks},
	{"backup", "before a rotation", "there is a backup of the last 24 hours", check_backup},

	{"cis-1.2.27", "CIS benchmark", "1.2.27 Secrets are encrypted", check_cis_1_2_27},
	{"cis-1.2.28", "CIS benchmark", "1.2.28 by aescbc, kms or secretbox", check_cis_1_2_28},

	{"require-provider", "policy", "what is encrypted is encrypted by the provider that is asked for",
	 check_require_provider},
	{"require-resource", "policy", "the resources that are asked for are encrypted", check_require_resource},
	{"expect-key-id", "policy", "KMS encrypts with the key that is asked for", check_expect_key_id},
	{"max-key-age", "policy", "no write key is older than asked for", check_max_key_age},
};
const size_t check_count = ELEMENTS(checks);

const char *check_status_name(enum check_status status)
{
	static const char *const names[] = {
		[CHECK_PASSED] = "passed",
		[CHECK_WARNING] = "warning",
		[CHECK_FAILED] = "failed",
		[CHECK_UNKNOWN] = "not-looked-at",
		[CHECK_DOES_NOT_APPLY] = "does-not-apply",
	};
	return names[status];
}

/* Names and words of servers, plugins and objects are in it. */
static void make_printable(struct check_result *result)
{
	if (!result->what)
		return;
	char *printable = text_printable(result->what, strlen(result->what), WHAT_MAX);
	free(result->what);
	result->what = printable;
}

struct check_report check_judge(const struct check_facts *facts, const struct check_policy *policy)
{
	struct check_report report = {.results = xcalloc(check_count, sizeof(*report.results))};
	for (size_t i = 0; i < check_count; i++) {
		report.results[i] = checks[i].judge(facts, policy);
		make_printable(&report.results[i]);
		report.counts[report.results[i].status]++;
	}
	return report;
}

void check_report_free(struct check_report *report)
{
	for (size_t i = 0; report->results && i < check_count; i++)
		free(report->results[i].what);
	free(report->results);
	*report = (struct check_report){0};
}

/* --- answers --- */

struct check_result check_passed(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	struct check_result result = {CHECK_PASSED, xvasprintf(fmt, args), NULL};
	va_end(args);
	return result;
}

struct check_result check_says(enum check_status status, const char *advice, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	struct check_result result = {status, xvasprintf(fmt, args), advice};
	va_end(args);
	return result;
}

struct check_result check_unknown(const char *why)
{
	return (struct check_result){CHECK_UNKNOWN, xstrdup(why ? why : "nothing here tells"), NULL};
}

struct check_result check_does_not_apply(void)
{
	return (struct check_result){CHECK_DOES_NOT_APPLY, NULL, NULL};
}

struct check_result check_of_list(struct strings *list, enum check_status status, const char *advice, const char *good)
{
	struct check_result result = {CHECK_PASSED, good ? xstrdup(good) : NULL, NULL};
	if (list->count > 0) {
		free(result.what);
		result = (struct check_result){status, strings_join(list, "; "), advice};
	}
	strings_free(list);
	return result;
}

void check_add(struct strings *list, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	strings_add(list, text);
}

const char *check_why_no_shape(const struct check_facts *f)
{
	return f->config_why ? f->config_why
	       : f->node_why ? f->node_why
	       : f->node && !f->node->encryption_config
		       ? "the API server has no EncryptionConfiguration"
		       : "the EncryptionConfiguration is not at hand: --encryption-config FILE names it; on a "
			 "control-plane node it is found";
}

const char *check_why_no_census(const struct check_facts *f)
{
	return !f->census ? f->census_why : !f->census->complete ? f->census->why : NULL;
}

bool check_is_counted(const struct check_facts *f)
{
	return f->census && f->census->complete && f->census->shape_known && f->shape;
}

const char *check_why_not_counted(const struct check_facts *f)
{
	return !f->census || !f->census->complete ? check_why_no_census(f) : check_why_no_shape(f);
}

char *check_resources_of(const struct config_rule *rule)
{
	const struct strings names = {rule->resources, rule->resource_count};
	return strings_join(&names, ", ");
}

const struct config_key *check_write_key(const struct check_facts *f, const char *resource)
{
	const struct config_rule *rule = config_shape_rule(f->shape, resource);
	return rule && rule->keys[0].type != PROVIDER_IDENTITY ? &rule->keys[0] : NULL;
}

/* --- facts --- */

void check_scrape_free(struct check_scrape *scrape)
{
	free(scrape->url);
	free(scrape->name);
	free(scrape->why);
	free(scrape->not_ready);
	free(scrape->ready_why);
	free(scrape->version);
	apiserver_metrics_free(&scrape->metrics);
	storage_metrics_free(&scrape->storage);
	strings_free(&scrape->writes_with);
	free(scrape->writes);
}

static void free_of_values(struct check_facts *facts)
{
	census_free(facts->census);
	free(facts->census_why);
	for (size_t i = 0; i < facts->credential_count; i++) {
		free(facts->credentials[i].resource);
		free(facts->credentials[i].object);
		free(facts->credentials[i].field);
	}
	free(facts->credentials);
	strings_free(&facts->plain_resources);
	free(facts->credentials_why);
	trust_key_search_free(&facts->in_secrets);
	free(facts->in_secrets_why);
	free(facts->trust_key_why);
}

static void free_of_configuration(struct check_facts *facts)
{
	free(facts->node_why);
	free(facts->config_path);
	free(facts->shape_source);
	free(facts->config_why);
	free(facts->file_hash);
	for (size_t i = 0; i < facts->key_count; i++) {
		free(facts->keys[i].label);
		free(facts->keys[i].fingerprint);
	}
	free(facts->keys);
	journal_free(facts->journal);
	free(facts->journal_why);
	for (size_t i = 0; i < facts->kms_count; i++) {
		free(facts->kms[i].provider);
		free(facts->kms[i].where);
		free(facts->kms[i].flaw);
		free(facts->kms[i].key_id_hash);
		free(facts->kms[i].before_hash);
	}
	free(facts->kms);
	free(facts->kms_why);
}

static void free_of_writes(struct check_facts *facts)
{
	for (size_t i = 0; i < facts->member_count; i++) {
		free(facts->members[i].name);
		free(facts->members[i].why);
	}
	free(facts->members);
	free(facts->etcd_why);
	for (size_t i = 0; i < facts->webhook_count; i++) {
		free(facts->webhooks[i].name);
		strings_free(&facts->webhooks[i].resources);
	}
	free(facts->webhooks);
	free(facts->webhooks_why);
	strings_free(&facts->forbidden);
	free(facts->permissions_why);
	free(facts->backup);
	free(facts->backup_why);
	snapshot_census_free(facts->backup_census);
}

void check_facts_free(struct check_facts *facts)
{
	free(facts->cluster_uid);
	free(facts->cluster_uid_why);
	kube_identities_free(&facts->identities);
	free(facts->identities_why);
	server_set_free(&facts->set);
	for (size_t i = 0; i < facts->scrape_count; i++)
		check_scrape_free(&facts->scrapes[i]);
	free(facts->scrapes);
	free(facts->scrapes_why);
	free(facts->from_afar);
	fleet_free(&facts->fleet);
	key_seen_free(&facts->keys_seen);
	strings_free(&facts->silent_agents);
	free_of_configuration(facts);
	free_of_values(facts);
	free_of_writes(facts);
	*facts = (struct check_facts){0};
}
