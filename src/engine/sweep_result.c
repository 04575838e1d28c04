#include "engine/sweep_internal.h"

struct sweep_result *sweep_result_new(const struct sweep_options *options, uint64_t now)
{
	struct sweep_result *result = xcalloc(1, sizeof(*result));

	result->begun = now;
	for (size_t i = 0; i < options->resource_count; i++)
		sweep_result_index(result, options->resources[i]);
	return result;
}

size_t sweep_result_index(struct sweep_result *result, const struct kube_resource *resource)
{
	for (size_t i = 0; i < result->count; i++)
		if (result->counts[i].resource == resource)
			return i;
	result->counts = xreallocarray(result->counts, result->count + 1, sizeof(*result->counts));
	result->counts[result->count] = (struct sweep_count){.resource = resource};
	return result->count++;
}

void sweep_count_end(struct sweep *sweep, size_t count, enum sweep_end end, uint64_t bytes)
{
	struct sweep_count *counts = &sweep->result->counts[count];

	counts->objects++;
	counts->bytes += bytes;
	sweep->result->objects++;
	sweep->done++;
	sweep->bytes += bytes;
	switch (end) {
	case SWEEP_ENDED_REWRITTEN:
		counts->rewritten++;
		sweep->result->rewritten++;
		sweep->bytes_rewritten += bytes;
		break;
	case SWEEP_ENDED_CURRENT:
		counts->current++;
		break;
	case SWEEP_ENDED_SKIPPED:
		counts->skipped++;
		sweep->skipped++;
		break;
	case SWEEP_ENDED_GONE:
		counts->gone++;
		break;
	case SWEEP_ENDED_QUARANTINED:
		counts->quarantined++;
		break;
	}
}

void sweep_quarantine(struct sweep *sweep, const struct kube_resource *resource, const char *namespace_,
		      const char *name, const char *why)
{
	struct sweep_result *result = sweep->result;

	result->quarantined++;
	if (result->quarantine_named >= SWEEP_QUARANTINE_MAX)
		return;
	result->quarantine =
		xreallocarray(result->quarantine, result->quarantine_named + 1, sizeof(*result->quarantine));
	result->quarantine[result->quarantine_named++] =
		(struct sweep_quarantined){resource, xstrdup(namespace_), xstrdup(name), xstrdup(why)};
}

void sweep_result_free(struct sweep_result *result)
{
	if (result == NULL)
		return;
	for (size_t i = 0; i < result->quarantine_named; i++) {
		free(result->quarantine[i].namespace_);
		free(result->quarantine[i].name);
		free(result->quarantine[i].why);
	}
	free(result->quarantine);
	free(result->counts);
	free(result);
}

void sweep_result_freep(struct sweep_result **result)
{
	sweep_result_free(*result);
}
