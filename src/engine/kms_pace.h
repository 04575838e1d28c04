/* How long the calls of a KMS take while objects are rewritten, as an API server tells it: a KMS that gets slow slows whoever
 * reads and writes in the cluster. Pure.
 *
 * Each method of each plugin is held against itself. A Decrypt in a cloud takes long by nature, and there are more of them while
 * objects are rewritten; one slow Status a minute would not show among them. */
#pragma once
#include "engine/throttle.h"
#include "format/apiserver_metrics.h"

#define KMS_PACE_TIMES 2                        /* slower than this many times what they took at the beginning, and */
#define KMS_PACE_SLACK (UINT64_C(50) * 1000000) /* ns more */
#define KMS_PACE_HALVED_MAX 6
#define KMS_PACE_INTERVAL (UINT64_C(10) * 1000000000) /* between looks, ns */
#define KMS_PACE_METHODS_MAX 64u                      /* more are not looked at */
#define KMS_PACE_SILENT \
	7 /* looks without a call, and a method is not known to be slow any more: Status comes each minute */

struct kms_pace_method;
struct kms_pace {
	uint64_t process; /* ms since 1970: another one counts from 0 */
	struct kms_pace_method *methods;
	size_t count;
	unsigned halved; /* how often the speed is */
};
/* Whether the speed changes. */
bool kms_pace_take(struct kms_pace *pace, const struct apiserver_metrics *seen);
void kms_pace_slow(const struct kms_pace *pace, struct throttle_options *speed);
/* What is to be said of it; new string. */
char *kms_pace_text(const struct kms_pace *pace);
void kms_pace_free(struct kms_pace *pace); /* the contents */
