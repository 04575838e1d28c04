/* After a drop: plain GETs (no resourceVersion: only that reads etcd) of a sample of each namespace. */
#pragma once
#include "client/kube/object.h"

#define READ_BACK_SAMPLE 3 /* objects of a resource and namespace */

struct read_back_result {
	uint64_t namespaces, objects;
};
/* For each of `resources`, the first objects of each namespace. -ERROR_FINDING naming the first object that cannot
 * be read. Waits. */
_must_check_ int read_back(struct kube *kube, const struct kube_resource *const *resources, size_t count,
			   struct read_back_result *ret, struct error **err);
