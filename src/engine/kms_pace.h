/* How long the calls of a KMS take while objects are rewritten, as an API server tells it: a KMS that gets slow slows whoever
 * reads and writes in the cluster. Pure. */
#pragma once
#include "engine/throttle.h"
#include "format/apiserver_metrics.h"

#define KMS_PACE_TIMES 2                        /* slower than this many times what they took at the beginning, and */
#define KMS_PACE_SLACK (UINT64_C(50) * 1000000) /* ns more */
#define KMS_PACE_HALVED_MAX 6
#define KMS_PACE_INTERVAL (UINT64_C(10) * 1000000000) /* between looks, ns */

struct kms_pace {
	uint64_t process; /* ms since 1970: another one counts from 0 */
	double seconds;
	uint64_t calls;      /* in all, when it was looked at last */
	uint64_t usual, now; /* ns for each call: before the first look, and between the last two; 0: not known */
	unsigned halved;     /* how often the speed is */
};
/* Whether the speed changes. */
bool kms_pace_take(struct kms_pace *pace, const struct apiserver_metrics *seen);
void kms_pace_slow(const struct kms_pace *pace, struct throttle_options *speed);
