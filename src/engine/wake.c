#include "engine/wake.h"

#include <stdlib.h>

#include "client/kube/watcher.h"
#include "engine/key_api.h"

#define FAILURES_TOLD 4                 /* in a row: about 5 s, in which a server may have been started anew */
#define KNOWN_MAX (2 * KEY_SERVERS_MAX) /* further objects wake each time they change */

struct known {
	char *uid;
	uint64_t generation; /* counts changes of its spec alone */
};

struct followed {
	struct wake *wake;
	bool servers; /* else rotations */
	struct kube_watch *watch;
	struct known known[KNOWN_MAX];
	size_t count;
};

struct wake {
	struct cluster *cluster;
	struct web *web;
	char *node_name; /* NULL: the controller */
	struct followed rotations, servers;
	bool woken;
	bool told; /* that nothing wakes it */
};

/* Whether its spec is another than was known; remembers it. */
static bool spec_changed(struct followed *followed, const struct watch_object *object)
{
	uint64_t generation = 0;
	json_u64_at(json_at(object->json, "metadata", NULL), "generation", &generation);
	for (size_t i = 0; i < followed->count; i++)
		if (text_equal(followed->known[i].uid, object->uid)) {
			bool changed = followed->known[i].generation != generation;
			followed->known[i].generation = generation;
			return changed;
		}
	if (followed->count < KNOWN_MAX)
		followed->known[followed->count++] = (struct known){xstrdup(object->uid), generation};
	return true;
}

static void forget(struct followed *followed)
{
	for (size_t i = 0; i < followed->count; i++)
		free(followed->known[i].uid);
	followed->count = 0;
}

static void see(struct followed *followed, const struct watch_object *object)
{
	struct wake *wake = followed->wake;
	bool changed = spec_changed(followed, object);
	if (!followed->servers)
		wake->woken |= changed;
	else if (wake->node_name)
		wake->woken |= changed && text_equal(object->name, wake->node_name);
	else
		wake->woken |= !changed; /* a report; orders are the controller's own */
}

static void on_relist(void *arg)
{
	forget(arg);
}

static void on_listed(void *arg, const struct watch_object *object)
{
	see(arg, object);
}

static void on_synced(void *arg)
{
	(void)arg;
}

static void on_event(void *arg, enum watch_event_type type, const struct watch_object *object)
{
	struct followed *followed = arg;
	if (type == WATCH_DELETED)
		followed->wake->woken = true;
	else
		see(followed, object);
}

static const struct watch_handler handler = {
	.on_relist = on_relist, .on_listed = on_listed, .on_synced = on_synced, .on_event = on_event};

static void follow(struct wake *wake, struct followed *followed, const struct kube_resource *resource)
{
	const struct kube_watch_options options = {.resource = resource, .objects = true};
	followed->wake = wake;
	followed->watch = kube_watch_start(&wake->cluster->kube, wake->web, &options, &handler, followed);
}

struct wake *wake_start(struct cluster *cluster, struct web *web, const char *node_name)
{
	static char group[] = KEY_GROUP, version[] = KEY_VERSION, api_version[] = KEY_API_VERSION;
	static char rotations[] = "keyrotations", servers[] = "keyservers";
	static const struct kube_resource resources[] = {{.group = group,
							  .version = version,
							  .api_version = api_version,
							  .plural = rotations,
							  .resource = rotations},
							 {.group = group,
							  .version = version,
							  .api_version = api_version,
							  .plural = servers,
							  .resource = servers}};
	struct wake *wake = xcalloc(1, sizeof(*wake));
	wake->cluster = cluster;
	wake->web = web;
	wake->node_name = node_name ? xstrdup(node_name) : NULL;
	wake->servers.servers = true;
	follow(wake, &wake->rotations, &resources[0]);
	follow(wake, &wake->servers, &resources[1]);
	return wake;
}

void wake_stop(struct wake *wake)
{
	if (!wake)
		return;
	kube_watch_stop(wake->rotations.watch);
	kube_watch_stop(wake->servers.watch);
	forget(&wake->rotations);
	forget(&wake->servers);
	free(wake->node_name);
	free(wake);
}

static const char *trouble_of(const struct followed *followed)
{
	return kube_watch_failures(followed->watch) >= FAILURES_TOLD ? kube_watch_problem(followed->watch) : NULL;
}

const char *wake_trouble(const struct wake *wake)
{
	const char *trouble = trouble_of(&wake->rotations);
	return trouble ? trouble : trouble_of(&wake->servers);
}

const char *wake_news(struct wake *wake)
{
	const char *trouble = wake_trouble(wake);
	bool news = trouble && !wake->told;
	unsigned failures = kube_watch_failures(wake->rotations.watch) + kube_watch_failures(wake->servers.watch);
	/* A connection that opens and breaks off again and again is one trouble. */
	wake->told = trouble || (wake->told && failures > 0);
	return news ? trouble : NULL;
}

int wake_wait(struct wake *wake, uint64_t not_before, uint64_t due, struct error **err)
{
	int rc = loop_pause_until(wake->cluster->loop, not_before, err);
	if (rc == 0 && due > not_before) {
		rc = loop_run_until(wake->cluster->loop, &wake->woken, due, err);
		rc = error_forgive(err, rc, ERROR_DEADLINE);
	}
	wake->woken = false;
	return rc;
}
