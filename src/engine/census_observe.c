/* A census as next_action wants it. */
#include "engine/census_internal.h"

static struct census_group *group_of(struct census_observation *seen, const char *resource,
				     const struct census_key *key, bool foreign, bool by_key_id)
{
	for (size_t i = 0; i < seen->group_count; i++) {
		struct census_group *group = &seen->groups[i];
		if (text_equal(group->resource, resource) && group->type == key->provider &&
		    group->kms_version == key->kms_version && text_equal(group->name, key->name) &&
		    (!by_key_id || text_equal(group->key_id, key->key_id)) && group->foreign == foreign &&
		    !group->unknown && !group->expected)
			return group;
	}
	seen->groups = xreallocarray(seen->groups, seen->group_count + 1, sizeof(*seen->groups));
	struct census_group *group = &seen->groups[seen->group_count++];
	*group = (struct census_group){
		.resource = resource ? xstrdup(resource) : NULL,
		.type = key->provider,
		.kms_version = key->kms_version,
		.name = xstrdup(key->name),
		.key_id = by_key_id ? xstrdup(key->key_id) : NULL,
		.foreign = foreign,
		.example = key->example ? xstrdup(key->example) : NULL,
	};
	return group;
}

/* DEK sources of one name are one group, and so are KMS key IDs unless a path follows them, or somebody asked for them: what a
 * configuration names is the provider. */
static void add_keys(const struct census *census, struct census_observation *seen, const char *resource,
		     const struct census_key *keys, size_t count, bool foreign)
{
	for (size_t i = 0; i < count; i++) {
		bool by_key_id = census->tell_key_ids && keys[i].provider == PROVIDER_KMS;
		group_of(seen, resource, &keys[i], foreign, by_key_id)->values += keys[i].objects;
	}
}

static struct census_group *add_group(struct census_observation *seen, const char *resource, uint64_t values,
				      const char *example)
{
	seen->groups = xreallocarray(seen->groups, seen->group_count + 1, sizeof(*seen->groups));
	struct census_group *group = &seen->groups[seen->group_count++];
	*group = (struct census_group){
		.resource = resource ? xstrdup(resource) : NULL,
		.name = xstrdup(""),
		.values = values,
		.example = example ? xstrdup(example) : NULL,
	};
	return group;
}

static const char *unknown_outside(const struct census *census)
{
	for (size_t i = 0; i < census->outside_named; i++) {
		if (census->outside[i].unknown)
			return census->outside[i].path;
	}
	return NULL;
}

static char *why_not_opened(const struct census *census)
{
	_cleanup_error_ why = NULL;
	return census_opened(census, &why) < 0 ? xstrdup(error_message(why)) : NULL;
}

void census_observe(const struct census *census, struct census_observation *ret)
{
	struct census_observation seen = {
		.begun = census->begun,
		.finished = census->finished,
		.complete = census->complete && census->whole_keyspace,
		.revision = census->revision,
		/* What a plugin does not decrypt any more, servers read until they reload their file, as each step of a
		 * rotation makes them; following a KMS changes no file, and rewrites such values. */
		.does_not_open = census->does_not_open + (census->by_key_id ? census->refused_writes : census->refused),
		.opened = census->opened,
		.not_opened = census->not_opened,
		.why_not_opened = why_not_opened(census),
	};
	if (census->why)
		seen.why = xstrdup(census->why);
	else if (!census->whole_keyspace)
		seen.why = xstrdup("only the chosen resources were read, not the whole keyspace");
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct census_resource *resource = &census->resources[i];
		const char *storage = resource->entry->storage;
		add_keys(census, &seen, storage, resource->keys, resource->key_count, false);
		if (resource->unknown > 0)
			add_group(&seen, storage, resource->unknown, resource->unknown_example)->unknown = true;
	}
	add_keys(census, &seen, NULL, census->outside_keys, census->outside_key_count, false);
	add_keys(census, &seen, NULL, census->foreign_keys, census->foreign_key_count, true);
	if (census->outside_unknown > 0)
		add_group(&seen, NULL, census->outside_unknown, unknown_outside(census))->unknown = true;
	if (census->expected_plain > 0)
		add_group(&seen, NULL, census->expected_plain, NULL)->expected = true;
	*ret = seen;
}
