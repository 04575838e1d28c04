#include "engine/asked.h"

#include <string.h>

#include "engine/intent.h"
#include "engine/kms_follow.h"
#include "engine/old_keys.h"

/* --- by its words alone --- */

static int check_old_key(const struct key_rotation_spec *spec, struct error **err)
{
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = {0};
	int rc = old_keys_policy_asked(spec->old_key, spec->old_key_cert, "", &policy, err);
	return rc == 0 && policy.seal ? seal_check_end(policy.seal, err) : rc;
}

int asked_check(const struct key_rotation_spec *spec, struct error **err)
{
	const char *no = key_rotation_not_carried_out(spec);
	return no ? error_set(err, ERROR_REFUSED, "%s", no) : check_old_key(spec, err);
}

/* --- spec.to --- */

static const struct config_key *present_key(const struct config_shape *from, enum provider_type type, const char *name)
{
	for (size_t r = 0; r < from->rule_count; r++) {
		const struct config_key *key = config_rule_find(&from->rules[r], type, name);
		if (key)
			return key;
	}
	return NULL;
}

/* A provider that the servers have is taken as they have it, but for how long a call may take; a new one is for the agents
 * to ask. One of version 1 names no key, so nothing would show that all nodes have the same. */
static int take_kms(const struct object_key *asked, const struct config_key *present, struct config_key *ret,
		    struct error **err)
{
	if (present &&
	    (present->kms_version != asked->kms_version || !text_equal(present->kms_endpoint, asked->kms_endpoint))) {
		int rc = error_set(err, ERROR_REFUSED, "spec.to: kms/%s is another plugin on the servers", asked->name);
		error_set_hint(err, "a stored value names its plugin by name alone: give the new one a new name");
		return rc;
	}
	if (!present && (asked->kms_version != 2 || text_empty(asked->kms_endpoint)))
		return error_set(err, ERROR_REFUSED,
				 "spec.to: kms/%s is new, and not of version 2 with an endpoint: nothing would show "
				 "that all nodes have the same key",
				 asked->name);
	ret->kms_version = (unsigned)asked->kms_version;
	ret->kms_endpoint = xstrdup(asked->kms_endpoint);
	ret->kms_timeout = asked->kms_timeout ? asked->kms_timeout : present ? present->kms_timeout : KMS_TIMEOUT;
	return 0;
}

static int take_local(const struct object_key *asked, const struct config_key *present, struct config_key *ret,
		      struct strings *ret_new, struct error **err)
{
	const char *fingerprint = asked->fingerprint ? asked->fingerprint : present ? present->fingerprint : "";
	_cleanup_free_ char *label = xasprintf("%s/%s", asked->provider, asked->name);
	if (!present && asked->fingerprint) {
		int rc = error_set(err, ERROR_REFUSED, "spec.to: no server has %s with fingerprint %s", label,
				   asked->fingerprint);
		error_set_hint(
			err,
			"the bytes of a key do not travel in the clear. If values are under it already, put it "
			"into each server's file by hand, to read with: what an agent makes has other bytes. If it "
			"is new, leave its fingerprint out (in a file: its secret)");
		return rc;
	}
	if (strlen(fingerprint) >= sizeof(ret->fingerprint))
		return error_set(err, ERROR_INPUT, "spec.to: the fingerprint of %s is none", label);
	memcpy(ret->fingerprint, fingerprint, strlen(fingerprint) + 1);
	if (!present && !strings_has(ret_new, label))
		strings_add(ret_new, label);
	return 0;
}

static int take_key(const struct object_key *asked, const struct config_shape *from, struct config_key *ret,
		    struct strings *ret_new, struct error **err)
{
	enum provider_type type;
	if (!asked->provider || !provider_from_name(asked->provider, &type) ||
	    (type != PROVIDER_IDENTITY && text_empty(asked->name)))
		return error_set(err, ERROR_INPUT, "spec.to: a key without provider or name");
	ret->type = type;
	ret->name = xstrdup(type == PROVIDER_IDENTITY ? "" : asked->name);
	if (type == PROVIDER_IDENTITY)
		return 0;
	const struct config_key *present = present_key(from, type, asked->name);
	return type == PROVIDER_KMS ? take_kms(asked, present, ret, err)
				    : take_local(asked, present, ret, ret_new, err);
}

static int take_rule(const struct key_rotation_rule *asked, const struct config_shape *from, struct config_rule *ret,
		     struct strings *ret_new, struct error **err)
{
	int rc = 0;
	ret->resources = xcalloc(asked->resources.count + 1, sizeof(*ret->resources));
	ret->keys = xcalloc(asked->key_count + 1, sizeof(*ret->keys));
	for (size_t i = 0; i < asked->resources.count; i++)
		ret->resources[ret->resource_count++] = xstrdup(asked->resources.items[i]);
	for (size_t i = 0; rc == 0 && i < asked->key_count; i++)
		rc = take_key(&asked->keys[i], from, &ret->keys[ret->key_count++], ret_new, err);
	return rc;
}

/* A key for each name, so that the target can be written down as a file, which is read again by the rules of one. */
static void make_samples(const struct config_shape *of, struct config_shape *sample, struct keys *keys)
{
	for (size_t r = 0; r < of->rule_count; r++)
		for (size_t k = 0; k < of->rules[r].key_count; k++) {
			struct config_key *key = &sample->rules[r].keys[k];
			if (!provider_is_local(key->type))
				continue;
			_cleanup_secret_ bytes = secret_random(32);
			keys_add(keys, key->type, key->name, bytes); /* of two the first */
			key_fingerprint(keys_find(keys, key->type, key->name), key->fingerprint);
		}
}

static const char smallest[] = "apiVersion: apiserver.config.k8s.io/v1\n"
			       "kind: EncryptionConfiguration\n"
			       "resources:\n"
			       "- resources: [secrets]\n"
			       "  providers:\n"
			       "  - identity: {}\n";

/* What no kube-apiserver would load: told now, not when the last step is written. */
static int check_as_file(const struct config_shape *to, struct error **err)
{
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_(config_shape_freep) struct config_shape *sample = config_shape_copy(to);
	_cleanup_secret_ text = secret_from(smallest, strlen(smallest));
	_cleanup_secret_ file = NULL;
	_cleanup_keys_ keys = {0};
	make_samples(to, sample, &keys);
	struct keyring keyring = keys_view(&keys);
	int rc = encryption_config_parse("spec.to as a file", text, &config, err);
	return rc == 0 ? encryption_config_edit(config, sample, &keyring, "sample", &file, err) : rc;
}

static int target_of_rules(const struct key_rotation_spec *spec, const struct config_shape *from,
			   struct config_shape **ret, struct strings *ret_new, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *to = xcalloc(1, sizeof(*to));
	int rc = 0;
	to->rules = xcalloc(spec->to_rule_count, sizeof(*to->rules));
	for (size_t i = 0; rc == 0 && i < spec->to_rule_count; i++)
		rc = take_rule(&spec->to_rules[i], from, &to->rules[to->rule_count++], ret_new, err);
	if (rc == 0)
		rc = check_as_file(to, err);
	if (rc == 0)
		*ret = steal(to);
	return rc;
}

/* --- all of it --- */

/* Nobody makes the key of a plugin. */
static void forget_plugins(struct strings *new_keys)
{
	struct strings local = {0};
	for (size_t i = 0; i < new_keys->count; i++)
		if (key_label_is_local(new_keys->items[i]))
			strings_add(&local, new_keys->items[i]);
	strings_free(new_keys);
	*new_keys = local;
}

static void forget_fingerprints(struct config_shape *to, const struct strings *new_keys)
{
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++) {
			_cleanup_free_ char *label = config_key_label(&to->rules[r].keys[k]);
			if (strings_has(new_keys, label))
				to->rules[r].keys[k].fingerprint[0] = '\0';
		}
}

/* Without a canary nothing shows which key a server has adopted. */
static int follow(const struct config_shape *from, struct config_shape **ret, struct error **err)
{
	int rc = kms_can_follow(from, err);
	if (rc < 0)
		return rc;
	*ret = config_shape_copy(from);
	return 0;
}

int asked_target(const struct key_rotation_spec *spec, uint64_t wall, const struct config_shape *from,
		 struct config_shape **ret, struct strings *ret_new, struct error **err)
{
	const struct intent intent = {.provider = text_equal(spec->provider, "same") ? NULL : spec->provider,
				      .kms = {spec->kms.name, spec->kms.endpoint, spec->kms.timeout},
				      .renew_dek = spec->renew_dek,
				      .drop_keys = &spec->drop_keys,
				      .drop_identity = spec->drop_identity,
				      .wall_now = wall};
	_cleanup_keys_ unused = {0}; /* an agent makes the real ones: of these only their kinds and places count */
	if (spec->to_rule_count > 0)
		return target_of_rules(spec, from, ret, ret_new, err);
	if (spec->follow_kms)
		return follow(from, ret, err);
	if (!spec->provider && !spec->renew_dek)
		return intent_without_new_key(from, &intent, ret, err);
	int rc = intent_target(from, &intent, &unused, ret, ret_new, err);
	if (rc < 0)
		return rc;
	forget_plugins(ret_new);
	forget_fingerprints(*ret, ret_new);
	return 0;
}

/* Of spec.to by its name. There is one of each kind for spec.provider, whatever it is called. */
static const struct object_sealed_key *find_made(const struct key_rotation_spec *spec,
						 const struct object_sealed_key *made, size_t made_count,
						 const struct config_key *key)
{
	for (size_t i = 0; i < made_count; i++)
		if (text_equal(made[i].provider, provider_name(key->type)) &&
		    (spec->provider || text_equal(made[i].name, key->name)))
			return &made[i];
	return NULL;
}

bool asked_put_made(const struct key_rotation_spec *spec, const struct object_sealed_key *made, size_t made_count,
		    const struct strings *new_keys, struct config_shape *to)
{
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++) {
			struct config_key *key = &to->rules[r].keys[k];
			_cleanup_free_ char *label = config_key_label(key);
			if (!strings_has(new_keys, label))
				continue;
			const struct object_sealed_key *it = find_made(spec, made, made_count, key);
			if (!it || !it->name || !it->fingerprint || strlen(it->fingerprint) >= sizeof(key->fingerprint))
				return false;
			free(key->name);
			key->name = xstrdup(it->name);
			memcpy(key->fingerprint, it->fingerprint, strlen(it->fingerprint) + 1);
		}
	return true;
}

int asked_path(const struct config_shape *from, const struct config_shape *to, struct path **ret, struct error **err)
{
	_cleanup_(path_freep) struct path *path = NULL;
	int rc = path_make(from, to, &path, err);
	if (rc < 0)
		return rc;
	if (!path_is_lawful(path)) {
		rc = error_set(err, ERROR_REFUSED, "the target writes in plaintext what is encrypted now");
		error_set_hint(err, "agents do not decrypt: whoever may ask for rotations would get every value. On "
				    "one server it is rotate --target file --to FILE");
		return rc;
	}
	*ret = steal(path);
	return 0;
}

static bool was_there(const struct config_shape *from, const struct config_key *key)
{
	for (size_t r = 0; r < from->rule_count; r++)
		for (size_t k = 0; k < from->rules[r].key_count; k++) {
			const struct config_key *old = &from->rules[r].keys[k];
			if (old->type == key->type &&
			    (text_equal(old->name, key->name) || text_equal(old->fingerprint, key->fingerprint)))
				return true;
		}
	return false;
}

/* The new keys of `end` take the places of those that are asked for. */
static void take_new_keys(const struct key_rotation_spec *spec, const struct config_shape *from,
			  const struct config_shape *end, const struct strings *new_keys, struct config_shape *to)
{
	char *one_of_kind[PROVIDER_KMS + 1] = {0};
	for (size_t r = 0; r < to->rule_count && r < end->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count && k < end->rules[r].key_count; k++) {
			struct config_key *key = &to->rules[r].keys[k];
			const struct config_key *is = &end->rules[r].keys[k];
			_cleanup_free_ char *label = config_key_label(key), *taken = config_key_label(is);
			if (!strings_has(new_keys, label) || key->type != is->type ||
			    (!spec->provider && !text_equal(key->name, is->name)))
				continue;
			/* One for each that is asked for, and none that was there before. */
			if (was_there(from, is) ||
			    (one_of_kind[is->type] && !text_equal(one_of_kind[is->type], taken) && spec->provider))
				continue;
			free(one_of_kind[is->type]);
			one_of_kind[is->type] = steal(taken);
			free(key->name);
			key->name = xstrdup(is->name);
			memcpy(key->fingerprint, is->fingerprint, sizeof(key->fingerprint));
		}
	for (size_t i = 0; i < ELEMENTS(one_of_kind); i++)
		free(one_of_kind[i]);
}

int asked_leads_there(const struct key_rotation_spec *spec, uint64_t wall, const struct path *path, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_strings_ new_keys = {0};
	const struct config_shape *end = path->steps[path->count - 1];
	int rc = asked_target(spec, wall, path->steps[0], &to, &new_keys, err);
	if (rc < 0)
		return rc;
	take_new_keys(spec, path->steps[0], end, &new_keys, to);
	if (!config_shape_equal(to, end))
		return error_set(err, ERROR_REFUSED, "the rotation's steps do not lead to what its spec asks for");
	return 0;
}

/* --- from a file --- */

static char *copy(const char *text)
{
	return text_empty(text) ? NULL : xstrdup(text);
}

void asked_take_shape(const struct config_shape *shape, struct key_rotation_spec *ret)
{
	ret->to_rules = xcalloc(shape->rule_count, sizeof(*ret->to_rules));
	for (size_t r = 0; r < shape->rule_count; r++) {
		const struct config_rule *rule = &shape->rules[r];
		struct key_rotation_rule *to = &ret->to_rules[ret->to_rule_count++];
		to->keys = xcalloc(rule->key_count, sizeof(*to->keys));
		for (size_t i = 0; i < rule->resource_count; i++)
			strings_add(&to->resources, rule->resources[i]);
		for (size_t k = 0; k < rule->key_count; k++)
			to->keys[to->key_count++] =
				(struct object_key){.provider = xstrdup(provider_name(rule->keys[k].type)),
						    .name = copy(rule->keys[k].name),
						    .fingerprint = copy(rule->keys[k].fingerprint),
						    .kms_version = rule->keys[k].kms_version,
						    .kms_endpoint = copy(rule->keys[k].kms_endpoint),
						    .kms_timeout = rule->keys[k].kms_timeout};
	}
}
