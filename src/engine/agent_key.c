/* New keys: made by one agent, sealed, opened by all. */
#include "engine/agent_internal.h"

#include <string.h>

#include "base/clock.h"
#include "engine/asked.h"
#include "engine/retired.h"
#include "engine/sealed_key.h"

static struct sealed_key_binding binding_of(const struct agent *agent, const struct object_sealed_key *sealed,
					    enum provider_type type)
{
	return (struct sealed_key_binding){.cluster = agent->cluster_uid,
					   .rotation = agent->disk.rotation,
					   .epoch = sealed->epoch,
					   .type = type,
					   .name = sealed->name,
					   .fingerprint = sealed->fingerprint};
}

static bool is_at_hand(const struct agent *agent, enum provider_type type, const char *name, const char *fingerprint)
{
	const struct secret *bytes = keys_find(&agent->node->keys, type, name);
	char own[13];
	if (!bytes)
		return false;
	key_fingerprint(bytes, own);
	return text_equal(own, fingerprint);
}

static bool in_file(const struct agent *agent, enum provider_type type, const char *name)
{
	struct target_content content = {0};
	if (target_read(agent->node->target, &content, NULL) < 0)
		return true; /* nothing is known */
	bool there = encryption_config_key(content.config, type, name);
	target_content_free(&content);
	return there;
}

/* By the file, or by a step of this rotation that has these very bytes. */
static bool is_in_use(const struct agent *agent, enum provider_type type, const char *name)
{
	const struct journal *journal = agent->node->journal;
	bool going = text_equal(journal->rotation, agent->disk.rotation);
	for (size_t i = 0; going && i < journal->path->count; i++)
		for (size_t r = 0; r < journal->path->steps[i]->rule_count; r++) {
			const struct config_key *key = config_rule_find(&journal->path->steps[i]->rules[r], type, name);
			if (key && is_at_hand(agent, type, name, key->fingerprint))
				return true;
		}
	return in_file(agent, type, name);
}

/* A name that somebody chose may have stood for other bytes, in a rotation that was never begun. */
static int put_key(struct agent *agent, enum provider_type type, const char *name, const struct secret *bytes,
		   struct error **err)
{
	_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(type), name);
	_cleanup_strings_ labels = {0};
	if (is_in_use(agent, type, name))
		return error_set(err, ERROR_REFUSED, "%s stands for another key on this node", label);
	strings_add(&labels, label);
	keys_forget(&agent->node->keys, &labels);
	keys_add(&agent->node->keys, type, name, bytes);
	return 0;
}

static int open_one(struct agent *agent, const struct object_sealed_key *sealed, struct error **err)
{
	struct config_key key = {.name = sealed->name};
	_cleanup_secret_ bytes = NULL;
	if (!sealed->provider || !sealed->name || !sealed->fingerprint || !sealed->text ||
	    !provider_from_name(sealed->provider, &key.type) || strlen(sealed->fingerprint) >= sizeof(key.fingerprint))
		return error_set(err, ERROR_REFUSED, "a sealed key is incomplete");
	if (is_at_hand(agent, key.type, sealed->name, sealed->fingerprint))
		return 0;
	if (sealed->epoch > agent->disk.epoch)
		return 0; /* not acknowledged yet */
	struct sealed_key_binding binding = binding_of(agent, sealed, key.type);
	memcpy(key.fingerprint, sealed->fingerprint, strlen(sealed->fingerprint) + 1);
	int rc = retired_check_key(agent->options->state_directory, &key, err);
	if (rc == 0)
		rc = sealed_key_open(agent->options->trust, &binding, sealed->text, &bytes, err);
	if (rc == 0)
		rc = put_key(agent, key.type, sealed->name, bytes, err);
	return rc < 0 ? error_wrap(err, rc, "sealed key %s/%s", sealed->provider, sealed->name) : 0;
}

void agent_take_keys(struct agent *agent)
{
	const struct key_rotation *rotation = agent->rotation;
	if (!rotation || !agent->cluster_uid || !text_equal(rotation->meta.uid, agent->disk.rotation))
		return;
	for (size_t i = 0; i < rotation->status.sealed_key_count; i++) {
		_cleanup_error_ failed = NULL;
		if (open_one(agent, &rotation->status.sealed_keys[i], &failed) < 0)
			agent_trouble(agent, error_message(failed));
	}
}

bool agent_has_keys(const struct agent *agent, size_t step)
{
	const struct config_shape *shape = agent->node->journal->path->steps[step];
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			if (key->fingerprint[0] == '\0')
				continue;
			if (!is_at_hand(agent, key->type, key->name, key->fingerprint))
				return false;
		}
	return true;
}

/* `name`: as spec.to calls it; NULL: one of its own. */
static int make_one(struct agent *agent, const char *provider, const char *name, struct error **err)
{
	struct key_server_status *told = &agent->told->status;
	_cleanup_secret_ bytes = NULL;
	_cleanup_free_ char *own_name = NULL, *text = NULL;
	enum provider_type type;
	char fingerprint[13];
	if (!provider_from_name(provider, &type) || !provider_key_fits(type, 32))
		return error_set(err, ERROR_REFUSED, "%s is no provider whose keys can be made", provider);
	key_generate(clock_wall(), &own_name, &bytes);
	key_fingerprint(bytes, fingerprint);
	name = name ? name : own_name;
	const struct sealed_key_binding binding = {.cluster = agent->cluster_uid,
						   .rotation = agent->disk.rotation,
						   .epoch = agent->disk.epoch,
						   .type = type,
						   .name = name,
						   .fingerprint = fingerprint};
	int rc = sealed_key_seal(agent->options->trust, &binding, bytes, &text, err);
	if (rc == 0)
		rc = put_key(agent, type, name, bytes, err);
	if (rc < 0)
		return rc;
	told->sealed_keys = xreallocarray(told->sealed_keys, told->sealed_key_count + 1, sizeof(*told->sealed_keys));
	told->sealed_keys[told->sealed_key_count++] = (struct object_sealed_key){.provider = xstrdup(provider),
										 .name = xstrdup(name),
										 .fingerprint = xstrdup(fingerprint),
										 .text = steal(text),
										 .epoch = agent->disk.epoch};
	return 0;
}

/* By what the KeyRotation asks of the configuration that is here. */
static int find_target(struct agent *agent, struct config_shape **ret, struct strings *ret_new, struct error **err)
{
	struct target_content content = {0};
	int rc = target_read(agent->node->target, &content, err);
	if (rc == 0)
		rc = asked_target(&agent->rotation->spec, key_rotation_created(agent->rotation),
				  encryption_config_shape(content.config), ret, ret_new, err);
	target_content_free(&content);
	return rc;
}

static int make_all(struct agent *agent, const struct strings *labels, struct error **err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < labels->count; i++) {
		const char *slash = strchr(labels->items[i], '/');
		_cleanup_free_ char *provider = xstrndup(labels->items[i], (size_t)(slash - labels->items[i]));
		rc = make_one(agent, provider, agent->rotation->spec.provider ? NULL : slash + 1, err);
	}
	return rc;
}

int agent_make_keys(struct agent *agent, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_strings_ labels = {0};
	if (!agent_takes_part(agent))
		return error_set(err, ERROR_REFUSED, "the KeyRotation of this order cannot be read, or is over");
	if (agent->rotation->status.step_count > 0)
		return error_set(err, ERROR_REFUSED, "the rotation has its keys, and goes its way");
	int rc = find_target(agent, &to, &labels, err);
	/* Those of an order before, or of another epoch, are nobody's. */
	object_release(&key_server_status_record, &agent->told->status);
	object_defaults(&key_server_status_record, &agent->told->status);
	return rc == 0 ? make_all(agent, &labels, err) : rc;
}
