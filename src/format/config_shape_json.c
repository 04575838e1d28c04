/* A shape as JSON and back: for plans, journals and orders. Names and fingerprints, never key bytes.
 *
 *   {"rules":[{"resources":["secrets"],"keys":[{"provider":"aescbc","name":"key1","fingerprint":"0123456789ab"},
 *     {"provider":"kms","name":"vault","version":2,"endpoint":"unix:///run/kms.sock","timeoutNs":3000000000},
 *     {"provider":"identity"}]}]}
 *
 * A kms key has "keyID" beside these where a path follows it. */
#include <string.h>
#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/text.h"
#include "format/config_internal.h"

#define JSON_RULES_MAX 1024
#define JSON_ITEMS_MAX 4096

static void write_key(const struct config_key *key, struct json_writer *w)
{
	json_object_begin(w);
	json_member_string(w, "provider", provider_name(key->type));
	if (key->type != PROVIDER_IDENTITY)
		json_member_string(w, "name", key->name);
	if (key->fingerprint[0])
		json_member_string(w, "fingerprint", key->fingerprint);
	if (key->type == PROVIDER_KMS) {
		json_member_u64(w, "version", key->kms_version);
		json_member_string(w, "endpoint", key->kms_endpoint);
		json_member_u64(w, "timeoutNs", key->kms_timeout);
		if (key->kms_key_id)
			json_member_string(w, "keyID", key->kms_key_id);
	}
	json_object_end(w);
}

void config_shape_write_json(const struct config_shape *shape, struct json_writer *w)
{
	json_object_begin(w);
	json_key(w, "rules");
	json_array_begin(w);
	for (size_t i = 0; i < shape->rule_count; i++) {
		const struct config_rule *rule = &shape->rules[i];
		json_object_begin(w);
		json_key(w, "resources");
		json_array_begin(w);
		for (size_t j = 0; j < rule->resource_count; j++)
			json_string(w, rule->resources[j]);
		json_array_end(w);
		json_key(w, "keys");
		json_array_begin(w);
		for (size_t j = 0; j < rule->key_count; j++)
			write_key(&rule->keys[j], w);
		json_array_end(w);
		json_object_end(w);
	}
	json_array_end(w);
	json_object_end(w);
}

static bool is_fingerprint(const char *text)
{
	return text && strlen(text) == 12 && strspn(text, "0123456789abcdef") == 12;
}

static int read_kms(const cJSON *json, struct config_key *key, struct error **err)
{
	uint64_t version;
	const char *endpoint = json_text_at(json, "endpoint");
	if (!json_u64_at(json, "version", &version) || version < 1 || version > 2 || !endpoint ||
	    !json_u64_at(json, "timeoutNs", &key->kms_timeout))
		return error_set(err, ERROR_INPUT, "shape: a kms key without version 1 or 2, endpoint or timeoutNs");
	key->kms_version = (unsigned)version;
	key->kms_endpoint = xstrdup(endpoint);
	const char *key_id = json_text_at(json, "keyID");
	key->kms_key_id = key_id ? xstrdup(key_id) : NULL;
	return 0;
}

static int read_key(const cJSON *json, struct config_key *key, struct error **err)
{
	const char *provider = json_text_at(json, "provider"), *name = json_text_at(json, "name");
	const char *fingerprint = json_text_at(json, "fingerprint");
	if (!provider || !provider_from_name(provider, &key->type))
		return error_set(err, ERROR_INPUT, "shape: a key without a known provider");
	if (text_empty(name) != (key->type == PROVIDER_IDENTITY))
		return error_set(err, ERROR_INPUT, "shape: a key of %s %s", provider_name(key->type),
				 text_empty(name) ? "without a name" : "with a name");
	key->name = xstrdup(name ? name : "");
	if (key->type == PROVIDER_KMS)
		return read_kms(json, key, err);
	if (key->type == PROVIDER_IDENTITY)
		return 0;
	if (!is_fingerprint(fingerprint))
		return error_set(err, ERROR_INPUT, "shape: a key without a fingerprint of 12 hex digits");
	memcpy(key->fingerprint, fingerprint, sizeof(key->fingerprint));
	return 0;
}

static int list_size(const cJSON *list, size_t most, const char *what, size_t *ret, struct error **err)
{
	int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
	if (count < 1 || (size_t)count > most)
		return error_set(err, ERROR_INPUT, "shape: %s is not a list of 1 to %zu items", what, most);
	*ret = (size_t)count;
	return 0;
}

static int read_rule(const cJSON *json, struct config_rule *rule, struct error **err)
{
	const cJSON *resources = json_at(json, "resources", NULL), *keys = json_at(json, "keys", NULL), *item;
	size_t resource_count = 0, key_count = 0;
	int rc = list_size(resources, JSON_ITEMS_MAX, "resources", &resource_count, err);
	if (rc == 0)
		rc = list_size(keys, JSON_ITEMS_MAX, "keys", &key_count, err);
	if (rc < 0)
		return rc;
	rule->resources = xcalloc(resource_count, sizeof(*rule->resources));
	cJSON_ArrayForEach(item, resources)
	{
		if (!cJSON_IsString(item))
			return error_set(err, ERROR_INPUT, "shape: a resource that is not a text");
		rule->resources[rule->resource_count++] = xstrdup(item->valuestring);
	}
	rule->keys = xcalloc(key_count, sizeof(*rule->keys));
	cJSON_ArrayForEach(item, keys)
	{
		rc = read_key(item, &rule->keys[rule->key_count++], err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int config_shape_from_json(const struct cJSON *json, struct config_shape **ret, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *shape = xcalloc(1, sizeof(*shape));
	const cJSON *rules = json_at(json, "rules", NULL), *item;
	size_t count = 0;
	int rc = list_size(rules, JSON_RULES_MAX, "rules", &count, err);
	if (rc < 0)
		return rc;
	shape->rules = xcalloc(count, sizeof(*shape->rules));
	cJSON_ArrayForEach(item, rules)
	{
		rc = read_rule(item, &shape->rules[shape->rule_count++], err);
		if (rc < 0)
			return rc;
	}
	*ret = steal(shape);
	return 0;
}
