#include "engine/sweep_internal.h"

#define TELL_INTERVAL (100 * NS_PER_MS)
#define RATE_INTERVAL (500 * NS_PER_MS)
#define PACE_INTERVAL (4 * NS_PER_S)

void sweep_progress_init(struct sweep *sweep)
{
	sweep_tally_init(&sweep->tally, sweep->options->resource_count);
	sweep->tally.listed = sweep->options->named_count;
	sweep_progress_restart(sweep);
}

void sweep_progress_restart(struct sweep *sweep)
{
	sweep->rate = (struct sweep_rate){.interval = RATE_INTERVAL};
	sweep->pace = (struct sweep_rate){.interval = PACE_INTERVAL};
}

uint64_t sweep_rate_add(struct sweep_rate *rate, uint64_t done, uint64_t now)
{
	unsigned newest = (rate->at + ELEMENTS(rate->time) - 1) % ELEMENTS(rate->time);
	unsigned oldest;

	if (rate->used == 0 || now >= rate->time[newest] + rate->interval) {
		rate->time[rate->at] = now;
		rate->done[rate->at] = done;
		rate->at = (rate->at + 1) % ELEMENTS(rate->time);
		if (rate->used < ELEMENTS(rate->time))
			rate->used++;
	}
	oldest = rate->used < ELEMENTS(rate->time) ? 0 : rate->at;
	/* Too short a time says nothing. */
	if (now < rate->time[oldest] + RATE_INTERVAL)
		return 0;
	/* ns to ms: the product stays small. */
	return (done - rate->done[oldest]) * 1000 / ((now - rate->time[oldest]) / NS_PER_MS);
}

/* "429 from the server, again in 4 s"; NULL while things move. New string. */
static char *waiting(const struct sweep *sweep, uint64_t now)
{
	_cleanup_free_ char *left = NULL;

	if (sweep->waiting == NULL)
		return NULL;
	if (sweep->full)
		return xstrdup(sweep->waiting);
	if (sweep->waiting_until <= now)
		return NULL;
	/* Whole seconds: people read it. */
	left = text_human_duration((sweep->waiting_until - now + NS_PER_S - 1) / NS_PER_S * NS_PER_S);
	return xasprintf("%s, again in %s", sweep->waiting, left);
}

void sweep_progress_tell(struct sweep *sweep, uint64_t now, bool last)
{
	const struct sweep_options *options = sweep->options;
	const struct sweep_result *result = sweep->result;
	uint64_t pace;
	_cleanup_free_ char *why = NULL;
	struct sweep_progress progress = {
		.resource =
			sweep->shown_count < result->count ? result->counts[sweep->shown_count].resource->resource : "",
		.namespace_ = sweep->shown_namespace ? sweep->shown_namespace : "",
		.namespace_index = sweep->shown_place,
		.namespace_count = sweep->places.count,
		.done = sweep_tally_done(&sweep->tally, sweep->done),
		.total = sweep_tally_total(&sweep->tally),
		.rewritten = result->rewritten,
		.skipped = sweep->skipped,
		.bytes = sweep->bytes,
		.bytes_rewritten = sweep->bytes_rewritten,
		.bytes_most = sweep->bytes_most,
		.quarantined = result->quarantined,
		.conflicts = sweep->conflicts,
	};

	if (options->on_progress == NULL || (!last && now < sweep->told + TELL_INTERVAL))
		return;
	sweep->told = now;
	/* What others create costs no time: rates are of what we did. */
	progress.per_second = sweep_rate_add(&sweep->rate, sweep->done, now);
	pace = sweep_rate_add(&sweep->pace, sweep->done, now);
	if (pace != 0 && progress.total > progress.done)
		progress.eta = (progress.total - progress.done) * NS_PER_S / pace;
	if (!last)
		why = waiting(sweep, now);
	progress.waiting = why;
	options->on_progress(options->arg, &progress);
}
