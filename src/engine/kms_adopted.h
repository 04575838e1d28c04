/* Whether an API server writes with the key that its KMS v2 plugin names by now: until it has adopted that, it calls every object
 * current that it is about to call stale, and rewrites none of them. */
#pragma once
#include "client/kube/kube.h"
#include "kube-rekey/encryption_config.h"

struct kms_look;

struct kms_adopted_options {
	struct kube *kube;
	const struct config_shape *shape; /* what it writes with; NULL: its own counters show it */
	const struct kms_look *looks;     /* at the plugins beside it */
	size_t look_count;
	const struct kube_resource *const *resources;
	size_t resource_count;
};
/* By its counters, and, where they do not tell, by a canary. -ERROR_REFUSED where it has not adopted it, or nothing shows that it
 * has; -ERROR_AUTH and the like where /metrics cannot be read. Waits. */
_must_check_ int kms_check_adopted(const struct kms_adopted_options *options, struct error **err);
