#include "engine/intent.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* --- which rules get a new key --- */

enum writers { WRITERS_PLAIN, WRITERS_LOCAL, WRITERS_KMS, WRITERS_ENCRYPTED };

static bool is_writer(const struct config_rule *rule, enum writers which)
{
	enum provider_type type = rule->keys[0].type;
	switch (which) {
	case WRITERS_LOCAL:
		return provider_is_local(type);
	case WRITERS_KMS:
		return type == PROVIDER_KMS;
	case WRITERS_ENCRYPTED:
		return type != PROVIDER_IDENTITY;
	case WRITERS_PLAIN:
		break;
	}
	return type == PROVIDER_IDENTITY;
}

static size_t count_writers(const struct config_shape *shape, enum writers which)
{
	size_t count = 0;
	for (size_t r = 0; r < shape->rule_count; r++)
		count += is_writer(&shape->rules[r], which);
	return count;
}

/* Where nothing is encrypted yet, what is written plain. */
static enum writers writers_of(const struct config_shape *from, const struct intent *intent)
{
	enum writers which = intent->renew_dek                     ? WRITERS_KMS
			     : text_equal(intent->provider, "kms") ? WRITERS_ENCRYPTED
								   : WRITERS_LOCAL;
	return count_writers(from, which) > 0 || intent->renew_dek ? which : WRITERS_PLAIN;
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

static int check_kms(const struct config_shape *from, const struct intent *intent, enum writers writers,
		     struct error **err)
{
	const struct intent_kms *kms = &intent->kms;
	int rc = 0;
	if (text_empty(kms->name) || text_empty(kms->endpoint))
		return error_set(err, ERROR_USAGE, "--provider kms needs --kms-name and --kms-endpoint");
	if (shape_has_name(from, kms->name))
		rc = error_set(err, ERROR_REFUSED, "--kms-name %s: the present configuration has that name already",
			       kms->name);
	else if (count_writers(from, writers) != 1)
		rc = error_set(err, ERROR_REFUSED,
			       "%zu rules would write with kms/%s, and kube-apiserver takes a KMS provider's name in "
			       "one rule only",
			       count_writers(from, writers), kms->name);
	if (rc < 0)
		error_set_hint(err, "say in a file what each rule shall have: --to FILE");
	return rc;
}

static int check(const struct config_shape *from, const struct intent *intent, enum writers writers,
		 enum provider_type *ret_kind, struct error **err)
{
	*ret_kind = PROVIDER_IDENTITY;
	if (intent->provider && (!provider_from_name(intent->provider, ret_kind) || *ret_kind == PROVIDER_IDENTITY)) {
		int rc = error_set(err, ERROR_USAGE, "--provider is aescbc, aesgcm, secretbox or kms, not %s",
				   intent->provider);
		error_set_hint(err, "any other target is a file: --to FILE");
		return rc;
	}
	if (intent->renew_dek && intent->provider)
		return error_set(err, ERROR_USAGE, "--renew-dek and --provider exclude each other");
	if (intent->renew_dek && count_writers(from, WRITERS_KMS) == 0)
		return error_set(err, ERROR_REFUSED, "no rule writes with a KMS provider, so there is no DEK to renew");
	if (!intent->provider && !intent->renew_dek && writers != WRITERS_LOCAL) {
		int rc = error_set(err, ERROR_REFUSED, "no rule writes with a local key, so there is none to rotate");
		error_set_hint(err, "to turn encryption on name the kind of key: --provider secretbox%s",
			       count_writers(from, WRITERS_KMS) > 0 ? "; for new DEKs of a KMS provider: --renew-dek"
								    : "");
		return rc;
	}
	int rc = *ret_kind == PROVIDER_KMS ? check_kms(from, intent, writers, err) : 0;
	return rc == 0 ? check_drop_names(from, intent, err) : rc;
}

static void remove_key(struct config_rule *rule, size_t at)
{
	config_key_clear(&rule->keys[at]);
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
static struct config_key new_local_key(enum provider_type kind, const struct intent *intent, struct keys *keys,
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

static struct config_key kms_key(const char *name, const char *endpoint, uint64_t timeout, struct strings *ret_new)
{
	struct config_key key = {.type = PROVIDER_KMS,
				 .name = xstrdup(name),
				 .kms_version = 2,
				 .kms_endpoint = xstrdup(endpoint),
				 .kms_timeout = timeout ? timeout : KMS_TIMEOUT};
	_cleanup_free_ char *label = config_key_label(&key);
	strings_add(ret_new, label);
	return key;
}

/* "vault", "vault-20261122T1103Z": the time takes the place of an earlier one. */
static char *renewed_name(const char *name, uint64_t wall_now)
{
	char time[16];
	clock_format_compact(wall_now, time);
	size_t len = strlen(name), stamp = strlen(time);
	static const char digits[] = "0123456789";
	const char *old = len > stamp + 1 ? name + len - stamp : NULL;
	bool stamped = old && old[-1] == '-' && strspn(old, digits) == 8 && old[8] == 'T' &&
		       strspn(old + 9, digits) == stamp - 10 && old[stamp - 1] == 'Z';
	return xasprintf("%.*s-%s", (int)(stamped ? len - stamp - 1 : len), name, time);
}

/* "vault" in the one rule and "vault-20261122T1103Z" in the other would be called alike, and kube-apiserver takes a name of KMS
 * in one rule only. */
static char *renewed_name_alone(const struct config_shape *shape, size_t rule, uint64_t wall_now)
{
	const struct config_shape before = {.rules = shape->rules, .rule_count = rule};
	_cleanup_free_ char *name = renewed_name(shape->rules[rule].keys[0].name, wall_now);
	char *alone = xstrdup(name);
	for (unsigned i = 2; shape_has_name(&before, alone); i++) {
		free(alone);
		alone = xasprintf("%s-%u", name, i);
	}
	return alone;
}

/* In the place of what the rule writes with. */
static struct config_key new_key(const struct config_shape *shape, size_t at, enum provider_type kind,
				 const struct intent *intent, struct keys *keys, struct strings *ret_new)
{
	const struct config_rule *rule = &shape->rules[at];
	if (kind == PROVIDER_KMS)
		return kms_key(intent->kms.name, intent->kms.endpoint, intent->kms.timeout, ret_new);
	if (!intent->renew_dek)
		return new_local_key(intent->provider ? kind : rule->keys[0].type, intent, keys, ret_new);
	_cleanup_free_ char *name = renewed_name_alone(shape, at, intent->wall_now);
	return kms_key(name, rule->keys[0].kms_endpoint, rule->keys[0].kms_timeout, ret_new);
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
	enum writers writers = writers_of(from, intent);
	enum provider_type kind;
	int rc = check(from, intent, writers, &kind, err);
	if (rc < 0)
		return rc;
	_cleanup_(config_shape_freep) struct config_shape *to = config_shape_copy(from);
	for (size_t r = 0; r < to->rule_count; r++) {
		struct config_rule *rule = &to->rules[r];
		bool changes = is_writer(rule, writers);
		struct config_key key = {0};
		if (changes)
			key = new_key(to, r, kind, intent, keys, ret_new);
		if (changes && writers != WRITERS_PLAIN)
			remove_key(rule, 0);
		/* Where the write key stays, it is no fallback. */
		remove_read_keys(rule, intent, changes ? 0 : 1);
		if (changes)
			put_first(rule, &key);
	}
	if (ret_new->count == 0) {
		rc = error_set(err, ERROR_REFUSED, "no rule of the present configuration can be given a new key");
		error_set_hint(err, "any other target is a file: --to FILE");
		return rc;
	}
	if (config_shape_equal(from, to))
		return error_set(err, ERROR_REFUSED, "%s was made within this minute: wait for the next one",
				 ret_new->items[0]);
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
	_cleanup_free_ char *kms = text_equal(intent->provider, "kms")
					   ? xasprintf("kms/%s at %s", intent->kms.name, intent->kms.endpoint)
					   : NULL;
	const char *provider = intent->renew_dek  ? "the same under another name"
			       : kms              ? kms
			       : intent->provider ? intent->provider
						  : "same";
	return xasprintf("provider=%s to=%s drop=%s identity=%s", provider, target_sha256 ? target_sha256 : "none",
			 drops, intent->drop_identity ? "dropped" : "kept");
}
