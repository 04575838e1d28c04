/* New keys: made by one agent, sealed, opened by all. */
#include "engine/agent_internal.h"

#include <string.h>

#include "base/clock.h"
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

static int open_one(struct agent *agent, const struct object_sealed_key *sealed, struct error **err)
{
	struct config_key key = {.name = sealed->name};
	_cleanup_secret_ bytes = NULL;
	if (!sealed->provider || !sealed->name || !sealed->fingerprint || !sealed->text ||
	    !provider_from_name(sealed->provider, &key.type) || strlen(sealed->fingerprint) >= sizeof(key.fingerprint))
		return error_set(err, ERROR_REFUSED, "a sealed key is incomplete");
	if (keys_find(&agent->node->keys, key.type, sealed->name))
		return 0;
	if (sealed->epoch > agent->disk.epoch)
		return 0; /* not acknowledged yet */
	struct sealed_key_binding binding = binding_of(agent, sealed, key.type);
	memcpy(key.fingerprint, sealed->fingerprint, strlen(sealed->fingerprint) + 1);
	int rc = retired_check_key(agent->options->state_directory, &key, err);
	if (rc == 0)
		rc = sealed_key_open(agent->options->trust, &binding, sealed->text, &bytes, err);
	if (rc == 0)
		keys_add(&agent->node->keys, key.type, sealed->name, bytes);
	return rc < 0 ? error_wrap(err, rc, "sealed key %s/%s", sealed->provider, sealed->name) : 0;
}

void agent_take_keys(struct agent *agent)
{
	const struct key_rotation *rotation = agent->rotation;
	if (!rotation || !text_equal(rotation->meta.uid, agent->disk.rotation))
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
			char fingerprint[13];
			if (key->fingerprint[0] == '\0')
				continue;
			const struct secret *bytes = keys_find(&agent->node->keys, key->type, key->name);
			if (!bytes)
				return false;
			key_fingerprint(bytes, fingerprint);
			if (!text_equal(fingerprint, key->fingerprint))
				return false;
		}
	return true;
}

static int make_one(struct agent *agent, const char *provider, struct error **err)
{
	struct object_sealed_key sealed = {.epoch = agent->disk.epoch};
	_cleanup_secret_ bytes = NULL;
	enum provider_type type;
	char fingerprint[13];
	if (!provider_from_name(provider, &type) || !provider_key_fits(type, 32))
		return error_set(err, ERROR_REFUSED, "%s is no provider whose keys can be made", provider);
	key_generate(clock_wall(), &sealed.name, &bytes);
	key_fingerprint(bytes, fingerprint);
	sealed.fingerprint = fingerprint;
	struct sealed_key_binding binding = binding_of(agent, &sealed, type);
	int rc = sealed_key_seal(agent->options->trust, &binding, bytes, &sealed.text, err);
	if (rc < 0) {
		free(sealed.name);
		return rc;
	}
	sealed.provider = xstrdup(provider);
	sealed.fingerprint = xstrdup(fingerprint);
	keys_add(&agent->node->keys, type, sealed.name, bytes);
	struct key_server_status *told = &agent->told->status;
	told->sealed_keys = xreallocarray(told->sealed_keys, told->sealed_key_count + 1, sizeof(*told->sealed_keys));
	told->sealed_keys[told->sealed_key_count++] = sealed;
	return 0;
}

int agent_make_keys(struct agent *agent, const struct key_server_spec *spec, struct error **err)
{
	int rc = 0;
	/* Those of an order before, or of another epoch, are nobody's. */
	object_release(&key_server_status_record, &agent->told->status);
	object_defaults(&key_server_status_record, &agent->told->status);
	for (size_t i = 0; rc == 0 && i < spec->providers.count; i++)
		rc = make_one(agent, spec->providers.items[i], err);
	return rc;
}
