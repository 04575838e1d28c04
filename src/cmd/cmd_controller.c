#include <stdio.h>

#include "base/clock.h"
#include "client/kube/lock.h"
#include "client/kube/refusals.h"
#include "cmd/monitor.h"
#include "cmd/session.h"
#include "engine/controller.h"
#include "engine/throttle.h"

#define URLS_PAUSE (2 * NS_PER_S)

static void say(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "%s\n", text);
}

/* Every API server by its own address, and the Lease by a client of its own. */
struct clients {
	struct kube *kubes, leases;
	struct kube **servers;
	size_t count;
};

static void clients_free(struct clients *clients)
{
	for (size_t i = 0; i < clients->count; i++)
		http_client_free(clients->kubes[i].http);
	http_client_free(clients->leases.http);
	free(clients->kubes);
	free(clients->servers);
}

static int open_clients(struct cluster *cluster, const struct strings *urls, struct clients *ret, struct error **err)
{
	ret->kubes = xcalloc(urls->count + 1, sizeof(*ret->kubes));
	ret->servers = xcalloc(urls->count + 1, sizeof(*ret->servers));
	int rc = kube_access_client(cluster->access, cluster->loop, NULL, 2, &ret->leases.http, err);
	ret->leases.loop = cluster->loop;
	ret->leases.name = cluster->kube.name;
	/* A sweep goes through one of them, with so many writes at once. */
	for (size_t i = 0; rc == 0 && i < urls->count; i++) {
		struct kube *kube = &ret->kubes[i];
		rc = kube_access_client(cluster->access, cluster->loop, urls->items[i], THROTTLE_CONCURRENCY_MAX + 4,
					&kube->http, err);
		kube->loop = cluster->loop;
		kube->name = urls->items[i];
		ret->servers[i] = kube;
		ret->count += rc == 0;
	}
	return rc;
}

static int find_urls(struct cluster *cluster, const struct options *o, struct strings *ret, struct error **err)
{
	struct refusals refusals = {0};
	for (size_t i = 0; i < o->apiservers.count; i++)
		if (!strings_has(ret, o->apiservers.items[i]))
			strings_add(ret, o->apiservers.items[i]);
	for (int told = 0; ret->count == 0;) {
		int rc = kube_endpoint_urls_fetch(&cluster->kube, ret, err);
		bool refused = refusals_may_pass(&refusals, rc, clock_monotonic());
		if (rc != -ERROR_NETWORK && rc != -ERROR_BUSY && !refused)
			return rc;
		if (rc != told)
			say(NULL, error_message(*err));
		told = rc;
		error_clear(err);
		rc = loop_pause(cluster->loop, URLS_PAUSE, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- what monitoring sees --- */

static struct request_source source_of(const char *use, const struct kube *kube)
{
	return (struct request_source){use, kube->name, http_client_counts(kube->http)};
}

static void show(void *arg, const struct controller_view *view)
{
	struct monitor *monitor = arg;
	const struct controller_options *options = view->options;
	struct metrics_text text = METRICS_TEXT_INIT;
	_cleanup_free_ struct request_source *sources = xcalloc(options->server_count + 2, sizeof(*sources));
	sources[0] = source_of("work", &options->cluster->kube);
	sources[1] = source_of("lease", options->leases);
	for (size_t i = 0; i < options->server_count; i++)
		sources[i + 2] = source_of("server", options->servers[i]);
	controller_metrics_write(&text, view);
	request_metrics_write(&text, sources, options->server_count + 2);
	monitor_publish(monitor, &text, view->not_ready);
	metrics_text_free(&text);
}

/* With the addresses that the API servers have now. */
static int run(const struct options *o, struct controller_options *options, struct error **err)
{
	_cleanup_strings_ urls = {0};
	_cleanup_(clients_free) struct clients clients = {0};
	int rc = find_urls(options->cluster, o, &urls, err);
	if (rc == 0)
		rc = open_clients(options->cluster, &urls, &clients, err);
	if (rc < 0)
		return rc;
	options->servers = clients.servers;
	options->server_count = clients.count;
	options->leases = &clients.leases;
	return controller_run(options, err);
}

int cmd_controller(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	_cleanup_(web_stopp) struct web *web = NULL; /* its one thread watches, and serves */
	_cleanup_(monitor_closep) struct monitor *monitor = NULL;
	for (size_t i = 0; i < o->namespaces.count; i++)
		if (!text_equal(o->namespaces.items[i], LOCK_NAMESPACE))
			return error_set(err, ERROR_USAGE,
					 "--namespace %s: the Lease lies in " LOCK_NAMESPACE
					 ", where every rotation looks "
					 "for it, so that no two go on at once",
					 o->namespaces.items[i]);
	int rc = session_open_patiently(context, SESSION_API, &session, err);
	if (rc == 0)
		rc = web_start(session.cluster->loop, &web, err);
	if (rc == 0)
		rc = monitor_open(o, web, &monitor, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ char *instance = kube_lock_holder();
	struct controller_options options = {.cluster = session.cluster,
					     .web = web,
					     .by_endpoints = o->apiservers.count == 0,
					     .instance = instance,
					     .settle = o->settle,
					     .has_settle = o->has_settle,
					     .census_interval = o->census_interval,
					     .record_path = o->record,
					     .on_note = say,
					     .on_view = monitor ? show : NULL,
					     .arg = monitor};
	while (rc == 0)
		rc = run(o, &options, err);
	return rc;
}
