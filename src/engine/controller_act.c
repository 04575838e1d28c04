/* Decisions carried out: by an order to one agent or to all, or by the controller itself where only the API is needed. */
#include "engine/controller_internal.h"

#include <string.h>

#include "engine/read_back.h"

#define PROGRESS_INTERVAL (2 * NS_PER_S)
#define TELLING_TIMEOUT (10 * NS_PER_S)
#define REPORTS_INTERVAL (2 * NS_PER_S)
#define RENEW_AFTER (2 * NS_PER_S) /* an order that is good for a time only: each renewal wakes its agent */
#define RETRY_AFTER (3 * NS_PER_S) /* a failed order is not sent again before */
#define WAITS_LONG (10 * NS_PER_S)
#define CANARY_INTERVAL (5 * NS_PER_S) /* between canaries, while a KMS is followed or one was not as it should be */

/* --- orders --- */

bool controller_leads(const struct controller *c)
{
	return kube_lock_deadline(c->lock) > clock_monotonic();
}

enum outcome controller_outcome(const struct controller *c, size_t index, enum order_action action, uint64_t epoch,
				uint64_t sequence)
{
	const struct directed *server = &c->servers[index];
	const struct agent_report report = fleet_report(fleet_find(&c->fleet, server->name));
	const struct order order = {
		.epoch = epoch, .sequence = sequence, .action = action, .incarnation = server->sent.incarnation};
	return order_outcome(&order, &report);
}

bool controller_awaits(const struct controller *c, size_t index, enum order_action action, uint64_t epoch,
		       uint64_t sequence)
{
	const struct key_server_spec *sent = &c->servers[index].sent;
	return sent->epoch == epoch && sent->sequence == sequence &&
	       text_equal(sent->action, order_action_name(action)) &&
	       controller_outcome(c, index, action, epoch, sequence) == OUTCOME_OPEN;
}

static void remember(struct directed *server, const struct key_server_spec *spec)
{
	if (server->sent.epoch != spec->epoch || server->sent.sequence != spec->sequence)
		server->sent_at = clock_monotonic();
	server->renewed_at = clock_monotonic();
	object_release(&key_server_spec_record, &server->sent);
	server->sent = (struct key_server_spec){.epoch = spec->epoch,
						.sequence = spec->sequence,
						.action = xstrdup(spec->action ? spec->action : ""),
						.step = spec->step,
						.from_step = spec->from_step,
						.rescue = spec->rescue,
						.settled = spec->settled,
						.aborted = spec->aborted,
						.beat = spec->beat};
	server->sent.incarnation = spec->incarnation ? xstrdup(spec->incarnation) : NULL;
	server->sent.expect_hash = spec->expect_hash ? xstrdup(spec->expect_hash) : NULL;
}

int controller_send(struct controller *c, size_t index, const struct key_server_spec *spec, struct error **err)
{
	struct directed *server = &c->servers[index];
	struct agent_report report = fleet_report(fleet_find(&c->fleet, server->name));
	struct object_meta meta = {.name = server->name};
	struct key_server_spec whole = *spec;
	_cleanup_free_ char *body = NULL;
	_cleanup_free_ char *incarnation = report.incarnation ? xstrdup(report.incarnation) : NULL;
	/* Who lost the Lease orders nothing more; what was sent before is fenced by its epoch. */
	if (!controller_leads(c))
		return error_set(err, ERROR_CONFLICT, "the Lease was lost");
	whole.rotation = c->rotation->meta.uid;
	whole.rotation_name = c->rotation->meta.name;
	whole.incarnation = incarnation;
	int rc = object_body("KeyServer", &meta, "spec", &key_server_spec_record, &whole, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {
		.verb = CUSTOM_APPLY, .collection = KEY_SERVERS_PATH, .name = server->name, .body = body};
	rc = kube_custom_fetch(&c->options->cluster->kube, &request, NULL, err);
	if (rc == 0)
		remember(server, &whole);
	return rc;
}

static int send_none(struct controller *c, size_t index, struct error **err)
{
	const struct key_server_spec *sent = &c->servers[index].sent;
	const struct agent_report report = fleet_report(fleet_find(&c->fleet, c->servers[index].name));
	if (sent->epoch == c->fence.epoch && text_empty(sent->action) &&
	    text_equal(sent->incarnation, report.incarnation))
		return 0;
	const struct key_server_spec none = {
		.epoch = c->fence.epoch, .step = STEP_NONE, .from_step = STEP_NONE, .aborted = c->fence.aborted};
	return controller_send(c, index, &none, err);
}

int controller_withdraw(struct controller *c, struct error **err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < c->server_count; i++)
		rc = send_none(c, i, err);
	return rc;
}

/* Whether the very same order is with the agent already, and not finished. Canaries are never the same: what is found of
 * those before says nothing of those that were written since. */
static bool is_under_way(const struct controller *c, size_t index, const struct order *order,
			 const struct agent_report *agent)
{
	const struct key_server_spec *sent = &c->servers[index].sent;
	const struct order before = {.rotation = c->fence.rotation,
				     .epoch = sent->epoch,
				     .sequence = sent->sequence,
				     .incarnation = sent->incarnation,
				     .action = order->action,
				     .from_step = sent->from_step,
				     .to_step = sent->step,
				     .expect_hash = sent->expect_hash,
				     .rescue = sent->rescue,
				     .settled = sent->settled,
				     .aborted = sent->aborted};
	return order->action != ORDER_FIND_CANARY && text_equal(sent->action, order_action_name(order->action)) &&
	       order_is_out(&before, order, agent);
}

static int send_order(struct controller *c, size_t index, const struct decision *d, const struct agent_report *agents,
		      const struct order *like, struct error **err)
{
	struct order order = *like;
	order_address(&order, &c->seen.servers[index], &agents[index], d->valid_until);
	_cleanup_free_ char *action = xstrdup(order_action_name(order.action));
	_cleanup_free_ char *hash = order.expect_hash ? xstrdup(order.expect_hash) : NULL;
	struct key_server_spec spec = {.epoch = order.epoch,
				       .sequence = order.sequence,
				       .action = action,
				       .step = order.to_step,
				       .from_step = order.from_step,
				       .expect_hash = hash,
				       .rescue = order.rescue,
				       .settled = order.settled,
				       .aborted = order.aborted,
				       .beat = order.beat,
				       .good_for_milliseconds = order.good_for / NS_PER_MS};
	if (spec.good_for_milliseconds > FRESH_LOOK / NS_PER_MS)
		spec.good_for_milliseconds = FRESH_LOOK / NS_PER_MS;
	if (is_under_way(c, index, &order, &agents[index])) {
		/* The same once more, good for longer: what it rests upon was looked at again. */
		spec.sequence = c->servers[index].sent.sequence;
		if (order.beat == c->servers[index].sent.beat || d->valid_until == UINT64_MAX ||
		    clock_monotonic() < c->servers[index].renewed_at + RENEW_AFTER)
			return 0;
	}
	/* Nor again what this agent is done with, while another one is not. */
	const struct key_server_spec *sent = &c->servers[index].sent;
	if (sent->epoch == spec.epoch && sent->sequence == spec.sequence && text_equal(sent->action, action)) {
		enum outcome outcome = controller_outcome(c, index, order.action, spec.epoch, spec.sequence);
		if (outcome == OUTCOME_OK || outcome == OUTCOME_FAILED)
			return 0;
	}
	if (order.action == ORDER_FIND_CANARY) {
		spec.canaries = c->canary.asked;
		spec.canary_count = c->canary.count;
	}
	return controller_send(c, index, &spec, err);
}

static bool is_addressed(const struct dispatch *dispatch, size_t index)
{
	return dispatch->agent < 0 || (size_t)dispatch->agent == index;
}

static bool under_way_anywhere(const struct controller *c, const struct dispatch *dispatch,
			       const struct agent_report *agents, uint64_t valid_until)
{
	for (size_t i = 0; i < c->server_count; i++) {
		struct order order = dispatch->order;
		if (!is_addressed(dispatch, i))
			continue;
		order_address(&order, &c->seen.servers[i], &agents[i], valid_until);
		if (is_under_way(c, i, &order, &agents[i]))
			return true;
	}
	return false;
}

static char *trouble_with(const struct controller *c, size_t i, enum outcome outcome)
{
	const struct directed *server = &c->servers[i];
	const struct key_server_status *status = controller_status(c, i);
	const char *message = status->done.message ? status->done.message : "no reason given";
	switch (outcome) {
	case OUTCOME_REFUSED:
		return xasprintf("%s: order %s refused: %s", server->name, server->sent.action, message);
	case OUTCOME_FAILED:
		return xasprintf("%s: order %s failed: %s", server->name, server->sent.action, message);
	case OUTCOME_OPEN: /* what passes by itself is no trouble */
		return status->why && clock_monotonic() >= server->sent_at + WAITS_LONG
			       ? xasprintf("%s: order %s waits: %s", server->name, server->sent.action, status->why)
			       : NULL;
	case OUTCOME_OK:
	case OUTCOME_LOST:
		break;
	}
	return NULL;
}

/* With the last order; NULL: there is none. New string. */
static char *trouble_with_last(const struct controller *c, size_t i)
{
	const struct key_server_spec *sent = &c->servers[i].sent;
	enum order_action action;
	if (!sent->action || !order_action_from_name(sent->action, &action) || !controller_status(c, i))
		return NULL;
	return trouble_with(c, i, controller_outcome(c, i, action, sent->epoch, sent->sequence));
}

/* It is told until an order of that kind does not fail. */
static void note_failure(const struct controller *c, size_t i)
{
	struct directed *server = &c->servers[i];
	enum order_action action;
	if (text_empty(server->sent.action) || !order_action_from_name(server->sent.action, &action) ||
	    !controller_status(c, i))
		return;
	enum outcome outcome = controller_outcome(c, i, action, server->sent.epoch, server->sent.sequence);
	_cleanup_free_ char *waits = outcome == OUTCOME_OPEN ? trouble_with(c, i, outcome) : NULL;
	if (outcome == OUTCOME_OPEN && server->failed_by == action && !waits)
		return;
	free(steal(server->failed));
	if (outcome == OUTCOME_FAILED)
		server->failed = trouble_with(c, i, outcome);
	server->failed_by = action;
}

static const char *failure_of(const struct controller *c, const struct dispatch *dispatch)
{
	for (size_t i = 0; i < c->server_count; i++)
		if (is_addressed(dispatch, i) && c->servers[i].failed &&
		    c->servers[i].failed_by == dispatch->order.action)
			return c->servers[i].failed;
	return NULL;
}

/* What failed a moment ago is not tried again at once. A census and canaries have a pace of their own. */
static bool has_just_failed(const struct controller *c, const struct dispatch *dispatch)
{
	enum order_action action = dispatch->order.action;
	bool changes = action == ORDER_WRITE_STEP || action == ORDER_RESTART || action == ORDER_RETIRE ||
		       action == ORDER_COMPACT;
	for (size_t i = 0; changes && i < c->server_count; i++) {
		const struct key_server_spec *sent = &c->servers[i].sent;
		if (is_addressed(dispatch, i) && sent->epoch == dispatch->fence.epoch &&
		    text_equal(sent->action, order_action_name(action)) &&
		    clock_monotonic() < c->servers[i].sent_at + RETRY_AFTER &&
		    controller_outcome(c, i, action, sent->epoch, sent->sequence) == OUTCOME_FAILED)
			return true;
	}
	return false;
}

static int send(struct controller *c, const struct decision *d, struct dispatch *dispatch,
		const struct agent_report *agents, struct error **err)
{
	int rc = 0;
	bool under_way = under_way_anywhere(c, dispatch, agents, d->valid_until);
	if (under_way)
		dispatch->order.sequence = dispatch->fence.sequence = c->fence.sequence;
	/* Before it is sent: some may get it and others not, and no other order has its number. */
	c->fence = dispatch->fence;
	for (size_t i = 0; rc == 0 && i < c->server_count; i++) {
		rc = is_addressed(dispatch, i) ? send_order(c, i, d, agents, &dispatch->order, err)
					       : send_none(c, i, err);
	}
	return rc;
}

static int begin_epoch(struct controller *c, const struct dispatch *dispatch, struct error **err)
{
	c->rotation->status.epoch = dispatch->fence.epoch;
	int rc = controller_apply(c, err);
	if (rc < 0)
		return rc;
	c->fence = dispatch->fence;
	return controller_withdraw(c, err);
}

static int wait_for_acknowledgement(struct controller *c, const struct dispatch *dispatch, struct error **err)
{
	const struct directed *server = &c->servers[dispatch->agent];
	const struct fleet_server *reported = fleet_find(&c->fleet, server->name);
	const char *says = fleet_is_fresh(reported, clock_monotonic()) ? reported->last->status.why : NULL;
	_cleanup_free_ char *why = xasprintf("the agent of %s has not acknowledged epoch %llu%s%s", server->name,
					     (unsigned long long)c->fence.epoch, says ? ": " : "", says ? says : "");
	controller_trouble(c, why);
	return controller_withdraw(c, err);
}

/* Sends what agents have to do for a decision. *ret_sent: the order stands. */
static int order(struct controller *c, const struct decision *d, bool *ret_sent, struct error **err)
{
	_cleanup_free_ struct agent_report *agents = controller_reports(c);
	struct dispatch dispatch =
		order_from_decision(c->path, &c->seen, d, &c->fence, agents, c->rotation->status.epoch);
	const char *failure = NULL;
	int rc = 0;
	*ret_sent = false;
	for (size_t i = 0; i < c->server_count; i++)
		note_failure(c, i);
	switch (dispatch.kind) {
	case DISPATCH_NOTHING:
		break;
	case DISPATCH_NEW_EPOCH:
		rc = begin_epoch(c, &dispatch, err);
		break;
	case DISPATCH_WAIT:
		return wait_for_acknowledgement(c, &dispatch, err);
	case DISPATCH_SEND:
		failure = failure_of(c, &dispatch);
		if (has_just_failed(c, &dispatch))
			break;
		rc = send(c, d, &dispatch, agents, err);
		*ret_sent = rc == 0;
		break;
	}
	controller_trouble(c, failure);
	return rc;
}

int controller_fence(struct controller *c, bool *ret_fenced, struct error **err)
{
	const struct decision nothing = {.action = ACTION_WAIT, .step = STEP_NONE, .to_step = STEP_NONE, .server = -1};
	_cleanup_free_ struct agent_report *agents = controller_reports(c);
	const struct dispatch dispatch =
		order_from_decision(c->path, &c->seen, &nothing, &c->fence, agents, c->rotation->status.epoch);
	*ret_fenced = dispatch.kind == DISPATCH_NOTHING;
	if (dispatch.kind == DISPATCH_NEW_EPOCH)
		return begin_epoch(c, &dispatch, err);
	return dispatch.kind == DISPATCH_WAIT ? wait_for_acknowledgement(c, &dispatch, err)
					      : controller_withdraw(c, err);
}

bool controller_rescue_fails(const struct controller *c, size_t i)
{
	_cleanup_free_ char *trouble = c->servers[i].sent.rescue ? trouble_with_last(c, i) : NULL;
	return trouble != NULL;
}

/* A failed or refused order is told; it is sent again by the next decision. */
void controller_tell_results(struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++) {
		_cleanup_free_ char *text = trouble_with_last(c, i);
		if (text)
			controller_trouble(c, text);
	}
}

/* --- the census, by all agents --- */

static int census(struct controller *c, const struct decision *d, struct error **err)
{
	bool sent, waits = false;
	for (size_t i = 0; i < c->server_count && c->census.sequence; i++)
		waits = waits || (c->census.epoch == c->fence.epoch &&
				  controller_awaits(c, i, ORDER_CENSUS, c->census.epoch, c->census.sequence));
	if (waits) {
		controller_tell_results(c);
		return 0;
	}
	uint64_t now = clock_monotonic();
	int rc = order(c, d, &sent, err);
	if (rc < 0 || !sent)
		return rc;
	c->census.sequence = c->fence.sequence;
	c->census.epoch = c->fence.epoch;
	c->census.sent_at = now;
	return 0;
}

/* --- canaries: written by the controller through each server, found by the agents --- */

void controller_forget_canaries(struct controller *c)
{
	object_release_list(&key_server_canary_record, c->canary.asked, c->canary.count);
	c->canary.asked = NULL;
	c->canary.count = 0;
	c->canary.sequence = 0;
}

static struct canary_options canary_of(const struct controller *c, const struct directed *server)
{
	return (struct canary_options){.kube = server->kube,
				       .server = server->name,
				       .resources = &c->options->cluster->resources,
				       .path = c->path};
}

static int put_canary(struct controller *c, size_t index, int step, struct error **err)
{
	struct directed *server = &c->servers[index];
	struct canary_options options = canary_of(c, server);
	struct canary_mark marks[CANARY_MARKS_MAX];
	size_t count = 0;
	server->written_at = clock_monotonic();
	server->written_process = c->seen.servers[index].process;
	if (!server->kube)
		return error_set(err, ERROR_NETWORK, "the address of %s is not known", server->name);
	int rc = canary_put(&options, marks, &count, err);
	if (rc < 0)
		return rc;
	c->canary.asked = xreallocarray(c->canary.asked, c->canary.count + count, sizeof(*c->canary.asked));
	for (size_t i = 0; i < count; i++)
		c->canary.asked[c->canary.count++] = (struct key_server_canary){.server = xstrdup(server->name),
										.resource = xstrdup(marks[i].resource),
										.name = xstrdup(marks[i].name),
										.revision = marks[i].revision,
										.step = step};
	canary_marks_free(marks, count);
	return 0;
}

/* What the first agent that has looked found: the same step for all objects of a server, or none. */
static int found_step(const struct controller *c, const struct key_server_status *status, const char *server)
{
	int step = STEP_NONE;
	bool any = false;
	for (size_t i = 0; i < status->canary_count; i++) {
		if (!text_equal(status->canaries[i].server, server))
			continue;
		if ((any && status->canaries[i].step != step) || !controller_kms_shows(c, &status->canaries[i]))
			return STEP_NONE;
		step = status->canaries[i].step;
		any = true;
	}
	return step;
}

static char *cannot_read(const struct directed *reader, const struct key_server_canary *canary)
{
	_cleanup_free_ char *path =
		xasprintf("/api/v1/namespaces/" CANARY_NAMESPACE "/%s/%s", canary->resource, canary->name);
	_cleanup_error_ failed = NULL;
	if (reader->kube && kube_call(reader->kube, "GET", path, NULL, NULL, NULL, &failed) == 0)
		return NULL;
	return xasprintf("%s does not read what %s wrote: %s", reader->name, canary->server,
			 failed ? error_message(failed) : "its address is not known");
}

char *controller_unread(const struct controller *c, const struct key_server_status *status, const char *server)
{
	for (size_t i = 0; i < status->canary_count; i++)
		for (size_t k = 0; k < c->server_count && text_equal(status->canaries[i].server, server); k++) {
			char *why = text_equal(c->servers[k].name, server)
					    ? NULL
					    : cannot_read(&c->servers[k], &status->canaries[i]);
			if (why)
				return why;
		}
	return NULL;
}

/* When the first of the canaries was. */
static uint64_t first_written(const struct controller *c)
{
	uint64_t first = UINT64_MAX;
	for (size_t i = 0; i < c->server_count; i++)
		first = c->servers[i].written_at < first ? c->servers[i].written_at : first;
	return first;
}

/* What the agents saw of silence is a little older than the canaries: they settle what is seen up to them. */
static bool seen_since_canaries(const struct controller *c)
{
	bool all = c->seen.quiet_since > 0;
	for (size_t i = 0; all && i < c->server_count; i++) {
		const struct fleet_server *server = fleet_find(&c->fleet, c->servers[i].name);
		all = server && (fleet_seen_until(server) >= first_written(c) ||
				 fleet_seen_since_order(server, c->canary.epoch, c->canary.sequence));
	}
	return all;
}

/* Of canaries that every server reads. New string, or NULL: there is nothing wrong with them. */
static char *wrong_key(const struct decision *d, bool settled, const char *other)
{
	if (d->phase == PHASE_SETTLE)
		return settled ? NULL : xstrdup("a canary is under another key than the configuration writes with");
	return other ? xasprintf("the canary of %s is under another key than the configuration writes with, or than "
				 "its KMS "
				 "plugin names",
				 other)
		     : NULL;
}

static void take_canaries(struct controller *c, const struct decision *d, const struct key_server_status *status)
{
	bool settled = true;
	const char *other = NULL; /* whose canary is under a key that it should not be under */
	_cleanup_free_ char *unread = NULL;
	for (size_t i = 0; i < c->server_count; i++) {
		struct directed *server = &c->servers[i];
		server->canary_step = found_step(c, status, server->name);
		if (server->canary_step != STEP_NONE && !unread)
			unread = controller_unread(c, status, server->name);
		if (unread)
			server->canary_step = STEP_NONE;
		bool shown = server->canary_step == d->step || server->canary_step == d->step + 1;
		if (!shown && !other && canary_possible(c->path))
			other = server->name;
		server->canary_at = server->written_at;
		server->canary_process = server->written_process;
		settled = settled && (server->canary_step == d->step || !canary_possible(c->path));
	}
	if (d->phase == PHASE_SETTLE && settled) {
		c->history_ended_at = 0; /* of what was settled before */
		c->settled_began = c->seen.quiet_since;
		c->settled_ended = c->seen.quiet_since ? first_written(c) : 0;
		free(c->settled_members);
		c->settled_members = controller_members(c);
		controller_keep_settled_canaries(c);
	}
	c->canaries_failed = other != NULL;
	_cleanup_free_ char *wrong = wrong_key(d, settled, other);
	controller_trouble(c, unread ? unread : wrong);
	controller_kms_take_canaries(c);
	if (unread)
		controller_trouble(c, unread);
}

char *controller_canaries_differ(const struct controller *c)
{
	for (size_t i = 1; i < c->server_count; i++)
		for (size_t s = 0; s < c->server_count; s++)
			if (found_step(c, controller_status(c, i), c->servers[s].name) !=
			    found_step(c, controller_status(c, 0), c->servers[s].name))
				return xasprintf(
					"the agents of %s and of %s do not agree on what key the canary of %s is under",
					c->servers[0].name, c->servers[i].name, c->servers[s].name);
	return NULL;
}

static int put_canaries(struct controller *c, const struct decision *d, struct error **err)
{
	_cleanup_error_ failed = NULL;
	bool sent;
	int rc = 0;
	uint64_t now = clock_monotonic();
	/* Each try is a write; a server may take a minute to adopt another key. */
	bool slowly = (path_follows_kms(c->path) && d->reason == REASON_CANARY_MISSING) || c->canaries_failed;
	if (slowly && d->phase != PHASE_SETTLE && now < c->canaries_put_at + CANARY_INTERVAL)
		return 0;
	c->canaries_put_at = now;
	controller_forget_canaries(c);
	controller_kms_before_canaries(c);
	for (size_t i = 0; rc == 0 && i < c->server_count; i++)
		rc = put_canary(c, i, d->step, &failed);
	if (rc < 0) {
		controller_trouble(c, error_message(failed)); /* a refusal is a wait */
		return rc == -ERROR_INTERRUPTED ? error_set(err, ERROR_INTERRUPTED, "interrupted") : 0;
	}
	rc = order(c, d, &sent, err);
	if (rc == 0 && sent) {
		c->canary.sequence = c->fence.sequence;
		c->canary.epoch = c->fence.epoch;
	}
	return rc;
}

static int canary(struct controller *c, const struct decision *d, struct error **err)
{
	if (c->canary.sequence == 0 || c->canary.epoch != c->fence.epoch)
		return put_canaries(c, d, err);
	bool all = true;
	for (size_t i = 0; i < c->server_count; i++) {
		if (controller_awaits(c, i, ORDER_FIND_CANARY, c->canary.epoch, c->canary.sequence)) {
			all = false;
			continue;
		}
		/* Refused, lost, or never asked: a server joined, or its order was withdrawn for another one's sake. */
		if (controller_outcome(c, i, ORDER_FIND_CANARY, c->canary.epoch, c->canary.sequence) != OUTCOME_OK) {
			controller_tell_results(c);
			controller_forget_canaries(c);
			return 0;
		}
	}
	if (!all || (d->phase == PHASE_SETTLE && !seen_since_canaries(c)))
		return 0;
	_cleanup_free_ char *differ = controller_canaries_differ(c);
	if (differ) {
		controller_trouble(c, differ);
	} else {
		take_canaries(c, d, controller_status(c, 0));
		c->due = 0;
	}
	controller_forget_canaries(c);
	return 0;
}

/* --- what needs the API alone --- */

/* The rotation as it is now: changed by a person, or by what we told. Under another epoch, or another uid, it is no more
 * ours, and what we had read stays: nothing can be applied on top of that. */
static bool take_rotation(struct controller *c, const cJSON *json)
{
	struct key_rotation *now = NULL;
	if (key_rotation_parse(json, &now, NULL) < 0)
		return false;
	bool ours = text_equal(now->meta.uid, c->rotation->meta.uid) &&
		    now->status.epoch == c->rotation->status.epoch && !now->status.outcome && !now->meta.deleting;
	if (ours) {
		key_rotation_free(c->rotation);
		c->rotation = steal(now);
	}
	key_rotation_free(now);
	return ours;
}

static void on_read_again(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct controller *c = arg;
	(void)status; /* any other error: it is read at the next telling */
	bool gone = rc == -ERROR_NOT_FOUND && !error_hint(*error);
	c->superseded = gone || (rc == 0 && !take_rotation(c, *answer));
	c->telling = NULL;
	c->told = true;
}

static struct kube_custom_request read_request(const struct controller *c)
{
	return (struct kube_custom_request){.verb = CUSTOM_GET,
					    .collection = KEY_ROTATIONS_PATH,
					    .name = c->rotation->meta.name,
					    .timeout = TELLING_TIMEOUT};
}

/* What a person asks for meanwhile is obeyed, whatever keeps the telling. */
static void read_again(struct controller *c)
{
	struct kube_custom_request request = read_request(c);
	request.on_done = on_read_again;
	request.arg = c;
	c->told = false;
	c->telling = kube_custom_start(&c->options->cluster->kube, &request);
}

static void on_told(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct controller *c = arg;
	(void)status, (void)error; /* progress: the next one tells more */
	c->telling = NULL;
	c->told = true;
	if (rc == 0) {
		c->superseded = !take_rotation(c, *answer);
		return;
	}
	read_again(c);
}

static enum hold sweep_held(const struct controller *c)
{
	return controller_hold(c->rotation, &c->seen, c->sweeping, clock_wall());
}

/* By reports that are read beside the sweep. */
static char *no_room(void *arg)
{
	const struct controller *c = arg;
	return fleet_room(&c->fleet, &c->written, clock_monotonic());
}

static void on_reports(void *arg, int rc)
{
	struct controller *c = arg;
	c->reading = NULL;
	if (rc < 0)
		return; /* the next one tells */
	fleet_written_see(&c->written, &c->fleet, clock_monotonic());
	controller_kms_look(c);
}

/* So that reports are fresh when it ends, and not as old as it. */
static void read_reports(struct controller *c)
{
	uint64_t now = clock_monotonic();
	if (c->reading || now < c->reading_since + REPORTS_INTERVAL)
		return;
	c->reading_since = now;
	c->reading = fleet_read_start(&c->fleet, &c->options->cluster->kube, TELLING_TIMEOUT, on_reports, c);
}

/* On the very object that was read, as everything that is told: a leader that was stopped must not undo the next one's
 * epoch. */
static void show_progress(void *arg, const struct sweep_progress *progress)
{
	struct controller *c = arg;
	struct key_rotation_status *status = &c->rotation->status;
	_cleanup_free_ char *body = NULL;
	fleet_written_add(&c->written, (struct fleet_bytes){progress->bytes_rewritten, progress->bytes_most},
			  clock_monotonic());
	read_reports(c);
	joiners_look(&c->joiners, clock_monotonic());
	status->progress.total = progress->total;
	status->progress.done = progress->done;
	status->progress.per_second = progress->per_second;
	status->progress.eta_seconds = (progress->eta + NS_PER_S / 2) / NS_PER_S;
	free(status->progress.namespace_);
	status->progress.namespace_ = progress->namespace_ ? xstrdup(progress->namespace_) : NULL;
	if (c->telling || c->superseded || clock_monotonic() < c->told_at + PROGRESS_INTERVAL || !controller_leads(c))
		return;
	c->told_at = clock_monotonic();
	_cleanup_free_ char *full = no_room(c);
	if (!c->sweep_waits)
		controller_trouble(c, full);
	controller_tell_sweep(c, sweep_held(c));
	if (key_rotation_status_body(c->rotation, &body, NULL) < 0) {
		read_again(c);
		return;
	}
	c->told = false;
	c->telling = kube_custom_start(&c->options->cluster->kube,
				       &(struct kube_custom_request){.verb = CUSTOM_APPLY,
								     .collection = KEY_ROTATIONS_PATH,
								     .name = c->rotation->meta.name,
								     .subresource = "status",
								     .body = body,
								     .timeout = TELLING_TIMEOUT,
								     .on_done = on_told,
								     .arg = c});
}

static void show_note(void *arg, const char *text)
{
	controller_note(arg, "%s", text);
}

static struct throttle_options speed_asked(const struct key_rotation_spec *spec)
{
	return (struct throttle_options){.qps = spec->qps, .concurrency = (unsigned)spec->concurrency};
}

static enum sweep_wish wish(void *arg, struct throttle_options *speed)
{
	struct controller *c = arg;
	*speed = speed_asked(&c->rotation->spec);
	if (c->superseded || (c->gives_up_sweep && c->rotation->spec.aborted) || !controller_leads(c))
		return SWEEP_GIVE_UP;
	enum sweep_wish wish = controller_sweep_wish(c);
	return wish == SWEEP_GO_ON && sweep_held(c) ? SWEEP_HOLD : wish;
}

/* What is under way may change the object that is told of next; and so may anybody: what the sweep came to is told on
 * the object as it is now. */
static void finish_telling(struct controller *c)
{
	_cleanup_error_ failed = NULL;
	_cleanup_json_ json = NULL;
	int rc = 0;
	while (rc == 0 && c->telling)
		rc = loop_run_until(c->options->cluster->loop, &c->told, 0, NULL);
	kube_custom_cancel(steal(c->telling));
	const struct kube_custom_request request = read_request(c); /* of the rotation that was taken meanwhile */
	if (rc == 0 && kube_custom_fetch(&c->options->cluster->kube, &request, &json, &failed) == 0)
		(void)take_rotation(c, json);
	if (failed)
		controller_note(c, "what became of the rotation during the sweep was not read: %s",
				error_message(failed));
	c->told_at = 0; /* at once */
}

static void take_quarantine(struct controller *c, const struct sweep_result *result)
{
	struct key_rotation_status *status = &c->rotation->status;
	object_release_list(&key_rotation_quarantined_record, status->quarantined.items,
			    status->quarantined.item_count);
	status->quarantined.items = xcalloc(result->quarantine_named + 1, sizeof(*status->quarantined.items));
	status->quarantined.item_count = 0;
	status->quarantined.count = result->quarantined;
	for (size_t i = 0; i < result->quarantine_named && i < KEY_ROTATION_QUARANTINE_MAX; i++) {
		const struct sweep_quarantined *object = &result->quarantine[i];
		status->quarantined.items[status->quarantined.item_count++] =
			(struct key_rotation_quarantined){.resource = xstrdup(object->resource->resource),
							  .namespace_ = xstrdup(object->namespace_),
							  .name = xstrdup(object->name),
							  .why = xstrdup(object->why)};
	}
}

/* The last that the sweep said of its progress was lost where an older telling was still under way: it was for the object
 * as it was before that was answered. */
static void take_progress(struct controller *c, const struct sweep_result *result)
{
	struct key_rotation_status *status = &c->rotation->status;
	if (result->finished == 0)
		return;
	status->progress.total = status->progress.done = result->objects;
	status->progress.eta_seconds = 0;
	free(steal(status->progress.namespace_));
}

/* What the API serves now: since this process began, a CRD may have come. *ret_known: it could be told. */
static int refresh_resources(struct controller *c, bool *ret_known, struct error **err)
{
	_cleanup_error_ failed = NULL;
	bool changed = false;
	int rc = cluster_refresh_resources(c->options->cluster, &changed, &failed);
	*ret_known = rc == 0;
	if (rc < 0)
		controller_trouble(c, error_message(failed));
	return rc == -ERROR_INTERRUPTED ? error_set(err, ERROR_INTERRUPTED, "interrupted") : 0;
}

static int reencrypt(struct controller *c, const struct decision *d, struct error **err)
{
	const struct key_rotation_spec *spec = &c->rotation->spec;
	size_t count = 0;
	bool known = false;
	struct kube *kube = controller_sweeps_through(c);
	int rc = refresh_resources(c, &known, err);
	if (rc < 0 || !known || !kube)
		return rc;
	_cleanup_free_ const struct kube_resource **resources =
		sweep_resources(c->path->steps[d->step], &c->options->cluster->resources, &count);
	struct sweep_result *result = NULL;
	_cleanup_error_ failed = NULL;
	_cleanup_free_ uint64_t *skip_above = xcalloc(count, sizeof(*skip_above));
	for (size_t i = 0; i < count; i++)
		skip_above[i] = controller_skip_above(c, d, resources[i]->resource);
	const struct sweep_options options = {
		.loop = c->options->cluster->loop,
		.kube = kube,
		.resources = resources,
		.resource_count = count,
		.mode = text_equal(spec->mode, "patch") ? SWEEP_PATCH : SWEEP_REPLACE,
		.speed = speed_asked(spec),
		.skip_above = skip_above,
		.watch_kms = config_shape_has_kms(c->path->steps[d->step]),
		.proved_afterwards = !d->named_only,
		.web = c->options->web,
		.no_room = no_room,
		.wish = wish,
		.on_progress = show_progress,
		.on_note = show_note,
		.arg = c,
	};
	if (!fleet_room_is_told(&c->fleet))
		controller_note(c, "no agent tells how full etcd is: rewriting does not pause where it fills");
	c->superseded = false;
	fleet_written_begin(&c->written, clock_monotonic());
	c->sweeping = d;
	c->gives_up_sweep = !spec->aborted;
	controller_sweep_begins(c);
	rc = sweep_run(&options, &result, &failed);
	c->sweeping = NULL;
	fleet_read_cancel(steal(c->reading));
	joiners_end(&c->joiners);
	finish_telling(c);
	if (result) {
		c->due = rc == 0 ? 0 : c->due;
		c->sweep = (struct sweep_observation){.step = d->step,
						      .begun = result->begun,
						      .finished = result->finished,
						      .rewritten = result->rewritten,
						      .quarantined = result->quarantined,
						      .skipped = result->objects - result->rewritten};
		take_quarantine(c, result);
		take_progress(c, result);
	}
	sweep_result_free(result);
	/* One that was given up: the next look tells why. */
	c->due = rc == -ERROR_CONFLICT ? 0 : c->due;
	controller_trouble(c, rc < 0 && rc != -ERROR_CONFLICT ? error_message(failed) : NULL);
	return rc == -ERROR_INTERRUPTED ? error_set(err, ERROR_INTERRUPTED, "interrupted") : 0;
}

static int read_sample(struct controller *c, const struct decision *d, struct error **err)
{
	size_t count = 0;
	struct read_back_result result;
	_cleanup_error_ failed = NULL;
	_cleanup_free_ const struct kube_resource **resources =
		sweep_resources(c->path->steps[d->step], &c->options->cluster->resources, &count);
	uint64_t began = clock_monotonic();
	int rc = read_back(&c->options->cluster->kube, resources, count, &result, &failed);
	controller_trouble(c, rc < 0 ? error_message(failed) : NULL);
	if (rc < 0)
		return rc == -ERROR_INTERRUPTED ? error_set(err, ERROR_INTERRUPTED, "interrupted") : 0;
	c->reads_checked_at = began;
	c->due = 0;
	_cleanup_free_ char *line =
		xasprintf("%llu objects in %llu namespaces read back past every cache",
			  (unsigned long long)result.objects, (unsigned long long)result.namespaces);
	strings_add(&c->rotation->status.evidence, line);
	c->told_at = 0; /* at once: the next turn reads the object again */
	return 0;
}

/* What each agent says of the old keys on its node. Of a disk that nobody looks at, nothing is known. */
static void tell_remains(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	strings_free(&status->remains);
	for (size_t i = 0; i < c->server_count; i++) {
		_cleanup_free_ char *places = strings_join(&controller_status(c, i)->remains, "; ");
		_cleanup_free_ char *line = xasprintf("%s: %s", c->servers[i].name, places);
		if (*places)
			strings_add(&status->remains, line);
	}
	for (size_t i = 0; i < status->server_count; i++) {
		const char *name = status->servers[i].name;
		_cleanup_free_ char *line = xasprintf("%s: it was forgotten, and its disk may hold old keys", name);
		if (status->servers[i].forgotten && status->old_key_count > 0)
			strings_add(&status->remains, line);
	}
}

/* What came of it is told, too. */
static int order_one(struct controller *c, const struct decision *d, struct error **err)
{
	bool sent;
	int rc = order(c, d, &sent, err);
	if (rc == 0 && sent)
		controller_tell_results(c);
	return rc;
}

static int retire(struct controller *c, const struct decision *d, struct error **err)
{
	bool all = c->server_count > 0;
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_spec *was = &c->servers[i].sent;
		all = all && text_equal(was->action, order_action_name(ORDER_RETIRE)) && was->epoch == c->fence.epoch &&
		      controller_outcome(c, i, ORDER_RETIRE, was->epoch, was->sequence) == OUTCOME_OK;
	}
	if (!all)
		return order_one(c, d, err);
	tell_remains(c);
	c->kms_retired_at = c->kms_adopted_at;
	c->rotation->status.retired = true;
	c->due = 0;
	return controller_apply(c, err);
}

/* A key that an older file brought back after it was retired is saved once more by the agent that drops it, and is to be retired
 * again: before that is ordered. */
static int retire_again(struct controller *c, const struct decision *d, struct error **err)
{
	bool drops = d->action == ACTION_WRITE_STEP && d->to_step == d->step + 1 && d->step >= 0 &&
		     path_drops(c->path, (size_t)d->step);
	if (!drops || !c->rotation->status.retired)
		return 0;
	c->rotation->status.retired = c->seen.retired = false;
	return controller_apply(c, err);
}

static int order_step(struct controller *c, const struct decision *d, struct error **err)
{
	int rc = retire_again(c, d, err);
	return rc < 0 ? rc : order_one(c, d, err);
}

/* An agent that does not follow this rotation yet, since its server joined or its state is new, learns of it by an order,
 * were it none: until then nothing that it reports counts. */
static int introduce(struct controller *c, const struct decision *d, struct error **err)
{
	int rc = 0;
	bool sent;
	for (size_t i = 0; rc == 0 && i < c->server_count; i++) {
		const struct key_server_status *status = controller_status(c, i);
		if (!status ||
		    (text_equal(status->path_of, c->fence_rotation) && text_equal(status->rotation, c->fence_rotation)))
			continue;
		rc = c->fence.epoch == 0 ? order(c, d, &sent, err) : send_none(c, i, err);
	}
	return rc;
}

int controller_act(struct controller *c, const struct decision *d, struct error **err)
{
	switch (d->action) {
	case ACTION_WRITE_STEP:
		return order_step(c, d, err);
	case ACTION_RESTART:
	case ACTION_COMPACT:
		return order_one(c, d, err);
	case ACTION_CANARY:
		return canary(c, d, err);
	case ACTION_CENSUS:
		return census(c, d, err);
	case ACTION_REENCRYPT:
		return reencrypt(c, d, err);
	case ACTION_READ_BACK:
		return read_sample(c, d, err);
	case ACTION_RETIRE:
		return retire(c, d, err);
	case ACTION_WAIT:
	case ACTION_BLOCKED: /* by what one that is not introduced reports, perhaps */
		return introduce(c, d, err);
	case ACTION_DONE:
		break;
	}
	return 0;
}
