/* What a person asks for by flags. A question that cannot be answered is a finding here: an auditor asked. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/check_internal.h"

static struct check_result not_known(const char *why)
{
	return check_says(CHECK_FAILED, "run it where that is known: on a control-plane node", "not known: %s", why);
}

CHECK_JUDGE(require_provider)
{
	struct strings bad = {0};
	bool any = false;
	if (!policy->has_provider)
		return check_does_not_apply();
	if (!f->shape)
		return not_known(check_why_no_shape(f));
	for (size_t r = 0; r < f->shape->rule_count; r++) {
		const struct config_key *key = &f->shape->rules[r].keys[0];
		_cleanup_free_ char *label = config_key_label(key),
				    *resources = check_resources_of(&f->shape->rules[r]);
		/* What is left in plaintext on purpose is --require-resource's. */
		any = any || key->type == policy->provider;
		if (key->type != policy->provider && key->type != PROVIDER_IDENTITY)
			check_add(&bad, "%s: %s", resources, label);
	}
	if (!any && bad.count == 0)
		check_add(&bad, "nothing is encrypted");
	return check_of_list(&bad, CHECK_FAILED, "kube-rekey rotate --provider goes there",
			     provider_name(policy->provider));
}

CHECK_JUDGE(require_resource)
{
	struct strings bad = {0};
	if (!policy->resources || policy->resources->count == 0)
		return check_does_not_apply();
	if (!f->shape)
		return not_known(check_why_no_shape(f));
	for (size_t i = 0; i < policy->resources->count; i++)
		if (!check_write_key(f, policy->resources->items[i]))
			check_add(&bad, "%s is stored in plaintext", policy->resources->items[i]);
	_cleanup_free_ char *all = strings_join(policy->resources, ", ");
	return check_of_list(&bad, CHECK_FAILED, "add it to a rule: kube-rekey rotate --to FILE", all);
}

CHECK_JUDGE(expect_key_id)
{
	struct strings bad = {0};
	size_t known = 0;
	if (!policy->key_id)
		return check_does_not_apply();
	_cleanup_free_ char *wanted = text_sha256_tagged(policy->key_id, strlen(policy->key_id));
	for (size_t i = 0; i < f->kms_count; i++) {
		const struct check_kms *kms = &f->kms[i];
		if (!kms->key_id_hash)
			continue;
		known++;
		if (!text_equal(kms->key_id_hash, wanted))
			check_add(&bad, "%s, %s: another key (%s)", kms->provider, kms->where, kms->key_id_hash);
	}
	if (known == 0)
		return not_known("no KMS key ID was seen (in a server's metrics, or on its node)");
	_cleanup_free_ char *good = xasprintf("seen in %zu places", known);
	return check_of_list(
		&bad, CHECK_FAILED,
		"on a managed cluster that is a provider-owned key, not yours: set your own there. Hashes are "
		"compared (sha256 of the key ID, as the API server's metrics have it)",
		good);
}

/* Of a key that is not named as ours are. A KMS provider's name says nothing of the key behind it. */
static void judge_age_by_censuses(const struct check_facts *f, const struct config_key *key, uint64_t max,
				  struct strings *bad)
{
	uint64_t first = 0, before = 0;
	_cleanup_free_ char *label = config_key_label(key);
	if (key->type == PROVIDER_KMS || !key_seen_since(&f->keys_seen, label, &first, &before)) {
		check_add(bad,
			  "%s: its age is unknown, kube-rekey did not name it, and no census of a KeyRotation saw it",
			  label);
		return;
	}
	uint64_t age = f->wall_now > first ? f->wall_now - first : 0;
	uint64_t at_most = f->wall_now > before ? f->wall_now - before : 0;
	_cleanup_free_ char *old = text_human_duration(age), *most = text_human_duration(max);
	_cleanup_free_ char *oldest = text_human_duration(at_most);
	if (age > max)
		check_add(bad, "%s is %s old at least, by the first census that saw it, and %s is asked for", label,
			  old, most);
	else if (!before)
		check_add(bad, "%s: its age is unknown, %s at least: the first census of all saw it already", label,
			  old);
	else if (at_most > max)
		check_add(bad, "%s: its age is unknown, from %s to %s, by the censuses that saw it and did not", label,
			  old, oldest);
}

CHECK_JUDGE(max_key_age)
{
	struct strings bad = {0};
	if (policy->max_key_age == 0)
		return check_does_not_apply();
	if (!f->shape)
		return not_known(check_why_no_shape(f));
	_cleanup_free_ char *most = text_human_duration(policy->max_key_age);
	for (size_t r = 0; r < f->shape->rule_count; r++) {
		const struct config_key *key = &f->shape->rules[r].keys[0];
		uint64_t made = 0;
		if (key->type == PROVIDER_IDENTITY)
			continue;
		if (!key_name_time(key->name, &made)) {
			judge_age_by_censuses(f, key, policy->max_key_age, &bad);
			continue;
		}
		_cleanup_free_ char *label = config_key_label(key);
		uint64_t age = f->wall_now > made ? f->wall_now - made : 0;
		_cleanup_free_ char *old = text_human_duration(age);
		if (age > policy->max_key_age)
			check_add(&bad, "%s is %s old, and %s is asked for", label, old, most);
	}
	return check_of_list(&bad, CHECK_FAILED, "kube-rekey rotate makes a new one", NULL);
}
