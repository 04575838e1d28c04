/* What becomes of the old keys on this node: as the KeyRotation says it, when the order to retire them comes. */
#include "engine/agent_internal.h"

int agent_take_policy(struct agent *agent, struct error **err)
{
	const struct key_rotation_spec *spec = &agent->rotation->spec;
	struct rotation *node = agent->node;
	struct old_keys_policy policy;
	int rc = old_keys_policy_asked(spec->old_key, spec->old_key_cert, node->retired_directory, &policy, err);
	if (rc < 0)
		return rc;
	policy.left_before = node->journal->retired;
	old_keys_policy_free(&node->old_key);
	node->old_key = policy;
	return 0;
}

/* Again is fine: what was sealed or destroyed before a restart is found so. */
int agent_retire(struct agent *agent, uint64_t valid_until, struct error **err)
{
	const struct decision decision = {.action = ACTION_RETIRE, .valid_until = valid_until};
	struct strings *places = &agent->node->report->remains, *told = &agent->told->status.remains;
	strings_free(places);
	int rc = agent_take_policy(agent, err);
	agent->node->retired = false;
	if (rc == 0)
		rc = rotation_act(agent->node, &decision, err);
	if (rc == 0 && !agent->node->retired)
		rc = error_set(err, ERROR_CONFLICT, "the order grew too old before the old keys were retired");
	if (rc == 0)
		rc = agent_read_retired(agent, err);
	if (rc < 0)
		return rc;
	strings_free(told);
	*told = *places;
	*places = (struct strings){0};
	return 0;
}
