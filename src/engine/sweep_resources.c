/* Which resources a configuration is about. */
#include "engine/sweep_internal.h"

static bool is_swept(const struct config_shape *shape, const struct kube_resources *resources,
		     const struct kube_resource *resource)
{
	if (resource->aggregated || !resource->can_list || !(resource->can_update || resource->can_patch))
		return false;
	/* Stored as events, under their rule: k8s.io/kubernetes/pkg/kubeapiserver, cohabiting resources. */
	if (text_equal(resource->resource, "events.events.k8s.io") && kube_resources_find(resources, "events") != NULL)
		return false;
	return config_shape_rule(shape, resource->resource) != NULL;
}

static int rank(const struct kube_resource *resource)
{
	if (text_equal(resource->resource, "secrets"))
		return 0;
	return text_equal(resource->resource, "configmaps") ? 1 : 2;
}

static int by_order(const void *a, const void *b)
{
	const struct kube_resource *left = *(const struct kube_resource *const *)a;
	const struct kube_resource *right = *(const struct kube_resource *const *)b;
	int difference = rank(left) - rank(right);

	return difference != 0 ? difference : strcmp(left->resource, right->resource);
}

const struct kube_resource **sweep_resources(const struct config_shape *shape, const struct kube_resources *resources,
					     size_t *ret_count)
{
	const struct kube_resource **chosen = xcalloc(resources->count + 1, sizeof(*chosen));
	size_t count = 0;

	for (size_t i = 0; i < resources->count; i++)
		if (is_swept(shape, resources, &resources->items[i]))
			chosen[count++] = &resources->items[i];
	qsort(chosen, count, sizeof(*chosen), by_order);
	*ret_count = count;
	return chosen;
}
