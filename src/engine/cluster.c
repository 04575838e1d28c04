#include "engine/cluster.h"

#include <stdlib.h>

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

static bool serves_all(const struct kube_resources *these, const struct kube_resources *those)
{
	for (size_t i = 0; i < those->count; i++)
		if (!kube_resources_find(these, those->items[i].resource))
			return false;
	return true;
}

int cluster_refresh_resources(struct cluster *cluster, bool *ret_changed, struct error **err)
{
	struct kube_resources now = {0};
	_cleanup_strings_ missing = {0};
	int rc = kube_discover(&cluster->kube, &now, &missing, err);
	if (rc < 0)
		return rc;
	*ret_changed = !serves_all(&cluster->resources, &now) || !serves_all(&now, &cluster->resources);
	if (!*ret_changed) {
		kube_resources_free(&now);
		return 0;
	}
	cluster->earlier = xreallocarray(cluster->earlier, cluster->earlier_count + 1, sizeof(*cluster->earlier));
	cluster->earlier[cluster->earlier_count++] = cluster->resources;
	cluster->resources = now;
	return 0;
}

void cluster_freep(struct cluster **cluster)
{
	cluster_free(*cluster);
}
