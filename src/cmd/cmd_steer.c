/* pause, resume, abort: a person's word to a rotation of several API servers. */
#include <stdio.h>

#include "base/json_writer.h"
#include "cmd/rotations.h"

#define CHANGE_JSON_MAX (64u << 10)

struct steering {
	const char *verb, *done, *already; /* for people: both after "KeyRotation NAME " */
	/* What has to change in the spec, JSON, new string; NULL: it is so already. */
	char *(*change)(const struct options *options, const struct key_rotation *rotation);
	int (*check)(const struct command_context *context, struct kube *kube, const struct key_rotation *rotation,
		     struct error **err); /* NULL: always allowed */
};

static void print_change(struct command_context *context, const struct steering *steering,
			 const struct key_rotation *rotation, bool changed)
{
	context->printed_document = true;
	if (!context->options.json) {
		printf("KeyRotation %s %s\n", rotation->meta.name, changed ? steering->done : steering->already);
		return;
	}
	struct json_writer w = JSON_WRITER_INIT(CHANGE_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "RotationChange");
	json_member_u64(&w, "version", 1);
	json_member_string(&w, "rotation", rotation->meta.name);
	json_member_string(&w, "change", steering->verb);
	json_member_bool(&w, "changed", changed);
	json_object_end(&w);
	puts(json_text(&w));
	json_writer_free(&w);
}

/* -ERROR_CONFLICT: the object was changed between reading and writing. */
static int change_once(struct command_context *context, const struct steering *steering, struct kube *kube,
		       struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_(rotations_free) struct rotations rotations = {0};
	struct key_rotation *rotation = NULL;
	int rc = rotations_read(kube, &rotations, err);
	if (rc < 0)
		return rc;
	rc = rotations_under_way(&rotations, o->argument_count ? o->arguments[0] : NULL, &rotation, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ char *change = steering->change(o, rotation);
	if (change && steering->check)
		rc = steering->check(context, kube, rotation, err);
	if (rc == 0 && change)
		rc = rotations_patch(kube, rotation, change, err);
	if (rc == 0)
		print_change(context, steering, rotation, change);
	return rc;
}

static int steer(struct command_context *context, const struct steering *steering, struct error **err)
{
	_cleanup_session_ session = {0};
	if (context->options.argument_count > 1)
		return error_set(err, ERROR_USAGE, "%s takes the name of one KeyRotation", steering->verb);
	int rc = session_open(context, SESSION_API, &session, err);
	if (rc < 0)
		return rc;
	rc = -ERROR_CONFLICT;
	for (unsigned try = 0; rc == -ERROR_CONFLICT && try < ROTATION_TRIES; try++) {
		error_clear(err);
		rc = change_once(context, steering, &session.cluster->kube, err);
	}
	return rc;
}

static char *change_pause(const struct options *o, const struct key_rotation *rotation)
{
	(void)o;
	return rotation->spec.paused ? NULL : xstrdup("{\"paused\":true}");
}

/* Whatever keeps it from going forward: a pause, a deadline that passed, an abort of which nothing has come. */
static char *change_resume(const struct options *o, const struct key_rotation *rotation)
{
	bool aborted = rotation->spec.aborted && !key_rotation_goes_back(rotation), late = rotation_is_late(rotation);
	(void)o;
	if (!rotation->spec.paused && !aborted && !late)
		return NULL;
	return xasprintf("{\"paused\":false%s%s}", late ? ",\"deadlineSeconds\":0" : "",
			 aborted ? ",\"aborted\":false,\"promoteOldKey\":false" : "");
}

static char *change_abort(const struct options *o, const struct key_rotation *rotation)
{
	const struct key_rotation_spec *spec = &rotation->spec;
	if (key_rotation_goes_back(rotation) ||
	    (spec->aborted && !spec->paused && (spec->promote_old_key || !o->promote_old_key)))
		return NULL;
	return xasprintf("{\"aborted\":true,\"paused\":false%s}", o->promote_old_key ? ",\"promoteOldKey\":true" : "");
}

int cmd_pause(struct command_context *context, struct error **err)
{
	static const struct steering pause = {
		.verb = "pause",
		.done = "takes no further step and rewrites nothing more; it is safe to leave it like this",
		.already = "is paused already",
		.change = change_pause};
	return steer(context, &pause, err);
}

int cmd_resume(struct command_context *context, struct error **err)
{
	static const struct steering resume = {
		.verb = "resume", .done = "goes on", .already = "is not paused", .change = change_resume};
	return steer(context, &resume, err);
}

/* The first server whose file has this step or a later one, or was ordered to. NULL: none. */
static const char *server_beyond(const struct fleet *fleet, const struct key_rotation *rotation, int step)
{
	for (size_t i = 0; i < fleet->count; i++) {
		const struct key_server *server = fleet->servers[i].last;
		/* Steps are counted on the path of the rotation that an order, or a report, is of. */
		bool ordered = text_equal(server->spec.rotation, rotation->meta.uid) && server->spec.step >= step;
		bool reports = text_equal(server->status.path_of, rotation->meta.uid);
		if (ordered || (reports && (server->status.file_step >= step || server->status.written_step >= step)))
			return server->meta.name;
	}
	return NULL;
}

/* The step in which the old key is gone; a number that no step has where none is. */
static int last_step(const struct key_rotation *rotation)
{
	_cleanup_(path_freep) struct path *path = path_of_steps(rotation->status.steps, rotation->status.step_count);
	for (size_t i = 0; i + 1 < path->count; i++)
		if (path_drops(path, i))
			return (int)i + 1;
	return OBJECT_STEPS_MAX;
}

static int refuse_forever(const struct command_context *context, const char *name, const char *server,
			  struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED,
			   "KeyRotation %s cannot go back: the old key left %s already, or was ordered to leave", name,
			   server);
	error_set_hint(err,
		       "it goes forward by itself (%s status %s says what it waits for); a key like the old one is "
		       "another rotation, afterwards",
		       context->invoked_as, name);
	return rc;
}

static int refuse_for_now(const struct command_context *context, const char *name, const char *server,
			  struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED,
			   "KeyRotation %s is past promotion: %s writes with the new key, or was ordered to, so values "
			   "may be under it and it cannot just be taken away",
			   name, server);
	error_set_hint(err,
		       "go forward (it does by itself; %s status %s says what it waits for), or let the old key write "
		       "again and everything be rewritten under it: %s abort %s --promote-old-key",
		       context->invoked_as, name, context->invoked_as, name);
	return rc;
}

/* A word that cannot be taken back once something has come of it, and that does nothing where values may be under the new key.
 * The controller judges again by what it sees then. */
static int check_abort(const struct command_context *context, struct kube *kube, const struct key_rotation *rotation,
		       struct error **err)
{
	struct fleet fleet = {0};
	const char *name = rotation->meta.name;
	int promotion = rotation_promotion(rotation), last = last_step(rotation);
	if (rotation->status.step_count == 0)
		return 0;
	int rc = fleet_read(&fleet, kube, err);
	if (rc < 0)
		return rc;
	const char *gone = server_beyond(&fleet, rotation, last);
	const char *promoted = promotion == STEP_NONE ? NULL : server_beyond(&fleet, rotation, promotion);
	if (gone)
		rc = refuse_forever(context, name, gone, err);
	else if (promoted && !context->options.promote_old_key)
		rc = refuse_for_now(context, name, promoted, err);
	fleet_free(&fleet);
	return rc;
}

int cmd_abort(struct command_context *context, struct error **err)
{
	static const struct steering abort_it = {.verb = "abort",
						 .done = "goes back: its new key is taken away again from every API "
							 "server that has it, once nothing needs "
							 "it; status says how far that is",
						 .already = "is given up already",
						 .change = change_abort,
						 .check = check_abort};
	return steer(context, &abort_it, err);
}
