/* What others create, change and delete while a sweep goes on, told by watches of metadata to the tally. Without them, where a
 * proxy is in the way or rights are missing, progress is less exact; that is said once. */
#include "client/kube/watcher.h"
#include "engine/sweep_internal.h"

#define TROUBLE_TIME (5 * NS_PER_S) /* shorter ones are a connection that is renewed */

struct sweep_watch {
	struct sweep *sweep;
	size_t resource;
	struct kube_watch *watch;
	uint64_t trouble_since; /* 0: there is none */
};

static void on_relist(void *arg)
{
	(void)arg; /* what is missed until on_synced is the next page's to put right */
}

static void on_listed(void *arg, const struct watch_object *object)
{
	(void)arg, (void)object; /* objects are counted */
}

static void on_synced(void *arg)
{
	struct sweep_watch *watch = arg;
	uint64_t objects;

	if (kube_watch_count(watch->watch, &objects))
		sweep_tally_count(&watch->sweep->tally, watch->resource, objects);
}

static bool is_ahead(const struct sweep *sweep, size_t resource, const struct watch_object *object)
{
	const struct sweep_lister *lister = &sweep->lister;

	if (resource != lister->resource || lister->last_name == NULL)
		return resource >= lister->resource;
	return sweep_key_compare(object->namespace_, object->name, lister->last_namespace, lister->last_name) > 0;
}

static void on_event(void *arg, enum watch_event_type type, const struct watch_object *object)
{
	struct sweep_watch *watch = arg;
	struct sweep *sweep = watch->sweep;
	uint64_t revision;

	/* Most are our own writes. A change is of use only where it makes ours superfluous. */
	if (type == WATCH_MODIFIED && !sweep_may_skip(sweep, watch->resource, UINT64_MAX))
		return;
	if (text_to_u64(object->resource_version, &revision) < 0)
		return;
	sweep_tally_event(&sweep->tally, watch->resource, type, is_ahead(sweep, watch->resource, object), object->uid,
			  revision);
}

static const struct watch_handler handler = {
	.on_relist = on_relist, .on_listed = on_listed, .on_synced = on_synced, .on_event = on_event};

/* Lists of single namespaces have a snapshot each; what was named is not listed at all. */
static bool is_of_use(const struct sweep_options *options)
{
	return options->web != NULL && options->on_progress != NULL && options->named_count == 0 &&
	       (options->namespaces == NULL || options->namespaces->count == 0);
}

void sweep_watch_start(struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;

	if (!is_of_use(o))
		return;
	sweep->watch_count = o->resource_count < SWEEP_WATCHES_MAX ? o->resource_count : SWEEP_WATCHES_MAX;
	sweep->watches = xcalloc(sweep->watch_count, sizeof(*sweep->watches));
	for (size_t i = 0; i < sweep->watch_count; i++) {
		struct sweep_watch *watch = &sweep->watches[i];

		*watch = (struct sweep_watch){.sweep = sweep, .resource = i};
		watch->watch = kube_watch_start(
			o->kube, o->web, &(struct kube_watch_options){.resource = o->resources[i], .count = true},
			&handler, watch);
	}
}

void sweep_watch_check(struct sweep *sweep, uint64_t now)
{
	const struct sweep_options *o = sweep->options;

	for (size_t i = 0; i < sweep->watch_count && !sweep->watch_noted; i++) {
		struct sweep_watch *watch = &sweep->watches[i];
		const char *problem = kube_watch_problem(watch->watch);
		_cleanup_free_ char *note = NULL;

		if (problem == NULL || watch->trouble_since == 0)
			watch->trouble_since = problem != NULL ? now : 0;
		if (problem == NULL || now < watch->trouble_since + TROUBLE_TIME)
			continue;
		sweep->watch_noted = true;
		note = xasprintf("progress leaves out what others create and delete: %s", problem);
		if (o->on_note != NULL)
			o->on_note(o->arg, note);
	}
}

void sweep_watch_stop(struct sweep *sweep)
{
	for (size_t i = 0; i < sweep->watch_count; i++)
		kube_watch_stop(sweep->watches[i].watch);
	free(sweep->watches);
}
