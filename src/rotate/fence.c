/* What a leader sends for a decision, and what has to be acknowledged before. */
#include "kube-rekey/order.h"

#include "base/text.h"

uint64_t epoch_next(const struct agent_report *agents, size_t count, uint64_t claimed)
{
	uint64_t highest = claimed;
	for (size_t i = 0; i < count; i++)
		if (agents[i].epoch > highest)
			highest = agents[i].epoch;
	return highest + 1;
}

bool orders_acknowledged(const struct agent_report *agents, size_t count, const char *rotation, uint64_t epoch,
			 int *missing)
{
	for (size_t i = 0; i < count; i++)
		if (!agents[i].incarnation || agents[i].epoch != epoch || !text_equal(agents[i].rotation, rotation)) {
			*missing = (int)i;
			return false;
		}
	return true;
}

/* What the decision is for agents; none where the controller acts itself, or waits. */
static enum order_action order_action_of(const struct decision *decision)
{
	switch (decision->action) {
	case ACTION_WRITE_STEP:
		return ORDER_WRITE_STEP;
	case ACTION_CANARY:
		return ORDER_FIND_CANARY;
	case ACTION_CENSUS:
		return ORDER_CENSUS;
	case ACTION_RESTART:
		return ORDER_RESTART;
	case ACTION_COMPACT:
		return ORDER_COMPACT;
	case ACTION_RETIRE:
		return ORDER_RETIRE;
	case ACTION_WAIT:
	case ACTION_REENCRYPT:
	case ACTION_READ_BACK:
	case ACTION_BLOCKED:
	case ACTION_DONE:
		break;
	}
	return ORDER_NONE;
}

bool order_is_guarded(const struct path *path, const struct observation *seen, const struct decision *decision,
		      bool aborted)
{
	if (aborted || decision->action == ACTION_RETIRE)
		return true;
	if (decision->action != ACTION_WRITE_STEP)
		return false;
	const struct server_observation *server = &seen->servers[decision->server];
	size_t from = (size_t)server->file_step, to = (size_t)decision->to_step;
	if (!path_keeps_keys(path, from, to))
		return true;
	return decision->rescue && !path_writes_alike(path, from, to) && !server_writes_as(path, server, to);
}

static bool higher_epoch_seen(const struct observation *seen, const struct agent_report *agents, uint64_t epoch)
{
	for (size_t i = 0; i < seen->server_count; i++)
		if (agents[i].epoch > epoch)
			return true;
	return false;
}

/* The fence stands for this very thing already. */
static bool fenced_for(const struct fence *fence, const struct decision *decision)
{
	return fence->aborted ||
	       (fence->guards && fence->to_step == decision->to_step && fence->rescue == decision->rescue);
}

static struct order make_order(const struct path *path, const struct observation *seen, const struct decision *decision,
			       const struct fence *fence)
{
	struct order order = {.rotation = fence->rotation,
			      .epoch = fence->epoch,
			      .sequence = fence->sequence,
			      .action = order_action_of(decision),
			      .from_step = STEP_NONE,
			      .to_step = STEP_NONE,
			      .rescue = decision->phase == PHASE_RESCUE,
			      .aborted = fence->aborted};
	/* One that is to say what is wrong waits for nothing. */
	order.settled = decision->action == ACTION_CENSUS &&
			(decision->reason == REASON_SETTLED_CENSUS || decision->reason == REASON_FINAL_CENSUS);
	if (decision->action == ACTION_RETIRE)
		order.from_step = order.to_step = (int)path->count - 1;
	if (decision->action == ACTION_RESTART)
		order.from_step = order.to_step = seen->servers[decision->server].file_step;
	if (decision->action == ACTION_WRITE_STEP) {
		order.from_step = seen->servers[decision->server].file_step;
		order.to_step = decision->to_step;
	}
	return order;
}

struct order order_none(const struct fence *fence)
{
	return (struct order){.rotation = fence->rotation,
			      .epoch = fence->epoch,
			      .action = ORDER_NONE,
			      .from_step = STEP_NONE,
			      .to_step = STEP_NONE,
			      .aborted = fence->aborted};
}

static struct dispatch new_epoch(const struct observation *seen, const struct decision *decision,
				 const struct fence *fence, const struct agent_report *agents, uint64_t claimed,
				 bool guarded)
{
	struct dispatch dispatch = {.kind = DISPATCH_NEW_EPOCH, .agent = -1, .fence = *fence};
	dispatch.fence.epoch = epoch_next(agents, seen->server_count, claimed);
	dispatch.fence.sequence = 0;
	dispatch.fence.guards = guarded;
	dispatch.fence.to_step = decision->to_step;
	dispatch.fence.rescue = decision->rescue;
	return dispatch;
}

static bool acknowledged(const struct observation *seen, const struct fence *fence, const struct agent_report *agents,
			 int *missing)
{
	return orders_acknowledged(agents, seen->server_count, fence->rotation, fence->epoch, missing);
}

struct dispatch order_from_decision(const struct path *path, const struct observation *seen,
				    const struct decision *decision, const struct fence *fence,
				    const struct agent_report *agents, uint64_t claimed)
{
	struct dispatch dispatch = {.kind = DISPATCH_NOTHING, .agent = -1, .fence = *fence};
	bool guarded = order_is_guarded(path, seen, decision, fence->aborted);
	if (fence->epoch == 0 || higher_epoch_seen(seen, agents, fence->epoch) ||
	    (guarded && !fenced_for(fence, decision)))
		return new_epoch(seen, decision, fence, agents, claimed, guarded);
	if (guarded && !acknowledged(seen, fence, agents, &dispatch.agent)) {
		dispatch.kind = DISPATCH_WAIT;
		return dispatch;
	}
	if (order_action_of(decision) == ORDER_NONE)
		return dispatch;
	dispatch.kind = DISPATCH_SEND;
	bool for_one = decision->action == ACTION_WRITE_STEP || decision->action == ACTION_RESTART;
	dispatch.agent = for_one ? decision->server : -1;
	dispatch.fence.sequence++;
	dispatch.order = make_order(path, seen, decision, &dispatch.fence);
	return dispatch;
}

void order_address(struct order *order, const struct server_observation *server, const struct agent_report *agent,
		   uint64_t valid_until)
{
	order->incarnation = agent->incarnation;
	if (order->action != ORDER_WRITE_STEP && order->action != ORDER_RETIRE && order->action != ORDER_RESTART)
		return;
	order->expect_hash = server->file_hash;
	order->beat = agent->beat;
	order->good_for = valid_until > agent->beat_read_at ? valid_until - agent->beat_read_at : 0;
}

static bool same_words(const struct order *a, const struct order *b)
{
	return a->epoch == b->epoch && a->action == b->action && a->from_step == b->from_step &&
	       a->to_step == b->to_step && a->rescue == b->rescue && a->settled == b->settled &&
	       a->aborted == b->aborted && text_equal(a->rotation, b->rotation) &&
	       text_equal(a->incarnation, b->incarnation) && text_equal(a->expect_hash, b->expect_hash);
}

bool order_is_out(const struct order *out, const struct order *wanted, const struct agent_report *agent)
{
	bool carried_out = agent->epoch == out->epoch && agent->sequence >= out->sequence;
	return same_words(out, wanted) && (out->action == ORDER_NONE || !carried_out);
}

enum outcome order_outcome(const struct order *order, const struct agent_report *agent)
{
	if (!text_equal(agent->incarnation, order->incarnation) || agent->epoch > order->epoch)
		return OUTCOME_LOST;
	if (agent->epoch < order->epoch)
		return OUTCOME_OPEN;
	if (agent->done == order->sequence && text_equal(agent->done_action, order_action_name(order->action)))
		return text_equal(agent->done_result, "ok")        ? OUTCOME_OK
		       : text_equal(agent->done_result, "refused") ? OUTCOME_REFUSED
								   : OUTCOME_FAILED;
	return agent->sequence >= order->sequence ? OUTCOME_LOST : OUTCOME_OPEN;
}
