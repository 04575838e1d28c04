#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/fleet_rotate.h"
#include "cmd/no_etcd.h"
#include "cmd/rotating.h"
#include "cmd/session_node.h"

#define ANSWER_INTERVAL (100 * NS_PER_MS) /* between looks for an answer */

/* What the screen shows of a run: one line a phase when it ends, the running one drawn again. */
struct run_view {
	struct command_context *context;
	bool begun;
	enum phase phase;
};

static void show_phase(void *arg, enum phase phase, const char *text, uint64_t ns)
{
	struct run_view *view = arg;
	_cleanup_free_ char *time = text_human_duration(ns);
	if (phase != PHASE_BLOCKED)
		screen_line(&view->context->screen, "✓ %-15s %s   %s", phase_name(phase), text, time);
}

static void show_decision(void *arg, const struct decision *d, const struct observation *seen, const char *text)
{
	struct run_view *view = arg;
	uint64_t now = clock_monotonic();
	(void)seen;
	bool changed = !view->begun || view->phase != d->phase;
	view->begun = true;
	view->phase = d->phase;
	if (d->phase != PHASE_DONE)
		screen_running(&view->context->screen, now, changed, "  %-15s %s", phase_name(d->phase), text);
}

static void show_sweep(void *arg, const struct sweep_progress *progress)
{
	rotating_show_sweep(((struct run_view *)arg)->context, progress);
}

static void show_census(void *arg, uint64_t done, uint64_t total)
{
	rotating_show_census(((struct run_view *)arg)->context, done, total);
}

static void show_note(void *arg, const char *text)
{
	rotating_show_note(((struct run_view *)arg)->context, text);
}

/* Off a terminal nobody can be asked: --yes says that it is meant. Known before anything is opened. */
static int check_confirmable(const struct command_context *context, struct error **err)
{
	if (context->options.yes || (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))
		return 0;
	int rc = error_set(err, ERROR_USAGE,
			   "rotate changes the server's configuration: say --yes where nobody can be asked");
	error_set_hint(err, "kube-rekey plan shows what it will do");
	return rc;
}

static int confirm(struct command_context *context, struct loop *loop, const struct rotation *rotation,
		   struct error **err)
{
	const struct journal *journal = rotation_journal(rotation);
	_cleanup_free_ char *old_keys = strings_join(&journal->old_keys, ", "),
			    *new_keys = strings_join(&journal->new_keys, ", ");
	_cleanup_free_ char *plain = rotating_plaintext_text(rotation_path(rotation));
	if (plain)
		screen_line(&context->screen, "%s", plain);
	if (context->options.yes)
		return 0;
	rotating_print_path(stderr, rotation_path(rotation), rotation_position(rotation));
	fprintf(stderr, "Old: %s. New: %s. ", *old_keys ? old_keys : "none", *new_keys ? new_keys : "none");
	return rotating_ask(loop, err);
}

static int rotate_file(struct command_context *context, struct session *session, struct error **err)
{
	_cleanup_(rotation_freep) struct rotation *rotation = NULL;
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct run_view view = {.context = context};
	struct rotation_options options = rotating_options(context, session);
	options.open_kms = true;
	options.on_decision = show_decision;
	options.on_phase = show_phase;
	options.on_sweep = show_sweep;
	options.on_census = show_census;
	options.on_note = show_note;
	options.arg = &view;
	int rc = rotation_open(&options, &rotation, err);
	/* The rotation has its own copies of keys, and wipes them when they are no longer needed. */
	encryption_config_free(steal(session->config));
	if (rc == 0)
		rc = confirm(context, session->cluster->loop, rotation, err);
	if (rc < 0)
		return rc;
	rc = rotation_run(rotation, &report, err);
	screen_clear(&context->screen);
	if (report)
		rotating_print_report(context, report, rc);
	return rc;
}

/* What stopped it may be a file that lacks a key: then `err` says what was done, and what is left to do. */
static void mend(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	struct cluster here = {0};
	_cleanup_error_ failed = NULL;
	_cleanup_free_ char *text = NULL;
	if (o->target && !text_equal(o->target, "auto") && !text_equal(o->target, "file"))
		return;
	const char *path = o->encryption_config;
	if (!path && session_find_node(context, &here, NULL) == 0 && here.has_node)
		path = here.node.encryption_config_host;
	int rc = path ? rotation_mend_alone(path, o->state_dir ? o->state_dir : DEFAULT_STATE_DIRECTORY, &text, &failed)
		      : 0;
	if (rc > 0)
		error_set_hint(err,
			       "%s; run the same command again when the API server has loaded it (start it, if "
			       "it is down)",
			       text);
	else if (rc < 0)
		error_set_hint(err, "%s", error_message(failed));
	if (here.has_node)
		node_facts_free(&here.node);
}

static int rotate(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	int rc = check_confirmable(context, err);
	if (rc == 0)
		rc = session_open(context, SESSION_ETCD | SESSION_CONFIG | SESSION_AGENTS, &session, err);
	if (rc < 0)
		return rc;
	if (session.agents)
		return fleet_rotate(context, &session, err);
	if (o->name || o->no_wait)
		return error_set(err, ERROR_USAGE,
				 "--name and --no-wait are for --target agents, and no KeyServer exists");
	session_tell_target(&session);
	return rotate_file(context, &session, err);
}

int cmd_rotate(struct command_context *context, struct error **err)
{
	if (context->options.no_etcd)
		return no_etcd_rotate(context, err);
	int rc = rotate(context, err);
	if (rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_AUTH)
		mend(context, err);
	return rc;
}
