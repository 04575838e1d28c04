/* A census that is asked for while nothing is rotated. It is a question, not an order: it changes nothing, needs no fence, and
 * no key ever leaves by it, for a drop needs one that was taken since all servers run its step. */
#include "engine/agent_internal.h"

#include "base/clock.h"

static bool is_idle(const struct agent *agent)
{
	return !agent->rotation || agent->rotation->status.outcome;
}

/* A question that was there before this process is not answered again: it may have been, and reading every value may be what
 * the process before died of. The controller asks another agent, or this one anew. */
static bool is_asked(struct agent *agent, uint64_t number)
{
	if (!agent->heard_ask)
		agent->census_asked = number;
	agent->heard_ask = true;
	return number != 0 && number != agent->census_asked;
}

/* Silence is of no use while nothing is rotated; and what goes on being watched ends together with what was found. */
static void stop_watching(struct rotation *node)
{
	quiet_stop(node->quiet);
	node->quiet = NULL;
}

/* What was seen before is no answer. */
static void answer_with_failure(struct agent *agent, const char *why)
{
	struct rotation *node = agent->node;
	uint64_t now = clock_monotonic();
	node->seen.census = (struct census_observation){0}; /* lent */
	census_observation_free(&node->census_seen);
	node->census_seen = (struct census_observation){.begun = now, .finished = now, .why = xstrdup(why)};
}

int agent_take_asked_census(struct agent *agent, struct error **err)
{
	const struct key_server_spec *spec = agent->self ? &agent->self->last->spec : NULL;
	struct key_server_status *told = &agent->told->status;
	_cleanup_error_ failed = NULL;
	if (!spec || agent->read_at == 0 || !is_asked(agent, spec->ask_census) || !is_idle(agent))
		return 0;
	agent->census_asked = spec->ask_census;
	loop_call_between(agent->node->cluster->loop, FLEET_INTERVAL, agent_tell_meanwhile, agent);
	/* Stale is, too, what is under another key ID than the KMS names. */
	agent->node->tell_key_ids = true;
	int rc = rotation_census_now(agent->node, &failed);
	agent->node->tell_key_ids = false;
	loop_call_between(agent->node->cluster->loop, 0, NULL, NULL);
	stop_watching(agent->node);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	if (rc < 0) {
		agent_note(agent, "census: %s", error_message(failed));
		answer_with_failure(agent, error_message(failed));
	}
	told->census.epoch = told->census.sequence = 0;
	told->census.asked = agent->census_asked;
	return 0;
}
