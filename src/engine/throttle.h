/* How fast we may write: a token bucket (--qps), a concurrency, and a governor that backs off on 429, 5xx and
 * rising latency.
 * Pure: every operation takes `now`; integers only.
 *
 * In any span of time, however it was cut out, at most `span * qps + max(1, qps / 10)` requests start, and up to 500 a second
 * never two in less than half of a rate's interval: what was missed in a pause is caught up with at twice the rate, not at
 * once; nor are more of them under way than the rate needs. The governor is AIMD on the number of requests at once: halved by a
 * failure, once for all failures of one round trip; one more after a round trip of good answers that used at least half of it.
 * A failure also stops everything for a while: as long as its Retry-After says, and at least a back-off that doubles from
 * THROTTLE_BACKOFF_MIN to THROTTLE_BACKOFF_MAX and begins anew once an answer is good. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_CONCURRENCY_MAX 64
#define THROTTLE_BACKOFF_MIN (UINT64_C(100) * 1000000) /* ns */
#define THROTTLE_BACKOFF_MAX (UINT64_C(30) * 1000000000)
#define THROTTLE_LATENCY_TIMES 4                        /* slower than this many times the best, and */
#define THROTTLE_LATENCY_SLACK (UINT64_C(50) * 1000000) /* this more: the server or its etcd queues */

struct throttle_options {
	uint64_t qps;         /* 0: full speed: only 429 and 5xx slow it */
	unsigned concurrency; /* most writes at once, 1 to 64; others are taken as the nearest of these */
};
struct throttle {
	struct throttle_options options;
	int64_t tokens_ns; /* credit, in ns of the bucket's rate */
	uint64_t filled_at, started_at;
	unsigned limit; /* writes at once now: 1 to concurrency */
	unsigned in_flight;
	uint64_t stopped_until;         /* after Retry-After or a back-off */
	uint64_t cut_at;                /* last cut: one for a whole burst of failures */
	uint64_t backoff;               /* next pause without a Retry-After */
	uint64_t best_latency, latency; /* smoothed, ns */
	unsigned good_since_cut;        /* good answers towards the next growth */
};
void throttle_init(struct throttle *throttle, const struct throttle_options *options, uint64_t now);
/* Whether one more may start now; when not, when to ask again (never later than *ret_again; UINT64_MAX: when one
 * has ended). */
bool throttle_may_start(struct throttle *throttle, uint64_t now, uint64_t *ret_again);
void throttle_started(struct throttle *throttle, uint64_t now);
enum throttle_outcome {
	THROTTLE_GOOD,
	THROTTLE_BUSY /* 429, 5xx, no connection */,
	THROTTLE_OTHER /* 409, 404, 422: says nothing about load */
};
/* `latency`: since its throttle_started. `retry_after`: ns, 0 without. */
void throttle_ended(struct throttle *throttle, enum throttle_outcome outcome, uint64_t latency, uint64_t retry_after,
		    uint64_t now);
/* Changes the speed while it runs. */
void throttle_set(struct throttle *throttle, const struct throttle_options *options, uint64_t now);
