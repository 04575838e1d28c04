/* pause, resume, abort: a person's word to a rotation of several API servers. */
#include <stdio.h>

#include "base/json_writer.h"
#include "cmd/rotations.h"

#define CHANGE_JSON_MAX (64u << 10)

struct steering {
	const char *verb, *done, *already; /* for people: both after "KeyRotation NAME " */
	const char *spec;                  /* JSON */
	bool (*is_so)(const struct key_rotation_spec *spec);
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

static int steer(struct command_context *context, const struct steering *steering, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	_cleanup_(rotations_free) struct rotations rotations = {0};
	struct key_rotation *rotation = NULL;
	if (o->argument_count > 1)
		return error_set(err, ERROR_USAGE, "%s takes the name of one KeyRotation", steering->verb);
	int rc = session_open(context, SESSION_API, &session, err);
	if (rc < 0)
		return rc;
	struct kube *kube = &session.cluster->kube;
	rc = rotations_read(kube, &rotations, err);
	if (rc == 0)
		rc = rotations_under_way(&rotations, o->argument_count ? o->arguments[0] : NULL, &rotation, err);
	if (rc < 0)
		return rc;
	bool changes = !steering->is_so(&rotation->spec);
	if (changes && steering->check)
		rc = steering->check(context, kube, rotation, err);
	if (rc == 0 && changes)
		rc = rotations_patch(kube, rotation, steering->spec, err);
	if (rc == 0)
		print_change(context, steering, rotation, changes);
	return rc;
}

static bool is_paused(const struct key_rotation_spec *spec)
{
	return spec->paused;
}

static bool is_not_paused(const struct key_rotation_spec *spec)
{
	return !spec->paused;
}

static bool is_aborted(const struct key_rotation_spec *spec)
{
	return spec->aborted;
}

int cmd_pause(struct command_context *context, struct error **err)
{
	static const struct steering pause = {
		.verb = "pause",
		.done = "takes no further step and rewrites nothing more; it is safe to leave it like this",
		.already = "is paused already",
		.spec = "{\"paused\":true}",
		.is_so = is_paused};
	return steer(context, &pause, err);
}

int cmd_resume(struct command_context *context, struct error **err)
{
	static const struct steering resume = {.verb = "resume",
					       .done = "goes on",
					       .already = "is not paused",
					       .spec = "{\"paused\":false}",
					       .is_so = is_not_paused};
	return steer(context, &resume, err);
}

/* The first server whose file has a configuration in which the new key writes, or was ordered to. NULL: none. */
static const char *promoted_server(const struct fleet *fleet, const struct key_rotation *rotation, int promotion)
{
	for (size_t i = 0; i < fleet->count; i++) {
		const struct key_server *server = fleet->servers[i].last;
		/* Steps are counted on the path of the rotation that an order, or a report, is of. */
		bool ordered = text_equal(server->spec.rotation, rotation->meta.uid) && server->spec.step >= promotion;
		bool reports = text_equal(server->status.path_of, rotation->meta.uid);
		if (ordered ||
		    (reports && (server->status.file_step >= promotion || server->status.written_step >= promotion)))
			return server->meta.name;
	}
	return NULL;
}

/* A word that cannot be taken back, and would do nothing but harm once values may be under the new key. The controller judges
 * again by what it sees then. */
static int check_abort(const struct command_context *context, struct kube *kube, const struct key_rotation *rotation,
		       struct error **err)
{
	struct fleet fleet = {0};
	int promotion = rotation_promotion(rotation);
	if (promotion == STEP_NONE)
		return 0;
	int rc = fleet_read(&fleet, kube, err);
	if (rc < 0)
		return rc;
	const char *server = promoted_server(&fleet, rotation, promotion);
	if (server) {
		rc = error_set(
			err, ERROR_REFUSED,
			"KeyRotation %s is past promotion: %s writes with the new key, or was ordered to, so values "
			"may be under it and it has to stay",
			rotation->meta.name, server);
		error_set_hint(err,
			       "go forward (it does by itself; %s status %s says what it waits for), or pause it; a "
			       "key like the old one is another rotation, afterwards",
			       context->invoked_as, rotation->meta.name);
	}
	fleet_free(&fleet);
	return rc;
}

int cmd_abort(struct command_context *context, struct error **err)
{
	static const struct steering abort_it = {
		.verb = "abort",
		.done = "takes no further step: its new key stays where it is, and other rotations wait until this "
			"KeyRotation is deleted; this cannot be taken back",
		.already = "is given up already",
		.spec = "{\"aborted\":true}",
		.is_so = is_aborted,
		.check = check_abort};
	return steer(context, &abort_it, err);
}
