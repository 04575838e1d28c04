/* What the files of check share: the judges of the table, and how they answer.
 *
 * check.c: the table. check_servers.c, check_configuration.c, check_values.c, check_kms.c, check_etcd.c, check_policy.c: the
 * judges of its groups. check_gather*.c: what they judge. check_credentials.c, check_webhooks.c: readers of what the API
 * says, sans-I/O. */
#pragma once
#include "engine/check.h"
#include "engine/drift.h"

#define CHECK_JUDGE(name) \
	struct check_result check_##name(const struct check_facts *f, const struct check_policy *policy)
CHECK_JUDGE(servers_found);
CHECK_JUDGE(server_identity);
CHECK_JUDGE(servers_reachable);
CHECK_JUDGE(servers_ready);
CHECK_JUDGE(servers_version);
CHECK_JUDGE(automatic_reload);
CHECK_JUDGE(reload_refused);
CHECK_JUDGE(same_configuration);
CHECK_JUDGE(file_loaded);
CHECK_JUDGE(agents_report);
CHECK_JUDGE(configuration_found);
CHECK_JUDGE(configuration_valid);
CHECK_JUDGE(key_strength);
CHECK_JUDGE(key_names);
CHECK_JUDGE(new_key_second);
CHECK_JUDGE(unused_key);
CHECK_JUDGE(plaintext_fallback);
CHECK_JUDGE(single_file_mount);
CHECK_JUDGE(file_permissions);
CHECK_JUDGE(rotation_half_done);
CHECK_JUDGE(values_readable);
CHECK_JUDGE(values_stale);
CHECK_JUDGE(values_unserved);
CHECK_JUDGE(plaintext_credentials);
CHECK_JUDGE(aesgcm_writes);
CHECK_JUDGE(trust_key_in_secret);
CHECK_JUDGE(kms_healthy);
CHECK_JUDGE(kms_key_id);
CHECK_JUDGE(kms_values);
CHECK_JUDGE(kms_material);
CHECK_JUDGE(kms_latency);
CHECK_JUDGE(kms_v1);
CHECK_JUDGE(etcd_members);
CHECK_JUDGE(etcd_is_ours);
CHECK_JUDGE(etcd_space);
CHECK_JUDGE(etcd_fragmentation);
CHECK_JUDGE(etcd_compaction);
CHECK_JUDGE(permissions);
CHECK_JUDGE(webhooks);
CHECK_JUDGE(backup);
CHECK_JUDGE(cis_1_2_27);
CHECK_JUDGE(cis_1_2_28);
CHECK_JUDGE(require_provider);
CHECK_JUDGE(require_resource);
CHECK_JUDGE(expect_key_id);
CHECK_JUDGE(max_key_age);

/* Results. `advice` is lent, the words are new. */
struct check_result check_passed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct check_result check_says(enum check_status status, const char *advice, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
struct check_result check_unknown(const char *why);
struct check_result check_does_not_apply(void);
/* As the above, of a list of sentences: empty is passed with `good` (may be NULL). Frees the list. */
struct check_result check_of_list(struct strings *list, enum check_status status, const char *advice, const char *good);
/* Adds "fmt" to a list. */
void check_add(struct strings *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Why the configuration is not known, where it is not. Lent. */
const char *check_why_no_shape(const struct check_facts *f);
/* Why there is no whole census; NULL: there is. */
const char *check_why_no_census(const struct check_facts *f);
/* Whether values were counted, and judged by the configuration; and why not. */
bool check_is_counted(const struct check_facts *f);
const char *check_why_not_counted(const struct check_facts *f);
/* "secrets, configmaps". New string. */
char *check_resources_of(const struct config_rule *rule);
/* What a server is called: by its Lease, else its address. */
const char *check_scrape_name(const struct check_scrape *scrape);
void check_scrape_free(struct check_scrape *scrape); /* the contents */
/* The write key that is in force for a resource: NULL where none encrypts it (plaintext). The shape must be known. */
const struct config_key *check_write_key(const struct check_facts *f, const char *resource);
/* Whether the name of a key says that it is newer than the other: our own names, dates, a counter at their ends. */
bool check_name_is_newer(const char *name, const char *than);
/* Whether the name of a field says that its value is a credential. */
bool check_names_credential(const char *field);
/* Walks a custom resource's fields (metadata and status aside): the first string of such a name, as "spec.password"; NULL.
 * New string. */
struct cJSON;
char *check_credential_in(const struct cJSON *object);
void check_add_credential(struct check_facts *f, const char *resource, const char *namespace_, const char *name,
			  const char *field);
/* Adds the webhooks (or policies) of a list, as the API server answers it, that see an update of one of `resources`. */
void check_add_webhooks(const struct cJSON *list, const char *kind, bool mutates,
			const struct kube_resource *const *resources, size_t resource_count, struct check_facts *f);
/* Samples of /metrics that only check reads: what was written with which key, KMS calls. And the KMS keys that the server has
 * seen, one a provider: the newest. */
void check_take_samples(struct check_facts *f, struct check_scrape *scrape, const struct prometheus_reader *reader);
void check_add_kms(struct check_facts *f, const char *provider, char *where, const char *flaw, const char *key_id_hash,
		   uint64_t took);
