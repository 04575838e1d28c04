/* What the KeyRotation asks of this node, as its spec says it: taken from there, not from an order. */
#include "engine/agent_internal.h"

static void copy_list(struct strings *to, const struct strings *from)
{
	for (size_t i = 0; i < from->count; i++)
		strings_add(to, from->items[i]);
}

bool agent_takes_part(const struct agent *agent)
{
	const struct key_rotation *rotation = agent->rotation;
	return rotation && !rotation->status.outcome && text_equal(rotation->meta.uid, agent->disk.rotation);
}

/* Each turn: what this process reads may be another rotation's by now. While none can be read the last one's holds. */
void agent_take_asked(struct agent *agent)
{
	struct rotation *node = agent->node;
	if (agent->read_at == 0)
		return;
	strings_free(&node->foreign_prefixes);
	copy_list(&node->foreign_prefixes, &node->cluster->foreign_prefixes);
	/* Judged before the new key is in any file; later there is no way but on. */
	node->options.allow_aesgcm =
		agent_takes_part(agent) && (agent->rotation->spec.allow_aesgcm || agent->rotation->status.step > 0);
	if (agent_takes_part(agent))
		copy_list(&node->foreign_prefixes, &agent->rotation->spec.foreign_prefixes);
}
