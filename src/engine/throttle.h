/* How fast we may write: a token bucket (--qps), a concurrency, and a governor that backs off on 429, 5xx and rising latency.
 * Pure: every operation takes `now`; integers only. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct throttle_options {
	uint64_t qps;         /* 0: full speed: only 429 and 5xx slow it */
	unsigned concurrency; /* most writes at once, 1 to 64 */
};
struct throttle {
	struct throttle_options options;
	int64_t tokens_ns;         /* credit, in ns of the bucket's rate */
	uint64_t filled_at;
	unsigned limit;            /* writes at once now: 1 to concurrency */
	unsigned in_flight;
	uint64_t stopped_until;    /* after Retry-After or a back-off */
	uint64_t cut_at;           /* last cut: one for a whole burst of failures */
	uint64_t backoff;          /* next pause without a Retry-After */
	uint64_t best_latency, latency; /* smoothed, ns */
	unsigned good_since_cut;
};
void throttle_init(struct throttle *throttle, const struct throttle_options *options, uint64_t now);
/* Whether one more may start now; when not, when to ask again (never later than *ret_again). */
bool throttle_may_start(struct throttle *throttle, uint64_t now, uint64_t *ret_again);
void throttle_started(struct throttle *throttle, uint64_t now);
enum throttle_outcome { THROTTLE_GOOD, THROTTLE_BUSY /* 429, 5xx, no connection */, THROTTLE_OTHER /* 409, 404, 422: says nothing about load */ };
void throttle_ended(struct throttle *throttle, enum throttle_outcome outcome, uint64_t latency, uint64_t retry_after, uint64_t now);
/* Changes the speed while it runs. */
void throttle_set(struct throttle *throttle, const struct throttle_options *options, uint64_t now);
