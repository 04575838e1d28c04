#include "kube-rekey/observation.h"

#include <stdlib.h>

void server_observation_free(struct server_observation *server)
{
	free(server->name);
	free(server->why);
	free(server->version);
	free(server->file_hash);
	free(server->loaded_hash);
	*server = (struct server_observation){0};
}

static void free_member(struct member_observation *member)
{
	free(member->name);
	free(member->why);
}

void census_group_free(struct census_group *group)
{
	free(group->resource);
	free(group->name);
	free(group->key_id);
	free(group->example);
}

void census_observation_free(struct census_observation *census)
{
	for (size_t i = 0; i < census->group_count; i++)
		census_group_free(&census->groups[i]);
	free(census->groups);
	free(census->why);
	free(census->why_not_opened);
	*census = (struct census_observation){0};
}

void observation_free_contents(struct observation *observation)
{
	for (size_t i = 0; i < observation->server_count; i++)
		server_observation_free(&observation->servers[i]);
	for (size_t i = 0; i < observation->member_count; i++)
		free_member(&observation->members[i]);
	free(observation->servers);
	free(observation->members);
	free(observation->servers_why);
	free(observation->members_why);
	free(observation->blocked);
	free(observation->kms_why);
	census_observation_free(&observation->census);
	*observation = (struct observation){0};
}
