#include "cmd/fleet_status.h"

#include <stdlib.h>

#include "base/clock.h"
#include "cmd/fleet_view.h"

#define STATUS_JSON_MAX (64u << 20)
#define REPORT_WAIT (2 * FLEET_INTERVAL + NS_PER_S)
#define LOOK_INTERVAL (300 * NS_PER_MS)

/* --- whose agent reports --- */

static bool all_true(const bool *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!values[i])
			return false;
	return true;
}

/* A beat that changed between two lists was made in between. */
static void compare(const struct fleet *before, const struct fleet *now, bool *reports)
{
	for (size_t i = 0; i < now->count; i++) {
		const struct fleet_server *old = fleet_find(before, now->servers[i].last->meta.name);
		const struct key_server_status *status = &now->servers[i].last->status;
		reports[i] = old && (old->last->status.beat != status->beat ||
				     !text_equal(old->last->status.heartbeat, status->heartbeat));
	}
}

/* What is seen of a cluster in the few seconds that `status` takes. */
struct sight {
	struct fleet fleet;
	bool *reports; /* of each of the fleet */
	struct leader leader;
	struct rotations rotations; /* as they are at the end */
	bool told;                  /* of the one that is shown progress changed meanwhile */
};

static void sight_free(struct sight *sight)
{
	fleet_free(&sight->fleet);
	free(sight->reports);
	leader_free(&sight->leader);
	rotations_free(&sight->rotations);
}

static bool progress_differs(const struct key_rotation *before, const struct key_rotation *now)
{
	const struct key_rotation_status *a = &before->status, *b = &now->status;
	return a->progress.done != b->progress.done || a->progress.total != b->progress.total ||
	       a->progress.per_second != b->progress.per_second || a->progress.eta_seconds != b->progress.eta_seconds ||
	       !text_equal(a->phase, b->phase);
}

/* Whether something of it would be shown as present: what a sweep that goes on told last. */
static bool shows_speed(const struct key_rotation *rotation)
{
	return rotation && !rotation_is_over(rotation) &&
	       rotation->status.progress.done < rotation->status.progress.total;
}

/* Reads the rotations anew, and whether `name`'s, or the one that is looked for, was told of since `first`. */
static int look_at_rotations(struct session *session, const char *name, const struct rotations *first,
			     struct sight *sight, struct error **err)
{
	struct rotations now = {0};
	int rc = rotations_read(&session->cluster->kube, &now, err);
	if (rc < 0) {
		rotations_free(&now);
		return rc;
	}
	rotations_free(&sight->rotations);
	sight->rotations = now;
	const struct key_rotation *before = rotations_to_show(first, name), *shown = rotations_to_show(&now, name);
	if (before && shown && text_equal(before->meta.uid, shown->meta.uid))
		sight->told = sight->told || progress_differs(before, shown);
	return 0;
}

/* Nothing more can be learned by waiting. */
static bool all_seen(const struct sight *sight, const char *name)
{
	const struct key_rotation *shown = rotations_to_show(&sight->rotations, name);
	bool goes_on = shown && !rotation_is_over(shown);
	uint64_t now = clock_monotonic();
	bool leader_known = !goes_on || !sight->leader.asked || leader_missing(&sight->leader, now) ||
			    leader_renews(&sight->leader, now);
	return all_true(sight->reports, sight->fleet.count) && leader_known && (sight->told || !shows_speed(shown));
}

static int look_once(struct session *session, const char *name, const struct fleet *first,
		     const struct rotations *first_rotations, struct sight *sight, struct error **err)
{
	struct kube *kube = &session->cluster->kube;
	int rc = fleet_read(&sight->fleet, kube, err);
	if (rc == 0)
		rc = look_at_rotations(session, name, first_rotations, sight, err);
	if (rc == 0)
		rc = leader_look(&sight->leader, kube, err);
	if (rc < 0)
		return rc;
	free(sight->reports);
	sight->reports = xcalloc(sight->fleet.count + 1, sizeof(*sight->reports));
	compare(first, &sight->fleet, sight->reports);
	return 0;
}

static int look(struct session *session, const char *name, const struct rotations *first_rotations, struct sight *sight,
		struct error **err)
{
	struct fleet first = {0};
	int rc = fleet_read(&first, &session->cluster->kube, err);
	uint64_t until = clock_monotonic() + REPORT_WAIT;
	while (rc == 0) {
		rc = look_once(session, name, &first, first_rotations, sight, err);
		if (rc < 0 || all_seen(sight, name) || clock_monotonic() >= until)
			break;
		rc = loop_pause(session->cluster->loop, LOOK_INTERVAL, err);
	}
	fleet_free(&first);
	return rc;
}

/* --- all of it --- */

static int print(struct command_context *context, const struct fleet_view *view, struct error **err)
{
	if (!context->options.json) {
		fleet_view_print(stdout, view);
		context->printed_document = true;
		return 0;
	}
	struct json_writer w = JSON_WRITER_INIT(STATUS_JSON_MAX);
	int rc = fleet_view_write_json(view, &w, err);
	const char *text = rc == 0 ? json_text(&w) : NULL;
	if (text)
		puts(text);
	context->printed_document = text;
	json_writer_free(&w);
	return rc;
}

static int show(struct command_context *context, const struct fleet_view *view, struct error **err)
{
	int rc = print(context, view, err);
	if (rc < 0)
		return rc;
	fflush(stdout);
	_cleanup_free_ char *finding = fleet_view_finding(view);
	return finding ? error_set(err, ERROR_FINDING, "%s", finding) : 0;
}

int fleet_status(struct command_context *context, struct session *session, struct error **err)
{
	const char *name = context->options.argument_count ? context->options.arguments[0] : NULL;
	_cleanup_(rotations_free) struct rotations first = {0};
	_cleanup_(sight_free) struct sight sight = {0};
	int rc = rotations_read(&session->cluster->kube, &first, err);
	if (rc < 0)
		return rc;
	if (name && !rotations_to_show(&first, name))
		return error_set(err, ERROR_NOT_FOUND, "there is no KeyRotation %s", name);
	rc = look(session, name, &first, &sight, err);
	if (rc < 0)
		return rc;
	struct fleet_view view = {.rotation = rotations_to_show(&sight.rotations, name),
				  .all = &sight.rotations,
				  .invoked_as = context->invoked_as,
				  .leader = &sight.leader,
				  .now = clock_monotonic(),
				  .told = sight.told};
	if (name && !view.rotation)
		return error_set(err, ERROR_NOT_FOUND, "KeyRotation %s was deleted", name);
	_cleanup_free_ struct viewed_server *servers =
		fleet_view_servers(view.rotation, &sight.fleet, sight.reports, &view.server_count);
	view.servers = servers;
	return show(context, &view, err);
}
