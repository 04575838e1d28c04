#include "engine/cluster.h"

#include <stdlib.h>

#include "client/kube/object.h"

void cluster_free(struct cluster *cluster)
{
	if (!cluster)
		return;
	for (size_t i = 0; i < cluster->etcd_count; i++)
		etcd_free(cluster->etcds[i]);
	free(cluster->etcds);
	kube_resources_free(&cluster->resources);
	for (size_t i = 0; i < cluster->earlier_count; i++)
		kube_resources_free(&cluster->earlier[i]);
	free(cluster->earlier);
	strings_free(&cluster->missing_groups);
	strings_free(&cluster->foreign_prefixes);
	http_client_free(cluster->http);
	kube_access_free(cluster->access);
	if (cluster->has_node)
		node_facts_free(&cluster->node);
	loop_free(cluster->loop);
	free(cluster->version);
	free(cluster->etcd_prefix);
	free(cluster);
}

/* Marks that are guessed are none. */
static bool serves_all(const struct kube_resources *these, const struct kube_resources *those, bool marked)
{
	for (size_t i = 0; i < those->count; i++) {
		const struct kube_resource *that = &those->items[i], *this = kube_resources_find(these, that->resource);
		if (!this || (marked && (this->aggregated != that->aggregated || this->custom != that->custom)))
			return false;
	}
	return true;
}

int cluster_refresh_resources(struct cluster *cluster, bool *ret_changed, struct error **err)
{
	struct kube_resources now = {0};
	_cleanup_strings_ missing = {0};
	int rc = kube_discover(&cluster->kube, &now, &missing, err);
	if (rc < 0)
		return rc;
	*ret_changed = !serves_all(&cluster->resources, &now, now.marked) ||
		       !serves_all(&now, &cluster->resources, now.marked);
	if (!*ret_changed) {
		kube_resources_free(&now);
		return 0;
	}
	cluster->earlier = xreallocarray(cluster->earlier, cluster->earlier_count + 1, sizeof(*cluster->earlier));
	cluster->earlier[cluster->earlier_count++] = cluster->resources;
	cluster->resources = now;
	return 0;
}

int cluster_uid(const struct cluster *cluster, struct kube *kube, char **ret, struct error **err)
{
	const struct kube_resource *namespaces = kube_resources_find(&cluster->resources, "namespaces");
	uint64_t revision;
	if (!namespaces)
		return error_set(err, ERROR_PROTOCOL, "%s serves no namespaces", kube->name);
	return kube_get_metadata(kube, namespaces, NULL, "kube-system", ret, &revision, err);
}

void cluster_freep(struct cluster **cluster)
{
	cluster_free(*cluster);
}
