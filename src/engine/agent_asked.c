/* What the KeyRotation asks of this node, as its spec says it: taken from there, not from an order. */
#include "engine/agent_internal.h"

#include "engine/aesgcm.h"
#include "engine/asked.h"

static void copy_list(struct strings *to, const struct strings *from)
{
	for (size_t i = 0; i < from->count; i++)
		strings_add(to, from->items[i]);
}

static bool is_ours(const struct agent *agent)
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
	node->options.allow_aesgcm = is_ours(agent) && agent->rotation->spec.allow_aesgcm;
	if (is_ours(agent))
		copy_list(&node->foreign_prefixes, &agent->rotation->spec.foreign_prefixes);
}

int agent_may_begin(const struct agent *agent, struct error **err)
{
	if (!is_ours(agent))
		return error_set(err, ERROR_REFUSED, "the KeyRotation of this order cannot be read, or is over");
	if (agent->rotation->status.step_count > 0)
		return error_set(err, ERROR_REFUSED, "the rotation has its keys, and goes its way");
	return asked_check(&agent->rotation->spec, err);
}

int agent_check_by_census(struct agent *agent, const struct config_shape *to, const struct strings *new_keys,
			  struct error **err)
{
	struct rotation *node = agent->node;
	const struct key_rotation_spec *spec = &agent->rotation->spec;
	if (spec->foreign_prefixes.count == 0 && !aesgcm_any(new_keys))
		return 0;
	int rc = rotation_census_now(node, err);
	if (rc == 0 && node->trouble)
		rc = error_set(err, ERROR_NETWORK, "%s", node->trouble);
	return rc == 0 ? aesgcm_check(new_keys, rotation_objects_under(node, to), spec->allow_aesgcm, err) : rc;
}
