/* Which keys were retired, so that none of them comes back: each agent tells it of its own node, and remembers what the
 * others tell, for a node that lost its state directory. */
#include "engine/agent_internal.h"

#include "engine/retired.h"

int agent_read_retired(struct agent *agent, struct error **err)
{
	strings_free(&agent->retired);
	return retired_list(agent->options->state_directory, SIZE_MAX, &agent->retired, err);
}

/* One's own come last in the list. */
void agent_tell_retired(const struct agent *agent, struct key_server_status *ret)
{
	size_t count = agent->retired.count;
	for (size_t i = count > KEY_SERVER_RETIRED_MAX ? count - KEY_SERVER_RETIRED_MAX : 0; i < count; i++)
		strings_add(&ret->retired, agent->retired.items[i]);
}

static bool says_more(const struct agent *agent, const struct strings *fingerprints)
{
	bool more = false;
	for (size_t i = 0; i < fingerprints->count; i++)
		more = more || !strings_has(&agent->retired, fingerprints->items[i]);
	return more && agent->retired.count < RETIRED_HEARD_MAX;
}

void agent_hear_retired(struct agent *agent)
{
	for (size_t i = 0; i < agent->fleet.count; i++) {
		const struct key_server *server = agent->fleet.servers[i].last;
		_cleanup_error_ failed = NULL;
		if (text_equal(server->meta.name, agent->options->node_name) ||
		    !says_more(agent, &server->status.retired))
			continue;
		int rc = retired_merge(agent->options->state_directory, server->meta.name, &server->status.retired,
				       &failed);
		if (rc == 0)
			rc = agent_read_retired(agent, &failed);
		if (rc < 0)
			agent_trouble(agent, error_message(failed));
	}
}
