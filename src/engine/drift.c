#include "engine/drift.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "engine/fleet_kms.h"
#include "engine/kms_follow.h"
#include "kube-rekey/path.h"

static struct drift_resource *resource_of(struct drift *drift, const char *resource)
{
	for (size_t i = 0; i < drift->resource_count; i++)
		if (text_equal(drift->resources[i].resource, resource))
			return &drift->resources[i];
	drift->resources = xreallocarray(drift->resources, drift->resource_count + 1, sizeof(*drift->resources));
	drift->resources[drift->resource_count] = (struct drift_resource){.resource = resource};
	return &drift->resources[drift->resource_count++];
}

static void take_group(const struct census_group *group, const struct config_shape *shape, struct drift *ret)
{
	const struct key_name key = {group->type, group->kms_version, group->name, group->key_id};
	if (group->foreign || group->expected)
		return;
	if (group->unknown)
		ret->unreadable += group->values;
	if (!group->resource)
		return;
	ret->values += group->values;
	struct drift_resource *resource = resource_of(ret, group->resource);
	if (group->unknown || shape_writes(shape, group->resource, key))
		return;
	resource->stale += group->values;
	ret->stale += group->values;
	if (!shape_reads(shape, group->resource, key))
		ret->unreadable += group->values;
}

/* Under which key IDs the values of a provider lie is told by an agent of this version, and not by one before. */
static bool is_told(const struct census_observation *census, const char *name)
{
	for (size_t i = 0; i < census->group_count; i++) {
		const struct census_group *group = &census->groups[i];
		if (group->type == PROVIDER_KMS && group->kms_version == 2 && text_equal(group->name, name) &&
		    !group->unknown && !group->key_id)
			return false;
	}
	return true;
}

/* The key ID that a write key's plugin names, where that is known. */
static void take_plugin(const struct census_observation *census, const struct key_server_status *status,
			const struct config_key *write_key, struct config_shape *shape, struct drift *ret)
{
	const struct key_server_kms *kms = fleet_kms_find(status, write_key->name);
	bool well = kms && text_equal(kms->healthz, "ok");
	bool told = is_told(census, write_key->name);
	if (told && well && !text_empty(kms->key_id))
		kms_set_key_id(shape, write_key->name, kms->key_id);
	else if (!ret->unknown)
		ret->unknown = !told ? xasprintf("its agent does not tell values of kms/%s by key ID", write_key->name)
				     : xasprintf("kms/%s: %s: which key it encrypts with is not known", write_key->name,
						 kms && !well && kms->healthz ? kms->healthz : "no answer");
}

void drift_find(const struct census_observation *census, const struct key_server_status *status, struct drift *ret)
{
	_cleanup_(config_shape_freep) struct config_shape *shape = config_shape_copy(status->configuration);
	*ret = (struct drift){0};
	for (size_t r = 0; r < shape->rule_count; r++)
		if (kms_writes(shape, shape->rules[r].keys[0].name))
			take_plugin(census, status, &shape->rules[r].keys[0], shape, ret);
	for (size_t i = 0; i < census->group_count; i++)
		take_group(&census->groups[i], shape, ret);
	ret->unreadable += census->does_not_open;
}

void drift_free(struct drift *drift)
{
	free(drift->resources);
	free(drift->unknown);
	*drift = (struct drift){0};
}

char *drift_words(const struct drift *drift)
{
	_cleanup_strings_ parts = {0};
	_cleanup_free_ char *stale = text_human_count(drift->stale), *values = text_human_count(drift->values),
			    *unreadable = text_human_count(drift->unreadable);
	for (size_t i = 0; i < drift->resource_count; i++) {
		_cleanup_free_ char *count = text_human_count(drift->resources[i].stale);
		_cleanup_free_ char *part = xasprintf("%s %s", drift->resources[i].resource, count);
		if (drift->resources[i].stale > 0)
			strings_add(&parts, part);
	}
	_cleanup_free_ char *names = strings_join(&parts, ", ");
	if (drift->stale == 0 && drift->unreadable == 0 && drift->unknown)
		return xstrdup(drift->unknown);
	if (drift->stale == 0 && drift->unreadable == 0)
		return xstrdup("every value is under the write key of its rule");
	return xasprintf("%s of %s values are not under the write key of their rule%s%s%s%s%s%s", stale, values,
			 *names ? " (" : "", names, *names ? ")" : "", drift->unreadable ? "; " : "",
			 drift->unreadable ? unreadable : "", drift->unreadable ? " cannot be read" : "");
}

/* rekey-20261122T1103Z-3f9a1c */
bool key_name_time(const char *name, uint64_t *ret_wall)
{
	static const char form[] = "rekey-00000000T0000Z-";
	if (!name)
		return false;
	for (size_t i = 0; form[i]; i++) {
		bool digit = name[i] >= '0' && name[i] <= '9';
		if (form[i] == '0' ? !digit : name[i] != form[i])
			return false;
	}
	const char *t = name + strlen("rekey-");
	_cleanup_free_ char *time = xasprintf("%.4s-%.2s-%.2sT%.2s:%.2s:00Z", t, t + 4, t + 6, t + 9, t + 11);
	return clock_parse(time, ret_wall) == 0;
}
