#include "engine/kms_calls.h"

#include "base/text.h"

#define CENSUSES_LATER 2u /* before a key leaves, and the last one; the first one is before the first step */

struct sources {
	struct strings all, kept; /* kept: those that the last step writes under, which nobody rewrites */
	uint64_t objects;
};

static void add_deks(const struct census_resource *resource, const struct config_shape *last, struct sources *ret,
		     struct kms_calls *ret_calls)
{
	for (size_t k = 0; k < resource->key_count; k++) {
		const struct census_key *key = &resource->keys[k];
		if (key->provider != PROVIDER_KMS || key->kms_version != 2)
			continue;
		const struct key_name name = {key->provider, key->kms_version, key->name, key->key_id};
		_cleanup_free_ char *words = xasprintf("%s %s %s", key->name, key->dek_source, key->key_id);
		strings_add(&ret->all, words);
		if (shape_writes(last, resource->entry->storage, name))
			strings_add(&ret->kept, words);
		ret->objects += key->objects;
		ret_calls->more |= key->lumped;
	}
}

static uint64_t values_of_v1(const struct census_resource *resource, const struct config_shape *last)
{
	const struct config_rule *rule = config_shape_rule(last, resource->entry->storage);
	if (rule && rule->keys[0].kms_version == 1)
		return resource->objects;
	uint64_t values = 0;
	for (size_t k = 0; k < resource->key_count; k++)
		values += resource->keys[k].kms_version == 1 ? resource->keys[k].objects : 0;
	return values;
}

/* A provider has one seed for all resources of its rule, and its name stands in one rule only. */
static uint64_t providers(const struct config_shape *shape, bool writers)
{
	uint64_t count = 0;
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < (writers ? 1 : shape->rules[r].key_count); k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			count += key->type == PROVIDER_KMS && key->kms_version == 2;
		}
	return count;
}

struct kms_calls kms_calls_of(const struct path *path, const struct census *census, unsigned concurrency,
			      uint64_t servers)
{
	const struct config_shape *last = path->steps[path->count - 1];
	struct kms_calls calls = {0};
	struct sources sources = {0};
	for (size_t i = 0; i < census->resource_count; i++) {
		add_deks(&census->resources[i], last, &sources, &calls);
		calls.v1_values += values_of_v1(&census->resources[i], last);
	}
	strings_sort_unique(&sources.all);
	strings_sort_unique(&sources.kept);
	calls.dek_sources = sources.all.count;
	uint64_t seeds = servers * providers(last, true); /* that what is rewritten will be under */
	calls.opening = servers * (calls.dek_sources + CENSUSES_LATER * (sources.kept.count + seeds));
	for (size_t i = 1; i < path->count; i++) {
		calls.encrypt += providers(path->steps[i], false);
		calls.decrypt += calls.dek_sources;
	}
	/* Nothing is reloaded where a path follows a KMS: a new key ID is a new seed all the same. */
	if (path_follows_kms(path))
		calls.encrypt = providers(last, false);
	else
		calls.decrypt += seeds; /* after the last reload */
	uint64_t at_once = concurrency * calls.dek_sources, others = servers > 0 ? seeds - seeds / servers : 0;
	calls.decrypt += (at_once < sources.objects ? at_once : sources.objects) + others;
	strings_free(&sources.all);
	strings_free(&sources.kept);
	return calls;
}
