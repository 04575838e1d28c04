/* The document of the command contract (kind Census). Fields may be added; none is left out for being 0. */
#include "engine/census_internal.h"

#include <inttypes.h>

#include "base/json_writer.h"

static void write_id(struct json_writer *w, const char *member, uint64_t id)
{
	/* etcd's 64-bit IDs do not fit a JSON number; hex is how etcdctl shows them. */
	_cleanup_free_ char *text = xasprintf("%" PRIx64, id);
	json_member_string(w, member, text);
}

static bool same_key(const struct census_key *a, const struct census_key *b)
{
	return a->provider == b->provider && a->kms_version == b->kms_version && text_equal(a->name, b->name) &&
	       text_equal(a->key_id, b->key_id);
}

/* What was encrypted with one data encryption key of a server: under an unchanged key ID nothing else tells old material from
 * new. */
static void write_generations(struct json_writer *w, const struct census_key *keys, size_t count,
			      const struct census_key *of)
{
	json_key(w, "dekGenerations");
	json_array_begin(w);
	for (size_t i = 0; i < count; i++) {
		if (!same_key(&keys[i], of) || (text_empty(keys[i].dek_source) && !keys[i].lumped))
			continue;
		json_object_begin(w);
		json_member_string(w, "fingerprint", keys[i].dek_source);
		json_member_string(w, "annotations", keys[i].annotations);
		json_member_bool(w, "lumped", keys[i].lumped);
		json_member_u64(w, "objects", keys[i].objects);
		json_member_u64(w, "oldestRevision", keys[i].oldest_revision);
		json_member_u64(w, "newestRevision", keys[i].newest_revision);
		json_object_end(w);
	}
	json_array_end(w);
}

/* The first of its generations stands for all. */
static void write_key(struct json_writer *w, const struct census_key *keys, size_t count, size_t first)
{
	const struct census_key *key = &keys[first];
	struct census_key_sum sum = census_key_sum(keys, count, key);
	uint64_t oldest = key->oldest_revision, newest = key->newest_revision;
	for (size_t i = first + 1; i < count; i++) {
		if (!same_key(&keys[i], key))
			continue;
		oldest = keys[i].oldest_revision < oldest ? keys[i].oldest_revision : oldest;
		newest = keys[i].newest_revision > newest ? keys[i].newest_revision : newest;
	}
	json_object_begin(w);
	json_member_string(w, "provider", provider_name(key->provider));
	json_member_string(w, "name", key->name);
	json_member_string(w, "keyID", key->key_id);
	json_member_u64(w, "objects", sum.objects);
	json_member_bool(w, "writeKey", key->write_key);
	json_member_bool(w, "inConfig", key->in_config);
	json_member_u64(w, "kmsVersion", key->kms_version);
	write_generations(w, keys, count, key);
	json_member_u64(w, "bytes", sum.bytes);
	json_member_u64(w, "opened", sum.opened);
	json_member_u64(w, "doesNotOpen", sum.does_not_open);
	json_member_u64(w, "notOpened", sum.not_opened);
	json_member_u64(w, "refused", sum.refused);
	json_member_string(w, "whyNotOpened", sum.why ? sum.why : "");
	json_member_u64(w, "oldestRevision", oldest);
	json_member_u64(w, "newestRevision", newest);
	json_member_string(w, "example", key->example ? key->example : "");
	json_object_end(w);
}

void census_keys_write_json(struct json_writer *w, const char *member, const struct census_key *keys, size_t count)
{
	json_key(w, member);
	json_array_begin(w);
	for (size_t i = 0; i < count; i++) {
		size_t first = 0;
		while (!same_key(&keys[first], &keys[i]))
			first++;
		if (first == i)
			write_key(w, keys, count, i);
	}
	json_array_end(w);
}

static const char *proof_name(enum map_proof proof)
{
	switch (proof) {
	case MAP_PROVED:
		return "object";
	case MAP_EMPTY:
		return "empty";
	case MAP_UNPROVED:
		break;
	}
	return "none";
}

static void write_resource(struct json_writer *w, const struct census_resource *resource)
{
	json_object_begin(w);
	json_member_string(w, "resource", resource->entry->resource->plural);
	json_member_string(w, "group", resource->entry->resource->group);
	json_member_u64(w, "objects", resource->objects);
	census_keys_write_json(w, "keys", resource->keys, resource->key_count);
	json_member_u64(w, "unknown", resource->unknown);
	json_member_string(w, "unknownExample", resource->unknown_example ? resource->unknown_example : "");
	json_member_u64(w, "stale", resource->stale);
	json_member_u64(w, "unreadable", resource->unreadable);
	json_member_u64(w, "doesNotOpen", resource->does_not_open);
	json_member_u64(w, "bytes", resource->bytes);
	json_member_u64(w, "largest", resource->largest);
	json_key(w, "apiObjects");
	if (resource->api_count_known)
		json_u64(w, resource->api_objects);
	else
		json_null(w);
	json_member_bool(w, "apiCountDiffers", resource->api_count_differs);
	json_member_bool(w, "chosen", resource->chosen);
	json_member_string(w, "prefix", resource->entry->prefix);
	json_member_u64(w, "etcd", resource->entry->etcd);
	json_member_string(w, "proof", proof_name(resource->entry->proof));
	json_object_end(w);
}

static void write_etcds(struct json_writer *w, const struct census *census)
{
	json_key(w, "etcds");
	json_array_begin(w);
	for (size_t i = 0; i < census->etcd_count; i++) {
		_cleanup_strings_ endpoints = {0};
		json_object_begin(w);
		write_id(w, "clusterID", census->etcds[i].cluster_id);
		strings_split(&endpoints, census->etcds[i].endpoints, ',');
		json_member_strings(w, "endpoints", &endpoints);
		json_member_u64(w, "revision", census->etcds[i].revision);
		json_member_u64(w, "firstRevision", census->etcds[i].first_revision);
		json_member_u64(w, "raftTerm", census->etcds[i].raft_term);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_outside(struct json_writer *w, const struct census *census)
{
	json_key(w, "outside");
	json_array_begin(w);
	for (size_t i = 0; i < census->outside_named; i++) {
		json_object_begin(w);
		json_member_string(w, "path", census->outside[i].path);
		json_member_string(w, "provider",
				   census->outside[i].unknown ? "unknown" : provider_name(census->outside[i].provider));
		json_member_string(w, "name", census->outside[i].name);
		json_object_end(w);
	}
	json_array_end(w);
	json_member_u64(w, "outsideCount", census->outside_count);
	json_member_u64(w, "outsideUnknown", census->outside_unknown);
	json_member_u64(w, "outsidePlain", census->outside_plain);
	json_member_u64(w, "expectedPlain", census->expected_plain);
	census_keys_write_json(w, "outsideKeys", census->outside_keys, census->outside_key_count);
	census_keys_write_json(w, "foreignKeys", census->foreign_keys, census->foreign_key_count);
}

void census_write_json(const struct census *census, struct json_writer *w)
{
	json_object_begin(w);
	json_member_string(w, "kind", "Census");
	json_member_string(w, "strength", "etcd");
	json_member_u64(w, "revision", census->revision);
	write_etcds(w, census);
	json_member_bool(w, "complete", census->complete);
	json_member_string(w, "why", census->why ? census->why : "");
	json_member_strings(w, "notes", &census->notes);
	json_member_bool(w, "wholeKeyspace", census->whole_keyspace);
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; i < census->resource_count; i++) {
		if (census->resources[i].chosen || census->resources[i].objects > 0)
			write_resource(w, &census->resources[i]);
	}
	json_array_end(w);
	write_outside(w, census);
	json_member_u64(w, "stale", census->stale);
	json_member_u64(w, "unknown", census->unknown);
	json_member_strings(w, "unknownPaths", &census->unknown_paths);
	json_member_u64(w, "unreadable", census->unreadable);
	json_member_u64(w, "opened", census->opened);
	json_member_u64(w, "doesNotOpen", census->does_not_open);
	json_member_string(w, "doesNotOpenExample", census->does_not_open_example ? census->does_not_open_example : "");
	json_member_u64(w, "notOpened", census->not_opened);
	json_member_u64(w, "refused", census->refused);
	json_member_u64(w, "decryptCalls", census->decrypt_calls);
	census_lost_write_json(w, census);
	json_member_u64(w, "values", census->values);
	json_member_u64(w, "bytes", census->bytes);
	json_key(w, "seconds");
	json_fixed(w, (double)(census->finished - census->begun) / 1e9, 3);
	json_object_end(w);
}
