/* Shapes: comparing, copying, and which rule holds for a resource. JSON: config_shape_json.c. */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "format/config_internal.h"

static const char *const names[] = {
	[PROVIDER_IDENTITY] = "identity",   [PROVIDER_AESCBC] = "aescbc", [PROVIDER_AESGCM] = "aesgcm",
	[PROVIDER_SECRETBOX] = "secretbox", [PROVIDER_KMS] = "kms",
};

const char *provider_name(enum provider_type type)
{
	return names[type];
}

bool provider_from_name(const char *name, enum provider_type *ret)
{
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum provider_type)i;
			return true;
		}
	}
	return false;
}

bool provider_is_local(enum provider_type type)
{
	return type != PROVIDER_IDENTITY && type != PROVIDER_KMS;
}

bool provider_key_fits(enum provider_type type, size_t len)
{
	switch (type) {
	case PROVIDER_AESCBC:
	case PROVIDER_AESGCM:
		return len == 16 || len == 24 || len == 32;
	case PROVIDER_SECRETBOX:
		return len == 32;
	case PROVIDER_IDENTITY:
	case PROVIDER_KMS:
		break;
	}
	return false;
}

char *config_key_label(const struct config_key *key)
{
	if (key->type == PROVIDER_IDENTITY)
		return xstrdup("plaintext");
	return xasprintf("%s/%s", provider_name(key->type), key->name);
}

void config_key_copy(struct config_key *to, const struct config_key *from)
{
	*to = *from;
	to->name = xstrdup(from->name);
	to->kms_endpoint = from->kms_endpoint ? xstrdup(from->kms_endpoint) : NULL;
	to->kms_key_id = from->kms_key_id ? xstrdup(from->kms_key_id) : NULL;
}

void config_key_clear(struct config_key *key)
{
	free(key->name);
	free(key->kms_endpoint);
	free(key->kms_key_id);
	*key = (struct config_key){0};
}

void config_shape_free(struct config_shape *shape)
{
	if (!shape)
		return;
	for (size_t i = 0; i < shape->rule_count; i++) {
		struct config_rule *rule = &shape->rules[i];
		for (size_t j = 0; j < rule->resource_count; j++)
			free(rule->resources[j]);
		for (size_t j = 0; j < rule->key_count; j++)
			config_key_clear(&rule->keys[j]);
		free(rule->resources);
		free(rule->keys);
	}
	free(shape->rules);
	free(shape);
}

void config_shape_freep(struct config_shape **shape)
{
	config_shape_free(*shape);
}

struct config_shape *config_shape_copy(const struct config_shape *shape)
{
	struct config_shape *copy = xcalloc(1, sizeof(*copy));
	copy->rule_count = shape->rule_count;
	copy->rules = xcalloc(shape->rule_count ? shape->rule_count : 1, sizeof(*copy->rules));
	for (size_t i = 0; i < shape->rule_count; i++) {
		const struct config_rule *from = &shape->rules[i];
		struct config_rule *to = &copy->rules[i];
		to->resource_count = from->resource_count;
		to->resources = xcalloc(from->resource_count ? from->resource_count : 1, sizeof(*to->resources));
		for (size_t j = 0; j < from->resource_count; j++)
			to->resources[j] = xstrdup(from->resources[j]);
		to->key_count = from->key_count;
		to->keys = xcalloc(from->key_count ? from->key_count : 1, sizeof(*to->keys));
		for (size_t j = 0; j < from->key_count; j++)
			config_key_copy(&to->keys[j], &from->keys[j]);
	}
	return copy;
}

bool config_key_equal(const struct config_key *a, const struct config_key *b)
{
	return a->type == b->type && strcmp(a->name, b->name) == 0 && strcmp(a->fingerprint, b->fingerprint) == 0 &&
	       a->kms_version == b->kms_version && text_equal(a->kms_endpoint, b->kms_endpoint);
}

bool config_key_same(const struct config_key *a, const struct config_key *b)
{
	return config_key_equal(a, b) && a->kms_timeout == b->kms_timeout;
}

typedef bool key_compare(const struct config_key *a, const struct config_key *b);

static bool rule_equal(const struct config_rule *a, const struct config_rule *b, key_compare *same)
{
	if (a->resource_count != b->resource_count || a->key_count != b->key_count)
		return false;
	for (size_t i = 0; i < a->resource_count; i++) {
		if (strcmp(a->resources[i], b->resources[i]) != 0)
			return false;
	}
	for (size_t i = 0; i < a->key_count; i++) {
		if (!same(&a->keys[i], &b->keys[i]))
			return false;
	}
	return true;
}

static bool shape_equal(const struct config_shape *a, const struct config_shape *b, key_compare *same)
{
	if (a->rule_count != b->rule_count)
		return false;
	for (size_t i = 0; i < a->rule_count; i++) {
		if (!rule_equal(&a->rules[i], &b->rules[i], same))
			return false;
	}
	return true;
}

bool config_shape_equal(const struct config_shape *a, const struct config_shape *b)
{
	return shape_equal(a, b, config_key_equal);
}

bool config_shape_same(const struct config_shape *a, const struct config_shape *b)
{
	return shape_equal(a, b, config_key_same);
}

bool config_shape_has_kms(const struct config_shape *shape)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (shape->rules[r].keys[k].type == PROVIDER_KMS)
				return true;
	return false;
}

static bool has_key(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t i = 0; i < shape->rule_count; i++)
		for (size_t k = 0; k < shape->rules[i].key_count; k++)
			if (config_key_equal(&shape->rules[i].keys[k], key))
				return true;
	return false;
}

static bool has_name(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t i = 0; i < shape->rule_count; i++)
		if (config_rule_find(&shape->rules[i], key->type, key->name))
			return true;
	return false;
}

/* Of one name in both the second one is told of alone. */
static void add_lacking(const struct config_shape *was, const struct config_shape *is, struct strings *ret)
{
	for (size_t i = 0; i < was->rule_count; i++)
		for (size_t k = 0; k < was->rules[i].key_count; k++) {
			_cleanup_free_ char *label = config_key_label(&was->rules[i].keys[k]);
			if (!has_name(is, &was->rules[i].keys[k]) && !strings_has(ret, label))
				strings_add(ret, label);
		}
}

static void add_added(const struct config_shape *was, const struct config_shape *is, struct strings *ret)
{
	for (size_t i = 0; i < is->rule_count; i++)
		for (size_t k = 0; k < is->rules[i].key_count; k++) {
			const struct config_key *key = &is->rules[i].keys[k];
			_cleanup_free_ char *label = config_key_label(key);
			_cleanup_free_ char *text =
				has_name(was, key) ? xasprintf("%s as another key than before", label) : steal(label);
			if (!has_key(was, key) && !strings_has(ret, text))
				strings_add(ret, text);
		}
}

char *config_shape_difference(const struct config_shape *was, const struct config_shape *is)
{
	_cleanup_strings_ lacking = {0}, added = {0};
	add_lacking(was, is, &lacking);
	add_added(was, is, &added);
	_cleanup_free_ char *without = strings_join(&lacking, ", "), *with = strings_join(&added, ", ");
	if (lacking.count == 0 && added.count == 0)
		return xstrdup("the same keys, in another order or for other resources");
	return xasprintf("it%s%s%s%s%s", lacking.count ? " lacks " : "", without,
			 lacking.count && added.count ? ", and" : "", added.count ? " has " : "", with);
}

struct config_key *config_rule_find(const struct config_rule *rule, enum provider_type type, const char *name)
{
	for (size_t i = 0; i < rule->key_count; i++) {
		if (rule->keys[i].type == type && strcmp(rule->keys[i].name, name) == 0)
			return &rule->keys[i];
	}
	return NULL;
}

/* A resource name as kube-apiserver cuts it: at the first dot. "*." is any resource of the core group. */
struct group_resource {
	const char *resource;
	size_t resource_len;
	const char *group;
};

static struct group_resource cut(const char *name)
{
	const char *dot = strchr(name, '.');
	struct group_resource cut = {name, dot ? (size_t)(dot - name) : strlen(name), dot ? dot + 1 : ""};
	/* kube-apiserver stores these two as one, under the core group's name. */
	if (strcmp(name, "events.events.k8s.io") == 0)
		cut.group = "";
	return cut;
}

static bool is_any(const struct group_resource *name)
{
	return name->resource_len == 1 && name->resource[0] == '*';
}

bool config_pattern_covers(const char *outer, const char *inner)
{
	struct group_resource pattern = cut(outer), name = cut(inner);
	if (is_any(&pattern) && strcmp(pattern.group, "*") == 0)
		return true;
	if (strcmp(pattern.group, name.group) != 0)
		return false;
	return is_any(&pattern) || (pattern.resource_len == name.resource_len &&
				    memcmp(pattern.resource, name.resource, name.resource_len) == 0);
}

/* kube-apiserver looks for the name, then "*.group", then "*.*". Since it refuses a rule behind a wildcard that covers
 * it, the first rule that covers the resource is the same one. */
const struct config_rule *config_shape_rule(const struct config_shape *shape, const char *resource)
{
	for (size_t i = 0; i < shape->rule_count; i++) {
		const struct config_rule *rule = &shape->rules[i];
		for (size_t j = 0; j < rule->resource_count; j++) {
			if (config_pattern_covers(rule->resources[j], resource))
				return rule;
		}
	}
	return NULL;
}
