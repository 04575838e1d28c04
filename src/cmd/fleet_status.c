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

int fleet_status_look(struct session *session, struct fleet *fleet, bool **ret, struct error **err)
{
	struct kube *kube = &session->cluster->kube;
	struct fleet first = {0};
	_cleanup_free_ bool *reports = NULL;
	const bool never = false;
	int rc = fleet_read(&first, kube, err);
	uint64_t until = clock_monotonic() + REPORT_WAIT;
	while (rc == 0) {
		rc = fleet_read(fleet, kube, err);
		if (rc < 0)
			break;
		free(reports);
		reports = xcalloc(fleet->count + 1, sizeof(*reports));
		compare(&first, fleet, reports);
		if (all_true(reports, fleet->count) || clock_monotonic() >= until)
			break;
		rc = loop_run_until(session->cluster->loop, &never, clock_monotonic() + LOOK_INTERVAL, err);
		rc = error_forgive(err, rc, ERROR_DEADLINE);
	}
	fleet_free(&first);
	if (rc == 0)
		*ret = steal(reports);
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
	_cleanup_(rotations_free) struct rotations rotations = {0};
	_cleanup_(fleet_free) struct fleet fleet = {0};
	_cleanup_free_ bool *reports = NULL;
	int rc = rotations_read(&session->cluster->kube, &rotations, err);
	if (rc < 0)
		return rc;
	struct fleet_view view = {
		.rotation = rotations_to_show(&rotations, name), .all = &rotations, .invoked_as = context->invoked_as};
	if (name && !view.rotation)
		return error_set(err, ERROR_NOT_FOUND, "there is no KeyRotation %s", name);
	rc = fleet_status_look(session, &fleet, &reports, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ struct viewed_server *servers =
		fleet_view_servers(view.rotation, &fleet, reports, &view.server_count);
	view.servers = servers;
	return show(context, &view, err);
}
