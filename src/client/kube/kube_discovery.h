/* What an API server says it serves, in the words of each generation of discovery. Sans-I/O: documents in,
 * resources out. Formats: apidiscovery.k8s.io/v2 and v2beta1 (aggregated discovery), meta/v1 APIGroupList and
 * APIResourceList. */
#pragma once
#include "base/json_read.h"
#include "client/kube/kube.h"

#define DISCOVERY_RESOURCES_MAX 20000
#define DISCOVERY_SHORT_NAMES_MAX 32

/* An APIGroupDiscoveryList: appends each resource in the first version that has it (the preferred one comes first), and
 * "group/version" of each version that could not be asked to `ret_missing`. -ERROR_PROTOCOL, -ERROR_LIMIT. */
_must_check_ int discovery_read_aggregated(const cJSON *doc, struct kube_resources *ret, struct strings *ret_missing,
					   struct error **err);
/* An APIGroupList: appends "group/version", each group's preferred version first. */
_must_check_ int discovery_read_groups(const cJSON *doc, struct strings *ret_versions, struct error **err);
/* An APIResourceList of `group_version` ("v1", "apps/v1"): appends what no version before it had. */
_must_check_ int discovery_read_resources(const cJSON *doc, const char *group_version, struct kube_resources *ret,
					  struct error **err);
/* An APIServiceList: "group/version" of those with a service go to `ret_aggregated`, and of those that are not
 * available also to `ret_missing`. */
_must_check_ int discovery_read_services(const cJSON *doc, struct strings *ret_aggregated, struct strings *ret_missing,
					 struct error **err);
/* Sets `aggregated` and `custom`. `definitions`: the CustomResourceDefinitions' names; NULL when they could not be
 * read: then every group that is not Kubernetes' own counts as custom. */
void discovery_mark(struct kube_resources *resources, const struct strings *aggregated,
		    const struct strings *definitions);
