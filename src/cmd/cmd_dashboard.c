/* dashboard: a page that shows where a rotation stands, in a browser of this machine; or what a flight record has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/browser.h"
#include "cmd/dashboard_feed.h"
#include "cmd/dashboard_model.h"
#include "cmd/dashboard_replay.h"
#include "cmd/session.h"
#include "serve/page.h"

#define PUSH_INTERVAL (250 * NS_PER_MS) /* between two documents, at least */
#define TICK NS_PER_S                   /* ages grow without news, too */

struct dashboard {
	struct command_context *context;
	struct loop *loop;
	struct dashboard_store store;
	struct dashboard_feed *feed;     /* NULL: a record is shown */
	struct dashboard_replay *replay; /* NULL: objects are */
	struct page *page;
	struct browser *browser;
	const char *from;
	struct loop_timer timer;
	uint64_t pushed_at;
};

/* --- pushing --- */

static void push(struct dashboard *d, uint64_t now)
{
	struct json_writer w = JSON_WRITER_INIT(DASHBOARD_JSON_MAX);
	struct dashboard_scene scene = {.store = &d->store,
					.server = d->from,
					.invoked_as = d->context->invoked_as,
					.now = now,
					.wall = clock_wall()};
	if (d->feed)
		dashboard_feed_look(d->feed);
	if (d->replay)
		dashboard_replay_place(d->replay, &scene);
	dashboard_model_write(&scene, &w);
	/* A document that is too long is not sent; the page then says how old the last one is. */
	if (json_text(&w))
		page_push(d->page, &w.out);
	json_writer_free(&w);
	d->pushed_at = now;
}

static void on_timer(void *arg)
{
	struct dashboard *d = arg;
	uint64_t now = clock_monotonic();
	push(d, now);
	loop_timer_set(d->loop, &d->timer, now + TICK, on_timer, d);
}

static void on_change(void *arg)
{
	struct dashboard *d = arg;
	loop_timer_set(d->loop, &d->timer, d->pushed_at + PUSH_INTERVAL, on_timer, d);
}

/* --- from start to end --- */

static void close_dashboard(struct dashboard *d)
{
	if (d->loop)
		loop_timer_cancel(d->loop, &d->timer);
	browser_close(d->browser);
	dashboard_feed_stop(d->feed);
	dashboard_replay_stop(d->replay);
	page_stop(d->page);
	dashboard_store_free(&d->store);
}

/* The address is the one thing on stdout: whoever has it sees the page. */
static void tell(struct dashboard *d)
{
	const char *url = page_url(d->page);
	if (d->context->options.json)
		printf("{\"kind\":\"DashboardAddress\",\"version\":1,\"url\":\"%s\"}\n", url);
	else
		puts(url);
	fflush(stdout);
	d->context->printed_document = true;
	fprintf(stderr, "read only; it is safe to close the page, and to stop this with Control-C\n");
	if (!d->context->options.no_open)
		browser_open(url, d->context->environment, &d->browser);
}

static int run(struct dashboard *d, struct error **err)
{
	const bool never = false;
	tell(d);
	on_timer(d);
	return loop_run_until(d->loop, &never, 0, err);
}

static int show_cluster(struct command_context *context, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(web_stopp) struct web *web = NULL;
	_cleanup_(close_dashboard) struct dashboard d = {.context = context};
	int rc = session_open_patiently(context, SESSION_API, &session, err);
	if (rc == 0)
		rc = web_start(session.cluster->loop, &web, err);
	if (rc == 0)
		rc = page_start(web, &d.page, err);
	if (rc < 0)
		return rc;
	d.loop = session.cluster->loop;
	d.from = session.cluster->kube.name;
	d.store.name = context->options.argument_count ? context->options.arguments[0] : NULL;
	d.feed = dashboard_feed_start(&session.cluster->kube, web, &d.store, on_change, &d);
	return run(&d, err);
}

static int show_record(struct command_context *context, struct error **err)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	_cleanup_(web_stopp) struct web *web = NULL;
	_cleanup_(close_dashboard) struct dashboard d = {.context = context};
	int rc = loop_new(&loop, err);
	if (rc == 0)
		rc = web_start(loop, &web, err);
	if (rc == 0)
		rc = page_start(web, &d.page, err);
	d.loop = loop;
	d.from = context->options.replay;
	if (rc == 0)
		rc = dashboard_replay_start(loop, d.from, &d.store, on_change, &d, &d.replay, err);
	if (rc == 0)
		rc = run(&d, err);
	context->signal = loop ? loop_signal(loop) : 0;
	return rc;
}

int cmd_dashboard(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	if (o->argument_count > 1 || (o->replay && o->argument_count > 0))
		return error_set(err, ERROR_USAGE, "dashboard takes one KeyRotation, or --replay FILE");
	return o->replay ? show_record(context, err) : show_cluster(context, err);
}
