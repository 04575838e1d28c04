#include "engine/throttle.h"

#include "base/clock.h"

#define NS INT64_C(1000000000)
#define QPS_MAX ((uint64_t)NS) /* one a nanosecond: no faster than full speed */
#define BURST_PART 10          /* of a second's worth is saved up for */
#define CATCH_UP 2             /* times the rate, after a pause: what came all at once would be felt by others */
#define NEEDED_AT_FIRST 2      /* at once, before any answer tells how long one takes */
#define NS_PER_US 1000
#define SMOOTH 8   /* a new latency counts one part of this */
#define FORGET 256 /* the best latency rises by one part of this with each good answer: servers change */

/* ns of the bucket's rate that one start costs; rounded up, so that rounding never makes us faster. */
static int64_t cost(const struct throttle *throttle)
{
	return (NS + (int64_t)throttle->options.qps - 1) / (int64_t)throttle->options.qps;
}

static int64_t bucket(const struct throttle *throttle)
{
	int64_t burst = (int64_t)(throttle->options.qps / BURST_PART);

	return (burst > 0 ? burst : 1) * cost(throttle);
}

static struct throttle_options sane(const struct throttle_options *options)
{
	struct throttle_options ours = *options;

	if (ours.concurrency < 1)
		ours.concurrency = 1;
	if (ours.concurrency > THROTTLE_CONCURRENCY_MAX)
		ours.concurrency = THROTTLE_CONCURRENCY_MAX;
	if (ours.qps > QPS_MAX)
		ours.qps = QPS_MAX;
	return ours;
}

void throttle_init(struct throttle *throttle, const struct throttle_options *options, uint64_t now)
{
	*throttle = (struct throttle){.options = sane(options), .filled_at = now, .backoff = THROTTLE_BACKOFF_MIN};
	throttle->limit = throttle->options.concurrency;
	if (throttle->options.qps != 0)
		throttle->tokens_ns = bucket(throttle);
}

/* A clock that goes back adds nothing, and nothing is added twice for the time until it is where it was. */
static void fill(struct throttle *throttle, uint64_t now)
{
	int64_t full = bucket(throttle);
	uint64_t passed;

	if (now <= throttle->filled_at)
		return;
	passed = now - throttle->filled_at;
	throttle->filled_at = now;
	if (passed >= (uint64_t)full)
		throttle->tokens_ns = full;
	else
		throttle->tokens_ns += (int64_t)passed;
	if (throttle->tokens_ns > full)
		throttle->tokens_ns = full;
}

/* As many as keep up the rate while the server is as quick as it can be. More of them at once would make it slower for everybody
 * else, and then still more would be needed; so where others keep it busy the rate is not reached. */
static unsigned needed(const struct throttle *throttle)
{
	if (throttle->options.qps == 0)
		return throttle->limit;
	if (throttle->best_latency == 0)
		return NEEDED_AT_FIRST;
	uint64_t count = throttle->options.qps * (throttle->best_latency / NS_PER_US) / (NS / NS_PER_US) + 1;
	return count < throttle->limit ? (unsigned)count : throttle->limit;
}

bool throttle_may_start(struct throttle *throttle, uint64_t now, uint64_t *ret_again)
{
	if (throttle->in_flight >= throttle->limit || throttle->in_flight >= needed(throttle)) {
		*ret_again = UINT64_MAX;
		return false;
	}
	if (now < throttle->stopped_until) {
		*ret_again = throttle->stopped_until;
		return false;
	}
	if (throttle->options.qps == 0)
		return true;
	fill(throttle, now);
	uint64_t missing = throttle->tokens_ns < cost(throttle) ? (uint64_t)(cost(throttle) - throttle->tokens_ns) : 0;
	uint64_t gap = (uint64_t)cost(throttle) / CATCH_UP;
	/* Finer than timers are, nothing is spread. */
	uint64_t next = gap < NS_PER_MS ? 0 : throttle->started_at + gap;
	*ret_again = next > now + missing ? next : now + missing;
	return *ret_again <= now;
}

void throttle_started(struct throttle *throttle, uint64_t now)
{
	throttle->in_flight++;
	if (throttle->options.qps == 0)
		return;
	fill(throttle, now);
	throttle->tokens_ns -= cost(throttle);
	throttle->started_at = now;
}

/* Whether a request that took so long was sent after the last cut: an earlier one belongs to what was cut already. */
static bool since_cut(const struct throttle *throttle, uint64_t latency, uint64_t now)
{
	return throttle->cut_at == 0 || (latency < now && now - latency > throttle->cut_at);
}

static void cut(struct throttle *throttle, unsigned to, uint64_t now)
{
	throttle->limit = to > 0 ? to : 1;
	throttle->good_since_cut = 0;
	throttle->cut_at = now;
}

static void busy(struct throttle *throttle, uint64_t latency, uint64_t retry_after, uint64_t now)
{
	uint64_t pause = retry_after;

	if (since_cut(throttle, latency, now)) {
		if (pause < throttle->backoff)
			pause = throttle->backoff;
		throttle->backoff *= 2;
		if (throttle->backoff > THROTTLE_BACKOFF_MAX)
			throttle->backoff = THROTTLE_BACKOFF_MAX;
		cut(throttle, throttle->limit / 2, now);
	}
	if (now + pause > throttle->stopped_until)
		throttle->stopped_until = now + pause;
}

static void learn_latency(struct throttle *throttle, uint64_t latency)
{
	if (throttle->best_latency == 0)
		throttle->best_latency = throttle->latency = latency;
	throttle->latency = throttle->latency - throttle->latency / SMOOTH + latency / SMOOTH;
	throttle->best_latency += throttle->best_latency / FORGET;
	if (latency < throttle->best_latency)
		throttle->best_latency = latency;
}

static bool is_slow(const struct throttle *throttle)
{
	return throttle->options.qps != 0 &&
	       throttle->latency > THROTTLE_LATENCY_TIMES * throttle->best_latency + THROTTLE_LATENCY_SLACK;
}

static void good(struct throttle *throttle, unsigned was_in_flight, uint64_t latency, uint64_t now)
{
	bool fresh = since_cut(throttle, latency, now);

	learn_latency(throttle, latency);
	if (!fresh)
		return;
	throttle->backoff = THROTTLE_BACKOFF_MIN;
	if (is_slow(throttle)) {
		/* Gently: one less each round trip. */
		cut(throttle, throttle->limit - 1, now);
		return;
	}
	if (2 * was_in_flight < throttle->limit || throttle->limit >= throttle->options.concurrency)
		return;
	if (++throttle->good_since_cut < throttle->limit)
		return;
	throttle->good_since_cut = 0;
	throttle->limit++;
}

void throttle_ended(struct throttle *throttle, enum throttle_outcome outcome, uint64_t latency, uint64_t retry_after,
		    uint64_t now)
{
	unsigned was_in_flight = throttle->in_flight;

	if (throttle->in_flight > 0)
		throttle->in_flight--;
	switch (outcome) {
	case THROTTLE_GOOD:
		good(throttle, was_in_flight, latency, now);
		break;
	case THROTTLE_BUSY:
		busy(throttle, latency, retry_after, now);
		break;
	case THROTTLE_OTHER:
		break;
	}
}

void throttle_set(struct throttle *throttle, const struct throttle_options *options, uint64_t now)
{
	struct throttle_options old = throttle->options;
	int64_t starts = 0;

	if (old.qps != 0) {
		fill(throttle, now);
		starts = throttle->tokens_ns / cost(throttle);
	}
	throttle->options = sane(options);
	throttle->filled_at = now;
	/* What was saved up stays, in the new rate's money; a new rate's bucket begins empty. */
	if (throttle->options.qps != 0) {
		throttle->tokens_ns = starts * cost(throttle);
		if (throttle->tokens_ns > bucket(throttle))
			throttle->tokens_ns = bucket(throttle);
	}
	/* Uncut, it follows at once; cut, it grows by good answers. */
	if (throttle->limit == old.concurrency || throttle->limit > throttle->options.concurrency)
		throttle->limit = throttle->options.concurrency;
}
