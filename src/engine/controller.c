/* Lead, read, look, decide, do one small step; again. */
#include "engine/controller_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "client/kube/refusals.h"
#include "engine/key_rotation_fetch.h"
#include "rotate/record.h"

/* Turns come when something changed; at these times whatever happens. */
#define TURN_INTERVAL (2 * NS_PER_S)
#define TURN_SPACING (NS_PER_S / 2)
#define BUSY_SPACING (NS_PER_S / 10) /* while an order is out: the next one waits for what comes of it */
#define IDLE_INTERVAL (10 * NS_PER_S)
/* Between two looks of kube_lock_take, which are 2 s apart: who stands by has seen the last renewal 3 s later at the latest, and
 * leads 18 s after it, and what the API server takes to answer. */
#define STAND_BY_INTERVAL NS_PER_S
#define ROTATIONS_MAX 1000
#define FAILS_LONG (10 * NS_PER_S)
#define TELL_TIMEOUT (5 * NS_PER_S)

void controller_note(const struct controller *c, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	if (!c->options->on_note)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	c->options->on_note(c->options->arg, text);
}

/* `noted`: what was last. */
static void take_trouble(struct controller *c, const char *text, char **noted)
{
	if (text && !text_equal(text, *noted)) {
		controller_note(c, "%s", text);
		free(*noted);
		*noted = xstrdup(text);
	}
	char *copy = text ? xstrdup(text) : NULL;
	free(c->trouble);
	c->trouble = copy;
}

void controller_trouble(struct controller *c, const char *text)
{
	take_trouble(c, text, &c->noted);
}

void controller_remark(struct controller *c, char *text)
{
	free(c->remark);
	c->remark = text;
}

/* --- which rotation goes on --- */

static int consider(void *arg, const cJSON *item, struct error **err)
{
	struct rotation_queue *queue = arg;
	struct key_rotation *rotation = NULL;
	int rc = key_rotation_parse(item, &rotation, err);
	if (rc == 0)
		queue_add(queue, rotation);
	return rc;
}

void controller_forget_proofs(struct controller *c)
{
	controller_kms_doubt(c);
	free(steal(c->kms_again));
	c->sweep = (struct sweep_observation){.step = STEP_NONE};
	c->settled_began = c->settled_ended = c->reads_checked_at = 0;
	free(steal(c->settled_members));
	c->census.sequence = 0;
	c->seen.census = (struct census_observation){0}; /* lent */
	census_observation_free(&c->census.seen);
	controller_forget_canaries(c);
	controller_forget_settled_canaries(c);
	for (size_t i = 0; i < c->server_count; i++)
		c->servers[i].canary_at = 0;
}

void controller_forget_deeds(struct controller *c)
{
	path_free(steal(c->path));
	controller_forget_proofs(c);
}

static void forget_rotation(struct controller *c)
{
	controller_forget_deeds(c);
	controller_remark(c, NULL);
	c->hold = HOLD_NOT;
	free(c->fence_rotation);
	c->fence_rotation = NULL;
	c->fence = (struct fence){.to_step = STEP_NONE};
	for (size_t i = 0; i < c->server_count; i++) {
		free(c->servers[i].name);
		free(c->servers[i].failed);
		free(c->servers[i].file);
		free(c->servers[i].loaded_hash);
		free(c->servers[i].named_put);
		free(c->servers[i].named);
		free(c->servers[i].swept_with.file);
		free(c->servers[i].swept_with.loaded);
		free(c->servers[i].swept_with.version);
		object_release(&key_server_spec_record, &c->servers[i].sent);
	}
	free(c->servers);
	c->servers = NULL;
	c->server_count = 0;
	c->refused = false;
	c->keys_asked_at = 0;
	fleet_written_free(&c->written);
	controller_trouble(c, NULL);
	free(steal(c->noted));
}

/* Then all is begun anew, as another leader would: under an epoch of its own. */
bool controller_directs_forgotten(const struct controller *c)
{
	const struct key_rotation_status *status = &c->rotation->status;
	for (size_t i = 0; i < c->server_count; i++)
		for (size_t k = 0; k < status->server_count; k++)
			if (status->servers[k].forgotten && text_equal(status->servers[k].name, c->servers[i].name))
				return true;
	return false;
}

/* Another one than in the turn before, or the same for another leader. */
static void take_up(struct controller *c)
{
	forget_rotation(c);
	if (!c->rotation)
		return;
	c->fence_rotation = xstrdup(c->rotation->meta.uid);
	c->fence.rotation = c->fence_rotation;
	c->fence.aborted = key_rotation_goes_back(c->rotation);
	controller_note(c, "rotation %s", c->rotation->meta.name);
}

static int choose_rotation(struct controller *c, struct error **err)
{
	struct rotation_queue queue = {0};
	int rc = kube_custom_list(&c->options->cluster->kube, KEY_ROTATIONS_PATH, ROTATIONS_MAX, consider, &queue, NULL,
				  err);
	if (rc < 0) {
		queue_free(&queue);
		return rc;
	}
	key_rotation_free(c->rotation);
	c->rotation = queue_take(&queue);
	key_rotation_free(c->last);
	c->last = steal(queue.over);
	/* Until it is written: what is told in this turn may be put off, or fail. */
	if (c->rotation && !c->rotation->status.started_at) {
		char now[28];
		clock_format(clock_wall(), 0, now);
		c->rotation->status.started_at = xstrdup(now);
	}
	if (!c->rotation || !text_equal(c->rotation->meta.uid, c->fence_rotation) || controller_directs_forgotten(c))
		take_up(c);
	if (c->rotation)
		controller_tell_queued(c, &queue);
	queue_free(&queue);
	return 0;
}

/* --- one turn --- */

static void write_record(const struct controller *c, const struct decision *d, uint64_t now)
{
	struct json_writer w = JSON_WRITER_INIT(RECORD_LINE_MAX);
	char at[28];
	if (!c->record)
		return;
	clock_format(clock_wall(), 0, at);
	record_write(&w, at, c->path, &c->seen, now, d);
	const char *line = json_text(&w);
	if (line)
		fprintf(c->record, "%s\n", line);
	fflush(c->record);
	json_writer_free(&w);
}

/* Those of servers that were forgotten, too. */
static void delete_canaries(struct controller *c)
{
	for (size_t i = 0; i < c->rotation->status.server_count; i++) {
		_cleanup_error_ failed = NULL;
		const char *name = c->rotation->status.servers[i].name;
		const struct canary_options options = {
			.kube = &c->options->cluster->kube, .server = name, .path = c->path};
		if (canary_delete(&options, &failed) < 0)
			controller_note(c, "the canary of %s was not deleted: %s", name, error_message(failed));
	}
}

/* Nothing that was ordered is begun any more. */
static int withdraw(struct controller *c, struct error **err)
{
	controller_forget_canaries(c); /* no agent looks for them any more */
	return c->fence.epoch ? controller_withdraw(c, err) : 0;
}

static int decide_and_act(struct controller *c, struct error **err)
{
	uint64_t now = clock_monotonic();
	struct decision d = next_action(c->path, &c->seen, now);
	write_record(c, &d, now);
	c->hold = controller_hold(c->rotation, &c->seen, &d, clock_wall());
	bool held = c->hold != HOLD_NOT;
	c->busy = !held && d.action != ACTION_WAIT && d.action != ACTION_BLOCKED;
	/* What a turn before met with is over where nothing is tried again. */
	if (!c->busy || d.action == ACTION_DONE)
		controller_trouble(c, NULL);
	if (d.action == ACTION_WAIT && d.due < now + POLL_INTERVAL) /* else it is not known, or long until then */
		c->due = d.due;
	/* A sweep may take hours, all of them in this turn: what goes on is told before. */
	int rc = d.action == ACTION_REENCRYPT && !held ? controller_tell(c, &d, err) : 0;
	if (rc == 0)
		rc = held ? withdraw(c, err) : controller_act(c, &d, err);
	if (rc == 0 && d.action == ACTION_DONE)
		delete_canaries(c);
	return rc == 0 ? controller_tell(c, &d, err) : rc;
}

/* Nothing is decided: there is no path, or it is not known which way it will be gone. */
static int tell_waiting(struct controller *c, struct error **err)
{
	struct decision nothing = {.action = c->refused ? ACTION_BLOCKED : ACTION_WAIT,
				   .phase = c->refused ? PHASE_BLOCKED : PHASE_ADD_READ_KEY,
				   .step = STEP_NONE,
				   .server = -1};
	if (c->path) {
		nothing = next_action(c->path, &c->seen, clock_monotonic());
		nothing.action = ACTION_WAIT;
		nothing.reason = REASON_NONE;
		nothing.server = -1;
	}
	return controller_tell(c, &nothing, err);
}

static int wait_for_person(struct controller *c, const char *why, struct error **err)
{
	int rc = withdraw(c, err);
	controller_trouble(c, why);
	return rc == 0 ? tell_waiting(c, err) : rc;
}

/* What this version does not carry out. */
static int refuse(struct controller *c, const char *no, struct error **err)
{
	c->refused = true;
	return wait_for_person(c, no, err);
}

/* Given up before there was a path. */
static bool never_begun(const struct controller *c)
{
	return c->rotation->status.step_count == 0 && c->rotation->spec.aborted;
}

/* An agent of another version might take an order for something else. What waits is told with the path, where there is one. */
static int wait_for_version(struct controller *c, const char *odd, struct error **err)
{
	int rc = withdraw(c, err);
	if (rc == 0 && c->rotation->status.step_count > 0)
		rc = controller_find_path(c, err);
	controller_trouble(c, odd);
	return rc == 0 ? tell_waiting(c, err) : rc;
}

static int find_path(struct controller *c, struct error **err)
{
	const struct decision given_up = {.action = ACTION_DONE, .step = STEP_NONE, .server = -1};
	if (never_begun(c)) {
		controller_trouble(c, NULL);
		return controller_tell(c, &given_up, err);
	}
	c->hold = controller_hold(c->rotation, &c->seen, NULL, clock_wall());
	int rc = c->hold == HOLD_NOT || c->rotation->status.step_count > 0 ? controller_find_path(c, err) : 0;
	return rc == 0 && !c->path ? tell_waiting(c, err) : rc;
}

static int turn(struct controller *c, struct error **err)
{
	bool waits = false;
	int rc = choose_rotation(c, err);
	if (rc == 0 && !c->rotation) {
		rc = controller_look_for_servers(c, err);
		return rc == 0 ? controller_watch_drift(c, err) : rc;
	}
	if (rc < 0)
		return rc;
	controller_leave_drift(c);
	const char *no = key_rotation_not_carried_out(&c->rotation->spec);
	c->hold = HOLD_NOT;
	rc = controller_look(c, err);
	if (rc == 0 && no && !never_begun(c))
		return refuse(c, no, err);
	_cleanup_free_ char *odd = rc == 0 && !never_begun(c) ? controller_odd_version(c) : NULL;
	if (odd)
		return wait_for_version(c, odd, err);
	if (rc == 0)
		rc = find_path(c, err);
	if (rc < 0 || !c->path)
		return rc;
	controller_kms_observe(c);
	rc = controller_kms_keep(c, err);
	if (rc == 0)
		rc = controller_turn_back(c, &waits, err);
	/* Where it has just turned back, the path is found in the next turn. */
	if (rc < 0 || !c->path)
		return rc;
	if (waits)
		return tell_waiting(c, err);
	_cleanup_free_ char *lost = controller_lost_key(c);
	return lost ? wait_for_person(c, lost, err) : decide_and_act(c, err);
}

/* A turn that fails before it has decided tells nothing: what people see would be what was true before, and no reason why nothing
 * goes on. On the object as it is now: what this turn had made of it may be half done. */
static void tell_failing(struct controller *c, const char *why)
{
	_cleanup_(key_rotation_freep) struct key_rotation *now = NULL;
	if (c->failing_since == 0)
		c->failing_since = clock_monotonic();
	/* Where it cannot be told either, the log alone has it. */
	if (!c->rotation || clock_monotonic() < c->failing_since + FAILS_LONG ||
	    key_rotation_fetch(&c->options->cluster->kube, c->rotation->meta.name, TELL_TIMEOUT, &now, NULL) < 0)
		return;
	bool ours = text_equal(now->meta.uid, c->rotation->meta.uid) && !now->status.outcome;
	if (ours && condition_set(now, "Degraded", true, "TurnFails", why, clock_wall()))
		(void)!controller_apply_to(c, now, NULL);
}

/* What may pass is told and tried again. */
static bool may_pass(int rc)
{
	return rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_CONFLICT || rc == -ERROR_AUTH ||
	       rc == -ERROR_NOT_FOUND || rc == -ERROR_INPUT || rc == -ERROR_REFUSED || rc == -ERROR_PROTOCOL ||
	       rc == -ERROR_DEADLINE || rc == -ERROR_LIMIT;
}

static int lead(struct controller *c, struct error **err)
{
	for (;;) {
		_cleanup_error_ failed = NULL;
		uint64_t begun = clock_monotonic();
		const char *lost_to = kube_lock_lost_to(c->lock);
		if (lost_to)
			return error_set(err, ERROR_REFUSED, "the Lease " LOCK_NAMESPACE "/" LOCK_NAME " was lost%s%s",
					 *lost_to ? " to " : "", lost_to);
		c->due = UINT64_MAX;
		c->busy = false;
		int rc = turn(c, &failed);
		_cleanup_free_ char *why = error_with_hint(failed);
		controller_turned(c, rc == 0 || rc == -ERROR_CONFLICT, why);
		if (controller_servers_moved(c)) {
			controller_note(c, "the API servers have other addresses now: beginning again with those");
			return 0;
		}
		if (rc < 0 && !may_pass(rc)) {
			*err = steal(failed);
			return rc;
		}
		/* Once, whatever else each of these turns notes before it fails. */
		if (rc < 0) {
			take_trouble(c, why, &c->noted_failing);
			c->failed_at = clock_monotonic();
		} else if (!c->rotation || clock_monotonic() >= c->failed_at + FAILS_LONG) {
			free(steal(c->noted_failing));
		}
		if (rc < 0 && rc != -ERROR_CONFLICT)
			tell_failing(c, why);
		else
			c->failing_since = 0;
		const char *news = rc == 0 ? wake_news(c->wake) : NULL;
		if (news)
			controller_note(c, "%s: what changes is looked for every few seconds instead", news);
		uint64_t due = begun + (c->rotation ? TURN_INTERVAL : IDLE_INTERVAL);
		uint64_t spacing = rc < 0 ? TURN_SPACING : c->due == 0 ? 0 : c->busy ? BUSY_SPACING : TURN_SPACING;
		rc = wake_wait(c->wake, begun + spacing, c->due < due ? c->due : due, err);
		if (rc < 0)
			return rc;
	}
}

static int stand_by(struct controller *c, struct error **err)
{
	struct refusals refusals = {0};
	for (int told = 0;;) {
		int rc = kube_lock_take(c->options->leases, c->options->instance, &c->lock, err);
		controller_turned(c, rc != -ERROR_NETWORK && rc != -ERROR_AUTH, error_message(*err));
		bool refused = refusals_may_pass(&refusals, rc, clock_monotonic());
		if (rc != -ERROR_BUSY && rc != -ERROR_NETWORK && rc != -ERROR_CONFLICT && !refused)
			return rc;
		if (rc != told)
			controller_note(c, "standing by: %s", error_message(*err));
		told = rc;
		error_clear(err);
		rc = loop_pause(c->options->cluster->loop, STAND_BY_INTERVAL, err);
		if (rc < 0)
			return rc;
	}
}

static void controller_close(struct controller *c)
{
	wake_stop(c->wake);
	controller_show_stop(c);
	controller_events_stop(c);
	kube_lock_release(c->lock);
	forget_rotation(c);
	for (size_t i = 0; c->scraped && i < c->options->server_count; i++)
		apiserver_metrics_free(&c->scraped[i].metrics);
	free(c->scraped);
	key_rotation_free(c->rotation);
	fleet_free(&c->fleet);
	controller_drift_free(c);
	c->seen.census = (struct census_observation){0};
	observation_free_contents(&c->seen);
	census_observation_free(&c->census.seen);
	server_set_free(&c->hosts);
	free(c->set_why);
	free(c->trouble);
	free(c->noted);
	free(c->noted_failing);
	free(c->remark);
	if (c->record)
		fclose(c->record);
}

int controller_run(const struct controller_options *options, struct error **err)
{
	_cleanup_(controller_close) struct controller c = {.options = options};
	if (options->record_path) {
		int fd = open(options->record_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		c.record = fd < 0 ? NULL : fdopen(fd, "a");
		if (!c.record)
			return error_set_errno(err, ERROR_IO, errno, "flight recorder %s", options->record_path);
	}
	controller_show_start(&c);
	int rc = stand_by(&c, err);
	if (rc < 0)
		return rc;
	controller_note(&c, "leading");
	c.scraped = xcalloc(options->server_count + 1, sizeof(*c.scraped));
	c.wake = wake_start(options->cluster, options->web, NULL);
	return lead(&c, err);
}
