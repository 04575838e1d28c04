/* A file and a way to change it: the first 8 bytes choose two changes, the rest is the file. What comes out means what was
 * asked for; where keys and rules were only added, every byte of the file but blanks and commas is still there, in order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/secret.h"
#include "kube-rekey/encryption_config.h"

#define CONTROL 8

static void must(bool holds)
{
	if (!holds)
		abort();
}

static const enum provider_type types[] = {PROVIDER_AESCBC, PROVIDER_AESGCM, PROVIDER_SECRETBOX, PROVIDER_IDENTITY,
					   PROVIDER_KMS};

static struct config_key new_key(const struct secret *bytes, uint8_t choice)
{
	struct config_key key = {.type = types[choice % ELEMENTS(types)]};
	key.name = xstrdup(key.type == PROVIDER_IDENTITY ? "" : "fuzz 1");
	if (key.type == PROVIDER_KMS) {
		key.kms_version = 2;
		key.kms_endpoint = xstrdup("unix:///fuzz");
		key.kms_timeout = 1000000001;
	} else if (key.type != PROVIDER_IDENTITY) {
		key_fingerprint(bytes, key.fingerprint);
	}
	return key;
}

static void insert_key(struct config_rule *rule, size_t at, struct config_key key)
{
	rule->keys = xreallocarray(rule->keys, rule->key_count + 1, sizeof(*rule->keys));
	memmove(&rule->keys[at + 1], &rule->keys[at], (rule->key_count - at) * sizeof(*rule->keys));
	rule->keys[at] = key;
	rule->key_count++;
}

static struct config_key take_key(struct config_rule *rule, size_t at)
{
	struct config_key key = rule->keys[at];
	memmove(&rule->keys[at], &rule->keys[at + 1], (rule->key_count - at - 1) * sizeof(*rule->keys));
	rule->key_count--;
	return key;
}

static void insert_rule(struct config_shape *shape, size_t at, const struct secret *bytes, uint8_t choice)
{
	struct config_rule rule = {.resources = xcalloc(1, sizeof(char *)), .resource_count = 1};
	rule.resources[0] = xstrdup("fuzzes.example.com");
	insert_key(&rule, 0, new_key(bytes, choice));
	shape->rules = xreallocarray(shape->rules, shape->rule_count + 1, sizeof(*shape->rules));
	memmove(&shape->rules[at + 1], &shape->rules[at], (shape->rule_count - at) * sizeof(rule));
	shape->rules[at] = rule;
	shape->rule_count++;
}

static void swap_rules(struct config_shape *shape, size_t a, size_t b)
{
	struct config_rule rule = shape->rules[a];
	shape->rules[a] = shape->rules[b];
	shape->rules[b] = rule;
}

/* One change; whether it only adds, without cutting an item of `providers:` in two. */
static bool change(struct config_shape *shape, const uint8_t choice[4], const struct secret *bytes)
{
	struct config_rule *rule = &shape->rules[choice[1] % shape->rule_count];
	size_t at = choice[2] % rule->key_count;
	struct config_key key;
	switch (choice[0] % 6) {
	case 0:
		at = choice[2] % (rule->key_count + 1);
		key = new_key(bytes, choice[3]);
		insert_key(rule, at, key);
		return at == 0 || at + 1 == rule->key_count || rule->keys[at - 1].type != rule->keys[at + 1].type;
	case 1:
		key = take_key(rule, at);
		insert_key(rule, choice[3] % (rule->key_count + 1), key);
		return false;
	case 2:
		if (rule->key_count == 1)
			return true;
		key = take_key(rule, at);
		free(key.name);
		free(key.kms_endpoint);
		return false;
	case 3:
		swap_rules(shape, choice[1] % shape->rule_count, choice[2] % shape->rule_count);
		return false;
	case 4:
		insert_rule(shape, choice[1] % (shape->rule_count + 1), bytes, choice[2]);
		return true;
	default:
		if (rule->resource_count < 2)
			return true;
		free(rule->resources[--rule->resource_count]);
		return false;
	}
}

static bool counts(uint8_t c)
{
	return !strchr(" \t\r\n,", c);
}

static void must_be_within(const struct secret *few, const struct secret *many)
{
	const uint8_t *a = secret_data(few), *b = secret_data(many);
	size_t at = 0;
	for (size_t i = 0; i < secret_len(few); i++) {
		if (!a[i] || !counts(a[i]))
			continue;
		while (at < secret_len(many) && b[at] != a[i])
			at++;
		must(at < secret_len(many));
		at++;
	}
}

static void check(const struct encryption_config *config, const struct config_shape *to, const struct secret *bytes,
		  bool adds)
{
	const struct keyring_entry entries[] = {{PROVIDER_AESCBC, "fuzz 1", bytes},
						{PROVIDER_AESGCM, "fuzz 1", bytes},
						{PROVIDER_SECRETBOX, "fuzz 1", bytes}};
	const struct keyring ring = {entries, ELEMENTS(entries)};
	_cleanup_(encryption_config_freep) struct encryption_config *again = NULL;
	_cleanup_secret_ changed = NULL;
	_cleanup_error_ err = NULL;
	int rc = encryption_config_edit(config, to, &ring, "nonce", &changed, &err);
	if (rc < 0) {
		must(rc == -ERROR_INPUT && error_code(err) == ERROR_INPUT && !changed);
		must(!strchr(error_message(err), '\n'));
		if (getenv("FUZZ_SHOW_REFUSALS"))
			fprintf(stderr, "%s\n", error_message(err));
		return;
	}
	must(encryption_config_parse("file", changed, &again, NULL) == 0);
	must(config_shape_equal(encryption_config_shape(again), to));
	if (adds && !strstr(secret_text(encryption_config_text(config)), "# kube-rekey nonce "))
		must_be_within(encryption_config_text(config), changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < CONTROL)
		return 0;
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_secret_ text = secret_from(data + CONTROL, size - CONTROL);
	_cleanup_secret_ bytes = secret_from("0123456789abcdefghijklmnopqrstuv", 32);
	if (encryption_config_parse("file", text, &config, NULL) < 0)
		return 0;
	to = config_shape_copy(encryption_config_shape(config));
	bool adds = change(to, data, bytes);
	adds = change(to, data + 4, bytes) && adds;
	check(config, to, bytes, adds);
	return 0;
}
