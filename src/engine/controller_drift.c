/* While nothing is rotated: one agent takes a census now and then, and what it found is told, on the last rotation that ended
 * and to monitoring. Nothing is rewritten: that is a person's word. */
#include "engine/controller_internal.h"

#define PATIENCE (15 * 60 * NS_PER_S) /* for an answer, before another agent is asked */
#define RETRY (60 * NS_PER_S)         /* after a census that is not complete, or could not be judged */
#define SILENT (30 * NS_PER_S)        /* three turns without a new report */

static bool can_answer(const struct fleet_server *server, uint64_t now)
{
	const struct key_server_status *status = &server->last->status;
	/* Of the first report that is read nobody knows how old it is. */
	return status->beat > 0 && status->answering && status->configuration && server->landed_after &&
	       now <= server->beat_read_at + SILENT;
}

/* The next one that can; none is asked twice in a row where another can answer. */
static const struct fleet_server *choose(const struct controller *c, uint64_t now)
{
	size_t first = 0;
	for (size_t i = 0; i < c->fleet.count; i++)
		if (text_equal(c->fleet.servers[i].last->meta.name, c->drift.server))
			first = i + 1;
	for (size_t i = 0; i < c->fleet.count; i++) {
		const struct fleet_server *server = &c->fleet.servers[(first + i) % c->fleet.count];
		if (can_answer(server, now))
			return server;
	}
	return NULL;
}

/* Never one that was used: an order leaves none in the spec, and an agent remembers the last. */
static uint64_t next_number(const struct controller *c)
{
	uint64_t highest = clock_wall() / NS_PER_S;
	for (size_t i = 0; i < c->fleet.count; i++)
		if (c->fleet.servers[i].last->spec.ask_census > highest)
			highest = c->fleet.servers[i].last->spec.ask_census;
	return highest + 1;
}

/* On the very object that was read: what was ordered before stays as it is. */
static int ask(struct controller *c, const struct fleet_server *server, struct error **err)
{
	struct key_server_spec spec = server->last->spec; /* lent */
	_cleanup_free_ char *body = NULL;
	spec.ask_census = next_number(c);
	if (!controller_leads(c))
		return error_set(err, ERROR_CONFLICT, "the Lease was lost");
	int rc = object_body("KeyServer", &server->last->meta, "spec", &key_server_spec_record, &spec, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {
		.verb = CUSTOM_APPLY, .collection = KEY_SERVERS_PATH, .name = server->last->meta.name, .body = body};
	rc = kube_custom_fetch(&c->options->cluster->kube, &request, NULL, err);
	if (rc == -ERROR_CONFLICT)
		return error_forgive(err, rc, ERROR_CONFLICT); /* it has just reported: in the next turn */
	if (rc < 0)
		return rc;
	replace_text(&c->drift.server, server->last->meta.name);
	c->drift.number = spec.ask_census;
	c->drift.asked_at = clock_monotonic();
	return 0;
}

/* --- what came of it --- */

/* Since when, if another leader told it before. */
static uint64_t told_since(const struct controller *c, uint64_t now)
{
	const struct key_rotation_condition *current =
		c->last ? key_rotation_condition(&c->last->status, "Current") : NULL;
	uint64_t since, wall = clock_wall();
	bool told = current && (text_equal(current->reason, "Stale") || text_equal(current->reason, "Unreadable"));
	if (!told || !current->last_transition_time || clock_parse(current->last_transition_time, &since) < 0 ||
	    since > wall || wall - since > now)
		return now;
	return now - (wall - since);
}

static void take_times(struct controller *c, uint64_t now)
{
	struct controller_drift *drift = &c->drift;
	if (!drift->seen.complete)
		return;
	if (drift->found.stale > 0 && drift->since == 0)
		drift->since = told_since(c, now);
	if (drift->found.stale == 0 && !drift->found.unknown && drift->since != 0) {
		drift->ended++;
		drift->ended_ns += now - drift->since;
		drift->since = 0;
	}
}

static int tell(struct controller *c, struct error **err)
{
	const struct controller_drift *drift = &c->drift;
	bool good = drift->seen.complete && !drift->found.unknown && drift->found.stale == 0 &&
		    drift->found.unreadable == 0;
	const char *reason = !drift->seen.complete         ? "CensusIncomplete"
			     : drift->found.unreadable > 0 ? "Unreadable"
			     : drift->found.stale > 0      ? "Stale"
			     : drift->found.unknown        ? "CensusIncomplete"
							   : "UnderWriteKeys";
	_cleanup_free_ char *words = drift->seen.complete ? drift_words(&drift->found)
							  : xasprintf("not every value could be read: %s",
								      drift->seen.why ? drift->seen.why : "?");
	int rc = 0;
	if (c->last && condition_set(c->last, "Current", good, reason, words, clock_wall()))
		rc = controller_apply_to(c, c->last, err);
	if (rc == 0 && !good)
		controller_note(c, "census by %s: %s", drift->server, words);
	return rc;
}

static int take(struct controller *c, const struct key_server_status *status, struct error **err)
{
	struct controller_drift *drift = &c->drift;
	uint64_t now = clock_monotonic(), age = status->census.finished_age_milliseconds * NS_PER_MS;
	census_observation_free(&drift->seen);
	drift_free(&drift->found);
	drift->seen = (struct census_observation){.complete = status->census.complete,
						  .revision = status->census.revision,
						  .does_not_open = status->census.does_not_open,
						  .finished = now > age ? now - age : 1,
						  .why = status->census.why ? xstrdup(status->census.why) : NULL};
	controller_take_groups(status, &drift->seen);
	drift_find(&drift->seen, status, &drift->found);
	take_times(c, now);
	int rc = tell(c, err);
	if (rc < 0)
		return rc; /* in the next turn: the answer is there as long as nobody is asked again */
	drift->number = 0;
	bool judged = drift->seen.complete && !drift->found.unknown;
	drift->next_at = now + (judged ? c->options->census_interval : RETRY);
	return 0;
}

int controller_watch_drift(struct controller *c, struct error **err)
{
	struct controller_drift *drift = &c->drift;
	uint64_t now = clock_monotonic();
	if (c->options->census_interval == 0)
		return 0;
	if (drift->number) {
		const struct fleet_server *asked = fleet_find(&c->fleet, drift->server);
		if (asked && asked->last->status.census.asked == drift->number && asked->last->status.configuration)
			return take(c, &asked->last->status, err);
		if (asked && now < drift->asked_at + PATIENCE)
			return 0;
		controller_note(c, "%s has not answered with a census: another agent is asked", drift->server);
		drift->number = 0;
	}
	const struct fleet_server *server = now >= drift->next_at ? choose(c, now) : NULL;
	return server ? ask(c, server, err) : 0;
}

/* What is rotated is found anew afterwards. */
void controller_leave_drift(struct controller *c)
{
	c->drift.number = 0;
	c->drift.next_at = 0;
	census_observation_free(&c->drift.seen);
	drift_free(&c->drift.found);
}

void controller_drift_free(struct controller *c)
{
	controller_leave_drift(c);
	free(c->drift.server);
	key_rotation_free(c->last);
}
