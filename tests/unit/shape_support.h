/* Configurations as one line, for tables: rules by "; ", "resources=keys", both by ",". A key is `-` (plaintext), `a`
 * (aescbc), or `gcm:a`, `box:a`, `kms:a`, `kms1:a`, with `!` behind it for other bytes (another plugin) under the same name;
 * `b~a` is aescbc/a's bytes under another name; `kms:a@2` is followed, and its plugin names key ID 2. */
#pragma once
#include <stdio.h>
#include "base/buf.h"
#include "base/text.h"
#include "kube-rekey/path.h"

static const struct {
	const char *prefix;
	enum provider_type type;
} shape_prefixes[] = {
	{"gcm:", PROVIDER_AESGCM}, {"box:", PROVIDER_SECRETBOX}, {"kms:", PROVIDER_KMS}, {"kms1:", PROVIDER_KMS}};

/* Another one for each provider and name. */
static inline void shape_fingerprint(char ret[static 13], enum provider_type type, const char *name)
{
	uint32_t sum = (uint32_t)type;
	for (; *name; name++)
		sum = sum * 31 + (uint8_t)*name;
	snprintf(ret, 13, "0%011x", sum);
}

static inline struct config_key shape_parse_key(const char *text)
{
	struct config_key key = {.type = text_equal(text, "-") ? PROVIDER_IDENTITY : PROVIDER_AESCBC};
	bool other = text_ends(text, "!"), first_version = text_starts(text, "kms1:");
	for (size_t i = 0; i < ELEMENTS(shape_prefixes); i++)
		if (text_starts(text, shape_prefixes[i].prefix)) {
			key.type = shape_prefixes[i].type;
			text += strlen(shape_prefixes[i].prefix);
		}
	const char *at = strchr(text, '@'), *twin = strchr(text, '~');
	size_t len = at ? (size_t)(at - text) : twin ? (size_t)(twin - text) : strlen(text) - other;
	key.name = key.type == PROVIDER_IDENTITY ? xstrdup("") : xstrndup(text, len);
	key.kms_key_id = at ? xstrdup(at + 1) : NULL;
	if (key.type == PROVIDER_KMS) {
		key.kms_version = first_version ? 1 : 2;
		key.kms_endpoint = xstrdup(other ? "unix:///other.sock" : "unix:///kms.sock");
	} else if (key.type != PROVIDER_IDENTITY) {
		shape_fingerprint(key.fingerprint, twin ? PROVIDER_AESCBC : key.type, twin ? twin + 1 : key.name);
		if (other)
			memset(key.fingerprint, '1', sizeof(key.fingerprint) - 1);
	}
	return key;
}

static inline void shape_parse_rule(const char *text, struct config_rule *rule)
{
	_cleanup_strings_ sides = {0}, resources = {0}, keys = {0};
	strings_split(&sides, text, '=');
	strings_split(&resources, sides.items[0], ',');
	strings_split(&keys, sides.items[1], ',');
	rule->resources = xcalloc(resources.count, sizeof(*rule->resources));
	for (; rule->resource_count < resources.count; rule->resource_count++)
		rule->resources[rule->resource_count] = xstrdup(resources.items[rule->resource_count]);
	rule->keys = xcalloc(keys.count, sizeof(*rule->keys));
	for (; rule->key_count < keys.count; rule->key_count++)
		rule->keys[rule->key_count] = shape_parse_key(keys.items[rule->key_count]);
}

/* "" has no rule. */
static inline struct config_shape *shape_parse(const char *text)
{
	struct config_shape *shape = xcalloc(1, sizeof(*shape));
	_cleanup_strings_ rules = {0};
	strings_split(&rules, text, ';');
	shape->rules = xcalloc(rules.count, sizeof(*shape->rules));
	for (size_t i = 0; i < rules.count && text[0]; i++)
		shape_parse_rule(rules.items[i] + (rules.items[i][0] == ' '), &shape->rules[shape->rule_count++]);
	return shape;
}

static inline void shape_write_key(const struct config_key *key, struct strings *ret)
{
	const char *prefix = key->type == PROVIDER_IDENTITY ? "-" : "";
	for (size_t i = 0; i < ELEMENTS(shape_prefixes); i++)
		if (shape_prefixes[i].type == key->type &&
		    text_equal(shape_prefixes[i].prefix, "kms1:") == (key->kms_version == 1))
			prefix = shape_prefixes[i].prefix;
	bool other = key->fingerprint[0] == '1' || text_equal(key->kms_endpoint, "unix:///other.sock");
	_cleanup_free_ char *text = xasprintf("%s%s%s%s%s", prefix, key->name, other ? "!" : "",
					      key->kms_key_id ? "@" : "", key->kms_key_id ? key->kms_key_id : "");
	strings_add(ret, text);
}

/* New string. */
static inline char *shape_text(const struct config_shape *shape)
{
	_cleanup_strings_ rules = {0};
	for (size_t r = 0; r < shape->rule_count; r++) {
		const struct config_rule *rule = &shape->rules[r];
		const struct strings resources = {rule->resources, rule->resource_count};
		_cleanup_strings_ keys = {0};
		for (size_t k = 0; k < rule->key_count; k++)
			shape_write_key(&rule->keys[k], &keys);
		_cleanup_free_ char *left = strings_join(&resources, ","), *right = strings_join(&keys, ",");
		_cleanup_free_ char *both = xasprintf("%s=%s", left, right);
		strings_add(&rules, both);
	}
	return strings_join(&rules, "; ");
}

/* "A -> B -> C"; new string. */
static inline char *path_text(const struct path *path)
{
	_cleanup_strings_ steps = {0};
	for (size_t i = 0; i < path->count; i++) {
		_cleanup_free_ char *text = shape_text(path->steps[i]);
		strings_add(&steps, text);
	}
	return strings_join(&steps, " -> ");
}

/* The path between two configurations; the error's words are printed where there is none. */
static inline struct path *path_parse(const char *from, const char *to)
{
	_cleanup_(config_shape_freep) struct config_shape *a = shape_parse(from), *b = shape_parse(to);
	struct error *err = NULL;
	struct path *path = NULL;
	if (path_make(a, b, &path, &err) < 0) {
		fprintf(stderr, "%s -> %s: %s\n", from, to, error_message(err));
		abort();
	}
	return path;
}
