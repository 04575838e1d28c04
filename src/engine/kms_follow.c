#include "engine/kms_follow.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "engine/canary.h"

#define SHOWN 128             /* bytes of a key ID */
#define HASH_SHOWN 19         /* characters: "sha256:7c36b0a9ded0" */
#define HURRY (21 * NS_PER_S) /* kube-apiserver answers from memory for 20 s (k8s.io/apiserver's kms config) */

char *kms_key_id_shown(const char *key_id)
{
	_cleanup_free_ char *shown = text_printable(key_id, strlen(key_id), SHOWN),
			    *hash = text_sha256_tagged(key_id, strlen(key_id));
	return text_equal(shown, key_id) ? steal(shown) : xasprintf("%s (%.*s)", shown, HASH_SHOWN, hash);
}

static bool writes_with(const struct config_rule *rule, const char *name)
{
	const struct config_key *key = &rule->keys[0];
	return key->type == PROVIDER_KMS && key->kms_version == 2 && (!name || text_equal(key->name, name));
}

bool kms_writes(const struct config_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->rule_count; i++)
		if (writes_with(&shape->rules[i], name))
			return true;
	return false;
}

int kms_can_follow(const struct config_shape *shape, struct error **err)
{
	if (!kms_writes(shape, NULL)) {
		int rc = error_set(err, ERROR_REFUSED,
				   "no rule writes with a KMS v2 provider, so there is no key ID to follow");
		error_set_hint(err, "to go to one: --provider kms --kms-name NAME --kms-endpoint unix:///PATH");
		return rc;
	}
	for (size_t i = 0; i < shape->rule_count; i++)
		if (writes_with(&shape->rules[i], NULL) && !canary_shows(shape, &shape->rules[i]))
			return error_set(
				err, ERROR_REFUSED,
				"kms/%s writes neither secrets nor configmaps (%s): no canary can show which key ID "
				"the API server has adopted for it",
				shape->rules[i].keys[0].name, shape->rules[i].resources[0]);
	return 0;
}

void kms_set_key_id(struct config_shape *shape, const char *name, const char *key_id)
{
	for (size_t i = 0; i < shape->rule_count; i++) {
		struct config_key *key = &shape->rules[i].keys[0];
		if (!writes_with(&shape->rules[i], name) || text_equal(key->kms_key_id, key_id))
			continue;
		free(key->kms_key_id);
		key->kms_key_id = xstrdup(key_id);
	}
}

const char *kms_key_id(const struct config_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->rule_count; i++)
		if (writes_with(&shape->rules[i], name))
			return shape->rules[i].keys[0].kms_key_id;
	return NULL;
}

static bool is_set(const struct config_shape *shape, const struct apiserver_named *named)
{
	const char *key_id = kms_key_id(shape, named->provider);
	if (!key_id || text_empty(key_id))
		return false;
	_cleanup_free_ char *hash = text_sha256_tagged(key_id, strlen(key_id));
	return text_equal(hash, named->key_id_hash);
}

static bool names_any(const struct apiserver_metrics *metrics, const char *provider)
{
	for (size_t i = 0; i < metrics->named_count; i++)
		if (text_equal(metrics->named[i].provider, provider))
			return true;
	return false;
}

/* Of the provider that a rule writes with. */
static bool may_adopt_another(const struct config_shape *shape, const char *provider,
			      const struct apiserver_metrics *metrics)
{
	double followed = 0, other = -1;
	for (size_t i = 0; i < metrics->named_count; i++) {
		const struct apiserver_named *named = &metrics->named[i];
		if (!text_equal(named->provider, provider))
			continue;
		if (is_set(shape, named))
			followed = named->at;
		else if (named->at > other)
			other = named->at;
	}
	return other >= followed;
}

bool kms_may_adopt_another(const struct config_shape *shape, const struct apiserver_metrics *metrics)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		if (writes_with(&shape->rules[r], NULL) &&
		    may_adopt_another(shape, shape->rules[r].keys[0].name, metrics))
			return true;
	return false;
}

char *kms_named_others(const struct config_shape *shape, const struct apiserver_metrics *metrics)
{
	_cleanup_strings_ others = {0};
	_cleanup_free_ char *process = xasprintf("%.17g", metrics->process_start);
	if (!metrics->has_process_start || metrics->contradictory || kms_may_adopt_another(shape, metrics))
		return NULL;
	for (size_t r = 0; r < shape->rule_count; r++)
		if (writes_with(&shape->rules[r], NULL) && !names_any(metrics, shape->rules[r].keys[0].name))
			return NULL;
	for (size_t i = 0; i < metrics->named_count; i++) {
		const struct apiserver_named *named = &metrics->named[i];
		if (!kms_writes(shape, named->provider) || is_set(shape, named))
			continue;
		_cleanup_free_ char *line = xasprintf("%s %s %.17g", named->provider, named->key_id_hash, named->at);
		strings_add(&others, line);
	}
	strings_sort_unique(&others);
	strings_add(&others, process);
	return strings_join(&others, "\n");
}

bool kms_left_behind(const struct config_shape *shape, const struct census_observation *census)
{
	for (size_t g = 0; g < census->group_count; g++) {
		const struct census_group *group = &census->groups[g];
		bool counts = group->values > 0 && !group->foreign && group->type == PROVIDER_KMS &&
			      group->kms_version == 2 && group->key_id;
		if (counts && kms_writes(shape, group->name) &&
		    !text_equal(group->key_id, kms_key_id(shape, group->name)))
			return true;
	}
	return false;
}

bool kms_take_history(const struct config_shape *shape, const struct observation *seen, uint64_t now,
		      uint64_t *history_ended_at)
{
	const struct census_observation *census = &seen->census;
	bool behind = kms_left_behind(shape, census);
	if (*history_ended_at && behind) {
		*history_ended_at = 0;
		return false;
	}
	bool proved = census->complete && !behind && census->begun >= seen->settled_ended && seen->settled_ended > 0 &&
		      census->begun > seen->etcd_back_at;
	bool before = *history_ended_at <= seen->settled_ended || *history_ended_at <= seen->etcd_back_at;
	if (proved && before && census->compacted)
		*history_ended_at = now;
	return true;
}

void kms_changes_add(struct kms_changes *changes, uint64_t now)
{
	memmove(changes->at, changes->at + 1, sizeof(changes->at) - sizeof(changes->at[0]));
	changes->at[KMS_CHANGES - 1] = now;
}

char *kms_changes_why(const struct kms_changes *changes, uint64_t now)
{
	if (changes->at[0] == 0 || now >= changes->at[0] + KMS_CHANGES_TIME)
		return NULL;
	_cleanup_free_ char *time = text_human_duration(now - changes->at[0]);
	return xasprintf("the KMS names another key ID again and again (%d times within %s): two plugins answer at one "
			 "socket in "
			 "turn, or somebody changes the key all the time",
			 KMS_CHANGES, time);
}

bool kms_hurry_is_due(uint64_t *last, uint64_t now)
{
	if (*last && now < *last + HURRY)
		return false;
	*last = now;
	return true;
}

void kms_hurry(struct kube *kube)
{
	(void)!kube_call(kube, "GET", "/readyz/kms-providers", NULL, NULL, NULL, NULL);
}
