#include "engine/kms_calls.h"

#include "base/text.h"

#define CENSUSES 2u /* before the first step, and before a key leaves */

static uint64_t add_deks(const struct census_key *keys, size_t count, struct strings *deks, bool *ret_more)
{
	uint64_t objects = 0;
	for (size_t i = 0; i < count; i++) {
		if (keys[i].provider != PROVIDER_KMS || keys[i].kms_version != 2)
			continue;
		*ret_more |= keys[i].lumped;
		_cleanup_free_ char *words = xasprintf("%s %s %s", keys[i].name, keys[i].dek_source, keys[i].key_id);
		strings_add(deks, words);
		objects += keys[i].objects;
	}
	return objects;
}

/* A provider has one seed for all resources of its rule, and its name stands in one rule only. */
static uint64_t providers(const struct config_shape *shape)
{
	uint64_t count = 0;
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			count += key->type == PROVIDER_KMS && key->kms_version == 2;
		}
	return count;
}

struct kms_calls kms_calls_of(const struct path *path, const struct census *census, unsigned concurrency)
{
	struct kms_calls calls = {0};
	uint64_t objects = 0;
	_cleanup_strings_ deks = {0};
	for (size_t i = 0; i < census->resource_count; i++)
		objects += add_deks(census->resources[i].keys, census->resources[i].key_count, &deks, &calls.more);
	strings_sort_unique(&deks);
	calls.dek_sources = deks.count;
	calls.opening = CENSUSES * calls.dek_sources;
	/* Nothing is reloaded where a path follows a KMS: a new key ID is a new seed all the same. */
	if (path_follows_kms(path)) {
		calls.encrypt = 1;
		return calls;
	}
	for (size_t i = 1; i < path->count; i++) {
		calls.encrypt += providers(path->steps[i]);
		calls.decrypt += calls.dek_sources;
	}
	uint64_t at_once = concurrency * calls.dek_sources;
	calls.decrypt += at_once < objects ? at_once : objects;
	calls.decrypt += providers(path->steps[path->count - 1]); /* what the new seed wrapped, after the last reload */
	return calls;
}
