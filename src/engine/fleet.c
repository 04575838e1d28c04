#include "engine/fleet.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/kube/custom.h"
#include "engine/quiet.h"

#define MS UINT64_C(1000000)
#define MEMBER_LOOK UINT64_C(5000000000) /* ns: an agent whose etcd was not silent has asked each member within this */

static void server_free(struct fleet_server *server)
{
	key_server_free(server->last);
	*server = (struct fleet_server){0};
}

void fleet_free(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		server_free(&fleet->servers[i]);
	free(fleet->servers);
	*fleet = (struct fleet){0};
}

struct fleet_server *fleet_find(const struct fleet *fleet, const char *name)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (text_equal(fleet->servers[i].last->meta.name, name))
			return &fleet->servers[i];
	return NULL;
}

static bool same_report(const struct key_server_status *a, const struct key_server_status *b)
{
	return a->beat == b->beat && text_equal(a->incarnation, b->incarnation) &&
	       text_equal(a->heartbeat, b->heartbeat);
}

static bool says_the_same(const struct key_server_status *a, const struct key_server_status *b)
{
	return a->loaded_is_file && b->loaded_is_file && a->process == b->process && a->reloads == b->reloads &&
	       text_equal(a->file_hash, b->file_hash) && text_equal(a->loaded_hash, b->loaded_hash) &&
	       text_equal(a->incarnation, b->incarnation);
}

static uint64_t before(uint64_t at, uint64_t milliseconds)
{
	return milliseconds < at / MS ? at - milliseconds * MS : 0;
}

/* A report that the list before did not have was written after that list was asked for, and was made before that by as long as
 * it was on its way. That is bounded where it can be told: an agent makes one report after another, so this one was made
 * after the last one was answered, which we had read not long before. It cannot be told of one that overtook another or was
 * overtaken, that follows one which nobody answered, or that is another process's: a write that hangs in etcd may land
 * minutes later. */
static bool is_prompt(const struct fleet_server *last, const struct key_server_status *status, uint64_t list_before)
{
	const struct key_server_status *was = &last->last->status;
	/* Of two processes of one agent the clock of its node tells. */
	bool earlier = was->heartbeat && status->heartbeat && strcmp(status->heartbeat, was->heartbeat) < 0;
	return text_equal(was->incarnation, status->incarnation) && was->beat < status->beat && !earlier &&
	       was->beat > status->lost_beat && list_before <= last->beat_read_at + FLEET_SILENCE;
}

/* Then its look is as old as it says; and it was written before this list was answered, which may be long after that one
 * before was asked for. */
static void take_report(struct fleet_server *now, const struct fleet_server *last, uint64_t list_before,
			uint64_t answered_at)
{
	const struct key_server_status *status = &now->last->status;
	if (last && same_report(&last->last->status, status)) {
		now->looked_at = last->looked_at;
		now->etcd_asked_at = last->etcd_asked_at;
		now->sizes_at = last->sizes_at;
		now->landed_after = last->landed_after;
		now->beat_read_at = last->beat_read_at;
		now->loaded_since = last->loaded_since;
		return;
	}
	bool prompt = last && is_prompt(last, status, list_before);
	now->beat_read_at = answered_at;
	now->looked_at = prompt ? before(list_before, status->observed_age_milliseconds) : 0;
	now->sizes_at = prompt && status->etcd_size_age_milliseconds
				? before(list_before, status->etcd_size_age_milliseconds)
				: 0;
	/* Counted from the report before, after which this one was made: to write one may take long, just when etcd is slow. */
	now->landed_after = last ? list_before : 0;
	now->etcd_asked_at = prompt && last->landed_after && status->etcd_age_milliseconds
				     ? before(last->landed_after, status->etcd_age_milliseconds)
				     : 0;
	bool goes_on = last && last->loaded_since != 0 && says_the_same(&last->last->status, status);
	now->loaded_since = goes_on ? last->loaded_since : status->loaded_is_file ? answered_at : 0;
}

struct list {
	struct fleet *fleet, next;
};

static int take_item(void *arg, const cJSON *item, struct error **err)
{
	struct list *list = arg;
	struct key_server *server = NULL;
	int rc = key_server_parse(item, &server, err);
	if (rc < 0)
		return rc;
	list->next.servers = xreallocarray(list->next.servers, list->next.count + 1, sizeof(*list->next.servers));
	struct fleet_server *next = &list->next.servers[list->next.count++];
	*next = (struct fleet_server){.last = server};
	take_report(next, fleet_find(list->fleet, server->meta.name), list->fleet->read_at, clock_monotonic());
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct fleet_server *)a)->last->meta.name,
		      ((const struct fleet_server *)b)->last->meta.name);
}

static void take_list(struct list *list, int rc)
{
	if (rc < 0) {
		fleet_free(&list->next);
		return;
	}
	if (list->next.count > 1)
		qsort(list->next.servers, list->next.count, sizeof(*list->next.servers), by_name);
	fleet_free(list->fleet);
	*list->fleet = list->next;
}

int fleet_read(struct fleet *fleet, struct kube *kube, struct error **err)
{
	struct list list = {.fleet = fleet, .next = {.read_at = clock_monotonic()}};
	int rc = kube_custom_list(kube, KEY_SERVERS_PATH, KEY_SERVERS_MAX, take_item, &list, NULL, err);
	take_list(&list, rc);
	return rc;
}

struct fleet_reading {
	struct list list;
	struct kube_custom_listing *listing;
	void (*on_done)(void *arg, int rc);
	void *arg;
};

static int take_read_item(void *arg, const cJSON *item, struct error **err)
{
	struct fleet_reading *reading = arg;
	return take_item(&reading->list, item, err);
}

static void on_read(void *arg, int rc, const struct error *error)
{
	struct fleet_reading *reading = arg;
	(void)error;
	take_list(&reading->list, rc);
	void (*on_done)(void *, int) = reading->on_done;
	void *its = reading->arg;
	free(reading);
	on_done(its, rc);
}

struct fleet_reading *fleet_read_start(struct fleet *fleet, struct kube *kube, uint64_t timeout,
				       void (*on_done)(void *arg, int rc), void *arg)
{
	struct fleet_reading *reading = xcalloc(1, sizeof(*reading));
	*reading = (struct fleet_reading){
		.list = {.fleet = fleet, .next = {.read_at = clock_monotonic()}}, .on_done = on_done, .arg = arg};
	reading->listing = kube_custom_list_start(kube, KEY_SERVERS_PATH, KEY_SERVERS_MAX, timeout, take_read_item,
						  on_read, reading);
	return reading;
}

void fleet_read_cancel(struct fleet_reading *reading)
{
	if (!reading)
		return;
	kube_custom_list_cancel(reading->listing);
	fleet_free(&reading->list.next);
	free(reading);
}

/* One that came lately, and does not show how it is now. */
static char *why_old(const struct fleet_server *server, uint64_t now)
{
	if (server->looked_at == 0)
		return xstrdup(
			"how old the last report of the agent on its node is cannot be told; the next one is waited "
			"for");
	_cleanup_free_ char *age = text_human_duration(now - server->looked_at);
	return xasprintf("what the agent on its node told last was seen %s ago", age);
}

static char *why_silent(const struct fleet_server *server, uint64_t now)
{
	if (!server || server->last->status.beat == 0)
		return xstrdup("no agent has reported from its node");
	if (server->landed_after && now <= server->beat_read_at + FLEET_SILENCE)
		return why_old(server, now);
	_cleanup_free_ char *age = text_human_duration(now - server->beat_read_at);
	/* How old the first report is that this process has read nobody knows. */
	return server->landed_after ? xasprintf("the agent on its node has not reported for %s", age)
				    : xasprintf("the agent on its node has not reported since this process reads its "
						"reports, for %s",
						age);
}

static void take_file(const struct key_server_status *status, struct server_observation *ret)
{
	ret->file = status->file_hash ? FACT_KNOWN : FACT_UNKNOWN;
	ret->file_hash = status->file_hash ? xstrdup(status->file_hash) : NULL;
	ret->file_step = status->file_hash ? status->file_step : STEP_NONE;
	ret->file_ours = status->file_ours;
	ret->written_step = status->written_step;
}

static void take_loaded(const struct fleet_server *server, struct server_observation *ret)
{
	const struct key_server_status *status = &server->last->status;
	bool known = status->loaded_hash || status->loaded_step != STEP_NONE;
	ret->loaded = known ? FACT_KNOWN : FACT_UNKNOWN;
	ret->loaded_step = status->loaded_step;
	ret->loaded_hash = status->loaded_hash ? xstrdup(status->loaded_hash) : NULL;
	ret->loaded_is_file = status->loaded_is_file;
	ret->evidence = text_equal(status->evidence, "hash") ? LOADED_BY_HASH : LOADED_BY_RELOADS;
	ret->process = status->process;
	ret->loaded_since = ret->writes_since = server->loaded_since;
	ret->refuses_file = status->refuses_file;
	ret->refused_before = status->refused_before;
	ret->needs_second_nonce = status->needs_second_nonce;
	ret->restarts = text_equal(status->apply, "static-pod");
	ret->reloads_itself = !ret->restarts;
	ret->restarting = status->restarting;
}

bool fleet_is_fresh(const struct fleet_server *server, uint64_t now)
{
	return server && server->looked_at && now <= server->looked_at + FLEET_SILENCE;
}

bool fleet_may_be_fresh(const struct fleet_server *server, uint64_t now)
{
	return server && server->last->status.beat &&
	       now <= before(server->beat_read_at, server->last->status.observed_age_milliseconds) + FLEET_SILENCE;
}

uint64_t fleet_seen_until(const struct fleet_server *server)
{
	if (server->etcd_asked_at == 0) /* an agent of another version does not tell */
		return server->looked_at > MEMBER_LOOK ? server->looked_at - MEMBER_LOOK : 0;
	return server->etcd_asked_at < server->looked_at ? server->etcd_asked_at : server->looked_at;
}

/* Names need not be unique: the nth of its name. */
static struct member_observation *find_member(const struct observation *seen, const char *name, size_t nth)
{
	for (size_t i = 0; i < seen->member_count; i++)
		if (text_equal(seen->members[i].name, name) && nth-- == 0)
			return &seen->members[i];
	return NULL;
}

/* Behind those of its name. */
static struct member_observation *insert_member(struct observation *seen, const char *name)
{
	size_t at = 0;
	while (at < seen->member_count && strcmp(seen->members[at].name, name) <= 0)
		at++;
	seen->members = xreallocarray(seen->members, seen->member_count + 1, sizeof(*seen->members));
	memmove(&seen->members[at + 1], &seen->members[at], (seen->member_count++ - at) * sizeof(*seen->members));
	seen->members[at] = (struct member_observation){.name = xstrdup(name), .learner = true, .answering = true};
	return &seen->members[at];
}

static void add_member(const char *server, const struct key_server_member *member, size_t nth, struct observation *seen)
{
	const char *name = member->name ? member->name : "";
	struct member_observation *known = find_member(seen, name, nth);
	if (!known)
		known = insert_member(seen, name);
	known->learner = known->learner && member->learner;
	known->answering = known->answering && member->answering;
	if (!member->answering && !known->why)
		known->why = xasprintf("from %s: %s", server, member->why ? member->why : "no answer within 5 s");
}

void fleet_add_members(const struct fleet_server *server, struct observation *seen)
{
	const struct key_server_status *status = &server->last->status;
	for (size_t i = 0; i < status->member_count; i++) {
		size_t nth = 0;
		for (size_t k = 0; k < i; k++)
			nth += text_equal(status->members[k].name, status->members[i].name);
		add_member(server->last->meta.name, &status->members[i], nth, seen);
	}
	seen->members_known = FACT_KNOWN;
	seen->members_behind_balancer = seen->members_behind_balancer || status->members_behind_balancer;
}

bool fleet_seen_since_order(const struct fleet_server *server, uint64_t epoch, uint64_t sequence)
{
	const struct key_server_status *status = &server->last->status;
	uint64_t begun = status->done.begun_age_milliseconds;
	/* Ages of looks are rounded up by the agent, that of its beginning down. */
	return status->epoch == epoch && status->done.sequence == sequence && text_equal(status->done.result, "ok") &&
	       status->etcd_age_milliseconds > 0 && status->etcd_age_milliseconds <= begun &&
	       status->observed_age_milliseconds > 0 && status->observed_age_milliseconds <= begun;
}

uint64_t fleet_settle_time(const struct fleet *fleet, uint64_t request_timeout, bool behind_balancer)
{
	uint64_t longest = request_timeout;
	for (size_t i = 0; i < fleet->count; i++) {
		uint64_t milliseconds = fleet->servers[i].last->status.request_timeout_milliseconds;
		if (milliseconds < UINT64_MAX / MS && milliseconds * MS > longest)
			longest = milliseconds * MS;
	}
	return quiet_settle_time(longest, behind_balancer);
}

void fleet_observe(const struct fleet_server *server, const char *name, const char *rotation, bool goes_back,
		   uint64_t now, struct server_observation *ret)
{
	*ret = (struct server_observation){.name = xstrdup(name),
					   .file_step = STEP_NONE,
					   .loaded_step = STEP_NONE,
					   .written_step = STEP_NONE,
					   .canary_step = STEP_NONE,
					   .reloads_itself = true};
	bool silent = !fleet_is_fresh(server, now);
	if (!server) {
		ret->why = why_silent(server, now);
		return;
	}
	const struct key_server_status *status = &server->last->status;
	ret->looked_at = server->looked_at;
	ret->answering = !silent && status->answering;
	ret->version = status->version ? xstrdup(status->version) : NULL;
	ret->why = silent ? why_silent(server, now) : status->why ? xstrdup(status->why) : NULL;
	const char *why = !rotation                                ? NULL
			  : !text_equal(status->path_of, rotation) ? "the agent on its node has not taken up this "
								     "rotation yet"
			  : status->going_back != goes_back        ? "its agent counts steps the other way yet"
								   : NULL;
	if (why) {
		if (!ret->why)
			ret->why = xstrdup(why);
		return;
	}
	take_file(status, ret);
	take_loaded(server, ret);
}

static bool is_beyond(int step, size_t step_count)
{
	return step != STEP_NONE && (step < 0 || (size_t)step >= step_count);
}

void fleet_bound_steps(struct server_observation *seen, size_t step_count)
{
	if (is_beyond(seen->file_step, step_count) || is_beyond(seen->written_step, step_count)) {
		seen->file = FACT_UNKNOWN;
		seen->file_step = seen->written_step = STEP_NONE;
	}
	if (is_beyond(seen->loaded_step, step_count)) {
		seen->loaded = FACT_UNKNOWN;
		seen->loaded_step = STEP_NONE;
	}
}

struct agent_report fleet_report(const struct fleet_server *server)
{
	if (!server || server->last->status.beat == 0)
		return (struct agent_report){0};
	const struct key_server_status *status = &server->last->status;
	return (struct agent_report){.incarnation = status->incarnation,
				     .rotation = status->rotation,
				     .epoch = status->epoch,
				     .sequence = status->sequence,
				     .done = status->done.sequence,
				     .done_action = status->done.action,
				     .done_result = status->done.result,
				     .beat = status->beat,
				     .beat_read_at = server->beat_read_at};
}
