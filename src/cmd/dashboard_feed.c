#include "cmd/dashboard_feed.h"

#include <stdlib.h>

#include "base/clock.h"
#include "client/kube/lock.h"
#include "client/kube/watcher.h"

#define RENEWAL \
	(3 * NS_PER_S) /* how long a connection may take that is made anew, before what is shown is called old */

struct followed {
	struct dashboard_feed *feed;
	enum dashboard_kind kind;
	struct kube_watch *watch;
};
struct dashboard_feed {
	struct dashboard_store *store;
	struct followed kinds[DASHBOARD_KINDS];
	void (*on_change)(void *arg);
	void *arg;
};

static void changed(const struct followed *followed)
{
	followed->feed->on_change(followed->feed->arg);
}

static void on_relist(void *arg)
{
	struct followed *followed = arg;
	dashboard_store_relist(followed->feed->store, followed->kind);
}

static void on_listed(void *arg, const struct watch_object *object)
{
	struct followed *followed = arg;
	dashboard_store_put(followed->feed->store, followed->kind, object->json, clock_monotonic(), clock_wall());
}

static void on_synced(void *arg)
{
	struct followed *followed = arg;
	dashboard_store_synced(followed->feed->store, followed->kind, clock_monotonic());
	changed(followed);
}

static void on_event(void *arg, enum watch_event_type type, const struct watch_object *object)
{
	struct followed *followed = arg;
	if (type == WATCH_DELETED)
		dashboard_store_remove(followed->feed->store, followed->kind, object->name);
	else
		on_listed(arg, object);
	changed(followed);
}

struct dashboard_feed *dashboard_feed_start(struct kube *kube, struct web *web, struct dashboard_store *store,
					    void (*on_change)(void *arg), void *arg)
{
	static const struct watch_handler handler = {
		.on_relist = on_relist, .on_listed = on_listed, .on_synced = on_synced, .on_event = on_event};
	static char ours[] = KEY_GROUP, our_version[] = KEY_VERSION, our_api[] = KEY_API_VERSION;
	static char rotations[] = "keyrotations", servers[] = "keyservers";
	static char events_group[] = "events.k8s.io", events_api[] = "events.k8s.io/v1", events[] = "events";
	static char leases_group[] = "coordination.k8s.io", leases_api[] = "coordination.k8s.io/v1",
		    leases[] = "leases";
	static char v1[] = "v1";
	static const struct kube_resource resources[DASHBOARD_KINDS] = {
		[DASHBOARD_ROTATION] = {.group = ours,
					.version = our_version,
					.api_version = our_api,
					.plural = rotations,
					.resource = rotations},
		[DASHBOARD_SERVER] = {.group = ours,
				      .version = our_version,
				      .api_version = our_api,
				      .plural = servers,
				      .resource = servers},
		[DASHBOARD_EVENT] = {.group = events_group,
				     .version = v1,
				     .api_version = events_api,
				     .plural = events,
				     .resource = events,
				     .namespaced = true},
		[DASHBOARD_LEASE] = {.group = leases_group,
				     .version = v1,
				     .api_version = leases_api,
				     .plural = leases,
				     .resource = leases,
				     .namespaced = true},
	};
	static const struct kube_watch_options options[DASHBOARD_KINDS] = {
		/* events about what is cluster-scoped are there */
		[DASHBOARD_EVENT] = {.namespace_ = "default", .field_selector = "regarding.kind=KeyRotation"},
		[DASHBOARD_LEASE] = {.namespace_ = LOCK_NAMESPACE, .field_selector = "metadata.name=" LOCK_NAME},
	};
	struct dashboard_feed *feed = xcalloc(1, sizeof(*feed));
	feed->store = store;
	feed->on_change = on_change;
	feed->arg = arg;
	for (int kind = 0; kind < DASHBOARD_KINDS; kind++) {
		struct kube_watch_options mine = options[kind];
		mine.resource = &resources[kind];
		mine.objects = true;
		feed->kinds[kind] = (struct followed){.feed = feed, .kind = (enum dashboard_kind)kind};
		feed->kinds[kind].watch = kube_watch_start(kube, web, &mine, &handler, &feed->kinds[kind]);
	}
	return feed;
}

static void look(struct dashboard_feed *feed, const struct followed *followed, uint64_t now)
{
	const struct dashboard_source *source = &feed->store->sources[followed->kind];
	bool synced = kube_watch_is_synced(followed->watch), open = synced && kube_watch_is_open(followed->watch);
	uint64_t heard = open ? now : source->synced_at;
	dashboard_store_watch(feed->store, followed->kind, synced && now <= heard + RENEWAL,
			      kube_watch_problem(followed->watch), heard);
}

void dashboard_feed_look(struct dashboard_feed *feed)
{
	for (size_t i = 0; i < DASHBOARD_KINDS; i++)
		look(feed, &feed->kinds[i], clock_monotonic());
}

void dashboard_feed_stop(struct dashboard_feed *feed)
{
	if (!feed)
		return;
	for (size_t i = 0; i < DASHBOARD_KINDS; i++)
		kube_watch_stop(feed->kinds[i].watch);
	free(feed);
}
