/* Orders carried out: each by what a rotation of one server does on this node. */
#include "engine/agent_internal.h"

#include <string.h>

#include "base/clock.h"

#define ETCD_ASK NS_PER_S /* for an answer of each member; one that is silent is told of as such */

/* Rule 3d, by this agent's clock, whatever the order says. */
static uint64_t good_until(const struct agent *agent, const struct key_server_spec *spec)
{
	uint64_t good_for = spec->good_for_milliseconds * NS_PER_MS;
	return agent->published[spec->beat % AGENT_BEATS] + (good_for < FRESH_LOOK ? good_for : FRESH_LOOK);
}

static int write_step(struct agent *agent, const struct key_server_spec *spec, const struct verdict *verdict,
		      struct error **err)
{
	struct rotation *node = agent->node;
	/* Back to what runs, since this file is refused: not written again. */
	bool refused = spec->rescue && node->seen.servers[0].refuses_file;
	const struct decision decision = {
		.action = ACTION_WRITE_STEP,
		.reason = refused ? REASON_PUT_BACK : REASON_STEP,
		.to_step = verdict->to_step,
		.expect_hash = spec->expect_hash,
		.rescue = spec->rescue && !refused,
		.valid_until =
			path_drops(node->journal->path, (size_t)spec->from_step) ? good_until(agent, spec) : UINT64_MAX,
	};
	_cleanup_free_ char *before = node->look.written_hash ? xstrdup(node->look.written_hash) : NULL;
	int rc = rotation_act(node, &decision, err);
	if (!text_equal(before, node->look.written_hash)) {
		/* It is in place, whatever could not be noted down afterwards: the next process finds it out again. */
		error_clear(err);
		agent->disk.written_step = verdict->to_step;
		return 0;
	}
	return rc < 0 ? rc
		      : error_set(err, ERROR_CONFLICT,
				  "the file changed, or the order grew too old, just before the swap");
}

/* The journal counts it, whoever dies in between: once in a rotation. */
int agent_put_back(struct agent *agent, const struct verdict *verdict, struct error **err)
{
	struct rotation *node = agent->node;
	const struct decision decision = {.action = ACTION_WRITE_STEP,
					  .reason = verdict->ground == GROUND_WENT_BACK ? REASON_BEHIND
											: REASON_UNREADABLE,
					  .to_step = verdict->to_step,
					  .expect_hash = node->seen.servers[0].file_hash,
					  .rescue = true,
					  .valid_until = UINT64_MAX};
	_cleanup_free_ char *before = node->look.written_hash ? xstrdup(node->look.written_hash) : NULL;
	node->alone = true;
	int rc = rotation_act(node, &decision, err);
	node->alone = false;
	if (text_equal(before, node->look.written_hash))
		return rc; /* nothing was put there: judged again */
	error_clear(err);
	agent_note(agent,
		   "no API server serves orders, and %s: step %d was written to %s, whose server needs it to read%s",
		   ground_text(verdict->ground), verdict->to_step, node->target->path,
		   node->look.restarts ? "; restart it if it still runs" : "");
	agent->disk.written_step = verdict->to_step;
	return agent_disk_save(agent->options->state_directory, &agent->disk, err);
}

bool agent_census_settled(const struct agent *agent)
{
	const struct census_observation *seen = &agent->node->census_seen;
	return seen->finished > 0 && seen->begun == agent->settled_census;
}

/* What is settled is still so at a later revision, where etcd compacts faster than it can be read. Members that are others than
 * those that were watched are found as it begins. */
static int census(struct agent *agent, const struct key_server_spec *spec, struct error **err)
{
	struct rotation *node = agent->node;
	node->settled_ended = agent->settled ? clock_monotonic() : 0;
	int rc = rotation_census_now(node, err);
	agent->settled_census = node->settled_ended ? node->census_seen.begun : 0;
	node->settled_ended = 0;
	if (rc < 0)
		return rc;
	agent->told->status.census.epoch = spec->epoch;
	agent->told->status.census.sequence = spec->sequence;
	agent->told->status.census.asked = 0;
	return 0;
}

static void forget_canaries(struct key_server_status *told)
{
	object_release_list(&key_server_canary_record, told->canaries, told->canary_count);
	told->canaries = NULL;
	told->canary_count = 0;
}

static int find_one(struct agent *agent, const struct key_server_canary *canary, int *ret_step, char **ret_key_id,
		    struct error **err)
{
	struct canary_options options = rotation_canary_options(agent->node);
	const struct canary_mark mark = {canary->resource, canary->name, canary->revision};
	if (!canary->server || !canary->resource || !canary->name)
		return error_set(err, ERROR_INPUT, "a canary without a name");
	options.server = canary->server;
	return canary_find(&options, &mark, 1, canary->step, ret_step, ret_key_id, err);
}

/* Whoever has written them waits for what etcd's members show since then: with the report that tells of them. */
static int ask_etcd(const struct agent *agent, struct error **err)
{
	return agent->node->quiet ? quiet_ask(agent->node->quiet, ETCD_ASK, err) : 0;
}

static int find_canaries(struct agent *agent, const struct key_server_spec *spec, struct error **err)
{
	struct key_server_status *told = &agent->told->status;
	int rc = agent->node->census ? 0 : rotation_census_now(agent->node, err);
	forget_canaries(told);
	if (rc == 0 && !agent->node->census)
		rc = error_set(err, ERROR_NETWORK, "no census: %s", agent->node->trouble ? agent->node->trouble : "?");
	told->canaries = xcalloc(spec->canary_count + 1, sizeof(*told->canaries));
	for (size_t i = 0; rc == 0 && i < spec->canary_count; i++) {
		const struct key_server_canary *asked = &spec->canaries[i];
		int step = STEP_NONE;
		char *key_id = NULL;
		rc = find_one(agent, asked, &step, &key_id, err);
		if (rc == 0)
			told->canaries[told->canary_count++] = (struct key_server_canary){xstrdup(asked->server),
											  xstrdup(asked->resource),
											  xstrdup(asked->name),
											  asked->revision,
											  key_id,
											  step};
	}
	return rc < 0 ? rc : ask_etcd(agent, err);
}

static int plain_action(struct agent *agent, enum action action, struct error **err)
{
	const struct decision decision = {.action = action, .valid_until = UINT64_MAX};
	int rc = rotation_act(agent->node, &decision, err);
	if (rc == 0 && agent->node->trouble)
		return error_set(err, ERROR_NETWORK, "%s", agent->node->trouble);
	return rc;
}

int agent_carry_out(struct agent *agent, const struct key_server_spec *spec, const struct verdict *verdict,
		    struct error **err)
{
	enum order_action action;
	if (!order_action_from_name(spec->action, &action))
		return error_set(err, ERROR_REFUSED, "%s is no action of this version", spec->action);
	switch (action) {
	case ORDER_WRITE_STEP:
		return write_step(agent, spec, verdict, err);
	case ORDER_CENSUS:
		return census(agent, spec, err);
	case ORDER_FIND_CANARY:
		return find_canaries(agent, spec, err);
	case ORDER_COMPACT:
		if (!agent->node->census)
			return error_set(err, ERROR_REFUSED, "no census was taken by this process");
		return plain_action(agent, ACTION_COMPACT, err);
	case ORDER_RESTART:
		return agent_restart(agent, err);
	case ORDER_RETIRE:
		return agent_retire(agent, good_until(agent, spec), err);
	case ORDER_MAKE_KEY:
		return agent_make_keys(agent, err);
	case ORDER_NONE:
		break;
	}
	return 0;
}
