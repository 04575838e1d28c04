#include "engine/intent.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static bool any_local_write_key(const struct config_shape *shape)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		if (provider_is_local(shape->rules[r].keys[0].type))
			return true;
	return false;
}

static bool shape_has_name(const struct config_shape *shape, const char *name)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (text_equal(shape->rules[r].keys[k].name, name))
				return true;
	return false;
}

static int check_drop_names(const struct config_shape *from, const struct intent *intent, struct error **err)
{
	for (size_t i = 0; intent->drop_keys && i < intent->drop_keys->count; i++)
		if (!shape_has_name(from, intent->drop_keys->items[i]))
			return error_set(err, ERROR_REFUSED,
					 "--drop-key %s: the present configuration has no key of that name",
					 intent->drop_keys->items[i]);
	return 0;
}

static int check(const struct config_shape *from, const struct intent *intent, bool local, enum provider_type *ret_kind,
		 struct error **err)
{
	*ret_kind = PROVIDER_IDENTITY;
	if (intent->provider && (!provider_from_name(intent->provider, ret_kind) || !provider_is_local(*ret_kind))) {
		int rc = error_set(err, ERROR_USAGE, "--provider is aescbc, aesgcm or secretbox, not %s",
				   intent->provider);
		error_set_hint(err, "any other target is a file: --to FILE");
		return rc;
	}
	if (!intent->provider && !local) {
		int rc = error_set(err, ERROR_REFUSED, "no rule writes with a local key, so there is none to rotate");
		error_set_hint(err, "to turn encryption on name the kind of key: --provider secretbox");
		return rc;
	}
	return check_drop_names(from, intent, err);
}

static void free_key(struct config_key *key)
{
	free(key->name);
	free(key->kms_endpoint);
}

static void remove_key(struct config_rule *rule, size_t at)
{
	free_key(&rule->keys[at]);
	memmove(rule->keys + at, rule->keys + at + 1, (rule->key_count - at - 1) * sizeof(*rule->keys));
	rule->key_count--;
}

static bool leaves(const struct config_key *key, const struct intent *intent)
{
	if (key->type == PROVIDER_IDENTITY)
		return intent->drop_identity;
	return intent->drop_keys && strings_has(intent->drop_keys, key->name);
}

static void put_first(struct config_rule *rule, const struct config_key *key)
{
	rule->keys = xreallocarray(rule->keys, rule->key_count + 1, sizeof(*rule->keys));
	memmove(rule->keys + 1, rule->keys, rule->key_count * sizeof(*rule->keys));
	rule->keys[0] = *key;
	rule->key_count++;
}

/* One new key per kind, whatever the number of rules. */
static struct config_key new_key(enum provider_type kind, const struct intent *intent, struct keys *keys,
				 struct strings *ret_new)
{
	struct config_key key = {.type = kind};
	for (size_t i = 0; i < keys->count; i++) {
		_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(kind), keys->entries[i].name);
		if (keys->entries[i].type == kind && strings_has(ret_new, label)) {
			key.name = xstrdup(keys->entries[i].name);
			key_fingerprint(keys->entries[i].bytes, key.fingerprint);
			return key;
		}
	}
	_cleanup_secret_ bytes = NULL;
	key_generate(intent->wall_now, &key.name, &bytes);
	key_fingerprint(bytes, key.fingerprint);
	keys_add(keys, kind, key.name, bytes);
	_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(kind), key.name);
	strings_add(ret_new, label);
	return key;
}

/* A key that was named and stays would be an answer that lies. */
static int check_dropped(const struct config_shape *to, const struct intent *intent, struct error **err)
{
	for (size_t i = 0; intent->drop_keys && i < intent->drop_keys->count; i++) {
		const char *name = intent->drop_keys->items[i];
		if (!shape_has_name(to, name))
			continue;
		int rc = error_set(err, ERROR_REFUSED,
				   "--drop-key %s: a rule writes with it that this rotation gives no new key", name);
		error_set_hint(err, "any other target is a file: --to FILE");
		return rc;
	}
	return 0;
}

/* Keys that read but do not write. */
static void remove_read_keys(struct config_rule *rule, const struct intent *intent, size_t first)
{
	for (size_t k = rule->key_count; k-- > first;)
		if (leaves(&rule->keys[k], intent))
			remove_key(rule, k);
}

int intent_without_new_key(const struct config_shape *from, const struct intent *intent, struct config_shape **ret,
			   struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *to = config_shape_copy(from);
	int rc = check_drop_names(from, intent, err);
	for (size_t r = 0; r < to->rule_count; r++)
		remove_read_keys(&to->rules[r], intent, 1);
	if (rc == 0)
		rc = check_dropped(to, intent, err);
	if (rc == 0 && config_shape_equal(from, to))
		rc = error_set(err, ERROR_REFUSED, "nothing would leave the present configuration");
	if (rc == 0)
		*ret = steal(to);
	return rc;
}

int intent_target(const struct config_shape *from, const struct intent *intent, struct keys *keys,
		  struct config_shape **ret, struct strings *ret_new, struct error **err)
{
	bool local = any_local_write_key(from);
	enum provider_type kind;
	int rc = check(from, intent, local, &kind, err);
	if (rc < 0)
		return rc;
	_cleanup_(config_shape_freep) struct config_shape *to = config_shape_copy(from);
	for (size_t r = 0; r < to->rule_count; r++) {
		struct config_rule *rule = &to->rules[r];
		enum provider_type writes = rule->keys[0].type;
		bool changes = local ? provider_is_local(writes) : writes == PROVIDER_IDENTITY;
		struct config_key key = {0};
		if (changes)
			key = new_key(intent->provider ? kind : writes, intent, keys, ret_new);
		if (changes && provider_is_local(writes))
			remove_key(rule, 0);
		/* Where the write key stays, it is no fallback. */
		remove_read_keys(rule, intent, changes ? 0 : 1);
		if (changes)
			put_first(rule, &key);
	}
	if (ret_new->count == 0)
		return error_set(err, ERROR_REFUSED, "no rule of the present configuration can be given a new key");
	rc = check_dropped(to, intent, err);
	if (rc == 0)
		*ret = steal(to);
	return rc;
}

static const struct config_key *find_key(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (config_key_equal(&shape->rules[r].keys[k], key))
				return &shape->rules[r].keys[k];
	return NULL;
}

static void keys_missing_in(const struct config_shape *from, const struct config_shape *to, struct strings *ret)
{
	for (size_t r = 0; r < from->rule_count; r++)
		for (size_t k = 0; k < from->rules[r].key_count; k++) {
			const struct config_key *key = &from->rules[r].keys[k];
			_cleanup_free_ char *label = config_key_label(key);
			if (!find_key(to, key) && !strings_has(ret, label))
				strings_add(ret, label);
		}
}

void intent_old_keys(const struct config_shape *from, const struct config_shape *to, struct strings *ret)
{
	keys_missing_in(from, to, ret);
}

void intent_new_keys(const struct config_shape *from, const struct config_shape *to, struct strings *ret)
{
	keys_missing_in(to, from, ret);
}

char *intent_text(const struct intent *intent, const char *target_sha256)
{
	_cleanup_free_ char *drops = intent->drop_keys ? strings_join(intent->drop_keys, ",") : xstrdup("");
	return xasprintf("provider=%s to=%s drop=%s identity=%s", intent->provider ? intent->provider : "same",
			 target_sha256 ? target_sha256 : "none", drops, intent->drop_identity ? "dropped" : "kept");
}
