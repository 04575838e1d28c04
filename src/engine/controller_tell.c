/* KeyRotation.status: what people see. Written by server-side apply, on the very object that was read; at most every two
 * seconds, but for what a step hangs on (the epoch, the path, that a key is retired) and its end. */
#include "engine/controller_internal.h"

#include <string.h>

#include "engine/fleet_advice.h"
#include "engine/rotation.h"

#define TELL_INTERVAL (2 * NS_PER_S)

int controller_apply_to(struct controller *c, struct key_rotation *rotation, struct error **err)
{
	_cleanup_free_ char *body = NULL;
	_cleanup_json_ answer = NULL;
	if (!controller_leads(c))
		return error_set(err, ERROR_CONFLICT, "the Lease was lost");
	int rc = key_rotation_status_body(rotation, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {.verb = CUSTOM_APPLY,
						    .collection = KEY_ROTATIONS_PATH,
						    .name = rotation->meta.name,
						    .subresource = "status",
						    .body = body};
	rc = kube_custom_fetch(&c->options->cluster->kube, &request, &answer, err);
	if (rc < 0)
		return rc;
	const char *version = json_text_at(json_at(answer, "metadata", NULL), "resourceVersion");
	free(rotation->meta.resource_version);
	rotation->meta.resource_version = version ? xstrdup(version) : NULL;
	return 0;
}

int controller_apply(struct controller *c, struct error **err)
{
	int rc = controller_apply_to(c, c->rotation, err);
	if (rc == 0)
		c->told_at = clock_monotonic();
	return rc;
}

static struct key_rotation_condition *condition(struct key_rotation_status *status, const char *type)
{
	struct key_rotation_condition *found = key_rotation_condition(status, type);
	if (found)
		return found;
	status->conditions =
		xreallocarray(status->conditions, status->condition_count + 1, sizeof(*status->conditions));
	struct key_rotation_condition *added = &status->conditions[status->condition_count++];
	*added = (struct key_rotation_condition){.type = xstrdup(type)};
	return added;
}

void replace_text(char **text, const char *by)
{
	char *copy = xstrdup(by);
	free(*text);
	*text = copy;
}

bool condition_set(struct key_rotation *rotation, const char *type, bool holds, const char *reason, const char *message,
		   uint64_t wall)
{
	struct key_rotation_condition *it = condition(&rotation->status, type);
	const char *value = holds ? "True" : "False";
	bool turned = !text_equal(it->status, value), changed = turned || !text_equal(it->reason, reason);
	if (turned) {
		char now[28];
		clock_format(wall, 0, now);
		replace_text(&it->last_transition_time, now);
	}
	changed = changed || !text_equal(it->message, message);
	replace_text(&it->status, value);
	replace_text(&it->reason, reason);
	replace_text(&it->message, message);
	it->observed_generation = rotation->meta.generation;
	return changed;
}

/* Without a path nobody counts steps: each agent's own file is its first one. */
static bool has_the_same(const struct controller *c, size_t i)
{
	const struct server_observation *one = &c->seen.servers[0], *other = &c->seen.servers[i];
	if (c->path)
		return other->file_step != STEP_NONE && other->file_step == one->file_step;
	const struct key_server_status *first = controller_status(c, 0), *its = controller_status(c, i);
	return first && its && first->configuration && its->configuration &&
	       config_shape_equal(first->configuration, its->configuration);
}

bool controller_converged(const struct controller *c)
{
	for (size_t i = 0; i < c->seen.server_count; i++)
		if (!c->seen.servers[i].answering || c->seen.servers[i].loaded_since == 0 || !has_the_same(c, i))
			return false;
	return c->seen.servers_known == FACT_KNOWN;
}

bool controller_forget_sealed(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	bool any = status->sealed_key_count > 0;
	object_release_list(&object_sealed_key_record, status->sealed_keys, status->sealed_key_count);
	status->sealed_keys = NULL;
	status->sealed_key_count = 0;
	return any;
}

static bool has_key(const struct key_server_status *server, const char *fingerprint)
{
	for (size_t j = 0; server && j < server->key_count; j++)
		if (text_equal(server->keys[j].fingerprint, fingerprint))
			return true;
	return false;
}

/* All servers have the keys in their files: the sealed forms are of no more use to anybody but a thief. */
static bool all_have_sealed(const struct controller *c)
{
	const struct key_rotation_status *status = &c->rotation->status;
	for (size_t k = 0; k < status->sealed_key_count; k++)
		for (size_t i = 0; i < c->server_count; i++)
			if (!has_key(controller_status(c, i), status->sealed_keys[k].fingerprint))
				return false;
	return status->step_count > 0;
}

/* It was given up: before there was a path, or on the way back. */
static bool given_up(const struct controller *c)
{
	return c->rotation->spec.aborted && (!c->path || key_rotation_goes_back(c->rotation));
}

static const char *whole_end(const struct controller *c)
{
	for (size_t i = 0; c->path && i + 1 < c->path->count; i++)
		if (path_drops(c->path, i))
			return "the old key left every API server";
	return "every API server writes with the new key";
}

static const char *phase_of(const struct controller *c, const struct decision *d)
{
	if (d->action == ACTION_DONE)
		return given_up(c) ? "Aborted" : phase_name(PHASE_DONE);
	if (c->hold != HOLD_NOT)
		return "Paused";
	return phase_name(d->phase);
}

static int step_of(const struct controller *c, const struct decision *d)
{
	return c->path ? key_rotation_step(c->rotation, d->step) : STEP_NONE;
}

/* "paused; next: going back: cp-1: writing step 2 [...] (the agent of ...)". New string. */
static char *words_of(const struct controller *c, const struct decision *d, uint64_t now)
{
	const struct directed *server =
		d->server >= 0 && (size_t)d->server < c->server_count ? &c->servers[d->server] : NULL;
	struct decision_clock clock = {.now = now, .wall = clock_wall()};
	if (server && c->seen.servers[d->server].reloads_itself)
		clock.reload_by = server->reload_by;
	_cleanup_free_ char *text = c->path ? decision_text(d, c->path, &c->seen, &clock) : xstrdup("");
	_cleanup_free_ char *held = c->hold == HOLD_NOT ? NULL : hold_words(c->rotation, c->hold, d->rescue);
	const char *trouble = c->trouble ? c->trouble : "";
	const char *remark = c->remark || d->action == ACTION_DONE ? c->remark : c->kms_again;
	/* A person's word is asked for with the ways to give it. */
	bool asks = d->action == ACTION_BLOCKED && c->path && c->hold == HOLD_NOT && d->reason != REASON_TOLD;
	const char *advice = asks ? fleet_advice(reason_name(d->reason)) : NULL;
	return xasprintf("%s%s%s%s%s%s%s%s%s%s%s", held ? held : "", held && *text ? "; next: " : "",
			 remark ? remark : "", remark ? ": " : "",
			 key_rotation_goes_back(c->rotation) && d->action != ACTION_DONE ? "going back: " : "", text,
			 *text && *trouble ? " (" : "", trouble, *text && *trouble ? ")" : "", advice ? ". " : "",
			 advice ? advice : "");
}

static bool tell_conditions(struct controller *c, const struct decision *d, const char *words)
{
	struct key_rotation *rotation = c->rotation;
	bool done = d->action == ACTION_DONE, blocked = d->action == ACTION_BLOCKED, good = controller_converged(c);
	uint64_t wall = clock_wall();
	const char *progress = c->hold != HOLD_NOT ? hold_reason(c->hold) : c->path ? decision_reason(d) : "FindPath";
	bool changed = condition_set(rotation, "Progressing", !done && !blocked && c->hold == HOLD_NOT,
				     done ? phase_of(c, d) : progress, words, wall);
	changed |= condition_set(rotation, "Converged", good, good ? "Loaded" : "Waiting",
				 good ? "every API server was seen to run one configuration" : words, wall);
	const char *unwatched = wake_trouble(c->wake);
	/* Nobody but the people of the KMS can do something about it. */
	bool degrades = blocked || c->trouble || d->reason == REASON_KMS_UNKNOWN;
	const char *degraded = blocked                           ? c->path ? reason_name(d->reason) : "Refused"
			       : d->reason == REASON_KMS_UNKNOWN ? reason_name(d->reason)
			       : c->trouble                      ? "Hindered"
			       : unwatched                       ? "NotWatched"
								 : "None";
	changed |= condition_set(rotation, "Degraded", degrades || unwatched, degraded,
				 degrades    ? words
				 : unwatched ? unwatched
					     : "",
				 wall);
	changed |= condition_set(rotation, "Complete", done, done ? phase_of(c, d) : "Running",
				 !done                             ? ""
				 : !given_up(c)                    ? whole_end(c)
				 : rotation->spec.follow_kms       ? "it was given up, and changed no configuration"
				 : rotation->status.back_from == 0 ? "it was given up before any file was changed"
				 : rotation->status.step_count     ? "the new key left every API server"
								   : "it was aborted before anything was begun",
				 wall);
	return changed;
}

static void end(struct controller *c, const char *outcome)
{
	struct key_rotation_status *status = &c->rotation->status;
	char now[28];
	clock_format(clock_wall(), 0, now);
	status->outcome = xstrdup(outcome);
	controller_end_evidence(c);
	replace_text(&status->completed_at, now);
	controller_forget_sealed(c);
}

int controller_tell(struct controller *c, const struct decision *d, struct error **err)
{
	struct key_rotation_status *status = &c->rotation->status;
	uint64_t now = clock_monotonic();
	_cleanup_free_ char *words = words_of(c, d, now);
	const char *phase = phase_of(c, d);
	bool done = d->action == ACTION_DONE;
	controller_event(c, d, phase, words, now);
	bool changed = !text_equal(status->phase, phase) || (c->path && status->step != step_of(c, d));
	replace_text(&status->phase, phase);
	status->step = step_of(c, d);
	status->observed_generation = c->rotation->meta.generation;
	changed |= tell_conditions(c, d, words);
	changed |= controller_take_evidence(c);
	if (all_have_sealed(c))
		changed |= controller_forget_sealed(c);
	if (done && !status->outcome) {
		end(c, phase);
		changed = true;
	}
	if (!changed && clock_monotonic() < c->told_at + 5 * TELL_INTERVAL)
		return 0;
	if (!done && clock_monotonic() < c->told_at + TELL_INTERVAL)
		return 0;
	return controller_apply(c, err);
}

void controller_tell_sweep(struct controller *c, enum hold hold)
{
	const struct decision *sweep = c->sweeping;
	uint64_t now = clock_monotonic();
	/* What hinders is told again and again: an event is for what lasts. */
	if (hold == c->hold && !c->trouble && !key_rotation_holds(c->rotation, "Degraded"))
		return;
	c->hold = hold;
	_cleanup_free_ char *words = words_of(c, sweep, now);
	controller_event(c, sweep, phase_of(c, sweep), words, now);
	replace_text(&c->rotation->status.phase, phase_of(c, sweep));
	(void)tell_conditions(c, sweep, words);
}
