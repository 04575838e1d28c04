/* Lead, read, look, decide, do one small step; again. */
#include "engine/controller_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "rotate/record.h"

/* Turns come when something changed; at these times whatever happens. */
#define TURN_INTERVAL (2 * NS_PER_S)
#define TURN_SPACING (NS_PER_S / 2)
#define IDLE_INTERVAL (10 * NS_PER_S)
#define STAND_BY_INTERVAL (2 * NS_PER_S)
#define ROTATIONS_MAX 1000

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

void controller_trouble(struct controller *c, const char *text)
{
	if (text && !text_equal(text, c->trouble))
		controller_note(c, "%s", text);
	char *copy = text ? xstrdup(text) : NULL;
	free(c->trouble);
	c->trouble = copy;
}

/* --- which rotation goes on --- */

/* Of several that are not over the one that began, else the first by name: the others are queued. */
struct choice {
	struct key_rotation *chosen;
};

static bool before(const struct key_rotation *a, const struct key_rotation *b)
{
	bool a_began = a->status.started_at, b_began = b->status.started_at;
	if (a_began != b_began)
		return a_began;
	return strcmp(a->meta.name, b->meta.name) < 0;
}

static int consider(void *arg, const cJSON *item, struct error **err)
{
	struct choice *choice = arg;
	struct key_rotation *rotation = NULL;
	int rc = key_rotation_parse(item, &rotation, err);
	if (rc < 0)
		return rc;
	bool over = rotation->status.outcome || rotation->meta.deleting;
	if (!over && (!choice->chosen || before(rotation, choice->chosen))) {
		key_rotation_free(choice->chosen);
		choice->chosen = rotation;
		return 0;
	}
	key_rotation_free(rotation);
	return 0;
}

static void forget_rotation(struct controller *c)
{
	path_free(steal(c->path));
	free(c->fence_rotation);
	c->fence_rotation = NULL;
	c->fence = (struct fence){.to_step = STEP_NONE};
	for (size_t i = 0; i < c->server_count; i++) {
		free(c->servers[i].name);
		free(c->servers[i].loaded_hash);
		object_release(&key_server_spec_record, &c->servers[i].sent);
	}
	free(c->servers);
	c->servers = NULL;
	c->server_count = 0;
	c->sweep = (struct sweep_observation){.step = STEP_NONE};
	c->settled_began = c->settled_ended = c->reads_checked_at = 0;
	free(steal(c->settled_members));
	controller_forget_settled_canaries(c);
	c->census.sequence = 0;
	c->seen.census = (struct census_observation){0}; /* lent */
	census_observation_free(&c->census.seen);
	controller_forget_canaries(c);
}

/* Then all is begun anew, as another leader would: under an epoch of its own. */
static bool directs_forgotten(const struct controller *c)
{
	const struct key_rotation_status *status = &c->rotation->status;
	for (size_t i = 0; i < c->server_count; i++)
		for (size_t k = 0; k < status->server_count; k++)
			if (status->servers[k].forgotten && text_equal(status->servers[k].name, c->servers[i].name))
				return true;
	return false;
}

static int choose_rotation(struct controller *c, struct error **err)
{
	struct choice choice = {0};
	int rc = kube_custom_list(&c->options->cluster->kube, KEY_ROTATIONS_PATH, ROTATIONS_MAX, consider, &choice,
				  NULL, err);
	if (rc < 0) {
		key_rotation_free(choice.chosen);
		return rc;
	}
	key_rotation_free(c->rotation);
	c->rotation = choice.chosen;
	/* Until it is written: what is told in this turn may be put off, or fail. */
	if (c->rotation && !c->rotation->status.started_at) {
		char now[28];
		clock_format(clock_wall(), 0, now);
		c->rotation->status.started_at = xstrdup(now);
	}
	if (c->rotation && text_equal(c->rotation->meta.uid, c->fence_rotation) && !directs_forgotten(c))
		return 0;
	forget_rotation(c);
	if (!c->rotation)
		return 0;
	c->fence_rotation = xstrdup(c->rotation->meta.uid);
	c->fence.rotation = c->fence_rotation;
	controller_note(c, "rotation %s", c->rotation->meta.name);
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

static void delete_canaries(struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++) {
		_cleanup_error_ failed = NULL;
		const struct canary_options options = {
			.kube = &c->options->cluster->kube, .server = c->servers[i].name, .path = c->path};
		if (canary_delete(&options, &failed) < 0)
			controller_note(c, "the canary of %s was not deleted: %s", c->servers[i].name,
					error_message(failed));
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
	/* A sweep may take hours, all of them in this turn: what goes on is told before. */
	int rc = d.action == ACTION_REENCRYPT ? controller_tell(c, &d, err) : 0;
	if (rc == 0)
		rc = c->rotation->spec.paused ? withdraw(c, err) : controller_act(c, &d, err);
	if (rc == 0 && d.action == ACTION_DONE)
		delete_canaries(c);
	return rc == 0 ? controller_tell(c, &d, err) : rc;
}

static int turn(struct controller *c, struct error **err)
{
	int rc = choose_rotation(c, err);
	if (rc == 0 && !c->rotation)
		return controller_look_for_servers(c, err);
	if (rc < 0)
		return rc;
	const char *no = key_rotation_not_carried_out(&c->rotation->spec);
	rc = controller_look(c, err);
	if (rc == 0 && !no)
		rc = controller_find_path(c, err);
	if (rc < 0)
		return rc;
	if (c->path && !no)
		return decide_and_act(c, err);
	if (no) {
		controller_trouble(c, no);
		rc = withdraw(c, err);
		if (rc < 0)
			return rc;
	}
	const struct decision nothing = {.action = ACTION_WAIT, .step = STEP_NONE, .server = -1};
	return controller_tell(c, &nothing, err);
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
		int rc = turn(c, &failed);
		controller_turned(c, rc == 0 || rc == -ERROR_CONFLICT, error_message(failed));
		if (rc < 0 && !may_pass(rc)) {
			*err = steal(failed);
			return rc;
		}
		if (rc < 0)
			controller_trouble(c, error_message(failed));
		rc = wake_wait(c->wake, begun + TURN_SPACING, begun + (c->rotation ? TURN_INTERVAL : IDLE_INTERVAL),
			       err);
		if (rc < 0)
			return rc;
	}
}

static int stand_by(struct controller *c, struct error **err)
{
	const bool never = false;
	for (bool told = false;; told = true) {
		int rc = kube_lock_take(c->options->leases, c->options->instance, &c->lock, err);
		controller_turned(c, rc != -ERROR_NETWORK, error_message(*err));
		if (rc != -ERROR_BUSY && rc != -ERROR_NETWORK && rc != -ERROR_CONFLICT)
			return rc;
		if (!told)
			controller_note(c, "standing by: %s", error_message(*err));
		error_clear(err);
		rc = loop_run_until(c->options->cluster->loop, &never, clock_monotonic() + STAND_BY_INTERVAL, err);
		rc = error_forgive(err, rc, ERROR_DEADLINE);
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
	c->seen.census = (struct census_observation){0};
	observation_free_contents(&c->seen);
	census_observation_free(&c->census.seen);
	free(c->set_why);
	free(c->trouble);
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
