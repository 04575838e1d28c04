/* KeyRotation.status: what people see. Written by server-side apply, on the very object that was read; at most every two
 * seconds but where something changed that is more than progress. */
#include "engine/controller_internal.h"

#include <string.h>

#include "engine/rotation.h"

#define TELL_INTERVAL (2 * NS_PER_S)

int controller_apply(struct controller *c, struct error **err)
{
	_cleanup_free_ char *body = NULL;
	_cleanup_json_ answer = NULL;
	if (!controller_leads(c))
		return error_set(err, ERROR_CONFLICT, "the Lease was lost");
	int rc = key_rotation_status_body(c->rotation, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {.verb = CUSTOM_APPLY,
						    .collection = KEY_ROTATIONS_PATH,
						    .name = c->rotation->meta.name,
						    .subresource = "status",
						    .body = body};
	rc = kube_custom_fetch(&c->options->cluster->kube, &request, &answer, err);
	if (rc < 0)
		return rc;
	const char *version = json_text_at(json_at(answer, "metadata", NULL), "resourceVersion");
	free(c->rotation->meta.resource_version);
	c->rotation->meta.resource_version = version ? xstrdup(version) : NULL;
	c->told_at = clock_monotonic();
	return 0;
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

static void replace(char **text, const char *by)
{
	char *copy = xstrdup(by);
	free(*text);
	*text = copy;
}

/* Whether it changed. */
static bool set(struct controller *c, const char *type, bool holds, const char *reason, const char *message)
{
	struct key_rotation_condition *it = condition(&c->rotation->status, type);
	const char *value = holds ? "True" : "False";
	bool turned = !text_equal(it->status, value), changed = turned || !text_equal(it->reason, reason);
	if (turned) {
		char now[28];
		clock_format(clock_wall(), 0, now);
		replace(&it->last_transition_time, now);
	}
	changed = changed || !text_equal(it->message, message);
	replace(&it->status, value);
	replace(&it->reason, reason);
	replace(&it->message, message);
	it->observed_generation = c->rotation->meta.generation;
	return changed;
}

static bool converged(const struct controller *c)
{
	for (size_t i = 0; i < c->seen.server_count; i++)
		if (!c->seen.servers[i].answering || c->seen.servers[i].loaded_since == 0 ||
		    c->seen.servers[i].file_step != c->seen.servers[0].file_step)
			return false;
	return c->seen.servers_known == FACT_KNOWN;
}

/* All servers have the keys in their files: the sealed forms are of no more use to anybody but a thief. */
static bool forget_sealed(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	for (size_t k = 0; k < status->sealed_key_count; k++)
		for (size_t i = 0; i < c->server_count; i++) {
			const struct key_server_status *server = controller_status(c, i);
			bool has = false;
			for (size_t j = 0; server && j < server->key_count; j++)
				has = has ||
				      text_equal(server->keys[j].fingerprint, status->sealed_keys[k].fingerprint);
			if (!has)
				return false;
		}
	if (status->sealed_key_count == 0 || status->step_count == 0)
		return false;
	object_release_list(&object_sealed_key_record, status->sealed_keys, status->sealed_key_count);
	status->sealed_keys = NULL;
	status->sealed_key_count = 0;
	return true;
}

int controller_tell(struct controller *c, const struct decision *d, struct error **err)
{
	struct key_rotation_status *status = &c->rotation->status;
	struct decision_clock clock = {.now = clock_monotonic(), .wall = clock_wall()};
	_cleanup_free_ char *text = c->path ? decision_text(d, c->path, &c->seen, &clock) : xstrdup("");
	_cleanup_free_ char *whole =
		c->trouble ? xasprintf("%s%s%s%s", text, *text ? " (" : "", c->trouble, *text ? ")" : "")
			   : xstrdup(text);
	const char *phase = c->path ? phase_name(d->phase) : "AddReadKey";
	controller_event(c, d, phase, whole, clock.now);
	bool done = d->action == ACTION_DONE, blocked = d->action == ACTION_BLOCKED;
	bool changed = !text_equal(status->phase, phase) || (c->path && status->step != d->step);
	replace(&status->phase, phase);
	status->step = c->path ? d->step : STEP_NONE;
	status->observed_generation = c->rotation->meta.generation;
	changed |= set(c, "Progressing", !done && !blocked, c->path ? action_name(d->action) : "FindPath", whole);
	changed |= set(c, "Converged", converged(c), converged(c) ? "Loaded" : "Waiting",
		       converged(c) ? "every API server was seen to run one configuration" : whole);
	const char *unwatched = wake_trouble(c->wake);
	changed |= set(c, "Degraded", blocked || c->trouble || unwatched,
		       blocked                    ? reason_name(d->reason)
		       : unwatched && !c->trouble ? "NotWatched"
						  : "None",
		       blocked || c->trouble ? whole
		       : unwatched           ? unwatched
					     : "");
	changed |= set(c, "Complete", done, done ? "Done" : "Running", done ? "the old key left every API server" : "");
	changed |= forget_sealed(c);
	if (done && !status->outcome) {
		char now[28];
		clock_format(clock_wall(), 0, now);
		status->outcome = xstrdup("Done");
		replace(&status->completed_at, now);
		changed = true;
	}
	if (!changed && clock_monotonic() < c->told_at + 5 * TELL_INTERVAL)
		return 0;
	if (!done && clock_monotonic() < c->told_at + TELL_INTERVAL)
		return 0;
	return controller_apply(c, err);
}
