#include "cmd/fleet_follow.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/kube/refusals.h"
#include "cmd/fleet_view.h"
#include "cmd/rotating.h"
#include "engine/key_rotation_fetch.h"

#define LOOK_INTERVAL NS_PER_S
#define BLOCKED_LOOKS 3 /* in a row: what one look shows may have passed by the next */
#define WORDS_MAX 900
#define PROGRESS_AGE (15 * NS_PER_S) /* a controller tells each 2 s; so long it may lead another one's life */

/* What was shown of a server last. */
struct shown {
	char *name, *line;
};
struct follower {
	struct command_context *context;
	struct session *session;
	const char *name;
	struct key_rotation *rotation; /* as read last; NULL: not yet */
	struct fleet fleet;
	char *phase; /* shown last */
	uint64_t phase_since;
	struct refusals refusals;
	struct leader leader;
	bool told_refused; /* that the Lease may not be read */
	uint64_t told_at;  /* when progress was seen to change */
	unsigned blocked;
	struct shown *shown;
	size_t shown_count;
	struct rotation_phase *phases;
	size_t phase_count;
};

static void follower_close(struct follower *f)
{
	key_rotation_free(f->rotation);
	fleet_free(&f->fleet);
	leader_free(&f->leader);
	for (size_t i = 0; i < f->shown_count; i++) {
		free(f->shown[i].name);
		free(f->shown[i].line);
	}
	free(f->shown);
	free(f->phases);
	free(f->phase);
}

/* --- what changed --- */

/* The controller's own words are for this moment; "progresses" is why it waits. */
static char *why(const struct key_rotation *rotation)
{
	const struct key_rotation_condition *condition = key_rotation_condition(&rotation->status, "Progressing");
	const char *text = condition && condition->message ? condition->message : "";
	return text_printable(text, strlen(text), WORDS_MAX);
}

static void note_phase(struct follower *f, uint64_t now)
{
	for (int phase = 0; phase <= PHASE_DONE && f->phase; phase++) {
		if (!text_equal(f->phase, phase_name((enum phase)phase)))
			continue;
		f->phases = xreallocarray(f->phases, f->phase_count + 1, sizeof(*f->phases));
		f->phases[f->phase_count++] =
			(struct rotation_phase){.phase = (enum phase)phase, .ns = now - f->phase_since};
	}
}

/* The servers at the end of a phase: "cp-1, cp-2 at step 1". */
static char *positions(const struct follower *f)
{
	_cleanup_strings_ parts = {0};
	for (size_t i = 0; i < f->rotation->status.server_count; i++) {
		const struct key_rotation_server *server = &f->rotation->status.servers[i];
		const struct fleet_server *known = fleet_find(&f->fleet, server->name);
		bool counted = known && rotation_counts_steps(f->rotation, &known->last->status);
		int step = counted ? key_rotation_step(f->rotation, known->last->status.file_step) : STEP_NONE;
		_cleanup_free_ char *part = server->forgotten   ? xasprintf("%s forgotten", server->name)
					    : step == STEP_NONE ? xstrdup(server->name)
								: xasprintf("%s step %d", server->name, step);
		strings_add(&parts, part);
	}
	return strings_join(&parts, ", ");
}

static bool show_phase(struct follower *f, uint64_t now)
{
	_cleanup_free_ char *words = rotation_words(f->rotation);
	_cleanup_free_ char *phase = text_printable(words, strlen(words), 64);
	if (text_equal(phase, f->phase))
		return false;
	if (f->phase) {
		_cleanup_free_ char *took = text_human_duration(now - f->phase_since), *at = positions(f);
		screen_line(&f->context->screen, "✓ %-15s %s   %s", f->phase, at, took);
	}
	note_phase(f, now);
	free(f->phase);
	f->phase = steal(phase);
	f->phase_since = now;
	return true;
}

static struct shown *shown(struct follower *f, const char *name)
{
	for (size_t i = 0; i < f->shown_count; i++)
		if (text_equal(f->shown[i].name, name))
			return &f->shown[i];
	f->shown = xreallocarray(f->shown, f->shown_count + 1, sizeof(*f->shown));
	struct shown *added = &f->shown[f->shown_count++];
	*added = (struct shown){.name = xstrdup(name)};
	return added;
}

static char *server_line(const struct key_rotation *rotation, const struct server_observation *seen)
{
	int step = key_rotation_step(rotation, seen->file_step);
	if (!seen->answering)
		return xasprintf("does not answer%s%s", seen->why ? ": " : "", seen->why ? seen->why : "");
	if (step == STEP_NONE)
		return xstrdup("answers");
	if (seen->loaded_is_file)
		return xasprintf("step %d in its file, loaded", step);
	return xasprintf("step %d in its file, not loaded yet", step);
}

/* A line for each server whose state changed. Silence counts from when it was seen twice: `looked_at` is 0 before. */
static void show_servers(struct follower *f, uint64_t now)
{
	for (size_t i = 0; i < f->fleet.count; i++) {
		const struct fleet_server *server = &f->fleet.servers[i];
		struct shown *before = shown(f, server->last->meta.name);
		struct server_observation seen = {0};
		if (server->looked_at == 0 && now < server->beat_read_at + FLEET_SILENCE)
			continue;
		if (!rotation_counts_steps(f->rotation, &server->last->status) && server->last->status.answering)
			continue;
		fleet_observe(server, server->last->meta.name, NULL, false, now, &seen);
		_cleanup_free_ char *line = server_line(f->rotation, &seen);
		server_observation_free(&seen);
		/* How long it has been silent is said once. */
		bool silent = text_starts(line, "does not answer") && text_starts(before->line, "does not answer");
		if (silent || text_equal(line, before->line))
			continue;
		_cleanup_free_ char *words = text_printable(line, strlen(line), WORDS_MAX);
		screen_line(&f->context->screen, "    %-16s %s", before->name, words);
		free(before->line);
		before->line = steal(line);
	}
}

/* "; none leads now: ..." behind what a controller said last. New string. */
static char *beside(const struct follower *f, uint64_t now)
{
	if (!leader_missing(&f->leader, now) && !leader_late(&f->leader, now))
		return xstrdup("");
	_cleanup_free_ char *words = leader_words(&f->leader, now);
	return xasprintf(" (controller: %s)", words);
}

static void show_running(struct follower *f, uint64_t now, bool changed)
{
	const struct key_rotation_status *status = &f->rotation->status;
	_cleanup_free_ char *controller = beside(f, now);
	bool old = now > f->told_at + PROGRESS_AGE || *controller;
	/* All of it: of a sweep that ended, and another one has not begun. */
	if (text_equal(status->phase, phase_name(PHASE_REENCRYPT)) && status->progress.done < status->progress.total &&
	    !old) {
		const struct sweep_progress progress = {.total = status->progress.total,
							.done = status->progress.done,
							.per_second = status->progress.per_second,
							.eta = status->progress.eta_seconds * NS_PER_S,
							.resource = "",
							.namespace_ = status->progress.namespace_};
		rotating_show_sweep(f->context, &progress);
		return;
	}
	_cleanup_free_ char *text = why(f->rotation);
	_cleanup_free_ char *progress = old ? rotation_progress_words(f->rotation, false) : NULL;
	bool sweeps = progress && text_equal(status->phase, phase_name(PHASE_REENCRYPT));
	screen_running(&f->context->screen, now, changed, "  %-15s %s%s%s%s", f->phase, text, sweeps ? ": " : "",
		       sweeps ? progress : "", controller);
}

static void show(struct follower *f)
{
	uint64_t now = clock_monotonic();
	bool changed = show_phase(f, now);
	if (rotation_is_over(f->rotation))
		return;
	show_servers(f, now);
	show_running(f, now, changed);
}

/* --- looking --- */

static bool may_pass(struct follower *f, int rc)
{
	bool refused = refusals_may_pass(&f->refusals, rc, clock_monotonic());
	return (refused && f->rotation) || rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_EXPIRED ||
	       rc == -ERROR_PROTOCOL || rc == -ERROR_DEADLINE;
}

/* That it is not known is said once. */
static int look_for_leader(struct follower *f, struct kube *kube, struct error **err)
{
	int rc = leader_look(&f->leader, kube, err);
	if (rc < 0 || f->told_refused || f->leader.refused_at == 0)
		return rc;
	f->told_refused = true;
	_cleanup_free_ char *words = leader_words(&f->leader, clock_monotonic());
	_cleanup_free_ char *note = xasprintf("of controllers: %s", words);
	rotating_show_note(f->context, note);
	return 0;
}

static void note_progress(struct follower *f, const struct key_rotation *read, uint64_t now)
{
	const struct key_rotation_status *before = f->rotation ? &f->rotation->status : NULL, *status = &read->status;
	if (!before || before->progress.done != status->progress.done ||
	    before->progress.total != status->progress.total ||
	    before->progress.per_second != status->progress.per_second ||
	    before->progress.eta_seconds != status->progress.eta_seconds || !text_equal(before->phase, status->phase))
		f->told_at = now;
}

static int look(struct follower *f, struct error **err)
{
	struct kube *kube = &f->session->cluster->kube;
	_cleanup_error_ failed = NULL;
	struct key_rotation *rotation = NULL;
	int rc = key_rotation_fetch(kube, f->name, 0, &rotation, &failed);
	if (rc == 0) {
		note_progress(f, rotation, clock_monotonic());
		key_rotation_free(f->rotation);
		f->rotation = rotation;
		rc = fleet_read(&f->fleet, kube, &failed);
	}
	if (rc == 0)
		rc = look_for_leader(f, kube, &failed);
	bool passes = may_pass(f, rc);
	if (rc == 0) {
		show(f);
		return 0;
	}
	if (rc == -ERROR_NOT_FOUND && f->rotation)
		return error_set(err, ERROR_NOT_FOUND, "KeyRotation %s was deleted", f->name);
	if (!passes) {
		*err = steal(failed);
		return rc;
	}
	screen_running(&f->context->screen, clock_monotonic(), true, "  %-15s %s; looking again", "(not known)",
		       error_message(failed));
	return 0;
}

/* --- the end --- */

static bool only_objects(const struct key_rotation *rotation)
{
	const struct key_rotation_condition *degraded = key_rotation_condition(&rotation->status, "Degraded");
	for (int reason = 0; degraded && reason <= REASON_TOLD; reason++)
		if (text_equal(degraded->reason, reason_name((enum reason)reason)))
			return reason_is_of_objects((enum reason)reason);
	return false;
}

static void say_how_to_go_on(const struct follower *f, struct error **err)
{
	const char *program = f->context->invoked_as;
	error_set_hint(err, "follow it again: %s rotate --name %s; look: %s status %s; stop it: %s pause %s", program,
		       f->name, program, f->name, program, f->name);
}

static int blocked(const struct follower *f, struct error **err)
{
	_cleanup_free_ char *text = why(f->rotation);
	int rc = error_set(err, only_objects(f->rotation) ? ERROR_FINDING : ERROR_REFUSED,
			   "KeyRotation %s is blocked: %s", f->name, text);
	error_set_hint(err, "it goes on by itself when that is no longer so; follow it again: %s rotate --name %s",
		       f->context->invoked_as, f->name);
	return rc;
}

static int ended(const struct follower *f, struct error **err)
{
	const char *outcome = f->rotation->status.outcome;
	if (!outcome)
		return error_set(err, ERROR_NOT_FOUND, "KeyRotation %s is being deleted", f->name);
	if (text_equal(outcome, "Done"))
		return 0;
	_cleanup_free_ char *text = why(f->rotation);
	return error_set(err, ERROR_REFUSED, "KeyRotation %s ended: %s%s%s", f->name, outcome, *text ? ": " : "", text);
}

static int late(const struct follower *f, struct error **err)
{
	_cleanup_free_ char *text = why(f->rotation);
	int rc = error_set(err, ERROR_DEADLINE, "KeyRotation %s: %s", f->name, text);
	error_set_hint(err, "go on: %s resume %s", f->context->invoked_as, f->name);
	return rc;
}

static bool is_blocked(struct follower *f)
{
	bool now = f->rotation && text_equal(f->rotation->status.phase, phase_name(PHASE_BLOCKED));
	f->blocked = now ? f->blocked + 1 : 0;
	return f->blocked >= BLOCKED_LOOKS;
}

static int follow(struct follower *f, struct error **err)
{
	const uint64_t deadline = session_deadline(f->context, f->session);
	for (;;) {
		uint64_t due = clock_monotonic() + LOOK_INTERVAL;
		int rc = look(f, err);
		if (rc == 0 && f->rotation && rotation_is_over(f->rotation))
			return ended(f, err);
		if (rc == 0 && f->rotation && rotation_is_late(f->rotation))
			return late(f, err);
		if (rc == 0 && is_blocked(f))
			return blocked(f, err);
		if (rc == 0)
			rc = loop_pause_until(f->session->cluster->loop, due, err);
		if (rc == 0 && deadline && clock_monotonic() >= deadline)
			rc = error_set(err, ERROR_DEADLINE, "the deadline passed; KeyRotation %s goes on without us",
				       f->name);
		if (rc == -ERROR_INTERRUPTED) {
			error_clear(err);
			rc = error_set(err, ERROR_INTERRUPTED, "KeyRotation %s goes on without us", f->name);
		}
		if (rc == -ERROR_DEADLINE || rc == -ERROR_INTERRUPTED)
			say_how_to_go_on(f, err);
		if (rc < 0)
			return rc;
	}
}

int fleet_follow(struct command_context *context, struct session *session, const char *name, struct error **err)
{
	_cleanup_(follower_close) struct follower f = {.context = context, .session = session, .name = name};
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	int rc = follow(&f, err);
	screen_clear(&context->screen);
	if (!f.rotation)
		return rc;
	report = key_rotation_report(f.rotation, &f.fleet, clock_wall());
	report->phases = steal(f.phases);
	report->phase_count = f.phase_count;
	rotating_print_report(context, report, rc);
	return rc;
}
