/* The census' counts beside the API server's own. */
#include "engine/census_internal.h"

#include <inttypes.h>

#include "base/clock.h"

#define TRIES 4
#define PAUSE (100 * NS_PER_MS) /* doubled each time */

static bool is_counted(const struct census_resource *resource, size_t etcd)
{
	return resource->chosen && resource->entry->etcd == etcd && resource->entry->proof != MAP_UNPROVED;
}

void census_counts_start(struct census_scan *scan, size_t etcd)
{
	const struct census *census = scan->census;
	struct census_counts *counts = &scan->counts[etcd];
	counts->asks = xcalloc(census->resource_count + 1, sizeof(*counts->asks));
	for (size_t i = 0; i < census->resource_count; i++) {
		if (is_counted(&census->resources[i], etcd))
			counts->asks[i] = (struct api_ask){.resource = census->resources[i].entry->resource,
							   .at = census->etcds[etcd].revision};
	}
	counts->running = api_firsts_start(scan->options->kube, counts->asks, census->resource_count);
}

void census_counts_clear(struct census_scan *scan)
{
	for (size_t etcd = 0; scan->counts && etcd < scan->census->etcd_count; etcd++) {
		struct census_counts *counts = &scan->counts[etcd];
		api_firsts_free(counts->running);
		for (size_t i = 0; counts->asks && i < scan->census->resource_count; i++)
			error_free(counts->asks[i].error);
		free(counts->asks);
		*counts = (struct census_counts){0};
	}
}

/* Only an answer takes the place of what was said before: a difference that cannot be looked at again stays one. */
static int ask_once_more(const struct census_scan *scan, struct api_ask *ask, struct error **err)
{
	struct api_first first = {0};
	_cleanup_error_ failed = NULL;
	int rc = api_probe_first(scan->options->kube, ask->resource, ask->at, &first, &failed);
	if (rc == -ERROR_INTERRUPTED)
		return error_set(err, ERROR_INTERRUPTED, "interrupted");
	if (rc < 0)
		return 0;
	error_clear(&ask->error);
	ask->rc = 0;
	ask->first = first;
	return 0;
}

/* A server that was away while etcd was read may be back, and one whose cache is still taking in what was just written
 * may have been asked too early: a real difference stays. */
static int ask_again(const struct census_scan *scan, const struct census_resource *resource, struct api_ask *ask,
		     struct error **err)
{
	uint64_t pause = PAUSE;
	int rc = 0;
	if (ask->rc < 0 && ask->rc != -ERROR_EXPIRED) /* what was compacted does not come back */
		rc = ask_once_more(scan, ask, err);
	for (int attempt = 1; rc == 0 && attempt < TRIES && ask->rc == 0 && ask->first.objects != resource->objects;
	     attempt++, pause *= 2) {
		rc = loop_pause(scan->options->loop, pause, err);
		if (rc == 0)
			rc = ask_once_more(scan, ask, err);
	}
	return rc;
}

static int compare(const struct census_scan *scan, struct census_resource *resource, struct api_ask *ask,
		   struct error **err)
{
	struct census *census = scan->census;
	const char *name = ask->resource->resource;
	int rc = ask_again(scan, resource, ask, err);
	if (rc < 0)
		return rc;
	if (ask->rc < 0) {
		census_note(census, "%s: not compared with the API's count: %s", name, error_message(ask->error));
		return 0;
	}
	resource->api_objects = ask->first.objects;
	resource->api_count_known = true;
	resource->api_count_differs = resource->api_objects != resource->objects;
	if (resource->api_count_differs)
		census_doubt(census,
			     "%s: etcd holds %" PRIu64 " and the API server lists %" PRIu64
			     " at the same revision %" PRIu64,
			     name, resource->objects, resource->api_objects, ask->at);
	return 0;
}

int census_counts_compare(struct census_scan *scan, struct error **err)
{
	struct census *census = scan->census;
	for (size_t etcd = 0; etcd < census->etcd_count; etcd++) {
		struct census_counts *counts = &scan->counts[etcd];
		/* Of a census of two revisions there is no count at one. */
		if (!counts->running || census->etcds[etcd].first_revision != census->etcds[etcd].revision)
			continue;
		for (size_t i = 0; i < census->resource_count; i++) {
			if (!counts->asks[i].resource)
				continue;
			int rc = api_firsts_wait(counts->running, i, err);
			if (rc == 0)
				rc = compare(scan, &census->resources[i], &counts->asks[i], err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}
