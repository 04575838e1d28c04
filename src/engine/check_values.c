/* What is in etcd, and in Secrets. */
#include <stdlib.h>

#include "engine/aesgcm.h"
#include "engine/check_internal.h"

#define NAMED_MAX 3 /* examples in one line */

/* Of those that are lost for this reason: ", for example /registry/secrets/a/b". New string. */
static char *example_of(const struct census *census, enum lost_reason reason)
{
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < census->lost_named && names.count < NAMED_MAX; i++)
		if (census->lost[i].reason == reason)
			strings_add(&names, census->lost[i].path);
	_cleanup_free_ char *all = strings_join(&names, ", ");
	return xasprintf("%s%s", names.count ? ", for example " : "", all);
}

/* Why encrypted values were not opened; NULL: all of them were. New string. */
static char *why_closed(const struct census *census)
{
	for (size_t r = 0; r < census->resource_count; r++)
		for (size_t k = 0; k < census->resources[r].key_count; k++) {
			const struct census_resource *resource = &census->resources[r];
			_cleanup_free_ char *closed = census_closed_text(resource->keys, resource->key_count, k);
			if (closed)
				return xasprintf("%s: %s", resource->entry->resource->resource, closed);
		}
	return NULL;
}

CHECK_JUDGE(values_readable)
{
	struct strings bad = {0};
	const struct census *census = f->census;
	(void)policy;
	if (census) {
		_cleanup_free_ char *unreadable = text_human_count(census->unreadable),
				    *unknown = text_human_count(census->unknown + census->outside_unknown),
				    *closed = text_human_count(census->does_not_open),
				    *refused = text_human_count(census->refused),
				    *without = example_of(census, LOST_NO_KEY),
				    *destroyed = example_of(census, LOST_REFUSED);
		if (census->unreadable > 0)
			check_add(&bad, "%s values are under keys that the configuration does not have%s", unreadable,
				  without);
		if (census->refused > 0)
			check_add(
				&bad,
				"%s values are under keys that their KMS plugin does not decrypt%s: an API server that "
				"restarts never becomes ready",
				refused, destroyed);
		if (census->unknown + census->outside_unknown > 0)
			check_add(&bad, "%s values are of no known form", unknown);
		if (census->does_not_open > 0)
			check_add(&bad, "%s values do not open with the key that they name, for example %s", closed,
				  census->does_not_open_example);
	}
	if (bad.count == 0 && !check_is_counted(f))
		return check_unknown(check_why_not_counted(f));
	_cleanup_free_ char *unopened = bad.count == 0 ? why_closed(census) : NULL;
	if (unopened)
		return check_unknown(unopened);
	_cleanup_free_ char *all = census ? text_human_count(census->values) : NULL,
			    *opened = census ? text_human_count(census->opened) : NULL;
	_cleanup_free_ char *good = xasprintf("%s values read, %s of them opened with the file's keys", all, opened);
	return check_of_list(&bad, CHECK_FAILED,
			     "kube-rekey census --open names them: put the missing key back, as a read key or in the "
			     "KMS, or delete the values. "
			     "Rotate nothing before",
			     good);
}

CHECK_JUDGE(values_stale)
{
	struct strings bad = {0};
	(void)policy;
	for (size_t i = 0; f->census && i < f->census->resource_count; i++) {
		const struct census_resource *resource = &f->census->resources[i];
		_cleanup_free_ char *stale = text_human_count(resource->stale),
				    *all = text_human_count(resource->objects);
		if (resource->stale > 0)
			check_add(&bad, "%s of %s %s", stale, all, resource->entry->resource->resource);
	}
	if (bad.count == 0 && !check_is_counted(f))
		return check_unknown(check_why_not_counted(f));
	return check_of_list(&bad, CHECK_FAILED, "kube-rekey reencrypt rewrites them", NULL);
}

CHECK_JUDGE(values_unserved)
{
	(void)policy;
	if (f->census && f->census->outside_count > 0) {
		_cleanup_free_ char *count = text_human_count(f->census->outside_count);
		return check_says(
			CHECK_WARNING,
			"left-overs of removed APIs: judge them, then etcdctl del; another's: --foreign-prefix "
			"PREFIX. Their key cannot leave before",
			"%s encrypted values are served by no API, for example %s", count,
			f->census->outside_named ? f->census->outside[0].path : "?");
	}
	if (!f->census || !f->census->complete)
		return check_unknown(check_why_no_census(f));
	return (struct check_result){CHECK_PASSED, NULL, NULL};
}

CHECK_JUDGE(plaintext_credentials)
{
	_cleanup_strings_ examples = {0};
	(void)policy;
	for (size_t i = 0; i < f->credential_count && i < NAMED_MAX; i++)
		check_add(&examples, "%s of %s %s", f->credentials[i].field, f->credentials[i].resource,
			  f->credentials[i].object);
	_cleanup_free_ char *named = strings_join(&examples, ", "), *count = text_human_count(f->credentials_found);
	if (f->credential_count > 0)
		return check_says(CHECK_WARNING,
				  "look at them; move what is secret into Secrets, or encrypt the resource too (rotate "
				  "--to FILE)",
				  "%s objects have fields that are called like credentials: %s%s", count, named,
				  f->credentials_found > examples.count ? ", ..." : "");
	if (f->credentials_why || !f->shape)
		return check_unknown(f->credentials_why ? f->credentials_why : check_why_no_shape(f));
	if (f->plain_resources.count == 0)
		return check_passed("configmaps and custom resources are encrypted, too");
	_cleanup_free_ char *resources = strings_join(&f->plain_resources, ", ");
	return check_passed("by the names of their fields, in %s", resources);
}

/* By the census: what lies under it. By the servers: what each has written with it since its start. */
static uint64_t writes_of(const struct check_facts *f, const struct config_key *key)
{
	uint64_t values = 0, writes = 0;
	_cleanup_free_ char *prefix = xasprintf("%s:", key->name);
	for (size_t i = 0; f->census && i < f->census->resource_count; i++)
		for (size_t k = 0; k < f->census->resources[i].key_count; k++) {
			const struct census_key *under = &f->census->resources[i].keys[k];
			if (under->provider == key->type && text_equal(under->name, key->name))
				values += under->objects;
		}
	for (size_t i = 0; i < f->scrape_count; i++)
		for (size_t k = 0; k < f->scrapes[i].writes_with.count; k++)
			if (text_equal(f->scrapes[i].writes_with.items[k], prefix))
				writes += f->scrapes[i].writes[k];
	return values > writes ? values : writes;
}

CHECK_JUDGE(aesgcm_writes)
{
	struct strings bad = {0};
	bool any = false;
	(void)policy;
	if (!f->shape)
		return check_unknown(check_why_no_shape(f));
	for (size_t r = 0; r < f->shape->rule_count; r++) {
		const struct config_key *key = &f->shape->rules[r].keys[0];
		if (key->type != PROVIDER_AESGCM)
			continue;
		any = true;
		uint64_t writes = writes_of(f, key);
		_cleanup_free_ char *count = text_human_count(writes), *most = text_human_count(AESGCM_OBJECTS_MAX);
		if (writes > AESGCM_OBJECTS_MAX)
			check_add(&bad, "aesgcm/%s: %s writes or more, and its random nonces are safe for %s",
				  key->name, count, most);
	}
	if (!any)
		return check_does_not_apply();
	if (bad.count == 0 && !check_is_counted(f))
		return check_unknown(check_why_not_counted(f));
	return check_of_list(&bad, CHECK_FAILED,
			     "rotate now, to secretbox or KMS: kube-rekey rotate --provider secretbox", NULL);
}

CHECK_JUDGE(trust_key_in_secret)
{
	struct strings bad = {0};
	(void)policy;
	for (size_t i = 0; i < f->in_secrets.count; i++) {
		const struct trust_key_finding *finding = &f->in_secrets.findings[i];
		check_add(&bad,
			  finding->sealed
				  ? "secret %s/%s, %s: kubeadm's upload of the service-account signing key, which "
				    "its certificate key opens"
				  : "secret %s/%s, %s: it holds the trust key, so whoever reads it, or a backup of "
				    "etcd from within a rotation, has the new keys",
			  finding->namespace_, finding->name, finding->entry);
	}
	if (bad.count == 0 && (f->in_secrets_why || f->trust_key_why))
		return check_unknown(f->in_secrets_why ? f->in_secrets_why : f->trust_key_why);
	_cleanup_free_ char *count = text_human_count(f->in_secrets.secrets),
			    *good = xasprintf("in none of %s Secrets", count);
	return check_of_list(&bad, CHECK_FAILED,
			     "delete what kubeadm left when all nodes have joined; else give the agents another key: "
			     "--trust-key FILE with 32 random bytes, the same on each node",
			     good);
}

/* --- CIS: answered from what is seen in etcd --- */

static const struct census_resource *secrets_of(const struct census *census)
{
	for (size_t i = 0; census && i < census->resource_count; i++)
		if (text_equal(census->resources[i].entry->storage, "secrets"))
			return &census->resources[i];
	return NULL;
}

CHECK_JUDGE(cis_1_2_27)
{
	uint64_t plain = 0;
	(void)policy;
	const struct census_resource *secrets = secrets_of(f->census);
	if (f->node && !f->config_path && !f->node->encryption_config)
		return check_says(CHECK_FAILED, "docs/howto.md: turning encryption on",
				  "%s: no --encryption-provider-config", f->node->source);
	if (f->shape && !check_write_key(f, "secrets"))
		return check_says(CHECK_FAILED, "add a rule for secrets: kube-rekey rotate --to FILE",
				  "the configuration stores Secrets in plaintext");
	for (size_t k = 0; secrets && k < secrets->key_count; k++)
		if (secrets->keys[k].provider == PROVIDER_IDENTITY)
			plain += secrets->keys[k].objects;
	if (plain > 0) {
		_cleanup_free_ char *count = text_human_count(plain), *all = text_human_count(secrets->objects);
		return check_says(CHECK_FAILED, "kube-rekey reencrypt encrypts them",
				  "%s of %s Secrets are plaintext in etcd", count, all);
	}
	if (!f->census || !f->census->complete)
		return check_unknown(check_why_no_census(f));
	if (!secrets || secrets->objects == 0)
		return check_unknown("there are no Secrets in etcd");
	_cleanup_free_ char *all = text_human_count(secrets->objects);
	return check_passed("none of %s Secrets in etcd is plaintext", all);
}

CHECK_JUDGE(cis_1_2_28)
{
	(void)policy;
	if (!f->shape)
		return f->node && !f->config_path && !f->node->encryption_config
			       ? check_says(CHECK_FAILED, NULL, "nothing is encrypted")
			       : check_unknown(check_why_no_shape(f));
	const struct config_key *key = check_write_key(f, "secrets");
	if (!key)
		return check_says(CHECK_FAILED, NULL, "Secrets are stored in plaintext");
	_cleanup_free_ char *label = config_key_label(key);
	if (key->type == PROVIDER_AESGCM)
		return check_says(CHECK_FAILED, "kube-rekey rotate --provider secretbox", "Secrets are written with %s",
				  label);
	return check_passed("%s", label);
}
