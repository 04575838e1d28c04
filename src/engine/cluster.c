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

void cluster_freep(struct cluster **cluster)
{
	cluster_free(*cluster);
}
