#include "cmd/dashboard_objects.h"

#include <string.h>

#define WORDS_MAX 1024

static bool has_key(const struct object_key *keys, size_t count, const char *provider, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(keys[i].provider, provider) &&
		    (text_equal(provider, "identity") || text_equal(keys[i].name, name)))
			return true;
	return false;
}

const char *dashboard_role(const struct key_rotation *rotation, const char *provider, const char *name)
{
	const struct key_rotation_status *status = rotation ? &rotation->status : NULL;
	if (status && has_key(status->new_keys, status->new_key_count, provider, name))
		return "new";
	if (status && has_key(status->old_keys, status->old_key_count, provider, name))
		return "old";
	return "other";
}

/* The latest census that is whole; NULL. */
static const struct key_server *census_of(const struct dashboard_store *store)
{
	const struct fleet *fleet = &store->fleet;
	const struct key_server *best = store->counted;
	for (size_t i = 0; i < fleet->count; i++) {
		const struct key_server *server = fleet->servers[i].last;
		bool newer = !best || server->status.census.revision > best->status.census.revision;
		if (server->status.census.complete && newer)
			best = server;
	}
	return best;
}

static const char *resource_label(const struct key_server_group *group)
{
	return group->resource ? group->resource : "outside the map of resources";
}

static bool counts(const struct key_server_group *group)
{
	return !group->expected && !group->foreign;
}

static bool is_of(const struct key_server_group *group, const char *resource)
{
	return counts(group) && text_equal(resource_label(group), resource);
}

static bool has_rule(const struct key_rotation *rotation, const char *resource)
{
	for (size_t i = 0; rotation && i < rotation->status.step_count; i++)
		if (config_shape_rule(rotation->status.steps[i], resource))
			return true;
	return false;
}

/* By a rule of the path, or because some value is. */
static bool is_encrypted(const struct key_rotation *rotation, const struct key_server_status *status,
			 const char *resource)
{
	if (has_rule(rotation, resource))
		return true;
	for (size_t i = 0; i < status->census.group_count; i++) {
		const struct key_server_group *group = &status->census.groups[i];
		if (is_of(group, resource) && (group->unknown || !text_equal(group->provider, "identity")))
			return true;
	}
	return false;
}

static uint64_t values_of(const struct key_server_status *status, const char *resource)
{
	uint64_t values = 0;
	for (size_t i = 0; i < status->census.group_count; i++)
		if (is_of(&status->census.groups[i], resource))
			values += status->census.groups[i].values;
	return values;
}

static void write_part(struct json_writer *w, const struct key_rotation *rotation, const struct key_server_group *group)
{
	const struct object_key key = {.provider = group->provider, .name = group->name};
	_cleanup_free_ char *label = group->unknown ? xstrdup("no known form") : rotation_keys(&key, 1);
	_cleanup_free_ char *words = text_printable(label, strlen(label), WORDS_MAX);
	json_object_begin(w);
	json_member_string(w, "key", words);
	json_member_string(w, "role",
			   group->unknown ? "other" : dashboard_role(rotation, group->provider, group->name));
	json_member_u64(w, "values", group->values);
	json_object_end(w);
}

static void write_resource(struct json_writer *w, const struct key_rotation *rotation,
			   const struct key_server_status *status, const char *resource)
{
	_cleanup_free_ char *words = text_printable(resource, strlen(resource), WORDS_MAX);
	json_object_begin(w);
	json_member_string(w, "resource", words);
	json_member_u64(w, "total", values_of(status, resource));
	json_key(w, "parts");
	json_array_begin(w);
	for (size_t i = 0; i < status->census.group_count; i++)
		if (is_of(&status->census.groups[i], resource))
			write_part(w, rotation, &status->census.groups[i]);
	json_array_end(w);
	json_object_end(w);
}

static void write_resources(struct json_writer *w, const struct key_rotation *rotation,
			    const struct key_server_status *status)
{
	uint64_t plain = 0, plain_values = 0;
	_cleanup_strings_ resources = {0};
	for (size_t i = 0; i < status->census.group_count; i++)
		if (counts(&status->census.groups[i]))
			strings_add(&resources, resource_label(&status->census.groups[i]));
	strings_sort_unique(&resources);
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; i < resources.count; i++) {
		if (is_encrypted(rotation, status, resources.items[i])) {
			write_resource(w, rotation, status, resources.items[i]);
			continue;
		}
		plain++;
		plain_values += values_of(status, resources.items[i]);
	}
	json_array_end(w);
	json_member_u64(w, "plainResources", plain);
	json_member_u64(w, "plainValues", plain_values);
}

void dashboard_objects_write(struct json_writer *w, const struct dashboard_store *store,
			     const struct key_rotation *rotation)
{
	const struct key_server *server = census_of(store);
	json_key(w, "objects");
	if (!server) {
		json_null(w);
		return;
	}
	_cleanup_free_ char *by = text_printable(server->meta.name, strlen(server->meta.name), WORDS_MAX);
	json_object_begin(w);
	json_member_u64(w, "revision", server->status.census.revision);
	json_member_string(w, "by", by);
	write_resources(w, rotation, &server->status);
	json_object_end(w);
}
